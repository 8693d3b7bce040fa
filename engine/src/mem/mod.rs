//! Memory that the kernel, the shard and the applications share: one mapping a shard, cut into areas.
//!
//! Invariants:
//! * Everything on a request's way is named by an offset into the shard's one mapping, never by a pointer, so that the
//!   mapping can later be shared between processes.
//! * A byte has one owner at a time: the kernel (posted receive buffers, sends not yet ended), the shard, or one
//!   application handle. Receive buffers and cells are owned by values that move ([`Share`], [`Cell`]) and that only
//!   this room makes, so that a second owner cannot be written elsewhere. What has none is poisoned where a sanitizer
//!   watches ([`Poison`]).
//! * The mapping is reserved at the start and touched as it is used; nothing here allocates later.
//!
//! Not here: the io_uring calls that lend buffers to the kernel (room `ring`) and the protocol that hands requests over
//! (room `queue`). Sources: mmap(2), `io_uring_provided_buffers(7)`.

mod areas;
mod arena;
mod buffer;
mod buffer_id;
mod cells;
mod mapping;
mod poison;
mod receive;
mod room;

pub(crate) use areas::{Area, ArenaSizes};
pub(crate) use arena::{Arena, Blank, Extent, Landing, Lent};
pub(crate) use buffer::{Filled, Group, Input, Share, Spare};
pub(crate) use buffer_id::{BufferId, BufferTable};
pub(crate) use cells::{Cell, CellId, FreeCells, cold_runs};
pub(crate) use mapping::Mapping;
pub(crate) use poison::{Poison, leave};
pub(crate) use receive::ReceiveBuffers;
pub(crate) use room::{give_back_places, give_back_room, give_back_room_of_queue};
