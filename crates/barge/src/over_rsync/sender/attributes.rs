//! ACLs and extended attributes of what is listed, as they cross the wire.

use std::sync::Arc;

use barge_delta::{Checksum, WholeDigest};
use barge_rsync::options::Options;
use barge_rsync::wire::attrs::{Acl, AclEntry, MAX_SHORT_VALUE, Xattr as WireXattr, XattrSet};
use barge_rsync::wire::entry::FileEntry;
use barge_types::{Device, Xattr, XattrName};

use crate::filter::Scope;
use crate::over_rsync::acl;

/// Which attributes are read.
pub(super) struct Carried {
    acls: bool,
    /// `-X`: 0, 1 or 2.
    xattrs: u8,
    fake_super: bool,
    is_root: bool,
}

impl Carried {
    pub(super) fn new(options: &Options, is_root: bool) -> Self {
        Self {
            acls: options.acls,
            xattrs: options.xattrs,
            fake_super: options.fake_super,
            is_root: is_root && !options.fake_super,
        }
    }

    /// Whether no attribute at all is read.
    pub(super) fn is_nothing(&self) -> bool {
        !self.acls && self.xattrs == 0 && !self.fake_super
    }

    /// Whether this one is read of what is in a directory of `scope`.
    pub(super) fn carries(&self, name: &XattrName, scope: &Scope) -> bool {
        match name.as_bytes() {
            acl::ACCESS | acl::DEFAULT => self.acls,
            FAKE_STAT if self.fake_super => true,
            FAKE_ACCESS | FAKE_DEFAULT if self.fake_super && self.acls => true,
            name => self.lists(name, scope),
        }
    }

    /// Whether it goes into the list as an attribute.
    fn lists(&self, name: &[u8], scope: &Scope) -> bool {
        if self.xattrs == 0 || name.starts_with(b"system.") {
            return false;
        }
        if name.starts_with(OURS) {
            return self.xattrs > 1 && !self.fake_super;
        }
        // Rules about attributes are asked instead of the usual choice.
        if scope.has_xattr_rules() {
            return !scope.excludes_xattr(name);
        }
        self.is_root || name.starts_with(b"user.")
    }
}

/// What was read of an entry, sorted out.
#[derive(Default)]
pub(super) struct Attributes {
    access: Option<Acl>,
    default: Option<Acl>,
    fake: Option<FakeStat>,
    listed: Vec<Xattr>,
}

impl Attributes {
    pub(super) fn sort(xattrs: Vec<Xattr>) -> Self {
        let mut sorted = Self::default();
        for xattr in xattrs {
            match xattr.name.as_bytes() {
                acl::ACCESS => sorted.access = acl::decode(&xattr.value),
                acl::DEFAULT => sorted.default = acl::decode(&xattr.value),
                FAKE_STAT => sorted.fake = FakeStat::parse(&xattr.value),
                FAKE_ACCESS => sorted.access = fake_acl(&xattr.value),
                FAKE_DEFAULT => sorted.default = fake_acl(&xattr.value),
                _ => sorted.listed.push(xattr),
            }
        }
        sorted
    }

    /// Gives an entry what was read.
    pub(super) fn put(self, entry: &mut FileEntry, options: &Options) {
        if let Some(fake) = self.fake {
            fake.put(entry, options);
        }
        if options.acls && !entry.is_symlink() {
            let access = self.access.unwrap_or_default();
            entry.acl = Some(Arc::new(without_the_mode(access, entry.mode)));
            if entry.is_dir() {
                entry.extra_mut().default_acl = Some(Arc::new(self.default.unwrap_or_default()));
            }
        }
        if options.xattrs > 0 {
            let attrs = self.listed.iter().map(on_the_wire).collect();
            entry.xattrs = Some(Arc::new(XattrSet::new(attrs)));
        }
    }
}

fn on_the_wire(xattr: &Xattr) -> WireXattr {
    let (name, value) = (xattr.name.as_bytes(), &*xattr.value);
    if value.len() <= MAX_SHORT_VALUE {
        return WireXattr::short(name, value);
    }
    let mut digest = WholeDigest::new(Checksum::Md5);
    digest.update(value);
    let digest = digest.finish();
    let digest = digest.as_bytes().try_into().expect("an MD5 has 16 bytes");
    WireXattr::long(name, value.len() as u32, digest)
}

/// Leaves out of an access ACL what the mode says already.
fn without_the_mode(mut acl: Acl, mode: u32) -> Acl {
    let of_group = (mode >> 3 & 7) as u8;
    (acl.user_obj, acl.other) = (None, None);
    if acl.mask.is_none() || acl.group_obj == Some(of_group) {
        acl.group_obj = None;
    }
    if !acl.named.is_empty() && acl.mask == Some(of_group) {
        acl.mask = None;
    }
    acl
}

/// What `--fake-super` kept of an inode in an attribute.
#[derive(Debug, Eq, PartialEq)]
struct FakeStat {
    mode: u32,
    device: Device,
    uid: u32,
    gid: u32,
}

impl FakeStat {
    /// `None` for a text that no rsync wrote.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (mode, rest) = text.split_once(' ')?;
        let (device, owner) = rest.split_once(' ')?;
        let (major, minor) = device.split_once(',')?;
        let (uid, gid) = owner.split_once(':')?;
        Some(Self {
            mode: u32::from_str_radix(mode, 8).ok()?,
            device: Device {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            },
            uid: uid.parse().ok()?,
            gid: gid.trim_end_matches(['\0', '\n']).parse().ok()?,
        })
    }

    /// Whoever may write the file may write the attribute: one that would make of it what needs more
    /// than a file can tell is as good as none.
    fn put(self, entry: &mut FileEntry, options: &Options) {
        let (real, kept) = (entry.mode & KIND, self.mode & KIND);
        let is_node = matches!(kept, S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK);
        if kept != real && !(real == S_IFREG && is_node) {
            return;
        }
        entry.mode = kept | self.mode & 0o7777;
        if options.owner {
            entry.uid = self.uid;
        }
        if options.group {
            entry.gid = self.gid;
        }
        if !(entry.is_file() || entry.is_dir() || entry.is_symlink()) {
            entry.len = 0;
        }
        if entry.is_device() && options.devices {
            entry.extra_mut().device = Some(self.device);
        }
    }
}

/// An ACL as `--fake-super` keeps it: four permissions, then pairs of an id and what it may.
fn fake_acl(value: &[u8]) -> Option<Acl> {
    let (numbers, rest) = value.as_chunks::<4>();
    let mut numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
    let mut object = || {
        let perms = numbers.next()?;
        Some((perms & ABSENT == 0).then_some((perms & 7) as u8))
    };
    let mut acl = Acl {
        user_obj: object()?,
        group_obj: object()?,
        mask: object()?,
        other: object()?,
        named: Vec::new(),
    };
    while let Some(id) = numbers.next() {
        let access = numbers.next()?;
        acl.named.push(AclEntry {
            is_user: access & IS_USER != 0,
            id,
            perms: (access & 7) as u8,
        });
    }
    rest.is_empty().then_some(acl)
}

const ABSENT: u32 = 0x80;
const IS_USER: u32 = 0x8000_0000;

/// Kinds, as `inode(7)` numbers them.
const KIND: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;

/// Names that rsync keeps for itself.
const OURS: &[u8] = b"user.rsync.%";
const FAKE_STAT: &[u8] = b"user.rsync.%stat";
const FAKE_ACCESS: &[u8] = b"user.rsync.%aacl";
const FAKE_DEFAULT: &[u8] = b"user.rsync.%dacl";

#[cfg(test)]
mod tests {
    use barge_rsync::wire::entry::WirePath;

    use super::*;

    #[test]
    fn forged_kind_is_not_believed() {
        for (real, text, listed) in [
            (0o100_644, "104755 0,0 1:2", 0o104_755),
            (0o100_644, "20640 1,3 1:2", 0o020_640),
            (0o100_644, "120777 0,0 1:2", 0o100_644),
            (0o100_644, "40755 0,0 1:2", 0o100_644),
            (0o040_755, "100644 0,0 1:2", 0o040_755),
            (0o100_644, "0 0,0 1:2", 0o100_644),
            (0o100_644, "37777700644 0,0 1:2", 0o100_644),
        ] {
            let path = WirePath::within(None, b"file");
            let mut entry = FileEntry::new(path, real);
            let fake = FakeStat::parse(text.as_bytes()).unwrap();
            fake.put(&mut entry, &Options::default());
            assert_eq!(entry.mode, listed, "{text}");
        }
    }
}
