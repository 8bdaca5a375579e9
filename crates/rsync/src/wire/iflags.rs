//! What an item says of its entry: what differs, and what follows.
//!
//! Source: rsync(1), «--itemize-changes», and the rsync protocol as recorded between two stock
//! 3.5.0 peers.

use std::ops::{BitOr, BitOrAssign};

/// The flags of an item, as they cross the wire.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct ItemFlags(u16);

impl ItemFlags {
    /// The access time differs.
    pub const ATIME: Self = Self(0x0001);
    /// The content's checksum differs, or the value of a link or a device.
    pub const CHANGE: Self = Self(0x0002);
    /// The length differs; of a symbolic link: its time could not be set.
    pub const SIZE: Self = Self(0x0004);
    /// The modification time differs.
    pub const TIME: Self = Self(0x0008);
    /// The permissions differ.
    pub const PERMS: Self = Self(0x0010);
    /// The owner differs.
    pub const OWNER: Self = Self(0x0020);
    /// The group differs.
    pub const GROUP: Self = Self(0x0040);
    /// An ACL differs.
    pub const ACL: Self = Self(0x0080);
    /// An extended attribute differs; a list of them may follow.
    pub const XATTR: Self = Self(0x0100);
    /// The creation time differs.
    pub const CRTIME: Self = Self(0x0400);
    /// The basis type follows.
    pub const BASIS_FOLLOWS: Self = Self(0x0800);
    /// A name follows.
    pub const NAME_FOLLOWS: Self = Self(0x1000);
    /// The entry did not exist.
    pub const NEW: Self = Self(0x2000);
    /// It was created or changed without a transfer.
    pub const LOCAL: Self = Self(0x4000);
    /// Its content is wanted.
    pub const TRANSFER: Self = Self(0x8000);

    /// Takes the bits as they came; any are fine.
    pub fn from_wire(bits: u16) -> Self {
        Self(bits)
    }

    /// The bits as they go.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These without `flags`.
    #[must_use]
    pub fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Whether an item with these flags, and a name of `name_len` bytes, is worth sending when
    /// unchanged entries are not asked for.
    pub fn is_significant(self, name_len: usize) -> bool {
        let form = Self::BASIS_FOLLOWS | Self::NAME_FOLLOWS | Self::LOCAL;
        self.without(form) != Self::default() || name_len > 0
    }
}

impl BitOr for ItemFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ItemFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What a file's blocks are taken from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Basis {
    /// A file of a `--compare-dest`, `--copy-dest` or `--link-dest` directory, by its number, at
    /// most 0x7f.
    Directory(u8),
    /// The destination file itself; never written.
    #[default]
    Destination,
    /// Its namesake in the directory of partial files.
    Partial,
    /// Its backup.
    Backup,
    /// A file of a similar name in the destination's directory; its name follows.
    Fuzzy,
    /// A file of a similar name in a directory of [`Self::Directory`], by its number, at most
    /// 0x7b; its name follows.
    FuzzyDirectory(u8),
}

impl Basis {
    /// Takes the byte as it came; every byte is a basis.
    pub fn from_wire(byte: u8) -> Self {
        match byte {
            0..=0x7f => Self::Directory(byte),
            0x80 => Self::Destination,
            0x81 => Self::Partial,
            0x82 => Self::Backup,
            0x83 => Self::Fuzzy,
            _ => Self::FuzzyDirectory(byte - 0x84),
        }
    }

    /// The byte as it goes.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Directory(number) => number & 0x7f,
            Self::Destination => 0x80,
            Self::Partial => 0x81,
            Self::Backup => 0x82,
            Self::Fuzzy => 0x83,
            Self::FuzzyDirectory(number) => 0x84 + number.min(0x7b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_basis_and_comes_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(Basis::from_wire(byte).to_wire(), byte);
        }
    }

    #[test]
    fn item_is_significant_when_it_tells_something() {
        for (bits, name_len, significant) in [
            (0x0000, 0, false),
            (0x4000, 0, false),
            (0x5800, 0, false),
            (0x5000, 1, true),
            (0x0008, 0, true),
            (0x6000, 0, true),
            (0x8000, 0, true),
        ] {
            let flags = ItemFlags::from_wire(bits);
            assert_eq!(flags.is_significant(name_len), significant, "{bits:#x}");
        }
    }
}
