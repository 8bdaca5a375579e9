//! A TCP proxy that does harm: cuts connections, or lets them fall silent.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What happens to a connection that has carried enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Harm {
    /// Both ends see it closed.
    Cut,
    /// It stays open and carries nothing more.
    Stall,
}

/// When and how often a [`Cutter`] does harm.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// What it does.
    pub harm: Harm,
    /// Bytes a connection carries, both directions together, before it is harmed.
    pub every: u64,
    /// Connections harmed in all; later ones are carried to their end.
    pub limit: u64,
    /// Waited before each piece of at most 64 KiB is passed on.
    pub delay: Duration,
}

/// A proxy before one backend, for as long as it lives.
pub struct Cutter {
    addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    backend: SocketAddr,
    faults: Faults,
    stopped: AtomicBool,
    bytes: AtomicU64,
    connections: AtomicU64,
    harmed: AtomicU64,
}

impl Cutter {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub fn start(backend: SocketAddr, faults: Faults) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            backend,
            faults,
            stopped: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            harmed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &shared));
        Ok(Self { addr, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Bytes carried so far, both directions together.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }

    /// Connections taken so far.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Connections harmed so far.
    pub fn harmed(&self) -> u64 {
        self.state.harmed.load(Ordering::Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; when it is gone already, so is the listener.
        let _ = TcpStream::connect(self.addr);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.stopped.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(client) = client {
            // A connection that cannot be carried on is dropped, which its peer sees.
            let _ = carry(client, state);
        }
    }
}

fn carry(client: TcpStream, state: &Arc<State>) -> io::Result<()> {
    state.connections.fetch_add(1, Ordering::Relaxed);
    let server = TcpStream::connect(state.backend)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let link = Arc::new(Link::default());
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (link, state) = (Arc::clone(&link), Arc::clone(state));
        thread::spawn(move || pass(from, to, &link, &state));
    }
    Ok(())
}

/// One connection, seen from both of its directions.
#[derive(Default)]
struct Link {
    carried: AtomicU64,
    harmed: AtomicBool,
}

/// Passes one direction on until it ends or the connection is harmed.
fn pass(mut from: TcpStream, mut to: TcpStream, link: &Link, state: &State) {
    let mut piece = vec![0; 64 << 10];
    let whole = loop {
        let Ok(n) = from.read(&mut piece) else {
            break false;
        };
        if n == 0 {
            break true;
        }
        thread::sleep(state.faults.delay);
        state.count(link, n as u64);
        match state.faults.harm {
            _ if !link.harmed.load(Ordering::Relaxed) => {}
            Harm::Cut => break false,
            Harm::Stall => return stall(from),
        }
        if to.write_all(&piece[..n]).is_err() {
            break false;
        }
    };
    // Fails only when the other direction has closed the connection.
    let _ = to.shutdown(if whole {
        Shutdown::Write
    } else {
        Shutdown::Both
    });
    if !whole {
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// Takes what comes and passes nothing on, until the peer gives up.
fn stall(mut from: TcpStream) {
    let mut piece = vec![0; 64 << 10];
    while matches!(from.read(&mut piece), Ok(1..)) {}
}

impl State {
    /// Counts a piece, and marks the connection when this piece fills its share.
    fn count(&self, link: &Link, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = link.carried.fetch_add(bytes, Ordering::Relaxed);
        let every = self.faults.every;
        if (before..before + bytes).contains(&every) {
            let one_more = |n: u64| (n < self.faults.limit).then_some(n + 1);
            let taken = self
                .harmed
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
            link.harmed.fetch_or(taken.is_ok(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        addr
    }

    fn exchange(addr: SocketAddr, len: usize) -> io::Result<()> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        for _ in 0..len / 1000 {
            stream.write_all(&[7; 1000])?;
            stream.read_exact(&mut [0; 1000])?;
        }
        Ok(())
    }

    fn faults(harm: Harm) -> Faults {
        Faults {
            harm,
            every: 50_000,
            limit: 2,
            delay: Duration::ZERO,
        }
    }

    #[test]
    fn cutter_cuts_as_often_as_told_and_then_carries() {
        for harm in [Harm::Cut, Harm::Stall] {
            let cutter = Cutter::start(echo(), faults(harm)).unwrap();
            exchange(cutter.addr(), 20_000).unwrap();
            assert!(exchange(cutter.addr(), 60_000).is_err());
            assert!(exchange(cutter.addr(), 60_000).is_err());
            exchange(cutter.addr(), 200_000).unwrap();
            assert_eq!((cutter.connections(), cutter.harmed()), (4, 2));
        }
    }
}
