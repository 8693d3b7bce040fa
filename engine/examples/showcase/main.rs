//! The program that people, tests and benchmarks run: see `--help`, and `GET /` for its routes.

mod consumers;
#[path = "../../src/bin/ringress/files.rs"]
mod files;
mod options;
mod routes;
mod streams;
mod timers;

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use files::Root;
use options::{Listen, Options, Parsed, Pool, Profile};
use ringress::{
    Endpoint, Engine, EngineBuilder, Listener, Mode, ProxyProtocol, QueueOptions, RequestQueue, ServerSession, UrlGroup,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use timers::Timers;

/// How long requests under way may take after a signal.
const GRACE: Duration = Duration::from_secs(2);
/// Signals that come so soon after the first are the same: timeout(1) sends one to its child, and one to all its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// As long as the engine's own choice, where only their number is set.
const RECEIVE_BUFFER_BYTES: u32 = 4_096;
const BODY_BUFFER_BYTES: u32 = 65_536;

/// What glibc and the standard library are told on a host with little memory: mallopt(3), `std::thread`.
const SMALL_ENVIRONMENT: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072"), ("RUST_MIN_STACK", "262144")];

/// What the routes need besides a request.
struct Site {
    /// Not kept alive by its consumers.
    engine: Weak<Engine>,
    root: Option<Root>,
    timers: Timers,
    /// What an echo may hold: one of thousands.
    echo_held_bytes: usize,
}

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    match serve(*options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("showcase: {text}");
    ExitCode::from(2)
}

fn serve(mut options: Options) -> Result<(), Box<dyn Error>> {
    let builder = builder(&options)?;
    if options.capacity {
        println!("{}", builder.capacity()?);
        return Ok(());
    }
    let engine = Arc::new(builder.start()?);
    let measured = options.admin.is_some();
    let queue_options = QueueOptions::default().length(options.queue_length).measured(measured);
    let queue = engine.request_queue_with("showcase", queue_options)?;
    let addresses = listen(&engine, core::mem::take(&mut options.listen), options.proxy_protocol)?;
    let session = engine.server_session();
    let _groups = register(&session, &queue, engine.addresses().iter().map(|info| info.port).collect())?;
    let signals = Signals::new([SIGINT, SIGTERM])?;
    // The application's memory is not the engine's, and where that is bounded, this is to be as well.
    let small = options.memory_max.is_some() || options.profile == Profile::Small;
    let echo_held_bytes = if small { streams::ECHO_HELD_BYTES_SMALL } else { streams::ECHO_HELD_BYTES };
    let root = options.root.take();
    let site = Site { engine: Arc::downgrade(&engine), root, timers: Timers::start(), echo_held_bytes };
    let threads = start_consumers(&engine, &queue, &Arc::new(site), &options)?;
    #[cfg(feature = "admin")]
    let admin = options.admin.map(|address| ringress::admin::serve(&engine, address)).transpose()?;
    match engine.io_uring_refusal() {
        Some(refusal) => println!("driver: {}, since {refusal}", engine.driver()),
        None => println!("driver: {}", engine.driver()),
    }
    for address in &addresses {
        match address {
            Endpoint::Tcp(address) => println!("listening on http://{address}/"),
            other => println!("listening on {other}"),
        }
    }
    #[cfg(feature = "admin")]
    if let Some(admin) = &admin {
        println!("status page: http://{}/", admin.address());
    }
    heed(signals, Arc::downgrade(&engine))?;
    // A shard that fails ends the program, and says why: clients are to be refused, and whoever started it is to know.
    engine.wait()?;
    for thread in threads {
        thread.join().map_err(|_| "a consumer panicked")?;
    }
    Ok(())
}

/// Listens on all of these, in order.
fn listen(engine: &Engine, listen: Vec<Listen>, proxy: ProxyProtocol) -> Result<Vec<Endpoint>, Box<dyn Error>> {
    let mut addresses = Vec::new();
    for listen in listen {
        let listeners = match listen {
            Listen::On(listener) => vec![listener],
            Listen::Activated => Listener::activated()?,
        };
        if listeners.is_empty() {
            return Err("--listen fd: no sockets were handed over to this process (LISTEN_FDS, LISTEN_PID)".into());
        }
        for listener in listeners {
            addresses.push(engine.listen_on(listener.proxy_protocol(proxy))?);
        }
    }
    Ok(addresses)
}

/// On a host with little memory, one heap for all threads, which gives back what is free at its end, and small stacks:
/// the allocator and the standard library take these from the environment when the program starts.
fn spare_memory() -> io::Result<()> {
    if std::env::var_os(SMALL_ENVIRONMENT[0].0).is_some() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    Err(again.args(std::env::args_os().skip(1)).envs(SMALL_ENVIRONMENT).exec())
}

/// The engine's settings, by the options.
fn builder(options: &Options) -> io::Result<EngineBuilder> {
    let mut builder = match options.profile {
        Profile::Usual => Engine::builder(),
        Profile::Small => {
            spare_memory()?;
            EngineBuilder::small()
        }
    };
    if let Some(shards) = options.shards {
        builder = builder.shards(shards);
    }
    builder = builder.mode(options.mode).driver(options.driver).cores(&options.cores).raise_descriptor_limit(true);
    if let Some(requests) = options.requests {
        builder = builder.requests_max(requests);
    }
    for (pool, count) in &options.pools {
        builder = match pool {
            Pool::Receive => builder.receive_buffers(*count, RECEIVE_BUFFER_BYTES),
            Pool::Body => builder.body_buffers(*count, BODY_BUFFER_BYTES),
            Pool::Assembly => builder.assembly_buffers(*count),
            Pool::File => builder.file_buffers(*count),
        };
    }
    if let Some(connections) = options.connections {
        builder = builder.connections_max(connections);
    }
    if let Some(bytes) = options.memory_max {
        builder = builder.memory_max(bytes);
    }
    builder = builder.connection_limits(options.limits).trusted_proxies(&options.trusted);
    Ok(builder.properties(options.properties))
}

/// Stops the engine on a signal. Another one ends the program at once, as if it had never been caught.
fn heed(mut signals: Signals, engine: Weak<Engine>) -> io::Result<()> {
    let stop = move || engine.upgrade().map(|engine| engine.shutdown(GRACE));
    let heed = move || {
        signals.forever().next();
        let first = Instant::now();
        eprintln!("showcase: stopping: what is under way has {} s; once more ends it now", GRACE.as_secs());
        // How it went is told to those who wait for the engine.
        thread::spawn(stop);
        for signal in signals.forever().filter(|_| first.elapsed() > SAME_SIGNAL) {
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(heed).map(drop)
}

/// Three prefixes of different categories a port, told apart by their contexts.
fn register(session: &ServerSession, queue: &RequestQueue, ports: BTreeSet<u16>) -> ringress::Result<UrlGroup> {
    let group = session.url_group();
    group.bind(queue)?;
    for port in ports {
        group.add_url(&format!("http://+:{port}/strong/"), routes::STRONG)?;
        group.add_url(&format!("http://localhost:{port}/host/"), routes::HOST)?;
        group.add_url(&format!("http://*:{port}/"), routes::WEAK)?;
    }
    Ok(group)
}

/// Starts the threads that consume the queue, and waits until all of them do.
fn start_consumers(
    engine: &Arc<Engine>,
    queue: &RequestQueue,
    site: &Arc<Site>,
    options: &Options,
) -> Result<Vec<thread::JoinHandle<()>>, Box<dyn Error>> {
    let colocated = options.mode == Mode::Colocated;
    let count = if colocated { engine.shards() } else { options.consumers.unwrap_or_else(|| engine.shards()) };
    let (ready, all_ready) = mpsc::channel();
    let mut threads = Vec::new();
    for index in 0..count {
        let (engine, queue, site, ready) = (Arc::clone(engine), queue.clone(), Arc::clone(site), ready.clone());
        let consume = move || {
            let attached = if colocated { engine.attach(index).map(Some) } else { Ok(None) };
            // The engine must not be kept alive by its consumers.
            drop(engine);
            match attached {
                Ok(_attached) => {
                    let _ = ready.send(Ok(()));
                    drop(ready);
                    consumers::consume(&queue, &site);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        threads.push(thread::Builder::new().name(format!("consumer-{index}")).spawn(consume)?);
    }
    for _ in 0..count {
        all_ready.recv()??;
    }
    Ok(threads)
}
