//! Directed tests of when a shard wakes the consumers of what it has published.

use super::rig::{Options, Rig};
use crate::config::{Config, Mode};

fn get() -> &'static [u8] {
    b"GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n"
}

/// A shard that publishes after each request, on a thread that stays on its CPU, with so many clients.
fn rig(options: Options, clients: usize) -> (Rig, Vec<usize>) {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.first().copied()).expect("some core is allowed");
    assert!(core_affinity::set_for_current(core), "an allowed core");
    let mut rig = Rig::with(options);
    rig.shard.settings.publish_max = 1;
    let clients = (0..clients).map(|_| rig.connect()).collect();
    (rig, clients)
}

/// One request of each client, all of which the shard finds at once. Gives, for each turn until the shard has handled
/// them, whether completions were left after it, and how many consumers slept then.
fn asleep_after_each_turn(rig: &mut Rig, clients: &[usize]) -> Vec<(bool, u32)> {
    for client in clients {
        rig.shard.io.write(*client, get());
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
