//! What the two threads of the receiving side share.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use barge_fs::{Dir, Error, Root};
use barge_rsync::options::Options;
use barge_rsync::wire::attrs::XattrValue;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::iflags::ItemFlags;
use barge_rsync::wire::list::List;
use barge_rsync::wire::ndx::FileIndex;
use barge_rsync::wire::stats::{DelStats, Statistics};
use barge_types::{Name, NameError, RelPath};

use super::attributes::Attributes;
use super::backup::Backup;
use super::destination::Target;
use super::dirs::TargetDir;
use super::partial::Delayed;
use super::requests::{Request, Requests};
use super::texts::{self, Who};
use crate::filter::RuleList;
use crate::over_rsync::agreed::Base;
use crate::over_rsync::asked::Asked;
use crate::over_rsync::run::Run;
use crate::over_rsync::sanitize::sanitized;
use crate::over_rsync::{Event, Failure, Item, ItemSide, Level, RunStats, Seal};

/// One receiving side.
pub(super) struct Side {
    pub(super) run: Arc<Run>,
    pub(super) options: Options,
    pub(super) base: Base,
    /// All that may come.
    pub(super) asked: Option<Arc<Asked>>,
    /// The argument that says where to.
    pub(super) destination: PathBuf,
    pub(super) attributes: Attributes,
    /// The client's rules, which decide what is deleted.
    pub(super) rules: RuleList,
    pub(super) requests: Arc<Requests>,
    pub(super) tally: Tally,
    /// Known before anything is asked for.
    pub(super) target: OnceLock<Target>,
    pub(super) temp: OnceLock<Result<Dir, Error>>,
    pub(super) alternates: OnceLock<Vec<Option<Root>>>,
    /// Where backups go; `None` when none are made.
    pub(super) backup: OnceLock<Option<Arc<Backup>>>,
    /// Updates that wait for the end of the run.
    pub(super) delayed: Mutex<Vec<Delayed>>,
}

/// What the receiving thread tells the generator.
#[derive(Debug)]
pub(super) enum Told {
    /// A list came.
    List(Arc<List>),
    /// No more lists will come.
    ListsEnd,
    /// A file that was asked for is in its final state, or is to be asked for again.
    Through { index: FileIndex, verdict: Verdict },
    /// A file that was asked for will not come.
    NoSend(FileIndex),
    /// The sender is done with its oldest list.
    ListDone,
    /// The sender has answered everything, redos too.
    RedoDone,
    /// The sender answered the end of delayed updates.
    UpdatesDone,
    /// The sender's stream is through.
    End,
    /// The receiving thread has ended, for whatever reason.
    Over,
}

/// What became of a file that was received.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It is in its place.
    Done,
    /// It could not be written, or did not verify twice.
    Failed,
    /// It did not verify.
    Again,
}

/// Counts for the closing statistics.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stats: Mutex<RunStats>,
    literal: AtomicU64,
    matched: AtomicU64,
}

impl Tally {
    /// Counts entries of a list.
    pub(super) fn listed(&self, list: &List) {
        self.with(|stats| {
            for (_, entry) in list.entries() {
                if let Some(kind) = kind_of(entry) {
                    stats.files[kind] += 1;
                }
                if entry.is_file() || entry.is_symlink() {
                    stats.total_size += entry.len;
                }
            }
        });
    }

    /// Counts what was deleted.
    pub(super) fn deleted(&self, deleted: &DelStats) {
        let kinds = [
            deleted.files,
            deleted.dirs,
            deleted.links,
            deleted.devices,
            deleted.specials,
        ];
        self.with(|stats| stats.deleted = Some(kinds.map(u64::from)));
    }

    /// Counts the content of a file that came.
    pub(super) fn content(&self, literal: u64, matched: u64) {
        self.literal.fetch_add(literal, Ordering::Relaxed);
        self.matched.fetch_add(matched, Ordering::Relaxed);
    }

    pub(super) fn with(&self, count: impl FnOnce(&mut RunStats)) {
        count(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All that was counted.
    pub(super) fn stats(&self) -> RunStats {
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        RunStats {
            literal: self.literal.load(Ordering::Relaxed),
            matched: self.matched.load(Ordering::Relaxed),
            ..stats
        }
    }
}

impl Side {
    /// All is in its place: what a daemon wants to do before the peer hears of it.
    pub(super) fn seal(&self) -> Result<(), Failure> {
        match &self.base {
            Base::Module(module) => module.seal.as_ref().map_or(Ok(()), Seal::close),
            Base::Working => Ok(()),
        }
    }

    /// The root of the transfer.
    pub(super) fn target(&self) -> &Target {
        self.target
            .get()
            .expect("the destination is found before anything is asked for")
    }

    /// Its directory, in a run that is none for show.
    pub(super) fn root(&self) -> &Root {
        self.target()
            .root
            .as_ref()
            .expect("the destination is made before anything is written")
    }

    /// The name of an entry in its directory here.
    pub(super) fn name_of(&self, entry: &FileEntry) -> Result<Name, NameError> {
        match &self.target().local {
            Some(local) => Ok(local.clone()),
            None => Name::new(entry.path.base()),
        }
    }

    /// Where an entry goes: its directory below the destination, and its name there.
    pub(super) fn place_of(&self, entry: &FileEntry) -> Result<(RelPath, Name), Error> {
        let above = match entry.path.dir() {
            Some(dir) => RelPath::new(dir.strip_prefix(b"/").unwrap_or(dir))?,
            None => RelPath::root(),
        };
        Ok((above, self.name_of(entry)?))
    }

    /// An entry's path in messages: in quotes, from the root of all or of the module.
    pub(super) fn full_name(&self, entry: &FileEntry) -> Vec<u8> {
        let target = self.target();
        let path = match &target.local {
            Some(local) => [&target.shown, &b"/"[..], local.as_bytes()].concat(),
            None if entry.path.is_root() => target.shown.clone(),
            None => [&target.shown, &b"/"[..], &entry.path.to_vec()].concat(),
        };
        self.in_place(&path)
    }

    /// The path of a delayed update in messages.
    pub(super) fn shown(&self, delayed: &Delayed) -> Vec<u8> {
        let path = delayed.dir.path.join(&delayed.name);
        [&self.target().shown, &b"/"[..], path.as_bytes()].concat()
    }

    /// A path in quotes, with the module it is in.
    pub(super) fn in_place(&self, path: &[u8]) -> Vec<u8> {
        let Base::Module(module) = &self.base else {
            return texts::quoted(path);
        };
        let path = match path.strip_prefix(b"/").unwrap_or(path) {
            b"" => b".",
            path => path,
        };
        let mut quoted = texts::quoted(path);
        quoted.extend(format!(" (in {})", module.name).into_bytes());
        quoted
    }

    /// Says an error of one entry.
    pub(super) fn failed(&self, who: Who, doing: &str, entry: &FileEntry, error: &Error) {
        let path = self.full_name(entry);
        let line = texts::failed(who, &[doing.as_bytes(), b" ", &path], error);
        self.run.say(Level::FileError, line);
    }

    /// Says what of an entry's attributes could not be set.
    pub(super) fn not_set(&self, who: Who, entry: &FileEntry, failures: &[Error]) {
        for error in failures {
            let path = self.full_name(entry);
            let line = texts::not_set(who, &path, error);
            self.run.say(Level::FileError, line);
        }
    }

    /// Counts and tells an answer. `checksum` is that of the content that came, in so many `bytes`
    /// of the connection.
    pub(super) fn tell_item(&self, request: &Request, bytes: u64, checksum: Option<&[u8]>) {
        let (entry, flags) = (request.subject.entry(), request.item.flags);
        if flags.has(ItemFlags::NEW)
            && let Some(kind) = kind_of(entry)
        {
            self.tally.with(|stats| stats.created[kind] += 1);
        }
        if flags.has(ItemFlags::TRANSFER) {
            self.tally.with(|stats| {
                stats.transferred += 1;
                stats.transferred_size += entry.len;
            });
        }
        let name = entry.path.to_vec();
        let link = self.made_link_of(entry);
        let item = self.item(request, &name, link.as_deref());
        let checksum = checksum.or(item.checksum);
        self.run.tell(Event::Item(Item {
            bytes: (bytes, 0),
            checksum,
            ..item
        }));
    }

    /// Tells that a file's content begins to come.
    pub(super) fn tell_start(&self, request: &Request) {
        let name = request.subject.entry().path.to_vec();
        let item = self.item(request, &name, None);
        self.run.tell(Event::Starts(item));
    }

    fn item<'a>(&self, request: &'a Request, name: &'a [u8], link: Option<&'a [u8]>) -> Item<'a> {
        let (entry, flags) = (request.subject.entry(), request.item.flags);
        let hard_link = flags.has(ItemFlags::NAME_FOLLOWS)
            && !flags.has(ItemFlags::TRANSFER)
            && !request.item.name.is_empty();
        Item {
            name,
            full_name: name,
            mode: entry.mode,
            size: entry.len,
            mtime: (entry.mtime.secs(), entry.mtime.nanos()),
            uid: entry.uid,
            gid: self.options.group.then_some(entry.gid),
            link,
            hard_link: hard_link.then_some(&request.item.name),
            iflags: flags.bits(),
            side: ItemSide::Received,
            bytes: (0, 0),
            checksum: entry.extra().checksum.as_deref(),
        }
    }

    /// The directory of `--backup-dir` or `--temp-dir`: in some modules, what it is cut down to. An
    /// absolute one begins at the module.
    pub(super) fn kept_below<'a>(&self, named: &'a OsStr) -> Cow<'a, OsStr> {
        match &self.base {
            Base::Module(module)
                if module.sanitizes_paths && !named.as_bytes().starts_with(b"/") =>
            {
                OsString::from_vec(sanitized(named.as_bytes())).into()
            }
            _ => named.into(),
        }
    }

    /// The target that a symbolic link is made with, and told with: munged where that is wanted.
    pub(super) fn made_link_of<'a>(&self, entry: &'a FileEntry) -> Option<Cow<'a, [u8]>> {
        let target = entry.extra().link.as_deref()?;
        Some(match self.options.munge_links {
            true => [MUNGED, target].concat().into(),
            false => target.into(),
        })
    }

    /// Tells of an entry that is listed and not dealt with.
    pub(super) fn show(&self, entry: &FileEntry) {
        let name = entry.path.to_vec();
        let link = self.made_link_of(entry);
        self.run.list(Item {
            name: &name,
            full_name: &name,
            mode: entry.mode,
            size: entry.len,
            mtime: (entry.mtime.secs(), entry.mtime.nanos()),
            uid: entry.uid,
            gid: self.options.group.then_some(entry.gid),
            link: link.as_deref(),
            hard_link: None,
            iflags: 0,
            side: ItemSide::Received,
            bytes: (0, 0),
            checksum: None,
        });
    }

    /// What a sending server tells at the end, in its client's terms.
    pub(super) fn statistics(&self, statistics: &Statistics) {
        self.tally.with(|stats| {
            stats.total_size = statistics.total_size;
            stats.list_build_ms = statistics.list_build_ms;
            stats.list_transfer_ms = statistics.list_transfer_ms;
        });
    }

    pub(super) fn delayed(&self) -> MutexGuard<'_, Vec<Delayed>> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps backups, where they are wanted.
    pub(super) fn backup(&self) -> Option<&Arc<Backup>> {
        self.backup.get()?.as_ref()
    }

    /// The path of an entry that is called `name` in a directory, as backups and deletions know it.
    pub(super) fn path_of(dir: &TargetDir, name: &Name) -> Vec<u8> {
        dir.path.join(name).as_bytes().to_vec()
    }

    /// The directory for temporary files, where one is named.
    pub(super) fn temp_dir(&self) -> Option<Result<Dir, Error>> {
        let named = self.options.temp_dir.as_ref()?;
        let opened = self.temp.get_or_init(|| {
            let root = self.target().beside(&self.kept_below(named))?;
            root.dir(&RelPath::root())
        });
        Some(opened.clone())
    }

    /// Whether items about unchanged entries are wanted too.
    pub(super) fn shows_unchanged(&self) -> bool {
        self.options.itemize > 1 || self.options.info.name > 1
    }

    /// Whether files are asked for whole, whatever is here of them.
    pub(super) fn is_whole_file(&self) -> bool {
        self.options.whole_file.unwrap_or(false)
    }

    /// Of an entry's attributes that are missing here, those to be asked for: each once.
    pub(super) fn to_be_fetched(&self, entry: &FileEntry, missing: &[u32]) -> Vec<u32> {
        if self.options.dry_run {
            return Vec::new();
        }
        let asks = |number: &&u32| {
            let attr = entry
                .xattrs
                .as_deref()
                .and_then(|set| set.numbered(**number));
            attr.is_some_and(|attr| match attr.value() {
                XattrValue::Long(long) => long.ask(),
                XattrValue::Short(_) => false,
            })
        };
        missing.iter().filter(asks).copied().collect()
    }

    /// Everything that was counted, on the wire too.
    pub(super) fn stats(&self) -> RunStats {
        RunStats {
            sent: self.run.outgoing.written(),
            received: self.run.received.load(Ordering::Relaxed),
            ..self.tally.stats()
        }
    }
}

/// What `--munge-links` puts before a link's target, so that it leads nowhere (rsync(1)).
const MUNGED: &[u8] = b"/rsyncd-munged/";

/// Where counts of an entry's kind stand in [`RunStats`].
pub(super) fn kind_of(entry: &FileEntry) -> Option<usize> {
    [
        entry.is_file(),
        entry.is_dir(),
        entry.is_symlink(),
        entry.is_device(),
        entry.is_special(),
    ]
    .iter()
    .position(|&is| is)
}
