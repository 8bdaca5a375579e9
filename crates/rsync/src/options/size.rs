//! Sizes with units: `1.5m`, `2GiB-1`, `10kb`.
//!
//! Source: rsync(1), `--max-size`, and what rsync 3.5.0 makes of odd ones.

use super::flag::{Given, Stop};

/// What a size may be, beside well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The unit of a number without one: `b` or `k`.
    pub(super) unit: u8,
    pub(super) min: u64,
    pub(super) max: u64,
    /// 0 is allowed below the minimum, and means that there is no limit.
    pub(super) zero_is_unlimited: bool,
}

impl Range {
    /// Any number of bytes.
    pub(super) const ANY: Self = Self {
        unit: b'b',
        min: 0,
        max: LARGEST,
        zero_is_unlimited: false,
    };

    /// The size that was given.
    pub(super) fn parse(self, given: &Given<'_>) -> Result<u64, Stop> {
        let complain = |why: String| {
            let (name, value) = (given.name, given.text());
            // The short spelling has the long one's message.
            let name = if name == "-B" { "--block-size" } else { name };
            Stop::usage(format_args!("{name}={value} is {why}"))
        };
        let size = parse(given.value, self.unit).ok_or_else(|| complain("invalid".to_owned()))?;
        if size == 0 && self.zero_is_unlimited {
            return Ok(0);
        }
        match u64::try_from(size) {
            Ok(size) if size < self.min => Err(complain(format!(
                "too small (min: {}{})",
                human(self.min),
                if self.zero_is_unlimited {
                    " or 0 for unlimited"
                } else {
                    ""
                }
            ))),
            Ok(size) if size <= self.max => Ok(size),
            _ if self.max == LARGEST => Err(complain("too large".to_owned())),
            _ => Err(complain(format!("too large (max: {})", human(self.max)))),
        }
    }
}

/// The number of bytes, which may be out of any range; `None` when it is malformed.
fn parse(text: &[u8], default_unit: u8) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('-') {
        return Some(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (amount, rest) = text.split_at(end);
    if amount.matches('.').count() > 1 {
        return None;
    }
    if amount.is_empty() && rest.starts_with('+') {
        return None;
    }
    let (unit, rest) = match rest.chars().next() {
        Some(unit) if unit.is_ascii_alphabetic() => (unit.to_ascii_lowercase(), &rest[1..]),
        _ => (char::from(default_unit), rest),
    };
    let power = "bkmgtp".find(unit)? as i32;
    let (base, rest) = match rest.to_ascii_lowercase() {
        lower if lower.starts_with("ib") => (1024_f64, &rest[2..]),
        lower if lower.starts_with('b') => (1000_f64, &rest[1..]),
        _ => (1024_f64, rest),
    };
    let offset = match rest {
        "" => 0,
        "+1" => 1,
        "-1" => -1,
        _ => return None,
    };
    // As rsync does it, in floating point: beyond 2^53 the last digits go.
    let point = if amount.contains('.') { "" } else { "." };
    let amount: f64 = format!("0{amount}{point}0").parse().ok()?;
    Some((amount * base.powi(power)) as i128 + offset)
}

/// As rsync words a limit: `512`, `1.00M`, `128.00K`.
fn human(size: u64) -> String {
    match size {
        0..1024 => size.to_string(),
        1024..1_048_576 => format!("{:.2}K", size as f64 / 1024.0),
        _ => format!("{:.2}M", size as f64 / 1_048_576.0),
    }
}

/// One less than what rsync cannot hold.
const LARGEST: u64 = i64::MAX as u64 - 1;

#[cfg(test)]
mod tests {
    use super::*;

    // `rsync --max-size=… s/ h:d/` with 3.5.0: what it sends, or what it says of the value.
    #[test]
    fn sizes_are_what_stock_makes_of_them() {
        for (text, size) in [
            ("", Ok(0)),
            (".", Ok(0)),
            ("b", Ok(0)),
            ("k", Ok(0)),
            ("0", Ok(0)),
            ("5", Ok(5)),
            ("00010", Ok(10)),
            ("5.", Ok(5)),
            ("5.5", Ok(5)),
            (".5k", Ok(512)),
            ("1.1k", Ok(1126)),
            ("1.7b", Ok(1)),
            ("0.0001k", Ok(0)),
            ("1kb", Ok(1000)),
            ("1KIB", Ok(1024)),
            ("1b", Ok(1)),
            ("1bb", Ok(1)),
            ("1bib", Ok(1)),
            ("1.5mb-1", Ok(1_499_999)),
            ("1.5mib+1", Ok(1_572_865)),
            ("5k-1", Ok(5119)),
            ("5+1", Ok(6)),
            ("1t", Ok(1 << 40)),
            ("8000P-1", Ok(9_007_199_254_740_991_999)),
            ("8191P", Ok(9_222_246_136_947_933_184)),
            ("9007199254740993", Ok(9_007_199_254_740_992)),
            ("12345678901234567", Ok(12_345_678_901_234_568)),
            ("8192P", Err("too large")),
            ("8192P-1", Err("too large")),
            ("9223372036854775807", Err("too large")),
            ("12345678901234567k", Err("too large")),
            ("0-1", Err("too large")),
            ("-5", Err("too large")),
            ("x", Err("invalid")),
            ("5x", Err("invalid")),
            ("5E", Err("invalid")),
            ("1e3", Err("invalid")),
            ("0x10", Err("invalid")),
            ("1.5.5", Err("invalid")),
            ("1,5k", Err("invalid")),
            (" 5", Err("invalid")),
            ("5ib", Err("invalid")),
            ("+1", Err("invalid")),
            ("5k-", Err("invalid")),
            ("5k-1x", Err("invalid")),
            ("5kb+2", Err("invalid")),
            ("1.5mbx", Err("invalid")),
        ] {
            let given = Given {
                name: "--max-size",
                value: text.as_bytes(),
            };
            let wanted =
                size.map_err(|why| Stop::usage(format_args!("--max-size={text} is {why}")));
            assert_eq!(Range::ANY.parse(&given), wanted);
        }
    }

    #[test]
    fn a_size_of_random_bytes_never_panics() {
        for seed in 0..5000_u32 {
            let text: Vec<u8> = (0..seed % 9)
                .map(|i| (seed.wrapping_mul(2_654_435_761).rotate_left(i * 5)) as u8)
                .collect();
            let _ = parse(&text, b'b');
        }
    }
}
