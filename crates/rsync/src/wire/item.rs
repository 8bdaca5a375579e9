//! Items: requests of the receiving side, and the sender's answers, which repeat them.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::{self, Parsed, Reader};
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
    /// [`ItemFlags::NAME_FOLLOWS`]. From the peer: at most 4095 bytes, no NUL, else anything.
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
    pub(crate) fn read(reader: &mut Reader<'_>, index: FileIndex) -> Parsed<Self> {
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

/// Reads the list of extended attributes of one item, number by number.
#[derive(Debug, Default)]
pub(crate) struct XattrList {
    last: u32,
    numbers: Vec<u32>,
    answers: Vec<(u32, Bytes)>,
    /// Bytes of all values.
    held: usize,
}

impl XattrList {
    /// Reads the numbers of a request; `None` when more must come.
    pub(crate) fn poll_request(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Vec<u32>>, WireError> {
        while let Some(number) = cursor::read(input, |reader| self.number(reader))? {
            let Some(number) = number else {
                return Ok(Some(std::mem::take(self).numbers));
            };
            self.count(self.numbers.len())?;
            self.last = number;
            self.numbers.push(number);
        }
        Ok(None)
    }

    /// Reads the numbers and values of an answer; `None` when more must come.
    pub(crate) fn poll_answer(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Vec<(u32, Bytes)>>, WireError> {
        while let Some(answer) = cursor::read(input, |reader| self.answer(reader))? {
            let Some((number, value)) = answer else {
                return Ok(Some(std::mem::take(self).answers));
            };
            self.count(self.answers.len())?;
            self.held += value.len();
            if self.held > MAX_VALUES {
                return Err(WireError::Limit("the extended attributes of one item"));
            }
            self.last = number;
            self.answers.push((number, value));
        }
        Ok(None)
    }

    fn count(&self, count: usize) -> Result<(), WireError> {
        let refusal = WireError::Protocol("the number of extended attributes of an item");
        (count < MAX_COUNT).then_some(()).ok_or(refusal)
    }

    /// The next number; `None` at the end.
    fn number(&self, reader: &mut Reader<'_>) -> Parsed<Option<u32>> {
        let number = match reader.varint()? {
            0 => return Ok(None),
            difference => i64::from(self.last) + i64::from(difference),
        };
        match u32::try_from(number) {
            Ok(number @ 1..=MAX_NUMBER) => Ok(Some(number)),
            _ => Err(WireError::Protocol("the number of an extended attribute").into()),
        }
    }

    fn answer(&self, reader: &mut Reader<'_>) -> Parsed<Option<(u32, Bytes)>> {
        let Some(number) = self.number(reader)? else {
            return Ok(None);
        };
        let len = reader.count(i32::MAX as u32, "the length of an extended attribute")?;
        if len > MAX_VALUE {
            return Err(WireError::Limit("an extended attribute").into());
        }
        let value = reader.bytes(len as usize)?;
        Ok(Some((number, Bytes::copy_from_slice(value))))
    }
}

/// The longest path.
const MAX_NAME: usize = 4095;
/// Attributes of a set.
const MAX_NUMBER: u32 = 1 << 16;
/// Numbers in a list: each stands there once.
const MAX_COUNT: usize = MAX_NUMBER as usize;
/// The longest value that is taken: 16 MiB. Linux has none of more than 64 KiB.
const MAX_VALUE: u32 = 16 << 20;
/// All values of one item: 64 MiB.
const MAX_VALUES: usize = 64 << 20;
