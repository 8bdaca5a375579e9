//! Starts real programs: a process with its words kept, HAProxy as the passthrough route.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;

use crate::mount::tool;
use crate::scratch::Scratch;

/// A running process; killed when dropped.
pub struct Running {
    name: String,
    child: Child,
    stdout: Words,
    stderr: Words,
}

/// How a process ended and what it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Running {
    /// Starts a process with empty input.
    ///
    /// # Errors
    ///
    /// When the program cannot be started; the message names it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
        let stdout = Words::listen(child.stdout.take());
        let stderr = Words::listen(child.stderr.take());
        Ok(Self {
            name,
            child,
            stdout,
            stderr,
        })
    }

    /// Waits until a line of its standard error contains `part`, and returns that line.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] after `limit`, [`io::ErrorKind::UnexpectedEof`] when it ended
    /// without; both with all it said.
    pub fn wait_for(&mut self, part: &str, limit: Duration) -> io::Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?.is_some();
            if let Some(line) = self.stderr.now().lines().find(|line| line.contains(part)) {
                return Ok(line.to_owned());
            }
            if ended {
                return Err(self.complain(io::ErrorKind::UnexpectedEof, part));
            }
            if Instant::now() > deadline {
                return Err(self.complain(io::ErrorKind::TimedOut, part));
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] after `limit`, with all it said; it is killed then.
    pub fn wait(mut self, limit: Duration) -> io::Result<Ended> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(self.ended(status));
            }
            if Instant::now() > deadline {
                return Err(self.complain(io::ErrorKind::TimedOut, "its end"));
            }
            thread::sleep(POLL);
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its number, which is its own as long as this stands.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // The child is not reaped, so its number is still its own.
            let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.now()
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        Ended {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }

    fn complain(&self, kind: io::ErrorKind, awaited: &str) -> io::Error {
        let said = self.stderr.now();
        io::Error::new(
            kind,
            format!("waited for {awaited} of {}; it said:\n{said}", self.name),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended and was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, kept by a thread.
struct Words {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Words {
    fn listen(pipe: Option<impl Read + Send + 'static>) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let reader = pipe.map(|pipe| {
            let text = Arc::clone(&text);
            thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut line = Vec::new();
                while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                    text.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .append(&mut line);
                }
            })
        });
        Self { text, reader }
    }

    fn now(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Everything, once the process has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // A thread that panicked has kept what it read before.
            let _ = reader.join();
        }
        self.now()
    }
}

/// HAProxy as the passthrough route of an OpenShift router: it reads the server name of the
/// TLS greeting, picks the backend, and decrypts nothing.
pub struct Route {
    scratch: Scratch,
    addr: SocketAddr,
    process: Option<Running>,
}

impl Route {
    /// Listens on a free port and forwards by server name.
    ///
    /// # Errors
    ///
    /// When HAProxy cannot be started, or does not listen within ten seconds.
    pub fn start(backends: &[(&str, SocketAddr)]) -> io::Result<Self> {
        Self::listen(free_addr()?, backends)
    }

    /// Listens at `addr` and forwards by server name.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn listen(addr: SocketAddr, backends: &[(&str, SocketAddr)]) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        std::fs::write(scratch.join("haproxy.cfg"), configuration(addr, backends))?;
        let mut route = Self {
            scratch,
            addr,
            process: None,
        };
        route.open()?;
        Ok(route)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts every connection, as a router does that restarts, and listens again.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn cut(&mut self) -> io::Result<()> {
        self.process = None;
        self.open()
    }

    fn open(&mut self) -> io::Result<()> {
        let mut haproxy = Command::new(tool("haproxy"));
        haproxy
            .args(["-db", "-f"])
            .arg(self.scratch.join("haproxy.cfg"));
        let mut process = Running::start(&mut haproxy)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.addr).is_err() {
            if Instant::now() > deadline || !process.is_running() {
                return Err(process.complain(io::ErrorKind::TimedOut, "listening"));
            }
            thread::sleep(POLL);
        }
        self.process = Some(process);
        Ok(())
    }
}

fn configuration(addr: SocketAddr, backends: &[(&str, SocketAddr)]) -> String {
    let mut text = format!(
        "defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend public_ssl
    bind {addr}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
"
    );
    for (n, (name, _)) in backends.iter().enumerate() {
        text += &format!("    use_backend be_{n} if {{ req.ssl_sni -i {name} }}\n");
    }
    for (n, (_, backend)) in backends.iter().enumerate() {
        text += &format!("backend be_{n}\n    server pod {backend}\n");
    }
    text
}

/// An address on this machine where nobody listens, free until somebody else takes it.
///
/// # Errors
///
/// When no port is left.
pub fn free_addr() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// How often something awaited is looked at.
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_heard_signalled_and_awaited() {
        let script = "echo ready >&2; echo out; trap 'exit 7' TERM; while :; do sleep 0.01; done";
        let mut shell = Running::start(Command::new("sh").args(["-c", script])).unwrap();
        let line = shell.wait_for("read", Duration::from_secs(10)).unwrap();
        assert_eq!(line, "ready");
        shell.signal(Signal::SIGTERM);
        let ended = shell.wait(Duration::from_secs(10)).unwrap();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "out\n"));
    }

    #[test]
    fn route_forwards_by_server_name_and_refuses_what_is_no_tls() {
        let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let route = Route::start(&[("a.test", backend.local_addr().unwrap())]).unwrap();
        let mut plain = TcpStream::connect(route.addr()).unwrap();
        io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let connect = route.addr().to_string();
        let mut client = Command::new("openssl");
        client.args(["s_client", "-servername", "a.test", "-connect", &connect]);
        let _client = Running::start(&mut client).unwrap();
        let (mut tls, _) = backend.accept().unwrap();
        let mut first = [0; 1];
        tls.read_exact(&mut first).unwrap();
        assert_eq!(
            first,
            [0x16],
            "a TLS handshake record comes through as it was sent"
        );
        assert!(
            !matches!(plain.read(&mut first), Ok(1..)),
            "plain text is not forwarded"
        );
    }
}
