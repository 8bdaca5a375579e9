//! Two ends of one stream in memory: a clock, and a knife for the bytes between them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use barge_native::frame::{self, Frame, Lane, Tag};
use barge_native::{Link, ProtocolError};
use bytes::{Bytes, BytesMut};

/// One end: its link, what it has read of the connection, what it has heard.
#[derive(Debug)]
pub struct End {
    /// The machine.
    pub link: Link,
    input: BytesMut,
    /// Messages in the order they arrived: tag, payload, weight.
    pub heard: Vec<(Tag, Bytes, u64)>,
    /// Whether arriving messages are consumed at once.
    pub consumes: bool,
}

/// Two ends, the bytes on their way, and the time.
#[derive(Debug)]
pub struct Pair {
    /// The ends.
    pub ends: [End; 2],
    /// Bytes on their way to each end.
    wires: [VecDeque<u8>; 2],
    /// The time.
    pub now: Instant,
    /// How many bytes may still be moved before the connection is cut.
    pub fuse: Option<usize>,
    /// How often it was cut.
    pub cuts: usize,
}

impl Pair {
    /// Two ends that let each other have `window` bytes of data on their way.
    pub fn new(window: u64) -> Self {
        let now = Instant::now();
        let end = || End {
            link: Link::new(window, window, now),
            input: BytesMut::new(),
            heard: Vec::new(),
            consumes: true,
        };
        Self {
            ends: [end(), end()],
            wires: Default::default(),
            now,
            fuse: None,
            cuts: 0,
        }
    }

    /// Moves bytes until nothing is left to move; cuts the connection when the fuse has burnt, and
    /// makes another.
    ///
    /// # Errors
    ///
    /// What one end finds wrong with the other.
    pub fn run(&mut self) -> Result<(), ProtocolError> {
        loop {
            let moved = self.step()?;
            if !moved && !self.tick() {
                return Ok(());
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sends what is due because time has passed. Returns whether there was anything.
    pub fn tick(&mut self) -> bool {
        let mut any = false;
        for from in 0..2 {
            if let Some(frame) = self.ends[from].link.poll_tick(self.now) {
                self.put(1 - from, &frame);
                any = true;
            }
        }
        any
    }

    /// Moves one frame's worth of bytes each way. Returns whether anything moved.
    fn step(&mut self) -> Result<bool, ProtocolError> {
        let mut moved = false;
        for from in 0..2 {
            if let Some(frame) = self.ends[from].link.poll_transmit(self.now) {
                self.put(1 - from, &frame);
                moved = true;
            }
        }
        for to in 0..2 {
            while let Some(byte) = self.wires[to].pop_front() {
                moved = true;
                if !self.burn() {
                    self.cut()?;
                    return Ok(true);
                }
                self.ends[to].input.extend_from_slice(&[byte]);
                self.read(to)?;
            }
        }
        Ok(moved)
    }

    fn put(&mut self, to: usize, frame: &Frame) {
        self.wires[to].extend(frame.head.iter().chain(&frame.body));
    }

    fn read(&mut self, to: usize) -> Result<(), ProtocolError> {
        let end = &mut self.ends[to];
        while let Some((tag, payload)) = frame::decode(&mut end.input)? {
            if let Some(delivery) = end.link.handle_frame(tag, payload, self.now)? {
                let lane = delivery.tag.lane().unwrap_or(Lane::Control);
                if end.consumes {
                    end.link.consumed(lane, delivery.weight);
                }
                end.heard
                    .push((delivery.tag, delivery.payload, delivery.weight));
            }
        }
        Ok(())
    }

    fn burn(&mut self) -> bool {
        match &mut self.fuse {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    /// Loses what is on its way, and greets again.
    fn cut(&mut self) -> Result<(), ProtocolError> {
        self.fuse = None;
        self.cuts += 1;
        self.wires.iter_mut().for_each(VecDeque::clear);
        let received = [self.ends[0].link.received(), self.ends[1].link.received()];
        for (end, peer) in self.ends.iter_mut().zip([received[1], received[0]]) {
            end.input.clear();
            end.link.resume(peer, self.now)?;
        }
        Ok(())
    }
}
