//! A client's run: it meets a daemon or a server, both shake hands, and a role takes over.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use barge_rsync::options::{Options, ServerArgs};
use barge_rsync::session::auth::{self, Digest, NoCommonDigest};
use barge_rsync::session::greeting::{Greeting, LineError, Reply, Request, take_line};
use barge_rsync::session::setup::{SetupExchange, VersionExchange};
use barge_rsync::session::{Preferences, Setup, args};
use barge_rsync::{ProtocolVersion, WireError};
use bytes::BytesMut;

use super::agreed::{self, Agreed, Base, Ended};
use super::asked::Asked;
use super::conversation::{Conversation, Deadline};
use super::{Connection, Event, Failure, Level, Listener};
use crate::filter::RuleList;

/// What a client does, whoever it meets.
#[derive(Clone)]
pub struct Client {
    /// What is to be done; `sender` says in which direction.
    pub options: Options,
    /// The server's arguments.
    pub server_args: ServerArgs,
    /// What is offered where checksums and compressions are negotiated.
    pub preferences: Preferences,
    /// The rules of the options.
    pub rules: RuleList,
    /// The paths of this side: the sources, or the one destination.
    pub paths: Vec<PathBuf>,
    /// Who hears of the run.
    pub listener: Arc<dyn Listener>,
}

/// Who is at the other end of a connection.
pub enum Peer<'a> {
    /// A daemon, which begins with lines.
    Daemon(Visit<'a>),
    /// A server that was started with [`ServerArgs::first`].
    Server,
}

/// What a client wants of a daemon.
pub struct Visit<'a> {
    /// A module, by its name; without: the list of modules.
    pub module: Option<Vec<u8>>,
    /// For the module's early hook; at most 5120 bytes.
    pub early_input: Vec<u8>,
    /// Whether the user sees what the daemon says before the transfer.
    pub shows_text: bool,
    /// How long the greeting of a peer may take of which it is not known whether it is a daemon; `None`
    /// where the user says that it is one.
    pub doubts: Option<Duration>,
    /// Asked for the user and the password when the daemon wants to know.
    pub login: &'a mut dyn FnMut() -> Result<Login, Failure>,
}

/// Who a client is.
pub struct Login {
    /// The name, without a space.
    pub user: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

impl Client {
    /// Does the run.
    pub fn run(self, connection: Connection, peer: Peer<'_>) -> Ended {
        let mut conversation = Conversation::new(connection);
        conversation.set_patience(self.options.timeout);
        let in_module = matches!(peer, Peer::Daemon(_));
        match self.shake_hands(&mut conversation, peer) {
            Ok(Some(setup)) => self.transfer(conversation, setup, in_module),
            Ok(None) => Ended::default(),
            Err(failure) => {
                let role = if self.options.sender {
                    "sender"
                } else {
                    "Receiver"
                };
                let text = failure.words(role, conversation.received());
                if !text.is_empty() {
                    self.show(Level::Error, text.as_bytes());
                }
                Ended::failed(failure)
            }
        }
    }

    fn shake_hands(
        &self,
        conversation: &mut Conversation,
        peer: Peer<'_>,
    ) -> Result<Option<Setup>, Failure> {
        let ours = protocol(&self.options);
        let protocol = match peer {
            Peer::Daemon(visit) => {
                let accepted = self.visit(conversation, visit, ours)?;
                let Some(protocol) = accepted else {
                    return Ok(None);
                };
                let args = &self.server_args.first;
                if self.options.verbose > 1 {
                    let line = [&b"sending daemon args: "[..], &words(args)].concat();
                    self.show(Level::Info, &line);
                }
                conversation.say(&args::encode(&bytes_of(args)))?;
                self.say_secluded(conversation)?;
                protocol
            }
            Peer::Server => {
                self.say_secluded(conversation)?;
                exchange_versions(conversation, ours)?
            }
        };
        let preferences = self.preferences.clone();
        let exchange = SetupExchange::client(&self.options, protocol, preferences)?;
        set_up(conversation, exchange, BytesMut::new()).map(Some)
    }

    fn say_secluded(&self, conversation: &mut Conversation) -> Result<(), Failure> {
        match &self.server_args.secluded {
            Some(args) => conversation.say(&args::encode(&bytes_of(args))),
            None => Ok(()),
        }
    }

    /// Greets a daemon and asks for what is wanted; the version to speak, once it accepts; `None` when
    /// it has listed its modules.
    fn visit(
        &self,
        conversation: &mut Conversation,
        visit: Visit<'_>,
        ours: ProtocolVersion,
    ) -> Result<Option<ProtocolVersion>, Failure> {
        conversation.say(&Greeting::line(ours))?;
        let greeting = match visit.doubts {
            None => greeting(conversation)?,
            Some(patience) => greeting_in_doubt(conversation, patience)?,
        };
        let protocol = greeting.agree(ours);
        conversation.say(&opening(&visit))?;
        loop {
            let line = conversation.hear(take_line)?;
            match Reply::parse(line) {
                Reply::Text(line) if visit.shows_text => self.show(Level::Info, &line),
                Reply::Text(_) => {}
                Reply::Authenticate(challenge) => {
                    let digest = greeting.digest().map_err(|none| no_digest(&none))?;
                    let Login { user, password } = (visit.login)()?;
                    let response = auth::response(digest, &password, &challenge);
                    conversation.say(&auth::answer_line(&user, &response))?;
                }
                Reply::Accepted => return Ok(Some(protocol?)),
                Reply::Exit => return Ok(None),
                Reply::Refused(line) => {
                    self.show(Level::Error, &line);
                    return Err(Failure::fatal(5, ""));
                }
            }
        }
    }

    fn show(&self, level: Level, line: &[u8]) {
        let text = &[line, b"\n"].concat();
        self.listener.event(Event::Line { level, text });
    }

    fn transfer(self, conversation: Conversation, setup: Setup, in_module: bool) -> Ended {
        let (connection, moved) = conversation.end();
        let sends = self.options.sender;
        let asked = asked(&self.options, &self.server_args, in_module).map(Arc::new);
        let agreed = Agreed {
            setup,
            options: self.options,
            connection,
            moved,
            listener: self.listener,
            stderr: None,
            rules: self.rules,
            base: Base::Working,
            paths: self.paths,
            asked,
        };
        match sends {
            true => agreed::send(agreed),
            false => agreed::receive(agreed),
        }
    }
}

/// What a server was asked for, by its own arguments.
fn asked(options: &Options, args: &ServerArgs, in_module: bool) -> Option<Asked> {
    let args = args.secluded.as_ref().unwrap_or(&args.first);
    let dot = args.iter().position(|arg| arg.as_bytes() == b".")?;
    Asked::of(options, &bytes_of(&args[dot + 1..]), in_module)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn greeting(conversation: &mut Conversation) -> Result<Greeting, Failure> {
    let line = conversation.hear(take_line).map_err(|end| match end {
        Failure::Closed => Failure::fatal(5, "rsync: did not see server greeting"),
        end => end,
    })?;
    Greeting::parse(&line).map_err(|error| Failure::fatal(5, text(&error.to_user())))
}

/// The greeting of a peer that may be anything: a daemon speaks first, and at once.
fn greeting_in_doubt(
    conversation: &mut Conversation,
    patience: Duration,
) -> Result<Greeting, Failure> {
    let limit = Deadline::after(patience, || Failure::NoDaemon);
    conversation.set_deadline(Some(limit));
    let first = |input: &mut BytesMut| {
        let known = input.len().min(GREETING.len());
        match (input[..known] == GREETING[..known], known == GREETING.len()) {
            (false, _) => Err(Failure::NoDaemon),
            (true, true) => Ok(Some(())),
            (true, false) => Ok(None),
        }
    };
    let heard = conversation
        .hear(first)
        .and_then(|()| greeting(conversation));
    conversation.set_deadline(None);
    heard.map_err(|end| match end {
        Failure::Closed => Failure::NoDaemon,
        end => end,
    })
}

/// How every daemon's first line begins.
const GREETING: &[u8] = b"@RSYNCD: ";

/// The lines that ask for what is wanted.
fn opening(visit: &Visit<'_>) -> Vec<u8> {
    let mut opening = Vec::new();
    if !visit.early_input.is_empty() {
        opening.extend(Request::EarlyInput(visit.early_input.len()).line());
        opening.extend_from_slice(&visit.early_input);
    }
    let request = match &visit.module {
        Some(module) => Request::Module(module.clone()),
        None => Request::List,
    };
    opening.extend(request.line());
    opening
}

/// The version that the options let this side say.
pub(super) fn protocol(options: &Options) -> ProtocolVersion {
    let chosen = options.protocol.and_then(ProtocolVersion::new);
    chosen.unwrap_or_default()
}

/// Both sides of a connection without a greeting say their versions.
pub(super) fn exchange_versions(
    conversation: &mut Conversation,
    ours: ProtocolVersion,
) -> Result<ProtocolVersion, Failure> {
    let mut output = BytesMut::new();
    let exchange = VersionExchange::new(ours, &mut output);
    conversation.say(&output)?;
    conversation.hear(|input| exchange.poll(input))
}

/// Talks until both sides know what they speak. `output` is what this side says first.
pub(super) fn set_up(
    conversation: &mut Conversation,
    mut exchange: SetupExchange,
    mut output: BytesMut,
) -> Result<Setup, Failure> {
    loop {
        conversation.say(&output)?;
        output.clear();
        let mut setup = None;
        conversation.try_hear(|input| -> Result<(), WireError> {
            setup = exchange.poll(input, &mut output)?;
            Ok(())
        })?;
        if let Some(setup) = setup {
            conversation.say(&output)?;
            return Ok(setup);
        }
        if output.is_empty() {
            conversation.wait()?;
        }
    }
}

/// A command's words as rsync shows them: in quotes where another byte than those of a plain name is
/// in one, with their number behind.
pub fn words(args: &[OsString]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+=,@_-./".contains(byte);
    let mut shown = Vec::new();
    for arg in args.iter().map(|arg| arg.as_bytes()) {
        match arg.iter().all(is_plain) && !arg.is_empty() {
            true => shown.extend_from_slice(arg),
            false => shown.extend([b"\"", arg, b"\""].concat()),
        }
        shown.push(b' ');
    }
    shown.extend(format!(" ({} args)", args.len()).into_bytes());
    shown
}

fn bytes_of(args: &[OsString]) -> Vec<&[u8]> {
    args.iter().map(|arg| arg.as_bytes()).collect()
}

fn no_digest(none: &NoCommonDigest) -> Failure {
    let (server, client) = (text(&none.0), Digest::names());
    let what = "Failed to negotiate a daemon auth checksum choice.";
    Failure::fatal(
        4,
        format!("{what}\nServer list: {server}\nClient list: {client}"),
    )
}

/// The peer's bytes in a text of ours.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl From<LineError> for Failure {
    fn from(error: LineError) -> Self {
        Self::fatal(5, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::over_rsync::pipe;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Listener for Lines {
        fn event(&self, event: Event<'_>) {
            if let Event::Line { level, text } = event {
                let line = format!("{level:?} {}", String::from_utf8_lossy(text));
                self.0.lock().unwrap().push(line);
            }
        }
    }

    /// Lets a client meet a daemon that says `script` and closes. Gives how it ended, what the client
    /// said and what its user saw.
    fn meet(script: &[u8], module: Option<&str>) -> (Ended, String, Vec<String>) {
        meet_in_doubt(script, module, None)
    }

    fn meet_in_doubt(
        script: &[u8],
        module: Option<&str>,
        doubts: Option<Duration>,
    ) -> (Ended, String, Vec<String>) {
        let (here, there) = pipe();
        let mut daemon = Conversation::new(there);
        daemon.say(script).unwrap();
        let (mut daemon, _) = daemon.end();
        daemon.output.close().unwrap();
        let listener = Arc::new(Lines::default());
        let client = Client {
            options: Options::default(),
            server_args: ServerArgs {
                first: vec!["--server".into()],
                secluded: Some(vec!["rsync".into()]),
            },
            preferences: Preferences::new(false),
            rules: RuleList::default(),
            paths: Vec::new(),
            listener: Arc::clone(&listener) as Arc<dyn Listener>,
        };
        let mut login = || {
            Ok(Login {
                user: b"alice".to_vec(),
                password: b"s3cret".to_vec(),
            })
        };
        let visit = Visit {
            module: module.map(|name| name.into()),
            early_input: Vec::new(),
            shows_text: true,
            doubts,
            login: &mut login,
        };
        let ended = client.run(here, Peer::Daemon(visit));
        let (mut said, mut buf) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = daemon.input.read(&mut buf, None) {
            said.extend_from_slice(&buf[..count]);
        }
        let lines = listener.0.lock().unwrap().clone();
        (ended, String::from_utf8(said).unwrap(), lines)
    }

    const GREETING: &str = "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n";

    #[test]
    fn a_list_is_shown_and_the_run_is_a_success() {
        let script = format!("{GREETING}Welcome\n\nrw\tarea\n@RSYNCD: EXIT\n");
        let (ended, said, lines) = meet(script.as_bytes(), None);
        assert_eq!(ended.code, 0);
        assert_eq!(said, format!("{GREETING}#list\n"));
        assert_eq!(lines, ["Info Welcome\n", "Info \n", "Info rw\tarea\n"]);
    }

    #[test]
    fn who_does_not_begin_as_a_daemon_is_none_where_that_is_in_doubt() {
        let doubts = Some(Duration::from_secs(10));
        for script in ["HTTP/1.1 400 Bad Request\r\n", "@RSYNC", ""] {
            let (ended, _, lines) = meet_in_doubt(script.as_bytes(), Some("rw"), doubts);
            assert!(matches!(ended.failure, Some(Failure::NoDaemon)), "{script}");
            assert_eq!((ended.code, lines.len()), (5, 1), "{script}");
        }
        let script = format!("{GREETING}@ERROR: Unknown module 'rw'\n");
        let (ended, _, lines) = meet_in_doubt(script.as_bytes(), Some("rw"), doubts);
        assert_eq!(ended.code, 5);
        assert_eq!(lines, ["Error @ERROR: Unknown module 'rw'\n"]);
    }

    #[test]
    fn silence_of_a_peer_in_doubt_ends() {
        let (here, _there) = pipe();
        let mut conversation = Conversation::new(here);
        let end = greeting_in_doubt(&mut conversation, Duration::from_millis(10)).unwrap_err();
        assert!(matches!(end, Failure::NoDaemon), "{end:?}");
    }

    /// The challenge and its answer were recorded between two stock peers.
    #[test]
    fn a_challenge_is_answered_and_the_arguments_follow_the_daemon_s_consent() {
        let challenge = "agInEZBZWRHUVw8Fsl16i+b3t25nH38fju6lin+LfzXxrCJB9IwLL9+a3gzi58fDvD6wm4IwiwEFBk30aORzSA";
        let answer = "wy3Vin5MjvrppJgoZtLu2PyG9lScnxC1Fifkn17ZJO1Dd53HZLkH5EFdicqf/3ky4zoLtfxmYTsfQDzxCMoktQ";
        let script = format!("{GREETING}@RSYNCD: AUTHREQD {challenge}\n@RSYNCD: OK\n");
        let (ended, said, _) = meet(script.as_bytes(), Some("rw"));
        assert!(matches!(ended.failure, Some(Failure::Closed)));
        let args = "--server\0\0rsync\0\0";
        assert_eq!(said, format!("{GREETING}rw\nalice {answer}\n{args}"));
    }

    /// As stock 3.5.0 ends and says it.
    #[test]
    fn a_daemon_that_is_none_or_refuses_ends_the_run() {
        for (script, code, text) in [
            ("", 5, "rsync: did not see server greeting"),
            (
                "hello\n",
                5,
                "rsync: server sent \"hello\" rather than greeting",
            ),
            (
                "@RSYNCD: 32.0 foo\n@RSYNCD: AUTHREQD abc\n",
                4,
                "Failed to negotiate a daemon auth checksum choice.\nServer list: foo\n\
                 Client list: sha512 sha256 sha1 md5 md4",
            ),
            (
                "@RSYNCD: 19.0\n@RSYNCD: OK\n",
                2,
                "protocol version mismatch -- is your shell clean?\n\
                 (see the rsync manpage for an explanation)",
            ),
            (
                "@RSYNCD: 32.0 md5\nmotd\n",
                12,
                "connection unexpectedly closed",
            ),
        ] {
            let (ended, _, _) = meet(script.as_bytes(), Some("rw"));
            assert_eq!(ended.code, code, "{script}");
            assert_eq!(ended.failure.unwrap().to_string(), text);
        }
        let (ended, _, lines) = meet(b"@RSYNCD: 32.0 md5\n@ERROR: nope\n", Some("rw"));
        assert_eq!(ended.code, 5);
        assert_eq!(lines, ["Error @ERROR: nope\n"]);
    }
}
