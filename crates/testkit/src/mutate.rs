//! Edits a tree as its application would between two passes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::random::Random;
use crate::tree::{STAYS, set_mtime};

/// Makes every kind of edit once, on things chosen by `seed`, and says what it did.
///
/// An edit for which the tree has nothing is left out. Only files that their owner can read and
/// write are chosen, in directories that he can.
///
/// # Errors
///
/// The first call that failed.
pub fn mutate(root: &Path, seed: u64) -> io::Result<Vec<String>> {
    let mut random = Random::new(seed);
    let mut done = Vec::new();
    for (what, kind, edit) in EDITS {
        // Looked up anew each time: an edit may have taken what the last look found.
        let mut found = Vec::new();
        collect(root, 0, &mut found)?;
        let mut pick = |kind: Kind| {
            let fitting: Vec<&PathBuf> =
                found.iter().filter(|f| f.0 == kind).map(|f| &f.1).collect();
            fitting
                .get(random.below(fitting.len() as u64) as usize)
                .map(|path| (*path).clone())
        };
        if let (Some(path), Some(other)) = (pick(*kind), pick(Kind::Plain)) {
            edit(&path, &other)?;
            done.push(format!("{what}: {}", path.display()));
        }
    }
    Ok(done)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// A file with one name and 16 bytes to 1 MiB.
    Plain,
    /// A file with one name and 1 to 64 MiB.
    Large,
    /// A file with several names.
    Linked,
    /// A directory without directories.
    Leaf,
    Symlink,
}

/// What there is to edit, at most eight directories down.
fn collect(dir: &Path, depth: usize, found: &mut Vec<(Kind, PathBuf)>) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.retain(|entry| depth > 0 || entry.file_name() != STAYS);
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, meta) = (entry.path(), entry.metadata()?);
        let open = meta.mode() & 0o700 == 0o700;
        if meta.is_dir() && open && depth < 8 {
            collect(&path, depth + 1, found)?;
        }
        let writable = meta.is_file() && meta.mode() & 0o600 == 0o600;
        let kind = match meta.size() {
            _ if meta.is_symlink() => Kind::Symlink,
            _ if meta.is_dir() && open && meta.nlink() == 2 && depth > 0 => Kind::Leaf,
            _ if writable && meta.nlink() > 1 => Kind::Linked,
            0x10..0x10_0000 if writable => Kind::Plain,
            0x10_0000..=0x400_0000 if writable => Kind::Large,
            _ => continue,
        };
        found.push((kind, path));
    }
    Ok(())
}

/// Edits its first path; the second is another plain file, or the same.
type Edit = fn(&Path, &Path) -> io::Result<()>;

const EDITS: &[(&str, Kind, Edit)] = &[
    ("a byte inserted at the front", Kind::Large, |path, _| {
        let mut content = fs::read(path)?;
        content.insert(0, b'!');
        fs::write(path, content)
    }),
    ("rewritten at the same size", Kind::Plain, |path, _| {
        invert(path, 4)
    }),
    ("rewritten in the middle", Kind::Large, |path, _| {
        invert(path, 500_000)
    }),
    ("rewritten under all its names", Kind::Linked, |path, _| {
        fs::write(path, "rewritten")
    }),
    ("appended to", Kind::Plain, |path, _| {
        let len = fs::metadata(path)?.len();
        OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all_at(b"more", len)
    }),
    ("truncated", Kind::Large, |path, _| {
        OpenOptions::new().write(true).open(path)?.set_len(7)
    }),
    ("mode changed", Kind::Plain, |path, _| {
        let mode = fs::metadata(path)?.mode();
        fs::set_permissions(path, Permissions::from_mode((mode ^ 0o111) & 0o7777))
    }),
    ("time changed", Kind::Plain, |path, _| {
        set_mtime(path, 1_234_567_890, 987_654_321)
    }),
    ("time of a symlink changed", Kind::Symlink, |path, _| {
        set_mtime(path, 77, 77)
    }),
    ("attribute set", Kind::Plain, |path, _| {
        xattr::set(path, "user.mutated", b"yes")
    }),
    ("attribute of a directory set", Kind::Leaf, |path, _| {
        xattr::set(path, "user.mutated", b"yes")
    }),
    ("ACL set", Kind::Plain, |path, _| {
        xattr::set(path, "system.posix_acl_access", ACL)
    }),
    ("renamed", Kind::Plain, |path, _| {
        fs::rename(path, path.with_file_name("renamed"))
    }),
    ("renamed onto another", Kind::Plain, |path, other| {
        fs::rename(path, other)
    }),
    ("deleted", Kind::Plain, |path, _| fs::remove_file(path)),
    ("directory deleted", Kind::Leaf, |path, _| {
        fs::remove_dir_all(path)
    }),
    ("file became a directory", Kind::Plain, |path, _| {
        fs::remove_file(path)?;
        fs::create_dir(path)?;
        fs::write(path.join("child"), "of a directory that was a file")
    }),
    ("file became a symlink", Kind::Plain, |path, other| {
        fs::remove_file(path)?;
        symlink(other, path)
    }),
    ("symlink became a file", Kind::Symlink, |path, _| {
        fs::remove_file(path)?;
        fs::write(path, "a file that was a symlink")
    }),
    ("symlink became a directory", Kind::Symlink, |path, _| {
        fs::remove_file(path)?;
        fs::create_dir(path)
    }),
    ("directory became a file", Kind::Leaf, |path, _| {
        fs::remove_dir_all(path)?;
        fs::write(path, "a file that was a directory")
    }),
    ("directory became a symlink", Kind::Leaf, |path, other| {
        fs::remove_dir_all(path)?;
        symlink(other, path)
    }),
    ("link broken", Kind::Linked, |path, _| {
        let content = fs::read(path)?;
        fs::remove_file(path)?;
        fs::write(path, content)
    }),
    ("link made", Kind::Plain, link),
    ("link added", Kind::Linked, link),
    ("rewritten with a hole", Kind::Plain, |path, _| {
        let file = File::create(path)?;
        file.write_all_at(b"end", 2 << 20)
    }),
];

/// Gives a file one more name.
fn link(path: &Path, _: &Path) -> io::Result<()> {
    let mut names = (2..).map(|n| path.with_file_name(format!("name {n}")));
    let free = names.find(|name| name.symlink_metadata().is_err());
    free.map_or(Ok(()), |name| fs::hard_link(path, name))
}

/// Turns over eight bytes.
fn invert(path: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset)?;
    file.write_all_at(&bytes.map(|b| !b), offset)
}

/// Owner reads and writes, user 99 and the group read (`linux/posix_acl_xattr.h`).
const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x06\0\xff\xff\xff\xff\
    \x02\0\x04\0\x63\0\0\0\
    \x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\
    \x20\0\x00\0\xff\xff\xff\xff";
