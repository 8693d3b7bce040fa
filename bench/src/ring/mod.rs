//! What the floor, the ways of sending and the load generator share of io_uring: set-up, provided buffers, submission,
//! a few host calls.
//!
//! Invariants:
//! - all unsafe code of the floor, the ways and the load generator is here, one operation a block, but for three calls
//!   at the end of a load (`load/worker.rs`, `load/run.rs`) and one in the ways (`bin/ways/answer.rs`): to end a
//!   mapping, to close a descriptor, to free bytes and to map a file are the unsafe functions offered, and only their
//!   callers can know that nobody uses or changes them meanwhile. The comparison, which has no ring, has unsafe code of
//!   its own: `compare/system.rs` calls the host, `compare/process.rs` sets up what runs between fork and exec;
//! - the only memory an entry can name is a registered buffer, bytes that live until no entry can name them, or a cell,
//!   which lives for ever and is never lent;
//! - sockets are numbers, and whoever uses one answers for it: an operation acts on what has the number;
//! - that a buffer was filled is the user's word, taken from a completion; a word that breaks the order of the ring is
//!   a panic, before the buffer is read or lent again;
//! - a send whose success carries no news posts no completion (`tests/send_contract.rs` holds the kernel to that).
//!
//! Not here: what completions mean, which is the business of each user.
//!
//! Kernel: multishot receive into a buffer ring is 6.0; [`setup`] takes what newer ones add and does without on older.

pub mod buffers;
pub mod files;
pub mod host;
pub mod lasting;
pub mod setup;
pub mod submit;

pub use buffers::{Buffers, Shape};
pub use setup::Wishes;
pub use submit::{Knobs, Send, Submissions, Tag};
