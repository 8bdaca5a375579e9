//! What is moved: the source, and what the target holds before.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;

use crate::data::{self, BLOCK, SMALL_MAX, Version};

/// By what every size is divided; at least 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale(pub(crate) u64);

impl Scale {
    /// Bytes of the large file: whole blocks, at least one.
    pub(crate) fn large(self) -> u64 {
        (LARGE / self.0 / BLOCK).max(1) * BLOCK
    }

    /// How many small files, at least one.
    pub(crate) fn small(self) -> u64 {
        (SMALL_COUNT / self.0).max(1)
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Scenario {
    /// One file of 4 GiB to an empty target.
    #[value(name = "file-4g")]
    File,
    /// 100,000 files of 0 to 16 KiB to an empty target.
    #[value(name = "small-100k")]
    Small,
    /// The same files, which the target already has.
    #[value(name = "unchanged-100k")]
    Unchanged,
    /// One file of 4 GiB of which the target has an older version: 1 % of its blocks differ.
    #[value(name = "changed-4g")]
    Changed,
}

impl Scenario {
    /// All, in the order they are measured.
    pub(crate) const ALL: [Self; 4] = [Self::File, Self::Small, Self::Unchanged, Self::Changed];

    /// Makes the tree that is to be moved.
    pub(crate) fn make_source(self, root: &Path, scale: Scale) -> Result<()> {
        match self {
            Self::File => make_large(root, scale, Version::Old),
            Self::Changed => make_large(root, scale, Version::New),
            Self::Small | Self::Unchanged => data::make_small_files(root, scale.small()),
        }
    }

    /// Makes the target as the contender finds it.
    pub(crate) fn make_target(self, root: &Path, scale: Scale) -> Result<()> {
        match self {
            Self::File | Self::Small => Ok(fs::create_dir(root)?),
            Self::Changed => make_large(root, scale, Version::Old),
            Self::Unchanged => data::make_small_files(root, scale.small()),
        }
    }

    /// At most so many bytes are allocated at the target by a run; a contender that writes a
    /// changed file beside the old one needs all of it.
    pub(crate) fn new_bytes(self, scale: Scale) -> u64 {
        match self {
            Self::File | Self::Changed => scale.large(),
            Self::Small => scale.small() * (SMALL_MAX / 2 + BLOCK),
            Self::Unchanged => 0,
        }
    }

    /// Bytes in the files of the source.
    pub(crate) fn content_bytes(self, scale: Scale) -> u64 {
        match self {
            Self::File | Self::Changed => scale.large(),
            Self::Small | Self::Unchanged => scale.small() * SMALL_MAX / 2,
        }
    }

    /// A sentence for the head of its table.
    pub(crate) fn describe(self, scale: Scale) -> String {
        let (mib, files) = (scale.large() as f64 / MIB, scale.small());
        match self {
            Self::File => format!("one file of {mib:.0} MiB, empty target"),
            Self::Small => format!("{files} files of 0 to 16 KiB, empty target"),
            Self::Unchanged => format!("{files} files of 0 to 16 KiB, nothing changed"),
            Self::Changed => format!("one file of {mib:.0} MiB, 1 % of its 4 KiB blocks rewritten"),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no scenario is skipped");
        f.write_str(value.get_name())
    }
}

fn make_large(root: &Path, scale: Scale, version: Version) -> Result<()> {
    fs::create_dir(root)?;
    data::write_file(&root.join("disk.img"), scale.large(), version)
}

/// Bytes in a mebibyte.
pub(crate) const MIB: f64 = 1_048_576.0;
const LARGE: u64 = 4 << 30;
const SMALL_COUNT: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scale_leaves_a_scenario_without_data() {
        let scale = Scale(u64::MAX);
        assert_eq!((scale.large(), scale.small()), (BLOCK, 1));
        assert_eq!((Scale(1).large(), Scale(1).small()), (LARGE, SMALL_COUNT));
    }
}
