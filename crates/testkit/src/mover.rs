//! The mover itself at both ends: finds the program, starts it, reads its reports.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::geteuid;
use serde_json::Value;

use crate::mount::tool;
use crate::peer::{Ended, Route, Running};
use crate::scratch::Scratch;

/// The name the target's identity is made for, and the route knows it by.
pub const HOST: &str = "target.barge.test";

/// The volume's name in every test.
pub const VOLUME: &str = "data";

/// Longer than any one run of a test may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The exit codes of the program, as its README documents them.
pub mod exit {
    /// All that was asked for is durable at the target.
    pub const COMPLETE: i32 = 0;
    /// Wrong usage or configuration.
    pub const USAGE: i32 = 2;
    /// Refused before anything moved.
    pub const REFUSED: i32 = 3;
    /// The peer could not be verified.
    pub const UNVERIFIED: i32 = 4;
    /// The peer is no barge, or speaks no common version.
    pub const NO_BARGE: i32 = 5;
    /// The connection was lost or never made, and all tries are used up.
    pub const CONNECTION: i32 = 6;
    /// The target is full or became read-only.
    pub const FULL: i32 = 7;
    /// The run came to its end and some paths failed.
    pub const PARTIAL: i32 = 8;
    /// Stopped by `--max-delete`.
    pub const MAX_DELETE: i32 = 9;
    /// Interrupted by a signal, and drained.
    pub const INTERRUPTED: i32 = 10;
}

/// The user a program runs as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum User {
    /// Whoever runs the tests.
    Same,
    /// User and group 65534, with no groups and no capabilities. Root may choose it.
    Nobody,
}

/// The command `barge`, to which arguments are added.
///
/// # Errors
///
/// As [`program`].
pub fn barge() -> io::Result<Command> {
    program().map(Command::new)
}

/// The program: `BARGE_BIN`, or `barge` in the folder cargo built this test into.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] with what to do, when it is not there.
pub fn program() -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os("BARGE_BIN") {
        return Ok(path.into());
    }
    // The test lies in target/PROFILE/deps.
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).map(|profile| profile.join("barge"));
    built.filter(|path| path.exists()).ok_or_else(|| {
        let text = "there is no program `barge` beside the tests: run `cargo build` first";
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// Throw-away keys for [`HOST`], and a place for reports.
pub struct Lane {
    scratch: Scratch,
    /// The target's identity and the CA it trusts: a folder with the layout of a TLS Secret.
    pub server_keys: PathBuf,
    /// The source's identity and the CA it trusts.
    pub client_keys: PathBuf,
}

/// A target agent that listens.
pub struct Server {
    running: Running,
    /// Where it listens.
    pub addr: SocketAddr,
    report: PathBuf,
}

/// One run, as both ends tell it.
#[derive(Debug)]
pub struct Pass {
    /// The end with the source.
    pub sender: Told,
    /// The end with the target.
    pub server: Told,
}

/// How one end of a run ended.
#[derive(Debug)]
pub struct Told {
    /// The process.
    pub ended: Ended,
    /// Its report; `Null` when it left none.
    pub report: Value,
}

impl Told {
    /// A count of the report's tally.
    ///
    /// # Panics
    ///
    /// When the report has no such count.
    #[track_caller]
    pub fn tally(&self, name: &str) -> u64 {
        let count = self.report["tally"][name].as_u64();
        count.unwrap_or_else(|| panic!("no tally.{name} in {}", self.report))
    }

    /// Waits for a process that was told to leave its report at `report`.
    ///
    /// # Errors
    ///
    /// When it does not end within [`LIMIT`].
    pub fn wait(process: Running, report: &Path) -> io::Result<Self> {
        let ended = process.wait(LIMIT)?;
        let report = fs::read(report)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Self {
            ended,
            report: report.unwrap_or(Value::Null),
        })
    }
}

impl Lane {
    /// Makes the keys with `barge keys`.
    ///
    /// # Errors
    ///
    /// When the program is not there or fails.
    pub fn new() -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let keys = make_keys(&scratch.join("keys"))?;
        let (server_keys, client_keys) = (keys.join("server"), keys.join("client"));
        Ok(Self {
            scratch,
            server_keys,
            client_keys,
        })
    }

    /// The command `barge` as a user, to which arguments are added.
    ///
    /// # Errors
    ///
    /// As [`program`], or when the program cannot be copied.
    pub fn barge(&self, user: User) -> io::Result<Command> {
        if user == User::Same {
            return barge();
        }
        // Another user may have no way to the folder it was built in.
        let copy = self.scratch.join("barge");
        if !copy.exists() {
            fs::copy(program()?, &copy)?;
        }
        let mut command = Command::new(tool("setpriv"));
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(copy);
        Ok(command)
    }

    /// A path for a file of the test's own, removed with the lane.
    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A folder every user can write a report into.
    fn report(&self, name: &str) -> io::Result<PathBuf> {
        let dir = tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(self.scratch.path())?
            .keep();
        fs::set_permissions(&dir, Permissions::from_mode(0o777))?;
        Ok(dir.join("report.json"))
    }

    /// Starts `barge serve --once` for `target` on a free port and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it does not listen within ten seconds, with what it said.
    pub fn serve(&self, user: User, target: &Path, more: &[&str]) -> io::Result<Server> {
        let report = self.report("serve")?;
        let mut barge = self.barge(user)?;
        let mut volume = std::ffi::OsString::from(format!("{VOLUME}="));
        volume.push(target);
        barge
            .arg("serve")
            .arg("--volume")
            .arg(volume)
            .arg("--tls")
            .arg(&self.server_keys);
        barge
            .args(["--listen", "127.0.0.1:0", "--once"])
            .arg("--report")
            .arg(&report)
            .args(more);
        let mut running = Running::start(&mut barge)?;
        let line = running.wait_for("listening on ", Duration::from_secs(10))?;
        let addr = line.split("listening on ").nth(1).and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
            rest[..end.unwrap_or(rest.len())].parse().ok()
        });
        let addr = addr.ok_or_else(|| io::Error::other(format!("no address in {line:?}")))?;
        Ok(Server {
            running,
            addr,
            report,
        })
    }

    /// The command `barge send` from `source` to an address, whatever listens there.
    ///
    /// # Errors
    ///
    /// As [`program`].
    pub fn send(&self, user: User, source: &Path, to: SocketAddr) -> io::Result<Command> {
        let mut barge = self.barge(user)?;
        barge
            .arg("send")
            .arg(source)
            .args(["--to", &to.to_string(), "--volume", VOLUME]);
        barge
            .arg("--tls")
            .arg(&self.client_keys)
            .args(["--server-name", HOST]);
        Ok(barge)
    }

    /// Runs a command that takes `--report`, to its end.
    ///
    /// # Errors
    ///
    /// As [`Told::wait`].
    pub fn run(&self, mut command: Command) -> io::Result<Told> {
        let (process, report) = self.start(&mut command)?;
        Told::wait(process, &report)
    }

    /// Starts a command that takes `--report`; returns where the report will be.
    ///
    /// # Errors
    ///
    /// As [`Running::start`].
    pub fn start(&self, command: &mut Command) -> io::Result<(Running, PathBuf)> {
        let report = self.report("send")?;
        Ok((
            Running::start(command.arg("--report").arg(&report))?,
            report,
        ))
    }

    /// One whole run: a target agent, HAProxy as the route, a source agent with `options`.
    ///
    /// # Errors
    ///
    /// When a program cannot be started or does not end; a run that fails is no error.
    pub fn pass(
        &self,
        user: User,
        source: &Path,
        target: &Path,
        options: &[&str],
    ) -> io::Result<Pass> {
        let server = self.serve(user, target, &[])?;
        let route = Route::start(&[(HOST, server.addr)])?;
        let mut send = self.send(user, source, route.addr())?;
        send.args(options);
        let sender = self.run(send).map_err(|error| {
            let said = server.running.stderr();
            io::Error::new(error.kind(), format!("{error}\nthe server said:\n{said}"))
        })?;
        if matches!(sender.ended.code, Some(exit::COMPLETE | exit::PARTIAL)) {
            return Ok(Pass {
                sender,
                server: server.wait()?,
            });
        }
        // Without a whole run behind it a server waits for the next one: end it.
        Ok(Pass {
            sender,
            server: server.stop()?,
        })
    }
}

impl Server {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// As [`Told::wait`].
    pub fn wait(self) -> io::Result<Told> {
        Told::wait(self.running, &self.report)
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    ///
    /// As [`Told::wait`].
    pub fn stop(mut self) -> io::Result<Told> {
        self.running.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait()
    }

    /// The process, to be signalled.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// Makes keys under a new CA in the folder `at`, readable to both users where root makes them; returns `at`.
///
/// # Errors
///
/// When the program is not there or fails.
pub fn make_keys(at: &Path) -> io::Result<PathBuf> {
    let mut barge = barge()?;
    barge.arg("keys").arg(at).args(["--host", HOST]);
    let ended = Running::start(&mut barge)?.wait(LIMIT)?;
    if ended.code != Some(exit::COMPLETE) {
        return Err(io::Error::other(format!("barge keys: {ended:?}")));
    }
    if geteuid().is_root() {
        give_away(at)?;
    }
    Ok(at.to_owned())
}

/// Gives throw-away keys to [`User::Nobody`] where that is possible; root reads them as well.
fn give_away(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            give_away(&path)?;
        }
        lchown(path, Some(NOBODY), Some(NOBODY))?;
    }
    lchown(dir, Some(NOBODY), Some(NOBODY))
}

/// The user and group of [`User::Nobody`].
const NOBODY: u32 = 65_534;
