//! Multiplexed frames: the envelope of every byte after the handshake.
//!
//! A frame is a little-endian `u32`, `(7 + tag) << 24 | length`, then `length` bytes. Frames of data
//! make one stream, in which their bounds have no meaning; messages stand between any two.
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use bytes::{Buf, Bytes, BytesMut};

use super::cursor;
use super::ndx::FileIndex;
use crate::WireError;

/// What a frame carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Tag {
    /// Bytes of the data stream.
    Data = 0,
    /// A text: an error that makes the exit code 23.
    ErrorXfer = 1,
    /// A text for the standard output.
    Info = 2,
    /// A text: an error of no file.
    Error = 3,
    /// A text: a warning.
    Warning = 4,
    /// What went wrong with the list: [`i32`] bits.
    IoError = 22,
    /// A daemon's timeout: [`i32`] seconds.
    IoTimeout = 33,
    /// Nothing: a peer of protocol 30 keeps the connection alive.
    Noop = 42,
    /// The peer ends the run: [`i32`] exit code, or nothing, which answers one.
    ErrorExit = 86,
    /// A file is safe at the receiving side: [`i32`] index.
    Success = 100,
    /// A name was deleted; a directory's ends in a NUL.
    Deleted = 101,
    /// A file that was asked for does not come: [`i32`] index.
    NoSend = 102,
}

impl Tag {
    const ALL: [Self; 12] = [
        Self::Data,
        Self::ErrorXfer,
        Self::Info,
        Self::Error,
        Self::Warning,
        Self::IoError,
        Self::IoTimeout,
        Self::Noop,
        Self::ErrorExit,
        Self::Success,
        Self::Deleted,
        Self::NoSend,
    ];
}

/// The longest text of one message.
pub const MAX_TEXT: usize = 5119;

/// What stands before each frame's payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameHeader {
    /// What the frame carries.
    pub tag: Tag,
    /// Bytes of it, below 2^24.
    pub len: usize,
}

impl FrameHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 4;

    /// The header of a frame of `len` bytes.
    ///
    /// # Panics
    ///
    /// When `len` is 2^24 or more.
    pub fn new(tag: Tag, len: usize) -> Self {
        assert!(len <= MAX_LEN, "a frame of {len} bytes");
        Self { tag, len }
    }

    /// The header as it crosses the wire.
    pub fn encode(self) -> [u8; Self::LEN] {
        let word = (TAG_BASE + self.tag as u32) << 24 | self.len as u32;
        word.to_le_bytes()
    }

    /// Takes a header off the wire.
    ///
    /// # Errors
    ///
    /// [`WireError::Stream`] when the tag is none that travels between hosts, or no payload of that
    /// length goes with it.
    pub fn decode(bytes: [u8; Self::LEN]) -> Result<Self, WireError> {
        let word = u32::from_le_bytes(bytes);
        let (code, len) = (word >> 24, (word as usize) & MAX_LEN);
        let has_code = |tag: &Tag| TAG_BASE + *tag as u32 == code;
        let tag = Tag::ALL.into_iter().find(has_code);
        let tag = tag.ok_or(WireError::Stream("a message of an unknown kind"))?;
        if !may_have_len(tag, len) {
            return Err(WireError::Stream("a message of a wrong length"));
        }
        Ok(Self { tag, len })
    }
}

fn may_have_len(tag: Tag, len: usize) -> bool {
    match tag {
        Tag::Data => true,
        Tag::ErrorXfer | Tag::Info | Tag::Error | Tag::Warning => len <= MAX_TEXT,
        Tag::IoError | Tag::IoTimeout | Tag::Success | Tag::NoSend => len == 4,
        Tag::Noop => len == 0,
        Tag::ErrorExit => len == 0 || len == 4,
        Tag::Deleted => (1..=4096).contains(&len),
    }
}

/// What comes out of a stream of frames.
#[derive(Debug, Eq, PartialEq)]
pub enum Frame {
    /// The next bytes of the data stream: a frame's payload, or as much of it as has come.
    Data(BytesMut),
    /// Something else.
    Message(Message),
}

/// How grave a text is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextKind {
    /// An error of one file: the exit code becomes 23.
    ErrorXfer,
    /// For the standard output.
    Info,
    /// An error that is not of one file.
    Error,
    /// A warning.
    Warning,
}

/// What hosts tell each other beside the data stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Text for a person, with its newline: bytes that are never to be trusted.
    Text(TextKind, Bytes),
    /// More bits of the sender's error state: [`IoErrors`].
    IoError(IoErrors),
    /// The daemon's timeout in seconds, 1 to 86400.
    IoTimeout(u32),
    /// Nothing; at protocol 30 the sender answers with as much.
    Noop,
    /// The peer ends the run with this exit code; none is the answer to one.
    ErrorExit(Option<i32>),
    /// The entry is at the receiving side: with `--remove-source-files` it may go.
    Success(FileIndex),
    /// The receiving server deleted this path.
    Deleted {
        /// Without a trailing slash.
        name: Bytes,
        /// It was a directory.
        is_dir: bool,
    },
    /// The entry that was asked for will not come.
    NoSend(FileIndex),
}

/// What went wrong at the sender, as bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IoErrors(u8);

impl IoErrors {
    /// Something could not be read: nothing may be deleted.
    pub const GENERAL: Self = Self(1);
    /// Something vanished.
    pub const VANISHED: Self = Self(2);
    /// The limit of deletions was met.
    pub const DELETE_LIMIT: Self = Self(4);

    /// Keeps the three bits that have a meaning.
    pub fn from_wire(bits: i32) -> Self {
        Self(bits as u8 & 7)
    }

    /// The bits as they go.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `errors` are set.
    pub fn has(self, errors: Self) -> bool {
        self.0 & errors.0 == errors.0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Sets those of `errors` too.
    pub fn insert(&mut self, errors: Self) {
        self.0 |= errors.0;
    }
}

/// Who is at the other end: what it may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The protocol version agreed on.
    pub protocol: u8,
    /// It is the server.
    pub server: bool,
    /// It is the sending side.
    pub sender: bool,
}

/// Takes frames apart, in whatever pieces the connection delivers them.
#[derive(Debug)]
pub struct Demux {
    peer: Peer,
    unread: BytesMut,
    /// Bytes of a data frame that are still to come.
    data_left: usize,
}

impl Demux {
    /// Expects the first frame of this peer.
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            unread: BytesMut::new(),
            data_left: 0,
        }
    }

    /// Takes bytes as they came off the wire; any split is fine. Without a copy when all before
    /// them is polled.
    pub fn handle_input(&mut self, bytes: BytesMut) {
        cursor::append(&mut self.unread, bytes);
    }

    /// Returns what comes next, or `None` until more input arrives.
    ///
    /// # Errors
    ///
    /// [`WireError::Stream`] when a tag is unknown, not the peer's to send, or its payload has
    /// another length. The stream cannot be resynchronised after it: close the connection.
    pub fn poll(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if self.data_left > 0 {
                return Ok(self.data());
            }
            let Some(header) = self.unread.first_chunk() else {
                return Ok(None);
            };
            let FrameHeader { tag, len } = FrameHeader::decode(*header)?;
            self.check(tag)?;
            if tag == Tag::Data {
                self.unread.advance(FrameHeader::LEN);
                self.data_left = len;
                continue;
            }
            if self.unread.len() < FrameHeader::LEN + len {
                return Ok(None);
            }
            self.unread.advance(FrameHeader::LEN);
            let payload = self.unread.split_to(len).freeze();
            if let Some(message) = message(tag, payload)? {
                return Ok(Some(Frame::Message(message)));
            }
        }
    }

    /// What has come and is not polled, to take bytes off that stand outside all frames: at
    /// protocol 30 the names of `--files-from`.
    pub fn unframed(&mut self) -> &mut BytesMut {
        &mut self.unread
    }

    /// Whether the stream may end here: all that came is polled, and no frame is begun.
    pub fn is_at_boundary(&self) -> bool {
        self.unread.is_empty() && self.data_left == 0
    }

    /// What there is of a data frame.
    fn data(&mut self) -> Option<Frame> {
        let len = self.data_left.min(self.unread.len());
        self.data_left -= len;
        (len > 0).then(|| Frame::Data(self.unread.split_to(len)))
    }

    /// Refuses what is not the peer's to send.
    fn check(&self, tag: Tag) -> Result<(), WireError> {
        let Peer {
            protocol,
            server,
            sender,
        } = self.peer;
        let allowed = match tag {
            Tag::IoTimeout => server && protocol >= 31,
            Tag::ErrorExit => protocol >= 31,
            Tag::Success => !sender,
            Tag::Deleted => server && !sender,
            Tag::NoSend => sender,
            _ => true,
        };
        let refusal = WireError::Stream("a message that is not the peer's to send");
        allowed.then_some(()).ok_or(refusal)
    }
}

/// The message in a payload of checked length; `None` for one that is to be ignored.
fn message(tag: Tag, payload: Bytes) -> Result<Option<Message>, WireError> {
    Ok(Some(match tag {
        Tag::ErrorXfer => Message::Text(TextKind::ErrorXfer, payload),
        Tag::Info => Message::Text(TextKind::Info, payload),
        Tag::Error => Message::Text(TextKind::Error, payload),
        Tag::Warning => Message::Text(TextKind::Warning, payload),
        Tag::IoError => Message::IoError(IoErrors::from_wire(int32(&payload))),
        Tag::IoTimeout => match u32::try_from(int32(&payload)) {
            Ok(seconds @ 1..=MAX_TIMEOUT) => Message::IoTimeout(seconds),
            _ => return Ok(None),
        },
        Tag::ErrorExit if payload.is_empty() => Message::ErrorExit(None),
        Tag::ErrorExit => Message::ErrorExit(Some(int32(&payload))),
        Tag::Success => Message::Success(index(&payload)?),
        Tag::NoSend => Message::NoSend(index(&payload)?),
        Tag::Deleted => deleted(payload)?,
        Tag::Data | Tag::Noop => Message::Noop,
    }))
}

fn index(payload: &[u8]) -> Result<FileIndex, WireError> {
    FileIndex::from_wire(int32(payload)).ok_or(WireError::Protocol("a message about no entry"))
}

fn deleted(mut name: Bytes) -> Result<Message, WireError> {
    let is_dir = name.ends_with(&[0]);
    name.truncate(name.len() - usize::from(is_dir));
    if name.is_empty() || name.contains(&0) {
        return Err(WireError::Stream("a deletion of no name"));
    }
    Ok(Message::Deleted { name, is_dir })
}

/// The number in the first four bytes.
fn int32(payload: &[u8]) -> i32 {
    payload
        .first_chunk()
        .map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

impl Message {
    /// What a frame of it carries. Texts and names are cut at their limits.
    pub fn encode(&self) -> (Tag, Bytes) {
        let int = |tag, value: i32| (tag, Bytes::copy_from_slice(&value.to_le_bytes()));
        match self {
            Self::Text(kind, text) => (kind.tag(), text.slice(..text.len().min(MAX_TEXT))),
            Self::IoError(errors) => int(Tag::IoError, errors.bits().into()),
            Self::IoTimeout(seconds) => int(Tag::IoTimeout, *seconds as i32),
            Self::Noop => (Tag::Noop, Bytes::new()),
            Self::ErrorExit(None) => (Tag::ErrorExit, Bytes::new()),
            Self::ErrorExit(Some(code)) => int(Tag::ErrorExit, *code),
            Self::Success(index) => int(Tag::Success, index.get() as i32),
            Self::NoSend(index) => int(Tag::NoSend, index.get() as i32),
            Self::Deleted { name, is_dir } => {
                let name = &name[..name.len().min(MAX_NAME)];
                let end: &[u8] = if *is_dir { &[0] } else { &[] };
                (Tag::Deleted, [name, end].concat().into())
            }
        }
    }
}

impl TextKind {
    /// The tag of its frames.
    pub fn tag(self) -> Tag {
        match self {
            Self::ErrorXfer => Tag::ErrorXfer,
            Self::Info => Tag::Info,
            Self::Error => Tag::Error,
            Self::Warning => Tag::Warning,
        }
    }
}

const TAG_BASE: u32 = 7;
const MAX_LEN: usize = 0xff_ffff;
/// The longest name: that of a path in a list.
const MAX_NAME: usize = 4095;
/// A day, in seconds.
const MAX_TIMEOUT: u32 = 86_400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENDING_SERVER: Peer = peer(31, true, true);
    const SENDING_CLIENT: Peer = peer(31, false, true);
    const RECEIVING_SERVER: Peer = peer(31, true, false);
    const RECEIVING_CLIENT: Peer = peer(31, false, false);

    const fn peer(protocol: u8, server: bool, sender: bool) -> Peer {
        Peer {
            protocol,
            server,
            sender,
        }
    }

    fn frames(peer: Peer, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<Message>), WireError> {
        let mut demux = Demux::new(peer);
        let (mut data, mut messages) = (Vec::new(), Vec::new());
        for piece in pieces {
            demux.handle_input((*piece).into());
            while let Some(frame) = demux.poll()? {
                match frame {
                    Frame::Data(bytes) => data.extend_from_slice(&bytes),
                    Frame::Message(message) => messages.push(message),
                }
            }
        }
        assert!(demux.is_at_boundary());
        Ok((data, messages))
    }

    fn frame(tag: Tag, payload: &[u8]) -> Vec<u8> {
        [&FrameHeader::new(tag, payload.len()).encode(), payload].concat()
    }

    fn index(index: u32) -> FileIndex {
        FileIndex::new(index).unwrap()
    }

    #[test]
    fn messages_have_the_recorded_bytes() {
        let directory = Message::Deleted {
            name: Bytes::from_static(b"old"),
            is_dir: true,
        };
        let file = Message::Deleted {
            name: Bytes::from_static(b"old/z"),
            is_dir: false,
        };
        let created = Bytes::from_static(b"created directory d1\n");
        let cases: &[(Peer, Message, &[u8])] = &[
            (
                RECEIVING_SERVER,
                Message::Text(TextKind::Info, created),
                b"\x15\x00\x00\x09created directory d1\n",
            ),
            (RECEIVING_SERVER, file, b"\x05\x00\x00\x6cold/z"),
            (RECEIVING_SERVER, directory, b"\x04\x00\x00\x6cold\x00"),
            (
                RECEIVING_CLIENT,
                Message::Success(index(2)),
                b"\x04\x00\x00\x6b\x02\x00\x00\x00",
            ),
            (
                SENDING_SERVER,
                Message::NoSend(index(0)),
                b"\x04\x00\x00\x6d\x00\x00\x00\x00",
            ),
            (
                SENDING_CLIENT,
                Message::IoError(IoErrors::VANISHED),
                b"\x04\x00\x00\x1d\x02\x00\x00\x00",
            ),
            (
                SENDING_SERVER,
                Message::IoTimeout(30),
                b"\x04\x00\x00\x28\x1e\x00\x00\x00",
            ),
        ];
        for (peer, message, bytes) in cases {
            let (tag, payload) = message.encode();
            assert_eq!(frame(tag, &payload), *bytes, "{message:?}");
            let read = frames(*peer, &[bytes]).unwrap();
            assert_eq!(read, (Vec::new(), vec![message.clone()]));
        }
    }

    #[test]
    fn frames_are_the_same_wherever_the_stream_is_cut() {
        let bytes = [
            frame(Tag::Data, b"ab"),
            frame(Tag::Warning, b"oops\n"),
            frame(Tag::Data, b""),
            frame(Tag::Data, b"cde"),
        ]
        .concat();
        let whole = frames(SENDING_CLIENT, &[&bytes]).unwrap();
        assert_eq!(whole.0, b"abcde");
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(
                frames(SENDING_CLIENT, &[a, b]).unwrap(),
                whole,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn messages_are_taken_only_from_peers_that_may_send_them() {
        // Tag, payload length, and which of sending server, sending client, receiving server and
        // receiving client may send it.
        let cases = [
            (Tag::ErrorXfer, 9, [true; 4]),
            (Tag::Info, 9, [true; 4]),
            (Tag::Error, 9, [true; 4]),
            (Tag::Warning, 9, [true; 4]),
            (Tag::IoError, 4, [true; 4]),
            (Tag::Noop, 0, [true; 4]),
            (Tag::ErrorExit, 4, [true; 4]),
            (Tag::IoTimeout, 4, [true, false, true, false]),
            (Tag::Success, 4, [false, false, true, true]),
            (Tag::Deleted, 9, [false, false, true, false]),
            (Tag::NoSend, 4, [true, true, false, false]),
        ];
        let peers = [
            SENDING_SERVER,
            SENDING_CLIENT,
            RECEIVING_SERVER,
            RECEIVING_CLIENT,
        ];
        for (tag, len, allowed) in cases {
            for (peer, allowed) in peers.into_iter().zip(allowed) {
                let read = frames(peer, &[&frame(tag, &vec![1; len])]);
                assert_eq!(read.is_ok(), allowed, "{tag:?} from {peer:?}");
            }
        }
    }

    #[test]
    fn messages_of_protocol_31_are_refused_at_30() {
        for tag in [Tag::IoTimeout, Tag::ErrorExit] {
            let frame = frame(tag, &[1, 0, 0, 0]);
            assert!(frames(peer(31, true, true), &[&frame]).is_ok());
            assert!(frames(peer(30, true, true), &[&frame]).is_err());
        }
    }

    #[test]
    fn messages_of_another_length_are_refused_before_their_payload_came() {
        for header in [[3, 0, 0, 0x1d], [0, 0x14, 0, 9], [0xff, 0xff, 0xff, 0x6d]] {
            let mut demux = Demux::new(SENDING_SERVER);
            demux.handle_input(header[..].into());
            assert!(demux.poll().is_err(), "{header:x?}");
        }
    }

    #[test]
    fn timeouts_beyond_a_day_or_of_nothing_are_ignored() {
        for (seconds, kept) in [(-1, 0), (0, 0), (1, 1), (86_400, 1), (86_401, 0)] {
            let frame = frame(Tag::IoTimeout, &i32::to_le_bytes(seconds));
            let (_, messages) = frames(SENDING_SERVER, &[&frame]).unwrap();
            assert_eq!(messages.len(), kept, "{seconds}");
        }
    }

    #[test]
    fn messages_about_no_entry_and_no_name_are_refused() {
        let minus_one = frame(Tag::NoSend, &[0xff; 4]);
        assert!(frames(SENDING_SERVER, &[&minus_one]).is_err());
        for name in [&b"\0"[..], b"a\0b", b"a\0\0"] {
            let frame = frame(Tag::Deleted, name);
            assert!(frames(RECEIVING_SERVER, &[&frame]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_when_they_are_sent() {
        let text = Message::Text(TextKind::Error, vec![b'x'; 10_000].into());
        assert_eq!(text.encode().1.len(), MAX_TEXT);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces: Vec<Vec<u8>>, server: bool, sender: bool) {
            let mut demux = Demux::new(peer(32, server, sender));
            for piece in pieces {
                demux.handle_input(piece[..].into());
                while let Ok(Some(_)) = demux.poll() {}
            }
        }
    }
    #[test]
    fn headers_are_those_that_stock_peers_write() {
        // Recorded between two rsyncs 3.5.0.
        for (bytes, tag, len) in [
            ([0x51, 0, 0, 7], Tag::Data, 0x51),
            ([0, 0, 0, 7], Tag::Data, 0),
            ([0x15, 0, 0, 9], Tag::Info, 21),
            ([0x23, 0, 0, 0x0b], Tag::Warning, 35),
            ([5, 0, 0, 0x6c], Tag::Deleted, 5),
            ([4, 0, 0, 0x6b], Tag::Success, 4),
            ([4, 0, 0, 0x6d], Tag::NoSend, 4),
            ([4, 0, 0, 0x1d], Tag::IoError, 4),
            ([4, 0, 0, 0x28], Tag::IoTimeout, 4),
            ([4, 0, 0, 0x5d], Tag::ErrorExit, 4),
        ] {
            let header = FrameHeader { tag, len };
            assert_eq!(FrameHeader::decode(bytes), Ok(header));
            assert_eq!(FrameHeader::new(tag, len).encode(), bytes);
        }
    }

    #[test]
    fn tags_of_no_host_and_wrong_lengths_are_refused() {
        for bytes in [
            [0, 0, 0, 0],
            [0, 0, 0, 6],
            [0, 0, 0, 0x0c],
            [4, 0, 0, 0x10],
            [0, 0, 0, 0xff],
            [0, 0x14, 0, 9],
            [3, 0, 0, 0x1d],
            [20, 0, 0, 0x6b],
            [1, 0, 0, 0x31],
            [1, 0, 0, 0x5d],
            [0, 0, 0, 0x6c],
        ] {
            assert!(FrameHeader::decode(bytes).is_err(), "{bytes:x?}");
        }
    }
}
