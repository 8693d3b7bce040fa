//! Everything but the common way: httparse reads the whole head, and what it leaves open is judged here.
//!
//! Invariants: what is unusual, unfinished or wrong is judged here. The order of the checks is the order in which the
//! bytes arrive, so that the verdict does not depend on how much of the input beyond the decisive byte is already
//! there.
//!
//! Not here: the quick way for usual heads (`common`), and what fields say of host, body and connection (`facts`).

use super::facts::{Facts, Line};
use super::{Head, HeaderSpan, METHOD_BYTES_MAX, Parse, Span, Version};
use crate::bytes::{is_token_byte, offset};
use crate::header::KnownHeader;
use crate::limits::{HEADER_COUNT_MAX, Limits};
use crate::method::Method;
use crate::reject::Reject;
use core::mem::MaybeUninit;

/// Bytes of `HTTP/1.1`.
const VERSION_BYTES: usize = 8;

/// Parses the head at the start of `input`, which is at most `head_bytes_max` long.
///
/// Never inlined: its memory would be the common way's, too.
#[inline(never)]
pub(super) fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Parse, Reject> {
    let skipped = match input {
        [b'\r' | b'\n', ..] | [] => match leading_line(input)? {
            Some(skipped) => skipped,
            None => return partial(input, limits),
        },
        _ => 0,
    };
    let mut fields = [const { MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let field_count_max = usize::from(limits.header_count_max).min(HEADER_COUNT_MAX);
    let mut request = httparse::Request::new(&mut []);
    let outcome = request.parse_with_uninit_headers(&input[skipped..], &mut fields[..field_count_max]);
    let (Some(method), Some(target), Ok(httparse::Status::Complete(len))) = (request.method, request.path, outcome)
    else {
        return unfinished(input, skipped, &request, outcome.err(), limits);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(Reject::BadMethod);
    }
    if target.len() > usize::from(limits.target_bytes_max) {
        return Err(Reject::TargetTooLong);
    }
    if !is_allowed(target, limits) {
        return Err(Reject::BadTarget);
    }
    let method_name = Span { start: offset(skipped), len: offset(method.len()) };
    let target = Span { start: offset(method_name.end() + 1), len: offset(target.len()) };
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let method = Method::from_bytes(method.as_bytes());
    let line = Line { method, method_name, target, plain_path_len: 0, method_is_safe: method.is_safe(), version };
    complete(input, &line, request.headers, skipped + len, head).map(|()| Parse::Complete)
}

/// Whether a target has only bytes that may be in one (RFC 3986 section 2; what is not ASCII is escaped).
fn is_allowed(target: &str, limits: &Limits) -> bool {
    limits.raw_target_bytes || target.is_ascii()
}

/// Judges a head that is whole, `head_len` bytes of `input`, and stores it.
#[inline]
fn complete(
    input: &[u8],
    line: &Line,
    fields: &[httparse::Header<'_>],
    head_len: usize,
    head: &mut Head,
) -> Result<(), Reject> {
    let mut facts = Facts::NONE;
    for (field, header) in fields.iter().zip(&mut head.headers) {
        place(input, field, header)?;
        facts.note(header.known, header.value_span(), input)?;
    }
    if input.get(..head_len).and_then(<[u8]>::last_chunk) != Some(b"\r\n\r\n") {
        return Err(Reject::BareLineFeed);
    }
    facts.judge(input, line, fields.len(), head_len, head)
}

/// Checks the end of the line before `field` and stores where the field is.
fn place(input: &[u8], field: &httparse::Header<'_>, header: &mut HeaderSpan) -> Result<(), Reject> {
    let base = input.as_ptr().addr();
    let name = field.name.as_bytes();
    let name_start = name.as_ptr().addr() - base;
    if input.get(..name_start).and_then(<[u8]>::last_chunk) != Some(b"\r\n") {
        return Err(Reject::BareLineFeed);
    }
    let Ok(name_len) = u8::try_from(name.len()) else {
        return Err(Reject::HeaderNameTooLong);
    };
    header.name_start = offset(name_start);
    header.name_len = name_len;
    header.known = KnownHeader::lookup(name);
    header.value_start = offset(field.value.as_ptr().addr() - base);
    header.value_len = offset(field.value.len());
    Ok(())
}

/// Bytes to skip before the request line: 0 or one CRLF; `None` if more bytes are needed to tell.
#[cold]
fn leading_line(input: &[u8]) -> Result<Option<usize>, Reject> {
    match input {
        [] | [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Reject::BadRequestLine),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r', ..] => Err(Reject::BareCarriageReturn),
        [b'\n', ..] => Err(Reject::BareLineFeed),
        _ => Ok(Some(0)),
    }
}

/// More bytes are needed: answers whether more are allowed.
fn partial(input: &[u8], limits: &Limits) -> Result<Parse, Reject> {
    if input.len() >= usize::from(limits.head_bytes_max) {
        return Err(Reject::HeadTooLarge);
    }
    Ok(Parse::Partial)
}

/// Everything but a complete head. `error` is `None` if the input ended first.
///
/// The order of the checks is the order in which the bytes arrive, so that the verdict does not depend on how much
/// of the input beyond the decisive byte is already there.
#[cold]
fn unfinished(
    input: &[u8],
    skipped: usize,
    request: &httparse::Request<'_, '_>,
    error: Option<httparse::Error>,
    limits: &Limits,
) -> Result<Parse, Reject> {
    let rest = &input[skipped..];
    let Some(method) = request.method else {
        let method_len = rest.iter().take_while(|&&byte| is_token_byte(byte)).count();
        let wrong = error.is_some() || method_len > METHOD_BYTES_MAX;
        return if wrong { Err(Reject::BadMethod) } else { partial(input, limits) };
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(Reject::BadMethod);
    }
    let target = &rest[method.len() + 1..];
    let target_len = target.iter().take_while(|&&byte| byte > b' ' && byte != 0x7f).count();
    if target_len > usize::from(limits.target_bytes_max) {
        return Err(Reject::TargetTooLong);
    }
    if request.path.is_some_and(|target| !is_allowed(target, limits)) {
        return Err(Reject::BadTarget);
    }
    let Some(error) = error else {
        return partial(input, limits);
    };
    if request.path.is_none() {
        return Err(match target.get(target_len) {
            Some(b'\r' | b'\n') => Reject::BadRequestLine,
            _ => Reject::BadTarget,
        });
    }
    match error {
        httparse::Error::Version => bad_version(&target[target_len + 1..]).map_or_else(|| partial(input, limits), Err),
        httparse::Error::TooManyHeaders => Err(Reject::TooManyHeaders),
        httparse::Error::HeaderName if has_fold(rest) => Err(Reject::ObsoleteFold),
        httparse::Error::HeaderName => Err(Reject::BadHeaderName),
        httparse::Error::HeaderValue => Err(Reject::BadHeaderValue),
        _ => Err(match target.get(target_len + 1 + VERSION_BYTES) {
            Some(b'\r') => Reject::BareCarriageReturn,
            _ => Reject::BadRequestLine,
        }),
    }
}

/// Judges a version that is not 1.0 or 1.1; `None` while it may still become well-formed.
fn bad_version(text: &[u8]) -> Option<Reject> {
    const FORM: &[u8; VERSION_BYTES] = b"HTTP/d.d";
    let fits = |(&byte, &form): (&u8, &u8)| if form == b'd' { byte.is_ascii_digit() } else { byte == form };
    if !text.iter().zip(FORM).all(fits) {
        return Some(Reject::BadVersion);
    }
    (text.len() >= VERSION_BYTES).then_some(Reject::UnsupportedVersion)
}

/// Whether a line of the head begins with white space.
fn has_fold(input: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', input).any(|at| matches!(input.get(at + 1), Some(b' ' | b'\t')))
}
