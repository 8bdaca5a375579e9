//! One file's content as it comes: gathered, hashed, and written in few calls.

use std::io::IoSlice;
use std::ops::Range;

use barge_delta::{Checksum, DigestBytes, WholeDigest};
use barge_fs::{Error, SourceFile, Staged};
use bytes::{Bytes, BytesMut};

/// Bytes that are gathered before they are written, and read ahead of a basis.
const GATHER: usize = 256 << 10;

/// A file that is being written.
pub(super) struct Writer {
    pub(super) staged: Staged,
    basis: Basis,
    zeros: Zeros,
    /// The file may be longer, or shorter, than what is written of it.
    pub(super) is_longer: bool,
    digest: WholeDigest,
    /// Where what is gathered begins.
    offset: u64,
    gathered: Vec<Bytes>,
    gathered_len: usize,
    /// Of the basis, what is to be taken next: blocks that follow each other are one run.
    run: Range<u64>,
    window: Window,
    /// Why the basis could not be read, the first time.
    pub(super) unread: Option<Error>,
    pub(super) literal: u64,
    pub(super) matched: u64,
}

/// What becomes of runs of zeros.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zeros {
    /// They are written.
    Written,
    /// They are left out: nothing else is there.
    LeftOut,
    /// Holes are made for them, in what is there.
    Punched,
}

/// What blocks are taken from.
pub(super) enum Basis {
    None,
    /// Another file.
    File(SourceFile),
    /// The file that is written itself.
    Itself,
}

/// A part of the basis that was read.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Writer {
    pub(super) fn new(staged: Staged, basis: Basis, zeros: Zeros, checksum: Checksum) -> Self {
        Self {
            staged,
            basis,
            zeros,
            is_longer: zeros != Zeros::Written,
            digest: WholeDigest::new(checksum),
            offset: 0,
            gathered: Vec::new(),
            gathered_len: 0,
            run: 0..0,
            window: Window::default(),
            unread: None,
            literal: 0,
            matched: 0,
        }
    }

    /// Bytes of the file that are through.
    pub(super) fn len(&self) -> u64 {
        self.offset + self.gathered_len as u64 + (self.run.end - self.run.start)
    }

    /// Takes new bytes.
    pub(super) fn literal(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.take_run()?;
        self.literal += bytes.len() as u64;
        self.gather(bytes)
    }

    /// Takes a range of the basis.
    pub(super) fn matched(&mut self, range: Range<u64>) -> Result<(), Error> {
        self.matched += range.end - range.start;
        let follows = range.start == self.run.end;
        if follows && self.run.end - self.run.start < GATHER as u64 {
            self.run.end = range.end;
            return Ok(());
        }
        self.take_run()?;
        self.run = range;
        Ok(())
    }

    /// Takes a block of the basis, and gives its bytes.
    pub(super) fn matched_bytes(&mut self, range: Range<u64>) -> Result<Bytes, Error> {
        self.take_run()?;
        self.matched += range.end - range.start;
        let mut bytes = BytesMut::new();
        let mut rest = range.clone();
        while !rest.is_empty() {
            let piece = self.read_basis(&rest);
            rest.start += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        self.run = range;
        self.take_run()?;
        Ok(bytes.freeze())
    }

    /// Goes on behind the first `len` bytes of the file, which are there. With `verify` they are
    /// part of what the digest is of.
    pub(super) fn append_to(&mut self, len: u64, verify: bool) -> Result<(), Error> {
        let mut buffer = vec![0; GATHER];
        while verify && self.offset < len {
            let piece = usize::try_from(len - self.offset).map_or(GATHER, |left| left.min(GATHER));
            let read = self.staged.read_at(&mut buffer[..piece], self.offset)?;
            buffer[read..piece].fill(0);
            self.digest.update(&buffer[..piece]);
            self.offset += piece as u64;
        }
        self.offset = len;
        Ok(())
    }

    /// Writes what is gathered, cuts off what is behind it, and gives the digest of all.
    pub(super) fn finish(&mut self) -> Result<DigestBytes, Error> {
        self.flush_all()?;
        Ok(self.digest.clone().finish())
    }

    /// Writes what is gathered, and cuts off what is behind it.
    pub(super) fn flush_all(&mut self) -> Result<(), Error> {
        self.take_run()?;
        self.flush()?;
        if self.is_longer {
            self.staged.set_len(self.offset)?;
        }
        Ok(())
    }

    fn take_run(&mut self) -> Result<(), Error> {
        let mut run = std::mem::replace(&mut self.run, 0..0);
        while !run.is_empty() {
            let bytes = self.read_basis(&run);
            let here = self.len();
            if matches!(self.basis, Basis::Itself) && run.start == here {
                // It is there already.
                self.flush()?;
                self.digest.update(&bytes);
                self.offset += bytes.len() as u64;
            } else {
                self.gather(bytes.clone())?;
            }
            run.start += bytes.len() as u64;
        }
        Ok(())
    }

    /// The first bytes of a run of the basis. A basis that has become shorter, or cannot be read, gives
    /// zeros: the digest tells.
    fn read_basis(&mut self, run: &Range<u64>) -> Bytes {
        let end = self.window.start + self.window.bytes.len() as u64;
        if (self.window.start..end).contains(&run.start) {
            let from = (run.start - self.window.start) as usize;
            let len = (run.end.min(end) - run.start) as usize;
            return self.window.bytes.slice(from..from + len);
        }
        let wanted = usize::try_from(run.end - run.start)
            .unwrap_or(GATHER)
            .min(GATHER);
        let len = if run.start == end { GATHER } else { wanted };
        let mut bytes = BytesMut::zeroed(len);
        let mut read = self.read_old(&mut bytes, run.start);
        if read.is_err() && len > wanted {
            // What was to be read ahead may be what cannot be read.
            read = self.read_old(&mut bytes[..wanted], run.start);
        }
        if let Err(error) = read {
            self.unread.get_or_insert(error);
            bytes.fill(0);
        }
        bytes.truncate(read.unwrap_or(0).max(wanted));
        self.window = Window {
            start: run.start,
            bytes: bytes.freeze(),
        };
        self.window.bytes.slice(..wanted)
    }

    fn read_old(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Error> {
        match &self.basis {
            Basis::None => Ok(0),
            Basis::File(file) => file.read_at(bytes, offset),
            Basis::Itself => self.staged.read_at(bytes, offset),
        }
    }

    fn gather(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.digest.update(&bytes);
        self.gathered_len += bytes.len();
        self.gathered.push(bytes);
        match self.gathered_len >= GATHER {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self.zeros {
            Zeros::Written => {
                let gathered = self.gathered.iter();
                let mut pieces: Vec<_> = gathered.map(|bytes| IoSlice::new(bytes)).collect();
                self.staged
                    .write_all_vectored_at(&mut pieces, self.offset)?;
            }
            zeros => self.flush_sparse(zeros)?,
        }
        self.offset += self.gathered_len as u64;
        self.gathered_len = 0;
        self.gathered.clear();
        Ok(())
    }

    fn flush_sparse(&self, zeros: Zeros) -> Result<(), Error> {
        let mut at = self.offset;
        for bytes in &self.gathered {
            for (data, run) in runs(bytes, at) {
                let offset = at + run.start as u64;
                match (data, zeros) {
                    (true, _) => self.staged.write_at(&bytes[run], offset)?,
                    (false, Zeros::Punched) => {
                        let (start, end) = (offset, offset + run.len() as u64);
                        self.staged.clear(start..end)?;
                    }
                    (false, _) => {}
                }
            }
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Parts of a piece at an offset of the file that are data, and those that are zeros; cut where
/// blocks of the file system may begin.
fn runs(bytes: &[u8], offset: u64) -> Vec<(bool, Range<usize>)> {
    let mut runs: Vec<(bool, Range<usize>)> = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let into = ((offset + start as u64) % PAGE as u64) as usize;
        let end = (start + PAGE - into).min(bytes.len());
        let data = bytes[start..end].iter().any(|&byte| byte != 0);
        match runs.last_mut() {
            Some((last, run)) if *last == data => run.end = end,
            _ => runs.push((data, start..end)),
        }
        start = end;
    }
    runs
}

/// The least that is a hole of its own on most file systems.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use barge_fs::Root;
    use barge_types::{Name, RelPath};

    use super::*;

    #[test]
    fn basis_that_cannot_be_read_gives_zeros_and_what_came_besides_is_kept() {
        // Nothing is mapped at the beginning of this process's memory: EIO.
        let process = format!("/proc/{}", std::process::id());
        let process = Root::open(Path::new(&process)).unwrap();
        let memory = Name::new(b"mem").unwrap();
        let basis = process.dir(&RelPath::root()).unwrap().open_file(&memory);
        let folder = tempfile::tempdir().unwrap();
        let dir = Root::open(folder.path()).unwrap().dir(&RelPath::root());
        let staged = dir.unwrap().stage_unique(&memory).unwrap();
        let basis = Basis::File(basis.unwrap());
        let mut writer = Writer::new(staged, basis, Zeros::Written, Checksum::Md5);
        writer.literal(Bytes::from_static(b"new")).unwrap();
        writer.matched(0..700).unwrap();
        assert_eq!(writer.matched_bytes(700..703).unwrap(), &[0; 3][..]);
        let digest = writer.finish().unwrap();
        let mut expected = WholeDigest::new(Checksum::Md5);
        expected.update(&[&b"new"[..], &[0; 703]].concat());
        assert_eq!(digest.as_bytes(), expected.finish().as_bytes());
        assert_eq!(writer.unread.map(|error| error.errno), Some(5));
    }

    #[test]
    fn zeros_are_told_from_data_at_the_bounds_of_pages() {
        let mut bytes = vec![0; 3 * PAGE];
        bytes[PAGE] = 1;
        let expected = [
            (false, 0..PAGE),
            (true, PAGE..2 * PAGE),
            (false, 2 * PAGE..3 * PAGE),
        ];
        assert_eq!(runs(&bytes, 0), expected);
        assert_eq!(runs(&bytes[..0], 7), []);
        let shifted = [(false, 0..4086), (true, 4086..8182), (false, 8182..12288)];
        assert_eq!(runs(&bytes, 10), shifted);
    }
}
