//! barge's own wire, as far as an attacker needs it: written from the table of its specification alone
//! (`crates/native/src/lib.rs`) and sharing nothing with the code under attack.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Tags of frames.
pub(crate) const WELCOME: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const SEGMENT: u8 = 0x20;
pub(crate) const DONE: u8 = 0x29;
const HELLO: u8 = 0x01;
const OPEN: u8 = 0x21;

/// Kinds of entries.
pub(crate) const FILE: u8 = 0;
pub(crate) const DIRECTORY: u8 = 1;

/// Flags of an entry's head.
pub(crate) const ATTRIBUTES: u8 = 0x20;
pub(crate) const SEVERAL_NAMES: u8 = 0x40;

/// Bytes of fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn byte(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(crate) fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8)
    }

    pub(crate) fn counted(self, bytes: &[u8]) -> Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }

    /// Mode 0755, user and group 0, the beginning of 1970.
    fn meta(self) -> Self {
        self.varint(0o755).varint(0).varint(0).varint(0).varint(0)
    }

    /// The head, name and metadata of an entry, coded against none.
    pub(crate) fn entry(self, head: u8, name: &[u8]) -> Self {
        self.byte(head).counted(name).meta()
    }

    pub(crate) fn frame(&self, tag: u8) -> Vec<u8> {
        let len = (self.0.len() as u32).to_le_bytes();
        [&[tag, len[0], len[1], len[2]][..], &self.0].concat()
    }
}

/// A dry run's beginning on a volume, which deletes and carries attributes: over one stream.
pub(crate) fn hello(volume: &str) -> Vec<u8> {
    let (delete, dry_run, xattrs) = (1_u16 << 0, 1 << 4, 1 << 8);
    Fields::new()
        .raw(b"barge\0")
        .raw(&[1, 0, 1, 0])
        .raw(&(8_u32 << 20).to_le_bytes())
        .byte(0)
        .counted(volume.as_bytes())
        .byte(1)
        .raw(&(delete | dry_run | xattrs).to_le_bytes())
        .varint(0)
        .varint(0)
        .frame(HELLO)
}

/// The root's metadata, which comes before all segments.
pub(crate) fn open_root() -> Vec<u8> {
    let root = Fields::new().varint(0).counted(b"").byte(1);
    root.meta().varint(0).frame(OPEN)
}

/// A segment of the root that is not its last, with these entries.
pub(crate) fn segment(number: u64, entries: &[Fields]) -> Vec<u8> {
    let head = Fields::new().varint(number).varint(0).byte(0);
    let head = head.varint(entries.len() as u64);
    let segment = entries.iter().fold(head, |all, entry| all.raw(&entry.0));
    segment.frame(SEGMENT)
}

/// Word that so many messages of the control lane have been received, and none of their bytes consumed.
pub(crate) fn received(messages: u64) -> Vec<u8> {
    Fields::new().byte(0).varint(messages).varint(0).frame(ACK)
}

/// The next frame: its tag and payload.
pub(crate) fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let len = u32::from_le_bytes([head[1], head[2], head[3], 0]);
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload)?;
    Ok((head[0], payload))
}

/// Begins a dry run on a volume.
pub(crate) fn begin(stream: &mut TcpStream, volume: &str) {
    stream.write_all(&hello(volume)).unwrap();
    let (tag, payload) = read_frame(stream).unwrap();
    let said = String::from_utf8_lossy(&payload);
    assert_eq!(tag, WELCOME, "{said}");
    stream.write_all(&open_root()).unwrap();
}
