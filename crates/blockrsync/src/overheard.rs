//! What a proxy between the two can tell.

use crate::GREETING_LEN;
use crate::greeting::MAGIC;
use crate::verdict::{DONE, DONE_LEN};

/// Watches what the target says.
#[derive(Clone, Debug, Default)]
pub struct Overheard {
    greeting: Vec<u8>,
    /// The last bytes, at most [`DONE_LEN`].
    last: Vec<u8>,
}

impl Overheard {
    /// Notes bytes of the target's, as they pass.
    pub fn note(&mut self, bytes: &[u8]) {
        let missing = GREETING_LEN - self.greeting.len();
        self.greeting.extend(&bytes[..bytes.len().min(missing)]);
        let tail = &bytes[bytes.len().saturating_sub(DONE_LEN)..];
        self.last.extend(tail);
        let surplus = self.last.len().saturating_sub(DONE_LEN);
        self.last.drain(..surplus);
    }

    /// Whether the target is done, when these were its last bytes: one of ours has said so, a stock
    /// one has said anything at all.
    pub fn is_done(&self) -> bool {
        match self.greeting.starts_with(MAGIC) {
            true => self.last.len() == DONE_LEN && self.last.starts_with(DONE),
            false => self.greeting.len() == GREETING_LEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Greeting, Verdict};

    fn heard(said: &[&[u8]]) -> bool {
        let mut whole = Overheard::default();
        whole.note(&said.concat());
        let mut bytewise = Overheard::default();
        said.concat()
            .iter()
            .for_each(|&byte| bytewise.note(&[byte]));
        assert_eq!(whole.is_done(), bytewise.is_done());
        whole.is_done()
    }

    #[test]
    fn target_of_ours_is_done_when_it_says_so() {
        let ours = &Greeting::ours(7)[..];
        let done = &Verdict::Done { digest: [5; 32] }.encode()[..];
        let refused = &Verdict::Refused("no".to_owned()).encode()[..];
        assert!(heard(&[ours, b"list", done]));
        assert!(!heard(&[ours, done, b"x"]));
        assert!(!heard(&[ours, &done[..47]]));
        assert!(!heard(&[ours, refused]));
        assert!(!heard(&[ours]));
    }

    #[test]
    fn stock_target_is_taken_to_be_done_when_it_has_greeted() {
        assert!(heard(&[&[1; 32], b"list"]));
        assert!(!heard(&[&[1; 31]]));
        assert!(!heard(&[]));
    }
}
