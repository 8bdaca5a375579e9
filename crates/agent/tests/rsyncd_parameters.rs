//! The parameters of rsyncd.conf(5) and the options that go with them: our daemon, and our client,
//! beside two stock rsyncs under the same configuration.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

/// A configuration, and what clients do with it. `@` stands for the folder of all files, `PORT` for
/// the daemon's port, `URL` for the module `m`. What begins with `stock` is done by the stock client in any
/// case.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    global: &'static str,
    /// What stands in the module `m`, whose directory is `@/module`.
    module: &'static str,
    /// Arguments of clients, one after the other.
    runs: &'static [&'static str],
}

const fn case(name: &'static str, module: &'static str, runs: &'static [&'static str]) -> Case {
    Case {
        name,
        global: "",
        module,
        runs,
    }
}

const fn global(
    name: &'static str,
    global: &'static str,
    module: &'static str,
    runs: &'static [&'static str],
) -> Case {
    Case {
        name,
        global,
        module,
        runs,
    }
}

const PULL: &str = "-a URL/ @/dest/";
const PUSH: &str = "-a @/source/ URL/";
const LIST: &str = "rsync://127.0.0.1:PORT/";

#[test]
fn what_a_module_shows_and_lets_do_is_as_with_stock() {
    compare(&[
        case(
            "comment and list",
            "comment = of this  and that\n[hidden]\nlist = no\n[open]\nlist = yes\ncomment = -",
            &[
                LIST,
                "--port=PORT 127.0.0.1::",
                "rsync://127.0.0.1:PORT/hidden/",
            ],
        ),
        global(
            "motd file",
            "motd file = @/motd",
            "",
            &[
                LIST,
                "--no-motd rsync://127.0.0.1:PORT/",
                PULL,
                "-v -r URL/a.txt @/dest/",
            ],
        ),
        global("no motd file", "motd file = @/nowhere", "", &[LIST, PULL]),
        case("write only", "write only = yes\nread only = no", &[PUSH]),
        case(
            "read and write only",
            "write only = yes\nread only = yes",
            &[PUSH],
        ),
        case("read only", "", &[PUSH, "-n -a @/source/ URL/"]),
        case("path that is missing", "path = @/nope", &[PULL]),
        case("path that is a file", "path = @/motd", &[PULL]),
        case(
            "unknown parameters",
            "foo  bar = 1\nread only = on\nport = 7\nwhat",
            &[PULL, LIST],
        ),
        global(
            "unknown global parameter",
            "quux = 2\nuse Chroot = perhaps",
            "",
            &[PULL],
        ),
        global(
            "include",
            "&include @/conf.d",
            "",
            &[LIST, "-r rsync://127.0.0.1:PORT/extra/ @/dest/"],
        ),
        global("merge", "&merge @/conf.d", "", &[LIST, "-r URL/ @/dest/"]),
        case(
            "timeout",
            "timeout = 30\nread only = no",
            &[PULL, PUSH, "--timeout=60 -a URL/ @/dest/"],
        ),
    ]);
}

#[test]
fn hosts_are_let_in_and_kept_out_as_with_stock() {
    compare(&[
        case("allow", "hosts allow = 10.0.0.0/8 127.0.0.1", &["URL/"]),
        case(
            "allow others",
            "hosts allow = 10.0.0.0/8, 192.168.*",
            &["URL/", LIST],
        ),
        case(
            "allow and deny others",
            "hosts allow = 10.0.0.0/8\nhosts deny = 192.168.0.0/16",
            &["URL/"],
        ),
        case(
            "allow over deny",
            "hosts allow = 127.0.0.1\nhosts deny = *",
            &["URL/"],
        ),
        case(
            "deny by mask",
            "hosts deny = 127.0.0.0/255.0.0.0",
            &["URL/"],
        ),
        case(
            "deny by pattern",
            "hosts deny = 127.*\nlist = no",
            &["URL/"],
        ),
        case(
            "no mask",
            "hosts allow = 127.0.0.0/33 10.0.0.0/x",
            &["URL/"],
        ),
        case(
            "no mask first",
            "hosts allow = 127.0.0.0/x 127.0.0.1",
            &["URL/"],
        ),
        global(
            "a name looked up",
            "reverse lookup = no",
            "hosts allow = localhost",
            &["URL/", "rsync://127.0.0.1:PORT/nowhere/"],
        ),
        global(
            "a name denied",
            "reverse lookup = no",
            "hosts deny = localhost",
            &["URL/"],
        ),
        global(
            "a name not looked up",
            "reverse lookup = no\nforward lookup = no",
            "hosts allow = localhost",
            &["URL/"],
        ),
    ]);
}

#[test]
fn filters_of_a_module_are_as_with_stock() {
    let runs: &[&str] = &[
        "-av URL/ @/dest/",
        "-a URL/b.log @/dest/",
        "-a URL/sub/ @/dest/",
        "-a --delete @/source/ URL/",
        "-a @/source/b.log URL/b.log",
        "-r @/source/ URL/sub/",
    ];
    let cases = [
        ("exclude", "exclude = *.log"),
        ("include", "include = b.log\nexclude = *.log"),
        ("filter", "filter = - *.log"),
        ("filters", "filter = + a.txt + */ - *"),
        ("exclude anchored", "exclude = /sub"),
        ("exclude a directory", "exclude = sub/"),
        ("exclude from", "exclude from = @/patterns"),
        ("include from", "include from = @/patterns\nexclude = *"),
    ];
    compare(&cases.map(|(name, module)| {
        let module = format!("read only = no\n{module}");
        case(name, module.leak(), runs)
    }));
}

/// Both refuse it; ours says to the client that it does.
#[test]
fn module_whose_rules_cannot_be_read_is_refused_as_with_stock() {
    for rules in [
        "exclude from = @/nowhere",
        "include from = @/nowhere",
        "filter = bogus",
    ] {
        let refused = |whose| {
            let daemon = Daemon::start(whose, "", rules);
            let said = daemon.client(Whose::Stock, "URL/");
            daemon.wait_for_ends();
            (said.starts_with("code Some(5)"), ordered(&daemon.log()))
        };
        assert_eq!(refused(Whose::Ours), refused(Whose::Stock), "{rules}");
    }
}

/// Unlike stock, which takes such a mask for one that nobody is behind.
#[test]
fn mask_that_is_none_denies() {
    let daemon = Daemon::start(Whose::Ours, "", "hosts deny = 10.0.0.0/33");
    let said = daemon.client(Whose::Stock, "URL/");
    assert!(said.contains("@ERROR: access denied to m"), "{said}");
    daemon.wait_for_ends();
    assert!(daemon.log().contains("malformed mask in 10.0.0.0/33\n"));
}

#[test]
fn modes_and_links_are_as_with_stock() {
    let links: &[&str] = &["-a @/links/ URL/", "-a URL/ @/dest/"];
    compare(&[
        case(
            "incoming chmod",
            "read only = no\nincoming chmod = Du=rwx,Dgo=rx,Fu=rw,Fgo=",
            &[
                PUSH,
                "-r @/source/ URL/sub/",
                "-a --chmod=F666 @/source/ URL/x/",
            ],
        ),
        case(
            "incoming chmod that is none",
            "read only = no\nincoming chmod = u=q",
            &[PUSH],
        ),
        case("outgoing chmod", "outgoing chmod = D700,F640", &[PULL]),
        case(
            "fake super",
            "read only = no\nfake super = yes",
            &[
                "stock -a --fake-super --chown=12:34 @/source/ @/module/fake/",
                "-a URL/ @/dest/",
            ],
        ),
        case(
            "munge symlinks",
            "read only = no\nmunge symlinks = yes",
            links,
        ),
        case("munging left open", "read only = no", links),
    ]);
}

#[test]
fn roots_and_owners_are_as_with_stock() {
    let own: &[&str] = &[
        "-a --usermap=daemon:1234 --groupmap=daemon:1235 @/source/ URL/",
        "-a --usermap=daemon:1236 --groupmap=daemon:1237 URL/ @/dest/",
    ];
    let uses: &[&str] = &["-a @/source/ URL/new/", PULL, "URL/b.log"];
    let links: &[&str] = &["-a @/links/ URL/", "-a URL/ @/dest/"];
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    compare(&[
        case("use chroot", "read only = no\nuse chroot = yes", links),
        case("numeric ids", "read only = no\nnumeric ids = yes", own),
        case("names", "read only = no\nnumeric ids = no", own),
        case("ids left open", "read only = no", own),
        case(
            "ids left open under a root",
            "read only = no\nuse chroot = yes",
            own,
        ),
        case(
            "names under a root",
            "read only = no\nuse chroot = yes\nnumeric ids = no",
            own,
        ),
        case(
            "uid and gid",
            "read only = no\nuid = daemon\ngid = daemon",
            uses,
        ),
        case(
            "uid and gid as numbers",
            "read only = no\nuid = 4711\ngid = 4712, 4713",
            uses,
        ),
        case(
            "groups of a user",
            "read only = no\nuid = daemon\ngid = *",
            uses,
        ),
        case("unknown uid", "uid = nosuchuser", &[PULL]),
        case("unknown gid", "gid = nosuchgroup", &[PULL]),
        case("nobody", "read only = no\nuid =\ngid =", uses),
    ]);
}

#[test]
fn logs_and_words_are_as_with_stock() {
    let all: &[&str] = &[
        "-a @/source/ URL/",
        "-a --delete @/source/sub/ URL/",
        "-a URL/ @/dest/",
        "-n -r @/source/ URL/",
        "-r URL/nope @/dest/",
        "-r --include=*.txt --exclude=* URL/ @/dest/",
    ];
    let words: &[&str] = &[
        "-av URL/ @/dest/",
        "-nav URL/ @/dest/two/",
        "-av @/source/ URL/",
        "-rv --delete @/source/sub/ URL/",
        "-avi @/source/ URL/",
    ];
    compare(&[
        case("no transfer logging", "read only = no", all),
        case(
            "transfer logging",
            "read only = no\ntransfer logging = yes",
            all,
        ),
        case(
            "log format",
            "read only = no\ntransfer logging = yes\nlog format = %o|%i|%n|%f|%l|%m|%u|%a|%h|%P|%M|%B|%C|%L|%U|%G|%%",
            all,
        ),
        case(
            "log format without logging",
            "read only = no\nlog format = %n",
            &[PUSH],
        ),
        case(
            "max verbosity 0",
            "read only = no\nmax verbosity = 0",
            words,
        ),
        case("max verbosity 1", "read only = no", words),
        case(
            "max verbosity 3",
            "read only = no\nmax verbosity = 3",
            words,
        ),
        case(
            "words and transfer logging",
            "read only = no\ntransfer logging = yes",
            words,
        ),
        case("no module's compression", "", &["-zav URL/big.txt @/dest/"]),
        case(
            "dont compress",
            "dont compress = *",
            &["-zav URL/big.txt @/dest/"],
        ),
        case(
            "dont compress a suffix",
            "dont compress = *.txt",
            &[
                "-zav --zc=zlib URL/big.txt @/dest/",
                "-zav --zc=zstd URL/big.txt @/dest/two",
            ],
        ),
        case(
            "dont compress another suffix",
            "dont compress = *.gz",
            &["-zav --zc=zlib URL/big.txt @/dest/"],
        ),
    ]);
}

#[test]
fn passwords_are_taken_and_refused_as_with_stock() {
    let auth = "auth users = alice\nsecrets file = @/secrets\n";
    let runs: &[&str] = &[
        "--password-file=@/password -r URL/ @/dest/",
        "--password-file=@/password rsync://alice@127.0.0.1:PORT/m/",
        "--password-file=@/password --port=PORT alice@127.0.0.1::m/",
        "--password-file=@/password --port=PORT rsync://127.0.0.1/m/",
        "--password-file=@/wrong URL/",
        "--password-file=@/open URL/",
        "--password-file=@/empty URL/",
        "--password-file=@/nope URL/",
        "--password-file=@/source URL/",
        "--password-file=@/lines URL/",
        "--password-file=@/password -r @/source/ @/dest/",
        "--password-file=@/password rsync://bob@127.0.0.1:PORT/m/",
    ];
    let one: &[&str] = &["--password-file=@/password URL/"];
    let with = |more: &str| -> &'static str { format!("{auth}{more}").leak() };
    compare(&[
        case("passwords", with(""), runs),
        case(
            "secrets all can read",
            with("secrets file = @/secrets-open"),
            one,
        ),
        case(
            "strict modes off",
            with("secrets file = @/secrets-open\nstrict modes = no"),
            one,
        ),
        case(
            "secrets that are missing",
            with("secrets file = @/nope"),
            one,
        ),
        case("no secrets file", "auth users = alice", one),
        case("a password nobody asks for", "", one),
    ]);
    if nix::unistd::geteuid().is_root() {
        compare(&[
            case(
                "secrets of another",
                with("secrets file = @/secrets-other"),
                one,
            ),
            case(
                "a password file of another",
                with(""),
                &["--password-file=@/password-other URL/"],
            ),
        ]);
    }
}

/// Their logs differ: stock counts bytes of what it refuses to send.
#[test]
fn what_is_not_sent_is_refused_as_with_stock() {
    for (module, run) in [
        ("write only = yes\nread only = no", PULL),
        ("write only = yes\nread only = yes", "URL/"),
        ("read only = yes", "-r --remove-source-files URL/ @/dest/"),
    ] {
        let said =
            PAIRS.map(|(client, server)| Daemon::start(server, "", module).client(client, run));
        assert!(said.iter().all(|other| *other == said[0]), "{said:#?}");
    }
}

#[test]
fn connections_beyond_the_limit_are_refused_as_with_stock() {
    let full = |whose| {
        let daemon = Daemon::start(whose, "", "max connections = 1\nlock file = @/lock");
        let held = daemon.hold();
        let refused = daemon.client(Whose::Stock, "URL/");
        drop(held);
        daemon.wait_for_ends();
        let admitted = daemon.client(Whose::Stock, "-r URL/ @/dest/");
        (refused, admitted)
    };
    assert_eq!(full(Whose::Ours), full(Whose::Stock));
}

#[test]
fn a_client_that_stays_silent_is_left_as_with_stock() {
    let left = |whose| {
        let daemon = Daemon::start(whose, "", "timeout = 1");
        let mut held = daemon.hold();
        held.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        held.read_to_end(&mut Vec::new()).is_ok()
    };
    assert!(left(Whose::Ours));
    assert!(left(Whose::Stock));
}

#[test]
fn a_pid_file_is_there_as_long_as_the_daemon_as_with_stock() {
    let life = |whose: Whose| {
        let mut daemon = Daemon::start(whose, "pid file = @/pid", "");
        let pid = daemon.path("pid");
        let is_own = fs::read_to_string(&pid).unwrap() == format!("{}\n", daemon.child.id());
        let mut second = whose.rsync();
        second.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        second.arg(format!("--port={}", free_port()));
        second.arg(format!("--config={}", daemon.path("conf").display()));
        let second = second.stdin(Stdio::null()).output().unwrap();
        let said = daemon.mask(&String::from_utf8_lossy(&second.stderr));
        let said = said.lines().next().map(str::to_owned);
        let id = nix::unistd::Pid::from_raw(daemon.child.id().try_into().unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        let code = daemon.child.wait().unwrap().code();
        (
            is_own,
            second.status.code(),
            said,
            pid.exists(),
            code,
            daemon.log(),
        )
    };
    assert_eq!(life(Whose::Ours), life(Whose::Stock));
}

/// Plays cases with each end once ours and beside two stock ones, and tells all that differs.
fn compare(cases: &[Case]) {
    let mut differences = String::new();
    for case in cases {
        let found = std::thread::scope(|scope| {
            let played =
                PAIRS.map(|(client, server)| scope.spawn(move || play(case, client, server)));
            played.map(|played| played.join().unwrap())
        });
        let [expected, others @ ..] = &found;
        for (pair, other) in PAIRS[1..].iter().zip(others) {
            if other != expected {
                let (client, server) = pair;
                let name = case.name;
                let diff = diff(expected, other);
                writeln!(
                    differences,
                    "== {name}: {client:?} client, {server:?} daemon\n{diff}"
                )
                .unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

/// Client and daemon: first the two stock ones.
const PAIRS: [(Whose, Whose); 3] = [
    (Whose::Stock, Whose::Stock),
    (Whose::Stock, Whose::Ours),
    (Whose::Ours, Whose::Stock),
];

/// All that happened in a case, as lines.
fn play(case: &Case, client: Whose, server: Whose) -> String {
    let daemon = Daemon::start(server, case.global, case.module);
    let mut happened = String::new();
    for run in case.runs {
        let (client, args) = match run.strip_prefix("stock ") {
            Some(args) => (Whose::Stock, args),
            None => (client, *run),
        };
        writeln!(happened, "{run}\n{}", daemon.client(client, args)).unwrap();
        daemon.wait_for_ends();
        for dir in ["module", "dest"] {
            writeln!(happened, "{dir}:").unwrap();
            tree(&daemon.path(dir), &daemon.path(dir), &mut happened);
        }
    }
    happened + "log:\n" + &ordered(&daemon.log())
}

/// A log with the lines of each connection sorted: two processes of a receiver write them.
/// What comes before the daemon's first line was said of its configuration by ours alone.
fn ordered(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let begins = |line: &&str| line.starts_with("rsyncd version");
    let first = lines.iter().position(begins).unwrap_or(0);
    let connections = lines[first..].chunk_by(|_, next| !next.starts_with("connect from"));
    let sorted = connections.map(|lines| {
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        lines.join("\n") + "\n"
    });
    sorted.collect()
}

fn diff(a: &str, b: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (a, b) = (write("stock", a), write("ours", b));
    let out = Command::new("diff").arg("-U1").args([a, b]).output();
    String::from_utf8_lossy(&out.unwrap().stdout).into_owned()
}

/// Which program.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Ours,
    Stock,
}

impl Whose {
    fn rsync(self) -> Command {
        let mut command = match self {
            Self::Stock => Command::new("rsync"),
            Self::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_barge"));
                command.arg("rsync");
                command
            }
        };
        command
            .env("USER", "alice")
            .env("TZ", "UTC")
            .env("LC_ALL", "C");
        command
    }
}

/// A daemon that listens, and the folder of its files.
struct Daemon {
    child: Child,
    port: u16,
    place: TempDir,
}

impl Daemon {
    fn start(whose: Whose, global: &str, module: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        furnish(place.path());
        let ids = match nix::unistd::geteuid().is_root() {
            true => "uid = root\ngid = root\n",
            false => "",
        };
        let config = format!(
            "use chroot = no\nreverse lookup = no\n{ids}path = @/module\nlog file = @/log\n\
             {global}\n[m]\n{module}\n"
        );
        let at = place.path().display().to_string();
        let path = place.path().join("conf");
        fs::write(&path, config.replace('@', &at)).unwrap();
        let port = free_port();
        let mut command = whose.rsync();
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        command
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", path.display()));
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let daemon = Self { child, port, place };
        wait_until(|| is_listening(port));
        wait_until(|| daemon.log().contains("listening"));
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// What a client says, and its exit code.
    fn client(&self, whose: Whose, args: &str) -> String {
        let port = self.port.to_string();
        let at = self.place.path().display().to_string();
        let args = args
            .replace("URL", "rsync://127.0.0.1:PORT/m")
            .replace("PORT", &port)
            .replace("@/", &format!("{at}/"));
        let mut command = whose.rsync();
        command.args(args.split(' ')).stdin(Stdio::null());
        let ended = command.output().unwrap();
        let text = |bytes: &[u8]| self.mask(&String::from_utf8_lossy(bytes));
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        // Programs name themselves in the last line, and two stock ones often reset the connection
        // before it is read.
        let is_about_it = |line: &&str| {
            !line.starts_with("rsync error:") && !line.ends_with("reset by peer (104)")
        };
        let err: Vec<&str> = err.lines().filter(is_about_it).collect();
        let err = err.join("\n");
        format!("code {:?}\n{out}stderr:\n{err}", ended.status.code())
    }

    /// A connection that has chosen the module and goes no further.
    fn hold(&self) -> TcpStream {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.write_all(b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\nm\n")
            .unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"@RSYNCD: OK\n") {
            let mut byte = [0];
            tcp.read_exact(&mut byte).unwrap();
            heard.extend(byte);
        }
        tcp
    }

    /// Waits for the processes of all connections.
    fn wait_for_ends(&self) {
        let id = self.child.id();
        let children = format!("/proc/{id}/task/{id}/children");
        wait_until(|| fs::read_to_string(&children).unwrap().is_empty());
    }

    /// The log, without times and processes.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let bare = |line: &str| {
            line.split_once("] ")
                .map_or(line, |(_, line)| line)
                .to_owned()
                + "\n"
        };
        self.mask(&log.lines().map(bare).collect::<String>())
    }

    /// A text without what is another one each time.
    fn mask(&self, text: &str) -> String {
        let at = self.place.path().display().to_string();
        let text = text
            .replace(&at, "@")
            .replace(&self.port.to_string(), "PORT");
        let text = text
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
            .replace("3.5.0", "VERSION");
        text.lines().map(|line| mask_line(line) + "\n").collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line without its place in a program, and with no more of the bytes on the wire than whether
/// they are many.
fn mask_line(line: &str) -> String {
    if let Some((before, after)) = line
        .split_once(" at ")
        .filter(|_| line.starts_with("rsync error"))
    {
        let role = after.split_once('[').map_or("", |(_, role)| role);
        return format!("{before} [{role}");
    }
    if let Some((size, _)) = line.split_once("  speedup is ") {
        return size.to_owned();
    }
    if !line.starts_with("sent ") {
        return line.to_owned();
    }
    let line = line
        .rsplit_once("  ")
        .filter(|(_, end)| end.ends_with("/sec"))
        .map_or(line, |(line, _)| line);
    let words = line.split_whitespace();
    let words = words.map(|word| match word.replace([',', '.'], "").parse::<u64>() {
        Ok(number) => {
            if number > 50_000 {
                "many"
            } else {
                "few"
            }
        }
        Err(_) => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Everything below a directory: kind, mode, owner, and content or target.
fn tree(root: &Path, dir: &Path, out: &mut String) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().display();
        let what = match meta.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            kind if kind.is_file() => {
                let content = fs::read_to_string(&path).unwrap();
                content.chars().take(20).collect()
            }
            _ => String::new(),
        };
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        let what = what.replace(&root.parent().unwrap().display().to_string(), "@");
        writeln!(out, "  {name} {mode:o} {uid}:{gid} {what}").unwrap();
        if meta.is_dir() {
            tree(root, &path, out);
        }
    }
}

/// Makes the files all cases use.
fn furnish(at: &Path) {
    let is_root = nix::unistd::geteuid().is_root();
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
    for dir in ["module/sub", "source/sub", "dest", "conf.d", "links"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    let modes: &[(&str, u32, &str)] = &[
        ("module/a.txt", 0o644, "text of module"),
        ("module/b.log", 0o600, "log of module"),
        ("module/sub/c.txt", 0o664, "more of module"),
        ("module/sub/d.log", 0o644, "more logs of module"),
        ("source/a.txt", 0o640, "text"),
        ("source/b.log", 0o755, "log"),
        ("source/sub/c.txt", 0o444, "more"),
        ("source/sub/e.log", 0o644, "more logs"),
        ("links/file", 0o644, "file"),
        ("motd", 0o644, "Welcome\nto all\n"),
        ("patterns", 0o644, "# a comment\n*.log\n\n/sub\n"),
        ("secrets", 0o600, "alice:s3cret\nbob:s3cret\n"),
        ("secrets-open", 0o644, "alice:s3cret\n"),
        ("secrets-other", 0o600, "alice:s3cret\n"),
        ("password", 0o600, "s3cret\n"),
        ("password-other", 0o600, "s3cret\n"),
        ("wrong", 0o600, "s3cre\n"),
        ("open", 0o644, "s3cret\n"),
        ("empty", 0o600, ""),
        ("lines", 0o600, "\ns3cret\n"),
        ("conf.d/x.conf", 0o644, "comment = included\n[extra]\n"),
        ("conf.d/y.inc", 0o644, "comment = merged\n"),
    ];
    let big = "a line that is as good as the next one\n".repeat(4000);
    for (name, mode, text) in modes
        .iter()
        .copied()
        .chain([("module/big.txt", 0o644, &*big)])
    {
        fs::write(at.join(name), text).unwrap();
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, target) in [
        ("up", "../../etc/passwd"),
        ("top", "/etc/passwd"),
        ("near", "file"),
    ] {
        symlink(target, at.join("links").join(name)).unwrap();
    }
    if is_root {
        for name in [
            "module/a.txt",
            "source/b.log",
            "secrets-other",
            "password-other",
        ] {
            chown(at.join(name), Some(1), Some(1)).unwrap();
        }
    }
    for dir in ["module/sub", "source/sub", "links"] {
        for entry in fs::read_dir(at.join(dir))
            .unwrap()
            .chain(fs::read_dir(at.join(dir).parent().unwrap()).unwrap())
        {
            let path = entry.unwrap().path();
            if !path.is_symlink() {
                let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
                fs::File::open(path).unwrap().set_modified(then).unwrap();
            }
        }
    }
    for dir in ["module", "module/sub"] {
        fs::set_permissions(at.join(dir), fs::Permissions::from_mode(0o777)).unwrap();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Whether somebody listens there. To connect would be in the daemon's log.
fn is_listening(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    sockets.lines().any(|line| line.contains(&wanted))
}

fn wait_until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
