//! A device or image, or part of one, as a row of blocks.

use std::ops::Range;

use barge_blockrsync::{Grid, WireError};
use barge_fs::{Disk, Error};

use super::{Failure, in_order};

/// What one conversation is about. Offsets are its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    disk: &'a Disk,
    /// Where it begins.
    base: u64,
    grid: Grid,
    fit: Fit,
}

/// How long a source may be that this is to become equal to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fit {
    /// An image takes on its length.
    Any,
    /// A device may be longer.
    AtMost,
    /// Both know which part it is.
    Exactly,
}

impl<'a> Part<'a> {
    /// All of a device or image.
    pub(crate) fn whole(disk: &'a Disk, grid: Grid) -> Self {
        let fit = match disk.is_device() {
            true => Fit::AtMost,
            false => Fit::Any,
        };
        Self {
            disk,
            base: 0,
            grid,
            fit,
        }
    }

    /// What is from `base` on.
    pub(crate) fn of(disk: &'a Disk, base: u64, grid: Grid) -> Self {
        Self {
            disk,
            base,
            grid,
            fit: Fit::Exactly,
        }
    }

    pub(super) fn disk(&self) -> &'a Disk {
        self.disk
    }

    pub(super) fn grid(&self) -> Grid {
        self.grid
    }

    /// How many threads read and digest it: several parts at a time have their own.
    pub(super) fn threads(&self) -> usize {
        match self.fit {
            Fit::Exactly => in_order::threads().min(THREADS_OF_A_PART),
            Fit::Any | Fit::AtMost => in_order::threads(),
        }
    }

    /// Whether a target of this length can be what this is to be sent to.
    pub(super) fn expect_target(&self, len: u64) -> Result<(), Failure> {
        match self.fit == Fit::Exactly && len != self.grid.len() {
            true => Err(another_length(len)),
            false => Ok(()),
        }
    }

    /// How many blocks a target can have at most.
    pub(super) fn most_blocks(&self) -> u64 {
        match self.fit {
            Fit::Exactly => self.grid.count(),
            Fit::Any | Fit::AtMost => u64::MAX,
        }
    }

    /// Whether a source of this length may be written here.
    pub(super) fn expect_room(&self, source_len: u64) -> Result<(), Failure> {
        let target = self.grid.len();
        match self.fit {
            Fit::Any => Ok(()),
            Fit::AtMost | Fit::Exactly if source_len > target => {
                Err(Failure::TooSmall { source_len, target })
            }
            Fit::Exactly if source_len < target => Err(another_length(source_len)),
            Fit::AtMost | Fit::Exactly => Ok(()),
        }
    }

    /// Takes on the length of a source that may be written here.
    pub(super) fn set_len(&self, len: u64) -> Result<(), Error> {
        match self.fit == Fit::Any && len != self.grid.len() {
            true => self.disk.set_len(len),
            false => Ok(()),
        }
    }

    /// What a device has behind a source of this length.
    pub(super) fn behind(&self, source_len: u64) -> Option<Range<u64>> {
        let behind = source_len..self.grid.len();
        (self.fit == Fit::AtMost && !behind.is_empty()).then_some(behind)
    }

    /// Whether there is anything but a hole.
    pub(super) fn has_data(&self, range: &Range<u64>) -> Result<bool, Error> {
        self.disk.has_data(&self.here(range))
    }

    /// Reads all of a range into `buffer`.
    pub(super) fn read(&self, range: &Range<u64>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.resize((range.end - range.start) as usize, 0);
        match self.disk.read_at(buffer, self.base + range.start)? == buffer.len() {
            true => Ok(()),
            false => Err(Error::cut_short()),
        }
    }

    pub(super) fn write(&self, bytes: &[u8], at: u64) -> Result<(), Error> {
        self.disk.write_at(bytes, self.base + at)
    }

    pub(super) fn discard(&self, range: &Range<u64>) -> Result<(), Error> {
        self.disk.discard(self.here(range))
    }

    pub(super) fn write_zeros(&self, range: &Range<u64>) -> Result<(), Error> {
        self.disk.write_zeros(self.here(range))
    }

    fn here(&self, range: &Range<u64>) -> Range<u64> {
        self.base + range.start..self.base + range.end
    }
}

fn another_length(len: u64) -> Failure {
    Failure::Wire(WireError::Number {
        what: "the length of a part",
        value: i64::try_from(len).unwrap_or(i64::MAX),
    })
}

const THREADS_OF_A_PART: usize = 4;
