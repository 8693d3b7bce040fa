//! What bytes mean: requests and bodies in what a transport receives, and responses as what it is to send.
//!
//! ```text
//!   transport ──what came──▶ http1 │ raw ──requests, bytes──▶ dispatch
//!             ◀──parts, files────  │  ◀──answers, streams────
//!                        what both do: link, receive, send, stream, files
//! ```
//!
//! Invariants:
//! * A connection is lent by who looked it up, once an event. Work that follows work, on it or on another one, goes on
//!   a list: `flush` for responses that are to be looked at, `resume` for input that goes on. Nothing calls back up.
//! * Answers leave a connection in the order its requests came.
//! * Nothing here allocates or locks for a request.
//!
//! Not here: operations of the kernel (`transport`), queues and routes (`dispatch`), the loop (`shard`).

mod connection;
mod files;
mod http1;
mod link;
mod raw;
mod receive;
mod send;
mod stop;
mod stream;
mod worklist;

use std::collections::BTreeMap;
use std::sync::Arc;

use ringress_proto::limits::Limits;
use ringress_proto::response::HeadTemplate;
use ringress_proto::url::HostMemo;

pub(crate) use self::connection::Connection;
pub(crate) use self::http1::{Awaits, Rest, Stall};
use self::stop::Stop;
use self::worklist::Worklist;
use crate::admission::{Admitted, Over};
use crate::config::Config;
use crate::counters::ShardCounters;
use crate::driver::Io;
use crate::mem::give_back_room;
use crate::queue::Slot;
use crate::shard::dispatch::Dispatch;
use crate::shard::transport::Transport;
use crate::slab::ConnectionKey;

/// What of the configuration the protocols use.
#[derive(Debug)]
struct Settings {
    limits: Limits,
    deliver_connect: bool,
    pipeline_max: u16,
    template: HeadTemplate,
}

/// The protocols of a shard's connections, between the transport and the dispatch of the shard, which nobody else uses
/// for a connection.
#[derive(Debug)]
pub(crate) struct Protocol<I: Io> {
    pub(crate) transport: Transport<I>,
    pub(crate) dispatch: Dispatch,
    settings: Settings,
    host_memo: HostMemo,
    /// Of connections that send one, by their index: lent to the kernel until it is sent.
    informational_texts: BTreeMap<u32, Box<[u8]>>,
    /// Connections with responses to look at.
    pub(crate) flush: Worklist,
    /// Connections whose input goes on.
    pub(crate) resume: Worklist,
    /// Slots of requests that have made room for others, whose connections are to be told.
    pub(crate) displaced: Vec<Slot>,
    /// Whose turn it is among those that waited.
    turn_of: Option<ConnectionKey>,
    /// What connections count as, where there are limits.
    pub(crate) admitted: Admitted,
    pub(crate) stop: Stop,
    counters: Arc<ShardCounters>,
}

impl<I: Io> Protocol<I> {
    pub(crate) fn new(
        transport: Transport<I>,
        dispatch: Dispatch,
        (config, template): (&Config, HeadTemplate),
        counters: Arc<ShardCounters>,
    ) -> Self {
        let connections = config.connections_max as usize;
        let settings = Settings {
            limits: config.limits,
            deliver_connect: config.deliver_connect,
            pipeline_max: u16::try_from(config.pipeline_max).unwrap_or(u16::MAX),
            template,
        };
        Self {
            transport,
            dispatch,
            settings,
            host_memo: HostMemo::new(),
            informational_texts: BTreeMap::new(),
            flush: Worklist::new(connections),
            resume: Worklist::new(connections),
            displaced: Vec::with_capacity(config.slots() as usize),
            turn_of: None,
            admitted: Admitted::new(config.connections_max),
            stop: Stop::No,
            counters,
        }
    }

    /// Gives the memory back to the system that nobody has used for a while.
    #[cold]
    pub(crate) fn give_memory_back(&mut self) {
        self.flush.give_back_room();
        self.resume.give_back_room();
        give_back_room(&mut self.displaced);
        self.admitted.give_back_room();
        let (buffers, arena) = self.dispatch.give_memory_back();
        self.transport.give_memory_back(buffers, arena);
    }

    /// A connection is beyond a limit, and ends.
    #[cold]
    pub(crate) fn count_over(&self, over: Over) {
        let counter = match over {
            Over::Connections => &self.counters.over_connections_max,
            Over::Rate => &self.counters.over_connection_rate_max,
            Over::ConnectionsOfAddress => &self.counters.over_connections_per_address_max,
            Over::RateOfAddress => &self.counters.over_connection_rate_per_address_max,
        };
        counter.count();
    }

    /// Gives spare buffers to the kernel.
    #[inline]
    pub(crate) fn post_buffers(&mut self) {
        self.transport.post_buffers(self.dispatch.buffers_mut());
    }
}
