//! The pair barge replaces, with the options the Migration Toolkit for Containers gives it.
//!
//! rsync → stunnel → HAProxy → stunnel → rsync daemon, or barge in some or all of these places.
//! Command line and configuration files are
//! those that mig-controller 1.8 and crane-lib write, but for what a loopback interface needs:
//! addresses and ports, `sni` (they derive it from the host they connect to), and `foreground` in
//! the client's stunnel, whose processor time is read when it ends.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::line::{Contender, Line};
use crate::mover;
use crate::process::{Ending, Process, free_port, run};
use crate::route::{HOST, Route};

/// Starts the servers and returns them with the client's command; barge is where `who` says.
pub(crate) fn lay(
    keys: &Path,
    dir: &Path,
    source: &Path,
    target: &Path,
    who: Contender,
) -> Result<Line> {
    make_certificate(keys)?;
    let daemon_port = free_port()?;
    let (is_client, is_daemon, is_all) = places(who);
    let daemon = program("rsync", is_daemon)?;
    let daemon = start_daemon(daemon, dir, target, daemon_port)?;
    let server_port = free_port()?;
    let server = server_tunnel(keys, server_port, daemon_port);
    let server = start_tunnel("stunnel server", is_all, dir, &server, server_port)?;
    let route = Route::start(SocketAddr::from(([127, 0, 0, 1], server_port)), dir)?;
    let client_port = free_port()?;
    let client = client_tunnel(keys, client_port, route.port);
    let client = start_tunnel("stunnel client", is_all, dir, &client, client_port)?;
    Ok(Line {
        servers: vec![client, server, daemon],
        route,
        client: client_command(program("rsync", is_client)?, source, client_port),
        role: "rsync client",
    })
}

/// Whether barge is the rsync client, the rsync daemon, the tunnels.
fn places(who: Contender) -> (bool, bool, bool) {
    let is_all = who == Contender::DropIn;
    (
        is_all || who == Contender::Client,
        is_all || who == Contender::Daemon,
        is_all,
    )
}

/// The program of a name, or barge in its place.
fn program(name: &str, barge: bool) -> Result<Command> {
    if !barge {
        return Ok(Command::new(Path::new("/usr/bin").join(name)));
    }
    let mut command = Command::new(mover::program()?);
    command.arg(name);
    Ok(command)
}

fn client_command(mut command: Command, source: &Path, port: u16) -> Command {
    command.args(CLIENT_OPTIONS);
    // The slash: the content of the source, not the source itself.
    command.arg(format!("{}/", source.display()));
    command.args(["rsync://root@localhost/bench", "--port", &port.to_string()]);
    command.env("RSYNC_PASSWORD", PASSWORD);
    command
}

fn start_daemon(mut command: Command, dir: &Path, target: &Path, port: u16) -> Result<Process> {
    let secrets = dir.join("rsyncd.secrets");
    fs::write(&secrets, format!("root:{PASSWORD}\n"))?;
    fs::set_permissions(&secrets, Permissions::from_mode(0o600))?;
    let config = dir.join("rsyncd.conf");
    fs::write(&config, daemon_configuration(&secrets, target))?;
    command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    command
        .arg(format!("--port={port}"))
        .arg(format!("--config={}", config.display()));
    let ending = Ending::Signal(Signal::SIGTERM);
    let mut daemon = Process::start("rsync daemon", ending, &mut command, dir)?;
    daemon.wait_for_port(port)?;
    Ok(daemon)
}

fn start_tunnel(
    role: &'static str,
    barge: bool,
    dir: &Path,
    config: &str,
    port: u16,
) -> Result<Process> {
    let path = dir.join(format!("{}.conf", role.replace(' ', "-")));
    fs::write(&path, config)?;
    let mut command = program("stunnel", barge)?;
    command.arg(&path);
    let mut tunnel = Process::start(role, Ending::Signal(Signal::SIGTERM), &mut command, dir)?;
    tunnel.wait_for_port(port)?;
    Ok(tunnel)
}

fn daemon_configuration(secrets: &Path, target: &Path) -> String {
    let identity = if nix::unistd::geteuid().is_root() {
        "uid = root\ngid = root\n"
    } else {
        ""
    };
    format!(
        "syslog facility = local7
read only = no
list = yes
log file = /dev/stdout
max verbosity = 4
auth users = root
hosts allow = ::1, 127.0.0.1, localhost
{identity}use chroot = no
munge symlinks = no

[bench]
    comment = archive for bench
    path = {}
    list = yes
    read only = false
    auth users = root
    secrets file = {}
",
        target.display(),
        secrets.display()
    )
}

fn server_tunnel(keys: &Path, accept: u16, connect: u16) -> String {
    let keys = keys.display();
    format!(
        "foreground = yes
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
debug = 7
sslVersion = TLSv1.2
[rsync]
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect}
key = {keys}/{KEY}
cert = {keys}/{CERTIFICATE}
TIMEOUTclose = 0
"
    )
}

fn client_tunnel(keys: &Path, accept: u16, connect: u16) -> String {
    let keys = keys.display();
    format!(
        "
 foreground = yes
 pid =
 sslVersion = TLSv1.2
 client = yes
 syslog = no
 output = /dev/stdout
 [rsync]
 debug = 7
 accept = 127.0.0.1:{accept}
 cert = {keys}/{CERTIFICATE}
 key = {keys}/{KEY}
 connect = 127.0.0.1:{connect}
 sni = {HOST}
"
    )
}

/// One self-signed RSA-4096 pair for both ends, as the toolkit makes it.
fn make_certificate(keys: &Path) -> Result<()> {
    let certificate = keys.join(CERTIFICATE);
    if certificate.exists() {
        return Ok(());
    }
    let mut command = Command::new("/usr/bin/openssl");
    command.args([
        "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-days", "3650",
    ]);
    command
        .args(["-subj", "/CN=openshift.io", "-keyout"])
        .arg(keys.join(KEY));
    run(command.arg("-out").arg(certificate))
}

const CLIENT_OPTIONS: [&str; 15] = [
    "--recursive",
    "--links",
    "--perms",
    "--devices",
    "--specials",
    "--times",
    "--owner",
    "--group",
    "--hard-links",
    "--delete",
    "--partial",
    "--human-readable",
    "--log-file=/dev/stdout",
    "--info=COPY2,DEL2,REMOVE2,SKIP2,FLIST2,PROGRESS2,STATS2",
    "--exclude=lost+found",
];
const PASSWORD: &str = "AbCdEf";
const CERTIFICATE: &str = "pair.crt";
const KEY: &str = "pair.key";
