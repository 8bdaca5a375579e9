//! Our sending side against the installed rsync as the receiving side, on pipes.
#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barge::over_rsync::options::{Delete, Options, ServerArgs};
use barge::over_rsync::session::Preferences;
use barge::over_rsync::{
    Client, Connection, Ended, Event, Input, Listener, Output, Peer, RuleList, Server,
};
use barge_testkit::compare::{Compare, Field, assert_same};
use barge_testkit::scratch::Scratch;
use barge_testkit::{mutate, tree};

/// A run of our client against `rsync --server`.
struct Push {
    options: Options,
    /// The cluster of letters the server is given, without its capabilities.
    letters: String,
    long: Vec<String>,
    /// Offers incremental recursion.
    incremental: bool,
    sources: Vec<PathBuf>,
    dest: PathBuf,
    /// Called with each event, as it prints.
    hook: Option<Hook>,
}

type Hook = Arc<dyn Fn(&str) + Send + Sync>;

/// What became of a run.
struct Pushed {
    ended: Ended,
    /// Events, as they print.
    events: Vec<String>,
    /// The server's standard error.
    stderr: String,
    server_code: Option<i32>,
}

impl Push {
    /// `-a` of what is in `source`, to `dest`.
    fn archive(source: &Path, dest: &Path) -> Self {
        let options = Options {
            sender: true,
            recursive: true,
            links: true,
            perms: true,
            times: true,
            group: true,
            owner: true,
            devices: true,
            specials: true,
            ..Options::default()
        };
        Self {
            options,
            letters: "logDtpr".to_owned(),
            long: Vec::new(),
            incremental: true,
            sources: vec![source.join("")],
            dest: dest.to_owned(),
            hook: None,
        }
    }

    fn with(mut self, letters: &str, set: impl FnOnce(&mut Options)) -> Self {
        self.letters.push_str(letters);
        set(&mut self.options);
        self
    }

    /// `-HAXS` too.
    fn whole(self) -> Self {
        self.with("H", |options| options.hard_links = true)
            .with("A", |options| options.acls = true)
            .with("X", |options| options.xattrs = 1)
            .with("S", |options| options.sparse = true)
    }

    fn long(mut self, option: &str, set: impl FnOnce(&mut Options)) -> Self {
        self.long.push(option.to_owned());
        set(&mut self.options);
        self
    }

    fn on_event(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    fn from(mut self, sources: &[PathBuf]) -> Self {
        self.sources = sources.to_vec();
        self
    }

    fn protocol(mut self, version: u8) -> Self {
        self.options.protocol = Some(version);
        self
    }

    fn run(&self) -> Pushed {
        let incremental = if self.incremental { "i" } else { "" };
        let mut server = Command::new("rsync");
        server
            .arg("--server")
            .arg(format!("-{}e.{incremental}LsfxCIvu", self.letters))
            .args(&self.long)
            .args([Path::new("."), &self.dest])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut server = server.spawn().expect("rsync is installed");
        let connection = connection(&mut server);
        let events = Arc::new(Events {
            hook: self.hook.clone(),
            ..Events::default()
        });
        let client = Client {
            options: self.options.clone(),
            server_args: ServerArgs {
                first: Vec::new(),
                secluded: None,
            },
            preferences: Preferences::new(false),
            rules: RuleList::default(),
            paths: self.sources.clone(),
            listener: Arc::clone(&events) as Arc<dyn Listener>,
        };
        let ended = client.run(connection, Peer::Server);
        let server = server.wait_with_output().unwrap();
        Pushed {
            ended,
            events: std::mem::take(&mut *events.told.lock().unwrap()),
            stderr: String::from_utf8_lossy(&server.stderr).into_owned(),
            server_code: server.status.code(),
        }
    }
}

impl Pushed {
    /// Fails with all that was said unless both sides ended well.
    fn assert_well(&self) -> &Self {
        let lines: Vec<_> = self
            .events
            .iter()
            .filter(|e| e.starts_with("Line"))
            .collect();
        let said = format!("{:?} {lines:?} {}", self.ended, self.stderr);
        assert_eq!((self.ended.code, self.server_code), (0, Some(0)), "{said}");
        self
    }

    /// Lines that our side said of grave things.
    fn complaints(&self) -> Vec<&str> {
        let grave = ["Line FileError ", "Line Warning ", "Line Error "];
        let text = |event| {
            grave
                .iter()
                .find_map(|level| str::strip_prefix(event, level))
        };
        self.events.iter().filter_map(|event| text(event)).collect()
    }

    /// How many contents were sent.
    fn sent(&self) -> usize {
        self.events
            .iter()
            .filter(|e| e.starts_with("Starts"))
            .count()
    }
}

#[derive(Default)]
struct Events {
    told: Mutex<Vec<String>>,
    hook: Option<Hook>,
}

impl Listener for Events {
    fn event(&self, event: Event<'_>) {
        let text = match event {
            Event::Line { level, text } => {
                let text = String::from_utf8_lossy(text);
                format!("Line {level:?} {}", text.trim_end())
            }
            Event::Starts(item) => format!("Starts {}", String::from_utf8_lossy(item.name)),
            event => format!("{event:?}"),
        };
        if let Some(hook) = &self.hook {
            hook(&text);
        }
        self.told.lock().unwrap().push(text);
    }
}

fn connection(server: &mut Child) -> Connection {
    let (stdin, stdout) = (server.stdin.take(), server.stdout.take());
    Connection {
        input: Box::new(FromChild(stdout.expect("piped"))),
        output: Box::new(ToChild(stdin)),
    }
}

struct FromChild(ChildStdout);

impl Input for FromChild {
    fn read(&mut self, buf: &mut [u8], _patience: Option<Duration>) -> io::Result<usize> {
        self.0.read(buf)
    }
}

struct ToChild(Option<ChildStdin>);

impl Output for ToChild {
    fn write(&mut self, pieces: &[IoSlice<'_>], _patience: Option<Duration>) -> io::Result<usize> {
        match &mut self.0 {
            Some(stdin) => stdin.write_vectored(pieces),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.0 = None;
        Ok(())
    }
}

fn scratch() -> (Scratch, PathBuf, PathBuf) {
    let scratch = Scratch::new().unwrap();
    let (source, dest) = (scratch.dir("source").unwrap(), scratch.join("dest"));
    (scratch, source, dest)
}

fn without_times(wanted: bool) -> Compare {
    let mut how = Compare::default();
    if wanted {
        how.without.push(Field::Mtime);
    }
    how
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn small_tree(source: &Path) {
    fs::create_dir_all(source.join("sub/deep")).unwrap();
    fs::create_dir_all(source.join("empty")).unwrap();
    fs::write(source.join("a.txt"), "hello world\n").unwrap();
    fs::write(source.join("none"), "").unwrap();
    fs::write(source.join("sub/b"), vec![b'x'; 100_000]).unwrap();
    fs::write(source.join("sub/deep/c"), vec![b'y'; 700_000]).unwrap();
    symlink("a.txt", source.join("link")).unwrap();
    // rsync takes times within one second for the same where it did not write content.
    let names = [
        "a.txt",
        "none",
        "link",
        "empty",
        "sub/b",
        "sub/deep/c",
        "sub/deep",
        "sub",
        "",
    ];
    for (age, name) in names.into_iter().enumerate() {
        tree::set_mtime(&source.join(name), 1_700_000_000 - age as i64, 7).unwrap();
    }
}

#[test]
fn tree_arrives_in_every_protocol_incremental_or_not() {
    for protocol in [30, 31, 32] {
        for incremental in [true, false] {
            let (_scratch, source, dest) = scratch();
            small_tree(&source);
            let mut push = Push::archive(&source, &dest).protocol(protocol);
            push.incremental = incremental;
            let pushed = push.run();
            assert_eq!(pushed.assert_well().sent(), 4);
            // Protocol 30 knows no nanoseconds.
            assert_same(&source, &dest, &without_times(protocol == 30));
            assert_eq!(push.run().assert_well().sent(), 0);
        }
    }
}

#[test]
fn awkward_tree_arrives_whole() {
    let (_scratch, source, dest) = scratch();
    tree::awkward(&source, is_root()).unwrap();
    fs::remove_dir_all(source.join("deep")).unwrap(); // longer than any path in a list
    remove_giants(&source);
    age_root(&source);
    for incremental in [true, false] {
        let mut push = Push::archive(&source, &dest).whole();
        push.incremental = incremental;
        push.run().assert_well();
        let how = Compare {
            without: vec![Field::Holes],
            ..Compare::default()
        };
        assert_same(&source, &dest, &how);
        fs::remove_dir_all(&dest).ok();
    }
}

#[test]
fn changes_arrive_as_deltas() {
    let (_scratch, source, dest) = scratch();
    let many = source.join("many");
    fs::create_dir(&many).unwrap();
    tree::many(&many, 500, 20_000, 7).unwrap();
    tree::random_file(&source.join("large"), 3_000_000, 8).unwrap();
    let push = Push::archive(&source, &dest);
    push.run().assert_well();
    for seed in 0..3 {
        mutate::mutate(&many, seed).unwrap();
        let mut large = fs::read(source.join("large")).unwrap();
        large.splice(1_000_000..1_000_001, *b"inserted");
        fs::write(source.join("large"), large).unwrap();
        // All files are compared: their times are within one second, which rsync takes for the same.
        let push = Push::archive(&source, &dest)
            .whole()
            .with("I", |options| options.ignore_times = true)
            .long("--delete", |options| options.delete = Delete::During);
        let pushed = push.run();
        let stats = pushed.assert_well().ended.stats;
        assert!(stats.matched > 2_900_000, "{stats:?}");
        let how = Compare {
            without: vec![Field::Holes, Field::Mtime],
            ..Compare::default()
        };
        assert_same(&source, &dest, &how);
    }
}

/// Stock rsync's client with `options`, from `sources` to `dest` on a server of its own; its exit code
/// and what it complained of.
fn stock(options: &[&str], sources: &[PathBuf], dest: &Path) -> (Option<i32>, Vec<String>) {
    let out = Command::new("rsync")
        .args(["-e", "sh -c 'shift; exec \"$@\"' sh"])
        .args(options)
        .args(sources)
        .arg([std::ffi::OsStr::new("host:"), dest.as_os_str()].join(std::ffi::OsStr::new("")))
        .output()
        .expect("rsync is installed");
    let lines = String::from_utf8_lossy(&out.stderr);
    let lines = lines
        .lines()
        .filter(|line| !line.starts_with("rsync error:"));
    (out.status.code(), lines.map(str::to_owned).collect())
}

/// Stock rsync's client pulls from our server, which runs with `options`.
struct Pull {
    options: Options,
    /// What the client is given, besides what it pulls and where to.
    stock: Vec<String>,
}

impl Pull {
    fn archive(stock: &[&str]) -> Self {
        let options = Options {
            server: true,
            capabilities: b"iLsfxCIvu".to_vec(),
            ..Push::archive(Path::new(""), Path::new("")).options
        };
        let stock = stock.iter().map(|&option| option.to_owned()).collect();
        Self { options, stock }
    }

    /// Runs it; the client's exit code and standard error, and how our side ended.
    fn run(&self, sources: &[PathBuf], dest: &Path) -> (Option<i32>, String, Ended) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = format!(
            "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&0 >&3 & cat <&3; kill $!' relay"
        );
        let mut options = self.options.clone();
        options.args = sources.iter().map(|path| path.clone().into()).collect();
        let server = Server {
            options,
            args: Vec::new(),
            preferences: Preferences::new(true),
            listener: Arc::new(Events::default()),
            stderr: None,
        };
        std::thread::scope(|scope| {
            let ours = scope.spawn(|| server.run(accept(&listener)));
            let from: Vec<_> = sources
                .iter()
                .map(|path| format!("h:{}", path.display()))
                .collect();
            let client = Command::new("timeout")
                .args(["60", "rsync", "--blocking-io", "-e", &relay])
                .args(&self.stock)
                .args(from)
                .arg(dest)
                .output()
                .expect("rsync is installed");
            let said = String::from_utf8_lossy(&client.stderr).into_owned();
            (client.status.code(), said, ours.join().unwrap())
        })
    }
}

fn accept(listener: &std::net::TcpListener) -> Connection {
    let (stream, _) = listener.accept().unwrap();
    Connection {
        input: Box::new(FromSocket(stream.try_clone().unwrap())),
        output: Box::new(ToSocket(stream)),
    }
}

struct FromSocket(std::net::TcpStream);

impl Input for FromSocket {
    fn read(&mut self, buf: &mut [u8], _patience: Option<Duration>) -> io::Result<usize> {
        self.0.read(buf)
    }
}

struct ToSocket(std::net::TcpStream);

impl Output for ToSocket {
    fn write(&mut self, pieces: &[IoSlice<'_>], _patience: Option<Duration>) -> io::Result<usize> {
        self.0.write_vectored(pieces)
    }

    fn close(&mut self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }
}

trait Join {
    fn join(&self, between: &std::ffi::OsStr) -> std::ffi::OsString;
}

impl Join for [&std::ffi::OsStr; 2] {
    fn join(&self, between: &std::ffi::OsStr) -> std::ffi::OsString {
        let mut joined = self[0].to_owned();
        joined.push(between);
        joined.push(self[1]);
        joined
    }
}

/// A tree with links that lead in and out, and two directories of one name.
fn linked_tree(source: &Path) {
    for dir in ["a/b/c", "a/d", "real/in", "x/foo/s", "y/foo/s"] {
        fs::create_dir_all(source.join(dir)).unwrap();
    }
    for file in [
        "a/f1",
        "a/b/f2",
        "a/b/c/f3",
        "real/in/y",
        "x/foo/1",
        "y/foo/2",
        "x/foo/s/1",
    ] {
        fs::write(source.join(file), file).unwrap();
    }
    fs::write(source.join("y/foo/s/2"), "y").unwrap();
    symlink("../real", source.join("a/ln")).unwrap();
    symlink("f1", source.join("a/lf")).unwrap();
    symlink("../real/in/y", source.join("a/b/out")).unwrap();
    symlink(source.join("real"), source.join("a/absolute")).unwrap();
    tree_times(source);
}

/// Zeros travel as zeros: the largest files take too long.
fn remove_giants(root: &Path) {
    for path in all_below(root) {
        if fs::symlink_metadata(&path).unwrap().len() > 100 << 20 {
            fs::remove_file(&path).unwrap();
            tree::set_mtime(path.parent().unwrap(), 1_500_000_000, 3).unwrap();
        }
    }
}

fn tree_times(root: &Path) {
    for (age, path) in all_below(root).iter().enumerate() {
        tree::set_mtime(path, 1_600_000_000 - age as i64, 5).unwrap();
    }
}

/// All paths below a directory, what is in one before itself; and that directory.
fn all_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if fs::symlink_metadata(root).unwrap().is_dir() {
        for entry in fs::read_dir(root).unwrap() {
            found.extend(all_below(&entry.unwrap().path()));
        }
    }
    found.push(root.to_owned());
    found
}

/// What was given no time but that of the run has one of the test's.
fn forget_new_times(root: &Path) {
    use std::os::unix::fs::MetadataExt;
    for path in all_below(root) {
        if fs::symlink_metadata(&path).unwrap().mtime() > 1_700_000_000 {
            tree::set_mtime(&path, 0, 0).unwrap();
        }
    }
}

#[test]
fn arguments_mean_what_they_mean_to_rsync() {
    let set = |letters: &str| {
        let letters = letters.to_owned();
        move |options: &mut Options| {
            for letter in letters.chars() {
                match letter {
                    'R' => options.relative = true,
                    'd' => (options.dirs, options.recursive) = (true, false),
                    'L' => options.copy_links = true,
                    'k' => options.copy_dirlinks = true,
                    'u' => options.copy_unsafe_links = true,
                    'm' => options.delete_missing_args = true,
                    'i' => options.ignore_missing_args = true,
                    'n' => options.implied_dirs = false,
                    _ => panic!("{letter}"),
                }
            }
        }
    };
    let long = |letter| match letter {
        'u' => Some("--copy-unsafe-links"),
        'm' => Some("--delete-missing-args"),
        'i' => Some("--ignore-missing-args"),
        'n' => Some("--no-implied-dirs"),
        _ => None,
    };
    for (letters, args) in [
        ("", &["a"][..]),
        ("", &["a/"]),
        ("", &["a/."]),
        ("", &["a/b/.."]),
        ("", &["a/b/", "a/d", "a/f1"]),
        ("", &["x/foo", "y/foo", "a/"]),
        ("", &["x/foo/", "y/foo/"]),
        ("", &["a/ln"]),
        ("", &["a/ln/"]),
        ("", &["a/lf", "missing", "a/f1"]),
        ("", &["missing/x", "a/f1"]),
        ("", &["a/f1/", "a/d"]),
        ("i", &["missing", "a/f1", "a/d"]),
        ("R", &["./a/b"]),
        ("R", &["a/./b/c", "./a/d"]),
        ("R", &["a/./b/c/"]),
        ("R", &["./a/ln/in"]),
        ("R", &["./a/b/c/f3", "./real/in", "./x/foo"]),
        ("R", &["./a/missing/x", "./a/f1"]),
        ("Rn", &["./a/b/c", "./x/foo/1"]),
        ("d", &["a"]),
        ("d", &["a/"]),
        ("dR", &["./a/b/c/", "./a/d"]),
        ("L", &["a"]),
        ("k", &["a"]),
        ("u", &["a"]),
        ("u", &["a/"]),
    ] {
        for incremental in [true, false] {
            let (scratch, source, dest) = scratch();
            linked_tree(&source);
            let sources: Vec<_> = args
                .iter()
                .map(|arg| PathBuf::from(format!("{}/{arg}", source.display())))
                .collect();
            let mut push = Push::archive(&source, &dest).from(&sources);
            let mut options = vec![if letters.contains('d') {
                "-lptgoD"
            } else {
                "-a"
            }];
            options.push(if incremental {
                "--inc-recursive"
            } else {
                "--no-inc-recursive"
            });
            for letter in letters.chars() {
                let name = format!("-{letter}");
                options.push(long(letter).unwrap_or_else(|| name.leak()));
                if letter == 'd' {
                    push.letters = push.letters.replace('r', "d");
                } else if letter == 'R' {
                    push.letters.push('R');
                } else if let Some(long) = long(letter).filter(|_| letter == 'n') {
                    push.long.push(long.to_owned());
                }
            }
            set(letters)(&mut push.options);
            push.incremental = incremental && !letters.contains('d');
            let theirs = scratch.join("theirs");
            for place in [&dest, &theirs] {
                fs::create_dir(place).unwrap();
            }
            let (code, complaints) = stock(&options, &sources, &theirs);
            let pushed = push.run();
            let said = (pushed.complaints(), &pushed.stderr, &pushed.ended.failure);
            let what = format!("{letters} {args:?} {incremental} {said:?}");
            assert_eq!(
                Some(i32::from(pushed.ended.code)),
                code,
                "{what}: {complaints:?}"
            );
            assert_eq!(pushed.complaints(), complaints, "{what}");
            for place in [&dest, &theirs] {
                forget_new_times(place);
            }
            assert_same(&theirs, &dest, &Compare::default());
        }
    }
}

#[test]
fn dry_run_sends_nothing_and_says_what_it_would() {
    let (_scratch, source, dest) = scratch();
    small_tree(&source);
    let push = Push::archive(&source, &dest).with("n", |options| options.dry_run = true);
    let pushed = push.run();
    assert_eq!(pushed.assert_well().sent(), 4);
    assert_eq!(pushed.ended.stats.literal, 0);
    assert_eq!(pushed.ended.stats.transferred_size, 800_012);
    assert!(!dest.exists());
}

#[test]
fn content_arrives_however_it_is_compressed() {
    use barge::over_rsync::options::Compress;
    let chosen = |name: &str| Compress::Chosen(name.to_owned());
    for (letter, long, compress) in [
        ("z", "", Compress::Negotiated),
        ("", "--compress-choice=zstd", chosen("zstd")),
        ("", "--compress-choice=lz4", chosen("lz4")),
        ("", "--new-compress", chosen("zlibx")),
        ("z", "--old-compress", chosen("zlib")),
    ] {
        let (_scratch, source, dest) = scratch();
        small_tree(&source);
        tree::random_file(&source.join("random"), 1_000_000, 3).unwrap();
        let mut push = Push::archive(&source, &dest).with(letter, |o| o.compress = compress);
        push.long
            .extend((!long.is_empty()).then(|| long.to_owned()));
        let stats = push.run().assert_well().ended.stats;
        assert!(stats.sent < 1_100_000, "{long} {stats:?}");
        // A delta too.
        let mut random = fs::read(source.join("random")).unwrap();
        random.splice(500_000..500_003, *b"other bytes");
        fs::write(source.join("random"), random).unwrap();
        let stats = push.run().assert_well().ended.stats;
        assert!(stats.sent < 50_000, "{long} {stats:?}");
        assert!(stats.matched > 900_000, "{long} {stats:?}");
        assert_same(&source, &dest, &without_times(true));
    }
}

#[test]
fn content_arrives_whatever_checksum_is_used() {
    for name in ["xxh128", "xxh3", "xxh64", "md5", "md4", "sha1", "none"] {
        let (_scratch, source, dest) = scratch();
        small_tree(&source);
        let push = Push::archive(&source, &dest)
            .with("c", |options| options.checksum = true)
            .long(&format!("--checksum-choice={name},{name}"), |options| {
                options.checksum_choice = Some((name.to_owned(), name.to_owned()));
            });
        // Nothing can be compared by no checksum.
        let push = match name {
            "none" => Push::archive(&source, &dest).long("--checksum-choice=none", |options| {
                options.checksum_choice = Some((name.to_owned(), name.to_owned()));
            }),
            _ => push,
        };
        push.run().assert_well();
        assert_same(&source, &dest, &without_times(true));
        let mut changed = fs::read(source.join("sub/deep/c")).unwrap();
        changed[300_000] = b'!';
        fs::write(source.join("sub/deep/c"), changed).unwrap();
        let stats = push.run().assert_well().ended.stats;
        let expected = if name == "none" { 0 } else { 600_000 };
        assert!(stats.matched >= expected, "{name} {stats:?}");
        assert!(
            fs::read(source.join("sub/deep/c")).unwrap()
                == fs::read(dest.join("sub/deep/c")).unwrap()
        );
    }
}

#[test]
fn file_is_updated_in_place_and_appended_to() {
    let (_scratch, source, dest) = scratch();
    tree::random_file(&source.join("file"), 2_000_000, 4).unwrap();
    let inplace = Push::archive(&source, &dest).long("--inplace", |options| options.inplace = true);
    inplace.run().assert_well();
    // What moves towards the end cannot be taken from the basis that is overwritten.
    let mut content = fs::read(source.join("file")).unwrap();
    content.rotate_right(1_000_000);
    content.truncate(1_900_000);
    fs::write(source.join("file"), &content).unwrap();
    let stats = inplace.run().assert_well().ended.stats;
    assert!((800_000..=1_000_000).contains(&stats.matched), "{stats:?}");
    assert_same(&source, &dest, &without_times(true));

    for append in [1, 2] {
        let mut longer = fs::read(source.join("file")).unwrap();
        longer.extend([b'+'; 50_000]);
        fs::write(source.join("file"), &longer).unwrap();
        let mut push = Push::archive(&source, &dest);
        push.options.append = append;
        push.options.inplace = true;
        push.long = vec!["--append".to_owned(); append.into()];
        let stats = push.run().assert_well().ended.stats;
        assert_eq!((stats.literal, stats.matched), (50_000, 0));
        assert_same(&source, &dest, &without_times(true));
    }
    // The prefix differs: --append-verify finds out, and sends it again.
    let mut other = fs::read(source.join("file")).unwrap();
    other[7] ^= 1;
    other.push(b'!');
    fs::write(source.join("file"), &other).unwrap();
    let mut push = Push::archive(&source, &dest);
    push.options.append = 2;
    push.options.inplace = true;
    push.long = vec!["--append".to_owned(); 2];
    assert_eq!(push.run().assert_well().sent(), 2);
    assert!(fs::read(dest.join("file")).unwrap() == other);
}

#[test]
fn sources_of_safe_files_go_unless_they_changed() {
    let (_scratch, source, dest) = scratch();
    small_tree(&source);
    let changing = source.join("sub/b");
    let push = Push::archive(&source, &dest)
        .long("--remove-source-files", |options| {
            options.remove_source_files = true;
            options.info.remove = 1;
        })
        .on_event(move |event| {
            if event == "Starts sub/b" {
                tree::set_mtime(&changing, 1, 1).unwrap();
            }
        });
    let pushed = push.run();
    assert_eq!(pushed.ended.code, 23);
    let complaint = "ERROR: Skipping sender remove for changed file: sub/b";
    assert!(
        pushed.complaints().contains(&complaint),
        "{:?}",
        pushed.complaints()
    );
    assert!(
        pushed
            .events
            .iter()
            .any(|event| event == "Line Info sender removed a.txt")
    );
    let left: Vec<_> = all_below(&source)
        .iter()
        .filter(|path| !path.is_dir())
        .map(|path| path.strip_prefix(&source).unwrap().display().to_string())
        .collect();
    assert_eq!(left, ["sub/b"]);
    assert_eq!(fs::read(dest.join("sub/deep/c")).unwrap().len(), 700_000);
}

#[test]
fn files_that_vanish_shrink_or_change_are_told_of() {
    let (_scratch, source, dest) = scratch();
    for name in ["a", "b", "c", "d"] {
        tree::random_file(&source.join(name), 3_000_000, 5).unwrap();
    }
    let at = source.clone();
    let push = Push::archive(&source, &dest).on_event(move |event| match event {
        "Starts a" => fs::remove_file(at.join("b")).unwrap(),
        "Starts c" if fs::metadata(at.join("c")).unwrap().len() > 1000 => {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(at.join("c"))
                .unwrap();
            file.set_len(1000).unwrap();
        }
        "Starts d" => {
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(at.join("d"))
                .unwrap();
            file.write_all(b"more").unwrap();
        }
        _ => {}
    });
    let pushed = push.run();
    assert_eq!(pushed.ended.code, 23);
    let said = pushed.events.join("\n");
    let place = source.display();
    for line in [
        format!("file has vanished: \"{place}/b\""),
        format!("rsync: [sender] read errors mapping \"{place}/c\": No data available (61)"),
        format!("file has changed while it was sent: \"{place}/d\""),
    ] {
        assert!(said.contains(&line), "{line}\n---\n{said}");
    }
    assert!(!dest.join("b").exists());
    for name in ["a", "c", "d"] {
        let (ours, theirs) = (fs::read(source.join(name)), fs::read(dest.join(name)));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        // Of a file that grew, what there was when it was opened.
        assert!(
            ours.starts_with(&theirs) && ours.len() - theirs.len() <= 4,
            "{name}"
        );
    }
}

#[test]
fn names_from_a_file_are_sent_with_the_directories_that_lead_to_them() {
    let (scratch, source, dest) = scratch();
    small_tree(&source);
    let list = scratch.join("list");
    fs::write(&list, "sub/deep/c\n# no\n\n/a.txt\nmissing\nsub/../none\n").unwrap();
    let mut push = Push::archive(&source, &dest);
    push.letters = "logDtpR".to_owned();
    push.options.recursive = false;
    push.options.dirs = true;
    push.options.relative = true;
    push.options.files_from = Some(barge::over_rsync::options::FilesFrom::Local(list.clone()));
    push.incremental = false;
    let pushed = push.run();
    let theirs = scratch.join("theirs");
    let options = ["-a", &format!("--files-from={}", list.display())];
    let (code, complaints) = stock(&options, &push.sources, &theirs);
    assert_eq!(Some(i32::from(pushed.ended.code)), code);
    assert_eq!(pushed.complaints(), complaints);
    for place in [&dest, &theirs] {
        forget_new_times(place);
    }
    assert_same(&theirs, &dest, &Compare::default());
    assert!(dest.join("sub/deep/c").exists() && !dest.join("sub/b").exists());
}

#[test]
fn large_lists_flow_without_a_stop() {
    let (_scratch, source, dest) = scratch();
    let wide = source.join("wide");
    fs::create_dir(&wide).unwrap();
    for n in 0..30_000 {
        fs::write(wide.join(format!("name-{n}")), "").unwrap();
    }
    for n in 0..3_000 {
        let dir = source.join(format!("d{n}/below"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("f"), n.to_string()).unwrap();
    }
    tree::many(&source, 20_000, 50, 1).unwrap();
    for incremental in [true, false] {
        let mut push = Push::archive(&source, &dest).protocol(31);
        push.incremental = incremental;
        let first = push.run();
        assert!(first.assert_well().ended.stats.files[0] >= 53_000);
        assert_eq!(push.run().assert_well().sent(), 0);
        fs::remove_dir_all(&dest).unwrap();
    }
}

#[test]
fn stock_client_pulls_a_whole_tree_from_our_server() {
    let (_scratch, source, dest) = scratch();
    tree::awkward(&source, is_root()).unwrap();
    fs::remove_dir_all(source.join("deep")).unwrap();
    remove_giants(&source);
    age_root(&source);
    for more in [
        &[][..],
        &["--no-inc-recursive"],
        &["--protocol=30"],
        &["--protocol=31"],
        &["-z"],
    ] {
        let mut pull = Pull::archive(&[&["-aHAXS"], more].concat());
        pull.options.hard_links = true;
        pull.options.acls = true;
        pull.options.xattrs = 1;
        if more == ["--no-inc-recursive"] {
            pull.options.capabilities = b"LsfxCIvu".to_vec();
        }
        if more == ["-z"] {
            pull.options.compress = barge::over_rsync::options::Compress::Negotiated;
        }
        let (code, said, ended) = pull.run(&[source.join("")], &dest);
        assert_eq!(
            (code, ended.code),
            (Some(0), 0),
            "{more:?}: {said} {ended:?}"
        );
        let mut how = without_times(more == ["--protocol=30"]);
        how.without.push(Field::Holes);
        assert_same(&source, &dest, &how);
        fs::remove_dir_all(&dest).unwrap();
    }
}

#[test]
fn stock_client_hears_of_what_our_server_cannot_send() {
    let (_scratch, source, dest) = scratch();
    small_tree(&source);
    let pull = Pull::archive(&["-a"]);
    let sources = [source.join("missing"), source.join("a.txt")];
    let (code, said, ended) = pull.run(&sources, &dest);
    assert_eq!((code, ended.code), (Some(23), 23));
    let line = format!(
        "link_stat \"{}\" failed: No such file",
        source.join("missing").display()
    );
    assert!(said.contains(&line), "{said}");
    // Nothing at all.
    let (code, said, ended) = pull.run(&[source.join("missing")], &dest);
    assert_eq!((code, ended.code), (Some(23), 23));
    assert!(said.contains(&line), "{said}");
}

/// Gives the root a time of long ago: rsync compares whole seconds, and does not put the time of a
/// directory back that was changed within the second it had.
fn age_root(source: &Path) {
    tree::set_mtime(source, 1_600_000_000, 123_456_789).unwrap();
}
