//! Every decoder and machine under damaged recordings: none panics, hangs, or takes more memory
//! than its input justifies.
//!
//! With `SEEDS=FOLDER` in the environment the undamaged inputs are written there, a folder for
//! each entry, for the fuzz targets in `fuzz/`. `DAMAGED=COUNT` makes so many inputs of each seed, and
//! `CHANCE=NUMBER` makes others than without.

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own, too")]
mod entries;

use std::path::Path;

use barge_rsync::wire::mux::{Demux, Frame};
use bytes::BytesMut;
use nix::sys::resource::{Resource, setrlimit};

use self::entries::{ENTRIES, HEAD, MOST_TOLD};
use crate::recording::{Side, conversations};

/// Inputs made of each seed, unless the environment says how many.
const DAMAGED: u64 = 3000;
/// Address space of this process: an allocation of a length that a peer chose fails.
const MOST_MEMORY: u64 = 2 << 30;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// The data stream of a side, without what stands before it.
fn stream(side: &Side) -> Vec<u8> {
    let mut demux = Demux::new(side.peer);
    demux.handle_input(BytesMut::from(&side.frames[..]));
    let (mut data, mut raw) = (Vec::new(), side.raw_len);
    while let Some(frame) = demux.poll().unwrap() {
        if let Frame::Data(bytes) = frame {
            data.extend_from_slice(&bytes);
        }
        data.extend_from_slice(&demux.unframed().split_to(raw));
        raw = 0;
    }
    data.split_off(side.before_stream(&data))
}

/// The bytes that make an entry agree on what a side agreed on.
fn head(side: &Side) -> [u8; HEAD] {
    let options = side.options_of_reader();
    let bits = |bits: [bool; 8]| (0..8).map(|bit| u8::from(bits[bit]) << bit).sum();
    let compat = side.setup.compat.bits();
    let kept = bits([
        options.owner,
        options.group,
        options.devices,
        options.links,
        options.hard_links,
        options.acls,
        options.xattrs > 0,
        options.atimes > 0,
    ]);
    let more = bits([
        options.server,
        options.relative,
        options.dry_run,
        options.checksum,
        options.delete_missing_args,
        options.numeric_ids,
        options.crtimes,
        options.append > 0,
    ]);
    let receives = u8::from(!side.peer.sender) << 3;
    let protocol = (side.setup.protocol.get() - 30) | (compat >> 6 & 4) as u8 | receives;
    let plain = 4;
    [0, protocol, compat as u8, kept, more, plain]
}

/// Undamaged inputs, each with the number of its entry.
fn seeds() -> Vec<(usize, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (_, sides) in conversations() {
        for side in &sides {
            let head = head(side);
            let entry = if side.peer.sender { 1 } else { 2 };
            seeds.push((entry, [&head[..], &stream(side)].concat()));
            seeds.push((0, [&head[..], &side.frames].concat()));
            let entry = if side.peer.server { 4 } else { 3 };
            seeds.push((entry, [&head[..], &side.handshake].concat()));
        }
    }
    seeds
}

/// Values that are at the edge of something.
const EDGES: [&[u8]; 12] = [
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xfe\x80\0\0\0",
    b"\xfe\xff\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xf0\xff\xff\xff\xff",
    b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// Damages an input in one to four places.
fn damage(input: &mut Vec<u8>, others: &[(usize, Vec<u8>)], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        match random.below(7) {
            0 => input[at] ^= 1 << random.below(8),
            1 => input[at] = random.next() as u8,
            2 => drop(input.remove(at)),
            3 => input.truncate(at.max(HEAD + 1)),
            4 => {
                let edge = EDGES[random.below(EDGES.len())];
                let end = (at + edge.len()).min(input.len());
                input.splice(at..end, edge.iter().copied());
            }
            5 => {
                let edge = EDGES[random.below(EDGES.len())];
                input.splice(at..at, edge.iter().copied());
            }
            _ => {
                let (_, other) = &others[random.below(others.len())];
                let from = random.below(other.len());
                let piece = &other[from..other.len().min(from + 1 + random.below(64))];
                input.splice(at..at, piece.iter().copied());
            }
        }
        if input.len() <= HEAD {
            return;
        }
    }
}

#[test]
fn recordings_are_read_by_the_entry_they_are_for() {
    for (entry, seed) in seeds() {
        let (name, run) = ENTRIES[entry];
        assert!(seed.len() == HEAD || run(&seed) > 0, "{name}: {seed:x?}");
    }
    if let Ok(folder) = std::env::var("SEEDS") {
        for (n, (entry, seed)) in seeds().into_iter().enumerate() {
            let folder = Path::new(&folder).join(ENTRIES[entry].0);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(n.to_string()), seed).unwrap();
        }
    }
}

#[test]
fn damaged_recordings_neither_break_nor_exhaust_what_reads_them() {
    setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY).unwrap();
    let set = |name| Some(std::env::var(name).ok()?.parse().expect("a number"));
    let damaged = set("DAMAGED").unwrap_or(DAMAGED);
    let (seeds, mut random) = (seeds(), Random(set("CHANCE").unwrap_or(1)));
    for (entry, seed) in &seeds {
        let (name, run) = ENTRIES[*entry];
        for _ in 0..damaged {
            let mut input = seed.clone();
            damage(&mut input, &seeds, &mut random);
            let told = run(&input);
            assert!(
                told <= input.len() + MOST_TOLD,
                "{name} was told {told}: {input:x?}"
            );
        }
    }
}
