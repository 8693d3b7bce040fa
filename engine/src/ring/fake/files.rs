//! Reads of files under way: real files, read when the read completes, with faults drawn from the seed.

use std::os::fd::RawFd;

use super::{Fake, count};
use crate::mem::Landing;
use crate::ring::Token;

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
        let sends = self.links.iter().filter_map(|link| link.sending.as_ref());
        let lent = |part: &crate::mem::Lent| {
            let begin = part.address.addr().get();
            begin < start + len && start < begin + part.len as usize
        };
        assert!(!sends.flat_map(|sending| &sending.pieces).any(lent), "a read into a cell that is being sent");
        // SAFETY: the cell was lent for this read, which has not ended: it is the fake's. What it held must not matter.
        unsafe { reading.into.address.write_bytes(b'#', len) };
        self.reads.push(reading);
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
            if reading.cancelled {
                self.finish(reading.token, -libc::ECANCELED, false, None);
                continue;
            }
            if self.faults.reads_hang || !all && self.random.chance(self.faults.read_late) {
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

fn read(reading: &Reading, len: usize) -> i32 {
    let offset = i64::try_from(reading.offset).expect("files are shorter");
    let place = reading.into.address.as_ptr().cast();
    // SAFETY: the cell was lent for this read, `len` is at most its length, and nobody else uses it until the read has
    // ended, which this is.
    let got = unsafe { libc::pread(reading.file, place, len, offset) };
    assert!(got >= 0, "the file is open: {}", std::io::Error::last_os_error());
    count(usize::try_from(got).expect("not negative"))
}
