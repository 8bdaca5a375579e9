//! A stream survives its connections, wherever they are cut.

use std::time::Duration;

use barge_native::frame::{Frame, Lane, Tag};
use barge_native::link::PING_EVERY;
use barge_native::{Link, ProtocolError};
use barge_testkit::pair::Pair;
use bytes::Bytes;

const WINDOW: u64 = 2 << 20;

/// Messages of both lanes, told apart by their first bytes.
fn script(pair: &mut Pair) {
    for n in 0..6u8 {
        for (end, tag) in [(0, Tag::Segment), (1, Tag::Done)] {
            pair.ends[end]
                .link
                .push(Lane::Control, Frame::new(tag, &[n, 1, 2, 3]));
        }
        let body = Bytes::from(vec![n; 9]);
        pair.ends[0]
            .link
            .push(Lane::Data, Frame::with_body(Tag::Literal, &[n], body));
    }
}

/// What an end has heard of one lane: the first byte of each message, in order.
fn heard(pair: &Pair, end: usize, lane: Lane) -> Vec<u8> {
    let of = |(tag, payload, _): &(Tag, Bytes, u64)| (tag.lane() == Some(lane)).then(|| payload[0]);
    pair.ends[end].heard.iter().filter_map(of).collect()
}

#[test]
fn every_message_arrives_once_and_in_order_wherever_the_connection_is_cut() {
    let mut whole = Pair::new(WINDOW);
    script(&mut whole);
    whole.run().unwrap();
    let total = whole
        .ends
        .iter()
        .flat_map(|end| &end.heard)
        .map(|(_, _, weight)| weight)
        .sum::<u64>();
    for cut in 0..total as usize {
        let mut pair = Pair::new(WINDOW);
        script(&mut pair);
        pair.fuse = Some(cut);
        pair.run().unwrap();
        assert_eq!(pair.cuts, 1, "cut at byte {cut}");
        let all: Vec<u8> = (0..6).collect();
        assert_eq!(heard(&pair, 1, Lane::Control), all, "cut at byte {cut}");
        assert_eq!(heard(&pair, 1, Lane::Data), all, "cut at byte {cut}");
        assert_eq!(heard(&pair, 0, Lane::Control), all, "cut at byte {cut}");
        for lane in [Lane::Control, Lane::Data] {
            assert!(
                pair.ends.iter().all(|end| end.link.is_drained(lane)),
                "cut at byte {cut}"
            );
        }
    }
}

#[test]
fn window_closes_when_nothing_is_consumed_and_opens_again_with_it() {
    let mut pair = Pair::new(WINDOW);
    pair.ends[1].consumes = false;
    let chunk = Bytes::from(vec![0; 256 << 10]);
    let mut pushed = 0;
    while pair.ends[0].link.has_room() {
        pair.ends[0].link.push(
            Lane::Data,
            Frame::with_body(Tag::Literal, &[], chunk.clone()),
        );
        pushed += 1;
    }
    assert_eq!(pushed, WINDOW as usize / chunk.len());
    pair.run().unwrap();
    assert!(!pair.ends[0].link.has_room(), "received is not consumed");
    let weights: Vec<u64> = pair.ends[1]
        .heard
        .iter()
        .map(|(_, _, weight)| *weight)
        .collect();
    for weight in weights {
        pair.ends[1].link.consumed(Lane::Data, weight);
    }
    pair.run().unwrap();
    assert!(pair.ends[0].link.has_room());
    assert_eq!(pair.ends[0].link.waiting_bytes(), 0);
}

#[test]
fn window_opens_after_a_cut_in_which_its_acknowledgements_were_lost() {
    let mut pair = Pair::new(WINDOW);
    pair.ends[1].consumes = false;
    let chunk = Bytes::from(vec![0; 256 << 10]);
    while pair.ends[0].link.has_room() {
        pair.ends[0].link.push(
            Lane::Data,
            Frame::with_body(Tag::Literal, &[], chunk.clone()),
        );
    }
    pair.run().unwrap();
    let weights: u64 = pair.ends[1]
        .heard
        .iter()
        .map(|(_, _, weight)| *weight)
        .sum();
    pair.ends[1].link.consumed(Lane::Data, weights);
    let now = pair.now;
    while pair.ends[1].link.poll_transmit(now).is_some() {}
    while pair.ends[1].link.poll_tick(now).is_some() {}
    assert!(!pair.ends[0].link.has_room(), "they were lost");
    let received = [0, 1].map(|end: usize| pair.ends[end].link.received());
    pair.ends[0].link.resume(received[1], now).unwrap();
    pair.ends[1].link.resume(received[0], now).unwrap();
    pair.run().unwrap();
    assert!(pair.ends[0].link.has_room());
}

#[test]
fn data_beyond_the_window_is_refused() {
    let mut pair = Pair::new(WINDOW);
    pair.ends[1].consumes = false;
    // A peer that does not ask whether there is room.
    let chunk = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..4 {
        pair.ends[0].link.push(
            Lane::Data,
            Frame::with_body(Tag::Literal, &[], chunk.clone()),
        );
    }
    assert!(matches!(pair.run(), Err(ProtocolError::Limit { .. })));
}

#[test]
fn quiet_ends_give_signs_of_life() {
    let mut pair = Pair::new(WINDOW);
    pair.run().unwrap();
    pair.pass(PING_EVERY - Duration::from_millis(1));
    assert!(!pair.tick());
    pair.pass(Duration::from_millis(1));
    pair.run().unwrap();
    assert_eq!(pair.ends[0].link.silence(pair.now), Duration::ZERO);
    assert_eq!(pair.ends[1].link.silence(pair.now), Duration::ZERO);
}

#[test]
fn acknowledgements_of_what_was_not_sent_are_refused() {
    let now = Pair::new(WINDOW).now;
    let mut link = Link::new(WINDOW, WINDOW, now);
    link.push(Lane::Control, Frame::new(Tag::Goodbye, &[]));
    // Lane, messages received, bytes consumed.
    for ack in [[0, 1, 0], [0, 0, 9], [2, 0, 0]] {
        let payload = Bytes::copy_from_slice(&ack);
        assert!(
            link.handle_frame(Tag::Ack, payload, now).is_err(),
            "{ack:?}"
        );
    }
    assert!(link.resume([1, 0], now).is_err());
    assert!(link.handle_frame(Tag::Hello, Bytes::new(), now).is_err());
}

#[test]
fn messages_are_kept_until_their_peer_says_it_has_received_them() {
    let now = Pair::new(WINDOW).now;
    let mut link = Link::new(WINDOW, WINDOW, now);
    let literal = || Frame::with_body(Tag::Literal, &[], Bytes::from_static(&[0; 96]));
    link.push(Lane::Data, literal());
    link.push(Lane::Data, literal());
    while link.poll_transmit(now).is_some() {}
    assert_eq!(link.kept_bytes(Lane::Data), 200);
    // Lane, messages received, bytes consumed.
    let mut ack = |ack: [u8; 3]| link.handle_frame(Tag::Ack, Bytes::copy_from_slice(&ack), now);
    assert!(ack([1, 1, 100]).is_ok());
    assert!(
        ack([1, 1, 101]).is_err(),
        "what was not received is consumed"
    );
    assert_eq!(link.kept_bytes(Lane::Data), 100);
    link.resume([0, 2], now).unwrap();
    assert_eq!(link.kept_bytes(Lane::Data), 0);
}
