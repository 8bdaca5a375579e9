//! Places for test data that are gone after the test.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::held::Held;

/// A folder of its own, removed when dropped, whatever modes its directories got.
pub struct Scratch(TempDir);

impl Scratch {
    /// A folder in memory where `/dev/shm` can be written, else in `TMPDIR` or `/tmp`.
    ///
    /// # Errors
    ///
    /// When neither can be written.
    pub fn new() -> io::Result<Self> {
        let name = "barge-test-";
        let made = tempfile::Builder::new().prefix(name).tempdir_in("/dev/shm");
        let made = made.or_else(|_| tempfile::Builder::new().prefix(name).tempdir())?;
        // Agents of other users must reach what is below.
        fs::set_permissions(made.path(), Permissions::from_mode(0o755))?;
        Ok(Self(made))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in the folder; nothing is made.
    pub fn join(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path().join(name.as_ref())
    }

    /// Makes an empty directory in the folder.
    ///
    /// # Errors
    ///
    /// As `mkdir(2)`.
    pub fn dir(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if fs::remove_dir_all(self.path()).is_err()
            && let Ok(held) = Held::open(self.path())
        {
            unlock(&held);
        }
    }
}

/// Gives every directory below a mode that lets its owner empty it.
fn unlock(held: &Held) {
    for name in held.names().unwrap_or_default() {
        if let Ok(inner) = held.enter(&name) {
            // Through its parent: a directory of mode 0 cannot be named from within. A failure
            // leaves a directory behind in a place for temporary files, no more.
            let _ = fs::set_permissions(held.at(&name), Permissions::from_mode(0o700));
            unlock(&inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_goes_with_directories_that_nobody_may_enter() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        let (outer, inner) = (path.join("a"), path.join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        for dir in [inner, outer] {
            fs::set_permissions(dir, Permissions::from_mode(0o000)).unwrap();
        }
        drop(scratch);
        assert!(!path.exists());
    }
}
