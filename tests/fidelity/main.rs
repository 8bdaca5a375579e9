//! Every kind of inode and attribute, there and back, compared by code of its own.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stderr, reason = "a test says why it was skipped")]

mod borders;
mod fake_super;
mod filesystems;
mod ordinary_user;
mod shut_directories;
mod whole;

use std::path::{Path, PathBuf};

use barge_testkit::compare::Compare;
use barge_testkit::mover::{Pass, Told, exit};
use barge_testkit::tree;
use nix::unistd::geteuid;

/// Whether the test may go on; says so when it may not.
fn is_root() -> bool {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
    }
    geteuid().is_root()
}

/// What two trees must agree in after a run: everything but what stays in the root.
fn all() -> Compare {
    Compare {
        skip: vec![PathBuf::from(tree::STAYS)],
        ..Compare::default()
    }
}

#[track_caller]
fn expect_complete(pass: &Pass) {
    for told in [&pass.sender, &pass.server] {
        expect_code(told, exit::COMPLETE);
        assert_eq!(told.report["verdict"], "complete", "{}", told.report);
        assert_eq!(told.tally("failed"), 0);
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

/// The failures a report names: path, side, class.
fn failures(told: &Told) -> Vec<(String, String, String)> {
    let failures = told.report["failures"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    failures
        .iter()
        .map(|f| (text(&f["path"]), text(&f["side"]), text(&f["class"])))
        .collect()
}

/// Makes a directory below `place` and returns its path.
fn dir(place: &Path, name: &str) -> PathBuf {
    let path = place.join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}
