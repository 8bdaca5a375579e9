//! `refuse options`: what a daemon's module does not let a client ask for.
//!
//! Source: rsyncd.conf(5), «refuse options», and what rsync 3.5.0 refuses by which pattern.

use super::draft::Draft;
use super::flag::{Flag, Stop};
use super::table::FLAGS;

/// Which rows of the table are refused.
#[derive(Clone, Debug)]
pub(super) struct Refused(Vec<bool>);

impl Refused {
    /// Nothing: on a client and on a server that a remote shell started.
    pub(super) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// What a module refuses whose `refuse options` are `patterns`, with what every daemon refuses
    /// unless told otherwise, and what none allows.
    pub(super) fn of_module(patterns: &[u8]) -> Self {
        let mut refused = Self(vec![false; FLAGS.len()]);
        refused.mark("--copy-devices", true);
        refused.mark("--write-devices", true);
        let patterns = String::from_utf8_lossy(patterns);
        for pattern in patterns.split_whitespace() {
            match pattern.strip_prefix('!') {
                Some(pattern) => refused.match_rows(pattern, false),
                None => refused.match_rows(pattern, true),
            }
        }
        for name in NEVER_FROM_A_CLIENT {
            refused.mark(name, true);
        }
        refused
    }

    /// Refuses `flag`, when it or what it implies is refused. `server_sends` is whether the daemon
    /// is the sender.
    pub(super) fn check(
        &self,
        flag: &'static Flag<Draft>,
        spelled: &str,
        server_sends: bool,
    ) -> Result<(), Stop> {
        if self.is_refused(flag) {
            return Err(refusal(&flag.title(spelled)));
        }
        let implied = implied_by(flag.names[0], server_sends);
        match implied.iter().find(|name| self.is_named_refused(name)) {
            Some(name) => Err(refusal(&row(name).title(name))),
            None => Ok(()),
        }
    }

    /// Whether a plain `--delete` may delete during the transfer; if it may not, and not before
    /// either, it is refused.
    pub(super) fn lets_delete_during(&self) -> Result<bool, Stop> {
        if !self.is_named_refused("--delete-during") {
            return Ok(true);
        }
        match self.is_named_refused("--delete-before") {
            true => Err(refusal("--delete-before")),
            false => Ok(false),
        }
    }

    fn match_rows(&mut self, pattern: &str, refuse: bool) {
        if matches!(pattern, "a" | "archive") {
            for name in ["-a", "-r", "-d", "-l", "-p", "-t", "-g", "-o", "-D"] {
                self.mark(name, refuse);
            }
            return;
        }
        let is_wild = pattern.contains(['*', '?', '[']);
        for (refused, flag) in self.0.iter_mut().zip(FLAGS) {
            if is_wild && flag.names.iter().any(|name| VITAL.contains(name)) {
                continue;
            }
            let is_match = flag.names.iter().any(|name| {
                let name = name.trim_start_matches('-').as_bytes();
                match is_wild {
                    true => wild_match(pattern.as_bytes(), name),
                    false => pattern.as_bytes() == name,
                }
            });
            if is_match {
                *refused = refuse;
            }
        }
    }

    fn mark(&mut self, name: &str, refuse: bool) {
        for (refused, flag) in self.0.iter_mut().zip(FLAGS) {
            if flag.names.contains(&name) {
                *refused = refuse;
            }
        }
    }

    fn is_refused(&self, flag: &'static Flag<Draft>) -> bool {
        let mut rows = self.0.iter().zip(FLAGS);
        rows.any(|(refused, row)| *refused && std::ptr::eq(row, flag))
    }

    fn is_named_refused(&self, name: &str) -> bool {
        self.is_refused(row(name))
    }
}

/// What a flag asks for beside itself.
fn implied_by(name: &str, server_sends: bool) -> &'static [&'static str] {
    match name {
        "--delete-before"
        | "--delete-during"
        | "--delete-delay"
        | "--delete-after"
        | "--delete-excluded"
        | "--delete-missing-args" => &["--delete"],
        "--remove-source-files" | "--remove-sent-files" if server_sends => &["--delete"],
        "--compress-choice" | "--compress-level" | "--old-compress" | "--new-compress" => {
            &["--compress"]
        }
        "--append" | "--append-verify" | "--write-devices" => &["--inplace", "--partial"],
        "--inplace" => &["--partial"],
        "--archive" => &[
            "--recursive",
            "--dirs",
            "--links",
            "--perms",
            "--times",
            "--group",
            "--owner",
            "-D",
        ],
        _ => &[],
    }
}

fn row(name: &str) -> &'static Flag<Draft> {
    FLAGS
        .iter()
        .find(|flag| flag.names.contains(&name))
        .expect("names in this file are rows of the table, which a test checks")
}

fn refusal(title: &str) -> Stop {
    Stop::usage(format_args!("The server is configured to refuse {title}"))
}

/// Whether all of `name` matches, with `*`, `?` and `[…]`.
fn wild_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=name.len()).any(|skipped| wild_match(rest, &name[skipped..]))
        }
        (Some((b'?', rest)), Some((_, name))) => wild_match(rest, name),
        (Some((b'[', rest)), Some((byte, name))) => match rest.iter().position(|&b| b == b']') {
            Some(end) => in_class(&rest[..end], *byte) && wild_match(&rest[end + 1..], name),
            None => false,
        },
        (Some((wanted, rest)), Some((byte, name))) => wanted == byte && wild_match(rest, name),
        _ => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'!' | b'^', class @ ..] => (true, class),
        class => (false, class),
    };
    let ranges = class.windows(3).filter(|window| window[1] == b'-');
    let mut ranges = ranges.map(|window| window[0]..=window[2]);
    negated != (class.contains(&byte) || ranges.any(|range| range.contains(&byte)))
}

/// No wildcard refuses these: without them there is no transfer, or no telling how it is made.
const VITAL: [&str; 12] = [
    "--checksum-seed",
    "--delete-missing-args",
    "--dry-run",
    "--files-from",
    "--from0",
    "--ignore-missing-args",
    "--out-format",
    "--no-iconv",
    "--rsh",
    "--secluded-args",
    "--server",
    "--sender",
];

/// Whatever the module says: they name files of the daemon's machine, or its log.
const NEVER_FROM_A_CLIENT: [&str; 9] = [
    "--log-file",
    "--log-file-format",
    "--insecure-links",
    "--iconv",
    "--exclude-from",
    "--include-from",
    "--password-file",
    "--early-input",
    "--copy-as",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_this_file_is_a_row() {
        for name in VITAL.iter().chain(&NEVER_FROM_A_CLIENT) {
            row(name);
        }
        for flag in FLAGS {
            for name in implied_by(flag.names[0], true) {
                row(name);
            }
        }
    }

    /// As rsync 3.5.0 refuses them.
    #[test]
    fn what_is_refused_is_refused_by_every_option_that_asks_for_it() {
        for (patterns, option, is_refused) in [
            ("compress", "--compress-level", true),
            ("z", "--compress-level", true),
            ("compress", "--compress-choice", true),
            ("compress-level", "--compress", false),
            ("*", "--checksum-choice", true),
            ("*choice", "--checksum-choice", true),
            ("* !checksum-choice", "--checksum-choice", false),
            ("*", "--checksum-seed", false),
            ("delete", "--delete-after", true),
            ("delete", "--remove-source-files", true),
            ("delete-*", "--remove-source-files", false),
        ] {
            let refused = Refused::of_module(patterns.as_bytes());
            let checked = refused.check(row(option), option, true);
            assert_eq!(checked.is_err(), is_refused, "{patterns}: {option}");
        }
    }

    #[test]
    fn wildcards_match_whole_names() {
        for (pattern, name, is_match) in [
            ("*", "", true),
            ("*", "x", true),
            ("delete-*", "delete", false),
            ("delete-*", "delete-after", true),
            ("*-dest", "link-dest", true),
            ("c*s", "compress", true),
            ("?", "a", true),
            ("?", "ab", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[ax", "ax", false),
        ] {
            let matched = wild_match(pattern.as_bytes(), name.as_bytes());
            assert_eq!(matched, is_match, "{pattern} {name}");
        }
    }
}
