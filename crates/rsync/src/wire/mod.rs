//! The forms in which things cross the wire, each with its decoder and its encoder.

pub mod attrs;
pub mod budget;
pub mod cursor;
pub mod entry;
pub mod flist;
pub mod idlist;
pub mod iflags;
pub mod int;
pub mod item;
pub mod list;
pub mod mux;
pub mod ndx;
pub mod rules;
pub mod sort;
pub mod stats;
pub mod sums;
pub mod token;
