//! The line that tells how a run failed.

use barge::over_rsync::describe_exit;

/// The line for an exit code, with its newline. `role` is what this process was in the run, as
/// rsync names it: `sender`, `receiver`, `generator`, `client`, and with a capital before that was
/// settled.
///
/// As rsync words it, `rsync error: … (code 23) at main.c(1394) [sender=3.5.0]`, but for the place
/// in the source and the version: those are ours.
pub(crate) fn line(code: u8, role: &str) -> String {
    format!(
        "rsync {}: {} (code {code}) at ending.rs({}) [{role}={}]\n",
        if code == VANISHED { "warning" } else { "error" },
        describe_exit(code),
        line!(),
        env!("CARGO_PKG_VERSION"),
    )
}

const VANISHED: u8 = 24;
