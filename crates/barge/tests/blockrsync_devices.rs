//! Block devices, over a connection in memory.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stdout, reason = "a test says why it was skipped")]

use std::fs;
use std::path::Path;
use std::thread;

use barge::over_blockrsync::{BlockSize, Failure, Received, Sent, Source, Target};
use barge::over_rsync::pipe;
use barge_testkit::mount::LoopDevice;
use barge_testkit::tree::image;

/// Runs both.
fn converse(source: &Path, target: &Path) -> (Result<Sent, Failure>, Result<Received, Failure>) {
    let block = BlockSize::new(4096).unwrap();
    let source = Source {
        path: source.into(),
        block,
    };
    let target = Target {
        path: target.into(),
        block,
        preallocate: false,
    };
    let (here, there) = pipe();
    thread::scope(|scope| {
        let receiving = scope.spawn(move || target.receive(there, &|_| ()));
        let sent = source.send(here, &|_| ());
        (sent, receiving.join().unwrap())
    })
}

#[test]
fn devices_become_equal_and_what_is_behind_the_source_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (folder.path().join("small"), folder.path().join("large"));
    let devices = LoopDevice::new(&small, 1 << 20)
        .and_then(|small| Ok((small, LoopDevice::new(&large, 3 << 20)?)));
    let (small, large) = match devices {
        Ok(devices) => devices,
        Err(error) => return println!("skipped, no loop devices: {error}"),
    };
    fs::write(small.path(), image(1 << 20)).unwrap();
    fs::write(large.path(), vec![9; 3 << 20]).unwrap();
    let (sent, received) = converse(small.path(), large.path());
    assert!(sent.unwrap().is_confirmed && received.is_ok());
    let mut expected = image(1 << 20);
    expected.resize(3 << 20, 0);
    assert!(fs::read(large.path()).unwrap() == expected);

    let (sent, received) = converse(large.path(), small.path());
    let failure = sent.unwrap_err();
    assert!(failure.to_string().contains("smaller"), "{failure}");
    assert!(matches!(received, Err(Failure::TooSmall { .. })));
    assert!(fs::read(small.path()).unwrap() == image(1 << 20));

    let (a, _) = (
        folder.path().join("a"),
        fs::write(folder.path().join("a"), [1; 5000]),
    );
    let read_only = LoopDevice::attach(&folder.path().join("large"), &["--read-only"]).unwrap();
    let failure = converse(&a, read_only.path()).0.unwrap_err();
    assert!(failure.to_string().contains("Read-only"), "{failure}");
}
