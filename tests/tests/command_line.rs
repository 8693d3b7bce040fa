//! The showcase as a program: what it accepts, how it refuses, how it stops.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use ringress_tests::{Client, Mode, Response, Server, Setup, run_showcase};
use rustix::process::Signal;

/// Exit status for a command line or a port that cannot be used.
const STATUS_USAGE: i32 = 2;

/// Those that take a value.
const FLAGS: &[&str] = &[
    "--listen",
    "--shards",
    "--cores",
    "--mode",
    "--driver",
    "--consumers",
    "--requests",
    "--queue-length",
    "--pool",
    "--limit",
    "--trust",
    "--proxy-protocol",
    "--profile",
    "--memory-max",
    "--root",
    "--admin",
    "--set",
];

/// One clear line on standard error that names what was wrong, nothing on standard output.
#[track_caller]
fn assert_refused(args: &[&str], named: &str) {
    let output = run_showcase(args);
    assert_eq!(output.status, Some(STATUS_USAGE), "{args:?}: {output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{args:?}: one line: {output:?}");
    assert!(output.stderr.contains(named), "{args:?}: names {named}: {output:?}");
    assert_eq!(output.stdout, "", "{args:?}");
}

#[test]
fn unknown_arguments_are_refused() {
    assert_refused(&["--nonsense"], "--nonsense");
    assert_refused(&["-x"], "-x");
    assert_refused(&["stray"], "stray");
    assert_refused(&["--mode", "queue", "stray"], "stray");
    assert_refused(&["--admin", "nonsense"], "--admin");
    assert_refused(&["--nonsense"], "--help lists all options");
}

#[test]
fn missing_values_are_refused() {
    for flag in FLAGS {
        assert_refused(&[flag], flag);
    }
}

#[test]
fn bad_values_are_refused() {
    for (flag, value) in [
        ("--listen", "nowhere"),
        ("--listen", "127.0.0.1"),
        ("--listen", "127.0.0.1:99999"),
        ("--listen", "127.0.0.1:x"),
        ("--shards", "0"),
        ("--shards", "two"),
        ("--shards", "-1"),
        ("--shards", "99999999999"),
        ("--cores", "a"),
        ("--cores", "0,,1"),
        ("--cores", "4095"),
        ("--mode", "warp"),
        ("--mode", ""),
        ("--driver", "warp"),
        ("--consumers", "0"),
        ("--consumers", "many"),
        ("--requests", "15"),
        ("--queue-length", "0"),
        ("--memory-max", "64MB"),
        ("--profile", "tiny"),
        ("--pool", "receive_buffers"),
        ("--pool", "receive_buffers=none"),
        ("--pool", "sandwiches=3"),
        ("--limit", "open"),
        ("--limit", "open=0"),
        ("--limit", "cheese=3"),
        ("--trust", "10.0.0.1/8"),
        ("--trust", "everybody"),
        ("--proxy-protocol", "maybe"),
        ("--root", "/nowhere/at/all"),
        ("--root", "/dev/null"),
        ("--set", "header_wait"),
        ("--set", "header_wait=soon"),
        ("--set", "patience=2s"),
    ] {
        let output = run_showcase(&[flag, value]);
        assert_eq!(output.status, Some(STATUS_USAGE), "{flag} {value}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{flag} {value}: one line: {output:?}");
        let named = output.stderr.contains(flag) || output.stderr.contains(flag.trim_start_matches('-'));
        assert!(named, "{flag} {value}: the line names the flag: {output:?}");
        assert!(output.stderr.contains(value), "{flag} {value}: the line names the value: {output:?}");
    }
}

#[test]
fn whom_a_trusted_proxy_names_is_the_client_and_limits_hold() {
    let named = |response: Response, client| String::from_utf8_lossy(&response.body).contains(client);
    for mode in Mode::ALL {
        let options = ["--proxy-protocol", "optional", "--trust", "127.0.0.0/8", "--limit", "open_of_an_address=1"];
        let server = Server::start(&options.iter().fold(Setup::new(mode), |setup, option| setup.arg(option)));
        let ask = "GET /who HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        let mut held = server.connect();
        held.send(b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\nGET /who HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(named(held.response(), "203.0.113.7:4000"), "the client is whom the header names");
        let mut beyond = server.connect();
        beyond.send(format!("PROXY TCP4 203.0.113.7 127.0.0.1 4001 80\r\n{ask}").as_bytes());
        assert_eq!(beyond.read_until_gone().0, b"", "one of an address is open");
        let mut other = server.connect();
        other.send(format!("PROXY TCP4 203.0.113.8 127.0.0.1 4000 80\r\n{ask}").as_bytes());
        assert!(named(other.response(), "203.0.113.8:4000"));
        drop((held, other));
        server.finish();
    }
}

#[test]
fn a_port_held_by_another_program_is_refused() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = holder.local_addr().expect("a bound socket has an address").to_string();
    for mode in Mode::ALL {
        assert_refused(&["--listen", &address, "--mode", mode.as_str()], &address);
    }
}

#[test]
fn a_port_held_by_another_showcase_is_refused() {
    // SO_REUSEPORT alone would let both bind, and the kernel would deal connections to either.
    for mode in Mode::ALL {
        let first = Server::start(&Setup::new(mode));
        let address = first.address().to_string();
        for second in Mode::ALL {
            assert_refused(&["--listen", &address, "--mode", second.as_str()], &address);
        }
        first.assert_healthy();
        first.finish();
    }
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // TEST-NET-1 belongs to nobody.
    assert_refused(&["--listen", "192.0.2.1:8080"], "192.0.2.1:8080");
}

#[test]
fn one_address_given_twice_is_refused() {
    let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = probe.local_addr().expect("a bound socket has an address").to_string();
    drop(probe);
    assert_refused(&["--listen", &address, "--listen", &address], &address);
}

#[test]
fn help_names_every_flag_and_exits_with_zero() {
    let output = run_showcase(&["--help"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    for flag in FLAGS.iter().chain(&["--help"]) {
        assert!(output.stdout.contains(flag), "{flag}: {output:?}");
    }
    assert_eq!(output.stderr, "");
}

#[test]
fn every_address_is_served() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode).listeners(2));
        for address in server.addresses() {
            let request = format!("GET /who HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let answer = Client::connect(*address).exchange(request);
            assert_eq!(answer.status, 200);
            assert!(answer.text().contains(&address.to_string()), "{answer:?}");
        }
        server.finish();
    }
}

#[test]
fn unix_sockets_are_served_beside_addresses() {
    for mode in Mode::ALL {
        let path = std::env::temp_dir().join(format!("ringress-{}-{mode:?}.sock", std::process::id()));
        let server = Server::start(&Setup::new(mode).arg("--listen").arg(&format!("unix:{}", path.display())));
        let mut client = UnixStream::connect(&path).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        client.write_all(b"GET /who HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("there is room");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it ends in time");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("[::]:80"), "{answer}");
        server.assert_healthy();
        server.finish();
        assert!(!path.exists(), "the file is gone with the server");
    }
    assert_refused(&["--listen", "fd"], "LISTEN_FDS");
}

#[test]
fn shards_and_consumers_are_free_to_choose() {
    for mode in Mode::ALL {
        for (shards, consumers) in [(1, 1), (1, 4), (2, 1), (3, 2)] {
            let server = Server::start(&Setup::new(mode).shards(shards).consumers(consumers));
            for _ in 0..8 {
                server.assert_healthy();
            }
            server.finish();
        }
    }
}

/// A core that this process may run on, which need not be the first of the machine: see proc_pid_status(5).
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("there on every Linux");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("there since Linux 2.6.26");
    list.trim().split([',', '-']).next().expect("a text has a first part").to_owned()
}

#[test]
fn cores_can_be_named() {
    let core = first_core();
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode).shards(1).arg("--cores").arg(&core));
        server.assert_healthy();
        server.finish();
    }
}

#[test]
fn the_port_is_free_again_after_a_stop() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode));
        let address = server.address();
        // Ended by the server, so that its side is left in TIME_WAIT.
        let mut client = server.connect();
        assert!(client.exchange(server.request("GET / HTTP/1.1", &["Connection: close"], "")).closes());
        client.expect_eof();
        server.finish();
        assert!(std::net::TcpStream::connect(address).is_err(), "still accepting after the stop");
        let again = Server::start_on(&Setup::new(mode), address);
        again.assert_healthy();
        again.finish();
    }
}

#[test]
fn the_port_of_a_server_that_was_killed_can_be_taken_at_once() {
    for mode in Mode::ALL {
        let mut server = Server::start(&Setup::new(mode));
        let address = server.address();
        for _ in 0..10 {
            // Its ring waits for their requests; when it is gone, they are told.
            let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
            assert_eq!(clients[0].exchange(server.get("/pipeline")).text(), "ok");
            assert_eq!(server.end_by_signals(Signal::KILL).signal(), Some(Signal::KILL.as_raw()));
            server = Server::start_on(&Setup::new(mode), address);
            server.assert_healthy();
        }
        server.finish();
    }
}

#[test]
fn sigint_and_sigterm_stop_an_idle_server() {
    for mode in Mode::ALL {
        for signal in [Signal::INT, Signal::TERM] {
            let server = Server::start(&Setup::new(mode));
            server.finish_by(signal);
        }
    }
}

#[test]
fn a_second_signal_ends_what_the_first_leaves_time_for() {
    for mode in Mode::ALL {
        for signal in [Signal::INT, Signal::TERM] {
            let server = Server::start(&Setup::new(mode).shards(1).consumers(1));
            let mut waiting = server.connect();
            waiting.send(server.get("/slow/60000"));
            // What came after it is answered.
            server.assert_healthy();
            server.signal(signal);
            let said = server.wait_for_stderr(|text| text.ends_with('\n'));
            assert_eq!(said, "showcase: stopping: what is under way has 2 s; once more ends it now\n");
            // It would end well by itself, once the two seconds are over.
            assert_eq!(server.end_by_signals(signal).signal(), Some(signal.as_raw()));
        }
    }
}

#[test]
fn answers_after_a_signal_say_that_the_connection_ends() {
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode).shards(1).consumers(4));
        let (mut alone, mut two) = (server.connect(), server.connect());
        alone.send(server.get("/slow/600"));
        two.send(server.get("/slow/600").repeat(2));
        server.assert_healthy();
        server.finish_by(Signal::TERM);
        // What the server has sent waits in the clients' sockets.
        for (client, answers) in [(&mut alone, 1), (&mut two, 2)] {
            for answer in 1..=answers {
                let response = client.any_response();
                assert_eq!((response.text(), response.closes()), ("slow\n", answer == answers), "{mode:?}");
            }
            client.expect_eof();
        }
    }
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    // As timeout(1) sends it, to its child and to the group that the child is in.
    for mode in Mode::ALL {
        let server = Server::start(&Setup::new(mode).shards(1).consumers(1));
        let mut waiting = server.connect();
        waiting.send(server.get("/slow/600"));
        server.assert_healthy();
        server.signal(Signal::TERM);
        server.wait_for_stderr(|text| text.contains("stopping"));
        server.finish_by(Signal::TERM);
        assert_eq!(waiting.any_response().text(), "slow\n");
    }
}

#[test]
fn signals_stop_a_server_with_clients_in_every_state() {
    for mode in Mode::ALL {
        for signal in [Signal::INT, Signal::TERM] {
            let server = Server::start(&Setup::new(mode));
            let fresh = server.connect();
            let mut idle = server.connect();
            assert_eq!(idle.exchange(server.get("/pipeline")).text(), "ok");
            let mut halfway = server.connect();
            halfway.send("GET / HTTP/1.1\r\nHo");
            let mut waiting = server.connect();
            waiting.send(server.get("/slow/60000"));
            let mut choked = server.connect();
            choked.send(server.get("/bytes/1000000").repeat(20));
            server.assert_healthy();
            server.finish_by(signal);
            drop((fresh, idle, halfway, waiting, choked));
        }
    }
}
