//! What a peer may do wrong.

/// The peer broke the protocol. The stream cannot be resynchronised: close the connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message ended within a field.
    #[error("a message ended within {0}")]
    Truncated(&'static str),
    /// A message went on after its last field.
    #[error("{0} bytes too many in a message")]
    Trailing(usize),
    /// A number or length beyond its limit.
    #[error("{what} of {value} is beyond the limit of {limit}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// What the peer said.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A value with no meaning in this version.
    #[error("{what} has the value {value}, which means nothing")]
    Unknown {
        /// The field.
        what: &'static str,
        /// What the peer said.
        value: u64,
    },
    /// A name, an owner, a time that no Linux file can have.
    #[error("{0} that no file can have")]
    Invalid(&'static str),
    /// A message that may not come now.
    #[error("{0} out of order")]
    Order(&'static str),
    /// The peer does not speak this protocol.
    #[error("the peer is no barge")]
    NotBarge,
}
