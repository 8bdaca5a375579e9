//! Files that are not in their place: what an interrupted run left of one, and updates that wait
//! for the end of the run.
//!
//! Source: rsync(1), «--partial», «--partial-dir», «--delay-updates».

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use barge_fs::{Dir, Error};
use barge_rsync::wire::ndx::FileIndex;
use barge_types::{Mode, Name, RelPath};

use super::dirs::TargetDir;
use super::side::Side;

/// A file that waits in the directory of partial files until the end of the run.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) dir: Arc<TargetDir>,
    pub(super) name: Name,
    pub(super) index: FileIndex,
}

impl Side {
    /// The directory of partial files that belongs to one of the destination; `None` when none is
    /// wanted or it is not there. With `make` it is made, its last part only.
    pub(super) fn partial_dir(&self, dir: &Dir, make: bool) -> Result<Option<Dir>, Error> {
        let Some(named) = &self.options.partial_dir else {
            return Ok(None);
        };
        if named.as_bytes().starts_with(b"/") {
            return self.opened(self.target().beside(named)?.dir(&RelPath::root()));
        }
        let path = RelPath::new(named.as_bytes())?;
        let found = self.opened(dir.beneath(&path))?;
        if found.is_some() || !make {
            return Ok(found);
        }
        let Some((above, name)) = path.split_last() else {
            return Ok(None);
        };
        let above = dir.beneath(&above)?;
        match above.make_dir_with(&name, Mode::from_st_mode(0o700)) {
            Err(error) if !error.is_exists() => Err(error),
            _ => self.opened(above.open_dir(&name)),
        }
    }

    fn opened(&self, dir: Result<Dir, Error>) -> Result<Option<Dir>, Error> {
        match dir {
            Err(error) if error.is_not_found() => Ok(None),
            dir => dir.map(Some),
        }
    }

    /// Removes the directory of partial files that belongs to one of the destination, when it is
    /// empty, and not one for all.
    pub(super) fn leave_partial_dir(&self, dir: &Dir) {
        let Some(named) = &self.options.partial_dir else {
            return;
        };
        let path = RelPath::new(named.as_bytes()).ok();
        let parts = path.and_then(|path| path.split_last());
        if let Some((above, name)) = parts
            && let Ok(above) = dir.beneath(&above)
        {
            // While others are in it, it stays.
            let _ = above.remove_dir(&name);
        }
    }

    /// Puts a delayed update in its place.
    pub(super) fn update(&self, delayed: &Delayed) -> Result<(), Error> {
        let dir = self.root().dir(&delayed.dir.path)?;
        let partial = self.partial_dir(&dir, false)?;
        let partial = partial.ok_or(Error {
            op: "openat",
            errno: ENOENT,
        })?;
        if let Some(backup) = self.backup()
            && let Some(stat) = dir.find(&delayed.name)?
        {
            let path = Self::path_of(&delayed.dir, &delayed.name);
            backup.keep_too(&self.run, &dir, &path, &delayed.name, &stat)?;
        }
        partial.rename_into(&delayed.name, &dir, &delayed.name)?;
        delayed.dir.touch();
        self.leave_partial_dir(&dir);
        Ok(())
    }
}

const ENOENT: i32 = 2;
