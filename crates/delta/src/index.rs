//! The index over a signature: from a weak sum to the blocks that have it.
//!
//! Up to 32 bytes a block at 2^20 blocks: 4 of weak and 16 of strong sums, 8 of slots, 4 of filter.

use crate::signature::StrongSums;
use crate::{BlockLen, BlockSum, Signature, StrongSum};

/// The strong sum of a block that was not given: no block with this sum is ever matched, where such
/// are.
pub(crate) const ABSENT: u128 = 0;

/// Slots looked at for one weak sum, when a block is entered and when one is looked up.
///
/// With at most half of the slots taken, runs of 16 are rare. Where a peer or a volume's content
/// makes them common, the blocks that find no room are only matched behind their neighbours.
const PROBES: usize = 16;

/// A slot without a block.
const VACANT: u32 = u32::MAX;

/// Blocks that are looked for at every offset: the first of a basis. Among more, hardly a window has
/// no weak sum of a block, and nothing is found by it in time.
const SEARCHED: usize = 1 << 22;

/// Slots for each word of the filter: at most two blocks then, on average.
const SLOTS_PER_WORD: usize = 4;

/// Which copies are of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reuse {
    /// All of them: the basis stays as it is.
    Anywhere,
    /// Those from where they go to, or from further behind: the basis is overwritten from its front.
    InPlace,
}

/// The blocks of a basis, ready to be searched for, by several threads if need be.
pub struct Index {
    block_len: BlockLen,
    basis_len: u64,
    strong_sum: StrongSum,
    reuse: Reuse,
    /// Sums of the whole blocks, by block; shorter than the basis when its end was left out.
    weak: Vec<u32>,
    strong: StrongSums,
    gaps: bool,
    /// The sums of the short last block.
    tail: Option<BlockSum>,
    /// Open addressing: block numbers, each within [`PROBES`] slots from where its weak sum points.
    slots: Vec<u32>,
    /// A Bloom filter of the weak sums entered: keeps all but 1 in 100 lookups from the slots.
    filter: Vec<u64>,
    /// Odd, and not to be guessed without the seed.
    multiplier: u64,
    /// What to shift a hash by for a slot.
    slot_shift: u32,
}

impl Index {
    pub(crate) fn new(signature: Signature, reuse: Reuse) -> Self {
        let Signature {
            basis_len,
            block_len,
            strong_sum,
            mut weak,
            mut strong,
            gaps,
            ..
        } = signature;
        strong.seal();
        let whole = (basis_len / u64::from(block_len.get())) as usize;
        // At most the short last block lies behind the whole ones.
        let tail = weak.get(whole).map(|&weak| BlockSum {
            weak,
            strong: strong.get(whole),
        });
        weak.truncate(whole);
        weak.shrink_to_fit();
        let searched = weak.len().min(SEARCHED);
        let slots = (2 * searched).next_power_of_two().max(PROBES);
        let mut index = Self {
            block_len,
            basis_len,
            strong_sum,
            reuse,
            weak,
            strong,
            gaps,
            tail: tail.filter(|tail| !(gaps && tail.strong == ABSENT)),
            slots: vec![VACANT; slots],
            filter: vec![0; slots / SLOTS_PER_WORD],
            multiplier: strong_sum.multiplier(),
            slot_shift: 64 - slots.ilog2(),
        };
        for block in 0..searched {
            index.enter(block);
        }
        index
    }

    /// Enters a block, unless there is no room. Of equal blocks, the first stays; in place the last,
    /// which is of use the longest.
    fn enter(&mut self, block: usize) {
        let (weak, strong) = (self.weak[block], self.strong.get(block));
        if self.gaps && strong == ABSENT {
            return;
        }
        for slot in self.probes(weak) {
            let other = self.slots[slot];
            if other == VACANT {
                self.slots[slot] = block as u32;
                let (word, [a, b]) = self.hints().place(weak);
                self.filter[word] |= 1 << a | 1 << b;
                return;
            }
            let other = other as usize;
            if self.weak[other] == weak && self.strong.get(other) == strong {
                if self.reuse == Reuse::InPlace {
                    self.slots[slot] = block as u32;
                }
                return;
            }
        }
    }

    /// Whether the basis has exactly `bytes` at `offset`, as one block.
    pub fn is_block_at(&self, offset: u64, bytes: &[u8]) -> bool {
        let len = u64::from(self.block_len.get());
        if !offset.is_multiple_of(len) {
            return false;
        }
        let known = match self.tail() {
            Some((start, tail, sum)) if (start, tail) == (offset, bytes.len()) => Some(sum),
            _ if bytes.len() as u64 == len => self.sums(offset / len),
            _ => None,
        };
        known.is_some_and(|sum| sum == BlockSum::new(self.strong_sum, bytes))
    }

    /// Bytes in a block.
    pub fn block_len(&self) -> BlockLen {
        self.block_len
    }

    /// How strong sums are made.
    pub(crate) fn strong_sum(&self) -> StrongSum {
        self.strong_sum
    }

    /// Whether what lies at `basis_offset` can be copied to `offset`.
    pub(crate) fn is_of_use(&self, basis_offset: u64, offset: u64) -> bool {
        self.reuse == Reuse::Anywhere || basis_offset >= offset
    }

    /// Where the short last block begins, how long it is, and its sums; `None` when there is none or
    /// it was not given.
    pub(crate) fn tail(&self) -> Option<(u64, usize, BlockSum)> {
        let len = self.basis_len % u64::from(self.block_len.get());
        Some((self.basis_len - len, len as usize, self.tail?))
    }

    /// The sums of a whole block, if there is such a block and it was given.
    #[inline]
    pub(crate) fn sums(&self, block: u64) -> Option<BlockSum> {
        let block = usize::try_from(block).ok()?;
        let weak = *self.weak.get(block)?;
        let strong = self.strong.get(block);
        (!self.gaps || strong != ABSENT).then_some(BlockSum { weak, strong })
    }

    /// Whether some block entered has this weak sum.
    pub(crate) fn suspects(&self, weak: u32) -> bool {
        self.hints().may_have(weak) && self.any_with_weak(weak)
    }

    /// The filter, for a loop that looks up a weak sum for each byte.
    pub(crate) fn hints(&self) -> Hints<'_> {
        Hints {
            filter: &self.filter,
            multiplier: self.multiplier,
        }
    }

    /// Whether some block entered has this weak sum, without a look at the filter.
    #[cold]
    pub(crate) fn any_with_weak(&self, weak: u32) -> bool {
        self.with_weak(weak).next().is_some()
    }

    /// The block entered with both sums.
    pub(crate) fn find(&self, sums: BlockSum) -> Option<u64> {
        self.with_weak(sums.weak)
            .find(|&block| self.strong.get(block as usize) == sums.strong)
    }

    /// Blocks entered with this weak sum, at most [`PROBES`].
    fn with_weak(&self, weak: u32) -> impl Iterator<Item = u64> {
        self.probes(weak)
            .map(|slot| self.slots[slot])
            .take_while(|&block| block != VACANT)
            .filter(move |&block| self.weak[block as usize] == weak)
            .map(u64::from)
    }

    fn probes(&self, weak: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        let home = (hash(weak, self.multiplier) >> self.slot_shift) as usize;
        (home..home + PROBES).map(move |slot| slot & mask)
    }
}

/// The filter of an index: words of 64 bits, a power of two of them.
#[derive(Clone, Copy)]
pub(crate) struct Hints<'i> {
    filter: &'i [u64],
    multiplier: u64,
}

impl Hints<'_> {
    /// Whether some block entered may have this weak sum.
    #[inline]
    pub(crate) fn may_have(self, weak: u32) -> bool {
        let (word, [a, b]) = self.place(weak);
        let word = self.filter[word];
        // Both bits at once: a branch on the first would often be foreseen wrong.
        (word >> a) & (word >> b) & 1 != 0
    }

    /// Which word, and which two of its bits: a lookup costs one load, and no shift by a variable.
    #[inline]
    fn place(self, weak: u32) -> (usize, [u64; 2]) {
        let hash = hash(weak, self.multiplier);
        let word = (hash >> 32) as usize & (self.filter.len() - 1);
        (word, [u64::from(weak) & 63, hash >> 58])
    }
}

#[inline]
fn hash(weak: u32, multiplier: u64) -> u64 {
    u64::from(weak).wrapping_mul(multiplier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    fn index(weak: &[u32], strong: &[u128]) -> Index {
        let len = BlockLen::new(512).unwrap();
        let sums = weak.iter().zip(strong);
        let sums: Vec<_> = sums
            .map(|(&weak, &strong)| BlockSum { weak, strong })
            .collect();
        let mut signature = Signature::new(512 * sums.len() as u64, len, Seed::new(1)).unwrap();
        signature.push(0, &sums).unwrap();
        signature.build()
    }

    #[test]
    fn index_is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Index>();
    }

    #[test]
    fn block_is_known_at_its_own_offset_only() {
        let (len, seed) = (BlockLen::new(512).unwrap(), Seed::new(1));
        let basis: Vec<u8> = (0..1300u32).map(|n| (n / 7) as u8).collect();
        let sums: Vec<_> = basis
            .chunks(512)
            .map(|block| crate::BlockSum::new(seed, block))
            .collect();
        let mut signature = crate::Signature::new(1300, len, seed).unwrap();
        signature.push(0, &sums).unwrap();
        let index = signature.build();
        for (offset, end, known) in [
            (0, 512, true),
            (512, 1024, true),
            (1024, 1300, true),
            (1024, 1299, false),
            (100, 612, false),
            (0, 511, false),
        ] {
            assert_eq!(
                index.is_block_at(offset, &basis[offset as usize..end]),
                known,
                "{offset}"
            );
        }
        assert!(!index.is_block_at(512, &basis[..512]));
        assert!(!index.is_block_at(2048, &basis[..512]));
    }

    #[test]
    fn equal_weak_sums_take_a_bounded_number_of_slots() {
        let strong: Vec<_> = (1..=10_000).collect();
        let index = index(&[9; 10_000], &strong);
        assert_eq!(index.with_weak(9).count(), PROBES);
        assert_eq!(index.find(BlockSum { weak: 9, strong: 1 }), Some(0));
        assert_eq!(
            index.find(BlockSum {
                weak: 9,
                strong: 10_000
            }),
            None
        );
        assert_eq!(
            index.sums(9_999),
            Some(BlockSum {
                weak: 9,
                strong: 10_000
            })
        );
    }

    #[test]
    fn equal_blocks_take_one_slot_and_the_first_is_found() {
        let index = index(&[9; 10_000], &[3; 10_000]);
        assert_eq!(index.with_weak(9).collect::<Vec<_>>(), [0]);
        assert!(index.suspects(9));
    }

    #[test]
    fn almost_all_blocks_with_sums_of_their_own_are_found() {
        let weak: Vec<u32> = (0..1 << 16)
            .map(|n: u32| n.wrapping_mul(0x9e37_79b1))
            .collect();
        let strong: Vec<_> = (1..=1 << 16).collect();
        let index = index(&weak, &strong);
        let found = weak
            .iter()
            .zip(1..)
            .filter(|&(&weak, strong)| index.find(BlockSum { weak, strong }).is_some());
        assert!(found.count() > 65_500);
        let strange = (0..100_000).filter(|n: &u32| index.suspects(n.wrapping_mul(0x85eb_ca6b)));
        assert!(strange.count() < 100);
    }

    #[test]
    fn index_takes_about_32_bytes_a_block_at_its_largest() {
        let (weak, strong): (Vec<_>, Vec<_>) = (0..1 << 20).zip(1..).unzip();
        let index = index(&weak, &strong);
        let bytes = 4 * index.weak.capacity()
            + index.strong.capacity()
            + 4 * index.slots.len()
            + 8 * index.filter.len();
        assert_eq!(bytes, 32 << 20);
    }
}
