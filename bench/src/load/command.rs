//! `ringress-bench load`: the command line of the load generator.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::plan::{Exchange, Expectation, Pace, Plan};
use super::report::Report;
use super::run::{Phase, Progress};
use super::{curve, read_requests, table};

/// Exit status: an answer was wrong, late or missing, or this host refused something.
const FAULTY: u8 = 1;
/// Exit status: the command line asks for something that cannot be.
const USAGE: u8 = 2;

/// Drives a server, checks every answer and measures. The exit status is 0 if all answers were right, 1 if one was not
/// or was missing, 2 for a wrong command line.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// What to ask: http://127.0.0.1:8080/path, or localhost, or [::1]
    #[arg(value_name = "URL")]
    url: String,
    /// Connections, over all cores
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: u32,
    /// Requests under way a connection, 1 to 1024
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: u32,
    /// Send so many requests a second, whether answers come or not, at most 1e9; latency counts from when each was
    /// due
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// How long to measure, such as 10s, 1500ms or 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// The same in seconds, without a unit
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = seconds)]
    seconds: Option<Duration>,
    /// How long to drive the server before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    /// How long an answer may take, or making a connection; the first ones are given 5s at least
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Cores to run on, one thread each; the last one of this host if absent
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Close a connection after so many requests, and make a new one
    #[arg(long, value_name = "N")]
    requests_per_connection: Option<NonZeroU32>,
    /// Send the raw requests of this file in turn, each framed by its own head
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "header", "body", "chunked"])]
    requests: Option<PathBuf>,
    /// Method; GET if absent, or POST if there is a body
    #[arg(long, value_name = "M")]
    method: Option<String>,
    /// A further header line, such as 'Accept: */*'; may be repeated
    #[arg(long, value_name = "N: V")]
    header: Vec<String>,
    /// Body of the request, or a file of it
    #[arg(long, value_name = "TEXT|@FILE")]
    body: Option<String>,
    /// Send the body chunked, in chunks of 4096 bytes
    #[arg(long, requires = "body")]
    chunked: bool,
    /// The status a right answer has; any of 200 to 299 if absent
    #[arg(long, value_name = "N")]
    expect_status: Option<u16>,
    /// The bytes that the body of a right answer has
    #[arg(long, value_name = "N")]
    expect_bytes: Option<u64>,
    /// The body of a right answer, or a file of it
    #[arg(long, value_name = "TEXT|@FILE")]
    expect_body: Option<String>,
    /// Connections that ask once and are then only kept open
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u32,
    /// Write the report as JSON, to standard output if '-'
    #[arg(long, value_name = "FILE|-")]
    json: Option<String>,
    /// Draw the latencies by percentile
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Let the target be another than this host: a load may harm whoever answers there
    #[arg(long)]
    i_own_the_target: bool,
}

/// Runs `ringress-bench load`.
#[must_use]
pub fn command(arguments: Arguments) -> ExitCode {
    let plan = match plan(&arguments) {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE, &error),
    };
    match drive(&arguments, &plan) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FAULTY),
        Err(error) => fail(FAULTY, &error),
    }
}

fn fail(status: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("ringress-bench load: {error:#}");
    ExitCode::from(status)
}

fn drive(arguments: &Arguments, plan: &Plan) -> Result<Report> {
    let bar = bar();
    let report = super::run(plan, &|progress| show(&bar, plan, progress));
    bar.finish_and_clear();
    let report = report?;
    match arguments.json.as_deref() {
        // Standard output is the report's: the table would spoil it.
        Some("-") => println!("{}", serde_json::to_string_pretty(&report)?),
        file => {
            println!("{}", table::render(&report));
            if let Some(file) = file {
                let json = serde_json::to_string_pretty(&report)? + "\n";
                fs::write(file, json).with_context(|| format!("{file} (--json) cannot be written"))?;
            }
        }
    }
    if let Some(file) = &arguments.svg {
        let title = format!("{}: {:.0} answers a second", arguments.url, report.answers_per_second);
        let svg = curve::draw(&title, &report.latency)?;
        fs::write(file, svg).with_context(|| format!("{} (--svg) cannot be written", file.display()))?;
    }
    Ok(report)
}

fn bar() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:12} [{bar:40}] {prefix}").expect("the template is valid");
    ProgressBar::new(1).with_style(style.progress_chars("=> "))
}

fn show(bar: &ProgressBar, plan: &Plan, progress: Progress) {
    let (name, whole) = match progress.phase {
        Phase::Connecting => ("connecting", Duration::ZERO),
        Phase::WarmUp => ("warming up", plan.warm_up),
        Phase::Measuring => ("measuring", plan.duration),
    };
    let done = whole.saturating_sub(Duration::from_secs_f64(progress.seconds_left));
    bar.set_message(name);
    bar.set_prefix(format!("{:.0} s left, {} answers", progress.seconds_left.ceil(), progress.answers));
    bar.set_length(u64::try_from(whole.as_millis()).unwrap_or(u64::MAX).max(1));
    bar.set_position(u64::try_from(done.as_millis()).unwrap_or(u64::MAX));
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let (target, host, path) = url(&arguments.url)?;
    let cores = match &arguments.cores[..] {
        [] => crate::ring::host::cores()?.last().copied().into_iter().collect(),
        cores => cores.to_vec(),
    };
    let expected = Expectation {
        status: arguments.expect_status,
        body_bytes: arguments.expect_bytes,
        body: arguments.expect_body.as_deref().map(text_or_file).transpose()?,
    };
    let exchanges = match &arguments.requests {
        None => vec![exchange(arguments, host, path)?],
        Some(file) => {
            let name = file.display();
            let bytes = fs::read(file).with_context(|| format!("{name} (--requests) cannot be read"))?;
            read_requests(&bytes).with_context(|| format!("{name} (--requests)"))?
        }
    };
    let plan = Plan {
        target,
        target_is_mine: arguments.i_own_the_target,
        cores,
        connections: arguments.connections,
        idle_connections: arguments.idle,
        depth: arguments.depth,
        requests_per_connection: arguments.requests_per_connection.map(NonZeroU32::get),
        pace: arguments.rate.map_or(Pace::AsAnswered, Pace::Rate),
        warm_up: arguments.warm_up,
        duration: arguments.seconds.unwrap_or(arguments.duration),
        timeout: arguments.timeout,
        exchanges: exchanges.into_iter().map(|exchange| exchange.expecting(expected.clone())).collect(),
    };
    plan.check()?;
    Ok(plan)
}

fn exchange(arguments: &Arguments, host: &str, path: &str) -> Result<Exchange> {
    const CHUNK_BYTES: usize = 4096;
    let headers: Vec<&str> = arguments.header.iter().map(String::as_str).collect();
    for header in &headers {
        let is_line = header.contains(':') && !header.contains(['\r', '\n']);
        ensure!(is_line, "{header:?} (--header) is no header line. Remedy: 'Name: value'");
    }
    let default = if arguments.body.is_some() { "POST" } else { "GET" };
    let method = arguments.method.as_deref().unwrap_or(default);
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    ensure!(is_method, "{method:?} (--method) is no method");
    let Some(body) = &arguments.body else { return Ok(Exchange::bare(method, host, path, &headers)) };
    let body = text_or_file(body)?;
    if arguments.chunked {
        let pieces: Vec<&[u8]> = body.chunks(CHUNK_BYTES).collect();
        return Ok(Exchange::with_chunks(method, host, path, &headers, &pieces));
    }
    Ok(Exchange::with_body(method, host, path, &headers, &body))
}

/// The address, the host with its port, and the path of a URL.
fn url(url: &str) -> Result<(SocketAddr, &str, &str)> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url} does not begin with http://, the only scheme there is")
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let is_visible = path.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(is_visible, "{url}: a path has no spaces or control characters. Remedy: write them as %20 and so on");
    if let Ok(target) = host.parse() {
        return Ok((target, host, path));
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            (name, port.parse().with_context(|| format!("{url}: {port} is no port"))?)
        }
        _ => (host, 80),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let address = match bare {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        bare => bare.parse().with_context(|| {
            format!("{url}: {bare} is neither an IP address nor localhost, and names are not resolved")
        })?,
    };
    Ok((SocketAddr::new(address, port), host, path))
}

fn text_or_file(text: &str) -> Result<Bytes> {
    match text.strip_prefix('@') {
        Some(file) => Ok(fs::read(file).with_context(|| format!("{file} cannot be read"))?.into()),
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// `10` or `0.5`.
fn seconds(text: &str) -> Result<Duration> {
    let is_bare = !text.ends_with(|character: char| character.is_ascii_alphabetic());
    ensure!(is_bare, "{text} is no number of seconds. Remedy: --seconds 10, or --duration 10s");
    duration(&format!("{text}s"))
}

/// `10s`, `1500ms`, `2m`, or `0.5s`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let seconds_each = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => bail!("{text} is no time. Remedy: a number with us, ms, s or m, such as 1500ms"),
    };
    let number: f64 = digits.parse().with_context(|| format!("{text} is no time"))?;
    Duration::try_from_secs_f64(number * seconds_each).with_context(|| format!("{text} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parts = |text| url(text).map(|(target, host, path)| (target.to_string(), host.to_owned(), path.to_owned()));
        let expect = |text, target: &str, host: &str, path: &str| {
            assert_eq!(parts(text).expect("valid"), (target.to_owned(), host.to_owned(), path.to_owned()));
        };
        expect("http://127.0.0.1:8090", "127.0.0.1:8090", "127.0.0.1:8090", "/");
        expect("http://localhost:80/a/b?c", "127.0.0.1:80", "localhost:80", "/a/b?c");
        expect("http://[::1]:8090/", "[::1]:8090", "[::1]:8090", "/");
        expect("http://[::1]/", "[::1]:80", "[::1]", "/");
        expect("http://127.0.0.1/x", "127.0.0.1:80", "127.0.0.1", "/x");
        for wrong in ["https://127.0.0.1/", "127.0.0.1:80", "http://example.com/", "http://127.0.0.1:x/", "http://"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1500ms").expect("valid"), Duration::from_millis(1500));
        assert_eq!(duration("0.5s").expect("valid"), Duration::from_millis(500));
        assert_eq!(duration("2m").expect("valid"), Duration::from_secs(120));
        for wrong in ["10", "s", "", "-1s", "1h2", "1e400s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("10").expect("valid"), Duration::from_secs(10));
        assert_eq!(seconds("0.5").expect("valid"), Duration::from_millis(500));
        for wrong in ["10s", "", "-1", "ten"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
