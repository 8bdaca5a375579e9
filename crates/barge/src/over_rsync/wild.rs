//! Shell wildcards in names: of users, of hosts, of entries of a directory.

/// Whether all of `text` matches: `*` any run, `?` any byte, `[…]` a class, `\` takes what follows
/// literally. A bracket that is not closed is one byte like others.
pub fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where the last star was, and what it may still take.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (one(pattern, text.first().copied()), text) {
            (Some(rest), [_, after @ ..]) => {
                pattern = rest;
                text = after;
            }
            _ if pattern.is_empty() && text.is_empty() => return true,
            _ => {
                let Some((after_star, [_, taken @ ..])) = star else {
                    return false;
                };
                star = Some((after_star, taken));
                pattern = after_star;
                text = taken;
            }
        }
    }
}

/// What follows the first item of the pattern, if that takes the byte.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'\\', literal, rest @ ..] => (*literal == byte).then_some(rest),
        [b'[', class @ ..] => match class_end(class) {
            Some(end) => in_class(&class[..end], byte).then_some(&class[end + 1..]),
            None => (byte == b'[').then_some(class),
        },
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Where the bracket is that closes a class: one in front is a member.
fn class_end(class: &[u8]) -> Option<usize> {
    let negated = usize::from(matches!(class.first(), Some(b'!' | b'^')));
    let members = class.get(negated + 1..)?;
    let end = members.iter().position(|&byte| byte == b']')?;
    Some(negated + 1 + end)
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut members) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    while let [first, rest @ ..] = members {
        members = match rest {
            [b'-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&byte);
                rest
            }
            _ => {
                found |= *first == byte;
                rest
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_a_shell_says() {
        for (pattern, text, matches) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*.example.org", "a.example.org", true),
            ("a\\", "a\\", true),
            ("**b", "aab", true),
        ] {
            let found = wild(pattern.as_bytes(), text.as_bytes());
            assert_eq!(found, matches, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = b"*a".repeat(500);
        assert!(!wild(&pattern, &[b'b'; 5000]));
        assert!(wild(&pattern, &[b'a'; 5000]));
    }
}
