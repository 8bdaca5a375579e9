//! Who is at which end of a run, and how it is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use barge_testkit::mover::program;

/// The way of the data, and what carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// A client sends to a daemon.
    PushDaemon,
    /// A client receives from a daemon.
    PullDaemon,
    /// A client sends to `--server` through a remote shell.
    PushShell,
    /// A client receives from `--server --sender` through a remote shell.
    PullShell,
    /// Both ends are one client's.
    Local,
}

impl Role {
    /// Its part of a case's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PushDaemon => "push-daemon",
            Self::PullDaemon => "pull-daemon",
            Self::PushShell => "push-shell",
            Self::PullShell => "pull-shell",
            Self::Local => "local",
        }
    }

    /// Whether a daemon is at the other end.
    pub(crate) fn is_daemon(self) -> bool {
        matches!(self, Self::PushDaemon | Self::PullDaemon)
    }

    /// Whether the client sends.
    pub(crate) fn is_push(self) -> bool {
        !matches!(self, Self::PullDaemon | Self::PullShell)
    }
}

/// Which rsync plays which part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cast {
    /// The process the user starts.
    pub(crate) client: Player,
    /// The other end.
    pub(crate) server: Player,
}

/// An rsync.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Player {
    /// The installed one.
    Stock,
    /// The one that is judged.
    Ours,
}

impl Player {
    /// The words of its command line, without arguments.
    fn words(self) -> Vec<OsString> {
        match self {
            Self::Stock => vec!["rsync".into()],
            Self::Ours => match std::env::var_os("INTEROP_SUBJECT") {
                Some(path) => vec![path],
                None => vec![program().unwrap().into(), "rsync".into()],
            },
        }
    }

    fn line(self) -> OsString {
        let mut line = OsString::new();
        for word in self.words() {
            line.push(word);
            line.push(" ");
        }
        line
    }
}

/// What one run is made of.
pub(crate) struct Run<'a> {
    /// Who plays.
    pub(crate) cast: Cast,
    /// Which way.
    pub(crate) role: Role,
    /// The folder of the run: `target` is in it, and all that options name.
    pub(crate) folder: &'a Path,
    /// The folder that holds the source `source`.
    pub(crate) stage: &'a Path,
    /// Options of the client.
    pub(crate) options: Vec<OsString>,
    /// What of the source is asked for, below the folder that holds it.
    pub(crate) from: &'a [&'a str],
    /// Where it goes, below the run's folder; absent for a listing.
    pub(crate) to: Option<&'a str>,
    /// Whether it runs as an ordinary user.
    pub(crate) nobody: bool,
    /// Whether a daemon changes its root to the module.
    pub(crate) chroot: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code of the client; 128 and more for signals.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
    /// Log files by their names.
    pub(crate) logs: BTreeMap<String, Vec<u8>>,
}

impl Run<'_> {
    /// Plays it.
    ///
    /// # Errors
    ///
    /// When a program cannot be started.
    pub(crate) fn play(&self) -> io::Result<Ended> {
        self.prepare()?;
        let mut words = Vec::new();
        if self.nobody {
            let ids = [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--",
            ];
            words.extend(ids.map(OsString::from));
        }
        words.extend(["timeout", "--kill-after=1", "10"].map(OsString::from));
        words.extend(self.cast.client.words());
        words.extend(self.arguments());
        let output = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .current_dir(self.folder)
            .env_clear()
            .envs([
                ("LC_ALL", "C.UTF-8"),
                ("TZ", "UTC"),
                ("HOME", "/nonexistent"),
            ])
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RSYNC_CONNECT_PROG", self.daemon())
            .output()?;
        let code = output.status.code().unwrap_or(128);
        let (stdout, stderr) = (output.stdout, output.stderr);
        let logs = self.logs()?;
        Ok(Ended {
            code,
            stdout,
            stderr,
            logs,
        })
    }

    fn prepare(&self) -> io::Result<()> {
        let root = nix::unistd::geteuid().is_root() && !self.nobody;
        let ids = if root { "uid = 0\ngid = 0\n" } else { "" };
        let (folder, stage) = (self.folder.display(), self.stage.display());
        let chroot = if self.chroot { "yes" } else { "no" };
        let daemon = format!(
            "use chroot = {chroot}\nmunge symlinks = no\nlog file = {folder}/daemon.log\n{ids}\
             [stage]\npath = {stage}\nread only = no\n\
             [folder]\npath = {folder}\nread only = no\n\
             [logged]\npath = {folder}\nread only = no\ntransfer logging = yes\n"
        );
        fs::write(self.folder.join("rsyncd.conf"), daemon)?;
        // As ssh does it: the words are joined and read by a shell again.
        let shell = self.folder.join("shell");
        fs::write(&shell, "#!/bin/sh\nshift\nexec sh -c \"$*\"\n")?;
        fs::set_permissions(shell, fs::Permissions::from_mode(0o755))
    }

    fn daemon(&self) -> OsString {
        let mut line = self.cast.server.line();
        line.push("--config=");
        line.push(self.folder.join("rsyncd.conf"));
        line.push(" --daemon");
        line
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut words = self.options.clone();
        if matches!(self.role, Role::PushShell | Role::PullShell) {
            let mut path = OsString::from("--rsync-path=");
            path.push(self.cast.server.line());
            words.extend(["-e".into(), "./shell".into(), path]);
        }
        for from in self.from {
            words.push(match self.role {
                Role::PullDaemon => format!("host::stage/{from}").into(),
                Role::PullShell => joined("host:", self.stage, from),
                _ => joined("", self.stage, from),
            });
        }
        words.extend(self.to.map(|to| match self.role {
            Role::PushDaemon => format!("host::folder/{to}").into(),
            Role::PushShell => joined("host:", self.folder, to),
            _ => joined("", self.folder, to),
        }));
        words
    }

    fn logs(&self) -> io::Result<BTreeMap<String, Vec<u8>>> {
        let mut logs = BTreeMap::new();
        for name in ["client.log", "daemon.log"] {
            match fs::read(self.folder.join(name)) {
                Ok(text) => drop(logs.insert(name.to_owned(), text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(logs)
    }
}

fn joined(host: &str, folder: &Path, name: &str) -> OsString {
    let mut word = OsString::from(host);
    word.push(folder);
    word.push("/");
    word.push(std::ffi::OsStr::from_bytes(name.as_bytes()));
    word
}

/// Whether this machine has the rsync that everything is measured by, and which.
pub(crate) fn stock_version() -> Option<String> {
    let output = Command::new("rsync").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.split_whitespace().nth(2)?.to_owned())
}

/// The folder of tests.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}
