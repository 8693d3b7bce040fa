//! The loop: wait, read every completion, queue what follows from them, wait again.

use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::os::fd::RawFd;

use io_uring::{CompletionQueue, IoUring, cqueue};

use ringress_bench::ring::{Buffers, Send, Submissions, Tag};

use crate::answer::{self, ANSWER_BYTES, BLOCK_ANSWERS};
use crate::options::Options;

/// What a completion answers; the number in its tag is how many bytes a send was for.
mod op {
    pub(crate) const ACCEPT: u8 = 1;
    pub(crate) const RECV: u8 = 2;
    pub(crate) const SEND: u8 = 3;
    /// Close and shutdown: they post only failures, and a failure changes nothing.
    pub(crate) const FAREWELL: u8 = 4;
}

/// One connection, at the index that is its descriptor.
///
/// ```text
/// accepted -> receiving -> over (the last receive came) -> closed, once nothing is in flight
/// ```
#[derive(Clone, Debug, Default)]
struct Connection {
    /// Answers due and not yet queued.
    owed: u32,
    /// Received bytes of an incomplete request; below `request_bytes` once that is known.
    carried: u32,
    /// Length of every request on this connection, 0 until the first one is complete.
    request_bytes: u32,
    /// How much of a blank line the bytes so far end in; matters while `request_bytes` is 0.
    blank_line: u8,
    /// On the list of connections to settle at the end of this turn.
    listed: bool,
    /// A send is in flight whose completion will come.
    sending: bool,
    /// No more will be received.
    over: bool,
}

impl Connection {
    /// Counts the requests that `len` more bytes complete.
    #[inline]
    fn count(&mut self, len: u32) {
        let pending = self.carried + len;
        if pending == self.request_bytes {
            (self.owed, self.carried) = (self.owed + 1, 0);
        } else {
            self.owed += pending / self.request_bytes;
            self.carried = pending % self.request_bytes;
        }
    }

    /// Looks for the end of the first request.
    fn learn(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("a buffer's length is a u32");
        for (seen, &byte) in (1..).zip(bytes) {
            self.blank_line = match (self.blank_line, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => self.blank_line + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.blank_line == 4 {
                self.request_bytes = self.carried + seen;
                return self.count(len);
            }
        }
        self.carried += len;
    }
}

/// All state of the one thread, except the ring.
#[derive(Debug)]
pub(crate) struct Server {
    listener: RawFd,
    connections: Vec<Connection>,
    /// Connections with something to queue at the end of this turn.
    unsettled: Vec<u32>,
    buffers: Buffers,
    /// [`answer::block`].
    block: &'static [u8],
    gather: u32,
    /// How a send goes that leaves nothing to be done.
    last_send: Send,
}

impl Server {
    pub(crate) fn new(ring: &IoUring, options: &Options, listener: RawFd) -> io::Result<Self> {
        Ok(Self {
            listener,
            connections: Vec::new(),
            unsettled: Vec::new(),
            buffers: Buffers::register(ring, &options.shape())?,
            block: answer::block(),
            gather: options.gather,
            last_send: if options.send_cqe { Send::Now } else { Send::NowQuietly },
        })
    }

    /// Serves until the ring or the listener fails.
    pub(crate) fn run(mut self, ring: &mut IoUring, options: &Options) -> io::Result<Infallible> {
        let (submitter, queue, mut completions) = ring.split();
        let mut out = Submissions::new(submitter, queue, options.knobs())?;
        out.accept(self.listener, Tag::new(op::ACCEPT, 0, 0))?;
        loop {
            out.wait()?;
            self.reap(&mut completions, &mut out)?;
            for _ in 0..self.gather {
                out.peek()?;
                if self.reap(&mut completions, &mut out)? == 0 {
                    break;
                }
            }
            self.buffers.give_back();
            // A short send's completion may wait in the kernel when the queue overflowed: queue
            // no send before it has been seen, or answers would overtake each other.
            if !out.overflown() {
                self.settle(&mut out)?;
            }
        }
    }

    /// Reads every completion there is; says how many there were.
    fn reap(&mut self, completions: &mut CompletionQueue<'_>, out: &mut Submissions<'_>) -> io::Result<usize> {
        completions.sync();
        let found = completions.len();
        for completion in &mut *completions {
            let (op, len, slot) = Tag(completion.user_data()).fields();
            match op {
                op::RECV => self.received(slot, &completion, out)?,
                op::SEND => self.sent(slot, len, completion.result(), out)?,
                op::ACCEPT => self.accepted(&completion, out)?,
                _ => debug_assert_eq!(op, op::FAREWELL),
            }
        }
        completions.sync();
        Ok(found)
    }

    #[inline]
    fn received(&mut self, slot: u32, completion: &cqueue::Entry, out: &mut Submissions<'_>) -> io::Result<()> {
        let flags = completion.flags();
        let len = u32::try_from(completion.result()).unwrap_or(0);
        let connection = &mut self.connections[slot as usize];
        if let Some(bid) = cqueue::buffer_select(flags) {
            self.buffers.take(bid);
            if connection.request_bytes != 0 {
                connection.count(len);
            } else {
                connection.learn(self.buffers.bytes(bid, len as usize));
            }
        }
        if !cqueue::more(flags) {
            if len != 0 || completion.result() == -libc::ENOBUFS {
                out.receive(slot, Tag::new(op::RECV, 0, slot))?;
            } else {
                connection.over = true;
            }
        }
        self.list(slot);
        Ok(())
    }

    /// A send ended that had news: it fell short, or its end was asked for.
    fn sent(&mut self, slot: u32, len: u32, result: i32, out: &mut Submissions<'_>) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        connection.sending = false;
        match u32::try_from(result) {
            Ok(sent) if sent == len => {}
            Err(_) if result != -libc::EAGAIN => {
                connection.owed = 0;
                if !connection.over {
                    out.shutdown(slot, Shutdown::Both, Tag::new(op::FAREWELL, 0, slot))?;
                }
            }
            short => {
                connection.sending = true;
                send(self.block, slot, len - short.unwrap_or(0), Send::Whole, out)?;
            }
        }
        self.list(slot);
        Ok(())
    }

    fn accepted(&mut self, completion: &cqueue::Entry, out: &mut Submissions<'_>) -> io::Result<()> {
        let result = completion.result();
        if let Ok(slot) = u32::try_from(result) {
            let index = slot as usize;
            if index >= self.connections.len() {
                self.connections.resize(index + 1, Connection::default());
            }
            self.connections[index] = Connection::default();
            out.receive(slot, Tag::new(op::RECV, 0, slot))?;
        } else if result != -libc::ECONNABORTED {
            return Err(io::Error::from_raw_os_error(-result));
        }
        if cqueue::more(completion.flags()) { Ok(()) } else { out.accept(self.listener, Tag::new(op::ACCEPT, 0, 0)) }
    }

    #[inline]
    fn list(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.listed {
            connection.listed = true;
            self.unsettled.push(slot);
        }
    }

    /// Queues what every listed connection has become due: answers, or its close.
    fn settle(&mut self, out: &mut Submissions<'_>) -> io::Result<()> {
        for slot in self.unsettled.drain(..) {
            let connection = &mut self.connections[slot as usize];
            connection.listed = false;
            if connection.sending {
                continue;
            }
            if connection.owed == 0 {
                if connection.over {
                    out.close(slot, Tag::new(op::FAREWELL, 0, slot))?;
                }
                continue;
            }
            let answers = connection.owed.min(BLOCK_ANSWERS);
            connection.owed -= answers;
            // A close must wait for the send, and the rest of a long debt too.
            let how = match (connection.over, connection.owed) {
                (false, 0) => self.last_send,
                _ => Send::Whole,
            };
            connection.sending = how != Send::NowQuietly;
            send(self.block, slot, answers * ANSWER_BYTES, how, out)?;
        }
        Ok(())
    }
}

/// Sends the last `len` bytes of the block.
#[inline]
fn send(block: &'static [u8], slot: u32, len: u32, how: Send, out: &mut Submissions<'_>) -> io::Result<()> {
    out.send(slot, &block[block.len() - len as usize..], how, Tag::new(op::SEND, len, slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn first_request_split_anywhere_gives_the_same_count() {
        let stream = REQUEST.repeat(3);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut connection = Connection::default();
                for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                    match connection.request_bytes {
                        0 => connection.learn(part),
                        _ => connection.count(u32::try_from(part.len()).expect("short")),
                    }
                }
                assert_eq!(connection.request_bytes as usize, REQUEST.len());
                assert_eq!((connection.owed, connection.carried), (3, 0));
            }
        }
    }

    #[test]
    fn a_tag_gives_back_what_it_was_made_of() {
        let tag = Tag::new(op::SEND, BLOCK_ANSWERS * ANSWER_BYTES, u32::MAX);
        assert_eq!(tag.fields(), (op::SEND, BLOCK_ANSWERS * ANSWER_BYTES, u32::MAX));
    }
}
