//! Sends the contents of files that were asked for.
//!
//! Source: rsync 3.5.0 as it behaves.

use std::sync::Arc;

use barge_delta::{Counts, DigestBytes, Index, Piece, Search, WholeDigest};
use barge_fs::{Dir, Error, SourceFile, Stat};
use barge_rsync::options::Options;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::item::{Item, put_xattr_answer};
use barge_rsync::wire::mux::{IoErrors, Message};
use barge_rsync::wire::ndx::NdxWriter;
use barge_rsync::wire::sums::SumHead;
use barge_rsync::wire::token::{Compression, SkipCompress, TokenEncoder};
use bytes::{Bytes, BytesMut};

use super::bases::{Bases, Opened, Reach};
use super::trouble;
use crate::over_rsync::Level;
use crate::over_rsync::failure::Failure;
use crate::over_rsync::run::Run;

/// Bytes of a file that are read at a time.
const READ: usize = 256 << 10;

/// Literal bytes of one token, and the longest file that is copied into the frame it leaves in.
const LITERAL: usize = 32 << 10;

/// Reads files and writes their tokens.
pub(super) struct Contents {
    run: Arc<Run>,
    bases: Arc<Bases>,
    tokens: TokenEncoder,
    /// Literals are not compressed.
    is_plain: bool,
    skip: SkipCompress,
    buffer: Vec<u8>,
    /// The directory of the file before this one.
    place: Option<Place>,
}

struct Place {
    in_dir: u32,
    path: Option<Arc<[u8]>>,
    dir: Dir,
}

/// What is asked for, and what of it has been found out.
pub(super) struct Answer<'a> {
    pub(super) entry: &'a FileEntry,
    pub(super) item: &'a Item,
    /// Where a list of them stands with the item.
    pub(super) xattrs: Option<Vec<(u32, Bytes)>>,
    pub(super) head: SumHead,
    /// Blocks of the basis.
    pub(super) basis: Option<Index>,
    /// Only what is behind so many bytes is wanted; whether they are part of the digest.
    pub(super) append: Option<Append>,
}

/// A file that only grows.
#[derive(Clone, Copy)]
pub(super) struct Append {
    pub(super) from: u64,
    pub(super) verifies: bool,
}

/// What was sent of a file.
pub(super) struct Sent {
    /// Bytes of the data stream.
    pub(super) bytes: u64,
    pub(super) literal: u64,
    pub(super) matched: u64,
    /// What the search for blocks came to, where there were some.
    pub(super) search: Counts,
    pub(super) digest: DigestBytes,
}

/// How far a file's content has come.
struct Passage<'a> {
    sent: Sent,
    digest: WholeDigest,
    /// Told of bytes that are through.
    progress: &'a mut dyn FnMut(u64),
}

impl Contents {
    pub(super) fn new(run: Arc<Run>, bases: Arc<Bases>, options: &Options) -> Self {
        let setup = &run.setup;
        let (compression, _) = setup.compression.at_level(options.compress_level);
        let protocol = setup.protocol.get();
        Self {
            tokens: TokenEncoder::new(setup.compression, options.compress_level, protocol),
            is_plain: compression == Compression::None,
            skip: match &options.skip_compress {
                Some(list) => SkipCompress::new(list),
                None => SkipCompress::default(),
            },
            buffer: vec![0; READ],
            place: None,
            run,
            bases,
        }
    }

    /// Opens a file that was asked for. One that cannot be opened is told of, and to the receiving
    /// side that it will not come.
    pub(super) fn open(&mut self, entry: &FileEntry, item: &Item) -> Option<Opened> {
        let opened = match self.dir(entry) {
            Ok(dir) => self.bases.open(entry, &dir),
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => Some(opened),
            Err(error) => {
                let quoted = self.bases.quoted(Reach::of(entry), &entry.path.to_vec());
                match error.is_not_found() {
                    true => trouble::vanished(&self.run, &quoted),
                    false => trouble::not_opened(&self.run, &quoted, &error),
                }
                self.will_not_come(item);
                None
            }
        }
    }

    /// Tells the receiving side not to wait for a file.
    pub(super) fn will_not_come(&self, item: &Item) {
        self.run.outgoing.message(&Message::NoSend(item.index));
    }

    /// The directory an entry is in.
    pub(super) fn dir(&mut self, entry: &FileEntry) -> Result<Dir, Error> {
        let reach = Reach::of(entry);
        let (in_dir, path) = (reach.in_dir(), entry.path.dir());
        let is_here = |place: &&Place| place.in_dir == in_dir && place.path.as_ref() == path;
        if let Some(place) = self.place.as_ref().filter(is_here) {
            return Ok(place.dir.clone());
        }
        let dir = self.bases.dir(reach, path.map(|path| &**path))?;
        self.place = Some(Place {
            in_dir,
            path: path.cloned(),
            dir: dir.clone(),
        });
        Ok(dir)
    }

    /// Sends an answer with content. `progress` is told of bytes that are through.
    pub(super) fn send(
        &mut self,
        ndx: &mut NdxWriter,
        answer: Answer<'_>,
        opened: &Opened,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Sent, Failure> {
        let mut passage = Passage {
            sent: Sent {
                bytes: 0,
                literal: 0,
                matched: 0,
                search: Counts::default(),
                digest: DigestBytes::new(&[]).expect("nothing is short enough"),
            },
            digest: WholeDigest::new(self.run.setup.checksum),
            progress,
        };
        let name = answer.entry.path.base();
        self.tokens.begin(self.skip.matches(name));
        self.write(&mut passage.sent, |_, out| {
            put_item(answer.item, answer.xattrs.as_deref(), ndx, out);
            answer.head.encode(out);
        })?;
        let failed = self.pass(&answer, opened, &mut passage);
        let failed = match failed {
            Err(Stopped::Read(error)) => Some(error),
            Err(Stopped::Failed(failure)) => return Err(failure),
            Ok(()) => None,
        };
        let mut digest = passage.digest.finish();
        if let Some(error) = &failed {
            self.tell_unread(answer.entry, error);
            digest = spoiled(&digest);
        }
        self.write(&mut passage.sent, |tokens, out| tokens.end(&digest, out))?;
        passage.sent.digest = digest;
        if failed.is_none() {
            self.look_back(answer.entry, opened);
        }
        Ok(passage.sent)
    }

    fn pass(
        &mut self,
        answer: &Answer<'_>,
        Opened { file, size, .. }: &Opened,
        passage: &mut Passage<'_>,
    ) -> Result<(), Stopped> {
        let mut at = 0;
        if let Some(append) = answer.append {
            at = append.from;
            if append.verifies {
                self.digest_prefix(file, at, passage)?;
            }
        }
        if *size > READ as u64 {
            file.will_read_sequentially();
        }
        match &answer.basis {
            Some(index) => {
                let basis = (index, answer.head.block_len());
                self.send_delta(basis, file, *size, passage)
            }
            None => self.send_whole(file, at, *size, passage),
        }
    }

    /// Reads what the receiving side has already, as it is here.
    fn digest_prefix(
        &mut self,
        file: &SourceFile,
        len: u64,
        passage: &mut Passage<'_>,
    ) -> Result<(), Stopped> {
        let mut at = 0;
        while at < len {
            let count = self.read(file, at, len)?;
            passage.digest.update(&self.buffer[..count]);
            at += count as u64;
            self.run.activity.progress();
        }
        Ok(())
    }

    fn send_whole(
        &mut self,
        file: &SourceFile,
        mut at: u64,
        size: u64,
        passage: &mut Passage<'_>,
    ) -> Result<(), Stopped> {
        let mut first = true;
        while at < size {
            // The first piece is short, so that progress is shown at once.
            let most = if first { LITERAL as u64 } else { READ as u64 };
            first = false;
            let count = self.read(file, at, size.min(at + most))?;
            passage.digest.update(&self.buffer[..count]);
            self.literal(count, &mut passage.sent)?;
            at += count as u64;
            passage.sent.literal += count as u64;
            (passage.progress)(at);
        }
        Ok(())
    }

    /// Sends the first `count` bytes of the buffer: long ones as they lie there.
    fn literal(&mut self, count: usize, sent: &mut Sent) -> Result<(), Failure> {
        if !self.is_plain || count <= LITERAL {
            let buffer = std::mem::take(&mut self.buffer);
            let written = self.write(sent, |tokens, out| tokens.literal(&buffer[..count], out));
            self.buffer = buffer;
            return written;
        }
        let pieces: Vec<_> = self.buffer[..count]
            .chunks(LITERAL)
            .map(|piece| ((piece.len() as u32).to_le_bytes(), piece))
            .collect();
        sent.bytes += (count + 4 * pieces.len()) as u64;
        self.run.outgoing.long_data(&pieces)
    }

    fn send_delta(
        &mut self,
        (index, block_len): (&Index, u32),
        file: &SourceFile,
        size: u64,
        passage: &mut Passage<'_>,
    ) -> Result<(), Stopped> {
        let mut search = Search::new(index, 0);
        let mut pieces = Pieces::new(block_len);
        let mut at = 0;
        while at < size {
            let most = if at == 0 { LITERAL as u64 } else { READ as u64 };
            let count = self.read(file, at, size.min(at + most))?;
            let buffer = std::mem::take(&mut self.buffer);
            passage.digest.update(&buffer[..count]);
            let written = self.write(&mut passage.sent, |tokens, out| {
                search.feed_blocks(&buffer[..count], &mut |piece| {
                    pieces.put(piece, tokens, out)
                });
            });
            self.buffer = buffer;
            written?;
            at += count as u64;
            pieces.show(at, passage.progress);
        }
        let mut counts = Counts::default();
        self.write(&mut passage.sent, |tokens, out| {
            counts = search.finish_blocks(&mut |piece| pieces.put(piece, tokens, out));
            pieces.flush(tokens, out);
        })?;
        if size > 0 {
            pieces.first.get_or_insert(size);
            pieces.show(size, passage.progress);
        }
        passage.sent.literal = pieces.literal;
        passage.sent.matched = pieces.matched;
        passage.sent.search = counts;
        Ok(())
    }

    /// Reads from `at` up to `end` into the buffer, as much as it holds, at least one byte.
    fn read(&mut self, file: &SourceFile, at: u64, end: u64) -> Result<usize, Stopped> {
        let most = (end - at).min(READ as u64) as usize;
        match file.read_at(&mut self.buffer[..most], at) {
            Ok(0) => Err(Stopped::Read(Error::cut_short())),
            Ok(count) => Ok(count),
            Err(error) => Err(Stopped::Read(error)),
        }
    }

    /// Lets `encode` write to the data stream, and counts what it wrote.
    fn write(
        &mut self,
        sent: &mut Sent,
        encode: impl FnOnce(&mut TokenEncoder, &mut BytesMut),
    ) -> Result<(), Failure> {
        let tokens = &mut self.tokens;
        sent.bytes += self.run.outgoing.data(|out| {
            let before = out.len();
            encode(tokens, out);
            (out.len() - before) as u64
        })?;
        Ok(())
    }

    fn tell_unread(&self, entry: &FileEntry, error: &Error) {
        let quoted = self.bases.quoted(Reach::of(entry), &entry.path.to_vec());
        let reason = error.reason();
        let text = [
            b"rsync: [sender] read errors mapping ",
            &*quoted,
            b": ",
            reason.as_bytes(),
            b"\n",
        ];
        trouble::general(&self.run, text.concat());
    }

    /// A file that changed while it was read may have been sent as it never was. rsync keeps silent;
    /// here the run does not end as if all were well.
    fn look_back(&self, entry: &FileEntry, opened: &Opened) {
        let before = &opened.stat;
        let same = |after: Stat| {
            (after.size, after.mtime, after.ctime) == (before.size, before.mtime, before.ctime)
        };
        if opened.file.stat().is_ok_and(same) {
            return;
        }
        let quoted = self.bases.quoted(Reach::of(entry), &entry.path.to_vec());
        self.run.trouble(IoErrors::VANISHED);
        let text = [b"file has changed while it was sent: ", &*quoted, b"\n"];
        self.run.say(Level::Warning, text.concat());
    }
}

/// Why a file's content ended early.
enum Stopped {
    /// It cannot be read: the rest is left out, and the digest says that this is not the file.
    Read(Error),
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Repeats a request, with the attributes that were asked for where a list of them stands with it.
pub(super) fn put_item(
    item: &Item,
    xattrs: Option<&[(u32, Bytes)]>,
    ndx: &mut NdxWriter,
    out: &mut BytesMut,
) {
    item.put(out, ndx);
    if let Some(xattrs) = xattrs {
        put_xattr_answer(out, xattrs);
    }
}

/// What a search finds, on its way into tokens: literals that follow each other are one.
struct Pieces {
    block_len: u32,
    /// A literal that may go on.
    open: Vec<u8>,
    literal: u64,
    matched: u64,
    /// Where the first token ends, as rsync cuts them: with the block behind a literal, unless that
    /// one is long.
    first: Option<u64>,
    /// It was told as progress.
    is_shown: bool,
}

impl Pieces {
    fn new(block_len: u32) -> Self {
        Self {
            block_len,
            open: Vec::with_capacity(LITERAL),
            literal: 0,
            matched: 0,
            first: None,
            is_shown: false,
        }
    }

    /// Tells how far it is, once the first token is known, with the end of that one first.
    fn show(&mut self, at: u64, progress: &mut dyn FnMut(u64)) {
        let Some(first) = self.first else {
            return;
        };
        if !std::mem::replace(&mut self.is_shown, true) {
            progress(first);
        }
        progress(at);
    }

    fn put(&mut self, piece: Piece<'_>, tokens: &mut TokenEncoder, out: &mut BytesMut) {
        match piece {
            Piece::Literal(bytes) => self.put_literal(bytes, tokens, out),
            Piece::Block { number, bytes } => {
                self.flush(tokens, out);
                self.matched += bytes.len() as u64;
                let through = self.literal + self.matched;
                self.first.get_or_insert(through);
                let number = u32::try_from(number).expect("an index has fewer blocks");
                tokens.block(number, bytes, out);
            }
        }
    }

    fn put_literal(&mut self, mut bytes: &[u8], tokens: &mut TokenEncoder, out: &mut BytesMut) {
        self.literal += bytes.len() as u64;
        if self.literal >= LITERAL as u64 + u64::from(self.block_len) {
            self.first.get_or_insert(LITERAL as u64);
        }
        while !bytes.is_empty() {
            let room = LITERAL - self.open.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.open.is_empty() && now.len() == LITERAL {
                tokens.literal(now, out);
            } else {
                self.open.extend_from_slice(now);
                if self.open.len() == LITERAL {
                    self.flush(tokens, out);
                }
            }
            bytes = later;
        }
    }

    fn flush(&mut self, tokens: &mut TokenEncoder, out: &mut BytesMut) {
        if !self.open.is_empty() {
            tokens.literal(&self.open, out);
            self.open.clear();
        }
    }
}

/// A digest that no content has which was sent under it.
fn spoiled(digest: &DigestBytes) -> DigestBytes {
    let bytes: Vec<u8> = digest.as_bytes().iter().map(|byte| !byte).collect();
    DigestBytes::new(&bytes).expect("it is as long as another")
}
