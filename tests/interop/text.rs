//! What programs print, made comparable: figures that depend on the moment are masked.

use std::path::Path;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// Replaces what two runs of the same program need not agree in.
pub(crate) fn masked(text: &[u8], folder: &Path) -> Vec<u8> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let mut text = replaced(text, folder, b"FOLDER");
    text = RESET.replace_all(&text, CLOSED).into_owned();
    for (pattern, mask) in MASKS.iter() {
        text = pattern.replace_all(&text, *mask).into_owned();
    }
    text
}

/// The exit code of a run, which says that the connection failed where it was only cut, see [`RESET`].
pub(crate) fn exit_code(code: i32, stderr: &[u8]) -> i32 {
    match code {
        10 if RESET.is_match(stderr) => 12,
        code => code,
    }
}

/// How a sender meets the early end of a daemon of protocol 30, which does not say that it ends: a reset
/// where the daemon had not read all, and the end of the stream where it had.
static RESET: LazyLock<Regex> = LazyLock::new(|| {
    let met = r"read error: Connection reset by peer \(104\)|write error: Broken pipe \(32\)";
    let end = r"rsync error: error in socket IO \(code 10\)";
    Regex::new(&format!(r"rsync: \[sender\] (?:{met})\n{end}")).unwrap()
});

const CLOSED: &[u8] = b"rsync: connection unexpectedly closed (0 bytes received so far) [sender]\n\
    rsync error: error in rsync protocol data stream (code 12)";

fn replaced(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let pattern = Regex::new(&regex::escape(&String::from_utf8_lossy(what))).unwrap();
    pattern.replace_all(text, with).into_owned()
}

/// Patterns, each with why it is no part of the comparison.
static MASKS: LazyLock<Vec<(Regex, &[u8])>> = LazyLock::new(|| {
    let masks: &[(&str, &[u8])] = &[
        // Bytes on the wire depend on how frames happened to fill; `wire_bytes` compares them.
        (
            r"sent [\d,.]+[KMGTP]? bytes  received [\d,.]+[KMGTP]? bytes  total size",
            b"sent # bytes  received # bytes  total size",
        ),
        (
            r"sent [\d,.]+[KMGTP]? bytes  received [\d,.]+[KMGTP]? bytes  [\d,.]+[KMGTP]? bytes/sec",
            b"sent # bytes  received # bytes  # bytes/sec",
        ),
        (r"speedup is [\d,.]+", b"speedup is #"),
        (
            r"(Total bytes (?:sent|received)): [\d,.]+[KMGTP]?",
            b"$1: #",
        ),
        (
            r"(File list (?:generation|transfer) time): [\d.]+",
            b"$1: #",
        ),
        // Rates and times of progress.
        (
            r" *[\d.]+[kMG]B/s +[\d?]+:[\d?]{2}:[\d?]{2}",
            b" #kB/s #:##:##",
        ),
        // The place in a source file, and a version.
        (r"at \S+\(\d+\) \[(\w+)=[\d.]+\]", b"at # [$1=#]"),
        // The program's name in the commands that the cases give.
        (r#""(?:/\S*/)?barge rsync "#, b"\"rsync "),
        // Time and process in front of a log's line.
        (r"(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\d+\] ", b"# [#] "),
        // Also decided by frames.
        (
            r"connection unexpectedly closed \(\d+ bytes",
            b"connection unexpectedly closed (# bytes",
        ),
        // How many windows fell into a slot of rsync's table of blocks that is taken: as many as its
        // size makes of chance. What was found, and what looked like it, is compared.
        (
            r"(?m)^((?:# \[#\] )?total: matches=\d+  hash_hits)=\d+",
            b"$1=#",
        ),
        // The random end of a temporary name.
        (r#"("[^"\n]*\.[^"/\n]*)\.[A-Za-z0-9]{6}""#, b"$1.XXXXXX\""),
        // Of two stock rsyncs joined by a socket pair, one sees the other's early end so.
        (
            r"(?m)^(# \[#\] )?rsync: \[\w+\] read error: Connection reset by peer \(104\)\n",
            b"",
        ),
        (
            r"(?m)^(# \[#\] )?rsync: \[\w+\] write error: Broken pipe \(32\)\n",
            b"",
        ),
    ];
    let compiled = masks
        .iter()
        .map(|(pattern, mask)| (Regex::new(pattern).unwrap(), *mask));
    compiled.collect()
});

/// The lines of a text, by who of rsync's processes says them.
///
/// Each voice is compared in its own order; how voices fall between each other is decided by the
/// scheduler: items that come back from the sender; deletions and other words of the generator;
/// hard links, which the generator makes whenever the receiver happens to be through with the file;
/// what the sender removes when it hears that a file is through; and whatever is said again, since
/// a file is asked for again when its first content turned out to be wrong.
///
/// Whoever speaks while the line of a progress is open ends that one first, if it is the same
/// process, and else speaks on in it; where that happens is decided by the scheduler, too. So the end
/// of such a line is no line, and what comes of it in the order of the list without one is marked.
///
/// The progress of a run is shown once more whenever the sending side is told that a list is done with,
/// with the place where it is by then: how often is compared, and not where.
///
/// `touched` are the names of what changes in its attributes alone: where unchanged entries are
/// named, too, the generator names these, and the sender no others that are called so.
pub(crate) fn voices<'a>(text: &'a [u8], touched: &[&str]) -> [Vec<&'a [u8]>; 5] {
    let mut voices: [Vec<&[u8]>; 5] = Default::default();
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let is_of_run = PROGRESS_OF_RUN.is_match(text);
    let mut is_open = false;
    let mut through = None;
    for line in lines.flat_map(said_at_once) {
        let words = line.strip_suffix(b"\n").unwrap_or(line);
        let is_touched = touched.iter().any(|name| name.as_bytes() == words);
        if is_open && line == b"\n" {
            is_open = false;
        } else if PROGRESS_PIECE.is_match(line) {
            is_open = is_of_run || !LAST.is_match(line);
            let before = std::mem::replace(&mut through, transfers(line));
            match is_of_run && through.is_some() && through == before {
                true => voices[4].push(AGAIN),
                false => in_order(&mut voices, line),
            }
        } else if is_touched || GENERATOR.is_match(words) {
            voices[1].push(line);
        } else if HARD_LINK.is_match(words) {
            voices[2].push(line);
        } else if words.starts_with(SENDER_REMOVED) {
            voices[3].push(line);
        } else {
            if std::mem::take(&mut is_open) {
                voices[4].push(UNENDED);
            }
            in_order(&mut voices, line);
        }
    }
    // Which of two files is through first is also decided there.
    voices[2..].iter_mut().for_each(|voice| voice.sort());
    voices
}

/// Hears a line that comes in the order of the list, or is said again.
fn in_order<'a>(voices: &mut [Vec<&'a [u8]>; 5], line: &'a [u8]) {
    let voice = if voices[0].contains(&line) { 4 } else { 0 };
    voices[voice].push(line);
}

/// How many files are through, by a progress.
fn transfers(progress: &[u8]) -> Option<&[u8]> {
    let found = TRANSFERS.captures(progress)?;
    Some(found.get(1)?.as_bytes())
}

static TRANSFERS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\(xfr#(\d+),").unwrap());

/// In the place of a progress that has been shown.
const AGAIN: &[u8] = b"(again)";

/// Something of the list's order stood in the line of a progress.
const UNENDED: &[u8] = b"(in the same line)";

const SENDER_REMOVED: &[u8] = b"sender removed ";

/// The pieces of a line that are said at once: a progress that is not its file's last one leaves
/// the line open, and another process may go on in it.
fn said_at_once(line: &[u8]) -> Vec<&[u8]> {
    let starts = PROGRESS_PIECE
        .find_iter(line)
        .flat_map(|piece| [piece.start(), piece.end()]);
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in starts.chain([line.len()]) {
        pieces.extend((to > from).then(|| &line[from..to]));
        from = to;
    }
    pieces
}

static PROGRESS_PIECE: LazyLock<Regex> = LazyLock::new(|| {
    // Behind the last one of a file stand blanks, which cover what was longer.
    Regex::new(r"\r[^\r\n]*?(?: #kB/s #:##:##  |(?:to|ir)-chk=\d+/\d+\) *)").unwrap()
});

/// The last progress of a file, which ends its line unless there is one line for the run.
static LAST: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-chk=\d+/\d+\) *$").unwrap());

static PROGRESS_OF_RUN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"-chk=\d+/\d+\) *\r").unwrap());

static GENERATOR: LazyLock<Regex> = LazyLock::new(|| {
    let words = [
        r"(# \[#\] )?\*?deleting ",
        r"(# \[#\] )?del\.[ |]",
        r".* is uptodate$",
        r".* exists( \(.*\))?$",
        r".* is newer$",
        r".* is over max-size$",
        r".* is under min-size$",
        r#"skipping non-regular file ".*"$"#,
        r#"ignoring unsafe symlink "#,
        r"(# \[#\] )?created directory ",
        r"(# \[#\] )?delta-transmission ",
        r"(# \[#\] )?backed up ",
        r"(# \[#\] )?cannot delete non-empty directory: ",
        r"(# \[#\] )?could not make way for ",
        r"IO error encountered -- skipping file deletion",
    ];
    Regex::new(&format!("^(?:{})", words.join("|"))).unwrap()
});

static HARD_LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(# \[#\] )?h[fLSD]|  ?=> ").unwrap());

/// The lines of standard error, sorted: sender, generator and receiver write there whenever they
/// come to it.
pub(crate) fn sorted(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    lines.sort();
    lines
}

/// Whether progress is shown in a text.
pub(crate) fn shows_progress(text: &[u8]) -> bool {
    PROGRESS_PIECE.is_match(text)
}

/// Lines of standard error beside progress: whether an error had to end an open line of that
/// first is decided by the scheduler.
pub(crate) fn without_empty_lines(mut lines: Vec<&[u8]>) -> Vec<&[u8]> {
    lines.retain(|line| *line != b"\n");
    lines
}

/// The bytes the client says it sent and received, where it says so in plain digits.
pub(crate) fn wire_bytes(text: &[u8]) -> Option<[u64; 2]> {
    let found = WIRE.captures(text)?;
    let number = |n: usize| {
        let digits = found[n].iter().filter(|byte| **byte != b',');
        let digits: String = digits.map(|byte| char::from(*byte)).collect();
        digits.parse().ok()
    };
    Some([number(1)?, number(2)?])
}

static WIRE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"sent ([\d,]+) bytes  received ([\d,]+) bytes").unwrap());

/// How two lists of lines differ: what only one has, or where their order parts.
pub(crate) fn difference(stock: &[&[u8]], ours: &[&[u8]]) -> Vec<String> {
    let only = |a: &[&[u8]], b: &[&[u8]], mark: &str| {
        let mut left: Vec<&[u8]> = b.to_vec();
        let mut only = Vec::new();
        for line in a {
            match left.iter().position(|other| other == line) {
                Some(at) => drop(left.remove(at)),
                None => only.push(format!("{mark} {}", shown(line))),
            }
        }
        only
    };
    let mut found = only(stock, ours, "rsync:");
    found.extend(only(ours, stock, "ours: "));
    if found.is_empty() {
        let parted = stock.iter().zip(ours).find(|(a, b)| a != b);
        found.extend(parted.map(|(a, b)| format!("order: {} | {}", shown(a), shown(b))));
    }
    found
}

fn shown(line: &[u8]) -> String {
    let text = line
        .strip_suffix(b"\n")
        .unwrap_or(line)
        .escape_ascii()
        .to_string();
    text.replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{exit_code, masked, voices};

    #[test]
    fn early_end_of_a_daemon_is_the_same_whether_it_had_read_all_or_not() {
        let reset = b"rsync: [sender] read error: Connection reset by peer (104)\n\
            rsync error: error in socket IO (code 10) at io.c(907) [sender=3.5.0]\n";
        let closed = b"rsync: connection unexpectedly closed (192 bytes received so far) [sender]\n\
            rsync error: error in rsync protocol data stream (code 12) at io.c(285) [sender=3.5.0]\n";
        let folder = Path::new("/nowhere");
        assert_eq!(masked(reset, folder), masked(closed, folder));
        assert_eq!(exit_code(10, reset), exit_code(12, closed));
        let refused = b"rsync: failed to connect\nrsync error: error in socket IO (code 10)";
        assert_eq!(exit_code(10, refused), 10);
    }

    #[test]
    fn generator_is_heard_behind_progress_that_has_not_ended_its_line() {
        let progress = "\r        75.00K   5% #kB/s #:##:## (xfr#2, to-chk=97/100)";
        let skipping = |name: &str| format!("skipping non-regular file \"{name}\"\n");
        let amid = format!("{progress}{}", skipping("pipe"));
        let after = format!("{}{progress}", skipping("pipe"));
        let other = format!("{progress}{}", skipping("socket"));
        assert_eq!(voices(amid.as_bytes(), &[]), voices(after.as_bytes(), &[]));
        assert_ne!(voices(amid.as_bytes(), &[]), voices(other.as_bytes(), &[]));
    }

    #[test]
    fn newline_that_ends_an_open_progress_is_no_line() {
        let progress = "\r        75.00K   5% #kB/s #:##:## (xfr#2, to-chk=97/100) ";
        let text = "skipping non-regular file \"pipe\"\n";
        let amid = format!("{progress}\n{text}{progress}{progress}\n\n");
        let before = format!("{text}{progress}{progress}{progress}\n\n");
        assert_eq!(voices(amid.as_bytes(), &[]), voices(before.as_bytes(), &[]));
        let one_file = format!("{progress}\n{text}");
        let unended = format!("{progress}{text}");
        assert_ne!(
            voices(one_file.as_bytes(), &[]),
            voices(unended.as_bytes(), &[])
        );
        let without = format!("{text}{progress}{progress}{progress}\n");
        assert_ne!(
            voices(amid.as_bytes(), &[]),
            voices(without.as_bytes(), &[])
        );
        let in_it = format!("{progress}{text}\nname\n{progress}\n");
        let ended = format!("{text}{progress}\nname\n{progress}\n");
        assert_eq!(voices(in_it.as_bytes(), &[]), voices(ended.as_bytes(), &[]));
        let unended = format!("{text}{progress}name\n{progress}\n");
        assert_ne!(
            voices(ended.as_bytes(), &[]),
            voices(unended.as_bytes(), &[])
        );
    }

    #[test]
    fn progress_that_is_shown_again_may_be_so_at_any_place() {
        let progress = |xfr: u32, left: u32| {
            format!("\r        75.00K   5% #kB/s #:##:## (xfr#{xfr}, to-chk={left}/9)")
        };
        let [one, two] = [progress(1, 4), progress(2, 0)];
        let early = format!("{one}{}\nname\n{two}\n", progress(1, 2));
        let late = format!("{one}\nname\n{two}{two}\n");
        assert_eq!(voices(early.as_bytes(), &[]), voices(late.as_bytes(), &[]));
        let never = format!("{one}\nname\n{two}\n");
        assert_ne!(voices(early.as_bytes(), &[]), voices(never.as_bytes(), &[]));
        let other = format!("{}\nname\n{two}{two}\n", progress(1, 3));
        assert_ne!(voices(other.as_bytes(), &[]), voices(late.as_bytes(), &[]));
    }
}
