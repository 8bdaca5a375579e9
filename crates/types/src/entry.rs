//! One thing in a tree.

use crate::{Meta, Name};

/// Device numbers, as `makedev(3)` splits them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The instance.
    pub minor: u32,
}

/// What an entry is, with what only that kind has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A regular file of `size` bytes.
    File {
        /// Length in bytes, at most 2^63 − 1.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Any bytes but NUL, 1 to 4095 of them.
        target: Box<[u8]>,
    },
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl Kind {
    /// The word a person reads.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Directory => "directory",
            Self::Symlink { .. } => "symlink",
            Self::CharDevice(_) => "character device",
            Self::BlockDevice(_) => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// One thing in a directory: its name, what it is, what is kept of its inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its name in its directory.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// Owner, mode, times, attributes.
    pub meta: Meta,
}
