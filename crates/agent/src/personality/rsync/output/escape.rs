//! Bytes of names and messages, made fit for a terminal and for a log.
//!
//! What is not shown as it is becomes `\#` and three octal digits (rsync(1), `--8-bit-output`); so
//! does a backslash that would look like such an escape.

/// What is shown of the bytes from 128 on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HighBytes {
    /// Nothing: every one is escaped.
    Escaped,
    /// Those that are UTF-8, but for the control characters U+0080 to U+009F.
    Utf8,
    /// All.
    Shown,
    /// All but 128 to 159: what rsync does in its logs.
    Log,
}

impl HighBytes {
    /// What the terminal takes: all with `-8`, else what the locale says.
    pub(super) fn of_terminal(eight_bit: bool) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        match (
            eight_bit,
            locale.ends_with("utf-8") || locale.ends_with("utf8"),
        ) {
            (true, _) => Self::Shown,
            (false, true) => Self::Utf8,
            (false, false) => Self::Escaped,
        }
    }
}

/// Appends `text` to `out`, escaped; line feeds of its own, too.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8], high: HighBytes) {
    if high != HighBytes::Utf8 {
        return escape_bytes(out, text, high);
    }
    for chunk in text.utf8_chunks() {
        for shown in chunk.valid().split_inclusive(is_c1) {
            let plain = shown.trim_end_matches(is_c1);
            escape_bytes(out, plain.as_bytes(), HighBytes::Shown);
            escape_bytes(out, &shown.as_bytes()[plain.len()..], HighBytes::Escaped);
        }
        escape_bytes(out, chunk.invalid(), HighBytes::Escaped);
    }
}

/// A terminal may obey these; rsync shows them where they are valid UTF-8.
fn is_c1(c: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&c)
}

fn escape_bytes(out: &mut Vec<u8>, text: &[u8], high: HighBytes) {
    for (n, &byte) in text.iter().enumerate() {
        let hidden = match byte {
            b'\t' => false,
            0..0x20 => true,
            b'\\' => looks_escaped(&text[n..]),
            0x20..0x80 => false,
            0x80..0xa0 => high != HighBytes::Shown,
            0xa0.. => high == HighBytes::Escaped,
        };
        if hidden {
            out.extend_from_slice(format!("\\#{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
}

fn looks_escaped(text: &[u8]) -> bool {
    matches!(text, [b'\\', b'#', digits @ ..]
        if digits.len() >= 3 && digits[..3].iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as rsync 3.5.0 shows them in the locales C and C.UTF-8, with `-8`, and in a log:
    /// five columns between tabs, each with what is not printable once more in Rust's escapes.
    const CAPTURED: &str = include_str!("../../../../tests/captured/names.txt");

    #[test]
    fn names_look_as_captured_from_rsync() {
        let looks = [
            HighBytes::Escaped,
            HighBytes::Utf8,
            HighBytes::Shown,
            HighBytes::Log,
        ];
        let mut lines = 0;
        for line in CAPTURED.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<Vec<u8>> = line.split('\t').map(unescape).collect();
            for (look, shown) in looks.iter().zip(&columns[1..]) {
                let mut out = Vec::new();
                escape(&mut out, &columns[0], *look);
                assert_eq!(
                    out.escape_ascii().to_string(),
                    shown.escape_ascii().to_string(),
                    "{line} {look:?}"
                );
            }
            lines += 1;
        }
        assert!(lines > 250);
    }

    #[test]
    fn controls_that_are_utf_8_are_hidden_though_rsync_shows_them() {
        let mut out = Vec::new();
        escape(&mut out, "a\u{9b}31m\u{85}é".as_bytes(), HighBytes::Utf8);
        assert_eq!(out, "a\\#302\\#23331m\\#302\\#205é".as_bytes());
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'\\' => match rest.next().unwrap() {
                    b'x' => {
                        let hex: String = [rest.next(), rest.next()]
                            .into_iter()
                            .map(|digit| char::from(digit.unwrap()))
                            .collect();
                        bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                    }
                    b'n' => bytes.push(b'\n'),
                    b'r' => bytes.push(b'\r'),
                    b't' => bytes.push(b'\t'),
                    other => bytes.push(other),
                },
                _ => bytes.push(byte),
            }
        }
        bytes
    }
}
