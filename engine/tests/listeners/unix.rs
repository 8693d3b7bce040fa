//! Unix sockets: files and abstract names.

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use ringress::{Endpoint, Engine, ErrorKind, Listener, Mode, Request, Response, UrlGroup};

use crate::common::{Client, Host, StopOnDrop, WAIT_MAX, Watched, builder, loopback, serve};
use crate::{MODES, Running, add, assert_error, child, served, serving};

/// Another user, who has nothing here.
const NOBODY: u32 = 65_534;

/// A folder of a test's own, and a name in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("http.sock");
    (folder, path)
}

fn connect(path: &Path) -> Client {
    Client::over_unix(UnixStream::connect(path).expect("the engine listens"))
}

/// A file that a server has left.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).expect("a new name"));
}

fn am_root() -> bool {
    // SAFETY: the call takes nothing.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        eprintln!("skipped in part: files of another user need root");
    }
    is_root
}

fn seen(request: &Request) -> String {
    format!("{} {} {}", request.is_unix(), request.peer_addr(), request.local_addr())
}

#[test]
fn a_file_is_served_by_all_shards_and_goes_with_the_address() {
    for mode in MODES {
        let (_folder, path) = place();
        serving(mode, seen, |engine, group| {
            let address = engine.listen_on(Listener::unix(&path)).expect("a new name");
            assert_eq!(
                (&address, address.to_string()),
                (&Endpoint::Unix(path.clone()), format!("unix:{}", path.display()))
            );
            // Who comes before there is a URL waits.
            let mut early = connect(&path);
            early.get("/early");
            add(group, 80);
            assert_eq!(early.read().text(), "true [::]:0 [::]:80");
            let listed: Vec<_> = engine.addresses().into_iter().map(|info| (info.address, info.port)).collect();
            assert_eq!(listed, [(address.clone(), 80)], "the port is not opened beside it");
            for _ in 0..30 {
                let mut clients = [0; 8].map(|_| connect(&path));
                clients.iter_mut().for_each(|client| assert_eq!(client.ask("/").status, 200));
            }
            drop(early);
            engine.unlisten(&address).expect("it is listened on");
            assert_eq!(UnixStream::connect(&path).expect_err("gone").kind(), IoErrorKind::NotFound);
        });
        assert!(!path.exists());
        // With an engine that ends, too.
        serving(mode, served, |engine, _| {
            drop(engine.listen_on(Listener::unix(&path).port(8080)).expect("free again"))
        });
        assert!(!path.exists());
    }
}

#[test]
fn a_file_has_the_mode_and_the_owner_that_were_said() {
    let host = Host::start();
    for mode in [0o600, 0o666, 0o620, 0o000] {
        let (_folder, path) = place();
        host.engine.listen_on(Listener::unix(&path).mode(mode)).expect("a new name");
        let found = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o7777, mode);
    }
    if am_root() {
        let (_folder, path) = place();
        host.engine.listen_on(Listener::unix(&path).mode(0o660).owner(Some(NOBODY), Some(1))).expect("a new name");
        let found = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!((found.uid(), found.gid(), found.permissions().mode() & 0o777), (NOBODY, 1, 0o660));
    }
    let refused = |listener: Listener, says: &[&str]| {
        assert_error(host.engine.listen_on(listener), ErrorKind::Invalid, says);
    };
    refused(Listener::unix("/tmp/x").mode(0o1777), &["mode is 0o1777", "0o777"]);
    refused(Listener::unix("/tmp/x").port(0), &["port is 0", "1 to 65535"]);
    refused(Listener::unix("/tmp/x").reuse_port(true), &["reuse_port", "TCP"]);
    refused(Listener::abstract_name("x").v6_only(true), &["v6_only", "TCP"]);
    refused(Listener::abstract_name("x").mode(0o600), &["mode", "Listener::unix"]);
    refused(Listener::tcp(loopback(0)).owner(Some(1), None), &["owner", "Listener::unix"]);
    refused(Listener::tcp(loopback(0)).port(80), &["port", "Unix"]);
}

#[test]
fn a_stale_file_is_replaced_and_what_is_not_this_users_to_replace_is_left_alone() {
    let host = Host::start();
    let listen = |path: &Path| host.engine.listen_on(Listener::unix(path));
    let (folder, path) = place();
    leave_stale(&path);
    let address = listen(&path).expect("the file was left by this user");
    assert_error(listen(&path), ErrorKind::AlreadyExists, &["this engine"]);
    drop(connect(&path));
    host.engine.unlisten(address).expect("it is listened on");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left in between");
    // Somebody listens there, also with as many who wait as may.
    let other = UnixListener::bind(&path).expect("the name is free");
    assert_error(listen(&path), ErrorKind::AddrInUse, &["listens there", "http.sock"]);
    drop(UnixStream::connect(&path).expect("it is as it was"));
    drop(other);
    fs::remove_file(&path).expect("it is there");
    let datagrams = UnixDatagram::bind(&path).expect("the name is free");
    assert_error(listen(&path), ErrorKind::Io, &["http.sock"]);
    drop(datagrams);
    fs::remove_file(&path).expect("it is there");
    let left_alone = |what: &str| {
        let before = fs::symlink_metadata(&path).expect("it is there").ino();
        assert_error(listen(&path), ErrorKind::AlreadyExists, &[what, "http.sock", "remove it"]);
        assert_eq!(fs::symlink_metadata(&path).expect("it is there").ino(), before);
    };
    fs::write(&path, "precious").expect("a new file");
    left_alone("a file that is no socket");
    fs::remove_file(&path).expect("it is there");
    fs::create_dir(&path).expect("the name is free");
    left_alone("a folder");
    fs::remove_dir(&path).expect("it is empty");
    let elsewhere = folder.path().join("elsewhere");
    leave_stale(&elsewhere);
    symlink(&elsewhere, &path).expect("the name is free");
    left_alone("a symbolic link");
    if am_root() {
        fs::remove_file(&path).expect("it is there");
        leave_stale(&path);
        chown(&path, Some(NOBODY), None).expect("root may");
        assert_error(listen(&path), ErrorKind::PermissionDenied, &["stale", "user 65534", "http.sock"]);
        // Unless it was this server that gave it away.
        host.engine.listen_on(Listener::unix(&path).owner(Some(NOBODY), None)).expect("its owner's");
    }
}

#[test]
fn names_and_folders_that_cannot_be_had_are_refused_with_the_reason() {
    let host = Host::start();
    let (folder, _) = place();
    let long = folder.path().join("x".repeat(108));
    let bytes = long.as_os_str().len().to_string();
    assert_error(host.engine.listen_on(Listener::unix(&long)), ErrorKind::Invalid, &[&bytes, "at most 107"]);
    let none = folder.path().join("none/http.sock");
    assert_error(host.engine.listen_on(Listener::unix(none)), ErrorKind::Io, &["its folder is not there", "make it"]);
    assert_error(host.engine.listen_on(Listener::unix("/")), ErrorKind::Invalid, &["no path of a file"]);
    assert_error(host.engine.listen_on(Listener::unix("/tmp/a\0b")), ErrorKind::Invalid, &["no path of a file"]);
    // The longest one leaves no room for a longer name in between.
    let room = 107 - folder.path().as_os_str().len() - 1;
    let longest = folder.path().join("y".repeat(room));
    leave_stale(&longest);
    host.engine.listen_on(Listener::unix(&longest)).expect("it has 107 bytes");
    drop(connect(&longest));
    if am_root() {
        let (folder, path) = place();
        leave_stale(&path);
        let tried = |mode: u32| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("its owner may");
            let mut command = child("listens on a file");
            let command = command.uid(NOBODY).env("FILE", folder.path().join("http.sock"));
            Running::start(command.stdin(Stdio::null())).says("listens")
        };
        let unreachable = tried(0o700);
        assert!(unreachable.starts_with("PermissionDenied") && unreachable.contains("its folder"), "{unreachable}");
        let of_root = tried(0o777);
        assert!(of_root.starts_with("PermissionDenied") && of_root.contains("of user 0"), "{of_root}");
        fs::remove_file(&path).expect("it is there");
        let unwritable = tried(0o755);
        assert!(unwritable.starts_with("PermissionDenied") && unwritable.contains("its folder"), "{unwritable}");
        assert_eq!(tried(0o777), "true");
    }
}

/// In a process of its own: tries to listen.
pub(crate) fn listen_on_file() {
    let engine = Watched::start(builder(), Mode::Queue);
    let listens = engine.listen_on(Listener::unix(std::env::var_os("FILE").expect("said")));
    eprintln!("listens: {}", listens.map_or_else(|error| format!("{:?} {error}", error.kind()), |_| "true".to_owned()));
}

#[test]
fn of_many_that_replace_a_stale_file_at_once_one_has_it_and_is_reached() {
    let (folder, path) = place();
    let hosts = [0; 6].map(|_| Host::start());
    for round in 0..4 {
        leave_stale(&path);
        let outcomes = thread::scope(|scope| {
            let listen = |host: &'_ Host| host.engine.listen_on(Listener::unix(&path)).map_err(|error| error.kind());
            let tries: Vec<_> = hosts.iter().map(|host| scope.spawn(move || listen(host))).collect();
            tries.into_iter().map(|tried| tried.join().expect("no panic")).collect::<Vec<_>>()
        });
        let winners: Vec<_> = (0..hosts.len()).filter(|index| outcomes[*index].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(ErrorKind::AddrInUse))), "{outcomes:?}");
        let engine = &hosts[winners[0]].engine;
        let before = engine.counters().connections_accepted;
        hosts[winners[0]].group.add_url("http://*:80/", 0).expect("the URL is free");
        let _client = connect(&path);
        crate::common::wait_until("it comes in", || engine.counters().connections_accepted > before);
        hosts[winners[0]].group.remove_url("http://*:80/").expect("it was added");
        drop(_client);
        engine.unlisten(Endpoint::Unix(path.clone())).expect("it is listened on");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left in between");
    }
}

#[test]
fn a_file_that_another_has_put_there_is_not_removed() {
    let host = Host::start();
    let (_folder, path) = place();
    let address = host.engine.listen_on(Listener::unix(&path)).expect("a new name");
    fs::remove_file(&path).expect("it is there");
    let other = UnixListener::bind(&path).expect("the name is free");
    host.engine.unlisten(address).expect("it is listened on");
    drop(UnixStream::connect(&path).expect("it is as it was"));
    drop(other);
}

#[test]
fn abstract_names_are_served_and_are_one_engines() {
    for mode in MODES {
        let name = format!("ringress-{}-{mode:?}", std::process::id());
        serving(mode, seen, |engine, group| {
            let listener = || format!("unix:@{name}").parse::<Listener>().expect("an address").port(8081);
            let address = engine.listen_on(listener()).expect("a new name");
            assert_eq!(address, Endpoint::Abstract(name.clone().into_bytes()));
            add(group, 8081);
            let connect = || {
                use std::os::linux::net::SocketAddrExt;
                let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("short");
                UnixStream::connect_addr(&address)
            };
            let mut client = Client::over_unix(connect().expect("it listens"));
            assert_eq!(client.ask("/").text(), "true [::]:0 [::]:8081");
            assert_error(engine.listen_on(listener()), ErrorKind::AlreadyExists, &["this engine", &name]);
            let other = Watched::start(builder(), Mode::Queue);
            assert_error(other.listen_on(listener()), ErrorKind::AddrInUse, &[&name, "another socket"]);
            engine.unlisten(address).expect("it is listened on");
            assert_eq!(connect().expect_err("gone").kind(), IoErrorKind::ConnectionRefused);
            let long = Listener::abstract_name(vec![7; 108]);
            assert_error(engine.listen_on(long), ErrorKind::Invalid, &["1 to 107", "108"]);
            assert_error("unix:@".parse::<Listener>(), ErrorKind::Malformed, &["unix:@name"]);
        });
    }
}

#[test]
fn sockets_that_were_handed_over_keep_their_files() {
    for mode in MODES {
        let (_folder, path) = place();
        let ours = UnixListener::bind(&path).expect("a new name");
        serving(mode, seen, |engine, group| {
            let listener = Listener::from(ours.try_clone().expect("a descriptor")).port(81);
            assert_eq!(engine.listen_on(listener).expect("it listens"), Endpoint::Unix(path.clone()));
            add(group, 81);
            assert_eq!(connect(&path).ask("/").text(), "true [::]:0 [::]:81");
        });
        let mut client = UnixStream::connect(&path).expect("it listens still");
        ours.set_nonblocking(false).expect("a socket");
        drop(ours.accept().expect("nobody else takes it"));
        assert_eq!(client.read(&mut [0]).expect("it has ended"), 0);
    }
}

/// What is done with a connection, whatever it goes over.
fn exchange(engine: &Engine, path: &Path) {
    const LARGE: usize = 5 << 20;
    let mut client = connect(path);
    let post = |to: &str, bytes: usize| {
        let head = format!("POST {to} HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; bytes]].concat()
    };
    // Of a body that nobody reads what comes is thrown away, and the next request found behind it.
    for bytes in [70_000, 300_000, 900_000] {
        client.send(post("/unread", bytes));
        assert_eq!(client.read().text(), "unread");
    }
    client.send(post("/read", LARGE));
    assert_eq!(client.read().text(), LARGE.to_string());
    client.get("/large");
    let large = client.read();
    assert!(large.body.len() == LARGE && large.body.iter().all(|byte| *byte == b'y'));
    // One that leaves is noticed.
    drop(client);
    crate::common::wait_until("it has gone", || engine.counters().connections_open == 0);
    // The last response is whole, though more has come than anybody reads.
    let mut last = connect(path);
    last.send([&b"GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"[..], &[b'x'; 200_000]].concat());
    assert_eq!(last.read().body.len(), LARGE);
    last.stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    last.read_end();
}

#[test]
fn bodies_and_responses_of_any_size_go_over_a_unix_socket() {
    let handle = |mut request: Request| {
        let path = request.path().to_owned();
        let said = match &*path {
            "/read" => request.body().to_bytes(1 << 30).expect("it comes").len().to_string(),
            "/large" => {
                let body = vec![b'y'; 5 << 20];
                return drop(request.respond(Response::ok().body(body)));
            }
            _ => "unread".to_owned(),
        };
        request.respond(Response::text(&said)).expect("open");
    };
    for mode in MODES {
        let (_folder, path) = place();
        let engine = Watched::start(builder(), mode);
        let queue = engine.request_queue("test").expect("a queue");
        let session = engine.server_session();
        let group: UrlGroup = session.url_group();
        group.bind(&queue).expect("both are of one engine");
        engine.listen_on(Listener::unix(&path)).expect("a new name");
        add(&group, 80);
        thread::scope(|scope| {
            let stop = StopOnDrop(&engine);
            match mode {
                Mode::Queue => drop(serve(&queue, handle)),
                _ => drop(scope.spawn(|| {
                    let _shard = engine.attach(0).expect("the shard is free");
                    while let Ok(request) = queue.receive() {
                        handle(request);
                    }
                })),
            }
            exchange(&engine, &path);
            drop(stop);
        });
    }
}

#[test]
fn curl_speaks_over_a_file_and_over_an_abstract_name() {
    let (_folder, path) = place();
    let name = format!("ringress-curl-{}", std::process::id());
    serving(MODES[0], served, |engine, group| {
        engine.listen_on(Listener::unix(&path)).expect("a new name");
        engine.listen_on(Listener::abstract_name(name.as_str())).expect("a new name");
        add(group, 80);
        for (option, value) in [("--unix-socket", path.to_str().expect("text")), ("--abstract-unix-socket", &name)] {
            let seconds = WAIT_MAX.as_secs().to_string();
            let curl = Command::new("curl").args(["-sS", "-m", &seconds, option, value, "http://localhost/"]).output();
            match curl {
                Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "served", "{output:?}"),
                Err(error) => eprintln!("skipped: no curl: {error}"),
            }
        }
    });
}
