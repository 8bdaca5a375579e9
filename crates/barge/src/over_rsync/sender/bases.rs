//! Where listed entries are found again: the directories in which their arguments began.
//!
//! The paths of arguments lead through symbolic links, as their user means them; what is below is
//! reached through none, except what is listed because links are to be followed.

use std::io;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use barge_fs::{Dir, Error, Ground, Held, Root, SourceFile, Stat};
use barge_rsync::wire::entry::{FileEntry, WirePath};
use barge_types::{Name, RelPath};

use super::arguments::join;

/// Directories that stay open, of the first arguments: nothing can be put in their place.
const HELD: usize = 64;

/// Bytes of a file of rules that are read.
const LONGEST_RULES: usize = 16 << 20;

/// All directories in which arguments began.
pub(super) struct Bases {
    ground: Ground,
    all: RwLock<Vec<Arc<Base>>>,
    shown: Shown,
}

/// How paths are shown to people.
pub(super) enum Shown {
    /// From the file system's root; relative ones begin in this directory.
    Absolute(Vec<u8>),
    /// As what is in the module of this name.
    Module(String),
}

struct Base {
    /// As the ground reaches it; empty: where paths begin.
    path: Vec<u8>,
    /// How many bytes of its entries' paths are in `path` already.
    strip: usize,
    /// An argument named it before the path that it keeps: rsync enters it then, and shows paths in
    /// a module with a slash in front.
    entered: bool,
    root: OnceLock<Root>,
}

/// How an entry is reached; goes into its [`FileEntry::tag`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Reach {
    pub(super) base: u32,
    /// It is not there itself: it is what a symbolic link leads to.
    pub(super) is_referent: bool,
    /// A directory above it is.
    pub(super) below_referent: bool,
    /// It is a device, listed as a file.
    pub(super) is_device: bool,
}

/// A file that can be read.
pub(super) struct Opened {
    pub(super) file: SourceFile,
    /// A look at it when it was opened.
    pub(super) stat: Stat,
    /// How much there is to read.
    pub(super) size: u64,
}

impl Reach {
    pub(super) fn of(entry: &FileEntry) -> Self {
        Self {
            base: entry.tag >> 3,
            is_referent: entry.tag & 1 != 0,
            below_referent: entry.tag & 2 != 0,
            is_device: entry.tag & 4 != 0,
        }
    }

    pub(super) fn tag(self) -> u32 {
        let flags = [self.is_device, self.below_referent, self.is_referent];
        let add = |bits, flag: &bool| bits << 1 | u32::from(*flag);
        flags.iter().fold(self.base, add)
    }

    /// Names the directory an entry is in, together with that one's path: all entries there with the
    /// same number are reached alike.
    pub(super) fn in_dir(self) -> u32 {
        self.base << 1 | u32::from(self.below_referent)
    }

    /// That of what is in a directory reached so.
    pub(super) fn below(self) -> Self {
        Self {
            base: self.base,
            is_referent: false,
            below_referent: self.is_referent || self.below_referent,
            is_device: false,
        }
    }
}

impl Bases {
    pub(super) fn new(ground: Ground, shown: Shown) -> Self {
        let all = RwLock::default();
        Self { ground, all, shown }
    }

    /// Adds the directory at `path`; entries in it have paths of which the first `strip` bytes lead
    /// to it. `entered` unless it is only those that do. Returns its number.
    pub(super) fn add(&self, path: Vec<u8>, strip: usize, entered: bool) -> u32 {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let is_last =
            |last: &&Arc<Base>| (&last.path, last.strip, last.entered) == (&path, strip, entered);
        if all.last().filter(is_last).is_none() {
            all.push(Arc::new(Base {
                path,
                strip,
                entered,
                root: OnceLock::new(),
            }));
        }
        all.len() as u32 - 1
    }

    /// Opens the directory at `dir` in the transfer, in which entries reached by `reach` are.
    pub(super) fn dir(&self, reach: Reach, dir: Option<&[u8]>) -> Result<Dir, Error> {
        let base = self.base(reach);
        let below = base.below(dir.unwrap_or_default());
        if reach.below_referent {
            let root = self.ground.root(&join(&base.path, below))?;
            return root.dir(&RelPath::root());
        }
        let below = RelPath::new(below)?;
        self.root(reach, &base)?.dir(&below)
    }

    /// Opens the directory that `path` in the transfer leads to, through links.
    pub(super) fn referent(&self, reach: Reach, path: &[u8]) -> Result<Dir, Error> {
        self.ground
            .root(&self.path(reach, path))?
            .dir(&RelPath::root())
    }

    /// Holds what a path of the transfer leads to.
    pub(super) fn hold(&self, reach: Reach, path: &[u8], follow: bool) -> Result<Held, Error> {
        self.ground.hold(&self.path(reach, path), follow)
    }

    /// Holds the directory in which names reached by `reach` are. It must be one.
    pub(super) fn hold_base(&self, reach: Reach) -> Result<Held, Error> {
        self.ground.hold(&join(&self.base(reach).path, b"./"), true)
    }

    /// Opens what is listed as a regular file; `dir` is the directory it is in.
    pub(super) fn open(&self, entry: &FileEntry, dir: &Dir) -> Result<Opened, Error> {
        let reach = Reach::of(entry);
        if reach.is_device {
            let (file, size) = dir.open_source_device(&name_of(&entry.path)?)?;
            let stat = file.stat()?;
            return Ok(Opened { file, stat, size });
        }
        let (file, stat) = match reach.is_referent {
            true => self
                .ground
                .open_file(&self.path(reach, &entry.path.to_vec()))?,
            false => dir.open_source(&name_of(&entry.path)?)?,
        };
        let size = stat.size;
        Ok(Opened { file, stat, size })
    }

    /// The path as the ground reaches it, `.` for where paths begin.
    pub(super) fn path(&self, reach: Reach, path: &[u8]) -> Vec<u8> {
        let base = self.base(reach);
        join(&base.path, base.below(path))
    }

    /// A path of the transfer as messages show it, in quotes.
    pub(super) fn quoted(&self, reach: Reach, path: &[u8]) -> Vec<u8> {
        let shown = self.path(reach, path);
        match &self.shown {
            Shown::Module(_) if self.base(reach).entered => self.quote(&[b"/", &*shown].concat()),
            _ => self.quote(&shown),
        }
    }

    /// The directory that names reached by `reach` are in, as messages show it, in quotes.
    pub(super) fn quoted_base(&self, reach: Reach) -> Vec<u8> {
        self.quote(&join(&self.base(reach).path, b""))
    }

    /// The path of a directory as rules see it that begin at the root: the file system's, or the
    /// module's.
    pub(super) fn absolute(&self, dir: &[u8]) -> Vec<u8> {
        match &self.shown {
            Shown::Absolute(start) if !dir.starts_with(b"/") => join(start, dir),
            Shown::Absolute(_) => dir.to_vec(),
            Shown::Module(_) => join(b"/", dir),
        }
    }

    /// Reads a file of rules that lies above what is sent; `None` where there is none.
    pub(super) fn read_above(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let path = match &self.shown {
            Shown::Absolute(_) => path,
            Shown::Module(_) => path.strip_prefix(b"/").unwrap_or(path),
        };
        let (file, stat) = match self.ground.open_file(path) {
            Ok(opened) => opened,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(io::Error::from_raw_os_error(error.errno)),
        };
        let mut content = vec![0; usize::try_from(stat.size).unwrap_or(0).min(LONGEST_RULES)];
        let read = file.read_at(&mut content, 0);
        let count = read.map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        content.truncate(count);
        Ok(Some(content))
    }

    fn quote(&self, path: &[u8]) -> Vec<u8> {
        match &self.shown {
            Shown::Module(name) => [b"\"", path, b"\" (in ", name.as_bytes(), b")"].concat(),
            Shown::Absolute(_) if path.starts_with(b"/") => [b"\"", path, b"\""].concat(),
            Shown::Absolute(start) => {
                let path = if path == b"." { b"" } else { path };
                [b"\"", &*join(start, path), b"\""].concat()
            }
        }
    }

    fn root(&self, reach: Reach, base: &Base) -> Result<Root, Error> {
        if let Some(root) = base.root.get() {
            return Ok(root.clone());
        }
        let root = self.ground.root(&join(&base.path, b""))?;
        if (reach.base as usize) < HELD {
            // Another thread may have been first: then that one's stays.
            return Ok(base.root.get_or_init(|| root).clone());
        }
        Ok(root)
    }

    fn base(&self, reach: Reach) -> Arc<Base> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&all[reach.base as usize])
    }
}

impl Base {
    /// What of a path of the transfer is below this directory.
    fn below<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        match path.get(self.strip..) {
            Some(below) if path != b"." => below,
            _ => b"",
        }
    }
}

/// An entry's name in its directory.
pub(super) fn name_of(path: &WirePath) -> Result<Name, Error> {
    Ok(Name::new(path.base())?)
}
