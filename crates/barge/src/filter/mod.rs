//! Exclude patterns: which names a transfer leaves out, by rsync's rules.
//!
//! What a pattern means is told to users in `docs/patterns.md`. Source: rsync(1), «PATTERN
//! MATCHING RULES»; what the page leaves open (odd brackets, slashes in brackets) was tried out
//! with rsync 3.5.0, and the last test tries it again with the one that is installed.

mod rules;

use std::mem;
use std::sync::Arc;

use barge_types::{Name, RelPath};

pub use rules::{
    DaemonRules, ReadAbove, RuleError, RuleList, RuleSide, RuleSources, Scope, rules_cross,
};

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
        self.0.iter().any(|rule| rule.matches(dir, name, is_dir))
    }
}

/// One pattern, ready to be matched.
#[derive(Debug)]
struct Rule {
    given: Box<[u8]>,
    /// It ended in a slash.
    only_dirs: bool,
    /// It ends in `***`: a directory is matched with a slash after its name, so that `dir/***`
    /// takes `dir` itself.
    slash_after_dirs: bool,
    /// It is matched against the path with a slash in front; else against the name.
    whole_path: bool,
    /// `None` where no name can match.
    tokens: Option<Vec<Token>>,
}

impl Rule {
    fn new(given: &[u8]) -> Result<Self, FilterError> {
        let pattern = check(given)?;
        let (pattern, only_dirs) = match pattern.strip_suffix(b"/") {
            Some(pattern) => (pattern, true),
            None => (pattern, false),
        };
        let whole_path = pattern.contains(&b'/') || has_double_star(pattern);
        let read = if whole_path { path_tokens } else { tokens };
        Ok(Self {
            given: given.into(),
            only_dirs,
            slash_after_dirs: pattern.ends_with(b"***"),
            whole_path,
            tokens: read(pattern),
        })
    }

    fn matches(&self, dir: &RelPath, name: &Name, is_dir: bool) -> bool {
        let Some(tokens) = &self.tokens else {
            return false;
        };
        let name = name.as_bytes();
        let slash_after = is_dir && self.slash_after_dirs;
        let after: &[u8] = if slash_after { b"/" } else { b"" };
        // The last byte alone rules most names out, at a fraction of the price.
        let last = after.first().or(name.last());
        if (self.only_dirs && !is_dir) || !last.is_some_and(|&b| may_end_in(tokens, b)) {
            return false;
        }
        if !self.whole_path {
            return matches(tokens, name.iter().copied());
        }
        let before: &[u8] = if dir.is_root() { b"" } else { b"/" };
        let path = [before, dir.as_bytes(), b"/", name, after];
        matches(tokens, path.into_iter().flatten().copied())
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

/// The tokens of a pattern that is matched against a whole path with a slash in front.
fn path_tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = tokens(pattern)?;
    if pattern.starts_with(b"/") || pattern.starts_with(b"**") {
        return Some(tokens);
    }
    // rsync counts slashes to find the tail of the path that a pattern without `**` is held
    // against, and counts those in brackets, where they match nothing.
    let counted = pattern.iter().filter(|&&b| b == b'/').count();
    let matching = tokens.iter().filter(|&t| *t == Token::Byte(b'/')).count();
    if counted != matching && !has_double_star(pattern) {
        return None;
    }
    tokens.splice(0..0, [Token::DoubleStar, Token::Byte(b'/')]);
    Some(tokens)
}

/// As rsync looks for it: anywhere, in brackets and after a backslash too.
fn has_double_star(pattern: &[u8]) -> bool {
    pattern.windows(2).any(|pair| pair == b"**")
}

/// What a piece of a pattern stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    /// This byte.
    Byte(u8),
    /// `?`: a byte but the slash.
    Any,
    /// `[…]`: a byte of these.
    Class(Box<ByteSet>),
    /// `*`: any number of bytes but the slash.
    Star,
    /// `**`: any number of bytes.
    DoubleStar,
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(b) => *b == byte,
            Self::Class(set) => set.contains(byte),
            Self::Any | Self::Star => byte != b'/',
            Self::DoubleStar => true,
        }
    }

    fn repeats(&self) -> bool {
        matches!(self, Self::Star | Self::DoubleStar)
    }
}

/// Reads a pattern; `None` where no name can match. No two tokens in a row repeat.
fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    if !pattern.iter().any(|b| b"*?[".contains(b)) {
        return Some(pattern.iter().map(|&b| Token::Byte(b)).collect());
    }
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let [first, tail @ ..] = rest {
        let token;
        (token, rest) = match (first, tail) {
            (b'*', _) => stars(tail),
            (b'?', _) => (Token::Any, tail),
            (b'[', _) => class(tail)?,
            _ => {
                let (byte, tail) = byte(rest)?;
                (Token::Byte(byte), tail)
            }
        };
        tokens.push(token);
    }
    Some(tokens)
}

/// Reads what follows a star.
fn stars(pattern: &[u8]) -> (Token, &[u8]) {
    match pattern.iter().take_while(|&&b| b == b'*').count() {
        0 => (Token::Star, pattern),
        more => (Token::DoubleStar, &pattern[more..]),
    }
}

/// Reads a class after its `[`; `None` when nothing closes it or it has a name that is none.
fn class(pattern: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'!' | b'^', tail @ ..] => (true, tail),
        _ => (false, pattern),
    };
    let mut set = ByteSet::default();
    // Where a range would begin: the byte before, unless that ends a range or a name.
    let mut from = None;
    let mut first = true;
    while first || !rest.starts_with(b"]") {
        first = false;
        if let Some((name, tail)) = class_name(rest) {
            set.insert_where(class_named(name)?);
            (from, rest) = (None, tail);
            continue;
        }
        match (from, rest) {
            (Some(low), [b'-', tail @ ..]) if !tail.starts_with(b"]") => {
                let (high, tail) = byte(tail)?;
                set.insert_where(|b| (low..=high).contains(&b));
                (from, rest) = (None, tail);
            }
            _ => {
                let (single, tail) = byte(rest)?;
                set.insert_where(|b| b == single);
                (from, rest) = (Some(single), tail);
            }
        }
    }
    let set = if negated { set.inverted() } else { set };
    Some((Token::Class(Box::new(set.without(b'/'))), &rest[1..]))
}

/// Reads a byte, which a backslash may stand before; `None` at the end.
fn byte(pattern: &[u8]) -> Option<(u8, &[u8])> {
    match pattern {
        [b'\\', byte, rest @ ..] => Some((*byte, rest)),
        [b'\\'] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

/// Reads the name in `[:name:]`; `None` when that is not what follows.
fn class_name(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = pattern.strip_prefix(b"[:")?;
    let end = inner.iter().position(|&b| b == b']')?;
    Some((inner[..end].strip_suffix(b":")?, &inner[end + 1..]))
}

/// The classes of isalpha(3) and its kin in the C locale.
fn class_named(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name {
        b"alnum" => |b| b.is_ascii_alphanumeric(),
        b"alpha" => |b| b.is_ascii_alphabetic(),
        b"blank" => |b| b == b' ' || b == b'\t',
        b"cntrl" => |b| b.is_ascii_control(),
        b"digit" => |b| b.is_ascii_digit(),
        b"graph" => |b| b.is_ascii_graphic(),
        b"lower" => |b| b.is_ascii_lowercase(),
        b"print" => |b| b.is_ascii_graphic() || b == b' ',
        b"punct" => |b| b.is_ascii_punctuation(),
        b"space" => |b| b.is_ascii_whitespace() || b == b'\x0b',
        b"upper" => |b| b.is_ascii_uppercase(),
        b"xdigit" => |b| b.is_ascii_hexdigit(),
        _ => return None,
    })
}

/// A set of bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct ByteSet([u64; 4]);

impl ByteSet {
    fn insert_where(&mut self, belongs: impl Fn(u8) -> bool) {
        for byte in (0..=u8::MAX).filter(|&b| belongs(b)) {
            self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }

    fn without(mut self, byte: u8) -> Self {
        self.0[usize::from(byte / 64)] &= !(1 << (byte % 64));
        self
    }

    fn inverted(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] & (1 << (byte % 64)) != 0
    }
}

/// Whether `tokens` can take a text that ends in `last`.
fn may_end_in(tokens: &[Token], last: u8) -> bool {
    tokens
        .last()
        .is_some_and(|token| token.repeats() || token.takes(last))
}

/// Whether `tokens` take all of `text`.
///
/// Follows all ways to match at once instead of trying one after the other: each byte is read
/// once and held against each token at most once.
fn matches(tokens: &[Token], text: impl Iterator<Item = u8>) -> bool {
    // reached[n]: the bytes read so far can be taken by the first n tokens.
    let mut reached = vec![false; tokens.len() + 1];
    reach(&mut reached, tokens, 0);
    for byte in text {
        reached[tokens.len()] = false;
        // Backwards, because a step sets only places already dealt with for this byte.
        for (at, token) in tokens.iter().enumerate().rev() {
            if mem::take(&mut reached[at]) && token.takes(byte) {
                reach(&mut reached, tokens, at + usize::from(!token.repeats()));
            }
        }
        if !reached.contains(&true) {
            return false;
        }
    }
    reached[tokens.len()]
}

/// Marks a place, and the next where a token that repeats may take nothing.
fn reach(reached: &mut [bool], tokens: &[Token], at: usize) {
    reached[at] = true;
    if tokens.get(at).is_some_and(Token::repeats) {
        reached[at + 1] = true;
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
    fn many_stars_read_each_byte_once() {
        let stars = format!("{}b", "a*".repeat(MAX_PATTERN / 2 - 1));
        let deep = format!("{}b", "a**".repeat(MAX_PATTERN / 3 - 1));
        for pattern in [stars, deep] {
            let tokens = tokens(pattern.as_bytes()).unwrap();
            let mut read = 0;
            let text = [b'a'; 255].into_iter().inspect(|_| read += 1);
            assert!(!matches(&tokens, text));
            assert_eq!(read, 255);
        }
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
