//! Sets owner, attributes, mode, ACLs and time, in the one order that sticks.

use std::os::fd::BorrowedFd;

use barge_types::{Changes, Meta, Mode, Owner, Timestamp, Xattr, XattrName};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{self, FchmodatFlags, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

use crate::xattr::{Attributes, handle_path};
use crate::{Error, Keep, Stat, StatKind};

/// What of the metadata was changed, and what could not be set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// What differed and was set.
    pub changes: Changes,
    /// The first failure of each step; empty when the entry is as it was asked for.
    pub failures: Vec<Error>,
}

impl Applied {
    pub(crate) fn failed(error: Error) -> Self {
        Self {
            changes: Changes::default(),
            failures: vec![error],
        }
    }
}

/// An inode held by a handle, so that no rename can put another in its place.
#[derive(Clone, Copy)]
pub(crate) struct Inode<'a> {
    fd: BorrowedFd<'a>,
    /// Whether the handle is an `O_PATH` one, which most calls take only by its path in `/proc`.
    path_only: bool,
}

impl<'a> Inode<'a> {
    /// An open file or directory.
    pub(crate) fn open(fd: BorrowedFd<'a>) -> Self {
        let path_only = false;
        Self { fd, path_only }
    }

    /// Anything, held by an `O_PATH` handle.
    pub(crate) fn held(fd: BorrowedFd<'a>) -> Self {
        let path_only = true;
        Self { fd, path_only }
    }

    fn chown(self, uid: Option<u32>, gid: Option<u32>) -> nix::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        fchownat(self.fd, "", uid, gid, AtFlags::AT_EMPTY_PATH)
    }

    /// Not for symbolic links, which have no mode of their own.
    pub(crate) fn chmod(self, mode: Mode) -> nix::Result<()> {
        let mode = stat::Mode::from_bits_truncate(mode.bits());
        if !self.path_only {
            return fchmod(self.fd, mode);
        }
        // Follows the handle's own link in /proc and no other.
        fchmodat(
            AT_FDCWD,
            &handle_path(self.fd),
            mode,
            FchmodatFlags::FollowSymlink,
        )
    }

    pub(crate) fn set_times(
        self,
        atime: Option<Timestamp>,
        mtime: Option<Timestamp>,
    ) -> nix::Result<()> {
        let (atime, mtime) = (time_spec(atime), time_spec(mtime));
        if !self.path_only {
            return futimens(self.fd, &atime, &mtime);
        }
        let path = handle_path(self.fd);
        utimensat(
            AT_FDCWD,
            &path,
            &atime,
            &mtime,
            UtimensatFlags::FollowSymlink,
        )
    }
}

/// The time for a system call; `None` leaves it as it is.
fn time_spec(time: Option<Timestamp>) -> TimeSpec {
    time.map_or(TimeSpec::UTIME_OMIT, |time| {
        TimeSpec::new(time.secs(), time.nanos().into())
    })
}

/// What an inode is to have; what is `None` stays as it is.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Not for symbolic links, which have no mode of their own.
    pub mode: Option<Mode>,
    /// Whose file alone may get set-uid and set-gid, as [`allowed_mode`] says.
    pub meant_for: Option<Owner>,
    /// Time of the last change of the content.
    pub mtime: Option<Timestamp>,
    /// Time of the last reading.
    pub atime: Option<Timestamp>,
    /// The attributes it is to have of those that `carries` names.
    pub xattrs: &'a [Xattr],
    /// Which attributes are carried: others are left alone.
    pub carries: &'a dyn Fn(&XattrName) -> bool,
    /// Whether it may have carried attributes that are not wanted, and is to be asked for them.
    pub has_attributes: bool,
}

impl Wanted<'_> {
    /// Leaves everything as it is.
    pub const NOTHING: Wanted<'static> = Wanted {
        uid: None,
        gid: None,
        mode: None,
        meant_for: None,
        mtime: None,
        atime: None,
        xattrs: &[],
        carries: &|_| false,
        has_attributes: false,
    };
}

/// Sets what differs, as [`set_wanted`] does, to all of `want` that `set` carries.
pub(crate) fn set(
    inode: Inode<'_>,
    now: Stat,
    want: &Meta,
    set: &Keep,
    has_attributes: bool,
) -> (Stat, Applied) {
    let wanted = Wanted {
        uid: set.owner.then_some(want.owner.uid),
        gid: set.owner.then_some(want.owner.gid),
        mode: Some(want.mode),
        meant_for: Some(want.owner),
        mtime: Some(want.mtime),
        atime: None,
        xattrs: &want.xattrs,
        carries: &|name| set.carries(name),
        has_attributes: has_attributes && set.carries_any_of(now.kind),
    };
    set_wanted(inode, now, &wanted)
}

/// Sets what differs, verifies, and returns the last look with what became of each step.
///
/// `now` is a fresh look. No failure keeps the later steps from being tried.
pub(crate) fn set_wanted(inode: Inode<'_>, now: Stat, want: &Wanted<'_>) -> (Stat, Applied) {
    let mut setting = Setting {
        inode,
        before: now,
        now,
        want,
        applied: Applied::default(),
    };
    // chown(2) takes away set-uid, set-gid and security.capability: it comes first.
    setting.set_owner();
    let there = setting.attributes_there();
    // Before the mode: without it even an owner may not set user.* on a read-only file.
    setting.set_attributes(&there);
    setting.set_mode();
    // After the mode: chmod(2) would write into the ACL's mask.
    setting.set_acls(&there);
    setting.set_times();
    setting.verify();
    (setting.now, setting.applied)
}

/// The mode an inode may get that has the owner of `now`: of a file of another owner than was
/// meant without set-uid and set-gid, which would lend that one's rights. On a directory they lend
/// nothing.
pub fn allowed_mode(now: &Stat, want: &Meta) -> Mode {
    mode_meant_for(now, want.mode, Some(want.owner))
}

fn mode_meant_for(now: &Stat, mode: Mode, meant_for: Option<Owner>) -> Mode {
    if now.kind == StatKind::File && meant_for.is_some_and(|owner| owner != now.owner) {
        return Mode::from_st_mode(mode.bits() & !SPECIAL);
    }
    mode
}

struct Setting<'a> {
    inode: Inode<'a>,
    before: Stat,
    /// As far as it is known after the last step.
    now: Stat,
    want: &'a Wanted<'a>,
    applied: Applied,
}

impl Setting<'_> {
    fn attributes_there(&mut self) -> Vec<Xattr> {
        if !self.want.has_attributes {
            return Vec::new();
        }
        let there = Attributes::of_handle(self.inode.fd).read(self.want.carries);
        there.unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        })
    }

    fn set_owner(&mut self) {
        let uid = self.want.uid.filter(|uid| *uid != self.now.owner.uid);
        let gid = self.want.gid.filter(|gid| *gid != self.now.owner.gid);
        if uid.is_none() && gid.is_none() {
            return;
        }
        match self.inode.chown(uid, gid) {
            Ok(()) => self.chowned(uid, gid),
            Err(errno) => {
                self.fail(Error::new("fchown", errno));
                // Whoever may not give a file away may still be a member of its group.
                if uid.is_some() && gid.is_some() && self.inode.chown(None, gid).is_ok() {
                    self.chowned(None, gid);
                }
            }
        }
    }

    fn chowned(&mut self, uid: Option<u32>, gid: Option<u32>) {
        if uid.is_some() {
            self.applied.changes |= Changes::UID;
        }
        if gid.is_some() {
            self.applied.changes |= Changes::GID;
        }
        self.now.owner.uid = uid.unwrap_or(self.now.owner.uid);
        self.now.owner.gid = gid.unwrap_or(self.now.owner.gid);
        if self.now.mode.bits() & SPECIAL != 0 {
            self.look_again();
        }
    }

    fn set_attributes(&mut self, there: &[Xattr]) {
        if self.set_differing(there, |xattr| !xattr.name.is_acl()) {
            self.applied.changes |= Changes::XATTR;
        }
    }

    fn set_mode(&mut self) {
        let Some(mode) = self.wrong_mode() else {
            return;
        };
        match self.inode.chmod(mode) {
            Ok(()) => self.now.mode = mode,
            Err(errno) => self.fail(Error::new("fchmod", errno)),
        }
    }

    /// The mode it is to have, unless it has it.
    fn wrong_mode(&self) -> Option<Mode> {
        let mode = mode_meant_for(&self.now, self.want.mode?, self.want.meant_for);
        (self.now.kind != StatKind::Symlink && self.now.mode != mode).then_some(mode)
    }

    /// An ACL's own entries may change the mode as it is set: then the mode is set once more.
    fn set_acls(&mut self, there: &[Xattr]) {
        if self.set_differing(there, |xattr| xattr.name.is_acl()) {
            self.applied.changes |= Changes::ACL;
            self.look_again();
            self.set_mode();
        }
    }

    fn set_times(&mut self) {
        let mtime = self.want.mtime.filter(|mtime| *mtime != self.now.mtime);
        let atime = self.want.atime.filter(|atime| *atime != self.now.atime);
        if mtime.is_none() && atime.is_none() {
            return;
        }
        match self.inode.set_times(atime, mtime) {
            Ok(()) if mtime.is_some() => self.applied.changes |= Changes::MTIME,
            Ok(()) => {}
            Err(errno) => self.fail(Error::new("utimensat", errno)),
        }
    }

    /// What was set without an error may still be kept as something else, or not at all.
    fn verify(&mut self) {
        if self.applied.changes.is_empty()
            && self.applied.failures.is_empty()
            && self.now == self.before
        {
            return;
        }
        self.look_again();
        if self.now.mode != self.before.mode {
            self.applied.changes |= Changes::MODE;
        }
        let (want, now) = (self.want, self.now);
        let wrong_owner = want.uid.is_some_and(|uid| uid != now.owner.uid)
            || want.gid.is_some_and(|gid| gid != now.owner.gid);
        let wrong_time = want.mtime.is_some_and(|mtime| mtime != now.mtime);
        self.check(wrong_owner, "fchown", "verify owner");
        self.check(self.mode_is_not_kept(), "fchmod", "verify mode");
        self.check(wrong_time, "utimensat", "verify mtime");
    }

    /// A mode that was cut for want of the owner that was asked for is not the one that was meant.
    fn mode_is_not_kept(&self) -> bool {
        let owner_asked = self.want.uid.is_some() || self.want.gid.is_some();
        let cut = owner_asked && self.want.mode.is_some_and(|mode| mode != self.now.mode);
        self.now.kind != StatKind::Symlink && (cut || self.wrong_mode().is_some())
    }

    /// Sets and removes the attributes of one family; says whether any was changed.
    fn set_differing(&mut self, there: &[Xattr], family: impl Fn(&Xattr) -> bool) -> bool {
        let want = self.want.xattrs;
        if want.is_empty() && there.is_empty() {
            return false;
        }
        let is_there = |xattr: &Xattr| there.contains(xattr);
        let is_wanted = |xattr: &Xattr| want.iter().any(|wanted| wanted.name == xattr.name);
        let carries = |xattr: &&Xattr| family(xattr) && (self.want.carries)(&xattr.name);
        let to_set = want.iter().filter(carries).filter(|xattr| !is_there(xattr));
        let to_remove = there
            .iter()
            .filter(carries)
            .filter(|xattr| !is_wanted(xattr));

        let attributes = Attributes::of_handle(self.inode.fd);
        let set = to_set.map(|xattr| attributes.set(xattr));
        let removed = to_remove.map(|xattr| attributes.remove(&xattr.name));
        // Removed first: many file systems have 4 KiB for all attributes of an inode.
        let results: Vec<_> = removed.chain(set).collect();
        let mut changed = false;
        for result in results {
            match result {
                Ok(()) => changed = true,
                Err(error) => self.fail(error),
            }
        }
        changed
    }

    fn look_again(&mut self) {
        match Stat::of(self.inode.fd) {
            Ok(now) => self.now = now,
            Err(error) => self.fail(error),
        }
    }

    /// Notes a wrong value, unless the call that was to set it is known to have failed.
    fn check(&mut self, wrong: bool, setter: &str, op: &'static str) {
        let known = self
            .applied
            .failures
            .iter()
            .any(|failure| failure.op == setter);
        if wrong && !known {
            self.fail(Error::not_kept(op));
        }
    }

    fn fail(&mut self, error: Error) {
        let failures = &mut self.applied.failures;
        if failures.iter().all(|failure| failure.op != error.op) {
            failures.push(error);
        }
    }
}

/// Set-uid and set-gid.
const SPECIAL: u32 = 0o6000;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use barge_types::{Device, Kind, Name, RelPath};
    use nix::errno::Errno;

    use super::*;
    use crate::trees::{is_root, meta_of, mode, name, roots, roots_with_attributes};
    use crate::{Dir, Root};

    const DAY: i64 = 86_400;

    fn top(root: &Root) -> Dir {
        root.dir(&RelPath::root()).unwrap()
    }

    fn time(secs: i64, nanos: u32) -> Timestamp {
        Timestamp::new(secs, nanos).unwrap()
    }

    fn xattr(name: &str, value: &[u8]) -> Xattr {
        Xattr {
            name: XattrName::new(name.as_bytes()).unwrap(),
            value: value.into(),
        }
    }

    /// An ACL in the form of `<linux/posix_acl_xattr.h>`: user rwx, user 4242 r, group r-x,
    /// mask rwx, others nothing; its mode is 0770.
    fn acl(of: &str) -> Xattr {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        let entries = [
            (1, 7, !0),
            (2, 4, 4242),
            (4, 5, !0),
            (16, 7, !0),
            (32, 0, !0),
        ];
        for (tag, rights, id) in entries {
            bytes.extend(u16::to_le_bytes(tag));
            bytes.extend(u16::to_le_bytes(rights));
            bytes.extend(u32::to_le_bytes(id));
        }
        xattr(of, &bytes)
    }

    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";

    fn file_kind() -> Kind {
        Kind::File { size: 0 }
    }

    fn apply(dir: &Dir, name: &Name, want: &Meta, kind: &Kind) -> Applied {
        let before = dir.stat(name).unwrap();
        dir.apply(name, &before, want, kind, &Keep::default(), true)
    }

    fn create(dir: &Dir, name: &Name, kind: &Kind) {
        match kind {
            Kind::File { .. } => {
                let staged = dir.stage(name).unwrap();
                let want = meta_of(&dir.stat_self().unwrap());
                staged
                    .commit(dir, &want, &Keep::default(), false, true)
                    .unwrap();
            }
            Kind::Directory => dir.make_dir(name).unwrap(),
            Kind::Symlink { target } => dir.make_symlink(name, target).unwrap(),
            node => dir.make_node(name, node).unwrap(),
        }
    }

    #[test]
    fn time_is_kept_to_the_nanosecond_before_1970_and_after_2106() {
        let kinds = [
            file_kind(),
            Kind::Directory,
            Kind::Symlink {
                target: (*b"/etc/passwd").into(),
            },
            Kind::Fifo,
            Kind::Socket,
        ];
        for (_folder, root) in roots() {
            let dir = top(&root);
            for kind in &kinds {
                let entry = name(kind.word());
                create(&dir, &entry, kind);
                for mtime in [
                    time(-30 * 365 * DAY, 999_999_999),
                    time(150 * 365 * DAY, 1),
                    time(-1, 5),
                ] {
                    let mut want = meta_of(&dir.stat(&entry).unwrap());
                    want.mtime = mtime;
                    let applied = apply(&dir, &entry, &want, kind);
                    assert_eq!(applied.changes, Changes::MTIME, "{kind:?}");
                    assert_eq!(applied.failures, [], "{kind:?}");
                    assert_eq!(dir.stat(&entry).unwrap().mtime, mtime, "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn only_what_is_wanted_is_set() {
        for (_folder, root) in roots() {
            let (dir, entry) = (top(&root), name("entry"));
            create(&dir, &entry, &file_kind());
            let before = dir.stat(&entry).unwrap();
            let (same, applied) = dir.set(&entry, &before, &Wanted::NOTHING).unwrap();
            assert_eq!((same, applied), (before, Applied::default()));
            let want = Wanted {
                atime: Some(time(5, 7)),
                mode: Some(mode(0o640)),
                ..Wanted::NOTHING
            };
            let (_, applied) = dir.set(&entry, &before, &want).unwrap();
            assert_eq!((applied.changes, applied.failures), (Changes::MODE, vec![]));
            let after = dir.stat(&entry).unwrap();
            assert_eq!((after.atime, after.mtime), (time(5, 7), before.mtime));
            assert_eq!((after.mode, after.owner), (mode(0o640), before.owner));
        }
    }

    #[test]
    fn capability_that_was_there_survives_a_change_of_owner() {
        if !is_root("giving files away") {
            return;
        }
        // `struct vfs_cap_data`, revision 2, effective, with CAP_NET_RAW permitted.
        let mut bytes = 0x0200_0001u32.to_le_bytes().to_vec();
        bytes.extend([1u32 << 13, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes));
        let capability = xattr("security.capability", &bytes);
        for (_folder, root) in roots_with_attributes() {
            let (dir, entry) = (top(&root), name("able"));
            create(&dir, &entry, &file_kind());
            let mut want = meta_of(&dir.stat(&entry).unwrap());
            want.xattrs = vec![capability.clone()];
            assert_eq!(apply(&dir, &entry, &want, &file_kind()).failures, []);
            want.owner = Owner::new(1, 1).unwrap();
            assert_eq!(apply(&dir, &entry, &want, &file_kind()).failures, []);
            let stat = dir.stat(&entry).unwrap();
            let kept = dir.xattrs(&entry, &stat, &Keep::default()).unwrap();
            assert_eq!((stat.owner, &kept), (want.owner, &want.xattrs));
        }
    }

    #[test]
    fn owner_is_set_on_every_kind_and_set_uid_survives_it() {
        if !is_root("giving files away") {
            return;
        }
        let device = Device { major: 1, minor: 3 };
        let kinds = [
            file_kind(),
            Kind::Directory,
            Kind::Symlink {
                target: (*b"/etc/passwd").into(),
            },
            Kind::CharDevice(device),
            Kind::BlockDevice(device),
            Kind::Fifo,
            Kind::Socket,
        ];
        let passwd = fs::metadata("/etc/passwd").unwrap();
        for (_folder, root) in roots() {
            let dir = top(&root);
            for kind in &kinds {
                let entry = name(kind.word());
                create(&dir, &entry, kind);
                let want = Meta {
                    mode: mode(0o6751),
                    owner: Owner::new(4_294_967_294, 4242).unwrap(),
                    mtime: time(1, 2),
                    xattrs: vec![xattr("trusted.barge", b"value")],
                };
                assert_eq!(apply(&dir, &entry, &want, kind).failures, [], "{kind:?}");
                let stat = dir.stat(&entry).unwrap();
                assert_eq!(
                    (stat.owner, stat.mtime),
                    (want.owner, want.mtime),
                    "{kind:?}"
                );
                let xattrs = dir.xattrs(&entry, &stat, &Keep::default()).unwrap();
                assert_eq!(xattrs, want.xattrs, "{kind:?}");
                if stat.kind != StatKind::Symlink {
                    assert_eq!(stat.mode, want.mode, "{kind:?}");
                }
                let mut next = want.clone();
                next.owner.uid = 7;
                assert_eq!(
                    apply(&dir, &entry, &next, kind).changes,
                    Changes::UID,
                    "{kind:?}"
                );
                assert_eq!(
                    apply(&dir, &entry, &next, kind),
                    Applied::default(),
                    "{kind:?}"
                );
            }
        }
        let after = fs::metadata("/etc/passwd").unwrap();
        assert_eq!(after.modified().unwrap(), passwd.modified().unwrap());
        assert_eq!(after.permissions(), passwd.permissions());
    }

    #[test]
    fn set_uid_is_never_set_for_another_owner_than_was_meant() {
        for (_folder, root) in roots() {
            let dir = top(&root);
            create(&dir, &name("file"), &file_kind());
            let before = dir.stat(&name("file")).unwrap();
            let mut want = meta_of(&before);
            want.mode = mode(0o6755);
            want.owner.uid = 4242;
            let set = Keep {
                owner: false,
                ..Keep::default()
            };
            let applied = dir.apply(&name("file"), &before, &want, &file_kind(), &set, true);
            let after = dir.stat(&name("file")).unwrap();
            assert_eq!(applied.failures, []);
            assert_eq!((after.mode, after.owner), (mode(0o755), before.owner));
        }
    }

    #[test]
    fn ordinary_user_sets_what_it_may_and_reports_the_rest() {
        if nix::unistd::geteuid().is_root() {
            println!("skipped, needs an ordinary user: a chown that is refused");
            return;
        }
        for (_folder, root) in roots() {
            let dir = top(&root);
            create(&dir, &name("file"), &file_kind());
            let want = Meta {
                mode: mode(0o4444),
                owner: Owner::new(4242, 4242).unwrap(),
                mtime: time(-1, 7),
                xattrs: vec![xattr("trusted.barge", b"value")],
            };
            let applied = apply(&dir, &name("file"), &want, &file_kind());
            let ops: Vec<_> = applied.failures.iter().map(|failure| failure.op).collect();
            assert_eq!(ops, ["fchown", "setxattr trusted.*", "verify mode"]);
            let stat = dir.stat(&name("file")).unwrap();
            assert_eq!((stat.mode, stat.mtime), (mode(0o444), want.mtime));
        }
    }

    #[test]
    fn file_that_nobody_may_read_gets_its_metadata() {
        for (_folder, root) in roots() {
            let dir = top(&root);
            create(&dir, &name("file"), &file_kind());
            let mut want = meta_of(&dir.stat(&name("file")).unwrap());
            for bits in [0, 0o600] {
                want.mode = mode(bits);
                want.mtime = time(i64::from(bits), 1);
                let before = dir.stat(&name("file")).unwrap();
                let set = Keep {
                    xattrs: false,
                    ..Keep::default()
                };
                let applied = dir.apply(&name("file"), &before, &want, &file_kind(), &set, true);
                assert_eq!(applied.failures, []);
                let stat = dir.stat(&name("file")).unwrap();
                assert_eq!((stat.mode, stat.mtime), (want.mode, want.mtime));
            }
        }
    }

    #[test]
    fn attributes_and_acls_are_set_changed_and_removed() {
        for (_folder, root) in roots_with_attributes() {
            let dir = top(&root);
            dir.make_dir(&name("dir")).unwrap();
            let keep = Keep::default();
            let mut want = meta_of(&dir.stat(&name("dir")).unwrap());
            want.mode = mode(0o2770);
            for (xattrs, changes) in [
                (
                    vec![
                        acl(ACCESS),
                        acl(DEFAULT),
                        xattr("user.a", b"1"),
                        xattr("user.b", b""),
                    ],
                    Changes::MODE | Changes::ACL | Changes::XATTR,
                ),
                (
                    vec![acl(ACCESS), acl(DEFAULT), xattr("user.a", b"2")],
                    Changes::XATTR,
                ),
                (vec![acl(ACCESS), xattr("user.a", b"2")], Changes::ACL),
                (vec![], Changes::ACL | Changes::XATTR),
                (vec![], Changes::default()),
            ] {
                want.xattrs = xattrs;
                let applied = apply(&dir, &name("dir"), &want, &Kind::Directory);
                assert_eq!((applied.changes, applied.failures), (changes, vec![]));
                let below = dir.open_dir(&name("dir")).unwrap();
                assert_eq!(below.xattrs_self(&keep).unwrap(), want.xattrs);
                assert_eq!(below.stat_self().unwrap().mode, want.mode);
                let inherited = want
                    .xattrs
                    .iter()
                    .any(|xattr| xattr.name.as_bytes() == DEFAULT.as_bytes());
                assert_eq!(below.has_default_acl(), Ok(inherited));
            }
        }
    }

    #[test]
    fn new_file_keeps_no_acl_it_only_inherited() {
        for (_folder, root) in roots() {
            let dir = top(&root);
            let stat = dir.stat_self().unwrap();
            let mut own = meta_of(&stat);
            own.xattrs = vec![acl(DEFAULT)];
            assert_eq!(dir.apply_self(&stat, &own, &Keep::default()).failures, []);
            let mut want = meta_of(&stat);
            want.mode = mode(0o640);
            let staged = dir.stage(&name("file")).unwrap();
            let (stat, applied) = staged
                .commit(&dir, &want, &Keep::default(), true, true)
                .unwrap();
            assert_eq!((applied.failures, stat.mode), (vec![], want.mode));
            assert_eq!(
                dir.xattrs(&name("file"), &stat, &Keep::default()),
                Ok(vec![])
            );
        }
    }

    #[test]
    fn read_only_file_of_an_ordinary_user_is_committed_with_its_attributes() {
        for (_folder, root) in roots_with_attributes() {
            let dir = top(&root);
            let mut want = meta_of(&dir.stat_self().unwrap());
            want.mode = mode(0o444);
            want.xattrs = vec![xattr("user.a", b"1")];
            let staged = dir.stage(&name("file")).unwrap();
            let (stat, applied) = staged
                .commit(&dir, &want, &Keep::default(), false, true)
                .unwrap();
            assert_eq!(applied.failures, []);
            assert_eq!(
                dir.xattrs(&name("file"), &stat, &Keep::default()),
                Ok(want.xattrs)
            );
        }
    }

    #[test]
    fn entry_that_was_exchanged_is_left_alone() {
        for (_folder, root) in roots() {
            let dir = top(&root);
            create(&dir, &name("file"), &file_kind());
            create(&dir, &name("other"), &file_kind());
            let before = dir.stat(&name("file")).unwrap();
            let other = dir.stat(&name("other")).unwrap();
            dir.rename(&name("other"), &name("file")).unwrap();
            let mut want = meta_of(&before);
            want.mtime = time(0, 0);
            let set = Keep::default();
            let applied = dir.apply(&name("file"), &before, &want, &file_kind(), &set, true);
            assert_eq!(applied.failures, [Error::new("openat", Errno::ESTALE)]);
            assert_eq!(dir.stat(&name("file")).unwrap().mtime, other.mtime);
            let applied = dir.apply(&name("file"), &other, &want, &Kind::Fifo, &set, true);
            assert_eq!(applied.failures, [Error::new("openat", Errno::ESTALE)]);
        }
    }

    #[test]
    fn directory_is_made_writable_for_its_owner() {
        for (folder, root) in roots() {
            fs::create_dir(folder.path().join("dir")).unwrap();
            let shut = fs::Permissions::from_mode(0o2550);
            fs::set_permissions(folder.path().join("dir"), shut).unwrap();
            let dir = top(&root).open_dir(&name("dir")).unwrap();
            dir.make_writable(&dir.stat_self().unwrap()).unwrap();
            assert_eq!(dir.stat_self().unwrap().mode, mode(0o2750));
            dir.make_dir(&name("below")).unwrap();
        }
    }

    #[test]
    fn directory_that_may_not_be_opened_is_made_writable_from_the_one_above() {
        for (folder, root) in roots() {
            let path = folder.path().join("dir");
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            let dir = top(&root);
            let shut = dir.stat(&name("dir")).unwrap();
            dir.make_child_writable(&name("dir"), &shut).unwrap();
            let open = dir.stat(&name("dir")).unwrap();
            assert_eq!(open.mode, mode(0o700));
            let below = dir.open_dir(&name("dir")).unwrap();
            below.make_dir(&name("below")).unwrap();
            dir.make_child_writable(&name("absent"), &open).unwrap();
        }
    }

    #[test]
    fn directory_that_was_exchanged_is_not_made_writable() {
        for (folder, root) in roots() {
            let dir = top(&root);
            dir.make_dir(&name("dir")).unwrap();
            let own = fs::Permissions::from_mode(0o500);
            fs::set_permissions(folder.path().join("dir"), own).unwrap();
            let stat = dir.stat(&name("dir")).unwrap();
            dir.rename(&name("dir"), &name("other")).unwrap();
            dir.make_symlink(&name("dir"), b"other").unwrap();
            let error = dir.make_child_writable(&name("dir"), &stat).unwrap_err();
            assert_eq!(error, Error::new("openat", Errno::ESTALE));
            assert_eq!(dir.stat(&name("other")).unwrap().mode, mode(0o500));
        }
    }
}
