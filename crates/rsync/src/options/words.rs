//! The words of `--info` and `--debug`, and their levels.
//!
//! Source: rsync(1), and `--info=help` and `--debug=help` of rsync 3.5.0.

use super::Info;
use super::flag::{Given, Stop, lossy};

/// A word of `--info`.
#[derive(Debug)]
struct InfoWord {
    name: &'static str,
    level: fn(&mut Info) -> &mut u8,
    /// Its level at `-v` 0, 1 and 2.
    levels: [u8; 3],
    /// Whom a client tells of it.
    told: Told,
    help: &'static str,
}

/// Whom a client tells that a word was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    Nobody,
    Sender,
    Receiver,
    Server,
}

const INFO: [InfoWord; 13] = [
    info(
        "BACKUP",
        |i| &mut i.backup,
        [0, 0, 1],
        Told::Receiver,
        "Mention files backed up",
    ),
    info(
        "COPY",
        |i| &mut i.copy,
        [0, 1, 1],
        Told::Receiver,
        "Mention files copied locally on the receiving side",
    ),
    info(
        "DEL",
        |i| &mut i.del,
        [0, 1, 1],
        Told::Receiver,
        "Mention deletions on the receiving side",
    ),
    info(
        "FLIST",
        |i| &mut i.flist,
        [0, 1, 1],
        Told::Nobody,
        "Mention file-list receiving/sending (levels 1-2)",
    ),
    info(
        "MISC",
        |i| &mut i.misc,
        [0, 1, 2],
        Told::Server,
        "Mention miscellaneous information (levels 1-2)",
    ),
    info(
        "MOUNT",
        |i| &mut i.mount,
        [0, 0, 1],
        Told::Server,
        "Mention mounts that were found or skipped",
    ),
    info(
        "NAME",
        |i| &mut i.name,
        [0, 1, 2],
        Told::Server,
        "Mention 1) updated file/dir names, 2) unchanged names",
    ),
    info(
        "NONREG",
        |i| &mut i.nonreg,
        [1, 1, 1],
        Told::Receiver,
        "Mention skipped non-regular files (default 1, 0 disables)",
    ),
    info(
        "PROGRESS",
        |i| &mut i.progress,
        [0, 0, 0],
        Told::Nobody,
        "Mention 1) per-file progress or 2) total transfer progress",
    ),
    info(
        "REMOVE",
        |i| &mut i.remove,
        [0, 0, 1],
        Told::Sender,
        "Mention files removed on the sending side",
    ),
    info(
        "SKIP",
        |i| &mut i.skip,
        [0, 0, 1],
        Told::Receiver,
        "Mention files skipped due to transfer overrides (levels 1-2)",
    ),
    info(
        "STATS",
        |i| &mut i.stats,
        [0, 1, 1],
        Told::Server,
        "Mention statistics at end of run (levels 1-3)",
    ),
    info(
        "SYMSAFE",
        |i| &mut i.symsafe,
        [0, 1, 1],
        Told::Server,
        "Mention symlinks that are unsafe",
    ),
];

const fn info(
    name: &'static str,
    level: fn(&mut Info) -> &mut u8,
    levels: [u8; 3],
    told: Told,
    help: &'static str,
) -> InfoWord {
    InfoWord {
        name,
        level,
        levels,
        told,
        help,
    }
}

/// The words of `--info` that were given, with their levels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AskedInfo([Option<u8>; INFO.len()]);

impl AskedInfo {
    /// Takes the value of an `--info`. A server passes over words it does not know, as clients of
    /// other versions may have more.
    pub(super) fn take(&mut self, given: &Given<'_>, server: bool) -> Result<(), Stop> {
        let names = INFO.each_ref().map(|word| word.name);
        take(&mut self.0, &names, given, server, info_help)
    }

    /// All levels, by these words and what `-v` adds; of the rest, the higher of that and `implied`.
    pub(super) fn resolve(&self, verbose: u8, implied: Info) -> Info {
        let (mut info, mut implied) = (Info::default(), implied);
        for (word, asked) in INFO.iter().zip(self.0) {
            let by_verbosity = word.levels[usize::from(verbose.min(2))];
            let otherwise = by_verbosity.max(*(word.level)(&mut implied));
            *(word.level)(&mut info) = asked.unwrap_or(otherwise);
        }
        info
    }

    /// The value of the `--info` for a server that sends or receives; `None` when there is nothing
    /// to tell it.
    pub(super) fn for_server(&self, server_sends: bool) -> Option<String> {
        let theirs = match server_sends {
            true => Told::Sender,
            false => Told::Receiver,
        };
        let told: Vec<(&str, Option<u8>)> = INFO
            .iter()
            .zip(self.0)
            .filter(|(word, _)| word.told == theirs || word.told == Told::Server)
            .map(|(word, level)| (word.name, level))
            .collect();
        spell(&told)
    }
}

impl Info {
    /// No level above what `-v`, given `max_verbosity` times, sets: what a daemon's module allows.
    #[must_use]
    pub fn at_most(mut self, max_verbosity: u8) -> Self {
        for word in &INFO {
            let highest = word.levels[usize::from(max_verbosity.min(2))];
            let level = (word.level)(&mut self);
            *level = highest.min(*level);
        }
        self
    }
}

/// Checks the value of a `--debug`: barge has no lines for its words.
pub(super) fn check_debug(given: &Given<'_>, server: bool) -> Result<(), Stop> {
    take(&mut [None; DEBUG.len()], &DEBUG, given, server, debug_help)
}

/// Sets the levels that `given` asks for.
fn take(
    levels: &mut [Option<u8>],
    names: &[&str],
    given: &Given<'_>,
    server: bool,
    help: fn() -> String,
) -> Result<(), Stop> {
    for item in given.value.split(|&byte| byte == b',') {
        let digits = item
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (name, digits) = match digits < item.len() {
            true => item.split_at(item.len() - digits),
            false => (item, &item[..0]),
        };
        let level = digits.iter().fold(0_u8, |level, digit| {
            level.saturating_mul(10).saturating_add(digit - b'0')
        });
        let level = if digits.is_empty() {
            1
        } else {
            level.min(MAX_LEVEL)
        };
        let name = lossy(name);
        match name.to_ascii_uppercase().as_str() {
            "" => {}
            "HELP" => return Err(Stop::Print(help())),
            "ALL" => levels.fill(Some(level)),
            "NONE" => levels.fill(Some(0)),
            upper => match names.iter().position(|name| *name == upper) {
                Some(at) => levels[at] = Some(level),
                None if server => {}
                None => {
                    let text = format!("Unknown {} item: \"{name}\"", given.name);
                    return Err(Stop::Refused(text, 1));
                }
            },
        }
    }
    Ok(())
}

/// The words that were asked for, as a client spells them for its server: a level that most have
/// is said once, if all were asked for.
fn spell(words: &[(&str, Option<u8>)]) -> Option<String> {
    let count = |level| words.iter().filter(|(_, other)| *other == level).count();
    let mut common = None;
    for (_, level) in words {
        if common.is_none_or(|common| count(*level) > count(common)) {
            common = Some(*level);
        }
    }
    let all_asked = words.iter().all(|(_, level)| level.is_some());
    let common = common
        .filter(|level| all_asked && count(*level) >= WORTH_SAYING_ONCE)
        .flatten();
    let all = common.map(|level| match level {
        0 => "NONE".to_owned(),
        level => with_level("ALL", level),
    });
    let others = words.iter().filter_map(|(name, level)| match *level {
        Some(level) if common != Some(level) => Some(with_level(name, level)),
        _ => None,
    });
    let spelled: Vec<String> = all.into_iter().chain(others).collect();
    (!spelled.is_empty()).then(|| spelled.join(","))
}

fn with_level(name: &str, level: u8) -> String {
    match level {
        1 => name.to_owned(),
        level => format!("{name}{level}"),
    }
}

/// What `--info=help` prints.
fn info_help() -> String {
    let mut text =
        "Use OPT or OPT1 for level 1 output, OPT2 for level 2, etc.; OPT0 silences.\n\n".to_owned();
    for word in &INFO {
        text += &format!("{:<10} {}\n", word.name, word.help);
    }
    text += "\n\
        ALL        Set all --info options (e.g. all4)\n\
        NONE       Silence all --info options (same as all0)\n\
        HELP       Output this help message\n\n\
        Options added at each level of verbosity:\n";
    for verbose in 0..INFO[0].levels.len() {
        let added = INFO.iter().filter_map(|word| {
            let before = verbose
                .checked_sub(1)
                .map_or(0, |before| word.levels[before]);
            let level = word.levels[verbose];
            (level > before).then(|| with_level(word.name, level))
        });
        text += &format!("{verbose}) {}\n", added.collect::<Vec<_>>().join(","));
    }
    text
}

fn debug_help() -> String {
    format!(
        "These words are known, and nothing is printed for them:\n{}\n",
        DEBUG.join(" ")
    )
}

const DEBUG: [&str; 24] = [
    "ACL", "BACKUP", "BIND", "CHDIR", "CONNECT", "CMD", "DEL", "DELTASUM", "DUP", "EXIT", "FILTER",
    "FLIST", "FUZZY", "GENR", "HASH", "HLINK", "ICONV", "IO", "NSTR", "OWN", "PROTO", "RECV",
    "SEND", "TIME",
];

const MAX_LEVEL: u8 = 4;

/// As many words of one level are said as `ALL`.
const WORTH_SAYING_ONCE: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> Result<AskedInfo, Stop> {
        let mut asked = AskedInfo::default();
        let given = Given {
            name: "--info",
            value: words.as_bytes(),
        };
        asked.take(&given, false).map(|()| asked)
    }

    // `rsync --info=… s/ h:d/` and `rsync --info=… h:s/ d/` with 3.5.0.
    #[test]
    fn a_server_is_told_of_words_as_stock_tells_it() {
        for (words, push, pull) in [
            ("", None, None),
            (",", None, None),
            ("progress2", None, None),
            ("del", Some("DEL"), None),
            ("Del,SKIP2", Some("DEL,SKIP2"), None),
            ("del,,skip", Some("DEL,SKIP"), None),
            ("del12", Some("DEL4"), None),
            ("name2,del0", Some("DEL0,NAME2"), Some("NAME2")),
            ("copy,misc2", Some("COPY,MISC2"), Some("MISC2")),
            ("all", Some("ALL"), Some("ALL")),
            ("all0", Some("NONE"), Some("NONE")),
            ("all9", Some("ALL4"), Some("ALL4")),
            ("none,del", Some("NONE,DEL"), Some("NONE")),
            ("del,none", Some("NONE"), Some("NONE")),
            ("all,name0", Some("ALL,NAME0"), Some("ALL,NAME0")),
            ("all2,name", Some("ALL2,NAME"), Some("ALL2,NAME")),
            (
                "backup,copy,del,misc,mount,name2,nonreg2,skip2,stats2,symsafe2",
                Some("ALL,NAME2,NONREG2,SKIP2,STATS2,SYMSAFE2"),
                Some("MISC,MOUNT,NAME2,STATS2,SYMSAFE2"),
            ),
            (
                "all2,backup,copy,del,misc,name",
                Some("ALL,MOUNT2,NONREG2,SKIP2,STATS2,SYMSAFE2"),
                Some("MISC,MOUNT2,NAME,REMOVE2,STATS2,SYMSAFE2"),
            ),
            (
                "misc,mount,name,remove,stats2,symsafe2",
                Some("MISC,MOUNT,NAME,STATS2,SYMSAFE2"),
                Some("MISC,MOUNT,NAME,REMOVE,STATS2,SYMSAFE2"),
            ),
        ] {
            let asked = asked(words).unwrap();
            assert_eq!(asked.for_server(false).as_deref(), push, "{words}");
            assert_eq!(asked.for_server(true).as_deref(), pull, "{words}");
        }
    }

    #[test]
    fn an_unknown_word_is_shown_without_its_level() {
        for (words, shown) in [
            ("foo", "foo"),
            ("del-1", "del-"),
            ("1", "1"),
            ("del=1", "del="),
        ] {
            let text = format!("Unknown --info item: \"{shown}\"");
            assert_eq!(asked(words), Err(Stop::Refused(text, 1)));
        }
    }

    #[test]
    fn words_that_were_given_count_more_than_verbosity() {
        let levels = |words: &str, verbose| asked(words).unwrap().resolve(verbose, Info::default());
        assert_eq!(
            levels("", 0),
            Info {
                nonreg: 1,
                ..Info::default()
            }
        );
        assert_eq!(levels("none", 2), Info::default());
        let loud = levels("name0,progress2", 5);
        assert_eq!(
            (loud.name, loud.misc, loud.progress, loud.stats),
            (0, 2, 2, 1)
        );
    }

    #[test]
    fn a_module_bounds_levels_by_verbosity() {
        let all = asked("all4").unwrap().resolve(0, Info::default());
        let (quiet, one) = (all.at_most(0), all.at_most(1));
        assert_eq!(
            quiet,
            Info {
                nonreg: 1,
                ..Info::default()
            }
        );
        assert_eq!((one.name, one.del, one.backup), (1, 1, 0));
    }
}
