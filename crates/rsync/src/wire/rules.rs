//! A client's filter rules as they cross the wire: records of one rule each.
//!
//! A record is its length, a little-endian `i32`, and that many bytes; a length of 0 ends them. They
//! come before the file list, within the multiplexed stream. Source: the rsync protocol as recorded
//! between two stock 3.5.0 peers.

use bytes::{BufMut, BytesMut};

use super::cursor::{Parsed, Reader, Stop};
use crate::WireError;

/// Reads the records of a peer.
#[derive(Debug, Default)]
pub struct Records {
    taken: Vec<Vec<u8>>,
    bytes: usize,
}

impl Records {
    /// Takes one record; true when it was the end.
    ///
    /// # Errors
    ///
    /// [`WireError::Limit`] for a record of more than [`MAX_RECORD`] bytes, and when they are more
    /// than [`MAX_RECORDS`] or all together longer than [`MAX_BYTES`].
    pub fn take(&mut self, input: &mut Reader<'_>) -> Parsed<bool> {
        let len = usize::try_from(input.i32()?).ok();
        let Some(len) = len.filter(|&len| len <= MAX_RECORD) else {
            return Err(Stop::Bad(WireError::Limit("the length of a filter rule")));
        };
        if self.bytes + len > MAX_BYTES || self.taken.len() > MAX_RECORDS {
            return Err(Stop::Bad(WireError::Limit("the number of filter rules")));
        }
        let record = input.bytes(len)?;
        if len > 0 {
            self.bytes += len;
            self.taken.push(record.to_vec());
        }
        Ok(len == 0)
    }

    /// All records, in order.
    pub fn into_vec(self) -> Vec<Vec<u8>> {
        self.taken
    }
}

/// Writes records and their end.
pub fn write<'r>(records: impl IntoIterator<Item = &'r [u8]>, out: &mut BytesMut) {
    for record in records.into_iter().chain([&b""[..]]) {
        let len = i32::try_from(record.len()).expect("a rule of a few thousand bytes");
        out.put_i32_le(len);
        out.put_slice(record);
    }
}

/// The longest record, in bytes, that rsync takes.
pub const MAX_RECORD: usize = 5119;

/// The most records that are taken.
pub const MAX_RECORDS: usize = 1 << 18;

/// The most bytes of all records; a rule in memory can be some ten times as large.
pub const MAX_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cursor;

    /// Recorded from rsync 3.5.0: a pull with `--exclude='*.tmp'`.
    const PULL: &[u8] = b"\x07\0\0\0- *.tmp\0\0\0\0";

    #[test]
    fn records_are_those_of_rsync_wherever_the_stream_is_cut() {
        for cut in 0..PULL.len() {
            let mut records = Records::default();
            let mut input = BytesMut::from(&PULL[..cut]);
            let mut ended = false;
            for more in [&PULL[cut..], b""] {
                while let Some(end) = cursor::read(&mut input, |r| records.take(r)).unwrap() {
                    ended |= end;
                }
                input.extend_from_slice(more);
            }
            assert!(ended && input.is_empty(), "cut at byte {cut}");
            assert_eq!(records.into_vec(), [b"- *.tmp"]);
        }
        let mut written = BytesMut::new();
        write([&b"- *.tmp"[..]], &mut written);
        assert_eq!(written, PULL[..]);
    }

    #[test]
    fn record_of_no_length_there_can_be_is_refused() {
        for len in [-1, i32::MIN, 5120, i32::MAX] {
            let bytes = len.to_le_bytes();
            let refused = Records::default().take(&mut Reader::new(&bytes));
            assert!(
                matches!(refused, Err(Stop::Bad(WireError::Limit(_)))),
                "{len}"
            );
        }
    }

    #[test]
    fn records_end_where_they_take_too_much_memory() {
        let mut one = 5000_i32.to_le_bytes().to_vec();
        one.resize(5004, b'x');
        let mut records = Records::default();
        let fit = MAX_BYTES / 5000;
        for _ in 0..fit {
            assert_eq!(records.take(&mut Reader::new(&one)), Ok(false));
        }
        assert!(records.take(&mut Reader::new(&one)).is_err());
        assert_eq!(records.into_vec().len(), fit);
    }
}
