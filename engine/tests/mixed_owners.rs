//! Many clients at once, each with a byte of its own, that do whatever clients may, and an application that does
//! whatever an application may: what is received, kept, lent and sent is its owner's alone, as long as anybody looks.
//!
//! The short form has a fixed seed; the long one, run by hand, takes `RINGRESS_LEAK_RUNS` seeds (100) from
//! `RINGRESS_LEAK_SEED` (1) on.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Client, Host, StopOnDrop, builder, colocated_with};
use ringress::{EngineBuilder, QueueOptions, Request, RequestQueue, Response, Upgraded};

const CLIENTS: u64 = 4;
const CONNECTIONS: u64 = 6;
/// The requests that the application keeps.
const KEPT: usize = 6;
/// Without a request for so long, the application comes to what it has kept.
const PAUSE: Duration = Duration::from_millis(3);

/// A small generator: the same seed, the same run, but for the kernel.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

fn marker(owner: u64) -> u8 {
    0x80 + u8::try_from(owner % 100).expect("below 100")
}

/// All that belongs to somebody is this one's.
#[track_caller]
fn check(owner: u64, bytes: &[u8]) {
    let other = bytes.iter().find(|byte| **byte >= 0x80 && **byte != marker(owner));
    assert!(other.is_none(), "{owner} has {:#x}, and gets {other:x?} in {} bytes", marker(owner), bytes.len());
}

/// A request that the application has, and whose it is.
struct Owned {
    request: Request,
    owner: u64,
    action: String,
    read: bool,
}

impl Owned {
    fn of(request: Request) -> Self {
        let query = std::str::from_utf8(request.query().expect("it has one")).expect("text");
        let owner = query.strip_prefix("k=").expect("so it was sent").parse().expect("a number");
        let action = request.path().to_owned();
        Self { request, owner, action, read: false }
    }

    fn check(&self) {
        let query = format!("k={}", self.owner);
        assert_eq!((self.request.path(), self.request.query()), (&self.action[..], Some(query.as_bytes())));
        let owner = self.owner.to_string();
        assert_eq!(self.request.header("x-owner"), Some(owner.as_bytes()));
        check(self.owner, self.request.whole_body().unwrap_or_default());
        for (_, value) in self.request.trailers() {
            assert_eq!(value, owner.as_bytes());
        }
    }

    /// Reads what is there, or all. What of it could be read.
    fn read(&mut self, wait: bool, meanwhile: impl Fn()) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 3000];
        loop {
            if wait {
                let mut body = self.request.body();
                let Ok(Some(chunk)) = body.next_chunk() else { break };
                check(self.owner, &chunk);
                all.extend_from_slice(&chunk);
                meanwhile();
                check(self.owner, &chunk);
            } else {
                let Ok(Some(count @ 1..)) = self.request.body().try_read(&mut buffer) else { break };
                check(self.owner, &buffer[..count]);
                all.extend_from_slice(&buffer[..count]);
                meanwhile();
            }
        }
        self.read = wait;
        self.check();
        all
    }
}

/// What an application does: whatever it likes, with whatever it has.
fn application(queue: &RequestQueue, seed: u64) {
    let mut random = Random(seed * 2 + 1);
    let mut kept: Vec<Owned> = Vec::new();
    while let Ok(request) = queue.receive_timeout(PAUSE) {
        let Some(request) = request.map(Owned::of) else {
            // Clients may wait for all that is kept.
            while let Some(owned) = kept.pop() {
                handle(owned, queue, &mut random, &mut kept);
            }
            continue;
        };
        request.check();
        kept.iter().for_each(Owned::check);
        if request.action != "/pipe" {
            kept.push(request);
        } else if random.below(6) > 0 {
            pipe(request, queue, &mut random, &mut kept);
        }
        while kept.len() > random.below(KEPT) {
            let at = random.below(kept.len());
            let owned = kept.remove(at);
            handle(owned, queue, &mut random, &mut kept);
        }
    }
    kept.iter().for_each(Owned::check);
}

fn handle(mut owned: Owned, queue: &RequestQueue, random: &mut Random, kept: &mut Vec<Owned>) {
    let meanwhile = || kept.iter().for_each(Owned::check);
    let owner = owned.owner;
    if random.below(4) == 0 {
        let _ = owned.request.send_informational(103, &[("x-owner", &owner.to_string())]);
    }
    let own = |count: usize| vec![marker(owner); count];
    match random.below(9) {
        0 => drop(owned),
        1 => drop(owned.request.cancel()),
        2 => {
            owned.read(false, meanwhile);
            let _ = owned.request.respond(Response::ok().body(own(random.one_of(&[0, 100, 30_000]))));
        }
        3 => {
            // It is read still, once or more.
            let id = owned.request.id();
            let _ = queue.respond(id, Response::ok().body(own(5000)));
            owned.read(random.below(2) == 0, meanwhile);
            if kept.len() < KEPT && random.below(3) > 0 {
                kept.push(owned);
            }
        }
        4 => {
            let id = owned.request.into_id();
            meanwhile();
            let _ = queue.respond(id, Response::ok().body(&own(700)[..]));
        }
        5 | 6 => {
            let whole = owned.read(true, meanwhile);
            let Ok(mut stream) = owned.request.start(Response::ok()) else { return };
            for piece in whole.chunks(1500) {
                if stream.send(piece).is_err() {
                    return;
                }
                meanwhile();
            }
            let _ = stream.finish_with_trailers(&[("x-owner", &owner.to_string())]);
        }
        _ => {
            let whole = owned.read(true, meanwhile);
            let _ = owned.request.respond(Response::ok().body(whole));
        }
    }
}

fn pipe(owned: Owned, queue: &RequestQueue, random: &mut Random, kept: &mut Vec<Owned>) {
    let owner = owned.owner;
    let Ok(mut pipe) = owned.request.upgrade(Response::switching("echo")) else { return };
    let takes_socket = random.below(4);
    for turn in 0.. {
        if turn == takes_socket && (turn > 0 || !kept.iter().any(|kept| kept.owner == owner)) {
            return outside(pipe, owner);
        }
        let Ok(Some(chunk)) = pipe.next_chunk() else { break };
        check(owner, &chunk);
        let bytes = chunk.to_vec();
        // What is sent waits for the responses before it.
        for at in (0..kept.len()).rev() {
            if kept.get(at).is_some_and(|owned| owned.owner == owner) {
                let owned = kept.remove(at);
                handle(owned, queue, random, kept);
                check(owner, &chunk);
            }
        }
        kept.iter().for_each(Owned::check);
        check(owner, &chunk);
        drop(chunk);
        if pipe.send(bytes).is_err() {
            return;
        }
    }
    let _ = pipe.finish();
}

/// A pipe goes on by the connection's socket.
fn outside(pipe: Upgraded, owner: u64) {
    let Ok((socket, rest)) = pipe.into_fd() else { return };
    check(owner, &rest);
    let mut socket = TcpStream::from(socket);
    let _ = socket.write_all(&rest);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        check(owner, &buffer[..count]);
        let _ = socket.write_all(&buffer[..count]);
    }
}

/// What one client sends on one connection: requests behind each other, perhaps a switch at the end.
fn script(owner: u64, random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..random.below(5) {
        let len = random.one_of(&[0, 1, 5, 300, 3000, 4096, 9000]);
        let chunked = random.below(2) == 0;
        let method = random.one_of(&["GET", "PUT", "POST"]);
        let expect = if random.below(8) == 0 { "Expect: 100-continue\r\n" } else { "" };
        let framing = if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {len}") };
        let head =
            format!("{method} /any?k={owner} HTTP/1.1\r\nHost: x\r\nX-Owner: {owner}\r\n{expect}{framing}\r\n\r\n");
        all.extend(head.into_bytes());
        let body = vec![marker(owner); len];
        if !chunked {
            all.extend(body);
            continue;
        }
        for chunk in body.chunks(random.one_of(&[1000, 7, 2500])) {
            all.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        }
        let trailer = if random.below(2) == 0 { format!("x-trailer: {owner}\r\n") } else { String::new() };
        all.extend(format!("0\r\n{trailer}\r\n").into_bytes());
    }
    if random.below(2) == 0 {
        let head = "HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo";
        all.extend(format!("GET /pipe?k={owner} {head}\r\nX-Owner: {owner}\r\n\r\n").into_bytes());
        all.extend(vec![marker(owner); random.one_of(&[0, 10, 4000, 12_000])]);
    }
    all
}

/// One connection of a client. What it gets is its own.
fn converse(address: SocketAddr, owner: u64, random: &mut Random) {
    let all = script(owner, random);
    let mut stream = Client::connect(address).stream;
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    let mut at = 0;
    let leaves_at = if random.below(4) == 0 { random.below(all.len() + 1) } else { usize::MAX };
    while at < all.len().min(leaves_at) {
        let len = random.one_of(&[1, 7, 60, 900, 4096, 20_000]).min(all.len() - at);
        if stream.write_all(&all[at..at + len]).is_err() {
            break;
        }
        at += len;
        if random.below(3) == 0 {
            stream.set_nonblocking(true).expect("a socket");
            if let Ok(count) = stream.read(&mut buffer) {
                got.extend_from_slice(&buffer[..count]);
            }
            stream.set_nonblocking(false).expect("a socket");
        } else {
            thread::yield_now();
        }
    }
    check(owner, &got);
    if leaves_at < all.len() {
        return Client::over(stream).reset();
    }
    // The requests are whole: the engine answers them, and ends.
    stream.shutdown(std::net::Shutdown::Write).ok();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        check(owner, &buffer[..count]);
        got.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(&got);
    for line in text.lines().filter(|line| line.starts_with("x-owner: ")) {
        assert_eq!(line, format!("x-owner: {owner}"), "an informational answer or a trailer section is its client's");
    }
}

fn clients(address: SocketAddr, seed: u64) {
    let next = AtomicU64::new(1);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let next = &next;
            scope.spawn(move || {
                let mut random = Random((seed << 8) + client + 1);
                for _ in 0..CONNECTIONS {
                    converse(address, next.fetch_add(1, Ordering::Relaxed), &mut random);
                }
            });
        }
    });
}

fn small(seed: u64) -> EngineBuilder {
    let mut random = Random(seed + 77);
    let builder = builder().connections_max(64).requests_max(128).assembly_buffers(32);
    builder
        .receive_buffers(random.one_of(&[16, 32, 64]), random.one_of(&[512, 4096]))
        .body_buffers(16, random.one_of(&[4096, 65_536]))
}

fn in_both_modes(seed: u64) {
    println!("seed {seed}");
    let host = Host::start_with(small(seed), QueueOptions::default());
    thread::scope(|scope| {
        let stop = StopOnDrop(&host.engine);
        let consumer = scope.spawn(|| application(&host.queue, seed));
        clients(host.address, seed);
        host.await_rest();
        drop(stop);
        consumer.join().expect("the application ends well");
    });
    drop(host);
    colocated_with(small(seed), |queue| application(queue, seed), |_, address| clients(address, seed));
}

#[test]
fn what_is_a_clients_stays_its_own_whatever_all_do() {
    (1..=8).for_each(in_both_modes);
}

#[test]
#[ignore = "minutes: see the head of this file"]
fn many_seeds() {
    let number = |name, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"));
    let (first, runs) = (number("RINGRESS_LEAK_SEED", 1), number("RINGRESS_LEAK_RUNS", 100));
    (first..first + runs).for_each(in_both_modes);
}
