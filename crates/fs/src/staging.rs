//! Writes a file beside its target, sets its metadata, and renames it into place.

use std::fs::{File, Metadata};
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use barge_types::{Meta, Name, Xattr, XattrName};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, openat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, ftruncate};
use rustix::fs::{FlockOperation, copy_file_range, flock};
use rustix::io::pwritev;
use rustix::rand::{GetRandomFlags, getrandom};
use xxhash_rust::xxh3::xxh3_128;

use crate::metadata::{self, Inode};
use crate::read::{next_data, read_whole};
use crate::xattr::Attributes;
use crate::{Applied, Dir, Error, Keep, SourceFile, Stat, StatKind, Wanted};

/// The name of the file in a target's root that says a run is writing there.
pub const RUN_MARKER: &str = ".barge-run";

/// Whether a name is one of barge's own: a temporary file's, or [`RUN_MARKER`].
pub fn is_own_temporary(name: &Name) -> bool {
    let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    match name.as_bytes().strip_prefix(PREFIX.as_bytes()) {
        Some(digits) if digits.len() == DIGITS => digits.iter().all(is_hex),
        _ => name.as_bytes() == RUN_MARKER.as_bytes(),
    }
}

/// A file that is being written: a temporary one, or with `--inplace` the target itself.
///
/// Dropping it removes the temporary file, unless it was committed or kept.
#[derive(Debug)]
pub struct Staged {
    file: File,
    /// Made by us just now: nobody can have given it attributes, but by what it inherits.
    fresh: bool,
    temporary: Option<Temporary>,
}

/// The name a file has until it is committed, and the one it gets then.
#[derive(Debug)]
struct Temporary {
    dir: Dir,
    name: Name,
    last: Name,
    /// It was there before us, and is not removed when nothing comes of it.
    stays: bool,
}

impl Dir {
    /// Creates the temporary file from which `last` is to be made, empty and of mode 0600.
    ///
    /// Its name follows from `last`: what a killed run left behind is found, and replaced.
    ///
    /// # Errors
    ///
    /// `openat O_CREAT`, with `EEXIST` when something else than a file has that name.
    pub fn stage(&self, last: &Name) -> Result<Staged, Error> {
        let name = temporary_name(last);
        let file = match self.create(&name) {
            Err(error) if error.is(Errno::EEXIST) => {
                self.remove_leftover(&name)?;
                self.create(&name)?
            }
            file => file?,
        };
        hold(&file);
        Ok(Staged {
            file,
            fresh: true,
            temporary: Some(Temporary::of(self, name, last)),
        })
    }

    /// Opens what a killed run left of `last`, to be written further: a file with a single name
    /// that belongs to us.
    ///
    /// # Errors
    ///
    /// `openat O_RDWR` or `fchmod`; that there is nothing of ours is `None`.
    pub fn stage_resume(&self, last: &Name) -> Result<Option<Staged>, Error> {
        let name = temporary_name(last);
        match self.find(&name)? {
            Some(stat) if is_ours(&stat) => {}
            _ => return Ok(None),
        }
        let file = match self.open_for("openat O_RDWR", &name, IN_PLACE) {
            // Killed after the last mode was set, which need not let us write.
            Err(error) if error.is_not_found() || error.is(Errno::EACCES) => return Ok(None),
            file => file?,
        };
        let stat = Stat::of(&file)?;
        if !is_ours(&stat) {
            return Ok(None);
        }
        if stat.mode.bits() != OWN.bits() {
            fchmod(&file, OWN).map_err(Error::of("fchmod"))?;
        }
        hold(&file);
        Ok(Some(Staged {
            file,
            fresh: false,
            temporary: Some(Temporary::of(self, name, last)),
        }))
    }

    /// Opens an existing regular file to be changed in its place.
    ///
    /// # Errors
    ///
    /// `openat O_RDWR`; `ESTALE` when it is no regular file.
    pub fn open_in_place(&self, name: &Name) -> Result<Staged, Error> {
        let file = self.open_for("openat O_RDWR", name, IN_PLACE)?;
        if Stat::of(&file)?.kind != StatKind::File {
            return Err(Error::new("openat O_RDWR", Errno::ESTALE));
        }
        Ok(Staged {
            file,
            fresh: false,
            temporary: None,
        })
    }

    /// Creates a temporary file of a name that nobody can know beforehand, empty and of mode 0600.
    ///
    /// Runs that write the same tree at a time never meet in one. A killed run's stays, and
    /// [`Dir::is_abandoned`] tells.
    ///
    /// # Errors
    ///
    /// `openat O_CREAT`, or `getrandom`.
    pub fn stage_unique(&self, last: &Name) -> Result<Staged, Error> {
        let name = unique_name()?;
        let file = self.create(&name)?;
        hold(&file);
        Ok(Staged {
            file,
            fresh: true,
            temporary: Some(Temporary::of(self, name, last)),
        })
    }

    /// Whether what has a temporary name is nobody's any more: whoever writes a file holds its lock
    /// (`flock(2)`), and has not just made it; anything else gets its last name as soon as it is
    /// made. False where that cannot be told.
    pub fn is_abandoned(&self, name: &Name) -> bool {
        self.is_abandoned_at(name, SystemTime::now())
    }

    fn is_abandoned_at(&self, name: &Name, now: SystemTime) -> bool {
        let is_old = |time| now.duration_since(time).is_ok_and(|age| age > FRESH);
        match self.stat(name) {
            Ok(stat) if !is_own_temporary(name) || stat.kind == StatKind::Directory => false,
            Ok(stat) if stat.kind == StatKind::File => self.is_unlocked(name, &is_old),
            // Its other times may be those of its source already.
            Ok(stat) => {
                let secs = u64::try_from(stat.ctime.secs()).ok();
                let changed = secs.map(Duration::from_secs);
                let changed = changed.and_then(|after| UNIX_EPOCH.checked_add(after));
                changed.is_some_and(is_old)
            }
            Err(_) => false,
        }
    }

    fn is_unlocked(&self, name: &Name, is_old: &dyn Fn(SystemTime) -> bool) -> bool {
        let Ok(file) = self.open_for("openat O_RDWR", name, IN_PLACE) else {
            return false;
        };
        let modified = file.metadata().ok().filter(Metadata::is_file);
        // A file is made before its lock is taken.
        modified.is_some_and(|file| file.modified().is_ok_and(is_old))
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Opens a file that was left of `last` under a name of its own, to be written further.
    ///
    /// It stays when it is dropped before it was placed.
    ///
    /// # Errors
    ///
    /// `openat O_RDWR`; `ESTALE` when it is no regular file, or has other names too.
    pub fn stage_left(&self, name: &Name, last: &Name) -> Result<Staged, Error> {
        let mut staged = self.open_in_place(name)?;
        if staged.stat()?.links != 1 {
            return Err(Error::new("openat O_RDWR", Errno::ESTALE));
        }
        staged.temporary = Some(Temporary {
            stays: true,
            ..Temporary::of(self, name.clone(), last)
        });
        Ok(staged)
    }

    /// Creates a regular file under its own name, empty and of mode 0600, to be written in place.
    ///
    /// # Errors
    ///
    /// `openat O_CREAT`, with `EEXIST` when the name is taken.
    pub fn create_in_place(&self, name: &Name) -> Result<Staged, Error> {
        Ok(Staged {
            file: self.create(name)?,
            fresh: true,
            temporary: None,
        })
    }

    /// Opens a device to write a file's content into it.
    ///
    /// # Errors
    ///
    /// `openat O_RDWR`; `ESTALE` when it is no device.
    pub fn open_device(&self, name: &Name) -> Result<Staged, Error> {
        let file = self.open_for("openat O_RDWR", name, IN_PLACE)?;
        if !matches!(
            Stat::of(&file)?.kind,
            StatKind::CharDevice | StatKind::BlockDevice
        ) {
            return Err(Error::new("openat O_RDWR", Errno::ESTALE));
        }
        Ok(Staged {
            file,
            fresh: false,
            temporary: None,
        })
    }

    fn create(&self, name: &Name) -> Result<File, Error> {
        self.open_for("openat O_CREAT", name, CREATE)
    }

    fn open_for(&self, op: &'static str, name: &Name, flags: OFlag) -> Result<File, Error> {
        let fd = openat(self, name.as_bytes(), flags, OWN).map_err(Error::of(op))?;
        Ok(fd.into())
    }

    fn remove_leftover(&self, name: &Name) -> Result<(), Error> {
        match self.find(name)? {
            Some(stat) if stat.kind == StatKind::File => self.unlink(name),
            Some(_) => Err(Error::new("openat O_CREAT", Errno::EEXIST)),
            None => Ok(()),
        }
    }
}

impl Staged {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// `pwrite`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(Error::of_io("pwrite"))
    }

    /// Writes all of several pieces, one behind the other.
    ///
    /// # Errors
    ///
    /// `pwritev`.
    pub fn write_all_vectored_at(
        &self,
        mut pieces: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> Result<(), Error> {
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let some = &pieces[..pieces.len().min(MOST_PIECES)];
            let written = match pwritev(&self.file, some, offset) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) => return Err(Error::new("pwritev", Errno::EIO)),
                written => written.map_err(|errno| Error {
                    op: "pwritev",
                    errno: errno.raw_os_error(),
                })?,
            };
            IoSlice::advance_slices(&mut pieces, written);
            offset += written as u64;
        }
        Ok(())
    }

    /// Fills `buf` from `offset` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    ///
    /// `pread`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        read_whole(&self.file, buf, offset)
    }

    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn size(&self) -> Result<u64, Error> {
        Ok(Stat::of(&self.file)?.size)
    }

    /// The first run of data in `[from, end)`, as [`SourceFile::next_data`] tells it.
    ///
    /// # Errors
    ///
    /// `lseek`.
    ///
    /// [`SourceFile::next_data`]: crate::SourceFile::next_data
    pub fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>, Error> {
        next_data(&self.file, from, end)
    }

    /// Cuts the file, or lengthens it by a hole.
    ///
    /// # Errors
    ///
    /// `ftruncate`, with `EFBIG` for a length no file can have.
    pub fn set_len(&self, len: u64) -> Result<(), Error> {
        let len = offset_for("ftruncate", len)?;
        ftruncate(&self.file, len).map_err(Error::of("ftruncate"))
    }

    /// Makes a range a hole, or zeros where the file system has no holes.
    ///
    /// The length of the file stays; what lies beyond it is left alone.
    ///
    /// # Errors
    ///
    /// `fallocate` or `pwrite`.
    pub fn punch(&self, offset: u64, len: u64) -> Result<(), Error> {
        let size = self.size()?;
        let end = offset.saturating_add(len).min(size);
        if offset >= end {
            return Ok(());
        }
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let start = offset_for("fallocate", offset)?;
        let count = offset_for("fallocate", end - offset)?;
        match fallocate(&self.file, how, start, count) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.write_zeros(offset, end),
            punched => punched.map_err(Error::of("fallocate")),
        }
    }

    /// Makes a range read as zeros, also beyond the end of the file: a hole where there are holes.
    ///
    /// # Errors
    ///
    /// `ftruncate`, `fallocate` or `pwrite`.
    pub fn clear(&self, range: Range<u64>) -> Result<(), Error> {
        if self.size()? < range.end {
            self.set_len(range.end)?;
        }
        self.punch(range.start, range.end.saturating_sub(range.start))
    }

    /// Sets owner, mode, attributes and time, then gives the file its last name, in `dir`.
    ///
    /// `inherits_acl` says whether the directory it was staged in has a default ACL. `new` says
    /// that nothing had the last name: if something has it by then, it stays. The look is from
    /// before the rename, which may change `ctime`. What of the metadata could not be set does
    /// not keep the content from its place.
    ///
    /// # Errors
    ///
    /// The rename; then nothing has changed under the last name and the temporary file is gone.
    pub fn commit(
        mut self,
        dir: &Dir,
        want: &Meta,
        set: &Keep,
        inherits_acl: bool,
        new: bool,
    ) -> Result<(Stat, Applied), Error> {
        let now = Stat::of(&self.file)?;
        let has_attributes = inherits_acl || !self.fresh;
        let inode = Inode::open(self.file.as_fd());
        let done = metadata::set(inode, now, want, set, has_attributes);
        if let Some(temporary) = &self.temporary {
            temporary.rename(dir, &temporary.last, new)?;
        }
        self.temporary = None;
        Ok(done)
    }

    /// Sets what differs of what is wanted, and returns the last look.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn set(&self, want: &Wanted<'_>) -> Result<(Stat, Applied), Error> {
        let now = Stat::of(&self.file)?;
        let inode = Inode::open(self.file.as_fd());
        Ok(metadata::set_wanted(inode, now, want))
    }

    /// Gives a temporary file the name `last` in `dir`, as it is; what had that name is replaced.
    /// A file that is written in place has its name already.
    ///
    /// # Errors
    ///
    /// `renameat`, with `EXDEV` between file systems; the file stays a temporary one.
    pub fn place(&mut self, dir: &Dir, last: &Name) -> Result<(), Error> {
        if let Some(temporary) = &self.temporary {
            temporary.rename(dir, last, false)?;
        }
        self.temporary = None;
        Ok(())
    }

    /// Looks at the file as it is.
    ///
    /// # Errors
    ///
    /// `fstat`.
    pub fn stat(&self) -> Result<Stat, Error> {
        Stat::of(&self.file)
    }

    /// Reads the attributes that are chosen by name, sorted by name.
    ///
    /// # Errors
    ///
    /// `llistxattr` or `lgetxattr`; a file system without attributes has none.
    pub fn xattrs(&self, carries: &dyn Fn(&XattrName) -> bool) -> Result<Vec<Xattr>, Error> {
        Attributes::of_handle(self.file.as_fd()).read(carries)
    }

    /// Waits until its content is on the disk (`fsync(2)`).
    ///
    /// # Errors
    ///
    /// `fsync`.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::of_io("fsync"))
    }

    /// Reserves space for `len` bytes, without making the file longer, where the file system can.
    ///
    /// # Errors
    ///
    /// `fallocate`, also when there is no such space.
    pub fn reserve(&self, len: u64) -> Result<(), Error> {
        let len = offset_for("fallocate", len)?;
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, len) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            reserved => reserved.map_err(Error::of("fallocate")),
        }
    }

    /// Writes what a file holds from `range` at the same offsets, without reading it into memory
    /// where the kernel can. Returns how many bytes there were: less at the end of that file.
    ///
    /// # Errors
    ///
    /// `copy_file_range`, `pread` or `pwrite`.
    pub fn copy_from(&self, source: &SourceFile, range: Range<u64>) -> Result<u64, Error> {
        let mut at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end - at)
                .unwrap_or(usize::MAX)
                .min(COPY_MAX);
            let (mut from, mut to) = (at, at);
            let copied = copy_file_range(
                &source.file,
                Some(&mut from),
                &self.file,
                Some(&mut to),
                len,
            );
            let copied = match copied {
                Err(errno) if CANNOT_COPY.contains(&errno) => {
                    return Ok(at - range.start + self.copy_by_hand(source, at..range.end)?);
                }
                copied => copied.map_err(|errno| Error {
                    op: "copy_file_range",
                    errno: errno.raw_os_error(),
                })?,
            };
            if copied == 0 {
                break;
            }
            at += copied as u64;
        }
        Ok(at - range.start)
    }

    /// The same from another file that is being written.
    ///
    /// # Errors
    ///
    /// `fcntl` when there is no handle left; else as [`copy_from`](Self::copy_from).
    pub fn copy_from_staged(&self, source: &Self, range: Range<u64>) -> Result<u64, Error> {
        let file = source.file.try_clone().map_err(Error::of_io("fcntl"))?;
        self.copy_from(&SourceFile::from(file), range)
    }

    fn copy_by_hand(&self, source: &SourceFile, range: Range<u64>) -> Result<u64, Error> {
        let mut buffer = vec![0; 256 << 10];
        let mut at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = source.read_at(&mut buffer[..len], at)?;
            self.write_at(&buffer[..read], at)?;
            at += read as u64;
            if read < len {
                break;
            }
        }
        Ok(at - range.start)
    }

    /// Leaves the temporary file on the disk, for a successor to resume from.
    pub fn keep(mut self) {
        self.temporary = None;
    }

    fn write_zeros(&self, mut offset: u64, end: u64) -> Result<(), Error> {
        while offset < end {
            let count = ZEROS
                .len()
                .min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            self.write_at(&ZEROS[..count], offset)?;
            offset += count as u64;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.as_ref().filter(|temporary| !temporary.stays) {
            // Nobody to tell; the next run finds it under the same name.
            let _ = temporary.dir.unlink(&temporary.name);
        }
    }
}

impl Temporary {
    fn of(dir: &Dir, name: Name, last: &Name) -> Self {
        Self {
            dir: dir.clone(),
            name,
            last: last.clone(),
            stays: false,
        }
    }

    fn rename(&self, dir: &Dir, last: &Name, new: bool) -> Result<(), Error> {
        if new {
            self.dir.rename_new_into(&self.name, dir, last)
        } else {
            self.dir.rename_into(&self.name, dir, last)
        }
    }
}

/// A name of our own kind for something temporary: one of 2^128, which nobody can know beforehand.
///
/// # Errors
///
/// `getrandom`.
pub fn unique_name() -> Result<Name, Error> {
    let mut random = [0; 16];
    let filled = getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| Error {
        op: "getrandom",
        errno: errno.raw_os_error(),
    })?;
    if filled != random.len() {
        return Err(Error::new("getrandom", Errno::EIO));
    }
    Ok(own_name(u128::from_le_bytes(random)))
}

/// The name of the temporary file for `last`: the same in each run, and of a length that fits.
pub fn temporary_name(last: &Name) -> Name {
    let digest = xxh3_128(&[SALT, last.as_bytes()].concat());
    own_name(digest)
}

fn own_name(number: u128) -> Name {
    let name = format!("{PREFIX}{number:0DIGITS$x}");
    Name::new(name.as_bytes()).expect("a short word and hexadecimal digits")
}

/// Whether we made it and nobody has given it another name.
/// Holds the lock of a file that is being written, until it is closed. Where there are no locks,
/// none can be missed.
fn hold(file: &File) {
    let _ = flock(file, FlockOperation::NonBlockingLockExclusive);
}

/// Younger files may not have their lock yet, and anything else not its last name.
const FRESH: Duration = Duration::from_secs(60);

fn is_ours(stat: &Stat) -> bool {
    let owned = stat.owner.uid == Uid::effective().as_raw();
    owned && stat.kind == StatKind::File && stat.links == 1
}

/// The signed number a system call takes.
fn offset_for(op: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::new(op, Errno::EFBIG))
}

/// File systems, pairs of them, and sandboxes between which the kernel does not copy.
const CANNOT_COPY: [rustix::io::Errno; 6] = [
    rustix::io::Errno::XDEV,
    rustix::io::Errno::INVAL,
    rustix::io::Errno::OPNOTSUPP,
    rustix::io::Errno::NOSYS,
    rustix::io::Errno::PERM,
    rustix::io::Errno::BADF,
];

/// The most pieces one call takes (`IOV_MAX`, `<linux/limits.h>`).
const MOST_PIECES: usize = 1024;

/// The most one call copies: it takes its time, and may be interrupted between two.
const COPY_MAX: usize = 64 << 20;

const PREFIX: &str = ".barge-";
const DIGITS: usize = 32;
const SALT: &[u8] = b"barge staging";

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Closed to others until the metadata is set.
const OWN: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

const CREATE: OFlag = OFlag::O_CREAT
    .union(OFlag::O_EXCL)
    .union(OFlag::O_RDWR)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

const IN_PLACE: OFlag = OFlag::O_RDWR
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use barge_types::{Kind, RelPath};

    use super::*;
    use crate::trees::{meta_of, name, roots, roots_with_attributes};

    fn list(dir: &Dir) -> Vec<Name> {
        let mut names: Vec<_> = dir
            .names()
            .unwrap()
            .map(|listed| listed.unwrap().name)
            .collect();
        names.sort();
        names
    }

    fn commit(staged: Staged, dir: &Dir, new: bool) -> Result<(Stat, Applied), Error> {
        let want = meta_of(&Stat::of(&staged.file)?);
        staged.commit(dir, &want, &Keep::default(), false, new)
    }

    #[test]
    fn commit_shows_the_whole_new_content_or_the_old_one() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let path = folder.path().join("file");
            fs::write(&path, "old").unwrap();
            let reader = fs::File::open(&path).unwrap();
            let staged = dir.stage(&name("file")).unwrap();
            staged.write_at(b"world", 6).unwrap();
            staged.write_at(b"hello,", 0).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
            let (stat, applied) = commit(staged, &dir, false).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"hello,world");
            assert_eq!(std::io::read_to_string(reader).unwrap(), "old");
            assert_eq!(dir.stat(&name("file")).unwrap().ino, stat.ino);
            assert!(applied.failures.is_empty());
            assert_eq!(list(&dir), [name("file")]);
        }
    }

    #[test]
    fn commit_as_new_leaves_a_taken_name_alone() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let staged = dir.stage(&name("file")).unwrap();
            fs::write(folder.path().join("file"), "theirs").unwrap();
            assert!(commit(staged, &dir, true).unwrap_err().is(Errno::EEXIST));
            assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"theirs");
            assert_eq!(list(&dir), [name("file")]);
        }
    }

    #[test]
    fn temporary_is_gone_on_drop_and_found_again_when_kept() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let last = name([b'\xff'; 255]);
            drop(dir.stage(&last).unwrap());
            assert_eq!(list(&dir), []);
            assert!(dir.stage_resume(&last).unwrap().is_none());
            let staged = dir.stage(&last).unwrap();
            staged.write_at(b"begun", 0).unwrap();
            staged.keep();
            assert!(list(&dir).iter().all(is_own_temporary));
            let leftover = dir.stage_resume(&last).unwrap().unwrap();
            assert_eq!(leftover.size(), Ok(5));
            leftover.keep();
            drop(dir.stage_resume(&last).unwrap().unwrap());
            assert_eq!(list(&dir), []);
        }
    }

    #[test]
    fn stage_replaces_what_a_killed_run_left() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let staged = dir.stage(&name("file")).unwrap();
            staged.write_at(b"begun", 0).unwrap();
            staged.keep();
            assert_eq!(dir.stage(&name("file")).unwrap().size(), Ok(0));
        }
    }

    #[test]
    fn leftover_is_written_further_and_committed_with_nothing_of_what_was_set_on_it() {
        for (folder, root) in roots_with_attributes() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let staged = dir.stage(&name("file")).unwrap();
            staged.write_at(b"begun", 0).unwrap();
            staged.keep();
            let left = folder
                .path()
                .join(temporary_name(&name("file")).as_os_str());
            xattr::set(&left, "user.old", b"1").unwrap();
            fs::set_permissions(&left, fs::Permissions::from_mode(0o4755)).unwrap();
            let staged = dir.stage_resume(&name("file")).unwrap().unwrap();
            assert_eq!(Stat::of(&staged.file).unwrap().mode.bits(), 0o600);
            staged.write_at(b", ended", 5).unwrap();
            let (stat, applied) = commit(staged, &dir, true).unwrap();
            assert_eq!((applied.failures, stat.mode.bits()), (vec![], 0o600));
            let bytes = fs::read(folder.path().join("file")).unwrap();
            assert_eq!(bytes, b"begun, ended");
            let xattrs = dir.xattrs(&name("file"), &stat, &Keep::default());
            assert_eq!(xattrs, Ok(vec![]));
            assert_eq!(list(&dir), [name("file")]);
        }
    }

    #[test]
    fn leftover_that_may_not_be_written_is_not_resumed_but_replaced() {
        if nix::unistd::geteuid().is_root() {
            println!("skipped, needs an ordinary user: a file that may not be written");
            return;
        }
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            dir.stage(&name("file")).unwrap().keep();
            let left = folder
                .path()
                .join(temporary_name(&name("file")).as_os_str());
            fs::set_permissions(&left, fs::Permissions::from_mode(0o444)).unwrap();
            assert!(dir.stage_resume(&name("file")).unwrap().is_none());
            assert_eq!(dir.stage(&name("file")).unwrap().size(), Ok(0));
        }
    }

    #[test]
    fn staged_file_is_walked_by_its_runs_of_data() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let staged = dir.stage(&name("file")).unwrap();
            staged.set_len(1 << 40).unwrap();
            staged.write_at(&[1; 8192], 1 << 30).unwrap();
            let data = 1 << 30..(1 << 30) + 8192;
            assert_eq!(staged.size(), Ok(1 << 40));
            assert_eq!(staged.next_data(0, 1 << 40), Ok(Some(data.clone())));
            assert_eq!(staged.next_data(data.end, 1 << 40), Ok(None));
        }
    }

    #[test]
    fn leftover_that_is_not_ours_alone_is_not_resumed() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let (last, temporary) = (name("a"), temporary_name(&name("a")));
            dir.stage(&last).unwrap().keep();
            dir.hard_link(&name("b"), &dir, &temporary).unwrap();
            assert!(dir.stage_resume(&last).unwrap().is_none());
            dir.unlink(&temporary).unwrap();
            dir.make_symlink(&temporary, b"b").unwrap();
            assert!(dir.stage_resume(&last).unwrap().is_none());
            assert!(dir.stage(&last).unwrap_err().is(Errno::EEXIST));
            dir.unlink(&temporary).unwrap();
            dir.make_node(&temporary, &Kind::Fifo).unwrap();
            assert!(dir.stage_resume(&last).unwrap().is_none());
        }
    }

    #[test]
    fn unique_temporaries_of_one_file_do_not_meet_and_go_when_dropped() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let (one, mut other) = (
                dir.stage_unique(&name("file")).unwrap(),
                dir.stage_unique(&name("file")).unwrap(),
            );
            assert_eq!(list(&dir).len(), 2);
            assert!(list(&dir).iter().all(is_own_temporary));
            other.write_at(b"other", 0).unwrap();
            other.place(&dir, &name("file")).unwrap();
            drop((one, other));
            assert_eq!(list(&dir), [name("file")]);
            assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"other");
        }
    }

    #[test]
    fn temporary_file_is_abandoned_when_nobody_holds_it_and_it_is_not_new() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            for is_unique in [true, false] {
                let staged = match is_unique {
                    true => dir.stage_unique(&name("file")).unwrap(),
                    false => dir.stage(&name("file")).unwrap(),
                };
                let name = list(&dir).remove(0);
                let long_ago = SystemTime::now() - 2 * FRESH;
                staged.file.set_modified(long_ago).unwrap();
                assert!(!dir.is_abandoned(&name), "its writer lives");
                let path = folder.path().join(OsStr::from_bytes(name.as_bytes()));
                drop(staged);
                fs::write(&path, "half of").unwrap();
                assert!(!dir.is_abandoned(&name), "it is new");
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(long_ago).unwrap();
                assert!(dir.is_abandoned(&name));
                fs::remove_file(&path).unwrap();
            }
            fs::write(folder.path().join("other"), "").unwrap();
            assert!(!dir.is_abandoned(&name("other")), "no name of ours");
        }
    }

    #[test]
    fn temporary_link_or_node_is_abandoned_when_it_is_not_new() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let (soon, later) = (SystemTime::now(), SystemTime::now() + 2 * FRESH);
            for is_link in [true, false] {
                let name = unique_name().unwrap();
                match is_link {
                    true => dir.make_symlink(&name, b"anywhere").unwrap(),
                    false => dir.make_node(&name, &Kind::Fifo).unwrap(),
                }
                assert!(!dir.is_abandoned_at(&name, soon));
                assert!(dir.is_abandoned_at(&name, later));
            }
            dir.make_symlink(&name("link"), b"anywhere").unwrap();
            let folder = unique_name().unwrap();
            dir.make_dir(&folder).unwrap();
            for other in [name("link"), folder, name("absent")] {
                assert!(!dir.is_abandoned_at(&other, later), "none of ours");
            }
        }
    }

    #[test]
    fn file_that_was_left_stays_until_it_is_placed() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            dir.make_dir(&name("partial")).unwrap();
            let partial = dir.open_dir(&name("partial")).unwrap();
            fs::write(folder.path().join("partial/file"), "begun").unwrap();
            drop(partial.stage_left(&name("file"), &name("file")).unwrap());
            assert_eq!(list(&partial), [name("file")]);
            let mut left = partial.stage_left(&name("file"), &name("file")).unwrap();
            left.write_at(b", ended", 5).unwrap();
            left.place(&dir, &name("file")).unwrap();
            assert_eq!(list(&partial), []);
            assert_eq!(
                fs::read(folder.path().join("file")).unwrap(),
                b"begun, ended"
            );
            dir.hard_link(&name("other"), &dir, &name("file")).unwrap();
            assert!(dir.stage_left(&name("file"), &name("file")).is_err());
        }
    }

    #[test]
    fn pieces_are_written_one_behind_the_other() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let mut staged = dir.stage_unique(&name("file")).unwrap();
            let piece = [7; 100];
            let mut pieces = vec![IoSlice::new(&piece); 3000];
            staged.write_all_vectored_at(&mut pieces, 5).unwrap();
            staged.write_all_vectored_at(&mut [], 5).unwrap();
            staged.place(&dir, &name("file")).unwrap();
            let bytes = fs::read(folder.path().join("file")).unwrap();
            assert_eq!(
                (bytes.len(), &bytes[..6]),
                (300_005, &[0, 0, 0, 0, 0, 7][..])
            );
        }
    }

    #[test]
    fn bytes_of_another_file_are_copied_as_far_as_there_are_any() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
            fs::write(folder.path().join("basis"), &bytes).unwrap();
            let basis = dir.open_file(&name("basis")).unwrap();
            let staged = dir.stage_unique(&name("file")).unwrap();
            assert_eq!(staged.copy_from(&basis, 0..1 << 40), Ok(300_000));
            assert_eq!(staged.copy_by_hand(&basis, 100..200), Ok(100));
            let mut copied = vec![0; 400_000];
            let len = staged.read_at(&mut copied, 0).unwrap();
            assert!(copied[..len] == bytes);
        }
    }

    #[test]
    fn only_devices_are_opened_as_devices() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            drop(dir.create_in_place(&name("file")).unwrap());
            assert!(dir.create_in_place(&name("file")).unwrap_err().is_exists());
            dir.make_node(&name("fifo"), &Kind::Fifo).unwrap();
            for entry in ["fifo", "file", "absent"] {
                assert!(dir.open_device(&name(entry)).is_err(), "{entry}");
            }
        }
    }

    #[test]
    fn own_temporaries_are_told_from_names_that_look_alike() {
        let own = temporary_name(&name("a"));
        assert!(is_own_temporary(&own) && is_own_temporary(&name(RUN_MARKER)));
        assert_ne!(own, temporary_name(&name("b")));
        let upper = own.as_bytes().to_ascii_uppercase();
        for other in [
            &upper[..],
            &own.as_bytes()[..38],
            b".barge-",
            b".barge-run2",
        ] {
            assert!(!is_own_temporary(&name(other)), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn file_is_changed_in_place_with_a_hole_punched() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            let path = folder.path().join("file");
            fs::write(&path, [1; 1 << 20]).unwrap();
            let before = dir.stat(&name("file")).unwrap();
            let staged = dir.open_in_place(&name("file")).unwrap();
            staged.punch(4096, 512 << 10).unwrap();
            staged.punch((1 << 20) - 1, u64::MAX).unwrap();
            staged.punch(1 << 30, 1).unwrap();
            staged.write_at(b"2", 0).unwrap();
            let (after, _) = commit(staged, &dir, false).unwrap();
            assert_eq!((after.ino, after.size), (before.ino, 1 << 20));
            assert!(after.blocks < before.blocks);
            let bytes = fs::read(&path).unwrap();
            assert_eq!(
                (bytes[0], bytes[1], bytes[4096], bytes[1 << 19]),
                (b'2', 1, 0, 0)
            );
            assert_eq!(bytes[(1 << 20) - 1], 0);
        }
    }

    #[test]
    fn zeros_are_written_where_no_hole_can_be_made() {
        for (folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            fs::write(folder.path().join("file"), [1; 200_000]).unwrap();
            let staged = dir.open_in_place(&name("file")).unwrap();
            staged.write_zeros(1, 150_000).unwrap();
            let bytes = fs::read(folder.path().join("file")).unwrap();
            assert_eq!(bytes.iter().position(|&byte| byte == 0), Some(1));
            assert_eq!(bytes.iter().rposition(|&byte| byte == 0), Some(149_999));
        }
    }

    #[test]
    fn only_regular_files_are_opened_in_place() {
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            dir.make_node(&name("fifo"), &Kind::Fifo).unwrap();
            dir.make_dir(&name("dir")).unwrap();
            dir.make_symlink(&name("link"), b"/etc/passwd").unwrap();
            for entry in ["fifo", "dir", "link"] {
                assert!(dir.open_in_place(&name(entry)).is_err(), "{entry}");
            }
        }
    }

    #[test]
    fn length_no_file_can_have_is_refused() {
        for (_folder, root) in roots() {
            let staged = root
                .dir(&RelPath::root())
                .unwrap()
                .stage(&name("a"))
                .unwrap();
            assert!(staged.set_len(u64::MAX).unwrap_err().is(Errno::EFBIG));
            assert!(staged.write_at(b"a", u64::MAX).is_err());
        }
    }
}
