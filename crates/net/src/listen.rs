//! Accepts connections, and limits how many shake hands at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::AcceptError;
use crate::dial::tune;
use crate::tls::{Acceptor, Stream};

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// A word to each connection that shakes hands, the oldest first: to make way.
    places: Mutex<VecDeque<oneshot::Sender<()>>>,
}

/// A connection that has not shaken hands. Holds one of [`MAX_HANDSHAKES`] places.
#[derive(Debug)]
pub struct Incoming {
    tcp: TcpStream,
    peer: SocketAddr,
    make_way: oneshot::Receiver<()>,
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
            places: Mutex::default(),
        })
    }

    /// Waits for a connection, and gives it one of [`MAX_HANDSHAKES`] places. When all are taken, the
    /// handshake that has taken longest makes way: an honest one is soon over, and who stays silent
    /// keeps nobody out.
    ///
    /// What can go wrong concerns one connection or passes (`accept(2)`), so it is logged here.
    pub async fn accept(&self) -> Incoming {
        loop {
            match self.socket.accept().await {
                Ok((tcp, peer)) => {
                    tune(&tcp);
                    return Incoming {
                        tcp,
                        peer,
                        make_way: self.place(),
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

    fn place(&self) -> oneshot::Receiver<()> {
        let (word, make_way) = oneshot::channel();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|taken| !taken.is_closed());
        if places.len() >= MAX_HANDSHAKES
            && let Some(oldest) = places.pop_front()
        {
            let _ = oldest.send(());
        }
        places.push_back(word);
        make_way
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
    /// As [`Acceptor::accept`], and [`AcceptError::Crowded`] when it had to make way.
    pub async fn handshake(self, acceptor: &Acceptor) -> Result<Stream, AcceptError> {
        tokio::select! {
            stream = acceptor.accept(self.tcp) => stream,
            Ok(()) = self.make_way => Err(AcceptError::Crowded),
        }
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

/// How many connections may shake hands at once.
pub const MAX_HANDSHAKES: usize = 256;

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
}
