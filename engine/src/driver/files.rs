//! Files sent by a thread beside the driver's, which may wait for a disk: sendfile(2), in turns. For a driver without
//! reads of its own, files are read by it, too.
//!
//! ```text
//!   the driver's thread ──orders──▶ helper: a turn of each job in turn ──reports──▶ the driver's thread
//!                        unpark       short ones first, sendfile(2)   event counter
//! ```
//!
//! Invariants:
//! * The helper learns of what is ordered when the driver's turn begins, and not before.
//! * A socket that was handed over is lent like to the kernel: its number stays open until the job is reported. A
//!   cancelled job is reported, too, when its turn is over.
//! * The helper never waits for a socket, only for disks: sockets it is given do not wait (O_NONBLOCK).
//! * A helper told to stop with jobs left closes their sockets, since whoever gave them up no longer can: a number that
//!   it may still name must not come to name another socket.
//! * It reports first and lets go of the file then; files that no name leads to any more are closed by it as well, for
//!   freeing what they held on the disk takes time.
//!
//! Not here: whose turn it is (`jobs`), waiting for room in a socket (the driver's poll), and the ring's READ, on a
//! worker of the kernel's.
//! Source: sendfile(2).

mod jobs;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_queue::SegQueue;

use self::jobs::{Job, Jobs, Work};
pub(super) use self::jobs::{Reading, Source};
use super::{Event, FilePart, Token, net};
use crate::id::ShardId;

/// Bytes of the helper's stack, on which nothing but system calls is made.
const STACK_BYTES: usize = 256 * 1024;
/// How long a helper may take to end, which only a disk that does not answer makes use of; then it is left to itself.
const END_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the helper is told.
enum Order {
    Begin(Job),
    /// The end of a job is asked for.
    Cancel(Token),
    /// A file is to be closed.
    Close(File),
}

/// What became of a job.
struct Report {
    token: Token,
    /// That it was lent.
    socket: Option<RawFd>,
    result: i32,
}

/// The running helper, seen from the ring's side.
#[derive(Debug)]
struct Helper {
    thread: JoinHandle<()>,
    /// Disconnected when it has ended.
    ended: Receiver<()>,
}

/// What both threads know.
struct Shared {
    name: String,
    orders: SegQueue<Order>,
    reports: SegQueue<Report>,
    /// The ring's thread sleeps, or is about to: a report writes to the eventfd.
    ring_sleeps: AtomicBool,
    /// An event counter, never read: the ring's poll reports edges.
    notifier: File,
    stop: AtomicBool,
    /// Started with the first order. Never locked by the helper.
    helper: Mutex<Option<Helper>>,
}

impl Shared {
    /// Sees to it that the helper runs and looks for orders.
    fn wake(self: &Arc<Self>) -> io::Result<()> {
        let mut helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(helper) = helper.as_ref() {
            helper.thread.thread().unpark();
            return Ok(());
        }
        let (alive, ended) = mpsc::channel();
        let shared = Arc::clone(self);
        let run = move || {
            // The thread is nobody's to be interrupted, and a client that is gone is an error, not a signal.
            net::block_signals();
            shared.serve();
            drop(shared);
            drop::<mpsc::Sender<()>>(alive);
        };
        let thread = thread::Builder::new().name(self.name.clone()).stack_size(STACK_BYTES).spawn(run)?;
        *helper = Some(Helper { thread, ended });
        Ok(())
    }

    /// The helper's work.
    fn serve(&self) {
        let mut jobs = Jobs::default();
        loop {
            while let Some(order) = self.orders.pop() {
                self.take(order, &mut jobs);
            }
            if self.stop.load(Ordering::SeqCst) {
                jobs.drain().filter_map(|job| job.socket()).for_each(net::close);
                return;
            }
            match jobs.next() {
                None => thread::park(),
                Some(mut job) => match job.turn() {
                    Some(result) => self.report(&job, result),
                    None => jobs.put(job),
                },
            }
        }
    }

    fn take(&self, order: Order, jobs: &mut Jobs) {
        match order {
            Order::Begin(job) => jobs.put(job),
            Order::Close(file) => drop(file),
            Order::Cancel(token) => {
                // One that is not there has been reported.
                if let Some(job) = jobs.remove(token) {
                    self.report(&job, -libc::ECANCELED);
                }
            }
        }
    }

    fn report(&self, job: &Job, result: i32) {
        self.reports.push(Report { token: job.token, socket: job.socket(), result });
        // With the fence in `begin_sleep`: either the ring's thread sees the report, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.ring_sleeps.load(Ordering::Relaxed) && self.ring_sleeps.swap(false, Ordering::AcqRel) {
            // The only failure is a full counter, which still reads as rung.
            let _ = (&self.notifier).write(&1_u64.to_ne_bytes());
        }
    }

    /// Closes a file of which this was the last holder: here, unless that may take long.
    fn bury(self: &Arc<Self>, file: File) {
        let is_named = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        // Without a helper it stays an order, and is closed with the ring.
        if !is_named && !self.stop.load(Ordering::Relaxed) {
            self.orders.push(Order::Close(file));
            let _ = self.wake();
        }
    }
}

impl Drop for Shared {
    /// Both threads are done with it: what is left of jobs was given up.
    fn drop(&mut self) {
        while let Some(report) = self.reports.pop() {
            report.socket.into_iter().for_each(net::close);
        }
        while let Some(order) = self.orders.pop() {
            if let Order::Begin(job) = order {
                job.socket().into_iter().for_each(net::close);
            }
        }
    }
}

/// The ring's side of the helper. See the module's head.
pub(super) struct Files {
    shared: Arc<Shared>,
    /// Jobs not reported yet.
    out: u32,
    /// Orders of which the helper is not told yet.
    fresh: Vec<Order>,
    /// The ring polls the notifier.
    pub(super) watched: bool,
}

impl Files {
    /// Nothing is started before the first order.
    pub(super) fn new(id: ShardId) -> io::Result<Self> {
        let shared = Shared {
            // The kernel shows 15 bytes of it.
            name: format!("ringress-file-{}", id.0),
            orders: SegQueue::new(),
            reports: SegQueue::new(),
            ring_sleeps: AtomicBool::new(false),
            notifier: net::event_counter()?.into(),
            stop: AtomicBool::new(false),
            helper: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared), out: 0, fresh: Vec::new(), watched: false })
    }

    /// What becomes readable when a job is reported while the ring's thread sleeps.
    pub(super) fn notifier(&self) -> RawFd {
        self.shared.notifier.as_raw_fd()
    }

    /// Whether reports are to come.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.out > 0
    }

    pub(super) fn send(&mut self, socket: RawFd, token: Token, part: FilePart) {
        self.begin(Job { token, work: Work::Send { socket, part, sent: 0 } });
    }

    /// For a driver that has no other reads which wait for no disk.
    pub(super) fn read(&mut self, token: Token, reading: Reading) {
        self.begin(Job { token, work: Work::Read(reading) });
    }

    fn begin(&mut self, job: Job) {
        self.out += 1;
        self.fresh.push(Order::Begin(job));
    }

    pub(super) fn cancel(&mut self, target: Token) {
        self.fresh.push(Order::Cancel(target));
    }

    /// Hands over what was ordered.
    pub(super) fn submit(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        self.hand_over();
        if self.shared.wake().is_ok() {
            return;
        }
        // The host has no thread left: who asked has to do without.
        while let Some(order) = self.shared.orders.pop() {
            if let Order::Begin(job) = order {
                let (token, socket) = (job.token, job.socket());
                self.shared.reports.push(Report { token, socket, result: -libc::ENOSYS });
            }
        }
    }

    fn hand_over(&mut self) {
        self.fresh.drain(..).for_each(|order| self.shared.orders.push(order));
    }

    /// The ring's thread is about to sleep. `false`: there are reports.
    pub(super) fn begin_sleep(&self) -> bool {
        self.shared.ring_sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.shared.reports.is_empty()
    }

    /// The ring's thread is up: takes what was reported.
    pub(super) fn reap(&mut self, events: &mut Vec<Event>) {
        self.shared.ring_sleeps.store(false, Ordering::Relaxed);
        while let Some(Report { token, result, .. }) = self.shared.reports.pop() {
            self.out = self.out.saturating_sub(1);
            events.push(Event { token, result, more: false, buffer: None, more_at_hand: false });
        }
    }

    /// What closes files from the ring's thread on without holding that up.
    pub(super) fn file_closer(&self) -> Box<dyn Fn(File)> {
        let shared = Arc::clone(&self.shared);
        Box::new(move |file| shared.bury(file))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Sockets were lent with it.
        self.hand_over();
        self.shared.stop.store(true, Ordering::SeqCst);
        let helper = self.shared.helper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(helper) = helper else { return };
        helper.thread.thread().unpark();
        // Its end is a matter of one turn, unless a disk does not answer.
        let ended = helper.ended.recv_timeout(END_WAIT_MAX);
        // A channel parks the thread: a wake for its executor may have been taken for the helper's.
        thread::current().unpark();
        if ended == Err(RecvTimeoutError::Disconnected) {
            let _ = helper.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::driver::Op;

    fn token(number: u32) -> Token {
        Token::new(Op::SendFile, 1, number)
    }

    fn files() -> Files {
        Files::new(ShardId(0)).expect("a descriptor")
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let server = listener.accept().expect("connected").0;
        server.set_nonblocking(true).expect("a socket");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        (client, server)
    }

    /// A file without a name.
    fn file(bytes: &[u8]) -> Arc<File> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringress-files-{}-{number}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).expect("a new file");
        std::fs::remove_file(&path).expect("just made");
        file.write_all(bytes).expect("room");
        Arc::new(file)
    }

    fn part(file: &Arc<File>, offset: u64, len: u32) -> FilePart {
        FilePart { file: Arc::clone(file), offset, len }
    }

    #[test]
    fn the_helper_knows_of_no_order_before_it_is_submitted() {
        let mut files = files();
        let ((mut client, server), file) = (pair(), file(b"some bytes"));
        let lent = std::os::fd::IntoRawFd::into_raw_fd(server);
        for round in 0..2 {
            files.send(lent, token(1), part(&file, 0, 10));
            assert!(files.shared.orders.is_empty(), "{round}: a helper that is up would begin it");
            assert_eq!(reports(&mut files, 1), [(1, 10)]);
            client.read_exact(&mut [0; 10]).expect("sent");
        }
        // What was not submitted is closed with the rest.
        files.send(lent, token(1), part(&file, 0, 10));
        drop(files);
        assert_eq!(client.read(&mut [0; 1]).expect("it has ended"), 0);
    }

    /// Waits for so many reports.
    fn reports(files: &mut Files, count: usize) -> Vec<(u32, i32)> {
        files.submit();
        let mut events = Vec::new();
        let begun = std::time::Instant::now();
        while events.len() < count {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {count} reports", events.len());
            if files.begin_sleep() {
                thread::yield_now();
            }
            files.reap(&mut events);
        }
        events.iter().map(|event| (event.token.slot(), event.result)).collect()
    }

    #[test]
    fn the_end_leaves_wakes_to_the_executor_of_the_thread() {
        const WAIT_MAX: Duration = Duration::from_secs(20);
        for _ in 0..20 {
            let files = files();
            files.shared.wake().expect("a thread");
            thread::current().unpark();
            drop(files);
            let begun = std::time::Instant::now();
            thread::park_timeout(WAIT_MAX);
            assert!(begun.elapsed() < WAIT_MAX, "the thread was woken, and does not know of it");
        }
    }

    #[test]
    fn a_part_is_sent_and_a_full_socket_ends_it_early() {
        let (mut client, server) = pair();
        let mut files = files();
        let bytes: Vec<u8> = (0..32 << 20).map(|at: u32| at.to_le_bytes()[at as usize % 4]).collect();
        let source = file(&bytes);
        files.send(server.as_raw_fd(), token(1), part(&source, 5, 1000));
        assert_eq!(reports(&mut files, 1), [(1, 1000)]);
        let mut got = vec![0; 1000];
        client.read_exact(&mut got).expect("sent");
        assert!(got == bytes[5..1005]);
        files.send(server.as_raw_fd(), token(2), part(&source, 0, 32 << 20));
        let (_, sent) = reports(&mut files, 1)[0];
        let mut sent = usize::try_from(sent).expect("no error");
        assert!(sent > 0 && sent < bytes.len(), "{sent} bytes fit the socket");
        // The kernel may make room meanwhile: a part that was cut is not yet a full socket.
        let refused = (0..10_000).find_map(|_| {
            files.send(server.as_raw_fd(), token(3), part(&source, sent as u64, 100));
            let (_, result) = reports(&mut files, 1)[0];
            sent += usize::try_from(result).unwrap_or(0);
            (result < 0).then_some(result)
        });
        assert_eq!(refused, Some(-libc::EAGAIN));
        let mut got = vec![0; sent];
        client.read_exact(&mut got).expect("sent");
        assert!(got == bytes[..sent], "every byte in its place");
        assert!(!files.is_busy());
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let (client, server) = pair();
        let mut files = files();
        let short = file(b"short");
        files.send(server.as_raw_fd(), token(1), part(&short, 5, 100));
        files.send(server.as_raw_fd(), token(2), part(&short, 0, 100));
        assert_eq!(reports(&mut files, 2), [(1, 0), (2, 5)]);
        let (pipe, _writer) = std::io::pipe().expect("descriptors");
        let pipe = Arc::new(File::from(std::os::fd::OwnedFd::from(pipe)));
        files.send(server.as_raw_fd(), token(3), part(&pipe, 0, 100));
        assert_eq!(reports(&mut files, 1), [(3, -libc::ESPIPE)]);
        // No signal ends the process.
        server.shutdown(std::net::Shutdown::Both).expect("a connection");
        drop(client);
        files.send(server.as_raw_fd(), token(4), part(&short, 0, 5));
        assert!(matches!(reports(&mut files, 1)[..], [(4, error)] if error < 0));
    }

    #[test]
    fn a_cancelled_job_is_reported_once() {
        let (_client, server) = pair();
        let mut files = files();
        let source = file(&[7; 100]);
        files.send(server.as_raw_fd(), token(1), part(&source, 0, 100));
        files.cancel(token(1));
        let told = reports(&mut files, 1);
        assert!(told == [(1, 100)] || told == [(1, -libc::ECANCELED)], "{told:?}");
        files.cancel(token(1));
        files.send(server.as_raw_fd(), token(2), part(&source, 0, 1));
        assert_eq!(reports(&mut files, 1), [(2, 1)]);
    }

    #[test]
    fn a_helper_that_is_dropped_closes_what_was_left_and_deleted_files() {
        let (mut client, server) = pair();
        let mut files = files();
        let source = file(&[7; 100]);
        let file_closer = files.file_closer();
        let watch = Arc::downgrade(&source);
        file_closer(Arc::into_inner(source).expect("the only one"));
        assert!(watch.upgrade().is_none());
        let source = file(&vec![7; 64 << 20]);
        files.send(std::os::fd::IntoRawFd::into_raw_fd(server), token(1), part(&source, 0, 64 << 20));
        // The order stands before the stop.
        files.submit();
        let _ = files.shared.wake();
        files.shared.stop.store(true, Ordering::SeqCst);
        // Taken, cut or reported meanwhile: what is left goes with the last who knows of it.
        drop((files, file_closer));
        // What is cut may end by a reset.
        let seen = client.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert!(matches!(seen, Ok(_) | Err(io::ErrorKind::ConnectionReset)), "the client sees an end: {seen:?}");
    }
}
