//! What the program becomes when it is called by another program's name.

#[allow(
    dead_code,
    unused_imports,
    reason = "the command line of rsync is on its way here"
)]
pub(crate) mod rsync;
