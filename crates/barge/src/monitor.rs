//! Where progress goes while a run is on.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use barge_types::{Outcome, RelPath};

/// Numbers of a running transfer; read them at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Paths listed so far.
    pub listed: Count,
    /// Paths that have ended.
    pub ended: Count,
    /// Paths that have failed.
    pub failed: Count,
    /// Bytes of regular files listed so far.
    pub bytes_listed: Count,
    /// Bytes of regular files that have ended: what the listed bytes come to in the end.
    pub bytes_ended: Count,
    /// Bytes of content read at the source.
    pub bytes_read: Count,
    /// Bytes of content sent.
    pub bytes_sent: Count,
    /// Bytes that crossed the connections, both ways.
    pub wire_bytes: Count,
    /// Connections lost and dialled again.
    pub reconnects: Count,
    /// Connections that are up.
    pub connections: Count,
}

/// A number that several threads count up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One path that has ended, as the monitor hears of it.
#[derive(Clone, Copy, Debug)]
pub struct PathEnd<'a> {
    /// Below the root.
    pub path: &'a RelPath,
    /// What it is: `file`, `directory`, …; empty when this side does not know.
    pub kind: &'static str,
    /// How it ended.
    pub outcome: &'a Outcome,
}

type OnPath = Box<dyn Fn(PathEnd<'_>) + Send + Sync>;

/// Where progress goes.
#[derive(Default)]
pub struct Monitor {
    /// The numbers.
    pub counters: Counters,
    on_path: Option<OnPath>,
}

impl Monitor {
    /// A monitor that calls `on_path` with every path that fails, and under
    /// [`crate::Options::itemize`] with every path that ends.
    pub fn new(on_path: impl Fn(PathEnd<'_>) + Send + Sync + 'static) -> Self {
        Self {
            counters: Counters::default(),
            on_path: Some(Box::new(on_path)),
        }
    }

    pub(crate) fn path(&self, end: PathEnd<'_>) {
        if let Some(on_path) = &self.on_path {
            on_path(end);
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
