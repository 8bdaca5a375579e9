//! One pattern of a rule, and whether a name matches it.
//!
//! What a pattern means is told to users in `docs/patterns.md`. Source: rsync(1), «PATTERN
//! MATCHING RULES»; what the page leaves open (odd brackets, slashes in brackets) was tried out
//! with rsync 3.5.0.

use std::mem;

/// A pattern, ready to be matched.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// It ended in a slash.
    only_dirs: bool,
    /// It ends in `***`: a directory is matched with a slash after its name, so that `dir/***`
    /// takes `dir` itself.
    slash_after_dirs: bool,
    /// It is matched against the path with a slash in front; else against the name.
    whole_path: bool,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// No name can match.
    Nothing,
    /// It has no wildcard.
    Literal(Box<[u8]>),
    Tokens(Box<[Token]>),
}

impl Pattern {
    /// Any bytes are a pattern, as they are to rsync; some match nothing.
    pub(super) fn new(text: &[u8]) -> Self {
        let (text, only_dirs) = match text.strip_suffix(b"/") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let whole_path = text.contains(&b'/') || has_double_star(text);
        let read = if whole_path { path_tokens } else { tokens };
        let shape = match has_wildcard(text) {
            false => Shape::Literal(text.into()),
            true => read(text).map_or(Shape::Nothing, |tokens| Shape::Tokens(tokens.into())),
        };
        Self {
            only_dirs,
            slash_after_dirs: text.ends_with(b"***"),
            whole_path,
            shape,
        }
    }

    /// Whether it matches the entry `name` of `dir`, a path without slashes at its ends.
    ///
    /// The time it takes grows with the bytes of the path times those of the pattern at most.
    pub(super) fn matches(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        let tokens = match &self.shape {
            Shape::Nothing => return false,
            Shape::Literal(_) if self.only_dirs && !is_dir => return false,
            Shape::Literal(text) if self.whole_path => return is_path(text, dir, name),
            Shape::Literal(text) => return **text == *name,
            Shape::Tokens(tokens) => tokens,
        };
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
        let before: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        let path = [before, dir, b"/", name, after];
        matches(tokens, path.into_iter().flatten().copied())
    }
}

/// Whether a name without slashes, or none, matches a pattern that is held against names.
pub(crate) fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match has_wildcard(pattern) {
        false => pattern == name,
        true => tokens(pattern).is_some_and(|tokens| matches(&tokens, name.iter().copied())),
    }
}

/// Whether `text` is the path with a slash in front, or else a tail of it that begins at a name.
fn is_path(text: &[u8], dir: &[u8], name: &[u8]) -> bool {
    let before: &[u8] = if dir.is_empty() { b"" } else { b"/" };
    let path = [before, dir, b"/", name].into_iter().rev();
    let mut path = path.flat_map(|piece| piece.iter().rev());
    let more = if text.starts_with(b"/") {
        None
    } else {
        Some(&b'/')
    };
    text.iter().rev().all(|byte| path.next() == Some(byte)) && path.next() == more
}

fn has_wildcard(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"*?[".contains(byte))
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

/// Reads a pattern with a wildcard; `None` where no name can match. No two tokens in a row repeat.
fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
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
    if tokens.len() < 64 {
        return matches_few(tokens, text);
    }
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

/// The same for less than 64 tokens, with one bit a place and nothing allocated.
fn matches_few(tokens: &[Token], text: impl Iterator<Item = u8>) -> bool {
    let place = |at: usize| match tokens.get(at) {
        Some(token) if token.repeats() => 0b11_u64 << at,
        _ => 1 << at,
    };
    let mut reached = place(0);
    for byte in text {
        let mut now = mem::take(&mut reached) & !(1 << tokens.len());
        while now != 0 {
            let at = now.trailing_zeros() as usize;
            now &= now - 1;
            if tokens[at].takes(byte) {
                reached |= place(at + usize::from(!tokens[at].repeats()));
            }
        }
        if reached == 0 {
            return false;
        }
    }
    reached >> tokens.len() & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_stars_read_each_byte_once() {
        let stars = format!("{}b", "a*".repeat(2047));
        let deep = format!("{}b", "a**".repeat(1365));
        let few = format!("{}b", "a*".repeat(31));
        for pattern in [stars, deep, few] {
            let tokens = tokens(pattern.as_bytes()).unwrap();
            let mut read = 0;
            let text = [b'a'; 255].into_iter().inspect(|_| read += 1);
            assert!(!matches(&tokens, text));
            assert_eq!(read, 255);
        }
    }

    #[test]
    fn number_of_tokens_does_not_matter() {
        // Until they are too many for the bits of one word, and beyond.
        for count in 1..140 {
            let pattern = format!("{}c", "a*b?".repeat(count));
            let tokens = tokens(pattern.as_bytes()).unwrap();
            let takes = "axxbz".repeat(count) + "c";
            assert!(matches(&tokens, takes.bytes()), "{count}");
            assert!(!matches(&tokens, takes.bytes().skip(1)), "{count}");
            assert!(!matches(&tokens, takes.bytes().take(takes.len() - 1)));
        }
    }
}
