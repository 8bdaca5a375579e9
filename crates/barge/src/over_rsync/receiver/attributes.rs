//! Owner, permissions, times, ACLs and extended attributes: what an entry is to have here.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use barge_delta::{Checksum, WholeDigest};
use barge_fs::{Dir, Error, Identity, Stat};
use barge_rsync::Chmod;
use barge_rsync::options::Options;
use barge_rsync::wire::attrs::{Acl, LongValue, XattrSet, XattrValue};
use barge_rsync::wire::entry::FileEntry;
use barge_rsync::wire::idlist::IdNames;
use barge_rsync::wire::iflags::ItemFlags;
use barge_types::{Mode, Xattr, XattrName};
use bytes::Bytes;

use super::decide::{Mapped, Rules, Want};
use crate::filter::{RuleList, RuleSide};
use crate::over_rsync::acl;
use crate::over_rsync::fake_super;
use crate::over_rsync::owners::{HostAccounts, Owners};

/// What of entries is kept beside their content, and how it is named on this side.
pub(super) struct Attributes {
    pub(super) rules: Rules,
    umask: Mode,
    chmod: Chmod,
    acls: bool,
    /// 0, 1, or 2: rsync's own names too.
    xattrs: u8,
    privileged: bool,
    pub(super) is_root: bool,
    filters: RuleList,
    owners: RwLock<Owners>,
}

/// ACLs and extended attributes that an entry is to have.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Sorted by name.
    pub(super) xattrs: Vec<Xattr>,
    /// Numbers of those whose values are to be asked for.
    pub(super) missing: Vec<u32>,
    /// Long values that are here already, by number.
    pub(super) known: Vec<(u32, Bytes)>,
    /// What differs of what is there.
    pub(super) flags: ItemFlags,
}

impl Attributes {
    /// `incoming` is what a module makes of permissions.
    pub(super) fn new(
        options: &Options,
        incoming: Option<&Vec<u8>>,
        identity: &Identity,
        filters: RuleList,
        owners: Owners,
    ) -> Self {
        let mut chmod = Chmod::default();
        // A server's client has done its own; the parser of either has refused what is none.
        let own = options.chmod.iter().filter(|_| !options.server);
        for text in own.chain(incoming) {
            chmod.add(text);
        }
        let privileged = options.as_super.unwrap_or(identity.is_root());
        let sets_any = privileged || options.fake_super;
        Self {
            rules: Rules::new(options, sets_any, identity.groups.clone()),
            umask: identity.umask,
            chmod,
            acls: options.acls,
            xattrs: options.xattrs,
            privileged,
            is_root: identity.is_root(),
            filters,
            owners: RwLock::new(owners),
        }
    }

    /// Hears what the sender's users and groups are called, as [`Owners::learn`] does.
    pub(super) fn learn<'n>(&self, names: &'n IdNames) -> Vec<(&'n [u8], Error)> {
        if names.users.is_empty() && names.groups.is_empty() {
            return Vec::new();
        }
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        owners.learn(names, &HostAccounts)
    }

    fn owners(&self) -> RwLockReadGuard<'_, Owners> {
        self.owners.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an entry is to have. `have` is what is there already.
    pub(super) fn want(&self, entry: &FileEntry, have: Option<&Stat>) -> Want {
        self.rules.want(entry, self.mapped(entry), have, self.umask)
    }

    /// The same of an entry that is made in a directory: its default ACL, where there is one,
    /// stands in for the umask (acl(5), «OBJECT CREATION AND DEFAULT ACLs»).
    pub(super) fn want_in(&self, dir: &Dir, entry: &FileEntry, have: Option<&Stat>) -> Want {
        let is_new = have.is_none() && !self.rules.keeps_permissions();
        let withheld = is_new.then(|| self.withheld_in(dir)).flatten();
        let withheld = withheld.unwrap_or(self.umask);
        self.rules.want(entry, self.mapped(entry), have, withheld)
    }

    /// The bits of a mode that a directory's default ACL does not leave to new entries.
    fn withheld_in(&self, dir: &Dir) -> Option<Mode> {
        let found = dir.xattrs_of_self(&|name| name.as_bytes() == acl::DEFAULT);
        let perms = acl::default_perms(&found.ok()?.first()?.value)?;
        Some(Mode::from_st_mode(!perms & 0o777))
    }

    /// A time that counts as the same is left alone. That of a file whose content was compared is
    /// set to the nanosecond, as far as the sender told it.
    pub(super) fn leave_time(&self, want: &mut Want, entry: &FileEntry, have: &Stat) {
        let exact = self.rules.checksum && entry.is_file();
        want.mtime = want.mtime.filter(|&mtime| match exact {
            true => mtime != have.mtime,
            false => self.rules.times_differ(mtime, have.mtime),
        });
    }

    fn mapped(&self, entry: &FileEntry) -> Mapped {
        let owners = self.owners();
        Mapped {
            uid: owners.user(entry.uid),
            gid: owners.group(entry.gid),
            mode: self.permissions(entry),
        }
    }

    fn permissions(&self, entry: &FileEntry) -> Mode {
        if self.chmod.is_empty() || entry.is_symlink() {
            return Mode::from_st_mode(entry.mode);
        }
        let umask = self.umask.bits();
        Mode::from_st_mode(self.chmod.apply(entry.mode, entry.is_dir(), umask))
    }

    /// Whether entries have ACLs or attributes that are kept.
    pub(super) fn keeps_any(&self) -> bool {
        self.acls || self.xattrs > 0 || self.is_fake()
    }

    /// Whether files stand for what only a super-user can make: `--fake-super`.
    pub(super) fn is_fake(&self) -> bool {
        self.rules.fake_super
    }

    /// Whether an attribute of a file here is the source's to decide about.
    pub(super) fn carries(&self, name: &XattrName) -> bool {
        if !self.is_fake() {
            return self.takes(name);
        }
        match name.as_bytes() {
            fake_super::STAT => true,
            fake_super::ACCESS | fake_super::DEFAULT => self.acls,
            _ => fake_super::name_of_kept(name).is_some_and(|name| self.takes(&name)),
        }
    }

    /// The same of an attribute as its source calls it.
    fn takes(&self, name: &XattrName) -> bool {
        let bytes = name.as_bytes();
        if name.is_acl() {
            return self.acls;
        }
        if self.xattrs == 0 || (self.xattrs < 2 && bytes.starts_with(fake_super::OURS)) {
            return false;
        }
        if self.filters.has_xattr_rules() {
            return !self.filters.excludes_xattr(bytes, RuleSide::Receiving);
        }
        match self.privileged || self.is_fake() {
            true => !bytes.starts_with(b"system."),
            false => bytes.starts_with(b"user."),
        }
    }

    /// What an entry is to have, given what is there; without `there` the entry is new. `known`
    /// are long values that were found here before, by number.
    pub(super) fn resolve(
        &self,
        entry: &FileEntry,
        there: Option<&[Xattr]>,
        known: &[(u32, Bytes)],
    ) -> Resolved {
        let mut resolved = Resolved::default();
        if let Some(set) = &entry.xattrs {
            resolved.known = known.to_vec();
            self.resolve_set(set, there.unwrap_or_default(), &mut resolved);
        }
        let wanted = resolved.xattrs.len() + resolved.missing.len();
        self.resolve_acls(entry, &mut resolved);
        resolved.xattrs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        match there {
            Some(there) => resolved.flags = differences(&resolved, there),
            None if wanted > 0 => resolved.flags = ItemFlags::XATTR,
            None => {}
        }
        resolved
    }

    fn resolve_set(&self, set: &XattrSet, there: &[Xattr], resolved: &mut Resolved) {
        for (number, attr) in (1..).zip(set.attrs()) {
            let Some(name) = XattrName::new(attr.name()).filter(|name| self.takes(name)) else {
                continue;
            };
            if name.is_acl() {
                continue;
            }
            let value: Box<[u8]> = match attr.value() {
                XattrValue::Short(value) => value.clone(),
                XattrValue::Long(long) => match resolved.long(number, long, &name, there) {
                    Some(value) => value,
                    None => {
                        resolved.missing.push(number);
                        continue;
                    }
                },
            };
            resolved.xattrs.push(Xattr { name, value });
        }
    }

    fn resolve_acls(&self, entry: &FileEntry, resolved: &mut Resolved) {
        let mut add = |name: &[u8], value: Option<Box<[u8]>>| {
            let name = XattrName::new(name).expect("a short word");
            if let Some(value) = value {
                resolved.xattrs.push(Xattr { name, value });
            }
        };
        if let Some(acl) = entry.acl.as_deref() {
            add(
                acl::ACCESS,
                acl::access_value(&self.mapped_acl(acl), entry.mode),
            );
        }
        if let Some(acl) = entry.extra().default_acl.as_deref() {
            add(acl::DEFAULT, acl::default_value(&self.mapped_acl(acl)));
        }
    }

    fn mapped_acl(&self, acl: &Acl) -> Acl {
        let owners = self.owners();
        let mut acl = acl.clone();
        for entry in &mut acl.named {
            entry.id = match entry.is_user {
                true => owners.user(entry.id),
                false => owners.group(entry.id),
            };
        }
        acl
    }
}

impl Resolved {
    /// A long value: one that came, or that is here.
    fn long(
        &mut self,
        number: u32,
        long: &LongValue,
        name: &XattrName,
        there: &[Xattr],
    ) -> Option<Box<[u8]>> {
        let known = self.known.iter().find(|(known, _)| *known == number);
        if let Some(value) = known.map(|known| &known.1).or(long.fetched()) {
            return Some(value[..].into());
        }
        let value = local(long, name, there)?;
        self.known.push((number, Bytes::copy_from_slice(value)));
        Some(value.into())
    }
}

/// The value that is here, when it is the one that a list has the digest of.
fn local<'a>(long: &LongValue, name: &XattrName, there: &'a [Xattr]) -> Option<&'a [u8]> {
    let here = there.iter().find(|xattr| xattr.name == *name)?;
    let mut digest = WholeDigest::new(Checksum::Md5);
    digest.update(&here.value);
    (digest.finish().as_bytes() == long.digest).then_some(&here.value)
}

fn differences(resolved: &Resolved, there: &[Xattr]) -> ItemFlags {
    let differ = |acl: bool| {
        let of = |xattr: &&Xattr| xattr.name.is_acl() == acl;
        !resolved
            .xattrs
            .iter()
            .filter(of)
            .eq(there.iter().filter(of))
    };
    let mut flags = ItemFlags::default();
    if differ(true) {
        flags |= ItemFlags::ACL;
    }
    if differ(false) || !resolved.missing.is_empty() {
        flags |= ItemFlags::XATTR;
    }
    flags
}
