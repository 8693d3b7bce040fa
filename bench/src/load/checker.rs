//! Compares what a connection received with what it asked for.
//!
//! Answers to the same request are mostly the same bytes. So the last right answer to each is remembered, and one that
//! is equal to it is right without being read: a comparison instead of a parser. One that differs (the date, each
//! second) is read, and remembered in its place.

use std::sync::Arc;

use super::answer::{Answered, End, Step, Wrong};
use super::connection::Connection;
use super::plan::{Exchange, Expectation};
use super::tally::{Fault, Tally};

/// Answers longer than this are read each time: the parser's part in them is small.
const MODEL_BYTES_MAX: usize = 4096;

/// A server whose every answer differs would have each one remembered, for nothing.
const MODEL_AGE_MIN_NS: u64 = 10_000_000;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Checker {
    exchanges: Arc<[Exchange]>,
    /// For each exchange the last right answer, or none.
    models: Vec<Model>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    bytes: Vec<u8>,
    learned: u64,
}

/// What becomes of a connection after its input was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on.
    Open,
    /// Its last answer was complete, or it ended with nothing asked.
    Last,
    /// It is of no more use; the fault is counted.
    Broken,
}

impl Checker {
    pub(super) fn new(exchanges: Arc<[Exchange]>) -> Self {
        let models = vec![Model::default(); exchanges.len()];
        Self { exchanges, models }
    }

    /// Checks what a connection received, all of it.
    pub(super) fn check(&mut self, connection: &mut Connection, data: &[u8], now: u64, tally: &mut Tally) -> Outcome {
        let mut rest = data;
        while !rest.is_empty() {
            if connection.waiting.is_empty() {
                stray(rest, tally);
                return Outcome::Broken;
            }
            let at = connection.next_answer as usize;
            let is_between = connection.reader.is_between();
            let model = &self.models[at].bytes;
            if is_between && !model.is_empty() && rest.starts_with(model) {
                rest = &rest[model.len()..];
                self.right(connection, now, tally);
                continue;
            }
            let before = rest;
            match connection.reader.read(&mut rest, &self.exchanges[at]) {
                Step::More => return Outcome::Open,
                Step::Broken(reason) => {
                    tally.fault(Fault::Garbage, || {
                        format!("{}: no answer: {reason}: {}", name(&self.exchanges[at]), sample(before))
                    });
                    return Outcome::Broken;
                }
                Step::Done(answered) => {
                    let answer = &before[..before.len() - rest.len()];
                    if is_between && answered == (Answered { wrong: None, closes: false }) {
                        self.remember(at, answer, now);
                    }
                    self.done(connection, answered, now, tally);
                    if answered.closes {
                        if !rest.is_empty() {
                            stray(rest, tally);
                            return Outcome::Broken;
                        }
                        return Outcome::Last;
                    }
                }
            }
        }
        Outcome::Open
    }

    /// The peer has ended its side, in order.
    pub(super) fn end(&mut self, connection: &mut Connection, now: u64, tally: &mut Tally) -> Outcome {
        let waiting = connection.waiting.len();
        let exchange = &self.exchanges[connection.next_answer as usize];
        match connection.reader.end(exchange) {
            End::Between if waiting == 0 => return Outcome::Last,
            End::Done(answered) => {
                self.done(connection, answered, now, tally);
                return Outcome::Last;
            }
            End::Between => tally.fault(Fault::Unanswered, || {
                format!("{}: the server closed the connection with {waiting} unanswered", name(exchange))
            }),
            End::Truncated => tally.fault(Fault::Truncated, || {
                format!("{}: the server closed the connection within an answer", name(exchange))
            }),
            End::Broken(reason) => tally.fault(Fault::Garbage, || format!("{}: no answer: {reason}", name(exchange))),
        }
        Outcome::Broken
    }

    /// The answer has not come in time.
    pub(super) fn late(&mut self, connection: &mut Connection, tally: &mut Tally) {
        let exchange = &self.exchanges[connection.next_answer as usize];
        // A head whose last piece has no line's end was held unread.
        match connection.reader.end(exchange) {
            End::Broken(reason) => tally.fault(Fault::Garbage, || format!("{}: no answer: {reason}", name(exchange))),
            End::Between => {
                tally.fault(Fault::Timeout, || format!("{}: no answer within the time-out", name(exchange)));
            }
            _ => tally.fault(Fault::Timeout, || format!("{}: no whole answer within the time-out", name(exchange))),
        }
    }

    fn done(&mut self, connection: &mut Connection, answered: Answered, now: u64, tally: &mut Tally) {
        let Some(wrong) = answered.wrong else {
            return self.right(connection, now, tally);
        };
        let exchange = &self.exchanges[connection.next_answer as usize];
        let fault = match wrong {
            Wrong::Status(_) => Fault::WrongStatus,
            Wrong::Length(_) => Fault::WrongLength,
            Wrong::Content => Fault::WrongContent,
        };
        tally.fault(fault, || difference(exchange, wrong));
        self.advance(connection);
    }

    #[inline]
    fn right(&self, connection: &mut Connection, now: u64, tally: &mut Tally) {
        if let Some(asked) = self.advance(connection) {
            tally.right(asked.due, now);
        }
    }

    /// The oldest request is answered.
    #[inline]
    fn advance(&self, connection: &mut Connection) -> Option<super::connection::Asked> {
        connection.next_answer += 1;
        if connection.next_answer as usize == self.exchanges.len() {
            connection.next_answer = 0;
        }
        connection.waiting.pop_front()
    }

    fn remember(&mut self, at: usize, answer: &[u8], now: u64) {
        let model = &mut self.models[at];
        let is_new = model.bytes.is_empty() || now - model.learned >= MODEL_AGE_MIN_NS;
        if is_new && answer.len() <= MODEL_BYTES_MAX {
            model.bytes.clear();
            model.bytes.extend_from_slice(answer);
            model.learned = now;
        }
    }
}

/// Bytes came that nobody asked for.
pub(super) fn stray(bytes: &[u8], tally: &mut Tally) {
    tally.fault(Fault::Garbage, || format!("{} bytes that nobody asked for: {}", bytes.len(), sample(bytes)));
}

fn difference(exchange: &Exchange, wrong: Wrong) -> String {
    let Expectation { status, body_bytes, .. } = exchange.expected;
    let name = name(exchange);
    match wrong {
        Wrong::Status(found) => {
            let expected = status.map_or_else(|| "200 to 299".to_owned(), |status| status.to_string());
            format!("{name}: expected status {expected}, found {found}")
        }
        Wrong::Length(found) => {
            format!("{name}: expected a body of {} bytes, found {found}", body_bytes.unwrap_or(0))
        }
        Wrong::Content => format!("{name}: the body is not the expected one"),
    }
}

/// `GET /path`.
fn name(exchange: &Exchange) -> String {
    let line = exchange.request.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b" HTTP/1.1").unwrap_or(line);
    sample(line)
}

/// The beginning of some bytes, in one line that a terminal can show.
fn sample(bytes: &[u8]) -> String {
    const SAMPLE_BYTES: usize = 80;
    let dots = if bytes.len() > SAMPLE_BYTES { ".." } else { "" };
    format!("{}{dots}", bytes[..bytes.len().min(SAMPLE_BYTES)].escape_ascii())
}
