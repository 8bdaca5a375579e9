//! `/healthz`, `/readyz` and `/metrics`: plain HTTP, on a thread of its own, so that a busy agent
//! still answers its kubelet.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use barge::{Counters, Monitor};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Whether new runs are taken; its clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    /// From now on.
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers at `addr` for as long as the process lives; returns the address with its real port.
///
/// # Errors
///
/// When nothing can listen there.
pub(crate) fn start(addr: SocketAddr, monitor: Arc<Monitor>, ready: Ready) -> Result<SocketAddr> {
    let listener = TcpListener::bind(addr)
        .with_context(|| format!("--admin {addr}: cannot listen there; choose another address"))?;
    listener.set_nonblocking(true)?;
    let at = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name("admin".into())
        .spawn(move || runtime.block_on(accept(listener, monitor, ready)))?;
    Ok(at)
}

async fn accept(listener: TcpListener, monitor: Arc<Monitor>, ready: Ready) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "the admin address cannot be served"),
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (monitor, ready) = (Arc::clone(&monitor), ready.clone());
                tokio::spawn(async move {
                    let _place = place;
                    serve(tcp, monitor, ready).await;
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection at the admin address, going on");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(tcp: TcpStream, monitor: Arc<Monitor>, ready: Ready) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let answer = answer(
            request.method(),
            request.uri().path(),
            &monitor.counters,
            &ready,
        );
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service);
    match timeout(DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the admin address broke"),
        Err(_) => debug!("a connection to the admin address took too long"),
    }
}

fn answer(method: &Method, path: &str, counters: &Counters, ready: &Ready) -> Response<String> {
    let (status, body) = match (path, ready.get()) {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into())
        }
        ("/healthz", _) | ("/readyz", true) => (StatusCode::OK, "ok\n".into()),
        ("/readyz", false) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".into()),
        ("/metrics", _) => match metrics(counters) {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => (
            StatusCode::NOT_FOUND,
            "there are /healthz, /readyz and /metrics\n".into(),
        ),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", TEXT_FORMAT);
    response
}

fn metrics(counters: &Counters) -> prometheus::Result<String> {
    let registry = Registry::new();
    for (name, help, count) in [
        (
            "barge_paths_listed_total",
            "Paths listed.",
            &counters.listed,
        ),
        (
            "barge_paths_ended_total",
            "Paths that have ended.",
            &counters.ended,
        ),
        (
            "barge_paths_failed_total",
            "Paths that have failed.",
            &counters.failed,
        ),
        (
            "barge_listed_bytes_total",
            "Bytes of files listed.",
            &counters.bytes_listed,
        ),
        (
            "barge_ended_bytes_total",
            "Bytes of files that have ended.",
            &counters.bytes_ended,
        ),
        (
            "barge_read_bytes_total",
            "Bytes of content read at the source.",
            &counters.bytes_read,
        ),
        (
            "barge_sent_bytes_total",
            "Bytes of content sent.",
            &counters.bytes_sent,
        ),
        (
            "barge_wire_bytes_total",
            "Bytes over connections, both ways.",
            &counters.wire_bytes,
        ),
        (
            "barge_reconnects_total",
            "Connections lost and made again.",
            &counters.reconnects,
        ),
    ] {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(count.get());
        registry.register(Box::new(counter))?;
    }
    let gauge = IntGauge::new("barge_connections", "Connections that are up.")?;
    gauge.set(i64::try_from(counters.connections.get()).unwrap_or(i64::MAX));
    registry.register(Box::new(gauge))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// The type of Prometheus' text format; the other answers are text, too.
const TEXT_FORMAT: hyper::header::HeaderValue =
    hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;

/// For one request and its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Pause when the process or the machine is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// The status line and the body of the answer to one request.
    fn ask(at: SocketAddr, path: &str) -> (String, String) {
        let mut tcp = TcpStream::connect(at).unwrap();
        write!(tcp, "GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
        let mut text = String::new();
        tcp.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[test]
    fn admin_tells_health_readiness_and_numbers() {
        let (monitor, ready) = (Arc::new(Monitor::default()), Ready::default());
        let at = start(
            ([127, 0, 0, 1], 0).into(),
            Arc::clone(&monitor),
            ready.clone(),
        )
        .unwrap();
        assert_eq!(ask(at, "/healthz").0, "HTTP/1.1 200 OK");
        assert_eq!(ask(at, "/readyz").0, "HTTP/1.1 503 Service Unavailable");
        ready.set(true);
        assert_eq!(ask(at, "/readyz").0, "HTTP/1.1 200 OK");
        assert_eq!(ask(at, "/else").0, "HTTP/1.1 404 Not Found");
        monitor.counters.bytes_sent.add(7);
        monitor.counters.connections.add(2);
        let (status, body) = ask(at, "/metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.contains("\nbarge_sent_bytes_total 7\n"), "{body}");
        assert!(
            body.contains("# TYPE barge_connections gauge\nbarge_connections 2\n"),
            "{body}"
        );
    }

    #[test]
    fn admin_refuses_what_is_no_reading() {
        let answer = answer(
            &Method::POST,
            "/healthz",
            &Counters::default(),
            &Ready::default(),
        );
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn admin_names_the_address_that_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = start(addr, Arc::default(), Ready::default()).unwrap_err();
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }
}
