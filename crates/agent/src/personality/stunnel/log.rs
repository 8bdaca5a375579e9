//! Lines as stunnel logs them: to a file, to standard error, to the system's log.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use jiff::Zoned;

use super::conf::{Foreground, Global, Level};

/// Where lines go. Clones write to the same places.
#[derive(Clone, Debug)]
pub(super) struct Log {
    sinks: Arc<Sinks>,
    /// What is more than this is not logged.
    level: Level,
    /// Who speaks: `ui`, or the number of a connection.
    who: String,
}

#[derive(Debug)]
struct Sinks {
    file: Option<File>,
    stderr: bool,
    syslog: Option<UnixDatagram>,
}

impl Log {
    /// Opens what the configuration names.
    ///
    /// # Errors
    ///
    /// The log file's.
    pub(super) fn open(global: &Global) -> io::Result<Self> {
        let file = global.output.as_deref();
        let file = file.map(|path| open(path, global.overwrite)).transpose()?;
        let syslog = global.syslog.then(|| {
            let socket = UnixDatagram::unbound()?;
            socket.connect("/dev/log")?;
            socket.set_nonblocking(true)?;
            io::Result::Ok(socket)
        });
        Ok(Self {
            sinks: Arc::new(Sinks {
                file,
                stderr: global.foreground == Foreground::Yes,
                // A host without a log has nobody to tell.
                syslog: syslog.and_then(Result::ok),
            }),
            level: global.level,
            who: "ui".to_owned(),
        })
    }

    /// The same places, for lines of a connection.
    pub(super) fn of(&self, who: &str, level: Level) -> Self {
        Self {
            sinks: Arc::clone(&self.sinks),
            level,
            who: who.to_owned(),
        }
    }

    /// Something went wrong.
    pub(super) fn error(&self, text: &str) {
        self.line(3, text);
    }

    /// Something may be wrong.
    pub(super) fn warning(&self, text: &str) {
        self.line(4, text);
    }

    /// Something that is worth to be told.
    pub(super) fn notice(&self, text: &str) {
        self.line(5, text);
    }

    /// Something for who wants to know more.
    pub(super) fn info(&self, text: &str) {
        self.line(6, text);
    }

    fn line(&self, level: u8, text: &str) {
        if Level(level) > self.level {
            return;
        }
        let text = format!("LOG{level}[{}]: {text}", self.who);
        let time = Zoned::now().strftime("%Y.%m.%d %H:%M:%S");
        let line = format!("{time} {text}\n");
        // A log that cannot be written has nobody to tell.
        if let Some(mut file) = self.sinks.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
        if self.sinks.stderr {
            let _ = io::stderr().write_all(line.as_bytes());
        }
        if let Some(syslog) = &self.sinks.syslog {
            let priority = DAEMON | u32::from(level);
            let pid = std::process::id();
            let _ = syslog.send(format!("<{priority}>stunnel[{pid}]: {text}").as_bytes());
        }
    }
}

/// The facility of daemons (syslog(3)).
const DAEMON: u32 = 3 << 3;

/// The standard streams are not opened anew: another user may have opened them.
fn open(path: &Path, overwrite: bool) -> io::Result<File> {
    let standard = match path.to_str() {
        Some("/dev/stdout") => Some(dup(io::stdout())),
        Some("/dev/stderr") => Some(dup(io::stderr())),
        _ => None,
    };
    match standard {
        Some(standard) => standard,
        None => File::options()
            .create(true)
            .append(!overwrite)
            .write(true)
            .truncate(overwrite)
            .mode(0o640)
            .open(path),
    }
}

fn dup(stream: impl std::os::fd::AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
