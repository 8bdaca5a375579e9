//! The closing statistics, and the counts of deletions.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::BytesMut;

use super::cursor::{Parsed, Reader};
use super::int::Put;
use crate::WireError;

/// What a sending server tells its client at the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Bytes the server read.
    pub read: u64,
    /// Bytes it wrote.
    pub written: u64,
    /// Bytes of all regular files and symbolic links listed.
    pub total_size: u64,
    /// Milliseconds it took to build the lists.
    pub list_build_ms: u64,
    /// Milliseconds it took to send them.
    pub list_transfer_ms: u64,
}

impl Statistics {
    /// Appends them.
    pub fn put(&self, out: &mut BytesMut) {
        for value in [
            self.read,
            self.written,
            self.total_size,
            self.list_build_ms,
            self.list_transfer_ms,
        ] {
            out.put_varlong(value as i64, 3);
        }
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when one is negative.
    pub fn read(reader: &mut Reader<'_>) -> Parsed<Self> {
        let mut next = || -> Parsed<u64> {
            let value = u64::try_from(reader.varlong(3)?);
            Ok(value.map_err(|_| WireError::Protocol("a negative statistic"))?)
        };
        Ok(Self {
            read: next()?,
            written: next()?,
            total_size: next()?,
            list_build_ms: next()?,
            list_transfer_ms: next()?,
        })
    }
}

/// How many entries the receiving side deleted, at most 2^28 of a kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DelStats {
    /// Regular files.
    pub files: u32,
    /// Directories.
    pub dirs: u32,
    /// Symbolic links.
    pub links: u32,
    /// Devices.
    pub devices: u32,
    /// Fifos and sockets.
    pub specials: u32,
}

impl DelStats {
    /// Appends them; their marker stands before.
    pub fn put(&self, out: &mut BytesMut) {
        for value in [
            self.files,
            self.dirs,
            self.links,
            self.devices,
            self.specials,
        ] {
            out.put_varint(value.min(MOST_DELETED) as i32);
        }
    }

    /// Reads them behind their marker.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when one is negative or above 2^28.
    pub fn read(reader: &mut Reader<'_>) -> Parsed<Self> {
        let mut next = || reader.count(MOST_DELETED, "a count of deletions");
        Ok(Self {
            files: next()?,
            dirs: next()?,
            links: next()?,
            devices: next()?,
            specials: next()?,
        })
    }
}

const MOST_DELETED: u32 = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cursor::Stop;

    #[test]
    fn statistics_have_the_recorded_bytes() {
        let bytes = b"\x00\x9e\x00\x00\x4e\x03\x00\x19\x00\x00\x01\x00\x00\x00\x00";
        let statistics = Statistics {
            read: 158,
            written: 846,
            total_size: 25,
            list_build_ms: 1,
            list_transfer_ms: 0,
        };
        let mut out = BytesMut::new();
        statistics.put(&mut out);
        assert_eq!(out, &bytes[..]);
        assert_eq!(Statistics::read(&mut Reader::new(bytes)), Ok(statistics));
    }

    #[test]
    fn counts_of_deletions_have_the_recorded_bytes() {
        let bytes = b"\x02\x01\x00\x00\x00";
        let counts = DelStats {
            files: 2,
            dirs: 1,
            ..DelStats::default()
        };
        let mut out = BytesMut::new();
        counts.put(&mut out);
        assert_eq!(out, &bytes[..]);
        assert_eq!(DelStats::read(&mut Reader::new(bytes)), Ok(counts));
    }

    #[test]
    fn counts_of_deletions_beyond_2_to_the_28_are_refused() {
        for (value, good) in [(1 << 28, true), ((1 << 28) + 1, false), (-1, false)] {
            let mut out = BytesMut::new();
            for value in [0, value, 0, 0, 0] {
                out.put_varint(value);
            }
            let read = DelStats::read(&mut Reader::new(&out));
            assert_eq!(read.is_ok(), good, "{value}");
            assert!(good || matches!(read, Err(Stop::Bad(_))));
        }
    }
}
