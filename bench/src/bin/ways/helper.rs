//! sendfile(2), on whatever thread: here, and on one beside the ring's that is told what to send.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ringress_bench::ring::host;

/// What of an answer has been sent, head and body counted together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) socket: u32,
    pub(crate) sent: usize,
}

/// What there is to send; one for all jobs.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) head: &'static [u8],
    pub(crate) file: File,
    pub(crate) bytes: usize,
}

impl Source {
    /// Sends until everything has gone or the socket, which must not wait, is full; what has been sent then.
    ///
    /// # Errors
    /// There is no peer any more, or the file cannot be read or has become shorter.
    pub(crate) fn send(&self, job: Job) -> io::Result<usize> {
        let mut sent = job.sent;
        while sent < self.head.len() + self.bytes {
            let step = match sent.checked_sub(self.head.len()) {
                None => host::send_and_more(job.socket, &self.head[sent..]),
                Some(at) => host::send_file(job.socket, &self.file, at as u64, self.bytes - at),
            };
            match step {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

/// The thread beside the ring's. It ends with the process.
#[derive(Debug)]
pub(crate) struct Helper {
    jobs: Sender<Job>,
    done: Receiver<(Job, io::Result<usize>)>,
    counter: RawFd,
}

impl Helper {
    /// Starts it, on the core of the calling thread.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub(crate) fn start(source: Source) -> io::Result<Self> {
        let (jobs, next) = mpsc::channel();
        let (results, done) = mpsc::channel();
        let counter = host::event_counter()?;
        let fd = counter.as_raw_fd();
        thread::Builder::new().name("sendfile".to_owned()).spawn(move || work(&source, &next, &results, counter))?;
        Ok(Self { jobs, done, counter: fd })
    }

    /// What becomes readable when a job has ended; open while the thread lives, which is as long as this.
    pub(crate) fn counter(&self) -> RawFd {
        self.counter
    }

    /// Hands a job over.
    pub(crate) fn ask(&self, job: Job) {
        self.jobs.send(job).expect("the helper ends after this");
    }

    /// A job that has ended, with what has been sent.
    pub(crate) fn ended(&self) -> Option<(Job, io::Result<usize>)> {
        self.done.try_recv().ok()
    }
}

fn work(source: &Source, jobs: &Receiver<Job>, results: &Sender<(Job, io::Result<usize>)>, counter: OwnedFd) {
    let mut counter = File::from(counter);
    for job in jobs {
        let result = source.send(job);
        let told = results.send((job, result)).is_ok();
        if !told || counter.write_all(&1_u64.to_ne_bytes()).is_err() {
            return;
        }
    }
}
