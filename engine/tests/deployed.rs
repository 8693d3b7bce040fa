//! The papers of `docs/deploy`, as they stand there: configurations of real proxies with an engine behind them, units
//! that systemd reads, and what a container's profile needs besides.
//!
//! A program that is not installed has its tests skipped, which is said. Not here: PROXY headers (`proxied`), and
//! sockets of a service manager (`listeners`).

mod common;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::ports::free_port;
use common::seccomp::IO_URING_CALLS;
use common::{Client, StopOnDrop, WAIT_MAX, Watched, builder, loopback, serve, wait_until};
use ringress::{Listener, Mode, Network, ProxyProtocol, RequestQueue, Response, ServerSession, UrlGroup};

/// What stands in the papers for an engine, and for an engine that takes PROXY headers.
const ENGINE: &str = "10.0.0.11:8080";
const PROXIED: &str = "10.0.0.11:8081";
const SECOND: &str = "10.0.0.12:8080";
/// A client's address, which is not the proxy's.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn paper(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy").join(name)
}

/// A paper with other text in some places, each of which must be there.
fn edited(name: &str, edits: &[(&str, String)]) -> String {
    let path = paper(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    edits.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name} does not have {from:?}");
        text.replace(from, to)
    })
}

fn is_installed(program: &str, option: &str) -> bool {
    let said = Command::new(program).arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_installed = said.is_ok_and(|status| status.success());
    if !is_installed {
        eprintln!("skipped: {program} is not installed");
    }
    is_installed
}

/// A proxy in front of engines, ended when dropped, with its files.
struct Proxy {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts one with this configuration, and waits until it listens there.
    fn start(configuration: &str, address: SocketAddr, command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("configuration"), configuration).expect("the folder is ours");
        let mut command = command(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        wait_until("the proxy listens", || {
            assert_eq!(child.try_wait().expect("a child"), None, "it takes its configuration");
            TcpStream::connect(address).is_ok()
        });
        Self { child, _folder: folder }
    }

    fn haproxy(configuration: &str, address: SocketAddr) -> Self {
        Self::start(configuration, address, |folder| {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(folder.join("configuration"));
            command
        })
    }

    /// In one process, with nothing of its own outside of the folder.
    fn nginx(configuration: &str, address: SocketAddr) -> Self {
        Self::start(configuration, address, |folder| {
            let text = std::fs::read_to_string(folder.join("configuration")).expect("just written");
            let mut own = String::from("http {\n    access_log off;\n");
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                writeln!(own, "    {kind}_temp_path {};", folder.join(kind).display()).expect("text grows");
            }
            std::fs::write(folder.join("configuration"), text.replace("http {\n", &own)).expect("the folder is ours");
            let mut command = Command::new("nginx");
            command.arg("-p").arg(folder).args(["-e", "stderr", "-c", "configuration", "-g"]);
            command.arg(format!("daemon off; master_process off; pid {};", folder.join("pid").display()));
            command
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn answer_all(queue: &RequestQueue) {
    while let Ok(request) = queue.receive() {
        let said = format!("{} {}", request.client_address(), request.peer_addr().ip());
        request.respond(Response::text(&said)).expect("open");
    }
}

/// Runs an engine that trusts its proxy alone, and a client that knows where it listens: without PROXY headers, and
/// with them.
fn serving(client: impl FnOnce(SocketAddr, SocketAddr)) {
    let trusted = Network::new(Ipv4Addr::LOCALHOST.into(), 32).expect("a network");
    let engine = Watched::start(builder().trusted_proxies(&[trusted]), Mode::Queue);
    let queue = engine.request_queue("test").expect("a queue");
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue).expect("both are of one engine");
    let addresses = [ProxyProtocol::Off, ProxyProtocol::Required].map(|protocol| {
        let listener = Listener::tcp(loopback(0)).proxy_protocol(protocol);
        let address = engine.listen_on(listener).expect("a free port").tcp().expect("a TCP one");
        group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
        address
    });
    thread::scope(|scope| {
        let _stop = StopOnDrop(&engine);
        scope.spawn(|| answer_all(&queue));
        client(addresses[0], addresses[1]);
    });
}

/// What a client is told who says that it is somebody else: of which client the request is, and of whom the connection.
fn told(proxy: SocketAddr) -> String {
    let mut client = Client::connect_from(CLIENT, proxy);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n");
    let reply = client.read();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().to_owned()
}

#[test]
fn haproxy_as_configured_says_who_the_client_is_both_ways() {
    if !is_installed("haproxy", "-v") {
        return;
    }
    serving(|plain, proxied| {
        let (web, passed) = (loopback(free_port()), loopback(free_port()));
        let configuration = edited(
            "haproxy.cfg",
            &[
                ("bind :80\n", format!("bind {web}\n")),
                ("bind :8443\n", format!("bind {passed}\n")),
                (ENGINE, plain.to_string()),
                (PROXIED, proxied.to_string()),
                // Nobody is there, which a client does not notice.
                (SECOND, loopback(free_port()).to_string()),
            ],
        );
        let _haproxy = Proxy::haproxy(&configuration, web);
        assert_eq!(told(web), "127.0.0.2 127.0.0.1");
        assert_eq!(told(passed), "127.0.0.2 127.0.0.2");
    });
}

#[test]
fn nginx_as_configured_says_who_the_client_is() {
    if !is_installed("nginx", "-v") {
        return;
    }
    serving(|plain, _| {
        let web = loopback(free_port());
        let configuration =
            edited("nginx.conf", &[("listen 80;", format!("listen {web};")), (ENGINE, plain.to_string())]);
        let _nginx = Proxy::nginx(&configuration, web);
        assert_eq!(told(web), "127.0.0.2 127.0.0.1");
    });
}

#[test]
fn systemd_finds_nothing_wrong_in_the_units() {
    if !is_installed("systemd-analyze", "--version") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let units = [("app.service", &[("/usr/local/bin/app", "/bin/true".to_owned())][..]), ("app.socket", &[])];
    for (name, edits) in units {
        std::fs::write(folder.path().join(name), edited(name, edits)).expect("the folder is ours");
    }
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").args(units.map(|(name, _)| folder.path().join(name)));
    let output = command.output().expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    // Of other units of this host it may say anything.
    assert!(output.status.success() && !said.contains("app.s"), "{said}");
}

/// What the kernel calls it is what `refuse-io-uring` denies; a name with a slip in it is silently no call at all.
#[test]
fn the_fragment_of_a_profile_allows_the_three_calls_and_nothing_else() {
    let fragment: serde_json::Value = serde_json::from_str(&edited("io_uring.json", &[])).expect("JSON");
    let names = ["io_uring_setup", "io_uring_enter", "io_uring_register"];
    assert_eq!(names.len(), IO_URING_CALLS.len());
    let want = serde_json::json!({ "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] });
    assert_eq!(fragment, want);
}

/// What an engine behind the proxy tells, and is told.
#[derive(Default)]
struct Board {
    is_leaving: AtomicBool,
    /// Health checks that were told so.
    checks_refused: AtomicU64,
    /// Requests of clients.
    answered: AtomicU64,
}

/// One of several engines behind a proxy, as its program is.
struct Member {
    // Dropped in this order: URLs first, the engine last.
    _group: UrlGroup,
    _session: ServerSession,
    engine: Watched,
    consumer: JoinHandle<u64>,
    board: Arc<Board>,
}

impl Member {
    fn start(address: SocketAddr) -> Self {
        let engine = Watched::start(builder(), Mode::Queue);
        let queue = engine.request_queue("test").expect("a queue");
        engine.listen(address).expect("the port is free");
        let session = engine.server_session();
        let group = session.url_group();
        group.bind(&queue).expect("both are of one engine");
        group.add_url(&format!("http://*:{}/", address.port()), 0).expect("the URL is free");
        let board = Arc::new(Board::default());
        let shown = Arc::clone(&board);
        let consumer = serve(&queue, move |request| {
            let is_check = request.raw_path() == b"/ready";
            let refuses = is_check && shown.is_leaving.load(Ordering::SeqCst);
            let path = String::from_utf8_lossy(request.raw_path()).into_owned();
            let response = if refuses { Response::new(404) } else { Response::text(path) };
            // Whom it does not reach says so.
            _ = request.respond(response);
            shown.checks_refused.fetch_add(refuses.into(), Ordering::SeqCst);
            shown.answered.fetch_add((!is_check).into(), Ordering::SeqCst);
        });
        Self { _group: group, _session: session, engine, consumer, board }
    }

    fn answered(&self) -> u64 {
        self.board.answered.load(Ordering::SeqCst)
    }

    /// Leaves as its program would at a signal, and gives how many requests of clients it has answered.
    fn leave(self) -> u64 {
        self.board.is_leaving.store(true, Ordering::SeqCst);
        // The second one is asked for when the first was understood.
        wait_until("the proxy knows", || self.board.checks_refused.load(Ordering::SeqCst) >= 2);
        self.engine.drain(Duration::from_secs(1), WAIT_MAX).expect("no shard failed");
        self.consumer.join().expect("it ends with the queue");
        self.board.answered.load(Ordering::SeqCst)
    }
}

/// Clients stop also when a test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks until it is told to stop, over one connection or over many, and gives how often it has asked.
fn ask_on(number: usize, proxy: SocketAddr, stop: &AtomicBool) -> u64 {
    let (mut client, mut asked) = (None, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut open = client.take().unwrap_or_else(|| Client::connect(proxy));
        let path = format!("/{number}-{asked}");
        asked += 1;
        let reply = open.ask(&path);
        assert!(reply.status == 200 && reply.text() == path, "{path}: {} {}", reply.head, reply.text());
        client = (number.is_multiple_of(2) && !reply.closes()).then_some(open);
    }
    asked
}

#[test]
fn of_two_engines_behind_haproxy_each_is_stopped_and_started_and_no_request_fails() {
    if !is_installed("haproxy", "-v") {
        return;
    }
    let addresses = [loopback(free_port()), loopback(free_port())];
    let (web, passed) = (loopback(free_port()), loopback(free_port()));
    let configuration = edited(
        "haproxy.cfg",
        &[
            ("bind :80\n", format!("bind {web}\n")),
            ("bind :8443\n", format!("bind {passed}\n")),
            (ENGINE, addresses[0].to_string()),
            (SECOND, addresses[1].to_string()),
            (PROXIED, loopback(free_port()).to_string()),
            ("inter 1s", "inter 100ms".to_owned()),
        ],
    );
    let mut members = addresses.map(|address| Some(Member::start(address)));
    let _haproxy = Proxy::haproxy(&configuration, web);
    let (stop, mut answered) = (AtomicBool::new(false), 0);
    let asked: u64 = thread::scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> = (0..4).map(|number| scope.spawn(move || ask_on(number, web, stop))).collect();
        let stopping = SetOnDrop(stop);
        for (member, address) in members.iter_mut().zip(addresses) {
            let before = member.as_ref().map_or(0, Member::answered);
            wait_until("it has its part", || member.as_ref().is_some_and(|member| member.answered() >= before + 50));
            answered += member.take().expect("it is there").leave();
            let again = member.insert(Member::start(address));
            wait_until("clients come to it again", || again.answered() >= 50);
        }
        drop(stopping);
        clients.into_iter().map(|client| client.join().expect("no request fails")).sum()
    });
    answered += members.into_iter().flatten().map(Member::leave).sum::<u64>();
    assert_eq!(answered, asked, "each request once");
}
