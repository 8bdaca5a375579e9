//! The block of `--stats` and the closing lines of a run.

use std::fmt::Write;

use barge::over_rsync::RunStats;

use super::number::{decimal, whole};

/// The lines of `--stats`, without the empty one before them.
pub(super) fn block(stats: &RunStats, human: u8) -> String {
    let mut text = String::new();
    let mut counts = vec![
        ("Number of files", Some(stats.files)),
        ("Number of created files", Some(stats.created)),
        ("Number of deleted files", stats.deleted),
    ];
    counts.retain(|(_, counts)| counts.is_some());
    for (title, counts) in counts {
        let counts = by_kind(&counts.unwrap_or_default(), human);
        line(&mut text, title, &counts);
    }
    let bytes = |bytes| format!("{} bytes", whole(bytes, human));
    let seconds = |ms: u64| format!("{}.{:03} seconds", ms / 1000, ms % 1000);
    let transferred = whole(stats.transferred, human.min(1));
    for (title, value) in [
        ("Number of regular files transferred", transferred),
        ("Total file size", bytes(stats.total_size)),
        ("Total transferred file size", bytes(stats.transferred_size)),
        ("Literal data", bytes(stats.literal)),
        ("Matched data", bytes(stats.matched)),
        ("File list size", whole(stats.list_bytes, human)),
        ("File list generation time", seconds(stats.list_build_ms)),
        ("File list transfer time", seconds(stats.list_transfer_ms)),
        ("Total bytes sent", whole(stats.sent, human)),
        ("Total bytes received", whole(stats.received, human)),
    ] {
        line(&mut text, title, &value);
    }
    text
}

fn line(text: &mut String, title: &str, value: &str) {
    writeln!(text, "{title}: {value}").expect("a String takes everything");
}

/// `1,201 (reg: 1,200, dir: 1)`
fn by_kind(counts: &[u64; 5], human: u8) -> String {
    let grouped = |count| whole(count, human.min(1));
    let kinds: Vec<String> = ["reg", "dir", "link", "dev", "special"]
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{kind}: {}", grouped(*count)))
        .collect();
    let sum = grouped(counts.iter().sum());
    match kinds.is_empty() {
        true => sum,
        false => format!("{sum} ({})", kinds.join(", ")),
    }
}

/// The two closing lines, without the empty one before them. `seconds` is how long the run took,
/// as the difference of two whole seconds.
pub(super) fn closing(stats: &RunStats, human: u8, seconds: i64, dry_run: bool) -> String {
    let moved = stats.sent + stats.received;
    let rate = moved as f64 / (0.5 + seconds.max(0) as f64);
    let speedup = match moved {
        0 => 0.0,
        moved => stats.total_size as f64 / moved as f64,
    };
    format!(
        "sent {} bytes  received {} bytes  {} bytes/sec\ntotal size is {}  speedup is {}{}\n",
        whole(stats.sent, human),
        whole(stats.received, human),
        decimal(rate, human),
        whole(stats.total_size, human),
        decimal(speedup, human.min(1)),
        if dry_run { " (DRY RUN)" } else { "" },
    )
}

/// What a log says instead of the closing lines when nobody asked for them.
pub(super) fn logged(stats: &RunStats) -> String {
    format!(
        "sent {} bytes  received {} bytes  total size {}\n",
        stats.sent, stats.received, stats.total_size
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rsync -aH --stats` 3.5.0 pulling a small tree.
    fn stats() -> RunStats {
        RunStats {
            files: [7, 4, 1, 0, 1],
            created: [7, 4, 1, 0, 1],
            deleted: Some([0; 5]),
            transferred: 6,
            total_size: 200_040,
            transferred_size: 200_014,
            literal: 200_014,
            matched: 0,
            list_bytes: 274,
            list_build_ms: 1,
            list_transfer_ms: 0,
            sent: 175,
            received: 200_642,
        }
    }

    #[test]
    fn block_looks_as_captured_from_rsync() {
        let captured = "\
Number of files: 13 (reg: 7, dir: 4, link: 1, special: 1)
Number of created files: 13 (reg: 7, dir: 4, link: 1, special: 1)
Number of deleted files: 0
Number of regular files transferred: 6
Total file size: 200.04K bytes
Total transferred file size: 200.01K bytes
Literal data: 200.01K bytes
Matched data: 0 bytes
File list size: 274
File list generation time: 0.001 seconds
File list transfer time: 0.000 seconds
Total bytes sent: 175
Total bytes received: 200.64K
";
        assert_eq!(block(&stats(), 2), captured);
    }

    #[test]
    fn deletions_are_left_out_before_protocol_31() {
        let stats = RunStats {
            deleted: None,
            ..stats()
        };
        assert!(!block(&stats, 1).contains("deleted"));
    }

    #[test]
    fn counts_are_grouped_and_never_abbreviated_as_captured() {
        let counts = [1200, 1, 0, 0, 0];
        assert_eq!(by_kind(&counts, 2), "1,201 (reg: 1,200, dir: 1)");
        assert_eq!(by_kind(&counts, 0), "1201 (reg: 1200, dir: 1)");
    }

    #[test]
    fn closing_lines_look_as_captured_from_rsync() {
        let captured = "sent 175 bytes  received 200,642 bytes  401,634.00 bytes/sec\n\
                        total size is 200,040  speedup is 1.00\n";
        assert_eq!(closing(&stats(), 1, 0, false), captured);
        let large = RunStats {
            total_size: 3_298_534_883_328,
            sent: 73,
            received: 12,
            ..RunStats::default()
        };
        for (human, captured) in [
            (0, "total size is 3298534883328  speedup is 38806292745.04"),
            (
                1,
                "total size is 3,298,534,883,328  speedup is 38,806,292,745.04",
            ),
            (2, "total size is 3.30T  speedup is 38,806,292,745.04"),
            (3, "total size is 3.00T  speedup is 38,806,292,745.04"),
        ] {
            let lines = closing(&large, human, 0, false);
            assert_eq!(lines.lines().nth(1), Some(captured));
            assert!(lines.starts_with("sent 73 bytes  received 12 bytes  170.00 bytes/sec\n"));
        }
        let dry = closing(&stats(), 1, 1, true);
        assert!(dry.ends_with(" (DRY RUN)\n"));
        assert!(dry.contains("  133,878.00 bytes/sec\n"), "{dry}");
    }

    #[test]
    fn log_is_told_in_plain_digits_as_captured() {
        let captured = "sent 175 bytes  received 200642 bytes  total size 200040\n";
        assert_eq!(logged(&stats()), captured);
    }
}
