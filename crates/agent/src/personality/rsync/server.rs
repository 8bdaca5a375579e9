//! `rsync --server`: a peer at the standard streams.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use barge::over_rsync::options::Options;
use barge::over_rsync::{Connection, Event, Item, Listener, Server};

use nix::unistd::{dup2_stdin, dup2_stdout};

use super::failed::Failed;
use super::output::{Log, Logging, RunLog, list_line, stderr_of_server};
use super::{end, fd, interrupt, preferences};

/// Does one run, and gives its exit code.
pub(super) fn run(options: Options, args: Vec<OsString>) -> u8 {
    let role = if options.sender { "sender" } else { "Receiver" };
    let log = match log(&options) {
        Ok(log) => log,
        Err(failed) => return end(&failed, role),
    };
    let connection = match standard_streams() {
        Ok(connection) => connection,
        Err(error) => return end(&Failed::call(14, "rsync: standard streams", &error), role),
    };
    let stderr = Some(stderr_of_server(&options));
    let server = Server {
        options,
        args,
        preferences: preferences(true),
        listener: match &log {
            Some(log) => Arc::clone(log) as Arc<dyn Listener>,
            None => Arc::new(Unlogged),
        },
        stderr,
    };
    let ended = server.run(connection);
    if interrupt::caught() {
        return interrupt::EXIT;
    }
    if let (Some(log), None) = (log, &ended.failure) {
        log.finish(&ended.stats, ended.code);
    }
    ended.code
}

/// The standard streams as a connection, which takes them over: nothing else in this process reads
/// or writes them any more, and the peer hears of their end.
///
/// # Errors
///
/// Those of `open(2)`, `dup(2)` and `fcntl(2)`.
pub(super) fn standard_streams() -> io::Result<Connection> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    fd::connection(input, output)
}

/// `--log-file`, which a client asks for with `--remote-option`.
fn log(options: &Options) -> Result<Option<Arc<RunLog>>, Failed> {
    let Some(path) = &options.log_file else {
        return Ok(None);
    };
    let log = Log::open(path).map_err(|error| {
        Failed::call(
            11,
            format!("rsync: failed to open log-file {}", path.display()),
            &error,
        )
    })?;
    Ok(Some(Arc::new(RunLog::new(
        log,
        Logging::new(options, false),
    ))))
}

/// Logs nothing: a server's words go to its client, or to its standard error.
pub(super) struct Unlogged;

impl Listener for Unlogged {
    fn event(&self, _event: Event<'_>) {}

    fn list_line(&self, entry: &Item<'_>) -> Option<Vec<u8>> {
        Some(list_line(entry))
    }
}
