//! What keeps this process from what others may do: seccomp, privileges it cannot get, io_uring switched off, a
//! container around it.
//!
//! Invariants: whether any of it matters is known by what the engine could have.
//!
//! Not here: limits of numbers (`limits`).
//!
//! Source: seccomp(2), prctl(2), the kernel's admin-guide/sysctl/kernel, systemd's CONTAINER_INTERFACE.

use std::path::Path;

use super::Outcome;
use super::report::{Finding, Report};
use super::{read, texts};

pub(super) fn examine(report: &mut Report, outcome: &Outcome) {
    let status = read("/proc/self/status").unwrap_or_default();
    let sysctl = |name: &str| read(format!("/proc/sys/kernel/{name}"));
    let switch = (sysctl("io_uring_disabled"), sysctl("io_uring_group"));
    report.add(switched_off(switch.0.as_deref(), switch.1.as_deref(), outcome.has_io_uring));
    report.add(seccomp(&status, outcome.has_io_uring));
    report.add(privileges(&status));
    let seen = ["/.dockerenv", "/run/.containerenv"].into_iter().find(|path| Path::new(path).exists());
    let named = std::env::var("container").ok().or_else(|| read("/run/systemd/container"));
    let cgroups = read("/proc/self/cgroup").unwrap_or_default();
    report.add(container(seen, named.as_deref().filter(|name| !name.is_empty()), &cgroups));
}

fn switched_off(disabled: Option<&str>, group: Option<&str>, has_io_uring: bool) -> Finding {
    const NAME: &str = "kernel.io_uring_disabled";
    let group = group.filter(|group| *group != "-1").map(|group| format!(" or of group {group}"));
    match disabled {
        Some("0") => Finding::ok(NAME, "0: io_uring is for all processes"),
        Some("1") => {
            let whose = format!("1: io_uring is for processes with CAP_SYS_ADMIN{}", group.unwrap_or_default());
            match has_io_uring {
                true => Finding::ok(NAME, format!("{whose}, as this one")),
                false => Finding::slow(
                    NAME,
                    whose,
                    "sysctl -w kernel.io_uring_disabled=0 (as root), or add this user's group by kernel.io_uring_group",
                ),
            }
        }
        Some(value) => Finding::slow(
            NAME,
            format!("{value}: io_uring is switched off on this host"),
            "sysctl -w kernel.io_uring_disabled=0 (as root)",
        ),
        None => Finding::ok(NAME, "not there: this kernel (before 6.6) has no such switch, or it cannot be read"),
    }
}

fn seccomp(status: &str, has_io_uring: bool) -> Finding {
    const NAME: &str = "seccomp";
    match texts::number(status, "Seccomp") {
        Some(0) => Finding::ok(NAME, "no filter"),
        Some(_) => {
            let count = texts::field(status, "Seccomp_filters").map(|count| format!(" ({count})"));
            let filtered = format!("system calls are filtered{}", count.unwrap_or_default());
            match has_io_uring {
                true => Finding::ok(NAME, format!("{filtered}, and io_uring is let through")),
                false => Finding::slow(
                    NAME,
                    format!("{filtered}, which may be what refuses io_uring"),
                    "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
                ),
            }
        }
        None => Finding::ok(NAME, "not known: /proc/self/status does not say"),
    }
}

fn privileges(status: &str) -> Finding {
    let text = match texts::field(status, "NoNewPrivs") {
        Some("0") => "not set: programs that this one starts may gain privileges",
        Some(_) => "set: programs that this one starts gain no privileges",
        None => "not known: /proc/self/status does not say",
    };
    Finding::ok("no_new_privs", text)
}

fn container(seen: Option<&str>, named: Option<&str>, cgroups: &str) -> Finding {
    const RUNTIMES: [&str; 6] = ["docker", "kubepods", "libpod", "containerd", "lxc", "machine.slice"];
    let of_cgroup = RUNTIMES.iter().find(|name| cgroups.contains(*name));
    let text = match (named, seen, of_cgroup) {
        (Some(name), ..) => format!("inside of one: {name}"),
        (None, Some(path), _) => format!("inside of one: {path} is there"),
        (None, None, Some(name)) => format!("inside of one: its control group names {name}"),
        (None, None, None) => "none seen".to_owned(),
    };
    Finding::ok("container", text)
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_switch_matters_where_io_uring_is_refused() {
        let verdict = |disabled, has| switched_off(disabled, Some("-1"), has).verdict;
        let verdicts = [verdict(Some("0"), true), verdict(Some("1"), true), verdict(None, false)];
        assert_eq!(verdicts, [Verdict::Ok; 3]);
        assert_eq!([verdict(Some("1"), false), verdict(Some("2"), false)], [Verdict::Slow; 2]);
        assert!(switched_off(Some("1"), Some("104"), false).cause.ends_with("or of group 104"));
    }

    #[test]
    fn a_filter_matters_where_io_uring_is_refused() {
        let filtered = "Seccomp:\t2\nSeccomp_filters:\t3\n";
        assert_eq!(seccomp("Seccomp:\t0\n", false).verdict, Verdict::Ok);
        assert_eq!(seccomp(filtered, true).verdict, Verdict::Ok);
        let finding = seccomp(filtered, false);
        assert!(finding.verdict == Verdict::Slow && finding.cause.contains("(3)"), "{finding:?}");
        assert_eq!(seccomp("", false).verdict, Verdict::Ok);
    }

    #[test]
    fn a_container_is_known_by_any_sign() {
        for (seen, named, cgroups, wanted) in [
            (None, None, "0::/user.slice\n", "none seen"),
            (None, Some("podman"), "0::/\n", "podman"),
            (Some("/.dockerenv"), None, "0::/\n", "/.dockerenv"),
            (None, None, "4:memory:/kubepods/burstable/pod1\n", "kubepods"),
        ] {
            assert!(container(seen, named, cgroups).cause.contains(wanted));
        }
        assert!(privileges("NoNewPrivs:\t1\n").cause.starts_with("set"));
    }
}
