//! rsync's filter rules: what ours make of trees, beside what rsync 3.5.0 made of them.
//!
//! `cases.txt` and `patterns.txt` hold trees, options, and what rsync did; a test runs the rsync
//! that is installed again. With `BARGE_REWRITE_FILTER_CASES` set, that test writes the files anew.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, in functions of its own too"
)]

mod cases;
mod ours;
mod stock;

use std::path::Path;

use cases::{Case, Outcome};

const CASES: &str = "tests/filter_rules/cases.txt";
const PATTERNS: &str = "tests/filter_rules/patterns.txt";

/// rsync waits for its own processes more than it works.
const THREADS: usize = 4;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).unwrap()
}

/// Runs every case in a fresh folder.
fn outcomes(cases: &[Case], run: fn(&Case, &Path) -> Outcome) -> Vec<Outcome> {
    let one = |case: &Case| {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        case.make(&top);
        run(case, &top)
    };
    let some = |cases: &[Case]| cases.iter().map(one).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let parts = cases.chunks(cases.len().div_ceil(THREADS));
        let parts: Vec<_> = parts.map(|part| scope.spawn(|| some(part))).collect();
        let parts = parts.into_iter().flat_map(|part| part.join().unwrap());
        parts.collect()
    })
}

/// `but` are the cases the two do not agree about.
fn compare(cases: &[Case], outcomes: &[Outcome], but: impl Fn(&Case) -> bool) {
    let mut failed = 0;
    for (case, outcome) in cases.iter().zip(outcomes) {
        if (&case.outcome == outcome) == but(case) {
            failed += 1;
            println!(
                "{}\n  rsync: {:?}\n  here:  {outcome:?}",
                case.title, case.outcome
            );
        }
    }
    assert_eq!(failed, 0, "of {}", cases.len());
}

#[test]
fn rules_do_what_those_of_rsync_do() {
    let cases = cases::read_cases(&read(CASES));
    // What is ours on purpose is told in its title.
    let differs = |case: &Case| case.title.ends_with("(ours differs)");
    compare(&cases, &outcomes(&cases, ours::run), differs);
}

#[test]
fn patterns_match_what_those_of_rsync_match() {
    let cases = cases::read_patterns(&read(PATTERNS));
    compare(&cases, &outcomes(&cases, ours::run), |_| false);
}

#[test]
fn installed_rsync_does_what_the_cases_say() {
    if !stock::is_3_5_0() {
        println!("skipped: rsync 3.5.0 is not installed");
        return;
    }
    let (text, table) = (read(CASES), read(PATTERNS));
    let (mut cases, mut patterns) = (cases::read_cases(&text), cases::read_patterns(&table));
    let (of_cases, of_patterns) = (
        outcomes(&cases, stock::run),
        outcomes(&patterns, stock::run),
    );
    if std::env::var_os("BARGE_REWRITE_FILTER_CASES").is_none() {
        compare(&cases, &of_cases, |_| false);
        compare(&patterns, &of_patterns, |_| false);
        return;
    }
    for (case, outcome) in cases.iter_mut().zip(of_cases) {
        case.outcome = outcome;
    }
    for (case, outcome) in patterns.iter_mut().zip(of_patterns) {
        case.outcome = outcome;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::write(folder.join(CASES), cases::write_cases(&text, &cases)).unwrap();
    std::fs::write(
        folder.join(PATTERNS),
        cases::write_patterns(&table, &patterns),
    )
    .unwrap();
}
