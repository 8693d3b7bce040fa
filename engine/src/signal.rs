//! Waiting for SIGINT and SIGTERM: what asks a program to end, by a terminal, a container or a service manager.
//!
//! ```text
//!   nobody waits:  a signal does what it would do if it had never been caught: it ends the program
//!   somebody does: it is told; one more that comes within half a second is the same one
//! ```
//!
//! Invariants: nothing is caught before somebody waits for the first time; from then on one thread takes the signals of
//! the process, for as long as that lives.
//!
//! Not here: what a program does then ([`Engine::run_until_signal`](crate::Engine::run_until_signal)), and other
//! signals. The handler itself is the crate `signal-hook`'s. Sources: signal(7), timeout(1).

use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::clock;
use crate::error::{Error, Result};

/// A signal that comes so soon after another is the same: timeout(1) sends one to its child, and one to all its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// What asks a program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C on the terminal.
    Interrupt,
    /// SIGTERM: a service manager, a container's runtime, kill(1).
    Terminate,
}

/// Waits until the process gets SIGINT or SIGTERM. Several threads may wait: all are told.
///
/// From the first call on, the process catches both. While nobody waits, they end it as ever: so a second Ctrl-C, half
/// a second or more behind the first, ends a program that takes too long to stop.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io) when the handler or its thread cannot be had.
pub fn wait() -> Result<Signal> {
    Watch::begin().map(Watch::wait)
}

/// What those who wait share with the thread that takes signals.
#[derive(Debug)]
struct Desk {
    is_open: bool,
    waiting: u32,
    /// Signals told so far, and the last of them.
    told: u64,
    last: Option<(Signal, Instant)>,
}

static DESK: Mutex<Desk> = Mutex::new(Desk { is_open: false, waiting: 0, told: 0, last: None });
static CHANGED: Condvar = Condvar::new();

fn desk() -> MutexGuard<'static, Desk> {
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who waits, from when it is made on: a signal that comes before [`wait`](Self::wait) is called is not lost,
/// and does not end the process. To be made before a program says that it is there, since it may be asked to end then.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn run(engine: &ringress::Engine) -> ringress::Result<()> {
/// let watch = ringress::signal::Watch::begin()?;
/// println!("serving");
/// engine.run_until(watch, Duration::from_secs(5))
/// # }
/// ```
#[derive(Debug)]
#[must_use = "who waits no more leaves signals to end the process"]
pub struct Watch {
    /// Signals told before.
    before: u64,
}

impl Watch {
    /// From now on; the process catches both signals then.
    ///
    /// # Errors
    /// As [`wait`].
    pub fn begin() -> Result<Self> {
        let mut desk = desk();
        if !desk.is_open {
            open()?;
            desk.is_open = true;
        }
        desk.waiting += 1;
        Ok(Self { before: desk.told })
    }

    /// Waits until the process gets SIGINT or SIGTERM, unless it has since the [beginning](Self::begin).
    #[must_use]
    pub fn wait(self) -> Signal {
        loop {
            if let Some(signal) = self.signal_unless(|| false) {
                return signal;
            }
        }
    }

    /// Waits for a signal, or until `is_over`, which is looked at again after [`look_again`].
    pub(crate) fn signal_unless(&self, is_over: impl Fn() -> bool) -> Option<Signal> {
        let waited = CHANGED.wait_while(desk(), |desk| desk.told == self.before && !is_over());
        let desk = waited.unwrap_or_else(PoisonError::into_inner);
        desk.last.filter(|_| desk.told != self.before).map(|(signal, _)| signal)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        desk().waiting -= 1;
    }
}

/// Has those who wait look whether it is over.
pub(crate) fn look_again() {
    // Who has looked and does not sleep yet holds this.
    drop(desk());
    CHANGED.notify_all();
}

/// Catches the signals, on a thread of its own from now on.
fn open() -> Result<()> {
    let refused = |error| Error::io("cannot wait for SIGINT and SIGTERM", error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
    let take_all = move || signals.forever().for_each(take);
    thread::Builder::new().name("signals".into()).spawn(take_all).map(drop).map_err(refused)
}

fn take(number: i32) {
    let now = clock::now();
    let mut desk = desk();
    let is_same = desk.last.is_some_and(|(_, last)| now.saturating_duration_since(last) < SAME_SIGNAL);
    if is_same {
        return;
    }
    if desk.waiting == 0 {
        // It ends the process: nobody is kept from the desk by that.
        let _ = emulate_default_handler(number);
        return;
    }
    desk.told += 1;
    desk.last = Some((if number == SIGINT { Signal::Interrupt } else { Signal::Terminate }, now));
    drop(desk);
    CHANGED.notify_all();
}
