//! The side that has the data.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use barge_blockrsync::{
    BlockHash, BlockSize, ChangesEncoder, Digester, FAREWELL, Greeting, Grid, ListDecoder,
    ListItem, Transcript, Verdict, Whole, WireError,
};
use barge_fs::{Disk, Stat};
use barge_types::Timestamp;
use bytes::BytesMut;

use super::in_order::in_order;
use super::line::{Peer, SILENCE, greet, receive, send};
use super::{Event, Failure, Part, blocks};
use crate::over_rsync::{Connection, Input, Output};

/// A block device or raw image that is to be sent.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// The peer must have the same.
    pub block: BlockSize,
}

/// How it ended well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// How much differed, in bytes.
    pub bytes: u64,
    /// The target has said that all is on its disk. A stock one does not say so.
    pub is_confirmed: bool,
    /// That of the digests of all blocks.
    pub digest: [u8; 32],
}

impl Source {
    /// Whether it is there, before anybody is sought who wants it.
    ///
    /// # Errors
    ///
    /// [`Failure::Disk`].
    pub fn check(&self) -> Result<(), Failure> {
        let opened = Disk::open(&self.path).map_err(|error| self.failed(error))?;
        drop(opened);
        Ok(())
    }

    /// Makes the target at the other end of `line` equal. `tell` hears what goes on, often.
    ///
    /// # Errors
    ///
    /// [`Failure`]; with a new connection one can go on where this one ended, as its fault says.
    pub fn send(&self, mut line: Connection, tell: &dyn Fn(Event)) -> Result<Sent, Failure> {
        let disk = Disk::open(&self.path).map_err(|error| self.failed(error))?;
        let before = self.look(&disk).map_err(|error| self.failed(error))?;
        let len = disk.len().map_err(|error| self.failed(error))?;
        let grid = Grid::new(len, self.block).ok_or(WireError::Number {
            what: "a source's size",
            value: i64::MAX,
        })?;
        Outgoing {
            part: Part::whole(&disk, grid),
            path: &self.path,
            before,
            peer: Peer::Any,
            is_checked: false,
            tell,
        }
        .send(&mut line)
    }

    fn failed(&self, error: barge_fs::Error) -> Failure {
        failed(&self.path, error)
    }

    /// A look at it that a later change must show on: the kernel's clock for files ticks every 1 to
    /// 10 ms.
    pub(crate) fn look(&self, disk: &Disk) -> Result<Stat, barge_fs::Error> {
        let first = disk.stat()?;
        if disk.is_device() || !is_recent(first.mtime, SystemTime::now()) {
            return Ok(first);
        }
        thread::sleep(CLOCK_TICKS);
        disk.stat()
    }
}

fn failed(path: &Path, error: barge_fs::Error) -> Failure {
    match error == barge_fs::Error::cut_short() {
        true => Failure::Changed,
        false => Failure::Disk {
            path: path.into(),
            error,
        },
    }
}

fn is_recent(time: Timestamp, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let secs = u64::try_from(time.secs());
    let (Ok(now), Ok(secs)) = (now, secs) else {
        return false;
    };
    now.saturating_sub(Duration::new(secs, time.nanos())) < CLOCK_TICKS
}

const CLOCK_TICKS: Duration = Duration::from_millis(20);

fn expect_ready(input: &mut dyn Input, rest: &mut BytesMut) -> Result<(), Failure> {
    loop {
        match Verdict::decode(rest)? {
            Some(Verdict::Ready) => return Ok(()),
            Some(Verdict::Refused(text)) => return Err(Failure::Refused(text)),
            Some(Verdict::Done { .. }) => {
                return Err(WireError::Trailing("a conversation that has not begun").into());
            }
            None => {}
        }
        if receive(input, rest, Some(SILENCE))? == 0 {
            return Err(WireError::Cut("the target's first word").into());
        }
    }
}

/// One conversation.
pub(crate) struct Outgoing<'a> {
    pub(crate) part: Part<'a>,
    /// What it is part of.
    pub(crate) path: &'a Path,
    /// A look at that before anything was read.
    pub(crate) before: Stat,
    /// Who may be the target.
    pub(crate) peer: Peer,
    /// What is sent is held against what was compared: a device that was written meanwhile shows. Costs
    /// the digests of all that differs, in memory.
    pub(crate) is_checked: bool,
    pub(crate) tell: &'a dyn Fn(Event),
}

impl Outgoing<'_> {
    /// Makes the target at the other end of `line` equal.
    pub(crate) fn send(&self, line: &mut Connection) -> Result<Sent, Failure> {
        let (peer, mut rest) = greet(line, self.part.grid().len(), self.peer)?;
        let is_ours = matches!(peer, Greeting::Barge { .. });
        (self.tell)(Event::Peer { is_ours });
        if is_ours {
            expect_ready(&mut *line.input, &mut rest)?;
        }
        if let Greeting::Barge { len } = peer {
            self.part.expect_target(len)?;
        }
        let list = List {
            decoder: ListDecoder::new(self.part.grid().block(), rest),
            input: &mut *line.input,
            patience: is_ours.then_some(SILENCE),
            most: self.part.most_blocks(),
            next: None,
        };
        let (wanted, transcript, rest) = self.compare(list)?;
        match is_ours {
            true => self.finish_with_ours(line, &wanted, transcript, rest)?,
            false => self.finish_with_stock(line, &wanted, transcript)?,
        }
        Ok(Sent {
            bytes: wanted.bytes,
            is_confirmed: is_ours,
            digest: wanted.whole.digest(),
        })
    }

    fn failed(&self, error: barge_fs::Error) -> Failure {
        failed(self.path, error)
    }

    /// Which blocks the target has not.
    fn compare(&self, mut list: List<'_>) -> Result<(Wanted, Transcript, BytesMut), Failure> {
        let mut wanted = Wanted::default();
        let mut index = 0;
        let grid = self.part.grid();
        let total = grid.len();
        let fails = |error| self.failed(error);
        blocks::digests(self.part, fails, |digests, done| {
            for digest in digests {
                wanted.whole.add(digest);
                if list.hash_of(index)? != Some(*digest) {
                    let range = grid.range(index);
                    wanted.add(index, range.end - range.start);
                    if self.is_checked {
                        wanted.digests.push(*digest);
                    }
                }
                index += 1;
            }
            (self.tell)(Event::Comparing { done, total });
            Ok(())
        })?;
        let (transcript, rest) = list.finish()?;
        Ok((wanted, transcript, rest))
    }

    /// Says what differs, as long as `go_on`.
    fn say(
        &self,
        wanted: &Wanted,
        changes: &mut ChangesEncoder,
        output: &mut dyn Output,
        go_on: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        let (mut done, mut data, total) = (0, 0, wanted.bytes);
        let part = self.part;
        let (grid, digester) = (part.grid(), Digester::new(part.grid().block()));
        in_order(
            part.threads(),
            wanted.iter().zip(0..),
            |(index, place), _| {
                let content = blocks::content(part, &grid.range(index));
                let compared = wanted.digests.get(place);
                let is_same = match (compared, &content) {
                    (Some(compared), Ok(content)) => {
                        *compared == digester.digest(content.as_deref().unwrap_or_default())
                    }
                    _ => true,
                };
                (index, content, is_same)
            },
            |(index, content, is_same)| {
                if !go_on() {
                    return Err(Failure::Lost(io::ErrorKind::ConnectionAborted.into()));
                }
                let content = content.map_err(|error| self.failed(error))?;
                if !is_same {
                    return Err(Failure::Changed);
                }
                let range = grid.range(index);
                done += range.end - range.start;
                match content {
                    Some(content) => {
                        data += range.end - range.start;
                        changes.data(index, &content);
                    }
                    None => changes.hole(index),
                }
                send(output, &changes.take(), Some(SILENCE))?;
                (self.tell)(Event::Sending { done, total, data });
                Ok(())
            },
        )?;
        self.expect_unchanged()
    }

    fn expect_unchanged(&self) -> Result<(), Failure> {
        let disk = self.part.disk();
        if disk.is_device() {
            return Ok(());
        }
        let now = disk.stat().map_err(|error| self.failed(error))?;
        let look = |stat: &Stat| (stat.size, stat.mtime);
        match look(&now) == look(&self.before) {
            true => Ok(()),
            false => Err(Failure::Changed),
        }
    }

    fn finish_with_ours(
        &self,
        line: &mut Connection,
        wanted: &Wanted,
        transcript: Transcript,
        rest: BytesMut,
    ) -> Result<(), Failure> {
        let Connection { input, output } = line;
        let mut changes = ChangesEncoder::new(self.part.grid(), transcript);
        let verdict = Awaited::default();
        let (said, heard) = thread::scope(|scope| {
            let hearing = scope.spawn(|| verdict.hear(&mut **input, rest));
            let go_on = || !verdict.is_there.load(Ordering::Acquire);
            let said = self
                .say(wanted, &mut changes, &mut **output, go_on)
                .and_then(|()| {
                    let digest = changes.end();
                    send(&mut **output, &changes.flush(), Some(SILENCE))?;
                    Ok(digest)
                });
            match said {
                // A target that refused may be gone, and its reason on its way.
                Ok(_) | Err(Failure::Lost(_)) => verdict.is_due.store(true, Ordering::Release),
                Err(_) => verdict.is_unwanted.store(true, Ordering::Release),
            }
            let heard = hearing.join().expect("its panic ends the process");
            (said, heard)
        });
        match (said, heard) {
            (Ok(sent), Ok(Verdict::Done { digest })) if digest == sent => {}
            (_, Ok(Verdict::Refused(text))) => return Err(Failure::Refused(text)),
            (Err(failure), _) | (_, Err(failure)) => return Err(failure),
            (Ok(_), Ok(_)) => return Err(WireError::Digest.into()),
        }
        // The target has all: whether it knows that we know does not matter to us.
        let _ = send(&mut **output, &[FAREWELL], Some(SILENCE)).is_ok() && output.close().is_ok();
        Ok(())
    }

    /// A stock target says nothing more: that it ends the connection in order is all there is to hear.
    fn finish_with_stock(
        &self,
        line: &mut Connection,
        wanted: &Wanted,
        transcript: Transcript,
    ) -> Result<(), Failure> {
        let mut changes = ChangesEncoder::new(self.part.grid(), transcript);
        self.say(wanted, &mut changes, &mut *line.output, || true)?;
        send(&mut *line.output, &changes.flush(), Some(SILENCE))?;
        line.output.close().map_err(Failure::Lost)?;
        let mut more = BytesMut::new();
        match receive(&mut *line.input, &mut more, Some(SILENCE))? {
            0 => Ok(()),
            _ => Err(WireError::Trailing("the target's list").into()),
        }
    }
}

/// The list that the target sends.
struct List<'a> {
    decoder: ListDecoder,
    input: &'a mut dyn Input,
    patience: Option<Duration>,
    /// How many blocks there can be.
    most: u64,
    /// Read, and not asked for yet.
    next: Option<ListItem>,
}

impl List<'_> {
    /// The digest the target has for a block; `None` when it has none. Asked for in order.
    fn hash_of(&mut self, index: u64) -> Result<Option<BlockHash>, Failure> {
        while self.next.is_none_or(|next| next.index < index) {
            self.next = self.read()?;
            if self.next.is_none() {
                return Ok(None);
            }
        }
        Ok(self
            .next
            .filter(|next| next.index == index)
            .map(|next| next.hash))
    }

    fn finish(mut self) -> Result<(Transcript, BytesMut), Failure> {
        while self.read()?.is_some() {}
        Ok(self.decoder.finish()?)
    }

    /// `None` at the end of the list.
    fn read(&mut self) -> Result<Option<ListItem>, Failure> {
        loop {
            if let Some(item) = self.decoder.poll()? {
                if item.index >= self.most {
                    return Err(WireError::Trailing("the target's list").into());
                }
                return Ok(Some(item));
            }
            if self.decoder.is_through() {
                return Ok(None);
            }
            let mut came = BytesMut::new();
            if receive(self.input, &mut came, self.patience)? == 0 {
                return Err(WireError::Cut("the target's list").into());
            }
            self.decoder.handle_input(&came);
        }
    }
}

/// The word of the target that ends the conversation, which may come early.
#[derive(Default)]
struct Awaited {
    /// It has come, or will not.
    is_there: AtomicBool,
    /// All has been said: it is the target's turn.
    is_due: AtomicBool,
    /// Nobody waits for it any more.
    is_unwanted: AtomicBool,
}

impl Awaited {
    fn hear(&self, input: &mut dyn Input, rest: BytesMut) -> Result<Verdict, Failure> {
        let heard = self.wait(input, rest);
        self.is_there.store(true, Ordering::Release);
        heard
    }

    fn wait(&self, input: &mut dyn Input, mut rest: BytesMut) -> Result<Verdict, Failure> {
        let mut due_since = None;
        loop {
            if let Some(verdict) = Verdict::decode(&mut rest)? {
                return Ok(verdict);
            }
            match receive(input, &mut rest, Some(TICK)) {
                Ok(0) => return Err(WireError::Cut("the target's last word").into()),
                Ok(_) => {}
                Err(Failure::Lost(error)) if is_timeout(&error) => {
                    if self.is_unwanted.load(Ordering::Acquire) {
                        return Err(Failure::Lost(error));
                    }
                    if self.is_due.load(Ordering::Acquire) {
                        let since: &Instant = due_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > SILENCE {
                            return Err(Failure::Lost(error));
                        }
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// How often who waits looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(100);

/// Which blocks are to be sent: a bit each.
#[derive(Default)]
struct Wanted {
    bits: Vec<u64>,
    /// All of them together.
    bytes: u64,
    /// Theirs, in order, where what is sent is held against them.
    digests: Vec<BlockHash>,
    /// Of the digests of all blocks, wanted or not.
    whole: Whole,
}

impl Wanted {
    fn add(&mut self, index: u64, len: u64) {
        let word = (index / 64) as usize;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (index % 64);
        self.bytes += len;
    }

    /// In ascending order.
    fn iter(&self) -> impl Iterator<Item = u64> {
        let words = self.bits.iter().zip(0..);
        words
            .filter(|(bits, _)| **bits != 0)
            .flat_map(|(bits, word)| {
                let set = (0..64).filter(move |bit| bits >> bit & 1 == 1);
                set.map(move |bit| word * 64 + bit)
            })
    }
}
