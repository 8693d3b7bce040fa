//! Many connections at once, each response checked: nothing is lost, swapped or left hanging under load.

use std::io::Write;
use std::thread;

use ringress_tests::{Job, Mode, Server, Setup, both_modes, raise_descriptor_limit, run_in_threads};

both_modes![
    setup = many;
    a_thousand_connections_get_their_own_answers,
    twenty_thousand_pipelined_requests_are_answered_in_order,
    connections_that_come_and_go_are_all_served,
    slow_and_fast_requests_mix,
];

const THREADS: usize = 20;

/// Consumers compete for one queue fed by two shards.
fn many(mode: Mode) -> Setup {
    raise_descriptor_limit(4_096);
    Setup::new(mode).shards(2).consumers(4)
}

fn open(server: &Server, connections: usize) -> Vec<Job> {
    (0..connections).map(|index| Job { index, client: server.connect() }).collect()
}

/// A request only this connection sends in this round, and its response.
fn unique(server: &Server, index: usize, round: usize) -> (Vec<u8>, String) {
    match round % 3 {
        0 => (server.get(&format!("/baseline11?a={}&b={round}", index * 100)), (index * 100 + round).to_string()),
        1 => {
            let body = format!("body {round} of connection {index}").repeat(1 + index % 20);
            (server.post("/echo", &body), body)
        }
        _ => (server.get("/plaintext"), "Hello, World!".to_owned()),
    }
}

fn a_thousand_connections_get_their_own_answers(server: &Server) {
    run_in_threads(open(server, 1_000), THREADS, |jobs| {
        for round in 0..10 {
            for job in jobs.iter_mut() {
                job.client.send(unique(server, job.index, round).0);
            }
            for job in jobs.iter_mut() {
                let answer = job.client.response();
                assert_eq!((answer.status, answer.text()), (200, unique(server, job.index, round).1.as_str()));
            }
        }
    });
    server.assert_healthy();
}

fn twenty_thousand_pipelined_requests_are_answered_in_order(server: &Server) {
    let per_connection = 400;
    run_in_threads(open(server, 50), 5, |jobs| {
        for job in jobs {
            let (requests, answers): (Vec<Vec<u8>>, Vec<String>) =
                (0..per_connection).map(|number| unique(server, job.index, number * 3)).unzip();
            let mut writer = job.client.writer();
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&requests.concat()).expect("the server takes them all in the end"));
                for expected in &answers {
                    assert_eq!(job.client.response().text(), expected);
                }
            });
        }
    });
    server.assert_healthy();
}

fn connections_that_come_and_go_are_all_served(server: &Server) {
    run_in_threads(open(server, 40), 8, |jobs| {
        for job in jobs {
            for round in 0..50 {
                // Every third leaves without being asked to, as browsers do.
                let fields: &[&str] = if round % 3 == 0 { &[] } else { &["Connection: close"] };
                let target = format!("GET /baseline11?a={}&b={round} HTTP/1.1", job.index);
                let mut client = server.connect();
                let answer = client.exchange(server.request(&target, fields, ""));
                assert_eq!(answer.text(), (job.index + round).to_string());
                if !fields.is_empty() {
                    client.expect_eof();
                }
            }
        }
    });
    server.assert_healthy();
}

fn slow_and_fast_requests_mix(server: &Server) {
    run_in_threads(open(server, 100), THREADS, |jobs| {
        for round in 0..5 {
            for job in jobs.iter_mut() {
                job.client.send([server.get("/slow/50"), unique(server, job.index, round).0].concat());
            }
            for job in jobs.iter_mut() {
                assert_eq!(job.client.response().status, 200);
                assert_eq!(job.client.response().text(), unique(server, job.index, round).1);
            }
        }
    });
}
