//! A daemon's module, as plain data, and who may use it.
//!
//! Source: rsyncd.conf(5), and rsync 3.5.0 as it behaves.

use barge_rsync::options::Options;
use barge_rsync::session::auth::Digest;

use super::wild::wild;

/// One module: what it is called, who may do what in it, and how.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// What the list of modules says of it.
    pub comment: Vec<u8>,
    /// Whether it is in the list, and admitted to exist to who may not use it.
    pub listed: bool,
    /// Who may use it; without: everybody, by no name.
    pub users: Option<UserRules>,
    /// The weakest digest that a password may be proved by.
    pub least_digest: Option<LeastDigest>,
    /// Nothing is written.
    pub read_only: bool,
    /// Nothing is read.
    pub write_only: bool,
    /// Seconds without a byte; 0: as the client wants.
    pub timeout: u32,
    /// Levels of `-v` a client may have.
    pub max_verbosity: u8,
    /// `refuse options`, as written.
    pub refuse_options: Vec<u8>,
    /// Owners are numbers.
    pub numeric_ids: bool,
    /// Received links are made unusable, and sent ones usable again.
    pub munges_links: bool,
    /// Where no other root confines this process: what climbs in a path of an option climbs nowhere.
    pub sanitizes_paths: bool,
    /// Attributes that only root may set are kept in extended ones.
    pub fake_super: bool,
    /// Errors of the list do not keep deletions from being made.
    pub ignores_errors: bool,
    /// What cannot be read is not listed.
    pub ignores_nonreadable: bool,
    /// `incoming chmod`.
    pub incoming_chmod: Option<Vec<u8>>,
    /// `outgoing chmod`.
    pub outgoing_chmod: Option<Vec<u8>>,
    /// `temp dir`.
    pub temp_dir: Option<Vec<u8>>,
    /// `dont compress` is `*`: nothing is compressed that is sent.
    pub compresses_nothing: bool,
    /// Whether access times are left alone; unset: as the client wants.
    pub open_noatime: Option<bool>,
}

/// The floor of `auth digest`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeastDigest {
    /// This one or a better one.
    Known(Digest),
    /// A name nobody knows: none will do.
    Unknown,
}

impl LeastDigest {
    /// Whether a digest is good enough.
    pub(super) fn takes(self, digest: Digest) -> bool {
        match self {
            Self::Known(least) => digest <= least,
            Self::Unknown => false,
        }
    }
}

impl Module {
    /// A module with the defaults of rsyncd.conf(5).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            comment: Vec::new(),
            listed: true,
            users: None,
            least_digest: None,
            read_only: true,
            write_only: false,
            timeout: 0,
            max_verbosity: 1,
            refuse_options: Vec::new(),
            numeric_ids: false,
            munges_links: false,
            sanitizes_paths: false,
            fake_super: false,
            ignores_errors: false,
            ignores_nonreadable: false,
            incoming_chmod: None,
            outgoing_chmod: None,
            temp_dir: None,
            compresses_nothing: false,
            open_noatime: None,
        }
    }

    /// Bends what a client wants to what the module lets it have.
    pub(super) fn restrict(&self, options: &mut Options) {
        if self.timeout > 0 && (options.timeout == 0 || options.timeout > self.timeout) {
            options.timeout = self.timeout;
        }
        if options.verbose > self.max_verbosity {
            options.verbose = self.max_verbosity;
        }
        options.info = options.info.at_most(self.max_verbosity);
        options.ignore_errors |= self.ignores_errors;
        options.munge_links |= self.munges_links;
        options.fake_super = self.fake_super;
        if let Some(dir) = &self.temp_dir {
            use std::os::unix::ffi::OsStringExt;
            options.temp_dir = Some(std::ffi::OsString::from_vec(dir.clone()));
        }
        if let Some(untouched) = self.open_noatime {
            options.open_noatime = untouched;
        }
        if self.compresses_nothing && options.sender {
            options.skip_compress = Some(b"*".to_vec());
        }
    }
}

/// The rules of `auth users`, in order: the first that fits a user decides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UserRules(Vec<UserRule>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct UserRule {
    /// With wildcards.
    name: String,
    /// It is a group's, of whose members it speaks.
    is_group: bool,
    access: Access,
}

/// What a rule says of who it fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// What the module says of itself.
    AsModule,
    Denied,
    ReadOnly,
    ReadWrite,
}

/// The rule that fits a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fits {
    pub(super) access: Access,
    /// The group whose password will do as well.
    pub(super) group: Option<String>,
}

impl UserRules {
    /// Reads a list that is separated by commas and blanks; one that begins with a comma by commas
    /// alone.
    pub fn parse(list: &str) -> Self {
        let words: Vec<&str> = match list.trim_start().strip_prefix(',') {
            Some(list) => list.split(',').map(str::trim).collect(),
            None => list.split([',', ' ', '\t', '\r', '\n']).collect(),
        };
        let rules = words.into_iter().filter(|word| !word.is_empty());
        Self(rules.map(UserRule::parse).collect())
    }

    /// The first rule that fits a user; `groups` gives the names of the groups it is a member of.
    ///
    /// # Errors
    ///
    /// Those of `groups`.
    pub(super) fn fit(
        &self,
        user: &str,
        groups: impl FnOnce() -> Result<Vec<String>, String>,
    ) -> Result<Option<Fits>, String> {
        let has_groups = self.0.iter().any(|rule| rule.is_group);
        let groups = if has_groups { groups()? } else { Vec::new() };
        Ok(self.0.iter().find_map(|rule| {
            let fits = |name: &str| wild(rule.name.as_bytes(), name.as_bytes());
            let group = match rule.is_group {
                true => Some(groups.iter().find(|group| fits(group))?.clone()),
                false => fits(user).then_some(None)?,
            };
            Some(Fits {
                access: rule.access,
                group,
            })
        }))
    }
}

impl UserRule {
    fn parse(word: &str) -> Self {
        let (name, access) = match word.rsplit_once(':') {
            Some((name, access)) => (name, Access::parse(access)),
            None => (word, Access::AsModule),
        };
        let (name, is_group) = match name.strip_prefix('@') {
            Some(name) => (name, true),
            None => (name, false),
        };
        Self {
            name: name.to_owned(),
            is_group,
            access,
        }
    }
}

impl Access {
    /// A word nobody knows lets nobody in.
    fn parse(word: &str) -> Self {
        match &*word.to_ascii_lowercase() {
            "ro" => Self::ReadOnly,
            "rw" => Self::ReadWrite,
            _ => Self::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(list: &str, user: &str, groups: &[&str]) -> Option<(Access, Option<String>)> {
        let groups = || Ok(groups.iter().map(|&group| group.to_owned()).collect());
        let fits = UserRules::parse(list).fit(user, groups).unwrap()?;
        Some((fits.access, fits.group))
    }

    /// The examples of rsyncd.conf(5).
    #[test]
    fn the_first_rule_that_fits_decides() {
        let list = "joe:deny @guest:deny admin:rw @rsync:ro susan joe sam";
        let group = |name: &str| Some(name.to_owned());
        assert_eq!(fit(list, "joe", &["rsync"]), Some((Access::Denied, None)));
        assert_eq!(
            fit(list, "admin", &["guest"]),
            Some((Access::Denied, group("guest")))
        );
        assert_eq!(fit(list, "admin", &[]), Some((Access::ReadWrite, None)));
        assert_eq!(
            fit(list, "susan", &["rsync"]),
            Some((Access::ReadOnly, group("rsync")))
        );
        assert_eq!(fit(list, "sam", &[]), Some((Access::AsModule, None)));
        assert_eq!(fit(list, "other", &[]), None);
    }

    #[test]
    fn who_may_be_in_any_group_is_kept_out_by_rules_about_groups_alone() {
        let fit = |list: &str| {
            let unknown = || Err("broken".to_owned());
            UserRules::parse(list).fit("ann", unknown)
        };
        assert_eq!(fit("@guest:deny *"), Err("broken".to_owned()));
        assert_eq!(fit("*").unwrap().unwrap().access, Access::AsModule);
    }

    #[test]
    fn a_list_that_begins_with_a_comma_keeps_its_blanks() {
        let list = " , joe:deny, @Some Group:deny, admin:rw, @RO Group:ro";
        let denied = fit(list, "x", &["Some Group"]).unwrap();
        assert_eq!(denied.0, Access::Denied);
        assert_eq!(fit(list, "x", &["RO Group"]).unwrap().0, Access::ReadOnly);
        assert_eq!(
            fit("joe, ann\tbob", "bob", &[]).unwrap().0,
            Access::AsModule
        );
    }

    #[test]
    fn users_may_be_patterns_and_unknown_words_let_nobody_in() {
        assert_eq!(fit("a*:rw", "alice", &[]), Some((Access::ReadWrite, None)));
        assert_eq!(fit("alice:rx", "alice", &[]), Some((Access::Denied, None)));
        assert_eq!(fit("", "alice", &[]), None);
        // A user's rule is none of a group's.
        assert_eq!(fit("@alice", "alice", &[]), None);
    }

    #[test]
    fn a_module_bends_what_its_client_wants() {
        let mut module = Module::new("m");
        module.timeout = 60;
        module.munges_links = true;
        let mut options = Options {
            verbose: 3,
            timeout: 600,
            ..Options::default()
        };
        options.info.name = 2;
        module.restrict(&mut options);
        assert_eq!(
            (options.verbose, options.timeout, options.info.name),
            (1, 60, 1)
        );
        assert!(options.munge_links);
        options.timeout = 30;
        module.restrict(&mut options);
        assert_eq!(options.timeout, 30);
    }
}
