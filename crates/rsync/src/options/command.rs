//! What callers hand over and get back: the entry points of this module.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::draft::Draft;
use super::flag::{Stop, Word, Words};
use super::refuse::Refused;
use super::table::{DAEMON_FLAGS, DaemonDraft, FLAGS, valid_port};
use super::{FilterOption, Options, about};
use crate::session::args::without_backslashes;

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
pub fn parse(args: &[OsString], environment: &Environment) -> Result<Command, Refusal> {
    let mut reading = Reading::new(Refused::nothing());
    let read = reading
        .read(args)
        .and_then(|()| reading.finish(args, environment));
    let server = reading.draft.options.server;
    match read {
        Ok(()) if server => Ok(Command::Server(reading.options())),
        Ok(()) => Ok(Command::Client(reading.options())),
        Err(Stop::Print(text)) => Ok(Command::Print {
            text,
            to_stderr: server,
        }),
        Err(Stop::Daemon) => parse_daemon(args),
        Err(stop) => Err(reading.refusal(stop, environment)),
    }
}

/// Parses what a `--server` process was started with, and the second list a client with
/// `--secluded-args` sends over the stream.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_server(args: &[OsString], secluded: Option<&[OsString]>) -> Result<Options, Refusal> {
    let mut reading = Reading::new(Refused::nothing());
    reading.server(args, secluded)
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
    secluded: Option<&[Vec<u8>]>,
    policy: &Policy,
) -> Result<Options, Refusal> {
    let first = plain(first);
    let secluded = secluded.map(|args| args.iter().cloned().map(OsString::from_vec).collect());
    let secluded: Option<Vec<OsString>> = secluded;
    let mut reading = Reading::new(Refused::of_module(&policy.refuse));
    reading.is_connection = true;
    // Who connects to a daemon is never its user.
    reading.draft.options.server = true;
    reading.server(&first, secluded.as_deref())
}

/// The list with the backslashes taken off its options; paths keep theirs, for wildcards.
fn plain(args: &[Vec<u8>]) -> Vec<OsString> {
    let unescaped: Vec<OsString> = args
        .iter()
        .map(|arg| OsString::from_vec(without_backslashes(arg)))
        .collect();
    let mut words = Words::new(FLAGS, &unescaped);
    for word in words.by_ref() {
        if matches!(word, Ok(Word::Arg(b"."))) {
            break;
        }
    }
    let options = unescaped.len() - words.rest().len();
    let paths = args[options..].iter().cloned().map(OsString::from_vec);
    unescaped[..options].iter().cloned().chain(paths).collect()
}

/// Options on their way from words to what they come to.
#[derive(Debug)]
struct Reading {
    draft: Draft,
    refused: Refused,
    /// A daemon's client sent the words.
    is_connection: bool,
}

impl Reading {
    fn new(refused: Refused) -> Self {
        Self {
            draft: Draft::default(),
            refused,
            is_connection: false,
        }
    }

    /// A server's two lists.
    fn server(
        &mut self,
        first: &[OsString],
        secluded: Option<&[OsString]>,
    ) -> Result<Options, Refusal> {
        let environment = Environment::default();
        let read = self.read(first).and_then(|()| match secluded {
            // The first word is the program's name.
            Some(secluded) => self.read(secluded.get(1..).unwrap_or_default()),
            None => Ok(()),
        });
        let resolved = read.and_then(|()| self.finish(first, &environment));
        match resolved {
            Ok(()) => Ok(*self.options()),
            Err(stop) => Err(self.refusal(stop, &environment)),
        }
    }

    fn read(&mut self, args: &[OsString]) -> Result<(), Stop> {
        let mut words = Words::new(FLAGS, args);
        while let Some(word) = words.next() {
            let word = word?;
            if let Word::Flag { flag, name, .. } = &word {
                let sends = self.draft.options.sender;
                self.refused.check(flag, name, sends)?;
            }
            word.apply(&mut self.draft)?;
            let Word::Arg(arg) = word else {
                continue;
            };
            let options = &mut self.draft.options;
            options.args.push(OsString::from_vec(arg.to_vec()));
            // Behind it are a server's paths, whatever they look like.
            if options.server && arg == b"." {
                options.args.extend_from_slice(words.rest());
                break;
            }
        }
        Ok(())
    }

    fn finish(&mut self, args: &[OsString], environment: &Environment) -> Result<(), Stop> {
        let draft = &mut self.draft;
        let server = draft.options.server;
        if draft.version > 0 {
            return Err(Stop::Print(match draft.version {
                1 => about::version(),
                _ => about::version_json(),
            }));
        }
        if !server && args.len() == 1 && draft.options.human_readable > 1 {
            return Err(Stop::Print(about::help()));
        }
        if draft.is_plain_delete() && !self.refused.lets_delete_during()? {
            draft.deletes.before = true;
        }
        let paths = draft.options.args.len();
        if !server && paths < 2 && draft.files_from.is_none() {
            draft.options.list_only = true;
            draft.is_list_implied = !draft.typed.list_only;
        }
        draft.resolve(environment)?;
        let options = &draft.options;
        let mut rules = options.filters.iter();
        if server && rules.any(|rule| !matches!(rule, FilterOption::From0(_))) {
            return Err(Stop::usage(
                "This rsync does not support filter options on a server: rules come from the client",
            ));
        }
        let awaits_list = server && options.secluded_args;
        let named_list = options.files_from.is_some() && !server;
        match paths {
            _ if awaits_list => Ok(()),
            0 => Err(Stop::Usage),
            2 => Ok(()),
            _ if named_list => Err(Stop::Usage),
            _ => Ok(()),
        }
    }

    fn options(&mut self) -> Box<Options> {
        Box::new(std::mem::take(&mut self.draft.options))
    }

    fn refusal(&mut self, stop: Stop, environment: &Environment) -> Refusal {
        let server = self.draft.options.server;
        let (text, exit_code) = match stop {
            Stop::Misread(text) if server => (format!("rsync: on remote machine: {text}"), 1),
            Stop::Misread(text) => (format!("rsync: {text}"), 1),
            Stop::Refused(text, exit_code) => (text, exit_code),
            Stop::Usage => (about::help(), 1),
            Stop::Daemon => ("rsync: Attempt to hack rsync thwarted!".to_owned(), 1),
            Stop::Print(_) => ("rsync: a server prints no help".to_owned(), 1),
        };
        // What was read is of use even if not all of it fits together.
        let _ = self.draft.resolve(environment);
        Refusal {
            text: text.trim_end_matches('\n').to_owned(),
            exit_code: if self.is_connection { 4 } else { exit_code },
            options: self.options(),
        }
    }
}

/// Parses a command line that has one of a daemon's options.
fn parse_daemon(args: &[OsString]) -> Result<Command, Refusal> {
    let mut draft = DaemonDraft::default();
    draft.options.detach = true;
    let read = Words::new(DAEMON_FLAGS, args).try_for_each(|word| word?.apply(&mut draft));
    match read.and_then(|()| finish_daemon(&mut draft)) {
        Ok(()) => Ok(Command::Daemon(Box::new(draft.options))),
        Err(Stop::Print(text)) => Ok(Command::Print {
            text,
            to_stderr: draft.options.server,
        }),
        Err(stop) => Err(daemon_refusal(stop)),
    }
}

fn finish_daemon(draft: &mut DaemonDraft) -> Result<(), Stop> {
    if !draft.daemon {
        let text = "Daemon option(s) used without --daemon.".to_owned();
        return Err(Stop::Refused(text, 1));
    }
    draft.options.port = draft.port.map(valid_port).transpose()?;
    Ok(())
}

fn daemon_refusal(stop: Stop) -> Refusal {
    let text = match stop {
        Stop::Misread(text) => format!("rsync: {text} (in daemon mode)"),
        Stop::Refused(text, _) => text,
        Stop::Usage | Stop::Daemon | Stop::Print(_) => about::daemon_help(),
    };
    Refusal {
        text: format!("{text}\n(Type \"rsync --daemon --help\" for assistance with daemon mode.)"),
        exit_code: 1,
        options: Box::default(),
    }
}
