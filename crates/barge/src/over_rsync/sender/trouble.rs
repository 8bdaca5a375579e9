//! What the sending side says of paths that cannot be listed or sent, in rsync's own words.

use barge_fs::Error;
use barge_rsync::wire::mux::IoErrors;

use crate::over_rsync::Level;
use crate::over_rsync::run::Run;

/// A call failed: `rsync: [sender] <call> <path> failed: <reason>`. `path` is quoted.
pub(super) fn failed(run: &Run, call: &str, path: &[u8], error: &Error) {
    let path = [b" ", path].concat();
    failed_call(run, call, &path, error);
}

/// The same, with whatever stands between the call and its path.
pub(super) fn failed_call(run: &Run, call: &str, path: &[u8], error: &Error) {
    general(run, failure_of(call, path, error));
}

/// An argument is not there: what is listed is complete all the same, and deletions go on.
pub(super) fn absent(run: &Run, path: &[u8], error: &Error) {
    let path = [b" ", path].concat();
    run.say(Level::FileError, failure_of("link_stat", &path, error));
}

fn failure_of(call: &str, path: &[u8], error: &Error) -> Vec<u8> {
    let reason = error.reason();
    let text = [
        b"rsync: [sender] ",
        call.as_bytes(),
        path,
        b" failed: ",
        reason.as_bytes(),
        b"\n",
    ];
    text.concat()
}

/// A file that was asked for cannot be opened.
pub(super) fn not_opened(run: &Run, path: &[u8], error: &Error) {
    let reason = error.reason();
    let text = [
        b"rsync: [sender] send_files failed to open ",
        path,
        b": ",
        reason.as_bytes(),
        b"\n",
    ];
    general(run, text.concat());
}

/// What `--fake-super` has kept of an entry is nothing that rsync writes: the entry is listed as what
/// it is.
pub(super) fn corrupt_stat(run: &Run, path: &[u8], text: &[u8]) {
    let head = b"Corrupt user.rsync.%stat xattr attached to ";
    // Anybody may have written whatever there.
    let text = &text[..text.len().min(100)];
    general(run, [&head[..], path, b": \"", text, b"\"\n"].concat());
}

/// What was there is there no more.
pub(super) fn vanished(run: &Run, path: &[u8]) {
    run.trouble(IoErrors::VANISHED);
    let text = [b"file has vanished: ", path, b"\n"].concat();
    run.say(Level::Warning, text);
}

/// An error of one path, which keeps the receiving side from deleting.
pub(super) fn general(run: &Run, text: impl AsRef<[u8]>) {
    run.trouble(IoErrors::GENERAL);
    run.say(Level::FileError, text);
}
