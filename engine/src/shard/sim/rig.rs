//! A shard with a queue, one listener and a route, over a fake kernel: what every test here begins with.

use std::cell::RefCell;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{ConnectionLimits, Gates};
use crate::clock::{Tick, ticks};
use crate::config::Config;
use crate::counters::RequestCounts;
use crate::counters::ShardCounters;
use crate::driver::fake::{Fake, Faults, Outside, Random};
use crate::id::{Origin, QueueNumber, QueuePlace, RequestId, ShardId};
use crate::log::LogTarget;
use crate::policy::{Policy, Refusals, SharedVerbosity, Verbosity};
use crate::proxied::ProxyProtocol;
use crate::queue::{Answered, BodyState, Exchange, HeadText, Lease, QueueCore, ResponseFlags, ShardSide, Tail};
use crate::record::RequestRecord;
use crate::route::{GroupRow, Host, Prefix, Snapshot};
use crate::shard::{DesiredState, Entrance, Inbox, Leave, ListenAddress, ListenSocket, Shard, Sharing};

/// Turns after which a shard that finds no rest is said to turn without end.
const TURNS_MAX: u32 = 20_000;

/// Bytes of a socket's send buffer, unless a test wants another.
pub(super) const ROOM: usize = 1 << 20;

/// Bytes that a body may have.
pub(super) const BODY_MAX: u64 = 64 * 1024;

/// What a test wants different.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) config: Config,
    /// Bytes of a body that are received and not read: fewer than an application may choose.
    pub(super) body_credit: u32,
    pub(super) queue_length: u32,
    /// It is measured how long requests take.
    pub(super) measured: bool,
    /// Another shard fills the same queue: see `shared_queue`.
    pub(super) is_shared: bool,
    /// Whether connections begin with what proxies say of them.
    pub(super) proxy: ProxyProtocol,
    /// Of connections: the listener's, and the engine's.
    pub(super) limits: [ConnectionLimits; 2],
    pub(super) seed: u64,
    pub(super) faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        let config = Config {
            shards_wanted: Some(1),
            connections_max: 64,
            requests_max: 64,
            receive_buffers: 64,
            receive_buffer_bytes: 1024,
            body_buffers: 16,
            body_buffer_bytes: 4096,
            assembly_buffers: 8,
            head_bytes: 512,
            response_area_bytes: 512,
            ..Config::default()
        };
        let faults = Faults::default();
        Self {
            config,
            body_credit: 256 * 1024,
            queue_length: 1000,
            measured: false,
            is_shared: false,
            proxy: ProxyProtocol::Off,
            limits: [ConnectionLimits::new(); 2],
            seed: 1,
            faults,
        }
    }
}

/// See the module's head.
pub(super) struct Rig {
    pub(super) shard: Shard<Fake>,
    pub(super) queue: Arc<QueueCore<RequestRecord>>,
    pub(super) exchange: Arc<Exchange<RequestRecord>>,
    pub(super) counters: Arc<ShardCounters>,
    pub(super) listener: RawFd,
    /// What another shard would have of the queue, if it is shared.
    pub(super) beside: Option<ShardSide<RequestRecord>>,
    inbox: Arc<Inbox>,
    desired: RefCell<DesiredState>,
    policy: Policy,
    address: Arc<ListenAddress>,
    limits: [ConnectionLimits; 2],
    /// What clients are told of 503.
    pub(super) verbosity: SharedVerbosity,
}

/// Routes to a queue, which counts their requests, with these groups: a path, how often the group's row has changed
/// hands, and what holds for it.
pub(super) fn routes(
    own: Policy,
    groups: &[(&str, u32, Policy)],
    (queue, verbosity): (&QueueCore<RequestRecord>, &SharedVerbosity),
) -> Snapshot {
    let mut routes = Snapshot::new(own);
    for (group, (path, owner, policy)) in (1..).zip(groups) {
        let counts = if queue.is_measured() { RequestCounts::measured(1) } else { RequestCounts::new(1) };
        queue.counts().add(&counts, 1);
        routes.put_group(
            group,
            GroupRow {
                queue: Ok(QueuePlace::new(0)),
                owner: *owner,
                policy: *policy,
                counts,
                verbosity: verbosity.clone(),
                refusals: Refusals::new(),
                log: LogTarget::NONE,
            },
        );
        let prefix = Prefix { port: 80, host: Host::Strong, path: (*path).into() };
        assert!(routes.insert(&prefix, 7, group), "{path} is given twice");
    }
    routes
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let config = options.config.checked().expect("the settings hold");
        let facts = || config.facts().expect("the server's name is valid");
        let exchange_of = |shard| Exchange::new(1, ShardId(shard), Origin::LONE, facts(), &config.sizes());
        let (exchange, side) = exchange_of(0).expect("a small mapping");
        let beside = options.is_shared.then(|| exchange_of(1).expect("a small mapping"));
        let fake = Fake::new(Arc::clone(exchange.arena()), options.seed, options.faults);
        let (inbox, counters) = (Arc::new(Inbox::default()), Arc::new(ShardCounters::default()));
        let shard = Shard::new(fake, ShardId(0), || Ok(side), &config, Arc::clone(&inbox), Arc::clone(&counters));
        let exchanges: Arc<[_]> =
            core::iter::once(&exchange).chain(beside.iter().map(|(other, _)| other)).cloned().collect();
        let mut shard = shard.expect("nothing is missing").among(Arc::clone(&exchanges));
        shard.protocol.transport.clock.stop();
        let queue =
            Arc::new(QueueCore::new(QueueNumber(0), options.queue_length, exchanges).measured(options.measured));
        let beside = beside.map(|(_, side)| side);
        let socket = stand_in();
        let listener = socket.as_raw_fd();
        let body_credit = options.body_credit;
        let policy = Policy { body_credit, body_max: BODY_MAX, ..Policy::of(&config.properties) };
        let mut address = listen_address(1, 80, socket, options.proxy);
        let [own, engines] = options.limits;
        let gates = Gates::new(engines, 1, config.connections_max);
        Arc::make_mut(&mut address).entrance.gate = gates.gate(own);
        let verbosity = SharedVerbosity::new(Verbosity::Bare);
        let desired = RefCell::new(DesiredState::new(routes(policy, &[("/a/", 1, policy)], (&queue, &verbosity))));
        let rig = Self {
            shard,
            queue,
            exchange,
            counters,
            listener,
            beside,
            inbox,
            desired,
            policy,
            address,
            limits: options.limits,
            verbosity,
        };
        rig.change(|desired| {
            desired.set_queues(vec![Some(Arc::clone(&rig.queue))]);
            desired.set_addresses(vec![Arc::clone(&rig.address)]);
        });
        rig
    }

    /// From now on clients come over a Unix socket.
    pub(super) fn over_unix(self) -> Self {
        self.over(Sharing::Shards, true)
    }

    /// From now on clients come over a socket that others may have, too.
    pub(super) fn over(mut self, sharing: Sharing, is_unix: bool) -> Self {
        let socket = stand_in();
        self.listener = socket.as_raw_fd();
        let entrance = Entrance { ip: None, port: 80, is_unix, proxy: ProxyProtocol::Off, gate: None };
        let sockets = vec![Some(Arc::new(ListenSocket::new(socket, sharing, None)))];
        self.address = Arc::new(ListenAddress { id: 2, entrance, sockets });
        self.change(|desired| desired.set_addresses(vec![Arc::clone(&self.address)]));
        self.settle();
        self
    }

    /// The control plane closes the socket that clients come over, before it says so.
    pub(super) fn close_listener(&self) {
        self.address.sockets.iter().flatten().for_each(|socket| socket.close());
    }

    /// A change of the control plane's. Gives its generation.
    pub(super) fn change(&self, change: impl FnOnce(&mut DesiredState)) -> u64 {
        let mut desired = self.desired.borrow_mut();
        change(&mut desired);
        let generation = desired.advance();
        self.inbox.put(desired.clone());
        self.exchange.notifier().notify();
        generation
    }

    /// Something that the control plane may change at any moment, without a client that notices: a queue or an address
    /// beside the one that clients use comes or goes, or the place of their group changes hands.
    pub(super) fn change_unnoticed(&self, random: &mut Random) {
        let number = u32::try_from(self.desired.borrow().generation()).expect("a few changes");
        let comes = random.chance(500);
        match random.below(3) {
            0 => self.change(|desired| {
                let core = || Arc::new(QueueCore::new(QueueNumber(number), 8, Arc::clone(self.queue.exchanges())));
                let beside = (0..random.below(3)).map(|_| random.chance(500).then(core));
                desired.set_queues(core::iter::once(Some(Arc::clone(&self.queue))).chain(beside).collect());
            }),
            1 => self.change(|desired| {
                let beside = comes.then(|| listen_address(u64::from(number) + 1, 81, stand_in(), ProxyProtocol::Off));
                desired.set_addresses(core::iter::once(Arc::clone(&self.address)).chain(beside).collect());
            }),
            _ => self.change(|desired| {
                desired.routes =
                    Arc::new(routes(self.policy, &[("/a/", number, self.policy)], (&self.queue, &self.verbosity)));
            }),
        };
    }

    /// Whether a change holds for whatever the shard does from now on.
    pub(super) fn holds(&self, generation: u64) -> bool {
        self.inbox.holds(generation)
    }

    pub(super) fn stop(&self, grace: Duration) {
        self.change(|desired| desired.stop = Some(Leave::within(grace)));
    }

    /// Idle connections are let be for a while.
    pub(super) fn drain(&self, linger: Duration, grace: Duration) {
        self.change(|desired| desired.stop = Some(Leave::after(linger, grace)));
    }

    /// One turn.
    pub(super) fn turn(&mut self) {
        self.shard.protocol.transport.io.asleep = false;
        self.shard.protocol.transport.io.delayed.clear();
        self.shard.protocol.transport.io.naps = self.shard.protocol.transport.waiting.any_by_clock();
        self.shard.turn(None).expect("the fake never fails");
        self.assert_limits();
        let overslept = self.shard.protocol.transport.io.overslept;
        assert_eq!(overslept, None, "hang: the shard went to sleep with this to do");
        let unannounced = self.shard.protocol.dispatch.is_unannounced();
        assert!(!(self.shard.protocol.transport.io.asleep && unannounced), "hang: nobody was told of requests");
        if self.shard.protocol.transport.io.asleep {
            assert!(!self.shard.protocol.dispatch.is_behind(), "hang: what is published is not shown");
            let cells = self.shard.protocol.dispatch.side().cells.stage.in_use();
            assert!(
                cells <= self.shard.protocol.transport.io.reading() as u64,
                "{cells} cells are kept by slow clients"
            );
        }
    }

    /// What counts for limits is what is open, and no more than they allow.
    fn assert_limits(&self) {
        let Some(gate) = &self.address.entrance.gate else { return };
        let (open, of_addresses) = self.shard.to_count();
        for (limits, counted) in self.limits.iter().zip(gate.counted()) {
            let is_set = *limits != ConnectionLimits::new();
            let of_addresses = if limits.of_address().is_some() { of_addresses } else { 0 };
            assert_eq!(counted, if is_set { (of_addresses, open) } else { (0, 0) }, "counted of {limits:?}");
            assert!(limits.allows(open), "{open} are open with {limits:?}");
        }
    }

    /// Turns until the shard sleeps, or has ended.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.shard.protocol.transport.io.asleep || self.shard.is_done() {
                return self.shard.protocol.dispatch.assert_conserved();
            }
        }
        panic!("livelock: the shard finds no rest in {TURNS_MAX} turns");
    }

    /// A client that the shard has accepted.
    pub(super) fn connect(&mut self) -> usize {
        self.connect_with_room(ROOM)
    }

    /// As [`connect`](Self::connect), from 10.0.0.`last`.
    pub(super) fn connect_from(&mut self, last: u8) -> usize {
        let address = Ipv4Addr::new(10, 0, 0, last);
        let client = self.shard.protocol.transport.io.connect_from(address, self.listener, ROOM);
        self.settle();
        client
    }

    pub(super) fn connect_with_room(&mut self, room: usize) -> usize {
        let client = self.shard.protocol.transport.io.connect(self.listener, room);
        self.settle();
        client
    }

    /// A client sends, and the shard takes it.
    pub(super) fn say(&mut self, client: usize, bytes: impl AsRef<[u8]>) {
        self.shard.protocol.transport.io.write(client, bytes.as_ref());
        self.settle();
    }

    /// What a client has been sent since it was last asked.
    pub(super) fn heard(&mut self, client: usize) -> String {
        String::from_utf8_lossy(&self.shard.protocol.transport.io.read(client, usize::MAX)).into_owned()
    }

    /// The numbers in the bodies that [`answer`](Self::answer) gave, as far as a client has heard them.
    pub(super) fn heard_answers(&mut self, client: usize) -> Vec<String> {
        let heard = self.heard(client);
        heard.split("\r\n\r\n[").skip(1).filter_map(|rest| rest.split(']').next()).map(str::to_owned).collect()
    }

    /// The one request of each client is answered, and they leave.
    pub(super) fn answer_and_end(&mut self, leases: Vec<Lease<RequestRecord>>, clients: Vec<usize>) {
        leases.into_iter().for_each(answer);
        self.settle();
        for client in clients {
            assert_eq!(self.heard_answers(client), ["/a/1"]);
            self.shard.protocol.transport.io.end(client);
        }
        self.settle();
    }

    /// The next request.
    pub(super) fn claim(&mut self) -> Lease<RequestRecord> {
        self.queue.claim_of(0).expect("a request was delivered")
    }

    pub(super) fn claim_all(&mut self) -> Vec<Lease<RequestRecord>> {
        core::iter::from_fn(|| self.queue.claim_of(0)).collect()
    }

    /// Answers the oldest request and lets the shard send it.
    pub(super) fn serve(&mut self) {
        let lease = self.claim();
        answer(lease);
        self.settle();
    }

    /// Lets time pass for the timers.
    pub(super) fn pass(&mut self, duration: Duration) {
        self.expire(duration);
        self.settle();
    }

    /// Ends what has run out of time after so long.
    pub(super) fn expire(&mut self, duration: Duration) {
        self.shard.protocol.transport.clock.skip(ticks(duration));
        self.shard.protocol.transport.tick = self.shard.protocol.transport.clock.tick();
        self.shard.entered_at = self.shard.protocol.transport.tick;
        self.shard.protocol.transport.io.asleep = false;
        self.shard.protocol.transport.io.delayed.clear();
        self.shard.run_timers();
    }

    /// A client more, whose request is under way, and behind it another that waits in a receive buffer.
    pub(super) fn hold_a_buffer(&mut self) -> Lease<RequestRecord> {
        let client = self.connect();
        self.say(client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let lease = self.claim();
        self.say(client, "GET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n");
        lease
    }

    /// Nothing is left of any connection or request.
    pub(super) fn assert_idle(&mut self) {
        let shard = &mut self.shard;
        assert_eq!(shard.connections.len(), 0, "connections are left");
        assert_eq!(shard.protocol.transport.io.open(), 0, "descriptors are open");
        assert_eq!(shard.protocol.dispatch.side().in_use(), 0, "request slots are in use");
        assert_eq!(shard.protocol.dispatch.side().buffers.small.in_use(), 0, "receive buffers are in use");
        assert_eq!(shard.protocol.dispatch.side().buffers.large.in_use(), 0, "body buffers are in use");
        let cells = &shard.protocol.dispatch.side().cells;
        let pieces = [("fragment", &cells.fragment), ("assembly", cells.assembly())];
        let (heads, sends) = ([("long head", &cells.long_head)].into_iter().chain(pieces), &cells.coalesce);
        for (name, cells) in heads.chain([("coalescing", sends), ("stage", &cells.stage)]) {
            assert_eq!(cells.in_use(), 0, "{name} cells are taken");
        }
        assert_eq!(shard.protocol.transport.drains.count(), 0, "connections are said to drain");
        shard.protocol.dispatch.publish_levels();
        assert_eq!(shard.protocol.dispatch.peers().len(), 0, "something is held for addresses");
        shard.protocol.dispatch.assert_conserved();
        assert_eq!(self.counters.requests_delivered.read(), self.counters.requests_ended(), "{:?}", self.counters);
        let sent = shard.protocol.transport.io.sent();
        assert_eq!(self.counters.bytes_sent.read(), sent, "bytes counted and sent");
        assert!(!shard.protocol.dispatch.has_readers(), "readers are to be woken");
        assert!(shard.protocol.transport.cell_waiters.is_empty(), "connections wait for cells");
        assert!(shard.protocol.dispatch.extras().is_empty(), "something is kept for connections that are gone");
        assert!(
            shard.protocol.transport.silent.is_empty()
                && !shard.protocol.transport.turns.has_waiting()
                && shard.protocol.flush.is_empty()
                && shard.protocol.transport.waiting.is_empty(),
            "work is left"
        );
        assert_eq!(shard.protocol.transport.wheel.pop_due(Tick::MAX / 2), None, "a timer is set");
        assert_eq!(shard.protocol.transport.wheel.next_visit(), None, "a timer is linked");
    }

    /// Ends the shard; it must have been told to stop.
    pub(super) fn end(mut self) {
        for _ in 0..TURNS_MAX {
            if self.shard.is_done() {
                self.shard.protocol.transport.io.assert_quiet();
                self.assert_idle();
                return self.shard.end();
            }
            self.turn();
            assert!(
                !self.shard.protocol.transport.io.asleep || self.shard.is_done(),
                "the shard sleeps instead of ending {:?} {} {:?} {:?}",
                self.shard.protocol.transport.accepting,
                self.shard.connections.len(),
                self.shard.eviction,
                self.shard.protocol.transport.io.waited
            );
        }
        panic!("the shard does not end in {TURNS_MAX} turns");
    }
}

type Once = Box<dyn FnOnce(&mut Fake)>;

/// Done once, while the shard sleeps.
pub(super) struct Meanwhile(pub(super) Option<Once>);

impl Outside for Meanwhile {
    fn act(&mut self, fake: &mut Fake) -> bool {
        self.0.take().is_some_and(|act| {
            act(fake);
            true
        })
    }
}

/// A descriptor in a listener's place: accepting from it directly fails.
pub(super) fn stand_in() -> OwnedFd {
    File::open("/dev/null").expect("it is there").into()
}

/// An address of 127.0.0.1 with one socket.
pub(super) fn listen_address(id: u64, port: u16, socket: OwnedFd, proxy: ProxyProtocol) -> Arc<ListenAddress> {
    let entrance = Entrance { ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port, is_unix: false, proxy, gate: None };
    Arc::new(ListenAddress { id, entrance, sockets: vec![Some(Arc::new(ListenSocket::alone(socket)))] })
}

/// A client, and the request `/a/1` of its that an application has.
pub(super) fn one_request() -> (Rig, usize, Lease<RequestRecord>) {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    let lease = rig.claim();
    (rig, client, lease)
}

/// The target of a request.
pub(super) fn target(lease: &Lease<RequestRecord>) -> String {
    String::from_utf8_lossy(lease.record().head.target.of(lease.received())).into_owned()
}

/// Reads what came of a request's body with its head.
pub(super) fn read_prefix(lease: &mut Lease<RequestRecord>) -> Vec<u8> {
    let record = lease.record();
    let prefix = lease.received()[record.body_start as usize..][..record.body_len as usize].to_vec();
    if record.body_open {
        lease.consume_prefix(record.body_len);
    }
    prefix
}

/// Reads what is there of a request's body behind its prefix. `true`: that is all.
pub(super) fn read_body(lease: &mut Lease<RequestRecord>, into: &mut Vec<u8>) -> bool {
    if !lease.record().body_open {
        return true;
    }
    let state = lease.body_state();
    while lease.next_body() {
        let bytes = lease.body_bytes();
        let len = u32::try_from(bytes.len()).expect("small");
        into.extend_from_slice(bytes);
        lease.consume_body(len);
    }
    let ended = matches!(state, BodyState::Ended { .. });
    if ended {
        lease.leave_body();
    }
    ended
}

/// The body of a request that is whole.
pub(super) fn body(lease: &mut Lease<RequestRecord>) -> Vec<u8> {
    let mut whole = read_prefix(lease);
    assert!(read_body(lease, &mut whole), "the body is not whole");
    whole
}

/// How a response says where its body ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum BodyLength {
    Known(usize),
    Chunked,
}

/// Writes the head of a response.
pub(super) fn head_of(area: &mut [u8], length: BodyLength, close: bool) -> Answered {
    let before = "HTTP/1.1 200 OK\r\nDate: ";
    let length = match length {
        BodyLength::Known(bytes) => format!("Content-Length: {bytes}"),
        BodyLength::Chunked => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!("{before}{:29}\r\n{length}\r\n\r\n", "");
    area[..head.len()].copy_from_slice(head.as_bytes());
    let flags = if close { ResponseFlags::CLOSE } else { ResponseFlags::default() };
    let head = HeadText { len: u32::try_from(head.len()).expect("small"), date_at: 23 };
    let answered = Answered { status: 200, head, body_len: 0, flags, tail: Tail::None };
    assert_eq!(before.len(), usize::from(answered.head.date_at));
    answered
}

/// Writes a response by hand: the body goes into the tail unless it fits the area.
pub(super) fn write_response(record: &RequestRecord, area: &mut [u8], body: &[u8], close: bool) -> Answered {
    let mut answered = head_of(area, BodyLength::Known(body.len()), close);
    let body = if record.is_head() { &[] } else { body };
    let head_len = answered.head.len as usize;
    let whole = head_len + body.len();
    if let Some(place) = area.get_mut(head_len..whole) {
        place.copy_from_slice(body);
        answered.body_len = u32::try_from(body.len()).expect("small");
    } else {
        answered.tail = Tail::Bytes(bytes::Bytes::from(body.to_vec()).into());
    }
    answered
}

/// Answers a request with its target in brackets.
pub(super) fn answer(lease: Lease<RequestRecord>) {
    answer_with(lease, "", false);
}

/// As [`answer`], with more text behind it.
pub(super) fn answer_with(lease: Lease<RequestRecord>, more: &str, close: bool) {
    let text = format!("[{}]{more}", target(&lease));
    let record = *lease.record();
    let filled = lease.fill(|area| Ok::<_, ()>(write_response(&record, area, text.as_bytes(), close)));
    match filled {
        Some(Ok(filled)) => lease.submit(filled),
        Some(Err(())) => unreachable!("writing does not fail"),
        None => drop(lease),
    }
}

/// Answers a request by its id; `false` when it is over.
pub(super) fn respond_by_id(exchange: &Exchange<RequestRecord>, id: RequestId, text: &str) -> bool {
    let write = |record: &RequestRecord, area: &mut [u8]| write_response(record, area, text.as_bytes(), false);
    exchange.respond_by_id(id, |record, area| Ok::<_, ()>(write(record, area))).is_some()
}
