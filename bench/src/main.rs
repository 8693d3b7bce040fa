//! The command line of the measuring stick.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ringress_bench::{compare, load};

/// Measures HTTP servers on this host.
#[derive(Debug, Parser)]
#[command(name = "ringress-bench", version)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Drive one server, check every answer, measure
    Load(Box<load::Arguments>),
    /// Start servers in turn, load each, and report them side by side
    Compare(Box<compare::Arguments>),
}

fn main() -> ExitCode {
    match Command::parse().what {
        What::Load(arguments) => load::command(*arguments),
        What::Compare(arguments) => compare::command(*arguments),
    }
}
