//! One contender laid out from source to target, and what a run along it costs.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use crate::process::{Ending, Process, Usage};
use crate::route::Route;
use crate::{mover, pair};

/// Who moves the data.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Contender {
    /// rsync, stunnel, stunnel, rsync.
    Pair,
    /// barge at both ends.
    Barge,
    /// The pair with barge in the place of its rsync client.
    Client,
    /// The pair with barge in the place of its rsync daemon.
    Daemon,
    /// The pair with barge in all of its places, tunnels included: the transfer image.
    DropIn,
}

/// The language barge is measured in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Protocol {
    /// Its own, at both ends.
    Native,
    /// rsync's, in one of the pair's positions after the other, then in all of them.
    Rsync,
}

impl Protocol {
    /// Who is measured, the pair first.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        match self {
            Self::Native => &[Contender::Pair, Contender::Barge],
            Self::Rsync => &[
                Contender::Pair,
                Contender::Client,
                Contender::Daemon,
                Contender::DropIn,
            ],
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "pair",
            Self::Barge => "barge",
            Self::Client => "barge as client",
            Self::Daemon => "barge as daemon",
            Self::DropIn => "drop-in",
        })
    }
}

/// Everything that runs before the clock does, and the command that is timed.
pub(crate) struct Line {
    /// The processes of the mover, in the order they are ended.
    pub(crate) servers: Vec<Process>,
    /// What stands between the clusters.
    pub(crate) route: Route,
    /// What the clock runs for.
    pub(crate) client: Command,
    /// What the client is called in the tables.
    pub(crate) role: &'static str,
}

/// What one run took.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// From the start of the client to its end.
    pub(crate) wall: Duration,
    /// The processes of the mover.
    pub(crate) mover: Vec<Usage>,
    /// HAProxy, which belongs to the cluster.
    pub(crate) route: Usage,
    /// Bytes through HAProxy in both directions: TLS, without TCP's and IP's own.
    pub(crate) wire: u64,
}

/// Where the runs take place.
pub(crate) struct Ground {
    /// A folder of this program's own.
    pub(crate) work: PathBuf,
    /// The identities of the contenders.
    pub(crate) keys: PathBuf,
}

impl Ground {
    /// Makes what all runs share.
    pub(crate) fn prepare(work: &Path) -> Result<Self> {
        let keys = work.join("keys");
        fs::create_dir(&keys)?;
        Ok(Self {
            work: work.to_owned(),
            keys,
        })
    }

    /// Moves `source` to `target` once.
    ///
    /// # Errors
    ///
    /// With the last lines of every log, because the folder is gone afterwards.
    pub(crate) fn time(
        &self,
        contender: Contender,
        source: &Path,
        target: &Path,
    ) -> Result<Sample> {
        let dir = self.work.join("run");
        fs::create_dir(&dir)?;
        let line = match contender {
            Contender::Barge => mover::lay(&self.keys, &dir, source, target),
            in_the_pair => pair::lay(&self.keys, &dir, source, target, in_the_pair),
        };
        let sample = line.and_then(|line| line.run(&dir));
        let sample = sample.map_err(|error| error.context(last_words(&dir)))?;
        fs::remove_dir_all(&dir)?;
        Ok(sample)
    }
}

impl Line {
    fn run(mut self, dir: &Path) -> Result<Sample> {
        let start = Instant::now();
        let mut client = Process::start(self.role, Ending::Itself, &mut self.client, dir)?;
        let wall = client.watch(&mut self.servers, start)?;
        let mut mover = vec![client.finish()?];
        for server in self.servers {
            mover.push(server.finish()?);
        }
        let (route, wire) = self.route.finish()?;
        Ok(Sample {
            wall,
            mover,
            route,
            wire,
        })
    }
}

/// The end of each log in `dir`.
fn last_words(dir: &Path) -> String {
    let mut words = String::from("the run failed; the logs end with:\n");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = fs::read(&path).unwrap_or_default();
        let log =
            String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS)..]).into_owned();
        let _ = writeln!(words, "--- {}\n{log}", path.display());
    }
    words
}

/// Bytes of a log that are shown.
const LAST_WORDS: usize = 2000;
