//! How the program ends: one code for each answer to «who has to act».

use barge::{Fault, RunEnd};
use barge_types::Verdict;

/// The exit code of the program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    Complete = 0,
    Internal = 1,
    Usage = 2,
    Refused = 3,
    Unverified = 4,
    NoBarge = 5,
    Connection = 6,
    Full = 7,
    Partial = 8,
    MaxDelete = 9,
    Interrupted = 10,
}

impl Exit {
    /// The code of a run that has ended.
    pub(crate) fn of(end: &RunEnd) -> Self {
        match &end.error {
            Some(error) => error.fault().into(),
            None if end.report.tally.failed > 0 => Self::Partial,
            None if end.undeleted > 0 => Self::MaxDelete,
            None => match end.report.verdict {
                Verdict::Complete => Self::Complete,
                Verdict::Partial => Self::Partial,
                Verdict::Failed => Self::Internal,
            },
        }
    }

    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// All codes with their meaning, a line each: part of the help and of the README.
    pub(crate) fn table() -> String {
        let row = |(exit, meaning): &(Self, &str)| format!("  {:>2}  {meaning}\n", exit.code());
        MEANINGS.iter().map(row).collect()
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Request => Self::Refused,
            Fault::Identity => Self::Unverified,
            Fault::Peer => Self::NoBarge,
            Fault::Weather => Self::Connection,
            Fault::Operator => Self::Full,
            Fault::Interrupted => Self::Interrupted,
            _ => Self::Internal,
        }
    }
}

const MEANINGS: [(Exit, &str); 11] = [
    (
        Exit::Complete,
        "complete: all that was asked for is durable at the target",
    ),
    (Exit::Internal, "internal error: please report it"),
    (Exit::Usage, "wrong usage or configuration"),
    (
        Exit::Refused,
        "refused before anything moved: unknown or busy volume, source missing or unreadable, target unwritable or inside the source",
    ),
    (
        Exit::Unverified,
        "a peer could not be verified: other CA, expired or wrong certificate",
    ),
    (
        Exit::NoBarge,
        "the peer is no barge, speaks no common version, or broke the protocol",
    ),
    (
        Exit::Connection,
        "connection lost or never made, and all retries used up",
    ),
    (
        Exit::Full,
        "the target is full, became read-only, or failed to store",
    ),
    (
        Exit::Partial,
        "partial: the run came to its end, some paths failed; the report names them",
    ),
    (
        Exit::MaxDelete,
        "deletion stopped by --max-delete; nothing else failed",
    ),
    (
        Exit::Interrupted,
        "interrupted by SIGTERM or SIGINT during a run, and drained",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use barge::Error;
    use barge_types::{Report, Tally};
    use std::time::Duration;

    fn end(verdict: Verdict, failed: u64, undeleted: u64, error: Option<Error>) -> RunEnd {
        let report = Report {
            verdict,
            tally: Tally {
                failed,
                ..Tally::default()
            },
            failures: Vec::new(),
            wire_bytes: 0,
            reconnects: 0,
            duration: Duration::ZERO,
        };
        RunEnd {
            report,
            undeleted,
            error,
        }
    }

    #[test]
    fn run_without_error_ends_by_its_verdict_and_tally() {
        for (verdict, failed, undeleted, exit) in [
            (Verdict::Complete, 0, 0, Exit::Complete),
            (Verdict::Partial, 1, 0, Exit::Partial),
            (Verdict::Partial, 1, 5, Exit::Partial),
            (Verdict::Partial, 0, 5, Exit::MaxDelete),
            (Verdict::Complete, 0, 5, Exit::MaxDelete),
            (Verdict::Complete, 1, 0, Exit::Partial),
            (Verdict::Partial, 0, 0, Exit::Partial),
            (Verdict::Failed, 0, 0, Exit::Internal),
        ] {
            let end = end(verdict, failed, undeleted, None);
            assert_eq!(Exit::of(&end), exit, "{verdict:?} {failed} {undeleted}");
        }
    }

    #[test]
    fn run_with_an_error_ends_by_who_has_to_act() {
        let dial = |fault| Error::Dial {
            text: String::new(),
            fault,
        };
        for (error, exit) in [
            (Error::Request(String::new()), Exit::Refused),
            (Error::Refused(String::new()), Exit::Refused),
            (dial(Fault::Identity), Exit::Unverified),
            (Error::Version(String::new()), Exit::NoBarge),
            (dial(Fault::Weather), Exit::Connection),
            (Error::Lost(String::new()), Exit::Connection),
            (Error::TargetFull(String::new()), Exit::Full),
            (Error::Interrupted(String::new()), Exit::Interrupted),
            (Error::Internal(String::new()), Exit::Internal),
        ] {
            let text = format!("{error:?}");
            assert_eq!(
                Exit::of(&end(Verdict::Failed, 3, 0, Some(error))),
                exit,
                "{text}"
            );
        }
    }

    #[test]
    fn table_gives_every_code_once_and_in_order() {
        let codes: Vec<u8> = MEANINGS.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, (0..=10).collect::<Vec<u8>>());
    }
}
