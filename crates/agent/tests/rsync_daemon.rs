//! Daemons and their clients, ours beside the installed rsync at the other end.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

/// Which program.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Ours,
    Stock,
}

impl Whose {
    fn rsync(self) -> Command {
        match self {
            Self::Stock => Command::new("rsync"),
            Self::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_barge"));
                command.arg("rsync");
                command
            }
        }
    }
}

/// A daemon that listens, and the folder of its modules.
struct Daemon {
    child: Child,
    port: u16,
    place: TempDir,
}

impl Daemon {
    /// Serves the modules `rw`, `ro`, `auth`, `denied`, `full` and `picky`, all at one directory.
    fn start(whose: Whose) -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = place.path();
        for dir in ["module", "source/sub"] {
            fs::create_dir_all(at.join(dir)).unwrap();
        }
        fs::write(at.join("source/file"), "content").unwrap();
        fs::write(at.join("source/sub/other"), "more").unwrap();
        fs::write(at.join("motd"), "Welcome\n").unwrap();
        let secrets = at.join("secrets");
        fs::write(&secrets, "alice:s3cret\n@none:x\n").unwrap();
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
        let ids = match nix::unistd::geteuid().is_root() {
            true => "uid = root\ngid = root\n",
            false => "",
        };
        let dir = at.display();
        let config = format!(
            "motd file = {dir}/motd\nuse chroot = no\nreverse lookup = no\n{ids}path = {dir}/module\n\
             lock file = {dir}/lock\nlog file = {dir}/log\nmunge symlinks = no\n\
             [rw]\nread only = no\ncomment = writable area\n\
             [ro]\n\
             [auth]\nread only = no\nauth users = alice:rw bob eve:deny\nsecrets file = {dir}/secrets\n\
             [denied]\nhosts deny = 127.0.0.0/8\n\
             [hidden]\nhosts deny = *\nlist = no\n\
             [full]\nmax connections = -1\n\
             [picky]\nread only = no\nrefuse options = delete checksum\n"
        );
        fs::write(at.join("conf"), config).unwrap();
        let port = free_port();
        let child = whose
            .rsync()
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", at.join("conf").display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the daemon does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, place }
    }

    fn url(&self, path: &str) -> String {
        format!("rsync://127.0.0.1:{}/{path}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Bytes for the daemon, and all it answers.
    fn talk(&self, said: &str) -> String {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tcp.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // What it will not read it may answer with a reset.
        let _ = tcp.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn run(whose: Whose, args: &[&str]) -> Output {
    whose
        .rsync()
        .args(args)
        .env("RSYNC_PASSWORD", "s3cret")
        .env("USER", "alice")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn same(a: &Path, b: &Path) {
    let diff = Command::new("diff")
        .arg("-r")
        .args([a, b])
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", text(&diff.stdout));
}

/// Each end once ours.
const PAIRS: [(Whose, Whose); 3] = [
    (Whose::Stock, Whose::Ours),
    (Whose::Ours, Whose::Stock),
    (Whose::Ours, Whose::Ours),
];

#[test]
fn trees_come_and_go_through_modules() {
    for (client, server) in PAIRS {
        let daemon = Daemon::start(server);
        let source = daemon.path("source");
        let from = format!("{}/", source.display());
        for module in ["rw", "auth"] {
            let pushed = run(client, &["-a", &from, &daemon.url(&format!("{module}/x/"))]);
            let pair = format!("{client:?} to {server:?}: {}", text(&pushed.stderr));
            assert_eq!(pushed.status.code(), Some(0), "{pair}");
            same(&source, &daemon.path("module/x"));
            let back = daemon.path("back");
            let into = format!("{}/", back.display());
            let pulled = run(
                client,
                &[
                    "-a",
                    "--delete",
                    &daemon.url(&format!("{module}/x/")),
                    &into,
                ],
            );
            let pair = format!("{client:?} from {server:?}: {}", text(&pulled.stderr));
            let log = fs::read_to_string(daemon.path("log")).unwrap_or_default();
            assert_eq!(pulled.status.code(), Some(0), "{pair}{log}");
            same(&source, &back);
        }
    }
}

#[test]
fn links_out_of_a_module_are_kept_as_they_are() {
    for client in [Whose::Stock, Whose::Ours] {
        let daemon = Daemon::start(Whose::Ours);
        let source = daemon.path("source");
        let links = [("absolute", "/etc/hosts"), ("sub/up", "../../../x")];
        for (name, target) in links {
            symlink(target, source.join(name)).unwrap();
        }
        let pushed = run(
            client,
            &["-a", &format!("{}/", source.display()), &daemon.url("rw/")],
        );
        let said = text(&pushed.stderr);
        assert_eq!(pushed.status.code(), Some(0), "{client:?}: {said}");
        for (name, target) in links {
            let made = fs::read_link(daemon.path("module").join(name)).unwrap();
            assert_eq!(made, Path::new(target), "{client:?}");
        }
    }
}

#[test]
fn listings_and_refusals_are_those_of_two_stock_rsyncs() {
    let stock = Daemon::start(Whose::Stock);
    for (client, server) in PAIRS {
        let daemon = Daemon::start(server);
        for args in [
            &[""][..],
            &["rw/"],
            &["nope/"],
            &["denied/"],
            &["hidden/"],
            &["full/"],
            &["-c", "picky/"],
            &["--delete-after", "-r", "SOURCE", "picky/"],
            &["-r", "SOURCE", "ro/"],
        ] {
            let outcome = |client: Whose, daemon: &Daemon| {
                let source = format!("{}/", daemon.path("source").display());
                let last = args.len() - 1;
                let args: Vec<String> = args
                    .iter()
                    .enumerate()
                    .map(|(at, arg)| match *arg {
                        "SOURCE" => source.clone(),
                        arg if at == last => daemon.url(arg),
                        arg => arg.to_owned(),
                    })
                    .collect();
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let ended = run(client, &args);
                let said = text(&ended.stderr);
                // Programs name themselves in the last line.
                let is_about_it = |line: &&str| {
                    // Two stock rsyncs often reset the connection before the last word is read.
                    !line.starts_with("rsync error:")
                        && !line.ends_with("reset by peer (104)")
                        && !line.starts_with("rsync: connection unexpectedly closed (")
                };
                let errors: Vec<String> = said
                    .lines()
                    .filter(is_about_it)
                    .map(str::to_owned)
                    .collect();
                let code = ended
                    .status
                    .code()
                    .map(|code| if matches!(code, 10 | 12) { 4 } else { code });
                (code, text(&ended.stdout), errors)
            };
            let expected = outcome(Whose::Stock, &stock);
            let found = outcome(client, &daemon);
            assert_eq!(
                blind(found),
                blind(expected),
                "{client:?} to {server:?}: {args:?}"
            );
        }
    }
}

/// What was printed, without the times of files.
fn blind(
    (code, out, err): (Option<i32>, String, Vec<String>),
) -> (Option<i32>, String, Vec<String>) {
    let line = |line: &str| {
        let words: Vec<&str> = line
            .split(' ')
            .filter(|word| !word.contains([':', '/']))
            .collect();
        words.join(" ")
    };
    let out: Vec<String> = out.lines().map(line).collect();
    (code, out.join("\n"), err)
}

#[test]
fn every_digest_proves_a_password_and_a_wrong_one_is_refused() {
    for (client, server) in PAIRS {
        let daemon = Daemon::start(server);
        for digest in ["sha512", "sha256", "sha1", "md5", "md4", "sha1 md4", ""] {
            let port = tampering(daemon.port, digest);
            let url = format!("rsync://alice@127.0.0.1:{port}/auth/");
            let ended = run(client, &[&url]);
            let pair = format!(
                "{client:?} to {server:?} by {digest:?}: {}",
                text(&ended.stderr)
            );
            assert_eq!(ended.status.code(), Some(0), "{pair}");
        }
        for user in ["bob", "eve", "mallory"] {
            let url = format!("rsync://{user}@127.0.0.1:{}/auth/", daemon.port);
            let ended = run(client, &[&url]);
            assert_eq!(ended.status.code(), Some(5), "{user}");
            assert!(text(&ended.stderr).starts_with("@ERROR: auth failed on module auth\n"));
        }
    }
}

/// Carries one connection to `port`; both greetings name these digests alone, or none and an older
/// version.
fn tampering(port: u16, digests: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().port();
    let greeting = match digests {
        "" => "@RSYNCD: 31.0\n".to_owned(),
        digests => format!("@RSYNCD: 32.0 {digests}\n"),
    };
    std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let ends = [
            (client.try_clone().unwrap(), server.try_clone().unwrap()),
            (server, client),
        ];
        for (from, mut to) in ends {
            let greeting = greeting.clone();
            std::thread::spawn(move || {
                let mut from = BufReader::new(from);
                from.read_until(b'\n', &mut Vec::new()).unwrap();
                to.write_all(greeting.as_bytes()).unwrap();
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    here
}

#[test]
fn strange_clients_are_answered_and_the_daemon_goes_on() {
    let daemon = Daemon::start(Whose::Ours);
    let long = "a".repeat(5000);
    for (said, answer) in [
        ("hello\n", "@ERROR: protocol startup error\n"),
        (
            "@RSYNCD: 31.0\n#nope\n",
            "@ERROR: Unknown command '#nope'\n",
        ),
        (
            "@RSYNCD: 31.0\nauth\nalice\n",
            "@ERROR: auth failed on module auth\n",
        ),
        (&long, ""),
        (
            "@RSYNCD: 31.0\nrw\n--server\0--sender\0-e.v\0.\0rw/\0\0\u{7f}",
            "",
        ),
    ] {
        let found = daemon.talk(said);
        assert!(found.ends_with(answer), "{said:?}: {found:?}");
    }
    let flood = "x\0".repeat(20_000);
    daemon.talk(&format!("@RSYNCD: 31.0\nrw\n{flood}"));
    assert_eq!(
        run(Whose::Stock, &[&daemon.url("rw/")]).status.code(),
        Some(0)
    );
}

/// `barge serve` with the volume `data`, and the folder of that, of its `source` and its `keys`.
struct Served {
    _server: Ends,
    port: u16,
    place: TempDir,
}

impl Served {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        for dir in ["source/sub", "volume"] {
            fs::create_dir_all(place.path().join(dir)).unwrap();
        }
        fs::write(place.path().join("source/sub/file"), "content").unwrap();
        let keys = place.path().join("keys");
        let made = barge().arg("keys").arg(&keys).output().unwrap();
        assert!(made.status.success());
        let port = free_port();
        let child = barge()
            .args(["serve", "--volume"])
            .arg(format!("data={}", place.path().join("volume").display()))
            .arg("--tls")
            .arg(keys)
            .arg(format!("--listen=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _server = Ends(child);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            _server,
            port,
            place,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Sets the time of the source itself, which was not just changed.
    fn let_source_rest(&self) {
        let source = fs::File::open(self.at("source")).unwrap();
        source.set_modified(long_ago()).unwrap();
    }

    /// The volume is as the source is, and as old.
    fn expect_same(&self) {
        same(&self.at("source"), &self.at("volume"));
        let time = fs::metadata(self.at("volume")).unwrap().modified();
        assert_eq!(time.unwrap(), long_ago());
    }

    /// rsync-ssl(1), with the keys of `barge keys` or without.
    fn rsync_ssl(&self, keys: bool, args: &[&str]) -> Output {
        let key = |name: &str| self.at("keys/client").join(name);
        let mut rsync = Command::new("rsync-ssl");
        rsync.arg(format!("--port={}", self.port)).args(args);
        rsync
            .env("RSYNC_SSL_CA_CERT", key("ca.crt"))
            .env("RSYNC_SSL_TYPE", "openssl");
        if keys {
            rsync
                .env("RSYNC_SSL_CERT", key("tls.crt"))
                .env("RSYNC_SSL_KEY", key("tls.key"));
        }
        rsync.stdin(Stdio::null()).output().unwrap()
    }

    /// `barge send` of the source.
    fn send(&self, protocol: &str) -> Output {
        let mut send = barge();
        send.arg("send").arg(self.at("source"));
        send.arg(format!("--to=localhost:{}", self.port));
        send.arg("--tls").arg(self.at("keys"));
        send.args(["--volume=data", "--checksum", "--protocol", protocol]);
        send.output().unwrap()
    }
}

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

fn barge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_barge"))
}

#[test]
fn a_server_of_volumes_is_a_daemon_to_verified_clients_and_to_no_others() {
    let served = Served::start();
    let from = format!("{}/", served.at("source").display());
    let stranger = served.rsync_ssl(false, &["-a", &from, "rsync://localhost/data/"]);
    assert_ne!(stranger.status.code(), Some(0));
    assert_eq!(fs::read_dir(served.at("volume")).unwrap().count(), 0);
    served.let_source_rest();
    let pushed = served.rsync_ssl(true, &["-a", &from, "rsync://localhost/data/"]);
    assert_eq!(pushed.status.code(), Some(0), "{}", text(&pushed.stderr));
    served.expect_same();
    let back = served.at("back");
    let into = format!("{}/", back.display());
    let pulled = served.rsync_ssl(true, &["-a", "rsync://localhost/data/", &into]);
    assert_eq!(pulled.status.code(), Some(0), "{}", text(&pulled.stderr));
    same(&served.at("source"), &back);
}

#[test]
fn a_volume_is_sent_with_its_hard_links_and_its_time_in_either_language() {
    let served = Served::start();
    let file = served.at("source/sub/file");
    fs::hard_link(&file, served.at("source/name")).unwrap();
    for protocol in ["rsync", "native", "auto"] {
        fs::write(&file, protocol).unwrap();
        served.let_source_rest();
        let sent = served.send(protocol);
        let said = text(&sent.stderr);
        assert_eq!(sent.status.code(), Some(0), "{protocol}: {said}");
        served.expect_same();
        let inode = |name: &str| fs::metadata(served.at(name)).unwrap().ino();
        assert_eq!(inode("volume/name"), inode("volume/sub/file"), "{protocol}");
    }
}

/// A process that ends with its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_reaches_its_daemon_through_programs_and_shells() {
    let daemon = Daemon::start(Whose::Stock);
    let config = daemon.path("conf");
    let ours = format!("{} rsync", env!("CARGO_BIN_EXE_barge"));
    let shell = daemon.path("shell");
    // As ssh does: options, host, and the words of a command for the shell.
    let script = "#!/bin/sh\nwhile case $1 in -l) shift;; -*) ;; *) false;; esac; do shift; done\nshift\nexec sh -c \"$*\"\n";
    fs::write(&shell, script).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let source = format!("{}/", daemon.path("source").display());
    for (client, server) in [(Whose::Ours, "rsync"), (Whose::Stock, &*ours)] {
        let at = daemon.path(&format!("over a shell {client:?}"));
        let target = format!("host:{}/", at.display());
        let rsh = format!("--rsh={}", shell.display());
        let path = format!("--rsync-path={server}");
        let pushed = run(client, &["-a", &rsh, &path, &source, &target]);
        assert_eq!(pushed.status.code(), Some(0), "{}", text(&pushed.stderr));
        same(&daemon.path("source"), &at);
        let program = format!("{server} --server --daemon --config={} .", config.display());
        let listed = client
            .rsync()
            .arg("rsync://host/")
            .env("RSYNC_CONNECT_PROG", program)
            .output()
            .unwrap();
        assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
        assert!(text(&listed.stdout).starts_with("Welcome\n\nrw             \twritable area\n"));
    }
}
