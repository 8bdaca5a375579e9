//! `barge send` to a peer that speaks rsync's protocol and not ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barge_fs::Root;
use barge_types::Side;

use super::options::{self, Delete, FilterOption, Transport, server_args};
use super::session::Preferences;
use super::tallying::Tallying;
use super::{Client, Ended, Failure, Listener, Peer, RuleList, RuleSources, Visit, seam};
use crate::error::{DialError, Error, Fault};
use crate::monitor::Monitor;
use crate::options::Options;
use crate::over_native::Route;
use crate::run::{Clock, RunEnd, SessionEnd};
use crate::stop::Stop;

/// Sends the tree at `source` to a daemon's `module`, over one connection that `route` dials.
///
/// A connection that is lost is dialled again, and the run begins again: what is at the target already
/// is found there. [`Options::streams`] has no meaning here.
pub async fn send_by_rsync(
    source: &Path,
    module: &str,
    options: Options,
    route: Route,
    monitor: Arc<Monitor>,
    stop: Stop,
) -> RunEnd {
    let clock = Clock::start(&monitor);
    if let Err(error) = Root::open(source) {
        let what = format!("the source {} cannot be read", source.display());
        let error = Error::Root {
            what,
            source: error,
        };
        return clock.refuse(&monitor, error);
    }
    let mut delay = FIRST_DELAY;
    for attempt in 0.. {
        let end = attempt_to_send(source, module, &options, &route, &monitor, &stop).await;
        let is_weather = end
            .error
            .as_ref()
            .is_some_and(|error| error.fault() == Fault::Weather);
        if !is_weather || attempt == options.retries || stop.is_stopped() {
            return clock.end(&monitor, end);
        }
        let error = end.error.as_ref().map(ToString::to_string);
        tracing::warn!(attempt, error, "the connection was lost, beginning again");
        monitor.counters.reconnects.add(1);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.wait() => return clock.end(&monitor, interrupted()),
        }
        delay = (delay * 2).min(MAX_DELAY);
    }
    unreachable!("the last attempt returns")
}

async fn attempt_to_send(
    source: &Path,
    module: &str,
    options: &Options,
    route: &Route,
    monitor: &Arc<Monitor>,
    stop: &Stop,
) -> SessionEnd {
    let dialled = tokio::select! {
        dialled = (route.dial)() => dialled,
        () = stop.wait() => return interrupted(),
    };
    let stream = match dialled {
        Ok(stream) => stream,
        Err(error) => {
            return SessionEnd::failed(Error::Dial {
                text: error.text,
                fault: error.fault,
            });
        }
    };
    let connection = seam::blocking(stream, stop);
    let tallying = Tallying::new(Side::Source, options.itemize, Arc::clone(monitor));
    let tallying = Arc::new(tallying);
    let client = match client(
        source,
        module,
        options,
        Arc::clone(&tallying) as Arc<dyn Listener>,
    ) {
        Ok(client) => client,
        Err(error) => return SessionEnd::failed(error),
    };
    let module = module.as_bytes().to_vec();
    let work = move || {
        let mut login = || {
            Err(Failure::fatal(
                5,
                "the peer asks for a password, and there is none",
            ))
        };
        let visit = Visit {
            module: Some(module),
            early_input: Vec::new(),
            shows_text: true,
            doubts: Some(GREETING_PATIENCE),
            login: &mut login,
        };
        client.run(connection, Peer::Daemon(visit))
    };
    let ended = match tokio::task::spawn_blocking(work).await {
        Ok(ended) => ended,
        Err(panic) => return SessionEnd::failed(Error::Internal(panic.to_string())),
    };
    monitor
        .counters
        .wire_bytes
        .add(ended.stats.sent + ended.stats.received);
    if stop.is_stopped() && ended.failure.is_some() {
        return interrupted();
    }
    // In TLS 1.3 a client that is refused learns of it with its first read.
    if let Some(Failure::Connection { source, .. }) = &ended.failure
        && let Some(DialError { text, fault }) = (route.classify)(source)
    {
        return SessionEnd::failed(Error::Dial { text, fault });
    }
    end(&tallying, ended)
}

fn end(tallying: &Tallying, mut ended: Ended) -> SessionEnd {
    let (tally, failures) = tallying.end(&ended);
    SessionEnd {
        tally,
        failures,
        undeleted: tallying.undeleted(&ended),
        error: tallying.error(&mut ended),
        last_words: false,
    }
}

fn interrupted() -> SessionEnd {
    SessionEnd::failed(Error::Interrupted("by a signal".to_owned()))
}

fn client(
    source: &Path,
    module: &str,
    options: &Options,
    listener: Arc<dyn Listener>,
) -> Result<Client, Error> {
    let options = translate(options);
    let mut sources = RuleSources {
        read: &mut |_| Err(std::io::ErrorKind::Unsupported.into()),
        cvsignore: None,
        cvsignore_variable: None,
    };
    let rules = RuleList::of_client(&options, &mut sources);
    let rules = rules.map_err(|error| Error::Request(error.text))?;
    // What is in the directory, not the directory.
    let source = source.join("");
    Ok(Client {
        server_args: server_args(&options, &[format!("{module}/").into()], Transport::Daemon),
        options,
        preferences: Preferences::new(false),
        rules,
        paths: vec![source],
        listener,
    })
}

/// Our options in rsync's words.
fn translate(options: &Options) -> options::Options {
    let mut all = options::Options {
        sender: true,
        recursive: true,
        links: true,
        perms: true,
        times: true,
        owner: options.owner,
        group: options.owner,
        devices: options.devices,
        specials: options.devices,
        hard_links: options.hard_links,
        acls: options.acls,
        xattrs: u8::from(options.xattrs),
        numeric_ids: true,
        one_file_system: 1,
        sparse: options.sparse && !options.inplace,
        inplace: options.inplace,
        checksum: options.checksum,
        whole_file: options.whole_file.then_some(true),
        dry_run: options.dry_run,
        delete: if options.delete {
            Delete::During
        } else {
            Delete::No
        },
        max_delete: options.max_delete,
        bwlimit: options.bwlimit.map(|rate| rate.bytes_per_sec()),
        timeout: u32::try_from(options.stall_timeout.as_secs()).unwrap_or(u32::MAX),
        // Every path is heard of, so that the report can count it.
        itemize: 1,
        out_format: Some(b"%i%n%L".to_vec()),
        ..options::Options::default()
    };
    let patterns = options.filter.patterns().map(<[u8]>::to_vec);
    all.filters = patterns.map(FilterOption::Exclude).collect();
    let own = [b"/lost+found".to_vec(), b"/.barge-run".to_vec()];
    all.filters.extend(own.map(FilterOption::Exclude));
    all
}

/// How long a daemon's greeting may take.
const GREETING_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);
