//! `barge serve`: accepts connections, hands them to the mover, reports runs, drains.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use barge::{Monitor, RunEnd, Server, Stop};
use barge_net::{AcceptError, Acceptor, Incoming, Listener, Role, Spoken};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::admin::{self, Ready};
use crate::cli::{ServeArgs, Volume};
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::Screen;
use crate::report::{Ending, ReportFile, conclude};
use crate::send::{identity, warn_unless_root, with_sources};
use crate::signals::stop_on_signals;

/// Serves until a signal, or with `--once` until a run has ended.
///
/// # Errors
///
/// When no report can be written, or no signal be caught.
pub(crate) async fn serve(args: &ServeArgs, screen: &Screen) -> Result<Exit> {
    let words = LastWords {
        output: Output::new(false, false, screen.clone()),
        file: args.report.as_deref().map(ReportFile::new).transpose()?,
    };
    let stop = Stop::new();
    stop_on_signals(stop.clone()).context("no handler for signals could be set")?;
    match Agent::bind(args).await {
        Ok(agent) => Ok(agent.serve(&words, &stop).await),
        Err(error) => {
            let volumes = args.volume.iter().chain(&args.device);
            let volumes: Vec<&str> = volumes.map(|volume| &*volume.name).collect();
            Ok(words.say(&Ending::unbegun(volumes.join(", "), &error)))
        }
    }
}

/// Where the end of a run is told.
struct LastWords {
    output: Output,
    file: Option<ReportFile>,
}

impl LastWords {
    fn say(&self, ending: &Ending) -> Exit {
        conclude(ending, &self.output, self.file.as_ref());
        ending.exit
    }
}

/// What listens.
struct Agent {
    listener: Listener,
    acceptor: Acceptor,
    server: Arc<Server>,
    ready: Ready,
    once: bool,
}

impl Agent {
    async fn bind(args: &ServeArgs) -> Result<Self> {
        let acceptor = Acceptor::new(&identity(&args.tls, Role::Server)?);
        let monitor = Arc::new(Monitor::default());
        let named = |volumes: &[Volume]| {
            let named = volumes.iter().map(|v| (v.name.clone(), v.path.clone()));
            named.collect()
        };
        let server = Server::with_devices(
            named(&args.volume),
            named(&args.device),
            Arc::clone(&monitor),
            args.stall_timeout.0,
        )?;
        warn_unless_root("what only root may write or keep is reported path by path");
        let listener = listen(args.listen).await?;
        let ready = Ready::default();
        if let Some(addr) = args.admin {
            let at = admin::start(addr, monitor, ready.clone())?;
            info!("answering /healthz, /readyz and /metrics at {at}");
        }
        info!("listening on {}", listener.local_addr()?);
        ready.set(true);
        Ok(Self {
            listener,
            acceptor,
            server,
            ready,
            once: args.once,
        })
    }

    async fn serve(self, words: &LastWords, stop: &Stop) -> Exit {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.listener.accept() => {
                    let (acceptor, server) = (self.acceptor.clone(), Arc::clone(&self.server));
                    connections.spawn(serve_connection(incoming, acceptor, server));
                }
                Some(_) = connections.join_next() => {}
                (volume, end) = self.server.next_run() => {
                    let exit = words.say(&Ending::of_run(volume, end));
                    if self.once {
                        self.ready.set(false);
                        let_end(connections).await;
                        return exit;
                    }
                }
                () = stop.wait() => break,
            }
        }
        self.ready.set(false);
        let exit = self.drain(words).await;
        let_end(connections).await;
        exit
    }

    /// Takes no run any more, ends those that are on, and tells their ends.
    async fn drain(&self, words: &LastWords) -> Exit {
        let mut exit = match self.once {
            // The run it was to serve has not come.
            true => Exit::Interrupted,
            false => Exit::Complete,
        };
        let mut tell = |(volume, end): (String, RunEnd)| {
            let ended = words.say(&Ending::of_run(volume, end));
            if self.once || ended == Exit::Interrupted {
                exit = ended;
            }
        };
        let mut drained = pin!(self.server.drain());
        loop {
            tokio::select! {
                biased;
                run = self.server.next_run() => tell(run),
                () = &mut drained => break,
            }
        }
        // All runs have ended; some ends may not have been told.
        while let Ok(run) = timeout(Duration::ZERO, self.server.next_run()).await {
            tell(run);
        }
        exit
    }
}

/// Listens where it is told to; by default on IPv6 and with it IPv4, or where the machine has no
/// IPv6, on IPv4.
async fn listen(addr: Option<SocketAddr>) -> io::Result<Listener> {
    if let Some(addr) = addr {
        return Listener::bind(addr).await;
    }
    match Listener::bind((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into()).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            debug!(%error, "no IPv6");
            Listener::bind((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()).await
        }
        result => result,
    }
}

async fn serve_connection(incoming: Incoming, acceptor: Acceptor, server: Arc<Server>) {
    let peer = incoming.peer();
    match incoming.handshake(&acceptor).await {
        Ok(stream) => {
            debug!(%peer, "a client was verified");
            match stream.spoken() {
                Spoken::Barge => server.serve(stream).await,
                Spoken::Unnamed => {
                    let address = peer.ip();
                    let visitor = format!("{address} ({address})");
                    server.serve_rsync(stream, visitor).await;
                }
            }
        }
        Err(AcceptError::Probe) => debug!(%peer, "a connection closed without a byte"),
        Err(error) => warn!(%peer, error = with_sources(&error), "a connection was refused"),
    }
}

/// Gives connections the time to say goodbye, so that no client takes the end for a cut.
async fn let_end(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GOODBYE, all).await.is_err() {
        debug!("connections still open are closed");
    }
}

/// Where `barge serve` listens unless told otherwise: needs no privilege.
const DEFAULT_PORT: u16 = 8443;

/// How long the last connections may take to close.
const GOODBYE: Duration = Duration::from_secs(5);
