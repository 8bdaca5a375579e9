//! The entries of a list: each by its difference from the one before.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::BytesMut;

use super::entry::FileEntry;
use super::idlist::Names;
use super::list::{List, ListDir};
use super::mux::IoErrors;
use super::ndx::FileIndex;
use crate::session::setup::{CompatFlags, Setup};
use crate::{Options, ProtocolVersion, WireError};

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
        todo!()
    }
}

/// Which inode a name leads to, of a file with more than one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Inode {
    /// The file system.
    pub device: u64,
    /// The inode's number there.
    pub number: u64,
}

/// Writes the lists of a connection.
#[derive(Debug)]
pub struct FlistEncoder {
    format: Format,
}

impl FlistEncoder {
    /// For the first list of a connection.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Begins the list whose first entry has the index `start`. Its marker stands before.
    pub fn begin(&mut self, _start: FileIndex) {}

    /// Appends an entry, in any order. With `-H`, `inode` is that of a file with other names; the
    /// entry's group is set by it. ACLs and extended attributes that were sent before are
    /// replaced by those, so that equal ones are held once.
    pub fn put(
        &mut self,
        _out: &mut BytesMut,
        _entry: &mut FileEntry,
        _inode: Option<Inode>,
        _names: &mut dyn Names,
    ) {
        todo!("{:?}", self.format)
    }

    /// Ends a list, with the tables of names where there are any. Whether the errors are told
    /// with it: else they must be in a message that follows.
    pub fn end(&mut self, _out: &mut BytesMut, _errors: IoErrors, _names: &mut dyn Names) -> bool {
        todo!()
    }
}

/// Reads the lists of a connection.
#[derive(Debug)]
pub struct FlistDecoder {
    format: Format,
}

impl FlistDecoder {
    /// For the first list of a connection.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Begins the list whose first entry has the index `start`: the first one, or that of the
    /// children of a directory.
    pub fn begin(&mut self, _start: FileIndex, _dir: Option<ListDir>) {}

    /// Takes what there is off `input`. The list, sorted, once it is whole.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol or a limit; nothing more may be read then.
    pub fn poll(&mut self, _input: &mut BytesMut) -> Result<Option<List>, WireError> {
        todo!("{:?}", self.format)
    }

    /// How many entries have come, of all lists.
    pub fn entries(&self) -> u64 {
        todo!()
    }
}
