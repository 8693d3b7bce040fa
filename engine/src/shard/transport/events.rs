//! What operations of a socket have come to: completions are put into the transport's own words here, so that nobody
//! above knows of operations, results and error numbers.
//!
//! Invariants: a completion is translated once, with which the socket is in the state that it leaves it in; of a socket
//! that only waits for its operations to end nothing is told but bytes that it took before that.
//!
//! Not here: what follows (`protocol`), listeners and the notifier (`accept`, `shard`).

use super::{End, Polling, Receiving, RoomFound, Sending, Socket, Transport};
use crate::driver::{Event, Io, Op};
use crate::mem::{Group, ReceiveBuffers, Share};

/// What has come of an operation of a socket's.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// Something was received, or receiving has ended.
    Received(Reception),
    /// A send of what is in memory has ended, and did not take all of it.
    Sent(Taken),
    /// A part of a file was handed over, and is reported.
    FileSent(Taken),
    /// A read of a file has ended.
    FileRead(FileGot),
    /// The poll for the other side's end has something to say; with `again`, it is over and may be set anew.
    OtherSide { found: OtherSide, again: bool },
    /// The wait for room is over.
    Room(RoomFound),
    /// Nothing that concerns anybody.
    Nothing,
}

/// What a receive has brought.
#[derive(Debug)]
pub(crate) struct Reception {
    pub(crate) what: Received,
    /// Receiving has ended with it.
    pub(crate) is_last: bool,
    /// There is more than was received: the next receive brings it at once. It may be an end.
    pub(crate) more_at_hand: bool,
}

/// See [`Reception`].
#[derive(Debug)]
pub(crate) enum Received {
    /// So many bytes, at the beginning of a buffer. The share is given back by who is told.
    Bytes(Share, u32),
    /// So many bytes, that were thrown away.
    Discarded(u32),
    /// The other side has ended its own.
    End,
    /// Nothing: it was asked to end, or waits for a buffer, or is to be tried again.
    Nothing,
    /// The other side is gone.
    PeerGone,
}

/// How much a socket has taken of what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many bytes. It is full if that is not all.
    Bytes(u32),
    /// The other side is gone.
    PeerGone,
    /// The file is shorter than was said, or cannot be read.
    FileFailed,
    /// Files like this one can only be read.
    FileUnsuited,
}

/// What the read of a part of a file has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileGot {
    /// Bytes, which the socket's cell holds.
    Bytes,
    /// Nothing: it is to be tried again.
    Nothing,
    /// The file is shorter than was said, or cannot be read.
    Failed,
}

/// What is known of the other side without receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherSide {
    /// Nothing new.
    Same,
    /// It has ended its own.
    Ended,
    /// It is gone.
    Gone,
}

impl<I: Io> Transport<I> {
    /// What a completion of an operation of a socket's says; which one that was, the caller has looked at.
    #[inline(always)]
    pub(crate) fn translate(
        &mut self,
        socket: &mut Socket,
        (op, event): (Op, Event),
        buffers: &mut ReceiveBuffers,
    ) -> SocketEvent {
        match op {
            Op::Receive => self.received(socket, event, buffers),
            Op::Send => SocketEvent::Sent(sent(socket, event.result)),
            Op::SendFile => SocketEvent::FileSent(file_sent(socket, event.result)),
            Op::ReadFile => file_read(socket, event.result),
            Op::Poll => other_side(socket, &event),
            Op::Room => self.on_room(socket, &event).map_or(SocketEvent::Nothing, SocketEvent::Room),
            Op::Accept | Op::Notifier | Op::Recall | Op::Ignored => SocketEvent::Nothing,
        }
    }

    #[inline(always)]
    fn received(&mut self, socket: &mut Socket, event: Event, buffers: &mut ReceiveBuffers) -> SocketEvent {
        let group = if let Receiving::Once(group) = socket.receiving { group } else { Group::Small };
        if !event.more {
            socket.receiving = Receiving::Stopped;
        }
        let share = event.buffer.map(|filled| buffers.take(filled));
        let what = match (event.result, share) {
            (1.., Some(share)) if !socket.is_closing() => Received::Bytes(share, event.result.cast_unsigned()),
            (result, share) => {
                if let Some(share) = share {
                    buffers.release(share);
                }
                if socket.is_closing() {
                    return SocketEvent::Nothing;
                }
                match result {
                    1.. => Received::Discarded(result.cast_unsigned()),
                    0 => {
                        socket.end = End::Reached;
                        Received::End
                    }
                    error => self.receive_failed(socket, -error, group, buffers),
                }
            }
        };
        SocketEvent::Received(Reception { what, is_last: !event.more, more_at_hand: event.more_at_hand })
    }

    #[cold]
    fn receive_failed(
        &mut self,
        socket: &mut Socket,
        errno: i32,
        group: Group,
        buffers: &mut ReceiveBuffers,
    ) -> Received {
        match errno {
            libc::ENOBUFS => {
                self.starve(socket, group, buffers);
                Received::Nothing
            }
            // Asked for, or of no consequence: armed again when input is wanted.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => Received::Nothing,
            _ => Received::PeerGone,
        }
    }

    /// An operation has completed of a socket that is gone.
    #[cold]
    pub(crate) fn on_stale(&mut self, event: Event, buffers: &mut ReceiveBuffers) {
        self.counters.completions_stale.count();
        if let Some(filled) = event.buffer {
            let share = buffers.take(filled);
            buffers.release(share);
        }
    }
}

/// A send fell short, or failed.
#[cold]
fn sent(socket: &mut Socket, result: i32) -> Taken {
    socket.sending = Sending::No;
    let is_again = result >= 0 || matches!(-result, libc::EAGAIN | libc::EINTR);
    if socket.is_closing() || is_again { taken(result) } else { Taken::PeerGone }
}

/// A part of a file is reported.
#[cold]
fn file_sent(socket: &mut Socket, result: i32) -> Taken {
    debug_assert!(socket.sending == Sending::File, "only what was handed over is reported");
    socket.sending = Sending::No;
    if socket.is_closing() || result > 0 {
        return taken(result);
    }
    match -result {
        // The socket is full, or so it seems: a file that has ended says so the next time.
        libc::EAGAIN => taken(result),
        libc::EINVAL | libc::ESPIPE | libc::ENOSYS => Taken::FileUnsuited,
        libc::EPIPE | libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN => Taken::PeerGone,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ECONNABORTED => Taken::PeerGone,
        // The file's end, or the disk fails.
        _ => Taken::FileFailed,
    }
}

fn taken(result: i32) -> Taken {
    Taken::Bytes(u32::try_from(result).unwrap_or(0))
}

/// A read of a file has ended.
#[cold]
fn file_read(socket: &mut Socket, result: i32) -> SocketEvent {
    socket.staging.was_read(u32::try_from(result).unwrap_or(0));
    if socket.is_closing() {
        return SocketEvent::Nothing;
    }
    SocketEvent::FileRead(match result {
        1.. => FileGot::Bytes,
        error if matches!(-error, libc::EINTR | libc::EAGAIN) => FileGot::Nothing,
        _ => FileGot::Failed,
    })
}

/// The poll says that the other side has ended its own or broken the connection, or it has ended itself.
#[cold]
fn other_side(socket: &mut Socket, event: &Event) -> SocketEvent {
    if !event.more {
        socket.polling = Polling::No;
    }
    if socket.is_closing() {
        return SocketEvent::Nothing;
    }
    let found = |bits: i16| event.result > 0 && event.result & i32::from(bits) != 0;
    if found(libc::POLLERR) {
        return SocketEvent::OtherSide { found: OtherSide::Gone, again: false };
    }
    let has_ended = found(libc::POLLRDHUP);
    if has_ended && socket.end == End::Unknown {
        socket.end = End::Noticed;
    }
    // One that ended by an error would only fail again.
    let again = !event.more && event.result >= 0;
    SocketEvent::OtherSide { found: if has_ended { OtherSide::Ended } else { OtherSide::Same }, again }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Token;
    use crate::shard::transport::Life;
    use crate::slab::ConnectionKey;

    fn socket() -> Socket {
        Socket::new(-1, ConnectionKey::of(0, 1).expect("a generation"), false)
    }

    /// What is told of a result, and whether anything is on its way afterwards.
    fn translated<T>(begun: Sending, translate: fn(&mut Socket, i32) -> T, result: i32) -> T {
        let mut socket = Socket { sending: begun, ..socket() };
        let translated = translate(&mut socket, result);
        assert!(!socket.sends(), "what has completed is over");
        translated
    }

    #[test]
    fn a_send_that_fails_is_told_from_one_that_is_to_be_tried_again() {
        let sent = |result| translated(Sending::Silent, sent, result);
        assert_eq!((sent(7), sent(0)), (Taken::Bytes(7), Taken::Bytes(0)));
        assert_eq!((sent(-libc::EAGAIN), sent(-libc::EINTR)), (Taken::Bytes(0), Taken::Bytes(0)));
        assert_eq!((sent(-libc::EPIPE), sent(-libc::ENOMEM)), (Taken::PeerGone, Taken::PeerGone));
    }

    #[test]
    fn the_failure_of_a_file_is_told_from_that_of_its_client() {
        let sent = |result| translated(Sending::File, file_sent, result);
        assert_eq!((sent(7), sent(-libc::EAGAIN)), (Taken::Bytes(7), Taken::Bytes(0)));
        assert_eq!((sent(0), sent(-libc::EIO)), (Taken::FileFailed, Taken::FileFailed));
        for unsuited in [libc::EINVAL, libc::ESPIPE, libc::ENOSYS] {
            assert_eq!(sent(-unsuited), Taken::FileUnsuited);
        }
        for gone in [libc::EPIPE, libc::ECONNRESET, libc::ETIMEDOUT, libc::ENOTCONN, libc::ENETUNREACH] {
            assert_eq!(sent(-gone), Taken::PeerGone);
        }
    }

    #[test]
    fn of_a_socket_that_closes_only_bytes_that_were_taken_are_told() {
        let closing = || Socket { life: Life::Closing, sending: Sending::File, ..socket() };
        assert_eq!((sent(&mut closing(), 7), sent(&mut closing(), -libc::EPIPE)), (Taken::Bytes(7), Taken::Bytes(0)));
        let of_file = |result| file_sent(&mut closing(), result);
        assert_eq!((of_file(7), of_file(0), of_file(-libc::EIO)), (Taken::Bytes(7), Taken::Bytes(0), Taken::Bytes(0)));
        assert!(matches!(file_read(&mut closing(), -libc::EIO), SocketEvent::Nothing));
        assert!(matches!(other_side(&mut closing(), &polled(libc::POLLERR, false)), SocketEvent::Nothing));
    }

    fn polled(bits: i16, more: bool) -> Event {
        let token = Token::new(Op::Poll, 1, 0);
        Event { token, result: i32::from(bits), more, buffer: None, more_at_hand: false }
    }

    #[test]
    fn the_other_side_is_told_of_once_it_has_ended_or_broken() {
        let mut socket = Socket { polling: Polling::Out, ..self::socket() };
        let mut translated = |bits, more| match other_side(&mut socket, &polled(bits, more)) {
            SocketEvent::OtherSide { found, again } => (found, again, socket.polling, socket.end),
            other => panic!("{other:?}"),
        };
        assert_eq!(translated(0, true), (OtherSide::Same, false, Polling::Out, End::Unknown));
        assert_eq!(translated(libc::POLLRDHUP, true), (OtherSide::Ended, false, Polling::Out, End::Noticed));
        assert_eq!(translated(libc::POLLRDHUP, false), (OtherSide::Ended, true, Polling::No, End::Noticed));
        assert_eq!(translated(libc::POLLERR | libc::POLLRDHUP, false).0, OtherSide::Gone);
        let failed = Event { result: -libc::EBADF, ..polled(0, false) };
        let translated = other_side(&mut self::socket(), &failed);
        assert!(
            matches!(translated, SocketEvent::OtherSide { found: OtherSide::Same, again: false }),
            "it would fail again"
        );
    }
}
