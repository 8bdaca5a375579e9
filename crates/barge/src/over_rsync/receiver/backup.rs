//! Keeps what is replaced or deleted: `--backup`, `--backup-dir` and `--suffix`.

use barge_fs::{Dir, Error, Keep, Root, SourceFile, Stat, StatKind};
use barge_types::{Meta, Name, RelPath};

use super::hidden::Hidden;
use crate::over_rsync::event::Level;
use crate::over_rsync::options::Options;
use crate::over_rsync::run::Run;

/// Where backups go.
#[derive(Debug)]
pub(super) struct Backup {
    /// A tree of their own; else they stay beside what replaces them.
    tree: Option<Tree>,
    suffix: Vec<u8>,
    /// No backup goes there.
    hidden: Hidden,
    /// `--info=backup`.
    tells: bool,
}

/// A tree of backups.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Root,
    /// How the user named it.
    pub(super) shown: Vec<u8>,
    /// The tree that backups are kept of: directories are made as they are there.
    pub(super) of: Root,
}

impl Backup {
    /// Without a tree backups stay where they are, under another name.
    pub(super) fn new(options: &Options, tree: Option<Tree>, hidden: Hidden) -> Self {
        Self {
            tree,
            hidden,
            suffix: options.suffix.clone(),
            tells: options.info.backup > 0,
        }
    }

    /// Whether backups go into a tree of their own at `path`.
    pub(super) fn is_tree(&self, path: &[u8]) -> bool {
        self.tree.as_ref().is_some_and(|tree| {
            let shown = tree.shown.strip_prefix(b"./").unwrap_or(&tree.shown);
            shown.strip_suffix(b"/").unwrap_or(shown) == path
        })
    }

    /// Waits until backups in a tree of their own are on its disk.
    ///
    /// # Errors
    ///
    /// `syncfs`.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let tree = self.tree.as_ref();
        tree.map_or(Ok(()), |tree| tree.root.sync())
    }

    /// Whether a deletion of `name` makes a backup: not of what is one already.
    pub(super) fn takes(&self, name: &Name) -> bool {
        self.tree.is_some() || !name.as_bytes().ends_with(&self.suffix)
    }

    /// Moves the entry `name` of `dir`, which the user knows as `path`, to its backup; what was
    /// there is replaced. A directory's content is not moved with it: it is emptied before.
    ///
    /// # Errors
    ///
    /// The call that failed; the entry is where it was then.
    pub(super) fn keep(
        &self,
        run: &Run,
        dir: &Dir,
        path: &[u8],
        name: &Name,
        stat: &Stat,
    ) -> Result<(), Error> {
        let (place, last, shown) = self.place_of(dir, path, name)?;
        self.clear(&place, &last)?;
        self.move_to(dir, name, stat, &place, &last)?;
        self.tell(run, path, &shown);
        Ok(())
    }

    /// Makes a backup of the entry `name` of `dir`, which is to be replaced: it keeps its name as
    /// well, where there can be two.
    ///
    /// # Errors
    ///
    /// As [`keep`](Self::keep).
    pub(super) fn keep_too(
        &self,
        run: &Run,
        dir: &Dir,
        path: &[u8],
        name: &Name,
        stat: &Stat,
    ) -> Result<(), Error> {
        let (place, last, shown) = self.place_of(dir, path, name)?;
        if let Some(there) = place.find(&last)?
            && there.kind == StatKind::Directory
        {
            place.remove_dir(&last)?;
        }
        if place.link_over(&last, dir, name).is_err() {
            // Another file system, or one without links.
            self.clear(&place, &last)?;
            self.move_to(dir, name, stat, &place, &last)?;
        }
        self.tell(run, path, &shown);
        Ok(())
    }

    /// Copies the file `name` of `dir` to its backup, and leaves it as it is: it will be written
    /// into.
    ///
    /// # Errors
    ///
    /// As [`keep`](Self::keep).
    pub(super) fn copy(
        &self,
        run: &Run,
        dir: &Dir,
        path: &[u8],
        name: &Name,
        stat: &Stat,
    ) -> Result<(), Error> {
        let (place, last, shown) = self.place_of(dir, path, name)?;
        self.clear(&place, &last)?;
        copy_file(dir, name, stat, &place, &last)?;
        self.tell(run, path, &shown);
        Ok(())
    }

    /// Opens the backup of a file.
    ///
    /// # Errors
    ///
    /// The call that failed.
    pub(super) fn open(&self, dir: &Dir, path: &[u8], name: &Name) -> Result<SourceFile, Error> {
        let (place, last, _) = self.place_of(dir, path, name)?;
        place.open_file(&last)
    }

    fn move_to(
        &self,
        dir: &Dir,
        name: &Name,
        stat: &Stat,
        place: &Dir,
        last: &Name,
    ) -> Result<(), Error> {
        match dir.rename_into(name, place, last) {
            // To another file system files and links can be copied; a device would be another there.
            Err(error) if error.is_mount_point() => match stat.kind {
                StatKind::File | StatKind::Symlink => move_across(dir, name, place, last),
                _ => Err(error),
            },
            renamed => renamed,
        }
    }

    fn tell(&self, run: &Run, path: &[u8], shown: &[u8]) {
        if self.tells {
            let line = [b"backed up ", path, b" to ", shown, b"\n"].concat();
            run.say(Level::Info, line);
        }
    }

    /// The directory of a backup, which is made, its name there, and its path for the user.
    fn place_of(&self, dir: &Dir, path: &[u8], name: &Name) -> Result<(Dir, Name, Vec<u8>), Error> {
        let last = [name.as_bytes(), &self.suffix].concat();
        let last = Name::new(&last).map_err(|_| Error::too_long("renameat"))?;
        let above = &path[..path.len() - name.as_bytes().len()];
        if self.hidden.takes(&[above, last.as_bytes()].concat(), false) {
            let (op, errno) = ("renameat", EACCES);
            return Err(Error { op, errno });
        }
        let Some(tree) = &self.tree else {
            let shown = [above, last.as_bytes()].concat();
            return Ok((dir.clone(), last, shown));
        };
        let shown = [&tree.shown[..], b"/", above, last.as_bytes()].concat();
        let above = above.strip_suffix(b"/").unwrap_or(above);
        let above = RelPath::new(above).map_err(|_| Error::too_long("mkdirat"))?;
        let place = tree.dir(&above)?;
        Ok((place, last, shown))
    }

    /// An older backup makes way; a directory in its place only when it is empty.
    fn clear(&self, place: &Dir, last: &Name) -> Result<(), Error> {
        match place.find(last)? {
            Some(stat) if stat.kind == StatKind::Directory => place.remove_dir(last),
            Some(_) => place.unlink(last),
            None => Ok(()),
        }
    }
}

impl Tree {
    /// Opens the directory at `path`; those that are missing are made, with the modes and owners of
    /// the directories that backups are kept of.
    fn dir(&self, path: &RelPath) -> Result<Dir, Error> {
        match self.root.dir(path) {
            Err(error) if error.is_not_found() => {}
            found => return found,
        }
        let (above, name) = path
            .split_last()
            .ok_or_else(|| Error::too_long("mkdirat"))?;
        let parent = self.dir(&above)?;
        match parent.make_dir(&name) {
            Err(error) if error.is_exists() => {}
            made => made?,
        }
        let made = parent.open_dir(&name)?;
        // What could not be set of it does not keep a backup from being made.
        let _ = self.dress(&made, path);
        Ok(made)
    }

    fn dress(&self, made: &Dir, path: &RelPath) -> Result<(), Error> {
        let (before, model) = (made.stat_self()?, self.of.dir(path)?.stat_self()?);
        let keep = Keep {
            owner: true,
            xattrs: false,
            acls: false,
            selinux: false,
        };
        let want = Meta {
            mode: model.mode,
            owner: model.owner,
            mtime: before.mtime,
            xattrs: Vec::new(),
        };
        made.apply_self(&before, &want, &keep);
        Ok(())
    }
}

/// Moves a file to another file system: the copy is complete before the old one goes.
fn move_across(dir: &Dir, name: &Name, place: &Dir, last: &Name) -> Result<(), Error> {
    // What is there, not what `--fake-super` lets it stand for.
    let stat = &dir.stat(name)?;
    match stat.kind {
        StatKind::Symlink => place.make_symlink(last, &dir.read_link(name)?)?,
        _ => copy_file(dir, name, stat, place, last)?,
    }
    dir.unlink(name)
}

fn copy_file(dir: &Dir, name: &Name, stat: &Stat, place: &Dir, last: &Name) -> Result<(), Error> {
    let meta = Meta {
        mode: stat.mode,
        owner: stat.owner,
        mtime: stat.mtime,
        xattrs: dir.xattrs(name, stat, &Keep::default())?,
    };
    let from = dir.open_file(name)?;
    let staged = place.stage_unique(last)?;
    let len = from.stat()?.size;
    staged.set_len(len)?;
    staged.copy_from(&from, 0..len)?;
    staged.commit(place, &meta, &Keep::default(), true, false)?;
    Ok(())
}

const EACCES: i32 = 13;
