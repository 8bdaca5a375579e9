//! The lines of `--progress` and of `--info=progress2`.
//!
//! When a line is shown, and what rate it names, as seen from rsync 3.5.0: at most one a second,
//! over the last four steps of the kind; the last line of a file takes the whole of it.

use std::time::Duration;

use barge::over_rsync::Position;

use super::number;

/// Which lines there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// Those of each file, each last one ended by a newline.
    File,
    /// One line of the whole run, written over and over.
    Run,
}

/// Remembers what was shown when.
pub(super) struct Progress {
    scope: Scope,
    human: u8,
    /// The last steps shown, the oldest first; empty before the first.
    steps: Vec<Step>,
    /// What the rate of a last line is measured from.
    start: Step,
    /// A line of the present file has been shown.
    begun: bool,
    /// Length of the part in parentheses when it was last shown.
    covered: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    at: Duration,
    bytes: u64,
}

/// How much has been listed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lists {
    /// Entries listed so far.
    pub(super) entries: u64,
    /// Bytes listed so far.
    pub(super) bytes: u64,
    /// No more will be listed.
    pub(super) complete: bool,
}

impl Progress {
    /// Nothing has been shown.
    pub(super) fn new(scope: Scope, human: u8) -> Self {
        Self {
            scope,
            human,
            steps: Vec::new(),
            start: Step::default(),
            begun: false,
            covered: 0,
        }
    }

    /// Which lines these are.
    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// The line that is due when a file is at `offset` of `size`, if one is.
    pub(super) fn moved(
        &mut self,
        now: Duration,
        (offset, size): (u64, u64),
        at: &Position,
        lists: &Lists,
    ) -> Option<String> {
        let (bytes, of) = self.scoped(offset, size, at, lists);
        let step = Step { at: now, bytes };
        if !self.is_due(step) {
            return None;
        }
        let oldest = self.steps.first().copied().unwrap_or(step);
        let rate = rate(oldest, step);
        // rsync divides bytes by its rate in units of 1024 and then by 1000.
        let left = match rate {
            rate if rate > 0.0 => of.saturating_sub(bytes) as f64 * 1.024 / rate / 1000.0,
            _ => 0.0,
        };
        Some(self.line(bytes, of, rate, left) + "  ")
    }

    /// Whether a step is shown; remembers it where later rates are measured from it.
    fn is_due(&mut self, step: Step) -> bool {
        let first = !std::mem::replace(&mut self.begun, true) && self.scope == Scope::File;
        let Some(newest) = self.steps.last() else {
            self.restart(step);
            return true;
        };
        let since = step.at.saturating_sub(newest.at);
        if first && since > STALE {
            self.restart(step);
        }
        if first {
            return true;
        }
        if since < PAUSE {
            return false;
        }
        self.steps.rotate_left(1);
        self.steps[REMEMBERED - 1] = step;
        true
    }

    /// The line that ends a file, without the newline that [`Scope::File`] wants behind it.
    pub(super) fn ended(
        &mut self,
        now: Duration,
        size: u64,
        at: &Position,
        lists: &Lists,
    ) -> String {
        let (bytes, of) = self.scoped(size, size, at, lists);
        let line = self.summary(now, bytes, of, at, lists);
        self.begun = false;
        if self.scope == Scope::File {
            let last = self.steps[REMEMBERED - 1].at;
            self.restart(Step { at: last, bytes: 0 });
        }
        line
    }

    /// The line of the whole run, when a list is done with.
    pub(super) fn settled(&mut self, now: Duration, at: &Position, lists: &Lists) -> String {
        self.summary(now, at.bytes, lists.bytes, at, lists)
    }

    fn summary(
        &mut self,
        now: Duration,
        bytes: u64,
        of: u64,
        at: &Position,
        lists: &Lists,
    ) -> String {
        if self.steps.is_empty() {
            self.restart(Step { at: now, bytes: 0 });
        }
        let step = Step { at: now, bytes };
        let took = now.saturating_sub(self.start.at).as_secs_f64();
        let mut covering = format!(
            " (xfr#{}, {}={}/{})",
            at.transfers,
            if lists.complete { "to-chk" } else { "ir-chk" },
            lists.entries.saturating_sub(at.behind),
            lists.entries
        );
        let length = covering.len();
        if self.scope == Scope::Run {
            covering.extend(std::iter::repeat_n(
                ' ',
                self.covered.saturating_sub(length),
            ));
        }
        self.covered = length;
        self.line(bytes, of, rate(self.start, step), took) + &covering
    }

    /// How far, of how much: of the file, or of the run.
    fn scoped(&self, offset: u64, size: u64, at: &Position, lists: &Lists) -> (u64, u64) {
        match self.scope {
            Scope::File => (offset, size),
            Scope::Run => (at.bytes + offset, lists.bytes),
        }
    }

    /// `rate` is in bytes a millisecond, `seconds` what is left or what it took.
    fn line(&self, bytes: u64, of: u64, rate: f64, seconds: f64) -> String {
        let percent = match of {
            _ if bytes == of => 100,
            0 => 0,
            _ => (u128::from(bytes) * 100 / u128::from(of)).min(100),
        };
        let mut rate = rate * 1000.0 / 1024.0;
        let mut unit = "kB/s";
        for next in ["MB/s", "GB/s"] {
            if rate > 1024.0 {
                rate /= 1024.0;
                unit = next;
            }
        }
        format!(
            "\r{:>15} {percent:>3}% {rate:>7.2}{unit} {}",
            number::whole(bytes, self.human),
            hours(seconds)
        )
    }

    fn restart(&mut self, step: Step) {
        self.start = step;
        self.steps = vec![step; REMEMBERED];
    }
}

/// Bytes a millisecond; what took less than one counts as one.
fn rate(from: Step, to: Step) -> f64 {
    let took = to.at.saturating_sub(from.at).as_millis().max(1);
    to.bytes.saturating_sub(from.bytes) as f64 / took as f64
}

fn hours(seconds: f64) -> String {
    match seconds as u64 {
        seconds if seconds < 10_000 * 3600 => {
            format!(
                "{:4}:{:02}:{:02}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            )
        }
        _ => "  ??:??:??".to_owned(),
    }
}

/// Steps a rate is measured over, the present one included.
const REMEMBERED: usize = 5;

/// Between two lines of one file or of one run.
const PAUSE: Duration = Duration::from_millis(1000);

/// Longer ago than this, a file before is of no use to measure the next one from.
const STALE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: Lists = Lists {
        entries: 5,
        bytes: 15_000_000,
        complete: true,
    };

    fn at(transfers: u64, bytes: u64, behind: u64) -> Position {
        Position {
            transfers,
            bytes,
            behind,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One file of a pull whose line was fast, then slow, as shown by rsync 3.5.0 and stamped as
    /// the lines came.
    #[test]
    fn rate_is_taken_over_the_last_four_steps_as_captured() {
        let mut progress = Progress::new(Scope::File, 1);
        for (now, offset, captured) in [
            (40, 0, "              0   0%    0.00kB/s    0:00:00  "),
            (
                1066,
                983_040,
                "        983,040  12%  935.67kB/s    0:00:07  ",
            ),
            (
                2091,
                1_966_080,
                "      1,966,080  24%  936.13kB/s    0:00:06  ",
            ),
            (
                3378,
                2_883_584,
                "      2,883,584  36%  843.62kB/s    0:00:06  ",
            ),
            (
                4697,
                3_014_656,
                "      3,014,656  37%  632.17kB/s    0:00:07  ",
            ),
            (
                6014,
                3_145_728,
                "      3,145,728  39%  426.84kB/s    0:00:11  ",
            ),
            (
                7330,
                3_276_800,
                "      3,276,800  40%  244.32kB/s    0:00:19  ",
            ),
            (
                8648,
                3_407_872,
                "      3,407,872  42%   97.15kB/s    0:00:47  ",
            ),
        ] {
            let moved = progress.moved(ms(now), (offset, 8_000_000), &at(1, 0, 2), &LISTS);
            assert_close(&moved.unwrap(), captured);
        }
        let line = progress.ended(ms(16_420), 8_000_000, &at(1, 0, 5), &LISTS);
        let captured = "      8,000,000 100%  476.95kB/s    0:00:16 (xfr#1, to-chk=0/5)";
        assert_close(&line, captured);
    }

    /// The same but for one part in a hundred of the rate: the stamps are no more exact.
    #[track_caller]
    fn assert_close(line: &str, captured: &str) {
        let rate = |line: &str| line[20..28].trim().parse::<f64>().unwrap();
        let line = line.trim_start_matches('\r');
        let (ours, theirs) = (rate(line), rate(captured));
        assert!(
            (ours - theirs).abs() <= theirs / 100.0,
            "{line} | {captured}"
        );
        let rest = |line: &str| line[..20].to_owned() + &line[28..];
        assert_eq!(rest(line), rest(captured));
    }

    #[test]
    fn lines_of_one_file_are_a_second_apart_but_each_file_has_a_first() {
        let mut progress = Progress::new(Scope::File, 1);
        let mut due = |now, offset| {
            let line = progress.moved(ms(now), (offset, 100), &at(1, 0, 1), &LISTS);
            line.is_some()
        };
        assert!(due(0, 0));
        assert!(!due(999, 10));
        assert!(due(1000, 20));
        assert!(!due(1999, 30));
        progress.ended(ms(1999), 100, &at(1, 0, 1), &LISTS);
        let first = progress.moved(ms(2000), (0, 100), &at(2, 0, 2), &LISTS);
        assert_eq!(
            first.unwrap(),
            "\r              0   0%    0.00kB/s    0:00:00  "
        );
    }

    /// Files of 200 bytes that trickle in, as shown by rsync 3.5.0: what comes soon after a file is
    /// measured from that file's beginning.
    #[test]
    fn file_is_measured_from_the_one_before_unless_that_is_long_ago_as_captured() {
        let mut progress = Progress::new(Scope::File, 1);
        for (n, first, last, captured) in [
            (1, 10, 10, " 195.31kB/s    0:00:00 (xfr#1"),
            (2, 610, 708, "   0.28kB/s    0:00:00 (xfr#2"),
            (3, 1910, 1910, " 195.31kB/s    0:00:00 (xfr#3"),
            (4, 3120, 3120, "   0.16kB/s    0:00:01 (xfr#4"),
            (5, 4320, 4320, " 195.31kB/s    0:00:00 (xfr#5"),
        ] {
            let position = at(n, 200 * (n - 1), n);
            progress
                .moved(ms(first), (0, 200), &position, &LISTS)
                .unwrap();
            let line = progress.ended(ms(last), 200, &position, &LISTS);
            assert!(line.contains(captured), "{line}");
        }
    }

    /// `rsync -a --info=progress2` 3.5.0 pulling a small tree of 13 entries and 200,040 bytes
    /// within a millisecond.
    #[test]
    fn line_of_the_run_is_written_over_and_covers_what_was_there_as_captured() {
        let lists = Lists {
            entries: 13,
            bytes: 200_040,
            complete: true,
        };
        let mut progress = Progress::new(Scope::Run, 1);
        let mut shown = String::new();
        for (n, size, before, behind) in [
            (1, 1, 0, 3),
            (2, 200_000, 1, 4),
            (3, 1, 200_001, 5),
            (4, 6, 200_002, 7),
            (5, 4, 200_008, 9),
            (6, 2, 200_012, 12),
        ] {
            let position = at(n, before, behind);
            let moved = progress.moved(ms(0), (0, size), &position, &lists);
            shown += &moved.unwrap_or_default();
            shown += &progress.ended(ms(0), size, &position, &lists);
        }
        for behind in [11, 11, 13, 13] {
            shown += &progress.settled(ms(0), &at(6, 200_014, behind), &lists);
        }
        let captured = [
            "              0   0%    0.00kB/s    0:00:00  ",
            "              1   0%    0.98kB/s    0:00:00 (xfr#1, to-chk=10/13)",
            "        200,001  99%  190.74MB/s    0:00:00 (xfr#2, to-chk=9/13) ",
            "        200,002  99%  190.74MB/s    0:00:00 (xfr#3, to-chk=8/13)",
            "        200,008  99%  190.74MB/s    0:00:00 (xfr#4, to-chk=6/13)",
            "        200,012  99%  190.75MB/s    0:00:00 (xfr#5, to-chk=4/13)",
            "        200,014  99%  190.75MB/s    0:00:00 (xfr#6, to-chk=1/13)",
            "        200,014  99%  190.75MB/s    0:00:00 (xfr#6, to-chk=2/13)",
            "        200,014  99%  190.75MB/s    0:00:00 (xfr#6, to-chk=2/13)",
            "        200,014  99%  190.75MB/s    0:00:00 (xfr#6, to-chk=0/13)",
            "        200,014  99%  190.75MB/s    0:00:00 (xfr#6, to-chk=0/13)",
        ];
        let lines: Vec<&str> = shown.split('\r').skip(1).collect();
        assert_eq!(lines, captured);
    }

    #[test]
    fn run_with_nothing_to_do_shows_one_line_as_captured() {
        let lists = Lists {
            entries: 2,
            bytes: 3_298_534_883_328,
            complete: true,
        };
        let mut progress = Progress::new(Scope::Run, 1);
        let line = progress.settled(ms(5), &at(0, 0, 2), &lists);
        let captured = "\r              0   0%    0.00kB/s    0:00:00 (xfr#0, to-chk=0/2)";
        assert_eq!(line, captured);
    }

    #[test]
    fn file_without_content_is_whole_at_once_as_captured() {
        let mut progress = Progress::new(Scope::File, 1);
        let line = progress.ended(ms(5), 0, &at(1, 0, 5), &LISTS);
        let captured = "\r              0 100%    0.00kB/s    0:00:00 (xfr#1, to-chk=0/5)";
        assert_eq!(line, captured);
    }

    #[test]
    fn list_that_still_grows_is_told_as_such() {
        let lists = Lists {
            complete: false,
            ..LISTS
        };
        let mut progress = Progress::new(Scope::File, 1);
        let line = progress.ended(ms(5), 0, &at(1, 0, 2), &lists);
        assert!(line.ends_with(" (xfr#1, ir-chk=3/5)"), "{line}");
    }

    #[test]
    fn time_that_no_one_will_see_is_not_guessed() {
        assert_eq!(hours(35_999_999.0), "9999:59:59");
        assert_eq!(hours(36_000_000.0), "  ??:??:??");
        assert_eq!(hours(f64::INFINITY), "  ??:??:??");
    }
}
