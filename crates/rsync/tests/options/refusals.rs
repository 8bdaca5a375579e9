//! What is said to wrong command lines.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use barge_rsync::options::parse;

use crate::capture::Stock;
use crate::words::{environment, read, spell};

#[test]
fn wrong_lines_are_refused_in_stocks_words() {
    let mut wrong = String::new();
    for record in records() {
        let ours = ours(&record.line);
        let wanted = record.ours.as_ref().unwrap_or(&record.stock);
        if ours != *wanted {
            let line = spell(&record.line);
            writeln!(wrong, "$ {line}\nstock {wanted}\nours  {ours}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_installed_rsync_says_what_is_recorded() {
    let Some(stock) = Stock::find() else {
        return;
    };
    let mut records = records();
    let is_recording = std::env::var_os("RECORD").is_some();
    for record in &mut records {
        let output = stock.run(&record.line);
        let code = output.status.code().unwrap();
        let said = said(code, &String::from_utf8_lossy(&output.stderr));
        if is_recording {
            record.stock = said;
        } else {
            assert_eq!(said, record.stock, "$ {}", spell(&record.line));
        }
    }
    if is_recording {
        write(&records);
    }
}

/// A command line, and what is said to it.
struct Record {
    line: Vec<OsString>,
    stock: String,
    ours: Option<String>,
}

fn ours(line: &[OsString]) -> String {
    let (environment, line) = environment(line);
    match parse(line, &environment) {
        Err(refusal) => said(refusal.exit_code.into(), &refusal.text),
        Ok(command) => format!("{command:?}"),
    }
}

/// Exit code and text in a line, without the line that ends every failed run.
fn said(code: i32, text: &str) -> String {
    if text.starts_with("rsync  version ") {
        return format!("{code} USAGE");
    }
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("rsync error: "))
        .collect();
    format!("{code} {}", lines.join("|"))
}

fn records() -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let lines = include_str!("refusals.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let Some((mark, text)) = line.split_once(' ') else {
            continue;
        };
        match (mark, records.last_mut()) {
            ("=", Some(record)) => text.clone_into(&mut record.stock),
            ("!", Some(record)) => record.ours = Some(text.to_owned()),
            _ => records.push(Record {
                line: read(text).into_iter().map(OsString::from_vec).collect(),
                stock: String::new(),
                ours: None,
            }),
        }
    }
    records
}

fn write(records: &[Record]) {
    let heading = include_str!("refusals.txt").lines();
    let heading = heading.take_while(|line| line.starts_with('#'));
    let mut text: String = heading.map(|line| format!("{line}\n")).collect();
    for record in records {
        write!(text, "\n$ {}\n= {}\n", spell(&record.line), record.stock).unwrap();
        if let Some(ours) = &record.ours {
            writeln!(text, "! {ours}").unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/options/refusals.txt");
    fs::write(path, text).unwrap();
}
