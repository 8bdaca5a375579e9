//! Decompresses the chunks of literals, a bounded piece at a time.

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, MAX_CHUNK, SYNC, history_pieces};
use crate::WireError;

/// Bytes of a piece at most. No chunk of LZ4 may have more.
const MAX_PIECE: usize = 64 << 10;

const DAMAGED: WireError = WireError::Stream("literals cannot be decompressed");

/// How chunks become literals again.
pub(super) struct Decompressor {
    method: Method,
    /// What is left of the chunk at hand.
    chunk: Bytes,
    /// Where pieces are made.
    piece: BytesMut,
}

enum Method {
    Inflate(Inflate),
    Zstd(Decoder<'static>),
    Lz4,
}

struct Inflate {
    stream: Decompress,
    /// The protocol version, when matched blocks are history.
    history: Option<u8>,
    /// Whether chunks have come since the last [`SYNC`].
    unsynced: bool,
}

impl Decompressor {
    /// `None` when nothing is compressed.
    pub(super) fn new(compression: Compression, protocol: u8) -> Option<Self> {
        let inflate = |history| {
            Method::Inflate(Inflate {
                stream: Decompress::new(false),
                history,
                unsynced: false,
            })
        };
        let method = match compression {
            Compression::Zstd => Method::Zstd(Decoder::new().expect("there is memory")),
            Compression::Lz4 => Method::Lz4,
            Compression::Zlibx => inflate(None),
            Compression::Zlib => inflate(Some(protocol)),
            Compression::None => return None,
        };
        Some(Self {
            method,
            chunk: Bytes::new(),
            piece: BytesMut::new(),
        })
    }

    /// Begins a file.
    pub(super) fn begin(&mut self) {
        self.chunk.clear();
        if let Method::Inflate(inflate) = &mut self.method {
            inflate.stream.reset(false);
            inflate.unsynced = false;
        }
    }

    /// Takes a chunk; the one before has been read.
    pub(super) fn take(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty() && chunk.len() <= MAX_CHUNK);
        if let Method::Inflate(inflate) = &mut self.method {
            inflate.unsynced |= !chunk.is_empty();
        }
        self.chunk = chunk;
    }

    /// Called when literals are complete; whether there may be more to read of them.
    pub(super) fn complete(&mut self) -> bool {
        match &mut self.method {
            Method::Inflate(inflate) if inflate.unsynced => {
                inflate.unsynced = false;
                self.chunk = Bytes::from_static(&SYNC);
                true
            }
            _ => false,
        }
    }

    /// The next bytes of the chunk; `None` when it is read.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        if self.chunk.is_empty() && matches!(self.method, Method::Lz4) {
            return Ok(None);
        }
        loop {
            self.piece.resize(MAX_PIECE, 0);
            let (read, written) = match &mut self.method {
                Method::Inflate(inflate) => inflate.run(&self.chunk, &mut self.piece)?,
                Method::Zstd(decoder) => decode_zstd(decoder, &self.chunk, &mut self.piece)?,
                Method::Lz4 => decode_lz4(&self.chunk, &mut self.piece)?,
            };
            self.chunk.advance(read);
            if written > 0 {
                return Ok(Some(self.piece.split_to(written).freeze()));
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
            if read == 0 {
                return Err(DAMAGED);
            }
        }
    }

    /// Whether matched blocks are history.
    pub(super) fn wants_matched(&self) -> bool {
        matches!(&self.method, Method::Inflate(inflate) if inflate.history.is_some())
    }

    /// Takes a matched block into the history, where that is the way.
    pub(super) fn remember(&mut self, block: &[u8]) {
        if let Method::Inflate(inflate) = &mut self.method
            && let Some(protocol) = inflate.history
        {
            for piece in history_pieces(block, protocol) {
                inflate
                    .stream
                    .set_dictionary(piece)
                    .expect("a raw stream takes history between its blocks");
            }
        }
    }
}

impl Inflate {
    /// How many bytes were read, how many written.
    fn run(&mut self, chunk: &[u8], piece: &mut [u8]) -> Result<(usize, usize), WireError> {
        let before = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(chunk, piece, FlushDecompress::None);
        if !matches!(status, Ok(Status::Ok | Status::BufError)) {
            return Err(DAMAGED);
        }
        let read = self.stream.total_in() - before.0;
        let written = self.stream.total_out() - before.1;
        Ok((read as usize, written as usize))
    }
}

fn decode_zstd(
    decoder: &mut Decoder<'static>,
    chunk: &[u8],
    piece: &mut [u8],
) -> Result<(usize, usize), WireError> {
    let (mut input, mut output) = (InBuffer::around(chunk), OutBuffer::around(piece));
    let decoded = decoder.run(&mut input, &mut output);
    decoded.map_err(|_| DAMAGED)?;
    Ok((input.pos(), output.pos()))
}

fn decode_lz4(chunk: &[u8], piece: &mut [u8]) -> Result<(usize, usize), WireError> {
    let written = lz4_flex::block::decompress_into(chunk, piece);
    Ok((chunk.len(), written.map_err(|_| DAMAGED)?))
}
