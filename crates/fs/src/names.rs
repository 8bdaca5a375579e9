//! The names in a directory, as they stream from the kernel.

use std::os::fd::OwnedFd;

use barge_types::{Name, NameError};
use nix::dir::{Dir, Entry, OwningIter, Type};
use nix::errno::Errno;

use crate::{Error, StatKind};

/// One name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The name.
    pub name: Name,
    /// What it is, where the file system says so; it may have changed since.
    pub kind: Option<StatKind>,
}

/// The names in a directory but `.` and `..`, in the order of the file system.
///
/// Holds one buffer of the kernel's answers, never the whole directory. Ends after an error of
/// `readdir`; a name that is none (a corrupt file system) is an error in its place.
#[derive(Debug)]
pub struct Names {
    entries: OwningIter,
    ended: bool,
}

impl Names {
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Error> {
        let dir = Dir::from_fd(fd).map_err(Error::of("readdir"))?;
        Ok(Self {
            entries: dir.into_iter(),
            ended: false,
        })
    }

    fn entry(&mut self) -> Option<nix::Result<Entry>> {
        if self.ended {
            return None;
        }
        let entry = self.entries.next();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}

impl Iterator for Names {
    type Item = Result<Listed, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.entry()? {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => return Some(listed(&entry)),
                Err(errno) => return Some(Err(Error::new("readdir", errno))),
            }
        }
    }
}

fn listed(entry: &Entry) -> Result<Listed, Error> {
    let name = Name::new(entry.file_name().to_bytes()).map_err(|refusal| match refusal {
        NameError::TooLong(_) => Error::new("readdir", Errno::ENAMETOOLONG),
        _ => Error::new("readdir", Errno::EIO),
    })?;
    let kind = entry.file_type().map(|kind| match kind {
        Type::File => StatKind::File,
        Type::Directory => StatKind::Directory,
        Type::Symlink => StatKind::Symlink,
        Type::CharacterDevice => StatKind::CharDevice,
        Type::BlockDevice => StatKind::BlockDevice,
        Type::Fifo => StatKind::Fifo,
        Type::Socket => StatKind::Socket,
    });
    Ok(Listed { name, kind })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use barge_types::RelPath;

    use super::*;
    use crate::trees::{name, roots};

    #[test]
    fn names_of_any_bytes_are_listed_again_each_time() {
        let mut names: BTreeSet<Name> = (1..=255u8)
            .filter(|byte| !b"./".contains(byte))
            .map(|byte| name([byte]))
            .collect();
        names.extend([name([b'\xff'; 255]), name("..."), name("a\nb"), name(" ")]);
        for (_folder, root) in roots() {
            let dir = root.dir(&RelPath::root()).unwrap();
            for name in &names {
                dir.make_dir(name).unwrap();
            }
            for _ in 0..2 {
                let listed: Vec<Listed> = dir.names().unwrap().map(Result::unwrap).collect();
                assert!(listed.iter().all(|l| l.kind == Some(StatKind::Directory)));
                let listed: BTreeSet<Name> = listed.into_iter().map(|l| l.name).collect();
                assert_eq!(listed, names);
            }
        }
    }
}
