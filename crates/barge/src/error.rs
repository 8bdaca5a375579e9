//! Why a run stopped, and who has to act.

use std::io;

use barge_native::ProtocolError;

/// Who has to act on an error: the one question callers ask of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The caller: what was asked for cannot be begun.
    Request,
    /// Whoever made the identities: a peer could not be verified.
    Identity,
    /// Whoever chose the peer: it is no barge, or none we can talk to, or it broke the protocol.
    Peer,
    /// Nobody: the connection was lost; try again later.
    Weather,
    /// The operator of the target: it is full or read-only.
    Operator,
    /// Whoever interrupted the run.
    Interrupted,
    /// Us.
    Bug,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source cannot be read, the volume cannot be written.
    #[error("{what}: {source}")]
    Root {
        /// Which directory, and what to do.
        what: String,
        /// The call that failed.
        source: barge_fs::Error,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// The server says no.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The peer broke the protocol, or speaks none.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The peer speaks no version that we speak.
    #[error("{0}")]
    Version(String),
    /// Dialling failed for good, or too often.
    #[error("{text}")]
    Dial {
        /// What the transport says.
        text: String,
        /// Who has to act.
        fault: Fault,
    },
    /// The connection was lost and could not be made again.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// What was written could not be made durable.
    #[error("the volume could not be made durable: {0}")]
    NotDurable(#[source] barge_fs::Error),
    /// The target can take nothing more.
    #[error("the target can take nothing more: {0}")]
    TargetFull(String),
    /// The peer ended the run.
    #[error("the other side ended the run: {0}")]
    Aborted(String),
    /// The run was interrupted, here or at the other side.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// A thread or task of ours is gone.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What to tell the other side, which puts its own words before it.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::TargetFull(text) | Self::Aborted(text) | Self::Interrupted(text) => text.clone(),
            error => error.to_string(),
        }
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Root { .. } | Self::Request(_) | Self::Refused(_) => Fault::Request,
            Self::Protocol(_) | Self::Version(_) => Fault::Peer,
            Self::Dial { fault, .. } => *fault,
            Self::Lost(_) => Fault::Weather,
            Self::TargetFull(_) | Self::NotDurable(_) => Fault::Operator,
            Self::Interrupted(_) => Fault::Interrupted,
            Self::Aborted(_) | Self::Internal(_) => Fault::Bug,
        }
    }
}

/// Why a stream of bytes could not be had from the transport.
#[derive(Debug)]
pub struct DialError {
    /// The whole reason, for a person.
    pub text: String,
    /// [`Fault::Weather`] is tried again; all others are final.
    pub fault: Fault,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self {
            text: error.to_string(),
            fault: Fault::Weather,
        }
    }
}
