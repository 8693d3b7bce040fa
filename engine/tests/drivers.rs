//! Which driver an engine has: what was asked for, or what the kernel leaves; and that it serves over either.
//!
//! Refusals are real: seccomp filters on threads and on programs. Not here: what else each driver does, which every
//! other test shows with `RINGRESS_DRIVER` set, and rings that fail later (`failure`).

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use common::program::built;
use common::seccomp::{Filter, IO_URING_CALLS};
use common::{Client, WAIT_MAX, Watched, builder, loopback, profile, receive, within};
use ringress::{Driver, ErrorKind, Mode, Response};

const MODES: [Mode; 2] = [Mode::Queue, Mode::Colocated];

/// Answers some clients over an engine of two shards; gives its driver, and why that is not io_uring.
fn serve(mode: Mode, driver: Driver) -> ringress::Result<(Driver, Option<String>)> {
    let engine = Watched::try_start(builder().shards(2).driver(driver), mode)?;
    let queue = engine.request_queue("test")?;
    let address = engine.listen(loopback(0))?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    group.add_url(&format!("http://*:{}/", address.port()), 0)?;
    thread::scope(|scope| {
        let stop = common::StopOnDrop(&engine);
        let (attached, is_attached) = mpsc::channel();
        for index in 0..2 {
            let (engine, queue, attached) = (&engine, &queue, attached.clone());
            scope.spawn(move || {
                let shard = (mode == Mode::Colocated).then(|| engine.attach(index)).transpose();
                attached.send(shard.as_ref().map(drop).map_err(Clone::clone)).expect("the test waits");
                while shard.is_ok()
                    && let Ok(request) = queue.receive()
                {
                    request.respond(Response::text("served")).expect("open");
                }
            });
        }
        let [one, other] = [0, 1].map(|_| is_attached.recv_timeout(WAIT_MAX).expect("it ends"));
        one.and(other)?;
        for _ in 0..20 {
            let mut client = Client::connect(address);
            (0..3).for_each(|_| assert_eq!(client.ask("/").text(), "served"));
        }
        drop(stop);
        ringress::Result::Ok(())
    })?;
    Ok((engine.driver(), engine.io_uring_refusal().map(ToString::to_string)))
}

/// As [`serve`], on a thread to which some calls are refused, if there can be one.
fn serve_refused(filter: Filter, mode: Mode, driver: Driver) -> Option<ringress::Result<(Driver, Option<String>)>> {
    within(WAIT_MAX, "a refused thread", move || filter.install().then(|| serve(mode, driver)))
}

#[test]
fn what_is_asked_for_is_what_there_is() {
    for mode in MODES {
        assert_eq!(serve(mode, Driver::Epoll).expect("it is always there"), (Driver::Epoll, None));
        match serve(mode, Driver::IoUring) {
            Ok(told) => assert_eq!(told, (Driver::IoUring, None)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                eprintln!("skipped: an engine over io_uring: {error}");
            }
        }
    }
    assert_eq!(Driver::Epoll.to_string().parse::<Driver>().expect("its name"), Driver::Epoll);
    let error = "uring".parse::<Driver>().expect_err("no driver");
    assert!(error.to_string().contains("\"uring\", but must be auto, io_uring or epoll"), "{error}");
}

#[test]
fn whatever_refuses_io_uring_leaves_epoll_for_all_shards() {
    // Where the environment asks for another, nothing is left open.
    if std::env::var_os("RINGRESS_DRIVER").is_some_and(|name| name != "auto") {
        return eprintln!("skipped: RINGRESS_DRIVER says which driver is to be tried");
    }
    let refusals = [libc::EPERM, libc::ENOSYS, libc::EACCES, libc::EINVAL, libc::ENOMEM, libc::EOPNOTSUPP];
    for (call, errnos) in IO_URING_CALLS.into_iter().zip([&refusals[..], &refusals[..2], &refusals[..]]) {
        for &errno in errnos {
            let mode = MODES[usize::from(errno % 2 == 0)];
            let Some(told) = serve_refused(Filter::new(errno).deny(call, 0), mode, Driver::Auto) else { return };
            let (driver, refusal) = told.expect("epoll is left");
            let refusal = refusal.expect("it says why");
            assert_eq!(driver, Driver::Epoll, "{call}: {errno}");
            let [ring, buffers] = ["io_uring", "ring"].map(|word| refusal.contains(word));
            assert!(ring || buffers && errno != libc::EPERM, "{call}: {errno}: {refusal}");
            if errno == libc::EPERM {
                let asked = serve_refused(Filter::new(errno).deny(call, 0), mode, Driver::IoUring).expect("as above");
                assert_eq!(asked.expect_err("nothing else was asked for").to_string(), refusal);
            }
        }
    }
}

#[test]
fn a_shard_that_is_attached_where_less_is_allowed_has_the_driver_of_its_engine() {
    let engine = Watched::start(builder().driver(Driver::Epoll), Mode::Colocated);
    let filter = IO_URING_CALLS.into_iter().fold(Filter::new(libc::EPERM), |filter, call| filter.deny(call, 0));
    thread::scope(|scope| {
        let attach = || filter.install().then(|| engine.attach(0).map(drop));
        let attached = scope.spawn(attach).join().expect("ends");
        assert!(attached.is_none_or(|attached| attached.is_ok()));
    });
}

/// A showcase, with its first line.
struct Showcase {
    child: Child,
    first: String,
    rest: BufReader<std::process::ChildStdout>,
}

fn showcase(arguments: &[&str], variable: Option<&str>) -> Showcase {
    let mut command = Command::new(built("showcase"));
    command.args(["--listen", "127.0.0.1:0", "--shards", "2"]).args(arguments).env_remove("RINGRESS_DRIVER");
    command.envs(variable.map(|name| ("RINGRESS_DRIVER", name)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut rest = BufReader::new(child.stdout.take().expect("piped"));
    let mut first = String::new();
    rest.read_line(&mut first).expect("a pipe");
    Showcase { child, first, rest }
}

impl Showcase {
    /// Has it serve, and ends it.
    #[track_caller]
    fn check(mut self, first: &str) {
        assert!(self.first.starts_with(first), "{:?} instead of {first:?}", self.first);
        let mut line = String::new();
        self.rest.read_line(&mut line).expect("a pipe");
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix('/'));
        let address = address.expect("it listens").parse().expect("an address");
        assert_eq!(Client::connect(address).ask("/pipeline").status, 200);
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: the call takes two numbers; the child has not been waited for, so that the pid is still its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// Keeps the fields of the events of the thread that it is set on.
#[cfg(feature = "tracing")]
#[derive(Clone, Default)]
struct Heard(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

#[cfg(feature = "tracing")]
impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = format!("{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text.push_str(&format!(" {field}={value:?}"));
        });
        self.0.lock().expect("no test panics with it").push(text);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[cfg(feature = "tracing")]
#[test]
fn an_event_says_once_who_drives_an_engine_and_why() {
    let heard_of = |driver: Driver| {
        let heard = Heard::default();
        let engine =
            tracing::subscriber::with_default(heard.clone(), || Watched::start(builder().driver(driver), MODES[0]));
        let refusal = engine.io_uring_refusal().map(ToString::to_string);
        (std::mem::take(&mut *heard.0.lock().expect("as above")), refusal)
    };
    let (events, _) = heard_of(Driver::Epoll);
    assert_eq!(events, ["INFO ringress::session::engine message=engine started driver=epoll"]);
    if std::env::var_os("RINGRESS_DRIVER").is_some_and(|name| name != "auto") {
        return eprintln!("skipped: RINGRESS_DRIVER says which driver is to be tried");
    }
    let filter = Filter::new(libc::EPERM).deny(IO_URING_CALLS[0], 0);
    let told = within(WAIT_MAX, "a refused thread", move || filter.install().then(|| heard_of(Driver::Auto)));
    let Some((events, refusal)) = told else { return };
    let refusal = refusal.expect("it says why");
    let expected = "WARN ringress::session::engine message=engine started without io_uring driver=epoll refusal=";
    assert_eq!(events, [expected.to_owned() + &refusal]);
}

#[test]
fn the_environment_says_what_is_tried_where_nothing_else_is_said() {
    showcase(&[], Some("epoll")).check("driver: epoll\n");
    showcase(&["--driver", "epoll"], Some("io_uring")).check("driver: epoll\n");
    showcase(&["--driver", "auto", "--mode", "colocated"], Some("epoll")).check("driver: epoll\n");
    let mut wrong = showcase(&[], Some("warp")).child;
    let mut said = String::new();
    wrong.stderr.take().expect("piped").read_to_string(&mut said).expect("a pipe");
    assert_eq!(wrong.wait().expect("it ends").code(), Some(2));
    let named = "showcase: RINGRESS_DRIVER: the driver is \"warp\", but must be auto, io_uring or epoll\n";
    assert_eq!(said, named);
}

#[test]
fn a_program_serves_where_the_container_refuses_io_uring() {
    // If it has to be built, that is not what is waited for.
    built("showcase");
    for (errno, reason) in [
        (libc::EPERM, "driver: epoll, since io_uring_setup was refused although the sysctl allows it"),
        (libc::ENOSYS, "driver: epoll, since this kernel has no io_uring, or a seccomp filter hides it"),
    ] {
        for mode in ["queue", "colocated"] {
            within(2 * WAIT_MAX, "a showcase", move || {
                let deny = |filter: Filter, call| filter.deny(call, 0);
                if IO_URING_CALLS.into_iter().fold(Filter::new(errno), deny).install() {
                    showcase(&["--mode", mode], None).check(reason);
                }
            });
        }
    }
}

/// What `docs/deploy.md` says of Docker's default profile, and of it with the fragment merged as by its call of jq.
#[test]
fn under_a_containers_default_profile_io_uring_is_had_with_the_fragment_alone() {
    built("showcase");
    let has_io_uring = serve(MODES[0], Driver::IoUring).is_ok();
    let json = |text| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    // In the program: it also runs where there is nothing else of the project, as in a virtual machine.
    let default = json(include_str!("deployed/docker.json"));
    let mut merged = default.clone();
    let mut fragment = json(include_str!("../../docs/deploy/io_uring.json"));
    let added = fragment["syscalls"].as_array_mut().expect("a list");
    for name in added.iter().flat_map(|rule| rule["names"].as_array().expect("a list")) {
        assert!(profile::number(name.as_str().expect("a name")).is_some(), "{name} is no call");
    }
    merged["syscalls"].as_array_mut().expect("a list").append(added);
    for mode in ["queue", "colocated"] {
        for (is_merged, profile) in [(false, &default), (true, &merged)] {
            let filter = profile::compile(profile);
            within(2 * WAIT_MAX, "a showcase", move || match (filter.install(), is_merged) {
                (false, _) => {}
                (true, false) => {
                    showcase(&["--mode", mode], None)
                        .check("driver: epoll, since io_uring_setup was refused although the sysctl allows it");
                    let mut asks = showcase(&["--mode", mode, "--driver", "io_uring"], None).child;
                    assert!(!asks.wait().expect("it ends").success(), "nothing else was asked for");
                }
                (true, true) if has_io_uring => {
                    showcase(&["--mode", mode, "--driver", "io_uring"], None).check("driver: io_uring");
                }
                (true, true) => eprintln!("skipped: an engine over io_uring: this host has none"),
            });
        }
    }
}

#[test]
fn a_request_that_waits_is_woken_for_over_either() {
    for driver in [Driver::Epoll, Driver::Auto] {
        let host = common::Host::start_with(builder().driver(driver), ringress::QueueOptions::default());
        let mut client = host.connect();
        let waiter = thread::spawn({
            let queue = host.queue.clone();
            move || receive(&queue).respond(Response::text("woken")).expect("open")
        });
        client.get("/");
        assert_eq!(client.read().text(), "woken");
        waiter.join().expect("ends");
    }
}
