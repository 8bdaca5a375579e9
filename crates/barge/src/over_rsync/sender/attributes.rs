//! ACLs and extended attributes of what is listed, as they cross the wire.

use std::sync::Arc;

use barge_delta::{Checksum, WholeDigest};
use barge_rsync::options::Options;
use barge_rsync::wire::attrs::{Acl, MAX_SHORT_VALUE, Xattr as WireXattr, XattrSet};
use barge_rsync::wire::entry::FileEntry;
use barge_types::{Xattr, XattrName};

use crate::filter::Scope;
use crate::over_rsync::acl;
use crate::over_rsync::fake_super;

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
            is_root,
        }
    }

    /// Whether no attribute at all is read.
    pub(super) fn is_nothing(&self) -> bool {
        !self.acls && self.xattrs == 0 && !self.fake_super
    }

    /// Whether this one is read of what is in a directory of `scope`.
    pub(super) fn carries(&self, name: &XattrName, scope: &Scope) -> bool {
        match name.as_bytes() {
            // Those of what stands for an entry are not the entry's.
            acl::ACCESS | acl::DEFAULT => self.acls && !self.fake_super,
            fake_super::STAT if self.fake_super => true,
            fake_super::ACCESS | fake_super::DEFAULT if self.fake_super && self.acls => true,
            name => self.lists(name, scope),
        }
    }

    /// Whether it goes into the list as an attribute.
    fn lists(&self, name: &[u8], scope: &Scope) -> bool {
        if self.xattrs == 0 || name.starts_with(b"system.") {
            return false;
        }
        if name.starts_with(fake_super::OURS) {
            return self.xattrs > 1 && !self.fake_super;
        }
        // Rules about attributes are asked instead of the usual choice.
        if scope.has_xattr_rules() {
            let kept = XattrName::new(name).filter(|_| self.fake_super);
            let stands_for = kept.and_then(|kept| fake_super::name_of_kept(&kept));
            let excluded = |name: XattrName| scope.excludes_xattr(name.as_bytes());
            return !scope.excludes_xattr(name) && !stands_for.is_some_and(excluded);
        }
        self.is_root || name.starts_with(b"user.")
    }
}

/// What was read of an entry, sorted out.
#[derive(Default)]
pub(super) struct Attributes {
    access: Option<Acl>,
    default: Option<Acl>,
    /// The text of what `--fake-super` keeps.
    pub(super) fake_stat: Option<Box<[u8]>>,
    listed: Vec<Xattr>,
}

impl Attributes {
    pub(super) fn sort(xattrs: Vec<Xattr>, fake_super: bool) -> Self {
        let mut sorted = Self::default();
        for xattr in xattrs {
            match xattr.name.as_bytes() {
                acl::ACCESS => sorted.access = acl::decode(&xattr.value),
                acl::DEFAULT => sorted.default = acl::decode(&xattr.value),
                fake_super::STAT if fake_super => sorted.fake_stat = Some(xattr.value),
                fake_super::ACCESS if fake_super => {
                    sorted.access = fake_super::parse_acl(&xattr.value);
                }
                fake_super::DEFAULT if fake_super => {
                    sorted.default = fake_super::parse_acl(&xattr.value);
                }
                _ => sorted.listed.push(xattr),
            }
        }
        if fake_super {
            sorted.listed = by_names_of_kept(sorted.listed);
        }
        sorted
    }

    /// Gives an entry what was read.
    pub(super) fn put(self, entry: &mut FileEntry, options: &Options) {
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

/// Attributes by the names that `--fake-super` keeps them for. One of the file itself counts where
/// none is kept.
fn by_names_of_kept(read: Vec<Xattr>) -> Vec<Xattr> {
    let is_kept = |xattr: &Xattr| {
        let name = fake_super::name_of_kept(&xattr.name);
        name.is_some_and(|name| name != xattr.name)
    };
    let (kept, own): (Vec<_>, Vec<_>) = read.into_iter().partition(is_kept);
    let unkept = kept.into_iter().filter_map(|Xattr { name, value }| {
        let name = fake_super::name_of_kept(&name)?;
        Some(Xattr { name, value })
    });
    let mut listed: Vec<_> = unkept.chain(own).collect();
    // Stable: what is kept stays before what is the file's own, which goes.
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed.dedup_by(|later, first| later.name == first.name);
    listed
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_listed_by_its_name_and_before_what_the_file_has_itself() {
        let xattr = |name: &str, value: &str| Xattr {
            name: XattrName::new(name.as_bytes()).unwrap(),
            value: value.as_bytes().into(),
        };
        let read = vec![
            xattr("security.own", "1"),
            xattr("trusted.t", "2"),
            xattr("user.rsync.other", "3"),
            xattr("user.rsync.trusted.t", "4"),
            xattr("user.u", "5"),
        ];
        let listed = vec![
            xattr("security.own", "1"),
            xattr("trusted.t", "4"),
            xattr("user.rsync.other", "3"),
            xattr("user.u", "5"),
        ];
        assert_eq!(by_names_of_kept(read), listed);
    }
}
