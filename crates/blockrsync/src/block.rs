//! Blocks: their size, where they are, and their digests.

use std::fmt;
use std::ops::Range;

use crate::WireError;

/// The digest of a block's content.
pub type BlockHash = [u8; 32];

/// How long blocks are: a positive multiple of 4096 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockSize(u32);

impl BlockSize {
    /// The longest that is supported: each side holds some blocks in memory.
    pub const MAX: u64 = 64 << 20;

    /// `None` when no blocks can be so long.
    pub fn new(bytes: u64) -> Option<Self> {
        let fits = bytes > 0 && bytes <= Self::MAX && bytes.is_multiple_of(4096);
        fits.then_some(Self(bytes as u32))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0.into()
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A row of blocks: the last one ends where the device does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grid {
    len: u64,
    block: BlockSize,
}

impl Grid {
    /// The blocks of `len` bytes. `None` when no file is so long.
    pub fn new(len: u64, block: BlockSize) -> Option<Self> {
        let rounded = len.checked_next_multiple_of(block.bytes())?;
        i64::try_from(rounded).ok()?;
        Some(Self { len, block })
    }

    /// All of them together, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How long all but the last are.
    pub fn block(&self) -> BlockSize {
        self.block
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.len.div_ceil(self.block.bytes())
    }

    /// Where a block is, in bytes; empty behind the last one.
    pub fn range(&self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(self.block.bytes()).min(self.len);
        start..start.saturating_add(self.block.bytes()).min(self.len)
    }

    /// Which block begins at an offset that the peer said, of `count` blocks at most.
    pub(crate) fn index(
        block: BlockSize,
        what: &'static str,
        offset: i64,
        count: u64,
    ) -> Result<u64, WireError> {
        let index = u64::try_from(offset).ok().and_then(|offset| {
            let begins = offset.is_multiple_of(block.bytes());
            begins.then_some(offset / block.bytes())
        });
        index
            .filter(|&index| index < count)
            .ok_or(WireError::Number {
                what,
                value: offset,
            })
    }
}

/// Makes digests of blocks of one size.
#[derive(Clone, Debug)]
pub struct Digester {
    zeros: BlockHash,
}

impl Digester {
    /// For blocks of this size.
    pub fn new(block: BlockSize) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut left = block.bytes();
        while left > 0 {
            let some = left.min(ZEROS.len() as u64);
            hasher.update(&ZEROS[..some as usize]);
            left -= some;
        }
        Self {
            zeros: hasher.finalize().into(),
        }
    }

    /// The digest of a block, which may be a short last one.
    pub fn digest(&self, content: &[u8]) -> BlockHash {
        match is_zero(content) {
            true => self.zeros,
            false => blake3::hash(content).into(),
        }
    }

    /// The digest of zeros.
    pub fn zeros(&self) -> BlockHash {
        self.zeros
    }
}

/// The digest of digests, in their order.
#[derive(Clone, Debug, Default)]
pub struct Whole(blake3::Hasher);

impl Whole {
    /// Adds the next one.
    pub fn add(&mut self, digest: &BlockHash) {
        self.0.update(digest);
    }

    /// That of all that were added.
    pub fn digest(&self) -> BlockHash {
        self.0.finalize().into()
    }
}

/// Whether there is nothing but zeros.
pub fn is_zero(content: &[u8]) -> bool {
    let mut pieces = content.chunks(ZEROS.len());
    pieces.all(|piece| piece == &ZEROS[..piece.len()])
}

static ZEROS: [u8; 4096] = [0; 4096];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_size_is_a_positive_multiple_of_4096() {
        for (bytes, fits) in [
            (0, false),
            (4095, false),
            (4096, true),
            (6144, false),
            (131_072, true),
            (BlockSize::MAX, true),
            (BlockSize::MAX + 4096, false),
            (1 << 32, false),
        ] {
            assert_eq!(BlockSize::new(bytes).is_some(), fits, "{bytes}");
        }
    }

    #[test]
    fn last_block_is_as_long_as_what_is_left() {
        let block = BlockSize::new(4096).unwrap();
        let grid = Grid::new(10_000, block).unwrap();
        assert_eq!(grid.count(), 3);
        assert_eq!(grid.range(1), 4096..8192);
        assert_eq!(grid.range(2), 8192..10_000);
        assert_eq!(grid.range(3), 10_000..10_000);
        assert_eq!(grid.range(u64::MAX), 10_000..10_000);
        assert_eq!(Grid::new(0, block).unwrap().count(), 0);
        assert_eq!(Grid::new(1 << 63, block), None);
        assert_eq!(Grid::new(u64::MAX, block), None);
    }

    #[test]
    fn offset_from_the_peer_begins_a_block_or_is_refused() {
        let block = BlockSize::new(4096).unwrap();
        let index = |offset| Grid::index(block, "offset", offset, 3);
        assert_eq!(index(8192), Ok(2));
        for offset in [-4096, -1, 1, 4095, 12_288, i64::MAX, i64::MIN] {
            assert!(index(offset).is_err(), "{offset}");
        }
    }

    /// The first value is from BLAKE3's own test vectors (no input).
    #[test]
    fn digests_are_blake3_and_zeros_count_as_a_whole_block_of_them() {
        let digester = Digester::new(BlockSize::new(4096).unwrap());
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(blake3::hash(b"").to_hex().as_str(), empty);
        assert_eq!(digester.digest(&[0; 7]), digester.zeros());
        assert_eq!(
            digester.zeros(),
            <BlockHash>::from(blake3::hash(&[0; 4096]))
        );
        assert_eq!(digester.digest(b"x"), <BlockHash>::from(blake3::hash(b"x")));
        assert!(!is_zero(&[&[0; 5000][..], &[1]].concat()));
    }
}
