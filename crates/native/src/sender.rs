//! The sender's books: which segments are on their way, and what the receiver may ask of them.

use std::collections::HashMap;
use std::sync::Arc;

use barge_types::Kind;

use crate::control::{Ending, Item, LinkGroup, SegmentId, Tie};
use crate::{FileRef, ProtocolError};

/// What a segment costs of the list window, however short it is.
pub const SEGMENT_COST: u64 = 4096;

/// A segment that the receiver has not finished. `P` is what the sender knows of its directory.
#[derive(Debug)]
pub struct Outstanding<P> {
    /// Its directory.
    pub place: P,
    /// Its entries.
    pub items: Arc<[Item]>,
    cost: u64,
    asked: Vec<bool>,
}

/// Segments on their way, within the window the receiver has given.
#[derive(Debug)]
pub struct Outbox<P> {
    segments: HashMap<SegmentId, Outstanding<P>>,
    next: u32,
    window: u64,
    cost: u64,
    listed: u64,
    redone: u64,
}

impl<P: Clone> Outbox<P> {
    /// Nothing on its way; `window` bytes of segments may be.
    pub fn new(window: u64) -> Self {
        Self {
            segments: HashMap::new(),
            next: 0,
            window,
            cost: 0,
            listed: 0,
            redone: 0,
        }
    }

    /// Whether a further segment may go. One may always, when none is on its way.
    pub fn has_room(&self) -> bool {
        self.cost < self.window
    }

    /// The number of the segment that is entered next.
    pub fn next_id(&self) -> SegmentId {
        SegmentId(self.next)
    }

    /// Enters a segment whose payload takes `len` bytes on the wire; false when all 2^32 numbers
    /// are used up.
    #[must_use]
    pub fn enter(&mut self, place: P, items: Arc<[Item]>, len: usize) -> bool {
        let id = self.next_id();
        let Some(next) = self.next.checked_add(1) else {
            return false;
        };
        self.next = next;
        let cost = (len as u64).max(SEGMENT_COST);
        self.cost += cost;
        self.listed += items.len() as u64;
        let asked = vec![false; items.len()];
        self.segments.insert(
            id,
            Outstanding {
                place,
                items,
                cost,
                asked,
            },
        );
        true
    }

    /// The place and entries of a segment that is on its way.
    pub fn get(&self, id: SegmentId) -> Option<(P, Arc<[Item]>)> {
        let segment = self.segments.get(&id)?;
        Some((segment.place.clone(), Arc::clone(&segment.items)))
    }

    /// Checks that a file was listed, is regular, and has not been asked for before.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] otherwise.
    pub fn ask(&mut self, file: FileRef) -> Result<(P, Arc<[Item]>), ProtocolError> {
        let segment = self
            .segments
            .get_mut(&file.segment)
            .ok_or(ProtocolError::Order("a request"))?;
        let index = usize::from(file.index);
        match segment.items.get(index) {
            Some(item) if matches!(item.entry.kind, Kind::File { .. }) => {}
            _ => return Err(ProtocolError::Invalid("a request for something")),
        }
        if std::mem::replace(&mut segment.asked[index], true) {
            return Err(ProtocolError::Order("a second request"));
        }
        Ok((segment.place.clone(), Arc::clone(&segment.items)))
    }

    /// Takes a segment that the receiver has finished off the books.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when there is none, or it has another number of entries.
    pub fn close(
        &mut self,
        id: SegmentId,
        endings: &[Ending],
    ) -> Result<Outstanding<P>, ProtocolError> {
        let segment = self
            .segments
            .remove(&id)
            .ok_or(ProtocolError::Order("an end"))?;
        if segment.items.len() != endings.len() {
            return Err(ProtocolError::Invalid("a number of endings"));
        }
        self.cost -= segment.cost;
        self.redone += endings.iter().filter(|&end| *end == Ending::Redo).count() as u64;
        Ok(segment)
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Entries listed so far, those listed again included.
    pub fn listed(&self) -> u64 {
        self.listed
    }

    /// Entries that have ended for good: what the receiver's tally must amount to.
    pub fn ended(&self) -> u64 {
        self.listed - self.redone
    }
}

/// Numbers files that have several names. `K` tells one file from another.
#[derive(Debug)]
pub struct LinkTable<K> {
    groups: HashMap<K, (LinkGroup, u64)>,
    next: u32,
}

impl<K> Default for LinkTable<K> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            next: 0,
        }
    }
}

impl<K: Eq + std::hash::Hash> LinkTable<K> {
    /// The tie of one of `links` names (at least two) of the file `key`. A file is forgotten with
    /// its last name.
    pub fn tie(&mut self, key: K, links: u64) -> Tie {
        let Some((group, left)) = self.groups.get_mut(&key) else {
            let group = LinkGroup(self.next);
            self.next = self.next.wrapping_add(1);
            self.groups.insert(key, (group, links - 1));
            return Tie::Leader(group);
        };
        let group = *group;
        *left -= 1;
        let last = *left == 0;
        if last {
            self.groups.remove(&key);
        }
        Tie::Follower { group, last }
    }

    /// Forgets all files, so that what is listed again gets new leaders.
    pub fn begin_again(&mut self) {
        self.groups.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_table_names_a_leader_first_and_forgets_a_file_with_its_last_name() {
        let mut table = LinkTable::default();
        let Tie::Leader(group) = table.tie("inode", 3) else {
            panic!("no leader")
        };
        assert_eq!(table.tie("inode", 3), Tie::Follower { group, last: false });
        assert_eq!(table.tie("inode", 3), Tie::Follower { group, last: true });
        assert!(table.groups.is_empty());
        assert!(matches!(table.tie("other", 2), Tie::Leader(other) if other != group));
    }

    #[test]
    fn outbox_refuses_requests_for_what_was_not_listed_or_asked_before() {
        let mut outbox = Outbox::new(SEGMENT_COST);
        let id = outbox.next_id();
        assert!(outbox.enter((), crate::testing::items().into(), 10));
        assert!(!outbox.has_room());
        let file = |index| FileRef { segment: id, index };
        outbox.ask(file(0)).unwrap();
        assert!(outbox.ask(file(0)).is_err());
        assert!(outbox.ask(file(1)).is_err(), "a directory");
        assert!(outbox.ask(file(99)).is_err());
        assert!(
            outbox
                .ask(FileRef {
                    segment: SegmentId(7),
                    index: 0
                })
                .is_err()
        );
        assert!(outbox.close(id, &[]).is_err());
    }
}
