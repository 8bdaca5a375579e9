//! The server: devices, and the connections that come for their parts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use barge_fs::Disk;
use barge_native::{Answer, DeviceCall, DeviceStep, GiveUp, Refusal, RefusalCode};
use barge_types::Class;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::line;
use super::run::{Phase, Run, Seat, Short, refusal};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::over_native::Stream;
use crate::run::{Clock, RunEnd};
use crate::server::{GOODBYE_GRACE, GRACE, LOOK, draining, refuse};

/// A block device or raw image that clients may write.
#[derive(Debug)]
pub(crate) struct Device {
    name: String,
    path: PathBuf,
    /// Whoever begins or ends a run on it holds this.
    active: AsyncMutex<Option<Arc<Run>>>,
    monitor: Arc<Monitor>,
    /// Where the ends of runs are told, with the name.
    ended: mpsc::UnboundedSender<(String, RunEnd)>,
}

impl Device {
    /// The one at `path`; an image need not be there yet.
    ///
    /// # Errors
    ///
    /// [`Error::Root`] when it could not be written.
    pub(crate) fn new(
        name: String,
        path: PathBuf,
        monitor: Arc<Monitor>,
        ended: mpsc::UnboundedSender<(String, RunEnd)>,
    ) -> Result<Arc<Self>, Error> {
        Disk::expect_to_write(&path).map_err(|source| Error::Root {
            what: format!("the device {} cannot be written", path.display()),
            source,
        })?;
        Ok(Arc::new(Self {
            name,
            path,
            active: AsyncMutex::new(None),
            monitor,
            ended,
        }))
    }

    /// Serves a connection that has said what it is for, until it ends. `input` came behind that.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        mut connection: impl Stream,
        input: BytesMut,
        call: &DeviceCall,
        is_draining: &AtomicBool,
    ) {
        let seat = match self.admit(call, is_draining).await {
            Ok(seat) => seat,
            Err(refusal) => return refuse(connection, refusal).await,
        };
        let run = Arc::downgrade(seat.run());
        let frame = Answer::Welcome(seat.run().welcome()).encode();
        let answered = async {
            connection.write_all(&frame.head).await?;
            connection.flush().await
        };
        if answered.await.is_err() {
            return;
        }
        let monitor = Arc::clone(&self.monitor);
        let work = move || {
            let connections = &monitor.counters.connections;
            connections.add(1);
            let is_over = seat.serve(|stop| line::blocking(connection, input, stop, &monitor));
            connections.sub(1);
            is_over
        };
        if tokio::task::spawn_blocking(work).await.unwrap_or(false) {
            self.end(&run, not_back()).await;
        }
    }

    /// Gives a connection its place in the run it belongs to; the first one of a session begins that.
    ///
    /// # Errors
    ///
    /// What the client is told. A run that is about to end is waited for.
    async fn admit(
        self: &Arc<Self>,
        call: &DeviceCall,
        is_draining: &AtomicBool,
    ) -> Result<Seat, Refusal> {
        let begun = Instant::now();
        loop {
            match self.try_admit(call, is_draining).await {
                Err(refusal) if refusal.code == RefusalCode::Busy && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK_AT_BUSY).await;
                }
                result => return result,
            }
        }
    }

    async fn try_admit(
        self: &Arc<Self>,
        call: &DeviceCall,
        is_draining: &AtomicBool,
    ) -> Result<Seat, Refusal> {
        let mut active = self.active.lock().await;
        if is_draining.load(Ordering::Acquire) {
            return Err(draining());
        }
        if let Some(run) = active.as_ref() {
            if run.is_of(call) {
                return run.seat(call.step);
            }
            if run.is_connected() {
                let text = format!("another run is writing the device {:?}", self.name);
                return Err(refusal(RefusalCode::Busy, text));
            }
        }
        // Of an empty source there is nothing but its end.
        if matches!(call.step, DeviceStep::End { .. }) && call.size > 0 {
            return Err(unknown_session());
        }
        // The client of the run before is gone, and here is its successor.
        if let Some(before) = active.take()
            && (before.phase() == Phase::Finished || before.has_failed())
        {
            self.report(&before, not_back());
        }
        let run = self.begin(call).await?;
        let seat = run.seat(call.step)?;
        tokio::spawn(Arc::clone(self).watch(Arc::downgrade(&run)));
        *active = Some(run);
        Ok(seat)
    }

    async fn begin(&self, call: &DeviceCall) -> Result<Arc<Run>, Refusal> {
        let (path, call) = (self.path.clone(), call.clone());
        let clock = Clock::start(&self.monitor);
        let opened = tokio::task::spawn_blocking(move || Run::open(path, &call, clock)).await;
        let opened = opened.map_err(|panic| refusal(RefusalCode::Unwritable, panic.to_string()))?;
        Ok(Arc::new(opened?))
    }

    /// Ends a run whose client does not come back. Does not keep the device open for that.
    async fn watch(self: Arc<Self>, run: Weak<Run>) {
        let mut connected = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let mut active = self.active.lock().await;
            let Some(run) = run.upgrade() else { return };
            if !is_the_same(active.as_ref(), &run) {
                return;
            }
            if run.is_connected() {
                connected = Instant::now();
                continue;
            }
            let patience = match (run.has_failed(), run.phase()) {
                (true, _) => Duration::ZERO,
                (false, Phase::Finished) => GOODBYE_GRACE,
                (false, Phase::Parts | Phase::Ending) => GRACE,
            };
            if connected.elapsed() >= patience {
                *active = None;
                self.report(&run, not_back());
                return;
            }
        }
    }

    /// Ends a run, if nobody else has.
    async fn end(&self, run: &Weak<Run>, short: Short) {
        let mut active = self.active.lock().await;
        if let Some(run) = run.upgrade()
            && is_the_same(active.as_ref(), &run)
        {
            *active = None;
            self.report(&run, short);
        }
    }

    /// Answers a client that will not go on, and ends its run.
    pub(crate) async fn give_up(&self, mut connection: impl Stream, session: u128, why: GiveUp) {
        let run = {
            let active = self.active.lock().await;
            let run = active.as_ref().filter(|run| run.has_session(session));
            run.cloned()
        };
        let Some(run) = run else {
            return refuse(connection, unknown_session()).await;
        };
        let frame = Answer::Welcome(run.welcome()).encode();
        let _ = connection.write_all(&frame.head).await;
        let _ = connection.shutdown().await;
        let short = match why {
            GiveUp::Changed => Short::Source(Class::Changed),
            GiveUp::Unreadable => Short::Source(Class::Io),
            GiveUp::Interrupted => {
                let text = "the client was told to stop".to_owned();
                Short::Error(Error::Interrupted(text))
            }
            GiveUp::Failed => {
                let text = "the client cannot go on".to_owned();
                Short::Error(Error::Aborted(text))
            }
        };
        let run = Arc::downgrade(&run);
        self.break_off(&run, short).await;
    }

    /// Ends the run that is on, if there is one, and returns when nothing of it is left.
    pub(crate) async fn interrupt(&self) {
        let run = self.active.lock().await.as_ref().map(Arc::downgrade);
        if let Some(run) = run {
            let text = "the server was told to stop".to_owned();
            let short = Short::Error(Error::Interrupted(text));
            self.break_off(&run, short).await;
        }
    }

    /// Ends a run before its time, when its connections have ended.
    async fn break_off(&self, run: &Weak<Run>, short: Short) {
        if let Some(run) = run.upgrade() {
            run.stop();
        }
        while run.upgrade().is_some_and(|run| run.is_connected()) {
            tokio::time::sleep(LOOK_AT_BUSY).await;
        }
        self.end(run, short).await;
    }

    /// Tells the end of a run, which is `short` unless it came to its own.
    fn report(&self, run: &Run, short: Short) {
        let end = run.end(short, &self.monitor);
        let _ = self.ended.send((self.name.clone(), end));
    }
}

fn unknown_session() -> Refusal {
    let text = "the session has ended, or the server was restarted".to_owned();
    refusal(RefusalCode::UnknownSession, text)
}

fn is_the_same(active: Option<&Arc<Run>>, run: &Arc<Run>) -> bool {
    active.is_some_and(|active| Arc::ptr_eq(active, run))
}

fn not_back() -> Short {
    Short::Error(Error::Lost("the client did not come back".to_owned()))
}

/// How long a client waits for another run to end, less than it waits for an answer, and how often is
/// looked whether it has.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AT_BUSY: Duration = Duration::from_millis(20);
