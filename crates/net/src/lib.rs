//! Carries bytes between pods: TCP, TLS, keys.
//!
//! A client dials a [`Target`] with a [`Dialer`]; a server takes connections from a [`Listener`].
//! Both ends of a [`Stream`] have shown a certificate of the same CA; there is no way to a stream
//! around that: who wants less has a [`TunnelStream`], which is another type. They have chosen the protocol `barge/1`, or named none ([`Stream::spoken`]).
//! [`make`] makes the certificates.
//!
//! Knows no file and no protocol.

mod dial;
mod error;
mod keys;
mod listen;
mod read_ahead;
mod tls;
mod tunnel;

pub use dial::{DEFAULT_PORT, DIAL_DEADLINE, Dialer, Target};
pub use error::{
    AcceptError, DialError, DialErrorKind, KeysError, Refusal, Role, TargetError, TlsError,
};
pub use keys::{VALIDITY, make};
pub use listen::{Incoming, Listener, MAX_HANDSHAKES};
pub use tls::{
    ALPN, Acceptor, Connector, HANDSHAKE_DEADLINE, Identity, Offer, Spoken, Stream, classify,
};
pub use tunnel::{Shown, Trust, TunnelAcceptor, TunnelConnector, TunnelStream, Versions};
