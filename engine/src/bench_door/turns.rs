//! Whole turns of a shard: it reaps, parses, routes and publishes; an application receives a batch and answers; the
//! next turn takes the responses and sends them.
//!
//! Invariants:
//! * The shard is the engine's own, and the application uses the public API. Only the kernel is a
//!   [fake](crate::driver::fake).
//! * Everything that the fake does, it does inside of [`Outlet`], whose functions are never inlined: who counts
//!   instructions can leave them out by that name.
//! * The shard's part and the application's are one call each, so that a profile shows them apart.
//! * Nobody sleeps: a turn begins with something to do.
//! * No time passes, so that none of the timers comes due in one, however slow the machine is.
//!
//! Not here: the room `ring` proper and the kernel, in time as in instructions; and the few instructions by which a
//! thread finds the shard it drives: here the caller holds it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::api::Response;
use crate::bench_door::{RouteTable, group, routes};
use crate::config::{Config, Mode};
use crate::counters::ShardCounters;
use crate::driver::fake::{Fake, Faults};
use crate::driver::{Event, FilePart, Io, SendMode, Token, Traffic, Wait};
use crate::error::Error;
use crate::id::{Origin, QueueNumber, ShardId};
use crate::log::{LogFormat, LogTarget, LogWriter, Logging};
use crate::mem::{Group, Landing, Lent, Spare};
use crate::proxied::ProxyProtocol;
use crate::queue::{Exchange, QueueCore};
use crate::route::{GroupRow, Snapshot};
use crate::session::{Engine, RequestQueue};
use crate::shard::{DesiredLogs, DesiredState, Driven, Entrance, Inbox, ListenAddress, ListenSocket, Shard};

/// Undelivered requests at the most: those of a whole round, so that none is refused.
const LENGTH_MAX: u32 = 4096;
/// Bytes that a client's socket holds.
const ROOM: usize = 1 << 20;
/// Requests that the application takes at once.
const BATCH: usize = 64;
/// What the application answers.
const BODY: &str = "Hello, World!";
/// No engine has this number: the shard here is not attached to the thread.
const ENGINE: u64 = u64::MAX;

/// See the module's head.
#[derive(Debug)]
pub struct Turns {
    // Before the shard: it names the exchange that the shard's side keeps alive.
    _driving: Option<Driven>,
    shard: Shard<Outlet>,
    fake: Rc<RefCell<Fake>>,
    clients: Vec<usize>,
    queue: RequestQueue,
    /// Where the queue's handle is from; it runs no shard.
    _engine: Engine,
    inbox: Arc<Inbox>,
    desired: DesiredState,
    /// The routes before the newest.
    before: Arc<Snapshot>,
    counters: Arc<ShardCounters>,
    log: Option<LogWriter>,
}

impl Turns {
    /// A shard as the mode has it, with so many connections, at most 4,096, and one prefix that takes every request.
    /// Other settings are the defaults.
    ///
    /// # Panics
    /// When there are more connections, or the kernel refuses memory or descriptors.
    #[must_use]
    pub fn new(mode: Mode, connections: usize) -> Self {
        assert!((1..=4096).contains(&connections), "connections must be from 1 to 4,096, not {connections}");
        let config = Config { mode, shards_wanted: Some(1), connections_max: 4096, ..Config::default() };
        let config = config.checked().expect("the defaults hold");
        let facts = config.facts().expect("the default name is valid");
        let exchange = Exchange::new(ENGINE, ShardId(0), Origin::LONE, facts, &config.sizes());
        let (exchange, side) = exchange.expect("address space");
        let fake = Fake::new(Arc::clone(exchange.arena()), 1, Faults::default());
        let fake = Rc::new(RefCell::new(fake));
        let (inbox, counters) = (Arc::new(Inbox::default()), Arc::new(ShardCounters::default()));
        let outlet = Outlet(Rc::clone(&fake));
        let for_shard = Arc::clone(&counters);
        let shard = Shard::new(outlet, ShardId(0), || Ok(side), &config, Arc::clone(&inbox), for_shard);
        let mut shard = shard.expect("/dev/null can be opened");
        shard.stop_clock();
        let core = Arc::new(QueueCore::new(QueueNumber(0), LENGTH_MAX, Arc::from([exchange])));
        let socket: OwnedFd = File::open("/dev/null").expect("it is there").into();
        let listener = socket.as_raw_fd();
        let mut desired = DesiredState::new(routes([("http://*:80/", 7)]));
        desired.set_queues(vec![Some(Arc::clone(&core))]);
        let ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let entrance = Entrance { ip, port: 80, is_unix: false, proxy: ProxyProtocol::Off, gate: None };
        let sockets = vec![Some(Arc::new(ListenSocket::alone(socket)))];
        desired.set_addresses(vec![Arc::new(ListenAddress { id: 1, entrance, sockets })]);
        desired.advance();
        inbox.put(desired.clone());
        let clients = (0..connections).map(|_| fake.borrow_mut().connect(listener, ROOM)).collect();
        let _driving = (mode == Mode::Colocated).then(|| shard.drive_here());
        // One turn begins to accept, the next finds the connections, one more begins to receive.
        let (_engine, mut queue) = handle();
        queue.core = core;
        let mut turns = Self {
            _driving,
            shard,
            fake,
            clients,
            queue,
            _engine,
            inbox,
            before: Arc::clone(&desired.routes),
            desired,
            counters,
            log: None,
        };
        (0..3).for_each(|_| turns.turn());
        let receives = |client: &usize| turns.fake.borrow().receives(*client);
        assert!(turns.clients.iter().all(receives), "the shard receives from every client");
        turns
    }

    /// From the next turn on, all requests are logged there, in lines of JSON, by a thread of its own.
    ///
    /// # Panics
    /// When there can be no thread.
    pub fn log_to(&mut self, directory: &Path) {
        let (writer, logging) = (LogWriter::start(1).expect("a thread"), Logging::new(LogFormat::Json, directory));
        let logged = LogTarget::new(1, logging.which());
        writer.open(1, logging);
        self.desired.logs = DesiredLogs { ends: Some(Arc::clone(writer.ends())), are_open: true };
        let mut routes = Snapshot::clone(&self.desired.routes);
        routes.put_group(1, GroupRow { log: logged, ..group() });
        self.before = core::mem::replace(&mut self.desired.routes, Arc::new(routes));
        self.desired.advance();
        self.inbox.put(self.desired.clone());
        self.log = Some(writer);
    }

    /// Lines that are missing in the log. It ends with this.
    ///
    /// # Panics
    /// When the thread does not end.
    #[must_use]
    pub fn end_log(&mut self) -> u64 {
        let writer = self.log.take().expect("there is one");
        assert!(writer.end(Duration::from_secs(60)), "the disk answers");
        writer.counts().1 + self.counters.log_records_dropped.read()
    }

    /// From the next turn on, these routes hold.
    pub fn route_by(&mut self, table: &RouteTable) {
        // The shard is not the last to let go of what it had: see the room `session`.
        self.before = core::mem::replace(&mut self.desired.routes, Arc::new(table.shown.clone()));
        self.desired.advance();
        self.inbox.put(self.desired.clone());
    }

    /// Whether the shard has the newest routes.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        Arc::strong_count(&self.desired.routes) == 2
    }

    /// One turn for which there is nothing to do but what the control plane wants.
    pub fn idle(&mut self) {
        self.turn();
    }

    /// Each of these clients sends these bytes, for one completion if they fit a receive buffer.
    ///
    /// # Panics
    /// When the shard has closed a connection, or there are fewer clients.
    pub fn say(&mut self, clients: Range<usize>, bytes: &[u8]) {
        let mut fake = self.fake.borrow_mut();
        for client in &self.clients[clients] {
            assert!(!fake.is_closed(*client), "a client's connection is open");
            fake.write(*client, bytes);
        }
    }

    /// Turns and responses until the application has answered so many requests. The last responses are sent by the next
    /// turn.
    ///
    /// # Panics
    /// When the requests do not come.
    pub fn run(&mut self, requests: usize) {
        let mut answered = 0;
        let mut vain = 0;
        while answered < requests {
            self.turn();
            let fresh = self.answer();
            answered += fresh;
            vain = if fresh == 0 { vain + 1 } else { 0 };
            assert!(vain < 3, "only {answered} of {requests} requests came");
        }
        assert!(answered == requests, "no more requests come than were sent");
    }

    #[inline(never)]
    fn turn(&mut self) {
        self.shard.turn(None).expect("the fake never fails");
    }

    /// What the application does once the shard has published. Gives how many requests there were.
    #[inline(never)]
    fn answer(&mut self) -> usize {
        let mut answered = 0;
        while !self.queue.is_empty() {
            for request in self.queue.receive_batch(BATCH).expect("the queue is open") {
                request.respond(Response::text(BODY)).expect("the client is there");
                answered += 1;
            }
        }
        answered
    }

    /// One turn that sends what has been answered.
    ///
    /// # Panics
    /// When a request is delivered, which nobody would answer.
    pub fn flush(&mut self) {
        self.turn();
        assert!(self.queue.is_empty(), "nothing is left to be answered");
    }

    /// What each of these clients has been sent since it was last asked.
    ///
    /// # Panics
    /// When there are fewer clients.
    #[must_use]
    pub fn heard(&mut self, clients: Range<usize>) -> Vec<Vec<u8>> {
        let mut fake = self.fake.borrow_mut();
        self.clients[clients].iter().map(|client| fake.read(*client, usize::MAX)).collect()
    }
}

/// A queue's public handle, and the engine it needs: one that nobody attaches, so that it has neither ring nor thread.
fn handle() -> (Engine, RequestQueue) {
    let builder = Engine::builder().mode(Mode::Colocated).shards(1).requests_max(16);
    let engine = builder.receive_buffers(16, 512).assembly_buffers(2).start().expect("a small engine");
    let queue = engine.request_queue("").expect("the first of its engine");
    (engine, queue)
}

/// The way out of the shard. Nothing here is inlined: see the module's head.
#[derive(Debug)]
struct Outlet(Rc<RefCell<Fake>>);

impl Io for Outlet {
    #[inline(never)]
    fn listen(&mut self, socket: RawFd, backlog: Option<u32>) -> io::Result<()> {
        self.0.borrow_mut().listen(socket, backlog)
    }

    #[inline(never)]
    fn accept(&mut self, listener: RawFd, token: Token) {
        self.0.borrow_mut().accept(listener, token);
    }

    #[inline(never)]
    fn accept_left(&mut self, listener: RawFd, token: Token) {
        self.0.borrow_mut().accept_left(listener, token);
    }

    fn receive(&mut self, socket: RawFd, token: Token) {
        self.0.borrow_mut().receive(socket, token);
    }

    #[inline(never)]
    fn receive_once(&mut self, socket: RawFd, token: Token, group: Group, len: u32) {
        self.0.borrow_mut().receive_once(socket, token, group, len);
    }

    #[inline(never)]
    fn send(&mut self, socket: RawFd, token: Token, parts: &[Lent], mode: SendMode) {
        self.0.borrow_mut().send(socket, token, parts, mode);
    }

    #[inline(never)]
    fn read_file(&mut self, file: RawFd, offset: u64, into: Landing, token: Token) {
        self.0.borrow_mut().read_file(file, offset, into, token);
    }

    #[inline(never)]
    fn send_file(&mut self, socket: RawFd, token: Token, part: FilePart) {
        self.0.borrow_mut().send_file(socket, token, part);
    }

    #[inline(never)]
    fn await_room(&mut self, socket: RawFd, token: Token, lasting: bool) {
        self.0.borrow_mut().await_room(socket, token, lasting);
    }

    #[inline(never)]
    fn file_closer(&self) -> Box<dyn Fn(File)> {
        self.0.borrow().file_closer()
    }

    #[inline(never)]
    fn watch(&mut self, descriptor: RawFd, token: Token) {
        self.0.borrow_mut().watch(descriptor, token);
    }

    #[inline(never)]
    fn watch_end(&mut self, socket: RawFd, token: Token) {
        self.0.borrow_mut().watch_end(socket, token);
    }

    #[inline(never)]
    fn cancel(&mut self, target: Token) {
        self.0.borrow_mut().cancel(target);
    }

    #[inline(never)]
    fn give_buffer(&mut self, spare: Spare) {
        self.0.borrow_mut().give_buffer(spare);
    }

    #[inline(never)]
    fn post_buffers(&mut self) {
        self.0.borrow_mut().post_buffers();
    }

    #[inline(never)]
    fn recall_buffers(&mut self, group: Group, count: u32, token: Token) -> bool {
        self.0.borrow_mut().recall_buffers(group, count, token)
    }

    #[inline(never)]
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.0.borrow_mut().turn(wait, events)
    }

    #[inline(never)]
    fn overflows(&self) -> u64 {
        self.0.borrow().overflows()
    }

    #[inline(never)]
    fn close(&mut self, descriptor: RawFd) {
        self.0.borrow_mut().close(descriptor);
    }

    #[inline(never)]
    fn release(&mut self, descriptor: RawFd) -> OwnedFd {
        self.0.borrow_mut().release(descriptor)
    }

    #[inline(never)]
    fn shutdown(&mut self, socket: RawFd, how: Shutdown) {
        self.0.borrow_mut().shutdown(socket, how);
    }

    #[inline(never)]
    fn reset_on_close(&mut self, socket: RawFd) {
        self.0.borrow_mut().reset_on_close(socket);
    }

    #[inline(never)]
    fn receive_and_discard(&mut self, socket: RawFd, token: Token, len: u32) {
        self.0.borrow_mut().receive_and_discard(socket, token, len);
    }

    #[inline(never)]
    fn traffic(&mut self, socket: RawFd) -> Traffic {
        self.0.borrow_mut().traffic(socket)
    }

    #[inline(never)]
    fn addresses(&mut self, socket: RawFd) -> Option<(SocketAddr, SocketAddr)> {
        self.0.borrow_mut().addresses(socket)
    }

    fn explain(error: io::Error) -> Error {
        Fake::explain(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_every_answer_in_both_modes() {
        for mode in [Mode::Queue, Mode::Colocated] {
            let mut turns = Turns::new(mode, 5);
            for round in 1..=3 {
                turns.say(0..5, &b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".repeat(round));
                turns.run(5 * round);
                turns.flush();
                for heard in turns.heard(0..5) {
                    let heard = String::from_utf8(heard).expect("text");
                    assert_eq!(heard.matches("HTTP/1.1 200 OK\r\n").count(), round);
                    assert_eq!(heard.matches(&format!("\r\n\r\n{BODY}")).count(), round);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "only 2 of 3 requests came")]
    fn a_request_that_does_not_come_is_noticed() {
        let mut turns = Turns::new(Mode::Colocated, 1);
        turns.say(0..1, &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
        turns.run(3);
    }
}
