//! The volumes of `barge serve` as an rsync daemon's modules.
//!
//! Who comes has shown a certificate: there are no users and no hosts to ask for. A push holds the
//! same lock as a run of our own protocol, so that only one of them writes a volume.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use barge_fs::{BeginError, RUN_MARKER, Root, RunLock};
use barge_rsync::ProtocolVersion;
use barge_rsync::session::greeting::Greeting;
use barge_types::Side;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::agreed::Seal;
use super::options::Options;
use super::session::Preferences;
use super::tallying::{Tallying, shown};
use super::{Connection, Daemon, Gate, Listener, Module, Settled};
use crate::filter::{DaemonRules, RuleError, RuleList, RuleSources};
use crate::monitor::Monitor;
use crate::run::{Clock, RunEnd, SessionEnd};

/// Volumes, each a name and its directory.
pub(crate) type Volumes = Vec<(String, PathBuf)>;

/// Runs at a time, of all volumes: what a run takes of memory apart from lists and block sums is its own.
pub(crate) const MAX_RUNS: usize = 32;

/// What a client hears when there is no thread for it.
pub(crate) fn too_many(connections: usize) -> Vec<u8> {
    let mut words = Greeting::line(ProtocolVersion::NEWEST);
    words.extend(format!("@ERROR: {}\n", reached(connections)).into_bytes());
    words
}

fn reached(connections: usize) -> String {
    format!("max connections ({connections}) reached -- try again later")
}

/// Serves one client to its end; `places` are for runs. The volume and the run, if there was one.
pub(crate) fn serve(
    connection: Connection,
    volumes: &Volumes,
    visitor: String,
    monitor: Arc<Monitor>,
    places: Arc<Semaphore>,
) -> Option<(String, RunEnd)> {
    let clock = Clock::start(&monitor);
    let modules: Vec<Module> = volumes.iter().map(|(name, _)| module(name)).collect();
    let mut gate = VolumeGate {
        volumes,
        monitor: Arc::clone(&monitor),
        settled: None,
        lock: Arc::default(),
        run: None,
        places,
        place: None,
    };
    let daemon = Daemon {
        motd: None,
        modules: &modules,
        preferences: Preferences::new(true),
        visitor,
        patience: Daemon::PATIENCE,
        gate: &mut gate,
    };
    let mut ended = daemon.serve(connection);
    let volume = gate.settled.take().map(|(name, _)| name)?;
    let tallying = gate.run.take()?;
    let (tally, failures) = tallying.end(&ended);
    monitor
        .counters
        .wire_bytes
        .add(ended.stats.sent + ended.stats.received);
    let end = SessionEnd {
        tally,
        failures,
        undeleted: tallying.undeleted(&ended),
        error: tallying.error(&mut ended),
        last_words: false,
    };
    Some((volume, clock.end(&monitor, end)))
}

/// Pushed to and pulled from, with numbers for owners and links as they are.
fn module(name: &str) -> Module {
    Module {
        read_only: false,
        numeric_ids: true,
        max_verbosity: u8::MAX,
        ..Module::new(name)
    }
}

/// The file by which runs exclude each other is nobody's business.
fn own_rules() -> Result<RuleList, RuleError> {
    let exclude = format!("/{RUN_MARKER}");
    let rules = DaemonRules {
        exclude: exclude.as_bytes(),
        ..DaemonRules::default()
    };
    let mut sources = RuleSources {
        read: &mut |_| Err(std::io::ErrorKind::Unsupported.into()),
        cvsignore: None,
        cvsignore_variable: None,
    };
    RuleList::of_daemon(&rules, &mut sources)
}

struct VolumeGate<'a> {
    volumes: &'a Volumes,
    monitor: Arc<Monitor>,
    settled: Option<(String, PathBuf)>,
    /// Of a push, until it is through.
    lock: Arc<Mutex<Option<RunLock>>>,
    run: Option<Arc<Tallying>>,
    places: Arc<Semaphore>,
    /// Of this run, to its end.
    place: Option<OwnedSemaphorePermit>,
}

/// Lets the volume of a push go.
fn release(lock: &Mutex<Option<RunLock>>) -> Result<(), String> {
    let lock = lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    let released = lock.map_or(Ok(()), RunLock::finish);
    released.map_err(|error| format!("the run could not be ended in the volume: {error}"))
}

impl Gate for VolumeGate<'_> {
    fn admits(&mut self, _module: &Module) -> bool {
        true
    }

    fn enter(&mut self, _module: &Module) -> Result<(), String> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        self.place = Some(place.map_err(|_| reached(MAX_RUNS))?);
        Ok(())
    }

    fn groups(&mut self, _user: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn passwords(
        &mut self,
        _module: &Module,
        _user: &str,
        _group: Option<&str>,
    ) -> Result<Vec<Vec<u8>>, String> {
        Err("volumes have no users".to_owned())
    }

    fn settle(&mut self, module: &mut Module, _user: &str) -> Result<Settled, String> {
        let mut volumes = self.volumes.iter();
        let found = volumes.find(|(name, _)| *name == module.name);
        let (name, path) = found.ok_or("no path setting.")?;
        self.settled = Some((name.clone(), path.clone()));
        Ok(Settled {
            root: path.clone(),
            rules: own_rules().map_err(|error| error.text)?,
            seal: Some({
                let lock = Arc::clone(&self.lock);
                Seal::new(move || release(&lock))
            }),
        })
    }

    fn begin(&mut self, _module: &Module, options: &Options) -> Result<(), (u8, String)> {
        let Some((name, path)) = self.settled.clone().filter(|_| !options.sender) else {
            return Ok(());
        };
        if options.dry_run || options.list_only {
            return Ok(());
        }
        let root =
            Root::open(&path).map_err(|error| (3, format!("{}: {error}", path.display())))?;
        let lock = root.begin_run().map_err(|error| match error {
            BeginError::Busy => (5, format!("another run is writing the volume {name:?}")),
            BeginError::Failed(error) => {
                (3, format!("the volume {name:?} cannot be written: {error}"))
            }
        })?;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    fn listener(&mut self, options: &Options) -> Arc<dyn Listener> {
        let side = if options.sender {
            Side::Source
        } else {
            Side::Target
        };
        let tallying = Arc::new(Tallying::new(side, false, Arc::clone(&self.monitor)));
        self.run = Some(Arc::clone(&tallying));
        tallying
    }

    fn log(&mut self, line: &str) {
        tracing::info!("{}", shown(line));
    }
}
