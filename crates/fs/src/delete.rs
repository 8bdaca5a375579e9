//! Removes whole trees, however wide and deep.

use std::collections::VecDeque;

use barge_types::{Name, RelPath};
use nix::errno::Errno;

use crate::{Dir, Error, Names, Stat, StatKind};

impl Dir {
    /// Removes an entry and everything beneath it, through no link and across no mount point.
    ///
    /// `removed` hears of each removal, with the path below `name` (the root: `name` itself) and
    /// a last look; returning false stops at once. Returns whether everything is gone. Takes the
    /// same memory for a directory of any width, and few handles at any depth.
    ///
    /// # Errors
    ///
    /// The first call that failed. What could be removed besides is removed, except that nothing
    /// is tried again in a directory whose handle had to be given up for depth.
    pub fn remove_tree(
        &self,
        name: &Name,
        removed: &mut dyn FnMut(&RelPath, &Stat) -> bool,
    ) -> Result<bool, Error> {
        let stat = self.stat(name)?;
        if stat.kind != StatKind::Directory {
            self.unlink(name)?;
            return Ok(removed(&RelPath::root(), &stat));
        }
        let mut removal = Removal {
            base: self,
            name,
            removed,
            here: RelPath::root(),
            levels: VecDeque::new(),
            failure: None,
        };
        removal.run()
    }
}

/// A tree that is being removed, deepest entries first.
struct Removal<'a> {
    base: &'a Dir,
    /// The top of the tree, in `base`.
    name: &'a Name,
    removed: &'a mut dyn FnMut(&RelPath, &Stat) -> bool,
    /// The directory that is being emptied, below `name`.
    here: RelPath,
    /// That directory, last, and those above it as far as they are open.
    levels: VecDeque<Level>,
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
    /// Whether something in it could not be removed.
    stays: bool,
}

/// Where the removal stands after one step.
enum Step {
    Next,
    Stopped,
    Done,
}

impl Removal<'_> {
    fn run(&mut self) -> Result<bool, Error> {
        let top = self.base.open_dir(self.name)?;
        self.enter(top)?;
        loop {
            match self.step()? {
                Step::Next => {}
                Step::Stopped => return Ok(false),
                Step::Done => return self.failure.map_or(Ok(true), Err),
            }
        }
    }

    fn enter(&mut self, dir: Dir) -> Result<(), Error> {
        let names = dir.names()?;
        if self.levels.len() == OPEN_LEVELS {
            self.levels.pop_front();
        }
        self.levels.push_back(Level {
            dir,
            names,
            rereads: 0,
            progress: false,
            stays: false,
        });
        Ok(())
    }

    fn step(&mut self) -> Result<Step, Error> {
        let level = self.level();
        match level.names.next() {
            Some(Ok(listed)) => match level.dir.find(&listed.name) {
                Ok(Some(stat)) => self.remove(&listed.name, &stat),
                Ok(None) => Ok(Step::Next),
                Err(error) => Ok(self.fail(error)),
            },
            Some(Err(error)) => Ok(self.fail(error)),
            None => self.leave(),
        }
    }

    fn remove(&mut self, name: &Name, stat: &Stat) -> Result<Step, Error> {
        let dir = &self.level().dir;
        if stat.kind != StatKind::Directory {
            let unlinked = dir.unlink(name);
            return Ok(self.note(unlinked, self.here.join(name), stat));
        }
        match dir.open_dir(name) {
            Ok(below) => {
                self.here = self.here.join(name);
                self.enter(below)?;
                Ok(Step::Next)
            }
            // It may be empty, and then needs no reading.
            Err(error) if error.is(Errno::EACCES) => {
                let emptied = dir.remove_dir(name).map_err(|_| error);
                Ok(self.note(emptied, self.here.join(name), stat))
            }
            Err(error) => Ok(self.fail(error)),
        }
    }

    /// Removes the directory that was read to its end, and goes on in the one above it.
    fn leave(&mut self) -> Result<Step, Error> {
        let stat = self.level().dir.stat_self()?;
        let left = self.levels.pop_back().expect("the one that was read");
        let Some((above, name)) = parent(&self.here) else {
            return self.leave_top(left, &stat);
        };
        let path = std::mem::replace(&mut self.here, above);
        if self.levels.is_empty() {
            self.reopen()?;
        }
        if left.stays {
            self.level().stays = true;
            return Ok(Step::Next);
        }
        match self.level().dir.remove_dir(&name) {
            Err(error) if left.may_read_again(&error) => {
                self.here = path;
                self.read_again(left)
            }
            emptied => Ok(self.note(emptied, path, &stat)),
        }
    }

    fn leave_top(&mut self, left: Level, stat: &Stat) -> Result<Step, Error> {
        if left.stays {
            return Ok(Step::Done);
        }
        match self.base.remove_dir(self.name) {
            Err(error) if left.may_read_again(&error) => self.read_again(left),
            Err(error) => Err(self.failure.unwrap_or(error)),
            Ok(()) if (self.removed)(&RelPath::root(), stat) => Ok(Step::Done),
            Ok(()) => Ok(Step::Stopped),
        }
    }

    /// Opens the directory we are in again, whose handle was given up on the way down.
    ///
    /// Its names begin anew, and would lead for ever into what could not be removed.
    fn reopen(&mut self) -> Result<(), Error> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let top = RelPath::root().join(self.name);
        let path = match self.here.is_root() {
            true => top,
            false => {
                let bytes = [top.as_bytes(), b"/", self.here.as_bytes()].concat();
                RelPath::new(&bytes).expect("names joined by slashes")
            }
        };
        self.enter(self.base.beneath(&path)?)
    }

    fn read_again(&mut self, left: Level) -> Result<Step, Error> {
        self.levels.push_back(Level {
            names: left.dir.names()?,
            rereads: left.rereads + 1,
            progress: false,
            ..left
        });
        Ok(Step::Next)
    }

    /// Notes what became of one entry. That it is gone already needs no word.
    fn note(&mut self, result: Result<(), Error>, path: RelPath, stat: &Stat) -> Step {
        match result {
            Ok(()) => {
                self.level().progress = true;
                if (self.removed)(&path, stat) {
                    Step::Next
                } else {
                    Step::Stopped
                }
            }
            Err(error) if error.is_not_found() => Step::Next,
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) -> Step {
        self.failure.get_or_insert(error);
        self.level().stays = true;
        Step::Next
    }

    fn level(&mut self) -> &mut Level {
        self.levels
            .back_mut()
            .expect("the directory we are in is open")
    }
}

impl Level {
    /// Some file systems pass over names while others are removed.
    fn may_read_again(&self, error: &Error) -> bool {
        self.progress && self.rereads < REREADS && error.is(Errno::ENOTEMPTY)
    }
}

/// The directory a path is in, and its name there; `None` for the root.
fn parent(path: &RelPath) -> Option<(RelPath, Name)> {
    let bytes = path.as_bytes();
    let cut = bytes.iter().rposition(|&byte| byte == b'/');
    let (above, name) = match cut {
        Some(cut) => (&bytes[..cut], &bytes[cut + 1..]),
        None => (&[][..], bytes),
    };
    let name = Name::new(name).ok()?;
    Some((RelPath::new(above).ok()?, name))
}

/// How many directories, one in the other, are held open: each takes two handles.
const OPEN_LEVELS: usize = 16;

/// How often one directory is read again: somebody who keeps filling it must not hold us up.
const REREADS: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::trees::{is_root, name, roots};

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
                true
            };
            assert_eq!(dir.remove_tree(&name("tree"), &mut removed), Ok(true));
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
            let mut removed = |_: &RelPath, _: &Stat| {
                count += 1;
                true
            };
            assert_eq!(top.remove_tree(&name("down"), &mut removed), Ok(true));
            assert_eq!(count, made - 2 + 5000);
            assert_eq!(top.names().unwrap().count(), 2);
        }
    }

    #[test]
    fn removal_stops_when_told_so() {
        for (folder, root) in roots() {
            fs::create_dir_all(folder.path().join("a/b/c/d")).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let mut left = 2;
            let mut removed = |_: &RelPath, _: &Stat| {
                left -= 1;
                left > 0
            };
            assert_eq!(dir.remove_tree(&name("a"), &mut removed), Ok(false));
            assert!(folder.path().join("a/b").exists());
            assert!(!folder.path().join("a/b/c").exists());
        }
    }

    #[test]
    fn single_entry_is_removed_whatever_it_is() {
        for (folder, root) in roots() {
            symlink("/", folder.path().join("link")).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            let mut paths = Vec::new();
            let mut removed = |path: &RelPath, _: &Stat| {
                paths.push(path.clone());
                true
            };
            assert_eq!(dir.remove_tree(&name("link"), &mut removed), Ok(true));
            assert_eq!(paths, [RelPath::root()]);
            let error = dir
                .remove_tree(&name("link"), &mut |_, _| true)
                .unwrap_err();
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
            let error = dir
                .remove_tree(&name("tree"), &mut |_, _| true)
                .unwrap_err();
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
        let error = dir
            .remove_tree(&name("tree"), &mut |_, _| true)
            .unwrap_err();
        let kept = mounted.join("kept").exists();
        std::process::Command::new("umount")
            .arg(&mounted)
            .status()
            .unwrap();
        assert!(error.is_mount_point() && kept);
        assert!(!folder.path().join("tree/file").exists());
    }
}
