//! What the shard asks of the kernel in memory, checked as it is asked.
//!
//! Invariants: an operation is only queued here, and begins with the next turn, while plain socket calls act at once; a
//! call against the contract of [`Io`] panics, and so does one that names a socket which is not open.
//!
//! Not here: how operations go on (`fake`, `link`, `files`), and how often faults happen (`seed`).

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};

use super::files::Reading;
use super::link::{FileJob, Sending, contents};
use super::{Entry, FIRST_DESCRIPTOR, Fake};
use crate::driver::{Event, FilePart, Io, Op, SEND_PARTS_MAX, SendMode, Token, Traffic, Wait};
use crate::error::Error;
use crate::mem::{Area, Group, Landing, Lent, Spare};

impl Io for Fake {
    fn listen(&mut self, _socket: RawFd, _backlog: Option<u32>) -> io::Result<()> {
        Ok(())
    }

    fn accept(&mut self, listener: RawFd, token: Token) {
        assert_eq!(token.op(), Op::Accept);
        self.queued.push(Entry::Accept { listener, token });
    }

    fn accept_left(&mut self, listener: RawFd, token: Token) {
        assert_eq!(token.op(), Op::Accept);
        self.queued.push(Entry::AcceptLeft { listener, token });
    }

    fn receive(&mut self, socket: RawFd, token: Token) {
        self.command(socket, "a receive");
        assert_eq!(token.op(), Op::Receive);
        self.link(socket);
        self.queued.push(Entry::Receive { socket, token });
    }

    fn receive_once(&mut self, socket: RawFd, token: Token, group: Group, len: u32) {
        self.command(socket, "a receive");
        assert!(len > 0 && token.op() == Op::Receive);
        self.link(socket);
        self.queued.push(Entry::ReceiveOnce { socket, token, group, most: len });
    }

    fn receive_and_discard(&mut self, socket: RawFd, token: Token, len: u32) {
        self.command(socket, "a receive");
        assert!(len > 0 && token.op() == Op::Receive);
        self.link(socket);
        self.queued.push(Entry::ReceiveAndDiscard { socket, token, most: len });
    }

    fn send(&mut self, socket: RawFd, token: Token, parts: &[Lent], _mode: SendMode) {
        self.command(socket, "a send");
        assert_eq!(token.op(), Op::Send);
        self.link(socket);
        assert!((1..=SEND_PARTS_MAX).contains(&parts.len()), "a send of {} parts", parts.len());
        assert!(parts.len() == 1 || parts.iter().all(|part| part.len > 0), "an empty part");
        let pieces = parts.to_vec();
        let bytes = contents(&pieces);
        assert!(!bytes.is_empty(), "an empty send");
        let sending = Sending { token, pieces, bytes, sent: 0 };
        self.queued.push(Entry::Send { socket, sending });
    }

    fn read_file(&mut self, file: RawFd, offset: u64, into: Landing, token: Token) {
        assert_eq!(token.op(), Op::ReadFile);
        if self.asleep && self.overslept.is_none() {
            self.overslept = Some("a read");
        }
        self.queued.push(Entry::Read(Reading { token, file, offset, into, cancelled: false }));
    }

    fn send_file(&mut self, socket: RawFd, token: Token, part: FilePart) {
        self.command(socket, "a send of a file");
        assert!(token.op() == Op::SendFile && part.len > 0);
        self.link(socket);
        self.queued.push(Entry::SendFile { socket, job: FileJob { token, part, cancelled: false } });
    }

    fn await_room(&mut self, socket: RawFd, token: Token, lasting: bool) {
        assert_eq!(token.op(), Op::Room);
        self.link(socket);
        self.queued.push(Entry::AwaitRoom { socket, token, lasting });
    }

    fn file_closer(&self) -> Box<dyn Fn(File)> {
        Box::new(drop)
    }

    fn watch(&mut self, descriptor: RawFd, token: Token) {
        self.queued.push(Entry::Watch { descriptor, token });
    }

    fn watch_end(&mut self, socket: RawFd, token: Token) {
        assert_eq!(token.op(), Op::Poll);
        self.link(socket);
        self.queued.push(Entry::WatchEnd { socket, token });
    }

    fn cancel(&mut self, target: Token) {
        self.queued.push(Entry::Cancel { target });
    }

    fn give_buffer(&mut self, spare: Spare) {
        let buffer = spare.buffer();
        let has = &mut self.kernel_has[buffer];
        assert!(!*has, "{buffer:?} was given twice");
        *has = true;
        self.given.push((buffer, spare.group()));
    }

    fn post_buffers(&mut self) {
        for (buffer, group) in self.given.drain(..) {
            let is_small = self.arena.buffer_cell(buffer).0 == Area::Receive;
            assert_eq!(is_small, group.is_small(), "{buffer:?} is of another group");
            self.posted[group as usize].push_back(buffer);
        }
    }

    fn recall_buffers(&mut self, group: Group, count: u32, token: Token) -> bool {
        assert_eq!(token.op(), Op::Recall);
        self.queued.extend((0..count).map(|_| Entry::Recall { group, token }));
        true
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        (self.asleep, self.overslept) = (false, None);
        self.waited = wait;
        self.delayed.clear();
        let mut slept = false;
        self.begin();
        let prompt = core::mem::take(&mut self.prompt);
        self.progress(prompt);
        self.poll_notifier();
        if self.done.is_empty() && wait != Wait::No {
            slept = self.sleep();
        }
        if !slept {
            self.delayed.clear();
        }
        let (mut left, all) = (self.given_max, core::mem::take(&mut self.done));
        for event in all {
            // How a send has ended is said by the enter that has begun it.
            let is_given = event.token.op() == Op::Send || left > 0;
            left = left.saturating_sub(usize::from(event.token.op() != Op::Send));
            if is_given { events.push(event) } else { self.done.push(event) }
        }
        if core::mem::take(&mut self.breaks) {
            self.failed = true;
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        0
    }

    fn close(&mut self, descriptor: RawFd) {
        self.command(descriptor, "a close");
        self.assert_unused(descriptor);
        let link = self.link(descriptor);
        link.closed = true;
        link.descriptor = None;
        if link.reset_on_close || !link.inbound.is_empty() {
            link.was_reset = true;
            link.outbound.clear();
        }
        self.descriptors.remove(&descriptor);
    }

    fn release(&mut self, descriptor: RawFd) -> OwnedFd {
        self.command(descriptor, "a hand-over");
        self.assert_unused(descriptor);
        let link = self.link(descriptor);
        (link.released, link.descriptor) = (true, None);
        self.descriptors.remove(&descriptor);
        // Of its own numbers there is no real one to be closed.
        File::open("/dev/null").expect("it is there").into()
    }

    fn shutdown(&mut self, socket: RawFd, how: Shutdown) {
        self.command(socket, "a shutdown");
        let link = self.link(socket);
        link.write_shut |= how != Shutdown::Read;
        link.read_shut |= how != Shutdown::Write;
    }

    fn reset_on_close(&mut self, socket: RawFd) {
        self.link(socket).reset_on_close = true;
    }

    fn traffic(&mut self, socket: RawFd) -> Traffic {
        // A client acknowledges what it reads.
        let link = self.link(socket);
        Traffic { acknowledged: link.taken, received: link.written }
    }

    fn addresses(&mut self, socket: RawFd) -> Option<(SocketAddr, SocketAddr)> {
        if self.random.chance(self.faults.address_missing) {
            return None;
        }
        let port = u16::try_from(socket - FIRST_DESCRIPTOR).unwrap_or(0);
        let address = self.link(socket).address.unwrap_or(Ipv4Addr::LOCALHOST);
        Some((SocketAddr::from((address, port)), SocketAddr::from((Ipv4Addr::LOCALHOST, 80))))
    }

    fn explain(error: io::Error) -> Error {
        Error::io("the kernel in memory failed", error)
    }
}
