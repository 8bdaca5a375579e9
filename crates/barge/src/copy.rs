//! Both ends in one process: the same engine over an in-memory stream.

use std::path::Path;
use std::sync::Arc;

use barge_fs::Root;
use barge_types::RelPath;

use crate::error::{DialError, Error};
use crate::monitor::Monitor;
use crate::options::Options;
use crate::over_native::{Route, Stream, send};
use crate::run::{Clock, RunEnd};
use crate::server::Server;
use crate::stop::Stop;

/// Bytes that may wait in the stream.
const PIPE: usize = 1 << 20;

const VOLUME: &str = "copy";

/// Copies the tree at `source` into the directory `target`, which must exist.
///
/// Neither may lie inside the other.
pub async fn copy(
    source: &Path,
    target: &Path,
    options: Options,
    monitor: Arc<Monitor>,
    stop: Stop,
) -> RunEnd {
    let clock = Clock::start(&monitor);
    let quiet = Arc::new(Monitor::default());
    let server = check_apart(source, target).and_then(|()| {
        let volumes = vec![(VOLUME.to_owned(), target.to_owned())];
        Server::new(volumes, quiet, options.stall_timeout)
    });
    let server = match server {
        Ok(server) => server,
        Err(error) => return clock.refuse(&monitor, error),
    };
    let serving = Arc::clone(&server);
    let dial = move || -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
        let server = Arc::clone(&serving);
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            tokio::spawn(async move { server.serve(theirs).await });
            Ok::<_, DialError>(Box::new(ours) as Box<dyn Stream>)
        })
    };
    let route = Route {
        dial: Arc::new(dial),
        classify: Arc::new(|_| None),
    };
    let end = send(source, VOLUME, options, route, monitor, stop).await;
    server.drain().await;
    end
}

/// Refuses a target inside the source, which would copy itself for ever, and a source inside the
/// target, which deletions could reach.
fn check_apart(source: &Path, target: &Path) -> Result<(), Error> {
    let canonical = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Error::Request(format!("{}: {error}", path.display())))
    };
    let (inner, outer) = (canonical(source)?, canonical(target)?);
    let text = if inner == outer {
        "source and target are the same directory: choose another place for the copy"
    } else if outer.starts_with(&inner) {
        "the target lies inside the source: choose another place for it"
    } else if inner.starts_with(&outer) {
        "the source lies inside the target: choose another place for it"
    } else {
        return same_inode(source, target);
    };
    Err(Error::Request(text.to_owned()))
}

/// Two mounts of one directory have different paths.
fn same_inode(source: &Path, target: &Path) -> Result<(), Error> {
    let look = |path: &Path| {
        Root::open(path)
            .and_then(|root| root.dir(&RelPath::root())?.stat_self())
            .map_err(|error| Error::Root {
                what: path.display().to_string(),
                source: error,
            })
    };
    let (source, target) = (look(source)?, look(target)?);
    if (source.dev, source.ino) == (target.dev, target.ino) {
        return Err(Error::Request(
            "source and target are the same directory: choose another place for the copy"
                .to_owned(),
        ));
    }
    Ok(())
}
