//! Block sums of a basis, gathered as they arrive.

use crate::index::{ABSENT, Reuse};
use crate::{BlockLen, BlockSum, Index, StrongSum};

/// Why block sums are no signature of the basis.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// More blocks than [`MAX_BLOCKS`](crate::MAX_BLOCKS).
    #[error("a basis of {basis_len} bytes has too many blocks of {block_len} bytes")]
    TooManyBlocks {
        /// Bytes in the basis.
        basis_len: u64,
        /// Bytes in a block.
        block_len: u32,
    },
    /// A block was given before, or one after it was.
    #[error("sums from block {first_block} on, where block {next} is the least that may follow")]
    OutOfOrder {
        /// The first block of the sums refused.
        first_block: u32,
        /// The block after the last one given.
        next: u32,
    },
    /// The basis ends before the last block.
    #[error("{count} sums from block {first_block} on, where the basis has {blocks} blocks")]
    BeyondBasis {
        /// The first block of the sums refused.
        first_block: u32,
        /// How many sums there are.
        count: usize,
        /// How many blocks the basis has.
        blocks: u32,
    },
}

/// Block sums of a basis. Blocks in holes may be left out, and blocks at the end.
#[derive(Debug)]
pub struct Signature {
    pub(crate) basis_len: u64,
    pub(crate) block_len: BlockLen,
    pub(crate) strong_sum: StrongSum,
    /// Blocks whose sums may be given.
    blocks: u32,
    pub(crate) weak: Vec<u32>,
    pub(crate) strong: StrongSums,
    /// Whether blocks were left out, whose strong sum is [`ABSENT`] then.
    pub(crate) gaps: bool,
}

impl Signature {
    /// An empty signature; it grows with what is pushed, to 4 bytes a block and its strong sum.
    ///
    /// # Errors
    ///
    /// [`SignatureError::TooManyBlocks`].
    pub fn new(
        basis_len: u64,
        block_len: BlockLen,
        strong: impl Into<StrongSum>,
    ) -> Result<Self, SignatureError> {
        let blocks = block_len
            .blocks(basis_len)
            .ok_or(SignatureError::TooManyBlocks {
                basis_len,
                block_len: block_len.get(),
            })?;
        Ok(Self::of_first(basis_len, block_len, strong, blocks))
    }

    /// As [`new`](Self::new), of the first `most` blocks of a basis that may have more.
    pub fn of_first(
        basis_len: u64,
        block_len: BlockLen,
        strong: impl Into<StrongSum>,
        most: u32,
    ) -> Self {
        let strong_sum = strong.into();
        Self {
            basis_len,
            block_len,
            strong_sum,
            blocks: block_len.all_blocks(basis_len).min(most.into()) as u32,
            weak: Vec::new(),
            strong: StrongSums::new(strong_sum),
            gaps: false,
        }
    }

    /// Blocks whose sums may still be given.
    pub fn room(&self) -> u32 {
        self.blocks - self.weak.len() as u32
    }

    /// Takes the sums of `first_block` and of those that follow it.
    ///
    /// # Errors
    ///
    /// [`SignatureError::OutOfOrder`] and [`SignatureError::BeyondBasis`]; nothing is taken then.
    pub fn push(&mut self, first_block: u32, sums: &[BlockSum]) -> Result<(), SignatureError> {
        let next = self.weak.len() as u32;
        if first_block < next {
            return Err(SignatureError::OutOfOrder { first_block, next });
        }
        if sums.len() as u64 > u64::from(self.blocks.saturating_sub(first_block)) {
            return Err(SignatureError::BeyondBasis {
                first_block,
                count: sums.len(),
                blocks: self.blocks,
            });
        }
        if !sums.is_empty() {
            self.gaps |= first_block > next;
            self.weak.resize(first_block as usize, 0);
            self.strong.leave_out(first_block - next);
            self.weak.extend(sums.iter().map(|sum| sum.weak));
            self.strong.extend(sums.iter().map(|sum| sum.strong));
        }
        Ok(())
    }

    /// Indexes the sums.
    pub fn build(self) -> Index {
        Index::new(self, Reuse::Anywhere)
    }

    /// Indexes the sums for a basis that is overwritten by what is made from it: only copies from
    /// where they go to, or from further behind, are found.
    pub fn build_in_place(self) -> Index {
        Index::new(self, Reuse::InPlace)
    }
}

/// Strong sums, packed.
#[derive(Debug)]
pub(crate) struct StrongSums {
    bytes: Vec<u8>,
    /// Bytes of each.
    len: usize,
    mask: u128,
}

impl StrongSums {
    fn new(strong: StrongSum) -> Self {
        Self {
            bytes: Vec::new(),
            len: strong.bytes(),
            mask: strong.mask(),
        }
    }

    fn leave_out(&mut self, count: u32) {
        debug_assert_eq!(ABSENT, 0);
        self.bytes
            .resize(self.bytes.len() + self.len * count as usize, 0);
    }

    fn extend(&mut self, sums: impl Iterator<Item = u128>) {
        for sum in sums {
            self.bytes.extend_from_slice(&sum.to_le_bytes()[..self.len]);
        }
    }

    /// Ends the sums: no more can be added, and they can be read.
    pub(crate) fn seal(&mut self) {
        // So that each sum can be read as 16 bytes.
        self.bytes
            .resize(self.bytes.len() + StrongSum::MAX_LEN - self.len, 0);
        self.bytes.shrink_to_fit();
    }

    /// The sum of a block that has one.
    pub(crate) fn get(&self, block: usize) -> u128 {
        let sum = self.bytes[block * self.len..].first_chunk();
        u128::from_le_bytes(*sum.expect("the last sum has 16 bytes")) & self.mask
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    const SUM: BlockSum = BlockSum { weak: 1, strong: 2 };

    fn signature(basis_len: u64) -> Result<Signature, SignatureError> {
        Signature::new(basis_len, BlockLen::new(512).unwrap(), Seed::new(0))
    }

    #[test]
    fn sums_are_refused_out_of_order_and_beyond_the_basis() {
        let mut signature = signature(10 * 512 - 1).unwrap();
        signature.push(2, &[SUM; 3]).unwrap();
        for first_block in [0, 2, 4] {
            let refused = SignatureError::OutOfOrder {
                first_block,
                next: 5,
            };
            assert_eq!(signature.push(first_block, &[SUM]), Err(refused));
        }
        for (first_block, count) in [(5, 6), (9, 2), (10, 1), (u32::MAX, 1)] {
            let refused = signature.push(first_block, &vec![SUM; count]);
            let blocks = 10;
            assert_eq!(
                refused,
                Err(SignatureError::BeyondBasis {
                    first_block,
                    count,
                    blocks
                })
            );
        }
        assert_eq!(signature.push(5, &[SUM; 5]), Ok(()));
    }

    #[test]
    fn signature_takes_no_memory_for_what_was_only_announced() {
        let mut signature = signature(512 << 20).unwrap();
        signature.push(u32::MAX, &[]).unwrap();
        signature.push(1 << 19, &[]).unwrap();
        assert_eq!(signature.weak.capacity(), 0);
    }

    #[test]
    fn basis_of_too_many_blocks_is_refused() {
        assert!(signature(512 << 20).is_ok());
        assert!(signature((512 << 20) + 1).is_err());
    }
}
