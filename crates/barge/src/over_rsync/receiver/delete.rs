//! Deletes what the sender does not have, one directory at a time, in the order rsync does it.
//!
//! Backwards through the order of lists: directories first, the last name first, and what is in a
//! directory before itself. Which directories may be swept is decided elsewhere: only those that the
//! sender has listed completely.

use std::sync::Arc;

use barge_fs::{Dir, Error, Stat, StatKind, is_own_temporary};
use barge_rsync::options::{Delete, Options};
use barge_rsync::wire::mux::{IoErrors, Message};
use barge_rsync::wire::stats::DelStats;
use barge_types::Name;

use super::backup::Backup;
use super::texts::printable;
use crate::filter::Scope;
use crate::over_rsync::Event;
use crate::over_rsync::event::Level;
use crate::over_rsync::run::Run;

/// Deletes for one run.
#[derive(Debug)]
pub(super) struct Deleter {
    run: Arc<Run>,
    dry_run: bool,
    /// Directories are opened for their owner before they are emptied.
    takes_rights: bool,
    /// Directories that must make way are removed with what is in them.
    recurses: bool,
    /// What is mounted in the destination is another's: `--one-file-system`.
    stays_on_file_system: bool,
    /// `--info=mount`.
    tells_mounts: bool,
    limit: Option<u64>,
    backup: Option<Arc<Backup>>,
    deleted: DelStats,
    /// The path that is not told when it goes.
    silent: Option<Vec<u8>>,
    count: u64,
    /// What the limit has spared.
    spared: u64,
}

/// What became of an entry that was to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is gone, or would be in a dry run.
    Gone,
    /// Something in it, a limit, or an error keeps it.
    Stays,
}

/// What became of the content of a directory that is to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Emptied {
    /// All of it went, as far as it could be seen.
    Yes,
    /// Some of it stays.
    No,
    /// It was not looked at: it is another file system's.
    IsMounted,
}

/// A directory whose entries go, and how the user knows it.
struct Place<'p> {
    dir: &'p Dir,
    path: &'p [u8],
    scope: &'p Scope,
    depth: usize,
}

impl Deleter {
    /// `takes_rights`: an ordinary user empties directories in which he has not all rights.
    pub(super) fn new(
        run: Arc<Run>,
        options: &Options,
        backup: Option<Arc<Backup>>,
        takes_rights: bool,
    ) -> Self {
        Self {
            run,
            takes_rights: takes_rights && !options.dry_run,
            dry_run: options.dry_run,
            recurses: options.force || options.delete != Delete::No,
            stays_on_file_system: options.one_file_system > 0,
            tells_mounts: options.info.mount > 0,
            limit: options.max_delete,
            backup,
            deleted: DelStats::default(),
            silent: None,
            count: 0,
            spared: 0,
        }
    }

    /// What is in `dir`, known to the user as `path` (empty for the root), that `is_listed` does not
    /// know and `scope` does not spare, in the order it is to go.
    pub(super) fn find(
        &self,
        dir: &Dir,
        path: &[u8],
        scope: &Scope,
        is_listed: &dyn Fn(&Name) -> bool,
    ) -> Vec<(Name, Stat)> {
        let depth = 0;
        let place = Place {
            dir,
            path,
            scope,
            depth,
        };
        match extraneous(&place, is_listed) {
            Ok((found, _)) => found,
            Err(error) => {
                self.fail("opendir", path, &error);
                Vec::new()
            }
        }
    }

    /// Removes an entry that is in another's way: what is in a directory is told, and it is not.
    pub(super) fn make_way(
        &mut self,
        dir: &Dir,
        path: &[u8],
        name: &Name,
        stat: &Stat,
        scope: &Scope,
    ) -> Fate {
        self.silent = Some(join(path, name));
        let fate = self.remove(dir, path, name, stat, scope);
        self.silent = None;
        fate
    }

    /// Removes an entry; a directory with what is in it only where a deletion or `--force` is asked
    /// for.
    pub(super) fn remove(
        &mut self,
        dir: &Dir,
        path: &[u8],
        name: &Name,
        stat: &Stat,
        scope: &Scope,
    ) -> Fate {
        let depth = 0;
        let place = Place {
            dir,
            path,
            scope,
            depth,
        };
        if stat.kind == StatKind::Directory && !self.recurses {
            return self.remove_dir(&place, name, stat, is_empty(dir, name));
        }
        self.delete(&place, name, stat)
    }

    /// What was deleted.
    pub(super) fn deleted(&self) -> DelStats {
        self.deleted
    }

    /// Says at the end that the limit was reached.
    pub(super) fn conclude(&self) {
        if self.spared == 0 {
            return;
        }
        let spared = self.spared;
        let text = format!("Deletions stopped due to --max-delete limit ({spared} skipped)\n");
        self.run.say(Level::Warning, text);
        // A server that sends has nothing to do with it.
        if self.run.trouble(IoErrors::DELETE_LIMIT) && self.run.server {
            let message = Message::IoError(IoErrors::DELETE_LIMIT);
            self.run.outgoing.message(&message);
        }
    }

    /// Returns whether everything went, or would have.
    fn clear(&mut self, place: &Place<'_>, is_listed: &dyn Fn(&Name) -> bool) -> bool {
        let (entries, mut all) = match extraneous(place, is_listed) {
            Ok(found) => found,
            Err(error) => {
                self.fail("opendir", place.path, &error);
                return false;
            }
        };
        for (name, stat) in entries {
            all &= self.delete(place, &name, &stat) == Fate::Gone;
        }
        all
    }

    fn delete(&mut self, place: &Place<'_>, name: &Name, stat: &Stat) -> Fate {
        // Backups of this run are no extraneous files, wherever the user wants them.
        let path = join(place.path, name);
        if self
            .backup
            .as_ref()
            .is_some_and(|backup| backup.is_tree(&path))
        {
            return Fate::Stays;
        }
        if stat.kind == StatKind::Directory {
            return match self.empty(place, name, stat) {
                Emptied::Yes => self.remove_dir(place, name, stat, true),
                Emptied::No => self.remove_dir(place, name, stat, false),
                Emptied::IsMounted => self.leave_mounted(place, &path),
            };
        }
        if self.is_at_limit() {
            self.spared += 1;
            return Fate::Stays;
        }
        let path = join(place.path, name);
        let backup = self.backup.as_ref().filter(|backup| backup.takes(name));
        let removed = match backup {
            _ if self.dry_run => Ok(()),
            Some(backup) => backup.keep(&self.run, place.dir, &path, name, stat),
            None => place.dir.unlink(name),
        };
        self.note("unlink", removed, &path, stat)
    }

    /// Deletes what is in a directory that is to go.
    fn empty(&mut self, place: &Place<'_>, name: &Name, stat: &Stat) -> Emptied {
        let path = join(place.path, name);
        let depth = place.depth + 1;
        if self.takes_rights {
            // What cannot be had shows when it is opened, or when what is in it is removed.
            let _ = place.dir.make_child_writable(name, stat);
        }
        let below = match place.dir.open_dir(name) {
            Ok(below) => below,
            Err(error) => {
                // It may be empty all the same.
                if !error.is_not_found() {
                    self.fail("opendir", &path, &error);
                }
                return Emptied::Yes;
            }
        };
        if self.stays_on_file_system && !are_on_one_file_system(place.dir, &below) {
            return Emptied::IsMounted;
        }
        if depth > DEEPEST {
            self.fail("opendir", &path, &Error::too_long("openat"));
            return Emptied::No;
        }
        let emptied = match place.scope.enter(name.as_bytes(), &below) {
            Ok(scope) => {
                let scope = &scope.dying();
                let inside = Place {
                    dir: &below,
                    path: &path,
                    scope,
                    depth,
                };
                self.clear(&inside, &|_| false)
            }
            Err(error) => {
                self.run.say(Level::FileError, format!("{error}\n"));
                false
            }
        };
        match emptied {
            true => Emptied::Yes,
            false => Emptied::No,
        }
    }

    /// Another file system is mounted there, and none is to be crossed into: nothing in it goes, and
    /// neither do the directories above it.
    fn leave_mounted(&self, place: &Place<'_>, path: &[u8]) -> Fate {
        if self.tells_mounts && place.depth == 0 {
            let line = [b"cannot delete mount point: ", path, b"\n"].concat();
            self.run.say(Level::Info, line);
        }
        Fate::Stays
    }

    fn remove_dir(&mut self, place: &Place<'_>, name: &Name, stat: &Stat, emptied: bool) -> Fate {
        let path = join(place.path, name);
        // What makes way counts as no deletion, and one below another counts even when it stays.
        let is_spared = self.is_at_limit() && self.silent.as_deref() != Some(&path);
        self.spared += u64::from(is_spared && (emptied || place.depth > 0));
        if !emptied {
            let fate = self.not_empty(&path);
            // Within a directory that goes rsync tries all the same: it counts, and is told again.
            if place.depth == 0 || self.dry_run {
                return fate;
            }
        }
        if is_spared {
            return Fate::Stays;
        }
        let removed = match self.dry_run {
            true => Ok(()),
            false => place.dir.remove_dir(name),
        };
        if removed.is_err_and(|error| error.is_not_empty()) {
            return self.not_empty(&path);
        }
        self.note("rmdir", removed, &path, stat)
    }

    fn not_empty(&self, path: &[u8]) -> Fate {
        let line = [b"cannot delete non-empty directory: ", path, b"\n"].concat();
        self.run.say(Level::Info, line);
        Fate::Stays
    }

    fn is_at_limit(&self) -> bool {
        self.limit.is_some_and(|limit| self.count >= limit)
    }

    fn note(&mut self, call: &str, removed: Result<(), Error>, path: &[u8], stat: &Stat) -> Fate {
        match removed {
            Ok(()) if self.silent.as_deref() == Some(path) => Fate::Gone,
            Ok(()) => {
                self.count(stat.kind);
                self.tell(path, stat);
                Fate::Gone
            }
            Err(error) if error.is_not_found() => Fate::Gone,
            Err(error) => {
                self.fail(&format!("delete_file: {call}"), path, &error);
                Fate::Stays
            }
        }
    }

    fn count(&mut self, kind: StatKind) {
        self.count += 1;
        let counter = match kind {
            StatKind::File => &mut self.deleted.files,
            StatKind::Directory => &mut self.deleted.dirs,
            StatKind::Symlink => &mut self.deleted.links,
            StatKind::CharDevice | StatKind::BlockDevice => &mut self.deleted.devices,
            StatKind::Fifo | StatKind::Socket => &mut self.deleted.specials,
        };
        *counter = counter.saturating_add(1);
    }

    fn tell(&self, path: &[u8], stat: &Stat) {
        if self.run.server {
            let (name, is_dir) = (path.to_vec().into(), stat.kind == StatKind::Directory);
            self.run
                .outgoing
                .message(&Message::Deleted { name, is_dir });
        }
        let mode = stat.kind.st_mode() | stat.mode.bits();
        self.run.tell(Event::Deleted { name: path, mode });
    }

    /// Says that something could not be done for deletions.
    pub(super) fn fail(&self, call: &str, path: &[u8], error: &Error) {
        let (path, cause) = (printable(path), error.reason());
        let text = format!("rsync: [generator] {call}({path}) failed: {cause}\n");
        self.run.say(Level::FileError, text);
    }
}

/// What is in a directory and neither listed nor spared, in the order it goes; and whether nothing is
/// spared.
fn extraneous(
    place: &Place<'_>,
    is_listed: &dyn Fn(&Name) -> bool,
) -> Result<(Vec<(Name, Stat)>, bool), Error> {
    let (mut entries, mut all) = (Vec::new(), true);
    for listed in place.dir.names()? {
        let name = listed?.name;
        // Temporary files of a run that is on are not this run's to take away.
        let is_temporary = place.depth == 0 && is_own_temporary(&name);
        if is_listed(&name) || (is_temporary && !place.dir.is_abandoned(&name)) {
            continue;
        }
        let Some(stat) = place.dir.find(&name)? else {
            continue;
        };
        let (bytes, is_dir) = (name.as_bytes(), stat.kind == StatKind::Directory);
        if place.scope.excludes(bytes, is_dir) || place.scope.daemon_excludes(bytes, is_dir) {
            all = false;
        } else {
            entries.push((name, stat));
        }
    }
    entries.sort_by_cached_key(|(name, stat)| {
        let is_dir = stat.kind == StatKind::Directory;
        let slash: &[u8] = if is_dir { b"/" } else { b"" };
        std::cmp::Reverse((is_dir, [name.as_bytes(), slash].concat()))
    });
    Ok((entries, all))
}

/// Where that cannot be told they are not.
fn are_on_one_file_system(dir: &Dir, below: &Dir) -> bool {
    let device = |dir: &Dir| dir.stat_self().map(|stat| stat.dev).ok();
    device(dir).is_some_and(|above| device(below) == Some(above))
}

fn is_empty(dir: &Dir, name: &Name) -> bool {
    let names = dir.open_dir(name).and_then(|below| below.names());
    names.is_ok_and(|mut names| names.next().is_none())
}

fn join(path: &[u8], name: &Name) -> Vec<u8> {
    match path {
        b"" => name.as_bytes().to_vec(),
        _ => [path, b"/", name.as_bytes()].concat(),
    }
}

/// Directories in each other that are emptied, each with its open handle; what lies deeper keeps those
/// above it, and that is an error.
const DEEPEST: usize = 512;
