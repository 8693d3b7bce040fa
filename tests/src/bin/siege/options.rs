//! The command line.

use std::process::Command;
use std::time::Duration;

use lexopt::prelude::*;
use ringress_tests::Mode;
use ringress_tests::siege::{ROWS, Row, Scale};

const HELP: &str = "\
siege: loads that press on a server until something is short, as a table

  --mode MODE        colocated or queue, repeatable (default: both)
  --row NAME         this load, repeatable (default: all)
  --scale SCALE      full: a server at its defaults; ci: smaller loads and pools (default: full)
  --seconds-max N    begins nothing more after N seconds (default: 1800)
  --no-nginx         without an nginx beside it
  --help             this text

The showcase is the one that RINGRESS_SHOWCASE names. Exit status: 0 if every row is as it must be, 1 if one is
not, 2 if the command line is wrong or descriptors are too few.
";

pub(crate) struct Options {
    pub(crate) modes: Vec<Mode>,
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) scale: Scale,
    pub(crate) length_max: Duration,
    pub(crate) beside_nginx: bool,
}

/// `None` if only the help was wanted.
pub(crate) fn parse() -> Result<Option<Options>, String> {
    read().map_err(|error| error.to_string())
}

fn read() -> Result<Option<Options>, lexopt::Error> {
    let (mut modes, mut rows, mut scale) = (Vec::new(), Vec::new(), Scale::Full);
    let (mut seconds_max, mut nginx) = (1_800, true);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("mode") => modes.push(parser.value()?.parse_with(mode)?),
            Long("row") => rows.push(parser.value()?.parse_with(row)?),
            Long("scale") => scale = parser.value()?.parse_with(scale_named)?,
            Long("seconds-max") => seconds_max = parser.value()?.parse()?,
            Long("no-nginx") => nginx = false,
            Long("help") | Short('h') => {
                print!("{HELP}\nRows:");
                ROWS.iter().for_each(|row| print!(" {}", row.name));
                println!();
                return Ok(None);
            }
            _ => return Err(argument.unexpected()),
        }
    }
    if modes.is_empty() {
        modes.extend(Mode::ALL);
    }
    if rows.is_empty() {
        rows.extend(ROWS);
    }
    let beside_nginx = nginx && is_installed();
    Ok(Some(Options { modes, rows, scale, length_max: Duration::from_secs(seconds_max), beside_nginx }))
}

/// Whether there is an nginx.
fn is_installed() -> bool {
    let found = Command::new("nginx").arg("-v").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("siege: skipped: nginx, because it is not installed");
    }
    found
}

fn mode(text: &str) -> Result<Mode, String> {
    let found = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
    found.ok_or_else(|| "queue or colocated is wanted".into())
}

fn row(text: &str) -> Result<&'static Row, String> {
    let found = ROWS.iter().find(|row| row.name == text);
    found.ok_or_else(|| format!("there is no row {text}: --help names them"))
}

fn scale_named(text: &str) -> Result<Scale, String> {
    match text {
        "ci" => Ok(Scale::Ci),
        "full" => Ok(Scale::Full),
        _ => Err("full or ci is wanted".into()),
    }
}
