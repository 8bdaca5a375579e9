//! `barge serve --device` and `barge send --device`, as programs over TLS.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

fn barge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_barge"))
}

fn keys() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = barge()
        .args(["keys", "--host", "localhost"])
        .arg(folder.path().join("keys"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
}

/// Serves once, and where it listens.
fn serve(folder: &Path, device: &Path) -> (Child, String) {
    serve_at(folder, device, "127.0.0.1:0")
}

fn serve_at(folder: &Path, device: &Path, listen: &str) -> (Child, String) {
    let log = folder.join("log");
    let mut child = barge()
        .args(["serve", "--once", "--listen", listen, "--device"])
        .arg(format!("disk={}", device.display()))
        .arg("--tls")
        .arg(folder.join("keys/server"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    for _ in 0..2000 {
        let said = fs::read_to_string(&log).unwrap();
        if let Some((_, rest)) = said.split_once("listening on ") {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
            return (child, rest[..end.unwrap()].to_owned());
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it does not listen: {}", fs::read_to_string(&log).unwrap());
}

fn send(folder: &Path, source: &Path, to: &str, more: &[&str]) -> Output {
    sender(folder, source, to, more).output().unwrap()
}

fn sender(folder: &Path, source: &Path, to: &str, more: &[&str]) -> Command {
    let mut sender = barge();
    sender
        .arg("send")
        .arg(source)
        .args(["--to", to, "--server-name", "localhost", "--tls"])
        .arg(folder.join("keys/client"))
        .args(["--volume", "disk", "--device"])
        .args(more);
    sender
}

/// Waits until some of the source, whose bytes are no zeros, is at the target.
fn wait_for_content(target: &Path) {
    for _ in 0..2000 {
        let read = fs::read(target).unwrap_or_default();
        if read.iter().any(|&byte| byte != 0) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing came");
}

#[test]
fn image_moves_and_both_programs_end_with_0() {
    let folder = keys();
    let (source, target) = (folder.path().join("source"), folder.path().join("disk.img"));
    let content: Vec<u8> = (0..5_000_000u32).map(|at| (at / 4099) as u8).collect();
    fs::write(&source, &content).unwrap();
    for expected in ["updated", "unchanged"] {
        let (server, addr) = serve(folder.path(), &target);
        let sent = send(
            folder.path(),
            &source,
            &addr,
            &["--json", "--bwlimit", "1G"],
        );
        assert!(sent.status.success(), "{sent:?}");
        let said = String::from_utf8_lossy(&sent.stdout).replace(' ', "");
        assert!(said.contains(&format!("\"{expected}\":1")), "{said}");
        let served = server.wait_with_output().unwrap();
        assert!(served.status.success(), "{served:?}");
        assert!(fs::read(&target).unwrap() == content);
    }
}

#[test]
fn killed_client_s_successor_sends_what_is_missing() {
    let folder = keys();
    let (source, target) = (folder.path().join("source"), folder.path().join("disk.img"));
    fs::write(&source, vec![7; 32 << 20]).unwrap();
    let (server, addr) = serve(folder.path(), &target);
    let mut killed = sender(folder.path(), &source, &addr, &["--bwlimit", "8M"]);
    let mut killed = killed.stdout(Stdio::null()).spawn().unwrap();
    wait_for_content(&target);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let sent = send(folder.path(), &source, &addr, &["--json"]);
    assert!(sent.status.success(), "{sent:?}");
    let said = String::from_utf8_lossy(&sent.stdout);
    assert!(!said.contains("\"bytes_matched\":0,"), "{said}");
    assert!(server.wait_with_output().unwrap().status.success());
    assert!(fs::read(&target).unwrap() == vec![7; 32 << 20]);
}

#[test]
fn client_goes_on_with_a_killed_server_s_successor() {
    let folder = keys();
    let (source, target) = (folder.path().join("source"), folder.path().join("disk.img"));
    fs::write(&source, vec![7; 32 << 20]).unwrap();
    let (mut server, addr) = serve(folder.path(), &target);
    let mut sending = sender(folder.path(), &source, &addr, &["--bwlimit", "8M"]);
    let sending = sending.stdout(Stdio::piped()).spawn().unwrap();
    wait_for_content(&target);
    server.kill().unwrap();
    server.wait().unwrap();
    let (server, _) = serve_at(folder.path(), &target, &addr);
    let sent = sending.wait_with_output().unwrap();
    assert!(sent.status.success(), "{sent:?}");
    assert!(server.wait_with_output().unwrap().status.success());
    assert!(fs::read(&target).unwrap() == vec![7; 32 << 20]);
}

#[test]
fn server_does_not_begin_with_a_device_that_cannot_be() {
    let folder = keys();
    let served = barge()
        .args(["serve", "--device"])
        .arg(format!(
            "disk={}",
            folder.path().join("no/disk.img").display()
        ))
        .arg("--tls")
        .arg(folder.path().join("keys/server"))
        .output()
        .unwrap();
    assert_eq!(served.status.code(), Some(3), "{served:?}");
    let said = String::from_utf8_lossy(&served.stdout);
    assert!(said.contains("cannot be written"), "{said}");
}

#[test]
fn what_has_a_meaning_for_directories_alone_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for more in [
        &["--delete"][..],
        &["--exclude", "x"],
        &["--protocol", "rsync"],
    ] {
        let sent = send(folder.path(), Path::new("/dev/null"), "localhost", more);
        assert_eq!(sent.status.code(), Some(2), "{sent:?}");
    }
}

#[test]
fn device_that_is_not_offered_is_refused() {
    let folder = keys();
    fs::write(folder.path().join("source"), "x").unwrap();
    let (mut server, addr) = serve(folder.path(), &folder.path().join("disk.img"));
    let sent = barge()
        .arg("send")
        .arg(folder.path().join("source"))
        .args(["--to", &addr, "--server-name", "localhost", "--tls"])
        .arg(folder.path().join("keys/client"))
        .args(["--volume", "other", "--device"])
        .output()
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(sent.status.code(), Some(3), "{sent:?}");
    let said = String::from_utf8_lossy(&sent.stdout);
    assert!(said.contains("no device"), "{sent:?}");
}
