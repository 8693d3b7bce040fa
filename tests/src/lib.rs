//! A harness for black-box tests: the showcase as a child process, a raw client, a strict reader of responses.
//!
//! Nothing here knows the engine. A test is a function over a running [`Server`]; [`both_modes!`] runs it once in
//! queue mode and once co-located, each time on a fresh server that must hold nothing and stop cleanly afterwards.
//!
//! Every wait is bounded and waits for a condition (bytes, end of stream, an exit), never for time to pass.

mod client;
mod flow;
mod folder;
mod leaks;
mod load;
pub mod modules;
mod pace;
#[path = "../../engine/tests/common/ports.rs"]
mod ports;
mod response;
mod server;
pub mod siege;
pub mod source;

pub use client::Client;
pub use flow::Pattern;
pub use folder::Folder;
pub use leaks::Gauges;
pub use load::{Job, raise_descriptor_limit, raise_descriptor_limit_to_the_most, run_in_threads};
pub use pace::{comes_out_once, pause, pause_until};
pub use response::Response;
pub use server::{Mode, Output, Server, Setup, run_showcase, showcase_path, wait_within, with_server};

/// Generates `queue::name` and `colocated::name` for each named test function over `&Server`.
///
/// The first form runs on [`Setup::new`]; the second takes a `fn(Mode) -> Setup` first.
#[macro_export]
macro_rules! both_modes {
    (setup = $setup:expr; $($(#[$attribute:meta])* $test:ident),+ $(,)?) => {
        mod queue {
            #[allow(unused_imports, reason = "the setup expression may name what the test file imports")]
            use super::*;
            $(
                #[test]
                $(#[$attribute])*
                fn $test() {
                    $crate::with_server($setup($crate::Mode::Queue), super::$test);
                }
            )+
        }
        mod colocated {
            #[allow(unused_imports, reason = "the setup expression may name what the test file imports")]
            use super::*;
            $(
                #[test]
                $(#[$attribute])*
                fn $test() {
                    $crate::with_server($setup($crate::Mode::Colocated), super::$test);
                }
            )+
        }
    };
    ($($(#[$attribute:meta])* $test:ident),+ $(,)?) => {
        $crate::both_modes!(setup = $crate::Setup::new; $($(#[$attribute])* $test),+);
    };
}
