//! Block sums of a basis, gathered as they arrive.

use crate::index::ABSENT;
use crate::{BlockLen, BlockSum, Index, Seed};

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

/// Block sums of a basis. Blocks in holes may be left out.
#[derive(Debug)]
pub struct Signature {
    basis_len: u64,
    block_len: BlockLen,
    seed: Seed,
    blocks: u32,
    weak: Vec<u32>,
    strong: Vec<u128>,
}

impl Signature {
    /// An empty signature; it grows with what is pushed, to 20 bytes a block.
    ///
    /// # Errors
    ///
    /// [`SignatureError::TooManyBlocks`].
    pub fn new(basis_len: u64, block_len: BlockLen, seed: Seed) -> Result<Self, SignatureError> {
        let blocks = block_len
            .blocks(basis_len)
            .ok_or(SignatureError::TooManyBlocks {
                basis_len,
                block_len: block_len.get(),
            })?;
        Ok(Self {
            basis_len,
            block_len,
            seed,
            blocks,
            weak: Vec::new(),
            strong: Vec::new(),
        })
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
            self.weak.resize(first_block as usize, 0);
            self.strong.resize(first_block as usize, ABSENT);
            self.weak.extend(sums.iter().map(|sum| sum.weak));
            self.strong.extend(sums.iter().map(|sum| sum.strong));
        }
        Ok(())
    }

    /// Indexes the sums.
    pub fn build(mut self) -> Index {
        let whole = (self.basis_len / u64::from(self.block_len.get())) as usize;
        // At most the short last block lies behind the whole ones.
        let tail = self.strong.get(whole).copied().filter(|&sum| sum != ABSENT);
        self.weak.truncate(whole);
        self.strong.truncate(whole);
        self.weak.shrink_to_fit();
        self.strong.shrink_to_fit();
        Index::new(
            self.basis_len,
            self.block_len,
            self.seed,
            self.weak,
            self.strong,
            tail,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
