//! Peers that are no barge.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use barge_testkit::mover::{Lane, Told, User, exit};
use barge_testkit::peer::{Running, free_addr};
use barge_testkit::scratch::Scratch;

use crate::{expect_refusal, volume};

#[test]
fn http_server_is_no_barge() {
    let addr = answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    expect_refusal(&send(addr, &[]), exit::NO_BARGE, &["does not speak TLS"]);
}

#[test]
fn web_server_with_a_good_certificate_is_no_barge() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, _) = volume(&place);
    let addr = free_addr().unwrap();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-accept", &addr.to_string()]);
    server.arg("-cert").arg(lane.server_keys.join("tls.crt"));
    server.arg("-key").arg(lane.server_keys.join("tls.key"));
    let _server = Running::start(&mut server).unwrap();
    await_listener(addr);
    let send = lane.send(User::Same, &source, addr).unwrap();
    expect_refusal(&lane.run(send).unwrap(), exit::NO_BARGE, &["is no barge"]);
}

#[test]
fn rsync_daemon_is_no_barge() {
    let place = Scratch::new().unwrap();
    let addr = free_addr().unwrap();
    std::fs::write(place.join("rsyncd.conf"), "use chroot = no\n").unwrap();
    let mut daemon = Command::new("rsync");
    daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    daemon.arg(format!("--port={}", addr.port()));
    daemon.arg(format!("--config={}", place.join("rsyncd.conf").display()));
    let _daemon = Running::start(&mut daemon).unwrap();
    await_listener(addr);
    expect_refusal(&send(addr, &[]), exit::NO_BARGE, &["does not speak TLS"]);
}

#[test]
fn silent_peer_meets_a_deadline() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let began = Instant::now();
    let told = send(addr, &["--stall-timeout", "2s", "--retries", "0"]);
    expect_refusal(&told, exit::CONNECTION, &[]);
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn address_where_nobody_listens_is_tried_again_and_then_named() {
    let addr = free_addr().unwrap();
    let told = send(addr, &["--retries", "2"]);
    expect_refusal(&told, exit::CONNECTION, &[&addr.to_string()]);
}

#[test]
fn noise_on_the_port_does_not_disturb_a_server() {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, target) = volume(&place);
    let server = lane.serve(User::Same, &target, &[]).unwrap();
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"@RSYNCD: 31.0\n",
        &[0; 5000],
        b"",
    ] {
        let mut stream = std::net::TcpStream::connect(server.addr).unwrap();
        // The server may have closed by then, which is the point.
        let _ = stream.write_all(noise);
    }
    let told = lane
        .run(lane.send(User::Same, &source, server.addr).unwrap())
        .unwrap();
    assert_eq!(
        told.ended.code,
        Some(exit::COMPLETE),
        "{}",
        told.ended.stderr
    );
    server.wait().unwrap();
}

fn send(to: SocketAddr, options: &[&str]) -> Told {
    let (lane, place) = (Lane::new().unwrap(), Scratch::new().unwrap());
    let (source, _) = volume(&place);
    let mut send = lane.send(User::Same, &source, to).unwrap();
    send.args(options);
    lane.run(send).unwrap()
}

/// A server that reads a little, answers the same to everybody, and closes.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A peer that left early is no matter.
            let _ = stream
                .read(&mut [0; 4096])
                .and_then(|_| stream.write_all(answer));
        }
    });
    addr
}

fn await_listener(addr: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {addr}");
        thread::sleep(Duration::from_millis(10));
    }
}
