//! One call that failed: which, and how.

use std::io;

use barge_types::{Class, Failure, NameError, Side};
use nix::errno::Errno;

/// A call on the volume that failed. The caller knows the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{op}: {}", self.cause())]
pub struct Error {
    /// The call as the manual page spells it, or the step that failed.
    pub op: &'static str,
    /// The error number, or 0 where every call succeeded and the result is still another.
    pub errno: i32,
}

impl Error {
    pub(crate) fn new(op: &'static str, errno: Errno) -> Self {
        let errno = errno as i32;
        Self { op, errno }
    }

    /// For `map_err`: the failure of the call `op`.
    pub(crate) fn of(op: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::new(op, errno)
    }

    /// The same for calls of the standard library, whose own inventions count as `EIO`.
    pub(crate) fn of_io(op: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self {
            op,
            errno: error.raw_os_error().unwrap_or(Errno::EIO as i32),
        }
    }

    /// A name that no file system could hold.
    pub fn too_long(op: &'static str) -> Self {
        Self::new(op, Errno::ENAMETOOLONG)
    }

    /// A value that was set without an error and reads back as another.
    pub(crate) fn not_kept(op: &'static str) -> Self {
        Self { op, errno: 0 }
    }

    /// What is to be taken for absent, whatever is there.
    pub fn absent() -> Self {
        Self::new("openat", Errno::ENOENT)
    }

    /// A file that ended before the length it had when it was opened.
    pub fn cut_short() -> Self {
        Self::new("pread", Errno::ENODATA)
    }

    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.errno == errno as i32
    }

    /// Whether the entry was not there.
    pub fn is_not_found(&self) -> bool {
        self.is(Errno::ENOENT)
    }

    /// Whether there was no directory: nothing, or something else.
    pub fn is_no_directory(&self) -> bool {
        self.is_not_found() || self.is(Errno::ENOTDIR) || self.is(Errno::ELOOP)
    }

    /// Whether a symbolic link is in the way, which is not followed.
    pub fn is_symlink(&self) -> bool {
        self.is(Errno::ELOOP)
    }

    /// Whether something has the name that was to be new.
    pub fn is_exists(&self) -> bool {
        self.is(Errno::EEXIST)
    }

    /// Whether a directory could not be removed because there is something in it (`rmdir(2)`
    /// allows both numbers).
    pub fn is_not_empty(&self) -> bool {
        self.is(Errno::ENOTEMPTY) || (self.op == "rmdir" && self.is(Errno::EEXIST))
    }

    /// Whether the inode has as many names as its file system allows.
    pub fn is_too_many_links(&self) -> bool {
        self.is(Errno::EMLINK)
    }

    /// Whether somebody else has it for himself.
    pub fn is_busy(&self) -> bool {
        self.is(Errno::EBUSY)
    }

    /// Whether another file system is mounted there.
    pub fn is_mount_point(&self) -> bool {
        self.is(Errno::EXDEV)
    }

    /// Whether the whole target can take nothing more: full, over quota, or read-only.
    pub fn is_fatal(&self) -> bool {
        match Errno::from_raw(self.errno) {
            // ext4 answers so when one inode's attributes exceed their block.
            Errno::ENOSPC => !self.op.starts_with("setxattr"),
            Errno::EDQUOT | Errno::EROFS => true,
            _ => false,
        }
    }

    /// What kind of failure, as far as it says what to do.
    pub fn class(&self) -> Class {
        if self.errno == 0 {
            return Class::Unsupported;
        }
        match Errno::from_raw(self.errno) {
            Errno::EACCES | Errno::EPERM | Errno::EROFS => Class::Denied,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE => Class::Vanished,
            Errno::ENOSPC | Errno::EDQUOT => Class::NoSpace,
            // EINVAL as well: so file systems refuse names, owners and attributes they cannot hold.
            Errno::EOPNOTSUPP
            | Errno::EINVAL
            | Errno::ENAMETOOLONG
            | Errno::EILSEQ
            | Errno::EMLINK
            | Errno::EXDEV
            | Errno::EEXIST
            | Errno::ENOTEMPTY
            | Errno::EISDIR
            | Errno::ELOOP
            | Errno::E2BIG
            | Errno::EFBIG
            | Errno::ERANGE => Class::Unsupported,
            _ => Class::Io,
        }
    }

    /// The failure as a report names it, with the capability that was missing where it is known.
    pub fn failure(&self, side: Side) -> Failure {
        let op = match self.missing_capability() {
            Some(capability) => format!("{} (needs {capability})", self.op).into(),
            None => self.op.into(),
        };
        Failure {
            side,
            op,
            errno: self.errno,
            class: self.class(),
        }
    }

    /// The capability that lifts the check which refused the call (`capabilities(7)`).
    fn missing_capability(&self) -> Option<&'static str> {
        let by_mode = self.is(Errno::EACCES);
        if !by_mode && !self.is(Errno::EPERM) {
            return None;
        }
        match self.op {
            "fchown" => Some("CAP_CHOWN"),
            "mknodat" if !by_mode => Some("CAP_MKNOD"),
            "setxattr trusted.*" | "removexattr trusted.*" => Some("CAP_SYS_ADMIN"),
            "setxattr security.capability" | "removexattr security.capability" => {
                Some("CAP_SETFCAP")
            }
            "fchmod"
            | "utimensat"
            | "setxattr system.posix_acl"
            | "removexattr system.posix_acl" => Some("CAP_FOWNER"),
            "openat" | "readdir" | "fstatat" | "readlinkat" | "llistxattr" | "lgetxattr" => {
                Some("CAP_DAC_READ_SEARCH")
            }
            _ if by_mode => Some("CAP_DAC_OVERRIDE"),
            _ => None,
        }
    }

    /// What the error number means, as `strerror(3)` words it, and the number.
    pub fn reason(&self) -> String {
        let text = io::Error::from_raw_os_error(self.errno).to_string();
        text.replace("(os error ", "(")
    }

    fn cause(&self) -> String {
        match self.errno {
            0 => "the file system kept another value".into(),
            errno => Errno::from_raw(errno).desc().into(),
        }
    }
}

/// No file system has an entry of such a name.
impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong(_) => Self::new("openat", Errno::ENAMETOOLONG),
            _ => Self::new("openat", Errno::ENOENT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_missing_capability_only_when_permission_was_the_cause() {
        for (op, errno, text, class) in [
            (
                "fchown",
                Errno::EPERM,
                "fchown (needs CAP_CHOWN)",
                Class::Denied,
            ),
            ("fchown", Errno::EIO, "fchown", Class::Io),
            (
                "openat",
                Errno::EACCES,
                "openat (needs CAP_DAC_READ_SEARCH)",
                Class::Denied,
            ),
            (
                "renameat2",
                Errno::EACCES,
                "renameat2 (needs CAP_DAC_OVERRIDE)",
                Class::Denied,
            ),
            ("mkdirat", Errno::EROFS, "mkdirat", Class::Denied),
            ("pwrite", Errno::EDQUOT, "pwrite", Class::NoSpace),
        ] {
            let failure = Error::new(op, errno).failure(Side::Target);
            assert_eq!((failure.op.as_ref(), failure.class), (text, class));
        }
    }

    #[test]
    fn reason_is_worded_as_other_programs_word_it() {
        let error = Error::new("openat", Errno::ENOENT);
        assert_eq!(error.reason(), "No such file or directory (2)");
    }

    #[test]
    fn every_text_fits_the_limit_of_a_failure() {
        let longest = Error::new("removexattr security.capability", Errno::EPERM);
        assert!(longest.failure(Side::Source).op.len() <= 64);
    }

    #[test]
    fn full_and_read_only_targets_are_fatal_and_others_are_not() {
        for errno in [Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS] {
            assert!(Error::new("openat", errno).is_fatal());
        }
        assert!(!Error::new("openat", Errno::EACCES).is_fatal());
        assert!(!Error::not_kept("verify mtime").is_fatal());
        assert!(!Error::new("setxattr user.*", Errno::ENOSPC).is_fatal());
    }
}
