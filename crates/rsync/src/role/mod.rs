//! The streams between generator, sender and receiver, and what may come on them when.

pub mod incoming;
pub mod phase;
pub mod requests;

use barge_delta::Checksum;
use bytes::BytesMut;

use crate::WireError;
use crate::wire::cursor::{self, Stop};
use crate::wire::sums::SumHead;

/// Reads the head of a content; `None` when it is not whole.
fn head(input: &mut BytesMut, checksum: Checksum) -> Result<Option<SumHead>, WireError> {
    cursor::read(input, |reader| {
        SumHead::decode(&reader.array()?, checksum).map_err(Stop::Bad)
    })
}
