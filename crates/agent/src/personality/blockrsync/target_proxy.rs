//! `proxy --target`: takes connections for several volumes, and writes these.
//!
//! It is what a stock proxy and the blockrsyncs it starts are together: nothing can end before it has
//! written what it was sent.

use std::env;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use barge::Fault;
use barge::over_blockrsync::{Failure, Target};

use super::args::ProxyArgs;
use super::slot::Slot;
use super::{line, log};

/// Serves until a source has been there for each volume, to the end.
///
/// # Errors
///
/// In words: a volume that the environment does not name, a port that cannot be had.
pub(super) fn run(args: &ProxyArgs) -> Result<(), String> {
    let slots: Arc<[Slot]> = slots(args)?.into();
    let listeners = line::listen(args.listen_port)?;
    log::info(&format!(
        "listening on port {} for {} volumes",
        args.listen_port,
        slots.len()
    ));
    let (done, ends) = mpsc::channel();
    let all = Arc::clone(&slots);
    let strangers = Arc::new(AtomicUsize::new(0));
    line::accept(listeners, move |socket| {
        if strangers.fetch_add(1, Ordering::AcqRel) >= MOST_STRANGERS {
            strangers.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let (slots, done, strangers) = (Arc::clone(&all), done.clone(), Arc::clone(&strangers));
        thread::spawn(move || {
            let slot = identify(&socket, &slots);
            strangers.fetch_sub(1, Ordering::AcqRel);
            if let Some(index) = slot
                && serve(&slots[index], socket)
            {
                tell(&done, index);
            }
        });
    });
    let mut waiting: Vec<bool> = vec![true; slots.len()];
    while waiting.contains(&true) {
        let index = ends.recv().map_err(|_| "nobody listens any more")?;
        waiting[index] = false;
    }
    log::info("Successfully completed sync");
    Ok(())
}

fn tell(done: &Sender<usize>, index: usize) {
    // The process ends with its receiver.
    let _ = done.send(index);
}

/// The volumes, as the environment names them: `ID`, or `id-ID`.
fn slots(args: &ProxyArgs) -> Result<Vec<Slot>, String> {
    let slot = |identifier: &[u8; 32]| {
        let id = String::from_utf8_lossy(identifier);
        let path = env::var_os(&*id).or_else(|| env::var_os(format!("id-{id}")));
        let path = path.filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| format!("the environment has no id-{id}"))?;
        let target = Target {
            path: PathBuf::from(path),
            block: args.block_size,
            preallocate: false,
        };
        Ok(Slot::new(*identifier, target))
    };
    args.identifiers.iter().map(slot).collect()
}

/// Which volume a connection is about; `None` for one that does not say so in time: somebody looked
/// whether we listen.
fn identify(mut socket: &TcpStream, slots: &[Slot]) -> Option<usize> {
    let mut said = [0; 32];
    socket.set_read_timeout(Some(INTRODUCTION)).ok()?;
    socket.read_exact(&mut said).ok()?;
    let found = slots.iter().position(|slot| slot.identifier == said);
    if found.is_none() {
        log::info("a connection for a volume that is not here");
    }
    found
}

/// Whether that was to the end.
fn serve(slot: &Slot, socket: TcpStream) -> bool {
    match slot.serve(socket) {
        Ok(received) => {
            log::info(&format!(
                "{}: {} bytes written",
                slot.path(),
                received.bytes
            ));
            received.is_known
        }
        Err(Failure::Unused) => false,
        Err(failure) => {
            let text = format!("{}: {failure}", slot.path());
            if failure.fault() == Fault::Weather {
                log::info(&text);
            } else {
                // The source may be told, or may not understand: here it is kept.
                log::error(&text);
                super::super::last_words(&text);
            }
            false
        }
    }
}

/// How long who connects may take to say for which volume.
const INTRODUCTION: Duration = Duration::from_secs(30);

/// Connections that have not said it: more are not taken.
const MOST_STRANGERS: usize = 64;
