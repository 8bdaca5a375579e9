//! Logs: text or JSON lines on standard error.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::progress::Screen;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Sends logs to standard error, past the progress bar of `screen`.
///
/// `level` counts up from errors alone (0) to everything (4); `BARGE_LOG`, when set, says it in
/// the language of `tracing_subscriber::EnvFilter` instead.
///
/// # Errors
///
/// When `BARGE_LOG` makes no sense.
pub(crate) fn init(format: LogFormat, level: usize, screen: &Screen) -> Result<()> {
    let filter = match std::env::var("BARGE_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text)
            .with_context(|| format!("BARGE_LOG={text:?}: write a level, or TARGET=LEVEL,…"))?,
        _ => EnvFilter::new(DIRECTIVES[level.min(DIRECTIVES.len() - 1)]),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(PastTheBar(screen.clone()));
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The level without `-v` or `-q`.
pub(crate) const INFO: usize = 2;

/// What one hears at each level: our own crates, and the warnings of those below.
const DIRECTIVES: [&str; 5] = [
    "error",
    "warn",
    "warn,barge=info",
    "warn,barge=debug",
    "warn,barge=trace",
];

struct PastTheBar(Screen);

impl<'a> MakeWriter<'a> for PastTheBar {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Screen);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.aside(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
