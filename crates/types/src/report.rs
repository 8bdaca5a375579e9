//! What happened: to each path, and to the run.

use std::borrow::Cow;
use std::fmt;

use crate::RelPath;

/// How many failed paths a [`Report`] names; all of them are counted.
pub const FAILURES_KEPT: usize = 1000;

/// At which end something failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
pub enum Side {
    /// Where the data comes from.
    Source,
    /// Where it goes.
    Target,
}

/// What kind of failure, as far as it says what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum Class {
    /// Permission or capability is missing.
    Denied,
    /// It was listed and then gone.
    Vanished,
    /// It changed each time it was read.
    Changed,
    /// The target cannot hold such a thing.
    Unsupported,
    /// No space, no inodes, or over quota.
    NoSpace,
    /// The storage failed.
    Io,
}

impl Class {
    /// The word a person reads.
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Vanished => "vanished",
            Self::Changed => "changed while read",
            Self::Unsupported => "unsupported",
            Self::NoSpace => "no space",
            Self::Io => "I/O error",
        }
    }
}

/// Why one path could not be brought over, or not in full.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Failure {
    /// At which end.
    pub side: Side,
    /// The call as the manual page spells it, or the step that failed; at most 64 bytes.
    pub op: Cow<'static, str>,
    /// The error number, or 0 where no call failed.
    pub errno: i32,
    /// What kind.
    pub class: Class,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Source => "source",
            Side::Target => "target",
        };
        write!(f, "{}: {} ({side}", self.class.word(), self.op)?;
        if self.errno != 0 {
            let text = std::io::Error::from_raw_os_error(self.errno);
            write!(f, "; {text}")?;
        }
        f.write_str(")")
    }
}

/// The rule by which a path was left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum SkipRule {
    /// `--exclude`.
    Excluded,
    /// Another file system is mounted there; the directory itself is made.
    MountPoint,
    /// `lost+found` in the root.
    LostAndFound,
    /// A temporary file of an earlier run of barge.
    OwnTemporary,
    /// Devices and special files under `--no-devices`.
    Devices,
}

impl SkipRule {
    /// The words a person reads.
    pub fn word(self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::MountPoint => "another file system is mounted there",
            Self::LostAndFound => "lost+found",
            Self::OwnTemporary => "a temporary file of an earlier run",
            Self::Devices => "--no-devices",
        }
    }
}

/// What differed between the source's entry and the target's: a set of flags.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changes(u8);

impl Changes {
    /// The content.
    pub const CONTENT: Self = Self(1);
    /// The length.
    pub const SIZE: Self = Self(1 << 1);
    /// The time of modification.
    pub const MTIME: Self = Self(1 << 2);
    /// Permissions.
    pub const MODE: Self = Self(1 << 3);
    /// The user.
    pub const UID: Self = Self(1 << 4);
    /// The group.
    pub const GID: Self = Self(1 << 5);
    /// A POSIX ACL.
    pub const ACL: Self = Self(1 << 6);
    /// Another extended attribute.
    pub const XATTR: Self = Self(1 << 7);

    /// The flags as one byte, as they cross the wire.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// All eight bits have a meaning.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether nothing differed.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any flag of `other` is set here.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for Changes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Changes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// How one path ended. Every path of a run ends in exactly one of these.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing differed.
    Unchanged,
    /// It was not there.
    Created,
    /// Its content was replaced.
    Updated(Changes),
    /// Its content was right, some of its metadata was not.
    Metadata(Changes),
    /// Made another name of a file that is at the target.
    Linked,
    /// The source no longer has it.
    Deleted,
    /// Left out by a rule.
    Skipped(SkipRule),
    /// Not brought over, or not in full.
    Failed(Failure),
}

/// How many paths ended how, and the bytes that took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Tally {
    /// Paths where nothing differed.
    pub unchanged: u64,
    /// Paths that were not there.
    pub created: u64,
    /// Files with new content.
    pub updated: u64,
    /// Paths with new metadata only.
    pub metadata: u64,
    /// Hard links made.
    pub linked: u64,
    /// Paths deleted at the target.
    pub deleted: u64,
    /// Paths left out by a rule.
    pub skipped: u64,
    /// Paths not brought over, or not in full.
    pub failed: u64,
    /// Bytes in the regular files that were listed.
    pub bytes_listed: u64,
    /// Bytes of file content read at the source.
    pub bytes_read: u64,
    /// Bytes of file content sent.
    pub bytes_sent: u64,
    /// Bytes taken from what the target already had.
    pub bytes_matched: u64,
}

impl Tally {
    /// Counts one path.
    pub fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Created => &mut self.created,
            Outcome::Updated(_) => &mut self.updated,
            Outcome::Metadata(_) => &mut self.metadata,
            Outcome::Linked => &mut self.linked,
            Outcome::Deleted => &mut self.deleted,
            Outcome::Skipped(_) => &mut self.skipped,
            Outcome::Failed(_) => &mut self.failed,
        } += 1;
    }

    /// All paths counted, deletions and skipped ones included.
    pub fn paths(&self) -> u64 {
        self.unchanged
            + self.created
            + self.updated
            + self.metadata
            + self.linked
            + self.deleted
            + self.skipped
            + self.failed
    }
}

/// A path that failed, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailedPath {
    /// Below the root of the transfer.
    pub path: RelPath,
    /// Why.
    pub failure: Failure,
}

/// The last word on a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
pub enum Verdict {
    /// All that was asked for is durable at the target.
    Complete,
    /// The run came to its end; some paths failed.
    Partial,
    /// The run did not come to its end.
    Failed,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The last word.
    pub verdict: Verdict,
    /// Counts.
    pub tally: Tally,
    /// The first [`FAILURES_KEPT`] paths that failed.
    pub failures: Vec<FailedPath>,
    /// Bytes that crossed the network in both directions, before encryption.
    pub wire_bytes: u64,
    /// How often a connection was lost and dialled again.
    pub reconnects: u64,
    /// From the first dial to the last word.
    pub duration: std::time::Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_counts_every_outcome_once() {
        let failure = Failure {
            side: Side::Target,
            op: "fchown".into(),
            errno: 1,
            class: Class::Denied,
        };
        let mut tally = Tally::default();
        for (n, outcome) in [
            Outcome::Unchanged,
            Outcome::Created,
            Outcome::Updated(Changes::CONTENT),
            Outcome::Metadata(Changes::MODE),
            Outcome::Linked,
            Outcome::Deleted,
            Outcome::Skipped(SkipRule::Excluded),
            Outcome::Failed(failure),
        ]
        .iter()
        .enumerate()
        {
            tally.count(outcome);
            assert_eq!(tally.paths(), n as u64 + 1);
        }
        assert_eq!(tally.failed, 1);
    }

    #[test]
    fn failure_names_class_call_side_and_cause() {
        let failure = Failure {
            side: Side::Target,
            op: "fchown".into(),
            errno: 1,
            class: Class::Denied,
        };
        let text = failure.to_string();
        assert!(
            text.starts_with("denied: fchown (target; Operation not permitted"),
            "{text}"
        );
    }
}
