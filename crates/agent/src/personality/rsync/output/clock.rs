//! What time it is, and how rsync(1) writes it.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The time, for output.
pub(super) trait Clock: Send + Sync {
    /// Since some fixed moment; never steps back.
    fn elapsed(&self) -> Duration;

    /// Seconds since 1970.
    fn now(&self) -> i64;
}

/// The machine's clocks.
pub(super) struct System(Instant);

impl System {
    /// Starts counting.
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for System {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs() as i64)
    }
}

/// `2024/01/02 03:04:05` in the local time zone, `between` between day and hour.
///
/// Times beyond the year 9999 are written as that year's end, those before −9999 as its beginning.
pub(super) fn local_time(seconds: i64, between: char) -> String {
    let bounds = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let stamp = Timestamp::from_second(seconds.clamp(bounds.0, bounds.1)).unwrap_or_default();
    let civil: DateTime = zone().to_datetime(stamp);
    format!(
        "{:04}/{:02}/{:02}{between}{:02}:{:02}:{:02}",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second()
    )
}

/// Looked up once: after a `chroot(2)` there may be nothing to look it up in.
pub(super) fn zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(TimeZone::system)
}
