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
    let log = folder.join("log");
    let mut child = barge()
        .args(["serve", "--once", "--listen", "127.0.0.1:0", "--device"])
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
    barge()
        .arg("send")
        .arg(source)
        .args(["--to", to, "--server-name", "localhost", "--tls"])
        .arg(folder.join("keys/client"))
        .args(["--volume", "disk", "--device"])
        .args(more)
        .output()
        .unwrap()
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
