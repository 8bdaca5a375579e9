//! Sockets, as the mover's halves of a connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barge::over_rsync::{Connection, Input, Output};

use super::super::reason;

/// The mover's connection over a socket. Once `is_over` says so, an end of what comes is none of the
/// peer's making.
///
/// # Errors
///
/// Those of `dup(2)`.
pub(super) fn connection(socket: TcpStream, is_over: Arc<AtomicBool>) -> io::Result<Connection> {
    socket.set_nodelay(true)?;
    Ok(Connection {
        input: Box::new(Reads {
            socket: socket.try_clone()?,
            is_over,
        }),
        output: Box::new(Writes(socket)),
    })
}

struct Reads {
    socket: TcpStream,
    is_over: Arc<AtomicBool>,
}

impl Input for Reads {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        self.socket.set_read_timeout(patience)?;
        loop {
            return match self.socket.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) if self.is_over.load(Ordering::Acquire) => {
                    Err(io::ErrorKind::ConnectionAborted.into())
                }
                result => in_time(result),
            };
        }
    }
}

struct Writes(TcpStream);

impl Output for Writes {
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize> {
        self.0.set_write_timeout(patience)?;
        loop {
            return match self.0.write_vectored(pieces) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => in_time(result),
            };
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

/// A socket says of a wait that was too long that it would be longer.
fn in_time(result: io::Result<usize>) -> io::Result<usize> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

/// Listens to this machine alone, by both of its addresses: whoever is at the other end has shown nothing.
///
/// # Errors
///
/// In words, when the port cannot be had.
pub(super) fn listen(port: u16) -> Result<Vec<TcpListener>, String> {
    let four = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let four = four.map_err(|error| format!("listening on port {port}: {}", reason(&error)))?;
    let port = four.local_addr().map_or(port, |address| address.port());
    // Not every machine has it.
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
    Ok([four].into_iter().chain(six.ok()).collect())
}

/// Calls `take` for every connection, for ever, on threads of their own.
pub(super) fn accept(
    listeners: Vec<TcpListener>,
    take: impl Fn(TcpStream) + Clone + Send + 'static,
) {
    for listener in listeners {
        let take = take.clone();
        std::thread::spawn(move || {
            loop {
                match listener.accept() {
                    Ok((socket, _)) => take(socket),
                    // Too many open files, and their kin: it may be better in a moment.
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        });
    }
}
