//! ringress brings the programming model of the HTTP Server API to Linux: the engine owns sockets, parsing, routing and
//! timeouts on per-core shards that each run one io_uring; an application owns nothing but a [`RequestQueue`].
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use ringress::{Engine, Response};
//!
//! fn main() -> ringress::Result<()> {
//!     let server = Engine::serve("http://127.0.0.1:8080/", |_request| Response::text("Hello, World!"))?;
//!     println!("listening on {}", server.url());
//!     // On Ctrl-C or SIGTERM, what is under way has five seconds to end.
//!     server.run_until_signal(Duration::from_secs(5))
//! }
//! ```
//!
//! [`Engine::serve`] makes all parts of a server in one call, [`Engine::open`] all but who answers. More URLs and other
//! settings take the parts one by one.
//!
//! # Parts
//! An [`Engine`] has [`RequestQueue`]s, and [`ServerSession`]s with [`UrlGroup`]s. [`UrlGroup::add_url`] says which
//! requests are a group's, [`UrlGroup::bind`] to which queue they go. A URL opens its port on all addresses, unless
//! [`Engine::listen`] was asked for some before. A pool of threads calls a handler with each request and sends what it
//! returns ([`RequestQueue::serve`]); or any number of your own threads [receive](RequestQueue::receive) requests, one
//! by one or in [batches](RequestQueue::receive_batch), and answer by handle ([`Request::respond`]) or by id
//! ([`RequestQueue::respond`]), at once or later, from any thread. Bounds are set by [`EngineBuilder`]; timers and
//! limits that change live are [`Properties`]; [`Engine::counters`] tells what came of it all, [`Engine::snapshot`] of
//! each part.
//!
//! # Reading
//! A [`Request`] is read where it lies: [`header`](Request::header) by any name in any case, [`path`](Request::path) or
//! what is [below](Request::rest) the prefix that matched, [segments](Request::path_segments) decoded one by one,
//! [pairs](Request::query_pairs) of the query, [`cookies`](Request::cookies).
//!
//! # Bodies
//! A request is delivered when its head is whole. [`Request::whole_body`] is its body, if all of that came along; else
//! [`Request::body`] reads on: into a buffer ([`RequestBody::read`]), in place ([`RequestBody::next_chunk`]), or all of
//! it up to a limit ([`RequestBody::to_bytes`], [`RequestBody::to_form`]). A response has a [`Body`] of memory or of a
//! [`FileRange`]; [`Response::select`] makes of it what conditions and ranges ask for.
//!
//! # Streams
//! [`Request::start`] sends a head, and gives a [`ResponseStream`] for the body, which waits for slow clients; the
//! request's body can be read [meanwhile](ResponseStream::body). [`Request::upgrade`] switches to another protocol and
//! gives the connection as [`Upgraded`].
//!
//! # A client that left
//! What is done for a request that is over fails as [`ErrorKind::Gone`] ([`Error::is_gone`]): pass over it.
//! [`Request::on_disconnect`] and [`Request::on_half_close`] tell earlier, while a response is being made;
//! [`Request::respond_with_completion`] and [`ResponseStream::finish`] give a [`Completion`], which tells whether all
//! was sent.
//!
//! # Futures and runtimes
//! What waits has a form that is a future, as [`RequestQueue::receive_async`], for any executor or none. Dropping one
//! loses nothing but the chunk that a send owns. [`block_on`] waits for one on the current thread, and drives the shard
//! of a thread that is [attached](Engine::attach) to one ([`Mode::Colocated`]). The example `tokio` is a server with a
//! task for each request.
//!
//! With the feature `axum`, `ringress::axum::serve` serves an axum router as `axum::serve` does: the example `axum`.
//! With the feature `tower`, `ringress::tower::serve` gives requests to any `tower_service::Service` of the crate
//! `http`, on any runtime.
//!
//! # Stopping
//! [`Engine::shutdown`] lets what is under way be answered for a time; then every receive fails as
//! [`ErrorKind::Closed`] ([`Error::is_closed`]), which ends the loop. [`Engine::run_until_signal`] does that on SIGINT
//! and SIGTERM. Dropping the engine stops it at once. It ends by
//! itself only when a shard fails; [`Engine::failure`] and [`Engine::wait`] give the reason then. A request
//! that is dropped unanswered gets 500.
//!
//! # Features
//! * `signal` (on by default): `ringress::signal` and `run_until_signal`.
//! * `http`: `http::StatusCode`, `http::HeaderName` and `http::HeaderValue` in responses; `ringress::http` is that
//!   crate.
//! * `tower` (with `http`): `ringress::tower`. `axum` (with `tower`): `ringress::axum`.
//! * `admin`: `ringress::admin`, metrics in OpenMetrics, health and a status page on a port of their own.
//! * `tracing`: an event for `tracing` when an engine has started, with its driver, and why that is not io_uring.
//! * `command`: the program `ringress`, and what it needs; nothing here.
//!
//! # Absent
//! TLS, HTTP/2 and caching, for now; an HTTP client, routing by pattern and middleware, for good.

// On docs.rs each item says the feature that it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "ringress runs on Linux alone: its shards are driven by io_uring or epoll, interfaces of Linux. Build for a target \
    like x86_64-unknown-linux-gnu, or leave ringress out of other targets in Cargo.toml: \
    [target.'cfg(target_os = \"linux\")'.dependencies]"
);

#[cfg(feature = "admin")]
pub mod admin;
mod admission;
mod api;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "bench-door")]
#[doc(hidden)]
pub mod bench_door;
mod candidates;
mod clock;
mod config;
mod conn;
mod counters;
#[cfg(feature = "command")]
#[doc(hidden)]
pub mod diagnostics;
#[expect(unsafe_code, reason = "lends memory to the kernel")]
mod driver;
mod error;
mod foreign;
mod id;
mod log;
#[expect(unsafe_code, reason = "memory that the kernel and the applications share")]
mod mem;
mod peers;
mod policy;
#[cfg(feature = "axum")]
mod promise;
mod proxied;
#[expect(unsafe_code, reason = "hands that memory over between threads")]
mod queue;
mod record;
mod route;
mod serve;
mod session;
mod shard;
#[cfg(feature = "signal")]
pub mod signal;
mod slab;
mod stream;
mod timer;
#[cfg(feature = "tower")]
pub mod tower;

/// The crate `bytes`, in the version whose [`Bytes`](bytes::Bytes) bodies are given and read as.
pub use bytes;
/// The crate `http`, in the version whose statuses, names and values responses take.
#[cfg(feature = "http")]
pub use http;
pub use ringress_proto::date::{imf_fixdate as format_date, parse_imf_fixdate as parse_date};
pub use ringress_proto::head::Version;
pub use ringress_proto::header::{KnownHeader, ResponseHeader};
pub use ringress_proto::limits::Limits;
pub use ringress_proto::method::Method;
pub use ringress_proto::proxy::Tls as ProxyTls;
pub use ringress_proto::range::{ByteRange, Ranges, Selection};
pub use ringress_proto::trailers::Trailers;
pub use ringress_proto::url::TargetForm;

pub use self::admission::ConnectionLimits;
pub use self::api::{
    Batch, Body, Chunk, Completion, Cookies, Disconnect, FieldName, FillBuffer, Form, HeaderName, HeaderValue,
    HeaderValues, Headers, IntoFd, LogData, NextChunk, Pairs, Precondition, ProxyHeader, ReadBytes, Receive,
    ReceiveBatch, Request, RequestBody, Response, ResponseStream, Segments, SendChunk, Sent, StatusCode, StreamReady,
    ToBytes, ToForm, TrySendError, Upgraded, UpgradedReader, UpgradedWriter, Validators, block_on,
};
pub use self::config::{Capacity, Driver, Mode, PoolCapacity};
pub use self::counters::{Counters, Histogram, Latency, RequestCounters};
pub use self::error::{Error, ErrorKind, Result};
pub use self::id::{ConnectionId, QueueId, RequestId, SessionId, UrlGroupId};
pub use self::log::{LogFields, LogFormat, Logging, Rollover};
pub use self::peers::Network;
pub use self::policy::{Properties, Refusals, Verbosity};
pub use self::proxied::ProxyProtocol;
pub use self::queue::{Disconnected, WaitStrategy};
pub use self::serve::{IntoReply, Pool, Reply, Server, Site};
pub use self::session::{
    AddressInfo, Attached, Endpoint, Engine, EngineBuilder, EngineSnapshot, Event, HandedOver, Listener,
    ListenerSnapshot, Phase, QueueInfo, QueueOptions, QueueSnapshot, RequestQueue, ServerSession, SessionSnapshot,
    ShardSnapshot, ShardState, Stopped, UrlGroup, UrlGroupInfo, UrlGroupSnapshot, UrlInfo,
};
pub use self::stream::FileRange;
