//! rsync's wire, as far as an attacker needs it: written from the specification alone and sharing
//! nothing with the code under attack, so that it may say what no honest encoder would.

/// Bytes on their way to the victim.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(pub(crate) Vec<u8>);

/// `NDX_DONE`.
pub(crate) const DONE: &[u8] = &[0];

/// The list's end, without an error.
pub(crate) const LIST_END: &[u8] = &[0];

/// Item flags.
pub(crate) const TRANSFER: u16 = 0x8000;
pub(crate) const IS_NEW: u16 = 0x2000;
pub(crate) const XNAME: u16 = 0x1000;
pub(crate) const BASIS: u16 = 0x0800;

/// Entry flags beyond the name's, in the byte dialect.
pub(crate) const TOP_DIR: u16 = 0x01;
pub(crate) const HLINKED: u16 = 0x0200;
pub(crate) const HLINK_FIRST: u16 = 0x1000;
pub(crate) const MOD_NSEC: u16 = 0x2000;

impl Wire {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn int32(self, value: i32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn short(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A varint: the first byte's leading ones say how many bytes follow.
    pub(crate) fn varint(self, value: i32) -> Self {
        let bytes = value.to_le_bytes();
        let count = 4 - bytes.iter().rev().take_while(|&&b| b == 0).count().min(3);
        let room = 1_u32 << (8 - count);
        let top = u32::from(bytes[count - 1]);
        match (top >= room, count) {
            (true, _) => self.raw(&[!((room - 1) as u8)]).raw(&bytes[..count]),
            (false, 1) => self.raw(&bytes[..1]),
            (false, _) => {
                let marker = !((room * 2 - 1) as u8);
                self.raw(&[bytes[count - 1] | marker])
                    .raw(&bytes[..count - 1])
            }
        }
    }

    /// A varlong of at least `min` bytes, of a value below 2^(8 * min - 1).
    pub(crate) fn varlong(self, value: u64, min: usize) -> Self {
        let bytes = value.to_le_bytes();
        assert!(
            value < 1 << (8 * min - 1),
            "the attacks need no larger ones"
        );
        self.raw(&[bytes[min - 1]]).raw(&bytes[..min - 1])
    }

    /// An index, absolute: the form that needs no memory of the one before.
    pub(crate) fn ndx(self, n: i32) -> Self {
        let b = n.to_le_bytes();
        self.raw(&[0xfe, b[3] | 0x80, b[0], b[1], b[2]])
    }

    /// A negative index, absolute.
    pub(crate) fn negative_ndx(self, n: i32) -> Self {
        self.raw(&[0xff]).ndx(-n)
    }

    /// The head of an item: index and flags.
    pub(crate) fn item(self, n: i32, flags: u16) -> Self {
        self.ndx(n).short(flags)
    }

    /// A sum head: count, block length, strong sum length, remainder.
    pub(crate) fn sum_head(self, head: [i32; 4]) -> Self {
        head.into_iter().fold(self, Self::int32)
    }

    /// The head of a whole file.
    pub(crate) fn whole(self) -> Self {
        self.sum_head([0; 4])
    }

    /// A literal token.
    pub(crate) fn literal(self, bytes: &[u8]) -> Self {
        self.int32(bytes.len() as i32).raw(bytes)
    }

    /// The end of a file, with a digest.
    pub(crate) fn end_of_file(self, digest: [u8; 16]) -> Self {
        self.int32(0).raw(&digest)
    }
}

/// An entry of the list, in the byte dialect of protocol 31, for `-logDt` with numeric ids.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) flags: u16,
    /// Bytes shared with the name before.
    pub(crate) shared: Option<u8>,
    pub(crate) name: Vec<u8>,
    /// The length that is claimed for the name.
    pub(crate) claimed: Option<u8>,
    pub(crate) first_link: Option<i32>,
    pub(crate) size: [u8; 3],
    pub(crate) nsec: Option<i32>,
    pub(crate) mode: u32,
    pub(crate) rdev: Option<(i32, i32)>,
    pub(crate) target: Option<(i32, Vec<u8>)>,
    /// What follows: ACLs and attributes.
    pub(crate) tail: Vec<u8>,
}

impl Entry {
    pub(crate) fn new(name: &[u8], mode: u32) -> Self {
        Self {
            flags: 0,
            shared: None,
            name: name.to_vec(),
            claimed: None,
            first_link: None,
            size: [0, 0, 0],
            nsec: None,
            mode,
            rdev: None,
            target: None,
            tail: Vec::new(),
        }
    }

    pub(crate) fn file(name: &[u8], size: u8) -> Self {
        let size = [0, size, 0];
        Self {
            size,
            ..Self::new(name, 0o100_644)
        }
    }

    pub(crate) fn dir(name: &[u8]) -> Self {
        Self::new(name, 0o040_755)
    }

    pub(crate) fn symlink(name: &[u8], target: &[u8]) -> Self {
        let target = Some((target.len() as i32, target.to_vec()));
        Self {
            target,
            ..Self::new(name, 0o120_777)
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let shared = if self.shared.is_some() { 0x20 } else { 0 };
        let nsec = if self.nsec.is_some() { MOD_NSEC } else { 0 };
        let long = self.name.len() > 255;
        let flags = self.flags | shared | nsec | if long { 0x40 } else { 0 };
        let mut wire = match flags {
            0 if self.mode & 0o170_000 != 0o040_000 => Wire::new().raw(&[1]),
            1..=0xff => Wire::new().raw(&[flags as u8]),
            _ => Wire::new().short(flags | 4),
        };
        if let Some(shared) = self.shared {
            wire = wire.raw(&[shared]);
        }
        wire = match (long, self.claimed) {
            (true, _) => wire.varint(self.name.len() as i32),
            (false, claimed) => wire.raw(&[claimed.unwrap_or(self.name.len() as u8)]),
        };
        wire = wire.raw(&self.name);
        if let Some(first) = self.first_link {
            wire = wire.varint(first);
        }
        wire = wire.raw(&self.size).varlong(1_700_000_000, 4);
        if let Some(nsec) = self.nsec {
            wire = wire.varint(nsec);
        }
        wire = wire.raw(&self.mode.to_le_bytes()).varint(0).varint(0);
        if let Some((major, minor)) = self.rdev {
            wire = wire.varint(major).varint(minor);
        }
        if let Some((len, target)) = &self.target {
            wire = wire.varint(*len).raw(target);
        }
        wire.raw(&self.tail).0
    }
}

/// A list of entries with its end.
pub(crate) fn list(entries: &[Entry]) -> Wire {
    let entries = entries.iter().map(Entry::bytes);
    entries
        .fold(Wire::new(), |wire, entry| wire.raw(&entry))
        .raw(LIST_END)
}

/// A multiplexed frame.
pub(crate) fn frame(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((u32::from(tag) + 7) << 24 | payload.len() as u32)
        .to_le_bytes()
        .to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn integers_are_as_the_specification_lists_them() {
    for (value, bytes) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (0x98, &[0x80, 0x98]),
        (0xc01, &[0x8c, 0x01]),
        (0x2098, &[0xa0, 0x98]),
        (70_000, &[0xc1, 0x70, 0x11]),
        (123_456_789, &[0xe7, 0x15, 0xcd, 0x5b]),
        (0x1000_0000, &[0xf0, 0, 0, 0, 0x10]),
        (-1, &[0xf0, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(Wire::new().varint(value).0, bytes, "{value}");
    }
    assert_eq!(Wire::new().varlong(3000, 3).0, [0, 0xb8, 0x0b]);
    assert_eq!(
        Wire::new().varlong(0x6593_7d25, 4).0,
        [0x65, 0x25, 0x7d, 0x93]
    );
    assert_eq!(Wire::new().ndx(3).0, [0xfe, 0x80, 3, 0, 0]);
    assert_eq!(
        Wire::new().negative_ndx(-103).0,
        [0xff, 0xfe, 0x80, 0x67, 0, 0]
    );
}
