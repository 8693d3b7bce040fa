//! Responses whose heads are kept ready: status 200, nothing but a content type, and a short body.
//!
//! Invariants: what is written is what [`fill`](super::fill) would write otherwise; a [`Short`] owns nothing, so that
//! it stays in registers until it is written, and what the compiler knows of a response is not looked at when it runs.
//!
//! Not here: all other responses (`response`), and the heads (`proto::response`).

use ringress_proto::response::{FieldLine, HeadTemplate};

use super::content::Memory;
use super::{Response, fill_plain, text};
use crate::error::Result;
use crate::queue::{Answered, ResponseFlags, Tail};
use crate::record::RequestRecord;

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Short<'a> {
    line: Option<FieldLine>,
    close: bool,
    body: &'a [u8],
}

impl<'a> Response<'a> {
    /// All that there is of it, if it may be short and owns nothing; or the same in memory of its own.
    ///
    /// What a call is lent, or is left to drop, is in memory from when it is made on: here no call follows.
    #[inline(always)]
    #[expect(clippy::result_large_err, reason = "a box would be an allocation for each response that is not short")]
    pub(in crate::api) fn into_short(self) -> core::result::Result<Short<'a>, Self> {
        if let Memory::Borrowed(body) = self.body
            && self.may_be_short()
        {
            let short = Short { line: self.line, close: self.close, body };
            // Nothing in it is to be dropped.
            core::mem::forget(self);
            return Ok(short);
        }
        let Self { status, close, unframed, reason, line, fields, content_length, body, mixed } = self;
        Err(Self { status, close, unframed, reason, line, fields, content_length, body, mixed })
    }

    #[inline(always)]
    pub(super) fn as_short(&self) -> Option<Short<'_>> {
        let Self { line, close, .. } = *self;
        self.may_be_short().then(|| Short { line, close, body: self.body.as_bytes() })
    }

    #[inline(always)]
    fn may_be_short(&self) -> bool {
        matches!(self, Self { status: 200, reason: None, fields: None, content_length: None, mixed: None, .. })
    }
}

impl Short<'_> {
    /// The connection ends after it.
    pub(in crate::api) fn end_connection(&mut self) {
        self.close = true;
    }

    /// Writes it into a request's response area.
    #[inline(always)]
    pub(in crate::api) fn fill(
        self,
        record: &RequestRecord,
        template: &HeadTemplate,
        area: &mut [u8],
    ) -> Result<Answered> {
        match self.fill_ready(record, template, area) {
            Some(answered) => Ok(answered),
            None => Self::fill_other((self.line, self.close), self.body, (record, template), area),
        }
    }

    /// As [`fill`](Self::fill), where it is short. `None`: it is not.
    #[inline(always)]
    pub(super) fn fill_ready(
        self,
        record: &RequestRecord,
        template: &HeadTemplate,
        area: &mut [u8],
    ) -> Option<Answered> {
        if record.is_head() || record.is_connect() {
            return None;
        }
        let (head, body_len) = text::ready(template, self.line, self.body, area)?;
        let flags = if self.close { ResponseFlags::CLOSE } else { ResponseFlags::default() };
        Some(Answered { status: 200, head, body_len, flags, tail: Tail::None })
    }

    // In its parts, for the same reason as above.
    #[inline(never)]
    fn fill_other(
        (line, close): (Option<FieldLine>, bool),
        body: &[u8],
        (record, template): (&RequestRecord, &HeadTemplate),
        area: &mut [u8],
    ) -> Result<Answered> {
        let mut response = Response { line, close, body: Memory::Borrowed(body), ..Response::ok() };
        fill_plain(record, template, &mut response, area)
    }
}
