//! The forms in which things cross the wire, each with its decoder and its encoder.

pub mod cursor;
pub mod iflags;
pub mod int;
pub mod mux;
pub mod ndx;
pub mod stats;
pub mod sums;
pub mod token;
