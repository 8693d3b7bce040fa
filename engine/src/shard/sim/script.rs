//! What a simulated client is going to do: drawn from the seed before it begins.

use super::app::sum;
use crate::driver::fake::Random;

/// One thing a client does.
#[derive(Debug)]
pub(super) enum Step {
    /// Sends bytes, at most so many at a time.
    Write { bytes: Vec<u8>, pace: usize },
    /// Waits until this many requests have been answered in all.
    Await { answers: usize },
    /// Waits for `100 Continue`, or for a response in its place.
    AwaitContinue,
    /// Ends its side.
    End,
    /// Is gone.
    Reset,
}

/// What has to come back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What the application makes of a body with this sum.
    Answer { sum: u64 },
    /// 404.
    NotFound,
    /// A refusal with this status, after which the connection ends.
    Refused(u16),
}

/// A request sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) number: u32,
    pub(super) outcome: Outcome,
    pub(super) head: bool,
    /// The client asked for the connection to end.
    pub(super) last: bool,
    /// The response is due once the client has sent this many bytes.
    pub(super) due_at: usize,
}

/// How a client treats what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    AtOnce,
    /// A few bytes at a time.
    Slowly,
    Never,
}

/// A client's plan.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) expected: Vec<Expected>,
    pub(super) reading: Reading,
    /// Bytes of the socket's send buffer towards it.
    pub(super) room: usize,
}

impl Script {
    /// The same behind other bytes.
    pub(super) fn behind(mut self, bytes: Vec<u8>, pace: usize) -> Self {
        self.expected.iter_mut().for_each(|expected| expected.due_at += bytes.len());
        self.steps.insert(0, Step::Write { bytes, pace });
        self
    }
}

/// Requests that are malformed, and what they are answered.
const MALFORMED: [(&str, u16); 12] = [
    ("GET /a/1 HTTP/1.1\r\nHost : h\r\n\r\n", 400),
    ("GET /a/1 HTTP/1.1\nHost: h\r\n\r\n", 400),
    ("GET /a/1 HTTP/1.1\r\n\r\n", 400),
    ("HEAD /a/1 HTTP/1.1\r\n\r\n", 400),
    ("HEAD /a/%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("HEAD /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", 413),
    ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
    ("GET /a/1 HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", 413),
    ("POST /a/malformed HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    ("POST /a/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
];

/// Draws scripts.
struct Writer<'a> {
    random: &'a mut Random,
    number: &'a mut u32,
    steps: Vec<Step>,
    expected: Vec<Expected>,
    wire: Vec<u8>,
    written: usize,
    pace: usize,
}

/// A plan; request numbers go on from `number`.
pub(super) fn draw(random: &mut Random, number: &mut u32) -> Script {
    let pace = [1, 7, 100, usize::MAX, usize::MAX][random.below(5)];
    let reading = match random.below(12) {
        0 => Reading::Never,
        1..=2 => Reading::Slowly,
        _ => Reading::AtOnce,
    };
    let room = [500, 5_000, 100_000][random.below(3)];
    let mut writer =
        Writer { random, number, steps: Vec::new(), expected: Vec::new(), wire: Vec::new(), written: 0, pace };
    writer.write();
    let Writer { steps, expected, .. } = writer;
    Script { steps, expected, reading, room }
}

impl Writer<'_> {
    fn write(&mut self) {
        let bursts = 1 + self.random.below(4);
        let wait_max = [0, 850, 1000][self.random.below(3)];
        let depth = [1, 1, 3, 10][self.random.below(4)];
        for _ in 0..bursts {
            for _ in 0..=self.random.below(depth) {
                self.request();
            }
            self.send();
            if self.random.chance(wait_max) {
                self.steps.push(Step::Await { answers: self.expected.len() });
            }
        }
        self.finish();
        if self.random.chance(100) {
            let place = self.random.below(self.steps.len());
            self.steps.truncate(place);
            self.steps.push(Step::Reset);
        }
    }

    /// What has been written so far goes out.
    fn send(&mut self) {
        let bytes = core::mem::take(&mut self.wire);
        self.written += bytes.len();
        if !bytes.is_empty() {
            // However slow: so many pieces that a run comes to its end.
            let pace = self.pace.max(bytes.len() / 200);
            self.steps.push(Step::Write { bytes, pace });
        }
    }

    fn expect(&mut self, number: u32, outcome: Outcome, head: bool, last: bool) {
        let due_at = self.written + self.wire.len();
        self.expected.push(Expected { number, outcome, head, last, due_at });
    }

    fn request(&mut self) {
        *self.number += 1;
        let number = *self.number;
        match self.random.below(12) {
            0..=4 => self.bodiless(number, "GET", "a"),
            5 => self.bodiless(number, "HEAD", "a"),
            6 => self.bodiless(number, "GET", "none"),
            7 => self.bodiless(number, "DELETE", "a"),
            8..=9 => self.with_length(number),
            10 => self.chunked(number),
            _ => self.unwanted(number),
        }
    }

    fn bodiless(&mut self, number: u32, method: &str, place: &str) {
        let long = if self.random.chance(100) { "x".repeat(self.random.below(3000)) } else { String::new() };
        let head = format!("{method} /{place}/{number}?q={long} HTTP/1.1\r\nHost: h\r\nX-Long: {long}\r\n\r\n");
        self.wire.extend(head.into_bytes());
        let outcome = if place == "a" { Outcome::Answer { sum: sum(b"") } } else { Outcome::NotFound };
        self.expect(number, outcome, method == "HEAD", false);
    }

    fn body(&mut self) -> Vec<u8> {
        let most = [1, 50, 2000, 20_000][self.random.below(4)];
        let len = self.random.below(most);
        (0..len).map(|_| b'0' + u8::try_from(self.random.below(64)).expect("below 64")).collect()
    }

    fn with_length(&mut self, number: u32) {
        let body = self.body();
        let asks = self.random.chance(200) && !body.is_empty();
        let expect = if asks { "Expect: 100-continue\r\n" } else { "" };
        let len = body.len();
        let head = format!("POST /a/{number} HTTP/1.1\r\nHost: h\r\n{expect}Content-Length: {len}\r\n\r\n");
        self.wire.extend(head.into_bytes());
        self.ask(asks);
        self.wire.extend(&body);
        self.expect(number, Outcome::Answer { sum: sum(&body) }, false, false);
    }

    /// A body that nobody will read, behind a response that comes before it; sometimes so much that the connection
    /// ends.
    fn unwanted(&mut self, number: u32) {
        let mut body = self.body();
        let last = self.random.chance(100);
        let is_chunked = !last && self.random.chance(300);
        if last {
            body.resize(1_200_000, b'x');
        }
        let framing = match is_chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", body.len()),
        };
        self.wire.extend(format!("POST /none/{number} HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").into_bytes());
        self.expect(number, Outcome::NotFound, false, last);
        if is_chunked && !body.is_empty() {
            self.wire.extend(format!("{:x}\r\n", body.len()).into_bytes());
            body.extend(b"\r\n");
        }
        self.wire.extend(&body);
        if is_chunked {
            self.wire.extend(b"0\r\n\r\n");
        }
    }

    fn ask(&mut self, asks: bool) {
        if asks {
            self.send();
            self.steps.push(Step::AwaitContinue);
        }
    }

    fn chunked(&mut self, number: u32) {
        let body = self.body();
        let asks = self.random.chance(200);
        let expect = if asks { "Expect: 100-continue\r\n" } else { "" };
        let head = format!("PUT /a/{number} HTTP/1.1\r\nHost: h\r\n{expect}Transfer-Encoding: chunked\r\n\r\n");
        self.wire.extend(head.into_bytes());
        self.ask(asks);
        let mut rest = &body[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + self.random.below(rest.len()));
            let extension = if self.random.chance(200) { ";a=b" } else { "" };
            self.wire.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
            self.wire.extend(chunk);
            self.wire.extend(b"\r\n");
            rest = after;
        }
        let trailer = if self.random.chance(200) { "T: t\r\n" } else { "" };
        self.wire.extend(format!("0\r\n{trailer}\r\n").into_bytes());
        self.expect(number, Outcome::Answer { sum: sum(&body) }, false, false);
    }

    /// How it ends: the connection stays, is ended by one side, breaks off, or turns into nonsense.
    fn finish(&mut self) {
        *self.number += 1;
        let number = *self.number;
        match self.random.below(8) {
            0..=1 => {}
            2 => self.steps.push(Step::End),
            3 => {
                let version = if self.random.chance(500) { "1.0\r\n" } else { "1.1\r\nConnection: close\r\n" };
                self.wire.extend(format!("GET /a/{number} HTTP/{version}Host: h\r\n\r\n").into_bytes());
                self.expect(number, Outcome::Answer { sum: sum(b"") }, false, true);
                self.send();
            }
            4 => {
                let head = format!("GET /a/{number} HTTP/1.0\r\nConnection: keep-alive\r\nHost: h\r\n\r\n");
                self.wire.extend(head.into_bytes());
                self.expect(number, Outcome::Answer { sum: sum(b"") }, false, false);
                self.send();
                self.steps.push(Step::End);
            }
            5 => {
                let (text, status) = MALFORMED[self.random.below(MALFORMED.len())];
                // A refusal may come as soon as the fault is seen.
                self.expect(number, Outcome::Refused(status), text.starts_with("HEAD"), true);
                self.wire.extend(text.as_bytes());
                self.wire.extend(vec![b'x'; self.random.below(2) * 3000]);
                self.send();
            }
            _ => {
                let text = format!("POST /a/{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n12345");
                let cut = 1 + self.random.below(text.len());
                self.wire.extend(&text.as_bytes()[..cut]);
                self.send();
                // Or it falls silent.
                self.steps
                    .extend([None, Some(Step::End), Some(Step::Reset)].into_iter().nth(self.random.below(3)).flatten());
            }
        }
    }
}
