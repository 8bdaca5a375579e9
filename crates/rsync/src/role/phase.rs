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
    incremental: bool,
    place: Place,
}

/// After which marker.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    /// Lists are being worked on.
    Lists,
    /// Of all lists; what failed may be asked for again.
    Redo,
    /// Of the redos.
    Late,
    /// Of delayed updates: the answers have ended.
    Closed,
    /// Of deletions.
    Goodbye,
    /// The goodbye.
    Ended,
}

impl SenderPhase {
    /// The beginning.
    pub fn new(protocol: ProtocolVersion, incremental: bool) -> Self {
        Self {
            protocol,
            incremental,
            place: Place::Lists,
        }
    }

    /// A marker came. `lists` are those that are not freed, and `more` says whether further ones
    /// will be sent.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when none may come.
    pub fn done(&mut self, lists: usize, more: bool) -> Result<SenderStep, WireError> {
        let (place, step) = match self.place {
            Place::Lists if !self.incremental => (Place::Redo, SenderStep::Answer),
            Place::Lists if lists == 0 => {
                return Err(WireError::Protocol("a list is done that was not sent"));
            }
            Place::Lists if lists > 1 || more => (Place::Lists, SenderStep::FreeList),
            Place::Lists => (Place::Redo, SenderStep::FreeList),
            Place::Redo => (Place::Late, SenderStep::Answer),
            Place::Late => (Place::Closed, SenderStep::Close),
            Place::Closed if self.protocol.is_31_or_newer() => {
                (Place::Goodbye, SenderStep::Goodbye)
            }
            Place::Closed | Place::Goodbye => (Place::Ended, SenderStep::End),
            Place::Ended => return Err(WireError::Protocol("a marker after the goodbye")),
        };
        self.place = place;
        Ok(step)
    }

    /// Whether content may be asked for.
    pub fn may_transfer(&self) -> bool {
        self.place <= Place::Redo
    }

    /// Whether requests may come at all.
    pub fn may_request(&self) -> bool {
        self.place <= Place::Late
    }
}

/// What a marker of the sender's tells the receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReceiverStep {
    ListDone,
    RedoDone,
    /// Statistics follow, when a server sends.
    UpdatesDone,
    End,
}

/// The receiver's place in the run.
#[derive(Clone, Debug)]
pub(super) struct ReceiverPhase {
    protocol: ProtocolVersion,
    incremental: bool,
    place: Place,
}

impl ReceiverPhase {
    pub(super) fn new(protocol: ProtocolVersion, incremental: bool) -> Self {
        Self {
            protocol,
            incremental,
            place: Place::Lists,
        }
    }

    /// A marker came, while there are so many `lists` that are not done, and `more` or not to come.
    /// One of lists frees the oldest where lists are incremental.
    pub(super) fn done(&mut self, lists: usize, more: bool) -> Result<ReceiverStep, WireError> {
        if self.place == Place::Lists && lists == 0 && !more {
            self.place = Place::Redo;
        }
        let (step, place) = match self.place {
            Place::Lists if lists == 0 => return Err(WireError::Protocol("a list too many done")),
            Place::Lists if self.incremental => (ReceiverStep::ListDone, Place::Lists),
            Place::Lists => (ReceiverStep::ListDone, Place::Redo),
            Place::Redo => (ReceiverStep::RedoDone, Place::Late),
            Place::Late if self.protocol.is_31_or_newer() => {
                (ReceiverStep::UpdatesDone, Place::Closed)
            }
            Place::Late => (ReceiverStep::UpdatesDone, Place::Ended),
            Place::Closed => (ReceiverStep::End, Place::Ended),
            Place::Goodbye | Place::Ended => {
                return Err(WireError::Protocol("a marker after the end"));
            }
        };
        self.place = place;
        Ok(step)
    }

    /// Whether content may come.
    pub(super) fn may_transfer(&self) -> bool {
        self.place <= Place::Redo
    }

    /// Whether answers may come.
    pub(super) fn may_answer(&self) -> bool {
        self.place <= Place::Late
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SenderStep::{Answer, Close, End, FreeList, Goodbye};

    /// Lists that are not freed, whether more will come, and what the sender does.
    type Marker = (usize, bool, SenderStep);

    fn phase(protocol: u8, incremental: bool) -> SenderPhase {
        SenderPhase::new(ProtocolVersion::new(protocol).unwrap(), incremental)
    }

    /// As recorded: markers of the generator, and what the sender did at each.
    #[test]
    fn markers_of_a_whole_run_mean_what_stock_peers_make_of_them() {
        let cases: [(u8, bool, &[Marker]); 4] = [
            (
                32,
                true,
                &[
                    (1, true, FreeList),
                    (1, false, FreeList),
                    (0, false, Answer),
                    (0, false, Close),
                    (0, false, Goodbye),
                    (0, false, End),
                ],
            ),
            (
                31,
                false,
                &[
                    (1, false, Answer),
                    (1, false, Answer),
                    (1, false, Close),
                    (1, false, Goodbye),
                    (1, false, End),
                ],
            ),
            (
                30,
                false,
                &[
                    (1, false, Answer),
                    (1, false, Answer),
                    (1, false, Close),
                    (1, false, End),
                ],
            ),
            (
                30,
                true,
                &[
                    (2, false, FreeList),
                    (1, false, FreeList),
                    (0, false, Answer),
                    (0, false, Close),
                    (0, false, End),
                ],
            ),
        ];
        for (protocol, incremental, markers) in cases {
            let mut phase = phase(protocol, incremental);
            for (n, (lists, more, step)) in markers.iter().enumerate() {
                let done = phase.done(*lists, *more);
                assert_eq!(done, Ok(*step), "{protocol} {incremental} {n}");
            }
            assert!(phase.done(0, false).is_err());
        }
    }

    #[test]
    fn content_may_be_asked_for_until_the_redos_are_through() {
        let mut phase = phase(32, false);
        for (transfer, request) in [(true, true), (true, true), (false, true), (false, false)] {
            assert_eq!(
                (phase.may_transfer(), phase.may_request()),
                (transfer, request)
            );
            phase.done(1, false).unwrap();
        }
    }

    /// The generator's markers, as the sender takes them, and its answers, as the receiver does.
    #[test]
    fn sender_and_receiver_come_to_the_end_together() {
        for (protocol, incremental, lists) in [
            (30, false, 1),
            (30, true, 3),
            (32, false, 1),
            (32, true, 1),
            (32, true, 4),
        ] {
            let mut sender = phase(protocol, incremental);
            let version = ProtocolVersion::new(protocol).unwrap();
            let mut receiver = ReceiverPhase::new(version, incremental);
            let mut live = [lists; 2];
            let markers = lists + if protocol == 30 { 3 } else { 4 };
            for marker in 1..=markers {
                let step = sender.done(live[0], false).unwrap();
                live[0] -= usize::from(step == FreeList);
                assert_eq!(step == End, marker == markers);
                assert_eq!(receiver.is_over(), marker == markers);
                if marker < markers {
                    let step = receiver.done(live[1], false).unwrap();
                    live[1] -= usize::from(incremental && step == ReceiverStep::ListDone);
                }
            }
            assert!(receiver.done(0, false).is_err());
        }
    }

    #[test]
    fn receiver_does_not_take_more_lists_for_done_than_came() {
        let mut phase = ReceiverPhase::new(ProtocolVersion::NEWEST, true);
        assert_eq!(phase.done(1, true), Ok(ReceiverStep::ListDone));
        assert!(phase.done(0, true).is_err(), "more lists are to come");
        assert_eq!(phase.done(0, false), Ok(ReceiverStep::RedoDone));
    }
}
