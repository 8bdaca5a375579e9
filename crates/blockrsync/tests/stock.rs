//! What a stock blockrsync says is understood, and understands what we say, wherever it is cut; what none
//! would say is refused.

#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use barge_blockrsync::{
    BlockHash, BlockSize, Change, ChangesDecoder, ChangesEncoder, Digester, Grid, ListDecoder,
    ListEncoder, ListItem, Transcript, WireError, is_zero,
};
use barge_testkit::stock_blockrsync::{Stock, framed, framed_small, unframed};
use bytes::BytesMut;
use proptest::prelude::*;

const STOCK: Stock = Stock { block: 4096 };

fn block() -> BlockSize {
    BlockSize::new(4096).unwrap()
}

fn grid(image: &[u8]) -> Grid {
    Grid::new(image.len() as u64, block()).unwrap()
}

/// Blocks of every kind: data, zeros, data with a short end.
fn source() -> Vec<u8> {
    let mut image = vec![0; 5 * 4096 + 100];
    image[..4096].fill(1);
    image[2 * 4096..3 * 4096].fill(3);
    image[4 * 4096 + 17] = 9;
    image[5 * 4096..].fill(5);
    image
}

fn target() -> Vec<u8> {
    let mut image = source();
    image.truncate(4 * 4096 + 50);
    image[4096..2 * 4096].fill(8);
    image[2 * 4096] = 0;
    image
}

fn read_list(pieces: &[&[u8]]) -> Result<(Vec<ListItem>, Transcript, BytesMut), WireError> {
    let mut list = ListDecoder::new(block(), BytesMut::new());
    let mut items = Vec::new();
    for piece in pieces {
        list.handle_input(piece);
        while let Some(item) = list.poll()? {
            items.push(item);
        }
    }
    let (transcript, rest) = list.finish()?;
    Ok((items, transcript, rest))
}

fn read_changes(pieces: &[&[u8]], from_ours: bool) -> Result<Vec<Change>, WireError> {
    read_changes_to(Transcript::default(), pieces, from_ours)
}

fn read_changes_to(
    list: Transcript,
    pieces: &[&[u8]],
    from_ours: bool,
) -> Result<Vec<Change>, WireError> {
    let mut changes = ChangesDecoder::new(block(), from_ours, list, BytesMut::new());
    let mut all = Vec::new();
    for piece in pieces {
        changes.handle_input(piece);
        while let Some(change) = changes.poll()? {
            all.push(change);
        }
    }
    changes.end()?;
    Ok(all)
}

fn our_list(image: &[u8]) -> (Vec<u8>, Transcript) {
    let digester = Digester::new(block());
    let mut list = ListEncoder::new(grid(image));
    for content in image.chunks(4096) {
        list.push(&digester.digest(content));
    }
    let bytes = list.flush().to_vec();
    (bytes, list.finish())
}

fn our_changes(image: &[u8], list: &[ListItem], to: Transcript, end: bool) -> Vec<u8> {
    let digester = Digester::new(block());
    let mut changes = ChangesEncoder::new(grid(image), to);
    let has = |index, hash: BlockHash| list.contains(&ListItem { index, hash });
    for (index, content) in image.chunks(4096).enumerate() {
        let index = index as u64;
        match is_zero(content) {
            _ if has(index, digester.digest(content)) => {}
            true => changes.hole(index),
            false => changes.data(index, content),
        }
    }
    if end {
        changes.end();
    }
    changes.flush().to_vec()
}

fn applied(changes: &[Change], image: &mut Vec<u8>) {
    for change in changes {
        match change {
            Change::Size(len) => image.resize(*len as usize, 0),
            Change::Hole(range) => image[range.start as usize..range.end as usize].fill(0),
            Change::Data(at, data) => {
                image[*at as usize..*at as usize + data.len()].copy_from_slice(data);
            }
            Change::End(_) => {}
        }
    }
}

#[test]
fn list_of_a_stock_target_is_read_wherever_it_is_cut() {
    let plain = STOCK.list(&target());
    for bytes in [framed(&plain), framed_small(&plain)] {
        let (whole, ..) = read_list(&[&bytes]).unwrap();
        assert_eq!(whole.len(), 5);
        for (item, plain) in whole.iter().zip(plain[16..].chunks(40)) {
            let offset = (item.index * 4096).to_le_bytes();
            assert_eq!([&offset[..], &item.hash].concat(), plain);
        }
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(read_list(&[a, b]).unwrap().0, whole, "cut at {cut}");
            assert_eq!(
                read_list(&[a]).unwrap_err(),
                WireError::Cut("the target's list"),
                "ended at {cut}"
            );
        }
    }
}

#[test]
fn our_list_is_what_a_stock_target_would_say() {
    for image in [
        source(),
        target(),
        vec![],
        vec![0; 4096],
        vec![0; 10],
        vec![1; 10],
    ] {
        assert_eq!(unframed(&our_list(&image).0), STOCK.list(&image));
    }
}

#[test]
fn changes_of_a_stock_source_are_read_wherever_they_are_cut() {
    let plain = STOCK.changes(&source(), &STOCK.list(&target()));
    for bytes in [framed(&plain), framed_small(&plain)] {
        let whole = read_changes(&[&bytes], false).unwrap();
        let mut image = target();
        applied(&whole, &mut image);
        assert!(image == source());
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert!(
                read_changes(&[a, b], false).unwrap() == whole,
                "cut at {cut}"
            );
        }
    }
}

/// Of a stock source's stream a cut shows within a block only: between blocks it may be the end.
#[test]
fn cut_within_a_block_of_a_stock_source_is_no_end() {
    let plain = STOCK.changes(&source(), &STOCK.list(&target()));
    // Size, a hole, two whole blocks, a short one.
    let ends = [8, 17, 17 + 4105, 17 + 2 * 4105, 17 + 2 * 4105 + 109];
    assert_eq!(plain.len(), ends[4]);
    for cut in 1..=plain.len() {
        // A chunk of its own, so that the framing is whole.
        let read = read_changes(&[&framed(&plain[..cut])], false);
        assert_eq!(read.is_ok(), ends.contains(&cut), "{cut}");
    }
    let framed = framed(&plain);
    for cut in 1..framed.len() {
        let read = read_changes(&[&framed[..cut]], false);
        // Alone the identifier is a whole stream of nothing.
        assert_eq!(read.is_ok(), cut == 10, "{cut}");
    }
}

#[test]
fn our_changes_are_what_a_stock_target_understands() {
    for (source, target) in [
        (source(), target()),
        (target(), source()),
        (source(), vec![]),
        (vec![], source()),
        (vec![0; 9000], vec![1; 9000]),
        (source(), source()),
    ] {
        let (items, transcript, _) = read_list(&[&framed(&STOCK.list(&target))]).unwrap();
        let said = our_changes(&source, &items, transcript, false);
        let mut image = target.clone();
        STOCK.apply(&mut image, &unframed(&said));
        assert!(image == source);
    }
}

#[test]
fn between_two_of_ours_every_cut_is_noticed_and_so_is_every_damage() {
    let (list, sent) = our_list(&target());
    let (items, received, _) = read_list(&[&list]).unwrap();
    let said = our_changes(&source(), &items, received, true);
    let whole = read_changes_to(sent.clone(), &[&said], true).unwrap();
    assert!(matches!(whole.last(), Some(Change::End(_))));
    let mut image = target();
    applied(&whole, &mut image);
    assert!(image == source());
    for cut in 0..said.len() {
        let (a, b) = said.split_at(cut);
        assert!(read_changes_to(sent.clone(), &[a], true).is_err(), "{cut}");
        let again = read_changes_to(sent.clone(), &[a, b], true);
        assert!(again.unwrap() == whole, "{cut}");
    }
    // Another list was received than was sent.
    let (_, other) = our_list(&source());
    let read = read_changes_to(other, &[&said], true);
    assert_eq!(read, Err(WireError::Digest));
}

#[test]
fn numbers_that_cannot_be_are_refused_in_a_list() {
    let list = |fields: &[i64]| {
        let mut plain: Vec<u8> = Vec::new();
        plain.extend(fields[0].to_le_bytes());
        plain.extend(fields[1].to_le_bytes());
        for offset in &fields[2..] {
            plain.extend(offset.to_le_bytes());
            plain.extend([7; 32]);
        }
        read_list(&[&framed(&plain)])
    };
    assert!(list(&[4096, 0]).is_ok());
    assert!(list(&[4096, 2, 0, 8192]).is_ok(), "a digest was lost");
    for fields in [
        &[8192, 0][..],
        &[0, 0],
        &[-4096, 0],
        &[4096, -1],
        &[4096, i64::MAX],
        &[4096, i64::MAX / 4096 + 1],
        &[4096, 1, -4096],
        &[4096, 1, 1],
        &[4096, 1, i64::MAX],
        &[4096, 2, 4096, 0],
        &[4096, 2, 4096, 4096],
        &[4096, 1, 0, 4096],
    ] {
        assert!(list(fields).is_err(), "{fields:?}");
    }
}

#[test]
fn numbers_that_cannot_be_are_refused_in_changes() {
    // A size, then offset and type; type 1 is followed by a block of data.
    let changes = |size: i64, blocks: &[(i64, u8)], from_ours| {
        let mut plain = size.to_le_bytes().to_vec();
        for &(offset, kind) in blocks {
            plain.extend(offset.to_le_bytes());
            plain.push(kind);
            plain.extend(vec![7; if kind == 1 { 4096 } else { 0 }]);
        }
        read_changes(&[&framed(&plain)], from_ours)
    };
    assert!(changes(8192, &[(0, 1), (4096, 0)], false).is_ok());
    for (size, blocks) in [
        (-1, &[][..]),
        (i64::MIN, &[]),
        (i64::MAX, &[]),
        (0, &[(0, 0)]),
        (8192, &[(8192, 0)]),
        (8192, &[(-4096, 0)]),
        (8192, &[(5, 0)]),
        (8192, &[(4096, 0), (0, 0)]),
        (8192, &[(0, 1), (0, 1)]),
        (8192, &[(0, 3)]),
        (8192, &[(0, 2)]),
        (8192, &[(-1, 2)]),
        (8192, &[(i64::MAX, 1)]),
    ] {
        for from_ours in [false, true] {
            let read = changes(size, blocks, from_ours);
            assert!(read.is_err(), "{size} {blocks:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A byte changed in what is framed: what is read stays within the source's size.
    #[test]
    fn mutated_streams_neither_panic_nor_lead_outside(at: prop::sample::Index, byte: u8) {
        let mut list = STOCK.list(&target());
        let mut changes = STOCK.changes(&source(), &list);
        let place = at.index(changes.len());
        changes[place] = byte;
        let place = at.index(list.len());
        list[place] = byte;
        let _ = read_list(&[&framed(&list)]);
        for from_ours in [false, true] {
            let Ok(read) = read_changes(&[&framed(&changes)], from_ours) else { continue };
            let Some(Change::Size(size)) = read.first() else { panic!("no size") };
            for change in &read[1..] {
                let end = match change {
                    Change::Hole(range) => range.end,
                    Change::Data(from, data) => from + data.len() as u64,
                    other => panic!("{other:?}"),
                };
                prop_assert!(end <= *size);
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes: Vec<u8>) {
        for bytes in [bytes.clone(), framed(&bytes)] {
            let _ = read_list(&[&bytes]);
            let _ = read_changes(&[&bytes], false);
            let _ = read_changes(&[&bytes], true);
        }
    }
}
