//! Everything the floor asks of the kernel, each operation a safe call: the only memory an entry
//! can name is the block of answers, which lives for ever.

use std::io;
use std::os::fd::RawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed, SubmitArgs};
use io_uring::{EnterFlags, SubmissionQueue, Submitter, opcode};

use crate::answer;
use crate::buffers;
use crate::options::Options;

/// What a completion answers; the top byte of `user_data`.
pub(crate) mod op {
    pub(crate) const ACCEPT: u8 = 1;
    pub(crate) const RECV: u8 = 2;
    pub(crate) const SEND: u8 = 3;
    /// Close and shutdown: they post only failures, and a failure changes nothing.
    pub(crate) const FAREWELL: u8 = 4;
}

/// The meaning of a completion's `user_data`: operation in 8 bits, bytes to send in 24,
/// connection in 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    pub(crate) const fn new(op: u8, len: u32, slot: u32) -> Self {
        Self((op as u64) << 56 | (len as u64) << 32 | slot as u64)
    }

    #[expect(clippy::cast_possible_truncation, reason = "taking a field out of a packed word")]
    pub(crate) const fn fields(self) -> (u8, u32, u32) {
        ((self.0 >> 56) as u8, (self.0 >> 32) as u32 & 0xff_ffff, self.0 as u32)
    }
}

/// How a send ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    /// At once, in full or in part; posts a completion only if anything is left over.
    NowQuietly,
    /// At once, in full or in part; posts a completion.
    Now,
    /// In full, when the peer has room; posts a completion.
    Whole,
}

/// The submission side of the ring.
pub(crate) struct Submissions<'ring> {
    submitter: Submitter<'ring>,
    queue: SubmissionQueue<'ring>,
    block: &'static [u8],
    /// Connections are slots of the ring's own table instead of descriptors.
    direct: bool,
    no_iowait: bool,
    batch: usize,
    batch_us: u32,
}

impl<'ring> Submissions<'ring> {
    /// # Errors
    /// The kernel refuses a table for direct descriptors.
    pub(crate) fn new(
        mut submitter: Submitter<'ring>,
        queue: SubmissionQueue<'ring>,
        options: &Options,
    ) -> io::Result<Self> {
        const DIRECT_MAX: u32 = 16_384;
        if options.ring_fd {
            // A refusal (before 5.18) only costs the look-up it would have saved.
            let _ = submitter.register_ring_fd();
        }
        if options.direct {
            submitter.register_files_sparse(DIRECT_MAX)?;
        }
        Ok(Self {
            submitter,
            queue,
            block: answer::block(),
            direct: options.direct,
            no_iowait: options.no_iowait,
            batch: options.batch,
            batch_us: options.batch_us,
        })
    }

    /// Accepts until told otherwise (5.19).
    pub(crate) fn accept(&mut self, listener: RawFd) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(self.direct);
        self.push(accept.build(), Tag::new(op::ACCEPT, 0, 0))
    }

    /// Receives into the buffer ring until told otherwise (6.0).
    pub(crate) fn receive(&mut self, slot: u32) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(fd(slot), buffers::GROUP);
        self.push(receive.build().flags(self.table()), Tag::new(op::RECV, 0, slot))
    }

    /// Sends the last `len` bytes of the block.
    #[inline]
    pub(crate) fn send(&mut self, slot: u32, len: u32, how: Send) -> io::Result<()> {
        let bytes = &self.block[self.block.len() - len as usize..];
        // DONTWAIT: a full socket is an error now instead of a poll. WAITALL: a short send is an
        // error too, and only errors break the silence.
        let flags = match how {
            Send::NowQuietly | Send::Now => libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL,
            Send::Whole => libc::MSG_NOSIGNAL | libc::MSG_WAITALL,
        };
        let silence = if how == Send::NowQuietly { Flags::SKIP_SUCCESS } else { Flags::empty() };
        let send = opcode::Send::new(fd(slot), bytes.as_ptr(), len).flags(flags);
        self.push(send.build().flags(self.table() | silence), Tag::new(op::SEND, len, slot))
    }

    /// Ends both directions, so that the receive ends.
    pub(crate) fn shutdown(&mut self, slot: u32) -> io::Result<()> {
        let shutdown = opcode::Shutdown::new(fd(slot), libc::SHUT_RDWR).build();
        let entry = shutdown.flags(self.table() | Flags::SKIP_SUCCESS);
        self.push(entry, Tag::new(op::FAREWELL, 0, slot))
    }

    pub(crate) fn close(&mut self, slot: u32) -> io::Result<()> {
        let close =
            if self.direct { opcode::Close::new(Fixed(slot)).build() } else { opcode::Close::new(fd(slot)).build() };
        self.push(close.flags(Flags::SKIP_SUCCESS), Tag::new(op::FAREWELL, 0, slot))
    }

    /// Submits what is queued and waits for completions, in one call.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.queue.sync();
        let result = if self.batch_us != 0 {
            let args = SubmitArgs::new().min_wait_usec(self.batch_us);
            self.submitter.submit_with_args(self.batch, &args)
        } else if self.no_iowait {
            self.enter(self.queue.len(), 1, EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT)
        } else {
            self.submitter.submit_and_wait(self.batch)
        };
        self.queue.sync();
        passing(result)
    }

    /// Lets due completions be posted, without submitting or waiting.
    pub(crate) fn peek(&mut self) -> io::Result<()> {
        passing(self.enter(0, 0, EnterFlags::GETEVENTS))
    }

    /// Completions wait in the kernel because the queue is full.
    pub(crate) fn overflown(&self) -> bool {
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
    fn push(&mut self, entry: Entry, tag: Tag) -> io::Result<()> {
        if self.queue.is_full() {
            self.make_room()?;
        }
        let entry = entry.user_data(tag.0);
        // SAFETY: called only from the methods above, whose entries name no memory (receives
        // take registered buffers, which are never unmapped) or a part of `block`, which is
        // 'static and never written.
        unsafe { self.queue.push(&entry) }.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))
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
        if self.direct { Flags::FIXED_FILE } else { Flags::empty() }
    }
}

/// Slots come from the kernel as descriptors that are not negative.
fn fd(slot: u32) -> Fd {
    Fd(slot as RawFd)
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
