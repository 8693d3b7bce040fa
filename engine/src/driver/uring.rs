//! [`Io`] by io_uring: one ring of submissions and completions, its rings of buffers, and one enter a turn.
//!
//! Invariants: a turn that succeeds has given the kernel everything queued and read the completion queue to its end;
//! the parts of a send are kept until the kernel has taken its entry; the kernel's ring closes before its memory goes.
//! The ring is of the thread that made it (SINGLE_ISSUER, DEFER_TASKRUN).
//!
//! Not here: making the ring (`setup`), sending files (`files`), and plain socket calls (`net`).
//!
//! **Silent sends.** MSG_DONTWAIT keeps a send from waiting for room (the kernel fails it with EAGAIN instead of arming
//! a poll), MSG_WAITALL makes one that falls short a failure, and IOSQE_CQE_SKIP_SUCCESS drops the completion of one
//! that does not fail. So when `io_uring_enter` has consumed the entry, the bytes are the kernel's no more, and either
//! all of them are in the socket's buffer or a completion in this very reaping says how many are. The completion queue
//! must be read to its end for that, overflow included; `turn` does. Measured: see PERF.md, "silent sends".
//!
//! Sources: `io_uring_setup(2)`, `io_uring_enter(2)`, `io_uring_multishot(7)`, `io_uring_provided_buffers(7)`.

mod buffers;
mod setup;
#[cfg(feature = "command")]
mod trial;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use self::buffers::BufferRing;
use self::setup::Ring;
#[cfg(feature = "command")]
pub use self::trial::{Piece, pieces};
use super::files::Files;
use super::{Event, FilePart, Io, Op, SEND_PARTS_MAX, SendMode, Token, Wait, listen, net};
use crate::error::{Error, Result};
use crate::id::ShardId;
use crate::mem::{Area, Arena, BufferId, Filled, Group, Landing, Lent, ReceiveBuffers, Spare};

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
/// Waiting must not look like waiting for a disk in the host's statistics (6.15).
const ENTER_NO_IOWAIT: u32 = 128;

/// The numbers of the groups of provided buffers.
const SMALL: u16 = Group::Small as u16;
const LARGE: u16 = Group::Large as u16;
const RESERVED: u16 = Group::Reserved as u16;
const RESERVED_SMALL: u16 = Group::ReservedSmall as u16;

/// Sends of several parts that one submission can carry.
const MESSAGES: usize = 64;

/// A wait of at least this long is not given a timer of its own, which the kernel would start and cancel with each
/// wait: one alarm of this length, set again when it has rung, ends it early enough, and the shard looks again.
const ALARM: Duration = Duration::from_secs(1);
/// The alarm's completion.
const ALARM_TOKEN: u64 = u64::MAX;
/// The completions of the poll of the helper's notifier.
const FILES_TOKEN: u64 = u64::MAX - 1;

/// What `io_uring_enter` takes under EXT_ARG (`struct io_uring_getevents_arg`).
#[repr(C)]
struct GetEvents {
    sigmask: u64,
    sigmask_len: u32,
    min_wait_usec: u32,
    timeout: u64,
}

struct Message {
    header: libc::msghdr,
    parts: [libc::iovec; SEND_PARTS_MAX],
}

/// See the module's head. The field order matters: the kernel's ring closes before what it points to goes.
pub(crate) struct Uring {
    ring: Ring,
    small: BufferRing,
    large: BufferRing,
    reserved: BufferRing,
    reserved_small: BufferRing,
    messages: Box<[Message]>,
    messages_used: usize,
    /// Entries written and not yet consumed by the kernel.
    queued: u32,
    enter_flags: u32,
    overflows: u64,
    /// An alarm is set: see [`ALARM`].
    alarm_set: bool,
    alarm: types::Timespec,
    /// Who sends files.
    files: Files,
    /// Completions reaped before the turn.
    early: Vec<Event>,
    /// What went wrong before the turn.
    failure: Option<io::Error>,
    /// Owns the receive buffers that the kernel writes to.
    arena: Arc<Arena>,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("queued", &self.queued).finish_non_exhaustive()
    }
}

impl Uring {
    /// Makes the ring of the current thread, which runs the shard `id`, over the receive buffers of `arena`.
    pub(crate) fn new(arena: Arc<Arena>, id: ShardId) -> Result<Self> {
        let group =
            |id, area, setting| setup::Group { id, count: u16::try_from(arena.count(area)).unwrap_or(0), setting };
        let of_bodies = |id| group(id, Area::Body, "body_buffers");
        let small = group(SMALL, Area::Receive, "receive_buffers");
        let count = ReceiveBuffers::small_reserve(u32::from(small.count));
        let kept_back = setup::Group { id: RESERVED_SMALL, count: u16::try_from(count).unwrap_or(0), ..small };
        let groups = [small, of_bodies(LARGE), of_bodies(RESERVED), kept_back];
        let ([small, large, reserved, reserved_small], ring) = setup::create(groups)?;
        let files = Files::new(id).map_err(|error| Error::io("cannot open an event counter (eventfd)", error))?;
        setup::check_features(&ring)?;
        let no_iowait = if ring.params().is_feature_no_iowait() { ENTER_NO_IOWAIT } else { 0 };
        let message = || Message {
            // SAFETY: a msghdr is pointers and lengths, for which zero is a valid value.
            header: unsafe { std::mem::zeroed() },
            parts: [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SEND_PARTS_MAX],
        };
        let messages = std::iter::repeat_with(message).take(MESSAGES).collect();
        let enter_flags = ENTER_GETEVENTS | ENTER_EXT_ARG | no_iowait;
        let mut uring = Self {
            ring,
            small,
            large,
            reserved,
            reserved_small,
            messages,
            messages_used: 0,
            queued: 0,
            enter_flags,
            overflows: 0,
            alarm_set: false,
            alarm: types::Timespec::from(ALARM),
            files,
            early: Vec::new(),
            failure: None,
            arena,
        };
        // A system call of its own, which may be refused though the ring could be made.
        uring.enter(Wait::No).map_err(setup::explain_enter)?;
        Ok(uring)
    }

    /// Queues an entry, submitting first if the queue is full.
    #[inline]
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: an entry's pointers are to lent bytes (`Lent`, `Landing`: kept by the shard until the operation
            // has ended), to `messages` (not reused before an enter has consumed the entry), or there are none.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                self.queued += 1;
                return;
            }
            if !self.make_room() {
                return;
            }
        }
    }

    /// Submits early. `false`: the ring has failed, and the turn will say so.
    #[cold]
    fn make_room(&mut self) -> bool {
        if self.failure.is_none() {
            self.failure = self.enter(Wait::No).err();
        }
        // Completions in the way would keep the kernel from taking more (EBUSY).
        let mut early = std::mem::take(&mut self.early);
        self.reap(&mut early);
        self.early = early;
        self.failure.is_none()
    }

    /// Submits everything and waits as told. Completions, if any, are in the queue afterwards.
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let timespec = match wait {
            Wait::AtMost(duration) if duration >= ALARM => {
                self.set_alarm();
                None
            }
            Wait::AtMost(duration) => Some(types::Timespec::from(duration)),
            _ => None,
        };
        let timeout = timespec.as_ref().map_or(0, |timespec| std::ptr::from_ref(timespec) as u64);
        let argument = GetEvents { sigmask: 0, sigmask_len: 8, min_wait_usec: 0, timeout };
        // A full queue has no room for an alarm: then this enter does not wait.
        let unalarmed = matches!(wait, Wait::AtMost(duration) if duration >= ALARM) && !self.alarm_set;
        let want = u32::from(wait != Wait::No && !unalarmed);
        // SAFETY: the argument, and the timespec it points to, live until the call returns; the entries queued keep
        // their promises by `push`.
        let entered = unsafe { self.ring.submitter().enter(self.queued, want, self.enter_flags, Some(&argument)) };
        match entered {
            Ok(consumed) => {
                self.queued -= u32::try_from(consumed).unwrap_or(0).min(self.queued);
                if self.queued == 0 {
                    self.messages_used = 0;
                }
                Ok(())
            }
            Err(error) => match error.raw_os_error() {
                // The time is up, a signal came, or (EBUSY, EAGAIN) completions must be reaped before more is taken:
                // all of them a turn that may have brought nothing.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Sets the alarm unless it is.
    fn set_alarm(&mut self) {
        if !self.alarm_set {
            let entry = opcode::Timeout::new(&raw const self.alarm).build().user_data(ALARM_TOKEN);
            // SAFETY: the timespec is a field that is never written, read by the kernel when it consumes the entry.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                self.alarm_set = true;
                self.queued += 1;
            }
        }
    }

    /// Before an enter with jobs out: the helper learns of new ones, and the ring of its notifier. Gives how to wait.
    #[cold]
    fn submit_files(&mut self, wait: Wait) -> Wait {
        self.files.submit();
        if !self.files.watched {
            self.files.watched = true;
            self.poll(self.files.notifier(), libc::POLLIN, true, FILES_TOKEN);
        }
        if wait != Wait::No && !self.files.begin_sleep() { Wait::No } else { wait }
    }

    fn poll(&mut self, descriptor: RawFd, events: i16, multi: bool, token: u64) {
        let entry = opcode::PollAdd::new(types::Fd(descriptor), u32::from(events.cast_unsigned())).multi(multi);
        self.push(&entry.build().user_data(token));
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        for entry in self.ring.completion() {
            if entry.user_data() >= FILES_TOKEN {
                match entry.user_data() {
                    ALARM_TOKEN => self.alarm_set = false,
                    _ => self.files.watched = cqueue::more(entry.flags()),
                }
                continue;
            }
            let flags = entry.flags();
            // SAFETY: the kernel names a buffer in the completion that gives it back, and has it only by `give_buffer`.
            let buffer = cqueue::buffer_select(flags).map(|buffer| unsafe { Filled::new(BufferId::new(buffer)) });
            events.push(Event {
                token: Token::from_bits(entry.user_data()),
                result: entry.result(),
                more: cqueue::more(flags),
                buffer,
                more_at_hand: cqueue::sock_nonempty(flags),
            });
        }
    }

    /// One send of several parts.
    fn send_parts(&mut self, socket: RawFd, token: Token, parts: &[Lent], mode: SendMode) {
        assert!(parts.len() <= SEND_PARTS_MAX, "a send has at most {SEND_PARTS_MAX} parts");
        while self.messages_used == MESSAGES {
            if !self.make_room() {
                return;
            }
        }
        let message = &mut self.messages[self.messages_used];
        self.messages_used += 1;
        for (place, part) in message.parts.iter_mut().zip(parts) {
            *place = libc::iovec { iov_base: part.address.as_ptr().cast(), iov_len: part.len as usize };
        }
        message.header.msg_iov = message.parts.as_mut_ptr();
        message.header.msg_iovlen = parts.len();
        let flags = message_flags(mode).cast_unsigned();
        let entry = opcode::SendMsg::new(types::Fd(socket), &raw const message.header).flags(flags).build();
        self.push(&finish_send(entry, token));
    }

    /// The slow end of a turn: entries not yet consumed, or completions that did not fit.
    #[cold]
    fn finish_turn(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        while self.queued > 0 || self.ring.submission().cq_overflow() {
            if self.ring.submission().cq_overflow() {
                self.overflows += 1;
            }
            self.enter(Wait::No)?;
            self.reap(events);
        }
        Ok(())
    }
}

fn message_flags(mode: SendMode) -> i32 {
    match mode {
        SendMode::Silent => libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT,
        SendMode::Ahead => libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_MORE,
    }
}

fn finish_send(entry: squeue::Entry, token: Token) -> squeue::Entry {
    entry.user_data(token.bits()).flags(squeue::Flags::SKIP_SUCCESS)
}

impl Io for Uring {
    fn listen(&mut self, socket: RawFd, backlog: Option<u32>) -> io::Result<()> {
        // An accept on a socket that does not wait would fail instead of waiting in the ring.
        net::let_wait(socket);
        backlog.map_or(Ok(()), |backlog| listen::start_listening(socket, backlog))
    }

    fn accept(&mut self, listener: RawFd, token: Token) {
        let entry =
            opcode::AcceptMulti::new(types::Fd(listener)).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build();
        self.push(&entry.user_data(token.bits()));
    }

    #[cold]
    fn accept_left(&mut self, listener: RawFd, token: Token) {
        // It is tried when it is submitted, for as long as somebody is there, and would wait only then.
        self.accept(listener, token);
        self.cancel(token);
    }

    fn receive(&mut self, socket: RawFd, token: Token) {
        let entry = opcode::RecvMulti::new(types::Fd(socket), SMALL).build();
        self.push(&entry.user_data(token.bits()));
    }

    fn receive_once(&mut self, socket: RawFd, token: Token, group: Group, len: u32) {
        let entry = opcode::Recv::new(types::Fd(socket), std::ptr::null_mut(), len).buf_group(group as u16).build();
        self.push(&entry.flags(squeue::Flags::BUFFER_SELECT).user_data(token.bits()));
    }

    fn receive_and_discard(&mut self, socket: RawFd, token: Token, len: u32) {
        let (into, len) = net::discarded(len);
        let entry = opcode::Recv::new(types::Fd(socket), into.cast(), len).flags(libc::MSG_TRUNC).build();
        self.push(&entry.user_data(token.bits()));
    }

    #[inline]
    fn send(&mut self, socket: RawFd, token: Token, parts: &[Lent], mode: SendMode) {
        match parts {
            [one] => {
                let send = opcode::Send::new(types::Fd(socket), one.address.as_ptr(), one.len);
                self.push(&finish_send(send.flags(message_flags(mode)).build(), token));
            }
            _ => self.send_parts(socket, token, parts, mode),
        }
    }

    fn read_file(&mut self, file: RawFd, offset: u64, into: Landing, token: Token) {
        let entry = opcode::Read::new(types::Fd(file), into.address.as_ptr(), into.len).offset(offset).build();
        // Even of cached pages: to know where they lie, the kernel may have to read the file's extents.
        self.push(&entry.flags(squeue::Flags::ASYNC).user_data(token.bits()));
    }

    fn send_file(&mut self, socket: RawFd, token: Token, part: FilePart) {
        self.files.send(socket, token, part);
    }

    fn await_room(&mut self, socket: RawFd, token: Token, lasting: bool) {
        // The kernel adds POLLRDHUP to every poll.
        self.poll(socket, libc::POLLOUT, lasting, token.bits());
    }

    fn file_closer(&self) -> Box<dyn Fn(File)> {
        self.files.file_closer()
    }

    fn watch(&mut self, descriptor: RawFd, token: Token) {
        self.poll(descriptor, libc::POLLIN, true, token.bits());
    }

    fn watch_end(&mut self, socket: RawFd, token: Token) {
        // POLLERR and POLLHUP are always reported. Multishot, since one shot would report the client's end of its side
        // again and again, asked for or not (`io_init_poll_iocb` adds EPOLLRDHUP).
        self.poll(socket, libc::POLLRDHUP, true, token.bits());
    }

    fn cancel(&mut self, target: Token) {
        if target.op() == Op::SendFile {
            return self.files.cancel(target);
        }
        let entry = opcode::AsyncCancel::new(target.bits()).build().user_data(Token::IGNORED.bits());
        self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS));
    }

    #[inline]
    fn give_buffer(&mut self, spare: Spare) {
        let (arena, buffer) = (&self.arena, spare.buffer());
        let place = arena.give(&spare);
        let ring = match spare.group() {
            Group::Small => &mut self.small,
            Group::Large => &mut self.large,
            Group::Reserved => &mut self.reserved,
            Group::ReservedSmall => &mut self.reserved_small,
        };
        ring.give(buffer, place.address.as_ptr() as u64, place.len);
    }

    #[inline]
    fn post_buffers(&mut self) {
        self.small.post();
        self.large.post();
        self.reserved.post();
        self.reserved_small.post();
    }

    fn recall_buffers(&mut self, group: Group, count: u32, token: Token) -> bool {
        // What has bytes for everybody, always, and is no file of a disk.
        let Ok(zeros) = File::open("/dev/zero") else { return false };
        let from = types::Fd(zeros.as_raw_fd());
        let read = opcode::Read::new(from, std::ptr::null_mut(), 1).buf_group(group as u16).build();
        for _ in 0..count {
            self.push(&read.clone().flags(squeue::Flags::BUFFER_SELECT).user_data(token.bits()));
        }
        // The descriptor is closed when the kernel has taken the last entry.
        while self.queued > 0 && self.make_room() {}
        true
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut wait = if self.early.is_empty() { wait } else { Wait::No };
        events.append(&mut self.early);
        let files = self.files.is_busy();
        if files {
            wait = self.submit_files(wait);
        }
        self.enter(wait)?;
        self.reap(events);
        if files {
            self.files.reap(events);
        }
        if self.queued > 0 || self.ring.submission().cq_overflow() {
            self.finish_turn(events)?;
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }

    fn release(&mut self, descriptor: RawFd) -> OwnedFd {
        let socket = net::release(descriptor);
        net::let_wait(descriptor);
        socket
    }

    fn explain(error: io::Error) -> Error {
        setup::explain_enter(error)
    }
}
