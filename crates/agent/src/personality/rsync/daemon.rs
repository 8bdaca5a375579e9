//! `rsync --daemon`: listens and starts a process for each connection, or serves the one at stdin.
//!
//! A process of its own for each client is what lets it become the module's user, and a root
//! directory of its own, before it looks at anything the client has to say about files.
//!
//! Source: rsync(1), «DAEMON OPTIONS», rsyncd.conf(5), and rsync 3.5.0 as it behaves.

use std::ffi::OsString;
use std::fs::{File, FileType, TryLockError};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use barge::over_rsync::options::DaemonOptions;
use barge::over_rsync::{Connection, Daemon, RunStats};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::client::DEFAULT_PORT;
use super::failed::{Failed, reason};
use super::gate::Door;
use super::hosts::{UNDETERMINED, Visitor};
use super::output::Log;
use super::rsyncd_conf::Config;
use super::{end, end_for_good, fd, interrupt, preferences, server, transport};

/// Does what the command line of a daemon says, and gives the exit code.
pub(super) fn run(options: &DaemonOptions, args: &[OsString]) -> u8 {
    let outcome = match place(options) {
        Place::Stdio => server::standard_streams()
            .map_err(|error| Failed::call(14, "rsync: standard streams", &error))
            .and_then(|connection| serve(options, connection, visitor_of_shell())),
        Place::Socket => own_socket()
            .and_then(|(connection, peer)| Ok((connection, visitor(options, peer)?)))
            .and_then(|(connection, visitor)| serve(options, connection, visitor)),
        Place::Background => detach(args),
        Place::Foreground => {
            return listen(options, args)
                .unwrap_or_else(|failed| end_for_good(&failed, "Receiver"));
        }
    };
    outcome.unwrap_or_else(|failed| end(&failed, "Receiver"))
}

/// Where clients come from.
enum Place {
    /// One is at the standard streams.
    Stdio,
    /// One is at a socket at stdin, as inetd and our own listener hand it over.
    Socket,
    /// They connect, once this process has gone to the background.
    Background,
    /// They connect.
    Foreground,
}

fn place(options: &DaemonOptions) -> Place {
    let (input, output) = (kind(io::stdin().as_fd()), kind(io::stdout().as_fd()));
    if options.server {
        return Place::Stdio;
    }
    if input.is_some_and(|kind| kind.is_socket()) {
        return Place::Socket;
    }
    let are_pipes =
        input.is_some_and(|kind| kind.is_fifo()) && output.is_some_and(|kind| kind.is_fifo());
    let is_told_to_listen = options.port.is_some() || options.address.is_some();
    if are_pipes && options.detach && !is_told_to_listen {
        return Place::Stdio;
    }
    let is_detached = std::env::var_os(DETACHED).is_some();
    match options.detach && !is_detached {
        true => Place::Background,
        false => Place::Foreground,
    }
}

/// What kind of file is open there.
fn kind(fd: BorrowedFd<'_>) -> Option<FileType> {
    let file = File::from(fd.try_clone_to_owned().ok()?);
    Some(file.metadata().ok()?.file_type())
}

/// The configuration, and the log it names.
fn configure(options: &DaemonOptions) -> Result<(Config, Option<Log>), Failed> {
    let path = match &options.config {
        Some(path) => path.clone(),
        None if options.server && !nix::unistd::geteuid().is_root() => PathBuf::from("rsyncd.conf"),
        None => PathBuf::from("/etc/rsyncd.conf"),
    };
    let overrides: Vec<String> = options
        .params
        .iter()
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
        .collect();
    let config = Config::read(&path, &overrides).map_err(|error| {
        let text = format!("Failed to parse config file: {}\n{error}", path.display());
        Failed::usage(text)
    })?;
    if let Some(name) = config.global.unsupported().next() {
        return Err(Failed::new(
            4,
            format!("rsync: \"{name}\" is not supported"),
        ));
    }
    let log = open_log(options, &config);
    if let Some(log) = &log {
        for warning in &config.warnings {
            log.write(warning.as_bytes());
        }
    }
    Ok((config, log))
}

fn open_log(options: &DaemonOptions, config: &Config) -> Option<Log> {
    let path = options.log_file.clone();
    let path = path.or_else(|| config.global.text("log file").map(PathBuf::from))?;
    match Log::open(&path) {
        Ok(log) => Some(log),
        Err(error) => {
            let (path, why) = (path.display(), reason(&error));
            // There is no log to say it in.
            let _ = writeln!(io::stderr(), "rsync: failed to open log-file {path}: {why}");
            None
        }
    }
}

/// Serves one client.
fn serve(options: &DaemonOptions, connection: Connection, visitor: Visitor) -> Result<u8, Failed> {
    let (config, log) = configure(options)?;
    let motd = config.global.text("motd file");
    // As with rsync: one that cannot be read is empty.
    let motd = motd
        .filter(|path| !path.is_empty())
        .map(|path| std::fs::read(path).unwrap_or_default());
    let shown = visitor.shown();
    if let Some(log) = &log {
        log.write(format!("connect from {shown}").as_bytes());
    }
    let mut door = Door::new(config, visitor, log, options.log_file_format.clone());
    let modules = door.modules();
    let daemon = Daemon {
        motd,
        modules: &modules,
        preferences: preferences(true),
        visitor: shown,
        patience: Daemon::PATIENCE,
        gate: &mut door,
    };
    let ended = daemon.serve(connection);
    if let (Some(log), None) = (door.run_log(), &ended.failure) {
        log.finish(&ended.stats, ended.code);
    }
    Ok(match interrupt::caught() {
        true => interrupt::EXIT,
        false => ended.code,
    })
}

/// The socket at stdin, and the address at its other end.
fn own_socket() -> Result<(Connection, Option<IpAddr>), Failed> {
    let take = || {
        let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
        let tcp = TcpStream::from(socket.try_clone()?);
        let peer = tcp.peer_addr().ok().map(|peer| peer.ip().to_canonical());
        // A request waits for its answer; not every socket is one of TCP.
        let _ = tcp.set_nodelay(true);
        let _ = SockRef::from(&tcp).set_keepalive(true);
        Ok((fd::socket(socket)?, peer))
    };
    take().map_err(|error| Failed::call(10, "rsync: the socket at stdin", &error))
}

/// The host of a client whose address is known.
fn visitor(options: &DaemonOptions, address: Option<IpAddr>) -> Result<Visitor, Failed> {
    let Some(address) = address else {
        return Ok(visitor_of_shell());
    };
    let (config, _) = configure_quietly(options)?;
    let looks_up = config.global.is_on("reverse lookup", true);
    let name = match looks_up {
        true => host_name(address).unwrap_or_else(|| "UNKNOWN".to_owned()),
        false => UNDETERMINED.to_owned(),
    };
    Ok(Visitor {
        address: Some(address),
        name,
    })
}

fn configure_quietly(options: &DaemonOptions) -> Result<(Config, Option<Log>), Failed> {
    let quiet = DaemonOptions {
        log_file: Some("/dev/null".into()),
        ..options.clone()
    };
    configure(&quiet)
}

/// A name that leads to the address again: another could be anybody's.
fn host_name(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let mut found = (&*name, 0).to_socket_addrs().ok()?;
    let leads_back = found.any(|found| found.ip().to_canonical() == address.to_canonical());
    leads_back.then_some(name)
}

/// Who a remote shell says it serves.
fn visitor_of_shell() -> Visitor {
    let variables = ["SSH_CONNECTION", "SSH_CLIENT", "SSH2_CLIENT"];
    let said = variables.iter().find_map(|name| std::env::var(name).ok());
    let address = said.and_then(|said| said.split(' ').next()?.parse().ok());
    Visitor {
        address,
        name: "UNKNOWN".to_owned(),
    }
}

/// Starts itself again without a terminal, and goes.
fn detach(args: &[OsString]) -> Result<u8, Failed> {
    let start = || {
        Command::new(std::env::current_exe()?)
            .arg("rsync")
            .args(args)
            .env(DETACHED, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    match start() {
        Ok(_) => Ok(0),
        Err(error) => Err(Failed::call(
            14,
            "rsync: could not create background process",
            &error,
        )),
    }
}

/// Listens until a signal comes; SIGTERM is a good end.
fn listen(options: &DaemonOptions, args: &[OsString]) -> Result<u8, Failed> {
    if std::env::var_os(DETACHED).is_some() {
        // It has a session already when whoever started it gave it one.
        let _ = nix::unistd::setsid();
    }
    let (config, log) = configure(options)?;
    let say = |line: &str| {
        if let Some(log) = &log {
            log.write(line.as_bytes());
        }
    };
    let port = options.port.or_else(|| {
        u16::try_from(config.global.number("port"))
            .ok()
            .filter(|&port| port != 0)
    });
    let port = port.unwrap_or(DEFAULT_PORT);
    let pid_file = config
        .global
        .text("pid file")
        .map(|path| PidFile::create(Path::new(&path)));
    let _pid_file = pid_file.transpose().inspect_err(|failed| {
        say(&failed.text);
        say(super::ending::line(failed.code, "Receiver").trim_end());
    })?;
    let address = options
        .address
        .clone()
        .or_else(|| config.global.text("address"));
    let sockopts = options
        .sockopts
        .clone()
        .or_else(|| config.global.text("socket options"));
    let bound = bind(
        address.as_deref(),
        port,
        options.ip_version,
        sockopts.as_deref(),
    );
    let listeners = match bound {
        Ok(listeners) => listeners,
        Err(error) => {
            let text = format!(
                "unable to bind any inbound sockets on port {port}: {}",
                reason(&error)
            );
            say(&text);
            return Err(Failed::socket(text));
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    say(&format!(
        "rsyncd version {version} starting, listening on port {port}"
    ));
    accept(&listeners, args, &say);
    if interrupt::terminated() {
        if let Some(log) = &log {
            log.finish(&RunStats::default());
        }
        return Ok(0);
    }
    say(super::ending::line(interrupt::EXIT, "Receiver").trim_end());
    Ok(interrupt::EXIT)
}

/// Listens at an address, or at all of them.
fn bind(
    address: Option<&str>,
    port: u16,
    ip_version: Option<u8>,
    sockopts: Option<&str>,
) -> io::Result<Vec<TcpListener>> {
    let wanted: Vec<SocketAddr> = match address {
        Some(name) => (name, port).to_socket_addrs()?.collect(),
        None => vec![
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::UNSPECIFIED, port).into(),
        ],
    };
    let is_wanted = |address: &SocketAddr| match ip_version {
        Some(4) => address.is_ipv4(),
        Some(6) => address.is_ipv6(),
        _ => true,
    };
    let (mut listeners, mut failed) = (Vec::new(), io::ErrorKind::AddrNotAvailable.into());
    for address in wanted.into_iter().filter(is_wanted) {
        match listener(address, sockopts) {
            Ok(listener) => listeners.push(listener),
            Err(error) => failed = error,
        }
    }
    match listeners.is_empty() {
        true => Err(failed),
        false => Ok(listeners),
    }
}

fn listener(address: SocketAddr, sockopts: Option<&str>) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(list) = sockopts {
        transport::set_socket_options(&SockRef::from(&socket), list)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Starts a process for each client that connects.
fn accept(listeners: &[TcpListener], args: &[OsString], say: &dyn Fn(&str)) {
    let running = Arc::new(AtomicUsize::new(0));
    while !interrupt::caught() {
        let bell = interrupt::bell();
        let all = listeners
            .iter()
            .map(|listener| listener.as_fd())
            .chain(bell);
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        for listener in listeners {
            let Ok((tcp, _)) = listener.accept() else {
                continue;
            };
            if running.load(Ordering::Relaxed) >= MAX_CLIENTS {
                say("too many connections: one was closed");
                continue;
            }
            if let Err(error) = start(tcp, args, &running) {
                say(&format!(
                    "could not start a process for a connection: {}",
                    reason(&error)
                ));
            }
        }
    }
}

fn start(tcp: TcpStream, args: &[OsString], running: &Arc<AtomicUsize>) -> io::Result<()> {
    tcp.set_nonblocking(false)?;
    // Its standard output stays ours: a log file may be there.
    let mut child = Command::new(std::env::current_exe()?)
        .arg("rsync")
        .args(args)
        .stdin(OwnedFd::from(tcp))
        .spawn()?;
    running.fetch_add(1, Ordering::Relaxed);
    let running = Arc::clone(running);
    std::thread::spawn(move || {
        let _ = child.wait();
        running.fetch_sub(1, Ordering::Relaxed);
    });
    Ok(())
}

/// The file that says which process the daemon is, as long as it is.
struct PidFile {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl PidFile {
    fn create(path: &Path) -> Result<Self, Failed> {
        let failed = |error: &io::Error| {
            Failed::call(
                11,
                format!("failed to create pid file {}", path.display()),
                error,
            )
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| failed(&error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => failed(&error),
            TryLockError::WouldBlock => {
                let path = path.display();
                let why = "Resource temporarily unavailable";
                Failed::new(11, format!("failed to lock pid file {path}: {why}"))
            }
        })?;
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            path: path.to_owned(),
            _file: file,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Set for the process that was started to go to the background.
const DETACHED: &str = "BARGE_RSYNC_DETACHED";

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Processes at a time, whatever modules say.
const MAX_CLIENTS: usize = 512;
