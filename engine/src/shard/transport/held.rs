//! Input that cannot be taken yet is held in its buffers, in order, while receiving stops.
//!
//! Invariants: held input is taken in the order it came; holding never fails, since each buffer has a place here; at
//! four held buffers receiving is told to stop, and at one while small buffers are short.
//!
//! Not here: when input can be taken (`protocol`), and receiving (`receive`).

use super::{Socket, Transport};
use crate::driver::Io;
use crate::mem::{BufferId, Input, ReceiveBuffers, Share};

/// Buffers a socket may hold before receiving stops.
const HELD_MAX: u16 = 4;

/// Input of a socket that cannot be taken yet: a range of a receive buffer.
#[derive(Debug)]
pub(super) struct Held {
    /// `None`: nothing of this buffer is held.
    share: Option<Share>,
    next: Option<BufferId>,
    start: u32,
    end: u32,
}

impl Held {
    pub(super) const NOTHING: Self = Self { share: None, next: None, start: 0, end: 0 };
}

impl<I: Io> Transport<I> {
    /// Keeps input that cannot be taken yet, in front of or behind what is held already.
    #[cold]
    pub(crate) fn hold(&mut self, socket: &mut Socket, buffers: &mut ReceiveBuffers, input: Input<'_>, in_front: bool) {
        let buffer = input.buffer();
        let place = &mut self.held[buffer];
        assert!(place.share.is_none(), "a socket holds what it received once");
        let share = Some(buffers.share(input));
        *place = Held { share, next: None, start: input.start(), end: input.end() };
        match (socket.held_first, socket.held_last) {
            (Some(first), _) if in_front => {
                place.next = Some(first);
                socket.held_first = Some(buffer);
            }
            (Some(_), Some(last)) => {
                self.held[last].next = Some(buffer);
                socket.held_last = Some(buffer);
            }
            _ => (socket.held_first, socket.held_last) = (Some(buffer), Some(buffer)),
        }
        socket.held_count += 1;
        if socket.held_count >= HELD_MAX || buffers.small.is_short() {
            self.stop_receive(socket);
        }
    }

    /// Takes the oldest held input: the buffer's share and where in it the input begins and ends.
    pub(crate) fn pop_held(&mut self, socket: &mut Socket) -> Option<(Share, u32, u32)> {
        let held = &mut self.held[socket.held_first?];
        let share = held.share.take()?;
        socket.held_first = held.next;
        socket.held_count -= 1;
        Some((share, held.start, held.end))
    }

    /// Throws held input away. Gives in how many buffers it was.
    pub(crate) fn drop_held(&mut self, socket: &mut Socket, buffers: &mut ReceiveBuffers) -> u16 {
        let count = socket.held_count;
        while let Some((share, ..)) = self.pop_held(socket) {
            buffers.release(share);
        }
        count
    }
}
