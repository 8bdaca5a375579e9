//! The side that is to become equal.

use std::path::PathBuf;
use std::time::Duration;

use barge_blockrsync::{
    BlockSize, Change, ChangesDecoder, Farewell, Greeting, Grid, ListEncoder, Transcript, Verdict,
    WireError,
};
use barge_fs::Disk;
use bytes::BytesMut;

use super::line::{SILENCE, greet, receive, send};
use super::{Event, Failure, blocks};
use crate::Fault;
use crate::over_rsync::{Connection, Input, Output};

/// A block device or raw image that is to be written, in place.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is. An image that is not there is made.
    pub path: PathBuf,
    /// The peer must have the same.
    pub block: BlockSize,
    /// Zeros are written instead of holes made.
    pub preallocate: bool,
}

/// How it ended well: all is on the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// How much was written, or made holes of, in bytes.
    pub bytes: u64,
    /// The source has said that it knows. A stock one says nothing, not even whether that was all.
    pub is_known: bool,
    /// The source is one of ours.
    pub is_ours: bool,
}

impl Target {
    /// Becomes equal to the source at the other end of `line`. `tell` hears what goes on, often.
    ///
    /// # Errors
    ///
    /// [`Failure`]. What was written until then stays.
    pub fn receive(&self, mut line: Connection, tell: &dyn Fn(Event)) -> Result<Received, Failure> {
        let opened = self.open();
        let len = opened.as_ref().map_or(0, |(_, grid)| grid.len());
        let (peer, rest) = greet(&mut line, len)?;
        let is_ours = matches!(peer, Greeting::Barge { .. });
        tell(Event::Peer { is_ours });
        let (mut line, received) = match opened.and_then(|open| self.expect_fit(open, peer)) {
            Ok((disk, grid)) => Run {
                target: self,
                line,
                disk,
                grid,
                is_ours,
                bytes: 0,
                unsynced: 0,
            }
            .run(rest, tell),
            Err(failure) => (line, Err(failure)),
        };
        received.inspect_err(|failure| {
            if is_ours && failure.fault() != Fault::Weather {
                refuse(&mut line, failure);
            }
        })
    }

    fn open(&self) -> Result<(Disk, Grid), Failure> {
        let disk = Disk::open_to_write(&self.path).map_err(|error| self.failed(error))?;
        let len = disk.len().map_err(|error| self.failed(error))?;
        let grid = Grid::new(len, self.block).ok_or(WireError::Number {
            what: "a target's size",
            value: i64::MAX,
        })?;
        Ok((disk, grid))
    }

    /// A stock source says its size later.
    fn expect_fit(
        &self,
        (disk, grid): (Disk, Grid),
        peer: Greeting,
    ) -> Result<(Disk, Grid), Failure> {
        if let Greeting::Barge { len } = peer {
            expect_room(&disk, grid, len)?;
        }
        Ok((disk, grid))
    }

    fn failed(&self, error: barge_fs::Error) -> Failure {
        Failure::Disk {
            path: self.path.clone(),
            error,
        }
    }
}

fn expect_room(disk: &Disk, grid: Grid, source_len: u64) -> Result<(), Failure> {
    let target = grid.len();
    match disk.is_device() && source_len > target {
        true => Err(Failure::TooSmall { source_len, target }),
        false => Ok(()),
    }
}

/// Says why it cannot go on, and takes what the source is still saying, so that it comes to listen.
fn refuse(line: &mut Connection, failure: &Failure) {
    let word = Verdict::Refused(failure.to_string()).encode();
    if send(&mut *line.output, &word, Some(LAST_WORD)).is_err() || line.output.close().is_err() {
        return;
    }
    let mut ignored = BytesMut::new();
    while matches!(
        receive(&mut *line.input, &mut ignored, Some(LAST_WORD)),
        Ok(1..)
    ) {
        ignored.clear();
    }
}

/// How long the source may take to hear the last word.
const LAST_WORD: Duration = Duration::from_secs(30);

/// One conversation.
struct Run<'a> {
    target: &'a Target,
    line: Connection,
    disk: Disk,
    grid: Grid,
    is_ours: bool,
    /// Written so far.
    bytes: u64,
    /// Of them not surely on the disk.
    unsynced: u64,
}

impl Run<'_> {
    /// Gives the connection back.
    fn run(
        mut self,
        rest: BytesMut,
        tell: &dyn Fn(Event),
    ) -> (Connection, Result<Received, Failure>) {
        let received = self.converse(rest, tell);
        (self.line, received)
    }

    fn converse(&mut self, rest: BytesMut, tell: &dyn Fn(Event)) -> Result<Received, Failure> {
        if self.is_ours {
            self.send(&Verdict::Ready.encode())?;
        }
        let transcript = self.list(tell)?;
        let mut changes = ChangesDecoder::new(self.grid.block(), self.is_ours, transcript, rest);
        let digest = self.take(&mut changes)?;
        self.disk
            .sync()
            .map_err(|error| self.target.failed(error))?;
        let mut is_known = true;
        match digest {
            Some(digest) => {
                self.send(&Verdict::Done { digest }.encode())?;
                is_known = hears_farewell(&mut *self.line.input, changes.farewell()?);
            }
            None => self.line.output.close().map_err(Failure::Lost)?,
        }
        Ok(Received {
            bytes: self.bytes,
            is_known,
            is_ours: self.is_ours,
        })
    }

    /// Sends the list. The source reads it as fast as it reads what it has, which may be slow.
    fn list(&mut self, tell: &dyn Fn(Event)) -> Result<Transcript, Failure> {
        let mut list = ListEncoder::new(self.grid);
        let total = self.grid.len();
        let output = &mut *self.line.output;
        let fails = |error| self.target.failed(error);
        blocks::digests(&self.disk, self.grid, fails, |digests, done| {
            for digest in digests {
                list.push(digest);
            }
            tell(Event::Comparing { done, total });
            send(output, &list.flush(), None)
        })?;
        send(output, &list.flush(), None)?;
        Ok(list.finish())
    }

    /// Writes what the source says, to its end; of a source of ours the digest of that.
    fn take(&mut self, changes: &mut ChangesDecoder) -> Result<Option<[u8; 32]>, Failure> {
        let mut size = None;
        loop {
            while let Some(change) = changes.poll()? {
                match change {
                    Change::Size(len) => {
                        size = Some(len);
                        self.begin(len)?;
                    }
                    Change::Hole(range) => {
                        self.count(range.end - range.start)?;
                        match self.target.preallocate {
                            true => self.disk.write_zeros(range),
                            false => self.disk.discard(range),
                        }
                        .map_err(|error| self.target.failed(error))?;
                    }
                    Change::Data(at, content) => {
                        self.count(content.len() as u64)?;
                        self.disk
                            .write_at(&content, at)
                            .map_err(|error| self.target.failed(error))?;
                    }
                    Change::End(digest) => {
                        self.clear_behind(size)?;
                        return Ok(Some(digest));
                    }
                }
            }
            let mut came = BytesMut::new();
            // A source of ours may still compare: it is slow, or what it has is.
            if receive(&mut *self.line.input, &mut came, None)? == 0 {
                changes.end()?;
                self.clear_behind(size)?;
                return Ok(None);
            }
            changes.handle_input(&came);
        }
    }

    fn begin(&self, len: u64) -> Result<(), Failure> {
        expect_room(&self.disk, self.grid, len)?;
        if !self.disk.is_device() && len != self.grid.len() {
            let made = self.disk.set_len(len);
            made.map_err(|error| self.target.failed(error))?;
        }
        Ok(())
    }

    /// So much is about to be written. From time to time it is made durable, so that no end takes
    /// long, and no disk that fails is noticed late.
    fn count(&mut self, bytes: u64) -> Result<(), Failure> {
        self.bytes += bytes;
        self.unsynced += bytes;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.disk
                .sync()
                .map_err(|error| self.target.failed(error))?;
        }
        Ok(())
    }

    /// What a device has behind the source's end is nobody's.
    fn clear_behind(&self, size: Option<u64>) -> Result<(), Failure> {
        match size {
            Some(size) if self.disk.is_device() && size < self.grid.len() => self
                .disk
                .discard(size..self.grid.len())
                .map_err(|error| self.target.failed(error)),
            _ => Ok(()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let output: &mut dyn Output = &mut *self.line.output;
        send(output, bytes, Some(SILENCE))
    }
}

/// Whether the source says that it knows that all is done.
fn hears_farewell(input: &mut dyn Input, mut farewell: Farewell) -> bool {
    loop {
        match farewell.was_said() {
            Ok(false) => {}
            Ok(true) => return true,
            Err(_) => return false,
        }
        let mut came = BytesMut::new();
        match receive(input, &mut came, Some(LAST_WORD)) {
            Ok(1..) => farewell.handle_input(&came),
            _ => return false,
        }
    }
}

const SYNC_EVERY: u64 = 1 << 30;
