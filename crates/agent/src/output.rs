//! Standard output: a line a path, or an event a line.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use barge::{Counters, PathEnd};
use barge_types::{Changes, Outcome};
use serde_json::{Map, Value, json};

use crate::progress::Screen;
use crate::report::{Ending, PathText};

/// Standard output, until nobody reads it any more.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    itemize: bool,
    screen: Screen,
    closed: AtomicBool,
}

impl Output {
    /// One event a line with `json`; with `itemize` every path.
    pub(crate) fn new(json: bool, itemize: bool, screen: Screen) -> Self {
        Self {
            json,
            itemize,
            screen,
            closed: AtomicBool::new(false),
        }
    }

    /// Whether one event a line is written.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether every path is written.
    pub(crate) fn is_itemizing(&self) -> bool {
        self.itemize
    }

    /// One path has ended. As text only under `--itemize`: the report names failures, too.
    pub(crate) fn path(&self, end: PathEnd<'_>) {
        if self.json {
            self.line(&path_event(end).to_string());
        } else if self.itemize && *end.outcome != Outcome::Unchanged {
            self.line(&path_line(end));
        }
    }

    /// How far a run is, as an event.
    pub(crate) fn progress(&self, counters: &Counters) {
        self.line(&progress_event(counters).to_string());
    }

    /// The last word of a run.
    pub(crate) fn report(&self, ending: &Ending) {
        if self.json {
            self.line(&ending.event());
        } else {
            self.line(ending.text().trim_end());
        }
    }

    /// A reader that has left ends the output and not the run.
    fn line(&self, text: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let written = self
            .screen
            .aside(|| writeln!(io::stdout().lock(), "{text}"));
        self.closed.store(written.is_err(), Ordering::Relaxed);
    }
}

fn path_line(end: PathEnd<'_>) -> String {
    let (path, word) = (end.path, word(end.outcome));
    match end.outcome {
        Outcome::Updated(changes) | Outcome::Metadata(changes) => {
            format!("{word:<8} {path} ({})", words(*changes).join(", "))
        }
        Outcome::Skipped(rule) => format!("{word:<8} {path} ({})", rule.word()),
        Outcome::Failed(failure) => format!("{word:<8} {path}: {failure}"),
        _ => format!("{word:<8} {path}"),
    }
}

fn path_event(end: PathEnd<'_>) -> Value {
    let mut event = Map::new();
    event.insert("event".into(), "path".into());
    let path = PathText::new(end.path);
    event.insert("path".into(), path.text.into());
    if let Some(bytes) = path.bytes {
        event.insert("path_bytes".into(), bytes.into());
    }
    if !end.kind.is_empty() {
        event.insert("kind".into(), end.kind.into());
    }
    event.insert("outcome".into(), word(end.outcome).into());
    match end.outcome {
        Outcome::Updated(changes) | Outcome::Metadata(changes) => {
            event.insert("changes".into(), words(*changes).into());
        }
        Outcome::Skipped(rule) => drop(event.insert("rule".into(), json!(rule))),
        Outcome::Failed(failure) => drop(event.insert("failure".into(), json!(failure))),
        _ => {}
    }
    Value::Object(event)
}

fn progress_event(counters: &Counters) -> Value {
    json!({
        "event": "progress",
        "listed": counters.listed.get(),
        "ended": counters.ended.get(),
        "failed": counters.failed.get(),
        "bytes_listed": counters.bytes_listed.get(),
        "bytes_ended": counters.bytes_ended.get(),
        "bytes_read": counters.bytes_read.get(),
        "bytes_sent": counters.bytes_sent.get(),
        "wire_bytes": counters.wire_bytes.get(),
        "reconnects": counters.reconnects.get(),
        "connections": counters.connections.get(),
    })
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Created => "created",
        Outcome::Updated(_) => "updated",
        Outcome::Metadata(_) => "metadata",
        Outcome::Linked => "linked",
        Outcome::Deleted => "deleted",
        Outcome::Skipped(_) => "skipped",
        Outcome::Failed(_) => "failed",
    }
}

fn words(changes: Changes) -> Vec<&'static str> {
    let named = [
        (Changes::CONTENT, "content"),
        (Changes::SIZE, "size"),
        (Changes::MTIME, "mtime"),
        (Changes::MODE, "mode"),
        (Changes::UID, "uid"),
        (Changes::GID, "gid"),
        (Changes::ACL, "acl"),
        (Changes::XATTR, "xattr"),
    ];
    named
        .into_iter()
        .filter(|(flag, _)| changes.intersects(*flag))
        .map(|(_, word)| word)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use barge_types::{Class, Failure, RelPath, Side, SkipRule};

    fn failure() -> Failure {
        Failure {
            side: Side::Target,
            op: "fchown".into(),
            errno: 1,
            class: Class::Denied,
        }
    }

    #[test]
    fn path_is_one_line_or_one_event_for_every_outcome() {
        let path = RelPath::new(b"d/a\n\xff").unwrap();
        let changes = Changes::CONTENT | Changes::MTIME;
        for (outcome, line, more) in [
            (Outcome::Created, r"created  d/a\n\xff", ""),
            (
                Outcome::Updated(changes),
                r"updated  d/a\n\xff (content, mtime)",
                r#""changes":["content","mtime"],"#,
            ),
            (Outcome::Linked, r"linked   d/a\n\xff", ""),
            (
                Outcome::Skipped(SkipRule::Excluded),
                r"skipped  d/a\n\xff (excluded)",
                "",
            ),
            (
                Outcome::Failed(failure()),
                r"failed   d/a\n\xff: denied: fchown (target; Operation not permitted (os error 1))",
                r#""failure":{"class":"denied","errno":1,"op":"fchown","side":"target"},"#,
            ),
        ] {
            let end = PathEnd {
                path: &path,
                kind: "file",
                outcome: &outcome,
            };
            assert_eq!(path_line(end), line);
            let event = path_event(end).to_string();
            assert!(event.contains(more), "{event}");
            assert!(
                event.contains(r#""path":"d/a\n�","path_bytes":"642f610aff""#),
                "{event}"
            );
        }
    }

    #[test]
    fn event_of_a_path_in_utf_8_needs_no_bytes() {
        let path = RelPath::new("é".as_bytes()).unwrap();
        let end = PathEnd {
            path: &path,
            kind: "",
            outcome: &Outcome::Unchanged,
        };
        let expected = json!({"event": "path", "path": "é", "outcome": "unchanged"});
        assert_eq!(path_event(end), expected);
    }

    #[test]
    fn output_ends_quietly_when_its_reader_has_left() {
        let output = Output::new(true, false, Screen::default());
        output.closed.store(true, Ordering::Relaxed);
        output.progress(&Counters::default());
        assert!(output.closed.load(Ordering::Relaxed));
    }
}
