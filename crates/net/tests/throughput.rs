//! How fast one stream is over loopback. Not run unless asked:
//! `cargo test --release -p barge-net --test throughput -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

use std::time::{Duration, Instant};

use barge_net::{Acceptor, Connector, Dialer, Identity, Listener, Role, Target};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn one_stream_carries_two_gibibytes() {
    const PIECE: usize = 256 << 10;
    const PIECES: usize = (2 << 30) / PIECE;
    let dir = tempfile::tempdir().unwrap();
    barge_net::make(dir.path(), &[]).unwrap();
    let identity = |role| Identity::load_for(dir.path(), role).unwrap();
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let acceptor = Acceptor::new(&identity(Role::Server));
    let target = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let connector = Connector::new(&identity(Role::Client), None).unwrap();
    let dialer = Dialer::new(Target::parse(&target).unwrap(), connector);
    let receive = tokio::spawn(async move {
        let mut stream = listener.accept().await.handshake(&acceptor).await.unwrap();
        let mut piece = vec![0; PIECE];
        for _ in 0..PIECES {
            stream.read_exact(&mut piece).await.unwrap();
        }
    });
    let mut stream = dialer.dial().await.unwrap();
    let piece = vec![7; PIECE];
    let (start, cpu) = (Instant::now(), cpu_time());
    for _ in 0..PIECES {
        stream.write_all(&piece).await.unwrap();
    }
    stream.flush().await.unwrap();
    receive.await.unwrap();
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_time() - cpu);
    let rate = (PIECE * PIECES) as f64 / 1e9 / wall;
    println!("{rate:.2} GB/s, {:.2} CPU-s", cpu.as_secs_f64());
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let part = |time: TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    part(usage.user_time()) + part(usage.system_time())
}
