//! The mover: joins trees, protocols and streams handed to it.
//!
//! [`send`] sends a tree over streams that a [`Route`] dials; a [`Server`] writes volumes from
//! streams that were accepted; [`copy`] is both in one process. Which transport carries the
//! streams is the caller's matter, and so is that both ends are who they should be.
//!
//! ```
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let (source, target) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! std::fs::write(source.path().join("mail"), "important")?;
//! let options = barge::Options::default();
//! let monitor = Arc::new(barge::Monitor::default());
//! let end = barge::copy(source.path(), target.path(), options, monitor, barge::Stop::new()).await;
//! assert!(end.error.is_none());
//! assert_eq!(std::fs::read_to_string(target.path().join("mail"))?, "important");
//! # Ok::<_, std::io::Error>(()) })?;
//! # Ok::<_, std::io::Error>(())
//! ```

mod backoff;
mod bridge;
mod copy;
mod device;
mod digest;
mod error;
mod filter;
mod limit;
mod monitor;
mod options;
pub mod over_blockrsync;
mod over_native;
pub mod over_rsync;
mod plan;
mod pool;
mod receive;
mod run;
mod send;
mod server;
mod stop;

pub use copy::copy;
pub use device::send_device;
pub use error::{DialError, Error, Fault};
pub use filter::{Filter, FilterError};
pub use monitor::{Count, Counters, Monitor, PathEnd};
pub use options::{Options, default_streams};
pub use over_native::{Classify, Dial, Route, Stream, send};
pub use run::RunEnd;
pub use server::Server;
pub use stop::Stop;
