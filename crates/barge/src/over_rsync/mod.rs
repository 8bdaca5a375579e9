//! The mover's other language: rsync's protocol, as client, server and daemon.
//!
//! File work blocks on threads here, and so do reads and writes of the connection, which is
//! whatever an embedder hands over as an [`Input`] and an [`Output`].

mod acl;
mod activity;
mod agreed;
mod asked;
mod client;
mod connection;
mod conversation;
mod daemon;
mod event;
mod failure;
mod fake_super;
mod files_from;
mod glob;
mod incoming;
mod local;
mod memory;
mod module;
#[allow(dead_code, reason = "`raw`: the names of --files-from at protocol 30")]
mod outgoing;
mod owners;
mod pipe;
mod read_ahead;
mod receiver;
mod run;
mod sanitize;
pub(crate) mod seam;
mod sender;
mod sending;
mod server;
mod tallying;
mod unsafe_link;
pub(crate) mod volumes;
mod wild;

pub use agreed::{Ended, ModuleBase, Seal};
pub use barge_rsync::{options, session};
pub use client::{Client, Login, Peer, Visit, words};
pub use connection::{Connection, Input, Output};
pub use daemon::{Daemon, Gate, Settled};
pub use event::{Event, Item, ItemSide, Level, Listener, Position, RunStats};
pub use failure::{Failure, describe_exit};
pub use local::copy;
pub use module::{LeastDigest, Module, UserRules};
pub use pipe::pipe;
pub use sending::send_by_rsync;
pub use server::{Server, Stderr};
pub use wild::wild;

pub use crate::filter::{
    DaemonRules, ReadAbove, RuleError, RuleList, RuleSide, RuleSources, Scope, rules_cross,
};
