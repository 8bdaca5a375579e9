//! The sender's stream, as the receiving side reads it: lists, items, content, the end.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::session::setup::Setup;
use crate::wire::flist::Format;
use crate::wire::item::Item;
use crate::wire::list::List;
use crate::wire::stats::{DelStats, Statistics};
use crate::wire::sums::SumHead;
use crate::wire::token::Token;
use crate::{Options, WireError};

/// What comes on the sender's stream.
#[derive(Debug)]
pub enum Event {
    /// A list is whole.
    List(Arc<List>),
    /// There will be no more lists: told once, also of a transfer with one list only.
    ListsEnd,
    /// The answer to a request.
    Answer(Answer),
    /// The next piece of the content of the last answer that has a head.
    Token(Token),
    /// The oldest list is done at the sender; told of all lists, the last included.
    ListDone,
    /// The sender is through with everything that may be asked for again.
    RedoDone,
    /// The sender answers the end of delayed updates.
    UpdatesDone,
    /// What a sending server tells its client.
    Statistics(Statistics),
    /// What the sending server was told of deletions.
    DelStats(DelStats),
    /// Nothing more will come: the goodbye is due, and then the end of the stream.
    End,
}

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The request, repeated.
    pub item: Item,
    /// Numbers and values of the extended attributes that were asked for.
    pub xattrs: Vec<(u32, Bytes)>,
    /// Content follows, of which this is the head.
    pub head: Option<SumHead>,
}

/// Reads the sender's stream.
#[derive(Debug)]
pub struct Incoming {
    format: Format,
    setup: Setup,
    input: BytesMut,
}

impl Incoming {
    /// Expects the first list of a run with these options (a server's as its client sent them)
    /// on a connection that agreed on `setup`.
    pub fn new(options: &Options, setup: &Setup) -> Self {
        Self {
            format: Format::new(options, setup),
            setup: *setup,
            input: BytesMut::new(),
        }
    }

    /// Takes bytes of the data stream; any split is fine. Without a copy when everything is
    /// polled.
    pub fn handle_data(&mut self, bytes: BytesMut) {
        crate::wire::cursor::append(&mut self.input, bytes);
    }

    /// Returns what comes next, or `None` until there is more.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol; nothing more may be read then.
    pub fn poll(&mut self) -> Result<Option<Event>, WireError> {
        todo!("{:?} {:?}", self.format, self.setup)
    }

    /// How many entries have come, of all lists.
    pub fn entries(&self) -> u64 {
        todo!()
    }

    /// The bytes of matched blocks, where [`Self::wants_matched`]: see
    /// [`crate::wire::token::TokenDecoder::matched`].
    pub fn matched(&mut self, _block: &[u8]) {}

    /// Whether the bytes of matched blocks must be given back.
    pub fn wants_matched(&self) -> bool {
        false
    }
}
