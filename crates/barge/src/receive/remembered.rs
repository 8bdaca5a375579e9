//! What a client's list makes this side remember beyond the segments under way: directories until all
//! in them is through, files with several names until their last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use barge_native::ProtocolError;
use barge_types::{Meta, RelPath};

/// How much a run may remember.
#[derive(Debug)]
pub(super) struct Room {
    most: u64,
    taken: AtomicU64,
}

/// A part of the room; given back with it.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    bytes: AtomicU64,
}

impl Room {
    /// Half of what this process may take.
    pub(super) fn of_process() -> Arc<Self> {
        Self::new(barge_fs::memory_limit() / 2)
    }

    fn new(most: u64) -> Arc<Self> {
        let taken = AtomicU64::new(0);
        Arc::new(Self { most, taken })
    }

    /// A share for a directory.
    pub(super) fn of_dir(
        self: &Arc<Self>,
        path: &RelPath,
        meta: Option<&Meta>,
    ) -> Result<Share, ProtocolError> {
        let xattrs = meta.into_iter().flat_map(|meta| &meta.xattrs);
        let each = xattrs.map(|xattr| XATTR + xattr.name.as_bytes().len() + xattr.value.len());
        self.share(DIR + path.as_bytes().len() + each.sum::<usize>())
    }

    /// A share for a file with several names, of which one is so long.
    pub(super) fn of_group(self: &Arc<Self>, name: usize) -> Result<Share, ProtocolError> {
        self.share(GROUP + name)
    }

    fn share(self: &Arc<Self>, bytes: usize) -> Result<Share, ProtocolError> {
        let share = Share {
            room: Arc::clone(self),
            bytes: AtomicU64::new(0),
        };
        share.grow(bytes)?;
        Ok(share)
    }
}

impl Share {
    /// So many names in a directory are remembered as well.
    pub(super) fn remember_names(&self, count: usize) -> Result<(), ProtocolError> {
        self.grow(count * SEEN)
    }

    /// Takes so much more, or nothing.
    fn grow(&self, bytes: usize) -> Result<(), ProtocolError> {
        let (bytes, limit) = (bytes as u64, self.room.most);
        let fits = |taken: u64| taken.checked_add(bytes).filter(|&taken| taken <= limit);
        let (relaxed, taken) = (Ordering::Relaxed, &self.room.taken);
        let grown = taken.fetch_update(relaxed, relaxed, fits);
        grown.map_err(|taken| ProtocolError::Limit {
            what: "memory for directories and hard links under way",
            value: taken.saturating_add(bytes),
            limit,
        })?;
        self.bytes.fetch_add(bytes, relaxed);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a directory takes besides its path and attributes.
const DIR: usize = 512;

/// What an attribute takes besides its name and value.
const XATTR: usize = 64;

/// What a file with several names takes besides its name.
const GROUP: usize = 224;

/// What a hash of a name takes in its set.
const SEEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_and_never_exceeded() {
        let room = Room::new(2000);
        for _ in 0..100 {
            let share = room.of_group(255).unwrap();
            share.remember_names(80).unwrap();
            assert!(share.remember_names(80).is_err());
        }
        let shares: Vec<_> = std::iter::from_fn(|| room.of_group(26).ok()).collect();
        assert_eq!(shares.len(), 8);
        let path = RelPath::new(b"directory").unwrap();
        assert!(room.of_dir(&path, None).is_err());
        drop(shares);
        assert!(room.of_dir(&path, None).is_ok());
    }
}
