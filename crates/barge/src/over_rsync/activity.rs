//! When bytes last moved, and for how long they may rest: `--timeout` and what comes of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The idle clock of one connection, both directions.
#[derive(Debug)]
pub(crate) struct Activity {
    begun: Instant,
    /// Milliseconds after `begun`.
    moved: AtomicU64,
    /// Seconds; 0: for ever.
    limit: AtomicU32,
}

impl Activity {
    pub(crate) fn new(timeout: u32) -> Self {
        Self {
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            limit: AtomicU32::new(timeout),
        }
    }

    /// Bytes moved, or this side got on with work that takes long.
    pub(crate) fn progress(&self) {
        let now = self.begun.elapsed().as_millis() as u64;
        self.moved.store(now, Ordering::Relaxed);
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
        let limit = Duration::from_secs(self.limit().into());
        if limit.is_zero() {
            return Due::Nothing(None);
        }
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let idle = self.begun.elapsed().saturating_sub(moved);
        let half = Duration::from_secs(u64::from(self.limit().div_ceil(2)));
        if idle >= limit {
            Due::End
        } else if idle >= half {
            Due::KeepAlive((limit - idle).min(half))
        } else {
            Due::Nothing(Some(half - idle))
        }
    }
}

/// What an idle connection needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Nothing before this time has passed.
    Nothing(Option<Duration>),
    /// Half the time is over: the peer should hear that this side is alive.
    KeepAlive(Duration),
    /// All of it is over.
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
            activity.begun = Instant::now()
                .checked_sub(Duration::from_secs(seconds))
                .unwrap();
            activity.due()
        };
        assert_eq!(idle_for(1000, 0), Due::Nothing(None));
        assert!(matches!(idle_for(0, 9), Due::Nothing(Some(_))));
        assert!(matches!(idle_for(4, 9), Due::Nothing(Some(_))));
        assert!(matches!(idle_for(5, 9), Due::KeepAlive(_)));
        assert_eq!(idle_for(9, 9), Due::End);
    }
}
