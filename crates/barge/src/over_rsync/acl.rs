//! ACLs between their form on the wire and the attribute in which Linux keeps them.
//!
//! The attribute's form is that of `<linux/posix_acl_xattr.h>`. Source of the other: the rsync
//! protocol as recorded between two stock 3.5.0 peers.

use barge_rsync::wire::attrs::{Acl, AclEntry};

/// The attribute of an access ACL.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";

/// The attribute of a directory's default ACL.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The value of an access ACL's attribute; `None` when the mode says all there is to say.
pub(crate) fn access_value(acl: &Acl, mode: u32) -> Option<Box<[u8]>> {
    if acl.named.is_empty() && acl.mask.is_none() {
        return None;
    }
    let of_group = bits(mode, 3);
    let full = Full {
        user_obj: bits(mode, 6),
        group_obj: acl.group_obj.unwrap_or(of_group),
        mask: Some(acl.mask.unwrap_or(of_group)),
        other: bits(mode, 0),
        named: &acl.named,
    };
    Some(full.encode())
}

/// The value of a default ACL's attribute; `None` when the directory has none.
pub(crate) fn default_value(acl: &Acl) -> Option<Box<[u8]>> {
    let bare = [acl.user_obj, acl.group_obj, acl.mask, acl.other];
    if acl.named.is_empty() && bare.iter().all(Option::is_none) {
        return None;
    }
    let group_obj = acl.group_obj.unwrap_or(0);
    let all = acl
        .named
        .iter()
        .fold(group_obj, |all, entry| all | entry.perms);
    let full = Full {
        user_obj: acl.user_obj.unwrap_or(0),
        group_obj,
        mask: acl.mask.or((!acl.named.is_empty()).then_some(all)),
        other: acl.other.unwrap_or(0),
        named: &acl.named,
    };
    Some(full.encode())
}

/// The permissions a directory's default ACL leaves to new entries, as bits of a mode; `None` when
/// the value is none of an ACL.
pub(crate) fn default_perms(value: &[u8]) -> Option<u32> {
    let acl = decode(value)?;
    let group = acl.mask.or(acl.group_obj)?;
    Some(u32::from(acl.user_obj?) << 6 | u32::from(group) << 3 | u32::from(acl.other?))
}

/// The ACL in an attribute's value, with all it has; `None` when it is none.
pub(crate) fn decode(value: &[u8]) -> Option<Acl> {
    let (version, mut entries) = value.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION || entries.len() % ENTRY != 0 {
        return None;
    }
    let mut acl = Acl::default();
    while let Some((entry, rest)) = entries.split_first_chunk::<ENTRY>() {
        entries = rest;
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let perms = (u16::from_le_bytes([entry[2], entry[3]]) & 7) as u8;
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let named = |is_user| AclEntry { is_user, id, perms };
        match tag {
            USER_OBJ => acl.user_obj = Some(perms),
            GROUP_OBJ => acl.group_obj = Some(perms),
            MASK => acl.mask = Some(perms),
            OTHER => acl.other = Some(perms),
            USER => acl.named.push(named(true)),
            GROUP => acl.named.push(named(false)),
            _ => return None,
        }
    }
    acl.named.sort_by_key(|entry| (!entry.is_user, entry.id));
    Some(acl)
}

/// An ACL of which nothing is left out.
struct Full<'a> {
    user_obj: u8,
    group_obj: u8,
    mask: Option<u8>,
    other: u8,
    named: &'a [AclEntry],
}

impl Full<'_> {
    fn encode(&self) -> Box<[u8]> {
        let mut value = VERSION.to_le_bytes().to_vec();
        let mut put = |tag: u16, perms: u8, id: u32| {
            value.extend(tag.to_le_bytes());
            value.extend(u16::from(perms).to_le_bytes());
            value.extend(id.to_le_bytes());
        };
        let mut named: Vec<_> = self.named.iter().collect();
        named.sort_by_key(|entry| entry.id);
        let (users, groups): (Vec<&AclEntry>, Vec<&AclEntry>) =
            named.into_iter().partition(|entry| entry.is_user);
        put(USER_OBJ, self.user_obj, NO_ID);
        users
            .iter()
            .for_each(|entry| put(USER, entry.perms, entry.id));
        put(GROUP_OBJ, self.group_obj, NO_ID);
        groups
            .iter()
            .for_each(|entry| put(GROUP, entry.perms, entry.id));
        if let Some(mask) = self.mask {
            put(MASK, mask, NO_ID);
        }
        put(OTHER, self.other, NO_ID);
        value.into()
    }
}

fn bits(mode: u32, shift: u32) -> u8 {
    (mode >> shift & 7) as u8
}

const VERSION: u32 = 2;
const ENTRY: usize = 8;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;
const NO_ID: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(is_user: bool, id: u32, perms: u8) -> AclEntry {
        AclEntry { is_user, id, perms }
    }

    #[test]
    fn plain_mode_needs_no_attribute() {
        assert_eq!(access_value(&Acl::default(), 0o100_644), None);
        assert_eq!(default_value(&Acl::default()), None);
    }

    #[test]
    fn what_the_wire_leaves_out_of_an_access_acl_comes_from_the_mode() {
        // The access ACL of `f1` in appendix A.3 of the recorded pull: mode 0674, user 4321 rwx,
        // group 8888 r-x, group r--.
        let acl = Acl {
            group_obj: Some(4),
            named: vec![named(true, 4321, 7), named(false, 8888, 5)],
            ..Acl::default()
        };
        let value = access_value(&acl, 0o100_674).unwrap();
        let full = Acl {
            user_obj: Some(6),
            group_obj: Some(4),
            mask: Some(7),
            other: Some(4),
            ..acl
        };
        assert_eq!(decode(&value), Some(full));
    }

    #[test]
    fn default_acl_without_a_mask_gets_what_all_its_entries_have() {
        let acl = Acl {
            user_obj: Some(7),
            group_obj: Some(1),
            other: Some(0),
            named: vec![named(false, 9, 2), named(true, 5, 4)],
            ..Acl::default()
        };
        let decoded = decode(&default_value(&acl).unwrap()).unwrap();
        assert_eq!(decoded.mask, Some(7));
        assert_eq!(decoded.named, [named(true, 5, 4), named(false, 9, 2)]);
        assert_eq!(default_perms(&default_value(&acl).unwrap()), Some(0o770));
    }

    #[test]
    fn value_that_is_no_acl_is_refused() {
        for value in [
            &b""[..],
            &[2, 0, 0],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(decode(value), None, "{value:?}");
        }
    }
}
