//! Input that nobody wants is thrown away, so that clients get to read their responses instead of a reset: the rest of
//! a body behind which the next request is looked for, and all that comes when a connection takes no more requests.
//!
//! Invariants:
//! * What is thrown away takes no buffer: it is received without a place to put it (MSG_TRUNC, tcp(7)). Only chunks
//!   are received like other bodies, as far as [`DISCARDED_BYTES_MAX`], since they have to be decoded to find their
//!   end.
//! * It is bounded by time: the client sends something every 5 seconds, and is done within `drain_entity_body`. While a
//!   response is still owed, neither runs: its client may be waiting for that. What follows a last request while the
//!   application works on a response is bounded by [`DISCARDED_BYTES_MAX`]; then TCP pushes back until one is under
//!   way.
//! * Our side is shut before the last of it is read. At most a quarter of a shard's connections are in that state;
//!   beyond that the one that is longest in it is reset.
//!
//! Not here: which input is wanted (room `conn`, `input`, `body`).
//!
//! [`DISCARDED_BYTES_MAX`]: crate::record::DISCARDED_BYTES_MAX

use super::Http1;
use super::input::Taken;
use super::state::{Incoming, Intake, Reader, RestOfBody};
use crate::clock::{TICK_MS, Tick};
use crate::driver::Io;
use crate::shard::protocol::Protocol;
use crate::timer::NEVER;

/// How long a client may pause that sends what nobody wants, or has only to end its side: 5 seconds.
const PAUSE_MAX: Tick = 5_000_u32.div_ceil(TICK_MS);
/// Bytes that one receive throws away.
const AT_ONCE: u32 = 1 << 20;

impl<I: Io> Protocol<I> {
    /// Everything is sent: our side is shut, and the client's is read to its end.
    #[cold]
    pub(super) fn drain(&mut self, connection: &mut Http1) {
        self.drop_held(&mut connection.link);
        self.drop_head(connection);
        self.drop_gathered(connection);
        connection.intake = Intake::Unwanted { due: NEVER };
        // A client that sees the end finds its requests counted.
        self.dispatch.write_tally();
        self.transport.begin_drain(&mut connection.link.socket);
        self.arm_receive(connection);
        self.set_timer(connection);
    }

    /// The deadline of input that is thrown away.
    #[cold]
    pub(super) fn drain_deadline(&mut self, connection: &mut Http1) -> Tick {
        if connection.link.socket.is_starved() {
            // It is not the client who is awaited.
            return NEVER;
        }
        let latest = self.transport.after(self.dispatch.policy(connection.link.policy).drain);
        let pause = self.transport.after(PAUSE_MAX);
        let Some(due) = connection.due_mut() else { return pause };
        if *due == NEVER {
            *due = latest;
        }
        pause.min(*due)
    }

    /// Receives what nobody wants, if that is all there can be. `false`: there may be more to it.
    pub(super) fn receive_unwanted(&mut self, connection: &mut Http1) -> bool {
        let takes_nothing = connection.takes_nothing();
        if takes_nothing && connection.has_discarded_enough() && !connection.link.socket.blocked() {
            let oldest = self.dispatch.find_state(connection.oldest);
            if oldest.is_some_and(|oldest| !oldest.is_answered()) {
                self.poll_end(connection);
                return true;
            }
        }
        let most = match connection.intake {
            _ if takes_nothing => AT_ONCE,
            Intake::Body(RestOfBody { incoming: Incoming::Length { missing }, reader: Reader::Nobody, .. }) => {
                u32::try_from(missing).unwrap_or(AT_ONCE).min(AT_ONCE)
            }
            _ => return false,
        };
        self.transport.receive_and_discard(&mut connection.link.socket, most);
        true
    }

    /// So many bytes are thrown away: of a body of known length, or behind a last request.
    #[cold]
    pub(crate) fn thrown_away(&mut self, connection: &mut Http1, bytes: u32) {
        if let Intake::Body(RestOfBody { incoming: Incoming::Length { missing }, .. }) = connection.intake {
            connection.body_goes_on(Incoming::of_length(missing.saturating_sub(u64::from(bytes))));
        } else {
            // How far that goes is looked at when more is received.
            let _ = connection.discard(bytes);
        }
        self.set_timer(connection);
    }

    /// A response is under way, which the client may not read before it has sent everything: goes on with what nobody
    /// wants, if that had to wait for the application.
    #[cold]
    pub(crate) fn resume_unwanted(&mut self, connection: &mut Http1) {
        let waits = !connection.link.socket.holds_input() && !connection.link.socket.has_ended();
        if waits && connection.takes_nothing() {
            self.arm_receive(connection);
        }
    }

    /// The connection takes no more requests: neither the one under way nor what follows.
    #[cold]
    pub(super) fn throw_away(&mut self, connection: &mut Http1) -> Taken {
        self.drop_head(connection);
        // What follows comes without a buffer.
        self.transport.stop_receive(&mut connection.link.socket);
        self.set_timer(connection);
        Taken::Over
    }
}
