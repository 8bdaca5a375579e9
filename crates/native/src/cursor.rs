//! Reads and writes the fields of a message: little-endian numbers, varints, counted bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ProtocolError;

/// Reads fields off the front of one message.
#[derive(Debug)]
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(message: Bytes) -> Self {
        Self(message)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ProtocolError> {
        self.0
            .try_get_u8()
            .map_err(|_| ProtocolError::Truncated(what))
    }

    /// 0 or 1.
    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, ProtocolError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(ProtocolError::Unknown {
                what,
                value: value.into(),
            }),
        }
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ProtocolError> {
        self.0
            .try_get_u16_le()
            .map_err(|_| ProtocolError::Truncated(what))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ProtocolError> {
        self.0
            .try_get_u32_le()
            .map_err(|_| ProtocolError::Truncated(what))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, ProtocolError> {
        self.0
            .try_get_u64_le()
            .map_err(|_| ProtocolError::Truncated(what))
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, ProtocolError> {
        self.0
            .try_get_u128_le()
            .map_err(|_| ProtocolError::Truncated(what))
    }

    /// A number of at most `limit`, as a varint: seven bits a byte, low bits first.
    pub(crate) fn varint(&mut self, what: &'static str, limit: u64) -> Result<u64, ProtocolError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(ProtocolError::Limit {
                    what,
                    value: u64::MAX,
                    limit,
                });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return within(what, value, limit);
            }
        }
        Err(ProtocolError::Limit {
            what,
            value: u64::MAX,
            limit,
        })
    }

    /// A count or length of at most `limit`.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<usize, ProtocolError> {
        Ok(self.varint(what, limit as u64)? as usize)
    }

    /// Exactly `len` bytes, without a copy.
    pub(crate) fn bytes(&mut self, what: &'static str, len: usize) -> Result<Bytes, ProtocolError> {
        if self.0.len() < len {
            return Err(ProtocolError::Truncated(what));
        }
        Ok(self.0.split_to(len))
    }

    /// A varint length of at most `limit`, then as many bytes.
    pub(crate) fn counted(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<Bytes, ProtocolError> {
        let len = self.count(what, limit)?;
        self.bytes(what, len)
    }

    /// A signed number: zigzag, then varint.
    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, ProtocolError> {
        let zigzag = self.varint(what, u64::MAX)?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    /// The end of the message.
    pub(crate) fn end(self) -> Result<(), ProtocolError> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(ProtocolError::Trailing(more)),
        }
    }
}

/// Refuses a peer's number beyond `limit`.
pub(crate) fn within(what: &'static str, value: u64, limit: u64) -> Result<u64, ProtocolError> {
    if value > limit {
        return Err(ProtocolError::Limit { what, value, limit });
    }
    Ok(value)
}

/// Appends fields to a message.
pub(crate) trait Put: BufMut {
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn put_signed(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)) as u64);
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put_slice(bytes);
    }
}

impl Put for BytesMut {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_as_they_went(value: u64, signed: i64) {
            let mut bytes = BytesMut::new();
            bytes.put_varint(value);
            bytes.put_signed(signed);
            let mut reader = Reader::new(bytes.freeze());
            prop_assert_eq!(reader.varint("value", u64::MAX).unwrap(), value);
            prop_assert_eq!(reader.signed("signed").unwrap(), signed);
            reader.end().unwrap();
        }

        #[test]
        fn no_bytes_make_a_varint_panic(bytes: Vec<u8>) {
            let _ = Reader::new(bytes.into()).varint("value", u64::MAX);
        }
    }

    #[test]
    fn varint_beyond_64_bits_or_its_limit_is_refused() {
        let eleven = Bytes::from_static(&[0xff; 11]);
        assert!(Reader::new(eleven).varint("n", u64::MAX).is_err());
        let over =
            Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        assert!(Reader::new(over).varint("n", u64::MAX).is_err());
        assert!(
            Reader::new(Bytes::from_static(&[8]))
                .varint("n", 7)
                .is_err()
        );
    }
}
