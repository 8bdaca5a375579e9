//! What one look at an inode tells.

use std::os::fd::AsFd;

use barge_types::{Device, Kind, Mode, Owner, Timestamp};
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};

use crate::Error;

/// The kinds of entries Linux knows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StatKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl StatKind {
    /// The kind of what a peer describes.
    pub fn of(kind: &Kind) -> Self {
        match kind {
            Kind::File { .. } => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Symlink { .. } => Self::Symlink,
            Kind::CharDevice(_) => Self::CharDevice,
            Kind::BlockDevice(_) => Self::BlockDevice,
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
        }
    }

    /// The kind's bits of `st_mode` (`inode(7)`).
    pub fn st_mode(self) -> u32 {
        match self {
            Self::File => SFlag::S_IFREG,
            Self::Directory => SFlag::S_IFDIR,
            Self::Symlink => SFlag::S_IFLNK,
            Self::CharDevice => SFlag::S_IFCHR,
            Self::BlockDevice => SFlag::S_IFBLK,
            Self::Fifo => SFlag::S_IFIFO,
            Self::Socket => SFlag::S_IFSOCK,
        }
        .bits()
    }

    /// The kind that `st_mode` tells; `None` for bits that are none's.
    pub fn from_st_mode(st_mode: u32) -> Option<Self> {
        match SFlag::from_bits_truncate(st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Some(Self::File),
            SFlag::S_IFDIR => Some(Self::Directory),
            SFlag::S_IFLNK => Some(Self::Symlink),
            SFlag::S_IFCHR => Some(Self::CharDevice),
            SFlag::S_IFBLK => Some(Self::BlockDevice),
            SFlag::S_IFIFO => Some(Self::Fifo),
            SFlag::S_IFSOCK => Some(Self::Socket),
            _ => None,
        }
    }
}

/// Names an inode on this machine: equal for all hard links of one file.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkKey {
    /// The file system.
    pub dev: u64,
    /// The inode in it.
    pub ino: u64,
}

/// What `fstat(2)` tells of an inode, checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// What it is.
    pub kind: StatKind,
    /// Permissions and the three special bits.
    pub mode: Mode,
    /// Numeric owner and group.
    pub owner: Owner,
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Time of the last reading, as far as the file system keeps it.
    pub atime: Timestamp,
    /// Time of the last change of content or inode.
    pub ctime: Timestamp,
    /// The file system it is on.
    pub dev: u64,
    /// The inode's number there.
    pub ino: u64,
    /// How many names it has.
    pub links: u64,
    /// Which device it stands for; meaningful for devices alone.
    pub rdev: Device,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
}

impl Stat {
    /// Looks at an open inode.
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Error> {
        let raw = fstat(fd).map_err(Error::of("fstat"))?;
        Self::from_raw("fstat", &raw)
    }

    /// Checks what the file system said; `EIO` when no kind, owner or time can be like that.
    pub(crate) fn from_raw(op: &'static str, raw: &FileStat) -> Result<Self, Error> {
        Self::checked(raw).ok_or_else(|| Error::new(op, Errno::EIO))
    }

    fn checked(raw: &FileStat) -> Option<Self> {
        let time = |secs, nanos| Timestamp::new(secs, u32::try_from(nanos).ok()?);
        Some(Self {
            kind: StatKind::from_st_mode(raw.st_mode)?,
            mode: Mode::from_st_mode(raw.st_mode),
            owner: Owner::new(raw.st_uid, raw.st_gid)?,
            size: u64::try_from(raw.st_size).ok()?,
            mtime: time(raw.st_mtime, raw.st_mtime_nsec)?,
            atime: time(raw.st_atime, raw.st_atime_nsec)?,
            ctime: time(raw.st_ctime, raw.st_ctime_nsec)?,
            dev: raw.st_dev,
            ino: raw.st_ino,
            #[allow(clippy::unnecessary_cast, reason = "32 bits wide on aarch64")]
            links: raw.st_nlink as u64,
            rdev: Device {
                major: u32::try_from(major(raw.st_rdev)).ok()?,
                minor: u32::try_from(minor(raw.st_rdev)).ok()?,
            },
            blocks: u64::try_from(raw.st_blocks).ok()?,
        })
    }

    /// What other names of this inode are found by; `None` where there can be none.
    pub fn link_key(&self) -> Option<LinkKey> {
        let linked = self.links > 1 && self.kind != StatKind::Directory;
        linked.then_some(LinkKey {
            dev: self.dev,
            ino: self.ino,
        })
    }

    /// Whether both are looks at one inode.
    pub(crate) fn is_same_inode(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_no_clock_shows_is_refused() {
        let mut raw = fstat(std::fs::File::open(".").unwrap()).unwrap();
        assert!(Stat::from_raw("fstat", &raw).is_ok());
        for nanos in [-1, 1_000_000_000] {
            raw.st_mtime_nsec = nanos;
            assert_eq!(
                Stat::from_raw("fstat", &raw),
                Err(Error::new("fstat", Errno::EIO))
            );
        }
    }

    #[test]
    fn directories_have_no_link_key_however_many_links_they_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("child")).unwrap();
        let stat = Stat::of(std::fs::File::open(folder.path()).unwrap()).unwrap();
        assert_eq!(stat.link_key(), None);
    }
}
