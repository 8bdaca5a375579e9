//! Reads lists.

use std::sync::Arc;

use barge_types::{Device, Timestamp};
use bytes::BytesMut;

use super::*;
use crate::WireError;
use crate::wire::attrs::{Acl, AclKind, AttrDecoder};
use crate::wire::budget::{Budget, allocated};
use crate::wire::cursor::{self, Parsed, Reader};
use crate::wire::entry::{DirKind, HardLink, S_IFMT, WirePath};
use crate::wire::idlist::{self, IdNames};
use crate::wire::list::{List, ListDir};
use crate::wire::mux::IoErrors;

/// Reads the lists of a connection.
#[derive(Debug)]
pub struct FlistDecoder {
    format: Format,
    last: Last,
    attrs: AttrDecoder,
    /// Groups of hard links whose first entry has come, in the order they came.
    groups: Vec<u32>,
    /// Entries of all lists.
    count: u64,
    stage: Stage,
    list: Partial,
    budget: Budget,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Entry,
    /// Of the last entry, as the two that follow.
    Acl,
    DefaultAcl,
    Xattrs,
    Users,
    Groups,
    End,
}

/// The list that has come in part.
#[derive(Debug, Default)]
struct Partial {
    start: u32,
    dir: Option<ListDir>,
    /// In the order they came.
    entries: Vec<FileEntry>,
    names: IdNames,
    errors: IoErrors,
    /// What the entries take, in bytes of the budget.
    held: usize,
    /// The path of the directory of the entry before; at first of the one that is listed.
    last_dir: Option<Arc<[u8]>>,
}

impl FlistDecoder {
    /// For the first list of a connection, which is to be begun. What lists, attributes and names
    /// take is of `budget`.
    pub fn new(format: Format, budget: Budget) -> Self {
        Self {
            format,
            last: Last::default(),
            attrs: AttrDecoder::default(),
            groups: Vec::new(),
            count: 0,
            stage: Stage::Entry,
            list: Partial::default(),
            budget,
        }
    }

    /// What is held, by whoever else holds something of the peer's.
    pub(crate) fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// Begins the list whose first entry has the index `start`: the first one, or that of the
    /// children of a directory.
    pub fn begin(&mut self, start: FileIndex, dir: Option<ListDir>) {
        self.stage = Stage::Entry;
        self.list = Partial {
            start: start.get(),
            last_dir: dir.as_ref().map(|dir| dir.entry.path.to_vec().into()),
            dir,
            ..Partial::default()
        };
    }

    /// Takes what there is off `input`. The list, sorted, once it is whole; then the next must be
    /// begun.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol or a limit; nothing more may be read then.
    pub fn poll(&mut self, input: &mut BytesMut) -> Result<Option<List>, WireError> {
        while self.stage != Stage::End {
            if !self.step(input)? {
                return Ok(None);
            }
        }
        let list = std::mem::take(&mut self.list);
        list.finish(&self.format).map(Some)
    }

    /// How many entries have come, of all lists.
    pub fn entries(&self) -> u64 {
        self.count
    }

    /// Reads one thing and decides what comes next; whether it was whole.
    fn step(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        match self.stage {
            Stage::Entry => self.entry(input),
            Stage::Acl => self.acl(input),
            Stage::DefaultAcl => self.default_acl(input),
            Stage::Xattrs => self.xattrs(input),
            Stage::Users => self.id_row(input, true),
            Stage::Groups => self.id_row(input, false),
            Stage::End => Ok(true),
        }
    }

    fn entry(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        let mut path = std::mem::take(&mut self.last.path);
        let read = cursor::read(input, |reader| self.read_entry(reader, &mut path));
        self.last.path = path;
        match read? {
            None => return Ok(false),
            Some(Next::End(errors)) => {
                self.list.errors = errors;
                self.stage = self.table_stage(Stage::Users);
            }
            Some(Next::Entry(fields)) => self.take_over(fields)?,
        }
        Ok(true)
    }

    fn take_over(&mut self, mut fields: Fields) -> Result<(), WireError> {
        let index = self.list.next_index()?;
        fields.entry.tag = index;
        let entry = &fields.entry;
        if entry.extra().hard_link.is_some_and(|link| link.first) {
            self.groups.push(index);
            // Whoever makes the links remembers each group, and the path of its first name.
            let path = allocated(self.last.path.len());
            self.budget.hold(GROUP + path, "groups of hard links")?;
        }
        self.last.remember(entry);
        self.stage = match self.format.acls && !entry.is_symlink() {
            true => Stage::Acl,
            false => self.xattr_stage(),
        };
        self.count += 1;
        let path = &self.last.path;
        self.list.add(fields, path, &self.format, &mut self.budget)
    }

    fn xattr_stage(&self) -> Stage {
        if self.format.xattrs {
            Stage::Xattrs
        } else {
            Stage::Entry
        }
    }

    /// `stage`, or what follows where there are no such tables.
    fn table_stage(&self, stage: Stage) -> Stage {
        match (stage, self.format.tables()) {
            (Stage::Users, [true, _]) => Stage::Users,
            (Stage::Users | Stage::Groups, [_, true]) => Stage::Groups,
            _ => Stage::End,
        }
    }

    fn acl(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        let Partial { entries, names, .. } = &mut self.list;
        let budget = &mut self.budget;
        let read = self.attrs.acl(AclKind::Access, input, names, budget)?;
        let (Some(acl), Some(entry)) = (read, entries.last_mut()) else {
            return Ok(false);
        };
        entry.acl = Some(acl);
        self.stage = match entry.is_dir() {
            true => Stage::DefaultAcl,
            false => self.xattr_stage(),
        };
        Ok(true)
    }

    fn default_acl(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        let Partial { entries, names, .. } = &mut self.list;
        let budget = &mut self.budget;
        let read = self.attrs.acl(AclKind::Default, input, names, budget)?;
        let (Some(acl), Some(entry)) = (read, entries.last_mut()) else {
            return Ok(false);
        };
        if *acl != Acl::default() {
            entry.extra_mut().default_acl = Some(acl);
        }
        self.stage = self.xattr_stage();
        Ok(true)
    }

    fn xattrs(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        let read = self.attrs.xattrs(input, &mut self.budget)?;
        let (Some(set), Some(entry)) = (read, self.list.entries.last_mut()) else {
            return Ok(false);
        };
        entry.xattrs = Some(set);
        self.stage = Stage::Entry;
        Ok(true)
    }

    fn id_row(&mut self, input: &mut BytesMut, users: bool) -> Result<bool, WireError> {
        let id0_names = self.format.id0_names;
        let names = self.list.names.of_kind(users);
        let known = names.len();
        let is_last = cursor::read(input, |reader| {
            let (id, name, is_last) = idlist::row(reader, id0_names)?;
            if !name.is_empty() {
                names.push((id, name.into()));
            }
            Ok(is_last)
        })?;
        let new = names[known..].iter();
        let held = new.map(|(_, name)| NAME + allocated(name.len())).sum();
        self.budget.hold(held, "names of users and groups")?;
        if names.len() > MAX_NAMES {
            return Err(WireError::Limit("names of users and groups"));
        }
        let next = if users { Stage::Groups } else { Stage::End };
        if is_last == Some(true) {
            self.stage = self.table_stage(next);
        }
        Ok(is_last.is_some())
    }
}

/// What stands where an entry may stand.
enum Next {
    Entry(Fields),
    End(IoErrors),
}

/// An entry without its path, and the names that came with it.
struct Fields {
    entry: FileEntry,
    user: Option<Box<[u8]>>,
    group: Option<Box<[u8]>>,
}

/// Parsing: nothing is changed before an entry is whole.
impl FlistDecoder {
    /// Reads an entry; its path takes the place of that of the entry before.
    fn read_entry(&self, reader: &mut Reader<'_>, path: &mut Vec<u8>) -> Parsed<Next> {
        let flags = match self.read_flags(reader)? {
            Flags::Entry(flags) => flags,
            Flags::End(errors) => return Ok(Next::End(errors)),
        };
        let (shared, rest) = read_path(reader, flags, path)?;
        let link = self.read_link(reader, flags)?;
        let mut fields = match link.and_then(|link| self.first_of(link)) {
            Some(first) => Fields::of(first.clone()),
            None => self.read_fields(reader, flags)?,
        };
        if let Some(link) = link {
            if fields.entry.is_dir() {
                return Err(WireError::Protocol("a hard link to a directory").into());
            }
            fields.entry.extra_mut().hard_link = Some(link);
        }
        path.truncate(shared);
        path.extend_from_slice(rest);
        Ok(Next::Entry(fields))
    }

    fn read_flags(&self, reader: &mut Reader<'_>) -> Parsed<Flags> {
        if self.format.varint_flags {
            return match reader.varint()? {
                0 => Ok(Flags::End(IoErrors::from_wire(reader.varint()?))),
                flags => Flags::entry(flags as u32),
            };
        }
        let mut flags = u32::from(reader.u8()?);
        if flags & EXTENDED != 0 {
            flags |= u32::from(reader.u8()?) << 8;
        }
        match flags {
            0 => Ok(Flags::End(IoErrors::default())),
            END_WITH_ERRORS if self.format.safe_end => {
                Ok(Flags::End(IoErrors::from_wire(reader.varint()?)))
            }
            _ => Flags::entry(flags),
        }
    }

    /// The group of hard links, checked.
    fn read_link(&self, reader: &mut Reader<'_>, flags: u32) -> Parsed<Option<HardLink>> {
        let link = match flags & (HLINKED | HLINK_FIRST) {
            0 => return Ok(None),
            HLINKED => HardLink {
                group: reader.varint()? as u32,
                first: false,
            },
            _ => HardLink {
                group: self.list.next_index()?,
                first: true,
            },
        };
        let is_known = link.first || self.groups.binary_search(&link.group).is_ok();
        if !self.format.hard_links || flags & HLINKED == 0 || !is_known {
            return Err(WireError::Protocol("a hard link to nothing").into());
        }
        Ok(Some(link))
    }

    /// The entry of the same list that has all fields of this one.
    fn first_of(&self, link: HardLink) -> Option<&FileEntry> {
        let slot = link.group.checked_sub(self.list.start)?;
        let entries = &self.list.entries;
        entries.get(slot as usize).filter(|_| !link.first)
    }

    fn read_fields(&self, reader: &mut Reader<'_>, flags: u32) -> Parsed<Fields> {
        let Self { format, last, .. } = self;
        let has = |flag: u32| flags & flag != 0;
        let len = reader.varlong(3)?;
        let len = u64::try_from(len).map_err(|_| WireError::Protocol("a negative length"))?;
        let secs = match has(SAME_TIME) {
            true => last.mtime,
            false => reader.varlong(4)?,
        };
        let mtime = self.read_nanos(reader, flags, secs)?;
        let crtime = match (format.crtimes, has(CRTIME_IS_MTIME)) {
            (false, _) => None,
            (true, true) => Some(secs),
            (true, false) => Some(reader.varlong(4)?),
        };
        let mode = match has(SAME_MODE) {
            true => last.mode,
            false => reader.i32()? as u32,
        };
        let mut entry = FileEntry::new(WirePath::new(b""), mode);
        (entry.len, entry.mtime) = (len, mtime);
        self.check_mode(&entry)?;
        if entry.is_dir() {
            entry.dir_kind = dir_kind(flags);
        }
        let atime = match format.atimes && !entry.is_dir() {
            false => None,
            true if has(SAME_ATIME) => Some(last.atime),
            true => Some(reader.varlong(4)?),
        };
        if atime.is_some() || crtime.is_some() {
            let extra = entry.extra_mut();
            (extra.atime, extra.crtime) = (atime, crtime);
        }
        let (uid, user) = match (format.owner, has(SAME_UID)) {
            (true, false) => read_id(reader, has(USER_NAME))?,
            (true, true) => (last.uid, None),
            (false, _) => (0, None),
        };
        let (gid, group) = match (format.group, has(SAME_GID)) {
            (true, false) => read_id(reader, has(GROUP_NAME))?,
            (true, true) => (last.gid, None),
            (false, _) => (0, None),
        };
        (entry.uid, entry.gid) = (uid, gid);
        self.read_kind(reader, flags, &mut entry)?;
        let [user, group] = [user, group].map(|name| name.map(Box::from));
        Ok(Fields { entry, user, group })
    }

    fn read_nanos(&self, reader: &mut Reader<'_>, flags: u32, secs: i64) -> Parsed<Timestamp> {
        let refusal = WireError::Protocol("nanoseconds of no second");
        let nanos = match flags & NANOS {
            0 => 0,
            _ if self.format.protocol.is_31_or_newer() => reader.varint()? as u32,
            _ => return Err(refusal.into()),
        };
        Ok(Timestamp::new(secs, nanos).ok_or(refusal)?)
    }

    fn check_mode(&self, entry: &FileEntry) -> Result<(), WireError> {
        let known = entry.is_file()
            || entry.is_dir()
            || entry.is_symlink()
            || entry.is_device()
            || entry.is_special();
        let fits = entry.mode & !(S_IFMT | 0o7777) == 0;
        let is_fine = known && fits || entry.is_missing() && self.format.missing_args;
        let refusal = WireError::Protocol("a mode of no kind of file");
        is_fine.then_some(()).ok_or(refusal)
    }

    /// What only some kinds have.
    fn read_kind(&self, reader: &mut Reader<'_>, flags: u32, entry: &mut FileEntry) -> Parsed<()> {
        let Self { format, last, .. } = self;
        if format.has_numbers(entry) {
            let major = match flags & SAME_MAJOR {
                0 => reader.varint()? as u32,
                _ => last.major,
            };
            let minor = reader.varint()? as u32;
            if entry.is_device() {
                entry.extra_mut().device = Some(Device { major, minor });
            }
        }
        if format.links && entry.is_symlink() {
            let len = reader.count(MAX_TARGET, "a long target of a symbolic link")?;
            let target = reader.bytes(len as usize)?;
            if target.is_empty() || target.contains(&0) {
                return Err(WireError::Protocol("the target of a symbolic link").into());
            }
            entry.extra_mut().link = Some(target.into());
        }
        if let Some(len) = format.checksum_len.filter(|_| entry.is_file()) {
            entry.extra_mut().checksum = Some(reader.bytes(len.into())?.into());
        }
        Ok(())
    }
}

enum Flags {
    Entry(u32),
    End(IoErrors),
}

impl Flags {
    fn entry(flags: u32) -> Parsed<Self> {
        match flags & !ALL_FLAGS {
            0 => Ok(Self::Entry(flags)),
            _ => Err(WireError::Protocol("unknown flags of an entry").into()),
        }
    }
}

impl Fields {
    fn of(entry: FileEntry) -> Self {
        Self {
            entry,
            user: None,
            group: None,
        }
    }
}

/// How much of the path before this one begins with, and the rest of it.
fn read_path<'a>(reader: &mut Reader<'a>, flags: u32, before: &[u8]) -> Parsed<(usize, &'a [u8])> {
    let shared = match flags & SAME_NAME {
        0 => 0,
        _ => usize::from(reader.u8()?),
    };
    let len = match flags & LONG_NAME {
        0 => usize::from(reader.u8()?),
        _ => reader.count(MAX_PATH as u32, "a long path")? as usize,
    };
    if shared > before.len() || shared + len > MAX_PATH {
        return Err(WireError::Protocol("the length of a path").into());
    }
    Ok((shared, reader.bytes(len)?))
}

fn read_id<'a>(reader: &mut Reader<'a>, has_name: bool) -> Parsed<(u32, Option<&'a [u8]>)> {
    let id = reader.varint()? as u32;
    let name = match has_name {
        true => Some(reader.byte_counted()?),
        false => None,
    };
    Ok((id, name))
}

fn dir_kind(flags: u32) -> DirKind {
    match (flags & TOP_DIR != 0, flags & NO_CONTENT != 0) {
        (false, false) => DirKind::Content,
        (true, false) => DirKind::Top,
        (true, true) => DirKind::Implied,
        (false, true) => DirKind::NoContent,
    }
}

impl Partial {
    /// The index, in the order of the wire, of the next entry. The one behind it is one, too: it
    /// stands for the next list's directory.
    fn next_index(&self) -> Result<u32, WireError> {
        let next = u32::try_from(self.entries.len()).ok();
        next.and_then(|count| self.start.checked_add(count))
            .filter(|&next| next < i32::MAX as u32)
            .ok_or(WireError::Limit("entries of a transfer"))
    }

    /// Takes an entry over, which is at `path`.
    fn add(
        &mut self,
        fields: Fields,
        path: &[u8],
        format: &Format,
        budget: &mut Budget,
    ) -> Result<(), WireError> {
        let Fields {
            mut entry,
            user,
            group,
        } = fields;
        // With `-R /` the root of the transfer is the host's, and so spelt.
        let path = match path {
            b"/." if format.relative => b".",
            _ => path,
        };
        check_path(path, &entry, format)?;
        let held_before = self.held;
        entry.path = self.place(path)?;
        self.held += entry.weight();
        budget.hold(self.held - held_before, "the entries of a list")?;
        let names = [&user, &group].into_iter().flatten();
        let names: usize = names.map(|name| NAME + allocated(name.len())).sum();
        budget.hold(names, "names of users and groups")?;
        self.names.users.extend(user.map(|name| (entry.uid, name)));
        self.names
            .groups
            .extend(group.map(|name| (entry.gid, name)));
        self.entries.push(entry);
        Ok(())
    }

    /// Splits a path, sharing the directory's with the entry before. The children of a directory
    /// are nowhere else.
    fn place(&mut self, path: &[u8]) -> Result<WirePath, WireError> {
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (dir, base) = match slash {
            Some(slash) => (Some(&path[..slash]), &path[slash + 1..]),
            None => (None, path),
        };
        let is_same = dir == self.last_dir.as_deref();
        if self.dir.is_some() && !is_same {
            return Err(WireError::Protocol("an entry of another directory's list"));
        }
        if !is_same && dir.is_some() {
            self.held += allocated(path.len());
            self.last_dir = dir.map(Arc::from);
        }
        Ok(WirePath::within(dir.and(self.last_dir.clone()), base))
    }

    fn finish(self, format: &Format) -> Result<List, WireError> {
        let start = FileIndex::new(self.start).ok_or(WireError::Limit("lists of a transfer"))?;
        let is_first = self.dir.is_none();
        let mut list = List::received(start, self.dir, self.entries);
        if is_first && !format.no_implied_dirs {
            list.check_parents()?;
        }
        list.held = self.held;
        list.errors = self.errors;
        list.names = self.names;
        Ok(list)
    }
}

/// Refuses paths that could lead out of the transfer.
fn check_path(path: &[u8], entry: &FileEntry, format: &Format) -> Result<(), WireError> {
    if path == b"." {
        let refusal = WireError::Protocol("a root that is no directory");
        return entry.is_dir().then_some(()).ok_or(refusal);
    }
    let below = match path {
        [b'/', below @ ..] if format.relative => below,
        _ => path,
    };
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
    if below.contains(&0) || !below.split(|&byte| byte == b'/').all(is_name) {
        return Err(WireError::Protocol("an unsafe path"));
    }
    Ok(())
}

/// The longest target of a symbolic link.
const MAX_TARGET: u32 = 4095;
/// Names of users, and of groups, that may come with a list.
const MAX_NAMES: usize = 1 << 20;
/// What a group of hard links takes besides its path, where links are made: some 200 bytes.
const GROUP: usize = 200;
/// What is remembered of a name besides itself, where ids are mapped.
const NAME: usize = 48;
