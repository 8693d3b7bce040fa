//! What an engine says there is: groups, URLs, queues, bindings, addresses, and what was set beside what holds.

mod common;

use std::time::Duration;

use common::ports::free_port;
use common::{Client, Host, Watched, builder, loopback, receive};
use ringress::{ErrorKind, Mode, Properties, QueueOptions, Response, UrlGroup};

fn urls(group: &UrlGroup) -> Vec<(String, u64)> {
    group.urls().expect("the group lives").into_iter().map(|info| (info.url, info.context)).collect()
}

#[test]
fn groups_are_listed_with_their_urls_sessions_and_queues() {
    let host = Host::start();
    let port = host.address.port();
    let session = host.engine.server_session();
    let group = session.url_group();
    assert_eq!(urls(&group), []);
    group.add_url(&format!("http://Example.test:{port}/Foo"), 1).expect("free");
    group.add_url(&format!("http://+:{port}/b/"), 2).expect("free");
    group.add_url(&format!("http://[::1]:{port}/"), 3).expect("free");
    group.add_url(&format!("http://127.0.0.1:{port}/"), u64::MAX).expect("free");
    let mut wanted = vec![
        (format!("http://+:{port}/b/"), 2),
        (format!("http://127.0.0.1:{port}/"), u64::MAX),
        (format!("http://[::1]:{port}/"), 3),
        (format!("http://example.test:{port}/Foo/"), 1),
    ];
    let mut listed = urls(&group);
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
    // What is listed can be registered, as it is.
    for (url, _) in &listed {
        group.remove_url(url).expect("registered");
    }
    group.add_urls(listed.iter().map(|(url, context)| (url.as_str(), *context))).expect("free again");

    let all = host.engine.url_groups();
    assert_eq!(all.len(), 2);
    let of = |group: &UrlGroup| all.iter().find(|info| info.id == group.id()).expect("it is listed");
    let (first, second) = (of(&host.group), of(&group));
    assert_eq!((first.session, first.queue, first.active), (host.session.id(), Some(host.queue.id()), true));
    assert_eq!((second.session, second.queue, second.active), (session.id(), None, true));
    assert_eq!((first.urls.len(), second.urls.len()), (1, 4));
    assert_ne!(first.session, second.session);

    group.bind(&host.queue).expect("of this engine");
    group.set_active(false).expect("the group lives");
    let queues = host.engine.queues();
    let [queue] = &queues[..] else { panic!("{queues:?}") };
    assert_eq!((queue.id, &*queue.name, queue.length, queue.waiting), (host.queue.id(), "test", 1000, 0));
    assert!(queue.active && queue.url_groups.len() == 2 && queue.url_groups.contains(&group.id()));
    let found = host.engine.find_group(&format!("http://EXAMPLE.test:{port}/foo/")).expect("a prefix");
    let found = found.expect("whatever its case and final slash");
    assert_eq!((found.id, found.queue, found.active), (group.id(), Some(host.queue.id()), false));
    let (id, session_id) = (group.id(), session.id());
    session.close();
    assert!(host.engine.url_groups().iter().all(|info| info.id != id && info.session != session_id));
    assert!(group.urls().expect_err("its session is closed").is_closed());
    // Others in the same places have other ids.
    let next = host.engine.server_session();
    assert!(next.id() != session_id && next.url_group().id() != id);
}

#[test]
fn a_group_is_found_by_its_prefixes_alone() {
    let host = Host::start();
    let port = host.address.port();
    let found = |url: &str| host.engine.find_group(&url.replace('P', &port.to_string())).expect("a prefix");
    assert_eq!(found("http://*:P/").map(|info| info.id), Some(host.group.id()));
    for other in ["http://+:P/", "http://*:P/deeper/", "http://localhost:P/", "http://*:1/"] {
        assert_eq!(found(other), None, "{other}");
    }
    for wrong in ["", "http://*:0/", "nonsense"] {
        assert_eq!(host.engine.find_group(wrong).expect_err("no prefix").kind(), ErrorKind::Malformed);
    }
}

#[test]
fn all_urls_of_a_group_are_removed_at_once_and_their_ports_close() {
    let host = Host::start();
    let (port, other_port) = (free_port(), host.address.port());
    let group = host.session.url_group();
    group.bind(&host.queue).expect("of this engine");
    group.add_url(&format!("http://*:{port}/a/"), 0).expect("free");
    group.add_url(&format!("http://*:{port}/b/"), 0).expect("free");
    group.add_url(&format!("http://*:{other_port}/b/"), 0).expect("free");
    assert_eq!(host.engine.addresses().len(), 2);
    group.remove_all_urls().expect("the group lives");
    assert_eq!(urls(&group), []);
    let left = host.engine.addresses();
    let [address] = &left[..] else { panic!("{left:?}") };
    assert_eq!((&address.address, address.explicit), (&host.address.into(), true));
    group.remove_all_urls().expect("none is fine");
    group.add_url(&format!("http://*:{port}/a/"), 1).expect("free again");
    let opened = host.engine.addresses();
    let opened = opened.iter().find(|info| info.port == port).expect("it is open again");
    assert!(!opened.explicit);
    let error = host.engine.unlisten(&opened.address).expect_err("URLs have opened it");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("URLs"), "{error}");
    let mut client = Client::connect(loopback(port));
    client.get("/a/x");
    let request = host.receive();
    assert_eq!((request.url_context(), request.url_group()), (1, group.id()));
    request.respond(Response::ok()).expect("open");
    assert_eq!(client.read().status, 200);
    let mut other = host.connect();
    other.get("/b/");
    let request = host.receive();
    assert_eq!(request.url_group(), host.group.id(), "the group's prefix is gone, and another one covers it");
    request.respond(Response::ok()).expect("open");
    assert_eq!(other.read().status, 200);
    assert!(host.engine.unlisten(loopback(1)).expect_err("never opened").to_string().contains("listen"));
}

#[test]
fn what_was_set_is_told_beside_what_holds() {
    let seconds = Duration::from_secs;
    let engine = Watched::start(builder().properties(Properties::new().header_wait(seconds(7))), Mode::Queue);
    let session = engine.server_session();
    let group = session.url_group();
    let own = Properties::new().idle_connection(seconds(3));
    assert_eq!(session.own_properties(), Properties::new());
    session.set_properties(own).expect("in range");
    group.set_properties(Properties::new().send_rate_min(0)).expect("in range");
    assert_eq!(engine.own_properties(), Properties::new().header_wait(seconds(7)));
    assert_eq!(session.own_properties(), own);
    assert_eq!(group.own_properties().expect("the group lives"), Properties::new().send_rate_min(0));
    let holds = group.properties().expect("the group lives");
    assert_eq!(
        (holds.header_wait, holds.idle_connection, holds.send_rate_min),
        (Some(seconds(7)), Some(seconds(3)), Some(0))
    );
    assert_eq!(engine.url_groups()[0].own_properties, Properties::new().send_rate_min(0));
    group.set_properties(holds).expect("what was read can be set");
    assert_eq!(group.own_properties().expect("the group lives"), holds);
    let too_long = Properties::new().deliver_when_whole(64 << 20);
    for refused in [group.set_properties(too_long), session.set_properties(too_long)] {
        let text = refused.expect_err("the shards have no such buffers").to_string();
        assert!(text.starts_with("deliver_when_whole is 67108864, but must be at most "), "{text}");
    }
    assert_eq!(group.own_properties().expect("the group lives"), holds, "nothing has changed");
    session.close();
    assert!(group.own_properties().expect_err("its session is closed").is_closed());
}

#[test]
fn queues_are_listed_until_their_last_handle_is_gone_and_groups_with_what_is_bound() {
    let host = Host::start();
    let queue = host.engine.request_queue_with("short", QueueOptions::default().length(8)).expect("a queue");
    let (again, id) = (queue.clone(), queue.id());
    host.group.bind(&queue).expect("of this engine");
    let mut client = host.connect();
    client.get("/x");
    common::wait_until("it waits", || host.engine.queues().iter().any(|info| info.id == id && info.waiting == 1));
    drop(queue);
    queue_listed(&host, id, true);
    receive(&again).respond(Response::ok()).expect("open");
    assert_eq!(client.read().status, 200);
    drop(again);
    queue_listed(&host, id, false);
    assert_eq!(host.engine.url_groups()[0].queue, None, "its queue is gone");
    let next = host.engine.request_queue("next").expect("a queue");
    assert_ne!(next.id(), id);
    assert_eq!(host.engine.url_groups()[0].queue, None, "and is not the one that has its place");
    assert_eq!(client.ask("/x").status, 503);
}

#[track_caller]
fn queue_listed(host: &Host, id: ringress::QueueId, listed: bool) {
    assert_eq!(host.engine.queues().iter().any(|info| info.id == id), listed);
}
