//! What goes wrong between two pods, and which of it dialling again cannot mend.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// Which end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Who accepted it.
    Server,
    /// Who opened it.
    Client,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// Why a folder holds no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of the three is not there.
    #[error(
        "{path:?} does not exist: name a folder with tls.crt, tls.key and ca.crt, as `barge keys` makes them"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file of the three cannot be read.
    #[error("{path:?} cannot be read: let the user barge runs as read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What `read(2)` or `open(2)` said.
        source: io::Error,
    },
    /// A file holds no certificate in PEM form, or one that is none.
    #[error("{path:?} holds no valid certificate: put one there in PEM form (BEGIN CERTIFICATE)")]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser said; `None` when the file holds no such section.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A file holds no private key that can be used.
    #[error(
        "{path:?} holds no usable private key: put one there in PEM form (PKCS#8, PKCS#1 or SEC1), unencrypted"
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Certificate and key are not a pair.
    #[error("{key:?} is not the key of {certificate:?}: take both from the same identity")]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
}

/// Why no keys were made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file of an identity is there already.
    #[error("{path:?} exists and is not overwritten: name another folder, or remove the old keys")]
    Exists {
        /// The first such file.
        path: PathBuf,
    },
    /// A host is neither a DNS name nor an IP address.
    #[error("{host:?} is neither a DNS name nor an IP address: name the host as clients dial it")]
    Host {
        /// What was given.
        host: String,
    },
    /// A file or folder could not be written.
    #[error("{path:?} cannot be written")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the call said.
        source: io::Error,
    },
    /// Making a key or signing a certificate failed.
    #[error("no key could be made")]
    Crypto(#[source] Box<dyn Error + Send + Sync>),
}

/// Why text is no target.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no target: write HOST or HOST:PORT, an IPv6 address in brackets")]
pub struct TargetError(pub(crate) String);

/// Why one end will not have the other; dialling again leads to the same.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The answer was no TLS.
    #[error(
        "the peer does not speak TLS: check host and port; a plain HTTP server or rsync daemon may be listening there"
    )]
    NotTls,
    /// TLS, but not `barge/1` in it.
    #[error(
        "the peer is no barge (it did not choose barge/1): check host, port and the route's passthrough"
    )]
    NotBarge,
    /// No version or cipher in common.
    #[error(
        "the peer has no TLS 1.3 cipher in common with us: run barge at both ends, with nothing in between that ends TLS"
    )]
    Incompatible,
    /// The peer's certificate is too old.
    #[error("the {whose}'s certificate expired on {on}: make new keys with `barge keys`")]
    Expired {
        /// The peer.
        whose: Role,
        /// The last day it was valid, `YYYY-MM-DD`, UTC.
        on: String,
    },
    /// The peer's certificate is from the future.
    #[error(
        "the {whose}'s certificate is valid only from {from}: set the clocks, or make new keys with `barge keys`"
    )]
    NotYetValid {
        /// The peer.
        whose: Role,
        /// The first day, `YYYY-MM-DD`, UTC.
        from: String,
    },
    /// The peer's certificate is of another CA.
    #[error(
        "the {whose}'s certificate is not signed by our CA (ca.crt): give both ends keys of the same `barge keys` run"
    )]
    OtherCa {
        /// The peer.
        whose: Role,
    },
    /// The server's certificate is for other names.
    #[error(
        "the server's certificate is not for {name}: make keys with `--host {name}`, or dial the name it is for with `--server-name`"
    )]
    WrongName {
        /// The name that was expected.
        name: String,
    },
    /// A client's certificate used by a server, or the reverse.
    #[error(
        "the {whose}'s certificate is not made for a {whose}: give it the folder {whose}/ that `barge keys` made"
    )]
    WrongPurpose {
        /// The peer.
        whose: Role,
    },
    /// The peer's certificate is broken in another way.
    #[error("the {whose}'s certificate is not acceptable: make new keys with `barge keys`")]
    BadCertificate {
        /// The peer.
        whose: Role,
    },
    /// The peer has no certificate.
    #[error(
        "the {whose} presented no certificate: give it the folder {whose}/ that `barge keys` made"
    )]
    NoCertificate {
        /// The peer.
        whose: Role,
    },
    /// The peer found our certificate expired.
    #[error(
        "the peer says that our certificate (tls.crt) has expired: make new keys with `barge keys`"
    )]
    OursExpired,
    /// The peer does not know our CA.
    #[error(
        "the peer does not know the CA of our certificate (tls.crt): give both ends keys of the same `barge keys` run"
    )]
    OursOtherCa,
    /// The peer will not have our certificate for another reason.
    #[error(
        "the peer refused our certificate (tls.crt) with the alert {alert}: give each end its own folder of the same `barge keys` run"
    )]
    OursRefused {
        /// The alert's name in RFC 8446, section 6.
        alert: &'static str,
    },
    /// No server of that name behind the address.
    #[error("the peer has no server of the name we asked for: check host and `--server-name`")]
    UnknownName,
}

/// Why a dial led to no stream.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct DialError {
    kind: DialErrorKind,
    source: Option<io::Error>,
}

/// What kind of failure a [`DialError`] is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DialErrorKind {
    /// The name to expect in the server's certificate is no name.
    #[error("{name:?} is neither a DNS name nor an IP address: check host and `--server-name`")]
    Name {
        /// What was given.
        name: String,
    },
    /// No address was found.
    #[error("{host} has no address: check the name and the pod's DNS")]
    Resolve {
        /// The host.
        host: String,
    },
    /// No address took the connection; the last one is named.
    #[error("{addr} took no connection: check that the server or its route is up")]
    Connect {
        /// The address tried last.
        addr: SocketAddr,
    },
    /// No stream within the time given.
    #[error("no answer within {0:?}: check that host and port lead to `barge serve`")]
    Deadline(Duration),
    /// The peer closed during the handshake, as a route does that has no server behind it.
    #[error(
        "the connection was closed during the handshake: check that the server behind the route is up"
    )]
    Closed,
    /// The connection broke during the handshake.
    #[error("the connection broke during the handshake: check the network between the clusters")]
    Broken,
    /// One end will not have the other.
    #[error("{0}")]
    Refused(Refusal),
}

impl DialError {
    pub(crate) fn new(kind: DialErrorKind, source: Option<io::Error>) -> Self {
        Self { kind, source }
    }

    /// What kind of failure.
    pub fn kind(&self) -> &DialErrorKind {
        &self.kind
    }

    /// Whether dialling again must fail in the same way.
    pub fn is_final(&self) -> bool {
        matches!(
            self.kind,
            DialErrorKind::Name { .. } | DialErrorKind::Refused(_)
        )
    }
}

impl From<Refusal> for DialError {
    fn from(refusal: Refusal) -> Self {
        Self::new(DialErrorKind::Refused(refusal), None)
    }
}

/// Why an accepted connection became no stream. None of these concerns the next connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It closed without a byte: a scanner, or a load balancer's probe.
    #[error("the connection closed without a byte")]
    Probe,
    /// No handshake within the time given.
    #[error("no handshake within {0:?}")]
    Deadline(Duration),
    /// It made way for a newer one: more were shaking hands than there are places.
    #[error("no handshake before many newer connections came")]
    Crowded,
    /// The connection broke during the handshake.
    #[error("the connection broke during the handshake")]
    Broken(#[source] io::Error),
    /// One end will not have the other.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What TLS said; `None` when its handshake was in order.
        source: Option<io::Error>,
    },
}
