//! One entry of a list: what both ends hold of it.

use std::fmt;
use std::sync::Arc;

use barge_types::{Device, NameError, RelPath, Timestamp};

use super::attrs::{Acl, XattrSet};
use super::budget::allocated;

/// The kind's bits of `st_mode`, and the kinds, as Linux numbers them (`inode(7)`).
pub const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;

/// Where an entry is: `.` for the root of the transfer, else names joined by slashes.
///
/// The directory's part is shared by all entries of a directory that follow each other.
#[derive(Clone, Eq, PartialEq)]
pub struct WirePath {
    dir: Option<Arc<[u8]>>,
    base: Box<[u8]>,
}

impl WirePath {
    /// Splits a path at its last slash.
    pub fn new(path: &[u8]) -> Self {
        match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => Self {
                dir: Some(path[..slash].into()),
                base: path[slash + 1..].into(),
            },
            None => Self {
                dir: None,
                base: path.into(),
            },
        }
    }

    /// The path of `base` in the directory at `dir`; without one, at the top.
    pub fn within(dir: Option<Arc<[u8]>>, base: &[u8]) -> Self {
        Self {
            dir,
            base: base.into(),
        }
    }

    /// The path of the directory it is in; `None` at the top, empty for a child of `/` where
    /// paths are absolute.
    pub fn dir(&self) -> Option<&Arc<[u8]>> {
        self.dir.as_ref()
    }

    /// The last name; `.` for the root of the transfer.
    pub fn base(&self) -> &[u8] {
        &self.base
    }

    /// Whether it is the root of the transfer.
    pub fn is_root(&self) -> bool {
        self.dir.is_none() && *self.base == *b"."
    }

    /// The whole path, as it crosses the wire.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.len());
        self.append_to(&mut path);
        path
    }

    /// Appends the whole path.
    pub fn append_to(&self, path: &mut Vec<u8>) {
        if let Some(dir) = &self.dir {
            path.extend_from_slice(dir);
            path.push(b'/');
        }
        path.extend_from_slice(&self.base);
    }

    /// The path below the root of the transfer.
    ///
    /// # Errors
    ///
    /// [`NameError`] when no file system could hold one of its names.
    pub fn to_rel_path(&self) -> Result<RelPath, NameError> {
        if self.is_root() {
            return Ok(RelPath::root());
        }
        let path = self.to_vec();
        RelPath::new(path.strip_prefix(b"/").unwrap_or(&path))
    }

    fn len(&self) -> usize {
        self.dir.as_ref().map_or(0, |dir| dir.len() + 1) + self.base.len()
    }
}

/// With everything escaped that is not a printable letter of ASCII.
impl fmt::Debug for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.to_vec().escape_ascii())
    }
}

/// What a directory's entry says of what is in it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DirKind {
    /// Its contents are listed.
    #[default]
    Content,
    /// Its contents are listed, and it was named itself.
    Top,
    /// It only leads to something that was named: nothing is known of its contents.
    Implied,
    /// Its contents are not listed.
    NoContent,
}

impl DirKind {
    /// Whether everything that is in it is listed: only then may anything be deleted there.
    pub fn has_content(self) -> bool {
        matches!(self, Self::Content | Self::Top)
    }
}

/// Of which group of hard links an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HardLink {
    /// The group's number, unique in the connection.
    pub group: u32,
    /// It was the first of them to be listed.
    pub first: bool,
}

/// What few entries have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extra {
    /// Seconds of the access time.
    pub atime: Option<i64>,
    /// Seconds of the creation time.
    pub crtime: Option<i64>,
    /// A device's numbers.
    pub device: Option<Device>,
    /// A symbolic link's target: 1 to 4095 bytes.
    pub link: Option<Box<[u8]>>,
    /// The content's checksum.
    pub checksum: Option<Box<[u8]>>,
    /// Its group of hard links.
    pub hard_link: Option<HardLink>,
    /// A directory's default ACL.
    pub default_acl: Option<Arc<Acl>>,
}

/// An entry of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileEntry {
    /// Where it is.
    pub path: WirePath,
    /// Kind and permissions: `st_mode`; 0 for a path that is missing and is to be deleted.
    pub mode: u32,
    /// Length in bytes, at most 2^63 − 1; of directories it means nothing.
    pub len: u64,
    /// The time of the last change.
    pub mtime: Timestamp,
    /// The owner; without `-o` 0.
    pub uid: u32,
    /// The group; without `-g` 0.
    pub gid: u32,
    /// What a directory's entry says of what is in it.
    pub dir_kind: DirKind,
    /// A number of the holder's, which does not cross the wire. Of an entry that was received it is
    /// at first the index in the order in which entries came, in which groups of hard links are
    /// numbered.
    pub tag: u32,
    /// The access ACL, with `-A`; symbolic links have none.
    pub acl: Option<Arc<Acl>>,
    /// The extended attributes, with `-X`.
    pub xattrs: Option<Arc<XattrSet>>,
    extra: Option<Box<Extra>>,
}

impl FileEntry {
    /// An entry with nothing but a path and a mode.
    pub fn new(path: WirePath, mode: u32) -> Self {
        Self {
            path,
            mode,
            len: 0,
            mtime: Timestamp::default(),
            uid: 0,
            gid: 0,
            dir_kind: DirKind::default(),
            tag: 0,
            acl: None,
            xattrs: None,
            extra: None,
        }
    }

    /// What few entries have.
    pub fn extra(&self) -> &Extra {
        self.extra.as_deref().unwrap_or(&NO_EXTRA)
    }

    /// What few entries have, to be set.
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// About how many bytes it takes, without what it shares with others.
    pub fn weight(&self) -> usize {
        let rare = self.extra.as_ref().map_or(0, |extra| {
            let len = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
            allocated(size_of::<Extra>())
                + allocated(len(&extra.link))
                + allocated(len(&extra.checksum))
        });
        size_of::<Self>() + allocated(self.path.base().len()) + rare
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// A symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    /// A character or block device.
    pub fn is_device(&self) -> bool {
        matches!(self.mode & S_IFMT, S_IFCHR | S_IFBLK)
    }

    /// A fifo or a socket.
    pub fn is_special(&self) -> bool {
        matches!(self.mode & S_IFMT, S_IFIFO | S_IFSOCK)
    }

    /// A path that is missing at the sender and is to be deleted.
    pub fn is_missing(&self) -> bool {
        self.mode == 0
    }
}

const NO_EXTRA: Extra = Extra {
    atime: None,
    crtime: None,
    device: None,
    link: None,
    checksum: None,
    hard_link: None,
    default_acl: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together_as_they_were_split() {
        for (path, dir, base) in [
            (&b"."[..], None, &b"."[..]),
            (b"a", None, b"a"),
            (b"a/b/c", Some(&b"a/b"[..]), b"c"),
            (b"/etc", Some(b""), b"etc"),
        ] {
            let split = WirePath::new(path);
            assert_eq!(split.dir().map(|dir| &**dir), dir);
            assert_eq!((split.base(), split.to_vec()), (base, path.to_vec()));
            assert_eq!(split.len(), path.len());
        }
    }

    #[test]
    fn paths_of_the_transfer_begin_without_a_slash() {
        let below = |path: &[u8]| WirePath::new(path).to_rel_path();
        assert_eq!(below(b"."), Ok(RelPath::root()));
        assert_eq!(below(b"/etc/x"), RelPath::new(b"etc/x"));
        assert!(below(&[b'x'; 256]).is_err());
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<FileEntry>() <= 112, "{}", size_of::<FileEntry>());
    }
}
