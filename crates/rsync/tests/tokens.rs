//! Tokens that a stock rsync 3.5.0 sent to another, for each compression, and what they stand for.
//!
//! Made by `tests/tokens/record.py`, which says what files they are of.

#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::path::Path;
use std::sync::LazyLock;

use barge_delta::{BlockLen, BlockSum, Checksum, Piece, Search, Signature, WholeDigest};
use barge_rsync::WireError;
use barge_rsync::wire::sums::SumHead;
use barge_rsync::wire::token::{Compression, Token, TokenDecoder, TokenEncoder};
use bytes::BytesMut;
use proptest::prelude::*;

const CHECKSUM: Checksum = Checksum::Md5;

/// What a recording is of: its name, compression, protocol version, and block length.
const RECORDINGS: [(&str, Compression, u8, usize); 7] = [
    ("none", Compression::None, 32, 700),
    ("zstd", Compression::Zstd, 32, 700),
    ("lz4", Compression::Lz4, 32, 700),
    ("zlibx", Compression::Zlibx, 32, 700),
    ("zlib", Compression::Zlib, 32, 700),
    ("zlib-long", Compression::Zlib, 32, 70_000),
    ("zlib-long-30", Compression::Zlib, 30, 70_000),
];

/// A file that was sent, and what the receiver had of it.
struct File {
    basis: Vec<u8>,
    content: Vec<u8>,
}

/// SplitMix64.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    let states = std::iter::successors(Some(seed), |state| {
        Some(state.wrapping_add(0x9e37_79b9_7f4a_7c15))
    });
    states.skip(1).map(|state| {
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    })
}

fn text(seed: u64, len: usize) -> Vec<u8> {
    let words = "lorem ipsum dolor sit amet consectetur adipiscing elit";
    let words: Vec<_> = words.split(' ').collect();
    let mut text = Vec::new();
    for r in random(seed) {
        if text.len() >= len {
            break;
        }
        let (a, b) = (words[(r >> 20 & 7) as usize], words[(r >> 30 & 7) as usize]);
        text.extend(format!("{:03} {a} {b}\n", r % 1000).bytes());
    }
    text.truncate(len);
    text
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    random(seed).flat_map(u64::to_le_bytes).take(len).collect()
}

/// The files of a recording.
fn files(block: usize) -> &'static [File] {
    static SHORT: LazyLock<Vec<File>> = LazyLock::new(|| make_files(700));
    static LONG: LazyLock<Vec<File>> = LazyLock::new(|| make_files(70_000));
    if block == 700 { &SHORT } else { &LONG }
}

/// As `record.py` makes them.
fn make_files(block: usize) -> Vec<File> {
    let basis = text(1, 160 * block + 123);
    let b: Vec<_> = basis.chunks(block).collect();
    let delta = [
        &text(2, 3 * block / 2),
        &b[3..60].concat(),
        &noise(3, 1000),
        b[70],
        b[71],
        b[2],
        b[150],
        b"x",
        &b[60..].concat(),
    ];
    let rewritten = [&b[..5].concat(), &text(6, block), &b[6..].concat()[..]];
    let new = [text(4, 20000), noise(5, 17000), vec![0; 40000]];
    let file = |basis: &[u8], content: Vec<u8>| File {
        basis: basis.to_vec(),
        content,
    };
    vec![
        file(b"", new.concat()),
        file(&basis, delta.concat()),
        file(b"", Vec::new()),
        file(&basis, basis.clone()),
        file(&basis, rewritten.concat()),
        file(b"", b"end\n".to_vec()),
    ]
}

fn recording(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokens");
    std::fs::read(folder.join(name).with_extension("tokens")).unwrap()
}

/// Reads what a sender says of files, one behind the other: the head of each, then its tokens.
struct Reader<'f> {
    decoder: TokenDecoder,
    files: &'f [File],
    head: Option<SumHead>,
    content: Vec<u8>,
    done: usize,
}

impl<'f> Reader<'f> {
    fn new(compression: Compression, protocol: u8, files: &'f [File]) -> Self {
        Self {
            decoder: TokenDecoder::new(compression, protocol, CHECKSUM),
            files,
            head: None,
            content: Vec::new(),
            done: 0,
        }
    }

    /// Reads all there is; each file must have come right.
    fn read(&mut self, input: &mut BytesMut) -> Result<(), WireError> {
        while let Some(file) = self.files.get(self.done) {
            let Some(head) = self.head else {
                let Some(head) = input.first_chunk() else {
                    return Ok(());
                };
                let head = SumHead::decode(head, CHECKSUM)?;
                let _ = input.split_to(SumHead::LEN);
                self.decoder.begin(&head);
                self.head = Some(head);
                continue;
            };
            match self.decoder.poll(input)? {
                None => return Ok(()),
                Some(Token::Literal(bytes)) => {
                    assert!((1..=64 << 10).contains(&bytes.len()));
                    self.content.extend_from_slice(&bytes);
                }
                Some(Token::Blocks { first, count }) => {
                    for block in first..first + count {
                        let range = head.blocks(block, 1).unwrap();
                        // A damaged head may describe another basis.
                        let bytes = file.basis.get(range.start as usize..range.end as usize);
                        let bytes = bytes.unwrap_or(b"?");
                        self.content.extend_from_slice(bytes);
                        if self.decoder.wants_matched() {
                            self.decoder.matched(bytes);
                        }
                    }
                }
                Some(Token::End(digest)) => {
                    let mut whole = WholeDigest::new(CHECKSUM);
                    whole.update(&self.content);
                    if whole.finish() != digest {
                        return Err(WireError::Stream("the digest differs"));
                    }
                    assert_eq!(self.content, file.content);
                    self.content.clear();
                    self.head = None;
                    self.done += 1;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn tokens_of_a_stock_sender_make_the_files_it_sent() {
    for (name, compression, protocol, block) in RECORDINGS {
        let files = files(block);
        let mut reader = Reader::new(compression, protocol, files);
        let mut input = BytesMut::from(&recording(name)[..]);
        reader.read(&mut input).unwrap();
        assert_eq!((reader.done, input.len()), (files.len(), 0), "{name}");
    }
}

#[test]
fn tokens_may_be_cut_at_every_byte() {
    for (name, compression, protocol, block) in RECORDINGS {
        let files = files(block);
        let mut reader = Reader::new(compression, protocol, files);
        let mut input = BytesMut::new();
        let bytes = recording(name);
        for (n, byte) in bytes.iter().enumerate() {
            assert!(reader.done < files.len(), "{name} is over at byte {n}");
            input.extend_from_slice(&[*byte]);
            reader.read(&mut input).unwrap();
        }
        assert_eq!((reader.done, input.len()), (files.len(), 0), "{name}");
    }
}

/// What our sender says of the files a recording is of.
fn encoded(compression: Compression, protocol: u8, block: usize, files: &[File]) -> BytesMut {
    let mut encoder = TokenEncoder::new(compression, None, protocol);
    let mut out = BytesMut::new();
    for file in files {
        let head = SumHead::for_basis(file.basis.len() as u64, Some(block as u32), CHECKSUM, false);
        head.encode(&mut out);
        encoder.begin(false);
        if let Some(strong) = head.strong_sum(CHECKSUM, 0, true) {
            let len = BlockLen::from_1(head.block_len()).unwrap();
            let sums = file
                .basis
                .chunks(block)
                .map(|block| BlockSum::new(strong, block));
            let mut signature = Signature::of_first(head.basis_len(), len, strong, head.count());
            signature.push(0, &sums.collect::<Vec<_>>()).unwrap();
            let index = signature.build();
            let mut search = Search::new(&index, 0);
            let mut emit = |piece: Piece<'_>| match piece {
                Piece::Literal(bytes) => encoder.literal(bytes, &mut out),
                Piece::Block { number, bytes } => encoder.block(number as u32, bytes, &mut out),
            };
            search.feed_blocks(&file.content, &mut emit);
            search.finish_blocks(&mut emit);
        } else {
            encoder.literal(&file.content, &mut out);
        }
        let mut whole = WholeDigest::new(CHECKSUM);
        whole.update(&file.content);
        encoder.end(&whole.finish(), &mut out);
    }
    out
}

#[test]
fn our_own_tokens_make_the_files_and_are_hardly_longer_than_a_stock_senders() {
    for (name, compression, protocol, block) in RECORDINGS {
        let files = files(block);
        let mut input = encoded(compression, protocol, block, files);
        let (ours, stock) = (input.len(), recording(name).len());
        assert!(ours <= stock + stock / 10, "{name}: {ours} for {stock}");
        let mut reader = Reader::new(compression, protocol, files);
        reader.read(&mut input).unwrap();
        assert_eq!((reader.done, input.len()), (files.len(), 0), "{name}");
    }
}

proptest! {
    #[test]
    fn damaged_tokens_never_make_other_content(
        recording_of in 0..RECORDINGS.len(),
        place: prop::sample::Index,
        damage in 1..=255_u8,
    ) {
        let (name, compression, protocol, block) = RECORDINGS[recording_of];
        let files = files(block);
        let mut bytes = recording(name);
        *place.get_mut(&mut bytes) ^= damage;
        let mut reader = Reader::new(compression, protocol, files);
        let mut input = BytesMut::from(&bytes[..]);
        // Content that came wrong and has the right digest would fail there.
        let _ = reader.read(&mut input);
    }
}
