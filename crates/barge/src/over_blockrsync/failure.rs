//! Why a run in the language of blockrsync stopped before its end.

use std::io;
use std::path::PathBuf;

use barge_blockrsync::WireError;

use crate::Fault;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// This side's device or image.
    #[error("{}: {error}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// The call that failed.
        error: barge_fs::Error,
    },
    /// The source does not fit.
    #[error("the target of {target} bytes is smaller than the source of {source_len} bytes")]
    TooSmall {
        /// How long the source is.
        source_len: u64,
        /// How long the target is.
        target: u64,
    },
    /// The image was written while it was read: what the target has may never have been.
    #[error("the source changed while it was read")]
    Changed,
    /// The target says why it cannot go on.
    #[error("the target refuses: {0}")]
    Refused(String),
    /// The peer broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The connection ended before the peer had said a word.
    #[error("the connection ended before anything was said")]
    Unused,
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Lost(#[source] io::Error),
}

impl Failure {
    /// Who has to act: whether another connection may help.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Disk { .. } | Self::TooSmall { .. } | Self::Refused(_) => Fault::Operator,
            Self::Changed | Self::Unused | Self::Lost(_) => Fault::Weather,
            // Damaged on the way, which another connection mends.
            Self::Wire(WireError::Cut(_) | WireError::Damaged(_) | WireError::Digest) => {
                Fault::Weather
            }
            Self::Wire(_) => Fault::Peer,
        }
    }
}
