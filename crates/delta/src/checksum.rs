//! The checksums two rsyncs may agree on, over whole files and over blocks.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::fmt;

use md4::Md4;
use md5::Md5;
use sha1::Sha1;
use sha1::digest::Digest as _;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128_with_seed};
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// A checksum by which content is compared; the order of its kinds is that of preference.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Checksum {
    /// XXH3, 128 bits.
    Xxh128,
    /// XXH3, 64 bits.
    Xxh3,
    /// XXH64.
    Xxh64,
    /// MD5.
    Md5,
    /// MD4.
    Md4,
    /// SHA-1.
    Sha1,
    /// None at all: one zero byte, never compared.
    None,
}

impl Checksum {
    /// All of them, the best first.
    pub const ALL: [Self; 7] = [
        Self::Xxh128,
        Self::Xxh3,
        Self::Xxh64,
        Self::Md5,
        Self::Md4,
        Self::Sha1,
        Self::None,
    ];

    /// The checksum of this name, in any case; `xxhash` is XXH64.
    pub fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"xxhash") {
            return Some(Self::Xxh64);
        }
        let named = |kind: &Self| name.eq_ignore_ascii_case(kind.name().as_bytes());
        Self::ALL.into_iter().find(named)
    }

    /// The name, as it crosses the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xxh128 => "xxh128",
            Self::Xxh3 => "xxh3",
            Self::Xxh64 => "xxh64",
            Self::Md5 => "md5",
            Self::Md4 => "md4",
            Self::Sha1 => "sha1",
            Self::None => "none",
        }
    }

    /// Bytes in a digest: 1 to 20.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Xxh128 | Self::Md5 | Self::Md4 => 16,
            Self::Xxh3 | Self::Xxh64 => 8,
            Self::Sha1 => DigestBytes::MAX,
            Self::None => 1,
        }
    }
}

/// A digest as it crosses the wire.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct DigestBytes {
    /// Zero behind `len`.
    bytes: [u8; Self::MAX],
    len: u8,
}

impl DigestBytes {
    /// Bytes in the longest digest.
    pub const MAX: usize = 20;

    /// Takes a digest that came from the peer; `None` when it is longer than any.
    pub fn new(digest: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..digest.len())?.copy_from_slice(digest);
        let len = digest.len() as u8;
        Some(Self { bytes, len })
    }

    fn of<const N: usize>(digest: [u8; N]) -> Self {
        Self::new(&digest).expect("no checksum here has more than 20 bytes")
    }

    /// The bytes, first to last.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for DigestBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.as_bytes().iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The unseeded checksum of a whole file that comes in pieces.
#[derive(Clone)]
pub struct WholeDigest(State);

#[derive(Clone)]
enum State {
    Xxh128(Box<Xxh3>),
    Xxh3(Box<Xxh3>),
    Xxh64(Xxh64),
    Md5(Md5),
    Md4(Md4),
    Sha1(Sha1),
    None,
}

impl WholeDigest {
    /// The checksum of nothing yet.
    pub fn new(checksum: Checksum) -> Self {
        Self(match checksum {
            Checksum::Xxh128 => State::Xxh128(Box::default()),
            Checksum::Xxh3 => State::Xxh3(Box::default()),
            Checksum::Xxh64 => State::Xxh64(Xxh64::new(0)),
            Checksum::Md5 => State::Md5(Md5::new()),
            Checksum::Md4 => State::Md4(Md4::new()),
            Checksum::Sha1 => State::Sha1(Sha1::new()),
            Checksum::None => State::None,
        })
    }

    /// Takes the next bytes; any split is fine.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Xxh128(state) | State::Xxh3(state) => state.update(bytes),
            State::Xxh64(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
            State::Md4(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::None => {}
        }
    }

    /// The checksum of all bytes taken.
    pub fn finish(self) -> DigestBytes {
        match self.0 {
            State::Xxh128(state) => DigestBytes::of(state.digest128().to_le_bytes()),
            State::Xxh3(state) => DigestBytes::of(state.digest().to_le_bytes()),
            State::Xxh64(state) => DigestBytes::of(state.digest().to_le_bytes()),
            State::Md5(state) => DigestBytes::of(state.finalize().into()),
            State::Md4(state) => DigestBytes::of(state.finalize().into()),
            State::Sha1(state) => DigestBytes::of(state.finalize().into()),
            State::None => DigestBytes::of([0]),
        }
    }
}

/// The seeded checksum of a block.
#[derive(Clone, Copy)]
pub(crate) struct SeededChecksum {
    pub(crate) checksum: Checksum,
    /// Zero: unseeded.
    pub(crate) seed: i32,
    /// Whether MD5 takes the seed before the block, not behind it.
    pub(crate) seed_first: bool,
}

impl SeededChecksum {
    /// The first 16 bytes of the checksum, the first the least; zero behind a shorter one.
    pub(crate) fn sum(self, block: &[u8]) -> u128 {
        // As the protocol has it: sign-extended.
        let seed = i64::from(self.seed) as u64;
        match self.checksum {
            Checksum::Xxh128 => xxh3_128_with_seed(block, seed),
            Checksum::Xxh3 => xxh3_64_with_seed(block, seed).into(),
            Checksum::Xxh64 => xxh64(block, seed).into(),
            Checksum::Md5 => u128::from_le_bytes(self.digest::<Md5>(block, self.seed_first).into()),
            Checksum::Md4 => u128::from_le_bytes(self.digest::<Md4>(block, false).into()),
            Checksum::Sha1 => {
                let sum: [u8; 20] = self.digest::<Sha1>(block, true).into();
                let (first, _) = sum.split_first_chunk().expect("20 bytes are more than 16");
                u128::from_le_bytes(*first)
            }
            Checksum::None => 0,
        }
    }

    fn digest<D: sha1::Digest>(self, block: &[u8], seed_first: bool) -> sha1::digest::Output<D> {
        let seed = self.seed.to_le_bytes();
        let seed = if self.seed == 0 { &[] } else { &seed[..] };
        let (first, last) = if seed_first {
            (seed, block)
        } else {
            (block, seed)
        };
        D::new().chain_update(first).chain_update(last).finalize()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::StrongSum;

    const HELLO: &[u8] = b"hello world\n";

    const COMPARING: [Checksum; 6] = [
        Checksum::Xxh128,
        Checksum::Xxh3,
        Checksum::Xxh64,
        Checksum::Md5,
        Checksum::Md4,
        Checksum::Sha1,
    ];

    /// 700 bytes: 00 01 02 … ff 00 01 ….
    fn counted() -> Vec<u8> {
        (0..700_u32).map(|n| n as u8).collect()
    }

    fn digest(checksum: Checksum, pieces: &[&[u8]]) -> String {
        let mut digest = WholeDigest::new(checksum);
        pieces.iter().for_each(|piece| digest.update(piece));
        format!("{:?}", digest.finish())
    }

    fn seeded(checksum: Checksum, seed: i32, seed_first: bool, block: &[u8]) -> String {
        let len = checksum.digest_len();
        let sum = StrongSum::new(checksum, seed, seed_first, len).unwrap();
        let bytes = sum.sum(block).to_le_bytes();
        format!("{:?}", DigestBytes::new(&bytes[..sum.bytes()]).unwrap())
    }

    /// As stock 3.5.0 peers have it: of "hello world\n" (D1) or 700 bytes (D2), where MD5 has its seed,
    /// and the sums seeded with 0, 0x6b0d256f and -12345. Block sums have 16 bytes of SHA-1 at most.
    const SEEDED: &str = "
        xxh64 D1 - 8c6d7d203be11552 02fa51697b331a92 b8fbd631489986ea
        xxh64 D2 - 1da50569eef94554 845f46eeacdf1a18 69878e65a0c70995
        xxh3 D1 - de6b3cb7d47e2fd4 83d2b971cca21938 56995b6231a96824
        xxh3 D2 - 737fdbafab651e20 f59e6e0dd6c408e3 481aa8c738a10dc7
        xxh128 D1 - 254448a533e7b23613cd0071d8c9faee 378b50c986d646e10a0f7c1809006dbe b73eb65d7bfd1bf79247196fa84ddb27
        xxh128 D2 - 737fdbafab651e20084618bb1058a42c f59e6e0dd6c408e3cd754bcca6ba7715 481aa8c738a10dc70bda2c39a33a629f
        md5 D1 first 6f5902ac237024bdd0c176cb93063dc4 a952c59eb19188c4af1c4f29e5232b75 a9ca9678ab953a0c02f7eae9437c244d
        md5 D2 first 49344cf669d6486c8a0ee1426e72f10a 7130cacf54efe190bb77a3f9b6f1747e dd1eeed16aa0727c9edfe0e78725e55e
        md5 D1 last 6f5902ac237024bdd0c176cb93063dc4 1a592251e28e434ae30c30f36bf53e8c 65a9b84ba72de85a30704f56df4f22f0
        sha1 D1 first 22596363b3de40b06f981fb85d82312e d3b2fa4010a47c82c849114839f35eb7 d7a094078e5056202cdc7917380aee92
    ";

    #[test]
    fn seeded_sums_are_those_of_stock_peers() {
        for line in SEEDED.trim().lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let checksum = Checksum::named(words[0].as_bytes()).unwrap();
            let data = if words[1] == "D1" { HELLO } else { &counted() };
            for (seed, expected) in [0, 0x6b0d_256f, -12345].into_iter().zip(&words[3..]) {
                let sum = seeded(checksum, seed, words[2] != "last", data);
                assert_eq!(sum, *expected, "{line}, {seed}");
            }
        }
    }

    #[test]
    fn whole_digests_are_unseeded_and_of_full_length() {
        for (checksum, expected) in [
            (Checksum::Xxh128, "254448a533e7b23613cd0071d8c9faee"),
            (Checksum::Xxh3, "de6b3cb7d47e2fd4"),
            (Checksum::Xxh64, "8c6d7d203be11552"),
            (Checksum::Md5, "6f5902ac237024bdd0c176cb93063dc4"),
            (Checksum::Sha1, "22596363b3de40b06f981fb85d82312e8c0ed511"),
            (Checksum::None, "00"),
        ] {
            assert_eq!(digest(checksum, &[HELLO]), expected);
            assert_eq!(digest(checksum, &[&HELLO[..5], &HELLO[5..]]), expected);
        }
    }

    #[test]
    fn md4_agrees_with_its_specification() {
        // RFC 1320, appendix A.5.
        for (text, expected) in [
            ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
            ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ] {
            assert_eq!(digest(Checksum::Md4, &[text.as_bytes()]), expected);
        }
        // The seed comes behind the block.
        let seeded = seeded(Checksum::Md4, i32::from_le_bytes(*b"bcde"), true, b"a");
        assert_eq!(seeded, digest(Checksum::Md4, &[b"abcde"]));
    }

    #[test]
    fn names_are_known_in_any_case() {
        for checksum in Checksum::ALL {
            assert_eq!(Checksum::named(checksum.name().as_bytes()), Some(checksum));
            let upper = checksum.name().to_ascii_uppercase();
            assert_eq!(Checksum::named(upper.as_bytes()), Some(checksum));
        }
        assert_eq!(Checksum::named(b"xxhash"), Some(Checksum::Xxh64));
        assert_eq!(Checksum::named(b"sha256"), None);
        assert_eq!(Checksum::named(b""), None);
    }

    #[test]
    fn sum_of_no_or_too_many_bytes_is_refused_and_long_ones_are_cut() {
        assert!(StrongSum::new(Checksum::None, 1, true, 1).is_none());
        for checksum in COMPARING {
            for len in [0, checksum.digest_len() + 1, usize::MAX] {
                assert!(StrongSum::new(checksum, 1, true, len).is_none());
            }
            let long = StrongSum::new(checksum, 1, true, checksum.digest_len()).unwrap();
            assert_eq!(long.bytes(), checksum.digest_len().min(16));
        }
    }

    proptest! {
        #[test]
        fn short_sum_is_the_beginning_of_the_long_one(block: Vec<u8>, seed: i32, len in 1..=8_usize) {
            for checksum in COMPARING {
                let long = StrongSum::new(checksum, seed, true, checksum.digest_len()).unwrap();
                let short = StrongSum::new(checksum, seed, true, len).unwrap();
                let (long, short) = (long.sum(&block).to_le_bytes(), short.sum(&block).to_le_bytes());
                prop_assert_eq!(&long[..len], &short[..len]);
                prop_assert_eq!(&short[len..], &[0; 16][len..]);
            }
        }

        #[test]
        fn unseeded_sum_is_the_beginning_of_the_whole_digest(block: Vec<u8>) {
            for checksum in COMPARING {
                let len = checksum.digest_len().min(16);
                let sum = StrongSum::new(checksum, 0, false, len).unwrap();
                let sum = sum.sum(&block).to_le_bytes();
                let mut whole = WholeDigest::new(checksum);
                whole.update(&block);
                let whole = whole.finish();
                prop_assert_eq!(&sum[..len], &whole.as_bytes()[..len]);
            }
        }
    }
}
