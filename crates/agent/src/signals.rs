//! SIGTERM and SIGINT begin the drain; a second one does not wait for it.

use std::io;
use std::process;
use std::time::Duration;

use barge::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tracing::warn;

/// Lets the first SIGTERM or SIGINT stop `stop`, and a later one end the process at once with
/// 128 and the signal's number, as a shell would report it.
///
/// # Errors
///
/// As `sigaction(2)`.
pub(crate) fn stop_on_signals(stop: Stop) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        warn!("interrupted: draining; a second signal ends at once");
        stop.stop();
        let first = Instant::now();
        loop {
            let later = next(&mut terminate, &mut interrupt).await;
            if first.elapsed() > SAME_WISH {
                process::exit(128 + later.as_raw_value());
            }
        }
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}

/// Signals this close together are one: timeout(1) signals a process and then its whole group.
const SAME_WISH: Duration = Duration::from_secs(1);
