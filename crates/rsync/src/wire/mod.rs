//! How the protocol writes its values.

pub mod sums;
pub mod token;
