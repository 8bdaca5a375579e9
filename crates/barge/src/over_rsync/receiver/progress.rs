//! How far the run is: what the receiving thread tells whoever shows progress.

use std::collections::VecDeque;
use std::sync::Arc;

use barge_rsync::wire::list::List;
use barge_rsync::wire::ndx::FileIndex;

use super::requests::Request;
use super::side::Side;
use crate::over_rsync::{Event, Position};

/// Counts what is listed and what has come.
pub(super) struct Progress {
    side: Arc<Side>,
    /// The lists that are not done with, the oldest first.
    pages: VecDeque<Page>,
    entries: u64,
    bytes: u64,
    complete: bool,
    at: Position,
}

/// What is remembered of a list.
struct Page {
    start: u32,
    len: u32,
    /// Entries of all lists up to its end.
    end: u64,
}

impl Progress {
    pub(super) fn new(side: Arc<Side>) -> Self {
        Self {
            side,
            pages: VecDeque::new(),
            entries: 0,
            bytes: 0,
            complete: false,
            at: Position::default(),
        }
    }

    /// A list came.
    pub(super) fn list_came(&mut self, list: &List) {
        self.entries += u64::from(list.len());
        for (_, entry) in list.entries() {
            if entry.is_file() || entry.is_symlink() {
                self.bytes = self.bytes.saturating_add(entry.len);
            }
        }
        self.pages.push_back(Page {
            start: list.start().get(),
            len: list.len(),
            end: self.entries,
        });
        self.complete |= !self.side.run.setup.is_incremental();
        self.tell_listed();
    }

    /// No more lists will come.
    pub(super) fn lists_end(&mut self) {
        self.complete = true;
        self.tell_listed();
    }

    fn tell_listed(&self) {
        self.side.run.tell(Event::Listed {
            entries: self.entries,
            bytes: self.bytes,
            complete: self.complete,
        });
    }

    /// An entry was answered.
    pub(super) fn came_to(&mut self, index: FileIndex) {
        let after = |page: &Page| page.start <= index.get().saturating_add(1);
        let after = self.pages.partition_point(after);
        let Some(page) = after.checked_sub(1).and_then(|at| self.pages.get(at)) else {
            return;
        };
        let within = (index.get() + 1).saturating_sub(page.start);
        self.at.behind = page.end - u64::from(page.len) + u64::from(within);
    }

    /// Content of a file begins to come.
    pub(super) fn begins(&mut self, request: &Request) {
        self.at.transfers += 1;
        self.side.tell_start(request);
    }

    /// A piece of a file is about to be written at `offset`, or with `last` all of it is through.
    pub(super) fn moved(&self, request: &Request, offset: u64, last: bool) {
        if self.side.options.info.progress == 0 {
            return;
        }
        let entry = request.subject.entry();
        self.side.run.tell(Event::Progress {
            name: &entry.path.to_vec(),
            offset,
            size: entry.len,
            last,
            at: self.at,
        });
    }

    /// A file is through, whatever became of it.
    pub(super) fn ended(&mut self, request: &Request) {
        let len = request.subject.entry().len;
        self.at.bytes = self.at.bytes.saturating_add(len);
    }

    /// The oldest list is done with, or a phase where there is one list.
    pub(super) fn settled(&mut self) {
        if let Some(page) = self.pages.front() {
            self.at.behind = self.at.behind.max(page.end);
            self.side.run.tell(Event::Settled(self.at));
        }
        if self.side.run.setup.is_incremental() {
            self.pages.pop_front();
        }
    }
}
