//! A client that has a body and a pipe in one receive buffer, while others upload without a pause: neither gets a byte
//! of the other's, whatever becomes of the request before the pipe, and when. Bytes tell whose they are, and their
//! place.
//!
//! Each mode has a short form, and a long one that is run by hand, best under AddressSanitizer and in several
//! processes: `RINGRESS_LEAK_RUNS` is how often it runs each variant (100), and `RINGRESS_LEAK_PART` which variants it
//! takes: with `1/4`, for example, each fourth, from the second on. It prints what it found.

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::peer::Peer;
use common::{Client, Host, StopOnDrop, builder, colocated_with, receive, wait_until};
use ringress::{Engine, EngineBuilder, Mode, QueueOptions, Request, RequestQueue, Response, Upgraded};

/// Small buffers, body buffers, and the bytes of each of the latter.
const POOLS: [(u32, u32, u32); 4] = [(16, 16, 4096), (16, 16, 65_536), (64, 16, 4096), (256, 64, 65_536)];
/// Bytes that follow the upgrade at once.
const AT_ONCE: usize = 9;
/// What follows then.
const PIECES: usize = 4;
const PIECE: usize = 4096;
/// So many, that what is given back comes round.
const UPLOADS_WHILE_LENT: usize = 20;
const RAW: usize = AT_ONCE + PIECES * PIECE;

/// What becomes of the requests before the upgrade, and when.
#[derive(Clone, Copy, Debug)]
enum First {
    /// Neither read nor answered as long as the pipe is.
    Unanswered,
    /// Read before the pipe begins, and answered late.
    ReadBefore,
    /// ... once the pipe has been read from.
    ReadBehind,
    /// ... when others have uploaded.
    ReadLast,
    /// Answered unread while a piece of the pipe is lent.
    AnsweredUnread,
    /// Dropped then.
    Dropped,
    /// Answered by id then, and kept unread.
    Kept,
    /// ... and read later.
    KeptAndRead,
    /// The client resets its connection then; what is still there is read.
    Left,
}

const FIRSTS: [First; 9] = [
    First::Unanswered,
    First::ReadBefore,
    First::ReadBehind,
    First::ReadLast,
    First::AnsweredUnread,
    First::Dropped,
    First::Kept,
    First::KeptAndRead,
    First::Left,
];

/// Where the client pauses until what it has sent must have been received.
#[derive(Clone, Copy, Debug)]
enum Split {
    Nowhere,
    /// Behind each head, so that each body begins a segment in which the next request follows it.
    BehindHeads,
    /// ... and amid the last body.
    InBody,
    /// ... and amid the head of the upgrade.
    InUpgrade,
    /// ... and behind it.
    BehindUpgrade,
}

const SPLITS: [Split; 5] = [Split::Nowhere, Split::BehindHeads, Split::InBody, Split::InUpgrade, Split::BehindUpgrade];

#[derive(Clone, Copy, Debug)]
struct Variant {
    mode: Mode,
    pools: (u32, u32, u32),
    first: First,
    split: Split,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (small, large, bytes) = self.pools;
        write!(f, "{:?} {small}/{large}x{bytes} {:?} {:?}", self.mode, self.first, self.split)
    }
}

/// A variant, and what its runs take turns in.
#[derive(Clone, Copy, Debug)]
struct Plan {
    variant: Variant,
    /// The bodies before the pipe are chunked, with a trailer section.
    chunked: bool,
    /// How many requests are before the upgrade.
    depth: usize,
    body_len: usize,
    /// The application takes the socket out of the engine when it has read a part.
    takes_socket: bool,
    /// The client sends on before the pipe begins.
    eager: bool,
}

impl Plan {
    fn new(variant: Variant, run: usize) -> Self {
        let (depth, eager) = ([1, 3][run / 2 % 2], run / 8 % 2 == 1);
        // No more than the smallest pools hold for an application that reads late.
        let most = if variant.pools.0 == 16 && (depth > 1 || eager) { 700 } else { 5000 };
        let body_len = [5, 700, most][run % 3];
        Self { variant, chunked: run.is_multiple_of(2), depth, body_len, takes_socket: run / 4 % 2 == 1, eager }
    }
}

/// Whose bytes are told by the first of them; none of either is in a head.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner(u8);

const ATTACKER: Owner = Owner(0x80);
const VICTIM: Owner = Owner(0xc0);
const KINDS: usize = 23;

impl Owner {
    /// Those from a place on.
    fn bytes(self, from: usize, len: usize) -> Vec<u8> {
        let kinds: Vec<u8> = (self.0..).take(KINDS).collect();
        let from = from % KINDS;
        kinds.repeat((from + len).div_ceil(KINDS))[from..from + len].to_vec()
    }

    fn owns(self, byte: u8) -> bool {
        (usize::from(self.0)..usize::from(self.0) + KINDS).contains(&usize::from(byte))
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    checked: AtomicU64,
    /// Bytes of another client.
    foreign: AtomicU64,
    /// Others that are not what was sent.
    wrong: AtomicU64,
}

impl Seen {
    /// These bytes should be those of their owner from a place on.
    fn check(&self, owner: Owner, from: usize, bytes: &[u8]) {
        let expected = owner.bytes(from, bytes.len());
        self.checked.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes != expected {
            let other = if owner == ATTACKER { VICTIM } else { ATTACKER };
            let foreign = bytes.iter().filter(|byte| other.owns(**byte)).count();
            let different = bytes.iter().zip(&expected).filter(|(byte, expected)| byte != expected).count();
            self.foreign.fetch_add(foreign as u64, Ordering::Relaxed);
            self.wrong.fetch_add((different - foreign) as u64, Ordering::Relaxed);
        }
    }

    /// ... and all that their owner has sent, so many.
    fn check_all(&self, owner: Owner, len: usize, bytes: &[u8]) {
        self.check(owner, 0, bytes);
        self.wrong.fetch_add(len.abs_diff(bytes.len()) as u64, Ordering::Relaxed);
    }
}

/// What one run's threads tell each other.
struct Stage<'s> {
    seen: &'s Seen,
    plan: Plan,
    /// Uploads that the application has answered.
    uploads: AtomicU64,
    pipe_begun: AtomicBool,
    all_sent: AtomicBool,
    leave: AtomicBool,
    /// The application has done its part.
    done: AtomicBool,
    /// Nobody uploads any more.
    over: AtomicBool,
}

impl<'s> Stage<'s> {
    fn new(seen: &'s Seen, plan: Plan) -> Self {
        let no = || AtomicBool::new(false);
        Self {
            seen,
            plan,
            uploads: AtomicU64::new(0),
            pipe_begun: no(),
            all_sent: no(),
            leave: no(),
            done: no(),
            over: no(),
        }
    }

    /// Answers uploads until another request comes.
    fn next(&self, queue: &RequestQueue) -> Request {
        loop {
            let request = receive(queue);
            if let Some(request) = self.upload(request) {
                return request;
            }
        }
    }

    fn upload(&self, mut request: Request) -> Option<Request> {
        if request.path() != "/upload" {
            return Some(request);
        }
        let body = request.body().to_bytes(1 << 20).expect("it comes whole");
        self.seen.check(VICTIM, 0, &body);
        request.respond(Response::ok().body(&body[..])).expect("its client waits");
        self.uploads.fetch_add(1, Ordering::SeqCst);
        None
    }

    /// Answers so many uploads.
    fn uploads(&self, queue: &RequestQueue, count: usize) {
        for _ in 0..count {
            assert!(self.upload(receive(queue)).is_none(), "nothing else is to come");
        }
    }

    /// Waits, as a client, until what it has sent must have been received: uploads have come whole that begun later.
    fn await_uploads(&self, count: u64) {
        let now = self.uploads.load(Ordering::SeqCst);
        wait_until("others have uploaded", || self.uploads.load(Ordering::SeqCst) >= now + count);
    }

    fn read(&self, firsts: &mut [Request]) {
        for request in firsts {
            match request.body().to_bytes(1 << 20) {
                Ok(body) => {
                    self.seen.check_all(ATTACKER, self.plan.body_len, &body);
                    let trailers: Vec<_> = request.trailers().map(|(_, value)| value.to_vec()).collect();
                    assert_eq!(trailers, vec![b"behind".to_vec(); usize::from(self.plan.chunked)]);
                }
                Err(error) => assert!(matches!(self.plan.variant.first, First::Left), "{error}"),
            }
        }
    }

    /// The application's part for the client that switches.
    fn attacked(&self, queue: &RequestQueue) {
        let first = self.plan.variant.first;
        let mut firsts = Vec::new();
        let two = loop {
            let request = self.next(queue);
            if request.path() == "/two" {
                break request;
            }
            firsts.push(request);
        };
        assert_eq!(firsts.len(), self.plan.depth);
        if matches!(first, First::ReadBefore) {
            self.read(&mut firsts);
        }
        let mut pipe = two.upgrade(Response::switching("echo")).expect("asked for");
        self.pipe_begun.store(true, Ordering::SeqCst);
        let mut taken = Vec::with_capacity(RAW);
        if self.plan.body_len == 700 && !matches!(self.plan.variant.split, Split::BehindUpgrade) {
            self.take(&mut pipe, &mut taken, AT_ONCE);
        }
        while !self.all_sent.load(Ordering::SeqCst) {
            self.uploads(queue, 1);
        }
        self.uploads(queue, 3);
        if matches!(first, First::ReadBehind) {
            self.take(&mut pipe, &mut taken, AT_ONCE);
            self.read(&mut firsts);
        }
        self.lend(queue, &mut pipe, &mut taken, &mut firsts);
        if matches!(first, First::ReadLast | First::KeptAndRead | First::Left) {
            self.read(&mut firsts);
        }
        if self.plan.takes_socket && !matches!(first, First::Unanswered | First::Left) {
            let kept = matches!(first, First::Kept | First::KeptAndRead);
            firsts.retain(|_| kept);
            self.end_outside(pipe, taken);
            self.uploads(queue, 1);
        } else {
            self.end_inside(queue, pipe, taken, firsts);
        }
    }

    fn take(&self, source: &mut impl Read, taken: &mut Vec<u8>, count: usize) {
        let from = taken.len();
        taken.resize(from + count, 0);
        source.read_exact(&mut taken[from..]).expect("the client sends them");
        self.seen.check(ATTACKER, from, &taken[from..]);
    }

    /// Holds a piece of the pipe while the requests before it come to what they are to come to.
    fn lend(&self, queue: &RequestQueue, pipe: &mut Upgraded, taken: &mut Vec<u8>, firsts: &mut Vec<Request>) {
        let chunk = pipe.next_chunk().expect("the client stays").expect("more has come");
        self.seen.check(ATTACKER, taken.len(), &chunk);
        match self.plan.variant.first {
            First::AnsweredUnread => {
                firsts.drain(..).for_each(|first| first.respond(Response::text("late")).expect("open"));
            }
            First::Dropped => firsts.clear(),
            First::Kept | First::KeptAndRead => {
                firsts.iter().for_each(|first| queue.respond(first.id(), Response::text("by id")).expect("open"));
            }
            First::Left => self.leave.store(true, Ordering::SeqCst),
            First::Unanswered | First::ReadBefore | First::ReadBehind | First::ReadLast => {}
        }
        self.uploads(queue, UPLOADS_WHILE_LENT);
        self.seen.check(ATTACKER, taken.len(), &chunk);
        taken.extend_from_slice(&chunk);
    }

    /// Echoes all in the engine.
    fn end_inside(&self, queue: &RequestQueue, mut pipe: Upgraded, mut taken: Vec<u8>, firsts: Vec<Request>) {
        let left = matches!(self.plan.variant.first, First::Left);
        while taken.len() < RAW {
            let chunk = match pipe.next_chunk() {
                Ok(chunk) => chunk.expect("more has come"),
                Err(error) if left && error.is_gone() => return,
                Err(error) => panic!("{error}"),
            };
            self.seen.check(ATTACKER, taken.len(), &chunk);
            self.uploads(queue, 1);
            self.seen.check(ATTACKER, taken.len(), &chunk);
            taken.extend_from_slice(&chunk);
        }
        drop(firsts);
        if !left {
            pipe.send(&taken[..]).expect("the client stays");
            pipe.finish().expect("the client stays");
        }
    }

    /// ... by the connection's socket.
    fn end_outside(&self, pipe: Upgraded, mut taken: Vec<u8>) {
        let (socket, rest) = pipe.into_fd().expect("the client stays");
        self.seen.check(ATTACKER, taken.len(), &rest);
        taken.extend_from_slice(&rest);
        let mut socket = TcpStream::from(socket);
        let missing = RAW - taken.len();
        self.take(&mut socket, &mut taken, missing);
        socket.write_all(&taken).expect("the client reads them");
    }

    fn application(&self, queue: &RequestQueue) {
        let done = OnDrop(&self.done);
        self.attacked(queue);
        drop(done);
        while let Ok(request) = queue.receive() {
            assert!(self.upload(request).is_none(), "nothing else is to come");
        }
    }

    /// What the client sends at a time, up to what follows the upgrade at once.
    fn segments(&self) -> Vec<Vec<u8>> {
        let Plan { variant: Variant { split, .. }, chunked, depth, body_len, .. } = self.plan;
        let upgrade = b"GET /two HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        // Parts, and whether the client pauses behind them.
        let mut parts = Vec::new();
        for number in 1..=depth {
            let head = format!("GET /one HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", framing(chunked, body_len));
            parts.push((head.into_bytes(), !matches!(split, Split::Nowhere)));
            let mut body = framed(ATTACKER, chunked, body_len);
            let rest = body.split_off(if number == depth { body.len() / 2 } else { 0 });
            parts.extend([(body, number == depth && matches!(split, Split::InBody)), (rest, false)]);
        }
        let (front, rest) = upgrade.split_at(upgrade.len() / 2);
        parts.push((front.to_vec(), matches!(split, Split::InUpgrade)));
        parts.push((rest.to_vec(), matches!(split, Split::BehindUpgrade)));
        parts.push((ATTACKER.bytes(0, AT_ONCE), false));
        let mut segments = vec![Vec::new()];
        for (bytes, pauses) in parts {
            segments.last_mut().expect("one").extend(bytes);
            segments.extend(pauses.then(Vec::new));
        }
        segments
    }

    /// The client that switches.
    fn attack(&self, address: SocketAddr) {
        let mut peer = Client::connect(address);
        for (number, segment) in self.segments().iter().enumerate() {
            if number > 0 {
                self.await_uploads(3);
            }
            peer.send(segment);
        }
        let eagerly = usize::from(self.plan.eager);
        for piece in 0..PIECES {
            if piece == eagerly {
                wait_until("the pipe begins", || self.pipe_begun.load(Ordering::SeqCst));
            }
            if piece > eagerly {
                self.await_uploads(1);
            }
            peer.send(ATTACKER.bytes(AT_ONCE + piece * PIECE, PIECE));
        }
        self.all_sent.store(true, Ordering::SeqCst);
        if matches!(self.plan.variant.first, First::Left) {
            wait_until("it is to leave", || self.leave.load(Ordering::SeqCst));
            return peer.reset();
        }
        let all = Peer { stream: peer.stream, input: Vec::new() }.rest().expect("the connection ends in order");
        let foreign = all.iter().filter(|byte| VICTIM.owns(**byte)).count();
        self.seen.foreign.fetch_add(foreign as u64, Ordering::Relaxed);
        assert!(all.len() > RAW, "all is echoed");
        self.seen.check(ATTACKER, 0, &all[all.len() - RAW..]);
    }

    /// A client that uploads without a pause.
    fn upload_on(&self, address: SocketAddr, mut number: usize) {
        let mut peer = Peer::over(TcpStream::connect(address).expect("the engine listens"));
        while !self.over.load(Ordering::SeqCst) {
            let (chunked, len) = (number.is_multiple_of(2), [700, 9000, 3000][number % 3]);
            let head = format!("POST /upload HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", framing(chunked, len));
            let mut all = head.into_bytes();
            all.extend(framed(VICTIM, chunked, len));
            peer.stream.write_all(&all).expect("open");
            let head = peer.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            self.seen.check(VICTIM, 0, &peer.take(len));
            number += 1;
        }
    }

    fn clients(&self, engine: &Engine, address: SocketAddr) {
        let _tell = Tell(engine, self);
        thread::scope(|scope| {
            for number in 0..2 {
                scope.spawn(move || self.upload_on(address, number));
            }
            let over = OnDrop(&self.over);
            self.attack(address);
            wait_until("the application has done its part", || self.done.load(Ordering::SeqCst));
            drop(over);
        });
    }
}

/// Tells what the engine has counted when a run breaks.
struct Tell<'a>(&'a Engine, &'a Stage<'a>);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let counted: Vec<_> = self.0.counters().named().filter(|(_, count)| *count > 0).collect();
            println!("{:?}: {counted:?}", self.1.plan);
        }
    }
}

/// Tells those who go on that it is over, also by a failed assertion.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn framing(chunked: bool, len: usize) -> String {
    if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {len}") }
}

/// A body as it is sent: chunked in three chunks, with a trailer section behind.
fn framed(owner: Owner, chunked: bool, len: usize) -> Vec<u8> {
    if !chunked {
        return owner.bytes(0, len);
    }
    let mut all = Vec::new();
    let cuts = [0, len / 3, len - 1, len];
    for ends in cuts.windows(2) {
        let len = ends[1] - ends[0];
        all.extend(format!("{len:x}\r\n").into_bytes());
        all.extend(owner.bytes(ends[0], len));
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\nx-trailer: behind\r\n\r\n");
    all
}

fn run(variant: Variant, number: usize, seen: &Seen) {
    let stage = Stage::new(seen, Plan::new(variant, number));
    let (small, large, bytes) = variant.pools;
    let builder: EngineBuilder = builder()
        .receive_buffers(small, 4096)
        .body_buffers(large, bytes)
        .connections_max(16)
        .requests_max(64)
        .assembly_buffers(16);
    if variant.mode == Mode::Colocated {
        return colocated_with(
            builder,
            |queue| stage.application(queue),
            |engine, address| stage.clients(engine, address),
        );
    }
    let host = Host::start_with(builder, QueueOptions::default());
    thread::scope(|scope| {
        let stop = StopOnDrop(&host.engine);
        let application = scope.spawn(|| stage.application(&host.queue));
        stage.clients(&host.engine, host.address);
        host.await_rest();
        drop(stop);
        application.join().expect("the application ends well");
    });
}

fn variants(mode: Mode) -> Vec<Variant> {
    let mut all = Vec::new();
    for pools in POOLS {
        for first in FIRSTS {
            all.extend(SPLITS.map(|split| Variant { mode, pools, first, split }));
        }
    }
    all
}

/// Runs each variant so often, beginning at a number of its own, and tells of each what was seen.
fn all_of(variants: &[(usize, Variant)], runs: usize) {
    let mut bad = BTreeMap::new();
    for &(number, variant) in variants {
        let (seen, mut broken) = (Seen::default(), 0);
        for run_number in 0..runs {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(variant, number + run_number, &seen)));
            broken += u64::from(outcome.is_err());
        }
        let seen = [&seen.checked, &seen.foreign, &seen.wrong];
        let [checked, foreign, wrong] = seen.map(|it| it.load(Ordering::SeqCst));
        let line = format!("{runs} runs, {checked} bytes, {foreign} foreign, {wrong} wrong, {broken} broken");
        println!("{variant}: {line}");
        assert!(checked > 0, "{variant}: {line}");
        if foreign + wrong + broken > 0 {
            bad.insert(variant.to_string(), line);
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Every way to end and to split, in pools that take turns.
fn short(mode: Mode) {
    let each = FIRSTS.len() * SPLITS.len();
    let turns = |number: usize| number / each == (number % each + number % SPLITS.len()) % POOLS.len();
    let some: Vec<_> = variants(mode).into_iter().enumerate().filter(|(number, _)| turns(*number)).collect();
    assert_eq!(some.len(), each);
    all_of(&some, 1);
}

fn long(mode: Mode) {
    let runs = std::env::var("RINGRESS_LEAK_RUNS").map_or(100, |runs| runs.parse().expect("a number of runs"));
    let part = std::env::var("RINGRESS_LEAK_PART").unwrap_or_else(|_| "0/1".into());
    let (part, parts) = part.split_once('/').expect("a part, such as 0/4");
    let (part, parts): (usize, usize) = (part.parse().expect("a number"), parts.parse().expect("a number"));
    let mine: Vec<_> = variants(mode).into_iter().enumerate().filter(|(number, _)| number % parts == part).collect();
    all_of(&mine, runs);
}

#[test]
fn a_client_and_those_who_upload_meanwhile_get_no_byte_of_each_other_in_queue_mode() {
    short(Mode::Queue);
}

#[test]
fn a_client_and_those_who_upload_meanwhile_get_no_byte_of_each_other_in_colocated_mode() {
    short(Mode::Colocated);
}

#[test]
#[ignore = "minutes: see the head of this file"]
fn every_variant_in_queue_mode() {
    long(Mode::Queue);
}

#[test]
#[ignore = "minutes: see the head of this file"]
fn every_variant_in_colocated_mode() {
    long(Mode::Colocated);
}
