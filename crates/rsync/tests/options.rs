//! Command lines beside stock rsync: what a server is handed, and what is said to wrong ones.
//!
//! Expectations were recorded with rsync 3.5.0, and are recorded again where it is installed.

#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

#[path = "options/about.rs"]
mod about;
#[path = "options/capture.rs"]
mod capture;
#[path = "options/daemon.rs"]
mod daemon;
#[path = "options/hostile.rs"]
mod hostile;
#[path = "options/names.rs"]
mod names;
#[path = "options/refusals.rs"]
mod refusals;
#[path = "options/vectors.rs"]
mod vectors;
#[path = "options/words.rs"]
mod words;
