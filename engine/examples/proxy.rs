//! A reverse proxy: `cargo run --release --example proxy -- UPSTREAM [ADDRESS]`, where UPSTREAM is the URL of an origin
//! server, such as `http://127.0.0.1:9000`.
//!
//! Bodies stream both ways; fields that are for one connection only stay there; the origin server is told who asks
//! (X-Forwarded-For, -Host and -Proto). 502: it cannot be reached, 504: it takes too long.

use std::env;
use std::error::Error;
use std::io;
use std::time::Duration;

use ringress::{Engine, Reply, Request, Response};
use ureq::{Agent, SendBody, http};

const GRACE: Duration = Duration::from_secs(5);
const CONNECT_MAX: Option<Duration> = Some(Duration::from_secs(5));
const ANSWER_MAX: Option<Duration> = Some(Duration::from_secs(60));
/// Fields of one connection (RFC 9110 section 7.6.1), and those that either side writes itself.
const OWN: &str = "connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect host \
    content-length date";

struct Proxy {
    upstream: String,
    agent: Agent,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let upstream = arguments.next().filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    let upstream = upstream.ok_or("usage: proxy UPSTREAM [ADDRESS], with a URL, such as http://127.0.0.1:9000")?;
    let upstream = upstream.trim_end_matches('/').to_owned();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let settings =
        Agent::config_builder().max_redirects(0).http_status_as_error(false).allow_non_standard_methods(true);
    let settings = settings.user_agent("").accept("").timeout_connect(CONNECT_MAX).timeout_recv_response(ANSWER_MAX);
    let proxy = Proxy { upstream, agent: settings.build().new_agent() };
    let server = Engine::serve(&format!("http://{address}/"), move |request| proxy.forward(request))?;
    println!("listening on {}", server.url());
    Ok(server.on_error(|error| eprintln!("proxy: {error}")).run_until_signal(GRACE)?)
}

/// Whether a field goes on, given the Connection fields of its message, which name others of one connection.
fn goes_on(name: &[u8], connection: &[&[u8]]) -> bool {
    let mut named = connection.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    !OWN.split(' ').any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
        && !named.any(|other| name.eq_ignore_ascii_case(other))
}

impl Proxy {
    fn forward(&self, request: &mut Request) -> Result<Reply, Box<dyn Error>> {
        let Ok(head) = self.head(request) else { return Ok(Response::new(400).into()) };
        let answered = match request.content_length() {
            Some(0) => self.agent.run(head.body(SendBody::none())?),
            _ => self.agent.run(head.body(SendBody::from_reader(&mut request.body()))?),
        };
        match answered {
            Ok(answer) => Ok(give(answer)),
            Err(ureq::Error::Timeout(_)) => Ok(Response::new(504).close().into()),
            Err(error) => {
                eprintln!("proxy: {}: {error}", self.upstream);
                Ok(Response::new(502).close().into())
            }
        }
    }

    /// What is asked of the origin server.
    fn head(&self, request: &Request) -> Result<http::request::Builder, Box<dyn Error>> {
        // Path and query as sent: decoded, they would not come back as they were.
        let url: http::Uri = request.full_url().parse()?;
        let target = url.path_and_query().map_or("", |target| target.as_str());
        let mut head = http::Request::builder().method(request.method_name()).uri(format!("{}{target}", self.upstream));
        let connection: Vec<_> = request.header_values("connection").collect();
        for (name, value) in request.headers() {
            if goes_on(name, &connection) && !name.eq_ignore_ascii_case(b"x-forwarded-for") {
                head = head.header(name, value);
            }
        }
        if let Some(length) = request.content_length().filter(|length| *length > 0) {
            head = head.header("content-length", length);
        }
        let client = request.peer_addr().ip().to_string();
        let clients: Vec<_> = request.header_values("x-forwarded-for").chain([client.as_bytes()]).collect();
        head = head.header("x-forwarded-for", clients.join(&b", "[..])).header("x-forwarded-proto", "http");
        head = head.header("x-forwarded-host", request.header("host").unwrap_or_default());
        head.headers_ref().ok_or("what cannot go on")?;
        Ok(head)
    }
}

/// Gives the client what the origin server has answered.
fn give(answer: http::Response<ureq::Body>) -> Reply {
    let (head, body) = answer.into_parts();
    let connection: Vec<_> = head.headers.get_all("connection").iter().map(|value| value.as_bytes()).collect();
    let mut response = Response::new(head.status.as_u16());
    for (name, value) in head.headers.iter().filter(|(name, _)| goes_on(name.as_ref(), &connection)) {
        response = response.header(name.as_str().to_owned(), value.as_bytes().to_vec());
    }
    let length = head.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(length) = length {
        response = response.content_length(length);
    }
    Reply::stream(response, |stream| io::copy(&mut body.into_reader(), stream).map(drop))
}
