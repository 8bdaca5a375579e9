//! Runs without capabilities: what can be kept is kept, what cannot is told.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::compare::{Compare, Field, assert_same, compare};
use barge_testkit::mover::{Lane, User, exit};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::{all, dir, expect_code, expect_complete, failures, is_root};

#[test]
fn ordinary_user_moves_a_volume_of_his_own_without_loss() {
    let user = if is_root() { User::Nobody } else { User::Same };
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (place.join("source"), dir(place.path(), "target"));
    tree::awkward(&source, false).unwrap();
    if user == User::Nobody {
        give(&[&source, &target]);
    }
    expect_complete(&lane.pass(user, &source, &target, &[]).unwrap());
    assert_same(&source, &target, &all());
    expect_complete(&lane.pass(user, &source, &target, &["--delete"]).unwrap());
    assert_same(&source, &target, &all());
}

#[test]
fn ordinary_user_is_told_everything_that_could_not_be_kept() {
    if !is_root() {
        return;
    }
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (mixed(place.path()), dir(place.path(), "target"));
    give(&[&target]);
    let pass = lane.pass(User::Nobody, &source, &target, &[]).unwrap();
    for told in [&pass.sender, &pass.server] {
        expect_code(told, exit::PARTIAL);
        assert_eq!(told.report["verdict"], "partial");
    }
    let failures = failures(&pass.sender);
    for (path, side, class) in &failures {
        assert!(
            class == "denied" || class == "unsupported",
            "{path}: {class} ({side})"
        );
    }
    let failed = |path: &Path| failures.iter().any(|f| Path::new(&f.0) == path);
    for difference in compare(&source, &target, &Compare::default()).unwrap() {
        let told = difference.path.ancestors().any(failed) || failed(Path::new("."));
        assert!(told, "not told: {difference}");
    }
    for (path, side) in [
        ("secret", "source"),
        ("closed", "source"),
        ("device", "target"),
    ] {
        assert!(
            failures.iter().any(|f| f.0 == path && f.1 == side),
            "{path} in {failures:?}"
        );
    }
    for path in ["plain", "of another", "trusted"] {
        assert!(failed(Path::new(path)), "{path} in {failures:?}");
    }
    let set_uid = fs::symlink_metadata(target.join("set-uid"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(
        set_uid & 0o6000,
        0,
        "set-uid for another owner than the one it was meant for"
    );
}

#[test]
fn options_turn_off_what_an_ordinary_user_cannot_keep() {
    if !is_root() {
        return;
    }
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (mixed(place.path()), dir(place.path(), "target"));
    give(&[&target]);
    fs::remove_file(source.join("secret")).unwrap();
    fs::remove_dir_all(source.join("closed")).unwrap();
    fs::remove_file(source.join("set-uid")).unwrap();
    let options = ["--no-owner", "--no-devices", "--no-xattrs"];
    expect_complete(&lane.pass(User::Nobody, &source, &target, &options).unwrap());
    let how = Compare {
        without: vec![Field::Owner, Field::Xattrs],
        skip: vec![PathBuf::from("device")],
        ..Compare::default()
    };
    assert_same(&source, &target, &how);
    assert!(!target.join("device").exists());
}

/// A tree of root's with one of each thing an ordinary user cannot read or make.
fn mixed(place: &Path) -> PathBuf {
    let source = dir(place, "source");
    for name in ["plain", "of another", "secret", "set-uid", "trusted"] {
        fs::write(source.join(name), name).unwrap();
    }
    lchown(source.join("of another"), Some(1234), Some(1234)).unwrap();
    xattr::set(source.join("trusted"), "trusted.test", b"yes").unwrap();
    fs::write(dir(&source, "closed").join("within"), "unseen").unwrap();
    for (name, mode) in [("secret", 0), ("set-uid", 0o4755), ("closed", 0o700)] {
        fs::set_permissions(source.join(name), Permissions::from_mode(mode)).unwrap();
    }
    mknod(
        &source.join("device"),
        SFlag::S_IFCHR,
        Mode::S_IRUSR,
        makedev(1, 3),
    )
    .unwrap();
    source
}

/// Gives trees to the user the mover runs as.
fn give(trees: &[&Path]) {
    // Not by a walk of our own: these trees are deeper than a path can be long.
    let given = Command::new("chown")
        .args(["-R", "-h", "65534:65534"])
        .args(trees)
        .status();
    assert!(given.unwrap().success());
}
