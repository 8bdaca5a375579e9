//! A daemon's conversation with one client, from the greeting to the end of the run.
//!
//! Source: rsyncd.conf(5), and the rsync protocol as recorded between two stock 3.5.0 peers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use barge_fs::Root;
use barge_rsync::options::{Options, Policy, Refusal, parse_connection};
use barge_rsync::session::args::{ArgsReader, paths_in_module};
use barge_rsync::session::auth::{self, Digest};
use barge_rsync::session::greeting::{Greeting, Reply, Request, list_line, take_line};
use barge_rsync::session::{Preferences, Setup};
use barge_rsync::wire::mux::{FrameHeader, Tag};
use barge_rsync::{Chmod, ProtocolVersion};
use bytes::{Buf, BytesMut};

use super::agreed::{Base, Ended, ModuleBase, Seal};
use super::client::text;
use super::conversation::{Conversation, Deadline};
use super::glob::{expand, literal};
use super::module::{Access, Module};
use super::server::{answer_set_up, path_args, transfer};
use super::{Connection, Failure, Listener, describe_exit};
use crate::filter::RuleList;

/// What a daemon asks the world around it about one client.
pub trait Gate {
    /// Whether the client's host may use a module.
    fn admits(&mut self, module: &Module) -> bool;

    /// What the client is called in the log from here on: its name may have been found when it was
    /// admitted. `None` where nothing is new.
    fn renamed(&self) -> Option<String> {
        None
    }

    /// Takes one of a module's connections, until the process or the gate ends.
    ///
    /// # Errors
    ///
    /// What the client is told: `max connections (4) reached -- try again later`.
    fn enter(&mut self, module: &Module) -> Result<(), String>;

    /// The names of the groups a user is a member of.
    ///
    /// # Errors
    ///
    /// Why that cannot be told, for the log: a rule about groups may keep the user out.
    fn groups(&mut self, user: &str) -> Result<Vec<String>, String>;

    /// The passwords that will do for a user, or for who is let in as a member of `group`.
    ///
    /// # Errors
    ///
    /// Why there is none, for the log.
    fn passwords(
        &mut self,
        module: &Module,
        user: &str,
        group: Option<&str>,
    ) -> Result<Vec<Vec<u8>>, String>;

    /// Goes where the module is and becomes who serves it; nothing can be undone. May set what of
    /// the module depends on how that went.
    ///
    /// # Errors
    ///
    /// What the client is told: `chroot failed`.
    fn settle(&mut self, module: &mut Module, user: &str) -> Result<Settled, String>;

    /// Makes ready for a run with these options, or refuses it.
    ///
    /// # Errors
    ///
    /// An exit code, and what the client is told.
    fn begin(&mut self, _module: &Module, _options: &Options) -> Result<(), (u8, String)> {
        Ok(())
    }

    /// Who hears of a run with these options, besides the client.
    fn listener(&mut self, options: &Options) -> Arc<dyn Listener>;

    /// Random bytes nobody can know.
    ///
    /// # Errors
    ///
    /// When there are none.
    fn random(&mut self) -> Result<[u8; 32], String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// Takes a line for the log, without its end. The peer's words are in it.
    fn log(&mut self, line: &str);
}

/// Where a module is.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its directory, as this process reaches it.
    pub root: PathBuf,
    /// The module's own filter rules.
    pub rules: RuleList,
    /// What is done when a push is through, before the client hears of it.
    pub seal: Option<Seal>,
}

/// A daemon, and one client of it.
pub struct Daemon<'a> {
    /// What every client is told first, and an empty line behind it.
    pub motd: Option<Vec<u8>>,
    /// The modules, in the order of the list.
    pub modules: &'a [Module],
    /// What is offered where checksums and compressions are negotiated.
    pub preferences: Preferences,
    /// The client, for the log: `host (address)`.
    pub visitor: String,
    /// How long a client may take until it is let in, and again over its arguments.
    pub patience: Duration,
    /// The world around.
    pub gate: &'a mut dyn Gate,
}

/// Why a conversation stopped before there was a run.
enum Stop {
    /// All was said: with this exit code.
    Over(u8),
    /// It could not go on.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A client that was let in.
struct Guest {
    protocol: ProtocolVersion,
    module: Module,
    user: String,
    settled: Settled,
}

impl Daemon<'_> {
    /// How long an honest client may take until it is let in.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    /// Serves the client to the end of its run. A failure before the transfer has been logged.
    pub fn serve(mut self, connection: Connection) -> Ended {
        let mut conversation = Conversation::new(connection);
        let patience = Deadline::after(self.patience, silent);
        conversation.set_deadline(Some(patience));
        let guest = match self.let_in(&mut conversation) {
            Ok(guest) => guest,
            Err(stop) => return self.stopped(conversation, stop),
        };
        match self.begin(&mut conversation, &guest) {
            Ok((setup, options)) => self.run(conversation, guest, setup, options),
            Err(stop) => self.stopped(conversation, stop),
        }
    }

    fn stopped(&mut self, conversation: Conversation, stop: Stop) -> Ended {
        match stop {
            Stop::Over(code) => {
                conversation.part(LAST_WORDS);
                Ended {
                    code,
                    ..Ended::default()
                }
            }
            Stop::Failed(failure) => self.failed(failure),
        }
    }

    fn failed(&mut self, failure: Failure) -> Ended {
        let words = failure.to_string();
        // A client that only looks whether anybody is there is no news.
        if !words.is_empty() && !matches!(failure, Failure::Closed) {
            words.lines().for_each(|line| self.gate.log(line));
            let code = failure.exit_code();
            let line = format!("rsync error: {} (code {code})", describe_exit(code));
            self.gate.log(&line);
        }
        Ended::failed(failure)
    }

    /// Greets a client and lets it choose a module, prove who it is, and settle there.
    fn let_in(&mut self, conversation: &mut Conversation) -> Result<Guest, Stop> {
        conversation.say(&Greeting::line(ProtocolVersion::NEWEST))?;
        if let Some(motd) = &self.motd {
            conversation.say(&[&**motd, b"\n"].concat())?;
        }
        let line = conversation.hear(take_line)?;
        let greeting = match Greeting::parse(&line) {
            Ok(greeting) => greeting,
            Err(error) => return refuse(conversation, &error.to_client()),
        };
        let name = self.request(conversation)?;
        let module = self.module(conversation, &name)?;
        // Whoever cannot prove to be somebody must not take a place from those who can.
        let (mut module, user) = self.authenticate(conversation, module, &greeting)?;
        if let Err(why) = self.gate.enter(&module) {
            let name = &module.name;
            let visitor = &self.visitor;
            self.gate
                .log(&format!("{why} on module {name} from {visitor}"));
            return refuse_because(conversation, &why);
        }
        let settled = match self.gate.settle(&mut module, &user) {
            Ok(settled) => settled,
            Err(why) => return refuse_because(conversation, &why),
        };
        conversation.say(&Reply::Accepted.line())?;
        Ok(Guest {
            protocol: greeting
                .agree(ProtocolVersion::NEWEST)
                .map_err(Failure::from)?,
            module,
            user,
            settled,
        })
    }

    /// The name of the module a client wants. Lists the modules for one that wants that.
    fn request(&mut self, conversation: &mut Conversation) -> Result<String, Stop> {
        loop {
            let line = conversation.hear(take_line)?;
            match Request::parse(&line) {
                Ok(Request::Module(name)) => return Ok(text(&name)),
                Ok(Request::List) => {
                    let visitor = &self.visitor;
                    self.gate
                        .log(&format!("module-list request from {visitor}"));
                    conversation.say(&self.list())?;
                    return Err(Stop::Over(0));
                }
                // There is no hook that would want it.
                Ok(Request::EarlyInput(len)) => conversation.hear(|input: &mut BytesMut| {
                    let is_there = input.len() >= len;
                    if is_there {
                        input.advance(len);
                    }
                    Ok::<_, Failure>(is_there.then_some(()))
                })?,
                Err(answer) => return refuse(conversation, &answer),
            }
        }
    }

    fn list(&self) -> Vec<u8> {
        let listed = self.modules.iter().filter(|module| module.listed);
        let mut list = Vec::new();
        for module in listed {
            list.extend(list_line(&module.name, &module.comment));
            list.push(b'\n');
        }
        list.extend(Reply::Exit.line());
        list
    }

    /// A module that exists and that the client's host may use.
    fn module(&mut self, conversation: &mut Conversation, name: &str) -> Result<Module, Stop> {
        let unknown = format!("Unknown module '{name}'");
        let Some(module) = self.modules.iter().find(|module| module.name == name) else {
            let visitor = &self.visitor;
            self.gate
                .log(&format!("unknown module '{name}' tried from {visitor}"));
            return refuse_because(conversation, &unknown);
        };
        let admitted = self.gate.admits(module);
        if let Some(renamed) = self.gate.renamed() {
            self.visitor = renamed;
        }
        let visitor = &self.visitor;
        if admitted {
            let line = format!("rsync allowed access on module {name} from {visitor}");
            self.gate.log(&line);
            return Ok(module.clone());
        }
        self.gate
            .log(&format!("rsync denied on module {name} from {visitor}"));
        match module.listed {
            true => {
                let denied = format!("access denied to {name} from {visitor}");
                refuse_because(conversation, &denied)
            }
            false => refuse_because(conversation, &unknown),
        }
    }

    /// Lets the client prove who it is, where that matters. What the proof does to the module's
    /// access is in the module that comes back.
    fn authenticate(
        &mut self,
        conversation: &mut Conversation,
        mut module: Module,
        greeting: &Greeting,
    ) -> Result<(Module, String), Stop> {
        if module.users.is_none() {
            return Ok((module, String::new()));
        }
        let digest = greeting.digest().ok();
        let digest =
            digest.filter(|&digest| module.least_digest.is_none_or(|least| least.takes(digest)));
        let Some(digest) = digest else {
            let ours = Digest::names();
            let why =
                format!("your client does not support one of our daemon-auth checksums: {ours}");
            let name = &module.name;
            self.gate.log(&format!(
                "auth failed on module {name} from {}: no common digest",
                self.visitor
            ));
            say_error(conversation, &why)?;
            return Err(Stop::Over(4));
        };
        let random = self
            .gate
            .random()
            .map_err(|error| Failure::fatal(14, error))?;
        let challenge = auth::challenge(digest, random);
        conversation.say(&Reply::Authenticate(challenge.clone().into()).line())?;
        let line = match conversation.hear(take_line) {
            // Who leaves instead of answering has failed like who answers nonsense.
            Err(Failure::Closed) => Vec::new(),
            line => line?,
        };
        let outcome = self.check(&mut module, digest, challenge.as_bytes(), &line);
        match outcome {
            Ok(user) => Ok((module, user)),
            Err(why) => {
                let name = &module.name;
                let line = format!("auth failed on module {name} from {}{why}", self.visitor);
                self.gate.log(&line);
                refuse_because(conversation, &format!("auth failed on module {name}"))
            }
        }
    }

    /// Checks an answer; the user, or why not, for the log. Every answer costs a comparison, so that
    /// the time does not tell who is known here.
    fn check(
        &mut self,
        module: &mut Module,
        digest: Digest,
        challenge: &[u8],
        line: &[u8],
    ) -> Result<String, String> {
        let (user, answer) = auth::split_answer(line).ok_or(": invalid challenge response")?;
        let user = text(user);
        let rules = module.users.clone().unwrap_or_default();
        let gate = &mut *self.gate;
        let fits = rules.fit(&user, || gate.groups(&user));
        let found = fits.as_ref().ok().and_then(Option::as_ref);
        let group = found.and_then(|fits| fits.group.as_deref());
        let passwords = self.gate.passwords(module, &user, group);
        let known = passwords.as_deref().unwrap_or_default();
        // Who is not known costs what a wrong password costs.
        let nobody = [Vec::new()];
        let tried = if known.is_empty() { &nobody } else { known };
        let mut proved = false;
        for password in tried {
            let is_real = !password.is_empty();
            proved |= auth::is_response(digest, password, challenge, answer) && is_real;
        }
        let access = match fits.map_err(|why| format!(" for {user}: {why}"))? {
            None => return Err(format!(" for {user}: no matching rule")),
            Some(fits) => fits.access,
        };
        match access {
            Access::Denied => return Err(format!(" for {user}: denied by rule")),
            Access::AsModule => {}
            Access::ReadOnly => module.read_only = true,
            Access::ReadWrite => module.read_only = false,
        }
        match (proved, passwords) {
            (true, _) => Ok(user),
            (false, Err(why)) => Err(format!(" for {user}: {why}")),
            (false, Ok(_)) => Err(format!(" for {user}: password mismatch")),
        }
    }

    /// Hears the client's arguments and agrees on what is spoken. What is wrong with the arguments
    /// can be said only after that.
    fn begin(
        &mut self,
        conversation: &mut Conversation,
        guest: &Guest,
    ) -> Result<(Setup, Options), Stop> {
        let module = &guest.module;
        let patience = match module.timeout {
            0 => self.patience,
            seconds => self.patience.min(Duration::from_secs(seconds.into())),
        };
        conversation.set_deadline(Some(Deadline::after(patience, silent)));
        let parsed = self.hear_args(conversation, module)?;
        let (mut options, refusal) = match parsed {
            Ok(options) => (options, None),
            Err(refusal) => {
                let Refusal {
                    text,
                    exit_code,
                    options,
                } = refusal;
                (*options, Some((exit_code, text)))
            }
        };
        options.server = true;
        self.log_request(guest, &options);
        self.log_chmod(module, &options);
        module.restrict(&mut options);
        let preferences = self.preferences.clone();
        let setup = answer_set_up(conversation, &options, guest.protocol, preferences);
        let setup = setup?;
        let refusal = refusal
            .or_else(|| forbidden(module, &options))
            .or_else(|| self.gate.begin(module, &options).err());
        if let Some((code, why)) = refusal {
            self.refuse_options(conversation, &setup, &options, code, &why)?;
            return Err(Stop::Over(code));
        }
        if options.timeout > 0 && module.timeout > 0 && setup.protocol.is_31_or_newer() {
            let seconds = options.timeout.to_le_bytes();
            conversation.say(&frame(Tag::IoTimeout, &seconds))?;
        }
        Ok((setup, options))
    }

    fn hear_args(
        &mut self,
        conversation: &mut Conversation,
        module: &Module,
    ) -> Result<Result<Options, Refusal>, Failure> {
        let policy = Policy {
            refuse: module.refuse_options.clone(),
        };
        let mut reader = ArgsReader::default();
        let first = conversation.hear(|input| reader.poll(input))?;
        let parsed = parse_connection(&first, None, &policy);
        let secluded = match &parsed {
            Ok(options) => options.secluded_args,
            Err(refusal) => refusal.options.secluded_args,
        };
        if !secluded {
            return Ok(parsed);
        }
        let second = conversation.hear(|input| reader.poll(input))?;
        Ok(parsed.and_then(|_| parse_connection(&first, Some(&second), &policy)))
    }

    fn log_request(&mut self, guest: &Guest, options: &Options) {
        let paths: Vec<String> = path_args(options)
            .map(|path| text(path.as_encoded_bytes()))
            .collect();
        let (direction, paths) = (if options.sender { "on" } else { "to" }, paths.join(" "));
        let visitor = &self.visitor;
        let visitor = match &*guest.user {
            "" => visitor.clone(),
            user => format!("{user}@{visitor}"),
        };
        self.gate
            .log(&format!("rsync {direction} {paths} from {visitor}"));
    }

    /// A `chmod` of the module that is none changes nothing.
    fn log_chmod(&mut self, module: &Module, options: &Options) {
        let (direction, modes) = match options.sender {
            true => ("outgoing", &module.outgoing_chmod),
            false => ("incoming", &module.incoming_chmod),
        };
        if let Some(modes) = modes.as_ref().filter(|modes| !Chmod::default().add(modes)) {
            let modes = text(modes);
            let line = format!("Invalid \"{direction} chmod\" directive: {modes}");
            self.gate.log(&line);
        }
    }

    /// Says in messages why the options are refused, and waits until the client has heard it.
    fn refuse_options(
        &mut self,
        conversation: &mut Conversation,
        setup: &Setup,
        options: &Options,
        code: u8,
        why: &str,
    ) -> Result<(), Failure> {
        let mut words = Vec::new();
        if !options.sender && options.files_from.is_some() {
            // Ends the names that the client waits for.
            words.push(0);
        }
        let role = if options.sender { "sender" } else { "Receiver" };
        let (what, version) = (describe_exit(code), env!("CARGO_PKG_VERSION"));
        let line = line!();
        let last =
            format!("rsync error: {what} (code {code}) at daemon.rs({line}) [{role}={version}]");
        for line in why.lines().chain([&*last]) {
            self.gate.log(line);
            words.extend(frame(Tag::Error, format!("{line}\n").as_bytes()));
        }
        if setup.protocol.is_31_or_newer() {
            words.extend(frame(Tag::ErrorExit, &u32::from(code).to_le_bytes()));
        }
        conversation.say(&words)
    }

    fn run(
        &mut self,
        conversation: Conversation,
        guest: Guest,
        setup: Setup,
        mut options: Options,
    ) -> Ended {
        let paths = match paths(&guest, &options) {
            Ok(paths) => paths,
            Err(failure) => return self.failed(failure),
        };
        options.args = std::iter::once(".".into())
            .chain(paths.into_iter().map(Into::into))
            .collect();
        let listener = self.gate.listener(&options);
        let Guest {
            module, settled, ..
        } = guest;
        let base = ModuleBase {
            name: module.name,
            root: settled.root,
            rules: settled.rules,
            numeric_ids: module.numeric_ids,
            sanitizes_paths: module.sanitizes_paths,
            incoming_chmod: module.incoming_chmod,
            outgoing_chmod: module.outgoing_chmod,
            ignores_nonreadable: module.ignores_nonreadable,
            seal: settled.seal,
        };
        let base = Base::Module(Arc::new(base));
        let rules = RuleList::default();
        transfer(conversation, setup, options, base, rules, listener, None)
    }
}

impl std::fmt::Debug for Daemon<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Daemon")
    }
}

/// What the module does not let anybody do, whatever options are taken.
fn forbidden(module: &Module, options: &Options) -> Option<(u8, String)> {
    if module.read_only && !options.sender {
        return Some((1, "ERROR: module is read only".to_owned()));
    }
    if module.write_only && options.sender {
        return Some((1, "ERROR: module is write only".to_owned()));
    }
    if module.read_only && options.remove_source_files {
        let why = "ERROR: --remove-source-files cannot be used with a read-only module";
        return Some((1, why.to_owned()));
    }
    None
}

/// The paths below the module that the arguments ask for: of a sender with its wildcards expanded.
fn paths(guest: &Guest, options: &Options) -> Result<Vec<PathBuf>, Failure> {
    let module = guest.module.name.as_bytes();
    let mut wanted = Vec::new();
    for arg in path_args(options) {
        wanted.extend(paths_in_module(module, arg.as_encoded_bytes()));
    }
    if !options.sender {
        return match &*wanted {
            [path] => Ok(vec![literal(path)]),
            _ => Err(Failure::fatal(1, "a receiver takes one destination")),
        };
    }
    if wanted.is_empty() {
        return Ok(vec![PathBuf::from(".")]);
    }
    let root = Root::open(&guest.settled.root);
    let (mut paths, mut looked) = (Vec::new(), 0);
    for path in wanted {
        let found = match &root {
            Ok(root) => expand(root, &path, &guest.settled.rules, &mut looked),
            Err(_) => Some(vec![literal(&path)]),
        };
        paths.extend(found.ok_or_else(|| Failure::fatal(1, "too many names to match wildcards"))?);
        if paths.len() > MOST_PATHS {
            return Err(Failure::fatal(1, "too many paths"));
        }
    }
    Ok(paths)
}

/// Says a line of refusal, and why the conversation stops.
fn refuse<T>(conversation: &mut Conversation, line: &[u8]) -> Result<T, Stop> {
    conversation.say(line)?;
    Err(Stop::Over(5))
}

fn refuse_because<T>(conversation: &mut Conversation, why: &str) -> Result<T, Stop> {
    say_error(conversation, why)?;
    Err(Stop::Over(5))
}

fn say_error(conversation: &mut Conversation, why: &str) -> Result<(), Failure> {
    conversation.say(format!("@ERROR: {why}\n").as_bytes())
}

fn frame(tag: Tag, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(tag, payload.len()).encode();
    [&header[..], payload].concat()
}

fn silent() -> Failure {
    Failure::fatal(30, "the client was silent for too long")
}

/// Paths that a client's wildcards may become.
const MOST_PATHS: usize = 1 << 20;

/// How long a client that was refused may take to hear why.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use super::*;
    use crate::over_rsync::module::{LeastDigest, UserRules};
    use crate::over_rsync::{Event, pipe};

    /// Lets in who is not on `denied`, and serves at `/`.
    #[derive(Default)]
    struct Open {
        denied: Vec<&'static str>,
        full: bool,
        place: Option<PathBuf>,
        log: Vec<String>,
    }

    struct Deaf;

    impl Listener for Deaf {
        fn event(&self, _event: Event<'_>) {}
    }

    impl Gate for Open {
        fn admits(&mut self, module: &Module) -> bool {
            !self.denied.contains(&&*module.name)
        }

        fn enter(&mut self, _module: &Module) -> Result<(), String> {
            match self.full {
                true => Err("max connections (4) reached -- try again later".to_owned()),
                false => Ok(()),
            }
        }

        fn groups(&mut self, _user: &str) -> Result<Vec<String>, String> {
            Ok(Vec::new())
        }

        fn passwords(
            &mut self,
            _module: &Module,
            user: &str,
            _group: Option<&str>,
        ) -> Result<Vec<Vec<u8>>, String> {
            match user {
                "alice" => Ok(vec![b"s3cret".to_vec()]),
                _ => Err("missing secret for user".to_owned()),
            }
        }

        fn settle(&mut self, _module: &mut Module, _user: &str) -> Result<Settled, String> {
            let root = self.place.clone().ok_or("chroot failed")?;
            Ok(Settled {
                root,
                rules: RuleList::default(),
                seal: None,
            })
        }

        fn listener(&mut self, _options: &Options) -> Arc<dyn Listener> {
            Arc::new(Deaf)
        }

        fn random(&mut self) -> Result<[u8; 32], String> {
            Ok([7; 32])
        }

        fn log(&mut self, line: &str) {
            self.log.push(line.to_owned());
        }
    }

    fn modules() -> Vec<Module> {
        let mut auth = Module::new("auth");
        auth.users = Some(UserRules::parse("alice bob carol:deny"));
        let mut strong = auth.clone();
        strong.name = "strong".to_owned();
        strong.least_digest = Some(LeastDigest::Known(Digest::Sha256));
        let mut hidden = Module::new("hid");
        hidden.listed = false;
        let mut open = Module::new("rw");
        open.comment = b"writable area".to_vec();
        vec![open, auth, strong, hidden]
    }

    /// What the daemon says to a client that says `script`, after greeting and message of the day,
    /// and what it logs.
    fn meet(gate: &mut Open, script: &str) -> String {
        let (here, there) = pipe();
        let (mut client, _) = {
            let mut client = Conversation::new(there);
            client.say(script.as_bytes()).unwrap();
            client.end()
        };
        client.output.close().unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let daemon = Daemon {
            motd: Some(b"Welcome\n".to_vec()),
            modules: &modules(),
            preferences: Preferences::new(true),
            visitor: format!("localhost ({address})"),
            patience: Daemon::PATIENCE,
            gate,
        };
        daemon.serve(here);
        let (mut said, mut buf) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = client.input.read(&mut buf, None) {
            said.extend_from_slice(&buf[..count]);
        }
        let said = String::from_utf8(said).unwrap();
        let first = "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\nWelcome\n\n";
        said.strip_prefix(first).expect("it greets").to_owned()
    }

    /// All as rsync 3.5.0 answers.
    #[test]
    fn clients_are_answered_in_rsync_s_words() {
        for (script, answer) in [
            ("", ""),
            ("hello\n", "@ERROR: protocol startup error\n"),
            (
                "@RSYNCD: 32.0\n",
                "@ERROR: your client omitted the digest name list: @RSYNCD: 32.0\n",
            ),
            (
                "@RSYNCD: 31.0\n\n",
                "rw             \twritable area\nauth           \t\nstrong         \t\n@RSYNCD: EXIT\n",
            ),
            ("@RSYNCD: 31.0\n#foo\n", "@ERROR: Unknown command '#foo'\n"),
            (
                "@RSYNCD: 31.0\n#early_input=5\nabcdenope\n",
                "@ERROR: Unknown module 'nope'\n",
            ),
            ("@RSYNCD: 31.0\nrw\n", "@ERROR: chroot failed\n"),
            (
                "@RSYNCD: 32.0 foo\nauth\nalice x\n",
                "@ERROR: your client does not support one of our daemon-auth checksums: \
                 sha512 sha256 sha1 md5 md4\n",
            ),
            (
                "@RSYNCD: 32.0 md5\nstrong\nalice x\n",
                "@ERROR: your client does not support one of our daemon-auth checksums: \
                 sha512 sha256 sha1 md5 md4\n",
            ),
        ] {
            assert_eq!(meet(&mut Open::default(), script), answer, "{script}");
        }
    }

    #[test]
    fn a_host_that_is_denied_learns_of_no_module_that_is_not_listed() {
        let mut gate = Open {
            denied: vec!["rw", "hid"],
            ..Open::default()
        };
        let listed = meet(&mut gate, "@RSYNCD: 31.0\nrw\n");
        assert_eq!(
            listed,
            "@ERROR: access denied to rw from localhost (127.0.0.1)\n"
        );
        let hidden = meet(&mut gate, "@RSYNCD: 31.0\nhid\n");
        assert_eq!(hidden, "@ERROR: Unknown module 'hid'\n");
        assert_eq!(
            gate.log[1],
            "rsync denied on module hid from localhost (127.0.0.1)"
        );
    }

    #[test]
    fn a_module_that_is_full_takes_nobody() {
        let mut gate = Open {
            full: true,
            ..Open::default()
        };
        let answer = meet(&mut gate, "@RSYNCD: 31.0\nrw\n");
        assert_eq!(
            answer,
            "@ERROR: max connections (4) reached -- try again later\n"
        );
    }

    #[test]
    fn a_module_that_is_full_says_so_only_to_who_has_proved_to_be_somebody() {
        let mut gate = Open {
            full: true,
            ..Open::default()
        };
        let challenge = auth::challenge(Digest::Sha256, [7; 32]);
        let answer = |password: &[u8]| {
            let response = auth::response(Digest::Sha256, password, challenge.as_bytes());
            format!("@RSYNCD: 32.0 sha256\nauth\nalice {response}\n")
        };
        let full = "@ERROR: max connections (4) reached -- try again later\n";
        assert!(meet(&mut gate, &answer(b"s3cret")).ends_with(full));
        let refused = "@ERROR: auth failed on module auth\n";
        assert!(meet(&mut gate, &answer(b"wrong")).ends_with(refused));
    }

    #[test]
    fn only_who_proves_to_be_somebody_known_is_let_in() {
        for digest in Digest::ALL {
            let challenge = auth::challenge(digest, [7; 32]);
            let greeting = format!("@RSYNCD: 32.0 {}\nauth\n", digest.name());
            let asked = format!("@RSYNCD: AUTHREQD {challenge}\n");
            let response = |password: &[u8]| auth::response(digest, password, challenge.as_bytes());
            let refused = "@ERROR: auth failed on module auth\n";
            for (user, password, answer) in [
                // It gets as far as the place.
                ("alice", &b"s3cret"[..], "@ERROR: chroot failed\n"),
                ("alice", b"wrong", refused),
                ("alice", b"", refused),
                ("bob", b"", refused),
                ("bob", b"s3cret", refused),
                ("carol", b"s3cret", refused),
                ("mallory", b"s3cret", refused),
            ] {
                let script = format!("{greeting}{user} {}\n", response(password));
                let said = meet(&mut Open::default(), &script);
                assert_eq!(said, format!("{asked}{answer}"), "{user} {}", digest.name());
            }
            let said = meet(&mut Open::default(), &format!("{greeting}alice\n"));
            assert_eq!(said, format!("{asked}{refused}"));
        }
    }

    #[test]
    fn nothing_is_written_or_removed_in_a_module_that_is_read_only() {
        let module = Module::new("ro");
        let mut options = Options::default();
        let code =
            |module: &Module, options: &Options| forbidden(module, options).map(|(code, _)| code);
        assert_eq!(code(&module, &options), Some(1));
        options.sender = true;
        assert_eq!(code(&module, &options), None);
        options.remove_source_files = true;
        assert_eq!(code(&module, &options), Some(1));
        let mut module = module;
        module.read_only = false;
        module.write_only = true;
        assert_eq!(code(&module, &options), Some(1));
        options.sender = false;
        assert_eq!(code(&module, &options), None);
    }

    /// It says a byte now and then, so that it is never silent for long.
    #[test]
    fn who_is_slow_to_be_let_in_is_cut_off_in_every_state() {
        for (state, said) in [
            ("greeting", ""),
            ("a module's name", "@RSYNCD: 31.0\n"),
            ("early input", "@RSYNCD: 31.0\n#early_input=5000\n"),
            ("an answer", "@RSYNCD: 32.0 md5\nauth\n"),
            ("arguments", "@RSYNCD: 31.0\nrw\n"),
            ("secluded arguments", "@RSYNCD: 31.0\nrw\n--server\0-sr\0\0"),
            (
                "names of checksums",
                "@RSYNCD: 31.0\nrw\n--server\0-re.v\0.\0rw/\0\0\u{7f}",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut gate = Open {
                place: Some(folder.path().to_owned()),
                ..Open::default()
            };
            let (here, there) = pipe();
            let mut client = Conversation::new(there);
            client.say(said.as_bytes()).unwrap();
            let begun = Instant::now();
            let ended = std::thread::scope(|scope| {
                scope.spawn(move || {
                    while client.say(b"x").is_ok() && begun.elapsed() < 10 * SHORT {
                        std::thread::sleep(SHORT / 50);
                    }
                });
                let daemon = Daemon {
                    motd: None,
                    modules: &modules(),
                    preferences: Preferences::new(true),
                    visitor: "localhost".to_owned(),
                    patience: SHORT,
                    gate: &mut gate,
                };
                let ended = daemon.serve(here);
                assert!(begun.elapsed() < 8 * SHORT, "{state}");
                ended
            });
            assert_eq!(ended.code, 30, "{state}: {:?}", gate.log);
        }
    }

    const SHORT: Duration = Duration::from_millis(700);
}
