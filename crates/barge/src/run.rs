//! What a run comes to.

use std::time::Instant;

use barge_types::{FailedPath, Report, Tally, Verdict};

use crate::error::Error;
use crate::monitor::Monitor;

/// What ended a run: always a report, and the error when it did not come to its end.
#[derive(Debug)]
pub struct RunEnd {
    /// What was done.
    pub report: Report,
    /// Paths that `--max-delete` kept.
    pub undeleted: u64,
    /// Why the run did not come to its end.
    pub error: Option<Error>,
}

/// What came of a session at one of its sides.
#[derive(Debug)]
pub(crate) struct SessionEnd {
    pub(crate) tally: Tally,
    pub(crate) failures: Vec<FailedPath>,
    pub(crate) undeleted: u64,
    /// Why the run did not come to its end.
    pub(crate) error: Option<Error>,
    /// The other side has yet to hear of the end.
    pub(crate) last_words: bool,
}

impl SessionEnd {
    /// Nothing was done, because of `error`.
    pub(crate) fn failed(error: Error) -> Self {
        Self {
            tally: Tally::default(),
            failures: Vec::new(),
            undeleted: 0,
            error: Some(error),
            last_words: false,
        }
    }
}

/// A run from its beginning: what a report needs besides the tally.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    wire_bytes: u64,
    reconnects: u64,
}

impl Clock {
    pub(crate) fn start(monitor: &Monitor) -> Self {
        Self {
            begun: Instant::now(),
            wire_bytes: monitor.counters.wire_bytes.get(),
            reconnects: monitor.counters.reconnects.get(),
        }
    }

    /// Ends a run. A failure in the tally is never [`Verdict::Complete`].
    pub(crate) fn end(&self, monitor: &Monitor, end: SessionEnd) -> RunEnd {
        let SessionEnd {
            tally,
            failures,
            undeleted,
            error,
            ..
        } = end;
        let verdict = match (&error, tally.failed + undeleted) {
            (Some(_), _) => Verdict::Failed,
            (None, 0) => Verdict::Complete,
            (None, _) => Verdict::Partial,
        };
        let report = Report {
            verdict,
            tally,
            failures,
            wire_bytes: monitor.counters.wire_bytes.get() - self.wire_bytes,
            reconnects: monitor.counters.reconnects.get() - self.reconnects,
            duration: self.begun.elapsed(),
        };
        RunEnd {
            report,
            undeleted,
            error,
        }
    }

    /// Ends a run that could not begin.
    pub(crate) fn refuse(&self, monitor: &Monitor, error: Error) -> RunEnd {
        self.end(monitor, SessionEnd::failed(error))
    }
}
