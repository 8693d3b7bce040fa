//! What proxies say of the connections that they pass on, by the PROXY protocol: where that is listened to, and for
//! applications that ask.
//!
//! Invariants: one entry for each connection that a header came on and that has not ended; the lock is taken when such
//! a connection begins and ends, and by whoever asks, never for a request; nobody holds it for longer than it takes to
//! look into the table.
//!
//! Not here: reading a header (`ringress_proto::proxy`), whom it is believed of (room `shard`), and the addresses,
//! which each request has of its own (room `record`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::ConnectionId;

/// Whether a listener takes headers of the PROXY protocol (version 1 and 2), with which a proxy says whose connection
/// it passes on.
///
/// One is believed of the networks of [`trusted_proxies`](crate::EngineBuilder::trusted_proxies) alone: who can connect
/// from elsewhere could name any address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// None is looked for.
    #[default]
    Off,
    /// A trusted proxy may begin a connection with one; a connection that begins otherwise is its own, which also holds
    /// for every one of somebody else's.
    Optional,
    /// Each connection begins with one: another one is closed, and so is one of somebody who is not trusted.
    Required,
}

/// See the module's head: those of one shard.
#[derive(Debug, Default)]
pub(crate) struct Proxied {
    headers: Mutex<HashMap<ConnectionId, Arc<[u8]>>>,
}

impl Proxied {
    fn headers(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<[u8]>>> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A header has come on a connection.
    pub(crate) fn began(&self, connection: ConnectionId, header: &[u8]) {
        self.headers().insert(connection, header.into());
    }

    /// That connection has ended.
    pub(crate) fn ended(&self, connection: ConnectionId) {
        self.headers().remove(&connection);
    }

    /// The header of a connection: `None` when none has come, and after its end.
    pub(crate) fn header(&self, connection: ConnectionId) -> Option<Arc<[u8]>> {
        self.headers().get(&connection).cloned()
    }
}
