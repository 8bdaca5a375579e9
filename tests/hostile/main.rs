//! Peers that attack rsync's protocol from inside: as a sender to our receiving side, as a receiver to our
//! sending side, as a server to our client; and the native protocol at our server. Nothing is lost, nothing beyond the module is touched, the peer
//! learns why, and the daemon goes on serving.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stderr, reason = "a test says why it was skipped")]

mod floods;
mod listed;
mod modules;
mod native;
mod peak;
mod peer;
mod races;
mod receivers;
mod senders;
mod served;
mod servers;
mod wire;
