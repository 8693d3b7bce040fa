//! Leaving without loss: listening sockets go to the next engine, and connections end when their clients know it.
//!
//! Both engines are of one process here. Not here: processes that replace each other (`upgrading`), and what an
//! engine does with sockets of other makers (`listeners`).

mod common;

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, End, WAIT_MAX, Watched, add, builder, by_two_shards, loopback, wait_until};
use ringress::{Driver, Endpoint, Engine, ErrorKind, HandedOver, Listener, Mode, UrlGroup};

const LONG: Duration = Duration::from_secs(3600);

/// Both modes, each with the driver that is tried first and with the other one.
const KINDS: [(Mode, Driver); 4] = [
    (Mode::Queue, Driver::Auto),
    (Mode::Colocated, Driver::Auto),
    (Mode::Queue, Driver::Epoll),
    (Mode::Colocated, Driver::Epoll),
];

/// Runs an engine of two shards that answers everything with `said`, and a client against it.
fn serving<R>((mode, driver): (Mode, Driver), said: &str, client: impl FnOnce(&Engine, &UrlGroup) -> R) -> R {
    by_two_shards((builder().driver(driver), mode), |_| said.to_owned(), client)
}

/// Waits until a drain that another thread has called for holds.
fn await_drain(engine: &Engine) {
    wait_until("it listens no more", || engine.addresses().is_empty());
    assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"));
}

#[test]
fn a_drained_connection_answers_once_more_and_says_that_this_is_all() {
    for kind in KINDS {
        serving(kind, "served", |engine, group| {
            let address = engine.listen(loopback(0)).expect("a free port");
            add(group, address.port());
            let mut clients = [0; 6].map(|_| Client::connect(address));
            for client in &mut clients {
                assert!(!client.ask("/").closes());
            }
            thread::scope(|scope| {
                let drained = scope.spawn(|| engine.drain(LONG, LONG));
                await_drain(engine);
                for mut client in clients {
                    assert!(client.ask("/").closes(), "{kind:?}");
                    assert_eq!(client.read_end(), End::Closed);
                }
                // It ends with the last of them, long before the time.
                drained.join().expect("it ends").expect("no shard failed");
            });
        });
    }
}

#[test]
fn the_idle_are_waited_for_no_longer_than_said_and_a_shutdown_meanwhile_ends_it() {
    for kind in KINDS {
        for linger in [Duration::from_millis(200), LONG] {
            serving(kind, "served", |engine, group| {
                let address = engine.listen(loopback(0)).expect("a free port");
                add(group, address.port());
                let mut client = Client::connect(address);
                assert_eq!(client.ask("/").text(), "served");
                thread::scope(|scope| {
                    let begun = Instant::now();
                    let drained = scope.spawn(|| engine.drain(linger, LONG));
                    await_drain(engine);
                    if linger == LONG {
                        engine.shutdown(Duration::ZERO).expect("no shard failed");
                    }
                    assert_eq!(client.read_end(), End::Closed);
                    drained.join().expect("it ends").expect("no shard failed");
                    assert!(linger == LONG || begun.elapsed() >= linger, "{kind:?}: it has lingered");
                });
            });
        }
    }
}

/// Gives everything to the next engine.
fn take(next: &Engine, sockets: Vec<HandedOver>) {
    for socket in sockets {
        let address = socket.address.clone();
        let listener = Listener::from(socket);
        let listener = if address.tcp().is_some() { listener } else { listener.port(81) };
        assert_eq!(next.listen_on(listener).expect("it listens"), address);
        assert_eq!(address.to_string().parse::<Endpoint>().expect("as it is written"), address);
    }
}

#[test]
fn a_socket_of_an_engine_with_another_driver_is_refused_by_both_names_and_the_remedy() {
    serving(KINDS[0], "first", |first, _| {
        first.listen(loopback(0)).expect("a free port");
        let ours = first.driver();
        let theirs = if ours == Driver::Epoll { Driver::IoUring } else { Driver::Epoll };
        let next = Watched::start(builder().driver(ours), Mode::Queue);
        for mut socket in first.hand_over().expect("descriptors are left") {
            assert_eq!(socket.driver, ours);
            // As if the first one had the other driver.
            socket.driver = theirs;
            let error = next.listen_on(socket).expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.starts_with(&format!("the driver of this engine is {ours}, but that of")), "{text}");
            assert!(text.contains(&format!("RINGRESS_DRIVER={theirs}")), "{text}");
        }
        assert!(next.addresses().is_empty());
    });
}

#[test]
fn an_engine_that_hands_its_sockets_over_loses_nobody_who_connects() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in KINDS {
        let path = folder.path().join("http.sock");
        let name = format!("ringress-hand-over-{}", std::process::id());
        serving(kind, "next", |next, next_group| {
            let (address, clients) = serving(kind, "first", |first, group| {
                let address = first.listen(loopback(0)).expect("a free port");
                first.listen_on(Listener::unix(&path).port(81)).expect("it listens");
                first.listen_on(Listener::abstract_name(name.clone()).port(81)).expect("it listens");
                [address.port(), 81].into_iter().for_each(|port| add(group, port));
                let stop = std::sync::Arc::new(AtomicBool::new(false));
                let clients: Vec<_> = [false, true]
                    .map(|over_unix| {
                        let (stop, path) = (stop.clone(), path.clone());
                        thread::spawn(move || {
                            let mut said = Vec::new();
                            while !stop.load(Ordering::Relaxed) {
                                let mut client = if over_unix {
                                    Client::over_unix(UnixStream::connect(&path).expect("it is listened on"))
                                } else {
                                    Client::connect(address)
                                };
                                said.push(client.ask("/").text().to_owned());
                            }
                            said
                        })
                    })
                    .into();
                wait_until("the first one serves", || first.counters().requests_answered >= 20);
                let sockets = first.hand_over().expect("descriptors");
                // One a shard, and one each of the others.
                assert_eq!(sockets.len(), 4, "{sockets:?}");
                assert_eq!(first.hand_over().expect("descriptors").len(), 4, "as often as is wanted");
                take(next, sockets);
                [address.port(), 81].into_iter().for_each(|port| add(next_group, port));
                first.drain(Duration::from_secs(5), LONG).expect("no shard failed");
                let answered = next.counters().requests_answered;
                wait_until("the next one serves", || next.counters().requests_answered >= answered + 40);
                stop.store(true, Ordering::Relaxed);
                (address, clients)
            });
            for client in clients {
                let said = client.join().expect("every one is answered");
                // Of one of both kinds of clients none may have come before.
                let by_first = said.iter().rposition(|said| said == "first").map_or(0, |last| last + 1);
                assert!(by_first < said.len() && said[by_first..].iter().all(|said| said == "next"), "{kind:?}");
            }
            assert_eq!(Client::connect(address).ask("/").text(), "next");
            assert!(path.exists(), "the file is the next one's");
            let endpoint = Endpoint::Unix(path.clone());
            next.unlisten(&endpoint).expect("it is listened on");
            assert!(!path.exists(), "and goes with it");
            next.unlisten(address).expect("it is listened on");
            assert!(!next.addresses().iter().any(|info| info.address == address.into()), "all of its sockets");
        });
    }
}

#[test]
fn an_upgrade_that_comes_to_nothing_changes_nothing() {
    serving(KINDS[0], "served", |engine, group| {
        let address = engine.listen(loopback(0)).expect("a free port");
        add(group, address.port());
        drop(engine.hand_over().expect("descriptors"));
        assert_eq!(Client::connect(address).ask("/").text(), "served");
        engine.unlisten(address).expect("it is listened on");
        assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"));
        wait_until("the last descriptor is gone", || std::net::TcpStream::connect(address).is_err());
        engine.listen(address).expect("free again");
        engine.shutdown(Duration::ZERO).expect("no shard failed");
        assert_eq!(engine.hand_over().expect_err("it has ended").kind(), ErrorKind::Closed);
    });
}

#[test]
fn a_file_that_is_no_sockets_is_refused_by_name_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    std::fs::write(&path, "text").expect("it is ours");
    serving(KINDS[0], "served", |engine, _| {
        let refused = |listener: Listener, says: &str| {
            let error = engine.listen_on(listener).expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains(says), "{says:?} in {error}");
        };
        let unix = || {
            let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("a new name");
            std::fs::remove_file(folder.path().join("socket")).expect("it is there");
            Listener::from(socket)
        };
        let tcp = std::net::TcpListener::bind(loopback(0)).expect("a free port");
        refused(Listener::from(tcp).file(&path), "file is set for descriptor");
        refused(unix().file(&path), "a file that is no socket");
        refused(unix().file(folder.path().join("nothing")), "No such file");
        let others = folder.path().join("others");
        let _listens = std::os::unix::net::UnixListener::bind(&others).expect("a new name");
        refused(unix().file(&others), "another socket listens there");
        refused(Listener::unix(folder.path().join("new")).file(&path), "leave it out");
        assert!(path.exists() && engine.addresses().is_empty());
    });
}

#[test]
fn a_next_engine_that_ends_before_it_serves_leaves_the_file_to_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("http.sock");
    serving(KINDS[0], "first", |first, group| {
        first.listen_on(Listener::unix(&path).port(81)).expect("it listens");
        add(group, 81);
        let sockets = first.hand_over().expect("descriptors are left");
        let next = Watched::start(builder(), Mode::Queue);
        take(&next, sockets);
        drop(next);
        let mut client = Client::over_unix(UnixStream::connect(&path).expect("the file is there"));
        assert_eq!(client.ask("/").text(), "first");
    });
}
