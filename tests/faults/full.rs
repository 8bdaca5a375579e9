//! Targets without room.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barge_testkit::compare::{Compare, assert_same, same_content};
use barge_testkit::mount::Mounted;
use barge_testkit::mover::{Lane, User, exit};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::geteuid;

use crate::{dir, expect_code, temporaries, walk};

#[test]
fn full_ext4_ends_the_run_and_a_further_one_completes_when_there_is_room() {
    let place = Scratch::new().unwrap();
    let Some(target) = mounted(Mounted::ext4(&place.join("target"), 192, &[])) else {
        return;
    };
    // Where no run looks: the space it takes is what is missing.
    let ballast = target.path().join(tree::STAYS).join("ballast");
    let file = File::create(&ballast).unwrap();
    fallocate(file, FallocateFlags::empty(), 0, 130 << 20).unwrap();
    fills_then_completes(&place, &target, || fs::remove_file(&ballast));
}

#[test]
fn full_tmpfs_ends_the_run_and_a_further_one_completes_when_there_is_room() {
    let place = Scratch::new().unwrap();
    let Some(target) = mounted(Mounted::tmpfs(&place.join("target"), "size=20m")) else {
        return;
    };
    fills_then_completes(&place, &target, || target.remount("size=256m"));
}

#[test]
fn target_without_inodes_ends_the_run_and_a_further_one_completes() {
    let place = Scratch::new().unwrap();
    let target = Mounted::tmpfs(&place.join("target"), "size=256m,nr_inodes=60");
    let Some(target) = mounted(target) else {
        return;
    };
    fills_then_completes(&place, &target, || {
        target.remount("size=256m,nr_inodes=10000")
    });
}

fn fills_then_completes(
    place: &Scratch,
    target: &Mounted,
    make_room: impl FnOnce() -> std::io::Result<()>,
) {
    let (lane, source) = (Lane::new().unwrap(), dir(place.path(), "source"));
    tree::many(&source, 200, 64 << 10, 1).unwrap();
    tree::random_file(&source.join("large"), 40 << 20, 2).unwrap();

    let began = Instant::now();
    let pass = lane.pass(User::Same, &source, target.path(), &[]).unwrap();
    expect_code(&pass.sender, exit::FULL);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "a full target is not tried again"
    );
    assert_eq!(
        pass.sender.report["verdict"], "failed",
        "{}",
        pass.sender.report
    );
    let message = pass.sender.report["error"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{}", pass.sender.report);
    assert_eq!(temporaries(target.path()), Vec::<PathBuf>::new());
    assert_whole_files(&source, target.path());

    make_room().unwrap();
    let pass = lane.pass(User::Same, &source, target.path(), &[]).unwrap();
    expect_code(&pass.sender, exit::COMPLETE);
    let skip = vec![PathBuf::from(tree::STAYS)];
    assert_same(
        &source,
        target.path(),
        &Compare {
            skip,
            ..Compare::default()
        },
    );
}

/// Every file at the target is the source's, byte by byte.
fn assert_whole_files(source: &Path, target: &Path) {
    for file in walk(target)
        .iter()
        .filter(|path| !path.starts_with(target.join(tree::STAYS)))
    {
        let original = source.join(file.strip_prefix(target).unwrap());
        assert!(
            same_content(&original, file).unwrap(),
            "{} is half-written",
            file.display()
        );
    }
    assert!(
        fs::read_dir(target).unwrap().count() > 0,
        "nothing moved at all"
    );
}

/// The file system, or `None` with the reason printed.
fn mounted(made: std::io::Result<Mounted>) -> Option<Mounted> {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    made.inspect_err(|e| eprintln!("skipped: this machine mounts no such file system: {e}"))
        .ok()
}
