//! Writes down what a stock rsync client and a stock daemon say to each other.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::scratch::Scratch;

/// A conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recording {
    /// The client's command line, for a person.
    pub command: String,
    /// The client's exit code.
    pub code: Option<i32>,
    /// All the client said.
    pub client: Vec<u8>,
    /// All the daemon said.
    pub server: Vec<u8>,
}

/// Runs `rsync` with these arguments in the folder `at`, against a daemon of its own, and writes
/// down both sides. In the arguments `{daemon}` stands for `rsync://127.0.0.1:PORT` and `{here}`
/// for `at`. The daemon has one module, `m`, with `at`'s `module` for its path and the further lines of `config`.
///
/// # Errors
///
/// When rsync cannot be started, or no socket be had.
pub fn record(at: &Path, args: &[&str], config: &str) -> io::Result<Recording> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("rsync://{}", listener.local_addr()?);
    let scratch = Scratch::new()?;
    let conf = scratch.join("rsyncd.conf");
    let path = at.join("module");
    let module = format!(
        "use chroot = no\n[m]\npath = {}\n{config}\n",
        path.display()
    );
    fs::write(&conf, module)?;
    let client = Command::new("rsync")
        .args(args.iter().map(|arg| {
            let here = at.to_str().unwrap_or_default();
            arg.replace("{daemon}", &url).replace("{here}", here)
        }))
        .current_dir(at)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let (connection, _) = listener.accept()?;
    let (mut daemon, ours) = start_daemon(&conf)?;
    let [client_said, server_said] = pass_on(connection, ours)?;
    let ended = { client }.wait()?;
    daemon.wait()?;
    Ok(Recording {
        command: format!("rsync {}", args.join(" ")),
        code: ended.code(),
        client: client_said,
        server: server_said,
    })
}

/// A daemon that serves one connection, and our end of that.
fn start_daemon(conf: &Path) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let config = [OsStr::new("--config="), conf.as_os_str()].join(OsStr::new(""));
    let daemon = Command::new("rsync")
        .arg("--daemon")
        .arg(config)
        .stdin(OwnedFd::from(theirs.try_clone()?))
        .stdout(OwnedFd::from(theirs))
        .spawn()?;
    Ok((daemon, ours))
}

/// Carries both directions to their ends, and returns what passed: the client's, the daemon's.
fn pass_on(client: TcpStream, daemon: UnixStream) -> io::Result<[Vec<u8>; 2]> {
    let (from_client, to_daemon) = (client.try_clone()?, daemon.try_clone()?);
    let up = thread::spawn(move || {
        let said = copy(from_client, &to_daemon);
        // The other end may be gone already.
        let _ = to_daemon.shutdown(Shutdown::Write);
        said
    });
    let server_said = copy(daemon, &client);
    let _ = client.shutdown(Shutdown::Write);
    let client_said = up.join().expect("the copying thread does not panic");
    Ok([client_said, server_said])
}

/// Copies until either end is closed.
fn copy(mut from: impl Read, mut to: impl Write) -> Vec<u8> {
    let (mut said, mut piece) = (Vec::new(), [0; 8192]);
    while let Ok(len @ 1..) = from.read(&mut piece) {
        said.extend_from_slice(&piece[..len]);
        if to.write_all(&piece[..len]).is_err() {
            break;
        }
    }
    said
}
