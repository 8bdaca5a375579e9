//! Ends that are killed, and ends that are asked to stop.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mover::{HOST, Lane, Server, Told, User, exit};
use barge_testkit::peer::{Route, Running};
use barge_testkit::scratch::Scratch;
use nix::sys::signal::Signal;

use crate::stamped::Stamp;
use crate::{dir, expect_code, is_temporary, temporaries, walk};

#[test]
fn killed_at_any_moment_the_target_holds_whole_files_and_the_next_run_completes() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    for round in 0..10 {
        write_generation(&source, round);
        let mut slow = Slow::start(&lane, &source, &target);
        // Spread over the two seconds a run takes; a different moment each time.
        let moment = Duration::from_millis(37 + 173 * (round * 7 % 10));
        thread::sleep(moment);
        let ends = slow.kill(round);
        eprintln!("round {round}: {ends} killed after {moment:?}");
        drop(slow);
        for file in walk(&target).iter().filter(|path| !is_temporary(path)) {
            let stamp = Stamp::read(file)
                .unwrap()
                .expect("no source file was ever dirty");
            assert!(stamp.generation <= round, "{stamp:?} in round {round}");
        }
        if round % 3 == 2 {
            complete(&lane, &source, &target);
        }
    }
    complete(&lane, &source, &target);
}

#[test]
fn target_asked_to_stop_drains_and_a_further_run_completes() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    write_generation(&source, 0);
    let mut slow = Slow::start(&lane, &source, &target);
    thread::sleep(Duration::from_millis(700));
    slow.server.process().signal(Signal::SIGTERM);
    let server = slow.server.wait().unwrap();
    expect_code(&server, exit::INTERRUPTED);
    assert!(
        server.report.is_object(),
        "the report is written: {}",
        server.ended.stderr
    );
    let sender = Told::wait(slow.sender, &slow.report).unwrap();
    assert_ne!(sender.ended.code, Some(exit::COMPLETE));
    assert_eq!(temporaries(&target), Vec::<PathBuf>::new());
    complete(&lane, &source, &target);
}

#[test]
fn source_asked_to_stop_drains_and_a_further_run_completes() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = (dir(place.path(), "source"), dir(place.path(), "target"));
    write_generation(&source, 0);
    let mut slow = Slow::start(&lane, &source, &target);
    thread::sleep(Duration::from_millis(700));
    slow.sender.signal(Signal::SIGTERM);
    let sender = Told::wait(slow.sender, &slow.report).unwrap();
    expect_code(&sender, exit::INTERRUPTED);
    assert!(
        sender.report.is_object(),
        "the report is written: {}",
        sender.ended.stderr
    );
    assert_eq!(temporaries(&target), Vec::<PathBuf>::new());
    slow.server.stop().unwrap();
    assert_eq!(temporaries(&target), Vec::<PathBuf>::new());
    complete(&lane, &source, &target);
}

/// A run of about two seconds.
struct Slow {
    sender: Running,
    report: PathBuf,
    server: Server,
    _route: Route,
}

impl Slow {
    fn start(lane: &Lane, source: &Path, target: &Path) -> Self {
        let server = lane.serve(User::Same, target, &[]).unwrap();
        let route = Route::start(&[(HOST, server.addr)]).unwrap();
        let mut send = lane.send(User::Same, source, route.addr()).unwrap();
        send.args(["--bwlimit", "12Mi", "--whole-file", "--retries", "2"]);
        let (sender, report) = lane.start(&mut send).unwrap();
        Self {
            sender,
            report,
            server,
            _route: route,
        }
    }

    /// Kills one end or both, by turns, and says which.
    fn kill(&mut self, round: u64) -> &'static str {
        let (sender, server, ends) = match round % 3 {
            0 => (true, true, "both ends"),
            1 => (true, false, "the source"),
            _ => (false, true, "the target"),
        };
        if server {
            self.server.process().signal(Signal::SIGKILL);
        }
        if sender {
            self.sender.signal(Signal::SIGKILL);
        }
        // What the other end does on its own is part of what is looked at afterwards.
        thread::sleep(Duration::from_millis(100));
        ends
    }
}

/// Writes all files of the source anew: 24 MiB in 60 small ones and two large.
fn write_generation(source: &Path, generation: u64) {
    for file in 0..62 {
        let blocks = if file < 60 { 1 + file % 9 } else { 2_900 };
        let dir = dir(source, &format!("d{}", file % 5));
        let stamp = Stamp {
            file,
            generation,
            blocks,
        };
        stamp.write(&dir.join(file.to_string())).unwrap();
    }
}

fn complete(lane: &Lane, source: &Path, target: &Path) {
    let pass = lane
        .pass(User::Same, source, target, &["--delete"])
        .unwrap();
    expect_code(&pass.sender, exit::COMPLETE);
    expect_code(&pass.server, exit::COMPLETE);
    assert_same(source, target, &Compare::default());
    assert_eq!(temporaries(target), Vec::<PathBuf>::new());
}
