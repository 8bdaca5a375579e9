//! Cut connections, killed processes, full targets, sources that change: equal trees in the end,
//! or an honest report and nothing half-written under a real name.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stderr, reason = "a test says why it was skipped")]

mod changing;
mod cuts;
mod full;
mod kills;
mod rsync;
mod stamped;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barge_testkit::mover::Told;

/// Makes a directory below `place` and returns its path.
fn dir(place: &Path, name: &str) -> PathBuf {
    let path = place.join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Every path below `root` that is no directory.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => found.extend(walk(&path)),
            _ => found.push(path),
        }
    }
    found
}

/// Whether a name is one barge gives to its own files: `.barge-` and 32 hex digits, or its marker.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().map_or(&b""[..], OsStr::as_bytes);
    let hex = |digits: &[u8]| digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
    name == b".barge-run" || name.strip_prefix(b".barge-").is_some_and(hex)
}

/// Waits up to ten seconds for the temporary files below `root` to go, and returns those left.
fn temporaries(root: &Path) -> Vec<PathBuf> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<PathBuf> = walk(root).into_iter().filter(|p| is_temporary(p)).collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn expect_code(told: &Told, code: i32) {
    assert_eq!(
        told.ended.code,
        Some(code),
        "{:#}\n{}",
        told.report,
        told.ended.stderr
    );
}
