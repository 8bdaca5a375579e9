//! A connection within one process: the two sides of a local copy.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Connection, Input, Output};

/// The two ends of a connection.
pub fn pipe() -> (Connection, Connection) {
    let (here, there) = (half(), half());
    let connection = |from: Arc<Half>, to| Connection {
        input: Box::new(Reads(from)),
        output: Box::new(Writes(to)),
    };
    (
        connection(Arc::clone(&here), Arc::clone(&there)),
        connection(there, here),
    )
}

/// One direction.
struct Half {
    state: Mutex<State>,
    /// Signalled when something moved or an end went.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Nothing more will be written.
    ended: bool,
    /// Nobody will read.
    deaf: bool,
}

fn half() -> Arc<Half> {
    Arc::new(Half {
        state: Mutex::default(),
        moved: Condvar::new(),
    })
}

impl Half {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_ready`.
    fn wait(
        &self,
        patience: Option<Duration>,
        is_ready: impl Fn(&State) -> bool,
    ) -> io::Result<MutexGuard<'_, State>> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state();
        while !is_ready(&state) {
            state = match deadline {
                None => self
                    .moved
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let waited = self.moved.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Ok(state)
    }

    fn end(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state());
        self.moved.notify_all();
    }
}

struct Reads(Arc<Half>);

impl Input for Reads {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        let mut state = self
            .0
            .wait(patience, |state| state.ended || !state.bytes.is_empty())?;
        let count = io::Read::read(&mut state.bytes, buf)?;
        drop(state);
        self.0.moved.notify_all();
        Ok(count)
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.0.end(|state| state.deaf = true);
    }
}

struct Writes(Arc<Half>);

impl Output for Writes {
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize> {
        let mut state = self
            .0
            .wait(patience, |state| state.deaf || state.bytes.len() < ROOM)?;
        if state.deaf || state.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = state.bytes.len();
        for piece in pieces {
            let room = ROOM - state.bytes.len();
            state.bytes.extend(&piece[..piece.len().min(room)]);
        }
        let count = state.bytes.len() - before;
        drop(state);
        self.0.moved.notify_all();
        Ok(count)
    }

    fn close(&mut self) -> io::Result<()> {
        self.0.end(|state| state.ended = true);
        Ok(())
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.0.end(|state| state.ended = true);
    }
}

/// Bytes on their way in one direction at most.
const ROOM: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_written_is_read_in_order_and_then_the_end() {
        let (mut here, mut there) = pipe();
        let bytes: Vec<u8> = (0..3 * ROOM).map(|i| (i % 251) as u8).collect();
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let (a, b) = rest.split_at(rest.len() / 2);
                let pieces = [IoSlice::new(a), IoSlice::new(b)];
                let count = here.output.write(&pieces, None).unwrap();
                rest = &rest[count..];
            }
            here.output.close().unwrap();
            here
        });
        let (mut read, mut buf) = (Vec::new(), [0; 10_000]);
        loop {
            match there.input.read(&mut buf, None).unwrap() {
                0 => break,
                count => read.extend_from_slice(&buf[..count]),
            }
        }
        assert!(read == bytes);
        drop(writer.join().unwrap());
        let pieces = [IoSlice::new(b"late")];
        let error = there.output.write(&pieces, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_wait_ends_with_its_patience() {
        let (mut here, _there) = pipe();
        let short = Some(Duration::from_millis(5));
        let error = here.input.read(&mut [0], short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let full = vec![0; ROOM];
        let pieces = [IoSlice::new(&full)];
        assert_eq!(here.output.write(&pieces, short).unwrap(), ROOM);
        let error = here.output.write(&pieces, short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
