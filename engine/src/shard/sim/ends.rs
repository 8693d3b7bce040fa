//! Every end of a request that a thread's simulations have brought about: what is never drawn is not tested. And how
//! long a request is said to have taken.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Options, Rig, answer};
use crate::record::{Ended, Outcome, Times};

std::thread_local! {
    static SEEN: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
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
pub(crate) fn saw(ended: &Ended) {
    let kind = if matches!(ended.outcome, Outcome::Refused(_)) {
        "Refused".to_owned()
    } else {
        format!("{:?}", ended.outcome)
    };
    let is_answer = matches!(ended.outcome, Outcome::Answered | Outcome::Abandoned | Outcome::Refused(_));
    assert!(ended.status >= 100 || !is_answer, "an answer has a status: {ended:?}");
    assert!(ended.outcome != Outcome::Answered || ended.bytes_out > 0 && ended.bytes_in > 0, "{ended:?}");
    SEEN.with_borrow_mut(|seen| *seen.entry(kind).or_default() += 1);
}

/// What an answered request has taken is told.
pub(crate) fn saw_times(times: &Times) {
    let taken = times.taken.unwrap_or(times.delivered);
    let in_order = [times.first_byte, times.delivered, taken, times.answered, times.sent];
    assert!(in_order.is_sorted() && times.first_byte > 0, "{times:?}");
}

/// Each way to end has been drawn.
pub(super) fn assert_all_seen() {
    SEEN.with_borrow(|seen| {
        let unseen: Vec<&str> = ALL.into_iter().filter(|kind| !seen.contains_key(*kind)).collect();
        assert!(unseen.is_empty(), "never drawn: {unseen:?}; drawn: {seen:?}");
        assert!(seen.keys().all(|kind| ALL.contains(&kind.as_str())), "an end without a name here: {seen:?}");
    });
}

#[test]
fn a_request_takes_from_its_first_byte_until_its_answer_is_sent() {
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
