//! stunnel(8), by its configuration file.

mod conf;
mod log;
mod pin;
mod relay;
mod service;
mod trust;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::daemon;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::conf::{Conf, Foreground, Global};
use self::log::Log;
use self::pin::Pin;
use self::service::Tunnel;

/// The arguments of stunnel's command line, where this program was called as `stunnel` or with
/// `stunnel` as its first word.
pub(crate) fn arguments(mut all: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = all.next()?;
    if Path::new(&program).file_name() == Some(OsStr::new("stunnel")) {
        return Some(all.collect());
    }
    (all.next()? == "stunnel").then(|| all.collect())
}

/// Runs the tunnels of a configuration file, and gives the exit code: 0 or 1.
pub(crate) fn main(args: &[OsString]) -> u8 {
    match start(args) {
        Ok(()) => 0,
        Err(text) => {
            // There is no other place for it.
            let _ = writeln!(io::stderr(), "[!] {text}\n[!] Configuration failed");
            super::last_words(&text);
            1
        }
    }
}

fn start(args: &[OsString]) -> Result<(), String> {
    let Some(path) = configuration(args)? else {
        return Ok(());
    };
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Conf { global, services } = Conf::parse(&path, &text).map_err(|error| error.to_string())?;
    let log = Log::open(&global).map_err(|error| format!("output: {error}"))?;
    log.notice(concat!("barge ", env!("CARGO_PKG_VERSION"), " as stunnel"));
    log.notice(&format!(
        "Reading configuration from file {}",
        path.display()
    ));
    let tunnels = services.into_iter().map(|service| ready(service, &log));
    let tunnels = tunnels.collect::<Result<Vec<_>, _>>()?;
    log.notice("Configuration successful");
    if global.foreground == Foreground::No {
        // No thread runs yet: a child would not have it.
        daemon(true, false).map_err(|errno| format!("daemon: {errno}"))?;
    }
    let ended = run(tunnels, &global, &log);
    if let Some(pid) = &global.pid {
        // Whoever reads it finds no such process.
        let _ = fs::remove_file(pid);
    }
    ended.inspect_err(|text| log.error(text))
}

/// The file that is named; `None` when the command line only asked for a text.
fn configuration(args: &[OsString]) -> Result<Option<PathBuf>, String> {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    match args[..] {
        [] => Ok(Some(PathBuf::from("/etc/stunnel/stunnel.conf"))),
        ["-help" | "-version"] => {
            // As stunnel does, to standard error.
            let _ = io::stderr().write_all(USAGE.as_bytes());
            Ok(None)
        }
        ["-fd", number] if number.parse::<u16>().is_ok() => {
            Ok(Some(PathBuf::from(format!("/proc/self/fd/{number}"))))
        }
        [file] if !file.starts_with('-') => Ok(Some(PathBuf::from(file))),
        _ => Err(format!("barge as stunnel takes one file, not {args:?}")),
    }
}

const USAGE: &str = concat!(
    "barge ",
    env!("CARGO_PKG_VERSION"),
    " as stunnel, TLS 1.2 and 1.3\n\n    stunnel [FILE] | -fd N | -help | -version\n\n\
     FILE is a stunnel.conf, /etc/stunnel/stunnel.conf by default. docs/stunnel.md says what of\n\
     stunnel(8) is supported; everything else is refused by name.\n"
);

/// A tunnel, and where it listens.
fn ready(service: conf::Service, log: &Log) -> Result<(Tunnel, StdListener), String> {
    let name = service.name.clone();
    let of_service = |text| format!("Service [{name}]: {text}");
    if service.client && !service.verify.chain && !service.verify.peer {
        log.warning(&format!(
            "Service [{name}] needs authentication to prevent MITM attacks"
        ));
    }
    let wanted = std::env::var("BARGE_STUNNEL_PIN").ok();
    let pin = Pin::new(&service, wanted.as_deref()).map_err(of_service)?;
    let tunnel = Tunnel::new(service, pin).map_err(of_service)?;
    let listener = tunnel.bind()?;
    Ok((tunnel, listener))
}

fn note_pid(global: &Global) -> Result<(), String> {
    let Some(path) = &global.pid else {
        return Ok(());
    };
    fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|error| format!("Cannot create pid file {}: {error}", path.display()))
}

/// Carries connections until a signal ends the process.
fn run(tunnels: Vec<(Tunnel, StdListener)>, global: &Global, log: &Log) -> Result<(), String> {
    let fails = |error: io::Error| error.to_string();
    let runtime = crate::runtime().map_err(|error| format!("{error:#}"))?;
    let ended = runtime.block_on(async {
        let signals = Signals::awaited().map_err(fails)?;
        // Whoever finds the number may send a signal at once.
        note_pid(global)?;
        for (tunnel, listener) in tunnels {
            let listener = TcpListener::from_std(listener).map_err(fails)?;
            tokio::spawn(Arc::new(tunnel).serve(listener, log.clone()));
        }
        signals.end(log).await;
        Ok(())
    });
    runtime.shutdown_background();
    ended
}

/// The signals that stunnel knows. As long as this stands none of them ends the process by itself.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    reopen: Signal,
}

impl Signals {
    fn awaited() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the one that ends the process; those that would change it are told of.
    async fn end(mut self, log: &Log) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return log.notice("Received SIGTERM; terminating"),
                _ = self.interrupt.recv() => return log.notice("Received SIGINT; terminating"),
                _ = self.reload.recv() => {
                    log.warning("SIGHUP: the configuration is not read again; start anew");
                }
                _ = self.reopen.recv() => {
                    log.warning("SIGUSR1: the log file is not opened again; start anew");
                }
            }
        }
    }
}
