//! `ringress serve`: where it listens, as options and a service manager say it, and how many it takes there.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::common::program::{ANYWHERE, Program};
use super::common::{Client, WAIT_MAX, wait_until};
use super::{ringress, said};

/// A folder with a file.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "content").expect("it is ours");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[track_caller]
fn assert_served(mut stream: UnixStream) {
    stream.set_read_timeout(Some(WAIT_MAX)).expect("not zero");
    stream.write_all(b"GET /file HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("there is room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends in time");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\ncontent"), "{answer}");
}

#[track_caller]
fn assert_next(program: &Program, wanted: &str) {
    let line = program.lines.recv_timeout(WAIT_MAX).expect("another line");
    assert!(line.starts_with(wanted), "{line} is not {wanted}");
}

fn end(program: Program) {
    program.signal(libc::SIGTERM);
    program.end();
}

/// As a service manager starts it, with these variables: what is its standard input is descriptor 3.
fn activated(variables: &str, socket: impl Into<OwnedFd>, redirections: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("export {variables}; exec \"$@\" 3<&0 0</dev/null {redirections}");
    command.env_remove("RINGRESS_DRIVER").args(["-c", &script, "sh", env!("CARGO_BIN_EXE_ringress"), "serve"]);
    command.args(arguments).stdin(socket.into());
    command
}

#[test]
fn unix_sockets_are_served_beside_addresses_and_alone() {
    let (folder, run) = (folder(), tempfile::tempdir().expect("a folder"));
    let path = run.path().join("http.sock");
    let (of_file, name) = (format!("unix:{}", path.display()), format!("ringress-test-{}", std::process::id()));
    let of_name = format!("unix:@{name}");
    let arguments = ["serve", text(folder.path()), "--listen", ANYWHERE, "--listen", &of_file, "--listen", &of_name];
    let program = Program::of(&mut ringress(&arguments));
    assert_next(&program, &format!("listening on {of_file}"));
    assert_next(&program, &format!("listening on {of_name}"));
    assert_next(&program, "driver: ");
    assert_eq!(Client::connect(program.address).ask("/file").text(), "content");
    assert_served(UnixStream::connect(&path).expect("it listens"));
    let name = SocketAddr::from_abstract_name(name).expect("short enough");
    assert_served(UnixStream::connect_addr(&name).expect("it listens"));
    end(program);
    assert!(!path.exists(), "the file is gone with the program");
    // A stale one is replaced, and no other address is listened on.
    drop(UnixListener::bind(&path).expect("the name is free"));
    let program = Program::of_line(&mut ringress(&["serve", text(folder.path()), "--listen", &of_file]), &of_file);
    assert_next(&program, "driver: ");
    assert_served(UnixStream::connect(&path).expect("it listens"));
    end(program);
}

#[test]
fn sockets_of_a_service_manager_are_served_and_left_to_it() {
    let (folder, run) = (folder(), tempfile::tempdir().expect("a folder"));
    let path = run.path().join("http.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unix = UnixListener::bind(&path).expect("the name is free");
    let given = tcp.local_addr().expect("it is bound");
    for options in [&[][..], &["--listen", ANYWHERE]] {
        let socket = tcp.try_clone().expect("a descriptor");
        let arguments = [&[text(folder.path())][..], options].concat();
        let variables = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:local";
        let mut command = activated(variables, socket, "4<&2 2>/dev/null", &arguments);
        let program = Program::of(command.stderr(OwnedFd::from(unix.try_clone().expect("a descriptor"))));
        if options.is_empty() {
            assert_eq!(program.address, given, "where nothing else is asked for, nothing else is listened on");
        } else {
            assert_eq!(Client::connect(program.address).ask("/file").text(), "content");
            assert_next(&program, &format!("listening on http://{given}/"));
        }
        assert_next(&program, &format!("listening on unix:{}", path.display()));
        assert_next(&program, "driver: ");
        assert_eq!(Client::connect(given).ask("/file").text(), "content");
        assert_served(UnixStream::connect(&path).expect("it listens"));
        end(program);
        assert!(path.exists(), "the file is the manager's");
    }
}

#[test]
fn what_a_service_manager_gives_wrongly_is_told_and_what_is_for_others_is_left() {
    let folder = folder();
    let null = || fs::File::open("/dev/null").expect("it is there");
    let refused = |variables: &str, wanted: &[&str]| {
        let arguments = [text(folder.path()), "--listen", ANYWHERE];
        let (status, text, errors) = said(&mut activated(variables, null(), "", &arguments));
        assert_eq!((status, &*text, errors.lines().count()), (Some(1), "", 1), "{variables}: {errors}");
        assert!(errors.starts_with("ringress: "), "{variables}: {errors}");
        wanted.iter().for_each(|words| assert!(errors.contains(words), "{words:?} in {errors}"));
    };
    refused("LISTEN_PID=$$ LISTEN_FDS=many", &["LISTEN_FDS is \"many\"", "number", "unset it"]);
    refused("LISTEN_PID=$$ LISTEN_FDS=1", &["descriptor 3", "LISTEN_FDS=1", "not a socket"]);
    // None is taken for a socket that the program has opened by itself.
    refused("LISTEN_PID=$$ LISTEN_FDS=9", &["descriptor 3", "LISTEN_FDS=9"]);
    let arguments = [text(folder.path()), "--listen", ANYWHERE];
    let program = Program::of(&mut activated("LISTEN_PID=1 LISTEN_FDS=1", null(), "", &arguments));
    assert_next(&program, "driver: ");
    end(program);
}

/// A client from an address of this host's, if it is served: otherwise it is closed without a response.
fn comes(program: &Program, last: u8) -> Option<Client> {
    let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, last), program.address);
    // Who is refused may see that as early as this.
    _ = client.stream.write_all(b"GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
    match client.stream.peek(&mut [0]) {
        Ok(1) => {
            assert_eq!(client.read().text(), "content");
            Some(client)
        }
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("neither a response nor an end: {error}"),
    }
}

#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let folder = folder();
    let limited =
        |option, most| Program::of(&mut ringress(&["serve", text(folder.path()), "--listen", ANYWHERE, option, most]));
    let program = limited("--connections-per-address-max", "2");
    let two = [comes(&program, 1), comes(&program, 1)];
    assert!(two.iter().all(Option::is_some) && comes(&program, 1).is_none());
    assert!(comes(&program, 2).is_some(), "another address has its own");
    drop(two);
    wait_until("there is room again", || comes(&program, 1).is_some());
    end(program);
    // One may come at once, and another one a second: whoever comes again and again is refused before long.
    let program = limited("--connection-rate-per-address-max", "1");
    assert!(comes(&program, 1).is_some());
    wait_until("it comes too often", || comes(&program, 1).is_none());
    assert!(comes(&program, 2).is_some(), "another address has its own");
    end(program);
}
