//! Names and paths as bytes: what Linux calls a file, checked once.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The longest name of one directory entry, in bytes (`NAME_MAX`, `<linux/limits.h>`).
pub const MAX_NAME: usize = 255;

/// The longest path that is carried, in bytes, and the most names in one.
const MAX_PATH: usize = 128 << 10;
const MAX_NAMES: usize = 4096;

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No byte at all.
    #[error("an empty name")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("a name of {0} bytes; 255 are the most")]
    TooLong(usize),
    /// A slash or a NUL within the name.
    #[error("a slash or a NUL byte in a name")]
    Separator,
    /// `.` or `..`.
    #[error("`.` or `..` as a name")]
    Dots,
}

/// The name of one entry in its directory: 1 to 255 bytes, no slash, no NUL, not `.` or `..`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks bytes that came from a peer or a disk.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the bytes could leave the directory they are resolved in, or no
    /// Linux file system could hold them.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            b"." | b".." => Err(NameError::Dots),
            _ if bytes.len() > MAX_NAME => Err(NameError::TooLong(bytes.len())),
            _ if bytes.iter().any(|&b| b == b'/' || b == 0) => Err(NameError::Separator),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes, as the directory holds them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name for a system call.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A path below the root of a transfer: names joined by slashes; empty for the root itself.
///
/// No `..`, no NUL, not absolute. The length is not limited by `PATH_MAX`: a path is resolved
/// in pieces.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The root of the transfer.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks a path of names joined by single slashes.
    ///
    /// # Errors
    ///
    /// [`NameError`] of the first part that is no [`Name`].
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        if !bytes.is_empty() {
            for part in bytes.split(|&b| b == b'/') {
                Name::new(part)?;
            }
        }
        Ok(Self(bytes.into()))
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.as_bytes().len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes)
    }

    /// Whether the path is longer or deeper than any that is carried: 128 KiB, 4096 names.
    pub fn is_too_deep(&self) -> bool {
        let names = || self.0.iter().filter(|&&byte| byte == b'/').count() + 1;
        self.0.len() > MAX_PATH || (self.0.len() > MAX_NAMES && names() > MAX_NAMES)
    }

    /// The directory and the name in it; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, Name)> {
        let (dir, name) = match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[][..], &self.0[..]),
        };
        (!self.is_root()).then(|| (Self(dir.into()), Name(name.into())))
    }

    /// The path of what is at `below` in this directory; `below` may be the root.
    #[must_use]
    pub fn join_path(&self, below: &Self) -> Self {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            (false, false) => Self([&self.0[..], b"/", &below.0].concat()),
        }
    }

    /// The bytes, without a leading or trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

/// Printed with control characters and bytes beyond ASCII escaped, so that no name can forge a
/// line of a log.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => write!(f, "{c}")?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_refuses_what_could_leave_its_directory() {
        for (bytes, why) in [
            (&b""[..], NameError::Empty),
            (b".", NameError::Dots),
            (b"..", NameError::Dots),
            (b"a/b", NameError::Separator),
            (b"a\0b", NameError::Separator),
            (&[b'x'; 256], NameError::TooLong(256)),
        ] {
            assert_eq!(Name::new(bytes), Err(why), "{}", bytes.escape_ascii());
        }
        for bytes in [&b"..."[..], b"\n", b"\xff", &[b'x'; 255]] {
            assert_eq!(Name::new(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn path_refuses_parts_that_are_no_names() {
        for bytes in [&b"/a"[..], b"a/", b"a//b", b"a/../b", b".", b"a\0"] {
            assert!(RelPath::new(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(RelPath::new(b"").unwrap().is_root());
        assert_eq!(RelPath::new(b"a/b").unwrap().as_bytes(), b"a/b");
    }

    #[test]
    fn path_splits_into_its_directory_and_its_last_name() {
        let split = |path: &[u8]| RelPath::new(path).unwrap().split_last();
        let path = |path: &[u8]| RelPath::new(path).unwrap();
        let name = |name: &[u8]| Name::new(name).unwrap();
        assert_eq!(split(b"a/b/c"), Some((path(b"a/b"), name(b"c"))));
        assert_eq!(split(b"a"), Some((RelPath::root(), name(b"a"))));
        assert_eq!(split(b""), None);
    }

    #[test]
    fn path_joins_a_path_and_the_root_adds_nothing() {
        let path = |bytes: &[u8]| RelPath::new(bytes).unwrap();
        for (above, below, joined) in [
            (&b"a/b"[..], &b"c/d"[..], &b"a/b/c/d"[..]),
            (b"", b"c/d", b"c/d"),
            (b"a/b", b"", b"a/b"),
            (b"", b"", b""),
        ] {
            assert_eq!(path(above).join_path(&path(below)), path(joined));
        }
    }

    #[test]
    fn path_prints_on_one_line_whatever_its_bytes_are() {
        let path = RelPath::new(b"d\xc3\xa9/a\nb\x1b\xff\\").unwrap();
        assert_eq!(path.to_string(), "dé/a\\nb\\u{1b}\\xff\\\\");
        assert_eq!(RelPath::root().to_string(), ".");
    }
}
