//! What clients are sent when the engine refuses them can be given for each status of a URL group, live.

mod common;

use common::{Client, End, Host, Reply, WAIT_MAX, builder, receive, wait_until};
use ringress::{ErrorKind, Properties, QueueOptions, Refusals, Verbosity};

const BUSY: &str = "<!doctype html><title>Busy</title>";

fn host(verbosity: Verbosity) -> Host {
    let host = Host::start_with(builder(), QueueOptions::default().length(1).verbosity(verbosity));
    host.group.set_refusals(busy()).expect("open");
    host
}

fn busy() -> Refusals {
    Refusals::new().page(503, "text/html", BUSY).expect("valid")
}

/// The queue is full from now on.
fn fill(host: &Host) -> Client {
    let mut client = host.connect();
    client.get("/first");
    wait_until("it is queued", || host.queue.len() == 1);
    client
}

#[track_caller]
fn assert_page(reply: &Reply, status: u16, content_type: &str, body: &str) {
    let seen = (reply.status, reply.field("content-type"), reply.text());
    assert_eq!(seen, (status, Some(content_type), body), "{}", reply.head);
}

#[test]
fn a_page_is_sent_for_each_cause_of_its_status_and_the_connection_goes_on() {
    let host = host(Verbosity::Bare);
    let mut client = host.connect();
    let first = fill(&host);
    let full = client.ask("/");
    assert_eq!((full.field("retry-after"), full.closes()), (Some("1"), false), "{}", full.head);
    host.group.set_active(false).expect("open");
    let disabled = client.ask("/");
    host.group.set_active(true).expect("open");
    host.group.unbind().expect("open");
    let unbound = client.ask("/");
    for reply in [full, disabled, unbound] {
        assert_page(&reply, 503, "text/html", BUSY);
    }
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
    // The length is that of the page, and no body comes.
    wait_until("both are refused", || host.counters().requests_refused == 5);
    let mut said = vec![0; 4096];
    let len = client.stream.peek(&mut said).expect("they are here");
    let said = String::from_utf8_lossy(&said[..len]).into_owned();
    assert_eq!(said.matches(&format!("Content-Length: {}\r\n", BUSY.len())).count(), 2, "{said}");
    assert_eq!(said.matches(BUSY).count(), 1, "{said}");
    drop(first);
}

#[test]
fn other_statuses_and_other_groups_have_the_engines_own_text() {
    let host = host(Verbosity::Reason);
    let mut client = host.connect();
    client.get("/dropped");
    drop(receive(&host.queue));
    assert!(client.read().text().starts_with("500 "), "no page was given for it");
    let problem = r#"{"title":"nobody answered"}"#;
    let both = busy().page(500, "application/problem+json", problem).expect("valid");
    host.group.set_refusals(both.clone()).expect("open");
    assert_eq!(host.group.refusals().expect("open"), both);
    client.get("/dropped");
    drop(receive(&host.queue));
    assert_page(&client.read(), 500, "application/problem+json", problem);
    let other = host.session.url_group();
    other.add_url(&format!("http://*:{}/other/", host.address.port()), 0).expect("free");
    let reply = client.ask("/other/");
    assert!(reply.status == 503 && !reply.text().contains(BUSY), "{}", reply.text());
    // Undone, live.
    host.group.set_refusals(Refusals::new()).expect("open");
    client.get("/dropped");
    drop(receive(&host.queue));
    assert!(client.read().text().starts_with("500 "));
}

#[test]
fn bodies_that_are_refused_get_their_page_and_the_end() {
    let host = host(Verbosity::Bare);
    host.group.set_properties(Properties::new().request_body_max(4)).expect("in range");
    let pages = Refusals::new().page(413, "text/plain", "less, please").expect("valid");
    let pages = pages.page(400, "text/plain", "what?").expect("valid");
    host.group.set_refusals(pages).expect("open");
    let mut long = host.connect();
    long.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n12345");
    let reply = long.read();
    assert_page(&reply, 413, "text/plain", "less, please");
    assert!(reply.closes(), "{}", reply.head);
    let mut broken = host.connect();
    broken.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    assert_page(&broken.read(), 400, "text/plain", "what?");
    broken.read_end();
}

#[test]
fn a_page_of_a_megabyte_goes_to_many_and_a_reset_stays_one() {
    let host = host(Verbosity::Bare);
    let body = "0123456789abcdef".repeat(1 << 16);
    host.group.set_refusals(Refusals::new().page(503, "text/plain", &body).expect("just so")).expect("open");
    let first = fill(&host);
    let mut clients: Vec<Client> = (0..16).map(|_| host.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/"));
    clients.iter_mut().for_each(|client| assert_page(&client.read(), 503, "text/plain", &body));
    // What is sent from it lives on without it.
    clients.iter_mut().for_each(|client| client.get("/"));
    host.group.set_refusals(Refusals::new()).expect("open");
    for client in &mut clients {
        let reply = client.read();
        assert!(reply.status == 503 && (reply.text().is_empty() || reply.text() == body), "{}", reply.head);
    }
    host.queue.set_verbosity(Verbosity::Reset);
    host.group.set_refusals(busy()).expect("open");
    clients[0].get("/");
    assert_eq!(clients[0].read_end(), End::Reset);
    drop((clients, first));
}

#[test]
fn a_request_whose_group_has_gone_gets_no_other_groups_page() {
    let host = host(Verbosity::Bare);
    let gone = host.session.url_group();
    gone.bind(&host.queue).expect("of one engine");
    gone.add_url(&format!("http://*:{}/gone/", host.address.port()), 0).expect("free");
    let mut client = host.connect();
    client.get("/gone/");
    let request = receive(&host.queue);
    drop(gone);
    // It may have the place of the one that has gone.
    let next = host.session.url_group();
    next.set_refusals(Refusals::new().page(500, "text/plain", "of another group").expect("valid")).expect("open");
    assert!(host.engine.await_changes(WAIT_MAX).expect("not in a turn"));
    drop(request);
    let reply = client.read();
    assert_eq!((reply.status, reply.text().contains("another")), (500, false), "{}", reply.text());
}

#[test]
fn a_closed_group_takes_none() {
    let host = host(Verbosity::Bare);
    let session = host.engine.server_session();
    let group = session.url_group();
    session.close();
    for error in [group.set_refusals(busy()).expect_err("closed"), group.refusals().map(drop).expect_err("closed")] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}
