//! The kernel's tables of sockets, and who has them open.
//!
//! Invariants: processes of others are looked into as far as /proc allows it.
//!
//! Not here: what is told of it (`ports`).
//!
//! Source: proc_net(5) (`/proc/net/tcp`), proc_pid_fd(5).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::read;

/// The state of a listening socket, as the tables have it.
const LISTEN: &str = "0A";

/// A listening socket of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
}

/// Those of a table.
fn listening_in(table: &str) -> Vec<Listening> {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        (*state == LISTEN).then_some(())?;
        Some(Listening { address: address(local)?, inode: inode.parse().ok()? })
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// `0100007F:1F90`: words in the host's order of bytes, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let v4 = || <[u8; 4]>::try_from(&*bytes).ok().map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(&*bytes).ok().map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
    Some(SocketAddr::new(v4().or_else(v6)?, u16::from_str_radix(port, 16).ok()?))
}

/// Those of this network namespace.
pub(super) fn listening() -> Vec<Listening> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(read);
    tables.flat_map(|table| listening_in(&table)).collect()
}

/// Whether a socket that is bound to `held` keeps another from `wanted`.
pub(super) fn clash(held: SocketAddr, wanted: SocketAddr) -> bool {
    let is_any = held.ip().is_unspecified() || wanted.ip().is_unspecified();
    held.port() == wanted.port() && (is_any || held.ip() == wanted.ip())
}

/// The inode of `socket:[123]`, which a descriptor of a socket links to.
pub(super) fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode of the socket that a descriptor of this process is.
pub(super) fn inode_of(descriptor: u32) -> Option<u64> {
    inode(fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?.to_str()?)
}

/// A process that has a socket open: its name and number. None that this one may not look into.
pub(super) fn holder(wanted: u64) -> Option<String> {
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let links = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        if links.into_iter().any(|link| link.to_str().and_then(inode) == Some(wanted)) {
            let name = read(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{name} (pid {pid})"));
        }
    }
    None
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const V4: &str = "\
          sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
           0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0 100 0\n\
           1: 0100007F:A92B 0100007F:1F90 01 00000000:00000000 02:000016DC 00000000     0        0 163669 2 0 20 4\n\
           2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0\n";
    const V6: &str = "  sl  local_address                         remote_address                        st\n\
           0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 8 1\n\
           1: nonsense\n";

    #[test]
    fn tables_tell_listening_sockets() {
        let of = |table| listening_in(table).into_iter().map(|socket| (socket.address.to_string(), socket.inode));
        let told: Vec<_> = of(V4).chain(of(V6)).collect();
        let expected = [("127.0.0.1:8080", 31_337), ("0.0.0.0:80", 7), ("[::1]:8081", 8)];
        assert_eq!(told, expected.map(|(address, inode)| (address.to_owned(), inode)));
        assert!(listening_in("").is_empty());
    }

    #[test]
    fn a_port_is_held_on_its_address_or_on_all() {
        let clash = |held: &str, wanted: &str| clash(held.parse().expect("one"), wanted.parse().expect("one"));
        assert!(clash("0.0.0.0:80", "127.0.0.1:80") && clash("127.0.0.1:80", "[::]:80"));
        assert!(clash("127.0.0.1:80", "127.0.0.1:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80") && !clash("0.0.0.0:80", "0.0.0.0:81"));
    }

    #[test]
    fn links_of_sockets_tell_their_inodes() {
        assert_eq!((inode("socket:[31337]"), inode("pipe:[1]"), inode("socket:[x]")), (Some(31_337), None, None));
    }
}
