//! The index over a signature: from a weak sum to the blocks that have it.
//!
//! About 32 bytes a block at 2^20 blocks: 20 of sums, 8 of slots, 4 of filter.

use crate::{BlockLen, Seed, strong};

/// The strong sum of a block that was not given. No block with this sum is ever matched.
pub(crate) const ABSENT: u128 = 0;

/// Slots looked at for one weak sum, when a block is entered and when one is looked up.
///
/// With at most half of the slots taken, runs of 16 are rare. Where a peer or a volume's content
/// makes them common, the blocks that find no room are only matched behind their neighbours.
const PROBES: usize = 16;

/// A slot without a block.
const VACANT: u32 = u32::MAX;

/// Slots for each word of the filter: at most two blocks then, on average.
const SLOTS_PER_WORD: usize = 4;

/// The blocks of a basis, ready to be searched for, by several threads if need be.
pub struct Index {
    block_len: BlockLen,
    basis_len: u64,
    seed: Seed,
    /// Sums of the whole blocks, by block; shorter than the basis when its end was left out.
    weak: Vec<u32>,
    strong: Vec<u128>,
    /// The strong sum of the short last block.
    tail: Option<u128>,
    /// Open addressing: block numbers, each within [`PROBES`] slots from where its weak sum points.
    slots: Vec<u32>,
    /// A Bloom filter of the weak sums entered: keeps all but 1 in 100 lookups from the slots.
    filter: Vec<u64>,
    /// Odd, and not to be guessed without the seed.
    multiplier: u64,
    /// What to shift a hash by for a slot, and for a word of the filter.
    slot_shift: u32,
    filter_shift: u32,
}

impl Index {
    pub(crate) fn new(
        basis_len: u64,
        block_len: BlockLen,
        seed: Seed,
        weak: Vec<u32>,
        strong_sums: Vec<u128>,
        tail: Option<u128>,
    ) -> Self {
        let slots = (2 * weak.len()).next_power_of_two().max(PROBES);
        let mut index = Self {
            block_len,
            basis_len,
            seed,
            weak,
            strong: strong_sums,
            tail,
            slots: vec![VACANT; slots],
            filter: vec![0; slots / SLOTS_PER_WORD],
            multiplier: strong(seed, b"slots") as u64 | 1,
            slot_shift: 64 - slots.ilog2(),
            filter_shift: 64 - (slots / SLOTS_PER_WORD).ilog2(),
        };
        for block in 0..index.weak.len() {
            index.enter(block);
        }
        index
    }

    /// Enters a block, unless an equal one is there already or there is no room.
    fn enter(&mut self, block: usize) {
        let (weak, strong) = (self.weak[block], self.strong[block]);
        if strong == ABSENT {
            return;
        }
        for slot in self.probes(weak) {
            match self.slots[slot] {
                VACANT => {
                    self.slots[slot] = block as u32;
                    let (word, [a, b]) = self.filter_place(weak);
                    self.filter[word] |= 1 << a | 1 << b;
                    return;
                }
                other if self.strong[other as usize] == strong => return,
                _ => {}
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
            _ if bytes.len() as u64 == len => self.strong(offset / len),
            _ => None,
        };
        known.is_some_and(|sum| sum == strong(self.seed, bytes))
    }

    /// Bytes in a block.
    pub fn block_len(&self) -> BlockLen {
        self.block_len
    }

    /// The seed of the strong sums.
    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// Where the short last block begins, how long it is, and its strong sum; `None` when there is
    /// none or it was not given.
    pub(crate) fn tail(&self) -> Option<(u64, usize, u128)> {
        let len = self.basis_len % u64::from(self.block_len.get());
        Some((self.basis_len - len, len as usize, self.tail?))
    }

    /// The strong sum of a whole block, if there is such a block and it was given.
    pub(crate) fn strong(&self, block: u64) -> Option<u128> {
        let strong = *self.strong.get(usize::try_from(block).ok()?)?;
        (strong != ABSENT).then_some(strong)
    }

    /// Whether a whole block was given with this weak sum.
    pub(crate) fn has_weak(&self, block: u64, weak: u32) -> bool {
        self.strong(block).is_some() && self.weak[block as usize] == weak
    }

    /// Whether some block entered has this weak sum.
    #[inline]
    pub(crate) fn suspects(&self, weak: u32) -> bool {
        let (word, [a, b]) = self.filter_place(weak);
        let word = self.filter[word];
        word >> a & 1 == 1 && word >> b & 1 == 1 && self.any_with_weak(weak)
    }

    // Out of line: the loop around `suspects` seldom comes here, and is tight without it.
    #[cold]
    fn any_with_weak(&self, weak: u32) -> bool {
        self.with_weak(weak).next().is_some()
    }

    /// The block entered with both sums.
    pub(crate) fn find(&self, weak: u32, strong: u128) -> Option<u64> {
        self.with_weak(weak)
            .find(|&block| self.strong[block as usize] == strong)
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
        let home = (self.hash(weak) >> self.slot_shift) as usize;
        (home..home + PROBES).map(move |slot| slot & mask)
    }

    /// Which word of the filter, and which two of its bits: a lookup costs one load.
    #[inline]
    fn filter_place(&self, weak: u32) -> (usize, [u64; 2]) {
        let hash = self.hash(weak);
        let bits = [u64::from(weak) & 63, hash >> 32 & 63];
        ((hash >> self.filter_shift) as usize, bits)
    }

    #[inline]
    fn hash(&self, weak: u32) -> u64 {
        u64::from(weak).wrapping_mul(self.multiplier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(weak: Vec<u32>, strong: Vec<u128>) -> Index {
        let len = BlockLen::new(512).unwrap();
        Index::new(
            512 * weak.len() as u64,
            len,
            Seed::new(1),
            weak,
            strong,
            None,
        )
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
        let index = index(vec![9; 10_000], (1..=10_000).collect());
        assert_eq!(index.with_weak(9).count(), PROBES);
        assert_eq!(index.find(9, 1), Some(0));
        assert_eq!(index.find(9, 10_000), None);
        assert_eq!(index.strong(9_999), Some(10_000));
    }

    #[test]
    fn equal_blocks_take_one_slot_and_the_first_is_found() {
        let index = index(vec![9; 10_000], vec![3; 10_000]);
        assert_eq!(index.with_weak(9).collect::<Vec<_>>(), [0]);
        assert!(index.suspects(9));
    }

    #[test]
    fn almost_all_blocks_with_sums_of_their_own_are_found() {
        let weak: Vec<u32> = (0..1 << 16)
            .map(|n: u32| n.wrapping_mul(0x9e37_79b1))
            .collect();
        let index = index(weak.clone(), (1..=1 << 16).collect());
        let found = weak
            .iter()
            .zip(1..)
            .filter(|&(&weak, sum)| index.find(weak, sum).is_some());
        assert!(found.count() > 65_500);
        let strange = (0..100_000).filter(|n: &u32| index.suspects(n.wrapping_mul(0x85eb_ca6b)));
        assert!(strange.count() < 100);
    }

    #[test]
    fn index_takes_about_32_bytes_a_block_at_its_largest() {
        let index = index((0..1 << 20).collect(), (1..=1 << 20).collect());
        let bytes = 4 * index.weak.capacity()
            + 16 * index.strong.capacity()
            + 4 * index.slots.len()
            + 8 * index.filter.len();
        assert_eq!(bytes, 32 << 20);
    }
}
