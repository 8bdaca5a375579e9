//! What we keep of an inode besides its content.

/// Nanoseconds in a second: the limit of [`Timestamp`]'s second part.
pub const NANOS_PER_SEC: u32 = 1_000_000_000;

/// Permission bits with set-uid, set-gid and sticky: the lower twelve bits of `st_mode`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Mode(u16);

impl Mode {
    /// Keeps the twelve bits of `st_mode` that are not the kind.
    pub fn from_st_mode(st_mode: u32) -> Self {
        Self((st_mode & 0o7777) as u16)
    }

    /// Checks bits that came from a peer; `None` when any is set above the twelfth.
    pub fn new(bits: u32) -> Option<Self> {
        (bits <= 0o7777).then_some(Self(bits as u16))
    }

    /// The twelve bits.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

/// Numeric owner and group. `u32::MAX` means «leave as it is» to `chown(2)` and is no id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    /// The user, at most 2^32 − 2.
    pub uid: u32,
    /// The group, at most 2^32 − 2.
    pub gid: u32,
}

impl Owner {
    /// Checks ids that came from a peer; `None` when one is `u32::MAX`.
    pub fn new(uid: u32, gid: u32) -> Option<Self> {
        (uid != u32::MAX && gid != u32::MAX).then_some(Self { uid, gid })
    }
}

/// A point in time: seconds since 1970 (negative before) and nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp {
    secs: i64,
    nanos: u32,
}

impl Timestamp {
    /// Checks a time that came from a peer or a disk; `None` when `nanos` is a second or more.
    pub fn new(secs: i64, nanos: u32) -> Option<Self> {
        (nanos < NANOS_PER_SEC).then_some(Self { secs, nanos })
    }

    /// Whole seconds since 1970, rounded down.
    pub fn secs(self) -> i64 {
        self.secs
    }

    /// Nanoseconds after [`Self::secs`], below [`NANOS_PER_SEC`].
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

/// The name of an extended attribute with its namespace: 1 to 255 bytes, no NUL.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct XattrName(Box<[u8]>);

impl XattrName {
    /// Checks bytes that came from a peer or a disk (`XATTR_NAME_MAX`, `<linux/limits.h>`).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = !bytes.is_empty() && bytes.len() <= 255 && !bytes.contains(&0);
        fits.then(|| Self(bytes.into()))
    }

    /// The bytes, `user.…` and the like.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this attribute holds a POSIX ACL (`acl(5)`).
    pub fn is_acl(&self) -> bool {
        self.0.starts_with(b"system.posix_acl_")
    }
}

/// One extended attribute; ACLs are two of them (`system.posix_acl_access`, `…_default`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Xattr {
    /// Its name.
    pub name: XattrName,
    /// Its value, at most 64 KiB (`XATTR_SIZE_MAX`).
    pub value: Box<[u8]>,
}

/// What we keep of an inode besides its kind and content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// Permissions and the three special bits.
    pub mode: Mode,
    /// Numeric owner and group.
    pub owner: Owner,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Attributes and ACLs, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
}
