//! The entries of a list: each by its difference from the one before.
//!
//! An entry is flags, the length of what its path shares with the one before, the rest of the
//! path, and the fields that the flags do not say are the same; then ACLs and extended attributes.
//! What both ends remember lasts for all lists of a connection. Source: the rsync protocol as
//! recorded between two stock 3.5.0 peers.

mod decode;
mod encode;

pub use decode::FlistDecoder;
pub use encode::{FlistEncoder, Inode};

use super::entry::FileEntry;
use super::ndx::FileIndex;
use crate::session::setup::{CompatFlags, Setup};
use crate::{Options, ProtocolVersion};

/// What decides which fields an entry has: the options of the client, and what was agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Format {
    /// The version agreed on.
    pub protocol: ProtocolVersion,
    /// Lists are sent directory by directory, and indexes begin at 1.
    pub incremental: bool,
    /// An error code may follow the end of a list.
    pub safe_end: bool,
    /// Flags are a varint.
    pub varint_flags: bool,
    /// Tables of names have one for id 0.
    pub id0_names: bool,
    /// Items of hard links have no lists of extended attributes.
    pub xattr_optim: bool,
    /// `-o`.
    pub owner: bool,
    /// `-g`.
    pub group: bool,
    /// `--devices`.
    pub devices: bool,
    /// `--specials`.
    pub specials: bool,
    /// `-l`.
    pub links: bool,
    /// `-H`.
    pub hard_links: bool,
    /// `-A`.
    pub acls: bool,
    /// `-X`.
    pub xattrs: bool,
    /// `-U`.
    pub atimes: bool,
    /// `-N`.
    pub crtimes: bool,
    /// `--numeric-ids`.
    pub numeric_ids: bool,
    /// `-R`: paths may begin with a slash, and lead through directories.
    pub relative: bool,
    /// `-R` with `--no-implied-dirs`: the directories they lead through may be missing.
    pub no_implied_dirs: bool,
    /// `--delete-missing-args`: entries may have no mode.
    pub missing_args: bool,
    /// `-n`: items have no lists of extended attributes, and no content.
    pub dry_run: bool,
    /// `-c`: bytes of a regular file's checksum.
    pub checksum_len: Option<u8>,
}

impl Format {
    /// That of a run with these options (a server's as its client sent them) on a connection that
    /// agreed on `setup`.
    pub fn new(options: &Options, setup: &Setup) -> Self {
        let Setup {
            protocol, compat, ..
        } = *setup;
        let is_31 = protocol.is_31_or_newer();
        Self {
            protocol,
            incremental: compat.has(CompatFlags::INC_RECURSE),
            safe_end: compat.has(CompatFlags::SAFE_FLIST) || is_31,
            varint_flags: compat.has(CompatFlags::VARINT_FLIST_FLAGS),
            id0_names: compat.has(CompatFlags::ID0_NAMES),
            xattr_optim: is_31 && !compat.has(CompatFlags::AVOID_XATTR_OPTIM),
            owner: options.owner,
            group: options.group,
            devices: options.devices,
            specials: options.specials,
            links: options.links,
            hard_links: options.hard_links,
            acls: options.acls,
            xattrs: options.xattrs > 0,
            atimes: options.atimes > 0,
            crtimes: options.crtimes,
            numeric_ids: options.numeric_ids,
            relative: options.relative,
            no_implied_dirs: options.relative && !options.implied_dirs,
            missing_args: options.delete_missing_args,
            dry_run: options.dry_run,
            checksum_len: options
                .checksum
                .then(|| setup.list_checksum.digest_len() as u8),
        }
    }

    /// The index of the first list's first entry.
    pub fn first_index(&self) -> FileIndex {
        FileIndex::new(self.incremental.into()).expect("0 and 1 are indexes")
    }

    /// Which tables of names stand behind a list: of users, of groups.
    fn tables(&self) -> [bool; 2] {
        let any = !self.incremental && !self.numeric_ids;
        [self.owner, self.group].map(|kept| any && (kept || self.acls))
    }

    /// Whether an entry of this kind has device numbers.
    fn has_numbers(&self, entry: &FileEntry) -> bool {
        let of_special = self.specials && !self.protocol.is_31_or_newer();
        (self.devices && entry.is_device()) || (of_special && entry.is_special())
    }
}

/// What both ends remember of the entry before.
#[derive(Debug, Default)]
struct Last {
    path: Vec<u8>,
    mode: u32,
    mtime: i64,
    atime: i64,
    uid: u32,
    gid: u32,
    major: u32,
}

impl Last {
    /// Takes an entry over, but for its path.
    fn remember(&mut self, entry: &FileEntry) {
        self.mode = entry.mode;
        self.mtime = entry.mtime.secs();
        self.uid = entry.uid;
        self.gid = entry.gid;
        let extra = entry.extra();
        if let Some(atime) = extra.atime.filter(|_| !entry.is_dir()) {
            self.atime = atime;
        }
        if let Some(device) = extra.device.filter(|_| entry.is_device()) {
            self.major = device.major;
        }
    }
}

/// The longest path, in bytes.
const MAX_PATH: usize = 4095;

// Flags of an entry. Without any, one that means nothing stands for them, because 0 is the end.

/// A directory that was named itself; with [`NO_CONTENT`] one that leads to something.
const TOP_DIR: u32 = 0x0001;
const SAME_MODE: u32 = 0x0002;
/// Two bytes of flags, where they are no varint.
const EXTENDED: u32 = 0x0004;
const SAME_UID: u32 = 0x0008;
const SAME_GID: u32 = 0x0010;
/// The path shares bytes with the one before.
const SAME_NAME: u32 = 0x0020;
/// The rest of the path has more than 255 bytes.
const LONG_NAME: u32 = 0x0040;
const SAME_TIME: u32 = 0x0080;
/// Of devices.
const SAME_MAJOR: u32 = 0x0100;
/// Of directories.
const NO_CONTENT: u32 = 0x0100;
const HLINKED: u32 = 0x0200;
const USER_NAME: u32 = 0x0400;
const GROUP_NAME: u32 = 0x0800;
const HLINK_FIRST: u32 = 0x1000;
/// From protocol 31 on.
const NANOS: u32 = 0x2000;
const SAME_ATIME: u32 = 0x4000;
/// Where flags are a varint.
const CRTIME_IS_MTIME: u32 = 0x2_0000;
const ALL_FLAGS: u32 = 0x2_7fff;
/// Where flags are no varint: the end of a list with errors.
const END_WITH_ERRORS: u32 = EXTENDED | HLINK_FIRST;

#[cfg(test)]
mod tests;
