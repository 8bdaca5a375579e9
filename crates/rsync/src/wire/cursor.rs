//! Reads fields off the front of a stream that comes in pieces; «not yet» is not an error.

use bytes::{Buf, BytesMut};

use crate::WireError;

/// Reads one thing off the front of `input`, whole or not at all; `None` when there is more to
/// come first. `parse` runs again, from the beginning, when more has come, perhaps once a byte:
/// it should look at a few numbers and strings only, and copy them last.
///
/// # Errors
///
/// Those of `parse`. Nothing more may be read then.
pub fn read<T>(
    input: &mut BytesMut,
    parse: impl FnOnce(&mut Reader<'_>) -> Parsed<T>,
) -> Result<Option<T>, WireError> {
    let mut reader = Reader(input);
    match parse(&mut reader) {
        Ok(value) => {
            let used = input.len() - reader.0.len();
            input.advance(used);
            Ok(Some(value))
        }
        Err(Stop::NotYet) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// Puts bytes behind what is not read yet; without a copy when there is nothing.
pub fn append(input: &mut BytesMut, bytes: BytesMut) {
    if input.is_empty() {
        *input = bytes;
    } else {
        input.unsplit(bytes);
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
    fn things_are_read_whole_wherever_the_input_was_cut() {
        let bytes = BytesMut::from(&[1, 2, 3, 4, 5, 6][..]);
        for cut in 0..=bytes.len() {
            let mut rest = bytes.clone();
            let mut input = rest.split_to(cut);
            let mut things = Vec::new();
            while let Some(thing) = read(&mut input, pair).unwrap() {
                things.push(thing);
            }
            append(&mut input, rest);
            while let Some(thing) = read(&mut input, pair).unwrap() {
                things.push(thing);
            }
            assert_eq!(things, [(1, 0x302), (4, 0x605)], "cut at {cut}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn nothing_is_taken_of_a_thing_that_is_not_whole() {
        let mut input = BytesMut::from(&[1, 2][..]);
        assert_eq!(read(&mut input, pair), Ok(None));
        assert_eq!(input, [1, 2][..]);
    }
}
