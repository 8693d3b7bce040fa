//! How much memory a user may lock (RLIMIT_MEMLOCK), from none to plenty: an engine starts, or says what to raise.
//!
//! The limit is of the process, and what counts to it is of the user; so this is one test, in a program of its own.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use common::{Client, WAIT_MAX, Watched, builder, loopback, receive, within};
use ringress::{Driver, ErrorKind, Mode, Response};

const KIB: u64 = 1024;

fn limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of a limit, which outlives the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) }, 0);
    limit
}

/// Sets what a user may lock. `false` where it cannot be as much.
fn set_limit(bytes: u64) -> bool {
    let limit = libc::rlimit { rlim_cur: bytes, ..limit() };
    // SAFETY: the pointer is that of a limit, which outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0 }
}

/// Makes the current thread that of a user who has locked nothing so far and has no privileges. `false` where that is
/// not allowed.
fn become_nobody() -> bool {
    static USERS: AtomicU32 = AtomicU32::new(0);
    let user = 1_000_000 + std::process::id() % 1_000_000 * 100 + USERS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the call takes numbers. Unlike the function of the C library, it is for this thread alone.
    unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) == 0 }
}

/// Starts an engine, and has it answer; or gives what it says instead.
fn serve(mode: Mode, driver: Driver) -> Result<Driver, ringress::Error> {
    let engine = Watched::try_start(builder().driver(driver), mode)?;
    let queue = engine.request_queue("test").expect("a queue");
    let address = engine.listen(loopback(0)).expect("a free port");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("of this engine");
    group.add_url(&format!("http://*:{}/", address.port()), 0).expect("free");
    let _attached = if mode == Mode::Colocated { Some(engine.attach(0)?) } else { None };
    let mut client = Client::connect(address);
    client.get("/");
    receive(&queue).respond(Response::text("served")).expect("open");
    if mode == Mode::Colocated {
        assert!(queue.try_receive().expect("open").is_none(), "the answer goes out");
    }
    assert_eq!(client.read().text(), "served");
    Ok(engine.driver())
}

#[test]
fn at_every_size_an_engine_starts_or_names_the_limit() {
    // Without privileges, other programs of the same user may hold some of it at any moment.
    let isolated = within(WAIT_MAX, "becoming another", become_nobody);
    if !isolated {
        eprintln!("skipped: that an engine starts wherever a smaller limit was enough; this needs another user (root)");
    }
    for mode in [Mode::Queue, Mode::Colocated] {
        let mut enough = None;
        for kib in [0, 32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 384, 512, 1024, 4096] {
            if !set_limit(kib * KIB) {
                continue;
            }
            let outcome = within(WAIT_MAX, "the start", move || {
                assert_eq!(become_nobody(), isolated);
                serve(mode, Driver::IoUring)
            });
            match outcome {
                Ok(_) => enough = enough.or(Some(kib)),
                Err(error) => {
                    let text = error.to_string();
                    assert_eq!(error.kind(), ErrorKind::Io, "{kib} KiB: {text}");
                    assert!(text.contains("Remedy: raise RLIMIT_MEMLOCK"), "{kib} KiB: {text}");
                    assert!(!isolated || enough.is_none(), "{enough:?} KiB are enough, {kib} are not: {text}");
                }
            }
        }
        let least = set_limit(0).then(|| {
            within(WAIT_MAX, "the start", move || {
                assert_eq!(become_nobody(), isolated);
                serve(mode, Driver::Auto)
            })
        });
        if let Some(driver) = least {
            let driver = driver.expect("what locks no memory can always be had");
            println!("{mode:?}: without any it is {driver}");
        }
        println!("{mode:?}: enough are {enough:?} KiB");
        assert!(!isolated || enough.is_some_and(|kib| kib <= 256), "{enough:?} KiB are enough");
    }
}
