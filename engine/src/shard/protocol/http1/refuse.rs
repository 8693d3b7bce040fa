//! Answers that the engine makes itself: to requests it refuses, and for applications that dropped theirs.
//!
//! Invariants: a refusal is sent in its request's turn, and fits every response area; a response to HEAD has no body;
//! only where no slot or cell is left is a fixed text sent (`output` has it), after which the connection ends.
//!
//! Not here: why and when a request is refused (`input`, `deliver`, `body`, `waits`), the reasons and their texts
//! (crate `proto`), and counting (`dispatch`).

use std::io::Write as _;

use ringress_proto::header::{HeaderName, ResponseHeader};
use ringress_proto::reject::Reject;
use ringress_proto::response::{HeadTemplate, HeadWriter, WriteError, reason_phrase};

use super::Http1;
use super::state::PendingWrites;
use crate::driver::Io;
use crate::policy::{Page, Verbosity};
use crate::queue::{Answered, HeadText, LINE_BYTES, ResponseFlags, Slot, Tail};
use crate::shard::protocol::Protocol;

impl<I: Io> Protocol<I> {
    /// Answers a request, or what was to be one, in its turn. The slot is the shard's own and becomes the response's.
    #[cold]
    pub(super) fn refuse(&mut self, connection: &mut Http1, slot: Slot, reject: Reject, keep_alive: bool) {
        let keep_alive = self.write_refusal(slot, reject, ResponseFlags::ABANDONED) && keep_alive;
        self.dispatch.begin_refused(slot, reject);
        if self.dispatch.logs() {
            self.dispatch.log_refused(slot, (connection.peer, connection.local));
        }
        self.note_last(slot, !keep_alive);
        connection.machine.refusal(keep_alive);
        connection.append(slot, &mut self.dispatch);
        self.queue_flush(&mut connection.link);
        self.set_timer(connection);
    }

    /// No slot or cell has come free for a request in all its time: the client is told so in the fewest bytes.
    #[cold]
    pub(super) fn refuse_waiting(&mut self, connection: &mut Http1) {
        self.dispatch.refused_without_slot();
        self.refuse_slotless(connection);
    }

    /// The client of a request that has no slot, or no longer, is told that it is refused, behind what is owed before;
    /// the connection ends with that.
    #[cold]
    pub(super) fn refuse_slotless(&mut self, connection: &mut Http1) {
        self.forget_input(connection);
        self.drop_head(connection);
        self.drop_gathered(connection);
        if !connection.owed.has(PendingWrites::OVERLOAD) {
            connection.machine.refusal(false);
            connection.owed.add(PendingWrites::OVERLOAD);
        }
        self.queue_flush(&mut connection.link);
        self.set_timer(connection);
    }

    /// A connection takes no more of what has come, nor waits to.
    #[cold]
    pub(super) fn forget_input(&mut self, connection: &mut Http1) {
        self.transport.stop_waiting(&mut connection.link.socket);
        self.drop_held(&mut connection.link);
    }

    /// An application dropped a request: its client gets 500.
    #[cold]
    pub(super) fn answer_abandoned(&mut self, slot: Slot) {
        self.dispatch.decide(slot, Reject::Abandoned);
        let _ = self.write_refusal(slot, Reject::Abandoned, ResponseFlags::ABANDONED);
    }

    /// Answers a request in the application's place, whose response the shard has won; a handle of it may be out.
    #[cold]
    pub(super) fn refuse_published(&mut self, slot: Slot, reject: Reject) {
        self.dispatch.decide(slot, reject);
        let _ = self.dispatch.withdraw(slot);
        let keep_alive = self.dispatch.request(slot).keep_alive && !reject.closes();
        let keep_alive = self.write_refusal(slot, reject, ResponseFlags::default()) && keep_alive;
        self.dispatch.answer_is_here(slot);
        if !keep_alive {
            self.note_last(slot, true);
        }
    }

    /// Writes a response of the engine's own, or that there is to be none; `flags` say whether a handle may still be
    /// out. Gives whether the connection can go on behind it.
    fn write_refusal(&mut self, slot: Slot, reject: Reject, flags: ResponseFlags) -> bool {
        let status = reject.status();
        let verbosity = if status == 503 { self.dispatch.verbosity(slot) } else { Verbosity::Reason };
        if verbosity == Verbosity::Reset {
            *self.dispatch.answered_mut(slot) = Answered { status, flags, tail: Tail::Reset, ..Answered::default() };
            return false;
        }
        // Of a head that could not be read, the record has the method (RFC 9110 section 9.3.2).
        let is_head = self.dispatch.request(slot).is_head();
        let page = self.dispatch.refusal_page(slot, status).cloned();
        let cell = self.dispatch.response_mut(slot);
        let area_bytes = cell.len() - LINE_BYTES as usize;
        let area = &mut cell[..area_bytes];
        let (written, tail) = match page {
            Some(page) => {
                let written = write_page_head(area, &self.settings.template, status, &page);
                let tail = if is_head || page.body.is_empty() { Tail::None } else { Tail::Bytes(page.body.into()) };
                (written.map(|head| (head, 0)), tail)
            }
            None => (write_refusal(area, &self.settings.template, reject, (verbosity, is_head)), Tail::None),
        };
        // The smallest response area allowed holds every refusal (tested below); an empty response would end the
        // connection.
        let (head, body_len) = written.unwrap_or_default();
        *self.dispatch.answered_mut(slot) = Answered { status, head, body_len, flags, tail };
        true
    }
}

/// Writes the head of a refusal whose body is a page.
fn write_page_head(area: &mut [u8], template: &HeadTemplate, status: u16, page: &Page) -> Result<HeadText, WriteError> {
    let mut head = HeadWriter::new(area);
    let date_at = head.status_and_template(status, None, template)?;
    head.header(HeaderName::Known(ResponseHeader::ContentType), &page.content_type)?;
    finish_head(head, status, page.body.len()).map(|len| HeadText { len, date_at })
}

/// What every refusal has at the end of its head, whose length it gives.
fn finish_head(mut head: HeadWriter<'_>, status: u16, body_len: usize) -> Result<u32, WriteError> {
    if status == 503 {
        head.header(HeaderName::Known(ResponseHeader::RetryAfter), b"1")?;
    }
    head.content_length(body_len as u64)?;
    u32::try_from(head.finish()?).map_err(|_| WriteError::NoSpace)
}

/// Writes a whole response. Gives its head, and the bytes of the body behind that.
fn write_refusal(
    area: &mut [u8],
    template: &HeadTemplate,
    reject: Reject,
    (verbosity, is_head): (Verbosity, bool),
) -> Result<(HeadText, u32), WriteError> {
    let status = reject.status();
    let mut text = [0_u8; 160];
    let mut rest = &mut text[..];
    // A text longer than the buffer would be cut, not refused.
    let _ = writeln!(rest, "{status} {}: {}", reason_phrase(status), reject.detail());
    let unused = rest.len();
    let body = if verbosity == Verbosity::Reason { &text[..text.len() - unused] } else { &[] };
    let mut head = HeadWriter::new(area);
    let date_at = head.status_and_template(status, None, template)?;
    if !body.is_empty() {
        head.header(HeaderName::Known(ResponseHeader::ContentType), b"text/plain")?;
    }
    let len = finish_head(head, status, body.len())?;
    let body = if is_head { &[][..] } else { body };
    let place = area.get_mut(len as usize..).and_then(|rest| rest.get_mut(..body.len()));
    place.ok_or(WriteError::NoSpace)?.copy_from_slice(body);
    let body_len = u32::try_from(body.len()).map_err(|_| WriteError::NoSpace)?;
    Ok((HeadText { len, date_at }, body_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_fits_the_smallest_response_area() {
        let template = HeadTemplate::new(&"s".repeat(128)).expect("valid");
        for reject in Reject::ALL {
            let mut area = [0; 512];
            let (head, body_len) =
                write_refusal(&mut area, &template, *reject, (Verbosity::Reason, false)).expect("it fits");
            let text = String::from_utf8(area[..(head.len + body_len) as usize].to_vec()).expect("text");
            assert!(text.starts_with(&format!("HTTP/1.1 {} ", reject.status())), "{text}");
            assert!(text.ends_with(".\n"), "{text}");
            assert!(text[usize::from(head.date_at)..].starts_with("     "), "{text}");
        }
    }

    #[test]
    fn a_refusal_of_head_has_no_body() {
        let mut area = [0; 512];
        let template = HeadTemplate::new("").expect("valid");
        let (head, body_len) =
            write_refusal(&mut area, &template, Reject::PathUnknown, (Verbosity::Reason, true)).expect("it fits");
        assert!(area[..head.len as usize].ends_with(b"\r\n\r\n") && body_len == 0);
    }
}
