//! One tunnel: accepts, connects, and carries bytes between a plain and a TLS connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use barge_net::{TunnelAcceptor, TunnelConnector, TunnelStream};
use base64::Engine;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use super::conf::{Address, Service, SocketOption};
use super::log::Log;
use super::pin::Pin;
use super::relay::{self, Ended};
use crate::personality::reason;

/// A tunnel that is ready.
pub(super) struct Tunnel {
    service: Service,
    tls: Side,
    pin: Pin,
    /// Which target is tried first, with `failover = rr`.
    turn: AtomicUsize,
}

enum Side {
    Connects(TunnelConnector),
    Accepts(TunnelAcceptor),
}

/// Why a connection did not come about; told already.
struct Told;

impl Tunnel {
    /// Reads the certificates of a service.
    ///
    /// # Errors
    ///
    /// The sentence that tells what cannot be used.
    pub(super) fn new(service: Service, pin: Pin) -> Result<Self, String> {
        let trust = super::trust::of(&service, &pin)?;
        let versions = service.versions().expect("the configuration was checked");
        let tls = match (service.client, pin.shown()) {
            (true, shown) => {
                let sni = service.sni.as_deref() != Some("");
                Side::Connects(TunnelConnector::new(versions, trust, shown, sni))
            }
            (false, Some(shown)) => Side::Accepts(TunnelAcceptor::new(versions, trust, shown)),
            (false, None) => return Err("TLS server needs a certificate".to_owned()),
        };
        Ok(Self {
            service,
            tls,
            pin,
            turn: AtomicUsize::new(0),
        })
    }

    /// Listens where the service says: on all addresses of both families, where it names no host.
    ///
    /// # Errors
    ///
    /// The sentence that tells which address cannot be had.
    pub(super) fn bind(&self) -> Result<StdListener, String> {
        let address = self.service.accept.as_ref();
        let address = address.expect("the configuration was checked");
        let fails = |error: io::Error| {
            let name = &self.service.name;
            let code = error.raw_os_error().unwrap_or_default();
            format!(
                "Binding service [{name}] to {address}: {} ({code})",
                reason(&error)
            )
        };
        let listener = match &address.host {
            Some(host) => StdListener::bind((host.as_str(), address.port)),
            None => StdListener::bind((Ipv6Addr::UNSPECIFIED, address.port))
                // A host without IPv6.
                .or_else(|_| StdListener::bind((Ipv4Addr::UNSPECIFIED, address.port))),
        };
        let listener = listener.map_err(fails)?;
        listener.set_nonblocking(true).map_err(fails)?;
        Ok(listener)
    }

    /// Takes connections for ever.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener, log: Log) {
        for number in 0_u64.. {
            let accepted = listener.accept().await;
            let log = log.of(&number.to_string(), self.service.level);
            match accepted {
                Ok((tcp, peer)) => {
                    let tunnel = Arc::clone(&self);
                    tokio::spawn(async move { tunnel.carry(tcp, peer, &log).await });
                }
                Err(error) => {
                    log.error(&format!("accept: {}", reason(&error)));
                    // No descriptor is left, say: others end.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Carries one connection, to its end.
    async fn carry(&self, local: TcpStream, peer: SocketAddr, log: &Log) {
        let name = &self.service.name;
        set(&local, self.service.options.local);
        log.notice(&format!("Service [{name}] accepted connection from {peer}"));
        let carried = match &self.tls {
            Side::Connects(connector) => self.connect_tls(local, connector, log).await,
            Side::Accepts(acceptor) => self.accept_tls(local, acceptor, log).await,
        };
        let failed = !matches!(&carried, Ok(Ended { error: None, .. }));
        let how = if failed { "reset" } else { "closed" };
        let ended = carried.unwrap_or_else(|Told| Ended::default());
        if let Some(error) = &ended.error {
            log.error(error);
        }
        let (tls, plain) = (ended.to_tls, ended.to_plain);
        log.notice(&format!(
            "Connection {how}: {tls} byte(s) sent to TLS, {plain} byte(s) sent to socket"
        ));
    }

    async fn connect_tls(
        &self,
        local: TcpStream,
        connector: &TunnelConnector,
        log: &Log,
    ) -> Result<Ended, Told> {
        let service = &self.service;
        let Ok(tls) = self.reach(connector, log).await else {
            if service.reset {
                relay::reset_at_end(&local);
            }
            return Err(Told);
        };
        Ok(relay::carry(local, tls, &service.timeouts, service.reset).await)
    }

    /// The TLS peer of a client.
    async fn reach(&self, connector: &TunnelConnector, log: &Log) -> Result<TunnelStream, Told> {
        let service = &self.service;
        let (mut remote, host) = self.connect(log).await?;
        if service.by_proxy() {
            let asked = timeout(service.timeouts.busy, self.ask_proxy(&mut remote));
            let answer = asked
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            answer.map_err(|error| {
                log.error(&format!("CONNECT through the proxy: {}", reason(&error)));
                Told
            })?;
        }
        let name = service
            .sni
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or(host);
        log.info(&format!("SNI: sending servername: {name}"));
        self.shaken(connector.connect(remote, &name), log).await
    }

    async fn accept_tls(
        &self,
        local: TcpStream,
        acceptor: &TunnelAcceptor,
        log: &Log,
    ) -> Result<Ended, Told> {
        let service = &self.service;
        let tls = self.shaken(acceptor.accept(local), log).await?;
        let Ok((remote, _)) = self.connect(log).await else {
            if service.reset {
                tls.reset();
            }
            return Err(Told);
        };
        Ok(relay::carry(remote, tls, &service.timeouts, service.reset).await)
    }

    /// A handshake within its time, with a peer that is who it is to be.
    async fn shaken(
        &self,
        handshake: impl Future<Output = io::Result<TunnelStream>>,
        log: &Log,
    ) -> Result<TunnelStream, Told> {
        let shaken = timeout(self.service.timeouts.busy, handshake).await;
        let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let tls = shaken.map_err(|error| {
            log.error(&format!("TLS handshake: {}", reason(&error)));
            Told
        })?;
        log.info(&tls.agreed());
        self.pin.look(&tls, log);
        Ok(tls)
    }

    /// Connects to the first target that answers.
    async fn connect(&self, log: &Log) -> Result<(TcpStream, String), Told> {
        let targets = &self.service.connect;
        let first = match self.service.round_robin {
            true => self.turn.fetch_add(1, Ordering::Relaxed),
            false => 0,
        };
        for at in 0..targets.len() {
            let target = &targets[(first + at) % targets.len()];
            if let Some(tcp) = self.connect_to(target, log).await {
                let host = self.service.proxy.host.as_ref().unwrap_or(target);
                let host = host.host.clone().unwrap_or_else(|| LOCALHOST.to_owned());
                return Ok((tcp, host));
            }
        }
        log.error("No more addresses to connect");
        Err(Told)
    }

    async fn connect_to(&self, target: &Address, log: &Log) -> Option<TcpStream> {
        let host = target.host.as_deref().unwrap_or(LOCALHOST);
        let found = lookup_host((host, target.port)).await;
        let found = found.map_err(|error| {
            log.error(&format!("Error resolving \"{host}\": {}", reason(&error)));
        });
        for address in found.ok()? {
            log.info(&format!("s_connect: connecting {address}"));
            let connected = timeout(self.service.timeouts.connect, TcpStream::connect(address));
            let connected = connected.await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => {
                    log.notice(&format!("s_connect: connected {address}"));
                    set(&tcp, self.service.options.remote);
                    return Some(tcp);
                }
                Err(error) => {
                    let code = error.raw_os_error().unwrap_or_default();
                    let what = reason(&error);
                    log.error(&format!("s_connect: connect {address}: {what} ({code})"));
                }
            }
        }
        None
    }

    /// Asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6), and hears its answer.
    async fn ask_proxy(&self, proxy: &mut TcpStream) -> io::Result<()> {
        let asked = &self.service.proxy;
        let host = asked.host.as_ref().expect("the configuration was checked");
        let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
        if let Some(username) = &asked.username {
            let password = asked.password.as_deref().unwrap_or_default();
            let pair =
                base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
            request += &format!("Proxy-Authorization: Basic {pair}\r\n");
        }
        request += "\r\n";
        proxy.write_all(request.as_bytes()).await?;
        let head = head(proxy).await?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        match status.starts_with('2') && head.starts_with("HTTP/1.") {
            true => Ok(()),
            false => {
                let line = head.lines().next().unwrap_or_default();
                Err(io::Error::other(format!(
                    "the proxy answers «{}»",
                    line.escape_debug()
                )))
            }
        }
    }
}

/// The head of an HTTP answer. Byte by byte, since what follows is the far end's.
async fn head(proxy: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() >= LONGEST_HEAD {
            return Err(io::Error::other("the proxy's answer does not end"));
        }
        head.push(proxy.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A kernel that refuses an option still carries the bytes.
fn set(tcp: &TcpStream, option: SocketOption) {
    let _ = tcp.set_nodelay(option.nodelay);
    if option.keepalive {
        let keepalive = TcpKeepalive::new().with_time(ALIVE);
        let _ = SockRef::from(tcp).set_tcp_keepalive(&keepalive);
    }
}

const LOCALHOST: &str = "localhost";

/// Before another connection is taken, when one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// Silence after which the kernel asks whether the peer is there: routers forget in less than an hour.
const ALIVE: Duration = Duration::from_secs(60);

/// Of a proxy's answer.
const LONGEST_HEAD: usize = 16 << 10;
