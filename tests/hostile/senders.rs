//! Clients that push: lists, items and content that no honest sender would send.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use barge_testkit::scratch::Scratch;
use barge_testkit::tree;

use crate::peer::{Attacker, Daemon, Told};
use crate::wire::{
    BASIS, DONE, Entry, HLINK_FIRST, HLINKED, IS_NEW, LIST_END, TOP_DIR, TRANSFER, Wire, XNAME,
    frame, list,
};

/// A module with something to lose, and a neighbour that is no part of it.
struct Stage {
    place: Scratch,
    module: PathBuf,
    outside: PathBuf,
    daemon: Daemon,
}

impl Stage {
    /// Makes `attack`, and sees that it ended with one of the codes for a peer that is wrong, told to the
    /// peer, or where the stream itself was damaged, to the daemon's log.
    #[track_caller]
    fn refuses(&self, what: &str, attack: impl FnOnce() -> Told) {
        let logged = self.daemon.errors(self.place.path());
        let told = attack();
        let (code, text) = (told.exit_code(), told.text());
        assert!(
            matches!(code, Some(1 | 2 | 4 | 12 | 22))
                || !text.is_empty()
                || self.logs_more_than(logged),
            "{what}: {code:?} {text:?}"
        );
        assert!(!text.contains("panic"), "{what}: {text}");
    }

    /// Refuses each of these lists, and is unharmed.
    #[track_caller]
    fn refuses_lists(&self, options: &[&str], cases: Vec<(&str, Vec<Entry>)>) {
        for (what, entries) in cases {
            self.refuses(what, || self.attack(options, list(&entries)));
            self.unharmed(what);
        }
    }

    /// The daemon's connection may end a moment after the peer has seen its end.
    fn logs_more_than(&self, errors: usize) -> bool {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while self.daemon.errors(self.place.path()) <= errors {
            if std::time::Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        true
    }

    fn new() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        let place = Scratch::new().unwrap();
        let (module, outside) = (place.dir("module").unwrap(), place.dir("outside").unwrap());
        fs::write(module.join("treasure"), "precious").unwrap();
        fs::write(outside.join("treasure"), "precious").unwrap();
        let daemon = Daemon::start(place.path(), &module, more);
        Self {
            place,
            module,
            outside,
            daemon,
        }
    }

    fn push(&self, options: &[&str]) -> Attacker {
        let mut args = vec!["--server", "-logDtpre.Lsf", "--numeric-ids"];
        args.extend(options);
        args.extend([".", "m/"]);
        Attacker::enter(self.daemon.addr(), &args)
    }

    /// Pushes `wire` and nothing else.
    fn attack(&self, options: &[&str], wire: Wire) -> Told {
        let mut attacker = self.push(options);
        attacker.data(&wire.0);
        attacker.end()
    }

    /// Nothing was lost, nothing was made, here or outside.
    #[track_caller]
    fn unharmed(&self, what: &str) {
        for dir in [&self.module, &self.outside] {
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

/// The connection ended with one of the codes for a peer that is wrong, and a word why.
#[test]
fn honest_push_comes_through() {
    let stage = Stage::new();
    let mut attacker = stage.push(&["--checksum-choice=none"]);
    let entries = [Entry::dir(b"."), Entry::file(b"new", 3)];
    attacker.data(&list(&entries).0);
    // The root's item, the file's item with its head of 16 bytes, the end of the phase.
    attacker.await_data(1 + 2 + 16 + 1);
    let item = Wire::new()
        .item(1, TRANSFER | IS_NEW)
        .whole()
        .literal(b"abc")
        .int32(0)
        .raw(&[0]);
    attacker.data(&item.raw(DONE).0);
    attacker.data(DONE);
    attacker.data(DONE);
    attacker.data(DONE);
    let told = attacker.end();
    assert_eq!(
        fs::read(stage.module.join("new")).unwrap(),
        b"abc",
        "{told:?}"
    );
}

/// A sender whose only list is done takes the next marker for one of a phase.
#[test]
fn list_is_not_said_to_be_done_before_another_or_the_end_of_lists_has_come() {
    let stage = Stage::new();
    fs::create_dir(stage.module.join("d")).unwrap();
    for name in ["d", "."] {
        let dir = stage.module.join(name);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        tree::set_mtime(&dir, 1_700_000_000, 0).unwrap();
    }
    let args = ["--server", "-logDtpre.iLsf", "--numeric-ids", ".", "m/"];
    let mut attacker = Attacker::enter(stage.daemon.addr(), &args);
    let root = Entry {
        flags: TOP_DIR,
        ..Entry::dir(b".")
    };
    attacker.data(&list(&[root, Entry::dir(b"d")]).0);
    assert_eq!(attacker.data_of_a_while(), b"");
    attacker.data(&Wire::new().negative_ndx(-102).raw(LIST_END).0);
    assert_eq!(attacker.data_of_a_while(), DONE);
    attacker.data(&Wire::new().raw(DONE).negative_ndx(-2).0);
    attacker.await_data(1);
    // The second list and the phases.
    attacker.data(&[0; 4]);
    let told = attacker.end();
    assert_eq!(told.data, [0; 5], "{told:?}");
}

#[test]
fn name_that_no_sender_may_list_is_refused_before_anything_is_touched() {
    let stage = Stage::new();
    let root = Entry::dir(b".");
    let named = |name: &[u8]| vec![root.clone(), Entry::file(name, 1)];
    stage.refuses_lists(
        &[],
        vec![
            ("a name that climbs", named(b"../outside/x")),
            ("a name that climbs late", named(b"sub/../../outside/x")),
            ("a name that is dots", named(b"..")),
            ("an absolute name", named(b"/tmp/x")),
            ("an empty part", named(b"a//b")),
            ("a dot as a part", named(b"a/./b")),
            ("a slash at the end", named(b"a/")),
            ("a NUL in a name", named(b"a\0b")),
            ("a name that is too long", named(&[b'a'; 4096])),
            ("an empty name", named(b"")),
            ("a name of a directory that was not listed", named(b"sub/x")),
            (
                "more shared bytes than there are",
                vec![
                    root.clone(),
                    Entry {
                        shared: Some(200),
                        ..Entry::file(b"x", 1)
                    },
                ],
            ),
            ("a root that is no directory", vec![Entry::file(b".", 1)]),
            (
                "a file beneath a symbolic link",
                vec![
                    root.clone(),
                    Entry::symlink(b"sub", stage.outside.to_str().unwrap().as_bytes()),
                    Entry::file(b"sub/x", 1),
                ],
            ),
            (
                "a file beneath a file",
                vec![
                    root.clone(),
                    Entry::file(b"sub", 1),
                    Entry::file(b"sub/x", 1),
                ],
            ),
        ],
    );
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn mode_or_time_that_no_sender_may_list_is_refused_before_anything_is_touched() {
    let stage = Stage::new();
    let root = Entry::dir(b".");
    stage.refuses_lists(
        &[],
        vec![
            (
                "a mode that is none",
                vec![root.clone(), Entry::new(b"x", 0o050_644)],
            ),
            (
                "mode 0 without --delete-missing-args",
                vec![root.clone(), Entry::new(b"treasure", 0)],
            ),
            (
                "a second of a thousand million nanoseconds",
                vec![
                    root.clone(),
                    Entry {
                        nsec: Some(1_000_000_000),
                        ..Entry::file(b"x", 1)
                    },
                ],
            ),
            (
                "negative nanoseconds",
                vec![
                    root.clone(),
                    Entry {
                        nsec: Some(-1),
                        ..Entry::file(b"x", 1)
                    },
                ],
            ),
        ],
    );
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn symbolic_link_that_no_sender_may_list_is_refused_before_anything_is_touched() {
    let stage = Stage::new();
    let root = Entry::dir(b".");
    let link = |len: i32, target: &[u8]| Entry {
        target: Some((len, target.to_vec())),
        ..Entry::new(b"link", 0o120_777)
    };
    stage.refuses_lists(
        &[],
        vec![
            ("a link to nothing", vec![root.clone(), link(0, b"")]),
            (
                "a link of negative length",
                vec![root.clone(), link(-1, b"")],
            ),
            (
                "a link that is too long",
                vec![root.clone(), link(5000, &[b'x'; 5000])],
            ),
            ("a link with a NUL", vec![root.clone(), link(3, b"a\0b")]),
        ],
    );
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn hard_link_that_no_sender_may_list_is_refused_before_anything_is_touched() {
    let stage = Stage::new();
    let root = Entry::dir(b".");
    stage.refuses_lists(
        &[],
        vec![(
            "a hard link without -H",
            vec![
                root.clone(),
                Entry {
                    flags: HLINKED | HLINK_FIRST,
                    ..Entry::file(b"x", 1)
                },
            ],
        )],
    );
    stage.refuses_lists(
        &["-H"],
        vec![
            (
                "a hard link to what comes later",
                vec![
                    root.clone(),
                    Entry {
                        flags: HLINKED,
                        first_link: Some(7),
                        ..Entry::file(b"x", 1)
                    },
                ],
            ),
            (
                "a hard link to a negative index",
                vec![
                    root.clone(),
                    Entry {
                        flags: HLINKED,
                        first_link: Some(-5),
                        ..Entry::file(b"x", 1)
                    },
                ],
            ),
            (
                "a hard link to what is none",
                vec![
                    root.clone(),
                    Entry::file(b"w", 1),
                    Entry {
                        flags: HLINKED,
                        first_link: Some(1),
                        ..Entry::file(b"x", 1)
                    },
                ],
            ),
            (
                "a directory as a hard link",
                vec![
                    root.clone(),
                    Entry {
                        flags: HLINKED | HLINK_FIRST,
                        ..Entry::dir(b"x")
                    },
                ],
            ),
        ],
    );
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn acl_that_no_sender_may_list_is_refused_before_anything_is_touched() {
    let stage = Stage::new();
    let root = Entry::dir(b".");
    stage.refuses_lists(
        &["-A"],
        vec![
            (
                "an ACL that was never sent",
                vec![Entry {
                    flags: TOP_DIR,
                    tail: vec![9, 9],
                    ..root.clone()
                }],
            ),
            (
                "an ACL of a thousand million entries",
                vec![Entry {
                    tail: Wire::new().raw(&[0, 0x10]).varint(1_000_000_000).0,
                    ..root.clone()
                }],
            ),
        ],
    );
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn attribute_that_no_sender_may_list_is_refused_before_anything_is_touched() {
    let stage = Stage::new();
    let root = Entry::dir(b".");
    stage.refuses_lists(
        &["-X"],
        vec![
            (
                "an attribute set that was never sent",
                vec![Entry {
                    tail: vec![9],
                    ..root.clone()
                }],
            ),
            (
                "a thousand million attributes",
                vec![Entry {
                    tail: Wire::new().raw(&[0]).varint(1_000_000_000).0,
                    ..root.clone()
                }],
            ),
            (
                "an attribute's name without an end",
                vec![Entry {
                    tail: Wire::new().raw(&[0, 1, 6, 1]).raw(b"user.xv").0,
                    ..root.clone()
                }],
            ),
            (
                "an attribute of two thousand million bytes",
                vec![Entry {
                    tail: Wire::new()
                        .raw(&[0, 1, 7])
                        .varint(i32::MAX)
                        .raw(b"user.x\0")
                        .0,
                    ..root.clone()
                }],
            ),
        ],
    );
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn item_that_was_not_asked_for_is_refused() {
    let stage = Stage::new();
    let begun = || {
        list(&[
            Entry::dir(b"."),
            Entry::dir(b"d"),
            Entry::file(b"treasure", 3),
        ])
    };
    // Sorted: the root, the file, the directory.
    let cases = [
        (
            "an index beyond the list",
            begun().item(9, TRANSFER).whole(),
        ),
        (
            "the largest index",
            begun().item(i32::MAX >> 8, TRANSFER).whole(),
        ),
        ("a directory's content", begun().item(2, TRANSFER).whole()),
        ("the root's content", begun().item(0, TRANSFER).whole()),
        (
            "a negative number that means nothing",
            begun().negative_ndx(-77),
        ),
        (
            "a list where lists do not come in pieces",
            begun().negative_ndx(-101).raw(LIST_END),
        ),
        (
            "the end of lists where they do not come in pieces",
            begun().negative_ndx(-2),
        ),
        (
            "a basis that was never given",
            begun().item(1, TRANSFER | BASIS).raw(&[3]).whole(),
        ),
        (
            "a fuzzy basis elsewhere",
            begun()
                .item(1, TRANSFER | BASIS | XNAME)
                .raw(&[0x83])
                .raw(b"\x13../outside/treasure")
                .whole(),
        ),
        ("more phases than there are", begun().raw(&[0; 64])),
        (
            "deletions beyond counting",
            begun().negative_ndx(-3).varint(-1).raw(&[0; 4]),
        ),
    ];
    for (what, wire) in cases {
        stage.refuses(what, || stage.attack(&[], wire));
        let old = fs::read(stage.module.join("treasure")).unwrap();
        assert_eq!(old, b"precious", "{what}");
        assert_eq!(
            fs::read(stage.outside.join("treasure")).unwrap(),
            b"precious",
            "{what}"
        );
    }
    assert!(stage.daemon.serves(stage.place.path()));
}

/// What follows the item of a file that was asked for.
fn content_cases() -> Vec<(&'static str, Wire)> {
    let head = |head| Wire::new().item(1, TRANSFER | IS_NEW).sum_head(head);
    let whole = || head([0; 4]);
    vec![
        (
            "a block of no basis",
            whole().int32(-1).end_of_file([0; 16]),
        ),
        (
            "a block far away",
            whole().int32(i32::MIN).end_of_file([0; 16]),
        ),
        (
            "blocks of no length",
            head([5, 0, 2, 0]).int32(-1).end_of_file([0; 16]),
        ),
        (
            "blocks beyond the largest",
            head([5, 1 << 30, 2, 0]).int32(-1).end_of_file([0; 16]),
        ),
        ("a negative number of blocks", head([-5, 700, 2, 0])),
        (
            "a remainder longer than a block",
            head([5, 700, 2, 701]).int32(-5).end_of_file([0; 16]),
        ),
        ("sums longer than the digest", head([5, 700, 64, 0])),
        (
            "blocks where none were signed",
            head([1 << 20, 700, 2, 0]).int32(-9).end_of_file([0; 16]),
        ),
        (
            "a literal that never ends",
            whole().int32(i32::MAX).raw(&[7; 5000]),
        ),
        ("a file cut short", whole().literal(b"ab")),
        ("no end at all", whole().literal(b"abc").int32(0)),
    ]
}

#[test]
fn content_that_is_wrong_never_gets_a_name() {
    for (what, wire) in content_cases() {
        let stage = Stage::new();
        let mut attacker = stage.push(&[]);
        attacker.data(&list(&[Entry::dir(b"."), Entry::file(b"new", 3)]).0);
        attacker.await_data(1 + 2 + 16);
        attacker.data(&wire.0);
        stage.refuses(what, || attacker.end());
        stage.unharmed(what);
        assert!(stage.daemon.serves(stage.place.path()), "{what}");
    }
}

#[test]
fn content_that_fails_its_digest_twice_is_reported_and_never_gets_a_name() {
    let stage = Stage::new();
    let mut attacker = stage.push(&[]);
    attacker.data(&list(&[Entry::dir(b"."), Entry::file(b"new", 3)]).0);
    attacker.await_data(1 + 2 + 16);
    let wrong = Wire::new()
        .item(1, TRANSFER | IS_NEW)
        .whole()
        .literal(b"abc")
        .end_of_file([9; 16]);
    attacker.data(&wrong.0);
    attacker.data(DONE);
    // The second request.
    attacker.await_data(1 + 2 + 16 + 1 + 1 + 2 + 16);
    attacker.data(&wrong.0);
    for _ in 0..3 {
        attacker.data(DONE);
    }
    let told = attacker.end();
    assert!(told.text().contains("failed verification"), "{told:?}");
    stage.unharmed("a wrong digest");
}

#[test]
fn message_that_no_client_may_send_is_refused() {
    let stage = Stage::new();
    let begun = list(&[Entry::dir(b".")]).0;
    for (what, bytes) in [
        ("a tag that is none", frame(50, b"")),
        ("a redo", frame(9, &[0; 4])),
        ("an internal error of the receiver", frame(5, b"x")),
        (
            "a time limit from a client",
            frame(33, &1_i32.to_le_bytes()),
        ),
        ("an error code of five bytes", frame(22, &[0; 5])),
        (
            "a missing file that is none",
            frame(102, &77_i32.to_le_bytes()),
        ),
        ("a text that is too long", frame(3, &[b'x'; 6000])),
        ("a frame below the first tag", [0, 0, 0, 3].to_vec()),
    ] {
        let mut attacker = stage.push(&[]);
        attacker.say(&frame(0, &begun));
        attacker.say(&bytes);
        attacker.data(&[0; 5]);
        stage.refuses(what, || attacker.end());
        stage.unharmed(what);
    }
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn flood_of_messages_takes_neither_stack_nor_memory() {
    let stage = Stage::new();
    let mut attacker = stage.push(&[]);
    let noise = frame(2, b"noise\n").repeat(1000);
    for _ in 0..200 {
        attacker.say(&noise);
    }
    attacker.end();
    stage.unharmed("a flood");
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn deletion_never_leaves_the_module_and_never_follows_an_error() {
    let stage = Stage::new();
    // The list's end tells an error of the sender: nothing may be deleted.
    let wire = Wire::new()
        .int32(0)
        .raw(&Entry::dir(b".").bytes())
        .raw(&[0x04, 0x10, 0x01]);
    let told = stage.attack(&["--delete"], wire);
    stage.unharmed("a list with an error");
    assert!(
        told.text().contains("skipping file deletion") || !told.text().is_empty(),
        "{told:?}"
    );
    // A list that is cut short is no reason to delete either.
    stage.attack(
        &["--delete"],
        Wire::new().int32(0).raw(&Entry::dir(b".").bytes()),
    );
    stage.unharmed("a list cut short");
}

#[test]
fn path_arguments_and_options_stay_in_the_module() {
    let stage = Stage::new();
    let outside = stage.outside.to_str().unwrap().to_owned();
    for (options, path) in [
        (vec![], "m/../outside/".to_owned()),
        (vec![], "m//../outside/".to_owned()),
        (vec![], "../outside/".to_owned()),
        (vec![], outside.clone() + "/"),
        (vec!["--temp-dir=../outside"], "m/".to_owned()),
        (vec!["--partial-dir=../outside"], "m/".to_owned()),
        (vec!["--backup", "--backup-dir=../outside"], "m/".to_owned()),
        (vec!["--log-file=../outside/log"], "m/".to_owned()),
        (vec!["--mkpath"], "m/../outside/deep/er/".to_owned()),
        (vec!["--write-devices"], "m/".to_owned()),
    ] {
        let mut args = vec![
            "--server",
            "-logDtpre.Lsf",
            "--numeric-ids",
            "--checksum-choice=none",
        ];
        args.extend(&options);
        args.extend([".", &path]);
        let mut attacker = Attacker::enter(stage.daemon.addr(), &args);
        attacker.data(&list(&[Entry::dir(b"."), Entry::file(b"treasure", 3)]).0);
        let file = Wire::new()
            .item(1, TRANSFER)
            .whole()
            .literal(b"abc")
            .int32(0)
            .raw(&[0]);
        // Whether it is asked for or not.
        std::thread::sleep(std::time::Duration::from_millis(100));
        attacker.data(&file.raw(&[0; 4]).0);
        attacker.end();
        let names: Vec<_> = fs::read_dir(&stage.outside).unwrap().collect();
        assert_eq!(names.len(), 1, "{options:?} {path}: {names:?}");
        let outside = fs::read(stage.outside.join("treasure")).unwrap();
        assert_eq!(outside, b"precious", "{options:?} {path}");
    }
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn symbolic_link_in_the_module_leads_nowhere() {
    let stage = Stage::new();
    std::os::unix::fs::symlink(&stage.outside, stage.module.join("door")).unwrap();
    let entries = [
        Entry::dir(b"."),
        Entry::dir(b"door"),
        Entry::file(b"door/treasure", 3),
    ];
    for options in [
        &["--checksum-choice=none"][..],
        &["--checksum-choice=none", "-K"],
    ] {
        let mut attacker = stage.push(options);
        attacker.data(&list(&entries).0);
        std::thread::sleep(std::time::Duration::from_millis(200));
        let file = Wire::new()
            .item(2, TRANSFER)
            .whole()
            .literal(b"abc")
            .int32(0)
            .raw(&[0]);
        attacker.data(&file.raw(&[0; 4]).0);
        attacker.end();
        assert_eq!(
            fs::read(stage.outside.join("treasure")).unwrap(),
            b"precious",
            "{options:?}"
        );
        assert_eq!(
            fs::read_dir(&stage.outside).unwrap().count(),
            1,
            "{options:?}"
        );
    }
}

#[test]
fn words_of_a_client_cannot_forge_a_line_of_the_log() {
    let stage = Stage::with("transfer logging = yes\nlog format = %o %f %u");
    let forged = "x\n2026-01-01 00:00:00 [1] forged\x1b[31m";
    let mut attacker = stage.push(&["--checksum-choice=none"]);
    let entries = [Entry::dir(b"."), Entry::file(forged.as_bytes(), 3)];
    attacker.data(&list(&entries).0);
    attacker.await_data(1 + 2 + 16 + 1);
    attacker.say(&frame(3, format!("{forged}\n").as_bytes()));
    let item = Wire::new()
        .item(1, TRANSFER | IS_NEW)
        .whole()
        .literal(b"abc")
        .int32(0)
        .raw(&[0]);
    attacker.data(&item.raw(&[0; 4]).0);
    attacker.end();
    assert!(stage.module.join(forged).exists());
    for line in [&b"mod\x1b[31m\n"[..], b"m\x07\rm\n"] {
        let mut attacker = Attacker::knock(stage.daemon.addr());
        attacker.say(line);
        assert!(attacker.line().starts_with("@ERROR"));
    }
    let told = stage.attack(&["--log-format=\x1b[31m"], Wire::new());
    assert!(!told.text().contains('\x1b'), "{told:?}");
    let log = fs::read_to_string(stage.place.join("log")).unwrap();
    assert!(log.contains("forged"), "{log}");
    assert!(!log.contains(['\x1b', '\x07', '\r']), "{log}");
    let begins_so = |line: &&str| line.starts_with("2026-01-01 00:00:00 [1] forged");
    // A text of several lines is several lines, each with a time of its own.
    assert_eq!(log.lines().filter(begins_so).count(), 0, "{log}");
}

#[test]
fn header_of_a_proxy_changes_nobody_s_address() {
    let stage = Stage::with("hosts allow = 10.9.8.7");
    for header in [
        &b"PROXY TCP4 10.9.8.7 10.9.8.6 1234 873\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x09\x08\x07\x0a\x09\x08\x06\x04\xd2\x03\x69",
    ] {
        let mut stream = std::net::TcpStream::connect(stage.daemon.addr()).unwrap();
        let mut said = Vec::new();
        stream
            .write_all(&[header, b"@RSYNCD: 31.0 md5\nm\n"].concat())
            .unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("OK"), "{said}");
    }
    let log = fs::read_to_string(stage.place.join("log")).unwrap();
    assert!(!log.contains("from 10.9.8.7"), "{log}");
}
