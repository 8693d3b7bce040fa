//! The rows: what is asked of a server, by how many connections and in what rhythm.
//!
//! Invariants: every answer is checked for status and length under load, and for its content before; a row that a
//! server cannot serve is said to be missing (`servers`), never served in part.
//!
//! Not here: how a load is driven (`crate::load`).

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{Exchange, Pace, Plan};

/// The longest that an answer may take; a rate above a server's means makes long queues.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// A name under which several rows are chosen together.
    pub(super) group: Option<&'static str>,
    /// What it is, as a heading.
    pub(super) about: &'static str,
    /// A sentence that a reader of the figures needs besides.
    pub(super) note: Option<&'static str>,
    pub(super) requests: Requests,
    /// Connections that have requests under way.
    pub(super) connections: u32,
    /// Requests a connection has under way at most.
    pub(super) depth: u32,
    /// Requests after which a connection is made anew.
    pub(super) requests_per_connection: Option<u32>,
    pub(super) rhythm: Rhythm,
    /// The floor does the same work, so that a ratio to it means something.
    pub(super) floor_is_fair: bool,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// As soon as an answer makes room.
    Closed,
    /// As soon as an answer makes room, beside so many idle connections.
    Idle(u32),
    /// Evenly, so many per cent of the yardstick's saturation.
    PerCent(u32),
    /// Evenly, so many requests a second.
    PerSecond(u32),
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requests {
    Plaintext,
    /// Plaintext, with what a browser sends along.
    Browser,
    Json,
    /// GET with a query, POST with a length, POST in chunks, in turn.
    Baseline,
    /// An answer of so many bytes.
    Bytes(u32),
    /// A body of so many bytes, to be counted.
    Upload(u32),
    /// An answer that takes so many milliseconds, after which it is given without a thread that waits meanwhile.
    Slow(u32),
    /// The same of a handler that holds its thread meanwhile.
    Work(u32),
}

const CLOSED: Workload = Workload {
    name: "",
    group: None,
    about: "",
    note: None,
    requests: Requests::Plaintext,
    connections: 64,
    depth: 1,
    requests_per_connection: None,
    rhythm: Rhythm::Closed,
    floor_is_fair: false,
};

const fn plaintext(name: &'static str, connections: u32, about: &'static str) -> Workload {
    Workload { name, group: Some("plaintext"), about, connections, floor_is_fair: true, ..CLOSED }
}

const fn pipelined(name: &'static str, connections: u32, about: &'static str) -> Workload {
    Workload { name, group: Some("pipelined"), about, connections, depth: 16, floor_is_fair: true, ..CLOSED }
}

const fn bytes(name: &'static str, count: u32, connections: u32, about: &'static str) -> Workload {
    Workload { name, group: Some("bytes"), about, requests: Requests::Bytes(count), connections, ..CLOSED }
}

const fn reconnecting(name: &'static str, connections: u32, requests: u32, about: &'static str) -> Workload {
    Workload { name, about, connections, requests_per_connection: Some(requests), floor_is_fair: true, ..CLOSED }
}

const fn asking(name: &'static str, requests: Requests, connections: u32, about: &'static str) -> Workload {
    Workload { name, about, requests, connections, ..CLOSED }
}

const fn rate(name: &'static str, rhythm: Rhythm, connections: u32, about: &'static str) -> Workload {
    Workload { name, group: Some("rate"), about, rhythm, connections, floor_is_fair: true, ..CLOSED }
}

/// All rows, in the order in which they are measured and printed.
pub(super) const ALL: &[Workload] = &[
    plaintext("plaintext-1", 1, "GET /plaintext, 1 connection kept alive"),
    plaintext("plaintext-64", 64, "GET /plaintext, 64 connections kept alive"),
    plaintext("plaintext-512", 512, "GET /plaintext, 512 connections kept alive"),
    plaintext("plaintext-4096", 4096, "GET /plaintext, 4,096 connections kept alive"),
    pipelined("pipelined-64", 64, "GET /plaintext, 16 pipelined, 64 connections"),
    pipelined("pipelined-512", 512, "GET /plaintext, 16 pipelined, 512 connections"),
    pipelined("pipelined-4096", 4096, "GET /plaintext, 16 pipelined, 4,096 connections"),
    asking("baseline", Requests::Baseline, 64, "/baseline11: GET, POST with a length, POST in chunks; 64 connections"),
    reconnecting("short-lived", 64, 10, "GET /plaintext, 64 connections, each made anew after 10 requests"),
    reconnecting("limited-4096", 4096, 10, "GET /plaintext, 4,096 connections, each made anew after 10 requests"),
    reconnecting("connection-per-request", 64, 1, "GET /plaintext, 64 connections, each made anew after every request"),
    asking("json", Requests::Json, 64, "GET /json, 64 connections"),
    Workload {
        floor_is_fair: true,
        ..asking("headers", Requests::Browser, 64, "GET /plaintext with a browser's 15 fields, 64 connections")
    },
    bytes("bytes-1k", KIB, 64, "GET /bytes/1024, 64 connections"),
    bytes("bytes-64k", 64 * KIB, 64, "GET /bytes/65536, 64 connections"),
    bytes("bytes-1m", MIB, 16, "GET /bytes/1048576, 16 connections"),
    asking("upload-1m", Requests::Upload(MIB), 16, "POST /upload of 1 MiB, 16 connections"),
    Workload {
        rhythm: Rhythm::Idle(10_000),
        floor_is_fair: true,
        ..asking("idle", Requests::Plaintext, 64, "GET /plaintext, 64 connections beside 10,000 idle ones")
    },
    rate("rate-10", Rhythm::PerCent(10), 64, "GET /plaintext at a fixed rate, 10 % of saturation, 64 connections"),
    rate("rate-50", Rhythm::PerCent(50), 64, "GET /plaintext at a fixed rate, 50 % of saturation, 64 connections"),
    rate("rate-80", Rhythm::PerCent(80), 64, "GET /plaintext at a fixed rate, 80 % of saturation, 64 connections"),
    rate("rate-40k-512", Rhythm::PerSecond(40_000), 512, "GET /plaintext at 40,000 requests/s, 512 connections"),
    rate("rate-40k-4096", Rhythm::PerSecond(40_000), 4096, "GET /plaintext at 40,000 requests/s, 4,096 connections"),
    rate("rate-2k-1024", Rhythm::PerSecond(2_000), 1024, "GET /plaintext at 2,000 requests/s, 1,024 connections"),
    Workload {
        note: Some("In queue mode GET /work/1, whose handler holds one of 64 consumers for 1 ms."),
        ..asking("slow-app", Requests::Slow(1), 256, "GET /slow/1: answers after 1 ms, 256 connections")
    },
];

/// What finds the saturation that rates refer to.
pub(super) const SATURATION: Workload = plaintext("saturation", 64, "GET /plaintext, 64 connections, flat out");

#[cfg(test)]
impl Workload {
    /// For tests: a row that is there.
    pub(super) fn named(name: &str) -> &'static Self {
        ALL.iter().find(|workload| workload.name == name).expect("a known workload")
    }
}

impl Workload {
    /// What is sent in turn, and what a right answer is. `strict` asks for the content too.
    pub(super) fn exchanges(&self, target: SocketAddr, strict: bool) -> Vec<Exchange> {
        let mut exchanges = self.requests.exchanges(&target.to_string());
        if !strict {
            exchanges.iter_mut().for_each(|exchange| exchange.expected.body = None);
        }
        exchanges
    }

    /// The load; idle connections beside it are made elsewhere. `rate` is that of a rhythm with a fixed one.
    pub(super) fn plan(&self, target: SocketAddr, load_core: usize, times: Times, rate: Option<f64>) -> Plan {
        Plan {
            target,
            target_is_mine: false,
            cores: vec![load_core],
            connections: self.connections,
            idle_connections: 0,
            depth: self.depth,
            requests_per_connection: self.requests_per_connection,
            pace: rate.map_or(Pace::AsAnswered, Pace::Rate),
            warm_up: times.warm_up,
            duration: times.measured,
            timeout: ANSWER_WAIT_MAX,
            exchanges: self.exchanges(target, false),
        }
    }

    /// Connections at the same time, idle ones included.
    pub(super) fn connections_max(&self) -> u32 {
        self.connections + self.rhythm.idle()
    }
}

impl Rhythm {
    /// Connections that are idle beside the load.
    pub(super) fn idle(self) -> u32 {
        match self {
            Self::Idle(count) => count,
            Self::Closed | Self::PerCent(_) | Self::PerSecond(_) => 0,
        }
    }

    /// Whether requests are sent at a fixed rate, so that latency counts from when each was due.
    pub(super) fn is_fixed_rate(self) -> bool {
        matches!(self, Self::PerCent(_) | Self::PerSecond(_))
    }
}

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

impl Requests {
    /// An answer that comes sooner is not what was asked for.
    pub(super) fn wait_min(self) -> Duration {
        match self {
            Self::Slow(ms) | Self::Work(ms) => Duration::from_millis(ms.into()),
            _ => Duration::ZERO,
        }
    }

    fn exchanges(self, host: &str) -> Vec<Exchange> {
        match self {
            Self::Plaintext => vec![Exchange::get(host, "/plaintext").expecting_body(200, "Hello, World!")],
            Self::Browser => {
                vec![Exchange::bare("GET", host, "/plaintext", &BROWSER).expecting_body(200, "Hello, World!")]
            }
            Self::Json => vec![Exchange::get(host, "/json").expecting_body(200, r#"{"message":"Hello, World!"}"#)],
            Self::Baseline => baseline(host),
            Self::Bytes(count) => {
                vec![Exchange::get(host, &format!("/bytes/{count}")).expecting_body(200, vec![b'x'; count as usize])]
            }
            Self::Upload(count) => {
                let body = vec![b'x'; count as usize];
                vec![Exchange::post(host, "/upload", &body).expecting_body(200, count.to_string())]
            }
            Self::Slow(ms) => vec![Exchange::get(host, &format!("/slow/{ms}")).expecting_body(200, "slow\n")],
            Self::Work(ms) => vec![Exchange::get(host, &format!("/work/{ms}")).expecting_body(200, "worked\n")],
        }
    }
}

/// The fields that a browser sends with a navigation, besides Host.
const BROWSER: [&str; 14] = [
    "Connection: keep-alive",
    "Cache-Control: max-age=0",
    "sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"",
    "sec-ch-ua-mobile: ?0",
    "sec-ch-ua-platform: \"Linux\"",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-User: ?1",
    "Sec-Fetch-Dest: document",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cookie: session=7b1f0d2c9e8a4f6db3c5a1907e2d4c6f; theme=dark; consent=all-of-them-2025",
];

/// Values and bodies differ from request to request, so that a fixed answer is found out.
fn baseline(host: &str) -> Vec<Exchange> {
    vec![
        Exchange::get(host, "/baseline11?a=13&b=42").expecting_body(200, "55"),
        Exchange::post(host, "/baseline11?a=13&b=43", b"20").expecting_body(200, "76"),
        Exchange::post_chunked(host, "/baseline11?a=1&b=7", &[b"2", b"5"]).expecting_body(200, "33"),
    ]
}

/// Groups and their rows; `all` last.
pub(super) fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let members =
        |group| ALL.iter().filter(move |workload| workload.group == Some(group)).map(|workload| workload.name);
    let mut groups: Vec<_> =
        ["plaintext", "pipelined", "bytes", "rate"].map(|group| (group, members(group).collect())).into();
    groups.push(("all", ALL.iter().map(|workload| workload.name).collect()));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8080))
    }

    #[test]
    fn the_rows_are_those_that_were_promised() {
        let names: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
        let promised = "plaintext-1 plaintext-64 plaintext-512 plaintext-4096 pipelined-64 pipelined-512 \
            pipelined-4096 baseline short-lived limited-4096 connection-per-request json headers bytes-1k bytes-64k \
            bytes-1m upload-1m idle rate-10 rate-50 rate-80 rate-40k-512 rate-40k-4096 rate-2k-1024 slow-app";
        assert_eq!(names.join(" "), promised);
    }

    #[test]
    fn every_group_has_members_and_all_has_every_row() {
        for (name, members) in groups() {
            assert!(members.len() >= 2, "{name}");
        }
        assert_eq!(groups().last().expect("works in tests").1.len(), ALL.len());
    }

    #[test]
    fn every_request_parses_as_one_message() {
        for workload in ALL {
            for exchange in workload.exchanges(target(), true) {
                let mut fields = [httparse::EMPTY_HEADER; 32];
                let mut request = httparse::Request::new(&mut fields);
                let parsed = request.parse(&exchange.request).expect("works in tests");
                let httparse::Status::Complete(head) = parsed else { panic!("{}: no whole head", workload.name) };
                let length = request.headers.iter().find(|field| field.name == "Content-Length");
                if let Some(length) = length {
                    let length: usize =
                        std::str::from_utf8(length.value).expect("works in tests").parse().expect("works in tests");
                    assert_eq!(exchange.request.len() - head, length, "{}", workload.name);
                }
            }
        }
    }

    #[test]
    fn a_browser_sends_15_fields_and_about_700_bytes() {
        let exchange = Workload::named("headers").exchanges(target(), true).remove(0);
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(&exchange.request).expect("works in tests").is_complete());
        assert_eq!(request.headers.len(), 15);
        assert!((650..=750).contains(&exchange.request.len()), "{}", exchange.request.len());
    }

    #[test]
    fn content_is_asked_for_only_when_strict() {
        let workload = Workload::named("bytes-1k");
        let strict = &workload.exchanges(target(), true)[0].expected;
        assert_eq!(strict.body.as_deref(), Some([b'x'; 1024].as_slice()));
        let loose = &workload.exchanges(target(), false)[0].expected;
        assert_eq!((loose.status, loose.body_bytes, loose.body.is_some()), (Some(200), Some(1024), false));
    }
}
