//! What the installed rsync does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use crate::cases::{Case, Outcome, out_of_folder};

pub(crate) fn is_3_5_0() -> bool {
    let output = Command::new("rsync").arg("--version").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"rsync  version 3.5.0 "))
}

pub(crate) fn run(case: &Case, top: &Path) -> Outcome {
    let (place, before) = match case.deletes() {
        true => ("dst", paths(&top.join("dst"))),
        false => ("src", paths(&top.join("src"))),
    };
    let output = match case.deletes() {
        true => rsync(case, top, &["-r", "--delete"], &["src/", "dst/"]),
        false => rsync(case, top, &["-r8", "--list-only"], &["src/"]),
    };
    // 23: a directory to be deleted holds what is protected.
    if !output.status.success() {
        return error(&output, top);
    }
    let after = match place {
        "dst" => paths(&top.join("dst")),
        _ => listed(&output),
    };
    let gone: BTreeSet<_> = before.difference(&after).cloned().collect();
    match place {
        "dst" => Outcome::Out(gone),
        _ => Outcome::Out(tops(&gone)),
    }
}

fn rsync(case: &Case, top: &Path, first: &[&str], last: &[&str]) -> Output {
    let mut command = Command::new("rsync");
    command.current_dir(top).env("LC_ALL", "C").env("HOME", top);
    command
        .env_remove("CVSIGNORE")
        .args(first)
        .args(case.args(top))
        .args(last);
    command.output().unwrap()
}

fn error(output: &Output, top: &Path) -> Outcome {
    let code = output.status.code().unwrap().try_into().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("rsync: ").unwrap_or(line);
    let line = line.strip_prefix("[client] ").unwrap_or(line);
    Outcome::Error(code, out_of_folder(line, top))
}

/// Mode, size, date and time; then one blank and the name, which may hold blanks.
fn listed(output: &Output) -> BTreeSet<String> {
    let lines = String::from_utf8_lossy(&output.stdout);
    let names = lines.lines().map(|line| line[NAME_COLUMN..].to_owned());
    names.collect()
}

/// Where `rsync --list-only` writes the name, for files below 100 GB.
const NAME_COLUMN: usize = 46;

/// Everything beneath a folder.
pub(crate) fn paths(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut due = vec![String::new()];
    while let Some(dir) = due.pop() {
        for entry in std::fs::read_dir(folder.join(&dir))
            .unwrap()
            .map(Result::unwrap)
        {
            let slash = if dir.is_empty() { "" } else { "/" };
            let path = format!("{dir}{slash}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                due.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

/// Without what is in others of them.
fn tops(paths: &BTreeSet<String>) -> BTreeSet<String> {
    let within = |path: &str| paths.iter().any(|dir| path.starts_with(&format!("{dir}/")));
    paths.iter().filter(|path| !within(path)).cloned().collect()
}
