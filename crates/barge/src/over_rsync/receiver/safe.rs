//! `--remove-source-files`: tells the sender what is safe here.
//!
//! rsync says so when a file has its name. Here it is on the disk before, and so is the name: from then
//! on no other copy may exist.

use barge_fs::Dir;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::mux::Message;
use barge_rsync::wire::ndx::FileIndex;
use barge_types::{Name, RelPath};

use super::side::Side;
use super::texts::{self, Who};
use crate::over_rsync::Level;

impl Side {
    /// An entry is as it is to be: its source may go, where that is wanted.
    pub(super) fn may_go(&self, index: FileIndex, entry: &FileEntry) {
        if !self.removes_sources() || entry.is_dir() {
            return;
        }
        match self.place_of(entry) {
            Ok((dir, name)) => self.is_safe(index, &dir, &name),
            Err(error) => self.failed(Who::Receiver, "fsync", entry, &error),
        }
    }

    /// The same of a file that stays where an alternate directory has it: `--compare-dest`.
    pub(super) fn may_go_for(
        &self,
        index: FileIndex,
        entry: &FileEntry,
        alternate: &Dir,
        name: &Name,
    ) {
        if !self.removes_sources() {
            return;
        }
        match alternate.sync_entry(name) {
            Ok(()) => self.run.outgoing.message(&Message::Success(index)),
            Err(error) => self.failed(Who::Receiver, "fsync", entry, &error),
        }
    }

    fn removes_sources(&self) -> bool {
        self.options.remove_source_files && !self.options.dry_run
    }

    /// Tells the sender that what has a name in a directory of the destination is safe, when it is on
    /// the disk.
    pub(super) fn is_safe(&self, index: FileIndex, dir: &RelPath, name: &Name) {
        let synced = self.root().dir(dir).and_then(|dir| dir.sync_entry(name));
        let Err(error) = synced else {
            return self.run.outgoing.message(&Message::Success(index));
        };
        let path = [&self.target().shown, &b"/"[..], dir.join(name).as_bytes()].concat();
        let path = self.in_place(&path);
        let line = texts::failed(Who::Receiver, &[b"fsync ", &path], &error);
        self.run.say(Level::FileError, line);
    }
}
