//! Lines for the user, as rsync 3.5.0 words them.

use barge_fs::Error;

use crate::over_rsync::Failure;

/// Which of the two activities of the receiving side speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Who {
    /// Compares and asks.
    Generator,
    /// Takes what comes.
    Receiver,
}

impl Who {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Generator => b"generator",
            Self::Receiver => b"receiver",
        }
    }
}

/// A call that failed. `doing` is what was done, and to what, as messages have it.
pub(super) fn failed(who: Who, doing: &[&[u8]], error: &Error) -> Vec<u8> {
    let (head, reason) = ([b"rsync: [", who.word(), b"] "].concat(), error.reason());
    [
        &head,
        &doing.concat(),
        &b" failed: "[..],
        reason.as_bytes(),
        b"\n",
    ]
    .concat()
}

/// A file that cannot be written: as a rule, its file system is full.
pub(super) fn write_failed(path: &[u8], error: &Error) -> Vec<u8> {
    let head = b"rsync: [receiver] write failed on ";
    [head, path, b": ", error.reason().as_bytes(), b"\n"].concat()
}

/// An entry that cannot be looked at.
pub(super) fn cannot_look(path: &[u8], error: &Error) -> Vec<u8> {
    let head = b"rsync: [generator] recv_generator: failed to stat ";
    [head, path, b": ", error.reason().as_bytes(), b"\n"].concat()
}

/// An attribute of an entry that could not be set.
pub(super) fn not_set(who: Who, path: &[u8], error: &Error) -> Vec<u8> {
    let (doing, failed): (&str, &str) = match error.op {
        "fchown" => ("chown", " failed"),
        "fchmod" => ("failed to set permissions on", ""),
        "utimensat" => ("failed to set times on", ""),
        op => (op, " failed"),
    };
    let reason = match error.errno {
        0 => error.to_string(),
        _ => error.reason(),
    };
    let head = [b"rsync: [", who.word(), b"] ", doing.as_bytes(), b" "].concat();
    [
        &head,
        path,
        failed.as_bytes(),
        b": ",
        reason.as_bytes(),
        b"\n",
    ]
    .concat()
}

/// A path in the double quotes of some lines.
pub(super) fn quoted(path: &[u8]) -> Vec<u8> {
    [b"\"", path, b"\""].concat()
}

/// A destination that cannot be used ends the run. `path` is in its quotes.
pub(super) fn cannot(doing: &str, path: &str, error: &Error, code: u8) -> Failure {
    let reason = error.reason();
    let text = format!("rsync: [Receiver] {doing} {path} failed: {reason}");
    Failure::fatal(code, text)
}

/// A destination that cannot be looked at ends the run. `path` is in its quotes.
pub(super) fn cannot_stat(doing: &str, path: &str, error: &Error) -> Failure {
    let reason = error.reason();
    Failure::fatal(3, format!("rsync: [Receiver] {doing} {path}: {reason}"))
}

/// A path in a text.
pub(super) fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
