//! What a peer may make this side remember.

/// Bytes that may be held of what the other end of a run lists: half of what this process may take. The
/// other half is for what is made of it: what names a directory has, where links go.
pub(crate) fn for_lists() -> u64 {
    barge_fs::memory_limit() / 2
}

/// Bytes that the block sums of one file may take: those of blocks beyond are read and not kept.
pub(crate) fn for_sums(max_alloc: u64) -> usize {
    let most = max_alloc
        .min(MOST_FOR_SUMS)
        .min(barge_fs::memory_limit() / 4);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Enough for the sums of a file of several tebibytes.
const MOST_FOR_SUMS: u64 = 1 << 30;
