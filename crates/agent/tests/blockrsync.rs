//! `blockrsync` and `proxy` as a migration's pods start them, ours at both ends and beside what a stock one
//! says, over connections that are cut.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::mount::LoopDevice;
use barge_testkit::stock_blockrsync::Stock;
use tempfile::TempDir;

const A: &str = "0123456789abcdef0123456789abcdef";
const B: &str = "f123456789abcdef0123456789abcdef";

const STOCK: Stock = Stock { block: 131_072 };

/// The two names, in a folder of files.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["blockrsync", "proxy"] {
            symlink(env!("CARGO_BIN_EXE_barge"), folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Starts a command line of the contract's, `/proxy` and `/blockrsync` being those of this place.
    fn start(&self, line: &str, environment: &[(&str, &Path)]) -> Running {
        let line = format!("{}{line}", self.folder.path().display());
        let child = Command::new("/bin/bash")
            .args(["-c", &line])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(Some(child.unwrap()))
    }

    fn target_proxy(&self, port: u16, volumes: &[(&str, &Path)]) -> Running {
        let names: Vec<String> = volumes.iter().map(|(id, _)| format!("id-{id}")).collect();
        let environment: Vec<_> = names
            .iter()
            .zip(volumes)
            .map(|(name, (_, path))| (&**name, *path))
            .collect();
        let identifiers: String = volumes
            .iter()
            .map(|(id, _)| format!(" --identifier {id}"))
            .collect();
        let control = self.path("target-done");
        let proxy = self.start(
            &format!("/proxy --target --listen-port {port} --blockrsync-path /blockrsync --control-file {} --block-size 131072{identifiers}", control.display()),
            &environment,
        );
        wait_for(port);
        proxy
    }

    fn source_proxy(&self, port: u16, to: u16, id: &str) -> Running {
        let control = self.path(&format!("source-done-{id}"));
        let proxy = self.start(
            &format!("/proxy --source --target-address localhost --identifier {id} --listen-port {port} --target-port {to} --control-file {}", control.display()),
            &[],
        );
        wait_for(port);
        proxy
    }

    fn source(&self, image: &Path, port: u16) -> Running {
        self.start(
            &format!("/blockrsync {} --source --target-address localhost --port {port} --zap-log-level 3 --block-size 131072", image.display()),
            &[],
        )
    }
}

struct Running(Option<Child>);

impl Running {
    /// Its code and what it said, when it ends within a minute.
    fn end(mut self) -> (i32, String) {
        let mut child = self.0.take().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                let Output { stdout, .. } = child.wait_with_output().unwrap();
                panic!("it does not end: {}", String::from_utf8_lossy(&stdout));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        let said = [stdout, stderr].concat();
        (
            status.code().unwrap(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    fn expect_well(self, who: &str) -> String {
        let (code, said) = self.end();
        assert_eq!(code, 0, "{who}: {said}");
        assert!(said.contains("Successfully completed sync\n"), "{said}");
        said
    }

    fn signal(&self, name: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Without connecting, which would be a connection for the proxy too.
fn wait_for(port: u16) {
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .contains(&wanted)
    {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A way to a port on which the first `count` connections are reset after some bytes.
fn poor_way(to: u16, count: usize, after: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let number = AtomicUsize::new(0);
    thread::spawn(move || {
        for source in listener.incoming() {
            let source = source.unwrap();
            let target = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let breaks = number.fetch_add(1, Ordering::Relaxed) < count;
            let left = Arc::new(AtomicUsize::new(if breaks { after } else { usize::MAX }));
            for (mut from, mut into) in [
                (source.try_clone().unwrap(), target.try_clone().unwrap()),
                (target, source),
            ] {
                let left = Arc::clone(&left);
                thread::spawn(move || {
                    let mut buffer = [0; 1000];
                    loop {
                        let read = from.read(&mut buffer).unwrap_or(0);
                        if left
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                                left.checked_sub(read)
                            })
                            .is_err()
                        {
                            let _ = into.shutdown(Shutdown::Both);
                            let _ = from.shutdown(Shutdown::Both);
                            return;
                        }
                        if read == 0 || into.write_all(&buffer[..read]).is_err() {
                            let _ = into.shutdown(Shutdown::Write);
                            return;
                        }
                    }
                });
            }
        }
    });
    port
}

fn image(blocks: usize, seed: u8) -> Vec<u8> {
    let mut image = vec![0; blocks * 131_072 + 777];
    for (at, block) in image.chunks_mut(131_072).enumerate() {
        // Not to be compressed, so that bytes of it are bytes on the wire.
        let mut number = at as u64 * 256 + u64::from(seed) + 1;
        if at % 4 != 3 {
            block.fill_with(|| {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                number as u8
            });
        }
    }
    image
}

/// As the controller reads a line: `mtc-contract.md`, 4.1.
fn percentages(said: &str) -> Vec<u32> {
    let lines = said.lines().map(|line| &line[..line.len().min(60)]);
    let before = lines.filter_map(|line| line.split_once('%'));
    before
        .map(|(text, _)| {
            text.rsplit(|c: char| !c.is_ascii_digit())
                .next()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

#[test]
fn two_volumes_move_through_two_proxies_and_everybody_ends_well() {
    let place = Place::new();
    let (listen, image_a, image_b) = (free_port(), image(40, 1), image(10, 2));
    let (a, b) = (place.file("a", &image_a), place.file("b", &image_b));
    // One is there in an older form, one is not.
    let (to_a, to_b) = (place.file("to a", &image(30, 1)), place.path("to b"));
    let target = place.target_proxy(listen, &[(A, &to_a), (B, &to_b)]);
    let mut sources = Vec::new();
    for (id, from) in [(A, &a), (B, &b)] {
        let port = free_port();
        let proxy = place.source_proxy(port, listen, id);
        sources.push((proxy, place.source(from, port)));
    }
    for (proxy, source) in sources {
        let said = source.expect_well("source");
        assert_eq!(percentages(&said).last(), Some(&100), "{said}");
        assert!(
            said.lines()
                .any(|line| line.contains("\tINFO\tsync progress ") && line.ends_with("B/s")),
            "{said}"
        );
        proxy.expect_well("source's proxy");
    }
    target.expect_well("target's proxy");
    assert!(fs::read(to_a).unwrap() == image_a);
    assert!(fs::read(to_b).unwrap() == image_b);
    for done in [
        "target-done".to_owned(),
        format!("source-done-{A}"),
        format!("source-done-{B}"),
    ] {
        assert!(place.path(&done).is_file(), "{done}");
    }
}

#[test]
fn lost_connections_are_made_again_until_all_is_there() {
    for after in [0, 31, 40, 64, 100, 1_000, 300_000, 1_000_000] {
        let place = Place::new();
        let (listen, port, image) = (free_port(), free_port(), image(20, 5));
        let (from, to) = (place.file("from", &image), place.path("to"));
        let target = place.target_proxy(listen, &[(A, &to)]);
        let proxy = place.source_proxy(port, poor_way(listen, 2, after), A);
        let source = place.source(&from, port);
        let said = source.expect_well("source");
        assert!(said.contains("trying again"), "{after}: {said}");
        proxy.expect_well("source's proxy");
        target.expect_well("target's proxy");
        assert!(fs::read(to).unwrap() == image, "{after}");
    }
}

#[test]
fn who_only_looks_whether_somebody_listens_takes_nobody_s_place() {
    let place = Place::new();
    let (listen, port, image) = (free_port(), free_port(), image(5, 5));
    let (from, to) = (place.file("from", &image), place.path("to"));
    let target = place.target_proxy(listen, &[(A, &to)]);
    let proxy = place.source_proxy(port, listen, A);
    for said in [&b""[..], b"GET / HTTP/1.0\r\n\r\n", &[7; 32], A.as_bytes()] {
        for port in [listen, port] {
            let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stranger
                .write_all(if port == listen { said } else { b"" })
                .unwrap();
        }
    }
    // And one that stays.
    let _idle = TcpStream::connect(("127.0.0.1", listen)).unwrap();
    place.source(&from, port).expect_well("source");
    proxy.expect_well("source's proxy");
    target.expect_well("target's proxy");
    assert!(fs::read(to).unwrap() == image);
}

#[test]
fn source_that_comes_again_takes_the_place_of_its_dead_connection() {
    let place = Place::new();
    let (listen, port, image) = (free_port(), free_port(), image(5, 5));
    let (from, to) = (place.file("from", &image), place.path("to"));
    let target = place.target_proxy(listen, &[(A, &to)]);
    let mut dead = TcpStream::connect(("127.0.0.1", listen)).unwrap();
    dead.write_all(A.as_bytes()).unwrap();
    dead.write_all(&[1; 32]).unwrap();
    // It is being served.
    dead.read_exact(&mut [0; 40]).unwrap();
    let proxy = place.source_proxy(port, listen, A);
    place.source(&from, port).expect_well("source");
    proxy.expect_well("source's proxy");
    target.expect_well("target's proxy");
    assert!(fs::read(to).unwrap() == image);
}

#[test]
fn stock_source_is_served() {
    for (old, new) in [
        (image(30, 1), image(40, 1)),
        (image(40, 1), image(30, 2)),
        (vec![], image(3, 1)),
        (image(3, 1), image(3, 1)),
    ] {
        let place = Place::new();
        let listen = free_port();
        let to = place.file("to", &old);
        let target = place.target_proxy(listen, &[(A, &to)]);
        let mut line = TcpStream::connect(("127.0.0.1", listen)).unwrap();
        line.write_all(A.as_bytes()).unwrap();
        STOCK.source(&line, &new).unwrap();
        target.expect_well("target's proxy");
        assert!(fs::read(to).unwrap() == new);
    }
}

#[test]
fn stock_source_that_is_cut_is_waited_for_again() {
    let place = Place::new();
    let (listen, new) = (free_port(), image(40, 1));
    let to = place.file("to", &image(20, 9));
    let target = place.target_proxy(listen, &[(A, &to)]);
    for after in [40, 5000, 500_000] {
        let line = TcpStream::connect(("127.0.0.1", poor_way(listen, 1, after))).unwrap();
        (&line).write_all(A.as_bytes()).unwrap();
        let _ = STOCK.source(&line, &new);
    }
    let mut line = TcpStream::connect(("127.0.0.1", listen)).unwrap();
    line.write_all(A.as_bytes()).unwrap();
    STOCK.source(&line, &new).unwrap();
    target.expect_well("target's proxy");
    assert!(fs::read(to).unwrap() == new);
}

#[test]
fn stock_target_gets_all_and_is_known_not_to_confirm() {
    for (old, new) in [
        (image(30, 1), image(40, 1)),
        (image(40, 1), image(30, 2)),
        (vec![], image(3, 1)),
        (image(3, 1), image(3, 1)),
        (image(4, 1), image(3, 1)),
    ] {
        let place = Place::new();
        let (port, listener) = (free_port(), TcpListener::bind("127.0.0.1:0").unwrap());
        let proxy = place.source_proxy(port, listener.local_addr().unwrap().port(), A);
        let stock = thread::spawn(move || {
            let mut line = listener.accept().unwrap().0;
            let mut identifier = [0; 32];
            line.read_exact(&mut identifier).unwrap();
            assert_eq!(identifier, A.as_bytes());
            STOCK.target(&line, old).unwrap()
        });
        let said = place
            .source(&place.file("from", &new), port)
            .expect_well("source");
        assert!(said.contains("does not confirm"), "{said}");
        assert_eq!(percentages(&said).last(), Some(&100), "{said}");
        proxy.expect_well("source's proxy");
        assert!(stock.join().unwrap() == new);
    }
}

#[test]
fn blockrsync_alone_is_a_target_too() {
    let place = Place::new();
    let (port, new) = (free_port(), image(7, 1));
    let (from, to) = (place.file("from", &new), place.path("to"));
    let target = place.start(
        &format!(
            "/blockrsync {} --target --port {port} --zap-log-level 3 --block-size 131072",
            to.display()
        ),
        &[],
    );
    wait_for(port);
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    place.source(&from, port).expect_well("source");
    target.expect_well("target");
    assert!(fs::read(to).unwrap() == new);
}

#[test]
fn target_that_is_too_small_or_read_only_is_told_before_anything_moves() {
    let place = Place::new();
    let old = vec![3; 1 << 20];
    let small = place.file("small", &old);
    let devices = LoopDevice::attach(&small, &[])
        .and_then(|device| Ok((device, LoopDevice::attach(&small, &["--read-only"])?)));
    let (device, read_only) = match devices {
        Ok(devices) => devices,
        Err(error) => return println!("skipped, no loop devices: {error}"),
    };
    for (device, new, reason) in [
        (&device, image(30, 1), "smaller than the source"),
        (&read_only, image(1, 1), "Read-only file system"),
    ] {
        let (listen, port) = (free_port(), free_port());
        let target = place.target_proxy(listen, &[(A, device.path())]);
        let proxy = place.source_proxy(port, listen, A);
        let (code, said) = place.source(&place.file("from", &new), port).end();
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("\tERROR\tthe target refuses: ") && said.contains(reason),
            "{said}"
        );
        // They wait for somebody who does better, until they are ended.
        for (who, done) in [
            (proxy, format!("source-done-{A}")),
            (target, "target-done".to_owned()),
        ] {
            assert!(!place.path(&done).exists());
            who.signal("-TERM");
            let (code, said) = who.end();
            assert_eq!(code, 128 + 15, "{said}");
            assert!(place.path(&done).exists());
            fs::remove_file(place.path(&done)).unwrap();
        }
        assert!(fs::read(&small).unwrap() == old);
    }
}

#[test]
fn what_cannot_be_begun_ends_at_once_with_a_reason_and_the_control_file() {
    let place = Place::new();
    let (code, said) = place.source(&place.path("none"), free_port()).end();
    // Nobody listens either, which would be waited for.
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("none: openat: No such file"), "{said}");

    let control = place.path("done");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = format!(
        "/proxy --target --listen-port {port} --control-file {} --identifier {A}",
        control.display()
    );
    let id = format!("id-{A}");
    for (environment, reason) in [
        (&[][..], &*id),
        (&[(&*id, &*place.path("to"))], "Address already in use"),
    ] {
        let (code, said) = place.start(&line, environment).end();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(reason), "{said}");
        fs::remove_file(&control).unwrap();
    }
    let (code, _) = place.start("/blockrsync x --source --target", &[]).end();
    assert_eq!(code, 2);
    let (code, _) = place.start("/proxy --target", &[]).end();
    assert_eq!(code, 2);
}

#[test]
fn sides_with_different_block_sizes_say_so() {
    let place = Place::new();
    let (port, to) = (free_port(), place.path("to"));
    let target = place.start(
        &format!(
            "/blockrsync {} --target --port {port} --block-size 4096",
            to.display()
        ),
        &[],
    );
    wait_for(port);
    let (code, said) = place.source(&place.file("from", &image(1, 1)), port).end();
    assert_eq!(code, 1);
    assert!(
        said.contains("the peer's block size is 4096, ours is 131072"),
        "{said}"
    );
    drop(target);
}
