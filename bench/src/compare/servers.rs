//! The servers that can be compared: their names, how each is started for a workload, and what each cannot serve.
//!
//! Invariants: a server that is known not to serve a row is listed there with the reason; any other must answer
//! rightly.
//!
//! Not here: building and finding programs (`programs`), processes (`process`).

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::workloads::{Requests, Workload};

pub(super) const FLOOR: &str = "floor";
/// Before the name of a showcase of `--baseline`.
pub(super) const OLD: &str = "old-";
/// Requests that a shard of the showcase holds unanswered if it is not told otherwise; more are answered 503.
const SHOWCASE_REQUESTS: u32 = 16_384;
/// Threads that answer in queue mode where handlers take their time.
const MANY_CONSUMERS: u32 = 64;
/// What the configurations serve as files: paths below `root`, and sizes of files below `root/bytes`.
const FILES: [(&str, &str); 2] = [("plaintext", "Hello, World!"), ("json", r#"{"message":"Hello, World!"}"#)];
const FILE_BYTES: [usize; 3] = [1 << 10, 1 << 16, 1 << 20];

/// What a server is, and so how it is built, found and started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The least a server on io_uring can do.
    Floor,
    /// Our own engine in one of its modes, over one of its drivers.
    Showcase { mode: &'static str, driver: &'static str, old: bool },
    /// A program of `bench/peers`.
    Peer,
    /// A program that is installed, with a configuration of `bench/peers/conf`.
    Installed { configuration: &'static str, arguments: &'static [&'static str] },
    /// A command of the caller, with `{port}` in some of its words.
    Extra { arguments: Vec<String> },
}

/// A server whose program is there.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
    /// The text of its configuration, before places are filled in.
    pub(super) configuration: Option<String>,
}

const PEERS: [&str; 5] = ["hyper", "actix", "ntex", "may", "xitca"];

/// The kind of each known server; none of an unknown one.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let installed = |configuration, arguments| Kind::Installed { configuration, arguments };
    Some(match name {
        FLOOR => Kind::Floor,
        "colocated" => Kind::Showcase { mode: "colocated", driver: "io_uring", old: false },
        "queue" => Kind::Showcase { mode: "queue", driver: "io_uring", old: false },
        "colocated-epoll" => Kind::Showcase { mode: "colocated", driver: "epoll", old: false },
        "queue-epoll" => Kind::Showcase { mode: "queue", driver: "epoll", old: false },
        "nginx" => {
            let arguments = &["-p", "@DIR@", "-c", "@FILE@", "-e", "stderr", "-g", "daemon off;"];
            installed("nginx.conf", arguments)
        }
        "h2o" => installed("h2o.conf", &["-m", "worker", "-c", "@FILE@"]),
        "haproxy" => installed("haproxy.cfg", &["-f", "@FILE@", "-db"]),
        _ if PEERS.contains(&name) => Kind::Peer,
        _ => return None,
    })
}

/// All known servers, in the order in which they are listed.
pub(super) fn names() -> Vec<&'static str> {
    [&[FLOOR, "colocated", "queue", "colocated-epoll", "queue-epoll"][..], &PEERS, &["nginx", "h2o", "haproxy"]]
        .concat()
}

/// Groups and their servers; `all` last.
pub(super) fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![("peers", PEERS.to_vec()), ("all", names())]
}

/// Both modes of an older showcase.
pub(super) fn old() -> [(String, Kind); 2] {
    let kind = |mode| Kind::Showcase { mode, driver: "io_uring", old: true };
    ["colocated", "queue"].map(|mode| (format!("{OLD}{mode}"), kind(mode)))
}

impl Kind {
    /// Why a server of this kind, called `name`, cannot serve a row, if that is known.
    pub(super) fn lacks(&self, name: &str, workload: &Workload) -> Option<&'static str> {
        match (self, workload.requests) {
            (Self::Floor, _) if !workload.floor_is_fair => Some("it gives one fixed answer to every request"),
            (Self::Showcase { old: true, .. }, Requests::Upload(_)) => {
                Some("its bodies may not stream yet: a request of more than 64 KiB would be refused")
            }
            (Self::Peer, Requests::Baseline) if name == "may" => Some("it reads no chunked bodies"),
            (Self::Installed { .. }, Requests::Baseline) => Some("its configuration has no handler that adds"),
            (Self::Installed { .. }, Requests::Slow(_)) => Some("its configuration has no handler that waits"),
            (Self::Installed { .. }, Requests::Bytes(count)) if name == "haproxy" && count > 16 << 10 => {
                Some("an answer of its own must fit its buffer of 16 KiB")
            }
            (Self::Installed { .. }, Requests::Upload(_)) if name == "haproxy" => {
                Some("it reads no body before an answer of its own")
            }
            _ => None,
        }
    }
}

impl Server {
    /// The workload as this server is asked for it: where handlers take their time, those of queue mode hold their
    /// threads, for that is what its consumers are for.
    pub(super) fn asked(&self, workload: &Workload) -> Workload {
        let requests = match (&self.kind, workload.requests) {
            (Kind::Showcase { mode: "queue", .. }, Requests::Slow(ms)) => Requests::Work(ms),
            (_, requests) => requests,
        };
        Workload { requests, ..*workload }
    }

    /// The command that serves `workload` on `port`. What it reads is put into `directory`.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub(super) fn command(
        &self,
        workload: &Workload,
        core: usize,
        port: u16,
        directory: &Path,
    ) -> io::Result<Vec<OsString>> {
        let address = format!("127.0.0.1:{port}");
        let core = core.to_string();
        let arguments: Vec<OsString> = match &self.kind {
            Kind::Floor => ["--listen", &address, "--core", &core].map(OsString::from).into(),
            Kind::Showcase { mode, driver, old } => {
                let common = ["--listen", &address, "--shards", "1", "--cores", &core, "--mode", mode];
                let mut arguments = common.map(OsString::from).to_vec();
                if *mode == "queue" {
                    let many = matches!(workload.requests, Requests::Slow(_) | Requests::Work(_));
                    let consumers = if many { MANY_CONSUMERS } else { 1 };
                    arguments.extend(["--consumers".into(), consumers.to_string().into()]);
                }
                // An older one may not know these options.
                if !old {
                    arguments.extend(["--driver".into(), driver.into()]);
                }
                let requests = workload.connections * workload.depth;
                if requests > SHOWCASE_REQUESTS && !old {
                    arguments.extend(["--requests".into(), requests.to_string().into()]);
                }
                arguments
            }
            Kind::Peer => vec![port.to_string().into()],
            Kind::Installed { configuration, arguments } => {
                let file = directory.join(configuration);
                let filled = |text: &str| {
                    let text = text.replace("@DIR@", &directory.to_string_lossy());
                    text.replace("@FILE@", &file.to_string_lossy()).replace("@PORT@", &port.to_string())
                };
                write(&file, filled(self.configuration.as_deref().unwrap_or_default()).as_bytes())?;
                write_files(directory)?;
                arguments.iter().map(|argument| filled(argument).into()).collect()
            }
            Kind::Extra { arguments } => {
                arguments.iter().map(|argument| argument.replace("{port}", &port.to_string()).into()).collect()
            }
        };
        Ok([vec![self.program.clone().into_os_string()], arguments].concat())
    }
}

/// A server that root has started may read as somebody else, whatever our own files are usually like.
fn write_files(directory: &Path) -> io::Result<()> {
    let root = directory.join("root");
    let bytes = root.join("bytes");
    fs::create_dir_all(&bytes)?;
    for folder in [directory, &root, &bytes] {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    FILES.iter().try_for_each(|(name, text)| write(&root.join(name), text.as_bytes()))?;
    FILE_BYTES.iter().try_for_each(|count| write(&bytes.join(count.to_string()), &vec![b'x'; *count]))
}

fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(file, content)?;
    fs::set_permissions(file, Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::super::process::Directory;
    use super::*;

    fn workload(name: &str) -> &'static Workload {
        Workload::named(name)
    }

    fn command(name: &str, row: &str, directory: &Path) -> String {
        let configuration = Some("listen @PORT@; root @DIR@/root;".to_owned());
        let server = Server {
            name: name.into(),
            kind: kind(name).expect("works in tests"),
            program: name.into(),
            configuration,
        };
        let command = server.command(workload(row), 3, 8081, directory).expect("works in tests");
        command.join(&OsString::from(" ")).into_string().expect("works in tests")
    }

    #[test]
    fn every_name_has_a_kind_and_no_other() {
        assert_eq!(names().len(), 13);
        assert!(names().iter().all(|name| kind(name).is_some()));
        assert_eq!(groups().last().expect("works in tests").1, names());
        assert_eq!((kind("apache"), kind("old-queue")), (None, None));
    }

    #[test]
    fn commands_name_port_core_and_mode() {
        let directory = Directory::new().expect("works in tests");
        let command = |name, row| command(name, row, directory.path());
        assert_eq!(command("floor", "plaintext-1"), "floor --listen 127.0.0.1:8081 --core 3");
        let showcase = "--listen 127.0.0.1:8081 --shards 1 --cores 3 --mode";
        assert_eq!(command("colocated", "slow-app"), format!("colocated {showcase} colocated --driver io_uring"));
        let epoll = format!("colocated-epoll {showcase} colocated --driver epoll");
        assert_eq!(command("colocated-epoll", "slow-app"), epoll);
        assert_eq!(command("queue", "plaintext-1"), format!("queue {showcase} queue --consumers 1 --driver io_uring"));
        assert_eq!(command("queue", "slow-app"), format!("queue {showcase} queue --consumers 64 --driver io_uring"));
        let all = command("queue", "pipelined-4096");
        let expected = format!("queue {showcase} queue --consumers 1 --driver io_uring --requests 65536");
        assert_eq!(all, expected, "all that may be under way");
        assert_eq!(command("hyper", "json"), "hyper 8081");
    }

    #[test]
    fn handlers_of_queue_mode_alone_hold_their_threads() {
        let asked = |name: &str, kind: Kind, row: &str| {
            let server = Server { name: name.into(), kind, program: name.into(), configuration: None };
            server.asked(workload(row)).requests
        };
        for (name, kind) in names().into_iter().map(|name| (name, kind(name).expect("works in tests"))) {
            let expected = if name.starts_with("queue") { Requests::Work(1) } else { Requests::Slow(1) };
            assert_eq!(asked(name, kind.clone(), "slow-app"), expected, "{name}");
            assert_eq!(asked(name, kind, "json"), Requests::Json, "{name}");
        }
        for (name, kind) in old() {
            let expected = if name == "old-queue" { Requests::Work(1) } else { Requests::Slow(1) };
            assert_eq!(asked(&name, kind, "slow-app"), expected, "{name}");
        }
    }

    #[test]
    fn a_configuration_is_filled_in_and_its_files_are_there() {
        let directory = Directory::new().expect("works in tests");
        let path = directory.path().to_string_lossy().into_owned();
        let command = command("haproxy", "json", directory.path());
        assert_eq!(command, format!("haproxy -f {path}/haproxy.cfg -db"));
        let text = fs::read_to_string(directory.path().join("haproxy.cfg")).expect("works in tests");
        assert_eq!(text, format!("listen 8081; root {path}/root;"));
        let file = fs::read(directory.path().join("root/bytes/65536")).expect("works in tests");
        assert_eq!(fs::read(directory.path().join("root/plaintext")).expect("works in tests"), b"Hello, World!");
        assert!(file.len() == 65_536 && file.iter().all(|byte| *byte == b'x'));
    }

    #[test]
    fn what_a_server_lacks_is_known_and_the_rest_is_not_excused() {
        let lacks = |name: &str, row: &str| kind(name).expect("works in tests").lacks(name, workload(row)).is_some();
        for (name, row) in [("floor", "json"), ("nginx", "baseline"), ("haproxy", "bytes-1m")] {
            assert!(lacks(name, row), "{name} {row}");
        }
        for (name, row) in [
            ("floor", "headers"),
            ("queue", "baseline"),
            ("queue", "upload-1m"),
            ("hyper", "upload-1m"),
            ("nginx", "bytes-1m"),
        ] {
            assert!(!lacks(name, row), "{name} {row}");
        }
        for (name, kind) in old() {
            assert!(kind.lacks(&name, workload("upload-1m")).is_some(), "{name}");
        }
    }
}
