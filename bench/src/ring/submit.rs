//! Everything asked of a ring, each operation a safe call: the only memory an entry can name is a registered buffer or
//! bytes that live for ever.

use std::io;
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, SubmissionQueue, Submitter, opcode};

use super::buffers;

/// The meaning of a completion's `user_data`: operation in 8 bits, a number (bytes to send, say) in 24,
/// connection in 32.
#[derive(Clone, Copy, Debug)]
pub struct Tag(pub u64);

impl Tag {
    /// Packs the three; of the number 24 bits are kept.
    #[must_use]
    pub const fn new(op: u8, number: u32, slot: u32) -> Self {
        Self((op as u64) << 56 | (number as u64 & 0xff_ffff) << 32 | slot as u64)
    }

    /// What [`Tag::new`] was given.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "taking a field out of a packed word")]
    pub const fn fields(self) -> (u8, u32, u32) {
        ((self.0 >> 56) as u8, (self.0 >> 32) as u32 & 0xff_ffff, self.0 as u32)
    }
}

/// How a send ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// At once, in full or in part; posts a completion only if anything is left over.
    NowQuietly,
    /// At once, in full or in part; posts a completion.
    Now,
    /// In full, when the peer has room; posts a completion.
    Whole,
}

/// How a ring is used; the defaults are the cheapest found.
#[derive(Clone, Copy, Debug)]
pub struct Knobs {
    /// Connections are slots of the ring's own table instead of descriptors.
    pub direct: bool,
    /// Register the ring's own descriptor.
    pub ring_fd: bool,
    /// Do not count waiting as I/O wait.
    pub no_iowait: bool,
    /// Completions a wait asks for.
    pub batch: usize,
    /// Microseconds after which a wait is content with one completion; 0 is never.
    pub batch_us: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self { direct: false, ring_fd: true, no_iowait: false, batch: 1, batch_us: 0 }
    }
}

/// The submission side of the ring.
pub struct Submissions<'ring> {
    pub(super) submitter: Submitter<'ring>,
    queue: SubmissionQueue<'ring>,
    knobs: Knobs,
}

impl std::fmt::Debug for Submissions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submissions").field("knobs", &self.knobs).finish_non_exhaustive()
    }
}

impl<'ring> Submissions<'ring> {
    /// Takes the submission side over.
    ///
    /// # Errors
    /// The kernel refuses a table for direct descriptors.
    pub fn new(mut submitter: Submitter<'ring>, queue: SubmissionQueue<'ring>, knobs: Knobs) -> io::Result<Self> {
        const DIRECT_MAX: u32 = 16_384;
        if knobs.ring_fd {
            // A refusal (before 5.18) only costs the look-up it would have saved.
            let _ = submitter.register_ring_fd();
        }
        if knobs.direct {
            submitter.register_files_sparse(DIRECT_MAX)?;
        }
        Ok(Self { submitter, queue, knobs })
    }

    /// Accepts until told otherwise (5.19).
    ///
    /// # Errors
    /// Here and below: the ring has failed, and is of no more use.
    pub fn accept(&mut self, listener: RawFd, tag: Tag) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(self.knobs.direct);
        self.push(accept.build(), tag)
    }

    /// Connects a socket to an address made by [`super::lasting::socket_address`].
    ///
    /// # Errors
    /// As above.
    pub fn connect(&mut self, socket: u32, address: &'static [u8], tag: Tag) -> io::Result<()> {
        let len = libc::socklen_t::try_from(address.len()).map_err(io::Error::other)?;
        let connect = opcode::Connect::new(fd(socket), address.as_ptr().cast(), len).build();
        self.push(connect.flags(self.table()), tag)
    }

    /// Receives into the buffer ring until told otherwise (6.0).
    ///
    /// # Errors
    /// As above.
    pub fn receive(&mut self, socket: u32, tag: Tag) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(fd(socket), buffers::GROUP);
        self.push(receive.build().flags(self.table()), tag)
    }

    /// Sends bytes. The kernel sends less than 2 GiB at once, and says how much.
    ///
    /// # Errors
    /// As above.
    #[inline]
    pub fn send(&mut self, socket: u32, bytes: &'static [u8], how: Send, tag: Tag) -> io::Result<()> {
        // DONTWAIT: a full socket is an error now instead of a poll. WAITALL: a short send is an
        // error too, and only errors break the silence.
        let flags = match how {
            Send::NowQuietly | Send::Now => libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL,
            Send::Whole => libc::MSG_NOSIGNAL | libc::MSG_WAITALL,
        };
        let silence = if how == Send::NowQuietly { Flags::SKIP_SUCCESS } else { Flags::empty() };
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let send = opcode::Send::new(fd(socket), bytes.as_ptr(), len).flags(flags);
        self.push(send.build().flags(self.table() | silence), tag)
    }

    /// Ends one direction or both; with both, the receive ends. Posts a completion only on failure.
    ///
    /// The kernel does this later, on a thread of its own, to what then has the socket's number: one who closes
    /// sockets and opens new ones in the meantime takes [`super::host::shutdown`].
    ///
    /// # Errors
    /// As above.
    pub fn shutdown(&mut self, socket: u32, how: Shutdown, tag: Tag) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        let shutdown = opcode::Shutdown::new(fd(socket), how).build();
        self.push(shutdown.flags(self.table() | Flags::SKIP_SUCCESS), tag)
    }

    /// Closes a socket; nothing else may be under way on it. Posts a completion only on failure.
    ///
    /// # Errors
    /// As above.
    pub fn close(&mut self, socket: u32, tag: Tag) -> io::Result<()> {
        let close = match self.knobs.direct {
            true => opcode::Close::new(Fixed(socket)).build(),
            false => opcode::Close::new(fd(socket)).build(),
        };
        self.push(close.flags(Flags::SKIP_SUCCESS), tag)
    }

    /// Asks for the end of what was queued with the tag `target`. Posts a completion only on failure.
    ///
    /// # Errors
    /// As above.
    pub fn cancel(&mut self, target: Tag, tag: Tag) -> io::Result<()> {
        self.push(opcode::AsyncCancel::new(target.0).build().flags(Flags::SKIP_SUCCESS), tag)
    }

    /// Posts a completion after `delay`, so that a wait need not start a timer of its own.
    ///
    /// # Errors
    /// As above.
    pub fn alarm(&mut self, delay: &'static Timespec, tag: Tag) -> io::Result<()> {
        self.push(opcode::Timeout::new(std::ptr::from_ref(delay)).build(), tag)
    }

    /// Submits what is queued and waits for completions, in one call.
    ///
    /// # Errors
    /// As above.
    pub fn wait(&mut self) -> io::Result<()> {
        self.queue.sync();
        let result = if self.knobs.batch_us != 0 {
            let args = SubmitArgs::new().min_wait_usec(self.knobs.batch_us);
            self.submitter.submit_with_args(self.knobs.batch, &args)
        } else if self.knobs.no_iowait {
            self.enter(self.queue.len(), 1, EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT)
        } else {
            self.submitter.submit_and_wait(self.knobs.batch)
        };
        self.queue.sync();
        passing(result)
    }

    /// Submits what is queued and waits for a completion, but no longer than told.
    ///
    /// # Errors
    /// As above.
    pub fn wait_at_most(&mut self, longest: Duration) -> io::Result<()> {
        self.queue.sync();
        let longest = Timespec::from(longest);
        let result = self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&longest));
        self.queue.sync();
        passing(result)
    }

    /// Submits what is queued and lets due completions be posted, without waiting.
    ///
    /// # Errors
    /// As above.
    pub fn poll(&mut self) -> io::Result<()> {
        self.queue.sync();
        let result = self.enter(self.queue.len(), 0, EnterFlags::GETEVENTS);
        self.queue.sync();
        passing(result)
    }

    /// Lets due completions be posted, without submitting or waiting.
    ///
    /// # Errors
    /// As above.
    pub fn peek(&mut self) -> io::Result<()> {
        passing(self.enter(0, 0, EnterFlags::GETEVENTS))
    }

    /// Completions wait in the kernel because the queue is full.
    #[must_use]
    pub fn overflown(&self) -> bool {
        self.queue.cq_overflow()
    }

    fn enter(&self, submit: usize, want: u32, flags: EnterFlags) -> io::Result<usize> {
        let submit = u32::try_from(submit).expect("the queue's length is a u32");
        // SAFETY: no argument structure is passed, and the numbers name no memory. The entries
        // it may submit were vetted by `push`.
        unsafe { self.submitter.enter::<libc::sigset_t>(submit, want, flags.bits(), None) }
    }

    /// Queues an entry, submitting the queue first if it is full.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry, tag: Tag) -> io::Result<()> {
        if self.queue.is_full() {
            self.make_room()?;
        }
        let entry = entry.user_data(tag.0);
        // SAFETY: called only from the methods above, whose entries name no memory (receives take registered
        // buffers, whose mapping outlives them: see `Buffers`) or bytes that are 'static and never written; and from
        // those of `files`, whose entries name such bytes or cells, which are never freed and never lent.
        unsafe { self.queue.push(&entry) }.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))
    }

    /// Submits the queue unless so many entries fit: a link does not reach from one submission to the next.
    pub(super) fn make_room_for(&mut self, entries: usize) -> io::Result<()> {
        if self.queue.capacity() - self.queue.len() < entries { self.make_room() } else { Ok(()) }
    }

    #[cold]
    fn make_room(&mut self) -> io::Result<()> {
        self.queue.sync();
        let result = self.submitter.submit();
        self.queue.sync();
        passing(result)
    }

    #[inline]
    fn table(&self) -> Flags {
        if self.knobs.direct { Flags::FIXED_FILE } else { Flags::empty() }
    }
}

/// Sockets come from the kernel as descriptors that are not negative.
pub(super) fn fd(socket: u32) -> Fd {
    Fd(socket as RawFd)
}

/// Interrupted and busy are not failures: the next turn tries again.
fn passing(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::EBUSY | libc::ETIME) => Ok(()),
            _ => Err(error),
        },
    }
}
