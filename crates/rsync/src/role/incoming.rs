//! The sender's stream, as the receiving side reads it: lists, answers, content, the end.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use std::fmt;
use std::sync::Arc;

use barge_delta::Checksum;
use bytes::{Bytes, BytesMut};

use super::phase::{ReceiverPhase, ReceiverStep};
use crate::session::setup::Setup;
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
    /// on a connection that agreed on `setup`.
    pub fn new(options: &Options, setup: &Setup) -> Self {
        let format = Format::new(options, setup);
        let mut flist = FlistDecoder::new(format);
        flist.begin(format.first_index(), None);
        let protocol = setup.protocol;
        Self {
            format,
            checksum: setup.checksum,
            input: BytesMut::new(),
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
            Stage::Xattrs(item) => Ok(match self.xattrs.poll_answer(input)? {
                Some(values) => Step::Stage(Stage::Head(item, values)),
                None => Step::Wait(Stage::Xattrs(item)),
            }),
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
            self.dirs.add(&list);
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
        self.flist.begin(start, Some(self.dirs.take(dir)?));
        Ok(Step::Stage(Stage::List))
    }

    fn done(&mut self) -> Result<Step, WireError> {
        Ok(Step::Event(
            match self.phase.done(self.lists.len(), self.more)? {
                ReceiverStep::ListDone => {
                    if self.format.incremental {
                        self.lists.free_oldest();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolVersion;
    use crate::session::setup::CompatFlags;
    use crate::wire::token::Compression;

    fn setup(compat: u32) -> Setup {
        Setup {
            protocol: ProtocolVersion::NEWEST,
            compat: CompatFlags::from_bits(compat),
            checksum: Checksum::Xxh128,
            list_checksum: Checksum::Xxh128,
            compression: Compression::None,
            seed: 1,
        }
    }

    /// `-a`; the client receives.
    fn options() -> Options {
        Options {
            recursive: true,
            links: true,
            perms: true,
            times: true,
            owner: true,
            group: true,
            devices: true,
            specials: true,
            ..Options::default()
        }
    }

    const INCREMENTAL: u32 = 0x1ff;
    const WHOLE: u32 = 0x1fe;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// What came, a word each; literals that were cut are one.
    fn words(options: &Options, compat: u32, pieces: &[&[u8]]) -> Result<Vec<String>, WireError> {
        let mut incoming = Incoming::new(options, &setup(compat));
        let mut words: Vec<String> = Vec::new();
        let mut literal = 0;
        for piece in pieces {
            incoming.handle_data(BytesMut::from(*piece));
            while let Some(event) = incoming.poll()? {
                let word = match event {
                    Event::Token(Token::Literal(bytes)) => {
                        literal += bytes.len();
                        continue;
                    }
                    Event::Token(Token::Blocks { first, count }) => format!("{first}+{count}"),
                    Event::Token(Token::End(_)) => {
                        format!("{} bytes", std::mem::take(&mut literal))
                    }
                    Event::List(list) => {
                        format!("list of {} at {}", list.len(), list.start().get())
                    }
                    Event::Answer(answer) => {
                        let path = answer.entry().unwrap().path.to_vec();
                        let path = String::from_utf8(path).unwrap();
                        let (index, flags) = (answer.item.index.get(), answer.item.flags.bits());
                        let xattrs = answer.xattrs.len();
                        format!("{index} {flags:04x} {path} {xattrs}")
                    }
                    other => format!("{other:?}"),
                };
                words.push(word);
            }
        }
        Ok(words)
    }

    /// rsync 3.5.0 pushing a small tree, `-av`, to a daemon: the sender's data stream.
    const PUSH: &str = "
        8c01 01 2e 000010 65257d93 ed410000 00 04 726f6f74 00 04 726f6f74
        8098 04 6c696e6b 000500 ffa10000 05 612e747874
        8098 03 737562 000010 ed410000
        a098 05 612e747874 000c00 e715cd5b a4810000
        00 00
        ff65
        809a 09 7375622f622e62696e 00b80b
        00 00
        fffe80020000
        01 0060
        02 00a0 00000000 00000000 00000000 00000000
          0c000000 68656c6c6f20776f726c640a 00000000 254448a533e7b23613cd0071d8c9faee
        01 0260
        02 0060
        01 00a0 00000000 00000000 00000000 00000000
          03000000 787878 00000000 00000000000000000000000000000000
        00 00 00 00 00";

    #[test]
    fn a_recorded_stream_is_what_its_sender_meant_wherever_it_is_cut() {
        let server = Options {
            server: true,
            ..options()
        };
        let bytes = hex(PUSH);
        let whole = words(&server, INCREMENTAL, &[&bytes]).unwrap();
        assert_eq!(
            whole,
            [
                "list of 4 at 1",
                "list of 1 at 6",
                "ListsEnd",
                "0 6000 . 0",
                "2 a000 a.txt 0",
                "12 bytes",
                "3 6002 link 0",
                "5 6000 sub 0",
                "6 a000 sub/b.bin 0",
                "3 bytes",
                "ListDone",
                "ListDone",
                "RedoDone",
                "UpdatesDone",
                "End",
            ]
        );
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let cut_words = words(&server, INCREMENTAL, &[a, b]).unwrap();
            assert_eq!(cut_words, whole, "cut at byte {cut}");
        }
    }

    /// A list of one directory and one file, without owners.
    const LIST: &str = "
        18 01 64 000010 65257d93 ed410000
        8098 01 66 000c00 a4810000
        00 00";

    fn plain() -> Options {
        Options {
            owner: false,
            group: false,
            ..options()
        }
    }

    #[test]
    fn a_client_has_statistics_and_counts_before_the_end() {
        let end = "00 00 00 009e00 004e03 001900 000100 000000 ff02 02 01 00 00 00 00";
        let words = words(&plain(), WHOLE, &[&hex(&[LIST, end].concat())]).unwrap();
        assert_eq!(
            words[1..5],
            ["ListsEnd", "ListDone", "RedoDone", "UpdatesDone"]
        );
        assert!(words[5].starts_with("Statistics(Statistics { read: 158,"));
        assert!(words[6].starts_with("DelStats(DelStats { files: 2, dirs: 1,"));
        assert_eq!(words[7..], ["End"]);
    }

    #[test]
    fn a_redo_comes_between_the_first_two_markers() {
        let transfer = "00a0 00000000 00000000 00000000 00000000 00000000
            00000000000000000000000000000000";
        let again = [LIST, "01", transfer, "00 fe0000", transfer, "00"].concat();
        let words = words(&plain(), WHOLE, &[&hex(&again)]).unwrap();
        let (first, second) = (&words[2..4], &words[5..7]);
        assert_eq!(first, ["0 a000 f 0", "0 bytes"]);
        assert_eq!(second, first);
    }

    #[test]
    fn values_of_attributes_stand_before_the_head() {
        let options = Options {
            xattrs: 1,
            ..plain()
        };
        let list = "18 01 66 000c00 65257d93 a4810000 00 01 02 22 6100
            00000000000000000000000000000000 00 00";
        let answer = "01 00a1 01 03 616263 00 00000000 00000000 00000000 00000000";
        let bytes = hex(&[list, answer].concat());
        let events = words(&options, WHOLE, &[&bytes]).unwrap();
        assert_eq!(events[2..], ["0 a100 f 1"]);
        let dry_run = Options {
            dry_run: true,
            ..options
        };
        let answer = hex(&[list, "01 00a1 00 00"].concat());
        let events = words(&dry_run, WHOLE, &[&answer]).unwrap();
        assert_eq!(events[2..], ["0 a100 f 0", "ListDone", "RedoDone"]);
    }

    #[test]
    fn what_no_sender_may_say_is_refused() {
        let transfer = "00a0 00000000 00000000 00000000 00000000 00000000
            00000000000000000000000000000000";
        let sub = "8098 03 642f78 000010 ed410000 00 00";
        for (what, compat, bytes) in [
            ("a list where there is only one", WHOLE, "ff65"),
            ("the end of lists where there is only one", WHOLE, "ff01"),
            ("a list of no directory", INCREMENTAL, "ff66"),
            (
                "a list of a directory, twice",
                INCREMENTAL,
                &format!("ff64 {sub} fffe80650000"),
            ),
            ("a list after the last one", INCREMENTAL, "ff01 ff63"),
            ("the end of lists, twice", INCREMENTAL, "ff01 fffe80020000"),
            ("a list when all that came are done", INCREMENTAL, "00 ff64"),
            ("more lists done than came", INCREMENTAL, "00 00"),
            ("an entry that is not in the list", WHOLE, "03 0000"),
            (
                "index 0 where the root is not listed",
                INCREMENTAL,
                "01 0000",
            ),
            (
                "an entry of a list that is done",
                INCREMENTAL,
                "ff01 00 02 0000",
            ),
            ("content of a directory", WHOLE, "02 00a0"),
            ("content when redos are through", WHOLE, "00 00 01 00a0"),
            (
                "an answer when all are through",
                WHOLE,
                &format!("00 00 00 {} 01 0000", "00".repeat(15)),
            ),
            (
                "a block without a basis",
                WHOLE,
                "01 0080 00000000 00000000 00000000 00000000 ffffffff",
            ),
            (
                "a head with blocks of no length",
                WHOLE,
                "01 0080 01000000 00000000 02000000 00000000",
            ),
            (
                "a long sum",
                WHOLE,
                "01 0080 01000000 bc020000 11000000 00000000",
            ),
            ("a number without a meaning", WHOLE, "ff03"),
            ("deletions beyond counting", WHOLE, "ff02 f0ffffffff"),
        ] {
            let good = words(&plain(), compat, &[&hex(LIST)]);
            assert!(good.is_ok(), "{what}");
            let bad = words(&plain(), compat, &[&hex(LIST), &hex(bytes)]);
            assert!(bad.is_err(), "{what}: {bad:?}");
        }
        let twice = [LIST, "01", transfer].concat();
        assert!(words(&plain(), WHOLE, &[&hex(&twice)]).is_ok());
    }

    #[test]
    fn attributes_that_no_sender_may_send_are_refused() {
        let options = Options {
            xattrs: 1,
            ..plain()
        };
        let list = "18 01 66 000c00 65257d93 a4810000 00 00 00 00";
        for (what, bytes) in [
            ("a number before the first", "f0ffffffff"),
            ("a number beyond the last", "c10001"),
            ("a negative length", "01 f0ffffffff"),
            ("a huge value", "01 f0 01000001"),
        ] {
            let bytes = hex(&[list, "01 0001", bytes].concat());
            assert!(words(&options, WHOLE, &[&bytes]).is_err(), "{what}");
        }
    }

    #[test]
    fn nothing_is_read_after_the_end() {
        let bytes = hex(&[LIST, "00 00 00", &"00".repeat(15), "00 00 00"].concat());
        let words = words(&plain(), WHOLE, &[&bytes]).unwrap();
        assert_eq!(words.last().unwrap(), "End");
    }
}
