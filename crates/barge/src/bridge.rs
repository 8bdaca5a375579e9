//! The one seam between awaiting and blocking.
//!
//! Above a [`SessionStream`] tasks await sockets; below it threads block on files. Threads push
//! frames, and wait while the peer's window is full; a task drives whatever connection the stream
//! has at the time. What arrives is handed to the party's [`Sink`], which never blocks.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use barge_native::{Content, Control, Delivery, Frame, Lane, Link, ProtocolError, Received, frame};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use crate::monitor::Monitor;

/// Bytes of data that may wait at this side, a stream: enough for 10 Gbit/s over 6 ms a stream.
pub(crate) const WINDOW: u32 = 8 << 20;

/// Bytes of the control lane that may wait for the peer's word that it has received them, a stream.
/// An honest peer gives it five times a second.
const CONTROL_KEPT: u64 = 16 << 20;

/// What one read may bring in: few system calls, and a literal frame fits.
const READ_SIZE: usize = 256 << 10;

/// Small frames are gathered up to so much before they are written.
const WRITE_SIZE: usize = 256 << 10;

/// Bodies from this size on are written without being copied.
const BODY_IN_PLACE: usize = 16 << 10;

/// How often a quiet connection is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How long a closed stream's connection may take what is left to write.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Takes what arrives on a stream. Called by the task that reads the connection: must not block.
pub(crate) trait Sink: Send + Sync {
    /// Takes one message; its credit is dropped when it has been dealt with.
    fn deliver(&self, message: Incoming) -> Result<(), ProtocolError>;
}

/// A message, and the window it occupies until `credit` is dropped.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) tag: frame::Tag,
    pub(crate) payload: Bytes,
    pub(crate) credit: Credit,
}

/// A share of a stream's window; dropping it lets the peer send as much again.
#[derive(Debug)]
pub(crate) struct Credit {
    stream: Arc<SessionStream>,
    lane: Lane,
    weight: u64,
}

impl Credit {
    /// Whether the message came on `stream`.
    pub(crate) fn is_of(&self, stream: &Arc<SessionStream>) -> bool {
        Arc::ptr_eq(&self.stream, stream)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.stream.lock().consumed(self.lane, self.weight);
        self.stream.wake.notify_one();
    }
}

/// The session is over; nothing can be sent any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum ConnectionEnd {
    /// The connection failed or was closed by the other side.
    Lost(io::Error),
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// The session is over.
    Closed,
}

/// One of a session's streams: what threads push and tasks transmit.
#[derive(Debug)]
pub(crate) struct SessionStream {
    link: Mutex<Link>,
    /// Signalled when the window may have room again or the peer has received something, or the
    /// stream closes.
    room: Condvar,
    /// Signalled when there may be something to transmit, or the stream closes.
    wake: Notify,
    closed: AtomicBool,
}

impl SessionStream {
    pub(crate) fn new(peer_window: u32) -> Arc<Self> {
        let link = Link::new(WINDOW.into(), peer_window.into(), Instant::now());
        Arc::new(Self {
            link: Mutex::new(link),
            room: Condvar::new(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Sends a message of the control lane, at once or on the next connection.
    pub(crate) fn send_control(&self, message: &Control) {
        self.push(Lane::Control, message.encode());
    }

    /// As [`Self::send_control`], for a frame that is already made.
    pub(crate) fn push_control(&self, frame: Frame) {
        self.push(Lane::Control, frame);
    }

    /// Sends a message of the data lane. Blocks the calling thread while the window is full.
    pub(crate) fn send(&self, message: &Content) -> Result<(), Closed> {
        self.send_frame(message.encode())
    }

    /// As [`Self::send`], for a frame that is already made.
    pub(crate) fn send_frame(&self, frame: Frame) -> Result<(), Closed> {
        let mut link = self.lock();
        while !link.has_room() && !self.is_closed() {
            link = self.room.wait(link).unwrap_or_else(PoisonError::into_inner);
        }
        if self.is_closed() {
            return Err(Closed);
        }
        link.push(Lane::Data, frame);
        drop(link);
        self.wake.notify_one();
        Ok(())
    }

    /// Blocks the calling thread while the peer owes word that it has received what was sent on the
    /// control lane. For threads that may send much there: what is not received is kept.
    pub(crate) fn await_word(&self) {
        let mut link = self.lock();
        while link.kept_bytes(Lane::Control) > CONTROL_KEPT && !self.is_closed() {
            link = self.room.wait(link).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Bytes of data the peer has not consumed.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.lock().waiting_bytes()
    }

    /// What has been received: for the hello of the next connection.
    pub(crate) fn received(&self) -> Received {
        self.lock().received()
    }

    /// Grows with every message that arrives at either end.
    pub(crate) fn progress(&self) -> u64 {
        self.lock().progress()
    }

    /// Prepares for a new connection, on which the peer has said what it has received.
    pub(crate) fn resume(&self, peer_received: Received) -> Result<(), ProtocolError> {
        self.lock().resume(peer_received, Instant::now())?;
        self.room.notify_all();
        Ok(())
    }

    /// Whether the peer has received every message of the control lane.
    pub(crate) fn is_drained(&self) -> bool {
        self.lock().is_drained(Lane::Control)
    }

    /// Ends the stream: threads that wait are let go, its connection ends.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.lock());
        self.room.notify_all();
        self.wake.notify_one();
    }

    /// Waits until the stream has been closed for longer than its last words may take.
    async fn overdue(&self) {
        self.closed().await;
        tokio::time::sleep(LAST_WRITE).await;
    }

    /// Waits until the stream is closed.
    pub(crate) async fn closed(&self) {
        while !self.is_closed() {
            tokio::time::sleep(TICK).await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Moves messages over one connection until it ends. `input` is what was read of it already.
    pub(crate) async fn drive<S>(
        self: &Arc<Self>,
        connection: S,
        input: BytesMut,
        sink: &dyn Sink,
        stall: Duration,
        monitor: &Monitor,
    ) -> ConnectionEnd
    where
        S: AsyncRead + AsyncWrite,
    {
        let (reader, writer) = tokio::io::split(connection);
        let end = tokio::select! {
            end = self.read(reader, input, sink, monitor) => end,
            end = self.write(writer, stall, monitor) => end,
            () = self.overdue() => Err(ConnectionEnd::Closed),
        };
        match end {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn read<S: AsyncRead>(
        self: &Arc<Self>,
        mut reader: ReadHalf<S>,
        mut input: BytesMut,
        sink: &dyn Sink,
        monitor: &Monitor,
    ) -> Result<std::convert::Infallible, ConnectionEnd> {
        loop {
            while let Some((tag, payload)) = frame::decode(&mut input)? {
                self.hand_over(tag, payload, sink)?;
            }
            let missing = frame::missing(&input)?;
            if input.capacity() - input.len() < missing.max(READ_SIZE / 4) {
                input.reserve(missing.max(READ_SIZE));
            }
            match reader.read_buf(&mut input).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                len => monitor.counters.wire_bytes.add(len as u64),
            }
        }
    }

    fn hand_over(
        self: &Arc<Self>,
        tag: frame::Tag,
        payload: Bytes,
        sink: &dyn Sink,
    ) -> Result<(), ProtocolError> {
        let delivery = self.lock().handle_frame(tag, payload, Instant::now())?;
        self.room.notify_all();
        let Some(Delivery {
            tag,
            payload,
            weight,
        }) = delivery
        else {
            return Ok(());
        };
        let lane = tag.lane().ok_or(ProtocolError::Order("a message"))?;
        let credit = Credit {
            stream: Arc::clone(self),
            lane,
            weight,
        };
        sink.deliver(Incoming {
            tag,
            payload,
            credit,
        })
    }

    async fn write<S: AsyncWrite>(
        &self,
        mut writer: WriteHalf<S>,
        stall: Duration,
        monitor: &Monitor,
    ) -> Result<std::convert::Infallible, ConnectionEnd> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Some(batch) = self.gather() {
                monitor.counters.wire_bytes.add(batch.remaining() as u64);
                let mut batch = batch;
                let write = async {
                    writer.write_all_buf(&mut batch).await?;
                    writer.flush().await
                };
                // A peer that stops reading is as lost as one that stops writing.
                tokio::time::timeout(stall, write)
                    .await
                    .map_err(|_| stalled(stall))??;
            }
            if self.is_closed() {
                // The last words are out; the peer reads to the end.
                let _ = writer.shutdown().await;
                return Err(ConnectionEnd::Closed);
            }
            tokio::select! {
                () = self.wake.notified() => {}
                _ = tick.tick() => self.tick(&mut writer, stall).await?,
            }
        }
    }

    async fn tick<S: AsyncWrite>(
        &self,
        writer: &mut WriteHalf<S>,
        stall: Duration,
    ) -> Result<(), ConnectionEnd> {
        let now = Instant::now();
        let (silence, frame) = {
            let mut link = self.lock();
            (link.silence(now), link.poll_tick(now))
        };
        if silence > stall {
            return Err(stalled(stall));
        }
        if let Some(frame) = frame {
            let write = async {
                writer.write_all(&frame.head).await?;
                writer.flush().await
            };
            tokio::time::timeout(stall, write)
                .await
                .map_err(|_| stalled(stall))??;
        }
        Ok(())
    }

    /// The next frames to write: small ones copied together, the last one's body as it is.
    fn gather(&self) -> Option<bytes::buf::Chain<Bytes, Bytes>> {
        let now = Instant::now();
        let mut batch = BytesMut::new();
        let mut link = self.lock();
        while batch.len() < WRITE_SIZE {
            let Some(frame) = link.poll_transmit(now) else {
                break;
            };
            batch.extend_from_slice(&frame.head);
            if frame.body.len() >= BODY_IN_PLACE {
                return Some(batch.freeze().chain(frame.body));
            }
            batch.extend_from_slice(&frame.body);
        }
        (!batch.is_empty()).then(|| batch.freeze().chain(Bytes::new()))
    }

    fn push(&self, lane: Lane, frame: Frame) {
        self.lock().push(lane, frame);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stalled(stall: Duration) -> ConnectionEnd {
    let text = format!("nothing moved for {} seconds", stall.as_secs());
    ConnectionEnd::Lost(io::Error::new(io::ErrorKind::TimedOut, text))
}

impl From<io::Error> for ConnectionEnd {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<ProtocolError> for ConnectionEnd {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// Reads one frame of a new connection, within `deadline`; what follows it stays in `input`.
pub(crate) async fn read_frame<S: AsyncRead + Unpin>(
    connection: &mut S,
    input: &mut BytesMut,
    deadline: Duration,
) -> Result<(frame::Tag, Bytes), ConnectionEnd> {
    let read = async {
        loop {
            if let Some(frame) = frame::decode(input)? {
                return Ok(frame);
            }
            if connection.read_buf(input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    };
    tokio::time::timeout(deadline, read)
        .await
        .map_err(|_| stalled(deadline))?
}
