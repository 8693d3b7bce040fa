//! Sockets and bytes: connections that come in, what is received for them and what they send, their timers and their
//! end.
//!
//! Invariants:
//! * What the kernel was lent comes back before it is used again: buffers by completions, sends by
//!   [`Uring`](crate::driver::Uring)'s rule, a descriptor after its last operation.
//! * At most one send is in flight for a socket.
//! * A socket is lent by who looked it up, once an event: what is to be done with another one goes on a list.
//!
//! Not here: what bytes mean, and whose memory they are in.

mod accept;
mod closing;
mod drains;
mod events;
mod held;
mod listen_socket;
mod place_lists;
mod rates;
mod receive;
mod send;
mod socket;
mod stage;
mod staging;
mod turns;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use self::accept::{Accepted, Accepting};
use self::drains::Drains;
pub(crate) use self::events::{FileGot, OtherSide, Received, Reception, SocketEvent, Taken};
use self::held::Held;
pub(crate) use self::listen_socket::{Entrance, ListenSocket, Sharing};
pub(crate) use self::rates::{Account, LOOK_EVERY};
pub(crate) use self::receive::{Awaited, Kept, Way};
pub(crate) use self::send::RoomFound;
pub(crate) use self::socket::Socket;
use self::socket::{Appetite, End, Life, Polling, Receiving, Sending, Shortage};
pub(crate) use self::stage::FileRead;
pub(crate) use self::staging::Staging;
#[cfg(test)]
pub(crate) use self::turns::TurnSizes;
use self::turns::Turns;
pub(crate) use self::waiting::{Resource, Waiting};
use crate::clock::{Clock, Tick};
use crate::counters::ShardCounters;
use crate::driver::{Epoll, Event, Io, Op, Token};
use crate::mem::{Arena, BufferTable, Group, ReceiveBuffers, give_back_room, give_back_room_of_queue};
use crate::slab::ConnectionKey;
use crate::timer::Wheel;

/// How many of what a transport has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) connections: u32,
    pub(crate) buffers: u32,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Transport<I: Io> {
    pub(crate) io: I,
    pub(crate) clock: Clock,
    /// The turn's time.
    pub(crate) tick: Tick,
    pub(crate) wheel: Wheel,
    pub(crate) accepting: Accepting,
    held: BufferTable<Held>,
    /// Sockets whose silent sends end with this turn.
    pub(crate) silent: Vec<ConnectionKey>,
    /// Something is to be done as soon as the silent sends have ended, or for who has begun to wait: the next enter
    /// does not wait.
    pub(crate) follow_up: bool,
    /// Sockets whose input waits for something that has run out.
    pub(crate) waiting: Waiting,
    /// Who sends much, in turn.
    pub(crate) turns: Turns,
    /// Sockets that wait for a cell to read a file into, oldest first.
    pub(crate) cell_waiters: VecDeque<ConnectionKey>,
    /// Those of them that are to try again.
    pub(crate) called: Vec<ConnectionKey>,
    pub(crate) drains: Drains,
    counters: Arc<ShardCounters>,
}

/// Bytes of a connection: its timer, its places in lists, and what a driver keeps of it.
pub(crate) const CONNECTION_BYTES: usize =
    Wheel::BYTES + Waiting::BYTES + Turns::BYTES + 4 * size_of::<ConnectionKey>() + Epoll::CONNECTION_BYTES;

impl<I: Io> Transport<I> {
    pub(crate) fn new(io: I, sizes: Sizes, accepting: Accepting, counters: Arc<ShardCounters>) -> Self {
        let connections = sizes.connections as usize;
        Self {
            io,
            clock: Clock::new(),
            tick: 0,
            wheel: Wheel::new(sizes.connections),
            accepting,
            held: BufferTable::new(sizes.buffers, || Held::NOTHING),
            silent: Vec::with_capacity(connections),
            follow_up: false,
            waiting: Waiting::new(sizes.connections),
            turns: Turns::new(sizes.connections),
            cell_waiters: VecDeque::with_capacity(connections),
            called: Vec::with_capacity(connections),
            drains: Drains::new(sizes.connections),
            counters,
        }
    }

    /// Reads the clock.
    pub(crate) fn read_clock(&mut self) {
        self.clock.advance();
        self.tick = self.clock.tick();
    }

    /// So many ticks from now.
    #[inline]
    pub(crate) fn after(&self, ticks: Tick) -> Tick {
        self.tick.saturating_add(ticks)
    }

    /// Sets a socket's one deadline.
    #[inline]
    pub(crate) fn set_deadline(&mut self, socket: &Socket, deadline: Tick) {
        self.wheel.set(socket.key.index, deadline);
    }

    /// As [`set_deadline`](Self::set_deadline), unless an earlier one is set.
    #[inline]
    pub(crate) fn set_deadline_at_latest(&mut self, socket: &Socket, deadline: Tick) {
        self.wheel.set_at_latest(socket.key.index, deadline);
    }

    /// Gives the memory back that is not used, of lists and buffers; the kernel is asked for buffers that it needs not.
    #[cold]
    pub(crate) fn give_memory_back(&mut self, buffers: &mut ReceiveBuffers, arena: &Arena) {
        for list in [&mut self.silent, &mut self.called] {
            give_back_room(list);
        }
        self.waiting.give_back_room();
        give_back_room_of_queue(&mut self.cell_waiters);
        self.turns.give_back_room();
        self.drains.give_back_room();
        self.wheel.give_back_room();
        self.give_gates_room_back();
        for (group, count) in buffers.give_back(arena) {
            let token = Token::new(Op::Recall, 0, group as u32);
            if count > 0 && !self.io.recall_buffers(group, count, token) {
                (0..count).for_each(|_| buffers.recalled(arena, group, None));
            }
        }
    }

    /// A buffer that the kernel was asked for has come, or has not.
    #[cold]
    pub(crate) fn on_recalled(&mut self, event: Event, buffers: &mut ReceiveBuffers, arena: &Arena) {
        let group = Group::ALL.into_iter().find(|group| *group as u32 == event.token.slot());
        buffers.recalled(arena, group.unwrap_or_default(), event.buffer);
    }

    /// Gives spare buffers to the kernel, with one store.
    pub(crate) fn post_buffers(&mut self, buffers: &mut ReceiveBuffers) {
        let mut any = false;
        while let Some(spare) = buffers.next_to_post() {
            self.io.give_buffer(spare);
            any = true;
        }
        if any {
            self.io.post_buffers();
        }
    }
}
