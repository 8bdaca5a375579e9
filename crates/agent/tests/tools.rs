//! The small commands of the transfer image beside those of the system.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A folder of links by which the program answers to other names.
fn names() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "nc", "touch", "sleep", "sync", "stat", "test", "true", "cat",
    ] {
        symlink(env!("CARGO_BIN_EXE_barge"), folder.path().join(name)).unwrap();
    }
    folder
}

fn run(folder: &Path, name: &str, args: &[&str], at: &Path) -> Output {
    let mut command = Command::new(folder.join(name));
    command.args(args).current_dir(at).env("LC_ALL", "C");
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn what_they_do_and_say_is_as_the_system_has_it() {
    let names = names();
    for (name, args) in [
        ("true", &["whatever"][..]),
        ("sleep", &["0.01"]),
        ("sleep", &["x"]),
        ("touch", &["new"]),
        ("touch", &["none/new"]),
        ("cat", &["text", "empty"]),
        ("cat", &["none"]),
        (
            "stat",
            &["-c", "%u:%g %a %s %n 100%%", "text", "dir", "link"],
        ),
        ("stat", &["-c", "%u", "none"]),
        ("sync", &[]),
        ("test", &[]),
        ("test", &["word"]),
        ("test", &[""]),
        ("test", &["-f", "text"]),
        ("test", &["!", "-f", "text"]),
        ("test", &["-f", "dir"]),
        ("test", &["-f", "none"]),
        ("test", &["-d", "dir"]),
        ("test", &["-e", "none"]),
        ("test", &["-s", "empty"]),
        ("test", &["-L", "link"]),
        ("test", &["-n", ""]),
        ("test", &["-z", ""]),
        ("test", &["a", "=", "a"]),
        ("test", &["a", "!=", "a"]),
        ("test", &["2", "-lt", "10"]),
        ("test", &["2", "-ge", "10"]),
    ] {
        let ran = [names.path(), Path::new("/bin"), Path::new("/usr/bin")].map(|folder| {
            let at = tempfile::tempdir().unwrap();
            fs::create_dir(at.path().join("dir")).unwrap();
            fs::write(at.path().join("text"), "some text\n").unwrap();
            fs::write(at.path().join("empty"), "").unwrap();
            symlink("nowhere", at.path().join("link")).unwrap();
            folder.join(name).exists().then(|| {
                let output = run(folder, name, args, at.path());
                let said = String::from_utf8(output.stderr).unwrap();
                let said = said.split(": ").skip(1).collect::<Vec<_>>().join(": ");
                let said = said.lines().next().unwrap_or_default().to_owned();
                let made = at.path().join("new").exists();
                (output.status.code(), output.stdout, said, made)
            })
        });
        let [ours, bin, usr] = ran;
        assert_eq!(ours, bin.or(usr), "{name} {args:?}");
    }
}

#[test]
fn listener_is_found_and_nobody_is_not() {
    let names = names();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let code = |port: &str| {
        run(
            names.path(),
            "nc",
            &["-z", "localhost", port],
            Path::new("/"),
        )
        .status
        .code()
    };
    assert_eq!(code(&port), Some(0));
    drop(listener);
    assert_eq!(code(&port), Some(1));
}

#[test]
fn sleep_without_end_does_not_end() {
    let names = names();
    let mut child = Command::new(names.path().join("sleep"))
        .arg("infinity")
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        assert_eq!(child.try_wait().unwrap(), None);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_not_supported_is_refused() {
    let names = names();
    for (name, args) in [
        ("nc", &["-l", "1"][..]),
        ("touch", &["-d", "yesterday", "new"]),
        ("stat", &["text"]),
        ("stat", &["-c", "%Q", "/"]),
        ("cat", &["-n", "/dev/null"]),
        ("sync", &["-f"]),
        ("test", &["-k", "x"]),
    ] {
        let output = run(names.path(), name, args, Path::new("/"));
        assert!(!output.status.success(), "{name} {args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("{name}: ")), "{said}");
    }
}
