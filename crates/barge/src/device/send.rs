//! The client: deals the parts of a device to connections, and makes sure of the end.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use barge_blockrsync::{BlockHash, Grid, Whole};
use barge_fs::{Disk, Stat};
use barge_native::{DEVICE_PART, DeviceCall, DeviceStep, GiveUp, Purpose};
use barge_types::{Changes, Class, FailedPath, Outcome, RelPath, Side, Tally};
use tokio::task::JoinSet;

use super::{block, line, lock};
use crate::error::{Error, Fault};
use crate::limit::Limiter;
use crate::monitor::{Monitor, PathEnd};
use crate::options::Options;
use crate::over_blockrsync::{Event, Failure, Outgoing, Part, Peer, Sent, Source};
use crate::over_native::{Client, GOOD_WHILE, Greeted, NoConnection, Route, Tries, interrupted};
use crate::run::{Clock, RunEnd, SessionEnd};
use crate::stop::Stop;

/// Makes a server's device or raw image equal to that at `source`.
///
/// Connections that are lost are dialled again, with a backoff, and compare their part anew. A source that
/// is seen to be written meanwhile is sent again, some times; then its path has failed, and so it has when it
/// cannot be read.
pub async fn send_device(
    source: &Path,
    volume: &str,
    options: Options,
    route: Route,
    monitor: Arc<Monitor>,
    stop: Stop,
) -> RunEnd {
    let clock = Clock::start(&monitor);
    let client = Client {
        options,
        route,
        monitor: Arc::clone(&monitor),
        stop,
    };
    let totals = Arc::new(Totals::default());
    let (mut forgotten, mut changed) = (0, 0);
    loop {
        let is_again = forgotten + changed > 0;
        let run = match Run::open(source, volume, &client, &totals, is_again).await {
            Ok(run) => run,
            Err(error) => return clock.end(&monitor, totals.broken_off(error)),
        };
        let why = match Arc::clone(&run).run().await {
            Ok(size) => return clock.end(&monitor, totals.complete(size)),
            Err(why) => why,
        };
        let (reason, end) = match why {
            Why::Changed if changed < MOST_CHANGES => {
                changed += 1;
                tracing::warn!("the source changed while it was read; beginning again");
                continue;
            }
            Why::Forgotten if forgotten < client.options.retries => {
                forgotten += 1;
                tracing::warn!("the server has forgotten the session; beginning again");
                continue;
            }
            Why::Changed => (GiveUp::Changed, totals.failed(changes(), &monitor)),
            Why::Failed(failure) => (GiveUp::Unreadable, totals.failed(failure, &monitor)),
            Why::Error(error) => (reason(&error), totals.broken_off(error)),
            Why::Forgotten => {
                let error = Error::Lost("the server has forgotten the session".to_owned());
                (GiveUp::Failed, totals.broken_off(error))
            }
        };
        run.give_up(reason).await;
        return clock.end(&monitor, end);
    }
}

fn reason(error: &Error) -> GiveUp {
    match error.fault() {
        Fault::Interrupted => GiveUp::Interrupted,
        _ => GiveUp::Failed,
    }
}

/// How often a source that changes is sent again.
const MOST_CHANGES: u32 = 3;

fn changes() -> barge_types::Failure {
    barge_types::Failure {
        side: Side::Source,
        op: "read".into(),
        errno: 0,
        class: Class::Changed,
    }
}

/// Bytes, over all sessions and connections, those that were lost too.
#[derive(Debug, Default)]
struct Totals {
    /// How long the source is.
    size: AtomicU64,
    /// Read in order to compare.
    read: AtomicU64,
    /// The target had others.
    differed: AtomicU64,
    /// Of those that were no zeros.
    sent: AtomicU64,
}

impl Totals {
    fn complete(&self, size: u64) -> SessionEnd {
        let differed = self.differed.load(Ordering::Acquire);
        let mut tally = self.tally();
        tally.bytes_matched = size.saturating_sub(differed);
        tally.count(&match differed {
            0 => Outcome::Unchanged,
            _ => Outcome::Updated(Changes::CONTENT),
        });
        ended(tally, Vec::new(), None)
    }

    fn failed(&self, failure: barge_types::Failure, monitor: &Monitor) -> SessionEnd {
        let (path, outcome) = (RelPath::root(), Outcome::Failed(failure.clone()));
        let mut tally = self.tally();
        tally.count(&outcome);
        let counters = &monitor.counters;
        for count in [&counters.listed, &counters.ended, &counters.failed] {
            count.add(1);
        }
        monitor.path(PathEnd {
            path: &path,
            kind: "",
            outcome: &outcome,
        });
        ended(tally, vec![FailedPath { path, failure }], None)
    }

    fn broken_off(&self, error: Error) -> SessionEnd {
        ended(self.tally(), Vec::new(), Some(error))
    }

    fn tally(&self) -> Tally {
        Tally {
            bytes_listed: self.size.load(Ordering::Acquire),
            bytes_read: self.read.load(Ordering::Acquire),
            bytes_sent: self.sent.load(Ordering::Acquire),
            ..Tally::default()
        }
    }
}

fn ended(tally: Tally, failures: Vec<FailedPath>, error: Option<Error>) -> SessionEnd {
    SessionEnd {
        tally,
        failures,
        undeleted: 0,
        error,
        last_words: false,
    }
}

/// Why a session did not come to its end.
enum Why {
    Error(Error),
    /// The source cannot be read.
    Failed(barge_types::Failure),
    /// The source was written.
    Changed,
    /// The server does not know it any more.
    Forgotten,
}

/// One session.
struct Run {
    client: Client,
    volume: String,
    session: u128,
    source: Source,
    disk: Disk,
    /// A look at it before anything was read.
    before: Stat,
    size: u64,
    limiter: Limiter,
    /// Up to where parts have been taken in hand.
    taken: AtomicU64,
    /// Of the parts that are done, by where they begin.
    digests: Mutex<BTreeMap<u64, BlockHash>>,
    totals: Arc<Totals>,
    /// There was a session before.
    is_again: bool,
    /// By which the server tells that it knows the session; once it has taken a connection.
    seed: OnceLock<u64>,
    /// Ends all connections.
    over: Stop,
}

impl Run {
    async fn open(
        source: &Path,
        volume: &str,
        client: &Client,
        totals: &Arc<Totals>,
        is_again: bool,
    ) -> Result<Arc<Self>, Error> {
        let source = Source {
            path: source.into(),
            block: block(),
        };
        let what = format!("the source {} cannot be read", source.path.display());
        let opened = tokio::task::spawn_blocking(move || {
            let disk = Disk::open(&source.path)?;
            let before = source.look(&disk)?;
            // Not before the look: what changes behind that shows.
            let size = disk.len()?;
            Ok::<_, barge_fs::Error>((source, disk, before, size))
        });
        let opened = opened.await;
        let opened = opened.map_err(|panic| Error::Internal(panic.to_string()))?;
        let (source, disk, before, size) = opened.map_err(|source| Error::Root { what, source })?;
        let session = crate::server::random_u128();
        let session = session.map_err(|error| Error::Internal(error.to_string()))?;
        totals.size.store(size, Ordering::Release);
        Ok(Arc::new(Self {
            client: client.clone(),
            volume: volume.to_owned(),
            session,
            source,
            disk,
            before,
            size,
            limiter: Limiter::new(client.options.bwlimit),
            taken: AtomicU64::new(0),
            digests: Mutex::default(),
            totals: Arc::clone(totals),
            is_again,
            seed: OnceLock::new(),
            over: Stop::new(),
        }))
    }

    /// Brings the session to its end. How long the source is.
    async fn run(self: Arc<Self>) -> Result<u64, Why> {
        let counters = &self.client.monitor.counters;
        counters.listed.add(1);
        counters.bytes_listed.add(self.size);
        let work = async {
            self.send_parts().await?;
            self.finish().await
        };
        let ended = tokio::select! {
            ended = work => ended,
            () = self.client.stop.wait() => Err(Why::Error(interrupted())),
        };
        // Whoever is still at it need not go on.
        self.over.stop();
        match ended {
            Ok(()) => {
                counters.ended.add(1);
                Ok(self.size)
            }
            Err(why) => {
                // It is counted when it is begun again.
                counters.listed.sub(1);
                counters.bytes_listed.sub(self.size);
                counters.bytes_ended.sub(self.bytes_ended());
                Err(why)
            }
        }
    }

    async fn send_parts(self: &Arc<Self>) -> Result<(), Why> {
        let mut workers = JoinSet::new();
        for _ in 0..self.client.options.streams {
            workers.spawn(Arc::clone(self).work());
        }
        while let Some(worked) = workers.join_next().await {
            worked.map_err(|panic| internal(&panic))??;
        }
        Ok(())
    }

    /// Takes parts until there are none.
    async fn work(self: Arc<Self>) -> Result<(), Why> {
        while let Some((start, end)) = self.next_part() {
            let sent = self.converse(DeviceStep::Part { start, end }).await?;
            lock(&self.digests).insert(start, sent.digest);
            let counters = &self.client.monitor.counters;
            counters.bytes_ended.add(end - start);
        }
        Ok(())
    }

    fn next_part(&self) -> Option<(u64, u64)> {
        let end_of = |start: u64| self.size.min(start.saturating_add(DEVICE_PART));
        let next = |start| (start < self.size).then(|| end_of(start));
        let taken = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        taken.ok().map(|start| (start, end_of(start)))
    }

    fn bytes_ended(&self) -> u64 {
        let digests = lock(&self.digests);
        let lengths = digests
            .keys()
            .map(|start| DEVICE_PART.min(self.size - start));
        lengths.sum()
    }

    /// Ends the run at the server, which holds what it has against what we have.
    async fn finish(self: &Arc<Self>) -> Result<(), Why> {
        let mut whole = Whole::default();
        for digest in lock(&self.digests).values() {
            whole.add(digest);
        }
        let digest = whole.digest();
        self.converse(DeviceStep::End { digest }).await?;
        Ok(())
    }

    /// Does a step, over as many connections as it takes.
    async fn converse(self: &Arc<Self>, step: DeviceStep) -> Result<Sent, Why> {
        let purpose = || {
            Purpose::Device(DeviceCall {
                volume: self.volume.clone(),
                session: self.session,
                size: self.size,
                step,
            })
        };
        let mut tries = self.tries();
        loop {
            let greeted = self.client.connect(purpose, &mut tries).await;
            let greeted = greeted.map_err(|no| self.no_connection(no))?;
            let seed = greeted.welcome.seed;
            if *self.seed.get_or_init(|| seed) != seed {
                return Err(Why::Forgotten);
            }
            let (run, begun) = (Arc::clone(self), Instant::now());
            let talk = tokio::task::spawn_blocking(move || run.talk(greeted, step));
            let failure = match talk.await {
                Ok(Ok(sent)) => return Ok(sent),
                Ok(Err(failure)) => failure,
                Err(panic) => return Err(internal(&panic)),
            };
            if let Some(why) = final_reason(&failure) {
                return Err(why);
            }
            self.client.monitor.counters.reconnects.add(1);
            if begun.elapsed() > GOOD_WHILE {
                tries = self.tries();
            }
            let waited = tries.wait(&failure.to_string()).await;
            waited.map_err(|no| self.no_connection(no))?;
        }
    }

    fn tries(&self) -> Tries {
        let allowed = self.client.options.retries;
        match self.is_again {
            true => Tries::again(allowed),
            false => Tries::new(allowed),
        }
    }

    /// What is refused after something was written is no refusal of the run.
    fn no_connection(&self, no: NoConnection) -> Why {
        match no {
            NoConnection::Forgotten => Why::Forgotten,
            NoConnection::Final(Error::Refused(text)) if self.seed.get().is_some() => {
                Why::Error(Error::TargetFull(text))
            }
            NoConnection::Final(error) => Why::Error(error),
        }
    }

    /// Tells the server that there will be no end, if it has heard of a beginning and listens.
    async fn give_up(&self, why: GiveUp) {
        let purpose = || Purpose::GiveUp {
            volume: self.volume.clone(),
            session: self.session,
            why,
        };
        if self.seed.get().is_some() {
            let mut tries = Tries::new(0);
            let told = self.client.connect(purpose, &mut tries);
            let _ = tokio::time::timeout(LAST_WORD, told).await;
        }
    }

    fn talk(&self, greeted: Greeted, step: DeviceStep) -> Result<Sent, Failure> {
        let (start, end) = match step {
            DeviceStep::Part { start, end } => (start, end),
            DeviceStep::End { .. } => (self.size, self.size),
        };
        let monitor = &self.client.monitor;
        let mut line = line::blocking(greeted.connection, greeted.input, &self.over, monitor);
        let grid = Grid::new(end - start, block()).expect("a part is short");
        let told = Told::default();
        let outgoing = Outgoing {
            part: Part::of(&self.disk, start, grid),
            path: &self.source.path,
            before: self.before,
            peer: Peer::Ours,
            is_checked: true,
            tell: &|event| self.count(&told, event),
        };
        monitor.counters.connections.add(1);
        let sent = outgoing.send(&mut line);
        monitor.counters.connections.sub(1);
        sent
    }

    /// Counts what is new since it was told last.
    fn count(&self, told: &Told, event: Event) {
        let (counters, totals) = (&self.client.monitor.counters, &self.totals);
        match event {
            Event::Comparing { done, .. } => {
                let new = done - told.compared.replace(done);
                counters.bytes_read.add(new);
                totals.read.fetch_add(new, Ordering::AcqRel);
            }
            Event::Sending { done, data, .. } => {
                let differed = done - told.done.replace(done);
                totals.differed.fetch_add(differed, Ordering::AcqRel);
                let sent = data - told.data.replace(data);
                counters.bytes_sent.add(sent);
                totals.sent.fetch_add(sent, Ordering::AcqRel);
                std::thread::sleep(self.limiter.take(sent, Instant::now()));
            }
            _ => {}
        }
    }
}

/// How long a server may take to hear that a run has been given up.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What was told of a conversation last, in bytes.
#[derive(Debug, Default)]
struct Told {
    compared: Cell<u64>,
    done: Cell<u64>,
    data: Cell<u64>,
}

/// Why another connection would not help; `None` when it may.
fn final_reason(failure: &Failure) -> Option<Why> {
    match failure {
        Failure::Changed => Some(Why::Changed),
        Failure::Disk { error, .. } => Some(Why::Failed(error.failure(Side::Source))),
        Failure::Refused(text) => Some(Why::Error(Error::TargetFull(text.clone()))),
        failure => match failure.fault() {
            Fault::Weather => None,
            fault => Some(Why::Error(Error::Dial {
                text: failure.to_string(),
                fault,
            })),
        },
    }
}

fn internal(panic: &tokio::task::JoinError) -> Why {
    Why::Error(Error::Internal(panic.to_string()))
}
