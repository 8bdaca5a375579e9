//! Standard output and standard error, as rsync(1) shares a line of the terminal between them.

use std::io::{self, Write};

/// The two streams. A reader that has left ends the output and not the run.
///
/// Every text is written at once: a reader behind a pipe sees what a terminal would.
pub(crate) struct Screen {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// The cursor stands behind a line that may be written over.
    is_unfinished: bool,
}

impl Screen {
    /// Sends to standard error what would go to standard output (`--stderr=all`).
    pub(super) fn all_to_stderr(mut self) -> Self {
        self.stdout = Box::new(io::stderr());
        self
    }

    /// The process's own.
    pub(crate) fn new() -> Self {
        Self::of(Box::new(io::stdout()), Box::new(io::stderr()))
    }

    pub(super) fn of(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self {
            stdout,
            stderr,
            is_unfinished: false,
        }
    }

    /// Writes whole lines to standard output, below an unfinished one; with no text, ends that one.
    pub(super) fn line(&mut self, text: &[u8]) {
        let lines = below(&mut self.is_unfinished, text);
        write(&mut self.stdout, &lines);
    }

    /// Writes whole lines to standard error, below an unfinished one.
    pub(super) fn error(&mut self, text: &[u8]) {
        let lines = below(&mut self.is_unfinished, text);
        write(&mut self.stderr, &lines);
    }

    /// Writes the last words to standard error, wherever the cursor stands.
    pub(super) fn last_words(&mut self, text: &[u8]) {
        write(&mut self.stderr, text);
    }

    /// Writes what will be gone on with or written over.
    pub(super) fn unfinished(&mut self, text: &str) {
        write(&mut self.stdout, text.as_bytes());
        self.is_unfinished = true;
    }

    /// Goes on with an unfinished line to its end.
    pub(super) fn finish(&mut self, text: &str) {
        write(&mut self.stdout, text.as_bytes());
        self.is_unfinished = false;
    }
}

fn below(is_unfinished: &mut bool, text: &[u8]) -> Vec<u8> {
    match std::mem::take(is_unfinished) {
        true => [b"\n", text].concat(),
        false => text.to_vec(),
    }
}

fn write(to: &mut Box<dyn Write + Send>, text: &[u8]) {
    // There is nobody to tell.
    let _ = to.write_all(text).and_then(|()| to.flush());
}
