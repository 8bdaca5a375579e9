//! Block devices and raw images, over verified connections of barge's own protocol.
//!
//! A device is cut into parts, and each part is a conversation of a source and a target
//! ([`over_blockrsync`]) over a connection of its own, several at a time. A part that is done is on the
//! disk; a connection that is lost costs the comparison of its part.
//!
//! [`over_blockrsync`]: crate::over_blockrsync

mod line;
mod run;
mod send;
mod serve;

use std::sync::{Mutex, MutexGuard, PoisonError};

use barge_blockrsync::BlockSize;

pub use send::send_device;
pub(crate) use serve::Device;

/// What is compared at a time.
fn block() -> BlockSize {
    BlockSize::new(128 << 10).expect("it is a multiple of 4096")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
