//! Hard links: entries that become another name of one that is there.

use std::sync::Arc;

use barge_fs::{Error, Stat, StatKind};
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::iflags::ItemFlags;
use barge_rsync::wire::ndx::FileIndex;
use barge_types::Name;

use super::attributes::Resolved;
use super::generator::{Ask, At, Generator};
use super::hard_links::{Leader, Part};
use super::texts::{self, Who};
use super::walk::Step;
use crate::over_rsync::{Failure, Level};

impl Generator {
    /// The group of hard links that an entry is of, where they are kept.
    pub(super) fn group(&self, at: &At<'_>) -> Option<u32> {
        let link = at.entry.extra().hard_link?;
        (self.side.options.hard_links && !at.entry.is_dir()).then_some(link.group)
    }

    /// Deals with a member of a group; `None` when it is to be dealt with as any other entry.
    pub(super) fn member(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<&Stat>,
    ) -> Result<Option<Step>, Failure> {
        let Some(group) = self.group(at) else {
            return Ok(None);
        };
        // What an alternate directory has is as good as being there.
        let passes =
            at.entry.is_file() && stat.is_none() && self.alternate(at, name, None).is_none();
        match self.links.meet(group, at.index, passes) {
            Part::Lead => Ok(None),
            Part::Wait => {
                self.count_pending(at.index);
                Ok(Some(Step::Underway))
            }
            Part::LinkTo(leader) => self.follow(at, name, stat, group, &leader).map(Some),
        }
    }

    /// A leader is there, or is not; those that waited for it go on.
    pub(super) fn lead_or_lose(
        &mut self,
        at: &At<'_>,
        group: u32,
        there: bool,
    ) -> Result<(), Failure> {
        match there {
            true => self.lead(at, group, None),
            false => self.lose(group),
        }
    }

    /// A leader is not there: one after the other of those that waited for it takes its place, until
    /// something comes of one.
    pub(super) fn lose(&mut self, group: u32) -> Result<(), Failure> {
        while let Some(next) = self.links.lost(group) {
            if self.leads(next)? {
                break;
            }
        }
        Ok(())
    }

    /// A leader is in its place, or could not be put there when it was too late for another; those
    /// that waited for it are linked to it, or told of.
    pub(super) fn lead(
        &mut self,
        at: &At<'_>,
        group: u32,
        error: Option<Error>,
    ) -> Result<(), Failure> {
        if !self.go_to(at.entry) {
            // It was put there, and its directory is gone.
            return match self.links.is_delayed(group) {
                true => Ok(()),
                false => self.lose(group),
            };
        }
        let name = self.side.name_of(at.entry).ok();
        let stat = name.and_then(|name| self.find_now(&name));
        let leader = Leader {
            path: at.entry.path.to_vec(),
            dir: Arc::clone(self.target_dir()),
            inode: stat.map(|stat| (stat.dev, stat.ino)),
        };
        let (leader, followers) = self.links.made(group, leader);
        for index in followers {
            if let (Some(error), Some(entry)) = (&error, at.list.get(index)) {
                self.link_failed(entry, &leader, error);
                continue;
            }
            // One that found no room for its name leads those behind it.
            match self.links.meet(group, index, false) {
                Part::LinkTo(leader) => self.waited(index, group, &leader)?,
                Part::Wait => {}
                Part::Lead if self.leads(index)? => {}
                Part::Lead => self.lose(group)?,
            }
        }
        Ok(())
    }

    /// An entry that has waited leads its group, and is dealt with as any other. False when nothing
    /// comes of it.
    fn leads(&mut self, index: FileIndex) -> Result<bool, Failure> {
        let Some(list) = self.list_with(index) else {
            return Ok(false);
        };
        let at = At::of(&list, index).expect("it was looked at before");
        self.settle(&at);
        let found = match self.go_to(at.entry) {
            true => self.look_up(&at),
            false => None,
        };
        let step = match found {
            Some((name, stat)) => self.deal_with(&at, &name, stat)?,
            None => Step::Nothing,
        };
        if step == Step::Nothing {
            return Ok(false);
        }
        self.ended(&at, step, true)?;
        Ok(true)
    }

    /// An entry has waited long enough: it is linked.
    fn waited(&mut self, index: FileIndex, group: u32, leader: &Leader) -> Result<(), Failure> {
        let Some(list) = self.list_with(index) else {
            return Ok(());
        };
        let at = At::of(&list, index).expect("it was looked at before");
        self.settle(&at);
        let found = match self.go_to(at.entry) {
            true => self.look_up(&at),
            false => None,
        };
        let step = match found {
            Some((name, stat)) => self.follow(&at, &name, stat.as_ref(), group, leader)?,
            None => Step::Nothing,
        };
        self.ended(&at, step, false)
    }

    /// Makes an entry another name of its leader.
    fn follow(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<&Stat>,
        group: u32,
        leader: &Leader,
    ) -> Result<Step, Failure> {
        let is_linked = stat.is_some_and(|stat| Some((stat.dev, stat.ino)) == leader.inode);
        let begun = ItemFlags::LOCAL | ItemFlags::NAME_FOLLOWS;
        if is_linked {
            self.tell_up_to_date(at);
            self.note(at, Ask::new(begun), &Resolved::default())?;
            return Ok(Step::There);
        }
        let (mut ask, resolved) = match stat {
            Some(stat) => match self.look(at, name, *stat) {
                Some(found) => {
                    let (flags, _, resolved) = self.differences_of_link(at, &found, begun);
                    (Ask::new(flags), resolved)
                }
                None => return Ok(Step::Nothing),
            },
            None => {
                let resolved = self.side.attributes.resolve(at.entry, None, &[]);
                (Ask::new(begun | ItemFlags::NEW | resolved.flags), resolved)
            }
        };
        ask.name = leader.path.clone().into();
        if let Some(stat) = stat
            && stat.kind == StatKind::Directory
            && !self.make_way(at, name, stat)?
        {
            return Ok(Step::Nothing);
        }
        if !self.side.options.dry_run {
            if let Some(stat) = stat
                && stat.kind != StatKind::Directory
                && !self.back_up(at, name, stat)
            {
                return Ok(Step::Nothing);
            }
            match self.link(name, leader) {
                // Nothing is asked for any more after delayed updates.
                Err(error) if error.is_too_many_links() && !self.side.options.delay_updates => {
                    self.links.lead_anew(group);
                    let step = self.deal_with(at, name, stat.copied())?;
                    self.ended(at, step, true)?;
                    // All is said of it.
                    return Ok(Step::Underway);
                }
                Err(error) => {
                    self.link_failed(at.entry, leader, &error);
                    return Ok(Step::Nothing);
                }
                Ok(()) => self.target_dir().touch(),
            }
        }
        // Its attributes are those of the leader: no value is asked for.
        let none = Resolved {
            missing: Vec::new(),
            ..resolved
        };
        self.note(at, ask, &none)?;
        Ok(Step::There)
    }

    fn link(&self, name: &Name, leader: &Leader) -> Result<(), Error> {
        let from = self.side.root().dir(&leader.dir.path)?;
        let base = leader.path.rsplit(|&byte| byte == b'/').next();
        let from_name = Name::new(base.unwrap_or_default())?;
        match self.dir() {
            Some(dir) => dir.link_over(name, &from, &from_name),
            None => Ok(()),
        }
    }

    fn link_failed(&self, entry: &FileEntry, leader: &Leader, error: &Error) {
        let path = self.side.full_name(entry);
        let doing = [&b"link "[..], &path, b" => ", &leader.path];
        let line = texts::failed(Who::Generator, &doing, error);
        self.side.run.say(Level::FileError, line);
    }
}
