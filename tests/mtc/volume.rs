//! A volume as an application leaves it, and what the application does to it between two runs.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use barge_testkit::tree::{random_file, set_mtime};
use nix::sys::stat::Mode as Permission;
use nix::unistd::mkfifo;

/// Fills `root` with what belongs to `owner`; where that is root, to others as well.
pub(crate) fn fill(root: &Path, owner: u32) -> io::Result<()> {
    for directory in ["db", "many", "modes", "names", "lost+found"] {
        fs::create_dir(root.join(directory))?;
    }
    random_file(&root.join("db/table"), LARGE, 1)?;
    random_file(&root.join("db/log"), 70_001, 2)?;
    fs::hard_link(root.join("db/log"), root.join("db/log.same"))?;
    fs::write(root.join("empty"), "")?;
    fs::write(root.join("lost+found/found"), "stays")?;
    for n in 0..200 {
        random_file(&root.join(format!("many/{n}")), n * 37, n as u64)?;
    }
    for name in [
        &b"50 off"[..],
        b"new\nline",
        b"\xff no text",
        b"-n",
        b" spaces ",
        b"\xc3\xa9",
    ] {
        fs::write(root.join("names").join(OsStr::from_bytes(name)), name)?;
    }
    symlink("../db/table", root.join("names/link"))?;
    symlink("/nowhere", root.join("names/dangling"))?;
    mkfifo(
        &root.join("modes/fifo"),
        Permission::from_bits_truncate(0o620),
    )?;
    for mode in [0o400, 0o600, 0o644, 0o755, 0o777, 0o2750, 0o4711] {
        let file = root.join(format!("modes/{mode:o}"));
        fs::write(&file, "")?;
        own(&file, owner)?;
        fs::set_permissions(&file, Permissions::from_mode(mode))?;
    }
    each(root, &mut |path| {
        let modes = fs::symlink_metadata(path)?.permissions();
        own(path, owner)?;
        set_mtime(path, 1_600_000_000, 123_456_789)?;
        match path.is_symlink() {
            true => Ok(()),
            false => fs::set_permissions(path, modes),
        }
    })?;
    if owner == 0 {
        lchown(root.join("db/table"), Some(26), Some(27))?;
        lchown(root.join("names/link"), Some(4711), Some(4712))?;
    }
    Ok(())
}

/// What an application does: one file less, one more, one changed in its middle, one mode.
pub(crate) fn work(root: &Path, owner: u32) -> io::Result<()> {
    fs::remove_file(root.join("many/7"))?;
    fs::write(root.join("many/new"), "new")?;
    own(&root.join("many/new"), owner)?;
    let table = fs::OpenOptions::new()
        .write(true)
        .open(root.join("db/table"))?;
    std::os::unix::fs::FileExt::write_all_at(&table, b"changed", LARGE as u64 / 2)?;
    fs::set_permissions(root.join("many/9"), Permissions::from_mode(0o640))?;
    // Some time ago: stock's receiver leaves a directory its time where both are of one second.
    set_mtime(&root.join("many"), 1_700_000_000, 5)
}

/// Calls `act` for every entry below `root`, what is in a directory before it.
fn each(root: &Path, act: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            each(&path, act)?;
        }
        act(&path)?;
    }
    Ok(())
}

fn own(path: &Path, owner: u32) -> io::Result<()> {
    lchown(path, Some(owner), Some(owner))
}

/// Bytes of the large file: some seconds at the rate that the runs are limited to.
pub(crate) const LARGE: usize = 20 << 20;
