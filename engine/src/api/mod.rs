//! What applications see: requests to read, responses to give, and the ways to wait for the next.
//!
//! Invariants: a request is answered once, by its handle or by its id; dropping it unanswered answers 500 and is
//! counted; reading it copies nothing; answering it copies the response into the shard's memory and allocates only for
//! a borrowed body that does not fit there, for a body in pieces, for a fifth header field, for names and values that a
//! response owns, and for a selected response.
//!
//! Not here: sockets, rings and parsing; the control plane (room `session`).

mod body;
mod completion;
mod disconnect;
mod log_data;
mod proxy;
mod reading;
mod receive;
mod request;
mod response;
mod select;
mod sender;
mod stream;
mod upgrade;
mod validators;
mod wait;

pub use body::{Chunk, FillBuffer, NextChunk, ReadBytes, RequestBody, ToBytes};
pub use completion::{Completion, Sent};
pub use disconnect::Disconnect;
pub use log_data::LogData;
pub use proxy::ProxyHeader;
pub use reading::{Cookies, FieldName, Form, HeaderValues, Headers, Pairs, Segments, ToForm};
#[cfg(feature = "tower")]
pub(crate) use receive::Place;
pub use receive::{Batch, Receive, ReceiveBatch};
pub use request::Request;
pub use response::{Body, HeaderName, HeaderValue, Response, StatusCode};
pub use select::Precondition;
pub use sender::{SendChunk, TrySendError};
pub use stream::{ResponseStream, StreamReady};
pub use upgrade::{IntoFd, Upgraded, UpgradedReader, UpgradedWriter};
pub use validators::Validators;
pub use wait::block_on;
