//! What `--fake-super` keeps of an inode in attributes of a file that stands for it.
//!
//! Source: rsync(1), and what rsync 3.5.0 writes. Whoever may write the file may forge all of it.

use barge_fs::{Dir, Error, Stat, StatKind};
use barge_rsync::wire::attrs::{Acl, AclEntry};
use barge_types::{Device, Mode, Name, Owner, Xattr, XattrName};

use super::acl;

/// Names that rsync keeps for itself.
pub(super) const OURS: &[u8] = b"user.rsync.%";
/// Kind, permissions, device and owner.
pub(super) const STAT: &[u8] = b"user.rsync.%stat";
/// The access ACL.
pub(super) const ACCESS: &[u8] = b"user.rsync.%aacl";
/// The default ACL of a directory.
pub(super) const DEFAULT: &[u8] = b"user.rsync.%dacl";
/// What attributes of other namespaces are kept under.
const KEPT: &[u8] = b"user.rsync.";

/// What is kept of an inode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FakeStat {
    /// Kind and permissions, as `inode(7)` numbers them.
    pub(super) mode: u32,
    pub(super) device: Device,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl FakeStat {
    /// `None` for a text that no rsync wrote.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
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

    pub(super) fn print(&self) -> Box<[u8]> {
        let Self { mode, uid, gid, .. } = self;
        let Device { major, minor } = self.device;
        let text = format!("{mode:o} {major},{minor} {uid}:{gid}");
        text.into_bytes().into()
    }

    /// Lays it over a look at what has it, and says whether it can stand for this: a file for all but
    /// a directory, everything else for its like. Otherwise the look stays as it is.
    pub(super) fn lay_over(&self, stat: &mut Stat) -> bool {
        let kind = StatKind::from_st_mode(self.mode);
        let fits = |kind: &StatKind| {
            *kind == stat.kind || (stat.kind == StatKind::File && *kind != StatKind::Directory)
        };
        match (kind.filter(fits), Owner::new(self.uid, self.gid)) {
            (Some(kind), Some(owner)) => {
                stat.kind = kind;
                stat.mode = Mode::from_st_mode(self.mode);
                stat.rdev = self.device;
                stat.owner = owner;
                true
            }
            _ => false,
        }
    }

    /// Whether a look at what stands for this tells as much.
    pub(super) fn is_told_by(&self, real: &Stat, mode: Mode) -> bool {
        self.mode == real.kind.st_mode() | mode.bits()
            && (self.uid, self.gid) == (real.owner.uid, real.owner.gid)
    }
}

/// The permissions that a file or directory gets which stands for something with `mode`: nothing
/// that lends rights, and all that its owner needs to go on.
pub(super) fn real_mode(mode: Mode, kind: StatKind) -> Mode {
    with_own_rights(Mode::from_st_mode(mode.bits() & 0o777), kind)
}

/// The same permissions, and those that an owner needs to read and to set everything.
pub(super) fn with_own_rights(mode: Mode, kind: StatKind) -> Mode {
    let own = match kind {
        StatKind::Directory => 0o700,
        _ => 0o600,
    };
    Mode::from_st_mode(mode.bits() | own)
}

/// The target of a link that a file stands for.
///
/// # Errors
///
/// Those of opening and reading; `readlink` with `EINVAL` when there is no target in the file.
pub(super) fn read_link(dir: &Dir, name: &Name) -> Result<Box<[u8]>, Error> {
    let file = dir.open_file(name)?;
    let mut target = vec![0; MAX_TARGET + 1];
    let mut len = 0;
    while len < target.len() {
        match file.read_at(&mut target[len..], len as u64)? {
            0 => break,
            count => len += count,
        }
    }
    target.truncate(len);
    if len == 0 || len > MAX_TARGET || target.contains(&0) {
        return Err(Error {
            op: "readlink",
            errno: EINVAL,
        });
    }
    Ok(target.into())
}

/// An attribute as it is kept; `None` for one that nobody but this side may write here: a name that
/// stands for something, or could be taken for it later.
pub(super) fn keep(xattr: &Xattr) -> Option<Xattr> {
    let (name, value) = match xattr.name.as_bytes() {
        acl::ACCESS => {
            let mut acl = acl::decode(&xattr.value)?;
            // What the mode says of all ACLs is left out; the mask is in it, too.
            (acl.user_obj, acl.other) = (None, None);
            acl.group_obj = acl.group_obj.filter(|_| acl.group_obj != acl.mask);
            (XattrName::new(ACCESS)?, print_acl(&acl))
        }
        acl::DEFAULT => {
            let acl = acl::decode(&xattr.value)?;
            (XattrName::new(DEFAULT)?, print_acl(&acl))
        }
        name if is_foreign(name) => {
            let name = XattrName::new(&[KEPT, name].concat())?;
            (name, xattr.value.clone())
        }
        name if name.starts_with(b"user.") && !name.starts_with(KEPT) => {
            (xattr.name.clone(), xattr.value.clone())
        }
        _ => return None,
    };
    Some(Xattr { name, value })
}

/// What a kept attribute of something with `mode` stands for; `None` for one that is not kept here.
pub(super) fn unkeep(kept: Xattr, mode: Mode) -> Option<Xattr> {
    let (name, value) = match kept.name.as_bytes() {
        ACCESS => {
            let acl = parse_acl(&kept.value)?;
            let value = acl::access_value(&acl, mode.bits())?;
            (XattrName::new(acl::ACCESS)?, value)
        }
        DEFAULT => {
            let acl = parse_acl(&kept.value)?;
            (XattrName::new(acl::DEFAULT)?, acl::default_value(&acl)?)
        }
        _ => (name_of_kept(&kept.name)?, kept.value),
    };
    Some(Xattr { name, value })
}

/// The name of the attribute, other than an ACL, that is kept under this one; `None` where none is.
pub(super) fn name_of_kept(kept: &XattrName) -> Option<XattrName> {
    let bytes = kept.as_bytes();
    match bytes.strip_prefix(KEPT) {
        Some(name) if is_foreign(name) => XattrName::new(name),
        None if bytes.starts_with(b"user.") => Some(kept.clone()),
        _ => None,
    }
}

/// Whether it takes a super-user to set an attribute of this name.
fn is_foreign(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"security.")
}

/// An ACL as it is kept: four permissions, then pairs of an id and what it may.
pub(super) fn parse_acl(value: &[u8]) -> Option<Acl> {
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

/// The same, the other way.
pub(super) fn print_acl(acl: &Acl) -> Box<[u8]> {
    let objects = [acl.user_obj, acl.group_obj, acl.mask, acl.other];
    let objects = objects.map(|perms| perms.map_or(ABSENT, u32::from));
    let named = acl.named.iter().flat_map(|entry| {
        let of_user = if entry.is_user { IS_USER } else { 0 };
        [entry.id, u32::from(entry.perms) | of_user]
    });
    objects
        .into_iter()
        .chain(named)
        .flat_map(u32::to_le_bytes)
        .collect()
}

const ABSENT: u32 = 0x80;
const IS_USER: u32 = 0x8000_0000;

/// The longest target of a link, in bytes.
const MAX_TARGET: usize = 4095;

const EINVAL: i32 = 22;

#[cfg(test)]
mod tests {
    use barge_types::Timestamp;

    use super::*;

    #[test]
    fn what_rsync_wrote_is_read_and_written_alike() {
        for text in ["104755 0,0 0:0", "20644 1,3 0:0", "120777 0,0 5:7"] {
            let fake = FakeStat::parse(text.as_bytes()).unwrap();
            assert_eq!(&*fake.print(), text.as_bytes());
        }
        let fake = FakeStat::parse(b"20644 1,3 5:7").unwrap();
        let device = Device { major: 1, minor: 3 };
        let expected = FakeStat {
            mode: 0o20_644,
            device,
            uid: 5,
            gid: 7,
        };
        assert_eq!(fake, expected);
    }

    #[test]
    fn acls_that_rsync_wrote_are_read_and_written_alike() {
        // An access ACL of mode 0074 and a default one, each with an entry for user 4321.
        let access = b"\x80\0\0\0\x04\0\0\0\x07\0\0\0\x80\0\0\0\xe1\x10\0\0\x07\0\0\x80";
        let default = b"\x07\0\0\0\x07\0\0\0\x07\0\0\0\x07\0\0\0\xe1\x10\0\0\x05\0\0\x80";
        for value in [access, default] {
            assert_eq!(&*print_acl(&parse_acl(value).unwrap()), value);
        }
        let acl = parse_acl(access).unwrap();
        let named = vec![AclEntry {
            is_user: true,
            id: 4321,
            perms: 7,
        }];
        let expected = Acl {
            group_obj: Some(4),
            mask: Some(7),
            named,
            ..Acl::default()
        };
        assert_eq!(acl, expected);
    }

    #[test]
    fn no_name_of_a_sender_reaches_what_is_kept_here() {
        let kept = |name: &[u8]| {
            let value = Box::from(&b"v"[..]);
            let name = XattrName::new(name).unwrap();
            keep(&Xattr { name, value }).map(|xattr| xattr.name)
        };
        for name in [
            &b"user.rsync.%stat"[..],
            b"user.rsync.trusted.t",
            b"user.rsync.security.capability",
            b"user.rsync.other",
            b"system.nfs4_acl",
        ] {
            assert_eq!(kept(name), None);
        }
        for (name, kept_as) in [
            (&b"trusted.t"[..], &b"user.rsync.trusted.t"[..]),
            (b"security.capability", b"user.rsync.security.capability"),
            (b"user.u", b"user.u"),
        ] {
            let kept = kept(name).unwrap();
            assert_eq!(kept.as_bytes(), kept_as);
            assert_eq!(name_of_kept(&kept).unwrap().as_bytes(), name);
        }
    }

    #[test]
    fn nothing_but_trusted_and_security_is_taken_for_kept() {
        for name in [
            &b"user.rsync.%stat"[..],
            b"user.rsync.other",
            b"user.rsync.system.posix_acl_access",
            b"user.rsync.user.u",
            b"trusted.t",
        ] {
            let name = XattrName::new(name).unwrap();
            assert_eq!(name_of_kept(&name), None);
        }
    }

    #[test]
    fn forged_kind_is_not_believed() {
        use StatKind::{CharDevice, Directory, File, Symlink};
        for (real, text, seen) in [
            (File, "104755 0,0 1:2", Some(File)),
            (File, "20640 1,3 1:2", Some(CharDevice)),
            (File, "120777 0,0 1:2", Some(Symlink)),
            (Directory, "42755 0,0 1:2", Some(Directory)),
            (File, "40755 0,0 1:2", None),
            (Directory, "100644 0,0 1:2", None),
            (Directory, "120777 0,0 1:2", None),
            (File, "0 0,0 1:2", None),
            (File, "755 0,0 1:2", None),
            (File, "104755 0,0 4294967295:2", None),
        ] {
            let fake = FakeStat::parse(text.as_bytes()).unwrap();
            let mut stat = stat_of(real);
            let before = stat;
            assert_eq!(fake.lay_over(&mut stat), seen.is_some(), "{text}");
            assert_eq!(stat.kind, seen.unwrap_or(real), "{text}");
            assert!(seen.is_some() || stat == before, "{text}");
        }
    }

    /// A look at something of this kind.
    fn stat_of(kind: StatKind) -> Stat {
        Stat {
            kind,
            mode: Mode::from_st_mode(0o644),
            owner: Owner::new(0, 0).unwrap(),
            rdev: Device { major: 0, minor: 0 },
            size: 5,
            blocks: 8,
            links: 1,
            dev: 1,
            ino: 2,
            mtime: Timestamp::default(),
            atime: Timestamp::default(),
            ctime: Timestamp::default(),
        }
    }
}
