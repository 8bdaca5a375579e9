//! What a role begins with: the end of every handshake, whoever shook hands.

use std::path::PathBuf;
use std::sync::Arc;

use barge_rsync::options::Options;
use barge_rsync::session::Setup;

use super::asked::Asked;
use super::{Connection, Failure, Listener, RunStats, Stderr};
use crate::filter::RuleList;

/// Everything a side knows when the first multiplexed frame is due.
pub(crate) struct Agreed {
    /// What the connection speaks.
    pub(crate) setup: Setup,
    /// What is to be done. `server` and `sender` say which side this is.
    pub(crate) options: Options,
    /// What was read beyond the handshake is read from it first.
    pub(crate) connection: Connection,
    /// Bytes that went and came before.
    pub(crate) moved: Moved,
    /// Who hears of the run.
    pub(crate) listener: Arc<dyn Listener>,
    /// A server's own standard error, for what is not to go to its client.
    pub(crate) stderr: Option<Stderr>,
    /// A client's rules. A server reads its client's, where they are due.
    pub(crate) rules: RuleList,
    /// Where paths begin.
    pub(crate) base: Base,
    /// A receiving side: where to; exactly one path. A sending side: what; one path or more.
    pub(crate) paths: Vec<PathBuf>,
    /// A receiving client: all that it asked for; `None` where anything may come.
    pub(crate) asked: Option<Arc<Asked>>,
}

/// Bytes of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Moved {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Where paths begin, and how far they may lead.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// In the working directory, and anywhere: the operator's own, or of a login that could do all
    /// this without us.
    Working,
    /// In a daemon's module, and never out of it.
    Module(Arc<ModuleBase>),
}

/// A daemon's module, as its roles see it.
#[derive(Clone, Debug, Default)]
pub struct ModuleBase {
    /// Its name, for messages: «(in NAME)».
    pub name: String,
    /// Its directory, as this process reaches it.
    pub root: PathBuf,
    /// Asked before all other rules.
    pub rules: RuleList,
    /// Owners are numbers here, whatever the client wants; what crosses the wire stays the same.
    pub numeric_ids: bool,
    /// A relative `--backup-dir` does not climb out of the target.
    pub sanitizes_paths: bool,
    /// `incoming chmod`: of all that is received, whatever else decides its mode.
    pub incoming_chmod: Option<Vec<u8>>,
    /// `outgoing chmod`: of all that is sent.
    pub outgoing_chmod: Option<Vec<u8>>,
    /// `ignore nonreadable`: what cannot be read is not listed.
    pub ignores_nonreadable: bool,
    /// Called when all is in its place and durable, before the client hears of it.
    pub seal: Option<Seal>,
}

/// What is done between the last change and the goodbye.
#[derive(Clone)]
pub struct Seal(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Seal {
    /// An error keeps the client from hearing that all is well.
    pub fn new(work: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(work))
    }

    pub(crate) fn close(&self) -> Result<(), Failure> {
        (self.0)().map_err(|why| Failure::fatal(11, why))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// The exit code of rsync(1).
    pub code: u8,
    /// What moved.
    pub stats: RunStats,
    /// Why it stopped before its end; the peer has been told, and so has the listener.
    pub failure: Option<Failure>,
}

impl Ended {
    /// A run that stopped before it began.
    pub fn failed(failure: Failure) -> Self {
        Self {
            code: failure.exit_code(),
            stats: RunStats::default(),
            failure: Some(failure),
        }
    }
}

/// Sends what [`Agreed::paths`] name, to the end of the run.
pub(crate) fn send(agreed: Agreed) -> Ended {
    super::sender::send(agreed)
}

/// Receives into what [`Agreed::paths`] name, to the end of the run.
pub(crate) fn receive(agreed: Agreed) -> Ended {
    super::receiver::receive(agreed)
}
