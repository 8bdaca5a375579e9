//! The source side: walk, list, answer requests, list again what changed, and hear the end.
//!
//! Walkers ([`walk`]) list directories within the window the receiver gave; readers ([`read`])
//! answer requests; one thread, [`Sender::conduct`], takes what the receiver says and keeps the
//! books.

mod outgoing;
mod read;
mod walk;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use barge_delta::{BlockLen, Seed, Signature};
use barge_fs::{Keep, LinkKey, Root};
use barge_native::sender::{LinkTable, Outbox};
use barge_native::{
    AbortCode, Content, Control, DirId, Ending, FileRef, Item, Lane, MAX_BUNDLED,
    MAX_SIGNATURE_BLOCKS, ProtocolError, SegmentId,
};
use barge_types::{
    Class, FAILURES_KEPT, FailedPath, Failure, Kind, Name, Outcome, RelPath, Side, SkipRule, Tally,
};

use crate::bridge::{Incoming, SessionStream, Sink};
use crate::error::Error;
use crate::limit::Limiter;
use crate::monitor::{Monitor, PathEnd};
use crate::options::Options;
use crate::pool::Pool;
use crate::run::SessionEnd;
use walk::{Place, Walk};

/// How often what changed is listed again, with a pause before each round.
const REDO_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// The most paths that are remembered to be listed again; more than so many that change at a time
/// is an application that is running.
const MAX_REDOS: usize = 100_000;

/// Reads one tree for one session.
#[derive(Debug)]
pub(crate) struct Sender {
    root: Root,
    options: Options,
    keep: Keep,
    seed: Seed,
    streams: Vec<Arc<SessionStream>>,
    monitor: Arc<Monitor>,
    limiter: Limiter,
    readers: Pool,
    list: Mutex<List>,
    /// Signalled when the list window has room again, or the run is over.
    room: Condvar,
    /// What this side alone knows: skipped, failed before it was listed, bytes.
    own: Mutex<Own>,
    inbox: crossbeam_channel::Sender<Event>,
    /// Of all files that are compared with a basis.
    signature_blocks: Arc<AtomicU64>,
    over: AtomicBool,
}

/// The books of the list.
#[derive(Debug)]
struct List {
    outbox: Outbox<Arc<Place>>,
    links: LinkTable<LinkKey>,
    next_dir: u64,
}

#[derive(Debug, Default)]
struct Own {
    tally: Tally,
    failures: Vec<FailedPath>,
}

/// What the conducting thread hears of.
#[derive(Debug)]
enum Event {
    /// The receiver spoke.
    Message(Incoming),
    /// Everything there is to list has been listed.
    Listed,
    /// The run is given up.
    Stop(Error),
}

/// What the conducting thread alone knows.
#[derive(Debug, Default)]
struct Conduct {
    /// Entries that changed on the way, to be listed again.
    redos: Vec<(Arc<Place>, Name)>,
    rounds: usize,
    listed: bool,
    list_ended: bool,
    signatures: HashMap<FileRef, PartialSignature>,
    /// What has ended, as the receiver said it; in the end what it says of all.
    tally: Tally,
    failures: Vec<FailedPath>,
}

#[derive(Debug)]
struct PartialSignature {
    signature: Signature,
    in_place: bool,
    blocks: BlocksInHand,
}

/// Block sums that take memory, until this is dropped.
#[derive(Debug)]
pub(crate) struct BlocksInHand {
    all: Arc<AtomicU64>,
    blocks: u64,
}

impl BlocksInHand {
    /// Takes `blocks` more, within twice what an honest receiver has under way: it gives up a
    /// file a moment before we do.
    fn take(all: &Arc<AtomicU64>, blocks: u32) -> Option<Self> {
        let blocks = u64::from(blocks);
        let hand = Self {
            all: Arc::clone(all),
            blocks,
        };
        let now = all.fetch_add(blocks, Ordering::AcqRel) + blocks;
        (now <= 2 * u64::from(MAX_SIGNATURE_BLOCKS)).then_some(hand)
    }
}

impl Drop for BlocksInHand {
    fn drop(&mut self) {
        self.all.fetch_sub(self.blocks, Ordering::AcqRel);
    }
}

/// How conducting goes on.
enum Next {
    Go,
    End(Box<SessionEnd>),
}

impl Sender {
    /// Prepares to send the tree beneath `root`. Returns it and what it conducts.
    pub(crate) fn new(
        root: Root,
        options: Options,
        seed: Seed,
        list_window: u32,
        streams: Vec<Arc<SessionStream>>,
        monitor: Arc<Monitor>,
    ) -> Result<(Arc<Self>, Conductor), Error> {
        let (inbox, events) = crossbeam_channel::unbounded();
        let readers = Pool::new("read", crate::pool::workers())
            .map_err(|error| Error::Internal(format!("no thread: {error}")))?;
        let keep = Keep {
            owner: options.owner,
            xattrs: options.xattrs,
            acls: options.acls,
            selinux: options.selinux,
        };
        let list = List {
            outbox: Outbox::new(list_window.into()),
            links: LinkTable::default(),
            next_dir: 1,
        };
        let sender = Arc::new(Self {
            root,
            keep,
            seed,
            streams,
            monitor,
            limiter: Limiter::new(options.bwlimit),
            options,
            readers,
            list: Mutex::new(list),
            room: Condvar::new(),
            own: Mutex::default(),
            inbox,
            signature_blocks: Arc::default(),
            over: AtomicBool::new(false),
        });
        let conductor = Conductor {
            sender: Arc::clone(&sender),
            events,
        };
        Ok((sender, conductor))
    }

    /// Waits for the threads that read; call it when the streams are closed.
    pub(crate) fn join(&self) {
        self.readers.finish();
    }

    /// Gives the run up.
    pub(crate) fn stop(&self, error: Error) {
        let _ = self.inbox.send(Event::Stop(error));
    }

    fn message(
        self: &Arc<Self>,
        conduct: &mut Conduct,
        message: Incoming,
    ) -> Result<Next, ProtocolError> {
        let Incoming {
            tag,
            payload,
            credit,
        } = message;
        if !credit.is_of(&self.streams[0]) {
            return Err(ProtocolError::Order("a message of stream 0"));
        }
        if tag.lane() == Some(Lane::Data) {
            self.signature(conduct, Content::decode(tag, payload)?)?;
            return Ok(Next::Go);
        }
        match Control::decode(tag, payload)? {
            Control::Want { segment, indexes } => self.want(segment, &indexes)?,
            Control::Done { segment, endings } => self.done(conduct, segment, endings)?,
            Control::Notice { path, outcome } => {
                conduct.tally.count(&outcome);
                self.told(conduct, &path, "", &outcome);
            }
            Control::Finished { tally, undeleted } => {
                return self.finished(conduct, tally, undeleted).map(Next::End);
            }
            Control::Abort { code, text, tally } => {
                conduct.tally = tally;
                let error = match code {
                    AbortCode::TargetFull => Error::TargetFull(text),
                    AbortCode::Interrupted => Error::Interrupted(text),
                    AbortCode::Lost => Error::Lost(text),
                    AbortCode::Protocol | AbortCode::Failed => Error::Aborted(text),
                };
                return Ok(Next::End(Box::new(self.end(conduct, Some(error)))));
            }
            _ => return Err(ProtocolError::Order("a message")),
        }
        Ok(Next::Go)
    }

    /// Queues the reading of files that are wanted whole.
    fn want(self: &Arc<Self>, segment: SegmentId, indexes: &[u16]) -> Result<(), ProtocolError> {
        let mut small = Vec::new();
        for &index in indexes {
            let file = FileRef { segment, index };
            let (place, items) = self.list().outbox.ask(file)?;
            if file_size(&items[usize::from(index)]) > MAX_BUNDLED as u64 {
                self.read_large(place, items, file, None);
            } else {
                small.push(index);
            }
        }
        let listed = self.list().outbox.get(segment);
        if let Some((place, items)) = listed {
            self.read_small(&place, &items, segment, &small);
        }
        Ok(())
    }

    /// Gathers a signature, and queues the search when it is complete.
    fn signature(
        self: &Arc<Self>,
        conduct: &mut Conduct,
        content: Content,
    ) -> Result<(), ProtocolError> {
        match content {
            Content::Signature {
                file,
                basis_len,
                block_len,
                in_place,
            } => {
                self.list().outbox.ask(file)?;
                let block_len =
                    BlockLen::new(block_len).ok_or(ProtocolError::Invalid("a block length"))?;
                let invalid = || ProtocolError::Invalid("a signature");
                let blocks = block_len.blocks(basis_len).ok_or_else(invalid)?;
                let blocks =
                    BlocksInHand::take(&self.signature_blocks, blocks).ok_or_else(invalid)?;
                let signature = Signature::new(basis_len, block_len, self.seed);
                let signature = signature.map_err(|_| invalid())?;
                let partial = PartialSignature {
                    signature,
                    in_place,
                    blocks,
                };
                conduct.signatures.insert(file, partial);
            }
            Content::Sums { file, first, sums } => {
                if let Some(partial) = conduct.signatures.get_mut(&file) {
                    let pushed = partial.signature.push(first, &sums);
                    pushed.map_err(|_| ProtocolError::Invalid("block sums"))?;
                }
            }
            Content::SignatureEnd { file } => {
                if let Some(partial) = conduct.signatures.remove(&file) {
                    let listed = self.list().outbox.get(file.segment);
                    // The segment may be through already: its results overtake signatures.
                    let Some((place, items)) = listed else {
                        return Ok(());
                    };
                    let index = partial.signature.build();
                    let PartialSignature {
                        in_place, blocks, ..
                    } = partial;
                    let basis = read::Basis {
                        index,
                        in_place,
                        _blocks: blocks,
                    };
                    self.read_large(place, items, file, Some(basis));
                }
            }
            _ => return Err(ProtocolError::Order("a message")),
        }
        Ok(())
    }

    /// A segment is through: counts its entries, and remembers those to be listed again.
    fn done(
        self: &Arc<Self>,
        conduct: &mut Conduct,
        id: SegmentId,
        endings: Vec<Ending>,
    ) -> Result<(), ProtocolError> {
        let segment = self.list().outbox.close(id, &endings)?;
        conduct.signatures.retain(|file, _| file.segment != id);
        self.room.notify_all();
        for (item, ending) in segment.items.iter().zip(endings) {
            match ending {
                Ending::Outcome(outcome) => self.ended(conduct, &segment.place, item, &outcome),
                Ending::Redo => self.redo(conduct, &segment.place, item),
                // Its outcome comes in a notice, if it is of interest; the receiver counts it.
                Ending::Later => self.monitor.counters.ended.add(1),
            }
        }
        self.go_on(conduct);
        Ok(())
    }

    fn ended(&self, conduct: &mut Conduct, place: &Place, item: &Item, outcome: &Outcome) {
        self.monitor.counters.ended.add(1);
        self.monitor.counters.bytes_ended.add(file_size(item));
        conduct.tally.count(outcome);
        if self.options.itemize || matches!(outcome, Outcome::Failed(_)) {
            let path = place.path().join(&item.entry.name);
            self.told(conduct, &path, item.entry.kind.word(), outcome);
        }
    }

    /// An outcome of interest: the monitor hears of it, a failure is kept.
    fn told(&self, conduct: &mut Conduct, path: &RelPath, kind: &'static str, outcome: &Outcome) {
        if let Outcome::Failed(failure) = outcome {
            self.monitor.counters.failed.add(1);
            if conduct.failures.len() < FAILURES_KEPT {
                let failed = FailedPath {
                    path: path.clone(),
                    failure: failure.clone(),
                };
                conduct.failures.push(failed);
            }
        }
        self.monitor.path(PathEnd {
            path,
            kind,
            outcome,
        });
    }

    fn redo(&self, conduct: &mut Conduct, place: &Arc<Place>, item: &Item) {
        // It is counted when it is listed again.
        self.monitor.counters.listed.sub(1);
        self.monitor.counters.bytes_listed.sub(file_size(item));
        if conduct.rounds == REDO_PAUSES.len() || conduct.redos.len() >= MAX_REDOS {
            let failure = Failure {
                side: Side::Source,
                op: "read".into(),
                errno: 0,
                class: Class::Changed,
            };
            self.fail(&place.path().join(&item.entry.name), failure);
        } else {
            conduct
                .redos
                .push((Arc::clone(place), item.entry.name.clone()));
        }
    }

    /// When all that was listed is through: lists again what changed, or ends the list.
    fn go_on(self: &Arc<Self>, conduct: &mut Conduct) {
        if !conduct.listed || conduct.list_ended || !self.list().outbox.is_empty() {
            return;
        }
        if conduct.redos.is_empty() {
            conduct.list_ended = true;
            let items = self.list().outbox.listed();
            let tally = self.own().tally;
            return self.streams[0].send_control(&Control::ListEnd { items, tally });
        }
        let pause = REDO_PAUSES[conduct.rounds];
        conduct.rounds += 1;
        conduct.listed = false;
        let redos = std::mem::take(&mut conduct.redos);
        tracing::debug!(
            count = redos.len(),
            "listing again what changed while it was read"
        );
        let sender = Arc::clone(self);
        self.readers.run(move || {
            std::thread::sleep(pause);
            sender.list().links.begin_again();
            sender.list_again(redos);
            sender.all_listed();
        });
    }

    fn finished(
        &self,
        conduct: &mut Conduct,
        tally: Tally,
        undeleted: u64,
    ) -> Result<Box<SessionEnd>, ProtocolError> {
        // Every entry that was listed, and the root, has ended in the receiver's tally; failures
        // that belong to no entry come on top.
        let counted = tally.paths() - tally.deleted;
        let listed = self.list().outbox.ended() + 1;
        if !conduct.list_ended || counted < listed || (tally.failed == 0 && counted != listed) {
            return Err(ProtocolError::Order(
                "a tally that is not of what was listed",
            ));
        }
        conduct.tally = tally;
        self.streams[0].send_control(&Control::Goodbye);
        let mut end = self.end(conduct, None);
        end.undeleted = undeleted;
        end.last_words = true;
        Ok(Box::new(end))
    }

    fn end(&self, conduct: &mut Conduct, error: Option<Error>) -> SessionEnd {
        {
            // Under the lock, so that no walker misses it on its way to wait.
            let _list = self.list();
            self.over.store(true, Ordering::Release);
        }
        self.room.notify_all();
        let own = std::mem::take(&mut *self.own());
        let mut tally = conduct.tally;
        crate::receive::add_sender(&mut tally, &own.tally);
        let mut failures = own.failures;
        failures.append(&mut conduct.failures);
        failures.truncate(FAILURES_KEPT);
        SessionEnd {
            tally,
            failures,
            undeleted: 0,
            error,
            last_words: false,
        }
    }

    /// A path that failed before it was listed.
    fn fail(&self, path: &RelPath, failure: Failure) {
        self.monitor.counters.failed.add(1);
        let outcome = Outcome::Failed(failure.clone());
        self.monitor.path(PathEnd {
            path,
            kind: "",
            outcome: &outcome,
        });
        let mut own = self.own();
        own.tally.failed += 1;
        if own.failures.len() < FAILURES_KEPT {
            own.failures.push(FailedPath {
                path: path.clone(),
                failure,
            });
        }
    }

    fn skip(&self, path: &RelPath, rule: SkipRule) {
        if self.options.itemize {
            self.monitor.path(PathEnd {
                path,
                kind: "",
                outcome: &Outcome::Skipped(rule),
            });
        }
        self.own().tally.skipped += 1;
    }

    fn all_listed(&self) {
        let _ = self.inbox.send(Event::Listed);
    }

    /// Whether the run has ended, whatever it came to.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The conducting side of a [`Sender`].
#[derive(Debug)]
pub(crate) struct Conductor {
    sender: Arc<Sender>,
    events: crossbeam_channel::Receiver<Event>,
}

impl Conductor {
    /// Sends the tree; blocks until the run has ended.
    pub(crate) fn run(self) -> SessionEnd {
        let Self { sender, events } = self;
        let mut conduct = Conduct::default();
        if let Err(error) = Walk::start(&sender) {
            return sender.give_up(&mut conduct, AbortCode::Failed, error);
        }
        let mut end = None;
        while end.is_none() {
            // The sender itself holds the other end of the channel.
            let Ok(event) = events.recv() else { break };
            end = sender.event(&mut conduct, event);
        }
        end.unwrap_or_else(|| sender.end(&mut conduct, None))
    }
}

impl Sender {
    fn event(self: &Arc<Self>, conduct: &mut Conduct, event: Event) -> Option<SessionEnd> {
        match event {
            Event::Message(message) => match self.message(conduct, message) {
                Ok(Next::Go) => None,
                Ok(Next::End(end)) => Some(*end),
                Err(error) => Some(self.give_up(conduct, AbortCode::Protocol, error.into())),
            },
            Event::Listed => {
                conduct.listed = true;
                self.go_on(conduct);
                None
            }
            Event::Stop(error) => {
                let code = match error {
                    Error::Interrupted(_) => AbortCode::Interrupted,
                    Error::Dial { .. } | Error::Lost(_) => AbortCode::Lost,
                    _ => AbortCode::Failed,
                };
                Some(self.give_up(conduct, code, error))
            }
        }
    }

    fn give_up(&self, conduct: &mut Conduct, code: AbortCode, error: Error) -> SessionEnd {
        let (text, tally) = (error.reason(), Tally::default());
        self.streams[0].send_control(&Control::Abort { code, text, tally });
        SessionEnd {
            last_words: true,
            ..self.end(conduct, Some(error))
        }
    }
}

/// Streams hand messages to the conducting thread.
impl Sink for Sender {
    fn deliver(&self, message: Incoming) -> Result<(), ProtocolError> {
        let _ = self.inbox.send(Event::Message(message));
        Ok(())
    }
}

/// The size of a regular file; 0 for all else.
fn file_size(item: &Item) -> u64 {
    match item.entry.kind {
        Kind::File { size } => size,
        _ => 0,
    }
}

const ROOT: DirId = DirId(0);
