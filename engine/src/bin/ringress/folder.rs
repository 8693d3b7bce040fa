//! `ringress serve`: a folder, over HTTP.
//!
//! Invariants: segments of a path are decoded each by itself, and one that has a slash or a NUL then, or begins with a
//! dot, names nothing; only what has an index.html is told to be a directory; a redirect leads to a relative path, and
//! so never elsewhere.
//!
//! Not here: how a file is found and answered (`files`).

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ringress::signal::Watch;
use ringress::{ConnectionLimits, Endpoint, Engine, Listener, Method, Request, Response};

use super::files::{self, Found, Root};

/// Files that are opened at a time. What is sent then takes no thread.
const THREADS: usize = 16;

/// Where it listens if nothing says where.
const USUAL: &str = "127.0.0.1:8080";

/// What requests under way have to end after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// What a directory is answered with.
const INDEX: &str = "index.html";

/// Names that begin with a dot are hidden, but for this one, which is there to be served (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// Serves until a signal, or until the engine fails.
pub(crate) fn serve(folder: &Path, addresses: &[String], limits: ConnectionLimits) -> Result<(), Box<dyn Error>> {
    // Before anything else has descriptors that these could be taken for.
    let activated = Listener::activated()?;
    let root = Root::open(folder).map_err(|error| format!("DIR {}: {error}", folder.display()))?;
    let engine = Engine::builder().raise_descriptor_limit(true).connection_limits(limits).start()?;
    let queue = engine.request_queue("folder")?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    let bound = listen(&engine, addresses, activated)?;
    // Unix sockets stand for a port, too.
    for port in engine.addresses().iter().map(|opened| opened.port).collect::<BTreeSet<_>>() {
        group.add_url(&format!("http://*:{port}/"), 0)?;
    }
    let pool = queue.serve(THREADS, move |request| answer(request, &root))?;
    let _pool = pool.on_error(|error| eprintln!("ringress: {error}"));
    let mut lines: String = bound.iter().map(line).collect();
    lines += &match engine.io_uring_refusal() {
        Some(refusal) => format!("driver: {}, since {refusal}\n", engine.driver()),
        None => format!("driver: {}\n", engine.driver()),
    };
    // Whoever reads that it listens may end it.
    let watch = Watch::begin()?;
    super::print(lines.as_bytes())?;
    Ok(engine.run_until(watch, GRACE)?)
}

/// Listens on these addresses, then on the sockets that a service manager has opened, or else on the usual address.
fn listen(engine: &Engine, addresses: &[String], activated: Vec<Listener>) -> Result<Vec<Endpoint>, Box<dyn Error>> {
    let on = |address: &str| address.parse::<Listener>().and_then(|listener| engine.listen_on(listener));
    if addresses.is_empty() && activated.is_empty() {
        let error = |error| format!("{error}. {USUAL} is where it listens by default: --listen says where else");
        return Ok(vec![on(USUAL).map_err(error)?]);
    }
    let mut bound = Vec::new();
    for address in addresses {
        bound.push(on(address).map_err(|error| format!("--listen {address}: {error}"))?);
    }
    for socket in activated {
        bound.push(engine.listen_on(socket).map_err(|error| format!("LISTEN_FDS: {error}"))?);
    }
    Ok(bound)
}

fn line(bound: &Endpoint) -> String {
    match bound {
        Endpoint::Tcp(address) => format!("listening on http://{address}/\n"),
        other => format!("listening on {other}\n"),
    }
}

fn answer(request: &Request, root: &Root) -> Response<'static> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return text(405, "a folder knows GET and HEAD alone\n").header("Allow", "GET, HEAD");
    }
    let Some(path) = path(request) else { return not_found() };
    let found = root.find(&path).and_then(|found| match found {
        Found::File(file, metadata) => Ok(files::response(request, &path, file, &metadata)),
        Found::Directory => Ok(match root.find(&format!("{path}/{INDEX}"))? {
            Found::File(..) => with_slash(request),
            _ => not_found(),
        }),
        Found::Nothing => Ok(not_found()),
    });
    found.unwrap_or_else(|error| {
        eprintln!("ringress: {path}: {error}");
        text(503, "the file cannot be opened now\n").header("Retry-After", "1")
    })
}

/// The path below the folder that a request asks for: that of its index, for a directory.
fn path(request: &Request) -> Option<String> {
    let mut path = String::new();
    let mut segments = request.rest_segments().peekable();
    while let Some(segment) = segments.next() {
        match &*segment {
            "" if segments.peek().is_none() => return Some(path + INDEX),
            name if is_shown(name) => path += name,
            _ => return None,
        }
        if segments.peek().is_some() {
            path.push('/');
        }
    }
    Some(if path.is_empty() { INDEX.to_owned() } else { path })
}

fn is_shown(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && (!name.starts_with('.') || name == WELL_KNOWN)
}

/// To the same path with a slash behind it, below which the links of an index are meant.
fn with_slash(request: &Request) -> Response<'static> {
    let name = request.raw_path().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    let query = request.query().map(|query| format!("?{}", String::from_utf8_lossy(query))).unwrap_or_default();
    text(301, "a directory's path ends with a slash\n").header("Location", format!("./{name}/{query}"))
}

fn not_found() -> Response<'static> {
    text(404, "no such file\n")
}

fn text(status: u16, text: &'static str) -> Response<'static> {
    Response::new(status).content_type("text/plain; charset=utf-8").body(text)
}
