//! TCP addresses with options of their own.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::process::Stdio;
use std::time::Duration;

use ringress::{Endpoint, ErrorKind, Listener};

use crate::common::ports::free_port;
use crate::common::{Client, Host, loopback, wait_until};
use crate::{MODES, Running, add, assert_error, child, served, serving};

#[test]
fn options_are_refused_where_they_are_out_of_range_or_mean_nothing() {
    let host = Host::start();
    let tcp = || Listener::tcp(loopback(0));
    let refused = |listener: Listener, says: &[&str]| {
        assert_error(host.engine.listen_on(listener), ErrorKind::Invalid, says);
    };
    refused(tcp().backlog(0), &["backlog is 0", "1 to 1048576"]);
    refused(tcp().backlog(u32::MAX), &["backlog is 4294967295", "1 to 1048576"]);
    refused(tcp().defer_accept(Duration::ZERO), &["defer_accept is 0ns", "1 s to 1 h"]);
    refused(tcp().defer_accept(Duration::from_secs(3601)), &["defer_accept is 3601s", "1 s to 1 h"]);
    refused(tcp().v6_only(true), &["v6_only", "127.0.0.1:0", "[::]"]);
    let socket = || Listener::from(TcpListener::bind(loopback(0)).expect("a free port"));
    refused(socket().reuse_port(true), &["reuse_port", "handed over"]);
    refused(socket().v6_only(true), &["v6_only", "handed over"]);
    assert_error("127.0.0.1".parse::<Listener>(), ErrorKind::Malformed, &["\"127.0.0.1\"", "127.0.0.1:80"]);
    let listed: Vec<Endpoint> = host.engine.addresses().into_iter().map(|info| info.address).collect();
    assert_eq!(listed, [Endpoint::Tcp(host.address)], "nothing is left of them");
}

#[test]
fn a_client_that_says_nothing_is_not_accepted_where_that_is_put_off() {
    for mode in MODES {
        serving(mode, served, |engine, group| {
            let listener = Listener::tcp(loopback(0)).defer_accept(Duration::from_secs(60));
            let address = engine.listen_on(listener).expect("a free port").tcp().expect("a TCP one");
            add(group, address.port());
            let mut silent = Client::connect(address);
            assert_eq!(Client::connect(address).ask("/").text(), "served");
            wait_until("the other one has gone", || engine.counters().connections_open == 0);
            assert_eq!(engine.counters().connections_accepted, 1, "the silent one came first");
            assert_eq!(silent.ask("/").text(), "served");
            assert_eq!(engine.counters().connections_accepted, 2);
        });
    }
}

#[test]
fn all_addresses_of_ipv6_leave_those_of_ipv4_to_another_listener() {
    let port = free_port();
    let (v4, v6) = (SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    if TcpListener::bind(v6).is_err() {
        eprintln!("skipped: this host has no IPv6");
        return;
    }
    for mode in MODES {
        serving(
            mode,
            |request| request.local_addr().to_string(),
            |engine, group| {
                engine.listen_on(v6).expect("it is free");
                assert_error(engine.listen_on(v4), ErrorKind::AlreadyExists, &["0.0.0.0"]);
                engine.unlisten(v6).expect("it is listened on");
                engine.listen_on(Listener::tcp(v6).v6_only(true)).expect("it is free again");
                let over_v6 = Client::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
                let refused = std::net::TcpStream::connect(loopback(port)).expect_err("nobody listens there");
                assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
                engine.listen_on(v4).expect("it is left to others");
                add(group, port);
                for (mut client, address) in [(over_v6, "[::1]"), (Client::connect(loopback(port)), "127.0.0.1")] {
                    assert_eq!(client.ask("/").text(), format!("{address}:{port}"));
                }
            },
        );
    }
}

/// Listening sockets of this process on a port, and how many may wait at each (`tcpi_sacked` of a listening socket).
fn backlogs(port: u16) -> Vec<u32> {
    /// As far as it matters here: eight bytes, then numbers, of which the sixth.
    const INFO_BYTES: usize = 32;
    let of = |fd: RawFd| {
        let (mut info, mut len) = ([0_u8; INFO_BYTES], libc::socklen_t::try_from(INFO_BYTES).expect("few"));
        // SAFETY: the pointers are those of `info`, which has as many bytes as `len` says, and of `len`.
        let got =
            unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len) };
        let mut name = std::mem::MaybeUninit::<libc::sockaddr_in>::zeroed();
        let mut len = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).expect("few");
        // SAFETY: the pointer and length are those of `name`, which outlives the call.
        unsafe { libc::getsockname(fd, name.as_mut_ptr().cast(), &raw mut len) };
        // SAFETY: zeros are a valid value, and the kernel wrote over a part of them.
        let name = unsafe { name.assume_init() };
        let is_listening = info[0] == 10 && u16::from_be(name.sin_port) == port;
        (got == 0 && is_listening).then(|| u32::from_ne_bytes(info[28..32].try_into().expect("four")))
    };
    let names = std::fs::read_dir("/proc/self/fd").expect("Linux has it").flatten();
    let names: Vec<_> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.into_iter().filter_map(of).collect()
}

#[test]
fn as_many_wait_to_be_accepted_as_the_backlog_says() {
    for mode in MODES {
        serving(mode, served, |engine, _| {
            let address = engine.listen_on(Listener::tcp(loopback(0)).backlog(7)).expect("a free port");
            let port = address.tcp().expect("a TCP one").port();
            assert!(engine.await_changes(crate::WAIT_MAX).expect("not on a shard"));
            assert_eq!(backlogs(port), [7, 7], "one a shard");
            // Of one that was handed over, it changes only where that is said.
            let socket = TcpListener::bind(loopback(0)).expect("a free port");
            let (port, usual) =
                (socket.local_addr().expect("bound").port(), |port| backlogs(port).iter().copied().max());
            let before = usual(port);
            assert!(before != Some(9));
            engine.listen_on(socket.try_clone().expect("a descriptor")).expect("it listens");
            assert!(engine.await_changes(crate::WAIT_MAX).expect("not on a shard"));
            assert_eq!(usual(port), before);
            engine.unlisten(loopback(port)).expect("it is listened on");
            engine.listen_on(Listener::from(socket).backlog(9)).expect("it listens");
            assert!(engine.await_changes(crate::WAIT_MAX).expect("not on a shard"));
            assert_eq!(usual(port), Some(9));
        });
    }
}

/// In a process of its own: an engine on a port that it shares, until its parent has gone.
pub(crate) fn share_as_child() {
    let port: u16 = std::env::var("PORT").expect("said").parse().expect("a port");
    serving(
        MODES[0],
        |_| "child".to_owned(),
        |engine, group| {
            let listens = engine.listen_on(Listener::tcp(loopback(port)).reuse_port(true));
            if listens.is_ok() {
                add(group, port);
            }
            eprintln!("listens: {}", listens.is_ok());
            let _ = std::io::stdin().read(&mut [0]);
        },
    );
}

#[test]
fn processes_share_a_port_where_both_say_so() {
    for mode in MODES {
        let port = free_port();
        let shares = |is_shared| Listener::tcp(loopback(port)).reuse_port(is_shared);
        serving(
            mode,
            |_| "parent".to_owned(),
            |engine, group| {
                engine.listen_on(shares(true)).expect("it is free");
                add(group, port);
                let other = Running::start(child("shares").env("PORT", port.to_string()).stdin(Stdio::piped()));
                assert_eq!(other.says("listens"), "true");
                let mut answered = BTreeSet::new();
                wait_until("both have clients", || {
                    answered.insert(Client::connect(loopback(port)).ask("/").text().to_owned());
                    answered.len() == 2
                });
                engine.unlisten(loopback(port)).expect("it is listened on");
                assert_eq!(Client::connect(loopback(port)).ask("/").text(), "child", "the other one goes on");
                assert_error(engine.listen_on(shares(false)), ErrorKind::AddrInUse, &["another socket"]);
            },
        );
    }
}

#[test]
fn a_port_that_is_not_shared_is_refused_to_who_would_share_it() {
    let host = Host::start();
    let port = host.address.port();
    let other = Running::start(child("shares").env("PORT", port.to_string()).stdin(Stdio::piped()));
    assert_eq!(other.says("listens"), "false");
}
