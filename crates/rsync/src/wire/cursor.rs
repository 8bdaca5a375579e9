//! Reads fields off the front of a stream that comes in pieces; «not yet» is not an error.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::WireError;

/// Bytes of a stream in the order they came, not yet read.
#[derive(Debug, Default)]
pub struct Stream {
    head: Bytes,
    more: VecDeque<Bytes>,
    len: usize,
}

impl Stream {
    /// Takes bytes as they came; any split is fine.
    pub fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if self.head.is_empty() {
            self.head = bytes;
        } else if !bytes.is_empty() {
            self.more.push_back(bytes);
        }
    }

    /// How many bytes are not read yet.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes 1 to `max` bytes without a copy, as many as came in one piece; `None` until there
    /// are any.
    pub fn take(&mut self, max: usize) -> Option<Bytes> {
        let len = self.head.len().min(max);
        (len > 0).then(|| {
            let taken = self.head.split_to(len);
            self.advanced(len);
            taken
        })
    }

    /// Reads one thing off the front, whole or not at all: `parse` runs again, from the
    /// beginning, when more has come.
    ///
    /// It should be short, since it may run once a byte: a few numbers, at most some names.
    ///
    /// # Errors
    ///
    /// Those of `parse`. The stream cannot be read any further then.
    pub fn read<T>(
        &mut self,
        mut parse: impl FnMut(&mut Reader<'_>) -> Parsed<T>,
    ) -> Result<Option<T>, WireError> {
        loop {
            let mut reader = Reader(&self.head);
            match parse(&mut reader) {
                Ok(value) => {
                    let used = self.head.len() - reader.0.len();
                    self.head.advance(used);
                    self.advanced(used);
                    return Ok(Some(value));
                }
                Err(Stop::Bad(error)) => return Err(error),
                Err(Stop::NotYet) if !self.join_next() => return Ok(None),
                Err(Stop::NotYet) => (),
            }
        }
    }

    fn advanced(&mut self, by: usize) {
        self.len -= by;
        if self.head.is_empty() {
            self.head = self.more.pop_front().unwrap_or_default();
        }
    }

    /// Puts the next piece behind what is left of the first.
    fn join_next(&mut self) -> bool {
        let Some(next) = self.more.pop_front() else {
            return false;
        };
        let mut joined = BytesMut::with_capacity(self.head.len() + next.len());
        joined.extend_from_slice(&self.head);
        joined.extend_from_slice(&next);
        self.head = joined.freeze();
        true
    }
}

/// Why reading stopped short.
#[derive(Debug, Eq, PartialEq)]
pub enum Stop {
    /// The rest has not come yet.
    NotYet,
    /// It never can be read.
    Bad(WireError),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Bad(error)
    }
}

/// What was read, or why not.
pub type Parsed<T> = Result<T, Stop>;

/// Reads fields off the front of the bytes that are there.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Exactly `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Stop::NotYet`], here and in all that follow.
    pub fn bytes(&mut self, len: usize) -> Parsed<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Stop::NotYet)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    ///
    /// [`Stop::NotYet`].
    pub fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Stop::NotYet)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// [`Stop::NotYet`].
    pub fn u8(&mut self) -> Parsed<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// A shortint: two bytes, the low one first.
    ///
    /// # Errors
    ///
    /// [`Stop::NotYet`].
    pub fn u16(&mut self) -> Parsed<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// An int32: four bytes, the low one first.
    ///
    /// # Errors
    ///
    /// [`Stop::NotYet`].
    pub fn i32(&mut self) -> Parsed<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// A length of one byte, then as many bytes.
    ///
    /// # Errors
    ///
    /// [`Stop::NotYet`].
    pub fn byte_counted(&mut self) -> Parsed<&'a [u8]> {
        let len = self.u8()?;
        self.bytes(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(reader: &mut Reader<'_>) -> Parsed<(u8, u16)> {
        Ok((reader.u8()?, reader.u16()?))
    }

    #[test]
    fn stream_reads_a_thing_whole_wherever_it_was_cut() {
        let bytes = Bytes::from_static(&[1, 2, 3, 4, 5, 6]);
        for cut in 0..=bytes.len() {
            let mut stream = Stream::default();
            stream.push(bytes.slice(..cut));
            let mut read = Vec::new();
            read.extend(stream.read(pair).unwrap());
            stream.push(bytes.slice(cut..));
            while let Some(value) = stream.read(pair).unwrap() {
                read.push(value);
            }
            assert_eq!(read, [(1, 0x302), (4, 0x605)], "cut at {cut}");
            assert!(stream.is_empty());
        }
    }

    #[test]
    fn stream_reads_nothing_of_a_thing_that_is_not_whole() {
        let mut stream = Stream::default();
        for byte in [1, 2] {
            stream.push(Bytes::copy_from_slice(&[byte]));
            assert_eq!(stream.read(pair), Ok(None));
        }
        assert_eq!(stream.len(), 2);
        stream.push(Bytes::from_static(&[3, 9]));
        assert_eq!(stream.read(pair), Ok(Some((1, 0x302))));
        assert_eq!(stream.take(8).as_deref(), Some(&[9][..]));
        assert_eq!(stream.take(8), None);
    }

    #[test]
    fn stream_gives_pieces_as_they_came_up_to_the_length_asked_for() {
        let mut stream = Stream::default();
        for piece in [&b"abc"[..], b"", b"de"] {
            stream.push(Bytes::copy_from_slice(piece));
        }
        let taken: Vec<_> = std::iter::from_fn(|| stream.take(2)).collect();
        assert_eq!(taken, [&b"ab"[..], b"c", b"de"]);
    }
}
