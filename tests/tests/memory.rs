//! What a server has in memory, as the system counts it: at its start, and when all is over.

use std::time::{Duration, Instant};

use ringress_tests::{
    Client, Mode, Server, Setup, both_modes, comes_out_once, pause, raise_descriptor_limit, run_showcase,
};

/// One shard, which has what a setup is about.
fn one_shard(mode: Mode) -> Setup {
    Setup::new(mode).shards(1).consumers(1)
}

/// It gives back soon what it does not use.
fn forgetful(mode: Mode) -> Setup {
    one_shard(mode).with_folder().set("keep_memory", "1s")
}

/// It has little memory.
fn bounded(mode: Mode) -> Setup {
    one_shard(mode).with_folder().arg("--memory-max").arg("24MiB")
}

both_modes![setup = forgetful; what_crowds_have_touched_is_given_back];

/// What a process of 64 MiB may have.
const SMALL_KIB: u32 = 64 * 1024;

/// A small host, on which addresses are as scarce as memory.
fn small(mode: Mode) -> Setup {
    one_shard(mode).arg("--profile").arg("small").address_space_kib_max(SMALL_KIB)
}

mod on_a_small_host {
    use super::*;

    both_modes![setup = small; whatever_clients_do_and_leave_others_are_served];
}

mod with_a_bound {
    use super::*;

    both_modes![setup = bounded; no_more_becomes_resident_than_was_allowed];
}

/// What `bounded` allows the engine.
const BOUND_KIB: u64 = 24 * 1024;
/// What the program may take beside that: its tasks, and what the allocator makes of them.
const PROGRAM_KIB: u64 = 4 * 1024;

/// KiB that one start may differ from another.
const ALIKE_KIB: u64 = 1024;
/// How long a server may take to give back: ten times what it is told.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Clients of each kind.
const CROWD: usize = 300;
/// Descriptors of this process besides.
const SPARE_DESCRIPTORS: u64 = 200;
/// Bytes of a short file, which goes through a cell of the stage.
const FILE_BYTES: usize = 32 * 1024;
/// Bytes of bodies that nobody reads: together more than posted buffers, and less than all.
const BODY_BYTES: usize = 30_000;
/// Bytes of a half head, more than a small assembly buffer.
const HALF_HEAD_BYTES: usize = 3000;

#[test]
fn the_largest_limit_of_requests_makes_nothing_resident_before_it_is_used() {
    for mode in Mode::ALL {
        let usual = Server::start(&one_shard(mode));
        let most = Server::start(&one_shard(mode).arg("--requests").arg("16777216"));
        for server in [&usual, &most] {
            server.assert_healthy();
        }
        let (few, many) = (usual.resident_kib(), most.resident_kib());
        assert!(many <= few + ALIKE_KIB, "{many} KiB resident, of which a usual limit has {few}");
        usual.finish();
        most.finish();
    }
}

/// So many clients that each send this, and read nothing.
fn crowd(server: &Server, count: usize, bytes: impl AsRef<[u8]>) -> Vec<Client> {
    let one = |_| {
        let mut client = server.connect();
        // A server that is full may have refused it.
        let _ = client.try_send(&bytes);
        client
    };
    (0..count).map(one).collect()
}

/// All that clients do to a server: idle connections, half heads, unread bodies, unread files, pipelined answers.
fn crowds(server: &Server, count: usize) -> Vec<Client> {
    let half_head = [b"GET /pipeline HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &[b'x'; HALF_HEAD_BYTES]].concat();
    let kinds = [
        server.get("/pipeline"),
        half_head,
        server.post("/hang", vec![b'x'; BODY_BYTES]),
        server.get("/file/short"),
        server.get("/pipeline").repeat(32),
    ];
    kinds.into_iter().flat_map(|bytes| crowd(server, count, bytes)).collect()
}

#[track_caller]
fn wait_for_resident(server: &Server, wanted: &str, is_reached: impl Fn(u64) -> bool) -> u64 {
    let deadline = Instant::now() + GIVEN_BACK_WITHIN;
    loop {
        let resident = server.resident_kib();
        if is_reached(resident) {
            return resident;
        }
        assert!(Instant::now() < deadline, "never {wanted}: {resident} KiB are resident");
        pause(LOOK_AGAIN);
    }
}

/// Waits until clients that are gone have left no descriptor: a server that is full may refuse who asks how it is.
#[track_caller]
fn wait_for_descriptors(server: &Server, at_rest: usize) {
    let deadline = Instant::now() + GIVEN_BACK_WITHIN;
    while server.descriptors() > at_rest {
        assert!(Instant::now() < deadline, "{} descriptors are left, of {at_rest} before", server.descriptors());
        pause(LOOK_AGAIN);
    }
}

/// Twice: what one has given back serves the other.
fn what_crowds_have_touched_is_given_back(server: &Server) {
    raise_descriptor_limit(5 * CROWD as u64 + SPARE_DESCRIPTORS);
    server.folder().write("short", vec![b'f'; FILE_BYTES]);
    // What the code and the allocator need at all is there from the first of each kind on.
    drop(crowds(server, 1));
    server.assert_at_rest();
    let before = server.resident_kib();
    for _ in 0..2 {
        let clients = crowds(server, CROWD);
        let most = wait_for_resident(server, "more than before", |resident| resident > 2 * before);
        drop(clients);
        server.assert_at_rest();
        let limit = before + before / 5;
        let after = wait_for_resident(server, &format!("at most {limit} KiB"), |resident| resident <= limit);
        println!("{before} KiB resident at first, {most} or more with {} clients, {after} after them", 5 * CROWD);
    }
}

/// However many clients want more than there is: those who come later are served.
fn no_more_becomes_resident_than_was_allowed(server: &Server) {
    raise_descriptor_limit(5 * CROWD as u64 + SPARE_DESCRIPTORS);
    server.folder().write("short", vec![b'f'; FILE_BYTES]);
    drop(crowds(server, 1));
    server.assert_at_rest();
    let (before, descriptors) = (server.resident_kib_from_now(), server.descriptors());
    drop(crowds(server, CROWD));
    wait_for_descriptors(server, descriptors);
    server.assert_at_rest();
    server.assert_healthy();
    let grown = server.resident_kib_max().saturating_sub(before);
    println!("{before} KiB resident at first, {grown} more at the most, of {BOUND_KIB} that were allowed");
    assert!(grown <= BOUND_KIB + PROGRAM_KIB, "{grown} KiB more than {before} were resident, of {BOUND_KIB}");
}

#[test]
fn what_can_be_held_is_shown_and_what_cannot_is_refused() {
    let shown = run_showcase(&["--capacity", "--shards", "1", "--memory-max", "64MiB"]);
    assert_eq!((shown.status, shown.stderr.as_str()), (Some(0), ""));
    let sum = shown.stdout.lines().find_map(|line| line.strip_prefix("resident in all")?.trim().parse::<f64>().ok());
    assert!(sum.is_some_and(|mib| (32.0..=64.0).contains(&mib)), "{}", shown.stdout);
    assert!(shown.stdout.contains("requests, streams, pipes and uploads"), "{}", shown.stdout);
    let refused = run_showcase(&["--memory-max", "1MiB"]);
    assert_eq!(refused.status, Some(2));
    assert!(refused.stderr.contains("memory_max is 1048576 bytes, but "), "{}", refused.stderr);
}

/// Whether a new client gets an answer.
fn is_served(server: &Server) -> bool {
    let mut client = server.connect();
    client.try_send(server.get("/pipeline")).is_ok() && client.try_some(1).is_ok_and(|bytes| bytes > 0)
}

/// Clients of each kind stay while the next come. (A thousand of one kind are in `siege`.)
fn whatever_clients_do_and_leave_others_are_served(server: &Server) {
    raise_descriptor_limit(5 * CROWD as u64 + SPARE_DESCRIPTORS);
    let half_head = [b"GET /pipeline HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &[b'x'; HALF_HEAD_BYTES]].concat();
    let half_body = server.request("POST /echo HTTP/1.1", &["Content-Length: 60000"], vec![b'x'; 30_000]);
    let download = server.get("/bytes/1000000");
    // As much as sockets take: the rest of the body is held back by a client that reads nothing.
    let echo = server.request("POST /echo HTTP/1.1", &["Content-Length: 1000000"], vec![b'x'; 60_000]);
    let (at_rest, mut clients) = (server.descriptors(), Vec::new());
    for bytes in [Vec::new(), half_head, half_body, download, echo] {
        clients.extend(crowd(server, CROWD, bytes));
        // Places are for those who have something to do.
        assert!(comes_out_once(|| is_served(server)), "a new client is served");
    }
    println!("{} KiB resident at the most, of {SMALL_KIB} for all addresses", server.resident_kib_max());
    drop(clients);
    wait_for_descriptors(server, at_rest);
}
