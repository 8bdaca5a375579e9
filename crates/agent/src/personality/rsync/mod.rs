//! rsync(1) and its daemon, by their command lines.

mod client;
mod daemon;
mod failed;
mod fd;
mod gate;
mod hosts;
mod interrupt;
mod output;
mod password;
mod place;
mod rsyncd_conf;
mod server;
mod transport;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use barge::over_rsync::options::{self, Command, Environment, Options};
use barge::over_rsync::session::Preferences;
use barge::over_rsync::{RuleList, RuleSources};

use self::failed::Failed;
use self::output::ending;

/// The arguments of rsync's command line, where this program was called as `rsync` or with `rsync` as
/// its first word.
pub(crate) fn arguments(mut all: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = all.next()?;
    if Path::new(&program).file_name() == Some(OsStr::new("rsync")) {
        return Some(all.collect());
    }
    (all.next()? == "rsync").then(|| all.collect())
}

/// Does what the command line says, and gives the exit code of rsync(1).
pub(crate) fn main(args: Vec<OsString>) -> u8 {
    if let Err(error) = interrupt::catch() {
        return end_for_good(&Failed::call(14, "rsync: signals", &error), "client");
    }
    let environment = Environment::read(|name| std::env::var_os(name));
    match options::parse(&args, &environment) {
        Ok(Command::Client(options)) => client::run(*options),
        Ok(Command::Server(options)) => server::run(*options, args),
        Ok(Command::Daemon(options)) => daemon::run(&options, &args),
        Ok(Command::Print { text, to_stderr }) => print(&text, to_stderr),
        Err(refusal) => {
            let role = if refusal.options.server {
                "server"
            } else {
                "client"
            };
            end_for_good(&Failed::new(refusal.exit_code, refusal.text), role)
        }
    }
}

fn print(text: &str, to_stderr: bool) -> u8 {
    let written = match to_stderr {
        true => io::stderr().write_all(text.as_bytes()),
        false => io::stdout().write_all(text.as_bytes()),
    };
    match written {
        Ok(()) => 0,
        Err(_) => 11,
    }
}

/// Says why a command ended before it began, and how: on the standard error.
fn end(failed: &Failed, role: &str) -> u8 {
    // There is no other place for it.
    let _ = io::stderr().write_all(words(failed, role).as_bytes());
    failed.code
}

/// [`end`] of a program that somebody started, and not one of a daemon's: a pod ends with it.
fn end_for_good(failed: &Failed, role: &str) -> u8 {
    super::last_words(&words(failed, role));
    end(failed, role)
}

fn words(failed: &Failed, role: &str) -> String {
    let mut text = failed.text.clone();
    if !text.is_empty() {
        text.push('\n');
    }
    text + &ending::line(failed.code, role)
}

/// What is offered in negotiations, as the environment restricts it.
fn preferences(server: bool) -> Preferences {
    let list = |name| std::env::var_os(name).map(OsString::into_encoded_bytes);
    let (checksums, compressions) = (list("RSYNC_CHECKSUM_LIST"), list("RSYNC_COMPRESS_LIST"));
    Preferences::from_user(checksums.as_deref(), compressions.as_deref(), server)
}

/// A client's filter rules.
fn rules(options: &Options) -> Result<RuleList, Failed> {
    let cvsignore = std::env::var_os("HOME")
        .and_then(|home| std::fs::read(PathBuf::from(home).join(".cvsignore")).ok());
    let mut sources = RuleSources {
        read: &mut read_operand,
        cvsignore,
        cvsignore_variable: std::env::var_os("CVSIGNORE").map(OsString::into_encoded_bytes),
    };
    RuleList::of_client(options, &mut sources)
        .map_err(|error| Failed::new(error.exit_code, error.text))
}

/// A file that the operator named; `-` is the standard input.
fn read_operand(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path);
    }
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::stdin(), &mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsync_is_meant_by_the_program_s_name_or_its_first_word() {
        let args = |words: &[&str]| arguments(words.iter().map(OsString::from));
        assert_eq!(args(&["/usr/bin/rsync", "-a"]), Some(vec!["-a".into()]));
        assert_eq!(args(&["barge", "rsync", "-a"]), Some(vec!["-a".into()]));
        assert_eq!(args(&["rsync"]), Some(vec![]));
        assert_eq!(args(&["barge", "send"]), None);
        assert_eq!(args(&["barge"]), None);
    }
}
