//! Compares two trees field by field, by a walk of its own.
//!
//! Every directory is read through an open handle, so neither the depth of a tree nor the bytes
//! of its names matter. Content is streamed; holes are stepped over.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};
use nix::unistd::{Whence, lseek};

use crate::held::Held;

/// What can differ.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Field {
    /// The name is in one tree only.
    Presence,
    /// File, directory, symlink and so on.
    Kind,
    /// The twelve permission bits.
    Mode,
    /// Numeric user and group.
    Owner,
    /// Time of modification, to the nanosecond.
    Mtime,
    /// Length of a regular file.
    Size,
    /// Bytes of a regular file.
    Content,
    /// Where a symbolic link points.
    Target,
    /// Major and minor number.
    Device,
    /// Extended attributes that are no ACLs.
    Xattrs,
    /// POSIX ACLs, access and default.
    Acl,
    /// Which names are the same inode.
    Links,
    /// The second tree's file takes notably more space.
    Holes,
}

/// What a comparison leaves out. The default leaves out nothing.
#[derive(Clone, Debug, Default)]
pub struct Compare {
    /// Fields that are not looked at.
    pub without: Vec<Field>,
    /// Paths below the roots that are not looked at, with all that is in them.
    pub skip: Vec<PathBuf>,
    /// Times of modification from this second on are all alike: those that a run set to its own
    /// time.
    pub recent: Option<i64>,
}

/// One thing that is not the same in both trees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Below the roots; empty for the roots themselves.
    pub path: PathBuf,
    /// What differs.
    pub field: Field,
    /// As it is in the first tree.
    pub first: String,
    /// As it is in the second tree.
    pub second: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_os_str().as_bytes().escape_ascii().to_string();
        let (first, second) = (short(&self.first), short(&self.second));
        write!(f, "{}: {:?}: {first} | {second}", short(&path), self.field)
    }
}

/// Lists what differs between the trees at `first` and `second`.
///
/// # Errors
///
/// When a tree cannot be read; the caller needs the right to read all of both.
pub fn compare(first: &Path, second: &Path, how: &Compare) -> io::Result<Vec<Difference>> {
    let mut walk = Walk {
        how,
        found: Vec::new(),
        links: [BTreeMap::new(), BTreeMap::new()],
    };
    walk.directory(&Held::open(first)?, &Held::open(second)?, Path::new(""))?;
    walk.compare_links();
    Ok(walk.found)
}

/// Fails with a list of the differences when there are any.
///
/// # Panics
///
/// When the trees differ or cannot be read.
#[track_caller]
pub fn assert_same(first: &Path, second: &Path, how: &Compare) {
    let found = compare(first, second, how).expect("both trees can be read");
    let lines: Vec<String> = found.iter().take(SHOWN).map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        lines.join("\n")
    );
}

/// Whether two regular files hold the same bytes.
///
/// # Errors
///
/// When one cannot be opened or read.
pub fn same_content(first: &Path, second: &Path) -> io::Result<bool> {
    let (first, second) = (File::open(first)?, File::open(second)?);
    Ok(first.metadata()?.len() == second.metadata()?.len()
        && first_difference(&first, &second)?.is_none())
}

struct Walk<'a> {
    how: &'a Compare,
    found: Vec<Difference>,
    /// Of each tree: the names of every inode that has several.
    links: [BTreeMap<(u64, u64), Vec<PathBuf>>; 2],
}

impl Walk<'_> {
    fn directory(&mut self, first: &Held, second: &Held, path: &Path) -> io::Result<()> {
        self.entry(&Inode::read(first, ".")?, &Inode::read(second, ".")?, path);
        let mut names: BTreeSet<OsString> = first.names()?.into_iter().collect();
        names.extend(second.names()?);
        for name in names {
            let path = path.join(&name);
            if !self.how.skip.contains(&path) {
                self.name(first, second, &name, &path)
                    .map_err(|e| at(&path, &e))?;
            }
        }
        Ok(())
    }

    fn name(
        &mut self,
        first: &Held,
        second: &Held,
        name: &OsString,
        path: &Path,
    ) -> io::Result<()> {
        let (a, b) = match (Inode::find(first, name)?, Inode::find(second, name)?) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => {
                let word = |i: Option<Inode>| i.map_or("nothing", |i| i.kind()).to_owned();
                self.differs(path, Field::Presence, word(a), word(b));
                return Ok(());
            }
        };
        self.remember_links(&a, &b, path);
        if a.kind() != b.kind() {
            self.differs(path, Field::Kind, a.kind().to_owned(), b.kind().to_owned());
        } else if a.meta.is_dir() {
            self.directory(&first.enter(name)?, &second.enter(name)?, path)?;
        } else {
            self.entry(&a, &b, path);
            if a.meta.is_file() {
                self.content(&open(first, name)?, &open(second, name)?, path)?;
            }
        }
        Ok(())
    }

    /// Compares two inodes of the same kind, but for their content.
    fn entry(&mut self, a: &Inode, b: &Inode, path: &Path) {
        let recent = self.how.recent;
        for ((field, first), (_, second)) in a.facts(recent).into_iter().zip(b.facts(recent)) {
            if first != second {
                self.differs(path, field, first, second);
            }
        }
    }

    fn content(&mut self, a: &File, b: &File, path: &Path) -> io::Result<()> {
        let (meta_a, meta_b) = (a.metadata()?, b.metadata()?);
        if meta_b.blocks() > meta_a.blocks() + SLACK_BLOCKS {
            let size = |m: &Metadata| format!("{} blocks of {} bytes", m.blocks(), m.len());
            self.differs(path, Field::Holes, size(&meta_a), size(&meta_b));
        }
        if meta_a.len() == meta_b.len()
            && !self.how.without.contains(&Field::Content)
            && let Some(offset) = first_difference(a, b)?
        {
            let text = format!("from byte {offset}");
            self.differs(path, Field::Content, text.clone(), text);
        }
        Ok(())
    }

    fn remember_links(&mut self, a: &Inode, b: &Inode, path: &Path) {
        for (links, inode) in self.links.iter_mut().zip([a, b]) {
            if !inode.meta.is_dir() && inode.meta.nlink() > 1 {
                let id = (inode.meta.dev(), inode.meta.ino());
                links.entry(id).or_default().push(path.to_owned());
            }
        }
    }

    fn compare_links(&mut self) {
        let [first, second] = self.links.each_ref().map(first_names);
        let paths: BTreeSet<&PathBuf> = first.keys().chain(second.keys()).collect();
        for path in paths {
            let (a, b) = (first.get(path), second.get(path));
            if a != b {
                let word = |other: Option<&PathBuf>| match other {
                    Some(other) => format!("the same as {}", other.display()),
                    None => "alone".to_owned(),
                };
                self.differs(path, Field::Links, word(a), word(b));
            }
        }
    }

    fn differs(&mut self, path: &Path, field: Field, first: String, second: String) {
        if !self.how.without.contains(&field) {
            self.found.push(Difference {
                path: path.to_owned(),
                field,
                first,
                second,
            });
        }
    }
}

/// Every name of an inode with several names, with the first of them.
fn first_names(links: &BTreeMap<(u64, u64), Vec<PathBuf>>) -> BTreeMap<PathBuf, PathBuf> {
    let groups = links.values().filter(|names| names.len() > 1);
    let pairs = groups.flat_map(|names| names.iter().map(|name| (name.clone(), names[0].clone())));
    pairs.collect()
}

struct Inode {
    meta: Metadata,
    target: Vec<u8>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
}

impl Inode {
    fn read(dir: &Held, name: impl AsRef<std::ffi::OsStr>) -> io::Result<Self> {
        let path = dir.at(name);
        let meta = fs::symlink_metadata(&path)?;
        let target = match meta.is_symlink() {
            true => fs::read_link(&path)?.as_os_str().as_bytes().to_owned(),
            false => Vec::new(),
        };
        Ok(Self {
            meta,
            target,
            xattrs: xattrs(&path)?,
        })
    }

    fn find(dir: &Held, name: &OsString) -> io::Result<Option<Self>> {
        match Self::read(dir, name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn kind(&self) -> &'static str {
        let kind = self.meta.file_type();
        match () {
            () if kind.is_file() => "file",
            () if kind.is_dir() => "directory",
            () if kind.is_symlink() => "symlink",
            () if kind.is_char_device() => "character device",
            () if kind.is_block_device() => "block device",
            () if kind.is_fifo() => "fifo",
            () if kind.is_socket() => "socket",
            () => "something unknown",
        }
    }

    /// What a person would see of it; inodes of one kind have the same fields in the same order.
    fn facts(&self, recent: Option<i64>) -> Vec<(Field, String)> {
        let meta = &self.meta;
        let mtime = match recent {
            Some(second) if meta.mtime() >= second => "recent".to_owned(),
            _ => format!("{} s + {:09} ns", meta.mtime(), meta.mtime_nsec()),
        };
        let mut facts = vec![
            (Field::Mode, format!("{:04o}", meta.mode() & 0o7777)),
            (Field::Owner, format!("{}:{}", meta.uid(), meta.gid())),
            (Field::Mtime, mtime),
            (Field::Target, self.target.escape_ascii().to_string()),
            (Field::Acl, self.attributes(true)),
            (Field::Xattrs, self.attributes(false)),
        ];
        if meta.is_file() {
            facts.push((Field::Size, meta.len().to_string()));
        }
        if matches!(self.kind(), "character device" | "block device") {
            let rdev = meta.rdev();
            facts.push((Field::Device, format!("{}:{}", major(rdev), minor(rdev))));
        }
        facts
    }

    fn attributes(&self, acls: bool) -> String {
        let chosen = self
            .xattrs
            .iter()
            .filter(|(name, _)| name.as_bytes().starts_with(b"system.posix_acl_") == acls);
        let text = chosen.map(|(name, value)| {
            format!(
                "{}={}",
                name.as_bytes().escape_ascii(),
                value.escape_ascii()
            )
        });
        text.collect::<Vec<_>>().join(" ")
    }
}

/// All attributes but `security.selinux`, which a policy sets and no mover carries unasked.
fn xattrs(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let names = match xattr::list(path) {
        Err(e) if e.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return Ok(BTreeMap::new()),
        names => names?,
    };
    let mut found = BTreeMap::new();
    for name in names.filter(|name| name != "security.selinux") {
        if let Some(value) = xattr::get(path, &name)? {
            found.insert(name, value);
        }
    }
    Ok(found)
}

fn open(dir: &Held, name: &OsString) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(dir.at(name))
}

/// Where two files of one length first differ, to within a chunk; runs that are holes in both
/// are not read.
fn first_difference(a: &File, b: &File) -> io::Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    while let Some(data) = next_data(a, offset)?
        .into_iter()
        .chain(next_data(b, offset)?)
        .min()
    {
        let read = read_full(a, &mut left, data)?;
        let read_b = read_full(b, &mut right, data)?;
        if left[..read] != right[..read_b] {
            return Ok(Some(data));
        }
        offset = data + CHUNK as u64;
    }
    Ok(None)
}

/// The first byte at or after `offset` that is in no hole (`lseek(2)`, `SEEK_DATA`).
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    match lseek(file, offset, Whence::SeekData) {
        Ok(data) => Ok(u64::try_from(data).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Fills `buf` from `offset` on, or as far as the file goes.
fn read_full(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    let path = path.as_os_str().as_bytes().escape_ascii().to_string();
    io::Error::new(error.kind(), format!("{}: {error}", short(&path)))
}

/// The text, or its two ends when it is long.
fn short(text: &str) -> String {
    match (
        text.get(..LONG / 2),
        text.get(text.len().saturating_sub(LONG / 2)..),
    ) {
        (Some(head), Some(tail)) if text.len() > LONG => format!("{head}…{tail}"),
        _ => text.to_owned(),
    }
}

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Blocks of 512 bytes a copy may take beyond its original: file systems differ in block size
/// and in where they keep attributes.
const SLACK_BLOCKS: u64 = (64 << 10) / 512;

/// Differences an assertion prints.
const SHOWN: usize = 40;

/// Bytes of text beyond which a difference shows only the ends.
const LONG: usize = 240;
