//! What is here of something that comes before a body and is not whole.
//!
//! Invariants: a part of a head has its cell until the head is whole or given up.
//!
//! Not here: what is done with it (`assembly`, `preface`), and bodies (`state`).

use crate::clock::Tick;
use crate::proxied::ProxyProtocol;
use crate::queue::HeadCell;
use crate::timer::NEVER;

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
    /// When it has to be whole, or, if it waits for something, to go on, at the latest; `NEVER`: not known yet.
    pub(super) due: Tick,
    /// It is whole but for what is held, and so many bytes of its body wait for a promise.
    pub(super) unpromised: u32,
}

impl PartialHead {
    pub(super) fn new(cell: HeadCell, len: u32, since: u32, grown: Tick) -> Self {
        Self { cell, len, since, grown, is_timed: false, due: NEVER, unpromised: 0 }
    }
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
