//! How a client reaches the other machine: TCP, a program in its place, or a remote shell.
//!
//! Source: rsync(1), «CONNECTING TO AN RSYNC DAEMON», `--rsh`, and rsync 3.5.0 as it behaves.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use barge::over_rsync::options::Options;
use barge::over_rsync::{self, Connection};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::failed::{Failed, reason};
use super::fd;
use super::place::Host;

/// A connection, and the program it leads to, where one was started.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) program: Option<Program>,
}

/// A program at the other end of a connection.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    /// It is a remote shell, which ends as the program does that it ran.
    is_shell: bool,
}

impl Program {
    /// Waits for its end; the exit code it adds to the run's: 0 when it did well.
    pub(super) fn wait(mut self) -> u8 {
        match self.child.wait() {
            Ok(status) if self.is_shell => exit_code(status),
            Ok(_) => 0,
            Err(_) => 21,
        }
    }
}

/// What a shell says of a command that was killed or did not start counts as the command's own word.
fn exit_code(status: ExitStatus) -> u8 {
    match status.code() {
        Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
        None => 125,
    }
}

/// Connects to a daemon, by what the environment says instead of TCP if it says so. `role` is what this
/// side is, for messages.
///
/// `tell` hears what is done, without a newline.
///
/// # Errors
///
/// Exit codes 10 and 35, in the words of rsync.
pub(super) fn to_daemon(
    host: &Host,
    port: u16,
    options: &Options,
    role: &str,
    tell: &dyn Fn(&[u8]),
) -> Result<Line, Failed> {
    let name = host.name.as_bytes();
    let place = [
        b"tcp connection to ",
        name,
        format!(" port {port}").as_bytes(),
    ]
    .concat();
    if let Some(command) = std::env::var_os("RSYNC_CONNECT_PROG") {
        tell(&[b"Using RSYNC_CONNECT_PROG instead of opening ", &place[..]].concat());
        return by_program(&command, &host.name, tell);
    }
    tell(&[b"opening ", &place[..]].concat());
    let deadline = match options.contimeout {
        0 => None,
        seconds => Some(Instant::now() + Duration::from_secs(seconds.into())),
    };
    let tcp = match std::env::var_os("RSYNC_PROXY") {
        Some(proxy) => Proxy::parse(&proxy)?.connect(host, port, options, role, deadline)?,
        None => tcp(&host.name, port, options, role, deadline)?,
    };
    let connection = fd::socket(tcp.into()).map_err(|error| failed_socket("fcntl", &error))?;
    Ok(Line {
        connection,
        program: None,
    })
}

fn failed_socket(what: &str, error: &io::Error) -> Failed {
    Failed::socket(format!("rsync: {what}: {}", reason(error)))
}

/// Tries the addresses of a name in turn.
fn tcp(
    host: &OsStr,
    port: u16,
    options: &Options,
    role: &str,
    deadline: Option<Instant>,
) -> Result<TcpStream, Failed> {
    let name = host.to_string_lossy();
    let addresses = resolve(&name, port)?;
    let mut refusals = Vec::new();
    for address in addresses {
        if !is_wanted(&address, options) {
            continue;
        }
        match connect(address, options, deadline) {
            Ok(tcp) => return Ok(tcp),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && deadline.is_some() => {
                return Err(Failed::new(35, ""));
            }
            Err(error) => {
                let (ip, why) = (address.ip(), reason(&error));
                refusals.push(format!(
                    "rsync: [{role}] failed to connect to {name} ({ip}): {why}"
                ));
            }
        }
    }
    Err(Failed::socket(refusals.join("\n")))
}

fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, Failed> {
    let found = (name, port).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        let why = text.rsplit(": ").next().unwrap_or(&text);
        Failed::socket(format!("rsync: getaddrinfo: {name} {port}: {why}"))
    })?;
    Ok(found.collect())
}

fn is_wanted(address: &SocketAddr, options: &Options) -> bool {
    match options.ip_version {
        Some(4) => address.is_ipv4(),
        Some(6) => address.is_ipv6(),
        _ => true,
    }
}

fn connect(
    address: SocketAddr,
    options: &Options,
    deadline: Option<Instant>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Small frames matter: a request waits for its answer.
    socket.set_tcp_nodelay(true)?;
    if let Some(list) = &options.sockopts {
        set_socket_options(&SockRef::from(&socket), list)?;
    }
    if let Some(from) = &options.address {
        let own = (from.as_str(), 0).to_socket_addrs()?;
        let own = own
            .into_iter()
            .find(|own| own.is_ipv4() == address.is_ipv4());
        let own = own.ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket.bind(&SockAddr::from(own))?;
    }
    match deadline {
        None => socket.connect(&address.into())?,
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.connect_timeout(&address.into(), left)?;
        }
    }
    Ok(socket.into())
}

/// Sets the options of `--sockopts` and `socket options`: names, some with `=` and a number.
///
/// # Errors
///
/// One that is unknown, and those of `setsockopt(2)`.
pub(super) fn set_socket_options(socket: &SockRef<'_>, list: &str) -> io::Result<()> {
    let words = list.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, "1"));
        let number: usize = value
            .parse()
            .map_err(|_| io::Error::other(format!("{name} with a value that is no number")))?;
        match name {
            "SO_KEEPALIVE" => socket.set_keepalive(number != 0)?,
            "SO_REUSEADDR" => socket.set_reuse_address(number != 0)?,
            "TCP_NODELAY" => socket.set_tcp_nodelay(number != 0)?,
            "SO_SNDBUF" => socket.set_send_buffer_size(number)?,
            "SO_RCVBUF" => socket.set_recv_buffer_size(number)?,
            _ => return Err(io::Error::other(format!("Unknown socket option {name}"))),
        }
    }
    Ok(())
}

/// A web proxy that connects onwards: `[USER:PASSWORD@]HOST:PORT`.
struct Proxy {
    host: String,
    port: u16,
    /// For its `Basic` authorization.
    credentials: Option<Vec<u8>>,
}

impl Proxy {
    fn parse(text: &OsStr) -> Result<Self, Failed> {
        let wrong = || Failed::socket("invalid proxy specification: should be HOST:PORT");
        let text = text.to_str().ok_or_else(wrong)?;
        let (credentials, place) = match text.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials.into()), place),
            None => (None, text),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            credentials,
        })
    }

    fn connect(
        &self,
        host: &Host,
        port: u16,
        options: &Options,
        role: &str,
        deadline: Option<Instant>,
    ) -> Result<TcpStream, Failed> {
        let tcp = tcp(OsStr::new(&self.host), self.port, options, role, deadline)?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let asked = tcp
            .set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))
            .and_then(|()| (&tcp).write_all(&self.request(&host.name, port)));
        asked.map_err(|error| failed_socket("failed to write to proxy", &error))?;
        let answer = read_line(&tcp)?;
        if !is_consent(&answer) {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            return Err(Failed::socket(format!(
                "bad response from proxy -- {answer}"
            )));
        }
        while !read_line(&tcp)?.is_empty() {}
        tcp.set_read_timeout(None)
            .map_err(|error| failed_socket("setsockopt", &error))?;
        Ok(tcp)
    }

    fn request(&self, host: &OsStr, port: u16) -> Vec<u8> {
        let host = host.to_string_lossy();
        let mut request = format!("CONNECT {host}:{port} HTTP/1.0\r\n");
        if let Some(credentials) = &self.credentials {
            request += &format!(
                "Proxy-Authorization: Basic {}\r\n",
                STANDARD.encode(credentials)
            );
        }
        (request + "\r\n").into_bytes()
    }
}

/// `HTTP/x.y 2…`.
fn is_consent(answer: &[u8]) -> bool {
    let mut words = answer
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    let version = words.next().unwrap_or_default();
    version.starts_with(b"HTTP/") && words.next().unwrap_or_default().starts_with(b"2")
}

/// Reads a line a byte at a time: what follows the proxy's answer is the daemon's.
fn read_line(mut tcp: &TcpStream) -> Result<Vec<u8>, Failed> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match tcp.read(&mut byte) {
            Ok(1) if byte == *b"\n" => break,
            Ok(1) if line.len() < MAX_PROXY_LINE => line.extend(byte),
            Ok(_) => return Err(Failed::socket("failed to read from proxy")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failed::new(35, ""));
            }
            Err(error) => return Err(failed_socket("failed to read from proxy", &error)),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

const MAX_PROXY_LINE: usize = 1023;

/// Runs a command of the user's, whose standard streams are the connection.
fn by_program(command: &OsStr, host: &OsStr, tell: &dyn Fn(&[u8])) -> Result<Line, Failed> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:%@[]".contains(&byte);
    if !host.as_bytes().iter().copied().all(is_safe) {
        return Err(Failed::socket(
            "unsafe host characters for RSYNC_CONNECT_PROG",
        ));
    }
    let command = with_host(command, host);
    tell(&[b"Running socket program: \"", command.as_bytes(), b"\""].concat());
    let shell = std::env::var_os("RSYNC_SHELL").unwrap_or_else(|| "/bin/sh".into());
    let start = || {
        let (here, there) = UnixStream::pair()?;
        let (input, output): (OwnedFd, OwnedFd) = (there.try_clone()?.into(), there.into());
        let child = Command::new(shell)
            .arg("-c")
            .arg(&command)
            .stdin(input)
            .stdout(output)
            .spawn()?;
        Ok(Line {
            connection: fd::socket(here.into())?,
            program: Some(Program {
                child,
                is_shell: false,
            }),
        })
    };
    start().map_err(|error| failed_socket("failed to run RSYNC_CONNECT_PROG", &error))
}

/// The command with `%H` replaced by the host, and `%%` by a percent sign.
fn with_host(command: &OsStr, host: &OsStr) -> OsString {
    let mut out = Vec::new();
    let mut bytes = command.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'%')) => {
                bytes.next();
                out.push(b'%');
            }
            (b'%', Some(b'H')) => {
                bytes.next();
                out.extend([b"'", host.as_bytes(), b"'"].concat());
            }
            _ => out.push(byte),
        }
    }
    OsString::from_vec(out)
}

/// A remote shell's command, and what it is to run.
#[derive(Clone, Debug)]
pub(super) struct Shell<'a> {
    pub(super) options: &'a Options,
    pub(super) host: &'a Host,
    /// What follows the name of the remote program: ready for the remote shell.
    pub(super) args: Vec<OsString>,
    /// Set for what stands in for a shell and needs the port of a daemon: 0 is the default one.
    pub(super) daemon_port: Option<u16>,
    /// What this side is, for messages.
    pub(super) role: &'a str,
}

impl Shell<'_> {
    /// Starts it. `tell` hears the command.
    ///
    /// # Errors
    ///
    /// Exit code 14 when it cannot be run.
    pub(super) fn start(self, tell: &dyn Fn(&[u8])) -> Result<Line, Failed> {
        let words = self.words()?;
        tell(
            &[
                b"opening connection using: ",
                &over_rsync::words(&words)[..],
            ]
            .concat(),
        );
        let failed = |error: &io::Error| {
            let (program, role) = (words[0].to_string_lossy(), self.role);
            Failed::call(
                14,
                format_args!("rsync: [{role}] Failed to exec {program}"),
                error,
            )
        };
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(port) = self.daemon_port {
            command.env("RSYNC_PORT", port.to_string());
        }
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let to = child.stdin.take().expect("it is piped");
        let from = child.stdout.take().expect("it is piped");
        let connection = fd::connection(from.into(), to.into()).map_err(|error| failed(&error))?;
        Ok(Line {
            connection,
            program: Some(Program {
                child,
                is_shell: true,
            }),
        })
    }

    /// The whole command line.
    fn words(&self) -> Result<Vec<OsString>, Failed> {
        // The shell would take it for an option, and ssh has some that run commands.
        if self.host.name.as_bytes().starts_with(b"-") {
            return Err(Failed::usage(
                "Invalid remote host: hostnames may not start with '-'.",
            ));
        }
        let mut words = self.command()?;
        let is_ssh = words[0].as_bytes().rsplit(|&b| b == b'/').next() == Some(b"ssh");
        let says_user = words[1..].iter().any(|word| {
            let word = word.as_bytes();
            word.starts_with(b"-l") || word.to_ascii_lowercase().starts_with(b"-ouser=")
        });
        if let (Some(user), false) = (&self.host.user, says_user) {
            words.extend(["-l".into(), user.clone()]);
        }
        match self.options.ip_version {
            Some(version @ (4 | 6)) if is_ssh => words.push(format!("-{version}").into()),
            _ => {}
        }
        words.push(self.host.name.clone());
        let program = self.options.rsync_path.clone();
        words.push(program.unwrap_or_else(|| "rsync".into()));
        words.extend(self.args.iter().cloned());
        Ok(words)
    }

    fn command(&self) -> Result<Vec<OsString>, Failed> {
        let given = self.options.rsh.clone();
        let given = given.or_else(|| std::env::var_os("RSYNC_RSH"));
        let given = given.filter(|command| !command.is_empty());
        let words = split_command(given.as_deref().unwrap_or(OsStr::new("ssh")))?;
        match words.is_empty() {
            true => Err(Failed::new(
                14,
                "rsync: the remote shell's command is empty",
            )),
            false => Ok(words),
        }
    }
}

/// Splits a command at spaces; quotes keep them, and a doubled quote in quotes is one.
fn split_command(command: &OsStr) -> Result<Vec<OsString>, Failed> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = command.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (_, Some(open)) if byte == open && bytes.peek() == Some(&open) => {
                bytes.next();
                word.get_or_insert_default().push(byte);
            }
            (_, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(byte),
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (b' ', None) => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(byte),
        }
    }
    if quote.is_some() {
        return Err(Failed::usage(
            "Missing trailing-quote in remote-shell command.",
        ));
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_at_spaces_outside_quotes() {
        let split = |command: &str| {
            let words = split_command(OsStr::new(command)).unwrap();
            words
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(split("ssh -p 22"), ["ssh", "-p", "22"]);
        assert_eq!(
            split(" sh  -p '22 3' \"x y\" a\\ b"),
            ["sh", "-p", "22 3", "x y", "a\\", "b"]
        );
        assert_eq!(split("a 'it''s' \"\""), ["a", "it's", ""]);
        assert!(split_command(OsStr::new("a 'b")).is_err());
    }

    /// As rsync 3.5.0 was seen to start them.
    #[test]
    fn a_shell_s_command_line_is_rsync_s() {
        let words = |options: &Options, user: Option<&str>| {
            let host = Host {
                user: user.map(Into::into),
                name: "host".into(),
            };
            let shell = Shell {
                options,
                host: &host,
                args: vec!["--server".into()],
                daemon_port: None,
                role: "sender",
            };
            let words = shell.words().unwrap();
            words
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut options = Options {
            rsh: Some("/usr/bin/ssh -v".into()),
            ip_version: Some(6),
            ..Options::default()
        };
        assert_eq!(
            words(&options, None),
            "/usr/bin/ssh -v -6 host rsync --server"
        );
        assert_eq!(
            words(&options, Some("u")),
            "/usr/bin/ssh -v -l u -6 host rsync --server"
        );
        options.rsync_path = Some("sudo rsync".into());
        options.rsh = Some("ssh -l me".into());
        assert_eq!(
            words(&options, Some("u")),
            "ssh -l me -6 host sudo rsync --server"
        );
        options.rsh = Some("other".into());
        assert_eq!(
            words(&options, Some("u")),
            "other -l u host sudo rsync --server"
        );
    }

    #[test]
    fn a_host_that_a_shell_would_take_for_an_option_is_refused() {
        let options = Options::default();
        let host = Host {
            user: Some("u".into()),
            name: "-oProxyCommand=id".into(),
        };
        let shell = Shell {
            options: &options,
            host: &host,
            args: Vec::new(),
            daemon_port: None,
            role: "sender",
        };
        assert_eq!(shell.words().unwrap_err().code, 1);
    }

    #[test]
    fn the_host_takes_its_place_in_a_program_s_command() {
        let with = |command: &str| with_host(OsStr::new(command), OsStr::new("h")).into_string();
        assert_eq!(with("nc %H 873").unwrap(), "nc 'h' 873");
        assert_eq!(with("a%%H %x %").unwrap(), "a%H %x %");
        assert!(by_program(OsStr::new("true"), OsStr::new("a;b"), &|_| ()).is_err());
    }

    #[test]
    fn a_proxy_is_asked_as_rsync_asks_it() {
        let proxy = Proxy::parse(OsStr::new("u:p@127.0.0.1:8080")).unwrap();
        assert_eq!((&*proxy.host, proxy.port), ("127.0.0.1", 8080));
        let expected = "CONNECT myhost:99 HTTP/1.0\r\nProxy-Authorization: Basic dTpw\r\n\r\n";
        assert_eq!(proxy.request(OsStr::new("myhost"), 99), expected.as_bytes());
        assert!(Proxy::parse(OsStr::new("127.0.0.1")).is_err());
        for (answer, consent) in [
            ("HTTP/1.0 200 OK", true),
            ("HTTP/1.1 200", true),
            ("HTTP/1.0 403 No", false),
            ("blah", false),
            ("", false),
        ] {
            assert_eq!(is_consent(answer.as_bytes()), consent, "{answer}");
        }
    }
}
