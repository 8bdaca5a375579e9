//! A stream that tasks await, as a connection that threads block on.
//!
//! Bytes go from the stream into the caller's buffer and back, with nothing in between.

use std::io::{self, IoSlice};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::{Connection, Input, Output};
use crate::over_native::Stream;
use crate::stop::Stop;

/// The connection over `stream`, which ends as if it were cut when `stop` says so. For threads, and
/// never for the tasks of the runtime, in which it must be called.
pub(crate) fn blocking(stream: impl Stream, stop: &Stop) -> Connection {
    let (reader, writer) = tokio::io::split(stream);
    let runtime = Handle::current();
    Connection {
        input: Box::new(Reads {
            reader,
            runtime: runtime.clone(),
            stop: stop.clone(),
        }),
        output: Box::new(Writes {
            writer,
            runtime,
            stop: stop.clone(),
        }),
    }
}

struct Reads<S> {
    reader: ReadHalf<S>,
    runtime: Handle,
    stop: Stop,
}

impl<S: Stream> Input for Reads<S> {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        let read = async {
            tokio::select! {
                read = self.reader.read(buf) => read,
                () = self.stop.wait() => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        };
        match self.runtime.block_on(within(patience, read)) {
            // TLS was not closed as it should be: what was said is what counts.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }
}

struct Writes<S> {
    writer: WriteHalf<S>,
    runtime: Handle,
    stop: Stop,
}

impl<S: Stream> Output for Writes<S> {
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize> {
        let Self { writer, stop, .. } = self;
        let write = async {
            tokio::select! {
                written = writer.write_vectored(pieces) => written,
                () = stop.wait() => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        };
        let count = self.runtime.block_on(within(patience, write))?;
        // What TLS holds has been taken; where it cannot leave yet, it leaves with the next.
        let flush = within(patience, self.writer.flush());
        match self.runtime.block_on(flush) {
            Err(error) if error.kind() != io::ErrorKind::TimedOut => Err(error),
            _ => Ok(count),
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let shutdown = within(Some(LAST_WRITE), self.writer.shutdown());
        self.runtime.block_on(shutdown)
    }
}

async fn within<T>(
    patience: Option<Duration>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match patience {
        None => work.await,
        Some(patience) => timeout(patience, work)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    }
}

/// How long what is left to write may take to leave.
const LAST_WRITE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_both_ways_and_waits_end() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let (here, there) = tokio::io::duplex(1 << 16);
        let stop = Stop::new();
        let (mut here, mut there) = (blocking(here, &stop), blocking(there, &Stop::new()));
        let pieces = [IoSlice::new(b"abc"), IoSlice::new(b"de")];
        let count = here.output.write(&pieces, None).unwrap();
        let mut buf = [0; 8];
        assert_eq!(there.input.read(&mut buf, None).unwrap(), count);
        let short = Some(Duration::from_millis(5));
        let error = there.input.read(&mut buf, short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        there.output.close().unwrap();
        assert_eq!(here.input.read(&mut buf, None).unwrap(), 0);
        stop.stop();
        let error = here
            .output
            .write(&pieces, None)
            .map(|_| here.input.read(&mut buf, None));
        assert!(matches!(error, Err(_) | Ok(Ok(0) | Err(_))));
    }
}
