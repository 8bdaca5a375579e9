//! A directory held open: what is in it has a short path, however long its own is.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A directory, open without the right to read it.
pub(crate) struct Held(File);

impl Held {
    /// Opens a directory; a symbolic link at the end of `path` is an error.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)?;
        Ok(Self(file))
    }

    /// Opens the directory `name` in this one.
    pub(crate) fn enter(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::open(&self.at(name))
    }

    /// A path of `name` in this directory, good for as long as the handle lives; `.` is itself.
    ///
    /// Through the magic link of `proc(5)`; a link that `name` itself is, is not followed by
    /// calls that do not follow links.
    pub(crate) fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        path.push(".");
        if name.as_ref() != "." {
            path.push(name.as_ref());
        }
        path
    }

    /// The names in this directory, sorted as bytes.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at("."))? {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(names)
    }
}
