//! Log files: a client's `--log-file` and a daemon's `log file`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use barge::over_rsync::{Event, Item, Listener, RunStats};

use super::clock::{Clock, System, local_time};
use super::escape::{HighBytes, escape};
use super::format::{Facts, Format, Subject, Visit, short_name};
use super::itemize::{flag, is_significant};
use super::stats;

/// A file of lines with time and process in front of each. Clones write to the same file.
#[derive(Clone)]
pub(crate) struct Log {
    file: Arc<Mutex<Box<dyn Write + Send>>>,
    clock: Arc<dyn Clock>,
}

impl Log {
    /// Appends to the file at `path`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// As `open(2)`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file: File = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self::of(Box::new(file), Arc::new(System::new())))
    }

    pub(super) fn of(file: Box<dyn Write + Send>, clock: Arc<dyn Clock>) -> Self {
        // While names of zones can be looked up.
        let _ = super::clock::zone();
        let file = Arc::new(Mutex::new(file));
        Self { file, clock }
    }

    /// Writes one line, with its newline or without. It may come from a peer: it is escaped.
    pub(crate) fn write(&self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        let time = local_time(self.clock.now(), ' ');
        let mut text = format!("{time} [{}] ", std::process::id()).into_bytes();
        escape(&mut text, line, HighBytes::Log);
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end a transfer; stock rsync does not look either.
        let _ = file.write_all(&text);
    }
}

/// What one run puts into a log.
pub(crate) struct RunLog {
    log: Log,
    /// For entries that were dealt with.
    format: Option<Format>,
    sender: bool,
    /// A daemon names what its client asked to hear of (`-v`) and the format says nothing of.
    names: bool,
    unchanged: bool,
    times: bool,
    local: bool,
    visit: Option<Visit>,
    checksum_len: Mutex<usize>,
}

/// What is logged of a run.
pub(crate) struct Logging {
    /// `--log-file-format`, `log format`; empty or absent: entries are not logged.
    pub(crate) format: Option<Vec<u8>>,
    /// This side sends.
    pub(crate) sender: bool,
    /// `-v`, where a client of a daemon gave it and no format of its own.
    pub(crate) names: bool,
    /// Entries that need nothing, too (`-ii`, `-vv`).
    pub(crate) unchanged: bool,
    /// Times of modification are kept.
    pub(crate) times: bool,
    /// A copy within one machine.
    pub(crate) local: bool,
    /// On a daemon, who came and where to.
    pub(crate) visit: Option<Visit>,
}

impl RunLog {
    /// Logs a run to `log`.
    pub(crate) fn new(log: Log, logging: Logging) -> Self {
        let format = logging.format.filter(|text| !text.is_empty());
        Self {
            log,
            format: format.map(|text| Format::new(&text)),
            sender: logging.sender,
            names: logging.names,
            unchanged: logging.unchanged,
            times: logging.times,
            local: logging.local,
            visit: logging.visit,
            checksum_len: Mutex::new(0),
        }
    }

    /// Logs one line: an error, one of the closing lines.
    pub(crate) fn write(&self, line: &[u8]) {
        self.log.write(line);
    }

    /// Logs how much moved.
    pub(crate) fn finish(&self, stats: &RunStats) {
        self.log.write(stats::logged(stats).as_bytes());
    }

    fn item(&self, item: &Item<'_>) {
        let itemizing = self.format.as_ref().is_some_and(|format| format.has(b"i"));
        let wanted = match itemizing {
            true => self.unchanged || is_significant(item.iflags),
            false => item.iflags & flag::TRANSFER != 0,
        };
        if let Some(format) = self.format.as_ref().filter(|_| wanted) {
            self.log
                .write(&format.line(&Subject::Item(item), &self.facts()));
        } else if self.names && !itemizing && is_significant(item.iflags) {
            let arrow = Format::new(b"%n%L").line(&Subject::Item(item), &self.facts());
            self.log.write(&arrow);
        }
    }

    fn deleted(&self, name: &[u8], mode: u32) {
        let Some(format) = &self.format else { return };
        let line = match format.has(b"io") {
            true => format.line(&Subject::Deleted { name, mode }, &self.facts()),
            false => [b"deleting ", short_name(name, mode).as_slice()].concat(),
        };
        self.log.write(&line);
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            visit: self.visit.as_ref(),
            now: self.log.clock.now(),
            local: self.local,
            times: self.times,
            checksum_len: *self
                .checksum_len
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Listener for RunLog {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Line { text, .. } => self.log.write(text),
            Event::Item(item) => self.item(&item),
            Event::Deleted { name, mode } => self.deleted(name, mode),
            Event::ListBegins { checksum_len, .. } => {
                *self
                    .checksum_len
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = checksum_len;
                self.log.write(match self.sender {
                    true => b"building file list",
                    false => b"receiving file list",
                });
            }
            _ => {}
        }
    }
}
