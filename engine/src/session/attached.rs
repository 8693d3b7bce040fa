//! The shard that a thread drives itself, in co-located mode.
//!
//! Invariants: a shard that fails or panics in a turn ends with that turn; one whose thread ends ends with it, at the
//! latest when its thread-locals are destroyed; who is called within a turn cannot begin another one.
//!
//! Not here: what happens in a turn (room `shard`), making a shard and ending it (`control`), and shards on threads of
//! the engine's (`engine`).

use core::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::control::EngineShared;
use super::drivers::LiveShard;
use crate::error::{Error, Result};
use crate::foreign::{self, OnShard};
use crate::queue::Notifier;
use crate::shard::{Driven, Leave};

struct AttachedShard {
    shared: Arc<EngineShared>,
    index: usize,
    shard: LiveShard,
    /// Answers given on this thread return to the shard directly.
    driven: Driven,
}

/// Where a thread keeps its shard.
struct ThreadShard(Option<AttachedShard>);

impl Drop for ThreadShard {
    /// The thread ends, and nobody has let go of its shard.
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(end);
    }
}

thread_local! {
    /// Which engine's shard this thread drives: engine 0 for none.
    static ATTACHED: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
    static SHARD: RefCell<ThreadShard> = const { RefCell::new(ThreadShard(None)) };
    /// The shard was let go of within its own turn: it ends behind that.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// Takes the shard out of its place, if it is there and not in a turn. A thread that ends has no place any more.
fn take() -> Option<AttachedShard> {
    SHARD.try_with(|place| place.try_borrow_mut().ok()?.0.take()).ok()?
}

/// The shard of this engine that the current thread drives, if any.
#[inline]
pub(crate) fn attached_shard(engine: u64) -> Option<usize> {
    let (attached, shard) = ATTACHED.get();
    (attached == engine).then_some(shard)
}

/// Whether the current thread drives a shard of this engine.
pub(super) fn drives(engine: u64) -> bool {
    attached_shard(engine).is_some()
}

/// Whether the current thread drives a shard of any engine, whose clients stand still while it waits.
pub(super) fn drives_any() -> bool {
    ATTACHED.get().0 != 0
}

/// Why there was no turn, or no further one.
enum Stop {
    /// No shard is attached, or it has ended.
    Over,
    /// There is a turn already, and this is called within it.
    InTurn,
    Failed(Error),
    Panicked,
}

/// One turn of the current thread's shard.
///
/// # Errors
/// [`Closed`](crate::ErrorKind::Closed) when the shard has stopped or failed, or none is attached; the failure itself
/// from the turn that met it; [`Unsupported`](crate::ErrorKind::Unsupported) within a turn.
#[inline]
pub(crate) fn drive(wait_max: Option<Duration>) -> Result<()> {
    let turned = SHARD.try_with(|place| {
        let Ok(mut place) = place.try_borrow_mut() else { return Err(Stop::InTurn) };
        match place.0.as_mut() {
            Some(attached) if !attached.shard.is_done() => {
                let _on_shard = OnShard::enter(attached.shared.id);
                let turned = foreign::attempt(|| attached.shard.turn(wait_max)).ok_or(Stop::Panicked)?;
                turned.map_err(Stop::Failed)
            }
            _ => Err(Stop::Over),
        }
    });
    match turned {
        Ok(Ok(())) if !LEAVES.get() => Ok(()),
        Ok(Err(stop)) => Err(stopped(stop)),
        Ok(Ok(())) | Err(_) => Err(stopped(Stop::Over)),
    }
}

#[cold]
fn stopped(stop: Stop) -> Error {
    if !matches!(stop, Stop::InTurn) && LEAVES.replace(false) {
        take().into_iter().for_each(end);
    }
    let outcome = match stop {
        Stop::Over => return Error::CLOSED,
        Stop::InTurn => return in_turn("receiving"),
        Stop::Failed(failure) => Some(Err(failure)),
        Stop::Panicked => None,
    };
    // At once: this thread may not let go of it for long.
    let Some(AttachedShard { shared, index, shard, driven }) = take() else { return Error::CLOSED };
    let _on_shard = OnShard::enter(shared.id);
    let result = shared.end_shard(index, shard, outcome);
    drop(driven);
    result.err().unwrap_or(Error::CLOSED)
}

/// What waits on a thread within code that a shard of this thread runs, would wait for itself.
#[cold]
pub(crate) fn in_turn(what: &str) -> Error {
    Error::unsupported(format!(
        "{what} in code that a shard runs (a waker, a call on a connection's end, a destructor), which would wait for \
        itself. Remedy: let that code wake another thread or task, which waits"
    ))
}

/// Whether the current thread drives a shard of this engine that has stopped or failed, so that nothing more will come
/// to it.
pub(crate) fn is_over(engine: u64) -> bool {
    // Within a turn the shard is borrowed, and not over.
    let done = |place: &RefCell<ThreadShard>| {
        place.try_borrow().is_ok_and(|place| place.0.as_ref().is_none_or(|attached| attached.shard.is_done()))
    };
    drives(engine) && SHARD.try_with(done).unwrap_or(true)
}

/// The notifier of the shard that the current thread drives, if it drives one and is not in a turn of it.
pub(crate) fn driven_notifier() -> Option<&'static Notifier> {
    if ATTACHED.get().0 == 0 {
        return None;
    }
    let notifier = |place: &RefCell<ThreadShard>| Some(place.try_borrow().ok()?.0.as_ref()?.shard.notifier());
    SHARD.try_with(notifier).ok().flatten()
}

pub(super) fn attach(shared: &Arc<EngineShared>, index: usize) -> Result<Attached> {
    if drives_any() {
        return Err(Error::invalid("attach: this thread drives a shard already; drop that first"));
    }
    if SHARD.try_with(|_| ()).is_err() {
        return Err(Error::invalid("attach: this thread ends; attach a shard before that"));
    }
    let shard = shared.make_shard(index)?;
    let driven = shard.drive_here();
    let attached = AttachedShard { shared: Arc::clone(shared), index, shard, driven };
    // It was there above.
    let _ = SHARD.try_with(|place| place.borrow_mut().0 = Some(attached));
    ATTACHED.set((shared.id, index));
    Ok(Attached { _of_this_thread: core::marker::PhantomData })
}

/// The shard that the current thread drives; the shard ends when this is dropped. Not `Send`.
#[derive(Debug)]
#[must_use = "the shard ends when this is dropped"]
pub struct Attached {
    _of_this_thread: core::marker::PhantomData<*const ()>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        detach();
    }
}

/// Lets go of the current thread's shard; within a turn, when that has ended.
fn detach() {
    let in_turn = SHARD.try_with(|place| place.try_borrow().is_err()).unwrap_or(false);
    LEAVES.set(in_turn);
    if !in_turn {
        ATTACHED.set((0, 0));
        take().into_iter().for_each(end);
    }
}

/// Ends a shard on its thread, without grace if it has not stopped yet.
fn end(attached: AttachedShard) {
    let AttachedShard { shared, index, mut shard, driven } = attached;
    ATTACHED.set((0, 0));
    let _on_shard = OnShard::enter(shared.id);
    let outcome = foreign::attempt(|| {
        shard.stop(Leave::within(Duration::ZERO));
        while !shard.is_done() {
            shard.turn(Some(Duration::from_millis(10)))?;
        }
        Ok(())
    });
    // Why it has failed is known by the engine.
    let _ = shared.end_shard(index, shard, outcome);
    drop(driven);
}
