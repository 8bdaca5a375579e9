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
    pub(crate) fn end(
        &self,
        monitor: &Monitor,
        tally: Tally,
        failures: Vec<FailedPath>,
        undeleted: u64,
        error: Option<Error>,
    ) -> RunEnd {
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
        self.end(monitor, Tally::default(), Vec::new(), 0, Some(error))
    }
}
