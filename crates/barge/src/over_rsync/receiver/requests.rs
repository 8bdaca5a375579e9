//! What was asked for and is not answered: nothing else may come.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use barge_fs::Stat;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::item::Item;
use barge_rsync::wire::list::List;
use barge_rsync::wire::ndx::FileIndex;
use barge_rsync::wire::sums::SumHead;
use bytes::Bytes;

use super::dirs::TargetDir;

/// Requests on their way. The generator adds, the receiver takes.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: Mutex<Open>,
    /// Signalled when there is room again, or the run is over.
    room: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    by_index: HashMap<FileIndex, Request>,
    over: bool,
    /// Markers that were sent and are not answered.
    markers: u32,
}

/// An item that was sent.
#[derive(Debug)]
pub(super) struct Request {
    /// As it was sent.
    pub(super) item: Item,
    pub(super) subject: Subject,
    /// Numbers of the extended attributes that were asked for.
    pub(super) xattrs: Vec<u32>,
    /// Long values of attributes that this side has already, by number.
    pub(super) known: Vec<(u32, Bytes)>,
    /// The entry was dealt with before all values of its attributes were here.
    pub(super) lacks_values: bool,
    /// Its content was asked for.
    pub(super) transfer: Option<Box<Transfer>>,
}

/// The entry of a request.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// One of a list.
    Entry(Arc<List>, FileIndex),
    /// The directory of an incremental list.
    Parent(Arc<FileEntry>),
}

impl Subject {
    pub(super) fn entry(&self) -> &FileEntry {
        match self {
            Self::Entry(list, index) => list
                .get(*index)
                .expect("only entries that are there are asked for"),
            Self::Parent(entry) => entry,
        }
    }
}

/// How the content of a file is to be taken.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The head that was sent: what the answer's must be.
    pub(super) head: SumHead,
    /// Where the file goes.
    pub(super) dir: Arc<TargetDir>,
    /// What was there under its name when it was asked for.
    pub(super) existing: Option<Stat>,
    /// It was asked for before, and did not verify.
    pub(super) again: bool,
    /// The sender has said that it will not come.
    pub(super) refused: bool,
    pub(super) how: How,
}

/// Into what a file's content is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum How {
    /// A temporary file, which takes its place.
    #[default]
    Beside,
    /// The file itself.
    InPlace,
    /// The file itself, behind what is there of it: so many bytes.
    Append(u64),
    /// What an earlier run left of it in the directory for that.
    Partial,
    /// A device.
    Device,
}

impl Requests {
    /// Adds a request.
    pub(super) fn add(&self, request: Request) {
        let index = request.item.index;
        self.open().by_index.insert(index, request);
    }

    /// Takes the request that an answer belongs to.
    pub(super) fn take(&self, index: FileIndex) -> Option<Request> {
        let mut open = self.open();
        let request = open.by_index.remove(&index);
        if open.by_index.len() == MOST / 2 {
            self.room.notify_one();
        }
        request
    }

    /// The content that was asked for will not come: whether it was asked for, and this was not said
    /// before.
    pub(super) fn refuse(&self, index: FileIndex) -> bool {
        let mut open = self.open();
        let request = open.by_index.get_mut(&index);
        let transfer = request.and_then(|request| request.transfer.as_mut());
        transfer.is_some_and(|transfer| !std::mem::replace(&mut transfer.refused, true))
    }

    /// A marker is about to be sent.
    pub(super) fn mark(&self) {
        self.open().markers += 1;
    }

    /// Takes the marker that one of the sender's answers; false when none is to be answered.
    pub(super) fn take_marker(&self) -> bool {
        let mut open = self.open();
        let left = open.markers.checked_sub(1);
        open.markers = left.unwrap_or(0);
        left.is_some()
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open().by_index.len()
    }

    /// Whether an honest peer should answer before it is asked for more.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= MOST
    }

    /// Waits until there is room for more, or the run is over.
    pub(super) fn wait_for_room(&self) {
        let mut open = self.open();
        while open.by_index.len() > MOST / 2 && !open.over {
            open = self.room.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing will be answered any more.
    pub(super) fn end(&self) {
        self.open().over = true;
        self.room.notify_one();
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests that are open at a time: far more than are on their way to an honest peer.
const MOST: usize = 1 << 16;
