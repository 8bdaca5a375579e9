//! Writes lists.

use std::collections::HashMap;

use barge_types::Device;
use bytes::{BufMut, BytesMut};

use super::*;
use crate::wire::attrs::{AclKind, AttrEncoder};
use crate::wire::entry::{DirKind, HardLink};
use crate::wire::idlist::{Ids, Names, SeenIds};
use crate::wire::int::Put;
use crate::wire::mux::IoErrors;

/// Which inode a name leads to, of a file with more than one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inode {
    /// The file system.
    pub device: u64,
    /// The inode's number there.
    pub number: u64,
    /// How many names it has, if it may be forgotten when so many have been listed.
    pub names: Option<u64>,
}

/// What is remembered of an inode.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The index of its first name.
    first: u32,
    /// How many are still to come, if that is to be counted.
    left: Option<u64>,
}

/// Writes the lists of a connection.
#[derive(Debug)]
pub struct FlistEncoder {
    format: Format,
    last: Last,
    attrs: AttrEncoder,
    ids: SeenIds,
    /// Inodes, by device and number, of which more names are to come. Their names are numbered in the
    /// order of the wire.
    links: HashMap<(u64, u64), Known>,
    start: u32,
    next: u32,
    path: Vec<u8>,
}

impl FlistEncoder {
    /// For the first list of a connection.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            last: Last::default(),
            attrs: AttrEncoder::default(),
            ids: SeenIds::default(),
            links: HashMap::new(),
            start: 0,
            next: 0,
            path: Vec::new(),
        }
    }

    /// Begins the list whose first entry has the index `start`. Its marker stands before.
    pub fn begin(&mut self, start: FileIndex) {
        (self.start, self.next) = (start.get(), start.get());
    }

    /// Appends an entry, in any order. With `-H`, `inode` is that of a file with other names; the
    /// entry's group is set by it. What the options do not ask for is left out. ACLs and extended
    /// attributes that were sent before take the place of the entry's equal ones, so that they are
    /// held once.
    pub fn put(
        &mut self,
        out: &mut BytesMut,
        entry: &mut FileEntry,
        inode: Option<Inode>,
        names: &mut dyn Names,
    ) {
        self.normalize(entry, inode);
        self.path.clear();
        entry.path.append_to(&mut self.path);
        let mut ids = Ids {
            seen: &mut self.ids,
            names,
            inline: self.format.incremental && !self.format.numeric_ids,
        };
        let writer = Writer::new(&self.format, &self.last, &self.path, entry, &mut ids);
        writer.put_path(out);
        match entry.extra().hard_link {
            Some(HardLink {
                group,
                first: false,
            }) => {
                out.put_varint(group as i32);
                if group < self.start {
                    writer.put_fields(out);
                }
            }
            _ => writer.put_fields(out),
        }
        if self.format.acls && !entry.is_symlink() {
            let attrs = &mut self.attrs;
            attrs.put_acl(out, AclKind::Access, &mut entry.acl, &mut ids);
            if entry.is_dir() {
                let mut acl = entry.extra().default_acl.clone();
                let is_kept = acl.is_some();
                attrs.put_acl(out, AclKind::Default, &mut acl, &mut ids);
                if is_kept {
                    entry.extra_mut().default_acl = acl;
                }
            }
        }
        if self.format.xattrs {
            self.attrs.put_xattrs(out, &mut entry.xattrs);
        }
        self.last.remember(entry);
        std::mem::swap(&mut self.last.path, &mut self.path);
        self.next += 1;
    }

    /// Ends a list, with the tables of names where there are any. Whether the errors are told
    /// with it: else they must be in a message that follows.
    pub fn end(&mut self, out: &mut BytesMut, errors: IoErrors, names: &mut dyn Names) -> bool {
        let Format {
            varint_flags,
            safe_end,
            id0_names,
            ..
        } = self.format;
        if varint_flags {
            out.put_varint(0);
            out.put_varint(errors.bits().into());
        } else if safe_end && !errors.is_empty() {
            out.put_u16_le(END_WITH_ERRORS as u16);
            out.put_varint(errors.bits().into());
        } else {
            out.put_u8(0);
        }
        let [users, groups] = self.format.tables();
        if users {
            self.ids.put_users(out, names, id0_names);
        }
        if groups {
            self.ids.put_groups(out, names, id0_names);
        }
        varint_flags || safe_end || errors.is_empty()
    }

    /// Makes the entry what the receiving side will have.
    fn normalize(&mut self, entry: &mut FileEntry, inode: Option<Inode>) {
        let format = &self.format;
        if !format.owner {
            entry.uid = 0;
        }
        if !format.group {
            entry.gid = 0;
        }
        let inode = inode.filter(|_| format.hard_links && !entry.is_dir());
        let hard_link = inode.map(|inode| self.link_of(inode));
        if hard_link != entry.extra().hard_link {
            entry.extra_mut().hard_link = hard_link;
        }
    }

    /// The group that the next entry is of, a name of this inode. Of an inode whose last name it is
    /// nothing is remembered.
    fn link_of(&mut self, inode: Inode) -> HardLink {
        let key = (inode.device, inode.number);
        let known = self.links.entry(key).or_insert(Known {
            first: self.next,
            left: inode.names,
        });
        let group = known.first;
        if let Some(names) = known.left {
            known.left = names.checked_sub(1);
            if known.left.is_none_or(|left| left == 0) {
                self.links.remove(&key);
            }
        }
        HardLink {
            group,
            first: group == self.next,
        }
    }
}

/// Writes one entry.
struct Writer<'a> {
    format: &'a Format,
    last: &'a Last,
    entry: &'a FileEntry,
    flags: u32,
    /// Bytes of the path that are those of the path before.
    shared: u8,
    rest: &'a [u8],
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl<'a> Writer<'a> {
    fn new(
        format: &'a Format,
        last: &'a Last,
        path: &'a [u8],
        entry: &'a FileEntry,
        ids: &mut Ids<'_>,
    ) -> Self {
        let shared = shared_len(&last.path, path);
        let mut writer = Self {
            format,
            last,
            entry,
            flags: 0,
            shared,
            rest: &path[shared.into()..],
            user: None,
            group: None,
        };
        writer.flag_path();
        writer.flag_attributes();
        writer.flag_owner(ids);
        writer.flag_kind();
        writer
    }

    fn set(&mut self, flag: u32, condition: bool) {
        if condition {
            self.flags |= flag;
        }
    }

    fn flag_path(&mut self) {
        self.set(SAME_NAME, self.shared > 0);
        self.set(LONG_NAME, self.rest.len() > 255);
        let link = self.entry.extra().hard_link;
        self.set(HLINKED, link.is_some());
        self.set(HLINK_FIRST, link.is_some_and(|link| link.first));
    }

    fn flag_attributes(&mut self) {
        let Self {
            format,
            last,
            entry,
            ..
        } = *self;
        let is_31 = format.protocol.is_31_or_newer();
        self.set(SAME_MODE, entry.mode == last.mode);
        self.set(SAME_TIME, entry.mtime.secs() == last.mtime);
        self.set(NANOS, is_31 && entry.mtime.nanos() > 0);
        if format.atimes && !entry.is_dir() {
            self.set(SAME_ATIME, atime(entry) == last.atime);
        }
        if format.crtimes {
            self.set(CRTIME_IS_MTIME, crtime(entry) == entry.mtime.secs());
        }
    }

    /// The first entry of a connection has its owner in any case.
    fn flag_owner(&mut self, ids: &mut Ids<'_>) {
        let Self {
            format,
            last,
            entry,
            ..
        } = *self;
        let is_first = last.path.is_empty();
        if !format.owner || (!is_first && entry.uid == last.uid) {
            self.flags |= SAME_UID;
        } else {
            self.user = ids.new_user(entry.uid);
            self.set(USER_NAME, self.user.is_some());
        }
        if !format.group || (!is_first && entry.gid == last.gid) {
            self.flags |= SAME_GID;
        } else {
            self.group = ids.new_group(entry.gid);
            self.set(GROUP_NAME, self.group.is_some());
        }
    }

    fn flag_kind(&mut self) {
        let entry = self.entry;
        if entry.is_dir() {
            self.flags |= match entry.dir_kind {
                DirKind::Content => 0,
                DirKind::Top => TOP_DIR,
                DirKind::Implied => TOP_DIR | NO_CONTENT,
                DirKind::NoContent => NO_CONTENT,
            };
        } else if self.format.has_numbers(entry) {
            let is_same = entry.is_special() || numbers(entry).major == self.last.major;
            self.set(SAME_MAJOR, is_same);
        }
    }

    fn put_path(&self, out: &mut BytesMut) {
        self.put_flags(out);
        if self.shared > 0 {
            out.put_u8(self.shared);
        }
        if self.flags & LONG_NAME != 0 {
            out.put_varint(self.rest.len() as i32);
        } else {
            out.put_u8(self.rest.len() as u8);
        }
        out.put_slice(self.rest);
    }

    fn put_flags(&self, out: &mut BytesMut) {
        if self.format.varint_flags {
            let filler = if self.flags == 0 { EXTENDED } else { 0 };
            out.put_varint((self.flags | filler) as i32);
            return;
        }
        let is_filler_due = self.flags == 0 && !self.entry.is_dir();
        let filler = if is_filler_due { TOP_DIR } else { 0 };
        match self.flags | filler {
            flags @ 1..=0xff => out.put_u8(flags as u8),
            flags => out.put_u16_le((flags | EXTENDED) as u16),
        }
    }

    /// What an entry of a group of hard links whose first is in the same list has not.
    fn put_fields(&self, out: &mut BytesMut) {
        let Self { format, entry, .. } = self;
        out.put_varlong(entry.len as i64, 3);
        if self.has_not(SAME_TIME) {
            out.put_varlong(entry.mtime.secs(), 4);
        }
        if self.flags & NANOS != 0 {
            out.put_varint(entry.mtime.nanos() as i32);
        }
        if format.crtimes && self.has_not(CRTIME_IS_MTIME) {
            out.put_varlong(crtime(entry), 4);
        }
        if self.has_not(SAME_MODE) {
            out.put_u32_le(entry.mode);
        }
        if format.atimes && !entry.is_dir() && self.has_not(SAME_ATIME) {
            out.put_varlong(atime(entry), 4);
        }
        if self.has_not(SAME_UID) {
            put_id(out, entry.uid, self.user.as_deref());
        }
        if self.has_not(SAME_GID) {
            put_id(out, entry.gid, self.group.as_deref());
        }
        self.put_kind(out);
    }

    /// What only some kinds have.
    fn put_kind(&self, out: &mut BytesMut) {
        let Self { format, entry, .. } = self;
        if format.has_numbers(entry) {
            let Device { major, minor } = numbers(entry);
            if self.has_not(SAME_MAJOR) {
                out.put_varint(major as i32);
            }
            out.put_varint(minor as i32);
        }
        if format.links && entry.is_symlink() {
            let target = entry.extra().link.as_deref().unwrap_or_default();
            out.put_varint(target.len() as i32);
            out.put_slice(target);
        }
        if let Some(len) = format.checksum_len.filter(|_| entry.is_file()) {
            let checksum = entry.extra().checksum.as_deref().unwrap_or_default();
            let missing = usize::from(len).saturating_sub(checksum.len());
            out.put_slice(&checksum[..checksum.len().min(len.into())]);
            out.put_bytes(0, missing);
        }
    }

    fn has_not(&self, flag: u32) -> bool {
        self.flags & flag == 0
    }
}

fn put_id(out: &mut BytesMut, id: u32, name: Option<&[u8]>) {
    out.put_varint(id as i32);
    if let Some(name) = name {
        out.put_byte_counted(name);
    }
}

fn atime(entry: &FileEntry) -> i64 {
    entry.extra().atime.unwrap_or(0)
}

fn crtime(entry: &FileEntry) -> i64 {
    entry.extra().crtime.unwrap_or(0)
}

/// A device's numbers; specials have none, which is 0.
fn numbers(entry: &FileEntry) -> Device {
    let none = Device { major: 0, minor: 0 };
    let device = entry.extra().device.filter(|_| entry.is_device());
    device.unwrap_or(none)
}

/// How many bytes two paths share at their beginnings, as far as it can be told: 255.
fn shared_len(a: &[u8], b: &[u8]) -> u8 {
    let pairs = a.iter().zip(b).take(255);
    pairs.take_while(|(a, b)| a == b).count() as u8
}
