//! [`Io`] by readiness, where io_uring cannot be had: one `epoll_wait` a turn, and system calls that do not wait.
//!
//! ```text
//!   recall, cancel ──at once──▶ done ───────┐
//!   send ──asked for──▶ the turn: the call ─┤
//!   receive, accept, polls ──asked for──┐   ├──▶ the turn's events
//!   epoll_wait ──edges──▶ what is ready ┴───┘
//! ```
//!
//! Invariants:
//! * What is asked for begins, and what can be done is done, before a turn sleeps: none does while there is something
//!   to tell or to go on with.
//! * A receive picks its buffer when there are bytes; one that finds none is over, as with a ring. What one socket
//!   brings in a turn is bounded, and so is what one listener brings.
//! * A send is made when the turn begins, and not before: what has been noted by then is known to whoever hears of it.
//!   What it is lent is the driver's until then.
//! * The kernel writes to a buffer only within a call, so that nothing is lent to it when the driver is dropped, but to
//!   the helper, which keeps the memory.
//!
//! Not here: what is known of a socket without a call (`sockets`), listeners (`accepts`), buffers (`posted`), sending
//! and reading files (`files`), and plain socket calls (`net`).

mod accepts;
mod calls;
mod poller;
mod posted;
mod sends;
mod sockets;
mod streams;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use self::accepts::Accepts;
use self::poller::{Bits, Poller};
use self::posted::Posted;
use self::sends::Sends;
use self::sockets::{Poll, Receive, Socket, Sockets, WATCHED};
use self::streams::{Stream, Streams};
use super::files::{Files, Reading, Source};
use super::{Event, FilePart, Io, Op, SendMode, Token, Wait, listen, net};
use crate::error::{Error, Result};
use crate::id::ShardId;
use crate::mem::{Arena, Filled, Group, Landing, Lent, Spare};

/// Buffers that one socket fills in one turn at most: what it has beyond that comes with the next.
const RECEIVES_MAX: usize = 8;
/// The name of the helper's notifier, which no operation has.
const FILES_TOKEN: Token = Token::from_bits(u64::MAX);

/// See the module's head.
pub(crate) struct Epoll {
    poller: Poller,
    sockets: Sockets,
    accepts: Accepts,
    streams: Streams,
    posted: Posted,
    sends: Sends,
    /// Places of connections that may have something to tell, though no edge comes for it: each once.
    listed: VecDeque<u32>,
    /// Completions for the next turn.
    done: Vec<Event>,
    files: Files,
    arena: Arc<Arena>,
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll").field("listed", &self.listed.len()).finish_non_exhaustive()
    }
}

impl Epoll {
    /// Bytes of a connection.
    pub(crate) const CONNECTION_BYTES: usize = Sockets::BYTES + size_of::<u32>();

    /// Makes the driver of the shard `id`, over the receive buffers of `arena`, for so many connections.
    pub(crate) fn new(arena: Arc<Arena>, id: ShardId, connections: u32) -> Result<Self> {
        let refused = |error| Error::io("cannot make an epoll instance (epoll_create1)", error);
        let poller = Poller::new().map_err(refused)?;
        let files = Files::new(id).map_err(|error| Error::io("cannot open an event counter (eventfd)", error))?;
        let mut epoll = Self {
            poller,
            sockets: Sockets::new(connections),
            accepts: Accepts::default(),
            streams: Streams::default(),
            posted: Posted::new(Arc::clone(&arena)),
            sends: Sends::new(),
            listed: VecDeque::with_capacity(connections as usize),
            done: Vec::with_capacity(1024),
            files,
            arena,
        };
        // A system call of its own, which may be refused.
        epoll.poller.wait(Wait::No).map_err(Self::explain)?;
        Ok(epoll)
    }

    fn finish(&mut self, token: Token, result: i32, more: bool) {
        self.done.push(Event { token, result, more, buffer: None, more_at_hand: false });
    }

    /// The entry of a connection, which begins with its first operation. `None`: the kernel refuses, and that is told.
    #[inline]
    fn socket(&mut self, descriptor: RawFd, token: Token) -> Option<&mut Socket> {
        if self.sockets.get_mut(token).is_none() {
            let socket = self.sockets.begin(token, descriptor);
            let name = socket.token(Op::Receive, token.slot());
            if let Err(error) = self.poller.watch(descriptor, WATCHED, name) {
                self.sockets.end(token);
                self.finish(token, -error.raw_os_error().unwrap_or(libc::EIO), false);
                return None;
            }
        }
        self.sockets.get_mut(token)
    }

    /// Asks for a receive.
    fn ask(&mut self, descriptor: RawFd, token: Token, receive: Receive) {
        debug_assert!(token.op() == Op::Receive, "a receive is named as one");
        let Some(socket) = self.socket(descriptor, token) else { return };
        socket.receive = receive;
        if socket.is_readable {
            self.list(token.slot());
        }
    }

    /// Puts a connection into the list of those to go on with.
    fn list(&mut self, place: u32) {
        if let Some(socket) = self.sockets.at(place)
            && !core::mem::replace(&mut socket.is_listed, true)
        {
            self.listed.push_back(place);
        }
    }

    /// Goes on with one that was listed; it may be another by now, or want nothing.
    fn go_on(&mut self, place: u32) {
        if let Some(socket) = self.sockets.at(place) {
            socket.is_listed = false;
            self.receive_some(place);
        }
    }

    /// The kernel has told of an edge.
    #[inline]
    fn on_edge(&mut self, token: Token, bits: Bits) {
        match token.op() {
            Op::Receive => {
                let Some(socket) = self.sockets.get_mut(token) else { return };
                socket.note(bits);
                if socket.wants_polls() {
                    self.report_end(token.slot());
                    self.report_room(token.slot(), bits);
                }
                self.receive_some(token.slot());
            }
            Op::Accept => self.accepts.note(token),
            Op::ReadFile => self.read_stream(token),
            Op::Notifier => self.finish(token, i32::from(bits), true),
            // The helper's notifier: its reports are looked for in any case.
            _ => {}
        }
    }

    /// Tells the poll for the other side's end what is known.
    #[cold]
    fn report_end(&mut self, place: u32) {
        let Some(socket) = self.sockets.at(place) else { return };
        if let Some((bits, more)) = socket.report_end() {
            let token = socket.token(Op::Poll, place);
            self.finish(token, i32::from(bits), more);
        }
    }

    /// Tells the poll for room what holds now.
    #[cold]
    fn report_room(&mut self, place: u32, bits: Bits) {
        let Some(socket) = self.sockets.at(place) else { return };
        if let Some((bits, more)) = socket.report_room(bits) {
            let token = socket.token(Op::Room, place);
            self.finish(token, i32::from(bits), more);
        }
    }

    /// Receives what a socket has, as it is asked for and as far as its turn goes.
    #[inline]
    fn receive_some(&mut self, place: u32) {
        for _ in 0..RECEIVES_MAX {
            let Some(socket) = self.sockets.at(place).filter(|socket| socket.is_readable) else { return };
            let (group, most, more) = match socket.receive {
                Receive::No => return,
                Receive::Many => (Group::Small, u32::MAX, true),
                Receive::Once(group, most) => (group, most, false),
                Receive::Discard(most) => return self.discard(place, most),
            };
            if !self.receive_one(place, group, (most, more)) {
                return;
            }
        }
        self.list(place);
    }

    /// Receives into one buffer. `false`: that was all for now.
    #[inline]
    fn receive_one(&mut self, place: u32, group: Group, (most, more): (u32, bool)) -> bool {
        let Some(picked) = self.posted.pick(group) else {
            self.end_receive(place, -libc::ENOBUFS);
            return false;
        };
        let Some(socket) = self.sockets.at(place) else { return false };
        let into = picked.landing(most);
        match calls::receive(socket.descriptor, into) {
            Ok(0) => {
                self.posted.put_back(picked);
                self.end_receive(place, 0);
                false
            }
            Ok(bytes) => {
                if bytes < into.len as usize {
                    socket.fell_short();
                }
                if !more {
                    socket.receive = Receive::No;
                }
                let (token, more_at_hand) = (socket.token(Op::Receive, place), socket.is_readable);
                let result = i32::try_from(bytes).unwrap_or(i32::MAX);
                let buffer: Option<Filled> = Some(picked.filled());
                self.done.push(Event { token, result, more, buffer, more_at_hand });
                more && more_at_hand
            }
            Err(errno) => {
                self.posted.put_back(picked);
                self.receive_failed(place, errno);
                false
            }
        }
    }

    /// Throws away once what a socket has.
    #[cold]
    fn discard(&mut self, place: u32, most: u32) {
        let Some(socket) = self.sockets.at(place) else { return };
        match calls::discard(socket.descriptor, most) {
            Ok((bytes, most)) => {
                if bytes < most {
                    socket.fell_short();
                }
                self.end_receive(place, i32::try_from(bytes).unwrap_or(i32::MAX));
            }
            Err(errno) => self.receive_failed(place, errno),
        }
    }

    #[cold]
    fn receive_failed(&mut self, place: u32, errno: i32) {
        match self.sockets.at(place) {
            Some(socket) if errno == libc::EAGAIN => socket.is_readable = false,
            _ => self.end_receive(place, -errno),
        }
    }

    /// A receive is over, with a result.
    #[cold]
    fn end_receive(&mut self, place: u32, result: i32) {
        let Some(socket) = self.sockets.at(place) else { return };
        socket.receive = Receive::No;
        let (token, more_at_hand) = (socket.token(Op::Receive, place), result > 0 && socket.is_readable);
        self.done.push(Event { token, result, more: false, buffer: None, more_at_hand });
    }

    /// Accepts what is there.
    #[cold]
    fn accept_some(&mut self) {
        let done = &mut self.done;
        let mut failed = Vec::new();
        self.accepts.accept(|token, accepted| match accepted {
            Ok(result) => done.push(Event { token, result, more: true, buffer: None, more_at_hand: false }),
            Err(errno) => failed.push((token, errno)),
        });
        for (token, errno) in failed {
            self.end_accept(token, -errno);
        }
    }

    /// Ends an accept, if it is under way.
    fn end_accept(&mut self, token: Token, result: i32) {
        if let Some(listener) = self.accepts.end(token) {
            self.poller.forget(listener);
            self.finish(token, result, false);
        }
    }

    /// What has no places has bytes: the helper reads them.
    #[cold]
    fn read_stream(&mut self, token: Token) {
        if let Some(stream) = self.streams.end(&self.poller, token) {
            self.read(stream);
        }
    }

    fn read(&mut self, Stream { token, file, into }: Stream) {
        let reading = Reading::new(Source::Next(file), into, &self.arena);
        self.files.read(token, reading);
    }

    /// Makes the sends that are asked for.
    #[inline]
    fn send_all(&mut self) {
        let done = &mut self.done;
        self.sends.make(|asked, parts| {
            let more = if asked.mode == SendMode::Ahead { libc::MSG_MORE } else { 0 };
            let wanted: usize = parts.iter().map(|part| part.len as usize).sum();
            let result = match calls::send(asked.socket, parts, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | more) {
                Ok(sent) if sent == wanted => return,
                Ok(sent) => i32::try_from(sent).unwrap_or(i32::MAX),
                Err(errno) => -errno,
            };
            done.push(Event { token: asked.token, result, more: false, buffer: None, more_at_hand: false });
        });
    }

    /// Before a wait with jobs out: the helper learns of new ones. Gives how to wait.
    #[cold]
    fn submit_files(&mut self, wait: Wait) -> Wait {
        self.files.submit();
        if !self.files.watched {
            self.files.watched = self.poller.watch(self.files.notifier(), libc::POLLIN, FILES_TOKEN).is_ok();
        }
        // Without its notifier, its reports are looked for again and again.
        if wait != Wait::No && !(self.files.watched && self.files.begin_sleep()) { Wait::No } else { wait }
    }
}

impl Io for Epoll {
    fn listen(&mut self, socket: RawFd, backlog: Option<u32>) -> io::Result<()> {
        // A client that was told of may have left, or another shard may have it.
        listen::never_wait(socket)?;
        backlog.map_or(Ok(()), |backlog| listen::start_listening(socket, backlog))
    }

    fn accept(&mut self, listener: RawFd, token: Token) {
        match self.poller.watch_with_others(listener, token) {
            Ok(()) => self.accepts.begin(listener, token),
            Err(error) => self.finish(token, -error.raw_os_error().unwrap_or(libc::EIO), false),
        }
    }

    #[cold]
    fn accept_left(&mut self, listener: RawFd, token: Token) {
        // Should another have had it wait meanwhile. It is a socket: this does not fail.
        let _ = listen::never_wait(listener);
        let done = &mut self.done;
        let event = |result| Event { token, result, more: true, buffer: None, more_at_hand: false };
        let ended = accepts::accept_left(listener, |socket| done.push(event(socket)));
        self.finish(token, -ended, false);
    }

    fn receive(&mut self, socket: RawFd, token: Token) {
        self.ask(socket, token, Receive::Many);
    }

    fn receive_once(&mut self, socket: RawFd, token: Token, group: Group, len: u32) {
        self.ask(socket, token, Receive::Once(group, len));
    }

    fn receive_and_discard(&mut self, socket: RawFd, token: Token, len: u32) {
        self.ask(socket, token, Receive::Discard(len));
    }

    #[inline]
    fn send(&mut self, socket: RawFd, token: Token, parts: &[Lent], mode: SendMode) {
        self.sends.ask((socket, token), parts, mode);
    }

    fn read_file(&mut self, file: RawFd, offset: u64, into: Landing, token: Token) {
        if calls::has_places(file) {
            let reading = Reading::new(Source::At(file, offset), into, &self.arena);
            return self.files.read(token, reading);
        }
        match self.streams.begin(&self.poller, token, (file, into)) {
            Ok(None) => {}
            Ok(Some(stream)) => self.read(stream),
            Err(errno) => self.finish(token, -errno, false),
        }
    }

    fn send_file(&mut self, socket: RawFd, token: Token, part: FilePart) {
        self.files.send(socket, token, part);
    }

    fn await_room(&mut self, socket: RawFd, token: Token, lasting: bool) {
        debug_assert!(token.op() == Op::Room, "a poll for room is named as one");
        let Some(entry) = self.socket(socket, token) else { return };
        entry.room_poll = if lasting { Poll::Lasting { reported: 0 } } else { Poll::Once };
        // The helper may have filled the socket, so that no edge says what holds. Asked like this, the kernel sees to
        // it that there will be one if there is no room.
        let bits = calls::poll(socket, libc::POLLOUT | libc::POLLRDHUP);
        self.report_room(token.slot(), bits);
    }

    fn file_closer(&self) -> Box<dyn Fn(File)> {
        self.files.file_closer()
    }

    fn watch(&mut self, descriptor: RawFd, token: Token) {
        debug_assert!(token.op() == Op::Notifier, "a watch is named as one");
        if let Err(error) = self.poller.watch(descriptor, libc::POLLIN, token) {
            self.finish(token, -error.raw_os_error().unwrap_or(libc::EIO), false);
        }
    }

    fn watch_end(&mut self, socket: RawFd, token: Token) {
        debug_assert!(token.op() == Op::Poll, "a poll for an end is named as one");
        let Some(entry) = self.socket(socket, token) else { return };
        entry.end_poll = Poll::Lasting { reported: 0 };
        self.report_end(token.slot());
    }

    fn cancel(&mut self, target: Token) {
        match target.op() {
            Op::Accept => self.end_accept(target, -libc::ECANCELED),
            Op::SendFile => self.files.cancel(target),
            Op::ReadFile if self.streams.end(&self.poller, target).is_some() => {
                self.finish(target, -libc::ECANCELED, false);
            }
            Op::ReadFile => self.files.cancel(target),
            op => {
                if self.sockets.get_mut(target).is_some_and(|socket| socket.cancel(op)) {
                    self.finish(target, -libc::ECANCELED, false);
                }
            }
        }
    }

    #[inline]
    fn give_buffer(&mut self, spare: Spare) {
        self.posted.put(spare);
    }

    #[inline]
    fn post_buffers(&mut self) {}

    fn recall_buffers(&mut self, group: Group, count: u32, token: Token) -> bool {
        for _ in 0..count {
            let buffer = self.posted.recall(group);
            let result = if buffer.is_some() { 1 } else { -libc::ENOBUFS };
            self.done.push(Event { token, result, more: false, buffer, more_at_hand: false });
        }
        true
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.send_all();
        let is_busy = !self.done.is_empty() || !self.listed.is_empty() || self.accepts.any();
        let mut wait = if is_busy { Wait::No } else { wait };
        let files = self.files.is_busy();
        if files {
            wait = self.submit_files(wait);
        }
        let due = self.listed.len();
        let found = self.poller.wait(wait)?;
        for place in 0..found {
            let (token, bits) = self.poller.found(place);
            self.on_edge(token, bits);
        }
        for _ in 0..due {
            if let Some(place) = self.listed.pop_front() {
                self.go_on(place);
            }
        }
        if self.accepts.any() {
            self.accept_some();
        }
        events.append(&mut self.done);
        if files {
            self.files.reap(events);
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        0
    }

    fn release(&mut self, descriptor: RawFd) -> OwnedFd {
        self.poller.forget(descriptor);
        let socket = net::release(descriptor);
        net::let_wait(descriptor);
        socket
    }

    fn explain(error: io::Error) -> Error {
        Error::io("epoll_wait failed", error)
    }
}
