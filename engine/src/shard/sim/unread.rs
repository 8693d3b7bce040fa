//! Directed tests of what comes behind a body that nobody reads: requests, a malformed rest, the client's end.
//!
//! Invariants: whatever comes of it, the response that has left the body unread is heard whole, and so is each that is
//! owed behind it.

use super::rig::{Options, ROOM, Rig, answer, answer_with, target};
use super::streams::{finish, memory, push, start};
use crate::queue::Lease;
use crate::record::RequestRecord;

/// How the response leaves that has left the body unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From where it was written.
    Alone,
    /// With a tail of its own, longer than the socket takes at once.
    WithTail,
    /// Copied behind the response before it.
    Together,
    /// In one piece with its end.
    Streamed,
    /// Piece by piece, and its end when all has been sent.
    EndedLater,
}

const WAYS: [Way; 5] = [Way::Alone, Way::WithTail, Way::Together, Way::Streamed, Way::EndedLater];

/// Bytes of a tail.
const TAIL: usize = 3000;

fn get(path: &str) -> String {
    format!("GET /a/{path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// The head of a request with a body of so many bytes, or of chunks.
fn post(len: Option<usize>) -> String {
    let framing = match len {
        Some(len) => format!("Content-Length: {len}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    format!("POST /a/1 HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")
}

/// A client whose body's credit is used up, and what its response leaves with.
struct Unread {
    rig: Rig,
    client: usize,
    way: Way,
    leases: Vec<Lease<RequestRecord>>,
    heard: String,
}

impl Unread {
    fn new(way: Way, wire: &str, seed: u64) -> Self {
        let mut rig = Rig::with(Options { body_credit: 500, seed, ..Options::default() });
        let client = rig.connect_with_room(if way == Way::WithTail { 300 } else { ROOM });
        let before = if way == Way::Together { get("0") } else { String::new() };
        rig.say(client, before + wire);
        let leases = rig.claim_all();
        Self { rig, client, way, leases, heard: String::new() }
    }

    /// Whether receiving has stopped, and whether input is held.
    fn state(&mut self) -> (bool, bool) {
        let key = self.rig.shard.connections.keys()[0];
        let connection = self.rig.shard.connections.get_mut(key).expect("listed");
        (connection.is_paused(), connection.socket().holds_input())
    }

    /// Answers without having read.
    fn answer(&mut self) {
        for lease in self.leases.drain(..).rev() {
            match self.way {
                Way::Alone | Way::Together => answer(lease),
                Way::WithTail => answer_with(lease, &"t".repeat(TAIL), false),
                Way::Streamed | Way::EndedLater => {
                    let text = format!("[{}]", target(&lease));
                    let stream = start(&lease, text.len());
                    push(&lease, &stream, memory(&text));
                    if self.way == Way::EndedLater {
                        self.rig.settle();
                    }
                    finish(&lease, &stream);
                }
            }
        }
        self.hear();
    }

    /// Reads what comes, as the socket fills again and again.
    fn hear(&mut self) {
        loop {
            self.rig.settle();
            let more = self.rig.heard(self.client);
            if more.is_empty() {
                return;
            }
            self.heard += &more;
        }
    }

    /// The targets of the requests that the client has heard whole responses to.
    fn answered(&self) -> Vec<&str> {
        let bodies = self.heard.split("\r\n\r\n[").skip(1);
        let tail = if self.way == Way::WithTail { "t".repeat(TAIL) } else { String::new() };
        let whole = |body: &&str| body.contains(&tail);
        bodies.filter(whole).filter_map(|rest| rest.split(']').next()).collect()
    }

    /// Those that it is to have heard, the one that follows included if there is one.
    fn expected(&self, follows: bool) -> Vec<&'static str> {
        let before = (self.way == Way::Together).then_some("/a/0");
        before.into_iter().chain(["/a/1"]).chain(follows.then_some("/a/2")).collect()
    }

    fn leave(mut self) {
        if !self.rig.shard.protocol.transport.io.is_closed(self.client) {
            self.rig.shard.protocol.transport.io.end(self.client);
        }
        self.rig.settle();
        self.rig.assert_idle();
    }
}

#[test]
fn a_request_behind_an_unread_body_is_taken_when_that_has_been_answered() {
    // The rest of the shorter one is in buffers already, that of the longer one still with the kernel.
    for (way, len) in WAYS.into_iter().flat_map(|way| [(way, 3000), (way, 20_000)]) {
        let mut unread = Unread::new(way, &post(Some(len)), 1);
        unread.rig.say(unread.client, "b".repeat(len) + &get("2"));
        assert_eq!(unread.state(), (true, len == 3000), "{way:?}: the credit is used up");
        unread.answer();
        assert_eq!(unread.answered(), unread.expected(false), "{way:?}");
        unread.leases = unread.rig.claim_all();
        let targets: Vec<String> = unread.leases.iter().map(target).collect();
        assert_eq!(targets, ["/a/2"], "{way:?}, {len} bytes: the request behind the body was never taken");
        unread.answer();
        assert_eq!(unread.answered(), unread.expected(true), "{way:?}");
        unread.leave();
    }
}

#[test]
fn a_client_that_has_ended_its_side_behind_an_unread_body_hears_every_answer() {
    for (way, follows) in WAYS.into_iter().flat_map(|way| [(way, false), (way, true)]) {
        let behind = if follows { get("2") } else { String::new() };
        let mut unread = Unread::new(way, &(post(Some(2000)) + &"b".repeat(2000) + &behind), 1);
        unread.rig.shard.protocol.transport.io.end(unread.client);
        unread.rig.settle();
        assert_eq!(unread.state(), (true, true), "{way:?}: the credit is used up");
        unread.answer();
        assert_eq!(unread.answered(), unread.expected(false), "{way:?}: ended before its answer");
        unread.leases = unread.rig.claim_all();
        assert_eq!(unread.leases.len(), usize::from(follows), "{way:?}");
        unread.answer();
        assert_eq!(unread.answered(), unread.expected(follows), "{way:?}: ended before the answer to what follows");
        assert!(
            unread.rig.shard.protocol.transport.io.is_closed(unread.client)
                && !unread.rig.shard.protocol.transport.io.was_reset(unread.client)
        );
        unread.leave();
    }
}

#[test]
fn a_body_that_is_malformed_behind_what_was_held_does_not_cost_its_answer() {
    let wire = post(None) + "4\r\nwith\r\n" + &format!("{:x}\r\n{}\r\n", 2200, "b".repeat(2200)) + "no size\r\n";
    for way in WAYS {
        let mut held = 0;
        // How much comes before receiving has stopped differs.
        for seed in 1..=20 {
            let mut unread = Unread::new(way, &wire, seed);
            assert!(unread.state().0, "{way:?}: the credit is used up");
            held += u32::from(unread.state().1);
            unread.answer();
            assert_eq!(unread.answered(), unread.expected(false), "{way:?}, seed {seed}");
            assert!(
                unread.rig.shard.protocol.transport.io.at_end(unread.client),
                "{way:?}, seed {seed}: and no request is looked for"
            );
            unread.leave();
        }
        assert!((1..20).contains(&held), "{way:?}: input was held in {held} of 20 runs");
    }
}
