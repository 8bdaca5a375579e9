//! The receiving side of rsync's protocol, with the installed rsync as its sender.
#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barge::over_rsync::options::{Delete, FilesFrom, Options, ServerArgs};
use barge::over_rsync::{
    Client, Connection, Ended, Event, Input, Item, Listener, Output, Peer, RuleList, session,
};
use barge_testkit::compare::{Compare, Field, assert_same};
use barge_testkit::mount::Mounted;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;

/// The options of `-a`, of a client that pulls.
fn archive() -> Options {
    Options {
        recursive: true,
        links: true,
        perms: true,
        times: true,
        owner: true,
        group: true,
        devices: true,
        specials: true,
        itemize: 1,
        ..Options::default()
    }
}

/// What a run told, and what is done when it tells of an entry.
struct Heard {
    does: Box<dyn Fn(&str) + Send + Sync>,
    lines: Mutex<Vec<String>>,
}

impl Listener for Heard {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Line { text, .. } => String::from_utf8_lossy(text).into_owned(),
            Event::Item(Item { name, iflags, .. }) => {
                (self.does)(&String::from_utf8_lossy(name));
                format!("{iflags:04x} {}", String::from_utf8_lossy(name))
            }
            Event::Deleted { name, .. } => format!("deleted {}", String::from_utf8_lossy(name)),
            _ => return,
        };
        self.lines.lock().unwrap().push(line);
    }
}

impl Heard {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

struct PipeIn(ChildStdout);

impl Input for PipeIn {
    fn read(&mut self, buf: &mut [u8], _: Option<Duration>) -> io::Result<usize> {
        self.0.read(buf)
    }
}

struct PipeOut(Option<ChildStdin>);

impl Output for PipeOut {
    fn write(&mut self, pieces: &[IoSlice<'_>], _: Option<Duration>) -> io::Result<usize> {
        let Some(pipe) = &mut self.0 else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        pipe.write_vectored(pieces)
    }

    fn close(&mut self) -> io::Result<()> {
        self.0 = None;
        Ok(())
    }
}

fn sender(args: &[&str], source: &str) -> (Child, Connection) {
    let mut child = Command::new("rsync")
        .args(["--server", "--sender"])
        .args(args)
        .args([".", source])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let connection = Connection {
        input: Box::new(PipeIn(child.stdout.take().unwrap())),
        output: Box::new(PipeOut(child.stdin.take())),
    };
    (child, connection)
}

/// Pulls `source` into `target`.
fn pull(options: Options, args: &[&str], source: &str, target: &Path) -> (Ended, Vec<String>) {
    pull_and(options, args, source, target, |_| ())
}

/// The same, and does something whenever an entry was dealt with.
fn pull_and(
    options: Options,
    args: &[&str],
    source: &str,
    target: &Path,
    does: impl Fn(&str) + Send + Sync + 'static,
) -> (Ended, Vec<String>) {
    let (mut child, connection) = sender(args, source);
    let heard = Arc::new(Heard {
        does: Box::new(does),
        lines: Mutex::default(),
    });
    let client = Client {
        options,
        server_args: ServerArgs {
            first: Vec::new(),
            secluded: None,
        },
        preferences: session::Preferences::new(false),
        rules: RuleList::default(),
        paths: vec![PathBuf::from(target)],
        listener: Arc::clone(&heard) as Arc<dyn Listener>,
    };
    let ended = client.run(connection, Peer::Server);
    child.wait().unwrap();
    (ended, heard.lines())
}

fn slashed(path: &Path) -> String {
    format!("{}/", path.display())
}

const INCREMENTAL: &[&str] = &["-logDtpre.iLsfxCIvu"];
const AT_ONCE: &[&str] = &["-logDtpre.LsfxCIvu"];

/// Every directory lists itself only; what a plain `-a` keeps of a tree is compared.
fn archived() -> Compare {
    Compare {
        without: vec![Field::Xattrs, Field::Acl, Field::Links, Field::Holes],
        ..Compare::default()
    }
}

#[test]
fn small_tree_arrives_and_is_unchanged_the_second_time() {
    for args in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (scratch.dir("source").unwrap(), scratch.join("target"));
        fs::create_dir_all(source.join("a/b")).unwrap();
        fs::write(source.join("a/b/file"), "content").unwrap();
        fs::write(source.join("empty"), "").unwrap();
        symlink("a/b", source.join("link")).unwrap();
        tree::random_file(&source.join("large"), 3_000_000, 7).unwrap();
        let (ended, lines) = pull(archive(), args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{lines:?} {:?}", ended.failure);
        assert_same(&source, &target, &archived());
        let (ended, lines) = pull(archive(), args, &slashed(&source), &target);
        assert_eq!((ended.code, lines), (0, vec![]));
    }
}

#[test]
fn names_of_a_list_here_are_told_to_the_sender_as_by_rsync() {
    let scratch = Scratch::new().unwrap();
    let (source, target) = (scratch.join("source"), scratch.join("target"));
    fs::create_dir_all(source.join("sub/deep")).unwrap();
    for name in ["one", "#two", "sub/three", "sub/deep/four", "unasked"] {
        fs::write(source.join(name), name).unwrap();
    }
    let list = scratch.join("list");
    fs::write(&list, "one\r\n\n#two\n/sub/./deep/four").unwrap();
    for (protocol, version) in [("--protocol=30", 30), ("--protocol=32", 32)] {
        let options = Options {
            recursive: false,
            relative: true,
            dirs: true,
            protocol: Some(version),
            files_from: Some(FilesFrom::Local(list.clone())),
            ..archive()
        };
        let args = ["-logDtpRde.LsfxCIvu", "--files-from=-", "--from0", protocol];
        let (ended, _) = pull(options, &args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{:?}", ended.failure);
        for (name, comes) in [
            ("one", true),
            ("#two", true),
            ("deep/four", true),
            ("unasked", false),
        ] {
            assert_eq!(target.join(name).exists(), comes, "{name}");
        }
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn changed_file_is_rebuilt_from_what_is_there() {
    for args in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        tree::random_file(&target.join("file"), 1_000_000, 1).unwrap();
        let mut bytes = fs::read(target.join("file")).unwrap();
        bytes.splice(500_000..500_010, *b"something else");
        fs::write(source.join("file"), &bytes).unwrap();
        tree::set_mtime(&source.join("file"), 1_000_000_000, 5).unwrap();
        let before = fs::metadata(target.join("file")).unwrap().ino();
        let (ended, lines) = pull(archive(), args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{lines:?} {:?}", ended.failure);
        assert_same(&source, &target, &archived());
        assert!(ended.stats.literal < 10_000, "{:?}", ended.stats);
        assert_ne!(fs::metadata(target.join("file")).unwrap().ino(), before);
    }
}

#[test]
fn awkward_tree_arrives() {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for args in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (scratch.dir("source").unwrap(), scratch.join("target"));
        tree::awkward(&source, root).unwrap();
        // Longer than any path rsync sends.
        fs::remove_dir_all(source.join("deep")).unwrap();
        // Gigabytes of zeros, which cross the wire.
        for name in ["nothing, 4 GiB of it", "a needle"] {
            fs::remove_file(source.join("sparse").join(name)).unwrap();
        }
        let options = Options {
            sparse: true,
            ..archive()
        };
        let args = [args, &["-S"]].concat();
        let (ended, lines) = pull(options, &args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{lines:?} {:?}", ended.failure);
        let mut how = archived();
        how.without.retain(|field| *field != Field::Holes);
        assert_same(&source, &target, &how);
    }
}

#[test]
fn every_protocol_and_checksum_and_compression_is_spoken() {
    for (args, set) in [
        (&["--checksum-choice=md5"][..], "md5"),
        (&["--checksum-choice=xxh64"], "xxh64"),
        (&["--checksum-choice=sha1"], "sha1"),
        (&["--checksum-choice=md4"], "md4"),
        (&["--checksum-choice=none"], "none"),
    ] {
        rebuilt(args, |options| {
            options.checksum_choice = Some((set.to_owned(), set.to_owned()));
        });
    }
    for (letters, chosen) in [
        (&["--compress-choice=zstd"][..], "zstd"),
        (&["--compress-choice=lz4"], "lz4"),
        (&["--new-compress"], "zlibx"),
        (&["--old-compress", "-z"], "zlib"),
    ] {
        rebuilt(letters, |options| {
            options.compress = barge::over_rsync::options::Compress::Chosen(chosen.to_owned());
        });
    }
    for protocol in [30, 31, 32] {
        rebuilt(&[], |options| options.protocol = Some(protocol));
    }
}

/// A new file, and one that is rebuilt from an old one.
fn rebuilt(args: &[&str], set: impl Fn(&mut Options)) {
    for letters in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let source = scratch.dir("source").unwrap();
        let target = scratch.dir("target").unwrap();
        tree::random_file(&target.join("file"), 1_000_000, 1).unwrap();
        let mut bytes = fs::read(target.join("file")).unwrap();
        // Literals that are like blocks which were matched before them.
        let like = [&bytes[100_000..250_000], b"something else"].concat();
        bytes.splice(300_010..300_010, like);
        bytes.splice(700_000..710_000, []);
        fs::write(source.join("file"), &bytes).unwrap();
        tree::random_file(&source.join("new"), 500_000, 2).unwrap();
        for name in ["file", "new", ""] {
            // Protocol 30 has no nanoseconds.
            tree::set_mtime(&source.join(name), 1_000_000_000, 0).unwrap();
        }
        let mut options = archive();
        set(&mut options);
        let args = [args, letters].concat();
        let (ended, lines) = pull(options, &args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{args:?} {lines:?} {:?}", ended.failure);
        assert_same(&source, &target, &archived());
    }
}

#[test]
fn new_entries_get_what_a_default_acl_leaves_them() {
    let scratch = Scratch::new().unwrap();
    let source = scratch.dir("source").unwrap();
    fs::create_dir(source.join("dir")).unwrap();
    for (name, mode) in [("file", 0o666), ("dir/program", 0o755)] {
        fs::write(source.join(name), name).unwrap();
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for dir in [source.join("dir"), source.clone()] {
        tree::set_mtime(&dir, 1_000_000_000, 0).unwrap();
    }
    let target = |name: &str| {
        let target = scratch.dir(name).unwrap();
        xattr::set(&target, "system.posix_acl_default", DEFAULT_ACL).unwrap();
        target
    };
    let (by_rsync, by_barge) = (target("by rsync"), target("by barge"));
    let copied = Command::new("rsync")
        .args(["-rt", &slashed(&source), &slashed(&by_rsync)])
        .status();
    assert!(copied.unwrap().success());
    let options = Options {
        recursive: true,
        times: true,
        ..Options::default()
    };
    let (ended, lines) = pull(options, &["-rte.iLsfxCIvu"], &slashed(&source), &by_barge);
    assert_eq!(ended.code, 0, "{lines:?}");
    assert_same(&by_rsync, &by_barge, &Compare::default());
}

/// All for the owner, reading and writing for the group, nothing for others
/// (`linux/posix_acl_xattr.h`).
const DEFAULT_ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x06\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

/// Beneath the target a link is a way to a directory, which gets the source's attributes; one that
/// leads out of it is neither followed nor replaced.
#[test]
fn kept_link_to_a_directory_never_leads_out_of_the_target() {
    for args in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        let outside = scratch.dir("outside").unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        fs::create_dir_all(target.join("real/side")).unwrap();
        fs::write(target.join("file"), "").unwrap();
        let absolute = target.join("real");
        for (name, leads_to) in [
            ("real/side/beneath", Path::new("../../real")),
            ("dangling", Path::new("nowhere")),
            ("to-file", Path::new("file")),
            ("out", Path::new("../outside")),
            ("absolute", &absolute),
        ] {
            symlink(leads_to, target.join(name)).unwrap();
            fs::create_dir_all(source.join(name)).unwrap();
            fs::write(source.join(name).join("new"), name).unwrap();
        }
        fs::set_permissions(
            source.join("real/side/beneath"),
            PermissionsExt::from_mode(0o751),
        )
        .unwrap();
        let mut options = archive();
        options.keep_dirlinks = true;
        let (ended, heard) = pull(options, args, &slashed(&source), &target);
        assert_eq!(ended.code, 23, "{heard:?}");
        let refused = heard
            .iter()
            .filter(|line| line.contains("refusing to follow symlink"));
        assert_eq!(refused.count(), 2, "{heard:?}");
        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
        assert_eq!(read("real/new"), "real/side/beneath");
        assert_eq!(
            fs::metadata(target.join("real")).unwrap().mode() & 0o777,
            0o751
        );
        assert_eq!(read("dangling/new"), "dangling");
        assert_eq!(read("to-file/new"), "to-file");
        for name in ["real/side/beneath", "out", "absolute"] {
            assert!(target.join(name).is_symlink(), "{name}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
}

#[test]
fn long_attributes_come_over_whatever_has_them() {
    for args in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        fs::create_dir(source.join("dir")).unwrap();
        for root in [&source, &target] {
            fs::write(root.join("file"), "the same").unwrap();
            tree::set_mtime(&root.join("file"), 1_000_000_000, 0).unwrap();
        }
        fs::write(source.join("new"), "new").unwrap();
        for name in [".", "dir", "file", "new"] {
            // Values of more than 32 bytes are not in the list; two entries have the same one.
            xattr::set(source.join(name), "user.long", &[b'l'; 300]).unwrap();
            xattr::set(source.join(name), "user.short", name.as_bytes()).unwrap();
        }
        xattr::set(target.join("file"), "user.gone", b"").unwrap();
        tree::set_mtime(&source.join("dir"), 1_000_000_000, 0).unwrap();
        let options = Options {
            xattrs: 1,
            ..archive()
        };
        let args = [args, &["-X"]].concat();
        let (ended, lines) = pull(options.clone(), &args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{lines:?} {:?}", ended.failure);
        let mut how = archived();
        how.without.retain(|field| *field != Field::Xattrs);
        assert_same(&source, &target, &how);
        let (ended, lines) = pull(options, &args, &slashed(&source), &target);
        assert_eq!((ended.code, lines), (0, vec![]));
    }
}

#[test]
fn link_that_only_leads_on_is_followed_within_the_target_and_never_out_of_it() {
    for args in [INCREMENTAL, AT_ONCE] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        let outside = scratch.dir("outside").unwrap();
        fs::create_dir(target.join("beside")).unwrap();
        for (name, leads_to) in [("within", "beside"), ("out", "../outside")] {
            symlink(leads_to, target.join(name)).unwrap();
            fs::create_dir(source.join(name)).unwrap();
            fs::write(source.join(name).join("new"), name).unwrap();
            let options = Options {
                relative: true,
                implied_dirs: false,
                ..archive()
            };
            let args = [args, &["-R", "--no-implied-dirs"]].concat();
            let named = format!("{}/./{name}/new", source.display());
            let (ended, heard) = pull(options, &args, &named, &target);
            let code = if name == "out" { 23 } else { 0 };
            assert_eq!(ended.code, code, "{name} {heard:?} {:?}", ended.failure);
            assert!(target.join(name).is_symlink(), "{name}");
        }
        let new = fs::read_to_string(target.join("beside/new")).unwrap();
        assert_eq!(new, "within");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

const LINKED: &[&[&str]] = &[&["-logDtpHre.iLsfxCIvu"], &["-logDtpHre.LsfxCIvu"]];

fn with_links() -> Options {
    Options {
        hard_links: true,
        ..archive()
    }
}

#[test]
fn name_waits_for_no_other_of_its_file_that_is_left_alone() {
    for args in LINKED {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        fs::create_dir(source.join("z")).unwrap();
        fs::write(source.join("a"), "content").unwrap();
        for name in ["b", "z/c"] {
            fs::hard_link(source.join("a"), source.join(name)).unwrap();
        }
        fs::write(target.join("b"), "kept").unwrap();
        fs::write(target.join("z"), "in the way").unwrap();
        let options = Options {
            ignore_existing: true,
            ..with_links()
        };
        let (ended, lines) = pull(options, args, &slashed(&source), &target);
        assert_eq!(ended.code, 23, "z is no directory: {lines:?}");
        let read = |name| fs::read_to_string(target.join(name)).unwrap();
        assert_eq!((&*read("a"), &*read("b")), ("content", "kept"));
    }
}

#[test]
fn names_that_are_left_alone_one_after_the_other_take_no_room_each() {
    let scratch = Scratch::new().unwrap();
    let (source, target) = (
        scratch.dir("source").unwrap(),
        scratch.dir("target").unwrap(),
    );
    fs::write(source.join("a"), "content").unwrap();
    for name in 0..20_000 {
        fs::hard_link(source.join("a"), source.join(format!("b{name}"))).unwrap();
    }
    let options = Options {
        max_size: Some(1),
        ..with_links()
    };
    let (ended, lines) = pull(options, LINKED[0], &slashed(&source), &target);
    assert_eq!(ended.code, 0, "{lines:?}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[test]
fn name_is_made_anew_when_the_directory_of_the_one_before_it_is_gone() {
    for args in LINKED {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        for dir in ["d1", "d2", "d3"] {
            fs::create_dir(source.join(dir)).unwrap();
        }
        fs::write(source.join("d1/a"), "content").unwrap();
        fs::hard_link(source.join("d1/a"), source.join("d2/b")).unwrap();
        fs::write(source.join("d3/x"), "").unwrap();
        let (from, to) = (target.join("d2"), target.join("moved"));
        let moves = move |name: &str| {
            if name == "d2/b" {
                fs::rename(&from, &to).unwrap();
            }
        };
        let (ended, lines) = pull_and(with_links(), args, &slashed(&source), &target, moves);
        assert_eq!(ended.code, 23, "d2 is gone: {lines:?}");
        assert_eq!(fs::read_to_string(target.join("d1/a")).unwrap(), "content");
    }
}

#[test]
fn nothing_is_appended_to_what_has_the_name_of_a_file_meanwhile() {
    for other in [None, Some("other and longer than what was there")] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        fs::write(source.join("a"), "first").unwrap();
        fs::write(
            source.join("log"),
            "old lines and new lines, longer than any other",
        )
        .unwrap();
        fs::write(target.join("log"), "old lines").unwrap();
        let options = Options {
            append: 1,
            inplace: true,
            ..archive()
        };
        let (log, rotated) = (target.join("log"), target.join("log.1"));
        let rotates = move |name: &str| {
            if name == "a" {
                fs::rename(&log, &rotated).unwrap();
                if let Some(other) = other {
                    fs::write(&log, other).unwrap();
                }
            }
        };
        let args = ["--append", AT_ONCE[0]];
        let (ended, lines) = pull_and(options, &args, &slashed(&source), &target, rotates);
        assert_eq!(ended.code, 23, "{lines:?}");
        let log = fs::read_to_string(target.join("log")).ok();
        assert_eq!(log.as_deref(), other);
    }
}

#[test]
fn file_that_is_written_in_its_place_takes_that_of_anything_else() {
    let scratch = Scratch::new().unwrap();
    let (source, target) = (
        scratch.dir("source").unwrap(),
        scratch.dir("target").unwrap(),
    );
    for name in ["fifo", "link"] {
        fs::write(source.join(name), "content").unwrap();
    }
    fs::write(scratch.join("elsewhere"), "kept").unwrap();
    symlink("../elsewhere", target.join("link")).unwrap();
    let made = Command::new("mkfifo").arg(target.join("fifo")).status();
    assert!(made.unwrap().success());
    let options = Options {
        inplace: true,
        ..archive()
    };
    let args = ["--inplace", INCREMENTAL[0]];
    let (ended, lines) = pull(options, &args, &slashed(&source), &target);
    assert_eq!(ended.code, 0, "{lines:?}");
    assert_same(&source, &target, &archived());
    assert_eq!(
        fs::read_to_string(scratch.join("elsewhere")).unwrap(),
        "kept"
    );
}

#[test]
fn nothing_is_deleted_on_another_file_system_where_one_is_kept_to() {
    for delete in [Delete::Before, Delete::During, Delete::Delay, Delete::After] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        fs::create_dir(target.join("above")).unwrap();
        fs::write(target.join("above/gone"), "").unwrap();
        let mounted = ["here", "above/there"].map(|at| Mounted::tmpfs(&target.join(at), "size=1m"));
        let [Ok(here), Ok(there)] = mounted else {
            println!("skipped, cannot mount here: file systems in a target");
            return;
        };
        for mounted in [&here, &there] {
            fs::create_dir(mounted.path().join("dir")).unwrap();
            fs::write(mounted.path().join("dir/kept"), "").unwrap();
        }
        let options = Options {
            one_file_system: 1,
            delete,
            ..archive()
        };
        let (ended, lines) = pull(options, AT_ONCE, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{lines:?}");
        for mounted in [&here, &there] {
            assert!(mounted.path().join("dir/kept").exists(), "{lines:?}");
        }
        assert!(!target.join("above/gone").exists());
    }
}

#[test]
fn delayed_update_comes_over_from_a_temporary_directory_on_another_file_system() {
    let scratch = Scratch::new().unwrap();
    let (source, target) = (
        scratch.dir("source").unwrap(),
        scratch.dir("target").unwrap(),
    );
    let Ok(mounted) = Mounted::tmpfs(&scratch.join("elsewhere"), "size=4m") else {
        println!("skipped, cannot mount here: a temporary directory on another file system");
        return;
    };
    fs::write(source.join("file"), "content").unwrap();
    fs::write(target.join("file"), "older").unwrap();
    let options = Options {
        delay_updates: true,
        partial_dir: Some(".~tmp~".into()),
        temp_dir: Some(mounted.path().into()),
        ..archive()
    };
    let (ended, lines) = pull(options, AT_ONCE, &slashed(&source), &target);
    assert_eq!(ended.code, 0, "{lines:?}");
    assert_same(&source, &target, &archived());
}

#[test]
fn time_is_kept_where_a_file_system_keeps_the_second_alone() {
    let scratch = Scratch::new().unwrap();
    let source = scratch.dir("source").unwrap();
    let Ok(mounted) = Mounted::ext4(&scratch.join("target"), 16, &["-I", "128"]) else {
        println!("skipped, cannot mount here: a file system that keeps seconds");
        return;
    };
    fs::write(source.join("file"), "content").unwrap();
    let file = fs::File::open(source.join("file")).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 999_999_999);
    file.set_modified(time).unwrap();
    let (ended, lines) = pull(archive(), INCREMENTAL, &slashed(&source), mounted.path());
    assert_eq!(ended.code, 0, "{lines:?}");
    let kept = fs::metadata(mounted.path().join("file")).unwrap();
    assert_eq!((kept.mtime(), kept.mtime_nsec()), (1_000_000_000, 0));
    let never = Options {
        modify_window: -1,
        ..archive()
    };
    let (ended, lines) = pull(never, INCREMENTAL, &slashed(&source), mounted.path());
    assert_eq!(ended.code, 23, "{lines:?}");
}

#[test]
fn directories_that_lie_too_deep_to_be_deleted_are_an_error() {
    let scratch = Scratch::new().unwrap();
    let (source, target) = (
        scratch.dir("source").unwrap(),
        scratch.dir("target").unwrap(),
    );
    fs::create_dir_all(target.join("d/".repeat(600))).unwrap();
    let options = Options {
        delete: Delete::During,
        ..archive()
    };
    let (ended, lines) = pull(options, INCREMENTAL, &slashed(&source), &target);
    assert_eq!(ended.code, 23, "{lines:?}");
}

#[test]
fn ordinary_user_takes_the_rights_in_his_directories_for_the_time_being() {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        println!("skipped, needs an ordinary user: directories that may not be written");
        return;
    }
    let shut = |path: PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (args, perms) in [(INCREMENTAL, true), (AT_ONCE, true), (INCREMENTAL, false)] {
        let scratch = Scratch::new().unwrap();
        let (source, target) = (
            scratch.dir("source").unwrap(),
            scratch.dir("target").unwrap(),
        );
        for path in ["source/d/e", "target/d/e", "target/gone"] {
            fs::create_dir_all(scratch.join(path)).unwrap();
        }
        fs::write(source.join("d/f"), "content").unwrap();
        fs::write(source.join("d/e/f"), "content").unwrap();
        for path in ["d/gone", "gone/gone"] {
            fs::write(target.join(path), "").unwrap();
        }
        shut(source.join("d"), 0o555);
        for (path, mode) in [("d/e", 0), ("d", 0o555), ("gone", 0o555)] {
            shut(target.join(path), mode);
        }
        let options = Options {
            delete: Delete::During,
            perms,
            ..archive()
        };
        let (ended, lines) = pull(options, args, &slashed(&source), &target);
        assert_eq!(ended.code, 0, "{lines:?}");
        let mode = |path| fs::metadata(target.join(path)).unwrap().mode() & 0o777;
        assert_eq!(mode("d"), 0o555);
        assert_eq!(mode("d/e"), if perms { 0o755 } else { 0 });
        shut(target.join("d/e"), 0o755);
        assert_eq!(fs::read(target.join("d/e/f")).unwrap(), b"content");
        assert!(target.join("d/f").exists() && !target.join("d/gone").exists());
        assert!(!target.join("gone").exists());
        for path in [source.join("d"), target.join("d")] {
            shut(path, 0o755);
        }
    }
}
