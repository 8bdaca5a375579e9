//! SIGINT, SIGTERM and SIGHUP end a run: its connection fails, it clears up, and exits with code 20.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// The exit code of a run that was interrupted.
pub(super) const EXIT: u8 = 20;

static CAUGHT: AtomicBool = AtomicBool::new(false);
static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Closed at its other end when a signal has come.
static BELL: OnceLock<OwnedFd> = OnceLock::new();

/// Catches the signals from here on. Call it before there is a second thread; programs that are
/// started do not inherit it.
///
/// # Errors
///
/// Those of `pipe(2)`.
pub(super) fn catch() -> io::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    let (bell, rope) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    signals.thread_block()?;
    if BELL.set(bell).is_err() {
        return Ok(());
    }
    std::thread::Builder::new().spawn(move || {
        if let Ok(signal) = signals.wait() {
            TERMINATED.store(signal == Signal::SIGTERM, Ordering::Release);
            CAUGHT.store(true, Ordering::Release);
            drop(rope);
        }
        // Who insists does not want to wait for anything to be cleared up.
        if signals.wait().is_ok() {
            std::process::exit(EXIT.into());
        }
    })?;
    Ok(())
}

/// Whether a signal has come, and it was SIGTERM: to a daemon that listens that is no failure.
pub(super) fn terminated() -> bool {
    TERMINATED.load(Ordering::Acquire)
}

/// Whether a signal has come.
pub(super) fn caught() -> bool {
    CAUGHT.load(Ordering::Acquire)
}

/// Readable once a signal has come.
pub(super) fn bell() -> Option<BorrowedFd<'static>> {
    BELL.get().map(|bell| bell.as_fd())
}
