//! Leaves without loss behind a load balancer: `cargo run --release --example ready [-- ADDRESS [SECONDS]]`, then
//! `curl -i http://127.0.0.1:8080/ready` and `kill PID`.
//!
//! `/ready` is what the balancer asks again and again (a readiness probe of Kubernetes, `option httpchk` of haproxy).
//! It answers 200 until SIGTERM or SIGINT comes. Then, in this order:
//!
//! 1. `/ready` answers 503. Everything else is served as before, since requests come until the balancer has noticed.
//! 2. So many SECONDS pass, 5 if nothing is said: more than the balancer needs to ask and to be believed, which is the
//!    interval of its checks times the failures that count, and what it takes it to tell others. A second signal cuts
//!    this short.
//! 3. It takes no more connections. Each that is there may send one more request, whose response says `Connection:
//!    close`; requests under way are answered.
//! 4. It ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, process, thread};

use ringress::{Engine, Request, Response};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long connections may be idle that are to notice nothing.
const LINGER: Duration = Duration::from_secs(20);
/// What requests that are under way have to end.
const GRACE: Duration = Duration::from_secs(30);
const THREADS: usize = 4;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let mut arguments = env::args().skip(1);
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into()).parse()?;
    let notice = Duration::from_secs(arguments.next().map_or(Ok(5), |seconds| seconds.parse())?);

    let engine = Arc::new(Engine::builder().raise_descriptor_limit(true).start()?);
    let address = engine.listen(address)?;
    let is_leaving = Arc::new(AtomicBool::new(false));
    let queue = engine.request_queue("ready")?;
    let shown = Arc::clone(&is_leaving);
    let _pool = queue.serve(THREADS, move |request| answer(request, shown.load(Ordering::Relaxed)))?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    println!("listening on http://{address}/ ({})", process::id());

    let (told, is_told) = mpsc::channel();
    let (ending, tells) = (Arc::clone(&engine), told.clone());
    thread::spawn(move || {
        // For whatever reason: an engine that has failed is not waited for.
        let _ = ending.wait();
        let _ = tells.send(());
    });
    thread::spawn(move || signals.forever().try_for_each(|_| told.send(())));

    is_told.recv()?;
    is_leaving.store(true, Ordering::Relaxed);
    println!("leaving: /ready answers 503");
    let _ = is_told.recv_timeout(notice);
    println!("draining");
    engine.drain(LINGER, GRACE)?;
    println!("ended after {} requests", engine.counters().requests_answered);
    Ok(())
}

fn answer(request: &Request, is_leaving: bool) -> Response<'static> {
    match request.path() {
        "/ready" if is_leaving => Response::new(503),
        "/ready" => Response::text("ready\n"),
        path => Response::text(format!("{path} from {}\n", process::id())),
    }
}
