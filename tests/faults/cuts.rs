//! Connections that are cut, fall silent, or lose their route.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::faulty::{Cutter, Faults, Harm};
use barge_testkit::mover::{HOST, Lane, Told, User, exit};
use barge_testkit::peer::Route;
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;

use crate::{dir, expect_code, temporaries};

#[test]
fn run_survives_a_cut_every_few_mebibytes() {
    for streams in ["1", "4"] {
        let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
        let (source, target) = volume(place.path());
        let faults = Faults {
            harm: Harm::Cut,
            every: 3 << 20,
            limit: 12,
            delay: Duration::ZERO,
        };
        let (sender, server, cutter) =
            through(&lane, &source, &target, faults, &["--streams", streams]);
        for told in [&sender, &server] {
            expect_code(told, exit::COMPLETE);
        }
        assert_same(&source, &target, &Compare::default());
        assert_eq!(temporaries(&target), Vec::<PathBuf>::new());
        assert!(
            cutter.harmed() >= 8,
            "{} cuts with {streams} streams",
            cutter.harmed()
        );
        let reconnects = sender.report["reconnects"].as_u64().unwrap();
        assert!(reconnects >= cutter.harmed() / 2, "{}", sender.report);
        assert!(
            cutter.bytes() < 3 * VOLUME,
            "{} bytes for {VOLUME}",
            cutter.bytes()
        );
    }
}

#[test]
fn run_survives_cuts_before_the_peers_have_said_much() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(place.path());
    for every in [1, 700, 2_500, 6_000, 20_000] {
        let faults = Faults {
            harm: Harm::Cut,
            every,
            limit: 2,
            delay: Duration::ZERO,
        };
        let (sender, _, _) = through(&lane, &source, &target, faults, &[]);
        expect_code(&sender, exit::COMPLETE);
        assert_same(&source, &target, &Compare::default());
    }
}

#[test]
fn run_survives_connections_that_fall_silent() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(place.path());
    let faults = Faults {
        harm: Harm::Stall,
        every: 5 << 20,
        limit: 2,
        delay: Duration::ZERO,
    };
    let options = ["--stall-timeout", "2s", "--streams", "2"];
    let (sender, _, cutter) = through(&lane, &source, &target, faults, &options);
    expect_code(&sender, exit::COMPLETE);
    assert_eq!(cutter.harmed(), 2);
    assert_same(&source, &target, &Compare::default());
}

#[test]
fn run_survives_a_route_that_restarts() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(place.path());
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let mut route = Route::start(&[(HOST, server.addr)]).unwrap();
    let mut send = lane.send(User::Same, &source, route.addr()).unwrap();
    send.args(["--bwlimit", "20Mi"]);
    let (sender, report) = lane.start(&mut send).unwrap();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(600));
        route.cut().unwrap();
    }
    let sender = Told::wait(sender, &report).unwrap();
    expect_code(&sender, exit::COMPLETE);
    assert!(
        sender.report["reconnects"].as_u64().unwrap() >= 1,
        "{}",
        sender.report
    );
    expect_code(&server.wait().unwrap(), exit::COMPLETE);
    assert_same(&source, &target, &Compare::default());
}

/// Bytes in the files of [`volume`], about.
const VOLUME: u64 = 50 << 20;

/// A source of 300 small files and a large one, and an empty target.
fn volume(place: &Path) -> (PathBuf, PathBuf) {
    let (source, target) = (dir(place, "source"), dir(place, "target"));
    tree::many(&source, 300, 64 << 10, 1).unwrap();
    tree::random_file(&source.join("large"), 40 << 20, 2).unwrap();
    (source, target)
}

/// A run through a proxy that does harm.
fn through(
    lane: &Lane,
    source: &Path,
    target: &Path,
    faults: Faults,
    options: &[&str],
) -> (Told, Told, Cutter) {
    let server = lane.serve(User::Same, target, &[]).unwrap();
    let cutter = Cutter::start(server.addr, faults).unwrap();
    let mut send = lane.send(User::Same, source, cutter.addr()).unwrap();
    send.args(options);
    let sender = lane.run(send).unwrap();
    let server = match sender.ended.code {
        Some(exit::COMPLETE) => server.wait().unwrap(),
        _ => server.stop().unwrap(),
    };
    (sender, server, cutter)
}
