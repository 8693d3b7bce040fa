//! Whole turns of a shard over a kernel in memory: 64 connections, each with one request or with 16 in one piece.
//!
//! A run is a round: everything the clients sent is received, parsed, routed, published and answered, and the answers
//! of the round before are sent. In queue mode the application runs on the same thread, but answers as another would.
//! The kernel in memory is left out of the instruction count; of the time it is the larger part, so that times tell
//! only whether something has changed. Kernel, wake-ups and cache lines that move are in neither.

use ringress::Mode;
use ringress::bench_door::Turns;

use crate::case::{Amount, Case, Entry};

const CONNECTIONS: usize = 64;
const DEPTH: usize = 16;
const ONE: Amount = Amount::Requests(CONNECTIONS);
const SIXTEEN: Amount = Amount::Requests(CONNECTIONS * DEPTH);

/// As wrk sends it.
const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// An answer before its date and behind it.
const BEFORE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: ringress\r\nDate: ";
const BEHIND: &[u8] = b" GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const DATE_BYTES: usize = b"Sun, 06 Nov 1994 08:49:37".len();
const ANSWER_BYTES: usize = BEFORE.len() + DATE_BYTES + BEHIND.len();

struct Rounds {
    turns: Turns,
    depth: usize,
    input: Vec<u8>,
    /// Rounds run.
    rounds: usize,
    /// Whole answers that each client has got.
    heard: [usize; CONNECTIONS],
}

fn rounds(mode: Mode, depth: usize) -> Box<dyn Case> {
    let turns = Turns::new(mode, CONNECTIONS);
    Box::new(Rounds { turns, depth, input: REQUEST.repeat(depth), rounds: 0, heard: [0; CONNECTIONS] })
}

impl Rounds {
    fn check(&mut self) {
        for (heard, bytes) in self.heard.iter_mut().zip(self.turns.heard()) {
            let answers = bytes.chunks_exact(ANSWER_BYTES);
            assert!(answers.remainder().is_empty(), "answers are sent whole");
            for answer in answers {
                let good = answer.starts_with(BEFORE) && answer.ends_with(BEHIND);
                assert!(good, "not the answer: {:?}", String::from_utf8_lossy(answer));
                *heard += 1;
            }
        }
    }
}

impl Case for Rounds {
    fn prepare(&mut self) {
        self.check();
        self.turns.say(&self.input);
    }

    fn run(&mut self) {
        self.turns.run(CONNECTIONS * self.depth);
        self.rounds += 1;
    }

    fn finish(&mut self) {
        self.turns.flush();
        self.check();
        let want = self.rounds * self.depth;
        assert!(self.heard.iter().all(|heard| *heard == want), "every request has one answer");
    }
}

pub(crate) fn entries() -> Vec<Entry> {
    let entry = |name, amount, make| Entry { name, amount, prepared: true, make };
    vec![
        entry("turn/colocated-64/1", ONE, || rounds(Mode::Colocated, 1)),
        entry("turn/colocated-64/16", SIXTEEN, || rounds(Mode::Colocated, DEPTH)),
        entry("turn/queue-64/1", ONE, || rounds(Mode::Queue, 1)),
        entry("turn/queue-64/16", SIXTEEN, || rounds(Mode::Queue, DEPTH)),
    ]
}
