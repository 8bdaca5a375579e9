//! What the program becomes when it is called by another program's name.

#[allow(dead_code, reason = "the command line of rsync is on its way here")]
pub(crate) mod rsync;
