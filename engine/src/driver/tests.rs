//! The contract of [`Io`], held by each driver over real sockets: both run every test of this module.
//!
//! What differs is said where it is: which of several outcomes a driver chose is not what anybody may depend on.

mod files;
mod receiving;
mod sending;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listen::TcpOptions;
use super::*;
use crate::id::ShardId;
use crate::mem::{Area, Arena, ArenaSizes, Extent, FreeCells, ReceiveBuffers};

/// How long anything may take before a test fails.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Bytes of the buffers of both sizes.
const SMALL_BYTES: u32 = 512;
const LARGE_BYTES: u32 = 4096;
/// What the kernel holds of a connection, so that a socket is soon full.
const SOCKET_BYTES: u32 = 32 << 10;

/// Runs each of these functions of the module for each driver. A host without io_uring skips that one, visibly.
macro_rules! for_each_driver {
    ($($test:ident),+ $(,)?) => {
        mod io_uring {
            $(#[test]
            fn $test() {
                if let Some(rig) = $crate::driver::tests::Rig::over_io_uring() {
                    super::$test(rig);
                }
            })+
        }
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test($crate::driver::tests::Rig::over_epoll());
            })+
        }
    };
}
pub(super) use for_each_driver;

/// What a completion said.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    token: Token,
    result: i32,
    more: bool,
    /// What its buffer held.
    bytes: Option<Vec<u8>>,
}

/// A driver with its buffers, and what has completed since that was looked at.
struct Rig<I: Io> {
    io: I,
    arena: Arc<Arena>,
    buffers: ReceiveBuffers,
    stages: FreeCells,
    got: Vec<Got>,
    events: Vec<Event>,
    /// Buffers that have come back are posted again.
    posts: bool,
    connections: u32,
}

fn arena() -> Arc<Arena> {
    let (receive, body, stage) = ((16, SMALL_BYTES), (4, LARGE_BYTES), (4, 64 << 10));
    let sizes = ArenaSizes { receive, body, stage, ..ArenaSizes::alike((1, 64)) };
    Arc::new(Arena::new(&sizes).expect("a small mapping"))
}

impl Rig<Uring> {
    fn over_io_uring() -> Option<Self> {
        let arena = arena();
        match Uring::new(Arc::clone(&arena), ShardId(0)) {
            Ok(io) => Some(Self::new(io, arena)),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }
}

impl Rig<Epoll> {
    fn over_epoll() -> Self {
        let arena = arena();
        Self::new(Epoll::new(Arc::clone(&arena), ShardId(0), 64).expect("epoll is always there"), arena)
    }
}

impl<I: Io> Rig<I> {
    fn new(io: I, arena: Arc<Arena>) -> Self {
        let (buffers, stages) = (ReceiveBuffers::of(&arena), arena.free_cells(Area::Stage));
        let (got, events) = (Vec::new(), Vec::new());
        let mut rig = Self { io, arena, buffers, stages, got, events, posts: true, connections: 0 };
        rig.post();
        rig
    }

    fn post(&mut self) {
        while let Some(spare) = self.buffers.next_to_post() {
            self.io.give_buffer(spare);
        }
        self.io.post_buffers();
    }

    fn turn(&mut self, wait: Wait) {
        let mut events = core::mem::take(&mut self.events);
        self.io.turn(wait, &mut events).expect("a turn");
        for event in events.drain(..).filter(|event| event.token.op() != Op::Ignored) {
            let bytes = event.buffer.map(|filled| self.read(filled, event.result));
            self.got.push(Got { token: event.token, result: event.result, more: event.more, bytes });
        }
        self.events = events;
        if self.posts {
            self.post();
        }
    }

    fn read(&mut self, filled: Filled, result: i32) -> Vec<u8> {
        let share = self.buffers.take(filled);
        let len = u32::try_from(result).expect("a buffer comes with bytes");
        let input = self.arena.input(&share, 0, len);
        // SAFETY: the buffer is in use, and nobody else's; the range is within it.
        let bytes = unsafe { self.arena.read(Extent::from(input).offset(), len) }.to_vec();
        self.buffers.release(share);
        bytes
    }

    /// Turns until what has completed is as wanted.
    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&[Got]) -> bool) {
        let begun = Instant::now();
        while !wanted(&self.got) {
            assert!(begun.elapsed() < WAIT_MAX, "waited in vain until {what}: {:?}", self.got);
            self.turn(Wait::AtMost(Duration::from_millis(50)));
        }
    }

    /// The next completion, which is the only one.
    #[track_caller]
    fn one(&mut self) -> Got {
        self.until("something completes", |got| !got.is_empty());
        assert_eq!(self.got.len(), 1, "{:?}", self.got);
        self.got.remove(0)
    }

    /// Nothing completes that could by now.
    #[track_caller]
    fn assert_quiet(&mut self) {
        (0..3).for_each(|_| self.turn(Wait::No));
        assert_eq!(self.got, []);
    }

    /// All bytes that a receive has brought so far.
    fn received(&self, token: Token) -> Vec<u8> {
        received(&self.got, token)
    }

    /// Turns until so many bytes have been received; gives them.
    #[track_caller]
    fn receive_all(&mut self, token: Token, count: usize) -> Vec<u8> {
        self.until("all is received", |got| received(got, token).len() >= count);
        let bytes = self.received(token);
        self.got.retain(|got| got.token != token);
        bytes
    }

    /// A new connection: the client, the server's descriptor and the tokens' generation and slot.
    fn connect(&mut self) -> Link {
        let (client, server) = pair();
        self.connections += 1;
        Link { client, server: server.into_raw_fd(), generation: 1, slot: self.connections }
    }
}

fn received(got: &[Got], token: Token) -> Vec<u8> {
    got.iter().filter(|got| got.token == token).filter_map(|got| got.bytes.as_deref()).collect::<Vec<_>>().concat()
}

/// A connection, seen from both ends.
struct Link {
    client: TcpStream,
    server: RawFd,
    generation: u32,
    slot: u32,
}

impl Link {
    fn token(&self, op: Op) -> Token {
        Token::new(op, self.generation, self.slot)
    }

    /// Makes the client's close a reset.
    fn reset(self) -> (RawFd, u32, u32) {
        net::reset_on_close(self.client.as_raw_fd());
        (self.server, self.generation, self.slot)
    }
}

/// A connection whose sockets hold little.
fn pair() -> (TcpStream, TcpStream) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = TcpOptions { buffer: Some(SOCKET_BYTES), ..TcpOptions::default() };
    let listener = listen::bind_all(address, 1, &options).expect("a free port").remove(0);
    listen::start_listening(listener.as_raw_fd(), listen::BACKLOG).expect("it is bound");
    let listener = TcpListener::from(listener);
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    let server = listener.accept().expect("connected").0;
    server.set_nonblocking(true).expect("a socket");
    client.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
    client.set_write_timeout(Some(WAIT_MAX)).expect("not zero");
    (client, server)
}

/// Bytes of which none is where another is.
fn pattern(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    for (number, word) in (0_u32..).zip(bytes.chunks_mut(4)) {
        word.copy_from_slice(&number.to_le_bytes()[..word.len()]);
    }
    bytes
}

fn notifier_wakes_and_wakes_again(mut rig: Rig<impl Io>) {
    use std::io::Write;
    let bell = std::fs::File::from(net::event_counter().expect("a descriptor"));
    let token = Token::new(Op::Notifier, 0, 0);
    rig.io.watch(bell.as_raw_fd(), token);
    rig.assert_quiet();
    for _ in 0..3 {
        (&bell).write_all(&1_u64.to_ne_bytes()).expect("room");
        let got = rig.one();
        assert!(got.token == token && got.result > 0 && got.more, "{got:?}");
        rig.assert_quiet();
    }
    // Rung while the driver sleeps.
    std::thread::scope(|scope| {
        scope.spawn(|| (&bell).write_all(&1_u64.to_ne_bytes()).expect("room"));
        rig.turn(Wait::Forever);
    });
    assert!(!rig.got.is_empty(), "whatever it slept for, it was woken");
}

fn accepts_go_on_until_they_are_cancelled(mut rig: Rig<impl Io>) {
    const CLIENTS: usize = 200;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = listen::bind_all(address, 1, &TcpOptions::default()).expect("a free port").remove(0);
    rig.io.listen(listener.as_raw_fd(), Some(listen::BACKLOG)).expect("it is bound");
    let address = net::local_address(listener.as_raw_fd()).expect("bound");
    let token = Token::new(Op::Accept, 1, 0);
    rig.io.accept(listener.as_raw_fd(), token);
    rig.assert_quiet();
    let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    rig.until("all are accepted", |got| got.len() >= CLIENTS);
    for got in rig.got.drain(..) {
        assert!(got.token == token && got.result > 0 && got.more, "{got:?}");
        assert_eq!(rig.io.addresses(got.result).expect("connected").1, address);
        rig.io.close(got.result);
    }
    drop(clients);
    rig.io.cancel(token);
    let got = rig.one();
    assert_eq!((got.token, got.result, got.more), (token, -libc::ECANCELED, false));
    let late = TcpStream::connect(address).expect("the kernel still takes it");
    rig.assert_quiet();
    // Accepting again finds who came meanwhile.
    let again = Token::new(Op::Accept, 2, 0);
    rig.io.accept(listener.as_raw_fd(), again);
    let got = rig.one();
    assert!(got.token == again && got.result > 0 && got.more, "{got:?}");
    rig.io.close(got.result);
    drop(late);
    // Closed by another thread, as the control plane does.
    net::shutdown(listener.as_raw_fd(), std::net::Shutdown::Both);
    let got = rig.one();
    assert!(got.token == again && got.result < 0 && !got.more, "{got:?}");
}

fn who_is_left_is_accepted_and_nobody_is_waited_for(mut rig: Rig<impl Io>) {
    const CLIENTS: usize = 100;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let (address, descriptor) = (listener.local_addr().expect("bound"), listener.as_raw_fd());
    rig.io.listen(descriptor, None).expect("it listens");
    for (round, count) in [(1, CLIENTS), (2, 0), (3, 1)] {
        let clients: Vec<_> = (0..count).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        let token = Token::new(Op::Accept, round, 0);
        rig.io.accept_left(descriptor, token);
        rig.until("it has ended", |got| got.last().is_some_and(|got| !got.more));
        assert_eq!(rig.got.len(), count + 1);
        for got in rig.got.drain(..) {
            assert!(got.token == token && got.more == (got.result > 0), "{got:?}");
            if got.more {
                // What it is accepted by leaves no mark on a socket: an application may take it.
                // SAFETY: it was just accepted, and is nobody else's.
                let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(got.result) });
                assert_eq!(socket.read_timeout().expect("a socket"), None);
            }
        }
        drop(clients);
        rig.assert_quiet();
    }
}

fn buffers_that_are_recalled_come_back(mut rig: Rig<impl Io>) {
    let (token, posted) = (Token::new(Op::Recall, 0, 0), rig.buffers.small.posted());
    rig.posts = false;
    let count = u32::try_from(posted).expect("few") + 1;
    assert!(rig.io.recall_buffers(Group::Small, count, token));
    rig.until("each has come, or has not", |got| got.len() > posted);
    let back = rig.got.iter().filter(|got| got.bytes.is_some()).count();
    assert!(back == posted && rig.got.iter().all(|got| got.token == token && !got.more));
    rig.got.clear();
    // Who receives now finds none; with them, all.
    let mut link = rig.connect();
    std::io::Write::write_all(&mut link.client, b"bytes").expect("sent");
    let token = link.token(Op::Receive);
    rig.io.receive(link.server, token);
    assert_eq!(rig.one().result, -libc::ENOBUFS);
    rig.post();
    rig.io.receive(link.server, token);
    assert_eq!(rig.receive_all(token, 5), b"bytes");
}

for_each_driver!(
    notifier_wakes_and_wakes_again,
    accepts_go_on_until_they_are_cancelled,
    who_is_left_is_accepted_and_nobody_is_waited_for,
    buffers_that_are_recalled_come_back,
);
