//! Uploads into a directory, and downloads from it: `cargo run --release --example upload -- DIR PASSWORD [ADDRESS]`,
//! then `curl -c jar -d password=PASSWORD http://127.0.0.1:8080/login` and
//! `curl -b jar -T README.md http://127.0.0.1:8080/README.md`.
//!
//! Who has logged in, which a cookie says, uploads by PUT: files of any size, which are there once they are whole.
//! Everybody downloads, also in parts; `?download` asks the browser to store a file. `/` lists what there is.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, thread};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use ringress::{
    Engine, ErrorKind, FileRange, KnownHeader, Method, Request, RequestQueue, Response, Result, Validators,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// As many uploads and logins at a time: each holds a thread while it waits for its client.
const THREADS: usize = 16;
const FORM_BYTES_MAX: usize = 4_096;
const GRACE: Duration = Duration::from_secs(5);

struct Site {
    root: PathBuf,
    password: String,
    /// What the cookie of those holds who have logged in.
    token: String,
    uploads: AtomicU64,
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(root), Some(password)) = (arguments.next(), arguments.next()) else {
        return Err("usage: upload DIR PASSWORD [ADDRESS]".into());
    };
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into()).parse()?;
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let site = Arc::new(Site { root: root.into(), password, token, uploads: AtomicU64::new(0) });
    let engine = Arc::new(Engine::start()?);
    let queue = engine.request_queue("upload")?;
    let address = engine.listen(address)?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    let start = |_| {
        let (queue, site) = (queue.clone(), Arc::clone(&site));
        thread::spawn(move || consume(&queue, &site))
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

fn consume(queue: &RequestQueue, site: &Site) {
    while let Ok(request) = queue.receive() {
        // A handler that panics has dropped its request, which is answered 500; its thread goes on.
        match catch_unwind(AssertUnwindSafe(|| answer(request, site))) {
            Ok(Err(error)) if !error.is_gone() => eprintln!("upload: {error}"),
            _ => {}
        }
    }
}

fn answer(request: Request, site: &Site) -> Result<()> {
    match (request.method(), request.path()) {
        (Method::Get | Method::Head, "/") => list(request, site),
        (Method::Post, "/login") => login(request, site),
        (Method::Get | Method::Head, _) => download(request, site),
        (Method::Put, _) => upload(request, site),
        _ => request.respond(Response::new(405).header("Allow", "GET, HEAD, PUT")),
    }
}

/// The name of a file: the last segment, decoded; of the URL as sent, since `path` has one form for `a%2Fb` and
/// `a%252Fb`. None that leads out of the directory, or to an upload that is under way.
fn name(request: &Request) -> Option<String> {
    let path = request.raw_url().split(|byte| *byte == b'?').next()?;
    let name = percent_decode(path.rsplit(|byte| *byte == b'/').next()?).decode_utf8_lossy().into_owned();
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    is_name.then_some(name)
}

fn list(request: Request, site: &Site) -> Result<()> {
    let Ok(directory) = fs::read_dir(&site.root) else { return request.respond(Response::new(503)) };
    let names = directory.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let lines: String = names.filter(|name| !name.starts_with('.')).map(|name| format!("{name}\n")).collect();
    request.respond(Response::text(lines))
}

fn login(mut request: Request, site: &Site) -> Result<()> {
    let form = match request.body().to_bytes(FORM_BYTES_MAX) {
        Ok(form) => form,
        Err(error) if error.kind() == ErrorKind::TooLarge => return request.respond(Response::new(413).close()),
        Err(error) => return Err(error),
    };
    let is_form = |value: &[u8]| value.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded");
    if !request.header(KnownHeader::ContentType).is_some_and(is_form) {
        return request.respond(Response::new(415));
    }
    if !form_urlencoded::parse(&form).any(|(name, value)| name == "password" && value == site.password) {
        return request.respond(Response::new(403).body("wrong password\n"));
    }
    let cookie = format!("token={}; HttpOnly; SameSite=Strict; Path=/", site.token);
    request.respond(Response::new(303).header("Set-Cookie", &cookie).header("Location", "/"))
}

fn may_upload(request: &Request, site: &Site) -> bool {
    let cookies = request.header(KnownHeader::Cookie).unwrap_or_default().split(|byte| *byte == b';');
    let mut tokens = cookies.filter_map(|cookie| cookie.trim_ascii().strip_prefix(b"token="));
    tokens.any(|token| token == site.token.as_bytes())
}

fn upload(mut request: Request, site: &Site) -> Result<()> {
    let Some(name) = name(&request) else { return request.respond(Response::new(404)) };
    if !may_upload(&request, site) {
        return request.respond(Response::new(403).close());
    }
    let part = site.root.join(format!(".{}.part", site.uploads.fetch_add(1, Ordering::Relaxed)));
    let stored = File::create(&part).and_then(|mut file| io::copy(&mut request.body(), &mut file));
    match stored.and_then(|_| fs::rename(&part, site.root.join(&name))) {
        Ok(()) => {
            let location = format!("/{}", utf8_percent_encode(&name, NON_ALPHANUMERIC));
            request.respond(Response::new(201).header("Location", &location))
        }
        Err(error) => {
            let _ = fs::remove_file(&part);
            eprintln!("upload: {name}: {error}");
            request.respond(Response::new(500).close())
        }
    }
}

fn download(request: Request, site: &Site) -> Result<()> {
    let Some(name) = name(&request) else { return request.respond(Response::new(404)) };
    let opened = File::open(site.root.join(&name)).and_then(|file| Ok((file.metadata()?, file)));
    let Ok((metadata, file)) = opened else { return request.respond(Response::new(404)) };
    let encoded = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    let disposition = format!("attachment; filename*=UTF-8''{encoded}");
    let mut response = Response::ok().body(FileRange::new(file, 0..metadata.len()));
    if form_urlencoded::parse(request.query().unwrap_or_default()).any(|(name, _)| name == "download") {
        response = response.header("Content-Disposition", &disposition);
    }
    let response = response.select(&request, &Validators::of(&metadata));
    request.respond(response)
}
