//! One browser's connection.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::board::{Board, SLOTS};
use super::request::{MAX_HEAD, Request};
use super::respond::{self, Chunk, Reply};

/// How long a head may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a reader may take nothing at all of what waits for it.
const TAKE_WITHIN: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its request is coming.
    Asking,
    /// Its answer is going, then it is over.
    Answering,
    /// Events go to it.
    Following,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Ends,
}

pub(super) struct Connection {
    stream: TcpStream,
    state: State,
    /// What came of its request's head.
    head: Vec<u8>,
    /// What goes out, the first of it from `sent` on.
    out: VecDeque<Chunk>,
    sent: usize,
    /// What of the board it has.
    seen: [u64; SLOTS],
    deadline: Instant,
}

impl Connection {
    /// `stream` does not block.
    pub fn new(stream: TcpStream, now: Instant) -> Self {
        Self {
            stream,
            state: State::Asking,
            head: Vec::new(),
            out: VecDeque::new(),
            sent: 0,
            seen: [0; SLOTS],
            deadline: now + HEAD_WITHIN,
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn follows(&self) -> bool {
        self.state == State::Following
    }

    /// True while there is something to send.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    pub fn is_late(&self, now: Instant) -> bool {
        let waits_for_it = self.state == State::Asking || self.has_output();
        waits_for_it && now > self.deadline
    }

    /// Sends `reply`, whatever was asked.
    pub fn give(&mut self, reply: Reply, now: Instant) {
        self.state = if reply.events { State::Following } else { State::Answering };
        self.head = Vec::new();
        self.out.push_back(reply.head);
        self.out.extend(reply.body);
        self.deadline = now + TAKE_WITHIN;
    }

    /// Reads what has come; answers by `answer` when the request is complete.
    pub fn read(&mut self, now: Instant, answer: impl FnOnce(&Request) -> Reply) -> Fate {
        let mut buffer = [0; 2048];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Fate::Ends,
                // After its request it has nothing to say.
                Ok(_) if self.state != State::Asking => {}
                Ok(n) => {
                    let room = MAX_HEAD.saturating_sub(self.head.len());
                    self.head.extend(buffer[..n].iter().take(room));
                    match Request::parse(&self.head) {
                        Ok(None) => {}
                        Ok(Some(request)) => {
                            self.give(answer(&request), now);
                            return Fate::Stays;
                        }
                        Err(refusal) => {
                            self.give(respond::refuse(refusal), now);
                            return Fate::Stays;
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Fate::Stays,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Fate::Ends,
            }
        }
    }

    /// Sends what can be sent now. A follower that has taken all there was gets what is newest:
    /// so a slow one skips.
    pub fn write(&mut self, board: &Board, now: Instant) -> Fate {
        loop {
            if self.out.is_empty() {
                match self.state {
                    State::Asking => return Fate::Stays,
                    State::Answering => {
                        // The rest of the answer is in the system's hands.
                        let _ = self.stream.shutdown(std::net::Shutdown::Write);
                        return Fate::Ends;
                    }
                    State::Following => {
                        let out = &mut self.out;
                        board.newer(&mut self.seen, |e| out.push_back(Chunk::Shared(e.clone())));
                        if self.out.is_empty() {
                            return Fate::Stays;
                        }
                        self.deadline = now + TAKE_WITHIN;
                    }
                }
            }
            let Some(chunk) = self.out.front() else { continue };
            let rest = chunk.as_ref().get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                self.out.pop_front();
                self.sent = 0;
                continue;
            }
            match self.stream.write(rest) {
                Ok(0) => return Fate::Ends,
                Ok(n) => {
                    self.sent += n;
                    self.deadline = now + TAKE_WITHIN;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Fate::Stays,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Fate::Ends,
            }
        }
    }
}
