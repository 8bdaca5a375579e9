//! Makes trees that hold everything a Linux file system can.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

use crate::held::Held;
use crate::random::Random;

/// What [`awkward`] puts into the root and no mover may move.
pub const STAYS: &str = "lost+found";

/// Fills `root` with every kind of inode, attribute and name.
///
/// With `privileged`, also with what only root can make or read: other owners, devices, modes
/// without permissions, `trusted.*` and capabilities. Every inode gets a time of its own.
///
/// # Errors
///
/// The first call that failed.
pub fn awkward(root: &Path, privileged: bool) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let dir = |name: &str| {
        let path = root.join(name);
        fs::create_dir(&path).map(|()| path)
    };
    names(&dir("names")?)?;
    sizes(&dir("sizes")?)?;
    sparse(&dir("sparse")?)?;
    symlinks(&dir("symlinks")?)?;
    specials(&dir("specials")?, privileged)?;
    hard_links(&dir("links")?, privileged)?;
    deep(&dir("deep")?, 200)?;
    dir("empty")?;
    lost_and_found(root)?;
    if privileged {
        owners(&dir("owners")?)?;
    }
    attributes(&dir("attributes")?, privileged)?;
    let modes_in = dir("modes")?;
    modes(&modes_in, privileged)?;
    root_itself(root, privileged)?;
    age(&Held::open(root)?, &mut Random::new(1))?;
    times(&root.join("sizes"))?;
    shut(&modes_in, privileged)
}

/// The content of a raw image: blocks of 4 KiB of data, of nearly all zeros, and of zeros in turn.
pub fn image(len: usize) -> Vec<u8> {
    let mut image = vec![0; len];
    for (at, block) in image.chunks_mut(4096).enumerate() {
        match at % 3 {
            0 => block.fill(at as u8),
            1 => block[17.min(block.len() - 1)] = 1,
            _ => {}
        }
    }
    image
}

/// Fills `root` with `count` files of 0 to `max_size` random bytes, a thousand to a directory.
///
/// # Errors
///
/// The first call that failed.
pub fn many(root: &Path, count: usize, max_size: usize, seed: u64) -> io::Result<()> {
    let mut random = Random::new(seed);
    for n in 0..count {
        let dir = root.join(format!("d{:04}", n / 1000));
        if n % 1000 == 0 {
            fs::create_dir_all(&dir)?;
        }
        let size = random.below(max_size as u64 + 1) as usize;
        fs::write(dir.join(format!("f{n:07}")), random.bytes(size))?;
    }
    Ok(())
}

/// Sets the time of modification; a symbolic link is not followed.
///
/// # Errors
///
/// As `utimensat(2)`.
pub fn set_mtime(path: &Path, secs: i64, nanos: i64) -> io::Result<()> {
    let time = TimeSpec::new(secs, nanos);
    Ok(utimensat(
        AT_FDCWD,
        path,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

/// Writes `len` random bytes to a new file.
///
/// # Errors
///
/// As `open(2)` and `write(2)`.
pub fn random_file(path: &Path, len: usize, seed: u64) -> io::Result<()> {
    fs::write(path, Random::new(seed).bytes(len))
}

fn names(at: &Path) -> io::Result<()> {
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        fs::write(at.join(name), name.as_bytes())?;
    }
    let dirs = at.join("as directories");
    for name in NAMES {
        let dir = dirs.join(OsStr::from_bytes(name));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("child"), name)?;
    }
    for byte in (1..=255u8).filter(|&b| b != b'/' && b != b'.') {
        fs::write(at.join(OsStr::from_bytes(&[byte])), [])?;
    }
    fs::write(at.join("n".repeat(255)), "255 bytes")?;
    fs::write(
        at.join(OsStr::from_bytes(&[0xfe; 255])),
        "255 bytes that are no text",
    )
}

fn sizes(at: &Path) -> io::Result<()> {
    let mut sizes = vec![0, 1, 511, 40 << 20];
    for edge in [4 << 10, 64 << 10, 256 << 10, 1 << 20] {
        sizes.extend([edge - 1, edge, edge + 1]);
    }
    for size in sizes {
        random_file(&at.join(size.to_string()), size, size as u64)?;
    }
    fs::write(at.join("zeros, written"), vec![0; 300 << 10])
}

fn sparse(at: &Path) -> io::Result<()> {
    const MIB: u64 = 1 << 20;
    let data = Random::new(2).bytes(10_000);
    let all: &[(&str, u64, &[u64])] = &[
        ("leading", 4 * MIB, &[4 * MIB - 10_000]),
        ("middle", 6 * MIB, &[0, 6 * MIB - 10_000]),
        ("trailing", 5 * MIB, &[0]),
        (
            "comb",
            16 * MIB,
            &[MIB, 3 * MIB + 1, 7 * MIB - 1, 12 * MIB + 4096],
        ),
        ("only a hole", 8 * MIB, &[]),
        ("small hole", 12_288, &[]),
        ("nothing, 4 GiB of it", 4096 * MIB, &[]),
        ("a needle", 4097 * MIB, &[4096 * MIB - 5_000]),
    ];
    for (name, len, offsets) in all {
        let file = File::create_new(at.join(name))?;
        file.set_len(*len)?;
        for offset in *offsets {
            file.write_all_at(&data, *offset)?;
        }
    }
    Ok(())
}

fn symlinks(at: &Path) -> io::Result<()> {
    let long = "x/".repeat(2_000);
    let targets: [(&str, &[u8]); 9] = [
        ("dangling", b"nowhere"),
        ("absolute", b"/etc/passwd"),
        ("bytes", b"\xff\xfe/\x80"),
        ("up", b"../../../../../../.."),
        ("itself", b"itself"),
        ("directory", b"../empty"),
        ("newline", b"two\nlines"),
        ("long", long.as_bytes()),
        ("dot", b"."),
    ];
    for (name, target) in targets {
        symlink(OsStr::from_bytes(target), at.join(name))?;
    }
    Ok(())
}

fn specials(at: &Path, privileged: bool) -> io::Result<()> {
    make_node(&at.join("fifo"), SFlag::S_IFIFO, 0o640, 0)?;
    make_node(&at.join("socket"), SFlag::S_IFSOCK, 0o755, 0)?;
    if privileged {
        make_node(&at.join("null"), SFlag::S_IFCHR, 0o666, makedev(1, 3))?;
        make_node(
            &at.join("far"),
            SFlag::S_IFCHR,
            0o600,
            makedev(511, 0xf_ffff),
        )?;
        make_node(&at.join("loop"), SFlag::S_IFBLK, 0o660, makedev(7, 200))?;
        make_node(&at.join("zero"), SFlag::S_IFBLK, 0o000, makedev(0, 0))?;
        lchown(at.join("loop"), Some(0), Some(6))?;
    }
    Ok(())
}

fn make_node(path: &Path, kind: SFlag, mode: u32, device: u64) -> io::Result<()> {
    mknod(path, kind, Mode::from_bits_truncate(mode), device)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn hard_links(at: &Path, privileged: bool) -> io::Result<()> {
    for dir in ["one", "two", "two/three"] {
        fs::create_dir(at.join(dir))?;
    }
    fs::write(at.join("two/three/file"), "one inode, three names")?;
    fs::write(at.join("two/empty"), "")?;
    random_file(&at.join("two/big"), 3 << 20, 3)?;
    symlink("nowhere", at.join("one/symlink"))?;
    make_node(&at.join("one/fifo"), SFlag::S_IFIFO, 0o600, 0)?;
    make_node(&at.join("one/socket"), SFlag::S_IFSOCK, 0o600, 0)?;
    let mut pairs = vec![
        ("two/three/file", "one/file"),
        ("two/three/file", "zz"),
        ("two/empty", "one/empty"),
        ("two/big", "aa"),
        ("one/symlink", "two/symlink"),
        ("one/fifo", "two/fifo"),
        ("one/socket", "two/socket"),
    ];
    if privileged {
        make_node(&at.join("one/device"), SFlag::S_IFCHR, 0o600, makedev(1, 5))?;
        pairs.push(("one/device", "two/device"));
        fs::write(at.join("two/set-uid"), "owned by another")?;
        lchown(at.join("two/set-uid"), Some(1234), Some(4321))?;
        fs::set_permissions(at.join("two/set-uid"), Permissions::from_mode(0o4711))?;
        pairs.push(("two/set-uid", "one/set-uid"));
    }
    pairs
        .into_iter()
        .try_for_each(|(old, new)| fs::hard_link(at.join(old), at.join(new)))
}

/// `levels` directories within each other, each with a name of 200 bytes.
fn deep(at: &Path, levels: usize) -> io::Result<()> {
    let top = Held::open(at)?;
    let mut here = Held::open(at)?;
    for level in 0..levels {
        let name = format!("{level:0200}");
        fs::create_dir(here.at(&name))?;
        here = here.enter(&name)?;
        if level % 50 == 0 {
            fs::write(here.at("file"), &name)?;
        }
    }
    fs::write(here.at("bottom"), "too deep for PATH_MAX")?;
    symlink("bottom", here.at("symlink"))?;
    make_node(&here.at("fifo"), SFlag::S_IFIFO, 0o600, 0)?;
    xattr::set(here.at("bottom"), "user.deep", b"yes")?;
    fs::hard_link(here.at("bottom"), top.at("bottom has this name too"))
}

fn lost_and_found(root: &Path) -> io::Result<()> {
    for dir in [root.join(STAYS), root.join("empty is not/lost+found")] {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("#12345"), "an orphan")?;
    }
    Ok(())
}

fn owners(at: &Path) -> io::Result<()> {
    for (uid, gid) in [
        (1, 2),
        (65_534, 65_534),
        (1 << 31, 100_000),
        (u32::MAX - 1, u32::MAX - 1),
    ] {
        let name = |kind: &str| at.join(format!("{kind} of {uid} and {gid}"));
        fs::write(name("file"), "owned")?;
        fs::create_dir(name("directory"))?;
        symlink("file", name("symlink"))?;
        make_node(&name("fifo"), SFlag::S_IFIFO, 0o600, 0)?;
        for kind in ["file", "directory", "symlink", "fifo"] {
            lchown(name(kind), Some(uid), Some(gid))?;
        }
        for kind in ["file", "directory"] {
            fs::set_permissions(name(kind), Permissions::from_mode(0o6755))?;
        }
    }
    Ok(())
}

fn attributes(at: &Path, privileged: bool) -> io::Result<()> {
    for name in ["file", "file with an ACL", "file with both"] {
        fs::write(at.join(name), name)?;
    }
    for name in ["directory", "directory with defaults"] {
        fs::create_dir_all(at.join(name).join("made before"))?;
    }
    for name in ["file", "file with both", "directory"] {
        user_attributes(&at.join(name))?;
    }
    for name in [
        "file with an ACL",
        "file with both",
        "directory",
        "directory with defaults",
    ] {
        xattr::set(at.join(name), ACL_ACCESS, &acl(0o5, 0o7))?;
    }
    xattr::set(
        at.join("directory with defaults"),
        ACL_DEFAULT,
        &acl(0o7, 0o5),
    )?;
    if privileged {
        system_attributes(at)?;
    }
    Ok(())
}

fn user_attributes(path: &Path) -> io::Result<()> {
    xattr::set(path, "user.empty", b"")?;
    xattr::set(path, "user.bytes", &(0..=255).collect::<Vec<u8>>())?;
    xattr::set(path, "user.long", &Random::new(4).bytes(1000))?;
    xattr::set(
        path,
        format!("user.{}", "n".repeat(250)),
        b"255 bytes of name",
    )?;
    xattr::set(path, OsStr::from_bytes(b"user.\xff\n"), b"no text")?;
    (0..10).try_for_each(|n| xattr::set(path, format!("user.n{n}"), &[n]))
}

fn system_attributes(at: &Path) -> io::Result<()> {
    symlink("file", at.join("symlink"))?;
    make_node(&at.join("fifo"), SFlag::S_IFIFO, 0o600, 0)?;
    make_node(&at.join("device"), SFlag::S_IFCHR, 0o600, makedev(1, 7))?;
    for name in ["file", "directory", "symlink", "fifo", "device"] {
        xattr::set(at.join(name), "trusted.barge-test", name.as_bytes())?;
    }
    for (name, owner) in [("ping", 0), ("ping of another", 4711)] {
        fs::write(at.join(name), "a program")?;
        lchown(at.join(name), Some(owner), None)?;
        fs::set_permissions(at.join(name), Permissions::from_mode(0o755))?;
        xattr::set(at.join(name), "security.capability", NET_RAW)?;
    }
    Ok(())
}

/// Files and directories that get their [`shut`] modes last, since nobody could fill them after.
fn modes(at: &Path, privileged: bool) -> io::Result<()> {
    for mode in FILE_MODES.iter().filter(|m| privileged || *m & 0o400 != 0) {
        fs::write(at.join(format!("file {mode:04o}")), "readable to some")?;
    }
    for mode in DIR_MODES
        .iter()
        .filter(|m| privileged || *m & 0o500 == 0o500)
    {
        let dir = at.join(format!("directory {mode:04o}"));
        fs::create_dir_all(dir.join("below"))?;
        fs::write(dir.join("file"), "within")?;
    }
    Ok(())
}

fn shut(at: &Path, privileged: bool) -> io::Result<()> {
    let set = |path: PathBuf, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode));
    for mode in FILE_MODES.iter().filter(|m| privileged || *m & 0o400 != 0) {
        set(at.join(format!("file {mode:04o}")), *mode)?;
    }
    for mode in DIR_MODES
        .iter()
        .filter(|m| privileged || *m & 0o500 == 0o500)
    {
        set(at.join(format!("directory {mode:04o}")), *mode)?;
    }
    Ok(())
}

fn root_itself(root: &Path, privileged: bool) -> io::Result<()> {
    if privileged {
        lchown(root, Some(1001), Some(2002))?;
    }
    fs::set_permissions(root, Permissions::from_mode(0o2775))?;
    xattr::set(root, "user.root", b"the root's own")?;
    xattr::set(root, ACL_DEFAULT, &acl(0o7, 0o5))
}

/// Gives every inode below, deepest first, a time of its own between 1990 and 2039.
fn age(held: &Held, random: &mut Random) -> io::Result<()> {
    for name in held.names()? {
        match held.enter(&name) {
            Ok(inner) => age(&inner, random)?,
            Err(_) => set_random_mtime(&held.at(&name), random)?,
        }
    }
    set_random_mtime(&held.at("."), random)
}

fn set_random_mtime(path: &Path, random: &mut Random) -> io::Result<()> {
    let secs = 631_152_000 + random.below(1_550_000_000) as i64;
    set_mtime(path, secs, random.below(1_000_000_000) as i64)
}

/// Times at the edges of what ext4 with inodes of 256 bytes keeps: 1901 to 2446.
fn times(at: &Path) -> io::Result<()> {
    for (name, secs, nanos) in [
        ("0", -1, 999_999_999),
        ("1", -(1 << 31), 0),
        ("511", 0, 1),
        ("4095", 1 << 31, 5),
        ("4096", 4_500_000_000, 123_456_789),
        ("4097", 15_032_385_535, 0),
    ] {
        set_mtime(&at.join(name), secs, nanos)?;
    }
    Ok(())
}

/// An ACL in the form of its attribute (`linux/posix_acl_xattr.h`): owner and mask get `mask`,
/// user 4711 and group 4294967294 get `named`, the owning group reads.
fn acl(named: u16, mask: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 6] = [
        (0x01, mask, NOBODY),
        (0x02, named, 4711),
        (0x04, 0o4, NOBODY),
        (0x08, named, u32::MAX - 1),
        (0x10, mask, NOBODY),
        (0x20, 0o0, NOBODY),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";

/// `cap_net_raw=ep` (`linux/capability.h`, `struct vfs_cap_data`, revision 2).
const NET_RAW: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const FILE_MODES: &[u32] = &[
    0, 0o001, 0o111, 0o200, 0o400, 0o644, 0o666, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777,
];

const DIR_MODES: &[u32] = &[0, 0o111, 0o500, 0o555, 0o700, 0o1777, 0o2775, 0o3777];

/// Names that shells, logs, patterns and encodings get wrong, and near misses of barge's own.
const NAMES: &[&[u8]] = &[
    b"new\nline",
    b"two\n\nlines\n",
    b"\x1b[31mred",
    b"\r",
    b"\xff\xfe",
    b"half \xc3",
    b"\xc3\xa9 composed",
    b"e\xcc\x81 composed",
    b"-n",
    b"--delete",
    b" ",
    b" spaces ",
    b"*.txt",
    b"**",
    b"[a-z]",
    b"[",
    b"{a,b}",
    b"back\\slash",
    b"\\n",
    b"'\"`$(id)",
    b"#hash",
    b"~",
    b"...",
    b"..x",
    b".hidden",
    b"Case",
    b"case",
    b"%s%n",
    b"a -> b",
    b"c:\\d",
    b"trailing.",
    b"nul",
    b".barge-",
    b".barge-runs",
    b".barge-0123456789abcdef",
    b".barge-0123456789abcdef0123456789abcde",
    b".barge-0123456789abcdef0123456789abcdef0",
    b".barge-0123456789ABCDEF0123456789ABCDEF",
    b"barge-0123456789abcdef0123456789abcdef",
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::unistd::geteuid;

    use super::*;
    use crate::compare::{Compare, Field, assert_same, compare};
    use crate::mutate::mutate;
    use crate::scratch::Scratch;

    fn copy(from: &Path, to: &Path) {
        let copied = Command::new("cp")
            .arg("-aT")
            .arg("--")
            .arg(from)
            .arg(to)
            .status();
        assert!(copied.unwrap().success());
    }

    #[test]
    fn comparison_finds_nothing_in_a_faithful_copy_and_every_edit_in_another() {
        let scratch = Scratch::new().unwrap();
        let (a, b) = (scratch.join("a"), scratch.join("b"));
        // Paths beyond PATH_MAX are not for cp: the deep tree is compared elsewhere.
        awkward(&a, geteuid().is_root()).unwrap();
        let root_mtime = fs::metadata(&a).unwrap();
        fs::remove_dir_all(a.join("deep")).unwrap();
        fs::File::open(&a)
            .unwrap()
            .set_modified(root_mtime.modified().unwrap())
            .unwrap();
        copy(&a, &b);
        assert_same(&a, &b, &Compare::default());
        let edits = mutate(&b, 5).unwrap();
        let found = compare(&a, &b, &Compare::default()).unwrap();
        for field in [
            Field::Presence,
            Field::Kind,
            Field::Mode,
            Field::Mtime,
            Field::Size,
            Field::Content,
            Field::Acl,
            Field::Xattrs,
            Field::Links,
        ] {
            assert!(
                found.iter().any(|d| d.field == field),
                "{field:?} after {edits:#?}"
            );
        }
    }

    #[test]
    fn comparison_reads_trees_deeper_than_a_path_can_be() {
        let scratch = Scratch::new().unwrap();
        let (a, b) = (scratch.dir("a").unwrap(), scratch.dir("b").unwrap());
        for dir in [&a, &b] {
            deep(dir, 200).unwrap();
            age(&Held::open(dir).unwrap(), &mut Random::new(6)).unwrap();
        }
        assert_same(&a, &b, &Compare::default());
    }

    #[test]
    fn comparison_sees_a_hole_that_was_filled() {
        let scratch = Scratch::new().unwrap();
        let (a, b) = (scratch.dir("a").unwrap(), scratch.dir("b").unwrap());
        File::create(a.join("f")).unwrap().set_len(1 << 20).unwrap();
        fs::write(b.join("f"), vec![0; 1 << 20]).unwrap();
        for path in [a.join("f"), b.join("f"), a.clone(), b.clone()] {
            set_mtime(&path, 1, 1).unwrap();
        }
        let found = compare(&a, &b, &Compare::default()).unwrap();
        let fields: Vec<Field> = found.iter().map(|d| d.field).collect();
        assert_eq!(fields, [Field::Holes]);
    }
}
