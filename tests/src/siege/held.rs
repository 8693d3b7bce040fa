//! Connections of clients that do nothing of themselves: they are held open, and looked at.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::outcome::Served;
use crate::pace::pause;

/// Longest wait for a connection, and for what is expected to come on all of them.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What an Ethernet segment carries: loopback's make the kernel take megabytes of a response for each connection.
const NARROW_SEGMENT_BYTES: u32 = 1_448;
const NARROW_WINDOW_BYTES: usize = 4_096;

/// A client's window: how much it lets a server send before it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Usual,
    Narrow,
}

#[derive(Debug)]
pub(super) struct Held {
    /// `None` where a connection could not be made, or has ended.
    streams: Vec<Option<TcpStream>>,
}

impl Held {
    /// So many connections from 127.0.0.1: as many as come about in time.
    pub(super) fn connect(address: SocketAddr, count: usize, window: Window) -> Self {
        Self::connect_from((0..count).map(|_| Ipv4Addr::LOCALHOST), address, window)
    }

    /// As [`connect`](Self::connect), one from each of these addresses.
    pub(super) fn connect_from(sources: impl Iterator<Item = Ipv4Addr>, address: SocketAddr, window: Window) -> Self {
        let deadline = Instant::now() + WAIT_MAX;
        let left = || deadline.saturating_duration_since(Instant::now());
        Self { streams: sources.map(|source| connect(source, address, window, left()).ok()).collect() }
    }

    /// Sends the same on all of them, as far as it goes without waiting.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        for stream in self.streams.iter_mut().flatten() {
            // Whether it came to anything is seen when they are looked at.
            let _ = stream.write(bytes);
        }
    }

    /// Reads at most so many bytes from each, and throws them away.
    pub(super) fn take(&mut self, most: usize) {
        let mut block = vec![0; most];
        for stream in self.streams.iter_mut().flatten() {
            let _ = stream.read(&mut block);
        }
    }

    /// Waits until what comes on each begins with `expected`: who got that was served, after this wait.
    pub(super) fn expect(&mut self, expected: &[u8]) -> Served {
        let (mut served, since) = (Served::default(), Instant::now());
        let deadline = since + WAIT_MAX;
        let mut waiting: Vec<usize> = (0..self.streams.len()).collect();
        while !waiting.is_empty() && Instant::now() < deadline {
            waiting.retain(|place| match look(self.streams[*place].as_mut(), expected.len()) {
                Look::Came(bytes) if bytes == expected => {
                    served.add(since.elapsed());
                    false
                }
                Look::Nothing => true,
                other => {
                    served.fail(other.to_string());
                    false
                }
            });
            pause(LOOK_AGAIN);
        }
        waiting.iter().for_each(|_| served.fail(format!("nothing in {WAIT_MAX:?}")));
        served
    }

    /// Who is connected and has got nothing so far was served: their answer is not due.
    pub(super) fn expect_nothing(&mut self) -> Served {
        let mut served = Served::default();
        for stream in &mut self.streams {
            match look(stream.as_mut(), 12) {
                Look::Nothing => served.add(Duration::ZERO),
                other => served.fail(other.to_string()),
            }
        }
        served
    }

    /// Ends all connections, by a reset.
    pub(super) fn reset(self) {
        for stream in self.streams.into_iter().flatten() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// What came on a connection.
#[derive(Debug)]
enum Look {
    Came(Vec<u8>),
    Nothing,
    Ended(String),
}

impl std::fmt::Display for Look {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Came(bytes) => write!(out, "{}", String::from_utf8_lossy(bytes)),
            Self::Nothing => write!(out, "nothing"),
            Self::Ended(how) => write!(out, "{how}"),
        }
    }
}

fn look(stream: Option<&mut TcpStream>, most: usize) -> Look {
    let Some(stream) = stream else { return Look::Ended("not connected".into()) };
    let mut block = vec![0; most];
    match stream.read(&mut block) {
        Ok(0) => Look::Ended("closed".into()),
        Ok(count) => Look::Came(block[..count].to_vec()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Look::Nothing,
        Err(error) => Look::Ended(error.kind().to_string()),
    }
}

fn connect(source: Ipv4Addr, address: SocketAddr, window: Window, most: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if source != Ipv4Addr::LOCALHOST {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    if window == Window::Narrow {
        // Both are agreed on when the connection is made.
        socket.set_recv_buffer_size(NARROW_WINDOW_BYTES)?;
        socket.set_tcp_mss(NARROW_SEGMENT_BYTES)?;
    }
    socket.connect_timeout(&address.into(), most)?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from(socket))
}
