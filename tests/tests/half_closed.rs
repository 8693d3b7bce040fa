//! A client that has ended its side and takes what it is sent slowly, or not at all, costs no CPU: io_uring answers
//! every poll for room of such a client at once, also those of its own that it arms for an operation that would block.

use std::io::Write;
use std::time::Duration;

use ringress_tests::{Client, Mode, Server, Setup, both_modes, pause};

both_modes![
    setup = |mode: Mode| Setup::new(mode).with_folder();
    a_whole_answer_costs_nothing_while_it_waits,
    a_streamed_answer_costs_nothing_while_it_waits,
    a_file_costs_nothing_while_it_waits,
    pipelined_answers_cost_nothing_while_they_wait,
    a_pipe_costs_nothing_while_it_waits,
    a_client_that_takes_it_slowly_gets_everything,
];

/// How long the server is watched.
const WATCHED: Duration = Duration::from_secs(2);

/// CPU time that it may use meanwhile: 2 % of a core.
const USED_MAX: Duration = Duration::from_millis(40);

/// A client with a small window that has asked, has ended its side, and reads no more than the head.
fn ask(server: &Server, request: impl AsRef<[u8]>) -> Client {
    let mut client = Client::connect_narrow(server.address(), 4 * 1024);
    client.send(request);
    client.finish_sending();
    assert!(client.head().status < 300);
    client
}

/// Waits until a response waits for its client, and then looks at what that costs.
#[track_caller]
fn assert_costs_nothing(server: &Server, client: &Client) {
    server.wait_for_gauges("a socket that is full", |gauges| gauges.of("sends_short") > 0);
    // The kernel may take some more.
    pause(Duration::from_millis(300));
    let before = server.cpu_time();
    pause(WATCHED);
    let used = server.cpu_time() - before;
    assert!(used < USED_MAX, "{used:?} of CPU time in {WATCHED:?} for a client that is waited for");
    client.assert_not_reset();
}

fn a_whole_answer_costs_nothing_while_it_waits(server: &Server) {
    let client = ask(server, server.get("/bytes/100000000"));
    assert_costs_nothing(server, &client);
}

fn a_streamed_answer_costs_nothing_while_it_waits(server: &Server) {
    let client = ask(server, server.get("/stream/1000000?chunk=1000"));
    assert_costs_nothing(server, &client);
}

fn a_file_costs_nothing_while_it_waits(server: &Server) {
    let path = server.folder().root().join("large");
    std::fs::File::create(path).and_then(|file| file.set_len(100_000_000)).expect("a file can grow");
    let client = ask(server, server.get("/file/large"));
    assert_costs_nothing(server, &client);
}

fn pipelined_answers_cost_nothing_while_they_wait(server: &Server) {
    let client = ask(server, server.get("/bytes/300000").repeat(60));
    assert_costs_nothing(server, &client);
}

fn a_pipe_costs_nothing_while_it_waits(server: &Server) {
    let mut client = Client::connect_narrow(server.address(), 4 * 1024);
    client.send("GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.any_response().status, 101);
    let mut writer = client.writer();
    writer.set_write_timeout(Some(Duration::from_millis(300))).expect("not zero");
    // Until both directions are full.
    while writer.write(&[b'x'; 65_536]).is_ok() {}
    client.finish_sending();
    assert_costs_nothing(server, &client);
}

fn a_client_that_takes_it_slowly_gets_everything(server: &Server) {
    for target in ["/bytes/3000000", "/stream/3000?chunk=1000"] {
        let mut client = Client::connect_narrow(server.address(), 4 * 1024).about(target);
        client.send(server.get(target));
        client.finish_sending();
        let (answer, length) = client.response_in_pieces(|_, _| {});
        assert_eq!((answer.status, length), (200, 3_000_000), "{target}");
        client.expect_eof();
    }
}
