//! Conversations that were recorded between a client and a server of version 1: what they said can
//! still be read, and is still said in the same bytes.
//!
//! Made by `cargo run -p barge --example record`. A recording is never edited, and never made
//! anew for a version that has one.

#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use barge_native::frame::{self, Frame, Lane, Tag};
use barge_native::{Answer, Content, Control, Hello, Link};
use barge_testkit::pair::Pair;
use bytes::{Bytes, BytesMut};

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.collect()
}

fn frames(bytes: &[u8]) -> Vec<(Tag, Bytes)> {
    let mut input = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = frame::decode(&mut input).unwrap() {
        frames.push(frame);
    }
    assert!(input.is_empty(), "a recording ends with a whole frame");
    frames
}

/// Says again what a frame said; acknowledgements and signs of life are the link's own.
fn encode_again(tag: Tag, payload: Bytes) -> Option<Frame> {
    Some(match (tag, tag.lane()) {
        (Tag::Hello, _) => Hello::decode(tag, payload).unwrap().encode(),
        (Tag::Welcome | Tag::Refused, _) => Answer::decode(tag, payload).unwrap().encode(),
        (_, Some(Lane::Control)) => Control::decode(tag, payload).unwrap().encode(),
        (_, Some(Lane::Data)) => Content::decode(tag, payload).unwrap().encode(),
        (_, None) => return None,
    })
}

#[test]
fn both_conversations_of_version_1_are_there_and_say_nearly_everything() {
    let mut said = BTreeSet::new();
    for path in recordings() {
        let bytes = std::fs::read(&path).unwrap();
        said.extend(frames(&bytes).into_iter().map(|(tag, _)| tag as u8));
    }
    assert_eq!(recordings().len(), 4, "two conversations, two sides each");
    let unsaid = [Tag::Refused, Tag::Ping, Tag::Abort, Tag::Unsent].map(|tag| tag as u8);
    let all: BTreeSet<u8> = [0x01, 0x02, 0x10]
        .into_iter()
        .chain([0x20, 0x21, 0x22, 0x23, 0x28, 0x29, 0x2a, 0x2b])
        .chain([0x40, 0x41, 0x42, 0x43, 0x44, 0x50, 0x51, 0x52])
        .collect();
    assert!(said.is_superset(&all), "{said:x?}");
    assert!(
        said.iter()
            .all(|tag| all.contains(tag) || unsaid.contains(tag)),
        "{said:x?}"
    );
}

#[test]
fn what_was_said_is_still_said_in_the_same_bytes() {
    for path in recordings() {
        for (tag, payload) in frames(&std::fs::read(&path).unwrap()) {
            if let Some(frame) = encode_again(tag, payload.clone()) {
                let again = [&frame.head[frame::HEADER_LEN..], &frame.body].concat();
                assert_eq!(again, payload, "{tag:?} in {}", path.display());
            }
        }
    }
}

#[test]
fn link_hears_the_same_messages_wherever_the_connection_is_cut_in_two_reads() {
    for path in recordings() {
        let bytes = std::fs::read(&path).unwrap();
        let whole: Vec<_> = frames(&bytes)
            .into_iter()
            .map(|(tag, _)| tag as u8)
            .collect();
        for cut in 0..=bytes.len() {
            let (mut input, mut heard) = (BytesMut::new(), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                input.extend_from_slice(piece);
                while let Some((tag, _)) = frame::decode(&mut input).unwrap() {
                    heard.push(tag as u8);
                }
            }
            assert_eq!(heard, whole, "cut at byte {cut} of {}", path.display());
        }
    }
}

#[test]
fn link_numbers_the_messages_of_each_lane() {
    for path in recordings() {
        let now = Pair::new(0).now;
        let mut link = Link::new(64 << 20, 64 << 20, now);
        let mut counts = [0, 0];
        for (tag, payload) in frames(&std::fs::read(&path).unwrap()) {
            let Some(lane) = tag.lane() else { continue };
            counts[lane as usize] += 1;
            link.handle_frame(tag, payload, now).unwrap();
            assert_eq!(link.received(), counts);
        }
    }
}
