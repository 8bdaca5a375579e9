//! Runs the installed rsync, and catches what it hands its server.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// The arguments of a server, and its second list if they are secluded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Vectors {
    pub(crate) first: Vec<Vec<u8>>,
    pub(crate) second: Option<Vec<Vec<u8>>>,
}

/// The installed rsync, if it is the version all recordings are of.
pub(crate) struct Stock;

impl Stock {
    pub(crate) fn find() -> Option<Self> {
        let version = Command::new("rsync").arg("--version").output().ok()?.stdout;
        version
            .starts_with(b"rsync  version 3.5.0 ")
            .then_some(Self)
    }

    /// What each of the command lines starts its server with.
    pub(crate) fn capture(&self, lines: &[&[OsString]]) -> Vec<Vectors> {
        let each = lines.len().div_ceil(AT_ONCE);
        thread::scope(|scope| {
            let parts: Vec<_> = lines
                .chunks(each)
                .map(|lines| scope.spawn(|| capture_in_turn(lines)))
                .collect();
            let parts = parts.into_iter().map(|part| part.join().unwrap());
            parts.flatten().collect()
        })
    }

    /// What becomes of a command line in a directory with `s/f` and `list`.
    pub(crate) fn run(&self, line: &[OsString]) -> Output {
        let place = place();
        command(line, place.path()).output().unwrap()
    }
}

fn capture_in_turn(lines: &[&[OsString]]) -> Vec<Vectors> {
    let place = place();
    lines
        .iter()
        .map(
            |line| match line.iter().any(|word| word.as_bytes().starts_with(b"d::")) {
                true => of_daemon(line, place.path()),
                false => of_shell(line, place.path()),
            },
        )
        .collect()
}

/// Catches the words a remote shell is given, and the list that follows on its standard input.
fn of_shell(line: &[OsString], place: &Path) -> Vectors {
    let (words, list) = (place.join("words"), place.join("list0"));
    let _ = (fs::remove_file(&words), fs::remove_file(&list));
    let output = command(line, place).output().unwrap();
    let Ok(words) = fs::read(words) else {
        panic!("{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // The host, and the name of the program.
    let first = split(&words).split_off(2);
    let second = fs::read(list).ok().map(|list| {
        let end = list.windows(2).position(|two| two == b"\0\0").unwrap();
        split(&list[..=end])
    });
    Vectors { first, second }
}

/// Catches what is sent to a daemon, by being one.
fn of_daemon(line: &[OsString], place: &Path) -> Vectors {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut is_first = true;
    let line: Vec<OsString> = line
        .iter()
        .map(|word| match word.as_bytes().strip_prefix(b"d::") {
            Some(path) => {
                let host = match std::mem::take(&mut is_first) {
                    true => format!("rsync://127.0.0.1:{port}/"),
                    false => "::".to_owned(),
                };
                OsString::from_vec([host.as_bytes(), path].concat())
            }
            None => word.clone(),
        })
        .collect();
    let mut client = command(&line, place).spawn().unwrap();
    let (connection, _) = listener.accept().unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut input = BufReader::new(&connection);
    (&connection)
        .write_all(b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n@RSYNCD: OK\n")
        .unwrap();
    for _greeting_and_module in 0..2 {
        input.read_line(&mut String::new()).unwrap();
    }
    let first = list(&mut input);
    let is_secluded = !first.iter().any(|arg| arg == b".");
    let second = is_secluded.then(|| list(&mut input));
    drop(input);
    drop(connection);
    client.wait().unwrap();
    Vectors { first, second }
}

fn list(input: &mut impl BufRead) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    loop {
        let mut arg = Vec::new();
        input.read_until(0, &mut arg).unwrap();
        match arg.pop() {
            Some(0) if !arg.is_empty() => args.push(arg),
            _ => return args,
        }
    }
}

fn command(line: &[OsString], place: &Path) -> Command {
    let variables = line
        .iter()
        .take_while(|word| word.as_bytes().starts_with(b"RSYNC_"))
        .count();
    let mut command = Command::new("rsync");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    for variable in &line[..variables] {
        let at = variable.as_bytes().iter().position(|byte| *byte == b'=');
        let (name, value) = variable.as_bytes().split_at(at.unwrap());
        command.env(OsStr::from_bytes(name), OsStr::from_bytes(&value[1..]));
    }
    command
        .env("RSYNC_RSH", place.join("shell"))
        .args(&line[variables..])
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A directory with something to send, and a remote shell that writes down what it is given.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    fs::create_dir(place.path().join("s")).unwrap();
    fs::write(place.path().join("s/f"), "hi\n").unwrap();
    fs::write(place.path().join("ff"), "f\n").unwrap();
    let shell = place.path().join("shell");
    fs::write(&shell, SHELL).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn split(words: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = words.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    words.pop();
    words
}

/// Arguments are secluded when there is no `.` among them: then the list follows, to its empty end,
/// and the client waits for an answer.
const SHELL: &str = r#"#!/bin/sh
cd "${0%/*}"
for word; do [ "$word" = . ] && plain=1; done
if [ ! "$plain" ]; then
    exec 3<&0
    cat <&3 >list0 &
    tries=0
    until tr '\0' '\n' <list0 | grep -q '^$' || [ $((tries += 1)) -gt 500 ]; do sleep 0.02; done
    kill $!
fi
printf '%s\0' "$@" >words
"#;

const AT_ONCE: usize = 4;
