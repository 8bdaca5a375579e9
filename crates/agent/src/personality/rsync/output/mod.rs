//! What a run of rsync(1) prints and logs.
//!
//! The lines are those of rsync 3.5.0, byte for byte, for they are read by programs. Two things
//! differ, both deliberately: control characters from U+0080 to U+009F in names are escaped also
//! where the terminal is UTF-8, and the line that tells a failed run's exit code names our version
//! and our file where rsync names its own.

mod clock;
pub(crate) mod ending;
mod escape;
mod format;
mod itemize;
mod last_words;
mod list;
mod listing;
mod log;
mod number;
mod progress;
mod screen;
mod stats;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use barge::over_rsync::options::Options;
use barge::over_rsync::{Event, Item, Level, Listener, Position, RunStats, Stderr};

use self::clock::{Clock, System};
use self::escape::{HighBytes, escape};
pub(crate) use self::format::Visit;
use self::format::{Facts, Format, Subject, short_name};
use self::itemize::{flag, is_significant, is_touched};
use self::last_words::LastWords;
use self::listing::Listing;
pub(crate) use self::log::{Log, Logging, RunLog};
use self::progress::{Lists, Progress, Scope};
pub(crate) use self::screen::Screen;

/// What a server says to its client of an entry that is listed: numbers are grouped, whatever the client
/// wants of them.
pub(crate) fn list_line(entry: &Item<'_>) -> Vec<u8> {
    list::line(entry, 1)
}

/// A client's output: what it prints, and what it logs of it.
pub(crate) struct Output {
    style: Style,
    log: Option<RunLog>,
    clock: Box<dyn Clock>,
    began: i64,
    shown: Mutex<Shown>,
}

/// What a run shows, and how: its options, looked at once.
struct Style {
    quiet: bool,
    dry_run: bool,
    local: bool,
    human: u8,
    times: bool,
    high: HighBytes,
    /// `--out-format`, or what `-v` and `-i` stand for.
    format: Format,
    names: u8,
    itemizing: bool,
    unchanged: bool,
    deletions: bool,
    stats: u8,
}

struct Shown {
    screen: Screen,
    listing: Listing,
    progress: Option<Progress>,
    /// `--info=progress`: 0, 1, or 2.
    progress_level: u8,
    lists: Lists,
    checksum_len: usize,
    /// The present file's line has been written.
    started: bool,
    last_words: LastWords,
}

impl Output {
    /// Shows a run with these options; `local` when both of its ends are on this machine.
    pub(crate) fn new(options: &Options, local: bool, screen: Screen, log: Option<RunLog>) -> Self {
        let screen = match options.stderr.as_deref() {
            Some("all") => screen.all_to_stderr(),
            _ => screen,
        };
        Self::with_clock(options, local, screen, log, Box::new(System::new()))
    }

    fn with_clock(
        options: &Options,
        local: bool,
        screen: Screen,
        log: Option<RunLog>,
        clock: Box<dyn Clock>,
    ) -> Self {
        let scope = match options.info.progress {
            0 => None,
            1 => Some(Scope::File),
            _ => Some(Scope::Run),
        };
        let scope = scope.filter(|_| !options.quiet);
        let shown = Shown {
            screen,
            // Who copies or lists here also looks at the source.
            listing: Listing::new(level_of_list(options), options.sender || local),
            progress: scope.map(|scope| Progress::new(scope, options.human_readable)),
            progress_level: options.info.progress,
            lists: Lists::default(),
            checksum_len: 0,
            started: false,
            last_words: LastWords::default(),
        };
        Self {
            style: Style::new(options, local),
            log,
            began: clock.now(),
            clock,
            shown: Mutex::new(shown),
        }
    }

    /// The closing lines, for a run that came to its end, with errors or without.
    pub(crate) fn finish(&self, stats: &RunStats, code: u8) {
        let style = &self.style;
        let block = (style.stats >= 2).then(|| stats::block(stats, style.human));
        let seconds = self.clock.now() - self.began;
        let closing = stats::closing(stats, style.human, seconds, style.dry_run);
        let closing = (style.stats >= 1).then_some(closing);
        match (&self.log, &closing) {
            (Some(log), None) => log.finish(stats, code),
            _ => self.info_lines(block.iter().chain(&closing)),
        }
        self.shown().screen.line(&[]);
    }

    /// Paragraphs with an empty line before each, logged and printed line by line.
    fn info_lines<'a>(&self, paragraphs: impl Iterator<Item = &'a String>) {
        for paragraph in paragraphs {
            self.info(b"\n");
            for line in paragraph.split_inclusive('\n') {
                self.info(line.as_bytes());
            }
        }
    }

    fn info(&self, line: &[u8]) {
        self.log_line(line);
        if !self.style.quiet {
            self.shown().screen.line(line);
        }
    }

    /// The last line of a run that did not go well: [`ending::line`].
    pub(crate) fn fail(&self, code: u8, role: &str) {
        let text = ending::line(code, role);
        self.log_line(text.as_bytes());
        let mut shown = self.shown();
        shown.last_words.add(text.as_bytes());
        shown.screen.last_words(text.as_bytes());
        shown.screen.line(&[]);
    }

    /// Why the run failed: the last of its errors, some lines of text.
    pub(crate) fn last_words(&self) -> String {
        self.shown().last_words.text()
    }

    fn log_line(&self, text: &[u8]) {
        if let Some(log) = &self.log {
            log.write(text);
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self, checksum_len: usize) -> Facts<'_> {
        Facts {
            visit: None,
            now: self.clock.now(),
            local: self.style.local,
            times: self.style.times,
            checksum_len,
        }
    }

    fn line(&self, level: Level, text: &[u8]) {
        let escaped = escaped_line(text, self.style.high);
        match level {
            Level::Info if self.style.quiet => {}
            Level::Info => self.shown().screen.line(&escaped),
            _ => {
                let mut shown = self.shown();
                shown.last_words.add(&escaped);
                shown.screen.error(&escaped);
            }
        }
    }

    fn print(&self, shown: &mut Shown, line: &[u8]) {
        let mut escaped = Vec::with_capacity(line.len() + 1);
        escape(&mut escaped, line, self.style.high);
        escaped.push(b'\n');
        shown.screen.line(&escaped);
    }

    fn starts(&self, item: &Item<'_>) {
        let mut shown = self.shown();
        if !self.style.shows(item) {
            return;
        }
        if self.style.format.is_early() {
            let facts = self.facts(shown.checksum_len);
            let line = self.style.format.line(&Subject::Item(item), &facts);
            self.print(&mut shown, &line);
            shown.started = true;
        } else if self.style.names > 0 && shown.progress_level == 1 {
            self.print(&mut shown, item.name);
        }
    }

    fn item(&self, item: &Item<'_>) {
        let mut shown = self.shown();
        let started = item.iflags & flag::TRANSFER != 0 && std::mem::take(&mut shown.started);
        if self.style.shows(item) && !started {
            let facts = self.facts(shown.checksum_len);
            let line = self.style.format.line(&Subject::Item(item), &facts);
            self.print(&mut shown, &line);
        }
    }

    fn deleted(&self, name: &[u8], mode: u32) {
        let mut shown = self.shown();
        if self.style.quiet || !self.style.deletions {
            return;
        }
        let line = match self.style.format.has(b"io") {
            true => {
                let facts = self.facts(shown.checksum_len);
                self.style
                    .format
                    .line(&Subject::Deleted { name, mode }, &facts)
            }
            false => [b"deleting ", short_name(name, mode).as_slice()].concat(),
        };
        self.print(&mut shown, &line);
    }
}

/// What takes the words that a server says to its own standard error.
pub(crate) fn stderr_of_server(options: &Options) -> Stderr {
    let high = HighBytes::of_terminal(options.eight_bit_output);
    Arc::new(move |text| {
        // There is nobody else to tell.
        let _ = io::stderr().write_all(&escaped_line(text, high));
    })
}

/// A line as it is shown, with its newline or without; one within is part of some name.
fn escaped_line(text: &[u8], high: HighBytes) -> Vec<u8> {
    let (line, newline) = match text {
        [line @ .., b'\n'] => (line, "\n"),
        line => (line, ""),
    };
    let mut escaped = Vec::with_capacity(text.len());
    escape(&mut escaped, line, high);
    escaped.extend_from_slice(newline.as_bytes());
    escaped
}

impl Style {
    fn new(options: &Options, local: bool) -> Self {
        let given = options.out_format.as_deref();
        let format = match given {
            Some(text) => Format::new(text),
            None if options.itemize > 0 => Format::new(b"%i %n%L"),
            None => Format::new(b"%n%L"),
        };
        let itemizing = format.has(b"i");
        let names = options.info.name;
        Self {
            quiet: options.quiet,
            dry_run: options.dry_run,
            local,
            human: options.human_readable,
            times: options.times,
            high: HighBytes::of_terminal(options.eight_bit_output),
            itemizing,
            names: names.max(options.itemize.min(1)),
            unchanged: itemizing && (options.itemize > 1 || names > 1),
            deletions: names > 0 || options.itemize > 0 || options.info.del > 0,
            stats: options.info.stats,
            format,
        }
    }

    /// Whether an entry that was dealt with is printed.
    fn shows(&self, item: &Item<'_>) -> bool {
        let significant = is_significant(item.iflags) && (self.itemizing || is_touched(item));
        !self.quiet && self.names > 0 && (self.unchanged || significant)
    }
}

impl Listener for Output {
    fn event(&self, event: Event<'_>) {
        if let Event::Line { text, .. } = &event {
            self.log_line(text);
        }
        self.show(&event);
        match (&self.log, &event) {
            (None, _) | (_, Event::Line { .. }) => {}
            (Some(log), _) => log.event(event),
        }
    }
}

impl Output {
    fn show(&self, event: &Event<'_>) {
        match event {
            Event::Line { level, text } => self.line(*level, text),
            Event::Starts(item) => self.starts(item),
            Event::Item(item) => self.item(item),
            Event::Entry(_) if self.style.quiet => {}
            Event::Entry(item) => {
                let line = list::line(item, self.style.human);
                self.print(&mut self.shown(), &line);
            }
            Event::Deleted { name, mode } => self.deleted(name, *mode),
            Event::ListBegins {
                incremental,
                checksum_len,
            } => {
                let shown = &mut *self.shown();
                shown.checksum_len = *checksum_len;
                shown.listing.begins(&mut shown.screen, *incremental);
            }
            Event::Listed {
                entries,
                bytes,
                complete,
            } => self.listed(Lists {
                entries: *entries,
                bytes: *bytes,
                complete: *complete,
            }),
            Event::Progress {
                offset,
                size,
                last,
                at,
                ..
            } => {
                let now = self.clock.elapsed();
                let of = (*offset, *size);
                self.shown().moved(now, of, *last, at);
            }
            Event::Settled(at) => self.shown().settled(self.clock.elapsed(), at),
        }
    }

    fn listed(&self, lists: Lists) {
        let shown = &mut *self.shown();
        shown.lists = lists;
        if let Some(end) = shown.listing.listed(&mut shown.screen, &lists) {
            self.log_line(end.as_bytes());
        }
    }
}

impl Shown {
    fn moved(&mut self, now: Duration, (offset, size): (u64, u64), last: bool, at: &Position) {
        let Some(progress) = &mut self.progress else {
            return;
        };
        if !last {
            let line = progress.moved(now, (offset, size), at, &self.lists);
            return line.iter().for_each(|line| self.screen.unfinished(line));
        }
        let line = progress.ended(now, size, at, &self.lists);
        match progress.scope() {
            Scope::File => self.screen.finish(&(line + "\n")),
            Scope::Run => self.screen.unfinished(&line),
        }
    }

    fn settled(&mut self, now: Duration, at: &Position) {
        if let Some(progress) = &mut self.progress
            && progress.scope() == Scope::Run
        {
            let line = progress.settled(now, at, &self.lists);
            self.screen.unfinished(&line);
        }
    }
}

/// Single files make no list.
fn level_of_list(options: &Options) -> u8 {
    match options.quiet || !(options.recursive || options.dirs) {
        true => 0,
        false => options.info.flist,
    }
}

/// The kinds of `st_mode` (inode(7)).
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;

#[cfg(test)]
mod tests;
