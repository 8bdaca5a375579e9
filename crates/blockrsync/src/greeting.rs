//! The 32 bytes that each side says first.

use bytes::{Buf, BufMut, BytesMut};

/// How long a greeting is.
pub const GREETING_LEN: usize = 32;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Greeting {
    /// One of ours.
    Barge {
        /// How long what it has is, in bytes.
        len: u64,
    },
    /// A stock blockrsync.
    Stock,
}

impl Greeting {
    /// What one of ours says.
    pub fn ours(len: u64) -> [u8; GREETING_LEN] {
        let mut bytes = [0; GREETING_LEN];
        let mut fields = &mut bytes[..];
        fields.put_slice(MAGIC);
        fields.put_u64_le(VERSION);
        fields.put_u64_le(len);
        bytes
    }

    /// Takes the peer's greeting off the front of `input`, or `None` until all of it has arrived.
    pub fn decode(input: &mut BytesMut) -> Option<Self> {
        if input.len() < GREETING_LEN {
            return None;
        }
        let mut greeting = input.split_to(GREETING_LEN);
        if !greeting.starts_with(MAGIC) {
            return Some(Self::Stock);
        }
        greeting.advance(MAGIC.len());
        // A later version is told by what it knows of this one.
        let _version = greeting.get_u64_le();
        let len = greeting.get_u64_le();
        Some(Self::Barge { len })
    }
}

/// By chance a digest begins so once in 2^128 times.
pub(crate) const MAGIC: &[u8; 16] = b"barge blockrsync";

/// Of what two of ours say to each other.
const VERSION: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_is_magic_version_and_length() {
        let ours = Greeting::ours(0x0102);
        let expected = b"barge blockrsync\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0";
        assert_eq!(&ours, expected);
        for cut in 0..GREETING_LEN {
            assert_eq!(Greeting::decode(&mut BytesMut::from(&ours[..cut])), None);
        }
        let mut input = BytesMut::from(&[&ours[..], b"more"].concat()[..]);
        let said = Greeting::decode(&mut input);
        assert_eq!(said, Some(Greeting::Barge { len: 0x0102 }));
        assert_eq!(input, &b"more"[..]);
    }

    #[test]
    fn any_other_32_bytes_are_those_of_a_stock_blockrsync() {
        let mut input = BytesMut::from(&[7; 32][..]);
        assert_eq!(Greeting::decode(&mut input), Some(Greeting::Stock));
    }
}
