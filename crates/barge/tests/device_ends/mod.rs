//! Both ends of a run on a device, over connections in memory.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use barge::{DialError, Monitor, Options, Route, RunEnd, Server, Stop, Stream, send_device};
use barge_native::{Answer, DeviceCall, DeviceStep, Hello, Purpose, VERSION};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const STALL: Duration = Duration::from_secs(5);

/// A server of one device, `disk`.
pub(crate) fn server(device: &Path) -> Arc<Server> {
    let devices = vec![("disk".to_owned(), device.to_owned())];
    Server::with_devices(vec![], devices, Arc::new(Monitor::default()), STALL).unwrap()
}

/// What happens to a connection, by its number from 0 on.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// It is lost after so many bytes to the server,
    CutTo(u64),
    /// or from it.
    CutFrom(u64),
    /// After so many bytes to the server this happens, once.
    Then(u64, fn(&Path)),
    Good,
}

/// A route to `server`, and how often it was dialled. `fate` may do something to `path`.
pub(crate) fn route(
    server: &Arc<Server>,
    path: &Path,
    fate: impl Fn(usize) -> Fate + Send + Sync + 'static,
) -> (Route, Arc<AtomicUsize>) {
    let (server, path) = (Arc::clone(server), path.to_owned());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let dial = move || -> Pin<Box<dyn Future<Output = _> + Send>> {
        let (server, path) = (Arc::clone(&server), path.clone());
        let fate = fate(counted.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 18);
            tokio::spawn(async move {
                let (near, far) = tokio::io::duplex(1 << 18);
                tokio::join!(server.serve(far), pass(theirs, near, fate, &path));
            });
            Ok::<_, DialError>(Box::new(ours) as Box<dyn Stream>)
        })
    };
    let route = Route {
        dial: Arc::new(dial),
        classify: Arc::new(|_| None),
    };
    (route, count)
}

async fn pass(client: DuplexStream, server: DuplexStream, fate: Fate, path: &Path) {
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = tokio::io::split(server);
    let (cut_to, cut_from) = match fate {
        Fate::CutTo(after) | Fate::Then(after, _) => (after, u64::MAX),
        Fate::CutFrom(after) => (u64::MAX, after),
        Fate::Good => (u64::MAX, u64::MAX),
    };
    let to = async {
        let mut first = from_client.take(cut_to);
        let _ = tokio::io::copy(&mut first, &mut to_server).await;
        if let Fate::Then(_, happens) = fate
            && first.limit() == 0
        {
            happens(path);
            let _ = tokio::io::copy(&mut first.into_inner(), &mut to_server).await;
        }
        let _ = to_server.shutdown().await;
        // Who was cut off hears nothing more, who has said all does.
        if !matches!(fate, Fate::CutTo(_)) {
            std::future::pending::<()>().await;
        }
    };
    let from = async {
        let mut first = from_server.take(cut_from);
        let _ = tokio::io::copy(&mut first, &mut to_client).await;
    };
    tokio::select! {
        () = to => (),
        () = from => (),
    }
}

/// A route on which nothing happens.
pub(crate) fn good_route(server: &Arc<Server>) -> Route {
    route(server, Path::new(""), |_| Fate::Good).0
}

pub(crate) async fn send(source: &Path, route: Route, streams: u8) -> RunEnd {
    let options = Options {
        streams,
        retries: 8,
        ..Options::default()
    };
    send_device(source, "disk", options, route, Arc::default(), Stop::new()).await
}

/// A client that says what it likes.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    pub(crate) input: BytesMut,
}

impl Client {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server = Arc::clone(server);
        tokio::spawn(async move { server.serve(theirs).await });
        Self {
            stream: ours,
            input: BytesMut::new(),
        }
    }

    /// Says hello, and hears the answer.
    pub(crate) async fn hello(&mut self, session: u128, size: u64, step: DeviceStep) -> Answer {
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            window: 8 << 20,
            purpose: Purpose::Device(DeviceCall {
                volume: "disk".to_owned(),
                session,
                size,
                step,
            }),
        };
        let frame = hello.encode();
        self.stream.write_all(&frame.head).await.unwrap();
        loop {
            if let Some((tag, payload)) = barge_native::frame::decode(&mut self.input).unwrap() {
                return Answer::decode(tag, payload).unwrap();
            }
            let count = self.stream.read_buf(&mut self.input).await.unwrap();
            assert!(count > 0, "the server hung up without a word");
        }
    }

    /// All that the server says until it hangs up.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let _ = self.stream.read_buf(&mut self.input).await;
        let mut rest = self.input.to_vec();
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }
}
