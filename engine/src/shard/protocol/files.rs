//! Longer parts of files go out by sendfile(2), on a helper of the ring's: the shard hands a part over, and goes on
//! when it is reported.
//!
//! ```text
//!   hand over ──▶ File ──all sent──▶ look again (`stream`)
//!      ▲           │ └──fails───▶ cut, lost, or reads only from now on
//!      │           ▼ the socket is full
//!      └──room─── FileRoom: as of what is in memory (`room`)
//! ```
//!
//! Invariants: nothing else is sent on a connection from the handing over to the last report; the descriptor is not
//! closed and the slot not freed while the helper has the part; a client is judged only while it is its turn, never
//! while the helper, or the disk behind it, has the part.
//!
//! Not here: which parts of files go this way (`stream`), and the helper (room `ring`).

use super::Protocol;
use super::link::{Link, Out};
use super::stream::Progress;
use crate::driver::{FilePart, Io};
use crate::queue::Slot;
use crate::shard::transport::Taken;
use crate::stream::{Data, Outgoing};

/// Bytes of a part that is handed over at once: results are 31 bits.
const PART_BYTES_MAX: u32 = 1 << 30;

/// What is next of a stream whose next byte is a file's.
fn next_part(outgoing: &Outgoing) -> Option<FilePart> {
    let (piece, sent) = outgoing.pieces().next()?;
    let Data::File(range) = piece.data() else { return None };
    let done = sent.checked_sub(piece.frame().len() as u64)?;
    let left = range.len.saturating_sub(done).min(u64::from(PART_BYTES_MAX));
    let len = u32::try_from(left).unwrap_or(PART_BYTES_MAX);
    Some(FilePart { file: range.file.share(), offset: range.offset.saturating_add(done), len })
}

impl<I: Io> Protocol<I> {
    /// Hands the file's part that is next to the helper. `false`: there is none.
    pub(super) fn begin_file(&mut self, link: &mut Link, slot: Slot) -> bool {
        let Some(part) = self.dispatch.outgoing(slot).and_then(|outgoing| next_part(outgoing)) else { return false };
        link.begin_out(Out::Stream { slot, last: false }, part.len);
        self.transport.send_file(&mut link.socket, part);
        true
    }

    /// A part of a file is reported.
    #[cold]
    pub(super) fn file_progress(&mut self, link: &mut Link, taken: Taken) -> Progress {
        let Some(slot) = link.streamed() else { return Progress::Nothing };
        if link.socket.is_closing() {
            if let Taken::Bytes(bytes) = taken {
                self.advance_stream(link, slot, bytes);
            }
            return Progress::Nothing;
        }
        match taken {
            Taken::Bytes(bytes) => return self.file_went(link, slot, bytes),
            Taken::PeerGone => self.client_gone(link),
            Taken::FileFailed => self.truncate_response(link, slot),
            Taken::FileUnsuited => self.read_instead(link, slot),
        }
        Progress::Nothing
    }

    fn file_went(&mut self, link: &mut Link, slot: Slot, bytes: u32) -> Progress {
        self.advance_stream(link, slot, bytes);
        link.out_taken += bytes;
        if link.out_taken < link.out_len {
            return Progress::Short;
        }
        link.out = Out::Nothing;
        link.socket.took_all();
        Progress::Ended
    }

    /// There is room for the rest of a file's part.
    pub(super) fn go_on_with_file(&mut self, link: &mut Link, slot: Slot) {
        let left = link.out_len - link.out_taken;
        if let Some(part) = self.dispatch.outgoing(slot).and_then(|outgoing| next_part(outgoing)) {
            self.transport.send_file(&mut link.socket, FilePart { len: left, ..part });
        }
    }

    /// This is no file that can be sent otherwise.
    fn read_instead(&mut self, link: &mut Link, slot: Slot) {
        if let Some(outgoing) = self.dispatch.outgoing(slot) {
            outgoing.reads_only = true;
        }
        link.out = Out::Nothing;
        self.queue_flush(link);
    }
}
