//! A client's run: where its arguments lead, who is met there, and what is said at the end.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use barge::over_rsync::options::{Options, ServerArgs, Transport, server_args};
use barge::over_rsync::{self, Client, Ended, Event, Failure, Level, Listener, Peer, Visit};

use super::failed::Failed;
use super::output::{Log, Logging, Output, RunLog, Screen, stderr_of_server};
use super::place::{Host, Journey, Remote, Way};
use super::transport::{self, Line, Shell};
use super::{end_for_good, fd, interrupt, password, preferences, rules};
use crate::personality::last_words;

/// Does a run, and gives its exit code.
pub(super) fn run(options: Options) -> u8 {
    let journey = match Journey::parse(&options.args) {
        Ok(journey) => journey,
        Err(failed) => return end_for_good(&failed, "client"),
    };
    let sends = !matches!(journey, Journey::Pull { .. });
    let role = if sends { "sender" } else { "Receiver" };
    match Run::new(options, &journey) {
        Ok(run) => run.go(journey),
        Err(failed) => end_for_good(&failed, role),
    }
}

/// A client and its output.
struct Run {
    options: Options,
    output: Arc<Output>,
    /// What this side is, for messages.
    role: &'static str,
}

impl Run {
    fn new(mut options: Options, journey: &Journey) -> Result<Self, Failed> {
        let (sends, lists) = match journey {
            Journey::Here { destination, .. } => (true, destination.is_none()),
            Journey::Push { .. } => (true, false),
            Journey::Pull { destination, .. } => (false, destination.is_none()),
        };
        options.list_only |= lists;
        options.sender = sends && !(options.list_only && matches!(journey, Journey::Here { .. }));
        let local = matches!(journey, Journey::Here { .. });
        let log = match &options.log_file {
            None => None,
            Some(path) => {
                let log = Log::open(path).map_err(|error| {
                    let path = path.display();
                    Failed::call(11, format!("rsync: failed to open log-file {path}"), &error)
                })?;
                Some(RunLog::new(log, Logging::new(&options, local)))
            }
        };
        let output = Output::new(&options, local, Screen::new(), log);
        Ok(Self {
            role: if options.sender { "sender" } else { "Receiver" },
            options,
            output: Arc::new(output),
        })
    }

    fn go(self, journey: Journey) -> u8 {
        let lists_modules = matches!(&journey, Journey::Pull { from, .. } if from.lists_modules());
        let ended = match self.travel(journey) {
            Ok(ended) => ended,
            Err(failed) => {
                self.explain(&failed);
                return self.conclude(failed.into_ended(), false);
            }
        };
        self.conclude(ended, !lists_modules)
    }

    fn travel(&self, journey: Journey) -> Result<Ended, Failed> {
        match journey {
            Journey::Here {
                sources,
                destination,
            } => self.here(sources, destination),
            Journey::Push { sources, to } => self.there(to, sources),
            Journey::Pull { from, destination } => {
                let destination = destination.unwrap_or_else(|| ".".into());
                self.there(from, vec![destination])
            }
        }
    }

    /// All of it on this machine.
    fn here(&self, sources: Vec<PathBuf>, destination: Option<PathBuf>) -> Result<Ended, Failed> {
        self.refuse_password_file()?;
        let pair = || {
            let (here, there) = UnixStream::pair()?;
            Ok((fd::socket(here.into())?, fd::socket(there.into())?))
        };
        let ends = pair().map_err(|error| Failed::call(14, "rsync: socketpair", &error))?;
        let destination = destination.unwrap_or_else(|| ".".into());
        let client = self.client(Vec::new(), no_args())?;
        let stderr = stderr_of_server(&self.options);
        Ok(over_rsync::copy(client, sources, destination, ends, stderr))
    }

    /// To or from another machine.
    fn there(&self, remote: Remote, paths: Vec<PathBuf>) -> Result<Ended, Failed> {
        match remote.way {
            Way::Shell => self.by_shell(&remote, paths),
            Way::Daemon { port } => self.by_daemon(&remote, port, paths),
        }
    }

    fn by_shell(&self, remote: &Remote, paths: Vec<PathBuf>) -> Result<Ended, Failed> {
        self.refuse_password_file()?;
        let args = server_args(&self.options, &remote.paths, Transport::Shell);
        let client = self.client(paths, args)?;
        let shell = self.shell(&remote.host, client.server_args.first.clone(), None);
        let line = shell.start(&self.teller())?;
        Ok(meet(client, line, Peer::Server))
    }

    fn by_daemon(
        &self,
        remote: &Remote,
        port: Option<u16>,
        paths: Vec<PathBuf>,
    ) -> Result<Ended, Failed> {
        let (module, far_paths) = in_module(&remote.paths);
        let args = server_args(&self.options, &far_paths, Transport::Daemon);
        let client = self.client(paths, args)?;
        let early_input = self.early_input()?;
        let port = port.or(self.options.port);
        let line = match self.options.rsh {
            Some(_) => {
                let args = ["--server", "--daemon", "."].map(Into::into).to_vec();
                let shell = self.shell(&remote.host, args, Some(port.unwrap_or(0)));
                shell.start(&self.teller())?
            }
            None => {
                let port = port.unwrap_or(DEFAULT_PORT);
                transport::to_daemon(&remote.host, port, &self.options, self.role, &self.teller())?
            }
        };
        let mut login = || {
            let (user, file) = (&remote.host.user, &self.options.password_file);
            password::login(user.as_deref(), file.as_deref())
        };
        let visit = Visit {
            module,
            early_input,
            shows_text: !self.options.no_motd && !self.options.quiet,
            doubts: None,
            login: &mut login,
        };
        Ok(meet(client, line, Peer::Daemon(visit)))
    }

    fn shell<'a>(
        &'a self,
        host: &'a Host,
        args: Vec<OsString>,
        daemon_port: Option<u16>,
    ) -> Shell<'a> {
        Shell {
            options: &self.options,
            host,
            args,
            daemon_port,
            role: self.role,
        }
    }

    fn client(&self, paths: Vec<PathBuf>, server_args: ServerArgs) -> Result<Client, Failed> {
        Ok(Client {
            options: self.options.clone(),
            server_args,
            preferences: preferences(false),
            rules: rules(&self.options)?,
            paths,
            listener: Arc::clone(&self.output) as Arc<dyn Listener>,
        })
    }

    fn refuse_password_file(&self) -> Result<(), Failed> {
        match self.options.password_file {
            None => Ok(()),
            Some(_) => Err(Failed::usage(
                "The --password-file option may only be used when accessing an rsync daemon.",
            )),
        }
    }

    fn early_input(&self) -> Result<Vec<u8>, Failed> {
        let Some(path) = &self.options.early_input else {
            return Ok(Vec::new());
        };
        let mut input = std::fs::read(path).map_err(|error| {
            let path = path.display();
            Failed::call(
                1,
                format!("rsync: failed to read early-input file {path}"),
                &error,
            )
        })?;
        input.truncate(MAX_EARLY_INPUT);
        Ok(input)
    }

    /// Shows how a connection is made to who wants to know much.
    fn teller(&self) -> impl Fn(&[u8]) {
        |line| {
            if self.options.verbose > 1 {
                let text = &[line, b"\n"].concat();
                let level = Level::Info;
                self.output.event(Event::Line { level, text });
            }
        }
    }

    fn explain(&self, failed: &Failed) {
        if !failed.text.is_empty() {
            let text = format!("{}\n", failed.text);
            let (level, text) = (Level::Error, text.as_bytes());
            self.output.event(Event::Line { level, text });
        }
    }

    /// Says how a run ended.
    fn conclude(&self, ended: Ended, transferred: bool) -> u8 {
        if interrupt::caught() {
            self.output.fail(interrupt::EXIT, self.role);
            last_words(&self.output.last_words());
            return interrupt::EXIT;
        }
        match &ended.failure {
            None if transferred => self.output.finish(&ended.stats, ended.code),
            None => {}
            // The output has heard of it.
            Some(_) => {}
        }
        // A server that announces its failure has told of it, too.
        let is_told = matches!(ended.failure, Some(Failure::Peer(_)));
        if ended.code != 0 && !is_told {
            // Who receives has become two by the time that something is asked for, and this is its end.
            let comes_late = matches!(
                ended.failure,
                None | Some(Failure::Closed | Failure::Connection { .. } | Failure::TimedOut(_))
            );
            let has_asked = comes_late && ended.stats.files.iter().any(|&n| n > 0);
            let role = match self.role {
                "Receiver" if has_asked => "generator",
                role => role,
            };
            self.output.fail(ended.code, role);
        }
        if ended.code != 0 {
            last_words(&self.output.last_words());
        }
        ended.code
    }
}

/// The run itself, and then the end of the program that carried it.
fn meet(client: Client, line: Line, peer: Peer<'_>) -> Ended {
    let mut ended = client.run(line.connection, peer);
    if let Some(program) = line.program {
        // As rsync 3.5.0 does it: of a run that came to its end, the program knows more, and of a connection
        // that failed perhaps. What failed here made it fail.
        ended.code = match (&ended.failure, program.wait()) {
            (None, code) if code != 0 => code,
            (Some(Failure::Closed | Failure::Connection { .. }), code) => ended.code.max(code),
            _ => ended.code,
        };
    }
    ended
}

impl Remote {
    /// No module is named.
    fn lists_modules(&self) -> bool {
        let is_daemon = matches!(self.way, Way::Daemon { .. });
        is_daemon && self.paths.first().is_none_or(|path| path.is_empty())
    }
}

/// The module, and the paths as a daemon takes them. None for the list of modules.
fn in_module(paths: &[OsString]) -> (Option<Vec<u8>>, Vec<OsString>) {
    let first = paths.first().map_or(&b""[..], |path| path.as_bytes());
    let module = first.split(|&byte| byte == b'/').next().unwrap_or_default();
    if module.is_empty() {
        return (None, Vec::new());
    }
    let paths = paths.iter().map(|path| guarded(module, path)).collect();
    (Some(module.to_vec()), paths)
}

/// A path as a daemon takes it: the module alone with a slash, and what would begin a second path in
/// it hidden from that.
fn guarded(module: &[u8], path: &OsStr) -> OsString {
    let path = path.as_bytes();
    if path == module {
        return OsString::from_vec([module, b"/"].concat());
    }
    let begins_another = [b" ", module, b"/"].concat();
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match rest.starts_with(&begins_another) {
            true => out.extend_from_slice(b"[ ]"),
            false => out.push(byte),
        }
        rest = after;
    }
    OsString::from_vec(out)
}

fn no_args() -> ServerArgs {
    ServerArgs {
        first: Vec::new(),
        secluded: None,
    }
}

impl Failed {
    fn into_ended(self) -> Ended {
        Ended::failed(Failure::from(self))
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::fatal(failed.code, failed.text)
    }
}

/// The port of a daemon (`services(5)`).
pub(super) const DEFAULT_PORT: u16 = 873;

/// Bytes a daemon takes for its early hook.
const MAX_EARLY_INPUT: usize = 5120;

#[cfg(test)]
mod tests {
    use super::*;

    /// As rsync 3.5.0 sends them.
    #[test]
    fn paths_name_their_module_and_begin_no_other() {
        let of = |paths: &[&str]| {
            let paths: Vec<OsString> = paths.iter().map(OsString::from).collect();
            let (module, paths) = in_module(&paths);
            let paths: Vec<_> = paths
                .into_iter()
                .map(|path| path.into_string().unwrap())
                .collect();
            (
                module.map(|module| String::from_utf8(module).unwrap()),
                paths,
            )
        };
        let rw = |paths: &[&str]| {
            (
                Some("rw".to_owned()),
                paths.iter().map(|p| (*p).to_owned()).collect(),
            )
        };
        assert_eq!(of(&["rw"]), rw(&["rw/"]));
        assert_eq!(of(&["rw/a", "b", "rw/c d"]), rw(&["rw/a", "b", "rw/c d"]));
        assert_eq!(of(&["rw/b rw/c"]), rw(&["rw/b[ ]rw/c"]));
        assert_eq!(of(&[""]), (None, Vec::new()));
    }
}
