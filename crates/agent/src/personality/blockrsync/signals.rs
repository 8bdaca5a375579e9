//! SIGTERM, SIGINT and SIGHUP end the process, also as the first one of a container, which the kernel
//! would not end by itself.

use std::process;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use super::log;

/// From here on a signal calls `last` and ends the process with 128 and its number, as a shell would
/// report it. Call it before there is a second thread.
pub(super) fn end_on_them(last: impl FnOnce() + Send + 'static) {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    if signals.thread_block().is_err() {
        return;
    }
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            let text = format!("ended by {signal}");
            log::error(&text);
            super::super::last_words(&text);
            last();
            process::exit(128 + signal as i32);
        }
    });
}
