//! The loop, and the steps of an answer in each way.
//!
//! ```text
//! idle -> a request came -> pieces, by steps that completions move on -> all sent -> idle
//!                                  any failure: shut down, and closed when the receive has ended
//! ```

use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::{CompletionQueue, IoUring, cqueue};

use ringress_bench::ring::files::{Cell, Message, WAS_COPIED, WHERE_IT_STANDS};
use ringress_bench::ring::{Buffers, Send, Shape, Submissions, Tag, host};

use crate::Way;
use crate::answer::Answer;
use crate::helper::{Helper, Job, Source};

/// What a completion answers.
mod op {
    pub(crate) const ACCEPT: u8 = 1;
    pub(crate) const RECV: u8 = 2;
    /// A piece was sent, or spliced to the socket.
    pub(crate) const SENT: u8 = 3;
    /// A piece was read into the cell, or spliced to the pipe.
    pub(crate) const FETCHED: u8 = 4;
    pub(crate) const ROOM: u8 = 5;
    pub(crate) const HELPED: u8 = 6;
    /// Posts a completion only if the head did not go.
    pub(crate) const HEAD: u8 = 7;
    pub(crate) const FAREWELL: u8 = 8;
    /// Posts a completion only if the read fell short, and then the send linked to it ends, too.
    pub(crate) const AHEAD: u8 = 9;
}

/// What a descriptor's connections use one after the other.
#[derive(Debug)]
struct Kit {
    cell: Cell,
    /// The head, and the cell's first piece.
    first: Message,
    pipe: Option<[OwnedFd; 2]>,
}

/// One connection, at the index that is its descriptor.
#[derive(Debug, Default)]
struct Connection {
    kit: Option<Kit>,
    /// Requests that are not answered in full.
    owed: u32,
    /// Bytes of the answer's body that have been sent; for sendfile, of head and body.
    sent: usize,
    /// Bytes that the step under way is for.
    wanted: usize,
    /// No more will be received.
    over: bool,
}

/// All state of the ring's thread, except the ring.
#[derive(Debug)]
pub(crate) struct Server {
    answer: &'static Answer,
    listener: RawFd,
    connections: Vec<Connection>,
    buffers: Buffers,
    /// For sendfile: what is sent, on this thread or beside it.
    source: Option<Source>,
    helper: Option<Helper>,
    /// Where the helper's counter is read to.
    count: Cell,
    /// It has been told what zero copy came to.
    told: bool,
}

/// The receive buffers, as the floor has them.
pub(crate) fn buffers(ring: &IoUring) -> io::Result<Buffers> {
    Buffers::register(ring, &Shape { count: 256, buffer_bytes: 4096, stride: 4160, huge_pages: false })
}

impl Server {
    pub(crate) fn new(
        answer: &'static Answer,
        listener: RawFd,
        buffers: Buffers,
        out: &mut Submissions<'_>,
    ) -> io::Result<Self> {
        let source = || -> io::Result<_> {
            Ok(Source { head: answer.head, file: answer.file.try_clone()?, bytes: answer.bytes })
        };
        let helper = if answer.way == Way::Sendfile { Some(Helper::start(source()?)?) } else { None };
        if answer.way == Way::SendZcFixed {
            out.register(answer.joined)?;
        }
        let source = if answer.way == Way::SendfileInline { Some(source()?) } else { None };
        let (connections, count, told) = (Vec::new(), Cell::new(8), false);
        Ok(Self { answer, listener, connections, buffers, source, helper, count, told })
    }

    /// Serves until the ring or the listener fails.
    pub(crate) fn run(
        mut self,
        mut completions: CompletionQueue<'_>,
        out: &mut Submissions<'_>,
    ) -> io::Result<Infallible> {
        out.accept(self.listener, Tag::new(op::ACCEPT, 0, 0))?;
        self.watch_helper(out)?;
        loop {
            out.wait()?;
            completions.sync();
            for completion in &mut completions {
                let (op, _, slot) = Tag(completion.user_data()).fields();
                let result = completion.result();
                match op {
                    op::RECV => self.received(slot, &completion, out)?,
                    op::SENT if cqueue::notif(completion.flags()) => self.notified(result),
                    op::SENT => self.sent(slot, result, out)?,
                    op::FETCHED => self.fetched(slot, result, out)?,
                    op::ROOM => self.step(slot, out)?,
                    op::HELPED => self.helped(out)?,
                    op::HEAD => host::shutdown(slot, Shutdown::Both),
                    op::ACCEPT => self.accepted(&completion, out)?,
                    _ => debug_assert!(op == op::FAREWELL || op == op::AHEAD),
                }
            }
            completions.sync();
            self.buffers.give_back();
        }
    }

    fn accepted(&mut self, completion: &cqueue::Entry, out: &mut Submissions<'_>) -> io::Result<()> {
        let result = completion.result();
        if let Ok(slot) = u32::try_from(result) {
            let index = slot as usize;
            if index >= self.connections.len() {
                self.connections.resize_with(index + 1, Connection::default);
            }
            let kit = self.connections[index].kit.take();
            self.connections[index] = Connection { kit, ..Connection::default() };
            // sendfile(2) has no flag for it. The ring's operations wait for such sockets as for any other.
            if matches!(self.answer.way, Way::Sendfile | Way::SendfileInline) {
                host::never_wait(slot)?;
            }
            out.receive(slot, Tag::new(op::RECV, 0, slot))?;
        } else if result != -libc::ECONNABORTED {
            return Err(io::Error::from_raw_os_error(-result));
        }
        if cqueue::more(completion.flags()) { Ok(()) } else { out.accept(self.listener, Tag::new(op::ACCEPT, 0, 0)) }
    }

    fn received(&mut self, slot: u32, completion: &cqueue::Entry, out: &mut Submissions<'_>) -> io::Result<()> {
        let flags = completion.flags();
        let len = usize::try_from(completion.result()).unwrap_or(0);
        let mut is_request = false;
        if let Some(bid) = cqueue::buffer_select(flags) {
            self.buffers.take(bid);
            is_request = self.buffers.bytes(bid, len).ends_with(b"\r\n\r\n");
        }
        let connection = &mut self.connections[slot as usize];
        if !cqueue::more(flags) {
            if len != 0 || completion.result() == -libc::ENOBUFS {
                out.receive(slot, Tag::new(op::RECV, 0, slot))?;
            } else {
                connection.over = true;
            }
        }
        let was_idle = connection.owed == 0;
        connection.owed += u32::from(is_request);
        if !was_idle {
            Ok(())
        } else if is_request {
            self.begin(slot, out)
        } else {
            self.rest(slot, out)
        }
    }

    /// Begins an answer.
    fn begin(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        self.connections[slot as usize].sent = 0;
        self.step(slot, out)
    }

    /// Queues what comes next of an answer that is not sent in full.
    fn step(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let answer = self.answer;
        let connection = &mut self.connections[slot as usize];
        let (at, tag) = (connection.sent, Tag::new(op::SENT, 0, slot));
        connection.wanted = answer.piece.min(answer.bytes.saturating_sub(at));
        let head = if at == 0 { answer.head.len() } else { 0 };
        match answer.way {
            Way::Memory | Way::Mapped => {
                let piece = connection.wanted;
                connection.wanted += head;
                if at == 0 {
                    return out.send_message(slot, answer.first, tag);
                }
                out.send(slot, &answer.body[at..at + piece], Send::Whole, tag)
            }
            Way::Copy => {
                let cell = connection.kit(answer)?.cell;
                cell.fill(head, answer.body);
                connection.wanted += head;
                out.send_cell(slot, cell, connection.wanted, tag)
            }
            Way::SendZc => {
                connection.wanted += head;
                out.send_message_zero_copy(slot, answer.first, tag)
            }
            Way::SendZcFixed => {
                connection.wanted += head;
                out.send_registered(slot, answer.joined, tag)
            }
            Way::ReadSend | Way::ReadAsync => {
                let (wanted, file) = (connection.wanted, answer.file.as_raw_fd());
                let cell = connection.kit(answer)?.cell;
                let fetched = Tag::new(op::FETCHED, 0, slot);
                if answer.way == Way::ReadAsync {
                    return out.read_elsewhere(file, at as u64, cell, wanted, fetched);
                }
                out.read(file, at as u64, cell, wanted, fetched)
            }
            Way::ReadLinked => {
                let piece = connection.wanted;
                connection.wanted += head;
                let (cell, first) = connection.kit(answer).map(|kit| (kit.cell, kit.first))?;
                let file = answer.file.as_raw_fd();
                out.read_ahead(file, at as u64, cell, piece, Tag::new(op::AHEAD, 0, slot))?;
                if at == 0 { out.send_message(slot, first, tag) } else { out.send_cell(slot, cell, piece, tag) }
            }
            Way::Splice => {
                let wanted = u32::try_from(connection.wanted).map_err(io::Error::other)?;
                let to = connection.kit(answer)?.pipe_end(1);
                if at == 0 {
                    out.send_head(slot, answer.head, Tag::new(op::HEAD, 0, slot))?;
                }
                let ends = [answer.file.as_raw_fd(), to];
                out.splice(ends, Some(at as u64), wanted, false, Tag::new(op::FETCHED, 0, slot))
            }
            Way::Sendfile => {
                self.helper.as_ref().expect("the way has a helper").ask(Job { socket: slot, sent: at });
                Ok(())
            }
            Way::SendfileInline => {
                let result = self.source.as_ref().expect("the way has a source").send(Job { socket: slot, sent: at });
                self.pushed(slot, result, out)
            }
        }
    }

    /// A piece is in the cell or in the pipe, if all of it is: a file that became shorter is a failure.
    fn fetched(&mut self, slot: u32, result: i32, out: &mut Submissions<'_>) -> io::Result<()> {
        let answer = self.answer;
        let connection = &mut self.connections[slot as usize];
        let fetched = usize::try_from(result).unwrap_or(0);
        if fetched == 0 || (answer.way.reads() && fetched != connection.wanted) {
            return self.fail(slot, out);
        }
        let (at, tag) = (connection.sent, Tag::new(op::SENT, 0, slot));
        connection.wanted = fetched;
        if answer.way == Way::Splice {
            return self.drain_pipe(slot, fetched, out);
        }
        let (cell, first) = connection.kit(answer).map(|kit| (kit.cell, kit.first))?;
        if at == 0 {
            connection.wanted += answer.head.len();
            return out.send_message(slot, first, tag);
        }
        out.send_cell(slot, cell, fetched, tag)
    }

    fn drain_pipe(&mut self, slot: u32, len: usize, out: &mut Submissions<'_>) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        let more = connection.sent + len < self.answer.bytes;
        let from = connection.kit(self.answer)?.pipe_end(0);
        let len = u32::try_from(len).map_err(io::Error::other)?;
        let socket = RawFd::try_from(slot).map_err(io::Error::other)?;
        out.splice([from, socket], None, len, more, Tag::new(op::SENT, 0, slot))
    }

    /// A piece was sent: the next one, or the next answer.
    fn sent(&mut self, slot: u32, result: i32, out: &mut Submissions<'_>) -> io::Result<()> {
        let answer = self.answer;
        let connection = &mut self.connections[slot as usize];
        let sent = usize::try_from(result).unwrap_or(0);
        // Of a piece only a splice sends a part; all else asks for the whole.
        if sent == 0 || (sent != connection.wanted && answer.way != Way::Splice) {
            return self.fail(slot, out);
        }
        let has_head = connection.sent == 0 && answer.way != Way::Splice;
        connection.sent += sent - if has_head { answer.head.len() } else { 0 };
        connection.wanted = connection.wanted.saturating_sub(sent);
        if answer.way == Way::Splice && connection.wanted > 0 {
            let left = connection.wanted;
            return self.drain_pipe(slot, left, out);
        }
        let is_whole = connection.sent == answer.bytes;
        if is_whole { self.end(slot, out) } else { self.step(slot, out) }
    }

    /// sendfile(2) sent what there was room for.
    fn pushed(&mut self, slot: u32, result: io::Result<usize>, out: &mut Submissions<'_>) -> io::Result<()> {
        let Ok(sent) = result else { return self.fail(slot, out) };
        self.connections[slot as usize].sent = sent;
        if sent == self.answer.head.len() + self.answer.bytes {
            return self.end(slot, out);
        }
        out.room(slot, Tag::new(op::ROOM, 0, slot))
    }

    fn helped(&mut self, out: &mut Submissions<'_>) -> io::Result<()> {
        while let Some((job, result)) = self.helper.as_ref().and_then(Helper::ended) {
            self.pushed(job.socket, result, out)?;
        }
        self.watch_helper(out)
    }

    fn watch_helper(&mut self, out: &mut Submissions<'_>) -> io::Result<()> {
        let Some(helper) = &self.helper else { return Ok(()) };
        out.read(helper.counter(), WHERE_IT_STANDS, self.count, 8, Tag::new(op::HELPED, 0, 0))
    }

    /// Zero copy's second completion; the memory is never freed, so only the first one has news.
    fn notified(&mut self, result: i32) {
        if !self.told {
            self.told = true;
            eprintln!("ways: zero copy: the kernel {}", if result == WAS_COPIED { "copied" } else { "did not copy" });
        }
    }

    /// An answer was sent in full.
    fn end(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        connection.owed -= 1;
        if connection.owed > 0 { self.begin(slot, out) } else { self.rest(slot, out) }
    }

    /// Nothing is owed: closes what is over.
    fn rest(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let connection = &self.connections[slot as usize];
        if connection.over { out.close(slot, Tag::new(op::FAREWELL, 0, slot)) } else { Ok(()) }
    }

    /// The peer went away, or the file cannot be read.
    fn fail(&mut self, slot: u32, out: &mut Submissions<'_>) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        connection.owed = 0;
        // Its pipe may hold bytes that belong to nobody.
        connection.kit = None;
        host::shutdown(slot, Shutdown::Both);
        self.rest(slot, out)
    }
}

impl Connection {
    fn kit(&mut self, answer: &Answer) -> io::Result<&Kit> {
        if self.kit.is_none() {
            self.kit = Some(Kit::new(answer)?);
        }
        Ok(self.kit.as_ref().expect("made above"))
    }
}

impl Kit {
    fn new(answer: &Answer) -> io::Result<Self> {
        let bytes = match answer.way {
            way if way.reads() => answer.piece,
            Way::Copy => answer.head.len() + answer.bytes,
            _ => 0,
        };
        let cell = Cell::new(bytes);
        if answer.way == Way::Copy {
            cell.fill(0, answer.head);
        }
        let first = Message::of_cell(answer.head, cell, answer.piece.min(bytes));
        let pipe = if answer.way == Way::Splice { Some(host::pipe(answer.piece)?) } else { None };
        Ok(Self { cell, first, pipe })
    }

    fn pipe_end(&self, end: usize) -> RawFd {
        self.pipe.as_ref().map_or(-1, |ends| ends[end].as_raw_fd())
    }
}
