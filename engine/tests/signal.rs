//! Signals that ask the process to end. They are the whole process's, so that one test has this one for itself.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{Host, WAIT_MAX, receive, wait_until, within};
use ringress::Response;
use ringress::signal::{self, Signal, Watch};
use signal_hook::consts::{SIGINT, SIGTERM};

fn send(number: i32) {
    signal_hook::low_level::raise(number).expect("a signal of this process");
}

/// Whether somebody waits for signals, so that one does not end this process: the thread that takes them is there, and
/// who waits sleeps.
fn await_sleeper(name: &str) {
    let sleeps = |task: std::fs::DirEntry| {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        read("comm").trim_end() == name && read("stat").rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
    };
    let tasks = || std::fs::read_dir("/proc/self/task").expect("Linux has it").flatten();
    wait_until("it sleeps", || tasks().any(&sleeps));
}

fn named<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread");
    await_sleeper("signals");
    await_sleeper(name);
    thread
}

/// A signal so soon behind another would be the same one.
fn apart() {
    let begun = Instant::now();
    wait_until("half a second has passed", || begun.elapsed() > Duration::from_millis(600));
}

#[test]
fn who_waits_is_told_and_an_engine_stops_in_order() {
    let one = named("one", || signal::wait().expect("handlers"));
    let other = named("other", || signal::wait().expect("handlers"));
    send(SIGINT);
    assert_eq!(
        (one.join().expect("no panic"), other.join().expect("no panic")),
        (Signal::Interrupt, Signal::Interrupt)
    );
    // As timeout(1) does: nobody waits any more, and this process goes on.
    send(SIGINT);

    apart();
    let host = std::sync::Arc::new(Host::start());
    let mut client = host.connect();
    client.get("/");
    let request = receive(&host.queue);
    let runs = std::sync::Arc::clone(&host);
    let run = named("run", move || runs.engine.run_until_signal(WAIT_MAX));
    send(SIGTERM);
    wait_until("it stops", || host.engine.listen(common::loopback(0)).is_err());
    request.respond(Response::text("under way")).expect("open");
    assert_eq!(client.read().text(), "under way");
    client.read_end();
    drop(client);
    within(WAIT_MAX, "the run", move || run.join()).expect("no panic").expect("no shard failed");

    // One that comes before is not lost.
    apart();
    let host = std::sync::Arc::new(Host::start());
    let (runs, watch) = (std::sync::Arc::clone(&host), Watch::begin().expect("handlers"));
    send(SIGTERM);
    within(WAIT_MAX, "the run", move || runs.engine.run_until(watch, WAIT_MAX)).expect("no shard failed");
    assert!(host.engine.listen(common::loopback(0)).is_err());

    // Without a signal it ends with its engine.
    let host = std::sync::Arc::new(Host::start());
    let runs = std::sync::Arc::clone(&host);
    let run = named("run", move || runs.engine.run_until_signal(WAIT_MAX));
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    within(WAIT_MAX, "the run", move || run.join()).expect("no panic").expect("no shard failed");
}
