//! What the peer may do wrong, and the exit code rsync gives it.

/// Why a connection cannot go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A value that the protocol forbids, or a message out of turn.
    #[error("the peer broke the rsync protocol: {0}")]
    Protocol(&'static str),
    /// The stream itself is damaged: framing, compressed data.
    #[error("the rsync protocol data stream is damaged: {0}")]
    Stream(&'static str),
    /// Both sides have nothing in common, or one asks for what the other does not do.
    #[error("{0}")]
    Unsupported(String),
    /// More than this side is willing to hold.
    #[error("the peer exceeds a limit: {0}")]
    Limit(&'static str),
}

impl WireError {
    /// The exit code of rsync(1), «EXIT VALUES».
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Protocol(_) => 2,
            Self::Stream(_) => 12,
            Self::Unsupported(_) => 4,
            Self::Limit(_) => 22,
        }
    }
}
