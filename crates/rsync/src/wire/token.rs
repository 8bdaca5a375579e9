//! A file's content as tokens: literal bytes, blocks of the basis, and the digest at the end.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use barge_delta::DigestBytes;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::sums::SumHead;
use crate::WireError;

/// Literal bytes of one token at most: rsync 3.4.3 and 3.4.4 take no more.
const MAX_LITERAL: usize = 32 << 10;

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
}

/// Writes the tokens of all files of a connection, one file after the other.
pub struct TokenEncoder {}

impl TokenEncoder {
    /// For a connection of this protocol version. Levels out of the compression's bounds are taken for
    /// the nearest; unset is the compression's own default.
    pub fn new(_compression: Compression, _level: Option<i32>, _protocol: u8) -> Self {
        Self {}
    }

    /// Begins a file. One that is compressed already gets the least effort there is.
    pub fn begin(&mut self, _incompressible: bool) {}

    /// Appends literal bytes.
    pub fn literal(&mut self, bytes: &[u8], out: &mut BytesMut) {
        for piece in bytes.chunks(MAX_LITERAL) {
            out.put_u32_le(piece.len() as u32);
            out.put_slice(piece);
        }
    }

    /// Appends a block of the basis, whose bytes are given.
    pub fn block(&mut self, number: u32, _bytes: &[u8], out: &mut BytesMut) {
        out.put_i32_le(!(number as i32));
    }

    /// Ends the file with the digest of its whole content.
    pub fn end(&mut self, digest: &DigestBytes, out: &mut BytesMut) {
        out.put_i32_le(0);
        out.put_slice(digest.as_bytes());
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

/// Reads the tokens of all files of a connection, one file after the other.
pub struct TokenDecoder {
    digest_len: usize,
    /// Blocks of the basis.
    blocks: u32,
    state: State,
}

/// What comes next off the wire.
#[derive(Clone, Copy, Debug)]
enum State {
    Token,
    /// So many bytes of a literal.
    Literal(usize),
    Digest,
}

impl TokenDecoder {
    /// For a connection of this protocol version, whose files end with digests of `digest_len` bytes.
    pub fn new(_compression: Compression, _protocol: u8, digest_len: usize) -> Self {
        Self {
            digest_len,
            blocks: 0,
            state: State::Token,
        }
    }

    /// Begins a file that refers to the blocks `head` has.
    pub fn begin(&mut self, head: &SumHead) {
        self.blocks = head.count();
        self.state = State::Token;
    }

    /// Takes the next piece off `input`; `None` when there is more to come first.
    ///
    /// After [`Token::Blocks`], [`matched`](Self::matched) must be given the blocks' bytes first when
    /// [`wants_matched`](Self::wants_matched).
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol; nothing more may be read then.
    pub fn poll(&mut self, input: &mut BytesMut) -> Result<Option<Token>, WireError> {
        loop {
            match self.state {
                State::Token => {
                    let Some(token) = input.first_chunk() else {
                        return Ok(None);
                    };
                    let token = i32::from_le_bytes(*token);
                    input.advance(4);
                    match token {
                        0 => self.state = State::Digest,
                        1.. => self.state = State::Literal(token as usize),
                        _ => return Ok(Some(self.blocks(!token as u32, 1)?)),
                    }
                }
                State::Literal(0) => self.state = State::Token,
                State::Literal(_) if input.is_empty() => return Ok(None),
                State::Literal(left) => {
                    let bytes = input.split_to(left.min(input.len())).freeze();
                    self.state = State::Literal(left - bytes.len());
                    return Ok(Some(Token::Literal(bytes)));
                }
                State::Digest if input.len() < self.digest_len => return Ok(None),
                State::Digest => {
                    self.state = State::Token;
                    let digest = DigestBytes::new(&input.split_to(self.digest_len));
                    return Ok(digest.map(Token::End));
                }
            }
        }
    }

    /// Whether the bytes of matched blocks are part of what later literals are decompressed by.
    pub fn wants_matched(&self) -> bool {
        false
    }

    /// Takes the bytes of a matched block, block by block, in order. Where there are none, because the
    /// content is discarded, as many zeros do.
    pub fn matched(&mut self, _block: &[u8]) {}

    fn blocks(&self, first: u32, count: u32) -> Result<Token, WireError> {
        match first.checked_add(count) {
            Some(end) if end <= self.blocks => Ok(Token::Blocks { first, count }),
            _ => Err(WireError::Protocol("a block that the basis does not have")),
        }
    }
}
