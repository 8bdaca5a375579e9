//! Reads merge files where a walk comes by.
//!
//! They are written by whoever writes the tree, and that may be an attacker: they are opened beneath
//! the directory that is walked, through no symbolic link, and name only files of the same tree.

use std::io;
use std::sync::Arc;

use barge_fs::{Dir, Root, StatKind};
use barge_types::{Name, RelPath};

use super::collect::{Collector, Origin, unreadable};
use super::list::{RuleError, RuleList};
use super::path::{below, resolved};
use super::rule::{DirMerge, Measured, Rule, RuleSide};
use super::scope::Place;

/// Reads the merge file at a path above the root of a transfer; `None` where there is none.
pub type ReadAbove<'a> = dyn FnMut(&[u8]) -> io::Result<Option<Vec<u8>>> + 'a;

/// The merge files that are looked for in a directory, each with what it says there.
#[derive(Clone, Debug, Default)]
pub(super) struct InForce(Vec<(Arc<DirMerge>, Option<Arc<Layer>>)>);

/// The rules of one merge file; those of directories further up come after them.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) rules: Vec<Rule>,
    /// The path of its directory.
    pub(super) dir: Vec<u8>,
    /// Bytes of all files that these rules and those they inherit were read from.
    weight: usize,
    inherited: Option<Arc<Self>>,
}

/// Where merge files are.
pub(super) enum Files<'f, 'r> {
    /// In an open directory.
    Beneath(&'f Dir),
    /// Above the first directory of a walk, of which this is the path.
    Above {
        read: &'f mut ReadAbove<'r>,
        first: &'f [u8],
    },
}

/// The merge files of one list in one directory, as they are read.
pub(super) struct Merging<'m, 'f, 'r> {
    place: &'m Place,
    list: &'m RuleList,
    /// What they say in the parent.
    before: &'m InForce,
    files: &'m mut Files<'f, 'r>,
    /// The daemon's list decides which files there are.
    watched: bool,
    /// The names of all that are in force so far.
    taken: Vec<Name>,
}

impl InForce {
    /// What a merge file says.
    pub(super) fn layer(&self, merge: &Arc<DirMerge>) -> Option<&Arc<Layer>> {
        let mut all = self.0.iter();
        let (_, layer) = all.find(|(other, _)| Arc::ptr_eq(other, merge))?;
        layer.as_ref()
    }

    pub(super) fn has_xattr_rules(&self) -> bool {
        let layers = self.0.iter().flat_map(|(_, layer)| chain(layer.as_ref()));
        let mut rules = layers.flat_map(|layer| &layer.rules);
        rules.any(|rule| rule.modifiers.xattrs)
    }
}

/// A layer and those it inherits.
pub(super) fn chain(layer: Option<&Arc<Layer>>) -> impl Iterator<Item = &Layer> {
    std::iter::successors(layer.map(Arc::as_ref), |layer| layer.inherited.as_deref())
}

impl<'m, 'f, 'r> Merging<'m, 'f, 'r> {
    pub(super) fn new(
        place: &'m Place,
        list: &'m RuleList,
        before: &'m InForce,
        files: &'m mut Files<'f, 'r>,
    ) -> Self {
        Self {
            place,
            list,
            before,
            files,
            watched: false,
            taken: Vec::new(),
        }
    }

    /// A client's rules: to them there is no file that the daemon's list refuses.
    pub(super) fn beside_daemon(self) -> Self {
        let watched = true;
        Self { watched, ..self }
    }

    pub(super) fn run(mut self) -> Result<InForce, RuleError> {
        let side = self.place.lists.side;
        let mut due: Vec<_> = merges(&self.list.rules, side).cloned().collect();
        let before = self.before.0.iter().map(|(merge, _)| merge);
        self.taken = names(before.chain(&due)).collect();
        let mut now = InForce::default();
        let mut weight = 0;
        while let Some(merge) = due.get(now.0.len()).cloned() {
            let layer = self.layer(&merge)?;
            weight += layer.as_ref().map_or(0, |layer| layer.weight);
            if weight > MAX_IN_FORCE {
                return Err(RuleError::syntax("too many rules of merge files in force"));
            }
            let layers = chain(layer.as_ref());
            due.extend(layers.flat_map(|layer| merges(&layer.rules, side)).cloned());
            now.0.push((merge, layer));
            if due.len() > MAX_MERGES {
                return Err(RuleError::syntax("too many merge files in force"));
            }
        }
        Ok(now)
    }

    /// What a merge file says here: its own rules, then those of directories further up.
    fn layer(&mut self, merge: &Arc<DirMerge>) -> Result<Option<Arc<Layer>>, RuleError> {
        let inherited = self.before.layer(merge).filter(|_| !merge.not_inherited);
        let Some(name) = &merge.name else {
            return Ok(None);
        };
        match self.content(merge, name)? {
            None => Ok(inherited.cloned()),
            Some(content) => self.read(merge, name, &content, inherited).map(Some),
        }
    }

    fn content(&mut self, merge: &DirMerge, name: &Name) -> Result<Option<Vec<u8>>, RuleError> {
        if self.watched && self.place.daemon_refuses(name.as_bytes(), false) {
            return Ok(None);
        }
        let content = match self.files {
            Files::Beneath(dir) => content_of(dir, name),
            Files::Above { read, first } if is_looked_at(merge, &self.place.path, first) => {
                read(&shown(&self.place.path, name.as_bytes()))
            }
            Files::Above { .. } => Ok(None),
        };
        let path = || shown(&self.place.path, name.as_bytes());
        content.map_err(|error| unreadable(&path(), &Origin::Text, None, &error))
    }

    fn read(
        &mut self,
        merge: &DirMerge,
        name: &Name,
        content: &[u8],
        inherited: Option<&Arc<Layer>>,
    ) -> Result<Arc<Layer>, RuleError> {
        let (taken, makeup) = (self.taken.clone(), &self.list.makeup);
        let (place, watched) = (self.place, self.watched);
        let files = &mut *self.files;
        let mut weight = content.len();
        let mut open = |path: &[u8], why: &Origin<'_>, bare| {
            let opened = open_named(place, watched, files, path).and_then(|opened| {
                // A few short files that merge each other many times would fill all memory.
                weight += opened.as_ref().map_or(0, Vec::len);
                let fits = weight <= MAX_FILE;
                fits.then_some(opened)
                    .ok_or(io::ErrorKind::FileTooLarge.into())
            });
            opened.map_err(|error| unreadable(path, why, bare, &error))
        };
        let collector = Collector::new(makeup, Measured::MergeDir, &mut open);
        let mut collector = collector.beside(taken);
        collector.set_from0(makeup.from0);
        let path = shown(&place.path, name.as_bytes());
        let path = String::from_utf8_lossy(&path).into_owned();
        collector.add_content(content, merge.style, &path)?;
        let cleared = collector.was_cleared();
        let rules = collector.into_rules();
        self.refuse_looking_up(&rules, &path)?;
        self.taken
            .extend(names(rules.iter().filter_map(Rule::dir_merge)));
        let inherited = inherited.filter(|_| !cleared);
        Ok(Arc::new(Layer {
            rules,
            dir: place.path.clone(),
            weight: weight + inherited.map_or(0, |layer| layer.weight),
            inherited: inherited.cloned(),
        }))
    }

    /// Who writes a merge file has no business above its directory.
    fn refuse_looking_up(&self, rules: &[Rule], path: &str) -> Result<(), RuleError> {
        let mut merges = rules.iter().filter_map(Rule::dir_merge);
        match merges.find(|merge| looks_up(merge, &self.place.path)) {
            Some(merge) => {
                let text = String::from_utf8_lossy(&merge.text);
                let text = format!("{path} may not merge files above its directory: {text}");
                Err(RuleError::syntax(text))
            }
            None => Ok(()),
        }
    }
}

/// The rules about merge files that hold at a side.
fn merges(rules: &[Rule], side: RuleSide) -> impl Iterator<Item = &Arc<DirMerge>> {
    let holding = rules.iter().filter(move |rule| rule.holds.at(side));
    holding.filter_map(Rule::dir_merge)
}

fn names<'r>(merges: impl Iterator<Item = &'r Arc<DirMerge>>) -> impl Iterator<Item = Name> {
    merges.filter_map(|merge| merge.name.clone())
}

/// Where a merge file is looked for first, when it is said in the directory `dir`: a true parent.
fn top(merge: &DirMerge, dir: &[u8]) -> Option<Vec<u8>> {
    let top = resolved(dir, merge.above.as_deref()?);
    (top != dir && below(dir, &top).is_some()).then_some(top)
}

fn looks_up(merge: &DirMerge, dir: &[u8]) -> bool {
    top(merge, dir).is_some()
}

fn is_looked_at(merge: &DirMerge, dir: &[u8], first: &[u8]) -> bool {
    top(merge, first).is_some_and(|top| below(dir, &top).is_some())
}

/// The path of a file, as messages and readers have it.
fn shown(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = vec![b'/'];
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Opens a file that a merge file names: where it begins with a name and has no slash, in the root
/// of the transfer; else from the merge file's directory.
fn open_named(
    place: &Place,
    watched: bool,
    files: &mut Files<'_, '_>,
    text: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let dir = match text.contains(&b'/') {
        true => &place.path[..],
        false => &place.path[..place.root.min(place.path.len())],
    };
    let path = resolved(dir, text);
    if watched && place.daemon_refuses_path(&path, false) {
        return Ok(None);
    }
    let content = match files {
        Files::Above { read, .. } => read(&shown(b"", &path)),
        Files::Beneath(dir) => {
            let top = place
                .top
                .as_ref()
                .map(|top| (top, &place.path[..place.root]));
            let places = [Some((*dir, &place.path[..])), top].into_iter().flatten();
            let mut reachable = places.filter_map(|(dir, at)| Some((dir, below(&path, at)?)));
            match reachable.next() {
                Some((dir, path)) => content_beneath(dir, path),
                None => Err(io::ErrorKind::PermissionDenied.into()),
            }
        }
    };
    content?.map(Some).ok_or(io::ErrorKind::NotFound.into())
}

fn content_beneath(dir: &Dir, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let path = RelPath::new(path).map_err(io::Error::other)?;
    let Some((parent, name)) = path.split_last() else {
        return Ok(None);
    };
    let opened = Root::at(dir).and_then(|root| root.dir(&parent));
    content_of(&opened.map_err(from_call)?, &name)
}

/// Reads a merge file; what is there but no file is none.
fn content_of(dir: &Dir, name: &Name) -> io::Result<Option<Vec<u8>>> {
    match dir.find(name).map_err(from_call)? {
        // A link is not followed: opening it fails, and that is to be known.
        Some(stat) if matches!(stat.kind, StatKind::File | StatKind::Symlink) => {}
        _ => return Ok(None),
    }
    let file = dir.open_file(name).map_err(from_call)?;
    let size = file.stat().map_err(from_call)?.size;
    let size = usize::try_from(size).ok().filter(|&size| size <= MAX_FILE);
    let size = size.ok_or(io::ErrorKind::FileTooLarge)?;
    let mut content = vec![0; size];
    let read = file.read_at(&mut content, 0).map_err(from_call)?;
    content.truncate(read);
    Ok(Some(content))
}

fn from_call(error: barge_fs::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno)
}

/// The most merge files that are looked for in a directory.
const MAX_MERGES: usize = 256;

/// The longest merge file that is read, with all that it merges, in bytes.
const MAX_FILE: usize = 4 << 20;

/// Bytes of all merge files whose rules hold in a directory; a rule in memory can be some fifty times
/// as large.
const MAX_IN_FORCE: usize = 2 * MAX_FILE;
