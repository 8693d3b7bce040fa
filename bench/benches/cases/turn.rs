//! Whole turns of a shard over a kernel in memory: 64 connections, or 40 of 4,096 at a time, each with one request or
//! with 16 in one piece.
//!
//! A run is a round: everything the clients sent is received, parsed, routed, published and answered, and the answers
//! of the round before are sent. In queue mode the application runs on the same thread, but answers as another would.
//! The kernel in memory is left out of the instruction count; of the time it is the larger part, so that times tell
//! only whether something has changed. Kernel, wake-ups and cache lines that move are in neither.

use std::ops::Range;
use std::path::PathBuf;

use ringress::Mode;
use ringress::bench_door::{RouteTable, Turns};

use crate::case::{Amount, Case, Entry};

/// All connections speak in each run.
const FEW: Amounts = Amounts { connections: 64, speaking: 64 };
/// In each run others speak, as many as a busy server is given by Linux 6.18 when it enters the kernel: 20 pieces of
/// deferred task work before it waits and 20 there (`perf stat -e io_uring:io_uring_complete -e
/// io_uring:io_uring_local_work_run`).
const MANY: Amounts = Amounts { connections: 4096, speaking: 40 };
const DEPTH: usize = 16;

#[derive(Clone, Copy)]
struct Amounts {
    connections: usize,
    speaking: usize,
}

/// As wrk sends it.
const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// An answer before its date and behind it.
const BEFORE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: ringress\r\nDate: ";
const BEHIND: &[u8] = b" GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const DATE_BYTES: usize = b"Sun, 06 Nov 1994 08:49:37".len();
const ANSWER_BYTES: usize = BEFORE.len() + DATE_BYTES + BEHIND.len();

struct Rounds {
    turns: Turns,
    amounts: Amounts,
    depth: usize,
    input: Vec<u8>,
    /// Who speaks in this run.
    speaking: Range<usize>,
    /// Requests that each client has sent.
    said: Vec<usize>,
    /// Whole answers that each client has got.
    heard: Vec<usize>,
}

fn rounds(mode: Mode, amounts: Amounts, depth: usize) -> Box<dyn Case> {
    Box::new(Rounds::new(mode, amounts, depth))
}

impl Rounds {
    fn new(mode: Mode, amounts: Amounts, depth: usize) -> Self {
        let turns = Turns::new(mode, amounts.connections);
        let [said, heard] = [(); 2].map(|()| vec![0; amounts.connections]);
        Self { turns, amounts, depth, input: REQUEST.repeat(depth), speaking: 0..0, said, heard }
    }

    fn check(&mut self, clients: Range<usize>) {
        for (heard, bytes) in self.heard[clients.clone()].iter_mut().zip(self.turns.heard(clients)) {
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
        let Amounts { connections, speaking } = self.amounts;
        let first = if self.speaking.end + speaking > connections { 0 } else { self.speaking.end };
        let clients = first..first + speaking;
        self.check(clients.clone());
        self.said[clients.clone()].iter_mut().for_each(|said| *said += self.depth);
        self.turns.say(clients.clone(), &self.input);
        self.speaking = clients;
    }

    fn run(&mut self) {
        self.turns.run(self.speaking.len() * self.depth);
    }

    fn finish(&mut self) {
        self.turns.flush();
        self.check(0..self.amounts.connections);
        assert!(self.heard == self.said, "every request has one answer");
    }
}

/// The same, with a line of a log for each request. The thread that writes them is not counted, nor is it waited for.
struct Logged {
    rounds: Rounds,
    folder: PathBuf,
}

fn logged(amounts: Amounts) -> Box<dyn Case> {
    let folder = std::env::temp_dir().join(format!("ringress-logged-{}", std::process::id()));
    let mut rounds = Rounds::new(Mode::Queue, amounts, 1);
    rounds.turns.log_to(&folder);
    Box::new(Logged { rounds, folder })
}

impl Case for Logged {
    fn prepare(&mut self) {
        self.rounds.prepare();
    }

    fn run(&mut self) {
        self.rounds.run();
    }

    fn finish(&mut self) {
        self.rounds.finish();
        let dropped = self.rounds.turns.end_log();
        std::fs::remove_dir_all(&self.folder).expect("lines were written");
        assert_eq!(dropped, 0, "the writer keeps up");
    }
}

/// A shard gets other routes, again and again, which differ in one of 10,000 prefixes.
struct Routes {
    turns: Turns,
    tables: [RouteTable; 2],
    rounds: usize,
}

fn new_routes() -> Box<dyn Case> {
    let urls: Vec<String> = (0..=10_000).map(|n| format!("http://*:8080/service-{n:04}/")).collect();
    let more = RouteTable::new(urls.iter().map(String::as_str).zip(0..));
    let fewer = more.without(&urls[10_000]);
    Box::new(Routes { turns: Turns::new(Mode::Colocated, FEW.connections), tables: [fewer, more], rounds: 0 })
}

impl Case for Routes {
    fn prepare(&mut self) {
        self.turns.route_by(&self.tables[self.rounds % 2]);
        self.rounds += 1;
    }

    fn run(&mut self) {
        self.turns.idle();
    }

    fn finish(&mut self) {
        assert!(self.turns.is_up_to_date());
    }
}

pub(crate) fn entries() -> Vec<Entry> {
    let entry = |name, amounts: Amounts, depth, make| {
        let amount = Amount::Requests(amounts.speaking * depth);
        Entry { name, amount, prepared: true, make }
    };
    vec![
        entry("turn/colocated-64/1", FEW, 1, || rounds(Mode::Colocated, FEW, 1)),
        entry("turn/colocated-64/16", FEW, DEPTH, || rounds(Mode::Colocated, FEW, DEPTH)),
        entry("turn/queue-64/1", FEW, 1, || rounds(Mode::Queue, FEW, 1)),
        entry("turn/queue-64/16", FEW, DEPTH, || rounds(Mode::Queue, FEW, DEPTH)),
        entry("turn/colocated-4096/1", MANY, 1, || rounds(Mode::Colocated, MANY, 1)),
        entry("turn/colocated-4096/16", MANY, DEPTH, || rounds(Mode::Colocated, MANY, DEPTH)),
        entry("turn/queue-4096/16", MANY, DEPTH, || rounds(Mode::Queue, MANY, DEPTH)),
        entry("turn/logged-64/1", FEW, 1, || logged(FEW)),
        Entry { name: "turn/new-routes/10,000-prefixes", amount: Amount::One, prepared: true, make: new_routes },
    ]
}
