//! Directed tests of memory that is given back: when, how often, and that all goes on with what is left.

use std::time::Duration;

use super::rig::{Options, Rig, respond_by_id};
use crate::config::Config;
use crate::driver::Wait;
use crate::id::RequestId;

const GET: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n";
/// A little more than half of the time that memory is kept.
const WINDOW: Duration = Duration::from_secs(31);
/// Receive buffers, which the kernel has all.
const BUFFERS: u32 = 64;
/// Clients at a time: more than a quarter of the buffers, and worth the asking.
const RUSH: usize = 20;

fn rig() -> Rig {
    let config = Config { receive_buffers: BUFFERS, receive_buffer_bytes: 4096, ..Options::default().config };
    Rig::with(Options { config, ..Options::default() })
}

/// So many requests at a time, all answered, whose clients have left. Gives the ids.
fn rush(rig: &mut Rig) -> Vec<RequestId> {
    let clients: Vec<usize> = (0..RUSH).map(|_| rig.connect()).collect();
    clients.iter().for_each(|client| rig.say(*client, GET));
    let leases = rig.claim_all();
    let ids = leases.iter().map(|lease| lease.id()).collect();
    rig.answer_and_end(leases, clients);
    ids
}

fn slots_used(rig: &Rig) -> usize {
    rig.shard.protocol.dispatch.side().slots_used().count()
}

#[test]
fn a_shard_gives_back_what_it_does_not_use_and_then_sleeps_for_good() {
    let mut rig = rig();
    let ids = rush(&mut rig);
    assert_eq!(slots_used(&rig), RUSH);
    rig.pass(WINDOW);
    assert_eq!(slots_used(&rig), RUSH, "they were used in this window");
    assert!(matches!(rig.shard.protocol.transport.io.waited, Wait::AtMost(_)));
    rig.pass(WINDOW);
    assert_eq!(slots_used(&rig), 4);
    // What the kernel gave back was posted again, and that was something to do.
    (0..2).for_each(|_| rig.pass(WINDOW));
    assert_eq!(rig.shard.protocol.transport.io.waited, Wait::Forever);
    let again = rush(&mut rig);
    assert!(ids.iter().all(|id| !again.contains(id) && !respond_by_id(&rig.exchange, *id, "late")));
    rig.stop(Duration::ZERO);
    rig.end();
}

#[test]
fn who_comes_again_and_again_keeps_what_that_takes() {
    let mut rig = rig();
    for _ in 0..5 {
        rush(&mut rig);
        rig.pass(WINDOW);
        assert_eq!(slots_used(&rig), RUSH);
    }
    rig.stop(Duration::ZERO);
    rig.end();
}

#[test]
fn a_client_that_comes_while_the_kernel_gives_its_buffers_back_is_served() {
    let mut rig = rig();
    let client = rig.connect();
    rush(&mut rig);
    rig.pass(WINDOW);
    rig.expire(WINDOW);
    assert!(rig.shard.protocol.dispatch.buffers().small.is_recalled());
    rig.say(client, GET);
    assert!(!rig.shard.protocol.dispatch.buffers().small.is_recalled());
    rig.serve();
    assert_eq!(rig.heard_answers(client), ["/a/1"]);
    rig.shard.protocol.transport.io.end(client);
    rig.settle();
    rig.stop(Duration::ZERO);
    rig.end();
}
