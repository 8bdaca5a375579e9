//! Why a command of rsync's ended before a transfer did.

use std::fmt::Display;
use std::io;

/// An exit code of rsync(1), and what is said on the standard error before the line that names it;
/// empty when that has been said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failed {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Failed {
    pub(super) fn new(code: u8, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }

    /// What was asked for cannot be.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(1, text)
    }

    /// A connection that does not come about.
    pub(super) fn socket(text: impl Into<String>) -> Self {
        Self::new(10, text)
    }

    /// A call of the system's failed: «what: No such file or directory (2)».
    pub(super) fn call(code: u8, what: impl Display, error: &io::Error) -> Self {
        Self::new(code, format!("{what}: {}", reason(error)))
    }
}

/// An error of the system as rsync words it: its text, and its number in parentheses.
pub(super) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => {
            let text = nix::errno::Errno::from_raw(number).desc();
            format!("{text} ({number})")
        }
        None => error.to_string(),
    }
}
