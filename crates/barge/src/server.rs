//! The server: volumes, the sessions that write them, and the connections that come and go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use barge_delta::Seed;
use barge_fs::{BeginError, Root};
use barge_native::{
    AbortCode, Answer, DeviceCall, Hello, Order, Purpose, Received, Refusal, RefusalCode, VERSION,
    Welcome,
};
use barge_types::RelPath;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::bridge::{self, ConnectionEnd, SessionStream, WINDOW};
use crate::device::Device;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::over_native::{HELLO_DEADLINE, Stream, last_words};
use crate::over_rsync::{seam, volumes};
use crate::receive::{LIST_WINDOW, Receiver, ReceiverSink};
use crate::run::{Clock, RunEnd, SessionEnd};
use crate::stop::Stop;

/// How long a session whose connections are all lost waits for its client: longer than a client
/// tries with its default number of retries.
pub(crate) const GRACE: Duration = Duration::from_secs(600);

/// How long the client's goodbye may take when all is durable: longer than it waits between two
/// attempts to connect.
pub(crate) const GOODBYE_GRACE: Duration = Duration::from_secs(60);

/// How often a session's connections are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How often is asked whether the last client that speaks rsync has gone.
const LOOK_AT_RSYNC: Duration = Duration::from_millis(20);

/// Connections at a time on which rsync is spoken: each has a thread. Fewer than the runtime has
/// threads that may block, which the native protocol needs, too.
const MAX_RSYNC: usize = 256;

/// How long a client that is turned away may take to close.
const TURN_AWAY: Duration = Duration::from_secs(2);

/// Writes volumes from accepted connections.
#[derive(Debug)]
pub struct Server {
    volumes: HashMap<String, Volume>,
    devices: HashMap<String, Arc<Device>>,
    sessions: Mutex<HashMap<u128, Arc<Session>>>,
    monitor: Arc<Monitor>,
    stall_timeout: Duration,
    draining: AtomicBool,
    /// Ends the runs over rsync's protocol.
    stop: Stop,
    /// Connections on which it is spoken.
    rsync_connections: AtomicUsize,
    /// Places for runs over it.
    rsync_runs: Arc<Semaphore>,
    ended: mpsc::UnboundedSender<(String, RunEnd)>,
    runs: AsyncMutex<mpsc::UnboundedReceiver<(String, RunEnd)>>,
}

#[derive(Debug)]
struct Volume {
    path: PathBuf,
    /// Whoever begins or ends a session on it holds this.
    active: AsyncMutex<Option<Arc<Session>>>,
}

/// A run that writes a volume.
#[derive(Debug)]
struct Session {
    id: u128,
    secret: u128,
    volume: String,
    slots: Vec<Slot>,
    receiver: Arc<Receiver>,
    seed: u64,
    connections: AtomicUsize,
    /// A successor has taken its place: it ended without being a run of its own.
    superseded: AtomicBool,
    /// Set and signalled when nothing of it is left.
    gone: AtomicBool,
    gone_signal: Notify,
}

/// A stream, and who drives it.
#[derive(Debug)]
struct Slot {
    stream: Arc<SessionStream>,
    /// The number of its newest connection.
    newest: AtomicU64,
    /// Held by the task that drives its connection.
    driver: AsyncMutex<()>,
    /// Tells that task to make way for a newer connection.
    make_way: Notify,
}

impl Server {
    /// A server of `volumes`, each a name and the directory to write.
    ///
    /// # Errors
    ///
    /// [`Error::Root`] when one is no directory or cannot be read, [`Error::Request`] when a name
    /// is given twice.
    pub fn new(
        volumes: Vec<(String, PathBuf)>,
        monitor: Arc<Monitor>,
        stall_timeout: Duration,
    ) -> Result<Arc<Self>, Error> {
        Self::with_devices(volumes, Vec::new(), monitor, stall_timeout)
    }

    /// A server of `volumes`, and of `devices`, each a name and the block device or raw image to write. An
    /// image need not be there yet.
    ///
    /// # Errors
    ///
    /// As [`Server::new`], also when a device could not be written.
    pub fn with_devices(
        volumes: Vec<(String, PathBuf)>,
        devices: Vec<(String, PathBuf)>,
        monitor: Arc<Monitor>,
        stall_timeout: Duration,
    ) -> Result<Arc<Self>, Error> {
        let mut named = HashMap::new();
        for (name, path) in volumes {
            open_root(&path)?;
            let volume = Volume {
                path,
                active: AsyncMutex::new(None),
            };
            if named.insert(name.clone(), volume).is_some() {
                return Err(Error::Request(format!(
                    "the volume {name:?} is given twice"
                )));
            }
        }
        let (ended, runs) = mpsc::unbounded_channel();
        let mut named_devices = HashMap::new();
        for (name, path) in devices {
            let (monitor, ended) = (Arc::clone(&monitor), ended.clone());
            let device = Device::new(name.clone(), path, monitor, ended)?;
            let is_taken = named.contains_key(&name);
            if is_taken || named_devices.insert(name.clone(), device).is_some() {
                return Err(Error::Request(format!("{name:?} is given twice")));
            }
        }
        Ok(Arc::new(Self {
            volumes: named,
            devices: named_devices,
            sessions: Mutex::default(),
            monitor,
            stall_timeout,
            draining: AtomicBool::new(false),
            stop: Stop::new(),
            rsync_connections: AtomicUsize::new(0),
            rsync_runs: Arc::new(Semaphore::new(volumes::MAX_RUNS)),
            ended,
            runs: AsyncMutex::new(runs),
        }))
    }

    /// Serves one accepted connection until it ends.
    pub async fn serve(self: &Arc<Self>, mut connection: impl Stream) {
        let mut input = BytesMut::new();
        let frame = bridge::read_frame(&mut connection, &mut input, HELLO_DEADLINE).await;
        let hello = match frame {
            Ok((tag, payload)) => Hello::decode(tag, payload),
            Err(end) => {
                tracing::debug!(error = ?end, "a connection without a hello");
                return;
            }
        };
        let hello = match hello {
            Ok(hello) => hello,
            Err(error) => {
                tracing::warn!(%error, "a hello that is none");
                return;
            }
        };
        match &hello.purpose {
            Purpose::Device(call) => return self.serve_device(connection, input, call).await,
            Purpose::GiveUp {
                volume,
                session,
                why,
            } => {
                if let Some(device) = self.devices.get(volume) {
                    device.give_up(connection, *session, *why).await;
                }
                return;
            }
            Purpose::Begin { .. } | Purpose::Join { .. } => {}
        }
        if let Err(refusal) = self.admit(&mut connection, &mut input, hello).await {
            refuse(connection, refusal).await;
        }
    }

    async fn serve_device(&self, connection: impl Stream, input: BytesMut, call: &DeviceCall) {
        let name = &call.volume;
        let Some(device) = self.devices.get(name) else {
            let text = match self.volumes.contains_key(name) {
                true => format!("{name:?} is a directory: send one, without --device"),
                false => format!("the server has no device {name:?}"),
            };
            let code = RefusalCode::UnknownVolume;
            return refuse(connection, Refusal { code, text }).await;
        };
        device.serve(connection, input, call, &self.draining).await;
    }

    /// Serves one accepted connection whose client speaks rsync's protocol, until it ends: as a
    /// daemon whose modules are the volumes. `visitor` is the client, for the log.
    pub async fn serve_rsync(self: &Arc<Self>, connection: impl Stream, visitor: String) {
        if self.draining.load(Ordering::Acquire) {
            return;
        }
        if self.rsync_connections.fetch_add(1, Ordering::AcqRel) < MAX_RSYNC {
            self.speak_rsync(connection, visitor).await;
        } else {
            tracing::warn!("too many connections speak rsync: one was turned away");
            let _ = timeout(TURN_AWAY, turn_away(connection)).await;
        }
        self.rsync_connections.fetch_sub(1, Ordering::AcqRel);
    }

    async fn speak_rsync(&self, connection: impl Stream, visitor: String) {
        let connection = seam::blocking(connection, &self.stop);
        let volumes = self.volumes.iter();
        let mut volumes: volumes::Volumes = volumes
            .map(|(name, volume)| (name.clone(), volume.path.clone()))
            .collect();
        volumes.sort();
        let monitor = Arc::clone(&self.monitor);
        let places = Arc::clone(&self.rsync_runs);
        let work = move || volumes::serve(connection, &volumes, visitor, monitor, places);
        if let Ok(Some(run)) = tokio::task::spawn_blocking(work).await {
            let _ = self.ended.send(run);
        }
    }

    /// The next run that ended, and its volume.
    pub async fn next_run(&self) -> (String, RunEnd) {
        match self.runs.lock().await.recv().await {
            Some(run) => run,
            None => unreachable!("the server itself holds the other end"),
        }
    }

    /// Refuses new sessions and ends running ones: what is in flight is committed or removed.
    /// Returns when all have ended.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.stop.stop();
        let mut sessions = Vec::new();
        for volume in self.volumes.values() {
            if let Some(session) = volume.active.lock().await.clone() {
                session.receiver.interrupt();
                sessions.push(session);
            }
        }
        for session in sessions {
            session.wait_until_gone().await;
        }
        for device in self.devices.values() {
            device.interrupt().await;
        }
        while self.rsync_connections.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(LOOK_AT_RSYNC).await;
        }
    }

    async fn admit(
        self: &Arc<Self>,
        connection: &mut impl Stream,
        input: &mut BytesMut,
        hello: Hello,
    ) -> Result<(), Refusal> {
        if hello.version().is_none() {
            let (min, max) = (hello.min_version, hello.max_version);
            let text = format!(
                "the client speaks versions {min} to {max} of the protocol, the server {VERSION}: \
                 use the same release of barge on both sides"
            );
            return Err(Refusal {
                code: RefusalCode::Version,
                text,
            });
        }
        match hello.purpose {
            Purpose::Begin {
                volume,
                streams,
                order,
            } => {
                let streams = streams.min(most_streams());
                let session = self.begin(&volume, streams, order, hello.window).await?;
                session.drive(self, connection, input, 0, [0; 2]).await;
            }
            Purpose::Device(_) | Purpose::GiveUp { .. } => unreachable!("it has been served"),
            Purpose::Join {
                session,
                secret,
                stream,
                received,
            } => {
                let session = self.sessions().get(&session).cloned();
                let session = session.filter(|known| {
                    known.secret == secret && usize::from(stream) < known.slots.len()
                });
                let Some(session) = session else {
                    let text = "the session has ended, or the server was restarted".to_owned();
                    return Err(Refusal {
                        code: RefusalCode::UnknownSession,
                        text,
                    });
                };
                session.connections.fetch_add(1, Ordering::AcqRel);
                session
                    .drive(self, connection, input, stream, received)
                    .await;
            }
        }
        Ok(())
    }

    /// Begins a session on a volume that no other run is writing.
    async fn begin(
        self: &Arc<Self>,
        name: &str,
        streams: u8,
        order: Order,
        window: u32,
    ) -> Result<Arc<Session>, Refusal> {
        let Some(volume) = self.volumes.get(name) else {
            let text = match self.devices.contains_key(name) {
                true => format!("{name:?} is a device: send one, with --device"),
                false => format!("the server has no volume {name:?}"),
            };
            return Err(Refusal {
                code: RefusalCode::UnknownVolume,
                text,
            });
        };
        let mut active = volume.active.lock().await;
        if self.draining.load(Ordering::Acquire) {
            return Err(draining());
        }
        if let Some(session) = active.take() {
            if session.connections.load(Ordering::Acquire) > 0 && !session.receiver.is_over() {
                *active = Some(session);
                let text = format!("another run is writing the volume {name:?}");
                return Err(Refusal {
                    code: RefusalCode::Busy,
                    text,
                });
            }
            // Its client is gone, and here is its successor.
            session.superseded.store(true, Ordering::Release);
            session
                .receiver
                .lost("another client began a run on the volume".to_owned());
            session.wait_until_gone().await;
        }
        let (session, ended) = self
            .new_session(name, volume, streams, order, window)
            .await?;
        *active = Some(Arc::clone(&session));
        self.sessions().insert(session.id, Arc::clone(&session));
        tokio::spawn(Arc::clone(self).conduct(Arc::clone(&session), ended));
        Ok(session)
    }

    async fn new_session(
        &self,
        name: &str,
        volume: &Volume,
        streams: u8,
        order: Order,
        window: u32,
    ) -> Result<(Arc<Session>, oneshot::Receiver<SessionEnd>), Refusal> {
        let unwritable = |error: &dyn std::fmt::Display| Refusal {
            code: RefusalCode::Unwritable,
            text: error.to_string(),
        };
        let random = (|| Ok((random_u128()?, random_u128()?, getrandom::u64()?)))();
        let (id, secret, seed) = random.map_err(|error: getrandom::Error| unwritable(&error))?;
        let (path, dry_run) = (volume.path.clone(), order.dry_run);
        let opened = tokio::task::spawn_blocking(move || {
            let root = open_root(&path)?;
            let before = look(&root, &path)?;
            let lock = if dry_run {
                None
            } else {
                Some(begin_run(&root, &path)?)
            };
            Ok::<_, Error>((root, before, lock))
        });
        let (root, before, lock) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(Error::Refused(text))) => {
                return Err(Refusal {
                    code: RefusalCode::Busy,
                    text,
                });
            }
            Ok(Err(error)) => return Err(unwritable(&error)),
            Err(panic) => return Err(unwritable(&panic)),
        };
        let streams: Vec<_> = (0..streams).map(|_| SessionStream::new(window)).collect();
        let slot = |stream: &Arc<SessionStream>| Slot {
            stream: Arc::clone(stream),
            newest: AtomicU64::new(0),
            driver: AsyncMutex::default(),
            make_way: Notify::new(),
        };
        let slots = streams.iter().map(slot).collect();
        let monitor = Arc::clone(&self.monitor);
        let (receiver, ended) = Receiver::new(
            root,
            &before,
            order,
            Seed::new(seed),
            lock,
            streams,
            monitor,
        )
        .map_err(|error| unwritable(&error))?;
        let session = Session {
            id,
            secret,
            volume: name.to_owned(),
            slots,
            receiver,
            seed,
            // The one that founds it.
            connections: AtomicUsize::new(1),
            superseded: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            gone_signal: Notify::new(),
        };
        Ok((Arc::new(session), ended))
    }

    /// Waits for the end of a session, clears up after it, and reports.
    async fn conduct(
        self: Arc<Self>,
        session: Arc<Session>,
        mut ended: oneshot::Receiver<SessionEnd>,
    ) {
        let clock = Clock::start(&self.monitor);
        let ended = tokio::select! {
            ended = &mut ended => ended,
            () = session.abandoned() => {
                session.receiver.lost("the client did not come back".to_owned());
                ended.await
            }
        };
        let streams: Vec<_> = session
            .slots
            .iter()
            .map(|slot| Arc::clone(&slot.stream))
            .collect();
        let end = ended.unwrap_or_else(|_| {
            SessionEnd::failed(Error::Internal("a session ended without a word".to_owned()))
        });
        let lost = matches!(end.error, Some(Error::Lost(_)));
        if end.last_words {
            last_words(&streams).await;
        }
        streams.iter().for_each(|stream| stream.close());
        let receiver = Arc::clone(&session.receiver);
        let _ = tokio::task::spawn_blocking(move || receiver.close(lost)).await;
        self.sessions().remove(&session.id);
        let run = clock.end(&self.monitor, end);
        if !session.superseded.load(Ordering::Acquire) {
            let _ = self.ended.send((session.volume.clone(), run));
        }
        session.gone.store(true, Ordering::Release);
        session.gone_signal.notify_waiters();
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u128, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Drives one connection of one stream, which has been counted.
    async fn drive(
        &self,
        server: &Server,
        connection: &mut impl Stream,
        input: &mut BytesMut,
        stream: u8,
        peer_received: Received,
    ) {
        let slot = &self.slots[usize::from(stream)];
        let end = self
            .drive_newest(slot, server, connection, input, peer_received)
            .await;
        self.connections.fetch_sub(1, Ordering::AcqRel);
        tracing::debug!(stream, ?end, "a connection ended");
        if let ConnectionEnd::Protocol(error) = end {
            self.receiver.abort(AbortCode::Protocol, error.into());
        }
    }

    /// Takes a stream over from its older connection, and makes way for a newer one.
    async fn drive_newest(
        &self,
        slot: &Slot,
        server: &Server,
        connection: &mut impl Stream,
        input: &mut BytesMut,
        peer_received: Received,
    ) -> ConnectionEnd {
        let number = slot.newest.fetch_add(1, Ordering::AcqRel) + 1;
        slot.make_way.notify_waiters();
        let _driver = slot.driver.lock().await;
        let mut make_way = std::pin::pin!(slot.make_way.notified());
        make_way.as_mut().enable();
        let is_old = slot.newest.load(Ordering::Acquire) != number;
        // A hello that was long on its way knows less than we were told since: it is no proof of
        // anything, and its connection is none to go on with.
        if is_old || slot.stream.resume(peer_received).is_err() {
            return ConnectionEnd::Closed;
        }
        let frame = Answer::Welcome(self.welcome(slot.stream.received())).encode();
        let answered = async {
            connection.write_all(&frame.head).await?;
            connection.flush().await
        };
        if let Err(error) = answered.await {
            return ConnectionEnd::Lost(error);
        }
        let connections = &server.monitor.counters.connections;
        connections.add(1);
        let sink = ReceiverSink(Arc::clone(&self.receiver));
        let (input, stall) = (std::mem::take(input), server.stall_timeout);
        let end = tokio::select! {
            end = slot.stream.drive(connection, input, &sink, stall, &server.monitor) => end,
            () = make_way => ConnectionEnd::Closed,
        };
        connections.sub(1);
        end
    }

    fn welcome(&self, received: Received) -> Welcome {
        Welcome {
            version: VERSION,
            session: self.id,
            secret: self.secret,
            seed: self.seed,
            streams: self.slots.len() as u8,
            window: WINDOW,
            list_window: LIST_WINDOW,
            received,
        }
    }

    /// Waits until no connection has been up for so long that none will come, or the goodbye of a
    /// run that is through for so long that it will not.
    async fn abandoned(&self) {
        let (mut connected, mut finished) = (Instant::now(), None);
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            if self.connections.load(Ordering::Acquire) > 0 {
                connected = now;
            }
            if self.receiver.is_finished() {
                finished.get_or_insert(now);
            }
            let silent = finished.is_some_and(|since| now - since > GOODBYE_GRACE);
            if silent || now - connected > GRACE {
                return;
            }
        }
    }

    async fn wait_until_gone(&self) {
        let gone = self.gone_signal.notified();
        if !self.gone.load(Ordering::Acquire) {
            gone.await;
        }
    }
}

/// Tells a client why it may not come in.
pub(crate) async fn refuse(mut connection: impl Stream, refusal: Refusal) {
    if refusal.code == RefusalCode::UnknownSession {
        tracing::debug!(reason = %refusal.text, "refused a client");
    } else {
        tracing::warn!(reason = %refusal.text, "refused a client");
    }
    let frame = Answer::Refused(refusal).encode();
    let _ = connection.write_all(&frame.head).await;
    let _ = connection.shutdown().await;
}

/// As many streams as fill a quarter of the memory when all that may wait on them waits; one at least.
fn most_streams() -> u8 {
    let most = barge_fs::memory_limit() / 4 / u64::from(WINDOW);
    u8::try_from(most).unwrap_or(u8::MAX).max(1)
}

/// Tells a client that speaks rsync to come again later, and waits until it closes.
async fn turn_away(mut connection: impl Stream) -> std::io::Result<()> {
    connection.write_all(&volumes::too_many(MAX_RSYNC)).await?;
    connection.shutdown().await?;
    tokio::io::copy(&mut connection, &mut tokio::io::sink()).await?;
    Ok(())
}

pub(crate) fn draining() -> Refusal {
    let text = "the server is shutting down".to_owned();
    Refusal {
        code: RefusalCode::Draining,
        text,
    }
}

fn open_root(path: &Path) -> Result<Root, Error> {
    Root::open(path).map_err(|source| {
        let what = format!(
            "{} is no directory that this user can open as a volume",
            path.display()
        );
        Error::Root { what, source }
    })
}

fn look(root: &Root, path: &Path) -> Result<barge_fs::Stat, Error> {
    root.dir(&RelPath::root())
        .and_then(|dir| dir.stat_self())
        .map_err(|source| {
            let what = format!("the volume {} cannot be read", path.display());
            Error::Root { what, source }
        })
}

fn begin_run(root: &Root, path: &Path) -> Result<barge_fs::RunLock, Error> {
    root.begin_run().map_err(|error| match error {
        BeginError::Busy => {
            let path = path.display();
            Error::Refused(format!("another process is writing the volume {path}"))
        }
        BeginError::Failed(source) => {
            let what = format!("the volume {} cannot be written", path.display());
            Error::Root { what, source }
        }
    })
}

pub(crate) fn random_u128() -> Result<u128, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
