//! What comes before the first request where a proxy says whose connection this is: a header of the PROXY protocol.
//!
//! Invariants: nothing of a request is looked at before the header is whole, or is known not to come; from then on the
//! connection counts as its client's, or ends if that has too many; what belongs to a request is given on as it came.
//!
//! Not here: the grammar (`ringress_proto::proxy`), whom a header is believed of (`shard`), what applications see of it
//! (rooms `proxied`, `api`).

use ringress_proto::proxy::{self, Parse, Relayed};

use super::Http1;
use super::input::Taken;
use super::partial::PartialHead;
use super::state::Intake;
use crate::admission::Over;
use crate::driver::Io;
use crate::mem::Input;
use crate::shard::protocol::Protocol;
use crate::shard::transport::Resource;

/// Bytes of the longest header that is taken. The text asks for 536 at least; what proxies add, such as the certificate
/// of a client, may take more.
const BYTES_MAX: usize = 4096;

/// What has come of a header.
enum Come {
    /// So many bytes of the input, and more are to come.
    Part(usize),
    /// Its end, behind so many bytes of the input.
    Whole(usize),
    /// Something else.
    Other,
    Malformed,
    /// The end of one that says that it is one too many of its client's.
    TooMany,
}

impl<I: Io> Protocol<I> {
    /// Takes what comes where a header is awaited.
    #[cold]
    pub(super) fn take_preface(&mut self, connection: &mut Http1, input: Input<'_>) -> Taken {
        match self.read_preface(connection, input) {
            Come::Part(bytes) => Taken::Bytes(u32::try_from(bytes).unwrap_or(input.len())),
            Come::Whole(bytes) => {
                connection.intake = Intake::Nothing;
                self.await_first_request(connection);
                Taken::Bytes(u32::try_from(bytes).unwrap_or(input.len()))
            }
            Come::Other => self.begin_without_preface(connection),
            Come::TooMany => {
                self.close(&mut connection.link);
                Taken::Over
            }
            Come::Malformed => {
                self.counters.proxy_headers_malformed.count();
                self.close(&mut connection.link);
                Taken::Over
            }
        }
    }

    fn read_preface(&mut self, connection: &mut Http1, input: Input<'_>) -> Come {
        let Http1 { intake: Intake::Preface(preface), .. } = connection else { return Come::Other };
        let before = preface.begun.len();
        let input = self.dispatch.input(input);
        let input = &input[..input.len().min(BYTES_MAX - before)];
        if before > 0 {
            preface.begun.extend_from_slice(input);
        }
        let bytes = if before > 0 { &preface.begun[..] } else { input };
        match proxy::parse(bytes, BYTES_MAX) {
            Parse::Complete(header) => {
                let (end, relayed) = (header.bytes(), header.relayed());
                let header: Box<[u8]> = bytes[..end].into();
                match self.is_relayed(connection, relayed, &header) {
                    Ok(()) => Come::Whole(end - before),
                    Err(over) => {
                        self.count_over(over);
                        Come::TooMany
                    }
                }
            }
            Parse::Partial => {
                if before == 0 {
                    preface.begun.extend_from_slice(input);
                }
                Come::Part(input.len())
            }
            Parse::Absent => {
                preface.begun.truncate(before);
                Come::Other
            }
            Parse::Malformed(_) => Come::Malformed,
        }
    }

    /// A proxy has said whose connection this is.
    ///
    /// # Errors
    /// That client has as many as it may; the connection is the proxy's still.
    fn is_relayed(&mut self, connection: &mut Http1, relayed: Relayed, header: &[u8]) -> Result<(), Over> {
        if relayed == Relayed::Own {
            return Ok(());
        }
        connection.is_proxied = true;
        self.counters.connections_proxied.count();
        self.dispatch.is_proxied(connection.key(), connection.peer, header);
        if let Relayed::Client { source, .. } = relayed {
            let limited = Some(source.ip()).filter(|ip| !self.dispatch.peers().is_trusted(Some(*ip)));
            self.admitted.move_to(connection.key(), limited, self.transport.clock.micros())?;
            connection.peer = source.into();
            let inputs = connection.link.socket.inputs();
            self.dispatch.peers_mut().move_to(connection.key(), source.ip(), inputs);
        }
        Ok(())
    }

    /// What comes is no header. Where none has to be, it is a request, of which the first bytes may have been kept.
    fn begin_without_preface(&mut self, connection: &mut Http1) -> Taken {
        let Intake::Preface(preface) = &connection.intake else { return Taken::Over };
        if preface.is_required {
            self.preface_is_missing(connection);
            return Taken::Over;
        }
        if preface.begun.is_empty() {
            connection.intake = Intake::Nothing;
            self.await_first_request(connection);
            return Taken::Bytes(0);
        }
        let Some(cell) = self.dispatch.keep_begun(&preface.begun) else {
            return self.take_later(connection, Resource::Cell);
        };
        self.counters.copies.count();
        let len = u32::try_from(preface.begun.len()).unwrap_or(u32::MAX);
        let (since, grown) = (self.dispatch.arrived(), self.transport.tick);
        connection.intake = Intake::Head(PartialHead::new(cell, len, since, grown));
        self.set_timer(connection);
        Taken::Bytes(0)
    }

    /// A header has to come, and does not.
    #[cold]
    pub(super) fn preface_is_missing(&mut self, connection: &mut Http1) {
        self.counters.proxy_headers_missing.count();
        self.close(&mut connection.link);
    }
}
