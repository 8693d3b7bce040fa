//! What only `bin/ways` asks of a ring: reads of files, answers of two parts, zero copy, splices, waiting for room.
//!
//! Invariants: memory that an entry names here is never freed; memory that the kernel writes is never lent as a
//! reference.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use io_uring::opcode;
use io_uring::squeue::Flags;
use io_uring::types::Fd;

use super::submit::{Submissions, Tag, fd};

/// Read where the file stands, as of pipes and event counters.
pub const WHERE_IT_STANDS: u64 = u64::MAX;
/// Of a notification that was asked for a report (6.2): the kernel had to copy after all.
pub const WAS_COPIED: i32 = i32::MIN;

const REPORT_USAGE: u16 = 1 << 3;
const WHOLE: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Memory that is filled and sent, and of which no reference exists; it lives for ever.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    start: *mut u8,
    bytes: usize,
}

impl Cell {
    /// Zeroed memory of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let memory = Box::into_raw(vec![0_u8; bytes].into_boxed_slice());
        Self { start: memory.cast(), bytes }
    }

    /// Copies `bytes` in, from `at` on. What the kernel sends from here meanwhile may be old or new.
    ///
    /// # Panics
    /// When they do not fit.
    #[inline]
    pub fn fill(self, at: usize, bytes: &[u8]) {
        assert!(at <= self.bytes && bytes.len() <= self.bytes - at, "what is copied fits the cell");
        // SAFETY: `at` is inside the memory or at its end, asserted above.
        let to = unsafe { self.start.add(at) };
        // SAFETY: the range is inside the memory, asserted above, which is never freed; no reference to it exists, so
        // `bytes` is elsewhere; a cell is not Send, so no other thread copies.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// The first `len` bytes as a part of a message.
    fn part(self, len: usize) -> libc::iovec {
        assert!(len <= self.bytes, "a part is no longer than its cell");
        libc::iovec { iov_base: self.start.cast(), iov_len: len }
    }
}

/// A head and what follows it, as one operation sends them; lives for ever.
#[derive(Clone, Copy)]
pub struct Message(&'static libc::msghdr);

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").finish_non_exhaustive()
    }
}

impl Message {
    /// Of bytes that never change.
    #[must_use]
    pub fn of_bytes(head: &'static [u8], body: &'static [u8]) -> Self {
        Self::new(head, part(body))
    }

    /// Of what the first `len` bytes of a cell are when it is sent.
    ///
    /// # Panics
    /// When the cell is shorter.
    #[must_use]
    pub fn of_cell(head: &'static [u8], cell: Cell, len: usize) -> Self {
        Self::new(head, cell.part(len))
    }

    fn new(head: &'static [u8], body: libc::iovec) -> Self {
        let parts = Box::leak(Box::new([part(head), body]));
        // SAFETY: a msghdr is made of integers and pointers, for which all zero bits are a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        Self(Box::leak(Box::new(header)))
    }
}

fn part(bytes: &'static [u8]) -> libc::iovec {
    // A send only reads, whatever the type says.
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// All of these fail only when the ring has failed and is of no more use.
impl Submissions<'_> {
    /// Reads `len` bytes of a file into the start of a cell.
    ///
    /// # Errors
    /// As above.
    ///
    /// # Panics
    /// When the cell is shorter.
    pub fn read(&mut self, file: RawFd, offset: u64, cell: Cell, len: usize, tag: Tag) -> io::Result<()> {
        let part = cell.part(len);
        let len = u32::try_from(len).map_err(io::Error::other)?;
        self.push(opcode::Read::new(Fd(file), part.iov_base.cast(), len).offset(offset).build(), tag)
    }

    /// As [`Submissions::read`], on a worker of the ring from the start: what blocks there holds nobody up.
    ///
    /// # Errors
    /// As above.
    ///
    /// # Panics
    /// When the cell is shorter.
    pub fn read_elsewhere(&mut self, file: RawFd, offset: u64, cell: Cell, len: usize, tag: Tag) -> io::Result<()> {
        let part = cell.part(len);
        let len = u32::try_from(len).map_err(io::Error::other)?;
        let read = opcode::Read::new(Fd(file), part.iov_base.cast(), len).offset(offset).build();
        self.push(read.flags(Flags::ASYNC), tag)
    }

    /// As [`Submissions::read`], and what is queued next goes ahead when all was read. Posts a completion only if it
    /// was not, and then the next one is cancelled.
    ///
    /// # Errors
    /// As above.
    ///
    /// # Panics
    /// When the cell is shorter.
    pub fn read_ahead(&mut self, file: RawFd, offset: u64, cell: Cell, len: usize, tag: Tag) -> io::Result<()> {
        let part = cell.part(len);
        let len = u32::try_from(len).map_err(io::Error::other)?;
        let read = opcode::Read::new(Fd(file), part.iov_base.cast(), len).offset(offset).build();
        self.make_room_for(2)?;
        self.push(read.flags(Flags::IO_LINK | Flags::SKIP_SUCCESS), tag)
    }

    /// Sends the first `len` bytes of a cell, in full when the peer has room.
    ///
    /// # Errors
    /// As above.
    ///
    /// # Panics
    /// When the cell is shorter.
    pub fn send_cell(&mut self, socket: u32, cell: Cell, len: usize, tag: Tag) -> io::Result<()> {
        let part = cell.part(len);
        let len = u32::try_from(len).map_err(io::Error::other)?;
        self.push(opcode::Send::new(fd(socket), part.iov_base.cast(), len).flags(WHOLE).build(), tag)
    }

    /// Sends a message in full, when the peer has room.
    ///
    /// # Errors
    /// As above.
    pub fn send_message(&mut self, socket: u32, message: Message, tag: Tag) -> io::Result<()> {
        let send = opcode::SendMsg::new(fd(socket), message.0).flags(WHOLE.cast_unsigned());
        self.push(send.build(), tag)
    }

    /// As [`Submissions::send_message`], without copying (6.1): posts a second completion when the memory is free.
    ///
    /// # Errors
    /// As above.
    pub fn send_message_zero_copy(&mut self, socket: u32, message: Message, tag: Tag) -> io::Result<()> {
        let send = opcode::SendMsgZc::new(fd(socket), message.0).flags(WHOLE.cast_unsigned());
        self.push(send.ioprio(REPORT_USAGE).build(), tag)
    }

    /// Makes bytes known to the ring, so that [`Submissions::send_registered`] need not look their pages up.
    ///
    /// # Errors
    /// The kernel refuses to pin so much memory.
    pub fn register(&mut self, bytes: &'static [u8]) -> io::Result<()> {
        // SAFETY: the bytes are there for ever, and the kernel is only asked to send from them.
        unsafe { self.submitter.register_buffers(&[part(bytes)]) }
    }

    /// Sends what was registered, without copying, in full: two completions, as above.
    ///
    /// # Errors
    /// As above.
    pub fn send_registered(&mut self, socket: u32, bytes: &'static [u8], tag: Tag) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let send = opcode::SendZc::new(fd(socket), bytes.as_ptr(), len).buf_index(Some(0));
        self.push(send.flags(WHOLE).zc_flags(REPORT_USAGE).build(), tag)
    }

    /// Sends a head of which the rest comes another way. Posts a completion only if it does not go at once and whole.
    ///
    /// # Errors
    /// As above.
    pub fn send_head(&mut self, socket: u32, head: &'static [u8], tag: Tag) -> io::Result<()> {
        let len = u32::try_from(head.len()).map_err(io::Error::other)?;
        let send = opcode::Send::new(fd(socket), head.as_ptr(), len);
        let send = send.flags(WHOLE | libc::MSG_DONTWAIT | libc::MSG_MORE).build();
        self.push(send.flags(Flags::SKIP_SUCCESS), tag)
    }

    /// Moves bytes from a file, at `offset` if there is one, or a pipe to a pipe or a socket. `more` will follow.
    ///
    /// # Errors
    /// As above.
    pub fn splice(&mut self, ends: [RawFd; 2], offset: Option<u64>, len: u32, more: bool, tag: Tag) -> io::Result<()> {
        const NO_OFFSET: i64 = -1;
        let offset = offset.map_or(Ok(NO_OFFSET), i64::try_from).map_err(io::Error::other)?;
        let flags = if more { libc::SPLICE_F_MORE } else { 0 };
        let splice = opcode::Splice::new(Fd(ends[0]), offset, Fd(ends[1]), NO_OFFSET, len);
        self.push(splice.flags(flags).build(), tag)
    }

    /// Posts a completion when a socket has room.
    ///
    /// # Errors
    /// As above.
    pub fn room(&mut self, socket: u32, tag: Tag) -> io::Result<()> {
        let events = u32::from(libc::POLLOUT.cast_unsigned());
        self.push(opcode::PollAdd::new(fd(socket), events).build(), tag)
    }
}
