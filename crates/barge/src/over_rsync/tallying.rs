//! What rsync's events come to in a report of ours: per path, as far as they tell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge_types::{
    Changes, Class, FAILURES_KEPT, FailedPath, Failure, Outcome, RelPath, Side, Tally,
};

use super::{Ended, Event, Item, Level, Listener, describe_exit};
use crate::error::Error;
use crate::monitor::{Monitor, PathEnd};

/// Counts a run's paths, and tells the monitor of them.
pub(crate) struct Tallying {
    /// At which end this process is.
    side: Side,
    /// Every path is told, not only those that failed.
    itemizes: bool,
    monitor: Arc<Monitor>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tally: Tally,
    failures: Vec<FailedPath>,
    /// The last line that was no file's: often why the run ended.
    last_words: Option<String>,
    /// What `--max-delete` spared, by the receiving side's words.
    undeleted: u64,
}

impl Tallying {
    pub(crate) fn new(side: Side, itemizes: bool, monitor: Arc<Monitor>) -> Self {
        Self {
            side,
            itemizes,
            monitor,
            state: Mutex::default(),
        }
    }

    /// What the run came to.
    pub(crate) fn end(&self, ended: &Ended) -> (Tally, Vec<FailedPath>) {
        let mut state = self.state();
        let stats = &ended.stats;
        let listed: u64 = stats.files.iter().sum();
        let State {
            tally, failures, ..
        } = &mut *state;
        let dealt = tally.created + tally.updated + tally.metadata + tally.linked + tally.failed;
        tally.unchanged = listed.saturating_sub(dealt);
        tally.bytes_listed = stats.total_size;
        tally.bytes_read = stats.transferred_size;
        tally.bytes_sent = stats.literal;
        tally.bytes_matched = stats.matched;
        // A code says that something failed, also where no line named it.
        let is_partial = matches!(ended.code, 23 | 24);
        if is_partial && tally.failed == 0 {
            tally.failed = 1;
        }
        (*tally, std::mem::take(failures))
    }

    /// What `--max-delete` spared: a daemon's client is told it in words alone.
    pub(crate) fn undeleted(&self, ended: &Ended) -> u64 {
        self.state().undeleted.max(u64::from(ended.code == 25))
    }

    /// Why the run did not come to its end, in the peer's words where it had the last one.
    pub(crate) fn error(&self, ended: &mut Ended) -> Option<Error> {
        let failure = ended.failure.take()?;
        if matches!(failure, super::Failure::NoDaemon) {
            let text = "the peer is no barge, and no rsync daemon either (it did not choose barge/1, and \
                        sent no greeting of rsync's): check host, port and the route's passthrough";
            return Some(Error::Version(text.to_owned()));
        }
        let (code, text) = (failure.exit_code(), failure.to_string());
        let text = match (text.is_empty(), self.state().last_words.take()) {
            (true, Some(words)) => words,
            (true, None) => describe_exit(code).to_owned(),
            (false, _) => text,
        };
        Some(match code {
            2 => Error::Version(text),
            10 | 12 | 30 | 35 => Error::Lost(text),
            1 | 3 | 4 | 5 => Error::Refused(text),
            11 => Error::TargetFull(text),
            19 | 20 => Error::Interrupted(text),
            _ => Error::Aborted(text),
        })
    }

    fn item(&self, item: &Item<'_>) {
        let outcome = outcome(item);
        self.state().tally.count(&outcome);
        let counters = &self.monitor.counters;
        counters.ended.add(1);
        if let Ok(path) = RelPath::new(item.name)
            && self.itemizes
        {
            let kind = kind(item.mode);
            self.monitor.path(PathEnd {
                path: &path,
                kind,
                outcome: &outcome,
            });
        }
    }

    fn deleted(&self, name: &[u8], mode: u32) {
        self.state().tally.count(&Outcome::Deleted);
        if let Ok(path) = RelPath::new(name)
            && self.itemizes
        {
            self.monitor.path(PathEnd {
                path: &path,
                kind: kind(mode),
                outcome: &Outcome::Deleted,
            });
        }
    }

    fn failed(&self, text: &[u8]) {
        let (path, failure) = self.failure(text);
        let mut state = self.state();
        state.tally.failed += 1;
        if state.failures.len() < FAILURES_KEPT {
            state.failures.push(FailedPath {
                path: path.clone(),
                failure: failure.clone(),
            });
        }
        drop(state);
        self.monitor.counters.failed.add(1);
        let outcome = Outcome::Failed(failure);
        self.monitor.path(PathEnd {
            path: &path,
            kind: "",
            outcome: &outcome,
        });
    }

    /// Reads a line such as `rsync: [sender] send_files failed to open "/a/b": Permission denied (13)`.
    fn failure(&self, text: &[u8]) -> (RelPath, Failure) {
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end();
        let mut quoted = text.splitn(3, '"');
        let (before, path) = (quoted.next().unwrap_or_default(), quoted.next());
        let path = path.map_or("", |path| path.trim_matches('/'));
        let path = RelPath::new(path.as_bytes()).unwrap_or_else(|_| RelPath::root());
        let op = before.rsplit("] ").next().unwrap_or(before).trim();
        let errno = text.rsplit_once('(').and_then(|(_, number)| {
            let number = number.strip_suffix(')')?;
            number.parse().ok()
        });
        let errno = errno.unwrap_or(0);
        let is_theirs = text.contains("[receiver]") || text.contains("[generator]");
        let side = if is_theirs { Side::Target } else { self.side };
        let op: String = op.chars().take(MAX_OP).collect();
        let failure = Failure {
            side,
            op: op.into(),
            errno,
            class: class(errno),
        };
        (path, failure)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, level: Level, text: &[u8]) {
        match (level, spared(text)) {
            (Level::FileError, _) => self.failed(text),
            (_, Some(spared)) => self.state().undeleted = spared,
            (Level::Error | Level::Warning, None) => {
                let text = shown(&String::from_utf8_lossy(text));
                tracing::debug!("{text}");
                self.state().last_words = Some(text);
            }
            (Level::Info, None) => {}
        }
    }
}

impl Listener for Tallying {
    fn event(&self, event: Event<'_>) {
        let counters = &self.monitor.counters;
        match event {
            Event::Item(item) => self.item(&item),
            Event::Deleted { name, mode } => self.deleted(name, mode),
            Event::Line { level, text } => self.line(level, text),
            Event::Listed { entries, bytes, .. } => {
                counters
                    .listed
                    .add(entries.saturating_sub(counters.listed.get()));
                let before = counters.bytes_listed.get();
                counters.bytes_listed.add(bytes.saturating_sub(before));
            }
            _ => {}
        }
    }
}

/// How many deletions a line says were not made (rsync 3.5.0's words).
fn spared(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"Deletions stopped due to --max-delete limit (")?;
    let end = rest.iter().position(|&byte| byte == b' ')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// A peer's line without what a terminal would obey.
pub(crate) fn shown(line: &str) -> String {
    let chars = line.trim_end().chars();
    chars
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// What the item's flags say.
fn outcome(item: &Item<'_>) -> Outcome {
    let has = |flag: u16| item.iflags & flag != 0;
    let changes = CHANGES
        .iter()
        .filter(|(flag, _)| has(*flag))
        .fold(Changes::default(), |all, (_, change)| all | *change);
    if item.hard_link.is_some() {
        Outcome::Linked
    } else if has(IS_NEW) {
        Outcome::Created
    } else if has(TRANSFER) || has(LOCAL_CHANGE) {
        Outcome::Updated(changes | Changes::CONTENT)
    } else if changes.is_empty() {
        Outcome::Unchanged
    } else {
        Outcome::Metadata(changes)
    }
}

fn kind(mode: u32) -> &'static str {
    match mode & 0o170_000 {
        0o100_000 => "file",
        0o040_000 => "directory",
        0o120_000 => "symlink",
        0o020_000 | 0o060_000 => "device",
        0o010_000 => "fifo",
        0o140_000 => "socket",
        _ => "",
    }
}

fn class(errno: i32) -> Class {
    match errno {
        1 | 13 => Class::Denied,
        2 => Class::Vanished,
        28 | 122 => Class::NoSpace,
        95 => Class::Unsupported,
        _ => Class::Io,
    }
}

/// Item flags, as they cross rsync's wire.
const CHANGES: [(u16, Changes); 8] = [
    (0x0002, Changes::CONTENT),
    (0x0004, Changes::SIZE),
    (0x0008, Changes::MTIME),
    (0x0010, Changes::MODE),
    (0x0020, Changes::UID),
    (0x0040, Changes::GID),
    (0x0080, Changes::ACL),
    (0x0100, Changes::XATTR),
];
const IS_NEW: u16 = 0x2000;
const LOCAL_CHANGE: u16 = 0x4000;
const TRANSFER: u16 = 0x8000;

/// Characters of an operation that a report keeps.
const MAX_OP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_deleted_is_read_from_words() {
        // What rsync 3.5.0 says at `--max-delete=1` with three files too many.
        let line = b"Deletions stopped due to --max-delete limit (2 skipped)\n";
        assert_eq!(spared(line), Some(2));
        for other in [&b"Deletions stopped"[..], b"deleting x\n", b""] {
            assert_eq!(spared(other), None);
        }
    }

    #[test]
    fn a_line_about_a_file_tells_which_and_why() {
        let tallying = Tallying::new(Side::Source, false, Arc::default());
        let line =
            b"rsync: [sender] send_files failed to open \"/a/b\" (in m): Permission denied (13)\n";
        let (path, failure) = tallying.failure(line);
        assert_eq!(path.as_bytes(), b"a/b");
        assert_eq!(
            (failure.side, &*failure.op, failure.errno, failure.class),
            (Side::Source, "send_files failed to open", 13, Class::Denied)
        );
        let line = b"rsync: [generator] chown \"/x\" failed: Operation not permitted (1)\n";
        assert_eq!(tallying.failure(line).1.side, Side::Target);
        let (path, failure) = tallying.failure(b"something else\n");
        assert_eq!((path.is_root(), failure.errno), (true, 0));
    }
}
