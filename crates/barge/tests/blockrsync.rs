//! Two of ours, over a connection in memory that may end anywhere.
//!
//! Nothing here starts a process: between fork and exec it would hold the lock of a target that this
//! one has closed.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::fs;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use barge::Fault;
use barge::over_blockrsync::{BlockSize, Event, Failure, Received, Sent, Source, Target};
use barge::over_rsync::{Connection, Output, pipe};
use barge_testkit::tree::image;
use tempfile::TempDir;

fn block() -> BlockSize {
    BlockSize::new(4096).unwrap()
}

type Ends = (Result<Sent, Failure>, Result<Received, Failure>);

/// Runs both over `(source's, target's)` ends.
fn converse((here, there): (Connection, Connection), source: &Path, target: &Path) -> Ends {
    converse_and(here, there, source, target, &|_| ())
}

fn converse_and(
    here: Connection,
    there: Connection,
    source: &Path,
    target: &Path,
    tell: &dyn Fn(Event),
) -> Ends {
    let source = Source {
        path: source.into(),
        block: block(),
    };
    let target = Target {
        path: target.into(),
        block: block(),
        preallocate: false,
    };
    thread::scope(|scope| {
        let receiving = scope.spawn(move || target.receive(there, &|_| ()));
        let sent = source.send(here, tell);
        (sent, receiving.join().unwrap())
    })
}

fn files(
    source: &[u8],
    target: Option<&[u8]>,
) -> (TempDir, std::path::PathBuf, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&a, source).unwrap();
    if let Some(target) = target {
        fs::write(&b, target).unwrap();
    }
    (folder, a, b)
}

#[test]
fn target_is_equal_and_both_know_it() {
    let long = image(40 * 4096 + 123);
    let mut edited = long.clone();
    edited[5 * 4096..7 * 4096].fill(77);
    edited.truncate(30 * 4096);
    for (source, target, differs) in [
        (&long, None, 41 * 4096 - 4096 + 123),
        (&long, Some(&edited), 2 * 4096 + 10 * 4096 + 123),
        (&edited, Some(&long), 2 * 4096),
        (&long, Some(&long), 0),
        (&vec![], Some(&long), 0),
        (&vec![], None, 0),
        (&vec![0; 9000], Some(&vec![1; 9000]), 9000),
        (&vec![1; 10], Some(&vec![1; 11]), 10),
    ] {
        let (_folder, a, b) = files(source, target.map(|target| &target[..]));
        let (sent, received) = converse(pipe(), &a, &b);
        let sent = sent.unwrap();
        assert!(sent.is_confirmed);
        assert_eq!(sent.bytes, differs);
        assert!(received.unwrap().is_known);
        assert!(fs::read(&b).unwrap() == *source);
    }
}

#[test]
fn zeros_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let (_folder, a, b) = files(&vec![0; 1 << 20], Some(&vec![1; 1 << 20]));
    let (sent, _) = converse(pipe(), &a, &b);
    sent.unwrap();
    assert_eq!(fs::read(&b).unwrap(), vec![0; 1 << 20]);
    assert_eq!(fs::metadata(&b).unwrap().blocks(), 0);
}

/// Takes so many bytes, and then is broken.
struct Breaks {
    output: Option<Box<dyn Output>>,
    left: Arc<AtomicUsize>,
}

impl Output for Breaks {
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        let Some(output) = self.output.as_mut().filter(|_| left > 0) else {
            self.output = None;
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let some = &pieces[0][..pieces[0].len().min(left)];
        let count = output.write(&[IoSlice::new(some)], patience)?;
        self.left.fetch_sub(count, Ordering::Relaxed);
        Ok(count)
    }

    fn close(&mut self) -> io::Result<()> {
        match &mut self.output {
            Some(output) => output.close(),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn breaking(
    (mut here, mut there): (Connection, Connection),
    from_source: bool,
    after: usize,
) -> (Connection, Connection) {
    let end = if from_source { &mut here } else { &mut there };
    let output = std::mem::replace(
        &mut end.output,
        Box::new(Breaks {
            output: None,
            left: Arc::default(),
        }),
    );
    end.output = Box::new(Breaks {
        output: Some(output),
        left: Arc::new(AtomicUsize::new(after)),
    });
    (here, there)
}

#[test]
fn cut_anywhere_is_a_failure_that_the_next_connection_mends() {
    let source = image(6 * 4096 + 50);
    let target = image(3 * 4096);
    for from_source in [true, false] {
        for after in (0..40).chain((40..14_000).step_by(331)) {
            let (_folder, a, b) = files(&source, Some(&target));
            let (sent, received) = converse(breaking(pipe(), from_source, after), &a, &b);
            let is_equal = fs::read(&b).unwrap() == source;
            match sent {
                // Who says that all is done is right.
                Ok(sent) => assert!(sent.is_confirmed && is_equal, "{from_source} {after}"),
                Err(failure) => {
                    assert_eq!(failure.fault(), Fault::Weather, "{failure} {after}");
                    assert!(!received.is_ok_and(|received| received.is_known));
                }
            }
            let (sent, _) = converse(pipe(), &a, &b);
            assert!(sent.unwrap().is_confirmed);
            assert!(fs::read(&b).unwrap() == source, "{from_source} {after}");
        }
    }
}

#[test]
fn image_that_changes_while_it_is_read_is_no_success() {
    let (_folder, a, b) = files(&image(40 * 4096), None);
    let (here, there) = pipe();
    let changes = |event| {
        if let Event::Sending { done: 4096, .. } = event {
            fs::write(&a, image(40 * 4096 - 1)).unwrap();
        }
    };
    let (sent, received) = converse_and(here, there, &a, &b, &changes);
    assert!(matches!(sent, Err(Failure::Changed)), "{sent:?}");
    assert!(received.is_err());
    let (sent, _) = converse(pipe(), &a, &b);
    assert!(sent.is_ok());
    assert!(fs::read(&b).unwrap() == image(40 * 4096 - 1));
}

#[test]
fn target_s_reason_reaches_the_source() {
    let (folder, a, _) = files(&image(40 * 4096), None);
    let none = folder.path().join("no/such/disk.img");
    let (sent, received) = converse(pipe(), &a, &none);
    let failure = sent.unwrap_err();
    assert_eq!(failure.fault(), Fault::Operator);
    assert!(failure.to_string().contains("No such file"), "{failure}");
    assert!(matches!(received, Err(Failure::Disk { .. })));
}

#[test]
fn source_that_is_not_there_is_told_before_anything_is_said() {
    let (folder, ..) = files(b"", None);
    let (here, there) = pipe();
    let none = folder.path().join("none");
    let (sent, received) = converse((here, there), &none, &folder.path().join("b"));
    assert!(matches!(sent, Err(Failure::Disk { .. })));
    assert!(matches!(received, Err(Failure::Unused)));
}
