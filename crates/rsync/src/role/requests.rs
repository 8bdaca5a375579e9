//! The generator's stream, as the sending side reads it: requests, block sums, the end.

use barge_delta::Checksum;
use bytes::BytesMut;

use crate::session::setup::Setup;
use crate::wire::cursor;
use crate::wire::flist::Format;
use crate::wire::item::{Item, XattrList};
use crate::wire::ndx::{FileIndex, Ndx, NdxReader};
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
    ndx: NdxReader,
    stage: Stage,
    xattrs: XattrList,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    Index,
    Item(FileIndex),
    Xattrs(Item),
    Head(Item, Vec<u32>),
    DelStats,
}

impl Requests {
    /// Expects the first request of a run with these options (a server's as its client sent
    /// them) on a connection that agreed on `setup`.
    pub fn new(options: &Options, setup: &Setup) -> Self {
        Self {
            format: Format::new(options, setup),
            checksum: setup.checksum,
            input: BytesMut::new(),
            ndx: NdxReader::default(),
            stage: Stage::Index,
            xattrs: XattrList::default(),
        }
    }

    /// Takes bytes of the data stream; any split is fine.
    pub fn handle_data(&mut self, bytes: BytesMut) {
        cursor::append(&mut self.input, bytes);
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
        let input = &mut self.input;
        loop {
            match std::mem::replace(&mut self.stage, Stage::Index) {
                Stage::Index => match cursor::read(input, |reader| self.ndx.read(reader))? {
                    None => return Ok(None),
                    Some(Ndx::Done) => return Ok(Some(Event::Done)),
                    Some(Ndx::File(index)) => self.stage = Stage::Item(index),
                    Some(Ndx::DelStats) => self.stage = Stage::DelStats,
                    Some(Ndx::List(_) | Ndx::ListsEnd) => {
                        return Err(WireError::Protocol("a list from the receiving side"));
                    }
                },
                Stage::DelStats => match cursor::read(input, DelStats::read)? {
                    Some(counts) => return Ok(Some(Event::DelStats(counts))),
                    None => return self.wait(Stage::DelStats),
                },
                Stage::Item(index) => {
                    match cursor::read(input, |reader| Item::read(reader, index))? {
                        Some(item) if item.has_xattrs(&self.format) => {
                            self.stage = Stage::Xattrs(item);
                        }
                        Some(item) => self.stage = Stage::Head(item, Vec::new()),
                        None => return self.wait(Stage::Item(index)),
                    }
                }
                Stage::Xattrs(item) => match self.xattrs.poll_request(input)? {
                    Some(numbers) => self.stage = Stage::Head(item, numbers),
                    None => return self.wait(Stage::Xattrs(item)),
                },
                Stage::Head(item, xattrs) => {
                    let head = match item.has_content(&self.format) {
                        false => None,
                        true => match super::head(input, self.checksum)? {
                            None => return self.wait(Stage::Head(item, xattrs)),
                            head => head,
                        },
                    };
                    let request = Request { item, xattrs, head };
                    return Ok(Some(Event::Request(request)));
                }
            }
        }
    }

    fn wait(&mut self, stage: Stage) -> Result<Option<Event>, WireError> {
        self.stage = stage;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolVersion;
    use crate::session::setup::CompatFlags;
    use crate::wire::iflags::{Basis, ItemFlags};
    use crate::wire::token::Compression;

    fn requests(xattrs: u8, dry_run: bool) -> Requests {
        let options = Options {
            xattrs,
            dry_run,
            ..Options::default()
        };
        let setup = Setup {
            protocol: ProtocolVersion::NEWEST,
            compat: CompatFlags::AVOID_XATTR_OPTIM,
            checksum: Checksum::Xxh128,
            list_checksum: Checksum::Xxh128,
            compression: Compression::None,
            seed: 0,
        };
        Requests::new(&options, &setup)
    }

    fn poll_all(requests: &mut Requests, pieces: &[&[u8]]) -> Result<Vec<String>, WireError> {
        let mut events = Vec::new();
        for piece in pieces {
            requests.handle_data(BytesMut::from(*piece));
            while let Some(event) = requests.poll()? {
                events.push(format!("{event:?}"));
            }
        }
        Ok(events)
    }

    /// The generator's stream of a pull with hard links and long attributes, recorded between two
    /// rsyncs 3.5.0: `-aHAX --delete`.
    const PULL: &[u8] = b"\x01\x08\x00\x06\x00\x60\x01\x00\xa1\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x60\
\x03\x00\x60\x01\x00\xa1\x01\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xfe\x80\x03\x00\x00\x00\x71\x05d1/f3\x00\
\x00\x00\x00\xff\x02\x02\x01\x00\x00\x00\x00\x00";

    #[test]
    fn recorded_stream_is_read_wherever_it_is_cut() {
        let whole = poll_all(&mut requests(1, false), &[PULL]).unwrap();
        assert_eq!(whole.len(), 13, "{whole:#?}");
        for cut in 0..=PULL.len() {
            let (a, b) = PULL.split_at(cut);
            let events = poll_all(&mut requests(1, false), &[a, b]).unwrap();
            assert_eq!(events, whole, "cut at byte {cut}");
        }
    }

    #[test]
    fn recorded_stream_has_what_its_generator_wanted() {
        let mut requests = requests(1, false);
        requests.handle_data(BytesMut::from(PULL));
        let mut seen = Vec::new();
        while let Some(event) = requests.poll().unwrap() {
            if let Event::Request(request) = event {
                let Request { item, xattrs, head } = request;
                seen.push((
                    item.index.get(),
                    item.flags.bits(),
                    item.name,
                    xattrs,
                    head.is_some(),
                ));
            }
        }
        let name = |name: &'static str| bytes::Bytes::from_static(name.as_bytes());
        assert_eq!(
            seen,
            [
                (0, 0x0008, name(""), vec![], false),
                (6, 0x6000, name(""), vec![], false),
                (7, 0xa100, name(""), vec![], true),
                (8, 0x6002, name(""), vec![], false),
                (11, 0x6000, name(""), vec![], false),
                (12, 0xa100, name(""), vec![1], true),
                (3, 0x7100, name("d1/f3"), vec![], false),
            ]
        );
    }

    #[test]
    fn dry_run_has_neither_sums_nor_attributes() {
        let item = b"\x01\x00\xa1";
        let events = poll_all(&mut requests(1, true), &[item]).unwrap();
        assert_eq!(events.len(), 1);
        assert!(
            poll_all(&mut requests(1, false), &[item])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn basis_and_name_stand_between_the_flags_and_the_head() {
        let mut requests = requests(0, false);
        requests.handle_data(BytesMut::from(&b"\x01\x00\xb8\x83\x03old"[..]));
        assert!(requests.poll().unwrap().is_none());
        requests.handle_data(BytesMut::from(&[0; 16][..]));
        let Some(Event::Request(request)) = requests.poll().unwrap() else {
            panic!("a request has come");
        };
        assert_eq!(request.item.basis, Basis::Fuzzy);
        assert_eq!(&request.item.name[..], b"old");
        assert!(request.item.flags.has(ItemFlags::TRANSFER));
        assert_eq!(request.head, Some(SumHead::NONE));
    }

    #[test]
    fn what_no_generator_may_say_is_refused() {
        for (what, bytes) in [
            ("a list", &b"\xff\x65"[..]),
            ("the end of lists", b"\xff\x01"),
            ("a number without a meaning", b"\xff\x20"),
            (
                "an attribute before the first",
                b"\x01\x00\x01\xf0\xff\xff\xff\xff",
            ),
            ("an attribute beyond the last", b"\x01\x00\x01\xc1\x70\x11"),
            ("a long name", b"\x01\x00\x10\xff\xff"),
            ("a NUL in a name", b"\x01\x00\x10\x02a\x00"),
            (
                "blocks of no length",
                b"\x01\x00\x80\x05\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
            ),
            ("deletions beyond counting", b"\xff\x02\xf0\xff\xff\xff\xff"),
        ] {
            assert!(
                poll_all(&mut requests(1, false), &[bytes]).is_err(),
                "{what}"
            );
        }
    }
}
