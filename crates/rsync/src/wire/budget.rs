//! How much a peer may make this side remember: counted, not measured.

use crate::WireError;

/// What is held of a peer's lists, and how much that may become.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    held: u64,
}

impl Budget {
    /// At most so many bytes may be held at a time.
    pub fn new(most: u64) -> Self {
        Self { most, held: 0 }
    }

    /// More is held, of `what`.
    ///
    /// # Errors
    ///
    /// [`WireError::Limit`] when that is too much.
    pub(crate) fn hold(&mut self, bytes: usize, what: &'static str) -> Result<(), WireError> {
        self.held = self.held.saturating_add(bytes as u64);
        match self.held > self.most {
            true => Err(WireError::Limit(what)),
            false => Ok(()),
        }
    }

    /// That much is no longer held.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes as u64);
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
}
