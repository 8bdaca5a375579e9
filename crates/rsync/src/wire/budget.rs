//! How much peers may make this side remember: counted, not measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::WireError;

/// Room that several [`Budget`]s are of.
#[derive(Debug)]
pub struct Room {
    most: u64,
    held: AtomicU64,
}

impl Room {
    /// At most so many bytes may be held at a time, of all budgets together.
    pub const fn new(most: u64) -> Self {
        Self {
            most,
            held: AtomicU64::new(0),
        }
    }

    /// Takes so many bytes, or none.
    fn take(&self, bytes: u64) -> bool {
        let fits = |held: u64| held.checked_add(bytes).filter(|&held| held <= self.most);
        let taken = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok()
    }
}

/// What is held for one of those who share a room; given back with it.
#[derive(Debug)]
pub struct Budget {
    room: Arc<Room>,
    held: u64,
}

impl Budget {
    /// Nothing is held yet, and there is room for so many bytes.
    pub fn new(most: u64) -> Self {
        Self::of(Arc::new(Room::new(most)))
    }

    /// Nothing is held yet, of a room in which others may hold something.
    pub fn of(room: Arc<Room>) -> Self {
        Self { room, held: 0 }
    }

    /// More is held, of `what`.
    ///
    /// # Errors
    ///
    /// [`WireError::Limit`] when there is no room for it; nothing more is held then.
    pub fn hold(&mut self, bytes: usize, what: &'static str) -> Result<(), WireError> {
        if !self.room.take(bytes as u64) {
            return Err(WireError::Limit(what));
        }
        self.held += bytes as u64;
        Ok(())
    }

    /// As much more is held of `wanted` bytes as there is room for. How much that is.
    pub fn hold_some(&mut self, wanted: u64) -> u64 {
        let mut some = 0;
        let fits = |held: u64| {
            some = wanted.min(self.room.most - held);
            Some(held + some)
        };
        let (relaxed, room) = (Ordering::Relaxed, &self.room.held);
        let _ = room.fetch_update(relaxed, relaxed, fits);
        self.held += some;
        some
    }

    /// That much is no longer held.
    pub(crate) fn release(&mut self, bytes: usize) {
        let bytes = self.held.min(bytes as u64);
        self.held -= bytes;
        self.room.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// What is fair where nobody says how much there is: 2 GiB.
impl Default for Budget {
    fn default() -> Self {
        Self::new(2 << 30)
    }
}

/// Bytes that a piece of memory takes of an allocator, with what that adds.
pub(crate) fn allocated(len: usize) -> usize {
    match len {
        0 => 0,
        len => (len + 8).next_multiple_of(16).max(32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_may_be_held_again() {
        let mut budget = Budget::new(100);
        for _ in 0..1000 {
            budget.hold(60, "x").unwrap();
            budget.release(60);
        }
        budget.hold(100, "x").unwrap();
        assert_eq!(budget.hold(1, "x"), Err(WireError::Limit("x")));
    }

    #[test]
    fn those_who_share_a_room_hold_no_more_than_there_is_together() {
        let room = Arc::new(Room::new(100));
        let mut first = Budget::of(Arc::clone(&room));
        let mut second = Budget::of(room);
        first.hold(60, "x").unwrap();
        assert_eq!(second.hold(60, "x"), Err(WireError::Limit("x")));
        // Who was refused has taken nothing from the other.
        first.hold(40, "x").unwrap();
        assert_eq!(second.hold_some(10), 0);
        first.release(30);
        assert_eq!(second.hold_some(20), 20);
        assert_eq!(second.hold_some(20), 10);
        // What an end leaves is there for who is left, and nobody gives back more than was held.
        drop(first);
        second.release(1000);
        second.hold(100, "x").unwrap();
        assert_eq!(second.hold(1, "x"), Err(WireError::Limit("x")));
        assert_eq!(second.hold(usize::MAX, "x"), Err(WireError::Limit("x")));
    }
}
