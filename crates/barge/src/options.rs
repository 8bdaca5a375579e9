//! What a run is to do: every default, with its reason.

use std::time::Duration;

use barge_types::ByteRate;

use crate::filter::Filter;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Delete at the target what the source does not have.
    pub delete: bool,
    /// Stop deleting after so many paths.
    pub max_delete: Option<u64>,
    /// Paths that are neither sent nor deleted.
    pub filter: Filter,
    /// The most bytes of content a second, over all streams.
    pub bwlimit: Option<ByteRate>,
    /// Compare content, not size and time.
    pub checksum: bool,
    /// Send changed files whole, without looking for what the target has.
    pub whole_file: bool,
    /// Write into existing files: their old content is lost if the run is.
    pub inplace: bool,
    /// Change nothing, report what would be.
    pub dry_run: bool,
    /// Tell the monitor every path, not only those that failed.
    pub itemize: bool,
    /// Keep owner and group.
    pub owner: bool,
    /// Bring devices, fifos and sockets over.
    pub devices: bool,
    /// Keep several names of one file together.
    pub hard_links: bool,
    /// Keep extended attributes.
    pub xattrs: bool,
    /// Keep POSIX ACLs.
    pub acls: bool,
    /// Keep `security.selinux`. Off: the label belongs to the cluster, not to the data.
    pub selinux: bool,
    /// Keep holes.
    pub sparse: bool,
    /// Connections, 1 to 32.
    pub streams: u8,
    /// How often in a row a lost or refused connection is dialled again before the run is given
    /// up. 20 attempts with the backoff used take some eight minutes: a route's reload or a
    /// node's restart, not an outage.
    pub retries: u32,
    /// A connection on which nothing came for so long is taken for lost. The peer gives a sign of
    /// life every 5 seconds.
    pub stall_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delete: false,
            max_delete: None,
            filter: Filter::default(),
            bwlimit: None,
            checksum: false,
            whole_file: false,
            inplace: false,
            dry_run: false,
            itemize: false,
            owner: true,
            devices: true,
            hard_links: true,
            xattrs: true,
            acls: true,
            selinux: false,
            sparse: true,
            streams: default_streams(),
            retries: 20,
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// One stream a processor that the process may use, at least 2: so that a stalled flow does not
/// stop a run; at most 8, which pass the 5 Gbit/s that large clouds grant one flow.
pub fn default_streams() -> u8 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    cpus.clamp(2, 8) as u8
}
