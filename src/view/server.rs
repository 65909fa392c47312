//! One thread for all browsers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::access::Access;
use super::board::Board;
use super::connection::{Connection, Fate};
use super::respond;
use super::settings::ViewError;
use crate::stats::Stats;

/// The most connections at a time: each costs a descriptor and, at worst, the events that it has
/// not taken.
const MAX_CONNECTIONS: usize = 128;
/// What the system holds for a viewer: less of it means that a slow one sees what is newer.
const SEND_BUFFER: usize = 64 << 10;
/// How often deadlines are looked at.
const TURN: Duration = Duration::from_millis(250);
/// What viewers have to take the last events in.
const GRACE: Duration = Duration::from_millis(500);

/// Serves the page.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    board: Arc<Board>,
    stats: Arc<Stats>,
}

impl Server {
    pub(super) fn bind(
        address: SocketAddr,
        token_file: Option<&Path>,
        board: Arc<Board>,
        stats: Arc<Stats>,
    ) -> Result<Self, ViewError> {
        let access = Access::to(address, token_file)?;
        let wrong = |source| ViewError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        Ok(Self { listener, address, access, board, stats })
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to open in a browser.
    pub fn link(&self) -> String {
        // Of "everywhere", the machine itself is a part.
        let mut shown = self.address;
        if shown.ip().is_unspecified() {
            shown.set_ip(match shown {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{shown}/")
    }

    /// The token that was made for this run and that nobody knows yet: to be shown once, and not
    /// to be logged.
    pub fn made_token(&self) -> Option<&str> {
        match &self.access {
            Access::Token { token, made: true } => Some(token),
            Access::Token { made: false, .. } | Access::Loopback => None,
        }
    }

    /// Serves until the board is closed and its last events are taken, or half a second after.
    pub fn run(&self) {
        let mut connections: Vec<Connection> = Vec::new();
        let mut ends: Option<Instant> = None;
        loop {
            if ends.is_none() && self.board.is_closed() {
                ends = Some(Instant::now() + GRACE);
            }
            let waiting = connections.iter().any(Connection::has_output);
            if ends.is_some_and(|at| !waiting || Instant::now() >= at) {
                return;
            }
            let ready = match self.wait(&connections) {
                Ok(ready) => ready,
                Err(error) => {
                    // Out of memory, say: better a slow page than none.
                    log::warn!("view: cannot wait for browsers: {error}");
                    std::thread::sleep(TURN);
                    continue;
                }
            };
            let now = Instant::now();
            self.board.heard();
            let answer =
                |request: &_| respond::answer(request, &self.access, &self.board, &self.stats);
            let mut ready = ready.into_iter();
            let mut readable = move || ready.next().unwrap_or(false);
            let comes = readable();
            connections.retain_mut(|connection| {
                if readable() && connection.read(now, answer) == Fate::Ends {
                    return false;
                }
                connection.write(&self.board, now) == Fate::Stays && !connection.is_late(now)
            });
            if comes {
                self.accept(&mut connections, now);
            }
            self.board.set_watchers(connections.iter().filter(|c| c.follows()).count());
        }
    }

    /// Waits for news from anybody: whether a browser comes, then which connections can be read.
    fn wait(&self, connections: &[Connection]) -> io::Result<Vec<bool>> {
        let bell = self.board.bell();
        let listener = self.listener.as_fd();
        let mut fds =
            vec![PollFd::new(&bell, PollFlags::IN), PollFd::new(&listener, PollFlags::IN)];
        fds.extend(connections.iter().map(|c| {
            let out = if c.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::new(c.stream(), PollFlags::IN | out)
        }));
        let limit = Timespec { tv_sec: 0, tv_nsec: TURN.as_nanos() as _ };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // An error or a hang-up shows when it is read.
        let news = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(fds.iter().skip(1).map(|fd| fd.revents().intersects(news)).collect())
    }

    fn accept(&self, connections: &mut Vec<Connection>, now: Instant) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        // Out of descriptors: whoever waits still waits, and must not keep us busy.
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            // Events are small and late ones are worthless; what fails here is only comfort.
            let _ = stream.set_nodelay(true);
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
            let mut connection = Connection::new(stream, now);
            if connections.len() >= MAX_CONNECTIONS {
                connection.give(respond::busy(), now);
                // As much of it as goes at once: it must cost nothing.
                let _ = connection.write(&self.board, now);
                continue;
            }
            connections.push(connection);
        }
    }
}
