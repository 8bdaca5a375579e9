//! The incoming half of a conversation: the data stream, and the messages between its frames.
//!
//! Messages are heard when the data before them has been read, so that what the user sees is in
//! the peer's order. Texts, errors of the list and the end of the run are dealt with here; what
//! only a role understands goes to its [`Ear`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use barge_rsync::WireError;
use barge_rsync::wire::cursor::{self, Parsed, Reader};
use barge_rsync::wire::mux::{Demux, Frame, Message, TextKind};
use barge_rsync::wire::ndx::FileIndex;
use bytes::BytesMut;

use super::activity::Due;
use super::event::Level;
use super::failure::{Failure, exit};
use super::outgoing::may_go_on;
use super::run::Run;
use super::{Event, Input};

/// What a role hears besides its data. An error ends the run.
pub(crate) type Ear = Box<dyn FnMut(Heard) -> Result<(), Failure> + Send>;

/// A message for a role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// To the sending side: this file is safe, its source may go.
    Success(FileIndex),
    /// To the receiving side: this file will not come.
    NoSend(FileIndex),
    /// To the receiving side: the sender's trouble with its lists has grown; [`Run`] knows.
    IoError,
}

/// What comes from the peer. Belongs to the thread that reads the data stream.
pub(crate) struct Incoming {
    input: Box<dyn Input>,
    run: Arc<Run>,
    ear: Ear,
    /// Room to read into.
    room: BytesMut,
    demux: Demux,
    /// Of the data stream, what was unpacked and not read.
    data: BytesMut,
}

impl Incoming {
    pub(crate) fn new(input: Box<dyn Input>, run: Arc<Run>, ear: Ear) -> Self {
        let demux = Demux::new(run.peer());
        Self {
            input,
            run,
            ear,
            room: BytesMut::new(),
            demux,
            data: BytesMut::new(),
        }
    }

    /// Reads one thing off the data stream; waits until it is there, and flushes before it waits.
    pub(crate) fn read<T>(
        &mut self,
        mut parse: impl FnMut(&mut Reader<'_>) -> Parsed<T>,
    ) -> Result<T, Failure> {
        self.read_with(|data| cursor::read(data, &mut parse))
    }

    /// Takes 1 to `most` bytes of the data stream, as many as came in one piece; waits for them.
    pub(crate) fn take(&mut self, most: usize) -> Result<BytesMut, Failure> {
        self.read_with(|data| Ok(take(data, most)))
    }

    /// Data that has come, as much as is in one piece.
    pub(crate) fn poll_data(&mut self) -> Result<Option<BytesMut>, Failure> {
        self.poll_with(|data| Ok(take(data, usize::MAX)))
    }

    /// What has come and was not unpacked: bytes that stand outside all frames.
    pub(crate) fn unframed(&mut self) -> &mut BytesMut {
        self.demux.unframed()
    }

    /// Lets a machine read from the data stream until it has something; waits as
    /// [`read`](Self::read) does.
    pub(crate) fn read_with<T>(
        &mut self,
        mut read: impl FnMut(&mut BytesMut) -> Result<Option<T>, WireError>,
    ) -> Result<T, Failure> {
        loop {
            if let Some(value) = self.poll_with(&mut read)? {
                return Ok(value);
            }
            self.wait()?;
        }
    }

    /// Lets a machine read from the data stream as far as it has come.
    pub(crate) fn poll_with<T>(
        &mut self,
        mut read: impl FnMut(&mut BytesMut) -> Result<Option<T>, WireError>,
    ) -> Result<Option<T>, Failure> {
        loop {
            if let Some(value) = read(&mut self.data)? {
                return Ok(Some(value));
            }
            match self.demux.poll()? {
                None => return Ok(None),
                Some(Frame::Data(data)) => cursor::append(&mut self.data, data),
                Some(Frame::Message(message)) => self.message(message)?,
            }
        }
    }

    /// Waits for more bytes to come, whatever they are. Sees first that what was given leaves; a thread
    /// that is writing does that, since the peer may read only after it was read.
    pub(crate) fn wait(&mut self) -> Result<(), Failure> {
        self.run.outgoing.urge()?;
        loop {
            let due = self.keep_alive()?;
            if self.run.is_over() {
                return Err(Failure::Over);
            }
            let patience = due.patience().map_or(LOOK_UP, |due| due.min(LOOK_UP));
            match self.fill(Some(patience)) {
                Ok(0) => return Err(Failure::Closed),
                Ok(_) => return Ok(()),
                Err(error) if may_go_on(&error) => {}
                Err(source) => return Err(Failure::Connection { op: "read", source }),
            }
        }
    }

    /// Tells the peer that this side lives, when that is due; gives up when all time is over.
    pub(crate) fn keep_alive(&self) -> Result<Due, Failure> {
        let due = self.run.activity.due();
        match due {
            Due::End => return Err(Failure::TimedOut(self.run.activity.limit())),
            Due::KeepAlive(_) if self.run.may_keep_alive() => self.run.outgoing.keep_alive()?,
            _ => {}
        }
        Ok(due)
    }

    /// Hears messages and drops data until the peer closes, for at most `patience`. For the end of
    /// a run: a late text is shown, and no connection is reset that has something to say.
    ///
    /// # Errors
    ///
    /// What ends a run: a peer's exit code above all.
    pub(crate) fn drain(&mut self, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            while self.poll_data()?.is_some() {}
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            match self.fill(Some(left)) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if may_go_on(&error) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn fill(&mut self, patience: Option<Duration>) -> io::Result<usize> {
        if self.room.len() < LEAST_ROOM {
            self.room = BytesMut::zeroed(ROOM);
        }
        let count = self.input.read(&mut self.room, patience)?;
        self.demux.handle_input(self.room.split_to(count));
        self.run.received.fetch_add(count as u64, Ordering::Relaxed);
        self.run.activity.progress();
        Ok(count)
    }

    fn message(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Text(kind, text) => self.run.hear(level_of(kind), &text),
            Message::IoError(errors) => {
                self.run.trouble(errors);
                (self.ear)(Heard::IoError)?;
            }
            Message::IoTimeout(seconds) => self.run.activity.adopt(seconds),
            Message::Noop if self.run.sender => self.run.outgoing.keep_alive()?,
            Message::Noop => {}
            Message::ErrorExit(code) => return Err(self.end_of_peer(code)),
            Message::Success(index) => (self.ear)(Heard::Success(index))?,
            Message::NoSend(index) => (self.ear)(Heard::NoSend(index))?,
            Message::Deleted { name, is_dir } => {
                let (name, mode) = (&*name, if is_dir { 0o040_000 } else { 0 });
                self.run.tell(Event::Deleted { name, mode });
            }
        }
        Ok(())
    }

    /// The peer ends the run, or has heard that this side does. The sending side answers; the
    /// receiving side says it on, for its sender to answer.
    fn end_of_peer(&self, code: Option<i32>) -> Failure {
        let Some(code) = code else {
            return Failure::Peer(exit::STREAM);
        };
        let answer = Some(code).filter(|_| !self.run.sender);
        self.run.outgoing.message(&Message::ErrorExit(answer));
        // When it cannot be told any more, it has gone, which is what it wanted.
        let _ = self.run.outgoing.flush();
        match code {
            // What broke off is no success, whatever the peer calls it; rsync believes it.
            0 => Failure::fatal(exit::STREAM, "the peer broke off as if all were done"),
            code => Failure::Peer(u8::try_from(code).unwrap_or(exit::STREAM)),
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incoming")
    }
}

fn take(data: &mut BytesMut, most: usize) -> Option<BytesMut> {
    let len = data.len().min(most);
    (len > 0).then(|| data.split_to(len))
}

fn level_of(kind: TextKind) -> Level {
    match kind {
        TextKind::ErrorXfer => Level::FileError,
        TextKind::Info => Level::Info,
        TextKind::Error => Level::Error,
        TextKind::Warning => Level::Warning,
    }
}

/// How long a read waits before it is looked whether the run is over.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Bytes of one piece of memory that is read into.
const ROOM: usize = 128 << 10;

/// Room below which a new piece is taken.
const LEAST_ROOM: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::IoSlice;
    use std::sync::Mutex;

    use barge_delta::Checksum;
    use barge_rsync::ProtocolVersion;
    use barge_rsync::session::{CompatFlags, Setup};
    use barge_rsync::wire::mux::{FrameHeader, Tag};
    use barge_rsync::wire::token::Compression;

    use super::*;
    use crate::over_rsync::activity::Activity;
    use crate::over_rsync::outgoing::Outgoing;
    use crate::over_rsync::{Listener, Output};

    /// Gives bytes in pieces of a few, then the end; counts how often it was asked.
    struct Pieces(VecDeque<u8>, usize);

    impl Input for Pieces {
        fn read(&mut self, buf: &mut [u8], _: Option<Duration>) -> io::Result<usize> {
            let count = buf.len().min(self.1).min(self.0.len());
            for (to, from) in buf.iter_mut().zip(self.0.drain(..count)) {
                *to = from;
            }
            Ok(count)
        }
    }

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Listener for Log {
        fn event(&self, event: Event<'_>) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }

    #[derive(Clone, Default)]
    struct Sent(Arc<Mutex<Vec<u8>>>);

    impl Output for Sent {
        fn write(&mut self, pieces: &[IoSlice<'_>], _: Option<Duration>) -> io::Result<usize> {
            let before = self.0.lock().unwrap().len();
            self.0
                .lock()
                .unwrap()
                .extend(pieces.iter().flat_map(|p| p.iter()));
            Ok(self.0.lock().unwrap().len() - before)
        }

        fn close(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Side {
        incoming: Incoming,
        run: Arc<Run>,
        log: Arc<Log>,
        sent: Sent,
        heard: Arc<Mutex<Vec<Heard>>>,
    }

    fn side(bytes: &[u8], piece: usize, server: bool, sender: bool) -> Side {
        let setup = Setup {
            protocol: ProtocolVersion::NEWEST,
            compat: CompatFlags::default(),
            checksum: Checksum::Md5,
            list_checksum: Checksum::Md5,
            compression: Compression::None,
            seed: 0,
        };
        let (log, sent) = (Arc::new(Log::default()), Sent::default());
        let activity = Arc::new(Activity::new(0));
        let outgoing = Outgoing::new(Box::new(sent.clone()), Arc::clone(&activity), None, 0);
        let listener = Arc::clone(&log) as Arc<dyn Listener>;
        let run = Run::new(server, sender, setup, outgoing, activity, 0, listener);
        let run = Arc::new(run);
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let ears = Arc::clone(&heard);
        let ear = Box::new(move |what| {
            ears.lock().unwrap().push(what);
            Ok(())
        });
        let input = Box::new(Pieces(bytes.iter().copied().collect(), piece));
        Side {
            incoming: Incoming::new(input, Arc::clone(&run), ear),
            run,
            log,
            sent,
            heard,
        }
    }

    fn frame(tag: Tag, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader::new(tag, payload.len()).encode();
        [&header[..], payload].concat()
    }

    #[test]
    fn data_is_one_stream_wherever_frames_and_reads_are_cut() {
        let bytes = [
            frame(Tag::Data, b"\x01"),
            frame(Tag::Data, b""),
            frame(Tag::Info, b"between\n"),
            frame(Tag::Data, b"\x02\x03\x04\x05\x06\x07 and more"),
        ]
        .concat();
        for piece in 1..=bytes.len() {
            let mut side = side(&bytes, piece, false, true);
            assert_eq!(side.incoming.read(|r| r.i32()).unwrap(), 0x0403_0201);
            assert_eq!(side.incoming.read(|r| r.u16()).unwrap(), 0x0605);
            let mut rest = Vec::new();
            while rest.len() < 10 {
                rest.extend_from_slice(&side.incoming.take(4).unwrap());
            }
            assert_eq!(rest, b"\x07 and more");
            let end = side.incoming.read(|r| r.u8()).unwrap_err();
            assert!(matches!(end, Failure::Closed), "{end:?}");
            assert_eq!(
                side.run.received.load(Ordering::Relaxed),
                bytes.len() as u64
            );
        }
    }

    #[test]
    fn messages_are_heard_after_the_data_before_them_was_read() {
        let bytes = [
            frame(Tag::Data, b"1"),
            frame(Tag::Deleted, b"gone\0"),
            frame(Tag::Success, &[7, 0, 0, 0]),
            frame(Tag::Data, b"2"),
            frame(Tag::ErrorXfer, b"bad\n"),
        ]
        .concat();
        let mut side = side(&bytes, bytes.len(), false, true);
        side.incoming.read(|r| r.u8()).unwrap();
        assert!(side.log.0.lock().unwrap().is_empty());
        side.incoming.read(|r| r.u8()).unwrap();
        assert_eq!(side.log.0.lock().unwrap().len(), 1);
        let success = Heard::Success(FileIndex::new(7).unwrap());
        assert_eq!(*side.heard.lock().unwrap(), [success]);
        assert_eq!(side.run.exit_code(), 0);
        side.incoming.drain(Duration::from_secs(1)).unwrap();
        assert_eq!(side.run.exit_code(), exit::PARTIAL);
        let log = side.log.0.lock().unwrap();
        assert!(
            log[0].contains("Deleted") && log[1].contains("FileError"),
            "{log:?}"
        );
    }

    #[test]
    fn side_at_work_tells_its_peer_so_and_does_not_give_up_itself() {
        let side = side(b"", 1, true, false);
        side.run.activity.adopt(1);
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(side.run.activity.due(), Due::End);
        side.run.is_at_work();
        assert_ne!(side.run.activity.due(), Due::End);
        assert_eq!(*side.sent.0.lock().unwrap(), frame(Tag::Data, b""));
    }

    #[test]
    fn messages_that_the_peer_may_not_send_end_the_run() {
        for (tag, server, sender) in [
            (Tag::IoTimeout, true, true),
            (Tag::IoTimeout, true, false),
            (Tag::Success, false, false),
            (Tag::NoSend, false, true),
            (Tag::Deleted, false, false),
            (Tag::Deleted, true, true),
        ] {
            let mut side = side(&frame(tag, &[1; 4]), 100, server, sender);
            let end = side.incoming.read(|r| r.u8()).unwrap_err();
            assert_eq!(end.exit_code(), exit::STREAM, "{tag:?}");
        }
    }

    #[test]
    fn peer_that_ends_the_run_early_does_not_make_it_a_success() {
        for code in [0, 256, -1] {
            let bytes = frame(Tag::ErrorExit, &i32::to_le_bytes(code));
            let mut side = side(&bytes, 100, true, false);
            let end = side.incoming.read(|r| r.u8()).unwrap_err();
            assert_eq!(end.exit_code(), exit::STREAM, "{code}");
        }
    }

    #[test]
    fn peer_that_ends_the_run_is_answered_by_a_sender_and_echoed_by_a_receiver() {
        let bytes = frame(Tag::ErrorExit, &[4, 0, 0, 0]);
        for (sender, answer) in [(true, &[][..]), (false, &[4, 0, 0, 0])] {
            let mut side = side(&bytes, 100, false, sender);
            let end = side.incoming.read(|r| r.u8()).unwrap_err();
            assert!(matches!(end, Failure::Peer(4)), "{end:?}");
            assert_eq!(*side.sent.0.lock().unwrap(), frame(Tag::ErrorExit, answer));
            let end = side.run.give_up(&mut side.incoming, end);
            assert_eq!(end.exit_code(), 4);
        }
    }

    #[test]
    fn side_that_gives_up_says_why_and_waits_for_the_answer() {
        let bytes = [frame(Tag::Data, b"ignored"), frame(Tag::ErrorExit, &[])].concat();
        let mut side = side(&bytes, 100, true, false);
        let why = Failure::fatal(3, "no such place");
        let end = side.run.give_up(&mut side.incoming, why);
        assert_eq!(end.exit_code(), 3);
        let sent = side.sent.0.lock().unwrap();
        assert!(sent.starts_with(&frame(Tag::Error, b"no such place\n")));
        assert!(sent.ends_with(&frame(Tag::ErrorExit, &[3, 0, 0, 0])));
    }

    #[test]
    fn flood_of_empty_frames_takes_no_memory_and_no_stack() {
        let bytes = frame(Tag::Data, b"").repeat(1_000_000);
        let mut side = side(&bytes, 100_000, false, true);
        let end = side.incoming.read(|r| r.u8()).unwrap_err();
        assert!(matches!(end, Failure::Closed));
    }
}
