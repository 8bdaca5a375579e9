//! Peers that send without end: what a process may take of memory is not theirs to choose.
//!
//! Every victim runs with a limit on its data, which it heeds; what it has taken at most is read
//! from the kernel while it is attacked.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use barge_testkit::peer::{Ended, Running};
use barge_testkit::scratch::Scratch;

use crate::peak::{Peak, limited};
use crate::peer::{Attacker, Daemon, rsync};
use crate::wire::{
    Entry, HLINK_FIRST, HLINKED, IS_NEW, LIST_END, TOP_DIR, TRANSFER, Wire, frame, list,
};

/// Bytes of data that a victim may have.
const LIMIT: usize = 96 << 20;

/// And one that decompresses, which stock peers may ask to look back 128 MiB.
const LARGE_LIMIT: usize = 256 << 20;

/// What a victim needs without an attack, and with one that must cost nothing.
const LITTLE: usize = 64 << 20;

/// More than a victim may hold of it, whatever it is.
const MUCH: usize = 80 << 20;

/// A daemon with little memory, and a module with one file and one directory.
struct Stage {
    place: Scratch,
    daemon: Daemon,
}

impl Stage {
    fn new() -> Self {
        Self::with(LIMIT)
    }

    fn with(limit: usize) -> Self {
        let place = Scratch::new().unwrap();
        let module = place.dir("module").unwrap();
        fs::write(module.join("file"), vec![b'x'; 10_000]).unwrap();
        fs::create_dir(module.join("d")).unwrap();
        let daemon = Daemon::start_as(limited(limit, &rsync()), place.path(), &module, "");
        Self { place, daemon }
    }

    fn push(&self, letters: &str, options: &[&str]) -> Attacker {
        let mut args = vec!["--server", letters];
        args.extend(options);
        args.extend([".", "m/"]);
        Attacker::enter(self.daemon.addr(), &args)
    }

    fn pull(&self, letters: &str, options: &[&str]) -> Attacker {
        let mut args = vec!["--server", "--sender", letters];
        args.extend(options);
        args.extend([".", "m/"]);
        Attacker::enter(self.daemon.addr(), &args)
    }

    /// Makes an attack; returns what the daemon took at most, and what the attack did.
    #[track_caller]
    fn peak_of<T>(&self, attack: impl FnOnce() -> T) -> (usize, T) {
        let peak = Peak::watch(self.daemon.id());
        let done = attack();
        let peak = peak.end();
        assert!(self.daemon.serves(self.place.path()));
        (peak, done)
    }

    /// What the log says of memory, within some seconds.
    #[track_caller]
    fn refused_for_memory(&self, what: &str) {
        let mut log = String::new();
        for _ in 0..2000 {
            log = fs::read_to_string(self.place.join("log")).unwrap_or_default();
            if log.contains("(code 22)") {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{what}: it was not refused: {log}");
    }
}

/// Entries, one after the other.
fn entries(entry: &Entry, count: usize) -> Vec<u8> {
    entry.bytes().repeat(count)
}

fn with_tail(tail: &[u8]) -> Entry {
    Entry {
        tail: tail.to_vec(),
        ..Entry::file(b"x", 1)
    }
}

#[test]
fn list_without_end_is_refused_when_half_of_the_memory_is_taken() {
    let attributes = Wire::new().raw(&[0, 1, 7, 4]).raw(b"user.x\0aaaa").0;
    let acl = Wire::new().raw(&[0, 0x10, 1]).varint(4321).raw(&[0x1e]).0;
    let link = Entry {
        flags: HLINKED | HLINK_FIRST,
        ..Entry::file(b"x", 1)
    };
    let long = Entry::symlink(&[b'l'; 200], &[b't'; 4000]);
    for (what, options, entry) in [
        ("names", None, Entry::file(b"x", 1)),
        ("directories", None, Entry::dir(b"x")),
        ("targets of links", None, long),
        ("attributes", Some("-X"), with_tail(&attributes)),
        ("ACLs", Some("-A"), with_tail(&acl)),
        ("groups of hard links", Some("-H"), link),
    ] {
        let stage = Stage::new();
        let (peak, took) = stage.peak_of(|| {
            let options: Vec<_> = options.into_iter().chain(["--numeric-ids"]).collect();
            let mut attacker = stage.push("-logDtpre.Lsf", &options);
            let took = attacker.flood(0, &entries(&entry, 2000), MUCH);
            stage.refused_for_memory(what);
            took
        });
        assert!(peak < LIMIT, "{what}: {peak} after {took}");
    }
}

/// The lists of an incremental run are dropped when they are done, and only the receiving side says when.
#[test]
fn lists_without_end_are_refused_when_half_of_the_memory_is_taken() {
    let stage = Stage::new();
    let dirs = 60_000;
    let mut first = vec![Entry {
        flags: TOP_DIR,
        ..Entry::dir(b".")
    }];
    first.extend((0..dirs).map(|n| Entry::dir(format!("d{n:05}").as_bytes())));
    let first = list(&first).0;
    let (peak, took) = stage.peak_of(|| {
        let mut attacker = stage.push("-logDtpre.iLsf", &["--numeric-ids"]);
        attacker.ignore();
        attacker.data(&first);
        let mut next = 0;
        let took = attacker.flood_of(MUCH, || {
            let name = format!("d{next:05}/x");
            let children = entries(&Entry::file(name.as_bytes(), 1), 300);
            next += 1;
            let piece = Wire::new().negative_ndx(-101 - next).raw(&children);
            frame(0, &piece.raw(LIST_END).0)
        });
        stage.refused_for_memory("lists");
        took
    });
    assert!(peak < LIMIT, "{peak} after {took}");
}

/// An incremental run is not refused for all that it lists: what is done makes room.
#[test]
fn lists_that_are_done_take_nothing() {
    // Half of it is less than all of these entries take together.
    let stage = Stage::with(24 << 20);
    let source = stage.place.dir("source").unwrap();
    for dir in 0..40 {
        let dir = source.join(format!("d{dir:02}"));
        fs::create_dir(&dir).unwrap();
        for name in 0..1000 {
            let name = format!("{name:0200}");
            fs::write(dir.join(name), "").unwrap();
        }
    }
    let (peak, code) = stage.peak_of(|| {
        let mut honest = Command::new("rsync");
        honest.arg("-r").arg(format!("{}/", source.display()));
        honest.arg(format!("rsync://{}/m/", stage.daemon.addr()));
        let running = Running::start(&mut honest).unwrap();
        running.wait(Duration::from_secs(60)).unwrap().code
    });
    assert_eq!(code, Some(0));
    assert!(peak < LITTLE, "{peak}");
}

#[test]
fn words_without_end_take_no_memory() {
    let info = frame(2, b"noise\n");
    let empty = frame(0, b"");
    for (what, bytes) in [("messages", info), ("empty frames", empty)] {
        let stage = Stage::new();
        let (peak, took) = stage.peak_of(|| {
            let mut attacker = stage.push("-logDtpre.Lsf", &["--numeric-ids"]);
            attacker.ignore();
            let piece = bytes.repeat(1000);
            attacker.flood_of(24 << 20, || piece.clone())
        });
        assert!(peak < LITTLE, "{what}: {peak} after {took}");
    }
}

#[test]
fn rules_and_arguments_without_end_are_refused() {
    let stage = Stage::new();
    let rule = [&1000_i32.to_le_bytes()[..], b"- ", &[b'x'; 998]].concat();
    let (peak, took) = stage.peak_of(|| {
        let mut attacker = stage.push("-logDtpre.Lsf", &["--numeric-ids", "--delete"]);
        let took = attacker.flood(0, &rule.repeat(60), MUCH);
        stage.refused_for_memory("rules");
        took
    });
    assert!(peak < LITTLE, "{peak} after {took}");
    let stage = Stage::new();
    let argument = [&[b'a'; 5000][..], &[0]].concat();
    let (peak, took) = stage.peak_of(|| {
        let mut attacker = Attacker::knock(stage.daemon.addr());
        attacker.say(b"m\n");
        assert_eq!(attacker.line(), "@RSYNCD: OK\n");
        let took = attacker.flood_of(MUCH, || argument.repeat(20));
        stage.refused_for_memory("arguments");
        took
    });
    assert!(peak < LITTLE, "{peak} after {took}");
}

#[test]
fn requests_wait_on_the_wire_while_their_peer_takes_no_answers() {
    let stage = Stage::new();
    let (peak, took) = stage.peak_of(|| {
        let mut attacker = stage.pull("-logDtpre.Lsf", &["--numeric-ids"]);
        attacker.data(&Wire::new().int32(0).0);
        let request = Wire::new().item(1, TRANSFER).whole().0;
        attacker.flood(0, &request.repeat(2000), MUCH)
    });
    assert!(took < MUCH && peak < LITTLE, "{peak} after {took}");
}

#[test]
fn sums_of_a_basis_without_end_are_kept_as_far_as_there_is_room() {
    let stage = Stage::new();
    let (peak, took) = stage.peak_of(|| {
        let mut attacker = stage.pull("-logDtpre.Lsf", &["--numeric-ids", "--max-alloc=0"]);
        attacker.data(&Wire::new().int32(0).0);
        let head = Wire::new()
            .item(1, TRANSFER)
            .sum_head([i32::MAX, 1 << 17, 16, 0]);
        attacker.data(&head.0);
        attacker.flood(0, &[7; 60_000], MUCH)
    });
    assert!(peak < LIMIT, "{peak} after {took}");
}

#[test]
fn names_without_end_wait_on_the_wire_or_make_a_list_that_is_refused() {
    for (what, letters) in [("pieces", "-logDtpre.iLsf"), ("one list", "-logDtpre.Lsf")] {
        let options = ["--numeric-ids", "--files-from=-", "--from0"];
        // Names that are there: each becomes an entry.
        let stage = Stage::with(LIMIT / 2);
        let long = "n".repeat(250);
        fs::write(stage.place.join("module").join(&long), "").unwrap();
        let names = format!("{long}\0").repeat(200);
        let (peak, took) = stage.peak_of(|| {
            let mut attacker = stage.pull(letters, &options);
            attacker.ignore();
            attacker.data(&Wire::new().int32(0).0);
            let took = attacker.flood(0, names.as_bytes(), MUCH);
            stage.refused_for_memory(what);
            took
        });
        assert!(peak < LIMIT, "{what}: {peak} after {took}");
        // Names that are not, to a peer that does not want to hear of it.
        let stage = Stage::new();
        let (peak, took) = stage.peak_of(|| {
            let mut attacker = stage.pull(letters, &options);
            attacker.data(&Wire::new().int32(0).0);
            attacker.flood(0, &b"none\0".repeat(10_000), MUCH)
        });
        assert!(peak < LITTLE, "{what}: {peak} after {took}");
    }
}

/// Names that the scan has no room for yet are not forgotten when nothing more comes.
#[test]
fn more_names_than_may_wait_are_all_looked_for() {
    let stage = Stage::new();
    let names = stage.place.join("names");
    let missing: String = (0..20_000).map(|n| format!("none{n}\n")).collect();
    fs::write(&names, missing + "file\n").unwrap();
    for protocol in ["30", "31"] {
        let into = stage.place.join(protocol);
        let mut honest = Command::new("rsync");
        honest.args(["-r", "--timeout=20"]);
        honest.arg(format!("--protocol={protocol}"));
        honest.arg(format!("--files-from={}", names.display()));
        honest.arg(format!("rsync://{}/m/", stage.daemon.addr()));
        honest.arg(format!("{}/", into.display()));
        let running = Running::start(&mut honest).unwrap();
        let ended = running.wait(Duration::from_secs(40)).unwrap();
        assert_eq!(ended.code, Some(23), "{protocol}");
        assert!(into.join("file").exists(), "{protocol}");
        assert_eq!(ended.stderr.matches("link_stat").count(), 20_000);
    }
}

/// A chunk of the stream of literals.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len();
    [&[0x40 | (len >> 8) as u8, len as u8], bytes].concat()
}

/// A frame of zstd whose blocks are each 128 KiB of one byte; so many of them a chunk.
fn zstd(window: u8, blocks: usize) -> (Vec<u8>, Vec<u8>) {
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
    (chunk(&head), chunk(&[0x02, 0x00, 0x10, 0].repeat(blocks)))
}

/// Blocks of lz4, each 64 KB of one byte.
fn lz4() -> (Vec<u8>, Vec<u8>) {
    let block = [
        &[0x1f, 0, 1, 0][..],
        &[0xff; 250],
        &[0, 0x50, 0, 0, 0, 0, 0],
    ]
    .concat();
    (Vec::new(), chunk(&block))
}

/// Deflate with the codes it knows itself: a zero, and copies of the 258 bytes before.
fn deflate() -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut bit) = (vec![0_u8], 0);
    let mut put = |word: u32, len: u32| {
        for at in (0..len).rev() {
            if bit == 8 {
                bytes.push(0);
                bit = 0;
            }
            *bytes.last_mut().unwrap() |= ((word >> at & 1) as u8) << bit;
            bit += 1;
        }
    };
    // Not the last block; its codes are fixed.
    put(0b010, 3);
    put(0x30, 8);
    // Whole bytes again after eight copies of 13 bits, and the 11 bits so far need one more.
    for _ in 0..8 * 100 + 1 {
        put(0b1100_0101, 8);
        put(0, 5);
    }
    let copies = bytes.split_off(3);
    (chunk(&bytes), chunk(&copies[..13 * 100]))
}

#[test]
fn little_that_becomes_much_is_taken_piece_by_piece() {
    for (choice, (first, again), pieces) in [
        ("zstd", zstd(0x38, 400), 8),
        // A window of 128 MiB, the most that is taken.
        ("zstd", zstd(0x88, 400), 8),
        ("lz4", lz4(), 3000),
        ("zlib", deflate(), 2000),
        ("zlibx", deflate(), 2000),
    ] {
        let stage = Stage::with(LARGE_LIMIT);
        let (peak, told) = stage.peak_of(|| {
            let choice = format!("--compress-choice={choice}");
            let options = ["--numeric-ids", "-S", "-z", &choice];
            let mut attacker = stage.push("-logDtpre.Lsf", &options);
            attacker.data(&list(&[Entry::dir(b"."), Entry::file(b"new", 3)]).0);
            attacker.await_data(1 + 2 + 16);
            let item = Wire::new().item(1, TRANSFER | IS_NEW).whole();
            attacker.data(&item.raw(&first).0);
            attacker.data(&again.repeat(pieces));
            attacker.end()
        });
        // It was taken for what it is: an end that came too early.
        assert!(!told.text().contains("panic"), "{choice}: {told:?}");
        assert_ne!(told.exit_code(), Some(2), "{choice}: {told:?}");
        assert!(!stage.place.join("module/new").exists(), "{choice}");
        assert!(peak < LARGE_LIMIT * 3 / 4, "{choice}: {peak}");
    }
}

#[test]
fn window_of_a_compressed_stream_has_a_limit() {
    let stage = Stage::with(LARGE_LIMIT);
    let mut attacker = stage.push(
        "-logDtpre.Lsf",
        &["--numeric-ids", "-z", "--compress-choice=zstd"],
    );
    attacker.data(&list(&[Entry::dir(b"."), Entry::file(b"new", 3)]).0);
    attacker.await_data(1 + 2 + 16);
    // 2 GiB.
    let (first, again) = zstd(0xa8, 1);
    let item = Wire::new().item(1, TRANSFER | IS_NEW).whole();
    attacker.data(&item.raw(&first).raw(&again).0);
    let told = attacker.hear_out();
    assert!(told.text().contains("(code 12)"), "{told:?}");
}

/// A server that sends a client this, and then a piece without end.
fn flooding(before: Vec<u8>, piece: Vec<u8>) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(stream, &before, &piece).unwrap_or(0)
    });
    (port, server)
}

fn serve(mut stream: TcpStream, before: &[u8], piece: &[u8]) -> std::io::Result<usize> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    stream.write_all(b"@RSYNCD: 31.0 md5\n")?;
    reader.read_until(b'\n', &mut line)?;
    reader.read_until(b'\n', &mut line)?;
    stream.write_all(before)?;
    if before.ends_with(b"OK\n") {
        // Arguments end with an empty one.
        while {
            line.clear();
            reader.read_until(0, &mut line)?;
            line.len() > 1
        } {}
        stream.write_all(&[0x08, 1, 0, 0, 0])?;
    }
    let mut sent = 0;
    while sent < MUCH && stream.write_all(piece).is_ok() {
        sent += piece.len();
    }
    Ok(sent)
}

/// Lets a client with little memory pull from a server that floods it.
fn pull(before: &[u8], piece: Vec<u8>, options: &[&str]) -> (usize, usize, Ended) {
    let place = Scratch::new().unwrap();
    let (port, server) = flooding(before.to_vec(), piece);
    let mut client = limited(LIMIT, &rsync());
    client
        .arg("-logDtpr")
        .args(["--numeric-ids", "--timeout=20"]);
    client.args(options);
    client.arg(format!("rsync://127.0.0.1:{port}/m/"));
    client.arg(format!("{}/", place.path().display()));
    let running = Running::start(&mut client).unwrap();
    let peak = Peak::watch(running.id());
    let ended = running.wait(Duration::from_secs(60)).unwrap();
    (peak.end(), server.join().unwrap(), ended)
}

#[test]
fn server_cannot_make_its_client_hold_what_it_sends_without_end() {
    let ok = b"@RSYNCD: OK\n";
    let attributes = Wire::new().raw(&[0, 1, 7, 4]).raw(b"user.x\0aaaa").0;
    for (what, before, piece, options) in [
        (
            "names",
            &ok[..],
            frame(0, &entries(&Entry::file(b"x", 1), 2000)),
            &[][..],
        ),
        (
            "attributes",
            ok,
            frame(0, &entries(&with_tail(&attributes), 1500)),
            &["-X"],
        ),
    ] {
        let (peak, sent, ended) = pull(before, piece, options);
        assert_eq!(ended.code, Some(22), "{what}: {}", ended.stderr);
        assert!(peak < LIMIT, "{what}: {peak} after {sent}");
    }
}
