//! Lines as the stock programs log them, on standard output: a time, a level, a text, with tabs between.

use std::io::{self, Write};

use jiff::Timestamp;

/// Something that is worth to be told.
pub(super) fn info(text: &str) {
    line("INFO", text);
}

/// Something went wrong.
pub(super) fn error(text: &str) {
    line("ERROR", text);
}

fn line(level: &str, text: &str) {
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let line = format!("{time}\t{level}\t{text}\n");
    // A log that cannot be written has nobody to tell.
    let _ = io::stdout().write_all(line.as_bytes());
}
