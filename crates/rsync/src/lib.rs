//! The rsync protocol, versions 30 to 32, as machines without I/O.
//!
//! Source: rsync 3.5.0 as it talks on the wire, recorded between two stock peers, and rsync(1).

mod chmod;
mod error;
pub mod options;
pub mod role;
pub mod session;
mod version;
pub mod wire;

pub use chmod::Chmod;
pub use error::WireError;
pub use options::Options;
pub use version::ProtocolVersion;
