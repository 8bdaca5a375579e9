//! `blockrsync` and `proxy`: block volumes, as a migration's pods move them.
//!
//! Source: `shared/spec/mtc-contract.md`, sections 1.4, 1.5 and 6.

mod args;
mod line;
mod log;
mod progress;
mod relay;
mod signals;
mod slot;
mod source_proxy;
mod sync;
mod target_proxy;

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use self::args::{ProxyArgs, Role, SyncArgs};

/// Which of the two, and its arguments.
pub(crate) enum Program {
    /// `blockrsync`: compares and copies.
    Sync(Vec<OsString>),
    /// `proxy`: connects those of two pods.
    Proxy(Vec<OsString>),
}

impl Program {
    /// The program this one was called as, by its name or by its first word.
    pub(crate) fn called(mut all: impl Iterator<Item = OsString>) -> Option<Self> {
        let program = all.next()?;
        let name = Path::new(&program).file_name()?.to_owned();
        let rest: Vec<OsString> = all.collect();
        Self::of(&name, &rest).or_else(|| {
            let (word, rest) = rest.split_first()?;
            Self::of(word, rest)
        })
    }

    fn of(name: &std::ffi::OsStr, args: &[OsString]) -> Option<Self> {
        match name.to_str() {
            Some("blockrsync") => Some(Self::Sync(args.to_vec())),
            Some("proxy") => Some(Self::Proxy(args.to_vec())),
            _ => None,
        }
    }

    /// Runs it, and gives the exit code: 0, 1, or 2 for a wrong command line.
    pub(crate) fn main(self) -> u8 {
        match self {
            Self::Sync(args) => {
                let args = SyncArgs::parse(args).unwrap_or_else(|error| error.exit());
                signals::end_on_them(|| ());
                ended(match args.role() {
                    Role::Source => sync::source(&args),
                    Role::Target => sync::target(&args),
                })
            }
            Self::Proxy(args) => {
                let args = ProxyArgs::parse(args).unwrap_or_else(|error| error.exit());
                let control_file = args.control_file.clone();
                signals::end_on_them(move || note_end(&control_file));
                let end = match args.role() {
                    Role::Source => source_proxy::run(&args),
                    Role::Target => target_proxy::run(&args),
                };
                note_end(&args.control_file);
                ended(end)
            }
        }
    }
}

/// Says why it did not end well.
fn ended(end: Result<(), String>) -> u8 {
    match end {
        Ok(()) => 0,
        Err(text) => {
            log::error(&text);
            super::last_words(&text);
            1
        }
    }
}

/// Makes the file by which the tunnel beside us learns that we have ended.
fn note_end(control_file: &Path) {
    let made = File::options().create(true).append(true).open(control_file);
    if let Err(error) = made {
        let reason = super::reason(&error);
        log::error(&format!("{}: {reason}", control_file.display()));
    }
}
