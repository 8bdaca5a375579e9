//! Writes tokens.

use barge_delta::DigestBytes;
use bytes::{BufMut, BytesMut};

use super::compress::Compressor;
use super::{BLOCK, BLOCKS, Compression, END, NEAR_BLOCK, NEAR_BLOCKS, REST};

/// Literal bytes of one plain token at most: rsync 3.4.3 and 3.4.4 take no more.
const MAX_LITERAL: usize = 32 << 10;

/// Blocks of one compressed token at most.
const MAX_RUN: u32 = 1 << 16;

/// Writes the tokens of all files of a connection, one file after the other.
pub struct TokenEncoder {
    /// None when literals are not compressed.
    compressor: Option<Compressor>,
    /// The last block written.
    base: u32,
    /// Blocks that are not written yet: the first, and how many follow each other.
    run: Option<(u32, u32)>,
    /// Whether there are literal bytes that cannot be decompressed yet.
    unflushed: bool,
}

impl TokenEncoder {
    /// For a connection of this protocol version. For the level see [`Compression::at_level`].
    pub fn new(compression: Compression, level: Option<i32>, protocol: u8) -> Self {
        Self {
            compressor: Compressor::new(compression, level, protocol),
            base: 0,
            run: None,
            unflushed: false,
        }
    }

    /// Begins a file. One that is compressed already gets the least effort there is.
    pub fn begin(&mut self, compressed_already: bool) {
        (self.base, self.run, self.unflushed) = (0, None, false);
        if let Some(compressor) = &mut self.compressor {
            compressor.begin(compressed_already);
        }
    }

    /// Appends literal bytes, or holds them back to be compressed with those that follow.
    pub fn literal(&mut self, bytes: &[u8], out: &mut BytesMut) {
        if bytes.is_empty() {
            return;
        }
        self.end_run(out);
        match &mut self.compressor {
            None => plain_literals(bytes, out),
            Some(compressor) => {
                compressor.compress(bytes, out);
                self.unflushed = true;
            }
        }
    }

    /// Appends a block of the basis, whose bytes are given, or holds it back for those that follow.
    pub fn block(&mut self, number: u32, bytes: &[u8], out: &mut BytesMut) {
        if self.compressor.is_none() {
            return out.put_i32_le(!number.cast_signed());
        }
        self.flush(out);
        match &mut self.run {
            Some((first, count)) if *first + *count == number && *count < MAX_RUN => *count += 1,
            _ => {
                self.end_run(out);
                self.run = Some((number, 1));
            }
        }
        if let Some(compressor) = &mut self.compressor {
            compressor.remember(bytes);
        }
    }

    /// Ends the file with the digest of its whole content.
    pub fn end(&mut self, digest: &DigestBytes, out: &mut BytesMut) {
        self.flush(out);
        self.end_run(out);
        match self.compressor {
            None => out.put_i32_le(0),
            Some(_) => out.put_u8(END),
        }
        out.put_slice(digest.as_bytes());
    }

    /// Appends what is left of literals, so that a block or the end can follow.
    fn flush(&mut self, out: &mut BytesMut) {
        if self.unflushed
            && let Some(compressor) = &mut self.compressor
        {
            compressor.flush(out);
            self.unflushed = false;
        }
    }

    /// Appends the blocks held back.
    fn end_run(&mut self, out: &mut BytesMut) {
        let Some((first, count)) = self.run.take() else {
            return;
        };
        let near = first.checked_sub(self.base);
        let near = near.filter(|&near| near <= REST.into());
        match (near, count) {
            (Some(near), 1) => out.put_u8(NEAR_BLOCK | near as u8),
            (Some(near), _) => out.put_u8(NEAR_BLOCKS | near as u8),
            (None, 1) => out.put_u8(BLOCK),
            (None, _) => out.put_u8(BLOCKS),
        }
        if near.is_none() {
            out.put_u32_le(first);
        }
        if count > 1 {
            out.put_u16_le((count - 1) as u16);
        }
        self.base = first + count - 1;
    }
}

fn plain_literals(bytes: &[u8], out: &mut BytesMut) {
    for piece in bytes.chunks(MAX_LITERAL) {
        out.put_u32_le(piece.len() as u32);
        out.put_slice(piece);
    }
}
