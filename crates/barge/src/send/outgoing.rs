//! Segments on their way out: filled entry by entry, numbered as they go.

use std::sync::{Arc, PoisonError};

use barge_fs::LinkKey;
use barge_native::frame::Frame;
use barge_native::{
    Control, DirId, Item, MAX_ATTRIBUTES, MAX_ITEM, MAX_ITEMS, SegmentEncoder, Tag, Tie, item_len,
};
use barge_types::{Entry, Failure, RelPath};

use super::Sender;
use super::walk::Place;
use crate::error::Error;

/// A segment is sent when it would grow beyond so many bytes.
const SEGMENT_LEN: usize = 32 << 10;

/// An entry that has been looked at and not numbered.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    /// How many names it has, and what tells it from other files; when it has several.
    pub(super) link: Option<(LinkKey, u64)>,
    pub(super) digest: Option<u128>,
}

/// Entries of one directory that wait to be sent.
#[derive(Debug)]
pub(super) struct Draft {
    dir: DirId,
    place: Arc<Place>,
    found: Vec<Found>,
    len: usize,
}

/// A directory that has been listed in its parent and is to be listed itself.
pub(super) type NewDir = (DirId, Arc<Place>);

impl Draft {
    pub(super) fn new(dir: DirId, place: Arc<Place>) -> Self {
        Self {
            dir,
            place,
            found: Vec::new(),
            len: 0,
        }
    }

    /// Adds an entry; sends the segment when it is full. Directories that went with it are given
    /// to `entered`.
    pub(super) fn push(
        &mut self,
        sender: &Sender,
        found: Found,
        entered: &mut Vec<NewDir>,
    ) -> Result<(), Failure> {
        let item = Item {
            entry: found.entry,
            tie: Tie::None,
            digest: found.digest,
        };
        let len = item_len(&item);
        if len > MAX_ITEM || item.entry.meta.xattrs.len() > MAX_ATTRIBUTES {
            let error = barge_fs::Error {
                op: "over 1024 attributes, or over a MiB of them",
                errno: 0,
            };
            return Err(error.failure(barge_types::Side::Source));
        }
        if self.len + len > SEGMENT_LEN.max(len) || self.found.len() == MAX_ITEMS {
            self.send(sender, false, false, entered);
        }
        self.len += len;
        self.found.push(Found {
            entry: item.entry,
            ..found
        });
        Ok(())
    }

    /// Sends what waits; an empty segment only to say that it is the last.
    pub(super) fn send(
        &mut self,
        sender: &Sender,
        last: bool,
        clean: bool,
        entered: &mut Vec<NewDir>,
    ) {
        let found = std::mem::take(&mut self.found);
        self.len = 0;
        if last || !found.is_empty() {
            sender.send_segment(self.dir, &self.place, found, (last, clean), entered);
        }
    }
}

impl Sender {
    /// Opens a directory that no segment names: the root, or one of redos.
    pub(super) fn open_dir(&self, path: RelPath, meta: Option<barge_types::Meta>) -> DirId {
        let mut list = self.list();
        let dir = match meta {
            Some(_) => super::ROOT,
            None => list.number_dir(),
        };
        self.streams[0].send_control(&Control::Open { dir, path, meta });
        dir
    }

    /// Waits for room in the list window, then numbers the segment, its directories and its files
    /// with several names, and sends it: in one step, so that all numbers go out in order and no
    /// further name of a file overtakes its first.
    fn send_segment(
        &self,
        dir: DirId,
        place: &Arc<Place>,
        found: Vec<Found>,
        (last, clean): (bool, bool),
        entered: &mut Vec<NewDir>,
    ) {
        self.streams[0].await_word();
        let mut list = self.list();
        while !list.outbox.has_room() && !self.is_over() {
            list = self.room.wait(list).unwrap_or_else(PoisonError::into_inner);
        }
        if self.is_over() {
            return;
        }
        let mut encoder = SegmentEncoder::default();
        let mut items = Vec::with_capacity(found.len());
        for found in found {
            let tie = match (&found.entry.kind, found.link) {
                (barge_types::Kind::Directory, _) => {
                    let id = list.number_dir();
                    let place = Place::child(place, found.entry.name.clone());
                    entered.push((id, place));
                    Tie::Directory(id)
                }
                (_, Some((key, links))) => list.links.tie(key, links),
                _ => Tie::None,
            };
            let item = Item {
                entry: found.entry,
                tie,
                digest: found.digest,
            };
            encoder.push(&item);
            items.push(item);
        }
        let bytes: u64 = items.iter().map(super::file_size).sum();
        self.monitor.counters.listed.add(items.len() as u64);
        self.monitor.counters.bytes_listed.add(bytes);
        let fields = encoder.finish(list.outbox.next_id(), dir, last, clean);
        if !list
            .outbox
            .enter(Arc::clone(place), items.into(), fields.len())
        {
            drop(list);
            return self.stop(Error::Request(
                "more than 2^32 segments of a list".to_owned(),
            ));
        }
        self.streams[0].push_control(Frame::new(Tag::Segment, &fields));
    }
}

impl super::List {
    fn number_dir(&mut self) -> DirId {
        let id = DirId(self.next_dir);
        self.next_dir += 1;
        id
    }
}
