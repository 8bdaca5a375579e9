//! Blocks of a basis: how long, how many, and their sums.

use crate::{StrongSum, weak};

/// Blocks of one basis at most; their index takes about 32 MiB.
pub const MAX_BLOCKS: u32 = 1 << 20;

/// Bytes in a block: at most 1 MiB. The last block of a basis may be shorter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockLen(u32);

impl BlockLen {
    /// Below, a block costs more to compare than it saves.
    const MIN: u32 = 512;
    const MAX: u32 = 1 << 20;

    /// Checks a length that came from the peer, 512 bytes or more; `None` when it is out of bounds.
    pub fn new(len: u32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&len).then_some(Self(len))
    }

    /// As [`new`](Self::new), where blocks may be as short as 1 byte.
    pub fn from_1(len: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&len).then_some(Self(len))
    }

    /// The length for a basis of `len` bytes: 2048 below 1 MiB, then the least power of two from
    /// 4096 that keeps the basis within [`MAX_BLOCKS`], but never above 1 MiB.
    pub fn for_basis(len: u64) -> Self {
        if len < 1 << 20 {
            return Self(2048);
        }
        let least = len
            .div_ceil(u64::from(MAX_BLOCKS))
            .min(u64::from(Self::MAX));
        Self((least as u32).next_power_of_two().max(4096))
    }

    /// Blocks of a basis of `basis_len` bytes, the short last one included; `None` when there are
    /// more than [`MAX_BLOCKS`]: such a basis is not searched.
    pub fn blocks(self, basis_len: u64) -> Option<u32> {
        let blocks = self.all_blocks(basis_len);
        (blocks <= u64::from(MAX_BLOCKS)).then_some(blocks as u32)
    }

    /// Blocks of a basis, however many.
    pub(crate) fn all_blocks(self, basis_len: u64) -> u64 {
        basis_len.div_ceil(u64::from(self.0))
    }

    /// Bytes, as they cross the wire.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Bytes, as slices count them.
    pub fn bytes(self) -> usize {
        self.0 as usize
    }
}

/// The two sums of one block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockSum {
    /// The rolling sum, see [`weak()`].
    pub weak: u32,
    /// The strong sum, see [`StrongSum::sum`].
    pub strong: u128,
}

impl BlockSum {
    /// Sums a block.
    pub fn new(strong: impl Into<StrongSum>, block: &[u8]) -> Self {
        Self {
            weak: weak(block),
            strong: strong.into().sum(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_from_the_peer_is_refused_out_of_bounds() {
        for len in [0, 511, (1 << 20) + 1, u32::MAX] {
            assert_eq!(BlockLen::new(len), None, "{len}");
        }
        for len in [512, 513, 1 << 20] {
            assert_eq!(BlockLen::new(len).unwrap().get(), len);
        }
        for (len, fits) in [
            (0, false),
            (1, true),
            (1 << 20, true),
            ((1 << 20) + 1, false),
        ] {
            assert_eq!(BlockLen::from_1(len).is_some(), fits, "{len}");
        }
    }

    #[test]
    fn length_grows_with_the_basis_so_that_blocks_stay_few() {
        for (basis, len) in [
            (0, 2048),
            ((1 << 20) - 1, 2048),
            (1 << 20, 4096),
            (4 << 30, 4096),
            ((4 << 30) + 1, 8192),
            (1 << 40, 1 << 20),
            (u64::MAX, 1 << 20),
        ] {
            assert_eq!(BlockLen::for_basis(basis).get(), len, "{basis}");
        }
    }

    #[test]
    fn blocks_are_counted_up_to_the_limit() {
        let len = BlockLen(1 << 20);
        for (basis, blocks) in [
            (0, Some(0)),
            (1, Some(1)),
            (1 << 20, Some(1)),
            (1 << 40, Some(MAX_BLOCKS)),
            ((1 << 40) + 1, None),
            (u64::MAX, None),
        ] {
            assert_eq!(len.blocks(basis), blocks, "{basis}");
        }
    }
}
