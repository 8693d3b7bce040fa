//! One connection: a head that comes in, an answer that goes out, and the rest that nobody wants.
//!
//! ```text
//!   Asking ──head whole, or refused──▶ Answering ──all taken──▶ Leaving ──the client ends, or its time is over──▶
//! ```
//!
//! Invariants: nothing here waits; each stage has a time by which it is over, and a head so many bytes.
//!
//! Not here: who is ready (`server`), and what is answered (`answer`).

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringress_proto::head::{self, Head, Parse};
use ringress_proto::limits::Limits;
use ringress_proto::reject::Reject;

use crate::clock;

/// Bytes of a head.
const HEAD_BYTES_MAX: u16 = 8_192;
const LIMITS: Limits = Limits::DEFAULT.head_bytes_max(HEAD_BYTES_MAX).target_bytes_max(2_048);
/// How long a head may take, from when its connection has come in.
const ASKING_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWERING_MAX: Duration = Duration::from_secs(10);
/// How long a client may send what nobody wants, so that it gets to read its answer instead of a reset.
const LEAVING_MAX: Duration = Duration::from_secs(2);
/// Bytes taken at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// What a client has asked: a head and the bytes that it is in, or what is wrong with it.
pub(super) type Asked<'a> = Result<(&'a Head, &'a [u8]), Reject>;

/// An answer as it is sent.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) head: Vec<u8>,
    /// Of all who get the same.
    pub(super) body: Arc<str>,
}

#[derive(Debug)]
enum Stage {
    Asking(Vec<u8>),
    Answering { answer: Written, taken: usize },
    Leaving,
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// There is more to come.
    On,
    /// It is over.
    Over,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    stage: Stage,
    /// When it came.
    pub(super) came: Instant,
    /// When it is over in any case.
    pub(super) until: Instant,
}

impl Connection {
    /// One that has come in.
    ///
    /// # Errors
    /// When it is gone already.
    pub(super) fn new(stream: TcpStream, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, stage: Stage::Asking(Vec::new()), came: now, until: now + ASKING_MAX })
    }

    /// Whether it waits to be written to, not to be read.
    pub(super) fn writes(&self) -> bool {
        matches!(self.stage, Stage::Answering { .. })
    }

    pub(super) fn asks(&self) -> bool {
        matches!(self.stage, Stage::Asking(_))
    }

    /// Whether it has been answered whole.
    pub(super) fn leaves(&self) -> bool {
        matches!(self.stage, Stage::Leaving)
    }

    /// It can be read or written: once.
    pub(super) fn go_on(&mut self, answer: impl FnOnce(Asked<'_>) -> Written) -> Went {
        let went = match &self.stage {
            Stage::Asking(_) => self.read_on(answer),
            Stage::Answering { .. } => self.write_on(),
            Stage::Leaving => self.stream.read(&mut [0; PIECE_BYTES]).map(|len| len > 0),
        };
        match went {
            Ok(true) => Went::On,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Went::On,
            Ok(false) | Err(_) => Went::Over,
        }
    }

    /// `false`: it has ended.
    fn read_on(&mut self, answer: impl FnOnce(Asked<'_>) -> Written) -> io::Result<bool> {
        let Stage::Asking(bytes) = &mut self.stage else { return Ok(true) };
        let mut piece = [0; PIECE_BYTES];
        let len = self.stream.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..len]);
        let mut head = Head::EMPTY;
        let answer = match head::parse(bytes, &LIMITS, &mut head) {
            Ok(Parse::Partial) => return Ok(len > 0),
            Ok(Parse::Complete) => answer(Ok((&head, bytes))),
            Err(reject) => answer(Err(reject)),
        };
        self.stage = Stage::Answering { answer, taken: 0 };
        self.until = clock::now() + ANSWERING_MAX;
        self.write_on()
    }

    fn write_on(&mut self) -> io::Result<bool> {
        let Stage::Answering { answer: Written { head, body }, taken } = &mut self.stage else { return Ok(true) };
        let (of_head, of_body) = ((*taken).min(head.len()), taken.saturating_sub(head.len()));
        let left = [&head[of_head..], &body.as_bytes()[of_body..]].map(IoSlice::new);
        *taken += self.stream.write_vectored(&left)?;
        if *taken == head.len() + body.len() {
            self.stream.shutdown(Shutdown::Write)?;
            self.stage = Stage::Leaving;
            self.until = clock::now() + LEAVING_MAX;
        }
        Ok(true)
    }
}
