//! A source that its application goes on changing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mover::{Lane, User, exit};
use barge_testkit::scratch::Scratch;

use crate::stamped::{Stamp, append_and_take_back};
use crate::{dir, expect_code, temporaries, walk};

#[test]
fn source_rewritten_during_the_run_never_gives_mixed_content() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    for file in 0..FILES {
        stamp(file, 0)
            .write(&source.join(file.to_string()))
            .unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Stops the other thread also when an assertion fails.
        let _stopping = Stopping(&stop);
        scope.spawn(|| rewrite(&source, &stop));
        for options in [&["--streams", "1"], &["--streams", "4"]] {
            let pass = lane.pass(User::Same, &source, &target, options).unwrap();
            let code = pass.sender.ended.code;
            assert!(
                matches!(code, Some(exit::COMPLETE | exit::PARTIAL)),
                "{code:?}: {}",
                pass.sender.ended.stderr
            );
            for file in walk(&target) {
                Stamp::read(&file).unwrap();
            }
        }
    });
    assert_eq!(temporaries(&target), Vec::<std::path::PathBuf>::new());
    let pass = lane
        .pass(User::Same, &source, &target, &["--delete"])
        .unwrap();
    expect_code(&pass.sender, exit::COMPLETE);
    assert_same(&source, &target, &Compare::default());
}

/// Raises a flag when dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Rewrites, shrinks, grows, removes and makes files, one after the other, until told to stop.
fn rewrite(source: &Path, stop: &AtomicBool) {
    for generation in 1.. {
        for file in (0..FILES).filter(|file| file % 3 != 0) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let path = source.join(file.to_string());
            let stamp = stamp(file, generation);
            match (file + generation) % 4 {
                0 => fs::remove_file(&path).and_then(|()| stamp.write(&path)),
                1 => stamp
                    .write(&path)
                    .and_then(|()| append_and_take_back(&path, stamp)),
                _ => stamp.write(&path),
            }
            .unwrap();
        }
    }
}

/// What a file holds in a generation: 1 to 5 MiB, of another length each time.
fn stamp(file: u64, generation: u64) -> Stamp {
    Stamp {
        file,
        generation,
        blocks: 256 + (file * 31 + generation * 17) % 1024,
    }
}

const FILES: u64 = 18;
