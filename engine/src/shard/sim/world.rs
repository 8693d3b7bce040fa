//! Everything outside the shard: clients that come and go, and the application.

use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use super::app::App;
use super::client::{Choice, Client, Seen};
use super::rig::Rig;
use super::script;
use crate::counters::{Counter, RequestCounters, ShardCounters};
use crate::driver::fake::{Fake, Outside, Random};
use crate::proxied::ProxyProtocol;

/// Clients there are at a time, at most.
const CLIENTS_AT_ONCE: usize = 8;

/// See the module's head.
pub(super) struct World {
    pub(super) random: Random,
    pub(super) app: App,
    pub(super) clients: Vec<Client>,
    pub(super) tight: bool,
    /// Clients still to come.
    pub(super) to_come: usize,
    /// The application cannot act now: its thread is the one that is inside the shard.
    pub(super) app_waits: bool,
    pub(super) seed: u64,
    pub(super) listener: RawFd,
    /// What proxies say of connections is drawn by this, and whether they say something of each.
    pub(super) proxies: (Random, ProxyProtocol),
    /// Which addresses clients come from.
    pub(super) addresses: Random,
    /// The last request number given out.
    pub(super) number: u32,
}

/// Something that could happen next.
enum Act {
    Connect,
    Client(usize, Choice),
    Claim,
    Answer,
    Release,
    Stream,
}

/// What a proxy says of a connection.
fn header(random: &mut Random) -> Vec<u8> {
    let client = random.below(4);
    let v2 = |command: u8, rest: &[u8]| {
        let family = if rest.is_empty() { 0 } else { 0x11 };
        let len = u8::try_from(rest.len()).expect("short");
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family, 0, len], rest].concat()
    };
    match random.below(5) {
        0 => b"PROXY UNKNOWN\r\n".to_vec(),
        1 => v2(0x20, &[]),
        2 => v2(0x21, &[192, 0, 2, 1, 192, 0, 2, 9, 1, 1, 0, 80, 2, 0, 1, b'h']),
        _ => format!("PROXY TCP4 192.0.2.{client} 192.0.2.9 1 80\r\n").into_bytes(),
    }
}

impl World {
    /// Nobody is there, and nobody is to come.
    pub(super) fn new(random: Random, seed: u64, rig: &Rig, proxy: ProxyProtocol) -> Self {
        Self {
            random,
            app: App::new(seed, rig.queue.clone(), rig.exchange.clone()),
            clients: Vec::new(),
            tight: false,
            to_come: 0,
            app_waits: false,
            seed,
            listener: rig.listener,
            proxies: (Random::new(seed ^ 0x9f), proxy),
            addresses: Random::new(seed ^ 0x1b),
            number: 0,
        }
    }

    fn options(&mut self, fake: &Fake) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut here = 0;
        for (index, client) in self.clients.iter().enumerate() {
            here += usize::from(!client.is_over());
            acts.extend(client.options(fake).map(|option| Act::Client(index, option)));
        }
        if self.to_come > 0 && here < CLIENTS_AT_ONCE {
            acts.push(Act::Connect);
        }
        if !self.app_waits {
            let (claim, answers, releases, streams) = self.app.options();
            let possible = [
                (claim, Act::Claim),
                (!answers.is_empty(), Act::Answer),
                (releases > 0, Act::Release),
                (streams, Act::Stream),
            ];
            acts.extend(possible.into_iter().filter(|(possible, _)| *possible).map(|(_, act)| act));
        }
        acts
    }

    fn connect(&mut self, fake: &mut Fake) {
        self.to_come -= 1;
        let mut script = script::draw(&mut self.random, &mut self.number);
        let (random, protocol) = &mut self.proxies;
        let is_proxied = match protocol {
            ProxyProtocol::Off => false,
            ProxyProtocol::Optional => random.chance(700),
            ProxyProtocol::Required => true,
        };
        if is_proxied {
            script = script.behind(header(random), 1 + random.below(40));
        }
        let address = Ipv4Addr::new(10, 0, 0, u8::try_from(self.addresses.below(3)).expect("a few"));
        let peer = fake.connect_from(address, self.listener, script.room);
        self.clients.push(Client::new(peer, self.seed, self.tight, script));
    }

    /// No more clients come, and those who do not read make up their minds.
    pub(super) fn hurry(&mut self, fake: &mut Fake) {
        self.to_come = 0;
        for client in &mut self.clients {
            client.hurry(fake, &mut self.random);
        }
    }

    /// The engine begins to stop: nobody new gets in.
    pub(super) fn expect_stop(&mut self, fake: &mut Fake) {
        self.hurry(fake);
        self.clients.iter_mut().for_each(Client::expect_stop);
    }

    /// The application has kept its thread, which is the shard's, for so long that every timer may be over. Fair for
    /// whom one runs; not for those who have sent what they are answered for, whether that waits in the kernel, behind
    /// it or at the application.
    pub(super) fn pass_time(&mut self, fake: &mut Fake) {
        let late = self.clients.iter_mut().filter(|client| !client.is_owed_only(fake));
        late.for_each(Client::may_be_late);
        fake.prompt = true;
    }

    /// The kernel was entered after that: what it had, but had no buffer for, may be late.
    pub(super) fn excuse_unheard(&mut self, fake: &Fake) {
        let unheard = self.clients.iter_mut().filter(|client| client.is_unheard(fake));
        unheard.for_each(Client::may_be_late);
    }

    /// What clients and the application have seen is what was counted. A client may be gone before it has read what its
    /// socket had taken.
    pub(super) fn assert_counted(&self, queue: &RequestCounters, counters: &ShardCounters) {
        let seen = |kind: Seen| self.clients.iter().map(|client| client.seen(kind)).sum::<u64>();
        let engine_made = [&counters.requests_refused, &counters.requests_rejected, &counters.requests_timed_out];
        let refusals = engine_made.into_iter().map(Counter::read).sum();
        // A stream whose length was said is whole for its client before the application ends it.
        let answers = queue.answered + queue.unsent + queue.aborted + queue.cancelled + queue.timed_out;
        let counted = [(Seen::Answer, answers), (Seen::Dropped, queue.abandoned), (Seen::Refusal, refusals)];
        for (kind, counted) in counted {
            assert!(seen(kind) <= counted, "{kind:?}: {} seen, {counted} counted; {queue:?}", seen(kind));
        }
        assert!(
            queue.answered + queue.unsent + queue.truncated <= self.app.given,
            "{} given; {queue:?}",
            self.app.given
        );
        assert!(queue.ended() == queue.delivered, "{queue:?}");
    }

    /// Every client goes.
    pub(super) fn finish(&mut self, fake: &mut Fake) {
        self.to_come = 0;
        for client in &mut self.clients {
            client.finish(fake, &mut self.random);
        }
    }
}

impl Outside for World {
    fn act(&mut self, fake: &mut Fake) -> bool {
        let mut acts = self.options(fake);
        if acts.is_empty() {
            return false;
        }
        let random = &mut self.random;
        match acts.swap_remove(random.below(acts.len())) {
            Act::Connect => self.connect(fake),
            Act::Client(index, option) => self.clients[index].act(option, fake, random),
            Act::Claim => self.app.claim(random),
            Act::Stream => self.app.stream_on(random),
            Act::Answer => {
                let pending = self.app.options().1;
                self.app.go_on(pending[random.below(pending.len())], random);
            }
            Act::Release => {
                let index = random.below(self.app.options().2);
                self.app.release(index);
            }
        }
        true
    }
}
