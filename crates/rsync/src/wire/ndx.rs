//! File indexes and markers, each coded against the last of its sign.
//!
//! Each direction of a connection has one [`NdxWriter`] at one end and one [`NdxReader`] at the
//! other for its whole life: lists, phases and redos do not reset them. Source: the rsync protocol
//! as recorded between two stock 3.5.0 peers.

use bytes::{BufMut, BytesMut};

use super::cursor::{Parsed, Reader};
use crate::WireError;

/// Position in the lists: at most 2^31 − 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FileIndex(u32);

impl FileIndex {
    /// Checks a number; `None` when it is beyond 2^31 − 1.
    pub fn new(index: u32) -> Option<Self> {
        (index <= i32::MAX as u32).then_some(Self(index))
    }

    /// Checks a number that came as an int32; `None` when it is negative.
    pub fn from_wire(index: i32) -> Option<Self> {
        u32::try_from(index).ok().map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Position in the table of directories: at most 2^31 − 102.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DirIndex(u32);

impl DirIndex {
    /// Checks a number; `None` when its marker would not fit 32 bits.
    pub fn new(index: u32) -> Option<Self> {
        (index <= i32::MAX as u32 - LIST_OFFSET).then_some(Self(index))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// What stands where an index may stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ndx {
    /// `NDX_DONE`: a list, a phase or the whole is done.
    Done,
    /// `NDX_FLIST_EOF`: there are no more lists.
    ListsEnd,
    /// `NDX_DEL_STATS`: five counts of deletions follow.
    DelStats,
    /// The list of a directory's children follows.
    List(DirIndex),
    /// An entry of a list.
    File(FileIndex),
}

/// What both ends remember of one direction.
#[derive(Clone, Debug)]
struct Last {
    positive: i64,
    negative: i64,
}

impl Default for Last {
    fn default() -> Self {
        Self {
            positive: -1,
            negative: 1,
        }
    }
}

/// Writes the indexes of one direction.
#[derive(Clone, Debug, Default)]
pub struct NdxWriter(Last);

impl NdxWriter {
    /// Appends one.
    pub fn put(&mut self, out: &mut BytesMut, ndx: Ndx) {
        let (value, last) = match ndx {
            Ndx::Done => return out.put_u8(0),
            Ndx::File(index) => (index.0, &mut self.0.positive),
            Ndx::ListsEnd => (2, &mut self.0.negative),
            Ndx::DelStats => (3, &mut self.0.negative),
            Ndx::List(dir) => (dir.0 + LIST_OFFSET, &mut self.0.negative),
        };
        if !matches!(ndx, Ndx::File(_)) {
            out.put_u8(NEGATIVE);
        }
        let difference = i64::from(value) - *last;
        *last = value.into();
        match difference {
            1..=253 => out.put_u8(difference as u8),
            0..=0x7fff => {
                out.put_u8(LONG);
                out.put_u16(difference as u16);
            }
            _ => {
                let [low, mid, high, top] = value.to_le_bytes();
                out.put_slice(&[LONG, top | 0x80, low, mid, high]);
            }
        }
    }
}

/// Reads the indexes of one direction.
#[derive(Clone, Debug, Default)]
pub struct NdxReader(Last);

impl NdxReader {
    /// Reads one. Remembers nothing of it before it is whole, so it must be the last thing that
    /// a read of more than one thing can wait for, or be read on its own.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when it is none of [`Ndx`], or beyond 2^31 − 1.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Parsed<Ndx> {
        let first = reader.u8()?;
        if first == 0 {
            return Ok(Ndx::Done);
        }
        if first != NEGATIVE {
            let value = next_value(first, self.0.positive, reader)?;
            self.0.positive = value.into();
            return Ok(Ndx::File(FileIndex(value)));
        }
        let first = reader.u8()?;
        let value = next_value(first, self.0.negative, reader)?;
        self.0.negative = value.into();
        Ok(marker(value)?)
    }
}

/// The value behind its first byte.
fn next_value(first: u8, last: i64, reader: &mut Reader<'_>) -> Parsed<u32> {
    let value = match first {
        0 | NEGATIVE => return Err(WireError::Protocol("an index of no known form").into()),
        LONG => match reader.array()? {
            [high, low] if high < 0x80 => last + i64::from(u16::from_be_bytes([high, low])),
            [top, low] => {
                let [mid, high] = reader.array()?;
                u32::from_le_bytes([low, mid, high, top & 0x7f]).into()
            }
        },
        difference => last + i64::from(difference),
    };
    i32::try_from(value)
        .ok()
        .and_then(|value| u32::try_from(value).ok())
        .ok_or(WireError::Protocol("an index beyond 2^31").into())
}

/// The marker whose number, without its sign, is `value`.
fn marker(value: u32) -> Result<Ndx, WireError> {
    match value {
        2 => Ok(Ndx::ListsEnd),
        3 => Ok(Ndx::DelStats),
        LIST_OFFSET.. => Ok(Ndx::List(DirIndex(value - LIST_OFFSET))),
        _ => Err(WireError::Protocol(
            "an unknown marker in place of an index",
        )),
    }
}

/// Directory `d`'s list is announced by −101 − d.
const LIST_OFFSET: u32 = 101;
const NEGATIVE: u8 = 0xff;
const LONG: u8 = 0xfe;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::cursor::Stop;

    fn file(index: u32) -> Ndx {
        Ndx::File(FileIndex::new(index).unwrap())
    }

    fn list(dir: u32) -> Ndx {
        Ndx::List(DirIndex::new(dir).unwrap())
    }

    #[test]
    fn indexes_have_the_recorded_bytes_in_the_state_they_occurred_in() {
        let conversations: &[&[(Ndx, &[u8])]] = &[
            &[
                (file(0), b"\x01"),
                (file(6), b"\x06"),
                (Ndx::Done, b"\x00"),
                (file(3), b"\xfe\x80\x03\x00\x00"),
            ],
            &[
                (list(1), b"\xff\x65"),
                (list(3), b"\xff\x02"),
                (list(2), b"\xff\xfe\x80\x67\x00\x00"),
                (Ndx::ListsEnd, b"\xff\xfe\x80\x02\x00\x00"),
                (Ndx::DelStats, b"\xff\x01"),
            ],
            &[(Ndx::ListsEnd, b"\xff\x01")],
            &[(Ndx::DelStats, b"\xff\x02")],
            &[(file(252), b"\xfd"), (file(506), b"\xfe\x00\xfe")],
            &[(file(5), b"\x06"), (file(5), b"\xfe\x00\x00")],
        ];
        for conversation in conversations {
            let (mut writer, mut reader) = (NdxWriter::default(), NdxReader::default());
            for &(ndx, bytes) in *conversation {
                let mut out = BytesMut::new();
                writer.put(&mut out, ndx);
                assert_eq!(out, bytes, "{ndx:?}");
                assert_eq!(reader.read(&mut Reader::new(bytes)), Ok(ndx));
            }
        }
    }

    #[test]
    fn indexes_that_no_peer_may_send_are_refused() {
        for bytes in [
            &b"\xff\x00"[..],
            b"\xff\xff",
            b"\xff\x03",
            b"\xff\x63",
            b"\xff\xfe\x80\x00\x00\x00",
            b"\xff\xfe\x80\x01\x00\x00",
        ] {
            let read = NdxReader::default().read(&mut Reader::new(bytes));
            assert!(matches!(read, Err(Stop::Bad(_))), "{bytes:x?}");
        }
    }

    #[test]
    fn indexes_beyond_31_bits_are_refused() {
        let mut reader = NdxReader::default();
        let last = Reader::new(b"\xfe\xff\xff\xff\xff").rest();
        assert_eq!(
            reader.read(&mut Reader::new(last)),
            Ok(file(i32::MAX as u32))
        );
        assert!(matches!(
            reader.read(&mut Reader::new(b"\x01")),
            Err(Stop::Bad(_))
        ));
    }

    #[test]
    fn index_that_is_not_whole_changes_nothing() {
        let mut reader = NdxReader::default();
        for bytes in [&b"\xfe"[..], b"\xfe\x00", b"\xfe\x80\x01\x02", b"\xff", b""] {
            assert_eq!(reader.read(&mut Reader::new(bytes)), Err(Stop::NotYet));
        }
        assert_eq!(reader.read(&mut Reader::new(b"\x01")), Ok(file(0)));
    }

    proptest! {
        #[test]
        fn indexes_come_back_as_they_went(numbers: Vec<(u8, u32)>) {
            let (mut writer, mut reader) = (NdxWriter::default(), NdxReader::default());
            for (kind, number) in numbers {
                let small = number >> (kind % 32);
                let ndx = match kind % 5 {
                    0 => Ndx::Done,
                    1 => Ndx::ListsEnd,
                    2 => Ndx::DelStats,
                    3 => list(small.min(i32::MAX as u32 - LIST_OFFSET)),
                    _ => file(small.min(i32::MAX as u32)),
                };
                let mut out = BytesMut::new();
                writer.put(&mut out, ndx);
                let mut bytes = Reader::new(&out);
                prop_assert_eq!(reader.read(&mut bytes), Ok(ndx));
                prop_assert!(bytes.rest().is_empty());
            }
        }
    }
}
