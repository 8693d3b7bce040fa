//! Sockets that listen already.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringress::{Endpoint, ErrorKind, Listener};
use socket2::{Domain, Socket, Type};

use crate::common::{Client, Host, WAIT_MAX, loopback};
use crate::{MODES, Running, add, assert_error, child_of, served, serving};

fn socket() -> (TcpListener, u16) {
    let socket = TcpListener::bind(loopback(0)).expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    (socket, port)
}

#[test]
fn all_shards_take_clients_of_a_socket_that_was_handed_over_and_let_it_go_as_it_was() {
    for mode in MODES {
        let (ours, port) = socket();
        serving(mode, served, |engine, group| {
            let listened = engine.listen_on(ours.try_clone().expect("a descriptor")).expect("it listens");
            assert_eq!(listened, Endpoint::Tcp(loopback(port)));
            add(group, port);
            for _ in 0..50 {
                let mut clients = [0; 8].map(|_| Client::connect(loopback(port)));
                clients.iter_mut().for_each(|client| assert_eq!(client.ask("/").text(), "served"));
            }
            engine.unlisten(&listened).expect("it is listened on");
            assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"));
        });
        // It still listens, whoever has it.
        let mut client = Client::connect(loopback(port));
        client.send("GET / HTTP/1.1\r\n");
        ours.set_nonblocking(false).expect("a socket");
        let mut line = [0; 16];
        ours.accept().expect("nobody else takes it").0.read_exact(&mut line).expect("it was sent");
        assert_eq!(&line, b"GET / HTTP/1.1\r\n");
    }
}

#[test]
fn who_comes_while_an_engine_lets_go_of_a_socket_is_served_by_it_or_by_the_next() {
    for mode in MODES {
        let (ours, port) = socket();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(Client::connect(loopback(port)).ask("/").text(), "served");
                    answered += 1;
                }
                answered
            });
            for _ in 0..5 {
                serving(mode, served, |engine, group| {
                    engine.listen_on(ours.try_clone().expect("a descriptor")).expect("it listens");
                    add(group, port);
                    while engine.counters().requests_answered < 20 {
                        thread::yield_now();
                    }
                    engine.unlisten(loopback(port)).expect("it is listened on");
                    assert!(engine.await_changes(WAIT_MAX).expect("not on a shard"));
                });
            }
            stop.store(true, Ordering::Relaxed);
            // The last one that asks is answered, too.
            serving(mode, served, |engine, group| {
                engine.listen_on(ours.try_clone().expect("a descriptor")).expect("it listens");
                add(group, port);
                assert!(clients.join().expect("every client was answered") >= 100);
            });
        });
    }
}

#[test]
fn what_does_not_listen_is_refused_by_name_and_remedy() {
    let host = Host::start();
    let refused = |socket: OwnedFd, says: &[&str]| {
        let number = format!("descriptor {}", socket.as_raw_fd());
        let says: Vec<_> = says.iter().copied().chain([number.as_str(), "handed over"]).collect();
        assert_error(host.engine.listen_on(socket), ErrorKind::Invalid, &says);
    };
    refused(UdpSocket::bind(loopback(0)).expect("free").into(), &["SO_TYPE", "ListenStream="]);
    refused(std::fs::File::open("/dev/null").expect("it is there").into(), &["not a socket"]);
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    bound.bind(&loopback(0).into()).expect("a free port");
    refused(bound.into(), &["SO_ACCEPTCONN", "listen(2)"]);
    let connected = TcpStream::connect(host.address).expect("it listens");
    refused(connected.into(), &["SO_ACCEPTCONN"]);
    assert_eq!(host.engine.addresses().len(), 1, "nothing is left of them");
}

/// As a service manager starts a program: the sockets from 3 on, and the variables. Without a process id, that of the
/// program itself.
fn start_with_sockets(sockets: [OwnedFd; 2], variables: &[(&str, &str)]) -> Running {
    let script = "[ -n \"$LISTEN_PID\" ] || export LISTEN_PID=$$; exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
    let mut command = Command::new("/bin/sh");
    let program = std::env::current_exe().expect("a test knows its own path");
    command.args(["-c", script, "sh"]).arg(program);
    child_of(&mut command, "is activated");
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    let [one, other] = sockets;
    Running::start(command.envs(variables.iter().copied()).stdin(Stdio::from(one)).stdout(Stdio::from(other)))
}

/// In a process of its own: serves what it was started with.
pub(crate) fn be_activated() {
    let sockets = match Listener::activated() {
        Ok(sockets) => sockets,
        Err(error) => return eprintln!("refused: {:?} {error}", error.kind()),
    };
    let names: Vec<_> = sockets.iter().map(|socket| socket.name().unwrap_or("-")).collect();
    eprintln!("has: {}", names.join(" "));
    let again = Listener::activated().map(|sockets| sockets.len());
    eprintln!("again: {}", again.map_or_else(|error| error.to_string(), |count| count.to_string()));
    serving(
        MODES[0],
        |request| request.local_addr().port().to_string(),
        |engine, group| {
            for socket in sockets {
                let address = engine.listen_on(socket).expect("it listens").tcp().expect("a TCP one");
                add(group, address.port());
            }
            // SAFETY: the call takes no pointers.
            let is_kept = |descriptor: &i32| unsafe { libc::fcntl(*descriptor, libc::F_GETFD) == 0 };
            let kept = (3..64).filter(is_kept).filter_map(|it| std::fs::read_link(format!("/proc/self/fd/{it}")).ok());
            let sockets = kept.filter(|what| what.to_string_lossy().starts_with("socket:")).count();
            eprintln!("sockets kept on exec: {sockets}");
            // Until the parent ends it.
            engine.wait().expect("it serves");
        },
    );
}

#[test]
fn sockets_of_a_service_manager_are_served_and_outlive_who_serves_them() {
    let [(one, port), (other, other_port)] = [socket(), socket()];
    for _ in 0..2 {
        // Who comes before anybody serves waits.
        let mut early = Client::connect(loopback(port));
        early.get("/");
        let handed = [&one, &other].map(|socket| socket.try_clone().expect("a descriptor").into());
        let service = start_with_sockets(handed, &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:admin")]);
        assert_eq!(service.says("has"), "web admin");
        assert!(service.says("again").contains("given before"));
        assert_eq!(service.says("sockets kept on exec"), "0");
        assert_eq!(early.read().text(), port.to_string());
        assert_eq!(Client::connect(loopback(other_port)).ask("/").text(), other_port.to_string());
    }
}

#[test]
fn what_a_service_manager_says_for_others_or_wrongly_is_not_taken() {
    let refused = |variables: &[(&str, &str)], says: &[&str]| {
        let handed = [socket().0.into(), UdpSocket::bind(loopback(0)).expect("free").into()];
        let said = start_with_sockets(handed, variables).says("refused");
        says.iter().for_each(|words| assert!(said.contains(words), "{words:?} in {said}"));
    };
    refused(&[("LISTEN_FDS", "many")], &["Malformed", "LISTEN_FDS is \"many\"", "number"]);
    refused(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "me")], &["Malformed", "LISTEN_PID is \"me\""]);
    refused(&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")], &["Malformed", "LISTEN_FDNAMES", "2 names"]);
    refused(&[("LISTEN_FDS", "2")], &["Invalid", "descriptor 4", "LISTEN_FDS=2", "SO_TYPE"]);
    refused(&[("LISTEN_FDS", "4000000000")], &["Invalid", "descriptor 4", "LISTEN_FDS=4000000000"]);
    for variables in [&[("LISTEN_FDS", "2"), ("LISTEN_PID", "1")][..], &[("LISTEN_FDS", "0")], &[]] {
        let handed = [socket().0.into(), socket().0.into()];
        assert_eq!(start_with_sockets(handed, variables).says("has"), "");
    }
}
