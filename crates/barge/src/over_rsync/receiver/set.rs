//! Looks at what entries have, and sets what they are to have: on themselves, or with `--fake-super`
//! on the files and directories that stand for them.

use barge_fs::{Applied, Dir, Error, Staged, Stat, StatKind, Wanted};
use barge_rsync::wire::entry::FileEntry;
use barge_types::{Class, Device, Name, Xattr, XattrName};

use super::attributes::Attributes;
use super::decide::{self, Want};
use crate::over_rsync::fake_super::{self, FakeStat};

/// What has attributes, and how it is reached.
#[derive(Clone, Copy)]
pub(super) enum On<'a> {
    /// An entry of a directory, with the look that was taken at it: another inode is left alone.
    Entry(&'a Dir, &'a Name, &'a Stat),
    /// A directory itself.
    Dir(&'a Dir),
    /// A file that is being written.
    Staged(&'a Staged),
}

impl On<'_> {
    fn stat(self) -> Result<Stat, Error> {
        match self {
            Self::Entry(dir, name, _) => dir.stat(name),
            Self::Dir(dir) => dir.stat_self(),
            Self::Staged(staged) => staged.stat(),
        }
    }

    fn xattrs(self, carries: &dyn Fn(&XattrName) -> bool) -> Result<Vec<Xattr>, Error> {
        match self {
            Self::Entry(dir, name, _) => dir.xattrs_of(name, carries),
            Self::Dir(dir) => dir.xattrs_of_self(carries),
            Self::Staged(staged) => staged.xattrs(carries),
        }
    }

    fn set(self, wanted: &Wanted<'_>) -> Result<(Stat, Applied), Error> {
        match self {
            Self::Entry(dir, name, before) => dir.set(name, before, wanted),
            Self::Dir(dir) => dir.set_self(wanted),
            Self::Staged(staged) => staged.set(wanted),
        }
    }
}

impl Attributes {
    /// What a look at an entry tells: of what it is, or of what it stands for.
    pub(super) fn seen(&self, on: On<'_>, real: Stat) -> Result<Stat, Error> {
        if !self.is_fake() {
            return Ok(real);
        }
        let mut seen = real;
        let kept = kept_on(on, &is_stat)?;
        if let Some(fake) = kept.first().and_then(|kept| FakeStat::parse(&kept.value)) {
            // One that the file cannot stand for is as good as none.
            fake.lay_over(&mut seen);
        }
        Ok(seen)
    }

    /// Reads what an entry that looks like `seen` has of all that is carried, sorted by name.
    pub(super) fn there(&self, on: On<'_>, seen: &Stat) -> Result<Vec<Xattr>, Error> {
        let carries = |name: &_| self.carries(name);
        match (self.keeps_any(), self.is_fake()) {
            (false, _) => Ok(Vec::new()),
            (true, false) => on.xattrs(&carries),
            (true, true) => {
                let kept = kept_on(on, &carries)?.into_iter();
                let unkept = kept.filter_map(|kept| fake_super::unkeep(kept, seen.mode));
                let mut unkept: Vec<_> = unkept.collect();
                unkept.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                Ok(unkept)
            }
        }
    }

    /// Whether an entry of this directory can be what it was seen to be: with `--fake-super` a file
    /// has to stand for it.
    pub(super) fn can_stand(&self, dir: &Dir, name: &Name) -> bool {
        !self.is_fake() || dir.stat(name).is_ok_and(|real| real.kind == StatKind::File)
    }

    /// The target of a link, or of the file that stands for one.
    pub(super) fn read_link(&self, dir: &Dir, name: &Name) -> Result<Box<[u8]>, Error> {
        match self.is_fake() {
            true => fake_super::read_link(dir, name),
            false => dir.read_link(name),
        }
    }

    /// Sets what an entry is to have, and returns the last look with what could not be set.
    /// `is_all` says that attributes which are not among `xattrs` are to go.
    ///
    /// # Errors
    ///
    /// Those of looking at it; then nothing was set.
    pub(super) fn set(
        &self,
        on: On<'_>,
        entry: &FileEntry,
        want: &Want,
        xattrs: &[Xattr],
        is_all: bool,
    ) -> Result<(Stat, Vec<Error>), Error> {
        if self.is_fake() {
            return self.set_fake(on, entry, want, xattrs, is_all);
        }
        let wanted = Wanted {
            uid: want.uid,
            gid: want.gid,
            xattrs,
            carries: &|name| self.carries(name),
            has_attributes: is_all && self.keeps_any(),
            ..times_and_mode(want)
        };
        let (stat, applied) = on.set(&wanted)?;
        Ok((stat, self.counting(want, &stat, applied.failures)))
    }

    /// Of failures those that count: a file system may keep fewer digits of a time than decide whether
    /// it is the same.
    fn counting(&self, want: &Want, stat: &Stat, mut failures: Vec<Error>) -> Vec<Error> {
        let differs = |mtime| self.rules.times_differ(mtime, stat.mtime);
        if !want.mtime.is_some_and(differs) {
            failures.retain(|failure| failure.op != "verify mtime");
        }
        failures
    }

    /// The same on what stands for the entry: a mode without rights, and the rest in attributes.
    fn set_fake(
        &self,
        on: On<'_>,
        entry: &FileEntry,
        want: &Want,
        xattrs: &[Xattr],
        is_all: bool,
    ) -> Result<(Stat, Vec<Error>), Error> {
        let real = on.stat()?;
        let seen = self.seen(on, real)?;
        let fake = fake_stat(entry, want, &seen);
        let mode = fake_super::real_mode(want.mode.unwrap_or(seen.mode), real.kind);
        let mut kept: Vec<_> = xattrs.iter().filter_map(fake_super::keep).collect();
        let is_refused = kept.len() < xattrs.len();
        if !fake.is_told_by(&real, mode) {
            let name = XattrName::new(fake_super::STAT).expect("a short word");
            let value = fake.print();
            kept.push(Xattr { name, value });
        }
        let is_kept = |name: &XattrName| kept.iter().any(|xattr| xattr.name == *name);
        let wanted = Wanted {
            xattrs: &kept,
            carries: &|name| is_stat(name) || is_kept(name) || (is_all && self.carries(name)),
            // That of an earlier state, if nothing else.
            has_attributes: true,
            ..times_and_mode(&Want {
                mode: Some(mode),
                ..*want
            })
        };
        open_up(on, &real)?;
        let (stat, applied) = on.set(&wanted)?;
        let mut failures = self.counting(want, &stat, applied.failures);
        failures.extend(is_refused.then_some(REFUSED));
        Ok((stat, failures))
    }
}

/// Reads attributes of what may stand for something. What may not be read does not: see
/// [`fake_super::real_mode`].
fn kept_on(on: On<'_>, carries: &dyn Fn(&XattrName) -> bool) -> Result<Vec<Xattr>, Error> {
    match on.xattrs(carries) {
        Err(error) if error.class() == Class::Denied => Ok(Vec::new()),
        read => read,
    }
}

/// What is to be kept of an entry; what is not wanted of it stays as it was seen.
fn fake_stat(entry: &FileEntry, want: &Want, seen: &Stat) -> FakeStat {
    let kind = decide::kind(entry).unwrap_or(seen.kind);
    let none = Device { major: 0, minor: 0 };
    FakeStat {
        mode: kind.st_mode() | want.mode.unwrap_or(seen.mode).bits(),
        device: entry.extra().device.unwrap_or(none),
        uid: want.uid.unwrap_or(seen.owner.uid),
        gid: want.gid.unwrap_or(seen.owner.gid),
    }
}

/// Gives the owner what is needed to set attributes, where an earlier run has left less.
fn open_up(on: On<'_>, real: &Stat) -> Result<(), Error> {
    let mode = fake_super::with_own_rights(real.mode, real.kind);
    if mode != real.mode {
        on.set(&Wanted {
            mode: Some(mode),
            ..Wanted::NOTHING
        })?;
    }
    Ok(())
}

fn times_and_mode(want: &Want) -> Wanted<'static> {
    Wanted {
        mode: want.mode,
        mtime: want.mtime,
        atime: want.atime,
        ..Wanted::NOTHING
    }
}

fn is_stat(name: &XattrName) -> bool {
    name.as_bytes() == fake_super::STAT
}

/// A name that could be taken for what is kept here is not the sender's to set.
const REFUSED: Error = Error {
    op: "setxattr user.rsync.*",
    errno: 1,
};
