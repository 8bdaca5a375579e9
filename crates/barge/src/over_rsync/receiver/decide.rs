//! What is to be done for an entry, given what the destination has. Pure.
//!
//! Source: rsync(1), and rsync 3.5.0 as it behaves.

use barge_fs::{Stat, StatKind};
use barge_rsync::options::Options;
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::iflags::ItemFlags;
use barge_types::{Mode, Timestamp};

/// Which differences count, and what is kept of an entry.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) perms: bool,
    pub(super) executability: bool,
    /// Links are files that stand for them, and have permissions.
    pub(super) fake_super: bool,
    /// Owners are kept: they are asked for, and this side may give files away.
    pub(super) owner: bool,
    /// Groups are kept, as far as this side may set them.
    pub(super) group: bool,
    /// This side may set any owner and group.
    pub(super) privileged: bool,
    /// The groups this side may set otherwise.
    pub(super) groups: Vec<u32>,
    pub(super) times: bool,
    pub(super) omit_dir_times: bool,
    pub(super) omit_link_times: bool,
    pub(super) atimes: bool,
    pub(super) checksum: bool,
    pub(super) size_only: bool,
    pub(super) ignore_times: bool,
    /// Seconds; negative: nanoseconds count.
    pub(super) modify_window: i64,
    pub(super) max_size: Option<u64>,
    pub(super) min_size: Option<u64>,
}

/// What an entry is to have, as far as it is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Want {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<Mode>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) atime: Option<Timestamp>,
}

/// Owner, group and permissions of an entry in this side's terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapped {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: Mode,
}

impl Rules {
    /// Those of a run. `privileged` says whether owners can be set.
    pub(super) fn new(options: &Options, privileged: bool, groups: Vec<u32>) -> Self {
        // Backups beside the files change the directories after their times were set.
        let backups_beside = options.backup && options.backup_dir.is_none();
        Self {
            perms: options.perms,
            executability: options.executability && !options.perms,
            fake_super: options.fake_super,
            owner: options.owner && privileged,
            group: options.group,
            privileged,
            groups,
            times: options.times,
            omit_dir_times: options.omit_dir_times || backups_beside,
            omit_link_times: options.omit_link_times,
            atimes: options.atimes > 0,
            checksum: options.checksum,
            size_only: options.size_only,
            ignore_times: options.ignore_times,
            modify_window: options.modify_window,
            max_size: options.max_size,
            min_size: options.min_size,
        }
    }

    /// Whether the time of an entry of this kind is kept.
    pub(super) fn keeps_time(&self, entry: &FileEntry) -> bool {
        self.times
            && !(entry.is_dir() && self.omit_dir_times)
            && !(entry.is_symlink() && self.omit_link_times)
    }

    /// Whether two times count as different.
    pub(super) fn times_differ(&self, a: Timestamp, b: Timestamp) -> bool {
        if self.modify_window < 0 {
            return a != b;
        }
        a.secs().abs_diff(b.secs()) > self.modify_window.unsigned_abs()
    }

    /// Whether a file of the destination is newer than the source's.
    pub(super) fn is_newer(&self, there: Timestamp, source: Timestamp) -> bool {
        there > source && self.times_differ(there, source)
    }

    /// Whether a file's length and time say that its content is the source's: the quick check
    /// without `--checksum`.
    pub(super) fn looks_same(&self, entry: &FileEntry, stat: &Stat) -> bool {
        stat.size == entry.len
            && (self.size_only
                || (!self.ignore_times && !self.times_differ(stat.mtime, entry.mtime)))
    }

    /// Whether permissions are the source's.
    pub(super) fn keeps_permissions(&self) -> bool {
        self.perms
    }

    /// What an entry is to have. `have` is what is there under its name already; `withheld` the
    /// bits that a new one does not get when permissions are not kept.
    pub(super) fn want(
        &self,
        entry: &FileEntry,
        mapped: Mapped,
        have: Option<&Stat>,
        withheld: Mode,
    ) -> Want {
        let settable = self.privileged || self.groups.contains(&mapped.gid);
        let times = self.keeps_time(entry);
        let atime = entry.extra().atime.filter(|_| self.atimes);
        Want {
            uid: self.owner.then_some(mapped.uid),
            gid: (self.group && settable).then_some(mapped.gid),
            mode: self.mode(entry, mapped.mode, have, withheld),
            mtime: times.then_some(entry.mtime),
            atime: atime.and_then(|secs| Timestamp::new(secs, 0)),
        }
    }

    fn mode(
        &self,
        entry: &FileEntry,
        mode: Mode,
        have: Option<&Stat>,
        withheld: Mode,
    ) -> Option<Mode> {
        if entry.is_symlink() && !self.fake_super {
            return None;
        }
        match have {
            _ if self.perms => Some(mode),
            Some(stat) if self.executability && entry.is_file() => {
                Some(with_executability(stat.mode, mode))
            }
            Some(stat) => Some(stat.mode),
            None => Some(Mode::from_st_mode(mode.bits() & 0o777 & !withheld.bits())),
        }
    }

    /// The flags of an item about an entry that is there: what differs of what is kept, besides
    /// ACLs and attributes. `begun` are flags that hold anyway.
    pub(super) fn differences(
        &self,
        entry: &FileEntry,
        want: &Want,
        have: &Stat,
        begun: ItemFlags,
        renamed: bool,
    ) -> ItemFlags {
        let mut flags = begun;
        let mut set = |flag, differs: bool| {
            if differs {
                flags |= flag;
            }
        };
        set(ItemFlags::SIZE, entry.is_file() && have.size != entry.len);
        set(
            ItemFlags::TIME,
            self.time_differs(entry, have, begun, renamed),
        );
        let atime = want
            .atime
            .is_some_and(|atime| self.times_differ(atime, have.atime));
        set(ItemFlags::ATIME, atime);
        set(
            ItemFlags::PERMS,
            want.mode.is_some_and(|mode| mode != have.mode),
        );
        set(
            ItemFlags::OWNER,
            want.uid.is_some_and(|uid| uid != have.owner.uid),
        );
        set(
            ItemFlags::GROUP,
            want.gid.is_some_and(|gid| gid != have.owner.gid),
        );
        flags
    }

    /// Where times are not kept, whatever is written has another one afterwards.
    fn time_differs(
        &self,
        entry: &FileEntry,
        have: &Stat,
        begun: ItemFlags,
        renamed: bool,
    ) -> bool {
        if self.keeps_time(entry) {
            return self.times_differ(entry.mtime, have.mtime);
        }
        let local = begun.has(ItemFlags::LOCAL) && !entry.is_dir();
        let local = local && (!begun.has(ItemFlags::NAME_FOLLOWS) || renamed);
        begun.has(ItemFlags::TRANSFER) || local
    }
}

/// The permissions of a file that gets another's executability: `--executability`.
fn with_executability(have: Mode, source: Mode) -> Mode {
    let (have_any, source_any) = (have.bits() & 0o111 != 0, source.bits() & 0o111 != 0);
    match (have_any, source_any) {
        (true, false) => Mode::from_st_mode(have.bits() & !0o111),
        (false, true) => Mode::from_st_mode(have.bits() | (have.bits() & 0o444) >> 2),
        _ => have,
    }
}

/// What kind of thing an entry is; `None` for one that is to be deleted.
pub(super) fn kind(entry: &FileEntry) -> Option<StatKind> {
    Some(match entry.mode & 0o170_000 {
        0o100_000 => StatKind::File,
        0o040_000 => StatKind::Directory,
        0o120_000 => StatKind::Symlink,
        0o020_000 => StatKind::CharDevice,
        0o060_000 => StatKind::BlockDevice,
        0o010_000 => StatKind::Fifo,
        0o140_000 => StatKind::Socket,
        _ => return None,
    })
}
