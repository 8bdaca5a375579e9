//! What a target of ours says to a source of ours, before its list and at the end.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::WireError;

/// The longest text of a refusal, in bytes.
pub const MAX_TEXT: usize = 1024;

/// The byte by which a source says that it knows that the target is done.
pub const FAREWELL: u8 = 6;

/// A word of the target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The list follows.
    Ready,
    /// It will not be written, or was not written to its end.
    Refused(String),
    /// All is written and on the disk.
    Done {
        /// The digest that the source ended with.
        digest: [u8; 32],
    },
}

impl Verdict {
    /// Its bytes. Of a longer text than [`MAX_TEXT`] the beginning.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Ready => bytes.put_slice(READY),
            Self::Refused(text) => {
                let text = &text.as_bytes()[..text.len().min(MAX_TEXT)];
                bytes.put_slice(REFUSED);
                bytes.put_u16_le(text.len() as u16);
                bytes.put_slice(text);
            }
            Self::Done { digest } => {
                bytes.put_slice(DONE);
                bytes.put_slice(digest);
            }
        }
        bytes.freeze()
    }

    /// Takes a verdict off the front of `input`, or `None` until all of it has arrived.
    ///
    /// # Errors
    ///
    /// [`WireError`] when it is none.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(word) = input.first_chunk::<WORD_LEN>() else {
            return Ok(None);
        };
        let word = *word;
        let body = &input[WORD_LEN..];
        let (len, verdict) = match &word {
            READY => (0, Self::Ready),
            DONE => {
                let Some(digest) = body.first_chunk() else {
                    return Ok(None);
                };
                (digest.len(), Self::Done { digest: *digest })
            }
            REFUSED => {
                let Some(len) = body.first_chunk() else {
                    return Ok(None);
                };
                let len = usize::from(u16::from_le_bytes(*len));
                if len > MAX_TEXT {
                    let text = format!("a refusal of {len} bytes");
                    return Err(WireError::Damaged(text));
                }
                let Some(text) = body.get(2..2 + len) else {
                    return Ok(None);
                };
                // It is for a log or a terminal, which must not obey it.
                let shown = |c: char| {
                    if c.is_control() {
                        char::REPLACEMENT_CHARACTER
                    } else {
                        c
                    }
                };
                let text = String::from_utf8_lossy(text).chars().map(shown).collect();
                (2 + len, Self::Refused(text))
            }
            _ => return Err(WireError::Damaged("no word of a target's".to_owned())),
        };
        input.advance(WORD_LEN + len);
        Ok(Some(verdict))
    }
}

/// How long the last words of a target are that is done.
pub(crate) const DONE_LEN: usize = WORD_LEN + 32;

const WORD_LEN: usize = 16;
const READY: &[u8; WORD_LEN] = b"barge block list";
const REFUSED: &[u8; WORD_LEN] = b"barge block fail";
pub(crate) const DONE: &[u8; WORD_LEN] = b"barge block done";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn verdict_is_read_again_wherever_it_is_cut() {
        for verdict in [
            Verdict::Ready,
            Verdict::Refused("no space".to_owned()),
            Verdict::Refused(String::new()),
            Verdict::Done { digest: [9; 32] },
        ] {
            let bytes = verdict.encode();
            for cut in 0..bytes.len() {
                let mut input = BytesMut::from(&bytes[..cut]);
                assert_eq!(Verdict::decode(&mut input), Ok(None), "{verdict:?} {cut}");
            }
            let mut input = BytesMut::from(&[&bytes[..], b"more"].concat()[..]);
            assert_eq!(Verdict::decode(&mut input), Ok(Some(verdict)));
            assert_eq!(input, &b"more"[..]);
        }
    }

    #[test]
    fn too_long_a_text_is_cut_by_who_says_it_and_refused_by_who_hears_it() {
        let text = "x".repeat(MAX_TEXT + 1);
        let said = Verdict::Refused(text).encode();
        assert_eq!(said.len(), WORD_LEN + 2 + MAX_TEXT);
        let mut input = BytesMut::from(&b"barge block fail\x01\x04"[..]);
        assert!(Verdict::decode(&mut input).is_err());
    }

    #[test]
    fn terminal_hears_no_orders_in_a_refusal() {
        let said = Verdict::Refused("no\x1b[2J\nspace\u{9b}".to_owned()).encode();
        let heard = Verdict::decode(&mut BytesMut::from(&said[..]))
            .unwrap()
            .unwrap();
        let expected = "no\u{fffd}[2J\u{fffd}space\u{fffd}";
        assert_eq!(heard, Verdict::Refused(expected.to_owned()));
    }

    proptest! {
        #[test]
        fn decode_never_panics(bytes: Vec<u8>) {
            let _ = Verdict::decode(&mut BytesMut::from(&bytes[..]));
            let refused = [REFUSED, &bytes[..]].concat();
            let _ = Verdict::decode(&mut BytesMut::from(&refused[..]));
        }
    }
}
