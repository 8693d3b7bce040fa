//! HTTP/1.1 on the server side, as pure functions over bytes.
//!
//! For: request heads ([`head`]), message framing ([`framing`], [`chunked`]), trailers ([`trailers`]), URL prefixes and
//! cooked URLs ([`url`]), pairs of queries and forms ([`form`], [`escape`]), cookies ([`cookie`]), response heads
//! ([`response`]), what proxies say of the client ([`proxy`], [`forwarded`]), preconditions ([`conditional`]), byte
//! ranges ([`range`]), entity tags ([`etag`]), dates ([`date`]) and the responses that refusals become ([`reject`]).
//!
//! Invariants:
//! - The verdict on a byte stream does not depend on how it was split into reads.
//! - Peer input yields a [`reject::Reject`], never a panic.
//! - Results are offsets into the caller's bytes; nothing here owns memory.
//! - Where the grammar leaves a choice, the strict reading wins: two readers of one message must not disagree
//!   about where it ends.
//! - Names, numbers, limits and errors may become more (`#[non_exhaustive]`). Exhaustive on purpose are the answers
//!   that a caller must act on, each of them ([`head::Parse`], [`chunked::Step`], [`framing::BodyLength`],
//!   [`conditional::Outcome`], [`url::CookedPath`] and the parts of a prefix), and what is plain data.
//!
//! Not here: I/O, clocks, threads, allocation, unsafe code, HTTP/2, client-side parsing.
//!
//! Source: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 3986 (URI), RFC 6265 (cookies), RFC 6585 (431), RFC 7239
//! (Forwarded), WHATWG URL Standard (forms), the PROXY protocol's own text.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod chunked;
pub mod conditional;
pub mod cookie;
pub mod date;
pub mod escape;
pub mod etag;
pub mod form;
pub mod forwarded;
pub mod framing;
pub mod head;
pub mod header;
pub mod limits;
pub mod method;
pub mod proxy;
pub mod range;
pub mod reject;
pub mod response;
pub mod trailers;
pub mod url;

mod bytes;
mod version;
mod words;
