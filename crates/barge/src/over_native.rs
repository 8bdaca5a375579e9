//! The client: dials a session's streams, keeps them up, and sends a tree over them.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barge_delta::Seed;
use barge_fs::Root;
use barge_native::{
    Answer, Hello, MAX_PATTERNS, MAX_PAYLOAD, Order, Purpose, Refusal, RefusalCode, VERSION,
    Welcome,
};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::bridge::{self, ConnectionEnd, SessionStream, WINDOW};
use crate::error::{DialError, Error, Fault};
use crate::monitor::Monitor;
use crate::options::Options;
use crate::run::{Clock, RunEnd};
use crate::send::Sender;
use crate::stop::Stop;

/// A stream of bytes, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Dials one connection to the server.
pub type Dial = Arc<
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, DialError>> + Send>>
        + Send
        + Sync,
>;

/// Tells an error that no further attempt can mend.
pub type Classify = Arc<dyn Fn(&io::Error) -> Option<DialError> + Send + Sync>;

/// The way to the server.
#[derive(Clone)]
pub struct Route {
    /// Dials one connection.
    pub dial: Dial,
    /// Tells an error of a connection that was up and that no further attempt can mend: in
    /// TLS 1.3 a refused client learns of it with its first read.
    pub classify: Classify,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Route")
    }
}

/// Sends the tree at `source` to a server's `volume`.
///
/// A connection that is lost is dialled again, with a backoff, and goes on where it was. When the
/// server has forgotten the session, because it was started anew, the run begins again and finds
/// what is there already.
pub async fn send(
    source: &Path,
    volume: &str,
    options: Options,
    route: Route,
    monitor: Arc<Monitor>,
    stop: Stop,
) -> RunEnd {
    let clock = Clock::start(&monitor);
    let mut begun_again = 0;
    loop {
        let client = Client {
            options: options.clone(),
            route: route.clone(),
            monitor: Arc::clone(&monitor),
            stop: stop.clone(),
        };
        match client.run(source, volume, &clock).await {
            Session::Ended(end) => return *end,
            Session::Forgotten(end) if begun_again == options.retries => return *end,
            Session::Forgotten(_) => begun_again += 1,
        }
        tracing::warn!("the server has forgotten the session; beginning again");
    }
}

/// How a session ended.
enum Session {
    Ended(Box<RunEnd>),
    /// The server does not know it any more: a new one may do.
    Forgotten(Box<RunEnd>),
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) options: Options,
    pub(crate) route: Route,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) stop: Stop,
}

/// A connection on which both have said hello, and what was read past the answer.
pub(crate) struct Greeted {
    pub(crate) connection: Box<dyn Stream>,
    pub(crate) input: BytesMut,
    pub(crate) welcome: Welcome,
}

/// Why no connection could be made.
pub(crate) enum NoConnection {
    Final(Error),
    Forgotten,
}

impl Client {
    async fn run(self, source: &Path, volume: &str, clock: &Clock) -> Session {
        let refuse = |error| Session::Ended(Box::new(clock.refuse(&self.monitor, error)));
        if !fits_an_order(&self.options) {
            let text = "more patterns than a server takes: 4096, and 512 KiB in all".to_owned();
            return refuse(Error::Request(text));
        }
        let root = match Root::open(source) {
            Ok(root) => root,
            Err(error) => {
                let what = format!("the source {} cannot be read", source.display());
                return refuse(Error::Root {
                    what,
                    source: error,
                });
            }
        };
        let begin = Purpose::Begin {
            volume: volume.to_owned(),
            streams: self.options.streams,
            order: order(&self.options),
        };
        let mut tries = Tries::new(self.options.retries);
        let greeted = tokio::select! {
            greeted = self.connect(|| begin.clone(), &mut tries) => greeted,
            () = self.stop.wait() => return refuse(interrupted()),
        };
        match greeted {
            Ok(greeted) => self.session(root, greeted, clock).await,
            Err(NoConnection::Final(error)) => refuse(error),
            Err(NoConnection::Forgotten) => refuse(Error::Internal("a session lost".to_owned())),
        }
    }

    async fn session(self, root: Root, greeted: Greeted, clock: &Clock) -> Session {
        let welcome = &greeted.welcome;
        let streams: Vec<_> = (0..welcome.streams)
            .map(|_| SessionStream::new(welcome.window))
            .collect();
        let seed = Seed::new(welcome.seed);
        let sender = Sender::new(
            root,
            self.options.clone(),
            seed,
            welcome.list_window,
            streams.clone(),
            Arc::clone(&self.monitor),
        );
        let (sender, conductor) = match sender {
            Ok(sender) => sender,
            Err(error) => {
                return Session::Ended(Box::new(clock.refuse(&self.monitor, error)));
            }
        };
        let (session, secret) = (welcome.session, welcome.secret);
        let mut tasks = JoinSet::new();
        let mut first = Some(greeted);
        for (index, stream) in streams.iter().enumerate() {
            let keeper = Keeper {
                client: self.clone(),
                stream: Arc::clone(stream),
                sender: Arc::clone(&sender),
                session,
                secret,
                index: index as u8,
            };
            tasks.spawn(keeper.keep(first.take()));
        }
        let mut conducting = tokio::task::spawn_blocking(move || conductor.run());
        let ended = tokio::select! {
            ended = &mut conducting => ended,
            () = self.stop.wait() => {
                sender.stop(interrupted());
                conducting.await
            }
        };
        streams[1..].iter().for_each(|stream| stream.close());
        if ended.as_ref().is_ok_and(|end| end.last_words) {
            last_words(&streams).await;
        }
        streams.iter().for_each(|stream| stream.close());
        let mut forgotten = false;
        while let Some(task) = tasks.join_next().await {
            forgotten |= task.unwrap_or(false);
        }
        let _ = tokio::task::spawn_blocking(move || sender.join()).await;
        let end = match ended {
            Ok(end) => clock.end(&self.monitor, end),
            Err(panic) => clock.refuse(&self.monitor, Error::Internal(panic.to_string())),
        };
        let end = Box::new(end);
        if forgotten && matches!(end.error, Some(Error::Lost(_))) {
            Session::Forgotten(end)
        } else {
            Session::Ended(end)
        }
    }

    /// Dials and says hello, again and again while nothing but the weather is to blame.
    pub(crate) async fn connect(
        &self,
        purpose: impl Fn() -> Purpose,
        tries: &mut Tries,
    ) -> Result<Greeted, NoConnection> {
        loop {
            let error = match self.greet(purpose()).await {
                Ok(greeted) => return Ok(greeted),
                Err(Refused::Forgotten) => return Err(NoConnection::Forgotten),
                Err(Refused::Final(error)) => return Err(NoConnection::Final(error)),
                Err(Refused::Weather(text)) => text,
                // A begin whose answer was lost: the run in the way is our own, and will give way.
                Err(Refused::Busy(text)) if tries.failed > 0 => text,
                Err(Refused::Busy(text)) => return Err(NoConnection::Final(Error::Refused(text))),
            };
            tries.wait(&error).await?;
        }
    }

    async fn greet(&self, purpose: Purpose) -> Result<Greeted, Refused> {
        let mut connection = (self.route.dial)().await?;
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            window: WINDOW,
            purpose,
        };
        let mut input = BytesMut::new();
        let answer = async {
            let written = async {
                connection.write_all(&hello.encode().head).await?;
                connection.flush().await
            };
            // What the server has to say matters more than that it would not listen.
            let written = written.await;
            let read = bridge::read_frame(&mut connection, &mut input, HELLO_DEADLINE).await;
            read.map_err(|end| match (end, written) {
                (ConnectionEnd::Lost(read), _) => ConnectionEnd::Lost(read),
                (end, _) => end,
            })
        };
        let (tag, payload) = answer.await.map_err(|end| self.refused(end))?;
        match Answer::decode(tag, payload) {
            Ok(Answer::Welcome(welcome)) => Ok(Greeted {
                connection,
                input,
                welcome,
            }),
            Ok(Answer::Refused(refusal)) => Err(refusal.into()),
            Err(error) => Err(Refused::Final(error.into())),
        }
    }

    fn refused(&self, end: ConnectionEnd) -> Refused {
        match end {
            ConnectionEnd::Lost(error) => match (self.route.classify)(&error) {
                Some(final_) => final_.into(),
                None => Refused::Weather(format!("no answer from the server: {error}")),
            },
            ConnectionEnd::Protocol(error) => Refused::Final(error.into()),
            ConnectionEnd::Closed => Refused::Weather("the session is over".to_owned()),
        }
    }
}

/// Attempts in a row that brought nothing.
pub(crate) struct Tries {
    backoff: Backoff,
    failed: u32,
    allowed: u32,
}

impl Tries {
    pub(crate) fn new(allowed: u32) -> Self {
        Self {
            backoff: Backoff::new(FIRST_DELAY, MAX_DELAY),
            failed: 0,
            allowed,
        }
    }

    /// For who begins again: what is in the way may be his own former session.
    pub(crate) fn again(allowed: u32) -> Self {
        Self {
            failed: 1,
            ..Self::new(allowed)
        }
    }

    /// An attempt failed: waits before the next one, if there may be one.
    pub(crate) async fn wait(&mut self, error: &str) -> Result<(), NoConnection> {
        self.failed += 1;
        if self.failed > self.allowed {
            let text = format!("{error} (attempt {} of {0})", self.failed);
            return Err(NoConnection::Final(Error::Dial {
                text,
                fault: Fault::Weather,
            }));
        }
        let delay = self.backoff.next(random());
        let (attempt, delay_ms) = (self.failed, delay.as_millis() as u64);
        // One failure is a route's reload, or the end of a run that crosses our dialling.
        if attempt > 1 {
            tracing::warn!(attempt, delay_ms, %error, "no connection, dialing again");
        } else {
            tracing::debug!(attempt, delay_ms, %error, "no connection, dialing again");
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Why a server did not let us in.
enum Refused {
    Final(Error),
    Forgotten,
    Busy(String),
    Weather(String),
}

impl From<DialError> for Refused {
    fn from(error: DialError) -> Self {
        match error.fault {
            Fault::Weather => Self::Weather(error.text),
            fault => Self::Final(Error::Dial {
                text: error.text,
                fault,
            }),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            RefusalCode::UnknownSession => Self::Forgotten,
            RefusalCode::Draining => Self::Weather(refusal.text),
            RefusalCode::Version => Self::Final(Error::Version(refusal.text)),
            RefusalCode::Busy => Self::Busy(refusal.text),
            RefusalCode::UnknownVolume | RefusalCode::Unwritable => {
                Self::Final(Error::Refused(refusal.text))
            }
        }
    }
}

/// Keeps one stream connected.
struct Keeper {
    client: Client,
    stream: Arc<SessionStream>,
    sender: Arc<Sender>,
    session: u128,
    secret: u128,
    index: u8,
}

impl Keeper {
    /// Drives connection after connection until the session is over. Returns whether the server
    /// has forgotten it.
    async fn keep(self, first: Option<Greeted>) -> bool {
        let mut next = first;
        let mut tries = Tries::new(self.client.options.retries);
        loop {
            let greeted = match next.take() {
                Some(greeted) => Ok(greeted),
                None => tokio::select! {
                    greeted = self.client.connect(|| self.purpose(), &mut tries) => greeted,
                    () = self.stream.closed() => return false,
                },
            };
            let driven = match greeted {
                Ok(greeted) => self.drive_on(greeted, &mut tries).await,
                Err(no) => Err(no),
            };
            match driven {
                Ok(true) => {}
                Ok(false) => return false,
                Err(NoConnection::Final(error)) => {
                    self.sender.stop(error);
                    return false;
                }
                // It had said so; our question crossed its end.
                Err(NoConnection::Forgotten) if self.sender.is_over() => return false,
                Err(NoConnection::Forgotten) => {
                    self.sender
                        .stop(Error::Lost("the server has forgotten the session".into()));
                    return true;
                }
            }
        }
    }

    /// Drives one connection. Returns whether another one is needed; a connection that brought
    /// nothing counts as a failed attempt.
    async fn drive_on(&self, greeted: Greeted, tries: &mut Tries) -> Result<bool, NoConnection> {
        let (before, begun) = (self.stream.progress(), Instant::now());
        let error = match self.drive(greeted).await {
            ConnectionEnd::Closed => return Ok(false),
            ConnectionEnd::Protocol(error) => return Err(NoConnection::Final(error.into())),
            // The server hangs up when all has been said.
            ConnectionEnd::Lost(_) if self.sender.is_over() => return Ok(false),
            ConnectionEnd::Lost(error) => error,
        };
        tracing::debug!(stream = self.index, %error, "connection lost, dialing again");
        self.client.monitor.counters.reconnects.add(1);
        if self.stream.progress() > before || begun.elapsed() > GOOD_WHILE {
            *tries = Tries::new(self.client.options.retries);
            return Ok(true);
        }
        let error = error.to_string();
        tokio::select! {
            waited = tries.wait(&error) => waited.map(|()| true),
            () = self.stream.closed() => Ok(false),
        }
    }

    async fn drive(&self, greeted: Greeted) -> ConnectionEnd {
        if let Err(error) = self.stream.resume(greeted.welcome.received) {
            return ConnectionEnd::Protocol(error);
        }
        let counters = &self.client.monitor.counters;
        counters.connections.add(1);
        let (stall, monitor) = (self.client.options.stall_timeout, &self.client.monitor);
        let sink = self.sender.as_ref();
        let end = self
            .stream
            .drive(greeted.connection, greeted.input, sink, stall, monitor)
            .await;
        counters.connections.sub(1);
        end
    }

    fn purpose(&self) -> Purpose {
        Purpose::Join {
            session: self.session,
            secret: self.secret,
            stream: self.index,
            received: self.stream.received(),
        }
    }
}

/// Waits, for a while, until the peer has received the last message.
pub(crate) async fn last_words(streams: &[Arc<SessionStream>]) {
    let drained = async {
        while !streams[0].is_drained() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, drained).await;
}

fn order(options: &Options) -> Order {
    Order {
        delete: options.delete,
        max_delete: options.max_delete,
        checksum: options.checksum,
        whole_file: options.whole_file,
        inplace: options.inplace,
        dry_run: options.dry_run,
        itemize: options.itemize,
        hard_links: options.hard_links,
        owner: options.owner,
        xattrs: options.xattrs,
        acls: options.acls,
        selinux: options.selinux,
        excludes: options
            .filter
            .patterns()
            .map(Bytes::copy_from_slice)
            .collect(),
    }
}

/// Whether the patterns fit the one frame in which they are sent.
fn fits_an_order(options: &Options) -> bool {
    let patterns = options.filter.patterns();
    let bytes: usize = patterns.map(|pattern| pattern.len() + MAX_COUNT_LEN).sum();
    options.filter.patterns().count() <= MAX_PATTERNS && bytes <= MAX_PAYLOAD / 2
}

/// Bytes a varint length may take.
const MAX_COUNT_LEN: usize = 10;

pub(crate) fn interrupted() -> Error {
    Error::Interrupted("the client was told to stop".to_owned())
}

/// A random number from 0 to 1; the middle when the system has none to give.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

/// How long a server may take to answer a hello.
pub(crate) const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long the last message of a session may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A connection that was up for so long was good, even if nothing had to be said on it.
pub(crate) const GOOD_WHILE: Duration = Duration::from_secs(10);

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);
