//! `barge send` and `barge copy`: one run, and its last words.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use barge::over_rsync::send_by_rsync;
use barge::{DialError, Fault, Monitor, Options, Route, RunEnd, Stop, Stream, send_device};
use barge_net::{Connector, DialErrorKind, Dialer, Identity, Offer, Refusal, Role, Spoken};
use tracing::{debug, info, warn};

use crate::cli::{CopyArgs, Language, Rules, SendArgs};
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::{Progress, Screen};
use crate::report::{Ending, ReportFile, conclude};
use crate::signals::stop_on_signals;

/// Sends a directory to a volume of a server.
///
/// # Errors
///
/// When not even a report can be written, or the process refuses to be set up.
pub(crate) async fn send(args: &SendArgs, screen: &Screen, quiet: bool) -> Result<Exit> {
    let run = Run::new(&args.rules, screen, quiet)?;
    let prepared = args.options().map_err(Into::into).and_then(|options| {
        let route = route(args)?;
        Ok((options, route))
    });
    let ending = match prepared {
        Ok((options, route)) => {
            announce(&options);
            let work = route.send(args, options, &run);
            Ending::of_run(args.volume.clone(), run.watch(work).await)
        }
        Err(error) => Ending::unbegun(args.volume.clone(), &error),
    };
    Ok(run.conclude(&ending))
}

/// Copies a directory within this machine.
///
/// # Errors
///
/// As [`send`].
pub(crate) async fn copy(args: &CopyArgs, screen: &Screen, quiet: bool) -> Result<Exit> {
    let run = Run::new(&args.rules, screen, quiet)?;
    let target = args.target.to_string_lossy().into_owned();
    let ending = match args.rules.options() {
        Ok(options) => {
            announce(&options);
            let (monitor, stop) = (Arc::clone(&run.monitor), run.stop.clone());
            let work = barge::copy(&args.source, &args.target, options, monitor, stop);
            Ending::of_run(target, run.watch(work).await)
        }
        Err(error) => Ending::unbegun(target, &error.into()),
    };
    Ok(run.conclude(&ending))
}

/// What surrounds one run.
struct Run {
    output: Arc<Output>,
    progress: Progress,
    monitor: Arc<Monitor>,
    stop: Stop,
    report: Option<ReportFile>,
}

impl Run {
    fn new(rules: &Rules, screen: &Screen, quiet: bool) -> Result<Self> {
        let report = rules.report.as_deref().map(ReportFile::new).transpose()?;
        let output = Arc::new(Output::new(rules.json, rules.itemize, screen.clone()));
        let stop = Stop::new();
        stop_on_signals(stop.clone()).context("no handler for signals could be set")?;
        let paths = Arc::clone(&output);
        Ok(Self {
            progress: Progress::new(screen, &output, quiet),
            monitor: Arc::new(Monitor::new(move |end| paths.path(end))),
            output,
            stop,
            report,
        })
    }

    async fn watch(&self, work: impl Future<Output = RunEnd>) -> RunEnd {
        tokio::select! {
            end = work => end,
            never = self.progress.follow(&self.monitor.counters) => match never {},
        }
    }

    fn conclude(self, ending: &Ending) -> Exit {
        drop(self.progress);
        conclude(ending, &self.output, self.report.as_ref());
        ending.exit
    }
}

fn announce(options: &Options) {
    debug!(?options, "beginning a run");
    if options.inplace {
        warn!("--inplace: a file that is being written when the run is cut is neither old nor new");
    }
    warn_unless_root("what only root may read or keep is reported path by path");
}

/// Says once what an ordinary user has to expect.
pub(crate) fn warn_unless_root(consequence: &str) {
    if !nix::unistd::geteuid().is_root() {
        warn!("not running as root: {consequence}");
    }
}

/// The way to the server, each connection verified at both ends.
fn route(args: &SendArgs) -> Result<Way> {
    let identity = identity(&args.tls, Role::Client)?;
    let offer = match args.protocol {
        _ if args.device => Offer::Barge,
        Language::Native => Offer::Barge,
        Language::Rsync => Offer::Unnamed,
        Language::Auto => Offer::Either,
    };
    let connector = Connector::new(&identity, args.server_name.as_deref())?.offering(offer);
    Ok(Way {
        dialer: Arc::new(Dialer::new(args.to.clone(), connector)),
        unnamed: Arc::default(),
    })
}

/// The way to the server, in whichever language.
struct Way {
    dialer: Arc<Dialer>,
    /// A connection on which the server did not choose our protocol.
    unnamed: Arc<Mutex<Option<barge_net::Stream>>>,
}

impl Way {
    async fn send(self, args: &SendArgs, options: Options, run: &Run) -> RunEnd {
        let (source, volume) = (&*args.source, &*args.volume);
        let (monitor, stop) = (&run.monitor, &run.stop);
        if args.device {
            let (route, monitor) = (self.native(), Arc::clone(monitor));
            return send_device(source, volume, options, route, monitor, stop.clone()).await;
        }
        if args.protocol != Language::Rsync {
            let route = self.native();
            let (options, monitor) = (options.clone(), Arc::clone(monitor));
            let end = barge::send(source, volume, options, route, monitor, stop.clone()).await;
            if lock(&self.unnamed).is_none() {
                return end;
            }
            info!("the server does not know barge's own protocol: speaking rsync's");
        }
        let (route, monitor) = (self.rsync(), Arc::clone(monitor));
        send_by_rsync(source, volume, options, route, monitor, stop.clone()).await
    }

    /// Dials for our own protocol; keeps a connection that will not do for it.
    fn native(&self) -> Route {
        let (dialer, unnamed) = (Arc::clone(&self.dialer), Arc::clone(&self.unnamed));
        self.route(move || {
            let (dialer, unnamed) = (Arc::clone(&dialer), Arc::clone(&unnamed));
            Box::pin(async move {
                let stream = dialer.dial().await.map_err(|error| translate(&error))?;
                if stream.spoken() == Spoken::Unnamed {
                    *lock(&unnamed) = Some(stream);
                    let text = "the server did not choose barge's protocol".to_owned();
                    let fault = Fault::Peer;
                    return Err(DialError { text, fault });
                }
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        })
    }

    /// Dials for rsync's, beginning with the connection that is there already.
    fn rsync(&self) -> Route {
        let (dialer, unnamed) = (Arc::clone(&self.dialer), Arc::clone(&self.unnamed));
        self.route(move || {
            let (dialer, unnamed) = (Arc::clone(&dialer), Arc::clone(&unnamed));
            Box::pin(async move {
                let first = lock(&unnamed).take();
                let stream = match first {
                    Some(stream) => stream,
                    None => dialer.dial().await.map_err(|error| translate(&error))?,
                };
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        })
    }

    fn route<F>(&self, dial: F) -> Route
    where
        F: Fn() -> Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, DialError>> + Send>>
            + Send
            + Sync
            + 'static,
    {
        Route {
            dial: Arc::new(dial),
            classify: Arc::new(|error| barge_net::classify(error).map(|error| translate(&error))),
        }
    }
}

fn lock(unnamed: &Mutex<Option<barge_net::Stream>>) -> MutexGuard<'_, Option<barge_net::Stream>> {
    unnamed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads who we are from a TLS folder.
///
/// # Errors
///
/// With the file and the remedy.
pub(crate) fn identity(dir: &Path, role: Role) -> Result<Identity> {
    Identity::load_for(dir, role).with_context(|| format!("--tls {dir:?} gives no identity"))
}

fn translate(error: &barge_net::DialError) -> DialError {
    DialError {
        text: with_sources(error),
        fault: fault(error.kind()),
    }
}

fn fault(kind: &DialErrorKind) -> Fault {
    match kind {
        DialErrorKind::Name { .. } => Fault::Request,
        DialErrorKind::Refused(
            Refusal::NotTls | Refusal::NotBarge | Refusal::Incompatible | Refusal::UnknownName,
        ) => Fault::Peer,
        DialErrorKind::Refused(_) => Fault::Identity,
        _ => Fault::Weather,
    }
}

/// The error and what caused it, on one line.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_weather_is_dialled_again() {
        let refused = DialErrorKind::Refused;
        for (kind, expected) in [
            (refused(Refusal::NotTls), Fault::Peer),
            (refused(Refusal::NotBarge), Fault::Peer),
            (refused(Refusal::UnknownName), Fault::Peer),
            (
                refused(Refusal::OtherCa {
                    whose: Role::Server,
                }),
                Fault::Identity,
            ),
            (refused(Refusal::OursExpired), Fault::Identity),
            (
                refused(Refusal::WrongName { name: "a".into() }),
                Fault::Identity,
            ),
            (DialErrorKind::Name { name: "a b".into() }, Fault::Request),
            (DialErrorKind::Deadline(Duration::ZERO), Fault::Weather),
            (DialErrorKind::Closed, Fault::Weather),
            (DialErrorKind::Resolve { host: "a".into() }, Fault::Weather),
        ] {
            assert_eq!(fault(&kind), expected, "{kind}");
        }
    }
}
