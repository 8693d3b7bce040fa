//! ringress brings the programming model of the HTTP Server API to Linux: the engine owns sockets, parsing, routing and
//! timeouts on per-core shards that each run one io_uring; an application owns nothing but a [`RequestQueue`].
//!
//! ```no_run
//! use ringress::{Engine, Response};
//!
//! fn main() -> ringress::Result<()> {
//!     let engine = Engine::start()?;
//!     let queue = engine.request_queue("hello")?;
//!     let address = engine.listen(([127, 0, 0, 1], 8080).into())?;
//!     let session = engine.server_session();
//!     let group = session.url_group();
//!     group.bind(&queue)?;
//!     group.add_url("http://*:8080/", 0)?;
//!     println!("listening on http://{address}/");
//!     loop {
//!         let answered = queue.receive()?.respond(Response::text("Hello, World!"));
//!         // A client that left before its answer is no reason to stop.
//!         answered.or_else(|error| if error.is_gone() { Ok(()) } else { Err(error) })?;
//!     }
//! }
//! ```
//!
//! # Rooms
//! `id`, `error`, `slab`, `clock`, `timer`, `counters` stand alone; `mem` owns shared memory, `stream` is an answer in
//! pieces, `queue` hands requests over, `ring` speaks to the kernel (`mem`, `queue` and `ring` alone may be unsafe);
//! `record` is what a request looks like between them; `conn` says what a connection may do, `policy` how long it may
//! take, `route` where a request goes; `shard` joins all of them on one thread; `session` and `api` are the public
//! face, and `tower`, behind a feature, that of the crate `http`. `docs/design.md` draws a request's way through them.
//!
//! # Absent
//! TLS, HTTP/2, caching and logging, for now; an HTTP client, routing by pattern and middleware, for good.

#![deny(unsafe_code)]

mod api;
mod clock;
mod config;
mod conn;
mod counters;
mod error;
mod id;
#[expect(unsafe_code, reason = "memory that the kernel and the applications share")]
mod mem;
mod policy;
#[expect(unsafe_code, reason = "hands that memory over between threads")]
mod queue;
mod record;
#[expect(unsafe_code, reason = "lends that memory to the kernel")]
mod ring;
mod route;
mod session;
mod shard;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
mod slab;
mod stream;
mod timer;
#[cfg(feature = "tower")]
pub mod tower;

pub use ringress_proto::date::{imf_fixdate as format_date, parse_imf_fixdate as parse_date};
pub use ringress_proto::head::Version;
pub use ringress_proto::header::{HeaderName, KnownHeader, ResponseHeader};
pub use ringress_proto::limits::Limits;
pub use ringress_proto::method::Method;
pub use ringress_proto::range::{ByteRange, Ranges, Selection};
pub use ringress_proto::trailers::Trailers;
pub use ringress_proto::url::TargetForm;

pub use self::api::{
    Batch, Body, Chunk, Completion, Disconnect, Headers, Precondition, Receive, Request, RequestBody, Response,
    ResponseStream, SendChunk, Sent, TrySendError, Upgraded, UpgradedReader, UpgradedWriter, Validators, block_on,
};
pub use self::config::Mode;
pub use self::counters::Counters;
pub use self::error::{Error, ErrorKind, Result};
pub use self::id::{ConnectionId, RequestId};
pub use self::policy::Properties;
pub use self::queue::{Disconnected, WaitStrategy};
pub use self::session::{Attached, Engine, EngineBuilder, QueueOptions, RequestQueue, ServerSession, UrlGroup};
pub use self::stream::FileRange;
