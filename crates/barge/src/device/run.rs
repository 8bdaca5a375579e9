//! A run that writes a device: what is done, who does it, and what it comes to.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use barge_blockrsync::{BlockHash, Grid, Whole};
use barge_fs::Disk;
use barge_native::{DEVICE_PART, DeviceCall, DeviceStep, Refusal, RefusalCode, VERSION, Welcome};
use barge_types::{Changes, Class, FailedPath, Outcome, RelPath, Side, Tally};

use super::{block, lock};
use crate::bridge::WINDOW;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::over_blockrsync::{Event, Failure, Incoming, Part, Peer, Received, decline};
use crate::over_rsync::Connection;
use crate::receive::LIST_WINDOW;
use crate::run::{Clock, RunEnd, SessionEnd};
use crate::stop::Stop;

/// A run that writes a device.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    session: u128,
    /// By which the client knows that it is still this run, and not its successor.
    seed: u64,
    disk: Disk,
    /// How long the target is.
    len: u64,
    /// How long the source is.
    size: u64,
    clock: Clock,
    connections: AtomicUsize,
    state: Mutex<State>,
    /// Bytes that were not as they are at the source.
    differed: AtomicU64,
    /// Those of them that came.
    written: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Parts that are on the disk, by where they begin.
    done: BTreeMap<u64, DonePart>,
    /// Who writes a part, or ends the run, by where that begins.
    writers: HashMap<u64, Writer>,
    /// Up to where nothing is left that the device has behind the source's end.
    cleared: u64,
    phase: Phase,
    /// What went wrong with the disk. The kernel tells of a lost write once, to whoever asks first: nothing
    /// that was written is sure after it.
    failure: Option<barge_fs::Error>,
}

#[derive(Debug)]
struct DonePart {
    end: u64,
    digest: BlockHash,
}

/// Why a run fell short of its end.
#[derive(Debug)]
pub(super) enum Short {
    Error(Error),
    /// The source could not be read, or not be read twice alike.
    Source(Class),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Phase {
    /// Parts are taken.
    Parts,
    /// All parts are done, and as they are at the source.
    Ending,
    /// All is on the disk; the client is being told.
    Finished,
}

#[derive(Clone, Debug, Default)]
struct Writer {
    /// Ends its connection.
    stop: Stop,
    /// Held while it writes.
    turn: Arc<Mutex<()>>,
}

/// A connection's place in a run.
#[derive(Debug)]
pub(super) struct Seat {
    run: Arc<Run>,
    step: DeviceStep,
    writer: Writer,
}

impl Run {
    /// Opens the device, and gives an image the source's length.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub(super) fn open(path: PathBuf, call: &DeviceCall, clock: Clock) -> Result<Self, Refusal> {
        let size = call.size;
        let fails = |error: barge_fs::Error| {
            let code = match error.is_busy() {
                true => RefusalCode::Busy,
                false => RefusalCode::Unwritable,
            };
            refusal(code, format!("{}: {error}", path.display()))
        };
        let seed = getrandom::u64()
            .map_err(|error| refusal(RefusalCode::Unwritable, error.to_string()))?;
        let disk = Disk::open_to_write(&path).map_err(fails)?;
        let len = disk.len().map_err(fails)?;
        if disk.is_device() && len < size {
            let text = format!(
                "{} of {len} bytes is smaller than the source of {size} bytes",
                path.display()
            );
            return Err(refusal(RefusalCode::Unwritable, text));
        }
        if !disk.is_device() && len != size {
            disk.set_len(size).map_err(fails)?;
        }
        let len = if disk.is_device() { len } else { size };
        let state = State {
            done: BTreeMap::new(),
            writers: HashMap::new(),
            cleared: size,
            phase: Phase::Parts,
            failure: None,
        };
        Ok(Self {
            session: call.session,
            seed,
            disk,
            len,
            size,
            clock,
            connections: AtomicUsize::new(0),
            state: Mutex::new(state),
            differed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            path,
        })
    }

    /// Whether a connection belongs to it.
    pub(super) fn is_of(&self, call: &DeviceCall) -> bool {
        self.has_session(call.session) && self.size == call.size
    }

    pub(super) fn has_session(&self, session: u128) -> bool {
        self.session == session
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.connections.load(Ordering::Acquire) > 0
    }

    pub(super) fn phase(&self) -> Phase {
        lock(&self.state).phase
    }

    /// Whether the disk failed.
    pub(super) fn has_failed(&self) -> bool {
        lock(&self.state).failure.is_some()
    }

    /// Gives a connection its place. For a part, and for the end, there is one at a time: a client that
    /// comes again has lost the connection it had for it.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub(super) fn seat(self: &Arc<Self>, step: DeviceStep) -> Result<Seat, Refusal> {
        let mut state = lock(&self.state);
        if let Some(error) = state.failure {
            let text = format!("{}: {error}", self.path.display());
            return Err(refusal(RefusalCode::Unwritable, text));
        }
        if self.connections.load(Ordering::Acquire) >= MAX_CONNECTIONS {
            let text = format!("the run has {MAX_CONNECTIONS} connections already");
            return Err(refusal(RefusalCode::Busy, text));
        }
        match step {
            // It is written again: until that is through, nothing is known of it.
            DeviceStep::Part { start, .. } => {
                state.expect_parts()?;
                state.done.remove(&start);
            }
            DeviceStep::End { digest } => state.begin_end(self.size, digest)?,
        }
        let place = state.writers.entry(self.start(step)).or_default();
        place.stop.stop();
        place.stop = Stop::new();
        let writer = place.clone();
        self.connections.fetch_add(1, Ordering::AcqRel);
        drop(state);
        Ok(Seat {
            run: Arc::clone(self),
            step,
            writer,
        })
    }

    /// Where a step begins; no part begins where the source ends.
    fn start(&self, step: DeviceStep) -> u64 {
        match step {
            DeviceStep::Part { start, .. } => start,
            DeviceStep::End { .. } => self.size,
        }
    }

    /// What is said to a connection that may go on.
    pub(super) fn welcome(&self) -> Welcome {
        Welcome {
            version: VERSION,
            session: self.session,
            secret: 0,
            seed: self.seed,
            streams: 1,
            window: WINDOW,
            list_window: LIST_WINDOW,
            received: [0; 2],
        }
    }

    /// Ends all connections, as if they were cut.
    pub(super) fn stop(&self) {
        let state = lock(&self.state);
        state.writers.values().for_each(|writer| writer.stop.stop());
    }

    /// What came of it, which is `short` unless all was on the disk, or the disk failed.
    pub(super) fn end(&self, short: Short, monitor: &Monitor) -> RunEnd {
        let (phase, failure) = {
            let state = lock(&self.state);
            (state.phase, state.failure)
        };
        let short = match (phase, failure) {
            (Phase::Finished, _) => None,
            (_, Some(failure)) => {
                let text = format!("{}: {failure}", self.path.display());
                Some(Short::Error(Error::TargetFull(text)))
            }
            _ => Some(short),
        };
        let differed = self.differed.load(Ordering::Acquire);
        let mut tally = Tally {
            bytes_listed: self.size,
            bytes_sent: self.written.load(Ordering::Acquire),
            ..Tally::default()
        };
        let (mut failures, mut error) = (Vec::new(), None);
        match short {
            None => {
                tally.bytes_matched = self.size.saturating_sub(differed);
                tally.count(&match differed {
                    0 => Outcome::Unchanged,
                    _ => Outcome::Updated(Changes::CONTENT),
                });
            }
            Some(Short::Source(class)) => {
                let failure = barge_types::Failure {
                    side: Side::Source,
                    op: "read".into(),
                    errno: 0,
                    class,
                };
                tally.count(&Outcome::Failed(failure.clone()));
                let path = RelPath::root();
                failures.push(FailedPath { path, failure });
            }
            Some(Short::Error(why)) => error = Some(why),
        }
        let end = SessionEnd {
            tally,
            failures,
            undeleted: 0,
            error,
            last_words: false,
        };
        self.clock.end(monitor, end)
    }

    fn part(&self, part: Range<u64>, line: &mut Connection) -> Result<Received, Failure> {
        self.converse(part.clone(), line, &|digest| {
            let end = part.end;
            let done = DonePart { end, digest };
            lock(&self.state).done.insert(part.start, done);
        })
    }

    /// Clears what is behind the source's end, and says that all is on the disk.
    fn finish(&self, line: &mut Connection, stop: &Stop) -> Result<Received, Failure> {
        match self.clear_behind(stop) {
            Ok(()) => self.converse(self.size..self.size, line, &|_| {
                lock(&self.state).phase = Phase::Finished;
            }),
            Err(failure) => Err(decline(line, failure, Peer::Ours)),
        }
    }

    /// `on_disk` hears the part's digest before the client hears that it is done.
    fn converse(
        &self,
        range: Range<u64>,
        line: &mut Connection,
        on_disk: &dyn Fn(BlockHash),
    ) -> Result<Received, Failure> {
        let grid = Grid::new(range.end - range.start, block()).expect("a part is short");
        let incoming = Incoming {
            part: Part::of(&self.disk, range.start, grid),
            path: &self.path,
            peer: Peer::Ours,
            preallocate: false,
            keeps_digests: true,
        };
        incoming.receive(line, &|event| match event {
            Event::Writing { bytes, is_hole } => {
                self.differed.fetch_add(bytes, Ordering::AcqRel);
                if !is_hole {
                    self.written.fetch_add(bytes, Ordering::AcqRel);
                }
            }
            Event::OnDisk { digest } => on_disk(digest),
            _ => {}
        })
    }

    /// What a device has behind the source's end is nobody's. A client that comes again finds done what
    /// was done for its last connection.
    fn clear_behind(&self, stop: &Stop) -> Result<(), Failure> {
        let fails = |error| Failure::Disk {
            path: self.path.clone(),
            error,
        };
        loop {
            let start = lock(&self.state).cleared;
            if start >= self.len {
                return Ok(());
            }
            if stop.is_stopped() {
                return Err(Failure::Unused);
            }
            let end = self.len.min(start + DEVICE_PART);
            self.disk.discard(start..end).map_err(fails)?;
            self.disk.sync().map_err(fails)?;
            lock(&self.state).cleared = end;
        }
    }
}

impl State {
    fn expect_parts(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Parts => Ok(()),
            Phase::Ending | Phase::Finished => {
                let text = "the run is at its end: no part is taken any more".to_owned();
                Err(refusal(RefusalCode::Unwritable, text))
            }
        }
    }

    /// All of `size` bytes is to be there, and to have the digest that it has at the source.
    fn begin_end(&mut self, size: u64, digest: BlockHash) -> Result<(), Refusal> {
        match self.digest(size) {
            None => {
                let text = "not all parts have been seen: the server was restarted".to_owned();
                Err(refusal(RefusalCode::UnknownSession, text))
            }
            Some(ours) if ours == digest => {
                self.phase = self.phase.max(Phase::Ending);
                Ok(())
            }
            Some(_) => {
                let text = "what was written is not what was read".to_owned();
                Err(refusal(RefusalCode::Unwritable, text))
            }
        }
    }

    /// That of all parts; `None` when some are not done.
    fn digest(&self, size: u64) -> Option<BlockHash> {
        let (mut at, mut whole) = (0, Whole::default());
        for (&start, part) in &self.done {
            if start != at {
                return None;
            }
            whole.add(&part.digest);
            at = part.end;
        }
        (at == size).then(|| whole.digest())
    }
}

impl Seat {
    pub(super) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Does what the connection is for. Whether the run is over, and its client knows it.
    pub(super) fn serve(&self, connect: impl FnOnce(&Stop) -> Connection) -> bool {
        let _turn = lock(&self.writer.turn);
        let stop = &self.writer.stop;
        // Somebody came after it, and may be through by now.
        if stop.is_stopped() {
            return false;
        }
        let mut line = connect(stop);
        let failed = lock(&self.run.state).failure;
        let served = match (failed, self.step) {
            (Some(error), _) => {
                let path = self.run.path.clone();
                let failure = Failure::Disk { path, error };
                Err(decline(&mut line, failure, Peer::Ours))
            }
            (None, DeviceStep::Part { start, end }) => self.run.part(start..end, &mut line),
            (None, DeviceStep::End { .. }) => self.run.finish(&mut line, stop),
        };
        match served {
            Ok(received) => matches!(self.step, DeviceStep::End { .. }) && received.is_known,
            Err(failure) => {
                tracing::debug!(%failure, "a connection for a device ended early");
                if let Failure::Disk { error, .. } = failure {
                    lock(&self.run.state).failure.get_or_insert(error);
                }
                false
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.run.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) fn refusal(code: RefusalCode, text: String) -> Refusal {
    Refusal { code, text }
}

/// As many connections as a client may have, and once more those that it lost and we have not missed yet.
const MAX_CONNECTIONS: usize = 2 * barge_native::MAX_STREAMS as usize;
