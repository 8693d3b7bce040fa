//! The command line.

use std::net::{Ipv4Addr, SocketAddr};

use lexopt::prelude::*;
use ringress::{ConnectionLimits, Driver, Listener, Mode, Network, Properties, ProxyProtocol};

use crate::files::Root;

const HELP: &str = "\
showcase: an HTTP server that shows, tests and measures ringress

  --listen WHERE       what to listen on, repeatable (default 127.0.0.1:8080): an address and port (0: a free one),
                       unix:/path or unix:@name, which stand for port 80, or fd, for the sockets that a service manager
                       has opened (LISTEN_FDS)
  --shards N           shards, 1 to 255 (default: one for each entry of --cores, or for each physical core)
  --cores A,B,..       cores to pin shards to (default: not pinned)
  --mode MODE          queue: shard threads and consumers; colocated: the consumers are the shards (default queue)
  --driver NAME        auto, io_uring or epoll: what of the kernel's drives the shards (default auto: io_uring where it
                       can be had; the environment variable RINGRESS_DRIVER is asked before)
  --consumers N        threads that answer, in queue mode (default: as many as shards)
  --requests N         requests that a shard holds unanswered, 16 to 16777216 (default 16384); more wait
  --queue-length N     requests that wait for a consumer, 1 to 1048576 (default 65536); more get 503
  --pool NAME=N        buffers of a shard, repeatable: receive_buffers, body_buffers, assembly_buffers, file_buffers
  --connections N      connections that a shard holds, 1 to 16777216 (default 65536); the limit of descriptors
                       (ulimit -n) is raised as far as it can be
  --limit NAME=N       connections, repeatable: open, new_in_a_second, open_of_an_address,
                       new_of_an_address_in_a_second; who comes beyond it is closed at once (default: none)
  --trust NETWORK      proxies that are believed, repeatable, as 10.0.0.0/8: whom they name is the client
  --proxy-protocol HOW off, optional or required: whether those begin connections with a PROXY header (default off)
  --profile small      for a host with little memory: one shard, 28 MiB for the engine, small buffers and credits
  --memory-max BYTES   what the engine can have resident at most, as 64MiB (default: no bound); split by the engine
  --capacity           show what the engine can hold at a time, and the memory that takes, and end
  --root DIR           the directory whose files /file/.. gives (default: none)
  --admin ADDR:PORT    metrics, health and a status page at this loopback address (a build with the feature admin)
  --set NAME=VALUE     a timer or limit of the engine by its name, repeatable, as header_wait=2s or EntityBody=500ms
  --help               this text
";

/// Enough for a benchmark's every connection to have a request waiting.
const QUEUE_LENGTH: u32 = 65_536;

pub(crate) struct Options {
    pub(crate) listen: Vec<Listen>,
    pub(crate) shards: Option<u32>,
    pub(crate) cores: Vec<usize>,
    pub(crate) mode: Mode,
    pub(crate) driver: Driver,
    pub(crate) consumers: Option<usize>,
    pub(crate) requests: Option<u32>,
    pub(crate) queue_length: u32,
    pub(crate) profile: Profile,
    pub(crate) memory_max: Option<u64>,
    /// What the engine can hold is shown, and nothing is served.
    pub(crate) capacity: bool,
    pub(crate) pools: Vec<(Pool, u32)>,
    pub(crate) connections: Option<u32>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) trusted: Vec<Network>,
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) root: Option<Root>,
    /// Where metrics and the status page are.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) properties: Properties,
}

/// What is listened on.
pub(crate) enum Listen {
    On(Listener),
    /// The sockets that the program was started with.
    Activated,
}

/// Buffers that a shard has a number of, of the usual size.
#[derive(Clone, Copy)]
pub(crate) enum Pool {
    Receive,
    Body,
    Assembly,
    File,
}

/// What the settings are chosen for that are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Usual,
    /// A host with little memory.
    Small,
}

pub(crate) enum Parsed {
    Run(Box<Options>),
    Help(&'static str),
}

pub(crate) fn parse() -> Result<Parsed, String> {
    read(lexopt::Parser::from_env()).map_err(|error| error.to_string())
}

fn read(mut parser: lexopt::Parser) -> Result<Parsed, lexopt::Error> {
    let mut options = Options {
        listen: Vec::new(),
        shards: None,
        cores: Vec::new(),
        mode: Mode::Queue,
        driver: Driver::Auto,
        consumers: None,
        requests: None,
        queue_length: QUEUE_LENGTH,
        profile: Profile::Usual,
        memory_max: None,
        capacity: false,
        pools: Vec::new(),
        connections: None,
        limits: ConnectionLimits::new(),
        trusted: Vec::new(),
        proxy_protocol: ProxyProtocol::Off,
        root: None,
        admin: None,
        properties: Properties::new(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => options.listen.push(value(&mut parser, "--listen", listen)?),
            Long("shards") => {
                options.shards = Some(value(&mut parser, "--shards", |text| ranged(text, 1, 255))?);
            }
            Long("cores") => options.cores = value(&mut parser, "--cores", cores)?,
            Long("mode") => options.mode = value(&mut parser, "--mode", mode)?,
            Long("driver") => options.driver = value(&mut parser, "--driver", driver)?,
            Long("consumers") => {
                options.consumers = Some(value(&mut parser, "--consumers", |text| ranged(text, 1, 1024))? as usize);
            }
            Long("requests") => {
                options.requests = Some(value(&mut parser, "--requests", |text| ranged(text, 16, 1 << 24))?);
            }
            Long("queue-length") => {
                options.queue_length = value(&mut parser, "--queue-length", |text| ranged(text, 1, 1 << 20))?;
            }
            Long("pool") => options.pools.push(value(&mut parser, "--pool", pool)?),
            Long("connections") => {
                options.connections = Some(value(&mut parser, "--connections", |text| ranged(text, 1, 1 << 24))?);
            }
            Long("limit") => options.limits = value(&mut parser, "--limit", |text| limit(options.limits, text))?,
            Long("trust") => options.trusted.push(value(&mut parser, "--trust", network)?),
            Long("proxy-protocol") => options.proxy_protocol = value(&mut parser, "--proxy-protocol", proxy)?,
            Long("profile") => options.profile = value(&mut parser, "--profile", profile)?,
            Long("memory-max") => options.memory_max = Some(value(&mut parser, "--memory-max", bytes)?),
            Long("capacity") => options.capacity = true,
            Long("root") => options.root = Some(value(&mut parser, "--root", |path| Root::open(path.as_ref()))?),
            Long("admin") => options.admin = Some(value(&mut parser, "--admin", admin)?),
            Long("set") => value(&mut parser, "--set", |text| property(&mut options.properties, text))?,
            Long("help") | Short('h') => return Ok(Parsed::Help(HELP)),
            _ => return Err(format!("{}; --help lists all options", argument.unexpected()).into()),
        }
    }
    if options.consumers.is_some() && options.mode == Mode::Colocated {
        return Err("--consumers is for --mode queue: in colocated mode the shards are the consumers".into());
    }
    if options.listen.is_empty() {
        options.listen.push(Listen::On(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into()));
    }
    Ok(Parsed::Run(Box::new(options)))
}

/// The value of an option, or an error that names the option, the value and what is wanted.
fn value<T>(
    parser: &mut lexopt::Parser,
    option: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    parse(&text).map_err(|wanted| format!("{option} {text:?}: {wanted}").into())
}

fn listen(text: &str) -> Result<Listen, String> {
    match text {
        "fd" => Ok(Listen::Activated),
        _ => text.parse().map(Listen::On).map_err(|error: ringress::Error| error.to_string()),
    }
}

fn admin(text: &str) -> Result<SocketAddr, String> {
    if !cfg!(feature = "admin") {
        return Err("this build has none; build it with --features admin".into());
    }
    text.parse().map_err(|_| "an address with a port is wanted, such as 127.0.0.1:9090".into())
}

fn ranged(text: &str, lowest: u32, highest: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (lowest..=highest).contains(number));
    number.ok_or_else(|| format!("a number from {lowest} to {highest} is wanted"))
}

fn driver(text: &str) -> Result<Driver, String> {
    text.parse().map_err(|_| "auto, io_uring or epoll is wanted".into())
}

fn profile(text: &str) -> Result<Profile, String> {
    match text {
        "small" => Ok(Profile::Small),
        "usual" => Ok(Profile::Usual),
        _ => Err("small or usual is wanted".into()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = ["", "KiB", "MiB", "GiB"].iter().position(|known| unit.eq_ignore_ascii_case(known));
    let number =
        number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << (10 * shift)));
    number.ok_or_else(|| "a number of bytes is wanted, such as 67108864, 65536KiB or 64MiB".into())
}

fn cores(text: &str) -> Result<Vec<usize>, String> {
    text.split(',').map(|core| core.parse().map_err(|_| "core numbers with commas between are wanted".into())).collect()
}

fn property(properties: &mut Properties, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted, such as header_wait=2s")?;
    properties.set(name, value).map_err(|error| error.to_string())
}

fn pool(text: &str) -> Result<(Pool, u32), String> {
    let (name, count) = text.split_once('=').ok_or("NAME=N is wanted, such as receive_buffers=1024")?;
    let pool = match name {
        "receive_buffers" => Pool::Receive,
        "body_buffers" => Pool::Body,
        "assembly_buffers" => Pool::Assembly,
        "file_buffers" => Pool::File,
        _ => return Err("receive_buffers, body_buffers, assembly_buffers or file_buffers is wanted".into()),
    };
    // The engine knows the range of each.
    Ok((pool, ranged(count, 1, u32::MAX)?))
}

fn limit(limits: ConnectionLimits, text: &str) -> Result<ConnectionLimits, String> {
    let (name, count) = text.split_once('=').ok_or("NAME=N is wanted, such as open_of_an_address=100")?;
    // The engine knows the range of each.
    let count = ranged(count, 1, u32::MAX)?;
    Ok(match name {
        "open" => limits.connections_max(count),
        "new_in_a_second" => limits.connection_rate_max(count),
        "open_of_an_address" => limits.connections_per_address_max(count),
        "new_of_an_address_in_a_second" => limits.connection_rate_per_address_max(count),
        _ => {
            return Err("open, new_in_a_second, open_of_an_address or new_of_an_address_in_a_second is wanted".into());
        }
    })
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|error: ringress::Error| error.to_string())
}

fn proxy(text: &str) -> Result<ProxyProtocol, String> {
    match text {
        "off" => Ok(ProxyProtocol::Off),
        "optional" => Ok(ProxyProtocol::Optional),
        "required" => Ok(ProxyProtocol::Required),
        _ => Err("off, optional or required is wanted".into()),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "queue" => Ok(Mode::Queue),
        "colocated" => Ok(Mode::Colocated),
        _ => Err("queue or colocated is wanted".into()),
    }
}
