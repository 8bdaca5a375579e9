//! One volume of a target's proxy: which connection may write it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge::over_blockrsync::{Failure, Received, Target};

use super::line;

/// A volume that sources may come for.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) identifier: [u8; 32],
    target: Target,
    /// The connection that came last.
    last: Mutex<Option<Guest>>,
    /// Held while one is served.
    turn: Mutex<()>,
}

/// A connection, and whether another one took its place.
#[derive(Debug)]
struct Guest {
    socket: TcpStream,
    is_over: Arc<AtomicBool>,
}

impl Slot {
    pub(super) fn new(identifier: [u8; 32], target: Target) -> Self {
        Self {
            identifier,
            target,
            last: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Serves a source. One that comes while another is served takes its place: it is the same one, whose
    /// connection was lost in a way that only it has noticed.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub(super) fn serve(&self, socket: TcpStream) -> Result<Received, Failure> {
        let is_over = Arc::default();
        self.take_place(&socket, &is_over).map_err(Failure::Lost)?;
        let _turn = lock(&self.turn);
        let line = line::connection(socket, Arc::clone(&is_over)).map_err(Failure::Lost)?;
        let received = self.target.receive(line, &|_| ());
        // A socket ends when nobody has it any more.
        lock(&self.last).take_if(|guest| Arc::ptr_eq(&guest.is_over, &is_over));
        received
    }

    fn take_place(&self, socket: &TcpStream, is_over: &Arc<AtomicBool>) -> io::Result<()> {
        let guest = Guest {
            socket: socket.try_clone()?,
            is_over: Arc::clone(is_over),
        };
        if let Some(before) = lock(&self.last).replace(guest) {
            before.is_over.store(true, Ordering::Release);
            // One that is gone needs no end.
            let _ = before.socket.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    /// Where its data go, for messages.
    pub(super) fn path(&self) -> std::path::Display<'_> {
        self.target.path.display()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
