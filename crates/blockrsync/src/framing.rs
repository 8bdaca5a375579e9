//! Snappy's framing format, for bytes in whatever pieces they come.
//!
//! Source: `framing_format.txt` of snappy. A stream begins with an identifier; a chunk is a type, a
//! length of three bytes, and for content a checksum and at most 64 KiB, compressed or not.

use std::io::{Read, Write};

use bytes::buf::{Reader, Writer};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use snap::read::FrameDecoder;
use snap::write::FrameEncoder;

use crate::WireError;

/// The longest chunk that is taken: 64 KiB of content that could not be compressed, and its checksum.
pub const MAX_CHUNK: usize = 76_490;

/// Bytes before the content of a chunk: type and length.
const HEADER_LEN: usize = 4;

/// Compresses a stream into chunks.
pub struct Framer {
    encoder: FrameEncoder<Writer<BytesMut>>,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            encoder: FrameEncoder::new(BytesMut::new().writer()),
        }
    }
}

impl std::fmt::Debug for Framer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Framer")
    }
}

impl Framer {
    /// Takes content; chunks are made as soon as they are full.
    pub fn push(&mut self, content: &[u8]) {
        self.encoder.write_all(content).expect(INTO_MEMORY);
    }

    /// What is ready to be sent.
    pub fn take(&mut self) -> Bytes {
        self.encoder.get_mut().get_mut().split().freeze()
    }

    /// Makes a chunk of what has been taken so far, and gives all that is ready.
    pub fn flush(&mut self) -> Bytes {
        self.encoder.flush().expect(INTO_MEMORY);
        self.take()
    }
}

const INTO_MEMORY: &str = "memory takes whatever is written";

/// Gives back the content of chunks.
pub struct Unframer {
    /// As it came off the wire.
    unread: BytesMut,
    /// Holds whole chunks alone, and those only while they are decoded.
    decoder: FrameDecoder<Reader<BytesMut>>,
    content: BytesMut,
}

impl Default for Unframer {
    fn default() -> Self {
        Self {
            unread: BytesMut::new(),
            decoder: FrameDecoder::new(BytesMut::new().reader()),
            content: BytesMut::new(),
        }
    }
}

impl std::fmt::Debug for Unframer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unframer")
            .field("unread", &self.unread.len())
            .field("content", &self.content.len())
            .finish_non_exhaustive()
    }
}

impl Unframer {
    /// Takes bytes as they came off the wire; any split is fine.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next `len` bytes of content, or `None` until more input arrives. Chunks behind them stay
    /// as they came.
    ///
    /// # Errors
    ///
    /// [`WireError::Damaged`].
    pub fn poll(&mut self, len: usize) -> Result<Option<Bytes>, WireError> {
        while self.content.len() < len {
            if !self.decode_next()? {
                return Ok(None);
            }
        }
        Ok(Some(self.content.split_to(len).freeze()))
    }

    /// Whether all that arrived has been decoded and taken.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.content.is_empty()
    }

    /// What arrived behind the stream, which has ended with a whole chunk.
    ///
    /// # Errors
    ///
    /// [`WireError::Trailing`] when its last chunk holds more than was wanted.
    pub fn into_rest(self, stream: &'static str) -> Result<BytesMut, WireError> {
        match self.content.is_empty() {
            true => Ok(self.unread),
            false => Err(WireError::Trailing(stream)),
        }
    }

    fn decode_next(&mut self) -> Result<bool, WireError> {
        let Some(header) = self.unread.first_chunk::<HEADER_LEN>() else {
            return Ok(false);
        };
        let [_, a, b, c] = *header;
        let len = u32::from_le_bytes([a, b, c, 0]) as usize;
        if len > MAX_CHUNK {
            let text = format!("a chunk of {len} bytes");
            return Err(WireError::Damaged(text));
        }
        if self.unread.len() < HEADER_LEN + len {
            return Ok(false);
        }
        let chunk = self.unread.split_to(HEADER_LEN + len);
        self.decoder.get_mut().get_mut().extend_from_slice(&chunk);
        let mut piece = [0; 4096];
        loop {
            let read = self.decoder.read(&mut piece);
            let read = read.map_err(|error| WireError::Damaged(error.to_string()))?;
            if read == 0 {
                return Ok(true);
            }
            self.content.put_slice(&piece[..read]);
        }
    }
}

impl Unframer {
    /// A stream whose beginning came together with what was before it.
    pub fn with(rest: BytesMut) -> Self {
        Self {
            unread: rest,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unframe(pieces: &[&[u8]], len: usize) -> Result<Option<Bytes>, WireError> {
        let mut unframer = Unframer::default();
        for piece in pieces {
            unframer.handle_input(piece);
            if let Some(content) = unframer.poll(len)? {
                assert!(unframer.is_empty());
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Identifier and an uncompressed chunk of `abc`, by hand: the checksum is CRC-32C of `abc`
    /// (0x364b3fb7), turned right by 15 bits and increased by 0xa282ead8.
    const ABC: &[u8] = b"\xff\x06\x00\x00sNaPpY\x01\x07\x00\x00\x6e\x57\xf1\x21abc";

    #[test]
    fn chunks_are_read_wherever_they_are_cut() {
        for cut in 0..=ABC.len() {
            let (a, b) = ABC.split_at(cut);
            let content = unframe(&[a, b], 3).unwrap().unwrap();
            assert_eq!(content, &b"abc"[..], "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_byte_is_noticed() {
        for at in 0..ABC.len() {
            let mut bytes = ABC.to_vec();
            bytes[at] ^= 0x10;
            assert!(!matches!(unframe(&[&bytes], 3), Ok(Some(_))), "byte {at}");
        }
    }

    #[test]
    fn too_long_a_chunk_is_refused_before_it_arrives() {
        let mut unframer = Unframer::default();
        unframer.handle_input(b"\xff\x06\x00\x00sNaPpY\x80\xff\xff\xff");
        assert!(unframer.poll(1).is_err());
    }

    #[test]
    fn what_follows_the_stream_is_left_as_it_came() {
        let mut unframer = Unframer::default();
        unframer.handle_input(&[ABC, b"raw"].concat());
        assert_eq!(unframer.poll(2).unwrap().unwrap(), &b"ab"[..]);
        assert_eq!(unframer.poll(1).unwrap().unwrap(), &b"c"[..]);
        assert_eq!(unframer.into_rest("it").unwrap(), &b"raw"[..]);
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_again(content: Vec<u8>, cut: prop::sample::Index) {
            let mut framer = Framer::default();
            framer.push(&content);
            let bytes = framer.flush();
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let read = unframe(&[a, b], content.len()).unwrap().unwrap_or_default();
            prop_assert_eq!(&read[..], &content[..]);
        }

        #[test]
        fn unframer_never_panics(bytes: Vec<u8>) {
            let _ = unframe(&[&bytes], 1 << 20);
            let _ = unframe(&[ABC, &bytes], 1 << 20);
        }
    }
}
