//! Which version of the protocol a connection speaks, and what that changes.

use crate::WireError;

/// A protocol version both sides can speak, 30 to 32.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProtocolVersion(u8);

impl ProtocolVersion {
    /// The oldest we speak: rsync 3.0.0.
    pub const OLDEST: Self = Self(30);
    /// The newest we speak: rsync 3.4.0.
    pub const NEWEST: Self = Self(32);

    /// A version of ours; `None` when it is none.
    pub fn new(version: u8) -> Option<Self> {
        let known = Self::OLDEST.0..=Self::NEWEST.0;
        known.contains(&version).then_some(Self(version))
    }

    /// The version to speak with a peer that says `theirs`, when we say `self`: the smaller.
    ///
    /// # Errors
    ///
    /// [`WireError::Version`] for less than 30 and for more than 40, which no rsync says.
    pub fn agree(self, theirs: u32) -> Result<Self, WireError> {
        let known = u32::from(Self::OLDEST.0)..=HIGHEST_SAID;
        if !known.contains(&theirs) {
            return Err(WireError::Version(theirs));
        }
        Ok(Self(theirs.min(self.0.into()) as u8))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// 31 brought nanoseconds, statistics of deletions, `MSG_ERROR_EXIT`, `MSG_IO_TIMEOUT`, one
    /// more goodbye, and names of `--files-from` inside data frames.
    pub fn is_31_or_newer(self) -> bool {
        self.0 >= 31
    }
}

impl Default for ProtocolVersion {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl std::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What stock rsync takes for a version of rsync's.
const HIGHEST_SAID: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_version_is_spoken_and_strange_ones_are_refused() {
        for (theirs, spoken) in [
            (0, None),
            (29, None),
            (30, Some(30)),
            (31, Some(31)),
            (32, Some(32)),
            (33, Some(32)),
            (40, Some(32)),
            (41, None),
            (u32::MAX, None),
        ] {
            let agreed = ProtocolVersion::NEWEST.agree(theirs);
            assert_eq!(agreed.ok().map(ProtocolVersion::get), spoken, "{theirs}");
        }
        let old = ProtocolVersion::new(30).unwrap();
        assert_eq!(old.agree(32).unwrap(), old);
    }
}
