//! Numbers that must not be mixed.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Why text is no rate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no rate: write bytes a second with an optional K, M, G (1000) or Ki, Mi, Gi (1024)"
)]
pub struct RateError(String);

/// Bytes a second, at least one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ByteRate(NonZeroU64);

impl ByteRate {
    /// So many bytes a second; `None` for none.
    pub fn new(bytes_per_sec: u64) -> Option<Self> {
        NonZeroU64::new(bytes_per_sec).map(Self)
    }

    /// Bytes a second.
    pub fn bytes_per_sec(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for ByteRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let refuse = || RateError(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "" => 1,
            "K" | "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return Err(refuse()),
        };
        let count: u64 = digits.parse().map_err(|_| refuse())?;
        let bytes = count.checked_mul(unit).ok_or_else(refuse)?;
        NonZeroU64::new(bytes).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes/s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_reads_both_families_of_units_and_refuses_the_rest() {
        for (text, bytes) in [
            ("1", 1),
            ("200Mi", 200 << 20),
            ("5k", 5_000),
            ("3G", 3_000_000_000),
        ] {
            assert_eq!(
                text.parse::<ByteRate>().unwrap().bytes_per_sec(),
                bytes,
                "{text}"
            );
        }
        for text in ["", "0", "-1", "1.5M", "M", "1 M", "1T", "99999999999Gi"] {
            assert!(text.parse::<ByteRate>().is_err(), "{text}");
        }
    }
}
