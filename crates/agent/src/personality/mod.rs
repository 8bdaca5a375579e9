//! What the program becomes when it is called by another program's name.

pub(crate) mod rsync;
