//! Reads the blocks of a device or image, and digests them.

use std::ops::Range;

use barge_blockrsync::{BlockHash, Digester, is_zero};
use barge_fs::Error;

use super::Part;
use super::in_order::in_order;

/// Hands the digests of all blocks to `take`, in order: runs of them, and behind which byte they end.
///
/// # Errors
///
/// The first of reading, as `fails` names it, and of `take`.
pub(super) fn digests<E>(
    part: Part<'_>,
    fails: impl Fn(Error) -> E,
    mut take: impl FnMut(&[BlockHash], u64) -> Result<(), E>,
) -> Result<(), E> {
    let grid = part.grid();
    let digester = Digester::new(grid.block());
    let at_once = (READ / grid.block().bytes()).max(1);
    let runs = (0..grid.count()).step_by(at_once as usize);
    let runs = runs.map(|first| grid.range(first).start..grid.range(first + at_once - 1).end);
    in_order(
        part.threads(),
        runs,
        |range: Range<u64>, buffer| (range.end, run(part, &digester, &range, buffer)),
        |(end, digests)| take(&digests.map_err(&fails)?, end),
    )
}

fn run(
    part: Part<'_>,
    digester: &Digester,
    range: &Range<u64>,
    buffer: &mut Vec<u8>,
) -> Result<Vec<BlockHash>, Error> {
    let block = part.grid().block().bytes();
    if !part.has_data(range)? {
        let count = (range.end - range.start).div_ceil(block);
        return Ok(vec![digester.zeros(); count as usize]);
    }
    part.read(range, buffer)?;
    let blocks = buffer.chunks(block as usize);
    Ok(blocks.map(|block| digester.digest(block)).collect())
}

/// What a block holds: `None` for zeros.
pub(super) fn content(part: Part<'_>, range: &Range<u64>) -> Result<Option<Vec<u8>>, Error> {
    if !part.has_data(range)? {
        return Ok(None);
    }
    let mut content = Vec::new();
    part.read(range, &mut content)?;
    Ok((!is_zero(&content)).then_some(content))
}

/// How much is read at once, if a block is not longer.
const READ: u64 = 1 << 20;
