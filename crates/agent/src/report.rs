//! The last words on a run: as text, as an event, as a file.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use barge::RunEnd;
use barge_types::{Class, FailedPath, Failure, RelPath, Report, Side, Tally, Verdict};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use tracing::error;

use crate::exit::Exit;
use crate::output::Output;

/// How a run, or the attempt at one, ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// What the process says of it.
    pub(crate) exit: Exit,
    /// Why it did not come to its end.
    error: Option<String>,
    volume: String,
    undeleted: u64,
    report: Report,
}

impl Ending {
    /// A run with `volume` that has ended.
    pub(crate) fn of_run(volume: String, end: RunEnd) -> Self {
        Self {
            exit: Exit::of(&end),
            error: end.error.as_ref().map(ToString::to_string),
            volume,
            undeleted: end.undeleted,
            report: end.report,
        }
    }

    /// A run with `volume` that was never begun: the mover refused, or else usage or
    /// configuration is wrong.
    pub(crate) fn unbegun(volume: String, error: &anyhow::Error) -> Self {
        let (exit, text) = match error.downcast_ref::<barge::Error>() {
            Some(error) => (error.fault().into(), error.to_string()),
            None => (Exit::Usage, format!("{error:#}")),
        };
        let report = Report {
            verdict: Verdict::Failed,
            tally: Tally::default(),
            failures: Vec::new(),
            wire_bytes: 0,
            reconnects: 0,
            duration: Duration::ZERO,
        };
        Self {
            exit,
            error: Some(text),
            volume,
            undeleted: 0,
            report,
        }
    }

    /// For a person: some lines, each with its end; one where nothing was begun.
    pub(crate) fn text(&self) -> String {
        let mut text = self.headline();
        if self.error.is_some() && self.report.tally == Tally::default() {
            return text;
        }
        text += &self.counts();
        if self.undeleted > 0 {
            let left = HumanCount(self.undeleted);
            text += &format!("  not deleted  {left}: --max-delete was reached\n");
        }
        text += &named_failures(&self.report);
        text
    }

    fn headline(&self) -> String {
        let verdict = match self.report.verdict {
            Verdict::Complete => "complete",
            Verdict::Partial => "partial",
            Verdict::Failed => "failed",
        };
        let (volume, seconds) = (&self.volume, self.report.duration.as_secs_f64());
        match &self.error {
            Some(error) => format!("{verdict}: {volume}, after {seconds:.1} s: {error}\n"),
            None => format!("{verdict}: {volume}, in {seconds:.1} s\n"),
        }
    }

    fn counts(&self) -> String {
        let tally = &self.report.tally;
        let paths: Vec<String> = [
            ("created", tally.created),
            ("updated", tally.updated),
            ("metadata", tally.metadata),
            ("linked", tally.linked),
            ("deleted", tally.deleted),
            ("skipped", tally.skipped),
            ("unchanged", tally.unchanged),
            ("failed", tally.failed),
        ]
        .iter()
        .map(|(word, count)| format!("{} {word}", HumanCount(*count)))
        .collect();
        format!(
            "  paths    {}\n  content  {} listed, {} read, {} sent, {} matched\n  \
             network  {} both ways, {}/s of content, {} connections made again\n",
            paths.join(", "),
            HumanBytes(tally.bytes_listed),
            HumanBytes(tally.bytes_read),
            HumanBytes(tally.bytes_sent),
            HumanBytes(tally.bytes_matched),
            HumanBytes(self.report.wire_bytes),
            HumanBytes(bytes_per_second(&self.report)),
            HumanCount(self.report.reconnects),
        )
    }

    /// For a program: one line, an event of `--json`.
    pub(crate) fn event(&self) -> String {
        let event = Event {
            event: "report",
            document: self.document(),
        };
        serde_json::to_string(&event).expect("a report has only names for keys")
    }

    fn document(&self) -> Document<'_> {
        let report = &self.report;
        Document {
            verdict: report.verdict,
            exit_code: self.exit.code(),
            error: self.error.as_deref(),
            volume: &self.volume,
            tally: &report.tally,
            undeleted: self.undeleted,
            failures: report.failures.iter().map(FailureRow::new).collect(),
            wire_bytes: report.wire_bytes,
            reconnects: report.reconnects,
            seconds: report.duration.as_secs_f64(),
            bytes_per_second: bytes_per_second(report),
        }
    }
}

/// Says the last words everywhere they are expected.
pub(crate) fn conclude(ending: &Ending, output: &Output, file: Option<&ReportFile>) {
    output.report(ending);
    if let Some(file) = file
        && let Err(error) = file.write(ending)
    {
        error!(%error, path = ?file.0, "the report cannot be written");
    }
    match (&ending.error, ending.exit) {
        (Some(error), _) => error!("{error}"),
        (None, Exit::Partial) => {
            error!(
                failed = ending.report.tally.failed,
                "some paths failed: see the report"
            );
        }
        (None, Exit::MaxDelete) => {
            error!(
                undeleted = ending.undeleted,
                "--max-delete stopped the deletion"
            );
        }
        _ => {}
    }
}

/// Where `--report` leaves the report.
#[derive(Clone, Debug)]
pub(crate) struct ReportFile(PathBuf);

impl ReportFile {
    /// Takes a path whose folder is there and that is no folder itself.
    ///
    /// # Errors
    ///
    /// With the path and what to do, before a run that could not be reported is begun.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        if !folder(path).is_dir() {
            bail!("--report {path:?}: its folder does not exist: make it, or name another file");
        }
        if path.is_dir() {
            bail!("--report {path:?} is a folder: name a file");
        }
        Ok(Self(path.to_owned()))
    }

    /// Writes the report as JSON: by a rename, so that no reader sees half of it; into the file
    /// where it is no regular one or cannot be replaced, as a container's mounted
    /// `/dev/termination-log`.
    ///
    /// # Errors
    ///
    /// As the calls that write a file.
    pub(crate) fn write(&self, ending: &Ending) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&ending.document())?;
        text.push(b'\n');
        let path = &self.0;
        let replaceable = fs::symlink_metadata(path).map_or(true, |meta| meta.is_file());
        if replaceable && replace(path, &text).is_ok() {
            return Ok(());
        }
        File::create(path)?.write_all(&text)
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::Builder::new()
        .prefix(".barge-report")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder(path))?;
    file.write_all(text)?;
    file.persist(path)?;
    Ok(())
}

/// The report as `--report` and `--json` give it.
#[derive(Serialize)]
struct Document<'a> {
    verdict: Verdict,
    exit_code: u8,
    error: Option<&'a str>,
    volume: &'a str,
    tally: &'a Tally,
    undeleted: u64,
    failures: Vec<FailureRow<'a>>,
    wire_bytes: u64,
    reconnects: u64,
    seconds: f64,
    bytes_per_second: u64,
}

#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(flatten)]
    document: Document<'a>,
}

#[derive(Serialize)]
struct FailureRow<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(flatten)]
    failure: &'a Failure,
}

impl<'a> FailureRow<'a> {
    fn new(failed: &'a FailedPath) -> Self {
        let path = PathText::new(&failed.path);
        Self {
            path: path.text,
            path_bytes: path.bytes,
            failure: &failed.failure,
        }
    }
}

/// A path for JSON, which holds only Unicode.
pub(crate) struct PathText {
    /// The path, `.` for the root; what is no UTF-8 is replaced.
    pub(crate) text: String,
    /// All its bytes in hexadecimal, where something was replaced.
    pub(crate) bytes: Option<String>,
}

impl PathText {
    pub(crate) fn new(path: &RelPath) -> Self {
        match std::str::from_utf8(path.as_bytes()) {
            Ok("") => Self {
                text: ".".into(),
                bytes: None,
            },
            Ok(text) => Self {
                text: text.into(),
                bytes: None,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(path.as_bytes()).into_owned(),
                bytes: Some(path.as_bytes().iter().fold(String::new(), |mut hex, byte| {
                    write!(hex, "{byte:02x}").expect("a string takes all text");
                    hex
                })),
            },
        }
    }
}

fn named_failures(report: &Report) -> String {
    let mut text = String::new();
    for FailedPath { path, failure } in report.failures.iter().take(FAILURES_SHOWN) {
        text += &format!(
            "  failed   {path}: {failure}\n           → {}\n",
            remedy(failure)
        );
    }
    let hidden = report.tally.failed.saturating_sub(FAILURES_SHOWN as u64);
    if hidden > 0 {
        let hidden = HumanCount(hidden);
        text += &format!("  failed   … and {hidden} more: --report FILE or --json names them\n");
    }
    text
}

/// What the reader may do about a failure.
fn remedy(failure: &Failure) -> &'static str {
    match (failure.class, failure.side) {
        (Class::Denied, Side::Source) => "run `barge send` as root, or give it CAP_DAC_READ_SEARCH",
        (Class::Denied, Side::Target) => denied_at_target(&failure.op),
        (Class::Vanished, _) => "stop what writes to the volume, and run again",
        (Class::Changed, _) => "stop what writes to the source, and run again",
        (Class::Unsupported, _) => {
            "use a target whose file system can hold it, or leave it out: --exclude, --no-…"
        }
        (Class::NoSpace, _) => "enlarge the target or its quota, and run again",
        (Class::Io, _) => "check the storage and the kernel's log, and run again",
    }
}

fn denied_at_target(op: &str) -> &'static str {
    // The capability that is missing may be behind it.
    match op.split(' ').next().unwrap_or_default() {
        "chown" | "fchown" | "lchown" | "fchownat" => {
            "run the target as root, give it CAP_CHOWN, or say --no-owner"
        }
        "mknod" | "mknodat" => "run the target as root, give it CAP_MKNOD, or say --no-devices",
        _ if op.contains("xattr") => {
            "run the target as root, give it CAP_SYS_ADMIN and CAP_SETFCAP, or say --no-xattrs"
        }
        _ => "run the target as root, or give it CAP_DAC_OVERRIDE and CAP_FOWNER",
    }
}

/// Bytes of content sent a second, over the whole run.
fn bytes_per_second(report: &Report) -> u64 {
    let seconds = report.duration.as_secs_f64();
    if seconds > 0.0 {
        (report.tally.bytes_sent as f64 / seconds) as u64
    } else {
        0
    }
}

/// Failures the text names; the JSON names up to [`barge_types::FAILURES_KEPT`].
const FAILURES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn ending() -> Ending {
        let failure = Failure {
            side: Side::Target,
            op: "fchown".into(),
            errno: 1,
            class: Class::Denied,
        };
        let report = Report {
            verdict: Verdict::Partial,
            tally: Tally {
                unchanged: 1,
                created: 2,
                updated: 3,
                metadata: 4,
                linked: 5,
                deleted: 6,
                skipped: 7,
                failed: 1,
                bytes_listed: 4096,
                bytes_read: 3072,
                bytes_sent: 2048,
                bytes_matched: 1024,
            },
            failures: vec![FailedPath {
                path: RelPath::new(b"d/\xff").unwrap(),
                failure,
            }],
            wire_bytes: 2500,
            reconnects: 1,
            duration: Duration::from_millis(1500),
        };
        Ending::of_run(
            "data".into(),
            RunEnd {
                report,
                undeleted: 9,
                error: None,
            },
        )
    }

    const GOLDEN: &str = r#"{
  "verdict": "partial",
  "exit_code": 8,
  "error": null,
  "volume": "data",
  "tally": {
    "unchanged": 1,
    "created": 2,
    "updated": 3,
    "metadata": 4,
    "linked": 5,
    "deleted": 6,
    "skipped": 7,
    "failed": 1,
    "bytes_listed": 4096,
    "bytes_read": 3072,
    "bytes_sent": 2048,
    "bytes_matched": 1024
  },
  "undeleted": 9,
  "failures": [
    {
      "path": "d/�",
      "path_bytes": "642fff",
      "side": "target",
      "op": "fchown",
      "errno": 1,
      "class": "denied"
    }
  ],
  "wire_bytes": 2500,
  "reconnects": 1,
  "seconds": 1.5,
  "bytes_per_second": 1365
}
"#;

    #[test]
    fn hint_names_the_capability_that_a_call_needs() {
        for (op, capability) in [
            ("fchownat (needs CAP_CHOWN)", "CAP_CHOWN"),
            ("mknodat (needs CAP_MKNOD)", "CAP_MKNOD"),
            ("setxattr trusted.* (needs CAP_SYS_ADMIN)", "CAP_SYS_ADMIN"),
            ("renameat2 (needs CAP_DAC_OVERRIDE)", "CAP_DAC_OVERRIDE"),
        ] {
            assert!(denied_at_target(op).contains(capability), "{op}");
        }
    }

    #[test]
    fn report_file_is_the_golden_json_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let file = ReportFile::new(&path).unwrap();
        for _ in 0..2 {
            file.write(&ending()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), GOLDEN);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn report_is_written_into_what_cannot_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "x".repeat(10_000)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        ReportFile::new(&link).unwrap().write(&ending()).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), GOLDEN);
        assert!(link.is_symlink());
        ReportFile::new(Path::new("/dev/null"))
            .unwrap()
            .write(&ending())
            .unwrap();
    }

    #[test]
    fn report_file_is_refused_where_none_can_be() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path(), &dir.path().join("missing/report.json")] {
            let error = ReportFile::new(path).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        ReportFile::new(Path::new("report.json")).unwrap();
    }

    #[test]
    fn event_is_one_line_with_the_same_fields() {
        let event: serde_json::Value = serde_json::from_str(&ending().event()).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        expected["event"] = "report".into();
        assert_eq!(event, expected);
        assert!(!ending().event().contains('\n'));
    }

    #[test]
    fn text_counts_all_names_some_and_says_what_to_do() {
        let text = ending().text();
        for part in [
            "partial: data, in 1.5 s\n",
            "2 created, 3 updated, 4 metadata, 5 linked, 6 deleted, 7 skipped, 1 unchanged, 1 failed",
            "4.00 KiB listed, 3.00 KiB read, 2.00 KiB sent, 1.00 KiB matched",
            "not deleted  9: --max-delete was reached",
            r"failed   d/\xff: denied: fchown (target; Operation not permitted",
            "CAP_CHOWN, or say --no-owner",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn text_of_an_unbegun_run_says_why() {
        let ending = Ending::unbegun("data".into(), &anyhow::anyhow!("no keys"));
        assert!(
            ending
                .text()
                .starts_with("failed: data, after 0.0 s: no keys\n")
        );
        assert_eq!(ending.exit, Exit::Usage);
    }
}
