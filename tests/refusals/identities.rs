//! Peers that are not who they should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use barge_testkit::mover::{HOST, Lane, Told, User, barge, exit, make_keys};
use barge_testkit::peer::Running;
use barge_testkit::scratch::Scratch;

use crate::{expect_refusal, is_empty, volume};

#[test]
fn server_with_an_identity_from_another_ca_is_refused() {
    let mut lane = Lane::new().unwrap();
    let other = make_keys(&lane.join("other")).unwrap();
    lane.server_keys = other.join("server");
    expect_unverified(&lane);
}

#[test]
fn client_with_an_identity_from_another_ca_is_refused() {
    let mut lane = Lane::new().unwrap();
    let other = make_keys(&lane.join("other")).unwrap();
    fs::copy(lane.client_keys.join("ca.crt"), other.join("client/ca.crt")).unwrap();
    lane.client_keys = other.join("client");
    expect_unverified(&lane);
}

#[test]
fn identity_of_another_host_is_refused() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let mut send = barge().unwrap();
    send.arg("send")
        .arg(&source)
        .args(["--to", &server.addr.to_string(), "--volume", "data"]);
    send.arg("--tls")
        .arg(&lane.client_keys)
        .args(["--server-name", "another.test"]);
    expect_refusal(
        &lane.run(send).unwrap(),
        exit::UNVERIFIED,
        &["another.test"],
    );
    server.stop().unwrap();
    assert!(is_empty(&target));
}

#[test]
fn identity_that_has_expired_is_refused_at_either_end() {
    for expired in ["server", "client"] {
        let mut lane = Lane::new().unwrap();
        let keys = lane.join("by openssl");
        issue(&keys, expired);
        lane.server_keys = keys.join("server");
        lane.client_keys = keys.join("client");
        let told = expect_unverified(&lane);
        assert!(
            told.ended.stderr.to_lowercase().contains("expired"),
            "{}",
            told.ended.stderr
        );
    }
}

#[test]
fn identities_made_by_other_programs_are_taken() {
    let (mut lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    let keys = lane.join("by openssl");
    issue(&keys, "neither");
    lane.server_keys = keys.join("server");
    lane.client_keys = keys.join("client");
    let pass = lane.pass(User::Same, &source, &target, &[]).unwrap();
    assert_eq!(
        pass.sender.ended.code,
        Some(exit::COMPLETE),
        "{}",
        pass.sender.ended.stderr
    );
}

#[test]
fn client_without_certificate_or_with_old_tls_gets_nothing_and_the_server_goes_on() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    let ca = lane.client_keys.join("ca.crt");
    for more in [
        &["-alpn", "barge/1"][..],
        &["-alpn", "h2"],
        &["-tls1_2"],
        &[],
    ] {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-connect",
            &server.addr.to_string(),
            "-servername",
            HOST,
        ]);
        client
            .arg("-CAfile")
            .arg(&ca)
            .args(["-verify_return_error", "-ign_eof"])
            .args(more);
        let ended = Running::start(&mut client)
            .unwrap()
            .wait(Duration::from_secs(20))
            .unwrap();
        assert_ne!(ended.code, Some(0), "{more:?}: {}", ended.stdout);
        assert!(ended.stderr.contains("alert"), "{more:?}: {}", ended.stderr);
    }
    let send = lane.send(User::Same, &source, server.addr).unwrap();
    let told = lane.run(send).unwrap();
    assert_eq!(
        told.ended.code,
        Some(exit::COMPLETE),
        "{}",
        told.ended.stderr
    );
    server.wait().unwrap();
}

/// A run between two ends of which one does not trust the other.
#[track_caller]
fn expect_unverified(lane: &Lane) -> Told {
    let place = Scratch::new().unwrap();
    let (source, target) = volume(&place);
    let pass = lane.pass(User::Same, &source, &target, &[]).unwrap();
    expect_refusal(&pass.sender, exit::UNVERIFIED, &["certificate"]);
    assert!(is_empty(&target));
    pass.sender
}

/// Makes keys by openssl with the layout of `barge keys`; those of `expired` hold for no time.
fn issue(at: &Path, expired: &str) {
    fs::create_dir(at).unwrap();
    let ca: [PathBuf; 2] = [at.join("ca.key"), at.join("ca.crt")];
    openssl(
        Command::new("openssl")
            .args(["req", "-x509", "-subj", "/CN=test", "-days", "2"])
            .args(NEW_KEY)
            .arg(&ca[0])
            .arg("-out")
            .arg(&ca[1]),
    );
    for side in ["server", "client"] {
        let dir = at.join(side);
        fs::create_dir(&dir).unwrap();
        fs::copy(&ca[1], dir.join("ca.crt")).unwrap();
        let (request, extensions) = (dir.join("request"), dir.join("extensions"));
        openssl(
            Command::new("openssl")
                .args(["req", "-subj", "/CN=test"])
                .args(NEW_KEY)
                .arg(dir.join("tls.key"))
                .arg("-out")
                .arg(&request),
        );
        let usage = format!("subjectAltName=DNS:{HOST}\nextendedKeyUsage={side}Auth\n");
        fs::write(&extensions, usage).unwrap();
        let days = if side == expired { "0" } else { "2" };
        openssl(
            Command::new("openssl")
                .args(["x509", "-req", "-days", days, "-in"])
                .arg(&request)
                .arg("-CAkey")
                .arg(&ca[0])
                .arg("-CA")
                .arg(&ca[1])
                .arg("-CAcreateserial")
                .arg("-extfile")
                .arg(&extensions)
                .arg("-out")
                .arg(dir.join("tls.crt")),
        );
    }
    // A validity of no days ends in the second in which it begins.
    thread::sleep(Duration::from_secs(2));
}

fn openssl(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const NEW_KEY: [&str; 6] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
];
