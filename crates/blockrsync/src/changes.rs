//! What the source says: how long it is, and the blocks that the target has not.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use crate::framing::{Framer, Unframer};
use crate::{BlockSize, FAREWELL, Grid, Transcript, WireError};

/// Says the changes, a block after the other.
#[derive(Debug)]
pub struct ChangesEncoder {
    grid: Grid,
    framer: Framer,
    transcript: Transcript,
}

impl ChangesEncoder {
    /// Begins the changes to a list that `transcript` is of, for a source of this grid.
    pub fn new(grid: Grid, transcript: Transcript) -> Self {
        let mut changes = Self {
            grid,
            framer: Framer::default(),
            transcript,
        };
        changes.say(&grid.len().to_le_bytes());
        changes
    }

    /// Says that a block is zeros.
    pub fn hole(&mut self, index: u64) {
        self.say(&self.grid.range(index).start.to_le_bytes());
        self.say(&[HOLE]);
    }

    /// Says what a block holds. `content` is as long as the block.
    pub fn data(&mut self, index: u64, content: &[u8]) {
        let range = self.grid.range(index);
        debug_assert_eq!(range.end - range.start, content.len() as u64);
        self.say(&range.start.to_le_bytes());
        self.say(&[DATA]);
        self.say(content);
    }

    /// Says to a target of ours that there is no more.
    pub fn end(&mut self) -> [u8; 32] {
        self.say(&END_OFFSET.to_le_bytes());
        self.say(&[END]);
        let digest = self.transcript.digest();
        self.framer.push(&digest);
        digest
    }

    /// Chunks that are full.
    pub fn take(&mut self) -> Bytes {
        self.framer.take()
    }

    /// All that has been said and not been taken yet.
    pub fn flush(&mut self) -> Bytes {
        self.framer.flush()
    }

    fn say(&mut self, content: &[u8]) {
        self.framer.push(content);
        self.transcript.note(content);
    }
}

/// What the source says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// How long the source is, in bytes. Comes first.
    Size(u64),
    /// A range is zeros.
    Hole(Range<u64>),
    /// What is from an offset on.
    Data(u64, Bytes),
    /// There is no more, says a source of ours: what arrived is what was sent, and this its digest.
    End([u8; 32]),
}

/// Reads the changes.
#[derive(Debug)]
pub struct ChangesDecoder {
    block: BlockSize,
    unframer: Unframer,
    /// Where the stream ends: with a word of its own, or simply so.
    has_end: bool,
    /// What comes next.
    state: State,
    transcript: Transcript,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size,
    /// A block, of `least` or higher index.
    Block {
        grid: Grid,
        least: u64,
    },
    Data {
        grid: Grid,
        index: u64,
    },
    Digest,
    Over,
}

impl ChangesDecoder {
    /// Begins with what came together with what was before. A source of ours says its end
    /// (`has_end`).
    pub fn new(block: BlockSize, has_end: bool, transcript: Transcript, rest: BytesMut) -> Self {
        Self {
            block,
            unframer: Unframer::with(rest),
            has_end,
            state: State::Size,
            transcript,
        }
    }

    /// Takes bytes as they came off the wire; any split is fine.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        self.unframer.handle_input(bytes);
    }

    /// The next change, or `None` until more input arrives.
    ///
    /// # Errors
    ///
    /// [`WireError`] for offsets that begin no block of the source's, or come out of order, for
    /// unknown types, and when what arrived is not what was sent.
    pub fn poll(&mut self) -> Result<Option<Change>, WireError> {
        loop {
            return match self.state {
                State::Size => self.size(),
                State::Block { grid, least } => match self.block(grid, least)? {
                    // Its content follows.
                    Some(None) => continue,
                    block => Ok(block.flatten()),
                },
                State::Data { grid, index } => self.data(grid, index),
                State::Digest => self.digest(),
                State::Over => Ok(None),
            };
        }
    }

    /// Whether the stream may end here: it was not cut.
    ///
    /// # Errors
    ///
    /// [`WireError::Cut`].
    pub fn end(&self) -> Result<(), WireError> {
        let ended = match self.state {
            State::Over => true,
            State::Size | State::Block { .. } => !self.has_end && self.unframer.is_empty(),
            State::Data { .. } | State::Digest => false,
        };
        match ended {
            true => Ok(()),
            false => Err(WireError::Cut("what the source says")),
        }
    }

    /// Takes the farewell of a source of ours; false until it has arrived.
    ///
    /// # Errors
    ///
    /// [`WireError::Trailing`] when it is another byte, or more of them.
    pub fn farewell(self) -> Result<Farewell, WireError> {
        let rest = self.unframer.into_rest("what the source says")?;
        Ok(Farewell(rest))
    }

    fn size(&mut self) -> Result<Option<Change>, WireError> {
        let Some(mut field) = self.unframer.poll(8)? else {
            return Ok(None);
        };
        self.transcript.note(&field);
        let size = field.get_i64_le();
        let grid = u64::try_from(size)
            .ok()
            .and_then(|len| Grid::new(len, self.block));
        let grid = grid.ok_or(WireError::Number {
            what: "a source's size",
            value: size,
        })?;
        self.state = State::Block { grid, least: 0 };
        Ok(Some(Change::Size(grid.len())))
    }

    /// `Some(None)` when content follows.
    fn block(&mut self, grid: Grid, least: u64) -> Result<Option<Option<Change>>, WireError> {
        let Some(mut head) = self.unframer.poll(9)? else {
            return Ok(None);
        };
        self.transcript.note(&head);
        let (offset, kind) = (head.get_i64_le(), head.get_u8());
        if (offset, kind, self.has_end) == (END_OFFSET, END, true) {
            self.state = State::Digest;
            return Ok(Some(None));
        }
        let what = "an offset of the source's";
        let index = Grid::index(self.block, what, offset, grid.count())?;
        if index < least {
            let what = "an offset out of order of the source's";
            return Err(WireError::Number {
                what,
                value: offset,
            });
        }
        match kind {
            HOLE => {
                let least = index + 1;
                self.state = State::Block { grid, least };
                Ok(Some(Some(Change::Hole(grid.range(index)))))
            }
            DATA => {
                self.state = State::Data { grid, index };
                Ok(Some(None))
            }
            other => Err(WireError::Number {
                what: "a block's type",
                value: other.into(),
            }),
        }
    }

    fn data(&mut self, grid: Grid, index: u64) -> Result<Option<Change>, WireError> {
        let range = grid.range(index);
        let len = (range.end - range.start) as usize;
        let Some(content) = self.unframer.poll(len)? else {
            return Ok(None);
        };
        self.transcript.note(&content);
        let least = index + 1;
        self.state = State::Block { grid, least };
        Ok(Some(Change::Data(range.start, content)))
    }

    fn digest(&mut self) -> Result<Option<Change>, WireError> {
        let Some(said) = self.unframer.poll(32)? else {
            return Ok(None);
        };
        let digest = self.transcript.digest();
        if said[..] != digest {
            return Err(WireError::Digest);
        }
        self.state = State::Over;
        Ok(Some(Change::End(digest)))
    }
}

/// Waits for the last byte of a source of ours.
#[derive(Debug)]
pub struct Farewell(BytesMut);

impl Farewell {
    /// Takes bytes as they came off the wire.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Whether it has been said.
    ///
    /// # Errors
    ///
    /// [`WireError::Trailing`] when something else was.
    pub fn was_said(&self) -> Result<bool, WireError> {
        match self.0[..] {
            [] => Ok(false),
            [FAREWELL] => Ok(true),
            _ => Err(WireError::Trailing("what the source says")),
        }
    }
}

const HOLE: u8 = 0;
const DATA: u8 = 1;

/// A type and an offset that no stock blockrsync says.
const END: u8 = 2;
const END_OFFSET: i64 = -1;
