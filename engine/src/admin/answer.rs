//! What is asked for, and the answer: which paths there are, and what a response says.
//!
//! Invariants: an answer is whole before it is sent, has its length, and ends the connection; what was asked is not
//! repeated in it. On loopback, a name other than localhost is refused: by such a name, a page of elsewhere could have
//! a browser read what is shown here (DNS rebinding).
//!
//! Not here: bytes and connections (`connection`), and what is told (`metrics`, `state`).

use core::fmt::Write;
use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;

use ringress_proto::date::imf_fixdate;
use ringress_proto::head::Head;
use ringress_proto::method::Method;
use ringress_proto::reject::Reject;

use super::about::{About, Served};
use super::ages::Ages;
use super::connection::Written;
use super::{describe, metrics, openmetrics, state};
use crate::clock;
use crate::config::Mode;
use crate::session::{Engine, Watcher};

/// The status page. Where it has `NONCE`, each answer has a number of its own, by which the browser knows that script
/// and style are the page's.
const PAGE: &str = include_str!("page.html");
/// What there is.
const PATHS: [&[u8]; 6] = [b"/", b"/metrics", b"/healthz", b"/readyz", b"/state", b"/live"];
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// What of a page may be loaded and run: nothing but what is in it, which asks here alone.
const NOTHING_ELSE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is shown.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) engine: Watcher,
    about: About,
    pub(super) ages: Ages,
    /// Hosts have no other names than localhost and addresses.
    checks_host: bool,
    /// What was answered in this turn, by its path: the same to all who ask in one turn, so that many cost little more
    /// than one.
    answered: Vec<(&'static [u8], Answer)>,
}

/// What is asked for.
struct Question<'a> {
    method: Method,
    target: &'a [u8],
    host: &'a [u8],
}

/// An answer without its head.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    content_type: &'static str,
    body: Arc<str>,
    nonce: Option<String>,
}

impl Answer {
    fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: TEXT, body: format!("{text}\n").into(), nonce: None }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, content_type: JSON, body: value.to_string().into(), nonce: None }
    }

    /// 200, or 503 with the reason.
    fn probe(ailment: Option<String>) -> Self {
        ailment.map_or_else(|| Self::text(200, "ok"), |text| Self::text(503, &text))
    }

    fn page() -> Self {
        let part = || RandomState::new().build_hasher().finish();
        let nonce = format!("{:016x}{:016x}", part(), part());
        let body = PAGE.replace("NONCE", &nonce).into();
        Self { status: 200, content_type: "text/html; charset=utf-8", body, nonce: Some(nonce) }
    }

    /// With its head; of HEAD, that alone.
    fn written(self, method: Method) -> Written {
        let Self { status, content_type, body, nonce } = self;
        let date = imf_fixdate(clock::wall().as_secs());
        let date = core::str::from_utf8(&date).unwrap_or_default();
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nDate: {date}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: {NOTHING_ELSE}",
            reason(status),
            body.len()
        );
        if let Some(nonce) = nonce {
            let _ = write!(head, "; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'");
        }
        if status == 405 {
            head.push_str("\r\nAllow: GET, HEAD");
        }
        head.push_str("\r\n\r\n");
        Written { head: head.into_bytes(), body: if method == Method::Head { Arc::default() } else { body } }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// Whether a host is given by its address, or as localhost; with a port or without.
fn is_own_host(host: &[u8]) -> bool {
    let Ok(host) = core::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

impl Question<'_> {
    fn path(&self) -> &[u8] {
        let mut target = self.target;
        if let Some(absolute) = target.strip_prefix(b"http://") {
            let path = absolute.iter().position(|byte| *byte == b'/');
            target = path.map_or(b"/", |at| &absolute[at..]);
        }
        target.split(|byte| *byte == b'?').next().unwrap_or_default()
    }
}

impl Site {
    pub(super) fn of(engine: &Engine, checks_host: bool) -> Self {
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            driver: engine.driver().to_string(),
            refusal: engine.io_uring_refusal().map(ToString::to_string),
            mode: match engine.mode() {
                Mode::Queue => "queue",
                Mode::Colocated => "colocated",
            },
            began: clock::now(),
        };
        Self { engine: engine.watcher(), about, ages: Ages::default(), checks_host, answered: Vec::new() }
    }

    /// Looks how long requests wait.
    pub(super) fn look(&mut self) {
        self.ages.look(clock::now(), &self.engine.queue_levels());
    }

    /// A turn ends: who asks later is told what is so by then.
    pub(super) fn end_turn(&mut self) {
        self.answered.clear();
    }

    /// The answer to a head that could be read.
    pub(super) fn answer(&mut self, head: &Head, bytes: &[u8], served: &mut Served) -> Written {
        let (target, host) = (head.target.of(bytes), head.host.of(bytes));
        let answer = self.answer_to(&Question { method: head.method, target, host }, served);
        served.refused += u64::from(answer.status >= 400 && answer.status != 503);
        answer.written(head.method)
    }

    fn answer_to(&mut self, question: &Question<'_>, served: &Served) -> Answer {
        if !matches!(question.method, Method::Get | Method::Head) {
            return Answer::text(405, "GET and HEAD alone");
        }
        if self.checks_host && !is_own_host(question.host) {
            let remedy = "ask for localhost or the address, or allow other hosts by AdminOptions::beyond_loopback";
            return Answer::text(421, &format!("this is not that host: {remedy}"));
        }
        let known = PATHS.into_iter().find(|known| *known == question.path());
        let Some(path) = known else {
            return Answer::text(404, "there are /, /metrics, /healthz, /readyz, /state and /live");
        };
        if let Some((_, answer)) = self.answered.iter().find(|(answered, _)| *answered == path) {
            return answer.clone();
        }
        let answer = self.answer_at(path, served);
        // Each page has a number of its own.
        if path != b"/" {
            self.answered.push((path, answer.clone()));
        }
        answer
    }

    fn answer_at(&mut self, path: &[u8], served: &Served) -> Answer {
        if path == b"/" {
            return Answer::page();
        }
        let engine = self.engine.snapshot();
        match (path, engine) {
            (b"/healthz", engine) => Answer::probe(describe::ailment(engine.as_ref())),
            (b"/readyz", engine) => Answer::probe(describe::unreadiness(engine.as_ref())),
            (_, None) => Answer::text(503, "the engine is gone"),
            (b"/metrics", Some(engine)) => {
                self.look();
                let body = metrics::metrics(&engine, &self.about, &self.ages, served).into();
                Answer { status: 200, content_type: openmetrics::CONTENT_TYPE, body, nonce: None }
            }
            (b"/live", Some(engine)) => {
                self.look();
                Answer::json(&state::live(&engine, &self.about, &self.ages))
            }
            (_, Some(engine)) => {
                self.look();
                Answer::json(&state::state(&engine, &self.engine, &self.about, &self.ages))
            }
        }
    }
}

/// The answer to what is no request, or too long.
pub(super) fn refusal(reject: Reject, served: &mut Served) -> Written {
    served.refused += 1;
    Answer::text(reject.status(), reject.detail()).written(Method::Get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_localhost() {
        for own in ["localhost", "LOCALHOST:9090", "127.0.0.1:1", "127.0.0.1", "[::1]:80", "[::1]", "10.0.0.7:9", ""] {
            assert!(is_own_host(own.as_bytes()), "{own}");
        }
        for other in ["example.test", "example.test:9090", "localhost.example.test", "127.0.0.1.example.test", "[x]"] {
            assert!(!is_own_host(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn targets_of_both_forms_have_a_path() {
        for (target, path) in [
            ("/", "/"),
            ("/metrics?x=/state", "/metrics"),
            ("http://localhost/live", "/live"),
            ("http://localhost", "/"),
            ("*", "*"),
        ] {
            let question = Question { method: Method::Get, target: target.as_bytes(), host: b"" };
            assert_eq!(question.path(), path.as_bytes(), "{target}");
        }
    }
}
