//! Reads a log as mig-controller's DirectVolumeMigrationProgress controller does.

use regex::Regex;

/// The two figures that the controller takes from a log, and the worst of what it saw.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Watcher {
    /// Every percentage that differed from the one before, in the order of the looks.
    pub(crate) percentages: Vec<u32>,
    /// Every rate, likewise.
    pub(crate) rates: Vec<String>,
}

impl Watcher {
    /// Looks at a log file once. The controller does it every five seconds, and it may happen at any time.
    pub(crate) fn look(&mut self, log_file: &str) {
        let (percentage, rate) = figures(&tail(log_file, LINES));
        if let Some(percentage) =
            percentage.and_then(|text| text.trim_end_matches('%').parse().ok())
            && self.percentages.last() != Some(&percentage)
        {
            self.percentages.push(percentage);
        }
        if let Some(rate) = rate
            && self.rates.last() != Some(&rate)
        {
            self.rates.push(rate);
        }
    }

    /// Whether no percentage was below one before it.
    pub(crate) fn rises(&self) -> bool {
        self.percentages.is_sorted()
    }
}

/// What `GET pods/log?tailLines=` gives: the last records of the file, of which each ends a line or, as a
/// process wrote no newline, does not.
pub(crate) fn tail(log_file: &str, lines: usize) -> String {
    let records: Vec<&str> = log_file.lines().collect();
    let last = &records[records.len().saturating_sub(lines)..];
    let mut text = String::new();
    for record in last {
        // «2026-01-01T00:00:00.000000000Z stdout F words»
        let mut parts = record.splitn(4, ' ').skip(2);
        let (ends, words) = (parts.next(), parts.next().unwrap_or_default());
        text += words;
        if ends == Some("F") {
            text.push('\n');
        }
    }
    text
}

/// Everything of a log, as a person reads it.
pub(crate) fn whole(log_file: &str) -> String {
    tail(log_file, usize::MAX)
}

fn figures(text: &str) -> (Option<String>, Option<String>) {
    // The controller's raw string: a backslash and an r, and not a carriage return.
    let carriage_return = regex(r"\\r.*$");
    let (progress, rate) = (regex(r"\d+%"), regex(r"\d+\.\w*/s"));
    let mut found = (None, None);
    for line in text
        .split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let line = carriage_return.replace(line, "");
        let line = String::from_utf8_lossy(&line.as_bytes()[..line.len().min(WIDTH)]).into_owned();
        for (pattern, last) in [(&progress, &mut found.0), (&rate, &mut found.1)] {
            if let Some(it) = pattern.find_iter(&line).last() {
                *last = Some(it.as_str().to_owned());
            }
        }
    }
    found
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

const LINES: usize = 5;
/// Bytes of a line that are looked at.
const WIDTH: usize = 60;

#[test]
fn watcher_sees_what_the_controller_would() {
    let records = |texts: &[(&str, &str)]| -> String {
        let record =
            |(ends, words): &(&str, &str)| format!("2026-01-01T00:00:00Z stdout {ends} {words}\n");
        texts.iter().map(record).collect()
    };
    let mut watcher = Watcher::default();
    watcher.look(&records(&[
        ("F", "9.99M 12% 1.50MB/s 0:00:01"),
        ("F", "100MB/s has no dot"),
    ]));
    watcher.look(&records(&[
        ("P", "\r 1.0M 20% 2.10MB/s 0:00:01"),
        (
            "P",
            "\r 2.0M 30% 2.20MB/s 0:00:01 and all beyond sixty bytes, 99%",
        ),
    ]));
    watcher.look(&records(&[
        ("F", "70%"),
        ("F", ""),
        ("F", "2"),
        ("F", "3"),
        ("F", "4"),
        ("F", "5"),
    ]));
    assert_eq!(watcher.percentages, [12, 30]);
    assert_eq!(watcher.rates, ["1.50MB/s", "2.20MB/s"]);
    assert!(watcher.rises());
}
