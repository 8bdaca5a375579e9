//! rsync(1) and its daemon, by their command lines.

mod failed;
mod fd;
mod output;
mod place;
mod rsyncd_conf;
mod transport;
