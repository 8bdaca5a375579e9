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
    /// Expects the sums of the blocks that `head` announced. Of more than `max_blocks` the first are
    /// kept, the others cannot be matched.
    pub fn new(head: SumHead, strong: Option<StrongSum>, max_blocks: u32) -> Self {
        let len = BlockLen::from_1(head.block_len());
        let signature = len.zip(strong).map(|(len, strong)| {
            Signature::of_first(head.basis_len(), len, strong, max_blocks.min(head.count()))
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
