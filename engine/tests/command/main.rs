//! The program `ringress`, as people run it: `engine/src/bin/ringress`.
//!
//! Not here: the rules of conditions and ranges in full (`tests/tests/files.rs`, by the showcase, which finds files by
//! the same code), and other ways of the library's.

#[path = "../common/mod.rs"]
mod common;
mod doctor;
mod lines;
mod listening;
mod serve;

use std::process::{Command, Output, Stdio};

use common::{WAIT_MAX, holds_within};

/// The program with these arguments, where nothing says which driver is wanted.
fn ringress(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    command.args(arguments).env_remove("RINGRESS_DRIVER").stdin(Stdio::null());
    command
}

/// What a command has said that ends by itself.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // What it says fits its pipes.
    let ends = holds_within(3 * WAIT_MAX, || child.try_wait().expect("a child").is_some());
    assert!(ends, "it runs on: {command:?}");
    child.wait_with_output().expect("it has ended")
}

/// The same, as text: the exit status, standard output and standard error.
#[track_caller]
fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = run(command);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}
