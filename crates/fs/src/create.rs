//! Makes directories, symbolic links, hard links and special files, and renames.
//!
//! What is made belongs to us alone until its metadata is set.

use std::os::fd::AsFd;

use barge_types::{Device, Kind, Name};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use rustix::fs::{RenameFlags, renameat_with};

use crate::{Dir, Error, unique_name};

impl Dir {
    /// Makes a directory of mode 0700.
    ///
    /// # Errors
    ///
    /// `mkdirat`, with `EEXIST` when the name is taken.
    pub fn make_dir(&self, name: &Name) -> Result<(), Error> {
        mkdirat(self, name.as_bytes(), Mode::S_IRWXU).map_err(Error::of("mkdirat"))
    }

    /// Makes a directory that gets of `mode` what the umask, or the default ACL of this directory,
    /// leaves to it, and inherits set-gid.
    ///
    /// # Errors
    ///
    /// `mkdirat`, with `EEXIST` when the name is taken.
    pub fn make_dir_with(&self, name: &Name, mode: barge_types::Mode) -> Result<(), Error> {
        let mode = Mode::from_bits_truncate(mode.bits());
        mkdirat(self, name.as_bytes(), mode).map_err(Error::of("mkdirat"))
    }

    /// Makes a symbolic link. `target` is never resolved.
    ///
    /// # Errors
    ///
    /// `symlinkat`, with `EEXIST` when the name is taken.
    pub fn make_symlink(&self, name: &Name, target: &[u8]) -> Result<(), Error> {
        symlinkat(target, self, name.as_bytes()).map_err(Error::of("symlinkat"))
    }

    /// Makes a device, a fifo or a socket of mode 0600.
    ///
    /// # Errors
    ///
    /// `mknodat`, with `EINVAL` for any other kind and for device numbers that Linux would cut
    /// (12 bits of major, 20 of minor).
    pub fn make_node(&self, name: &Name, kind: &Kind) -> Result<(), Error> {
        let (kind, device) = node(kind).ok_or_else(|| Error::new("mknodat", Errno::EINVAL))?;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mknodat(self, name.as_bytes(), kind, mode, device).map_err(Error::of("mknodat"))
    }

    /// Makes `name` another name of what is at `from_name`; of a symbolic link itself.
    ///
    /// # Errors
    ///
    /// `linkat`, with `EMLINK` at the file system's limit.
    pub fn hard_link(&self, name: &Name, from: &Self, from_name: &Name) -> Result<(), Error> {
        let flags = AtFlags::empty();
        linkat(from, from_name.as_bytes(), self, name.as_bytes(), flags)
            .map_err(Error::of("linkat"))
    }

    /// Makes `name` another name of what is at `from_name`, in place of what has the name.
    ///
    /// # Errors
    ///
    /// `linkat`, or the rename that puts the new name in its place.
    pub fn link_over(&self, name: &Name, from: &Self, from_name: &Name) -> Result<(), Error> {
        match self.hard_link(name, from, from_name) {
            Err(error) if error.is_exists() => {}
            linked => return linked,
        }
        let temporary = unique_name()?;
        self.hard_link(&temporary, from, from_name)?;
        let renamed = self.rename(&temporary, name);
        // It is still there when the rename failed, and when both were one inode already.
        let _ = self.unlink(&temporary);
        renamed
    }

    /// Renames an entry; what was at `to` is replaced.
    ///
    /// # Errors
    ///
    /// `renameat`.
    pub fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.rename_into(from, self, to)
    }

    /// Renames an entry to a name that nothing has.
    ///
    /// # Errors
    ///
    /// `EEXIST` when something has it, also by a name this file system takes for the same.
    pub fn rename_new(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.rename_new_into(from, self, to)
    }

    /// Renames an entry into another directory of the same file system; what had its name there is
    /// replaced.
    ///
    /// # Errors
    ///
    /// `renameat`, with `EXDEV` between file systems.
    pub fn rename_into(&self, from: &Name, dir: &Self, to: &Name) -> Result<(), Error> {
        renameat(self, from.as_bytes(), dir, to.as_bytes()).map_err(Error::of("renameat"))
    }

    /// Renames an entry into another directory, to a name that nothing has there.
    ///
    /// # Errors
    ///
    /// `EEXIST` when something has it; `EXDEV` between file systems.
    pub fn rename_new_into(&self, from: &Name, dir: &Self, to: &Name) -> Result<(), Error> {
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(
            self.as_fd(),
            from.as_bytes(),
            dir.as_fd(),
            to.as_bytes(),
            flags,
        ) {
            // File systems and kernels that do not know the flag.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                self.rename_by_link(from, dir, to)
            }
            renamed => renamed.map_err(|errno| Error {
                op: "renameat2",
                errno: errno.raw_os_error(),
            }),
        }
    }

    /// A link takes no name that is taken, whoever is quicker.
    fn rename_by_link(&self, from: &Name, dir: &Self, to: &Name) -> Result<(), Error> {
        match linkat(self, from.as_bytes(), dir, to.as_bytes(), AtFlags::empty()) {
            Ok(()) => self.unlink(from),
            // Directories have no links; some file systems have none at all.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {
                self.rename_after_look(from, dir, to)
            }
            Err(errno) => Err(Error::new("linkat", errno)),
        }
    }

    fn rename_after_look(&self, from: &Name, dir: &Self, to: &Name) -> Result<(), Error> {
        match dir.find(to)? {
            Some(_) => Err(Error::new("renameat", Errno::EEXIST)),
            None => self.rename_into(from, dir, to),
        }
    }

    /// Removes a name that is no directory's.
    ///
    /// # Errors
    ///
    /// `unlinkat`, with `EISDIR` for a directory.
    pub fn unlink(&self, name: &Name) -> Result<(), Error> {
        unlinkat(self, name.as_bytes(), UnlinkatFlags::NoRemoveDir).map_err(Error::of("unlinkat"))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// `rmdir`, with `ENOTEMPTY` when it is not empty.
    pub fn remove_dir(&self, name: &Name) -> Result<(), Error> {
        unlinkat(self, name.as_bytes(), UnlinkatFlags::RemoveDir).map_err(Error::of("rmdir"))
    }
}

/// The kind and number `mknod(2)` takes.
fn node(kind: &Kind) -> Option<(SFlag, u64)> {
    match kind {
        Kind::CharDevice(device) => Some((SFlag::S_IFCHR, number(*device)?)),
        Kind::BlockDevice(device) => Some((SFlag::S_IFBLK, number(*device)?)),
        Kind::Fifo => Some((SFlag::S_IFIFO, 0)),
        Kind::Socket => Some((SFlag::S_IFSOCK, 0)),
        Kind::File { .. } | Kind::Directory | Kind::Symlink { .. } => None,
    }
}

fn number(device: Device) -> Option<u64> {
    let fits = device.major < 1 << 12 && device.minor < 1 << 20;
    fits.then(|| makedev(device.major.into(), device.minor.into()))
}

#[cfg(test)]
mod tests {
    use barge_types::RelPath;

    use super::*;
    use crate::StatKind;
    use crate::trees::{is_root, name, roots};

    #[test]
    fn rename_new_refuses_a_taken_name_by_every_way() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            type Way = fn(&Dir, &Name, &Dir, &Name) -> Result<(), Error>;
            let ways: [Way; 3] = [
                Dir::rename_new_into,
                Dir::rename_by_link,
                Dir::rename_after_look,
            ];
            for rename in ways {
                dir.make_symlink(&name("from"), b"from").unwrap();
                dir.make_symlink(&name("taken"), b"taken").unwrap();
                let error = rename(&dir, &name("from"), &dir, &name("taken")).unwrap_err();
                assert!(error.is(Errno::EEXIST));
                assert_eq!(*dir.read_link(&name("taken")).unwrap(), *b"taken");
                rename(&dir, &name("from"), &dir, &name("free")).unwrap();
                assert_eq!(dir.find(&name("from")), Ok(None));
                assert_eq!(*dir.read_link(&name("free")).unwrap(), *b"from");
                dir.unlink(&name("free")).unwrap();
                dir.rename(&name("taken"), &name("free")).unwrap();
                dir.unlink(&name("free")).unwrap();
            }
        }
    }

    #[test]
    fn rename_by_link_moves_directories_too() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            dir.make_dir(&name("a")).unwrap();
            dir.rename_by_link(&name("a"), &dir, &name("b")).unwrap();
            assert!(dir.open_dir(&name("b")).is_ok());
        }
    }

    #[test]
    fn nodes_are_made_as_described_and_closed_to_others() {
        if !is_root("devices") {
            return;
        }
        let device = Device {
            major: 259,
            minor: 70_000,
        };
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            for kind in [
                Kind::CharDevice(device),
                Kind::BlockDevice(device),
                Kind::Fifo,
                Kind::Socket,
            ] {
                dir.make_node(&name("node"), &kind).unwrap();
                let stat = dir.stat(&name("node")).unwrap();
                assert_eq!((stat.kind, stat.mode.bits()), (StatKind::of(&kind), 0o600));
                if matches!(kind, Kind::CharDevice(_) | Kind::BlockDevice(_)) {
                    assert_eq!(stat.rdev, device);
                }
                dir.unlink(&name("node")).unwrap();
            }
        }
    }

    #[test]
    fn device_number_that_linux_would_cut_is_refused() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            for (major, minor) in [(1 << 12, 0), (0, 1 << 20), (u32::MAX, u32::MAX)] {
                let kind = Kind::CharDevice(Device { major, minor });
                let error = dir.make_node(&name("node"), &kind).unwrap_err();
                assert!(error.is(Errno::EINVAL));
            }
            assert!(dir.make_node(&name("node"), &Kind::Directory).is_err());
        }
    }

    #[test]
    fn hard_link_of_a_symlink_is_the_symlink() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            dir.make_dir(&name("below")).unwrap();
            dir.make_symlink(&name("link"), b"\xff dangling").unwrap();
            let below = dir.open_dir(&name("below")).unwrap();
            below
                .hard_link(&name("other"), &dir, &name("link"))
                .unwrap();
            let stat = below.stat(&name("other")).unwrap();
            assert_eq!(stat.link_key(), dir.stat(&name("link")).unwrap().link_key());
            assert!(stat.link_key().is_some());
            assert_eq!(*below.read_link(&name("other")).unwrap(), *b"\xff dangling");
        }
    }
}
