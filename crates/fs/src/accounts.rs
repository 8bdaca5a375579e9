//! Names and numbers of users and groups, as this host knows them.

use nix::unistd::{Gid, Group, Uid, User};

/// The name of a user; `None` when this host knows none.
pub fn user_name(uid: u32) -> Option<Vec<u8>> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    Some(user.name.into_bytes())
}

/// The name of a group; `None` when this host knows none.
pub fn group_name(gid: u32) -> Option<Vec<u8>> {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten()?;
    Some(group.name.into_bytes())
}

/// The number of a user; `None` when this host knows none of that name.
pub fn user_id(name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?;
    let user = User::from_name(name).ok().flatten()?;
    Some(user.uid.as_raw())
}

/// The number of a group; `None` when this host knows none of that name.
pub fn group_id(name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?;
    let group = Group::from_name(name).ok().flatten()?;
    Some(group.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        assert_eq!(user_name(0), Some(b"root".to_vec()));
        assert_eq!((user_id(b"root"), group_id(b"root")), (Some(0), Some(0)));
        assert_eq!(group_name(0), Some(b"root".to_vec()));
        assert_eq!(user_id(b"nobody by this name"), None);
        assert_eq!(user_id(b"\xff"), None);
    }
}
