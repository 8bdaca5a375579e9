//! A stream that survives its connections.
//!
//! Each of a stream's two lanes numbers its messages from 0. What has been sent is kept until the
//! peer says it has received it; a new connection begins with both sides saying how many messages
//! of each lane they have received, and goes on from there. So every message arrives once and in
//! order, however often the connection was cut.
//!
//! The data lane is also flow-controlled: at most a window of bytes may be on their way or waiting
//! at the peer to be consumed. A sender stops when [`Link::has_room`] says no.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use crate::ProtocolError;
use crate::cursor::{Put, Reader};
use crate::frame::{Frame, HEADER_LEN, Lane, MAX_PAYLOAD, Tag};

/// How many messages of the control and the data lane a side has received.
pub type Received = [u64; 2];

/// A message and what must be given back to [`Link::consumed`] when it has been dealt with.
#[derive(Debug)]
pub struct Delivery {
    /// What it is.
    pub tag: Tag,
    /// Its fields.
    pub payload: Bytes,
    /// Its share of the window.
    pub weight: u64,
}

/// One stream's messages: sent, received, owed. Knows no connection and no clock.
#[derive(Debug)]
pub struct Link {
    lanes: [LaneState; 2],
    /// Bytes the peer lets us have on their way in the data lane.
    peer_window: u64,
    /// Bytes we let the peer have.
    own_window: u64,
    last_sent: Instant,
    last_heard: Instant,
    /// The peer waits to hear that its last message has arrived.
    urgent: bool,
}

#[derive(Debug, Default)]
struct LaneState {
    /// Waiting for the connection.
    queued: VecDeque<Frame>,
    /// Sent on some connection, not yet known to be received.
    sent: VecDeque<Frame>,
    /// The number of the first message in `sent`.
    first_sent: u64,
    /// Bytes given to [`Link::push`] so far.
    pushed_bytes: u64,
    /// Those of them that are not yet known to be received, and kept.
    kept_bytes: u64,
    /// Bytes the peer has consumed, as it last said.
    peer_consumed: u64,
    received: u64,
    received_bytes: u64,
    consumed_bytes: u64,
    /// Bytes that the peer was told are consumed, and are received.
    acked_consumed: u64,
    acked_bytes: u64,
}

impl Link {
    /// A stream on which `own_window` bytes of data may wait here, `peer_window` there.
    pub fn new(own_window: u64, peer_window: u64, now: Instant) -> Self {
        Self {
            lanes: Default::default(),
            peer_window,
            own_window,
            last_sent: now,
            last_heard: now,
            urgent: false,
        }
    }

    /// Whether the data lane's window has room for a further message.
    pub fn has_room(&self) -> bool {
        self.waiting_bytes() < self.peer_window
    }

    /// Bytes of data that the peer has not consumed: how busy this stream is.
    pub fn waiting_bytes(&self) -> u64 {
        let lane = &self.lanes[Lane::Data as usize];
        lane.pushed_bytes - lane.peer_consumed
    }

    /// Bytes of a lane that are kept until the peer says it has received them.
    pub fn kept_bytes(&self, lane: Lane) -> u64 {
        self.lanes[lane as usize].kept_bytes
    }

    /// Sends `frame`, on this connection or the next. Its tag says in which lane.
    pub fn push(&mut self, lane: Lane, frame: Frame) {
        let lane = &mut self.lanes[lane as usize];
        lane.pushed_bytes += frame.wire_len() as u64;
        lane.kept_bytes += frame.wire_len() as u64;
        lane.queued.push_back(frame);
    }

    /// The next frame for the connection; `None` when there is nothing to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Frame> {
        let due = if self.urgent { 1 } else { self.own_window / 8 };
        let frame = self.poll_ack(due).or_else(|| self.poll_message())?;
        self.last_sent = now;
        Some(frame)
    }

    /// What is due because time has passed: what was received and not yet said, or a sign of life.
    pub fn poll_tick(&mut self, now: Instant) -> Option<Frame> {
        let idle = now.duration_since(self.last_sent) >= PING_EVERY;
        let frame = self
            .poll_ack(1)
            .or_else(|| idle.then(|| Frame::new(Tag::Ping, &[])))?;
        self.last_sent = now;
        Some(frame)
    }

    /// How long the peer has said nothing.
    pub fn silence(&self, now: Instant) -> Duration {
        now.duration_since(self.last_heard)
    }

    /// Takes a frame as it came; returns a message for the parties, or `None` when it was for us.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] when the peer acknowledges what was not sent, sends past its window, or
    /// opens a connection that is open.
    pub fn handle_frame(
        &mut self,
        tag: Tag,
        payload: Bytes,
        now: Instant,
    ) -> Result<Option<Delivery>, ProtocolError> {
        self.last_heard = now;
        match (tag, tag.lane()) {
            (_, Some(lane)) => self.receive(lane, tag, payload).map(Some),
            (Tag::Ack, None) => self.handle_ack(payload).map(|()| None),
            (Tag::Ping, None) => Ok(None),
            _ => Err(ProtocolError::Order("a hello")),
        }
    }

    /// Gives back a delivery's weight: the peer may send as much again.
    pub fn consumed(&mut self, lane: Lane, weight: u64) {
        self.lanes[lane as usize].consumed_bytes += weight;
    }

    /// What we have received: the first word on a new connection.
    pub fn received(&self) -> Received {
        [self.lanes[0].received, self.lanes[1].received]
    }

    /// Goes on after the last message that the peer has received, on a new connection.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Order`] when the peer claims what was not sent, or has forgotten what it
    /// acknowledged.
    pub fn resume(&mut self, peer_received: Received, now: Instant) -> Result<(), ProtocolError> {
        if self
            .lanes
            .iter()
            .zip(peer_received)
            .any(|(lane, received)| !lane.may_forget(received))
        {
            return Err(ProtocolError::Order("an acknowledgement"));
        }
        (self.last_heard, self.last_sent) = (now, now);
        for (lane, received) in self.lanes.iter_mut().zip(peer_received) {
            lane.forget_received(received)?;
            while let Some(frame) = lane.sent.pop_back() {
                lane.queued.push_front(frame);
            }
            // What was acknowledged last may have been lost with the connection: say it again.
            (lane.acked_consumed, lane.acked_bytes) = (0, 0);
        }
        Ok(())
    }

    /// Messages that have arrived at either end: what grows as long as connections are any good.
    pub fn progress(&self) -> u64 {
        self.lanes
            .iter()
            .map(|lane| lane.received + lane.first_sent)
            .sum()
    }

    /// Whether the peer has received every message of `lane` that was pushed.
    pub fn is_drained(&self, lane: Lane) -> bool {
        let lane = &self.lanes[lane as usize];
        lane.queued.is_empty() && lane.sent.is_empty()
    }

    fn poll_message(&mut self) -> Option<Frame> {
        let lane = self.lanes.iter_mut().find(|lane| !lane.queued.is_empty())?;
        let frame = lane.queued.pop_front()?;
        lane.sent.push_back(frame.clone());
        Some(frame)
    }

    fn poll_ack(&mut self, due: u64) -> Option<Frame> {
        let Some(which) = self.lanes.iter().position(|lane| lane.unsaid() >= due) else {
            self.urgent = false;
            return None;
        };
        let lane = &mut self.lanes[which];
        lane.acked_consumed = lane.consumed_bytes;
        lane.acked_bytes = lane.received_bytes;
        let mut fields = BytesMut::new();
        fields.put_u8(which as u8);
        fields.put_varint(lane.received);
        fields.put_varint(lane.consumed_bytes);
        Some(Frame::new(Tag::Ack, &fields))
    }

    fn handle_ack(&mut self, payload: Bytes) -> Result<(), ProtocolError> {
        let mut fields = Reader::new(payload);
        let which = usize::from(fields.u8("a lane")?);
        let received = fields.varint("a message number", u64::MAX)?;
        let consumed = fields.varint("consumed bytes", u64::MAX)?;
        fields.end()?;
        let lane = self.lanes.get_mut(which).ok_or(ProtocolError::Unknown {
            what: "a lane",
            value: which as u64,
        })?;
        lane.forget_received(received)?;
        // Who has not received it has not consumed it; and what is not received is kept here.
        let arrived = lane.pushed_bytes - lane.kept_bytes;
        if consumed > arrived || consumed < lane.peer_consumed {
            return Err(ProtocolError::Order("an acknowledgement"));
        }
        lane.peer_consumed = consumed;
        Ok(())
    }

    fn receive(
        &mut self,
        which: Lane,
        tag: Tag,
        payload: Bytes,
    ) -> Result<Delivery, ProtocolError> {
        let lane = &mut self.lanes[which as usize];
        let weight = (HEADER_LEN + payload.len()) as u64;
        self.urgent |= matches!(tag, Tag::Finished | Tag::Goodbye | Tag::Abort);
        lane.received += 1;
        lane.received_bytes += weight;
        let waiting = lane.received_bytes - lane.consumed_bytes;
        let limit = self.own_window + (HEADER_LEN + MAX_PAYLOAD) as u64;
        if which == Lane::Data && waiting > limit {
            return Err(ProtocolError::Limit {
                what: "unasked data",
                value: waiting,
                limit,
            });
        }
        Ok(Delivery {
            tag,
            payload,
            weight,
        })
    }
}

impl LaneState {
    /// Bytes received or consumed that the peer has not been told of.
    fn unsaid(&self) -> u64 {
        let received = self.received_bytes - self.acked_bytes;
        received.max(self.consumed_bytes - self.acked_consumed)
    }

    /// Whether the peer can have received `received` messages, and said so never before.
    fn may_forget(&self, received: u64) -> bool {
        let count = received.checked_sub(self.first_sent).map(usize::try_from);
        matches!(count, Some(Ok(count)) if count <= self.sent.len())
    }

    /// Drops what the peer has received: its first `received` messages.
    fn forget_received(&mut self, received: u64) -> Result<(), ProtocolError> {
        if !self.may_forget(received) {
            return Err(ProtocolError::Order("an acknowledgement"));
        }
        let forgotten = self.sent.drain(..(received - self.first_sent) as usize);
        self.kept_bytes -= forgotten.map(|frame| frame.wire_len() as u64).sum::<u64>();
        self.first_sent = received;
        Ok(())
    }
}

/// How long a side stays silent before it gives a sign of life.
pub const PING_EVERY: Duration = Duration::from_secs(5);
