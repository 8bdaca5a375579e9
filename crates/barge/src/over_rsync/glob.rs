//! The wildcards of a client's paths, expanded below a module and never out of it.
//!
//! Source: rsync(1), «ADVANCED USAGE», and rsync 3.5.0 as it behaves.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use barge_fs::{Root, StatKind};
use barge_types::{Name, RelPath};

use super::wild::wild;
use crate::filter::{RuleList, RuleSide};

/// The paths that match, in order; the path itself where it has no wildcard or nothing matches. What
/// `rules` hide matches nothing: what is said of it would tell its name. `None` when more than
/// [`MOST_NAMES`] had to be looked at, of all paths of a run: `looked` counts them.
pub(super) fn expand(
    root: &Root,
    path: &[u8],
    rules: &RuleList,
    looked: &mut usize,
) -> Option<Vec<PathBuf>> {
    if !has_wildcards(path) {
        return Some(vec![literal(path)]);
    }
    let mut found = vec![RelPath::root()];
    for part in parts(path) {
        let dirs = std::mem::take(&mut found);
        for dir in &dirs {
            found.extend(matches(root, dir, part, rules, looked));
            if *looked > MOST_NAMES {
                return None;
            }
        }
    }
    if found.is_empty() {
        return Some(vec![literal(path)]);
    }
    found.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    let whole = |found: &RelPath| {
        let parts = found.as_bytes().split(|&byte| byte == b'/');
        joined(parts.collect(), path)
    };
    Some(found.iter().map(whole).collect())
}

/// A path as it is: its components below the module, none of which leads out of it.
pub(super) fn literal(path: &[u8]) -> PathBuf {
    let parts = parts(path);
    match parts.is_empty() {
        true => path_of(b"./".to_vec()),
        false => joined(parts, path),
    }
}

/// The components that a path as given has come to, with its slash at the end, and the first dot
/// before one of them: there `--relative` begins.
fn joined(mut components: Vec<&[u8]>, given: &[u8]) -> PathBuf {
    let dot = match given.windows(3).position(|part| part == b"/./") {
        None if given.starts_with(b"./") => Some(0),
        dot => dot,
    };
    let before = dot.map(|dot| parts(&given[..dot]).len());
    if let Some(before) = before.filter(|before| *before < components.len()) {
        components.insert(before, b".");
    }
    let slash: &[u8] = if given.ends_with(b"/") { b"/" } else { b"" };
    path_of([&components.join(&b'/')[..], slash].concat())
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// The components of a client's path in a module: none leads out of it, since `..` takes the one
/// before it away, if there is one.
pub(super) fn parts(path: &[u8]) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// With a backslash before it or not: then it is looked for as a pattern too.
fn has_wildcards(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"*?[".contains(byte))
}

/// The entries of a directory that match one component, and that `rules` do not hide.
fn matches(
    root: &Root,
    dir: &RelPath,
    part: &[u8],
    rules: &RuleList,
    looked: &mut usize,
) -> Vec<RelPath> {
    *looked += 1;
    let Ok(opened) = root.dir(dir) else {
        return Vec::new();
    };
    let is_hidden = |path: &RelPath, name: &Name, kind: Option<StatKind>| {
        let found = || opened.find(name).ok().flatten().map(|stat| stat.kind);
        let is_dir = || kind.or_else(found) == Some(StatKind::Directory);
        !rules.is_empty() && rules.refuses(path.as_bytes(), is_dir(), RuleSide::Sending)
    };
    let shown = |name: &Name, kind| {
        let path = dir.join(name);
        (!is_hidden(&path, name, kind)).then_some(path)
    };
    if !has_wildcards(part) {
        let name = Name::new(part).ok();
        let there = name.filter(|name| matches!(opened.find(name), Ok(Some(_))));
        return there
            .and_then(|name| shown(&name, None))
            .into_iter()
            .collect();
    }
    let Ok(names) = opened.names() else {
        return Vec::new();
    };
    let fits = |name: &Name| {
        let has_dot = name.as_bytes().starts_with(b".") && !part.starts_with(b".");
        !has_dot && wild(part, name.as_bytes())
    };
    let left = (MOST_NAMES + 1).saturating_sub(*looked);
    let names = names.filter_map(Result::ok).take(left);
    let names = names.inspect(|_| *looked += 1);
    let names = names.filter(|listed| fits(&listed.name));
    names
        .filter_map(|listed| shown(&listed.name, listed.kind))
        .collect()
}

/// Names that are compared with the wildcards of one run at most: some seconds' work.
const MOST_NAMES: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{DaemonRules, RuleSources};

    /// As rsync 3.5.0's daemon takes them.
    #[test]
    fn wildcards_are_expanded_below_the_module() {
        let folder = tempfile::tempdir().unwrap();
        for dir in ["a*b", "axb", "d/one", "d/two", "x\\y", ".hidden"] {
            std::fs::create_dir_all(folder.path().join(dir)).unwrap();
        }
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for (path, expected) in [
            ("a*b", &["a*b", "axb"][..]),
            ("a\\*b", &["a*b"]),
            ("x\\y", &["x\\y"]),
            ("d/*", &["d/one", "d/two"]),
            ("*/t?o/", &["d/two/"]),
            ("d/[o]*", &["d/one"]),
            ("nope*", &["nope*"]),
            ("*idden", &["*idden"]),
            ("out/e*", &["out/e*"]),
            ("../d/*o", &["d/two"]),
            ("d/./*o", &["d/./two"]),
            ("d/../a?b", &["a*b", "axb"]),
        ] {
            let found = expand(&root, path.as_bytes(), &RuleList::default(), &mut 0).unwrap();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    /// As rsync 3.5.0's daemon answers: the wildcard itself is not there.
    #[test]
    fn what_a_module_hides_matches_no_wildcard() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("secret/in")).unwrap();
        std::fs::create_dir(folder.path().join("second")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let mut sources = RuleSources {
            read: &mut |_| Err(std::io::ErrorKind::Unsupported.into()),
            cvsignore: None,
            cvsignore_variable: None,
        };
        let given = DaemonRules {
            exclude: b"/secret/",
            ..DaemonRules::default()
        };
        let rules = RuleList::of_daemon(&given, &mut sources).unwrap();
        for (path, expected) in [
            ("sec*", "second"),
            ("secr*", "secr*"),
            ("secret/*", "secret/*"),
            ("secr*/in", "secr*/in"),
            ("*/i*", "*/i*"),
        ] {
            let found = expand(&root, path.as_bytes(), &rules, &mut 0).unwrap();
            assert_eq!(found, [PathBuf::from(expected)], "{path}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_module() {
        for (path, expected) in [
            ("", "./"),
            ("/", "./"),
            ("..", "./"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b/", "b/"),
            ("/abs//./x", "abs/./x"),
            ("./x/./y/", "x/./y/"),
            ("./x", "./x"),
            ("a/..", "./"),
        ] {
            assert_eq!(literal(path.as_bytes()), PathBuf::from(expected), "{path}");
        }
    }

    #[test]
    fn wildcards_of_one_run_look_at_so_many_names_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (root, none) = (Root::open(folder.path()).unwrap(), RuleList::default());
        let mut looked = 0;
        assert_eq!(expand(&root, b"*/x", &none, &mut looked).unwrap().len(), 1);
        assert_eq!(looked, 7, "the root, three names in it, and each of them");
        let mut looked = MOST_NAMES - 2;
        assert!(expand(&root, b"*", &none, &mut looked).is_none());
        assert!(
            expand(&root, b"a", &none, &mut looked).is_some(),
            "no wildcard"
        );
    }
}
