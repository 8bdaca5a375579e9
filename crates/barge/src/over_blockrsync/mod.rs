//! Block devices and raw images, in the language of blockrsync.
//!
//! A [`Source`] is compared with a [`Target`] block by block over one connection, and what differs is
//! written there in place. Both block the thread that calls them.

mod blocks;
mod failure;
mod in_order;
mod line;
mod source;
mod target;

pub use barge_blockrsync::{BlockSize, Overheard};
pub use failure::Failure;
pub use source::{Sent, Source};
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
        /// of so much that was not.
        total: u64,
    },
}
