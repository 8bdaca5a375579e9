//! The wide sum of blocks, ranges and files: XXH3, 128 bits, seeded.
//!
//! Source: the xxHash specification, `doc/xxhash_spec.md`, "XXH3 Algorithm Overview".

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

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
