//! The shard over a simulated kernel ([`Fake`](crate::driver::fake::Fake)): directed tests, one behaviour each, and a
//! seeded run with many clients, an application and a mix of faults.
//!
//! Invariants: no threads, no sockets, no sleeps; a seed determines everything that happens, up to the text of dates; a
//! shard that sleeps while somebody waits for it is a hang and fails the test, and so does one that turns without end.
//!
//! Not here: waiting. Deadlines are brought about by [`Rig::pass`](rig::Rig::pass), which puts the shard's clock
//! forward.

mod accepting;
mod answers;
mod app;
mod besieged;
mod besiegers;
mod cancels;
mod client;
mod closing;
mod departed;
mod displaced;
mod drains;
mod earlier;
pub(super) mod ends;
mod eviction;
mod files;
mod heads;
mod informational;
mod inputs;
mod life;
mod pipes;
mod pipes_seeded;
mod piping;
mod promises;
mod quiet;
mod rig;
mod script;
mod seeded;
mod seeds;
pub(super) mod shared_queue;
mod shares;
mod slow_consumer;
mod starved;
mod streaming;
mod streams;
mod timers;
mod turns;
mod unread;
mod uploads;
mod waking;
mod watches;
mod whole;
mod world;
