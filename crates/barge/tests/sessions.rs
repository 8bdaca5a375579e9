//! A server's side of the conversation, with a client that says what it should not.
#![allow(clippy::unwrap_used, reason = "a test, in functions of its own too")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barge::{Error, Fault, Monitor, RunEnd, Server};
use barge_native::frame::{self, Frame, Tag};
use barge_native::{
    Answer, Control, DirId, Hello, Order, Purpose, Refusal, RefusalCode, Segment, SegmentId,
    VERSION, Welcome,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const STALL: Duration = Duration::from_secs(5);

fn server(volume: &Path) -> Arc<Server> {
    let volumes = vec![("volume".to_owned(), volume.to_owned())];
    Server::new(volumes, Arc::new(Monitor::default()), STALL).unwrap()
}

fn connect(server: &Arc<Server>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let server = Arc::clone(server);
    tokio::spawn(async move { server.serve(theirs).await });
    ours
}

async fn say(stream: &mut DuplexStream, frame: &Frame) {
    stream.write_all(&frame.head).await.unwrap();
    stream.write_all(&frame.body).await.unwrap();
}

async fn hear(stream: &mut DuplexStream) -> Option<(Tag, bytes::Bytes)> {
    let mut input = BytesMut::new();
    loop {
        if let Some(frame) = frame::decode(&mut input).unwrap() {
            return Some(frame);
        }
        if stream.read_buf(&mut input).await.unwrap() == 0 {
            return None;
        }
    }
}

fn begin(volume: &str) -> Hello {
    let purpose = Purpose::Begin {
        volume: volume.to_owned(),
        streams: 1,
        order: Order::default(),
    };
    Hello {
        min_version: VERSION,
        max_version: VERSION,
        window: 8 << 20,
        purpose,
    }
}

async fn answer(server: &Arc<Server>, hello: Hello) -> Answer {
    let mut stream = connect(server);
    say(&mut stream, &hello.encode()).await;
    let (tag, payload) = hear(&mut stream).await.unwrap();
    Answer::decode(tag, payload).unwrap()
}

async fn refusal(server: &Arc<Server>, hello: Hello) -> Refusal {
    match answer(server, hello).await {
        Answer::Refused(refusal) => refusal,
        Answer::Welcome(_) => panic!("welcome"),
    }
}

async fn welcome(server: &Arc<Server>) -> (DuplexStream, Welcome) {
    let mut stream = connect(server);
    say(&mut stream, &begin("volume").encode()).await;
    let (tag, payload) = hear(&mut stream).await.unwrap();
    match Answer::decode(tag, payload).unwrap() {
        Answer::Welcome(welcome) => (stream, welcome),
        Answer::Refused(refusal) => panic!("{refusal:?}"),
    }
}

async fn end(server: &Server) -> RunEnd {
    tokio::time::timeout(Duration::from_secs(20), server.next_run())
        .await
        .unwrap()
        .1
}

#[tokio::test]
async fn server_refuses_versions_that_do_not_meet_and_says_what_to_do() {
    let volume = tempfile::tempdir().unwrap();
    let hello = Hello {
        min_version: VERSION + 1,
        max_version: VERSION + 7,
        ..begin("volume")
    };
    let refusal = refusal(&server(volume.path()), hello).await;
    assert_eq!(refusal.code, RefusalCode::Version);
    assert!(refusal.text.contains("same release"), "{}", refusal.text);
}

#[tokio::test]
async fn server_refuses_unknown_volumes_and_sessions() {
    let volume = tempfile::tempdir().unwrap();
    let server = server(volume.path());
    assert_eq!(
        refusal(&server, begin("other")).await.code,
        RefusalCode::UnknownVolume
    );
    let purpose = Purpose::Join {
        session: 1,
        secret: 2,
        stream: 0,
        received: [0, 0],
    };
    let join = Hello {
        purpose,
        ..begin("volume")
    };
    assert_eq!(
        refusal(&server, join).await.code,
        RefusalCode::UnknownSession
    );
}

#[tokio::test]
async fn server_refuses_a_join_without_the_secret_or_of_a_stream_there_is_not() {
    let volume = tempfile::tempdir().unwrap();
    let server = server(volume.path());
    let (_first, welcome) = welcome(&server).await;
    let Welcome {
        session, secret, ..
    } = welcome;
    for (secret, stream) in [(secret ^ 1, 0), (secret, 1)] {
        let purpose = Purpose::Join {
            session,
            secret,
            stream,
            received: [0, 0],
        };
        let join = Hello {
            purpose,
            ..begin("volume")
        };
        assert_eq!(
            refusal(&server, join).await.code,
            RefusalCode::UnknownSession
        );
    }
}

#[tokio::test]
async fn server_refuses_a_second_run_while_the_first_is_connected_and_takes_its_successor() {
    let volume = tempfile::tempdir().unwrap();
    let server = server(volume.path());
    let (first, _) = welcome(&server).await;
    assert_eq!(
        refusal(&server, begin("volume")).await.code,
        RefusalCode::Busy
    );
    drop(first);
    // The server learns of it in its own time; until then it may call the volume busy.
    let admitted = async {
        while !matches!(answer(&server, begin("volume")).await, Answer::Welcome(_)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), admitted)
        .await
        .unwrap();
}

#[tokio::test]
async fn run_ends_and_the_volume_is_free_after_a_message_out_of_order() {
    let segment = Control::Segment(Segment {
        id: SegmentId(0),
        dir: DirId(9),
        last: true,
        clean: true,
        items: Vec::new(),
    });
    let mut cases = tokio::task::JoinSet::new();
    for frame in [
        segment.encode(),
        Control::Goodbye.encode(),
        Frame::new(Tag::Literal, &[0; 20]),
        Frame::new(Tag::Signature, &[0; 3]),
        Frame::new(Tag::Hello, &[]),
        Frame::new(Tag::Ack, &[0, 1, 1]),
    ] {
        cases.spawn(run_ends_after(frame));
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn run_ends_after(frame: Frame) {
    let volume = tempfile::tempdir().unwrap();
    let server = server(volume.path());
    let (mut stream, _) = welcome(&server).await;
    say(&mut stream, &frame).await;
    let end = end(&server).await;
    let error = end.error.unwrap();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    let left: Vec<_> = std::fs::read_dir(volume.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    welcome(&server).await;
}

#[tokio::test]
async fn connection_that_says_something_else_is_closed() {
    let volume = tempfile::tempdir().unwrap();
    let server = server(volume.path());
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(hear(&mut stream).await.is_none());
}
