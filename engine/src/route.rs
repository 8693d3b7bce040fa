//! Which queue a request goes to, and which timers hold for it: an immutable snapshot of all URL groups.
//!
//! Invariants: categories are asked in the order strong wildcard, host, IP, weak wildcard, and the first with a match
//! ends the search; within one the longest path wins, by whole segments and without regard to ASCII case; the port is
//! the one the connection came in on. A lookup reads, and allocates nothing.
//!
//! Not here: registration rules (room `session`) and reservations. Source: the HTTP Server API's "UrlPrefix Strings".

use std::net::IpAddr;

use ringress_proto::reject::Reject;
use ringress_proto::url::path_rank;

use crate::policy::{Policies, Policy, PolicyIndex};
use crate::record::Address;

/// Where a matching request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URL context given with the prefix.
    pub(crate) context: u64,
    /// The queue of the prefix's group, an index into the shard's queues; none while the group is unbound.
    pub(crate) queue: Option<u32>,
    /// Whether the group and its session are active.
    pub(crate) active: bool,
    /// The timers and limits of the group.
    pub(crate) policy: PolicyIndex,
    /// Of those, what the application has to know.
    pub(crate) send_credit: u32,
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

/// One prefix with its target.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) port: u16,
    pub(crate) host: Host,
    /// With its final slash, so never empty.
    pub(crate) path: Box<str>,
    pub(crate) target: Target,
}

/// All prefixes of an engine; see the module's head.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// By port, then category, then path length, longest first: the first match is the answer of its category.
    routes: Vec<Route>,
    /// Each port's part of `routes`.
    ports: Vec<(u16, core::ops::Range<usize>)>,
    /// What targets and connections name.
    policies: Policies,
}

impl Snapshot {
    pub(crate) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by(|a, b| {
            let order = a.port.cmp(&b.port).then_with(|| a.host.cmp(&b.host));
            order.then_with(|| b.path.len().cmp(&a.path.len()))
        });
        let mut ports: Vec<(u16, core::ops::Range<usize>)> = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            match ports.last_mut() {
                Some((port, range)) if *port == route.port => range.end = index + 1,
                _ => ports.push((route.port, index..index + 1)),
            }
        }
        Self { routes, ports, policies: Policies::default() }
    }

    /// With other policies than the defaults.
    pub(crate) fn with_policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The timers and limits of a connection.
    #[inline]
    pub(crate) fn policy(&self, index: PolicyIndex) -> &Policy {
        self.policies.get(index)
    }

    /// Finds the route of a request that came in on `local`. `host` is without port and may be empty.
    #[inline]
    pub(crate) fn find(&self, local: &Address, host: &[u8], path: &[u8]) -> Result<&Route, Reject> {
        let range = self.ports.iter().find(|(port, _)| *port == local.port()).map(|(_, range)| range.clone());
        let routes = range.and_then(|range| self.routes.get(range)).unwrap_or_default();
        let (mut host_known, mut passed_over) = (false, false);
        for route in routes {
            // The path first, because the common miss is told by one byte: the end of a segment is not where the prefix
            // ends.
            let stem = route.path.len() - 1;
            let at_segment = stem == 0 || matches!(path.get(stem), None | Some(b'/'));
            if !at_segment {
                passed_over = true;
                continue;
            }
            if !covers(&route.host, host, local) {
                continue;
            }
            host_known = true;
            if stem == 0 || path_rank(route.path.as_bytes(), path).is_some() {
                return Ok(route);
            }
        }
        let host_known = host_known || (passed_over && any_covers(routes, host, local));
        Err(if host_known { Reject::PathUnknown } else { Reject::HostUnknown })
    }
}

#[cold]
fn any_covers(routes: &[Route], host: &[u8], local: &Address) -> bool {
    routes.iter().any(|route| covers(&route.host, host, local))
}

#[inline]
fn covers(pattern: &Host, host: &[u8], local: &Address) -> bool {
    match pattern {
        Host::Strong | Host::Weak => true,
        Host::Name(name) => same_name(host, name.as_bytes()),
        Host::Ip(ip) => *ip == local.ip(),
    }
}

/// Equal without regard to ASCII case. Names of a service often have the same length and end: eight bytes at their
/// start tell most of them apart at once.
#[inline]
fn same_name(host: &[u8], name: &[u8]) -> bool {
    const NOT_CASE: u64 = u64::from_ne_bytes([!0x20; 8]);
    if let (Some(a), Some(b)) = (host.first_chunk(), name.first_chunk())
        && (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)) & NOT_CASE != 0
    {
        return false;
    }
    host.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn local(port: u16) -> Address {
        std::net::SocketAddr::new(IP, port).into()
    }

    fn route(port: u16, host: Host, path: &str, context: u64) -> Route {
        Route {
            port,
            host,
            path: path.into(),
            target: Target { context, queue: Some(0), active: true, policy: 0, send_credit: 1 << 18 },
        }
    }

    fn context(snapshot: &Snapshot, host: &str, path: &str) -> Result<u64, Reject> {
        snapshot.find(&local(80), host.as_bytes(), path.as_bytes()).map(|route| route.target.context)
    }

    #[test]
    fn categories_are_asked_in_order_and_the_first_match_ends_the_search() {
        let snapshot = Snapshot::new(vec![
            route(80, Host::Weak, "/", 3),
            route(80, Host::Name("adatum.com".into()), "/", 2),
            route(80, Host::Strong, "/vroot/", 1),
            route(80, Host::Ip(IP), "/ip/", 4),
        ]);
        assert_eq!(context(&snapshot, "adatum.com", "/vroot/x"), Ok(1));
        assert_eq!(context(&snapshot, "Adatum.COM", "/y"), Ok(2));
        assert_eq!(context(&snapshot, "other.com", "/z"), Ok(3));
        assert_eq!(context(&snapshot, "other.com", "/ip/z"), Ok(4));
        assert_eq!(context(&snapshot, "", "/ip"), Ok(4));
    }

    #[test]
    fn names_are_told_apart_at_every_byte_and_equal_in_any_case() {
        let name = b"www05.adatum.com";
        for len in 0..=name.len() {
            let name = &name[..len];
            assert!(same_name(&name.to_ascii_uppercase(), name), "{len} bytes");
            for at in 0..len {
                let mut other = name.to_vec();
                other[at] ^= 1;
                assert!(!same_name(&other, name), "{len} bytes, another at {at}");
            }
        }
        // Bytes that differ in the case bit alone and are no letters.
        assert!(!same_name(b"host-1@1", b"host-1`1") && !same_name(b"a", b"ab"));
    }

    #[test]
    fn the_longest_path_wins_by_whole_segments() {
        let snapshot =
            Snapshot::new(vec![route(80, Host::Weak, "/foobar/", 1), route(80, Host::Weak, "/foobar/foo/", 2)]);
        assert_eq!(context(&snapshot, "h", "/foobar"), Ok(1));
        assert_eq!(context(&snapshot, "h", "/foobar/foox"), Ok(1));
        assert_eq!(context(&snapshot, "h", "/FOOBAR/foo"), Ok(2));
        assert_eq!(context(&snapshot, "h", "/foobar/foo/bar"), Ok(2));
        assert_eq!(context(&snapshot, "h", "/foobarx"), Err(Reject::PathUnknown));
    }

    #[test]
    fn an_unknown_host_is_told_from_an_unknown_path() {
        let snapshot = Snapshot::new(vec![route(80, Host::Name("a".into()), "/x/", 1)]);
        assert_eq!(context(&snapshot, "b", "/x/"), Err(Reject::HostUnknown));
        assert_eq!(context(&snapshot, "a", "/y"), Err(Reject::PathUnknown));
        assert_eq!(Snapshot::default().find(&local(81), b"a", b"/x/").err(), Some(Reject::HostUnknown));
    }
}
