//! The two halves of a connection, as the mover's threads use them.

use std::io::{self, IoSlice};
use std::time::Duration;

/// What comes from the peer.
pub trait Input: Send {
    /// Waits for bytes and takes what is there; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] when nothing came within `patience`.
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize>;
}

/// What goes to the peer.
pub trait Output: Send {
    /// Waits for room and takes bytes from the front of `pieces`, in order: at least one, unless
    /// they are empty. It keeps nothing back: what it took is on its way.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] when there was no room within `patience`.
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize>;

    /// Says that nothing more will be written; what comes may still be read.
    ///
    /// # Errors
    ///
    /// Those of `shutdown(2)` or `close(2)`.
    fn close(&mut self) -> io::Result<()>;
}

/// A connection to the peer, whatever carries it.
pub struct Connection {
    /// What comes.
    pub input: Box<dyn Input>,
    /// What goes.
    pub output: Box<dyn Output>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}
