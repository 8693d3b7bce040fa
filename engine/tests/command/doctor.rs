//! `ringress doctor`: under real limits and filters, in programs that have them from their start.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;

use serde_json::Value;

use super::common::seccomp::{Filter, IO_URING_CALLS};
use super::common::{WAIT_MAX, within};
use super::{ringress, said};

/// What it has found, by name.
struct Findings {
    status: Option<i32>,
    driver: Option<String>,
    by_name: BTreeMap<String, Value>,
}

impl Findings {
    /// Of a command whose last argument is to be `--json`.
    #[track_caller]
    fn of(command: &mut Command) -> Self {
        let (status, text, errors) = said(command);
        assert_eq!(errors, "");
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let findings = told["findings"].as_array().expect("a list").iter();
        let by_name: BTreeMap<_, _> =
            findings.map(|finding| (finding["name"].as_str().expect("text").to_owned(), finding.clone())).collect();
        let broken = by_name.values().any(|finding| finding["verdict"] == "broken");
        assert_eq!((told["broken"].as_bool(), status), (Some(broken), Some(i32::from(broken))), "{text}");
        for finding in by_name.values() {
            let is_ok = finding["verdict"] == "ok";
            let has_cause = finding["cause"].as_str().is_some_and(|cause| !cause.is_empty());
            assert!(has_cause && (is_ok || broken || finding["remedy"].is_string()), "{finding}");
        }
        Self { status, driver: told["driver"].as_str().map(str::to_owned), by_name }
    }

    /// The verdict on something, and its cause.
    #[track_caller]
    fn on(&self, name: &str) -> (&str, &str) {
        let finding = self.by_name.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", self.by_name.keys()));
        let text = |part: &str| finding[part].as_str().expect("text");
        (text("verdict"), text("cause"))
    }

    #[track_caller]
    fn remedy(&self, name: &str) -> &str {
        self.by_name[name]["remedy"].as_str().unwrap_or_else(|| panic!("no remedy of {name}"))
    }
}

/// The program by a shell that limits itself before.
fn limited(before: &str, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    command.env_remove("RINGRESS_DRIVER");
    let script = format!("{before} exec \"$0\" doctor --json {arguments}");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ringress")]);
    command
}

#[test]
fn people_and_programs_are_told_the_same() {
    let (status, text, errors) = said(&mut ringress(&["doctor", "--listen", "127.0.0.1:0"]));
    assert_eq!((status, &*errors), (Some(0), ""), "{text}");
    let findings = Findings::of(&mut ringress(&["doctor", "--listen", "127.0.0.1:0", "--json"]));
    assert_eq!(text.lines().count(), findings.by_name.len(), "{text}");
    for line in text.lines() {
        let (verdict, rest) = line.split_at(6);
        let name =
            findings.by_name.keys().filter(|name| rest.trim_start().starts_with(*name)).max_by_key(|name| name.len());
        let name = name.unwrap_or_else(|| panic!("no name in {line}"));
        assert_eq!(findings.on(name).0, verdict.trim_end(), "{line}");
    }
    for name in ["kernel", "driver", "seccomp", "descriptors", "cores", "memory", "container", "systemd sockets"] {
        assert_ne!(findings.on(name).0, "broken", "{name}");
    }
    assert_eq!((findings.on("listen 127.0.0.1:0").0, findings.on("serving").0), ("ok", "ok"));
}

#[test]
fn a_filter_that_denies_io_uring_is_named_with_what_it_leaves() {
    for (errno, wanted) in [(libc::EPERM, "io_uring_setup was refused"), (libc::ENOSYS, "has no io_uring")] {
        within(2 * WAIT_MAX, "a doctor", move || {
            let deny = |filter: Filter, call| filter.deny(call, 0);
            if !IO_URING_CALLS.into_iter().fold(Filter::new(errno), deny).install() {
                return;
            }
            let findings = Findings::of(&mut ringress(&["doctor", "--json"]));
            assert_eq!((findings.status, findings.driver.as_deref()), (Some(0), Some("epoll")));
            let (verdict, cause) = findings.on("driver");
            assert!(verdict == "slow" && cause.starts_with("epoll, since ") && cause.contains(wanted), "{cause}");
            assert!(findings.remedy("driver").contains("seccomp"), "{}", findings.remedy("driver"));
            assert_eq!(findings.on("io_uring DEFER_TASKRUN").0, "slow");
            assert!(findings.on("io_uring PBUF_RING").1.starts_with("not tried"));
            assert_eq!((findings.on("seccomp").0, findings.on("serving").0), ("slow", "ok"));
            assert!(findings.on("no_new_privs").1.starts_with("set"));
            // Who wants io_uring all the same has no engine.
            let findings = Findings::of(ringress(&["doctor", "--json"]).env("RINGRESS_DRIVER", "io_uring"));
            assert_eq!((findings.status, findings.driver.as_deref()), (Some(1), None));
            assert_eq!(findings.on("driver").0, "broken");
        });
    }
}

#[test]
fn a_filter_that_lets_a_part_of_io_uring_through_is_found_where_it_begins() {
    let [_, enter, register] = IO_URING_CALLS;
    for (call, refused, had) in [(register, "PBUF_RING", "DEFER_TASKRUN"), (enter, "ENTER", "PBUF_RING")] {
        within(2 * WAIT_MAX, "a doctor", move || {
            let is_here = Findings::of(&mut ringress(&["doctor", "--json"])).driver.as_deref() == Some("io_uring");
            if !is_here || !Filter::new(libc::EPERM).deny(call, 0).install() {
                return eprintln!("skipped: io_uring cannot be had here, or no filter");
            }
            let findings = Findings::of(&mut ringress(&["doctor", "--json"]));
            assert_eq!((findings.status, findings.driver.as_deref()), (Some(0), Some("epoll")));
            assert_eq!(findings.on(&format!("io_uring {had}")), ("ok", "tried, and there"));
            let (verdict, cause) = findings.on(&format!("io_uring {refused}"));
            assert!(verdict == "slow" && cause.contains("was refused although io_uring_setup was not"), "{cause}");
        });
    }
}

#[test]
fn the_driver_that_the_environment_names_is_told() {
    let of = |name| Findings::of(ringress(&["doctor", "--json"]).env("RINGRESS_DRIVER", name));
    let (verdict, cause) = (of("epoll").on("driver").0.to_owned(), of("epoll").on("driver").1.to_owned());
    assert!(verdict == "slow" && cause.contains("since RINGRESS_DRIVER says so"), "{cause}");
    let wrong = of("warp");
    assert_eq!((wrong.status, wrong.on("driver").0), (Some(1), "broken"));
    assert!(wrong.on("driver").1.contains("RINGRESS_DRIVER"), "{}", wrong.on("driver").1);
}

#[test]
fn few_descriptors_are_slow_and_too_few_are_broken() {
    let few = Findings::of(&mut limited("ulimit -Sn 200 && ulimit -Hn 300 &&", ""));
    let (verdict, cause) = few.on("descriptors");
    assert!(verdict == "slow" && cause.starts_with("200 at a time (hard limit 300)"), "{cause}");
    assert!(few.remedy("descriptors").contains("raise_descriptor_limit"), "{}", few.remedy("descriptors"));
    let all = Findings::of(&mut limited("ulimit -n 200 &&", ""));
    assert!(all.remedy("descriptors").contains("LimitNOFILE="), "{}", all.remedy("descriptors"));
    let none = Findings::of(&mut limited("ulimit -n 4 &&", "--listen 127.0.0.1:0"));
    assert_eq!((none.status, none.driver.as_deref(), none.on("driver").0), (Some(1), None, "broken"));
    assert_eq!(none.on("listen 127.0.0.1:0"), ("broken", "not tried: there is no engine"));
}

#[test]
fn an_address_that_is_held_is_broken_and_its_holder_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("it is bound").to_string();
    let ask = || Findings::of(&mut ringress(&["doctor", "--json", "--listen", &address, "--listen", "192.0.2.1:0"]));
    let findings = ask();
    assert_eq!(findings.status, Some(1));
    let (verdict, cause) = findings.on(&format!("listen {address}"));
    let own = format!("(pid {})", std::process::id());
    assert!(verdict == "broken" && cause.contains(&own), "{cause} should name {own}");
    let (verdict, cause) = findings.on("listen 192.0.2.1:0");
    assert!(verdict == "broken" && cause.contains("192.0.2.1"), "{cause}");
    drop(holder);
    assert_eq!(ask().on(&format!("listen {address}")).0, "ok");
}

#[test]
fn sockets_that_a_service_manager_gave_are_told() {
    let given = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = given.local_addr().expect("it is bound").to_string();
    let command = |variables: &str| {
        let mut command = limited(variables, "3<&0 0</dev/null");
        command.stdin(OwnedFd::from(given.try_clone().expect("a descriptor")));
        Findings::of(&mut command)
    };
    let findings = command("export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web;");
    assert_eq!(findings.on("systemd sockets"), ("ok", &*format!("1 given: 3 (web): {address}")));
    let more = command("export LISTEN_PID=$$ LISTEN_FDS=40;");
    assert!(more.on("systemd sockets").1.contains("and 42: no socket"), "{}", more.on("systemd sockets").1);
    let (verdict, cause) = (command("export LISTEN_PID=1 LISTEN_FDS=1;").on("systemd sockets").0.to_owned(), "slow");
    assert_eq!(verdict, cause);
    assert_eq!(command("").on("systemd sockets"), ("ok", "none given"));
}
