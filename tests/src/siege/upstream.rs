//! The slow application behind an nginx: it takes requests and leaves them unanswered, or begins to answer.
//!
//! `/drip/..` gets a head and one chunk, `/upgrade` is switched and echoed nothing, all else waits until its client
//! has gone. A request's head is looked at in its first piece alone, as nginx sends it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{Timespec, epoll};

use crate::ports::free_port;

const EVENTS_AT_ONCE: usize = 1024;
const LISTENER: u64 = u64::MAX;
/// How often it is looked whether it is to end.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    pub(super) fn start() -> std::io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&ended);
        let thread = Some(thread::spawn(move || serve(&listener, &of_thread)));
        Ok(Self { address, ended, thread })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, ended: &AtomicBool) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor for epoll can be had");
    let input = epoll::EventFlags::IN;
    epoll::add(&epoll, listener, epoll::EventData::new_u64(LISTENER), input).expect("a listener can be watched");
    let (mut streams, mut next) = (HashMap::new(), 0_u64);
    let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
    while !ended.load(Ordering::Relaxed) {
        events.clear();
        // Interrupted or not: what is there is looked at.
        let _ = epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&LOOK_AGAIN));
        for event in &events {
            let token = event.data.u64();
            if token != LISTENER {
                if streams.get_mut(&token).is_some_and(has_ended) {
                    streams.remove(&token);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                next += 1;
                let is_set = stream.set_nonblocking(true).is_ok();
                if is_set && epoll::add(&epoll, &stream, epoll::EventData::new_u64(next), input).is_ok() {
                    streams.insert(next, stream);
                }
            }
        }
    }
}

/// Takes what has come, and answers what is to be answered at once.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut block = [0; 4096];
    let Ok(count @ 1..) = stream.read(&mut block) else { return true };
    let answer: &[u8] = if block[..count].starts_with(b"GET /drip/") {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndrip\n\r\n"
    } else if block[..count].starts_with(b"GET /upgrade ") {
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    } else {
        b""
    };
    stream.write_all(answer).is_err()
}
