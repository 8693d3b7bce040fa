//! The application's side of connections that have switched protocols, for the tests of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::queue::{Answered, BodyState, Command, HandOver, HeadText, Lease, ResponseFlags, Signals, Tail};
use crate::record::RequestRecord;
use crate::stream::{Data, OutStream, Outgoing, Piece};

pub(super) const ASKS: &str = "GET /a/1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
pub(super) const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// A pipe; dropped, it leaves its connection as it is.
pub(super) struct Pipe {
    pub(super) lease: Lease<RequestRecord>,
    pub(super) stream: Arc<OutStream>,
}

impl Pipe {
    /// Answers a request with a switch. `None`: it is over.
    pub(super) fn begin(lease: Lease<RequestRecord>) -> Option<Self> {
        let stream = OutStream::new(16, 10_000);
        let filled = lease.answer(|area| {
            area[..SWITCHED.len()].copy_from_slice(SWITCHED.as_bytes());
            let head = HeadText { len: u32::try_from(SWITCHED.len()).expect("short"), date_at: 0 };
            let tail = Tail::Stream(Outgoing::new(Arc::clone(&stream), head.len));
            Ok::<_, ()>(Answered { status: 101, head, body_len: 0, flags: ResponseFlags::SWITCHES, tail })
        });
        filled.is_some().then_some(Self { lease, stream })
    }

    /// What is there to be read, at most so many buffers of it; the state was asked for before.
    pub(super) fn read(&mut self, most: usize) -> (Vec<u8>, BodyState) {
        let state = self.lease.body_state();
        let mut read = Vec::new();
        for _ in 0..most {
            if !self.lease.next_body() {
                return (read, state);
            }
            let bytes = self.lease.body_bytes();
            let len = u32::try_from(bytes.len()).expect("small");
            read.extend_from_slice(bytes);
            self.lease.consume_body(len);
        }
        (read, BodyState::Open)
    }

    /// All that is there, as text, and whether that is the end.
    pub(super) fn text(&mut self) -> (String, bool) {
        let (bytes, state) = self.read(usize::MAX);
        (String::from_utf8(bytes).expect("text"), matches!(state, BodyState::Ended { .. }))
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        self.stream.push(Piece::Content(Data::Bytes(Bytes::copy_from_slice(bytes).into())));
        self.lease.tell(Signals::SEND);
    }

    pub(super) fn finish(&self) {
        self.stream.finish();
        self.lease.tell(Signals::SEND);
    }

    pub(super) fn abort(&self) {
        self.stream.abort();
        self.lease.tell(Signals::SEND);
    }

    /// Nobody reads it any more.
    pub(super) fn stop_reading(&mut self) {
        let mut place = self.lease.take_cursor();
        self.lease.leave_at(&mut place);
    }

    /// Asks for the socket.
    pub(super) fn ask_for_socket(&self) -> HandOver {
        let (asked, taker) = HandOver::new();
        self.lease.command(Command::HandOver(self.lease.id(), taker));
        asked
    }
}

/// The socket asked for: not yet, or whether there is one.
pub(super) fn socket_of(asked: &HandOver) -> Poll<Option<OwnedFd>> {
    asked.poll(&mut Context::from_waker(Waker::noop()))
}
