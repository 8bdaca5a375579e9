//! Frames: the envelope of everything on a connection.
//!
//! | bytes | field | limits |
//! |---|---|---|
//! | 1 | tag | one of [`Tag`] |
//! | 3 | length of the payload, little-endian | at most [`MAX_PAYLOAD`] |
//! | length | payload | |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ProtocolError;

/// Bytes before a payload.
pub const HEADER_LEN: usize = 4;

/// The longest payload: what exceeds it is refused before memory is taken.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Which of a stream's two sequences of messages a frame belongs to.
///
/// They are numbered and flow-controlled apart, so that waiting content never holds up the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// List, requests, results, the end.
    Control = 0,
    /// Content and signatures.
    Data = 1,
}

macro_rules! tags {
    ($($(#[doc = $doc:literal])* $name:ident = $value:literal),* $(,)?) => {
        /// What a frame is. `0x0_` opens a connection, `0x1_` keeps it, `0x2_` and `0x3_` are
        /// the control lane, `0x4_` and `0x5_` the data lane.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(u8)]
        pub enum Tag { $($(#[doc = $doc])* $name = $value),* }

        impl Tag {
            fn from_wire(value: u8) -> Result<Self, ProtocolError> {
                match value {
                    $($value => Ok(Self::$name),)*
                    _ => Err(ProtocolError::Unknown { what: "a frame's tag", value: value.into() }),
                }
            }
        }
    };
}

tags! {
    /// Client: begins a session or joins one.
    Hello = 0x01,
    /// Server: the session, its limits, what it has received.
    Welcome = 0x02,
    /// Server: no, and why.
    Refused = 0x03,
    /// What has been received and consumed of one lane.
    Ack = 0x10,
    /// Nothing; the connection is alive.
    Ping = 0x11,
    /// Sender: part of a directory.
    Segment = 0x20,
    /// Sender: a directory outside of a segment: the root, or one that holds redos.
    Open = 0x21,
    /// Sender: everything has been listed.
    ListEnd = 0x22,
    /// Sender: the report has arrived.
    Goodbye = 0x23,
    /// Receiver: whole files are wanted.
    Want = 0x28,
    /// Receiver: a segment's entries and how each ended.
    Done = 0x29,
    /// Receiver: a path's outcome outside of a segment.
    Notice = 0x2a,
    /// Receiver: all is durable; the tally.
    Finished = 0x2b,
    /// Either: the run ends here, and why.
    Abort = 0x30,
    /// Sender: whole small files.
    Bundle = 0x40,
    /// Sender: bytes of a range.
    Literal = 0x41,
    /// Sender: bytes that the target's basis holds.
    Copy = 0x42,
    /// Sender: a hole.
    Hole = 0x43,
    /// Sender: a range is complete; its digest.
    RangeEnd = 0x44,
    /// Sender: a file cannot be given.
    Unsent = 0x45,
    /// Receiver: a file is wanted as differences from a basis.
    Signature = 0x50,
    /// Receiver: block sums of that basis.
    Sums = 0x51,
    /// Receiver: the signature is complete.
    SignatureEnd = 0x52,
}

impl Tag {
    /// The lane its messages are numbered in; `None` for what opens or keeps a connection.
    pub fn lane(self) -> Option<Lane> {
        match self as u8 {
            0x20..=0x3f => Some(Lane::Control),
            0x40..=0x5f => Some(Lane::Data),
            _ => None,
        }
    }
}

/// One frame on its way out: small fields, and content that is not copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Header and fields.
    pub head: Bytes,
    /// Bytes of a file, or nothing.
    pub body: Bytes,
}

impl Frame {
    /// A frame of `fields` alone.
    pub fn new(tag: Tag, fields: &[u8]) -> Self {
        Self::with_body(tag, fields, Bytes::new())
    }

    /// A frame of `fields` followed by `body`; together at most [`MAX_PAYLOAD`], which the
    /// makers of messages keep.
    pub fn with_body(tag: Tag, fields: &[u8], body: Bytes) -> Self {
        let len = fields.len() + body.len();
        debug_assert!(len <= MAX_PAYLOAD, "{tag:?} of {len} bytes");
        let mut head = BytesMut::with_capacity(HEADER_LEN + fields.len());
        head.put_u32_le((len as u32) << 8 | tag as u32);
        head.put_slice(fields);
        Self {
            head: head.freeze(),
            body,
        }
    }

    /// All bytes it takes on the wire.
    pub fn wire_len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Takes the next whole frame off the front of `input`; `None` until more has arrived.
///
/// # Errors
///
/// [`ProtocolError`] when the tag means nothing or the length is beyond its limit.
pub fn decode(input: &mut BytesMut) -> Result<Option<(Tag, Bytes)>, ProtocolError> {
    let Some((tag, len)) = peek(input)? else {
        return Ok(None);
    };
    if input.len() < HEADER_LEN + len {
        return Ok(None);
    }
    input.advance(HEADER_LEN);
    Ok(Some((tag, input.split_to(len).freeze())))
}

/// How many bytes are missing to the next whole frame in `input`: 0 when one is there.
///
/// # Errors
///
/// As [`decode`].
pub fn missing(input: &[u8]) -> Result<usize, ProtocolError> {
    match peek(input)? {
        Some((_, len)) => Ok((HEADER_LEN + len).saturating_sub(input.len())),
        None => Ok(HEADER_LEN - input.len()),
    }
}

fn peek(input: &[u8]) -> Result<Option<(Tag, usize)>, ProtocolError> {
    let Some(header) = input.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let word = u32::from_le_bytes(*header);
    let tag = Tag::from_wire(word as u8)?;
    let len = crate::cursor::within("a frame", u64::from(word >> 8), MAX_PAYLOAD as u64)?;
    Ok(Some((tag, len as usize)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frame_has_its_tag_first_and_its_length_in_three_bytes() {
        let frame = Frame::with_body(Tag::Literal, b"ab", Bytes::from_static(b"cde"));
        assert_eq!(&frame.head[..], b"\x41\x05\0\0ab");
        assert_eq!(frame.wire_len(), 9);
    }

    #[test]
    fn decode_refuses_what_is_too_long_before_it_arrives() {
        let mut input = BytesMut::from(&[0x41, 1, 0, 0x10][..]);
        assert!(matches!(
            decode(&mut input),
            Err(ProtocolError::Limit { .. })
        ));
        let mut input = BytesMut::from(&[0xee, 0, 0, 0][..]);
        assert!(matches!(
            decode(&mut input),
            Err(ProtocolError::Unknown { .. })
        ));
    }

    #[test]
    fn decode_is_indifferent_to_where_the_input_is_cut() {
        let mut whole = BytesMut::new();
        for (tag, text) in [
            (Tag::Ping, &b""[..]),
            (Tag::Want, b"abc"),
            (Tag::Goodbye, b""),
        ] {
            whole.extend_from_slice(&Frame::new(tag, text).head);
        }
        for cut in 0..=whole.len() {
            let (mut input, mut frames) = (BytesMut::new(), Vec::new());
            for piece in [&whole[..cut], &whole[cut..]] {
                input.extend_from_slice(piece);
                while let Some(frame) = decode(&mut input).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 3, "cut at byte {cut}");
            assert_eq!(frames[1], (Tag::Want, Bytes::from_static(b"abc")));
        }
    }

    proptest! {
        #[test]
        fn decode_never_panics(bytes: Vec<u8>) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut input) {}
        }
    }
}
