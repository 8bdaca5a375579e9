//! Orders that cannot be carried out.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use barge_testkit::compare::{Compare, assert_same};
use barge_testkit::mount::Mounted;
use barge_testkit::mover::{Lane, Told, User, barge, exit};
use barge_testkit::scratch::Scratch;
use barge_testkit::tree;
use nix::unistd::geteuid;

use crate::{expect_refusal, is_empty, volume};

#[test]
fn unknown_volume_is_refused_by_name() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let mut send = barge().unwrap();
    send.arg("send")
        .arg(&source)
        .args(["--to", &server.addr.to_string()]);
    send.args([
        "--volume",
        "no-such",
        "--server-name",
        barge_testkit::mover::HOST,
    ]);
    send.arg("--tls").arg(&lane.client_keys);
    expect_refusal(&lane.run(send).unwrap(), exit::REFUSED, &["no-such"]);
    server.stop().unwrap();
    assert!(is_empty(&target));
}

#[test]
fn second_run_on_a_volume_that_is_being_written_is_refused_and_the_first_completes() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    tree::random_file(&source.join("large"), 20 << 20, 1).unwrap();
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let mut first = lane.send(User::Same, &source, server.addr).unwrap();
    let (first, report) = lane.start(first.args(["--bwlimit", "8Mi"])).unwrap();
    thread::sleep(Duration::from_millis(800));
    let second = lane.send(User::Same, &source, server.addr).unwrap();
    expect_refusal(&lane.run(second).unwrap(), exit::REFUSED, &["another run"]);
    let first = Told::wait(first, &report).unwrap();
    assert_eq!(
        first.ended.code,
        Some(exit::COMPLETE),
        "{}",
        first.ended.stderr
    );
    assert_eq!(server.wait().unwrap().ended.code, Some(exit::COMPLETE));
    assert_same(&source, &target, &Compare::default());
}

#[test]
fn source_that_is_missing_or_no_directory_is_refused() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    for source in [source.join("missing"), source.join("file")] {
        let pass = lane.pass(User::Same, &source, &target, &[]).unwrap();
        let name = source.display().to_string();
        expect_refusal(&pass.sender, exit::REFUSED, &[&name]);
        assert!(is_empty(&target));
    }
}

#[test]
fn source_that_cannot_be_read_is_refused() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    fs::set_permissions(&source, Permissions::from_mode(0o000)).unwrap();
    let user = if geteuid().is_root() {
        User::Nobody
    } else {
        User::Same
    };
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let told = lane
        .run(lane.send(user, &source, server.addr).unwrap())
        .unwrap();
    expect_refusal(&told, exit::REFUSED, &["cannot be read"]);
    server.stop().unwrap();
    assert!(is_empty(&target));
}

#[test]
fn directory_that_cannot_be_read_fails_alone_and_nothing_in_it_is_deleted() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    for root in [&source, &target] {
        fs::create_dir(root.join("closed")).unwrap();
        fs::write(root.join("closed/within"), "old").unwrap();
    }
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o000)).unwrap();
    let user = if geteuid().is_root() {
        User::Nobody
    } else {
        User::Same
    };
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let mut send = lane.send(user, &source, server.addr).unwrap();
    send.arg("--delete");
    let told = lane.run(send).unwrap();
    expect_refusal(&told, exit::PARTIAL, &[]);
    server.wait().unwrap();
    let failure = &told.report["failures"][0];
    assert_eq!(
        (&failure["path"], &failure["class"]),
        (&"closed".into(), &"denied".into())
    );
    // The target's directory has got the mode of the source's, which shuts this test out as well.
    fs::set_permissions(target.join("closed"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read(target.join("closed/within")).unwrap(), b"old");
    assert_eq!(fs::read(target.join("file")).unwrap(), b"content");
}

#[test]
fn read_only_target_is_refused() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, _) = volume(&place);
    let target = Mounted::tmpfs(&place.join("mounted"), "size=1m").unwrap();
    target.remount("ro").unwrap();
    let mut copy = barge().unwrap();
    copy.arg("copy").arg(&source).arg(target.path());
    expect_refusal(&lane.run(copy).unwrap(), exit::REFUSED, &["read-only"]);
}

#[test]
fn copy_into_itself_is_refused_and_changes_nothing() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, _) = volume(&place);
    fs::create_dir(source.join("below")).unwrap();
    for (target, word) in [
        (source.clone(), "same directory"),
        (source.join("below"), "inside the source"),
        (source.join("new"), "no such file"),
    ] {
        let told = copy(&lane, &source, &target, &[]);
        expect_refusal(&told, exit::REFUSED, &[word]);
        assert_eq!(fs::read_dir(&source).unwrap().count(), 2);
        assert!(is_empty(&source.join("below")));
    }
}

#[test]
fn wrong_usage_is_told_from_a_refusal() {
    let place = Scratch::new().unwrap();
    let (source, target) = volume(&place);
    let lane = Lane::new().unwrap();
    expect_refusal(
        &copy(&lane, &source, &target, &["--no-such"]),
        exit::USAGE,
        &["--no-such"],
    );
    let mut lane = lane;
    lane.client_keys = place.join("no-keys");
    let told = lane.run(
        lane.send(User::Same, &source, ([127, 0, 0, 1], 9).into())
            .unwrap(),
    );
    expect_refusal(&told.unwrap(), exit::USAGE, &["no-keys"]);
    assert!(is_empty(&target));
}

#[test]
fn deletion_stops_at_its_limit() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    for n in 0..20 {
        fs::write(target.join(n.to_string()), "not in the source").unwrap();
    }
    let told = copy(&lane, &source, &target, &["--delete", "--max-delete", "5"]);
    expect_refusal(&told, exit::MAX_DELETE, &["--max-delete"]);
    assert!(
        fs::read_dir(&target).unwrap().count() >= 15,
        "no more than five were deleted"
    );
}

fn copy(lane: &Lane, source: &Path, target: &Path, options: &[&str]) -> Told {
    let mut barge = barge().unwrap();
    barge.arg("copy").arg(source).arg(target).args(options);
    lane.run(barge).unwrap()
}
