//! An engine that runs until its process is asked to end.
//!
//! Invariants: whoever waits here returns when the engine has ended, for whatever reason.
//!
//! Not here: catching signals (room `signal`).

use core::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::Result;
use crate::session::Engine;
use crate::signal::{Watch, look_again};

impl Engine {
    /// Waits until the process gets SIGINT or SIGTERM, and [shuts down](Self::shutdown) then, with this grace for what
    /// is under way; or until the engine serves no more, as [`wait`](Self::wait). See [`signal`](crate::signal): a
    /// second signal ends the process at once.
    ///
    /// # Errors
    /// [`failure`](Self::failure), when the engine has failed; as [`wait`](Self::wait) and
    /// [`signal::wait`](crate::signal::wait).
    pub fn run_until_signal(&self, grace: Duration) -> Result<()> {
        self.run_until(Watch::begin()?, grace)
    }

    /// As [`run_until_signal`](Self::run_until_signal), for a signal that may have come before, since the watch began.
    ///
    /// # Errors
    /// [`failure`](Self::failure), when the engine has failed; as [`wait`](Self::wait).
    pub fn run_until(&self, watch: Watch, grace: Duration) -> Result<()> {
        self.check_may_wait()?;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Why it has ended is asked below.
                let _ = self.wait();
                is_over.store(true, Ordering::SeqCst);
                look_again();
            });
            let signal = watch.signal_unless(|| is_over.load(Ordering::SeqCst));
            // The next one finds nobody who waits.
            drop(watch);
            if signal.is_some() { self.shutdown(grace).map(drop) } else { self.failure().map_or(Ok(()), Err) }
        })
    }
}
