//! Extended attributes (`xattr(7)`): which namespaces are carried, and how an inode's are reached.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use barge_types::{Name, Xattr, XattrName};
use nix::errno::Errno;

use crate::{Dir, Error, StatKind, place};

/// What is carried besides mode and time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keep {
    /// Numeric owner and group.
    pub owner: bool,
    /// `user.*`, `trusted.*` and `security.capability`.
    pub xattrs: bool,
    /// POSIX ACLs, access and default.
    pub acls: bool,
    /// `security.selinux`: off by default, because the target's policy labels its own volumes.
    pub selinux: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            owner: true,
            xattrs: true,
            acls: true,
            selinux: false,
        }
    }
}

impl Keep {
    /// Whether an attribute is carried: never what a file system stores for itself.
    pub fn carries(&self, name: &XattrName) -> bool {
        match name.as_bytes() {
            b"system.posix_acl_access" | b"system.posix_acl_default" => self.acls,
            b"security.selinux" => self.selinux,
            b"security.capability" => self.xattrs,
            name if INTERNAL.iter().any(|internal| name.starts_with(internal)) => false,
            name => self.xattrs && (name.starts_with(b"user.") || name.starts_with(b"trusted.")),
        }
    }

    /// Whether an inode of this kind can have any attribute that is carried.
    pub(crate) fn carries_any_of(&self, kind: StatKind) -> bool {
        let acls = self.acls && kind != StatKind::Symlink;
        self.xattrs || self.selinux || acls
    }
}

/// The attributes of one inode, reached through a handle's path in `/proc`, or by name in the
/// thread's own working directory.
pub(crate) struct Attributes {
    path: PathBuf,
    /// Whether the last part of the path is the handle's own link, which must be followed.
    is_handle: bool,
}

impl Attributes {
    /// Of an entry of an open directory; of a symbolic link itself.
    pub(crate) fn of_entry(dir: &Dir, name: &Name) -> Self {
        let mut path = if place::enter(dir) {
            PathBuf::new()
        } else {
            handle_path(dir.as_fd())
        };
        path.push(name.as_os_str());
        let is_handle = false;
        Self { path, is_handle }
    }

    /// Of an inode held by any handle, `O_PATH` ones included.
    pub(crate) fn of_handle(fd: BorrowedFd<'_>) -> Self {
        let path = handle_path(fd);
        let is_handle = true;
        Self { path, is_handle }
    }

    /// Reads what is carried, sorted by name. One that vanishes meanwhile is left out.
    pub(crate) fn read(&self, carries: &dyn Fn(&XattrName) -> bool) -> Result<Vec<Xattr>, Error> {
        let mut xattrs = Vec::new();
        for name in self.list()? {
            let name = XattrName::new(name.as_bytes())
                .ok_or_else(|| Error::new("llistxattr", Errno::ERANGE))?;
            if !carries(&name) {
                continue;
            }
            if let Some(value) = self.get(&name)? {
                let value = value.into();
                xattrs.push(Xattr { name, value });
            }
        }
        xattrs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        xattrs.dedup_by(|a, b| a.name == b.name);
        Ok(xattrs)
    }

    pub(crate) fn has_default_acl(&self) -> Result<bool, Error> {
        let name = OsStr::new("system.posix_acl_default");
        match xattr::get_deref(&self.path, name) {
            Err(error) if is_unsupported(&error) => Ok(false),
            value => Ok(value.map_err(Error::of_io("lgetxattr"))?.is_some()),
        }
    }

    pub(crate) fn set(&self, xattr: &Xattr) -> Result<(), Error> {
        let name = OsStr::from_bytes(xattr.name.as_bytes());
        if self.is_handle {
            xattr::set_deref(&self.path, name, &xattr.value)
        } else {
            xattr::set(&self.path, name, &xattr.value)
        }
        .map_err(Error::of_io(set_op(&xattr.name)))
    }

    /// Removes an attribute; that it is gone already is as good.
    pub(crate) fn remove(&self, name: &XattrName) -> Result<(), Error> {
        let os_name = OsStr::from_bytes(name.as_bytes());
        let removed = if self.is_handle {
            xattr::remove_deref(&self.path, os_name)
        } else {
            xattr::remove(&self.path, os_name)
        };
        match removed {
            Err(error) if error.raw_os_error() == Some(Errno::ENODATA as i32) => Ok(()),
            removed => removed.map_err(Error::of_io(remove_op(name))),
        }
    }

    fn list(&self) -> Result<xattr::XAttrs, Error> {
        let listed = if self.is_handle {
            xattr::list_deref(&self.path)
        } else {
            xattr::list(&self.path)
        };
        match listed {
            Err(error) if is_unsupported(&error) => Ok(xattr::XAttrs::default()),
            listed => listed.map_err(Error::of_io("llistxattr")),
        }
    }

    fn get(&self, name: &XattrName) -> Result<Option<Vec<u8>>, Error> {
        let name = OsStr::from_bytes(name.as_bytes());
        if self.is_handle {
            xattr::get_deref(&self.path, name)
        } else {
            xattr::get(&self.path, name)
        }
        .map_err(Error::of_io("lgetxattr"))
    }
}

/// The path under which this process reaches what `fd` holds (`proc(5)`).
pub(crate) fn handle_path(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32)
}

/// The call with the namespace: each is guarded by another capability.
fn set_op(name: &XattrName) -> &'static str {
    match name.as_bytes() {
        b"security.capability" => "setxattr security.capability",
        b"security.selinux" => "setxattr security.selinux",
        name if name.starts_with(b"trusted.") => "setxattr trusted.*",
        name if name.starts_with(b"user.") => "setxattr user.*",
        _ => "setxattr system.posix_acl",
    }
}

fn remove_op(name: &XattrName) -> &'static str {
    match name.as_bytes() {
        b"security.capability" => "removexattr security.capability",
        b"security.selinux" => "removexattr security.selinux",
        name if name.starts_with(b"trusted.") => "removexattr trusted.*",
        name if name.starts_with(b"user.") => "removexattr user.*",
        _ => "removexattr system.posix_acl",
    }
}

/// What Gluster and overlayfs keep for themselves: wrong or refused on any other file system.
const INTERNAL: [&[u8]; 3] = [b"trusted.gfid", b"trusted.glusterfs.", b"trusted.overlay."];

#[cfg(test)]
mod tests {
    use super::*;

    fn carries(keep: &Keep, name: &str) -> bool {
        keep.carries(&XattrName::new(name.as_bytes()).unwrap())
    }

    #[test]
    fn keep_carries_only_the_namespaces_it_names() {
        let all = Keep {
            selinux: true,
            ..Keep::default()
        };
        for (name, by_default, with_selinux) in [
            ("user.a", true, true),
            ("trusted.a", true, true),
            ("trusted.overlay.opaque", false, false),
            ("trusted.glusterfs.dht", false, false),
            ("trusted.gfid", false, false),
            ("security.capability", true, true),
            ("security.selinux", false, true),
            ("security.ima", false, false),
            ("system.posix_acl_access", true, true),
            ("system.posix_acl_default", true, true),
            ("system.nfs4_acl", false, false),
            ("username", false, false),
        ] {
            assert_eq!(carries(&Keep::default(), name), by_default, "{name}");
            assert_eq!(carries(&all, name), with_selinux, "{name}");
        }
    }

    #[test]
    fn keep_of_acls_alone_carries_no_other_attribute() {
        let keep = Keep {
            xattrs: false,
            ..Keep::default()
        };
        assert!(carries(&keep, "system.posix_acl_access"));
        assert!(!carries(&keep, "user.a") && !carries(&keep, "security.capability"));
        assert!(!keep.carries_any_of(StatKind::Symlink));
        assert!(keep.carries_any_of(StatKind::Fifo));
    }
}
