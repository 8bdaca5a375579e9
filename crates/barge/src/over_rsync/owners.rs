//! Whose files are whose on the receiving side: numbers and names of a sender's accounts, in terms
//! of this host.
//!
//! Source: rsync(1), «--usermap», «--numeric-ids», and rsync 3.5.0 as it behaves.

use std::collections::HashMap;

use barge_fs::Error;
use barge_rsync::options::Options;
use barge_rsync::wire::idlist::IdNames;

use crate::filter::name_matches;

/// What was looked up: `None` where there is none, an error where that cannot be told.
type Found<T> = Result<Option<T>, Error>;

/// The accounts of this host.
pub(crate) trait Accounts {
    /// A user's number, by name.
    fn user_id(&self, name: &[u8]) -> Found<u32>;
    /// A group's.
    fn group_id(&self, name: &[u8]) -> Found<u32>;
    /// A user's name.
    fn user_name(&self, uid: u32) -> Found<Vec<u8>>;
    /// A group's.
    fn group_name(&self, gid: u32) -> Found<Vec<u8>>;
}

/// Those the system tells of.
pub(crate) struct HostAccounts;

impl Accounts for HostAccounts {
    fn user_id(&self, name: &[u8]) -> Found<u32> {
        barge_fs::user_id(name)
    }

    fn group_id(&self, name: &[u8]) -> Found<u32> {
        barge_fs::group_id(name)
    }

    fn user_name(&self, uid: u32) -> Found<Vec<u8>> {
        barge_fs::user_name(uid)
    }

    fn group_name(&self, gid: u32) -> Found<Vec<u8>> {
        barge_fs::group_name(gid)
    }
}

/// What a sender's users and groups are here.
#[derive(Debug)]
pub(crate) struct Owners {
    users: Ids,
    groups: Ids,
    /// Names on either side mean nothing.
    numeric: bool,
}

/// Users, or groups.
#[derive(Debug)]
struct Ids {
    map: Vec<Pair>,
    /// What those with a name are here.
    named: HashMap<u32, u32>,
}

/// One `FROM:TO` of a map.
#[derive(Debug)]
struct Pair {
    from: From,
    to: u32,
}

#[derive(Debug)]
enum From {
    /// Numbers, the last one included.
    Range(u32, u32),
    /// A name, or with wildcards many; no name for those that have none.
    Name(Vec<u8>),
}

/// A map as its option gives it, and what its words and names are.
struct Given<'a> {
    option: &'static str,
    text: &'a [u8],
    id: &'a dyn Fn(&[u8]) -> Found<u32>,
}

impl Owners {
    /// Reads the maps of a run. `numeric` is the option of that name, or a module's. Also gives a
    /// warning for each name that this host does not know: what is mapped to it stays as it is.
    ///
    /// # Errors
    ///
    /// What is wrong with a map, in rsync's words; the exit code is 1.
    pub(crate) fn new(
        options: &Options,
        numeric: bool,
        accounts: &dyn Accounts,
    ) -> Result<(Self, Vec<String>), String> {
        let mut warnings = Vec::new();
        let users = Given {
            option: "--usermap",
            text: options.usermap.as_deref().unwrap_or_default(),
            id: &|name| accounts.user_id(name),
        };
        let groups = Given {
            option: "--groupmap",
            text: options.groupmap.as_deref().unwrap_or_default(),
            id: &|name| accounts.group_id(name),
        };
        let mut owners = Self {
            users: Ids::new(match &options.usermap {
                Some(_) => users.pairs(&mut warnings)?,
                None => Vec::new(),
            }),
            groups: Ids::new(match &options.groupmap {
                Some(_) => groups.pairs(&mut warnings)?,
                None => Vec::new(),
            }),
            numeric,
        };
        // A sender need not say what number 0 is called: it is called the same everywhere.
        if !numeric {
            owners.users.know_root(&|| accounts.user_name(0))?;
            owners.groups.know_root(&|| accounts.group_name(0))?;
        }
        Ok((owners, warnings))
    }

    /// Hears what a sender's users and groups are called. Names that could not be looked up are given
    /// back, with why: they count as unknown.
    pub(crate) fn learn<'n>(
        &mut self,
        names: &'n IdNames,
        accounts: &dyn Accounts,
    ) -> Vec<(&'n [u8], Error)> {
        let mut failed = Vec::new();
        if self.numeric {
            return failed;
        }
        for (uid, name) in &names.users {
            let learned = self.users.learn(*uid, name, &|name| accounts.user_id(name));
            failed.extend(learned.err().map(|error| (&**name, error)));
        }
        for (gid, name) in &names.groups {
            let id = |name: &[u8]| accounts.group_id(name);
            let learned = self.groups.learn(*gid, name, &id);
            failed.extend(learned.err().map(|error| (&**name, error)));
        }
        failed
    }

    /// What a sender's user is here: by the map, by name, or else the same number.
    pub(crate) fn user(&self, uid: u32) -> u32 {
        self.users.here(uid)
    }

    /// What a sender's group is here.
    pub(crate) fn group(&self, gid: u32) -> u32 {
        self.groups.here(gid)
    }
}

impl Ids {
    fn new(map: Vec<Pair>) -> Self {
        Self {
            map,
            named: HashMap::new(),
        }
    }

    /// Hears what number 0 is called, where the map has names.
    fn know_root(&mut self, name: &dyn Fn() -> Found<Vec<u8>>) -> Result<(), String> {
        let is_by_name = |pair: &Pair| matches!(pair.from, From::Name(_));
        if !self.map.iter().any(is_by_name) {
            return Ok(());
        }
        let name =
            name().map_err(|error| format!("Cannot look up number 0 on receiver: {error}"))?;
        let here = self.mapped(0, &name.unwrap_or_default());
        self.named.insert(0, here.unwrap_or(0));
        Ok(())
    }

    fn learn(
        &mut self,
        number: u32,
        name: &[u8],
        id: &dyn Fn(&[u8]) -> Found<u32>,
    ) -> Result<(), Error> {
        let (here, looked_up) = match self.mapped(number, name) {
            Some(here) => (here, Ok(())),
            None if number == 0 => (0, Ok(())),
            // A name that is not known here makes nobody another: least of all number 0.
            None => match id(name) {
                Ok(here) => (here.unwrap_or(number), Ok(())),
                Err(error) => (number, Err(error)),
            },
        };
        self.named.insert(number, here);
        looked_up
    }

    fn here(&self, number: u32) -> u32 {
        let named = self.named.get(&number).copied();
        named.or_else(|| self.mapped(number, b"")).unwrap_or(number)
    }

    /// The first pair that matches counts.
    fn mapped(&self, number: u32, name: &[u8]) -> Option<u32> {
        let mut pairs = self.map.iter();
        let pair = pairs.find(|pair| pair.from.matches(number, name))?;
        Some(pair.to)
    }
}

impl From {
    fn matches(&self, number: u32, name: &[u8]) -> bool {
        match self {
            Self::Range(first, last) => (*first..=*last).contains(&number),
            Self::Name(pattern) => name_matches(pattern, name),
        }
    }
}

impl Given<'_> {
    fn pairs(&self, warnings: &mut Vec<String>) -> Result<Vec<Pair>, String> {
        let mut pairs = Vec::new();
        for text in self.text.split(|&byte| byte == b',') {
            let colon = text.iter().position(|&byte| byte == b':');
            let colon = colon.ok_or_else(|| self.wrong("No colon found in", text))?;
            let (from, to) = (&text[..colon], &text[colon + 1..]);
            if to.is_empty() {
                return Err(self.wrong("No name found after colon", text));
            }
            let from = self.from(from)?;
            match self.to(to)? {
                Some(to) => pairs.push(Pair { from, to }),
                None => {
                    let (option, to) = (self.option, to.escape_ascii());
                    warnings.push(format!("Unknown {option} name on receiver: {to}"));
                }
            }
        }
        Ok(pairs)
    }

    /// A number or a range where a digit comes first, else a name.
    fn from(&self, text: &[u8]) -> Result<From, String> {
        if !text.first().is_some_and(u8::is_ascii_digit) {
            return Ok(From::Name(text.to_vec()));
        }
        let (first, last) = match text.iter().position(|&byte| byte == b'-') {
            Some(dash) => (&text[..dash], &text[dash + 1..]),
            None => (text, text),
        };
        if !is_number(first) || !is_number(last) {
            return Err(self.wrong("Invalid number in", text));
        }
        Ok(From::Range(number(first)?, number(last)?))
    }

    fn to(&self, text: &[u8]) -> Result<Option<u32>, String> {
        match is_number(text) {
            // To the system, the highest number is no owner but to leave the one there is.
            true => number(text)?
                .checked_add(1)
                .map(|above| Some(above - 1))
                .ok_or_else(|| invalid(text)),
            false => (self.id)(text).map_err(|error| {
                let (option, name) = (self.option, text.escape_ascii());
                format!("Cannot look up {option} name on receiver: {name}: {error}")
            }),
        }
    }

    fn wrong(&self, what: &str, text: &[u8]) -> String {
        format!("{what} {}: {}", self.option, text.escape_ascii())
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn number(text: &[u8]) -> Result<u32, String> {
    let digits = std::str::from_utf8(text).ok();
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| invalid(text))
}

fn invalid(text: &[u8]) -> String {
    format!("Invalid ID number: {}", text.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with root, daemon, www-data, cloudsdk and nobody, as users and as groups.
    struct Few;

    const FEW: [(u32, &str); 5] = [
        (0, "root"),
        (1, "daemon"),
        (33, "www-data"),
        (1000, "cloudsdk"),
        (65534, "nobody"),
    ];

    impl Accounts for Few {
        fn user_id(&self, name: &[u8]) -> Found<u32> {
            let mut all = FEW.iter();
            let found = all.find(|(_, known)| known.as_bytes() == name);
            Ok(found.map(|found| found.0))
        }

        fn group_id(&self, name: &[u8]) -> Found<u32> {
            self.user_id(name)
        }

        fn user_name(&self, uid: u32) -> Found<Vec<u8>> {
            let mut all = FEW.iter();
            let found = all.find(|(known, _)| *known == uid);
            Ok(found.map(|found| found.1.into()))
        }

        fn group_name(&self, gid: u32) -> Found<Vec<u8>> {
            self.user_name(gid)
        }
    }

    /// A host that cannot read what it knows.
    struct Broken;

    const WHY: Error = Error {
        op: "getpwnam",
        errno: 5,
    };

    impl Accounts for Broken {
        fn user_id(&self, _name: &[u8]) -> Found<u32> {
            Err(WHY)
        }

        fn group_id(&self, _name: &[u8]) -> Found<u32> {
            Err(WHY)
        }

        fn user_name(&self, _uid: u32) -> Found<Vec<u8>> {
            Err(WHY)
        }

        fn group_name(&self, _gid: u32) -> Found<Vec<u8>> {
            Err(WHY)
        }
    }

    fn names() -> IdNames {
        let named = FEW[1..].iter();
        let named = named.map(|(id, name)| (*id, name.as_bytes().into()));
        IdNames {
            users: named.clone().collect(),
            groups: named.collect(),
        }
    }

    /// Users 0, 1, 33, 1000, 54321, 65534 by a map, when the sender is such a host as well.
    fn by_map(map: &str, numeric: bool) -> Result<([u32; 6], Vec<String>), String> {
        let options = Options {
            usermap: Some(map.into()),
            ..Options::default()
        };
        let (mut owners, warnings) = Owners::new(&options, numeric, &Few)?;
        assert!(owners.learn(&names(), &Few).is_empty());
        let users = [0, 1, 33, 1000, 54321, 65534].map(|uid| owners.user(uid));
        Ok((users, warnings))
    }

    #[test]
    fn map_does_what_that_of_rsync_does() {
        // From rsync 3.5.0 on one host with these accounts.
        for (map, users) in [
            ("33:1", [0, 1, 1, 1000, 54321, 65534]),
            ("www-data:daemon", [0, 1, 1, 1000, 54321, 65534]),
            ("www*:7", [0, 1, 7, 1000, 54321, 65534]),
            ("*:7", [7, 7, 7, 7, 7, 7]),
            ("**:5", [5, 5, 5, 5, 5, 5]),
            (":7", [0, 1, 33, 1000, 7, 65534]),
            ("0-99:nobody,1000:5", [65534, 65534, 65534, 5, 54321, 65534]),
            ("root:8", [8, 1, 33, 1000, 54321, 65534]),
            ("0:8", [8, 1, 33, 1000, 54321, 65534]),
            ("r*:8", [8, 1, 33, 1000, 54321, 65534]),
            ("1000-60000:9", [0, 1, 33, 9, 9, 65534]),
            ("nosuch:1", [0, 1, 33, 1000, 54321, 65534]),
            ("9-3:1", [0, 1, 33, 1000, 54321, 65534]),
            ("-3:1", [0, 1, 33, 1000, 54321, 65534]),
            ("33:4294967294", [0, 1, 4294967294, 1000, 54321, 65534]),
            ("www-data:1,33:2", [0, 1, 1, 1000, 54321, 65534]),
            ("33:2,www-data:1", [0, 1, 2, 1000, 54321, 65534]),
            ("?*:3", [3, 3, 3, 3, 54321, 3]),
            ("[wd]*:3", [0, 3, 3, 1000, 54321, 65534]),
            (" 33:3", [0, 1, 33, 1000, 54321, 65534]),
            ("33-33:5", [0, 1, 5, 1000, 54321, 65534]),
            ("033:05", [0, 1, 5, 1000, 54321, 65534]),
            (r"w\*:5", [0, 1, 33, 1000, 54321, 65534]),
            ("1000:root", [0, 1, 33, 0, 54321, 65534]),
            (":root", [0, 1, 33, 1000, 0, 65534]),
        ] {
            assert_eq!(by_map(map, false), Ok((users, Vec::new())), "{map}");
        }
        for (map, users) in [
            ("*:3", [3, 3, 3, 3, 3, 3]),
            (":3", [3, 3, 3, 3, 3, 3]),
            ("www*:3", [0, 1, 33, 1000, 54321, 65534]),
            ("root:3", [0, 1, 33, 1000, 54321, 65534]),
            ("33:3", [0, 1, 3, 1000, 54321, 65534]),
        ] {
            assert_eq!(by_map(map, true), Ok((users, Vec::new())), "{map}");
        }
    }

    #[test]
    fn map_is_refused_in_the_words_of_rsync() {
        for (map, text) in [
            ("33", "No colon found in --usermap: 33"),
            ("33:", "No name found after colon --usermap: 33:"),
            ("33:1,", "No colon found in --usermap: "),
            (",33:1", "No colon found in --usermap: "),
            ("", "No colon found in --usermap: "),
            ("3-:1", "Invalid number in --usermap: 3-"),
            ("0x21:3", "Invalid number in --usermap: 0x21"),
            ("33 :3", "Invalid number in --usermap: 33 "),
            ("33:4294967296", "Invalid ID number: 4294967296"),
            ("4294967296:1", "Invalid ID number: 4294967296"),
            ("33:4294967295", "Invalid ID number: 4294967295"),
        ] {
            assert_eq!(by_map(map, false), Err(text.into()), "{map}");
        }
    }

    #[test]
    fn name_that_is_not_known_here_leaves_all_as_it_is_and_is_told() {
        let same = [0, 1, 33, 1000, 54321, 65534];
        for (map, name) in [("33:nosuch", "nosuch"), ("33:1:2", "1:2"), ("33:-1", "-1")] {
            let told = vec![format!("Unknown --usermap name on receiver: {name}")];
            assert_eq!(by_map(map, false), Ok((same, told)));
        }
    }

    #[test]
    fn name_that_could_not_be_looked_up_is_told_and_keeps_its_number() {
        let (mut owners, _) = Owners::new(&Options::default(), false, &Broken).unwrap();
        let names = IdNames {
            users: vec![(0, b"root"[..].into()), (33, b"www-data"[..].into())],
            groups: vec![(7, b"lp"[..].into())],
        };
        let failed = owners.learn(&names, &Broken);
        assert_eq!(failed, [(&b"www-data"[..], WHY), (&b"lp"[..], WHY)]);
        assert_eq!(
            (owners.user(0), owners.user(33), owners.group(7)),
            (0, 33, 7)
        );
    }

    #[test]
    fn map_with_a_name_that_cannot_be_looked_up_is_refused() {
        for map in ["33:nobody", "www-data:1"] {
            let options = Options {
                usermap: Some(map.into()),
                ..Options::default()
            };
            assert!(Owners::new(&options, false, &Broken).is_err(), "{map}");
        }
    }

    #[test]
    fn number_of_a_name_is_that_of_the_name_here() {
        let learned = |numeric| {
            let (mut owners, _) = Owners::new(&Options::default(), numeric, &Few).unwrap();
            let named = |id, name: &[u8]| (id, name.into());
            let names = IdNames {
                users: vec![
                    named(5, b"www-data"),
                    named(33, b"else"),
                    named(0, b"daemon"),
                ],
                groups: vec![named(7, b"daemon")],
            };
            assert!(owners.learn(&names, &Few).is_empty());
            let users = [0, 5, 33, 1000].map(|uid| owners.user(uid));
            (users, owners.group(7), owners.group(5))
        };
        assert_eq!(learned(false), ([0, 33, 33, 1000], 1, 5));
        assert_eq!(learned(true), ([0, 5, 33, 1000], 7, 5));
    }

    #[test]
    fn users_and_groups_have_maps_of_their_own() {
        let options = Options {
            groupmap: Some(b"33:1,www*:2".to_vec()),
            ..Options::default()
        };
        let (mut owners, _) = Owners::new(&options, false, &Few).unwrap();
        assert!(owners.learn(&names(), &Few).is_empty());
        assert_eq!((owners.user(33), owners.group(33)), (33, 1));
    }
}
