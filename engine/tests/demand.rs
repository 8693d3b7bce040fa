//! A call on demand: made once when a request waits and nobody receives; armed again by hand.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::{Client, Host, WAIT_MAX, builder, colocated, receive, serve, wait_until};
use ringress::{ErrorKind, QueueOptions, Request, RequestQueue, Response, WaitStrategy};

fn answer(request: Request) {
    request.respond_with(|request| Response::text(request.path())).expect("open");
}

/// Arms a call that counts.
fn arm(queue: &RequestQueue, calls: &Arc<AtomicU64>) {
    let calls = Arc::clone(calls);
    let call = move || {
        calls.fetch_add(1, Ordering::SeqCst);
    };
    queue.on_demand(call).expect("none is armed");
}

fn count(calls: &AtomicU64) -> u64 {
    calls.load(Ordering::SeqCst)
}

#[test]
fn it_is_made_once_for_a_request_that_nobody_receives() {
    let host = Host::start();
    let calls = Arc::default();
    arm(&host.queue, &calls);
    let error = host.queue.on_demand(|| unreachable!("it is not armed")).expect_err("one is armed");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let mut clients: Vec<Client> = (0..2).map(|_| host.connect()).collect();
    clients[0].get("/first");
    wait_until("it is called", || count(&calls) == 1);
    clients[1].get("/second");
    wait_until("both wait", || host.queue.len() == 2);
    assert_eq!(count(&calls), 1, "it was not armed again");
    // What waits already has it called at once.
    arm(&host.queue, &calls);
    assert_eq!(count(&calls), 2);
    answer(receive(&host.queue));
    answer(receive(&host.queue));
    assert_eq!((clients[0].read().text(), clients[1].read().text()), ("/first", "/second"));
}

#[test]
fn who_receives_is_enough_however_it_waits() {
    for wait in [WaitStrategy::Park, WaitStrategy::SpinThenPark(100), WaitStrategy::Spin] {
        let host = Host::start_with(builder(), QueueOptions::default().wait(wait));
        let calls = Arc::default();
        let consumer = serve(&host.queue, answer);
        let mut client = host.connect();
        // It receives from when its first request is answered, or soon after.
        assert_eq!(client.ask("/").text(), "/");
        arm(&host.queue, &calls);
        wait_until("a request meets a thread that waits", || {
            let before = count(&calls);
            assert_eq!(client.ask("/more").text(), "/more");
            let was_called = count(&calls) > before;
            if was_called {
                arm(&host.queue, &calls);
            }
            !was_called
        });
        assert!(host.queue.cancel_demand() && !host.queue.cancel_demand(), "it was armed");
        drop(client);
        drop(host);
        consumer.join().expect("it ends");
    }
}

#[test]
fn a_worker_is_started_for_each_request_that_finds_all_busy() {
    let host = Host::start();
    let (started, workers) = (Arc::new(AtomicU64::new(0)), mpsc::channel());
    fn start_on_demand(queue: &RequestQueue, started: &Arc<AtomicU64>, workers: &mpsc::Sender<thread::JoinHandle<()>>) {
        let (of_call, started, workers) = (queue.clone(), Arc::clone(started), workers.clone());
        let armed = queue.on_demand(move || {
            started.fetch_add(1, Ordering::SeqCst);
            let (queue, again) = (of_call.clone(), of_call);
            let worker = thread::spawn(move || {
                while let Ok(Some(request)) = queue.receive_timeout(Duration::from_secs(5)) {
                    let path = request.path().to_owned();
                    let _ = request.respond(Response::text(&path));
                    if path == "/last" {
                        return;
                    }
                }
            });
            let _ = workers.send(worker);
            start_on_demand(&again, &started, &workers);
        });
        if let Err(error) = armed {
            assert_eq!(error.kind(), ErrorKind::Closed);
        }
    }
    start_on_demand(&host.queue, &started, &workers.0);
    let mut client = host.connect();
    for _ in 0..50 {
        assert_eq!(client.ask("/work").text(), "/work");
    }
    let running = started.load(Ordering::SeqCst);
    assert!(running >= 1, "one is started for the first request");
    assert!(host.queue.cancel_demand());
    for _ in 0..running {
        assert_eq!(client.ask("/last").text(), "/last");
    }
    drop(client);
    for worker in workers.1.try_iter() {
        worker.join().expect("it ends");
    }
}

#[test]
fn armed_again_from_within_it_is_made_once_for_each_request() {
    fn count_each(queue: &RequestQueue, calls: &Arc<AtomicU64>) {
        let (of_call, calls) = (queue.clone(), Arc::clone(calls));
        let armed = queue.on_demand(move || {
            calls.fetch_add(1, Ordering::SeqCst);
            count_each(&of_call, &calls);
        });
        armed.expect("the one before is made");
    }
    let host = Host::start();
    let calls = Arc::default();
    count_each(&host.queue, &calls);
    let mut clients: Vec<Client> = Vec::new();
    for number in 1..=5 {
        let mut client = host.connect();
        client.get("/");
        wait_until("it is called for that one", || count(&calls) == number);
        clients.push(client);
    }
    (0..5).for_each(|_| answer(receive(&host.queue)));
    clients.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/"));
    assert_eq!(count(&calls), 5);
    assert!(host.queue.cancel_demand());
}

#[test]
fn of_two_requests_one_receiver_takes_one_and_it_is_made_for_the_other() {
    let host = Host::start();
    let (taken, is_taken) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let queue = &host.queue;
        scope.spawn(move || {
            let request = receive(queue);
            taken.send(()).expect("the test waits");
            // As a handler that waits for the other one.
            goes_on.recv_timeout(WAIT_MAX).expect("the test goes on");
            answer(request);
        });
        let calls = Arc::default();
        arm(queue, &calls);
        let mut clients: Vec<Client> = (0..2).map(|_| host.connect()).collect();
        // In one packet each, or both before the thread is awake: whichever, one is left.
        clients.iter_mut().for_each(|client| client.get("/both"));
        is_taken.recv_timeout(WAIT_MAX).expect("one is taken");
        wait_until("it is called for the other", || count(&calls) == 1);
        answer(receive(queue));
        go_on.send(()).expect("it waits");
        clients.iter_mut().for_each(|client| assert_eq!(client.read().text(), "/both"));
    });
}

#[test]
fn it_stays_armed_when_the_last_pool_is_gone() {
    let host = Host::start();
    let calls = Arc::default();
    let pool = host.queue.serve(1, |request: &mut Request| Response::text(request.path().to_owned())).expect("a pool");
    arm(&host.queue, &calls);
    drop(pool);
    let mut client = host.connect();
    client.get("/alone");
    wait_until("it is called", || count(&calls) == 1);
    answer(receive(&host.queue));
    assert_eq!(client.read().text(), "/alone");
}

#[test]
fn it_goes_unmade_with_its_queue_and_a_panic_in_it_costs_nothing_else() {
    let host = Host::start();
    let kept = Arc::new(());
    let in_call = Arc::clone(&kept);
    host.queue.on_demand(move || drop(in_call)).expect("none is armed");
    assert_eq!(Arc::strong_count(&kept), 2);
    assert_eq!(host.queue.shutdown(WAIT_MAX).expect("from outside"), 0);
    assert_eq!(Arc::strong_count(&kept), 1, "it is let go of");
    assert_eq!(host.queue.on_demand(|| ()).expect_err("closed").kind(), ErrorKind::Closed);

    let host = Host::start();
    host.queue.on_demand(|| panic!("as the test wants it")).expect("none is armed");
    let mut client = host.connect();
    client.get("/still");
    wait_until("it is counted", || host.counters().foreign_panics >= 1);
    answer(receive(&host.queue));
    assert_eq!(client.read().text(), "/still");
}

#[test]
fn a_thread_that_drives_the_shard_and_receives_elsewhere_does_not_count() {
    let calls = Arc::new(AtomicU64::new(0));
    colocated(
        |queue| {
            while let Ok(request) = queue.receive() {
                answer(request);
            }
        },
        |engine, address| {
            let other = engine.request_queue("other").expect("a queue");
            let session = engine.server_session();
            let group = session.url_group();
            group.bind(&other).expect("of one engine");
            group.add_url(&format!("http://*:{}/other/", address.port()), 0).expect("free");
            arm(&other, &calls);
            let mut client = Client::connect(address);
            assert_eq!(client.ask("/").text(), "/");
            assert_eq!(count(&calls), 0);
            client.get("/other/1");
            wait_until("it is called", || count(&calls) == 1);
            answer(receive(&other));
            assert_eq!(client.read().text(), "/other/1");
        },
    );
}

#[test]
fn no_request_is_left_without_one_when_receivers_come_and_go() {
    let host = Host::start();
    let (calls, stop) = (Arc::<AtomicU64>::default(), AtomicBool::new(false));
    let mut client = host.connect();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut served = 0_u64;
            // Leaves all the time.
            while !stop.load(Ordering::SeqCst) {
                if let Some(request) = host.queue.receive_timeout(Duration::from_micros(200)).expect("open") {
                    answer(request);
                    served += 1;
                }
            }
            served
        });
        for _ in 0..200 {
            let _ = host.queue.cancel_demand();
            arm(&host.queue, &calls);
            assert_eq!(client.ask("/x").text(), "/x");
        }
        stop.store(true, Ordering::SeqCst);
        assert_eq!(receiver.join().expect("it ends"), 200);
    });
    let _ = host.queue.cancel_demand();
    arm(&host.queue, &calls);
    let before = count(&calls);
    client.get("/alone");
    wait_until("it is called for the one that nobody receives", || count(&calls) == before + 1);
    answer(receive(&host.queue));
    assert_eq!(client.read().text(), "/alone");
}
