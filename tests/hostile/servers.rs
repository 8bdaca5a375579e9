//! Servers that a client pulls from: lists that were not asked for, handshakes that are none, words that a
//! terminal would obey.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use barge_testkit::peer::{Ended, Running};
use barge_testkit::scratch::Scratch;

use crate::peer::rsync;
use crate::wire::{
    BASIS, DONE, Entry, HLINK_FIRST, HLINKED, IS_NEW, LIST_END, TOP_DIR, TRANSFER, Wire, XNAME,
    frame, list,
};

/// A target with something to lose, and a neighbour that is no part of it.
struct Stage {
    place: Scratch,
    target: PathBuf,
    outside: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let place = Scratch::new().unwrap();
        let (target, outside) = (place.dir("target").unwrap(), place.dir("outside").unwrap());
        for dir in [&target, &outside] {
            fs::write(dir.join("treasure"), "precious").unwrap();
        }
        Self {
            place,
            target,
            outside,
        }
    }

    /// Lets a client pull `path` with `options` from a server that plays `script`.
    fn pull(&self, options: &[&str], path: &str, script: Script) -> Ended {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = play(listener, script);
        let mut client = rsync();
        client
            .args(["-logDtpr", "--numeric-ids", "--timeout=15"])
            .args(options);
        client.arg(format!("rsync://127.0.0.1:{port}/{path}"));
        client.arg(format!("{}/", self.target.display()));
        let ended = Running::start(&mut client)
            .unwrap()
            .wait(Duration::from_secs(40))
            .unwrap();
        // Whether its own lines went through is not the question.
        let _ = server.join();
        ended
    }

    #[track_caller]
    fn unharmed(&self, what: &str) {
        for dir in [&self.target, &self.outside] {
            let names: Vec<_> = fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, ["treasure"], "{what}: in {}", dir.display());
            assert_eq!(
                fs::read(dir.join("treasure")).unwrap(),
                b"precious",
                "{what}"
            );
        }
    }
}

/// What a server does after the client has connected.
enum Script {
    /// Says this instead of a greeting.
    Greeting(Vec<u8>),
    /// Says this when the module was chosen.
    Module(Vec<u8>),
    /// Lets the client in with these compatibility flags, then sends frames.
    Session(u8, Vec<u8>),
    /// As [`Self::Session`], in steps: before each but the first the client has said all it had to say.
    Steps(u8, Vec<Vec<u8>>),
}

fn play(listener: TcpListener, script: Script) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let _ = act(&mut stream, script);
    })
}

fn act(stream: &mut TcpStream, script: Script) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    if let Script::Greeting(words) = script {
        stream.write_all(&words)?;
        return hear_out(stream, &mut reader);
    }
    stream.write_all(b"@RSYNCD: 31.0 md5\n")?;
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    reader.read_until(b'\n', &mut line)?;
    match script {
        Script::Module(words) => stream.write_all(&words)?,
        Script::Session(flags, frames) => {
            begin(stream, &mut reader, flags)?;
            stream.write_all(&frames)?;
        }
        Script::Steps(flags, steps) => {
            begin(stream, &mut reader, flags)?;
            for step in steps {
                stream.write_all(&step)?;
                hear_for_a_while(&mut reader)?;
            }
        }
        Script::Greeting(_) => {}
    }
    hear_out(stream, &mut reader)
}

/// Lets a client in that has chosen a module.
fn begin(
    stream: &mut TcpStream,
    reader: &mut BufReader<TcpStream>,
    flags: u8,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    stream.write_all(b"@RSYNCD: OK\n")?;
    // Arguments end with an empty one.
    while {
        line.clear();
        reader.read_until(0, &mut line)?;
        line.len() > 1
    } {}
    stream.write_all(&[flags, 1, 0, 0, 0])
}

/// Takes what comes until nothing has come for half a second.
fn hear_for_a_while(reader: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let a_while = Some(Duration::from_millis(500));
    reader.get_ref().set_read_timeout(a_while)?;
    while let Ok(1..) = reader.read(&mut [0; 4096]) {}
    let patience = Some(Duration::from_secs(20));
    reader.get_ref().set_read_timeout(patience)
}

/// Closes this way and takes what still comes, so that the client sees an end and no reset.
fn hear_out(stream: &TcpStream, reader: &mut impl Read) -> std::io::Result<()> {
    stream.shutdown(std::net::Shutdown::Write)?;
    std::io::copy(&mut reader.take(1 << 24), &mut std::io::sink())?;
    Ok(())
}

fn session(wire: &Wire) -> Script {
    Script::Session(0x08, frame(0, &wire.0))
}

#[track_caller]
fn refused(ended: &Ended, what: &str) {
    assert!(
        matches!(ended.code, Some(1 | 2 | 3 | 4 | 5 | 12 | 22 | 23)),
        "{what}: {ended:?}"
    );
    assert!(
        !ended.stderr.contains("panicked"),
        "{what}: {}",
        ended.stderr
    );
    assert!(!ended.stderr.is_empty(), "{what}: no word why");
}

#[test]
fn honest_server_is_pulled_from() {
    let stage = Stage::new();
    let wire = list(&[
        Entry {
            flags: TOP_DIR,
            ..Entry::dir(b".")
        },
        Entry::file(b"new", 3),
    ]);
    let wire = wire
        .item(1, TRANSFER | 0x2000)
        .whole()
        .literal(b"abc")
        .int32(0)
        .raw(&[0]);
    let statistics = Wire::new()
        .raw(DONE)
        .raw(DONE)
        .raw(DONE)
        .raw(&[0; 15])
        .raw(DONE);
    // The root's time differs: its item comes first, whether or not it is waited for.
    let ended = stage.pull(
        &["--checksum-choice=none", "-O"],
        "m/",
        Script::Session(0x08, {
            let mut frames = frame(0, &wire.0);
            frames.extend(frame(0, &statistics.0));
            frames
        }),
    );
    // A server that answers before it is asked is refused, or its file is whole.
    match fs::read(stage.target.join("new")) {
        Ok(content) => assert_eq!(content, b"abc"),
        Err(_) => assert_ne!(ended.code, Some(0), "{ended:?}"),
    }
}

#[test]
fn name_that_was_not_asked_for_is_refused() {
    for (what, path, entries) in [
        ("another file", "m/wanted", vec![Entry::file(b"other", 1)]),
        (
            "a second file",
            "m/wanted",
            vec![Entry::file(b"wanted", 1), Entry::file(b"zzz", 1)],
        ),
        (
            "a directory for a file",
            "m/wanted",
            vec![Entry::dir(b"."), Entry::file(b"x", 1)],
        ),
        (
            "a name that climbs",
            "m/",
            vec![Entry::dir(b"."), Entry::file(b"../outside/x", 1)],
        ),
        (
            "an absolute name",
            "m/",
            vec![Entry::dir(b"."), Entry::file(b"/tmp/barge-x", 1)],
        ),
        (
            "dots",
            "m/",
            vec![Entry::dir(b".."), Entry::file(b"../x", 1)],
        ),
        (
            "a root that is no directory",
            "m/",
            vec![Entry::file(b".", 1)],
        ),
        (
            "a hard link without -H",
            "m/",
            vec![
                Entry::dir(b"."),
                Entry {
                    flags: HLINKED | HLINK_FIRST,
                    ..Entry::file(b"x", 1)
                },
            ],
        ),
        (
            "an entry of another kind",
            "m/",
            vec![Entry::dir(b"."), Entry::new(b"x", 0o150_644)],
        ),
    ] {
        let stage = Stage::new();
        refused(&stage.pull(&[], path, session(&list(&entries))), what);
        stage.unharmed(what);
    }
}

#[test]
fn file_beneath_a_link_stays_beneath_the_target() {
    let stage = Stage::new();
    let outside = stage.outside.to_str().unwrap().as_bytes().to_vec();
    let entries = [
        Entry::dir(b"."),
        Entry::symlink(b"door", &outside),
        Entry::file(b"door/x", 1),
    ];
    refused(
        &stage.pull(&[], "m/", session(&list(&entries))),
        "a link as a directory",
    );
    assert_eq!(fs::read_dir(&stage.outside).unwrap().count(), 1);
}

#[test]
fn pieces_of_a_list_that_do_not_fit_are_refused() {
    let begun = || {
        let root = Entry {
            flags: TOP_DIR,
            ..Entry::dir(b".")
        };
        list(&[root, Entry::dir(b"d"), Entry::file(b"f", 1)])
    };
    let piece = |entries: &[Entry]| list(entries).0;
    for (what, wire) in [
        (
            "a directory that is none",
            begun().negative_ndx(-101 - 9).raw(LIST_END),
        ),
        (
            "the root's list again",
            begun()
                .negative_ndx(-101)
                .raw(&piece(&[Entry::file(b"x", 1)])),
        ),
        (
            "a list twice",
            begun()
                .negative_ndx(-102)
                .raw(LIST_END)
                .negative_ndx(-102)
                .raw(LIST_END),
        ),
        (
            "names of another directory",
            begun()
                .negative_ndx(-102)
                .raw(&piece(&[Entry::file(b"e/x", 1)])),
        ),
        (
            "names of the root",
            begun()
                .negative_ndx(-102)
                .raw(&piece(&[Entry::file(b"x", 1)])),
        ),
        (
            "names that are deeper",
            begun()
                .negative_ndx(-102)
                .raw(&piece(&[Entry::file(b"d/e/x", 1)])),
        ),
        (
            "a list after the last",
            begun().negative_ndx(-2).negative_ndx(-102).raw(LIST_END),
        ),
    ] {
        let stage = Stage::new();
        let script = Script::Session(0x09, frame(0, &wire.0));
        refused(&stage.pull(&[], "m/", script), what);
        assert_eq!(
            fs::read(stage.target.join("treasure")).unwrap(),
            b"precious",
            "{what}"
        );
        assert_eq!(fs::read_dir(&stage.outside).unwrap().count(), 1, "{what}");
    }
}

#[test]
fn pieces_of_a_list_are_refused_by_who_did_not_offer_them() {
    let stage = Stage::new();
    let script = Script::Session(0x09, frame(0, &list(&[Entry::dir(b".")]).0));
    refused(
        &stage.pull(&["--no-inc-recursive"], "m/", script),
        "incremental recursion",
    );
    stage.unharmed("incremental recursion");
}

#[test]
fn deletion_is_never_wider_than_what_was_asked_for() {
    let stage = Stage::new();
    fs::create_dir_all(stage.target.join("a/b")).unwrap();
    fs::write(stage.target.join("a/sibling"), "mine").unwrap();
    // `a` is only on the way to what was asked for; the server claims to have listed it whole.
    let entries = [
        Entry {
            flags: TOP_DIR,
            ..Entry::dir(b"a")
        },
        Entry {
            flags: TOP_DIR,
            ..Entry::dir(b"a/b")
        },
    ];
    stage.pull(&["-R", "--delete"], "m/a/b/", session(&list(&entries)));
    assert!(stage.target.join("a/sibling").exists());
    assert!(stage.target.join("treasure").exists());
    // A list that tells an error, and one that is cut short, delete nothing.
    for end in [&[0x04, 0x10, 0x01][..], &[]] {
        let wire = Wire::new()
            .raw(
                &Entry {
                    flags: TOP_DIR,
                    ..Entry::dir(b".")
                }
                .bytes(),
            )
            .raw(end);
        stage.pull(&["--delete"], "m/", session(&wire));
        assert!(stage.target.join("treasure").exists(), "{end:?}");
        assert!(stage.target.join("a/sibling").exists(), "{end:?}");
    }
}

#[test]
fn content_that_was_not_asked_for_or_is_wrong_gets_no_name() {
    let begun = || {
        list(&[
            Entry {
                flags: TOP_DIR,
                ..Entry::dir(b".")
            },
            Entry::file(b"new", 3),
        ])
    };
    for (what, wire) in [
        (
            "a wrong digest",
            begun()
                .item(1, TRANSFER)
                .whole()
                .literal(b"abc")
                .end_of_file([9; 16]),
        ),
        (
            "a block of no basis",
            begun()
                .item(1, TRANSFER)
                .whole()
                .int32(-1)
                .end_of_file([9; 16]),
        ),
        ("a directory's content", begun().item(0, TRANSFER).whole()),
        (
            "an index beyond the list",
            begun().item(99, TRANSFER).whole(),
        ),
        (
            "half a file",
            begun().item(1, TRANSFER).whole().literal(b"ab"),
        ),
        ("a phase too many", begun().raw(&[0; 40])),
    ] {
        let stage = Stage::new();
        refused(&stage.pull(&[], "m/", session(&wire)), what);
        stage.unharmed(what);
    }
}

#[test]
fn handshake_that_is_none_ends_with_a_word_and_without_waiting() {
    let long = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
    for (what, greeting) in [
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("nothing", Vec::new()),
        ("no number", b"@RSYNCD: x\n".to_vec()),
        ("a version from long ago", b"@RSYNCD: 20.0\n".to_vec()),
        ("no subprotocol", b"@RSYNCD: 31\n".to_vec()),
        ("no digests", b"@RSYNCD: 32.0\n".to_vec()),
        ("a line without an end", long),
        ("a NUL", b"@RSYNCD: 31.0\0\n".to_vec()),
    ] {
        let stage = Stage::new();
        refused(&stage.pull(&[], "m/", Script::Greeting(greeting)), what);
        stage.unharmed(what);
    }
    for (what, words) in [
        ("an error", b"@ERROR: go away\n".to_vec()),
        (
            "a challenge to one without a password",
            b"@RSYNCD: AUTHREQD abc\n".to_vec(),
        ),
        ("an end without a word", Vec::new()),
    ] {
        let stage = Stage::new();
        refused(&stage.pull(&[], "m/", Script::Module(words)), what);
        stage.unharmed(what);
    }
}

#[test]
fn words_of_a_server_cannot_drive_a_terminal() {
    let stage = Stage::new();
    let words = b"\x1b]0;owned\x07\x1b[31mred\r\n";
    let mut frames = frame(2, words);
    frames.extend(frame(3, words));
    frames.extend(frame(0, &list(&[]).0));
    let ended = stage.pull(&["-v"], "m/", Script::Session(0x08, frames));
    for said in [&ended.stdout, &ended.stderr] {
        assert!(!said.contains(['\x1b', '\x07']), "{said:?}");
    }
    // A message of the day too.
    let motd = Script::Module(b"\x1b[2Jmotd\n@ERROR: \x1b[2Jno\n".to_vec());
    let ended = stage.pull(&[], "m/", motd);
    for said in [&ended.stdout, &ended.stderr] {
        assert!(!said.contains('\x1b'), "{said:?}");
    }
}

#[test]
fn time_limits_of_a_server_are_taken_with_care() {
    for seconds in [0, -1, i32::MAX] {
        let stage = Stage::new();
        let mut frames = frame(33, &seconds.to_le_bytes());
        frames.extend(frame(0, &list(&[Entry::dir(b".")]).0));
        let ended = stage.pull(&[], "m/", Script::Session(0x08, frames));
        assert!(
            !ended.stderr.contains("panicked"),
            "{seconds}: {}",
            ended.stderr
        );
        assert_ne!(ended.code, Some(0), "{seconds}: the server hung up");
        assert!(Path::new(&stage.place.join("target")).exists());
    }
}

/// A list of the root and one file, for `-logDtpr` with numeric ids.
fn one_file() -> Vec<u8> {
    let root = Entry {
        flags: TOP_DIR,
        ..Entry::dir(b".")
    };
    frame(0, &list(&[root, Entry::file(b"new", 3)]).0)
}

#[test]
fn content_that_fails_its_digest_twice_gets_no_name_and_is_told() {
    let item = Wire::new().item(1, TRANSFER | IS_NEW).whole();
    let wrong = item.literal(b"abc").end_of_file([9; 16]).0;
    let stage = Stage::new();
    let statistics = [0; 15];
    let steps = vec![
        one_file(),
        frame(0, &[&wrong, DONE].concat()),
        frame(0, &wrong),
        frame(0, DONE),
        frame(0, &[DONE, &statistics].concat()),
        frame(0, DONE),
    ];
    let ended = stage.pull(&["-O"], "m/", Script::Steps(0x08, steps));
    assert_eq!(ended.code, Some(23), "{ended:?}");
    let told = &ended.stderr;
    assert!(told.contains("will try again"), "{told}");
    assert!(
        told.contains("failed verification -- update discarded"),
        "{told}"
    );
    stage.unharmed("a digest that is a lie");
}

#[test]
fn answer_that_differs_from_its_request_is_refused() {
    let item = |flags| Wire::new().item(1, TRANSFER | IS_NEW | flags);
    let literal = |wire: Wire| wire.literal(b"abc").end_of_file([9; 16]);
    for (what, answer) in [
        (
            "a basis that was never named",
            literal(item(BASIS).raw(&[5]).whole()),
        ),
        (
            "a fuzzy basis elsewhere",
            literal(
                item(BASIS | XNAME)
                    .raw(&[0x83])
                    .raw(b"\x13../outside/treasure")
                    .whole(),
            ),
        ),
        (
            "what an earlier run left of it",
            literal(item(BASIS).raw(&[0x82]).whole()),
        ),
        (
            "blocks where none were signed",
            literal(item(0).sum_head([1, 700, 2, 8])),
        ),
        (
            "attributes that are not kept",
            literal(item(0x0100).whole()),
        ),
        ("a second answer", {
            let once = literal(item(0).whole()).0;
            Wire::new().raw(&once).raw(&once).raw(&once)
        }),
        (
            "an answer to another",
            literal(Wire::new().item(0, TRANSFER).whole()),
        ),
        ("no content", item(0)),
    ] {
        let stage = Stage::new();
        let steps = vec![one_file(), frame(0, &answer.0)];
        let ended = stage.pull(&["-O"], "m/", Script::Steps(0x08, steps));
        refused(&ended, what);
        assert_ne!(ended.code, Some(23), "{what}: {ended:?}");
        stage.unharmed(what);
    }
}

#[test]
fn message_that_no_server_may_send_is_refused() {
    for (what, bytes) in [
        ("a tag that is none", frame(50, b"")),
        ("a redo", frame(9, &[0; 4])),
        ("a file that is safe", frame(100, &1_i32.to_le_bytes())),
        ("what was deleted", frame(101, b"treasure\0")),
        (
            "a missing file that is none",
            frame(102, &77_i32.to_le_bytes()),
        ),
        ("an error code of five bytes", frame(22, &[0; 5])),
        ("a text that is too long", frame(3, &[b'x'; 6000])),
        ("a frame below the first tag", [0, 0, 0, 3].to_vec()),
    ] {
        let stage = Stage::new();
        let steps = vec![one_file(), bytes, frame(0, &[0; 5])];
        let ended = stage.pull(&["-O"], "m/", Script::Steps(0x08, steps));
        refused(&ended, what);
        stage.unharmed(what);
    }
}

#[test]
fn root_that_was_not_asked_for_is_no_reason_to_delete() {
    let root = Entry {
        flags: TOP_DIR,
        ..Entry::dir(b".")
    };
    for path in ["m/wanted", "m/d/wanted"] {
        let stage = Stage::new();
        let wire = list(&[root.clone(), Entry::file(b"wanted", 1)]);
        refused(&stage.pull(&["--delete"], path, session(&wire)), path);
        stage.unharmed(path);
    }
}
