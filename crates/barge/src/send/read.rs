//! Reads what the receiver asked for: small files into bundles, large ones range by range.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use barge_delta::{Index, Op, Search, strong};
use barge_fs::{Dir, SourceFile, Stat};
use barge_native::stripe::{range_bytes, range_count};
use barge_native::{BundleEncoder, Content, FileRef, Item, MAX_LITERAL, SegmentId, Unsent};
use barge_types::{Side, Timestamp};
use bytes::Bytes;

use super::walk::Place;
use super::{BlocksInHand, Sender, file_size};
use crate::bridge::{Closed, SessionStream};
use crate::receive::RangeDigest;

/// The most files and bytes of one bundle: what one thread of the receiver creates in a row.
const BUNDLE_FILES: usize = 64;
const BUNDLE_BYTES: u64 = 256 << 10;

/// What a large file is compared with.
pub(super) struct Basis {
    pub(super) index: Index,
    pub(super) in_place: bool,
    pub(super) _blocks: BlocksInHand,
}

/// A large file while its ranges are read.
struct LargeFile {
    sender: Arc<Sender>,
    file: SourceFile,
    /// A look at it when it was opened.
    before: Stat,
    file_ref: FileRef,
    size: u64,
    basis: Option<Basis>,
    next: AtomicU32,
    /// The run of data that was found last: a run may span many ranges, and to look for its end
    /// takes time in proportion to its length on some file systems.
    run: Mutex<Range<u64>>,
    /// Ranges that have not been read to their end.
    left: AtomicU64,
    failed: AtomicBool,
}

/// Why a file or a range was not given.
enum Stopped {
    /// The session is over, or the file has failed on another thread.
    Quietly,
    Unsent(Unsent),
}

impl From<Closed> for Stopped {
    fn from(_: Closed) -> Self {
        Self::Quietly
    }
}

impl From<barge_fs::Error> for Stopped {
    fn from(error: barge_fs::Error) -> Self {
        Self::Unsent(Unsent::Failed(error.failure(Side::Source)))
    }
}

const CHANGED: Stopped = Stopped::Unsent(Unsent::Changed);

impl Sender {
    /// Queues small files of one segment, a bundle at a time.
    pub(super) fn read_small(
        self: &Arc<Self>,
        place: &Arc<Place>,
        items: &Arc<[Item]>,
        segment: SegmentId,
        indexes: &[u16],
    ) {
        let mut rest = indexes;
        while !rest.is_empty() {
            let (bundle, after) = rest.split_at(bundle_len(rest, items));
            rest = after;
            let (sender, place, items) = (Arc::clone(self), Arc::clone(place), Arc::clone(items));
            let bundle = bundle.to_vec();
            self.readers.run(move || {
                if !sender.is_over() {
                    // Closed: the run is over meanwhile, and nobody waits for the files any more.
                    let _ = sender.bundle(&place, &items, segment, &bundle);
                }
            });
        }
    }

    fn bundle(
        &self,
        place: &Place,
        items: &[Item],
        segment: SegmentId,
        indexes: &[u16],
    ) -> Result<(), Closed> {
        let stream = self.quietest_stream();
        let dir = self.root.dir(&place.path());
        let mut bundle = BundleEncoder::default();
        let mut buffer = Vec::new();
        for &index in indexes {
            let file = FileRef { segment, index };
            let item = &items[usize::from(index)];
            let read = match &dir {
                Ok(dir) => read_whole(dir, item, &mut buffer),
                Err(error) => Err((*error).into()),
            };
            match read {
                Ok(()) => bundle.push(file, strong(self.seed, &buffer), &buffer),
                Err(Stopped::Unsent(why)) => stream.send(&Content::Unsent { file, why })?,
                Err(Stopped::Quietly) => return Err(Closed),
            }
        }
        if bundle.is_empty() {
            return Ok(());
        }
        self.count_read(bundle.content_len());
        self.pace(bundle.content_len());
        stream.send_frame(bundle.finish())
    }

    /// Queues a large file, or one of any size that is compared with a basis.
    pub(super) fn read_large(
        self: &Arc<Self>,
        place: Arc<Place>,
        items: Arc<[Item]>,
        file: FileRef,
        basis: Option<Basis>,
    ) {
        let sender = Arc::clone(self);
        self.readers.run(move || {
            if sender.is_over() {
                return;
            }
            let item = &items[usize::from(file.index)];
            match sender.open_large(&place, item, file, basis) {
                Ok(large) => large.read_on_all_streams(),
                Err(stopped) => sender.give_up_file(file, stopped),
            }
        });
    }

    fn open_large(
        self: &Arc<Self>,
        place: &Place,
        item: &Item,
        file_ref: FileRef,
        basis: Option<Basis>,
    ) -> Result<Arc<LargeFile>, Stopped> {
        let dir = self.root.dir(&place.path())?;
        let (file, before) = open_unchanged(&dir, item)?;
        file.will_read_sequentially();
        let size = file_size(item);
        Ok(Arc::new(LargeFile {
            sender: Arc::clone(self),
            file,
            before,
            file_ref,
            size,
            basis,
            next: AtomicU32::new(0),
            run: Mutex::new(0..0),
            left: AtomicU64::new(range_count(size)),
            failed: AtomicBool::new(false),
        }))
    }

    fn give_up_file(&self, file: FileRef, stopped: Stopped) {
        if let Stopped::Unsent(why) = stopped {
            let _ = self.quietest_stream().send(&Content::Unsent { file, why });
        }
    }

    /// The stream with the least data on its way.
    fn quietest_stream(&self) -> &SessionStream {
        let quietest = self
            .streams
            .iter()
            .min_by_key(|stream| stream.waiting_bytes());
        quietest.expect("a session has at least one stream")
    }

    /// Waits until `bytes` may be sent under `--bwlimit`.
    fn pace(&self, bytes: u64) {
        let begin = Instant::now();
        let wait = self.limiter.take(bytes, begin);
        while let Some(left) = wait
            .checked_sub(begin.elapsed())
            .filter(|left| !left.is_zero())
        {
            if self.is_over() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
        self.monitor.counters.bytes_sent.add(bytes);
        self.own().tally.bytes_sent += bytes;
    }

    fn count_read(&self, bytes: u64) {
        self.monitor.counters.bytes_read.add(bytes);
        self.own().tally.bytes_read += bytes;
    }
}

impl LargeFile {
    /// Reads ranges on this thread, and on as many others as there are further streams.
    fn read_on_all_streams(self: Arc<Self>) {
        let readers = range_count(self.size).min(self.sender.streams.len() as u64);
        let helpers = readers.saturating_sub(1);
        for _ in 0..helpers {
            // Weak: a helper that comes too late must not have kept the file open.
            let file = Arc::downgrade(&self);
            self.sender.readers.run(move || {
                if let Some(file) = file.upgrade() {
                    file.read_ranges();
                }
            });
        }
        self.read_ranges();
    }

    fn read_ranges(&self) {
        loop {
            let range = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(bytes) = range_bytes(range, self.size) else {
                return;
            };
            if let Err(stopped) = self.read_range(range, bytes) {
                if !self.failed.swap(true, Ordering::AcqRel) {
                    self.sender.give_up_file(self.file_ref, stopped);
                }
                return;
            }
        }
    }

    fn read_range(&self, range: u32, bytes: Range<u64>) -> Result<(), Stopped> {
        let mut reading = Reading {
            file: self,
            stream: self.sender.quietest_stream(),
            range,
            digest: RangeDigest::new(self.sender.seed),
        };
        let mut at = bytes.start;
        while let Some(run) = self.next_run(at, bytes.end)? {
            reading.hole(run.start - at)?;
            reading.run(run.clone())?;
            at = run.end;
        }
        reading.hole(bytes.end - at)?;
        // All ranges have been read: this one's end is the last word, so it waits for the proof.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && !is_unchanged(&self.file.stat()?, &self.before)
        {
            return Err(CHANGED);
        }
        let (file, digest) = (self.file_ref, reading.digest.finish());
        reading.stream.send(&Content::RangeEnd {
            file,
            range,
            digest,
        })?;
        Ok(())
    }

    /// The next run of data; everything is data when holes are not kept.
    fn next_run(&self, at: u64, end: u64) -> Result<Option<Range<u64>>, Stopped> {
        if at == end {
            return Ok(None);
        }
        if !self.sender.options.sparse {
            return Ok(Some(at..end));
        }
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if !run.contains(&at) {
            match self.file.next_data(at, self.size)? {
                Some(next) => *run = next,
                None => return Ok(None),
            }
        }
        Ok((run.start < end).then(|| run.start.max(at)..run.end.min(end)))
    }
}

/// One range while it is read.
struct Reading<'a> {
    file: &'a LargeFile,
    stream: &'a SessionStream,
    range: u32,
    digest: RangeDigest,
}

impl Reading<'_> {
    fn hole(&mut self, len: u64) -> Result<(), Stopped> {
        if len == 0 {
            return Ok(());
        }
        self.digest.end_run();
        let (file, range) = (self.file.file_ref, self.range);
        Ok(self.stream.send(&Content::Hole { file, range, len })?)
    }

    fn run(&mut self, run: Range<u64>) -> Result<(), Stopped> {
        match &self.file.basis {
            None => self.literal_run(run),
            Some(basis) if basis.in_place => self.aligned_run(&basis.index, run),
            Some(basis) => self.searched_run(&basis.index, run),
        }
    }

    /// Sends all bytes; a buffer goes from the file to the socket without a copy.
    fn literal_run(&mut self, run: Range<u64>) -> Result<(), Stopped> {
        let mut at = run.start;
        while at < run.end {
            let mut buffer = Buffer::take();
            let len = (run.end - at).min(MAX_LITERAL as u64) as usize;
            self.fill(&mut buffer.0[..len], at)?;
            self.literal(Bytes::from_owner(buffer).slice(..len))?;
            at += len as u64;
        }
        Ok(())
    }

    /// Sends what the basis does not have anywhere.
    fn searched_run(&mut self, index: &Index, run: Range<u64>) -> Result<(), Stopped> {
        let mut search = Search::new(index, run.start);
        let mut buffer = Buffer::take();
        let mut at = run.start;
        while at < run.end {
            let len = (run.end - at).min(MAX_LITERAL as u64) as usize;
            self.fill(&mut buffer.0[..len], at)?;
            let mut sent = Ok(());
            search.feed(&buffer.0[..len], &mut |op| self.op(op, &mut sent));
            sent?;
            at += len as u64;
        }
        let mut sent = Ok(());
        search.finish(&mut |op| self.op(op, &mut sent));
        sent
    }

    fn op(&self, op: Op<'_>, sent: &mut Result<(), Stopped>) {
        if sent.is_err() {
            return;
        }
        *sent = match op {
            Op::Copy { basis_offset, len } => self.copy(basis_offset, len),
            Op::Literal(bytes) => bytes
                .chunks(MAX_LITERAL)
                .try_for_each(|piece| self.literal(Bytes::copy_from_slice(piece))),
        };
    }

    /// Sends what the basis does not have at the same offset.
    fn aligned_run(&mut self, index: &Index, run: Range<u64>) -> Result<(), Stopped> {
        let block = u64::from(index.block_len().get());
        let mut buffer = vec![0; (block as usize).max(MAX_LITERAL)];
        let mut at = run.start;
        while at < run.end {
            // Up to the next boundary of a block first, then whole blocks.
            let ahead = if at.is_multiple_of(block) {
                buffer.len() as u64
            } else {
                block - at % block
            };
            let len = (run.end - at).min(ahead) as usize;
            self.fill(&mut buffer[..len], at)?;
            let mut offset = at;
            for piece in buffer[..len].chunks(block as usize) {
                if index.is_block_at(offset, piece) {
                    self.copy(offset, piece.len() as u64)?;
                } else {
                    let mut sent = Ok(());
                    self.op(Op::Literal(piece), &mut sent);
                    sent?;
                }
                offset += piece.len() as u64;
            }
            at += len as u64;
        }
        Ok(())
    }

    /// Reads all of `buffer`, and digests it.
    fn fill(&mut self, buffer: &mut [u8], at: u64) -> Result<(), Stopped> {
        if self.file.failed.load(Ordering::Acquire) || self.file.sender.is_over() {
            return Err(Stopped::Quietly);
        }
        if self.file.file.read_at(buffer, at)? < buffer.len() {
            return Err(CHANGED);
        }
        self.digest.update(at, buffer);
        self.file.sender.count_read(buffer.len() as u64);
        Ok(())
    }

    fn literal(&self, bytes: Bytes) -> Result<(), Stopped> {
        self.file.sender.pace(bytes.len() as u64);
        let (file, range) = (self.file.file_ref, self.range);
        Ok(self.stream.send(&Content::Literal { file, range, bytes })?)
    }

    fn copy(&self, offset: u64, len: u64) -> Result<(), Stopped> {
        let (file, range) = (self.file.file_ref, self.range);
        Ok(self.stream.send(&Content::Copy {
            file,
            range,
            offset,
            len,
        })?)
    }
}

/// How many of `indexes` go into the next bundle: at least one.
fn bundle_len(indexes: &[u16], items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |&&index: &&u16| {
        bytes += file_size(&items[usize::from(index)]);
        bytes <= BUNDLE_BYTES
    };
    indexes
        .iter()
        .take(BUNDLE_FILES)
        .take_while(fits)
        .count()
        .max(1)
}

/// Reads a whole file as it was listed.
fn read_whole(dir: &Dir, item: &Item, buffer: &mut Vec<u8>) -> Result<(), Stopped> {
    let (file, before) = open_unchanged(dir, item)?;
    buffer.resize(file_size(item) as usize, 0);
    if file.read_at(buffer, 0)? < buffer.len() || !is_unchanged(&file.stat()?, &before) {
        return Err(CHANGED);
    }
    Ok(())
}

/// Opens a file that is still what was listed, and that a change would show on.
fn open_unchanged(dir: &Dir, item: &Item) -> Result<(SourceFile, Stat), Stopped> {
    let file = dir.open_file(&item.entry.name)?;
    let stat = file.stat()?;
    let meta = &item.entry.meta;
    let listed = (stat.size, stat.mtime, stat.mode, stat.owner)
        == (file_size(item), meta.mtime, meta.mode, meta.owner);
    if !listed || just_changed(stat.ctime, SystemTime::now()) {
        return Err(CHANGED);
    }
    Ok((file, stat))
}

/// Whether nothing was written between two looks. The space a file takes may change by itself.
fn is_unchanged(now: &Stat, before: &Stat) -> bool {
    let look = |stat: &Stat| (stat.dev, stat.ino, stat.size, stat.mtime, stat.ctime);
    look(now) == look(before)
}

/// Whether a further change could leave the same time: the kernel's clock for files ticks every
/// 1 to 10 ms. A time in the future comes from another machine's clock and says nothing.
fn just_changed(ctime: Timestamp, now: SystemTime) -> bool {
    let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else {
        return false;
    };
    let Ok(secs) = u64::try_from(ctime.secs()) else {
        return false;
    };
    let changed = Duration::new(secs, ctime.nanos());
    changed <= now && now - changed < CLOCK_TICKS
}

/// How long a thread that waits for its turn sleeps before it looks whether the run is over.
const NAP: Duration = Duration::from_millis(100);

const CLOCK_TICKS: Duration = Duration::from_millis(20);

/// Buffer of [`MAX_LITERAL`] bytes, used again: fresh memory would have to be zeroed each time.
struct Buffer(Vec<u8>);

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// More are in flight only for a moment.
const MAX_FREE: usize = 128;

impl Buffer {
    fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(free.unwrap_or_else(|| vec![0; MAX_LITERAL]))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE {
            free.push(std::mem::take(&mut self.0));
        }
    }
}
