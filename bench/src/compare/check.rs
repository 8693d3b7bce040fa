//! Whether a server answers rightly, before it is timed: a plain client, one request after the other, then a batch.
//!
//! It also makes the connections that stay idle beside a load, and counts those that did not.
//!
//! Not here: anything fast. What happens under load is checked by the generator.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::load::{Exchange, Expectation};

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
const FIELDS_MAX: usize = 64;
/// Idle connections whose first answer is awaited at a time.
const IDLE_AT_ONCE: usize = 16;
/// Of an unexpected body, so many bytes are shown.
const SHOWN_BYTES_MAX: usize = 40;

/// Sends every exchange on one connection and looks at the answers, none of which may take less than `wait_min`; then
/// `depth` of them at once.
///
/// # Errors
/// A line that says what was asked, what came and what was expected.
pub(super) fn check(target: SocketAddr, exchanges: &[Exchange], depth: u32, wait_min: Duration) -> Result<(), String> {
    let mut client = Client::connect(target).map_err(|error| format!("no connection to {target}: {error}"))?;
    for exchange in exchanges {
        let began = Instant::now();
        client.send(&exchange.request).map_err(|error| of(exchange, &error))?;
        client.answer(exchange).map_err(|error| of(exchange, &error))?;
        let took = began.elapsed();
        if took < wait_min {
            return Err(of(
                exchange,
                &format!("an answer after {took:.1?} where it should take at least {wait_min:?}"),
            ));
        }
    }
    if depth > 1 {
        let batch: Vec<&Exchange> = exchanges.iter().cycle().take(depth as usize).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|exchange| exchange.request.iter().copied()).collect();
        let pipelined = |error: &String| format!("{depth} requests at once: {error}");
        client.send(&bytes).map_err(|error| pipelined(&error))?;
        for exchange in batch {
            client.answer(exchange).map_err(|error| pipelined(&of(exchange, &error)))?;
        }
    }
    Ok(())
}

/// Makes connections that have had one answer each and send nothing more, a few at a time, so that the server needs no
/// more room on the way than in the end. Fewer than `count` if `goes_on` says no.
///
/// # Errors
/// A line that says which one failed, and how.
pub(super) fn open_idle(
    target: SocketAddr,
    exchange: &Exchange,
    count: u32,
    goes_on: impl Fn() -> bool,
) -> Result<Vec<Client>, String> {
    let mut idle: Vec<Client> = Vec::new();
    let of_idle = |number: usize, error: &str| format!("idle connection {number}: {}", of(exchange, error));
    while idle.len() < count as usize && goes_on() {
        let first = idle.len();
        for number in first..(first + IDLE_AT_ONCE).min(count as usize) {
            let mut client = Client::connect(target).map_err(|error| of_idle(number, &error.to_string()))?;
            client.send(&exchange.request).map_err(|error| of_idle(number, &error))?;
            idle.push(client);
        }
        for (number, client) in idle.iter_mut().enumerate().skip(first) {
            client.answer(exchange).map_err(|error| of_idle(number, &error))?;
        }
    }
    Ok(idle)
}

/// How many of these did not stay open, or were sent something nobody asked for. Ends all of them.
pub(super) fn closed(idle: Vec<Client>) -> u32 {
    let closed = idle.into_iter().filter(|client| !client.is_quiet()).count();
    u32::try_from(closed).unwrap_or(u32::MAX)
}

fn of(exchange: &Exchange, error: &str) -> String {
    let line = exchange.request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    format!("{}: {error}", String::from_utf8_lossy(line))
}

/// A connection to a server; ends when dropped.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    /// Received and not yet used.
    input: Vec<u8>,
}

/// How an answer's body ends.
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

impl Client {
    fn connect(target: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, ANSWER_WAIT_MAX)?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Open, with nothing to read.
    fn is_quiet(&self) -> bool {
        let waits = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        self.input.is_empty() && peeked.is_err_and(|error| waits(&error))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("the request cannot be sent: {error}"))
    }

    fn answer(&mut self, exchange: &Exchange) -> Result<(), String> {
        let (status, framing) = loop {
            match head(&self.input)? {
                Some((_, 100..=199, _)) if exchange.expected.status.is_none_or(|status| status >= 200) => {
                    return Err("an informational answer nobody asked for".to_owned());
                }
                Some((length, status, framing)) => {
                    self.input.drain(..length);
                    break (status, framing);
                }
                None => drop(self.receive()?),
            }
        };
        let body = if exchange.is_head { Vec::new() } else { self.body(&framing)? };
        judge(status, &body, &exchange.expected)
    }

    fn body(&mut self, framing: &Framing) -> Result<Vec<u8>, String> {
        match framing {
            Framing::Length(length) => self.take(*length),
            Framing::Close => {
                while self.receive_or_end()? > 0 {}
                Ok(std::mem::take(&mut self.input))
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let line = self.line()?;
                    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let length = std::str::from_utf8(digits).ok();
                    let length = length.and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
                    let length = length.ok_or("a chunk without a length")?;
                    if length == 0 {
                        while !self.line()?.is_empty() {}
                        return Ok(body);
                    }
                    body.extend(self.take(length)?);
                    if !self.line()?.is_empty() {
                        return Err("a chunk longer than it said".to_owned());
                    }
                }
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.input.len() < length {
            self.receive()?;
        }
        let rest = self.input.split_off(length);
        Ok(std::mem::replace(&mut self.input, rest))
    }

    /// Up to the next line's end, without it.
    fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let mut line = self.take(end + 2)?;
                line.truncate(end);
                return Ok(line);
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> Result<usize, String> {
        match self.receive_or_end()? {
            0 if self.input.is_empty() => Err("the connection ended without an answer".to_owned()),
            0 => Err("the connection ended within the answer".to_owned()),
            count => Ok(count),
        }
    }

    fn receive_or_end(&mut self) -> Result<usize, String> {
        let mut buffer = vec![0; 64 << 10];
        let count = self.stream.read(&mut buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => format!("no whole answer within {} s", ANSWER_WAIT_MAX.as_secs()),
            _ => format!("no whole answer: {error}"),
        })?;
        self.input.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// Length, status and framing of the head at the start of `input`, if it is whole.
fn head(input: &[u8]) -> Result<Option<(usize, u16, Framing)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(input).map_err(|error| format!("no HTTP answer ({error}): {}", shown(input)))?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, response.code) else { return Ok(None) };
    let field = |name: &str| response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let chunked = field("transfer-encoding").is_some_and(|field| field.value.eq_ignore_ascii_case(b"chunked"));
    let framing = match field("content-length") {
        _ if chunked => Framing::Chunked,
        None if matches!(status, 204 | 304) => Framing::Length(0),
        None => Framing::Close,
        Some(field) => {
            let length = std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
            Framing::Length(length.ok_or("its Content-Length is no number")?)
        }
    };
    Ok(Some((length, status, framing)))
}

fn judge(status: u16, body: &[u8], expected: &Expectation) -> Result<(), String> {
    let right = expected.status.map_or_else(|| (200..300).contains(&status), |wanted| wanted == status);
    if !right {
        let wanted = expected.status.map_or_else(|| "2xx".to_owned(), |wanted| wanted.to_string());
        return Err(format!("status {status} where {wanted} was expected"));
    }
    if let Some(wanted) = expected.body_bytes.filter(|wanted| *wanted != body.len() as u64) {
        let (count, body) = (body.len(), shown(body));
        return Err(format!("a body of {count} bytes where {wanted} were expected: {body}"));
    }
    match &expected.body {
        Some(wanted) if wanted != body => Err(format!("the body {} where {} was expected", shown(body), shown(wanted))),
        _ => Ok(()),
    }
}

fn shown(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned();
    format!("{start:?}{}", if bytes.len() > SHOWN_BYTES_MAX { ".." } else { "" })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::super::workloads::Workload;
    use super::*;

    /// What `check` says of a server that answers a whole connection with `answers`.
    fn verdict(workload: &str, depth: u32, answers: &'static [u8]) -> Result<(), String> {
        let unknown = SocketAddr::from(([127, 0, 0, 1], 1));
        served(&Workload::named(workload).exchanges(unknown, true), depth, Duration::ZERO, answers)
    }

    fn served(exchanges: &[Exchange], depth: u32, wait_min: Duration, answers: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("works in tests");
        let target = listener.local_addr().expect("works in tests");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("works in tests");
            stream.write_all(answers).expect("works in tests");
            stream.shutdown(std::net::Shutdown::Write).expect("works in tests");
            // Until the client has gone: closing earlier could reset what it has not read.
            while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        });
        let verdict = check(target, exchanges, depth, wait_min);
        server.join().expect("works in tests");
        verdict
    }

    #[test]
    fn right_answers_pass_however_they_are_framed() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
        assert_eq!(verdict("plaintext-64", 1, length), Ok(()));
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6;a\r\nHello,\r\n7\r\n World!\r\n0\r\nx:y\r\n\r\n";
        assert_eq!(verdict("plaintext-64", 1, chunked), Ok(()));
        assert_eq!(verdict("plaintext-64", 1, b"HTTP/1.1 200 OK\r\n\r\nHello, World!"), Ok(()));
        let thrice = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!\
            HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!\
            HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
        assert_eq!(verdict("pipelined-64", 2, thrice), Ok(()));
    }

    #[test]
    fn wrong_answers_are_told_by_what_is_wrong() {
        for (answer, wrong) in [
            (&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..], "status 404 where 200 was expected"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "a body of 2 bytes where 13 were expected: \"ok\""),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, Moon!!", "the body \"Hello, Moon!!\""),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello", "the connection ended within the answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "its Content-Length is no number"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", "a chunk without a length"),
            (b"", "the connection ended without an answer"),
            (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
        ] {
            let error = verdict("plaintext-64", 1, answer).expect_err("must be refused");
            assert!(error.contains(wrong) && error.starts_with("GET /plaintext HTTP/1.1: "), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn idle_connections_are_open_and_answered_once() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("works in tests");
        let target = listener.local_addr().expect("works in tests");
        let server = thread::spawn(move || {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
            let accept = |_| {
                let (mut stream, _) = listener.accept().expect("works in tests");
                stream.write_all(answer).expect("works in tests");
                stream
            };
            (0..40).map(accept).collect::<Vec<TcpStream>>()
        });
        let exchange = &Workload::named("idle").exchanges(target, true)[0];
        let idle = open_idle(target, exchange, 40, || true).expect("40 right answers");
        assert_eq!((idle.len(), server.join().expect("works in tests").len()), (40, 40));
        let error = open_idle(target, exchange, 1, || true).expect_err("nobody listens any more");
        assert!(error.starts_with("idle connection 0: GET /plaintext HTTP/1.1: "), "{error}");
    }

    #[test]
    fn a_batch_that_is_not_answered_in_full_is_told_apart() {
        let once = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
        let error = verdict("pipelined-64", 16, once).expect_err("must be refused");
        assert!(error.starts_with("16 requests at once: GET /plaintext"), "{error}");
    }

    #[test]
    fn a_fixed_answer_does_not_pass_for_the_mix() {
        let fixed = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n55HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n55";
        let error = verdict("baseline", 1, fixed).expect_err("must be refused");
        assert!(error.contains("POST /baseline11") && error.contains("\"76\" was expected"), "{error}");
    }

    #[test]
    fn an_answer_that_should_take_its_time_and_does_not_is_refused() {
        let error =
            verdict("slow-app", 1, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect_err("must be refused");
        assert!(error.contains("where 5 were expected"), "{error}");
        let at_once = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslow\n";
        let exchanges = Workload::named("slow-app").exchanges(SocketAddr::from(([127, 0, 0, 1], 1)), true);
        let hour = Duration::from_secs(3600);
        let error = served(&exchanges, 1, hour, at_once).expect_err("must be refused");
        assert!(error.starts_with("GET /slow/1 HTTP/1.1: an answer after "), "{error}");
        assert!(error.ends_with(" where it should take at least 3600s"), "{error}");
        assert_eq!(served(&exchanges, 1, Duration::ZERO, at_once), Ok(()));
    }

    #[test]
    fn idle_connections_that_ended_or_were_sent_something_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("works in tests");
        let target = listener.local_addr().expect("works in tests");
        let pair = || {
            let client = Client::connect(target).expect("works in tests");
            (client, listener.accept().expect("works in tests").0)
        };
        let (open, _kept) = pair();
        let (ended, server) = pair();
        drop(server);
        let (told, mut server) = pair();
        server.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").expect("works in tests");
        // Until the end and the bytes are there.
        for client in [&ended, &told] {
            client.stream.peek(&mut [0]).expect("works in tests");
        }
        assert_eq!(closed(vec![open, ended, told]), 2);
    }
}
