//! Finds blocks of a basis in new data.
//!
//! Four ways to find one, the cheapest first: behind a match, the next block is tried, by its strong
//! sum alone when that is long enough; where that differs, the few blocks behind it, as if blocks were rewritten in place; at
//! offsets that are multiples of the block length, the basis's block at the same offset; at every
//! other offset, the window's rolling sum is looked up.
//!
//! What a search costs is bounded whatever the data and the signature are: a byte costs one step of
//! the rolling sum and one lookup of at most 16 slots; a block length of data costs at most
//! 3 * ([`FALSE_ALARMS`] + [`REWRITTEN`]) sums of whole blocks, however much looks alike.

use std::cell::Cell;
use std::mem;

use crate::{BlockSum, Index, Rolling, weak};

/// A piece of a delta.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op<'a> {
    /// Bytes the basis has.
    Copy {
        /// Where they begin in the basis.
        basis_offset: u64,
        /// How many they are; copies that follow each other in new data and basis are one.
        len: u64,
    },
    /// Bytes to be sent.
    Literal(&'a [u8]),
}

/// A piece of a delta, block by block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// A block of the basis.
    Block {
        /// Which one.
        number: u64,
        /// What it has in it; short only for the last of the basis.
        bytes: &'a [u8],
    },
    /// Bytes to be sent.
    Literal(&'a [u8]),
}

/// Windows with the weak sum of a block and the strong sum of none, until the search goes on at the
/// next multiple of the block length.
///
/// By chance there is one in 2^12 bytes with 2^20 blocks, so about one a block.
const FALSE_ALARMS: usize = 8;

/// Blocks rewritten in place that are skipped without a search inside them: a database's page of
/// 16 KiB in blocks of 4 KiB, twice.
const REWRITTEN: usize = 8;

/// Steps of the rolling sum between two tests for the end of the data: a fifth of the time less.
const UNROLLED: usize = 8;

/// A search through one contiguous piece of a new file.
///
/// It is given the piece by [`feed`](Self::feed) in any split, holds back less than two blocks of it,
/// and ends with [`finish`](Self::finish). The operations, in order, make exactly the piece. Who wants
/// blocks one by one calls [`feed_blocks`](Self::feed_blocks) and
/// [`finish_blocks`](Self::finish_blocks) instead.
pub struct Search<'i> {
    index: &'i Index,
    /// Where in the new file the first byte lies that is not covered.
    offset: u64,
    /// The block that comes next if new data and basis go on alike.
    expected: Option<u64>,
    /// Bytes fed that are not covered; less than two blocks.
    unread: Vec<u8>,
    joined: Joined,
    matches: u64,
    false_alarms: Cell<u64>,
    /// Sums of whole blocks that were made: what a search costs besides its way through the data.
    #[cfg(test)]
    sums: Cell<usize>,
}

/// What a search came to, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Blocks that were found.
    pub matches: u64,
    /// Windows that have the weak sum of a block and the strong one of none.
    pub false_alarms: u64,
}

impl<'i> Search<'i> {
    /// Begins at an offset of the new file; the piece must end below 2^64.
    pub fn new(index: &'i Index, offset: u64) -> Self {
        let len = u64::from(index.block_len().get());
        Self {
            index,
            offset,
            expected: offset.is_multiple_of(len).then_some(offset / len),
            unread: Vec::new(),
            joined: Joined {
                block_len: len,
                copy: None,
            },
            matches: 0,
            false_alarms: Cell::default(),
            #[cfg(test)]
            sums: Cell::default(),
        }
    }

    /// Searches the next bytes of the piece.
    pub fn feed(&mut self, data: &[u8], emit: &mut impl FnMut(Op<'_>)) {
        let mut joined = self.joined;
        self.feed_blocks(data, &mut |piece| joined.push(piece, emit));
        self.joined = joined;
    }

    /// Ends the piece. The short last block of the basis is looked for at its very end only.
    pub fn finish(self, emit: &mut impl FnMut(Op<'_>)) {
        let mut joined = self.joined;
        self.finish_blocks(&mut |piece| joined.push(piece, emit));
        joined.end(emit);
    }

    /// Searches the next bytes of the piece, and gives blocks as they are found.
    pub fn feed_blocks(&mut self, mut data: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        let enough = 2 * self.block_len();
        // Windows that begin in what an earlier feed left are copied together; all others are read
        // where they are.
        while !self.unread.is_empty() && !data.is_empty() {
            let taken = data.len().min(enough - self.unread.len());
            self.unread.extend_from_slice(&data[..taken]);
            if self.unread.len() < enough {
                return;
            }
            let mut unread = mem::take(&mut self.unread);
            unread.drain(..self.read(&unread, emit));
            if unread.len() <= taken {
                data = &data[taken - unread.len()..];
                unread.clear();
            } else {
                data = &data[taken..];
            }
            self.unread = unread;
        }
        // Short pieces wait for more: a read begins with the sum of a whole window.
        let read = if data.len() < enough {
            0
        } else {
            self.read(data, emit)
        };
        self.unread.extend_from_slice(&data[read..]);
    }

    /// Ends the piece as [`finish`](Self::finish) does, and gives the blocks that it still finds.
    pub fn finish_blocks(mut self, emit: &mut impl FnMut(Piece<'_>)) -> Counts {
        let unread = mem::take(&mut self.unread);
        let rest = &unread[self.read(&unread, emit)..];
        match self.tail(rest) {
            None => self.literal(rest, emit),
            Some((before, block)) => {
                self.literal(&rest[..before], emit);
                self.block(block, &rest[before..], emit);
            }
        }
        Counts {
            matches: self.matches,
            false_alarms: self.false_alarms.get(),
        }
    }

    /// The short last block of the basis, if it is at the piece's end: how many bytes lie before it.
    fn tail(&self, rest: &[u8]) -> Option<(usize, u64)> {
        let (basis_offset, len, sums) = self.index.tail()?;
        let before = rest.len().checked_sub(len)?;
        let of_use = self
            .index
            .is_of_use(basis_offset, self.offset + before as u64);
        let found = of_use && self.has_sums(&rest[before..], sums);
        found.then_some((before, basis_offset / self.block_len() as u64))
    }

    /// Covers `data` with pieces and returns how far: up to less than a block from its end.
    fn read(&mut self, data: &[u8], emit: &mut impl FnMut(Piece<'_>)) -> usize {
        let len = self.block_len();
        let mut at = 0;
        while data.len() - at >= len {
            let (literal, found) = self.next_match(&data[at..]);
            self.literal(&data[at..at + literal], emit);
            at += literal;
            if let Some(block) = found {
                self.block(block, &data[at..at + len], emit);
                self.expected = Some(block + 1);
                at += len;
            }
        }
        at
    }

    /// The first match in `data`, which holds a block or more: how many bytes lie before it, and the
    /// block. Without a match, how many windows there are.
    fn next_match(&mut self, data: &[u8]) -> (usize, Option<u64>) {
        let len = self.block_len();
        if let Some(block) = self.expected.take() {
            if self.equals(block, &data[..len]) {
                return (0, Some(block));
            }
            if let Some((at, block)) = self.next_in_place(block, data) {
                return (at, Some(block));
            }
        }
        let windows = data.len() - len + 1;
        let mut at = 0;
        while at < windows {
            let past_multiple = ((self.offset + at as u64) % len as u64) as usize;
            let stop = windows.min(at + len - past_multiple);
            if let Some((at, block)) = self.roll(data, at, stop) {
                return (at, Some(block));
            }
            at = stop;
        }
        (windows, None)
    }

    /// The first match where `data` is the basis from `block` on, but for up to [`REWRITTEN`] blocks
    /// at its front. In those, other blocks are looked up at their beginnings only.
    fn next_in_place(&self, block: u64, data: &[u8]) -> Option<(usize, u64)> {
        let len = self.block_len();
        let windows = || data.chunks_exact(len).zip(block..).enumerate();
        let mut ahead = windows().skip(1).take(REWRITTEN);
        let (rewritten, _) = ahead.find(|&(_, (window, block))| self.equals(block, window))?;
        windows()
            .take(rewritten)
            .find_map(|(n, (window, _))| {
                Some((n * len, self.find(self.weak(window), data, n * len)?))
            })
            .or(Some((rewritten * len, block + rewritten as u64)))
    }

    /// The first match of a window that begins in `from..stop`, no further than to the next multiple
    /// of the block length. Gives up after [`FALSE_ALARMS`].
    fn roll(&self, data: &[u8], from: usize, stop: usize) -> Option<(usize, u64)> {
        let len = self.block_len();
        let mut at = from;
        let mut rolling = Rolling::new(&data[at..at + len]);
        if let Some(block) = self.same_place(rolling.value(), data, at) {
            return Some((at, block));
        }
        for _ in 0..FALSE_ALARMS {
            if let Some(block) = self.find(rolling.value(), data, at) {
                return Some((at, block));
            }
            let (leaving, entering) = (&data[at..stop - 1], &data[at + len..stop - 1 + len]);
            at += 1 + self.roll_to_suspect(&mut rolling, leaving, entering)?;
        }
        None
    }

    /// Rolls through windows until one has the weak sum of a block: after how many steps, less one.
    fn roll_to_suspect(&self, sum: &mut Rolling, leaving: &[u8], entering: &[u8]) -> Option<usize> {
        let hints = self.index.hints();
        let mut suspects = |leaving, entering| {
            sum.roll(leaving, entering);
            hints.may_have(sum.value()) && self.index.any_with_weak(sum.value())
        };
        let (leaving, leaving_rest) = leaving.as_chunks::<UNROLLED>();
        let (entering, entering_rest) = entering.as_chunks::<UNROLLED>();
        for (chunk, (leaving, entering)) in leaving.iter().zip(entering).enumerate() {
            for i in 0..UNROLLED {
                if suspects(leaving[i], entering[i]) {
                    return Some(chunk * UNROLLED + i);
                }
            }
        }
        let rest = leaving_rest
            .iter()
            .zip(entering_rest)
            .position(|(&l, &e)| suspects(l, e))?;
        Some(leaving.len() * UNROLLED + rest)
    }

    /// The basis's block at the offset of the window `at` bytes ahead, if it is equal.
    ///
    /// Preferred to its duplicates, and found where too many weak sums are alike.
    fn same_place(&self, weak: u32, data: &[u8], at: usize) -> Option<u64> {
        let (offset, len) = (self.offset + at as u64, self.block_len());
        if !offset.is_multiple_of(len as u64) {
            return None;
        }
        let block = offset / len as u64;
        let sums = self.index.sums(block).filter(|sums| sums.weak == weak)?;
        (self.strong(&data[at..at + len]) == sums.strong).then_some(block)
    }

    /// A block of use that is equal to the window `at` bytes ahead, by its weak sum.
    fn find(&self, weak: u32, data: &[u8], at: usize) -> Option<u64> {
        if !self.index.suspects(weak) {
            return None;
        }
        let len = self.block_len();
        let strong = self.strong(&data[at..at + len]);
        let Some(block) = self.index.find(BlockSum { weak, strong }) else {
            self.false_alarms.update(|n| n + 1);
            return None;
        };
        let of_use = self
            .index
            .is_of_use(block * len as u64, self.offset + at as u64);
        of_use.then_some(block)
    }

    fn equals(&self, block: u64, window: &[u8]) -> bool {
        let sums = self.index.sums(block);
        sums.is_some_and(|sums| self.has_sums(window, sums))
    }

    /// Whether the window has these sums; a strong one that is a proof is enough.
    fn has_sums(&self, window: &[u8], sums: BlockSum) -> bool {
        (self.index.strong_sum().is_proof() || self.weak(window) == sums.weak)
            && self.strong(window) == sums.strong
    }

    fn strong(&self, bytes: &[u8]) -> u128 {
        #[cfg(test)]
        self.sums.update(|n| n + 1);
        self.index.strong_sum().sum(bytes)
    }

    fn weak(&self, bytes: &[u8]) -> u32 {
        #[cfg(test)]
        self.sums.update(|n| n + 1);
        weak(bytes)
    }

    fn literal(&mut self, bytes: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        if !bytes.is_empty() {
            emit(Piece::Literal(bytes));
            self.offset += bytes.len() as u64;
        }
    }

    fn block(&mut self, number: u64, bytes: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        emit(Piece::Block { number, bytes });
        self.matches += 1;
        self.offset += bytes.len() as u64;
    }

    fn block_len(&self) -> usize {
        self.index.block_len().bytes()
    }
}

/// Joins blocks that follow each other to copies.
#[derive(Clone, Copy, Debug)]
struct Joined {
    block_len: u64,
    /// Offset in the basis and length of a copy that may still grow.
    copy: Option<(u64, u64)>,
}

impl Joined {
    fn push(&mut self, piece: Piece<'_>, emit: &mut impl FnMut(Op<'_>)) {
        match (piece, &mut self.copy) {
            (Piece::Literal(bytes), _) => {
                self.end(emit);
                emit(Op::Literal(bytes));
            }
            (Piece::Block { number, bytes }, Some((offset, len)))
                if *offset + *len == number * self.block_len =>
            {
                *len += bytes.len() as u64;
            }
            (Piece::Block { number, bytes }, _) => {
                self.end(emit);
                self.copy = Some((number * self.block_len, bytes.len() as u64));
            }
        }
    }

    fn end(&mut self, emit: &mut impl FnMut(Op<'_>)) {
        if let Some((basis_offset, len)) = self.copy.take() {
            emit(Op::Copy { basis_offset, len });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::{BlockLen, BlockSum, Checksum, Seed, Signature, StrongSum, patch};

    const SEED: Seed = Seed::new(7);
    const LEN: usize = 512;

    fn signature(basis: &[u8], len: u32) -> Signature {
        Signature::new(basis.len() as u64, BlockLen::new(len).unwrap(), SEED).unwrap()
    }

    fn index(basis: &[u8], len: u32) -> Index {
        signed(basis, len, SEED).build()
    }

    fn signed(basis: &[u8], len: u32, strong: impl Into<StrongSum> + Copy) -> Signature {
        let block_len = BlockLen::from_1(len).unwrap();
        let blocks = basis.chunks(len as usize);
        let sums: Vec<_> = blocks.map(|block| BlockSum::new(strong, block)).collect();
        let mut signature = Signature::new(basis.len() as u64, block_len, strong).unwrap();
        signature.push(0, &sums).unwrap();
        signature
    }

    /// Sums that are no proof: the first bytes of one.
    fn short(checksum: Checksum, len: usize) -> StrongSum {
        StrongSum::new(checksum, -7, true, len).unwrap()
    }

    /// What a search through one piece came to.
    #[derive(Debug, Default)]
    struct Delta {
        rebuilt: Vec<u8>,
        copies: Vec<(u64, u64)>,
        literal: usize,
        sums: usize,
    }

    fn delta<'a>(
        index: &Index,
        basis: &[u8],
        offset: u64,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Delta {
        let mut delta = Delta::default();
        let mut take = |op: Op<'_>| {
            patch::apply(basis, op, &mut delta.rebuilt).unwrap();
            match op {
                Op::Literal(bytes) => delta.literal += bytes.len(),
                Op::Copy { basis_offset, len } => delta.copies.push((basis_offset, len)),
            }
        };
        let mut search = Search::new(index, offset);
        for piece in pieces {
            search.feed(piece, &mut take);
            assert!(search.unread.len() < 2 * index.block_len().bytes());
        }
        let sums = search.sums.get();
        search.finish(&mut take);
        delta.sums = sums;
        delta
    }

    /// Bytes without any likeness: SplitMix64.
    fn random(seed: u64, len: usize) -> Vec<u8> {
        let words = (1..=len as u64 / 8 + 1).map(|n| {
            let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        });
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.truncate(len);
        bytes
    }

    fn pieces<'a>(mut data: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for &len in lens {
            let (piece, rest) = data.split_at(len.min(data.len()));
            pieces.push(piece);
            data = rest;
        }
        pieces.push(data);
        pieces
    }

    /// Data made of parts of few kinds, so that some of it lies in another file of its kind.
    fn data() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            (0..4_u64, 1..2000_usize).prop_map(|(seed, len)| random(seed, len)),
            (0..2_u8, 1..2000_usize).prop_map(|(byte, len)| vec![byte; len]),
            vec(any::<u8>(), 0..20),
        ];
        vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn delta_rebuilds_any_data_from_any_basis(
            basis in data(),
            new in data(),
            len in prop_oneof![Just(512_u32), 512..1500_u32],
            lens in vec(prop_oneof![0..5_usize, 0..3000_usize], 0..20),
            offset in prop_oneof![Just(0_u64), 0..3000_u64],
        ) {
            let delta = delta(&index(&basis, len), &basis, offset, pieces(&new, &lens));
            prop_assert_eq!(delta.rebuilt, new);
        }

        #[test]
        fn delta_by_short_sums_rebuilds_any_data_from_any_basis(
            basis in data(),
            new in data(),
            len in prop_oneof![1..20_u32, 1..1500_u32, Just(131_072_u32)],
            checksum in prop_oneof![Just(Checksum::Xxh128), Just(Checksum::Md5), Just(Checksum::Sha1)],
            strong in 4..=16_usize,
            lens in vec(prop_oneof![0..5_usize, 0..3000_usize], 0..20),
        ) {
            let index = signed(&basis, len, short(checksum, strong)).build();
            let delta = delta(&index, &basis, 0, pieces(&new, &lens));
            prop_assert_eq!(delta.rebuilt, new);
        }

        #[test]
        fn delta_in_place_rebuilds_data_within_its_basis(
            mut basis in data(),
            new in data(),
            len in prop_oneof![1..20_u32, 1..1500_u32],
            lens in vec(prop_oneof![0..5_usize, 0..3000_usize], 0..20),
        ) {
            let index = signed(&basis, len, short(Checksum::Xxh64, 8)).build_in_place();
            let mut at = 0;
            basis.resize(basis.len().max(new.len()), 0);
            let mut write = |op: Op<'_>| match op {
                Op::Literal(bytes) => {
                    basis[at..at + bytes.len()].copy_from_slice(bytes);
                    at += bytes.len();
                }
                Op::Copy { basis_offset, len } => {
                    let from = basis_offset as usize;
                    assert!(from >= at);
                    basis.copy_within(from..from + len as usize, at);
                    at += len as usize;
                }
            };
            let mut search = Search::new(&index, 0);
            pieces(&new, &lens).into_iter().for_each(|piece| search.feed(piece, &mut write));
            search.finish(&mut write);
            prop_assert_eq!(&basis[..at], &new[..]);
        }

        #[test]
        fn blocks_come_one_by_one_with_their_bytes(basis in data(), new in data(), len in 1..1500_u32) {
            let index = signed(&basis, len, SEED).build();
            let mut rebuilt = Vec::new();
            let mut take = |piece: Piece<'_>| match piece {
                Piece::Literal(bytes) => rebuilt.extend_from_slice(bytes),
                Piece::Block { number, bytes } => {
                    assert_eq!(basis.chunks(len as usize).nth(number as usize), Some(bytes));
                    rebuilt.extend_from_slice(bytes);
                }
            };
            let mut search = Search::new(&index, 0);
            search.feed_blocks(&new, &mut take);
            search.finish_blocks(&mut take);
            prop_assert_eq!(rebuilt, new);
        }

        #[test]
        fn delta_rebuilds_data_when_sums_are_missing(basis in data(), new in data(), given: Vec<bool>) {
            let mut signature = signature(&basis, 512);
            for ((n, block), &given) in basis.chunks(LEN).enumerate().zip(&given) {
                if given {
                    signature.push(n as u32, &[BlockSum::new(SEED, block)]).unwrap();
                }
            }
            let delta = delta(&signature.build(), &basis, 0, [&new[..]]);
            for (offset, len) in delta.copies {
                let blocks = offset as usize / LEN..(offset + len) as usize / LEN;
                prop_assert!(given[blocks].iter().all(|&given| given));
            }
            prop_assert_eq!(delta.rebuilt, new);
        }

        #[test]
        fn delta_of_unchanged_data_is_one_copy(basis in data(), lens in vec(0..3000_usize, 0..20)) {
            let delta = delta(&index(&basis, 512), &basis, 0, pieces(&basis, &lens));
            let whole = (0, basis.len() as u64);
            prop_assert_eq!(delta.copies, if basis.is_empty() { vec![] } else { vec![whole] });
        }

        #[test]
        fn delta_of_an_insertion_is_the_insertion_and_one_copy(
            inserted in vec(any::<u8>(), 1..LEN),
            len in 4 * LEN..40 * LEN,
            lens in vec(0..3000_usize, 0..20),
        ) {
            let basis = random(1, len);
            let new = [&inserted[..], &basis].concat();
            let delta = delta(&index(&basis, 512), &basis, 0, pieces(&new, &lens));
            prop_assert_eq!(delta.copies, [(0, len as u64)]);
            prop_assert_eq!(delta.literal, inserted.len());
        }
    }

    #[test]
    fn delta_of_blocks_rewritten_in_place_is_those_blocks() {
        let basis = random(1, 40 * LEN);
        for rewritten in [1, 4, REWRITTEN, REWRITTEN + 1] {
            let (from, to) = (7 * LEN, (7 + rewritten) * LEN);
            let mut new = basis.clone();
            new[from..to].copy_from_slice(&random(2, to - from));
            let delta = delta(&index(&basis, 512), &basis, 0, [&new[..]]);
            let end = new.len() as u64 - to as u64;
            assert_eq!(delta.copies, [(0, from as u64), (to as u64, end)]);
            assert_eq!(delta.literal, to - from);
            assert!(delta.sums <= 60, "{}", delta.sums);
        }
    }

    #[test]
    fn blocks_that_changed_places_are_found() {
        let basis = random(1, 40 * LEN);
        let mut new = basis.clone();
        new[7 * LEN..8 * LEN].copy_from_slice(&basis[20 * LEN..21 * LEN]);
        new[20 * LEN..21 * LEN].copy_from_slice(&basis[7 * LEN..8 * LEN]);
        let delta = delta(&index(&basis, 512), &basis, 0, [&new[..]]);
        assert_eq!(delta.literal, 0);
        assert_eq!(delta.copies.len(), 5);
    }

    #[test]
    fn piece_from_the_middle_is_matched_at_its_own_offset_before_a_duplicate() {
        let basis = vec![5; 40 * LEN];
        let (from, to) = (10 * LEN, 20 * LEN);
        for late in [0, 100] {
            let from = from + late;
            let delta = delta(&index(&basis, 512), &basis, from as u64, [&basis[from..to]]);
            assert_eq!(delta.rebuilt, &basis[from..to]);
            assert_eq!(delta.copies[0].0 as usize, if late == 0 { from } else { 0 });
        }
    }

    #[test]
    fn short_last_block_matches_only_at_the_end_of_new_data() {
        let basis = random(1, 2 * LEN + 100);
        let index = index(&basis, 512);
        let new = [&b"new"[..], &basis[2 * LEN..]].concat();
        let at_end = delta(&index, &basis, 0, [&new[..]]);
        assert_eq!((at_end.copies, at_end.literal), (vec![(2 * 512, 100)], 3));
        let new = [&new[..], b"x"].concat();
        assert_eq!(delta(&index, &basis, 0, [&new[..]]).literal, new.len());
    }

    #[test]
    fn strong_sums_that_are_no_proof_match_nothing_alone() {
        // One byte of a strong sum is that of another block 1 time in 256.
        let (basis, new) = (random(1, 5000 * LEN + 100), random(2, 5000 * LEN + 100));
        let index = signed(&basis, 512, short(Checksum::Xxh128, 1)).build();
        assert_eq!(delta(&index, &basis, 0, [&new[..]]).literal, new.len());
    }

    #[test]
    fn weak_sums_match_nothing_alone() {
        // Swapped in this way, bytes have the same rolling sum.
        let (mut basis, mut new) = (random(1, 100 * LEN), random(1, 100 * LEN));
        for (old, new) in basis.chunks_mut(LEN).zip(new.chunks_mut(LEN)) {
            old[..4].copy_from_slice(&[0, 1, 1, 0]);
            new[..4].copy_from_slice(&[1, 0, 0, 1]);
            assert_eq!(weak(old), weak(new));
        }
        for index in [
            index(&basis, 512),
            signed(&basis, 512, short(Checksum::Md5, 16)).build(),
        ] {
            assert_eq!(delta(&index, &basis, 0, [&new[..]]).literal, new.len());
        }
    }

    #[test]
    fn blocks_beyond_those_that_are_searched_are_found_where_they_were() {
        let many = (1 << 22) + 8;
        let strong = short(Checksum::Xxh3, 2);
        let last = random(1, 16);
        let mut signature =
            Signature::of_first(16 * many, BlockLen::from_1(16).unwrap(), strong, u32::MAX);
        let sums = (0..many - 1).map(|n| BlockSum {
            weak: n as u32,
            strong: 1,
        });
        signature.push(0, &sums.collect::<Vec<_>>()).unwrap();
        signature
            .push(many as u32 - 1, &[BlockSum::new(strong, &last)])
            .unwrap();
        let index = signature.build();
        for (offset, found) in [
            (16 * (many - 1), true),
            (16 * (many - 2), false),
            (0, false),
        ] {
            let mut blocks = 0;
            let mut search = Search::new(&index, offset);
            let mut count = |piece: Piece<'_>| {
                blocks += usize::from(matches!(piece, Piece::Block { .. }));
            };
            search.feed_blocks(&last, &mut count);
            search.finish_blocks(&mut count);
            assert_eq!(blocks == 1, found, "{offset}");
        }
    }

    #[test]
    fn in_place_the_last_of_equal_blocks_is_of_use_the_longest() {
        // All blocks are alike, and all move towards the end by 100 bytes.
        let basis = vec![5; 40 * LEN];
        let new = [&random(1, 100)[..], &basis].concat();
        let index = signed(&basis, 512, short(Checksum::Xxh3, 2)).build_in_place();
        let delta = delta(&index, &basis, 0, [&new[..]]);
        assert!(delta.literal <= 100 + 2 * LEN, "{}", delta.literal);
    }

    #[test]
    fn in_place_what_moves_towards_the_front_is_copied_and_what_moves_back_is_not() {
        let basis = random(1, 40 * LEN);
        let index = signed(&basis, 512, short(Checksum::Xxh3, 4)).build_in_place();
        let forward = delta(&index, &basis, 0, [&basis[3 * LEN..]]);
        assert_eq!(forward.copies, [(3 * 512, 37 * 512)]);
        let new = [&random(2, 10)[..], &basis].concat();
        assert_eq!(delta(&index, &basis, 0, [&new[..]]).literal, new.len());
    }

    #[test]
    fn cost_stays_bounded_when_all_weak_sums_are_alike() {
        let new = vec![0; 64 * LEN];
        let basis = random(1, new.len());
        for (len, in_place) in [(2, false), (2, true), (16, false)] {
            // A hostile signature: the weak sum of all windows to come, and strong sums of none.
            let sums = (1..=64).map(|strong| BlockSum { weak: 0, strong });
            let strong = short(Checksum::Md5, len);
            let length = BlockLen::from_1(512).unwrap();
            let mut signature = Signature::new(basis.len() as u64, length, strong).unwrap();
            signature.push(0, &sums.collect::<Vec<_>>()).unwrap();
            let index = if in_place {
                signature.build_in_place()
            } else {
                signature.build()
            };
            let delta = delta(&index, &basis, 0, new.chunks(8 * LEN));
            assert_eq!(delta.literal, new.len());
            assert_bounded(&delta);
        }
    }

    #[test]
    fn cost_stays_bounded_when_every_window_is_a_false_alarm() {
        let new = random(3, 64 * LEN);
        let rolled: Vec<u32> = new.windows(LEN).map(crate::weak).collect();
        // A hostile signature: the weak sums of the very data to come, and strong sums of none.
        let sums: Vec<_> = rolled
            .iter()
            .zip(1..)
            .map(|(&weak, strong)| BlockSum { weak, strong })
            .collect();
        let basis = vec![0; sums.len() * LEN];
        let mut signature = signature(&basis, 512);
        signature.push(0, &sums).unwrap();
        let delta = delta(&signature.build(), &basis, 0, new.chunks(8 * LEN));
        assert_eq!(delta.rebuilt, new);
        assert_bounded(&delta);
    }

    #[test]
    fn blocks_found_and_windows_that_only_looked_like_one_are_counted() {
        let basis = random(1, 10 * LEN + 7);
        let index = index(&basis, 512);
        let new = [&basis[LEN..4 * LEN], b"strange", &basis[9 * LEN..]].concat();
        let counts = searched(&index, &new);
        assert_eq!((counts.matches, counts.false_alarms), (5, 0));

        // One more, two less, one more: both halves of the weak sum stay what they were.
        let block_with = |middle: [u8; 3]| {
            let mut block = random(3, LEN);
            block[100..103].copy_from_slice(&middle);
            block
        };
        let index = self::index(&block_with([10, 20, 30]), 512);
        let counts = searched(&index, &block_with([11, 18, 31]));
        assert_eq!((counts.matches, counts.false_alarms), (0, 1));
    }

    fn searched(index: &Index, new: &[u8]) -> Counts {
        let mut search = Search::new(index, 0);
        search.feed_blocks(new, &mut |_| ());
        search.finish_blocks(&mut |_| ())
    }

    #[test]
    fn cost_stays_bounded_in_place_when_all_that_is_found_is_of_no_use() {
        let basis = random(1, 64 * LEN);
        let new = [b"x", &basis[..]].concat();
        let index = signed(&basis, 512, short(Checksum::Xxh128, 2)).build_in_place();
        let delta = delta(&index, &basis, 0, new.chunks(8 * LEN));
        assert_eq!(delta.literal, new.len());
        assert_bounded(&delta);
    }

    #[test]
    fn cost_stays_bounded_in_periodic_data_that_never_quite_matches() {
        let zeros = vec![0; 64 * LEN];
        for period in [1, 2, 3, 255, 511, 512, 513] {
            let wave = |shift: usize, len| -> Vec<u8> {
                (0..len)
                    .map(|i| (i + shift).is_multiple_of(period).into())
                    .collect()
            };
            let basis = [wave(0, 32 * LEN), zeros.clone(), wave(1, 31 * LEN + 7)].concat();
            for new in [zeros.clone(), vec![1; 64 * LEN], wave(period / 2, 64 * LEN)] {
                for strong in [SEED.into(), short(Checksum::Xxh128, 2)] {
                    let index = signed(&basis, 512, strong).build();
                    let delta = delta(&index, &basis, 0, new.chunks(1000));
                    assert_eq!(delta.rebuilt, new);
                    assert_bounded(&delta);
                }
            }
        }
    }

    fn assert_bounded(delta: &Delta) {
        let blocks = delta.rebuilt.len().div_ceil(LEN);
        let sums = delta.sums;
        assert!(
            sums <= 3 * (FALSE_ALARMS + REWRITTEN) * blocks,
            "{sums} sums for {blocks} blocks"
        );
    }
}
