//! rsync's protocol and command line beside the installed rsync.
//!
//! Every case is played by two stock rsyncs, and then with ours at one end: the tree that results,
//! the exit code, what is printed and what is logged must be the same, and the source must stay as
//! it is. What differs and may is named in `expect/known.txt`, with the reason; a case that is named
//! there and does not differ is a failure too.
//!
//! `INTEROP=all` plays every case with every protocol version, with and without incremental
//! recursion; otherwise each case gets one of them. `INTEROP_ONLY=PART` plays the cases with that in
//! their names and shows all. `INTEROP_SUBJECT=PATH` judges another program; `rsync` judges the
//! harness, for two stock rsyncs differ in nothing.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stderr, reason = "a test says why it was skipped")]

mod captures;
mod cases;
mod known;
mod play;
mod roles;
mod text;
mod trees;

use play::play;
use roles::Role;

#[test]
fn client_sends_to_a_daemon_as_rsync_does() {
    play(Role::PushDaemon);
}

#[test]
fn client_receives_from_a_daemon_as_rsync_does() {
    play(Role::PullDaemon);
}

#[test]
fn client_sends_through_a_shell_as_rsync_does() {
    play(Role::PushShell);
}

#[test]
fn client_receives_through_a_shell_as_rsync_does() {
    play(Role::PullShell);
}

#[test]
fn client_copies_within_a_machine_as_rsync_does() {
    play(Role::Local);
}
