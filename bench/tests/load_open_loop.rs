//! At a fixed rate latency counts from when a request was due: a server that stalls once shows it as its users felt it.

mod load_support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use load_support::{RIGHT, Server, Then, assert_clean, assert_only, comes_out_once, on_time, plan, report};
use ringress_bench::load::{Pace, Plan, Report};

/// Times are asserted here, and all loads run on the same core: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has left nothing behind.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const STALL: Duration = Duration::from_millis(100);

/// A server that answers at once, but for one stall half a second after its first request.
fn stalling() -> Server {
    let (first, has_stalled) = (OnceLock::new(), AtomicBool::new(false));
    let (never, nothing) = mpsc::channel::<()>();
    let stall = Mutex::new((never, nothing));
    Server::start(move |_, stream| {
        let since = first.get_or_init(Instant::now).elapsed();
        if since >= Duration::from_millis(500) && !has_stalled.swap(true, Ordering::Relaxed) {
            // The wait is what is tested: nothing ever comes.
            let stall = stall.lock().expect("taken once");
            assert!(stall.1.recv_timeout(STALL).is_err());
        }
        let _ = stream.write_all(RIGHT.as_bytes());
        Then::KeepOpen
    })
}

fn run(pace: Pace) -> Result<Report, String> {
    let server = stalling();
    let plan = Plan { connections: 1, duration: Duration::from_secs(1), pace, ..plan(&server) };
    let report = on_time(report(&plan))?;
    assert_clean(&report);
    Ok(report)
}

/// Of 2,000 requests in a second, 200 are due in the stall. The first of them waits 100 ms, the last hardly at all: so
/// one in ten waits, evenly between 0 and 100 ms, which makes the 95th percentile about 50 ms and the 99th about 90.
#[test]
fn a_stall_is_felt_by_all_who_were_due_in_it() {
    let _alone = alone();
    comes_out_once(|| {
        let report = run(Pace::Rate(2_000.0))?;
        let at = |percentile| report.latency.percentile_us(percentile) / 1e3;
        let (p50, p95, p99, max) = (at(50.0), at(95.0), at(99.0), at(100.0));
        assert_eq!(report.latency.0.len(), 2_000, "each request that was due is in the figures");
        // Stalls of the machine add to the server's; nothing takes it away.
        let all = format!("p50 {p50:.1} p95 {p95:.1} p99 {p99:.1} max {max:.1} ms");
        assert!(p95 >= 45.0 && p99 >= 85.0 && max >= 99.0, "{all}");
        // Half of the requests knew nothing of the stall.
        if p50 < 25.0 && p95 < 100.0 && p99 < 150.0 { Ok(()) } else { Err(all) }
    });
}

/// The same stall in a closed loop hits the one request that was under way: the figures hide it.
#[test]
fn a_closed_loop_would_have_missed_it() {
    let _alone = alone();
    comes_out_once(|| {
        let report = run(Pace::AsAnswered)?;
        assert!(report.latency.percentile_us(100.0) >= 99e3);
        let p99 = report.latency.percentile_us(99.0);
        if p99 < 50e3 { Ok(()) } else { Err(format!("p99 {p99:.0} us")) }
    });
}

#[test]
fn requests_are_sent_at_the_rate() {
    let _alone = alone();
    let server = Server::always(RIGHT, Then::KeepOpen);
    comes_out_once(|| {
        let plan = Plan { pace: Pace::Rate(1_000.0), duration: Duration::from_millis(500), ..plan(&server) };
        let report = on_time(report(&plan))?;
        assert_clean(&report);
        assert_eq!(report.latency.0.len(), 500);
        assert!(report.answers <= 600, "{} answers within the time", report.answers);
        if report.answers >= 400 { Ok(()) } else { Err(format!("{} answers within the time", report.answers)) }
    });
}

/// Without the late ones the percentiles of a server that hangs would be those of the answers it did give.
#[test]
fn requests_given_up_as_late_are_in_the_latencies_with_the_time_out_at_least() {
    let _alone = alone();
    let server = Server::always("", Then::Hang);
    let timeout = Duration::from_millis(200);
    let duration = Duration::from_millis(150);
    let plan = Plan { depth: 16, timeout, duration, pace: Pace::Rate(1_000.0), ..plan(&server) };
    comes_out_once(|| {
        let report = on_time(report(&plan))?;
        assert_only(&report, "timeouts");
        let faults = &report.faults;
        assert!(faults.lost > faults.timeouts, "most were behind another: {faults:?}");
        assert_eq!(faults.timeouts + faults.lost, 150, "each that was due is accounted for: {faults:?}");
        assert_eq!(report.latency.0.len(), 150, "and each is in the latencies");
        assert!(report.latency.percentile_us(0.1) >= 200e3, "{}", report.latency.percentile_us(0.1));
        Ok(())
    });
}

#[test]
fn what_could_not_be_sent_is_counted() {
    let _alone = alone();
    let (never, nothing) = mpsc::channel::<()>();
    let slow = Mutex::new((never, nothing));
    let server = Server::start(move |_, stream| {
        let slow = slow.lock().expect("nobody panics with it");
        // A server that takes 20 ms for each request: nothing ever comes.
        assert!(slow.1.recv_timeout(Duration::from_millis(20)).is_err());
        let _ = stream.write_all(RIGHT.as_bytes());
        Then::KeepOpen
    });
    let report = report(&Plan { pace: Pace::Rate(2_000.0), ..plan(&server) });
    assert_only(&report, "unsent");
    // 800 are due, and the server takes at most 50 a second, for 1.4 s; a slow one takes fewer.
    assert!((600..=799).contains(&report.faults.unsent), "{}", report.faults.unsent);
}
