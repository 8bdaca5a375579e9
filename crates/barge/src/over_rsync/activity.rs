//! When bytes last moved, and for how long they may rest: `--timeout` and what comes of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The idle clock of one connection, both directions.
#[derive(Debug)]
pub(crate) struct Activity {
    begun: Instant,
    /// When something moved last: milliseconds after `begun`.
    moved: AtomicU64,
    /// When the peer was sent something last, a keep-alive included.
    sent: AtomicU64,
    /// Seconds; 0: for ever.
    limit: AtomicU32,
}

impl Activity {
    pub(crate) fn new(timeout: u32) -> Self {
        Self {
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            limit: AtomicU32::new(timeout),
        }
    }

    /// Bytes came, or this side got on with work that takes long.
    pub(crate) fn progress(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// The peer was sent something; `counts` unless it was no more than a keep-alive.
    pub(crate) fn sent(&self, counts: bool) {
        let now = self.now();
        self.sent.store(now, Ordering::Relaxed);
        if counts {
            self.moved.store(now, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Seconds without a byte after which the run is given up; 0: never.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes over a daemon's timeout, which was checked: only ever a shorter one.
    pub(crate) fn adopt(&self, seconds: u32) {
        let limit = self.limit();
        if limit == 0 || seconds < limit {
            self.limit.store(seconds, Ordering::Relaxed);
        }
    }

    /// What is due, and how long to wait before asking again.
    pub(crate) fn due(&self) -> Due {
        let limit = u64::from(self.limit()) * 1000;
        if limit == 0 {
            return Due::Nothing(None);
        }
        let now = self.now();
        let since = |when: &AtomicU64| now.saturating_sub(when.load(Ordering::Relaxed));
        let (idle, silent) = (since(&self.moved), since(&self.sent));
        let half = u64::from(self.limit().div_ceil(2)) * 1000;
        if idle >= limit {
            Due::End
        } else if silent >= half {
            Due::KeepAlive(Duration::from_millis((limit - idle).min(half)))
        } else {
            let next = (limit - idle).min(half - silent);
            Due::Nothing(Some(Duration::from_millis(next)))
        }
    }
}

/// What an idle connection needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Nothing before this time has passed.
    Nothing(Option<Duration>),
    /// The peer has heard nothing for half the time: it should, that this side is alive.
    KeepAlive(Duration),
    /// Nothing moved for all of it.
    End,
}

impl Due {
    /// How long a call may wait before it is asked again what is due.
    pub(crate) fn patience(self) -> Option<Duration> {
        match self {
            Self::Nothing(patience) => patience,
            Self::KeepAlive(patience) => Some(patience),
            Self::End => Some(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_of_a_daemon_is_taken_over_only_when_it_is_shorter() {
        for (own, theirs, limit) in [(0, 30, 30), (60, 30, 30), (20, 30, 20)] {
            let activity = Activity::new(own);
            activity.adopt(theirs);
            assert_eq!(activity.limit(), limit, "{own}, {theirs}");
        }
    }

    #[test]
    fn idle_connection_is_kept_alive_at_half_its_time_and_ended_at_all_of_it() {
        let idle_for = |seconds: u64, limit| {
            let mut activity = Activity::new(limit);
            let before = Instant::now().checked_sub(Duration::from_secs(seconds));
            activity.begun = before.unwrap();
            activity
        };
        assert_eq!(idle_for(1000, 0).due(), Due::Nothing(None));
        assert!(matches!(idle_for(0, 9).due(), Due::Nothing(Some(_))));
        assert!(matches!(idle_for(4, 9).due(), Due::Nothing(Some(_))));
        assert!(matches!(idle_for(5, 9).due(), Due::KeepAlive(_)));
        assert_eq!(idle_for(9, 9).due(), Due::End);
    }

    #[test]
    fn work_keeps_this_side_going_and_the_peer_is_told_so() {
        let mut activity = Activity::new(9);
        activity.begun = Instant::now()
            .checked_sub(Duration::from_secs(100))
            .unwrap();
        activity.progress();
        assert!(matches!(activity.due(), Due::KeepAlive(_)));
        activity.sent(false);
        assert!(matches!(activity.due(), Due::Nothing(Some(_))));
        let mut activity = Activity::new(9);
        activity.begun = Instant::now()
            .checked_sub(Duration::from_secs(100))
            .unwrap();
        activity.sent(false);
        assert_eq!(activity.due(), Due::End);
    }
}
