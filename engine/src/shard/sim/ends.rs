//! Every end of a request that a thread's simulations have brought about: what is never drawn is not tested. And how
//! long a request is said to have taken.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Options, Rig, answer};
use crate::clock::ticks;
use crate::config::{Config, Mode};
use crate::record::{Ended, Outcome, Timer, Times};

std::thread_local! {
    static SEEN: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
    /// Whoever takes requests notes when.
    static CONSUMERS_NOTE: Cell<bool> = const { Cell::new(false) };
}

/// All there are, refusals as one.
const ALL: [&str; 15] = [
    "Answered",
    "Unsent",
    "Truncated",
    "Abandoned",
    "Cancelled",
    "Disconnected",
    "Refused",
    "TimedOut(Head)",
    "TimedOut(Body)",
    "TimedOut(ReceiveRate)",
    "TimedOut(Queue)",
    "TimedOut(SendRate)",
    "TimedOut(Send)",
    "Stopped",
    "Aborted",
];

/// A request has ended.
pub(crate) fn saw(ended: &Ended, times: Option<&Times>) {
    let kind = if matches!(ended.outcome, Outcome::Refused(_)) {
        "Refused".to_owned()
    } else {
        format!("{:?}", ended.outcome)
    };
    let is_response = matches!(ended.outcome, Outcome::Answered | Outcome::Abandoned | Outcome::Refused(_));
    assert!(ended.status >= 100 || !is_response, "an answer has a status: {ended:?}");
    assert!(ended.outcome != Outcome::Answered || ended.bytes_out > 0 && ended.bytes_in > 0, "{ended:?}");
    SEEN.with_borrow_mut(|seen| *seen.entry(kind.clone()).or_default() += 1);
    if let Some(times) = times {
        assert_whole(ended, times);
        SEEN.with_borrow_mut(|seen| *seen.entry(kind + TIMED).or_default() += 1);
    }
}

/// Behind the names of ends with times.
const TIMED: &str = ", timed";

/// Those times are there that its outcome says, in order.
fn assert_whole(ended: &Ended, times: &Times) {
    let Times { first_byte, delivered, taken, answered, sent } = *times;
    let moments = [Some(first_byte), delivered, taken, answered, Some(sent)];
    assert!(moments.into_iter().flatten().is_sorted(), "{ended:?}");
    assert_eq!(delivered.is_some(), ended.delivered, "{ended:?}");
    assert_eq!(answered.is_some(), ended.status > 0, "{ended:?}");
    let by_application = matches!(ended.outcome, Outcome::Answered | Outcome::Unsent | Outcome::Truncated);
    let unasked = !ended.delivered || ended.outcome == Outcome::TimedOut(Timer::Queue);
    assert!(!by_application || answered.is_some() && ended.delivered, "{ended:?}");
    assert!(!unasked || taken.is_none(), "{ended:?}");
    if CONSUMERS_NOTE.get() {
        assert!(!by_application || taken.is_some(), "{ended:?}");
    }
}

/// From now on, whoever takes requests on this thread notes when, or does not.
pub(super) fn expect_notes(expected: bool) {
    CONSUMERS_NOTE.set(expected);
}

/// Each way to end has been drawn, with its times and without.
pub(super) fn assert_all_seen() {
    SEEN.with_borrow(|seen| {
        let kinds = ALL.into_iter().flat_map(|kind| [kind.to_owned(), kind.to_owned() + TIMED]);
        let unseen: Vec<String> = kinds.filter(|kind| !seen.contains_key(kind)).collect();
        assert!(unseen.is_empty(), "never drawn: {unseen:?}; drawn: {seen:?}");
        let is_known = |kind: &String| ALL.contains(&kind.trim_end_matches(TIMED));
        assert!(seen.keys().all(is_known), "an end without a name here: {seen:?}");
    });
}

#[test]
fn a_request_takes_from_its_first_byte_until_its_answer_is_sent() {
    expect_notes(false);
    let mut rig = Rig::with(Options { measured: true, ..Options::default() });
    let client = rig.connect();
    let second = Duration::from_secs(1);
    rig.say(client, "GET /a/1 HT");
    rig.pass(second);
    rig.say(client, "TP/1.1\r\nHost: h\r\n\r\n");
    let lease = rig.claim();
    rig.pass(4 * second);
    answer(lease);
    (0..2).for_each(|_| rig.settle());
    let latency = rig.queue.counts().latency();
    let (least, beyond, count) = latency.total.buckets().next().expect("it has ended");
    // Time goes by in ticks.
    assert!(count == 1 && beyond > 5 * second && least < 6 * second, "{least:?} to {beyond:?}");
    assert_eq!((latency.sending.count(), latency.waiting.count()), (1, 0), "nobody has said when it was taken");
}

#[test]
fn what_waits_while_the_application_works_on_others_takes_that_time_too() {
    expect_notes(false);
    let config = Config { mode: Mode::Colocated, ..Options::default().config };
    let mut rig = Rig::with(Options { measured: true, config, ..Options::default() });
    let _driving = rig.shard.drive_here();
    rig.shard.protocol.dispatch.set_publish_max(1);
    let clients = [rig.connect(), rig.connect()];
    for client in clients {
        rig.shard.protocol.transport.io.write(client, b"GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    rig.turn();
    let lease = rig.claim();
    rig.shard.protocol.transport.clock.skip(ticks(Duration::from_secs(10)));
    answer(lease);
    rig.turn();
    answer(rig.claim());
    (0..2).for_each(|_| rig.settle());
    let latency = rig.queue.counts().latency();
    let longest = |(_, beyond, count)| if beyond > Duration::from_secs(10) { count } else { 0 };
    let long: u64 = latency.total.buckets().map(longest).sum();
    assert_eq!((latency.total.count(), long), (2, 2), "requests, and those of 10 seconds");
}

#[test]
fn responses_that_were_copied_when_times_were_of_use_leave_none_behind() {
    expect_notes(false);
    let mut rig = Rig::with(Options { measured: true, ..Options::default() });
    let (measured, client) = (rig.connect_with_room(100), rig.connect_with_room(100));
    rig.say(measured, "GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2));
    rig.claim_all().into_iter().for_each(answer);
    rig.settle();
    // They are on their way when the last queue that is measured ends.
    rig.change(|desired| desired.set_queues(Vec::new()));
    while rig.shard.protocol.transport.io.readable(measured) > 0 {
        rig.heard(measured);
        rig.settle();
    }
    rig.say(client, "GET /none/1 HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2));
    rig.shard.protocol.transport.io.reset(client);
    rig.settle();
    assert_eq!(rig.counters.requests_refused.read(), 2);
}
