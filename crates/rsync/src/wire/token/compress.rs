//! Compresses literals into chunks.

use bytes::{BufMut, BytesMut};
use flate2::{Compress, FlushCompress};
use lz4_flex::block::{compress_into, get_maximum_output_size};
use zstd::stream::raw::{Encoder, InBuffer, Operation, OutBuffer};

use super::{CHUNK, Compression, MAX_CHUNK, SYNC, history_pieces};

/// Literal bytes of one LZ4 chunk at most: with nothing to gain they become 1 in 255 more, and 16.
const LZ4_INPUT: usize = 16302;

/// The greatest effort of zstd here: 94 MiB, where level 22, for which a client may ask, takes 745.
const MAX_ZSTD_LEVEL: i32 = 19;

/// How literals become chunks.
pub(super) enum Compressor {
    Deflate(Deflate),
    Zstd(Zstd),
    Lz4(Lz4),
}

impl Compressor {
    /// `None` when there is nothing to compress by.
    pub(super) fn new(compression: Compression, level: Option<i32>, protocol: u8) -> Option<Self> {
        let (compression, level) = compression.at_level(level);
        Some(match compression {
            Compression::Zstd => Self::Zstd(Zstd::new(level)),
            Compression::Lz4 => Self::Lz4(Lz4::default()),
            Compression::Zlibx => Self::Deflate(Deflate::new(level, None)),
            Compression::Zlib => Self::Deflate(Deflate::new(level, Some(protocol))),
            Compression::None => return None,
        })
    }

    /// Begins a file.
    pub(super) fn begin(&mut self, compressed_already: bool) {
        // The effort of the others cannot be changed amid a stream, or is not to be chosen.
        if let Self::Deflate(deflate) = self {
            deflate.begin(compressed_already);
        }
    }

    /// Takes literals, and appends the chunks that are full.
    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut BytesMut) {
        match self {
            Self::Deflate(deflate) => deflate.compress(bytes, out),
            Self::Zstd(zstd) => zstd.compress(bytes, out),
            Self::Lz4(lz4) => lz4.compress(bytes, out),
        }
    }

    /// Appends what is left of the literals taken.
    pub(super) fn flush(&mut self, out: &mut BytesMut) {
        match self {
            Self::Deflate(deflate) => deflate.flush(out),
            Self::Zstd(zstd) => zstd.flush(out),
            Self::Lz4(lz4) => lz4.flush(out),
        }
    }

    /// Takes a matched block into the history, where that is the way. All literals are flushed.
    pub(super) fn remember(&mut self, block: &[u8]) {
        if let Self::Deflate(deflate) = self {
            deflate.remember(block);
        }
    }
}

pub(super) struct Deflate {
    stream: Compress,
    level: flate2::Compression,
    /// Whether the file at hand gets less effort than `level`.
    stored: bool,
    /// The protocol version, when matched blocks are history.
    history: Option<u8>,
    /// Compressed bytes that no chunk has yet.
    pending: Vec<u8>,
}

impl Deflate {
    fn new(level: i32, history: Option<u8>) -> Self {
        let level = flate2::Compression::new(level as u32);
        Self {
            stream: Compress::new(level, false),
            level,
            stored: false,
            history,
            pending: Vec::new(),
        }
    }

    fn begin(&mut self, stored: bool) {
        self.stream.reset();
        self.pending.clear();
        if self.stored != stored {
            self.stored = stored;
            let level = match stored {
                true => flate2::Compression::none(),
                false => self.level,
            };
            self.stream
                .set_level(level)
                .expect("a stream that has taken nothing can change its level");
        }
    }

    fn compress(&mut self, bytes: &[u8], out: &mut BytesMut) {
        // In steps, so that compressed bytes do not pile up.
        for piece in bytes.chunks(4 * MAX_CHUNK) {
            self.run(piece, FlushCompress::None);
            // The last bytes may be those of a flush, which are not sent.
            let full = self.pending.len().saturating_sub(SYNC.len()) / MAX_CHUNK * MAX_CHUNK;
            put_chunks(&self.pending[..full], out);
            self.pending.drain(..full);
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        self.run(&[], FlushCompress::Sync);
        let sent = self.pending.strip_suffix(&SYNC);
        put_chunks(sent.expect("a flush ends in an empty stored block"), out);
        self.pending.clear();
    }

    fn remember(&mut self, block: &[u8]) {
        let Some(protocol) = self.history else { return };
        for piece in history_pieces(block, protocol) {
            self.stream
                .set_dictionary(piece)
                .expect("a raw stream takes history after each flush");
        }
    }

    fn run(&mut self, mut bytes: &[u8], flush: FlushCompress) {
        loop {
            self.pending.reserve(MAX_CHUNK);
            let before = self.stream.total_in();
            self.stream
                .compress_vec(bytes, &mut self.pending, flush)
                .expect("any bytes can be compressed");
            bytes = &bytes[(self.stream.total_in() - before) as usize..];
            if bytes.is_empty() && self.pending.len() < self.pending.capacity() {
                return;
            }
        }
    }
}

pub(super) struct Zstd {
    stream: Encoder<'static>,
    /// A chunk that is not full yet; its capacity is that of a full one.
    chunk: Vec<u8>,
}

impl Zstd {
    fn new(level: i32) -> Self {
        let level = level.min(MAX_ZSTD_LEVEL);
        Self {
            stream: Encoder::new(level).expect("there is memory, and the level is one of zstd's"),
            chunk: Vec::with_capacity(MAX_CHUNK),
        }
    }

    fn compress(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.fill(out, |stream, chunk| stream.run(&mut input, chunk).map(drop));
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        let mut left = 1;
        while left > 0 {
            self.fill(out, |stream, chunk| {
                left = stream.flush(chunk)?;
                Ok(())
            });
        }
        self.put(out);
    }

    fn fill(
        &mut self,
        out: &mut BytesMut,
        run: impl FnOnce(&mut Encoder<'static>, &mut OutBuffer<'_, Vec<u8>>) -> std::io::Result<()>,
    ) {
        let filled = self.chunk.len();
        let mut chunk = OutBuffer::around_pos(&mut self.chunk, filled);
        run(&mut self.stream, &mut chunk).expect("any bytes can be compressed");
        if self.chunk.len() >= MAX_CHUNK {
            self.put(out);
        }
    }

    fn put(&mut self, out: &mut BytesMut) {
        put_chunks(&self.chunk, out);
        self.chunk.clear();
    }
}

#[derive(Default)]
pub(super) struct Lz4 {
    /// Literals that no chunk has yet, less than one can have.
    pending: Vec<u8>,
}

impl Lz4 {
    fn compress(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        if !self.pending.is_empty() {
            let taken = bytes.len().min(LZ4_INPUT - self.pending.len());
            self.pending.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.pending.len() == LZ4_INPUT {
                self.flush(out);
            }
        }
        let mut pieces = bytes.chunks_exact(LZ4_INPUT);
        pieces.by_ref().for_each(|piece| put_lz4(piece, out));
        self.pending.extend_from_slice(pieces.remainder());
    }

    fn flush(&mut self, out: &mut BytesMut) {
        // A chunk of nothing would be taken for the end of the file.
        if !self.pending.is_empty() {
            put_lz4(&self.pending, out);
            self.pending.clear();
        }
    }
}

fn put_lz4(bytes: &[u8], out: &mut BytesMut) {
    let mut chunk = [0; get_maximum_output_size(LZ4_INPUT)];
    let len = compress_into(bytes, &mut chunk).expect("there is room for the worst");
    debug_assert!(len <= MAX_CHUNK);
    put_chunks(&chunk[..len], out);
}

/// Appends compressed bytes, cut as need be.
fn put_chunks(compressed: &[u8], out: &mut BytesMut) {
    for chunk in compressed.chunks(MAX_CHUNK) {
        let [high, low] = (chunk.len() as u16).to_be_bytes();
        out.put_slice(&[CHUNK | high, low]);
        out.put_slice(chunk);
    }
}
