//! Who the user is to a daemon, and where the password comes from.
//!
//! Source: rsync(1), `--password-file`, «ENVIRONMENT VARIABLES», and rsync 3.5.0 as it behaves.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use barge::over_rsync::{Failure, Login};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::failed::Failed;

/// The user that was named, or the environment's; and the password, asked for if need be.
///
/// # Errors
///
/// Exit code 1 for a password file that gives none.
pub(super) fn login(user: Option<&OsStr>, file: Option<&Path>) -> Result<Login, Failure> {
    let user = user.map(OsStr::to_owned);
    let user = user.or_else(|| std::env::var_os("USER"));
    let user = user.or_else(|| std::env::var_os("LOGNAME"));
    let password = match (file, std::env::var_os("RSYNC_PASSWORD")) {
        (Some(file), _) => from_file(file).map_err(Failure::from)?,
        (None, Some(password)) => password.as_bytes().to_vec(),
        (None, None) => ask().unwrap_or_default(),
    };
    Ok(Login {
        user: user.map_or(b"nobody".to_vec(), |user| user.as_bytes().to_vec()),
        password,
    })
}

/// The first line that is not empty of a file that only its owner and group can read; `-` is the standard input.
fn from_file(path: &Path) -> Result<Vec<u8>, Failed> {
    let line = if path == Path::new("-") {
        first_filled_line(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| {
            let what = format!(
                "rsync: [Receiver] could not open password file {}",
                path.display()
            );
            Failed::call(1, what, &error)
        })?;
        check(&file)?;
        first_filled_line(BufReader::new(file))
    };
    match line {
        Ok(password) if !password.is_empty() => Ok(password),
        _ => {
            let path = path.display();
            Err(Failed::usage(format!(
                "ERROR: failed to read a password from {path}"
            )))
        }
    }
}

/// What others can read is no secret, and neither is what another user gave to root.
fn check(file: &File) -> Result<(), Failed> {
    let meta = file
        .metadata()
        .map_err(|error| Failed::call(1, "rsync: stat of the password file", &error))?;
    if meta.mode() & 0o006 != 0 {
        return Err(Failed::usage(
            "ERROR: password file must not be other-accessible",
        ));
    }
    if nix::unistd::geteuid().is_root() && meta.uid() != 0 {
        return Err(Failed::usage(
            "ERROR: password file must be owned by root when running as root",
        ));
    }
    Ok(())
}

/// The first line that is not empty; empty if there is none.
fn first_filled_line(from: impl BufRead) -> io::Result<Vec<u8>> {
    let mut from = from.take(MAX_PASSWORD_FILE);
    while !from.fill_buf()?.is_empty() {
        let line = first_line(&mut from)?;
        if !line.is_empty() {
            return Ok(line);
        }
    }
    Ok(Vec::new())
}

fn first_line(mut from: impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

/// Bytes of a password file that are looked at.
const MAX_PASSWORD_FILE: u64 = 64 * 1024;

/// Asks on the terminal, without an echo.
fn ask() -> io::Result<Vec<u8>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    terminal.write_all(b"Password: ")?;
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
    let line = first_line(BufReader::new(&terminal));
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &before)?;
    terminal.write_all(b"\n")?;
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// The texts are those of rsync 3.5.0.
    #[test]
    fn a_password_file_must_be_private_and_hold_something() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |mode: u32, content: &str| {
            std::fs::write(file.path(), content).unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), mode).unwrap();
            from_file(file.path()).map_err(|failed| (failed.code, failed.text))
        };
        assert_eq!(read(0o600, "s3cret\r\nmore\n"), Ok(b"s3cret".to_vec()));
        assert_eq!(read(0o640, "s3cret"), Ok(b"s3cret".to_vec()));
        assert_eq!(read(0o600, "\n\ns3cret"), Ok(b"s3cret".to_vec()));
        let open = "ERROR: password file must not be other-accessible";
        assert_eq!(read(0o644, "s3cret"), Err((1, open.to_owned())));
        assert_eq!(read(0o602, "s3cret"), Err((1, open.to_owned())));
        let (_, text) = read(0o600, "\n").unwrap_err();
        assert!(
            text.starts_with("ERROR: failed to read a password from "),
            "{text}"
        );
        let missing = from_file(Path::new("nope")).unwrap_err();
        assert_eq!(
            missing.text,
            "rsync: [Receiver] could not open password file nope: No such file or directory (2)"
        );
    }
}
