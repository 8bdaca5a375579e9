//! The small commands that scripts in the transfer image call, by the names of its links: `nc -z`,
//! `touch`, `sleep`, `sync`, `stat -c`, `test`, `true` and `cat`, as far as those scripts go.
//!
//! Source: coreutils(1) and nc(1), whose words and exit codes these are.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use nix::unistd::{self, AccessFlags};

use super::reason;

/// A command's arguments, and its name.
pub(crate) struct Tool {
    name: &'static str,
    run: Run,
    args: Vec<OsString>,
}

/// Gives the exit code, or what is said with exit code 1.
type Run = fn(&[OsString]) -> Result<u8, String>;

impl Tool {
    /// The command this program was called as, if it was.
    pub(crate) fn called(mut all: impl Iterator<Item = OsString>) -> Option<Self> {
        let program = all.next()?;
        let called = Path::new(&program).file_name()?;
        let (name, run) = TOOLS.iter().find(|(name, _)| called == *name)?;
        let (name, run) = (*name, *run);
        let args = all.collect();
        Some(Self { name, run, args })
    }

    /// Does what it is for, and gives the exit code.
    pub(crate) fn main(self) -> u8 {
        let Self { name, run, args } = self;
        run(&args).unwrap_or_else(|problem| {
            // There is no other place for it.
            let _ = writeln!(io::stderr(), "{name}: {problem}");
            if name == "test" { 2 } else { 1 }
        })
    }
}

const TOOLS: &[(&str, Run)] = &[
    ("nc", nc),
    ("touch", touch),
    ("sleep", sleep),
    ("sync", sync),
    ("stat", stat),
    ("test", test),
    ("true", |_| Ok(0)),
    ("cat", cat),
];

/// `nc -z HOST PORT`: whether somebody listens there.
fn nc(args: &[OsString]) -> Result<u8, String> {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let [flags, host, port] = &args[..] else {
        return Err("barge supports nc -z HOST PORT only".to_owned());
    };
    if !matches!(&**flags, "-z" | "-vz" | "-zv") {
        return Err(format!("barge supports nc -z HOST PORT only, not {flags}"));
    }
    let port: u16 = port.parse().map_err(|_| format!("port {port:?} is none"))?;
    let found = (&**host, port).to_socket_addrs();
    let mut found = found.map_err(|error| format!("{host}: {error}"))?;
    let connects = found.any(|address| TcpStream::connect_timeout(&address, ATTEMPT).is_ok());
    Ok(u8::from(!connects))
}

/// Makes files, and gives those that are there the time it is.
fn touch(args: &[OsString]) -> Result<u8, String> {
    let files = operands(args, "missing file operand")?;
    for file in files {
        let fails = |error| format!("cannot touch {}: {}", quoted(file), reason(&error));
        let opened = File::options().create(true).append(true).open(file);
        let opened = opened.map_err(fails)?;
        opened.set_modified(SystemTime::now()).map_err(fails)?;
    }
    Ok(0)
}

/// Waits for all of its times together; `infinity` has no end.
fn sleep(args: &[OsString]) -> Result<u8, String> {
    let mut total = Duration::ZERO;
    for arg in operands(args, "missing operand")? {
        match seconds(&arg.to_string_lossy()) {
            Some(time) => total = total.saturating_add(time),
            None => return Err(format!("invalid time interval {}", quoted(arg))),
        }
    }
    thread::sleep(total);
    Ok(0)
}

/// A number, perhaps with a fraction, of seconds or of the unit behind it.
fn seconds(text: &str) -> Option<Duration> {
    if matches!(text, "infinity" | "inf") {
        return Some(Duration::MAX);
    }
    let unit = match text.bytes().last()? {
        b'm' => 60.0,
        b'h' => 3600.0,
        b'd' => 86400.0,
        _ => 1.0,
    };
    let number: f64 = text.trim_end_matches(['s', 'm', 'h', 'd']).parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

/// Waits until all file systems are on their disks.
fn sync(args: &[OsString]) -> Result<u8, String> {
    match args {
        [] => {
            unistd::sync();
            Ok(0)
        }
        [arg, ..] => Err(format!(
            "barge supports sync without arguments only, not {}",
            quoted(arg)
        )),
    }
}

/// `stat -c FORMAT FILE…`: a line a file.
fn stat(args: &[OsString]) -> Result<u8, String> {
    let (format, files) = match args {
        [flag, format, files @ ..] if flag == "-c" => (format.to_string_lossy(), files),
        _ => return Err("barge supports stat -c FORMAT FILE only".to_owned()),
    };
    for file in operands(files, "missing operand")? {
        let found = fs::symlink_metadata(file);
        let found =
            found.map_err(|error| format!("cannot statx {}: {}", quoted(file), reason(&error)))?;
        let line = formatted(&format, file, &found)?;
        print(&[line.as_bytes(), b"\n"].concat())?;
    }
    Ok(0)
}

fn formatted(format: &str, file: &OsStr, found: &fs::Metadata) -> Result<String, String> {
    let mut line = String::new();
    let mut rest = format.chars();
    while let Some(next) = rest.next() {
        if next != '%' {
            line.push(next);
            continue;
        }
        match rest.next() {
            Some('a') => line += &format!("{:o}", found.mode() & 0o7777),
            Some('g') => line += &found.gid().to_string(),
            Some('n') => line += &file.to_string_lossy(),
            Some('s') => line += &found.size().to_string(),
            Some('u') => line += &found.uid().to_string(),
            Some('Y') => line += &found.mtime().to_string(),
            Some('%') => line.push('%'),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "barge supports %a, %g, %n, %s, %u and %Y only, not %{other}"
                ));
            }
        }
    }
    Ok(line)
}

/// An expression of one, two or three words, perhaps negated.
fn test(args: &[OsString]) -> Result<u8, String> {
    let (negated, args) = match args {
        [not, rest @ ..] if not == "!" && !rest.is_empty() => (true, rest),
        args => (false, args),
    };
    let holds = match args {
        [] => false,
        [word] => !word.is_empty(),
        [operator, word] => unary(&operator.to_string_lossy(), word)?,
        [left, operator, right] => binary(left, &operator.to_string_lossy(), right)?,
        _ => return Err("too many arguments".to_owned()),
    };
    Ok(u8::from(holds == negated))
}

fn unary(operator: &str, word: &OsStr) -> Result<bool, String> {
    let is = |what: fn(&fs::Metadata) -> bool| fs::metadata(word).is_ok_and(|found| what(&found));
    Ok(match operator {
        "-e" => is(|_| true),
        "-f" => is(fs::Metadata::is_file),
        "-d" => is(fs::Metadata::is_dir),
        "-s" => is(|found| found.len() > 0),
        "-h" | "-L" => fs::symlink_metadata(word).is_ok_and(|found| found.is_symlink()),
        "-r" => unistd::access(word, AccessFlags::R_OK).is_ok(),
        "-w" => unistd::access(word, AccessFlags::W_OK).is_ok(),
        "-x" => unistd::access(word, AccessFlags::X_OK).is_ok(),
        "-n" => !word.is_empty(),
        "-z" => word.is_empty(),
        _ => return Err(format!("{operator}: unary operator expected")),
    })
}

fn binary(left: &OsStr, operator: &str, right: &OsStr) -> Result<bool, String> {
    let number = |word: &OsStr| {
        let text = word.to_string_lossy();
        text.parse::<i64>()
            .map_err(|_| format!("{text}: integer expression expected"))
    };
    Ok(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "-eq" => number(left)? == number(right)?,
        "-ne" => number(left)? != number(right)?,
        "-lt" => number(left)? < number(right)?,
        "-le" => number(left)? <= number(right)?,
        "-gt" => number(left)? > number(right)?,
        "-ge" => number(left)? >= number(right)?,
        _ => return Err(format!("{operator}: binary operator expected")),
    })
}

/// Files one after the other, or standard input.
fn cat(args: &[OsString]) -> Result<u8, String> {
    let mut out = io::stdout().lock();
    let said = |error: io::Error| format!("write error: {}", reason(&error));
    if args.is_empty() {
        io::copy(&mut io::stdin().lock(), &mut out).map_err(said)?;
        return Ok(0);
    }
    for file in operands(args, "")? {
        let opened = File::open(file);
        let mut opened =
            opened.map_err(|error| format!("{}: {}", file.display(), reason(&error)))?;
        io::copy(&mut opened, &mut out).map_err(said)?;
    }
    out.flush().map_err(said)?;
    Ok(0)
}

/// Arguments none of which is an option.
fn operands<'a>(args: &'a [OsString], missing: &str) -> Result<Vec<&'a OsStr>, String> {
    if args.is_empty() {
        return Err(missing.to_owned());
    }
    if let Some(option) = args.iter().find(|arg| arg.as_bytes().starts_with(b"-")) {
        return Err(format!(
            "barge does not support the option {}",
            quoted(option)
        ));
    }
    Ok(args.iter().map(OsString::as_os_str).collect())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let written = io::stdout().write_all(bytes);
    written.map_err(|error| format!("write error: {}", reason(&error)))
}

fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.display())
}

/// How long a connection may take: it is to the same pod.
const ATTEMPT: Duration = Duration::from_secs(5);
