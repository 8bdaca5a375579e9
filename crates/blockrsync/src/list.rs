//! The target's list: where its blocks are and what their digests are.

use bytes::{Buf, Bytes, BytesMut};

use crate::framing::{Framer, Unframer};
use crate::{BlockHash, BlockSize, Grid, Transcript, WireError};

/// Says the list, a block after the other.
#[derive(Debug)]
pub struct ListEncoder {
    grid: Grid,
    next: u64,
    framer: Framer,
    transcript: Transcript,
}

impl ListEncoder {
    /// Begins the list of all blocks of a grid.
    pub fn new(grid: Grid) -> Self {
        let mut list = Self {
            grid,
            next: 0,
            framer: Framer::default(),
            transcript: Transcript::default(),
        };
        list.say(&grid.block().bytes().to_le_bytes());
        list.say(&grid.count().to_le_bytes());
        list
    }

    /// Adds the next block. The caller adds no more than there are.
    pub fn push(&mut self, hash: &BlockHash) {
        debug_assert!(self.next < self.grid.count(), "there are no more blocks");
        let offset = self.grid.range(self.next).start;
        self.next += 1;
        self.say(&offset.to_le_bytes());
        self.say(hash);
    }

    /// What has been said and not been taken yet.
    pub fn flush(&mut self) -> Bytes {
        self.framer.flush()
    }

    /// What was said, at the end of it.
    pub fn finish(self) -> Transcript {
        self.transcript
    }

    fn say(&mut self, content: &[u8]) {
        self.framer.push(content);
        self.transcript.note(content);
    }
}

/// A block of the target's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListItem {
    /// Which.
    pub index: u64,
    /// The digest of its content.
    pub hash: BlockHash,
}

/// Reads the list, which is held to be ascending; that there are gaps in it is no fault, because a
/// stock target may lose digests: such blocks are unknown.
#[derive(Debug)]
pub struct ListDecoder {
    block: BlockSize,
    unframer: Unframer,
    /// How many blocks there are, and how many have come; `None` before that is known.
    count: Option<(u64, u64)>,
    /// The lowest index the next block may have.
    least: u64,
    transcript: Transcript,
}

impl ListDecoder {
    /// Begins with what came together with what was before the list.
    pub fn new(block: BlockSize, rest: BytesMut) -> Self {
        Self {
            block,
            unframer: Unframer::with(rest),
            count: None,
            least: 0,
            transcript: Transcript::default(),
        }
    }

    /// Takes bytes as they came off the wire; any split is fine.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        self.unframer.handle_input(bytes);
    }

    /// The next block, or `None` until more input arrives or the list is through.
    ///
    /// # Errors
    ///
    /// [`WireError`] for another block size than ours, and numbers that cannot be.
    pub fn poll(&mut self) -> Result<Option<ListItem>, WireError> {
        let (count, come) = match self.count {
            Some(count) => count,
            None => match self.head()? {
                Some(count) => (count, 0),
                None => return Ok(None),
            },
        };
        if come == count {
            return Ok(None);
        }
        let Some(mut item) = self.unframer.poll(ITEM_LEN)? else {
            return Ok(None);
        };
        self.transcript.note(&item);
        let offset = item.get_i64_le();
        // Not bounded by the count, which is too low where a stock target lost digests.
        let index = Grid::index(self.block, "an offset in the list", offset, MOST)?;
        if index < self.least {
            let what = "an offset out of order in the list";
            return Err(WireError::Number {
                what,
                value: offset,
            });
        }
        self.least = index + 1;
        self.count = Some((count, come + 1));
        let mut hash = [0; 32];
        item.copy_to_slice(&mut hash);
        Ok(Some(ListItem { index, hash }))
    }

    /// Whether all of it has been read.
    pub fn is_through(&self) -> bool {
        self.count.is_some_and(|(count, come)| count == come)
    }

    /// What was said, and what arrived behind it.
    ///
    /// # Errors
    ///
    /// [`WireError::Cut`] when it is not through.
    pub fn finish(self) -> Result<(Transcript, BytesMut), WireError> {
        if !self.is_through() {
            return Err(WireError::Cut("the target's list"));
        }
        let rest = self.unframer.into_rest("the target's list")?;
        Ok((self.transcript, rest))
    }

    fn head(&mut self) -> Result<Option<u64>, WireError> {
        let Some(mut head) = self.unframer.poll(HEAD_LEN)? else {
            return Ok(None);
        };
        self.transcript.note(&head);
        let (size, count) = (head.get_i64_le(), head.get_i64_le());
        if u64::try_from(size) != Ok(self.block.bytes()) {
            return Err(WireError::BlockSize {
                theirs: size,
                ours: self.block,
            });
        }
        let wrong = WireError::Number {
            what: "a count of blocks",
            value: count,
        };
        let known = u64::try_from(count).map_err(|_| wrong.clone())?;
        let end = known
            .checked_mul(self.block.bytes())
            .filter(|&end| i64::try_from(end).is_ok());
        if end.is_none() {
            return Err(wrong);
        }
        self.count = Some((known, 0));
        Ok(Some(known))
    }
}

/// More blocks than any file has.
const MOST: u64 = i64::MAX as u64;
const HEAD_LEN: usize = 16;
const ITEM_LEN: usize = 8 + 32;
