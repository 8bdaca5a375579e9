//! A stream after its hello, as a connection of the engine's.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::monitor::Monitor;
use crate::over_native::Stream;
use crate::over_rsync::{Connection, Input, Output, seam};
use crate::stop::Stop;

/// The connection over `stream`, of which `read` has been read past the hello. Its bytes are counted. Must
/// be called within the runtime.
pub(super) fn blocking(
    stream: impl Stream,
    read: BytesMut,
    stop: &Stop,
    monitor: &Arc<Monitor>,
) -> Connection {
    let Connection { input, output } = seam::blocking(stream, stop);
    Connection {
        input: Box::new(Reads {
            read,
            input,
            monitor: Arc::clone(monitor),
        }),
        output: Box::new(Writes {
            output,
            monitor: Arc::clone(monitor),
        }),
    }
}

struct Reads {
    /// Comes first.
    read: BytesMut,
    input: Box<dyn Input>,
    monitor: Arc<Monitor>,
}

impl Input for Reads {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        let count = match self.read.len().min(buf.len()) {
            0 => self.input.read(buf, patience)?,
            count => {
                self.read.copy_to_slice(&mut buf[..count]);
                count
            }
        };
        self.monitor.counters.wire_bytes.add(count as u64);
        Ok(count)
    }
}

struct Writes {
    output: Box<dyn Output>,
    monitor: Arc<Monitor>,
}

impl Output for Writes {
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize> {
        let count = self.output.write(pieces, patience)?;
        self.monitor.counters.wire_bytes.add(count as u64);
        Ok(count)
    }

    fn close(&mut self) -> io::Result<()> {
        self.output.close()
    }
}
