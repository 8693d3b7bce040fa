//! What is told as JSON: all that there is (`/state`), and what the status page shows (`/live`).
//!
//! Invariants: ids are texts, as everywhere; of what applications named, URL prefixes and names of queues are told,
//! nothing of what requests say. Lists that can be long are cut at a number that is told.
//!
//! Not here: the page that shows it (`page.html`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::about::About;
use super::ages::Ages;
use super::describe;
use super::metrics::cumulative;
use crate::clock;
use crate::counters::{Counters, Histogram, Latency, RequestCounters};
use crate::id::UrlGroupId;
use crate::policy::{Properties, Verbosity};
use crate::session::{EngineSnapshot, Phase, QueueSnapshot, RequestInfo, UrlGroupSnapshot, Watcher};

/// Groups that the status page shows: those with most requests.
const GROUPS_MAX: usize = 200;
/// URL prefixes that are listed.
const URLS_MAX: usize = 10_000;
/// Requests under way that are listed.
const REQUESTS_MAX: usize = 1_000;

fn counts(counters: &Counters) -> Value {
    counters.named().map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>().into()
}

fn requests(counters: &RequestCounters) -> Value {
    let mut all: Map<String, Value> = counters.named().map(|(name, count)| (name.to_owned(), count.into())).collect();
    all.insert("open".into(), counters.open().into());
    all.into()
}

/// Each with the text that sets it; what is not set is null.
fn properties(properties: &Properties) -> Value {
    properties.named().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>().into()
}

fn verbosity(verbosity: Verbosity) -> &'static str {
    match verbosity {
        Verbosity::Reset => "reset",
        Verbosity::Bare => "bare",
        Verbosity::Reason => "reason",
    }
}

/// What both say of the engine as a whole.
fn whole(engine: &EngineSnapshot, about: &About) -> Value {
    let failure = match &engine.phase {
        Phase::Failed(failure) => Some(failure.to_string()),
        _ => None,
    };
    json!({
        "version": about.version,
        "driver": about.driver,
        "io_uring_refusal": about.refusal,
        "mode": about.mode,
        "seconds": clock::now().saturating_duration_since(about.began).as_secs_f64(),
        "phase": describe::phase(&engine.phase),
        "failure": failure,
        "ready": describe::unreadiness(Some(engine)).is_none(),
        "unready": describe::unreadiness(Some(engine)),
    })
}

fn listeners(engine: &EngineSnapshot) -> Value {
    let listener = |listener: &crate::session::ListenerSnapshot| {
        json!({
            "address": listener.info.address.to_string(),
            "port": listener.info.port,
            "explicit": listener.info.explicit,
            "connections_accepted": listener.connections_accepted,
        })
    };
    engine.listeners.iter().map(listener).collect()
}

/// What changes of a queue.
fn queue(queue: &QueueSnapshot, ages: &Ages) -> Value {
    json!({
        "id": queue.info.id.to_string(),
        "name": queue.info.name,
        "length": queue.info.length,
        "waiting": queue.info.waiting,
        "oldest_waiting_seconds": ages.of(queue.info.id).as_secs_f64(),
        "active": queue.info.active,
        "closed": queue.closed,
        "counters": requests(&queue.counters),
    })
}

fn group(group: &UrlGroupSnapshot) -> Value {
    json!({
        "id": group.id.to_string(),
        "session": group.session.to_string(),
        "queue": group.queue.map(|queue| queue.to_string()),
        "active": group.active,
        "urls_count": group.urls,
        "first_url": group.first_url,
        "counters": requests(&group.counters),
    })
}

/// Adds what is said in some places alone.
fn with(mut value: Value, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    value
}

/// What the status page shows.
pub(super) fn live(engine: &EngineSnapshot, about: &About, ages: &Ages) -> Value {
    let shard = |shard: &crate::session::ShardSnapshot| {
        let of = |name| shard.counters.named().find(|(known, _)| *known == name).map_or(0, |(_, count)| count);
        json!({
            "state": describe::shard_state(shard.state),
            "connections_open": of("connections_open"),
            "connections_accepted": of("connections_accepted"),
            "requests_open": of("requests_open"),
            "requests_answered": of("requests_answered"),
        })
    };
    let bounds =
        |histogram: &Histogram| -> Value { cumulative(histogram).0.into_iter().map(|(_, count)| count).collect() };
    let latency = |latency: &Latency| {
        // The bounds are the same for all: said once.
        let micros: Vec<u64> = cumulative(&latency.total).0.into_iter().map(|(micros, _)| micros).collect();
        let total = &latency.total;
        json!({ "micros": micros, "count": total.count(), "total": bounds(total), "waiting": bounds(&latency.waiting) })
    };
    let queues = engine.queues.iter().map(|one| {
        let latency = one.latency.as_ref().map_or(Value::Null, latency);
        with(queue(one, ages), [("latency", latency)])
    });
    let mut groups: Vec<&UrlGroupSnapshot> = engine.url_groups.iter().collect();
    let left_out = groups.len().saturating_sub(GROUPS_MAX);
    if left_out > 0 {
        groups.sort_by_key(|group| core::cmp::Reverse(group.counters.delivered));
        groups.truncate(GROUPS_MAX);
    }
    with(
        whole(engine, about),
        [
            ("counters", counts(&engine.counters)),
            ("shards", engine.shards.iter().map(shard).collect()),
            ("queues", queues.collect()),
            ("url_groups", groups.into_iter().map(group).collect()),
            ("url_groups_left_out", left_out.into()),
            ("listeners", listeners(engine)),
        ],
    )
}

/// All that there is.
pub(super) fn state(engine: &EngineSnapshot, watcher: &Watcher, about: &About, ages: &Ages) -> Value {
    let listed: BTreeMap<UrlGroupId, _> =
        watcher.url_groups(URLS_MAX).into_iter().map(|group| (group.id, group.urls)).collect();
    let groups = engine.url_groups.iter().map(|one| {
        let urls = listed.get(&one.id).map_or(&[][..], |urls| urls);
        // A context may be any number of 64 bits, which is more than numbers in JSON are read as.
        let url = |url: &crate::session::UrlInfo| json!({ "url": url.url, "context": url.context.to_string() });
        let set = [
            ("urls", urls.iter().map(url).collect()),
            ("properties", properties(&one.properties)),
            ("own_properties", properties(&one.own_properties)),
        ];
        with(group(one), set)
    });
    let session = |session: &crate::session::SessionSnapshot| {
        json!({
            "id": session.id.to_string(),
            "active": session.active,
            "properties": properties(&session.properties),
            "own_properties": properties(&session.own_properties),
        })
    };
    let queues = engine.queues.iter().map(|one| {
        let bound = one.info.url_groups.iter().map(|group| Value::from(group.to_string())).collect();
        let told = [
            ("verbosity", verbosity(one.verbosity).into()),
            ("measured", one.latency.is_some().into()),
            ("url_groups", bound),
        ];
        with(queue(one, ages), told)
    });
    let shard = |shard: &crate::session::ShardSnapshot| {
        let state = describe::shard_state(shard.state);
        json!({ "state": state, "counters": counts(&shard.counters) })
    };
    let (under_way, more) = watcher.under_way(REQUESTS_MAX);
    let request = |request: &RequestInfo| {
        json!({
            "id": request.id.to_string(),
            "queue": request.queue.map(|queue| queue.to_string()),
            "shard": request.shard,
            "stage": request.stage,
        })
    };
    with(
        whole(engine, about),
        [
            ("properties", properties(&engine.properties)),
            ("own_properties", properties(&engine.own_properties)),
            ("counters", counts(&engine.counters)),
            ("shards", engine.shards.iter().map(shard).collect()),
            ("sessions", engine.sessions.iter().map(session).collect()),
            ("url_groups", groups.collect()),
            ("queues", queues.collect()),
            ("listeners", listeners(engine)),
            ("requests", under_way.iter().map(request).collect()),
            ("requests_left_out", more.into()),
        ],
    )
}
