//! What the program becomes when it is called by another program's name.

pub(crate) mod blockrsync;
pub(crate) mod rsync;
pub(crate) mod stunnel;
pub(crate) mod tools;

use std::io::Write;

/// Leaves the reason for a failure where Kubernetes looks for it
/// (`terminationMessagePath`); where there is no such file, nobody looks.
fn last_words(text: &str) {
    let file = std::fs::File::options()
        .append(true)
        .open("/dev/termination-log");
    if let Ok(mut file) = file {
        // Nobody else can be told.
        let _ = writeln!(file, "{}", text.trim_end());
    }
}

/// An error of the system without the number that the standard library appends.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
