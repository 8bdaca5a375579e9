//! Names of users and groups: in the entries of incremental lists, else in tables behind the list.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::collections::HashSet;

use bytes::BytesMut;

use super::cursor::{Parsed, Reader};
use super::int::Put;

/// Names that came with a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdNames {
    /// Users by id, each once in a connection.
    pub users: Vec<(u32, Box<[u8]>)>,
    /// Groups by id, each once in a connection.
    pub groups: Vec<(u32, Box<[u8]>)>,
}

impl IdNames {
    /// The users, else the groups.
    pub(super) fn of_kind(&mut self, users: bool) -> &mut Vec<(u32, Box<[u8]>)> {
        if users {
            &mut self.users
        } else {
            &mut self.groups
        }
    }
}

/// What a sender knows of the ids of its host: nothing where they are to stay numbers.
pub trait Names {
    /// A user's name: 1 to 255 bytes.
    fn user(&mut self, uid: u32) -> Option<Vec<u8>>;

    /// A group's.
    fn group(&mut self, gid: u32) -> Option<Vec<u8>>;
}

/// The ids that a sender has met.
#[derive(Debug, Default)]
pub(super) struct SeenIds {
    users: Seen,
    groups: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    known: HashSet<u32>,
    /// In the order in which they were met.
    order: Vec<u32>,
}

impl Seen {
    /// Remembers an id; whether it was not known.
    fn insert(&mut self, id: u32) -> bool {
        let is_new = self.known.insert(id);
        if is_new {
            self.order.push(id);
        }
        is_new
    }
}

/// Ids as they are met while a list is written.
pub(super) struct Ids<'a> {
    pub(super) seen: &'a mut SeenIds,
    pub(super) names: &'a mut dyn Names,
    /// Names ride in the entries: else they wait for the tables.
    pub(super) inline: bool,
}

impl Ids<'_> {
    /// A user was met: its name, when it must be told here.
    pub(super) fn new_user(&mut self, uid: u32) -> Option<Vec<u8>> {
        let is_due = self.seen.users.insert(uid) && self.inline;
        is_due.then(|| known(self.names.user(uid))).flatten()
    }

    /// A group was met: its name, when it must be told here.
    pub(super) fn new_group(&mut self, gid: u32) -> Option<Vec<u8>> {
        let is_due = self.seen.groups.insert(gid) && self.inline;
        is_due.then(|| known(self.names.group(gid))).flatten()
    }
}

impl SeenIds {
    /// Appends the table of users.
    pub(super) fn put_users(&self, out: &mut BytesMut, names: &mut dyn Names, id0: bool) {
        put_table(out, &self.users, id0, |uid| names.user(uid));
    }

    /// Appends the table of groups.
    pub(super) fn put_groups(&self, out: &mut BytesMut, names: &mut dyn Names, id0: bool) {
        put_table(out, &self.groups, id0, |gid| names.group(gid));
    }
}

fn put_table(
    out: &mut BytesMut,
    ids: &Seen,
    id0: bool,
    mut name: impl FnMut(u32) -> Option<Vec<u8>>,
) {
    // As stock has it: the last one that was met comes first.
    for &id in ids.order.iter().rev().filter(|&&id| id != 0) {
        if let Some(name) = known(name(id)) {
            out.put_varint(id as i32);
            out.put_byte_counted(&name);
        }
    }
    out.put_varint(0);
    if id0 {
        out.put_byte_counted(&known(name(0)).unwrap_or_default());
    }
}

/// A name that can be told.
fn known(name: Option<Vec<u8>>) -> Option<Vec<u8>> {
    name.filter(|name| (1..=255).contains(&name.len()))
}

/// A row of a table: an id and its name, and whether it is the last one.
pub(super) fn row<'a>(reader: &mut Reader<'a>, id0: bool) -> Parsed<(u32, &'a [u8], bool)> {
    let id = reader.varint()? as u32;
    let is_last = id == 0;
    let name = match is_last && !id0 {
        true => &[],
        false => reader.byte_counted()?,
    };
    Ok((id, name, is_last))
}
