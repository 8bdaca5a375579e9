//! Reads and changes trees beneath one root: the only crate that opens a volume's files.
//!
//! A [`Root`] is an open directory; every path is resolved beneath it, through no symbolic link
//! and across no mount point, whoever races us. What it gives out is a [`Dir`], whose every
//! operation takes the single [`Name`](barge_types::Name) of an entry in it. A [`SourceFile`] is
//! read at offsets; a [`Staged`] file is written beside its target and takes its place by rename.
//!
//! All calls block. All handles may be shared between threads.

mod accounts;
mod create;
mod delete;
mod dir;
mod disk;
mod error;
mod ground;
mod identity;
mod memory;
mod metadata;
mod names;
mod place;
mod read;
mod root;
mod run_lock;
mod staging;
mod stat;
mod xattr;

pub use accounts::{group_id, group_name, user_id, user_name};
pub use delete::Removal;
pub use dir::Dir;
pub use disk::Disk;
pub use error::Error;
pub use ground::{Ground, Held};
pub use identity::Identity;
pub use memory::memory_limit;
pub use metadata::{Applied, Wanted, allowed_mode};
pub use names::{Listed, Names};
pub use place::dedicate_thread;
pub use read::SourceFile;
pub use root::Root;
pub use run_lock::{BeginError, RunLock};
pub use staging::{RUN_MARKER, Staged, is_own_temporary, temporary_name, unique_name};
pub use stat::{LinkKey, Stat, StatKind};
pub use xattr::Keep;

#[cfg(test)]
mod trees {
    //! Roots to test in: one on a disk, one in memory.

    use std::path::Path;

    use barge_types::{Meta, Mode, Name};
    use tempfile::TempDir;

    use crate::{Root, Stat};

    pub(crate) fn name(bytes: impl AsRef<[u8]>) -> Name {
        Name::new(bytes.as_ref()).unwrap()
    }

    /// An empty folder and its root, on each file system we test on.
    pub(crate) fn roots() -> Vec<(TempDir, Root)> {
        let disk = Some(tempfile::tempdir().unwrap());
        let memory = Path::new("/dev/shm");
        let memory = memory
            .is_dir()
            .then(|| tempfile::tempdir_in(memory).unwrap());
        let open = |folder: TempDir| {
            let root = Root::open(folder.path()).unwrap();
            (folder, root)
        };
        disk.into_iter().chain(memory).map(open).collect()
    }

    /// The roots whose file system holds `user.*`, as tmpfs does only since Linux 6.6.
    pub(crate) fn roots_with_attributes() -> Vec<(TempDir, Root)> {
        let mut roots = roots();
        roots.retain(|(folder, _)| {
            let holds = xattr::set(folder, "user.probe", b"").is_ok();
            if !holds {
                println!("skipped, holds no user.*: {}", folder.path().display());
            }
            holds && xattr::remove(folder, "user.probe").is_ok()
        });
        roots
    }

    /// What an entry has, and no attributes.
    pub(crate) fn meta_of(stat: &Stat) -> Meta {
        Meta {
            mode: stat.mode,
            owner: stat.owner,
            mtime: stat.mtime,
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn mode(bits: u32) -> Mode {
        Mode::new(bits).unwrap()
    }

    /// Whether the test runs as root; says what is skipped when it does not.
    pub(crate) fn is_root(skipped: &str) -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            println!("skipped, needs root: {skipped}");
        }
        root
    }
}
