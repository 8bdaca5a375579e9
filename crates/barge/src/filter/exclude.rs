//! Exclude patterns of a native transfer: which names it leaves out.
//!
//! What they mean is told to users in `docs/patterns.md`; the last test tries it with the rsync
//! that is installed.

use std::sync::Arc;

use barge_types::{Name, RelPath};

use super::pattern::Pattern;

/// Why bytes are no exclude pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// No byte at all, or none after `- `.
    #[error("an empty exclude pattern")]
    Empty,
    /// More than 4096 bytes.
    #[error("an exclude pattern of {0} bytes; 4096 are the most")]
    TooLong(usize),
    /// A NUL, which no name holds.
    #[error("a NUL byte in an exclude pattern")]
    Nul,
    /// `+ …` or `!`: to rsync an include, and the clearing of the list.
    #[error(
        "\"{0}\" is no exclude pattern but a rule to include or to clear; if a name is meant, write \
         \"- {0}\""
    )]
    OtherRule(String),
}

/// The exclude patterns of a transfer; empty by default, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Filter(Arc<[Rule]>);

impl Filter {
    /// Checks patterns as a user or a peer gives them and keeps their order.
    ///
    /// A pattern that no name can match (an open bracket, a `\` as the last of a pattern with
    /// wildcards) is none the less a pattern, as it is to rsync.
    ///
    /// # Errors
    ///
    /// [`FilterError`] of the first that is empty, too long, holds a NUL, or is a rule of another
    /// kind.
    pub fn new<I>(patterns: I) -> Result<Self, FilterError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let rules = patterns.into_iter().map(|p| Rule::new(p.as_ref()));
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is excluded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns as they were given: another filter made of them excludes the same.
    pub fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|rule| &*rule.given)
    }

    /// Whether a pattern matches the entry `name` of `dir`.
    ///
    /// Answers for this entry alone: a walk does not enter a directory that is excluded, and so
    /// never asks for what is in it. The time it takes grows with the bytes of the path times
    /// the bytes of the patterns, whatever these are.
    pub fn excludes(&self, dir: &RelPath, name: &Name, is_dir: bool) -> bool {
        let (dir, name) = (dir.as_bytes(), name.as_bytes());
        let mut rules = self.0.iter();
        rules.any(|rule| rule.pattern.matches(dir, name, is_dir))
    }
}

/// One pattern, as given and as matched.
#[derive(Debug)]
struct Rule {
    given: Box<[u8]>,
    pattern: Pattern,
}

impl Rule {
    fn new(given: &[u8]) -> Result<Self, FilterError> {
        Ok(Self {
            pattern: Pattern::new(check(given)?),
            given: given.into(),
        })
    }
}

/// Takes the `- ` off that rsync allows before an exclude pattern.
fn check(given: &[u8]) -> Result<&[u8], FilterError> {
    match given.strip_prefix(b"- ").unwrap_or(given) {
        [] => Err(FilterError::Empty),
        _ if given.len() > MAX_PATTERN => Err(FilterError::TooLong(given.len())),
        _ if given.contains(&0) => Err(FilterError::Nul),
        _ if given == b"!" || given.starts_with(b"+ ") => {
            Err(FilterError::OtherRule(given.escape_ascii().to_string()))
        }
        pattern => Ok(pattern),
    }
}

/// The longest pattern, in bytes: as long as a path can be in one system call (`PATH_MAX`).
const MAX_PATTERN: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn filter(pattern: &[u8]) -> Filter {
        Filter::new([pattern]).unwrap()
    }

    /// Whether `pattern` excludes `path`, which is a directory where it ends in a slash.
    fn excludes(pattern: &str, path: &str) -> bool {
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |p| (p, true));
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = RelPath::new(dir.as_bytes()).unwrap();
        let name = Name::new(name.as_bytes()).unwrap();
        filter(pattern.as_bytes()).excludes(&dir, &name, is_dir)
    }

    #[test]
    fn pattern_excludes_what_rsync_documents() {
        for (pattern, excluded, kept) in [
            ("*.o", &["x.o", "a/b/.o", "x.o/"][..], &["x.oo", "x.c"][..]),
            ("/foo", &["foo", "foo/"], &["a/foo", "foo/a"]),
            ("foo/", &["foo/", "a/foo/"], &["foo", "a/foo"]),
            (
                "foo/bar",
                &["foo/bar", "a/foo/bar"],
                &["xfoo/bar", "foo/a/bar", "bar"],
            ),
            (
                "foo/*/bar",
                &["foo/a/bar", "b/foo/a/bar"],
                &["foo/bar", "foo/a/b/bar"],
            ),
            (
                "/foo/**/bar",
                &["foo/a/bar", "foo/a/b/bar"],
                &["foo/bar", "b/foo/a/bar"],
            ),
            (
                "foo/**/bar",
                &["foo/a/bar", "b/foo/a/bar"],
                &["foo/bar", "xfoo/a/bar"],
            ),
            ("**/foo", &["foo", "a/b/foo"], &["xfoo", "foo/a"]),
            ("**foo", &["foo", "a/xfoo"], &["foo/a"]),
            (
                "dir/***",
                &["dir/", "a/dir/", "dir/x", "dir/a/x"],
                &["dir", "xdir/"],
            ),
            ("dir/**", &["dir/x", "dir/a/x"], &["dir/", "dir"]),
            ("fo?", &["foo", "fo?"], &["fo", "fooo"]),
            ("a?b", &["aab"], &["a/b"]),
            ("[a-cx]1", &["a1", "c1", "x1"], &["d1", "-1"]),
            ("[!a-c]1", &["d1", "-1"], &["a1"]),
            ("[^a-c]1", &["d1", "-1"], &["a1"]),
            ("[[:digit:]_]", &["7", "_"], &["a", ":"]),
            ("a/[!b]/c", &["a/x/c"], &["a/b/c"]),
        ] {
            for path in excluded {
                assert!(excludes(pattern, path), "{pattern} keeps {path}");
            }
            for path in kept {
                assert!(!excludes(pattern, path), "{pattern} excludes {path}");
            }
        }
    }

    #[test]
    fn backslash_escapes_only_beside_a_wildcard() {
        for (pattern, path, excluded) in [
            ("a\\b", "a\\b", true),
            ("a\\b", "ab", false),
            ("a\\b*", "ab", true),
            ("a\\b*", "a\\b", false),
            ("a\\\\b*", "a\\b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*\\", "a\\", false),
            ("[\\]]", "]", true),
        ] {
            assert_eq!(excludes(pattern, path), excluded, "{pattern} and {path}");
        }
    }

    #[test]
    fn odd_bracket_means_what_it_means_to_rsync() {
        for (pattern, path, excluded) in [
            ("[a", "[a", false),
            ("[a*", "[a", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a-]", "-", true),
            ("[b-a]", "a", false),
            ("[[:no:]a]", "a", false),
            ("[[:alpha:]", "a", false),
            ("a[[:]", "a:", true),
            ("a[.-0]", "a.", true),
            ("**a[.-0]b", "a/b", false),
            ("[a/b]c", "ac", false),
            ("/[a/b]c", "ac", true),
            ("**[a/b]c", "d/ac", true),
        ] {
            assert_eq!(excludes(pattern, path), excluded, "{pattern} and {path}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_match_as_bytes() {
        let name = Name::new(b"a\xff\n").unwrap();
        for pattern in [&b"a\xff\n"[..], b"a?\n", b"a[\x80-\xff]*", b"a[!b]?"] {
            let filter = filter(pattern);
            assert!(
                filter.excludes(&RelPath::root(), &name, false),
                "{}",
                pattern.escape_ascii()
            );
        }
        assert!(!filter(b"a[[:alpha:]]*").excludes(&RelPath::root(), &name, false));
    }

    #[test]
    fn filter_refuses_what_is_no_exclude_pattern() {
        let long = [b'a'; MAX_PATTERN + 1];
        let other = |rule: &str| FilterError::OtherRule(rule.to_owned());
        for (pattern, why) in [
            (&b""[..], FilterError::Empty),
            (b"- ", FilterError::Empty),
            (&long, FilterError::TooLong(MAX_PATTERN + 1)),
            (b"a\0", FilterError::Nul),
            (b"+ a", other("+ a")),
            (b"!", other("!")),
        ] {
            assert_eq!(
                Filter::new([pattern]).unwrap_err(),
                why,
                "{}",
                pattern.escape_ascii()
            );
        }
        assert!(Filter::new([&long[1..]]).is_ok());
    }

    #[test]
    fn dash_and_blank_make_a_pattern_of_what_follows() {
        for (pattern, path) in [
            ("- b", "b"),
            ("- !", "!"),
            ("- + b", "+ b"),
            ("- - b", "- b"),
        ] {
            assert!(excludes(pattern, path), "{pattern}");
        }
        assert!(!excludes("- b", "- b"));
    }

    #[test]
    fn filter_gives_its_patterns_back_in_order() {
        let given = [&b"- b"[..], b"a/", b"/c\xff"];
        let filter = Filter::new(given).unwrap();
        assert!(filter.patterns().eq(given));
        assert!(!filter.is_empty());
        assert!(Filter::default().is_empty());
    }

    #[test]
    fn rsync_excludes_the_same() {
        if Command::new("rsync").arg("--version").output().is_err() {
            println!("skipped: rsync is not installed");
            return;
        }
        let tree = tempfile::tempdir().unwrap();
        make_tree(tree.path());
        let mut random = Random(1);
        for _ in 0..200 {
            let pattern = random.pattern();
            let mut kept = BTreeSet::new();
            walk(
                tree.path(),
                &RelPath::root(),
                &filter(pattern.as_bytes()),
                &mut kept,
            );
            assert_eq!(kept, kept_by_rsync(tree.path(), &pattern), "{pattern}");
        }
    }

    /// Three levels of short names of the characters that patterns are made of.
    fn make_tree(root: &Path) {
        let dirs = ["", "d", "d/a", "ab", "a.d", "a.d/b", "d/[d]"].map(|dir| root.join(dir));
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap();
        }
        let names = [
            "a", "b", "ab", "-", "!", "]", "[a", "a]", "a*", "\\", "a\\b", ":", "a b",
        ];
        for file in dirs.iter().flat_map(|dir| names.map(|name| dir.join(name))) {
            if !file.exists() {
                fs::write(file, "").unwrap();
            }
        }
    }

    fn walk(root: &Path, dir: &RelPath, filter: &Filter, kept: &mut BTreeSet<String>) {
        let here = root.join(std::str::from_utf8(dir.as_bytes()).unwrap());
        for entry in fs::read_dir(here).unwrap().map(Result::unwrap) {
            let name = Name::new(entry.file_name().as_encoded_bytes()).unwrap();
            let is_dir = entry.file_type().unwrap().is_dir();
            if filter.excludes(dir, &name, is_dir) {
                continue;
            }
            let path = dir.join(&name);
            kept.insert(String::from_utf8(path.as_bytes().to_owned()).unwrap());
            if is_dir {
                walk(root, &path, filter, kept);
            }
        }
    }

    fn kept_by_rsync(root: &Path, pattern: &str) -> BTreeSet<String> {
        let output = Command::new("rsync")
            .env("LC_ALL", "C")
            .args(["-r", "--list-only", &format!("--exclude={pattern}")])
            .arg(root.join(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{pattern}: {output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        // Mode, size, date, time; then one blank and the name, which may hold blanks.
        let names = lines.lines().map(|line| &line[LIST_NAME_COLUMN..]);
        names
            .filter(|&name| name != ".")
            .map(str::to_owned)
            .collect()
    }

    /// Where `rsync --list-only` writes the name, for files below 100 GB.
    const LIST_NAME_COLUMN: usize = 46;

    /// xorshift64, so that a failure comes again.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % limit as u64) as usize
        }

        fn pattern(&mut self) -> String {
            let pieces = [
                "a",
                "b",
                "d",
                "ab",
                ".",
                "-",
                "!",
                "^",
                ":",
                " ",
                "/",
                "/",
                "\\",
                "?",
                "*",
                "*",
                "**",
                "***",
                "/**",
                "**/",
                "/***",
                "[",
                "]",
                "[ab]",
                "[!a]",
                "[a-d]",
                "[^-a]",
                "[[:alpha:]]",
                "[:punct:]",
                "[a/]",
                "[\\]]",
                "[",
                "]",
            ];
            loop {
                let count = 1 + self.below(6);
                let pattern: String = (0..count)
                    .map(|_| pieces[self.below(pieces.len())])
                    .collect();
                if Filter::new([&pattern]).is_ok() {
                    return pattern;
                }
            }
        }
    }
}
