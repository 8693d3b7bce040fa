//! Listening sockets on their way to the process that serves next.
//!
//! Invariants: a socket that was handed over is let go of at its end, and neither shut down nor is its file removed, so
//! that clients that wait there are the next process's; what fails has handed nothing over.
//!
//! Not here: how descriptors travel (an application's choice), taking them (`listener`, `bound`), and leaving without
//! loss (`Engine::drain`).

use super::engine::Engine;
use super::listener::HandedOver;
use crate::error::{Error, Result};

impl Engine {
    /// Another descriptor of every socket that this engine listens on, each with its address, for the process that is
    /// to serve next: by SCM_RIGHTS over a Unix socket, or inherited by a child. That process gives each to
    /// [`listen_on`](Self::listen_on), which takes the file of a Unix socket with it. An address that has a socket for
    /// each shard is there so many times, and every one of them is to be taken: clients who wait at one that nobody has
    /// wait in vain.
    ///
    /// This engine goes on: both take clients, each client one of them, until this one [drains](Self::drain). From now
    /// on these sockets are let go of when they are listened on no more, in the order of things as much as at a failure
    /// or a drop: clients that were not accepted wait for whoever else has the socket, and are reset if nobody has. The
    /// files of Unix sockets stay. So an upgrade that comes to nothing costs no more than a stale socket file at this
    /// engine's end.
    ///
    /// Both engines must have the same [`driver`](Self::driver): see [`HandedOver::driver`](crate::HandedOver).
    ///
    /// ```no_run
    /// # fn pass_on(_: ringress::HandedOver) {}
    /// # use std::time::Duration;
    /// # fn upgrade(engine: &ringress::Engine) -> ringress::Result<()> {
    /// for socket in engine.hand_over()? {
    ///     println!("passing {} on", socket.address);
    ///     pass_on(socket);
    /// }
    /// // Behind the other process's word that it serves:
    /// println!("{}", engine.drain(Duration::from_secs(10), Duration::from_secs(30))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) when the process has as many descriptors as it may;
    /// [`Closed`](crate::ErrorKind::Closed) after the shutdown; [`failure`](Self::failure) after that.
    pub fn hand_over(&self) -> Result<Vec<HandedOver>> {
        let driver = self.driver();
        let control = &mut *self.shared.control();
        control.check_open()?;
        let given = control.listeners.hand_over().map_err(|error| {
            let text =
                "cannot have another descriptor of each listening socket (RLIMIT_NOFILE): nothing is handed over";
            Error::io(text, error)
        })?;
        Ok(given.into_iter().map(|(address, socket)| HandedOver { address, driver, socket }).collect())
    }
}
