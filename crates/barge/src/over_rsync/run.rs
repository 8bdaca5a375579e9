//! What the threads of one side of a run share: whom it tells, what went wrong, the wire out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use barge_delta::{Checksum, DigestBytes};
use barge_rsync::session::Setup;
use barge_rsync::wire::mux::{IoErrors, Message, Peer, TextKind};

use super::activity::{Activity, Due};
use super::event::Level;
use super::failure::{Failure, exit};
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::{Event, Item, Listener, Stderr};

/// One side of a run.
pub(crate) struct Run {
    /// Started by the other side: what it says, it says through that one.
    pub(crate) server: bool,
    /// This side sends.
    pub(crate) sender: bool,
    pub(crate) setup: Setup,
    pub(crate) outgoing: Outgoing,
    pub(crate) activity: Arc<Activity>,
    /// Bytes that came, frame headers included.
    pub(crate) received: AtomicU64,
    listener: Arc<dyn Listener>,
    /// Where a server shows words of its own, and whether all of them.
    stderr: Option<(Stderr, bool)>,
    io_errors: AtomicU8,
    file_error: AtomicBool,
    /// Another thread of this side has ended it.
    over: AtomicBool,
    /// The transfer proper has started: older peers know keep-alives from there on.
    started: AtomicBool,
}

impl Run {
    pub(crate) fn new(
        server: bool,
        sender: bool,
        setup: Setup,
        outgoing: Outgoing,
        activity: Arc<Activity>,
        received: u64,
        listener: Arc<dyn Listener>,
    ) -> Self {
        Self {
            server,
            sender,
            setup,
            outgoing,
            activity,
            received: AtomicU64::new(received),
            listener,
            stderr: None,
            io_errors: AtomicU8::new(0),
            file_error: AtomicBool::new(false),
            over: AtomicBool::new(false),
            started: AtomicBool::new(false),
        }
    }

    /// Lets a server show its errors itself; all it says, if the mode of `--stderr` is `all`.
    pub(crate) fn with_stderr(mut self, stderr: Option<Stderr>, mode: Option<&str>) -> Self {
        self.stderr = stderr.map(|stderr| (stderr, mode == Some("all")));
        self
    }

    /// Says a line of this side's, with its newline: a client shows it, a server shows it or sends it
    /// to its client (it leaves with the next flush), and keeps it in its log.
    pub(crate) fn say(&self, level: Level, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        match &self.stderr {
            Some((show, all)) if *all || level != Level::Info => show(text),
            _ if self.server => self.outgoing.text(kind_of(level), text),
            _ => {}
        }
        self.hear(level, text);
    }

    /// Says an entry of a listing.
    pub(crate) fn list(&self, entry: Item<'_>) {
        if !self.server {
            return self.tell(Event::Entry(entry));
        }
        if let Some(line) = self.listener.list_line(&entry) {
            self.say(Level::Info, [&line[..], b"\n"].concat());
        }
    }

    /// Tells the listener a line, the peer's or our own.
    pub(crate) fn hear(&self, level: Level, text: &[u8]) {
        if level == Level::FileError {
            self.file_error.store(true, Ordering::Relaxed);
        }
        self.tell(Event::Line { level, text });
    }

    /// A whole file's digest as it is shown: those of the XX family as the numbers they are, the high
    /// end first.
    pub(crate) fn shown(&self, digest: &DigestBytes) -> Vec<u8> {
        let mut shown = digest.as_bytes().to_vec();
        let checksum = self.setup.checksum;
        if matches!(
            checksum,
            Checksum::Xxh128 | Checksum::Xxh3 | Checksum::Xxh64
        ) {
            shown.reverse();
        }
        shown
    }

    /// Tells the listener of an event.
    pub(crate) fn tell(&self, event: Event<'_>) {
        self.listener.event(event);
    }

    /// Remembers trouble with the sender's lists, ours or the peer's. Whether any of it is new.
    pub(crate) fn trouble(&self, errors: IoErrors) -> bool {
        let bits = errors.bits();
        self.io_errors.fetch_or(bits, Ordering::Relaxed) & bits != bits
    }

    /// All trouble so far.
    pub(crate) fn io_errors(&self) -> IoErrors {
        IoErrors::from_wire(self.io_errors.load(Ordering::Relaxed).into())
    }

    /// Ends what other threads of this side wait for.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// From here on keep-alives may be sent to any peer.
    pub(crate) fn transfer_starts(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn may_keep_alive(&self) -> bool {
        self.setup.protocol.is_31_or_newer() || self.started.load(Ordering::Relaxed)
    }

    /// This side is at work that takes long: the peer is told that it lives, when that is due.
    pub(crate) fn is_at_work(&self) {
        self.activity.progress();
        if matches!(self.activity.due(), Due::KeepAlive(_)) && self.may_keep_alive() {
            // That the connection has failed shows when there is something to say.
            let _ = self.outgoing.keep_alive();
        }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        Peer {
            protocol: self.setup.protocol.get(),
            server: !self.server,
            sender: !self.sender,
        }
    }

    /// The exit code of a run that came to its end.
    pub(crate) fn exit_code(&self) -> u8 {
        let trouble = self.io_errors();
        if trouble.has(IoErrors::GENERAL) || self.file_error.load(Ordering::Relaxed) {
            exit::PARTIAL
        } else if trouble.has(IoErrors::VANISHED) {
            exit::VANISHED
        } else if trouble.has(IoErrors::DELETE_LIMIT) {
            exit::DELETE_LIMIT
        } else {
            0
        }
    }

    /// Ends the run before its time: says why, tells the peer if it can hear it, and waits until
    /// it has. Returns why the run ended in the end, the peer's own word going before ours where
    /// only the connection failed.
    pub(crate) fn give_up(&self, incoming: &mut Incoming, failure: Failure) -> Failure {
        // Also where the peer cannot be told any more: there is a user, or a log.
        if !matches!(failure, Failure::Peer(_) | Failure::Over) {
            self.say_farewell(&failure);
        }
        if failure.can_be_told() && self.setup.protocol.is_31_or_newer() {
            let code = Some(failure.exit_code().into());
            self.outgoing.message(&Message::ErrorExit(code));
        }
        let flushed = self.outgoing.flush();
        let waits_for_answer = failure.can_be_told() && self.setup.protocol.is_31_or_newer();
        if flushed.is_ok() && !waits_for_answer {
            // All that the peer can wait for is the end of the connection.
            let _ = self.outgoing.close();
        }
        match (incoming.drain(self.farewell_patience()), &failure) {
            (Err(Failure::Peer(code)), Failure::Connection { .. }) => Failure::Peer(code),
            _ => failure,
        }
    }

    fn say_farewell(&self, failure: &Failure) {
        let role = self.role();
        let text = failure.words(role, self.received.load(Ordering::Relaxed));
        if !text.is_empty() {
            self.say(Level::Error, format!("{text}\n"));
        }
        if self.server {
            self.say(Level::Error, failure.last_line(role));
        }
    }

    /// What rsync calls the process that speaks for this side.
    fn role(&self) -> &'static str {
        match (self.sender, self.started.load(Ordering::Relaxed)) {
            (true, _) => "sender",
            (false, true) => "generator",
            (false, false) => "Receiver",
        }
    }

    /// How long a peer may take to hear that the run ends.
    fn farewell_patience(&self) -> Duration {
        let seconds = match self.activity.limit() {
            0 => LONGEST_FAREWELL,
            limit => limit.min(LONGEST_FAREWELL),
        };
        Duration::from_secs(seconds.into())
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Run")
    }
}

fn kind_of(level: Level) -> TextKind {
    match level {
        Level::Info => TextKind::Info,
        Level::Warning => TextKind::Warning,
        Level::Error => TextKind::Error,
        Level::FileError => TextKind::ErrorXfer,
    }
}

/// Seconds a peer has to answer that the run ends.
const LONGEST_FAREWELL: u32 = 10;
