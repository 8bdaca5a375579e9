//! The digest of all that was said between the greetings and the end.

use std::fmt;

/// What a list and the changes to it said: both sides make it of what they sent and received, and
/// it is the same when all of that has arrived.
#[derive(Clone, Default)]
pub struct Transcript(blake3::Hasher);

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transcript")
    }
}

impl Transcript {
    pub(crate) fn note(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
