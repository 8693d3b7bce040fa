//! Loads a server of each case in turn, and prints the medians of what an answer costs.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};

use ringress_bench::load::{self, Exchange, Expectation, Plan};
use ringress_bench::ring::host;

use crate::Way;

/// Answers larger than this are asked for by fewer connections.
const SMALL_MAX: usize = 256 << 10;

/// Every combination of size, case and repetition is one load; the repetitions of the cases take turns.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Ways to compare, each with the bytes of a piece if it has pieces: read-send:65536,splice,memory
    #[arg(long, value_name = "WAY[:PIECE]", value_delimiter = ',', required = true)]
    cases: Vec<Case>,
    /// Sizes of the answer's body
    #[arg(long, value_name = "BYTES", value_delimiter = ',', required = true)]
    bytes: Vec<usize>,
    /// Loads a case and size
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Seconds a load
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// Connections; 64 if absent, and 16 for answers above 256 KiB
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// The server's core
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    core: usize,
    /// The generator's core
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    load_core: usize,
    /// Where the files are made, as the file system matters; where temporary files go if absent
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    piece: Option<u32>,
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (way, piece) = text.split_once(':').map_or((text, None), |(way, piece)| (way, Some(piece)));
        let piece = piece.map(str::parse).transpose().map_err(|_| format!("{text}: bytes are wanted after the colon"));
        Ok(Self { way: Way::from_str(way, false)?, piece: piece? })
    }
}

impl Case {
    fn name(self) -> String {
        let way = self.way.to_possible_value().map_or_else(String::new, |way| way.get_name().to_owned());
        self.piece.map_or_else(|| way.clone(), |piece| format!("{way}:{piece}"))
    }
}

/// A server of one case; ended when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(case: Case, file: &Path, core: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let way = case.way.to_possible_value().context("every way has a name")?;
        command.args(["serve", way.get_name()]).arg(file).args(["--core", &core.to_string()]);
        if let Some(piece) = case.piece {
            command.args(["--piece", &piece.to_string()]);
        }
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = process.stdout.take().context("it is piped")?;
        // From here on the process is ended whatever happens.
        let mut server = Self { process, address: ([127, 0, 0, 1], 0).into() };
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("ways listening on ").context("the server does not start")?;
        server.address = address.parse()?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of the size, removed when dropped.
struct Body(PathBuf);

impl Body {
    fn new(directory: &Path, bytes: usize) -> Result<Self> {
        let path = directory.join(format!("ways-{bytes}-{}", std::process::id()));
        let mut file = File::create_new(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        let body = Self(path);
        file.write_all(&b"0123456789abcde\n".iter().copied().cycle().take(bytes).collect::<Vec<u8>>())?;
        // Else the disk would be busy with it while something is measured.
        file.sync_all()?;
        Ok(body)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs `ways measure`.
///
/// # Errors
/// A server does not start, or gives a wrong answer: there are no figures of wrong answers.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.repeat > 0, "0 repetitions (--repeat) have no median. Remedy: at least 1");
    println!("CPU us a request, median (lowest to highest), threads: all of the server's, the ring's workers too\n");
    let names: Vec<String> = arguments.cases.iter().map(|case| case.name()).collect();
    println!("| bytes | {} |\n|--:|{}", names.join(" | "), "--:|".repeat(names.len()));
    let directory = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    for &bytes in &arguments.bytes {
        let file = Body::new(&directory, bytes)?;
        let servers: Vec<Server> =
            arguments.cases.iter().map(|case| Server::start(*case, &file.0, arguments.core)).collect::<Result<_>>()?;
        let mut samples = vec![Vec::new(); servers.len()];
        let mut threads = vec![0; servers.len()];
        for _ in 0..arguments.repeat {
            for (index, server) in servers.iter().enumerate() {
                let cost = sample(arguments, bytes, server).with_context(|| format!("{} of {bytes}", names[index]))?;
                samples[index].push(cost);
                let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process.id()))?.count();
                threads[index] = threads[index].max(tasks);
            }
        }
        let cells = samples.iter_mut().zip(threads).map(|(costs, threads)| {
            costs.sort_by(f64::total_cmp);
            let (median, last) = (costs[costs.len() / 2], costs.len() - 1);
            format!("{median:.2} ({:.2} to {:.2}), {threads}", costs[0], costs[last])
        });
        println!("| {bytes} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

/// CPU us of the server for each answer of one load, after a short one that is not counted.
fn sample(arguments: &Arguments, bytes: usize, server: &Server) -> Result<f64> {
    let mut plan = Plan::new(server.address);
    plan.cores = vec![arguments.load_core];
    plan.connections = arguments.connections.unwrap_or(if bytes <= SMALL_MAX { 64 } else { 16 });
    let expected = Expectation { body_bytes: Some(bytes as u64), ..Expectation::default() };
    plan.exchanges = vec![Exchange::bare("GET", "127.0.0.1", "/", &[]).expecting(expected)];
    plan.warm_up = Duration::ZERO;
    plan.duration = Duration::from_millis(50);
    load::run(&plan, &|_| ())?;
    plan.duration = Duration::try_from_secs_f64(arguments.seconds).map_err(|error| anyhow!("--seconds: {error}"))?;
    let before = host::process_cpu_ns(server.process.id())?;
    let report = load::run(&plan, &|_| ())?;
    let used = host::process_cpu_ns(server.process.id())?.saturating_sub(before);
    // Without a warm-up every answer has its latency, also those that came after the end.
    let answers = report.latency.0.len();
    ensure!(answers > 0 && report.faults.count() == 0, "{answers} right answers, {:?}", report.faults);
    Ok(used as f64 / answers as f64 / 1e3)
}
