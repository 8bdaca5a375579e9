//! One file of the target whose content is on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge_delta::{Digest, Seed};
use barge_fs::{Dir, SourceFile, Staged, Stat};
use barge_native::ProtocolError;
use barge_native::stripe::{Coverage, RangeCursor};
use barge_types::{Changes, Name};
use bytes::Bytes;

use crate::pool::Strand;

/// A file whose content has been asked for.
#[derive(Debug)]
pub(super) struct TargetFile {
    /// Something else, or an older content, has its name.
    pub(super) existed: bool,
    /// What differs.
    pub(super) changes: Changes,
    /// Its pieces are written one after the other.
    pub(super) strand: Arc<Strand>,
    /// A directory that is to make way for it.
    pub(super) in_the_way: Option<Stat>,
    /// Block sums under way for it, while it is in hand.
    in_hand: Mutex<Option<u32>>,
    work: Mutex<Work>,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing has come.
    Waiting(Basis),
    /// Pieces are coming.
    Writing(Box<Writing>),
    /// It has been committed, or has failed.
    Over,
}

/// What content is rebuilt from.
#[derive(Debug)]
pub(super) enum Basis {
    /// Nothing: all of it is sent.
    None,
    /// An older content, which is read while the new one is written beside it.
    Old(SourceFile),
    /// The file that is written: what is right in it stays where it is.
    InPlace(Staged),
}

/// Why a piece could not be taken.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A call failed.
    Fs(barge_fs::Error),
    /// The sender broke the protocol.
    Protocol(ProtocolError),
    /// The content is not what the sender read, or the basis is not what was signed.
    Disagreement,
}

impl From<barge_fs::Error> for Trouble {
    fn from(error: barge_fs::Error) -> Self {
        Self::Fs(error)
    }
}

impl From<ProtocolError> for Trouble {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl TargetFile {
    pub(super) fn new(existed: bool, changes: Changes, in_the_way: Option<Stat>) -> Self {
        Self {
            existed,
            changes,
            strand: Arc::default(),
            in_the_way,
            in_hand: Mutex::default(),
            work: Mutex::new(Work::Waiting(Basis::None)),
        }
    }

    /// Notes that `blocks` block sums are under way for it.
    pub(super) fn take_in_hand(&self, blocks: u32) {
        *self.in_hand.lock().unwrap_or_else(PoisonError::into_inner) = Some(blocks);
    }

    /// How many are, if it is in hand; it is not any more.
    pub(super) fn let_go(&self) -> Option<u32> {
        self.in_hand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Gives it a basis, if nothing of it has come.
    pub(super) fn use_basis(&self, basis: Basis) {
        let mut work = self.work();
        if matches!(*work, Work::Waiting(_)) {
            *work = Work::Waiting(basis);
        }
    }

    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the work on it; what was written is dropped with the returned value.
    pub(super) fn take_work(&self) -> Work {
        std::mem::replace(&mut *self.work(), Work::Over)
    }
}

/// A file that is being written, in ranges that come over several streams.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) staged: Staged,
    basis: Option<SourceFile>,
    /// It had content when it was opened.
    in_place: bool,
    size: u64,
    ranges: HashMap<u32, OpenRange>,
    coverage: Coverage,
    seed: Seed,
    /// Bytes taken from the basis.
    pub(super) matched: u64,
}

#[derive(Debug)]
struct OpenRange {
    cursor: RangeCursor,
    digest: RangeDigest,
}

impl Writing {
    /// Opens `name` in `dir` for `size` bytes.
    pub(super) fn begin(
        dir: &Dir,
        name: &Name,
        size: u64,
        basis: Basis,
        seed: Seed,
    ) -> Result<Self, barge_fs::Error> {
        let in_place = matches!(basis, Basis::InPlace(_));
        let (staged, basis) = match basis {
            Basis::None => (dir.stage(name)?, None),
            Basis::Old(basis) => (dir.stage(name)?, Some(basis)),
            Basis::InPlace(staged) => (staged, None),
        };
        staged.set_len(size)?;
        let (ranges, coverage) = (HashMap::new(), Coverage::new(size));
        Ok(Self {
            staged,
            basis,
            in_place,
            size,
            ranges,
            coverage,
            seed,
            matched: 0,
        })
    }

    /// Writes bytes that were sent.
    pub(super) fn literal(&mut self, range: u32, bytes: &Bytes) -> Result<(), Trouble> {
        let open = self.range(range)?;
        let offset = open.cursor.take(bytes.len() as u64)?;
        open.digest.update(offset, bytes);
        Ok(self.staged.write_at(bytes, offset)?)
    }

    /// Takes bytes that the basis has.
    pub(super) fn copy(&mut self, range: u32, from: u64, len: u64) -> Result<(), Trouble> {
        let open = self.range(range)?;
        let offset = open.cursor.take(len)?;
        if self.basis.is_none() && from != offset {
            return Err(ProtocolError::Order("a block that moves in place").into());
        }
        let mut buffer = vec![0; COPY_SIZE.min(len as usize)];
        let mut done = 0;
        while done < len {
            let piece = &mut buffer[..COPY_SIZE.min((len - done) as usize)];
            self.copy_piece(range, from + done, offset + done, piece)?;
            done += piece.len() as u64;
        }
        self.matched += len;
        Ok(())
    }

    fn copy_piece(
        &mut self,
        range: u32,
        from: u64,
        to: u64,
        piece: &mut [u8],
    ) -> Result<(), Trouble> {
        let read = match &self.basis {
            Some(basis) => basis.read_at(piece, from)?,
            None => self.staged.read_at(piece, from)?,
        };
        if read < piece.len() {
            return Err(Trouble::Disagreement);
        }
        self.range(range)?.digest.update(to, piece);
        if self.basis.is_some() {
            self.staged.write_at(piece, to)?;
        }
        Ok(())
    }

    /// Leaves a hole.
    pub(super) fn hole(&mut self, range: u32, len: u64) -> Result<(), Trouble> {
        let open = self.range(range)?;
        let offset = open.cursor.take(len)?;
        open.digest.end_run();
        // A new file is a hole where nothing was written.
        if self.in_place {
            self.staged.punch(offset, len)?;
        }
        Ok(())
    }

    /// Ends a range. Returns whether it was the last.
    pub(super) fn end_range(&mut self, range: u32, digest: u128) -> Result<bool, Trouble> {
        self.range(range)?;
        let Some(open) = self.ranges.remove(&range) else {
            return Err(ProtocolError::Order("the end of a range").into());
        };
        open.cursor.end()?;
        if open.digest.finish() != digest {
            return Err(Trouble::Disagreement);
        }
        self.coverage.mark(range)?;
        Ok(self.coverage.is_complete())
    }

    fn range(&mut self, range: u32) -> Result<&mut OpenRange, ProtocolError> {
        let count = self.ranges.len();
        match self.ranges.entry(range) {
            std::collections::hash_map::Entry::Occupied(open) => Ok(open.into_mut()),
            std::collections::hash_map::Entry::Vacant(_) if count >= MAX_OPEN => {
                Err(ProtocolError::Order("one range too many"))
            }
            std::collections::hash_map::Entry::Vacant(slot) => {
                let cursor = RangeCursor::new(range, self.size)?;
                let digest = RangeDigest::new(self.seed);
                Ok(slot.insert(OpenRange { cursor, digest }))
            }
        }
    }
}

/// The digest of a range: of each run of data its offset and its bytes; holes are left out.
#[derive(Clone)]
pub(crate) struct RangeDigest {
    digest: Digest,
    in_run: bool,
}

impl RangeDigest {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            digest: Digest::new(seed),
            in_run: false,
        }
    }

    /// Takes the next bytes, which begin at `offset` in the file.
    pub(crate) fn update(&mut self, offset: u64, bytes: &[u8]) {
        if !std::mem::replace(&mut self.in_run, true) {
            self.digest.update(&offset.to_le_bytes());
        }
        self.digest.update(bytes);
    }

    /// A hole follows.
    pub(crate) fn end_run(&mut self) {
        self.in_run = false;
    }

    pub(crate) fn finish(&self) -> u128 {
        self.digest.finish()
    }
}

impl std::fmt::Debug for RangeDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RangeDigest")
    }
}

/// Ranges of one file that may be open at a time: two for each stream there can be.
const MAX_OPEN: usize = 2 * barge_native::MAX_STREAMS as usize;

const COPY_SIZE: usize = 256 << 10;
