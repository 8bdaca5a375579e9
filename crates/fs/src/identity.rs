//! Who this process is, as far as it decides what it may set.

use std::fs;

use barge_types::Mode;
use nix::unistd::{Gid, Uid, getgroups};

/// Who this process is to the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// All groups it is a member of, the effective one included.
    pub groups: Vec<u32>,
    /// The bits that new entries do not get, unless their directory has a default ACL.
    pub umask: Mode,
}

impl Identity {
    /// The one of this process. Where `/proc` does not tell the umask, 022 is taken for it.
    pub fn of_process() -> Self {
        let gid = Gid::effective().as_raw();
        // A process whose groups cannot be asked for is at least in its own.
        let mut groups: Vec<u32> = getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(Gid::as_raw)
            .collect();
        if !groups.contains(&gid) {
            groups.push(gid);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            uid: Uid::effective().as_raw(),
            gid,
            groups,
            umask: umask_in(&status).unwrap_or(Mode::from_st_mode(0o022)),
        }
    }

    /// Whether it is root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// The umask in the text of `proc_pid_status(5)`: there is no call that only asks for it.
fn umask_in(status: &str) -> Option<Mode> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    Mode::new(u32::from_str_radix(line.trim(), 8).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn umask_is_read_where_it_is_told() {
        let text = "Name:\tbarge\nUmask:\t0027\nState:\tR (running)\n";
        assert_eq!(umask_in(text), Mode::new(0o027));
        assert_eq!(umask_in("Name:\tbarge\n"), None);
        assert_eq!(umask_in("Umask:\t0999\n"), None);
    }

    #[test]
    fn process_is_in_its_own_group() {
        let identity = Identity::of_process();
        assert!(identity.groups.contains(&identity.gid));
    }
}
