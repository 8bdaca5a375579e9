//! Access control lists and extended attributes in a list: literal the first time, then by index.
//!
//! Access ACLs, default ACLs and sets of extended attributes are numbered apart, for the whole
//! connection. Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::budget::{Budget, allocated};
use super::cursor::{self, Parsed, Reader};
use super::idlist::{IdNames, Ids};
use super::int::Put;
use crate::WireError;

/// An access control list as it crosses the wire: what the mode says already is left out.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
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
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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
#[derive(Debug, Default, Eq, Hash, PartialEq)]
pub struct XattrSet(Vec<Xattr>);

/// One extended attribute.
#[derive(Debug, Eq, Hash, PartialEq)]
pub struct Xattr {
    name: Box<[u8]>,
    value: XattrValue,
}

/// An attribute's value.
#[derive(Debug, Eq, Hash, PartialEq)]
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

impl Hash for LongValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl XattrSet {
    /// A set of these, which are sorted by name first.
    pub fn new(mut attrs: Vec<Xattr>) -> Self {
        attrs.sort_by(|a, b| a.name.cmp(&b.name));
        Self(attrs)
    }

    /// The attributes, in the order of their numbers.
    pub fn attrs(&self) -> &[Xattr] {
        &self.0
    }

    /// The attribute of this number.
    pub fn numbered(&self, number: u32) -> Option<&Xattr> {
        self.0.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// The attribute of this number, for the peer that asks for its value.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when there is none, its value was in the list, or it was asked for
    /// before.
    pub fn asked(&self, number: u32) -> Result<&Xattr, WireError> {
        let attr = self.numbered(number).filter(|attr| match &attr.value {
            XattrValue::Short(_) => false,
            XattrValue::Long(value) => value.ask(),
        });
        attr.ok_or(WireError::Protocol("a request for no attribute"))
    }
}

impl Xattr {
    /// An attribute whose value has at most [`MAX_SHORT_VALUE`] bytes.
    pub fn short(name: &[u8], value: &[u8]) -> Self {
        debug_assert!(value.len() <= MAX_SHORT_VALUE);
        let value = XattrValue::Short(value.into());
        Self {
            name: name.into(),
            value,
        }
    }

    /// An attribute whose value is `len` bytes long, which is more, and has this MD5.
    pub fn long(name: &[u8], len: u32, digest: [u8; 16]) -> Self {
        let value = XattrValue::Long(LongValue {
            len,
            digest,
            asked: AtomicBool::new(false),
            fetched: OnceLock::new(),
        });
        Self {
            name: name.into(),
            value,
        }
    }

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
    /// Whether it may be asked for: once a connection. From then on it may not.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// The value, once it has come.
    pub fn fetched(&self) -> Option<&Bytes> {
        self.fetched.get()
    }

    /// The value has come: it may have another length than the list said. Only the first counts.
    pub fn set_fetched(&self, value: Bytes) {
        let _ = self.fetched.set(value);
    }
}

/// Which of an entry's two ACLs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AclKind {
    Access,
    Default,
}

/// Writes ACLs and sets of extended attributes, and remembers which were written.
#[derive(Debug, Default)]
pub(super) struct AttrEncoder {
    access: Written<Acl>,
    default: Written<Acl>,
    xattrs: Written<XattrSet>,
}

/// What was written literally, with its index. Every literal takes one; not all are remembered.
#[derive(Debug)]
struct Written<T> {
    known: HashMap<Arc<T>, u32>,
    next: u32,
}

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            next: 0,
        }
    }
}

impl<T: Default + Eq + Hash> Written<T> {
    /// Writes the index of what was written before, which takes the place of `value`; else the
    /// head of a literal, and returns what must follow.
    fn put(&mut self, out: &mut BytesMut, value: &mut Option<Arc<T>>) -> Option<Arc<T>> {
        let wanted = value.get_or_insert_default();
        if let Some((known, &index)) = self.known.get_key_value(wanted) {
            *wanted = Arc::clone(known);
            out.put_varint(index as i32 + 1);
            return None;
        }
        out.put_varint(0);
        if self.known.len() < MOST_REMEMBERED {
            self.known.insert(Arc::clone(wanted), self.next);
        }
        self.next += 1;
        Some(Arc::clone(wanted))
    }
}

impl AttrEncoder {
    /// Appends an ACL; none is an empty one.
    pub(super) fn put_acl(
        &mut self,
        out: &mut BytesMut,
        kind: AclKind,
        acl: &mut Option<Arc<Acl>>,
        ids: &mut Ids<'_>,
    ) {
        let written = match kind {
            AclKind::Access => &mut self.access,
            AclKind::Default => &mut self.default,
        };
        if let Some(acl) = written.put(out, acl) {
            put_literal_acl(out, &acl, ids);
        }
    }

    /// Appends a set; none is an empty one.
    pub(super) fn put_xattrs(&mut self, out: &mut BytesMut, set: &mut Option<Arc<XattrSet>>) {
        let Some(set) = self.xattrs.put(out, set) else {
            return;
        };
        out.put_varint(set.0.len() as i32);
        for Xattr { name, value } in &set.0 {
            let (len, wire) = match value {
                XattrValue::Short(value) => (value.len() as u32, &value[..]),
                XattrValue::Long(value) => (value.len, &value.digest[..]),
            };
            out.put_varint(name.len() as i32 + 1);
            out.put_varint(len as i32);
            out.put_slice(name);
            out.put_u8(0);
            out.put_slice(wire);
        }
    }
}

fn put_literal_acl(out: &mut BytesMut, acl: &Acl, ids: &mut Ids<'_>) {
    let objects = [acl.user_obj, acl.group_obj, acl.mask, acl.other];
    let bits = objects.iter().zip(OBJECTS);
    let present = bits.filter_map(|(object, bit)| object.map(|_| bit));
    let named = if acl.named.is_empty() { 0 } else { NAMED };
    out.put_u8(present.fold(named, |flags, bit| flags | bit));
    for perms in objects.into_iter().flatten() {
        out.put_varint(perms.into());
    }
    if acl.named.is_empty() {
        return;
    }
    out.put_varint(acl.named.len() as i32);
    for entry in &acl.named {
        let name = match entry.is_user {
            true => ids.new_user(entry.id),
            false => ids.new_group(entry.id),
        };
        let kind = if entry.is_user { ENTRY_IS_USER } else { 0 };
        let follows = if name.is_some() { ENTRY_HAS_NAME } else { 0 };
        out.put_varint(entry.id as i32);
        out.put_varint((u32::from(entry.perms) << 2 | kind | follows) as i32);
        if let Some(name) = name {
            out.put_byte_counted(&name);
        }
    }
}

/// Reads ACLs and sets of extended attributes, and remembers all of them: a peer may refer to any.
#[derive(Debug, Default)]
pub(super) struct AttrDecoder {
    access: Vec<Arc<Acl>>,
    default: Vec<Arc<Acl>>,
    xattrs: Vec<Arc<XattrSet>>,
    /// The literal that has come in part.
    partial: Partial,
}

#[derive(Debug, Default)]
enum Partial {
    #[default]
    None,
    /// So many named entries are still to come.
    Acl(Acl, u32),
    /// So many attributes are still to come; those that came announced so many bytes of values.
    Xattrs(Vec<Xattr>, u32, u64),
}

/// How an ACL or a set of attributes begins.
enum Head<T> {
    Known(u32),
    Literal(T, u32),
}

impl AttrDecoder {
    /// Reads an ACL. Names that come with it go to `names`.
    pub(super) fn acl(
        &mut self,
        kind: AclKind,
        input: &mut BytesMut,
        names: &mut IdNames,
        budget: &mut Budget,
    ) -> Result<Option<Arc<Acl>>, WireError> {
        let (mut acl, mut left) = match std::mem::take(&mut self.partial) {
            Partial::Acl(acl, left) => (acl, left),
            _ => match cursor::read(input, acl_head)? {
                None => return Ok(None),
                Some(Head::Known(index)) => {
                    return known(self.acls(kind), index).map(Some);
                }
                Some(Head::Literal(acl, count)) => (acl, count),
            },
        };
        while left > 0 {
            let known = names.users.len() + names.groups.len();
            let entry = cursor::read(input, |reader| acl_entry(reader, names))?;
            let Some(entry) = entry else {
                self.partial = Partial::Acl(acl, left);
                return Ok(None);
            };
            let has_name = names.users.len() + names.groups.len() > known;
            let name = if has_name { LONGEST_ID_NAME } else { 0 };
            budget.hold(size_of::<AclEntry>() + name, WHAT)?;
            acl.named.push(entry);
            left -= 1;
        }
        budget.hold(allocated(size_of::<Acl>()) + size_of::<Arc<Acl>>(), WHAT)?;
        acl.named.shrink_to_fit();
        let acl = Arc::new(acl);
        self.acls(kind).push(Arc::clone(&acl));
        Ok(Some(acl))
    }

    /// Reads a set of extended attributes.
    pub(super) fn xattrs(
        &mut self,
        input: &mut BytesMut,
        budget: &mut Budget,
    ) -> Result<Option<Arc<XattrSet>>, WireError> {
        let (mut attrs, mut left, mut announced) = match std::mem::take(&mut self.partial) {
            Partial::Xattrs(attrs, left, announced) => (attrs, left, announced),
            _ => match cursor::read(input, xattr_head)? {
                None => return Ok(None),
                Some(Head::Known(index)) => return known(&self.xattrs, index).map(Some),
                Some(Head::Literal((), count)) => (Vec::new(), count, 0),
            },
        };
        while left > 0 {
            let Some((attr, len)) = cursor::read(input, xattr)? else {
                self.partial = Partial::Xattrs(attrs, left, announced);
                return Ok(None);
            };
            announced += u64::from(len);
            if announced > MAX_VALUES {
                return Err(WireError::Limit("the extended attributes of one entry"));
            }
            let short = if len as usize <= MAX_SHORT_VALUE {
                len as usize
            } else {
                0
            };
            let held = size_of::<Xattr>() + allocated(attr.name.len()) + allocated(short);
            budget.hold(held, WHAT)?;
            attrs.push(attr);
            left -= 1;
        }
        budget.hold(
            allocated(size_of::<XattrSet>()) + size_of::<Arc<XattrSet>>(),
            WHAT,
        )?;
        attrs.shrink_to_fit();
        let set = Arc::new(XattrSet(attrs));
        self.xattrs.push(Arc::clone(&set));
        Ok(Some(set))
    }

    fn acls(&mut self, kind: AclKind) -> &mut Vec<Arc<Acl>> {
        match kind {
            AclKind::Access => &mut self.access,
            AclKind::Default => &mut self.default,
        }
    }
}

fn known<T>(cache: &[Arc<T>], index: u32) -> Result<Arc<T>, WireError> {
    let known = cache.get(index as usize).map(Arc::clone);
    known.ok_or(WireError::Protocol("attributes that were never sent"))
}

fn acl_head(reader: &mut Reader<'_>) -> Parsed<Head<Acl>> {
    let index = reader.count(i32::MAX as u32, "a negative index of an ACL")?;
    if let Some(index) = index.checked_sub(1) {
        return Ok(Head::Known(index));
    }
    let flags = reader.u8()?;
    if flags & !(NAMED | 0xf) != 0 {
        return Err(WireError::Protocol("an ACL with unknown parts").into());
    }
    let mut objects = [None; 4];
    for (object, bit) in objects.iter_mut().zip(OBJECTS) {
        if flags & bit != 0 {
            *object = Some(reader.count(7, "permissions above 7 in an ACL")? as u8);
        }
    }
    let count = match flags & NAMED {
        0 => 0,
        _ => reader.count(MAX_COUNT, "the number of entries of an ACL")?,
    };
    let [user_obj, group_obj, mask, other] = objects;
    let acl = Acl {
        user_obj,
        group_obj,
        mask,
        other,
        named: Vec::new(),
    };
    Ok(Head::Literal(acl, count))
}

fn acl_entry(reader: &mut Reader<'_>, names: &mut IdNames) -> Parsed<AclEntry> {
    let id = reader.varint()? as u32;
    let word = reader.count(0x1f, "permissions above 7 in an ACL")?;
    let is_user = word & ENTRY_IS_USER != 0;
    if word & ENTRY_HAS_NAME != 0 {
        let name = reader.byte_counted()?;
        names.of_kind(is_user).push((id, name.into()));
    }
    Ok(AclEntry {
        is_user,
        id,
        perms: (word >> 2) as u8,
    })
}

fn xattr_head(reader: &mut Reader<'_>) -> Parsed<Head<()>> {
    let index = reader.count(i32::MAX as u32, "a negative index of attributes")?;
    match index.checked_sub(1) {
        Some(index) => Ok(Head::Known(index)),
        None => {
            let count = reader.count(MAX_COUNT, "the number of extended attributes")?;
            Ok(Head::Literal((), count))
        }
    }
}

/// An attribute and the announced length of its value.
fn xattr(reader: &mut Reader<'_>) -> Parsed<(Xattr, u32)> {
    let name_len = reader.count(MAX_NAME, "the name of an extended attribute")?;
    let len = reader.count(MAX_VALUE, "the value of an extended attribute")?;
    let name = match reader.bytes(name_len as usize)? {
        [name @ .., 0] if !name.is_empty() && !name.contains(&0) => name,
        _ => return Err(WireError::Protocol("the name of an extended attribute").into()),
    };
    let attr = match len as usize {
        short @ 0..=MAX_SHORT_VALUE => Xattr::short(name, reader.bytes(short)?),
        _ => Xattr::long(name, len, reader.array()?),
    };
    Ok((attr, len))
}

/// The longest value that stands in the list itself, in bytes.
pub const MAX_SHORT_VALUE: usize = 32;
/// The longest value a list may announce: 128 MiB.
const MAX_VALUE: u32 = 128 << 20;
/// All values of one entry: 512 MiB.
const MAX_VALUES: u64 = 512 << 20;
/// The longest name, with its NUL.
const MAX_NAME: u32 = 4096;
/// Attributes of a set, and named entries of an ACL.
const MAX_COUNT: u32 = 65_536;
/// What is held of them.
const WHAT: &str = "different attributes of a transfer";
/// What a name of a user or group takes at most that comes with an entry of an ACL.
const LONGEST_ID_NAME: usize = 304;
/// Literals a sender looks for before it writes another one.
const MOST_REMEMBERED: usize = 1 << 17;

/// Parts of a literal ACL: the owner's, the group's, the mask, everybody else's.
const OBJECTS: [u8; 4] = [1, 2, 4, 8];
/// Named entries follow.
const NAMED: u8 = 0x10;
const ENTRY_IS_USER: u32 = 2;
const ENTRY_HAS_NAME: u32 = 1;
