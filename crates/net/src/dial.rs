//! A name becomes a connected stream, within a deadline.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::tls::{Connector, Stream};
use crate::{DialError, DialErrorKind, TargetError};

/// Where to dial: a host's name or address, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// Reads `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`; the port is [`DEFAULT_PORT`] when
    /// absent and never 0.
    ///
    /// # Errors
    ///
    /// [`TargetError`] when the text has none of these forms.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        Self::split(text).ok_or_else(|| TargetError(text.to_owned()))
    }

    fn split(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (
                    host,
                    (!port.is_empty())
                        .then(|| port.strip_prefix(':'))
                        .map(|p| p.unwrap_or("")),
                )
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return None;
        }
        let port = match port {
            Some(digits) => digits.parse().ok().filter(|&port| port != 0)?,
            None => DEFAULT_PORT,
        };
        Some(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Dials one target, as often as asked.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// Where to.
    pub target: Target,
    /// For everything: name, connection and handshake.
    pub deadline: Duration,
    /// Who we are, and whom we expect.
    pub connector: Connector,
}

impl Dialer {
    /// Dials `target` with [`DIAL_DEADLINE`].
    pub fn new(target: Target, connector: Connector) -> Self {
        Self {
            target,
            deadline: DIAL_DEADLINE,
            connector,
        }
    }

    /// Connects, and lets both ends verify each other.
    ///
    /// In TLS 1.3 a client is done before the server has seen its certificate: a refusal shows
    /// itself as an error of the first read, and [`crate::classify`] knows it.
    ///
    /// # Errors
    ///
    /// [`DialError`]; its `is_final` says whether dialling again can help.
    pub async fn dial(&self) -> Result<Stream, DialError> {
        let until = Instant::now() + self.deadline;
        let attempt = async {
            let tcp = self.connect(until).await?;
            self.connector.connect(tcp, &self.target.host).await
        };
        match timeout_at(until, attempt).await {
            Ok(result) => result,
            Err(_) => Err(DialError::new(DialErrorKind::Deadline(self.deadline), None)),
        }
    }

    /// Tries the addresses in turn, each with its share of the time left.
    async fn connect(&self, until: Instant) -> Result<TcpStream, DialError> {
        let addrs = self.resolve().await?;
        let mut failed = None;
        for (tried, &addr) in addrs.iter().enumerate() {
            let share =
                until.saturating_duration_since(Instant::now()) / (addrs.len() - tried) as u32;
            match timeout(share, TcpStream::connect(addr))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(tcp) => {
                    tune(&tcp);
                    return Ok(tcp);
                }
                Err(error) => {
                    debug!(peer = %addr, %error, "no connection to this address");
                    failed = Some(DialError::new(DialErrorKind::Connect { addr }, Some(error)));
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.unresolved(None)))
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        match lookup_host((self.target.host.as_str(), self.target.port)).await {
            Ok(addrs) => Ok(addrs.collect()),
            Err(error) => Err(self.unresolved(Some(error))),
        }
    }

    fn unresolved(&self, source: Option<io::Error>) -> DialError {
        DialError::new(
            DialErrorKind::Resolve {
                host: self.target.host.clone(),
            },
            source,
        )
    }
}

/// Sets what every connection wants: no delay for small frames, and word of a vanished peer.
///
/// A kernel that refuses an option still carries the bytes.
pub(crate) fn tune(tcp: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    let set = tcp
        .set_nodelay(true)
        .and(SockRef::from(tcp).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        debug!(%error, "socket option refused");
    }
}

/// The port of a passthrough route.
pub const DEFAULT_PORT: u16 = 443;

/// How long a dial may take unless told otherwise.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// Silence after which the kernel asks whether the peer is there (`TCP_KEEPIDLE`, `tcp(7)`);
/// below the idle limits of common load balancers.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Time between two such questions (`TCP_KEEPINTVL`); the ninth unanswered one ends the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_reads_names_addresses_and_ports() {
        for (text, host, port) in [
            ("example.org", "example.org", 443),
            ("example.org:8443", "example.org", 8443),
            ("192.0.2.1", "192.0.2.1", 443),
            ("[2001:db8::1]", "2001:db8::1", 443),
            ("[2001:db8::1]:1", "2001:db8::1", 1),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.host(), target.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn target_refuses_text_that_is_none() {
        for text in [
            "",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:-1",
            "a:b",
            "2001:db8::1",
            "[2001:db8::1",
            "[]",
            "[::1]443",
            "[::1]:",
            "[a]:1",
            "https://a",
            "a b",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
