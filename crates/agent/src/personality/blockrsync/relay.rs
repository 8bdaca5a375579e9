//! Carries bytes both ways between two sockets, and tells what came of it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use barge::over_blockrsync::Overheard;
use socket2::SockRef;

/// A connection through us.
#[derive(Debug)]
pub(super) struct Relay {
    source: TcpStream,
    target: TcpStream,
    /// It is to end as if it were cut.
    is_cut: AtomicBool,
    overheard: Mutex<Overheard>,
}

impl Relay {
    pub(super) fn new(source: TcpStream, target: TcpStream) -> Self {
        Self {
            source,
            target,
            is_cut: AtomicBool::new(false),
            overheard: Mutex::default(),
        }
    }

    /// Carries until both have ended. Whether the target is done: it said so, and nothing was lost.
    ///
    /// What was cut on one side is reset on the other, so that nobody takes it for the end.
    pub(super) fn run(&self) -> bool {
        thread::scope(|scope| {
            scope.spawn(|| self.carry(&self.source, &self.target, |_| ()));
            self.carry(&self.target, &self.source, |bytes| {
                self.overheard().note(bytes);
            });
        });
        let is_done = !self.is_cut() && self.overheard().is_done();
        if self.is_cut() {
            for socket in [&self.source, &self.target] {
                // Else it ends in order, which its owner has to see through.
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            }
        }
        is_done
    }

    /// Ends it as if it were cut.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        for socket in [&self.source, &self.target] {
            // Wakes who reads, and says nothing to the other end. One that is gone needs no waking.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    fn overheard(&self) -> std::sync::MutexGuard<'_, Overheard> {
        self.overheard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream, mut note: impl FnMut(&[u8])) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) if self.is_cut() => return,
                Ok(0) => {
                    if to.shutdown(Shutdown::Write).is_err() {
                        self.cut();
                    }
                    return;
                }
                Ok(count) => {
                    note(&buffer[..count]);
                    if to.write_all(&buffer[..count]).is_err() {
                        return self.cut();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.cut(),
            }
        }
    }
}
