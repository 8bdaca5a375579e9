//! Symbolic links, devices and special files: made beside their place, then put there.

use barge_fs::{Dir, Error, Stat, StatKind, unique_name};
use barge_rsync::options::BasisKind;
use barge_rsync::wire::iflags::ItemFlags;
use barge_types::{Kind, Name};

use super::attributes::Resolved;
use super::basis::Fit;
use super::decide;
use super::generator::{Ask, At, Generator};
use super::set::On;
use super::texts::Who;
use super::walk::Step;
use crate::over_rsync::unsafe_link::leads_out;
use crate::over_rsync::{Failure, Level};

impl Generator {
    pub(super) fn symlink(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
    ) -> Result<Step, Failure> {
        let target = at.entry.extra().link.as_deref();
        let Some(target) = target.filter(|_| self.side.options.links) else {
            return self.skip_non_regular(at);
        };
        let path = at.entry.path.to_vec();
        if self.side.options.safe_links && leads_out(target, &path) {
            if self.side.options.info.symsafe > 0 {
                let words = [
                    b"ignoring unsafe symlink \"",
                    &path[..],
                    b"\" -> \"",
                    target,
                    b"\"\n",
                ];
                self.side.run.say(Level::Info, words.concat());
            }
            return Ok(Step::Nothing);
        }
        match self.kind_of(at) {
            Some(kind) => self.other(at, name, stat, &kind),
            None => self.skip_non_regular(at),
        }
    }

    /// What a link or a special file is to be here; `None` for what is neither.
    pub(super) fn kind_of(&self, at: &At<'_>) -> Option<Kind> {
        let extra = at.entry.extra();
        match (decide::kind(at.entry)?, extra.device) {
            (StatKind::Symlink, _) => {
                let target = self.side.made_link_of(at.entry)?.into();
                Some(Kind::Symlink { target })
            }
            (StatKind::CharDevice, Some(device)) => Some(Kind::CharDevice(device)),
            (StatKind::BlockDevice, Some(device)) => Some(Kind::BlockDevice(device)),
            (StatKind::Fifo, _) => Some(Kind::Fifo),
            (StatKind::Socket, _) => Some(Kind::Socket),
            _ => None,
        }
    }

    pub(super) fn node(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
    ) -> Result<Step, Failure> {
        let options = &self.side.options;
        // Anybody may make a pipe or a socket.
        let wanted = match at.entry.is_device() {
            true => options.devices && self.side.attributes.rules.privileged,
            false => options.specials,
        };
        match self.kind_of(at).filter(|_| wanted) {
            Some(kind) => self.other(at, name, stat, &kind),
            None => self.skip_non_regular(at),
        }
    }

    fn skip_non_regular(&self, at: &At<'_>) -> Result<Step, Failure> {
        if self.side.options.info.nonreg > 0 {
            let path = at.entry.path.to_vec();
            let line = [b"skipping non-regular file \"", &path[..], b"\"\n"].concat();
            self.side.run.say(Level::Info, line);
        }
        Ok(Step::Nothing)
    }

    fn other(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
        kind: &Kind,
    ) -> Result<Step, Failure> {
        let begun = ItemFlags::LOCAL | ItemFlags::CHANGE;
        let Some(stat) = stat else {
            return self.make_new(at, name, kind);
        };
        if stat.kind != StatKind::of(kind) {
            return match self.make_way(at, name, &stat)? && self.keep_replaced(at, name, &stat) {
                true => self.make_first(at, name, kind),
                false => Ok(Step::Nothing),
            };
        }
        let Some(found) = self.look(at, name, stat) else {
            return Ok(Step::Nothing);
        };
        if self.is_there(name, &found.stat, kind) {
            return self.same(at, name, &found);
        }
        let (flags, _, resolved) = self.differences(at, &found, begun);
        self.make(at, name, kind, Some(&found.stat), flags, &resolved)
    }

    fn make_new(&mut self, at: &At<'_>, name: &Name, kind: &Kind) -> Result<Step, Failure> {
        let Some(alternate) = self.alternate(at, name, Some(kind)) else {
            return self.make_first(at, name, kind);
        };
        let begun = match (alternate.fit, self.side.options.basis_kind) {
            (Fit::Kind | Fit::Content, _) => ItemFlags::LOCAL | ItemFlags::CHANGE,
            (Fit::All, BasisKind::Compare) => return self.stays_out(at),
            (Fit::All, BasisKind::Link) => match self.link_alternate(at, name, &alternate)? {
                Some(step) => return Ok(step),
                None => ItemFlags::LOCAL,
            },
            _ => ItemFlags::LOCAL,
        };
        let (flags, _, resolved) = self.differences(at, &alternate.found, begun);
        if flags == ItemFlags::LOCAL {
            self.tell_up_to_date(at);
        }
        self.make(at, name, kind, None, flags, &resolved)
    }

    /// Makes an entry of which nothing is here, whatever alternate directories have.
    fn make_first(&mut self, at: &At<'_>, name: &Name, kind: &Kind) -> Result<Step, Failure> {
        let resolved = self.side.attributes.resolve(at.entry, None, &[]);
        let flags = ItemFlags::LOCAL | ItemFlags::CHANGE | ItemFlags::NEW | resolved.flags;
        self.make(at, name, kind, None, flags, &resolved)
    }

    pub(super) fn is_there(&self, name: &Name, stat: &Stat, kind: &Kind) -> bool {
        let attributes = &self.side.attributes;
        let Some(dir) = self.dir().filter(|dir| attributes.can_stand(dir, name)) else {
            return false;
        };
        match kind {
            Kind::Symlink { target } => {
                let there = attributes.read_link(dir, name);
                there.is_ok_and(|there| there == *target)
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => stat.rdev == *device,
            _ => true,
        }
    }

    fn make(
        &mut self,
        at: &At<'_>,
        name: &Name,
        kind: &Kind,
        have: Option<&Stat>,
        flags: ItemFlags,
        resolved: &Resolved,
    ) -> Result<Step, Failure> {
        if !self.side.options.dry_run {
            if let Some(stat) = have
                && !self.back_up(at, name, stat)
            {
                return Ok(Step::Nothing);
            }
            if let Err((doing, error)) = self.make_and_place(at, name, kind, have, resolved) {
                self.side.failed(Who::Generator, doing, at.entry, &error);
                return Ok(Step::Nothing);
            }
            self.target_dir().touch();
        }
        self.note(at, Ask::new(flags), resolved)?;
        Ok(Step::There)
    }

    fn make_and_place(
        &self,
        at: &At<'_>,
        name: &Name,
        kind: &Kind,
        have: Option<&Stat>,
        resolved: &Resolved,
    ) -> Result<(), (&'static str, Error)> {
        let Some(dir) = self.dir() else {
            return Ok(());
        };
        let doing = match kind {
            Kind::Symlink { .. } => "symlink",
            _ => "mknod",
        };
        let fails = |error| (doing, error);
        if self.side.attributes.is_fake() {
            return self
                .stand_in(dir, at, name, kind, have, resolved)
                .map_err(fails);
        }
        let temporary = unique_name().map_err(fails)?;
        match kind {
            Kind::Symlink { target } => dir.make_symlink(&temporary, target).map_err(fails)?,
            kind => dir.make_node(&temporary, kind).map_err(fails)?,
        }
        let attributes = &self.side.attributes;
        let want = attributes.want_in(dir, at.entry, have);
        let placed = dir.stat(&temporary).and_then(|stat| {
            let on = On::Entry(dir, &temporary, &stat);
            let (_, failures) = attributes.set(on, at.entry, &want, &resolved.xattrs, true)?;
            self.side.not_set(Who::Generator, at.entry, &failures);
            dir.rename(&temporary, name)
        });
        if placed.is_err() {
            // Nobody to tell besides.
            let _ = dir.unlink(&temporary);
        }
        placed.map_err(|error| ("rename", error))
    }

    /// `--fake-super`: a file stands for the entry, empty, or with the target of a link.
    fn stand_in(
        &self,
        dir: &Dir,
        at: &At<'_>,
        name: &Name,
        kind: &Kind,
        have: Option<&Stat>,
        resolved: &Resolved,
    ) -> Result<(), Error> {
        let mut staged = dir.stage_unique(name)?;
        if let Kind::Symlink { target } = kind {
            staged.write_at(target, 0)?;
        }
        let attributes = &self.side.attributes;
        let want = attributes.want_in(dir, at.entry, have);
        let on = On::Staged(&staged);
        let (_, failures) = attributes.set(on, at.entry, &want, &resolved.xattrs, true)?;
        self.side.not_set(Who::Generator, at.entry, &failures);
        staged.place(dir, name)
    }
}
