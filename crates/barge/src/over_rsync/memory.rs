//! What peers may make this process remember: all runs of a process share it.

use std::sync::{Arc, LazyLock};

use barge_rsync::wire::budget::{Budget, Room};

/// For what a run lists or is listed: of half of what this process may take. The other half is for what
/// is made of it: what names a directory has, where links go.
pub(crate) fn for_lists() -> Budget {
    static LISTS: LazyLock<Arc<Room>> =
        LazyLock::new(|| Arc::new(Room::new(barge_fs::memory_limit() / 2)));
    Budget::of(Arc::clone(&LISTS))
}

/// For the block sums of one file, which are so many bytes: of a quarter of what this process may take.
/// How many may be kept: those beyond are read and forgotten.
pub(crate) fn for_sums(bytes: u64, max_alloc: u64) -> (Budget, usize) {
    static SUMS: LazyLock<Arc<Room>> =
        LazyLock::new(|| Arc::new(Room::new(barge_fs::memory_limit() / 4)));
    let mut budget = Budget::of(Arc::clone(&SUMS));
    let kept = budget.hold_some(bytes.min(max_alloc).min(MOST_FOR_SUMS));
    (budget, usize::try_from(kept).unwrap_or(usize::MAX))
}

/// Enough for the sums of a file of several tebibytes.
const MOST_FOR_SUMS: u64 = 1 << 30;
