//! Whole volumes, over the route and within one process.

use std::fs;
use std::path::Path;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mover::{Lane, Told, User, barge, exit};
use barge_testkit::mutate::mutate;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;
use nix::unistd::geteuid;

use crate::{all, dir, expect_code, expect_complete};

#[test]
fn volume_moves_whole_then_by_difference_then_back() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (place.join("source"), dir(place.path(), "target"));
    tree::awkward(&source, geteuid().is_root()).unwrap();

    let first = lane.pass(User::Same, &source, &target, &[]).unwrap();
    expect_complete(&first);
    assert_same(&source, &target, &all());
    assert!(
        !target.join(tree::STAYS).exists(),
        "lost+found of the root stays"
    );

    let second = lane
        .pass(User::Same, &source, &target, &["--streams", "4"])
        .unwrap();
    expect_complete(&second);
    expect_nothing_done(&second.sender);
    assert_same(&source, &target, &all());

    for seed in [1, 2] {
        let edits = mutate(&source, seed).unwrap();
        let third = lane
            .pass(User::Same, &source, &target, &["--delete"])
            .unwrap();
        expect_complete(&third);
        assert!(third.sender.tally("deleted") > 0, "{edits:#?}");
        assert!(
            third.sender.tally("bytes_sent") < 16 << 20,
            "{}",
            third.sender.report
        );
        assert_same(&source, &target, &all());
    }

    let back = dir(place.path(), "back");
    let fourth = lane
        .pass(User::Same, &target, &back, &["--streams", "4"])
        .unwrap();
    expect_complete(&fourth);
    assert_same(&source, &back, &all());
}

#[test]
fn volume_moves_whole_in_the_language_of_rsync() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (place.join("source"), dir(place.path(), "target"));
    tree::awkward(&source, geteuid().is_root()).unwrap();
    // That protocol has no longer paths, and sends what is a hole.
    fs::remove_dir_all(source.join("deep")).unwrap();
    for holes in ["nothing, 4 GiB of it", "a needle"] {
        fs::remove_file(source.join("sparse").join(holes)).unwrap();
    }
    let options = ["--protocol", "rsync", "--delete"];
    for seed in [1, 2] {
        let pass = lane.pass(User::Same, &source, &target, &options).unwrap();
        expect_complete(&pass);
        assert_same(&source, &target, &all());
        mutate(&source, seed).unwrap();
    }
}

#[test]
fn volume_is_copied_within_one_process_as_it_is_over_the_route() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (place.join("source"), dir(place.path(), "target"));
    tree::awkward(&source, geteuid().is_root()).unwrap();
    expect_code(&copy(&lane, &source, &target, &[]), exit::COMPLETE);
    assert_same(&source, &target, &all());
    let second = copy(&lane, &source, &target, &[]);
    expect_code(&second, exit::COMPLETE);
    expect_nothing_done(&second);
    mutate(&source, 3).unwrap();
    expect_code(
        &copy(&lane, &source, &target, &["--delete"]),
        exit::COMPLETE,
    );
    assert_same(&source, &target, &all());
}

#[test]
fn byte_inserted_at_the_front_of_a_large_file_does_not_resend_it() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    let file = source.join("file");
    tree::random_file(&file, 40 << 20, 7).unwrap();
    expect_complete(&lane.pass(User::Same, &source, &target, &[]).unwrap());
    let mut content = fs::read(&file).unwrap();
    content.insert(0, b'!');
    fs::write(&file, content).unwrap();
    let second = lane.pass(User::Same, &source, &target, &[]).unwrap();
    expect_complete(&second);
    assert!(
        second.sender.tally("bytes_sent") < 1 << 20,
        "{}",
        second.sender.report
    );
    assert!(
        second.sender.tally("bytes_matched") > 39 << 20,
        "{}",
        second.sender.report
    );
    assert_same(&source, &target, &Compare::default());
}

#[test]
fn content_changed_under_the_same_size_and_time_is_found_by_checksum_alone() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    for (root, seed) in [(&source, 1), (&target, 2)] {
        for (name, len) in [("small", 5_000), ("large", 5 << 20)] {
            tree::random_file(&root.join(name), len, seed).unwrap();
            tree::set_mtime(&root.join(name), 1_000_000_000, 5).unwrap();
        }
    }
    let quick = lane.pass(User::Same, &source, &target, &[]).unwrap();
    assert_eq!(quick.sender.tally("updated"), 0);
    let thorough = lane
        .pass(User::Same, &source, &target, &["--checksum"])
        .unwrap();
    expect_complete(&thorough);
    assert_eq!(thorough.sender.tally("updated"), 2);
    assert_same(&source, &target, &Compare::default());
}

#[test]
fn options_that_change_how_a_file_is_written_do_not_change_what_is_written() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    tree::many(&source, 50, 300_000, 1).unwrap();
    fs::hard_link(source.join("d0000/f0000000"), source.join("another name")).unwrap();
    for (seed, option) in [(1, "--inplace"), (2, "--whole-file"), (3, "--checksum")] {
        mutate(&source, seed).unwrap();
        let pass = lane
            .pass(User::Same, &source, &target, &["--delete", option])
            .unwrap();
        expect_complete(&pass);
        assert_same(&source, &target, &Compare::default());
    }
}

#[test]
fn dry_run_tells_what_a_run_would_do_and_does_nothing() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    tree::many(&source, 20, 1000, 1).unwrap();
    tree::many(&target, 25, 1000, 2).unwrap();
    let before = dir(place.path(), "before");
    expect_code(&copy(&lane, &target, &before, &[]), exit::COMPLETE);
    let dry = lane
        .pass(User::Same, &source, &target, &["--delete", "--dry-run"])
        .unwrap();
    expect_code(&dry.sender, exit::COMPLETE);
    assert_eq!(
        (dry.sender.tally("updated"), dry.sender.tally("deleted")),
        (20, 5)
    );
    assert_same(&before, &target, &Compare::default());
}

#[test]
fn excluded_paths_are_neither_copied_nor_deleted() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    for root in [&source, &target] {
        dir(root, "cache/deep");
        dir(root, "kept");
    }
    fs::write(source.join("cache/deep/a"), "stays here").unwrap();
    fs::write(source.join("kept/b.tmp"), "stays here").unwrap();
    fs::write(source.join("kept/b"), "moves").unwrap();
    fs::write(target.join("cache/old"), "stays there").unwrap();
    fs::write(target.join("kept/old.tmp"), "stays there").unwrap();
    fs::write(target.join("kept/old"), "goes").unwrap();
    let options = ["--delete", "--exclude", "/cache", "--exclude", "*.tmp"];
    expect_complete(&lane.pass(User::Same, &source, &target, &options).unwrap());
    for (name, there) in [
        ("cache/deep/a", false),
        ("kept/b.tmp", false),
        ("kept/b", true),
        ("cache/old", true),
        ("kept/old.tmp", true),
        ("kept/old", false),
    ] {
        assert_eq!(target.join(name).exists(), there, "{name}");
    }
}

fn copy(lane: &Lane, source: &Path, target: &Path, options: &[&str]) -> Told {
    let mut barge = barge().unwrap();
    barge.arg("copy").arg(source).arg(target).args(options);
    lane.run(barge).unwrap()
}

#[track_caller]
fn expect_nothing_done(told: &Told) {
    assert!(told.tally("unchanged") > 0);
    for count in [
        "created",
        "updated",
        "metadata",
        "linked",
        "deleted",
        "failed",
        "bytes_sent",
    ] {
        assert_eq!(told.tally(count), 0, "{count} of {}", told.report);
    }
}
