//! What is to be done for an entry, given what the target has. Pure.

use barge_fs::{Stat, StatKind};
use barge_types::{Changes, Entry, Kind, Meta, Xattr};

/// What the target has under an entry's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Existing<'a> {
    pub(crate) stat: &'a Stat,
    /// A symbolic link's target.
    pub(crate) link_target: Option<&'a [u8]>,
    /// Its inode has to become another: it has names that the source's file does not have.
    pub(crate) must_part: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    /// It is not there: make it.
    Create,
    /// Another thing has its name: make it in that place.
    Replace,
    /// The content has to be brought.
    Transfer(Changes),
    /// The content may be the same: compare digests.
    Compare,
    /// The content is right: look at the metadata.
    Settle,
}

/// Compares an entry with what the target has.
///
/// The quick check takes a file of the same size and time, in nanoseconds, as unchanged; with
/// `checksum`, one of the same size and digest.
pub(crate) fn plan(entry: &Entry, existing: Option<Existing<'_>>, checksum: bool) -> Plan {
    let Some(existing) = existing else {
        return Plan::Create;
    };
    let stat = existing.stat;
    if StatKind::of(&entry.kind) != stat.kind {
        return Plan::Replace;
    }
    match &entry.kind {
        Kind::File { size } => plan_file(*size, &entry.meta, existing, checksum),
        Kind::Directory => Plan::Settle,
        _ if existing.must_part => Plan::Replace,
        Kind::Symlink { target } if existing.link_target != Some(target) => Plan::Replace,
        Kind::CharDevice(device) | Kind::BlockDevice(device) if *device != stat.rdev => {
            Plan::Replace
        }
        _ => Plan::Settle,
    }
}

fn plan_file(size: u64, meta: &Meta, existing: Existing<'_>, checksum: bool) -> Plan {
    let stat = existing.stat;
    let mut changes = Changes::default();
    if stat.size != size {
        changes |= Changes::CONTENT | Changes::SIZE;
    }
    if stat.mtime != meta.mtime {
        changes |= Changes::MTIME;
    }
    if existing.must_part && !checksum && changes.is_empty() {
        return Plan::Transfer(changes);
    }
    if existing.must_part {
        return Plan::Transfer(changes | Changes::CONTENT);
    }
    match (changes.is_empty(), checksum, stat.size == size) {
        (_, true, true) => Plan::Compare,
        (true, false, _) => Plan::Settle,
        _ => Plan::Transfer(changes | Changes::CONTENT),
    }
}

/// What of the metadata differs, as far as it is kept. `xattrs` are those of the target that are
/// carried.
pub(crate) fn differences(
    kind: &Kind,
    want: &Meta,
    stat: &Stat,
    xattrs: &[Xattr],
    owner: bool,
) -> Changes {
    let mut changes = Changes::default();
    if want.mtime != stat.mtime {
        changes |= Changes::MTIME;
    }
    let mode = if owner {
        want.mode
    } else {
        barge_fs::allowed_mode(stat, want)
    };
    if mode != stat.mode && !matches!(kind, Kind::Symlink { .. }) {
        changes |= Changes::MODE;
    }
    if owner && want.owner.uid != stat.owner.uid {
        changes |= Changes::UID;
    }
    if owner && want.owner.gid != stat.owner.gid {
        changes |= Changes::GID;
    }
    changes | attribute_differences(&want.xattrs, xattrs)
}

fn attribute_differences(want: &[Xattr], have: &[Xattr]) -> Changes {
    let differ = |acl: bool| {
        let of = |xattr: &&Xattr| xattr.name.is_acl() == acl;
        !want.iter().filter(of).eq(have.iter().filter(of))
    };
    let mut changes = Changes::default();
    if differ(true) {
        changes |= Changes::ACL;
    }
    if differ(false) {
        changes |= Changes::XATTR;
    }
    changes
}

#[cfg(test)]
mod tests {
    use barge_types::{Device, Mode, Name, Owner, Timestamp};

    use super::*;

    fn entry(kind: Kind) -> Entry {
        let meta = Meta {
            mode: Mode::new(0o644).unwrap(),
            owner: Owner::new(1, 2).unwrap(),
            mtime: Timestamp::new(100, 5).unwrap(),
            xattrs: Vec::new(),
        };
        Entry {
            name: Name::new(b"x").unwrap(),
            kind,
            meta,
        }
    }

    fn stat(entry: &Entry) -> Stat {
        Stat {
            kind: StatKind::of(&entry.kind),
            mode: entry.meta.mode,
            owner: entry.meta.owner,
            size: if let Kind::File { size } = entry.kind {
                size
            } else {
                0
            },
            mtime: entry.meta.mtime,
            atime: entry.meta.mtime,
            ctime: entry.meta.mtime,
            dev: 1,
            ino: 1,
            links: 1,
            rdev: Device { major: 1, minor: 3 },
            blocks: 0,
        }
    }

    fn planned(entry: &Entry, stat: &Stat, checksum: bool) -> Plan {
        let existing = Existing {
            stat,
            link_target: Some(b"there"),
            must_part: false,
        };
        plan(entry, Some(existing), checksum)
    }

    #[test]
    fn file_is_unchanged_only_with_its_size_and_time_to_the_nanosecond() {
        let file = entry(Kind::File { size: 10 });
        let same = stat(&file);
        assert_eq!(planned(&file, &same, false), Plan::Settle);
        assert_eq!(planned(&file, &same, true), Plan::Compare);
        let later = Stat {
            mtime: Timestamp::new(100, 6).unwrap(),
            ..same
        };
        let time = Changes::CONTENT | Changes::MTIME;
        assert_eq!(planned(&file, &later, false), Plan::Transfer(time));
        assert_eq!(planned(&file, &later, true), Plan::Compare);
        let longer = Stat { size: 11, ..same };
        let size = Changes::CONTENT | Changes::SIZE;
        assert_eq!(planned(&file, &longer, false), Plan::Transfer(size));
        assert_eq!(planned(&file, &longer, true), Plan::Transfer(size));
        let parted = Existing {
            stat: &same,
            link_target: None,
            must_part: true,
        };
        assert_eq!(
            plan(&file, Some(parted), false),
            Plan::Transfer(Changes::default())
        );
    }

    #[test]
    fn another_kind_device_or_link_target_is_replaced() {
        let file = entry(Kind::File { size: 0 });
        assert_eq!(plan(&file, None, false), Plan::Create);
        let fifo = stat(&entry(Kind::Fifo));
        assert_eq!(planned(&file, &fifo, false), Plan::Replace);
        for (kind, wanted) in [
            (
                Kind::Symlink {
                    target: (*b"there").into(),
                },
                Plan::Settle,
            ),
            (
                Kind::Symlink {
                    target: (*b"elsewhere").into(),
                },
                Plan::Replace,
            ),
            (
                Kind::CharDevice(Device { major: 1, minor: 3 }),
                Plan::Settle,
            ),
            (
                Kind::CharDevice(Device { major: 1, minor: 4 }),
                Plan::Replace,
            ),
            (Kind::Fifo, Plan::Settle),
        ] {
            let entry = entry(kind);
            assert_eq!(
                planned(&entry, &stat(&entry), false),
                wanted,
                "{:?}",
                entry.kind
            );
        }
    }

    #[test]
    fn mode_that_another_owner_may_not_have_is_no_difference_when_owners_are_not_kept() {
        let mut file = entry(Kind::File { size: 0 });
        file.meta.mode = Mode::new(0o4755).unwrap();
        let mut have = stat(&file);
        have.owner.uid = 9;
        have.mode = Mode::new(0o755).unwrap();
        assert!(differences(&file.kind, &file.meta, &have, &[], false).is_empty());
        assert_eq!(
            differences(&file.kind, &file.meta, &have, &[], true),
            Changes::UID | Changes::MODE
        );
    }

    #[test]
    fn metadata_differs_as_far_as_it_is_kept() {
        let file = entry(Kind::File { size: 0 });
        let mut have = stat(&file);
        assert!(differences(&file.kind, &file.meta, &have, &[], true).is_empty());
        have.owner.uid = 9;
        have.mode = Mode::new(0o600).unwrap();
        let both = Changes::UID | Changes::MODE;
        assert_eq!(differences(&file.kind, &file.meta, &have, &[], true), both);
        assert_eq!(
            differences(&file.kind, &file.meta, &have, &[], false),
            Changes::MODE
        );
        let link = Kind::Symlink {
            target: (*b"x").into(),
        };
        assert_eq!(
            differences(&link, &file.meta, &have, &[], true),
            Changes::UID
        );
    }
}
