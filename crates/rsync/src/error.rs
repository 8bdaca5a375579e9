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
    /// The peer says a version of the protocol that no rsync we can talk to says.
    #[error(
        "protocol version mismatch -- is your shell clean?\n(see the rsync manpage for an explanation)"
    )]
    Version(u32),
    /// What was not asked for was switched on, or cannot be asked for.
    #[error("{0}")]
    Usage(String),
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
            Self::Usage(_) => 1,
            Self::Protocol(_) | Self::Version(_) => 2,
            Self::Stream(_) => 12,
            Self::Unsupported(_) => 4,
            Self::Limit(_) => 22,
        }
    }
}
