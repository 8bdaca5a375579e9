//! The receiver's books: which lists the sender may send, and in what order.

use std::collections::HashMap;

use crate::ProtocolError;
use crate::control::{DirId, Segment, SegmentId};
use crate::sender::SEGMENT_COST;

/// Checks the list as it arrives: numbers in order, directories known, within the window. `D` is
/// what the receiver knows of a directory.
#[derive(Debug)]
pub struct Inbox<D> {
    /// Directories whose last segment has not arrived.
    dirs: HashMap<DirId, D>,
    next_segment: u64,
    next_dir: u64,
    window: u64,
    cost: u64,
    items: u64,
    ended: bool,
}

impl<D: Clone> Inbox<D> {
    /// Nothing has arrived; `window` bytes of segments may be unfinished.
    pub fn new(window: u64) -> Self {
        Self {
            dirs: HashMap::new(),
            next_segment: 0,
            next_dir: 0,
            window,
            cost: 0,
            items: 0,
            ended: false,
        }
    }

    /// A directory: the root first, then those of segments in the order they are listed, and
    /// those opened for redos.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when its number is not the next, the list has ended, or more than
    /// [`MAX_OPEN_DIRS`] wait for their last segment.
    pub fn declare(&mut self, id: DirId, dir: D) -> Result<(), ProtocolError> {
        if self.ended || id.0 != self.next_dir {
            return Err(ProtocolError::Order("a directory"));
        }
        crate::cursor::within(
            "open directories",
            self.dirs.len() as u64 + 1,
            MAX_OPEN_DIRS,
        )?;
        self.next_dir += 1;
        self.dirs.insert(id, dir);
        Ok(())
    }

    /// A segment of `len` bytes on the wire. Returns its directory, and what it costs until it is
    /// given to [`Self::close`].
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when its number is not the next, its directory is not open, or the
    /// window is exceeded.
    pub fn segment(&mut self, segment: &Segment, len: usize) -> Result<(D, u64), ProtocolError> {
        if self.ended || u64::from(segment.id.0) != self.next_segment {
            return Err(ProtocolError::Order("a segment"));
        }
        self.next_segment += 1;
        self.items += segment.items.len() as u64;
        let dir = if segment.last {
            self.dirs.remove(&segment.dir)
        } else {
            self.dirs.get(&segment.dir).cloned()
        };
        let dir = dir.ok_or(ProtocolError::Order(
            "a segment of a directory that is not open",
        ))?;
        if self.cost >= self.window {
            let (value, limit) = (self.cost, self.window);
            return Err(ProtocolError::Limit {
                what: "the list",
                value,
                limit,
            });
        }
        let cost = (len as u64).max(SEGMENT_COST);
        self.cost += cost;
        Ok((dir, cost))
    }

    /// Whether a segment has arrived, finished or not.
    pub fn has_had(&self, id: SegmentId) -> bool {
        u64::from(id.0) < self.next_segment
    }

    /// A segment is finished.
    pub fn close(&mut self, cost: u64) {
        self.cost -= cost;
    }

    /// The list has ended, after `items` entries.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Order`] when directories are still open, segments unfinished, or another
    /// number of entries has arrived.
    pub fn end(&mut self, items: u64) -> Result<(), ProtocolError> {
        if self.ended || self.cost > 0 || !self.dirs.is_empty() || items != self.items {
            return Err(ProtocolError::Order("the end of the list"));
        }
        self.ended = true;
        Ok(())
    }
}

/// The most directories that may be named and not listed to their end. A sender goes deep before
/// wide, and keeps some hundred a level waiting.
pub const MAX_OPEN_DIRS: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: u32, dir: u64, last: bool) -> Segment {
        let (id, dir) = (SegmentId(id), DirId(dir));
        Segment {
            id,
            dir,
            last,
            clean: true,
            items: Vec::new(),
        }
    }

    #[test]
    fn inbox_refuses_segments_out_of_order_or_of_unknown_directories() {
        let mut inbox: Inbox<&str> = Inbox::new(SEGMENT_COST * 8);
        assert!(inbox.segment(&segment(0, 0, true), 10).is_err());
        let mut inbox = Inbox::new(SEGMENT_COST * 8);
        assert!(inbox.declare(DirId(1), "not the root").is_err());
        inbox.declare(DirId(0), "root").unwrap();
        assert!(inbox.segment(&segment(1, 0, true), 10).is_err());
        assert_eq!(
            inbox.segment(&segment(0, 0, false), 10),
            Ok(("root", SEGMENT_COST))
        );
        assert!(inbox.end(0).is_err(), "still open");
        inbox.segment(&segment(1, 0, true), 10).unwrap();
        assert!(
            inbox.segment(&segment(2, 0, true), 10).is_err(),
            "after its last"
        );
    }

    #[test]
    fn inbox_refuses_more_than_its_window() {
        let mut inbox = Inbox::new(2 * SEGMENT_COST);
        inbox.declare(DirId(0), ()).unwrap();
        for id in 0..2 {
            inbox.segment(&segment(id, 0, false), 10).unwrap();
        }
        assert!(inbox.segment(&segment(2, 0, false), 10).is_err());
    }

    #[test]
    fn inbox_refuses_an_end_with_another_number_of_entries() {
        let mut inbox = Inbox::new(SEGMENT_COST);
        inbox.declare(DirId(0), ()).unwrap();
        let ((), cost) = inbox.segment(&segment(0, 0, true), 10).unwrap();
        assert!(inbox.end(0).is_err(), "a segment is unfinished");
        inbox.close(cost);
        assert!(inbox.end(1).is_err());
        inbox.end(0).unwrap();
        assert!(inbox.declare(DirId(1), ()).is_err());
    }
}
