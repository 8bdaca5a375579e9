//! The end of directories, and of the run: deletions, leftovers, times, and then it is durable.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use barge_fs::{Dir, RUN_MARKER, Removal, RunLock, Stat, StatKind, is_own_temporary};
use barge_native::{AbortCode, Control};
use barge_types::{Changes, Meta, Name, Outcome, RelPath};

use super::dirs::{ReadyDir, Stage, TargetDir, name_hash};
use super::file::{Basis, Work};
use super::{Leftovers, Receiver};
use crate::error::Error;

impl Receiver {
    /// Everything in `dir` is through: what the source does not have goes, and the directory gets
    /// its own attributes, which no later work in it will touch.
    pub(super) fn finish_dir(self: &Arc<Self>, dir: &Arc<TargetDir>) {
        self.streams[0].await_word();
        if self.is_over() {
            return;
        }
        let outcome = match dir.stage() {
            Stage::Unmade => unreachable!("a directory's parent is worked on before it is through"),
            Stage::Failed(failure) => Some(Outcome::Failed(failure)),
            Stage::Pretended => Some(Outcome::Created),
            Stage::Ready { fresh } => match self.finish_ready(dir, fresh) {
                Ok(outcome) => outcome,
                Err(error) => Some(self.failure(error)),
            },
        };
        if let Some(outcome) = outcome {
            self.notice(&dir.path, &outcome, "directory");
        }
        if let Some(parent) = &dir.parent {
            self.part_finished(parent);
        }
        self.state().dirs -= 1;
        self.let_reopened_go_on();
        self.finish_if_through();
    }

    /// Returns the outcome, but of a directory that was opened again, which had one, and of the
    /// root, which gets its own when the run is through.
    fn finish_ready(
        &self,
        dir: &TargetDir,
        fresh: bool,
    ) -> Result<Option<Outcome>, barge_fs::Error> {
        let ready = dir.open(&self.root)?;
        let Some(meta) = &dir.meta else {
            self.put_back_time(&ready)?;
            return Ok(None);
        };
        let cleared = self.clear_extraneous(dir, &ready, fresh);
        if dir.path.is_root() {
            return cleared.map(|()| None);
        }
        let outcome = self.finish_metadata(&ready, meta, fresh)?;
        cleared.map(|()| Some(outcome))
    }

    fn clear_extraneous(
        &self,
        dir: &TargetDir,
        ready: &ReadyDir,
        fresh: bool,
    ) -> Result<(), barge_fs::Error> {
        if self.order.delete && dir.is_clean() && !fresh {
            self.delete_extraneous(dir, ready)?;
        }
        if self.order.dry_run || fresh {
            return Ok(());
        }
        if self.unclean {
            // Nothing may have been looked for in it.
            dir.existing(ready, self.seed.get())?;
        }
        self.remove_leftovers(dir, ready)
    }

    fn finish_metadata(
        &self,
        ready: &ReadyDir,
        meta: &Meta,
        fresh: bool,
    ) -> Result<Outcome, barge_fs::Error> {
        let stat = ready.dir.stat_self()?;
        let changes = self.directory_changes(ready, meta)?;
        let outcome = match (fresh, changes.is_empty()) {
            (true, _) => Outcome::Created,
            (false, true) => Outcome::Unchanged,
            (false, false) => Outcome::Metadata(changes),
        };
        if self.order.dry_run {
            return Ok(outcome);
        }
        let applied = ready.dir.apply_self(&stat, meta, &self.keep);
        Ok(match applied.failures.first() {
            Some(error) => self.failure(*error),
            None => outcome,
        })
    }

    /// What differs of a directory, its time as it was before anything was made in it.
    fn directory_changes(&self, ready: &ReadyDir, meta: &Meta) -> Result<Changes, barge_fs::Error> {
        let before = &ready.before;
        let (mode, mtime) = (before.mode, before.mtime);
        let had = Stat {
            mode,
            mtime,
            ..ready.dir.stat_self()?
        };
        let have = match &before.xattrs {
            Some(xattrs) => xattrs.clone(),
            None => ready.dir.xattrs_self(&self.keep)?,
        };
        let kind = barge_types::Kind::Directory;
        Ok(crate::plan::differences(
            &kind,
            meta,
            &had,
            &have,
            self.keep.owner,
        ))
    }

    /// A directory in which entries were listed again gets the mode and time back that it had.
    fn put_back_time(&self, ready: &ReadyDir) -> Result<(), barge_fs::Error> {
        if self.order.dry_run {
            return Ok(());
        }
        let stat = ready.dir.stat_self()?;
        let had = Meta {
            mode: ready.before.mode,
            owner: stat.owner,
            mtime: ready.before.mtime,
            xattrs: Vec::new(),
        };
        let nothing = barge_fs::Keep {
            owner: false,
            xattrs: false,
            acls: false,
            selinux: false,
        };
        match ready.dir.apply_self(&stat, &had, &nothing).failures.first() {
            Some(error) => Err(*error),
            None => Ok(()),
        }
    }

    fn delete_extraneous(&self, dir: &TargetDir, ready: &ReadyDir) -> Result<(), barge_fs::Error> {
        for listed in ready.dir.names()? {
            let name = listed?.name;
            if self.is_over() {
                break;
            }
            if dir.has_seen(name_hash(&name, self.seed.get())) || is_own_temporary(&name) {
                continue;
            }
            if dir.path.is_root() && name.as_bytes() == b"lost+found" {
                continue;
            }
            self.delete(&dir.path, &ready.dir, &name);
        }
        Ok(())
    }

    /// Deletes one name and what is beneath it, as far as no rule keeps it.
    fn delete(&self, path: &RelPath, dir: &Dir, name: &Name) {
        let path = path.join(name);
        let deleted = if self.order.dry_run {
            self.would_delete(&path, dir, name)
        } else {
            self.remove_tree(dir, &path, name)
        };
        match deleted {
            Ok(true) => {}
            Ok(false) => {
                self.undeleted.fetch_add(1, Ordering::Relaxed);
            }
            // Somebody else was faster.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let outcome = self.failure(error);
                self.notice(&path, &outcome, "");
            }
        }
    }

    fn would_delete(
        &self,
        path: &RelPath,
        dir: &Dir,
        name: &Name,
    ) -> Result<bool, barge_fs::Error> {
        let is_dir = dir.stat(name)?.kind == StatKind::Directory;
        if self.is_excluded(path, is_dir) {
            return Ok(true);
        }
        if !self.may_delete() {
            return Ok(false);
        }
        self.deletion(path);
        Ok(true)
    }

    /// Removes a tree, but what is excluded from the run and what holds it. Returns false when
    /// `--max-delete` stopped it.
    pub(super) fn remove_tree(
        &self,
        dir: &Dir,
        path: &RelPath,
        name: &Name,
    ) -> Result<bool, barge_fs::Error> {
        // With a limit one tree at a time, so that no two count the same last deletion.
        let _turn = self.order.max_delete.map(|_| self.deleting.lock());
        let mut stopped = false;
        let mut decide = |below: &RelPath, stat: &Stat| {
            let is_dir = stat.kind == StatKind::Directory;
            if self.is_excluded(&path.join_path(below), is_dir) {
                return Removal::Keep;
            }
            if self.may_delete() && !self.is_over() {
                return Removal::Remove;
            }
            stopped = true;
            Removal::Stop
        };
        let mut removed = |below: &RelPath, _: &Stat| self.deletion(&path.join_path(below));
        dir.remove_tree(name, &mut decide, &mut removed)?;
        Ok(!stopped)
    }

    fn is_excluded(&self, path: &RelPath, is_dir: bool) -> bool {
        match path.split_last() {
            Some((dir, name)) => self.filter.excludes(&dir, &name, is_dir),
            None => false,
        }
    }

    fn may_delete(&self) -> bool {
        self.order
            .max_delete
            .is_none_or(|max| self.deleted.load(Ordering::Relaxed) < max)
    }

    fn deletion(&self, path: &RelPath) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
        self.streams[0].await_word();
        self.notice(path, &Outcome::Deleted, "");
    }

    /// Removes temporary files of a run that was killed.
    fn remove_leftovers(&self, dir: &TargetDir, ready: &ReadyDir) -> Result<(), barge_fs::Error> {
        for name in dir.leftovers() {
            if name.as_bytes() == RUN_MARKER.as_bytes() {
                continue;
            }
            match ready.dir.unlink(name) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// When the list has ended and all directories are through, makes all durable.
    pub(super) fn finish_if_through(self: &Arc<Self>) {
        let through = {
            let mut state = self.state();
            let through = state.sender_tally.is_some() && state.dirs == 0;
            through && !std::mem::replace(&mut state.finishing, true)
        };
        if through {
            let receiver = Arc::clone(self);
            self.pool.run(move || receiver.finish_run());
        }
    }

    fn finish_run(self: &Arc<Self>) {
        if self.is_over() {
            return;
        }
        if let Err(error) = self.make_durable() {
            let (code, error) = if error.is_fatal() {
                (AbortCode::TargetFull, Error::TargetFull(error.to_string()))
            } else {
                (AbortCode::TargetFull, Error::NotDurable(error))
            };
            return self.abort(code, error);
        }
        let tally = {
            let mut state = self.state();
            state.finished = true;
            state.tally
        };
        let undeleted = self.undeleted.load(Ordering::Relaxed);
        self.streams[0].send_control(&Control::Finished { tally, undeleted });
    }

    /// The marker goes, the root gets its own attributes, and everything goes to storage.
    fn make_durable(&self) -> Result<(), barge_fs::Error> {
        if let Some(lock) = self.take_lock() {
            lock.finish()?;
        }
        let meta = self.state().root_meta.take();
        if let Some(meta) = meta {
            let dir = self.root.dir(&RelPath::root())?;
            let ready = ReadyDir {
                dir,
                inherits_acl: false,
                before: self.root_before.clone(),
            };
            let outcome = self.finish_metadata(&ready, &meta, false)?;
            self.notice(&RelPath::root(), &outcome, "directory");
        }
        if self.order.dry_run {
            Ok(())
        } else {
            self.root.sync()
        }
    }

    fn take_lock(&self) -> Option<RunLock> {
        self.lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Lets go what is under way, and of its temporary files what no successor is to find.
    pub(super) fn clear(&self, leftovers: Leftovers) {
        let segments: Vec<_> = self
            .state()
            .segments
            .drain()
            .map(|(_, segment)| segment)
            .collect();
        for file in segments.iter().flat_map(|segment| segment.take_files()) {
            match (leftovers, file.take_work()) {
                (Leftovers::Keep, Work::Writing(writing)) => writing.staged.keep(),
                (Leftovers::Keep, Work::Waiting(Basis::InPlace(staged))) => staged.keep(),
                _ => {}
            }
        }
        if let (Leftovers::Remove, Some(lock), false) = (leftovers, self.take_lock(), self.unclean)
        {
            // A marker that stays makes the next run look for leftovers in vain; no more.
            let _ = lock.finish();
        }
    }
}
