//! Walks the lists, compares them with the destination, and asks for what is missing.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Hearing, RecvError, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use barge_fs::{Error, Root, SourceFile, Stat, StatKind};
use barge_rsync::WireError;
use barge_rsync::options::Delete;
use barge_rsync::session::setup::CompatFlags;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::iflags::{Basis, ItemFlags};
use barge_rsync::wire::item::{Item, put_xattr_request};
use barge_rsync::wire::list::List;
use barge_rsync::wire::ndx::{FileIndex, Ndx, NdxWriter};
use barge_rsync::wire::sums::SumHead;
use barge_types::Name;
use bytes::Bytes;

use super::attributes::Resolved;
use super::backup::{Backup, Tree};
use super::basis::Namesakes;
use super::delete::Deleter;
use super::destination::{self, Shape};
use super::dirs::TargetDirs;
use super::fuzzy::Similar;
use super::hard_links::HardLinks;
use super::hidden::Hidden;
use super::requests::{Request, Subject, Transfer};
use super::scopes::Scopes;
use super::side::{Side, Told, Verdict};
use super::sweep::Found;
use super::texts::{self, Who};
use super::walk::{Here, Step, holding};
use crate::over_rsync::failure::exit;
use crate::over_rsync::{Failure, Level};

/// The generator's part.
pub(super) struct Generator {
    pub(super) side: Arc<Side>,
    hear: Hearing<Told>,
    ndx: NdxWriter,
    /// Lists that are not done, the oldest first.
    lists: VecDeque<OpenList>,
    /// No more will come.
    lists_end: bool,
    /// How far the sender's answers are.
    answered: Answered,
    /// Files to be asked for again when all have been asked for once.
    again: Vec<FileIndex>,
    pub(super) here: Option<Here>,
    /// Of the current directory, in those of `--link-dest` and its kin.
    pub(super) namesakes: Namesakes,
    /// With `--fuzzy`: the files beside those of the current directory.
    pub(super) similar: Similar,
    /// Directories that are not done.
    pub(super) dirs: TargetDirs,
    /// Directories that are not there: nothing below them is looked at.
    pub(super) missing: HashSet<Vec<u8>>,
    /// With `--prune-empty-dirs`: the directories that hold anything.
    pub(super) holding: Option<HashSet<Vec<u8>>>,
    /// Directories of done lists in which something is still to be deleted.
    pub(super) late: Vec<Arc<FileEntry>>,
    /// Groups of hard links.
    pub(super) links: HardLinks,
    pub(super) deleter: Deleter,
    /// What is to be deleted at the end.
    pub(super) found: Vec<Found>,
    /// The directories, not done yet, in which that is.
    pub(super) swept_late: HashSet<Vec<u8>>,
    pub(super) scopes: Option<Scopes>,
    /// It was told that nothing is deleted.
    pub(super) told_no_deletion: bool,
    /// The last entry that was dealt with before all values of its attributes were here.
    pub(super) lacks_values: Option<FileIndex>,
    /// With `--one-file-system`: where the directory is that was named last.
    pub(super) file_system: Option<u64>,
    /// Requests since the last flush.
    unflushed: usize,
    entries: u64,
}

/// A list that is not done.
struct OpenList {
    list: Arc<List>,
    /// All its entries were looked at.
    walked: bool,
    /// Entries that were asked for, or wait for another.
    pending: usize,
}

/// How far the sender's answers are.
#[derive(Debug, Default)]
struct Answered {
    lists: u64,
    redos: bool,
    updates: bool,
    end: bool,
}

/// An entry that is looked at.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) list: &'a Arc<List>,
    /// By which it is asked for.
    pub(super) index: FileIndex,
    pub(super) entry: &'a FileEntry,
    /// It is the list's own directory.
    pub(super) is_parent: bool,
}

impl<'a> At<'a> {
    /// The entry of a list that has an index; `None` when none has it.
    pub(super) fn of(list: &'a Arc<List>, index: FileIndex) -> Option<Self> {
        Some(Self {
            list,
            index,
            entry: list.get(index)?,
            is_parent: false,
        })
    }
}

/// What is asked for an entry.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) flags: ItemFlags,
    pub(super) basis: Basis,
    pub(super) name: Bytes,
}

impl Ask {
    /// Something about the entry itself.
    pub(super) fn new(flags: ItemFlags) -> Self {
        Self {
            flags,
            ..Self::default()
        }
    }
}

impl Generator {
    pub(super) fn new(side: Arc<Side>, hear: Hearing<Told>) -> Self {
        let is_root = side.attributes.is_root;
        let deleter = Deleter::new(Arc::clone(&side.run), &side.options, None, !is_root);
        Self {
            side,
            hear,
            ndx: NdxWriter::default(),
            lists: VecDeque::new(),
            lists_end: false,
            answered: Answered::default(),
            again: Vec::new(),
            here: None,
            namesakes: Namesakes::default(),
            similar: Similar::default(),
            dirs: TargetDirs::default(),
            missing: HashSet::new(),
            holding: None,
            late: Vec::new(),
            links: HardLinks::default(),
            deleter,
            found: Vec::new(),
            swept_late: HashSet::new(),
            scopes: None,
            told_no_deletion: false,
            lacks_values: None,
            file_system: None,
            unflushed: 0,
            entries: 0,
        }
    }

    /// Does all of the run that is the generator's.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        if !self.first_lists()? {
            return Ok(());
        }
        self.find_destination()?;
        self.side.run.transfer_starts();
        self.tell_method();
        match self.side.run.setup.is_incremental() {
            true => self.work_list_by_list()?,
            false => self.work_at_once()?,
        }
        self.end()
    }

    /// Waits for the lists that must be there before the destination is looked for; false when
    /// there is nothing to receive.
    fn first_lists(&mut self) -> Result<bool, Failure> {
        while self.lists.is_empty() {
            self.wait()?;
        }
        // One entry may be the directory that all others are in.
        while self.lists.len() == 1 && self.lists[0].list.len() == 1 && !self.lists_end {
            self.wait()?;
        }
        if self.lists[0].list.is_empty() && !self.side.run.server {
            while !self.answered.end {
                self.wait()?;
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn find_destination(&mut self) -> Result<(), Failure> {
        let entries: u32 = self.lists.iter().map(|open| open.list.len()).sum();
        let first = self.lists[0].list.entries().next();
        let shape = Shape {
            many: entries > 1,
            dir: first.is_some_and(|(_, entry)| entry.is_dir()),
        };
        let side = &self.side;
        let shows = side.options.info.name > 0 || side.options.itemize > 0;
        let mut target = destination::find(
            &side.base,
            &side.destination,
            shape,
            &side.options,
            &mut |line| {
                if shows {
                    side.run.say(Level::Info, line);
                }
            },
        )?;
        // A link that leads on to what was named is left alone, and followed.
        let keeps_links = side.options.relative && !side.options.implied_dirs;
        if side.options.keep_dirlinks || keeps_links {
            target.root = target.root.map(Root::with_links);
        }
        // Nobody else sets it.
        let _ = side.target.set(target);
        side.check_named()?;
        self.find_temp_dir()?;
        self.prepare_backups()
    }

    /// Without its place for temporary files nothing can come.
    fn find_temp_dir(&self) -> Result<(), Failure> {
        let Some(Err(error)) = self.side.temp_dir() else {
            return Ok(());
        };
        let named = self.side.options.temp_dir.as_deref().unwrap_or_default();
        let named = self.side.kept_below(named);
        let what = match error.is_not_found() {
            true => "does not exist",
            false => "is not a directory",
        };
        let text = format!("The temp-dir {what}: {}", named.display());
        Err(Failure::fatal(exit::SYNTAX, text))
    }

    fn prepare_backups(&mut self) -> Result<(), Failure> {
        let side = &self.side;
        let options = &side.options;
        let mut tree = None;
        if let Some(named) = options.backup_dir.as_ref().filter(|_| !options.dry_run) {
            let named = side.kept_below(named);
            let root = side.target().make_beside(&named);
            let path = named.as_encoded_bytes();
            let root = root.map_err(|error| {
                let path = format!("\"{}\"", texts::printable(path));
                texts::cannot("backup_dir", &path, &error, 11)
            })?;
            tree = Some(Tree {
                root,
                shown: path.to_vec(),
                of: side.root().clone(),
            });
        }
        let hidden = match &options.backup_dir {
            Some(named) => Hidden::new(&side.base, side.target().below_named(named)),
            None => side.hidden(),
        };
        let backup = options
            .backup
            .then(|| Arc::new(Backup::new(options, tree, hidden)));
        let (run, is_root) = (Arc::clone(&side.run), side.attributes.is_root);
        self.deleter = Deleter::new(run, options, backup.clone(), !is_root);
        // Nobody else sets it.
        let _ = side.backup.set(backup);
        Ok(())
    }

    /// Keeps what is there of an entry that is to be replaced, where that is wanted. False when it
    /// cannot be kept.
    pub(super) fn back_up(&self, at: &At<'_>, name: &Name, stat: &Stat) -> bool {
        let (Some(backup), Some(dir)) = (self.side.backup(), self.dir()) else {
            return true;
        };
        if self.side.options.dry_run {
            return true;
        }
        let path = Side::path_of(self.target_dir(), name);
        match backup.keep_too(&self.side.run, dir, &path, name, stat) {
            Ok(()) => true,
            Err(error) => {
                self.side
                    .failed(Who::Generator, "backup of", at.entry, &error);
                false
            }
        }
    }

    /// The same of what an entry of another kind replaces; a directory has gone already.
    pub(super) fn keep_replaced(&self, at: &At<'_>, name: &Name, stat: &Stat) -> bool {
        stat.kind == StatKind::Directory || self.back_up(at, name, stat)
    }

    /// How content will come over, for those who want to know much.
    fn tell_method(&self) {
        if self.side.options.verbose > 1 {
            let word = match self.side.is_whole_file() {
                true => "disabled for local transfer or --whole-file",
                false => "enabled",
            };
            let line = format!("delta-transmission {word}\n");
            self.side.run.say(Level::Info, line);
        }
    }

    /// Waits for further lists, so that of a group of hard links as many names are known as rsync
    /// looks at before it chooses one.
    fn look_ahead(&mut self) -> Result<(), Failure> {
        while self.side.options.hard_links && !self.lists_end && self.entries < LOOK_AHEAD {
            self.wait()?;
        }
        Ok(())
    }

    /// With incremental recursion: each list is done by itself, in order.
    fn work_list_by_list(&mut self) -> Result<(), Failure> {
        self.look_ahead()?;
        loop {
            if let Some(at) = self.lists.iter().position(|open| !open.walked) {
                self.walk(at)?;
            }
            self.finish_lists()?;
            if self.lists.is_empty() && self.lists_end {
                return Ok(());
            }
            if self.lists.iter().all(|open| open.walked) {
                self.wait()?;
            }
        }
    }

    /// Without: the one list is said to be done at once, what did not verify is asked for again
    /// when everything has come.
    fn work_at_once(&mut self) -> Result<(), Failure> {
        let list = Arc::clone(&self.lists[0].list);
        if self.side.options.prune_empty_dirs {
            let root = self.side.target().absolute();
            let rules = &self.side.rules;
            let is_protected = |entry: &FileEntry| rules.protects(&root, &entry.path.to_vec());
            self.holding = Some(holding(&list, &is_protected));
        }
        if self.side.options.delete == Delete::Before {
            self.sweep_all(&list)?;
        }
        self.walk(0)?;
        self.done()?;
        while self.answered.lists == 0 {
            self.wait()?;
        }
        for index in std::mem::take(&mut self.again) {
            self.ask_again(index)?;
        }
        while self.lists[0].pending > self.links.held() {
            self.wait()?;
        }
        if !self.side.options.delay_updates {
            self.finish_dirs(0);
        }
        Ok(())
    }

    /// The phases after all lists: redos are through, then late work, then the goodbye.
    fn end(&mut self) -> Result<(), Failure> {
        self.done()?;
        if self.side.options.delay_updates {
            while !self.answered.redos {
                self.wait()?;
            }
            self.update_delayed()?;
        }
        self.done()?;
        let is_31 = self.side.run.setup.protocol.is_31_or_newer();
        if matches!(self.side.options.delete, Delete::Delay | Delete::After) {
            while !self.answered.updates {
                self.wait()?;
            }
            self.sweep_late()?;
        }
        self.deleter.conclude();
        if is_31 {
            self.tell_deletions()?;
            self.done()?;
        }
        while !self.answered.end {
            self.wait()?;
        }
        self.lists.clear();
        self.make_durable();
        self.side.seal()?;
        self.done()?;
        self.side.run.outgoing.flush()
    }

    /// Deletes what was to be deleted at the end.
    fn sweep_late(&mut self) -> Result<(), Failure> {
        self.sweep_found()?;
        let list = self.lists.front().map(|open| Arc::clone(&open.list));
        if let Some(list) = list {
            if self.side.options.delete == Delete::After {
                self.sweep_all(&list)?;
            }
            self.finish_dirs_of(&list);
        }
        for late in std::mem::take(&mut self.late) {
            self.finish_dir(&late);
        }
        Ok(())
    }

    /// Tells the sender, and the statistics, what was deleted.
    fn tell_deletions(&mut self) -> Result<(), Failure> {
        let options = &self.side.options;
        let deleted = self.deleter.deleted();
        self.side.tally.deleted(&deleted);
        if options.delete == Delete::No && !options.force {
            return Ok(());
        }
        let ndx = &mut self.ndx;
        self.side.run.outgoing.data(|out| {
            ndx.put(out, Ndx::DelStats);
            deleted.put(out);
        })
    }

    /// Puts all delayed updates in their places.
    fn update_delayed(&mut self) -> Result<(), Failure> {
        let delayed = std::mem::take(&mut *self.side.delayed());
        for delayed in delayed {
            let updated = self.side.update(&delayed);
            if let Err(error) = &updated {
                let path = self.side.in_place(&self.side.shown(&delayed));
                let doing = [&b"rename of delayed update of "[..], &path];
                let line = texts::failed(Who::Generator, &doing, error);
                self.side.run.say(Level::FileError, line);
            } else if self.side.options.remove_source_files {
                self.side
                    .is_safe(delayed.index, &delayed.dir.path, &delayed.name);
            }
            self.update_links(delayed.index, updated)?;
        }
        let list = self.lists.front().map(|open| Arc::clone(&open.list));
        if let Some(list) = list {
            self.finish_dirs_of(&list);
        }
        Ok(())
    }

    /// Those that waited for a delayed update become names of it.
    fn update_links(
        &mut self,
        index: FileIndex,
        updated: Result<(), Error>,
    ) -> Result<(), Failure> {
        let Some(list) = self.list_with(index) else {
            return Ok(());
        };
        let at = At::of(&list, index).expect("it was asked for");
        match self.group(&at) {
            Some(group) => self.lead(&at, group, updated.err()),
            None => Ok(()),
        }
    }

    /// What is at the destination is on its disk before the peer hears that all is well.
    fn make_durable(&self) {
        let Some(root) = self.side.target().root.as_ref() else {
            return;
        };
        if self.side.options.dry_run {
            return;
        }
        if let Err(error) = self.sync(root) {
            let path = self.side.in_place(&self.side.target().shown);
            let line = texts::failed(Who::Generator, &[b"syncfs ", &path], &error);
            self.side.run.say(Level::FileError, line);
        }
    }

    /// Waits for the disk, which may take longer than the peer would wait for a word, or this side
    /// itself for one of its own.
    fn sync(&self, root: &Root) -> Result<(), Error> {
        let (side, run) = (&self.side, &self.side.run);
        let sync = || {
            let backups = side.backup().map_or(Ok(()), |backup| backup.sync());
            root.sync().and(backups)
        };
        if run.activity.limit() == 0 {
            return sync();
        }
        let (tell, hear) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || tell.send(sync()));
            loop {
                match hear.recv_timeout(LOOK_UP) {
                    Err(RecvTimeoutError::Timeout) => run.is_at_work(),
                    synced => return synced.expect("it is told before the thread ends"),
                }
            }
        })
    }

    /// Says that a list or a phase is done.
    fn done(&mut self) -> Result<(), Failure> {
        self.side.requests.mark();
        let ndx = &mut self.ndx;
        self.side.run.outgoing.data(|out| ndx.put(out, Ndx::Done))?;
        self.unflushed += 1;
        Ok(())
    }

    /// Looks at every entry of a list.
    fn walk(&mut self, at: usize) -> Result<(), Failure> {
        let list = Arc::clone(&self.lists[at].list);
        self.side.run.trouble(list.errors);
        let start = list.start();
        if self.side.options.list_only {
            self.show(&list);
            self.open_list(start)
                .expect("a list that is walked is open")
                .walked = true;
            return Ok(());
        }
        let incremental = self.side.run.setup.is_incremental();
        if incremental && let Some(parent) = list.parent() {
            let index = FileIndex::new(start.get() - 1).expect("indexes begin at 1");
            let at = At {
                list: &list,
                index,
                entry: parent,
                is_parent: true,
            };
            self.own_dir(&at)?;
        }
        for (count, (index, entry)) in list.entries().enumerate() {
            let at = At {
                list: &list,
                index,
                entry,
                is_parent: false,
            };
            self.entry(&at)?;
            self.pause(count)?;
        }
        let open = self.open_list(start);
        open.expect("a list that is walked is open").walked = true;
        Ok(())
    }

    /// Tells of the entries of a list; in pieces, of a directory with its own list.
    fn show(&self, list: &List) {
        let in_pieces = self.side.run.setup.is_incremental();
        if in_pieces {
            list.parent()
                .into_iter()
                .for_each(|dir| self.side.show(dir));
        }
        let entries = list.entries().map(|(_, entry)| entry);
        let shown = entries.filter(|entry| !in_pieces || !entry.is_dir());
        shown.for_each(|entry| self.side.show(entry));
    }

    /// Between two entries: hears what there is to hear, and sees that the sender has work.
    fn pause(&mut self, count: usize) -> Result<(), Failure> {
        loop {
            match self.hear.try_recv() {
                Ok(told) => self.told(told)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(over()),
            }
        }
        let requests = &self.side.requests;
        if self.unflushed == 0 {
            return Ok(());
        }
        let len = requests.len();
        let is_idle = len <= self.unflushed + FEW;
        if (is_idle && self.unflushed >= FEW) || count % OFTEN == OFTEN - 1 || len >= MANY {
            self.flush()?;
        }
        if self.side.requests.is_full() {
            self.flush()?;
            self.side.requests.wait_for_room();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.unflushed = 0;
        self.side.run.outgoing.flush()
    }

    /// Waits for something to be told.
    fn wait(&mut self) -> Result<(), Failure> {
        self.flush()?;
        match self.hear.recv() {
            Ok(told) => self.told(told),
            Err(RecvError) => Err(over()),
        }
    }

    fn told(&mut self, told: Told) -> Result<(), Failure> {
        match told {
            Told::List(list) => self.list_came(list),
            Told::ListsEnd => self.lists_end = true,
            Told::Through { index, verdict } => self.through(index, verdict)?,
            Told::NoSend(index) => self.refused(index)?,
            Told::ListDone => self.answered.lists += 1,
            Told::RedoDone => self.answered.redos = true,
            Told::UpdatesDone => self.answered.updates = true,
            Told::End => self.answered.end = true,
            Told::Over => return Err(over()),
        }
        Ok(())
    }

    /// A file will not come.
    fn refused(&mut self, index: FileIndex) -> Result<(), Failure> {
        match self.side.requests.take(index) {
            Some(_) => self.through(index, Verdict::Failed),
            None => Err(WireError::Protocol("a refusal of what has come").into()),
        }
    }

    fn list_came(&mut self, list: Arc<List>) {
        self.side.tally.listed(&list);
        if self.side.options.hard_links {
            for (index, entry) in list.entries() {
                if let Some(link) = entry.extra().hard_link {
                    self.links.listed(link.group, index);
                }
            }
        }
        self.entries += u64::from(list.len());
        // What went wrong at a later one is heeded when that is walked: those before it are whole.
        if self.lists.is_empty() {
            self.side.run.trouble(list.errors);
        }
        self.lists.push_back(OpenList {
            list,
            walked: false,
            pending: 0,
        });
    }

    fn through(&mut self, index: FileIndex, verdict: Verdict) -> Result<(), Failure> {
        if verdict == Verdict::Again {
            match self.side.run.setup.is_incremental() {
                true => return self.ask_again(index),
                false => self.again.push(index),
            }
            return Ok(());
        }
        let Some(open) = self.list_of(index) else {
            return Ok(());
        };
        open.pending = open.pending.saturating_sub(1);
        let list = Arc::clone(&open.list);
        let at = At::of(&list, index).expect("it was asked for");
        let is_done = verdict == Verdict::Done;
        if is_done && self.side.options.delay_updates {
            // It is not in its place before all have come.
            if let Some(group) = self.group(&at) {
                self.links.delay(group);
            }
            return Ok(());
        }
        let step = if is_done { Step::There } else { Step::Nothing };
        self.ended(&at, step, true)
    }

    /// Says of every list at the front that it is done, when it is, and another is known to follow
    /// or none: a sender whose last list is done takes what is said next for a phase.
    fn finish_lists(&mut self) -> Result<(), Failure> {
        while let Some(open) = self.lists.front() {
            let may_be_last = self.lists.len() == 1 && !self.lists_end;
            if !open.walked || open.pending > 0 || may_be_last {
                return Ok(());
            }
            self.finish_dirs(0);
            self.lists.pop_front();
            self.done()?;
        }
        Ok(())
    }

    /// Gives the directories of a list their last time and mode.
    fn finish_dirs(&mut self, at: usize) {
        let list = Arc::clone(&self.lists[at].list);
        self.finish_dirs_of(&list);
    }

    fn finish_dirs_of(&mut self, list: &List) {
        match self.side.run.setup.is_incremental() {
            true => {
                if let Some(parent) = list.parent() {
                    self.finish_dir(parent);
                    if self.swept_late.remove(&parent.path.to_vec()) {
                        self.late.push(Arc::clone(parent));
                    }
                }
            }
            false => {
                let dirs = list.entries().rev().filter(|(_, entry)| entry.is_dir());
                for (_, entry) in dirs {
                    self.finish_dir(entry);
                }
            }
        }
    }

    /// Asks for a file that did not verify once more.
    fn ask_again(&mut self, index: FileIndex) -> Result<(), Failure> {
        let Some(open) = self.list_of(index) else {
            return Ok(());
        };
        let list = Arc::clone(&open.list);
        let at = At::of(&list, index).expect("it was asked for before");
        self.once_more(&at)
    }

    /// An entry that was to be asked for again is in its final state without.
    pub(super) fn settle(&mut self, at: &At<'_>) {
        if let Some(open) = self.list_of(at.index) {
            open.pending = open.pending.saturating_sub(1);
        }
    }

    /// An entry waits for another.
    pub(super) fn count_pending(&mut self, index: FileIndex) {
        if let Some(open) = self.list_of(index) {
            open.pending += 1;
        }
    }

    /// The list that an index is of, unless it is done.
    pub(super) fn list_with(&mut self, index: FileIndex) -> Option<Arc<List>> {
        self.list_of(index).map(|open| Arc::clone(&open.list))
    }

    fn list_of(&mut self, index: FileIndex) -> Option<&mut OpenList> {
        let after = self
            .lists
            .partition_point(|open| open.list.start() <= index);
        self.lists.get_mut(after.checked_sub(1)?)
    }

    fn open_list(&mut self, start: FileIndex) -> Option<&mut OpenList> {
        self.lists
            .iter_mut()
            .find(|open| open.list.start() == start)
    }

    /// Sends an item about an entry that needs no content, if there is something to say.
    pub(super) fn note(
        &mut self,
        at: &At<'_>,
        ask: Ask,
        resolved: &Resolved,
    ) -> Result<(), Failure> {
        let shows_all = self.side.shows_unchanged();
        if !shows_all && !ask.flags.is_significant(ask.name.len()) {
            return Ok(());
        }
        let request = self.request(at, ask, resolved, None);
        if request.lacks_values {
            self.lacks_values = Some(at.index);
        }
        self.send(request)
    }

    /// Asks for the content of a file; `sums` appends the sums of its basis.
    pub(super) fn ask(
        &mut self,
        at: &At<'_>,
        ask: Ask,
        resolved: &Resolved,
        transfer: Transfer,
        basis: Option<SourceFile>,
    ) -> Result<Step, Failure> {
        let (again, head) = (transfer.again, transfer.head);
        let request = self.request(at, ask, resolved, Some(transfer));
        if !again && let Some(open) = self.list_of(at.index) {
            open.pending += 1;
        }
        self.send(request)?;
        if self.side.options.dry_run {
            self.settle(at);
            return Ok(Step::There);
        }
        if let Some(basis) = basis {
            self.send_sums(&head, &basis)?;
        }
        Ok(Step::Underway)
    }

    /// Appends the block sums of a basis. One that cannot be read has sums of zeros, which match
    /// nothing that verifies.
    fn send_sums(&mut self, head: &SumHead, basis: &SourceFile) -> Result<(), Failure> {
        let setup = &self.side.run.setup;
        let seed_first = setup.compat.has(CompatFlags::CHECKSUM_SEED_FIX);
        let Some(strong) = head.strong_sum(setup.checksum, setup.seed, seed_first) else {
            return Ok(());
        };
        let block = head.block_len() as usize;
        let piece = (READ / block).max(1) * block;
        let (mut at, end) = (0, head.basis_len());
        let mut buffer = vec![0; piece.min(usize::try_from(end).unwrap_or(piece))];
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(piece).min(piece);
            let read = basis.read_at(&mut buffer[..len], at).unwrap_or(0);
            buffer[read..len].fill(0);
            let blocks = &buffer[..len];
            self.side
                .run
                .outgoing
                .data(|out| head.encode_sums(strong, blocks, out))?;
            at += len as u64;
        }
        Ok(())
    }

    fn request(
        &self,
        at: &At<'_>,
        ask: Ask,
        resolved: &Resolved,
        transfer: Option<Transfer>,
    ) -> Request {
        let subject = match at.is_parent {
            true => Subject::Parent(Arc::clone(at.list.parent().expect("it is being looked at"))),
            false => Subject::Entry(Arc::clone(at.list), at.index),
        };
        let mut flags = ask.flags;
        if ask.basis != Basis::Destination {
            flags |= ItemFlags::BASIS_FOLLOWS;
        }
        let item = Item {
            index: at.index,
            flags,
            basis: ask.basis,
            name: ask.name,
        };
        Request {
            item,
            subject,
            xattrs: self.side.to_be_fetched(at.entry, &resolved.missing),
            known: resolved.known.clone(),
            lacks_values: transfer.is_none() && !resolved.missing.is_empty(),
            transfer: transfer.map(Box::new),
        }
    }

    fn send(&mut self, request: Request) -> Result<(), Failure> {
        let dry_run = self.side.options.dry_run;
        let item = request.item.clone();
        let xattrs = request.xattrs.clone();
        let head = request.transfer.as_ref().map(|transfer| transfer.head);
        self.side.requests.add(request);
        self.unflushed += 1;
        let ndx = &mut self.ndx;
        self.side.run.outgoing.data(|out| {
            item.put(out, ndx);
            if dry_run {
                return;
            }
            if item.flags.has(ItemFlags::XATTR) {
                put_xattr_request(out, &xattrs);
            }
            if let Some(head) = head {
                head.encode(out);
            }
        })
    }
}

/// The receiving thread knows why.
fn over() -> Failure {
    Failure::Over
}

/// Entries that are listed before the first group of hard links is looked at; senders list a thousand
/// ahead.
const LOOK_AHEAD: u64 = 500;

/// How long the disk is waited for before it is looked what the peer waits for.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Bytes of a basis that are read at once.
const READ: usize = 256 << 10;

/// Requests that are worth a write of their own when the sender has nothing else to do.
const FEW: usize = 16;

/// Entries between two looks whether something is still to be flushed.
const OFTEN: usize = 256;

/// Requests that wait for answers when the sender surely has enough.
const MANY: usize = 1 << 15;
