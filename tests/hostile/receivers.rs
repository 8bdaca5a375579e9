//! Clients that pull: requests, sums, rules and paths that no honest receiver would send; and clients that
//! say nothing at all.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use barge_testkit::scratch::Scratch;

use crate::peer::{Attacker, Daemon, Told};
use crate::wire::{BASIS, DONE, TRANSFER, Wire, XNAME};

struct Stage {
    place: Scratch,
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

    fn with(more: &str) -> Self {
        let place = Scratch::new().unwrap();
        let (module, outside) = (place.dir("module").unwrap(), place.dir("outside").unwrap());
        fs::create_dir(module.join("d")).unwrap();
        fs::write(module.join("file"), vec![b'x'; 10_000]).unwrap();
        fs::write(outside.join("secret"), "hidden").unwrap();
        let daemon = Daemon::start(place.path(), &module, more);
        Self {
            place,
            outside,
            daemon,
        }
    }

    fn pull(&self, options: &[&str], path: &str) -> Attacker {
        let mut args = vec!["--server", "--sender", "-logDtpre.Lsf", "--numeric-ids"];
        args.extend(options);
        args.extend([".", path]);
        Attacker::enter(self.daemon.addr(), &args)
    }

    fn attack(&self, options: &[&str], wire: Wire) -> Told {
        let mut attacker = self.pull(options, "m/");
        // No rules.
        attacker.data(&Wire::new().int32(0).0);
        attacker.await_data(40);
        attacker.data(&wire.0);
        attacker.end()
    }
}

#[test]
fn honest_pull_comes_through() {
    let stage = Stage::with("");
    let mut attacker = stage.pull(&["--checksum-choice=none"], "m/");
    attacker.data(&Wire::new().int32(0).0);
    // Sorted: the root, the file, the directory. The list comes first.
    attacker.await_data(60);
    attacker.data(&Wire::new().item(1, TRANSFER).whole().raw(DONE).0);
    attacker.data(&[0; 4]);
    let told = attacker.end();
    let content = vec![b'x'; 10_000];
    assert!(
        told.data
            .windows(content.len())
            .any(|window| window == content),
        "{:?}",
        told.messages
    );
}

#[test]
fn request_that_no_receiver_may_make_is_refused() {
    let stage = Stage::with("");
    let request = |n: i32| Wire::new().item(n, TRANSFER);
    for (what, wire) in [
        ("an index beyond the list", request(77).whole()),
        ("the largest index", request(i32::MAX >> 8).whole()),
        ("a directory's content", request(2).whole()),
        ("the root's content", request(0).whole()),
        (
            "a negative number that means nothing",
            Wire::new().negative_ndx(-77),
        ),
        (
            "a negative number of blocks",
            request(1).sum_head([-1, 700, 2, 0]),
        ),
        (
            "blocks of no length",
            request(1).sum_head([5, 0, 2, 0]).raw(&[0; 30]),
        ),
        (
            "blocks beyond the largest",
            request(1).sum_head([5, i32::MAX, 2, 0]).raw(&[0; 30]),
        ),
        (
            "a remainder longer than a block",
            request(1).sum_head([5, 700, 2, 701]).raw(&[0; 30]),
        ),
        (
            "sums longer than the digest",
            request(1).sum_head([5, 700, 17, 0]).raw(&[0; 105]),
        ),
        (
            "negative sums",
            request(1).sum_head([5, 700, -2, 0]).raw(&[0; 30]),
        ),
        (
            "two thousand million blocks",
            request(1).sum_head([i32::MAX, 700, 2, 0]).raw(&[0; 60_000]),
        ),
        (
            "content in the last phase",
            Wire::new().raw(&[0; 2]).raw(&request(1).whole().0),
        ),
        (
            "a fuzzy basis of many names",
            request(1)
                .raw(&[])
                .whole()
                .item(1, TRANSFER | BASIS | XNAME)
                .raw(&[0x83, 0xff, 0xff]),
        ),
        ("half an item", Wire::new().raw(&[1, 0])),
    ] {
        stage.refuses(what, || stage.attack(&[], wire));
    }
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn rule_that_no_client_may_send_is_refused() {
    let stage = Stage::with("");
    for (what, wire) in [
        ("a rule of negative length", Wire::new().int32(-1)),
        (
            "a rule that is too long",
            Wire::new().int32(1 << 30).raw(&[b'x'; 5000]),
        ),
        (
            "a prefix that is none",
            Wire::new().int32(3).raw(b"% x").int32(0),
        ),
        (
            "a modifier that is none",
            Wire::new().int32(4).raw(b"-q x").int32(0),
        ),
    ] {
        let mut attacker = stage.pull(&[], "m/");
        attacker.data(&wire.0);
        stage.refuses(what, || attacker.end());
    }
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn nothing_outside_the_module_is_read() {
    let stage = Stage::with("");
    std::os::unix::fs::symlink(&stage.outside, stage.place.join("module").join("door")).unwrap();
    std::os::unix::fs::symlink(
        stage.outside.join("secret"),
        stage.place.join("module").join("key"),
    )
    .unwrap();
    for (options, path) in [
        (&[][..], "m/../outside/"),
        (&[], "m/d/../../outside/"),
        (&[], "../outside/"),
        (&["-L"], "m/door/"),
        (&["-L"], "m/key"),
        (&["-L"], "m/"),
        (&["-k"], "m/"),
        (&["--copy-unsafe-links"], "m/"),
        (&["-R"], "m/./../outside/secret"),
        (&["--files-from=../outside/secret"], "m/"),
        (&["--files-from=/outside/secret"], "m/"),
    ] {
        let mut attacker = stage.pull(&[options, &["--checksum-choice=none"]].concat(), path);
        attacker.data(&Wire::new().int32(0).0);
        for n in 0..6 {
            attacker.data(&Wire::new().item(n, TRANSFER).whole().0);
        }
        let told = attacker.end();
        let all = [&told.data[..], told.text().as_bytes()].concat();
        assert!(
            !all.windows(6).any(|window| window == b"hidden"),
            "{options:?} {path}"
        );
    }
}

#[test]
fn merge_file_of_a_client_reads_nothing_that_the_module_hides() {
    let stage = Stage::with("exclude = hidden-rules");
    fs::write(stage.place.join("module/hidden-rules"), "- file\n").unwrap();
    fs::write(stage.outside.join("rules"), "- file\n").unwrap();
    for rule in [
        &b": hidden-rules"[..],
        b": ../outside/rules",
        b": /../outside/rules",
    ] {
        let mut attacker = stage.pull(&[], "m/");
        attacker.data(&Wire::new().int32(rule.len() as i32).raw(rule).int32(0).0);
        attacker.await_data(40);
        let told = attacker.end();
        let listed = told.data.windows(4).any(|window| window == b"file");
        assert!(
            listed || told.exit_code().is_some(),
            "{:?} {told:?}",
            String::from_utf8_lossy(rule)
        );
    }
}

#[test]
fn equal_weak_sums_cost_no_more_than_others() {
    let stage = Stage::with("");
    let module = stage.place.join("module");
    fs::write(module.join("file"), vec![0; 4 << 20]).unwrap();
    // A signature of many blocks that all have the weak sum of zeros, and none its strong sum.
    let count = 200_000;
    let mut wire = Wire::new().item(1, TRANSFER).sum_head([count, 700, 2, 0]);
    for n in 0..count {
        wire = wire.int32(0).short((n % 60_000) as u16 | 1);
    }
    let begun = Instant::now();
    let mut attacker = stage.pull(&[], "m/");
    attacker.data(&Wire::new().int32(0).0);
    attacker.data(&wire.0);
    attacker.end();
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn silent_clients_hold_nobody_up() {
    let stage = Stage::with("max connections = 100\nlock file = /dev/null");
    let silent: Vec<_> = (0..50)
        .map(|_| std::net::TcpStream::connect(stage.daemon.addr()).unwrap())
        .collect();
    assert!(stage.daemon.serves(stage.place.path()));
    drop(silent);
    assert!(stage.daemon.serves(stage.place.path()));
}

#[test]
fn line_without_an_end_and_arguments_without_number_are_refused() {
    let stage = Stage::with("");
    let mut attacker = Attacker::knock(stage.daemon.addr());
    attacker.say(&[b'x'; 100_000]);
    attacker.end();
    let mut attacker = Attacker::knock(stage.daemon.addr());
    attacker.say(b"m\n");
    assert_eq!(attacker.line(), "@RSYNCD: OK\n");
    for _ in 0..200 {
        attacker.say(&b"--x\0".repeat(1000));
    }
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attacker.end()));
    assert!(stage.daemon.serves(stage.place.path()));
}
