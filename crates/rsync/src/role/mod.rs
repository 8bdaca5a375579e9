//! The streams between generator, sender and receiver, and what may come on them when.

pub mod incoming;
pub mod phase;
pub mod requests;
