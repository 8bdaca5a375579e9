//! The files of cases, read and written.
//!
//! `cases.txt` is made of paragraphs. `= TITLE` begins a case; `tree` and `target` name files and,
//! with a slash, directories; `file PATH TEXT` and `there PATH TEXT` are files with content in the
//! one and the other; `arg` is one argument; `out` is what was left out of the list, or, where there
//! is a target, what was deleted there; `error CODE TEXT` is how the run ended instead. `{top}` is
//! the folder of it all, with `src` and `dst` in it. `patterns.txt` has one tree and one rule a line.
//! A blank in a name is `\s`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) title: String,
    source: Vec<(String, String)>,
    target: Vec<(String, String)>,
    other: Vec<(String, String)>,
    pub(crate) args: Vec<String>,
    pub(crate) outcome: Outcome,
}

/// How it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// What is not listed, without what is in it; or what is deleted.
    Out(BTreeSet<String>),
    /// An exit code, and the first line of the error.
    Error(u8, String),
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Out(BTreeSet::new())
    }
}

impl Case {
    pub(crate) fn make(&self, top: &Path) {
        let all = [
            ("src", &self.source),
            ("dst", &self.target),
            ("", &self.other),
        ];
        for (folder, files) in all {
            let folder = top.join(folder);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                let path = folder.join(name);
                if name.ends_with('/') {
                    fs::create_dir_all(path).unwrap();
                    continue;
                }
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, in_folder(text, top)).unwrap();
            }
        }
    }

    /// The arguments, for a folder.
    pub(crate) fn args(&self, top: &Path) -> Vec<String> {
        self.args.iter().map(|arg| in_folder(arg, top)).collect()
    }

    pub(crate) fn deletes(&self) -> bool {
        !self.target.is_empty()
    }
}

/// With the folder's path where the case has a word for it.
fn in_folder(text: &str, top: &Path) -> String {
    text.replace("{top}", top.to_str().unwrap())
}

/// The other way round.
pub(crate) fn out_of_folder(text: &str, top: &Path) -> String {
    text.replace(top.to_str().unwrap(), "{top}")
}

pub(crate) fn read_cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let case = cases.last_mut();
        match (word, case) {
            ("" | "#", _) => {}
            ("=", _) => cases.push(Case {
                title: rest.into(),
                source: names(DEFAULT_TREE),
                ..Case::default()
            }),
            ("tree", Some(case)) => case.source = names(rest),
            ("target", Some(case)) => case.target = names(rest),
            ("file", Some(case)) => case.source.push(file(rest)),
            ("there", Some(case)) => case.target.push(file(rest)),
            ("other", Some(case)) => case.other.push(file(rest)),
            ("arg", Some(case)) => case.args.push(unescaped(rest)),
            ("out", Some(case)) => case.outcome = out(rest),
            ("error", Some(case)) => {
                let (code, text) = rest.split_once(' ').unwrap();
                case.outcome = Outcome::Error(code.parse().unwrap(), unescaped(text));
            }
            _ => panic!("{line}"),
        }
    }
    cases
}

/// The same text with other outcomes.
pub(crate) fn write_cases(text: &str, cases: &[Case]) -> String {
    let mut written = String::new();
    let mut cases = cases.iter();
    for paragraph in text.split("\n\n") {
        let kept = paragraph.lines();
        let kept = kept.filter(|l| !l.starts_with("out") && !l.starts_with("error "));
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        if lines.iter().any(|line| line.starts_with("= ")) {
            lines.push(match &cases.next().unwrap().outcome {
                Outcome::Out(names) => format!("out {}", list(names)).trim_end().to_owned(),
                Outcome::Error(code, text) => {
                    let text = text.replace('\\', "\\\\").replace('\t', "\\t");
                    let text = match text.strip_suffix(' ') {
                        Some(text) => format!("{text}\\s"),
                        None => text,
                    };
                    format!("error {code} {text}")
                }
            });
        }
        written += &lines.join("\n");
        written += "\n\n";
    }
    written.trim_end().to_owned() + "\n"
}

pub(crate) fn read_patterns(text: &str) -> Vec<Case> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let tree = lines.next().unwrap();
    let case = |line: &str| {
        let (rule, found) = line.split_once('\t').unwrap_or((line, ""));
        Case {
            title: rule.into(),
            source: names(tree),
            args: vec![format!("--filter={}", unescaped(rule))],
            outcome: out(found),
            ..Case::default()
        }
    };
    lines.map(case).collect()
}

pub(crate) fn write_patterns(text: &str, cases: &[Case]) -> String {
    let (comments, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
    let rows = cases.iter().map(|case| match &case.outcome {
        Outcome::Out(names) => format!("{}\t{}", case.title, list(names)),
        outcome => panic!("{}: {outcome:?}", case.title),
    });
    let rows = rows.map(|row| row.trim_end().to_owned());
    let head = comments.into_iter().map(str::to_owned);
    let all: Vec<_> = head.chain([rest[0].to_owned()]).chain(rows).collect();
    all.join("\n") + "\n"
}

fn names(text: &str) -> Vec<(String, String)> {
    let names = text.split_whitespace();
    names.map(|name| (unescaped(name), String::new())).collect()
}

fn file(text: &str) -> (String, String) {
    let (name, content) = text.split_once(' ').unwrap_or((text, ""));
    (unescaped(name), unescaped(content))
}

fn out(text: &str) -> Outcome {
    Outcome::Out(text.split_whitespace().map(unescaped).collect())
}

fn list(names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(|name| escaped(name)).collect();
    names.join(" ")
}

fn unescaped(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        whole.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('0') => '\0',
                Some('s') => ' ',
                Some('\\') => '\\',
                other => panic!("{other:?} in {text}"),
            },
            c => c,
        });
    }
    whole
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace(' ', "\\s")
        .replace('\t', "\\t")
}

const DEFAULT_TREE: &str = "f1 f2 f3 a/f1 a/f2 a/f3 a/b/f1 a/b/f2 a/b/f3 a/b/c/f1 x/f1";
