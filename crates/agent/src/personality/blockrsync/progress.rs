//! How far it is, in lines from which the controller takes a percentage and a rate.
//!
//! It reads the first 60 bytes of the last five lines, and takes from them the last `\d+\%` and the last
//! `\d+\.\w*\/s`. So nothing but what has been sent may look like a percentage.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use barge::over_blockrsync::Event;

use super::log;

/// What a source says of its run.
#[derive(Debug)]
pub(super) struct Progress(RefCell<State>);

#[derive(Debug)]
struct State {
    told: Instant,
    /// Sent when that was told.
    sent: u64,
    /// What was to be sent, of the connection on which that was least.
    least: Option<u64>,
    /// The same of this connection, once it is known.
    total: Option<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(RefCell::new(State {
            told: Instant::now(),
            sent: 0,
            least: None,
            total: None,
        }))
    }

    /// Another connection begins.
    pub(super) fn begin(&self) {
        let mut state = self.0.borrow_mut();
        (state.told, state.sent, state.total) = (Instant::now(), 0, None);
    }

    /// Tells what goes on, not too often.
    pub(super) fn tell(&self, event: Event) {
        let mut state = self.0.borrow_mut();
        match event {
            Event::Peer { is_ours: false } => log::info(
                "the target is a stock blockrsync: it does not confirm what it has written",
            ),
            Event::Comparing { done, total } if state.told.elapsed() >= SELDOM => {
                state.told = Instant::now();
                log::info(&compared(done, total));
            }
            Event::Sending { done, total, .. } => {
                if state.total.replace(total).is_none() {
                    state.told = Instant::now();
                }
                let passed = state.told.elapsed();
                if passed >= OFTEN || done == total {
                    let rate = (done - state.sent) as f64 / passed.as_secs_f64().max(0.001);
                    (state.told, state.sent) = (Instant::now(), done);
                    log::info(&sent(done, total, rate));
                }
            }
            _ => {}
        }
    }

    /// Whether less was to be sent on this connection than on any before.
    pub(super) fn has_come_further(&self) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(total) = state.total else {
            return false;
        };
        let further = state.least.is_none_or(|least| total < least);
        if further {
            state.least = Some(total);
        }
        further
    }
}

fn compared(done: u64, total: u64) -> String {
    format!("compared {:.1} of {:.1} GiB", gib(done), gib(total))
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// `rate` is in bytes a second.
fn sent(done: u64, total: u64, rate: f64) -> String {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    let (unit, size) = match rate {
        1_073_741_824.0.. => ("GB", 1_073_741_824.0),
        1_048_576.0.. => ("MB", 1_048_576.0),
        1024.0.. => ("kB", 1024.0),
        _ => ("B", 1.0),
    };
    format!("sync progress {percent}% {:.2}{unit}/s", rate / size)
}

const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// As the controller reads it: `mtc-contract.md`, 4.1.
    #[test]
    fn line_fits_into_what_the_controller_reads() {
        let most = sent(u64::MAX, u64::MAX, 1023.994 * 1_048_576.0);
        assert_eq!(most, "sync progress 100% 1023.99MB/s");
        let line = format!("2024-03-01T12:00:00.123Z\tINFO\t{most}");
        assert_eq!(line.len(), 60);
        assert_eq!(sent(1, 3, 10.5), "sync progress 33% 10.50B/s");
        assert_eq!(sent(0, 0, 0.0), "sync progress 0% 0.00B/s");
        assert_eq!(sent(1, 2, 3_221_225_472.0), "sync progress 50% 3.00GB/s");
    }

    #[test]
    fn what_was_compared_looks_like_no_percentage_and_no_rate() {
        assert_eq!(compared(3 << 29, 10 << 30), "compared 1.5 of 10.0 GiB");
    }
}
