//! Which marker means what, and what must be written when: lists, redos, late work, goodbye.
//!
//! The two streams carry the same one-byte marker for all of it. With N lists in all, the
//! generator sends N for them, then one when redos are through, one when delayed updates are,
//! from protocol 31 on one when deletions are, and a goodbye. The sender answers all but the
//! goodbye; at protocol 30 the receiving side's third is the goodbye.
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use crate::{ProtocolVersion, WireError};

/// What the sender does with a marker of the generator's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SenderStep {
    /// Frees the oldest list and answers.
    FreeList,
    /// Answers.
    Answer,
    /// Tells of errors that are not told yet, answers, and as a server adds its statistics.
    Close,
    /// Repeats, as a server, the counts of deletions it was told, and answers.
    Goodbye,
    /// Is through: it waits for the end of the stream.
    End,
}

/// The sender's place in the run.
#[derive(Clone, Debug)]
pub struct SenderPhase {
    protocol: ProtocolVersion,
}

impl SenderPhase {
    /// The beginning.
    pub fn new(protocol: ProtocolVersion, incremental: bool) -> Self {
        let _ = incremental;
        Self { protocol }
    }

    /// A marker came. `lists` are those that are not freed, and `more` says whether further ones
    /// will be sent.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when none may come.
    pub fn done(&mut self, _lists: usize, _more: bool) -> Result<SenderStep, WireError> {
        todo!("{}", self.protocol)
    }

    /// Whether content may be asked for.
    pub fn may_transfer(&self) -> bool {
        todo!()
    }

    /// Whether requests may come at all.
    pub fn may_request(&self) -> bool {
        todo!()
    }
}
