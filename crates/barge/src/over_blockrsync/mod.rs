//! Block devices and raw images, in the language of blockrsync.
//!
//! A [`Source`] is compared with a [`Target`] block by block over one connection, and what differs is
//! written there in place. Both block the thread that calls them.

mod blocks;
mod failure;
mod in_order;
mod line;
mod part;
mod source;
mod target;

pub use barge_blockrsync::{BlockSize, Overheard};
pub use failure::Failure;
pub(crate) use line::Peer;
pub(crate) use part::Part;
pub(crate) use source::Outgoing;
pub use source::{Sent, Source};
pub(crate) use target::{Incoming, decline};
pub use target::{Received, Target};

/// What goes on. Numbers are bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer has said who it is: one of ours, or a stock blockrsync.
    Peer {
        /// One of ours.
        is_ours: bool,
    },
    /// Both sides read what they have.
    Comparing {
        /// So much has been compared,
        done: u64,
        /// of so much.
        total: u64,
    },
    /// What differs is sent.
    Sending {
        /// So much of the target is as the source is,
        done: u64,
        /// of so much that was not;
        total: u64,
        /// what is done was no zeros in so much of it.
        data: u64,
    },
    /// A block of the target is about to be another.
    Writing {
        /// How long it is.
        bytes: u64,
        /// It is to be zeros.
        is_hole: bool,
    },
    /// All of the target is on its disk, where digests are kept; the source is about to be told.
    OnDisk {
        /// The digest of the digests of all blocks.
        digest: [u8; 32],
    },
}
