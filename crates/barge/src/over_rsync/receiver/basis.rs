//! Directories of `--compare-dest`, `--copy-dest` and `--link-dest`: what they have of an entry.

use std::ffi::OsString;

use barge_fs::{Dir, Error, Root, StatKind};
use barge_rsync::options::BasisKind;
use barge_rsync::wire::iflags::{Basis, ItemFlags};
use barge_types::{Kind, Name, RelPath};

use super::attributes::Resolved;
use super::decide::{self, Want};
use super::generator::{Ask, At, Generator};
use super::set::On;
use super::side::Side;
use super::texts::{self, Who};
use super::walk::{Found, Step};
use crate::over_rsync::{Failure, Level};

/// The handles of one directory's namesakes, once they were looked for.
#[derive(Debug, Default)]
pub(super) struct Namesakes {
    dirs: Vec<Option<Dir>>,
    of: Option<RelPath>,
}

/// How well an alternate fits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fit {
    /// It is there.
    Kind,
    /// Its content is the same.
    Content,
    /// So are its attributes.
    All,
}

/// An entry of an alternate directory.
pub(super) struct Alternate {
    pub(super) fit: Fit,
    /// Which directory it is in.
    pub(super) number: u8,
    pub(super) dir: Dir,
    pub(super) found: Found,
}

impl Namesakes {
    /// Those of a directory, with their numbers.
    pub(super) fn of(&mut self, roots: &[Option<Root>], path: &RelPath) -> Vec<(u8, Dir)> {
        if self.of.as_ref() != Some(path) {
            let open = |root: &Option<Root>| root.as_ref()?.dir(path).ok();
            self.dirs = roots.iter().map(open).collect();
            self.of = Some(path.clone());
        }
        let numbered = (0..).zip(&self.dirs);
        numbered
            .filter_map(|(number, dir)| Some((number, dir.clone()?)))
            .collect()
    }
}

impl Side {
    /// The directories, as the options name them; nothing is found in what is not there.
    pub(super) fn alternates(&self) -> &[Option<Root>] {
        let named = &self.options.basis_dirs;
        self.alternates
            .get_or_init(|| named.iter().map(|named| self.alternate(named)).collect())
    }

    fn alternate(&self, named: &OsString) -> Option<Root> {
        let opened = self.target().beside(named);
        if opened.is_err() {
            let word = match self.options.basis_kind {
                BasisKind::Compare => "compare",
                BasisKind::Copy => "copy",
                BasisKind::Link => "link",
            };
            let named = self.target().shown_beside(named);
            let named = texts::printable(&named);
            let line = format!("--{word}-dest arg does not exist: {named}\n");
            self.run.say(Level::Warning, line);
        }
        opened.ok()
    }
}

impl Generator {
    /// The alternate of an entry that fits best, the first of equals.
    pub(super) fn alternate(
        &mut self,
        at: &At<'_>,
        name: &Name,
        kind: Option<&Kind>,
    ) -> Option<Alternate> {
        if self.side.alternates().is_empty() {
            return None;
        }
        let path = &self.target_dir().path.clone();
        let mut best: Option<Alternate> = None;
        for (number, dir) in self.namesakes.of(self.side.alternates(), path) {
            let named = &self.side.options.basis_dirs[usize::from(number)];
            let path = path.join(name);
            if self
                .side
                .hides_beside(named, path.as_bytes(), at.entry.is_dir())
            {
                continue;
            }
            let Some(alternate) = self.in_alternate(at, name, kind, number, dir) else {
                continue;
            };
            let fit = alternate.fit;
            if best.as_ref().is_none_or(|best| best.fit < fit) {
                best = Some(alternate);
            }
            if fit == Fit::All {
                break;
            }
        }
        best
    }

    /// The alternate directory itself that fits the root of the transfer best, the first of equals.
    pub(super) fn root_of_alternates(&self, at: &At<'_>) -> Option<Found> {
        let attributes = &self.side.attributes;
        let look = |root: &Root| -> Result<Found, Error> {
            let dir = root.dir(&RelPath::root())?;
            let stat = attributes.seen(On::Dir(&dir), dir.stat_self()?)?;
            let xattrs = attributes.there(On::Dir(&dir), &stat)?;
            Ok(Found { stat, xattrs })
        };
        let roots = self.side.alternates().iter().flatten();
        let mut found: Vec<_> = roots.filter_map(|root| look(root).ok()).collect();
        let none = ItemFlags::default();
        let fits = |found: &Found| self.differences(at, found, none).0 == none;
        let best = found.iter().position(fits).unwrap_or(0);
        (best < found.len()).then(|| found.swap_remove(best))
    }

    fn in_alternate(
        &self,
        at: &At<'_>,
        name: &Name,
        kind: Option<&Kind>,
        number: u8,
        dir: Dir,
    ) -> Option<Alternate> {
        let real = dir.find(name).ok().flatten()?;
        let attributes = &self.side.attributes;
        let stat = attributes.seen(On::Entry(&dir, name, &real), real).ok()?;
        if decide::kind(at.entry) != Some(stat.kind) {
            return None;
        }
        let xattrs = attributes.there(On::Entry(&dir, name, &stat), &stat).ok()?;
        let found = Found { stat, xattrs };
        let same = match kind {
            None if stat.kind == StatKind::Directory => true,
            None => self.is_same_content(at, &dir, name, &stat),
            Some(Kind::Symlink { target }) => {
                let there = attributes.read_link(&dir, name);
                there.is_ok_and(|there| there == *target)
            }
            Some(Kind::CharDevice(device) | Kind::BlockDevice(device)) => stat.rdev == *device,
            Some(_) => true,
        };
        let none = ItemFlags::default();
        let fit = match same {
            false => Fit::Kind,
            true if self.differences(at, &found, none).0 != none => Fit::Content,
            true => Fit::All,
        };
        Some(Alternate {
            fit,
            number,
            dir,
            found,
        })
    }

    /// Uses an alternate of a file; `None` when nothing came of it, and the file is to be dealt with
    /// as if there were none.
    pub(super) fn use_alternate(
        &mut self,
        at: &At<'_>,
        name: &Name,
        is_there: bool,
    ) -> Result<Option<Step>, Failure> {
        let kind = self.side.options.basis_kind;
        if is_there && kind == BasisKind::Copy {
            return Ok(None);
        }
        let Some(alternate) = self.alternate(at, name, None) else {
            return Ok(None);
        };
        let links = (alternate.fit, kind) == (Fit::All, BasisKind::Link);
        match alternate.fit {
            Fit::All if kind == BasisKind::Compare => return self.left_out(at, name, &alternate),
            _ if is_there && !links => return Ok(None),
            Fit::Kind => return self.ask_from_alternate(at, name, alternate),
            Fit::All | Fit::Content => {}
        }
        if !self.keep_before(at, name) {
            return Ok(Some(Step::Nothing));
        }
        match links {
            true => self.link_alternate(at, name, &alternate),
            false => self.copy_alternate(at, name, &alternate),
        }
    }

    /// It is in the alternate directory, and so not to be here.
    fn left_out(
        &mut self,
        at: &At<'_>,
        name: &Name,
        alternate: &Alternate,
    ) -> Result<Option<Step>, Failure> {
        if !self.side.options.dry_run && self.find_now(name).is_some() {
            if !self.keep_before(at, name) {
                return Ok(Some(Step::Nothing));
            }
            if let Some(Err(error)) = self.dir().map(|dir| dir.unlink(name)) {
                self.side
                    .failed(Who::Generator, "delete_file: unlink", at.entry, &error);
            }
            self.target_dir().touch();
        }
        self.side
            .may_go_for(at.index, at.entry, &alternate.dir, name);
        self.stays_out(at).map(Some)
    }

    /// Says that an entry is as it is to be where it is, and that is not here: nothing is there that
    /// other names of it could be linked to, or that its source could go for.
    pub(super) fn stays_out(&mut self, at: &At<'_>) -> Result<Step, Failure> {
        self.up_to_date(at, ItemFlags::default())?;
        Ok(Step::Nothing)
    }

    /// Keeps what an alternate takes the place of, where that is wanted.
    fn keep_before(&self, at: &At<'_>, name: &Name) -> bool {
        let there = self.side.backup().and_then(|_| self.find_now(name));
        there.is_none_or(|stat| self.keep_replaced(at, name, &stat))
    }

    /// Says that an entry is as it is to be.
    pub(super) fn up_to_date(&mut self, at: &At<'_>, flags: ItemFlags) -> Result<Step, Failure> {
        self.tell_up_to_date(at);
        self.note(at, Ask::new(flags), &Resolved::default())?;
        Ok(Step::There)
    }

    /// Links an alternate to its place here.
    pub(super) fn link_alternate(
        &mut self,
        at: &At<'_>,
        name: &Name,
        alternate: &Alternate,
    ) -> Result<Option<Step>, Failure> {
        if !self.side.options.dry_run {
            let linked = self
                .dir()
                .map(|dir| dir.link_over(name, &alternate.dir, name));
            if let Some(Err(_)) = linked {
                // Another file system, or one without links: a copy does.
                return match at.entry.is_file() {
                    true => self.copy_alternate(at, name, alternate),
                    false => Ok(None),
                };
            }
            self.target_dir().touch();
        }
        let flags = ItemFlags::LOCAL | ItemFlags::NAME_FOLLOWS;
        self.up_to_date(at, flags).map(Some)
    }

    /// Copies an alternate of a file.
    fn copy_alternate(
        &mut self,
        at: &At<'_>,
        name: &Name,
        alternate: &Alternate,
    ) -> Result<Option<Step>, Failure> {
        let (flags, want, resolved) = self.differences(at, &alternate.found, ItemFlags::LOCAL);
        if !self.side.options.dry_run {
            let copied = self.copy_here(at, name, alternate, &want, &resolved);
            if let Err(error) = copied {
                self.side
                    .failed(Who::Generator, "copy_file", at.entry, &error);
                return Ok(None);
            }
            self.target_dir().touch();
        }
        if flags == ItemFlags::LOCAL {
            self.tell_up_to_date(at);
        }
        self.note(at, Ask::new(flags), &resolved)?;
        Ok(Some(Step::There))
    }

    fn copy_here(
        &self,
        at: &At<'_>,
        name: &Name,
        alternate: &Alternate,
        want: &Want,
        resolved: &Resolved,
    ) -> Result<(), Error> {
        let Some(dir) = self.dir() else {
            return Ok(());
        };
        let source = alternate.dir.open_file(name)?;
        let mut staged = dir.stage_unique(name)?;
        let copied = staged.copy_from(&source, 0..alternate.found.stat.size)?;
        if copied != at.entry.len {
            return Err(Error {
                op: "copy_file_range",
                errno: super::receive::EIO,
            });
        }
        let attributes = &self.side.attributes;
        let on = On::Staged(&staged);
        let (_, failures) = attributes.set(on, at.entry, want, &resolved.xattrs, true)?;
        self.side.not_set(Who::Generator, at.entry, &failures);
        staged.place(dir, name)
    }

    /// Asks for a file that is rebuilt from an alternate.
    fn ask_from_alternate(
        &mut self,
        at: &At<'_>,
        name: &Name,
        alternate: Alternate,
    ) -> Result<Option<Step>, Failure> {
        let flags = self.transfer_flags();
        let (flags, _, resolved) = self.differences(at, &alternate.found, flags);
        let basis = match self.side.is_whole_file() || self.side.options.dry_run {
            true => None,
            false => alternate.dir.open_file(name).ok(),
        };
        let mut ask = Ask::new(flags);
        ask.basis = Basis::Directory(alternate.number);
        let transfer = super::requests::Transfer {
            head: self.head(basis.as_ref(), false),
            dir: std::sync::Arc::clone(self.target_dir()),
            existing: None,
            again: false,
            refused: false,
            how: self.how(None),
        };
        self.ask(at, ask, &resolved, transfer, basis).map(Some)
    }
}
