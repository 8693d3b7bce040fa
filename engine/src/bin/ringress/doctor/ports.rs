//! Addresses that are wanted, and sockets that the service manager has given.
//!
//! Invariants: an address is tried by listening there with the engine, and let go of; a socket that was given is left
//! as it is.
//!
//! Not here: tables of sockets (`sockets`).
//!
//! Source: sd_listen_fds(3), capabilities(7), the kernel's networking/ip-sysctl (`ip_unprivileged_port_start`).

use std::net::SocketAddr;

use ringress::{Engine, ErrorKind};

use super::report::{Finding, Report, Verdict};
use super::{read, sockets, texts};

/// The first descriptor that a service manager gives.
const FIRST_GIVEN: u32 = 3;
/// More are no count of sockets.
const GIVEN_MAX: u32 = 4_096;
/// CAP_NET_BIND_SERVICE.
const CAP_BIND: u32 = 10;

pub(super) fn examine(report: &mut Report, engine: Option<&Engine>, addresses: &[SocketAddr]) {
    for address in addresses {
        report.add(match engine {
            Some(engine) => wanted(engine, *address),
            None => {
                Finding { verdict: Verdict::Broken, ..Finding::ok(&name(*address), "not tried: there is no engine") }
            }
        });
    }
    let variable = |name: &str| std::env::var(name).ok();
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let (count, pid) = (variable("LISTEN_FDS"), variable("LISTEN_PID"));
    let open: Vec<_> = sockets::listening();
    let described = |descriptor: u32| {
        let inode = sockets::inode_of(descriptor)?;
        let socket = open.iter().find(|socket| socket.inode == inode);
        Some(
            socket.map_or_else(|| "a socket, none of TCP that listens".to_owned(), |socket| socket.address.to_string()),
        )
    };
    report.add(given(count.as_deref(), pid.as_deref(), &names, std::process::id(), described));
}

fn name(address: SocketAddr) -> String {
    format!("listen {address}")
}

fn wanted(engine: &Engine, address: SocketAddr) -> Finding {
    let name = name(address);
    let error = match engine.listen(address) {
        Ok(bound) => {
            // It was opened by this very call.
            let _ = engine.unlisten(bound);
            return Finding::ok(&name, "free: listened on, and let go of");
        }
        Err(error) => error,
    };
    let broken = Finding::of_error(&name, Verdict::Broken, &error);
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => {
            let holders = sockets::listening().into_iter().filter(|socket| sockets::clash(socket.address, address));
            let holders: Vec<String> = holders.filter_map(|socket| sockets::holder(socket.inode)).collect();
            return Finding {
                cause: match holders.is_empty() {
                    true => "another socket has it; whose, /proc does not say here (as root it may)".to_owned(),
                    false => format!("another socket has it, of {}", texts::list(&holders)),
                },
                remedy: Some("stop who has it, or listen elsewhere".to_owned()),
                ..broken
            };
        }
        ErrorKind::PermissionDenied => {
            let status = read("/proc/self/status").unwrap_or_default();
            let first = read("/proc/sys/net/ipv4/ip_unprivileged_port_start").and_then(|text| text.parse().ok());
            privilege(address.port(), first, texts::has_capability(&status, CAP_BIND))
        }
        _ => "choose an address that this host has (ip address)".to_owned(),
    };
    Finding { remedy: broken.remedy.clone().or(Some(remedy)), ..broken }
}

/// What lets a process have a port that it was denied.
fn privilege(port: u16, first: Option<u16>, has_capability: Option<bool>) -> String {
    let first = first.unwrap_or(1_024);
    match (port < first, has_capability) {
        (true, Some(false) | None) => format!(
            "ports below {first} are for CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit, setcap \
            cap_net_bind_service=+ep), or lower net.ipv4.ip_unprivileged_port_start"
        ),
        _ => "a security module or a filter refuses it: see its log".to_owned(),
    }
}

/// What a service manager has given this process, by its variables.
fn given(
    count: Option<&str>,
    pid: Option<&str>,
    names: &str,
    own: u32,
    described: impl Fn(u32) -> Option<String>,
) -> Finding {
    const NAME: &str = "systemd sockets";
    let Some(count) = count else { return Finding::ok(NAME, "none given") };
    let Some(parsed) = count.parse::<u32>().ok().filter(|count| *count <= GIVEN_MAX) else {
        return Finding::slow(NAME, format!("LISTEN_FDS is {count:?}, which is no number of sockets"), "unset it");
    };
    if pid.and_then(|pid| pid.parse().ok()) != Some(own) {
        let pid = pid.unwrap_or("not set");
        let cause = format!("{count} given, but to another process: LISTEN_PID is {pid}, and this one {own}");
        return Finding::slow(NAME, cause, "start the program itself, not through another one that stays");
    }
    let mut names = names.split(':');
    let each = (FIRST_GIVEN..FIRST_GIVEN + parsed).map(|descriptor| {
        let name = names.next().filter(|name| !name.is_empty()).map(|name| format!(" ({name})"));
        let what = described(descriptor).unwrap_or_else(|| "no socket".to_owned());
        format!("{descriptor}{}: {what}", name.unwrap_or_default())
    });
    let each: Vec<String> = each.collect();
    match each.iter().any(|text| text.ends_with("no socket")) {
        false => Finding::ok(NAME, format!("{count} given: {}", texts::list(&each))),
        true => Finding::slow(NAME, format!("{count} given: {}", texts::list(&each)), "see LISTEN_FDS of the unit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_are_given_are_told_one_by_one() {
        let described = |descriptor| (descriptor < 5).then(|| format!("127.0.0.1:{descriptor}"));
        let of = |count, pid, names| given(count, pid, names, 42, described);
        assert_eq!(of(None, None, "").cause, "none given");
        let two = of(Some("2"), Some("42"), "http:");
        assert_eq!(two, Finding::ok("systemd sockets", "2 given: 3 (http): 127.0.0.1:3 and 4: 127.0.0.1:4"));
        assert_eq!(of(Some("3"), Some("42"), "").verdict, Verdict::Slow);
        for (count, pid) in [(Some("1"), Some("41")), (Some("1"), None), (Some("many"), Some("42")), (Some("-1"), None)]
        {
            assert_eq!(of(count, pid, "").verdict, Verdict::Slow, "{count:?} {pid:?}");
        }
    }

    #[test]
    fn a_port_that_is_denied_is_privileged_or_guarded() {
        assert!(privilege(80, Some(1_024), Some(false)).contains("ports below 1024"));
        assert!(privilege(80, None, None).contains("CAP_NET_BIND_SERVICE"));
        for denied in [privilege(80, Some(80), Some(false)), privilege(80, Some(1_024), Some(true))] {
            assert!(denied.contains("security module"), "{denied}");
        }
    }
}
