//! The target side: compare, ask, write, verify, commit; then links, times, deletions.
//!
//! A [`ReceiverSink`] takes messages as they come and never blocks: it checks them against the
//! [`Inbox`] and queues jobs. A job works through one segment ([`compare`]), writes content
//! ([`content`]), or finishes a directory ([`finish`]).

mod compare;
mod content;
mod dirs;
mod file;
mod finish;
mod links;
mod remembered;
mod segment;
mod signature;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge_delta::Seed;
use barge_fs::{Keep, Root, RunLock, Stat};
use barge_native::receiver::Inbox;
use barge_native::{
    AbortCode, Content, Control, DirId, Ending, Frame, Lane, Order, ProtocolError, Segment,
    SegmentId, Tie,
};
use barge_types::{FAILURES_KEPT, FailedPath, Kind, Meta, Outcome, RelPath, Side, Tally};
use tokio::sync::oneshot;

use crate::bridge::{Incoming, SessionStream, Sink};
use crate::error::Error;
use crate::filter::Filter;
use crate::monitor::{Monitor, PathEnd};
use crate::pool::Pool;
use crate::run::SessionEnd;
use dirs::{Before, Due, Stage, TargetDir, name_hash};
use links::Links;
use remembered::Room;
use segment::OpenSegment;
use signature::SignatureBudget;

pub(crate) use file::RangeDigest;

/// Bytes of segments that may be unfinished: what bounds the memory for lists on both sides.
pub(crate) const LIST_WINDOW: u32 = 4 << 20;

/// Writes one volume for one session.
#[derive(Debug)]
pub(crate) struct Receiver {
    root: Root,
    order: Order,
    keep: Keep,
    filter: Filter,
    seed: Seed,
    streams: Vec<Arc<SessionStream>>,
    pool: Pool,
    monitor: Arc<Monitor>,
    state: Mutex<State>,
    links: Mutex<Links>,
    room: Arc<Room>,
    budget: Mutex<SignatureBudget>,
    deleting: Mutex<()>,
    deleted: AtomicU64,
    undeleted: AtomicU64,
    /// A run was killed here: it may have left temporary files behind.
    unclean: bool,
    /// None in a dry run, and once the run is through.
    lock: Mutex<Option<RunLock>>,
    /// The root before the run.
    root_before: Before,
    over: AtomicBool,
}

#[derive(Debug)]
struct State {
    inbox: Inbox<Arc<TargetDir>>,
    segments: HashMap<SegmentId, Arc<OpenSegment>>,
    root_meta: Option<Meta>,
    /// Directories that are not through.
    dirs: u64,
    /// Directories opened again, which wait until all others are through: one of those may be the
    /// same, and about to get its time.
    reopened: Vec<Arc<TargetDir>>,
    tally: Tally,
    failures: Vec<FailedPath>,
    /// What the sender alone counts, once its list has ended.
    sender_tally: Option<Tally>,
    /// The last step has been queued; it has been taken.
    finishing: bool,
    finished: bool,
    end: Option<oneshot::Sender<SessionEnd>>,
}

impl Receiver {
    /// Prepares to write the volume beneath `root`, of which `before` is a look from before the
    /// run was begun with `lock`.
    pub(crate) fn new(
        root: Root,
        before: &Stat,
        order: Order,
        seed: Seed,
        lock: Option<RunLock>,
        streams: Vec<Arc<SessionStream>>,
        monitor: Arc<Monitor>,
    ) -> Result<(Arc<Self>, oneshot::Receiver<SessionEnd>), Error> {
        let prepared = Self::prepare(&order);
        let (filter, pool) = match (prepared, &lock) {
            (Ok(prepared), _) => prepared,
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => {
                let _ = lock.map(RunLock::finish);
                return Err(error);
            }
        };
        let (end, ended) = oneshot::channel();
        let keep = Keep {
            owner: order.owner,
            xattrs: order.xattrs,
            acls: order.acls,
            selinux: order.selinux,
        };
        let state = State {
            inbox: Inbox::new(LIST_WINDOW.into()),
            segments: HashMap::new(),
            root_meta: None,
            dirs: 0,
            reopened: Vec::new(),
            tally: Tally::default(),
            failures: Vec::new(),
            sender_tally: None,
            finishing: false,
            finished: false,
            end: Some(end),
        };
        let receiver = Self {
            root,
            order,
            keep,
            filter,
            seed,
            streams,
            pool,
            monitor,
            state: Mutex::new(state),
            links: Mutex::default(),
            room: Room::of_process(),
            budget: Mutex::default(),
            deleting: Mutex::default(),
            deleted: AtomicU64::new(0),
            undeleted: AtomicU64::new(0),
            unclean: lock.as_ref().is_some_and(RunLock::was_unclean),
            lock: Mutex::new(lock),
            root_before: Before::of(before),
            over: AtomicBool::new(false),
        };
        Ok((Arc::new(receiver), ended))
    }

    fn prepare(order: &Order) -> Result<(Filter, Pool), Error> {
        let filter = Filter::new(&order.excludes)
            .map_err(|error| Error::Request(format!("the client's patterns: {error}")))?;
        let pool = Pool::new("receive", crate::pool::workers())
            .map_err(|error| Error::Internal(format!("no thread: {error}")))?;
        Ok((filter, pool))
    }

    /// Ends the run before its time: what is in flight is committed or removed.
    pub(crate) fn abort(&self, code: AbortCode, error: Error) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::debug!(%error, "the run is given up");
        let (text, tally) = (error.reason(), self.state().tally);
        self.streams[0].send_control(&Control::Abort { code, text, tally });
        self.end(Some(error), true);
    }

    /// Ends the run because this side is asked to; one that is through stays so.
    pub(crate) fn interrupt(&self) {
        let why = "the server was told to stop".to_owned();
        if self.is_finished() {
            self.lost(why);
        } else {
            self.abort(AbortCode::Interrupted, Error::Interrupted(why));
        }
    }

    /// The sender is gone for good. That is no failure once all is durable. Returns whether the
    /// run was still on.
    pub(crate) fn lost(&self, why: String) -> bool {
        let finished = self.is_finished();
        self.over.store(true, Ordering::Release);
        self.end((!finished).then_some(Error::Lost(why)), false) && !finished
    }

    /// Whether all is durable and the sender has been told.
    pub(crate) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Waits for the threads, and lets go of what was under way. Call it off the runtime, when
    /// the run has ended and the streams are closed.
    ///
    /// With `keep`, large files that are half there stay, for a successor to go on with.
    pub(crate) fn close(&self, keep: bool) {
        self.pool.finish();
        self.clear(if keep {
            Leftovers::Keep
        } else {
            Leftovers::Remove
        });
    }

    /// Returns false when it had ended before.
    fn end(&self, error: Option<Error>, last_words: bool) -> bool {
        let mut state = self.state();
        let Some(end) = state.end.take() else {
            return false;
        };
        let mut tally = state.tally;
        if let Some(sender) = state.sender_tally {
            add_sender(&mut tally, &sender);
        }
        let failures = std::mem::take(&mut state.failures);
        let undeleted = self.undeleted.load(Ordering::Relaxed);
        // Who does not wait for it has no use for it.
        let _ = end.send(SessionEnd {
            tally,
            failures,
            undeleted,
            error,
            last_words,
        });
        true
    }

    fn control(self: &Arc<Self>, message: Control, len: usize) -> Result<(), ProtocolError> {
        match message {
            Control::Open { dir, path, meta } => self.open(dir, path, meta),
            Control::Segment(segment) => self.segment(segment, len),
            Control::ListEnd { items, tally } => {
                let mut state = self.state();
                state.inbox.end(items)?;
                state.sender_tally = Some(tally);
                drop(state);
                self.finish_if_through();
                Ok(())
            }
            Control::Goodbye if self.is_finished() => {
                self.over.store(true, Ordering::Release);
                self.end(None, false);
                Ok(())
            }
            Control::Abort { code, text, .. } => {
                self.over.store(true, Ordering::Release);
                let error = match code {
                    AbortCode::Interrupted => Error::Interrupted(text),
                    AbortCode::Lost => Error::Lost(text),
                    _ => Error::Aborted(text),
                };
                self.end(Some(error), false);
                Ok(())
            }
            _ => Err(ProtocolError::Order("a message")),
        }
    }

    fn open(
        self: &Arc<Self>,
        id: DirId,
        path: RelPath,
        meta: Option<Meta>,
    ) -> Result<(), ProtocolError> {
        let mut state = self.state();
        let dir = match meta {
            Some(mut meta) if id == DirId(0) && path.is_root() => {
                meta.xattrs.retain(|xattr| self.keep.carries(&xattr.name));
                state.root_meta = Some(meta.clone());
                TargetDir::root(meta, &self.room)?
            }
            None if id != DirId(0) && !path.is_too_deep() => {
                let dir = TargetDir::reopened(path, &self.room)?;
                state.reopened.push(Arc::clone(&dir));
                dir
            }
            _ => return Err(ProtocolError::Order("a root")),
        };
        state.dirs += 1;
        state.inbox.declare(id, dir)?;
        drop(state);
        self.let_reopened_go_on();
        Ok(())
    }

    /// Lets directories that were opened again go on, when all others are through.
    fn let_reopened_go_on(self: &Arc<Self>) {
        let reopened = {
            let mut state = self.state();
            match state.dirs == state.reopened.len() as u64 {
                true => std::mem::take(&mut state.reopened),
                false => return,
            }
        };
        for dir in reopened {
            let due = dir.made(Stage::Ready { fresh: false });
            self.go_on(due, None);
        }
    }

    fn segment(self: &Arc<Self>, mut segment: Segment, len: usize) -> Result<(), ProtocolError> {
        let due = {
            let mut state = self.state();
            let (dir, cost) = state.inbox.segment(&segment, len)?;
            if self.order.delete {
                dir.share.remember_names(segment.items.len())?;
            }
            let mut children = Vec::new();
            for (index, item) in segment.items.iter_mut().enumerate() {
                item.entry
                    .meta
                    .xattrs
                    .retain(|xattr| self.keep.carries(&xattr.name));
                if let Tie::Directory(id) = item.tie {
                    let (name, meta) = (&item.entry.name, item.entry.meta.clone());
                    let child = TargetDir::child(&dir, name, meta, &self.room)?;
                    if child.path.is_too_deep() {
                        return Err(ProtocolError::Invalid("a path"));
                    }
                    state.inbox.declare(id, Arc::clone(&child))?;
                    state.dirs += 1;
                    children.push((index as u16, child));
                }
                self.links().arrive(item, &self.room)?;
                if let Kind::File { size } = item.entry.kind {
                    self.monitor.counters.bytes_listed.add(size);
                    state.tally.bytes_listed += size;
                }
            }
            self.monitor.counters.listed.add(segment.items.len() as u64);
            let open = OpenSegment::new(segment.id, dir, segment.items, children, cost);
            state.segments.insert(segment.id, Arc::clone(&open));
            drop(state);
            let names = open.items.iter().filter(|_| self.order.delete);
            let seen = names.map(|item| name_hash(&item.entry.name, self.seed.get()));
            open.dir.admit(&open, seen, segment.last, segment.clean)
        };
        self.go_on(due, None);
        Ok(())
    }

    /// Queues what a directory needs next.
    fn go_on(self: &Arc<Self>, due: Due, dir: Option<&Arc<TargetDir>>) {
        for segment in due.segments {
            let receiver = Arc::clone(self);
            self.pool.run(move || receiver.compare(&segment));
        }
        if let (true, Some(dir)) = (due.finish, dir) {
            let (receiver, dir) = (Arc::clone(self), Arc::clone(dir));
            self.pool.run(move || receiver.finish_dir(&dir));
        }
    }

    /// Ends an entry: counts it, and its segment when it is the last.
    fn end_entry(self: &Arc<Self>, segment: &Arc<OpenSegment>, index: u16, ending: Ending) {
        if !segment.begin_end(index) {
            return;
        }
        let item = &segment.items[usize::from(index)];
        match item.tie {
            Tie::Leader(group) => self.lead_or_lose(segment, index, group, &ending),
            Tie::Follower { group, .. } => self.links().followed(group),
            Tie::None | Tie::Directory(_) => {}
        }
        if let (Ending::Redo, Kind::File { size }) = (&ending, &item.entry.kind) {
            // It is counted when it is listed again.
            self.state().tally.bytes_listed -= size;
        }
        if let Ending::Outcome(outcome) = &ending {
            self.count(outcome, || segment.path(index), item.entry.kind.word());
            if let Kind::File { size } = item.entry.kind {
                self.monitor.counters.bytes_ended.add(size);
            }
        }
        if segment.end(index, ending) {
            self.end_segment(segment);
        }
    }

    fn end_segment(self: &Arc<Self>, segment: &Arc<OpenSegment>) {
        let endings = segment.endings();
        {
            let mut state = self.state();
            state.segments.remove(&segment.id);
            state.inbox.close(segment.cost);
        }
        self.streams[0].send_control(&Control::Done {
            segment: segment.id,
            endings,
        });
        self.part_finished(&segment.dir);
    }

    fn part_finished(self: &Arc<Self>, dir: &Arc<TargetDir>) {
        let due = dir.part_finished();
        self.go_on(due, Some(dir));
    }

    /// Counts an outcome and tells the monitor; a failure is also kept by path.
    fn count(&self, outcome: &Outcome, path: impl FnOnce() -> RelPath, kind: &'static str) {
        self.monitor.counters.ended.add(1);
        let failed = matches!(outcome, Outcome::Failed(_));
        let path = (failed || self.order.itemize).then(path);
        let mut state = self.state();
        state.tally.count(outcome);
        if let (Outcome::Failed(failure), Some(path)) = (outcome, &path) {
            self.monitor.counters.failed.add(1);
            if state.failures.len() < FAILURES_KEPT {
                state.failures.push(FailedPath {
                    path: path.clone(),
                    failure: failure.clone(),
                });
            }
        }
        drop(state);
        if let Some(path) = &path {
            self.monitor.path(PathEnd {
                path,
                kind,
                outcome,
            });
        }
    }

    /// Counts an outcome that belongs to no entry of a segment, and tells the sender of it.
    fn notice(&self, path: &RelPath, outcome: &Outcome, kind: &'static str) {
        self.count(outcome, || path.clone(), kind);
        if self.order.itemize || matches!(outcome, Outcome::Failed(_)) {
            let (path, outcome) = (path.clone(), outcome.clone());
            self.streams[0].send_control(&Control::Notice { path, outcome });
        }
    }

    /// The failure of a path; and the end of the run when the target can take nothing more.
    fn failure(&self, error: barge_fs::Error) -> Outcome {
        if error.is_fatal() {
            self.abort(AbortCode::TargetFull, Error::TargetFull(error.to_string()));
        }
        Outcome::Failed(error.failure(Side::Target))
    }

    fn failed(&self, error: barge_fs::Error) -> Ending {
        Ending::Outcome(self.failure(error))
    }

    fn protocol_error(&self, error: ProtocolError) {
        self.abort(AbortCode::Protocol, Error::Protocol(error));
    }

    /// Whether the run is over, whatever it came to.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn send_control(&self, frame: Frame) {
        self.streams[0].push_control(frame);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver's sink: streams hand messages to it through this, which knows its own `Arc`.
pub(crate) struct ReceiverSink(pub(crate) Arc<Receiver>);

impl Sink for ReceiverSink {
    fn deliver(&self, message: Incoming) -> Result<(), ProtocolError> {
        let receiver = &self.0;
        if receiver.is_over() && !receiver.is_finished() {
            return Ok(());
        }
        let Incoming {
            tag,
            payload,
            credit,
        } = message;
        let len = payload.len();
        let taken = match tag.lane() {
            Some(Lane::Data) => {
                Content::decode(tag, payload).and_then(|content| receiver.content(content, credit))
            }
            _ if !credit.is_of(&receiver.streams[0]) => {
                Err(ProtocolError::Order("a message of stream 0"))
            }
            _ => Control::decode(tag, payload).and_then(|message| receiver.control(message, len)),
        };
        if let Err(error) = &taken {
            receiver.protocol_error(error.clone());
        }
        taken
    }
}

/// What becomes of files that are half there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Leftovers {
    Remove,
    Keep,
}

/// Adds what the sender alone knows to the receiver's tally.
pub(crate) fn add_sender(tally: &mut Tally, sender: &Tally) {
    tally.skipped += sender.skipped;
    tally.failed += sender.failed;
    tally.bytes_read += sender.bytes_read;
    tally.bytes_sent += sender.bytes_sent;
}
