//! Where a transfer goes: an existing directory, a new one, or a file of another name.
//!
//! Source: rsync(1), «COPYING TO A DIFFERENT NAME», «--mkpath», and rsync 3.5.0 as it behaves.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use barge_fs::{Dir, Ground, Root, StatKind};
use barge_rsync::options::Options;
use barge_types::{Mode, Name, RelPath};

use super::hidden::hides;
use super::texts;
use crate::over_rsync::Failure;
use crate::over_rsync::agreed::Base;
use crate::over_rsync::glob::parts;

/// Where the root of the transfer is.
pub(super) struct Target {
    /// Its directory; `None` in a dry run when it would have been made.
    pub(super) root: Option<Root>,
    /// What the only entry is called there.
    pub(super) local: Option<Name>,
    /// The directory was not there before.
    pub(super) created: bool,
    /// Its path in messages, without a slash at the end.
    pub(super) shown: Vec<u8>,
    place: Place,
    /// Its path as its place has it.
    path: Vec<u8>,
}

impl Target {
    /// The same, and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// `openat` or `mkdirat`.
    pub(super) fn make_beside(&self, named: &OsStr) -> Result<Root, barge_fs::Error> {
        match self.beside(named) {
            Err(error) if error.is_not_found() => {}
            opened => return opened,
        }
        let path = self.named(named);
        for path in self.place.missing(&path) {
            let (above, name) = split(path);
            self.place.make(above, name)?;
        }
        self.beside(named)
    }

    /// Opens a directory that an option names: relative to the root of the transfer, and in a
    /// module if that is in one. In messages it is called as it is named.
    ///
    /// # Errors
    ///
    /// `openat`.
    pub(super) fn beside(&self, named: &OsStr) -> Result<Root, barge_fs::Error> {
        self.place.open(&self.named(named))
    }

    /// A directory that an option names, in messages: in a module as it is named.
    pub(super) fn shown_beside(&self, named: &OsStr) -> Vec<u8> {
        let named = named.as_bytes();
        match (
            &self.root,
            self.place.module.is_some() || named.starts_with(b"/"),
        ) {
            (_, true) => named.to_vec(),
            (None, false) => beside_absent(&self.shown, named),
            (Some(_), false) => [&self.shown, &b"/"[..], named].concat(),
        }
    }

    fn named(&self, named: &OsStr) -> Vec<u8> {
        let named = named.as_bytes();
        match (self.place.module.is_some(), named.starts_with(b"/")) {
            (true, true) => below(named),
            (true, false) => below(&[&self.path, &b"/"[..], named].concat()),
            (false, true) => named.to_vec(),
            (false, false) if self.root.is_none() => beside_absent(&self.path, named),
            (false, false) => [&self.path, &b"/"[..], named].concat(),
        }
    }
}

impl Target {
    /// A path below it, as its place has it.
    pub(super) fn below(&self, path: &[u8]) -> Vec<u8> {
        below(&[&self.path, &b"/"[..], path].concat())
    }

    /// The path of a directory that an option names, as its place has it.
    pub(super) fn below_named(&self, named: &OsStr) -> Vec<u8> {
        self.named(named)
    }

    /// Its path as rules see it that begin at the root: the file system's, or the module's.
    pub(super) fn absolute(&self) -> Vec<u8> {
        match self.shown.starts_with(b"/") {
            true => self.shown.clone(),
            false => [b"/", &self.shown[..]].concat(),
        }
    }

    /// Reads a file of rules that lies above the root of the transfer; `None` where there is none.
    pub(super) fn read_above(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let path = match self.place.module.is_some() {
            true => below(path),
            false => path.to_vec(),
        };
        let (file, stat) = match self.place.ground.open_file(&path) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened.map_err(io_error)?,
        };
        let len = usize::try_from(stat.size)
            .unwrap_or(usize::MAX)
            .min(MOST_RULES);
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0).map_err(io_error)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }
}

fn io_error(error: barge_fs::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno)
}

/// Bytes of a file of rules that are read.
const MOST_RULES: usize = 1 << 20;

/// What has come of the list when the destination is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// More than one entry.
    pub(super) many: bool,
    /// The first is a directory.
    pub(super) dir: bool,
}

/// Finds the place that the argument `path` means, or makes it. `tell` gets lines for the user.
///
/// # Errors
///
/// [`Failure`] with exit code 3 or 11 when the transfer cannot go there.
pub(super) fn find(
    base: &Base,
    path: &Path,
    shape: Shape,
    options: &Options,
    tell: &mut dyn FnMut(String),
) -> Result<Target, Failure> {
    let place = Place::new(base, path)?;
    place.refuse_hidden(base, shape)?;
    if options.mkpath {
        place.make_path(options.dry_run, tell)?;
    }
    let kind = match place.ground.hold(&place.path, true) {
        Err(error) if !error.is_not_found() => {
            let named = place.quoted(&place.path, place.wants_dir);
            let doing = "ERROR: cannot stat destination";
            return Err(texts::cannot_stat(doing, &named, &error));
        }
        held => held.ok().map(|held| held.stat().kind),
    };
    match kind {
        Some(StatKind::Directory) => place.existing_dir(),
        Some(_) => place.existing_file(shape),
        None if shape.many || place.wants_dir => place.new_dir(options.dry_run, tell),
        None => place.new_entry(options.dry_run),
    }
}

/// A path that an argument named, relative to where it may lead.
#[derive(Clone)]
struct Place {
    ground: Ground,
    /// It may not lead out of that.
    module: Option<InModule>,
    /// Without slashes at the end; `.` where nothing else is left.
    path: Vec<u8>,
    /// The argument ended in a slash.
    wants_dir: bool,
    /// What the path is called in messages.
    said: Vec<u8>,
    /// What messages put before paths below the ground.
    above: Vec<u8>,
}

/// How messages call what is in a module.
#[derive(Clone)]
struct InModule {
    name: String,
    /// What paths begin with: the root, where the module is that of its process.
    root: &'static str,
}

impl Place {
    fn new(base: &Base, path: &Path) -> Result<Self, Failure> {
        let bytes = path.as_os_str().as_bytes();
        let wants_dir = bytes.ends_with(b"/");
        let said = trimmed(bytes).to_vec();
        match base {
            Base::Working => {
                let ground = Ground::anywhere(Path::new("."))
                    .map_err(|error| texts::cannot("change_dir", "\".\"", &error, 3))?;
                let above = std::path::absolute(".").unwrap_or_default();
                Ok(Self {
                    ground,
                    module: None,
                    path: said.clone(),
                    wants_dir,
                    said,
                    above: trimmed(above.as_os_str().as_bytes()).to_vec(),
                })
            }
            Base::Module(module) => {
                let ground = Root::open(&module.root)
                    .and_then(|root| root.dir(&RelPath::root()))
                    .and_then(|root| Ground::beneath(&root))
                    .map_err(|error| texts::cannot("change_dir", "\"/\"", &error, 3))?;
                let root = if module.sanitizes_paths { "" } else { "/" };
                let name = module.name.clone();
                Ok(Self {
                    ground,
                    module: Some(InModule { name, root }),
                    path: below(bytes),
                    wants_dir,
                    said,
                    above: Vec::new(),
                })
            }
        }
    }

    /// Refuses what the module's own rules hide from its clients.
    fn refuse_hidden(&self, base: &Base, shape: Shape) -> Result<(), Failure> {
        let is_dir =
            self.wants_dir || shape.many || self.kind_of(&self.path) == Some(StatKind::Directory);
        // As with rsync a directory must not be hidden by what is for files either.
        let is_hidden = hides(base, &self.path, false) || is_dir && hides(base, &self.path, true);
        if self.path == b"." || !is_hidden {
            return Ok(());
        }
        let (said, slash) = (
            texts::printable(&self.said),
            if self.wants_dir { "/" } else { "" },
        );
        let text = format!("ERROR: daemon has excluded destination \"{said}{slash}\"");
        Err(Failure::fatal(3, text))
    }

    /// What is at a path, links followed; `None` when nothing is.
    fn kind_of(&self, path: &[u8]) -> Option<StatKind> {
        let held = self.ground.hold(path, true).ok()?;
        Some(held.stat().kind)
    }

    fn existing_dir(&self) -> Result<Target, Failure> {
        let root = self.open(&self.path).map_err(|error| {
            texts::cannot("change_dir#1", &self.quoted(&self.path, false), &error, 3)
        })?;
        Ok(self.target(Some(root), &self.path, false))
    }

    fn existing_file(&self, shape: Shape) -> Result<Target, Failure> {
        if shape.many {
            let text = "ERROR: destination must be a directory when copying more than 1 file";
            return Err(Failure::fatal(3, text));
        }
        if shape.dir {
            let text = "ERROR: cannot overwrite non-directory with a directory";
            return Err(Failure::fatal(3, text));
        }
        self.new_entry(false)
    }

    fn new_dir(&self, dry_run: bool, tell: &mut dyn FnMut(String)) -> Result<Target, Failure> {
        let said = texts::printable(&self.said);
        if dry_run {
            tell(format!("created directory {said}\n"));
            return Ok(self.target(None, &self.path, true));
        }
        let (above, name) = split(&self.path);
        let made = self.make(above, name);
        made.map_err(|error| texts::cannot("mkdir", &self.quoted(&self.path, false), &error, 11))?;
        tell(format!("created directory {said}\n"));
        let target = self.existing_dir()?;
        Ok(Target {
            created: true,
            ..target
        })
    }

    /// The only entry gets a name of its own.
    fn new_entry(&self, dry_run: bool) -> Result<Target, Failure> {
        let (above, name) = split(&self.path);
        let local = Name::new(name).map_err(|_| {
            let text = format!("ERROR: no such name: {}", texts::printable(&self.said));
            Failure::fatal(3, text)
        })?;
        let root = match self.open(above) {
            Ok(root) => Some(root),
            Err(_) if dry_run && self.kind_of(above).is_none() => None,
            Err(error) => {
                return Err(texts::cannot(
                    "change_dir#3",
                    &self.quoted(above, false),
                    &error,
                    3,
                ));
            }
        };
        Ok(Target {
            local: Some(local),
            ..self.target(root, above, false)
        })
    }

    /// Makes the directories that are missing on the way.
    fn make_path(&self, dry_run: bool, tell: &mut dyn FnMut(String)) -> Result<(), Failure> {
        let path = match self.wants_dir {
            true => &self.path[..],
            false => split(&self.path).0,
        };
        let missing = self.missing(path);
        if missing.is_empty() {
            return Ok(());
        }
        if !dry_run {
            for path in &missing {
                let (above, name) = split(path);
                let made = self.make(above, name);
                made.map_err(|error| {
                    texts::cannot("mkpath", &self.quoted(path, false), &error, 11)
                })?;
            }
        }
        let (count, said) = (missing.len(), texts::printable(path));
        let noun = if count == 1 {
            "directory"
        } else {
            "directories"
        };
        tell(format!("created {count} {noun} for {said}\n"));
        Ok(())
    }

    /// The directories on the way to a path, it included, that are not there; the topmost first.
    fn missing<'p>(&self, path: &'p [u8]) -> Vec<&'p [u8]> {
        let mut missing = Vec::new();
        let mut path = path;
        while !matches!(path, b"." | b"/") && self.kind_of(path).is_none() {
            missing.push(path);
            path = split(path).0;
        }
        missing.reverse();
        missing
    }

    fn make(&self, above: &[u8], name: &[u8]) -> Result<(), barge_fs::Error> {
        // `..` and what is longer than a name the directory itself refuses to make.
        let Ok(name) = Name::new(name) else {
            return self.open(&[above, b"/", name].concat()).map(drop);
        };
        let mode = Mode::from_st_mode(0o777);
        self.dir(above)?.make_dir_with(&name, mode)
    }

    fn open(&self, path: &[u8]) -> Result<Root, barge_fs::Error> {
        self.ground.root(path)
    }

    fn dir(&self, path: &[u8]) -> Result<Dir, barge_fs::Error> {
        self.open(path)?.dir(&RelPath::root())
    }

    fn target(&self, root: Option<Root>, path: &[u8], created: bool) -> Target {
        Target {
            root,
            local: None,
            created,
            shown: self.shown(path),
            place: self.clone(),
            path: path.to_vec(),
        }
    }

    /// A path in quotes, with the module it is in, and a slash for who asked for a directory.
    fn quoted(&self, path: &[u8], slash: bool) -> String {
        let (shown, slash) = (self.shown(path), if slash { "/" } else { "" });
        let shown = texts::printable(&shown);
        match &self.module {
            None => format!("\"{shown}{slash}\""),
            Some(InModule { name, root }) => {
                let below = shown.strip_prefix('/').unwrap_or(&shown);
                format!("\"{root}{below}{slash}\" (in {name})")
            }
        }
    }

    /// A path as messages have it: from the root of all, or of the module.
    fn shown(&self, path: &[u8]) -> Vec<u8> {
        match path {
            b"." => self.above.clone(),
            path if path.starts_with(b"/") => trimmed(path).to_vec(),
            path => [&self.above, &b"/"[..], path].concat(),
        }
    }
}

/// A path without slashes at its end, but for the root's own; `.` for an empty one.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/');
    match (end, path.is_empty()) {
        (Some(end), _) => &path[..=end],
        (None, true) => b".",
        (None, false) => b"/",
    }
}

/// A client's path in a module: without a root, and with what `..` takes away taken away.
fn below(path: &[u8]) -> Vec<u8> {
    let parts = parts(path);
    match parts.is_empty() {
        true => b".".to_vec(),
        false => parts.join(&b'/'),
    }
}

/// A path from a directory that is not there, and so leads nowhere: what goes up in it begins above.
fn beside_absent(dir: &[u8], mut named: &[u8]) -> Vec<u8> {
    let mut dir = trimmed(dir);
    while let Some(rest) = named.strip_prefix(b"../")
        && !matches!(split(dir), (_, b"" | b"." | b".."))
    {
        dir = split(dir).0;
        named = rest;
    }
    [dir, b"/", named].concat()
}

/// The directory of a path, and the last name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(slash) => (trimmed(&path[..slash]), &path[slash + 1..]),
        None => (b".", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_module_stay_in_it() {
        for (path, is) in [
            ("", "."),
            ("/", "."),
            ("a/b/", "a/b"),
            ("/a//./b", "a/b"),
            ("../../etc", "etc"),
            ("a/../../b", "b"),
            ("a/..", "."),
        ] {
            assert_eq!(below(path.as_bytes()), is.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_is_beside_an_absent_directory_is_found_without_it() {
        for (dir, named, is) in [
            ("new", "../old", "./old"),
            ("a/new/", "../old", "a/old"),
            ("/a/new", "../old/../x", "/a/old/../x"),
            ("/new", "../../old", "//../old"),
            ("../new", "../../old", "../../old"),
            ("new", "old", "new/old"),
        ] {
            let path = beside_absent(dir.as_bytes(), named.as_bytes());
            assert_eq!(path, is.as_bytes(), "{dir} {named}");
        }
    }

    #[test]
    fn last_name_is_split_off() {
        for (path, dir, name) in [
            ("a", ".", "a"),
            ("a/b", "a", "b"),
            ("/a", "/", "a"),
            ("a//b", "a", "b"),
            ("/a/b/c", "/a/b", "c"),
        ] {
            let (dir, name) = (dir.as_bytes(), name.as_bytes());
            assert_eq!(split(path.as_bytes()), (dir, name), "{path}");
        }
    }
}
