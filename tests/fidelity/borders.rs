//! What a run must leave alone.

use std::fs;
use std::path::Path;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mount::Mounted;
use barge_testkit::mover::{Lane, User};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;

use crate::{dir, expect_complete, is_root};

#[test]
fn lost_and_found_is_left_alone_in_the_roots_only() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    fs::write(dir(&source, tree::STAYS).join("of the source"), "").unwrap();
    fs::write(dir(&target, tree::STAYS).join("of the target"), "").unwrap();
    fs::write(dir(&source, "below/lost+found").join("moves"), "").unwrap();
    fs::write(dir(&target, "below/lost+found").join("goes"), "").unwrap();
    expect_complete(
        &lane
            .pass(User::Same, &source, &target, &["--delete"])
            .unwrap(),
    );
    for (name, there) in [
        ("lost+found/of the source", false),
        ("lost+found/of the target", true),
        ("below/lost+found/moves", true),
        ("below/lost+found/goes", false),
    ] {
        assert_eq!(target.join(name).exists(), there, "{name}");
    }
}

#[test]
fn mount_points_are_crossed_on_neither_side() {
    if !is_root() {
        return;
    }
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    let in_source = Mounted::tmpfs(&source.join("mounted"), "size=1m").unwrap();
    let in_target = Mounted::tmpfs(&target.join("mounted too"), "size=1m").unwrap();
    fs::write(in_source.path().join("file"), "of another volume").unwrap();
    fs::write(in_target.path().join("file"), "of another volume").unwrap();
    fs::write(source.join("file"), "moves").unwrap();
    let pass = lane
        .pass(User::Same, &source, &target, &["--delete"])
        .unwrap();
    assert!(
        matches!(pass.sender.ended.code, Some(0 | 8)),
        "{}",
        pass.sender.ended.stderr
    );
    assert!(pass.sender.tally("skipped") >= 1, "{}", pass.sender.report);
    assert_eq!(fs::read(target.join("file")).unwrap(), b"moves");
    assert_eq!(fs::read_dir(target.join("mounted")).unwrap().count(), 0);
    assert!(
        target.join("mounted too/file").exists(),
        "deletion went into another file system"
    );
}

#[test]
fn leftovers_of_a_killed_run_are_neither_copied_nor_kept() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    let leftover = ".barge-0123456789abcdef0123456789abcdef";
    for root in [&source, &target] {
        fs::write(dir(root, "below").join(leftover), "half of a file").unwrap();
    }
    fs::write(source.join("below/file"), "whole").unwrap();
    expect_complete(&lane.pass(User::Same, &source, &target, &[]).unwrap());
    let skip = vec![Path::new("below").join(leftover)];
    assert_same(
        &source,
        &target,
        &Compare {
            skip,
            ..Compare::default()
        },
    );
    assert!(
        source.join("below").join(leftover).exists(),
        "a source is never changed"
    );
    assert!(!target.join("below").join(leftover).exists());
}
