//! What an idle server keeps: resident memory of keep-alive connections after one request, and what it gives back of a
//! rush, in both modes.
//!
//! The server is this same test program in a process of its own, so that the client's memory is not counted.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use common::{Client, End, Host, builder, colocated, serve, wait_until};
use ringress::{Properties, QueueOptions, Request, RequestQueue, Response};

/// How many connections, where the descriptor limit allows it.
const CONNECTIONS: usize = 10_000;
/// Descriptors that each process needs besides.
const SPARE_DESCRIPTORS: usize = 200;
/// Bytes of resident growth a connection may cost.
const BYTES_MAX: usize = 512;

/// Requests that wait at a time: as many as a shard has slots for, but for those it keeps for other addresses.
const RUSH: u32 = 14_336;
/// How long memory is kept that a rush has touched.
const KEPT: Duration = Duration::from_secs(1);
/// Of one connection.
const PIPELINED: u32 = 64;

/// Tells this program that it is the server, and in which mode.
const ROLE: &str = "RINGRESS_IDLE_SERVER";

fn answer(request: Request) {
    request.respond(Response::text("Hello, World!")).expect("open");
}

fn answer_all(queue: &RequestQueue) {
    while let Ok(request) = queue.receive() {
        answer(request);
    }
}

/// Announces the address and lives until the parent closes its end.
fn announce(address: SocketAddr) {
    println!("\naddress={address}");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Not a test by itself: the body of the server's process.
#[test]
fn the_server_of_the_other_tests() {
    match std::env::var(ROLE).as_deref() {
        Ok("queue") => {
            let host = Host::start();
            let consumer = serve(&host.queue, answer);
            announce(host.address);
            host.engine.shutdown(Duration::ZERO).expect("no shard failed");
            consumer.join().expect("ends");
        }
        Ok("colocated") => colocated(answer_all, |_, address| announce(address)),
        Ok("rush") => {
            let properties = Properties::new().keep_memory(KEPT);
            let host = Host::start_with(builder().properties(properties), QueueOptions::default().length(RUSH));
            let queue = host.queue.clone();
            let consumer = thread::spawn(move || {
                while queue.len() < u64::from(RUSH) {
                    thread::park_timeout(Duration::from_millis(1));
                }
                answer_all(&queue);
            });
            announce(host.address);
            host.engine.shutdown(Duration::ZERO).expect("no shard failed");
            consumer.join().expect("ends");
        }
        _ => {}
    }
}

/// The server's process. Ends with the value.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(mode: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "the_server_of_the_other_tests", "--nocapture", "--test-threads=1"])
            .env(ROLE, mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = output.lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("address=")?.parse().ok()).expect("an address");
        // The rest is of no interest, but must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// The most bytes that were resident.
    fn most_resident(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the child lives");
        let kilobytes = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        kilobytes.expect("a line VmHWM:") * 1024
    }

    /// Resident bytes; exact, unlike the batched counters in `status`.
    fn resident(&self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(path).expect("the child lives");
        let kilobytes =
            text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        kilobytes.expect("a line Rss:") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if thread::panicking() {
            let _ = self.child.kill();
        }
        let ended = self.child.wait();
        if !thread::panicking() {
            // It has found everything back that its clients were lent.
            assert!(ended.is_ok_and(|status| status.success()), "the server ends well");
        }
    }
}

/// Raises the soft limit of descriptors as far as needed and possible; gives the number of connections it allows.
fn connections_allowed() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of `limit`, which outlives the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    let wanted = libc::rlim_t::try_from(CONNECTIONS + SPARE_DESCRIPTORS).expect("small");
    limit.rlim_cur = limit.rlim_cur.max(wanted.min(limit.rlim_max));
    // SAFETY: the pointer is that of `limit`, which outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0, "a soft limit may be raised");
    let allowed = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
    CONNECTIONS.min(allowed.saturating_sub(SPARE_DESCRIPTORS))
}

fn connect_and_ask(address: SocketAddr, count: usize) -> Vec<Client> {
    let ask = |_| {
        let mut client = Client::connect(address);
        assert_eq!(client.ask("/").text(), "Hello, World!");
        client
    };
    (0..count).map(ask).collect()
}

/// One mode at a time: the descriptors of this process do for one set of clients.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn idle_connections_are_cheap(mode: &str) {
    let _mine = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = connections_allowed();
    if count < CONNECTIONS {
        println!("{mode}: only {count} connections: RLIMIT_NOFILE allows no more");
    }
    let server = Server::start(mode);
    // What serving costs at all is there before, and does not belong to connections.
    drop(connect_and_ask(server.address, 100));
    let before = server.resident();
    let mut clients = connect_and_ask(server.address, count);
    let after = server.resident();
    let each = after.saturating_sub(before) / count;
    println!("{mode}: {count} idle connections: {before} to {after} bytes resident, {each} bytes each");
    assert!(each <= BYTES_MAX, "{each} bytes each, of {BYTES_MAX}");

    // They are alive, and the server is as quick as ever.
    for client in clients.iter_mut().step_by(count / 50) {
        assert_eq!(client.ask("/").text(), "Hello, World!");
    }
    let again = server.resident().saturating_sub(before) / count;
    assert!(again <= BYTES_MAX, "{again} bytes each after more requests");
    drop(clients);
    let mut late = Client::connect(server.address);
    wait_until("new connections are served at once", || late.ask("/").status == 200);
    assert!(server.resident() <= after + (1 << 20), "nothing more is kept when they are gone");
    late.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(late.read().status, 200);
    assert_eq!(late.read_end(), End::Closed);
}

#[test]
fn ten_thousand_idle_connections_in_queue_mode() {
    idle_connections_are_cheap("queue");
}

#[test]
fn ten_thousand_idle_connections_in_colocated_mode() {
    idle_connections_are_cheap("colocated");
}

#[test]
fn what_a_rush_has_touched_is_given_back_when_it_is_over() {
    let _mine = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start("rush");
    let ask = |_| {
        let mut client = Client::connect(server.address);
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(PIPELINED as usize));
        client
    };
    let mut clients: Vec<Client> = (0..RUSH / PIPELINED).map(ask).collect();
    for client in &mut clients {
        (0..PIPELINED).for_each(|_| assert_eq!(client.read().text(), "Hello, World!"));
    }
    let most = server.most_resident();
    // A page for each response alone.
    let touched = RUSH as usize * 4096;
    assert!(most > touched, "{most} bytes were resident at the most: less than the rush has touched");
    wait_until("it is given back", || server.resident() + touched < most);
    // And had again when it is needed.
    assert_eq!(clients[0].ask("/").text(), "Hello, World!");
}
