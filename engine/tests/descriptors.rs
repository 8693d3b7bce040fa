//! A process that has no descriptor left, and two shards: clients of the one that has none to close are served with
//! what the other gives up.
//!
//! The limit is of the process; so this is one test, in a program of its own.

mod common;

use std::fs::File;
use std::iter;
use std::net::SocketAddr;
use std::thread;

use common::{Client, add, builder, by_two_shards, loopback};
use ringress::{Driver, Mode};
use socket2::{Domain, Socket, Type};

/// Clients that come when descriptors have run out, one after the other.
const LATE: usize = 6;
/// Connections of each shard before that, at least: more than may have to be given up.
const EACH: usize = LATE + 2;

/// From now on this process may have so many. io_uring goes by what holds when an accept begins.
fn limit_descriptors(count: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of a limit, which outlives the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = count;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0, "a soft limit may be lowered");
}

fn socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor")
}

/// Connects a socket that is there.
fn connect(socket: Socket, address: SocketAddr) -> Client {
    socket.connect(&address.into()).expect("the engine listens");
    Client::over(socket.into())
}

/// On which of the shards it is.
fn shard_of(client: &mut Client) -> String {
    client.ask("/").text().to_owned()
}

/// It has begun a request, and does not rest any more.
fn begin(client: &mut Client) {
    client.send("GET / HTTP/1.1\r\nHo");
}

/// Clients come to two shards that have no descriptor; in the one, nobody rests.
fn come(address: SocketAddr) {
    let mut clients: Vec<(String, Client)> = Vec::new();
    let count = |clients: &[(String, Client)], shard: &str| clients.iter().filter(|(own, _)| own == shard).count();
    let full = loop {
        let mut client = connect(socket(), address);
        clients.push((shard_of(&mut client), client));
        let (first, all) = (&clients[0].0, clients.len());
        if (EACH..=all - EACH.min(all)).contains(&count(&clients, first)) {
            break first.clone();
        }
    };
    clients.iter_mut().filter(|(shard, _)| *shard == full).for_each(|(_, client)| begin(client));
    let sockets: Vec<Socket> = (0..LATE).map(|_| socket()).collect();
    let _all: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let mut late = Vec::new();
    for socket in sockets {
        let mut client = connect(socket, address);
        if shard_of(&mut client) == full {
            begin(&mut client);
        }
        late.push(client);
    }
}

#[test]
fn a_shard_with_nobody_to_close_gets_descriptors_from_the_other() {
    limit_descriptors(256);
    for driver in [Driver::IoUring, Driver::Epoll] {
        let said = |_: &_| format!("{:?}", thread::current().id());
        by_two_shards((builder().driver(driver), Mode::Colocated), said, |engine, group| {
            let address = engine.listen(loopback(0)).expect("a free port");
            add(group, address.port());
            // The kernel deals clients to shards as it likes.
            while engine.counters().descriptors_given == 0 {
                come(address);
            }
            let counters = engine.counters();
            assert_eq!(counters.connections_refused, 0, "{driver}: {counters:#?}");
        });
    }
}
