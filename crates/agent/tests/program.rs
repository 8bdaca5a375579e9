//! The program as a pod runs it: what it reads from the environment, and what it keeps to itself.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

fn barge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_barge"))
}

/// The lines of a key in PEM form that hold its bytes.
fn secrets(keys: &Path) -> Vec<String> {
    let read = |side| fs::read_to_string(keys.join(side).join("tls.key")).unwrap();
    let text = ["server", "client"].map(read).concat();
    let lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('-'))
        .map(str::to_owned)
        .collect();
    assert!(lines.len() >= 4, "{text}");
    lines
}

#[test]
fn program_takes_every_flag_from_the_environment_and_logs_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, source, target) = (
        dir.path().join("keys"),
        dir.path().join("source"),
        dir.path().join("target"),
    );
    assert!(
        barge()
            .arg("keys")
            .arg(&keys)
            .env("BARGE_HOST", "a.test\nb.test")
            .status()
            .unwrap()
            .success()
    );
    for made in [&source, &target] {
        fs::create_dir(made).unwrap();
        fs::write(made.join(made.file_name().unwrap()), "content").unwrap();
    }

    let mut serve = barge()
        .arg("serve")
        .env("BARGE_VOLUME", format!("data={}", target.display()))
        .env("BARGE_TLS", &keys)
        .env("BARGE_LISTEN", "127.0.0.1:0")
        .env("BARGE_ONCE", "true")
        .env("BARGE_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(serve.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("listening on ") {
        assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let addr = said.trim_end().rsplit(' ').next().unwrap().to_owned();

    let sent = barge()
        .arg("send")
        .arg(&source)
        .env("BARGE_TO", addr)
        .env("BARGE_SERVER_NAME", "b.test")
        .env("BARGE_VOLUME", "data")
        .env("BARGE_TLS", &keys)
        .env("BARGE_DELETE", "yes")
        .env("BARGE_LOG", "trace")
        .output()
        .unwrap();
    log.read_to_string(&mut said).unwrap();
    let serve = serve.wait().unwrap();
    said += &String::from_utf8(sent.stderr).unwrap();
    assert!(sent.status.success() && serve.success(), "{said}");
    assert!(target.join("source").exists() && !target.join("target").exists());
    for secret in secrets(&keys) {
        assert!(!said.contains(&secret), "a private key is in the log");
    }
    assert!(
        !said.contains("secret: "),
        "the secret of a session is in the log"
    );
}
