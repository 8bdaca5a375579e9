//! Raw images, over connections in memory, some of which are cut.
//!
//! Nothing here starts a process: between fork and exec it would hold the lock of a target that this
//! one has closed.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod device_ends;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use barge::{Error, Fault, Monitor, RunEnd, Server};
use barge_blockrsync::{
    BlockSize, ChangesEncoder, Digester, GREETING_LEN, Greeting, Grid, Transcript, Whole,
};
use barge_fs::Disk;
use barge_native::{Answer, DeviceStep, RefusalCode};
use barge_types::{Class, Verdict};
use device_ends::{Client, Fate, good_route, route, send, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Pair {
    _folder: tempfile::TempDir,
    source: PathBuf,
    target: PathBuf,
}

/// Images of `len` bytes: a little data here and there, `differ` of it not at the target.
fn pair(len: u64, data: &[u64], differ: &[u64]) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for path in [&source, &target] {
        let file = fs::File::create(path).unwrap();
        file.set_len(len).unwrap();
        for (seed, at) in data.iter().enumerate() {
            let byte =
                (seed % 10) as u8 * 7 + 1 + u8::from(path == &target && differ.contains(at)) * 100;
            file.write_all_at(&vec![byte; 5000], *at).unwrap();
        }
    }
    Pair {
        _folder: folder,
        source,
        target,
    }
}

/// Whether both are the same; what is a hole in both is not read.
fn are_equal(a: &Path, b: &Path) -> bool {
    let disks = [a, b].map(|path| Disk::open(path).unwrap());
    let [len, other_len] = disks.each_ref().map(|disk| disk.len().unwrap());
    let piece = 1 << 20;
    let is_equal_at = |at: u64| {
        let end = len.min(at + piece);
        let is_hole = |disk: &Disk| !disk.has_data(&(at..end)).unwrap();
        disks.iter().all(is_hole) || {
            let [one, other] = disks.each_ref().map(|disk| {
                let mut content = vec![0; (end - at) as usize];
                disk.read_at(&mut content, at).unwrap();
                content
            });
            one == other
        }
    };
    len == other_len && (0..len).step_by(piece as usize).all(is_equal_at)
}

fn fault_of(end: RunEnd) -> (Fault, String) {
    let error = end.error.expect("it should have failed");
    (error.fault(), error.to_string())
}

const MIB: u64 = 1 << 20;
const PART: u64 = barge_native::DEVICE_PART;

#[tokio::test(flavor = "multi_thread")]
async fn large_image_moves_in_parts_over_several_connections() {
    let at = [0, 700 * MIB, 1024 * MIB - 2500, 1500 * MIB, 2500 * MIB];
    let pair = pair(2500 * MIB + 7000, &at, &at[1..4]);
    let server = server(&pair.target);
    let (route, connections) = route(&server, &pair.source, |_| Fate::Good);
    let end = send(&pair.source, route, 3).await;
    assert!(end.error.is_none(), "{:?}", end.error);
    assert_eq!(end.report.verdict, Verdict::Complete);
    let tally = end.report.tally;
    assert_eq!((tally.updated, tally.unchanged), (1, 0));
    // Blocks of 128 KiB; one lies on the border of two parts.
    assert_eq!(tally.bytes_sent, 4 * (128 << 10));
    assert_eq!(tally.bytes_matched, 2500 * MIB + 7000 - 4 * (128 << 10));
    assert_eq!(connections.load(Ordering::Relaxed), 3 + 1);
    assert!(are_equal(&pair.source, &pair.target));
    let (name, run) = server.next_run().await;
    assert_eq!((&*name, run.report.verdict), ("disk", Verdict::Complete));
    assert_eq!(
        (run.report.tally.updated, run.report.tally.bytes_sent),
        (1, 4 * (128 << 10))
    );

    let end = send(&pair.source, good_route(&server), 3).await;
    let tally = end.report.tally;
    assert_eq!((tally.updated, tally.unchanged), (0, 1));
    assert_eq!(
        (tally.bytes_sent, tally.bytes_matched),
        (0, 2500 * MIB + 7000)
    );
    let (_, run) = server.next_run().await;
    assert_eq!(run.report.tally.unchanged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_anywhere_cost_the_comparison_of_their_part_alone() {
    let at = [0, 3 * MIB, 1030 * MIB];
    // Within the hello, the greeting, what is sent, before the farewell.
    let after = [10, 100, 140, 400, 1200, 3000, 20_000];
    for is_to_server in [true, false] {
        let pair = pair(1100 * MIB, &at, &at);
        let server = server(&pair.target);
        let (route, connections) = route(&server, &pair.source, move |number| {
            match (after.get(number), is_to_server) {
                (Some(&after), true) => Fate::CutTo(after),
                (Some(&after), false) => Fate::CutFrom(after),
                (None, _) => Fate::Good,
            }
        });
        let end = send(&pair.source, route, 2).await;
        assert!(end.error.is_none(), "{:?}", end.error);
        assert_eq!(end.report.verdict, Verdict::Complete);
        assert!(end.report.reconnects > 0 && connections.load(Ordering::Relaxed) > 7);
        assert!(are_equal(&pair.source, &pair.target));
        // What was sent on a connection that was lost counts as well.
        assert_eq!(end.report.tally.updated, 1);
        let (_, run) = server.next_run().await;
        assert_eq!(
            (run.report.verdict, run.report.tally.updated),
            (Verdict::Complete, 1)
        );
    }
}

/// The word that all is done is what a target says last: it is lost, and the next connection finds that
/// all is there.
#[tokio::test(flavor = "multi_thread")]
async fn part_whose_last_word_was_lost_is_compared_again_and_still_reported_as_sent() {
    let pair = pair(MIB, &[0], &[0]);
    let server = server(&pair.target);
    let said = |number: usize, bytes: u64| match number {
        0 => Fate::CutFrom(bytes),
        _ => Fate::Good,
    };
    // Welcome and greeting, verdict, a list of 8 blocks, and some of the last word.
    let mut reconnects = 0;
    for bytes in (80..700).step_by(20) {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&pair.target)
            .unwrap();
        file.write_all_at(&[77; 5000], 0).unwrap();
        let (route, _) = route(&server, &pair.source, move |number| said(number, bytes));
        let end = send(&pair.source, route, 1).await;
        assert!(end.error.is_none(), "{bytes}: {:?}", end.error);
        assert_eq!(
            (end.report.tally.updated, end.report.tally.unchanged),
            (1, 0),
            "{bytes}"
        );
        assert!(are_equal(&pair.source, &pair.target));
        reconnects += end.report.reconnects;
        let (_, run) = server.next_run().await;
        assert_eq!(
            (run.report.verdict, run.report.tally.updated),
            (Verdict::Complete, 1)
        );
    }
    assert!(reconnects > 10, "{reconnects}");
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_is_not_there_is_made_and_a_longer_one_is_cut() {
    for len in [3 * MIB + 5, 0] {
        let at = if len == 0 { vec![] } else { vec![MIB] };
        let pair = pair(len, &at, &[]);
        for before in [None, Some(vec![9; 5 << 20])] {
            fs::remove_file(&pair.target).unwrap();
            if let Some(before) = before {
                fs::write(&pair.target, before).unwrap();
            }
            let server = server(&pair.target);
            let end = send(&pair.source, good_route(&server), 1).await;
            assert!(end.error.is_none(), "{:?}", end.error);
            assert!(are_equal(&pair.source, &pair.target));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_become_holes_and_are_not_counted_as_sent() {
    let pair = pair(8 * MIB, &[], &[]);
    fs::write(&pair.target, vec![3; 8 << 20]).unwrap();
    let server = server(&pair.target);
    let end = send(&pair.source, good_route(&server), 1).await;
    assert!(end.error.is_none(), "{:?}", end.error);
    assert!(are_equal(&pair.source, &pair.target));
    assert_eq!(fs::metadata(&pair.target).unwrap().blocks(), 0);
    let tally = end.report.tally;
    assert_eq!(
        (tally.updated, tally.bytes_sent, tally.bytes_matched),
        (1, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_moves() {
    let pair = pair(3 * MIB, &[MIB], &[]);
    let nowhere = PathBuf::from("/no/such/folder/disk.img");
    let devices = vec![("disk".to_owned(), nowhere)];
    let refused = Server::with_devices(vec![], devices, Arc::default(), Duration::from_secs(5));
    let error = refused.unwrap_err();
    assert_eq!(error.fault(), Fault::Request);
    assert!(error.to_string().contains("No such file"), "{error}");

    let server = server(&pair.target);
    let none = pair.source.with_extension("none");
    let (fault, text) = fault_of(send(&none, good_route(&server), 2).await);
    assert_eq!(fault, Fault::Request);
    assert!(text.contains("cannot be read"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_and_device_are_told_apart() {
    let pair = pair(MIB, &[], &[]);
    let folder = pair.source.parent().unwrap().to_owned();
    let (volume, device) = (
        ("data".to_owned(), folder),
        ("disk".to_owned(), pair.target.clone()),
    );
    let monitor = Arc::new(Monitor::default());
    let both = Server::with_devices(vec![volume], vec![device], monitor, Duration::from_secs(5));
    let both = both.unwrap();
    for (name, is_device, expected) in [
        ("data", true, "is a directory"),
        ("disk", false, "is a device"),
        ("none", true, "no device"),
        ("none", false, "no volume"),
    ] {
        let (route, options) = (good_route(&both), barge::Options::default());
        let (monitor, stop) = (Arc::default(), barge::Stop::new());
        let end = match is_device {
            true => barge::send_device(&pair.source, name, options, route, monitor, stop).await,
            false => {
                let folder = pair.source.parent().unwrap();
                barge::send(folder, name, options, route, monitor, stop).await
            }
        };
        let (fault, text) = fault_of(end);
        assert_eq!(fault, Fault::Request);
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_changes_for_a_while_is_sent_as_it_is_in_the_end() {
    let at: Vec<u64> = (0..64).map(|n| n * MIB / 2).collect();
    let pair = pair(32 * MIB, &at, &at);
    let server = server(&pair.target);
    let change = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"another", 31 * MIB).unwrap();
    };
    let (route, _) = route(&server, &pair.source, move |number| match number {
        0 => Fate::Then(1000, change),
        _ => Fate::Good,
    });
    let end = send(&pair.source, route, 1).await;
    assert_eq!(end.report.verdict, Verdict::Complete, "{:?}", end.error);
    assert!(are_equal(&pair.source, &pair.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_goes_on_changing_is_a_path_that_failed() {
    let pair = pair(4 * MIB, &[0], &[0]);
    let server = server(&pair.target);
    let change = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&rand().to_le_bytes(), 3 * MIB).unwrap();
    };
    let (route, _) = route(&server, &pair.source, move |_| Fate::Then(150, change));
    let end = send(&pair.source, route, 1).await;
    assert!(end.error.is_none(), "{:?}", end.error);
    assert_eq!(end.report.verdict, Verdict::Partial);
    assert_eq!(end.report.tally.failed, 1);
    assert_eq!(end.report.failures[0].failure.class, Class::Changed);
    // The server need not wait for a client that has given up.
    let (_, run) = server.next_run().await;
    assert_eq!(run.report.verdict, Verdict::Partial, "{:?}", run.error);
    assert_eq!(run.report.failures[0].failure.class, Class::Changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_is_told_to_stop_ends_the_server_s_run_too() {
    let pair = pair(64 * MIB, &[], &[]);
    fs::write(&pair.source, vec![5; 64 << 20]).unwrap();
    let server = server(&pair.target);
    let stop = barge::Stop::new();
    let options = barge::Options {
        bwlimit: Some("1M".parse().unwrap()),
        ..barge::Options::default()
    };
    let (route, monitor) = (good_route(&server), Arc::new(Monitor::default()));
    let seen = Arc::clone(&monitor);
    let stops = async {
        while seen.counters.bytes_sent.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.stop();
    };
    let sends = barge::send_device(&pair.source, "disk", options, route, monitor, stop.clone());
    let (end, ()) = tokio::join!(sends, stops);
    assert!(end.report.tally.bytes_sent > 0);
    assert_eq!(fault_of(end).0, Fault::Interrupted);
    let (_, run) = server.next_run().await;
    assert!(run.report.tally.bytes_sent > 0);
    assert_eq!(fault_of(run).0, Fault::Interrupted);
}

/// The server's memory of the parts is gone with it.
#[tokio::test(flavor = "multi_thread")]
async fn server_that_was_started_anew_is_noticed_at_once() {
    let pair = pair(3 * PART, &[0, PART, 2 * PART], &[0, PART, 2 * PART]);
    let (first, second) = (server(&pair.target), server(&pair.target));
    let before = route(&first, &pair.source, |_| Fate::Good).0;
    let (after, later) = route(&second, &pair.source, |_| Fate::Good);
    let dialled = AtomicUsize::new(0);
    let both = barge::Route {
        dial: Arc::new(move || match dialled.fetch_add(1, Ordering::Relaxed) {
            0 => (before.dial)(),
            _ => (after.dial)(),
        }),
        classify: Arc::new(|_| None),
    };
    let sending = tokio::spawn({
        let source = pair.source.clone();
        async move { send(&source, both, 1).await }
    });
    // It has the lock of the image, until it is told to stop.
    let target = fs::File::open(&pair.target).unwrap();
    let mut byte = [0];
    while byte[0] != 1 {
        target.read_exact_at(&mut byte, 0).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.drain().await;
    let end = sending.await.unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
    assert!(are_equal(&pair.source, &pair.target));
    // One that tells of the server's new beginning, then three parts and the end.
    assert_eq!(later.load(Ordering::Relaxed), 1 + 3 + 1);
    assert_eq!(second.next_run().await.1.report.verdict, Verdict::Complete);
}

/// Another number each time.
fn rand() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos()
}

#[tokio::test(flavor = "multi_thread")]
async fn second_client_is_told_that_another_run_is_on() {
    let pair = pair(3 * MIB, &[MIB], &[MIB]);
    let server = server(&pair.target);
    let step = DeviceStep::Part {
        start: 0,
        end: 3 * MIB,
    };
    // It says what it wants, and then nothing.
    let idle = welcomed(&server, 7, 3 * MIB, step).await;
    let end = send(&pair.source, good_route(&server), 1).await;
    assert!(
        matches!(end.error, Some(Error::Refused(ref text)) if text.contains("another run")),
        "{:?}",
        end.error
    );
    assert!(!are_equal(&pair.source, &pair.target));
    // Its successor need not wait for it.
    drop(idle);
    let end = send(&pair.source, good_route(&server), 1).await;
    assert!(end.error.is_none(), "{:?}", end.error);
    let (_, run) = server.next_run().await;
    assert_eq!(run.report.verdict, Verdict::Complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_one_image_are_written_by_one_run_at_a_time() {
    let pair = pair(3 * MIB, &[MIB], &[MIB]);
    let (first, second) = (server(&pair.target), server(&pair.target));
    let step = DeviceStep::Part {
        start: 0,
        end: 3 * MIB,
    };
    let _idle = welcomed(&first, 7, 3 * MIB, step).await;
    let (fault, text) = fault_of(send(&pair.source, good_route(&second), 1).await);
    assert_eq!(fault, Fault::Request);
    assert!(text.contains("busy"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_is_told_to_stop_ends_its_run_and_takes_none() {
    let pair = pair(3 * MIB, &[MIB], &[MIB]);
    let server = server(&pair.target);
    let step = DeviceStep::Part {
        start: 0,
        end: 3 * MIB,
    };
    let _idle = welcomed(&server, 7, 3 * MIB, step).await;
    server.drain().await;
    let (_, run) = server.next_run().await;
    let error = run.error.unwrap();
    assert_eq!(error.fault(), Fault::Interrupted, "{error}");
    let Answer::Refused(refusal) = Client::new(&server).hello(7, 3 * MIB, step).await else {
        panic!("welcome");
    };
    assert_eq!(refusal.code, RefusalCode::Draining);
}

fn block() -> BlockSize {
    BlockSize::new(128 << 10).unwrap()
}

/// What the digest of an image is: of each part that of its blocks' digests, of those that of all.
fn digest_of(content: &[u8]) -> [u8; 32] {
    let (digester, mut whole) = (Digester::new(block()), Whole::default());
    for part in content.chunks(PART as usize) {
        let mut digests = Whole::default();
        for block in part.chunks(128 << 10) {
            digests.add(&digester.digest(block));
        }
        whole.add(&digests.digest());
    }
    whole.digest()
}

/// A client whose connection may go on.
async fn welcomed(server: &Arc<Server>, session: u128, size: u64, step: DeviceStep) -> Client {
    let mut client = Client::new(server);
    let answer = client.hello(session, size, step).await;
    assert!(matches!(answer, Answer::Welcome(_)));
    client
}

async fn refusal(
    client: &mut Client,
    session: u128,
    size: u64,
    step: DeviceStep,
) -> (RefusalCode, String) {
    match client.hello(session, size, step).await {
        Answer::Refused(refusal) => (refusal.code, refusal.text),
        Answer::Welcome(_) => panic!("welcome"),
    }
}

/// Brings a part to its end, as a source that has `content` does.
async fn send_part(server: &Arc<Server>, session: u128, size: u64, content: &[u8]) {
    let step = DeviceStep::Part {
        start: 0,
        end: content.len() as u64,
    };
    let Client { mut stream, input } = welcomed(server, session, size, step).await;
    stream
        .write_all(&Greeting::ours(content.len() as u64))
        .await
        .unwrap();
    let mut said = input.to_vec();
    // Greeting and verdict, then a list of what an image of zeros has.
    let grid = Grid::new(content.len() as u64, block()).unwrap();
    let mut list = barge_blockrsync::ListEncoder::new(grid);
    for _ in 0..grid.count() {
        list.push(&Digester::new(block()).zeros());
    }
    let expected = list.flush();
    while said.len() < GREETING_LEN + 16 + expected.len() {
        assert!(stream.read_buf(&mut said).await.unwrap() > 0);
    }
    let mut changes = ChangesEncoder::new(grid, list.finish());
    for (index, block) in (0..).zip(content.chunks(128 << 10)) {
        changes.data(index, block);
    }
    let digest = changes.end();
    stream.write_all(&changes.flush()).await.unwrap();
    let mut said = Vec::new();
    while said.len() < 16 + 32 {
        assert!(stream.read_buf(&mut said).await.unwrap() > 0);
    }
    assert_eq!(said[16..], digest);
    stream
        .write_all(&[barge_blockrsync::FAREWELL])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn end_is_refused_with_another_digest_and_before_all_parts_are_there() {
    let pair = pair(0, &[], &[]);
    let (server, content) = (server(&pair.target), vec![5; 300_000]);
    let size = content.len() as u64;
    let digest = digest_of(&content);
    let end = DeviceStep::End { digest };
    let (code, _) = refusal(&mut Client::new(&server), 1, size, end).await;
    assert_eq!(code, RefusalCode::UnknownSession);
    assert_eq!(
        fs::metadata(&pair.target).unwrap().len(),
        0,
        "nothing was begun by that"
    );
    send_part(&server, 1, size, &content).await;
    let wrong = DeviceStep::End { digest: [1; 32] };
    let (code, text) = refusal(&mut Client::new(&server), 1, size, wrong).await;
    assert_eq!(code, RefusalCode::Unwritable);
    assert!(text.contains("not what was read"), "{text}");
    // Another session knows nothing of this one.
    let (code, _) = refusal(&mut Client::new(&server), 2, size, end).await;
    assert_eq!(code, RefusalCode::UnknownSession);
    let mut last = Client::new(&server);
    assert!(matches!(last.hello(1, size, end).await, Answer::Welcome(_)));
    let again = DeviceStep::Part {
        start: 0,
        end: size,
    };
    let (_, text) = refusal(&mut Client::new(&server), 1, size, again).await;
    assert!(text.contains("at its end"), "{text}");
    assert!(fs::read(&pair.target).unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn part_that_is_written_again_is_not_done_until_it_is_through() {
    let pair = pair(0, &[], &[]);
    let (server, content) = (server(&pair.target), vec![5; 300_000]);
    let size = content.len() as u64;
    send_part(&server, 1, size, &content).await;
    let step = DeviceStep::Part {
        start: 0,
        end: size,
    };
    let _again = welcomed(&server, 1, size, step).await;
    let end = DeviceStep::End {
        digest: digest_of(&content),
    };
    let (code, _) = refusal(&mut Client::new(&server), 1, size, end).await;
    assert_eq!(code, RefusalCode::UnknownSession);
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_and_wrong_lengths_are_refused_and_nothing_is_written() {
    let pair = pair(0, &[], &[]);
    let server = server(&pair.target);
    let size = 300_000;
    let step = DeviceStep::Part {
        start: 0,
        end: size,
    };
    let grid = |len| Grid::new(len, block()).unwrap();
    let mut short = ChangesEncoder::new(grid(1000), Transcript::default());
    short.data(0, &[9; 1000]);
    let greets = |len: u64| Greeting::ours(len).to_vec();
    for (case, says) in [
        ("a stock blockrsync", vec![7; 32]),
        ("a longer part", greets(size + 1)),
        ("a shorter part", greets(size - 1)),
        (
            "the part, and then a shorter one",
            [greets(size), short.flush().to_vec()].concat(),
        ),
        (
            "the part, and then what is nothing",
            [greets(size), vec![255; 100_000]].concat(),
        ),
    ] {
        let mut client = Client::new(&server);
        assert!(
            matches!(client.hello(1, size, step).await, Answer::Welcome(_)),
            "{case}"
        );
        let _ = client.stream.write_all(&says).await;
        client.stream.shutdown().await.unwrap();
        client.rest().await;
        assert!(
            fs::read(&pair.target).unwrap() == vec![0; 300_000],
            "{case}"
        );
        let end = DeviceStep::End {
            digest: digest_of(&[0; 300_000]),
        };
        let (code, _) = refusal(&mut Client::new(&server), 1, size, end).await;
        assert_eq!(code, RefusalCode::UnknownSession, "{case}");
    }
}

/// A server that says welcome, and then `says`, whatever it hears.
fn liar(says: Vec<u8>) -> barge::Route {
    let dial = move || -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
        let says = says.clone();
        Box::pin(async move {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let welcome = Answer::Welcome(barge_native::Welcome {
                    version: barge_native::VERSION,
                    session: 1,
                    secret: 0,
                    seed: 0,
                    streams: 1,
                    window: 8 << 20,
                    list_window: 4 << 20,
                    received: [0; 2],
                });
                theirs.write_all(&welcome.encode().head).await.unwrap();
                let _ = theirs.write_all(&says).await;
                while !matches!(theirs.read_buf(&mut Vec::new()).await, Ok(0) | Err(_)) {}
            });
            Ok::<_, barge::DialError>(Box::new(ours) as Box<dyn barge::Stream>)
        })
    };
    barge::Route {
        dial: Arc::new(dial),
        classify: Arc::new(|_| None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_says_what_cannot_be_is_no_success_and_not_tried_again() {
    let pair = pair(300_000, &[0], &[0]);
    let greets = |len: u64| Greeting::ours(len).to_vec();
    let ready = b"barge block list";
    let grid = |len| Grid::new(len, block()).unwrap();
    let mut long = barge_blockrsync::ListEncoder::new(grid(10_000_000));
    for _ in 0..grid(10_000_000).count() {
        long.push(&[5; 32]);
    }
    let long = long.flush();
    for (case, says) in [
        ("a stock blockrsync", vec![7; 32]),
        ("a longer part", [&greets(300_001)[..], ready].concat()),
        ("a shorter part", [&greets(299_999)[..], ready].concat()),
        (
            "done, before it was begun",
            [&greets(300_000)[..], b"barge block done", &[0; 32]].concat(),
        ),
        (
            "more blocks than there are",
            [&greets(300_000)[..], ready, &long].concat(),
        ),
    ] {
        let begun = std::time::Instant::now();
        let end = send(&pair.source, liar(says), 1).await;
        assert_eq!(end.report.reconnects, 0, "{case}");
        let (fault, text) = fault_of(end);
        assert_eq!(fault, Fault::Peer, "{case}: {text}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_connection_of_a_part_takes_the_place_of_the_older_ones() {
    let pair = pair(0, &[], &[]);
    let (server, content) = (server(&pair.target), vec![5; 300_000]);
    let size = content.len() as u64;
    let step = DeviceStep::Part {
        start: 0,
        end: size,
    };
    let mut lost = Vec::new();
    for _ in 0..3 {
        let mut client = Client::new(&server);
        assert!(matches!(
            client.hello(1, size, step).await,
            Answer::Welcome(_)
        ));
        client
            .stream
            .write_all(&Greeting::ours(size))
            .await
            .unwrap();
        lost.push(client);
    }
    send_part(&server, 1, size, &content).await;
    assert!(fs::read(&pair.target).unwrap() == content);
    for client in lost {
        client.rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_has_so_many_connections_and_no_more() {
    let pair = pair(0, &[], &[]);
    let server = server(&pair.target);
    let size = 100 * PART;
    let mut clients = Vec::new();
    for number in 0..64 {
        let mut client = Client::new(&server);
        let (start, end) = (number * PART, (number + 1) * PART);
        let answer = client.hello(1, size, DeviceStep::Part { start, end }).await;
        assert!(matches!(answer, Answer::Welcome(_)), "{number}");
        clients.push(client);
    }
    let (start, end) = (64 * PART, 65 * PART);
    let (code, text) = refusal(
        &mut Client::new(&server),
        1,
        size,
        DeviceStep::Part { start, end },
    )
    .await;
    assert_eq!(code, RefusalCode::Busy);
    assert!(text.contains("64 connections"), "{text}");
}
