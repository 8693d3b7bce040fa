//! What of io_uring is used, tried piece by piece, for people to be told.
//!
//! Invariants: a piece is asked for by the code that asks for it when a driver starts; behind the first refusal of what
//! a driver needs nothing is tried, since it would be refused for the same reason.
//!
//! Not here: which driver an engine has, for all that (`session::drivers`).

use super::SMALL;
use super::buffers::BufferRing;
use super::setup::{self, FEATURES, Group, Refusal, SQ_ENTRIES_MIN};
use crate::error::{Error, Result};

/// Buffers of the ring of buffers that is tried.
const BUFFERS: u16 = 16;

/// What of io_uring is used by itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct Piece {
    /// As the kernel's manual pages call it.
    pub name: &'static str,
    /// The first Linux that has it.
    pub since: &'static str,
    /// Without it, io_uring cannot be used; else it is only dearer.
    pub is_needed: bool,
    /// What came of trying it; `None` where an earlier refusal kept it from being tried.
    pub tried: Option<Result<()>>,
}

#[derive(Default)]
struct Trial {
    pieces: Vec<Piece>,
    is_over: bool,
}

impl Trial {
    fn needs<T>(&mut self, name: &'static str, since: &'static str, piece: impl FnOnce() -> Result<T>) -> Option<T> {
        self.note(name, since, true, piece)
    }

    fn gains(&mut self, name: &'static str, since: &'static str, piece: impl FnOnce() -> Result<()>) {
        self.note(name, since, false, piece);
    }

    fn note<T>(
        &mut self,
        name: &'static str,
        since: &'static str,
        is_needed: bool,
        piece: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        let tried = (!self.is_over).then(piece);
        self.is_over |= is_needed && matches!(tried, Some(Err(_)));
        let (given, tried) = match tried {
            Some(Ok(given)) => (Some(given), Some(Ok(()))),
            Some(Err(error)) => (None, Some(Err(error))),
            None => (None, None),
        };
        self.pieces.push(Piece { name, since, is_needed, tried });
        given
    }
}

/// Tries everything, on this thread, with the smallest ring that is of use; nothing is left of it.
#[must_use]
pub fn pieces() -> Vec<Piece> {
    let mut trial = Trial::default();
    let group = Group { id: SMALL, count: BUFFERS, setting: "receive_buffers" };
    let explain = |refusal| setup::explain(refusal, &[group; 4]);
    let made = || setup::settings(SQ_ENTRIES_MIN).build(SQ_ENTRIES_MIN);
    // Declared before the ring, which is to close first.
    let _buffers: Option<BufferRing>;
    let ring = trial.needs("DEFER_TASKRUN", "6.1", || made().map_err(|error| explain(Refusal::SetUp(error))));
    // Without a ring, nothing below is tried.
    let ring = || ring.as_ref().ok_or_else(|| Error::unsupported("there is no ring"));
    for (name, since, has) in FEATURES {
        trial.needs(name, since, || setup::check_feature(name, has(ring()?.params())));
    }
    _buffers = trial.needs("PBUF_RING", "5.19", || {
        let made = BufferRing::register(&ring()?.submitter(), BUFFERS, SMALL);
        made.map_err(|error| explain(Refusal::Register(group, error)))
    });
    trial.needs("ENTER", "5.1", || ring()?.submitter().submit().map_err(setup::explain_enter));
    trial.gains("NO_SQARRAY", "6.6", || {
        let made = setup::without_array(setup::settings(SQ_ENTRIES_MIN)).build(SQ_ENTRIES_MIN);
        made.map(drop).map_err(|error| Error::io("this kernel's io_uring has it not", error))
    });
    trial.gains("NO_IOWAIT", "6.15", || match ring()?.params().is_feature_no_iowait() {
        true => Ok(()),
        false => Err(Error::unsupported("this kernel's io_uring has it not")),
    });
    trial.pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_all_there_or_nothing_is_tried_behind_it() {
        let pieces = pieces();
        let refused = pieces.iter().position(|piece| piece.is_needed && matches!(piece.tried, Some(Err(_))));
        let behind = refused.map_or(pieces.len(), |at| at + 1);
        assert!(pieces[..behind].iter().all(|piece| piece.tried.is_some()), "{pieces:?}");
        assert!(pieces[behind..].iter().all(|piece| piece.tried.is_none()), "{pieces:?}");
        if let Some(at) = refused {
            let Some(Err(error)) = &pieces[at].tried else { unreachable!("it was found so") };
            assert!(error.to_string().contains("Remedy: "), "{error}");
        }
    }
}
