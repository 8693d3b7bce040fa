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
use std::fmt;
use std::net::IpAddr;

use ringress_proto::reject::Reject;
use ringress_proto::url::{self, HostPattern};

use self::map::{Entry, Map};
use self::node::{Named, Node};
pub(crate) use self::table::GroupRow;
use self::table::GroupTable;
use self::text::hash_of;
use crate::id::{QueuePlace, UrlGroupId};
use crate::policy::{Policy, PolicyIndex, PolicyKey};
use crate::record::{Address, Routed};

/// Where the requests for a prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URL context given with the prefix.
    pub(crate) context: u64,
    /// The prefix's group.
    pub(crate) group: PolicyIndex,
    pub(crate) routed: Routed,
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

/// As it is written, with its final slash.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, host, path } = self;
        match host {
            Host::Strong => write!(f, "http://+:{port}{path}"),
            Host::Weak => write!(f, "http://*:{port}{path}"),
            Host::Name(name) => write!(f, "http://{name}:{port}{path}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "http://[{ip}]:{port}{path}"),
            Host::Ip(ip) => write!(f, "http://{ip}:{port}{path}"),
        }
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
    /// No prefix names a host: all requests are those of the weak wildcard.
    is_weak: bool,
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

    /// The timers and limits of the group.
    #[inline]
    pub(crate) fn policy(&self) -> PolicyKey {
        PolicyKey { index: self.target.group, owner: self.group.owner }
    }
}

impl Snapshot {
    /// Without prefixes and groups; `own` is the engine's own policy.
    pub(crate) fn new(own: Policy) -> Self {
        Self { ports: Map::default(), groups: GroupTable::new(own) }
    }

    /// The groups' rows whose requests are counted elsewhere than they were in `before`, each with its place.
    pub(crate) fn counted_anew<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (PolicyIndex, &'a GroupRow)> {
        self.groups.counted_anew(&before.groups)
    }

    /// Says what holds for a group.
    pub(crate) fn put_group(&mut self, index: PolicyIndex, row: GroupRow) {
        self.groups.put(index, row);
    }

    /// What holds for the group that has a row now.
    pub(crate) fn group(&self, index: PolicyIndex) -> &GroupRow {
        self.groups.get(index)
    }

    /// The timers and limits of a connection.
    #[inline]
    pub(crate) fn policy(&self, key: PolicyKey) -> &Policy {
        self.groups.policy(key)
    }

    /// Where a request goes by now whose group was found before, and was bound to this queue, if that has not ended.
    pub(crate) fn queue_of(&self, key: PolicyKey, before: Option<QueuePlace>) -> Result<QueuePlace, Reject> {
        let row = self.groups.get(key.index);
        // Another group in its place will do, as long as that counts for the same queue.
        let is_known = row.owner == key.owner || before.is_some() && row.queue.ok() == before;
        if is_known { row.queue } else { Err(Reject::Unbound) }
    }

    /// Finds where a request goes that came in on `local`. `host` is without port and may be empty.
    #[inline(always)]
    pub(crate) fn find(&self, local: &Address, host: &[u8], path: &[u8]) -> Result<Found<'_>, Reject> {
        let port = self.port(local.port()).ok_or(Reject::HostUnknown)?;
        let found = if port.is_weak { port.weak.find(path) } else { port.find(local, host, path) };
        match found {
            Some(target) => Ok(Found { target: *target, group: self.groups.get(target.group) }),
            None => Err(port.why_not(local, host)),
        }
    }

    pub(crate) fn has_port(&self, number: u16) -> bool {
        self.port(number).is_some()
    }

    #[inline]
    fn port(&self, number: u16) -> Option<&Port> {
        match &self.ports {
            Map::One(port) => (port.number == number).then_some(&**port),
            ports => ports.get(hash_of(number.into()), |port| port.number == number),
        }
    }

    /// The target of exactly this prefix.
    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&Target> {
        let port = self.port(prefix.port)?;
        let node = match &prefix.host {
            Host::Strong => &port.strong,
            Host::Weak => &port.weak,
            Host::Ip(ip) => port.bound(*ip)?,
            Host::Name(name) => port.names.named(name.as_bytes())?,
        };
        node.get(&prefix.path)
    }

    /// Puts a prefix in. `false`: it is there, and nothing has changed.
    #[must_use]
    pub(crate) fn insert(&mut self, prefix: &Prefix, context: u64, group: PolicyIndex) -> bool {
        let path = prefix.path.strip_suffix('/').unwrap_or(&prefix.path);
        let target = Target { context, group, routed: Routed::new(path.len(), matches!(prefix.host, Host::Ip(_))) };
        if self.get(prefix).is_some() {
            return false;
        }
        let number = prefix.port;
        if !self.has_port(number) {
            self.ports.insert(Port::new(number));
        }
        let port = self.ports.get_mut(hash_of(number.into()), |port| port.number == number);
        port.expect("it has been put in").insert(prefix, target);
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
    fn new(number: u16) -> Self {
        let (strong, weak) = (Node::default(), Node::default());
        Self { number, is_weak: false, strong, names: Map::default(), ips: Map::default(), weak }
    }

    fn is_empty(&self) -> bool {
        self.strong.is_empty() && self.names.is_empty() && self.ips.is_empty() && self.weak.is_empty()
    }

    /// The target of a request.
    #[inline(never)]
    fn find(&self, local: &Address, host: &[u8], path: &[u8]) -> Option<&Target> {
        match self.find_quickly(host, path) {
            Some(found) => found,
            None => self.find_slowly(local, host, path),
        }
    }

    /// As [`find`](Self::find) where there is little to look at, without a call. `None`: there is more.
    #[inline(always)]
    fn find_quickly(&self, host: &[u8], path: &[u8]) -> Option<Option<&Target>> {
        if !self.ips.is_empty() {
            return None;
        }
        if let found @ Some(_) = self.strong.find_quickly(path)? {
            return Some(found);
        }
        if let Some(node) = self.names.named_quickly(host)?
            && let found @ Some(_) = node.find_quickly(path)?
        {
            return Some(found);
        }
        self.weak.find_quickly(path)
    }

    #[inline(never)]
    fn find_slowly(&self, local: &Address, host: &[u8], path: &[u8]) -> Option<&Target> {
        if let Some(target) = self.strong.find(path) {
            return Some(target);
        }
        if let Some(node) = self.names.named(host)
            && let Some(target) = node.find(path)
        {
            return Some(target);
        }
        if !self.ips.is_empty()
            && let Some(node) = self.bound(local.ip())
            && let Some(target) = node.find(path)
        {
            return Some(target);
        }
        self.weak.find(path)
    }

    #[inline(never)]
    fn bound(&self, ip: IpAddr) -> Option<&Node> {
        self.ips.get(hash_of_ip(ip), |bound| bound.ip == ip).map(|bound| &bound.node)
    }

    /// Why a request has no target.
    #[cold]
    fn why_not(&self, local: &Address, host: &[u8]) -> Reject {
        let any_host = !self.strong.is_empty() || !self.weak.is_empty();
        let is_known = any_host || self.names.named(host).is_some() || self.bound(local.ip()).is_some();
        if is_known { Reject::PathUnknown } else { Reject::HostUnknown }
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
            Host::Name(name) => self.names.named_mut(name.as_bytes()),
        }
    }

    fn insert(&mut self, prefix: &Prefix, target: Target) {
        self.node_mut(&prefix.host).insert(&prefix.path, target);
        self.is_weak = self.has_only_weak();
    }

    fn remove(&mut self, prefix: &Prefix) {
        let node = self.node_mut(&prefix.host);
        node.remove(&prefix.path);
        if node.is_empty() {
            self.remove_host(&prefix.host);
        }
        self.is_weak = self.has_only_weak();
    }

    fn has_only_weak(&self) -> bool {
        self.strong.is_empty() && self.names.is_empty() && self.ips.is_empty()
    }

    fn remove_host(&mut self, host: &Host) {
        match host {
            Host::Strong | Host::Weak => {}
            Host::Ip(ip) => self.ips.remove(hash_of_ip(*ip), |bound| bound.ip == *ip),
            Host::Name(name) => self.names.remove_named(name.as_bytes()),
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
