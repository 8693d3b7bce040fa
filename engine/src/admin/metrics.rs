//! Which metrics there are, and what of an engine is in them.
//!
//! Invariants: names follow from those of the counters by one rule, which docs/reference.md has; counts end in
//! `_total`, units are seconds and bytes and end the name; no two samples have the same labels.
//!
//! Not here: the text format (`openmetrics`).

use std::collections::BTreeMap;

use super::about::{About, Served};
use super::ages::Ages;
use super::describe;
use super::openmetrics::{Exposition, Kind, Label};
use crate::counters::{Counters, Histogram, Latency, RequestCounters};
use crate::session::{EngineSnapshot, QueueSnapshot, ShardState, UrlGroupSnapshot};

/// Bounds of histograms: powers of two, in microseconds, of which the counts are exact.
const BOUND_BITS: core::ops::RangeInclusive<u32> = 4..=26;

/// All metrics, as text.
pub(super) fn metrics(engine: &EngineSnapshot, about: &About, ages: &Ages, served: &Served) -> String {
    let mut all = Exposition::default();
    whole(&mut all, engine, about);
    shards(&mut all, engine);
    queues(&mut all, engine, ages);
    groups(&mut all, engine);
    listeners(&mut all, engine);
    own(&mut all, served);
    all.end()
}

/// Of a counter: its metric's name, and its unit.
fn named(prefix: &str, counter: &str) -> (String, Option<&'static str>) {
    match counter.strip_prefix("bytes_") {
        Some(which) => (format!("{prefix}{which}_bytes"), Some("bytes")),
        None => (format!("{prefix}{counter}"), None),
    }
}

fn whole(all: &mut Exposition, engine: &EngineSnapshot, about: &About) {
    all.family(Kind::Info, "ringress_engine", None, "The engine: its version, its driver and who runs its shards.");
    let labels = [("version", about.version), ("driver", &about.driver), ("mode", about.mode)];
    all.sample(&labels, 1);
    all.family(Kind::StateSet, "ringress_phase", None, "How far the engine has come.");
    for phase in describe::PHASES {
        all.sample(&[("ringress_phase", phase)], u8::from(phase == describe::phase(&engine.phase)));
    }
    all.family(Kind::Gauge, "ringress_ready", None, "Whether clients should be sent here, as /readyz says.");
    all.sample(&[], u8::from(describe::unreadiness(Some(engine)).is_none()));
}

fn shards(all: &mut Exposition, engine: &EngineSnapshot) {
    let numbers: Vec<String> = (0..engine.shards.len()).map(|shard| shard.to_string()).collect();
    all.family(Kind::Gauge, "ringress_shard_runs", None, "Whether a thread runs the shard.");
    for (number, shard) in numbers.iter().zip(&engine.shards) {
        all.sample(&[("shard", number)], u8::from(shard.state == ShardState::Runs));
    }
    let of_shards: Vec<Vec<u64>> =
        engine.shards.iter().map(|shard| shard.counters.named().map(|(_, count)| count).collect()).collect();
    for (place, (counter, documented)) in Counters::DESCRIBED.iter().enumerate() {
        let (name, unit) = named("ringress_", counter);
        let kind = if Counters::is_level(counter) { Kind::Gauge } else { Kind::Counter };
        all.family(kind, &name, unit, &describe::first_sentence(documented));
        for (number, counts) in numbers.iter().zip(&of_shards) {
            all.sample(&[("shard", number)], counts[place]);
        }
        if *counter == "foreign_panics" {
            let of_all: u64 = of_shards.iter().map(|counts| counts[place]).sum();
            all.sample(&[("shard", "none")], engine.counters.foreign_panics.saturating_sub(of_all));
        }
    }
}

/// What is said of the requests of queues, or of groups.
fn requests<'a>(
    all: &mut Exposition,
    prefix: &str,
    of: impl Iterator<Item = ([Label<'a>; 2], RequestCounters)> + Clone,
) {
    all.family(Kind::Counter, &format!("{prefix}requests_ended"), None, "Requests delivered that have ended, by how.");
    for (labels, counters) in of.clone() {
        for (outcome, count) in counters.outcomes() {
            all.sample(&[labels[0], labels[1], ("outcome", outcome)], count);
        }
    }
    let outcomes = RequestCounters::default().outcomes().count();
    for (place, (counter, documented)) in RequestCounters::DESCRIBED.iter().enumerate().skip(outcomes) {
        let (name, unit) = match *counter {
            "bytes_received" | "bytes_sent" => named(prefix, counter),
            _ => (format!("{prefix}requests_{counter}"), None),
        };
        all.family(Kind::Counter, &name, unit, &describe::first_sentence(documented));
        for (labels, counters) in of.clone() {
            let count = counters.named().nth(place).map_or(0, |(_, count)| count);
            all.sample(&labels, count);
        }
    }
    all.family(Kind::Gauge, &format!("{prefix}requests_open"), None, "Requests delivered that have not ended.");
    for (labels, counters) in of {
        all.sample(&labels, counters.open());
    }
}

fn queues(all: &mut Exposition, engine: &EngineSnapshot, ages: &Ages) {
    let ids: Vec<String> = engine.queues.iter().map(|queue| queue.info.id.to_string()).collect();
    let labelled = || {
        let labels = |(queue, id)| -> (&QueueSnapshot, [Label<'_>; 2]) {
            let queue: &QueueSnapshot = queue;
            let id: &String = id;
            (queue, [("queue", &queue.info.name), ("queue_id", id)])
        };
        engine.queues.iter().zip(&ids).map(labels)
    };
    type Level = fn(&QueueSnapshot) -> u64;
    let levels: [(&str, &str, Level); 3] = [
        ("requests_waiting", "Requests that wait undelivered.", |queue| queue.info.waiting),
        ("requests_waiting_max", "The most that may wait undelivered.", |queue| u64::from(queue.info.length)),
        ("active", "Whether the queue takes requests.", |queue| u64::from(queue.info.active && !queue.closed)),
    ];
    for (name, help, level) in levels {
        all.family(Kind::Gauge, &format!("ringress_queue_{name}"), None, help);
        for (queue, labels) in labelled() {
            all.sample(&labels, level(queue));
        }
    }
    let help = "How long the oldest request that waits has waited at least.";
    all.family(Kind::Gauge, "ringress_queue_oldest_waiting_seconds", Some("seconds"), help);
    for (queue, labels) in labelled() {
        all.sample(&labels, ages.of(queue.info.id).as_secs_f64());
    }
    requests(all, "ringress_queue_", labelled().map(|(queue, labels)| (labels, queue.counters)));
    type Part = fn(&Latency) -> &Histogram;
    let parts: [(&str, &str, Part); 4] = [
        ("waiting", "How long answered requests waited for a consumer.", |latency| &latency.waiting),
        ("serving", "How long consumers had answered requests, until the response was back.", |it| &it.serving),
        ("sending", "How long responses took, until the socket had taken them.", |latency| &latency.sending),
        ("duration", "How long answered requests took in all, from their first byte on.", |latency| &latency.total),
    ];
    for (name, help, part) in parts {
        all.family(Kind::Histogram, &format!("ringress_queue_request_{name}_seconds"), Some("seconds"), help);
        for (queue, labels) in labelled() {
            if let Some(latency) = &queue.latency {
                histogram(all, &labels, part(latency));
            }
        }
    }
}

fn histogram(all: &mut Exposition, labels: &[Label<'_>], histogram: &Histogram) {
    let (bounds, sum) = cumulative(histogram);
    let bounds: Vec<(f64, u64)> = bounds.into_iter().map(|(micros, count)| (micros as f64 / 1e6, count)).collect();
    all.histogram(labels, &bounds, histogram.count(), sum);
}

/// How many were up to each bound, in microseconds; and the sum of all in seconds, each as long as the middle of its
/// bucket: at most 3.2 % from the truth, but for what takes microseconds.
pub(super) fn cumulative(histogram: &Histogram) -> (Vec<(u64, u64)>, f64) {
    let mut sum = 0.0;
    let mut bounds: Vec<(u64, u64)> = BOUND_BITS.map(|bits| (1 << bits, 0)).collect();
    for (least, beyond, count) in histogram.buckets() {
        sum += (least.as_secs_f64() + beyond.as_secs_f64()) / 2.0 * count as f64;
        // Powers of two are among the ends of buckets: what is in one is within the bound as a whole, or not at all.
        let first = bounds.partition_point(|(bound, _)| u128::from(*bound) < beyond.as_micros());
        bounds[first..].iter_mut().for_each(|(_, within)| *within += count);
    }
    (bounds, sum)
}

fn groups(all: &mut Exposition, engine: &EngineSnapshot) {
    let ids: Vec<String> = engine.url_groups.iter().map(|group| group.id.to_string()).collect();
    let labels = |(group, id)| -> (&UrlGroupSnapshot, [Label<'_>; 2]) {
        let group: &UrlGroupSnapshot = group;
        let id: &String = id;
        (group, [("url_group", id), ("url", group.first_url.as_deref().unwrap_or_default())])
    };
    let labelled = engine.url_groups.iter().zip(&ids).map(labels);
    all.family(Kind::Gauge, "ringress_url_group_urls", None, "URL prefixes of the group; the label has the first one.");
    for (group, labels) in labelled.clone() {
        all.sample(&labels, group.urls);
    }
    requests(all, "ringress_url_group_", labelled.map(|(group, labels)| (labels, group.counters)));
}

fn listeners(all: &mut Exposition, engine: &EngineSnapshot) {
    let help = "Connections that have come in there, also those that were closed at once.";
    all.family(Kind::Counter, "ringress_listener_connections_accepted", None, help);
    // Several sockets may have one address: they were handed over, or share it.
    let mut accepted = BTreeMap::<String, u64>::new();
    for listener in &engine.listeners {
        *accepted.entry(listener.info.address.to_string()).or_default() += listener.connections_accepted;
    }
    for (address, count) in accepted {
        all.sample(&[("listener", &address)], count);
    }
}

fn own(all: &mut Exposition, served: &Served) {
    let counts = [
        ("connections_accepted", "Connections to what shows this.", served.accepted),
        ("connections_evicted", "Those that were closed for newer ones.", served.evicted),
        ("connections_timed_out", "Those that sent no request or took no answer in time.", served.timed_out),
        ("requests_refused", "Requests to it that were answered 400 or above.", served.refused),
    ];
    for (name, help, count) in counts {
        all.family(Kind::Counter, &format!("ringress_admin_{name}"), None, help);
        all.sample(&[], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        assert_eq!(named("ringress_", "bytes_received"), ("ringress_received_bytes".into(), Some("bytes")));
        assert_eq!(named("ringress_", "timeouts"), ("ringress_timeouts".into(), None));
    }

    #[test]
    fn nothing_is_lost_from_an_empty_histogram_to_its_bounds() {
        let (bounds, sum) = cumulative(&Histogram::default());
        assert_eq!((bounds.len(), bounds[0], sum), (23, (16, 0), 0.0));
    }
}
