//! Directed tests of clients that send their bodies slowly, or not at all: who is judged, when, and who is not.

use std::time::Duration;

use super::rig::{Options, Rig, answer, read_body, read_prefix};
use crate::config::Config;
use crate::policy::Properties;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// Bodies may pause for an hour: only the rate ends them.
fn with(properties: Properties) -> Rig {
    let properties = properties.entity_body(LONG).request_queue(LONG);
    Rig::with(Options { config: Config { properties, ..Options::default().config }, ..Options::default() })
}

fn post(len: usize) -> String {
    format!("POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n")
}

/// Sends a part again and again, one each so many seconds; gives after how many seconds, up to 300, that was answered
/// 408.
fn ended_after(rig: &mut Rig, client: usize, part: &str, every: u32) -> Option<u32> {
    for seconds in 0..300 {
        if seconds % every == 0 && !part.is_empty() {
            rig.say(client, part);
        }
        rig.pass(SECOND);
        let heard = rig.heard(client);
        if !heard.is_empty() {
            assert!(heard.starts_with("HTTP/1.1 408 ") && heard.contains("\r\nConnection: close\r\n"), "{heard}");
            assert_eq!((rig.counters.receive_rate_timeouts.read(), rig.counters.timeouts.read()), (1, 1));
            return Some(seconds);
        }
    }
    None
}

#[test]
fn an_upload_that_stops_is_answered_408_after_half_a_minute() {
    let mut rig = with(Properties::new());
    let client = rig.connect();
    rig.say(client, post(60_000) + "x");
    let mut lease = rig.claim();
    let mut read = read_prefix(&mut lease);
    assert!(!read_body(&mut lease, &mut read), "its reader waits");
    let end = ended_after(&mut rig, client, "", 1).expect("nobody waits for what does not come");
    assert!((26..=36).contains(&end), "{end}");
    assert!(matches!(lease.body_state(), crate::queue::BodyState::Failed(_)), "and its reader is told");
    drop(lease);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn an_upload_is_judged_by_its_rate_however_it_comes() {
    for (part, every, lives) in [(1, 1, false), (50, 1, false), (250, 5, false), (130, 1, true), (1300, 10, true)] {
        for framing in ["Content-Length: 60000", "Transfer-Encoding: chunked"] {
            let mut rig = with(Properties::new());
            let client = rig.connect();
            rig.say(client, format!("POST /a/1 HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"));
            let lease = rig.claim();
            if framing.starts_with('T') {
                rig.say(client, "fffff\r\n");
            }
            let end = ended_after(&mut rig, client, &"x".repeat(part), every);
            assert_eq!(end.is_none(), lives, "{part} bytes each {every} s: {end:?}");
            drop(lease);
        }
    }
}

#[test]
fn a_second_upload_does_not_begin_the_account_anew() {
    let mut rig = with(Properties::new());
    let client = rig.connect();
    let mut seconds = 0;
    while rig.counters.receive_rate_timeouts.read() == 0 {
        assert!(seconds < 100, "each short body holds a consumer for as long as it likes");
        rig.say(client, post(2));
        (0..20).for_each(|_| rig.pass(SECOND));
        seconds += 20;
        if rig.counters.receive_rate_timeouts.read() == 0 {
            rig.say(client, "xy");
            rig.serve();
            assert_eq!(rig.heard_answers(client), ["/a/1"]);
        }
    }
}

#[test]
fn time_counts_only_while_the_engine_receives() {
    let mut rig = with(Properties::new());
    // It waits for `100 Continue`, and nobody has asked for its body.
    let asking = rig.connect();
    rig.say(asking, "POST /a/1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let lease = rig.claim();
    assert_eq!(ended_after(&mut rig, asking, "", 1), None);
    lease.ask_for_body();
    rig.settle();
    assert_eq!(rig.heard(asking), "HTTP/1.1 100 Continue\r\n\r\n");
    let end = ended_after(&mut rig, asking, "", 1).expect("now it is awaited");
    assert!((26..=36).contains(&end), "{end}");
    // Its reader does not read.
    let mut options = Options { body_credit: 4096, ..Options::default() };
    options.config.properties = Properties::new().entity_body(LONG);
    let mut rig = Rig::with(options);
    let ahead = rig.connect();
    rig.say(ahead, post(60_000));
    rig.say(ahead, [b'x'; 8192]);
    let lease = rig.claim();
    assert_eq!(ended_after(&mut rig, ahead, "", 1), None);
    answer(lease);
}

#[test]
fn without_a_rate_only_a_pause_ends_an_upload() {
    only_a_pause_ends_an_upload(with(Properties::new().receive_rate_min(0)));
    // Over a Unix socket no rate is told.
    only_a_pause_ends_an_upload(with(Properties::new().receive_rate_min(1000)).over_unix());
}

fn only_a_pause_ends_an_upload(mut rig: Rig) {
    let client = rig.connect();
    rig.say(client, post(60_000));
    let _lease = rig.claim();
    assert_eq!(ended_after(&mut rig, client, "x", 60), None);
    let mut heard = String::new();
    while heard.is_empty() {
        assert!(!rig.shard.protocol.transport.io.is_closed(client));
        rig.pass(SECOND * 10);
        heard = rig.heard(client);
    }
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
    assert_eq!((rig.counters.receive_rate_timeouts.read(), rig.counters.timeouts.read()), (0, 1));
}
