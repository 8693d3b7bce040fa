//! What a request slot's word says: its generation and marks. Every transition but the shard's own is a
//! compare-and-swap on it:
//!
//! ```text
//!           publish                answer (by handle or id)                      taken, sent
//!   free ───────────▶ OPEN, HANDLE ───────────────────────▶ ANSWERED, COMPLETING ───────────▶ free, generation + 1
//!                        │ detach                              ▲ answer by id
//!                        └──────────────▶ OPEN ────────────────┘ (and back to OPEN, HANDLE: regain)
//!   COMPLETING: somebody is about to put the slot into the completions, or has; the shard's end waits for it.
//!   DEAD:      the client is gone; nobody can answer any more. The slot is free once the handle is dropped.
//!   SENT:      answered by id and sent, but the handle still reads the head. The slot is free once it is dropped.
//!   ORPHAN:    the shard has ended; the last orphan to be dropped takes the exchange with it.
//!   CANCELLED: set by any thread on a slot that is OPEN and not DEAD, SENT or ORPHAN, answered or not. Nobody can
//!              answer any more, and a command asks the shard to end the connection, which makes the slot DEAD or free.
//! ```
//!
//! Beside the marks the word counts the informational responses that wait to be sent.
//!
//! A slot that is cancelled and unanswered is freed by the shard alone: who drops its handle before the shard has read
//! the command only takes HANDLE off, or the shard would answer 500 in the place of the application.
//!
//! Invariants: the marks and the count leave the generation its bits. Whoever takes a request out of its queue's ring
//! (`RequestRing::withdraw`) has set DEAD or ANSWERED before, sequentially consistent: these two carry the argument why
//! a consumer that claims the entry sees it. CANCELLED does not: it only asks the shard, which sets one of the two.
//!
//! Not here: who changes it (`exchange`, `lease`, `by_id`, `shard_side`).

use crate::id::{Generation, PLACE_BITS};

pub(super) const HANDLE: u64 = 1;
pub(super) const ANSWERED: u64 = 2;
pub(super) const DEAD: u64 = 4;
pub(super) const SENT: u64 = 8;
pub(super) const ORPHAN: u64 = 16;
/// Published and not yet freed: a word without it is nobody's to answer, whatever id is made up.
pub(super) const OPEN: u64 = 32;
pub(super) const COMPLETING: u64 = 64;
/// Nobody will answer by id: the handle was dropped while somebody was doing so, or the queue has ended. If that fails,
/// or when the handle is let go of, the request is abandoned.
pub(super) const LEFT: u64 = 128;
/// Cancelled: nobody can answer, and the shard has a command to end the connection.
pub(super) const CANCELLED: u64 = 256;
pub(super) const MARKS: u64 = (1 << PLACE_BITS) - 1;
/// One informational response that waits to be sent; the five bits count up to [`INFORMATIONAL_MAX`].
pub(super) const INFORMATIONAL_ONE: u64 = 1 << 16;
pub(super) const INFORMATIONAL: u64 = 31 * INFORMATIONAL_ONE;
/// Informational responses of one request that may wait to be sent.
pub(crate) const INFORMATIONAL_MAX: u32 = 16;
/// With one of these, or without OPEN, a request cannot be answered.
pub(super) const CLOSED: u64 = ANSWERED | DEAD | ORPHAN | CANCELLED;

const _: () = assert!(INFORMATIONAL & !MARKS == 0, "marks and counts leave the generation its bits");

pub(super) const fn word_of(generation: Generation, marks: u64) -> u64 {
    generation.bits() | marks
}

pub(super) fn generation_of(word: u64) -> Generation {
    Generation::of(word)
}
