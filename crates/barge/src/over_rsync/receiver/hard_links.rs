//! Groups of names of one file: who of them is made first, and who waits to be linked to it.

use std::collections::HashMap;
use std::sync::Arc;

use barge_rsync::wire::ndx::FileIndex;
use barge_types::RelPath;

/// The groups of a run, by the number their first member had in the lists. They are remembered until
/// the end: no list says which member is the last.
#[derive(Debug, Default)]
pub(super) struct HardLinks(HashMap<u32, Group>);

/// How far a group is.
#[derive(Debug)]
enum Group {
    /// A leader is on its way; these wait for it.
    Underway(Vec<FileIndex>),
    /// A name of the file is there.
    Made(Arc<RelPath>),
}

/// What a member is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// Be made, or be taken as it is: the others follow.
    Lead,
    /// Wait until the leader is through.
    Wait,
    /// Become another name of this.
    LinkTo(Arc<RelPath>),
}

impl HardLinks {
    /// The part of the member `index`, which is come to for the first time.
    pub(super) fn meet(&mut self, group: u32, index: FileIndex) -> Part {
        match self.0.get_mut(&group) {
            None => {
                self.0.insert(group, Group::Underway(Vec::new()));
                Part::Lead
            }
            Some(Group::Underway(waiting)) => {
                waiting.push(index);
                Part::Wait
            }
            Some(Group::Made(path)) => Part::LinkTo(Arc::clone(path)),
        }
    }

    /// The leader is in its place; returns who is to be linked to it now.
    pub(super) fn made(&mut self, group: u32, path: RelPath) -> (Arc<RelPath>, Vec<FileIndex>) {
        let path = Arc::new(path);
        let made = Group::Made(Arc::clone(&path));
        let waiting = match self.0.insert(group, made) {
            Some(Group::Underway(waiting)) => waiting,
            Some(Group::Made(_)) | None => Vec::new(),
        };
        (path, waiting)
    }

    /// The leader cannot be made; returns who is to lead in its place.
    pub(super) fn failed(&mut self, group: u32) -> Option<FileIndex> {
        let Some(Group::Underway(waiting)) = self.0.get_mut(&group) else {
            return None;
        };
        if waiting.is_empty() {
            // Who comes later tries anew.
            self.0.remove(&group);
            return None;
        }
        Some(waiting.remove(0))
    }
}
