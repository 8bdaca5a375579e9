//! The outgoing half of a conversation: data frames and messages, in the order they are given.
//!
//! One thread writes the data stream, any thread may send messages. What is given is gathered in
//! one buffer and leaves when it is full, or when somebody flushes: before every wait, never
//! after every item. A thread with a message never waits for one that is blocked in a write: it
//! leaves the message there and urges; whoever writes looks again before it is through.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use barge_rsync::wire::mux::{FrameHeader, MAX_TEXT, Message, Tag, TextKind};
use barge_types::ByteRate;
use bytes::BytesMut;

use super::Output;
use super::activity::{Activity, Due};
use super::failure::Failure;
use crate::limit::Limiter;

/// Data that a frame holds at most, and that is gathered before it leaves.
const FULL: usize = 64 << 10;

/// Messages that may wait to leave before who gives more of them waits, too.
const MUCH: usize = 4 << 20;

/// What goes to the peer. Shared by the threads of a run.
pub(crate) struct Outgoing {
    pending: Mutex<Pending>,
    line: Mutex<Line>,
    activity: Arc<Activity>,
    rate: Option<ByteRate>,
    limiter: Limiter,
    /// Bytes that left, frame headers included.
    written: AtomicU64,
}

/// What was given and has not left.
#[derive(Default)]
struct Pending {
    bytes: BytesMut,
    /// Where the header of the data frame begins to which data can be added.
    open: Option<usize>,
    /// Somebody left something there without waiting for the line.
    urged: bool,
    /// There is more than keep-alives.
    counts: bool,
    /// The connection failed like this before.
    failed: Option<io::ErrorKind>,
}

struct Line {
    output: Box<dyn Output>,
    /// The buffer that is exchanged with the pending one.
    leaving: BytesMut,
    /// There is more in it than keep-alives.
    counts: bool,
}

impl Outgoing {
    /// `rate` is that of `--bwlimit`; `written` counts what left before.
    pub(crate) fn new(
        output: Box<dyn Output>,
        activity: Arc<Activity>,
        rate: Option<ByteRate>,
        written: u64,
    ) -> Self {
        let line = Line {
            output,
            leaving: BytesMut::new(),
            counts: false,
        };
        Self {
            pending: Mutex::default(),
            line: Mutex::new(line),
            activity,
            rate,
            limiter: Limiter::new(rate),
            written: AtomicU64::new(written),
        }
    }

    /// Bytes that left so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Adds to the data stream what `encode` appends, which must not call back. Writes when enough
    /// has been gathered.
    pub(crate) fn data<T>(&self, encode: impl FnOnce(&mut BytesMut) -> T) -> Result<T, Failure> {
        let mut pending = self.pending();
        pending.open_frame();
        let encoded = encode(&mut pending.bytes);
        pending.seal_frame();
        if pending.bytes.len() < FULL {
            return Ok(encoded);
        }
        drop(pending);
        self.flush()?;
        Ok(encoded)
    }

    /// Adds long pieces to the data stream and writes them at once, without copying them: one
    /// frame for each, `(head, body)`, together at most [`FULL`] bytes long.
    pub(crate) fn long_data(&self, pieces: &[([u8; 4], &[u8])]) -> Result<(), Failure> {
        let heads: Vec<[u8; 8]> = pieces.iter().map(frame_head).collect();
        let mut line = self.line();
        self.take_pending(&mut line)?;
        line.counts = true;
        let leaving = std::mem::take(&mut line.leaving);
        let mut slices = Vec::with_capacity(1 + 2 * pieces.len());
        slices.push(IoSlice::new(&leaving));
        for (head, (_, body)) in heads.iter().zip(pieces) {
            slices.extend([IoSlice::new(head), IoSlice::new(body)]);
        }
        let written = self.write(&mut line, &mut slices);
        line.leaving = leaving;
        written?;
        self.settle(line)
    }

    /// Adds a message behind the data that was given before. It leaves with the next flush.
    pub(crate) fn message(&self, message: &Message) {
        let (tag, payload) = message.encode();
        self.pending().push_frame(tag, &payload);
    }

    /// Adds a message in front of all that has not left.
    pub(crate) fn message_first(&self, message: &Message) {
        let (tag, payload) = message.encode();
        let mut pending = self.pending();
        let behind = pending.bytes.split();
        pending.push_frame(tag, &payload);
        pending.bytes.extend_from_slice(&behind);
    }

    /// Adds a text as messages of the length that a peer takes.
    pub(crate) fn text(&self, kind: TextKind, text: &[u8]) {
        let mut pending = self.pending();
        for piece in text.chunks(MAX_TEXT) {
            pending.push_frame(kind.tag(), piece);
        }
    }

    /// Writes what was given, if that is much: for who tells of one error after the other to a peer that
    /// may not read. Whoever writes next learns of a connection that has failed.
    pub(crate) fn relieve(&self) {
        if self.pending().bytes.len() > MUCH {
            let _ = self.flush();
        }
    }

    /// Adds bytes outside all frames, as protocol 30 does with the names of `--files-from`.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut pending = self.pending();
        pending.open = None;
        pending.counts = true;
        pending.bytes.extend_from_slice(bytes);
        let full = pending.bytes.len() >= FULL;
        drop(pending);
        if full { self.flush() } else { Ok(()) }
    }

    /// Writes all that was given. Call it before every wait.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        if self.pending().bytes.is_empty() {
            return Ok(());
        }
        let line = self.line();
        self.settle(line)
    }

    /// Sees that all that was given leaves soon, without waiting for a thread that is writing.
    pub(crate) fn urge(&self) -> Result<(), Failure> {
        let mut pending = self.pending();
        if pending.bytes.is_empty() {
            return Ok(());
        }
        pending.urged = true;
        drop(pending);
        match self.line.try_lock() {
            Ok(line) => self.settle(line),
            Err(TryLockError::Poisoned(line)) => self.settle(line.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    /// Tells the peer that this side is alive. Does not count as something that moved.
    pub(crate) fn keep_alive(&self) -> Result<(), Failure> {
        self.pending().push_frame(Tag::Data, &[]);
        self.urge()
    }

    /// Writes all that was given, and says that nothing more will come.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        self.flush()?;
        let closed = self.line().output.close();
        closed.map_err(write_failed)
    }

    /// Writes until nothing is pending, then lets go of the line. What somebody urges meanwhile
    /// is found by either of the two: the flag is looked at before the line is free.
    fn settle(&self, mut line: MutexGuard<'_, Line>) -> Result<(), Failure> {
        loop {
            self.take_pending(&mut line)?;
            if line.leaving.is_empty() {
                let mut pending = self.pending();
                if !std::mem::take(&mut pending.urged) || pending.bytes.is_empty() {
                    drop(line);
                    return Ok(());
                }
                continue;
            }
            let leaving = std::mem::take(&mut line.leaving);
            let written = self.write(&mut line, &mut [IoSlice::new(&leaving)]);
            line.leaving = leaving;
            written?;
        }
    }

    /// Exchanges the buffers: what is pending is what leaves.
    fn take_pending(&self, line: &mut Line) -> Result<(), Failure> {
        let mut pending = self.pending();
        if let Some(kind) = pending.failed {
            return Err(write_failed(kind.into()));
        }
        line.leaving.clear();
        pending.open = None;
        line.counts = std::mem::take(&mut pending.counts);
        std::mem::swap(&mut pending.bytes, &mut line.leaving);
        Ok(())
    }

    fn write(&self, line: &mut Line, slices: &mut [IoSlice<'_>]) -> Result<(), Failure> {
        let written = self.write_all(line, slices);
        if let Err(Failure::Connection { source, .. }) = &written {
            self.pending().failed = Some(source.kind());
        }
        written
    }

    fn write_all(&self, line: &mut Line, mut slices: &mut [IoSlice<'_>]) -> Result<(), Failure> {
        IoSlice::advance_slices(&mut slices, 0);
        while let Some(first) = slices.first() {
            let count = match self.rate {
                None => self.write_some(line, slices)?,
                Some(rate) => {
                    let piece = &first[..first.len().min(paced_len(rate))];
                    self.wait_for_turn(piece.len());
                    self.write_some(line, &[IoSlice::new(piece)])?
                }
            };
            self.activity.sent(line.counts);
            self.written.fetch_add(count as u64, Ordering::Relaxed);
            IoSlice::advance_slices(&mut slices, count);
        }
        Ok(())
    }

    fn write_some(&self, line: &mut Line, pieces: &[IoSlice<'_>]) -> Result<usize, Failure> {
        loop {
            let due = self.activity.due();
            if due == Due::End {
                return Err(Failure::TimedOut(self.activity.limit()));
            }
            match line.output.write(pieces, due.patience()) {
                Ok(0) => return Err(write_failed(io::ErrorKind::WriteZero.into())),
                Ok(count) => return Ok(count),
                Err(error) if may_go_on(&error) => {}
                Err(error) => return Err(write_failed(error)),
            }
        }
    }

    fn wait_for_turn(&self, len: usize) {
        let wait = self.limiter.take(len as u64, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

impl Pending {
    /// Sees that data can be added at the end.
    fn open_frame(&mut self) {
        self.counts = true;
        let fits = |start| self.bytes.len() - start < FULL / 2;
        if !self.open.is_some_and(fits) {
            self.open = Some(self.bytes.len());
            self.bytes.extend_from_slice(&[0; FrameHeader::LEN]);
        }
    }

    /// Writes the header of what the open frame holds now; what is too long for one becomes more.
    fn seal_frame(&mut self) {
        let start = self.open.expect("a frame is opened before it is sealed");
        let body = start + FrameHeader::LEN;
        let len = self.bytes.len() - body;
        match len {
            0 => {
                self.bytes.truncate(start);
                self.open = None;
            }
            1..=FULL => {
                let header = FrameHeader::new(Tag::Data, len).encode();
                self.bytes[start..body].copy_from_slice(&header);
            }
            _ => {
                let data = self.bytes.split_off(body);
                self.bytes.truncate(start);
                data.chunks(FULL)
                    .for_each(|d| self.push_frame(Tag::Data, d));
            }
        }
    }

    fn push_frame(&mut self, tag: Tag, payload: &[u8]) {
        self.open = None;
        self.counts |= tag != Tag::Data || !payload.is_empty();
        let header = FrameHeader::new(tag, payload.len());
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(payload);
    }
}

/// The header of a frame and what stands in front of its long piece.
fn frame_head((head, body): &([u8; 4], &[u8])) -> [u8; 8] {
    let mut bytes = [0; 8];
    let header = FrameHeader::new(Tag::Data, head.len() + body.len());
    bytes[..4].copy_from_slice(&header.encode());
    bytes[4..].copy_from_slice(head);
    bytes
}

/// The most that leaves in one write under a limit: an eighth of a second's worth.
fn paced_len(rate: ByteRate) -> usize {
    let eighth = usize::try_from(rate.bytes_per_sec() / 8).unwrap_or(usize::MAX);
    eighth.max(512)
}

fn write_failed(source: io::Error) -> Failure {
    Failure::Connection {
        op: "write",
        source,
    }
}

/// Whether a call on a connection only did not get anywhere for the moment.
pub(super) fn may_go_on(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use barge_rsync::wire::mux::IoErrors;
    use barge_rsync::wire::ndx::FileIndex;
    use bytes::BufMut;

    use super::*;

    /// Keeps what is written; the first write waits until it is let go.
    struct Kept {
        bytes: Arc<Mutex<Vec<u8>>>,
        gate: Option<mpsc::Receiver<()>>,
    }

    impl Output for Kept {
        fn write(&mut self, pieces: &[IoSlice<'_>], _: Option<Duration>) -> io::Result<usize> {
            if let Some(gate) = self.gate.take() {
                gate.recv().unwrap();
            }
            let mut bytes = self.bytes.lock().unwrap();
            let before = bytes.len();
            // A connection may take less than it is given.
            bytes.extend(pieces.iter().flat_map(|p| p.iter()).take(10_000));
            Ok(bytes.len() - before)
        }

        fn close(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn outgoing(gate: Option<mpsc::Receiver<()>>) -> (Outgoing, Arc<Mutex<Vec<u8>>>) {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Kept {
            bytes: Arc::clone(&bytes),
            gate,
        };
        let activity = Arc::new(Activity::new(0));
        (Outgoing::new(Box::new(kept), activity, None, 0), bytes)
    }

    /// The frames of a stream: tag and payload.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
            let word = u32::from_le_bytes(*header);
            let (payload, rest) = rest.split_at((word & 0xff_ffff) as usize);
            frames.push(((word >> 24) as u8 - 7, payload.to_vec()));
            bytes = rest;
        }
        frames
    }

    #[test]
    fn small_pieces_of_data_share_a_frame_and_messages_stand_between() {
        let (outgoing, bytes) = outgoing(None);
        outgoing.data(|out| out.put_slice(b"ab")).unwrap();
        outgoing.data(|_| ()).unwrap();
        outgoing.data(|out| out.put_slice(b"c")).unwrap();
        outgoing.message(&Message::NoSend(FileIndex::new(1).unwrap()));
        outgoing.data(|out| out.put_slice(b"d")).unwrap();
        assert!(bytes.lock().unwrap().is_empty());
        outgoing.flush().unwrap();
        let data = |text: &[u8]| (0, text.to_vec());
        let expected = [data(b"abc"), (102, vec![1, 0, 0, 0]), data(b"d")];
        assert_eq!(frames(&bytes.lock().unwrap()), expected);
        assert_eq!(outgoing.written(), 4 * 3 + 8);
    }

    #[test]
    fn no_frame_is_longer_than_64_kib_and_none_is_empty() {
        let (outgoing, bytes) = outgoing(None);
        let long: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        outgoing.data(|out| out.put_slice(&long)).unwrap();
        let pieces: Vec<_> = long.chunks(32768).map(|body| (*b"head", body)).collect();
        outgoing.long_data(&pieces).unwrap();
        outgoing.data(|_| ()).unwrap();
        outgoing.close().unwrap();
        let frames = frames(&bytes.lock().unwrap());
        let lens = frames.iter().map(|(_, payload)| payload.len());
        assert!(
            lens.clone().all(|len| (1..=FULL).contains(&len)),
            "{lens:?}"
        );
        let stream: Vec<u8> = frames.into_iter().flat_map(|frame| frame.1).collect();
        let bodies = pieces.iter().flat_map(|(head, body)| [&head[..], body]);
        let expected: Vec<u8> = [&long[..]]
            .into_iter()
            .chain(bodies)
            .flatten()
            .copied()
            .collect();
        assert!(stream == expected);
    }

    #[test]
    fn message_of_a_second_thread_waits_for_no_blocked_write_and_leaves_after_it() {
        let (open, gate) = mpsc::channel();
        let (outgoing, bytes) = outgoing(Some(gate));
        outgoing.data(|out| out.put_slice(b"data")).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| outgoing.flush());
            while outgoing.line.try_lock().is_ok() {
                std::thread::yield_now();
            }
            outgoing.text(TextKind::Info, b"text\n");
            outgoing.urge().unwrap();
            open.send(()).unwrap();
            writer.join().unwrap().unwrap();
        });
        let expected = [(0, b"data".to_vec()), (2, b"text\n".to_vec())];
        assert_eq!(frames(&bytes.lock().unwrap()), expected);
    }

    #[test]
    fn message_that_comes_first_stands_before_what_waits() {
        let (outgoing, bytes) = outgoing(None);
        outgoing.data(|out| out.put_slice(b"data")).unwrap();
        outgoing.message_first(&Message::IoError(IoErrors::GENERAL));
        outgoing.data(|out| out.put_slice(b"more")).unwrap();
        outgoing.flush().unwrap();
        let expected = [
            (22, b"\x01\0\0\0".to_vec()),
            (0, b"data".to_vec()),
            (0, b"more".to_vec()),
        ];
        assert_eq!(frames(&bytes.lock().unwrap()), expected);
    }

    #[test]
    fn text_longer_than_a_peer_takes_is_cut() {
        let (outgoing, bytes) = outgoing(None);
        outgoing.text(TextKind::Warning, &[b'x'; 6000]);
        outgoing.flush().unwrap();
        let frames = frames(&bytes.lock().unwrap());
        let lens: Vec<_> = frames
            .iter()
            .map(|(tag, text)| (*tag, text.len()))
            .collect();
        assert_eq!(lens, [(4, 5119), (4, 881)]);
    }

    #[test]
    fn limit_holds_for_short_spans_too() {
        let (outgoing, bytes) = outgoing(None);
        let outgoing = Outgoing {
            rate: Some("80K".parse().unwrap()),
            limiter: Limiter::new(Some("80K".parse().unwrap())),
            ..outgoing
        };
        let begun = Instant::now();
        outgoing.data(|out| out.put_bytes(7, 40_000)).unwrap();
        outgoing.flush().unwrap();
        let lasted = begun.elapsed();
        assert!(lasted >= Duration::from_millis(350), "{lasted:?}");
        assert_eq!(bytes.lock().unwrap().len(), 40_004);
    }
}
