//! Items: requests of the receiving side, and the sender's answers, which repeat them.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::{BufMut, Bytes, BytesMut};

use super::iflags::{Basis, ItemFlags};
use super::int::Put;
use super::ndx::{FileIndex, Ndx, NdxWriter};

/// What both ways begin with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Which entry it is about.
    pub index: FileIndex,
    /// What differs, and what follows.
    pub flags: ItemFlags,
    /// What blocks are taken from; on the wire with [`ItemFlags::BASIS_FOLLOWS`].
    pub basis: Basis,
    /// The path it is a hard link to, or the name of a fuzzy basis; on the wire with
    /// [`ItemFlags::NAME_FOLLOWS`].
    pub name: Bytes,
}

impl Item {
    /// An item with neither basis nor name.
    pub fn new(index: FileIndex, flags: ItemFlags) -> Self {
        Self {
            index,
            flags,
            basis: Basis::default(),
            name: Bytes::new(),
        }
    }

    /// Appends it.
    pub fn put(&self, out: &mut BytesMut, ndx: &mut NdxWriter) {
        ndx.put(out, Ndx::File(self.index));
        out.put_u16_le(self.flags.bits());
        if self.flags.has(ItemFlags::BASIS_FOLLOWS) {
            out.put_u8(self.basis.to_wire());
        }
        if self.flags.has(ItemFlags::NAME_FOLLOWS) {
            out.put_vstring(&self.name);
        }
    }
}

/// Appends the numbers of the extended attributes that are wanted.
pub fn put_xattr_request(out: &mut BytesMut, numbers: &[u32]) {
    let mut last = 0i64;
    for &number in numbers {
        out.put_varint((i64::from(number) - last) as i32);
        last = number.into();
    }
    out.put_varint(0);
}

/// Appends the extended attributes that were wanted; a value that cannot be read any more is empty.
pub fn put_xattr_answer(out: &mut BytesMut, answers: &[(u32, Bytes)]) {
    let mut last = 0i64;
    for (number, value) in answers {
        out.put_varint((i64::from(*number) - last) as i32);
        out.put_varint(value.len() as i32);
        out.put_slice(value);
        last = i64::from(*number);
    }
    out.put_varint(0);
}
