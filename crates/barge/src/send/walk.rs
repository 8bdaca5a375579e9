//! Walks the source on several threads: directories and, within large ones, batches of names.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use barge_fs::{Dir, Names, Stat, StatKind, is_own_temporary};
use barge_native::DirId;
use barge_native::stripe::MAX_FILE;
use barge_types::{Entry, Kind, Meta, Name, RelPath, Side, SkipRule};

use super::outgoing::{Draft, Found, NewDir};
use super::{ROOT, Sender};
use crate::error::Error;

/// Names that are looked at in one go.
const BATCH: usize = 512;

/// A directory of the source: its way up to the root.
#[derive(Debug)]
pub(super) struct Place {
    above: Option<(Arc<Self>, Name)>,
}

impl Place {
    pub(super) fn root() -> Arc<Self> {
        Arc::new(Self { above: None })
    }

    pub(super) fn child(parent: &Arc<Self>, name: Name) -> Arc<Self> {
        Arc::new(Self {
            above: Some((Arc::clone(parent), name)),
        })
    }

    /// Its path below the root.
    pub(super) fn path(&self) -> RelPath {
        let mut names = Vec::new();
        let mut here = self;
        while let Some((parent, name)) = &here.above {
            names.push(name.as_bytes());
            here = parent;
        }
        names.reverse();
        RelPath::new(&names.join(&b'/')).expect("names joined by slashes")
    }

    fn is_root(&self) -> bool {
        self.above.is_none()
    }
}

/// Work for a walker.
#[derive(Debug)]
enum Task {
    /// List a directory.
    Directory(NewDir),
    /// Go on with the names of a large one.
    Rest(Arc<Listing>, Names),
}

/// A large directory that is being listed by several threads.
#[derive(Debug)]
struct Listing {
    id: DirId,
    place: Arc<Place>,
    path: RelPath,
    dir: Dir,
    /// Batches of which the segment has not been sent, and one while names are read.
    left: AtomicUsize,
    clean: AtomicBool,
}

impl Listing {
    fn is_clean(&self) -> bool {
        self.clean.load(Ordering::Acquire)
    }
}

/// The tasks of all walkers. The last one in is the first one out, so that what waits is bounded
/// by the depth of the tree and not by the width of its directories.
#[derive(Debug)]
pub(super) struct Walk {
    sender: Arc<Sender>,
    tasks: Mutex<Tasks>,
    ready: Condvar,
}

#[derive(Debug)]
struct Tasks {
    queue: VecDeque<Task>,
    /// Walkers that have a task and may add others.
    busy: usize,
}

impl Walk {
    /// Opens the root and starts the walkers; the last of them says when all is listed.
    pub(super) fn start(sender: &Arc<Sender>) -> Result<(), Error> {
        let root = sender.root.dir(&RelPath::root());
        let meta = root.and_then(|dir| {
            let stat = dir.stat_self()?;
            Ok(meta_of(&stat, dir.xattrs_self(&sender.keep)?))
        });
        let meta = meta.map_err(|source| {
            let what = "the source's root cannot be read".to_owned();
            Error::Root { what, source }
        })?;
        sender.open_dir(RelPath::root(), Some(meta));
        let tasks = Tasks {
            queue: VecDeque::from([Task::Directory((ROOT, Place::root()))]),
            busy: 0,
        };
        let walk = Arc::new(Self {
            sender: Arc::clone(sender),
            tasks: Mutex::new(tasks),
            ready: Condvar::new(),
        });
        for _ in 0..crate::pool::workers() {
            let walk = Arc::clone(&walk);
            let start = std::thread::Builder::new().name("walk".to_owned());
            start
                .spawn(move || walk.work())
                .map_err(|error| Error::Internal(format!("no thread: {error}")))?;
        }
        Ok(())
    }

    fn work(&self) {
        barge_fs::dedicate_thread();
        while let Some(task) = self.next() {
            match task {
                _ if self.sender.is_over() => {}
                Task::Directory(dir) => self.directory(dir),
                Task::Rest(listing, names) => self.rest(&listing, names),
            }
            self.done();
        }
    }

    fn next(&self) -> Option<Task> {
        let mut tasks = self.tasks();
        loop {
            if let Some(task) = tasks.queue.pop_back() {
                tasks.busy += 1;
                return Some(task);
            }
            if tasks.busy == 0 {
                return None;
            }
            tasks = self
                .ready
                .wait(tasks)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut tasks = self.tasks();
        tasks.busy -= 1;
        if tasks.busy == 0 && tasks.queue.is_empty() {
            drop(tasks);
            self.ready.notify_all();
            self.sender.all_listed();
        }
    }

    fn add(&self, new: impl IntoIterator<Item = Task>) {
        let mut tasks = self.tasks();
        tasks.queue.extend(new);
        drop(tasks);
        self.ready.notify_all();
    }

    /// Lists one directory. A name beyond the first batch goes to whoever is free.
    fn directory(&self, (id, place): NewDir) {
        let path = place.path();
        let dir = match self.sender.root.dir(&path) {
            Ok(dir) => dir,
            Err(error) => return self.unlisted(id, &place, &path, error),
        };
        let listing = Arc::new(Listing {
            id,
            place,
            path,
            dir,
            left: AtomicUsize::new(1),
            clean: AtomicBool::new(true),
        });
        match listing.dir.names() {
            Ok(names) => self.rest(&listing, names),
            Err(error) => {
                self.incomplete(&listing, error);
                self.batch(&listing, Vec::new());
            }
        }
    }

    /// Looks at the next batch of names. What is behind it waits beneath the directories found in
    /// it, for whoever is free, so that neither a wide directory nor a large one makes much wait.
    fn rest(&self, listing: &Arc<Listing>, mut rest: Names) {
        let (mut names, mut taken) = (Vec::new(), 0);
        for listed in rest.by_ref().take(BATCH) {
            taken += 1;
            match listed {
                Ok(listed) => names.push(listed.name),
                Err(error) => self.incomplete(listing, error),
            }
        }
        if taken == BATCH {
            listing.left.fetch_add(1, Ordering::AcqRel);
            self.add([Task::Rest(Arc::clone(listing), rest)]);
        }
        self.batch(listing, names);
    }

    /// Looks at names and sends what they are. The last of a directory's batches to be through
    /// says so, in its segment or, when it was not known then, in an empty one.
    fn batch(&self, listing: &Arc<Listing>, names: Vec<Name>) {
        let mut draft = Draft::new(listing.id, Arc::clone(&listing.place));
        let mut entered = Vec::new();
        for name in names {
            if self.sender.is_over() {
                break;
            }
            self.name(listing, name, &mut draft, &mut entered);
        }
        let alone = listing.left.load(Ordering::Acquire) == 1;
        draft.send(&self.sender, alone, listing.is_clean(), &mut entered);
        if listing.left.fetch_sub(1, Ordering::AcqRel) == 1 && !alone {
            draft.send(&self.sender, true, listing.is_clean(), &mut entered);
        }
        self.enter(entered);
    }

    /// Directories wait to be listed; the first of them comes next.
    fn enter(&self, entered: Vec<NewDir>) {
        if !entered.is_empty() {
            self.add(entered.into_iter().rev().map(Task::Directory));
        }
    }

    fn name(&self, listing: &Listing, name: Name, draft: &mut Draft, entered: &mut Vec<NewDir>) {
        let sender = &self.sender;
        let found = match sender.look(&listing.dir, &listing.path, &listing.place, &name) {
            Look::Found(found) => found,
            Look::Skipped(rule) => {
                if rule == SkipRule::Devices {
                    // The target may have it, and does not know the rule.
                    listing.clean.store(false, Ordering::Release);
                }
                return sender.skip(&listing.path.join(&name), rule);
            }
            Look::Failed(error) => {
                // It may be there all the same: nothing under its name is to be deleted.
                listing.clean.store(false, Ordering::Release);
                return sender.fail(&listing.path.join(&name), error.failure(Side::Source));
            }
        };
        if let Err(failure) = draft.push(sender, found, entered) {
            listing.clean.store(false, Ordering::Release);
            sender.fail(&listing.path.join(&name), failure);
        }
    }

    /// A directory that cannot be opened: nothing in it is listed, nothing in it is deleted.
    fn unlisted(&self, id: DirId, place: &Arc<Place>, path: &RelPath, error: barge_fs::Error) {
        if error.is_mount_point() {
            self.sender.skip(path, SkipRule::MountPoint);
        } else {
            self.sender.fail(path, error.failure(Side::Source));
        }
        let mut draft = Draft::new(id, Arc::clone(place));
        draft.send(&self.sender, true, false, &mut Vec::new());
    }

    fn incomplete(&self, listing: &Listing, error: barge_fs::Error) {
        listing.clean.store(false, Ordering::Release);
        self.sender.fail(&listing.path, error.failure(Side::Source));
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one look at a name gave.
enum Look {
    Found(Found),
    Skipped(SkipRule),
    Failed(barge_fs::Error),
}

impl Sender {
    fn look(&self, dir: &Dir, path: &RelPath, place: &Place, name: &Name) -> Look {
        if is_own_temporary(name) {
            return Look::Skipped(SkipRule::OwnTemporary);
        }
        if place.is_root() && name.as_bytes() == b"lost+found" {
            return Look::Skipped(SkipRule::LostAndFound);
        }
        let stat = match dir.stat(name) {
            Ok(stat) => stat,
            Err(error) => return Look::Failed(error),
        };
        if self
            .options
            .filter
            .excludes(path, name, stat.kind == StatKind::Directory)
        {
            return Look::Skipped(SkipRule::Excluded);
        }
        let plain = matches!(
            stat.kind,
            StatKind::File | StatKind::Directory | StatKind::Symlink
        );
        if !plain && !self.options.devices {
            return Look::Skipped(SkipRule::Devices);
        }
        match self.found(dir, path, name, &stat) {
            Ok(found) => Look::Found(found),
            Err(error) => Look::Failed(error),
        }
    }

    fn found(
        &self,
        dir: &Dir,
        path: &RelPath,
        name: &Name,
        stat: &Stat,
    ) -> Result<Found, barge_fs::Error> {
        let kind = match stat.kind {
            StatKind::File if stat.size > MAX_FILE => {
                return Err(barge_fs::Error {
                    op: "a file of over 1 PiB",
                    errno: 0,
                });
            }
            StatKind::File => Kind::File { size: stat.size },
            StatKind::Directory if path.join(name).is_too_deep() => {
                return Err(barge_fs::Error {
                    op: "a path of over 4096 names or 128 KiB",
                    errno: 0,
                });
            }
            StatKind::Directory => Kind::Directory,
            StatKind::Symlink => Kind::Symlink {
                target: dir.read_link(name)?,
            },
            StatKind::CharDevice => Kind::CharDevice(stat.rdev),
            StatKind::BlockDevice => Kind::BlockDevice(stat.rdev),
            StatKind::Fifo => Kind::Fifo,
            StatKind::Socket => Kind::Socket,
        };
        let digest = match kind {
            Kind::File { .. } if self.options.checksum => {
                let file = dir.open_file(name)?;
                Some(crate::digest::file_digest(&file, self.seed)?)
            }
            _ => None,
        };
        let meta = meta_of(stat, dir.xattrs(name, stat, &self.keep)?);
        let link = stat.link_key().filter(|_| self.options.hard_links);
        let entry = Entry {
            name: name.clone(),
            kind,
            meta,
        };
        Ok(Found {
            entry,
            link: link.map(|key| (key, stat.links)),
            digest,
        })
    }

    /// Lists entries that changed on the way once more, by directory.
    pub(super) fn list_again(&self, mut redos: Vec<(Arc<Place>, Name)>) {
        redos.sort_by_key(|(place, _)| Arc::as_ptr(place));
        for group in redos.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
            let place = &group[0].0;
            let path = place.path();
            let dir = match self.root.dir(&path) {
                Ok(dir) => dir,
                Err(error) => {
                    for (_, name) in group {
                        self.fail(&path.join(name), error.failure(Side::Source));
                    }
                    continue;
                }
            };
            let mut draft = Draft::new(self.open_dir(path.clone(), None), Arc::clone(place));
            let mut entered = Vec::new();
            for (_, name) in group {
                match self.look(&dir, &path, place, name) {
                    // What has become a directory meanwhile is not followed into.
                    Look::Found(found) if found.entry.kind == Kind::Directory => {
                        let error = barge_fs::Error {
                            op: "it became a directory",
                            errno: 0,
                        };
                        let mut failure = error.failure(Side::Source);
                        failure.class = barge_types::Class::Changed;
                        self.fail(&path.join(name), failure);
                    }
                    Look::Found(found) => {
                        if let Err(failure) = draft.push(self, found, &mut entered) {
                            self.fail(&path.join(name), failure);
                        }
                    }
                    Look::Skipped(rule) => self.skip(&path.join(name), rule),
                    Look::Failed(error) => {
                        self.fail(&path.join(name), error.failure(Side::Source));
                    }
                }
            }
            draft.send(self, true, false, &mut entered);
        }
    }
}

fn meta_of(stat: &Stat, xattrs: Vec<barge_types::Xattr>) -> Meta {
    Meta {
        mode: stat.mode,
        owner: stat.owner,
        mtime: stat.mtime,
        xattrs,
    }
}
