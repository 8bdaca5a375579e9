//! Accepts connections, and limits how many shake hands at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::AcceptError;
use crate::dial::tune;
use crate::tls::{Acceptor, Stream};

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    handshakes: Arc<Semaphore>,
}

/// A connection that has not shaken hands. Holds one of [`MAX_HANDSHAKES`] places.
#[derive(Debug)]
pub struct Incoming {
    tcp: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Listens at `addr`; port 0 lets the kernel choose.
    ///
    /// # Errors
    ///
    /// The kernel's error with the address and the remedy in its message.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(addr)
            .await
            .map_err(|error| explain(addr, error))?;
        Ok(Self {
            socket,
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
        })
    }

    /// Waits for a connection, and before that for a free place among [`MAX_HANDSHAKES`].
    ///
    /// What can go wrong concerns one connection or passes (`accept(2)`), so it is logged here.
    pub async fn accept(&self) -> Incoming {
        let place = Arc::clone(&self.handshakes).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        loop {
            match self.socket.accept().await {
                Ok((tcp, peer)) => {
                    tune(&tcp);
                    return Incoming {
                        tcp,
                        peer,
                        _place: place,
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                    debug!(%error, "connection gone before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection, going on");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The address it listens at.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Incoming {
    /// Shakes hands, and gives the place back. To be run beside the accept loop: a silent client
    /// takes as long as the acceptor's deadline.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::accept`].
    pub async fn handshake(self, acceptor: &Acceptor) -> Result<Stream, AcceptError> {
        acceptor.accept(self.tcp).await
    }

    /// The other end's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

fn explain(addr: SocketAddr, error: io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: end it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are privileged: choose a higher one, or give CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: choose one it has",
        _ => "check the address",
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen at {addr}; {remedy} ({error})"),
    )
}

/// How many connections may shake hands at once; more wait in the kernel's queue.
pub const MAX_HANDSHAKES: usize = 64;

/// Pause when the process or the machine is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listener_names_address_and_remedy_when_the_port_is_taken() {
        let first = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = first.local_addr().unwrap();
        let error = Listener::bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(
            text.contains(&addr.to_string()) && text.contains("another port"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn listener_waits_when_all_places_are_taken() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut places = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..MAX_HANDSHAKES {
            clients.push(TcpStream::connect(addr).await.unwrap());
            places.push(listener.accept().await);
        }
        clients.push(TcpStream::connect(addr).await.unwrap());
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, listener.accept()).await.is_err());
        places.pop();
        assert!(
            tokio::time::timeout(wait * 100, listener.accept())
                .await
                .is_ok()
        );
    }
}
