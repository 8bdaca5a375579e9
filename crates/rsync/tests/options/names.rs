//! The spellings of flags.

use std::ffi::OsString;
use std::process::Command;

use barge_rsync::options::parse;

use crate::capture::Stock;

#[test]
fn every_flag_of_stock_has_a_row() {
    let (_, names) = include_str!("names.txt")
        .split_once("# without a value\n")
        .unwrap();
    let (flags, with_value) = names.split_once("# with one\n").unwrap();
    for name in flags.split_whitespace() {
        let with_value = format!("{name}=x");
        let text = format!("rsync: {with_value}: option does not take an argument");
        let said = said_to(&with_value);
        // A letter is acted upon before what follows it is read.
        let is_refused = said.starts_with("rsync: This rsync does not support");
        assert!(said == text || is_refused, "{said}");
    }
    for name in with_value.split_whitespace() {
        assert_eq!(said_to(name), format!("rsync: {name}: missing argument"));
    }
}

#[test]
fn every_flag_of_the_installed_rsyncs_help_has_a_row() {
    let Some(_) = Stock::find() else {
        return;
    };
    for (daemon, args) in [
        (false, &["--help"][..]),
        (true, &["--daemon", "--help"][..]),
    ] {
        let help = Command::new("rsync").args(args).output().unwrap().stdout;
        let help = String::from_utf8(help).unwrap();
        let (_, options) = help.split_once("--").unwrap();
        let lines = format!("--{options}");
        let lines = lines.lines().filter(|line| line.starts_with('-'));
        let names = lines.flat_map(|line| line.split("  ").next().unwrap().split([',', ' ', '=']));
        for name in names.filter(|name| name.starts_with('-') && *name != "--no-OPTION") {
            let mut line = vec![OsString::from(name)];
            if daemon {
                line.insert(0, "--daemon".into());
            }
            if let Err(refusal) = parse(&line, &Default::default()) {
                assert!(!refusal.text.contains("unknown option"), "{}", refusal.text);
            }
        }
    }
}

fn said_to(word: &str) -> String {
    let args = [OsString::from(word)];
    parse(&args, &Default::default()).unwrap_err().text
}
