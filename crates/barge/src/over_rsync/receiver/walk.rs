//! One entry of a list: where it goes, whether it is dealt with at all, and what is there.

use std::collections::HashSet;
use std::sync::Arc;

use barge_fs::{Dir, Error, Stat, StatKind};
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::iflags::ItemFlags;
use barge_rsync::wire::list::List;
use barge_types::{Name, Xattr};

use super::attributes::Resolved;
use super::decide::{self, Want};
use super::dirs::TargetDir;
use super::generator::{Ask, At, Generator};
use super::set::On;
use super::texts::{self, Who};
use crate::over_rsync::{Failure, Level};

/// The directory whose entries are looked at.
pub(super) struct Here {
    /// As the list has it; `None` at the top.
    path: Option<Arc<[u8]>>,
    target: Arc<TargetDir>,
    /// `None` when it is not there, which only a dry run goes on with.
    dir: Option<Dir>,
}

/// How far an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It is as it is to be.
    There,
    /// Its content is on its way, or it waits for another.
    Underway,
    /// Nothing was done, or could be.
    Nothing,
}

/// An entry that is there.
pub(super) struct Found {
    pub(super) stat: Stat,
    pub(super) xattrs: Vec<Xattr>,
}

impl Generator {
    /// Deals with an entry of a list.
    pub(super) fn entry(&mut self, at: &At<'_>) -> Result<(), Failure> {
        self.come_to(at)?;
        // Whoever was passed over for it has nobody else to wait for when it was left alone.
        match self.group(at) {
            Some(group) if self.links.is_orphaned(group, at.index) => self.lose(group),
            _ => Ok(()),
        }
    }

    fn come_to(&mut self, at: &At<'_>) -> Result<(), Failure> {
        let entry = at.entry;
        let incremental = self.side.run.setup.is_incremental();
        if entry.path.is_root() {
            return match incremental {
                true => Ok(()),
                false => self.own_dir(at),
            };
        }
        if self.is_pruned(entry) {
            return Ok(());
        }
        if !self.go_to(entry) {
            self.skip_below(entry);
            return Ok(());
        }
        if self.refuses(entry) {
            return Ok(());
        }
        if entry.is_dir() && !incremental {
            return self.own_dir(at);
        }
        let Some((name, stat)) = self.look_up(at) else {
            self.skip_below(entry);
            return Ok(());
        };
        if self.is_left_alone(at, stat.as_ref()) {
            return Ok(());
        }
        if let Some(step) = self.member(at, &name, stat.as_ref())? {
            return self.ended(at, step, false);
        }
        let step = self.deal_with(at, &name, stat)?;
        self.ended(at, step, true)
    }

    /// Deals with an entry by its kind.
    pub(super) fn deal_with(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
    ) -> Result<Step, Failure> {
        match decide::kind(at.entry) {
            Some(StatKind::Directory) => self.make_early(at, name, stat),
            Some(StatKind::File) => self.file(at, name, stat),
            Some(StatKind::Symlink) => self.symlink(at, name, stat),
            Some(_) => self.node(at, name, stat),
            None => self.remove_missing(at, name, stat),
        }
    }

    /// An entry was dealt with, or is underway. One that led a group of hard links decides about the
    /// others.
    pub(super) fn ended(&mut self, at: &At<'_>, step: Step, led: bool) -> Result<(), Failure> {
        if step == Step::Underway {
            return Ok(());
        }
        let there = step == Step::There;
        // The receiving thread tells of one whose attributes are still to come.
        if there && self.lacks_values != Some(at.index) {
            self.side.may_go(at.index, at.entry);
        }
        match self.group(at).filter(|_| led) {
            Some(group) => self.lead_or_lose(at, group, there),
            None => Ok(()),
        }
    }

    /// Whether the user wants an entry left alone for what is there, or is not.
    pub(super) fn is_left_alone(&mut self, at: &At<'_>, stat: Option<&Stat>) -> bool {
        let options = &self.side.options;
        if stat.is_none() && options.existing {
            self.skip_below(at.entry);
            let kind: &[u8] = if at.entry.is_dir() {
                b"directory"
            } else {
                b"file"
            };
            self.tell_skip(&[
                b"not creating new ",
                kind,
                b" \"",
                &at.entry.path.to_vec(),
                b"\"",
            ]);
            return true;
        }
        let is_dir = |stat: &Stat| at.entry.is_dir() && stat.kind == StatKind::Directory;
        let exists = stat.is_some_and(|stat| !is_dir(stat));
        // A directory with a list of its own is told of when that is come to.
        let incremental = self.side.run.setup.is_incremental();
        let comes_again = incremental && at.entry.dir_kind.has_content() && at.entry.is_dir();
        if exists && options.ignore_existing && (at.is_parent || !comes_again) {
            self.tell_exists(at, stat);
        }
        exists && options.ignore_existing
    }

    fn tell_exists(&self, at: &At<'_>, stat: Option<&Stat>) {
        let name = at.entry.path.to_vec();
        if self.side.options.info.skip < 2 {
            return self.tell_skip(&[&name, b" exists"]);
        }
        let how = self.how_it_differs(at, stat);
        self.tell_skip(&[&name, b" exists (", how, b")"]);
    }

    fn how_it_differs(&self, at: &At<'_>, stat: Option<&Stat>) -> &'static [u8] {
        let Some(stat) = stat.filter(|stat| decide::kind(at.entry) == Some(stat.kind)) else {
            return b"type change";
        };
        let (Ok(name), Some(dir)) = (self.side.name_of(at.entry), self.dir()) else {
            return b"type change";
        };
        let same = match self.kind_of(at) {
            Some(kind) => self.is_there(&name, stat, &kind),
            None => self.is_same_content(at, dir, &name, stat),
        };
        let rules = &self.side.attributes.rules;
        match same {
            false if rules.checksum => return b"sum change",
            false => return b"file change",
            true => {}
        }
        let Some(found) = self.look(at, &name, *stat) else {
            return b"attr change";
        };
        let none = ItemFlags::default();
        match self.differences(at, &found, none).0 == none {
            true => b"uptodate",
            false => b"attr change",
        }
    }

    /// Tells of a file that is skipped, where that is to be told.
    pub(super) fn tell_skip(&self, words: &[&[u8]]) {
        if self.side.options.info.skip > 0 {
            self.side
                .run
                .say(Level::Info, [&words.concat()[..], b"\n"].concat());
        }
    }

    /// Whether a directory is left out for having nothing in it: `--prune-empty-dirs`.
    pub(super) fn is_pruned(&self, entry: &FileEntry) -> bool {
        let holding = self.holding.as_ref().filter(|_| entry.is_dir());
        holding.is_some_and(|holding| !holding.contains(&entry.path.to_vec()))
    }

    /// Nothing below this entry is to be looked at, if it is a directory.
    pub(super) fn skip_below(&mut self, entry: &FileEntry) {
        if entry.is_dir() {
            self.missing.insert(entry.path.to_vec());
        }
    }

    /// Whether nothing below this directory is to be looked at.
    pub(super) fn is_skipped(&self, entry: &FileEntry) -> bool {
        !self.missing.is_empty() && self.missing.contains(&entry.path.to_vec())
    }

    /// Makes the directory of an entry the current one; false when nothing is to be looked at there.
    pub(super) fn go_to(&mut self, entry: &FileEntry) -> bool {
        let path = entry.path.dir();
        if self
            .here
            .as_ref()
            .is_some_and(|here| is_same(here.path.as_ref(), path))
        {
            return true;
        }
        if path.is_some_and(|path| self.missing.contains(&path[..])) {
            return false;
        }
        self.here = None;
        match self.open_dir(path) {
            Ok(here) => {
                self.here = Some(here);
                true
            }
            Err(error) => {
                // Behind a link, which is not followed, nothing exists.
                if !(self.side.options.existing && error.is_symlink()) {
                    self.cannot_look(entry, &error);
                }
                false
            }
        }
    }

    fn open_dir(&mut self, path: Option<&Arc<[u8]>>) -> Result<Here, Error> {
        let target = self.dirs.at(path.map_or(b".", |path| path))?;
        let dir = match &self.side.target().root {
            None => None,
            Some(root) => match root.dir(&target.path) {
                // In earnest it would have been made.
                Err(error) if self.side.options.dry_run && error.is_no_directory() => None,
                dir => Some(dir?),
            },
        };
        Ok(Here {
            path: path.cloned(),
            target,
            dir,
        })
    }

    /// The name of an entry, and what is there under it; `None` when that cannot be told.
    pub(super) fn look_up(&self, at: &At<'_>) -> Option<(Name, Option<Stat>)> {
        let found = self.side.name_of(at.entry).map_err(Error::from);
        let found = found.and_then(|name| {
            let stat = self.find(&name)?;
            Ok((name, stat))
        });
        let (name, stat) = found
            .map_err(|error| self.cannot_look(at.entry, &error))
            .ok()?;
        let stat = match stat {
            Some(stat) if stat.kind == StatKind::Symlink && at.entry.is_dir() => {
                Some(self.behind_link(at, &name, stat)?)
            }
            stat => stat,
        };
        Some((name, stat))
    }

    /// With `--keep-dirlinks`: what a link leads to that has the name of a directory, if that is a
    /// directory; else the link itself. `None` when it leads, or may lead, out of the destination.
    fn behind_link(&self, at: &At<'_>, name: &Name, link: Stat) -> Option<Stat> {
        if !self.side.options.keep_dirlinks {
            return Some(link);
        }
        let path = self.target_dir().path.join(name);
        let behind = self.side.root().dir_behind_link(&path);
        match behind.and_then(|dir| dir.map(|dir| dir.stat_self()).transpose()) {
            Ok(behind) => Some(behind.unwrap_or(link)),
            Err(error) => {
                let doing = "refusing to follow symlink";
                self.side.failed(Who::Generator, doing, at.entry, &error);
                None
            }
        }
    }

    /// What is there under a name in the current directory.
    pub(super) fn find(&self, name: &Name) -> Result<Option<Stat>, Error> {
        match &self.here {
            Some(Here {
                dir: Some(dir),
                target,
                ..
            }) if !target.is_fresh() => {
                let found = dir.find(name)?;
                let attributes = &self.side.attributes;
                let seen = |real| attributes.seen(On::Entry(dir, name, &real), real);
                found.map(seen).transpose()
            }
            _ => Ok(None),
        }
    }

    /// The same, also where it was not there when it was looked at before.
    pub(super) fn find_now(&self, name: &Name) -> Option<Stat> {
        let dir = self.dir()?;
        let real = dir.find(name).ok().flatten()?;
        let on = On::Entry(dir, name, &real);
        self.side.attributes.seen(on, real).ok()
    }

    /// The current directory; `None` when it is not there.
    pub(super) fn dir(&self) -> Option<&Dir> {
        self.here.as_ref().and_then(|here| here.dir.as_ref())
    }

    /// The current directory, as both threads share it.
    pub(super) fn target_dir(&self) -> &Arc<TargetDir> {
        let here = self.here.as_ref();
        &here.expect("an entry is looked at in its directory").target
    }

    /// Looks at an entry that is there, attributes and all.
    pub(super) fn look(&self, at: &At<'_>, name: &Name, stat: Stat) -> Option<Found> {
        let xattrs = match self.dir() {
            Some(dir) => self
                .side
                .attributes
                .there(On::Entry(dir, name, &stat), &stat),
            None => Ok(Vec::new()),
        };
        match xattrs {
            Ok(xattrs) => Some(Found { stat, xattrs }),
            Err(error) => {
                self.cannot_look(at.entry, &error);
                None
            }
        }
    }

    /// The flags of an item about an entry that is there, and what its attributes are to be.
    pub(super) fn differences(
        &self,
        at: &At<'_>,
        found: &Found,
        begun: ItemFlags,
    ) -> (ItemFlags, Want, Resolved) {
        self.differences_from(at, found, begun, false)
    }

    /// The same of an entry that becomes another name of a file.
    pub(super) fn differences_of_link(
        &self,
        at: &At<'_>,
        found: &Found,
        begun: ItemFlags,
    ) -> (ItemFlags, Want, Resolved) {
        self.differences_from(at, found, begun, true)
    }

    fn differences_from(
        &self,
        at: &At<'_>,
        found: &Found,
        begun: ItemFlags,
        renamed: bool,
    ) -> (ItemFlags, Want, Resolved) {
        let attributes = &self.side.attributes;
        let want = attributes.want(at.entry, Some(&found.stat));
        let resolved = attributes.resolve(at.entry, Some(&found.xattrs), &[]);
        let rules = &attributes.rules;
        let flags = rules.differences(at.entry, &want, &found.stat, begun, renamed);
        (flags | resolved.flags, want, resolved)
    }

    /// An entry whose content is right: its attributes may still differ.
    pub(super) fn same(
        &mut self,
        at: &At<'_>,
        name: &Name,
        found: &Found,
    ) -> Result<Step, Failure> {
        let none = ItemFlags::default();
        let (flags, want, resolved) = self.differences(at, found, none);
        let mut left = want;
        self.side
            .attributes
            .leave_time(&mut left, at.entry, &found.stat);
        let differs = flags != none || left.mtime.is_some();
        if differs && !self.side.options.dry_run {
            self.set(at, name, &found.stat, left, &resolved);
        }
        match differs {
            true => self.tell_set(at),
            false => self.tell_up_to_date(at),
        }
        self.note(at, Ask::new(flags), &resolved)?;
        Ok(Step::There)
    }

    /// Tells that attributes of an entry are set, where no item does.
    fn tell_set(&self, at: &At<'_>) {
        let options = &self.side.options;
        if options.info.name > 1 && options.itemize == 0 {
            let line = [&at.entry.path.to_vec()[..], b"\n"].concat();
            self.side.run.say(Level::Info, line);
        }
    }

    /// Tells that an entry is as it is to be, where no item does.
    pub(super) fn tell_up_to_date(&self, at: &At<'_>) {
        let options = &self.side.options;
        if options.info.name > 1 && options.itemize == 0 {
            let line = [&at.entry.path.to_vec()[..], b" is uptodate\n"].concat();
            self.side.run.say(Level::Info, line);
        }
    }

    /// Whether the current directory is the one that an entry is in.
    pub(super) fn here_is_above(&self, at: &At<'_>) -> bool {
        let here = self.here.as_ref();
        here.is_some_and(|here| is_same(here.path.as_ref(), at.entry.path.dir()))
    }

    /// Sets what differs on an entry that is there.
    fn set(&mut self, at: &At<'_>, name: &Name, stat: &Stat, mut want: Want, resolved: &Resolved) {
        let attributes = &self.side.attributes;
        attributes.leave_time(&mut want, at.entry, stat);
        let Some(dir) = self.dir() else {
            return;
        };
        let (on, is_all) = (On::Entry(dir, name, stat), resolved.missing.is_empty());
        let set = attributes.set(on, at.entry, &want, &resolved.xattrs, is_all);
        let failures = set.map_or_else(|error| vec![error], |(_, failures)| failures);
        self.side.not_set(Who::Generator, at.entry, &failures);
    }

    pub(super) fn cannot_look(&self, entry: &FileEntry, error: &Error) {
        let path = self.side.full_name(entry);
        let line = texts::cannot_look(&path, error);
        self.side.run.say(Level::FileError, line);
    }
}

/// The directories of a list that have something else than directories below them, or that are
/// protected, and those above them.
pub(super) fn holding(list: &List, is_protected: &dyn Fn(&FileEntry) -> bool) -> HashSet<Vec<u8>> {
    let mut holding = HashSet::from([b".".to_vec()]);
    let mut hold = |mut above: &[u8]| {
        while !above.is_empty() && holding.insert(above.to_vec()) {
            let slash = above.iter().rposition(|&byte| byte == b'/');
            above = &above[..slash.unwrap_or(0)];
        }
    };
    let mut last: Option<&Arc<[u8]>> = None;
    for (_, entry) in list.entries() {
        let dir = entry.path.dir();
        if entry.is_dir() {
            if is_protected(entry) {
                hold(&entry.path.to_vec());
            }
        } else if !is_same(dir, last) {
            last = dir;
            hold(dir.map_or(&[][..], |dir| dir));
        }
    }
    holding
}

/// Whether two entries are in one directory.
fn is_same(a: Option<&Arc<[u8]>>, b: Option<&Arc<[u8]>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}
