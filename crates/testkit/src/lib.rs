//! Trees, real peers and faulty streams, for tests.
//!
//! Nothing here shares code with the mover it judges.

pub mod compare;
pub mod faulty;
mod held;
pub mod mount;
pub mod mover;
pub mod mutate;
pub mod pair;
pub mod peer;
mod random;
pub mod record;
pub mod scratch;
pub mod stock_blockrsync;
pub mod tree;
