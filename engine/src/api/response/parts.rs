//! What the response to a plain request becomes for one with conditions or ranges: parts of it, its fields alone, an
//! error.
//!
//! Invariants: a part is never larger than the whole and the heads of a few parts; what a 304 or an error would say of
//! a content that it does not have is taken off; bytes are neither read nor copied here.
//!
//! Not here: which of these it becomes (`select`), and what the representation is known by (`validators`).
//!
//! Source: RFC 9110 sections 14, 15.3.7, 15.4.5, 15.5.13, 15.5.17.

use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;

use bytes::Bytes;
use ringress_proto::date::imf_fixdate;
use ringress_proto::header::ResponseHeader;
use ringress_proto::range::{ByteRange, Multipart, Ranges, content_range, unsatisfied_range};

use super::fields::{Fields, known};
use super::{Body, Memory, Response};
use crate::api::validators::Validators;

/// What describes a content: not for responses without it.
const OF_CONTENT: [ResponseHeader; 6] = [
    ResponseHeader::AcceptRanges,
    ResponseHeader::ContentEncoding,
    ResponseHeader::ContentLanguage,
    ResponseHeader::ContentMd5,
    ResponseHeader::ContentRange,
    ResponseHeader::ContentType,
];
/// What is said of a representation, and to caches: not for a response that is an error.
const OF_REPRESENTATION: [ResponseHeader; 5] = [
    ResponseHeader::CacheControl,
    ResponseHeader::ContentLocation,
    ResponseHeader::ETag,
    ResponseHeader::Expires,
    ResponseHeader::LastModified,
];

impl<'a> Response<'a> {
    /// Whether it is 200 OK.
    pub(in crate::api) fn is_ok(&self) -> bool {
        self.status == 200
    }

    /// Whether the application has said another length of the body.
    pub(in crate::api) fn states_other_length(&self, length: u64) -> bool {
        self.content_length.is_some_and(|said| said != length)
    }

    /// States what the representation is known by.
    pub(in crate::api) fn say(&mut self, validators: &Validators) {
        if let Some(etag) = validators.etag() {
            self.remove(&[ResponseHeader::ETag]);
            self.make(ResponseHeader::ETag, etag.as_bytes());
        }
        if let Some(time) = validators.last_modified() {
            self.remove(&[ResponseHeader::LastModified]);
            self.make(ResponseHeader::LastModified, &imf_fixdate(time));
        }
    }

    /// Says that parts of it can be had.
    pub(in crate::api) fn offer_ranges(&mut self) {
        self.remove(&[ResponseHeader::AcceptRanges]);
        self.make(ResponseHeader::AcceptRanges, b"bytes");
    }

    /// 416: no byte of it is asked for.
    pub(in crate::api) fn become_unsatisfied(&mut self, length: u64) {
        self.become_error(416);
        self.make(ResponseHeader::ContentRange, unsatisfied_range(length).as_bytes());
        self.make(ResponseHeader::AcceptRanges, b"bytes");
    }

    /// 206 with one range.
    pub(in crate::api) fn become_part(&mut self, range: ByteRange, length: u64) {
        let mut parts = Vec::new();
        cut(&self.take_bodies(), range, &mut parts);
        self.become_partial(parts);
        self.make(ResponseHeader::ContentRange, content_range(range, length).as_bytes());
    }

    /// 206 with several ranges.
    pub(in crate::api) fn become_parts(&mut self, ranges: &Ranges, length: u64) {
        // A coding of the parts and one of the multipart body would look the same.
        if self.value_of(ResponseHeader::ContentEncoding).is_some() {
            return;
        }
        let boundary = boundary();
        let content_type = self.value_of(ResponseHeader::ContentType);
        // What is refused here is refused again, and told, when the response is given whole.
        let Ok(multipart) = Multipart::new(&boundary, content_type, length) else { return };
        let Some(frames) = Frames::of(&multipart, ranges.as_slice()) else { return };
        let field = Box::<[u8]>::from(multipart.content_type().as_bytes());
        let whole = self.take_bodies();
        let mut parts = Vec::new();
        for (range, head) in ranges.as_slice().iter().zip(frames.heads) {
            parts.push(Body::Shared(head));
            cut(&whole, *range, &mut parts);
        }
        parts.push(Body::Shared(frames.end));
        self.become_partial(parts);
        self.remove(&[ResponseHeader::ContentType]);
        self.make(ResponseHeader::ContentType, &field);
    }

    fn become_partial(&mut self, bodies: Vec<Body<'a>>) {
        self.status = 206;
        self.reason = None;
        self.remove(&[ResponseHeader::ContentRange]);
        self.content_length = None;
        let mut bodies = bodies.into_iter();
        self.body = Memory::NONE;
        match bodies.next() {
            None => {}
            Some(Body::Borrowed(bytes)) => self.body = Memory::Borrowed(bytes),
            Some(Body::Shared(bytes)) => self.body = Memory::Shared(bytes.into()),
            Some(Body::File(range)) => self.mixed.get_or_insert_default().file = Some(range),
        }
        if bodies.len() > 0 {
            self.mixed.get_or_insert_default().chunks.extend(bodies);
        }
    }

    /// Without content, and without what describes one.
    pub(in crate::api) fn become_empty(&mut self, status: u16) {
        self.status = status;
        self.reason = None;
        self.content_length = None;
        self.take_bodies();
        self.remove(&OF_CONTENT);
    }

    pub(in crate::api) fn become_error(&mut self, status: u16) {
        self.become_empty(status);
        self.remove(&OF_REPRESENTATION);
    }

    pub(in crate::api) fn body_len(&self) -> u64 {
        let mixed = self.mixed.as_deref();
        let first = match mixed.and_then(|mixed| mixed.file.as_ref()) {
            Some(file) => file.len(),
            None => self.body.as_bytes().len() as u64,
        };
        let chunks = mixed.map(|mixed| mixed.chunks.as_slice()).unwrap_or_default();
        chunks.iter().fold(first, |sum, chunk| sum.saturating_add(chunk.len()))
    }

    /// The whole body, which the response has no more.
    fn take_bodies(&mut self) -> Vec<Body<'a>> {
        let first = match core::mem::replace(&mut self.body, Memory::NONE) {
            Memory::Borrowed(bytes) => Body::Borrowed(bytes),
            Memory::Shared(bytes) => Body::Shared(bytes.into_bytes()),
        };
        let Some(mixed) = self.mixed.as_deref_mut() else { return vec![first] };
        let first = mixed.file.take().map_or(first, Body::File);
        core::iter::once(first).chain(core::mem::take(&mut mixed.chunks)).collect()
    }

    /// Adds a field that the response owns.
    fn make(&mut self, name: ResponseHeader, value: &[u8]) {
        self.fields.get_or_insert_with(Fields::new).make(name, value);
    }

    /// The value of a field that the response has.
    fn value_of(&self, wanted: ResponseHeader) -> Option<&[u8]> {
        let line = self.line.filter(|_| wanted == ResponseHeader::ContentType);
        let line = line.map(|line| line.value().as_bytes());
        line.or_else(|| self.fields().find(|(name, _)| known(*name) == wanted).map(|(_, value)| value))
    }

    /// Takes off the fields of these names.
    fn remove(&mut self, names: &[ResponseHeader]) {
        // A line known beforehand is a Content-Type.
        self.line = self.line.filter(|_| !names.contains(&ResponseHeader::ContentType));
        if let Some(fields) = &mut self.fields {
            fields.remove(names);
        }
    }
}

/// The heads of the parts of a multipart body, and its end.
struct Frames {
    heads: Vec<Bytes>,
    end: Bytes,
}

impl Frames {
    fn of(multipart: &Multipart<'_>, ranges: &[ByteRange]) -> Option<Self> {
        let head = |(index, range): (usize, &ByteRange)| {
            let mut head = vec![0; multipart.part_head_len(*range, index == 0)];
            multipart.part_head(*range, index == 0, &mut head).ok().map(|_| Bytes::from(head))
        };
        let heads: Option<Vec<Bytes>> = ranges.iter().enumerate().map(head).collect();
        let mut end = vec![0; multipart.end_len()];
        multipart.end(&mut end).ok()?;
        Some(Self { heads: heads?, end: end.into() })
    }
}

/// A text that nobody can have put into a body: 128 bits that are not known before.
fn boundary() -> String {
    // The standard library draws the keys of hash maps at random; a hash under such a key is as good.
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

/// Adds the bytes of a range of what lies in these bodies, one behind the other.
fn cut<'a>(bodies: &[Body<'a>], range: ByteRange, parts: &mut Vec<Body<'a>>) {
    let mut start = 0_u64;
    for body in bodies {
        let end = start.saturating_add(body.len());
        let from = range.first.clamp(start, end) - start;
        let to = range.last.saturating_add(1).clamp(start, end) - start;
        if from < to {
            parts.push(body.part(from..to));
        }
        start = end;
    }
}
