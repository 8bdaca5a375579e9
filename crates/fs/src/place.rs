//! A working directory of a thread's own, where a name needs no path through `/proc`.
//!
//! There are no `*at` calls for attributes before Linux 6.13. The path of a directory's handle in
//! `/proc` does for them, at twice the cost of the call itself.

use std::cell::RefCell;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::fchdir;

use crate::Dir;

/// Lets the calling thread have a working directory of its own, which calls of this crate change.
///
/// For threads that do nothing but work on volumes. Where a seccomp profile refuses it
/// (`unshare(2)`, `CLONE_FS`) everything works as well, attributes a little slower.
pub fn dedicate_thread() {
    let place = if unshare(CloneFlags::CLONE_FS).is_ok() {
        Place::Anywhere
    } else {
        Place::Shared
    };
    PLACE.set(place);
}

/// Makes `dir` the thread's working directory; false when that is not its own.
pub(crate) fn enter(dir: &Dir) -> bool {
    PLACE.with_borrow_mut(|place| match place {
        Place::Shared => false,
        Place::In(here) if here.is_same_handle(dir) => true,
        Place::Anywhere | Place::In(_) => {
            let entered = fchdir(dir).is_ok();
            // The handle is held, so that no other directory can get its place in memory.
            *place = if entered {
                Place::In(dir.clone())
            } else {
                Place::Anywhere
            };
            entered
        }
    })
}

enum Place {
    /// The working directory is the process's.
    Shared,
    /// It is the thread's own.
    Anywhere,
    In(Dir),
}

thread_local! {
    static PLACE: RefCell<Place> = const { RefCell::new(Place::Shared) };
}

#[cfg(test)]
mod tests {
    use barge_types::{Name, RelPath};

    use super::*;
    use crate::{Keep, Root};

    #[test]
    fn dedicated_thread_reads_attributes_of_the_directory_it_is_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        for dir in ["a", "b"] {
            std::fs::create_dir(temp.path().join(dir)).unwrap();
            std::fs::write(temp.path().join(dir).join("file"), dir).unwrap();
            let value = dir.as_bytes();
            if xattr::set(temp.path().join(dir).join("file"), "user.in", value).is_err() {
                return eprintln!("skipped: no attributes here");
            }
        }
        let before = std::env::current_dir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let work = move || {
            dedicate_thread();
            let name = Name::new(b"file").unwrap();
            for dir in ["a", "b", "a"] {
                let open = root.dir(&RelPath::new(dir.as_bytes()).unwrap()).unwrap();
                let stat = open.stat(&name).unwrap();
                let xattrs = open.xattrs(&name, &stat, &Keep::default()).unwrap();
                assert_eq!(&*xattrs[0].value, dir.as_bytes());
            }
        };
        std::thread::spawn(work).join().unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
