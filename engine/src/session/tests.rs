//! A shard that panics, by routes that no control plane sends: the engine is given up, and nobody waits for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Engine;
use crate::error::ErrorKind;
use crate::queue::QueueCore;
use crate::route::{Host, Route, Snapshot, Target};
use crate::shard::Letter;

const PATIENCE: Duration = Duration::from_secs(20);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Asks for an answer, and waits for one or for the end.
fn ask(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
    assert_ne!(ended, Err(std::io::ErrorKind::WouldBlock), "the client waits for a shard that is no more");
}

#[test]
fn a_shard_that_panics_gives_its_engine_up() {
    for shards in [1, 3] {
        let engine = Engine::builder().shards(shards).start().expect("it starts");
        let queue = engine.request_queue("test").expect("a queue");
        let address = engine.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        // A queue of an engine that has no shards: whoever routes to it panics.
        let core = Arc::new(QueueCore::new(16, Arc::from([])));
        let target = Target { context: 0, queue: Some(1), active: true, policy: 0, send_credit: 1 << 18 };
        let route = Route { port: address.port(), host: Host::Strong, path: "/".into(), target };
        let snapshot = Arc::new(Snapshot::new(vec![route]));
        engine.shared.post(|shard| (shard == 0).then(|| Letter::Queue(Arc::clone(&core))));
        engine.shared.post(|shard| (shard == 0).then(|| Letter::Routes(Arc::clone(&snapshot))));
        // Of several shards, the others answer until the one that panics has its turn.
        wait_until("it panics", || {
            ask(address);
            engine.failure().is_some()
        });
        let failure = engine.wait().expect_err("a shard has panicked");
        assert_eq!((failure.kind(), failure.to_string().as_str()), (ErrorKind::Io, "shard 0 panicked"));
        wait_until("nobody is let in", || TcpStream::connect(address).is_err());
        assert!(queue.receive().expect_err("closed").is_closed());
        assert_eq!(engine.shutdown(PATIENCE).expect_err("it has failed").to_string(), failure.to_string());
    }
}
