//! The program in the pod: `barge keys`, `serve`, `send` and `copy`.

mod admin;
mod cli;
mod exit;
mod keys;
mod logging;
mod manual;
mod output;
mod personality;
mod progress;
mod report;
mod send;
mod serve;
mod signals;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tracing::{debug, error};

use crate::cli::{Cli, Order};
use crate::exit::Exit;
use crate::progress::Screen;

fn main() -> ExitCode {
    end_on_panic();
    if let Some(args) = personality::rsync::arguments(std::env::args_os()) {
        return personality::rsync::main(args).into();
    }
    if let Some(args) = personality::stunnel::arguments(std::env::args_os()) {
        return personality::stunnel::main(&args).into();
    }
    if let Some(program) = personality::blockrsync::Program::called(std::env::args_os()) {
        return program.main().into();
    }
    if let Some(tool) = personality::tools::Tool::called(std::env::args_os()) {
        return tool.main().into();
    }
    let cli = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let screen = Screen::default();
    if let Err(error) = logging::init(cli.log_format, cli.level(), &screen) {
        // There is no other place for it.
        let _ = writeln!(io::stderr(), "barge: {error:#}");
        return Exit::Usage.code().into();
    }
    let exit = obey(&cli, &screen).unwrap_or_else(|error| {
        error!("{error:#}");
        Exit::Usage
    });
    exit.code().into()
}

/// A thread that panics would leave a run that never ends: the process does, as after a kill.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(Exit::Internal.code().into());
    }));
}

/// Does what is ordered. An error is one of usage or configuration.
fn obey(cli: &Cli, screen: &Screen) -> Result<Exit> {
    raise_descriptor_limit();
    let runtime = runtime()?;
    let exit = match &cli.command {
        Order::Keys(args) => keys::make(args),
        Order::Serve(args) => runtime.block_on(serve::serve(args, screen)),
        Order::Send(args) => runtime.block_on(send::send(args, screen, cli.is_quiet())),
        Order::Copy(args) => runtime.block_on(send::copy(args, screen, cli.is_quiet())),
    };
    // The process ends: what is left waits for peers that are gone.
    runtime.shutdown_background();
    exit
}

/// Sockets await, and TLS is done on these threads: more than four do not pay.
pub(crate) fn runtime() -> Result<Runtime> {
    // Heeds the cgroup's quota.
    let threads = available_parallelism().map_or(1, usize::from).clamp(1, 4);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    runtime.context("no threads for the network could be started")
}

/// Raises the soft limit to the hard one: a run holds directories open.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        debug!(%error, "the limit of open files stays as it is");
    }
}
