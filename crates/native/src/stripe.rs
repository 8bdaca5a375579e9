//! Ranges: the pieces in which a large file is dealt to streams.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ProtocolError;

/// The length of every range of a file but its last.
pub const RANGE_LEN: u64 = 32 << 20;

/// The longest file that can be sent: its ranges are numbered with 32 bits.
pub const MAX_FILE: u64 = (1 << 31) * RANGE_LEN;

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

/// Which ranges of a file are complete. They may end in any order, but at most [`MAX_GAPS`] gaps
/// may be left between them: so its memory does not follow the file's size.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Runs of ranges that have ended, by their first: the range after their last.
    ended: BTreeMap<u64, u64>,
    count: u64,
}

impl Coverage {
    /// Nothing of a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self {
            ended: BTreeMap::new(),
            count: range_count(size),
        }
    }

    /// Marks a range that has ended, which its [`RangeCursor`] found to exist.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Order`] when it had ended before, or leaves one gap too many.
    pub fn mark(&mut self, range: u32) -> Result<(), ProtocolError> {
        let (mut start, mut end) = (u64::from(range), u64::from(range) + 1);
        if let Some((&before, &after)) = self.ended.range(..=start).next_back() {
            if after > start {
                return Err(ProtocolError::Order("a range that has ended"));
            }
            if after == start {
                start = before;
            }
        }
        if let Some(after) = self.ended.remove(&end) {
            end = after;
        }
        self.ended.insert(start, end);
        if self.ended.len() > MAX_GAPS {
            return Err(ProtocolError::Order("a range far from all others"));
        }
        Ok(())
    }

    /// Whether every range has ended.
    pub fn is_complete(&self) -> bool {
        self.count == 0 || self.ended.get(&0) == Some(&self.count)
    }
}

/// How many gaps there may be between the ranges of a file that have ended.
pub const MAX_GAPS: usize = 1024;

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

    #[test]
    fn coverage_refuses_more_gaps_than_honest_senders_leave() {
        let mut coverage = Coverage::new(u64::from(u32::MAX) * RANGE_LEN);
        for gap in 0..MAX_GAPS as u32 {
            coverage.mark(2 * gap).unwrap();
        }
        assert!(coverage.mark(4 * MAX_GAPS as u32).is_err());
    }
}
