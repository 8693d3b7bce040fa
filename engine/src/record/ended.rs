//! How a request ended: the one record of it, from which everything is counted.
//!
//! Invariants: plain data; whoever frees the slot of a request that had begun has one of these (`Record::End`).
//!
//! Not here: when and how a request ends, and the counting (`shard::dispatch::ends`); the counts (room `counters`).

use core::num::NonZeroU64;

use ringress_proto::reject::Reject;

use crate::counters::ShardLatency;

/// How a request ended. Each that has begun ends in one of these ways, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The application's answer was handed to the socket whole.
    Answered,
    /// The application's answer was not: its client had left.
    Unsent,
    /// The application's answer was truncated: it gave up or gave too much or too little, or a file failed.
    Truncated,
    /// The application dropped the request: its client got 500.
    Abandoned,
    /// The application cancelled it.
    Cancelled,
    /// Its client had left before there was a response.
    Disconnected,
    /// The engine answered in the application's place, or before it.
    Refused(Reject),
    /// A timer was over, and the engine answered, or ended the connection.
    TimedOut(Timer),
    /// The engine had stopped, and the grace for it was over.
    Stopped,
    /// Its connection was ended for another reason than this request's: because another one of the connection's was
    /// cancelled or truncated, was answered as its last, or its client sent more on than there was memory for.
    Aborted,
}

/// Which timer a request had come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Of a head that has begun: `header_wait`.
    Head,
    /// Between two pieces of a body: `entity_body`.
    Body,
    /// A body came slower than `receive_rate_min`.
    ReceiveRate,
    /// Nobody took it from its queue: `request_queue`.
    Queue,
    /// Its client took the response slower than `send_rate_min`.
    SendRate,
    /// Its client took nothing of the response, where no rate is asked for: `idle_connection`.
    Send,
}

/// Why what is owed on a connection will not be sent, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsentReason {
    /// The client has left.
    Client,
    /// The client of a pipe has left, or somebody has its socket: it ends so.
    PipeEnded,
    /// See [`Outcome::TimedOut`].
    Timer(Timer),
    /// See [`Outcome::Stopped`].
    Stopped,
    /// See [`Outcome::Aborted`].
    Aborted,
}

impl UnsentReason {
    /// What becomes of a request that is lost with its connection; with `answered`, an application had answered it.
    pub(crate) fn outcome(self, answered: bool) -> Outcome {
        match self {
            Self::Client | Self::PipeEnded if answered => Outcome::Unsent,
            Self::Client | Self::PipeEnded => Outcome::Disconnected,
            Self::Timer(timer) => Outcome::TimedOut(timer),
            Self::Stopped => Outcome::Stopped,
            Self::Aborted => Outcome::Aborted,
        }
    }
}

/// A moment, in microseconds as of [`clock::micros`](crate::clock::micros).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    /// `None` for 0, which stands for none.
    pub(crate) fn new(micros: u64) -> Option<Self> {
        NonZeroU64::new(micros).map(Self)
    }

    /// Microseconds from an earlier moment until this one.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

/// When what happened to a request: each moment is at least the one before, of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Its first byte was received; of one that had to wait for others on its connection, the kernel was entered last
    /// before it was looked at.
    pub(crate) first_byte: Moment,
    /// It was put into its queue. None: it was refused before that.
    pub(crate) delivered: Option<Moment>,
    /// A consumer took it from a queue that is measured. None: nobody did, or it was not noted.
    pub(crate) taken: Option<Moment>,
    /// Its response was there, the application's or the engine's. None: it has none, and no status.
    pub(crate) answered: Option<Moment>,
    /// It ended: the socket had taken what it took of the response.
    pub(crate) sent: Moment,
}

impl Times {
    /// Records how long an answered request took.
    pub(crate) fn record(&self, latency: &ShardLatency) {
        let Some((delivered, answered)) = self.delivered.zip(self.answered) else { return };
        if let Some(taken) = self.taken {
            latency.waiting.record(taken.since(delivered));
            latency.serving.record(answered.since(taken));
        }
        latency.sending.record(self.sent.since(answered));
        latency.total.record(self.sent.since(self.first_byte));
    }
}

/// A request's end: with its [`Times`], where something uses those, all that counters know of it, and later logs,
/// metrics and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// The status of its response, sent or not, 100 to 999; 0: it had none.
    pub(crate) status: u16,
    /// It was put into a queue; if not, it was refused before.
    pub(crate) delivered: bool,
    /// The group it was routed to and that group's queue, by where the shard counts their requests; 0 for none.
    pub(crate) meter: u32,
    /// Bytes received of it: head and body, framing included.
    pub(crate) bytes_in: u64,
    /// Bytes of its response that the socket took: head and body, framing included.
    pub(crate) bytes_out: u64,
}

#[cfg(feature = "bench-door")]
impl Ended {
    /// For benchmarks, which have no shard that would know of it.
    pub(crate) const BENCH: Self =
        Self { outcome: Outcome::Answered, status: 200, delivered: true, meter: 0, bytes_in: 0, bytes_out: 0 };
}
