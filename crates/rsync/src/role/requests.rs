//! The generator's stream, as the sending side reads it: requests, block sums, the end.

use barge_delta::Checksum;
use bytes::BytesMut;

use crate::session::setup::Setup;
use crate::wire::flist::Format;
use crate::wire::item::Item;
use crate::wire::stats::DelStats;
use crate::wire::sums::SumHead;
use crate::{Options, WireError};

/// What comes on the generator's stream.
#[derive(Debug)]
pub enum Event {
    /// A request.
    Request(Request),
    /// `NDX_DONE`.
    Done,
    /// How much was deleted.
    DelStats(DelStats),
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub item: Item,
    /// Numbers of the extended attributes that are wanted.
    pub xattrs: Vec<u32>,
    /// Content is wanted. Sums follow, unless this appends to a file: take them off
    /// [`Requests::input`] with [`crate::wire::sums::SumsDecoder`] before the next poll.
    pub head: Option<SumHead>,
}

/// Reads the generator's stream.
#[derive(Debug)]
pub struct Requests {
    format: Format,
    checksum: Checksum,
    input: BytesMut,
}

impl Requests {
    /// Expects the first request of a run with these options (a server's as its client sent
    /// them) on a connection that agreed on `setup`.
    pub fn new(options: &Options, setup: &Setup) -> Self {
        Self {
            format: Format::new(options, setup),
            checksum: setup.checksum,
            input: BytesMut::new(),
        }
    }

    /// Takes bytes of the data stream; any split is fine.
    pub fn handle_data(&mut self, bytes: BytesMut) {
        crate::wire::cursor::append(&mut self.input, bytes);
    }

    /// What has come and is not polled: filter rules and names stand before the first request,
    /// sums behind a head.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Returns what comes next, or `None` until there is more.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol; nothing more may be read then.
    pub fn poll(&mut self) -> Result<Option<Event>, WireError> {
        todo!("{:?} {:?}", self.format, self.checksum)
    }
}
