//! The lists of a connection, as both ends hold them: sorted, numbered, freed one by one.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::budget::Budget;
use super::entry::{DirKind, FileEntry, WirePath};
use super::idlist::IdNames;
use super::mux::IoErrors;
use super::ndx::{DirIndex, FileIndex};
use super::sort;
use crate::WireError;

/// Whose children a list has: its place in the table of directories, and its entry.
#[derive(Clone, Debug)]
pub struct ListDir {
    /// Its place in the table.
    pub index: DirIndex,
    /// Its entry, in a list of its own.
    pub entry: Arc<FileEntry>,
}

/// One list: all entries of a transfer, the first ones, or the children of one directory.
#[derive(Debug)]
pub struct List {
    start: FileIndex,
    dir: Option<DirIndex>,
    parent: Option<Arc<FileEntry>>,
    /// Sorted. Duplicates that were dropped leave a slot, so that no index moves.
    slots: Vec<Option<FileEntry>>,
    /// Slots of directories, the dropped ones too.
    dirs: Vec<u32>,
    /// What its entries take, of the receiving side's budget.
    pub(super) held: usize,
    /// What went wrong at the sender, as it stands at the end of the list.
    pub errors: IoErrors,
    /// Names of users and groups that came with the list.
    pub names: IdNames,
}

impl List {
    /// A list to send, of entries in the order in which they were sent. Nothing is dropped: the
    /// receiving side may ask for any of two equal ones.
    pub fn to_send(start: FileIndex, dir: Option<ListDir>, mut entries: Vec<FileEntry>) -> Self {
        sort::sort(&mut entries);
        Self::sorted(start, dir, entries)
    }

    /// A list that was received, of entries in the order in which they came. Of two with one
    /// path, one is dropped.
    pub fn received(start: FileIndex, dir: Option<ListDir>, mut entries: Vec<FileEntry>) -> Self {
        sort::sort(&mut entries);
        let mut list = Self::sorted(start, dir, entries);
        list.drop_duplicates();
        list
    }

    fn sorted(start: FileIndex, dir: Option<ListDir>, entries: Vec<FileEntry>) -> Self {
        let is_dir = |(slot, entry): (usize, &FileEntry)| entry.is_dir().then_some(slot as u32);
        let dirs = entries.iter().enumerate().filter_map(is_dir).collect();
        let root = || {
            let first = entries.first().filter(|entry| entry.path.is_root())?;
            Some(Arc::new(first.clone()))
        };
        let (dir, parent) = match dir {
            Some(dir) => (Some(dir.index), Some(dir.entry)),
            None => (None, root()),
        };
        Self {
            start,
            dir,
            parent,
            slots: entries.into_iter().map(Some).collect(),
            dirs,
            held: 0,
            errors: IoErrors::default(),
            names: IdNames::default(),
        }
    }

    /// What its entries take, of the receiving side's budget.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The index of the first slot.
    pub fn start(&self) -> FileIndex {
        self.start
    }

    /// The indexes of all slots.
    pub fn range(&self) -> Range<u32> {
        let start = self.start.get();
        start..start + self.len()
    }

    /// The directory whose children these are; `None` for the first list.
    pub fn dir(&self) -> Option<DirIndex> {
        self.dir
    }

    /// The directory that the index before [`Self::start`] stands for, in incremental lists: the
    /// one whose children these are; of the first list the root, when it is listed.
    pub fn parent(&self) -> Option<&Arc<FileEntry>> {
        self.parent.as_ref()
    }

    /// How many slots there are.
    pub fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The entry of an index; `None` outside the list and for a dropped duplicate.
    pub fn get(&self, index: FileIndex) -> Option<&FileEntry> {
        let slot = index.get().checked_sub(self.start.get())?;
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The entries with their indexes, in order, without dropped duplicates.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (FileIndex, &FileEntry)> {
        let slots = self.range().zip(&self.slots);
        slots.filter_map(|(index, slot)| Some((FileIndex::new(index)?, slot.as_ref()?)))
    }

    /// The same from an index on.
    pub fn entries_from(&self, index: FileIndex) -> impl Iterator<Item = (FileIndex, &FileEntry)> {
        let (start, before) = (
            self.start.get(),
            index.get().saturating_sub(self.start.get()),
        );
        let slots = self.slots.iter().skip(before as usize);
        let slots = (start.saturating_add(before)..).zip(slots);
        slots.filter_map(|(index, slot)| Some((FileIndex::new(index)?, slot.as_ref()?)))
    }

    /// Refuses entries of directories that are not in the list.
    pub(super) fn check_parents(&self) -> Result<(), WireError> {
        let mut checked: Option<&Arc<[u8]>> = None;
        let present = self
            .slots
            .iter()
            .flatten()
            .filter(|entry| !entry.is_missing());
        for dir in present.filter_map(|entry| entry.path.dir()) {
            if checked == Some(dir) || dir.is_empty() {
                continue;
            }
            if !self.has_dir(&WirePath::new(dir)) {
                return Err(WireError::Protocol("an entry of no directory"));
            }
            checked = Some(dir);
        }
        Ok(())
    }

    fn has_dir(&self, path: &WirePath) -> bool {
        // What a dropped duplicate equals is kept before it.
        let order = |&slot: &u32| {
            let mut kept = self.slots[..=slot as usize].iter().rev().flatten();
            let order = |dir: &FileEntry| sort::compare_paths(&dir.path, true, path, true);
            kept.next().map_or(Ordering::Less, order)
        };
        self.dirs.binary_search_by(order).is_ok()
    }

    /// The slots of directories, in order: what the table of directories goes on with.
    fn dirs(&self) -> impl Iterator<Item = Option<&FileEntry>> {
        self.dirs
            .iter()
            .map(|&slot| self.slots[slot as usize].as_ref())
    }

    /// Leaves one entry of those with one path: of equal ones the first, and a directory rather
    /// than something else.
    fn drop_duplicates(&mut self) {
        let dirs = self.dirs().flatten();
        let dirs: Vec<_> = dirs.filter(|dir| !dir.path.is_root()).collect();
        let namesakes: Vec<_> = dirs
            .into_iter()
            .flat_map(|dir| self.others_of_path(dir))
            .collect();
        let mut kept = 0;
        for slot in 1..self.slots.len() {
            if self.are_equal(kept, slot) {
                self.merge(kept, slot);
            } else {
                kept = slot;
            }
        }
        for slot in namesakes {
            self.slots[slot] = None;
        }
    }

    /// The slots of what has the path of a directory, and is none.
    fn others_of_path(&self, dir: &FileEntry) -> Range<usize> {
        let order = |slot: &Option<FileEntry>| {
            let entry = slot.as_ref()?;
            let (path, is_dir) = (&entry.path, entry.is_dir());
            Some(sort::compare_paths(path, is_dir, &dir.path, false))
        };
        let before = |slot: &_| order(slot).is_some_and(Ordering::is_lt);
        let not_behind = |slot: &_| order(slot).is_some_and(Ordering::is_le);
        self.slots.partition_point(before)..self.slots.partition_point(not_behind)
    }

    fn are_equal(&self, a: usize, b: usize) -> bool {
        let both = self.slots[a].as_ref().zip(self.slots[b].as_ref());
        both.is_some_and(|(a, b)| sort::compare(a, b).is_eq())
    }

    /// Drops `second`. A directory that was listed twice has the contents of both.
    fn merge(&mut self, first: usize, second: usize) {
        let dropped = self.slots[second].take();
        if let (Some(kept), Some(dropped)) = (&mut self.slots[first], dropped) {
            kept.dir_kind = kept.dir_kind.merged(dropped.dir_kind);
        }
    }
}

impl DirKind {
    /// That of a directory which was listed as both.
    fn merged(self, other: Self) -> Self {
        let is = |kind| self == kind || other == kind;
        [Self::Top, Self::Content, Self::NoContent]
            .into_iter()
            .find(|&kind| is(kind))
            .unwrap_or(Self::Implied)
    }
}

/// The directories of a connection with incremental lists, as the receiving side holds them: each
/// is listed once, and forgotten when its list is begun.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    waiting: HashMap<u32, Arc<FileEntry>>,
    /// How many have come.
    count: u32,
}

impl Directories {
    /// Adds the directories of a list, the next of the connection. Dropped duplicates are counted,
    /// and the root, whose children are in the first list.
    ///
    /// # Errors
    ///
    /// [`WireError::Limit`] when more wait than the budget allows.
    pub(crate) fn add(&mut self, list: &List, budget: &mut Budget) -> Result<(), WireError> {
        for (index, dir) in (self.count..).zip(list.dirs()) {
            if let Some(dir) = dir.filter(|dir| !dir.path.is_root()) {
                budget.hold(Self::weight(dir), "directories of a transfer")?;
                self.waiting.insert(index, Arc::new(dir.clone()));
            }
        }
        self.count += list.dirs.len() as u32;
        Ok(())
    }

    fn weight(dir: &FileEntry) -> usize {
        let shared = dir.path.dir().map_or(0, |dir| dir.len());
        dir.weight() + shared + size_of::<(u32, Arc<FileEntry>)>()
    }

    /// Takes the directory whose list the peer begins.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when there is none of this number, it was a duplicate and dropped,
    /// it is the root, or its list was begun before.
    pub(crate) fn take(
        &mut self,
        index: DirIndex,
        budget: &mut Budget,
    ) -> Result<ListDir, WireError> {
        let entry = self.waiting.remove(&index.get());
        let entry = entry.ok_or(WireError::Protocol("a list of no directory"))?;
        budget.release(Self::weight(&entry));
        Ok(ListDir { index, entry })
    }
}

/// What an index stands for.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The list it is in.
    pub list: &'a Arc<List>,
    /// The entry.
    pub entry: &'a FileEntry,
    /// It is the list's directory, by the index before its start.
    pub is_parent: bool,
}

/// The lists that are not done.
#[derive(Clone, Debug, Default)]
pub struct Lists(VecDeque<Arc<List>>);

impl Lists {
    /// Adds the next one.
    pub fn push(&mut self, list: Arc<List>) {
        self.0.push_back(list);
    }

    /// Drops the oldest one: its indexes are dead.
    pub fn free_oldest(&mut self) -> Option<Arc<List>> {
        self.0.pop_front()
    }

    /// The lists, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<List>> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What an index from the peer stands for.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when it is in no list, or in one that is done, or stands for a
    /// dropped duplicate or a directory that is not there.
    pub fn find(&self, index: FileIndex) -> Result<Found<'_>, WireError> {
        let no_entry = WireError::Protocol("an index of no entry");
        let after = self
            .0
            .partition_point(|list| list.start.get() <= index.get() + 1);
        let list = after.checked_sub(1).map(|at| &self.0[at]);
        let list = list.ok_or(no_entry.clone())?;
        let is_parent = index.get() < list.start.get();
        let entry = match is_parent {
            true => list.parent().map(|parent| &**parent),
            false => list.get(index),
        };
        let entry = entry.ok_or(no_entry)?;
        Ok(Found {
            list,
            entry,
            is_parent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::entry::WirePath;

    fn index(index: u32) -> FileIndex {
        FileIndex::new(index).unwrap()
    }

    /// Directories end in a slash.
    fn entry(path: &str) -> FileEntry {
        match path.strip_suffix('/') {
            Some(dir) => FileEntry::new(WirePath::new(dir.as_bytes()), 0o040_755),
            None => FileEntry::new(WirePath::new(path.as_bytes()), 0o100_644),
        }
    }

    fn received(start: u32, dir: Option<ListDir>, paths: &[&str]) -> Arc<List> {
        let entries = paths.iter().map(|path| entry(path)).collect();
        Arc::new(List::received(index(start), dir, entries))
    }

    fn paths(list: &List) -> Vec<(u32, String)> {
        let text = |entry: &FileEntry| String::from_utf8(entry.path.to_vec()).unwrap();
        let entries = list.entries();
        entries
            .map(|(index, entry)| (index.get(), text(entry)))
            .collect()
    }

    fn numbered(paths: &[(u32, &str)]) -> Vec<(u32, String)> {
        paths
            .iter()
            .map(|(index, path)| (*index, (*path).to_owned()))
            .collect()
    }

    #[test]
    fn dropped_duplicates_leave_the_indexes_of_the_others() {
        let list = received(1, None, &["b", "a", "b", "c", "./", "c/", "b"]);
        let kept = [(1, "."), (2, "a"), (3, "b"), (7, "c")];
        assert_eq!(paths(&list), numbered(&kept));
        assert!(list.get(index(7)).unwrap().is_dir());
        for dropped in [4, 5, 6] {
            assert!(list.get(index(dropped)).is_none(), "{dropped}");
        }
    }

    #[test]
    fn entries_from_an_index_are_those_that_are_not_before_it() {
        let list = received(5, None, &["a", "b", "b", "c"]);
        for from in 0..12 {
            let all = list.entries().filter(|(index, _)| index.get() >= from);
            let all: Vec<_> = all.map(|(index, _)| index).collect();
            let behind = list.entries_from(index(from)).map(|(index, _)| index);
            assert_eq!(behind.collect::<Vec<_>>(), all, "{from}");
        }
    }

    #[test]
    fn of_equal_entries_the_first_that_came_is_kept() {
        let mut entries = vec![entry("a"), entry("a")];
        entries[0].len = 1;
        let list = List::received(index(0), None, entries);
        assert_eq!(list.get(index(0)).unwrap().len, 1);
    }

    #[test]
    fn a_directory_listed_twice_has_the_contents_of_both() {
        use DirKind::{Content, Implied, NoContent, Top};
        for (a, b, merged) in [
            (Implied, Content, Content),
            (NoContent, Top, Top),
            (Content, Top, Top),
            (Implied, NoContent, NoContent),
            (Implied, Implied, Implied),
        ] {
            for kinds in [[a, b], [b, a]] {
                let mut entries = vec![entry("a/"), entry("a/")];
                entries
                    .iter_mut()
                    .zip(kinds)
                    .for_each(|(entry, kind)| entry.dir_kind = kind);
                let list = List::received(index(0), None, entries);
                assert_eq!(list.get(index(0)).unwrap().dir_kind, merged, "{kinds:?}");
            }
        }
    }

    #[test]
    fn a_list_to_send_keeps_all_slots() {
        let entries = vec![entry("b"), entry("a/"), entry("b"), entry("a")];
        let list = List::to_send(index(0), None, entries);
        let sorted = [(0, "a"), (1, "b"), (2, "b"), (3, "a")];
        assert_eq!(paths(&list), numbered(&sorted));
    }

    fn take(table: &mut Directories, index: u32) -> Result<ListDir, WireError> {
        table.take(DirIndex::new(index).unwrap(), &mut Budget::default())
    }

    #[test]
    fn directories_that_wait_for_their_lists_are_held_until_those_begin() {
        let (mut table, mut budget) = (Directories::default(), Budget::new(1000));
        let list = received(1, None, &["./", "d/"]);
        for at in (1..200).step_by(2) {
            table.add(&list, &mut budget).unwrap();
            table.take(DirIndex::new(at).unwrap(), &mut budget).unwrap();
        }
        let full = (0..100).any(|_| table.add(&list, &mut budget).is_err());
        assert!(full);
    }

    /// The lists of the protocol's worked example: `.`, `d1`, `d2`, `d1/e`.
    fn four_lists() -> Lists {
        let (mut table, mut lists) = (Directories::default(), Lists::default());
        for (start, dir, paths) in [
            (1, None, &["./", "d2/", "d1/", "f1"][..]),
            (6, Some(1), &["d1/g", "d1/e/"]),
            (9, Some(3), &["d1/e/h"]),
            (11, Some(2), &["d2/ln"]),
        ] {
            let dir = dir.map(|dir| take(&mut table, dir).unwrap());
            let list = received(start, dir, paths);
            table.add(&list, &mut Budget::default()).unwrap();
            lists.push(list);
        }
        lists
    }

    #[test]
    fn lists_of_directories_that_are_none_are_refused() {
        let mut table = Directories::default();
        let list = received(1, None, &["./", "d/", "d/", "e/", "f"]);
        table.add(&list, &mut Budget::default()).unwrap();
        let mut take = |dir| self::take(&mut table, dir);
        assert!(take(0).is_err(), "the root");
        assert!(take(1).is_ok());
        assert!(take(1).is_err(), "listed before");
        assert!(take(2).is_err(), "a dropped duplicate");
        assert!(take(3).is_ok());
        assert!(take(4).is_err(), "no directory");
        let mut empty = Directories::default();
        assert!(self::take(&mut empty, 0).is_err());
    }

    #[test]
    fn indexes_stand_for_entries_and_for_the_directories_of_lists() {
        let mut lists = four_lists();
        for (at, path, is_parent) in [
            (0, ".", true),
            (1, ".", false),
            (4, "d2", false),
            (5, "d1", true),
            (6, "d1/g", false),
            (8, "d1/e", true),
            (9, "d1/e/h", false),
            (10, "d2", true),
            (11, "d2/ln", false),
        ] {
            let found = lists.find(index(at)).unwrap();
            assert_eq!(found.entry.path.to_vec(), path.as_bytes(), "{at}");
            assert_eq!(found.is_parent, is_parent, "{at}");
        }
        assert!(lists.find(index(12)).is_err());
        lists.free_oldest();
        for dead in 0..=4 {
            assert!(
                lists.find(index(dead)).is_err(),
                "{dead} is of a list that is done"
            );
        }
        assert!(lists.find(index(5)).is_ok());
    }

    #[test]
    fn index_0_stands_for_nothing_where_the_root_is_not_listed() {
        let mut lists = Lists::default();
        lists.push(received(1, None, &["a/", "b"]));
        assert!(lists.find(index(0)).is_err());
        assert!(lists.find(index(1)).is_ok());
        assert!(Lists::default().find(index(0)).is_err());
    }

    #[test]
    fn dropped_duplicates_are_not_found() {
        let mut lists = Lists::default();
        lists.push(received(0, None, &["a", "a"]));
        assert!(lists.find(index(0)).is_ok());
        assert!(lists.find(index(1)).is_err());
    }
}
