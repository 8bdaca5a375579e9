//! `barge serve` under peers that are silent, slow, or send without end, in both of its languages: others
//! are served meanwhile, and its memory stays within bounds.
//!
//! Who has shown a certificate is an attacker as well. TLS is spoken by openssl, a process for each
//! connection.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::mover::{HOST, barge, make_keys};
use barge_testkit::peer::{Ended, Running};
use barge_testkit::scratch::Scratch;

use crate::native::{self, DIRECTORY, FILE, Fields};
use crate::peak::{Peak, limited};
use crate::peer::{Attacker, Told};
use crate::wire::{Entry, LIST_END, frame};

/// Bytes of data that the server may have where it is flooded.
const LIMIT: usize = 192 << 20;

/// What it may take at most of them.
const MUCH: usize = LIMIT * 3 / 4;

/// More than it could hold, sent by one attacker.
const FLOOD: usize = 512 << 20;

/// How long an honest run may take beside an attack.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server of the volumes `one` and `two`.
struct Stage {
    place: Scratch,
    addr: SocketAddr,
    server: Running,
}

impl Stage {
    fn new() -> Self {
        Self::start(|server| server)
    }

    fn limited() -> Self {
        Self::start(|server| limited(LIMIT, &server))
    }

    fn start(as_what: impl FnOnce(Command) -> Command) -> Self {
        let place = Scratch::new().unwrap();
        make_keys(&place.join("keys")).unwrap();
        let mut server = barge().unwrap();
        server.arg("serve").arg("--tls").arg(place.join("keys"));
        for volume in ["one", "two"] {
            let dir = place.dir(volume).unwrap();
            server.arg(format!("--volume={volume}={}", dir.display()));
        }
        server.arg("--listen=127.0.0.1:0");
        let mut server = Running::start(&mut as_what(server)).unwrap();
        let line = server.wait_for("listening on ", PATIENCE).unwrap();
        let port = line.rsplit("127.0.0.1:").next().unwrap();
        let digits = port.find(|c: char| !c.is_ascii_digit());
        let port: u16 = port[..digits.unwrap_or(port.len())].parse().unwrap();
        Self {
            place,
            addr: (Ipv4Addr::LOCALHOST, port).into(),
            server,
        }
    }

    /// The command that carries its standard streams to the server as a verified client.
    fn openssl(&self) -> Command {
        let key = |name: &str| self.place.join("keys/client").join(name);
        let mut openssl = Command::new("openssl");
        openssl
            .args(["s_client", "-quiet", "-verify_quiet", "-servername", HOST])
            .args(["-connect", &self.addr.to_string()]);
        openssl.arg("-CAfile").arg(key("ca.crt"));
        openssl.arg("-cert").arg(key("tls.crt"));
        openssl.arg("-key").arg(key("tls.key"));
        openssl
    }

    /// A connection of a verified client that names this protocol in its handshake, or none.
    fn connect(&self, alpn: Option<&str>) -> Tls {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let mut openssl = self.openssl();
        openssl.args(alpn.into_iter().flat_map(|alpn| ["-alpn", alpn]));
        let input = OwnedFd::from(theirs.try_clone().unwrap());
        let openssl = openssl
            .stdin(input)
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let connection = Ends(openssl);
        Tls {
            stream,
            _connection: connection,
        }
    }

    /// A native client that has begun a dry run.
    fn native(&self) -> Tls {
        let mut tls = self.connect(NATIVE);
        native::begin(&mut tls.stream, "one");
        tls
    }

    /// An attacker that speaks rsync, with its arguments told.
    fn rsync(&self, volume: &str, args: &[&str]) -> (Attacker, Tls) {
        let tls = self.connect(None);
        let attacker = Attacker::over(tls.stream.try_clone().unwrap());
        let path = format!("{volume}/");
        let args: Vec<&str> = args.iter().copied().chain([".", &path]).collect();
        (attacker.into_module(volume, &args), tls)
    }

    /// An honest run to the volume `two`, in this language.
    fn honest(&self, is_native: bool) -> Ended {
        let source = self.place.join("source");
        let _ = fs::create_dir(&source);
        fs::write(source.join("file"), "honest").unwrap();
        let mut client = match is_native {
            true => {
                let mut send = barge().unwrap();
                send.arg("send").arg(&source).arg("--volume=two");
                send.args(["--to", &self.addr.to_string(), "--server-name", HOST]);
                send.arg("--tls").arg(self.place.join("keys"));
                send
            }
            false => {
                let openssl = self.openssl();
                let words = openssl.get_args().map(|arg| arg.to_str().unwrap());
                let words: Vec<&str> = ["openssl"].into_iter().chain(words).collect();
                let mut rsync = Command::new("rsync");
                rsync.env("RSYNC_CONNECT_PROG", words.join(" "));
                rsync.arg("-rI").arg(format!("{}/", source.display()));
                rsync.arg("rsync://server/two/");
                rsync
            }
        };
        let running = Running::start(&mut client).unwrap();
        running.wait(PATIENCE).unwrap()
    }

    #[track_caller]
    fn serves(&self, is_native: bool) {
        let copy = self.place.join("two/file");
        let _ = fs::remove_file(&copy);
        let ended = self.honest(is_native);
        assert_eq!(ended.code, Some(0), "native {is_native}: {}", ended.stderr);
        assert_eq!(fs::read(copy).unwrap(), b"honest");
    }

    #[track_caller]
    fn serves_in_both_languages(&self) {
        self.serves(true);
        self.serves(false);
    }

    /// What the server says of a run that it ended, within some seconds.
    fn reason(&self) -> String {
        let begun = Instant::now();
        while !self.server.stderr().contains("broke the protocol") && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        self.server.stderr()
    }

    /// Makes an attack; returns what the server took at most, and what the attack did. It still serves.
    #[track_caller]
    fn peak_of<T>(&self, attack: impl FnOnce() -> T) -> (usize, T) {
        let peak = Peak::watch(self.server.id());
        let done = attack();
        let peak = peak.end();
        self.serves_in_both_languages();
        (peak, done)
    }
}

/// A connection through openssl.
struct Tls {
    stream: TcpStream,
    _connection: Ends,
}

/// A process that ends with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NATIVE: Option<&str> = Some("barge/1");

#[test]
fn connections_that_never_shake_hands_hold_nobody_up() {
    let stage = Stage::new();
    // More than may shake hands at a time; each of them began, or said nothing at all.
    let silent: Vec<TcpStream> = (0..400)
        .map(|n| {
            let mut stream = TcpStream::connect(stage.addr).unwrap();
            let began = &[0x16, 3, 1, 2, 0, 1][..n % 7];
            stream.write_all(began).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    stage.serves_in_both_languages();
    // Not by waiting until the others have met their deadline.
    assert!(begun.elapsed() < Duration::from_secs(8));
    drop(silent);
}

#[test]
fn verified_peers_that_stay_silent_hold_nobody_up() {
    let stage = Stage::new();
    let silent: Vec<Tls> = (0..40)
        .flat_map(|_| [stage.connect(NATIVE), stage.connect(None)])
        .collect();
    for tls in silent.iter().skip(1).step_by(2) {
        // It was let in: the server speaks first.
        let mut first = [0];
        (&tls.stream).read_exact(&mut first).unwrap();
        assert_eq!(first, *b"@");
    }
    stage.serves_in_both_languages();
}

#[test]
fn peers_that_talk_slowly_hold_nobody_up_and_are_cut_off() {
    let stage = Stage::new();
    let hello = native::hello("one");
    let drip = |mut tls: Tls, words: Vec<u8>| {
        thread::spawn(move || {
            let begun = Instant::now();
            tls.stream.set_nodelay(true).unwrap();
            let mut heard = tls.stream.try_clone().unwrap();
            let listener = thread::spawn(move || {
                let mut all = Vec::new();
                let _ = heard.read_to_end(&mut all);
                begun.elapsed()
            });
            for byte in words {
                if listener.is_finished() || tls.stream.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(400));
            }
            listener.join().unwrap()
        })
    };
    let slow: Vec<_> = (0..10)
        .flat_map(|_| {
            [
                drip(stage.connect(NATIVE), hello.clone()),
                drip(stage.connect(None), b"@RSYNCD: 31.0 md5\n".repeat(2)),
            ]
        })
        .collect();
    stage.serves_in_both_languages();
    for (n, slow) in slow.into_iter().enumerate() {
        let lasted = slow.join().unwrap();
        // A hello has ten seconds, and what follows a greeting is no name of a module.
        assert!(lasted < Duration::from_secs(25), "{n}: {lasted:?}");
    }
}

#[test]
fn places_for_runs_in_rsync_s_language_are_limited_and_keep_none_of_ours_out() {
    let stage = Stage::new();
    let letters = ["--server", "--sender", "-logDtpre.Lsf"];
    let inside: Vec<_> = (0..32).map(|_| stage.rsync("one", &letters)).collect();
    let ended = stage.honest(false);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let words = "@ERROR: max connections (32) reached -- try again later";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    stage.serves(true);
    drop(inside);
    let begun = Instant::now();
    while stage.honest(false).code != Some(0) {
        assert!(begun.elapsed() < PATIENCE, "places are not given back");
    }
}

const PUSH: [&str; 3] = ["--server", "-nlogDtpre.Lsf", "--numeric-ids"];

/// A piece of a list of files.
fn files() -> Vec<u8> {
    frame(0, &Entry::file(&[b'x'; 100], 1).bytes().repeat(400))
}

/// Sends a list without end, until it is refused. How much was sent until then, and what was told.
fn flood((attacker, mut tls): (Attacker, Tls)) -> (usize, Told) {
    let told = thread::spawn(|| attacker.hear_code());
    let (mut sent, piece) = (0, files());
    while sent < FLOOD && !told.is_finished() && tls.stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    (sent, told.join().unwrap())
}

#[test]
fn list_without_end_in_rsync_s_language_is_refused() {
    let stage = Stage::limited();
    let (peak, (_, told)) = stage.peak_of(|| flood(stage.rsync("one", &PUSH)));
    assert_eq!(told.exit_code(), Some(22), "{told:?}");
    assert!(peak < MUCH, "{peak}");
}

#[test]
fn two_peers_together_hold_no_more_than_one_may() {
    let (alone, _) = flood(Stage::limited().rsync("one", &PUSH));
    let stage = Stage::limited();
    let (peak, ()) = stage.peak_of(|| {
        let (mut first, mut first_tls) = stage.rsync("one", &PUSH);
        let mut sent = 0;
        while sent < alone / 2 {
            let piece = files();
            first_tls.stream.write_all(&piece).unwrap();
            sent += piece.len();
        }
        // Until it has arrived.
        thread::sleep(Duration::from_secs(2));
        let (took, told) = flood(stage.rsync("two", &PUSH));
        assert_eq!(
            told.exit_code(),
            Some(22),
            "{took} {alone} {told:?} {}",
            stage.server.stderr()
        );
        assert!(took < alone * 3 / 4, "{took} beside {sent}, {alone} alone");
        // What was refused to the second was not taken from the first: its list is worked on.
        first.say(&frame(0, LIST_END));
        first.await_data(1);
        let data = first.data_of_a_while();
        assert!(
            !data.is_empty(),
            "{sent} beside {took}, {alone} alone, {}",
            stage.server.stderr()
        );
    });
    assert!(peak < MUCH, "{peak}");
}

/// What a server has said in the native language.
#[derive(Default)]
struct Heard {
    /// Messages of the control lane.
    control: AtomicU64,
    /// Segments that are done.
    done: AtomicU64,
}

impl Heard {
    /// Hears a server out, and gives it no word of what was received.
    fn listen(stream: &TcpStream) -> Arc<Self> {
        let (mut stream, heard) = (stream.try_clone().unwrap(), Arc::new(Self::default()));
        stream.set_read_timeout(None).unwrap();
        let listener = Arc::clone(&heard);
        thread::spawn(move || {
            while let Ok((tag, _)) = native::read_frame(&mut stream) {
                if (0x20..0x40).contains(&tag) {
                    listener.control.fetch_add(1, Ordering::Relaxed);
                }
                if tag == native::DONE {
                    listener.done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        heard
    }

    fn count(&self) -> u64 {
        self.control.load(Ordering::Relaxed)
    }

    /// Sends segments of so many entries, never more than the list window has room for, until so much
    /// is out, the server takes no more, or nothing was done for some seconds. How much it took.
    fn list(&self, tls: &mut Tls, many: u64, entry: &dyn Fn(u64) -> Fields) -> usize {
        let (mut sent, mut last) = (0, Instant::now());
        for number in 0.. {
            let entries: Vec<_> = (number * many..(number + 1) * many).map(entry).collect();
            let segment = native::segment(number, &entries);
            let room = (2 << 20) / segment.len().max(4096) as u64;
            while number - self.done.load(Ordering::Relaxed) > room {
                if last.elapsed() > Duration::from_secs(3) {
                    return sent;
                }
                thread::sleep(Duration::from_millis(1));
            }
            last = Instant::now();
            if sent > FLOOD || tls.stream.write_all(&segment).is_err() {
                return sent;
            }
            sent += segment.len();
        }
        sent
    }
}

#[test]
fn directories_and_hard_links_without_end_are_refused_in_the_native_language() {
    let directory = |n: u64| {
        let name = format!("{n:0200}");
        let entry = Fields::new().entry(DIRECTORY | native::ATTRIBUTES, name.as_bytes());
        let entry = entry.varint(1).counted(b"user.x").counted(&[b'v'; 2000]);
        // The root is number 0.
        entry.varint(n + 1)
    };
    let leader = |n: u64| {
        let name = format!("{n:0200}");
        let entry = Fields::new().entry(FILE | native::SEVERAL_NAMES, name.as_bytes());
        entry.varint(0).byte(0).varint(n)
    };
    for (what, entry) in [
        ("directories", &directory as &dyn Fn(u64) -> Fields),
        ("leaders of hard links", &leader),
    ] {
        let stage = Stage::limited();
        let (peak, why) = stage.peak_of(|| {
            let mut tls = stage.native();
            let heard = Heard::listen(&tls.stream);
            let took = heard.list(&mut tls, 20, entry);
            assert!(took < FLOOD, "{what}");
            stage.reason()
        });
        assert!(why.contains("directories and hard links"), "{what}: {why}");
        assert!(peak < MUCH, "{what}: {peak}");
    }
}

#[test]
fn answers_wait_in_bounds_for_a_peer_that_never_says_it_has_received_them() {
    let name = |n: u64| match n % 2 {
        // A name of our own temporary files is refused: each answer has a text.
        0 => format!(".barge-{n:032x}"),
        _ => format!("{n}"),
    };
    let file = |n: u64| Fields::new().entry(FILE, name(n).as_bytes()).varint(0);
    let stage = Stage::limited();
    let (peak, ()) = stage.peak_of(|| {
        let mut tls = stage.native();
        let heard = Heard::listen(&tls.stream);
        let took = heard.list(&mut tls, 500, &file);
        assert!(took < FLOOD / 4, "{took}");
        // With the word it goes on.
        let messages = heard.count();
        tls.stream.write_all(&native::received(messages)).unwrap();
        let begun = Instant::now();
        while heard.count() == messages {
            assert!(begun.elapsed() < PATIENCE, "it does not go on");
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(peak < MUCH, "{peak}");
}
