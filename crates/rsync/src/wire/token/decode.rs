//! Reads tokens.

use barge_delta::{Checksum, DigestBytes};
use bytes::{Buf, BytesMut};

use super::decompress::Decompressor;
use super::{BLOCK, BLOCKS, CHUNK, Compression, END, KIND, NEAR_BLOCK, NEAR_BLOCKS, REST, Token};
use crate::WireError;
use crate::wire::sums::SumHead;

/// Reads the tokens of all files of a connection, one file after the other.
///
/// A literal is given in pieces: what has come of it, or 64 KiB of what was decompressed.
pub struct TokenDecoder {
    /// None when literals are not compressed.
    decompressor: Option<Decompressor>,
    checksum: Checksum,
    /// Blocks of the basis.
    blocks: u32,
    /// The last block named.
    base: u32,
    state: State,
}

/// What comes next off the wire.
#[derive(Clone, Copy, Debug)]
enum State {
    Token,
    /// So many plain bytes of a literal.
    Literal(usize),
    /// Nothing, until what has come is decompressed.
    Decompressing,
    Digest,
}

impl TokenDecoder {
    /// For a connection of this protocol version, whose files end with digests by `checksum`.
    pub fn new(compression: Compression, protocol: u8, checksum: Checksum) -> Self {
        Self {
            decompressor: Decompressor::new(compression, protocol),
            checksum,
            blocks: 0,
            base: 0,
            state: State::Token,
        }
    }

    /// Begins a file that refers to the blocks `head` has.
    pub fn begin(&mut self, head: &SumHead) {
        (self.blocks, self.base, self.state) = (head.count(), 0, State::Token);
        if let Some(decompressor) = &mut self.decompressor {
            decompressor.begin();
        }
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
            let token = match (self.state, &mut self.decompressor) {
                (State::Token, None) => self.plain(input)?,
                (State::Token, Some(_)) => self.compressed(input)?,
                (State::Literal(left), _) => self.literal(left, input),
                (State::Decompressing, Some(decompressor)) => match decompressor.next()? {
                    Some(bytes) => Next::Token(Token::Literal(bytes)),
                    None => Next::State(State::Token),
                },
                (State::Decompressing, None) => Next::State(State::Token),
                (State::Digest, _) => self.digest(input),
            };
            match token {
                Next::Token(token) => return Ok(Some(token)),
                Next::State(state) => self.state = state,
                Next::Missing => return Ok(None),
            }
        }
    }

    /// Whether the bytes of matched blocks are part of what later literals are decompressed by.
    pub fn wants_matched(&self) -> bool {
        self.decompressor
            .as_ref()
            .is_some_and(Decompressor::wants_matched)
    }

    /// Takes the bytes of a matched block, block by block, in order. Where there are none, because the
    /// content is discarded, as many zeros do.
    pub fn matched(&mut self, block: &[u8]) {
        if let Some(decompressor) = &mut self.decompressor {
            decompressor.remember(block);
        }
    }

    fn plain(&self, input: &mut BytesMut) -> Result<Next, WireError> {
        let Some(token) = input.first_chunk() else {
            return Ok(Next::Missing);
        };
        let token = i32::from_le_bytes(*token);
        input.advance(4);
        Ok(match token {
            0 => Next::State(State::Digest),
            1.. => Next::State(State::Literal(token as usize)),
            _ => Next::Token(self.blocks((!token).cast_unsigned(), 1)?),
        })
    }

    fn literal(&mut self, left: usize, input: &mut BytesMut) -> Next {
        if input.is_empty() {
            return Next::Missing;
        }
        let bytes = input.split_to(left.min(input.len())).freeze();
        self.state = match left - bytes.len() {
            0 => State::Token,
            left => State::Literal(left),
        };
        Next::Token(Token::Literal(bytes))
    }

    fn digest(&mut self, input: &mut BytesMut) -> Next {
        let len = self.checksum.digest_len();
        if input.len() < len {
            return Next::Missing;
        }
        self.state = State::Token;
        let digest = DigestBytes::new(&input.split_to(len));
        Next::Token(Token::End(digest.expect("no digest is too long")))
    }

    fn compressed(&mut self, input: &mut BytesMut) -> Result<Next, WireError> {
        let Some(&flag) = input.first() else {
            return Ok(Next::Missing);
        };
        if flag & KIND == CHUNK {
            return Ok(self.chunk(input));
        }
        // What lies before anything else is complete.
        if let Some(decompressor) = &mut self.decompressor
            && decompressor.complete()
        {
            return Ok(Next::State(State::Decompressing));
        }
        let (long, run) = match flag {
            END => {
                input.advance(1);
                return Ok(Next::State(State::Digest));
            }
            BLOCK => (true, false),
            BLOCKS => (true, true),
            NEAR_BLOCK..NEAR_BLOCKS => (false, false),
            NEAR_BLOCKS.. => (false, true),
            _ => return Err(WireError::Protocol("an unknown token")),
        };
        let len = 1 + if long { 4 } else { 0 } + if run { 2 } else { 0 };
        if input.len() < len {
            return Ok(Next::Missing);
        }
        let mut token = input.split_to(len);
        token.advance(1);
        let first = match long {
            true => token.get_u32_le(),
            false => self.base + u32::from(flag & REST),
        };
        let more = match run {
            true => u32::from(token.get_u16_le()),
            false => 0,
        };
        if run && more == 0 {
            return Err(WireError::Protocol("a run of one block"));
        }
        let blocks = self.blocks(first, 1 + more)?;
        self.base = first + more;
        Ok(Next::Token(blocks))
    }

    fn chunk(&mut self, input: &mut BytesMut) -> Next {
        let Some(&[high, low]) = input.first_chunk() else {
            return Next::Missing;
        };
        let len = usize::from(u16::from_be_bytes([high & REST, low]));
        if input.len() < 2 + len {
            return Next::Missing;
        }
        input.advance(2);
        let chunk = input.split_to(len).freeze();
        if let Some(decompressor) = &mut self.decompressor {
            decompressor.take(chunk);
        }
        Next::State(State::Decompressing)
    }

    fn blocks(&self, first: u32, count: u32) -> Result<Token, WireError> {
        match first.checked_add(count) {
            Some(end) if end <= self.blocks => Ok(Token::Blocks { first, count }),
            _ => Err(WireError::Protocol("a block that the basis does not have")),
        }
    }
}

/// What a look at the input came to.
enum Next {
    Token(Token),
    State(State),
    /// More must come first.
    Missing,
}
