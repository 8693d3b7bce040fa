//! [`Io`] in memory, for tests: sockets, provided buffers and completions, with faults drawn from a seed.
//!
//! Invariants:
//! * The contract of [`Io`] is kept to the letter, and the shard is held to its own side of it: a buffer is given
//!   once, a descriptor is closed once and after its last operation, lent bytes do not change while they are lent.
//! * Completions of one operation stay in order; those of different ones come in any order, and late.
//! * Nothing blocks: a wait that nothing can end sets [`Fake::asleep`], and whoever drives decides whether that is a
//!   hang; a shard that then finds work all the same went to sleep with it ([`Fake::overslept`]). What goes on outside
//!   while the shard sleeps is done by [`Outside`].
//! * One seed determines everything.
//!
//! Not here: time (a wait with a limit returns at once), and congestion other than a full socket buffer.

mod accepts;
mod calls;
mod files;
mod link;
mod seed;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, Op, Token, Wait};
use crate::mem::{Arena, BufferId, BufferTable, Filled, Group};

use self::files::Reading;
use self::link::{FakeSocket, FileJob, Listening, Multishot, Sending, take};
pub(crate) use self::seed::{Faults, Random};

/// Descriptors of accepted connections begin here: none of the process's own is closed by mistake.
const FIRST_DESCRIPTOR: RawFd = 10_000;
/// While the shard [naps](Fake::naps), a wait of at most a tick is a look by the clock, and what it finds after that
/// was not slept over.
const NAP: Duration = Duration::from_millis(64);

/// What happens outside the shard while it sleeps in the kernel.
pub(crate) trait Outside {
    /// Does one thing; `false` when there is nothing left to do.
    fn act(&mut self, fake: &mut Fake) -> bool;
}

/// An operation that begins with the next turn.
#[derive(Debug)]
enum Entry {
    Accept { listener: RawFd, token: Token },
    AcceptLeft { listener: RawFd, token: Token },
    Receive { socket: RawFd, token: Token },
    ReceiveOnce { socket: RawFd, token: Token, group: Group, most: u32 },
    ReceiveAndDiscard { socket: RawFd, token: Token, most: u32 },
    Send { socket: RawFd, sending: Sending },
    Watch { descriptor: RawFd, token: Token },
    WatchEnd { socket: RawFd, token: Token },
    Cancel { target: Token },
    Read(Reading),
    SendFile { socket: RawFd, job: FileJob },
    AwaitRoom { socket: RawFd, token: Token, lasting: bool },
    Recall { group: Group, token: Token },
}

impl Entry {
    fn socket(&self) -> Option<RawFd> {
        match self {
            Self::Receive { socket, .. }
            | Self::ReceiveOnce { socket, .. }
            | Self::ReceiveAndDiscard { socket, .. }
            | Self::Send { socket, .. }
            | Self::SendFile { socket, .. }
            | Self::AwaitRoom { socket, .. }
            | Self::WatchEnd { socket, .. } => Some(*socket),
            _ => None,
        }
    }
}

/// See the module's head.
pub(crate) struct Fake {
    arena: Arc<Arena>,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) outside: Option<Rc<RefCell<dyn Outside>>>,
    /// The last turn ended without an event although it was to wait for one.
    pub(crate) asleep: bool,
    /// The shard looks for buffers by the clock.
    pub(crate) naps: bool,
    /// Much time has passed: what could have come by now has, and nothing of that is late in the next turn.
    pub(crate) prompt: bool,
    /// Completions that a turn gives at most, beside those of sends.
    pub(crate) given_max: usize,
    /// How long the last turn was to wait.
    pub(crate) waited: Wait,
    /// Connections that may be open at a time: further accepts fail with EMFILE.
    pub(crate) descriptors_max: usize,
    /// Listening sockets do not wait, as one that another process has set so.
    pub(crate) never_waits: bool,
    /// The next turn fails once it has brought what it had.
    pub(crate) breaks: bool,
    /// The shard has failed, and closes descriptors whatever is under way.
    pub(crate) failed: bool,
    /// Descriptors that nobody had closed when all this was over, the helper included.
    pub(crate) left_open: Rc<Cell<Option<usize>>>,
    /// What the shard did after it had slept without being woken: it went to sleep with that work before it.
    pub(crate) overslept: Option<&'static str>,
    /// Clients whose silent sends ended without an event in a turn that slept: what follows those sends came late.
    pub(crate) delayed: Vec<usize>,
    listeners: BTreeMap<RawFd, Listening>,
    links: Vec<FakeSocket>,
    descriptors: BTreeMap<RawFd, usize>,
    given: Vec<(BufferId, Group)>,
    /// By their groups.
    posted: [VecDeque<BufferId>; Group::ALL.len()],
    /// Which buffers the shard has given away.
    kernel_has: BufferTable<bool>,
    queued: Vec<Entry>,
    reads: Vec<Reading>,
    done: Vec<Event>,
    notifier: Option<(RawFd, Token)>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("open", &self.descriptors).finish_non_exhaustive()
    }
}

impl Fake {
    pub(crate) fn new(arena: Arc<Arena>, seed: u64, faults: Faults) -> Self {
        let buffers = arena.buffers();
        Self {
            arena,
            random: Random::new(seed),
            faults,
            outside: None,
            asleep: false,
            naps: false,
            prompt: false,
            given_max: usize::MAX,
            waited: Wait::No,
            descriptors_max: usize::MAX,
            never_waits: false,
            breaks: false,
            failed: false,
            left_open: Rc::default(),
            overslept: None,
            delayed: Vec::new(),
            listeners: BTreeMap::new(),
            links: Vec::new(),
            descriptors: BTreeMap::new(),
            given: Vec::new(),
            posted: Default::default(),
            kernel_has: BufferTable::new(buffers, || false),
            queued: Vec::new(),
            reads: Vec::new(),
            done: Vec::new(),
            notifier: None,
        }
    }

    /// A client connects. Its number is for the calls below.
    pub(crate) fn connect(&mut self, listener: RawFd, room: usize) -> usize {
        let client = self.links.len();
        self.links.push(FakeSocket { room, ..FakeSocket::default() });
        self.listeners.entry(listener).or_default().backlog.push_back(client);
        client
    }

    /// As [`connect`](Self::connect), from this address.
    pub(crate) fn connect_from(&mut self, address: Ipv4Addr, listener: RawFd, room: usize) -> usize {
        let client = self.connect(listener, room);
        self.links[client].address = Some(address);
        client
    }

    /// A client sends; to a connection that is closed, that brings a reset.
    pub(crate) fn write(&mut self, client: usize, bytes: &[u8]) {
        let link = &mut self.links[client];
        assert!(!link.client_ended && !link.client_reset, "a client that has ended sends no more");
        if link.closed {
            link.was_reset = true;
            link.outbound.clear();
            return;
        }
        link.inbound.extend(bytes);
        link.written += bytes.len() as u64;
    }

    /// A client reads.
    pub(crate) fn read(&mut self, client: usize, most: usize) -> Vec<u8> {
        let link = &mut self.links[client];
        let count = most.min(link.outbound.len());
        link.taken += count as u64;
        link.outbound.drain(..count).collect()
    }

    /// Gives the socket towards a client another size.
    pub(crate) fn widen(&mut self, client: usize, room: usize) {
        self.links[client].room = room;
    }

    /// Bytes a client could read now.
    pub(crate) fn readable(&self, client: usize) -> usize {
        self.links[client].outbound.len()
    }

    /// Whether a client has read everything there will be.
    pub(crate) fn at_end(&self, client: usize) -> bool {
        let link = &self.links[client];
        link.outbound.is_empty() && (link.write_shut || link.closed || link.was_reset)
    }

    /// Whether the shard has reset a client.
    pub(crate) fn was_reset(&self, client: usize) -> bool {
        self.links[client].was_reset
    }

    /// Whether the shard has closed a connection.
    pub(crate) fn is_closed(&self, client: usize) -> bool {
        self.links[client].closed
    }

    /// A client ends its side.
    pub(crate) fn end(&mut self, client: usize) {
        self.links[client].client_ended = true;
    }

    /// A client is gone.
    pub(crate) fn reset(&mut self, client: usize) {
        let link = &mut self.links[client];
        link.client_reset = true;
        link.inbound.clear();
        link.outbound.clear();
    }

    /// Whether the shard receives from a client at this moment.
    pub(crate) fn receives(&self, client: usize) -> bool {
        self.links[client].receive.is_some()
    }

    /// Whether it does so once, into a buffer of a group.
    pub(crate) fn receives_once(&self, client: usize, group: Group) -> bool {
        let link = &self.links[client];
        link.group == group && link.receive.as_ref().is_some_and(|receive| receive.once.is_some())
    }

    /// Whether the shard watches for a client's end at this moment.
    pub(crate) fn watches(&self, client: usize) -> bool {
        self.links[client].watch.is_some()
    }

    /// Whether a listener accepts at this moment.
    pub(crate) fn accepts(&self, listener: RawFd) -> bool {
        self.listeners.get(&listener).is_some_and(|listening| listening.accept.is_some())
    }

    /// A completion out of the blue.
    pub(crate) fn inject(&mut self, event: Event) {
        self.done.push(event);
    }

    /// Descriptors the shard has and not closed.
    pub(crate) fn open(&self) -> usize {
        self.descriptors.len()
    }

    /// Whether operations are to be begun with the next enter.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Nothing is left behind: no connection, no operation, no completion.
    pub(crate) fn assert_quiet(&self) {
        assert!(self.descriptors.is_empty(), "descriptors {:?} were never closed", self.descriptors.keys());
        assert!(self.queued.is_empty(), "operations were never begun: {:?}", self.queued);
        assert!(self.reads.is_empty(), "reads are under way: {:?}", self.reads);
        let accepts = self.listeners.values().any(|listening| listening.accept.is_some());
        assert!(!accepts, "a listener still accepts");
    }

    /// Notes what a shard does that nothing has woken.
    fn command(&mut self, descriptor: RawFd, what: &'static str) {
        let delayed = self.descriptors.get(&descriptor).is_some_and(|client| self.delayed.contains(client));
        let napped = self.naps && matches!(self.waited, Wait::AtMost(limit) if limit <= NAP);
        if (self.asleep && !napped || delayed) && self.overslept.is_none() {
            self.overslept = Some(what);
        }
    }

    fn link(&mut self, socket: RawFd) -> &mut FakeSocket {
        let client = self.descriptors.get(&socket);
        let client = *client.unwrap_or_else(|| panic!("descriptor {socket} is not open"));
        &mut self.links[client]
    }

    fn finish(&mut self, token: Token, result: i32, more: bool, buffer: Option<Filled>) {
        // Whoever has an event is looked at anyway.
        if !matches!(token.op(), Op::Accept | Op::Notifier | Op::Recall | Op::Ignored) {
            let links = &self.links;
            self.delayed.retain(|client| links[*client].slot != Some(token.slot()));
        }
        self.done.push(Event { token, result, more, buffer, more_at_hand: false });
    }

    /// Begins what is queued, in order.
    fn begin(&mut self) {
        for entry in core::mem::take(&mut self.queued) {
            match entry {
                Entry::Accept { listener, token } => {
                    let listening = self.listeners.entry(listener).or_default();
                    assert!(listening.accept.is_none(), "a second accept on listener {listener}");
                    listening.accept = Some(Multishot { token, once: None, cancelled: false });
                }
                Entry::AcceptLeft { listener, token } => self.accept_who_is_left(listener, token),
                Entry::Receive { socket, token } => self.begin_receive(socket, token, Group::Small, None),
                Entry::ReceiveOnce { socket, token, group, most } => {
                    self.begin_receive(socket, token, group, Some(most));
                }
                Entry::ReceiveAndDiscard { socket, token, most } => self.begin_receive_and_discard(socket, token, most),
                Entry::Send { socket, sending } => self.begin_send(socket, sending),
                Entry::Watch { descriptor, token } => {
                    assert!(self.notifier.is_none(), "a second watch");
                    self.notifier = Some((descriptor, token));
                }
                Entry::WatchEnd { socket, token } => {
                    let link = self.link(socket);
                    assert!(link.watch.is_none(), "a second watch on descriptor {socket}");
                    (link.watch, link.watch_reported) = (Some(Multishot { token, once: None, cancelled: false }), 0);
                }
                Entry::Cancel { target } => self.begin_cancel(target),
                Entry::Read(reading) => self.begin_read(reading),
                Entry::SendFile { socket, job } => self.begin_file(socket, job),
                Entry::AwaitRoom { socket, token, lasting } => self.begin_await_room(socket, token, lasting),
                Entry::Recall { group, token } => self.recall(group, token),
            }
        }
    }

    fn begin_receive(&mut self, socket: RawFd, token: Token, group: Group, once: Option<u32>) {
        let none_posted = self.posted[group as usize].is_empty();
        let link = self.link(socket);
        assert!(link.receive.is_none(), "a second receive on descriptor {socket}");
        if none_posted {
            // The kernel takes a buffer before it looks for bytes.
            return self.finish(token, -libc::ENOBUFS, false, None);
        }
        (link.nowhere, link.group) = (false, group);
        link.receive = Some(Multishot { token, once, cancelled: false });
    }

    fn recall(&mut self, group: Group, token: Token) {
        let Some(buffer) = self.posted[group as usize].pop_front() else {
            return self.finish(token, -libc::ENOBUFS, false, None);
        };
        self.kernel_has[buffer] = false;
        // SAFETY: it was given away (`posted`), and comes back with this completion.
        self.finish(token, 1, false, Some(unsafe { Filled::new(buffer) }));
    }

    fn begin_receive_and_discard(&mut self, socket: RawFd, token: Token, most: u32) {
        let link = self.link(socket);
        assert!(link.receive.is_none(), "a second receive on descriptor {socket}");
        link.nowhere = true;
        link.receive = Some(Multishot { token, once: Some(most), cancelled: false });
    }

    fn begin_send(&mut self, socket: RawFd, mut sending: Sending) {
        assert!(self.link(socket).poll.is_none(), "a send while descriptor {socket} is polled for room");
        if let Some(errno) = self.link(socket).send_error() {
            return self.finish(sending.token, -errno, false, None);
        }
        let whole = sending.bytes.len();
        let limit = if self.random.chance(self.faults.send_refused) {
            0
        } else if self.random.chance(self.faults.send_short) {
            self.random.below(whole)
        } else {
            whole
        };
        take(self.link(socket), &mut sending, limit);
        if sending.sent < whole {
            let result = if sending.sent == 0 { -libc::EAGAIN } else { count(sending.sent) };
            self.finish(sending.token, result, false, None);
        } else {
            let client = self.descriptors[&socket];
            self.links[client].slot = Some(sending.token.slot());
            self.delayed.push(client);
        }
    }

    fn begin_cancel(&mut self, target: Token) {
        if self.cancel_read(target) || self.cancel_file(target) {
            return;
        }
        let late = self.random.chance(self.faults.cancel_late);
        let accepts = self.listeners.values_mut().map(|listening| &mut listening.accept);
        let of_links = self.links.iter_mut().flat_map(|link| [&mut link.receive, &mut link.watch, &mut link.poll]);
        let named = |place: &&mut Option<Multishot>| place.as_ref().is_some_and(|multishot| multishot.token == target);
        let found = accepts.chain(of_links).find(named);
        let Some(place) = found else { return };
        if late {
            place.as_mut().expect("found above").cancelled = true;
        } else {
            *place = None;
            self.finish(target, -libc::ECANCELED, false, None);
        }
    }

    /// Lets what can complete do so; with `all`, nothing is late.
    fn progress(&mut self, all: bool) {
        let mut order: Vec<usize> = self.descriptors.values().copied().collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.random.below(index + 1));
        }
        for client in order {
            let late = !all && self.random.chance(self.faults.late);
            if !late {
                self.progress_receive(client, all);
                self.progress_watch(client, all);
                self.progress_file(client, all);
                self.progress_room(client, all);
            }
        }
        self.progress_reads(all);
        for listener in self.listeners.keys().copied().collect::<Vec<_>>() {
            if all || !self.random.chance(self.faults.late) {
                self.progress_accept(listener, all);
            }
        }
    }

    fn progress_receive(&mut self, client: usize, all: bool) {
        for _ in 0..=self.random.below(3) {
            let Some(Multishot { token, once, cancelled }) = self.links[client].receive.take() else { return };
            let lost = once.is_some() || self.random.chance(self.faults.more_lost);
            let link = &mut self.links[client];
            let (has_input, ended) = (!link.inbound.is_empty(), link.client_ended || link.read_shut);
            if link.client_reset {
                self.finish(token, -libc::ECONNRESET, false, None);
            } else if cancelled && has_input && !self.random.chance(self.faults.cancel_late) {
                // However much there is: a cancel does not wait for it.
                return self.finish(token, -libc::ECANCELED, false, None);
            } else if has_input && !self.links[client].read_shut && self.links[client].nowhere {
                return self.throw_away(client, token, once);
            } else if has_input && !self.links[client].read_shut {
                self.receive_some(client, token, lost, once);
                if lost || self.done.last().is_some_and(|event| !event.more) {
                    return;
                }
                self.links[client].receive = Some(Multishot { token, once, cancelled });
            } else if ended {
                self.finish(token, 0, false, None);
            } else if cancelled && (all || !self.random.chance(self.faults.cancel_late)) {
                self.finish(token, -libc::ECANCELED, false, None);
            } else {
                self.links[client].receive = Some(Multishot { token, once, cancelled });
                return;
            }
        }
    }

    fn progress_watch(&mut self, client: usize, all: bool) {
        let link = &mut self.links[client];
        let (events, reported) = (link.ended(), link.watch_reported);
        let Some(Multishot { token, once, cancelled }) = link.watch.take() else { return };
        if events != reported {
            link.watch_reported = events;
            let more = !self.random.chance(self.faults.more_lost);
            self.links[client].watch = more.then_some(Multishot { token, once, cancelled });
            self.finish(token, events, more, None);
        } else if cancelled && (all || !self.random.chance(self.faults.cancel_late)) {
            self.finish(token, -libc::ECANCELED, false, None);
        } else {
            self.links[client].watch = Some(Multishot { token, once, cancelled });
        }
    }

    fn receive_some(&mut self, client: usize, token: Token, lost: bool, once: Option<u32>) {
        let missing = self.random.chance(self.faults.buffers_missing);
        let posted = &mut self.posted[self.links[client].group as usize];
        let Some(buffer) = posted.front().copied().filter(|_| !missing) else {
            return self.finish(token, -libc::ENOBUFS, false, None);
        };
        posted.pop_front();
        self.kernel_has[buffer] = false;
        let cell_bytes = self.arena.buffer_bytes(buffer);
        let room = once.map_or(cell_bytes, |most| most.min(cell_bytes)) as usize;
        let mut len = room.min(self.links[client].inbound.len());
        if self.random.chance(self.faults.receive_split) {
            len = 1 + self.random.below(len);
        }
        let bytes: Vec<u8> = self.links[client].inbound.drain(..len).collect();
        let offset = self.arena.buffer_offset(buffer);
        // A kernel's writing is not watched; this is.
        #[cfg(ringress_asan)]
        self.arena.open_for_fake(offset, cell_bytes);
        // SAFETY: the shard gave this buffer away and has not had it back: nobody else uses it.
        let place = unsafe { self.arena.write(offset, cell_bytes) };
        // What a buffer held before must not matter.
        place.fill(b'#');
        place[..len].copy_from_slice(&bytes);
        // SAFETY: it was given away (`posted`), and comes back with this completion.
        let filled = unsafe { Filled::new(buffer) };
        self.finish(token, count(len), !lost, Some(filled));
        if let Some(event) = self.done.last_mut() {
            event.more_at_hand = !self.links[client].inbound.is_empty();
        }
    }

    /// A receive that wants nothing takes no buffer.
    fn throw_away(&mut self, client: usize, token: Token, once: Option<u32>) {
        let inbound = self.links[client].inbound.len();
        let mut len = inbound.min(once.map_or(inbound, |most| most as usize));
        if self.random.chance(self.faults.receive_split) {
            len = 1 + self.random.below(len);
        }
        self.links[client].inbound.drain(..len);
        self.finish(token, count(len), false, None);
        if let Some(event) = self.done.last_mut() {
            event.more_at_hand = !self.links[client].inbound.is_empty();
        }
    }

    /// Reports the notifier if it has been rung.
    fn poll_notifier(&mut self) {
        let Some((descriptor, token)) = self.notifier else { return };
        let mut rung = 0_u64;
        // SAFETY: the pointer is that of `rung`, which has the 8 bytes asked for; the shard's notifier is open
        // meanwhile.
        let got = unsafe { libc::read(descriptor, (&raw mut rung).cast(), size_of::<u64>()) };
        if got > 0 {
            let lost = self.random.chance(self.faults.more_lost);
            if lost {
                self.notifier = None;
            }
            self.finish(token, 1, !lost, None);
        }
    }

    /// The shard sleeps: things happen outside until one of them wakes it. `false`: it did not even close its eyes.
    fn sleep(&mut self) -> bool {
        self.progress(true);
        let slept = self.done.is_empty();
        while self.done.is_empty() {
            let outside = self.outside.clone();
            let acted = outside.is_some_and(|outside| outside.borrow_mut().act(self));
            self.poll_notifier();
            self.progress(true);
            if !acted {
                break;
            }
        }
        self.asleep = self.done.is_empty();
        slept
    }
}

fn count(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a send or receive is below 2 GiB")
}
