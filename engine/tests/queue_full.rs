//! When nobody takes requests: full queues, inactive ones and groups without a queue answer 503, and serve again after.

mod common;

use std::net::Ipv4Addr;

use common::{Client, Host, Reply, StopOnDrop, Watched, builder, colocated_with, receive, serve, settled, wait_until};
use ringress::{Mode, QueueOptions, Request, Response, Verbosity};

const LENGTH: u32 = 4;

fn short_queue() -> Host {
    Host::start_with(builder(), QueueOptions::default().length(LENGTH).verbosity(Verbosity::Reason))
}

/// Fills the queue from connections of their own, one request each.
fn fill(host: &Host) -> Vec<Client> {
    let clients = (0..LENGTH).map(|number| {
        let mut client = host.connect();
        client.get(&format!("/{number}"));
        wait_until("it is queued", || host.queue.len() == u64::from(number) + 1);
        client
    });
    clients.collect()
}

fn answer_path(request: Request) {
    request.respond_with(|request| Response::text(request.path())).expect("open");
}

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.head);
    let seconds = reply.field("retry-after").expect("says when to come back");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds:?}");
    assert!(!reply.closes() && reply.field("date").is_some(), "{}", reply.head);
}

#[test]
fn a_full_queue_answers_503_and_keeps_the_connection() {
    let host = short_queue();
    let mut waiting = fill(&host);
    let mut late = host.connect();
    for refused in 1..=10 {
        assert_unavailable(&late.ask("/late"));
        wait_until("it is counted", || host.counters().queue_full == refused);
    }
    late.send("POST /late HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    assert_unavailable(&late.read());
    late.send("HEAD /late HTTP/1.1\r\nHost: test\r\n\r\n");
    late.send("GET /late HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut replies = String::new();
    std::io::Read::read_to_string(&mut late.stream, &mut replies).expect("the engine closes after the last");
    assert_eq!(replies.matches("HTTP/1.1 503 ").count(), 2, "{replies}");
    assert_eq!(replies.matches("full.\n").count(), 1, "none after HEAD: {replies}");
    assert_eq!(host.queue.len(), u64::from(LENGTH));
    let counters = host.counters();
    assert_eq!((counters.queue_full, counters.requests_refused, counters.requests_delivered), (13, 13, 4));
    let consumer = serve(&host.queue, answer_path);
    for (number, client) in waiting.iter_mut().enumerate() {
        assert_eq!(client.read().text(), format!("/{number}"));
    }
    let mut again = host.connect();
    assert_eq!(again.ask("/again").text(), "/again");
    drop((waiting, again));
    host.await_rest();
    drop(host);
    assert_eq!(consumer.join().expect("ends"), 5);
}

#[test]
fn a_queues_length_changes_live_and_what_waits_stays() {
    let host = short_queue();
    assert_eq!(host.queue.length(), LENGTH);
    let mut waiting = fill(&host);
    let mut late = host.connect();
    assert_unavailable(&late.ask("/late"));
    host.queue.set_length(LENGTH + 1).expect("in range");
    late.get("/fifth");
    wait_until("there is room for one more", || host.queue.len() == u64::from(LENGTH) + 1);
    waiting.push(late);
    host.queue.set_length(1).expect("in range");
    let mut later = host.connect();
    assert_unavailable(&later.ask("/later"));
    for wrong in [0, (1 << 20) + 1] {
        let error = host.queue.set_length(wrong).expect_err("out of range");
        assert_eq!(error.kind(), ringress::ErrorKind::Invalid);
        assert!(error.to_string().contains(&wrong.to_string()) && error.to_string().contains("1,048,576"), "{error}");
    }
    assert_eq!(host.queue.length(), 1, "what fails changes nothing");
    let consumer = serve(&host.queue, answer_path);
    waiting.iter_mut().for_each(|client| assert_eq!(client.read().status, 200));
    assert_eq!(later.ask("/later").text(), "/later");
    drop((waiting, later));
    host.await_rest();
    drop(host);
    consumer.join().expect("ends");
}

#[test]
fn pipelined_requests_wait_for_their_own_answers_instead() {
    let host = short_queue();
    let mut client = host.connect();
    let paths: Vec<String> = (0..40).map(|number| format!("/{number}")).collect();
    let all: String = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(all);
    wait_until("the queue is full", || host.queue.len() == u64::from(LENGTH));
    // Taken one by one with the queue full again behind each, then all at once.
    for path in &paths[..8] {
        let request = host.receive();
        assert_eq!(request.path(), path);
        answer_path(request);
        assert_eq!(client.read().text(), path);
        wait_until("the next takes its place", || host.queue.len() == u64::from(LENGTH));
    }
    let consumer = serve(&host.queue, answer_path);
    for path in &paths[8..] {
        assert_eq!(client.read().text(), path);
    }
    assert_eq!(host.settled().queue_full, 0);
    assert_eq!(client.ask("/last").text(), "/last");
    drop(client);
    host.await_rest();
    drop(host);
    consumer.join().expect("ends");
}

#[test]
fn pipelined_requests_over_many_packets_are_all_answered_in_order() {
    let host = Host::start_with(builder().pipeline_max(8), QueueOptions::default().length(LENGTH));
    let consumers: Vec<_> = (0..3).map(|_| serve(&host.queue, answer_path)).collect();
    let mut clients: Vec<Client> = (0..6).map(|_| host.connect()).collect();
    std::thread::scope(|scope| {
        for (name, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                let mut sent = String::new();
                for number in 0..300 {
                    sent += &format!("GET /{name}/{number} HTTP/1.1\r\nHost: test\r\nX-Padding: {:0300}\r\n\r\n", 0);
                }
                let mut sender = Client::over(client.stream.try_clone().expect("a second handle"));
                let sending = std::thread::spawn(move || sender.send(sent));
                for number in 0..300 {
                    let reply = client.read();
                    // With no response of its own under way, a request may find the queue full by others.
                    match reply.status {
                        200 => assert_eq!(reply.text(), format!("/{name}/{number}")),
                        _ => assert_unavailable(&reply),
                    }
                }
                sending.join().expect("all is taken");
            });
        }
    });
    drop(clients);
    host.await_rest();
    drop(host);
    let served: u64 = consumers.into_iter().map(|consumer| consumer.join().expect("ends")).sum();
    assert!(served >= u64::from(LENGTH), "at least those that filled the queue first: {served}");
}

#[test]
fn colocated_a_full_queue_answers_503() {
    // The application looks at its queue only when asked to on another one.
    let engine = Watched::start(builder(), Mode::Colocated);
    let full = engine.request_queue_with("full", QueueOptions::default().length(LENGTH)).expect("a queue");
    let control = engine.request_queue("control").expect("a queue");
    let address = engine.listen(common::loopback(0)).expect("a free port");
    let session = engine.server_session();
    let (group, control_group) = (session.url_group(), session.url_group());
    group.bind(&full).expect("of this engine");
    control_group.bind(&control).expect("of this engine");
    group.add_url(&format!("http://*:{}/full/", address.port()), 0).expect("free");
    control_group.add_url(&format!("http://*:{}/control/", address.port()), 0).expect("free");
    std::thread::scope(|scope| {
        let engine = &engine;
        let _stop = StopOnDrop(engine);
        let driver = scope.spawn(move || {
            let _attached = engine.attach(0).expect("the shard is free");
            while let Ok(request) = control.receive() {
                let taken = std::iter::from_fn(|| full.try_receive().expect("open")).map(answer_path).count();
                request.respond(Response::text(taken.to_string())).expect("open");
            }
        });
        let mut clients: Vec<Client> = (0..LENGTH).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| client.get("/full/1"));
        wait_until("they are queued", || engine.counters().requests_delivered == u64::from(LENGTH));
        let mut late = Client::connect(address);
        assert_unavailable(&late.ask("/full/2"));
        assert_eq!(late.ask("/control/").text(), LENGTH.to_string());
        clients.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/full/1"));
        assert_eq!(settled(engine).queue_full, 1);
        engine.shutdown(std::time::Duration::ZERO).expect("no shard failed");
        driver.join().expect("ends");
    });
}

#[test]
fn an_inactive_queue_group_or_session_answers_503_and_serves_again_after() {
    let host = Host::start();
    let consumer = serve(&host.queue, answer_path);
    let mut client = host.connect();
    let switches: [&dyn Fn(bool); 3] = [
        &|active| host.queue.set_active(active),
        &|active| host.group.set_active(active).expect("the group lives"),
        &|active| host.session.set_active(active),
    ];
    for switch in switches {
        assert_eq!(client.ask("/on").text(), "/on");
        switch(false);
        switch(false);
        wait_until("it is off", || client.ask("/off").status == 503);
        assert_unavailable(&client.ask("/off"));
        switch(true);
        wait_until("it is on", || client.ask("/on").status == 200);
    }
    assert_eq!(host.settled().queue_full, 0, "none of these is a full queue");
    drop(client);
    drop(host);
    consumer.join().expect("ends");
}

#[test]
fn a_group_off_its_queue_answers_503_until_it_is_bound_again() {
    let host = Host::start();
    let consumer = serve(&host.queue, answer_path);
    let mut client = host.connect();
    assert_eq!(client.ask("/bound").text(), "/bound");
    host.group.unbind().expect("the group lives");
    wait_until("it is off", || client.ask("/off").status == 503);
    assert_unavailable(&client.ask("/off"));
    host.group.bind(&host.queue).expect("the group lives");
    wait_until("it is on", || client.ask("/on").status == 200);

    let unbound = host.session.url_group();
    unbound.add_url(&format!("http://*:{}/unbound/", host.address.port()), 0).expect("free");
    wait_until("the URL is known", || client.ask("/unbound/").status == 503);
    assert_unavailable(&client.ask("/unbound/"));
    drop(client);
    drop(host.engine);
    consumer.join().expect("ends");
}

#[test]
fn a_group_moves_to_another_queue_while_requests_come() {
    let host = Host::start();
    let other = host.engine.request_queue("other").expect("a queue");
    let first = serve(&host.queue, |request| request.respond(Response::text("first")).expect("open"));
    let second = serve(&other, |request| request.respond(Response::text("second")).expect("open"));
    let mut client = host.connect();
    for _ in 0..10 {
        host.group.bind(&other).expect("of this engine");
        wait_until("the second queue is served", || client.ask("/").text() == "second");
        host.group.bind(&host.queue).expect("of this engine");
        wait_until("the first queue is served", || client.ask("/").text() == "first");
    }
    assert_eq!(host.settled().requests_refused, 0, "no request falls between two queues");
    drop(client);
    drop(host.engine);
    let served = first.join().expect("ends") + second.join().expect("ends");
    assert!(served >= 20);
}

#[test]
fn requests_that_wait_while_their_queue_is_switched_off_are_still_delivered() {
    let host = Host::start();
    let mut client = host.connect();
    client.get("/early");
    wait_until("it is queued", || host.queue.len() == 1);
    host.queue.set_active(false);
    answer_path(receive(&host.queue));
    assert_eq!(client.read().text(), "/early");
    assert_unavailable(&client.ask("/late"));
}

#[test]
fn when_request_slots_run_out_clients_wait_and_everything_comes_back() {
    // Of 18, two are kept for other addresses.
    let host = Host::start_with(builder().requests_max(18), QueueOptions::default());
    let mut clients: Vec<Client> = (0..16).map(|_| host.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/held"));
    wait_until("all slots are taken", || host.queue.len() == 16);
    let mut late = host.connect();
    late.get("/late");
    // A pipelined one waits for the response before it.
    clients[0].get("/waits");
    let consumer = serve(&host.queue, answer_path);
    clients.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/held"));
    assert_eq!(clients[0].read().text(), "/waits");
    assert_eq!(late.read().text(), "/late");
    drop((clients, late));
    host.await_rest();
    drop(host);
    consumer.join().expect("ends");
}

/// A client of an address of its own.
fn newcomer(host: &Host, number: u8) -> Client {
    Client::connect_from(Ipv4Addr::new(127, 1, 0, number), host.address)
}

#[test]
fn a_queue_filled_by_one_address_takes_requests_of_others_in_place_of_its_oldest() {
    let host = short_queue();
    let mut waiting = fill(&host);
    let mut newcomers = [1, 2].map(|number| newcomer(&host, number));
    for (client, refused) in newcomers.iter_mut().zip(&mut waiting) {
        client.get("/new");
        let reply = refused.read();
        assert_unavailable(&reply);
        assert!(reply.text().contains("clients that have fewer"), "{}", reply.text());
    }
    wait_until("it is counted", || host.counters().share_refusals == 2);
    assert_eq!((host.queue.len(), host.counters().queue_full), (u64::from(LENGTH), 0));
    // Its own further requests find the queue full, and those that gave their places up can ask again later.
    assert_unavailable(&waiting[0].ask("/again"));
    let consumer = serve(&host.queue, answer_path);
    newcomers.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/new"));
    waiting[2..].iter_mut().for_each(|client| assert_eq!(client.read().status, 200));
    waiting.iter_mut().for_each(|client| assert_eq!(client.ask("/again").text(), "/again"));
    let counts = host.queue.counters();
    assert_eq!((counts.rejected, counts.refused), (2, 1));
    drop((waiting, newcomers));
    host.await_rest();
    drop(host);
    consumer.join().expect("ends");
}

#[test]
fn what_nobody_takes_from_one_queue_gives_its_slots_to_newcomers_of_another() {
    // Of 16, two are kept back.
    let host = Host::start_with(builder().requests_max(16), QueueOptions::default());
    let served = host.engine.request_queue("served").expect("a queue");
    let group = host.session.url_group();
    group.bind(&served).expect("of this engine");
    group.add_url(&format!("http://*:{}/served/", host.address.port()), 0).expect("free");
    let mut greedy: Vec<Client> = (0..20).map(|number| newcomer(&host, number % 2)).collect();
    greedy.iter_mut().for_each(|client| client.get("/kept"));
    wait_until("all but those are taken", || host.queue.len() == 14);
    // And these by as many others that have one each.
    greedy.extend([3, 4].map(|number| newcomer(&host, number)));
    greedy[20..].iter_mut().for_each(|client| client.get("/kept"));
    wait_until("all are taken", || host.queue.len() == 16);
    let consumer = serve(&served, answer_path);
    let mut newcomers: Vec<Client> = (5..=10).map(|number| newcomer(&host, number)).collect();
    for _ in 0..3 {
        newcomers.iter_mut().for_each(|client| client.get("/served/new"));
        newcomers.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/served/new"));
    }
    wait_until("it is counted", || host.counters().share_refusals > 0);
    assert!(host.counters().share_refusals <= 18, "one for each at most: {:?}", host.counters());
    let other = serve(&host.queue, answer_path);
    greedy.iter_mut().for_each(|client| match client.read() {
        reply if reply.status == 200 => assert_eq!(reply.text(), "/kept"),
        reply => assert_unavailable(&reply),
    });
    drop((greedy, newcomers));
    host.await_rest();
    drop((host, served, group));
    assert!(consumer.join().expect("ends") == 18 && other.join().expect("ends") > 0);
}

#[test]
fn colocated_many_pipelined_requests_fit_few_slots() {
    let application = |queue: &ringress::RequestQueue| {
        while let Ok(batch) = queue.receive_batch(64) {
            batch.for_each(answer_path);
        }
    };
    colocated_with(builder().requests_max(16), application, |_, address| {
        let mut client = Client::connect(address);
        client.send((0..200).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect::<String>());
        for n in 0..200 {
            assert_eq!(client.read().text(), format!("/{n}"));
        }
    });
}
