//! What a process takes of memory at most, and a limit to that.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The program and arguments of `victim`, which can be given no more bytes of data than this.
pub(crate) fn limited(limit: usize, victim: &Command) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={limit}"));
    command.arg(victim.get_program()).args(victim.get_args());
    command
}

/// Looks at what a process and its children have taken at most.
pub(crate) struct Peak {
    is_over: Arc<AtomicBool>,
    looker: JoinHandle<usize>,
}

impl Peak {
    pub(crate) fn watch(id: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let looker = thread::spawn(move || {
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(of_family(id));
                thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        Self { is_over, looker }
    }

    pub(crate) fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.looker.join().unwrap()
    }
}

fn of_family(id: u32) -> usize {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().map(str::to_owned);
    let family = children.chain([id.to_string()]);
    family.map(|id| peak_of(&id)).max().unwrap_or(0)
}

fn peak_of(id: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.map_or(0, |kib| kib.parse::<usize>().unwrap() << 10)
}
