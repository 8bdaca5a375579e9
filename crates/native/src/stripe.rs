//! Ranges: the pieces in which a large file is dealt to streams.

use std::ops::Range;

use crate::ProtocolError;

/// The length of every range of a file but its last.
pub const RANGE_LEN: u64 = 32 << 20;

/// The longest file that can be sent, 1 PiB: which of its ranges have ended takes 4 MiB to know.
pub const MAX_FILE: u64 = 1 << 50;

/// How many ranges a file of `size` bytes has. An empty file has none.
pub fn range_count(size: u64) -> u64 {
    size.div_ceil(RANGE_LEN)
}

/// The bytes of range `range` of a file of `size` bytes; `None` when it has no such range.
pub fn range_bytes(range: u32, size: u64) -> Option<Range<u64>> {
    let start = u64::from(range) * RANGE_LEN;
    (start < size).then(|| start..size.min(start + RANGE_LEN))
}

/// Where the pieces of one range stand: each begins where the last one ended.
#[derive(Clone, Debug)]
pub struct RangeCursor {
    left: Range<u64>,
}

impl RangeCursor {
    /// Begins range `range` of a file of `size` bytes.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Limit`] when the file has no such range.
    pub fn new(range: u32, size: u64) -> Result<Self, ProtocolError> {
        let left = range_bytes(range, size).ok_or(ProtocolError::Limit {
            what: "a range",
            value: range.into(),
            limit: range_count(size),
        })?;
        Ok(Self { left })
    }

    /// Takes the next `len` bytes; returns their offset in the file.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Limit`] when they leave the range.
    pub fn take(&mut self, len: u64) -> Result<u64, ProtocolError> {
        let limit = self.left.end - self.left.start;
        crate::cursor::within("a piece of a range", len, limit)?;
        let offset = self.left.start;
        self.left.start += len;
        Ok(offset)
    }

    /// Ends the range.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Order`] when bytes of it are missing.
    pub fn end(self) -> Result<(), ProtocolError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::Order("the end of a range"))
        }
    }
}

/// Which ranges of a file are complete: a bit a range, 4 KiB for a TiB.
#[derive(Clone, Debug)]
pub struct Coverage {
    ended: Vec<u64>,
    left: u64,
}

impl Coverage {
    /// Nothing of a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self {
            ended: Vec::new(),
            left: range_count(size),
        }
    }

    /// Marks a range that has ended, which its [`RangeCursor`] found to exist.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Order`] when it had ended before.
    pub fn mark(&mut self, range: u32) -> Result<(), ProtocolError> {
        let (word, bit) = (range as usize / 64, 1 << (range % 64));
        if self.ended.len() <= word {
            self.ended.resize(word + 1, 0);
        }
        if self.ended[word] & bit != 0 || self.left == 0 {
            return Err(ProtocolError::Order("a range that has ended"));
        }
        self.ended[word] |= bit;
        self.left -= 1;
        Ok(())
    }

    /// Whether every range has ended.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_a_file_exactly() {
        for size in [
            0,
            1,
            RANGE_LEN - 1,
            RANGE_LEN,
            RANGE_LEN + 1,
            5 * RANGE_LEN + 7,
        ] {
            let mut covered = 0;
            for range in 0..range_count(size) as u32 {
                let bytes = range_bytes(range, size).unwrap();
                assert_eq!(bytes.start, covered);
                covered = bytes.end;
            }
            assert_eq!(covered, size);
            assert!(range_bytes(range_count(size) as u32, size).is_none());
        }
    }

    #[test]
    fn cursor_refuses_bytes_beyond_its_range_and_an_early_end() {
        let mut cursor = RangeCursor::new(1, RANGE_LEN + 10).unwrap();
        assert_eq!(cursor.take(4).unwrap(), RANGE_LEN);
        assert!(cursor.take(7).is_err());
        assert!(cursor.clone().end().is_err());
        assert_eq!(cursor.take(6).unwrap(), RANGE_LEN + 4);
        cursor.end().unwrap();
        assert!(RangeCursor::new(2, RANGE_LEN + 10).is_err());
    }

    #[test]
    fn coverage_refuses_a_range_that_ends_twice() {
        let mut coverage = Coverage::new(5 * RANGE_LEN);
        for range in [1, 4, 3, 0] {
            coverage.mark(range).unwrap();
            assert!(coverage.mark(range).is_err(), "{range}");
            assert!(!coverage.is_complete());
        }
        coverage.mark(2).unwrap();
        assert!(coverage.is_complete());
        assert!((0..5).all(|range| coverage.mark(range).is_err()));
    }
}
