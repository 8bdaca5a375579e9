//! What a peer may do wrong.

use crate::BlockSize;

/// The conversation cannot go on: close the connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The stream ended where more must come.
    #[error("the stream ended within {0}")]
    Cut(&'static str),
    /// A stream went on after its end.
    #[error("bytes after the end of {0}")]
    Trailing(&'static str),
    /// Both sides must be started with the same block size.
    #[error("the peer's block size is {theirs}, ours is {ours}")]
    BlockSize {
        /// What the peer said.
        theirs: i64,
        /// What we were told.
        ours: BlockSize,
    },
    /// A number outside of its limits.
    #[error("{what} of {value}, which cannot be")]
    Number {
        /// The field.
        what: &'static str,
        /// What the peer said.
        value: i64,
    },
    /// The framing or its content is damaged.
    #[error("the stream is damaged: {0}")]
    Damaged(String),
    /// A stock blockrsync, where only one of ours can be.
    #[error("the peer does not greet as one of ours")]
    Stranger,
    /// What arrived is not what was sent.
    #[error("what arrived is not what was sent")]
    Digest,
}
