//! Cancelling by id, from another thread, at every stage of a request: over real sockets, in both modes. Each time the
//! client is reset, the call that waits is ended as its documentation says, and everything comes back.

mod common;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use common::peer::file_of;
use common::{Client, End, Host, StopOnDrop, WAIT_MAX, await_rest, colocated, wait_until, within};
use ringress::{
    Disconnected, Engine, FileRange, Request, RequestId, RequestQueue, Response, ResponseStream, TrySendError,
};

/// More than the sockets of both sides hold.
const MUCH: usize = 64 << 20;
static CHUNK: [u8; 50_000] = [b'x'; 50_000];

/// A stage at which a request is cancelled.
#[derive(Clone, Copy)]
struct Stage {
    /// What the client does, until the application waits.
    ask: fn(&mut Client),
    /// What the application does: it calls `waits` right before the call that the cancel is to end, and judges that.
    hold: fn(&RequestQueue, Request, waits: &dyn Fn()),
}

/// Who waits for what: the request, and its thread's folder under `/proc`.
type Waiting = (RequestQueue, RequestId, PathBuf);

/// Whether a thread sleeps, and does not only pause for a moment.
fn is_asleep(thread: &Path) -> bool {
    (0..20).all(|_| {
        thread::park_timeout(Duration::from_millis(1));
        // The state follows the name in parentheses (`proc_pid_stat(5)`).
        let stat = fs::read_to_string(thread.join("stat")).expect("the thread lives");
        stat.rsplit(')').next().is_some_and(|behind| behind.starts_with(" S"))
    })
}

/// How a connection ends, whatever comes before.
fn end_of(client: &mut Client) -> End {
    match io::copy(&mut client.stream, &mut io::sink()) {
        Ok(_) => End::Closed,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("the connection did not end: {error}"),
    }
}

/// One client, cancelled while its application waits.
fn cancel_from_outside(stage: Stage, waiting: &Receiver<Waiting>, ended: &Receiver<()>, address: SocketAddr) {
    let mut client = Client::connect(address);
    (stage.ask)(&mut client);
    let (queue, id, thread) = waiting.recv_timeout(WAIT_MAX).expect("the application comes to its wait");
    wait_until("the application sleeps", || is_asleep(&thread));
    assert!(ended.try_recv().is_err(), "it waits for the cancel");
    queue.cancel(id).expect("it is under way");
    assert!(queue.cancel(id).expect_err("once").is_gone() && !queue.is_open(id));
    ended.recv_timeout(WAIT_MAX).expect("the cancel ends the wait");
    assert_eq!(end_of(&mut client), End::Reset);
    let late = [
        queue.respond(id, Response::text("late")).map(drop),
        queue.start(id, Response::ok()).map(drop),
        queue.cancel(id),
    ];
    assert!(late.into_iter().all(|call| call.is_err_and(|error| error.is_gone())), "everything on the id is `Gone`");
}

/// Cancels at a stage in both modes.
fn judge(stage: Stage) {
    let run = move || {
        let (waits, waiting) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let application = |queue: &RequestQueue| {
            while let Ok(request) = queue.receive() {
                let id = request.id();
                (stage.hold)(queue, request, &|| {
                    let link = fs::read_link("/proc/thread-self").expect("a thread has a folder");
                    let thread = PathBuf::from("/proc").join(link);
                    waits.send((queue.clone(), id, thread)).expect("the test listens");
                });
                ends.send(()).expect("the test listens");
            }
        };
        let client = |engine: &Engine, address| {
            cancel_from_outside(stage, &waiting, &ended, address);
            await_rest(engine);
            let counters = engine.counters();
            assert_eq!((counters.requests_cancelled, counters.requests_delivered), (1, 1));
            assert_eq!((counters.body_buffers_in_use, counters.assembly_cells_in_use), (0, 0));
        };
        let host = Host::start();
        thread::scope(|scope| {
            let stop = StopOnDrop(&host.engine);
            let consumer = scope.spawn(|| application(&host.queue));
            client(&host.engine, host.address);
            drop(stop);
            consumer.join().expect("the application ends well");
        });
        colocated(application, client);
    };
    within(WAIT_MAX * 4, "an application that was cancelled", run);
}

/// Gives a response more than its client takes, until it is cut; then nothing can be given to it any more.
fn send_until_cut(mut stream: ResponseStream, waits: &dyn Fn()) {
    while stream.try_send(&CHUNK).is_ok() {}
    waits();
    let refused = loop {
        if let Err(error) = stream.send(&CHUNK) {
            break error;
        }
    };
    assert!(refused.is_gone(), "{refused}");
    assert!(matches!(stream.try_send("late"), Err(TrySendError::Error(error)) if error.is_gone()));
    assert!(stream.finish().expect_err("cut").is_gone());
}

#[test]
fn a_sender_that_waits_for_its_client() {
    judge(Stage {
        ask: |client| client.get("/"),
        hold: |_, request, waits| send_until_cut(request.start(Response::ok()).expect("open"), waits),
    });
}

#[test]
fn a_sender_by_id_that_waits_for_its_client() {
    judge(Stage {
        ask: |client| client.get("/"),
        hold: |queue, request, waits| {
            send_until_cut(queue.start(request.into_id(), Response::ok()).expect("open"), waits);
        },
    });
}

#[test]
fn a_reader_that_waits_for_more_of_a_body() {
    judge(Stage {
        ask: |client| client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nabc"),
        hold: |_, mut request, waits| {
            let mut buffer = [0; 10];
            assert_eq!(request.body().fill(&mut buffer[..3]).expect("as many as came"), 3);
            waits();
            assert!(request.body().read(&mut buffer).expect_err("cancelled").is_gone());
            assert!(request.body().next_chunk().expect_err("over").is_gone());
            assert!(request.respond(Response::text("late")).expect_err("over").is_gone());
        },
    });
}

const EXPECTS: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn a_client_that_waits_for_100_continue() {
    judge(Stage {
        ask: |client| client.send(EXPECTS),
        hold: |_, mut request, waits| {
            let disconnect = request.on_disconnect();
            waits();
            assert_eq!(disconnect.wait(), Disconnected::Aborted);
            assert!(request.body().read(&mut [0; 10]).expect_err("over").is_gone());
        },
    });
}

#[test]
fn a_client_that_was_told_100_continue() {
    judge(Stage {
        ask: |client| {
            client.send(EXPECTS);
            assert_eq!(client.read().status, 100);
        },
        hold: |_, mut request, waits| {
            waits();
            assert!(request.body().to_bytes(10).expect_err("cancelled").is_gone());
        },
    });
}

#[test]
fn a_body_that_is_stopped_at_its_credit() {
    judge(Stage {
        ask: |client| {
            client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {MUCH}\r\n\r\n"));
            client.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("not zero");
            let refused = io::copy(&mut io::repeat(b'x'), &mut client.stream).expect_err("nobody reads it");
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "the engine takes no more");
        },
        hold: |_, mut request, waits| {
            let disconnect = request.on_disconnect();
            waits();
            assert_eq!(disconnect.wait(), Disconnected::Aborted);
            assert!(request.body().to_bytes(MUCH).expect_err("over").is_gone());
        },
    });
}

#[test]
fn a_file_under_way() {
    judge(Stage {
        ask: |client| client.get("/"),
        hold: |_, request, waits| {
            let file = file_of(0);
            file.set_len(MUCH as u64).expect("a hole needs no room");
            let file = FileRange::new(file, 0..MUCH as u64);
            let sending = request.respond_with_completion(Response::ok().body(file)).expect("open");
            waits();
            let sent = sending.wait().expect("driven");
            assert!(!sent.complete && sent.bytes < MUCH as u64, "{sent:?}");
        },
    });
}

#[test]
fn a_pipe_whose_client_says_nothing() {
    judge(Stage {
        ask: |client| {
            client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
            assert_eq!(client.read().status, 101);
        },
        hold: |_, request, waits| {
            let mut pipe = request.upgrade(Response::switching("echo")).expect("asked for");
            waits();
            assert!(pipe.read(&mut [0; 10]).expect_err("cancelled").is_gone());
            assert!(pipe.send("late").expect_err("over").is_gone());
        },
    });
}
