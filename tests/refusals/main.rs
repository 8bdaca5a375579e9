//! What is refused: with a cause, a remedy, the documented exit code, and nothing lost.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stderr, reason = "a test says why it was skipped")]

mod identities;
mod orders;
mod peers;

use std::fs;
use std::path::{Path, PathBuf};

use barge_testkit::mover::Told;
use barge_testkit::scratch::Scratch;

/// A source with one file and an empty target.
fn volume(place: &Scratch) -> (PathBuf, PathBuf) {
    let (source, target) = (place.dir("source").unwrap(), place.dir("target").unwrap());
    fs::write(source.join("file"), "content").unwrap();
    (source, target)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// The run ended with `code`, and standard error has a line that says each of `words`.
#[track_caller]
fn expect_refusal(told: &Told, code: i32, words: &[&str]) {
    let said = &told.ended.stderr;
    assert_eq!(told.ended.code, Some(code), "{said}");
    let lower = said.to_lowercase();
    for word in words {
        assert!(
            lower.contains(&word.to_lowercase()),
            "{word:?} is not in:\n{said}"
        );
    }
}
