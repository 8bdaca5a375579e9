//! One look at a name: what goes into the list for it, if anything does.
//!
//! Source: rsync(1), and rsync 3.5.0 as it behaves.

use std::sync::Arc;
use std::time::SystemTime;

use barge_delta::{Checksum, WholeDigest};
use barge_fs::{Dir, Error, Held, Stat, StatKind, is_own_temporary};
use barge_rsync::Chmod;
use barge_rsync::options::Options;
use barge_rsync::wire::entry::{DirKind, FileEntry, WirePath};
use barge_rsync::wire::flist::Inode;
use barge_types::{Name, Timestamp, Xattr, XattrName};

use super::attributes::{Attributes, Carried};
use super::bases::{Bases, Opened, Reach};
use super::trouble;
use crate::filter::{RuleSide, Scope};
use crate::over_rsync::Level;
use crate::over_rsync::agreed::ModuleBase;
use crate::over_rsync::fake_super::{self, FakeStat};
use crate::over_rsync::run::Run;
use crate::over_rsync::unsafe_link::leads_out;

/// The longest path that can be listed, in bytes.
const MAX_PATH: usize = 4095;

/// Looks at names for a sender.
pub(super) struct Look {
    run: Arc<Run>,
    bases: Arc<Bases>,
    options: Arc<Options>,
    module: Option<Arc<ModuleBase>>,
    carried: Carried,
    /// What becomes of permissions before they are listed.
    chmod: Chmod,
    umask: u32,
    /// To read files into whose checksums are listed.
    buffer: Vec<u8>,
}

/// A directory whose names are looked at.
pub(super) struct Here {
    pub(super) dir: Dir,
    /// How what is in it is reached.
    pub(super) reach: Reach,
    /// Its path in the transfer; none at the top.
    pub(super) path: Option<Arc<[u8]>>,
    /// The rules that hold for the names in it.
    pub(super) scope: Scope,
    /// The file system of its argument.
    pub(super) device: u64,
}

/// An entry that is to be listed.
pub(super) struct Listed {
    pub(super) entry: FileEntry,
    /// With `-H`, of a file with other names: which one it is.
    pub(super) inode: Option<Inode>,
}

/// What a name stands for: itself, or what it leads to.
enum Seen {
    Itself(Stat),
    Referent(Held),
}

impl Seen {
    fn stat(&self) -> &Stat {
        match self {
            Self::Itself(stat) => stat,
            Self::Referent(held) => held.stat(),
        }
    }
}

/// Why a name stands for nothing.
enum Unseen {
    Itself(Error),
    /// It is a link, and what it leads to cannot be reached.
    Unfollowed(Error),
}

impl Unseen {
    fn into_error(self) -> Error {
        match self {
            Self::Itself(error) | Self::Unfollowed(error) => error,
        }
    }
}

impl Look {
    pub(super) fn new(
        run: Arc<Run>,
        bases: Arc<Bases>,
        options: Arc<Options>,
        module: Option<Arc<ModuleBase>>,
        carried: Carried,
        umask: u32,
    ) -> Self {
        let chmod = chmod(&options, module.as_deref());
        Self {
            chmod,
            umask,
            run,
            bases,
            options,
            module,
            carried,
            buffer: Vec::new(),
        }
    }

    /// Looks at a name found in a directory; `kind` is what the directory says of it.
    pub(super) fn name(
        &mut self,
        here: &Here,
        name: &Name,
        kind: Option<StatKind>,
    ) -> Option<Listed> {
        if is_own_temporary(name) && self.is_own_file(here, name, kind) {
            return None;
        }
        // What the directory says saves a look at most of what is left out.
        let known = kind.filter(|&kind| kind != StatKind::Symlink || !self.follows_some());
        let excluded = |kind| {
            here.scope
                .excludes(name.as_bytes(), kind == StatKind::Directory)
        };
        if known.is_some_and(excluded) {
            return None;
        }
        let path = WirePath::within(here.path.clone(), name.as_bytes());
        let seen = match self.see(here, name, &path, false) {
            Ok(seen) => seen,
            Err(Unseen::Unfollowed(error)) if error.is_not_found() => {
                self.no_referent(here.reach, &path);
                return None;
            }
            Err(unseen) => return self.unseen(here.reach, &path, &unseen.into_error()),
        };
        let kind = seen.stat().kind;
        let excluded = known != Some(kind) && excluded(kind);
        if excluded || self.is_unreadable(here, name, kind) {
            return None;
        }
        self.list(here, path, name, &seen, here.device)
    }

    /// Whether what has a name of our own is a file, which alone may be ours: then it is left out, and
    /// that is told.
    fn is_own_file(&self, here: &Here, name: &Name, kind: Option<StatKind>) -> bool {
        let found = || here.dir.find(name).ok().flatten().map(|stat| stat.kind);
        if kind.or_else(found) != Some(StatKind::File) {
            return false;
        }
        if !here.scope.excludes(name.as_bytes(), false) {
            let path = WirePath::within(here.path.clone(), name.as_bytes());
            let quoted = self.bases.quoted(here.reach, &path.to_vec());
            let text = [b"skipping a temporary file of barge's: ", &*quoted, b"\n"];
            self.run.say(Level::Warning, text.concat());
        }
        true
    }

    /// Whether a module leaves it out because it cannot be read.
    fn is_unreadable(&self, here: &Here, name: &Name, kind: StatKind) -> bool {
        let leaves_out = self
            .module()
            .is_some_and(|module| module.ignores_nonreadable);
        let is_read = matches!(kind, StatKind::File | StatKind::Directory);
        leaves_out && is_read && !here.dir.may_read(name)
    }

    /// Looks at the name of an argument, `path` in the transfer. What is not there is an error. Tells
    /// its file system too. `contents` when what is in it is meant.
    pub(super) fn named(
        &mut self,
        here: &Here,
        name: &Name,
        path: WirePath,
        contents: bool,
    ) -> Option<(Listed, u64)> {
        let seen = match self.see(here, name, &path, contents) {
            Ok(seen) => seen,
            Err(Unseen::Unfollowed(error)) if error.is_not_found() && !self.options.copy_links => {
                self.no_referent(here.reach, &path);
                return None;
            }
            Err(unseen) => {
                let listed = self.missing(here.reach, path, &unseen.into_error());
                return listed.map(|listed| (listed, here.device));
            }
        };
        let stat = seen.stat();
        let (is_dir, device) = (stat.kind == StatKind::Directory, stat.dev);
        if self.refuses(&self.bases.path(here.reach, &path.to_vec()), is_dir) {
            let listed = self.missing(here.reach, path, &Error::absent());
            return listed.map(|listed| (listed, device));
        }
        if here.scope.excludes(name.as_bytes(), is_dir) {
            return None;
        }
        let listed = self.list(here, path, name, &seen, device)?;
        Some((listed, device))
    }

    /// Lists a directory that stands for itself: the root of the transfer, or one that leads on.
    pub(super) fn directory(
        &mut self,
        reach: Reach,
        path: WirePath,
        held: Held,
        kind: DirKind,
        scope: &Scope,
    ) -> Option<Listed> {
        let read = held.xattrs(&|name| self.carried.carries(name, scope));
        let (stat, attributes) = self.sorted(reach, &path, read, held.stat());
        let mut entry = self.entry(path, &stat);
        entry.dir_kind = kind;
        entry.tag = Reach {
            is_referent: true,
            ..reach
        }
        .tag();
        self.complete(entry, &stat, attributes, None)
    }

    /// Whether the module's own rules refuse a path in it: what a client names there is not there.
    pub(super) fn refuses(&self, path: &[u8], is_dir: bool) -> bool {
        let refuses = |module: &ModuleBase| module.rules.refuses(path, is_dir, RuleSide::Sending);
        self.module().is_some_and(refuses)
    }

    /// `contents` when what is in it is meant: then a link to a directory is one.
    fn see(
        &self,
        here: &Here,
        name: &Name,
        path: &WirePath,
        contents: bool,
    ) -> Result<Seen, Unseen> {
        let stat = here.dir.stat(name).map_err(Unseen::Itself)?;
        if stat.kind != StatKind::Symlink || !(contents || self.follows_some()) {
            return Ok(Seen::Itself(stat));
        }
        let wire = path.to_vec();
        let is_dir = |held: &Held| held.stat().kind == StatKind::Directory;
        if contents
            && let Ok(held) = self.bases.hold(here.reach, &wire, true)
            && is_dir(&held)
        {
            return Ok(Seen::Referent(held));
        }
        let target = here.dir.read_link(name).map_err(Unseen::Itself)?;
        let unsafe_one = self.options.copy_unsafe_links && leads_out(&target, &wire);
        if !self.options.copy_links && !unsafe_one && !self.options.copy_dirlinks {
            return Ok(Seen::Itself(stat));
        }
        let followed = self.bases.hold(here.reach, &wire, true);
        match followed {
            Ok(held) if self.options.copy_links || unsafe_one || is_dir(&held) => {
                if unsafe_one && !self.options.copy_links {
                    self.tell_unsafe(&wire, &target);
                }
                Ok(Seen::Referent(held))
            }
            Err(error) if self.options.copy_links || unsafe_one => Err(Unseen::Unfollowed(error)),
            _ => Ok(Seen::Itself(stat)),
        }
    }

    /// Whether any symbolic link may be followed.
    fn follows_some(&self) -> bool {
        let options = &self.options;
        options.copy_links || options.copy_dirlinks || options.copy_unsafe_links
    }

    fn tell_unsafe(&self, path: &[u8], target: &[u8]) {
        if self.options.info.symsafe > 0 {
            let text = [
                b"copying unsafe symlink \"",
                path,
                b"\" -> \"",
                target,
                b"\"\n",
            ];
            self.run.say(Level::Info, text.concat());
        }
    }

    /// A link that is to be followed leads nowhere.
    fn no_referent(&self, reach: Reach, path: &WirePath) {
        let quoted = self.bases.quoted(reach, &path.to_vec());
        let text = [b"symlink has no referent: ", &*quoted, b"\n"].concat();
        trouble::general(&self.run, text);
    }

    fn unseen(&self, reach: Reach, path: &WirePath, error: &Error) -> Option<Listed> {
        let quoted = self.bases.quoted(reach, &path.to_vec());
        if error.is_not_found() {
            trouble::vanished(&self.run, &quoted);
        } else {
            let quoted = [b"(", &*quoted, b")"].concat();
            trouble::failed_call(&self.run, "readlink_stat", &quoted, error);
        }
        None
    }

    /// An argument that is not there.
    pub(super) fn missing(&self, reach: Reach, path: WirePath, error: &Error) -> Option<Listed> {
        let absent = error.is_not_found();
        if absent && self.options.delete_missing_args {
            let mut entry = FileEntry::new(path, 0);
            entry.tag = reach.tag();
            return Some(Listed { entry, inode: None });
        }
        if !(absent && self.options.ignore_missing_args) {
            let quoted = self.bases.quoted(reach, &path.to_vec());
            match absent {
                true => trouble::absent(&self.run, &quoted, error),
                false => trouble::failed(&self.run, "link_stat", &quoted, error),
            }
        }
        None
    }

    /// Lists what was seen, in the file system `device`.
    fn list(
        &mut self,
        here: &Here,
        path: WirePath,
        name: &Name,
        seen: &Seen,
        device: u64,
    ) -> Option<Listed> {
        if path.to_vec().len() > MAX_PATH {
            let text = [b"skipping overly long name: ", &*path.to_vec(), b"\n"].concat();
            trouble::general(&self.run, text);
            return None;
        }
        let carries = |name: &XattrName| self.carried.carries(name, &here.scope);
        let read = match seen {
            _ if self.carried.is_nothing() => Ok(Vec::new()),
            Seen::Itself(_) => here.dir.xattrs_of(name, &carries),
            Seen::Referent(held) => held.xattrs(&carries),
        };
        let (stat, attributes) = self.sorted(here.reach, &path, read, seen.stat());
        let mut entry = self.entry(path, &stat);
        let is_referent = matches!(seen, Seen::Referent(_));
        entry.tag = Reach {
            is_referent,
            ..here.reach
        }
        .tag();
        if self.options.copy_devices && entry.is_device() && !is_referent {
            self.list_as_file(here, name, &mut entry)?;
        }
        if self.is_beyond(device, &stat) {
            if self.options.one_file_system > 1 {
                return None;
            }
            entry.dir_kind = DirKind::NoContent;
        }
        if stat.kind == StatKind::Directory && !self.options.recursive {
            entry.dir_kind = DirKind::NoContent;
        }
        if stat.kind == StatKind::Symlink && self.options.links {
            let target = match seen.stat().kind {
                StatKind::Symlink => here.dir.read_link(name),
                _ => fake_super::read_link(&here.dir, name),
            };
            match target {
                Ok(target) => entry.extra_mut().link = Some(self.unmunged(target)),
                Err(error) => return self.unseen(here.reach, &entry.path, &error),
            }
        }
        self.complete(entry, &stat, attributes, Some(&here.dir))
    }

    /// What was read of an entry's attributes, and the look at what it is or stands for. An entry
    /// whose attributes cannot be read has none.
    fn sorted(
        &self,
        reach: Reach,
        path: &WirePath,
        read: Result<Vec<Xattr>, Error>,
        real: &Stat,
    ) -> (Stat, Option<Attributes>) {
        let quoted = || self.bases.quoted(reach, &path.to_vec());
        let sorted = match read {
            Ok(read) => Attributes::sort(read, self.options.fake_super),
            Err(error) => {
                trouble::failed(&self.run, error.op, &quoted(), &error);
                return (*real, None);
            }
        };
        let mut stat = *real;
        if let Some(text) = &sorted.fake_stat {
            let fake = FakeStat::parse(text);
            if !fake.is_some_and(|fake| fake.lay_over(&mut stat)) {
                trouble::corrupt_stat(&self.run, &quoted(), text);
            }
        }
        let is_node = matches!(stat.kind, StatKind::CharDevice | StatKind::BlockDevice);
        if self.options.copy_devices && is_node && real.kind == StatKind::File {
            // What a device has in it is in what stands for it.
            stat.kind = StatKind::File;
        }
        (stat, Some(sorted))
    }

    /// `--copy-devices`: what a device has in it is sent as a file.
    fn list_as_file(&self, here: &Here, name: &Name, entry: &mut FileEntry) -> Option<()> {
        match here.dir.open_source_device(name) {
            Ok((_, size)) => {
                entry.len = size;
                entry.mtime = now();
                entry.mode = S_IFREG | entry.mode & 0o7777;
                entry.tag = Reach {
                    is_device: true,
                    ..Reach::of(entry)
                }
                .tag();
                entry.extra_mut().device = None;
                Some(())
            }
            Err(error) => {
                let quoted = self.bases.quoted(here.reach, &entry.path.to_vec());
                trouble::failed(&self.run, "open", &quoted, &error);
                None
            }
        }
    }

    /// Whether this is where another file system begins that is not to be entered.
    fn is_beyond(&self, device: u64, stat: &Stat) -> bool {
        let is_dir = stat.kind == StatKind::Directory;
        self.options.one_file_system > 0 && is_dir && stat.dev != device
    }

    fn unmunged(&self, target: Box<[u8]>) -> Box<[u8]> {
        match target.strip_prefix(MUNGED) {
            Some(target) if self.options.munge_links && !target.is_empty() => target.into(),
            _ => target,
        }
    }

    /// What a look alone says.
    fn entry(&self, path: WirePath, stat: &Stat) -> FileEntry {
        let options = &self.options;
        let mode = match stat.kind {
            StatKind::Symlink => st_mode(stat),
            kind => {
                let is_dir = kind == StatKind::Directory;
                self.chmod.apply(st_mode(stat), is_dir, self.umask)
            }
        };
        let mut entry = FileEntry::new(path, mode);
        entry.mtime = stat.mtime;
        entry.len = match stat.kind {
            StatKind::File | StatKind::Symlink | StatKind::Directory => stat.size,
            _ => 0,
        };
        if options.owner {
            entry.uid = stat.owner.uid;
        }
        if options.group {
            entry.gid = stat.owner.gid;
        }
        if options.atimes > 0 && stat.kind != StatKind::Directory {
            entry.extra_mut().atime = Some(stat.atime.secs());
        }
        if options.devices && entry.is_device() {
            entry.extra_mut().device = Some(stat.rdev);
        }
        entry
    }

    /// Adds what takes further calls.
    fn complete(
        &mut self,
        mut entry: FileEntry,
        stat: &Stat,
        attributes: Option<Attributes>,
        dir: Option<&Dir>,
    ) -> Option<Listed> {
        if let Some(attributes) = attributes {
            attributes.put(&mut entry, &self.options);
        }
        if let Some(dir) = dir.filter(|_| self.options.checksum && entry.is_file()) {
            entry.extra_mut().checksum = Some(self.checksum(&entry, dir));
        }
        let linked = self.options.hard_links && stat.links > 1 && !entry.is_dir();
        let inode = linked.then_some(Inode {
            device: stat.dev,
            number: stat.ino,
            names: Some(stat.links),
        });
        Some(Listed { entry, inode })
    }

    /// The checksum of a file's content; of one that cannot be read so many zeros, as rsync lists
    /// it: the trouble is told when the file is asked for.
    fn checksum(&mut self, entry: &FileEntry, dir: &Dir) -> Box<[u8]> {
        let checksum = self.run.setup.list_checksum;
        match self.read_checksum(entry, dir, checksum) {
            Ok(digest) => digest.as_bytes().into(),
            Err(_) => vec![0; checksum.digest_len()].into(),
        }
    }

    fn read_checksum(
        &mut self,
        entry: &FileEntry,
        dir: &Dir,
        checksum: Checksum,
    ) -> Result<barge_delta::DigestBytes, Error> {
        let Opened { file, size, .. } = self.bases.open(entry, dir)?;
        if size > READ as u64 {
            file.will_read_sequentially();
        }
        self.buffer.resize(READ, 0);
        let mut digest = WholeDigest::new(checksum);
        let mut at = 0;
        while at < size {
            let most = (size - at).min(READ as u64) as usize;
            let count = file.read_at(&mut self.buffer[..most], at)?;
            if count == 0 {
                break;
            }
            digest.update(&self.buffer[..count]);
            at += count as u64;
            self.run.activity.progress();
        }
        Ok(digest.finish())
    }

    /// The module that is read, on a daemon.
    pub(super) fn module(&self) -> Option<&ModuleBase> {
        self.module.as_deref()
    }
}

/// What a client's options or a module's parameters make of permissions.
fn chmod(options: &Options, module: Option<&ModuleBase>) -> Chmod {
    let mut chmod = Chmod::default();
    let of_module = module.and_then(|module| module.outgoing_chmod.as_ref());
    // The parser of either has refused what is none.
    for text in options
        .chmod
        .iter()
        .filter(|_| !options.server)
        .chain(of_module)
    {
        chmod.add(text);
    }
    chmod
}

/// The kind and the permissions, as `inode(7)` numbers them.
fn st_mode(stat: &Stat) -> u32 {
    let kind = match stat.kind {
        StatKind::File => S_IFREG,
        StatKind::Directory => 0o040_000,
        StatKind::Symlink => 0o120_000,
        StatKind::CharDevice => 0o020_000,
        StatKind::BlockDevice => 0o060_000,
        StatKind::Fifo => 0o010_000,
        StatKind::Socket => 0o140_000,
    };
    kind | stat.mode.bits()
}

/// The time that what a device has in it gets.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Timestamp::new(since.as_secs() as i64, since.subsec_nanos()).unwrap_or_default()
}

/// A regular file, in `st_mode`.
const S_IFREG: u32 = 0o100_000;

/// What a receiver with `--munge-links` puts before a link's target.
const MUNGED: &[u8] = b"/rsyncd-munged/";

/// Bytes of a file that are read at a time for its checksum.
const READ: usize = 256 << 10;
