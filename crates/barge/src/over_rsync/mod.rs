//! The mover's other language: rsync's protocol, as client, server and daemon.
//!
//! File work blocks on threads here, and so do reads and writes of the connection, which is
//! whatever an embedder hands over as an [`Input`] and an [`Output`].

#[allow(dead_code, reason = "until the roles stand")]
mod activity;
mod connection;
mod event;
#[allow(dead_code, reason = "until the roles stand")]
mod failure;
#[allow(dead_code, reason = "until the roles stand")]
mod incoming;
#[allow(dead_code, reason = "until the roles stand")]
mod outgoing;
#[allow(dead_code, reason = "until the roles stand")]
mod read_ahead;
#[allow(dead_code, reason = "until the roles stand")]
mod run;

pub use barge_rsync::options;
pub use connection::{Connection, Input, Output};
pub use event::{Event, Item, ItemSide, Level, Listener, Position, RunStats};
pub use failure::{Failure, describe_exit};

pub use crate::filter::{
    DaemonRules, ReadAbove, RuleError, RuleList, RuleSide, RuleSources, Scope, rules_cross,
};
