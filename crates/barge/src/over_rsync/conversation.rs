//! A connection before its first multiplexed frame: handshakes talk here, with a deadline.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use super::agreed::Moved;
use super::outgoing::may_go_on;
use super::{Connection, Failure, Input};

/// Two sides that shake hands.
pub(crate) struct Conversation {
    connection: Connection,
    /// What came and is not taken yet: each stage of a handshake takes from its front.
    input: BytesMut,
    moved: Moved,
    deadline: Option<Deadline>,
    /// Seconds that one wait may take; 0: for ever.
    patience: u32,
}

/// When a handshake has taken too long, and what its end means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    failure: fn() -> Failure,
}

impl Deadline {
    /// `patience` from now.
    pub(crate) fn after(patience: Duration, failure: fn() -> Failure) -> Self {
        let at = Instant::now() + patience;
        Self { at, failure }
    }

    /// The rest of a deadline that began with the connection.
    pub(crate) fn left(self) -> Result<Duration, Failure> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err((self.failure)());
        }
        Ok(left)
    }
}

impl Conversation {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            input: BytesMut::new(),
            moved: Moved::default(),
            deadline: None,
            patience: 0,
        }
    }

    /// No wait may take longer than so many seconds: `--timeout`. 0: for ever.
    pub(crate) fn set_patience(&mut self, seconds: u32) {
        self.patience = seconds;
    }

    /// What follows must be through by then.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
    }

    /// Bytes that came so far.
    pub(crate) fn received(&self) -> u64 {
        self.moved.received
    }

    /// Sends all of `bytes`.
    pub(crate) fn say(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let patience = self.patience()?;
            let pieces = [IoSlice::new(bytes)];
            match self.connection.output.write(&pieces, patience) {
                Ok(0) => return Err(failed("write", io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.moved.sent += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if may_go_on(&error) => self.check(&error)?,
                Err(error) => return Err(failed("write", error)),
            }
        }
        Ok(())
    }

    /// Lets a machine take from what came until it has something.
    pub(crate) fn hear<T, E: Into<Failure>>(
        &mut self,
        mut poll: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
    ) -> Result<T, Failure> {
        loop {
            if let Some(value) = poll(&mut self.input).map_err(Into::into)? {
                return Ok(value);
            }
            self.wait()?;
        }
    }

    /// Lets a machine take from what has come already.
    pub(crate) fn try_hear<T, E: Into<Failure>>(
        &mut self,
        poll: impl FnOnce(&mut BytesMut) -> Result<T, E>,
    ) -> Result<T, Failure> {
        poll(&mut self.input).map_err(Into::into)
    }

    /// Waits until more has come.
    pub(crate) fn wait(&mut self) -> Result<(), Failure> {
        let filled = self.input.len();
        self.input.resize(filled + READ_SIZE, 0);
        let read = self.read(filled);
        self.input
            .truncate(filled + read.as_ref().copied().unwrap_or(0));
        match read? {
            0 => Err(Failure::Closed),
            count => {
                self.moved.received += count as u64;
                Ok(())
            }
        }
    }

    fn read(&mut self, filled: usize) -> Result<usize, Failure> {
        loop {
            let patience = self.patience()?;
            match self
                .connection
                .input
                .read(&mut self.input[filled..], patience)
            {
                Ok(count) => return Ok(count),
                Err(error) if may_go_on(&error) => self.check(&error)?,
                Err(error) => return Err(failed("read", error)),
            }
        }
    }

    /// How long a call may take: until the deadline, and never longer than one wait may.
    fn patience(&self) -> Result<Option<Duration>, Failure> {
        let left = self.deadline.map(Deadline::left).transpose()?;
        let wait = match self.patience {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        };
        Ok(left.into_iter().chain(wait).min())
    }

    /// A call that did not do anything: was that all the time there is?
    fn check(&self, error: &io::Error) -> Result<(), Failure> {
        if error.kind() != io::ErrorKind::TimedOut {
            return Ok(());
        }
        match self.deadline {
            Some(deadline) => deadline.left().map(drop),
            None => Err(Failure::TimedOut(self.patience)),
        }
    }

    /// Lets the peer read to the end, and waits until it closes: a connection that is closed with
    /// something unread is reset, and the last words with it.
    pub(crate) fn part(mut self, patience: Duration) {
        let limit = Deadline::after(patience, || Failure::Closed);
        self.set_deadline(Some(limit));
        if self.connection.output.close().is_err() {
            return;
        }
        while self.wait().is_ok() {
            self.input.clear();
        }
    }

    /// The connection as its roles take it over, and what moved so far.
    pub(crate) fn end(self) -> (Connection, Moved) {
        let Self {
            connection,
            input,
            mut moved,
            ..
        } = self;
        // Who reads it counts it.
        moved.received -= input.len() as u64;
        let Connection {
            input: rest,
            output,
        } = connection;
        let input = Box::new(Resumed {
            first: input.freeze(),
            rest,
        });
        (Connection { input, output }, moved)
    }
}

/// What was read already, and then the connection itself.
struct Resumed {
    first: Bytes,
    rest: Box<dyn Input>,
}

impl Input for Resumed {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        if self.first.is_empty() {
            return self.rest.read(buf, patience);
        }
        let count = buf.len().min(self.first.len());
        self.first.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}

fn failed(op: &'static str, source: io::Error) -> Failure {
    Failure::Connection { op, source }
}

/// Bytes of a handshake that are read at once.
const READ_SIZE: usize = 4096;

#[cfg(test)]
mod tests {
    use barge_rsync::session::greeting::take_line;

    use super::*;
    use crate::over_rsync::pipe;

    #[test]
    fn a_silent_peer_is_given_up_at_the_deadline() {
        let (here, _there) = pipe();
        let mut conversation = Conversation::new(here);
        let soon = Duration::from_millis(10);
        conversation.set_deadline(Some(Deadline::after(soon, || Failure::fatal(35, ""))));
        let end = conversation.hear(take_line).unwrap_err();
        assert_eq!(end.exit_code(), 35);
    }

    #[test]
    fn what_was_read_too_early_is_read_again_by_who_takes_over() {
        let (here, there) = pipe();
        let mut peer = Conversation::new(there);
        peer.say(b"line\nframe").unwrap();
        let mut conversation = Conversation::new(here);
        assert_eq!(conversation.hear(take_line).unwrap(), b"line");
        let (mut connection, moved) = conversation.end();
        assert_eq!(moved.received, 5);
        let mut buf = [0; 3];
        assert_eq!(connection.input.read(&mut buf, None).unwrap(), 3);
        assert_eq!(&buf, b"fra");
        assert_eq!(connection.input.read(&mut buf, None).unwrap(), 2);
    }
}
