//! Paths that somebody names to be read: symbolic links on their way are followed, as far as they
//! may lead.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use barge_types::{Xattr, XattrName};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::root::Descent;
use crate::xattr::Attributes;
use crate::{Dir, Error, Root, SourceFile, Stat, StatKind};

/// Where paths are named: wherever the process may go, or beneath a directory.
///
/// The operator's own paths lead where he likes. What a peer names stays beneath a root, through
/// links too; there kernels without `openat2` follow no link.
#[derive(Clone, Debug)]
pub struct Ground {
    top: Arc<OwnedFd>,
    confined: Option<Descent>,
}

impl Ground {
    /// Everywhere; relative paths begin at `start`.
    ///
    /// # Errors
    ///
    /// `openat` when `start` is no directory.
    pub fn anywhere(start: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let top = open(start, flags, Mode::empty()).map_err(Error::of("openat"))?;
        Ok(Self {
            top: Arc::new(top),
            confined: None,
        })
    }

    /// Beneath a directory: neither `..` nor a link leads out of it.
    ///
    /// # Errors
    ///
    /// `fcntl` when there is no handle left.
    pub fn beneath(dir: &Dir) -> Result<Self, Error> {
        let top = dir.as_fd().try_clone_to_owned();
        let top = top.map_err(Error::of_io("fcntl"))?;
        let mut descent = dir.descent.clone();
        (descent.entered, descent.links) = (Some(Arc::default()), true);
        Ok(Self {
            top: Arc::new(top),
            confined: Some(descent),
        })
    }

    /// Holds what `path` leads to. A link at its end is held itself, unless `follow` says that it
    /// leads on. Nothing is opened for reading: no fifo blocks, no device starts.
    ///
    /// # Errors
    ///
    /// `openat`, with `EXDEV` when the path leads out of where it may lead.
    pub fn hold(&self, path: &[u8], follow: bool) -> Result<Held, Error> {
        let mut flags = OFlag::O_PATH;
        flags.set(OFlag::O_NOFOLLOW, !follow);
        let fd = self.open(path, flags)?;
        let stat = Stat::of(&fd)?;
        if follow && stat.kind == StatKind::Symlink {
            // It was not followed for want of `openat2`.
            return Err(Error::new("openat", Errno::ELOOP));
        }
        Ok(Held { fd, stat })
    }

    /// Opens the directory that `path` leads to, as a root with the file systems mounted in it.
    ///
    /// # Errors
    ///
    /// `openat`, with `EXDEV` when the path leads out of where it may lead.
    pub fn root(&self, path: &[u8]) -> Result<Root, Error> {
        let fd = self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        Ok(Root::of(fd)?.with_mounts())
    }

    /// Opens the regular file that `path` leads to, through a link at its end too, as
    /// [`Dir::open_file`] does.
    ///
    /// # Errors
    ///
    /// `openat`, with `EXDEV` when the path leads out of where it may lead, `ESTALE` when there is
    /// anything but a regular file.
    pub fn open_file(&self, path: &[u8]) -> Result<(SourceFile, Stat), Error> {
        SourceFile::open(|flags| self.open(path, flags))
    }

    /// Opens what is read at `path` from its beginning to its end: where nothing confines, a pipe too.
    ///
    /// # Errors
    ///
    /// `openat`, with `EXDEV` when the path leads out of where it may lead, and `ESTALE` when there is
    /// anything but a regular file.
    pub fn open_stream(&self, path: &[u8]) -> Result<File, Error> {
        let fd = match self.confined {
            None => self.open(path, OFlag::O_RDONLY)?,
            // A fifo would block, a device would start.
            Some(_) => self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?,
        };
        match self.confined {
            Some(_) if Stat::of(&fd)?.kind != StatKind::File => {
                Err(Error::new("openat", Errno::ESTALE))
            }
            _ => Ok(fd.into()),
        }
    }

    fn open(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Error> {
        let flags = flags | OFlag::O_CLOEXEC;
        match &self.confined {
            Some(descent) => descent.open_with(self.top.as_fd(), path, flags),
            None => openat(&self.top, path, flags, Mode::empty()).map_err(Error::of("openat")),
        }
    }
}

/// An inode that is held and not opened.
#[derive(Debug)]
pub struct Held {
    fd: OwnedFd,
    stat: Stat,
}

impl Held {
    /// What it was when it was held.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads the attributes that are chosen by name, sorted by name.
    ///
    /// # Errors
    ///
    /// `llistxattr` or `lgetxattr`; a file system without attributes has none.
    pub fn xattrs(&self, carries: &dyn Fn(&XattrName) -> bool) -> Result<Vec<Xattr>, Error> {
        Attributes::of_handle(self.fd.as_fd()).read(carries)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::trees::roots;

    /// `in` is the place to stay in; `in/side/…` lead out of it and back.
    fn tree(folder: &Path) {
        fs::create_dir_all(folder.join("in/side")).unwrap();
        fs::write(folder.join("in/file"), "in").unwrap();
        fs::write(folder.join("secret"), "out").unwrap();
        let absolute = folder.join("in/file");
        for (name, target) in [
            ("in/side/up", Path::new("../file")),
            ("in/side/out", Path::new("../../secret")),
            ("in/side/back", Path::new("../../in/file")),
            ("in/side/absolute", &absolute),
            ("in/loop", Path::new("loop")),
            ("in/dir", Path::new("side")),
        ] {
            symlink(target, folder.join(name)).unwrap();
        }
    }

    fn beneath(folder: &Path, openat2: bool) -> Ground {
        let mut root = Root::open(&folder.join("in")).unwrap();
        if !openat2 {
            root = root.without_openat2();
        }
        Ground::beneath(&root.dir(&barge_types::RelPath::root()).unwrap()).unwrap()
    }

    #[test]
    fn links_are_followed_as_far_as_they_may_lead() {
        for (folder, _root) in roots() {
            tree(folder.path());
            let confined = beneath(folder.path(), true);
            let anywhere = Ground::anywhere(&folder.path().join("in")).unwrap();
            for (path, stays) in [
                ("file", true),
                ("side/up", true),
                ("dir/up", true),
                ("side/out", false),
                ("side/back", false),
                ("side/absolute", false),
                ("side/../file", true),
                ("../secret", false),
            ] {
                assert!(anywhere.open_file(path.as_bytes()).is_ok(), "{path}");
                let opened = confined.open_file(path.as_bytes());
                assert_eq!(opened.is_ok(), stays, "{path}: {opened:?}");
                let held = confined.hold(path.as_bytes(), true);
                assert_eq!(held.is_ok(), stays, "{path}: {held:?}");
            }
            for ground in [&confined, &anywhere] {
                let link = ground.hold(b"side/out", false).unwrap();
                assert_eq!(link.stat().kind, StatKind::Symlink);
                assert!(ground.root(b"dir").is_ok());
                assert!(ground.root(b".").is_ok());
                assert!(ground.root(b"file").is_err());
                assert!(ground.open_file(b"side").is_err());
                assert!(ground.hold(b"loop", true).is_err());
            }
        }
    }

    #[test]
    fn without_openat2_no_link_is_followed_and_nothing_leads_out() {
        for (folder, _root) in roots() {
            tree(folder.path());
            let ground = beneath(folder.path(), false);
            assert!(ground.open_file(b"file").is_ok());
            assert!(ground.root(b"side").is_ok());
            assert!(ground.root(b".").is_ok());
            assert_eq!(
                ground.hold(b"dir", false).unwrap().stat().kind,
                StatKind::Symlink
            );
            for path in [
                "side/up",
                "dir/up",
                "../secret",
                "side/../file",
                "side/out",
                "/file",
            ] {
                assert!(ground.open_file(path.as_bytes()).is_err(), "{path}");
                assert!(ground.hold(path.as_bytes(), true).is_err(), "{path}");
            }
        }
    }
}
