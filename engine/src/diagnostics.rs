//! What the program `ringress` tells people of their host, and no other interface does. Not for applications: it
//! changes without notice.
//!
//! Invariants: nothing here is a second way to find anything out: it is what the engine itself asks.
//!
//! Not here: what the program makes of it (`bin`).

pub use crate::driver::{Piece, pieces};

/// Connections that the kernel queues before they are accepted, as a listening socket asks for unless it is told
/// otherwise.
pub const BACKLOG: u32 = crate::driver::listen::BACKLOG;
