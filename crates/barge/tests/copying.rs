//! Whole runs within one process, where counts and orders matter that no single room sees.
#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barge::{Monitor, Options, RunEnd, Stop, copy};
use barge_types::Verdict;

async fn run(source: &Path, target: &Path, options: Options) -> RunEnd {
    let monitor = Arc::new(Monitor::default());
    let copied = copy(source, target, options, monitor, Stop::new());
    let end = tokio::time::timeout(Duration::from_secs(120), copied)
        .await
        .expect("it ends");
    assert!(end.error.is_none(), "{:?}", end.error);
    end
}

/// Later than the moment in which a change would leave no trace.
fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

#[tokio::test]
async fn more_changed_files_than_can_be_in_hand_are_all_compared_in_turn() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content: Vec<u8> = (0..40_000u32)
        .flat_map(|n| (n ^ 0x55aa).to_le_bytes())
        .collect();
    let name = |n: usize| format!("file {n}");
    for n in 0..700 {
        fs::write(source.path().join(name(n)), &content).unwrap();
    }
    settle();
    run(source.path(), target.path(), Options::default()).await;
    for n in 0..700 {
        let file = fs::File::options()
            .write(true)
            .open(source.path().join(name(n)))
            .unwrap();
        file.write_all_at(&n.to_le_bytes(), 70_000).unwrap();
    }
    settle();
    let tally = run(source.path(), target.path(), Options::default())
        .await
        .report
        .tally;
    assert_eq!(tally.updated, 700);
    assert!(tally.bytes_sent < 700 * 20_000, "{tally:?}");
    for n in 0..700 {
        let read = |root: &Path| fs::read(root.join(name(n))).unwrap();
        assert_eq!(read(source.path()), read(target.path()), "{}", name(n));
    }
}

#[tokio::test]
async fn max_delete_is_kept_to_the_last_path_over_many_directories() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in 0..40 {
        fs::create_dir(source.path().join(dir.to_string())).unwrap();
        for file in 0..10 {
            let path = target.path().join(dir.to_string());
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(file.to_string()), "extraneous").unwrap();
        }
    }
    let options = Options {
        delete: true,
        max_delete: Some(57),
        ..Options::default()
    };
    let end = run(source.path(), target.path(), options).await;
    assert_eq!(end.report.tally.deleted, 57);
    assert_eq!(end.undeleted, 400 - 57);
    assert_eq!(end.report.verdict, Verdict::Partial);
    let dirs = fs::read_dir(target.path()).unwrap();
    let left: usize = dirs
        .map(|dir| fs::read_dir(dir.unwrap().path()).unwrap().count())
        .sum();
    assert_eq!(left, 400 - 57);
}

#[tokio::test]
async fn directory_gives_way_to_a_file_only_with_delete_and_only_when_the_file_is_there() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(source.path().join("name"), "a file now").unwrap();
    fs::create_dir(target.path().join("name")).unwrap();
    fs::write(target.path().join("name/content"), "of the directory").unwrap();
    settle();
    let end = run(source.path(), target.path(), Options::default()).await;
    assert_eq!(end.report.verdict, Verdict::Partial);
    assert!(target.path().join("name/content").exists());
    let options = Options {
        delete: true,
        ..Options::default()
    };
    let end = run(source.path(), target.path(), options).await;
    assert_eq!(end.report.verdict, Verdict::Complete);
    assert_eq!(
        fs::read_to_string(target.path().join("name")).unwrap(),
        "a file now"
    );
}

#[tokio::test]
async fn hole_of_a_tebibyte_takes_no_time_and_no_space() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = fs::File::create(source.path().join("hole")).unwrap();
    if file.set_len(1 << 40).is_err() {
        return eprintln!("skipped: no file of a TiB here");
    }
    file.write_all_at(b"data", 700 << 30).unwrap();
    settle();
    for options in [
        Options {
            streams: 8,
            ..Options::default()
        },
        Options::default(),
    ] {
        let options = Options {
            checksum: true,
            ..options
        };
        assert_eq!(
            run(source.path(), target.path(), options)
                .await
                .report
                .tally
                .failed,
            0
        );
    }
    let copied = fs::File::open(target.path().join("hole")).unwrap();
    let mut data = [0; 4];
    copied.read_exact_at(&mut data, 700 << 30).unwrap();
    assert_eq!(
        (&data, copied.metadata().unwrap().len()),
        (b"data", 1 << 40)
    );
    assert!(copied.metadata().unwrap().blocks() < 1 << 12);
}

#[tokio::test]
async fn what_no_devices_leaves_out_is_not_deleted_at_the_target() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_fifo(&source.path().join("data"));
    fs::create_dir(target.path().join("data")).unwrap();
    fs::write(target.path().join("data/file"), "precious").unwrap();
    let options = Options {
        delete: true,
        devices: false,
        ..Options::default()
    };
    let tally = run(source.path(), target.path(), options)
        .await
        .report
        .tally;
    assert_eq!((tally.deleted, tally.skipped), (0, 1));
    assert!(target.path().join("data/file").exists());
}

fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn every_path_of_a_tree_ends_once_whatever_is_done_with_it() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in 0..700 {
        let path = source.path().join("wide").join(dir.to_string());
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), dir.to_string()).unwrap();
        fs::hard_link(path.join("file"), source.path().join(format!("link {dir}"))).unwrap();
    }
    settle();
    for (dry_run, created, linked) in [(true, 1401, 700), (false, 1401, 700), (true, 0, 0)] {
        let options = Options {
            dry_run,
            ..Options::default()
        };
        let tally = run(source.path(), target.path(), options)
            .await
            .report
            .tally;
        assert_eq!(
            (tally.created, tally.linked),
            (created, linked),
            "dry: {dry_run}"
        );
        assert_eq!(tally.paths(), 2102, "the root as well");
    }
}
