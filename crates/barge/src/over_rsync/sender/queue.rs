//! What has been scanned and not been sent: the scan runs ahead of the thread that answers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use barge_rsync::wire::budget::Budget;
use barge_rsync::wire::list::List;
use barge_rsync::wire::mux::IoErrors;
use barge_rsync::wire::ndx::DirIndex;
use bytes::BytesMut;

use crate::over_rsync::failure::Failure;
use crate::over_rsync::read_ahead::Bell;

/// Entries that may wait; a list of more waits alone.
const MOST_ENTRIES: usize = 20_000;

/// Pieces of the first list that may wait.
const MOST_PIECES: usize = 64;

/// What a scan gives, in order.
pub(super) enum Scanned {
    /// Encoded entries of the first list, which goes on.
    Piece(BytesMut),
    /// A list, with what of it is encoded and was in no piece.
    List(ScannedList),
    /// There are no more lists.
    End,
    /// The run cannot go on.
    Failed(Failure),
}

/// One list.
pub(super) struct ScannedList {
    /// Whose children these are; none for the first list.
    pub(super) dir: Option<DirIndex>,
    pub(super) bytes: BytesMut,
    pub(super) list: Arc<List>,
    /// Of what the list takes.
    pub(super) budget: Budget,
    /// The sender's trouble as it stood at its end, and whether the list itself tells of it.
    pub(super) errors: IoErrors,
    pub(super) tells_errors: bool,
    /// Bytes of regular files and symbolic links in it.
    pub(super) size: u64,
}

impl Scanned {
    /// How much room it takes, of [`MOST_ENTRIES`].
    fn weight(&self) -> usize {
        match self {
            Self::Piece(_) => MOST_ENTRIES / MOST_PIECES,
            Self::List(list) => list.list.len() as usize + 1,
            Self::End | Self::Failed(_) => 0,
        }
    }
}

/// The queue between the two threads.
pub(super) struct Queue {
    bell: Arc<Bell>,
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Scanned>,
    weight: usize,
    /// Nobody takes any more.
    abandoned: bool,
}

/// Nobody takes what is scanned any more: the run is over.
#[derive(Debug)]
pub(super) struct Abandoned;

impl Queue {
    /// The bell rings when something has been put in.
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self {
            bell,
            state: Mutex::default(),
            room: Condvar::new(),
        }
    }

    /// Puts something in, when there is room.
    pub(super) fn put(&self, scanned: Scanned) -> Result<(), Abandoned> {
        let mut state = self.state();
        while state.weight >= MOST_ENTRIES && !state.abandoned {
            let waited = self.room.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned {
            return Err(Abandoned);
        }
        state.weight += scanned.weight();
        state.waiting.push_back(scanned);
        drop(state);
        self.bell.ring();
        Ok(())
    }

    /// Takes what comes next, if there is anything.
    pub(super) fn take(&self) -> Option<Scanned> {
        let mut state = self.state();
        let scanned = state.waiting.pop_front()?;
        state.weight -= scanned.weight();
        self.room.notify_one();
        Some(scanned)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// Whether the run is over.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Ends the scan.
    pub(super) fn abandon(&self) {
        self.state().abandoned = true;
        self.room.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
