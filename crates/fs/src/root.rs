//! A directory handle, and how every path is resolved beneath it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge_types::{Name, RelPath};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{fsync, syncfs};

use crate::{Dir, Error, Stat, StatKind};

/// The directory a transfer begins at. Nothing outside it is reached through it.
#[derive(Clone, Debug)]
pub struct Root {
    top: Dir,
}

impl Root {
    /// Opens an operator's own path; symbolic links in it are followed.
    ///
    /// # Errors
    ///
    /// `openat` when it is not there, no directory, or may not be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::of(open(path, LIST, Mode::empty()).map_err(Error::of("openat"))?)
    }

    /// An open directory as a root.
    pub(crate) fn of(fd: OwnedFd) -> Result<Self, Error> {
        let dev = Stat::of(&fd)?.dev;
        let descent = Descent::probe(fd.as_fd(), dev);
        let top = Dir::new(fd, descent);
        Ok(Self { top })
    }

    /// The same root, with the file systems that are mounted in it as parts of the tree.
    #[must_use]
    pub fn with_mounts(mut self) -> Self {
        self.top.descent.entered = Some(Arc::default());
        self
    }

    /// The same root, with symbolic links to directories beneath it as ways to those, for paths
    /// that [`Root::dir`] opens.
    ///
    /// No link leads out of the root. Kernels without `openat2` follow none.
    #[must_use]
    pub fn with_links(mut self) -> Self {
        self.top.descent.links = true;
        self
    }

    /// A directory as a root of its own, with the same rules.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn at(dir: &Dir) -> Result<Self, Error> {
        let mut top = dir.clone();
        top.descent.dev = dir.stat_self()?.dev;
        Ok(Self { top })
    }

    /// Opens a directory beneath the root, or the root itself.
    ///
    /// # Errors
    ///
    /// `EXDEV` when a mount point is in the way, `ELOOP` or `ENOTDIR` when a symbolic link is.
    pub fn dir(&self, path: &RelPath) -> Result<Dir, Error> {
        let mut dir = self.top.beneath(path)?;
        // What is done in it follows none.
        dir.descent.links = false;
        Ok(dir)
    }

    /// Opens the directory that a symbolic link leads to, as [`Root::dir`] does with
    /// [`Root::with_links`]; `None` when it leads nowhere, or to something else.
    ///
    /// # Errors
    ///
    /// `EXDEV` when it leads out of the root, `ENOTSUP` when that cannot be told.
    pub fn dir_behind_link(&self, path: &RelPath) -> Result<Option<Dir>, Error> {
        let descent = &self.top.descent;
        if !descent.links || !descent.openat2 {
            return Err(Error::new("openat", Errno::ENOTSUP));
        }
        match self.dir(path) {
            Err(error) if error.is(Errno::ENOENT) || error.is(Errno::ENOTDIR) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Waits until everything written on this file system, and on those mounted in it that were
    /// entered, is on its disk (`syncfs(2)`).
    ///
    /// # Errors
    ///
    /// `syncfs`, also when the kernel failed to write back something since the file system was
    /// entered.
    pub fn sync(&self) -> Result<(), Error> {
        syncfs(&self.top).map_err(Error::of("syncfs"))?;
        match &self.top.descent.entered {
            Some(entered) => entered.sync(),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn without_openat2(mut self) -> Self {
        self.top.descent.openat2 = false;
        self
    }
}

impl Dir {
    /// Waits until an entry is on the disk under its name, with its content if it is a regular file
    /// (`fsync(2)` of both).
    ///
    /// # Errors
    ///
    /// `fstatat` when there is no such entry; `fsync`; `syncfs`, which stands in for the content of
    /// what may not be read.
    pub fn sync_entry(&self, name: &Name) -> Result<(), Error> {
        if self.stat(name)?.kind == StatKind::File {
            match self.open_file(name) {
                Err(error) if error.is(Errno::EACCES) => {
                    syncfs(self).map_err(Error::of("syncfs"))?;
                }
                file => file?.file.sync_all().map_err(Error::of_io("fsync"))?,
            }
        }
        fsync(self).map_err(Error::of("fsync"))
    }
}

/// How a directory beneath another one is reached.
#[derive(Clone, Debug)]
pub(crate) struct Descent {
    /// The file system of the root.
    dev: u64,
    /// Whether the kernel resolves whole paths safely; else we walk from part to part.
    openat2: bool,
    /// The others that were entered, where that may be.
    pub(crate) entered: Option<Arc<Entered>>,
    /// Whether links to directories beneath are followed.
    pub(crate) links: bool,
}

impl Descent {
    /// Old kernels answer `ENOSYS`, some container runtimes `EPERM`; either way we walk.
    fn probe(root: BorrowedFd<'_>, dev: u64) -> Self {
        let openat2 = open_beneath(root, b".", PASS, STRICT).is_ok();
        Self {
            dev,
            openat2,
            entered: None,
            links: false,
        }
    }

    /// Opens the directory `path` beneath `at` for listing.
    ///
    /// A path may be longer than `PATH_MAX`: each piece is opened from the one before it.
    pub(crate) fn open(&self, at: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Error> {
        let fd = self.open_with(at, path, LIST)?;
        if let Some(entered) = &self.entered {
            entered.note(&fd, self.dev)?;
        }
        Ok(fd)
    }

    /// Opens what is at `path` beneath `at`.
    pub(crate) fn open_with(
        &self,
        at: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlag,
    ) -> Result<OwnedFd, Error> {
        let (mut piece, mut rest) = self.split(path);
        let mut held: Option<OwnedFd> = None;
        while !rest.is_empty() {
            let from = held.as_ref().map_or(at, AsFd::as_fd);
            let next = self.step(from, piece, PASS)?;
            held = Some(next);
            (piece, rest) = self.split(rest);
        }
        let from = held.as_ref().map_or(at, AsFd::as_fd);
        self.step(from, piece, flags)
    }

    /// Cuts off what one call can resolve.
    fn split<'a>(&self, path: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let is_slash = |&byte: &u8| byte == b'/';
        let cut = if !self.openat2 {
            path.iter().position(is_slash)
        } else if path.len() > LONGEST_PATH {
            path[..=LONGEST_PATH].iter().rposition(is_slash)
        } else {
            None
        };
        match cut {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (path, &[]),
        }
    }

    fn step(&self, at: BorrowedFd<'_>, piece: &[u8], flags: OFlag) -> Result<OwnedFd, Error> {
        let opened = if self.openat2 {
            open_beneath(at, piece, flags, self.resolve())
        } else {
            self.open_part(at, piece, flags)
        };
        opened.map_err(Error::of("openat"))
    }

    /// Opens one part of a path. Unlike `openat2`, it enters a bind mount of the same file system.
    fn open_part(&self, at: BorrowedFd<'_>, part: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        if matches!(part, b"" | b"..") {
            return Err(Errno::EXDEV);
        }
        let fd = openat(at, part, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
        if self.entered.is_none() && fstat(&fd)?.st_dev != self.dev {
            return Err(Errno::EXDEV);
        }
        Ok(fd)
    }

    fn resolve(&self) -> ResolveFlag {
        let mut resolve = STRICT;
        resolve.set(ResolveFlag::RESOLVE_NO_XDEV, self.entered.is_none());
        resolve.set(ResolveFlag::RESOLVE_NO_SYMLINKS, !self.links);
        resolve
    }
}

/// File systems mounted in a tree, each held by its first directory that was opened.
#[derive(Debug, Default)]
pub(crate) struct Entered(Mutex<Vec<(u64, OwnedFd)>>);

impl Entered {
    fn note(&self, dir: &OwnedFd, root: u64) -> Result<(), Error> {
        let dev = Stat::of(dir)?.dev;
        if dev == root {
            return Ok(());
        }
        let mut held = self.held();
        if !held.iter().any(|(there, _)| *there == dev) {
            held.push((dev, dir.try_clone().map_err(Error::of_io("fcntl"))?));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        let held = self.held();
        held.iter()
            .try_for_each(|(_, dir)| syncfs(dir).map_err(Error::of("syncfs")))
    }

    fn held(&self) -> MutexGuard<'_, Vec<(u64, OwnedFd)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_beneath(
    at: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(resolve);
    for _ in 0..ATTEMPTS {
        match openat2(at, path, how) {
            // A rename somewhere, while a link with `..` was followed.
            Err(Errno::EAGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::EAGAIN)
}

/// How often a path is resolved that renames meanwhile made uncertain.
const ATTEMPTS: usize = 64;

/// The longest path one call takes (`PATH_MAX` of `<linux/limits.h>`, less its NUL).
const LONGEST_PATH: usize = 4095;

const STRICT: ResolveFlag = ResolveFlag::RESOLVE_BENEATH
    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
    .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
    .union(ResolveFlag::RESOLVE_NO_XDEV);

/// To read a directory's names.
const LIST: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// To go on from a directory that perhaps may not be read.
const PASS: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::trees::{mode, name, roots};
    use crate::{Keep, Removal, trees};

    fn both_ways(root: &Root) -> [Root; 2] {
        [root.clone(), root.clone().without_openat2()]
    }

    fn rel(path: &[u8]) -> RelPath {
        RelPath::new(path).unwrap()
    }

    #[test]
    fn entry_of_any_kind_is_brought_to_the_disk_and_none_is_an_error() {
        for (folder, root) in roots() {
            fs::write(folder.path().join("file"), "content").unwrap();
            symlink("nowhere", folder.path().join("link")).unwrap();
            nix::unistd::mkfifo(&folder.path().join("fifo"), Mode::S_IRWXU).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            for entry in [&b"file"[..], b"link", b"fifo"] {
                dir.sync_entry(&name(entry)).unwrap();
            }
            let error = dir.sync_entry(&name(b"nothing")).unwrap_err();
            assert!(error.is(Errno::ENOENT));
        }
    }

    #[test]
    fn path_through_a_symlink_is_refused_even_when_it_stays_inside() {
        for (folder, root) in roots() {
            fs::create_dir_all(folder.path().join("real/below")).unwrap();
            symlink("real", folder.path().join("inside")).unwrap();
            symlink("/", folder.path().join("outside")).unwrap();
            for root in both_ways(&root) {
                assert!(root.dir(&rel(b"real/below")).is_ok());
                for path in ["inside", "inside/below", "outside", "outside/etc"] {
                    assert!(root.dir(&rel(path.as_bytes())).is_err(), "{path}");
                }
                let top = root.dir(&RelPath::root()).unwrap();
                assert!(top.open_dir(&name("real")).is_ok());
                assert!(top.open_dir(&name("inside")).is_err());
            }
        }
    }

    #[test]
    fn path_longer_than_path_max_is_opened_in_pieces() {
        for (_folder, root) in roots() {
            let part = name([b'd'; 200]);
            let mut dir = root.dir(&RelPath::root()).unwrap();
            let mut path = RelPath::root();
            for _ in 0..200 {
                dir.make_dir(&part).unwrap();
                dir = dir.open_dir(&part).unwrap();
                path = path.join(&part);
            }
            dir.make_dir(&name("end")).unwrap();
            for root in both_ways(&root) {
                let deepest = root.dir(&path).unwrap();
                let names: Vec<_> = deepest.names().unwrap().map(|n| n.unwrap().name).collect();
                assert_eq!(names, [name("end")]);
            }
            let mut count = 0;
            let top = root.dir(&RelPath::root()).unwrap();
            let mut all = |_: &RelPath, _: &Stat| Removal::Remove;
            let mut counted = |_: &RelPath, _: &Stat| count += 1;
            top.remove_tree(&part, &mut all, &mut counted).unwrap();
            assert_eq!(count, 201);
        }
    }

    #[test]
    fn mount_point_is_not_entered() {
        let root = Root::open(Path::new("/")).unwrap();
        for root in both_ways(&root) {
            assert!(root.dir(&rel(b"proc")).unwrap_err().is_mount_point());
            let top = root.dir(&RelPath::root()).unwrap();
            assert!(top.open_dir(&name("proc")).unwrap_err().is_mount_point());
        }
    }

    #[test]
    fn mount_point_is_a_part_of_the_tree_where_that_is_wanted() {
        let root = Root::open(Path::new("/")).unwrap().with_mounts();
        for root in both_ways(&root) {
            assert!(root.dir(&rel(b"proc/self")).is_err(), "a link");
            assert!(root.dir(&rel(b"proc/sys")).is_ok());
            let top = root.dir(&RelPath::root()).unwrap();
            assert!(top.open_dir(&name("proc")).is_ok());
            root.dir(&rel(b"proc/sys/fs")).unwrap();
            let entered = root.top.descent.entered.as_ref().unwrap();
            let proc = fs::metadata("/proc").unwrap().dev();
            let held: Vec<u64> = entered.held().iter().map(|(dev, _)| *dev).collect();
            assert_eq!(held, [proc], "what is to be synced too");
        }
    }

    #[test]
    fn link_to_a_directory_is_a_way_where_that_is_wanted_and_never_out_of_the_root() {
        for (folder, root) in roots() {
            fs::create_dir_all(folder.path().join("in/real/below")).unwrap();
            fs::create_dir_all(folder.path().join("in/side")).unwrap();
            let absolute = folder.path().join("in/real");
            for (name, target) in [
                ("in/link", Path::new("real")),
                ("in/side/up", Path::new("../real")),
                ("in/out", Path::new("..")),
                ("in/side/far", Path::new("../../in/real")),
                ("in/absolute", &absolute),
            ] {
                symlink(target, folder.path().join(name)).unwrap();
            }
            drop(root);
            let root = Root::open(&folder.path().join("in")).unwrap().with_links();
            for path in ["link", "link/below", "side/up/below"] {
                assert!(root.dir(&rel(path.as_bytes())).is_ok(), "{path}");
            }
            for path in ["out", "out/in", "side/far", "absolute"] {
                let error = root.dir(&rel(path.as_bytes())).unwrap_err();
                assert!(error.is(Errno::EXDEV), "{path}: {error}");
            }
            let side = root.dir(&rel(b"side")).unwrap();
            assert!(side.open_dir(&name("up")).is_err(), "from a directory");
            fs::write(folder.path().join("in/file"), "").unwrap();
            symlink("file", folder.path().join("in/to-file")).unwrap();
            symlink("nowhere", folder.path().join("in/dangling")).unwrap();
            for (path, leads) in [("link", true), ("to-file", false), ("dangling", false)] {
                let behind = root.dir_behind_link(&rel(path.as_bytes())).unwrap();
                assert_eq!(behind.is_some(), leads, "{path}");
            }
            assert!(root.dir_behind_link(&rel(b"absolute")).is_err());
            let old = root.without_openat2();
            assert!(old.dir_behind_link(&rel(b"link")).is_err());
        }
    }

    /// Changes `a` between a directory and a link to `outside`, at uneven times, until stopped.
    fn flip(folder: &Path, outside: &Path, stop: &AtomicBool) {
        let (shown, hidden) = (folder.join("a"), folder.join("hidden"));
        let wait = |micros| std::thread::sleep(Duration::from_micros(micros));
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            wait(turn % 7 * 400);
            fs::rename(&shown, &hidden).unwrap();
            symlink(outside, &shown).unwrap();
            wait(turn % 5 * 50);
            fs::remove_file(&shown).unwrap();
            fs::rename(&hidden, &shown).unwrap();
            turn += 1;
        }
    }

    /// Writes, changes and deletes in `a`, as far as it is a directory at the moment.
    fn disturb(root: &Root) -> Result<(), Error> {
        let set = Keep::default();
        let dir = root.dir(&rel(b"a/b"))?;
        let staged = dir.stage(&name("file"))?;
        staged.write_at(b"inside", 0)?;
        let want = trees::meta_of(&dir.stat_self()?);
        staged.commit(&dir, &want, &set, false, false)?;
        let top = root.dir(&RelPath::root())?;
        let below = top.open_dir(&name("a"))?;
        if below.find(&name("c"))?.is_none() {
            below.make_dir(&name("c"))?;
        }
        below.remove_tree(&name("c"), &mut |_, _| Removal::Remove, &mut |_, _| ())?;
        let stat = top.stat(&name("a"))?;
        let mut want = trees::meta_of(&stat);
        want.mode = mode(if stat.mode.bits() == 0o711 {
            0o700
        } else {
            0o711
        });
        let kind = barge_types::Kind::Directory;
        let applied = top.apply(&name("a"), &stat, &want, &kind, &set, true);
        applied
            .failures
            .first()
            .map_or(Ok(()), |failure| Err(*failure))
    }

    /// Disturbs until both many rounds came through and many were refused: a race. `None` when
    /// time runs out before.
    fn race(root: &Root) -> Option<()> {
        let begun = Instant::now();
        let (mut through, mut refused) = (0, 0);
        while through < ROUNDS || refused < ROUNDS {
            match disturb(root) {
                Ok(()) => through += 1,
                Err(_) => refused += 1,
            }
            if begun.elapsed() > PATIENCE {
                return None;
            }
        }
        Some(())
    }

    const ROUNDS: usize = 300;
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn racing_symlink_never_leads_outside() {
        for (folder, root) in roots() {
            let outside = folder.path().join("outside");
            let inside = folder.path().join("inside");
            for path in ["outside/b", "outside/c", "inside/a/b", "inside/a/c"] {
                fs::create_dir_all(folder.path().join(path)).unwrap();
            }
            fs::write(outside.join("c/kept"), "kept").unwrap();
            let before = fs::metadata(&outside).unwrap();
            drop(root);
            let root = Root::open(&inside).unwrap();
            let stop = AtomicBool::new(false);
            let raced = std::thread::scope(|scope| {
                scope.spawn(|| flip(&inside, &outside, &stop));
                let raced = both_ways(&root).map(|root| race(&root));
                stop.store(true, Ordering::Relaxed);
                raced
            });
            assert_eq!(raced, [Some(()); 2], "no race in {PATIENCE:?}");
            let after = fs::metadata(&outside).unwrap();
            assert_eq!(before.permissions(), after.permissions());
            assert_eq!(before.modified().unwrap(), after.modified().unwrap());
            assert_eq!(fs::read_dir(outside.join("b")).unwrap().count(), 0);
            assert_eq!(fs::read_to_string(outside.join("c/kept")).unwrap(), "kept");
        }
    }
}
