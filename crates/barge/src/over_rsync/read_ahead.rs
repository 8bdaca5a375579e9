//! Takes what the peer sends as it comes, so that it never waits for us to write.
//!
//! The sending side writes much and reads little: its peer may be blocked in a write while we are
//! blocked in one of ours, and neither would go on. A thread of its own takes what comes, up to
//! [`MOST`] bytes; and the side can wait for that and for something of its own at a time.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Input;
use super::outgoing::may_go_on;

/// Bytes that are kept for a side that does not read: far more than the requests of an honest
/// peer that waits for its answers.
const MOST: usize = (8 << 20) - PIECE;

/// Rings when something has come that a side may wait for, from whichever thread.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung() += 1;
        self.heard.notify_all();
    }

    /// Waits until `check` has something, which is asked again whenever the bell has rung; `None`
    /// when nothing came within `patience`.
    pub(crate) fn wait_for<T>(
        &self,
        patience: Option<Duration>,
        mut check: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            let before = *self.rung();
            if let Some(found) = check() {
                return Some(found);
            }
            let mut rung = self.rung();
            while *rung == before {
                let Some(deadline) = deadline else {
                    rung = self
                        .heard
                        .wait(rung)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                let waited = self.heard.wait_timeout(rung, left);
                rung = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn rung(&self) -> MutexGuard<'_, u64> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end: an [`Input`] of what has been taken. Dropping it ends the thread.
pub(crate) struct ReadAhead {
    shared: Arc<Shared>,
}

struct Shared {
    bell: Arc<Bell>,
    state: Mutex<State>,
    /// Signalled when there is room again, or nobody reads any more.
    room: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Nothing more will come: the stream ended, or the error it ended with.
    ended: Option<Option<io::Error>>,
    abandoned: bool,
}

impl ReadAhead {
    /// Starts to read. The bell rings when something has come.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn start(input: Box<dyn Input>, bell: Arc<Bell>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            bell,
            state: Mutex::default(),
            room: Condvar::new(),
        });
        let reader = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("rsync read".to_owned())
            .spawn(move || reader.run(input))?;
        Ok(Self { shared })
    }

    /// A look at whether a read would not wait.
    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }
}

impl Input for ReadAhead {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        let shared = &self.shared;
        let ready = || shared.is_ready().then_some(());
        if shared.bell.wait_for(patience, ready).is_none() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut state = shared.state();
        if state.bytes.is_empty() {
            let error = state.ended.as_mut().and_then(Option::take);
            return error.map_or(Ok(0), Err);
        }
        shared.room.notify_one();
        state.bytes.read(buf)
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.state().abandoned = true;
        self.shared.room.notify_one();
    }
}

/// Tells whether something has come, the end included.
pub(crate) struct Watch(Arc<Shared>);

impl Watch {
    pub(crate) fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
}

impl Shared {
    fn run(&self, mut input: Box<dyn Input>) {
        let mut piece = vec![0; PIECE];
        loop {
            let read = input.read(&mut piece, Some(LOOK_UP));
            let mut state = self.state();
            if state.abandoned {
                return;
            }
            match read {
                Ok(0) => state.ended = Some(None),
                Ok(count) => state.bytes.extend(&piece[..count]),
                Err(error) if may_go_on(&error) => continue,
                Err(error) => state.ended = Some(Some(error)),
            }
            let ended = state.ended.is_some();
            drop(state);
            self.bell.ring();
            if ended {
                return;
            }
            self.wait_for_room();
        }
    }

    fn wait_for_room(&self) {
        let mut state = self.state();
        while state.bytes.len() >= MOST && !state.abandoned {
            let waited = self.room.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_ready(&self) -> bool {
        let state = self.state();
        !state.bytes.is_empty() || state.ended.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of one read.
const PIECE: usize = 64 << 10;

/// How often the thread looks whether anybody still wants what comes.
const LOOK_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Gives what a channel brings; its end when that closes.
    struct Fed(mpsc::Receiver<Vec<u8>>);

    impl Input for Fed {
        fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
            match self.0.recv_timeout(patience.unwrap_or(Duration::MAX)) {
                Ok(bytes) => {
                    buf[..bytes.len()].copy_from_slice(&bytes);
                    Ok(bytes.len())
                }
                Err(mpsc::RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
                Err(mpsc::RecvTimeoutError::Disconnected) => Ok(0),
            }
        }
    }

    #[test]
    fn what_comes_is_taken_before_anybody_reads_and_read_in_order() {
        let (feed, fed) = mpsc::sync_channel(0);
        let bell = Arc::new(Bell::default());
        let mut ahead = ReadAhead::start(Box::new(Fed(fed)), Arc::clone(&bell)).unwrap();
        let watch = ahead.watch();
        let mut buf = [0; 4];
        let nothing = ahead.read(&mut buf, Some(Duration::from_millis(5)));
        assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(!watch.is_ready());
        for piece in [&b"abc"[..], b"def"] {
            feed.send(piece.to_vec()).unwrap(); // returns when it has been taken
        }
        drop(feed);
        let mut all = Vec::new();
        loop {
            let count = ahead.read(&mut buf, None).unwrap();
            if count == 0 {
                break;
            }
            all.extend_from_slice(&buf[..count]);
        }
        assert_eq!(all, b"abcdef");
        assert!(watch.is_ready());
    }

    #[test]
    fn side_waits_for_what_comes_and_for_something_of_its_own_at_a_time() {
        let (feed, fed) = mpsc::sync_channel(0);
        let bell = Arc::new(Bell::default());
        let ahead = ReadAhead::start(Box::new(Fed(fed)), Arc::clone(&bell)).unwrap();
        let watch = ahead.watch();
        let own = Mutex::new(false);
        let check = || match (watch.is_ready(), *own.lock().unwrap()) {
            (false, false) => None,
            both => Some(both),
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| bell.wait_for(None, check));
            *own.lock().unwrap() = true;
            bell.ring();
            assert_eq!(waiting.join().unwrap(), Some((false, true)));
            *own.lock().unwrap() = false;
            let waiting = scope.spawn(|| bell.wait_for(None, check));
            feed.send(b"x".to_vec()).unwrap();
            assert_eq!(waiting.join().unwrap(), Some((true, false)));
        });
    }
}
