//! What both sides do with a connection.

use std::io::{self, IoSlice};
use std::time::Duration;

use barge_blockrsync::{Greeting, WireError};
use bytes::BytesMut;

use super::Failure;
use crate::over_rsync::{Connection, Input, Output};

/// Who may be at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// A stock blockrsync too, which is silent for as long as it reads.
    Any,
    /// One of ours.
    Ours,
}

impl Peer {
    /// How long it may be silent before it has been told anything.
    pub(super) fn patience(self) -> Option<Duration> {
        match self {
            Self::Any => None,
            Self::Ours => Some(SILENCE),
        }
    }
}

/// How long a peer of ours may be silent, or not take what it is sent, when it is its turn. What it
/// may do meanwhile is write 1 GiB to its disk.
pub(super) const SILENCE: Duration = Duration::from_secs(600);

/// Says who we are and hears who the peer is; what came behind that is in the buffer.
///
/// A stock peer greets when it has read all it has: that can take hours.
pub(super) fn greet(
    line: &mut Connection,
    len: u64,
    peer: Peer,
) -> Result<(Greeting, BytesMut), Failure> {
    let mut came = BytesMut::new();
    let said = send(&mut *line.output, &Greeting::ours(len), Some(SILENCE));
    said.map_err(|_| Failure::Unused)?;
    loop {
        match Greeting::decode(&mut came) {
            Some(Greeting::Stock) if peer == Peer::Ours => return Err(WireError::Stranger.into()),
            Some(greeting) => return Ok((greeting, came)),
            None => {}
        }
        match receive(&mut *line.input, &mut came, peer.patience()) {
            Ok(1..) => {}
            _ if came.is_empty() => return Err(Failure::Unused),
            Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
            Err(failure) => return Err(failure),
        }
    }
}

/// Waits for bytes and adds them to `to`; 0 at the end.
pub(super) fn receive(
    input: &mut dyn Input,
    to: &mut BytesMut,
    patience: Option<Duration>,
) -> Result<usize, Failure> {
    let mut buffer = [0; 16 << 10];
    let count = input.read(&mut buffer, patience).map_err(Failure::Lost)?;
    to.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Sends all of `bytes`.
pub(super) fn send(
    output: &mut dyn Output,
    mut bytes: &[u8],
    patience: Option<Duration>,
) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let pieces = [IoSlice::new(bytes)];
        let count = output.write(&pieces, patience).map_err(Failure::Lost)?;
        bytes = &bytes[count..];
    }
    Ok(())
}
