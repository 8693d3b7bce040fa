//! Uploads into a directory, and downloads from it: `cargo run --release --example upload -- DIR PASSWORD [ADDRESS]`,
//! then `curl -c jar -d password=PASSWORD http://127.0.0.1:8080/login` and
//! `curl -b jar -T README.md http://127.0.0.1:8080/README.md`.
//!
//! Who has logged in, which a cookie says, uploads by PUT: files of any size, which are there once they are whole.
//! Everybody downloads, also in parts; `?download` asks the browser to store a file. `/` lists what there is.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ringress::{Engine, FileRange, Method, Request, Response, Validators};

const FORM_BYTES_MAX: usize = 4_096;
const GRACE: Duration = Duration::from_secs(5);

type Answer = Result<Response<'static>, Box<dyn Error>>;

struct Site {
    root: PathBuf,
    password: String,
    /// What the cookie of those holds who have logged in.
    token: String,
    uploads: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(root), Some(password)) = (arguments.next(), arguments.next()) else {
        return Err("usage: upload DIR PASSWORD [ADDRESS]".into());
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let site = Site { root: root.into(), password, token, uploads: AtomicU64::new(0) };
    let server = Engine::serve(&format!("http://{address}/"), move |request| answer(request, &site))?;
    println!("listening on {}", server.url());
    Ok(server.on_error(|error| eprintln!("upload: {error}")).run_until_signal(GRACE)?)
}

fn answer(request: &mut Request, site: &Site) -> Answer {
    match (request.method(), request.path(), name(request)) {
        (Method::Get | Method::Head, "/", _) => list(site),
        (Method::Post, "/login", _) => login(request, site),
        (Method::Get | Method::Head, _, Some(name)) => download(request, site, &name),
        (Method::Put, _, Some(name)) => upload(request, site, &name),
        (Method::Get | Method::Head | Method::Put, _, None) => Ok(Response::new(404)),
        _ => Ok(Response::new(405).header("Allow", "GET, HEAD, PUT")),
    }
}

/// The name of a file, decoded; none that leads out of the directory, or to an upload that is under way.
fn name(request: &Request) -> Option<String> {
    let mut segments = request.path_segments();
    let (name, more) = (segments.next()?.into_owned(), segments.next());
    let is_name = more.is_none() && !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    is_name.then_some(name)
}

fn list(site: &Site) -> Answer {
    let names = fs::read_dir(&site.root)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let lines: String = names.filter(|name| !name.starts_with('.')).map(|name| format!("{name}\n")).collect();
    Ok(Response::text(lines))
}

fn login(request: &mut Request, site: &Site) -> Answer {
    // What is no form is answered 415, and one that is longer 413.
    let form = request.body().to_form(FORM_BYTES_MAX)?;
    if form.value("password").as_deref() != Some(&site.password) {
        return Ok(Response::new(403).body("wrong password\n"));
    }
    let cookie = format!("token={}; HttpOnly; SameSite=Strict; Path=/", site.token);
    Ok(Response::new(303).header("Set-Cookie", cookie).header("Location", "/"))
}

fn upload(request: &mut Request, site: &Site, name: &str) -> Answer {
    if request.cookie("token") != Some(site.token.as_bytes()) {
        return Ok(Response::new(403).close());
    }
    let part = site.root.join(format!(".{}.part", site.uploads.fetch_add(1, Ordering::Relaxed)));
    let stored = File::create(&part).and_then(|mut file| io::copy(&mut request.body(), &mut file));
    if let Err(error) = stored.and_then(|_| fs::rename(&part, site.root.join(name))) {
        let _ = fs::remove_file(&part);
        return Err(error.into());
    }
    Ok(Response::new(201).header("Location", format!("/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))))
}

fn download(request: &Request, site: &Site, name: &str) -> Answer {
    let opened = File::open(site.root.join(name)).and_then(|file| Ok((file.metadata()?, file)));
    let Ok((metadata, file)) = opened else { return Ok(Response::new(404)) };
    let mut response = Response::ok().body(FileRange::new(file, 0..metadata.len()));
    if request.query_value("download").is_some() {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        response = response.header("Content-Disposition", format!("attachment; filename*=UTF-8''{encoded}"));
    }
    Ok(response.select(request, &Validators::of(&metadata)))
}
