//! Out of descriptors: a process of its own, since the limit is the whole process's.

use std::time::Duration;

use barge_net::Listener;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn listener_goes_on_when_descriptors_are_free_again() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    assert!(
        timeout(Duration::from_millis(300), listener.accept())
            .await
            .is_err()
    );
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    timeout(Duration::from_secs(10), listener.accept())
        .await
        .unwrap();
}
