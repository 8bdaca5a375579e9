//! A file's content as tokens: literal bytes, blocks of the basis, and the digest at the end.
//!
//! Plain, a token is a number of four bytes: so many literal bytes follow; or a block's number and one,
//! negated; or 0 for the end, before the digest. Compressed, it is one of these:
//!
//! | first byte | then | |
//! |---|---|---|
//! | `00` | | the end, before the digest |
//! | `01xxxxxx` | `lo` | as many bytes of the literals' compressed stream as both say, big-endian |
//! | `10rrrrrr` | | block `base + r` |
//! | `11rrrrrr` | `k`, 2 bytes | the `k + 1` blocks from `base + r` on, `k` ≥ 1 |
//! | `20` | `n`, 4 bytes | block `n` |
//! | `21` | `n`, 4 bytes, `k`, 2 bytes | the `k + 1` blocks from `n` on, `k` ≥ 1 |
//!
//! `base` is 0 at a file's beginning, then the last block named. What lies before a block or the end is
//! decompressed by the chunks before it alone. Blocks are never part of the compressed stream; but with
//! [`Compression::Zlib`] they enter its history.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers, and rsync(1).

mod compress;
mod decode;
mod decompress;
mod encode;
mod skip;

use barge_delta::DigestBytes;
use bytes::Bytes;

pub use decode::TokenDecoder;
pub use encode::TokenEncoder;
pub use skip::SkipCompress;

/// Compressed bytes of one chunk at most.
const MAX_CHUNK: usize = (1 << 14) - 1;

const END: u8 = 0;
const BLOCK: u8 = 0x20;
const BLOCKS: u8 = 0x21;
const CHUNK: u8 = 0x40;
const NEAR_BLOCK: u8 = 0x80;
const NEAR_BLOCKS: u8 = 0xc0;

/// The bits that tell chunks and near blocks from each other, and those that are theirs to use.
const KIND: u8 = 0xc0;
const REST: u8 = 0x3f;

/// What deflate's sync flush ends with: never sent, as the receiver knows it.
const SYNC: [u8; 4] = [0, 0, 0xff, 0xff];

/// How literal bytes are compressed; the order of its kinds is that of preference.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Compression {
    /// One frame for the whole connection.
    Zstd,
    /// Each chunk for itself.
    Lz4,
    /// Deflate, anew for each file.
    Zlibx,
    /// Deflate, anew for each file, where matched blocks are history too.
    Zlib,
    /// Not at all.
    None,
}

impl Compression {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [Self::Zstd, Self::Lz4, Self::Zlibx, Self::Zlib, Self::None];

    /// The compression of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let named = |kind: &Self| name.eq_ignore_ascii_case(kind.name().as_bytes());
        Self::ALL.into_iter().find(named)
    }

    /// The name, as it crosses the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Zlibx => "zlibx",
            Self::Zlib => "zlib",
            Self::None => "none",
        }
    }

    /// What a wanted level comes to: those out of bounds are taken for the nearest, unset is the default.
    /// Level 0 is [`None`](Self::None) for deflate, zstd's default, and all there is to lz4.
    pub fn at_level(self, level: Option<i32>) -> (Self, i32) {
        match (self, level) {
            (Self::Zlib | Self::Zlibx, Some(0)) => (Self::None, 0),
            (Self::Zlib | Self::Zlibx, None | Some(-1)) => (self, 6),
            (Self::Zlib | Self::Zlibx, Some(level)) => (self, level.clamp(1, 9)),
            (Self::Zstd, None | Some(0)) => (self, 3),
            (Self::Zstd, Some(level)) => (self, level.clamp(-131_072, 22)),
            (Self::Lz4 | Self::None, _) => (self, 0),
        }
    }
}

/// A piece of a file's content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Token {
    /// Bytes that are new; never empty.
    Literal(Bytes),
    /// Blocks of the basis that follow each other; all of them exist.
    Blocks {
        /// The first of them.
        first: u32,
        /// How many they are, at least one.
        count: u32,
    },
    /// Nothing more; the digest that the sender has of the whole content.
    End(DigestBytes),
}

/// The pieces in which a matched block enters deflate's history.
///
/// An old peer takes the beginning of a longer block again for each of its pieces.
fn history_pieces(block: &[u8], protocol: u8) -> impl Iterator<Item = &[u8]> {
    const MAX_PIECE: usize = 65535;
    block.chunks(MAX_PIECE).map(move |piece| match protocol {
        ..31 => &block[..piece.len()],
        _ => piece,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_stock_rsync() {
        use Compression::{Lz4, Zlib, Zlibx, Zstd};
        for (compression, level, expected) in [
            (Zlib, -1, (Zlib, 6)),
            (Zlibx, -5, (Zlibx, 1)),
            (Zlibx, 0, (Compression::None, 0)),
            (Zlib, 99, (Zlib, 9)),
            (Zstd, 0, (Zstd, 3)),
            (Zstd, -1, (Zstd, -1)),
            (Zstd, 99, (Zstd, 22)),
            (Zstd, -999_999, (Zstd, -131_072)),
            (Lz4, 9, (Lz4, 0)),
            (Compression::None, 9, (Compression::None, 0)),
        ] {
            assert_eq!(compression.at_level(Some(level)), expected, "{level}");
        }
        assert_eq!(Zlib.at_level(None), (Zlib, 6));
        assert_eq!(Zstd.at_level(None), (Zstd, 3));
    }

    #[test]
    fn names_are_known_in_any_case() {
        for compression in Compression::ALL {
            let name = compression.name();
            assert_eq!(Compression::named(name.as_bytes()), Some(compression));
            let upper = name.to_ascii_uppercase();
            assert_eq!(Compression::named(upper.as_bytes()), Some(compression));
        }
        assert_eq!(Compression::named(b"gzip"), None);
    }
}
