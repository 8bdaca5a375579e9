//! The variable integers of protocol 30 and later, and counted strings.
//!
//! The first byte of a varint or varlong says by its leading ones how many bytes follow, and holds
//! the highest bits of the value in what is left of it. Source: the rsync protocol as recorded
//! between two stock 3.5.0 peers.

use bytes::{BufMut, BytesMut};

use super::cursor::{Parsed, Reader, Stop};
use crate::WireError;

impl<'a> Reader<'a> {
    /// A varint: 32 bits in 1 to 5 bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::Stream`] when it announces more than 32 bits.
    pub fn varint(&mut self) -> Parsed<i32> {
        let first = self.u8()?;
        let extra = extra_bytes(first);
        if extra > 4 {
            return Err(WireError::Stream("a varint of more than 32 bits").into());
        }
        let low = self.bytes(extra)?;
        Ok(assemble(first, extra, low) as u32 as i32)
    }

    /// A varint that cannot be negative.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] about `what` when it is negative or above `limit`.
    pub fn count(&mut self, limit: u32, what: &'static str) -> Parsed<u32> {
        let value = u32::try_from(self.varint()?).map_err(|_| WireError::Protocol(what))?;
        if value > limit {
            return Err(WireError::Protocol(what).into());
        }
        Ok(value)
    }

    /// A varlong of at least `min` bytes, 3 or 4: 64 bits in `min` to 9 bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::Stream`] when it announces more than 64 bits.
    pub fn varlong(&mut self, min: usize) -> Parsed<i64> {
        let first = self.u8()?;
        let extra = extra_bytes(first);
        let len = min - 1 + extra;
        if len > 8 {
            return Err(WireError::Stream("a varlong of more than 64 bits").into());
        }
        let low = self.bytes(len)?;
        Ok(assemble(first, extra, low) as i64)
    }

    /// A vstring: a length of one or two bytes, then as many bytes, at most 0x7fff.
    ///
    /// # Errors
    ///
    /// [`WireError::Protocol`] about `what` when it is longer than `limit`.
    pub fn vstring(&mut self, limit: usize, what: &'static str) -> Parsed<&'a [u8]> {
        let mut len = usize::from(self.u8()?);
        if len & 0x80 != 0 {
            len = (len & 0x7f) << 8 | usize::from(self.u8()?);
        }
        if len > limit {
            return Err(Stop::Bad(WireError::Protocol(what)));
        }
        self.bytes(len)
    }
}

/// How many bytes follow the first one beyond the least.
fn extra_bytes(first: u8) -> usize {
    match first.leading_ones() as usize {
        ones @ 0..=4 => ones,
        5 => 5,
        _ => 6,
    }
}

/// The value of `low`, low byte first, below the value bits of `first`. Bits beyond 64 are lost.
fn assemble(first: u8, extra: usize, low: &[u8]) -> u64 {
    let top = match extra {
        0 => first,
        _ => first & ((1 << (8 - extra)) - 1),
    };
    let mut value = [0; 16];
    value[..low.len()].copy_from_slice(low);
    value[low.len()] = top;
    u128::from_le_bytes(value) as u64
}

/// Appends integers and counted strings.
pub trait Put {
    /// A varint.
    fn put_varint(&mut self, value: i32);

    /// A varlong of at least `min` bytes, 3 or 4.
    fn put_varlong(&mut self, value: i64, min: usize);

    /// A vstring: at most 0x7fff bytes, what is beyond is left out.
    fn put_vstring(&mut self, bytes: &[u8]);

    /// A length of one byte, then the bytes: at most 255, what is beyond is left out.
    fn put_byte_counted(&mut self, bytes: &[u8]);
}

impl Put for BytesMut {
    fn put_varint(&mut self, value: i32) {
        put_variable(self, &value.to_le_bytes(), 1);
    }

    fn put_varlong(&mut self, value: i64, min: usize) {
        put_variable(self, &value.to_le_bytes(), min);
    }

    fn put_vstring(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(0x7fff)];
        if bytes.len() < 0x80 {
            self.put_u8(bytes.len() as u8);
        } else {
            self.put_u16(0x8000 | bytes.len() as u16);
        }
        self.put_slice(bytes);
    }

    fn put_byte_counted(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(255)];
        self.put_u8(bytes.len() as u8);
        self.put_slice(bytes);
    }
}

/// Writes the significant bytes of `value`, but at least `min`, behind their marker.
fn put_variable(out: &mut BytesMut, value: &[u8], min: usize) {
    let zeros = value.iter().rev().take_while(|&&byte| byte == 0).count();
    let count = (value.len() - zeros).max(min);
    let (low, top) = (&value[..count - 1], value[count - 1]);
    let beyond = count - min;
    let room = 1u16 << (7 - beyond.min(7));
    if u16::from(top) >= room {
        out.put_u8(ones(beyond + 1));
        out.put_slice(&value[..count]);
    } else {
        out.put_u8(ones(beyond) | top);
        out.put_slice(low);
    }
}

/// A byte that begins with `count` ones.
fn ones(count: usize) -> u8 {
    !(0xffu16 >> count) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values and their bytes, as recorded.
    const VARINTS: &[(i32, &[u8])] = &[
        (0, b"\x00"),
        (127, b"\x7f"),
        (0x98, b"\x80\x98"),
        (0x1ff, b"\x81\xff"),
        (0xc01, b"\x8c\x01"),
        (0x2098, b"\xa0\x98"),
        (0x2c01, b"\xac\x01"),
        (4321, b"\x90\xe1"),
        (70000, b"\xc1\x70\x11"),
        (123_456_789, b"\xe7\x15\xcd\x5b"),
        (266_241_523, b"\xef\xf3\x85\xde"),
        (0x1000_0000, b"\xf0\x00\x00\x00\x10"),
        (-1, b"\xf0\xff\xff\xff\xff"),
    ];

    /// Values, least lengths and bytes, as recorded.
    const VARLONGS: &[(i64, usize, &[u8])] = &[
        (5, 3, b"\x00\x05\x00"),
        (3000, 3, b"\x00\xb8\x0b"),
        (4096, 3, b"\x00\x00\x10"),
        (140_000, 3, b"\x02\xe0\x22"),
        (0x7f_ffff, 3, b"\x7f\xff\xff"),
        (0x80_0000, 3, b"\x80\x00\x00\x80"),
        (0x1_0000_0000, 3, b"\xc1\x00\x00\x00\x00"),
        (0x6593_7d25, 4, b"\x65\x25\x7d\x93"),
        (0x6b02_a693, 4, b"\x6b\x93\xa6\x02"),
    ];

    #[test]
    fn integers_have_the_recorded_bytes() {
        for &(value, bytes) in VARINTS {
            let mut out = BytesMut::new();
            out.put_varint(value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
        for &(value, min, bytes) in VARLONGS {
            let mut out = BytesMut::new();
            out.put_varlong(value, min);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(Reader::new(bytes).varlong(min), Ok(value));
        }
    }

    #[test]
    fn integers_that_announce_too_many_bytes_are_refused() {
        for first in [0xf8, 0xfb, 0xfc, 0xff] {
            let bytes = [first; 10];
            assert!(matches!(Reader::new(&bytes).varint(), Err(Stop::Bad(_))));
        }
        assert!(matches!(
            Reader::new(&[0xfc; 10]).varlong(4),
            Err(Stop::Bad(_))
        ));
        assert!(Reader::new(&[0xfc; 10]).varlong(3).is_ok());
    }

    #[test]
    fn counts_refuse_what_is_negative_or_beyond_their_limit() {
        for (value, good) in [(-1, false), (0, true), (7, true), (8, false)] {
            let mut out = BytesMut::new();
            out.put_varint(value);
            assert_eq!(
                Reader::new(&out).count(7, "a count").is_ok(),
                good,
                "{value}"
            );
        }
    }

    #[test]
    fn vstrings_have_a_length_of_two_bytes_from_128_on() {
        for (len, head) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 128]),
            (0x7fff, &[0xff, 0xff]),
        ] {
            let mut out = BytesMut::new();
            out.put_vstring(&vec![b'x'; len]);
            assert!(out.starts_with(head), "{len}");
            assert_eq!(
                Reader::new(&out).vstring(len, "a string").unwrap().len(),
                len
            );
            assert!(len == 0 || Reader::new(&out).vstring(len - 1, "a string").is_err());
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_went(int: i32, long: i64, min in 3usize..=4) {
            let mut out = BytesMut::new();
            out.put_varint(int);
            out.put_varlong(long, min);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(int));
            prop_assert_eq!(reader.varlong(min), Ok(long));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn no_bytes_make_a_number_panic(bytes: Vec<u8>, min in 3usize..=4) {
            let _ = Reader::new(&bytes).varint();
            let _ = Reader::new(&bytes).varlong(min);
            let _ = Reader::new(&bytes).vstring(100, "a string");
        }
    }
}
