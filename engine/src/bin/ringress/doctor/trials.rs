//! io_uring piece by piece, the driver that an engine has here, and whether it serves.
//!
//! Invariants: an engine with the default settings is what is tried; nothing but loopback is spoken to.
//!
//! Not here: how io_uring is tried (`ringress::diagnostics`), and what else there is on a host.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use ringress::diagnostics::{Piece, pieces};
use ringress::{Driver, Engine, Response};

use super::Outcome;
use super::report::{Finding, Report, Verdict};

/// What an answer over loopback may take.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Where the driver is named that is wanted.
const VARIABLE: &str = "RINGRESS_DRIVER";

/// What is tried; gives the engine, if there is one.
pub(super) fn examine(report: &mut Report) -> Option<Engine> {
    let system = rustix::system::uname();
    let [release, machine] = [system.release(), system.machine()].map(|text| text.to_string_lossy());
    report.add(Finding::ok("kernel", format!("Linux {release}, {machine}")));
    for piece in pieces() {
        report.add(of_piece(&piece));
    }
    match Engine::start() {
        Ok(engine) => {
            report.add(of_driver(&engine, std::env::var(VARIABLE).ok().as_deref()));
            report.add(of_serving(&engine));
            Some(engine)
        }
        Err(error) => {
            report.add(Finding::of_error("driver", Verdict::Broken, &error));
            None
        }
    }
}

pub(super) fn outcome(engine: Option<&Engine>) -> Outcome {
    let capacity = Engine::builder().capacity().ok();
    Outcome {
        has_io_uring: engine.is_some_and(|engine| engine.driver() == Driver::IoUring),
        shards: engine.map_or(1, Engine::shards),
        connections: capacity.as_ref().map_or(0, |capacity| capacity.connections),
        resident_max: capacity.as_ref().map_or(0, |capacity| capacity.resident_max),
        reserved: capacity.as_ref().map_or(0, |capacity| capacity.reserved),
    }
}

fn of_piece(piece: &Piece) -> Finding {
    let name = format!("io_uring {}", piece.name);
    match &piece.tried {
        Some(Ok(())) => Finding::ok(&name, "tried, and there"),
        Some(Err(error)) if piece.is_needed => Finding::of_error(&name, Verdict::Slow, error),
        Some(Err(_)) => Finding::slow(
            &name,
            "tried, and not there, without which io_uring is dearer",
            format!("run Linux {} or later", piece.since),
        ),
        None => Finding::slow(&name, "not tried: what io_uring needs before it was refused", "see above"),
    }
}

/// Which driver it is, and why, where the environment names one of them.
fn of_driver(engine: &Engine, variable: Option<&str>) -> Finding {
    let driver = engine.driver();
    let named = variable.filter(|name| !name.is_empty() && *name != "auto");
    match (engine.io_uring_refusal(), named) {
        (Some(refusal), _) => {
            let finding = Finding::of_error("driver", Verdict::Slow, refusal);
            Finding { cause: format!("{driver}, since {}", finding.cause), ..finding }
        }
        (None, Some(_)) if driver == Driver::Epoll => Finding::slow(
            "driver",
            format!("{driver}, since {VARIABLE} says so, which costs more time a request"),
            format!("unset {VARIABLE}, or set it to auto"),
        ),
        (None, Some(_)) => Finding::ok("driver", format!("{driver}, as {VARIABLE} says")),
        (None, None) => Finding::ok("driver", format!("{driver}, which is tried first")),
    }
}

/// Has a request served, over loopback.
fn of_serving(engine: &Engine) -> Finding {
    const NAME: &str = "serving";
    let serve = || -> ringress::Result<io::Result<String>> {
        let address = engine.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let queue = engine.request_queue("doctor")?;
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue)?;
        group.add_url(&format!("http://*:{}/", address.port()), 0)?;
        let _pool = queue.serve(1, |_request| Response::text("served"))?;
        let answer = ask(address);
        engine.unlisten(address)?;
        Ok(answer)
    };
    let unsaid =
        |error: String| Finding::slow(NAME, error, "make loopback reachable (ip link set lo up), or try by hand");
    match serve() {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("served") => {
            Finding::ok(NAME, format!("a request over loopback was answered, by {} shards", engine.shards()))
        }
        Ok(Ok(answer)) => unsaid(format!("a request over loopback was answered with {answer:?}")),
        Ok(Err(error)) => unsaid(format!("a request over loopback was not answered: {error}")),
        Err(error) => Finding::of_error(NAME, Verdict::Slow, &error),
    }
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
