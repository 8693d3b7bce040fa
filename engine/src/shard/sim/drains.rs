//! Directed tests of input that nobody wants: what it costs others, and how long it is taken.

use std::time::Duration;

use super::rig::{Options, Rig, answer, answer_with};
use super::streams::{finish, memory, push, start};
use crate::config::Config;
use crate::policy::Properties;
use crate::queue::Lease;
use crate::record::RequestRecord;

const SECOND: Duration = Duration::from_secs(1);

fn with(config: Config) -> Rig {
    Rig::with(Options { config, ..Options::default() })
}

fn config() -> Config {
    Options::default().config
}

/// A head that no route is for, with a body to come of so many bytes.
fn nowhere(len: usize, field: &str) -> String {
    format!("POST /none HTTP/1.1\r\nHost: h\r\n{field}Content-Length: {len}\r\n\r\n")
}

#[test]
fn an_upload_behind_its_answer_is_taken_to_its_end() {
    for field in ["", "Connection: close\r\n"] {
        for len in [100, 50_000, 3 << 20] {
            let mut rig = Rig::new();
            let client = rig.connect();
            rig.say(client, nowhere(len, field));
            let heard = rig.heard(client);
            assert!(heard.starts_with("HTTP/1.1 404 "), "{heard}");
            let closes = heard.contains("\r\nConnection: close\r\n");
            assert_eq!(closes, !field.is_empty() || len > 1 << 20, "{heard}");
            let mut left = len;
            while left > 0 {
                let some = left.min(70_001);
                rig.say(client, vec![b'x'; some]);
                left -= some;
            }
            assert!(!rig.shard.protocol.transport.io.was_reset(client), "{field:?} {len}");
            assert_eq!(rig.shard.protocol.transport.io.unreceived(client), 0, "{field:?} {len}");
            if !closes {
                rig.say(client, "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n");
                rig.serve();
                assert_eq!(rig.heard_answers(client), ["/a/1"], "{field:?} {len}");
            }
            rig.shard.protocol.transport.io.end(client);
            rig.settle();
            assert!(!rig.shard.protocol.transport.io.was_reset(client), "{field:?} {len}");
            rig.assert_idle();
        }
    }
}

#[test]
fn what_is_thrown_away_takes_no_buffer_from_others() {
    let mut rig = Rig::new();
    let uploads: Vec<usize> = (0..10).map(|_| rig.connect()).collect();
    let mut held = Vec::new();
    // All that others get ahead of need is in use.
    for _ in 0..47 {
        held.push(rig.hold_a_buffer());
    }
    for client in &uploads {
        rig.say(*client, nowhere(2 << 20, ""));
    }
    let ran_out = rig.counters.buffers_ran_out.read();
    for client in &uploads {
        for _ in 0..8 {
            rig.say(*client, vec![b'x'; 1 << 18]);
        }
        assert!(rig.heard(*client).starts_with("HTTP/1.1 404 ") && !rig.shard.protocol.transport.io.was_reset(*client));
        assert_eq!(rig.shard.protocol.transport.io.unreceived(*client), 0);
    }
    assert_eq!(rig.counters.buffers_ran_out.read(), ran_out);
    assert_eq!(rig.shard.protocol.dispatch.side().buffers.small.in_use(), 32, "half of them");
}

#[test]
fn a_client_has_five_seconds_for_more_and_the_time_of_the_property_in_all() {
    for (field, len) in [("", 1_000_000), ("Connection: close\r\n", 1_000_000), ("", 3 << 20)] {
        let properties = Properties::new().drain_entity_body(SECOND * 30);
        let begin = || {
            let mut rig = with(Config { properties, ..config() });
            let client = rig.connect();
            rig.say(client, nowhere(len, field));
            assert!(rig.heard(client).starts_with("HTTP/1.1 404 "));
            (rig, client)
        };
        let (mut rig, client) = begin();
        rig.pass(SECOND * 4);
        assert!(!rig.shard.protocol.transport.io.was_reset(client));
        rig.pass(SECOND * 2);
        assert!(rig.shard.protocol.transport.io.was_reset(client), "{len}: it says nothing");
        rig.assert_idle();
        let (mut rig, client) = begin();
        let mut seconds = 0;
        while !rig.shard.protocol.transport.io.was_reset(client) {
            rig.say(client, "x");
            rig.pass(SECOND * 3);
            seconds += 3;
        }
        assert!((27..=36).contains(&seconds), "{field:?} {len}: {seconds}");
        assert_eq!(rig.counters.timeouts.read(), 1);
        rig.assert_idle();
    }
}

#[test]
fn an_answer_that_is_owed_is_not_lost_to_an_upload_that_pauses() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.say(client, "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + &nowhere(1000, "") + "some");
    let lease = rig.claim();
    (0..20).for_each(|_| rig.pass(SECOND * 10));
    assert!(!rig.shard.protocol.transport.io.was_reset(client));
    answer_with(lease, "", false);
    rig.settle();
    let heard = rig.heard(client);
    assert!(heard.contains("[/a/1]") && heard.contains("HTTP/1.1 404 "), "{heard}");
    rig.pass(SECOND * 4);
    assert!(!rig.shard.protocol.transport.io.was_reset(client), "its time begins with the answer");
    rig.pass(SECOND * 2);
    assert!(rig.shard.protocol.transport.io.was_reset(client));
    rig.assert_idle();
}

const MIB: usize = 1 << 20;
const LAST: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// A client whose last request a consumer works on, and that has sent 8 MiB behind it.
fn flooding(room: usize, requests: &str) -> (Rig, usize, Vec<Lease<RequestRecord>>) {
    let mut rig = Rig::new();
    let client = rig.connect_with_room(room);
    rig.say(client, requests);
    let leases = rig.claim_all();
    (0..8).for_each(|_| rig.say(client, vec![b'x'; MIB]));
    (0..20).for_each(|_| rig.pass(SECOND * 10));
    assert!(!rig.shard.protocol.transport.io.was_reset(client));
    let unreceived = rig.shard.protocol.transport.io.unreceived(client);
    assert!((6 * MIB..8 * MIB).contains(&unreceived), "{unreceived}");
    (rig, client, leases)
}

#[test]
fn what_follows_a_last_request_is_bounded_until_its_answer() {
    let (mut rig, client, leases) = flooding(MIB, LAST);
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(rig.shard.protocol.transport.io.unreceived(client), 0);
    assert_eq!(
        (rig.heard_answers(client), rig.shard.protocol.transport.io.was_reset(client)),
        (vec!["/a/1".to_owned()], false)
    );
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn what_follows_a_last_request_is_taken_while_its_answer_is_on_its_way() {
    // In pieces.
    let (mut rig, client, mut leases) = flooding(MIB, LAST);
    let lease = leases.remove(0);
    let stream = start(&lease, 4);
    rig.settle();
    assert_eq!(rig.shard.protocol.transport.io.unreceived(client), 0);
    rig.say(client, vec![b'x'; 2 * MIB]);
    assert_eq!(rig.shard.protocol.transport.io.unreceived(client), 0);
    push(&lease, &stream, memory("text"));
    finish(&lease, &stream);
    rig.settle();
    assert!(rig.heard(client).ends_with("\r\n\r\ntext") && !rig.shard.protocol.transport.io.was_reset(client));
    drop((lease, stream));
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
    // Whole, of an earlier request, and the client does not read before it has sent everything.
    let (mut rig, client, mut leases) = flooding(10, &format!("GET /a/0 HTTP/1.1\r\nHost: h\r\n\r\n{LAST}"));
    answer(leases.remove(0));
    rig.settle();
    assert_eq!(rig.shard.protocol.transport.io.unreceived(client), 0);
    rig.shard.protocol.transport.io.widen(client, MIB);
    leases.into_iter().for_each(answer);
    rig.settle();
    assert_eq!(rig.heard_answers(client), ["/a/0", "/a/1"]);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn a_client_that_leaves_behind_what_nobody_wants_is_noticed() {
    let (mut rig, client, leases) = flooding(MIB, LAST);
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert!(rig.shard.protocol.transport.io.is_closed(client));
    assert_eq!(rig.counters.requests_disconnected.read(), 1);
    leases.into_iter().for_each(answer);
    rig.settle();
    rig.assert_idle();
}

#[test]
fn no_more_than_a_quarter_of_the_connections_drain_and_the_oldest_is_reset() {
    let mut rig = Rig::new();
    let clients: Vec<usize> = (0..20).map(|_| rig.connect()).collect();
    // Many that end in order, before and between.
    for client in &clients {
        for _ in 0..30 {
            let other = rig.connect();
            rig.say(other, nowhere(0, "Connection: close\r\n"));
            assert!(rig.heard(other).starts_with("HTTP/1.1 404 "));
            rig.shard.protocol.transport.io.end(other);
            rig.settle();
            assert!(!rig.shard.protocol.transport.io.was_reset(other));
        }
        rig.say(*client, nowhere(3 << 20, ""));
        assert!(rig.heard(*client).starts_with("HTTP/1.1 404 "));
    }
    let reset: Vec<bool> = clients.iter().map(|client| rig.shard.protocol.transport.io.was_reset(*client)).collect();
    // Of 64 connections sixteen; the last of those that end in order took a place of theirs for a moment.
    assert_eq!(reset.iter().filter(|reset| **reset).count(), 5 - 1, "{reset:?}");
    assert!(reset[..4].iter().all(|reset| *reset), "{reset:?}");
    assert_eq!(rig.counters.drains_reset.read(), 4);
    clients[4..].iter().for_each(|client| rig.shard.protocol.transport.io.end(*client));
    rig.settle();
    rig.assert_idle();
}

#[test]
fn connections_that_are_over_are_not_kept_in_mind() {
    let mut rig = Rig::new();
    for _ in 0..1000 {
        let client = rig.connect();
        rig.say(client, nowhere(0, "Connection: close\r\n"));
        rig.shard.protocol.transport.io.end(client);
        rig.settle();
    }
    // Of 64 connections sixteen may drain, and the list has room for twice as many.
    let kept = rig.shard.protocol.transport.drains.kept();
    assert!(kept <= 33, "{kept}");
    rig.assert_idle();
}
