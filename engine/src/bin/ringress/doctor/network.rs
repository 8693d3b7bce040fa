//! Queues of new connections, and how congestion is met.
//!
//! Invariants: settings are of this process's network namespace.
//!
//! Not here: addresses (`ports`).
//!
//! Source: the kernel's networking/ip-sysctl, listen(2), tcp(7).

use ringress::diagnostics::BACKLOG;

use super::read;
use super::report::{Finding, Report};

/// Of half-open connections, where nothing stands in for a longer queue.
const SYN_BACKLOG_MIN: u64 = 1_024;

pub(super) fn examine(report: &mut Report) {
    let sysctl = |name: &str| read(format!("/proc/sys/net/{name}"));
    let number = |name: &str| sysctl(name)?.parse::<u64>().ok();
    report.add(number("core/somaxconn").map(queue));
    report.add(number("ipv4/tcp_max_syn_backlog").map(|most| half_open(most, number("ipv4/tcp_syncookies"))));
    report.add(sysctl("ipv4/tcp_congestion_control").map(|name| congestion(&name)));
}

fn queue(most: u64) -> Finding {
    const NAME: &str = "net.core.somaxconn";
    match most < u64::from(BACKLOG) {
        false => Finding::ok(NAME, format!("{most}: a backlog of {BACKLOG} is asked for, and had")),
        true => Finding::slow(
            NAME,
            format!("{most}: connections that come at once beyond it wait a second or more, {BACKLOG} are asked for"),
            format!("sysctl -w net.core.somaxconn={BACKLOG} (of the container's own network, if it has one)"),
        ),
    }
}

fn half_open(most: u64, cookies: Option<u64>) -> Finding {
    const NAME: &str = "net.ipv4.tcp_max_syn_backlog";
    match (most < SYN_BACKLOG_MIN, cookies) {
        (_, Some(1..)) => Finding::ok(NAME, format!("{most}, and cookies beyond it")),
        (false, _) => Finding::ok(NAME, most.to_string()),
        (true, _) => Finding::slow(
            NAME,
            format!("{most}, without cookies beyond it: a flood keeps clients out"),
            "sysctl -w net.ipv4.tcp_syncookies=1, or a longer queue",
        ),
    }
}

fn congestion(name: &str) -> Finding {
    Finding::ok("net.ipv4.tcp_congestion_control", name)
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn short_queues_are_slow_unless_something_stands_in() {
        assert_eq!((queue(4_096).verdict, queue(128).verdict), (Verdict::Ok, Verdict::Slow));
        assert_eq!((half_open(128, Some(1)).verdict, half_open(1_024, Some(0)).verdict), (Verdict::Ok, Verdict::Ok));
        assert_eq!((half_open(128, Some(0)).verdict, half_open(128, None).verdict), (Verdict::Slow, Verdict::Slow));
    }
}
