//! What clients of a siege send: long heads in pieces and long trailer sections beside short ones, whole or half.
//!
//! Not here: who comes when, and what must become of them (`besieged`).

use super::script::Step;
use crate::driver::fake::Random;

/// What an honest client sends for one request.
pub(super) struct Asked {
    pub(super) steps: Vec<Step>,
    /// Bytes of these.
    pub(super) bytes: usize,
    pub(super) body: Vec<u8>,
}

impl Asked {
    fn write(&mut self, bytes: &[u8], random: &mut Random) {
        self.bytes += bytes.len();
        let pace = [40, 1_000, usize::MAX][random.below(3)].max(bytes.len() / 50);
        self.steps.push(Step::Write { bytes: bytes.to_vec(), pace });
    }
}

/// Bytes of a field that no fragment has room for, and that no receive buffer has.
const LONG: usize = 300;
const LONGEST: usize = 1_500;

fn filling(letter: &str, random: &mut Random) -> String {
    letter.repeat([0, 0, LONG, LONGEST][random.below(4)])
}

/// A request of an honest client: with a body of known length, in chunks, or in none that it waits to send.
pub(super) fn honest(number: u32, random: &mut Random) -> Asked {
    let mut asked = Asked { steps: Vec::new(), bytes: 0, body: Vec::new() };
    let cookie = filling("c", random);
    // A request that finds few cells gets one of them, not two.
    let kind = if cookie.len() > LONG { 1 + random.below(4) } else { random.below(5) };
    let head = format!("POST /a/{number} HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n");
    match kind {
        0 => {
            asked.body = vec![b'h'; [0, 200, 3_000][random.below(3)]];
            let chunks = match asked.body.len() {
                0 => Vec::new(),
                len => [format!("{len:x}\r\n").as_bytes(), &asked.body, b"\r\n"].concat(),
            };
            let end = format!("0\r\nT: {}\r\n\r\n", filling("t", random));
            let begun = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
            asked.write(&[begun.as_bytes(), &chunks, end.as_bytes()].concat(), random);
        }
        1 => {
            asked.write(format!("{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n").as_bytes(), random);
            if random.chance(500) {
                asked.steps.push(Step::AwaitContinue);
            }
            asked.write(b"0\r\n\r\n", random);
        }
        _ => {
            asked.body = vec![b'h'; [0, 0, 200, 3_000, 20_000][random.below(5)]];
            let head = format!("{head}Content-Length: {}\r\n\r\n", asked.body.len());
            asked.write(&[head.as_bytes(), &asked.body].concat(), random);
        }
    }
    asked
}

/// Parts of requests that keep memory for what comes in pieces; the first takes no request slot.
pub(super) fn greedy(number: u32, may_take_slot: bool, random: &mut Random) -> [String; 2] {
    let long = |letter: &str| letter.repeat(LONGEST);
    let head = format!("POST /a/{number} HTTP/1.1\r\nHost: h\r\n");
    match if may_take_slot { random.below(5) } else { 0 } {
        0 => [format!("{head}Cookie: {}", "c".repeat([LONG, LONGEST][random.below(2)])), String::new()],
        1 => [format!("{head}Cookie: {}", long("c")), "\r\n\r\n".into()],
        2 => [format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\nT: {}", long("t")), String::new()],
        3 => [format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\nT: "), "t".into()],
        _ => {
            let head = format!("{head}Cookie: {}\r\nTransfer-Encoding: chunked\r\n\r\n", "c".repeat(LONG));
            [head, format!("0\r\nT: {}", "t".repeat(LONG))]
        }
    }
}
