//! What any thread tells a shard in so many words, and rarely: cancel a request, tell me when a connection ends, give
//! me its socket, have the log say this; and from another shard: close a connection that rests, for my clients.
//!
//! Invariants: a command that was put in is read by the shard, or, when that has ended, dropped at once; only who
//! writes a command allocates; a shard without commands pays one load a turn. A command names requests and connections
//! by id: one that comes late meets another generation.
//!
//! Not here: what the commands mean and how informational responses are written (room `shard`), which of these may be
//! sent (room `api`), and what is told about every request (`completions`, `signals`).

use core::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

use super::handover::SocketReceiver;
use super::watch::Registration;
use crate::id::{ConnectionId, RequestId, ShardId};

/// A status and header fields, whatever version of HTTP they go out by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Informational {
    pub(crate) status: u16,
    /// Names and values, in their order, which can be sent.
    pub(crate) fields: Box<[(Box<str>, Box<str>)]>,
}

impl Informational {
    /// A copy of these.
    pub(crate) fn new(status: u16, fields: &[(&str, &str)]) -> Self {
        Self { status, fields: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect() }
    }
}

/// What an application has said of a request for its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogText {
    /// Who has asked.
    pub(crate) user: Box<[u8]>,
    pub(crate) substatus: u16,
    pub(crate) win32_status: u32,
}

/// One command.
#[derive(Debug)]
pub(crate) enum Command {
    /// The request was cancelled: its connection is to be reset.
    Cancel(RequestId),
    /// An informational response is to be sent before the final one.
    Informational(RequestId, Informational),
    /// Somebody is to be told of the connection's end.
    Watch(ConnectionId, Registration),
    /// The socket of a request that was answered with a switch of protocols is to be handed over.
    HandOver(RequestId, SocketReceiver),
    /// Clients of this other shard find no descriptor: a connection is to be closed for them.
    GiveDescriptor(ShardId),
    /// The answer of a shard that was asked so.
    Descriptor { from: ShardId, is_given: bool },
    /// What the log is to say of the request. It comes before the response.
    LogText(RequestId, Box<LogText>),
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Something was put in since the shard looked.
    any: CachePadded<AtomicBool>,
    /// The shard reads no more.
    ended: AtomicBool,
    commands: SegQueue<Command>,
}

impl Commands {
    /// Puts a command in. Sequentially consistent: a flag read after this cannot be older.
    pub(super) fn put(&self, command: Command) {
        self.commands.push(command);
        self.any.store(true, Ordering::SeqCst);
        if self.ended.load(Ordering::SeqCst) {
            self.drop_all();
        }
    }

    /// Whether nothing was put in since the last [`open`](Self::open). Sequentially consistent.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    /// The shard begins to read: before the first [`take`](Self::take).
    pub(super) fn open(&self) {
        self.any.store(false, Ordering::SeqCst);
    }

    /// The next command.
    pub(super) fn take(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// The shard has ended: what is there, and what will be put in, is dropped.
    pub(super) fn end(&self) {
        // Who puts a command in after this sees it; what was put in before is dropped here.
        self.ended.store(true, Ordering::SeqCst);
        self.drop_all();
    }

    fn drop_all(&self) {
        while self.commands.pop().is_some() {}
    }
}
