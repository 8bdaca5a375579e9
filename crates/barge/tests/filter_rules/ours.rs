//! What our rules do: the same walks, by hand.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use barge::over_rsync::options::{Delete, FilterOption, Options};
use barge::over_rsync::{RuleError, RuleList, RuleSide, RuleSources, Scope};
use barge_fs::{Dir, Root, StatKind};
use barge_types::{Name, RelPath};

use crate::cases::{Case, Outcome, out_of_folder};

pub(crate) fn run(case: &Case, top: &Path) -> Outcome {
    let options = options(&case.args(top), case.deletes());
    let gone = match case.deletes() {
        true => deleted(&options, top),
        false => left_out(&options, top),
    };
    match gone {
        Ok(gone) => Outcome::Out(gone),
        Err(error) => Outcome::Error(error.exit_code, out_of_folder(&error.text, top)),
    }
}

/// The options of a push.
fn options(args: &[String], deletes: bool) -> Options {
    let mut options = Options {
        sender: true,
        recursive: true,
        delete: if deletes { Delete::During } else { Delete::No },
        suffix: b"~".to_vec(),
        ..Options::default()
    };
    let mut f = 0;
    for arg in args {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        let bytes = value.as_bytes().to_vec();
        let filter = match name {
            "--filter" => FilterOption::Rule(bytes),
            "--exclude" => FilterOption::Exclude(bytes),
            "--include" => FilterOption::Include(bytes),
            "--exclude-from" => FilterOption::ExcludeFrom(value.into()),
            "--include-from" => FilterOption::IncludeFrom(value.into()),
            "-F" if f == 0 => FilterOption::Rule(b": /.rsync-filter".to_vec()),
            "-F" => FilterOption::Rule(b"- .rsync-filter".to_vec()),
            "--from0" => {
                options.from0 = true;
                FilterOption::From0(true)
            }
            "-C" => {
                options.cvs_exclude = true;
                continue;
            }
            "-b" => {
                options.backup = true;
                continue;
            }
            "--partial-dir" => {
                options.partial_dir = Some(value.into());
                continue;
            }
            "--delete-excluded" => {
                options.delete_excluded = true;
                continue;
            }
            _ => panic!("{arg}"),
        };
        f += usize::from(name == "-F");
        options.filters.push(filter);
    }
    options
}

fn scope(rules: &RuleList, side: RuleSide, path: &Path) -> Result<(Scope, Dir), RuleError> {
    let mut read = |path: &[u8]| match std::fs::read(std::ffi::OsStr::from_bytes(path)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    };
    let dir = Root::open(path).unwrap().dir(&RelPath::root()).unwrap();
    let absolute = path.as_os_str().as_bytes();
    let none = RuleList::default();
    let scope = Scope::new(&none, rules, side, absolute, &mut read)?;
    Ok((scope.enter_root(&dir)?, dir))
}

fn rules(options: &Options, top: &Path) -> Result<RuleList, RuleError> {
    let mut read = |path: &Path| std::fs::read(top.join(path));
    let mut sources = RuleSources {
        read: &mut read,
        cvsignore: std::fs::read(top.join(".cvsignore")).ok(),
        cvsignore_variable: None,
    };
    RuleList::of_client(options, &mut sources)
}

/// The sending side.
fn left_out(options: &Options, top: &Path) -> Result<BTreeSet<String>, RuleError> {
    let rules = rules(options, top)?;
    let (scope, dir) = scope(&rules, RuleSide::Sending, &top.join("src"))?;
    let mut out = BTreeSet::new();
    list(&scope, &dir, "", &mut out, &mut BTreeSet::new())?;
    Ok(out)
}

fn list(
    scope: &Scope,
    dir: &Dir,
    path: &str,
    out: &mut BTreeSet<String>,
    listed: &mut BTreeSet<String>,
) -> Result<(), RuleError> {
    for (name, is_dir) in entries(dir) {
        let path = format!("{path}{}", std::str::from_utf8(name.as_bytes()).unwrap());
        if scope.excludes(name.as_bytes(), is_dir) {
            out.insert(path);
        } else if is_dir {
            let dir = dir.open_dir(&name).unwrap();
            let below = scope.enter(name.as_bytes(), &dir)?;
            list(&below, &dir, &format!("{path}/"), out, listed)?;
            listed.insert(path);
        } else {
            listed.insert(path);
        }
    }
    Ok(())
}

/// Both sides, the rules having crossed the wire.
fn deleted(options: &Options, top: &Path) -> Result<BTreeSet<String>, RuleError> {
    let rules = rules(options, top)?;
    let (sending, source) = scope(&rules, RuleSide::Sending, &top.join("src"))?;
    let mut listed = BTreeSet::new();
    list(&sending, &source, "", &mut BTreeSet::new(), &mut listed)?;
    let records = rules.records(options);
    let records = records.iter().map(Vec::as_slice);
    let server = Options {
        server: true,
        sender: false,
        ..options.clone()
    };
    let mut sources = RuleSources {
        read: &mut |_| panic!("a server reads no file"),
        cvsignore: None,
        cvsignore_variable: None,
    };
    let rules = RuleList::of_server(&server, records, &mut sources)?;
    let (scope, dir) = scope(&rules, RuleSide::Receiving, &top.join("dst"))?;
    let mut gone = BTreeSet::new();
    delete(&scope, &dir, "", &listed, &mut gone)?;
    Ok(gone)
}

/// Deletes what is not listed; whether nothing is left.
fn delete(
    scope: &Scope,
    dir: &Dir,
    path: &str,
    listed: &BTreeSet<String>,
    gone: &mut BTreeSet<String>,
) -> Result<bool, RuleError> {
    let mut empty = true;
    for (name, is_dir) in entries(dir) {
        let path = format!("{path}{}", std::str::from_utf8(name.as_bytes()).unwrap());
        let stays = listed.contains(&path);
        if !stays && scope.excludes(name.as_bytes(), is_dir) {
            empty = false;
            continue;
        }
        let mut emptied = true;
        if is_dir {
            let dir = dir.open_dir(&name).unwrap();
            let below = scope.enter(name.as_bytes(), &dir)?;
            let below = if stays { below } else { below.dying() };
            emptied = delete(&below, &dir, &format!("{path}/"), listed, gone)?;
        }
        if emptied && !stays {
            gone.insert(path);
        } else {
            empty = false;
        }
    }
    Ok(empty)
}

fn entries(dir: &Dir) -> Vec<(Name, bool)> {
    let names = dir.names().unwrap().map(|entry| entry.unwrap().name);
    let kind = |name: &Name| dir.stat(name).unwrap().kind == StatKind::Directory;
    names.map(|name| (name.clone(), kind(&name))).collect()
}
