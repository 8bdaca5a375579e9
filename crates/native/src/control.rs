//! The control lane: list, requests, results, the end.

use std::borrow::Cow;

use barge_types::{
    Changes, Class, Device, Entry, Failure, Kind, Meta, Mode, Name, Outcome, Owner, RelPath, Side,
    Tally, Timestamp, Xattr, XattrName,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::ProtocolError;
use crate::cursor::{Put, Reader};
use crate::frame::{Frame, MAX_PAYLOAD, Tag};
use crate::hello::text;
use crate::stripe::MAX_FILE;

/// The most entries in one segment.
pub const MAX_ITEMS: usize = 4096;

/// The most bytes one entry may take on the wire: what is longer cannot be sent.
pub const MAX_ITEM: usize = MAX_PAYLOAD - 64;

/// The most extended attributes one entry may have.
pub const MAX_ATTRIBUTES: usize = 1024;
const MAX_VALUE: usize = 64 << 10;
const MAX_TARGET: usize = 4095;
const MAX_OP: usize = 64;
const MAX_TEXT: usize = 1024;

/// A directory of this session, numbered by the sender as it meets them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DirId(pub u64);

/// A segment of this session, numbered from 0 in the order they are sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SegmentId(pub u32);

/// Files with more than one name, numbered by the sender.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LinkGroup(pub u32);

/// One entry as it is listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Name, kind, metadata.
    pub entry: Entry,
    /// How it stands to other entries.
    pub tie: Tie,
    /// Under `--checksum`, the digest of a regular file's content.
    pub digest: Option<u128>,
}

/// How an entry stands to other entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tie {
    /// Not at all.
    None,
    /// A directory, whose entries follow under this number. Directories, and only they, have it.
    Directory(DirId),
    /// The first name of a file that has several.
    Leader(LinkGroup),
    /// A further name of such a file. Its leader stands before it in the list.
    Follower {
        /// The file.
        group: LinkGroup,
        /// No further name follows.
        last: bool,
    },
}

/// Part of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Its number.
    pub id: SegmentId,
    /// The directory.
    pub dir: DirId,
    /// No further segment of this directory follows.
    pub last: bool,
    /// With `last`: the directory was listed completely and without error.
    pub clean: bool,
    /// At most [`MAX_ITEMS`] entries.
    pub items: Vec<Item>,
}

/// How an entry of a segment ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// For good.
    Outcome(Outcome),
    /// It changed on the way: list it again after the first pass.
    Redo,
    /// A directory: its outcome is counted when its entries are through.
    Later,
}

/// Why a run ends before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum AbortCode {
    /// The target can take nothing more: full, over quota, or read-only.
    TargetFull = 1,
    /// Somebody asked for it.
    Interrupted = 2,
    /// The other side broke the protocol.
    Protocol = 3,
    /// Something else failed at this side.
    Failed = 4,
    /// A stream could not be connected again: a successor may go on.
    Lost = 5,
}

/// A message of the control lane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Control {
    /// Sender: a directory that no segment has listed: the root, or one that holds redos.
    Open {
        /// Its number.
        dir: DirId,
        /// Where it is.
        path: RelPath,
        /// What the root is to look like; `None` for a directory of which only redos follow.
        meta: Option<Meta>,
    },
    /// Sender: part of a directory.
    Segment(Segment),
    /// Sender: everything has been listed and has ended.
    ListEnd {
        /// Entries in all segments.
        items: u64,
        /// What the sender alone knows: skipped, failed before they were listed, bytes.
        tally: Tally,
    },
    /// Sender: the report has arrived.
    Goodbye,
    /// Receiver: these files whole.
    Want {
        /// Their segment.
        segment: SegmentId,
        /// Their places in it.
        indexes: Vec<u16>,
    },
    /// Receiver: every entry of a segment has ended.
    Done {
        /// The segment.
        segment: SegmentId,
        /// One ending an entry, in order.
        endings: Vec<Ending>,
    },
    /// Receiver: the outcome of a path outside of a segment: a deletion, a directory.
    Notice {
        /// Below the root.
        path: RelPath,
        /// How it ended.
        outcome: Outcome,
    },
    /// Receiver: all is durable.
    Finished {
        /// What the receiver counted.
        tally: Tally,
        /// Paths that `--max-delete` kept.
        undeleted: u64,
    },
    /// Either: the run ends here.
    Abort {
        /// Why, for the program.
        code: AbortCode,
        /// Why, for the person.
        text: String,
        /// What the receiver has counted so far; nothing from a sender.
        tally: Tally,
    },
}

impl Control {
    /// The frame.
    pub fn encode(&self) -> Frame {
        let mut out = BytesMut::new();
        let tag = self.put(&mut out);
        Frame::new(tag, &out)
    }

    fn put(&self, out: &mut BytesMut) -> Tag {
        match self {
            Self::Open { dir, path, meta } => {
                out.put_varint(dir.0);
                out.put_counted(path.as_bytes());
                out.put_u8(meta.is_some().into());
                if let Some(meta) = meta {
                    put_meta(out, meta, &mut Previous::default());
                }
                Tag::Open
            }
            Self::Segment(segment) => {
                let mut encoder = SegmentEncoder::default();
                for item in &segment.items {
                    encoder.push(item);
                }
                out.extend_from_slice(&encoder.finish(
                    segment.id,
                    segment.dir,
                    segment.last,
                    segment.clean,
                ));
                Tag::Segment
            }
            Self::ListEnd { items, tally } => {
                out.put_varint(*items);
                put_tally(out, tally);
                Tag::ListEnd
            }
            Self::Goodbye => Tag::Goodbye,
            Self::Want { segment, indexes } => {
                out.put_varint(segment.0.into());
                out.put_varint(indexes.len() as u64);
                indexes.iter().for_each(|&index| out.put_u16_le(index));
                Tag::Want
            }
            Self::Done { segment, endings } => {
                out.put_varint(segment.0.into());
                out.put_varint(endings.len() as u64);
                put_endings(out, endings);
                Tag::Done
            }
            Self::Notice { path, outcome } => {
                out.put_counted(path.as_bytes());
                put_ending(out, &Ending::Outcome(outcome.clone()));
                Tag::Notice
            }
            Self::Finished { tally, undeleted } => {
                put_tally(out, tally);
                out.put_varint(*undeleted);
                Tag::Finished
            }
            Self::Abort { code, text, tally } => {
                out.put_u8(*code as u8);
                out.put_counted(truncated(text, MAX_TEXT));
                put_tally(out, tally);
                Tag::Abort
            }
        }
    }

    /// Reads a message of the control lane.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when a field is beyond its limit or no file can have it.
    pub fn decode(tag: Tag, payload: Bytes) -> Result<Self, ProtocolError> {
        let mut fields = Reader::new(payload);
        let message = Self::take(tag, &mut fields)?;
        fields.end()?;
        Ok(message)
    }

    fn take(tag: Tag, fields: &mut Reader) -> Result<Self, ProtocolError> {
        Ok(match tag {
            Tag::Open => {
                let dir = DirId(fields.varint("a directory", u64::MAX)?);
                let path = path(fields)?;
                let meta = match fields.flag("a flag")? {
                    false => None,
                    true => Some(meta(fields, &mut Previous::default(), META_ALL)?),
                };
                Self::Open { dir, path, meta }
            }
            Tag::Segment => Self::Segment(segment(fields)?),
            Tag::ListEnd => Self::ListEnd {
                items: fields.varint("entries", u64::MAX)?,
                tally: tally(fields)?,
            },
            Tag::Goodbye => Self::Goodbye,
            Tag::Want => {
                let segment = segment_id(fields)?;
                let count = fields.count("wanted files", MAX_ITEMS)?;
                let indexes = (0..count)
                    .map(|_| fields.u16("an index"))
                    .collect::<Result<_, _>>()?;
                Self::Want { segment, indexes }
            }
            Tag::Done => {
                let segment = segment_id(fields)?;
                let count = fields.count("endings", MAX_ITEMS)?;
                Self::Done {
                    segment,
                    endings: endings(fields, count)?,
                }
            }
            Tag::Notice => {
                let path = path(fields)?;
                match ending(fields)? {
                    Ending::Outcome(outcome) => Self::Notice { path, outcome },
                    _ => return Err(ProtocolError::Order("an ending without an outcome")),
                }
            }
            Tag::Finished => Self::Finished {
                tally: tally(fields)?,
                undeleted: fields.varint("undeleted paths", u64::MAX)?,
            },
            Tag::Abort => Self::Abort {
                code: abort_code(fields.u8("an abort's code")?)?,
                text: text(fields, "a reason", MAX_TEXT)?,
                tally: tally(fields)?,
            },
            _ => return Err(ProtocolError::Order("a message")),
        })
    }
}

/// Builds a segment's frame entry by entry, so that its length is known before it is full.
#[derive(Debug, Default)]
pub struct SegmentEncoder {
    items: BytesMut,
    count: usize,
    previous: Previous,
}

impl SegmentEncoder {
    /// Adds an entry.
    pub fn push(&mut self, item: &Item) {
        self.count += 1;
        put_item(&mut self.items, item, &mut self.previous);
    }

    /// The segment's fields.
    pub fn finish(self, id: SegmentId, dir: DirId, last: bool, clean: bool) -> BytesMut {
        let mut out = BytesMut::with_capacity(self.items.len() + 24);
        out.put_varint(id.0.into());
        out.put_varint(dir.0);
        out.put_u8(u8::from(last) | u8::from(clean) << 1);
        out.put_varint(self.count as u64);
        out.unsplit(self.items);
        out
    }
}

/// An upper bound of the bytes `item` takes on the wire.
pub fn item_len(item: &Item) -> usize {
    const FIXED: usize = 96;
    let target = match &item.entry.kind {
        Kind::Symlink { target } => target.len(),
        _ => 0,
    };
    let attribute = |xattr: &Xattr| xattr.name.as_bytes().len() + xattr.value.len() + 8;
    let xattrs: usize = item.entry.meta.xattrs.iter().map(attribute).sum();
    FIXED + item.entry.name.as_bytes().len() + target + xattrs
}

/// What an entry is coded against: the one before it.
#[derive(Debug, Default)]
struct Previous {
    mode: Option<Mode>,
    owner: Option<Owner>,
    secs: i64,
}

const KIND: u8 = 0x07;
const SAME_OWNER: u8 = 0x08;
const SAME_MODE: u8 = 0x10;
const XATTRS: u8 = 0x20;
const LINKED: u8 = 0x40;
const DIGEST: u8 = 0x80;
/// The flags of metadata that is coded against nothing.
const META_ALL: u8 = XATTRS;

fn put_item(out: &mut BytesMut, item: &Item, previous: &mut Previous) {
    let meta = &item.entry.meta;
    let mut head = kind_code(&item.entry.kind);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    head |= flag(previous.owner == Some(meta.owner), SAME_OWNER);
    head |= flag(previous.mode == Some(meta.mode), SAME_MODE);
    head |= flag(!meta.xattrs.is_empty(), XATTRS);
    head |= flag(
        matches!(item.tie, Tie::Leader(_) | Tie::Follower { .. }),
        LINKED,
    );
    head |= flag(item.digest.is_some(), DIGEST);
    out.put_u8(head);
    out.put_counted(item.entry.name.as_bytes());
    put_meta_coded(out, meta, previous, head);
    put_kind(out, item);
    match item.tie {
        Tie::Leader(group) => put_link(out, 0, group),
        Tie::Follower { group, last } => put_link(out, 1 + u8::from(last), group),
        Tie::None | Tie::Directory(_) => {}
    }
    if let Some(digest) = item.digest {
        out.put_u128_le(digest);
    }
}

fn put_link(out: &mut BytesMut, role: u8, group: LinkGroup) {
    out.put_u8(role);
    out.put_varint(group.0.into());
}

fn put_kind(out: &mut BytesMut, item: &Item) {
    match (&item.entry.kind, item.tie) {
        (Kind::File { size }, _) => out.put_varint(*size),
        (Kind::Directory, Tie::Directory(dir)) => out.put_varint(dir.0),
        (Kind::Directory, _) => unreachable!("a directory is listed with its number"),
        (Kind::Symlink { target }, _) => out.put_counted(target),
        (Kind::CharDevice(device) | Kind::BlockDevice(device), _) => {
            out.put_varint(device.major.into());
            out.put_varint(device.minor.into());
        }
        (Kind::Fifo | Kind::Socket, _) => {}
    }
}

fn kind_code(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 0,
        Kind::Directory => 1,
        Kind::Symlink { .. } => 2,
        Kind::CharDevice(_) => 3,
        Kind::BlockDevice(_) => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
    }
}

fn put_meta(out: &mut BytesMut, meta: &Meta, previous: &mut Previous) {
    put_meta_coded(out, meta, previous, META_ALL);
}

fn put_meta_coded(out: &mut BytesMut, meta: &Meta, previous: &mut Previous, flags: u8) {
    if flags & SAME_MODE == 0 {
        out.put_varint(meta.mode.bits().into());
    }
    if flags & SAME_OWNER == 0 {
        out.put_varint(meta.owner.uid.into());
        out.put_varint(meta.owner.gid.into());
    }
    out.put_signed(meta.mtime.secs().wrapping_sub(previous.secs));
    out.put_varint(meta.mtime.nanos().into());
    if flags & XATTRS != 0 {
        out.put_varint(meta.xattrs.len() as u64);
        for xattr in &meta.xattrs {
            out.put_counted(xattr.name.as_bytes());
            out.put_counted(&xattr.value);
        }
    }
    *previous = Previous {
        mode: Some(meta.mode),
        owner: Some(meta.owner),
        secs: meta.mtime.secs(),
    };
}

fn segment(fields: &mut Reader) -> Result<Segment, ProtocolError> {
    let id = segment_id(fields)?;
    let dir = DirId(fields.varint("a directory", u64::MAX)?);
    let flags = fields.u8("a segment's flags")?;
    if flags > 3 {
        return Err(ProtocolError::Unknown {
            what: "a segment's flag",
            value: flags.into(),
        });
    }
    let count = fields.count("entries", MAX_ITEMS)?;
    let mut previous = Previous::default();
    // An entry takes at least four bytes: a count cannot make us take more memory than that.
    let mut items = Vec::with_capacity(count.min(fields.remaining() / 4));
    for _ in 0..count {
        items.push(item(fields, &mut previous)?);
    }
    Ok(Segment {
        id,
        dir,
        last: flags & 1 != 0,
        clean: flags & 2 != 0,
        items,
    })
}

fn item(fields: &mut Reader, previous: &mut Previous) -> Result<Item, ProtocolError> {
    let head = fields.u8("an entry")?;
    let name = fields.counted("a name", barge_types::MAX_NAME)?;
    let name = Name::new(&name).map_err(|_| ProtocolError::Invalid("a name"))?;
    let meta = meta(fields, previous, head)?;
    let (kind, mut tie) = kind(fields, head & KIND)?;
    if head & LINKED != 0 {
        if matches!(tie, Tie::Directory(_)) {
            return Err(ProtocolError::Invalid("a directory with several names"));
        }
        tie = link(fields)?;
    }
    let digest = match head & DIGEST {
        0 => None,
        _ => Some(fields.u128("a digest")?),
    };
    Ok(Item {
        entry: Entry { name, kind, meta },
        tie,
        digest,
    })
}

fn link(fields: &mut Reader) -> Result<Tie, ProtocolError> {
    let role = fields.u8("a link's role")?;
    let group = LinkGroup(fields.varint("a link group", u32::MAX.into())? as u32);
    match role {
        0 => Ok(Tie::Leader(group)),
        1 | 2 => Ok(Tie::Follower {
            group,
            last: role == 2,
        }),
        value => Err(ProtocolError::Unknown {
            what: "a link's role",
            value: value.into(),
        }),
    }
}

fn kind(fields: &mut Reader, code: u8) -> Result<(Kind, Tie), ProtocolError> {
    let kind = match code {
        0 => Kind::File {
            size: fields.varint("a size", MAX_FILE)?,
        },
        1 => {
            let dir = DirId(fields.varint("a directory", u64::MAX)?);
            return Ok((Kind::Directory, Tie::Directory(dir)));
        }
        2 => {
            let target = fields.counted("a link's target", MAX_TARGET)?;
            if target.is_empty() || target.contains(&0) {
                return Err(ProtocolError::Invalid("a link's target"));
            }
            Kind::Symlink {
                target: target[..].into(),
            }
        }
        3 => Kind::CharDevice(device(fields)?),
        4 => Kind::BlockDevice(device(fields)?),
        5 => Kind::Fifo,
        6 => Kind::Socket,
        value => {
            return Err(ProtocolError::Unknown {
                what: "a kind",
                value: value.into(),
            });
        }
    };
    Ok((kind, Tie::None))
}

fn device(fields: &mut Reader) -> Result<Device, ProtocolError> {
    Ok(Device {
        major: fields.varint("a major number", u32::MAX.into())? as u32,
        minor: fields.varint("a minor number", u32::MAX.into())? as u32,
    })
}

fn meta(fields: &mut Reader, previous: &mut Previous, flags: u8) -> Result<Meta, ProtocolError> {
    let mode = match (flags & SAME_MODE, previous.mode) {
        (0, _) => {
            let bits = fields.varint("a mode", 0o7777)? as u32;
            Mode::new(bits).ok_or(ProtocolError::Invalid("a mode"))?
        }
        (_, Some(mode)) => mode,
        (_, None) => return Err(ProtocolError::Order("a repeated mode")),
    };
    let owner = match (flags & SAME_OWNER, previous.owner) {
        (0, _) => {
            let uid = fields.varint("a user", u32::MAX.into())? as u32;
            let gid = fields.varint("a group", u32::MAX.into())? as u32;
            Owner::new(uid, gid).ok_or(ProtocolError::Invalid("an owner"))?
        }
        (_, Some(owner)) => owner,
        (_, None) => return Err(ProtocolError::Order("a repeated owner")),
    };
    let secs = previous.secs.wrapping_add(fields.signed("a time")?);
    let nanos = fields.varint("nanoseconds", u32::MAX.into())? as u32;
    let mtime = Timestamp::new(secs, nanos).ok_or(ProtocolError::Invalid("a time"))?;
    *previous = Previous {
        mode: Some(mode),
        owner: Some(owner),
        secs,
    };
    let xattrs = match flags & XATTRS {
        0 => Vec::new(),
        _ => xattrs(fields)?,
    };
    Ok(Meta {
        mode,
        owner,
        mtime,
        xattrs,
    })
}

fn xattrs(fields: &mut Reader) -> Result<Vec<Xattr>, ProtocolError> {
    let count = fields.count("attributes", MAX_ATTRIBUTES)?;
    let mut xattrs: Vec<Xattr> = Vec::new();
    for _ in 0..count {
        let name = XattrName::new(&fields.counted("an attribute's name", 255)?)
            .ok_or(ProtocolError::Invalid("an attribute's name"))?;
        if xattrs.last().is_some_and(|last| last.name >= name) {
            return Err(ProtocolError::Order("an attribute"));
        }
        let value = fields.counted("an attribute's value", MAX_VALUE)?[..].into();
        xattrs.push(Xattr { name, value });
    }
    Ok(xattrs)
}

fn segment_id(fields: &mut Reader) -> Result<SegmentId, ProtocolError> {
    Ok(SegmentId(
        fields.varint("a segment", u32::MAX.into())? as u32
    ))
}

fn path(fields: &mut Reader) -> Result<RelPath, ProtocolError> {
    let bytes = fields.counted("a path", MAX_PAYLOAD)?;
    RelPath::new(&bytes).map_err(|_| ProtocolError::Invalid("a path"))
}

fn put_endings(out: &mut BytesMut, endings: &[Ending]) {
    for run in endings.chunk_by(|a, b| a == b) {
        put_ending(out, &run[0]);
        out.put_varint(run.len() as u64);
    }
}

fn endings(fields: &mut Reader, count: usize) -> Result<Vec<Ending>, ProtocolError> {
    let mut endings = Vec::new();
    while endings.len() < count {
        let ending = ending(fields)?;
        let run = fields.count("a run of endings", count - endings.len())?;
        if run == 0 {
            return Err(ProtocolError::Invalid("a run of no endings"));
        }
        endings.resize(endings.len() + run, ending);
    }
    Ok(endings)
}

fn put_ending(out: &mut BytesMut, ending: &Ending) {
    let mut changed = |code, changes: Changes| {
        out.put_u8(code);
        out.put_u8(changes.bits());
    };
    match ending {
        Ending::Outcome(Outcome::Unchanged) => out.put_u8(0),
        Ending::Outcome(Outcome::Created) => out.put_u8(1),
        Ending::Outcome(Outcome::Updated(changes)) => changed(2, *changes),
        Ending::Outcome(Outcome::Metadata(changes)) => changed(3, *changes),
        Ending::Outcome(Outcome::Linked) => out.put_u8(4),
        Ending::Outcome(Outcome::Deleted) => out.put_u8(5),
        Ending::Outcome(Outcome::Failed(failure)) => {
            out.put_u8(6);
            put_failure(out, failure);
        }
        Ending::Redo => out.put_u8(7),
        Ending::Later => out.put_u8(8),
        Ending::Outcome(Outcome::Skipped(_)) => unreachable!("the receiver skips nothing"),
    }
}

fn ending(fields: &mut Reader) -> Result<Ending, ProtocolError> {
    let changes = |fields: &mut Reader| fields.u8("changes").map(Changes::from_bits);
    let outcome = match fields.u8("an ending")? {
        0 => Outcome::Unchanged,
        1 => Outcome::Created,
        2 => Outcome::Updated(changes(fields)?),
        3 => Outcome::Metadata(changes(fields)?),
        4 => Outcome::Linked,
        5 => Outcome::Deleted,
        6 => Outcome::Failed(failure(fields)?),
        7 => return Ok(Ending::Redo),
        8 => return Ok(Ending::Later),
        value => {
            return Err(ProtocolError::Unknown {
                what: "an ending",
                value: value.into(),
            });
        }
    };
    Ok(Ending::Outcome(outcome))
}

pub(crate) fn put_failure(out: &mut BytesMut, failure: &Failure) {
    out.put_u8(match failure.side {
        Side::Source => 0,
        Side::Target => 1,
    });
    out.put_u8(match failure.class {
        Class::Denied => 0,
        Class::Vanished => 1,
        Class::Changed => 2,
        Class::Unsupported => 3,
        Class::NoSpace => 4,
        Class::Io => 5,
    });
    out.put_i32_le(failure.errno);
    out.put_counted(truncated(&failure.op, MAX_OP));
}

pub(crate) fn failure(fields: &mut Reader) -> Result<Failure, ProtocolError> {
    let side = match fields.u8("a side")? {
        0 => Side::Source,
        1 => Side::Target,
        value => {
            return Err(ProtocolError::Unknown {
                what: "a side",
                value: value.into(),
            });
        }
    };
    let class = match fields.u8("a class")? {
        0 => Class::Denied,
        1 => Class::Vanished,
        2 => Class::Changed,
        3 => Class::Unsupported,
        4 => Class::NoSpace,
        5 => Class::Io,
        value => {
            return Err(ProtocolError::Unknown {
                what: "a class",
                value: value.into(),
            });
        }
    };
    let errno = fields.u32("an errno")? as i32;
    let op = Cow::Owned(text(fields, "an operation", MAX_OP)?);
    Ok(Failure {
        side,
        op,
        errno,
        class,
    })
}

fn abort_code(code: u8) -> Result<AbortCode, ProtocolError> {
    Ok(match code {
        1 => AbortCode::TargetFull,
        2 => AbortCode::Interrupted,
        3 => AbortCode::Protocol,
        4 => AbortCode::Failed,
        5 => AbortCode::Lost,
        value => {
            return Err(ProtocolError::Unknown {
                what: "an abort's code",
                value: value.into(),
            });
        }
    })
}

fn put_tally(out: &mut BytesMut, tally: &Tally) {
    let mut tally = *tally;
    for count in tally_fields(&mut tally) {
        out.put_varint(*count);
    }
}

fn tally(fields: &mut Reader) -> Result<Tally, ProtocolError> {
    let mut tally = Tally::default();
    for count in tally_fields(&mut tally) {
        // Sums of such counts cannot overflow.
        *count = fields.varint("a count", 1 << 60)?;
    }
    Ok(tally)
}

fn tally_fields(tally: &mut Tally) -> [&mut u64; 12] {
    [
        &mut tally.unchanged,
        &mut tally.created,
        &mut tally.updated,
        &mut tally.metadata,
        &mut tally.linked,
        &mut tally.deleted,
        &mut tally.skipped,
        &mut tally.failed,
        &mut tally.bytes_listed,
        &mut tally.bytes_read,
        &mut tally.bytes_sent,
        &mut tally.bytes_matched,
    ]
}

/// The first `limit` bytes of `text`, whole characters only.
pub(crate) fn truncated(text: &str, limit: usize) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{controls, items, payload};

    #[test]
    fn every_message_comes_back_as_it_went_and_none_cut_short_does() {
        for message in controls() {
            let frame = message.encode();
            let tag = frame_tag(&frame);
            let payload = frame.head.slice(4..);
            assert_eq!(Control::decode(tag, payload.clone()).as_ref(), Ok(&message));
            for cut in 0..payload.len() {
                assert!(
                    Control::decode(tag, payload.slice(..cut)).is_err(),
                    "{tag:?} at {cut}"
                );
            }
        }
    }

    #[test]
    fn item_len_is_an_upper_bound() {
        for item in items() {
            let mut out = BytesMut::new();
            put_item(&mut out, &item, &mut Previous::default());
            assert!(out.len() <= item_len(&item));
        }
    }

    #[test]
    fn text_of_an_abort_is_cut_at_a_whole_character() {
        let message = Control::Abort {
            code: AbortCode::Failed,
            text: "é".repeat(600),
            tally: Tally::default(),
        };
        let frame = message.encode();
        let Ok(Control::Abort { text, .. }) = Control::decode(Tag::Abort, frame.head.slice(4..))
        else {
            panic!("no abort");
        };
        assert_eq!(text, "é".repeat(512));
    }

    fn frame_tag(frame: &Frame) -> Tag {
        let mut input = BytesMut::from(&frame.head[..]);
        crate::frame::decode(&mut input).unwrap().unwrap().0
    }

    proptest! {
        #[test]
        fn no_payload_makes_decode_panic(payload in payload()) {
            for message in controls() {
                let _ = Control::decode(frame_tag(&message.encode()), payload.clone());
            }
        }

        #[test]
        fn no_flipped_bit_makes_decode_panic(at: prop::sample::Index, bit in 0u8..8) {
            for message in controls() {
                let frame = message.encode();
                let mut payload = frame.head[4..].to_vec();
                if payload.is_empty() { continue; }
                let at = at.index(payload.len());
                payload[at] ^= 1 << bit;
                let _ = Control::decode(frame_tag(&frame), payload.into());
            }
        }
    }
}
