//! Directed tests of what comes in: buffers, receives, held input, refusals of single requests.

use std::time::Duration;

use super::rig::{Options, Rig, answer, body, read_body, read_prefix, target};
use crate::driver::fake::Faults;
use crate::driver::{Event, Op, Token};
use crate::mem::Group;

fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// With a field of so many bytes.
fn long_get(path: &str, bytes: usize) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "v".repeat(bytes))
}

fn post(path: &str, body: &str) -> String {
    format!("POST /a/{path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_is_answered_and_leaves_nothing_behind() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1"));
    rig.serve();
    let heard = rig.heard(client);
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\nDate: ") && heard.contains(" GMT\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\n[/a/1]"), "{heard}");
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_receive_without_a_buffer_is_armed_again() {
    let faults = Faults { buffers_missing: 500, ..Faults::default() };
    let mut rig = Rig::with(Options { faults, ..Options::default() });
    let client = rig.connect();
    for number in 0..20 {
        rig.say(client, get(&number.to_string()));
        rig.serve();
        assert_eq!(rig.heard_answers(client), [format!("/a/{number}")]);
    }
    assert!(rig.counters.buffers_ran_out.read() > 0);
}

#[test]
fn multishot_operations_that_end_by_themselves_are_armed_again() {
    let faults = Faults { more_lost: 1000, ..Faults::default() };
    let mut rig = Rig::with(Options { faults, ..Options::default() });
    for _ in 0..3 {
        let client = rig.connect();
        for number in 0..3 {
            rig.say(client, get(&number.to_string()));
            rig.serve();
            assert_eq!(rig.heard_answers(client), [format!("/a/{number}")]);
        }
    }
    assert_eq!(rig.counters.connections_accepted.read(), 3);
}

#[test]
fn any_split_of_the_input_gives_the_same_requests() {
    let chunked = "POST /a/3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "2\r\nth\r\n3;x=y\r\nree\r\n0\r\nT: t\r\n\r\n";
    let wire = get("1") + &post("2", "two") + chunked + chunks + &get("4");
    for cut in 1..wire.len() {
        let mut rig = Rig::new();
        let client = rig.connect();
        rig.say(client, &wire[..cut]);
        rig.say(client, &wire[cut..]);
        for expected in ["", "two", "three", ""] {
            let mut lease = rig.claim();
            assert_eq!(body(&mut lease), expected.as_bytes(), "cut at {cut}");
            answer(lease);
            rig.settle();
        }
        assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2", "/a/3", "/a/4"], "cut at {cut}");
        rig.shard.protocol.transport.io.end(client);
        rig.settle();
        rig.assert_idle();
    }
}

#[test]
fn held_input_stops_receiving_and_resumes_in_order() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, post("0", "x"));
    for number in 1..=12 {
        rig.say(client, get(&number.to_string()));
    }
    assert!(!rig.shard.protocol.transport.io.receives(client), "held input beyond the limit stops receiving");
    assert!(
        rig.shard.protocol.dispatch.side().buffers.small.in_use() < 12,
        "what is not received stays with the kernel"
    );
    let first = rig.claim();
    assert!(rig.queue.is_empty(), "what follows an unsafe request waits");
    answer(first);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.receives(client));
    for _ in 1..=12 {
        rig.serve();
    }
    let expected: Vec<String> = (0..=12).map(|number| format!("/a/{number}")).collect();
    assert_eq!(rig.heard_answers(client), expected);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn who_sends_long_bodies_is_received_into_large_buffers_to_the_last_byte_and_beyond() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let long = post("1", &"b".repeat(20_000));
    rig.say(client, &long[..500]);
    assert!(rig.shard.protocol.transport.io.receives_once(client, Group::Large), "the body is long");
    rig.say(client, &long[500..15_000]);
    assert!(rig.shard.protocol.transport.io.receives_once(client, Group::Large), "so is its end");
    rig.say(client, &long[15_000..]);
    rig.serve();
    assert!(rig.shard.protocol.transport.io.receives_once(client, Group::Large), "another one may follow");
    rig.say(client, get("2"));
    rig.serve();
    assert!(!rig.shard.protocol.transport.io.receives_once(client, Group::Large), "which it did not");
    assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2"]);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_second_upload_keeps_to_the_credit_though_it_comes_with_its_head() {
    let credit = 2048;
    let mut rig = Rig::with(Options { body_credit: credit, ..Options::default() });
    let client = rig.connect();
    for round in 0..3 {
        rig.say(client, post("1", &"b".repeat(20_000)));
        let mut lease = rig.claim();
        let mut read = read_prefix(&mut lease);
        read_body(&mut lease, &mut read);
        let here = read.len();
        assert!(round == 0 || (here > 0 && here <= credit as usize), "{here} bytes are there");
        while !read_body(&mut lease, &mut read) {
            rig.settle();
        }
        assert_eq!(read.len(), 20_000);
        answer(lease);
        rig.settle();
    }
    assert_eq!(rig.heard_answers(client).len(), 3);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn with_few_large_buffers_left_long_heads_leave_them() {
    let mut rig = Rig::new();
    let clients: Vec<usize> = (0..14).map(|_| rig.connect()).collect();
    let mut held = Vec::new();
    for client in &clients {
        rig.say(*client, post("1", &"b".repeat(20_000)));
        rig.serve();
        if held.len() < 12 {
            assert!(
                rig.shard.protocol.transport.io.receives_once(*client, Group::Large),
                "another long one may follow"
            );
        }
        rig.say(*client, long_get("2", 1500));
        held.push(rig.claim());
    }
    // Of 16 large buffers twelve may be in use, the one being read among them: the rest is copied out of theirs.
    assert_eq!((rig.shard.protocol.dispatch.side().buffers.large.in_use(), rig.counters.copies.read()), (11, 3));
    held.into_iter().for_each(answer);
    rig.settle();
    for client in clients {
        assert_eq!(rig.heard_answers(client), ["/a/1", "/a/2"]);
        rig.shard.protocol.transport.io.end(client);
    }
    rig.settle();
    rig.assert_idle();
}

#[test]
fn pipelined_requests_in_one_large_buffer_take_no_cells_from_others() {
    let config = crate::config::Config { body_buffers: 4, assembly_buffers: 4, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let clients: Vec<usize> = (0..4).map(|_| rig.connect()).collect();
    for client in &clients {
        rig.say(*client, post("1", &"b".repeat(20_000)));
        rig.serve();
        rig.heard(*client);
    }
    let mut held = Vec::new();
    for client in &clients {
        rig.say(*client, (0..10).map(|number| get(&number.to_string())).collect::<String>());
        held.extend(rig.claim_all());
    }
    let split = rig.connect();
    rig.say(split, "GET /a/1 HT");
    rig.say(split, "TP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(rig.heard(split), "", "there is a cell for a head in pieces");
    held.extend(rig.claim_all());
    held.into_iter().for_each(answer);
    rig.settle();
    for client in clients.into_iter().chain([split]) {
        rig.shard.protocol.transport.io.end(client);
    }
    rig.settle();
    rig.assert_idle();
}

#[test]
fn requests_that_are_under_way_keep_no_receive_buffer() {
    // A head that fits beside its slot, one that does not, one in pieces, and one with its body.
    let few = crate::config::Config { receive_buffers: 16, assembly_buffers: 2, ..Options::default().config };
    let config = crate::config::Config { requests_max: 128, ..few };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let long = long_get("1", 800);
    let split = long.split_at(700);
    let body = post("1", &"b".repeat(700));
    let (mut clients, mut leases) = (Vec::new(), Vec::new());
    for round in 0..60 {
        let client = rig.connect();
        match round % 4 {
            0 => rig.say(client, get("1")),
            1 => rig.say(client, &long),
            2 => rig.say(client, split.0),
            _ => rig.say(client, &body),
        }
        if round % 4 == 2 {
            rig.say(client, split.1);
        }
        leases.push(rig.claim());
        clients.push(client);
    }
    let side = rig.shard.protocol.dispatch.side();
    assert_eq!((side.buffers.small.in_use(), side.buffers.large.in_use(), side.cells.assembly().in_use()), (0, 0, 0));
    assert_eq!((side.in_use(), side.cells.long_head.in_use(), rig.counters.copies.read()), (60, 45, 15));
    for (round, lease) in leases.iter().enumerate() {
        assert_eq!(target(lease), "/a/1");
        let received = String::from_utf8_lossy(lease.received());
        match round % 4 {
            0 => assert_eq!(received, get("1")),
            1 | 2 => assert_eq!(received, long),
            _ => assert_eq!(received, body),
        }
    }
    rig.answer_and_end(leases, clients);
    rig.assert_idle();
}

#[test]
fn a_malformed_request_is_refused_after_the_answers_before_it() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1") + "GET /a/2 HTTP/1.1\r\nHost : h\r\n\r\n" + &get("3"));
    assert_eq!(rig.heard(client), "", "answers keep their order");
    rig.serve();
    let heard = rig.heard(client);
    let second = heard.find("HTTP/1.1 400 ").expect("refused");
    assert!(heard[..second].ends_with("[/a/1]") && heard[second..].contains("Connection: close\r\n"), "{heard}");
    assert!(
        rig.shard.protocol.transport.io.at_end(client) && !rig.shard.protocol.transport.io.is_closed(client),
        "our side is shut, theirs is read on"
    );
    assert!(rig.queue.is_empty());
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_full_queue_refuses_first_requests_and_holds_pipelined_ones() {
    let mut rig = Rig::with(Options { queue_length: 2, ..Options::default() });
    let pipelining = rig.connect();
    rig.say(pipelining, (1..=5).map(|number| get(&number.to_string())).collect::<String>());
    assert_eq!(rig.queue.len(), 2);
    let late = rig.connect();
    rig.say(late, get("6"));
    let heard = rig.heard(late);
    assert!(heard.starts_with("HTTP/1.1 503 ") && !heard.contains("Connection: close"), "{heard}");
    while !rig.queue.is_empty() {
        rig.serve();
    }
    assert_eq!(rig.heard_answers(pipelining), ["/a/1", "/a/2", "/a/3", "/a/4", "/a/5"]);
    rig.say(late, get("7"));
    rig.serve();
    assert_eq!(rig.heard_answers(late), ["/a/7"]);
    assert_eq!(rig.counters.queue_full.read(), 1);
}

/// A shard all of whose slots are with the application; these clients' connections, the first of which has sent the
/// beginning of a head.
fn without_slots() -> (Rig, Vec<usize>) {
    // Two of them are kept back.
    let config = crate::config::Config { requests_max: 18, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let clients: Vec<usize> = (0..=16).map(|_| rig.connect()).collect();
    rig.say(clients[0], "GET /a/2 HT");
    clients[1..].iter().for_each(|client| rig.say(*client, get("1")));
    (rig, clients)
}

#[test]
fn without_a_slot_requests_wait_for_one_in_turn() {
    let (mut rig, mut clients) = without_slots();
    let mut leases = rig.claim_all();
    assert_eq!(leases.len(), 16);
    let (in_pieces, whole) = (clients[0], rig.connect());
    rig.say(in_pieces, "TP/1.1\r\nHost: h\r\n\r\n");
    rig.say(whole, get("3") + &get("4"));
    assert!(rig.queue.is_empty() && rig.heard(in_pieces).is_empty() && rig.heard(whole).is_empty());
    for (client, number) in [(in_pieces, "2"), (whole, "3")] {
        leases.pop().map(answer).expect("sixteen");
        rig.settle();
        rig.serve();
        assert_eq!(rig.heard_answers(client), [format!("/a/{number}")], "who came first is served first");
    }
    rig.serve();
    assert_eq!(rig.heard_answers(whole), ["/a/4"]);
    leases.into_iter().for_each(answer);
    clients.push(whole);
    clients.into_iter().for_each(|client| rig.shard.protocol.transport.io.end(client));
    rig.settle();
    rig.assert_idle();
}

#[test]
fn who_finds_no_slot_in_all_its_time_is_told_to_come_back() {
    let (mut rig, mut clients) = without_slots();
    let leases = rig.claim_all();
    let (unlucky, gone) = (rig.connect(), rig.connect());
    rig.say(unlucky, get("2") + "GET /a/3 HTT");
    rig.say(gone, get("2"));
    rig.pass(Duration::from_secs(100));
    assert_eq!(rig.heard(unlucky), "", "it waits no longer than it would for a consumer");
    rig.shard.protocol.transport.io.reset(gone);
    rig.settle();
    rig.pass(Duration::from_secs(30));
    let heard = rig.heard(unlucky);
    assert_eq!(heard.matches("HTTP/1.1 503 ").count(), 1, "{heard}");
    assert!(rig.shard.protocol.transport.io.at_end(unlucky), "the connection ends after the refusal");
    let in_pieces = rig.heard(clients[0]);
    assert!(
        in_pieces.starts_with("HTTP/1.1 503 "),
        "a head that does not end has no slot to be refused in: {in_pieces}"
    );
    assert_eq!(rig.counters.requests_refused.read(), 2);
    leases.into_iter().for_each(answer);
    rig.settle();
    // There are slots again: what is left of the refused one's input must not become a request.
    rig.say(unlucky, "P/1.1\r\nHost: h\r\n\r\n");
    assert!(rig.claim_all().len() <= 1, "a refused request is not delivered");
    clients.push(unlucky);
    clients.into_iter().for_each(|client| rig.shard.protocol.transport.io.end(client));
    rig.settle();
    rig.claim_all();
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_before_it_sends_its_body() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let mut lease = rig.claim();
    assert_eq!(rig.heard(client), "", "nobody has asked for the body");
    lease.ask_for_body();
    rig.settle();
    assert_eq!(rig.heard(client), "HTTP/1.1 100 Continue\r\n\r\n");
    lease.ask_for_body();
    rig.say(client, "abc");
    assert_eq!(body(&mut lease), b"abc");
    answer(lease);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/1"], "and it is said once");
}

#[test]
fn stale_completions_are_dropped_and_counted() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    let again = rig.connect();
    let stale =
        |op, result| Event { token: Token::new(op, 1, 0), result, more: false, buffer: None, more_at_hand: false };
    rig.shard.protocol.transport.io.inject(stale(Op::Receive, 0));
    rig.shard.protocol.transport.io.inject(stale(Op::Send, -libc::EPIPE));
    rig.settle();
    assert_eq!(rig.counters.completions_stale.read(), 2);
    rig.say(again, get("1"));
    rig.serve();
    assert_eq!(rig.heard_answers(again), ["/a/1"], "the connection that has the slot now is untouched");
}

#[test]
fn a_head_that_does_not_end_in_time_is_answered_408() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /a/1 HTTP/1.1\r\nHo");
    rig.pass(Duration::from_secs(119));
    assert_eq!(rig.heard(client), "");
    rig.pass(Duration::from_secs(2));
    assert!(rig.heard(client).starts_with("HTTP/1.1 408 "));
    assert!(rig.shard.protocol.transport.io.at_end(client));
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_head_behind_a_refused_one_has_its_deadline_too() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /none/1 HTTP/1.1\r\nHo");
    rig.say(client, "st: h\r\n\r\nGET /a/2 HTTP");
    assert!(rig.heard(client).starts_with("HTTP/1.1 404 "));
    rig.pass(Duration::from_secs(240));
    assert!(rig.heard(client).starts_with("HTTP/1.1 408 "), "a slow client holds its connection for ever");
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, get("1"));
    rig.serve();
    rig.heard(client);
    rig.pass(Duration::from_secs(121));
    assert!(rig.heard(client).is_empty() && rig.shard.protocol.transport.io.is_closed(client));
    rig.assert_idle();
}
