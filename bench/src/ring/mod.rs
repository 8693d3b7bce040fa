//! What the floor and the load generator share of io_uring: set-up, provided buffers, submission, a few host calls.
//!
//! Laws:
//! - all unsafe code of the measuring tools is here, one operation a block; what is offered to the rest is safe, but
//!   for the one function that ends a mapping;
//! - the only memory an entry can name is a registered buffer or bytes that live for ever;
//! - a send whose success carries no news posts no completion (`tests/send_contract.rs` holds the kernel to that).
//!
//! Absent: what completions mean, which is the business of each user.
//!
//! Kernel: multishot receive into a buffer ring is 6.0; [`setup`] takes what newer ones add and does without on older.

pub mod buffers;
pub mod host;
pub mod lasting;
pub mod setup;
pub mod submit;

pub use buffers::{Buffers, Shape};
pub use setup::Wishes;
pub use submit::{Knobs, Send, Submissions, Tag};
