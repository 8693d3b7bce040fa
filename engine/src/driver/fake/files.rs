//! Reads and sends of files under way: real files, read when the operation completes, with faults drawn from the seed.
//!
//! Invariants: a socket has at most one part of a file under way, and no poll for room beside it; no two reads go into
//! one cell; a cell that is read into holds other bytes until the read ends, so that a test sees who looks too early.
//!
//! Not here: sending from memory (`link`), the calls that ask for reads (`calls`), and how often faults happen
//! (`seed`).

use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

use super::link::{FileJob, Multishot};
use super::{Entry, Fake, count};
use crate::driver::Token;
use crate::mem::Landing;

/// One read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) token: Token,
    pub(super) file: RawFd,
    pub(super) offset: u64,
    pub(super) into: Landing,
    pub(super) cancelled: bool,
}

impl Fake {
    /// Begins a read.
    pub(super) fn begin_read(&mut self, reading: Reading) {
        let (start, len) = (reading.into.address.addr().get(), reading.into.len as usize);
        assert!(len > 0, "a read of nothing");
        for other in &self.reads {
            let (begin, end) =
                (other.into.address.addr().get(), other.into.address.addr().get() + other.into.len as usize);
            assert!(start + len <= begin || end <= start, "two reads into one cell");
            assert!(other.token != reading.token, "two reads at a time for one connection");
        }
        // SAFETY: the cell was lent for this read, which has not ended: it is the fake's. What it held must not matter.
        unsafe { reading.into.address.write_bytes(b'#', len) };
        self.reads.push(reading);
    }

    /// Reads of files under way.
    pub(crate) fn reading(&self) -> usize {
        self.reads.len()
    }

    fn hangs(&self) -> bool {
        self.faults.reads_hang || self.faults.reads_stuck
    }

    /// Asks for the end of a read. `false`: there is none of this name.
    pub(super) fn cancel_read(&mut self, target: Token) -> bool {
        let found = self.reads.iter_mut().find(|reading| reading.token == target);
        found.is_some_and(|reading| {
            reading.cancelled = true;
            true
        })
    }

    /// Ends the reads that are not late.
    pub(super) fn progress_reads(&mut self, all: bool) {
        for reading in core::mem::take(&mut self.reads) {
            if reading.cancelled && !self.faults.reads_stuck {
                self.finish(reading.token, -libc::ECANCELED, false, None);
                continue;
            }
            if self.hangs() || !all && self.random.chance(self.faults.read_late) {
                self.reads.push(reading);
                continue;
            }
            let mut len = reading.into.len as usize;
            let result = if self.random.chance(self.faults.read_failed) {
                -libc::EIO
            } else {
                if self.random.chance(self.faults.read_short) {
                    len = 1 + self.random.below(len);
                }
                read(&reading, len)
            };
            self.finish(reading.token, result, false, None);
        }
    }
}

impl Fake {
    pub(super) fn begin_file(&mut self, socket: RawFd, job: FileJob) {
        let link = self.link(socket);
        assert!(link.job.is_none() && link.poll.is_none(), "a second part of a file on descriptor {socket}");
        link.job = Some(job);
    }

    pub(super) fn begin_await_room(&mut self, socket: RawFd, token: Token, lasting: bool) {
        let link = self.link(socket);
        assert!(link.job.is_none() && link.poll.is_none(), "descriptor {socket} is polled while it is sent to");
        link.poll = Some(Multishot { token, once: (!lasting).then_some(0), cancelled: false });
        link.poll_reported = 0;
    }

    /// Asks for the end of a part of a file. `false`: there is none of this name.
    pub(super) fn cancel_file(&mut self, target: Token) -> bool {
        let mut jobs = self.links.iter_mut().filter_map(|link| link.job.as_mut());
        let found = jobs.find(|job| job.token == target);
        found.is_some_and(|job| {
            job.cancelled = true;
            true
        })
    }

    /// Ends a part of a file that is not late.
    pub(super) fn progress_file(&mut self, client: usize, all: bool) {
        let Some(job) = self.links[client].job.take() else { return };
        if job.cancelled && !self.faults.reads_stuck && (all || !self.random.chance(self.faults.cancel_late)) {
            return self.finish(job.token, -libc::ECANCELED, false, None);
        }
        if self.hangs() || !all && self.random.chance(self.faults.read_late) {
            self.links[client].job = Some(job);
            return;
        }
        let result = self.send_file_now(client, &job);
        self.finish(job.token, result, false, None);
    }

    fn send_file_now(&mut self, client: usize, job: &FileJob) -> i32 {
        let link = &mut self.links[client];
        if let Some(errno) = link.send_error() {
            return -errno;
        }
        let room = link.room - link.outbound.len().min(link.room);
        if self.random.chance(self.faults.sendfile_missing) {
            return -libc::EINVAL;
        }
        if self.random.chance(self.faults.read_failed) {
            return -libc::EIO;
        }
        if room == 0 || self.random.chance(self.faults.send_refused) {
            return -libc::EAGAIN;
        }
        let mut len = room.min(job.part.len as usize);
        if self.random.chance(self.faults.send_cut) {
            len = 1 + self.random.below(len);
        }
        let mut bytes = vec![0; len];
        let got = job.part.file.read_at(&mut bytes, job.part.offset).expect("the file is open");
        self.links[client].outbound.extend(&bytes[..got]);
        self.links[client].sent += got as u64;
        count(got)
    }

    /// The helper ends with the shard: it closes the sockets of the parts that it still has.
    fn end_helper(&mut self) {
        for link in &mut self.links {
            let queued = self
                .queued
                .iter()
                .any(|entry| matches!(entry, Entry::SendFile { socket, .. } if Some(*socket) == link.descriptor));
            if (link.job.take().is_some() || queued)
                && let Some(descriptor) = link.descriptor.take()
            {
                link.closed = true;
                self.descriptors.remove(&descriptor);
            }
        }
    }

    /// Reports room in a socket.
    pub(super) fn progress_room(&mut self, client: usize, all: bool) {
        let link = &mut self.links[client];
        let (events, reported) = (link.writable(), link.poll_reported);
        let Some(Multishot { token, once, cancelled }) = link.poll.take() else { return };
        if events != reported {
            link.poll_reported = events;
            let more = once.is_none() && !self.random.chance(self.faults.more_lost);
            self.links[client].poll = more.then_some(Multishot { token, once, cancelled });
            self.finish(token, events, more, None);
        } else if cancelled && (all || !self.random.chance(self.faults.cancel_late)) {
            self.finish(token, -libc::ECANCELED, false, None);
        } else {
            self.links[client].poll = Some(Multishot { token, once, cancelled });
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.end_helper();
        self.left_open.set(Some(self.descriptors.len()));
    }
}

fn read(reading: &Reading, len: usize) -> i32 {
    let offset = i64::try_from(reading.offset).expect("files are shorter");
    let place = reading.into.address.as_ptr().cast();
    // SAFETY: the cell was lent for this read, `len` is at most its length, and nobody else uses it until the read has
    // ended, which this is.
    let got = unsafe { libc::pread(reading.file, place, len, offset) };
    assert!(got >= 0, "the file is open: {}", std::io::Error::last_os_error());
    count(usize::try_from(got).expect("not negative"))
}
