//! The data lane: content one way, signatures the other.

use barge_delta::BlockSum;
use barge_types::Failure;
use bytes::{BufMut, Bytes, BytesMut};

use crate::ProtocolError;
use crate::control::{SegmentId, failure, put_failure};
use crate::cursor::Reader;
use crate::frame::{Frame, Tag};

/// The longest file that travels in a bundle; longer ones go in ranges.
pub const MAX_BUNDLED: usize = 256 << 10;

/// The most bytes of content in one frame.
pub const MAX_LITERAL: usize = 256 << 10;

/// The most block sums in one frame.
pub const MAX_SUMS: usize = 8192;

const RECORD_FIXED: usize = 4 + 2 + 4 + 16;
const SUM_LEN: usize = 4 + 16;

/// A regular file of a segment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileRef {
    /// The segment.
    pub segment: SegmentId,
    /// Its place in it.
    pub index: u16,
}

/// A whole small file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Which.
    pub file: FileRef,
    /// Digest of its bytes.
    pub digest: u128,
    /// At most [`MAX_BUNDLED`] bytes.
    pub bytes: Bytes,
}

/// Why a file is not given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unsent {
    /// It changed since it was listed, or while it was read.
    Changed,
    /// It could not be read.
    Failed(Failure),
}

/// A message of the data lane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// Whole small files.
    Bundle(Vec<Record>),
    /// The next bytes of a range.
    Literal {
        /// Of which file.
        file: FileRef,
        /// Which range of it.
        range: u32,
        /// At most [`MAX_LITERAL`] bytes.
        bytes: Bytes,
    },
    /// The next bytes of a range are those of the basis at an offset.
    Copy {
        /// Of which file.
        file: FileRef,
        /// Which range of it.
        range: u32,
        /// Where in the basis.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// The next bytes of a range are a hole.
    Hole {
        /// Of which file.
        file: FileRef,
        /// Which range of it.
        range: u32,
        /// How many.
        len: u64,
    },
    /// A range is complete.
    RangeEnd {
        /// Of which file.
        file: FileRef,
        /// Which range of it.
        range: u32,
        /// Digest of the range: of each run of data between holes its offset in the file (`u64`)
        /// and its bytes; XXH3-128 with the session's seed.
        digest: u128,
    },
    /// A file is not given.
    Unsent {
        /// Which.
        file: FileRef,
        /// Why.
        why: Unsent,
    },
    /// Receiver: a file is wanted as differences from a basis, whose block sums follow.
    Signature {
        /// Which.
        file: FileRef,
        /// Length of the basis in bytes.
        basis_len: u64,
        /// Length of a block in bytes.
        block_len: u32,
        /// The basis is written into: only blocks that stay at their offset may be copied.
        in_place: bool,
    },
    /// Receiver: block sums of a basis.
    Sums {
        /// Of which file.
        file: FileRef,
        /// The number of the first block.
        first: u32,
        /// Its sums and those of the blocks after it; at most [`MAX_SUMS`].
        sums: Vec<BlockSum>,
    },
    /// Receiver: the signature is complete.
    SignatureEnd {
        /// Of which file.
        file: FileRef,
    },
}

impl Content {
    /// The frame. Content itself is not copied.
    pub fn encode(&self) -> Frame {
        let mut out = BytesMut::with_capacity(40);
        let tag = match self {
            Self::Bundle(records) => {
                let mut bundle = BundleEncoder::default();
                records
                    .iter()
                    .for_each(|r| bundle.push(r.file, r.digest, &r.bytes));
                return bundle.finish();
            }
            Self::Literal { file, range, bytes } => {
                put_range(&mut out, *file, *range);
                return Frame::with_body(Tag::Literal, &out, bytes.clone());
            }
            Self::Copy {
                file,
                range,
                offset,
                len,
            } => {
                put_range(&mut out, *file, *range);
                out.put_u64_le(*offset);
                out.put_u64_le(*len);
                Tag::Copy
            }
            Self::Hole { file, range, len } => {
                put_range(&mut out, *file, *range);
                out.put_u64_le(*len);
                Tag::Hole
            }
            Self::RangeEnd {
                file,
                range,
                digest,
            } => {
                put_range(&mut out, *file, *range);
                out.put_u128_le(*digest);
                Tag::RangeEnd
            }
            Self::Unsent { file, why } => {
                put_file(&mut out, *file);
                out.put_u8(matches!(why, Unsent::Failed(_)).into());
                if let Unsent::Failed(failure) = why {
                    put_failure(&mut out, failure);
                }
                Tag::Unsent
            }
            Self::Signature {
                file,
                basis_len,
                block_len,
                in_place,
            } => {
                put_file(&mut out, *file);
                out.put_u64_le(*basis_len);
                out.put_u32_le(*block_len);
                out.put_u8((*in_place).into());
                Tag::Signature
            }
            Self::Sums { file, first, sums } => {
                out.reserve(sums.len() * SUM_LEN);
                put_range(&mut out, *file, *first);
                for sum in sums {
                    out.put_u32_le(sum.weak);
                    out.put_u128_le(sum.strong);
                }
                Tag::Sums
            }
            Self::SignatureEnd { file } => {
                put_file(&mut out, *file);
                Tag::SignatureEnd
            }
        };
        Frame::new(tag, &out)
    }

    /// Reads a message of the data lane. Content is not copied.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when a field is beyond its limit.
    pub fn decode(tag: Tag, payload: Bytes) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(payload);
        let message = match tag {
            Tag::Bundle => return Ok(Self::Bundle(records(fields)?)),
            Tag::Literal => {
                let (file, range) = range_ref(&mut fields)?;
                return Ok(Self::Literal {
                    file,
                    range,
                    bytes: literal(fields)?,
                });
            }
            Tag::Sums => {
                let (file, first) = range_ref(&mut fields)?;
                return Ok(Self::Sums {
                    file,
                    first,
                    sums: sums(fields)?,
                });
            }
            Tag::Copy => {
                let (file, range) = range_ref(&mut fields)?;
                let offset = fields.u64("an offset")?;
                Self::Copy {
                    file,
                    range,
                    offset,
                    len: fields.u64("a length")?,
                }
            }
            Tag::Hole => {
                let (file, range) = range_ref(&mut fields)?;
                Self::Hole {
                    file,
                    range,
                    len: fields.u64("a length")?,
                }
            }
            Tag::RangeEnd => {
                let (file, range) = range_ref(&mut fields)?;
                Self::RangeEnd {
                    file,
                    range,
                    digest: fields.u128("a digest")?,
                }
            }
            Tag::Unsent => {
                let file = file_ref(&mut fields)?;
                let why = match fields.flag("a reason")? {
                    false => Unsent::Changed,
                    true => Unsent::Failed(failure(&mut fields)?),
                };
                Self::Unsent { file, why }
            }
            Tag::Signature => Self::Signature {
                file: file_ref(&mut fields)?,
                basis_len: fields.u64("a basis")?,
                block_len: fields.u32("a block length")?,
                in_place: fields.flag("a flag")?,
            },
            Tag::SignatureEnd => Self::SignatureEnd {
                file: file_ref(&mut fields)?,
            },
            _ => return Err(ProtocolError::Order("a message")),
        };
        fields.end()?;
        Ok(message)
    }
}

/// Builds a bundle file by file, so that its length is known before it is full.
#[derive(Debug, Default)]
pub struct BundleEncoder {
    fields: BytesMut,
    content_len: u64,
}

impl BundleEncoder {
    /// Adds a file of at most [`MAX_BUNDLED`] bytes.
    pub fn push(&mut self, file: FileRef, digest: u128, bytes: &[u8]) {
        self.fields.reserve(RECORD_FIXED + bytes.len());
        put_file(&mut self.fields, file);
        self.fields.put_u32_le(bytes.len() as u32);
        self.fields.put_u128_le(digest);
        self.fields.put_slice(bytes);
        self.content_len += bytes.len() as u64;
    }

    /// Bytes of the files in it.
    pub fn content_len(&self) -> u64 {
        self.content_len
    }

    /// Whether no file is in it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The frame.
    pub fn finish(self) -> Frame {
        Frame::with_body(Tag::Bundle, &[], self.fields.freeze())
    }
}

fn records(mut fields: Reader) -> Result<Vec<Record>, ProtocolError> {
    let mut records = Vec::new();
    while fields.remaining() > 0 {
        let file = file_ref(&mut fields)?;
        let len = fields.u32("a file's length")?;
        crate::cursor::within("a bundled file", len.into(), MAX_BUNDLED as u64)?;
        let digest = fields.u128("a digest")?;
        let bytes = fields.bytes("a file", len as usize)?;
        records.push(Record {
            file,
            digest,
            bytes,
        });
    }
    Ok(records)
}

fn literal(fields: Reader) -> Result<Bytes, ProtocolError> {
    let bytes = fields.rest();
    crate::cursor::within("a literal", bytes.len() as u64, MAX_LITERAL as u64)?;
    Ok(bytes)
}

fn sums(mut fields: Reader) -> Result<Vec<BlockSum>, ProtocolError> {
    let count = fields.remaining() / SUM_LEN;
    crate::cursor::within("block sums", count as u64, MAX_SUMS as u64)?;
    let mut sums = Vec::with_capacity(count);
    for _ in 0..count {
        let weak = fields.u32("a block sum")?;
        sums.push(BlockSum {
            weak,
            strong: fields.u128("a block sum")?,
        });
    }
    fields.end()?;
    Ok(sums)
}

fn put_file(out: &mut BytesMut, file: FileRef) {
    out.put_u32_le(file.segment.0);
    out.put_u16_le(file.index);
}

fn put_range(out: &mut BytesMut, file: FileRef, range: u32) {
    put_file(out, file);
    out.put_u32_le(range);
}

fn file_ref(fields: &mut Reader) -> Result<FileRef, ProtocolError> {
    let segment = SegmentId(fields.u32("a segment")?);
    Ok(FileRef {
        segment,
        index: fields.u16("an index")?,
    })
}

fn range_ref(fields: &mut Reader) -> Result<(FileRef, u32), ProtocolError> {
    Ok((file_ref(fields)?, fields.u32("a range")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{failure, payload};

    fn contents() -> Vec<Content> {
        let file = FileRef {
            segment: SegmentId(7),
            index: 65535,
        };
        let range = 3;
        let bytes = Bytes::from_static(b"content");
        let record = |len: usize| Record {
            file,
            digest: 5,
            bytes: bytes.slice(..len),
        };
        vec![
            Content::Bundle(vec![record(7), record(0), record(3)]),
            Content::Literal {
                file,
                range,
                bytes: bytes.clone(),
            },
            Content::Copy {
                file,
                range,
                offset: u64::MAX,
                len: 9,
            },
            Content::Hole {
                file,
                range,
                len: 1 << 40,
            },
            Content::RangeEnd {
                file,
                range,
                digest: u128::MAX,
            },
            Content::Unsent {
                file,
                why: Unsent::Changed,
            },
            Content::Unsent {
                file,
                why: Unsent::Failed(failure()),
            },
            Content::Signature {
                file,
                basis_len: 1,
                block_len: 4096,
                in_place: true,
            },
            Content::Sums {
                file,
                first: 2,
                sums: vec![BlockSum { weak: 1, strong: 2 }; 3],
            },
            Content::SignatureEnd { file },
        ]
    }

    fn split(frame: &Frame) -> (Tag, Bytes) {
        let mut input = BytesMut::from(&frame.head[..]);
        input.extend_from_slice(&frame.body);
        crate::frame::decode(&mut input).unwrap().unwrap()
    }

    #[test]
    fn every_message_comes_back_as_it_went() {
        for message in contents() {
            let (tag, payload) = split(&message.encode());
            assert_eq!(Content::decode(tag, payload), Ok(message));
        }
    }

    #[test]
    fn what_exceeds_its_limit_is_refused() {
        let file = FileRef {
            segment: SegmentId(0),
            index: 0,
        };
        let long = Bytes::from(vec![0; MAX_LITERAL + 1]);
        let (tag, payload) = split(
            &Content::Literal {
                file,
                range: 0,
                bytes: long,
            }
            .encode(),
        );
        assert!(Content::decode(tag, payload).is_err());
        let sums = vec![BlockSum { weak: 0, strong: 0 }; MAX_SUMS + 1];
        let (tag, payload) = split(
            &Content::Sums {
                file,
                first: 0,
                sums,
            }
            .encode(),
        );
        assert!(Content::decode(tag, payload).is_err());
    }

    proptest! {
        #[test]
        fn no_payload_makes_decode_panic(payload in payload()) {
            for message in contents() {
                let _ = Content::decode(split(&message.encode()).0, payload.clone());
            }
        }
    }
}
