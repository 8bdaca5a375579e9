//! barge's own protocol, version 1, as machines without I/O.
//!
//! # Parties and goals
//!
//! A **client**, who dialled and has the data, is the *sender*; a **server**, who accepted and
//! has the volume, is the *receiver*. They talk over 1 to [`MAX_STREAMS`] streams, each a
//! connection of its own with TLS 1.3 beneath (ALPN `barge/1`); both are authenticated by it, and
//! neither is trusted further than its part needs: every number is checked before it is used.
//!
//! Goals: nothing is lost or doubled when a connection is cut; memory on both sides is bounded by
//! what this page lists as limits; no message waits for a round trip that could be spared.
//! Non-goals: pulling, more than one volume a session, compression.
//!
//! # Frames
//!
//! Everything is a frame ([`frame`]): a tag, a length of three bytes, a payload of at most
//! [`MAX_PAYLOAD`] bytes. Numbers are little-endian; *varint* has seven bits a byte, low bits
//! first; *counted* is a varint length and as many bytes; *signed* is a zigzag varint.
//!
//! | tag | frame | lane | from | fields |
//! |---|---|---|---|---|
//! | `01` | Hello | – | client | `"barge\0"`, lowest and highest version `u16`, window `u32`, purpose `u8`: `0` begin: volume *counted* (≤ 253), streams `u8`, order; `1` join: session `u128`, secret `u128`, stream `u8`, received 2 × *varint*; `2` device: volume *counted*, session `u128`, size `u64`, step; `3` give up: volume *counted*, session `u128`, reason `u8` ([`GiveUp`]) |
//! | `02` | Welcome | – | server | version `u16`, session `u128`, secret `u128`, seed `u64`, streams `u8`, window `u32`, list window `u32`, received 2 × *varint* |
//! | `03` | Refused | – | server | code `u8` ([`RefusalCode`]), text *counted* (≤ 1024) |
//! | `10` | Ack | – | both | lane `u8`, messages received *varint*, bytes consumed *varint* |
//! | `11` | Ping | – | both | none |
//! | `20` | Segment | control | sender | number *varint*, directory *varint*, flags `u8` (1 last, 2 clean), entries *varint* (≤ [`MAX_ITEMS`]), entries |
//! | `21` | Open | control | sender | directory *varint*, path *counted*, `0`, or `1` and metadata |
//! | `22` | ListEnd | control | sender | entries *varint*, tally |
//! | `23` | Goodbye | control | sender | none |
//! | `28` | Want | control | receiver | segment *varint*, count *varint*, indexes `u16` each |
//! | `29` | Done | control | receiver | segment *varint*, count *varint*, runs of endings: ending, *varint* |
//! | `2a` | Notice | control | receiver | path *counted*, ending |
//! | `2b` | Finished | control | receiver | tally, undeleted *varint* |
//! | `30` | Abort | control | both | code `u8` ([`AbortCode`]), text *counted* (≤ 1024), tally |
//! | `40` | Bundle | data | sender | records: file, length `u32` (≤ [`MAX_BUNDLED`]), digest `u128`, bytes |
//! | `41` | Literal | data | sender | file, range `u32`, bytes (≤ [`MAX_LITERAL`]) |
//! | `42` | Copy | data | sender | file, range `u32`, basis offset `u64`, length `u64` |
//! | `43` | Hole | data | sender | file, range `u32`, length `u64` |
//! | `44` | RangeEnd | data | sender | file, range `u32`, digest `u128` |
//! | `45` | Unsent | data | sender | file, `0` changed, or `1` and failure |
//! | `50` | Signature | data | receiver | file, basis length `u64`, block length `u32`, in place `u8` |
//! | `51` | Sums | data | receiver | file, first block `u32`, sums: weak `u32`, strong `u128` (≤ [`MAX_SUMS`]) |
//! | `52` | SignatureEnd | data | receiver | file |
//!
//! *File* is a segment `u32` and an index `u16` in it. *Order* is flags `u16` ([`Order`], in the
//! order of its fields), limit of deletions *varint* (0 none, else the limit + 1), patterns
//! *varint* (≤ [`MAX_PATTERNS`]), *counted* each (≤ 4096). *Tally* is twelve *varints*, the
//! fields of [`barge_types::Tally`] in order. *Failure* is side `u8`, class `u8`, errno `i32`,
//! operation *counted* (≤ 64).
//!
//! A *step* is `0`, start `u64`, end `u64`, or `1` and a digest of 32 bytes.
//!
//! An *entry* is a head `u8` (3 bits kind; `08` owner and `10` mode as in the entry before, `20`
//! attributes, `40` several names, `80` digest), name *counted*, mode *varint*, user and group
//! *varint*, seconds *signed* (against the entry before), nanoseconds *varint*, attributes
//! (*varint* ≤ 1024; name *counted* ≤ 255, value *counted* ≤ 64 KiB), then by kind: a file's size
//! *varint*, a directory's number *varint*, a symbolic link's target *counted* (≤ 4095), a device's
//! two numbers *varint*; then for several names role `u8` (0 leader, 1 follower, 2 last follower)
//! and group *varint*; then a digest `u128`.
//!
//! An *ending* is `0` unchanged, `1` created, `2` updated and `3` metadata only (each with
//! `u8` [`barge_types::Changes`]), `4` linked, `5` deleted, `6` failed with its failure, `7` redo,
//! `8` later.
//!
//! # The conversation
//!
//! 1. Each connection begins with Hello and its answer ([`hello`]). The first begins a session; the
//!    others join it with the secret of the welcome. Any stream may lose its connection and join
//!    again; [`link`] replays what the other side has not received.
//! 2. The sender opens the root, then lists: a directory's segments follow the segment that names
//!    it. At most the list window of segments may be unfinished ([`sender`], [`receiver`]).
//! 3. The receiver compares, and asks: Want for whole files, a Signature for differences. The
//!    sender answers on any stream's data lane, within that lane's window: files of up to
//!    [`MAX_BUNDLED`] bytes bundled, longer ones in ranges ([`stripe`]).
//! 4. When all entries of a segment have ended, the receiver says how (Done). What changed on the
//!    way is listed again, in directories opened anew, when all else is through.
//! 5. ListEnd; the receiver makes all durable; Finished; Goodbye. Either side may Abort before.
//!
//! # Devices
//!
//! A block device or raw image has no list and no streams: each of its parts, of [`DEVICE_PART`] bytes, has a
//! connection. The client says Hello with purpose device; the server says Welcome, of which session and seed alone
//! have a meaning, or Refused; then both hold the conversation of two blockrsyncs of ours over that part, in
//! blocks of 128 KiB (the doc of `barge-blockrsync`), the client being the source. A stock blockrsync's greeting
//! is an error, and so is any other length than the part's. Parts may be in any order, several at a time, and
//! again: a part's newest connection takes the place of its older ones.
//!
//! When the server has said *done* of all of them, a last connection ends the run, with the digest of the
//! digests of all parts in their order (of each, that of its blocks' digests); its conversation is that of an
//! empty part. From then on no part is taken any more.
//!
//! The seed is another one each time a server begins a run. A client that hears another than before knows that
//! the server was started anew: it begins all parts again, in a new session. (A server that has not seen
//! all of the parts refuses the end as an unknown session.) A client that will not go on says so on a
//! connection of its own, with purpose give up; it is answered and closed.
//!
//! # Numbers and sums
//!
//! Control messages go over stream 0 alone. A segment costs its payload's length of the list window,
//! at least 4096 bytes; a message of the data lane its frame's length of the stream's window, which
//! the last one may overshoot. Kinds are 0 file, 1 directory, 2 symbolic link, 3 character device,
//! 4 block device, 5 fifo, 6 socket; sides 0 source, 1 target; classes 0 denied, 1 vanished,
//! 2 changed, 3 unsupported, 4 no space, 5 I/O. The metadata of Open has its attributes always, and
//! is coded against nothing. Digests and strong sums are XXH3-128 with the session's seed: of a
//! bundled file its bytes, of a range each run of data between holes as offset (`u64`) and bytes. Weak
//! sums are rsync's rolling checksum, over signed bytes.
//!
//! # Limits
//!
//! A frame [`MAX_PAYLOAD`]; windows 2 to 64 MiB; streams [`MAX_STREAMS`]; entries a segment
//! [`MAX_ITEMS`]; directories named and not listed [`receiver::MAX_OPEN_DIRS`]; a file
//! [`stripe::MAX_FILE`]; block sums of all signatures in hand
//! [`MAX_SIGNATURE_BLOCKS`]. What exceeds them is refused before memory is taken.

pub mod content;
pub mod control;
mod cursor;
mod error;
pub mod frame;
pub mod hello;
pub mod link;
pub mod receiver;
pub mod sender;
pub mod stripe;

pub use content::{
    BundleEncoder, Content, FileRef, MAX_BUNDLED, MAX_LITERAL, MAX_SUMS, Record, Unsent,
};
pub use control::{
    AbortCode, Control, DirId, Ending, Item, LinkGroup, MAX_ATTRIBUTES, MAX_ITEM, MAX_ITEMS,
    Segment, SegmentEncoder, SegmentId, Tie, item_len,
};
pub use error::ProtocolError;
pub use frame::{Frame, Lane, MAX_PAYLOAD, Tag};
pub use hello::{
    Answer, DEVICE_PART, DeviceCall, DeviceStep, GiveUp, Hello, MAX_PATTERNS, MAX_STREAMS, Order,
    Purpose, Refusal, RefusalCode, VERSION, Welcome,
};
pub use link::{Delivery, Link, Received};

/// The most block sums a receiver may have under way, over all files.
pub const MAX_SIGNATURE_BLOCKS: u32 = 1 << 20;

#[cfg(test)]
mod testing;
