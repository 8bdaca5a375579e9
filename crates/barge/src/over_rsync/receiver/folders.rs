//! Directories: made, dressed, and given their time when what is in them is done.

use barge_fs::{Dir, Error, Stat, StatKind};
use barge_rsync::wire::entry::{DirKind, FileEntry};
use barge_rsync::wire::iflags::ItemFlags;
use barge_types::{Class, Mode, Name, RelPath};

use super::attributes::Resolved;
use super::decide::Want;
use super::dirs::TargetDir;
use super::generator::{Ask, At, Generator};
use super::set::On;
use super::texts::Who;
use super::walk::{Found, Step};
use crate::over_rsync::{Failure, Level};

impl Generator {
    /// Makes a directory whose own turn comes with its list.
    pub(super) fn make_early(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
    ) -> Result<Step, Failure> {
        if stat.is_some_and(|stat| stat.kind == StatKind::Directory) || self.side.options.dry_run {
            return Ok(Step::Nothing);
        }
        if self.is_kept_link(at.entry, stat.as_ref()) {
            return Ok(Step::Nothing);
        }
        if let Some(stat) = stat
            && !self.make_way(at, name, &stat)?
        {
            self.skip_below(at.entry);
            return Ok(Step::Nothing);
        }
        if self.make_dir(at, name) {
            let path = at.entry.path.to_vec();
            if let Ok(target) = self.dirs.at(&path) {
                target.set_made_early();
                target.set_fresh(true);
            }
        }
        Ok(Step::Nothing)
    }

    fn make_dir(&mut self, at: &At<'_>, name: &Name) -> bool {
        let Some(dir) = self.dir() else {
            return true;
        };
        let mode = match self.side.options.perms {
            _ if self.only_leads(at.entry) => 0o777,
            true => 0o700,
            false => at.entry.mode & 0o777 | 0o700,
        };
        match dir.make_dir_with(name, Mode::from_st_mode(mode)) {
            Ok(()) => {
                self.target_dir().touch();
                true
            }
            Err(error) => {
                let doing = "recv_generator: mkdir";
                self.side.failed(Who::Generator, doing, at.entry, &error);
                self.skip_failed(at.entry);
                false
            }
        }
    }

    /// Whether a directory that leads to what was named is none of the transfer's:
    /// `--no-implied-dirs`.
    fn only_leads(&self, entry: &FileEntry) -> bool {
        let options = &self.side.options;
        options.relative && !options.implied_dirs && entry.dir_kind == DirKind::Implied
    }

    /// Whether a link that is there in place of such a directory is left alone.
    fn is_kept_link(&self, entry: &FileEntry, stat: Option<&Stat>) -> bool {
        self.only_leads(entry) && stat.is_some_and(|stat| stat.kind == StatKind::Symlink)
    }

    pub(super) fn skip_failed(&mut self, entry: &FileEntry) {
        self.skip_below(entry);
        let line = "*** Skipping any contents from this failed directory ***\n";
        self.side.run.say(Level::FileError, line);
    }

    /// Deals with a directory itself, before what is in it.
    pub(super) fn own_dir(&mut self, at: &At<'_>) -> Result<(), Failure> {
        let entry = at.entry;
        if entry.path.is_root() {
            return self.root_dir(at);
        }
        if self.is_skipped(entry) || !self.go_to(entry) {
            self.skip_below(entry);
            return Ok(());
        }
        let Ok(target) = self.dirs.at(&entry.path.to_vec()) else {
            return Ok(());
        };
        let made_early = target.take_made_early();
        let name = match self.side.name_of(entry) {
            Ok(name) => name,
            Err(error) => {
                self.cannot_look(entry, &error.into());
                self.skip_below(entry);
                return Ok(());
            }
        };
        if made_early {
            return self.enter_child(at, &name, true);
        }
        let Some((name, stat)) = self.look_up(at) else {
            self.skip_below(entry);
            return Ok(());
        };
        if self.is_left_alone(at, stat.as_ref()) {
            return Ok(());
        }
        if self.is_kept_link(entry, stat.as_ref()) {
            return Ok(());
        }
        let is_there = stat.is_some_and(|stat| stat.kind == StatKind::Directory);
        if is_there {
            return self.enter_child(at, &name, false);
        }
        if let Some(stat) = stat
            && !self.make_way(at, &name, &stat)?
        {
            self.skip_below(entry);
            return Ok(());
        }
        if self.side.options.dry_run {
            return self.enter(at, None, true);
        }
        if !self.make_dir(at, &name) {
            return Ok(());
        }
        target.set_fresh(true);
        self.enter_child(at, &name, true)
    }

    fn enter_child(&mut self, at: &At<'_>, name: &Name, new: bool) -> Result<(), Failure> {
        let dir = match self.dir().cloned() {
            Some(_) if self.side.options.keep_dirlinks => {
                let path = self.target_dir().path.join(name);
                self.side.root().dir(&path)
            }
            Some(dir) => dir
                .open_dir(name)
                .or_else(|error| self.open_up(&dir, name, &at.entry.path.to_vec(), error)),
            None => return self.enter(at, None, new),
        };
        match dir {
            Ok(dir) => self.enter(at, Some(dir), new),
            Err(error) => {
                self.cannot_look(at.entry, &error);
                self.skip_failed(at.entry);
                Ok(())
            }
        }
    }

    /// Opens a directory of another whose owner, who is an ordinary user, may not do so before he takes
    /// the right. `path` is its own in the lists, `error` what came of it without.
    pub(super) fn open_up(
        &mut self,
        above: &Dir,
        name: &Name,
        path: &[u8],
        error: Error,
    ) -> Result<Dir, Error> {
        if !self.takes_rights() || error.class() != Class::Denied {
            return Err(error);
        }
        let stat = above.stat(name)?;
        above.make_child_writable(name, &stat).map_err(|_| error)?;
        self.dirs.at(path)?.set_shut(stat.mode);
        above.open_dir(name)
    }

    /// Gives the owner of a directory, who is an ordinary user, the rights that he lacks in it. What
    /// cannot be had shows when something is changed there.
    pub(super) fn take_rights(&self, target: &TargetDir, dir: &Dir, stat: &Stat) {
        let lacks_any = stat.mode.bits() & 0o700 != 0o700;
        if lacks_any && self.takes_rights() && dir.make_writable(stat).is_ok() {
            target.set_shut(stat.mode);
        }
    }

    /// Whether directories in which their owner has not all rights get these for the time being.
    fn takes_rights(&self) -> bool {
        let attributes = &self.side.attributes;
        !attributes.is_root && !attributes.is_fake() && !self.side.options.dry_run
    }

    fn root_dir(&mut self, at: &At<'_>) -> Result<(), Failure> {
        let created = self.side.target().created;
        let dir = match &self.side.target().root {
            Some(root) => root.dir(&RelPath::root()).map(Some),
            None => Ok(None),
        };
        match dir {
            Ok(dir) => self.enter(at, dir, created),
            Err(error) => {
                self.cannot_look(at.entry, &error);
                Ok(())
            }
        }
    }

    /// Gives a directory its attributes and says what differs. `dir` is `None` when it would have
    /// been made in earnest.
    fn enter(&mut self, at: &At<'_>, dir: Option<Dir>, new: bool) -> Result<(), Failure> {
        if self.only_leads(at.entry) {
            return Ok(());
        }
        let Some(dir) = dir else {
            let flags = self.flags_of_new(at);
            let resolved = self.side.attributes.resolve(at.entry, None, &[]);
            return self.note(at, Ask::new(flags), &resolved);
        };
        match self.dress(at, &dir, new) {
            Ok((flags, resolved)) => {
                self.sweep_now(at, &dir)?;
                self.note(at, Ask::new(flags), &resolved)
            }
            Err(error) => {
                self.cannot_look(at.entry, &error);
                Ok(())
            }
        }
    }

    fn dress(&mut self, at: &At<'_>, dir: &Dir, new: bool) -> Result<(ItemFlags, Resolved), Error> {
        let attributes = &self.side.attributes;
        let mut stat = attributes.seen(On::Dir(dir), dir.stat_self()?)?;
        let target = self.dirs.at(&at.entry.path.to_vec())?;
        if !new {
            self.take_rights(&target, dir, &stat);
        }
        stat = target.seen_shut(stat);
        let new_flags = new.then(|| self.flags_of_new(at));
        let attributes = &self.side.attributes;
        let (flags, mut want, resolved) = match new_flags {
            Some(flags) => {
                let want = attributes.want(at.entry, None);
                (flags, want, attributes.resolve(at.entry, None, &[]))
            }
            None => {
                let xattrs = attributes.there(On::Dir(dir), &stat)?;
                self.differences(at, &Found { stat, xattrs }, ItemFlags::default())
            }
        };
        if new && !self.side.options.perms {
            // The umask, or a default ACL, and set-gid are in it already.
            want.mode = Some(Mode::from_st_mode(
                stat.mode.bits() & (at.entry.mode | 0o7000),
            ));
        }
        if !new {
            self.side.attributes.leave_time(&mut want, at.entry, &stat);
        }
        if !self.side.options.dry_run && flags != ItemFlags::default() {
            self.set_dir(at, dir, want, &resolved);
        }
        Ok((flags, resolved))
    }

    /// A directory that is made is new, or one that an alternate directory has.
    fn flags_of_new(&mut self, at: &At<'_>) -> ItemFlags {
        let found = if at.entry.path.is_root() {
            self.root_of_alternates(at)
        } else {
            let name = Name::new(at.entry.path.base()).ok();
            name.filter(|_| self.here_is_above(at))
                .and_then(|name| self.alternate(at, &name, None))
                .map(|alternate| alternate.found)
        };
        match found {
            Some(found) => self.differences(at, &found, ItemFlags::LOCAL).0,
            None => {
                let resolved = self.side.attributes.resolve(at.entry, None, &[]);
                ItemFlags::NEW | ItemFlags::LOCAL | resolved.flags
            }
        }
    }

    fn set_dir(&mut self, at: &At<'_>, dir: &Dir, mut want: Want, resolved: &Resolved) {
        let attributes = &self.side.attributes;
        let full = want
            .mode
            .map(|mode| Mode::from_st_mode(mode.bits() | 0o700));
        if full != want.mode && !attributes.is_root && !attributes.is_fake() {
            // Until what is in it is done.
            want.mode = full;
            if let Ok(target) = self.dirs.at(&at.entry.path.to_vec()) {
                target.touch();
            }
        }
        let attributes = &self.side.attributes;
        let is_all = resolved.missing.is_empty();
        let set = attributes.set(On::Dir(dir), at.entry, &want, &resolved.xattrs, is_all);
        let failures = set.map_or_else(|error| vec![error], |(_, failures)| failures);
        self.side.not_set(Who::Generator, at.entry, &failures);
    }

    /// Gives a directory its time and mode, after what is in it was changed.
    pub(super) fn finish_dir(&mut self, entry: &FileEntry) {
        let path = entry.path.to_vec();
        let target = self.dirs.take(&path);
        self.missing.remove(&path);
        if self.only_leads(entry) {
            return;
        }
        let touched = target.filter(|target| target.is_touched());
        let Some(target) = touched.filter(|_| !self.side.options.dry_run) else {
            return;
        };
        let finished = self.side.root().dir(&target.path).and_then(|dir| {
            let attributes = &self.side.attributes;
            let stat = attributes.seen(On::Dir(&dir), dir.stat_self()?)?;
            let stat = target.seen_shut(stat);
            let mut want = attributes.want(entry, Some(&stat));
            (want.uid, want.gid) = (None, None);
            Ok(attributes.set(On::Dir(&dir), entry, &want, &[], false)?.1)
        });
        let failures = finished.unwrap_or_else(|error| vec![error]);
        self.side.not_set(Who::Generator, entry, &failures);
    }
}
