//! What is shown while the list is built or received.

use super::progress::Lists;
use super::screen::Screen;

/// Remembers what of the list has been shown.
pub(super) struct Listing {
    /// `--info=flist`: 0, 1, or 2 (counts).
    level: u8,
    sender: bool,
    incremental: bool,
    /// The next count that is shown.
    next: u64,
    counted: bool,
    done: bool,
}

impl Listing {
    /// Nothing has been shown.
    pub(super) fn new(level: u8, sender: bool) -> Self {
        Self {
            level,
            sender,
            incremental: true,
            // A sender counts what there is when it looks for the next, the other side what came.
            next: if sender { 0 } else { EVERY },
            counted: false,
            done: false,
        }
    }

    /// What is shown when it begins.
    pub(super) fn begins(&mut self, screen: &mut Screen, incremental: bool) {
        self.incremental = incremental;
        let (whole, pieces) = match self.sender {
            true => ("sending incremental file list\n", "building file list ... "),
            false => (
                "receiving incremental file list\n",
                "receiving file list ... ",
            ),
        };
        match (self.level, incremental) {
            (0, _) => {}
            (_, true) => screen.line(whole.as_bytes()),
            (_, false) => screen.unfinished(pieces),
        }
    }

    /// Shows how far it is; the line that ends it, once, is for the log, too.
    pub(super) fn listed(&mut self, screen: &mut Screen, lists: &Lists) -> Option<String> {
        if self.incremental || self.done || self.level == 0 {
            return None;
        }
        let looked_for = u64::from(!self.sender);
        while self.level >= 2 && self.next < lists.entries + looked_for {
            // The first stands below the line that announced it, the others over each other.
            if !std::mem::replace(&mut self.counted, true) {
                screen.line(&[]);
            }
            screen.unfinished(&format!(" {} files...\r", self.next));
            self.next += EVERY;
        }
        if !lists.complete {
            return None;
        }
        self.done = true;
        let end = match (self.level, lists.entries) {
            (1, _) => "done\n".to_owned(),
            (_, 1) => "1 file to consider\n".to_owned(),
            (_, entries) => format!("{entries} files to consider\n"),
        };
        screen.finish(&end);
        Some(end)
    }
}

/// Entries between two counts.
const EVERY: u64 = 100;
