//! Source arguments: which directory a name is in, and which path it gets in the transfer.
//!
//! Source: rsync(1), «USAGE» and «--relative», and rsync 3.5.0 as it behaves.

use crate::over_rsync::failure::{Failure, exit};

/// A source argument, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Argument {
    /// The directory in which the path begins, as given; empty: where all paths begin, which is what
    /// `.` means.
    pub(crate) dir: Vec<u8>,
    /// The path in the transfer and below `dir`: `.` for the directory itself, else names joined by
    /// slashes, with one in front where an absolute path stays one.
    pub(crate) path: Vec<u8>,
    /// What is in it is meant: listed even without recursion.
    pub(crate) contents: bool,
    /// `--relative` began it with `./`: the directory itself is listed too, as one that leads on.
    pub(crate) from_dot: bool,
}

impl Argument {
    /// Takes an argument apart; `relative` keeps its whole path in the transfer.
    ///
    /// # Errors
    ///
    /// Exit code 1 when it is empty, or is to be kept whole and has a `..`.
    pub(crate) fn new(given: &[u8], relative: bool) -> Result<Self, Failure> {
        if given.is_empty() {
            return Err(Failure::fatal(exit::SYNTAX, "Empty source arg specified."));
        }
        let mut argument = match relative {
            true => Self::whole(given)?,
            false => Self::last_name_of(given),
        };
        if argument.dir == b"." {
            argument.dir.clear();
        }
        Ok(argument)
    }

    fn last_name_of(given: &[u8]) -> Self {
        let trimmed = without_end_slashes(given);
        let (dir, last) = split_last(trimmed);
        let contents =
            trimmed.len() < given.len() || matches!(last, b"." | b"..") || last.is_empty();
        let (dir, path) = match contents {
            false => (dir, last),
            true if last == b"." => (dir, &b"."[..]),
            true => (trimmed, &b"."[..]),
        };
        Self {
            dir: dir.to_vec(),
            path: path.to_vec(),
            contents,
            from_dot: false,
        }
    }

    fn whole(given: &[u8]) -> Result<Self, Failure> {
        let (dir, path) = match given.windows(3).position(|part| part == b"/./") {
            Some(0) => (&b"/"[..], &given[3..]),
            Some(at) => (&given[..at], &given[at + 3..]),
            None => (&b""[..], given),
        };
        let mut names = path.split(|&byte| byte == b'/');
        if names.any(|name| name == b"..") {
            let path = without_end_slashes(path).escape_ascii();
            let text = format!("found \"..\" dir in relative path: {path}");
            return Err(Failure::fatal(exit::SYNTAX, text));
        }
        let is_name = |name: &&[u8]| !matches!(*name, b"" | b".");
        let names: Vec<_> = path.split(|&byte| byte == b'/').filter(is_name).collect();
        let absolute = path.starts_with(b"/") && dir.is_empty();
        let ends_open = path.is_empty() || path.ends_with(b"/") || path.ends_with(b"/.");
        let mut whole = names.join(&b'/');
        if absolute && !whole.is_empty() {
            whole.insert(0, b'/');
        }
        let dir = match absolute && whole.is_empty() {
            true => b"/".to_vec(),
            false => dir.to_vec(),
        };
        let contents = ends_open || whole.is_empty();
        let from_dot = path.starts_with(b"./") && !whole.is_empty();
        if whole.is_empty() {
            whole.push(b'.');
        }
        Ok(Self {
            dir,
            path: whole,
            contents,
            from_dot,
        })
    }
}

/// A path that stays below where it begins: no slash in front, and `..` goes no further up than that.
/// A dot between slashes keeps its meaning, as does a slash at the end.
pub(super) fn below(path: &[u8]) -> Vec<u8> {
    let ends_open = path.ends_with(b"/") || path.ends_with(b"/.") || path.ends_with(b"..");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
    {
        match name {
            b".." => while names.pop().is_some_and(|name| name == b".") {},
            name => names.push(name),
        }
    }
    while names.last().is_some_and(|name| *name == b".") {
        names.pop();
    }
    let mut below = names.join(&b'/');
    match below.is_empty() {
        true => below.push(b'.'),
        false if ends_open => below.push(b'/'),
        false => {}
    }
    below
}

/// The path of a directory and a path below it; either may be empty or `.`.
pub(super) fn join(dir: &[u8], path: &[u8]) -> Vec<u8> {
    match (dir, path) {
        (b"", b"" | b".") => b".".to_vec(),
        (b"", path) => path.to_vec(),
        (dir, b"" | b".") => dir.to_vec(),
        (dir, path) if dir.ends_with(b"/") => [dir, path].concat(),
        (dir, path) => [dir, b"/", path].concat(),
    }
}

/// The root stays.
fn without_end_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/');
    end.map_or(&path[..1], |end| &path[..=end])
}

/// Splits at the last slash; the directory keeps none at its end, unless it is the root.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        None => (b"", path),
        Some(slash) => (without_end_slashes(&path[..=slash]), &path[slash + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(given: &str, relative: bool) -> (String, String, bool, bool) {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let argument = Argument::new(given.as_bytes(), relative).unwrap();
        let Argument {
            dir,
            path,
            contents,
            from_dot,
        } = argument;
        (text(dir), text(path), contents, from_dot)
    }

    #[test]
    fn last_name_goes_into_the_transfer_and_a_slash_means_what_is_in_it() {
        for (given, dir, path, contents) in [
            ("a", "", "a", false),
            ("a/b", "a", "b", false),
            ("a/", "a", ".", true),
            ("a/.", "a", ".", true),
            ("a/b/..", "a/b/..", ".", true),
            (".", "", ".", true),
            ("./", "", ".", true),
            ("..", "..", ".", true),
            ("../t/b", "../t", "b", false),
            ("/", "/", ".", true),
            ("/x", "/", "x", false),
            ("//x/a//d//", "//x/a//d", ".", true),
            ("//x//d", "//x", "d", false),
        ] {
            let expected = (dir.into(), path.into(), contents, false);
            assert_eq!(argument(given, false), expected, "{given}");
        }
    }

    #[test]
    fn relative_argument_keeps_its_path_from_the_dot_on() {
        for (given, dir, path, contents, from_dot) in [
            ("a/b", "", "a/b", false, false),
            ("a/b/", "", "a/b", true, false),
            ("a/b/.", "", "a/b", true, false),
            ("a/./b/c", "a", "b/c", false, false),
            ("a/./b/./c", "a", "b/c", false, false),
            ("a/b/./", "a/b", ".", true, false),
            (".", "", ".", true, false),
            ("./", "", ".", true, false),
            ("./a/d", "", "a/d", false, true),
            ("././a/d", "", "a/d", false, false),
            ("/x/t//a", "", "/x/t/a", false, false),
            ("/./x", "/", "x", false, false),
            ("/x/./t/a", "/x", "t/a", false, false),
            ("/", "/", ".", true, false),
        ] {
            let expected = (dir.into(), path.into(), contents, from_dot);
            assert_eq!(argument(given, true), expected, "{given}");
        }
    }

    #[test]
    fn path_of_a_peer_stays_below_where_it_begins() {
        for (path, stays) in [
            ("a/b", "a/b"),
            ("/a//b", "a/b"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../b", "b"),
            ("a/b/..", "a/"),
            ("a/./b", "a/./b"),
            ("a/./../b", "b"),
            ("a/b/", "a/b/"),
            ("a/b/.", "a/b/"),
            ("", "."),
            ("/", "."),
            ("..", "."),
            ("./a", "./a"),
        ] {
            assert_eq!(below(path.as_bytes()), stays.as_bytes(), "{path}");
        }
    }

    #[test]
    fn argument_that_is_none_or_climbs_where_its_path_is_kept_is_refused() {
        for (given, relative) in [("", false), ("", true), ("../a", true), ("a/../b", true)] {
            let refusal = Argument::new(given.as_bytes(), relative).unwrap_err();
            assert_eq!(refusal.exit_code(), 1, "{given}");
        }
        assert!(Argument::new(b"../x/./b", true).is_ok());
    }
}
