//! Connections that proxies pass on: where each comes from in truth, and what was said of it.
//!
//! Invariants: what is noted of a connection is forgotten at its end; each request has a copy of the address, since it
//! may outlive its connection.
//!
//! Not here: the headers that say so (`protocol::http1::preface`), and who may ask (room `api`).

use super::Dispatch;
use crate::queue::Slot;
use crate::record::Address;
use crate::slab::ConnectionKey;

impl Dispatch {
    /// A proxy, at this address, has said by this header whose connection this is.
    #[cold]
    pub(crate) fn is_proxied(&mut self, connection: ConnectionKey, transport_peer: Address, header: &[u8]) {
        let (peers, index) = (&mut self.transport_peers, connection.index as usize);
        peers.resize(peers.len().max(index + 1), Address::NONE);
        peers[index] = transport_peer;
        let id = self.origin.connection(connection.generation(), connection.index);
        self.side.facts().proxied.began(id, header);
    }

    /// That connection has ended.
    #[cold]
    pub(crate) fn is_proxied_no_more(&mut self, connection: ConnectionKey) {
        let id = self.origin.connection(connection.generation(), connection.index);
        self.side.facts().proxied.ended(id);
    }

    /// The request in a slot comes on such a connection.
    #[cold]
    pub(crate) fn note_transport_peer(&mut self, slot: Slot, connection: ConnectionKey) {
        let peer = self.transport_peers.get(connection.index as usize).copied();
        self.side.record_mut(slot).transport_peer = peer.unwrap_or(Address::NONE);
    }
}
