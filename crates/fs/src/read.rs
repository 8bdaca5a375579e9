//! One regular file: its bytes at offsets, and where there are any.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use barge_types::Name;
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, lseek};

use crate::{Dir, Error, Stat, StatKind};

/// An open regular file. Reads take offsets, so threads may share it.
#[derive(Debug)]
pub struct SourceFile {
    pub(crate) file: File,
}

impl Dir {
    /// Opens a regular file to read it, without touching its access time where that is allowed.
    ///
    /// # Errors
    ///
    /// `ELOOP` when it is a symbolic link, `ESTALE` when it is anything else but a regular file:
    /// it was exchanged since it was looked at. Never blocks on a fifo.
    pub fn open_file(&self, name: &Name) -> Result<SourceFile, Error> {
        Ok(self.open_source(name)?.0)
    }

    /// The same, with the look at it that was taken when it was open.
    ///
    /// # Errors
    ///
    /// As [`open_file`](Self::open_file).
    pub fn open_source(&self, name: &Name) -> Result<(SourceFile, Stat), Error> {
        SourceFile::open(|flags| {
            let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(self, name.as_bytes(), flags, Mode::empty()).map_err(Error::of("openat"))
        })
    }
}

impl Dir {
    /// Opens a device to read it, and tells how long it is: 0 for one that has no length.
    ///
    /// # Errors
    ///
    /// `ELOOP` when it is a symbolic link, `ESTALE` when it is anything else but a device.
    pub fn open_source_device(&self, name: &Name) -> Result<(SourceFile, u64), Error> {
        let flags = READ | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(self, name.as_bytes(), flags, Mode::empty());
        let file = SourceFile {
            file: opened.map_err(Error::of("openat"))?.into(),
        };
        match file.stat()?.kind {
            StatKind::BlockDevice | StatKind::CharDevice => {}
            _ => return Err(Error::new("openat", Errno::ESTALE)),
        }
        let end = lseek(&file.file, 0, Whence::SeekEnd).unwrap_or(0);
        Ok((file, u64::try_from(end).unwrap_or(0)))
    }
}

impl SourceFile {
    /// Opens a regular file with the flags it is given.
    pub(crate) fn open(
        open: impl Fn(OFlag) -> Result<OwnedFd, Error>,
    ) -> Result<(Self, Stat), Error> {
        let opened = match open(READ | OFlag::O_NOATIME) {
            // Only a file's owner may ask for its access time to be left alone.
            Err(error) if error.is(Errno::EPERM) => open(READ),
            opened => opened,
        };
        let file = Self {
            file: opened?.into(),
        };
        let stat = file.require_regular()?;
        Ok((file, stat))
    }

    /// Looks at it anew, to see whether it changed while it was read.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn stat(&self) -> Result<Stat, Error> {
        Stat::of(&self.file)
    }

    /// Fills `buf` from `offset` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    ///
    /// `pread`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        read_whole(&self.file, buf, offset)
    }

    /// The first run of data in `[from, end)`; `None` when only a hole remains there.
    ///
    /// Where the file system knows of no holes, everything is data.
    ///
    /// # Errors
    ///
    /// `lseek`.
    pub fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>, Error> {
        next_data(&self.file, from, end)
    }

    /// Reads it from the beginning to `len`, or to its end if that comes before.
    pub fn reader(self, len: u64) -> impl io::Read {
        io::Read::take(self.file, len)
    }

    /// Asks the kernel to read ahead further; whether it does is its own affair.
    pub fn will_read_sequentially(&self) {
        let _ = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    }

    pub(crate) fn require_regular(&self) -> Result<Stat, Error> {
        let stat = self.stat()?;
        match stat.kind {
            StatKind::File => Ok(stat),
            _ => Err(Error::new("openat", Errno::ESTALE)),
        }
    }
}

impl From<File> for SourceFile {
    fn from(file: File) -> Self {
        Self { file }
    }
}

/// Fills `buf` from `offset` on; fewer bytes only at the end of the file.
pub(crate) fn read_whole(file: &File, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::of_io("pread")(error)),
        }
    }
    Ok(done)
}

/// The first run of data in `[from, end)`, as [`SourceFile::next_data`] tells it.
pub(crate) fn next_data(file: &File, from: u64, end: u64) -> Result<Option<Range<u64>>, Error> {
    if from >= end {
        return Ok(None);
    }
    match seek(file, from, Whence::SeekData) {
        Ok(start) if start >= end => Ok(None),
        Ok(start) => Ok(Some(start..hole_after(file, start, end)?)),
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(from..end)),
        Err(errno) => Err(Error::new("lseek", errno)),
    }
}

/// Whether there is data in `range`. Where it ends is not asked: a file system may go through all of the file for
/// that, and who asks for each block of it would wait for the square of its length.
pub(crate) fn has_data(file: &File, range: &Range<u64>) -> Result<bool, Error> {
    match seek(file, range.start, Whence::SeekData) {
        Ok(start) => Ok(start < range.end),
        Err(Errno::ENXIO) => Ok(false),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(!range.is_empty()),
        Err(errno) => Err(Error::new("lseek", errno)),
    }
}

fn hole_after(file: &File, start: u64, end: u64) -> Result<u64, Error> {
    match seek(file, start, Whence::SeekHole) {
        Ok(hole) => Ok(hole.min(end)),
        Err(Errno::ENXIO) => Ok(end), // cut off meanwhile: whoever reads will see
        Err(errno) => Err(Error::new("lseek", errno)),
    }
}

/// Moves the handle's own offset, which no read or write of ours depends on.
fn seek(file: &File, from: u64, whence: Whence) -> Result<u64, Errno> {
    let from = i64::try_from(from).map_err(|_| Errno::ENXIO)?;
    let found = lseek(file, from, whence)?;
    u64::try_from(found).map_err(|_| Errno::EIO)
}

/// Non-blocking, so that a fifo put in a file's place holds nobody up.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

#[cfg(test)]
mod tests {
    use std::fs;

    use barge_types::{Kind, RelPath};

    use super::*;
    use crate::trees::{name, roots};

    #[test]
    fn sparse_file_is_walked_by_its_runs_of_data() {
        const MIB: u64 = 1 << 20;
        for (folder, root) in roots() {
            let path = folder.path().join("sparse");
            let file = fs::File::create(&path).unwrap();
            file.set_len(1 << 40).unwrap();
            file.write_all_at(&[1; 8192], 4 * MIB).unwrap();
            file.write_all_at(&[2; 4096], 64 * MIB).unwrap();
            let source = root
                .dir(&RelPath::root())
                .unwrap()
                .open_file(&name("sparse"))
                .unwrap();
            let first = 4 * MIB..4 * MIB + 8192;
            let second = 64 * MIB..64 * MIB + 4096;
            let end = 1 << 40;
            for (from, end, run) in [
                (0, end, Some(first.clone())),
                (first.start + 4096, end, Some(first.start + 4096..first.end)),
                (first.end, end, Some(second.clone())),
                (second.end, end, None),
                (0, first.start, None),
                (
                    first.start,
                    first.start + 10,
                    Some(first.start..first.start + 10),
                ),
                (end, end, None),
                (u64::MAX - 1, u64::MAX, None),
            ] {
                assert_eq!(source.next_data(from, end), Ok(run), "{from}..{end}");
            }
        }
    }

    #[test]
    fn read_is_short_only_at_the_end() {
        for (folder, root) in roots() {
            fs::write(folder.path().join("file"), b"0123456789").unwrap();
            let file = root
                .dir(&RelPath::root())
                .unwrap()
                .open_file(&name("file"))
                .unwrap();
            file.will_read_sequentially();
            let mut buf = [0; 8];
            assert_eq!(file.read_at(&mut buf, 0), Ok(8));
            assert_eq!(file.read_at(&mut buf, 8), Ok(2));
            assert_eq!(&buf[..2], b"89");
            assert_eq!(file.read_at(&mut buf, 1 << 40), Ok(0));
            assert!(file.read_at(&mut buf, u64::MAX - 4).is_err());
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        for (folder, root) in roots() {
            fs::create_dir(folder.path().join("directory")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
            let dir = root.dir(&RelPath::root()).unwrap();
            dir.make_node(&name("fifo"), &Kind::Fifo).unwrap();
            dir.make_node(&name("socket"), &Kind::Socket).unwrap();
            for (entry, errno) in [
                ("fifo", Errno::ESTALE),
                ("directory", Errno::ESTALE),
                ("link", Errno::ELOOP),
                ("socket", Errno::ENXIO),
                ("absent", Errno::ENOENT),
            ] {
                let error = dir.open_file(&name(entry)).unwrap_err();
                assert_eq!(error, Error::new("openat", errno), "{entry}");
            }
        }
    }
}
