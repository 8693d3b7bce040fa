//! What a server holds, seen from outside: its own gauges, its descriptors, its memory.
//!
//! Invariants: a server at rest holds what answers the question, and as many descriptors as when it was ready. Levels
//! are found by their names, so that a new one is watched without a change here.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::client::Client;
use crate::pace::pause;
use crate::server::Server;

/// Longest wait for a server to come to rest: connections that it has ended wait up to 5 s for their clients.
const REST_WAIT_MAX: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The levels that asking raises to 1 by itself: its connection, its request, the buffer it lies in.
const RAISED_BY_ASKING: [&str; 3] = ["connections_open", "requests_open", "buffers_in_use"];

/// The engine's counters at one moment.
#[derive(Debug, Clone)]
pub struct Gauges(Map<String, Value>);

impl Gauges {
    fn ask(server: &Server, client: &mut Client) -> Self {
        let answer = client.exchange(server.get("/gauges"));
        assert_eq!(answer.status, 200, "/gauges: {answer:?}");
        let Ok(Value::Object(all)) = serde_json::from_slice(&answer.body) else {
            panic!("/gauges is no JSON object: {answer:?}");
        };
        Self(all)
    }

    /// One counter or level.
    ///
    /// # Panics
    /// When the engine has none of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// The levels that are higher than a server at rest may show.
    fn left(&self) -> Vec<String> {
        let levels = self.0.iter().filter(|(name, _)| name.ends_with("_open") || name.ends_with("_in_use"));
        let allowed = |name: &str| u64::from(RAISED_BY_ASKING.contains(&name));
        let high = levels.filter(|(name, level)| level.as_u64().is_none_or(|level| level > allowed(name)));
        high.map(|(name, level)| format!("{name} {level}")).collect()
    }
}

impl Server {
    /// The engine's counters now.
    ///
    /// # Panics
    /// When the server does not give them.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges::ask(self, &mut self.connect())
    }

    /// Waits until the counters are as wanted.
    ///
    /// # Panics
    /// When they are not within ten seconds; shows them.
    #[track_caller]
    pub fn wait_for_gauges(&self, wanted: &str, is_reached: impl Fn(&Gauges) -> bool) -> Gauges {
        self.wait_for_gauges_within(REST_WAIT_MAX, wanted, is_reached)
    }

    /// As [`Self::wait_for_gauges`], for what takes its time.
    ///
    /// # Panics
    /// When they are not in time; shows them.
    #[track_caller]
    pub fn wait_for_gauges_within(&self, most: Duration, wanted: &str, is_reached: impl Fn(&Gauges) -> bool) -> Gauges {
        let deadline = Instant::now() + most;
        let mut client = self.connect();
        loop {
            let gauges = Gauges::ask(self, &mut client);
            if is_reached(&gauges) {
                return gauges;
            }
            assert!(Instant::now() < deadline, "never came to {wanted}: {gauges:#?}");
            pause(LOOK_AGAIN);
        }
    }

    /// Checks that nothing is left of what clients did: the test's own connections must be gone.
    ///
    /// # Panics
    /// When the server does not come to rest within ten seconds; shows what is left.
    #[track_caller]
    pub fn assert_at_rest(&self) {
        let left = self.left_within(REST_WAIT_MAX);
        assert!(left.is_none(), "left behind: {}", left.unwrap_or_default());
    }

    /// What is left of what clients did, if the server does not come to rest in time.
    ///
    /// # Panics
    /// When it does not give its counters.
    #[must_use]
    pub fn left_within(&self, most: Duration) -> Option<String> {
        let deadline = Instant::now() + most;
        let mut client = self.connect();
        loop {
            let gauges = Gauges::ask(self, &mut client);
            let (left, descriptors) = (gauges.left(), self.descriptors());
            // One more: the connection that asks.
            let allowed = self.descriptors_when_ready() + 1;
            if left.is_empty() && descriptors <= allowed {
                return None;
            }
            if Instant::now() >= deadline {
                return Some(format!("{left:?}; {descriptors} descriptors where {allowed} are allowed; {gauges:#?}"));
            }
            pause(LOOK_AGAIN);
        }
    }

    /// Descriptors that the process has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a running child has descriptors").count()
    }

    /// The limits of its process, as the kernel tells them.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn limits(&self) -> String {
        fs::read_to_string(format!("/proc/{}/limits", self.pid())).expect("a running child has limits")
    }

    /// CPU time that all threads have used so far.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a running child has threads");
        // One may end meanwhile.
        let texts = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        let on_cpu = texts.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Duration::from_nanos(on_cpu.sum())
    }

    /// Resident memory in KiB, and forgets the highest so far.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_kib_from_now(&self) -> u64 {
        // 5: the peak begins anew (proc_pid_clear_refs(5)).
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("a child's peak can be forgotten");
        self.status_kib("VmRSS:")
    }

    /// Resident memory in KiB.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        // Exact, unlike the batched counters in `status`.
        self.proc_kib("smaps_rollup", "Rss:")
    }

    /// The most memory that was resident since the start, or since it was forgotten, in KiB.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_kib_max(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        self.proc_kib("status", name)
    }

    fn proc_kib(&self, file: &str, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("a running child has it");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {status}"))
    }
}
