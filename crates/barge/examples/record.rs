//! Records two conversations of the native protocol, for `crates/native/tests/golden`.
//!
//! `cargo run -p barge --example record -- FOLDER` writes, for each conversation, what the client
//! and what the server sent on their one stream. A recording is made once for a version of the
//! protocol and never edited.

use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use barge::{Monitor, Options, Route, Server, Stop};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

#[tokio::main]
async fn main() -> io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("a folder to write to"));
    let temp = tempfile::tempdir()?;
    let (source, target) = (temp.path().join("source"), temp.path().join("target"));
    std::fs::create_dir(&target)?;
    make(&source)?;
    record(&source, &target, &folder.join("first"), Options::default()).await?;
    change(&source)?;
    let options = Options {
        delete: true,
        itemize: true,
        ..Options::default()
    };
    record(&source, &target, &folder.join("second"), options).await
}

/// A small tree: directories, files of each way to travel, links.
fn make(source: &Path) -> io::Result<()> {
    std::fs::create_dir_all(source.join("directory/below"))?;
    std::fs::write(source.join("empty"), "")?;
    std::fs::write(source.join("directory/small"), "hello, barge\n")?;
    std::fs::hard_link(
        source.join("directory/small"),
        source.join("directory/below/linked"),
    )?;
    std::fs::write(source.join("gone later"), "x")?;
    symlink("nowhere", source.join("link"))?;
    let text: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(source.join("text"), text)?;
    let large = std::fs::File::create(source.join("large"))?;
    large.set_len(600 << 10)?;
    large.write_all_at(b"data between holes", 300 << 10)?;
    std::fs::set_permissions(source.join("large"), PermissionsExt::from_mode(0o4751))?;
    // Late enough that a further change would show.
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

fn change(source: &Path) -> io::Result<()> {
    std::fs::remove_file(source.join("gone later"))?;
    std::fs::set_permissions(source.join("empty"), PermissionsExt::from_mode(0o600))?;
    let text = std::fs::File::options()
        .write(true)
        .open(source.join("text"))?;
    text.write_all_at(b"changed", 40_000)?;
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

async fn record(source: &Path, target: &Path, name: &Path, options: Options) -> io::Result<()> {
    let server = Server::new(
        vec![("volume".to_owned(), target.to_owned())],
        Arc::new(Monitor::default()),
        options.stall_timeout,
    )
    .map_err(io::Error::other)?;
    let log = Arc::new(Mutex::new(Log::default()));
    let (serving, writing) = (Arc::clone(&server), Arc::clone(&log));
    let dial = move || -> Pin<Box<dyn Future<Output = _> + Send>> {
        let (server, log) = (Arc::clone(&serving), Arc::clone(&writing));
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move { server.serve(theirs).await });
            Ok(Box::new(Recorded { stream: ours, log }) as Box<dyn barge::Stream>)
        })
    };
    let route = Route {
        dial: Arc::new(dial),
        classify: Arc::new(|_| None),
    };
    let options = Options {
        streams: 1,
        ..options
    };
    let monitor = Arc::new(Monitor::default());
    let end = barge::send(source, "volume", options, route, monitor, Stop::new()).await;
    server.drain().await;
    if let Some(error) = end.error {
        return Err(io::Error::other(error));
    }
    let log = log.lock().expect("no thread panicked");
    std::fs::write(name.with_extension("client"), &log.client)?;
    std::fs::write(name.with_extension("server"), &log.server)
}

/// What each side has sent.
#[derive(Default)]
struct Log {
    client: Vec<u8>,
    server: Vec<u8>,
}

/// The client's end of a stream that writes down what passes.
struct Recorded {
    stream: DuplexStream,
    log: Arc<Mutex<Log>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let log = &mut self.log.lock().expect("no thread panicked");
        log.server.extend_from_slice(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(len)) = written {
            self.log
                .lock()
                .expect("no thread panicked")
                .client
                .extend_from_slice(&bytes[..len]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
