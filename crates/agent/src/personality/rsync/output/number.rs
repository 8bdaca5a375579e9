//! Numbers as rsync(1) writes them: `--human-readable`, in four levels.

/// A whole number.
///
/// Level 0 is plain digits, 1 has a comma every three digits, 2 counts in thousands and 3 in units
/// of 1024, both with two decimals and a letter.
pub(super) fn whole(number: u64, level: u8) -> String {
    scaled(number as f64, level).unwrap_or_else(|| match level {
        0 => number.to_string(),
        _ => grouped(&number.to_string()),
    })
}

/// A number with two decimals, in the same levels.
pub(super) fn decimal(number: f64, level: u8) -> String {
    scaled(number, level).unwrap_or_else(|| match level {
        0 => format!("{number:.2}"),
        _ => grouped(&format!("{number:.2}")),
    })
}

/// Levels 2 and 3, for what reaches one unit.
fn scaled(number: f64, level: u8) -> Option<String> {
    let unit = match level {
        0 | 1 => return None,
        2 => 1000.0,
        _ => 1024.0,
    };
    let mut left = number;
    let mut letter = None;
    for next in ['K', 'M', 'G', 'T', 'P'] {
        if left < unit {
            break;
        }
        left /= unit;
        letter = Some(next);
    }
    letter.map(|letter| format!("{left:.2}{letter}"))
}

/// The digits before the point, with a comma every three.
fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::with_capacity(digits.len() + whole.len() / 3);
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes as `rsync --list-only` 3.5.0 shows them with `--no-h`, without, with `-h`, with `-hh`.
    const CAPTURED: &str = include_str!("../../../../tests/captured/numbers.txt");

    #[test]
    fn whole_numbers_look_as_captured_from_rsync() {
        let mut lines = 0;
        for line in CAPTURED.lines() {
            let shown: Vec<&str> = line.split_whitespace().collect();
            let number = shown[0].parse().unwrap();
            for (level, text) in shown.iter().enumerate() {
                assert_eq!(whole(number, level as u8), *text, "{number} at {level}");
            }
            lines += 1;
        }
        assert!(lines > 40);
    }

    #[test]
    fn decimal_numbers_have_the_same_units() {
        for (number, level, text) in [
            (0.0, 1, "0.00"),
            (401_642.0, 0, "401642.00"),
            (401_642.0, 1, "401,642.00"),
            (401_642.0, 2, "401.64K"),
            (688.0, 2, "688.00"),
            (211.333_333, 1, "211.33"),
        ] {
            assert_eq!(decimal(number, level), text);
        }
    }
}
