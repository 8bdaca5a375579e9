//! What callers hand over and get back: the entry points of this module.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Options;

/// The environment variables that say something about options. The caller reads them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Environment {
    /// `RSYNC_PROTECT_ARGS`.
    pub protect_args: Option<OsString>,
    /// `RSYNC_OLD_ARGS`.
    pub old_args: Option<OsString>,
    /// `RSYNC_ICONV`.
    pub iconv: Option<OsString>,
    /// `RSYNC_MAX_ALLOC`.
    pub max_alloc: Option<OsString>,
    /// `RSYNC_PARTIAL_DIR`.
    pub partial_dir: Option<OsString>,
    /// `RSYNC_CHECKSUM_LIST`.
    pub checksum_list: Option<OsString>,
    /// `RSYNC_COMPRESS_LIST`.
    pub compress_list: Option<OsString>,
    /// `RSYNC_RSH`.
    pub rsh: Option<OsString>,
}

impl Environment {
    /// Takes the variables from `get`, for instance `std::env::var_os`.
    pub fn read(get: impl Fn(&str) -> Option<OsString>) -> Self {
        Self {
            protect_args: get("RSYNC_PROTECT_ARGS"),
            old_args: get("RSYNC_OLD_ARGS"),
            iconv: get("RSYNC_ICONV"),
            max_alloc: get("RSYNC_MAX_ALLOC"),
            partial_dir: get("RSYNC_PARTIAL_DIR"),
            checksum_list: get("RSYNC_CHECKSUM_LIST"),
            compress_list: get("RSYNC_COMPRESS_LIST"),
            rsh: get("RSYNC_RSH"),
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A client's run.
    Client(Box<Options>),
    /// `--server`: a peer waits at the standard streams. When [`Options::secluded_args`] is set,
    /// its second list is read from there first, and both go to [`parse_server`].
    Server(Box<Options>),
    /// `--daemon`, with or without `--server`.
    Daemon(Box<DaemonOptions>),
    /// Text to print, and exit 0: `--version`, `--help`, `--info=help`.
    Print {
        /// The text, whole lines.
        text: String,
        /// With `--server` it goes to the standard error, as the standard output is the peer's.
        to_stderr: bool,
    },
}

/// The command line of `rsync --daemon`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DaemonOptions {
    /// `--server`: one connection on the standard streams, started by a remote shell.
    pub server: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--dparam`: parameter and value, in order.
    pub params: Vec<(String, Vec<u8>)>,
    /// `--no-detach` unset.
    pub detach: bool,
    /// `--port`.
    pub port: Option<u16>,
    /// `--address`.
    pub address: Option<String>,
    /// `--bwlimit`, bytes a second.
    pub bwlimit: Option<u64>,
    /// `--log-file`.
    pub log_file: Option<PathBuf>,
    /// `--log-file-format`.
    pub log_file_format: Option<Vec<u8>>,
    /// `--sockopts`.
    pub sockopts: Option<String>,
    /// `-4` or `-6`.
    pub ip_version: Option<u8>,
    /// `-v`, as often as given.
    pub verbose: u8,
}

/// Why a command line is not followed, in rsync's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// What to print on the standard error, or to send as `MSG_ERROR`: lines without the last
    /// newline. The closing «rsync error: … (code N)» line is the caller's.
    pub text: String,
    /// The exit code.
    pub exit_code: u8,
    /// What had been understood before: enough for a server to bring the connection to where
    /// messages can be sent.
    pub options: Box<Options>,
}

/// What a daemon lets a client ask for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// `refuse options` of the module, as written.
    pub refuse: Vec<u8>,
}

/// Parses a command line, without the program's name.
///
/// # Errors
///
/// [`Refusal`] when an option is unknown, refused, malformed or in conflict with another.
pub fn parse(args: &[OsString], _environment: &Environment) -> Result<Command, Refusal> {
    Err(not_yet(args))
}

/// Parses what a `--server` process was started with, and the second list a client with
/// `--secluded-args` sends over the stream.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_server(args: &[OsString], _secluded: Option<&[OsString]>) -> Result<Options, Refusal> {
    Err(not_yet(args))
}

/// Parses what a daemon's client sent after the module was chosen. When the result has
/// [`Options::secluded_args`] and no second list was given, that list follows on the stream: read
/// it, and call again with both.
///
/// # Errors
///
/// [`Refusal`], with exit code 4, also for what `policy` refuses.
pub fn parse_connection(
    first: &[Vec<u8>],
    _secluded: Option<&[Vec<u8>]>,
    _policy: &Policy,
) -> Result<Options, Refusal> {
    let _ = first;
    Err(not_yet(&[]))
}

/// How a client's arguments reach the server, which decides what is quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Words of a remote shell: what its shell would act upon gets a backslash.
    Shell,
    /// A daemon's connection: as they are, except that a backslash in an option's value makes the
    /// arguments secluded, because daemons differ in what they make of one.
    Daemon,
}

/// The arguments for the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerArgs {
    /// The vector, beginning with `--server`.
    pub first: Vec<OsString>,
    /// With secluded arguments: the list that is sent over the stream, beginning with `rsync`.
    pub secluded: Option<Vec<OsString>>,
}

/// The arguments with which a client starts its server. `options.sender` says whether the client
/// sends; `paths` are those of the far side, for a daemon with the module's name in front.
pub fn server_args(_options: &Options, paths: &[OsString], _transport: Transport) -> ServerArgs {
    ServerArgs {
        first: paths.to_vec(),
        secluded: None,
    }
}

fn not_yet(_args: &[OsString]) -> Refusal {
    Refusal {
        text: "rsync: options are not parsed yet".to_owned(),
        exit_code: 1,
        options: Box::default(),
    }
}
