//! The side that is to become equal.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_blockrsync::{
    BlockHash, BlockSize, Change, ChangesDecoder, Digester, Farewell, Greeting, Grid, ListEncoder,
    Transcript, Verdict, Whole, WireError,
};
use barge_fs::Disk;
use bytes::BytesMut;

use super::line::{Peer, SILENCE, greet, receive, send};
use super::{Event, Failure, Part, blocks};
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
}

impl Target {
    /// Becomes equal to the source at the other end of `line`. `tell` hears what goes on, often.
    ///
    /// # Errors
    ///
    /// [`Failure`]. What was written until then stays.
    pub fn receive(&self, mut line: Connection, tell: &dyn Fn(Event)) -> Result<Received, Failure> {
        match self.open() {
            Ok((disk, grid)) => Incoming {
                part: Part::whole(&disk, grid),
                path: &self.path,
                peer: Peer::Any,
                preallocate: self.preallocate,
                keeps_digests: false,
            }
            .receive(&mut line, tell),
            Err(failure) => Err(decline(&mut line, failure, Peer::Any)),
        }
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

    fn failed(&self, error: barge_fs::Error) -> Failure {
        failed(&self.path, error)
    }
}

fn failed(path: &Path, error: barge_fs::Error) -> Failure {
    Failure::Disk {
        path: path.into(),
        error,
    }
}

/// Says why no conversation can be begun, if the source is one that listens. Why there was none.
pub(crate) fn decline(line: &mut Connection, failure: Failure, peer: Peer) -> Failure {
    match greet(line, 0, peer) {
        Ok((Greeting::Barge { .. }, _)) => refuse(line, &failure),
        Ok((Greeting::Stock, _)) => {}
        Err(unheard) => return unheard,
    }
    failure
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
#[derive(Clone, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) part: Part<'a>,
    /// What it is part of.
    pub(crate) path: &'a Path,
    /// Who may be the source.
    pub(crate) peer: Peer,
    /// Zeros are written instead of holes made.
    pub(crate) preallocate: bool,
    /// Those of all blocks are kept, for the digest of the whole.
    pub(crate) keeps_digests: bool,
}

impl Incoming<'_> {
    /// Becomes equal to the source at the other end of `line`.
    pub(crate) fn receive(
        self,
        line: &mut Connection,
        tell: &dyn Fn(Event),
    ) -> Result<Received, Failure> {
        let (peer, rest) = greet(line, self.part.grid().len(), self.peer)?;
        let is_ours = matches!(peer, Greeting::Barge { .. });
        tell(Event::Peer { is_ours });
        // A stock source says its size later.
        let fits = match peer {
            Greeting::Barge { len } => self.part.expect_room(len),
            Greeting::Stock => Ok(()),
        };
        let mut run = Run {
            incoming: &self,
            line,
            is_ours,
            bytes: 0,
            unsynced: 0,
            digests: Vec::new(),
        };
        let received = fits.and_then(|()| run.converse(rest, tell));
        received.inspect_err(|failure| {
            if is_ours && failure.fault() != Fault::Weather {
                refuse(line, failure);
            }
        })
    }

    fn failed(&self, error: barge_fs::Error) -> Failure {
        failed(self.path, error)
    }
}

/// How far it is.
struct Run<'a> {
    incoming: &'a Incoming<'a>,
    line: &'a mut Connection,
    is_ours: bool,
    /// Written so far.
    bytes: u64,
    /// Of them not surely on the disk.
    unsynced: u64,
    /// Of the blocks as they are, where they are kept.
    digests: Vec<BlockHash>,
}

impl Run<'_> {
    fn converse(&mut self, rest: BytesMut, tell: &dyn Fn(Event)) -> Result<Received, Failure> {
        if self.is_ours {
            self.send(&Verdict::Ready.encode())?;
        }
        let transcript = self.list(tell)?;
        let mut changes =
            ChangesDecoder::new(self.part().grid().block(), self.is_ours, transcript, rest);
        let digest = self.take(&mut changes, tell)?;
        self.sync()?;
        if self.incoming.keeps_digests {
            let mut whole = Whole::default();
            self.digests.iter().for_each(|digest| whole.add(digest));
            let digest = whole.digest();
            tell(Event::OnDisk { digest });
        }
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
        })
    }

    fn part(&self) -> Part<'_> {
        self.incoming.part
    }

    fn sync(&self) -> Result<(), Failure> {
        let synced = self.part().disk().sync();
        synced.map_err(|error| self.incoming.failed(error))
    }

    /// Sends the list. The source reads it as fast as it reads what it has, which may be slow.
    fn list(&mut self, tell: &dyn Fn(Event)) -> Result<Transcript, Failure> {
        let incoming = self.incoming;
        let mut list = ListEncoder::new(incoming.part.grid());
        let total = incoming.part.grid().len();
        let (output, kept) = (&mut *self.line.output, &mut self.digests);
        let fails = |error| incoming.failed(error);
        blocks::digests(incoming.part, fails, |digests, done| {
            for digest in digests {
                list.push(digest);
            }
            if incoming.keeps_digests {
                kept.extend_from_slice(digests);
            }
            tell(Event::Comparing { done, total });
            send(output, &list.flush(), None)
        })?;
        send(output, &list.flush(), None)?;
        Ok(list.finish())
    }

    /// Writes what the source says, to its end; of a source of ours the digest of that.
    fn take(
        &mut self,
        changes: &mut ChangesDecoder,
        tell: &dyn Fn(Event),
    ) -> Result<Option<[u8; 32]>, Failure> {
        let patience = self.incoming.peer.patience();
        let digester = Digester::new(self.part().grid().block());
        let mut size = None;
        loop {
            while let Some(change) = changes.poll()? {
                match change {
                    Change::Size(len) => {
                        size = Some(len);
                        self.begin(len)?;
                    }
                    Change::Hole(range) => {
                        let bytes = range.end - range.start;
                        tell(Event::Writing {
                            bytes,
                            is_hole: true,
                        });
                        self.count(bytes)?;
                        self.note(range.start, digester.zeros());
                        self.clear(&range)?;
                    }
                    Change::Data(at, content) => {
                        let bytes = content.len() as u64;
                        tell(Event::Writing {
                            bytes,
                            is_hole: false,
                        });
                        self.count(bytes)?;
                        if self.incoming.keeps_digests {
                            self.note(at, digester.digest(&content));
                        }
                        let written = self.part().write(&content, at);
                        written.map_err(|error| self.incoming.failed(error))?;
                    }
                    Change::End(digest) => {
                        self.clear_behind(size)?;
                        return Ok(Some(digest));
                    }
                }
            }
            let mut came = BytesMut::new();
            // It may still compare: it is slow, or what it has is.
            if receive(&mut *self.line.input, &mut came, patience)? == 0 {
                changes.end()?;
                self.clear_behind(size)?;
                return Ok(None);
            }
            changes.handle_input(&came);
        }
    }

    fn begin(&self, len: u64) -> Result<(), Failure> {
        let part = self.part();
        part.expect_room(len)?;
        let made = part.set_len(len);
        made.map_err(|error| self.incoming.failed(error))
    }

    fn clear(&self, range: &Range<u64>) -> Result<(), Failure> {
        let cleared = match self.incoming.preallocate {
            true => self.part().write_zeros(range),
            false => self.part().discard(range),
        };
        cleared.map_err(|error| self.incoming.failed(error))
    }

    /// A block is about to be another.
    fn note(&mut self, at: u64, digest: BlockHash) {
        let index = at / self.part().grid().block().bytes();
        if let Some(kept) = self.digests.get_mut(index as usize) {
            *kept = digest;
        }
    }

    /// So much is about to be written. From time to time it is made durable, so that no end takes
    /// long, and no disk that fails is noticed late.
    fn count(&mut self, bytes: u64) -> Result<(), Failure> {
        self.bytes += bytes;
        self.unsynced += bytes;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.sync()?;
        }
        Ok(())
    }

    /// What a device has behind the source's end is nobody's.
    fn clear_behind(&self, size: Option<u64>) -> Result<(), Failure> {
        let part = self.part();
        match size.and_then(|size| part.behind(size)) {
            Some(behind) => {
                let cleared = part.discard(&behind);
                cleared.map_err(|error| self.incoming.failed(error))
            }
            None => Ok(()),
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
