//! The transfer image in the pods of an unmodified Migration Toolkit for Containers.
//!
//! The pods of a Direct Volume Migration, with the controller's own commands and configuration, run as
//! real containers by `podman kube play`; HAProxy stands between them as the cluster's passthrough route.
//! Each end runs our image or one made of stock rsync, stunnel and bash.
//!
//! Where the machine cannot run containers, the tests say so and pass; with `MTC=required` they fail.
//! `BARGE_IMAGE` names an image to judge instead of the program in the build folder.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stderr, reason = "a test says why it was skipped")]

mod images;
mod kubelet;
mod manifests;
mod migration;
mod node;
mod volume;
mod watcher;
