//! Scans the sources and makes the lists, ahead of the thread that sends them.
//!
//! With incremental recursion the first list has what was named, and each directory's children have
//! a list of their own, depth first. Else there is one list, which is sent while it grows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use barge_fs::Error;
use barge_rsync::options::Options;
use barge_rsync::wire::budget::Budget;
use barge_rsync::wire::entry::{DirKind, FileEntry, WirePath};
use barge_rsync::wire::flist::{FlistEncoder, Inode};
use barge_rsync::wire::idlist::Names;
use barge_rsync::wire::list::{List, ListDir};
use barge_rsync::wire::mux::IoErrors;
use barge_rsync::wire::ndx::{DirIndex, FileIndex};
use barge_rsync::wire::sort;
use barge_types::Name;
use bytes::BytesMut;

use super::arguments::{Argument, join};
use super::bases::{Bases, Reach};
use super::look::{Here, Listed, Look};
use super::queue::{Abandoned, Queue, Scanned, ScannedList};
use super::trouble;
use crate::filter::{RuleError, RuleList, RuleSide, Scope};
use crate::over_rsync::Level;
use crate::over_rsync::failure::{Failure, exit};
use crate::over_rsync::memory;
use crate::over_rsync::run::Run;

/// Bytes of the one list that are handed over at a time.
const PIECE: usize = 32 << 10;

/// A scan of all sources.
pub(super) struct Scan {
    pub(super) run: Arc<Run>,
    pub(super) options: Arc<Options>,
    pub(super) bases: Arc<Bases>,
    pub(super) look: Look,
    pub(super) rules: RuleList,
    pub(super) encoder: FlistEncoder,
    pub(super) names: Box<dyn Names + Send>,
    pub(super) queue: Arc<Queue>,
    /// Every name comes once: of a file whose names have all come nothing need be remembered.
    pub(super) forgets_links: bool,
    pub(super) books: Books,
}

/// What a scan remembers.
#[derive(Default)]
pub(super) struct Books {
    /// The index of the next list's first entry.
    start: u32,
    /// How many directories the lists so far have.
    dirs: u32,
    /// The list that is being made.
    list: Draft,
    /// What is led to through directories that only lead on, by the directory it is in: it is listed
    /// with that one's children.
    led_to: HashMap<Arc<[u8]>, Vec<Found>>,
    /// Directories that lead on and are listed already.
    implied: HashSet<Vec<u8>>,
    /// The directory the last argument was in: many arguments are in the same.
    last: Option<(Vec<u8>, Here)>,
}

impl Books {
    /// The first list's first entry has the index `start`.
    pub(super) fn new(start: u32) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// An entry is held until the list that is being made is complete. Whoever names things many times
    /// makes a list of many entries with few words.
    fn hold(&mut self, entry: &FileEntry) -> Result<(), Failure> {
        let held = self.list.budget.hold(entry.weight(), "a list");
        held.map_err(|_| {
            let text = "rsync: the list takes more memory than there is for it";
            Failure::fatal(exit::MEMORY, text)
        })
    }
}

/// A list that is being made.
struct Draft {
    entries: Vec<FileEntry>,
    /// Of what the entries take.
    budget: Budget,
    bytes: BytesMut,
    size: u64,
    /// The directories among the entries whose children are to be listed.
    dirs: Vec<FoundDir>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            budget: memory::for_lists(),
            bytes: BytesMut::new(),
            size: 0,
            dirs: Vec::new(),
        }
    }
}

/// An entry that is to be listed, and what holds for it.
struct Found {
    listed: Listed,
    /// The rules of the directory it is in.
    scope: Scope,
    /// The file system that may not be left below it.
    device: u64,
}

/// A directory in a list.
struct FoundDir {
    entry: Arc<FileEntry>,
    source: Source,
}

/// A directory whose children are to be listed.
struct Waiting {
    index: DirIndex,
    entry: Arc<FileEntry>,
    /// Where they are: more than one place when it was named more than once.
    sources: Vec<Source>,
}

/// Where children of a directory are.
struct Source {
    reach: Reach,
    has_content: bool,
    /// The rules of the directory that it is in.
    scope: Scope,
    device: u64,
}

/// Why a scan ends early.
enum Stop {
    Failed(Failure),
    Abandoned,
}

/// Sees that nobody waits for a scan that panicked.
struct LastWord(Arc<Queue>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let failure = Failure::fatal(exit::IPC, "rsync: the scan broke off");
        let _ = self.0.put(Scanned::Failed(failure));
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Abandoned> for Stop {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

impl From<RuleError> for Stop {
    fn from(error: RuleError) -> Self {
        Self::Failed(Failure::fatal(error.exit_code, error.text))
    }
}

impl Scan {
    /// Scans all that is named, to the end or until nobody takes it any more.
    pub(super) fn run(mut self, named: impl Iterator<Item = Result<Argument, Failure>>) {
        barge_fs::dedicate_thread();
        let _last_word = LastWord(Arc::clone(&self.queue));
        let ended = match self.scan(named) {
            Ok(()) => self.queue.put(Scanned::End),
            Err(Stop::Failed(failure)) => self.queue.put(Scanned::Failed(failure)),
            Err(Stop::Abandoned) => Ok(()),
        };
        // Whoever abandoned it does not wait for its end.
        drop(ended);
    }

    fn scan(&mut self, named: impl Iterator<Item = Result<Argument, Failure>>) -> Result<(), Stop> {
        self.encoder.begin(index(self.books.start)?);
        for argument in named {
            // What is not there is in no list: it is told of, and that is all that moves.
            self.run.activity.progress();
            self.run.outgoing.relieve();
            if self.queue.is_abandoned() {
                return Err(Stop::Abandoned);
            }
            self.argument(&argument?)?;
            if !self.is_incremental() {
                self.descend()?;
            }
        }
        let mut levels = vec![self.end_list(None)?.into_iter()];
        while let Some(level) = levels.last_mut() {
            match level.next() {
                Some(dir) => levels.push(self.list_of(dir)?.into_iter()),
                None => drop(levels.pop()),
            }
        }
        Ok(())
    }

    fn is_incremental(&self) -> bool {
        self.run.setup.is_incremental()
    }

    /// Without incremental recursion: lists all that is below the directories found last.
    fn descend(&mut self) -> Result<(), Stop> {
        let mut levels = vec![std::mem::take(&mut self.books.list.dirs).into_iter()];
        while let Some(level) = levels.last_mut() {
            let Some(FoundDir { entry, source }) = level.next() else {
                levels.pop();
                continue;
            };
            self.children(&entry.path, &[source])?;
            let below = std::mem::take(&mut self.books.list.dirs);
            levels.push(below.into_iter());
        }
        Ok(())
    }

    /// Makes the list of a directory's children, and returns the directories among them.
    fn list_of(&mut self, dir: Waiting) -> Result<Vec<Waiting>, Stop> {
        self.encoder.begin(index(self.books.start)?);
        self.children(&dir.entry.path, &dir.sources)?;
        let led_to = self.books.led_to.remove(&*dir.entry.path.to_vec());
        for found in led_to.into_iter().flatten() {
            self.push(found)?;
        }
        let Waiting { index, entry, .. } = dir;
        self.end_list(Some(ListDir { index, entry }))
    }

    /// Hands the list over, and returns the directories in it whose children have lists.
    fn end_list(&mut self, dir: Option<ListDir>) -> Result<Vec<Waiting>, Stop> {
        let Draft {
            entries,
            budget,
            mut bytes,
            size,
            dirs,
        } = std::mem::take(&mut self.books.list);
        let errors = match self.options.ignore_errors {
            true => IoErrors::default(),
            false => self.run.io_errors(),
        };
        let tells_errors = self.encoder.end(&mut bytes, errors, &mut *self.names);
        let waiting = self.number(dirs)?;
        let index_of_dir = dir.as_ref().map(|dir| dir.index);
        let start = self.books.start;
        let list = Arc::new(List::to_send(index(start)?, dir, entries));
        self.books.start = start.checked_add(list.len() + 1).ok_or_else(too_many)?;
        self.queue.put(Scanned::List(ScannedList {
            dir: index_of_dir,
            bytes,
            list,
            budget,
            errors,
            tells_errors,
            size,
        }))?;
        Ok(waiting)
    }

    /// Numbers the directories of a list in its order. Those of one path are listed together, under
    /// the number of the first.
    fn number(&mut self, mut dirs: Vec<FoundDir>) -> Result<Vec<Waiting>, Stop> {
        dirs.sort_by(|a, b| sort::compare(&a.entry, &b.entry));
        let mut waiting: Vec<Waiting> = Vec::with_capacity(dirs.len());
        for FoundDir { entry, source } in dirs {
            let index = DirIndex::new(self.books.dirs).ok_or_else(too_many)?;
            self.books.dirs += 1;
            match waiting.last_mut() {
                _ if entry.path.is_root() => {} // its children are in the first list
                Some(first) if first.entry.path == entry.path => first.sources.push(source),
                _ => waiting.push(Waiting {
                    index,
                    entry,
                    sources: vec![source],
                }),
            }
        }
        Ok(waiting)
    }

    /// Lists what is in a directory, in all places where it is.
    fn children(&mut self, path: &WirePath, sources: &[Source]) -> Result<(), Stop> {
        let wire: Arc<[u8]> = path.to_vec().into();
        for source in sources.iter().filter(|source| source.has_content) {
            let opened = match source.reach.is_referent {
                true => self.bases.referent(source.reach, &wire),
                false => self.bases.dir(source.reach, Some(&wire)),
            };
            let dir = match opened {
                Ok(dir) => dir,
                Err(error) => {
                    self.not_listed(source.reach, &wire, &error);
                    continue;
                }
            };
            let (path, scope) = match path.is_root() {
                true => (None, source.scope.enter_root(&dir)?),
                false => (
                    Some(Arc::clone(&wire)),
                    source.scope.enter(path.base(), &dir)?,
                ),
            };
            let here = Here {
                dir,
                reach: source.reach.below(),
                path,
                scope,
                device: source.device,
            };
            self.names_in(&here, &wire)?;
        }
        Ok(())
    }

    fn names_in(&mut self, here: &Here, wire: &[u8]) -> Result<(), Stop> {
        let names = match here.dir.names() {
            Ok(names) => names,
            Err(error) => {
                self.not_listed(here.reach, wire, &error);
                return Ok(());
            }
        };
        for name in names {
            self.run.outgoing.relieve();
            let listed = match name {
                Ok(found) => self.look.name(here, &found.name, found.kind),
                Err(error) => {
                    let quoted = self.bases.quoted(here.reach, wire);
                    trouble::failed(&self.run, "readdir", &quoted, &error);
                    None
                }
            };
            if let Some(listed) = listed {
                self.push(Found {
                    listed,
                    scope: here.scope.clone(),
                    device: here.device,
                })?;
            }
        }
        Ok(())
    }

    fn not_listed(&self, reach: Reach, wire: &[u8], error: &Error) {
        let quoted = self.bases.quoted(reach, wire);
        match error.is_not_found() {
            true => trouble::vanished(&self.run, &quoted),
            false => trouble::failed(&self.run, "opendir", &quoted, error),
        }
    }

    /// Adds an entry to the list that is being made.
    fn push(&mut self, found: Found) -> Result<(), Stop> {
        let Found {
            listed: Listed { mut entry, inode },
            scope,
            device,
        } = found;
        let inode = inode.map(|inode| Inode {
            names: inode.names.filter(|_| self.forgets_links),
            ..inode
        });
        self.books.hold(&entry)?;
        let list = &mut self.books.list;
        self.encoder
            .put(&mut list.bytes, &mut entry, inode, &mut *self.names);
        if entry.is_file() || entry.is_symlink() {
            list.size = list.size.saturating_add(entry.len);
        }
        let has_content = entry.dir_kind.has_content();
        let has_list = match self.run.setup.is_incremental() {
            true => entry.is_dir(),
            false => entry.is_dir() && has_content && !entry.path.is_root(),
        };
        if has_list {
            let source = Source {
                reach: Reach::of(&entry),
                has_content,
                scope,
                device,
            };
            let entry = Arc::new(entry.clone());
            list.dirs.push(FoundDir { entry, source });
        }
        list.entries.push(entry);
        self.run.activity.progress();
        // The one list, or the first: nothing else is due before it.
        if self.books.dirs == 0 && list.bytes.len() >= PIECE {
            let bytes = std::mem::take(&mut list.bytes);
            self.queue.put(Scanned::Piece(bytes))?;
        }
        Ok(())
    }
}

/// Arguments.
impl Scan {
    fn argument(&mut self, argument: &Argument) -> Result<(), Stop> {
        match argument.path == b"." {
            true => self.contents_of(argument),
            false => self.name_of(argument),
        }
    }

    /// What is in a directory is meant: it is the root of the transfer.
    fn contents_of(&mut self, argument: &Argument) -> Result<(), Stop> {
        let reach = self.reach(argument, &argument.dir, 0);
        let held = match self.look.refuses(&argument.dir, true) {
            true => Err(Error::absent()),
            false => self.bases.hold_base(reach),
        };
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                self.not_entered(reach, &error);
                return Ok(());
            }
        };
        if !self.options.recursive && !self.options.dirs {
            self.skip_directory(b".");
            return Ok(());
        }
        let device = held.stat().dev;
        let scope = self.scope(&argument.dir)?;
        let root = WirePath::new(b".");
        let listed = self
            .look
            .directory(reach, root.clone(), held, DirKind::Top, &scope);
        let Some(listed) = listed else {
            return Ok(());
        };
        let source = Source {
            reach,
            has_content: true,
            scope: scope.clone(),
            device,
        };
        self.push(Found {
            listed,
            scope,
            device,
        })?;
        self.children(&root, &[source])
    }

    /// A name is meant.
    fn name_of(&mut self, argument: &Argument) -> Result<(), Stop> {
        if argument.from_dot {
            self.lead_through(argument, b".")?;
        }
        let path = WirePath::new(&argument.path);
        let dir = directory_of(argument, &path);
        let Some(here) = self.enter(argument, &dir, &path)? else {
            return Ok(());
        };
        let found = match Name::new(path.base()) {
            Ok(name) => self.look.named(&here, &name, path, argument.contents),
            Err(error) => {
                let found = self.look.missing(here.reach, path, &error.into());
                found.map(|listed| (listed, here.device))
            }
        };
        if let Some((listed, device)) = found {
            let scope = here.scope.clone();
            self.named(
                argument,
                Found {
                    listed,
                    scope,
                    device,
                },
            )?;
        }
        self.books.last = Some((dir, here));
        Ok(())
    }

    fn named(&mut self, argument: &Argument, mut found: Found) -> Result<(), Stop> {
        let Options {
            recursive, dirs, ..
        } = *self.options;
        let entry = &mut found.listed.entry;
        if entry.is_dir() {
            if !recursive && !dirs {
                self.skip_directory(&argument.path);
                return Ok(());
            }
            if recursive || argument.contents {
                entry.dir_kind = DirKind::Top;
            }
        }
        if self.options.relative {
            self.lead_to(argument)?;
        }
        self.add(found)
    }

    /// Lists what is named or leads on. With incremental recursion, what is below a directory that
    /// leads on goes with that one's children.
    fn add(&mut self, found: Found) -> Result<(), Stop> {
        let dir = found.listed.entry.path.dir();
        let dir = dir.filter(|dir| self.books.implied.contains(&***dir));
        match dir.cloned().filter(|_| self.is_incremental()) {
            Some(dir) => {
                self.books.hold(&found.listed.entry)?;
                self.books.led_to.entry(dir).or_default().push(found);
                Ok(())
            }
            None => self.push(found),
        }
    }

    /// Opens the directory `dir`, in which an argument's name is; tells of one that is not there.
    fn enter(
        &mut self,
        argument: &Argument,
        dir: &[u8],
        path: &WirePath,
    ) -> Result<Option<Here>, Stop> {
        let parent = path.dir().cloned();
        let is_last = |(last, here): &mut (Vec<u8>, Here)| *last == dir && here.path == parent;
        if let Some((_, here)) = self.books.last.take_if(is_last) {
            return Ok(Some(here));
        }
        let strip = parent.as_ref().map_or(0, |dir| dir.len() + 1);
        let reach = self.reach(argument, dir, strip);
        let opened = match self.look.refuses(dir, true) {
            true => Err(Error::absent()),
            false => self.bases.dir(reach, parent.as_deref()),
        };
        let opened = opened.and_then(|dir| Ok((dir.stat_self()?.dev, dir)));
        let (device, dir) = match opened {
            Ok(opened) => opened,
            Err(error) if self.options.relative => {
                // Its whole path was named: that is what is not there.
                let reach = self.reach(argument, &argument.dir, 0);
                if let Some(listed) = self.look.missing(reach, path.clone(), &error) {
                    let scope = self.scope(&argument.dir)?;
                    let device = 0;
                    self.named(
                        argument,
                        Found {
                            listed,
                            scope,
                            device,
                        },
                    )?;
                }
                return Ok(None);
            }
            Err(error) => {
                self.not_entered(reach, &error);
                return Ok(None);
            }
        };
        let mut scope = self.scope(&argument.dir)?;
        if let Some(parent) = &parent {
            scope = self.scope_below(argument, scope, parent)?;
        }
        Ok(Some(Here {
            dir,
            reach,
            path: parent,
            scope,
            device,
        }))
    }

    /// Lists the directories that lead to a named path, those that are not listed yet; also with
    /// `--no-implied-dirs`, which the receiving side heeds.
    fn lead_to(&mut self, argument: &Argument) -> Result<(), Stop> {
        let path = &argument.path;
        let begin = usize::from(path.starts_with(b"/"));
        for (at, _) in path
            .iter()
            .enumerate()
            .skip(begin)
            .filter(|(_, byte)| **byte == b'/')
        {
            self.lead_through(argument, &path[..at])?;
        }
        Ok(())
    }

    fn lead_through(&mut self, argument: &Argument, path: &[u8]) -> Result<(), Stop> {
        if self.books.implied.contains(path) {
            return Ok(());
        }
        let reach = self.reach(argument, &argument.dir, 0);
        let held = match self.bases.hold(reach, path, true) {
            Ok(held) => held,
            Err(error) => {
                self.not_listed(reach, path, &error);
                return Ok(());
            }
        };
        let device = held.stat().dev;
        let wire = WirePath::new(path);
        let scope = self.scope(&argument.dir)?;
        let listed = self
            .look
            .directory(reach, wire, held, DirKind::Implied, &scope);
        if let Some(listed) = listed {
            self.add(Found {
                listed,
                scope,
                device,
            })?;
            self.books.implied.insert(path.to_vec());
        }
        Ok(())
    }

    /// How what is in `dir` is reached, of whose entries' paths the first `strip` bytes lead to it.
    fn reach(&self, argument: &Argument, dir: &[u8], strip: usize) -> Reach {
        let entered = !argument.dir.is_empty();
        Reach {
            base: self.bases.add(dir.to_vec(), strip, entered),
            ..Reach::default()
        }
    }

    /// The rules at the top of the transfer, of names in `dir`.
    fn scope(&self, dir: &[u8]) -> Result<Scope, Stop> {
        let none = RuleList::default();
        let daemon = self.look.module().map_or(&none, |module| &module.rules);
        let absolute = self.bases.absolute(dir);
        let mut read = |path: &[u8]| self.bases.read_above(path);
        let scope = Scope::new(daemon, &self.rules, RuleSide::Sending, &absolute, &mut read)?;
        Ok(scope)
    }

    /// The rules that hold in a directory that is led to.
    fn scope_below(
        &self,
        argument: &Argument,
        mut scope: Scope,
        path: &[u8],
    ) -> Result<Scope, Stop> {
        let reach = self.reach(argument, &argument.dir, 0);
        let mut at = 0;
        for name in path.split(|&byte| byte == b'/') {
            at += name.len();
            if !name.is_empty()
                && let Ok(opened) = self.bases.referent(reach, &path[..at])
            {
                scope = scope.enter(name, &opened)?;
            }
            at += 1;
        }
        Ok(scope)
    }

    fn not_entered(&self, reach: Reach, error: &Error) {
        let quoted = self.bases.quoted_base(reach);
        trouble::failed(&self.run, "change_dir", &quoted, error);
    }

    fn skip_directory(&self, path: &[u8]) {
        let text = [b"skipping directory ", path, b"\n"].concat();
        self.run.say(Level::Info, text);
    }
}

/// The directory an argument's name is in.
fn directory_of(argument: &Argument, path: &WirePath) -> Vec<u8> {
    let below: &[u8] = match path.dir() {
        Some(dir) if dir.is_empty() => b"/",
        Some(dir) => dir,
        None => b"",
    };
    match argument.dir.is_empty() {
        true => below.to_vec(),
        false => join(&argument.dir, below),
    }
}

fn index(number: u32) -> Result<FileIndex, Stop> {
    FileIndex::new(number).ok_or_else(too_many)
}

fn too_many() -> Stop {
    Failure::fatal(exit::MEMORY, "more entries than a transfer can number").into()
}
