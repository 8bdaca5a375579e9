//! Directories of the destination, as its two threads share them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use barge_fs::{Dir, Error, Root, Stat};
use barge_types::{Mode, NameError, RelPath};

/// A directory that entries go to.
#[derive(Debug)]
pub(super) struct TargetDir {
    /// Below the root of the transfer.
    pub(super) path: RelPath,
    /// It is to get its time and mode when what is in it is done.
    due: AtomicBool,
    /// It was made before its own turn came.
    made_early: AtomicBool,
    /// Made by this run: nothing is in it but what the lists have put there.
    fresh: AtomicBool,
    /// The mode it had before its owner took all rights in it, for as long as entries are made there.
    shut: OnceLock<Mode>,
}

impl TargetDir {
    /// Names in it changed, and its time with them; or it has a mode for the time being.
    pub(super) fn touch(&self) {
        self.due.store(true, Ordering::Relaxed);
    }

    /// Whether its time and mode have to be set when it is done.
    pub(super) fn is_touched(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }

    /// Whether names in it need not be looked up: each is in the lists once.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    pub(super) fn set_fresh(&self, fresh: bool) {
        self.fresh.store(fresh, Ordering::Relaxed);
    }

    /// Its owner has all rights in it for the time being; `before` is the mode it had.
    pub(super) fn set_shut(&self, before: Mode) {
        // Of two modes the first was its own.
        let _ = self.shut.set(before);
        self.touch();
    }

    /// What it looks like when all is done: as it is, with the mode it had.
    pub(super) fn seen_shut(&self, stat: Stat) -> Stat {
        let mode = self.shut.get().copied().unwrap_or(stat.mode);
        Stat { mode, ..stat }
    }

    pub(super) fn set_made_early(&self) {
        self.made_early.store(true, Ordering::Relaxed);
    }

    /// Whether it was made before its own turn; told once.
    pub(super) fn take_made_early(&self) -> bool {
        self.made_early.swap(false, Ordering::Relaxed)
    }
}

/// The directories that are not done, by their paths in the lists; `.` is the root.
#[derive(Debug, Default)]
pub(super) struct TargetDirs(HashMap<Box<[u8]>, Arc<TargetDir>>);

impl TargetDirs {
    /// The directory at a path.
    pub(super) fn at(&mut self, path: &[u8]) -> Result<Arc<TargetDir>, NameError> {
        if let Some(dir) = self.0.get(path) {
            return Ok(Arc::clone(dir));
        }
        let below = match path {
            b"." => RelPath::root(),
            path => RelPath::new(path.strip_prefix(b"/").unwrap_or(path))?,
        };
        let dir = Arc::new(TargetDir {
            path: below,
            due: AtomicBool::new(false),
            made_early: AtomicBool::new(false),
            fresh: AtomicBool::new(false),
            shut: OnceLock::new(),
        });
        self.0.insert(path.into(), Arc::clone(&dir));
        Ok(dir)
    }

    /// Takes out a directory that is done.
    pub(super) fn take(&mut self, path: &[u8]) -> Option<Arc<TargetDir>> {
        self.0.remove(path)
    }
}

/// A thread's open directory: entries of one directory follow each other.
#[derive(Debug, Default)]
pub(super) struct OpenDir(Option<(Arc<TargetDir>, Dir)>);

impl OpenDir {
    /// Opens a directory, unless it is the one that is open.
    pub(super) fn get(&mut self, root: &Root, target: &Arc<TargetDir>) -> Result<Dir, Error> {
        if let Some((open, dir)) = &self.0
            && Arc::ptr_eq(open, target)
        {
            return Ok(dir.clone());
        }
        self.0 = None;
        let dir = root.dir(&target.path)?;
        self.0 = Some((Arc::clone(target), dir.clone()));
        Ok(dir)
    }
}
