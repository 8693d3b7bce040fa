//! Which queue a request goes to, and which timers hold for it: an immutable snapshot of all URL groups.
//!
//! Invariants: the port is the one the connection came in on; categories are asked in the order strong wildcard, host,
//! IP, weak wildcard, and the first with a match ends the search; within one the longest path wins, by whole segments
//! and without regard to ASCII case. A lookup reads, and allocates nothing. Snapshots share what did not change between
//! them: changing one copies the way to the change, a few small nodes, whatever the number of prefixes.
//!
//! Not here: registration rules (room `session`) and reservations. Source: the HTTP Server API's "UrlPrefix Strings".

mod map;
mod node;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::cmp::Ordering;
use std::net::IpAddr;

use ringress_proto::reject::Reject;
use ringress_proto::url::{self, HostPattern};

use self::map::{Entry, Map};
use self::node::{Named, Node, Searched};
pub(crate) use self::table::{GroupRow, GroupTable};
use self::text::{Sought, hash_of};
use crate::id::UrlGroupId;
use crate::policy::{Policy, PolicyIndex};
use crate::record::Address;

/// Where the requests for a prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URL context given with the prefix.
    pub(crate) context: u64,
    /// The prefix's group.
    pub(crate) group: PolicyIndex,
}

/// Which hosts a prefix covers, in the order of the search.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Strong,
    /// In lower case.
    Name(Box<str>),
    Ip(IpAddr),
    Weak,
}

/// A prefix as it is registered. Equal are those that cover the same requests.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) port: u16,
    pub(crate) host: Host,
    /// With its final slash, so never empty.
    pub(crate) path: Box<str>,
}

impl From<url::Prefix<'_>> for Prefix {
    fn from(prefix: url::Prefix<'_>) -> Self {
        let host = match prefix.host {
            HostPattern::Strong => Host::Strong,
            HostPattern::Weak => Host::Weak,
            HostPattern::Ip(ip) => Host::Ip(ip.to_canonical()),
            HostPattern::Name(name) => Host::Name(name.to_ascii_lowercase().into()),
        };
        let slash = if prefix.path.ends_with('/') { "" } else { "/" };
        Self { port: prefix.port, host, path: format!("{}{slash}", prefix.path).into() }
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        let fold = |byte: u8| byte.to_ascii_lowercase();
        let order = (self.port, &self.host).cmp(&(other.port, &other.host));
        order.then_with(|| self.path.bytes().map(fold).cmp(other.path.bytes().map(fold)))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Prefix {}

/// The prefixes of one port.
#[derive(Clone)]
struct Port {
    number: u16,
    strong: Node,
    /// By name; of each at least one prefix.
    names: Map<Named>,
    /// As `names`.
    ips: Map<Bound>,
    weak: Node,
}

/// The prefixes of one IP address.
#[derive(Clone)]
struct Bound {
    ip: IpAddr,
    node: Node,
}

/// What was found for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) target: Target,
    pub(crate) group: &'a GroupRow,
    /// By a prefix that is bound to an IP address.
    pub(crate) by_ip: bool,
}

/// All prefixes of an engine and their groups; see the module's head. A copy costs three references.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// By number; of each at least one prefix.
    ports: Map<Port>,
    groups: GroupTable,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Found<'_> {
    /// The group's id.
    #[inline]
    pub(crate) fn group_id(&self) -> UrlGroupId {
        UrlGroupId::of(self.target.group, self.group.owner)
    }
}

impl Snapshot {
    /// Without prefixes and groups; `own` is the engine's own policy.
    pub(crate) fn new(own: Policy) -> Self {
        Self { ports: Map::default(), groups: GroupTable::new(own) }
    }

    pub(crate) fn groups(&self) -> &GroupTable {
        &self.groups
    }

    /// Says what holds for a group.
    pub(crate) fn put_group(&mut self, index: PolicyIndex, row: GroupRow) {
        self.groups.put(index, row);
    }

    /// The timers and limits of a connection.
    #[inline]
    pub(crate) fn policy(&self, index: PolicyIndex) -> &Policy {
        &self.groups.get(index).policy
    }

    /// Finds where a request goes that came in on `local`. `host` is without port and may be empty.
    #[inline]
    pub(crate) fn find(&self, local: &Address, host: &[u8], path: &[u8]) -> Result<Found<'_>, Reject> {
        let number = local.port();
        let port = self.ports.get(hash_of(number.into()), |port| port.number == number);
        let port = port.ok_or(Reject::HostUnknown)?;
        let (target, by_ip) = port.find(local, host, path)?;
        Ok(Found { target: *target, group: self.groups.get(target.group), by_ip })
    }

    pub(crate) fn has_port(&self, number: u16) -> bool {
        self.ports.get(hash_of(number.into()), |port| port.number == number).is_some()
    }

    /// The target of exactly this prefix.
    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&Target> {
        let port = self.ports.get(hash_of(prefix.port.into()), |port| port.number == prefix.port)?;
        let node = match &prefix.host {
            Host::Strong => &port.strong,
            Host::Weak => &port.weak,
            Host::Ip(ip) => &port.ips.get(hash_of_ip(*ip), |bound| bound.ip == *ip)?.node,
            Host::Name(name) => {
                let name = Sought::whole(name.as_bytes());
                &port.names.get(name.hash, |named| named.is(&name))?.node
            }
        };
        node.get(&prefix.path)
    }

    /// Puts a prefix in. `false`: it is there, and nothing has changed.
    #[must_use]
    pub(crate) fn insert(&mut self, prefix: &Prefix, target: Target) -> bool {
        if self.get(prefix).is_some() {
            return false;
        }
        let number = prefix.port;
        if !self.has_port(number) {
            let (strong, weak) = (Node::default(), Node::default());
            self.ports.insert(Port { number, strong, names: Map::default(), ips: Map::default(), weak });
        }
        let port = self.ports.get_mut(hash_of(number.into()), |port| port.number == number);
        port.expect("it has been put in").node_mut(&prefix.host).insert(&prefix.path, target);
        true
    }

    /// Takes a prefix out. `false`: it is not there, and nothing has changed.
    pub(crate) fn remove(&mut self, prefix: &Prefix) -> bool {
        if self.get(prefix).is_none() {
            return false;
        }
        let (hash, is) = (hash_of(prefix.port.into()), |port: &Port| port.number == prefix.port);
        let port = self.ports.get_mut(hash, is).expect("it has the prefix");
        port.remove(prefix);
        if port.is_empty() {
            self.ports.remove(hash, is);
        }
        true
    }
}

impl Port {
    fn is_empty(&self) -> bool {
        self.strong.is_empty() && self.names.is_empty() && self.ips.is_empty() && self.weak.is_empty()
    }

    /// The target of a request, and whether a prefix bound to an IP address has it.
    #[inline]
    fn find(&self, local: &Address, host: &[u8], path: &[u8]) -> Result<(&Target, bool), Reject> {
        let mut path = Searched::new(path);
        let mut host_known = false;
        if let Some(target) = self.strong.find(&mut path) {
            return Ok((target, false));
        }
        if !self.names.is_empty() {
            let name = Sought::whole(host);
            if let Some(named) = self.names.get(name.hash, |named| named.is(&name)) {
                if let Some(target) = named.node.find(&mut path) {
                    return Ok((target, false));
                }
                host_known = true;
            }
        }
        if !self.ips.is_empty() {
            let ip = local.ip();
            if let Some(bound) = self.ips.get(hash_of_ip(ip), |bound| bound.ip == ip) {
                if let Some(target) = bound.node.find(&mut path) {
                    return Ok((target, true));
                }
                host_known = true;
            }
        }
        if let Some(target) = self.weak.find(&mut path) {
            return Ok((target, false));
        }
        let host_known = host_known || !self.strong.is_empty() || !self.weak.is_empty();
        Err(if host_known { Reject::PathUnknown } else { Reject::HostUnknown })
    }

    /// The prefixes of a host, also where it has none yet.
    fn node_mut(&mut self, host: &Host) -> &mut Node {
        match host {
            Host::Strong => &mut self.strong,
            Host::Weak => &mut self.weak,
            Host::Ip(ip) => {
                let (hash, is) = (hash_of_ip(*ip), |bound: &Bound| bound.ip == *ip);
                if self.ips.get(hash, is).is_none() {
                    self.ips.insert(Bound { ip: *ip, node: Node::default() });
                }
                &mut self.ips.get_mut(hash, is).expect("it has been put in").node
            }
            Host::Name(name) => {
                let name = Sought::whole(name.as_bytes());
                let is = |named: &Named| named.is(&name);
                if self.names.get(name.hash, is).is_none() {
                    self.names.insert(Named::new(name));
                }
                &mut self.names.get_mut(name.hash, is).expect("it has been put in").node
            }
        }
    }

    fn remove(&mut self, prefix: &Prefix) {
        let node = self.node_mut(&prefix.host);
        node.remove(&prefix.path);
        if !node.is_empty() {
            return;
        }
        match &prefix.host {
            Host::Strong | Host::Weak => {}
            Host::Ip(ip) => self.ips.remove(hash_of_ip(*ip), |bound| bound.ip == *ip),
            Host::Name(name) => {
                let name = Sought::whole(name.as_bytes());
                self.names.remove(name.hash, |named| named.is(&name));
            }
        }
    }
}

impl Entry for Port {
    fn hash(&self) -> u64 {
        hash_of(self.number.into())
    }
}

impl Entry for Bound {
    fn hash(&self) -> u64 {
        hash_of_ip(self.ip)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn hash_of_ip(ip: IpAddr) -> u64 {
    let bits = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [upper, lower] = [bits >> 64, bits].map(|half| half as u64);
    hash_of(hash_of(upper) ^ lower)
}
