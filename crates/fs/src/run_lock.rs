//! Lets one run at a time write beneath a root, and tells whether the last one was killed.

use std::fs::File;
use std::os::fd::AsFd;

use barge_types::{Name, RelPath};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rustix::fs::{FlockOperation, flock};

use crate::metadata::Inode;
use crate::{Dir, Error, RUN_MARKER, Root, Stat, StatKind};

/// A run that writes beneath a root: the file [`RUN_MARKER`] in it, locked.
///
/// Dropped without [`RunLock::finish`], the lock goes and the marker stays: a run was killed.
#[derive(Debug)]
pub struct RunLock {
    dir: Dir,
    name: Name,
    /// Holds the lock, as long as it is open (`flock(2)`).
    file: File,
    was_unclean: bool,
}

/// Why a run cannot begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BeginError {
    /// Another run holds the lock.
    #[error("another run is writing there")]
    Busy,
    /// The marker cannot be made or locked.
    #[error("the run cannot be marked in the root")]
    Failed(#[from] Error),
}

impl Root {
    /// Marks and locks the root as being written, until the returned lock goes. The root's time stays as
    /// it was, where this process may set it.
    ///
    /// On a file system that has no locks, only marks it.
    ///
    /// # Errors
    ///
    /// [`BeginError::Busy`] while another run has the lock, of this process too. Calls fail as
    /// they do for any file; `ESTALE` when the marker's name is no regular file's.
    pub fn begin_run(&self) -> Result<RunLock, BeginError> {
        let dir = self.dir(&RelPath::root())?;
        let name = Name::new(RUN_MARKER.as_bytes()).expect("a short word");
        for _ in 0..ATTEMPTS {
            let Some((file, was_unclean)) = keeping_time(&dir, || mark(&dir, &name))? else {
                continue;
            };
            lock(&file)?;
            if has_name(&file, &dir, &name)? {
                return Ok(RunLock {
                    dir,
                    name,
                    file,
                    was_unclean,
                });
            }
        }
        Err(BeginError::Busy)
    }
}

impl RunLock {
    /// Whether the marker was there already: a run was killed here, and may have left files.
    pub fn was_unclean(&self) -> bool {
        self.was_unclean
    }

    /// Removes the marker, then lets the lock go. The root's time stays as it was, where this process may
    /// set it.
    ///
    /// # Errors
    ///
    /// `unlinkat`, or the look that comes before it.
    pub fn finish(self) -> Result<(), Error> {
        // Where there are no locks, another run may have put its own there.
        if has_name(&self.file, &self.dir, &self.name)? {
            keeping_time(&self.dir, || self.dir.unlink(&self.name))?;
        }
        Ok(())
    }
}

/// Changes the names in a directory, and not its time.
fn keeping_time<T>(dir: &Dir, change: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let before = dir.stat_self()?;
    let changed = change()?;
    // For who may not, no run keeps it either.
    let _ = Inode::open(dir.as_fd()).set_times(None, Some(before.mtime));
    Ok(changed)
}

/// Opens the marker, and says whether it was there before; `None` when it has just gone.
fn mark(dir: &Dir, name: &Name) -> Result<Option<(File, bool)>, Error> {
    let open = |flags| openat(dir, name.as_bytes(), OPEN | flags, OWN);
    match open(OFlag::O_CREAT | OFlag::O_EXCL) {
        Ok(fd) => return Ok(Some((fd.into(), false))),
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Error::new("openat O_CREAT", errno)),
    }
    match open(OFlag::empty()) {
        Ok(fd) if Stat::of(&fd)?.kind == StatKind::File => Ok(Some((fd.into(), true))),
        Ok(_) => Err(Error::new("openat O_RDWR", Errno::ESTALE)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::new("openat O_RDWR", errno)),
    }
}

fn lock(file: &File) -> Result<(), BeginError> {
    use rustix::io::Errno;
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        // File systems and sandboxes without locks.
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(BeginError::Busy),
        Err(errno) => Err(Error {
            op: "flock",
            errno: errno.raw_os_error(),
        }
        .into()),
    }
}

/// Whether what is open still has the name: a run that ended in between took the marker away.
fn has_name(file: &File, dir: &Dir, name: &Name) -> Result<bool, Error> {
    let held = Stat::of(file)?;
    let found = dir.find(name)?;
    Ok(found.is_some_and(|found| found.is_same_inode(&held)))
}

/// How many runs may end, each between two calls of ours.
const ATTEMPTS: usize = 16;

/// Closed to others.
const OWN: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Writable, because NFS locks no other files exclusively (`flock(2)`).
const OPEN: OFlag = OFlag::O_RDWR
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    use barge_types::Kind;

    use super::*;
    use crate::trees::{name, roots};

    #[test]
    fn second_run_is_refused_until_the_first_has_finished() {
        for (folder, root) in roots() {
            let run = root.begin_run().unwrap();
            assert!(!run.was_unclean());
            assert_eq!(root.begin_run().unwrap_err(), BeginError::Busy);
            run.finish().unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
            let next = root.begin_run().unwrap();
            assert!(!next.was_unclean());
        }
    }

    #[test]
    fn time_of_the_root_stays() {
        for (folder, root) in roots() {
            let time = || fs::metadata(folder.path()).unwrap().modified().unwrap();
            let before = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890);
            fs::File::open(folder.path())
                .unwrap()
                .set_modified(before)
                .unwrap();
            let run = root.begin_run().unwrap();
            assert_eq!(time(), before);
            run.finish().unwrap();
            assert_eq!(time(), before);
        }
    }

    #[test]
    fn run_after_a_killed_one_is_told_so() {
        for (folder, root) in roots() {
            drop(root.begin_run().unwrap());
            assert!(folder.path().join(RUN_MARKER).exists());
            let next = root.begin_run().unwrap();
            assert!(next.was_unclean());
            next.finish().unwrap();
            assert!(!root.begin_run().unwrap().was_unclean());
        }
    }

    #[test]
    fn marker_of_another_run_is_not_removed() {
        for (folder, root) in roots() {
            let run = root.begin_run().unwrap();
            fs::remove_file(folder.path().join(RUN_MARKER)).unwrap();
            let other = root.begin_run().unwrap();
            run.finish().unwrap();
            assert!(folder.path().join(RUN_MARKER).exists());
            other.finish().unwrap();
        }
    }

    #[test]
    fn marker_that_is_no_file_is_refused_at_once() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let marker = name(RUN_MARKER);
            dir.make_symlink(&marker, b"/etc/passwd").unwrap();
            let refused = |errno| BeginError::Failed(Error::new("openat O_RDWR", errno));
            assert_eq!(root.begin_run().unwrap_err(), refused(Errno::ELOOP));
            dir.unlink(&marker).unwrap();
            dir.make_node(&marker, &Kind::Fifo).unwrap();
            assert_eq!(root.begin_run().unwrap_err(), refused(Errno::ESTALE));
            dir.unlink(&marker).unwrap();
            dir.make_dir(&marker).unwrap();
            assert_eq!(root.begin_run().unwrap_err(), refused(Errno::EISDIR));
        }
    }

    #[test]
    fn runs_that_begin_and_end_together_never_overlap() {
        for (_folder, root) in roots() {
            let (inside, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let begin_and_end = || {
                for _ in 0..500 {
                    let Ok(run) = root.begin_run() else {
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    runs.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    run.finish().unwrap();
                }
            };
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(begin_and_end);
                }
            });
            assert!(runs.load(Ordering::SeqCst) > 0);
        }
    }
}
