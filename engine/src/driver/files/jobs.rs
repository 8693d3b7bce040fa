//! What a helper has to do, and in which order: a turn of each job in turn.
//!
//! Invariants: no number of long jobs holds a short one up for longer than a turn, and no number of short ones a long
//! one for longer than a few jobs.
//!
//! Not here: the thread, its orders and its reports (`files`).

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::driver::{FilePart, Token, net};
use crate::mem::{Arena, Landing};

/// Bytes of a file that are sent before the next job has its turn.
const TURN_BYTES: u32 = 1 << 20;
/// Bytes that are left of a job up to which it is short: sent in one turn, and before longer ones.
const SHORT_BYTES_MAX: u32 = 256 << 10;
/// Short jobs in a row while a long one waits.
const SHORT_IN_A_ROW: u32 = 8;

/// What a file is for.
pub(super) enum Work {
    /// So much of it is sent; the socket is lent meanwhile.
    Send {
        socket: RawFd,
        part: FilePart,
        sent: u32,
    },
    Read(Reading),
}

/// A read of a file.
pub(crate) struct Reading {
    source: Source,
    into: Landing,
    /// Where that is: it stays for as long as it may be written to.
    _arena: Arc<Arena>,
}

// SAFETY: a landing's address is that of a cell of the arena that is kept with it, which nobody else uses until the
// read has ended (`Landing`), whoever reads.
unsafe impl Send for Reading {}

/// What is read.
pub(crate) enum Source {
    /// A file that is kept open by whoever asks, from an offset on.
    At(RawFd, u64),
    /// What has no places, as a pipe, and has bytes.
    Next(OwnedFd),
}

impl Reading {
    /// Into a cell of an arena.
    pub(crate) fn new(source: Source, into: Landing, arena: &Arc<Arena>) -> Self {
        Self { source, into, _arena: Arc::clone(arena) }
    }

    /// Reads, and gives how much, 0 at the end, or the negated errno.
    fn read(&self) -> i32 {
        let read = match &self.source {
            Source::At(file, offset) => net::read_file(*file, Some(*offset), self.into),
            Source::Next(file) => net::read_file(file.as_raw_fd(), None, self.into),
        };
        read.map_or_else(|errno| -errno, |bytes| i32::try_from(bytes).unwrap_or(i32::MAX))
    }
}

/// What is under way of a file.
pub(super) struct Job {
    pub(super) token: Token,
    pub(super) work: Work,
}

impl Job {
    /// The socket that it was lent.
    pub(super) fn socket(&self) -> Option<RawFd> {
        if let Work::Send { socket, .. } = self.work { Some(socket) } else { None }
    }

    fn is_short(&self) -> bool {
        match &self.work {
            Work::Send { part, sent, .. } => part.len - sent <= SHORT_BYTES_MAX,
            Work::Read(_) => true,
        }
    }

    /// Goes on. What there is to report; `None` when only the turn is over.
    pub(super) fn turn(&mut self) -> Option<i32> {
        let (socket, part, sent) = match &mut self.work {
            Work::Read(reading) => return Some(reading.read()),
            Work::Send { socket, part, sent } => (*socket, part, sent),
        };
        let end = part.len.min(sent.saturating_add(TURN_BYTES));
        while *sent < end {
            let offset = part.offset.saturating_add(u64::from(*sent));
            match net::send_file(socket, &part.file, offset, end - *sent) {
                Ok(0) => return Some(result(*sent, 0)),
                Ok(bytes) => *sent += bytes,
                Err(libc::EINTR) => {}
                Err(errno) => return Some(result(*sent, -errno)),
            }
        }
        (*sent == part.len).then(|| result(*sent, 0))
    }
}

/// What was sent counts more than why there was no more.
fn result(sent: u32, otherwise: i32) -> i32 {
    match i32::try_from(sent) {
        Ok(0) => otherwise,
        Ok(sent) => sent,
        Err(_) => i32::MAX,
    }
}

/// The helper's jobs, each list in turn.
#[derive(Default)]
pub(super) struct Jobs {
    short: VecDeque<Job>,
    long: VecDeque<Job>,
    /// Short ones taken since the last long one.
    in_a_row: u32,
}

impl Jobs {
    /// Puts one behind its like.
    pub(super) fn put(&mut self, job: Job) {
        if job.is_short() { &mut self.short } else { &mut self.long }.push_back(job);
    }

    /// Takes the one whose turn it is.
    pub(super) fn next(&mut self) -> Option<Job> {
        if self.in_a_row >= SHORT_IN_A_ROW || self.short.is_empty() {
            self.in_a_row = 0;
            if let Some(job) = self.long.pop_front() {
                return Some(job);
            }
        }
        self.in_a_row += 1;
        self.short.pop_front()
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Job> {
        let from = |jobs: &mut VecDeque<Job>| {
            let place = jobs.iter().position(|job| job.token == token)?;
            jobs.remove(place)
        };
        from(&mut self.short).or_else(|| from(&mut self.long))
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        self.short.drain(..).chain(self.long.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Op;
    use std::fs::File;

    #[test]
    fn short_jobs_go_before_any_number_of_long_ones_which_go_on_all_the_same() {
        const LONG: u32 = 1000;
        let source = Arc::new(File::open("/dev/null").expect("it is there"));
        let mut jobs = Jobs::default();
        let token = |number| Token::new(Op::SendFile, 1, number);
        let partly = |number, len, sent| {
            let part = FilePart { file: Arc::clone(&source), offset: 0, len };
            Job { token: token(number), work: Work::Send { socket: -1, part, sent } }
        };
        let job = |number, len| partly(number, len, 0);
        (0..LONG).for_each(|number| jobs.put(job(number, 1 << 30)));
        (LONG..LONG + 20).for_each(|number| jobs.put(job(number, 40_000)));
        let taken: Vec<u32> = (0..24).filter_map(|_| jobs.next()).map(|job| job.token.slot()).collect();
        let expected: Vec<u32> = [
            &[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 0][..],
            &(1008..1016).collect::<Vec<_>>(),
            &[1, 1016, 1017, 1018, 1019, 2, 3],
        ]
        .concat();
        assert_eq!(taken, expected);
        // Of one that was long the rest is short.
        jobs.put(partly(7, 1 << 30, (1 << 30) - 1));
        assert_eq!(jobs.next().map(|job| job.token.slot()), Some(7));
        assert_eq!((jobs.remove(token(500)).is_some(), jobs.remove(token(500)).is_some()), (true, false));
        assert_eq!(jobs.drain().count(), LONG as usize - 5);
    }
}
