//! The first frame each way on a connection: which protocol, which session, which stream.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ProtocolError;
use crate::cursor::{Put, Reader, within};
use crate::frame::{Frame, Tag};
use crate::link::Received;

/// The one version of the protocol there is.
pub const VERSION: u16 = 1;

/// The most streams one session may have.
pub const MAX_STREAMS: u8 = 32;

/// The most patterns an order may carry, and the longest of them in bytes.
pub const MAX_PATTERNS: usize = 4096;
const MAX_PATTERN: usize = 4096;
const MAX_TEXT: usize = 1024;
const MAX_VOLUME: usize = 253;
const MAGIC: &[u8; 6] = b"barge\0";

/// Smallest and largest window a peer may announce, in bytes.
pub const WINDOW_LIMITS: (u32, u32) = (2 << 20, 64 << 20);

/// The client's first frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The lowest version the client speaks.
    pub min_version: u16,
    /// The highest.
    pub max_version: u16,
    /// Bytes of data that may wait at the client, a stream.
    pub window: u32,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A new session, of which this is stream 0.
    Begin {
        /// The volume to write, 1 to 253 bytes of UTF-8.
        volume: String,
        /// How many streams the client would like.
        streams: u8,
        /// What to do.
        order: Order,
    },
    /// A further stream of a session, or a stream's next connection.
    Join {
        /// As the welcome named it.
        session: u128,
        /// Proof that it is the same client.
        secret: u128,
        /// Which stream.
        stream: u8,
        /// What the client has received on it so far.
        received: Received,
    },
    /// Part of a block device or raw image, or the end of one: a session without streams.
    Device(DeviceCall),
    /// The end of a device's run that does not come to its own.
    GiveUp {
        /// The device, as in [`DeviceCall`].
        volume: String,
        /// The run.
        session: u128,
        /// Why.
        why: GiveUp,
    },
}

/// What a connection for a block device or raw image is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceCall {
    /// The device to write, 1 to 253 bytes of UTF-8.
    pub volume: String,
    /// Chosen by the client, at random: all connections of a run have the same, and no others.
    pub session: u128,
    /// How long the source is, in bytes.
    pub size: u64,
    /// What of it.
    pub step: DeviceStep,
}

/// How long the parts of a device are: all but the last, which ends where the device does.
pub const DEVICE_PART: u64 = 1 << 30;

/// What a connection does for a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceStep {
    /// Makes a part of it equal.
    Part {
        /// Where it begins: a multiple of [`DEVICE_PART`].
        start: u64,
        /// Behind its last byte.
        end: u64,
    },
    /// All parts have been: ends the run.
    End {
        /// That of the digests of all parts.
        digest: [u8; 32],
    },
}

/// Why a client does not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum GiveUp {
    /// It was told to stop.
    Interrupted = 0,
    /// The source changed each time it was read.
    Changed = 1,
    /// The source cannot be read.
    Unreadable = 2,
    /// Anything else.
    Failed = 3,
}

/// What the client asks the target to do besides storing what is sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Order {
    /// Delete what the source does not have.
    pub delete: bool,
    /// Stop deleting after so many; `None` for no limit.
    pub max_delete: Option<u64>,
    /// Compare content, not size and time.
    pub checksum: bool,
    /// Send changed files whole.
    pub whole_file: bool,
    /// Write into existing files.
    pub inplace: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Report every path, not only those that failed.
    pub itemize: bool,
    /// Hard links are told from separate files.
    pub hard_links: bool,
    /// Set owner and group.
    pub owner: bool,
    /// Carry extended attributes.
    pub xattrs: bool,
    /// Carry POSIX ACLs.
    pub acls: bool,
    /// Carry `security.selinux`.
    pub selinux: bool,
    /// Patterns of paths that are neither sent nor deleted; at most [`MAX_PATTERNS`].
    pub excludes: Vec<Bytes>,
}

/// The server's first frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Welcome {
    /// The version spoken from here on.
    pub version: u16,
    /// Names the session in later hellos.
    pub session: u128,
    /// Proves that a later hello comes from the same client.
    pub secret: u128,
    /// Seeds all digests of the session.
    pub seed: u64,
    /// How many streams the session has: 1 to [`MAX_STREAMS`].
    pub streams: u8,
    /// Bytes of data that may wait at the server, a stream.
    pub window: u32,
    /// Bytes of segments that may be unfinished at a time.
    pub list_window: u32,
    /// What the server has received on this stream.
    pub received: Received,
}

/// Why a server says no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum RefusalCode {
    /// No version in common.
    Version = 1,
    /// No volume of that name.
    UnknownVolume = 2,
    /// Another run is writing that volume.
    Busy = 3,
    /// The session has ended, or never was.
    UnknownSession = 4,
    /// The server is shutting down.
    Draining = 5,
    /// The volume cannot be written.
    Unwritable = 6,
}

/// The server says no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why, for the program.
    pub code: RefusalCode,
    /// Why, for the person: at most 1024 bytes.
    pub text: String,
}

/// What a client hears first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Come in.
    Welcome(Welcome),
    /// No.
    Refused(Refusal),
}

impl Hello {
    /// The frame.
    pub fn encode(&self) -> Frame {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u16_le(self.min_version);
        out.put_u16_le(self.max_version);
        out.put_u32_le(self.window);
        match &self.purpose {
            Purpose::Begin {
                volume,
                streams,
                order,
            } => {
                out.put_u8(0);
                out.put_counted(volume.as_bytes());
                out.put_u8(*streams);
                order.encode(&mut out);
            }
            Purpose::Join {
                session,
                secret,
                stream,
                received,
            } => {
                out.put_u8(1);
                out.put_u128_le(*session);
                out.put_u128_le(*secret);
                out.put_u8(*stream);
                put_received(&mut out, *received);
            }
            Purpose::Device(call) => {
                out.put_u8(2);
                call.encode(&mut out);
            }
            Purpose::GiveUp {
                volume,
                session,
                why,
            } => {
                out.put_u8(3);
                out.put_counted(volume.as_bytes());
                out.put_u128_le(*session);
                out.put_u8(*why as u8);
            }
        }
        Frame::new(Tag::Hello, &out)
    }

    /// Reads a client's first frame.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::NotBarge`] when it is something else; others when a field is beyond its
    /// limit. A version range that does not meet ours is for [`Hello::version`] to tell: the rest
    /// of such a hello may have another form, and is not read.
    pub fn decode(tag: Tag, payload: Bytes) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(payload);
        if tag != Tag::Hello || fields.bytes("a hello", MAGIC.len())? != MAGIC[..] {
            return Err(ProtocolError::NotBarge);
        }
        let min_version = fields.u16("a version")?;
        let max_version = fields.u16("a version")?;
        let mut hello = Self {
            min_version,
            max_version,
            window: WINDOW_LIMITS.0,
            purpose: Purpose::Join {
                session: 0,
                secret: 0,
                stream: 0,
                received: [0; 2],
            },
        };
        if hello.version().is_none() {
            return Ok(hello);
        }
        hello.window = window(fields.u32("a window")?)?;
        hello.purpose = Purpose::decode(&mut fields)?;
        fields.end()?;
        Ok(hello)
    }

    /// The version both sides speak, if there is one.
    pub fn version(&self) -> Option<u16> {
        (self.min_version <= VERSION && VERSION <= self.max_version).then_some(VERSION)
    }
}

impl Purpose {
    fn decode(fields: &mut Reader) -> Result<Self, ProtocolError> {
        match fields.u8("a purpose")? {
            0 => {
                let volume = name(fields, "a volume's name", MAX_VOLUME)?;
                let streams = fields.u8("streams")?;
                within("streams", streams.into(), MAX_STREAMS.into())?;
                let order = Order::decode(fields)?;
                Ok(Self::Begin {
                    volume,
                    streams: streams.max(1),
                    order,
                })
            }
            1 => Ok(Self::Join {
                session: fields.u128("a session")?,
                secret: fields.u128("a secret")?,
                stream: fields.u8("a stream")?,
                received: received(fields)?,
            }),
            2 => Ok(Self::Device(DeviceCall::decode(fields)?)),
            3 => Ok(Self::GiveUp {
                volume: name(fields, "a device's name", MAX_VOLUME)?,
                session: fields.u128("a session")?,
                why: GiveUp::decode(fields)?,
            }),
            value => Err(ProtocolError::Unknown {
                what: "a purpose",
                value: value.into(),
            }),
        }
    }
}

impl DeviceCall {
    fn encode(&self, out: &mut BytesMut) {
        out.put_counted(self.volume.as_bytes());
        out.put_u128_le(self.session);
        out.put_u64_le(self.size);
        self.step.encode(out);
    }

    fn decode(fields: &mut Reader) -> Result<Self, ProtocolError> {
        let volume = name(fields, "a device's name", MAX_VOLUME)?;
        let session = fields.u128("a session")?;
        let size = within("a device's size", fields.u64("a size")?, i64::MAX as u64)?;
        Ok(Self {
            volume,
            session,
            size,
            step: DeviceStep::decode(fields, size)?,
        })
    }
}

impl DeviceStep {
    fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Part { start, end } => {
                out.put_u8(0);
                out.put_u64_le(start);
                out.put_u64_le(end);
            }
            Self::End { digest } => {
                out.put_u8(1);
                out.put_slice(&digest);
            }
        }
    }

    fn decode(fields: &mut Reader, size: u64) -> Result<Self, ProtocolError> {
        match fields.u8("a step")? {
            0 => {
                let start = fields.u64("the beginning of a part")?;
                let end = fields.u64("the end of a part")?;
                let is_one = start < size
                    && start.is_multiple_of(DEVICE_PART)
                    && end - start.min(end) == DEVICE_PART.min(size - start);
                match is_one {
                    true => Ok(Self::Part { start, end }),
                    false => Err(ProtocolError::Invalid("a part of a device")),
                }
            }
            1 => {
                let bytes = fields.bytes("a digest", 32)?;
                let mut digest = [0; 32];
                digest.copy_from_slice(&bytes);
                Ok(Self::End { digest })
            }
            value => Err(ProtocolError::Unknown {
                what: "a step",
                value: value.into(),
            }),
        }
    }
}

impl GiveUp {
    fn decode(fields: &mut Reader) -> Result<Self, ProtocolError> {
        match fields.u8("a reason")? {
            0 => Ok(Self::Interrupted),
            1 => Ok(Self::Changed),
            2 => Ok(Self::Unreadable),
            3 => Ok(Self::Failed),
            value => Err(ProtocolError::Unknown {
                what: "a reason",
                value: value.into(),
            }),
        }
    }
}

impl Order {
    fn encode(&self, out: &mut BytesMut) {
        let bits = self
            .flags()
            .iter()
            .rev()
            .fold(0u16, |bits, &set| bits << 1 | u16::from(set));
        out.put_u16_le(bits);
        out.put_varint(self.max_delete.map_or(0, |max| max.saturating_add(1)));
        out.put_varint(self.excludes.len() as u64);
        for pattern in &self.excludes {
            out.put_counted(pattern);
        }
    }

    fn decode(fields: &mut Reader) -> Result<Self, ProtocolError> {
        let bits = fields.u16("an order's flags")?;
        if bits >> 11 != 0 {
            return Err(ProtocolError::Unknown {
                what: "an order's flag",
                value: bits.into(),
            });
        }
        let mut order = Self {
            max_delete: fields
                .varint("a limit of deletions", u64::MAX)?
                .checked_sub(1),
            ..Self::default()
        };
        for (n, flag) in order.flags_mut().into_iter().enumerate() {
            *flag = bits >> n & 1 == 1;
        }
        for _ in 0..fields.count("patterns", MAX_PATTERNS)? {
            order
                .excludes
                .push(fields.counted("a pattern", MAX_PATTERN)?);
        }
        Ok(order)
    }

    fn flags(&self) -> [bool; 11] {
        let mut copy = Self {
            excludes: Vec::new(),
            ..*self
        };
        copy.flags_mut().map(|flag| *flag)
    }

    /// The flags in the order of their bits.
    fn flags_mut(&mut self) -> [&mut bool; 11] {
        [
            &mut self.delete,
            &mut self.checksum,
            &mut self.whole_file,
            &mut self.inplace,
            &mut self.dry_run,
            &mut self.itemize,
            &mut self.hard_links,
            &mut self.owner,
            &mut self.xattrs,
            &mut self.acls,
            &mut self.selinux,
        ]
    }
}

impl Answer {
    /// The frame.
    pub fn encode(&self) -> Frame {
        let mut out = BytesMut::new();
        match self {
            Self::Welcome(welcome) => {
                out.put_u16_le(welcome.version);
                out.put_u128_le(welcome.session);
                out.put_u128_le(welcome.secret);
                out.put_u64_le(welcome.seed);
                out.put_u8(welcome.streams);
                out.put_u32_le(welcome.window);
                out.put_u32_le(welcome.list_window);
                put_received(&mut out, welcome.received);
                Frame::new(Tag::Welcome, &out)
            }
            Self::Refused(refusal) => {
                out.put_u8(refusal.code as u8);
                out.put_counted(crate::control::truncated(&refusal.text, MAX_TEXT));
                Frame::new(Tag::Refused, &out)
            }
        }
    }

    /// Reads a server's first frame.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::NotBarge`] when it is something else; others when a field is beyond its
    /// limit.
    pub fn decode(tag: Tag, payload: Bytes) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(payload);
        let answer = match tag {
            Tag::Welcome => Self::Welcome(Welcome::decode(&mut fields)?),
            Tag::Refused => Self::Refused(Refusal::decode(&mut fields)?),
            _ => return Err(ProtocolError::NotBarge),
        };
        fields.end()?;
        Ok(answer)
    }
}

impl Welcome {
    fn decode(fields: &mut Reader) -> Result<Self, ProtocolError> {
        let welcome = Self {
            version: fields.u16("a version")?,
            session: fields.u128("a session")?,
            secret: fields.u128("a secret")?,
            seed: fields.u64("a seed")?,
            streams: fields.u8("streams")?,
            window: window(fields.u32("a window")?)?,
            list_window: window(fields.u32("a list window")?)?,
            received: received(fields)?,
        };
        if welcome.version != VERSION {
            let value = welcome.version.into();
            return Err(ProtocolError::Unknown {
                what: "a version",
                value,
            });
        }
        if welcome.streams == 0 {
            return Err(ProtocolError::Unknown {
                what: "a number of streams",
                value: 0,
            });
        }
        within("streams", welcome.streams.into(), MAX_STREAMS.into())?;
        Ok(welcome)
    }
}

impl Refusal {
    fn decode(fields: &mut Reader) -> Result<Self, ProtocolError> {
        let code = match fields.u8("a refusal")? {
            1 => RefusalCode::Version,
            2 => RefusalCode::UnknownVolume,
            3 => RefusalCode::Busy,
            4 => RefusalCode::UnknownSession,
            5 => RefusalCode::Draining,
            6 => RefusalCode::Unwritable,
            value => {
                return Err(ProtocolError::Unknown {
                    what: "a refusal",
                    value: value.into(),
                });
            }
        };
        Ok(Self {
            code,
            text: text(fields, "a reason", MAX_TEXT)?,
        })
    }
}

fn window(bytes: u32) -> Result<u32, ProtocolError> {
    if bytes < WINDOW_LIMITS.0 {
        return Err(ProtocolError::Unknown {
            what: "a window",
            value: bytes.into(),
        });
    }
    within("a window", bytes.into(), WINDOW_LIMITS.1.into())?;
    Ok(bytes)
}

fn put_received(out: &mut BytesMut, received: Received) {
    for count in received {
        out.put_varint(count);
    }
}

fn received(fields: &mut Reader) -> Result<Received, ProtocolError> {
    let control = fields.varint("a message number", u64::MAX)?;
    Ok([control, fields.varint("a message number", u64::MAX)?])
}

/// Text for a person: what is not UTF-8 in it is replaced, and what a terminal would obey.
pub(crate) fn text(
    fields: &mut Reader,
    what: &'static str,
    limit: usize,
) -> Result<String, ProtocolError> {
    let shown = |c: char| match c.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    let text = name(fields, what, limit)?;
    Ok(text.chars().map(shown).collect())
}

/// A name to look up: what is not UTF-8 in it is replaced.
fn name(fields: &mut Reader, what: &'static str, limit: usize) -> Result<String, ProtocolError> {
    let bytes = fields.counted(what, limit)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::payload;

    fn hellos() -> Vec<Hello> {
        let hello = |purpose| Hello {
            min_version: 1,
            max_version: 9,
            window: 8 << 20,
            purpose,
        };
        let order = Order {
            delete: true,
            max_delete: Some(0),
            inplace: true,
            selinux: true,
            excludes: vec![Bytes::from_static(b"*.tmp")],
            ..Order::default()
        };
        let received = [5, u64::MAX];
        vec![
            hello(Purpose::Begin {
                volume: "pvc-1".into(),
                streams: 4,
                order,
            }),
            hello(Purpose::Join {
                session: 1,
                secret: u128::MAX,
                stream: 3,
                received,
            }),
            hello(device(
                3 * DEVICE_PART + 5,
                3 * DEVICE_PART,
                3 * DEVICE_PART + 5,
            )),
            hello(Purpose::Device(DeviceCall {
                volume: "disk".into(),
                session: 9,
                size: 0,
                step: DeviceStep::End { digest: [7; 32] },
            })),
            hello(Purpose::GiveUp {
                volume: "disk".into(),
                session: 9,
                why: GiveUp::Unreadable,
            }),
        ]
    }

    #[test]
    fn terminal_hears_no_orders_in_a_refusal() {
        let refusal = |text: &str| {
            Answer::Refused(Refusal {
                code: RefusalCode::Busy,
                text: text.to_owned(),
            })
        };
        let said = refusal("no\x1b[2J\nroom").encode().head.slice(4..);
        let heard = Answer::decode(Tag::Refused, said);
        assert_eq!(heard, Ok(refusal("no\u{fffd}[2J\u{fffd}room")));
    }

    fn device(size: u64, start: u64, end: u64) -> Purpose {
        Purpose::Device(DeviceCall {
            volume: "disk".into(),
            session: 9,
            size,
            step: DeviceStep::Part { start, end },
        })
    }

    #[test]
    fn parts_that_a_device_cannot_have_are_refused() {
        let part = DEVICE_PART;
        for (size, start, end, fits) in [
            (part + 1, 0, part, true),
            (part + 1, part, part + 1, true),
            (part, 0, part, true),
            (part, part, part, false),
            (part, 0, part - 1, false),
            (part + 1, 0, part + 1, false),
            (part + 1, 1, part + 1, false),
            (part + 1, part, part, false),
            (part + 1, part, 0, false),
            (0, 0, 0, false),
            (5, u64::MAX - part + 1, u64::MAX, false),
            (1 << 63, 0, part, false),
        ] {
            let hello = Hello {
                min_version: 1,
                max_version: 1,
                window: 8 << 20,
                purpose: device(size, start, end),
            };
            let payload = hello.encode().head.slice(4..);
            let decoded = Hello::decode(Tag::Hello, payload);
            assert_eq!(decoded.is_ok(), fits, "{size} {start} {end}");
        }
    }

    fn answers() -> Vec<Answer> {
        let welcome = Welcome {
            version: VERSION,
            session: 1,
            secret: 2,
            seed: 3,
            streams: 4,
            window: 8 << 20,
            list_window: 4 << 20,
            received: [1, 2],
        };
        let refusal = Refusal {
            code: RefusalCode::Busy,
            text: "another run".into(),
        };
        vec![Answer::Welcome(welcome), Answer::Refused(refusal)]
    }

    #[test]
    fn hellos_and_answers_come_back_as_they_went_and_none_cut_short_does() {
        for hello in hellos() {
            let payload = hello.encode().head.slice(4..);
            assert_eq!(
                Hello::decode(Tag::Hello, payload.clone()).as_ref(),
                Ok(&hello)
            );
            for cut in 0..payload.len() {
                assert!(Hello::decode(Tag::Hello, payload.slice(..cut)).is_err());
            }
        }
        for (answer, tag) in answers().into_iter().zip([Tag::Welcome, Tag::Refused]) {
            let payload = answer.encode().head.slice(4..);
            assert_eq!(Answer::decode(tag, payload.clone()).as_ref(), Ok(&answer));
            for cut in 0..payload.len() {
                assert!(Answer::decode(tag, payload.slice(..cut)).is_err());
            }
        }
    }

    #[test]
    fn hello_of_another_version_is_read_no_further_than_its_version() {
        let hello = Bytes::from_static(b"barge\0\x02\0\x03\0 and something else");
        assert_eq!(Hello::decode(Tag::Hello, hello).unwrap().version(), None);
    }

    #[test]
    fn first_frame_of_something_else_is_no_barge() {
        let http = Bytes::from_static(b"HTTP/1.1 400");
        assert_eq!(
            Hello::decode(Tag::Hello, http),
            Err(ProtocolError::NotBarge)
        );
        assert_eq!(
            Answer::decode(Tag::Ping, Bytes::new()),
            Err(ProtocolError::NotBarge)
        );
    }

    proptest! {
        #[test]
        fn no_payload_makes_decode_panic(payload in payload()) {
            let _ = Hello::decode(Tag::Hello, payload.clone());
            let _ = Answer::decode(Tag::Welcome, payload.clone());
            let _ = Answer::decode(Tag::Refused, payload.clone());
            let mut hello = BytesMut::from(&b"barge\0\x01\0\x01\0"[..]);
            hello.extend_from_slice(&payload);
            let _ = Hello::decode(Tag::Hello, hello.freeze());
        }
    }
}
