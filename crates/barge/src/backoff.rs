//! Delays between attempts: exponential, with jitter. Pure: takes its random numbers.

use std::time::Duration;

/// The delays before one attempt after another.
///
/// Each is drawn from the upper half of a step, so that many clients cut at once do not return
/// at once; the steps double from the first to the cap.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    cap: Duration,
    step: Duration,
}

impl Backoff {
    /// Begins with steps of `first` and lets them grow to `cap`.
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        let step = first.min(cap);
        Self { cap, step }
    }

    /// The delay before the next attempt: 50 % to 100 % of the step.
    ///
    /// `random` is in 0..1; what lies outside is taken for the nearer end.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let step = self.step;
        self.step = step.saturating_mul(2).min(self.cap);
        step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn backoff_doubles_to_its_cap() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let steps: Vec<_> = (0..5).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(steps, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn backoff_stays_between_half_a_step_and_a_step() {
        for (random, delay) in [
            (0.0, 500),
            (0.5, 750),
            (1.0, 1000),
            (-3.0, 500),
            (7.0, 1000),
        ] {
            let mut backoff = Backoff::new(SECOND, SECOND);
            assert_eq!(
                backoff.next(random),
                Duration::from_millis(delay),
                "{random}"
            );
        }
    }

    #[test]
    fn backoff_with_a_cap_below_its_first_step_keeps_to_the_cap() {
        let mut backoff = Backoff::new(2 * SECOND, SECOND);
        assert_eq!(backoff.next(1.0), SECOND);
    }
}
