//! Reads the blocks of a device or image, and digests them.

use std::ops::Range;

use barge_blockrsync::{BlockHash, Digester, Grid, is_zero};
use barge_fs::{Disk, Error};

use super::in_order::in_order;

/// Hands the digests of all blocks to `take`, in order: runs of them, and behind which byte they end.
///
/// # Errors
///
/// The first of reading, as `fails` names it, and of `take`.
pub(super) fn digests<E>(
    disk: &Disk,
    grid: Grid,
    fails: impl Fn(Error) -> E,
    mut take: impl FnMut(&[BlockHash], u64) -> Result<(), E>,
) -> Result<(), E> {
    let digester = Digester::new(grid.block());
    let at_once = (READ / grid.block().bytes()).max(1);
    let runs = (0..grid.count()).step_by(at_once as usize);
    let runs = runs.map(|first| grid.range(first).start..grid.range(first + at_once - 1).end);
    in_order(
        runs,
        |range: Range<u64>, buffer| (range.end, run(disk, grid, &digester, range, buffer)),
        |(end, digests)| take(&digests.map_err(&fails)?, end),
    )
}

fn run(
    disk: &Disk,
    grid: Grid,
    digester: &Digester,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
) -> Result<Vec<BlockHash>, Error> {
    let len = range.end - range.start;
    if disk.next_data(range.start, range.end)?.is_none() {
        let count = len.div_ceil(grid.block().bytes());
        return Ok(vec![digester.zeros(); count as usize]);
    }
    read(disk, range, buffer)?;
    let blocks = buffer.chunks(grid.block().bytes() as usize);
    Ok(blocks.map(|block| digester.digest(block)).collect())
}

/// What a block holds: `None` for zeros.
pub(super) fn content(disk: &Disk, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
    if disk.next_data(range.start, range.end)?.is_none() {
        return Ok(None);
    }
    let mut content = Vec::new();
    read(disk, range, &mut content)?;
    Ok((!is_zero(&content)).then_some(content))
}

fn read(disk: &Disk, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), Error> {
    buffer.resize((range.end - range.start) as usize, 0);
    match disk.read_at(buffer, range.start)? == buffer.len() {
        true => Ok(()),
        false => Err(Error::cut_short()),
    }
}

/// How much is read at once, if a block is not longer.
const READ: u64 = 1 << 20;
