//! rsync's filter rules: the lists of a client, a server and a daemon, and what they say of a name.
//!
//! Source: rsync(1), «FILTER RULES», and rsync 3.5.0 as it behaves.

use std::io;
use std::path::Path;

use barge_fs::Dir;
use barge_rsync::options::Options;

/// Which side of a transfer asks its rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuleSide {
    /// Leaves names out of the list.
    Sending,
    /// Spares names that it would delete.
    Receiving,
}

/// A rule that is none, or a file of rules that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct RuleError {
    /// As rsync words it, without a newline.
    pub text: String,
    /// The exit code of rsync(1): 1 for a rule, 11 for a file.
    pub exit_code: u8,
}

/// What rules are made of besides the options themselves.
pub struct RuleSources<'a> {
    /// Reads a file that the operator named; `-` is the standard input.
    pub read: &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    /// The content of `$HOME/.cvsignore`, where there is one.
    pub cvsignore: Option<Vec<u8>>,
    /// The value of `$CVSIGNORE`.
    pub cvsignore_variable: Option<Vec<u8>>,
}

/// The rules of a module's `rsyncd.conf`, as its parameters give them.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaemonRules<'a> {
    /// `filter`: rules, separated by blanks.
    pub filter: &'a [u8],
    /// `include from`.
    pub include_from: Option<&'a Path>,
    /// `include`: patterns, separated by blanks.
    pub include: &'a [u8],
    /// `exclude from`.
    pub exclude_from: Option<&'a Path>,
    /// `exclude`: patterns, separated by blanks.
    pub exclude: &'a [u8],
}

/// The rules that hold in a whole transfer, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RuleList {}

impl RuleList {
    /// The list of a client: its options in order, then what other options imply.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first rule that is none or file that cannot be read.
    pub fn of_client(
        _options: &Options,
        _sources: &mut RuleSources<'_>,
    ) -> Result<Self, RuleError> {
        Ok(Self {})
    }

    /// The list of a server: the records its client sent, then what its options imply.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first record that is no rule.
    pub fn of_server<'r>(
        _options: &Options,
        _records: impl IntoIterator<Item = &'r [u8]>,
        _sources: &mut RuleSources<'_>,
    ) -> Result<Self, RuleError> {
        Ok(Self {})
    }

    /// A daemon's own list, which is asked before any other.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first rule that is none or file that cannot be read.
    pub fn of_daemon(
        _rules: &DaemonRules<'_>,
        _sources: &mut RuleSources<'_>,
    ) -> Result<Self, RuleError> {
        Ok(Self {})
    }

    /// The records a client sends to a server of the other side.
    pub fn records(&self, _options: &Options) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Whether directories hold rules of their own: what a peer leaves out cannot be told then.
    pub fn has_merge_files(&self) -> bool {
        false
    }

    /// Whether there are rules about extended attributes, which replace the usual choice.
    pub fn has_xattr_rules(&self) -> bool {
        false
    }

    /// Whether an attribute is left out at a side.
    pub fn excludes_xattr(&self, _name: &[u8], _side: RuleSide) -> bool {
        false
    }
}

/// Whether a client sends its rules (the server sends, or deletes, or prunes); both sides agree.
pub fn rules_cross(options: &Options, server_sends: bool) -> bool {
    use barge_rsync::options::Delete;
    server_sends
        || options.prune_empty_dirs
        || options.delete_excluded
        || options.delete != Delete::No
}

/// Reads the merge file at a path above the root of a transfer; `None` where there is none.
pub type ReadAbove<'a> = dyn FnMut(&[u8]) -> io::Result<Option<Vec<u8>>> + 'a;

/// The rules that hold in one directory of a walk. Cheap to clone, and shared between threads.
#[derive(Clone, Debug)]
pub struct Scope {}

impl Scope {
    /// Where a walk begins, above its first directory: names are looked at from the root of the
    /// transfer, and no directory's own rules hold.
    ///
    /// `absolute` is the path of that root as rules with `/` see it: from the file system's root,
    /// or from that of the module. `read` gives the content of a merge file above the root of the
    /// transfer, `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when a merge file above the root holds what is no rule.
    pub fn new(
        _daemon: &RuleList,
        _rules: &RuleList,
        _side: RuleSide,
        _absolute: &[u8],
        _read: &mut ReadAbove<'_>,
    ) -> Result<Self, RuleError> {
        Ok(Self {})
    }

    /// The same where the root of the transfer is another directory: that of another argument.
    #[must_use]
    pub fn rooted(&self, _absolute: &[u8]) -> Self {
        self.clone()
    }

    /// The scope of the root of the transfer itself: its merge files are read in `dir`.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when a merge file cannot be read or holds what is no rule.
    pub fn enter_root(&self, _dir: &Dir) -> Result<Self, RuleError> {
        Ok(self.clone())
    }

    /// The scope of the directory `name` of this one: its merge files are read in `dir`.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when a merge file cannot be read or holds what is no rule.
    pub fn enter(&self, _name: &[u8], _dir: &Dir) -> Result<Self, RuleError> {
        Ok(self.clone())
    }

    /// The same for a directory that is being deleted: perishable rules do not hold.
    #[must_use]
    pub fn dying(&self) -> Self {
        self.clone()
    }

    /// Whether a name in this directory is left out of the list, or spared from deletion.
    pub fn excludes(&self, _name: &[u8], _is_dir: bool) -> bool {
        false
    }

    /// Whether the daemon's own list refuses a name in this directory.
    pub fn daemon_excludes(&self, _name: &[u8], _is_dir: bool) -> bool {
        false
    }
}
