//! Files that show whether their content was mixed from two states.
//!
//! A file is a row of blocks; each carries the file's number, the generation, its own index and
//! the count of blocks, over and over. The first block is written first as *dirty* and last as
//! clean: a copy of one moment in the middle of a rewrite is dirty, so a clean copy whose blocks
//! disagree was put together from different moments.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a file holds when all is well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) file: u64,
    pub(crate) generation: u64,
    pub(crate) blocks: u64,
}

impl Stamp {
    /// Makes or rewrites the file in place: dirty mark, length, blocks, clean mark.
    pub(crate) fn write(self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.write_all_at(&self.block(DIRTY), 0)?;
        file.set_len(self.blocks * BLOCK as u64)?;
        for index in 1..self.blocks {
            file.write_all_at(&self.block(index), index * BLOCK as u64)?;
        }
        file.write_all_at(&self.block(0), 0)
    }

    fn block(self, index: u64) -> Vec<u8> {
        let words = [self.file, self.generation, index, self.blocks];
        let row: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        row.repeat(BLOCK / row.len())
    }

    /// Reads a file; `None` when it is dirty.
    ///
    /// The error is a sentence on what does not fit together.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, String> {
        let content = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let word = |n: usize| {
            content
                .get(n * 8..n * 8 + 8)
                .map(|w| u64::from_le_bytes(w.try_into().unwrap()))
        };
        let (Some(file), Some(generation), Some(index), Some(blocks)) =
            (word(0), word(1), word(2), word(3))
        else {
            return Err(format!("{}: only {} bytes", path.display(), content.len()));
        };
        if index == DIRTY {
            return Ok(None);
        }
        let stamp = Self {
            file,
            generation,
            blocks,
        };
        let whole: Vec<u8> = (0..blocks).flat_map(|index| stamp.block(index)).collect();
        match content == whole {
            true => Ok(Some(stamp)),
            false => Err(format!(
                "{} is mixed, and begins as {stamp:?}",
                path.display()
            )),
        }
    }
}

/// Appends to a file that is whole, as a log grows, and takes it back.
pub(crate) fn append_and_take_back(path: &Path, stamp: Stamp) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(&stamp.block(DIRTY), 0)?;
    file.write_all_at(b"more", stamp.blocks * BLOCK as u64)?;
    file.set_len(stamp.blocks * BLOCK as u64)?;
    file.write_all_at(&stamp.block(0), 0)
}

const BLOCK: usize = 4096;

/// The index in a first block while the file is being rewritten.
const DIRTY: u64 = u64::MAX;

#[test]
fn stamp_tells_whole_dirty_and_mixed_files_apart() {
    let place = barge_testkit::scratch::Scratch::new().unwrap();
    let path = place.join("file");
    let stamp = Stamp {
        file: 1,
        generation: 2,
        blocks: 3,
    };
    stamp.write(&path).unwrap();
    append_and_take_back(&path, stamp).unwrap();
    assert_eq!(Stamp::read(&path), Ok(Some(stamp)));
    let file = File::options().write(true).open(&path).unwrap();
    let next = Stamp {
        generation: 3,
        ..stamp
    };
    file.write_all_at(&next.block(2), 2 * BLOCK as u64).unwrap();
    assert!(Stamp::read(&path).unwrap_err().contains("mixed"));
    file.write_all_at(&next.block(DIRTY), 0).unwrap();
    assert_eq!(Stamp::read(&path), Ok(None));
    file.set_len(5).unwrap();
    assert!(Stamp::read(&path).is_err());
}
