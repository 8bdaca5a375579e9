//! Access control lists and extended attributes in a list: literal the first time, then by index.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

/// An access control list as it crosses the wire: what the mode says already is left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Acl {
    /// The owner's permissions, 0 to 7, as all that follow.
    pub user_obj: Option<u8>,
    /// The group's.
    pub group_obj: Option<u8>,
    /// The mask.
    pub mask: Option<u8>,
    /// Everybody else's.
    pub other: Option<u8>,
    /// Those of named users, by id, then of named groups, by id.
    pub named: Vec<AclEntry>,
}

/// What a named user or group may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AclEntry {
    /// A user; else a group.
    pub is_user: bool,
    /// Its id.
    pub id: u32,
    /// Read 4, write 2, execute 1.
    pub perms: u8,
}

/// The extended attributes of an entry, in the order in which they cross the wire: an
/// attribute's number is its position, from 1. Shared by all entries that have the same.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct XattrSet(Vec<Xattr>);

/// One extended attribute.
#[derive(Debug, Eq, PartialEq)]
pub struct Xattr {
    name: Box<[u8]>,
    value: XattrValue,
}

/// An attribute's value.
#[derive(Debug, Eq, PartialEq)]
pub enum XattrValue {
    /// At most 32 bytes.
    Short(Box<[u8]>),
    /// More: it is asked for where it is missing.
    Long(LongValue),
}

/// A value that the list has the digest of.
#[derive(Debug)]
pub struct LongValue {
    /// Its length in bytes.
    pub len: u32,
    /// Its MD5, plain.
    pub digest: [u8; 16],
    asked: AtomicBool,
    fetched: OnceLock<Bytes>,
}

/// As the list has it: whether it was asked for, and what came, makes no difference.
impl PartialEq for LongValue {
    fn eq(&self, other: &Self) -> bool {
        (self.len, self.digest) == (other.len, other.digest)
    }
}

impl Eq for LongValue {}

impl XattrSet {
    /// The attributes.
    pub fn attrs(&self) -> &[Xattr] {
        &self.0
    }

    /// The attribute of this number.
    pub fn numbered(&self, number: u32) -> Option<&Xattr> {
        self.0.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

impl Xattr {
    /// Its name with its namespace, `user.…` and the like, without a NUL.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its value.
    pub fn value(&self) -> &XattrValue {
        &self.value
    }
}

impl LongValue {
    /// A value of `len` bytes, more than 32, with this MD5.
    pub fn new(len: u32, digest: [u8; 16]) -> Self {
        Self {
            len,
            digest,
            asked: AtomicBool::new(false),
            fetched: OnceLock::new(),
        }
    }

    /// Whether it may be asked for: once a connection. From then on it may not.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// The value, once it has come.
    pub fn fetched(&self) -> Option<&Bytes> {
        self.fetched.get()
    }

    /// The value has come: it may have another length than the list said.
    pub fn set_fetched(&self, value: Bytes) {
        // Only the first answer counts; a value is asked for once.
        let _ = self.fetched.set(value);
    }
}

/// The longest value that stands in the list itself, in bytes.
pub const MAX_SHORT_VALUE: usize = 32;
