//! A reverse proxy: `cargo run --release --example proxy -- UPSTREAM [ADDRESS]`, where UPSTREAM is the URL of an origin
//! server, such as `http://127.0.0.1:9000`.
//!
//! Bodies stream both ways; fields that are for one connection only stay there; the origin server is told who asks
//! (X-Forwarded-For, -Host and -Proto). 502: it cannot be reached, 504: it takes too long.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use ringress::{Engine, KnownHeader, Request, RequestQueue, Response, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use ureq::{Agent, Body, SendBody, http};

const THREADS: usize = 64;
const GRACE: Duration = Duration::from_secs(5);
const CONNECT_MAX: Option<Duration> = Some(Duration::from_secs(5));
const ANSWER_MAX: Option<Duration> = Some(Duration::from_secs(60));
/// Fields of one connection (RFC 9110 section 7.6.1), and those that either side writes itself.
const OWN: &str = "connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect host \
    content-length date server";

struct Proxy {
    upstream: String,
    agent: Agent,
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let upstream = arguments.next().ok_or("usage: proxy UPSTREAM [ADDRESS]")?.trim_end_matches('/').to_owned();
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into()).parse()?;
    let settings =
        Agent::config_builder().max_redirects(0).http_status_as_error(false).allow_non_standard_methods(true);
    let settings = settings.user_agent("").accept("").timeout_connect(CONNECT_MAX).timeout_recv_response(ANSWER_MAX);
    let proxy = Arc::new(Proxy { upstream, agent: settings.build().new_agent() });
    let engine = Arc::new(Engine::start()?);
    let queue = engine.request_queue("proxy")?;
    let address = engine.listen(address)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    let start = |_| {
        let (queue, proxy) = (queue.clone(), Arc::clone(&proxy));
        thread::spawn(move || consume(&queue, &proxy))
    };
    let threads: Vec<_> = (0..THREADS).map(start).collect();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let stopped = Arc::downgrade(&engine);
    thread::spawn(move || {
        signals.forever().next();
        stopped.upgrade().map(|engine| engine.shutdown(GRACE))
    });
    println!("listening on http://{address}/");
    engine.wait()?;
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    Ok(())
}

fn consume(queue: &RequestQueue, proxy: &Proxy) {
    while let Ok(request) = queue.receive() {
        // A handler that panics has dropped its request, which is answered 500; its thread goes on.
        match catch_unwind(AssertUnwindSafe(|| proxy.forward(request))) {
            Ok(Err(error)) if !error.is_gone() => eprintln!("proxy: {error}"),
            _ => {}
        }
    }
}

/// Whether a field goes on, given the Connection field of its message, which names others of one connection.
fn goes_on(name: &str, connection: &[u8]) -> bool {
    let mut named = connection.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    !OWN.split(' ').any(|own| own.eq_ignore_ascii_case(name))
        && !named.any(|other| other.eq_ignore_ascii_case(name.as_bytes()))
}

impl Proxy {
    fn forward(&self, mut request: Request) -> Result<()> {
        let Ok(head) = self.head(&request) else { return request.respond(Response::new(400)) };
        let answered = match request.content_length() {
            Some(0) => self.agent.run(head.body(SendBody::none()).expect("the head is checked")),
            _ => {
                let mut body = request.body();
                self.agent.run(head.body(SendBody::from_reader(&mut body)).expect("the head is checked"))
            }
        };
        match answered {
            Ok(answer) => give(request, answer),
            Err(ureq::Error::Timeout(_)) => request.respond(Response::new(504).close()),
            Err(error) => {
                eprintln!("proxy: {}: {error}", self.upstream);
                request.respond(Response::new(502).close())
            }
        }
    }

    /// What is asked of the origin server.
    fn head(&self, request: &Request) -> std::result::Result<http::request::Builder, Box<dyn Error>> {
        let query = request.query().map(|query| format!("?{}", String::from_utf8_lossy(query))).unwrap_or_default();
        // The path as sent: decoded, it would not come back as it was.
        let path = std::str::from_utf8(request.raw_url())?.split('?').next().unwrap_or_default();
        let mut head =
            http::Request::builder().method(request.method_name()).uri(format!("{}{path}{query}", self.upstream));
        let connection = request.header(KnownHeader::Connection).unwrap_or_default();
        let mut forwarded = Vec::new();
        for (name, value) in request.headers() {
            let name = std::str::from_utf8(name)?;
            if name.eq_ignore_ascii_case("x-forwarded-for") {
                forwarded.extend([value, b", "].concat());
            } else if goes_on(name, connection) {
                head = head.header(name, value);
            }
        }
        if let Some(length) = request.content_length().filter(|length| *length > 0) {
            head = head.header("content-length", length);
        }
        forwarded.extend(request.peer_addr().ip().to_string().into_bytes());
        head = head.header("x-forwarded-for", forwarded).header("x-forwarded-proto", "http");
        head = head.header("x-forwarded-host", request.header(KnownHeader::Host).unwrap_or_default());
        head.headers_ref().ok_or("a field that cannot go on")?;
        Ok(head)
    }
}

/// Gives the client what the origin server has answered.
fn give(request: Request, answer: http::Response<Body>) -> Result<()> {
    let (head, body) = answer.into_parts();
    let connection = head.headers.get("connection").map_or(&b""[..], |value| value.as_bytes());
    let mut response = Response::new(head.status.as_u16());
    for (name, value) in &head.headers {
        if goes_on(name.as_str(), connection) {
            response = response.header(name.as_str(), value.as_bytes());
        }
    }
    let length = head.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(length) = length {
        response = response.content_length(length);
    }
    let mut stream = request.start(response)?;
    match io::copy(&mut body.into_reader(), &mut stream) {
        Ok(_) => stream.finish().map(drop),
        Err(error) => {
            // Dropped unfinished, the response is cut, so that nobody takes it for whole.
            eprintln!("proxy: a response broke off: {error}");
            Ok(())
        }
    }
}
