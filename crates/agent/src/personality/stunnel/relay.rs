//! Carries bytes between a plain and a TLS connection, until both are at their ends.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use barge_net::TunnelStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::conf::Timeouts;

/// How a connection ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Bytes that went to the TLS peer.
    pub(super) to_tls: u64,
    /// Bytes that came from there.
    pub(super) to_plain: u64,
    pub(super) error: Option<String>,
}

/// Carries everything. With `reset`, both peers see a reset when something went wrong: an end that
/// was not announced must not look like one that was.
pub(super) async fn carry(
    mut plain: TcpStream,
    mut tls: TunnelStream,
    timeouts: &Timeouts,
    reset: bool,
) -> Ended {
    let (to_tls, to_plain) = (AtomicU64::new(0), AtomicU64::new(0));
    let moved = || to_tls.load(Ordering::Relaxed) + to_plain.load(Ordering::Relaxed);
    let carried = {
        let (mut from_plain, mut into_plain) = plain.split();
        let (mut from_tls, mut into_tls) = tokio::io::split(&mut tls);
        let up = copy(&mut from_plain, &mut into_tls, &to_tls);
        let down = copy(&mut from_tls, &mut into_plain, &to_plain);
        tokio::pin!(up, down);
        let first = tokio::select! {
            done = &mut up => done.map(|()| true),
            done = &mut down => done.map(|()| false),
            () = silence(&moved, timeouts.idle) => Err(late("TIMEOUTidle")),
        };
        match first {
            Ok(up_is_done) => tokio::select! {
                biased;
                done = &mut up, if !up_is_done => done,
                done = &mut down, if up_is_done => done,
                // Nothing went wrong: the side that has not closed has nothing to say.
                () = silence(&moved, timeouts.close) => Ok(()),
            },
            Err(error) => Err(error),
        }
    };
    if carried.is_err() && reset {
        reset_at_end(&plain);
        tls.reset();
    }
    Ended {
        to_tls: to_tls.into_inner(),
        to_plain: to_plain.into_inner(),
        error: carried.err().map(|error| format!("transfer: {error}")),
    }
}

/// The peer will see a reset when the connection is dropped.
pub(super) fn reset_at_end(plain: &TcpStream) {
    // A kernel that refuses it makes an end like another.
    let _ = SockRef::from(plain).set_linger(Some(Duration::ZERO));
}

/// Copies to the end, and says the end.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            // The peer may have gone, and wants to hear no end.
            let _ = to.shutdown().await;
            return Ok(());
        }
        to.write_all(&buffer[..len]).await?;
        to.flush().await?;
        count.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Waits until nothing has moved for a while.
async fn silence(moved: impl Fn() -> u64, limit: Duration) {
    loop {
        let before = moved();
        sleep(limit).await;
        if moved() == before {
            return;
        }
    }
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} exceeded: closing"))
}

/// Four TLS records of full size: what is read of a socket at once.
const BUFFER: usize = 64 << 10;
