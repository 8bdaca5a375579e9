//! A block device, or a raw image in a regular file, by an operator's own path.

use std::fs::{File, Permissions};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use barge_types::Device;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, open, posix_fadvise};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, ftruncate, lseek};
use rustix::fs::{FlockOperation, flock};

use crate::read::{has_data, read_whole};
use crate::{Error, Stat, StatKind};

/// An open block device or raw image. Reads and writes take offsets, so threads may share it.
#[derive(Debug)]
pub struct Disk {
    file: File,
    is_device: bool,
}

impl Disk {
    /// Opens it to be read.
    ///
    /// # Errors
    ///
    /// `openat`: `ELOOP` when its last name is a symbolic link, `ENOTBLK` when it is anything else
    /// but a block device or a regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | CAREFUL;
        let opened = open(path, flags, Mode::empty()).map_err(Error::of("openat"))?;
        Self::of("openat", opened)
    }

    /// Opens it to be overwritten, for this one alone; an image that is not there is made, empty and of
    /// mode 0660.
    ///
    /// # Errors
    ///
    /// `openat O_RDWR`, as [`Disk::open`], `EROFS` when the device takes no writing, and `EBUSY` when it
    /// is mounted, or somebody else writes it or the image.
    pub fn open_to_write(path: &Path) -> Result<Self, Error> {
        let op = "openat O_RDWR";
        // For a device that is there O_EXCL means that nobody else may have it so.
        let flags = OFlag::O_RDWR | OFlag::O_EXCL | CAREFUL;
        let opened = match open(path, flags, Mode::empty()) {
            Err(Errno::ENOENT) if may_be_image(path) => return Self::create(path),
            opened => opened.map_err(Error::of(op))?,
        };
        let disk = Self::of(op, opened)?.for_us_alone(op)?;
        // What a write that failed has left in memory is not what is on the disk, and reads as if it were.
        let _ = posix_fadvise(&disk.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(disk)
    }

    /// Whether [`Disk::open_to_write`] would open it, or could make an image there; nothing is made. That
    /// somebody else has it is no error: he may be gone by then.
    ///
    /// # Errors
    ///
    /// As [`Disk::open_to_write`], and `ENOENT` for an image when its folder is not there, and for a device.
    pub fn expect_to_write(path: &Path) -> Result<(), Error> {
        let op = "openat O_RDWR";
        let flags = OFlag::O_RDWR | CAREFUL;
        match open(path, flags, Mode::empty()) {
            Ok(opened) => match Self::of(op, opened)?.for_us_alone(op) {
                Err(error) if !error.is_busy() => Err(error),
                _ => Ok(()),
            },
            Err(Errno::ENOENT) if may_be_image(path) => open_folder(path).map(drop),
            Err(errno) => Err(Error::new(op, errno)),
        }
    }

    fn create(path: &Path) -> Result<Self, Error> {
        let op = "openat O_CREAT";
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | CAREFUL;
        let mode = Mode::from_bits_truncate(IMAGE_MODE);
        let opened = open(path, flags, mode).map_err(Error::of(op))?;
        let disk = Self::of(op, opened)?;
        // The group of the volume is to use it, whatever the umask.
        disk.file
            .set_permissions(Permissions::from_mode(IMAGE_MODE))
            .map_err(Error::of_io("fchmod"))?;
        // The name is to be as durable as what will be under it.
        let synced = open_folder(path)?.sync_all();
        synced.map_err(Error::of_io("fsync"))?;
        disk.for_us_alone(op)
    }

    fn of(op: &'static str, opened: OwnedFd) -> Result<Self, Error> {
        let is_device = match Stat::of(&opened)?.kind {
            StatKind::BlockDevice => true,
            StatKind::File => false,
            _ => return Err(Error::new(op, Errno::ENOTBLK)),
        };
        Ok(Self {
            file: opened.into(),
            is_device,
        })
    }

    fn for_us_alone(self, op: &'static str) -> Result<Self, Error> {
        if self.is_device {
            return match is_read_only(self.stat()?.rdev) {
                true => Err(Error::new(op, Errno::EROFS)),
                false => Ok(self),
            };
        }
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(op, Errno::EBUSY)),
            // A file system without locks cannot tell.
            _ => Ok(self),
        }
    }

    /// Whether it is a device, whose length is as it is.
    pub fn is_device(&self) -> bool {
        self.is_device
    }

    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// `lseek`.
    pub fn len(&self) -> Result<u64, Error> {
        let end = lseek(&self.file, 0, Whence::SeekEnd).map_err(Error::of("lseek"))?;
        u64::try_from(end).map_err(|_| Error::new("lseek", Errno::EIO))
    }

    /// Whether there is nothing in it.
    ///
    /// # Errors
    ///
    /// `lseek`.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// Looks at it: of an image its times tell whether it was changed; of a device they do not.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn stat(&self) -> Result<Stat, Error> {
        Stat::of(&self.file)
    }

    /// Fills `buf` from `offset` on; fewer bytes only at the end.
    ///
    /// # Errors
    ///
    /// `pread`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        read_whole(&self.file, buf, offset)
    }

    /// Whether there is anything but a hole within a range. All of a device is data.
    ///
    /// # Errors
    ///
    /// `lseek`.
    pub fn has_data(&self, range: &Range<u64>) -> Result<bool, Error> {
        match self.is_device {
            true => Ok(!range.is_empty()),
            false => has_data(&self.file, range),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// `pwrite`; `ENOSPC` at the end of a device.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(Error::of_io("pwrite"))
    }

    /// Makes a range within its length read as zeros: discarded or a hole where that can be, written
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// `pwrite`.
    pub fn discard(&self, range: Range<u64>) -> Result<(), Error> {
        if self.punch(&range) {
            return Ok(());
        }
        // A device has holes between borders of its own blocks alone.
        let inner = range.start.next_multiple_of(BORDER)..range.end - range.end % BORDER;
        if inner.start < inner.end && inner != range && self.punch(&inner) {
            self.zero_what_is_not(range.start..inner.start)?;
            return self.zero_what_is_not(inner.end..range.end);
        }
        // It has none; whatever else is wrong, writing tells.
        self.zero_what_is_not(range)
    }

    fn punch(&self, range: &Range<u64>) -> bool {
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let start = i64::try_from(range.start);
        let len = i64::try_from(range.end.saturating_sub(range.start));
        match (start, len) {
            (Ok(start), Ok(len @ 1..)) => fallocate(&self.file, how, start, len).is_ok(),
            _ => false,
        }
    }

    /// Where there are zeros already nothing is written: a thin device would take room for it.
    fn zero_what_is_not(&self, range: Range<u64>) -> Result<(), Error> {
        let mut buffer = vec![0; ZEROS.len()];
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + ZEROS.len() as u64);
            let there = &mut buffer[..(end - at) as usize];
            // What cannot be read may still be written.
            let is_zero =
                self.read_at(there, at) == Ok(there.len()) && there == &ZEROS[..there.len()];
            if !is_zero {
                self.write_zeros(at..end)?;
            }
            at = end;
        }
        Ok(())
    }

    /// Writes zeros.
    ///
    /// # Errors
    ///
    /// `pwrite`.
    pub fn write_zeros(&self, range: Range<u64>) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let some = (range.end - at).min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..some as usize], at)?;
            at += some;
        }
        Ok(())
    }

    /// Makes an image so long: cuts it, or lengthens it by a hole.
    ///
    /// # Errors
    ///
    /// `ftruncate`, with `EFBIG` for a length no file can have, `EINVAL` for a device.
    pub fn set_len(&self, len: u64) -> Result<(), Error> {
        let len = i64::try_from(len).map_err(|_| Error::new("ftruncate", Errno::EFBIG))?;
        ftruncate(&self.file, len).map_err(Error::of("ftruncate"))
    }

    /// Waits until all that was written is on the disk (`fsync(2)`).
    ///
    /// # Errors
    ///
    /// `fsync`, also when the kernel failed to write something back.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::of_io("fsync"))
    }
}

/// Whether an image may be made there. What is not there in `/dev` is a device, and a file would take the
/// machine's memory for it.
fn may_be_image(path: &Path) -> bool {
    !path.starts_with("/dev") || path.starts_with("/dev/shm")
}

fn open_folder(path: &Path) -> Result<File, Error> {
    let parent = path.parent();
    let folder = parent.filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(folder, flags, Mode::empty()).map_err(Error::of("openat"))?;
    Ok(opened.into())
}

/// Whether a device takes no writing, which opening it does not tell: read(2) of its attribute does.
/// False where that cannot be told.
fn is_read_only(device: Device) -> bool {
    let attribute = format!("/sys/dev/block/{}:{}/ro", device.major, device.minor);
    std::fs::read(attribute).is_ok_and(|value| value.starts_with(b"1"))
}

/// No link, no controlling terminal, no waiting for a fifo's other end.
const CAREFUL: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

const IMAGE_MODE: u32 = 0o660;

/// A multiple of how long a device's own blocks are.
const BORDER: u64 = 4096;

static ZEROS: [u8; 1 << 18] = [0; 1 << 18];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::trees::roots;

    #[test]
    fn image_that_is_not_there_is_made_for_its_group() {
        for (folder, _) in roots() {
            let path = folder.path().join("disk.img");
            assert!(Disk::open(&path).unwrap_err().is_not_found());
            let disk = Disk::open_to_write(&path).unwrap();
            disk.set_len(1 << 20).unwrap();
            disk.write_at(b"abc", 70_000).unwrap();
            assert_eq!(disk.len(), Ok(1 << 20));
            disk.discard(65_536..131_072).unwrap();
            disk.sync().unwrap();
            let mut buf = [1; 3];
            assert_eq!(Disk::open(&path).unwrap().read_at(&mut buf, 70_000), Ok(3));
            assert_eq!(buf, [0; 3]);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        }
    }

    #[test]
    fn image_is_written_by_one_at_a_time() {
        for (folder, _) in roots() {
            let path = folder.path().join("disk.img");
            let first = Disk::open_to_write(&path).unwrap();
            let second = Disk::open_to_write(&path).unwrap_err();
            assert_eq!(second, Error::new("openat O_RDWR", Errno::EBUSY));
            drop(first);
            assert!(Disk::open_to_write(&path).is_ok());
        }
    }

    #[test]
    fn what_will_not_be_written_is_known_before_and_nothing_is_made() {
        for (folder, _) in roots() {
            let path = |name: &str| folder.path().join(name);
            let expect = |name: &str| Disk::expect_to_write(&path(name)).map_err(|e| e.errno);
            assert_eq!(expect("disk.img"), Ok(()));
            assert!(!path("disk.img").exists());
            assert_eq!(expect("no/disk.img"), Err(Errno::ENOENT as i32));
            let device = Path::new("/dev/barge-test-absent");
            let absent = Disk::expect_to_write(device).map_err(|e| e.errno);
            assert_eq!(absent, Err(Errno::ENOENT as i32));
            let opened = Disk::open_to_write(device).map_err(|e| e.errno);
            assert_eq!(opened.unwrap_err(), Errno::ENOENT as i32);
            fs::create_dir(path("directory")).unwrap();
            assert_eq!(expect("directory"), Err(Errno::EISDIR as i32));
            let _writer = Disk::open_to_write(&path("disk.img")).unwrap();
            assert_eq!(expect("disk.img"), Ok(()));
        }
    }

    #[test]
    fn zeros_are_written_between_borders_where_no_hole_can_be() {
        for (folder, _) in roots() {
            let path = folder.path().join("disk.img");
            fs::write(&path, [7; 10_000]).unwrap();
            let disk = Disk::open_to_write(&path).unwrap();
            disk.discard(3..9_000).unwrap();
            disk.write_zeros(9_990..9_991).unwrap();
            let read = fs::read(&path).unwrap();
            assert_eq!(read.len(), 10_000);
            assert!(read.iter().enumerate().all(|(at, &byte)| {
                let zero = (3..9_000).contains(&at) || at == 9_990;
                byte == if zero { 0 } else { 7 }
            }));
        }
    }

    #[test]
    fn what_is_neither_device_nor_file_is_refused_at_once() {
        for (folder, _) in roots() {
            let path = |name: &str| folder.path().join(name);
            fs::create_dir(path("directory")).unwrap();
            fs::write(path("file"), "").unwrap();
            symlink("file", path("link")).unwrap();
            nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
            for (name, to_read, to_write) in [
                ("directory", Errno::ENOTBLK, Errno::EISDIR),
                ("fifo", Errno::ENOTBLK, Errno::ENOTBLK),
                ("link", Errno::ELOOP, Errno::ELOOP),
            ] {
                let errno = |opened: Result<Disk, Error>| opened.unwrap_err().errno;
                assert_eq!(errno(Disk::open(&path(name))), to_read as i32, "{name}");
                let opened = Disk::open_to_write(&path(name));
                assert_eq!(errno(opened), to_write as i32, "{name}");
            }
            let opened = Disk::open(Path::new("/dev/null"));
            assert_eq!(opened.unwrap_err().errno, Errno::ENOTBLK as i32);
        }
    }
}
