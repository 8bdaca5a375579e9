//! `blockrsync`: one device or image, over connections that may be lost.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use barge::Fault;
use barge::over_blockrsync::{Failure, Sent, Source, Target};

use super::args::SyncArgs;
use super::progress::Progress;
use super::{line, log};

/// Sends until the target has all.
///
/// # Errors
///
/// In words, when there is no use in going on, or there was none for long.
pub(super) fn source(args: &SyncArgs) -> Result<(), String> {
    let source = Source {
        path: args.path.clone(),
        block: args.block_size,
    };
    source.check().map_err(|failure| failure.to_string())?;
    let host = args.target_address.as_deref().unwrap_or("localhost");
    let progress = Progress::new();
    let (mut in_vain, mut changed) = (0, 0);
    loop {
        let failure = match attempt(&source, host, args.port, &progress) {
            Ok(sent) => {
                tell_end(sent);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if failure.fault() != Fault::Weather {
            return Err(failure.to_string());
        }
        if matches!(failure, Failure::Changed) {
            changed += 1;
            if changed == MOST_CHANGES {
                return Err(format!("{}, {changed} times", failure));
            }
        }
        in_vain = if progress.has_come_further() {
            0
        } else {
            in_vain + 1
        };
        if in_vain == MOST_ATTEMPTS {
            return Err(format!(
                "{failure}; given up after {in_vain} attempts in vain"
            ));
        }
        log::info(&format!("{failure}; trying again"));
        thread::sleep(delay(in_vain));
    }
}

fn attempt(source: &Source, host: &str, port: u16, progress: &Progress) -> Result<Sent, Failure> {
    progress.begin();
    let socket = TcpStream::connect((host, port)).map_err(Failure::Lost)?;
    let line = line::connection(socket, Arc::default()).map_err(Failure::Lost)?;
    source.send(line, &|event| progress.tell(event))
}

fn tell_end(sent: Sent) {
    if sent.bytes == 0 {
        log::info("sync progress 100%");
    }
    if !sent.is_confirmed {
        log::info("all was sent; whether it was written only the target knows");
    }
    log::info("Successfully completed sync");
}

/// 1, 2, 4, 8 and then 10 seconds.
fn delay(in_vain: u32) -> Duration {
    let seconds = 1 << in_vain.saturating_sub(1).min(4);
    Duration::from_secs(seconds).min(LONGEST_DELAY)
}

/// Five minutes, about.
const MOST_ATTEMPTS: u32 = 31;
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// An image that changes on every pass is in use.
const MOST_CHANGES: u32 = 4;

/// Listens until a source has brought all.
///
/// # Errors
///
/// In words, when there is no use in listening.
pub(super) fn target(args: &SyncArgs) -> Result<(), String> {
    let target = Target {
        path: args.path.clone(),
        block: args.block_size,
        preallocate: args.preallocate,
    };
    let (give, sockets) = mpsc::channel();
    line::accept(line::listen(args.port)?, move |socket| {
        // The process ends with its receiver.
        let _ = give.send(socket);
    });
    for socket in sockets {
        let Ok(line) = line::connection(socket, Arc::new(AtomicBool::new(false))) else {
            continue;
        };
        match target.receive(line, &|_| ()) {
            Ok(received) if received.is_known => {
                log::info("Successfully completed sync");
                return Ok(());
            }
            Ok(_) => log::info("all is written, and the source may not know: it may come again"),
            Err(Failure::Unused) => {}
            Err(failure) if failure.fault() == Fault::Weather => {
                log::info(&format!("{failure}; waiting for the source to come again"));
            }
            Err(failure) => return Err(failure.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_at_longer_and_longer_delays_up_to_a_limit() {
        let delays: Vec<u64> = (0..8).map(|count| delay(count).as_secs()).collect();
        assert_eq!(delays, [1, 1, 2, 4, 8, 10, 10, 10]);
        let all: Duration = (1..MOST_ATTEMPTS).map(delay).sum();
        assert_eq!(all.as_secs(), 15 + 26 * 10);
    }
}
