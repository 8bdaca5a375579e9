//! When and where is deleted what the sender does not have.
//!
//! Source: rsync(1), «--delete» and its kin, and rsync 3.5.0 as it behaves.

use std::collections::HashSet;

use barge_fs::{Dir, Error, Stat, StatKind};
use barge_rsync::options::Delete;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::list::List;
use barge_rsync::wire::mux::IoErrors;
use barge_types::{Name, RelPath};

use super::delete::Fate;
use super::generator::{At, Generator};
use super::scopes::{NoScope, Scopes};
use super::texts::Who;
use super::walk::Step;
use crate::filter::Scope;
use crate::over_rsync::{Failure, Level};

/// What was found in a directory, to be deleted at the end.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: Vec<u8>,
    entries: Vec<(Name, Stat)>,
}

impl Generator {
    /// A directory is come to: what is to go from it goes, or is remembered.
    pub(super) fn sweep_now(&mut self, at: &At<'_>, dir: &Dir) -> Result<(), Failure> {
        let delete = self.side.options.delete;
        if !matches!(delete, Delete::During | Delete::Delay) || !self.may_sweep(at.entry, dir) {
            return Ok(());
        }
        let listed = self.listed(at);
        self.sweep(at.entry, dir, &listed, delete == Delete::Delay)
    }

    /// Deletes in all directories of the only list, before or after everything else.
    pub(super) fn sweep_all(&mut self, list: &std::sync::Arc<List>) -> Result<(), Failure> {
        for (index, entry) in list.entries() {
            if !entry.is_dir() || self.is_skipped(entry) {
                continue;
            }
            let path = entry.path.to_vec();
            if self.side.hidden().takes(&path, true) && !entry.path.is_root() {
                continue;
            }
            let Some(dir) = self.open_to_sweep(&path) else {
                continue;
            };
            if !self.may_sweep(entry, &dir) {
                continue;
            }
            let at = At {
                list,
                index,
                entry,
                is_parent: false,
            };
            let listed = self.listed(&at);
            self.sweep(entry, &dir, &listed, false)?;
        }
        Ok(())
    }

    /// Deletes what was found as the directories were come to.
    pub(super) fn sweep_found(&mut self) -> Result<(), Failure> {
        for found in std::mem::take(&mut self.found) {
            let Some(dir) = self.open_to_sweep(&found.path) else {
                continue;
            };
            let Some(scope) = self.scope(&found.path)? else {
                continue;
            };
            self.open_for_deletions(&found.path, &dir);
            let path = below_root(&found.path);
            for (name, stat) in &found.entries {
                let there = dir.find(name).ok().flatten();
                if there.is_some_and(|there| there.ino == stat.ino) {
                    self.deleter.remove(&dir, path, name, stat, &scope);
                }
            }
            self.touch(&found.path);
        }
        Ok(())
    }

    fn sweep(
        &mut self,
        entry: &FileEntry,
        dir: &Dir,
        listed: &HashSet<Vec<u8>>,
        later: bool,
    ) -> Result<(), Failure> {
        let path = entry.path.to_vec();
        let Some(scope) = self.scope(&path)? else {
            return Ok(());
        };
        let is_listed = |name: &Name| listed.contains(name.as_bytes());
        let shown = below_root(&path);
        let entries = self.deleter.find(dir, shown, &scope, &is_listed);
        if entries.is_empty() {
            return Ok(());
        }
        if later {
            self.swept_late.insert(path.clone());
            self.found.push(Found { path, entries });
            return Ok(());
        }
        self.open_for_deletions(&path, dir);
        for (name, stat) in &entries {
            self.deleter.remove(dir, shown, name, stat, &scope);
        }
        self.touch(&path);
        Ok(())
    }

    /// Whether anything may be deleted in a directory: its contents were asked for and are all
    /// listed, and nothing went wrong at the sender.
    fn may_sweep(&mut self, entry: &FileEntry, dir: &Dir) -> bool {
        let asked = self.side.asked.as_ref();
        if asked.is_some_and(|asked| !asked.has_contents_of(&entry.path.to_vec())) {
            return false;
        }
        if !entry.dir_kind.has_content() || !self.is_on_the_same_file_system(entry, dir) {
            return false;
        }
        let errors = self.side.run.io_errors().has(IoErrors::GENERAL);
        if !errors || self.side.options.ignore_errors {
            return true;
        }
        if !std::mem::replace(&mut self.told_no_deletion, true) {
            let line = "IO error encountered -- skipping file deletion\n";
            self.side.run.say(Level::Info, line);
        }
        false
    }

    /// With `--one-file-system` nothing is deleted on another one than that of the directory that was
    /// named.
    fn is_on_the_same_file_system(&mut self, entry: &FileEntry, dir: &Dir) -> bool {
        if self.side.options.one_file_system == 0 {
            return true;
        }
        let Ok(stat) = dir.stat_self() else {
            return false;
        };
        if entry.dir_kind == barge_rsync::wire::entry::DirKind::Top {
            self.file_system = Some(stat.dev);
        }
        self.file_system == Some(stat.dev)
    }

    /// The names that the list has in a directory.
    fn listed(&self, at: &At<'_>) -> HashSet<Vec<u8>> {
        let base = |entry: &FileEntry| entry.path.base().to_vec();
        if self.side.run.setup.is_incremental() && at.is_parent && !at.entry.path.is_root() {
            return at.list.entries().map(|(_, entry)| base(entry)).collect();
        }
        let path = at.entry.path.to_vec();
        let is_root = at.entry.path.is_root();
        let is_in = |entry: &FileEntry| match entry.path.dir() {
            None => is_root && !entry.path.is_root(),
            Some(dir) => **dir == *path,
        };
        let below = |entry: &FileEntry| {
            is_root
                || entry
                    .path
                    .dir()
                    .is_some_and(|dir| **dir == *path || starts_below(dir, &path))
        };
        let begin = if at.is_parent {
            at.list.start()
        } else {
            at.index
        };
        let entries = at.list.entries_from(begin);
        entries
            .map(|(_, entry)| entry)
            .filter(|entry| !std::ptr::eq(*entry, at.entry))
            .take_while(|entry| below(entry) || entry.path.is_root())
            .filter(|entry| is_in(entry) && !self.is_pruned(entry))
            .map(base)
            .collect()
    }

    /// The rules that hold in a directory; `None` when they cannot be told, and nothing is deleted.
    pub(super) fn scope(&mut self, path: &[u8]) -> Result<Option<Scope>, Failure> {
        if self.scopes.is_none() {
            let scopes = Scopes::new(&self.side, &self.side.rules);
            let scopes = scopes.map_err(|error| Failure::fatal(error.exit_code, error.text))?;
            self.scopes = Some(scopes);
        }
        let scopes = self.scopes.as_mut().expect("it was just made");
        let side = &self.side;
        let open = |path: &[u8]| -> Result<Dir, Error> {
            match path {
                b"." => side.root().dir(&RelPath::root()),
                path => side.root().dir(&RelPath::new(path)?),
            }
        };
        match scopes.of(path, &open) {
            Ok(scope) => Ok(Some(scope)),
            Err(NoScope::Dir) => Ok(None),
            Err(NoScope::Rules(error)) => Err(Failure::fatal(error.exit_code, error.text)),
        }
    }

    /// Opens a directory that something may be deleted in; `None` when it is not there. One that cannot
    /// be opened is told of.
    fn open_to_sweep(&mut self, path: &[u8]) -> Option<Dir> {
        let opened = self.open_path(path)?;
        match opened.or_else(|error| self.open_shut(path, error)) {
            Err(error) if !error.is_no_directory() => {
                self.deleter.fail("opendir", path, &error);
                None
            }
            opened => opened.ok(),
        }
    }

    /// The same of one that could not be opened as it was.
    fn open_shut(&mut self, path: &[u8], error: Error) -> Result<Dir, Error> {
        let below = path.strip_prefix(b"/").unwrap_or(path);
        let (above, name) = match below.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&below[..slash], &below[slash + 1..]),
            None => (&b"."[..], below),
        };
        match (self.open_path(above), Name::new(name)) {
            (Some(Ok(above)), Ok(name)) => self.open_up(&above, &name, path, error),
            _ => Err(error),
        }
    }

    /// A directory that was done before something is deleted in it, or is come to after that, may have
    /// to be opened for its owner.
    fn open_for_deletions(&mut self, path: &[u8], dir: &Dir) {
        if let (Ok(target), Ok(stat)) = (self.dirs.at(path), dir.stat_self()) {
            self.take_rights(&target, dir, &stat);
        }
    }

    /// Opens a directory of the destination by its path in the lists; `None` when the destination
    /// itself is not there.
    fn open_path(&self, path: &[u8]) -> Option<Result<Dir, Error>> {
        let root = self.side.target().root.as_ref()?;
        let below = match path {
            b"." => RelPath::root(),
            path => RelPath::new(path.strip_prefix(b"/").unwrap_or(path)).ok()?,
        };
        Some(root.dir(&below))
    }

    fn touch(&mut self, path: &[u8]) {
        if let Ok(target) = self.dirs.at(path) {
            target.touch();
        }
    }

    /// Sees that an entry of another kind can take a name: a directory has to go, and what a
    /// directory or a file that is written in its place replaces; anything else is replaced when the
    /// new entry is there. False when it stays.
    pub(super) fn make_way(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: &Stat,
    ) -> Result<bool, Failure> {
        let has_its_place = self.side.options.inplace && at.entry.is_file();
        let is_gone = match stat.kind {
            StatKind::Directory => self.remove(at, name, stat, true)? == Some(Fate::Gone),
            _ if at.entry.is_dir() || has_its_place => self.drop_other(at, name, stat),
            _ => true,
        };
        if !is_gone {
            let kind = match at.entry {
                entry if entry.is_dir() => "directory",
                entry if entry.is_file() => "regular file",
                entry if entry.is_symlink() => "symlink",
                entry if entry.is_device() => "device file",
                _ => "special file",
            };
            let path = at.entry.path.to_vec();
            let line = [
                &b"could not make way for new "[..],
                kind.as_bytes(),
                b": ",
                &path,
                b"\n",
            ];
            self.side.run.say(Level::FileError, line.concat());
        }
        Ok(is_gone)
    }

    /// Removes what cannot be replaced by a rename, or keeps it elsewhere.
    fn drop_other(&mut self, at: &At<'_>, name: &Name, stat: &Stat) -> bool {
        let Some(dir) = self.dir().filter(|_| !self.side.options.dry_run) else {
            return true;
        };
        if !self.back_up(at, name, stat) {
            return false;
        }
        self.target_dir().touch();
        match dir.unlink(name) {
            Err(error) if !error.is_not_found() => {
                self.side
                    .failed(Who::Generator, "delete_file: unlink", at.entry, &error);
                false
            }
            _ => true,
        }
    }

    /// Deletes what the sender was asked for and does not have.
    pub(super) fn remove_missing(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: Option<Stat>,
    ) -> Result<Step, Failure> {
        if let Some(stat) = stat {
            self.remove(at, name, &stat, false)?;
        }
        Ok(Step::Nothing)
    }

    fn remove(
        &mut self,
        at: &At<'_>,
        name: &Name,
        stat: &Stat,
        quietly: bool,
    ) -> Result<Option<Fate>, Failure> {
        let above = at
            .entry
            .path
            .dir()
            .map_or(b".".to_vec(), |dir| dir.to_vec());
        let Some(dir) = self.dir().cloned() else {
            return Ok(Some(Fate::Gone));
        };
        let Some(scope) = self.scope(&above)? else {
            return Ok(None);
        };
        self.target_dir().touch();
        let shown = below_root(&above);
        let deleter = &mut self.deleter;
        let fate = match quietly {
            true => deleter.make_way(&dir, shown, name, stat, &scope),
            false => deleter.remove(&dir, shown, name, stat, &scope),
        };
        Ok(Some(fate))
    }
}

/// A directory's path as deletions are told: empty for the root.
fn below_root(path: &[u8]) -> &[u8] {
    match path {
        b"." => b"",
        path => path,
    }
}

/// Whether a directory lies below another.
fn starts_below(dir: &[u8], above: &[u8]) -> bool {
    dir.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with(b"/"))
}
