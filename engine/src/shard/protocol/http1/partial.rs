//! What is here of something that comes before a body and is not whole.
//!
//! Invariants: a part of a head has its cell until the head is whole or given up.
//!
//! Not here: what is done with it (`assembly`, `preface`), and bodies (`state`).

use crate::clock::Tick;
use crate::proxied::ProxyProtocol;
use crate::queue::HeadCell;

/// A part of a head that is not whole.
#[derive(Debug)]
pub(crate) struct PartialHead {
    /// Has its bytes.
    pub(super) cell: HeadCell,
    pub(super) len: u32,
    /// When the first of them came: see `Dispatch::arrived`.
    pub(super) since: u32,
    /// When the last of them came.
    pub(super) grown: Tick,
    /// Its deadline is set.
    pub(super) is_timed: bool,
    /// It is whole but for what is held, and so many bytes of its body wait for a promise.
    pub(super) unpromised: u32,
}

/// A header of the PROXY protocol of which not all is here.
#[derive(Debug, Default)]
pub(crate) struct Preface {
    /// What is here of it, if anything.
    pub(super) begun: Vec<u8>,
    /// The connection may not begin with anything else.
    pub(super) is_required: bool,
    /// Its deadline is set.
    pub(super) is_timed: bool,
}

impl Preface {
    pub(super) fn of(protocol: ProxyProtocol) -> Self {
        Self { is_required: protocol == ProxyProtocol::Required, ..Self::default() }
    }
}
