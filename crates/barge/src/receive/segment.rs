//! Segments that have arrived and whose entries are being worked on.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use barge_native::{Ending, Item, SegmentId};
use barge_types::RelPath;

use super::dirs::{ReadyDir, TargetDir};
use super::file::TargetFile;

/// A segment from its arrival until all its entries have ended.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) id: SegmentId,
    pub(super) dir: Arc<TargetDir>,
    pub(super) items: Vec<Item>,
    /// The directories among its entries, by their place.
    pub(super) children: Vec<(u16, Arc<TargetDir>)>,
    /// What it takes of the list window.
    pub(super) cost: u64,
    /// Its directory, once work on it has begun.
    pub(super) ready: OnceLock<Arc<ReadyDir>>,
    state: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    states: Vec<EntryState>,
    /// How many have not ended; one more while the entries are being gone through.
    left: usize,
}

/// How far an entry is.
#[derive(Clone, Debug)]
enum EntryState {
    Pending,
    /// Its content has been asked for.
    Wanted(Arc<TargetFile>),
    /// Somebody ends it.
    Ending,
    Ended(Ending),
}

impl OpenSegment {
    pub(super) fn new(
        id: SegmentId,
        dir: Arc<TargetDir>,
        items: Vec<Item>,
        children: Vec<(u16, Arc<TargetDir>)>,
        cost: u64,
    ) -> Arc<Self> {
        let states = vec![EntryState::Pending; items.len()];
        let left = items.len() + 1;
        let state = Mutex::new(Entries { states, left });
        let ready = OnceLock::new();
        Arc::new(Self {
            id,
            dir,
            items,
            children,
            cost,
            ready,
            state,
        })
    }

    /// The path of an entry.
    pub(super) fn path(&self, index: u16) -> RelPath {
        self.dir
            .path
            .join(&self.items[usize::from(index)].entry.name)
    }

    /// Notes that the content of an entry is asked for.
    pub(super) fn want(&self, index: u16, file: TargetFile) -> Arc<TargetFile> {
        let file = Arc::new(file);
        self.lock().states[usize::from(index)] = EntryState::Wanted(Arc::clone(&file));
        file
    }

    /// The file whose content was asked for; `None` when it was not, or has ended.
    pub(super) fn wanted(&self, index: u16) -> Option<Arc<TargetFile>> {
        match self.lock().states.get(usize::from(index)) {
            Some(EntryState::Wanted(file)) => Some(Arc::clone(file)),
            _ => None,
        }
    }

    /// Whether an entry is still to end; it is the caller's to end it then, and nobody else's.
    pub(super) fn begin_end(&self, index: u16) -> bool {
        let mut entries = self.lock();
        let state = &mut entries.states[usize::from(index)];
        let open = matches!(state, EntryState::Pending | EntryState::Wanted(_));
        if open {
            *state = EntryState::Ending;
        }
        open
    }

    /// Ends an entry. Returns whether it was the last thing to end.
    pub(super) fn end(&self, index: u16, ending: Ending) -> bool {
        let mut entries = self.lock();
        let state = &mut entries.states[usize::from(index)];
        *state = EntryState::Ended(ending);
        entries.left -= 1;
        entries.left == 0
    }

    /// All entries have been gone through. Returns whether all have ended.
    pub(super) fn gone_through(&self) -> bool {
        let mut entries = self.lock();
        entries.left -= 1;
        entries.left == 0
    }

    /// How its entries have ended; those that have not are left out.
    pub(super) fn endings(&self) -> Vec<Ending> {
        let ended = |state: &EntryState| match state {
            EntryState::Ended(ending) => Some(ending.clone()),
            EntryState::Pending | EntryState::Wanted(_) | EntryState::Ending => None,
        };
        self.lock().states.iter().filter_map(ended).collect()
    }

    /// Takes the files out that are under way, so that what they hold is let go.
    pub(super) fn take_files(&self) -> Vec<Arc<TargetFile>> {
        let mut files = Vec::new();
        for state in &mut self.lock().states {
            if let EntryState::Wanted(file) = state {
                files.push(Arc::clone(file));
                *state = EntryState::Pending;
            }
        }
        files
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
