//! Directed tests of when a shard wakes the consumers of what it has published, and the readers of bodies.

use std::sync::Arc;
use std::task::Waker;

use super::rig::{Options, Rig, answer_with};
use super::streaming::Flag;
use crate::config::{Config, Mode};
use crate::queue::Lease;
use crate::record::RequestRecord;

fn get() -> &'static [u8] {
    b"GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n"
}

/// A shard that publishes after each request, on a thread that stays on its CPU, with so many clients.
fn rig(options: Options, clients: usize) -> (Rig, Vec<usize>) {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.first().copied()).expect("some core is allowed");
    assert!(core_affinity::set_for_current(core), "an allowed core");
    let mut rig = Rig::with(options);
    rig.shard.protocol.dispatch.set_publish_max(1);
    let clients = (0..clients).map(|_| rig.connect()).collect();
    (rig, clients)
}

/// One request of each client, all of which the shard finds at once. Gives, for each turn until the shard has handled
/// them, whether completions were left after it, and how many consumers slept then.
fn asleep_after_each_turn(rig: &mut Rig, clients: &[usize]) -> Vec<(bool, u32)> {
    for client in clients {
        rig.shard.protocol.transport.io.write(*client, get());
    }
    let mut seen = Vec::new();
    loop {
        rig.turn();
        let is_busy = rig.shard.cursor < rig.shard.events.len();
        seen.push((is_busy, rig.queue.sleepers().asleep()));
        if !is_busy && rig.counters.requests_delivered.read() >= clients.len() as u64 {
            return seen;
        }
        assert!(seen.len() < 100, "the shard has not taken the requests in 100 turns");
    }
}

#[test]
fn a_consumer_asleep_on_the_shards_cpu_is_woken_when_the_completions_are_done() {
    let (mut rig, clients) = rig(Options::default(), 5);
    rig.queue.sleepers().pretend_sleep();
    let seen = asleep_after_each_turn(&mut rig, &clients);
    assert!(seen.iter().filter(|(is_busy, _)| *is_busy).count() >= 2, "too few rounds to tell: {seen:?}");
    assert!(seen.iter().all(|(is_busy, asleep)| *asleep == u32::from(*is_busy)), "{seen:?}");
}

#[test]
fn a_consumer_is_woken_before_a_short_queue_is_full() {
    let (mut rig, clients) = rig(Options { queue_length: 8, ..Options::default() }, 6);
    rig.queue.sleepers().pretend_sleep();
    let seen = asleep_after_each_turn(&mut rig, &clients);
    let woken_at = seen.iter().position(|(_, asleep)| *asleep == 0).expect("it is woken");
    assert!(seen[woken_at].0 && woken_at >= 2, "with completions left, and not at the first request: {seen:?}");
}

#[test]
fn several_consumers_are_woken_as_soon_as_there_is_something() {
    let (mut rig, clients) = rig(Options::default(), 4);
    rig.queue.sleepers().pretend_sleep();
    rig.queue.sleepers().pretend_sleep();
    let seen = asleep_after_each_turn(&mut rig, &clients);
    let first = seen.iter().find(|(is_busy, _)| *is_busy).expect("completions are left after the first request");
    assert_eq!(first.1, 1, "{seen:?}");
}

#[test]
fn in_co_located_mode_other_consumers_are_woken_at_once() {
    let config = Config { mode: Mode::Colocated, ..Options::default().config };
    let (mut rig, clients) = rig(Options { config, ..Options::default() }, 3);
    let _driving = rig.shard.drive_here();
    rig.queue.sleepers().pretend_sleep();
    let seen = asleep_after_each_turn(&mut rig, &clients);
    let first = seen.iter().find(|(is_busy, _)| *is_busy).expect("completions are left after the first request");
    assert_eq!(first.1, 0, "{seen:?}");
}

/// A request whose reader waits for its body, of which the client now sends so many bytes: more than one buffer holds.
fn waiting_reader(rig: &mut Rig, sent: usize) -> (Lease<RequestRecord>, Arc<Flag>) {
    let client = rig.connect();
    rig.say(client, "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    let (lease, woken) = (rig.claim(), Arc::new(Flag::default()));
    lease.await_body(&Waker::from(Arc::clone(&woken)));
    rig.shard.protocol.transport.io.write(client, &vec![b'b'; sent]);
    (lease, woken)
}

/// Turns until a reader is woken.
fn turn_until(rig: &mut Rig, woken: &Flag) {
    for _ in 0..100 {
        if woken.is_up() {
            return;
        }
        rig.turn();
    }
    panic!("nobody was woken in 100 turns");
}

#[test]
fn a_reader_is_woken_for_all_that_is_at_hand() {
    let mut rig = Rig::new();
    let (lease, woken) = waiting_reader(&mut rig, 10_000);
    turn_until(&mut rig, &woken);
    assert_eq!(lease.body_arrived(), 10_000);
}

#[test]
fn a_reader_is_woken_for_three_quarters_of_the_credit_whatever_is_at_hand() {
    let mut rig = Rig::with(Options { body_credit: 4 * 4096, ..Options::default() });
    let (lease, woken) = waiting_reader(&mut rig, 40_000);
    turn_until(&mut rig, &woken);
    assert_eq!(lease.body_arrived(), 3 * 4096);
}

#[test]
fn a_reader_is_woken_when_what_was_at_hand_does_not_come() {
    let mut rig = Rig::new();
    let (lease, woken) = waiting_reader(&mut rig, 10_000);
    rig.turn();
    assert_eq!((lease.body_arrived(), woken.is_up()), (4096, false));
    rig.shard.protocol.transport.io.faults.late = 1000;
    rig.turn();
    assert_eq!((lease.body_arrived(), woken.is_up()), (4096, true));
}

#[test]
fn in_co_located_mode_no_reader_is_put_off() {
    let config = Config { mode: Mode::Colocated, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let (lease, woken) = waiting_reader(&mut rig, 10_000);
    rig.turn();
    // Now the application has the thread, for as long as it likes.
    assert_eq!((lease.body_arrived(), woken.is_up()), (4096, true));
}

#[test]
fn a_slot_is_among_those_to_be_woken_once_however_often_it_is_used_again() {
    let config = Config { requests_max: 16, ..Options::default().config };
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let clients: Vec<usize> = (0..40).map(|_| rig.connect()).collect();
    for client in clients {
        rig.shard
            .protocol
            .transport
            .io
            .write(client, b"POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
        rig.shard.protocol.transport.io.write(client, &[b'b'; 20_000]);
        // Answered unread while more of its body is at hand.
        let lease = (0..10).find_map(|_| {
            rig.turn();
            rig.queue.claim_of(0)
        });
        answer_with(lease.expect("it is delivered"), "", true);
        let mut readers = rig.shard.protocol.dispatch.readers().clone();
        readers.sort_unstable();
        readers.dedup();
        assert_eq!(
            readers.len(),
            rig.shard.protocol.dispatch.readers().len(),
            "a slot is there twice: {:?}",
            rig.shard.protocol.dispatch.readers()
        );
    }
}
