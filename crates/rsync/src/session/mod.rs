//! Everything before the first multiplexed frame.
//!
//! A daemon's connection begins with lines ([`greeting`], [`auth`]) and arguments ([`args`]), a
//! remote shell's with two version numbers; both go on with [`setup`]. Each stage takes what it
//! needs from the front of one buffer and leaves the rest to the next.

pub mod args;
pub mod auth;
pub mod greeting;
pub mod setup;

pub use setup::{CompatFlags, Preferences, Setup};
