//! What a basis has: the head that describes its blocks, and their sums.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::ops::Range;

use barge_delta::{BlockLen, BlockSum, Checksum, Signature, StrongSum};
use bytes::{Buf, BufMut, BytesMut};

use crate::WireError;

/// The longest block, in bytes.
pub const MAX_BLOCK_LEN: u32 = 1 << 17;

/// Bytes of a basis below which its blocks have the least length.
const MIN_BLOCK_LEN: u32 = 700;

/// Shorter blocks are not searched for: to name one takes 4 bytes, and to compare it more.
const MIN_SEARCHED: u32 = 16;

/// How a basis is cut into blocks: checked, so that all offsets in it fit 63 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SumHead {
    count: u32,
    block_len: u32,
    strong_len: u8,
    remainder: u32,
}

impl SumHead {
    /// Bytes on the wire.
    pub const LEN: usize = 16;

    /// No basis: the whole file is asked for.
    pub const NONE: Self = Self {
        count: 0,
        block_len: 0,
        strong_len: 0,
        remainder: 0,
    };

    /// The head for a basis of `len` bytes. [`NONE`](Self::NONE) when it is empty, has too many
    /// blocks to be counted, or there is no checksum to compare by. `block_len` is what the user
    /// wants; in the redo phase sums are as long as can be.
    pub fn for_basis(len: u64, block_len: Option<u32>, checksum: Checksum, redo: bool) -> Self {
        let block_len = match block_len {
            Some(wanted) => wanted.clamp(1, MAX_BLOCK_LEN),
            None => block_len_for(len),
        };
        let count = len.div_ceil(u64::from(block_len));
        if len == 0 || count > i32::MAX as u64 || checksum == Checksum::None {
            return Self::NONE;
        }
        Self {
            count: count as u32,
            block_len,
            strong_len: strong_len_for(len, block_len, checksum, redo),
            remainder: (len % u64::from(block_len)) as u32,
        }
    }

    /// Takes a head off the wire.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when its numbers are out of bounds.
    pub fn decode(head: &[u8; Self::LEN], checksum: Checksum) -> Result<Self, WireError> {
        let mut head = &head[..];
        let mut number =
            |name| u32::try_from(head.get_i32_le()).map_err(|_| WireError::Protocol(name));
        let count = number("a negative number of blocks")?;
        let block_len = number("a negative block length")?;
        let strong_len = number("a negative length of strong sums")?;
        let remainder = number("a negative length of the last block")?;
        if block_len > MAX_BLOCK_LEN || (block_len == 0 && count > 0) {
            return Err(WireError::Protocol("a block length out of bounds"));
        }
        if strong_len as usize > checksum.digest_len() {
            return Err(WireError::Protocol("strong sums longer than the checksum"));
        }
        if remainder > block_len {
            return Err(WireError::Protocol("a last block longer than the others"));
        }
        Ok(Self {
            count,
            block_len,
            strong_len: strong_len as u8,
            remainder,
        })
    }

    /// Writes the head.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.count);
        out.put_u32_le(self.block_len);
        out.put_u32_le(self.strong_len.into());
        out.put_u32_le(self.remainder);
    }

    /// Blocks of the basis; at most 2^31 - 1.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes in a block but the last; 0 only without blocks.
    pub fn block_len(&self) -> u32 {
        self.block_len
    }

    /// Bytes of each strong sum on the wire.
    pub fn strong_len(&self) -> usize {
        self.strong_len.into()
    }

    /// Bytes in the basis.
    pub fn basis_len(&self) -> u64 {
        let missing = match self.remainder {
            0 => 0,
            remainder => self.block_len - remainder,
        };
        let whole = u64::from(self.count) * u64::from(self.block_len);
        whole.saturating_sub(missing.into())
    }

    /// Where blocks lie in the basis; `None` when it has not as many.
    pub fn blocks(&self, first: u32, count: u32) -> Option<Range<u64>> {
        let end = first.checked_add(count).filter(|&end| end <= self.count)?;
        let offset = |block| (u64::from(block) * u64::from(self.block_len)).min(self.basis_len());
        Some(offset(first)..offset(end))
    }

    /// How the strong sums are made; `None` when there are none to compare by.
    pub fn strong_sum(&self, checksum: Checksum, seed: i32, seed_first: bool) -> Option<StrongSum> {
        StrongSum::new(checksum, seed, seed_first, self.strong_len())
    }

    /// Appends the sums of blocks that follow each other in a basis, all whole but for the last of the
    /// basis.
    pub fn encode_sums(&self, strong: StrongSum, blocks: &[u8], out: &mut BytesMut) {
        if self.count == 0 {
            return;
        }
        for block in blocks.chunks(self.block_len as usize) {
            let sum = BlockSum::new(strong, block);
            out.put_u32_le(sum.weak);
            out.put_slice(&sum.strong.to_le_bytes()[..self.strong_len()]);
        }
    }
}

/// The block length for a basis of `len` bytes.
fn block_len_for(len: u64) -> u32 {
    let root = len.isqrt() / 8 * 8;
    root.clamp(MIN_BLOCK_LEN.into(), MAX_BLOCK_LEN.into()) as u32
}

/// Bytes of strong sums for a basis of `len` bytes, 1 or more: so many that by chance no block is
/// taken for another.
fn strong_len_for(len: u64, block_len: u32, checksum: Checksum, redo: bool) -> u8 {
    let most = checksum.digest_len().min(StrongSum::MAX_LEN) as i64;
    if redo {
        return most as u8;
    }
    let bits = 10 + 2 * i64::from(len.ilog2()) - i64::from(block_len.ilog2());
    ((bits + 1 - 32 + 7) / 8).clamp(2, most) as u8
}

/// Takes block sums off the wire as they come.
pub struct SumsDecoder {
    head: SumHead,
    /// Blocks whose sums are still to come.
    left: u32,
    signature: Option<Signature>,
}

impl SumsDecoder {
    /// Expects the sums of the blocks that `head` announced. The first that take `max_bytes` are kept,
    /// the others cannot be matched; to search for them takes up to 48 MiB more.
    pub fn new(head: SumHead, strong: Option<StrongSum>, max_bytes: usize) -> Self {
        let len = BlockLen::from_1(head.block_len()).filter(|len| len.get() >= MIN_SEARCHED);
        let signature = len.zip(strong).map(|(len, strong)| {
            let kept = u32::try_from(max_bytes / (4 + strong.bytes()))
                .map_or(head.count(), |kept| kept.min(head.count()));
            Signature::of_first(head.basis_len(), len, strong, kept)
        });
        Self {
            head,
            left: head.count(),
            signature,
        }
    }

    /// Takes what there is off `input`; whether all sums have come.
    pub fn poll(&mut self, input: &mut BytesMut) -> bool {
        let sum_len = 4 + self.head.strong_len();
        let come = (input.len() / sum_len).min(self.left as usize);
        let wire = input.split_to(come * sum_len);
        let first = self.head.count() - self.left;
        self.left -= come as u32;
        if let Some(signature) = &mut self.signature {
            let kept = (signature.room() as usize).min(come);
            let sums: Vec<_> = wire.chunks_exact(sum_len).take(kept).map(sum).collect();
            signature
                .push(first, &sums)
                .expect("sums follow each other, and no more are kept than there is room for");
        }
        self.left == 0
    }

    /// The sums; `None` when there are none to compare by.
    pub fn finish(self) -> Option<Signature> {
        self.signature
    }
}

fn sum(wire: &[u8]) -> BlockSum {
    let (weak, strong) = wire.split_at(4);
    let mut padded = [0; StrongSum::MAX_LEN];
    let len = strong.len().min(padded.len());
    padded[..len].copy_from_slice(&strong[..len]);
    BlockSum {
        weak: u32::from_le_bytes(weak.try_into().expect("a weak sum has 4 bytes")),
        strong: u128::from_le_bytes(padded),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const XXH: Checksum = Checksum::Xxh128;
    const ALL: usize = usize::MAX;

    fn wire(numbers: [i32; 4]) -> [u8; SumHead::LEN] {
        let mut wire = [0; SumHead::LEN];
        for (to, number) in wire.chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        wire
    }

    #[test]
    fn head_for_a_basis_is_that_of_a_stock_generator() {
        for (len, block_len, strong_len, count, remainder) in [
            (700, 700, 2, 1, 0),
            (4904, 700, 2, 8, 4),
            (140_000, 700, 2, 200, 0),
            (490_001, 700, 2, 701, 1),
            (1_000_000, 1000, 2, 1000, 0),
            (10_000_000, 3160, 2, 3165, 1760),
            (100_000_000, 10_000, 3, 10_000, 0),
            (10_000_000_000, 100_000, 4, 100_000, 0),
            (100_000_000_000, 131_072, 5, 762_940, 59_392),
            (50_000_000_000_000, 131_072, 7, 381_469_727, 73_728),
        ] {
            let head = SumHead::for_basis(len, None, XXH, false);
            let mut out = BytesMut::new();
            head.encode(&mut out);
            assert_eq!(
                out[..],
                wire([count, block_len, strong_len, remainder]),
                "{len}"
            );
            assert_eq!(head.basis_len(), len);
        }
    }

    #[test]
    fn redo_has_sums_as_long_as_can_be() {
        for (checksum, redo) in [(XXH, 16), (Checksum::Xxh3, 8), (Checksum::Sha1, 16)] {
            assert_eq!(
                SumHead::for_basis(5000, None, checksum, true).strong_len(),
                redo
            );
            assert_eq!(
                SumHead::for_basis(5000, None, checksum, false).strong_len(),
                2
            );
        }
    }

    #[test]
    fn head_has_the_wanted_block_length_as_far_as_the_protocol_has_it() {
        for (wanted, block_len) in [(1, 1), (0, 1), (5000, 5000), (200_000, 131_072)] {
            let head = SumHead::for_basis(1 << 20, Some(wanted), XXH, false);
            assert_eq!(head.block_len(), block_len);
        }
    }

    #[test]
    fn basis_that_cannot_be_described_is_none() {
        for (len, block_len, checksum) in [
            (0, None, XXH),
            (1 << 31, Some(1), XXH),
            (u64::MAX, None, XXH),
            (5000, None, Checksum::None),
        ] {
            let head = SumHead::for_basis(len, block_len, checksum, false);
            assert_eq!(head, SumHead::NONE);
        }
        let mut out = BytesMut::new();
        SumHead::NONE.encode(&mut out);
        assert_eq!(out[..], [0; 16]);
    }

    #[test]
    fn head_out_of_bounds_is_refused() {
        for (numbers, fits) in [
            ([0, 0, 0, 0], true),
            ([1, 700, 2, 700], true),
            ([i32::MAX, 131_072, 16, 131_072], true),
            ([0, 131_072, 16, 5], true),
            ([-1, 700, 2, 0], false),
            ([1, -700, 2, 0], false),
            ([1, 700, -2, 0], false),
            ([1, 700, 2, -1], false),
            ([1, 0, 2, 0], false),
            ([1, 131_073, 2, 0], false),
            ([1, 700, 17, 0], false),
            ([1, 700, i32::MAX, 0], false),
            ([1, 700, 258, 0], false),
            ([1, 700, 2, 701], false),
            ([0, 0, 0, 1], false),
        ] {
            let head = SumHead::decode(&wire(numbers), XXH);
            assert_eq!(head.is_ok(), fits, "{numbers:?}");
        }
        for (checksum, longest) in [
            (Checksum::Xxh64, 8),
            (Checksum::Sha1, 20),
            (Checksum::None, 1),
        ] {
            assert!(SumHead::decode(&wire([1, 700, longest, 0]), checksum).is_ok());
            assert!(SumHead::decode(&wire([1, 700, longest + 1, 0]), checksum).is_err());
        }
    }

    #[test]
    fn blocks_lie_within_the_basis() {
        let head = SumHead::decode(&wire([3, 700, 2, 50]), XXH).unwrap();
        assert_eq!(head.basis_len(), 1450);
        for (first, count, range) in [
            (0, 1, Some(0..700)),
            (1, 2, Some(700..1450)),
            (2, 1, Some(1400..1450)),
            (3, 1, None),
            (2, 2, None),
            (u32::MAX, 1, None),
            (1, u32::MAX, None),
        ] {
            assert_eq!(head.blocks(first, count), range, "{first} {count}");
        }
    }

    #[test]
    fn sums_are_written_weak_first_and_cut() {
        let head = SumHead::for_basis(12, Some(700), XXH, false);
        let strong = head.strong_sum(XXH, 0, true).unwrap();
        let mut out = BytesMut::new();
        head.encode_sums(strong, b"hello world\n", &mut out);
        assert_eq!(out[..], [0x66, 0x04, 0x66, 0x1e, 0x25, 0x44]);
        SumHead::NONE.encode_sums(strong, b"", &mut out);
        assert_eq!(out.len(), 6);
    }

    fn decode(head: SumHead, strong: Option<StrongSum>, max: usize, wire: &[u8]) -> SumsDecoder {
        let mut decoder = SumsDecoder::new(head, strong, max);
        let mut input = BytesMut::from(wire);
        assert!(decoder.poll(&mut input));
        assert!(input.is_empty());
        decoder
    }

    #[test]
    fn sums_beyond_the_limit_are_read_and_dropped() {
        let basis = vec![7; 100 * 700];
        let head = SumHead::for_basis(basis.len() as u64, None, XXH, false);
        let strong = head.strong_sum(XXH, 5, true);
        let mut out = BytesMut::new();
        head.encode_sums(strong.unwrap(), &basis, &mut out);
        let decoder = decode(head, strong, 60, &out);
        let index = decoder.finish().unwrap().build();
        assert!(index.is_block_at(9 * 700, &basis[..700]));
        assert!(!index.is_block_at(10 * 700, &basis[..700]));
    }

    #[test]
    fn sums_that_compare_nothing_are_read_and_dropped() {
        for (numbers, checksum) in [
            ([100, 700, 0, 0], XXH),
            ([100, 700, 1, 0], Checksum::None),
            ([100, 15, 2, 0], XXH),
        ] {
            let head = SumHead::decode(&wire(numbers), checksum).unwrap();
            let strong = head.strong_sum(checksum, 5, true);
            let sums = vec![0; 100 * (4 + head.strong_len())];
            assert!(
                decode(head, strong, ALL, &sums).finish().is_none(),
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn sums_take_no_memory_before_they_come() {
        let head = SumHead::decode(&wire([i32::MAX, 131_072, 16, 0]), XXH).unwrap();
        let mut decoder = SumsDecoder::new(head, head.strong_sum(XXH, 5, true), ALL);
        let mut input = BytesMut::zeroed(2 * 20 + 19);
        assert!(!decoder.poll(&mut input));
        assert_eq!((decoder.left, input.len()), (i32::MAX as u32 - 2, 19));
    }

    proptest! {
        #[test]
        fn sums_come_back_as_they_went_however_cut(
            len in 1..20_000_u64,
            block_len in 16..3000_u32,
            sha1: bool,
            redo: bool,
            cuts in prop::collection::vec(0..50_usize, 0..20),
        ) {
            let checksum = if sha1 { Checksum::Sha1 } else { XXH };
            let basis: Vec<u8> = (0..len).map(|n| ((n * n) >> 7) as u8).collect();
            let head = SumHead::for_basis(len, Some(block_len), checksum, redo);
            let strong = head.strong_sum(checksum, -9, true);
            let mut out = BytesMut::new();
            head.encode_sums(strong.unwrap(), &basis, &mut out);
            let mut decoder = SumsDecoder::new(head, strong, ALL);
            let mut input = BytesMut::new();
            for cut in cuts {
                input.unsplit(out.split_to(cut.min(out.len())));
                let done = decoder.poll(&mut input);
                prop_assert_eq!(done, out.is_empty() && input.is_empty());
            }
            input.unsplit(out);
            input.extend_from_slice(b"next");
            prop_assert!(decoder.poll(&mut input));
            prop_assert_eq!(&input[..], b"next");
            let index = decoder.finish().unwrap().build();
            for (n, block) in basis.chunks(block_len as usize).enumerate() {
                prop_assert!(index.is_block_at(n as u64 * u64::from(block_len), block));
            }
        }
    }
}
