//! A peer that follows the protocol as far as an attack needs it, and not a step further.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::mover::program;
use barge_testkit::peer::{Running, free_addr};

use crate::wire::frame;

/// A daemon under attack.
pub(crate) struct Daemon {
    addr: SocketAddr,
    process: Running,
}

impl Daemon {
    /// Starts one that offers `module` at `path`, writable, with `more` lines in its section.
    pub(crate) fn start(scratch: &Path, path: &Path, more: &str) -> Self {
        Self::start_as(rsync(), scratch, path, more)
    }

    /// Starts it with this command, which is an rsync.
    pub(crate) fn start_as(mut command: Command, scratch: &Path, path: &Path, more: &str) -> Self {
        let conf = scratch.join("rsyncd.conf");
        let text = format!(
            "use chroot = no\nuid = 0\ngid = 0\nlog file = {}\n[m]\npath = {}\nread only = no\n{more}\n",
            scratch.join("log").display(),
            path.display()
        );
        std::fs::write(&conf, text).unwrap();
        let addr = free_addr().unwrap();
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        command.arg(format!("--port={}", addr.port()));
        command.arg(format!("--config={}", conf.display()));
        let mut process = Running::start(&mut command).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            assert!(process.is_running(), "{}", process.stderr());
            assert!(Instant::now() < deadline, "the daemon does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Self { addr, process }
    }

    /// Its process, whose children serve one connection each.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The errors in its log.
    pub(crate) fn errors(&self, scratch: &Path) -> usize {
        let log = std::fs::read_to_string(scratch.join("log")).unwrap_or_default();
        log.matches("rsync error: ").count()
    }

    /// Whether an honest client still gets a file through.
    pub(crate) fn serves(&self, scratch: &Path) -> bool {
        let honest = scratch.join("honest");
        std::fs::write(&honest, "honest").unwrap();
        let url = format!("rsync://{}/m/honest", self.addr);
        let mut rsync = Command::new("rsync");
        let status = rsync.args(["--timeout=20", "-I"]).arg(&honest).arg(url);
        status.status().unwrap().success()
    }
}

/// The rsync under attack: ours, or by this variable another, on which the attacks themselves are tried.
pub(crate) fn rsync() -> Command {
    match std::env::var_os("BARGE_ATTACK") {
        Some(program) => Command::new(program),
        None => {
            let mut command = Command::new(program().unwrap());
            command.arg("rsync");
            command
        }
    }
}

/// A connection of an attacker that was let in.
pub(crate) struct Attacker {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    told: Told,
}

/// What the victim said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Its data stream.
    pub(crate) data: Vec<u8>,
    /// Its messages: tag and payload.
    pub(crate) messages: Vec<(u8, Vec<u8>)>,
}

impl Told {
    /// The exit code it told.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.messages.iter().find_map(|(tag, payload)| {
            let code = <[u8; 4]>::try_from(&payload[..]).ok()?;
            (*tag == 86).then(|| i32::from_le_bytes(code))
        })
    }

    /// All its texts.
    pub(crate) fn text(&self) -> String {
        let texts = self.messages.iter().filter(|(tag, _)| (1..5).contains(tag));
        texts
            .map(|(_, text)| String::from_utf8_lossy(text))
            .collect()
    }
}

impl Attacker {
    /// Talks until the multiplexed stream begins: protocol 31, nothing negotiated (MD5), the
    /// flags as bytes.
    pub(crate) fn enter(addr: SocketAddr, args: &[&str]) -> Self {
        Self::knock(addr).into_module("m", args)
    }

    /// As [`Self::enter`], from the greetings on.
    pub(crate) fn into_module(mut self, module: &str, args: &[&str]) -> Self {
        self.say(format!("{module}\n").as_bytes());
        assert_eq!(self.line(), "@RSYNCD: OK\n");
        let args: Vec<u8> = args
            .iter()
            .flat_map(|arg| [arg.as_bytes(), &[0]].concat())
            .collect();
        self.say(&args);
        self.say(&[0]);
        let flags = self.bytes(1);
        if flags[0] & 0x80 != 0 {
            self.bytes(1);
        }
        self.bytes(4);
        self
    }

    /// Connects and exchanges greetings.
    pub(crate) fn knock(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).unwrap())
    }

    /// Exchanges greetings.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        let told = Told::default();
        let mut attacker = Self {
            stream,
            reader,
            told,
        };
        assert!(attacker.line().starts_with("@RSYNCD: "));
        attacker.say(b"@RSYNCD: 31.0 md5\n");
        attacker
    }

    /// Sends raw bytes; that nobody takes them is the victim's right.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a piece of the data stream.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(60_000) {
            self.say(&frame(0, piece));
        }
    }

    /// Sends a piece again and again, in frames of a kind, until so many bytes are out or the victim takes
    /// no more of them. How many bytes it took.
    pub(crate) fn flood(&mut self, tag: u8, piece: &[u8], most: usize) -> usize {
        let frames: Vec<u8> = piece
            .chunks(60_000)
            .flat_map(|piece| frame(tag, piece))
            .collect();
        self.flood_of(most, || frames.clone())
    }

    /// Sends what `next` makes, until so many bytes are out or the victim takes no more of them.
    pub(crate) fn flood_of(&mut self, most: usize, mut next: impl FnMut() -> Vec<u8>) -> usize {
        let patience = Some(Duration::from_millis(1500));
        self.stream.set_write_timeout(patience).unwrap();
        let mut sent = 0;
        while sent < most {
            let bytes = next();
            match self.stream.write_all(&bytes) {
                Ok(()) => sent += bytes.len(),
                Err(_) => break,
            }
        }
        sent
    }

    /// From now on takes what the victim says and forgets it.
    pub(crate) fn ignore(&self) {
        let mut stream = self.stream.try_clone().unwrap();
        stream.set_read_timeout(None).unwrap();
        thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Waits until the victim's data stream has `len` bytes, or ends.
    pub(crate) fn await_data(&mut self, len: usize) {
        while self.told.data.len() < len && self.frame().unwrap_or(false) {}
    }

    /// What comes of the victim's data stream within half a second.
    pub(crate) fn data_of_a_while(&mut self) -> Vec<u8> {
        let a_while = Some(Duration::from_millis(500));
        self.stream.set_read_timeout(a_while).unwrap();
        while self.frame().unwrap_or(false) {}
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        std::mem::take(&mut self.told.data)
    }

    /// Says nothing more, hears the victim out, and returns what it said.
    pub(crate) fn end(self) -> Told {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self.hear_out()
    }

    /// Hears the victim out while the connection stays open on this side.
    ///
    /// # Panics
    ///
    /// When it goes on for too long: an attack must not hold it.
    pub(crate) fn hear_out(mut self) -> Told {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.frame() {
                Ok(true) => assert!(Instant::now() < deadline, "the victim goes on"),
                Ok(false) => return self.told,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the victim waits for more: {:?}", self.told)
                }
                // A reset: it closed with bytes of ours unread.
                Err(_) => return self.told,
            }
        }
    }

    /// Hears the victim until it tells an exit code, or ends.
    pub(crate) fn hear_code(mut self) -> Told {
        while self.told.exit_code().is_none() && self.frame().unwrap_or(false) {}
        self.told
    }

    fn frame(&mut self) -> io::Result<bool> {
        let mut head = [0; 4];
        match self.reader.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8];
        payload.resize(payload.len() | usize::from(head[2]) << 16, 0);
        self.reader.read_exact(&mut payload)?;
        match head[3].wrapping_sub(7) {
            0 => self.told.data.extend(payload),
            tag => self.told.messages.push((tag, payload)),
        }
        Ok(true)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
