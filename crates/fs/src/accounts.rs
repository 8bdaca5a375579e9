//! Names and numbers of users and groups, as this host knows them.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};

use crate::Error;

/// The name of a user; `None` when this host knows none.
///
/// # Errors
///
/// `getpwuid`, when what this host knows could not be read.
pub fn user_name(uid: u32) -> Result<Option<Vec<u8>>, Error> {
    let user = known("getpwuid", User::from_uid(Uid::from_raw(uid)))?;
    Ok(user.map(|user| user.name.into_bytes()))
}

/// The name of a group; `None` when this host knows none.
///
/// # Errors
///
/// `getgrgid`, when what this host knows could not be read.
pub fn group_name(gid: u32) -> Result<Option<Vec<u8>>, Error> {
    let group = known("getgrgid", Group::from_gid(Gid::from_raw(gid)))?;
    Ok(group.map(|group| group.name.into_bytes()))
}

/// The number of a user; `None` when this host knows none of that name.
///
/// # Errors
///
/// `getpwnam`, when what this host knows could not be read.
pub fn user_id(name: &[u8]) -> Result<Option<u32>, Error> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Ok(None);
    };
    let user = known("getpwnam", User::from_name(name))?;
    Ok(user.map(|user| user.uid.as_raw()))
}

/// The number of a group; `None` when this host knows none of that name.
///
/// # Errors
///
/// `getgrnam`, when what this host knows could not be read.
pub fn group_id(name: &[u8]) -> Result<Option<u32>, Error> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Ok(None);
    };
    let group = known("getgrnam", Group::from_name(name))?;
    Ok(group.map(|group| group.gid.as_raw()))
}

/// What a call found. Some numbers say only that there is none (`getpwnam(3)`).
fn known<T>(op: &'static str, found: nix::Result<Option<T>>) -> Result<Option<T>, Error> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => found.map_err(Error::of(op)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        assert_eq!(user_name(0), Ok(Some(b"root".to_vec())));
        assert_eq!(group_name(0), Ok(Some(b"root".to_vec())));
        assert_eq!(user_id(b"root"), Ok(Some(0)));
        assert_eq!(group_id(b"root"), Ok(Some(0)));
        assert_eq!(user_id(b"nobody by this name"), Ok(None));
        assert_eq!(user_id(b"\xff"), Ok(None));
    }

    #[test]
    fn failed_look_up_is_none_that_found_nothing() {
        assert_eq!(known::<u32>("getpwnam", Err(Errno::ENOENT)), Ok(None));
        let failed = known::<u32>("getpwnam", Err(Errno::EIO));
        assert_eq!(failed, Err(Error::new("getpwnam", Errno::EIO)));
    }
}
