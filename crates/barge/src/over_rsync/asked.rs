//! What a receiving client asked its server for: nothing else may be listed, and only there may
//! anything be deleted, whatever the server says of its directories.
//!
//! Source: rsync(1), «--trust-sender», «--relative» and «--delete».

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use barge_rsync::options::{FilesFrom, Options};

use super::sender::Argument;
use super::wild::wild;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    recursive: bool,
    /// Directories on the way to a path are listed too.
    relative: bool,
    /// Names of a list are added while it is read.
    named: RwLock<Named>,
}

/// The paths that were asked for, as a list has them.
#[derive(Debug, Default)]
struct Named {
    /// The contents of the directory in which paths begin are among it.
    everything: bool,
    /// There are paths of which only the server knows what they come to.
    untold: bool,
    /// Whole paths, and whether the contents are meant where nothing is recursive.
    paths: HashMap<Vec<u8>, bool>,
    /// Directories on the way to them.
    above: HashSet<Vec<u8>>,
    /// Names with wildcards, one for each part of a path, and the same.
    patterns: Vec<(Vec<Vec<u8>>, bool)>,
}

impl Asked {
    /// What `args` ask for, the server's paths; in a module each begins with its name. Of a list on
    /// this side nothing yet. `None` when that cannot be told, or is the server's to say.
    pub(crate) fn of(options: &Options, args: &[&[u8]], in_module: bool) -> Option<Self> {
        if options.trust_sender || options.old_args > 0 {
            return None;
        }
        let mut named = Named::default();
        match &options.files_from {
            Some(FilesFrom::Local(_)) => {}
            Some(_) => return None,
            None => {
                for arg in args {
                    let path = match in_module {
                        true => in_its_module(arg),
                        false => arg,
                    };
                    named.add(path, options.relative)?;
                }
            }
        }
        Some(Self {
            recursive: options.recursive,
            relative: options.relative,
            named: RwLock::new(named),
        })
    }

    /// A name of a list on this side, before the server hears of it.
    pub(crate) fn also(&self, name: &[u8]) {
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        let leads_up = name.split(|&byte| byte == b'/').any(|part| part == b"..");
        match Argument::new(name, self.relative) {
            Ok(argument) if !leads_up => {
                named.add_path(below_root(&argument.path), argument.contents)
            }
            _ => named.untold = true,
        }
    }

    fn named(&self) -> RwLockReadGuard<'_, Named> {
        self.named.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a path may be listed.
    pub(crate) fn has(&self, path: &[u8], is_dir: bool) -> bool {
        let (path, named) = (below_root(path), self.named());
        let leads_on = || self.relative && is_dir && named.leads_on(path);
        named.everything || named.untold || named.reaches(path) || leads_on()
    }

    /// Whether all that is in a directory was asked for, so that what is not listed there may be
    /// deleted.
    pub(crate) fn has_contents_of(&self, path: &[u8]) -> bool {
        let (path, named) = (below_root(path), self.named());
        match self.recursive {
            true => named.everything || named.reaches(path),
            false => named.has_contents(path),
        }
    }
}

impl Named {
    fn add(&mut self, arg: &[u8], relative: bool) -> Option<()> {
        let arg = if arg.is_empty() { b"." } else { arg };
        let argument = Argument::new(arg, relative).ok()?;
        let path = below_root(&argument.path);
        let has_wildcards = path.iter().any(|byte| b"*?[\\".contains(byte));
        let is_home = argument.dir.is_empty() && path.starts_with(b"~");
        match path {
            // Where a home is, the server's shell knows.
            _ if is_home && relative => return None,
            _ if is_home => self.patterns.push((vec![b"*".to_vec()], argument.contents)),
            path if has_wildcards => {
                let parts = path.split(|&byte| byte == b'/');
                let parts = parts.map(<[u8]>::to_vec).collect();
                self.patterns.push((parts, argument.contents));
            }
            path => self.add_path(path, argument.contents),
        }
        Some(())
    }

    fn add_path(&mut self, path: &[u8], with_contents: bool) {
        if path == b"." {
            self.everything = true;
            return;
        }
        let contents = self.paths.entry(path.to_vec()).or_default();
        *contents |= with_contents;
        self.above.extend(above(path).map(<[u8]>::to_vec));
    }

    /// Whether a path itself was asked for, with what is in it.
    fn has_contents(&self, path: &[u8]) -> bool {
        let count = path.split(|&byte| byte == b'/').count();
        let of_pattern = |(parts, contents): &(Vec<Vec<u8>>, bool)| {
            *contents && count == parts.len() && begins(path, parts)
        };
        (self.everything && path == b".")
            || self.paths.get(path) == Some(&true)
            || self.patterns.iter().any(of_pattern)
    }

    /// Whether a path, or one above it, was asked for.
    fn reaches(&self, path: &[u8]) -> bool {
        self.paths.contains_key(path)
            || above(path).any(|above| self.paths.contains_key(above))
            || self.patterns.iter().any(|(parts, _)| begins(path, parts))
    }

    /// Whether something below a path was asked for.
    fn leads_on(&self, path: &[u8]) -> bool {
        let count = path.split(|&byte| byte == b'/').count();
        let leads = |parts: &Vec<Vec<u8>>| count < parts.len() && begins(path, &parts[..count]);
        path == b"."
            || self.above.contains(path)
            || self.patterns.iter().any(|(parts, _)| leads(parts))
    }
}

/// Whether the first parts of a path match.
fn begins(path: &[u8], parts: &[Vec<u8>]) -> bool {
    if path == b"." {
        return false;
    }
    let mut names = path.split(|&byte| byte == b'/');
    parts.iter().all(|part| {
        let name = names.next();
        // What matches nothing is taken as it stands.
        name.is_some_and(|name| part == name || wild(part, name))
    })
}

/// The directories above a path, the root of all not among them.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

/// A path without what an absolute one begins with.
fn below_root(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

/// A module's path without the module's name.
fn in_its_module(path: &[u8]) -> &[u8] {
    let slash = path.iter().position(|&byte| byte == b'/');
    slash.map_or(b"", |slash| &path[slash + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str], set: impl Fn(&mut Options)) -> Option<Asked> {
        let mut options = Options {
            recursive: true,
            ..Options::default()
        };
        set(&mut options);
        let args: Vec<_> = args.iter().map(|arg| arg.as_bytes()).collect();
        Asked::of(&options, &args, false)
    }

    fn has(asked: &Asked, paths: &[&str]) -> Vec<bool> {
        let has = |path: &&str| asked.has(path.as_bytes(), true);
        paths.iter().map(has).collect()
    }

    fn deletes(asked: &Asked, paths: &[&str]) -> Vec<bool> {
        let deletes = |path: &&str| asked.has_contents_of(path.as_bytes());
        paths.iter().map(deletes).collect()
    }

    #[test]
    fn a_name_is_asked_for_with_all_that_is_in_it_and_nothing_beside_it() {
        let asked = asked(&["/srv/a", "b.*", "c[1"], |_| ()).unwrap();
        let paths = [
            "a", "a/x/y", "b.c", "b.c/d", "c[1", ".", "b", "srv", "srv/a", "ab",
        ];
        let expected = [
            true, true, true, true, true, false, false, false, false, false,
        ];
        assert_eq!(has(&asked, &paths), expected);
        assert_eq!(deletes(&asked, &paths), expected);
    }

    #[test]
    fn contents_of_a_directory_are_everything() {
        for arg in ["dir/", "dir/.", ".", "", "dir/*/", ".."] {
            let asked = asked(&[arg], |_| ()).unwrap();
            assert_eq!(has(&asked, &[".", "x/y"]), [true; 2], "{arg}");
            assert_eq!(deletes(&asked, &[".", "x/y"]), [true; 2], "{arg}");
        }
    }

    #[test]
    fn what_leads_to_a_path_is_listed_and_keeps_its_contents() {
        let relative = |options: &mut Options| options.relative = true;
        for arg in [
            "a/b/c",
            "/a/b/c/",
            "/srv/./a/b/c",
            "a/[b]/c",
            "a/?/c/",
            "./a/b/c",
        ] {
            let asked = asked(&[arg], relative).unwrap();
            let paths = [
                ".", "a", "a/b", "a/b/c", "a/b/c/d", "/a/b/c", "a/xx", "a/b/d", "x",
            ];
            let listed = [true, true, true, true, true, true, false, false, false];
            assert_eq!(has(&asked, &paths)[1..], listed[1..], "{arg}");
            assert!(asked.has(b".", true), "{arg}");
            let deletes_in = [false, false, false, true, true, true, false, false, false];
            assert_eq!(deletes(&asked, &paths), deletes_in, "{arg}");
            assert!(!asked.has(b"a/b", false), "only a directory leads on");
        }
    }

    #[test]
    fn without_recursion_contents_are_those_that_were_named_so() {
        let dirs = |options: &mut Options| (options.recursive, options.relative) = (false, true);
        let asked = asked(&["a/b/", "c", "d*/"], dirs).unwrap();
        let paths = [".", "a", "a/b", "a/b/x", "c", "d1", "d1/x"];
        let expected = [false, false, true, false, false, true, false];
        assert_eq!(deletes(&asked, &paths), expected);
    }

    #[test]
    fn what_only_the_server_can_tell_is_not_known() {
        let relative = |options: &mut Options| options.relative = true;
        assert!(asked(&["~/a"], relative).is_none());
        assert!(asked(&["a/../b"], relative).is_none());
        assert!(asked(&["a"], |options| options.trust_sender = true).is_none());
        assert!(asked(&["{a,b}"], |options| options.old_args = 1).is_none());
        let home = asked(&["~"], |_| ()).unwrap();
        assert_eq!(has(&home, &["me", "me/x", "."]), [true, true, false]);
        assert_eq!(deletes(&home, &["me", "."]), [true, false]);
    }

    #[test]
    fn a_module_s_name_is_none_of_the_path() {
        let options = Options {
            recursive: true,
            ..Options::default()
        };
        for (arg, everything) in [("m/", true), ("m/a", false), ("m/a/", true)] {
            let asked = Asked::of(&options, &[arg.as_bytes()], true).unwrap();
            assert_eq!(asked.has(b".", true), everything, "{arg}");
            assert!(asked.has(b"a", true), "{arg}");
        }
    }

    #[test]
    fn names_of_a_list_are_asked_for_as_they_stand() {
        let listed = |options: &mut Options| {
            options.relative = true;
            options.files_from = Some(FilesFrom::Local("names".into()));
        };
        let asked = asked(&["src/"], listed).unwrap();
        assert_eq!(has(&asked, &["a", "x"]), [false; 2]);
        for name in ["a/b", "/c*/", "./d"] {
            asked.also(name.as_bytes());
        }
        let paths = [".", "a", "a/b", "a/b/x", "c*/x", "cc", "d", "e"];
        let expected = [true, true, true, true, true, false, true, false];
        assert_eq!(has(&asked, &paths), expected);
        let expected = [false, false, true, true, true, false, true, false];
        assert_eq!(deletes(&asked, &paths), expected);
        asked.also(b"a/../e");
        assert_eq!(has(&asked, &["e"]), [true]);
        assert_eq!(deletes(&asked, &["e"]), [false]);
    }
}
