//! Removes whole trees, however wide and deep.

use std::collections::{HashSet, VecDeque};

use barge_types::{Name, RelPath};
use nix::errno::Errno;

use crate::{Dir, Error, Names, Stat, StatKind};

/// What is to become of an entry of a tree that is being removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// It goes.
    Remove,
    /// It stays, of a directory all beneath it too, and so do the directories above it.
    Keep,
    /// Nothing more goes.
    Stop,
}

impl Dir {
    /// Removes an entry and everything beneath it, through no link and across no mount point.
    ///
    /// `decide` is asked before a directory is entered, and again right before each removal;
    /// `removed` hears of each removal after it. Both get the path below `name` (the root: `name`
    /// itself) and a last look. What was kept may be asked about once more.
    ///
    /// Takes the same memory for a directory of any width and few handles at any depth; only the
    /// names of directories that were entered and stay are remembered.
    ///
    /// # Errors
    ///
    /// The first call that failed. What could be removed besides is removed, unless a directory on
    /// the way could not be read.
    pub fn remove_tree(
        &self,
        name: &Name,
        decide: &mut dyn FnMut(&RelPath, &Stat) -> Removal,
        removed: &mut dyn FnMut(&RelPath, &Stat),
    ) -> Result<(), Error> {
        let stat = self.stat(name)?;
        let mut sweep = Sweep {
            base: self,
            decide,
            removed,
            here: RelPath::root(),
            levels: VecDeque::new(),
            remains: vec![Remains::default()],
            failure: None,
        };
        let swept = sweep.run(name, &stat);
        sweep.failure.map_or(swept, Err)
    }
}

/// A removal on its way, deepest entries first.
struct Sweep<'a> {
    /// Where the top of the tree is.
    base: &'a Dir,
    decide: &'a mut dyn FnMut(&RelPath, &Stat) -> Removal,
    removed: &'a mut dyn FnMut(&RelPath, &Stat),
    /// The directory that is being emptied, below `base`.
    here: RelPath,
    /// That directory, last, and those above it as far as they are open; none in `base`.
    levels: VecDeque<Level>,
    /// For `base` and each directory from there to `here`.
    remains: Vec<Remains>,
    /// The first.
    failure: Option<Error>,
}

/// A directory that is being emptied.
struct Level {
    dir: Dir,
    names: Names,
    /// How often its names were read again because some had been passed over.
    rereads: usize,
    /// Whether something in it was removed in this reading.
    progress: bool,
}

/// What stays in a directory, remembered also while its handle is given up for depth.
#[derive(Default)]
struct Remains {
    /// Whether anything does.
    any: bool,
    /// Those that were entered: the names begin anew when the directory is opened again, and
    /// would lead into these for ever.
    entered: HashSet<Name>,
}

/// What became of an entry.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Gone,
    Stays,
    Entered,
    Stopped,
}

impl Sweep<'_> {
    fn run(&mut self, name: &Name, stat: &Stat) -> Result<(), Error> {
        let mut fate = self.entry(name, stat)?;
        while fate != Fate::Stopped && !self.levels.is_empty() {
            fate = self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Fate, Error> {
        let level = self.levels.back_mut().expect("run looked");
        match level.names.next() {
            Some(Ok(listed)) => match level.dir.find(&listed.name) {
                Ok(Some(stat)) => self.entry(&listed.name, &stat),
                Ok(None) => Ok(Fate::Gone),
                Err(error) => Ok(self.fail(error)),
            },
            Some(Err(error)) => Ok(self.fail(error)),
            None => self.leave(),
        }
    }

    fn entry(&mut self, name: &Name, stat: &Stat) -> Result<Fate, Error> {
        let path = self.here.join(name);
        if stat.kind != StatKind::Directory {
            return Ok(self.remove(&path, stat, |dir| dir.unlink(name)));
        }
        if self.remains().entered.contains(name) {
            return Ok(Fate::Stays);
        }
        if let Some(fate) = self.spared(&path, stat) {
            return Ok(fate);
        }
        match self.dir().open_dir(name) {
            Ok(below) => {
                self.here = path;
                self.remains.push(Remains::default());
                self.open(below, 0)
            }
            // It may be empty, and then needs no reading.
            Err(error) if error.is(Errno::EACCES) => {
                Ok(self.remove(&path, stat, |dir| dir.remove_dir(name).map_err(|_| error)))
            }
            Err(error) => Ok(self.fail(error)),
        }
    }

    /// Begins to read a directory, which is `here`, from its first name.
    fn open(&mut self, dir: Dir, rereads: usize) -> Result<Fate, Error> {
        let names = dir.names()?;
        if self.levels.len() == OPEN_LEVELS {
            self.levels.pop_front();
        }
        self.levels.push_back(Level {
            dir,
            names,
            rereads,
            progress: false,
        });
        Ok(Fate::Entered)
    }

    /// Removes the directory that was read to its end, and goes on in the one above it.
    fn leave(&mut self) -> Result<Fate, Error> {
        let level = self.levels.pop_back().expect("the one that was read");
        let stat = level.dir.stat_self()?;
        let (above, name) = self.here.split_last().expect("no level is the base's");
        let path = std::mem::replace(&mut self.here, above);
        let inside = self.remains.pop().expect("each level has its own");
        self.reopen()?;
        let fate = if inside.any {
            self.stays()
        } else if let Some(fate) = self.spared(&path, &stat) {
            fate
        } else {
            match self.dir().remove_dir(&name) {
                Err(error) if level.may_read_again(&error) => {
                    self.here = path;
                    self.remains.push(inside);
                    return self.open(level.dir, level.rereads + 1);
                }
                emptied => self.note(emptied, &path, &stat),
            }
        };
        if fate == Fate::Stays {
            self.remains().entered.insert(name);
        }
        Ok(fate)
    }

    /// Opens the directory we are in again, if its handle was given up on the way down.
    fn reopen(&mut self) -> Result<(), Error> {
        if self.levels.is_empty() && !self.here.is_root() {
            self.open(self.base.beneath(&self.here)?, 0)?;
        }
        Ok(())
    }

    fn remove(
        &mut self,
        path: &RelPath,
        stat: &Stat,
        call: impl Fn(&Dir) -> Result<(), Error>,
    ) -> Fate {
        if let Some(fate) = self.spared(path, stat) {
            return fate;
        }
        let result = call(self.dir());
        self.note(result, path, stat)
    }

    /// Asks whether an entry is to go; `None` when it is.
    fn spared(&mut self, path: &RelPath, stat: &Stat) -> Option<Fate> {
        match (self.decide)(&below_top(path), stat) {
            Removal::Remove => None,
            Removal::Keep => Some(self.stays()),
            Removal::Stop => Some(Fate::Stopped),
        }
    }

    /// Notes what became of one entry. That it is gone already needs no word.
    fn note(&mut self, result: Result<(), Error>, path: &RelPath, stat: &Stat) -> Fate {
        match result {
            Ok(()) => {
                if let Some(level) = self.levels.back_mut() {
                    level.progress = true;
                }
                (self.removed)(&below_top(path), stat);
                Fate::Gone
            }
            Err(error) if error.is_not_found() => Fate::Gone,
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) -> Fate {
        self.failure.get_or_insert(error);
        self.stays()
    }

    /// Notes that something stays in the directory we are in.
    fn stays(&mut self) -> Fate {
        self.remains().any = true;
        Fate::Stays
    }

    fn remains(&mut self) -> &mut Remains {
        self.remains.last_mut().expect("the base's is never left")
    }

    /// The directory we are in.
    fn dir(&self) -> &Dir {
        self.levels.back().map_or(self.base, |level| &level.dir)
    }
}

impl Level {
    /// Some file systems pass over names while others are removed.
    fn may_read_again(&self, error: &Error) -> bool {
        self.progress && self.rereads < REREADS && error.is_not_empty()
    }
}

/// The path below the top of the tree, which is the first part.
fn below_top(path: &RelPath) -> RelPath {
    let bytes = path.as_bytes();
    let slash = bytes.iter().position(|&byte| byte == b'/');
    let below = slash.map_or(&[][..], |at| &bytes[at + 1..]);
    RelPath::new(below).expect("names joined by slashes")
}

/// How many directories, one in the other, are held open: each takes two handles.
const OPEN_LEVELS: usize = 16;

/// How often one directory is read again: somebody who keeps filling it must not hold us up.
const REREADS: usize = 16;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::trees::{is_root, name, roots};

    fn all(_: &RelPath, _: &Stat) -> Removal {
        Removal::Remove
    }

    #[test]
    fn tree_is_removed_deepest_first_and_links_are_not_followed() {
        for (folder, root) in roots() {
            let kept = folder.path().join("kept");
            fs::create_dir(&kept).unwrap();
            fs::write(kept.join("file"), "").unwrap();
            fs::create_dir_all(folder.path().join("tree/a/b")).unwrap();
            symlink(&kept, folder.path().join("tree/a/link")).unwrap();
            symlink("../../kept", folder.path().join("tree/relative")).unwrap();
            fs::write(folder.path().join("tree/a/b/file"), "").unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let mut gone = Vec::new();
            let mut removed = |path: &RelPath, stat: &Stat| {
                gone.push((path.to_string(), stat.kind));
            };
            dir.remove_tree(&name("tree"), &mut all, &mut removed)
                .unwrap();
            assert_eq!(gone.last().unwrap(), &(".".to_owned(), StatKind::Directory));
            let place = |path: &str| gone.iter().position(|(gone, _)| gone == path).unwrap();
            assert!(place("a/b/file") < place("a/b") && place("a/b") < place("a"));
            assert!(place("a/link") < place("a") && gone.len() == 6);
            assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
        }
    }

    #[test]
    fn wide_and_branching_tree_deeper_than_the_open_levels_is_removed() {
        for (_folder, root) in roots() {
            let top = root.dir(&RelPath::root()).unwrap();
            let mut dir = top.clone();
            let mut made = 0;
            for _ in 0..3 * OPEN_LEVELS {
                for entry in ["a", "down", "z"] {
                    dir.make_dir(&name(entry)).unwrap();
                    made += 1;
                }
                dir = dir.open_dir(&name("down")).unwrap();
            }
            for entry in 0..5000 {
                dir.make_symlink(&name(format!("{entry}")), b"to").unwrap();
            }
            let mut count = 0;
            let mut removed = |_: &RelPath, _: &Stat| count += 1;
            top.remove_tree(&name("down"), &mut all, &mut removed)
                .unwrap();
            assert_eq!(count, made - 2 + 5000);
            assert_eq!(top.names().unwrap().count(), 2);
        }
    }

    #[test]
    fn removal_stops_when_told_so() {
        for (folder, root) in roots() {
            fs::create_dir_all(folder.path().join("a/b/c/d")).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let gone = Cell::new(0);
            let mut decide = |_: &RelPath, _: &Stat| match gone.get() {
                2 => Removal::Stop,
                _ => Removal::Remove,
            };
            let mut removed = |_: &RelPath, _: &Stat| gone.set(gone.get() + 1);
            dir.remove_tree(&name("a"), &mut decide, &mut removed)
                .unwrap();
            assert_eq!(gone.get(), 2);
            assert!(folder.path().join("a/b").exists());
            assert!(!folder.path().join("a/b/c").exists());
        }
    }

    #[test]
    fn what_is_kept_keeps_what_is_above_it_and_is_not_entered() {
        for (folder, root) in roots() {
            for path in ["tree/a/kept/below", "tree/a/gone", "tree/b/gone"] {
                fs::create_dir_all(folder.path().join(path)).unwrap();
            }
            fs::write(folder.path().join("tree/b/kept"), "").unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let (mut asked, mut gone) = (Vec::new(), Vec::new());
            let mut decide = |path: &RelPath, _: &Stat| {
                asked.push(path.to_string());
                match path.as_bytes().ends_with(b"kept") {
                    true => Removal::Keep,
                    false => Removal::Remove,
                }
            };
            let mut removed = |path: &RelPath, _: &Stat| gone.push(path.to_string());
            dir.remove_tree(&name("tree"), &mut decide, &mut removed)
                .unwrap();
            gone.sort();
            assert_eq!(gone, ["a/gone", "b/gone"]);
            asked.sort();
            let twice_when_emptied = ["a/gone", "a/gone", "b/gone", "b/gone"];
            let once = [".", "a", "a/kept", "b", "b/kept"];
            let mut expected = [&twice_when_emptied[..], &once[..]].concat();
            expected.sort_unstable();
            assert_eq!(asked, expected);
            assert!(folder.path().join("tree/a/kept/below").exists());
            assert!(folder.path().join("tree/b/kept").exists());
        }
    }

    #[test]
    fn emptied_directory_may_still_be_kept() {
        for (folder, root) in roots() {
            fs::create_dir_all(folder.path().join("tree/below")).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let asked = Cell::new(0);
            let mut decide = |path: &RelPath, _: &Stat| {
                asked.set(asked.get() + usize::from(path.is_root()));
                match path.is_root() && asked.get() == 2 {
                    true => Removal::Keep,
                    false => Removal::Remove,
                }
            };
            dir.remove_tree(&name("tree"), &mut decide, &mut |_, _| ())
                .unwrap();
            let left = fs::read_dir(folder.path().join("tree")).unwrap();
            assert_eq!(left.count(), 0);
        }
    }

    #[test]
    fn what_is_kept_at_any_depth_keeps_nothing_beside_it() {
        for (_folder, root) in roots() {
            let top = root.dir(&RelPath::root()).unwrap();
            let depth = 3 * OPEN_LEVELS;
            for side in ["down", "also"] {
                let mut dir = top.clone();
                for level in 0..depth {
                    let next = name(if level == 1 { side } else { "down" });
                    for entry in [&next, &name("a"), &name("kept"), &name("z")] {
                        if dir.find(entry).unwrap().is_none() {
                            dir.make_dir(entry).unwrap();
                        }
                    }
                    dir = dir.open_dir(&next).unwrap();
                }
            }
            let mut decide = |path: &RelPath, _: &Stat| match path.as_bytes().ends_with(b"kept") {
                true => Removal::Keep,
                false => Removal::Remove,
            };
            let mut gone = HashSet::new();
            let mut removed = |path: &RelPath, _: &Stat| {
                assert!(gone.insert(path.clone()), "{path} went twice");
            };
            top.remove_tree(&name("down"), &mut decide, &mut removed)
                .unwrap();
            // Two beside each of the levels, and the deepest directory of each side.
            assert_eq!(gone.len(), 2 + 2 * (2 * (depth - 2) + 1));
        }
    }

    #[test]
    fn single_entry_is_removed_whatever_it_is() {
        for (folder, root) in roots() {
            symlink("/", folder.path().join("link")).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let mut paths = Vec::new();
            let mut removed = |path: &RelPath, _: &Stat| paths.push(path.clone());
            dir.remove_tree(&name("link"), &mut all, &mut removed)
                .unwrap();
            assert_eq!(paths, [RelPath::root()]);
            let again = dir.remove_tree(&name("link"), &mut all, &mut |_, _| ());
            let error = again.unwrap_err();
            assert!(error.is_not_found());
        }
    }

    #[test]
    fn what_cannot_be_removed_keeps_only_what_is_above_it() {
        if nix::unistd::geteuid().is_root() {
            println!("skipped, needs an ordinary user: directories that refuse removal");
            return;
        }
        for (folder, root) in roots() {
            for path in ["tree/shut/file", "tree/open/file"] {
                fs::create_dir_all(folder.path().join(path)).unwrap();
            }
            let shut = folder.path().join("tree/shut");
            fs::set_permissions(&shut, fs::Permissions::from_mode(0o500)).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let removal = dir.remove_tree(&name("tree"), &mut all, &mut |_, _| ());
            let error = removal.unwrap_err();
            assert_eq!(error, Error::new("rmdir", Errno::EACCES));
            assert!(shut.join("file").exists() && !folder.path().join("tree/open").exists());
            fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    #[test]
    fn mount_point_in_a_tree_stays() {
        if !is_root("mounting") {
            return;
        }
        let Some((folder, root)) = roots().pop() else {
            return;
        };
        let mounted = folder.path().join("tree/mounted");
        fs::create_dir_all(&mounted).unwrap();
        fs::write(folder.path().join("tree/file"), "").unwrap();
        let mount = |args: &[&str]| std::process::Command::new("mount").args(args).status();
        let done = mount(&["-t", "tmpfs", "tmpfs", mounted.to_str().unwrap()]);
        if !done.is_ok_and(|status| status.success()) {
            println!("skipped, cannot mount here: mount points in a tree");
            return;
        }
        fs::write(mounted.join("kept"), "").unwrap();
        let dir = root.dir(&RelPath::root()).unwrap();
        let removal = dir.remove_tree(&name("tree"), &mut all, &mut |_, _| ());
        let error = removal.unwrap_err();
        let kept = mounted.join("kept").exists();
        std::process::Command::new("umount")
            .arg(&mounted)
            .status()
            .unwrap();
        assert!(error.is_mount_point() && kept);
        assert!(!folder.path().join("tree/file").exists());
    }
}
