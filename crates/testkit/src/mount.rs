//! Small file systems of a test's own. Needs root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Makes an ext4 of `mib` MiB, blocks of 4 KiB unless said otherwise, with further options of `mke2fs(8)` and mounts it at `at`,
    /// a directory that is made; its image lies beside it.
    ///
    /// # Errors
    ///
    /// With what the programs said, when this machine or this user cannot do it.
    pub fn ext4(at: &Path, mib: u64, options: &[&str]) -> io::Result<Self> {
        let image = at.with_extension("img");
        File::create(&image)?.set_len(mib << 20)?;
        fs::create_dir(at)?;
        let base = ["-q", "-F", "-t", "ext4", "-m", "0", "-b", "4096"];
        run(Command::new(tool("mke2fs"))
            .args(base)
            .args(options)
            .arg(&image))?;
        run(Command::new(tool("mount"))
            .args(["-o", "loop"])
            .arg(&image)
            .arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// Mounts a tmpfs with `options` of `tmpfs(5)` at `at`, a directory that is made.
    ///
    /// # Errors
    ///
    /// As [`Self::ext4`].
    pub fn tmpfs(at: &Path, options: &str) -> io::Result<Self> {
        fs::create_dir(at)?;
        run(Command::new(tool("mount"))
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// Changes the options of the mount: `size=64m`, `ro`.
    ///
    /// # Errors
    ///
    /// As [`Self::ext4`].
    pub fn remount(&self, options: &str) -> io::Result<()> {
        let options = format!("remount,{options}");
        run(Command::new(tool("mount"))
            .args(["-o", &options])
            .arg(&self.0))
    }

    /// The root of the file system.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process under test that is still being reaped must not leave the mount behind.
        let _ = run(Command::new(tool("umount")).arg("-l").arg(&self.0));
    }
}

/// An image as a block device, which is given back when dropped.
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Makes an image of `len` bytes at `image` and a device of it.
    ///
    /// # Errors
    ///
    /// As [`Mounted::ext4`].
    pub fn new(image: &Path, len: u64) -> io::Result<Self> {
        File::create(image)?.set_len(len)?;
        Self::attach(image, &[])
    }

    /// A device of an image, with further options of `losetup(8)`: `--read-only`.
    ///
    /// # Errors
    ///
    /// As [`Mounted::ext4`].
    pub fn attach(image: &Path, options: &[&str]) -> io::Result<Self> {
        let mut losetup = Command::new(tool("losetup"));
        losetup.args(["--find", "--show"]).args(options).arg(image);
        let output = losetup.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(format!("losetup: {said}")));
        }
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self(name.into()))
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Nothing to do about it: it stays until the machine ends.
        let _ = run(Command::new(tool("losetup")).arg("--detach").arg(&self.0));
    }
}

/// A program by its name, also where an ordinary user's `PATH` does not look.
pub(crate) fn tool(name: &str) -> PathBuf {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
    let mut paths = places.iter().map(|place| Path::new(place).join(name));
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| name.into())
}

fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let line = format!("{name} {}", arguments.join(" "));
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{line}: {said}")))
}
