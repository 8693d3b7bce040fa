//! Directed tests of requests that make room: what one client has in a queue and no consumer has claimed is refused for
//! clients that have less, oldest first, and nothing while nobody else comes.

use std::net::Ipv4Addr;

use super::rig::{Options, Rig, answer, target};
use crate::config::Config;
use crate::driver::fake::Random;
use crate::peers::Network;
use crate::policy::Properties;

const GREEDY: u8 = 66;
/// Requests that the queue takes.
const LENGTH: u32 = 8;
/// So many slots are kept back of sixteen.
const RESERVE: usize = 2;
const FOR_ALL: usize = 16 - RESERVE;
/// Begins a body, of which nothing comes.
const UPLOAD: &str = "POST /a/greedy HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n";

fn with(queue_length: u32, config: Config) -> Rig {
    let config = Config { requests_max: 16, pipeline_max: 64, ..config };
    Rig::with(Options { config, queue_length, ..Options::default() })
}

fn short_queue() -> Rig {
    with(LENGTH, Options::default().config)
}

fn long_queue() -> Rig {
    with(1000, Options::default().config)
}

fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A client of an address with a request.
fn ask(rig: &mut Rig, last: u8, path: &str) -> usize {
    let client = rig.connect_from(last);
    rig.say(client, get(path));
    client
}

/// So many connections of one client, each with a request.
fn crowd(rig: &mut Rig, count: usize) -> Vec<usize> {
    (0..count).map(|number| ask(rig, GREEDY, &format!("greedy/{number}"))).collect()
}

fn answer_all(rig: &mut Rig) {
    while !rig.queue.is_empty() {
        rig.claim_all().into_iter().for_each(answer);
        rig.settle();
    }
}

/// The status codes that a client has heard.
fn statuses(rig: &mut Rig, client: usize) -> Vec<String> {
    let heard = rig.heard(client);
    heard.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].to_owned()).collect()
}

fn refused(rig: &Rig) -> (u64, u64) {
    (rig.counters.share_refusals.read(), rig.counters.queue_full.read())
}

#[track_caller]
fn everybody_leaves(mut rig: Rig, clients: impl IntoIterator<Item = usize>) {
    clients.into_iter().for_each(|client| rig.shard.protocol.transport.io.reset(client));
    rig.settle();
    rig.claim_all().into_iter().for_each(drop);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_queue_that_one_client_has_filled_takes_another_ones_in_place_of_its_oldest() {
    let mut rig = short_queue();
    let greedy = crowd(&mut rig, LENGTH as usize);
    // Its own further ones find the queue full.
    let more = ask(&mut rig, GREEDY, "more");
    assert_eq!((statuses(&mut rig, more), refused(&rig)), (vec!["503".to_owned()], (0, 1)));
    let newcomers: Vec<usize> = (1..=3).map(|last| ask(&mut rig, last, "new")).collect();
    assert_eq!((rig.queue.len(), refused(&rig)), (u64::from(LENGTH), (3, 1)));
    for client in &greedy[..3] {
        let heard = rig.heard(*client);
        assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("\r\nRetry-After: 1\r\n"), "{heard}");
    }
    answer_all(&mut rig);
    assert!(newcomers.iter().all(|client| rig.heard_answers(*client) == ["/a/new"]));
    assert!(greedy[3..].iter().all(|client| rig.heard_answers(*client).len() == 1));
    // The connections of those that were refused go on.
    rig.say(greedy[0], get("again"));
    answer_all(&mut rig);
    assert_eq!(rig.heard_answers(greedy[0]), ["/a/again"]);
    assert_eq!(rig.counters.requests_rejected.read(), 3);
    everybody_leaves(rig, greedy.into_iter().chain(newcomers).chain([more]));
}

#[test]
fn what_is_pipelined_makes_room_and_is_answered_in_order() {
    let mut rig = short_queue();
    let greedy = rig.connect_from(GREEDY);
    rig.say(greedy, (0..20).map(|number| get(&number.to_string())).collect::<String>());
    assert_eq!(rig.queue.len(), u64::from(LENGTH));
    let first = rig.claim();
    let newcomers = [1, 2].map(|last| ask(&mut rig, last, "new"));
    // One finds the place of what was claimed, if the greedy client's next does not; the others make room.
    let order: Vec<String> = rig.claim_all().into_iter().map(|lease| (target(&lease), answer(lease)).0).collect();
    assert_eq!(order.iter().filter(|path| *path == "/a/new").count(), 2, "{order:?}");
    answer(first);
    rig.settle();
    answer_all(&mut rig);
    assert!(newcomers.iter().all(|client| rig.heard_answers(*client) == ["/a/new"]));
    let heard = statuses(&mut rig, greedy);
    let (shared, full) = refused(&rig);
    assert_eq!((heard.len(), heard[0].as_str(), full), (20, "200", 0), "{heard:?}");
    assert_eq!(heard.iter().filter(|status| *status == "503").count() as u64, shared);
    assert!(shared > 0 && heard[1] == "503", "the oldest that nobody has claimed: {heard:?}");
    everybody_leaves(rig, newcomers.into_iter().chain([greedy]));
}

#[test]
fn a_request_with_a_body_gets_a_place_whichever_way_it_comes() {
    let whole = Config { properties: Properties::new().deliver_when_whole(3_000), ..Options::default().config };
    for config in [Options::default().config, whole] {
        for framing in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            for cut in [0, 1, 20, 50] {
                let mut rig = with(LENGTH, config.clone());
                let greedy = crowd(&mut rig, LENGTH as usize);
                let text = format!("POST /a/new HTTP/1.1\r\nHost: h\r\n{framing}");
                let newcomer = rig.connect_from(1);
                let (one, other) = text.split_at(cut);
                rig.say(newcomer, one);
                rig.say(newcomer, other);
                assert_eq!(refused(&rig), (1, 0), "{framing} cut at {cut}");
                answer_all(&mut rig);
                assert_eq!(rig.heard_answers(newcomer), ["/a/new"]);
                everybody_leaves(rig, greedy.into_iter().chain([newcomer]));
            }
        }
    }
}

#[test]
fn clients_that_have_as_much_do_not_take_turns() {
    let mut rig = short_queue();
    let mut clients = crowd(&mut rig, 4);
    clients.extend((0..4).map(|_| ask(&mut rig, 1, "other")));
    // One more would have five, and the greedy one three.
    clients.push(ask(&mut rig, 1, "other"));
    assert_eq!(refused(&rig), (0, 1));
    clients.extend((2..=5).map(|last| ask(&mut rig, last, "new")));
    assert_eq!(refused(&rig), (4, 1), "each of these has less than both");
    let paths: Vec<String> = rig.claim_all().into_iter().map(|lease| (target(&lease), answer(lease)).0).collect();
    let left = |begin: &str| paths.iter().filter(|path| path.starts_with(begin)).count();
    // By powers of two of how much each has.
    assert_eq!((left("/a/greedy"), left("/a/other"), left("/a/new")), (1, 3, 4), "{paths:?}");
    rig.settle();
    everybody_leaves(rig, clients);
}

#[test]
fn newcomers_get_slots_of_those_that_wait_in_queues_when_the_reserve_is_lent() {
    for pipelines in [false, true] {
        let mut rig = long_queue();
        let greedy = match pipelines {
            false => crowd(&mut rig, 20),
            true => {
                let client = rig.connect_from(GREEDY);
                rig.say(client, get("greedy").repeat(20));
                vec![client]
            }
        };
        assert_eq!(rig.queue.len(), FOR_ALL as u64);
        // Those for whom there is the reserve, and others.
        let newcomers: Vec<usize> = (1..=12).map(|last| ask(&mut rig, last, "new")).collect();
        rig.pass(std::time::Duration::from_millis(500));
        assert_eq!(refused(&rig), (10, 0), "as many as found none");
        let paths: Vec<String> = rig.claim_all().into_iter().map(|lease| (target(&lease), answer(lease)).0).collect();
        assert_eq!(paths.iter().filter(|path| *path == "/a/new").count(), 12, "{paths:?}");
        rig.settle();
        assert!(newcomers.iter().all(|client| rig.heard_answers(*client) == ["/a/new"]));
        answer_all(&mut rig);
        rig.pass(std::time::Duration::from_millis(100));
        answer_all(&mut rig);
        let heard: usize = greedy.iter().map(|client| statuses(&mut rig, *client).len()).sum();
        assert_eq!(heard, 20, "each is told something");
        everybody_leaves(rig, greedy.into_iter().chain(newcomers));
    }
}

#[test]
fn what_a_consumer_has_claimed_is_left_alone() {
    let mut rig = long_queue();
    let greedy = crowd(&mut rig, 20);
    let mut leases = rig.claim_all();
    assert_eq!(leases.len(), FOR_ALL);
    let newcomers: Vec<usize> = (1..=5).map(|last| ask(&mut rig, last, "new")).collect();
    rig.pass(std::time::Duration::from_millis(500));
    assert_eq!((refused(&rig), rig.queue.len()), ((0, 0), RESERVE as u64), "they wait");
    // What comes back is for those that wait.
    answer(leases.remove(0));
    rig.settle();
    assert_eq!((refused(&rig), rig.queue.len()), ((0, 0), RESERVE as u64 + 1));
    leases.into_iter().for_each(answer);
    rig.settle();
    answer_all(&mut rig);
    assert!(newcomers.iter().all(|client| rig.heard_answers(*client) == ["/a/new"]));
    assert_eq!(refused(&rig), (0, 0));
    everybody_leaves(rig, greedy.into_iter().chain(newcomers));
}

#[test]
fn who_asks_often_has_no_more_than_it_has_at_a_time() {
    let config = Config { requests_max: 64, pipeline_max: 64, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let greedy = rig.connect_from(GREEDY);
    rig.say(greedy, get("greedy").repeat(60));
    // All that are kept back but one.
    let mut clients: Vec<usize> = (1..=7).map(|last| ask(&mut rig, last, "kept")).collect();
    let leases = rig.claim_all();
    assert_eq!(leases.len(), 56 + 7);
    let (often, other) = (rig.connect_from(8), rig.connect_from(9));
    for _ in 0..20 {
        rig.say(often, get("often"));
        rig.say(other, get("other"));
        for _ in 0..2 {
            // Who has had its share in this tick is looked at again in the next one.
            if rig.queue.is_empty() {
                rig.pass(std::time::Duration::from_millis(64));
            }
            rig.serve();
        }
        assert_eq!(rig.heard_answers(often), ["/a/often"]);
        assert_eq!(rig.heard_answers(other), ["/a/other"]);
    }
    assert_eq!(refused(&rig), (0, 0));
    drop(leases);
    clients.extend([greedy, often, other]);
    everybody_leaves(rig, clients);
}

#[test]
fn bodies_that_wait_for_a_promise_give_their_slots_up_for_newcomers() {
    let properties = Properties::new().deliver_when_whole(3_000);
    let mut rig = with(1000, Config { properties, body_buffers: 8, ..Options::default().config });
    let greedy: Vec<usize> = (0..FOR_ALL).map(|_| rig.connect_from(GREEDY)).collect();
    greedy.iter().for_each(|client| rig.say(*client, UPLOAD));
    assert_eq!((rig.shard.protocol.dispatch.side().in_use(), rig.queue.len()), (FOR_ALL, 0));
    let newcomers: Vec<usize> = (1..=6).map(|last| ask(&mut rig, last, "new")).collect();
    rig.pass(std::time::Duration::from_millis(128));
    assert_eq!((rig.queue.len(), refused(&rig)), (6, (4, 0)), "as many as found none");
    let heard: Vec<String> = greedy.iter().map(|client| rig.heard(*client)).filter(|heard| !heard.is_empty()).collect();
    assert_eq!(heard.len(), 4);
    for heard in heard {
        assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    }
    answer_all(&mut rig);
    assert!(newcomers.iter().all(|client| rig.heard_answers(*client) == ["/a/new"]));
    assert_eq!(rig.counters.timeouts.read() + rig.counters.bodies_evicted.read(), 0);
    everybody_leaves(rig, greedy.into_iter().chain(newcomers));
}

#[test]
fn what_waits_behind_a_claimed_request_gives_its_slot_up_from_the_end() {
    for awaits_whole in [false, true] {
        let properties = Properties::new().deliver_when_whole(3_000);
        let mut rig = with(1000, Config { properties, body_buffers: 4, ..Options::default().config });
        let [uploads, greedy] = [0, 1].map(|_| rig.connect_from(GREEDY));
        let behind = match awaits_whole {
            true => {
                // This one has the promise.
                rig.say(uploads, UPLOAD);
                get("greedy").repeat(FOR_ALL - 2) + UPLOAD
            }
            false => get("greedy").repeat(FOR_ALL + 6),
        };
        rig.say(greedy, behind);
        assert_eq!(rig.shard.protocol.dispatch.side().in_use(), FOR_ALL);
        let first = rig.claim();
        let newcomers: Vec<usize> = (1..=4).map(|last| ask(&mut rig, last, "new")).collect();
        rig.pass(std::time::Duration::from_millis(128));
        assert_eq!((refused(&rig), rig.heard(greedy)), ((2, 0), String::new()), "as many as found none");
        let leases = rig.claim_all();
        assert_eq!(leases.iter().filter(|lease| target(lease) == "/a/new").count(), 4);
        leases.into_iter().for_each(answer);
        answer(first);
        rig.settle();
        assert!(newcomers.iter().all(|client| rig.heard_answers(*client) == ["/a/new"]));
        let heard = statuses(&mut rig, greedy);
        let served = FOR_ALL - if awaits_whole { 3 } else { 2 };
        assert_eq!(heard, [vec!["200"; served], vec!["503"]].concat(), "each is told something, and the last the end");
        assert!(rig.shard.protocol.transport.io.at_end(greedy));
        everybody_leaves(rig, newcomers.into_iter().chain([greedy, uploads]));
    }
}

#[test]
fn a_head_behind_a_request_of_its_own_that_finds_no_slot_in_time_is_told_so() {
    let properties = Properties::new().request_queue(std::time::Duration::from_secs(5));
    let mut rig = with(1000, Config { properties, ..Options::default().config });
    let client = ask(&mut rig, GREEDY, "first");
    rig.say(client, "GET /a/second HTTP/1.1\r\nHo");
    let crowd = crowd(&mut rig, FOR_ALL - 1);
    let mut leases = rig.claim_all();
    assert_eq!(leases.len(), FOR_ALL);
    rig.say(client, "st: h\r\n\r\n");
    rig.pass(std::time::Duration::from_secs(6));
    assert_eq!(rig.heard(client), "", "in its turn");
    answer(leases.remove(0));
    rig.settle();
    assert_eq!(statuses(&mut rig, client), ["200", "503"]);
    assert!(rig.shard.protocol.transport.io.at_end(client));
    assert_eq!((rig.counters.timeouts.read(), rig.counters.requests_overloaded.read()), (0, 1));
    drop(leases);
    everybody_leaves(rig, crowd.into_iter().chain([client]));
}

#[test]
fn connections_of_a_trusted_proxy_make_room_for_each_other() {
    let proxies = Network::new(Ipv4Addr::new(10, 0, 0, GREEDY).into(), 32).expect("a network");
    let mut rig = with(LENGTH, Config { trusted_proxies: vec![proxies], ..Options::default().config });
    let greedy = rig.connect_from(GREEDY);
    rig.say(greedy, get("greedy").repeat(LENGTH as usize));
    let others: Vec<usize> = (0..3).map(|_| ask(&mut rig, GREEDY, "other")).collect();
    assert_eq!(refused(&rig), (3, 0));
    answer_all(&mut rig);
    assert!(others.iter().all(|client| rig.heard_answers(*client) == ["/a/other"]));
    everybody_leaves(rig, others.into_iter().chain([greedy]));
}

#[test]
fn a_queue_that_was_shortened_refuses_newcomers_and_nothing_that_waits() {
    let mut rig = short_queue();
    let greedy = crowd(&mut rig, LENGTH as usize);
    rig.queue.set_length_max(4);
    let newcomer = ask(&mut rig, 1, "new");
    assert_eq!((statuses(&mut rig, newcomer), refused(&rig)), (vec!["503".to_owned()], (0, 1)));
    everybody_leaves(rig, greedy.into_iter().chain([newcomer]));
}

#[test]
fn while_nobody_else_comes_nothing_is_limited_but_by_the_reserve() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (length, pipeline) = ([4, 8, 1000][random.below(3)], 1 + random.below(8));
        let mut rig = with(length, Options::default().config);
        let clients: Vec<usize> = (0..=random.below(20)).map(|_| rig.connect_from(GREEDY)).collect();
        for client in &clients {
            rig.say(*client, get("x").repeat(1 + random.below(pipeline)));
            if random.chance(300) {
                rig.serve();
            }
        }
        let waits = !rig.shard.protocol.transport.waiting.is_empty();
        let in_use = rig.shard.protocol.dispatch.side().in_use();
        assert!(!waits || in_use == FOR_ALL, "seed {seed}: somebody waits beside {in_use}");
        assert!(rig.counters.queue_full.read() == 0 || length < 1000, "seed {seed}");
        assert_eq!(rig.counters.share_refusals.read(), 0, "seed {seed}");
        everybody_leaves(rig, clients);
    }
}

#[test]
fn what_was_in_use_before_makes_it_no_dearer_to_see_who_has_most() {
    let config = Config { requests_max: 512, pipeline_max: 64, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let rush: Vec<usize> = (1..49).map(|last| rig.connect_from(last)).collect();
    rush.iter().for_each(|client| rig.say(*client, get("rush").repeat(5)));
    answer_all(&mut rig);
    let used = rig.shard.protocol.dispatch.side().count_used();
    rig.queue.set_length_max(2 * LENGTH);
    let greedy = rig.connect_from(GREEDY);
    rig.say(greedy, get("greedy").repeat(2 * LENGTH as usize));
    let (counts, delivered) = (rig.shard.protocol.dispatch.counts_of_slots(), rig.counters.requests_delivered.read());
    let newcomers = &rush[..2 * LENGTH as usize - 1];
    newcomers.iter().for_each(|client| rig.say(*client, get("new")));
    assert_eq!(refused(&rig), (newcomers.len() as u64, 0), "each has got a place");
    let looks = (rig.shard.protocol.dispatch.counts_of_slots() - counts) as usize * used;
    let delivered = usize::try_from(rig.counters.requests_delivered.read() - delivered).expect("a few");
    assert!(
        used == 240 && looks <= 64 * delivered + 2 * used,
        "{looks} looks at {used} slots for {delivered} requests"
    );
    everybody_leaves(rig, rush.into_iter().chain([greedy]));
}

#[test]
fn who_is_to_be_told_may_be_gone_with_its_slot() {
    let mut rig = long_queue();
    let clients = crowd(&mut rig, FOR_ALL);
    answer_all(&mut rig);
    let protocol = &mut rig.shard.protocol;
    let last = protocol.dispatch.side().slots_used().last().expect("works in tests");
    // It has gone, and a window in which nothing was used is over, before the turn comes to it.
    protocol.give_memory_back();
    protocol.displaced.push(last);
    protocol.give_memory_back();
    assert!(rig.shard.protocol.dispatch.side().slots_used().all(|slot| slot != last));
    everybody_leaves(rig, clients);
}
