//! Every end of a request that a thread's simulations have brought about: what is never drawn is not tested.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::record::{Ended, Outcome};

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
    "Cut",
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

/// Each way to end has been drawn.
pub(super) fn assert_all_seen() {
    SEEN.with_borrow(|seen| {
        let unseen: Vec<&str> = ALL.into_iter().filter(|kind| !seen.contains_key(*kind)).collect();
        assert!(unseen.is_empty(), "never drawn: {unseen:?}; drawn: {seen:?}");
        assert!(seen.keys().all(|kind| ALL.contains(&kind.as_str())), "an end without a name here: {seen:?}");
    });
}
