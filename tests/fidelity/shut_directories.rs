//! Directories that their own ordinary owner may not change, in rsync's language.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mover;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree::set_mtime;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::is_root;

#[test]
fn ordinary_owner_changes_what_is_in_them_and_they_are_shut_again() {
    if !is_root() {
        return;
    }
    for options in [
        "-a",
        "-rlt",
        "-rl",
        "-a --no-p",
        "-a --delete",
        "-a --delete-delay",
        "-a --delete-after",
        "-rl --delete-after",
        "-a --delay-updates",
        "-a --inplace",
        "-a --backup",
    ] {
        let trees = [stock(), ours()].map(|mut rsync| {
            let place = Scratch::new().unwrap();
            fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
            let (source, target) = (place.join("source"), place.join("target"));
            tree(&source, "new");
            tree(&target, "old");
            let shut = Permissions::from_mode(0o000);
            fs::set_permissions(target.join("shut"), shut).unwrap();
            rsync.args(options.split(' ')).arg(source.join("."));
            let ended = rsync.arg(&target).uid(NOBODY).gid(NOBODY).output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(ended.status.success(), "{options}: {said}");
            place
        });
        let [stock, ours] = &trees;
        let how = Compare {
            recent: Some(1_600_000_000),
            ..Compare::default()
        };
        assert_same(&stock.join("target"), &ours.join("target"), &how);
    }
}

#[test]
fn file_written_in_place_takes_the_place_of_what_is_none() {
    for options in ["-a --inplace", "-a --inplace --backup", "-a --append"] {
        let trees = [stock(), ours()].map(|mut rsync| {
            let place = Scratch::new().unwrap();
            let (source, target) = (place.join("source"), place.join("target"));
            for dir in [&source, &target] {
                fs::create_dir(dir).unwrap();
            }
            for name in ["link", "pipe"] {
                fs::write(source.join(name), name).unwrap();
            }
            symlink("elsewhere", target.join("link")).unwrap();
            mkfifo(&target.join("pipe"), Mode::S_IRUSR).unwrap();
            rsync.args(options.split(' ')).arg(source.join("."));
            let ended = rsync.arg(&target).output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(ended.status.success(), "{options}: {said}");
            place
        });
        let [stock, ours] = &trees;
        let how = Compare {
            recent: Some(0),
            ..Compare::default()
        };
        assert_same(&stock.join("target"), &ours.join("target"), &how);
    }
}

fn stock() -> Command {
    Command::new("rsync")
}

fn ours() -> Command {
    let mut command = mover::barge().unwrap();
    command.arg("rsync");
    command
}

/// Directories that may not be written to, with a file that is there every time and one with the
/// given name.
fn tree(at: &Path, name: &str) {
    let dirs = ["", "read-only", "read-only/below", "shut"].map(|dir| at.join(dir));
    for dir in &dirs {
        fs::create_dir_all(dir).unwrap();
        for file in ["same", name] {
            fs::write(dir.join(file), name).unwrap();
            let time = 1_000_000_000 + i64::from(name == "new");
            set_mtime(&dir.join(file), time, 0).unwrap();
            own(&dir.join(file));
        }
    }
    for dir in dirs.iter().rev() {
        own(dir);
        let mode = match dir.ends_with("read-only") || dir.ends_with("below") {
            true => 0o555,
            false => 0o755,
        };
        fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap();
        // Nothing differs in the directories themselves.
        set_mtime(dir, 1_000_000_000, 0).unwrap();
    }
}

fn own(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

const NOBODY: u32 = 65534;
