//! Runs a program to which the kernel refuses io_uring, as container runtimes do: a real seccomp filter.
//!
//! ```console
//! $ refuse-io-uring EPERM showcase --listen 127.0.0.1:0
//! ```
//!
//! The filter answers the three calls with that error, for the program and for all that it runs. EPERM is what profiles
//! of container runtimes give, ENOSYS what a kernel without io_uring does.
//!
//! Exit status: the program's; 2 if it cannot be run like this.

#[path = "../../../engine/tests/common/seccomp.rs"]
#[allow(dead_code, reason = "it does more for the tests that it is shared with")]
mod seccomp;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccomp::{Filter, IO_URING_CALLS};

fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let usage = || "usage: refuse-io-uring EPERM|ENOSYS PROGRAM [ARGUMENT...]".to_owned();
    let errno = match arguments.next().as_deref().and_then(|name| name.to_str()) {
        Some("EPERM") => libc::EPERM,
        Some("ENOSYS") => libc::ENOSYS,
        _ => return Err(usage()),
    };
    let program = arguments.next().ok_or_else(usage)?;
    if !IO_URING_CALLS.into_iter().fold(Filter::new(errno), |filter, call| filter.deny(call, 0)).install() {
        return Err("no seccomp filter can be had".to_owned());
    }
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("{} cannot be run: {error}", program.display()))
}

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refuse-io-uring: {error}");
            ExitCode::from(2)
        }
    }
}
