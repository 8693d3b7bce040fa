//! The shard that a thread drives itself, in co-located mode.

use core::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Attached, EngineShared, LiveShard};
use crate::error::{Error, Result};
use crate::foreign::OnShard;
use crate::queue::Bell;
use crate::shard::Driven;

struct Local {
    shared: Arc<EngineShared>,
    shard: LiveShard,
    /// Answers given on this thread return to the shard directly.
    _driven: Driven,
}

thread_local! {
    /// Which engine's shard this thread drives: engine 0 for none.
    static ATTACHED: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
    static SHARD: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// The shard of this engine that the current thread drives, if any.
#[inline]
pub(crate) fn attached_shard(engine: u64) -> Option<usize> {
    let (attached, shard) = ATTACHED.with(Cell::get);
    (attached == engine).then_some(shard)
}

/// Whether the current thread drives a shard of this engine.
pub(super) fn drives(engine: u64) -> bool {
    attached_shard(engine).is_some()
}

/// One turn of the current thread's shard.
///
/// # Errors
/// [`Closed`](crate::ErrorKind::Closed) when the shard has stopped or failed, or none is attached; the failure itself
/// from the turn that met it.
#[inline]
pub(crate) fn drive(patience: Option<Duration>) -> Result<()> {
    let turned = SHARD.with(|shard| match shard.borrow_mut().as_mut() {
        Some(local) if !local.shard.is_done() => {
            let _on_shard = OnShard::enter(local.shared.id);
            local.shard.turn(patience).map_err(Some)
        }
        _ => Err(None),
    });
    turned.map_err(|failure| failure.map_or(Error::CLOSED, fail))
}

/// Ends the current thread's shard, which has failed. At once: this thread may not let go of it for long.
#[cold]
fn fail(failure: Error) -> Error {
    if let Some(local) = SHARD.with(|place| place.replace(None)) {
        let (_, index) = ATTACHED.with(Cell::get);
        let _on_shard = OnShard::enter(local.shared.id);
        local.shard.end();
        local.shared.shard_ended(index, Err(failure.clone()));
    }
    failure
}

/// Whether the current thread drives a shard that has stopped or failed, so that nothing more will come to it.
pub(crate) fn is_over() -> bool {
    // Within a turn the shard is borrowed, and not over.
    let done = |shard: &RefCell<Option<Local>>| {
        shard.try_borrow().is_ok_and(|local| local.as_ref().is_none_or(|local| local.shard.is_done()))
    };
    ATTACHED.with(Cell::get).0 != 0 && SHARD.with(done)
}

/// The bell of the shard that the current thread drives, if it drives one.
pub(crate) fn driven_bell() -> Option<&'static Bell> {
    if ATTACHED.with(Cell::get).0 == 0 {
        return None;
    }
    SHARD.with_borrow(|shard| shard.as_ref().map(|local| local.shard.bell()))
}

pub(super) fn attach(shared: &Arc<EngineShared>, index: usize) -> Result<Attached> {
    if ATTACHED.with(Cell::get).0 != 0 {
        return Err(Error::invalid("attach: this thread drives a shard already; drop that first"));
    }
    let shard = shared.make_shard(index)?;
    let driven = shard.drive_here();
    SHARD.with(|place| place.replace(Some(Local { shared: Arc::clone(shared), shard, _driven: driven })));
    ATTACHED.with(|attached| attached.set((shared.id, index)));
    Ok(Attached { shared: Arc::clone(shared), _of_this_thread: core::marker::PhantomData })
}

/// Ends the current thread's shard, without grace if it has not stopped yet.
pub(super) fn detach(shared: &EngineShared) {
    let (_, index) = ATTACHED.with(|attached| attached.replace((0, 0)));
    let Some(mut local) = SHARD.with(|place| place.replace(None)) else { return };
    let _on_shard = OnShard::enter(shared.id);
    let mut result = Ok(());
    local.shard.stop(Duration::ZERO);
    while result.is_ok() && !local.shard.is_done() {
        result = local.shard.turn(Some(Duration::from_millis(10)));
    }
    local.shard.end();
    shared.shard_ended(index, result);
}
