//! The program `ringress`: `ringress --help` says what it does, docs/command.md the rest.
//!
//! Invariants: what it is asked for goes to standard output, and what is wrong to standard error; its exit status is 0,
//! 1 when what was asked for could not be done, or 2 for a command line that it does not understand.
//!
//! Not here: what is served of a folder (`folder`) and said of a host (`doctor`), and how (the library).

mod doctor;
mod files;
mod folder;

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use ringress::{ConnectionLimits, Listener};

const STATUSES: &str = "\
Exit status:
  0  it is done; a server has ended in order
  1  it could not be done: the reason stands on standard error; doctor: something is broken
  2  the command line is wrong";

/// Serves folders over HTTP, and says what this host gives the engine that does
///
/// The engine runs over io_uring where that can be had, and over epoll elsewhere; the environment
/// variable RINGRESS_DRIVER (auto, io_uring or epoll) decides.
#[derive(Debug, Parser)]
#[command(version, after_help = STATUSES, verbatim_doc_comment)]
struct CommandLine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Serve(Serve),
    Doctor(Doctor),
    /// Print completions for a shell
    ///
    /// For bash: ringress completions bash > ~/.local/share/bash-completion/completions/ringress
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Serve a folder until SIGINT or SIGTERM
///
/// Files are answered to GET and HEAD, with ranges and conditions; a folder with its index.html,
/// and never with a list of what it has. No path and no symbolic link leads out of DIR, and names
/// that begin with a dot are not there, but for .well-known.
///
/// Sockets that a service manager has opened for the program (LISTEN_FDS, LISTEN_PID) are served,
/// too, behind those of --listen. Where there are neither, 127.0.0.1:8080 is listened on.
///
/// On a signal, requests under way have 5 seconds to end; another one ends the program at once.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct Serve {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// An address to listen on, repeatable: 127.0.0.1:8080 or [::]:80 (port 0: a free one), or a
    /// Unix socket: unix:/run/site.sock or, without a file, unix:@name
    #[arg(long, value_name = "ADDR", value_parser = listened_on, verbatim_doc_comment)]
    listen: Vec<String>,
    /// Connections of one address that may be open at a time, from 1; those beyond are closed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    connections_per_address_max: Option<u32>,
    /// New connections of one address a second, 1 to 1000000; those beyond are closed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connection_rate_per_address_max: Option<u32>,
}

/// Say what this host gives the engine, one line each
///
/// A line begins with ok, slow (it works, and costs time, clients or safety under load) or broken
/// (the engine cannot start, or not listen where --listen says), and goes on with what was looked
/// at, the cause and a remedy. What can be tried is tried: io_uring, an engine with the default
/// settings, a request over loopback. The exit status is 1 only if something is broken.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct Doctor {
    /// A TCP address that is wanted, repeatable: it is listened on, and let go of
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// The same as JSON
    #[arg(long)]
    json: bool,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an IP address and port are wanted, such as 127.0.0.1:8080 or [::1]:8080")
}

impl Serve {
    fn limits(&self) -> ConnectionLimits {
        let mut limits = ConnectionLimits::new();
        if let Some(connections) = self.connections_per_address_max {
            limits = limits.connections_per_address_max(connections);
        }
        if let Some(connections) = self.connection_rate_per_address_max {
            limits = limits.connection_rate_per_address_max(connections);
        }
        limits
    }
}

/// An address in a form that the library takes.
fn listened_on(text: &str) -> ringress::Result<String> {
    text.parse::<Listener>().map(|_| text.to_owned())
}

fn main() -> ExitCode {
    match run(CommandLine::parse().action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode, Box<dyn Error>> {
    match action {
        Action::Serve(serve) => folder::serve(&serve.folder, &serve.listen, serve.limits())?,
        Action::Doctor(Doctor { listen, json }) => {
            let (text, is_well) = doctor::examine(&listen, json);
            print(text.as_bytes())?;
            if !is_well {
                return Ok(ExitCode::FAILURE);
            }
        }
        Action::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "ringress", &mut text);
            print(&text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// To standard output. Who does not read to the end, as `head`, has no more of it.
fn print(text: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut output = io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}").into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        CommandLine::command().debug_assert();
    }
}
