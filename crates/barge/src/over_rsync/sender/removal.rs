//! `--remove-source-files`: what is safe at the receiving side goes, if it is still what was sent.

use barge_fs::{Dir, Error, StatKind};
use barge_rsync::wire::entry::FileEntry;

use super::bases::{Bases, Reach, name_of};
use super::trouble;
use crate::over_rsync::Level;
use crate::over_rsync::run::Run;

/// Removes the source of an entry in `dir`. With `tells` every removal is told.
pub(super) fn remove(
    run: &Run,
    bases: &Bases,
    entry: &FileEntry,
    dir: Result<Dir, Error>,
    tells: bool,
) {
    let name = entry.path.to_vec();
    let say = |what: &[u8]| run.say(Level::Info, [what, &name, b"\n"].concat());
    match dir.and_then(|dir| unlink(bases, &dir, entry)) {
        Ok(true) if tells => say(b"sender removed "),
        Ok(true) => {}
        Ok(false) => {
            let text = [
                b"ERROR: Skipping sender remove for changed file: ",
                &*name,
                b"\n",
            ];
            run.say(Level::FileError, text.concat());
        }
        Err(error) if error.is_not_found() => say(b"sender file already removed: "),
        Err(error) => {
            let quoted = bases.quoted(Reach::of(entry), &name);
            trouble::failed(run, "sender failed to remove", &quoted, &error);
        }
    }
}

/// Whether it was still what was listed, and is gone.
fn unlink(bases: &Bases, dir: &Dir, entry: &FileEntry) -> Result<bool, Error> {
    let (name, reach) = (name_of(&entry.path)?, Reach::of(entry));
    let stat = match reach.is_referent {
        true => *bases.hold(reach, &entry.path.to_vec(), true)?.stat(),
        false => dir.stat(&name)?,
    };
    let is_dir = stat.kind == StatKind::Directory || entry.is_dir();
    let same = stat.mtime == entry.mtime && (stat.size == entry.len || !entry.is_file());
    if is_dir || !same {
        return Ok(false);
    }
    dir.unlink(&name)?;
    Ok(true)
}
