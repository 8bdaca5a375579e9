//! One row of a flag table, and the reading of words by such a table.
//!
//! Words are read as popt(3) does it for rsync: short flags may be bundled, a value may be joined
//! on or follow, flags may stand behind paths, `--` ends them, and nothing may be abbreviated.
//! Source: rsync(1), and what rsync 3.5.0 says to lines that are wrong.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// A flag of rsync's command line.
#[derive(Debug)]
pub(super) struct Flag<D: 'static> {
    /// Its spellings as they are typed, the one that messages use first.
    pub(super) names: &'static [&'static str],
    /// What its value is called, when it takes one.
    pub(super) value: Option<&'static str>,
    /// What it is for, a line. Empty where rsync's own help is silent.
    pub(super) help: &'static str,
    /// What it does to the draft of the options.
    pub(super) does: Does<D>,
}

/// What a flag does.
#[derive(Debug)]
pub(super) enum Does<D: 'static> {
    /// Sets something.
    Set(fn(&mut D)),
    /// Decides by what is there already, or ends the reading.
    Try(fn(&mut D) -> Result<(), Stop>),
    /// Takes a number.
    Number(fn(&mut D, i32)),
    /// Takes a value, beside the spelling that was used.
    Take(fn(&mut D, &Given<'_>) -> Result<(), Stop>),
    /// Not honoured, for this reason.
    Refuse(&'static str),
    /// Not honoured, for this reason, unless the function can make something of the value.
    RefuseUnless(&'static str, fn(&mut D, &[u8]) -> bool),
}

/// A value as it was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// The spelling of the flag.
    pub(super) name: &'a str,
    /// The value.
    pub(super) value: &'a [u8],
}

impl Given<'_> {
    /// The value for a message.
    pub(super) fn text(&self) -> String {
        lossy(self.value)
    }
}

/// Why the reading of a command line ends early.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// A word that cannot be read by the table, and why.
    Misread(String),
    /// In rsync's words, with its exit code.
    Refused(String, u8),
    /// How to use rsync, as an error.
    Usage,
    /// Something to print, with success.
    Print(String),
    /// It is a daemon's command line: another table reads it.
    Daemon,
}

impl Stop {
    /// A wrong command line: exit code 1, and `rsync: ` before the text.
    pub(super) fn usage(text: impl std::fmt::Display) -> Self {
        Self::Refused(format!("rsync: {text}"), 1)
    }
}

impl<D> Flag<D> {
    /// A flag without a value.
    pub(super) const fn set(
        names: &'static [&'static str],
        help: &'static str,
        set: fn(&mut D),
    ) -> Self {
        Self::new(names, None, help, Does::Set(set))
    }

    /// A flag without a value that may end the reading.
    pub(super) const fn attempt(
        names: &'static [&'static str],
        help: &'static str,
        set: fn(&mut D) -> Result<(), Stop>,
    ) -> Self {
        Self::new(names, None, help, Does::Try(set))
    }

    /// A flag with a number.
    pub(super) const fn number(
        names: &'static [&'static str],
        value: &'static str,
        help: &'static str,
        set: fn(&mut D, i32),
    ) -> Self {
        Self::new(names, Some(value), help, Does::Number(set))
    }

    /// A flag with a value.
    pub(super) const fn take(
        names: &'static [&'static str],
        value: &'static str,
        help: &'static str,
        set: fn(&mut D, &Given<'_>) -> Result<(), Stop>,
    ) -> Self {
        Self::new(names, Some(value), help, Does::Take(set))
    }

    /// A flag that is not honoured.
    pub(super) const fn refused(
        names: &'static [&'static str],
        value: Option<&'static str>,
        help: &'static str,
        reason: &'static str,
    ) -> Self {
        Self::new(names, value, help, Does::Refuse(reason))
    }

    /// A flag of which some values alone are honoured.
    pub(super) const fn refused_unless(
        names: &'static [&'static str],
        value: &'static str,
        help: &'static str,
        reason: &'static str,
        unless: fn(&mut D, &[u8]) -> bool,
    ) -> Self {
        Self::new(names, Some(value), help, Does::RefuseUnless(reason, unless))
    }

    const fn new(
        names: &'static [&'static str],
        value: Option<&'static str>,
        help: &'static str,
        does: Does<D>,
    ) -> Self {
        Self {
            names,
            value,
            help,
            does,
        }
    }

    /// Why it is not honoured; `None` when it is.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match self.does {
            Does::Refuse(reason) | Does::RefuseUnless(reason, _) => Some(reason),
            _ => None,
        }
    }

    /// `--checksum (-c)`, as messages name it; `spelled` is the spelling that was used.
    pub(super) fn title(&self, spelled: &str) -> String {
        let is_long = |name: &&&str| name.starts_with("--");
        let short = self.names.iter().find(|name| !is_long(name));
        let long = match spelled.starts_with("--") {
            true => Some(spelled),
            false => self.names.iter().find(is_long).copied(),
        };
        match (long, short) {
            (Some(long), Some(short)) => format!("{long} ({short})"),
            (Some(long), None) => long.to_owned(),
            (None, _) => spelled.to_owned(),
        }
    }
}

/// Something on a command line.
#[derive(Debug)]
pub(super) enum Word<'a, D: 'static> {
    /// A flag of the table, and its value if it takes one.
    Flag {
        flag: &'static Flag<D>,
        /// How it was spelled.
        name: String,
        value: Option<&'a [u8]>,
        /// How a message about it shows it.
        shown: &'a [u8],
    },
    /// Anything else.
    Arg(&'a [u8]),
}

impl<D> Word<'_, D> {
    /// Lets a flag do what it does, to `draft`.
    pub(super) fn apply(&self, draft: &mut D) -> Result<(), Stop> {
        let Word::Flag {
            flag,
            name,
            value,
            shown,
        } = self
        else {
            return Ok(());
        };
        let value = value.unwrap_or_default();
        match flag.does {
            Does::Set(set) => set(draft),
            Does::Try(set) => set(draft)?,
            Does::Number(set) => set(draft, number(value).map_err(|why| bad(shown, why))?),
            Does::Take(set) => set(draft, &Given { name, value })?,
            Does::RefuseUnless(_, unless) if unless(draft, value) => {}
            Does::Refuse(reason) | Does::RefuseUnless(reason, _) => {
                return Err(unsupported(&flag.title(name), reason));
            }
        }
        Ok(())
    }
}

/// The words of a command line, one after the other.
#[derive(Debug)]
pub(super) struct Words<'a, D: 'static> {
    table: &'static [Flag<D>],
    args: std::slice::Iter<'a, OsString>,
    /// What is left of a bundle of short flags, and the whole of it.
    bundle: Option<(&'a [u8], &'a [u8])>,
    only_args: bool,
}

impl<'a, D> Words<'a, D> {
    pub(super) fn new(table: &'static [Flag<D>], args: &'a [OsString]) -> Self {
        Self {
            table,
            args: args.iter(),
            bundle: None,
            only_args: false,
        }
    }

    /// The arguments that no word was made of yet.
    pub(super) fn rest(&self) -> &'a [OsString] {
        self.args.as_slice()
    }

    fn long(&mut self, arg: &'a [u8]) -> Result<Word<'a, D>, Stop> {
        let equals = arg.iter().position(|&byte| byte == b'=');
        let (name, joined) = match equals {
            Some(at) => (&arg[..at], Some(&arg[at + 1..])),
            None => (arg, None),
        };
        let (flag, name) = self.row(name).ok_or_else(|| bad(arg, UNKNOWN))?;
        if joined.is_some() && flag.value.is_none() {
            return Err(bad(arg, UNWANTED));
        }
        self.with_value(flag, name, joined, arg)
    }

    fn short(&mut self, rest: &'a [u8], whole: &'a [u8]) -> Result<Word<'a, D>, Stop> {
        let (flag, name) = self
            .row(&[b'-', rest[0]])
            .ok_or_else(|| bad(whole, if rest[0] == b'=' { UNWANTED } else { UNKNOWN }))?;
        let rest = &rest[1..];
        if flag.value.is_none() {
            self.bundle = (!rest.is_empty()).then_some((rest, whole));
            return self.with_value(flag, name, None, whole);
        }
        let joined = (!rest.is_empty()).then(|| rest.strip_prefix(b"=").unwrap_or(rest));
        self.with_value(flag, name, joined, whole)
    }

    fn with_value(
        &mut self,
        flag: &'static Flag<D>,
        name: &'static str,
        joined: Option<&'a [u8]>,
        whole: &'a [u8],
    ) -> Result<Word<'a, D>, Stop> {
        let (value, shown) = match (flag.value, joined) {
            (None, _) | (Some(_), Some(_)) => (joined, whole),
            (Some(_), None) => {
                let next = self.args.next().ok_or_else(|| bad(whole, MISSING))?;
                (Some(next.as_bytes()), next.as_bytes())
            }
        };
        Ok(Word::Flag {
            flag,
            name: name.to_owned(),
            value,
            shown,
        })
    }

    fn row(&self, spelled: &[u8]) -> Option<(&'static Flag<D>, &'static str)> {
        self.table.iter().find_map(|flag| {
            let name = flag.names.iter().find(|name| name.as_bytes() == spelled)?;
            Some((flag, *name))
        })
    }
}

impl<'a, D> Iterator for Words<'a, D> {
    type Item = Result<Word<'a, D>, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((rest, whole)) = self.bundle.take() {
            return Some(self.short(rest, whole));
        }
        let arg = self.args.next()?.as_bytes();
        Some(match arg {
            _ if self.only_args => Ok(Word::Arg(arg)),
            b"--" => {
                self.only_args = true;
                return self.next();
            }
            [b'-', b'-', ..] => self.long(arg),
            [b'-', rest @ ..] if !rest.is_empty() => self.short(rest, arg),
            _ => Ok(Word::Arg(arg)),
        })
    }
}

/// A number as strtoll(3) reads it: decimal, octal behind `0`, hexadecimal behind `0x`, signed,
/// and 0 for no digits at all.
pub(super) fn number(text: &[u8]) -> Result<i32, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| BAD_NUMBER)?;
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    if text.is_empty() {
        return Ok(0);
    }
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { -1 } else { 1 }, digits),
        None => (1, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(BAD_NUMBER);
    }
    let number = i64::from_str_radix(digits, radix).map_err(|_| OUT_OF_RANGE)?;
    i32::try_from(sign * number).map_err(|_| OUT_OF_RANGE)
}

/// What is said to a flag that is not honoured.
pub(super) fn unsupported(title: &str, reason: &str) -> Stop {
    Stop::usage(format_args!(
        "This rsync does not support {title}: {reason}"
    ))
}

fn bad(shown: &[u8], why: &str) -> Stop {
    Stop::Misread(format!("{}: {why}", lossy(shown)))
}

/// Bytes for a message.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const UNKNOWN: &str = "unknown option";
const UNWANTED: &str = "option does not take an argument";
const MISSING: &str = "missing argument";
const BAD_NUMBER: &str = "invalid numeric value";
const OUT_OF_RANGE: &str = "number too large or too small";

#[cfg(test)]
mod tests {
    use super::*;

    // Each as rsync 3.5.0 takes it: `rsync --timeout=… s/ h:d/` and what it sends, or says.
    #[test]
    fn numbers_are_read_as_popt_reads_them() {
        for (text, read) in [
            ("", Ok(0)),
            ("5", Ok(5)),
            (" 5", Ok(5)),
            ("+5", Ok(5)),
            ("-5", Ok(-5)),
            ("0x10", Ok(16)),
            ("010", Ok(8)),
            ("2147483647", Ok(i32::MAX)),
            ("-2147483648", Ok(i32::MIN)),
            ("08", Err(BAD_NUMBER)),
            ("5.5", Err(BAD_NUMBER)),
            ("1x", Err(BAD_NUMBER)),
            ("99999999999x", Err(BAD_NUMBER)),
            ("-", Err(BAD_NUMBER)),
            ("2147483648", Err(OUT_OF_RANGE)),
            ("-2147483649", Err(OUT_OF_RANGE)),
            ("0xffffffff", Err(OUT_OF_RANGE)),
            ("99999999999999999999", Err(OUT_OF_RANGE)),
        ] {
            assert_eq!(number(text.as_bytes()), read, "{text:?}");
        }
    }
}
