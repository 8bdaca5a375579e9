//! Conversations between a stock rsync 3.5.0 client and daemon: each is read to its end, wherever
//! it is cut, and said again in the same bytes.
//!
//! Made by `cargo run -p barge-testkit --example record_rsync`, which says what files they are of.
//! A recording is never edited.

#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

mod hostile;
mod recording;

use std::collections::{BTreeSet, HashMap};

use barge_rsync::role::incoming::{Event as Sent, Incoming};
use barge_rsync::role::requests::{Event as Asked, Requests};
use barge_rsync::wire::budget::Budget;
use barge_rsync::wire::flist::{FlistEncoder, Format, Inode};
use barge_rsync::wire::idlist::Names;
use barge_rsync::wire::item::{put_xattr_answer, put_xattr_request};
use barge_rsync::wire::list::List;
use barge_rsync::wire::mux::{Demux, Frame, FrameHeader, Message, Tag};
use barge_rsync::wire::ndx::{FileIndex, Ndx, NdxWriter};
use barge_rsync::wire::sums::SumHead;
use barge_rsync::wire::token::{Compression, Token, TokenEncoder};
use bytes::{Buf, BytesMut};

use recording::{Side, conversations};

/// The data of a side's frames, and its messages.
fn unpack(side: &Side) -> (BytesMut, Vec<Message>) {
    let mut demux = Demux::new(side.peer);
    demux.handle_input(BytesMut::from(&side.frames[..]));
    let (mut data, mut messages) = (BytesMut::new(), Vec::new());
    let mut raw = side.raw_len;
    while let Some(frame) = demux.poll().unwrap() {
        match frame {
            Frame::Data(bytes) => data.extend_from_slice(&bytes),
            Frame::Message(message) => messages.push(message),
        }
        // At protocol 30 names stand between the first frame and the next.
        let unframed = demux.unframed().split_to(raw);
        data.extend_from_slice(&unframed);
        raw = 0;
    }
    assert!(demux.is_at_boundary(), "a side ends with a whole frame");
    (data, messages)
}

/// What a sender sent, read in pieces.
fn sent(side: &Side, pieces: &[&[u8]]) -> Vec<Sent> {
    let mut incoming = Incoming::new(&side.options_of_reader(), &side.setup, Budget::default());
    let mut events = Vec::new();
    for piece in pieces {
        incoming.handle_data(BytesMut::from(*piece));
        while let Some(event) = incoming.poll().unwrap() {
            events.push(event);
        }
    }
    events
}

/// What a generator asked for, and the sums behind it, read in pieces.
fn asked(side: &Side, pieces: &[&[u8]]) -> Vec<(Asked, Vec<u8>)> {
    let mut requests = Requests::new(&side.options, &side.setup);
    let mut events: Vec<(Asked, Vec<u8>)> = Vec::new();
    let mut missing = 0;
    for piece in pieces {
        requests.handle_data(BytesMut::from(*piece));
        loop {
            let input = requests.input();
            let sums = input.split_to(missing.min(input.len()));
            if let Some((_, kept)) = events.last_mut() {
                kept.extend_from_slice(&sums);
            }
            missing -= sums.len();
            if missing > 0 {
                break;
            }
            let Some(event) = requests.poll().unwrap() else {
                break;
            };
            missing = match &event {
                Asked::Request(request) if side.options.append == 0 => {
                    let head = request.head.unwrap_or(SumHead::NONE);
                    head.count() as usize * (4 + head.strong_len())
                }
                _ => 0,
            };
            events.push((event, Vec::new()));
        }
    }
    events
}

/// Literals as long as they were sent, whatever pieces they came in.
fn joined(events: Vec<Sent>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut literal = Vec::new();
    for event in events {
        if let Sent::Token(Token::Literal(bytes)) = &event {
            literal.extend_from_slice(bytes);
            continue;
        }
        if !literal.is_empty() {
            words.push(format!("{:?}", std::mem::take(&mut literal)));
        }
        words.push(match event {
            Sent::Answer(answer) => {
                format!("{:?} {:?} {:?}", answer.item, answer.xattrs, answer.head)
            }
            event => format!("{event:?}"),
        });
    }
    words
}

#[test]
fn all_kinds_of_events_and_messages_are_in_the_recordings() {
    let (mut events, mut messages) = (BTreeSet::new(), BTreeSet::new());
    for (_, sides) in conversations() {
        for side in &sides {
            let (data, heard) = unpack(side);
            messages.extend(heard.iter().map(|message| message.encode().0 as u8));
            let word = |text: String| text.split(['(', ' ']).next().unwrap().to_owned();
            if side.peer.sender {
                let sent = sent(side, &[&data[side.before_stream(&data)..]]);
                events.extend(sent.iter().map(|event| word(format!("{event:?}"))));
            }
        }
    }
    let all = "Answer DelStats End List ListDone ListsEnd RedoDone Statistics Token UpdatesDone";
    assert_eq!(Vec::from_iter(events), all.split(' ').collect::<Vec<_>>());
    let all = [
        Tag::ErrorXfer,
        Tag::IoError,
        Tag::IoTimeout,
        Tag::ErrorExit,
        Tag::Success,
        Tag::Deleted,
        Tag::NoSend,
    ];
    let messages = Vec::from_iter(messages);
    assert_eq!(messages, all.map(|tag| tag as u8));
}

#[test]
fn what_each_side_said_is_read_to_its_end() {
    for (name, sides) in conversations() {
        for side in &sides {
            let (data, _) = unpack(side);
            let stream = &data[side.before_stream(&data)..];
            if side.peer.sender {
                let events = sent(side, &[stream]);
                let (first, last) = (events.first().unwrap(), events.last().unwrap());
                let is_empty = matches!(first, Sent::List(list) if list.is_empty());
                assert!(is_empty || matches!(last, Sent::End), "{name}: {last:?}");
            } else if !stream.is_empty() {
                let (last, _) = asked(side, &[stream]).pop().unwrap();
                assert!(matches!(last, Asked::Done), "{name}: {last:?}");
            }
        }
    }
}

#[test]
fn frames_are_the_same_wherever_the_connection_is_cut() {
    for (name, sides) in conversations() {
        for side in sides.iter().filter(|side| side.raw_len == 0) {
            let whole = unpack(side);
            for cut in 0..=side.frames.len() {
                let mut demux = Demux::new(side.peer);
                let (mut data, mut messages) = (BytesMut::new(), Vec::new());
                for piece in [&side.frames[..cut], &side.frames[cut..]] {
                    demux.handle_input(BytesMut::from(piece));
                    while let Some(frame) = demux.poll().unwrap() {
                        match frame {
                            Frame::Data(bytes) => data.extend_from_slice(&bytes),
                            Frame::Message(message) => messages.push(message),
                        }
                    }
                }
                assert!((data, messages) == whole, "{name}, cut at byte {cut}");
            }
        }
    }
}

#[test]
fn streams_mean_the_same_wherever_they_are_cut() {
    for (name, sides) in conversations() {
        for side in &sides {
            let (data, _) = unpack(side);
            let stream = &data[side.before_stream(&data)..];
            let read = |pieces: &[&[u8]]| match side.peer.sender {
                true => joined(sent(side, pieces)),
                false => vec![format!("{:?}", asked(side, pieces))],
            };
            let whole = read(&[stream]);
            for cut in 0..=stream.len() {
                let (a, b) = stream.split_at(cut);
                assert!(read(&[a, b]) == whole, "{name}, cut at byte {cut}");
            }
        }
    }
}

#[test]
fn messages_are_said_again_in_the_same_bytes() {
    for (name, sides) in conversations() {
        for side in sides.iter().filter(|side| side.raw_len == 0) {
            let (_, messages) = unpack(side);
            let mut again = messages.iter();
            let mut rest = &side.frames[..];
            while let Some(header) = rest.first_chunk() {
                let FrameHeader { tag, len } = FrameHeader::decode(*header).unwrap();
                let payload = &rest[FrameHeader::LEN..][..len];
                if tag != Tag::Data {
                    let (again, bytes) = again.next().unwrap().encode();
                    assert_eq!((again, &bytes[..]), (tag, payload), "{name}");
                }
                rest.advance(FrameHeader::LEN + len);
            }
            assert!(again.next().is_none(), "{name}");
        }
    }
}

#[test]
fn what_generators_asked_is_said_again_in_the_same_bytes() {
    for (name, sides) in conversations() {
        for side in sides.iter().filter(|side| !side.peer.sender) {
            let (data, _) = unpack(side);
            let stream = &data[side.before_stream(&data)..];
            let format = Format::new(&side.options, &side.setup);
            let (mut out, mut ndx) = (BytesMut::new(), NdxWriter::default());
            for (event, sums) in asked(side, &[stream]) {
                match event {
                    Asked::Done => ndx.put(&mut out, Ndx::Done),
                    Asked::DelStats(counts) => {
                        ndx.put(&mut out, Ndx::DelStats);
                        counts.put(&mut out);
                    }
                    Asked::Request(request) => {
                        request.item.put(&mut out, &mut ndx);
                        if request.item.has_xattrs(&format) {
                            put_xattr_request(&mut out, &request.xattrs);
                        }
                        if let Some(head) = request.head {
                            head.encode(&mut out);
                        }
                        out.extend_from_slice(&sums);
                    }
                }
            }
            assert!(out == *stream, "{name}");
        }
    }
}

/// The names of a sender's host, as far as they were told.
#[derive(Default)]
struct Told {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Names for Told {
    fn user(&mut self, uid: u32) -> Option<Vec<u8>> {
        self.users.get(&uid).cloned()
    }

    fn group(&mut self, gid: u32) -> Option<Vec<u8>> {
        self.groups.get(&gid).cloned()
    }
}

impl Told {
    fn by(events: &[Sent]) -> Self {
        let mut told = Self::default();
        for event in events {
            if let Sent::List(list) = event {
                let own = |(id, name): &(u32, Box<[u8]>)| (*id, name.to_vec());
                told.users.extend(list.names.users.iter().map(own));
                told.groups.extend(list.names.groups.iter().map(own));
            }
        }
        told
    }
}

/// Says again what a sender said.
struct Again {
    format: Format,
    out: BytesMut,
    ndx: NdxWriter,
    flist: FlistEncoder,
    tokens: TokenEncoder,
    names: Told,
}

impl Again {
    fn say(&mut self, event: Sent) {
        match event {
            Sent::List(list) => self.list(&list),
            Sent::ListsEnd if self.format.incremental => self.put(Ndx::ListsEnd),
            Sent::Answer(answer) => {
                answer.item.put(&mut self.out, &mut self.ndx);
                if answer.item.has_xattrs(&self.format) {
                    put_xattr_answer(&mut self.out, &answer.xattrs);
                }
                if let Some(head) = answer.head {
                    head.encode(&mut self.out);
                    self.tokens.begin(false);
                }
            }
            Sent::Token(Token::Literal(bytes)) => self.tokens.literal(&bytes, &mut self.out),
            Sent::Token(Token::Blocks { first, count }) => {
                for block in first..first + count {
                    self.tokens.block(block, &[], &mut self.out);
                }
            }
            Sent::Token(Token::End(digest)) => self.tokens.end(&digest, &mut self.out),
            Sent::ListDone | Sent::RedoDone | Sent::UpdatesDone => self.put(Ndx::Done),
            Sent::End if self.format.protocol.is_31_or_newer() => self.put(Ndx::Done),
            Sent::Statistics(statistics) => statistics.put(&mut self.out),
            Sent::DelStats(counts) => {
                self.put(Ndx::DelStats);
                counts.put(&mut self.out);
            }
            Sent::ListsEnd | Sent::End => {}
        }
    }

    fn put(&mut self, ndx: Ndx) {
        self.ndx.put(&mut self.out, ndx);
    }

    fn list(&mut self, list: &List) {
        if let Some(dir) = list.dir() {
            self.put(Ndx::List(dir));
        }
        self.flist.begin(list.start());
        let mut entries: Vec<_> = list.entries().map(|(_, entry)| entry.clone()).collect();
        entries.sort_by_key(|entry| entry.tag);
        for entry in &mut entries {
            let inode = entry.extra().hard_link.map(|link| Inode {
                device: 0,
                number: link.group.into(),
                names: None,
            });
            self.flist.put(&mut self.out, entry, inode, &mut self.names);
        }
        self.flist.end(&mut self.out, list.errors, &mut self.names);
    }
}

#[test]
fn what_senders_sent_is_said_again_in_the_same_bytes() {
    for (name, sides) in conversations() {
        // Of duplicates only one is held.
        let is_whole = name != "push-duplicates" && name != "push-relative";
        for side in sides.iter().filter(|side| side.peer.sender && is_whole) {
            let (data, _) = unpack(side);
            let stream = &data[side.before_stream(&data)..];
            let events = sent(side, &[stream]);
            let format = Format::new(&side.options, &side.setup);
            let protocol = side.setup.protocol.get();
            let mut again = Again {
                format,
                out: BytesMut::new(),
                ndx: NdxWriter::default(),
                flist: FlistEncoder::new(format),
                tokens: TokenEncoder::new(Compression::None, None, protocol),
                names: Told::by(&events),
            };
            for event in events {
                again.say(event);
            }
            assert!(again.out == *stream, "{name}");
        }
    }
}

#[test]
fn every_index_that_was_asked_for_is_answered_or_refused() {
    for (name, [client, server]) in conversations() {
        let (sender, receiver) = match client.peer.sender {
            true => (client, server),
            false => (server, client),
        };
        let stream = |side: &Side| {
            let (data, messages) = unpack(side);
            (data[side.before_stream(&data)..].to_vec(), messages)
        };
        let ((sender_data, messages), (receiver_data, _)) = (stream(&sender), stream(&receiver));
        let mut wanted: Vec<FileIndex> = Vec::new();
        for (event, _) in asked(&receiver, &[&receiver_data]) {
            if let Asked::Request(request) = event {
                wanted.push(request.item.index);
            }
        }
        for message in messages {
            if let Message::NoSend(index) = message {
                let at = wanted.iter().position(|wanted| *wanted == index).unwrap();
                wanted.remove(at);
            }
        }
        let mut answered = Vec::new();
        for event in sent(&sender, &[&sender_data]) {
            if let Sent::Answer(answer) = event {
                answered.push(answer.item.index);
            }
        }
        assert_eq!(answered, wanted, "{name}");
    }
}
