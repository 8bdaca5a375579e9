//! The strong sums of blocks, and the wide sum of blocks, ranges and files: XXH3, 128 bits, seeded.
//!
//! Source: the xxHash specification, `doc/xxhash_spec.md`, "XXH3 Algorithm Overview".

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::Checksum;
use crate::checksum::SeededChecksum;

/// How the strong sums of a signature are made: all of the wide sum, or the first bytes of a
/// checksum that is seeded as rsync does.
#[derive(Clone, Copy)]
pub struct StrongSum {
    kind: Kind,
    /// 1 to 16.
    len: u8,
}

#[derive(Clone, Copy)]
enum Kind {
    Wide(Seed),
    Checksum(SeededChecksum),
}

impl StrongSum {
    /// Bytes of a sum at most; longer ones are cut.
    pub const MAX_LEN: usize = 16;

    /// The first `len` bytes of a checksum, of which [`MAX_LEN`](Self::MAX_LEN) are compared; `None`
    /// when it has not as many, `len` is 0, or there is no checksum. A seed of 0 is none. `seed_first` is for MD5 alone.
    pub fn new(checksum: Checksum, seed: i32, seed_first: bool, len: usize) -> Option<Self> {
        let kind = Kind::Checksum(SeededChecksum {
            checksum,
            seed,
            seed_first,
        });
        let len_fits = checksum != Checksum::None && (1..=checksum.digest_len()).contains(&len);
        let len = len.min(Self::MAX_LEN) as u8;
        len_fits.then_some(Self { kind, len })
    }

    /// The sum of a block: its bytes, the first the least, and zeros behind them.
    pub fn sum(self, block: &[u8]) -> u128 {
        self.uncut(block) & self.mask()
    }

    /// Bytes in a sum, 1 to [`MAX_LEN`](Self::MAX_LEN).
    pub fn bytes(self) -> usize {
        usize::from(self.len)
    }

    /// Whether blocks of equal sums are equal, whatever their weak sums are.
    pub(crate) fn is_proof(self) -> bool {
        self.bytes() == Self::MAX_LEN
    }

    /// An odd number, not to be guessed without the seed.
    pub(crate) fn multiplier(self) -> u64 {
        self.uncut(b"slots") as u64 | 1
    }

    fn uncut(self, block: &[u8]) -> u128 {
        match self.kind {
            Kind::Wide(seed) => strong(seed, block),
            Kind::Checksum(checksum) => checksum.sum(block),
        }
    }

    /// What a sum's bytes fill.
    pub(crate) fn mask(self) -> u128 {
        u128::MAX >> (8 * (Self::MAX_LEN - self.bytes()))
    }
}

impl From<Seed> for StrongSum {
    fn from(seed: Seed) -> Self {
        let (kind, len) = (Kind::Wide(seed), Self::MAX_LEN as u8);
        Self { kind, len }
    }
}

/// Keeps the seed out of logs.
impl fmt::Debug for StrongSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Wide(_) => "wide",
            Kind::Checksum(seeded) => seeded.checksum.name(),
        };
        write!(f, "StrongSum({name}, {})", self.len)
    }
}

/// The seed of a session's wide sums: random, and known to both ends alone.
///
/// Who writes into a volume may choose content, but cannot aim at a collision without the seed.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Seed(u64);

impl Seed {
    /// Takes 64 bits from a secure random source, or from the peer that did.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The 64 bits, as they cross the wire.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Keeps the secret out of logs.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(_)")
    }
}

/// The wide sum of bytes that are at hand.
pub fn strong(seed: Seed, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, seed.0)
}

/// The wide sum of bytes that come in pieces.
#[derive(Clone)]
pub struct Digest(Xxh3);

impl Digest {
    /// The sum of nothing yet.
    pub fn new(seed: Seed) -> Self {
        Self(Xxh3::with_seed(seed.0))
    }

    /// Takes the next bytes; any split is fine.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum: [`strong`] of all bytes taken.
    pub fn finish(&self) -> u128 {
        self.0.digest128()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strong_sum_of_nothing_is_the_published_one() {
        let empty = strong(Seed::new(0), b"");
        assert_eq!(empty, 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }

    #[test]
    fn seed_changes_the_sum_and_stays_out_of_logs() {
        let (a, b) = (Seed::new(1), Seed::new(2));
        assert_ne!(strong(a, &[0; 4096]), strong(b, &[0; 4096]));
        assert_eq!(format!("{a:?}"), "Seed(_)");
    }

    proptest! {
        #[test]
        fn digest_is_indifferent_to_where_the_bytes_are_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            cut: proptest::sample::Index,
            seed: u64,
        ) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut digest = Digest::new(Seed::new(seed));
            digest.update(a);
            digest.update(b);
            prop_assert_eq!(digest.finish(), strong(Seed::new(seed), &bytes));
        }
    }
}
