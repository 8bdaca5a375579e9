//! Block devices, over connections in memory. Needs loop devices, and with them root.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(clippy::print_stdout, reason = "a test says why it was skipped")]

mod device_ends;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use barge::{Fault, RunEnd, Server};
use barge_testkit::mount::{LoopDevice, Mounted};
use barge_types::Verdict;
use device_ends::{Fate, good_route, route, send, server};

fn fault_of(end: RunEnd) -> (Fault, String) {
    let error = end.error.expect("it should have failed");
    (error.fault(), error.to_string())
}

/// `None`, and said, where there are none.
fn device(image: &Path, len: u64) -> Option<LoopDevice> {
    let device = LoopDevice::new(image, len);
    device
        .inspect_err(|error| println!("skipped, no loop devices: {error}"))
        .ok()
}

const MIB: u64 = 1 << 20;

fn content(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at / 1009) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn device_becomes_equal_and_what_is_behind_the_source_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::write(&source, content(3 * MIB + 512)).unwrap();
    let Some(device) = device(&folder.path().join("image"), 5 * MIB) else {
        return;
    };
    fs::write(device.path(), vec![7; 5 << 20]).unwrap();
    let server = server(device.path());
    let end = send(&source, good_route(&server), 2).await;
    assert!(end.error.is_none(), "{:?}", end.error);
    let mut expected = content(3 * MIB + 512);
    expected.resize(5 << 20, 0);
    assert!(fs::read(device.path()).unwrap() == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn device_is_a_source_of_devices_and_images() {
    let folder = tempfile::tempdir().unwrap();
    let devices = device(&folder.path().join("a"), 9 * MIB);
    let devices = devices.and_then(|a| Some((a, device(&folder.path().join("b"), 9 * MIB)?)));
    let Some((from, to)) = devices else { return };
    fs::write(from.path(), content(9 * MIB)).unwrap();
    let image = folder.path().join("disk.img");
    for target in [to.path(), &image] {
        let server = server(target);
        let end = send(from.path(), good_route(&server), 2).await;
        assert!(end.error.is_none(), "{:?}", end.error);
        assert!(fs::read(target).unwrap() == content(9 * MIB));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn device_that_is_too_small_read_only_or_mounted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, image) = (folder.path().join("source"), folder.path().join("image"));
    fs::write(&source, content(3 * MIB)).unwrap();
    let Some(small) = device(&image, 2 * MIB) else {
        return;
    };
    let server_of_small = server(small.path());
    let (fault, text) = fault_of(send(&source, good_route(&server_of_small), 2).await);
    assert_eq!(fault, Fault::Request);
    assert!(
        text.contains("of 2097152 bytes is smaller than the source of 3145728 bytes"),
        "{text}"
    );
    assert!(fs::read(small.path()).unwrap() == vec![0; 2 << 20]);

    drop((server_of_small, small));
    let device = LoopDevice::attach(&image, &["--read-only"]).unwrap();
    let devices = vec![("disk".to_owned(), device.path().to_owned())];
    let error = Server::with_devices(
        vec![],
        devices,
        Arc::default(),
        std::time::Duration::from_secs(5),
    );
    let error = error.unwrap_err();
    assert_eq!(error.fault(), Fault::Request);
    assert!(error.to_string().contains("Read-only"), "{error}");
    drop(device);

    let mounted = Mounted::ext4(&folder.path().join("mounted"), 16, &[]).unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let at = mounted.path().to_str().unwrap();
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(1) == Some(at));
    let in_use = line.unwrap().split(' ').next().unwrap();
    let server = server(Path::new(in_use));
    let (fault, text) = fault_of(send(&source, good_route(&server), 2).await);
    assert_eq!(fault, Fault::Request);
    assert!(text.contains("busy"), "{text}");
}

/// A device has no time that tells: what was compared and what is sent are held against each other.
#[tokio::test(flavor = "multi_thread")]
async fn device_that_changes_between_comparison_and_sending_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(source) = device(&folder.path().join("source"), 64 * MIB) else {
        return;
    };
    let bytes: Vec<u8> = (0..64 * MIB).map(|at| (at % 251) as u8 | 1).collect();
    fs::write(source.path(), bytes).unwrap();
    let target = folder.path().join("target");
    let server = server(&target);
    // With the first bytes of content: the last block has been compared, and is far from being sent.
    let change = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"changed", 64 * MIB - 7).unwrap();
    };
    let (route, connections) = route(&server, source.path(), move |number| match number {
        0 => Fate::Then(1000, change),
        _ => Fate::Good,
    });
    let end = send(source.path(), route, 1).await;
    assert_eq!(end.report.verdict, Verdict::Complete, "{:?}", end.error);
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 3);
    let read = fs::read(&target).unwrap();
    assert!(read.ends_with(b"changed"));
    assert!(read == fs::read(source.path()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn image_on_a_full_file_system_ends_the_run_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::write(&source, vec![1; 32 << 20]).unwrap();
    let small = match Mounted::tmpfs(&folder.path().join("small"), "size=8m") {
        Ok(small) => small,
        Err(error) => return println!("skipped, no tmpfs: {error}"),
    };
    let server = server(&small.path().join("disk.img"));
    let (fault, text) = fault_of(send(&source, good_route(&server), 2).await);
    assert_eq!(fault, Fault::Operator, "{text}");
    assert!(text.contains("No space"), "{text}");
    let (_, run) = server.next_run().await;
    let (fault, text) = fault_of(run);
    assert_eq!(fault, Fault::Operator, "{text}");
}

/// The device takes all that is written, and tells only when it is to be on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn device_that_loses_what_was_written_fails_at_both_ends_and_in_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let file = fs::File::create(&source).unwrap();
    file.set_len(1100 * MIB).unwrap();
    file.write_all_at(&vec![1; 32 << 20], 1000 * MIB).unwrap();
    file.write_all_at(&vec![1; 32 << 20], 1030 * MIB).unwrap();
    let small = match Mounted::tmpfs(&folder.path().join("small"), "size=8m") {
        Ok(small) => small,
        Err(error) => return println!("skipped, no tmpfs: {error}"),
    };
    let Some(device) = device(&small.path().join("image"), 1100 * MIB) else {
        return;
    };
    let server = server(device.path());
    for _ in 0..2 {
        let (fault, text) = fault_of(send(&source, good_route(&server), 2).await);
        assert_eq!(fault, Fault::Operator, "{text}");
        let (_, run) = server.next_run().await;
        let (fault, text) = fault_of(run);
        assert_eq!(fault, Fault::Operator, "{text}");
        assert!(text.contains("fsync"), "{text}");
    }
}
