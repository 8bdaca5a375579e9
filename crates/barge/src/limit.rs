//! Bandwidth: a token bucket that is told the time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use barge_types::ByteRate;

/// One rate for all threads that send.
///
/// A queue of reservations: each [`take`](Self::take) books the link from where the one before
/// it ends, so threads are served in the order in which they ask. Over any span of time they send
/// at most what the rate allows for it and for [`CREDIT`], and one piece.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Option<ByteRate>,
    /// When all that was booked has been sent; `None` before the first booking.
    free_at: Mutex<Option<Instant>>,
}

impl Limiter {
    /// Without a rate nobody waits.
    pub(crate) fn new(rate: Option<ByteRate>) -> Self {
        Self {
            rate,
            free_at: Mutex::new(None),
        }
    }

    /// Books `bytes` and returns how long the caller must sleep before it sends them.
    pub(crate) fn take(&self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = match *free_at {
            Some(free) if now <= free + CREDIT => free,
            Some(_) => now - CREDIT,
            None => now,
        };
        *free_at = Some(start + time_for(bytes, rate));
        start.saturating_duration_since(now)
    }
}

/// Rounded up to the nanosecond; at most 584 years.
fn time_for(bytes: u64, rate: ByteRate) -> Duration {
    let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(rate.bytes_per_sec()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How much unused time may be made up for.
///
/// A thread that slept too long (a timer, a throttled CPU) must not cost rate; 10 ms are 1 % of
/// the second over which the rate is exact.
const CREDIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 256 << 10;

    fn limiter(rate: &str) -> Limiter {
        Limiter::new(Some(rate.parse().unwrap()))
    }

    /// Bytes that one thread, `late` after each sleep, sends in ten seconds from `start` on.
    fn sent_in_ten_seconds(limiter: &Limiter, start: Instant, late: Duration) -> u64 {
        let mut now = start;
        let mut sent = 0;
        loop {
            let wait = limiter.take(PIECE, now);
            if !wait.is_zero() {
                now += wait + late;
            }
            if now >= start + Duration::from_secs(10) {
                return sent;
            }
            sent += PIECE;
        }
    }

    #[test]
    fn limiter_without_a_rate_never_waits() {
        let limiter = Limiter::new(None);
        for _ in 0..3 {
            assert_eq!(limiter.take(u64::MAX, Instant::now()), Duration::ZERO);
        }
    }

    #[test]
    fn limiter_keeps_its_rate_within_one_percent_whatever_the_timer_does() {
        for rate in ["100M", "1G", "10G"] {
            for late in [0, 60, 5_000].map(Duration::from_micros) {
                let limiter = limiter(rate);
                let sent = sent_in_ten_seconds(&limiter, Instant::now(), late) as f64;
                let allowed = 10.0 * limiter.rate.unwrap().bytes_per_sec() as f64;
                assert!(
                    (sent / allowed - 1.0).abs() < 0.01,
                    "{rate}, {late:?}: {sent}"
                );
            }
        }
    }

    #[test]
    fn idle_limiter_allows_a_burst_of_ten_milliseconds_and_one_piece() {
        let limiter = limiter("100M");
        let start = Instant::now();
        limiter.take(PIECE, start);
        let later = start + Duration::from_secs(3600);
        let mut sent = 0;
        while limiter.take(PIECE, later).is_zero() {
            sent += PIECE;
        }
        assert!((1_000_000..=1_000_000 + PIECE).contains(&sent), "{sent}");
    }

    #[test]
    fn threads_that_ask_at_once_are_served_one_after_the_other() {
        let limiter = limiter("1M");
        let now = Instant::now();
        let waits: Vec<_> = (0..4)
            .map(|_| limiter.take(250_000, now).as_millis())
            .collect();
        assert_eq!(waits, [0, 250, 500, 750]);
    }

    #[test]
    fn late_asker_with_an_early_clock_waits_for_its_turn() {
        let limiter = limiter("1M");
        let now = Instant::now();
        limiter.take(1_000_000, now + Duration::from_millis(5));
        assert_eq!(limiter.take(1, now), Duration::from_millis(1005));
    }

    #[test]
    fn huge_piece_at_a_tiny_rate_does_not_overflow() {
        let limiter = limiter("1");
        let now = Instant::now();
        limiter.take(u64::MAX, now);
        assert_eq!(limiter.take(u64::MAX, now), Duration::from_nanos(u64::MAX));
        assert!(limiter.take(1, now) > Duration::from_nanos(u64::MAX));
    }
}
