//! Thousands of asking clients on one thread, by epoll.
//!
//! A client fails when its connection is refused, reset or closed under a request, when the answer is another one than
//! 200, and when it has not come within its patience; then it begins anew, with a new connection. A connection that
//! ends between two requests is none of its failures. Nobody begins anything once the time is up, and the last answer
//! is waited for within its patience, so every run is bounded.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

use super::ask::Ask;
use super::outcome::Served;
use super::reply::{Look, Reply};

/// How often clocks are looked at, for rests, patience and the next piece.
const TICK: Duration = Duration::from_millis(5);
const EVENTS_AT_ONCE: usize = 1024;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Resting { until: Instant },
    Asking { since: Instant, sent: usize },
    Done,
}

#[derive(Debug)]
struct Member {
    phase: Phase,
    stream: Option<TcpStream>,
    reply: Reply,
    rounds: usize,
}

/// How a request went: how long it took, or how it failed.
type Went = Result<Duration, String>;

#[derive(Debug)]
pub(super) struct Crowd<'a> {
    ask: &'a Ask,
    address: SocketAddr,
    epoll: OwnedFd,
    members: Vec<Member>,
    served: Served,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(ask: &'a Ask, address: SocketAddr) -> Self {
        let now = Instant::now();
        let begins = |index: usize| now + ask.rest.mul_f64(index as f64 / ask.clients as f64);
        let member = |index| {
            let phase = Phase::Resting { until: begins(index) };
            Member { phase, stream: None, reply: Reply::default(), rounds: 0 }
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor for epoll can be had");
        let members = (0..ask.clients).map(member).collect();
        Self { ask, address, epoll, members, served: Served::default() }
    }

    pub(super) fn run_while(mut self, goes_on: impl Fn() -> bool) -> Served {
        let timeout = Timespec::try_from(TICK).expect("a tick fits a timespec");
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let looked = Instant::now();
            self.look_at_clocks(goes_on());
            if self.is_done(goes_on()) {
                return self.served;
            }
            while looked.elapsed() < TICK {
                events.clear();
                match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => panic!("epoll: {error}"),
                }
                for event in &events {
                    let index = usize::try_from(event.data.u64()).expect("an index");
                    self.advance(index, goes_on());
                }
            }
        }
    }

    fn is_done(&self, goes_on: bool) -> bool {
        self.members.iter().all(|member| match member.phase {
            Phase::Resting { .. } => !goes_on,
            Phase::Asking { .. } => false,
            Phase::Done => true,
        })
    }

    /// Begins what is due, and gives up what has lasted too long.
    fn look_at_clocks(&mut self, goes_on: bool) {
        let now = Instant::now();
        let (bytes, length) = (self.ask.piece.0, self.ask.request.len());
        for index in 0..self.members.len() {
            match self.members[index].phase {
                Phase::Resting { until } if goes_on && until <= now => self.begin(index),
                Phase::Asking { since, .. } if since + self.ask.patience <= now => {
                    self.end(index, Err(format!("no answer in {:?}", self.ask.patience)));
                }
                Phase::Asking { sent, .. } if bytes < length && sent < length => self.advance(index, goes_on),
                Phase::Resting { .. } | Phase::Asking { .. } | Phase::Done => {}
            }
        }
    }

    fn begin(&mut self, index: usize) {
        self.members[index].phase = Phase::Asking { since: Instant::now(), sent: 0 };
        if self.members[index].stream.is_none() {
            match self.connect(index) {
                Ok(stream) => self.members[index].stream = Some(stream),
                Err(error) => return self.end(index, Err(format!("connecting: {}", error.kind()))),
            }
        }
        if let Some(went) = self.exchange(index) {
            self.end(index, went);
        }
    }

    fn connect(&self, index: usize) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.ask.source(index) {
            socket.bind(&source.into())?;
        }
        match socket.connect(&self.address.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
            _ => {
                let stream = TcpStream::from(socket);
                let wanted = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
                epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(index as u64), wanted)?;
                Ok(stream)
            }
        }
    }

    /// Sends and receives what can be, and begins the next request where there is no rest.
    fn advance(&mut self, index: usize, goes_on: bool) {
        let Some(went) = self.exchange(index) else { return };
        self.end(index, went);
        let is_resting = matches!(self.members[index].phase, Phase::Resting { .. });
        if goes_on && is_resting && self.ask.rest.is_zero() {
            self.begin(index);
        }
    }

    /// `None` while there is something to wait for.
    fn exchange(&mut self, index: usize) -> Option<Went> {
        let member = &mut self.members[index];
        let stream = member.stream.as_mut()?;
        let Phase::Asking { since, mut sent } = member.phase else {
            member.stream = keep_if_open(member.stream.take());
            return None;
        };
        let refused = send(stream, self.ask, since, &mut sent).err();
        member.phase = Phase::Asking { since, sent };
        let mut block = [0; 16 * 1024];
        loop {
            if let Some(went) = judge(&member.reply, since, sent == self.ask.request.len()) {
                return Some(went);
            }
            match stream.read(&mut block) {
                Ok(0) => return Some(judge_end(&member.reply, since)),
                Ok(count) => member.reply.add(&block[..count]),
                Err(error) if is_to_wait(&error) => break,
                // Where sending failed too, that was first.
                Err(error) => return Some(Err(refused.unwrap_or(error).kind().to_string())),
            }
        }
        refused.map(|error| Err(error.kind().to_string()))
    }

    /// Counts how a request went; then its client rests, or is done.
    fn end(&mut self, index: usize, went: Went) {
        let member = &mut self.members[index];
        if went.is_err() || !self.ask.keeps {
            member.stream = None;
        }
        member.reply.clear();
        member.rounds += 1;
        let is_last = self.ask.rounds.is_some_and(|rounds| member.rounds >= rounds);
        let rest = Phase::Resting { until: Instant::now() + self.ask.rest };
        member.phase = if is_last { Phase::Done } else { rest };
        match went {
            Ok(took) => self.served.add(took),
            Err(how) => self.served.fail(how),
        }
    }
}

fn is_to_wait(error: &io::Error) -> bool {
    // Not connected: not yet.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted)
}

fn keep_if_open(stream: Option<TcpStream>) -> Option<TcpStream> {
    stream.filter(|stream| match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => is_to_wait(&error),
    })
}

/// Sends what there is room for of the pieces that are due.
fn send(stream: &mut TcpStream, ask: &Ask, since: Instant, sent: &mut usize) -> io::Result<()> {
    let (bytes, pause) = ask.piece;
    let pauses = since.elapsed().as_nanos().checked_div(pause.as_nanos()).unwrap_or_default();
    let due = bytes.saturating_mul(usize::try_from(pauses).unwrap_or(usize::MAX).saturating_add(1));
    while *sent < due.min(ask.request.len()) {
        match stream.write(&ask.request[*sent..due.min(ask.request.len())]) {
            Ok(count) => *sent += count,
            Err(error) if is_to_wait(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `None` while the response is not whole. A good one that is there before its request was sent is one when that is.
fn judge(reply: &Reply, since: Instant, is_sent: bool) -> Option<Went> {
    match reply.look() {
        Look::Partial | Look::UntilClose { .. } => None,
        Look::Whole { status: 200 } => is_sent.then(|| Ok(since.elapsed())),
        Look::Whole { status } => Some(Err(format!("status {status}"))),
        Look::Unreadable => Some(Err("unreadable".into())),
    }
}

/// As [`judge`], when the connection has ended.
fn judge_end(reply: &Reply, since: Instant) -> Went {
    match reply.look() {
        Look::UntilClose { status: 200 } => Ok(since.elapsed()),
        Look::UntilClose { status } => Err(format!("status {status}")),
        _ if reply.is_empty() => Err("closed".into()),
        _ => Err("cut".into()),
    }
}
