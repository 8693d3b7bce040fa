//! A server made of std sockets and a closure, for the tests of the load generator.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringress_bench::load::{Exchange, Plan, Report, run};

/// What a handler does with a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Read the next request.
    KeepOpen,
    /// Close in order.
    Close,
    /// Close with a reset.
    Reset,
    /// Neither answer nor close, until the client does.
    Hang,
}

pub struct Server {
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    /// Calls `handle` with each request (head and, if it has a length, body) and its connection.
    pub fn start(handle: impl Fn(&[u8], &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, handle) = (is_over.clone(), Arc::new(handle));
        let listening = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let (stream, handle) = (stream.expect("accepted"), handle.clone());
                connections.push(thread::spawn(move || serve(stream, &*handle)));
            }
            for connection in connections {
                connection.join().expect("a handler failed");
            }
        });
        Self { address, is_over, listening: Some(listening) }
    }

    /// Answers every request with the same bytes, and then does the same.
    pub fn always(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer = answer.into();
        Self::start(move |_, stream| {
            // The client may have gone: that is its business.
            let _ = stream.write_all(&answer);
            then
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        let ended = self.listening.take().expect("joined once").join();
        assert!(ended.is_ok() || thread::panicking(), "the server failed");
    }
}

fn serve(mut stream: TcpStream, handle: &(impl Fn(&[u8], &mut TcpStream) -> Then + ?Sized)) {
    stream.set_nodelay(true).expect("socket option");
    // A client that neither asks nor leaves is a fault of the test.
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("socket option");
    let mut held = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut held) {
        match handle(&request, &mut stream) {
            Then::KeepOpen => {}
            Then::Close => return,
            Then::Reset => return reset(stream),
            Then::Hang => {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                return;
            }
        }
    }
}

/// Closing with unread input resets; lingering for no time does so without.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = libc::socklen_t::try_from(size_of_val(&linger)).expect("small");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&stream);
    // SAFETY: the kernel reads `len` bytes at the address of `linger`, which has as many.
    let rc = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len) };
    assert_eq!(rc, 0, "every socket has this option");
}

fn next_request(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..at]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            let end = at + 4 + length.map_or(0, |length| length.parse::<usize>().expect("a length"));
            if held.len() >= end {
                let rest = held.split_off(end);
                return Some(std::mem::replace(held, rest));
            }
        }
        let mut piece = [0; 16 << 10];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(len) => held.extend_from_slice(&piece[..len]),
        }
    }
}

pub const BODY: &str = "Hello, World!";
pub const RIGHT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

/// A short load of two connections that asks for [`BODY`].
pub fn plan(server: &Server) -> Plan {
    Plan {
        cores: ringress_bench::ring::host::cores().expect("this host has cores")[..1].to_vec(),
        connections: 2,
        warm_up: Duration::ZERO,
        // Ample for some answers, also on a busy machine.
        duration: Duration::from_millis(400),
        timeout: Duration::from_secs(10),
        exchanges: vec![Exchange::get("h", "/").expecting_body(200, BODY)],
        ..Plan::new(server.address)
    }
}

pub fn report(plan: &Plan) -> Report {
    run(plan, &|_| {}).expect("the plan can be run")
}

/// Asserts that there were faults of this kind and of no other, and that they were told in words.
pub fn assert_only(report: &Report, kind: &str) {
    for (name, count) in report.faults.kinds() {
        assert_eq!(count > 0, name == kind, "{name}: {:?}", report.faults);
    }
    assert!(!report.is_clean());
    assert!(report.faults.first.as_ref().is_some_and(|words| !words.is_empty()));
}

/// Figures that a busy machine can spoil are right in one of five loads; where something is broken, in none.
#[track_caller]
pub fn comes_out_once(mut load: impl FnMut() -> Result<(), String>) {
    let spoiled: Vec<String> = std::iter::repeat_with(&mut load).take(5).map_while(Result::err).collect();
    assert!(spoiled.len() < 5, "each time: {spoiled:?}");
}

/// The report of a load at a rate, unless the machine was too slow for it: then requests that were due found no
/// connection free.
pub fn on_time(report: Report) -> Result<Report, String> {
    if report.faults.unsent == 0 { Ok(report) } else { Err(format!("{} not sent", report.faults.unsent)) }
}

pub fn assert_clean(report: &Report) {
    assert!(report.is_clean(), "{:?}", report.faults);
    assert!(report.answers > 0);
}
