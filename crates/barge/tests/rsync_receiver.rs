//! The receiving side of rsync's protocol, with the installed rsync as its sender.
#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barge::over_rsync::options::{FilesFrom, Options, ServerArgs};
use barge::over_rsync::{
    Client, Connection, Ended, Event, Input, Item, Listener, Output, Peer, RuleList, session,
};
use barge_testkit::compare::{Compare, Field, assert_same};
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

/// What a run told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Listener for Heard {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Line { text, .. } => String::from_utf8_lossy(text).into_owned(),
            Event::Item(Item { name, iflags, .. }) => {
                format!("{iflags:04x} {}", String::from_utf8_lossy(name))
            }
            Event::Deleted { name, .. } => format!("deleted {}", String::from_utf8_lossy(name)),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Heard {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
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
    let (mut child, connection) = sender(args, source);
    let heard = Arc::new(Heard::default());
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
