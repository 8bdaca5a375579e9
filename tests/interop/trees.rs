//! A small source with something of everything, and targets it meets.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use barge_testkit::tree::{random_file, set_mtime};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::geteuid;

/// Fills a new directory `root` with the source of every case.
///
/// # Errors
///
/// The first call that failed.
pub(crate) fn source(root: &Path, leaving: bool) -> io::Result<()> {
    fs::create_dir(root)?;
    contents(root)?;
    names(&root.join("names"))?;
    links(root)?;
    if leaving {
        symlink("/etc/hostname", root.join("link-absolute"))?;
        symlink("../outside", root.join("link-up"))?;
    }
    specials(&root.join("specials"))?;
    filters(&root.join("filtered"))?;
    attributes(&root.join("attributes"))?;
    age(root, 1_000_000_000)?;
    set_mtime(&root.join("nanoseconds"), 1_100_000_000, 123_456_789)?;
    set_mtime(&root.join("old"), -1_000_000_000, 0)?;
    set_mtime(&root.join("future"), 4_000_000_000, 5)?;
    fs::set_permissions(root.join("shut"), Permissions::from_mode(0o555))
}

fn contents(root: &Path) -> io::Result<()> {
    for dir in [
        "deep/deeper/deepest/bottom",
        "empty",
        "shut",
        "sub/dir",
        "was-file",
        "was-link",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    for (name, len) in [
        ("appended", 70_000),
        ("deep/deeper/deepest/bottom/file", 10),
        ("deep/middle", 700),
        ("delta", 300_000),
        ("empty-file", 0),
        ("future", 10),
        ("nanoseconds", 33),
        ("new", 5_000),
        ("newer-there", 60),
        ("old", 8),
        ("one", 1),
        ("owner-differs", 12),
        ("renamed-since", 100_000),
        ("sub/renamed-with-its-time", 40_000),
        ("same", 5_000),
        ("same-size", 1_234),
        ("same-size-and-time", 4_321),
        ("shut/inside", 20),
        ("sub/dir/one", 100),
        ("sub/dir/two", 200),
        ("sub/same", 30),
        ("time-differs", 9_000),
        ("was-dir", 90),
        ("was-dir-with-files", 91),
        ("was-file/now a file below", 92),
        ("was-link/now a file below", 93),
    ] {
        random_file(&root.join(name), len, name.len() as u64 + len as u64)?;
    }
    sparse(&root.join("sparse"))?;
    for (name, mode) in [
        ("mode-differs", 0o640),
        ("program", 0o755),
        ("set-id", 0o6755),
    ] {
        fs::write(root.join(name), name)?;
        fs::set_permissions(root.join(name), Permissions::from_mode(mode))?;
    }
    fs::set_permissions(root.join("sub/dir"), Permissions::from_mode(0o2770))?;
    if geteuid().is_root() {
        lchown(root.join("owner-differs"), Some(1234), Some(4321))?;
        lchown(root.join("sub"), Some(1), Some(2))?;
    }
    Ok(())
}

fn sparse(path: &Path) -> io::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(1 << 20)?;
    file.write_all_at(b"within", 500_000)?;
    file.write_all_at(&[7; 10_000], 900_000)
}

fn names(at: &Path) -> io::Result<()> {
    fs::create_dir(at)?;
    for name in NAMES {
        fs::write(at.join(OsStr::from_bytes(name)), name)?;
    }
    let dir = at.join(OsStr::from_bytes(b"a directory\n\xff"));
    fs::create_dir(&dir)?;
    fs::write(dir.join("child"), "child")
}

/// Entries at the top that differ in the old target by attributes alone.
pub(crate) const TOUCHED: &[&str] = &["link", "mode-differs", "owner-differs"];

/// As in the shells and on the terminals of this world.
const NAMES: &[&[u8]] = &[
    b" ",
    b"#1",
    b"*[a-z]?",
    b"--delete",
    b"\\#012",
    b"\xc3\xa9t\xc3\xa9",
    b"\xff\xfe",
    b"a:b",
    b"back\\slash",
    b"new\nline",
    b"quote'\"s",
    b"tab\tbed",
    b"trailing.",
    b"~user",
];

fn links(root: &Path) -> io::Result<()> {
    for (name, target) in [
        ("link", "same"),
        ("link-changed", "new target"),
        ("link-dangling", "nowhere"),
        ("link-to-dir", "sub"),
        ("sub/link-up-and-down", "../same"),
        ("was-file-now-link", "same"),
    ] {
        symlink(target, root.join(name))?;
    }
    fs::create_dir(root.join("hard"))?;
    for (old, new) in [
        ("same", "hard/same"),
        ("new", "hard/new"),
        ("new", "another new"),
        ("link-dangling", "hard/link"),
    ] {
        fs::hard_link(root.join(old), root.join(new))?;
    }
    Ok(())
}

fn specials(at: &Path) -> io::Result<()> {
    fs::create_dir(at)?;
    node(&at.join("fifo"), SFlag::S_IFIFO, 0)?;
    node(&at.join("socket"), SFlag::S_IFSOCK, 0)?;
    if geteuid().is_root() {
        node(&at.join("device"), SFlag::S_IFCHR, makedev(1, 3))?;
        node(&at.join("block"), SFlag::S_IFBLK, makedev(7, 200))?;
    }
    Ok(())
}

fn node(path: &Path, kind: SFlag, device: u64) -> io::Result<()> {
    Ok(mknod(path, kind, Mode::from_bits_truncate(0o640), device)?)
}

/// Rules that lie about, and what they are about.
fn filters(at: &Path) -> io::Result<()> {
    for dir in ["cache/below", "CVS", "merged/sub"] {
        fs::create_dir_all(at.join(dir))?;
    }
    for (name, content) in [
        (".cvsignore", "ignored\n"),
        (".rsync-filter", "- *.tmp\n+ /merged/kept.bak\n- *.bak\n"),
        ("CVS/Entries", ""),
        ("cache/below/thing", "x"),
        ("cache/thing", "x"),
        ("core", "x"),
        ("file.bak", "x"),
        ("file.o", "x"),
        ("file.tmp", "x"),
        ("ignored", "x"),
        ("merged/.rsync-filter", "- /sub/own\n"),
        ("merged/kept.bak", "x"),
        ("merged/sub/own", "x"),
        ("merged/sub/file.o", "x"),
        ("merged/sub/other", "x"),
    ] {
        fs::write(at.join(name), content)?;
    }
    Ok(())
}

fn attributes(at: &Path) -> io::Result<()> {
    fs::create_dir_all(at.join("directory"))?;
    for name in ["acl", "both", "xattr"] {
        fs::write(at.join(name), name)?;
    }
    for name in ["both", "xattr", "directory"] {
        let path = at.join(name);
        xattr::set(&path, "user.short", name.as_bytes())?;
        xattr::set(&path, "user.long", &[b'l'; 300])?;
        xattr::set(&path, "user.empty", b"")?;
    }
    for name in ["acl", "both", "directory"] {
        xattr::set(at.join(name), "system.posix_acl_access", &acl())?;
    }
    xattr::set(at.join("directory"), "system.posix_acl_default", &acl())
}

/// user::rw-, user:4711:r--, group::r--, mask::rw-, other::---, in the form of its attribute.
fn acl() -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01u16, 6u16, u32::MAX),
        (0x02, 4, 4711),
        (0x04, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Gives every inode below a time of its own, a minute apart, in the order of their names.
fn age(root: &Path, from: i64) -> io::Result<()> {
    for (n, path) in walk(root)?.iter().rev().enumerate() {
        set_mtime(path, from + 60 * n as i64, 0)?;
    }
    Ok(())
}

/// Every path below `root`, directories before what is in them, and `root` first.
pub(crate) fn walk(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        next += 1;
        if fs::symlink_metadata(&dir)?.is_dir() {
            let mut names = Vec::new();
            for entry in fs::read_dir(&dir)? {
                names.push(entry?.path());
            }
            names.sort();
            found.extend(names);
        }
    }
    Ok(found)
}

/// Fills a new directory `root` with what an older copy of `source` may have become.
///
/// # Errors
///
/// The first call that failed.
pub(crate) fn old_target(root: &Path, source: &Path) -> io::Result<()> {
    fs::create_dir(root)?;
    unchanged(root, source)?;
    changed(root, source)?;
    in_the_way(root)?;
    extraneous(root)?;
    set_mtime(root, 900_000_000, 0)
}

fn unchanged(root: &Path, source: &Path) -> io::Result<()> {
    for dir in ["deep/deeper", "filtered/cache", "names", "sub/dir"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for name in ["same", "sub/same", "nanoseconds", "names/ "] {
        copy(&source.join(name), &root.join(name))?;
    }
    symlink("same", root.join("link"))?;
    Ok(())
}

/// A copy with its mode and time.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let meta = fs::metadata(from)?;
    set_mtime(to, meta.mtime(), meta.mtime_nsec())
}

fn changed(root: &Path, source: &Path) -> io::Result<()> {
    for name in ["mode-differs", "owner-differs", "time-differs", "program"] {
        copy(&source.join(name), &root.join(name))?;
    }
    fs::set_permissions(root.join("mode-differs"), Permissions::from_mode(0o604))?;
    set_mtime(&root.join("time-differs"), 950_000_000, 0)?;

    let mut delta = fs::read(source.join("delta"))?;
    delta.splice(100_000..100_500, *b"something else");
    delta.truncate(280_000);
    fs::write(root.join("delta"), delta)?;
    let appended = fs::read(source.join("appended"))?;
    fs::write(root.join("appended"), &appended[..40_000])?;

    for (name, seed, time) in [("same-size", 1, None), ("same-size-and-time", 2, Some(()))] {
        let meta = fs::metadata(source.join(name))?;
        random_file(&root.join(name), meta.len() as usize, seed)?;
        let time = time.map_or(950_000_000, |()| meta.mtime());
        set_mtime(&root.join(name), time, 0)?;
    }
    fs::write(root.join("newer-there"), "edited at the target")?;
    set_mtime(&root.join("newer-there"), 2_000_000_000, 0)?;
    for name in ["delta", "appended"] {
        set_mtime(&root.join(name), 940_000_000, 0)?;
    }
    let mut renamed = fs::read(source.join("renamed-since"))?;
    renamed.truncate(90_000);
    renamed.splice(50_000..50_000, *b"something more");
    fs::write(root.join("renamed-then"), renamed)?;
    copy(
        &source.join("sub/renamed-with-its-time"),
        &root.join("sub/other"),
    )?;
    symlink("old target", root.join("link-changed"))?;
    fs::write(root.join("sub/dir/one"), "shorter")?;
    set_mtime(&root.join("sub/dir/one"), 940_000_000, 0)
}

fn in_the_way(root: &Path) -> io::Result<()> {
    fs::create_dir(root.join("was-dir"))?;
    fs::create_dir_all(root.join("was-dir-with-files/below"))?;
    fs::write(root.join("was-dir-with-files/below/file"), "in the way")?;
    fs::write(root.join("was-file"), "in the way")?;
    fs::write(root.join("was-file-now-link"), "in the way")?;
    symlink("sub", root.join("was-link"))
}

fn extraneous(root: &Path) -> io::Result<()> {
    for dir in ["gone/below/further", "sub/dir/gone", "names/gone"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for name in [
        "gone/below/file",
        "gone/below/further/file",
        "gone-file",
        "gone.bak",
        "gone.tmp",
        "sub/dir/gone/file",
        "sub/gone-file~",
        "filtered/cache/gone",
        "filtered/gone.o",
    ] {
        fs::write(root.join(name), name)?;
    }
    symlink("/nowhere", root.join("gone-link"))?;
    node(&root.join("gone-fifo"), SFlag::S_IFIFO, 0)
}

/// Fills a new directory `root` with what `--link-dest` and its kin may find: some files as in
/// `source`, one with another mode, one with another content.
///
/// # Errors
///
/// The first call that failed.
pub(crate) fn alternative(root: &Path, source: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("sub/dir"))?;
    for name in ["delta", "new", "one", "program", "sub/dir/two", "same-size"] {
        copy(&source.join(name), &root.join(name))?;
    }
    fs::set_permissions(root.join("one"), Permissions::from_mode(0o600))?;
    copy(&source.join("renamed-since"), &root.join("renamed-sincE"))?;
    let mut delta = fs::read(root.join("delta"))?;
    delta.truncate(200_000);
    fs::write(root.join("delta"), delta)?;
    symlink("same", root.join("link"))
}

/// Makes what an ordinary user cannot read, write or enter.
///
/// # Errors
///
/// The first call that failed.
pub(crate) fn unreadable(root: &Path) -> io::Result<()> {
    for dir in ["closed", "open"] {
        fs::create_dir_all(root.join(dir))?;
        fs::write(root.join(dir).join("file"), dir)?;
    }
    fs::write(root.join("secret"), "secret")?;
    fs::write(root.join("public"), "public")?;
    age(root, 1_000_000_000)?;
    fs::set_permissions(root.join("secret"), Permissions::from_mode(0o000))?;
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o000))
}

/// Gives a tree to an ordinary user.
///
/// # Errors
///
/// As `lchown(2)`.
pub(crate) fn give(root: &Path, id: u32) -> io::Result<()> {
    walk(root)?
        .iter()
        .try_for_each(|path| lchown(path, Some(id), Some(id)))
}
