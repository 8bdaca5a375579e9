//! Why a run over rsync's protocol stopped before its end, and the exit codes of rsync(1).

use std::io;

use barge_rsync::WireError;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer broke the protocol, or exceeded a limit of ours.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The connection ended before the goodbye was complete.
    #[error("connection unexpectedly closed")]
    Closed,
    /// The peer was taken for a daemon to find out whether it is one, and is none.
    #[error("the peer speaks neither barge/1 nor the rsync protocol")]
    NoDaemon,
    /// Another thread of this side ended the run, and knows why.
    #[error("the run is over")]
    Over,
    /// The connection failed.
    #[error("{op} error: {}", source.to_string().replace("(os error ", "("))]
    Connection {
        /// `read` or `write`.
        op: &'static str,
        /// How.
        source: io::Error,
    },
    /// Nothing came and nothing went for as long as `--timeout` allows.
    #[error("io timeout after {0} seconds -- exiting")]
    TimedOut(u32),
    /// The peer ended the run and said with which code.
    #[error("the peer ended the run with code {0}")]
    Peer(u8),
    /// This side ends the run; the text has no newline.
    #[error("{text}")]
    Fatal {
        /// An exit code of rsync(1).
        code: u8,
        /// What the user is told; empty when that has been told.
        text: String,
    },
}

impl Failure {
    /// Ends the run with an exit code and a text without a newline.
    pub fn fatal(code: u8, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Fatal { code, text }
    }

    /// What the user is told of it, as rsync 3.5.0 words it, without a newline. `role` is what this
    /// process is in the run, `received` counts the bytes that came.
    pub(crate) fn words(&self, role: &str, received: u64) -> String {
        match self {
            Self::Closed => format!(
                "rsync: connection unexpectedly closed ({received} bytes received so far) [{role}]"
            ),
            Self::Connection { op, source } => {
                let reason = source.to_string().replace("(os error ", "(");
                format!("rsync: [{role}] {op} error: {reason}")
            }
            Self::TimedOut(_) => format!("[{role}] {self}"),
            failure => failure.to_string(),
        }
    }

    /// The line that a server's words end with, with its newline.
    pub(crate) fn last_line(&self, role: &str) -> String {
        let code = self.exit_code();
        format!(
            "rsync error: {} (code {code}) at failure.rs({}) [{role}={}]\n",
            describe_exit(code),
            line!(),
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// The exit code of rsync(1), «EXIT VALUES».
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Wire(error) => error.exit_code(),
            Self::Closed | Self::Over => exit::STREAM,
            Self::Connection { .. } => exit::SOCKET,
            Self::TimedOut(_) => exit::TIMEOUT,
            Self::NoDaemon => exit::START,
            Self::Peer(code) | Self::Fatal { code, .. } => *code,
        }
    }

    /// Whether the peer can still be told: the connection works, and it was not the peer's word.
    pub(crate) fn can_be_told(&self) -> bool {
        let silent = matches!(
            self,
            Self::Closed | Self::Over | Self::Connection { .. } | Self::Peer(_)
        );
        // rsync's own order: codes of a connection that is of no use any more.
        !silent && ![exit::SOCKET, exit::STREAM, 19, exit::TIMEOUT].contains(&self.exit_code())
    }
}

/// Exit codes that more than one place raises.
pub(crate) mod exit {
    pub(crate) const SYNTAX: u8 = 1;
    pub(crate) const SELECTION: u8 = 3;
    pub(crate) const UNSUPPORTED: u8 = 4;
    pub(crate) const START: u8 = 5;
    pub(crate) const SOCKET: u8 = 10;
    pub(crate) const FILE: u8 = 11;
    pub(crate) const STREAM: u8 = 12;
    pub(crate) const IPC: u8 = 14;
    pub(crate) const MEMORY: u8 = 22;
    pub(crate) const PARTIAL: u8 = 23;
    pub(crate) const VANISHED: u8 = 24;
    pub(crate) const DELETE_LIMIT: u8 = 25;
    pub(crate) const TIMEOUT: u8 = 30;
}

/// What rsync says of an exit code, `success` for 0.
pub fn describe_exit(code: u8) -> &'static str {
    match code {
        0 => "success",
        1 => "syntax or usage error",
        2 => "protocol incompatibility",
        3 => "errors selecting input/output files, dirs",
        4 => "requested action not supported",
        5 => "error starting client-server protocol",
        10 => "error in socket IO",
        11 => "error in file IO",
        12 => "error in rsync protocol data stream",
        13 => "errors with program diagnostics",
        14 => "error in IPC code",
        15 => "sibling process crashed",
        16 => "sibling process terminated abnormally",
        19 => "received SIGUSR1",
        20 => "received SIGINT, SIGTERM, or SIGHUP",
        21 => "waitpid() failed",
        22 => "error allocating core memory buffers",
        23 => "some files/attrs were not transferred (see previous errors)",
        24 => "some files vanished before they could be transferred",
        25 => "the --max-delete limit stopped deletions",
        30 => "timeout in data send/receive",
        35 => "timeout waiting for daemon connection",
        124 => "remote shell failed",
        125 => "remote shell killed",
        126 => "remote command could not be run",
        127 => "remote command not found",
        _ => "unexplained error",
    }
}
