//! What a thread does with its connections: completions in, operations out.

use std::io;
use std::net::Shutdown;
use std::os::fd::IntoRawFd;

use anyhow::Result;
use io_uring::{CompletionQueue, cqueue};

use super::checker::{Outcome, stray};
use super::connection::{Asked, Stage};
use super::tally::Fault;
use super::worker::{Phase, Worker, nanoseconds};
use crate::ring::{Send, Submissions, Tag, host};

/// What a completion answers.
pub(super) mod op {
    pub(crate) const RECV: u8 = 1;
    pub(crate) const SEND: u8 = 2;
    pub(crate) const CONNECT: u8 = 3;
    pub(crate) const ALARM: u8 = 4;
    /// Close and cancel: they post only failures, and a failure changes nothing.
    pub(crate) const FAREWELL: u8 = 5;
}

/// For the peer to end its side after we have ended ours, or after it said it would.
pub(super) const ENDING_NS_MAX: u64 = 1_000_000_000;

/// Connections being made at a time: fewer than any server's backlog.
const CONNECTING_AT_ONCE: u32 = 64;

/// After a refusal.
const RETRY_NS: u64 = 100_000_000;

impl Worker<'_> {
    /// Reads every completion there is.
    pub(super) fn reap(&mut self, completions: &mut CompletionQueue<'_>) {
        completions.sync();
        for completion in &mut *completions {
            let (op, _, slot) = Tag(completion.user_data()).fields();
            match op {
                op::RECV => self.received(slot as usize, &completion),
                op::SEND => self.sent(slot as usize, completion.result()),
                op::CONNECT => self.connected(slot as usize, completion.result()),
                op::ALARM => self.alarm_set = false,
                _ => debug_assert_eq!(op, op::FAREWELL),
            }
        }
        completions.sync();
    }

    #[inline]
    fn received(&mut self, slot: usize, completion: &cqueue::Entry) {
        let (flags, result) = (completion.flags(), completion.result());
        let len = usize::try_from(result).unwrap_or(0);
        if let Some(bid) = cqueue::buffer_select(flags) {
            self.buffers.take(bid);
            self.tally.received(len);
            let connection = &mut self.connections[slot];
            let waiting = connection.waiting.len();
            let data = self.buffers.bytes(bid, len);
            let outcome = match connection.stage {
                Stage::Open => self.checker.check(connection, data, self.now, &mut self.tally),
                Stage::Ending if len > 0 => {
                    stray(data, &mut self.tally);
                    Outcome::Broken
                }
                Stage::Dying => {
                    // A peer that sends on is told to stop, or it might wait for our window for minutes.
                    connection.aborts |= len > 0;
                    Outcome::Open
                }
                _ => Outcome::Open,
            };
            let answered = waiting - connection.waiting.len();
            self.answered(slot, answered);
            match outcome {
                Outcome::Open => {}
                Outcome::Last => self.last(slot),
                Outcome::Broken => self.fail(slot),
            }
        }
        if !cqueue::more(flags) {
            let connection = &mut self.connections[slot];
            connection.receiving = false;
            if len != 0 || result == -libc::ENOBUFS {
                connection.wants_receive = true;
            } else {
                self.ended(slot, result);
            }
        }
        self.list(slot);
    }

    /// So many requests have been answered.
    #[inline]
    fn answered(&mut self, slot: usize, answers: usize) {
        if answers == 0 {
            return;
        }
        let connection = &mut self.connections[slot];
        if connection.is_idle {
            if connection.is_first {
                self.first(slot, true);
            }
            return;
        }
        self.under_way -= answers as u64;
        if connection.left == 0 && connection.waiting.is_empty() && connection.stage == Stage::Open {
            connection.enter(Stage::Ending, self.now);
        }
    }

    /// The last answer was complete, and the peer has announced the end.
    fn last(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        connection.peer_closes = true;
        connection.enter(Stage::Ending, self.now);
        self.ask_again(slot);
    }

    /// What was asked behind a last answer is asked again elsewhere: a server need not answer that (RFC 9112, section
    /// 9.6).
    fn ask_again(&mut self, slot: usize) {
        if let Some(schedule) = &mut self.schedule {
            for asked in &self.connections[slot].waiting {
                schedule.put_back(asked.due);
            }
        }
        self.forget(slot);
    }

    /// Nobody waits for these answers any more.
    fn forget(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.is_idle {
            self.under_way -= connection.waiting.len() as u64;
        }
        connection.waiting.clear();
        connection.to_send = 0;
    }

    /// The receive has ended: the peer has ended its side, or the connection is gone.
    fn ended(&mut self, slot: usize, result: i32) {
        let connection = &mut self.connections[slot];
        // While dying, it is our own shutdown that ends the receive.
        connection.peer_ended |= connection.stage != Stage::Dying;
        if connection.stage == Stage::Open {
            let waiting = connection.waiting.len();
            let outcome = if result == 0 && !connection.was_reset {
                let outcome = self.checker.end(connection, self.now, &mut self.tally);
                let answered = waiting - connection.waiting.len();
                self.answered(slot, answered);
                outcome
            } else {
                let error = io::Error::from_raw_os_error(if result == 0 { libc::ECONNRESET } else { -result });
                self.tally.fault(Fault::Reset, || format!("a connection with {waiting} unanswered failed: {error}"));
                Outcome::Broken
            };
            match outcome {
                Outcome::Broken => return self.fail(slot),
                Outcome::Open | Outcome::Last => self.ask_again(slot),
            }
        }
        self.kill(slot);
    }

    /// The oldest answer has not come in time: its connection is given up, with all that is under way on it.
    pub(super) fn give_up(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        self.checker.late(connection, &mut self.tally);
        if self.schedule.is_some() && !connection.is_idle {
            let timeout = nanoseconds(self.plan.timeout);
            for asked in &connection.waiting {
                self.tally.late(asked.due, self.now, timeout);
            }
        }
        self.fail(slot);
    }

    /// Ends a connection for a fault that has been counted. The fault stands for the oldest request under way, and the
    /// others are lost with it.
    fn fail(&mut self, slot: usize) {
        let others = self.connections[slot].waiting.len().saturating_sub(1);
        self.tally.faults.lost += others as u64;
        self.kill(slot);
    }

    /// A send ended that had news: it fell short, or its end was asked for.
    fn sent(&mut self, slot: usize, result: i32) {
        let connection = &mut self.connections[slot];
        connection.sending = false;
        match usize::try_from(result) {
            Ok(sent) => connection.place.0 = connection.sent_from + sent,
            Err(_) if result == -libc::EAGAIN => connection.place.0 = connection.sent_from,
            // The receive will tell why.
            Err(_) => connection.was_reset |= result == -libc::ECONNRESET,
        }
        self.list(slot);
    }

    fn connected(&mut self, slot: usize, result: i32) {
        self.connecting -= 1;
        let connection = &mut self.connections[slot];
        let was_given_up = connection.stage != Stage::Connecting;
        // While connecting, this marks the operation that is under way.
        connection.sending = false;
        if result < 0 || was_given_up {
            if !was_given_up {
                self.refused(&io::Error::from_raw_os_error(-result));
                self.connections[slot].was_refused = true;
                self.connections[slot].peer_ended = true;
                self.kill(slot);
            }
            return self.list(slot);
        }
        connection.enter(Stage::Open, self.now);
        connection.wants_receive = true;
        if !connection.is_first {
            self.tally.reconnected();
        } else if !connection.is_idle {
            self.first(slot, true);
        }
        self.list(slot);
    }

    /// A connection could not be made in time.
    pub(super) fn give_up_connecting(&mut self, slot: usize) {
        self.refused(&io::Error::from_raw_os_error(libc::ETIMEDOUT));
        self.connections[slot].was_refused = true;
        self.kill(slot);
    }

    /// Makes a connection, but not at once.
    pub(super) fn retry(&mut self, slot: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "slots are numbered by u32")]
        self.retries.push_back((self.now + RETRY_NS, slot as u32));
    }

    /// The first outcome of a connection is known.
    pub(super) fn first(&mut self, slot: usize, is_made: bool) {
        let connection = &mut self.connections[slot];
        if connection.is_first {
            connection.is_first = false;
            self.firsts -= 1;
            self.made += u64::from(is_made);
        }
    }

    /// Ends a connection: nothing is read from it or sent on it any more.
    pub(super) fn kill(&mut self, slot: usize) {
        self.forget(slot);
        self.first(slot, false);
        let connection = &mut self.connections[slot];
        connection.aborts |= self.phase != Phase::Leaving && !connection.peer_ended;
        connection.enter(Stage::Dying, self.now);
        self.list(slot);
    }

    #[inline]
    pub(super) fn list(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.listed {
            connection.listed = true;
            // Slots are numbered by u32: `firsts` was.
            #[expect(clippy::cast_possible_truncation, reason = "there are fewer slots")]
            self.unsettled.push(slot as u32);
        }
    }

    /// Queues what every listed connection needs: its receive, requests, the rest of a send, its end.
    pub(super) fn settle(&mut self, out: &mut Submissions<'_>) -> io::Result<()> {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        for slot in unsettled.drain(..) {
            let connection = &mut self.connections[slot as usize];
            connection.listed = false;
            match connection.stage {
                Stage::Open => self.settle_open(slot, out)?,
                Stage::Ending => self.settle_ending(slot, out)?,
                Stage::Dying => self.settle_dying(slot, out)?,
                Stage::Out | Stage::Connecting => {}
            }
        }
        // Nothing is listed while it is being settled; the list keeps its memory.
        debug_assert!(self.unsettled.is_empty());
        self.unsettled = unsettled;
        Ok(())
    }

    #[inline]
    fn settle_open(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let (is_asking, is_open_loop) = (self.asks(), self.schedule.is_some());
        self.settle_receive(slot, out)?;
        let connection = &mut self.connections[slot as usize];
        if connection.sending {
            return Ok(());
        }
        if connection.place.0 < connection.place.1 {
            // The rest of a send that fell short.
            connection.sending = true;
            let bytes = self.shared.block.bytes(connection.begin_send());
            return out.send(connection.socket, bytes, Send::Whole, Tag::new(op::SEND, 0, slot));
        }
        let room = connection.room(self.plan.depth, self.shared.block.run_max());
        if connection.is_idle {
            // Its one request.
            connection.ask(room, Asked { due: self.now, sent: self.now });
        } else if is_open_loop {
            if room > 0 && !connection.ready {
                connection.ready = true;
                self.ready.push_back(slot);
            }
        } else if is_asking && room > 0 {
            connection.ask(room, Asked { due: self.now, sent: self.now });
            self.under_way += u64::from(room);
        }
        if connection.to_send > 0 {
            connection.place = self.shared.block.place(connection.next_request, connection.to_send);
            let rotation = u32::try_from(self.plan.exchanges.len()).unwrap_or(u32::MAX);
            connection.next_request = (connection.next_request + connection.to_send) % rotation;
            connection.to_send = 0;
            let bytes = self.shared.block.bytes(connection.begin_send());
            out.send(connection.socket, bytes, Send::NowQuietly, Tag::new(op::SEND, 0, slot))?;
        }
        Ok(())
    }

    fn settle_receive(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        if connection.wants_receive {
            connection.wants_receive = false;
            connection.receiving = true;
            out.receive(connection.socket, Tag::new(op::RECV, 0, slot))?;
        }
        Ok(())
    }

    /// All is answered: our side is ended, unless the peer said that it will end first.
    fn settle_ending(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        self.settle_receive(slot, out)?;
        let connection = &mut self.connections[slot as usize];
        if !connection.shut && !connection.peer_closes {
            connection.shut = true;
            host::shutdown(connection.socket, Shutdown::Write);
        }
        Ok(())
    }

    fn settle_dying(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let connects = self.connects();
        let connection = &mut self.connections[slot as usize];
        connection.wants_receive = false;
        if connection.is_quiet() {
            if connection.aborts {
                host::reset_on_close(connection.socket);
            }
            out.close(connection.socket, Tag::new(op::FAREWELL, 0, slot))?;
            connection.stage = Stage::Out;
            connection.place = (0, 0);
            self.alive -= 1;
            match connection.was_refused {
                _ if !connects => {}
                true => self.retry(slot as usize),
                false => self.to_connect.push_back(slot),
            }
            return Ok(());
        }
        if connection.is_abandoned {
            return Ok(());
        }
        // Ends what is under way; if our side was ended already, this ends the other.
        connection.is_abandoned = true;
        host::shutdown(connection.socket, Shutdown::Both);
        if connection.sending && !connection.receiving {
            // It may be a connect, which a shutdown does not end.
            out.cancel(Tag::new(op::CONNECT, 0, slot), Tag::new(op::FAREWELL, 0, slot))?;
        }
        Ok(())
    }

    /// Begins to make connections, so many at a time.
    pub(super) fn connect(&mut self, out: &mut Submissions<'_>) -> Result<()> {
        while self.connecting < CONNECTING_AT_ONCE
            && let Some(slot) = self.to_connect.pop_front()
        {
            let socket = match self.socket() {
                Ok(socket) => socket,
                Err(error) => {
                    self.refused(&error);
                    self.first(slot as usize, false);
                    self.retry(slot as usize);
                    continue;
                }
            };
            let connection = &mut self.connections[slot as usize];
            let left = match (connection.is_idle, self.plan.requests_per_connection) {
                (true, _) => 1,
                (false, limit) => limit.unwrap_or(u32::MAX),
            };
            connection.connect(socket, left, self.now);
            // The connect is under way.
            connection.sending = true;
            self.connecting += 1;
            self.alive += 1;
            out.connect(socket, self.target, Tag::new(op::CONNECT, 0, slot))?;
        }
        Ok(())
    }

    fn socket(&mut self) -> io::Result<u32> {
        let socket = host::tcp_socket(self.plan.target)?;
        if let Some(source) = self.source() {
            host::bind_source(&socket, source)?;
        }
        self.opened = self.opened.wrapping_add(1);
        Ok(u32::try_from(socket.into_raw_fd()).expect("descriptors are not negative"))
    }
}
