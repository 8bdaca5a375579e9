//! Items: requests of the receiving side, and the sender's answers, which repeat them.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::{Parsed, Reader};
use super::flist::Format;
use super::iflags::{Basis, ItemFlags};
use super::int::Put;
use super::ndx::{FileIndex, Ndx, NdxWriter};
use crate::WireError;

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

    /// Reads what follows its index.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] when its name is no path's.
    pub fn read(reader: &mut Reader<'_>, index: FileIndex) -> Parsed<Self> {
        let mut item = Self::new(index, ItemFlags::from_wire(reader.u16()?));
        if item.flags.has(ItemFlags::BASIS_FOLLOWS) {
            item.basis = Basis::from_wire(reader.u8()?);
        }
        if item.flags.has(ItemFlags::NAME_FOLLOWS) {
            let name = reader.vstring(MAX_NAME, "a name behind an item")?;
            if name.contains(&0) {
                return Err(WireError::Protocol("a NUL in a name behind an item").into());
            }
            item.name = Bytes::copy_from_slice(name);
        }
        Ok(item)
    }

    /// Whether a list of extended attributes follows.
    pub fn has_xattrs(&self, format: &Format) -> bool {
        let linked = ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL;
        format.xattrs
            && !format.dry_run
            && self.flags.has(ItemFlags::XATTR)
            && !(format.xattr_optim && self.flags.has(linked))
    }

    /// Whether a sum head follows, and after it sums or content.
    pub fn has_content(&self, format: &Format) -> bool {
        !format.dry_run && self.flags.has(ItemFlags::TRANSFER)
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

/// Reads the number of an extended attribute as the difference from the `last` one, 0 at first; `None` at
/// the end of the list.
///
/// # Errors
///
/// [`WireError::Protocol`] when it is not in 1 to [`MAX_XATTRS`].
pub fn read_number(reader: &mut Reader<'_>, last: u32) -> Parsed<Option<u32>> {
    let difference = reader.varint()?;
    if difference == 0 {
        return Ok(None);
    }
    let number = i64::from(last) + i64::from(difference);
    match u32::try_from(number) {
        Ok(number @ 1..=MAX_XATTRS) => Ok(Some(number)),
        _ => Err(WireError::Protocol("the number of an extended attribute").into()),
    }
}

/// Extended attributes of one file at most.
pub const MAX_XATTRS: u32 = 1 << 16;

/// Bytes of a path at most.
const MAX_NAME: usize = 4095;

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
