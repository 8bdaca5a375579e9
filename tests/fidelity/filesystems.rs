//! Targets that cannot hold everything, and one that can.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};

use barge_testkit::compare::{Compare, Field, assert_same, compare};
use barge_testkit::mount::Mounted;
use barge_testkit::mover::{Lane, User, exit};
use barge_testkit::mutate::mutate;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;

use crate::{all, dir, expect_code, expect_complete, failures, is_root};

#[test]
fn volume_moves_to_ext4_and_its_lost_and_found_survives() {
    let place = Scratch::new().unwrap();
    let Some(target) = ext4(&place, 256, &[]) else {
        return;
    };
    let (lane, source) = (Lane::new().unwrap(), place.join("source"));
    tree::awkward(&source, true).unwrap();
    expect_complete(
        &lane
            .pass(User::Same, &source, target.path(), &["--delete"])
            .unwrap(),
    );
    assert_same(&source, target.path(), &all());
    mutate(&source, 4).unwrap();
    expect_complete(
        &lane
            .pass(User::Same, &source, target.path(), &["--delete"])
            .unwrap(),
    );
    assert_same(&source, target.path(), &all());
    assert!(target.path().join(tree::STAYS).exists());
}

#[test]
fn times_a_target_cannot_hold_are_told() {
    let place = Scratch::new().unwrap();
    let Some(target) = ext4(&place, 16, &["-I", "128"]) else {
        return;
    };
    let (lane, source) = (Lane::new().unwrap(), dir(place.path(), "source"));
    for (name, secs, nanos) in [
        ("plain", 1_000_000_000, 0),
        ("finer", 1_000_000_000, 5),
        ("later", 5_000_000_000, 0),
    ] {
        fs::write(source.join(name), name).unwrap();
        tree::set_mtime(&source.join(name), secs, nanos).unwrap();
    }
    tree::set_mtime(&source, 1_000_000_001, 0).unwrap();
    let pass = lane.pass(User::Same, &source, target.path(), &[]).unwrap();
    expect_code(&pass.sender, exit::PARTIAL);
    let failures = failures(&pass.sender);
    let failed: BTreeSet<&str> = failures.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(failed, BTreeSet::from(["finer", "later"]), "{failures:?}");
    assert!(
        failures
            .iter()
            .all(|f| f.1 == "target" && f.2 == "unsupported"),
        "{failures:?}"
    );
    assert_same(
        &source,
        target.path(),
        &Compare {
            without: vec![Field::Mtime],
            ..all()
        },
    );
}

#[test]
fn attributes_and_links_too_long_for_small_blocks_are_told_and_the_rest_moves() {
    let place = Scratch::new().unwrap();
    let Some(target) = ext4(&place, 16, &["-b", "1024"]) else {
        return;
    };
    let (lane, source) = (Lane::new().unwrap(), dir(place.path(), "source"));
    for name in ["a", "attributes", "z"] {
        fs::write(source.join(name), name).unwrap();
    }
    xattr::set(source.join("attributes"), "user.long", &[7; 1500]).unwrap();
    symlink("x/".repeat(1000), source.join("symlink")).unwrap();
    let pass = lane.pass(User::Same, &source, target.path(), &[]).unwrap();
    expect_code(&pass.sender, exit::PARTIAL);
    let failures = failures(&pass.sender);
    let failed: BTreeSet<&str> = failures.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(
        failed,
        BTreeSet::from(["attributes", "symlink"]),
        "{failures:?}"
    );
    for name in ["a", "attributes", "z"] {
        assert_eq!(fs::read_to_string(target.path().join(name)).unwrap(), name);
    }
}

#[test]
fn names_beyond_the_link_limit_are_told_and_none_is_lost_silently() {
    const NAMES: usize = 65_010;
    let place = Scratch::new().unwrap();
    let Some(target) = ext4(&place, 64, &["-N", "4096"]) else {
        return;
    };
    let (lane, source) = (Lane::new().unwrap(), dir(place.path(), "source"));
    fs::write(source.join("0"), "one inode").unwrap();
    for n in 1..NAMES {
        fs::hard_link(source.join("0"), source.join(n.to_string())).unwrap();
    }
    let pass = lane.pass(User::Same, &source, target.path(), &[]).unwrap();
    expect_code(&pass.sender, exit::PARTIAL);
    // A name beyond the limit may become a file of its own; it is told, as one that is missing is.
    let mut present = 0;
    let mut inodes = BTreeSet::new();
    for name in (0..NAMES).map(|n| n.to_string()) {
        if let Ok(meta) = fs::metadata(target.path().join(&name)) {
            assert_eq!(meta.len(), 9, "{name}");
            present += 1;
            inodes.insert(meta.ino());
        }
    }
    let failed = pass.sender.tally("failed") as usize;
    let untold = NAMES - present + inodes.len() - 1;
    assert!(
        failed >= untold,
        "{present} names, {} inodes, {failed} told",
        inodes.len()
    );
    assert!(failures(&pass.sender).iter().all(|f| f.2 == "unsupported"));
}

#[test]
fn names_that_fold_to_one_at_the_target_are_told() {
    let place = Scratch::new().unwrap();
    let Some(target) = ext4(&place, 16, &["-O", "casefold"]) else {
        return;
    };
    let folding = dir(target.path(), "volume");
    let set = std::process::Command::new("chattr")
        .arg("+F")
        .arg(&folding)
        .status()
        .unwrap();
    assert!(set.success());
    let (lane, source) = (Lane::new().unwrap(), dir(place.path(), "source"));
    for name in ["Name", "name", "other"] {
        fs::write(source.join(name), name).unwrap();
    }
    let pass = lane.pass(User::Same, &source, &folding, &[]).unwrap();
    expect_code(&pass.sender, exit::PARTIAL);
    let failures = failures(&pass.sender);
    assert_eq!(failures.len(), 1, "{failures:?}");
    let kept = if failures[0].0 == "Name" {
        "name"
    } else {
        "Name"
    };
    assert_eq!(fs::read_to_string(folding.join("name")).unwrap(), kept);
    assert_eq!(fs::read_to_string(folding.join("other")).unwrap(), "other");
}

#[test]
fn file_of_nothing_takes_no_space_at_a_target_smaller_than_it() {
    let place = Scratch::new().unwrap();
    let Some(target) = ext4(&place, 16, &[]) else {
        return;
    };
    let (lane, source) = (Lane::new().unwrap(), dir(place.path(), "source"));
    File::create(source.join("nothing"))
        .unwrap()
        .set_len(64 << 30)
        .unwrap();
    let pass = lane.pass(User::Same, &source, target.path(), &[]).unwrap();
    expect_complete(&pass);
    assert!(
        pass.sender.report["seconds"].as_f64().unwrap() < 5.0,
        "{}",
        pass.sender.report
    );
    assert!(compare(&source, target.path(), &all()).unwrap().is_empty());
}

/// An ext4 of its own, or `None` with the reason printed.
fn ext4(place: &Scratch, mib: u64, options: &[&str]) -> Option<Mounted> {
    if !is_root() {
        return None;
    }
    let made = Mounted::ext4(&place.join("ext4"), mib, options);
    made.inspect_err(|e| eprintln!("skipped: this machine mounts no such file system: {e}"))
        .ok()
}
