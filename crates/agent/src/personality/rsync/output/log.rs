//! Log files: a client's `--log-file` and a daemon's `log file`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use barge::over_rsync::options::Options;
use barge::over_rsync::{Event, Item, Listener, RunStats};

use super::clock::{Clock, System, local_time};
use super::escape::{HighBytes, escape};
use super::format::{Facts, Format, Subject, Visit, short_name};
use super::itemize::{flag, is_significant, is_touched};
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

    /// Logs how much moved.
    pub(crate) fn finish(&self, stats: &RunStats) {
        self.write(stats::logged(stats).as_bytes());
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
    logging: Logging,
    checksum_len: Mutex<usize>,
}

/// What is logged of a run, and how.
pub(crate) struct Logging {
    /// For entries that were dealt with; without one they are not logged.
    format: Option<Format>,
    /// This side sends.
    sender: bool,
    /// A server logs what it transfers, a client what it names.
    server: bool,
    /// Its client asked it for names (`-v`), and nothing else says those of what is not transferred.
    names: bool,
    /// Attributes that were set, too.
    itemizing: bool,
    /// Entries that need nothing, too.
    unchanged: bool,
    times: bool,
    /// A copy within one machine.
    local: bool,
    visit: Option<Visit>,
}

impl Logging {
    /// What `--log-file-format` says, or the default.
    pub(crate) fn new(options: &Options, local: bool) -> Self {
        let format = options.log_file_format.as_deref().unwrap_or(b"%i %n%L");
        Self::with_format(options, Some(format), local, None)
    }

    /// What a daemon logs for a visitor: entries with `format`, when it logs transfers.
    pub(crate) fn of_daemon(
        options: &Options,
        format: Option<&[u8]>,
        visit: Option<Visit>,
    ) -> Self {
        Self::with_format(options, format, false, visit)
    }

    fn with_format(
        options: &Options,
        format: Option<&[u8]>,
        local: bool,
        visit: Option<Visit>,
    ) -> Self {
        let format = format.filter(|text| !text.is_empty()).map(Format::new);
        let has = |format: Option<&Format>| format.is_some_and(|format| format.has(b"i"));
        let asked = options.out_format.as_deref().map(Format::new);
        let server = options.server || visit.is_some();
        let is_daemon_sending = visit.is_some() && options.sender;
        // What a daemon logs is for its own format to say, not for the client's.
        let is_asked = visit.is_none() && (options.itemize > 0 || has(asked.as_ref()));
        let itemizing = is_asked || server && has(format.as_ref());
        Self {
            sender: options.sender || local,
            server,
            names: server && options.verbose > 0 && !itemizing && !is_daemon_sending,
            itemizing,
            unchanged: itemizing && (options.itemize > 1 || options.info.name > 1),
            times: options.times,
            local,
            visit,
            format,
        }
    }

    fn wants(&self, item: &Item<'_>) -> bool {
        let significant = is_significant(item.iflags);
        let transferred = item.iflags & flag::TRANSFER != 0;
        self.unchanged
            || transferred
            || significant && (self.itemizing || !self.server && is_touched(item))
    }
}

impl RunLog {
    /// Logs a run to `log`.
    pub(crate) fn new(log: Log, logging: Logging) -> Self {
        let checksum_len = Mutex::new(0);
        Self {
            log,
            logging,
            checksum_len,
        }
    }

    /// Logs one line: an error, one of the closing lines.
    pub(crate) fn write(&self, line: &[u8]) {
        self.log.write(line);
    }

    /// Logs how much moved; of a run that was not whole, rsync's receiving side does not.
    pub(crate) fn finish(&self, stats: &RunStats, code: u8) {
        if self.logging.sender || code == 0 {
            self.log.finish(stats);
        }
    }

    fn item(&self, item: &Item<'_>) {
        let subject = Subject::Item(item);
        let format = self.logging.format.as_ref();
        if let Some(format) = format.filter(|_| self.logging.wants(item)) {
            self.log.write(&format.line(&subject, &self.facts()));
        } else if self.logging.names && self.is_named(item) {
            let name = Format::new(b"%n%L").line(&subject, &self.facts());
            self.log.write(&name);
        }
    }

    fn is_named(&self, item: &Item<'_>) -> bool {
        let transferred = item.iflags & flag::TRANSFER != 0;
        !transferred && is_significant(item.iflags) && is_touched(item)
    }

    fn deleted(&self, name: &[u8], mode: u32) {
        let Some(format) = &self.logging.format else {
            return;
        };
        let line = match format.has(b"io") {
            true => format.line(&Subject::Deleted { name, mode }, &self.facts()),
            false => [b"deleting ", short_name(name, mode).as_slice()].concat(),
        };
        self.log.write(&line);
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            visit: self.logging.visit.as_ref(),
            now: self.log.clock.now(),
            local: self.logging.local,
            times: self.logging.times,
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
                self.log.write(match self.logging.sender {
                    true => b"building file list",
                    false => b"receiving file list",
                });
            }
            _ => {}
        }
    }

    fn list_line(&self, entry: &Item<'_>) -> Option<Vec<u8>> {
        Some(super::list_line(entry))
    }
}
