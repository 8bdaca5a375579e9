//! `--out-format`, `--log-file-format` and a daemon's `log format`: text with `%` escapes.
//!
//! rsyncd.conf(5), «log format».

use std::net::IpAddr;
use std::path::PathBuf;

use barge::over_rsync::{Item, ItemSide};

use super::clock::local_time;
use super::{itemize, list, number};

/// A format, read once.
#[derive(Clone, Debug)]
pub(super) struct Format(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

/// One escape: a percent, apostrophes, `-`, a width, more apostrophes, a letter.
#[derive(Clone, Debug)]
struct Field {
    letter: u8,
    /// As written, for an escape that has no meaning here.
    source: Vec<u8>,
    left: bool,
    zeros: bool,
    width: usize,
    /// How many apostrophes there are: the level of human-readable numbers.
    human: u8,
}

/// What a daemon knows of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// `%a`.
    pub(crate) address: Option<IpAddr>,
    /// `%h`.
    pub(crate) host: String,
    /// `%m`.
    pub(crate) module: String,
    /// `%P`.
    pub(crate) path: PathBuf,
    /// `%u`.
    pub(crate) user: String,
}

/// What an escape can be about, besides the item.
pub(super) struct Facts<'a> {
    pub(super) visit: Option<&'a Visit>,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// A copy within one machine.
    pub(super) local: bool,
    /// Times of modification are kept.
    pub(super) times: bool,
    /// Bytes of a checksum.
    pub(super) checksum_len: usize,
}

/// What a line is about.
pub(super) enum Subject<'a> {
    Item(&'a Item<'a>),
    Deleted { name: &'a [u8], mode: u32 },
}

impl Format {
    /// Reads a format. Every text is one: an escape without a meaning stands for itself.
    pub(super) fn new(text: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
            let (before, escape) = rest.split_at(at);
            parts.push(Part::Text(before.to_vec()));
            let (field, length) = Field::read(escape);
            parts.push(field.map_or_else(|| Part::Text(escape[..length].to_vec()), Part::Field));
            rest = &escape[length..];
        }
        parts.push(Part::Text(rest.to_vec()));
        Self(parts)
    }

    /// Whether one of these escapes is in it.
    pub(super) fn has(&self, letters: &[u8]) -> bool {
        let fields = self.0.iter().filter_map(|part| match part {
            Part::Field(field) => Some(field.letter),
            Part::Text(_) => None,
        });
        fields.into_iter().any(|letter| letters.contains(&letter))
    }

    /// Whether a line can be made before a file's transfer is over.
    pub(super) fn is_early(&self) -> bool {
        !self.has(b"bcC")
    }

    /// The line of a subject, unescaped and without a newline.
    pub(super) fn line(&self, subject: &Subject<'_>, facts: &Facts<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.extend_from_slice(text),
                Part::Field(field) => field.write(&mut line, subject, facts),
            }
        }
        line
    }
}

impl Field {
    /// Reads an escape and says how long it is; one that never ends is none.
    fn read(escape: &[u8]) -> (Option<Self>, usize) {
        let mut at = 1;
        let mut run = |of: fn(&u8) -> bool, most: usize| {
            let from = at;
            at += escape[from..]
                .iter()
                .take(most)
                .take_while(|byte| of(byte))
                .count();
            &escape[from..at]
        };
        let quotes = run(|&byte| byte == b'\'', usize::MAX).len();
        let left = !run(|&byte| byte == b'-', 1).is_empty();
        let width = run(u8::is_ascii_digit, usize::MAX);
        let quotes = quotes + run(|&byte| byte == b'\'', usize::MAX).len();
        let Some(&letter) = escape.get(at) else {
            return (None, escape.len());
        };
        let number = width.iter().fold(0_usize, |number, digit| {
            let number = number.saturating_mul(10);
            number.saturating_add(usize::from(digit - b'0'))
        });
        let field = Self {
            letter,
            source: escape[..=at].to_vec(),
            left,
            zeros: width.first() == Some(&b'0'),
            width: number.min(MAX_WIDTH),
            human: quotes.min(3) as u8,
        };
        (Some(field), at + 1)
    }

    fn write(&self, line: &mut Vec<u8>, subject: &Subject<'_>, facts: &Facts<'_>) {
        let Some(text) = self.text(subject, facts) else {
            return line.extend_from_slice(&self.source);
        };
        let missing = self.width.saturating_sub(text.len());
        let is_number = b"pUG".contains(&self.letter) && text.iter().all(u8::is_ascii_digit);
        let fill = if self.zeros && is_number { b'0' } else { b' ' };
        if !self.left {
            line.extend(std::iter::repeat_n(fill, missing));
        }
        line.extend_from_slice(&text);
        if self.left {
            line.extend(std::iter::repeat_n(b' ', missing));
        }
    }

    /// What stands in the escape's place; `None` where it has no meaning.
    fn text(&self, subject: &Subject<'_>, facts: &Facts<'_>) -> Option<Vec<u8>> {
        let text = match self.letter {
            b'%' => b"%".to_vec(),
            b't' => local_time(facts.now, ' ').into_bytes(),
            b'p' => std::process::id().to_string().into_bytes(),
            b'm' => facts
                .visit
                .map(|v| v.module.clone())
                .unwrap_or_default()
                .into_bytes(),
            b'a' => facts
                .visit?
                .address
                .map(|a| a.to_string())
                .unwrap_or_default()
                .into_bytes(),
            b'h' => facts.visit?.host.clone().into_bytes(),
            b'u' => facts.visit?.user.clone().into_bytes(),
            b'P' => facts
                .visit?
                .path
                .clone()
                .into_os_string()
                .into_encoded_bytes(),
            letter => match subject {
                Subject::Item(item) => self.of_item(letter, item, facts)?,
                Subject::Deleted { name, mode } => self.of_deleted(letter, name, *mode, facts)?,
            },
        };
        Some(text)
    }

    fn of_item(&self, letter: u8, item: &Item<'_>, facts: &Facts<'_>) -> Option<Vec<u8>> {
        Some(match letter {
            b'n' => short_name(item.name, item.mode),
            b'f' => item.full_name.to_vec(),
            b'L' => arrow(item),
            b'i' => itemize::columns(item, facts.local, facts.times).into_bytes(),
            b'o' => match item.side {
                ItemSide::Sent => b"send".to_vec(),
                ItemSide::Received => b"recv".to_vec(),
            },
            b'l' => number::whole(item.size, self.human).into_bytes(),
            b'b' => number::whole(item.bytes.0, self.human).into_bytes(),
            b'c' => number::whole(item.bytes.1, self.human).into_bytes(),
            b'M' => local_time(item.mtime.0, '-').into_bytes(),
            b'B' => list::permissions(item.mode).into_bytes(),
            b'U' => item.uid.to_string().into_bytes(),
            b'G' => item
                .gid
                .map_or_else(|| "DEFAULT".to_owned(), |gid| gid.to_string())
                .into_bytes(),
            b'C' => checksum(item.checksum, facts.checksum_len),
            _ => return None,
        })
    }

    fn of_deleted(&self, letter: u8, name: &[u8], mode: u32, facts: &Facts<'_>) -> Option<Vec<u8>> {
        Some(match letter {
            b'n' => short_name(name, mode),
            b'f' => name.to_vec(),
            b'L' => Vec::new(),
            b'i' => itemize::DELETING.as_bytes().to_vec(),
            b'o' => b"del.".to_vec(),
            b'l' | b'b' | b'c' | b'U' | b'G' => b"0".to_vec(),
            b'M' => local_time(0, '-').into_bytes(),
            b'B' => list::permissions(mode).into_bytes(),
            b'C' => checksum(None, facts.checksum_len),
            _ => return None,
        })
    }
}

/// A name as `-v` shows it: a directory's with a slash behind.
pub(super) fn short_name(name: &[u8], mode: u32) -> Vec<u8> {
    let mut name = name.to_vec();
    if mode & super::KIND == super::DIRECTORY {
        name.push(b'/');
    }
    name
}

fn arrow(item: &Item<'_>) -> Vec<u8> {
    match (item.hard_link, item.link) {
        (Some(link), _) => [b" => ", link].concat(),
        (None, Some(target)) => [b" -> ", target].concat(),
        (None, None) => Vec::new(),
    }
}

/// In hexadecimal digits; without one as many blanks.
fn checksum(sum: Option<&[u8]>, len: usize) -> Vec<u8> {
    match sum {
        Some(sum) => sum
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        None => vec![b' '; 2 * len],
    }
}

/// Wider than any terminal, and short enough to be made for every file.
const MAX_WIDTH: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personality::rsync::output::itemize::flag;
    use crate::personality::rsync::output::tests::item;

    fn line(format: &str, subject: &Subject<'_>, visit: Option<&Visit>) -> String {
        let facts = Facts {
            visit,
            now: 0,
            local: false,
            times: true,
            checksum_len: 16,
        };
        String::from_utf8(Format::new(format.as_bytes()).line(subject, &facts)).unwrap()
    }

    const ALL: &str = "%o|%i|%n|%L|%f|%l|%U|%G|%B|%b|%c|%C|%a|%h|%m|%P|%u|%%|%z";

    /// Lines of rsync 3.5.0 with this `--out-format`, pushing to a daemon and with `--delete`.
    #[test]
    fn escapes_are_replaced_as_captured_from_a_client() {
        let mut sent = item("hard", 0o100_600, flag::TRANSFER | flag::NEW);
        sent.size = 6;
        sent.full_name = b"s/hard";
        sent.bytes = (49, 16);
        sent.checksum = Some(&[0x6b, 0xba, 0x0c]);
        let mut root = item(".", 0o040_755, flag::TIME);
        root.size = 240;
        root.full_name = b"s/.";
        root.gid = None;
        let mut link = item("link", 0o120_777, flag::LOCAL | flag::NEW);
        link.full_name = b"s/link";
        link.link = Some(b"a.txt");
        let mut hard = item("a.txt", 0o100_600, flag::LOCAL | flag::NEW | flag::XNAME);
        hard.size = 6;
        hard.full_name = b"s/a.txt";
        hard.hard_link = Some(b"hard");
        let rest = format!("{}|%a|%h||%P|%u|%|%z", " ".repeat(32));
        for (item, captured) in [
            (
                &root,
                "send|.d..t......|./||s/.|240|0|DEFAULT|rwxr-xr-x|0|0|",
            ),
            (
                &link,
                "send|cL+++++++++|link| -> a.txt|s/link|5|0|0|rwxrwxrwx|0|0|",
            ),
            (
                &hard,
                "send|hf+++++++++|a.txt| => hard|s/a.txt|6|0|0|rw-------|0|0|",
            ),
        ] {
            let captured = captured.to_owned() + &rest;
            assert_eq!(line(ALL, &Subject::Item(item), None), captured);
        }
        let captured =
            "send|<f+++++++++|hard||s/hard|6|0|0|rw-------|49|16|6bba0c|%a|%h||%P|%u|%|%z";
        assert_eq!(line(ALL, &Subject::Item(&sent), None), captured);
        let gone = Subject::Deleted {
            name: b"gone/x",
            mode: 0o040_755,
        };
        let captured = "del.|*deleting  |gone/x/||gone/x|0|0|0|rwxr-xr-x|0|0|".to_owned() + &rest;
        assert_eq!(line(ALL, &gone, None), captured);
    }

    /// As rsync 3.5.0 does with these formats.
    #[test]
    fn escapes_have_widths_and_levels_as_captured() {
        let mut big = item("big", 0o100_644, flag::TRANSFER | flag::NEW);
        big.size = 200_000;
        for (format, captured) in [
            ("%12l|", "      200000|"),
            ("%''12l|", "     200.00K|"),
            ("%12'l|", "     200,000|"),
            ("%'07l|", "200,000|"),
            ("%07l|", " 200000|"),
            ("%-07l|", "200000 |"),
            ("%-l|", "200000|"),
            ("%''''l", "195.31K"),
            ("%7%|", "      %|"),
            ("%07n|", "    big|"),
            ("%7U|%07U|%-07U|%-7U|", "      0|0000000|0      |0      |"),
            ("%07G|", "0000000|"),
            ("%012i|", " <f+++++++++|"),
            ("%-5o|%5o|", "send | send|"),
            ("%0-7U|%--7l|%7-l|", "%0-7U|%--7l|%7-l|"),
        ] {
            assert_eq!(
                line(format, &Subject::Item(&big), None),
                captured,
                "{format}"
            );
        }
        big.gid = None;
        assert_eq!(line("%09G|", &Subject::Item(&big), None), "  DEFAULT|");
    }

    #[test]
    fn daemon_knows_who_came_and_where_to() {
        let visit = Visit {
            address: Some(IpAddr::from([127, 0, 0, 1])),
            host: "localhost".into(),
            module: "m".into(),
            path: "/dev/shm/d".into(),
            user: "root".into(),
        };
        let mut big = item("big", 0o100_644, flag::TRANSFER | flag::NEW);
        big.full_name = b"big";
        big.side = ItemSide::Received;
        let subject = Subject::Item(&big);
        let shown = line("%o %h [%a] %m (%u) %f %l", &subject, Some(&visit));
        assert_eq!(shown, "recv localhost [127.0.0.1] m (root) big 5");
        assert_eq!(line("%P", &subject, Some(&visit)), "/dev/shm/d");
    }

    #[test]
    fn text_that_is_no_escape_stays() {
        let file = item("f", 0o100_644, 0);
        for text in ["", "%", "100%", "%-", "%12", "%12'", "%z%Z", "x%12z", "é"] {
            assert_eq!(line(text, &Subject::Item(&file), None), text, "{text}");
        }
        let wide = line("%99999999999999999999n", &Subject::Item(&file), None);
        assert_eq!(wide.len(), MAX_WIDTH);
    }
}
