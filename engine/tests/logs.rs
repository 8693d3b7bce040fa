//! Logs of requests over real sockets: which requests have a line and what stands in it, logs that are set, replaced
//! and unset live, rotated under load, and disks that are slow, full or gone.
//!
//! Not here: the formats and the files by themselves, which unit tests have.

mod common;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Client, Host, WAIT_MAX, builder, by_two_shards, colocated, receive, serve, wait_until, within};
use ringress::{
    Engine, ErrorKind, LogData, LogFields, LogFormat, Logging, Mode, QueueOptions, Request, Response, Rollover,
    Verbosity,
};
use tempfile::TempDir;

const MODES: [Mode; 2] = [Mode::Queue, Mode::Colocated];

/// With the first byte of its body.
const FORM: &str = "POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n1";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// All lines of a log but those that are no request's, of its files in the order of their names.
fn lines(folder: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map(|all| all.map(|entry| entry.expect("it is there").path()).collect())
        .unwrap_or_default();
    files.sort();
    let text: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("UTF-8")).collect();
    let lines = text.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The lines of a log once there are so many.
#[track_caller]
fn await_lines(folder: &Path, count: usize) -> Vec<String> {
    wait_until("all lines are written", || lines(folder).len() >= count);
    let lines = lines(folder);
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// The member of a line of JSON, without regard to what is in others.
fn member(line: &str, name: &str) -> String {
    let (_, value) = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {line}"));
    let value = value.strip_prefix('"').map_or_else(|| value.split([',', '}']).next(), |text| text.split('"').next());
    value.expect("a value").to_owned()
}

fn json(folder: &TempDir) -> Logging {
    Logging::new(LogFormat::Json, folder.path()).fields(LogFields::ALL)
}

/// Answers as the path says.
fn answer(mut request: Request) {
    let path = request.path().to_owned();
    match &*path {
        "/form" => {
            // All of it counts, since all of it has come.
            request.body().to_bytes(100).expect("the client sends it");
            request.respond(Response::text("answered")).expect("open");
        }
        "/abandon" => drop(request),
        "/missing" => request.respond(Response::new(404)).expect("open"),
        "/stream" => {
            let mut stream = request.start(Response::ok()).expect("open");
            stream.send("streamed").expect("the client reads");
            stream.finish().expect("the client reads");
        }
        "/data" => {
            let data = LogData::new().user_name("eve").substatus(7).win32_status(64);
            request.respond(Response::new(403).log_data(data)).expect("open");
        }
        "/large" => request.respond(Response::ok().body(vec![b'x'; 100_000])).expect("open"),
        _ => request.respond(Response::text("answered")).expect("open"),
    }
}

/// What is asked, what is answered, and what the line says.
fn ask_all(client: &mut Client) -> Vec<(&'static str, &'static str, u16, usize)> {
    let mut expected = Vec::new();
    for (path, status) in [("/", 200), ("/missing", 404), ("/data", 403), ("/abandon", 500), ("/large", 200)] {
        let reply = client.ask(path);
        assert_eq!(reply.status, status, "{path}");
        expected.push(("GET", path, status, reply.head.len() + 4 + reply.body.len()));
    }
    client.send("HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.read_head();
    expected.push(("HEAD", "/head", 200, head.len() + 4));
    client.send(FORM);
    client.send("2345");
    let reply = client.read();
    expected.push(("POST", "/form", 200, reply.head.len() + 4 + reply.body.len()));
    for _ in 0..3 {
        client.send("GET /1 HTTP/1.1\r\nHost: test\r\n\r\nGET /2 HTTP/1.1\r\nHost: test\r\n\r\n".as_bytes());
        for path in ["/1", "/2"] {
            let reply = client.read();
            expected.push(("GET", path, 200, reply.head.len() + 4 + reply.body.len()));
        }
    }
    expected
}

fn check_all(lines: &[String], expected: &[(&str, &str, u16, usize)]) {
    for (line, (method, path, status, bytes)) in lines.iter().zip(expected) {
        let said = ["method", "uri_stem", "status", "bytes_sent"].map(|name| member(line, name));
        assert_eq!(said, [(*method).to_owned(), (*path).to_owned(), status.to_string(), bytes.to_string()], "{line}");
        assert_eq!(member(line, "host"), "test");
        assert_eq!(member(line, "client_ip"), "127.0.0.1");
        let is_data = *path == "/data";
        assert_eq!(member(line, "substatus") == "7", is_data, "{line}");
        assert_eq!(line.contains("\"user\":\"eve\""), is_data, "{line}");
    }
    assert_eq!(member(&lines[6], "bytes_received"), (FORM.len() + 4).to_string(), "head and body");
}

#[test]
fn every_answer_has_a_line() {
    let folder = folder();
    let host = Host::start();
    host.session.set_logging(json(&folder)).expect("a directory of its own");
    let consumer = serve(&host.queue, answer);
    let mut client = host.connect();
    let expected = ask_all(&mut client);
    let told = await_lines(folder.path(), expected.len());
    check_all(&told, &expected);
    // And again in slots that were used: what was said of another request is gone.
    let expected = ask_all(&mut client);
    let told = await_lines(folder.path(), 2 * expected.len());
    check_all(&told[expected.len()..], &expected);
    let counters = host.counters();
    assert_eq!((counters.log_records_written, counters.log_records_dropped), (2 * expected.len() as u64, 0));
    drop(client);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
}

#[test]
fn every_answer_has_a_line_where_consumers_are_the_shards() {
    let folder = folder();
    let logging = json(&folder);
    colocated(
        |queue| {
            while let Ok(request) = queue.receive() {
                answer(request);
            }
        },
        |engine, address| {
            // The group is the helper's; another one of its own takes the same port's requests below a path.
            let session = engine.server_session();
            let group = session.url_group();
            let queue = engine.request_queue("own").expect("a queue");
            group.bind(&queue).expect("of one engine");
            group.add_url(&format!("http://+:{}/own/", address.port()), 0).expect("free");
            group.set_logging(logging).expect("a directory of its own");
            let consumer = thread::spawn(move || {
                for _ in 0..2 {
                    receive(&queue).respond(Response::text("own")).expect("open");
                }
            });
            let mut client = Client::connect(address);
            for path in ["/own/1", "/elsewhere", "/own/2"] {
                assert_eq!(client.ask(path).status, 200);
            }
            consumer.join().expect("it answers");
            let told = await_lines(folder.path(), 2);
            assert_eq!(told.iter().map(|line| member(line, "uri_stem")).collect::<Vec<_>>(), ["/own/1", "/own/2"]);
        },
    );
}

/// Clients of two shards are all in one file, in both modes; and at the engine's end every line is there.
#[test]
fn all_shards_write_to_one_log() {
    for mode in MODES {
        let folder = folder();
        by_two_shards(
            (builder(), mode),
            |request| request.path().to_owned(),
            |engine, group| {
                group.set_logging(json(&folder)).expect("a directory of its own");
                let address = engine.listen(common::loopback(0)).expect("a free port");
                common::add(group, address.port());
                for client in 0..20 {
                    let mut connection = Client::connect(address);
                    for request in 0..5 {
                        assert_eq!(connection.ask(&format!("/{client}/{request}")).status, 200);
                    }
                }
            },
        );
        let told = lines(folder.path());
        let mut paths: Vec<String> = told.iter().map(|line| member(line, "uri_stem")).collect();
        paths.sort();
        paths.dedup();
        assert_eq!((told.len(), paths.len()), (100, 100), "{mode:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1, "{mode:?}");
    }
}

#[test]
fn refusals_of_a_group_have_lines() {
    let folder = folder();
    let host = Host::start_with(builder(), QueueOptions::default().length(1).verbosity(Verbosity::Bare));
    host.group.set_logging(json(&folder)).expect("a directory of its own");
    let mut first = host.connect();
    first.get("/first");
    wait_until("it is queued", || host.queue.len() == 1);
    assert_eq!(host.connect().ask("/full?now").status, 503);
    host.queue.set_active(false);
    assert_eq!(host.connect().ask("/off").status, 503);
    host.queue.set_active(true);
    receive(&host.queue).respond(Response::text("first")).expect("open");
    assert_eq!(first.read().status, 200);
    let long = format!("GET /{} HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n", "l".repeat(100));
    let mut client = host.connect();
    client.send(long);
    assert_eq!(client.read().status, 400, "of no group, so of no log");
    let told = await_lines(folder.path(), 3);
    let said = |line: &String| (member(line, "uri_stem"), member(line, "status"));
    let told: BTreeMap<String, String> = told.iter().map(said).collect();
    let expected = [("/first", "200"), ("/full", "503"), ("/off", "503")];
    assert_eq!(told, expected.map(|(path, status)| (path.to_owned(), status.to_owned())).into());
}

#[test]
fn a_groups_log_stands_before_its_sessions() {
    let (of_session, of_group) = (folder(), folder());
    let host = Host::start();
    let consumer = serve(&host.queue, answer);
    let mut client = host.connect();
    let mut counts = [0, 0];
    let mut ask = |host: &Host, place: Option<usize>| {
        assert_eq!(client.ask("/").status, 200);
        if let Some(place) = place {
            counts[place] += 1;
        }
        await_lines(of_session.path(), counts[0]);
        await_lines(of_group.path(), counts[1]);
        assert_eq!(host.counters().log_records_dropped, 0);
    };
    assert_eq!((host.session.logging(), host.group.logging().expect("open")), (None, None));
    ask(&host, None);
    host.session.set_logging(json(&of_session)).expect("free");
    assert_eq!(host.group.logging().expect("open"), Some(json(&of_session)));
    assert_eq!(host.group.own_logging().expect("open"), None);
    ask(&host, Some(0));
    host.group.set_logging(json(&of_group)).expect("free");
    assert_eq!(host.group.logging().expect("open"), Some(json(&of_group)));
    ask(&host, Some(1));
    host.group.set_logging(Logging::off()).expect("nothing to be opened");
    ask(&host, None);
    host.group.set_logging(None).expect("nothing to be opened");
    ask(&host, Some(0));
    host.session.set_logging(None).expect("nothing to be opened");
    ask(&host, None);
    // The directory is free again, also for itself.
    host.group.set_logging(json(&of_session)).expect("free");
    host.group.set_logging(json(&of_session)).expect("its own");
    ask(&host, Some(0));
    let other = host.session.url_group();
    let error = other.set_logging(json(&of_session)).expect_err("it is another log's");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    host.group.set_logging(json(&of_group)).expect("free");
    other.set_logging(json(&of_session)).expect("free again");
    drop(other);
    host.session.set_logging(json(&of_session)).expect("free with its group");
    ask(&host, Some(1));
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
    let error = host.session.set_logging(json(&of_session)).expect_err("it is shut down");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

#[test]
fn what_cannot_be_logged_to_is_refused_with_its_name() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    for (logging, kind, word) in [
        (Logging::new(LogFormat::W3c, "relative"), ErrorKind::Invalid, "relative"),
        (Logging::new(LogFormat::W3c, &file), ErrorKind::Io, "file"),
        (json(&folder).errors_only().success_only(), ErrorKind::Invalid, "errors_only"),
        (json(&folder).rollover(Rollover::Size(1000)), ErrorKind::Invalid, "Size(1000)"),
    ] {
        let error = host.group.set_logging(logging.clone()).expect_err("it cannot be had");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(host.session.set_logging(logging).expect_err("nor here").kind(), kind);
    }
    assert_eq!(host.group.logging().expect("open"), None, "what fails has changed nothing");
    host.group.set_logging(json(&folder).fields(LogFields::STATUS)).expect("its directory is free");
}

#[test]
fn errors_and_successes_can_be_logged_alone() {
    let (errors, successes) = (folder(), folder());
    let host = Host::start();
    let consumer = serve(&host.queue, answer);
    let mut client = host.connect();
    for (folder, logging) in [(&errors, json(&errors).errors_only()), (&successes, json(&successes).success_only())] {
        host.group.set_logging(logging).expect("free");
        for path in ["/", "/missing", "/data", "/"] {
            client.ask(path);
        }
        let statuses: Vec<_> = await_lines(folder.path(), 2).iter().map(|line| member(line, "status")).collect();
        assert_eq!(statuses, if folder.path() == errors.path() { ["404", "403"] } else { ["200", "200"] });
    }
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
}

#[test]
fn what_is_under_way_ends_in_the_log_that_it_began_with() {
    let folder = folder();
    let host = Host::start();
    host.group.set_logging(json(&folder)).expect("free");
    let mut clients = [host.connect(), host.connect()];
    clients.iter_mut().for_each(|client| client.get("/held"));
    let held = [0, 1].map(|_| receive(&host.queue));
    host.group.set_logging(None).expect("nothing to be opened");
    let mut late = host.connect();
    late.get("/late");
    let unlogged = receive(&host.queue);
    unlogged.respond(Response::text("late")).expect("open");
    assert_eq!(late.read().status, 200);
    for request in held {
        let data = LogData::new().user_name("eve");
        host.queue.respond(request.into_id(), Response::text("held").log_data(data)).expect("open");
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.read().status, 200));
    let told = await_lines(folder.path(), 2);
    assert!(told.iter().all(|line| line.contains("/held") && line.contains("\"user\":\"eve\"")), "{told:?}");
}

/// As many clients as threads ask as often as they can until the work is done. Gives how many answers they had.
fn under_load(address: std::net::SocketAddr, work: impl FnOnce()) -> u64 {
    let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.ask("/load").status, 200);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        work();
        stop.store(true, Ordering::Relaxed);
    });
    answers.into_inner()
}

#[test]
fn a_log_is_replaced_under_load_and_no_line_is_lost_nor_there_twice() {
    for mode in MODES {
        let folders = [folder(), folder()];
        let mut asked = 0;
        by_two_shards(
            (builder(), mode),
            |_| "answered".to_owned(),
            |engine, group| {
                group.set_logging(json(&folders[0])).expect("free");
                let address = engine.listen(common::loopback(0)).expect("a free port");
                common::add(group, address.port());
                asked = under_load(address, || {
                    for round in 0..60 {
                        group.set_logging(json(&folders[round % 2])).expect("free");
                        assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"));
                    }
                });
            },
        );
        let counts = folders.each_ref().map(|folder| lines(folder.path()).len() as u64);
        assert_eq!(counts[0] + counts[1], asked, "{mode:?}: {counts:?}");
    }
}

#[test]
fn a_log_is_rotated_under_load_and_old_files_are_left_alone() {
    let folder = folder();
    let mut asked = 0;
    by_two_shards(
        (builder(), Mode::Queue),
        |_| "answered".to_owned(),
        |engine, group| {
            assert!(engine.rotate_logs(WAIT_MAX).expect("not on a shard"), "there is no log yet");
            group.set_logging(json(&folder)).expect("free");
            let address = engine.listen(common::loopback(0)).expect("a free port");
            common::add(group, address.port());
            asked = under_load(address, || rotate_often(engine, folder.path()));
        },
    );
    assert_eq!(lines(folder.path()).len() as u64, asked);
}

fn rotate_often(engine: &Engine, folder: &Path) {
    let sizes = || -> BTreeMap<PathBuf, u64> {
        let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it is there"));
        entries.map(|entry| (entry.path(), entry.metadata().expect("it is there").len())).collect()
    };
    for files in 1..=10 {
        wait_until("another file has begun", || sizes().len() == files);
        assert!(engine.rotate_logs(WAIT_MAX).expect("not on a shard"));
        let old = sizes();
        wait_until("another file has begun", || sizes().len() == files + 1);
        let now = sizes();
        assert!(old.iter().all(|(path, bytes)| now.get(path) == Some(bytes)), "{old:?} and {now:?}");
    }
}

/// A pipe that nobody reads takes the place of a disk that does not answer.
#[test]
fn a_slow_disk_holds_no_request_up_and_what_it_does_not_take_is_counted() {
    let folder = folder();
    let pipe = folder.path().join("json1.log");
    let name = CString::new(pipe.as_os_str().as_bytes()).expect("no zero");
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let host = Host::start();
    host.group.set_logging(json(&folder).rollover(Rollover::Size(u64::MAX))).expect("free");
    let consumer = serve(&host.queue, answer);
    let mut client = host.connect();
    let target = "x".repeat(7000);
    let mut asked = 0;
    let dropped = || host.counters().log_records_dropped;
    while dropped() == 0 {
        assert_eq!(client.ask(&format!("/{target}")).status, 200);
        asked += 1;
        assert!(asked < 10_000, "blocks have a bound");
    }
    assert!(!host.engine.rotate_logs(Duration::ZERO).expect("not on a shard"), "the writer waits");
    // The disk answers: what was kept is written, and what comes as well.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(pipe).expect("it is there").read_to_string(&mut text).expect("UTF-8");
        text
    });
    wait_until("what was kept is written", || host.counters().log_records_written + dropped() == asked);
    for _ in 0..100 {
        assert_eq!(client.ask("/").status, 200);
    }
    drop(client);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
    let counters = host.counters();
    let kept = within(WAIT_MAX, "reading", move || reader.join().expect("it reads"));
    // The writer has rotated meanwhile, as it was told.
    let behind = fs::read_to_string(folder.path().join("json2.log")).expect("it has gone on");
    assert_eq!((kept.lines().count() + behind.lines().count()) as u64, counters.log_records_written);
    assert_eq!(counters.log_records_written + counters.log_records_dropped, asked + 100, "{counters:?}");
    assert!(behind.lines().filter(|line| member(line, "uri_stem") == "/").count() == 100);
}

/// A disk of its own, of so many bytes; `None` without the right to mount one.
struct Disk(TempDir);

impl Disk {
    fn new(bytes: usize) -> Option<Self> {
        let folder = folder();
        let name = CString::new(folder.path().as_os_str().as_bytes()).expect("no zero");
        let options = CString::new(format!("size={bytes}")).expect("no zero");
        // SAFETY: all texts end with a zero, and live until the call is over.
        let mounted =
            unsafe { libc::mount(c"tmpfs".as_ptr(), name.as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()) };
        if mounted != 0 {
            eprintln!("skipped: no tmpfs can be mounted: {}", std::io::Error::last_os_error());
            return None;
        }
        Some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let name = CString::new(self.0.path().as_os_str().as_bytes()).expect("no zero");
        // SAFETY: the name ends with a zero.
        let _ = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_full_disk_holds_no_request_up_and_lines_are_whole_when_it_has_room_again() {
    let Some(disk) = Disk::new(64 << 10) else { return };
    let logs = disk.0.path().join("logs");
    let host = Host::start();
    host.group.set_logging(Logging::new(LogFormat::Json, &logs)).expect("free");
    let consumer = serve(&host.queue, answer);
    let mut client = host.connect();
    let mut asked = 0;
    while host.counters().log_records_dropped == 0 {
        assert_eq!(client.ask(&format!("/{}", "x".repeat(100))).status, 200);
        asked += 1;
        assert!(asked < 100_000, "the disk is small");
    }
    let counted = || host.counters().log_records_written + host.counters().log_records_dropped;
    wait_until("all lines are counted", || counted() == asked);
    let before = lines(&logs);
    assert_eq!(before.len() as u64, host.counters().log_records_written);
    assert!(before.iter().all(|line| line.starts_with('{') && line.ends_with('}')), "lines are whole");
    fs::remove_dir_all(&logs).expect("it is there");
    for _ in 0..3 {
        assert_eq!(client.ask("/again").status, 200);
    }
    let told = await_lines(&logs, 3);
    assert!(told.iter().all(|line| line.contains("/again")), "{told:?}");
    wait_until("all lines are counted", || counted() == asked + 3);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
}

/// What clients may send in a head at all: quotes, tabs, bytes beyond ASCII, escapes.
#[test]
fn clients_forge_no_line_in_any_format() {
    let formats = [
        (LogFormat::W3c, 15),
        (LogFormat::NcsaCommon, 0),
        (LogFormat::NcsaCombined, 0),
        (LogFormat::Iis, 15),
        (LogFormat::Json, 0),
    ];
    let host = Host::start();
    let consumer = serve(&host.queue, |request| request.respond(Response::text("answered")).expect("open"));
    let nasty = [
        "x\" 200 1 \"-\" \"forged",
        "x\tforged, 200",
        "caf\u{e9} \u{2028}forged",
        "\\\" \\n\\u000a{\"forged\":1}",
        "#Fields: forged",
    ];
    for (format, columns) in formats {
        let folder = folder();
        host.group.set_logging(Logging::new(format, folder.path())).expect("free");
        let mut client = host.connect();
        for value in nasty {
            let target = "/a%20%22b,c\"d\\e?q=%0d%0a%00\"x,y";
            let fields = ["User-Agent", "Referer", "Cookie"].map(|name| format!("{name}: {value}\r\n")).concat();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            assert_eq!(client.read().status, 200, "{value}");
        }
        for line in await_lines(folder.path(), nasty.len()) {
            let quotes = line.matches('"').count();
            match format {
                LogFormat::W3c => assert_eq!(line.split(' ').count(), columns, "{line}"),
                LogFormat::Iis => assert_eq!(line.split(", ").count(), columns, "{line}"),
                LogFormat::NcsaCommon => assert_eq!(quotes, 2, "{line}"),
                LogFormat::NcsaCombined => assert_eq!(quotes, 6, "{line}"),
                _ => assert!(line.starts_with('{') && line.ends_with('}'), "{line}"),
            }
        }
    }
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
}

/// Of heads that are longer than what is noted, what logs use is there all the same.
#[test]
fn a_long_head_has_its_line() {
    let folder = folder();
    let host = Host::start();
    host.group.set_logging(json(&folder)).expect("free");
    let consumer = serve(&host.queue, answer);
    let mut client = host.connect();
    let filler = format!("X-Filler: {}\r\n", "f".repeat(3000)).repeat(4);
    client.send(format!("GET /long?q HTTP/1.1\r\nHost: test\r\n{filler}Referer: http://there/\r\n\r\n"));
    assert_eq!(client.read().status, 200);
    let told = await_lines(folder.path(), 1);
    let said = ["method", "uri_stem", "uri_query", "version", "host", "referer"].map(|name| member(&told[0], name));
    assert_eq!(said, ["GET", "/long", "q", "HTTP/1.1", "test", "http://there/"]);
    host.engine.shutdown(Duration::ZERO).expect("no shard failed");
    consumer.join().expect("it ends");
}
