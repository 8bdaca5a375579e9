//! One open directory, and what can be asked about the entries in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use barge_types::{Kind, Meta, Mode, Name, RelPath, Xattr, XattrName};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{self, fchmod, fstatat};
use nix::unistd::{AccessFlags, faccessat};

use crate::metadata::{self, Inode};
use crate::root::Descent;
use crate::xattr::Attributes;
use crate::{Applied, Error, Keep, Names, Stat, StatKind, Wanted};

/// An open directory. Cloning shares the handle.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    pub(crate) descent: Descent,
}

impl Dir {
    pub(crate) fn new(fd: OwnedFd, descent: Descent) -> Self {
        let fd = Arc::new(fd);
        Self { fd, descent }
    }

    /// Whether both are clones of one handle.
    pub(crate) fn is_same_handle(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fd, &other.fd)
    }

    /// Opens the directory at `path` below this one, or this one again.
    ///
    /// # Errors
    ///
    /// As [`Root::dir`](crate::Root::dir).
    pub fn beneath(&self, path: &RelPath) -> Result<Self, Error> {
        if path.is_root() {
            return Ok(self.clone());
        }
        let fd = self.descent.open(self.as_fd(), path.as_bytes())?;
        Ok(Self::new(fd, self.descent.clone()))
    }

    /// Lists the names, from the first one each time it is called.
    ///
    /// # Errors
    ///
    /// `openat` when there is no handle left.
    pub fn names(&self) -> Result<Names, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = openat(self, ".", flags, stat::Mode::empty()).map_err(Error::of("openat"))?;
        Names::new(fd)
    }

    /// Looks at an entry, through no symbolic link.
    ///
    /// # Errors
    ///
    /// `fstatat`, with `ENOENT` when there is no such entry.
    pub fn stat(&self, name: &Name) -> Result<Stat, Error> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
        let raw = fstatat(self, name.as_bytes(), flags).map_err(Error::of("fstatat"))?;
        Stat::from_raw("fstatat", &raw)
    }

    /// Looks at an entry that may be absent.
    ///
    /// # Errors
    ///
    /// `fstatat` for any cause but absence.
    pub fn find(&self, name: &Name) -> Result<Option<Stat>, Error> {
        match self.stat(name) {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn stat_self(&self) -> Result<Stat, Error> {
        Stat::of(self)
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    ///
    /// `EXDEV` when another file system is mounted there, `ELOOP` or `ENOTDIR` when it is no
    /// directory.
    pub fn open_dir(&self, name: &Name) -> Result<Self, Error> {
        let fd = self.descent.open(self.as_fd(), name.as_bytes())?;
        Ok(Self::new(fd, self.descent.clone()))
    }

    /// Whether this process may read an entry; of a symbolic link, what it leads to.
    pub fn may_read(&self, name: &Name) -> bool {
        let mode = AccessFlags::R_OK;
        faccessat(self, name.as_bytes(), mode, AtFlags::AT_EACCESS).is_ok()
    }

    /// Reads where a symbolic link points.
    ///
    /// # Errors
    ///
    /// `readlinkat`, with `EINVAL` when it is none.
    pub fn read_link(&self, name: &Name) -> Result<Box<[u8]>, Error> {
        let target = readlinkat(self, name.as_bytes()).map_err(Error::of("readlinkat"))?;
        Ok(target.into_vec().into())
    }

    /// Reads the attributes of an entry of any kind that `keep` carries, sorted by name.
    ///
    /// `stat` is the look at it the caller took; a regular file's or directory's attributes are
    /// asked for in the same way as a link's own, never its target's. A file system without
    /// attributes has none.
    ///
    /// # Errors
    ///
    /// `llistxattr` or `lgetxattr`.
    pub fn xattrs(&self, name: &Name, stat: &Stat, keep: &Keep) -> Result<Vec<Xattr>, Error> {
        if !keep.carries_any_of(stat.kind) {
            return Ok(Vec::new());
        }
        self.xattrs_of(name, &|name| keep.carries(name))
    }

    /// Reads the attributes of the directory itself that `keep` carries, sorted by name.
    ///
    /// # Errors
    ///
    /// `llistxattr` or `lgetxattr`.
    pub fn xattrs_self(&self, keep: &Keep) -> Result<Vec<Xattr>, Error> {
        self.xattrs_of_self(&|name| keep.carries(name))
    }

    /// Reads the attributes of an entry of any kind that are chosen by name, sorted by name.
    ///
    /// # Errors
    ///
    /// `llistxattr` or `lgetxattr`; a file system without attributes has none.
    pub fn xattrs_of(
        &self,
        name: &Name,
        carries: &dyn Fn(&XattrName) -> bool,
    ) -> Result<Vec<Xattr>, Error> {
        Attributes::of_entry(self, name).read(carries)
    }

    /// Reads the attributes of the directory itself that are chosen by name, sorted by name.
    ///
    /// # Errors
    ///
    /// `llistxattr` or `lgetxattr`; a file system without attributes has none.
    pub fn xattrs_of_self(
        &self,
        carries: &dyn Fn(&XattrName) -> bool,
    ) -> Result<Vec<Xattr>, Error> {
        Attributes::of_handle(self.as_fd()).read(carries)
    }

    /// Whether new entries in this directory inherit an ACL from it.
    ///
    /// # Errors
    ///
    /// `lgetxattr`.
    pub fn has_default_acl(&self) -> Result<bool, Error> {
        Attributes::of_handle(self.as_fd()).has_default_acl()
    }

    /// Sets what differs of owner, mode, attributes and time on an entry of any kind.
    ///
    /// `before` is the look at it the caller decided upon: another inode under the name, or
    /// another kind than `kind`, is left alone and fails with `ESTALE`. `has_attributes` says
    /// whether it may have attributes that the source lacks: pass true for an entry that was
    /// there before, and for a new one whose directory has a default ACL.
    ///
    /// The entry is held by a handle that is good for nothing else, so that no fifo blocks, no
    /// device starts, and no link is followed.
    pub fn apply(
        &self,
        name: &Name,
        before: &Stat,
        want: &Meta,
        kind: &Kind,
        set: &Keep,
        has_attributes: bool,
    ) -> Applied {
        match self.hold(name, before, kind) {
            Ok((fd, now)) => {
                let inode = Inode::held(fd.as_fd());
                metadata::set(inode, now, want, set, has_attributes).1
            }
            Err(error) => Applied::failed(error),
        }
    }

    /// Sets what differs of owner, mode, attributes and time on the directory itself.
    ///
    /// `before` names the inode that is meant; another one fails with `ESTALE`.
    pub fn apply_self(&self, before: &Stat, want: &Meta, set: &Keep) -> Applied {
        match self.stat_self() {
            Ok(now) if now.is_same_inode(before) => {
                metadata::set(Inode::open(self.as_fd()), now, want, set, true).1
            }
            Ok(_) => Applied::failed(Error::new("fstat", Errno::ESTALE)),
            Err(error) => Applied::failed(error),
        }
    }

    /// Sets what differs of what is wanted on an entry of any kind, and returns the last look.
    ///
    /// `before` is the look at it the caller decided upon: another inode under the name is left
    /// alone and fails with `ESTALE`. The entry is held as [`Dir::apply`] holds it.
    ///
    /// # Errors
    ///
    /// `openat`, when it cannot be held.
    pub fn set(
        &self,
        name: &Name,
        before: &Stat,
        want: &Wanted<'_>,
    ) -> Result<(Stat, Applied), Error> {
        let (fd, now) = self.hold_inode(name, before)?;
        Ok(metadata::set_wanted(Inode::held(fd.as_fd()), now, want))
    }

    /// Sets what differs of what is wanted on the directory itself, and returns the last look.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn set_self(&self, want: &Wanted<'_>) -> Result<(Stat, Applied), Error> {
        let now = self.stat_self()?;
        let inode = Inode::open(self.as_fd());
        Ok(metadata::set_wanted(inode, now, want))
    }

    /// Gives the directory's owner all rights in it, for as long as entries are made there.
    ///
    /// `stat` is a look at it; nothing is called when the rights are there.
    ///
    /// # Errors
    ///
    /// `fchmod` when it is not ours.
    pub fn make_writable(&self, stat: &Stat) -> Result<(), Error> {
        let mode = Mode::from_st_mode(stat.mode.bits() | 0o700);
        if mode == stat.mode {
            return Ok(());
        }
        let bits = stat::Mode::from_bits_truncate(mode.bits());
        fchmod(self, bits).map_err(Error::of("fchmod"))
    }

    /// Gives the owner of a directory in this one all rights in it, also where it may not be
    /// opened before.
    ///
    /// `stat` is the look at it the caller decided upon; nothing is called when the rights are
    /// there.
    ///
    /// # Errors
    ///
    /// `openat`, with `ESTALE` when another inode has the name; `fchmod` when it is not ours.
    pub fn make_child_writable(&self, name: &Name, stat: &Stat) -> Result<(), Error> {
        if stat.mode.bits() & 0o700 == 0o700 {
            return Ok(());
        }
        let (fd, now) = self.hold(name, stat, &Kind::Directory)?;
        let mode = Mode::from_st_mode(now.mode.bits() | 0o700);
        let chmod = Inode::held(fd.as_fd()).chmod(mode);
        chmod.map_err(Error::of("fchmod"))
    }

    fn hold(&self, name: &Name, before: &Stat, kind: &Kind) -> Result<(OwnedFd, Stat), Error> {
        let (fd, now) = self.hold_inode(name, before)?;
        if now.kind != StatKind::of(kind) {
            return Err(Error::new("openat", Errno::ESTALE));
        }
        Ok((fd, now))
    }

    fn hold_inode(&self, name: &Name, before: &Stat) -> Result<(OwnedFd, Stat), Error> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self, name.as_bytes(), flags, stat::Mode::empty())
            .map_err(Error::of("openat"))?;
        let now = Stat::of(&fd)?;
        if !now.is_same_inode(before) {
            return Err(Error::new("openat", Errno::ESTALE));
        }
        Ok((fd, now))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
