//! Reads tokens.

use barge_delta::{Checksum, DigestBytes};
use bytes::{Buf, BytesMut};

use super::decompress::Decompressor;
use super::{BLOCK, BLOCKS, CHUNK, Compression, END, KIND, NEAR_BLOCK, NEAR_BLOCKS, REST, Token};
use crate::WireError;
use crate::wire::sums::SumHead;

/// Reads the tokens of all files of a connection, one file after the other.
///
/// A literal is given in pieces: what has come of it, or 64 KiB of what was decompressed.
pub struct TokenDecoder {
    /// None when literals are not compressed.
    decompressor: Option<Decompressor>,
    checksum: Checksum,
    /// Blocks of the basis.
    blocks: u32,
    /// The last block named.
    base: u32,
    state: State,
}

/// What comes next off the wire.
#[derive(Clone, Copy, Debug)]
enum State {
    Token,
    /// So many plain bytes of a literal.
    Literal(usize),
    /// Nothing, until what has come is decompressed.
    Decompressing,
    Digest,
}

impl TokenDecoder {
    /// For a connection of this protocol version, whose files end with digests by `checksum`.
    pub fn new(compression: Compression, protocol: u8, checksum: Checksum) -> Self {
        Self {
            decompressor: Decompressor::new(compression, protocol),
            checksum,
            blocks: 0,
            base: 0,
            state: State::Token,
        }
    }

    /// Begins a file that refers to the blocks `head` has.
    pub fn begin(&mut self, head: &SumHead) {
        (self.blocks, self.base, self.state) = (head.count(), 0, State::Token);
        if let Some(decompressor) = &mut self.decompressor {
            decompressor.begin();
        }
    }

    /// Takes the next piece off `input`; `None` when there is more to come first.
    ///
    /// After [`Token::Blocks`], [`matched`](Self::matched) must be given the blocks' bytes first when
    /// [`wants_matched`](Self::wants_matched).
    ///
    /// # Errors
    ///
    /// [`WireError`] when the peer breaks the protocol; nothing more may be read then.
    pub fn poll(&mut self, input: &mut BytesMut) -> Result<Option<Token>, WireError> {
        loop {
            let token = match (self.state, &mut self.decompressor) {
                (State::Token, None) => self.plain(input)?,
                (State::Token, Some(_)) => self.compressed(input)?,
                (State::Literal(left), _) => self.literal(left, input),
                (State::Decompressing, Some(decompressor)) => match decompressor.next()? {
                    Some(bytes) => Next::Token(Token::Literal(bytes)),
                    None => Next::State(State::Token),
                },
                (State::Decompressing, None) => Next::State(State::Token),
                (State::Digest, _) => self.digest(input),
            };
            match token {
                Next::Token(token) => return Ok(Some(token)),
                Next::State(state) => self.state = state,
                Next::Missing => return Ok(None),
            }
        }
    }

    /// Whether the bytes of matched blocks are part of what later literals are decompressed by.
    pub fn wants_matched(&self) -> bool {
        self.decompressor
            .as_ref()
            .is_some_and(Decompressor::wants_matched)
    }

    /// Takes the bytes of a matched block, block by block, in order. Where there are none, because the
    /// content is discarded, as many zeros do.
    pub fn matched(&mut self, block: &[u8]) {
        if let Some(decompressor) = &mut self.decompressor {
            decompressor.remember(block);
        }
    }

    fn plain(&self, input: &mut BytesMut) -> Result<Next, WireError> {
        let Some(token) = input.first_chunk() else {
            return Ok(Next::Missing);
        };
        let token = i32::from_le_bytes(*token);
        input.advance(4);
        Ok(match token {
            0 => Next::State(State::Digest),
            1.. => Next::State(State::Literal(token as usize)),
            _ => Next::Token(self.blocks((!token).cast_unsigned(), 1)?),
        })
    }

    fn literal(&mut self, left: usize, input: &mut BytesMut) -> Next {
        if input.is_empty() {
            return Next::Missing;
        }
        let bytes = input.split_to(left.min(input.len())).freeze();
        self.state = match left - bytes.len() {
            0 => State::Token,
            left => State::Literal(left),
        };
        Next::Token(Token::Literal(bytes))
    }

    fn digest(&mut self, input: &mut BytesMut) -> Next {
        let len = self.checksum.digest_len();
        if input.len() < len {
            return Next::Missing;
        }
        self.state = State::Token;
        let digest = DigestBytes::new(&input.split_to(len));
        Next::Token(Token::End(digest.expect("no digest is too long")))
    }

    fn compressed(&mut self, input: &mut BytesMut) -> Result<Next, WireError> {
        let Some(&flag) = input.first() else {
            return Ok(Next::Missing);
        };
        if flag & KIND == CHUNK {
            return Ok(self.chunk(input));
        }
        // What lies before anything else is complete.
        if let Some(decompressor) = &mut self.decompressor
            && decompressor.complete()
        {
            return Ok(Next::State(State::Decompressing));
        }
        let (long, run) = match flag {
            END => {
                input.advance(1);
                return Ok(Next::State(State::Digest));
            }
            BLOCK => (true, false),
            BLOCKS => (true, true),
            NEAR_BLOCK..NEAR_BLOCKS => (false, false),
            NEAR_BLOCKS.. => (false, true),
            _ => return Err(WireError::Protocol("an unknown token")),
        };
        let len = 1 + if long { 4 } else { 0 } + if run { 2 } else { 0 };
        if input.len() < len {
            return Ok(Next::Missing);
        }
        let mut token = input.split_to(len);
        token.advance(1);
        let first = match long {
            true => token.get_u32_le(),
            false => self.base + u32::from(flag & REST),
        };
        let more = match run {
            true => u32::from(token.get_u16_le()),
            false => 0,
        };
        if run && more == 0 {
            return Err(WireError::Protocol("a run of one block"));
        }
        let blocks = self.blocks(first, 1 + more)?;
        self.base = first + more;
        Ok(Next::Token(blocks))
    }

    fn chunk(&mut self, input: &mut BytesMut) -> Next {
        let Some(&[high, low]) = input.first_chunk() else {
            return Next::Missing;
        };
        let len = usize::from(u16::from_be_bytes([high & REST, low]));
        if input.len() < 2 + len {
            return Next::Missing;
        }
        input.advance(2);
        let chunk = input.split_to(len).freeze();
        if let Some(decompressor) = &mut self.decompressor {
            decompressor.take(chunk);
        }
        Next::State(State::Decompressing)
    }

    fn blocks(&self, first: u32, count: u32) -> Result<Token, WireError> {
        match first.checked_add(count) {
            Some(end) if end <= self.blocks => Ok(Token::Blocks { first, count }),
            _ => Err(WireError::Protocol("a block that the basis does not have")),
        }
    }
}

/// What a look at the input came to.
enum Next {
    Token(Token),
    State(State),
    /// More must come first.
    Missing,
}

#[cfg(test)]
mod tests {
    use barge_delta::WholeDigest;
    use bytes::BufMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::token::{MAX_CHUNK, TokenEncoder};

    const MD5: Checksum = Checksum::Md5;
    const BLOCK_LEN: usize = 700;

    /// A basis of so many blocks, the last one short.
    fn head(blocks: u32) -> SumHead {
        let len = u64::from(blocks) * BLOCK_LEN as u64;
        SumHead::for_basis(len.saturating_sub(1), Some(BLOCK_LEN as u32), MD5, false)
    }

    fn decoder(compression: Compression, blocks: u32) -> TokenDecoder {
        let mut decoder = TokenDecoder::new(compression, 31, MD5);
        decoder.begin(&head(blocks));
        decoder
    }

    fn decode(compression: Compression, blocks: u32, wire: &[u8]) -> Result<Vec<Token>, WireError> {
        let mut decoder = decoder(compression, blocks);
        let mut input = BytesMut::from(wire);
        let mut tokens = Vec::new();
        while let Some(token) = decoder.poll(&mut input)? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn run(first: u32, count: u32) -> Token {
        Token::Blocks { first, count }
    }

    #[test]
    fn plain_tokens_are_read_as_recorded() {
        let wire = b"\xff\xff\xff\xff\x03\0\0\0abc\xfd\xff\xff\xff\0\0\0\0";
        let wire = [&wire[..], &[7; 16]].concat();
        let expected = [
            run(0, 1),
            Token::Literal(b"abc"[..].into()),
            run(2, 1),
            Token::End(DigestBytes::new(&[7; 16]).unwrap()),
        ];
        assert_eq!(decode(Compression::None, 3, &wire).unwrap(), expected);
    }

    #[test]
    fn blocks_are_named_near_or_far_and_in_runs() {
        let wire = [
            &[0xc0, 0x29, 0][..],
            &[0x80],
            &[0x82],
            &[0x20, 5, 0, 0, 0],
            &[0x21, 0, 1, 0, 0, 0xff, 0xff],
            &[0xbf],
        ];
        let expected = [
            run(0, 42),
            run(41, 1),
            run(43, 1),
            run(5, 1),
            run(256, 65536),
            run(256 + 65535 + 63, 1),
        ];
        let tokens = decode(Compression::Zstd, 1 << 20, &wire.concat()).unwrap();
        assert_eq!(tokens, expected);
    }

    #[test]
    fn blocks_that_are_not_there_are_refused() {
        for (compression, wire) in [
            (Compression::None, &b"\xfc\xff\xff\xff"[..]),
            (Compression::None, b"\0\0\0\x80"),
            (Compression::Lz4, b"\x83"),
            (Compression::Lz4, b"\x82\x81"),
            (Compression::Lz4, b"\xc0\x03\0"),
            (Compression::Lz4, b"\xc2\x01\0"),
            (Compression::Lz4, b"\x20\x03\0\0\0"),
            (Compression::Lz4, b"\x20\xff\xff\xff\xff"),
            (Compression::Lz4, b"\x21\xff\xff\xff\xff\x01\0"),
            (Compression::Lz4, b"\x21\xfe\xff\xff\x7f\xff\xff"),
            (Compression::Lz4, b"\x21\0\0\0\0\x03\0"),
        ] {
            let refused = decode(compression, 3, wire);
            let expected = WireError::Protocol("a block that the basis does not have");
            assert_eq!(refused, Err(expected), "{wire:x?}");
        }
        assert!(decode(Compression::Zlib, 0, b"\x80").is_err());
    }

    #[test]
    fn runs_of_one_block_and_unknown_tokens_are_refused() {
        for wire in [b"\xc0\0\0".to_vec(), b"\x21\0\0\0\0\0\0".to_vec()]
            .into_iter()
            .chain((0x01..0x20).chain(0x22..0x40).map(|flag| vec![flag]))
        {
            for compression in &Compression::ALL[..4] {
                assert!(decode(*compression, 3, &wire).is_err(), "{wire:x?}");
            }
        }
    }

    /// A chunk that is all there is of a stream.
    fn chunk(compressed: &[u8]) -> Vec<u8> {
        let [high, low] = (compressed.len() as u16).to_be_bytes();
        [&[CHUNK | high, low], compressed].concat()
    }

    #[test]
    fn literals_come_in_bounded_pieces_however_well_they_are_compressed() {
        let zeros = vec![0; 100 << 20];
        for compression in &Compression::ALL[..4] {
            let mut wire = BytesMut::new();
            let mut encoder = TokenEncoder::new(*compression, None, 31);
            encoder.begin(false);
            encoder.literal(&zeros, &mut wire);
            encoder.end(&DigestBytes::new(&[7; 16]).unwrap(), &mut wire);
            let mut decoder = decoder(*compression, 0);
            let mut len = 0;
            while let Some(Token::Literal(piece)) = decoder.poll(&mut wire).unwrap() {
                assert!(piece.len() <= 64 << 10);
                len += piece.len();
            }
            assert_eq!(len, zeros.len());
        }
    }

    #[test]
    fn lz4_chunk_of_more_than_a_piece_is_refused() {
        let bomb = lz4_flex::block::compress(&vec![0; 1 << 20]);
        assert!(bomb.len() <= MAX_CHUNK);
        assert!(decode(Compression::Lz4, 0, &chunk(&bomb)).is_err());
    }

    #[test]
    fn zstd_window_beyond_the_limit_is_refused() {
        // A frame of no announced size, whose window is 2^27 or 2^28 bytes, with one empty last block.
        for (window, fits) in [(0x88, true), (0x90, false)] {
            let frame = [&b"\x28\xb5\x2f\xfd\0"[..], &[window, 1, 0, 0]].concat();
            let read = decode(Compression::Zstd, 0, &chunk(&frame));
            assert_eq!(read.is_ok(), fits, "{window:x}");
        }
    }

    #[test]
    fn deflate_stream_that_ends_is_refused() {
        // A stored block, the last one.
        for compression in [Compression::Zlib, Compression::Zlibx] {
            let wire = chunk(b"\x01\x01\0\xfe\xffa");
            assert!(decode(compression, 0, &wire).is_err());
        }
    }

    #[test]
    fn chunk_of_nothing_is_nothing() {
        for compression in &Compression::ALL[..4] {
            let wire = [&chunk(b"")[..], &[END], &[7; 16]].concat();
            let tokens = decode(*compression, 0, &wire).unwrap();
            assert_eq!(tokens, [Token::End(DigestBytes::new(&[7; 16]).unwrap())]);
        }
    }

    /// What a sender has to say of a file.
    #[derive(Clone, Debug)]
    enum Said {
        Literal(Vec<u8>),
        Blocks(u32, u32),
    }

    const BLOCKS_THERE: u32 = 70_000;

    fn said() -> impl Strategy<Value = Said> {
        let text = (0..200_u8, 0..70_000_usize).prop_map(|(n, len)| {
            (0..len)
                .map(|i| (i / 9) as u8 ^ (i % 7) as u8 ^ n)
                .collect()
        });
        prop_oneof![
            vec(any::<u8>(), 0..40_000).prop_map(Said::Literal),
            text.prop_map(Said::Literal),
            (0..BLOCKS_THERE, 1..100_u32).prop_map(|(first, count)| Said::Blocks(first, count)),
            (0..100_u32, 1..3_u32).prop_map(|(first, count)| Said::Blocks(first, count)),
        ]
    }

    fn block(number: u32) -> Vec<u8> {
        (0..BLOCK_LEN)
            .map(|i| ((i as u32 / 3) ^ number) as u8)
            .collect()
    }

    fn encode(encoder: &mut TokenEncoder, file: &[Said], compressed_already: bool) -> BytesMut {
        let mut wire = BytesMut::new();
        encoder.begin(compressed_already);
        let mut digest = WholeDigest::new(MD5);
        for said in file {
            match said {
                Said::Literal(bytes) => {
                    digest.update(bytes);
                    encoder.literal(bytes, &mut wire);
                }
                Said::Blocks(first, count) => {
                    for number in *first..(first + count).min(BLOCKS_THERE) {
                        digest.update(&block(number));
                        encoder.block(number, &block(number), &mut wire);
                    }
                }
            }
        }
        encoder.end(&digest.finish(), &mut wire);
        wire
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn files_come_back_as_they_went_however_cut(
            compression in prop::sample::select(&Compression::ALL[..]),
            protocol in 30..=32_u8,
            level in -3..10_i32,
            files in vec((vec(said(), 0..6), any::<bool>()), 1..4),
            cuts in vec(0..20_000_usize, 0..20),
        ) {
            let level = Some(if level == 0 { 1 } else { level });
            let mut encoder = TokenEncoder::new(compression, level, protocol);
            let mut decoder = TokenDecoder::new(compression, protocol, MD5);
            let mut cuts = cuts.into_iter();
            for (file, compressed_already) in files {
                let mut wire = encode(&mut encoder, &file, compressed_already);
                let mut input = BytesMut::new();
                let mut digest = WholeDigest::new(MD5);
                decoder.begin(&head(BLOCKS_THERE));
                loop {
                    match decoder.poll(&mut input).unwrap() {
                        None => {
                            prop_assert!(!wire.is_empty());
                            let cut = cuts.next().unwrap_or(wire.len()).min(wire.len());
                            input.unsplit(wire.split_to(cut));
                        }
                        Some(Token::Literal(bytes)) => digest.update(&bytes),
                        Some(Token::Blocks { first, count }) => {
                            for number in first..first + count {
                                digest.update(&block(number));
                                if decoder.wants_matched() {
                                    decoder.matched(&block(number));
                                }
                            }
                        }
                        Some(Token::End(expected)) => {
                            prop_assert_eq!(digest.finish(), expected);
                            break;
                        }
                    }
                }
                prop_assert!(wire.is_empty() && input.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            compression in prop::sample::select(&Compression::ALL[..]),
            wire in vec(any::<u8>(), 0..3000),
            chunks: bool,
        ) {
            let mut input = BytesMut::new();
            if chunks {
                wire.chunks(50).for_each(|bytes| input.put_slice(&chunk(bytes)));
            } else {
                input.put_slice(&wire);
            }
            let mut decoder = decoder(compression, 100);
            let mut pieces = 0;
            while let Ok(Some(token)) = decoder.poll(&mut input) {
                pieces += 1;
                prop_assert!(pieces <= 10 * (wire.len() + 1), "endless");
                if let Token::Blocks { first, count } = token {
                    prop_assert!(count > 0 && first + count <= 100);
                    (0..count).for_each(|_| decoder.matched(&[1; 5]));
                }
            }
        }
    }
}
