//! The one thread that makes lines of notes and writes them to files.
//!
//! Invariants: whatever disks do, nobody but this thread waits for them; what could not be written is counted. A log is
//! known here before a shard notes anything for it, and for a while after: requests that are under way then have their
//! lines. Commands are done in their order, before the notes that come after them.
//!
//! Not here: files (`file`), lines (`line`), and whose logs there are (room `session`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use super::block::{BLOCKS, Block, LogEnds, Message};
use super::calendar::Moment;
use super::file::{LogFile, Written};
use super::line;
use super::note::{self, Noted};
use super::record::{LogRecord, RequestText};
use super::settings::Logging;
use crate::clock;
use crate::error::{Error, Result};

/// Logs that are closed and still known, for the lines of requests that were under way: the oldest is forgotten first.
const CLOSED_MAX: usize = 64;
/// Messages that there is room for besides blocks.
const LOOKS: usize = 1;

/// What the writer is told.
#[derive(Debug)]
enum Command {
    Open(u32, Box<Logging>),
    Close(u32),
    /// Each log's next line goes into a new file.
    Rotate,
    /// Nothing more comes.
    End,
}

/// What the writer and those who tell it share.
#[derive(Debug, Default)]
struct Shared {
    commands: Mutex<Commands>,
    done: Condvar,
    /// A message is on its way that has the writer look: one at most, so that there is always room for blocks.
    is_called: AtomicBool,
    lines: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Commands {
    waiting: VecDeque<Command>,
    /// How many were given, and how many of these are done.
    given: u64,
    done: u64,
    has_ended: bool,
}

impl Shared {
    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has the writer: it ends with this.
#[derive(Debug)]
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    ends: Arc<LogEnds>,
}

impl LogWriter {
    /// Starts the writer for so many shards.
    ///
    /// # Errors
    /// When the thread is refused.
    pub(crate) fn start(shards: usize) -> Result<Self> {
        let (sender, receiver) = sync_channel(shards * BLOCKS + LOOKS);
        let (ends, back) = LogEnds::new(shards, &sender);
        let shared = Arc::<Shared>::default();
        let writer = Writer { shared: Arc::clone(&shared), back, logs: BTreeMap::new(), closed: VecDeque::new() };
        let thread = thread::Builder::new().name("ringress-log".into()).spawn(move || writer.run(&receiver));
        thread.map_err(|error| Error::io("cannot start the thread that writes logs", error))?;
        Ok(Self { shared, sender, ends: Arc::new(ends) })
    }

    /// The ends that shards take.
    pub(crate) fn ends(&self) -> &Arc<LogEnds> {
        &self.ends
    }

    /// A log is there from now on.
    pub(crate) fn open(&self, id: u32, logging: Logging) {
        self.tell(Command::Open(id, Box::new(logging)));
    }

    /// A log is no more: shards note nothing for it but what is under way.
    pub(crate) fn close(&self, id: u32) {
        self.tell(Command::Close(id));
    }

    /// Has the next line of each log go into a new file. See [`await_done`](Self::await_done).
    pub(crate) fn rotate(&self) -> u64 {
        self.tell(Command::Rotate)
    }

    fn tell(&self, command: Command) -> u64 {
        let mut commands = self.shared.commands();
        commands.waiting.push_back(command);
        commands.given += 1;
        let number = commands.given;
        drop(commands);
        if !self.shared.is_called.swap(true, Ordering::SeqCst) {
            // There is room for this one. Without a writer, nobody looks any more.
            let _ = self.sender.try_send(Message::Look);
        }
        number
    }

    /// Waits until the writer has done what it was told. `false`: not in time.
    pub(crate) fn await_done(&self, number: u64, timeout: Duration) -> bool {
        let shared = &self.shared;
        let is_waiting = |commands: &mut Commands| commands.done < number && !commands.has_ended;
        let waited = shared.done.wait_timeout_while(shared.commands(), timeout, is_waiting);
        !is_waiting(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Has what was noted before written, and the writer end.
    pub(crate) fn end(&self, timeout: Duration) -> bool {
        let number = self.tell(Command::End);
        self.await_done(number, timeout)
    }

    /// Lines that are written, and that were lost for want of a disk that takes them.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.lines.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

/// A log, and whether its disk has refused lines last.
#[derive(Debug)]
struct Log {
    file: LogFile,
    is_failing: bool,
    is_closed: bool,
    is_touched: bool,
}

/// See the module's head.
#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    back: Vec<SyncSender<Block>>,
    logs: BTreeMap<u32, Log>,
    closed: VecDeque<u32>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            if matches!(message, Message::Look) {
                // What is told from now on has another one come.
                self.shared.is_called.store(false, Ordering::SeqCst);
            }
            let mut message = Some(message);
            let is_over = self.obey(receiver, &mut message);
            self.take(message);
            if is_over {
                return;
            }
        }
    }

    /// Does what it is told, of which some comes before the message and some behind it. `true`: nothing more comes.
    fn obey(&mut self, receiver: &Receiver<Message>, message: &mut Option<Message>) -> bool {
        loop {
            let command = self.shared.commands().waiting.pop_front();
            let Some(command) = command else { return false };
            let is_over = matches!(command, Command::End);
            match command {
                Command::Open(id, logging) => {
                    let file = LogFile::new(*logging);
                    let log = Log { file, is_failing: false, is_closed: false, is_touched: false };
                    self.logs.insert(id, log);
                }
                Command::Close(id) => self.close(id),
                Command::Rotate => self.for_each(LogFile::rotate),
                Command::End => {
                    self.take(message.take());
                    while let Ok(message) = receiver.try_recv() {
                        self.take(Some(message));
                    }
                    self.for_each(LogFile::close);
                }
            }
            let mut commands = self.shared.commands();
            commands.done += 1;
            commands.has_ended = is_over;
            drop(commands);
            self.shared.done.notify_all();
            if is_over {
                return true;
            }
        }
    }

    fn for_each(&mut self, act: impl Fn(&mut LogFile) -> (Written, io::Result<()>)) {
        for log in self.logs.values_mut() {
            let outcome = act(&mut log.file);
            log.note(&self.shared, outcome);
        }
    }

    fn close(&mut self, id: u32) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        let outcome = log.file.close();
        log.note(&self.shared, outcome);
        log.is_closed = true;
        self.closed.push_back(id);
        if self.closed.len() > CLOSED_MAX
            && let Some(oldest) = self.closed.pop_front()
        {
            self.logs.remove(&oldest);
        }
    }

    fn take(&mut self, message: Option<Message>) {
        let Some(Message::Notes { shard, block, len }) = message else { return };
        // One clock read for a block: its notes are as of the shards' clock.
        let wall = u64::try_from(clock::wall().as_micros()).unwrap_or(u64::MAX);
        let began = wall.saturating_sub(clock::micros_now());
        let mut rest = &block[..len];
        while let Some((noted, behind)) = note::take(rest) {
            rest = behind;
            self.add(began, noted);
        }
        for log in self.logs.values_mut().filter(|log| log.is_touched) {
            log.is_touched = false;
            let outcome = if log.is_closed { log.file.close() } else { log.file.flush() };
            log.note(&self.shared, outcome);
        }
        // The shard may have ended.
        if let Some(back) = self.back.get(shard) {
            let _ = back.try_send(block);
        }
    }

    /// Adds the line of a note, whose clock began at `began`, in microseconds since 1970.
    fn add(&mut self, began: u64, noted: Noted<'_>) {
        let Some(log) = self.logs.get_mut(&noted.note.log) else {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let at = Moment::of_micros(began.saturating_add(noted.note.ended));
        let request = RequestText::of(noted.head);
        let outcome = log.file.add(at, |logging, text| {
            let (site_name, computer_name) = (&logging.site_name[..], &logging.computer_name[..]);
            line::put_line(logging, &LogRecord { at, noted, request, site_name, computer_name }, text);
        });
        log.is_touched = true;
        log.note(&self.shared, outcome);
    }
}

impl Log {
    /// Counts what has become of lines, and tells once when a disk begins to refuse them.
    fn note(&mut self, shared: &Shared, (written, result): (Written, io::Result<()>)) {
        shared.lines.fetch_add(written.lines, Ordering::Relaxed);
        shared.lost.fetch_add(written.lost, Ordering::Relaxed);
        match result {
            Ok(()) if written.lines > 0 => self.is_failing = false,
            Ok(()) => {}
            Err(error) => {
                if !core::mem::replace(&mut self.is_failing, true) {
                    tell_failure(&self.file.logging, &error);
                }
            }
        }
    }
}

/// Once, until lines are written again.
fn tell_failure(logging: &Logging, error: &io::Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(directory = %logging.directory.display(), %error, "log lines are dropped");
    #[cfg(not(feature = "tracing"))]
    let _ = (logging, error);
}
