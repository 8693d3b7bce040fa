//! The one thread: who comes in, who is ready, whose time is over.
//!
//! Invariants: it waits in poll(2) alone, and does one read or write for each client that is ready; of connections
//! there are at most [`CONNECTIONS_MAX`]. Then a new one takes the place of one that has been answered, or else of the
//! one that has been there for longest, first of those that have asked nothing: but for its first second nobody's place
//! is taken, so that who asks at once is heard.
//!
//! Not here: what a connection does (`connection`).

use std::io::{self, PipeReader};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::about::Served;
use super::answer::{self, Site};
use super::connection::{Asked, Connection, Went};
use crate::clock;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection keeps its place for certain.
const PLACE_KEPT: Duration = Duration::from_secs(1);
/// Between two looks at how long requests wait.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How long nobody is accepted when that has failed, as for want of descriptors: who waits stays ready.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    /// Ends when this is to end.
    ends: PipeReader,
    site: Site,
    /// In the order in which they came.
    connections: Vec<Connection>,
    served: Served,
    looks_at: Instant,
    accepts_from: Instant,
}

/// What poll(2) has said.
struct Ready {
    ends: bool,
    accepts: bool,
    connections: Vec<bool>,
}

impl Server {
    pub(super) fn new(listener: TcpListener, ends: PipeReader, site: Site) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let now = clock::now();
        let served = Served::default();
        Ok(Self { listener, ends, site, connections: Vec::new(), served, looks_at: now, accepts_from: now })
    }

    pub(super) fn run(mut self) {
        loop {
            let now = clock::now();
            if now >= self.looks_at {
                self.site.look();
                self.looks_at = now + LOOKS_EVERY;
            }
            // Interrupted, or out of memory for a moment: asked again, no faster than who comes in is accepted.
            let Ok(ready) = self.poll(now) else {
                clock::pause(ACCEPT_PAUSE);
                continue;
            };
            if ready.ends {
                return;
            }
            self.serve(&ready.connections, clock::now());
            if ready.accepts {
                self.accept();
            }
        }
    }

    /// Waits until somebody is ready, or somebody's time is over.
    fn poll(&self, now: Instant) -> rustix::io::Result<Ready> {
        let accepts_from = self.accepts_from.max(self.room_from(now));
        let accepts = now >= accepts_from;
        let resumes = (!accepts).then_some(accepts_from);
        let times = self.connections.iter().map(|connection| connection.until).chain(resumes);
        let next = times.fold(self.looks_at, Instant::min);
        let left = next.saturating_duration_since(now);
        let timeout =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        let mut waits = vec![PollFd::new(&self.ends, PollFlags::IN)];
        let flags = if accepts { PollFlags::IN } else { PollFlags::empty() };
        waits.push(PollFd::from_borrowed_fd(self.listener.as_fd(), flags));
        for connection in &self.connections {
            let flags = if connection.writes() { PollFlags::OUT } else { PollFlags::IN };
            waits.push(PollFd::new(&connection.stream, flags));
        }
        poll(&mut waits, Some(&timeout))?;
        let mut said = waits.iter().map(|wait| !wait.revents().is_empty());
        let (ends, accepts) = (said.next() == Some(true), said.next() == Some(true));
        Ok(Ready { ends, accepts, connections: said.collect() })
    }

    /// Goes on with those that are ready, and ends those whose time was over at this moment: what the answers to others
    /// take counts against nobody.
    fn serve(&mut self, ready: &[bool], now: Instant) {
        let Self { connections, site, served, .. } = self;
        let mut ready = ready.iter();
        connections.retain_mut(|connection| {
            let is_ready = ready.next() == Some(&true);
            if now >= connection.until {
                served.timed_out += u64::from(!connection.leaves());
                return false;
            }
            let answer = |asked: Asked<'_>| match asked {
                Ok((head, bytes)) => site.answer(head, bytes, served),
                Err(reject) => answer::refusal(reject, served),
            };
            !is_ready || connection.go_on(answer) == Went::On
        });
        site.end_turn();
    }

    /// Takes those who have come in.
    fn accept(&mut self) {
        for _ in 0..CONNECTIONS_MAX {
            let now = clock::now();
            if !self.has_room(now) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.served.accepted += 1;
                    if let Ok(connection) = Connection::new(stream, now) {
                        self.connections.push(connection);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Of one client.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(_) => {
                    self.accepts_from = now + ACCEPT_PAUSE;
                    return;
                }
            }
        }
    }

    /// When there is room for one more, if everybody stays who is there.
    fn room_from(&self, now: Instant) -> Instant {
        let is_full = self.connections.len() >= CONNECTIONS_MAX && !self.connections.iter().any(Connection::leaves);
        let first = self.connections.first().filter(|_| is_full);
        first.map_or(now, |first| first.came + PLACE_KEPT)
    }

    /// Whether there is room for one more, for which somebody may have to go.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.connections.len() < CONNECTIONS_MAX {
            return true;
        }
        let of = |which: &dyn Fn(&Connection) -> bool| self.connections.iter().position(which);
        let may_go = |connection: &Connection| now >= connection.came + PLACE_KEPT;
        let goes = of(&Connection::leaves)
            .or_else(|| of(&|connection| connection.asks() && may_go(connection)))
            .or_else(|| of(&may_go));
        if let Some(goes) = goes {
            self.served.evicted += u64::from(!self.connections.remove(goes).leaves());
        }
        goes.is_some()
    }
}
