//! The sender's stream, as the receiving side reads it: lists, answers, content, the end.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::fmt;
use std::sync::Arc;

use barge_delta::Checksum;
use bytes::{Bytes, BytesMut};

use super::phase::{ReceiverPhase, ReceiverStep};
use crate::session::setup::Setup;
use crate::wire::budget::Budget;
use crate::wire::cursor;
use crate::wire::entry::FileEntry;
use crate::wire::flist::{FlistDecoder, Format};
use crate::wire::iflags::ItemFlags;
use crate::wire::item::{Item, XattrList};
use crate::wire::list::{Directories, List, Lists};
use crate::wire::ndx::{DirIndex, FileIndex, Ndx, NdxReader};
use crate::wire::stats::{DelStats, Statistics};
use crate::wire::sums::SumHead;
use crate::wire::token::{Token, TokenDecoder};
use crate::{Options, WireError};

/// What comes on the sender's stream.
#[derive(Debug)]
pub enum Event {
    /// A list is whole.
    List(Arc<List>),
    /// There will be no more lists: told once, also of a transfer with one list only.
    ListsEnd,
    /// The answer to a request, if there was one: whether this was asked for
    /// is the receiver's to check.
    Answer(Answer),
    /// The next piece of the content of the last answer, which has a head.
    Token(Token),
    /// The oldest list is done at the sender: its indexes are dead, unless it is the only one
    /// there is and lists are not incremental.
    ListDone,
    /// The sender is through with everything that may be asked for again.
    RedoDone,
    /// The sender knows that delayed updates are through.
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
    /// The list that the item's index is of.
    pub list: Arc<List>,
    /// Numbers and values of the extended attributes that were asked for; no value is longer than
    /// 16 MiB.
    pub xattrs: Vec<(u32, Bytes)>,
    /// Content follows, of which this is the head.
    pub head: Option<SumHead>,
}

/// Reads the sender's stream.
pub struct Incoming {
    format: Format,
    checksum: Checksum,
    input: BytesMut,
    /// Bytes of the data stream that came, those in `input` included.
    came: u64,
    /// A server sends: it adds statistics.
    has_statistics: bool,
    ndx: NdxReader,
    flist: FlistDecoder,
    tokens: TokenDecoder,
    dirs: Directories,
    lists: Lists,
    /// The index of the next list's first entry.
    next_start: u32,
    /// More lists will come.
    more: bool,
    phase: ReceiverPhase,
    stage: Stage,
    xattrs: XattrList,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    List,
    /// Nothing: the end of lists is to be told.
    ListsEnd,
    Index,
    Item(FileIndex),
    Xattrs(Item),
    Head(Item, Vec<(u32, Bytes)>),
    Tokens,
    Statistics,
    DelStats,
    /// Nothing: the end is to be told.
    End,
    Over,
}

impl Incoming {
    /// Expects the first list of a run with these options (a server's as its client sent them)
    /// on a connection that agreed on `setup`. What the sender makes this side hold is of `budget`.
    pub fn new(options: &Options, setup: &Setup, budget: Budget) -> Self {
        let format = Format::new(options, setup);
        let mut flist = FlistDecoder::new(format, budget);
        flist.begin(format.first_index(), None);
        let protocol = setup.protocol;
        Self {
            format,
            checksum: setup.checksum,
            input: BytesMut::new(),
            came: 0,
            has_statistics: !options.server,
            ndx: NdxReader::default(),
            flist,
            tokens: TokenDecoder::new(setup.compression, protocol.get(), setup.checksum),
            dirs: Directories::default(),
            lists: Lists::default(),
            next_start: 0,
            more: format.incremental,
            phase: ReceiverPhase::new(protocol, format.incremental),
            stage: Stage::List,
            xattrs: XattrList::default(),
        }
    }

    /// Takes bytes of the data stream; any split is fine. Without a copy when everything is
    /// polled.
    pub fn handle_data(&mut self, bytes: BytesMut) {
        self.came += bytes.len() as u64;
        cursor::append(&mut self.input, bytes);
    }

    /// Returns what comes next, or `None` until there is more.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol; nothing more may be read then.
    pub fn poll(&mut self) -> Result<Option<Event>, WireError> {
        let mut input = std::mem::take(&mut self.input);
        let polled = self.poll_from(&mut input);
        self.input = input;
        polled
    }

    /// How many entries have come, of all lists.
    pub fn entries(&self) -> u64 {
        self.flist.entries()
    }

    /// Whether the bytes of matched blocks must be given back before the next poll.
    pub fn wants_matched(&self) -> bool {
        self.tokens.wants_matched()
    }

    /// Takes the bytes of a matched block: see [`TokenDecoder::matched`].
    pub fn matched(&mut self, block: &[u8]) {
        self.tokens.matched(block);
    }

    /// Bytes of the data stream that the events so far were made of.
    pub fn consumed(&self) -> u64 {
        self.came - self.input.len() as u64
    }

    fn poll_from(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WireError> {
        loop {
            match self.step(input)? {
                Step::Event(event) => return Ok(Some(event)),
                Step::Stage(stage) => self.stage = stage,
                Step::Wait(stage) => {
                    self.stage = stage;
                    return Ok(None);
                }
            }
        }
    }

    /// Reads one thing. The stage is [`Stage::Index`] afterwards, if nothing else is said.
    fn step(&mut self, input: &mut BytesMut) -> Result<Step, WireError> {
        match std::mem::replace(&mut self.stage, Stage::Index) {
            Stage::List => self.list(input),
            Stage::ListsEnd => Ok(Step::Event(Event::ListsEnd)),
            Stage::Index => self.index(input),
            Stage::Item(index) => self.item(input, index),
            Stage::Xattrs(item) => self.values(input, item),
            Stage::Head(item, xattrs) => self.head(input, item, xattrs),
            Stage::Tokens => self.token(input),
            Stage::Statistics => self.statistics(input),
            Stage::DelStats => Ok(match cursor::read(input, DelStats::read)? {
                Some(counts) => Step::Event(Event::DelStats(counts)),
                None => Step::Wait(Stage::DelStats),
            }),
            Stage::End => {
                self.stage = Stage::Over;
                Ok(Step::Event(Event::End))
            }
            Stage::Over => Ok(Step::Wait(Stage::Over)),
        }
    }

    fn list(&mut self, input: &mut BytesMut) -> Result<Step, WireError> {
        let Some(list) = self.flist.poll(input)? else {
            return Ok(Step::Wait(Stage::List));
        };
        let list = Arc::new(list);
        self.next_start = list.range().end + 1;
        self.lists.push(Arc::clone(&list));
        if self.format.incremental {
            self.dirs.add(&list, self.flist.budget())?;
        } else {
            self.stage = Stage::ListsEnd;
        }
        Ok(Step::Event(Event::List(list)))
    }

    fn index(&mut self, input: &mut BytesMut) -> Result<Step, WireError> {
        match cursor::read(input, |reader| self.ndx.read(reader))? {
            None => Ok(Step::Wait(Stage::Index)),
            Some(Ndx::Done) => self.done(),
            Some(Ndx::File(index)) => Ok(Step::Stage(Stage::Item(index))),
            Some(Ndx::DelStats) => Ok(Step::Stage(Stage::DelStats)),
            Some(Ndx::List(dir)) => self.begin_list(dir),
            Some(Ndx::ListsEnd) if self.more => {
                self.more = false;
                Ok(Step::Event(Event::ListsEnd))
            }
            Some(Ndx::ListsEnd) => Err(WireError::Protocol("a second end of lists")),
        }
    }

    fn begin_list(&mut self, dir: DirIndex) -> Result<Step, WireError> {
        if !self.more || self.lists.is_empty() {
            return Err(WireError::Protocol("a list after the last one"));
        }
        let start = FileIndex::new(self.next_start).ok_or(WireError::Limit("entries"))?;
        let dir = self.dirs.take(dir, self.flist.budget())?;
        self.flist.begin(start, Some(dir));
        Ok(Step::Stage(Stage::List))
    }

    fn done(&mut self) -> Result<Step, WireError> {
        Ok(Step::Event(
            match self.phase.done(self.lists.len(), self.more)? {
                ReceiverStep::ListDone => {
                    if self.format.incremental {
                        let freed = self.lists.free_oldest();
                        let held = freed.map_or(0, |list| list.held());
                        self.flist.budget().release(held);
                    }
                    Event::ListDone
                }
                ReceiverStep::RedoDone => Event::RedoDone,
                ReceiverStep::UpdatesDone => {
                    self.stage = match (self.has_statistics, self.phase.is_over()) {
                        (true, _) => Stage::Statistics,
                        (false, true) => Stage::End,
                        (false, false) => Stage::Index,
                    };
                    Event::UpdatesDone
                }
                ReceiverStep::End => {
                    self.stage = Stage::Over;
                    Event::End
                }
            },
        ))
    }

    fn item(&mut self, input: &mut BytesMut, index: FileIndex) -> Result<Step, WireError> {
        let Some(item) = cursor::read(input, |reader| Item::read(reader, index))? else {
            return Ok(Step::Wait(Stage::Item(index)));
        };
        self.check(&item)?;
        Ok(Step::Stage(match item.has_xattrs(&self.format) {
            true => Stage::Xattrs(item),
            false => Stage::Head(item, Vec::new()),
        }))
    }

    /// The values of attributes that were asked for, which are kept to the end: other entries may
    /// have the same.
    fn values(&mut self, input: &mut BytesMut, item: Item) -> Result<Step, WireError> {
        let Some(values) = self.xattrs.poll_answer(input)? else {
            return Ok(Step::Wait(Stage::Xattrs(item)));
        };
        let held = values.iter().map(|(_, value)| value.len()).sum();
        let budget = self.flist.budget();
        budget.hold(held, "values of extended attributes")?;
        Ok(Step::Stage(Stage::Head(item, values)))
    }

    /// Refuses answers that nobody can have asked for.
    fn check(&self, item: &Item) -> Result<(), WireError> {
        if !self.phase.may_answer() {
            return Err(WireError::Protocol("an answer after the last one"));
        }
        let found = self.lists.find(item.index)?;
        let is_wrong = !found.entry.is_file() || !self.phase.may_transfer();
        if item.flags.has(ItemFlags::TRANSFER) && is_wrong {
            return Err(WireError::Protocol("content of what can have none"));
        }
        Ok(())
    }

    fn head(
        &mut self,
        input: &mut BytesMut,
        item: Item,
        xattrs: Vec<(u32, Bytes)>,
    ) -> Result<Step, WireError> {
        let head = match item.has_content(&self.format) {
            false => None,
            true => match super::head(input, self.checksum)? {
                None => return Ok(Step::Wait(Stage::Head(item, xattrs))),
                head => head,
            },
        };
        if let Some(head) = &head {
            self.tokens.begin(head);
            self.stage = Stage::Tokens;
        }
        let list = Arc::clone(self.lists.find(item.index)?.list);
        Ok(Step::Event(Event::Answer(Answer {
            item,
            list,
            xattrs,
            head,
        })))
    }

    fn token(&mut self, input: &mut BytesMut) -> Result<Step, WireError> {
        let Some(token) = self.tokens.poll(input)? else {
            return Ok(Step::Wait(Stage::Tokens));
        };
        if !matches!(token, Token::End(_)) {
            self.stage = Stage::Tokens;
        }
        Ok(Step::Event(Event::Token(token)))
    }

    fn statistics(&mut self, input: &mut BytesMut) -> Result<Step, WireError> {
        let Some(statistics) = cursor::read(input, Statistics::read)? else {
            return Ok(Step::Wait(Stage::Statistics));
        };
        if self.phase.is_over() {
            self.stage = Stage::End;
        }
        Ok(Step::Event(Event::Statistics(statistics)))
    }
}

/// What a step leads to.
enum Step {
    Event(Event),
    Stage(Stage),
    /// More must come, at this stage.
    Wait(Stage),
}

impl Answer {
    /// The entry that the item is about: of the list, or the list's directory.
    pub fn entry(&self) -> Option<&FileEntry> {
        let parent = || self.list.parent().map(|parent| &**parent);
        match self.item.index < self.list.start() {
            true => parent(),
            false => self.list.get(self.item.index),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("phase", &self.phase)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
