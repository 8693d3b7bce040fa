//! Directed tests of heads and trailer sections in pieces, and of who gives up a cell for them.

use std::time::Duration;

use super::rig::{Options, Rig, answer, body};
use crate::config::Config;
use crate::policy::Properties;
use crate::queue::BodyState;

/// Longer than a head has to grow.
const A_WHILE: Duration = Duration::from_millis(200);
/// Bytes that no fragment holds.
const LONG: usize = 400;
/// ... nor the cell of a long head.
const LONGEST: usize = 2000;

/// A shard with so many assembly buffers for heads, and as many for requests.
fn with_cells(each: u32) -> Rig {
    let config = Config { assembly_buffers: 2 * each, ..Options::default().config };
    Rig::with(Options { config, ..Options::default() })
}

/// The two pieces of a long head, of which the first needs an assembly buffer.
fn long(number: usize) -> (String, &'static str) {
    (format!("GET /a/{number} HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(LONG)), "\r\n\r\n")
}

impl Rig {
    fn cells_in_use(&self) -> (u64, u64) {
        let cells = &self.shard.protocol.dispatch.side().cells;
        (cells.fragment.in_use(), cells.assembly().in_use())
    }

    #[track_caller]
    fn end_all(mut self, clients: impl IntoIterator<Item = usize>) {
        for client in clients {
            if !self.shard.protocol.transport.io.is_closed(client) {
                self.shard.protocol.transport.io.end(client);
            }
        }
        self.settle();
        self.assert_idle();
    }
}

#[test]
fn short_heads_in_pieces_take_no_assembly_buffer_from_others() {
    let mut rig = with_cells(1);
    let holder = rig.connect();
    rig.say(holder, long(0).0);
    let clients: Vec<usize> = (0..30).map(|_| rig.connect()).collect();
    for (number, client) in clients.iter().enumerate() {
        rig.say(*client, "G");
        rig.say(*client, format!("ET /a/{number} HTTP/1.1\r\nHo"));
    }
    assert_eq!(rig.cells_in_use(), (30, 1));
    for (number, client) in clients.iter().enumerate() {
        rig.say(*client, "st: h\r\n\r\n");
        rig.serve();
        assert_eq!(rig.heard_answers(*client), [format!("/a/{number}")]);
    }
    rig.say(holder, long(0).1);
    rig.serve();
    assert_eq!(rig.heard_answers(holder), ["/a/0"]);
    assert_eq!((rig.counters.heads_evicted.read(), rig.counters.requests_refused.read()), (0, 0));
    rig.end_all(clients.into_iter().chain([holder]));
}

#[test]
fn a_head_grows_out_of_its_fragment_however_it_is_split() {
    let (begun, rest) = long(1);
    let whole = begun + rest;
    for at in [1, 20, 255, 256, 257, whole.len() - 1] {
        for piece in [1, 7, 300] {
            let mut rig = with_cells(1);
            let client = rig.connect();
            rig.say(client, &whole[..at]);
            for piece in whole.as_bytes()[at..].chunks(piece) {
                rig.say(client, piece);
            }
            let lease = rig.claim();
            assert_eq!(lease.received(), whole.as_bytes(), "split at {at}");
            answer(lease);
            rig.settle();
            assert_eq!((rig.heard_answers(client), rig.cells_in_use()), (vec!["/a/1".to_owned()], (0, 0)));
            rig.end_all([client]);
        }
    }
}

#[test]
fn the_head_that_has_not_grown_for_longest_is_given_up_for_one_that_comes() {
    let mut rig = with_cells(2);
    let clients: Vec<usize> = (0..3).map(|_| rig.connect()).collect();
    rig.say(clients[0], long(0).0);
    rig.pass(A_WHILE);
    rig.say(clients[1], long(1).0);
    rig.pass(A_WHILE);
    rig.say(clients[0], "a");
    rig.say(clients[2], long(2).0);
    rig.say(clients[2], long(2).1);
    let heard = rig.heard(clients[1]);
    assert!(heard.starts_with("HTTP/1.1 408 ") && rig.shard.protocol.transport.io.at_end(clients[1]), "{heard}");
    rig.serve();
    assert_eq!(rig.heard_answers(clients[2]), ["/a/2"]);
    rig.say(clients[0], long(0).1);
    rig.serve();
    assert_eq!(rig.heard_answers(clients[0]), ["/a/0"], "it had grown");
    assert_eq!((rig.counters.heads_evicted.read(), rig.counters.timeouts.read()), (1, 0));
    rig.end_all(clients);
}

#[test]
fn a_head_that_has_just_grown_is_waited_for_and_nobody_turns_in_vain_meanwhile() {
    let mut rig = with_cells(1);
    let clients: Vec<usize> = (0..3).map(|_| rig.connect()).collect();
    rig.say(clients[0], long(0).0);
    // The second has said all, and waits for the first all the same; the third is behind it.
    rig.say(clients[1], long(1).0);
    rig.say(clients[1], long(1).1);
    rig.say(clients[2], long(2).0);
    for _ in 0..20 {
        rig.turn();
        assert!(rig.shard.protocol.transport.io.asleep, "it turned in vain");
    }
    assert!(rig.queue.is_empty() && rig.heard(clients[0]).is_empty());
    rig.say(clients[0], long(0).1);
    rig.say(clients[2], long(2).1);
    for (number, client) in clients.iter().enumerate() {
        rig.serve();
        assert_eq!(rig.heard_answers(*client), [format!("/a/{number}")], "in turn");
    }
    assert_eq!(rig.counters.heads_evicted.read(), 0);
    rig.end_all(clients);
}

#[test]
fn who_waits_for_a_head_gets_its_cell_when_that_has_had_its_time() {
    let mut rig = with_cells(1);
    let (first, second) = (rig.connect(), rig.connect());
    rig.say(first, long(1).0);
    rig.say(second, long(2).0);
    rig.say(second, long(2).1);
    rig.pass(A_WHILE);
    rig.serve();
    assert_eq!(rig.heard_answers(second), ["/a/2"]);
    assert!(rig.heard(first).starts_with("HTTP/1.1 408 "));
    rig.end_all([first, second]);
}

#[test]
fn an_address_with_many_connections_gives_its_heads_up_at_once() {
    let mut rig = with_cells(4);
    let other = rig.connect_from(2);
    rig.say(other, long(0).0);
    rig.pass(A_WHILE);
    let crowd: Vec<usize> = (0..20).map(|_| rig.connect()).collect();
    for client in &crowd[..3] {
        rig.say(*client, long(1).0);
    }
    let late = rig.connect_from(3);
    rig.say(late, long(2).0);
    let given_up = crowd.iter().filter(|client| rig.heard(**client).starts_with("HTTP/1.1 408 ")).count();
    assert_eq!(given_up, 1);
    for client in [other, late] {
        rig.say(client, long(0).1);
        rig.serve();
        assert_eq!(rig.heard_answers(client).len(), 1);
    }
    rig.end_all(crowd.into_iter().chain([other, late]));
}

#[test]
fn a_head_whose_next_piece_is_here_is_not_given_up() {
    let mut rig = with_cells(1);
    let (first, second) = (rig.connect(), rig.connect());
    rig.say(first, long(1).0);
    rig.pass(A_WHILE);
    rig.shard.protocol.transport.io.write(second, long(2).0.as_bytes());
    rig.shard.protocol.transport.io.write(first, long(1).1.as_bytes());
    rig.settle();
    rig.serve();
    assert_eq!(rig.heard_answers(first), ["/a/1"]);
    rig.say(second, long(2).1);
    rig.serve();
    assert_eq!(rig.heard_answers(second), ["/a/2"]);
    assert_eq!(rig.counters.heads_evicted.read(), 0);
    rig.end_all([first, second]);
}

#[test]
fn a_head_in_pieces_behind_requests_is_refused_in_its_turn() {
    let mut rig = with_cells(1);
    let (first, second) = (rig.connect(), rig.connect());
    rig.say(first, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + &long(1).0);
    let lease = rig.claim();
    rig.pass(A_WHILE);
    rig.say(second, long(2).0);
    assert_eq!(rig.heard(first), "", "what is before it comes first");
    answer(lease);
    rig.settle();
    let heard = rig.heard(first);
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.contains("HTTP/1.1 408 "), "{heard}");
    rig.say(second, long(2).1);
    rig.serve();
    assert_eq!(rig.heard_answers(second), ["/a/2"]);
    rig.end_all([first, second]);
}

#[test]
fn who_has_few_waits_for_no_cell_behind_those_that_would_wait_for_slots() {
    // Two slots are kept back.
    let config = Config { assembly_buffers: 2, requests_max: 16, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let others: Vec<usize> = (0..2).map(|_| rig.connect_from(66)).collect();
    // The first one has the cell, the other waits for it; then all slots that anybody gets are their client's.
    others.iter().for_each(|client| rig.say(*client, long(1).0));
    let busy = rig.connect_from(66);
    rig.say(busy, "GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n".repeat(14));
    let leases = rig.claim_all();
    assert_eq!(leases.len(), 14);
    rig.say(others[0], long(1).1);
    let newcomer = rig.connect_from(2);
    rig.say(newcomer, long(2).0);
    rig.say(newcomer, long(2).1);
    assert!(rig.queue.is_empty(), "it waits behind the other");
    rig.pass(Duration::from_secs(2));
    rig.serve();
    assert_eq!((rig.heard_answers(newcomer), rig.counters.heads_evicted.read()), (vec!["/a/2".to_owned()], 1));
    assert!(rig.heard(others[0]).starts_with("HTTP/1.1 503 "));
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(rig.heard_answers(busy).len(), 14);
    rig.end_all(others.into_iter().chain([busy, newcomer]));
}

/// A request with a body in chunks and a trailer section of so many bytes.
fn with_trailers(bytes: usize) -> (String, String) {
    let head = "POST /a/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    (head.to_owned(), format!("X-A: {}\r\n\r\n", "t".repeat(bytes)))
}

#[test]
fn trailer_sections_take_no_cell_from_heads_and_no_assembly_buffer_unless_they_are_longest() {
    for (bytes, split) in [(100, false), (100, true), (LONG, false), (LONG, true), (LONGEST, true)] {
        let mut rig = with_cells(1);
        let (holder, client) = (rig.connect(), rig.connect());
        rig.say(holder, long(0).0);
        let (begun, trailers) = with_trailers(bytes);
        if split {
            rig.say(client, begun);
            for piece in trailers.as_bytes().chunks(33) {
                rig.say(client, piece);
            }
        } else {
            rig.say(client, begun + &trailers);
        }
        let mut lease = rig.claim();
        assert_eq!(rig.cells_in_use().1, 1 + u64::from(bytes == LONGEST), "the holder has one");
        rig.pass(A_WHILE);
        assert_eq!(body(&mut lease), b"abc");
        assert_eq!(lease.trailers(), &trailers.as_bytes()[..trailers.len() - 2], "{bytes} bytes, split: {split}");
        answer(lease);
        rig.settle();
        assert_eq!(rig.heard_answers(client), ["/a/1"]);
        rig.say(holder, long(0).1);
        rig.serve();
        assert_eq!(rig.heard_answers(holder), ["/a/0"]);
        rig.end_all([holder, client]);
    }
}

#[test]
fn without_anybody_to_give_one_up_a_trailer_section_waits_and_then_its_request_fails() {
    let mut rig = with_cells(1);
    let clients = [2, 3].map(|last| rig.connect_from(last));
    let mut leases = Vec::new();
    for client in &clients {
        let (begun, trailers) = with_trailers(LONGEST);
        rig.say(*client, begun + &trailers);
        leases.push(rig.claim());
    }
    // The first one has the only cell until its request is over.
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.heard(clients[1]), "");
    rig.pass(Duration::from_secs(61));
    let heard = rig.heard(clients[1]);
    assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    drop(leases.pop());
    assert_eq!(body(&mut leases[0]), b"abc");
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(rig.heard_answers(clients[0]), ["/a/1"]);
    rig.end_all(clients);
}

#[test]
fn a_body_awaited_whole_gives_up_the_cell_of_its_long_head_once_its_client_is_behind() {
    let properties = Properties::new().deliver_when_whole(3000);
    let config = Config { properties, assembly_buffers: 2, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let [silent, client] = [2, 3].map(|last| rig.connect_from(last));
    let fields = format!("Content-Length: 5\r\nA: {}", "a".repeat(LONGEST));
    rig.say(silent, format!("POST /a/1 HTTP/1.1\r\nHost: h\r\n{fields}"));
    rig.say(silent, "\r\n\r\nwh");
    let (begun, rest) = longest(2);
    rig.say(client, begun);
    rig.say(client, rest);
    rig.pass(Duration::from_secs(1));
    assert!(rig.queue.is_empty() && rig.heard(silent).is_empty(), "it has its time");
    rig.pass(Duration::from_millis(1500));
    assert!(rig.heard(silent).starts_with("HTTP/1.1 408 "));
    rig.serve();
    assert_eq!((rig.heard_answers(client), rig.counters.trailers_evicted.read()), (vec!["/a/2".to_owned()], 1));
    rig.end_all([silent, client]);
}

#[test]
fn requests_whose_trailers_wait_for_a_cell_do_not_wait_for_heads_that_wait_for_their_slots() {
    // Two slots are kept back.
    let config = Config { assembly_buffers: 2, requests_max: 18, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let holder = rig.connect();
    rig.say(holder, long(0).0);
    let clients: Vec<usize> = (2..18).map(|last| rig.connect_from(last)).collect();
    let (begun, trailers) = with_trailers(LONGEST);
    for client in &clients {
        rig.say(*client, &begun);
    }
    let mut leases = rig.claim_all();
    assert_eq!(leases.len(), clients.len());
    for client in &clients {
        rig.say(*client, &trailers);
    }
    for (client, mut lease) in clients.iter().zip(leases.drain(..)) {
        assert_eq!(body(&mut lease), b"abc");
        answer(lease);
        rig.settle();
        assert_eq!(rig.heard_answers(*client), ["/a/1"], "in turn");
    }
    rig.say(holder, long(0).1);
    rig.serve();
    assert_eq!(rig.heard_answers(holder), ["/a/0"]);
    assert_eq!((rig.counters.heads_evicted.read(), rig.counters.trailers_evicted.read()), (0, 0));
    rig.end_all(clients.into_iter().chain([holder]));
}

/// Longer than the cell of a long head, in two pieces.
fn longest(number: usize) -> (String, &'static str) {
    (format!("GET /a/{number} HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(LONGEST)), "\r\n\r\n")
}

#[test]
fn requests_with_long_heads_in_pieces_leave_cells_to_heads_and_to_who_has_few() {
    let mut rig = with_cells(8);
    let greedy: Vec<usize> = (0..20).map(|_| rig.connect_from(66)).collect();
    for client in &greedy {
        rig.say(*client, longest(0).0);
        rig.say(*client, longest(0).1);
    }
    let held = rig.claim_all();
    assert_eq!((held.len(), rig.counters.cell_shares_refused.read()), (7, 13), "one cell is kept for who has few");
    let refused = greedy.iter().filter(|client| rig.heard(**client).starts_with("HTTP/1.1 503 ")).count();
    assert_eq!(refused, 13);
    let others: Vec<usize> = (2..12).map(|last| rig.connect_from(last)).collect();
    for client in &others {
        for (begun, rest) in [long(1), longest(1)] {
            rig.say(*client, begun);
            rig.say(*client, rest);
            rig.serve();
            assert_eq!(rig.heard_answers(*client), ["/a/1"]);
        }
    }
    // At once: one after the other.
    for client in &others {
        rig.say(*client, longest(2).0 + longest(2).1);
    }
    for client in &others {
        rig.serve();
        assert_eq!(rig.heard_answers(*client), ["/a/2"]);
    }
    held.into_iter().for_each(answer);
    rig.settle();
    assert_eq!((rig.counters.heads_evicted.read(), rig.counters.requests_overloaded.read()), (0, 0));
    rig.end_all(greedy.into_iter().chain(others));
}

#[test]
fn who_has_its_share_of_the_cells_waits_if_its_connections_are_few() {
    let mut rig = with_cells(2);
    let greedy: Vec<usize> = (0..3).map(|_| rig.connect_from(66)).collect();
    rig.say(greedy[0], longest(1).0 + longest(1).1);
    let held = rig.claim();
    greedy[1..].iter().for_each(|client| rig.say(*client, longest(1).0 + longest(1).1));
    assert!(rig.queue.is_empty(), "what is left is kept for others");
    // These two have the cells that heads are put together in.
    let other = rig.connect_from(2);
    rig.say(other, longest(2).0);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.counters.heads_evicted.read(), 1, "for one that has few");
    rig.say(other, longest(2).1);
    rig.serve();
    assert_eq!(rig.heard_answers(other), ["/a/2"]);
    answer(held);
    rig.settle();
    rig.serve();
    let heard: Vec<String> = greedy.iter().flat_map(|client| rig.heard_answers(*client)).collect();
    assert_eq!((heard.len(), rig.counters.cell_shares_refused.read()), (2, 0), "but for one, all are served");
    rig.end_all(greedy.into_iter().chain([other]));
}

#[test]
fn half_sent_trailer_sections_make_room_for_others_and_their_readers_are_told() {
    let mut rig = with_cells(8);
    let (begun, trailers) = with_trailers(LONGEST);
    let half = &trailers[..LONGEST - 200];
    let greedy: Vec<usize> = (0..20).map(|_| rig.connect_from(66)).collect();
    for client in &greedy {
        rig.say(*client, begun.clone() + half);
    }
    let mut held = rig.claim_all();
    assert_eq!((held.len(), rig.counters.cell_shares_refused.read()), (7, 13), "one cell is kept for who has few");
    let others = [2, 3, 4].map(|last| rig.connect_from(last));
    for (client, given_up) in others.iter().zip(0..) {
        rig.say(*client, begun.clone() + &trailers);
        rig.pass(A_WHILE);
        let mut lease = rig.claim();
        assert_eq!(body(&mut lease), b"abc");
        assert_eq!(lease.trailers(), &trailers.as_bytes()[..trailers.len() - 2]);
        held.push(lease);
        assert_eq!(rig.counters.trailers_evicted.read(), given_up, "the first has the one that is kept");
    }
    let heard = greedy.iter().map(|client| rig.heard(*client)).collect::<Vec<_>>();
    let told = |status: &str| heard.iter().filter(|heard| heard.starts_with(status)).count();
    assert_eq!((told("HTTP/1.1 408 "), told("HTTP/1.1 503 "), told("")), (2, 13, 20));
    let failed = held.iter().filter(|lease| matches!(lease.body_state(), BodyState::Failed(_))).count();
    assert_eq!(failed, 2, "readers of what was given up");
    held.into_iter().for_each(answer);
    rig.settle();
    others.iter().for_each(|client| assert_eq!(rig.heard_answers(*client), ["/a/1"]));
    rig.end_all(greedy.into_iter().chain(others));
}

#[test]
fn a_trailer_section_that_takes_a_cell_when_none_could_be_given_up_is_looked_at_again() {
    let mut rig = with_cells(1);
    let clients = [2, 3, 4].map(|last| rig.connect_from(last));
    let (begun, trailers) = with_trailers(LONGEST);
    rig.say(clients[0], begun.clone() + &trailers);
    let mut lease = rig.claim();
    rig.say(clients[1], begun.clone() + &trailers[..LONGEST - 200]);
    assert_eq!(body(&mut lease), b"abc", "it has the only cell");
    answer(lease);
    rig.settle();
    rig.say(clients[2], begun + &trailers);
    assert!(rig.shard.waits_for_a_tick(), "the second one has it now, and may not grow");
    rig.pass(A_WHILE);
    assert!(rig.heard(clients[1]).starts_with("HTTP/1.1 408 "));
    rig.serve();
    assert_eq!(rig.heard_answers(clients[2]), ["/a/1"]);
    rig.end_all(clients);
}

#[test]
fn who_gets_one_cell_and_then_lacks_one_of_requests_is_seen_before_the_shard_sleeps() {
    let mut rig = with_cells(1);
    let [holder, greedy, client] = [2, 3, 4].map(|last| rig.connect_from(last));
    let (begun, trailers) = with_trailers(LONGEST);
    rig.say(greedy, begun + &trailers[..LONGEST - 200]);
    let lease = rig.claim();
    rig.pass(A_WHILE);
    rig.say(holder, long(0).0);
    // In two pieces, of which the second needs a cell: both together do not fit the cell of a long head.
    let head = format!("GET /a/1 HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(1100));
    rig.say(client, &head[..200]);
    rig.say(client, &head[200..]);
    assert_eq!((rig.heard(greedy), rig.heard(holder)), (String::new(), String::new()), "it waits for the holder");
    rig.say(holder, long(0).1);
    assert!(rig.heard(greedy).starts_with("HTTP/1.1 408 "), "it had its time, and its cell is wanted by now");
    for client in [holder, client] {
        rig.serve();
        assert_eq!(rig.heard_answers(client).len(), 1);
    }
    drop(lease);
    rig.end_all([holder, greedy, client]);
}

#[test]
fn requests_with_long_trailer_sections_keep_no_assembly_buffer_from_others() {
    let mut rig = with_cells(1);
    let clients: Vec<usize> = (0..5).map(|_| rig.connect()).collect();
    let (begun, trailers) = with_trailers(LONG);
    for client in &clients[..4] {
        rig.say(*client, &begun);
        rig.say(*client, &trailers);
    }
    let mut leases = rig.claim_all();
    assert_eq!(rig.cells_in_use(), (0, 0));
    rig.say(clients[4], long(4).0);
    rig.say(clients[4], long(4).1);
    rig.serve();
    assert_eq!(rig.heard_answers(clients[4]), ["/a/4"]);
    for lease in &mut leases {
        assert_eq!(body(lease), b"abc");
        assert_eq!(lease.trailers(), &trailers.as_bytes()[..trailers.len() - 2]);
    }
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!((rig.counters.heads_evicted.read(), rig.counters.waits_for_cell.read()), (0, 0));
    rig.end_all(clients);
}

#[test]
fn what_is_whole_at_once_takes_no_second_cell_of_long_heads() {
    let config = Config { requests_max: 16, assembly_buffers: 64, head_bytes: 48, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let clients: Vec<usize> = (0..12).map(|_| rig.connect()).collect();
    let (begun, trailers) = with_trailers(LONG);
    for client in &clients {
        rig.say(*client, begun.clone() + &trailers);
    }
    let mut leases = rig.claim_all();
    let cells = &rig.shard.protocol.dispatch.side().cells;
    assert_eq!((leases.len(), cells.long_head.in_use()), (12, 12), "one for each slot");
    for lease in &mut leases {
        assert_eq!(lease.trailers(), &trailers.as_bytes()[..trailers.len() - 2]);
    }
    leases.into_iter().for_each(answer);
    rig.settle();
    rig.end_all(clients);
}
