//! The words the rest of barge speaks: paths, entries, metadata, units, outcomes, reports.
//!
//! Plain data. Nothing here opens, waits, logs or reads a clock.

mod entry;
mod meta;
mod path;
mod report;
mod units;

pub use entry::{Device, Entry, Kind};
pub use meta::{Meta, Mode, NANOS_PER_SEC, Owner, Timestamp, Xattr, XattrName};
pub use path::{MAX_NAME, Name, NameError, RelPath};
pub use report::{
    Changes, Class, FAILURES_KEPT, FailedPath, Failure, Outcome, Report, Side, SkipRule, Tally,
    Verdict,
};
pub use units::{ByteRate, RateError};
