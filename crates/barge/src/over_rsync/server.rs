//! A server's run: `--server` at the other end of a remote shell, or the far side of a local copy.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use barge_rsync::ProtocolVersion;
use barge_rsync::options::{Options, Refusal, parse_server};
use barge_rsync::session::args::ArgsReader;
use barge_rsync::session::setup::SetupExchange;
use barge_rsync::session::{Preferences, Setup};
use bytes::BytesMut;

use super::agreed::{self, Agreed, Base, Ended};
use super::client::{exchange_versions, protocol, set_up};
use super::conversation::Conversation;
use super::{Connection, Event, Failure, Level, Listener};
use crate::filter::RuleList;

/// What a server was started with.
#[derive(Clone)]
pub struct Server {
    /// Its arguments, parsed: those of the command line alone.
    pub options: Options,
    /// The arguments themselves: with secluded ones, more come over the connection.
    pub args: Vec<OsString>,
    /// What is offered where checksums and compressions are negotiated.
    pub preferences: Preferences,
    /// Who hears of the run, besides the client.
    pub listener: Arc<dyn Listener>,
    /// Where it shows its errors, with `--stderr=all` all it says, without a detour over the client;
    /// not with `--stderr=client`. Without one, the client shows everything.
    pub stderr: Option<Stderr>,
}

/// Takes a line, with its newline, for a server's own standard error. It may name what a peer or a
/// volume named: escape what a terminal would obey.
pub type Stderr = Arc<dyn Fn(&[u8]) + Send + Sync>;

impl Server {
    /// Does the run.
    pub fn run(self, connection: Connection) -> Ended {
        self.run_beside(connection, RuleList::default())
    }

    /// The same in one process with its client, whose rules it knows where they do not cross.
    pub(super) fn run_beside(self, connection: Connection, rules: RuleList) -> Ended {
        let mut conversation = Conversation::new(connection);
        match self.shake_hands(&mut conversation) {
            Ok((setup, options)) => {
                let stderr = self
                    .stderr
                    .filter(|_| options.stderr.as_deref() != Some("client"));
                let base = Base::Working;
                let listener = self.listener;
                transfer(conversation, setup, options, base, rules, listener, stderr)
            }
            Err(failure) => {
                let role = if self.options.sender {
                    "sender"
                } else {
                    "Receiver"
                };
                let words = failure.words(role, conversation.received()) + "\n";
                for line in [words, failure.last_line(role)] {
                    let (level, text) = (Level::Error, line.as_bytes());
                    self.stderr.iter().for_each(|show| show(text));
                    self.listener.event(Event::Line { level, text });
                }
                Ended::failed(failure)
            }
        }
    }

    fn shake_hands(&self, conversation: &mut Conversation) -> Result<(Setup, Options), Failure> {
        let options = match self.options.secluded_args {
            true => self.hear_secluded(conversation)?,
            false => self.options.clone(),
        };
        let version = exchange_versions(conversation, protocol(&options))?;
        let preferences = self.preferences.clone();
        let setup = answer_set_up(conversation, &options, version, preferences)?;
        Ok((setup, options))
    }

    fn hear_secluded(&self, conversation: &mut Conversation) -> Result<Options, Failure> {
        let mut reader = ArgsReader::default();
        let list = conversation.hear(|input| reader.poll(input))?;
        let list: Vec<OsString> = list.into_iter().map(OsString::from_vec).collect();
        Ok(parse_server(&self.args, Some(&list))?)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A server's part from the compatibility flags to the seed.
pub(super) fn answer_set_up(
    conversation: &mut Conversation,
    options: &Options,
    protocol: ProtocolVersion,
    preferences: Preferences,
) -> Result<Setup, Failure> {
    let mut output = BytesMut::new();
    let exchange = SetupExchange::server(
        options,
        protocol,
        preferences,
        &options.capabilities,
        random_seed()?,
        &mut output,
    )?;
    set_up(conversation, exchange, output)
}

fn random_seed() -> Result<i32, Failure> {
    let seed = getrandom::u32().map_err(|error| Failure::fatal(14, error.to_string()))?;
    // 0 would mean that there is none.
    Ok((seed | 1).cast_signed())
}

/// Hands the connection to the role that the options name.
pub(super) fn transfer(
    conversation: Conversation,
    setup: Setup,
    options: Options,
    base: Base,
    rules: RuleList,
    listener: Arc<dyn Listener>,
    stderr: Option<Stderr>,
) -> Ended {
    let (connection, moved) = conversation.end();
    let sends = options.sender;
    let agreed = Agreed {
        setup,
        paths: path_args(&options).map(Into::into).collect(),
        options,
        connection,
        moved,
        listener,
        stderr,
        rules,
        base,
        asked: None,
    };
    match sends {
        true => agreed::send(agreed),
        false => agreed::receive(agreed),
    }
}

/// The paths among a server's arguments: those behind the dot that ends its options.
pub(super) fn path_args(options: &Options) -> impl Iterator<Item = &OsString> {
    let skipped = usize::from(options.args.first().is_some_and(|first| first == "."));
    options.args.iter().skip(skipped)
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::fatal(refusal.exit_code, refusal.text)
    }
}
