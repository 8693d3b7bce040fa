//! Replaces itself by another program while it serves, and no request is lost: `cargo run --release --example upgrade
//! [-- ADDRESS...]`, then `kill -USR2 PID` while `curl http://127.0.0.1:8080/` goes on.
//!
//! An ADDRESS is an IP address and a port, or `unix:/path`. Its signals are nginx's:
//!
//! * TERM, INT: it ends at once, and what is under way is cut, as nginx does.
//! * QUIT: it ends in order. It takes no more connections, answers what comes over those that are there, and says so;
//!   nginx closes those that are idle at once.
//! * HUP: it reads its configuration again, here `greeting.txt`; the next request has it. nginx starts new workers.
//! * USR2: it starts the program file anew and hands it all listening sockets. Once that one says that it serves, it
//!   ends as by QUIT, for which nginx waits. If that one does not, nothing changes.
//!
//! The sockets stay open all the time, so that nobody is refused, and whoever waits to be accepted is accepted by one
//! of both. They travel by SCM_RIGHTS over a Unix socket, which is the new process's standard input.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{env, fs, process, thread};

use ringress::{Driver, Endpoint, Engine, HandedOver, Request, Response};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

/// How long clients may be idle that are to notice nothing.
const LINGER: Duration = Duration::from_secs(5);
/// What requests that are under way then have to end.
const GRACE: Duration = Duration::from_secs(30);
/// How long a new process may take until it serves.
const START_MAX: Duration = Duration::from_secs(20);
const THREADS: usize = 4;
const GREETING: &str = "greeting.txt";
/// Set for a process that is started to take another one's place.
const SUCCEEDS: &str = "UPGRADE_SUCCEEDS";

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR2])?;
    // Whoever starts this one waits for a word, and hears of its end otherwise.
    let before = match env::var_os(SUCCEEDS) {
        Some(_) => Some(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?)),
        None => None,
    };
    let handed = before.as_ref().map(receive).transpose()?.unwrap_or_default();
    // Who shares sockets has the same driver.
    let driver = handed.first().map_or(Driver::Auto, |socket| socket.driver);
    let engine = Arc::new(Engine::builder().driver(driver).raise_descriptor_limit(true).start()?);
    listen(&engine, handed)?;

    let greeting = Arc::new(RwLock::new(read_greeting()));
    let queue = engine.request_queue("upgrade")?;
    let shown = Arc::clone(&greeting);
    let _pool = queue.serve(THREADS, move |request| answer(request, &shown))?;
    let session = engine.server_session();
    let group = session.url_group();
    group.bind(&queue)?;
    let addresses = engine.addresses();
    for port in addresses.iter().map(|info| info.port).collect::<BTreeSet<_>>() {
        group.add_url(&format!("http://*:{port}/"), 0)?;
    }
    for address in addresses.iter().map(|info| info.address.to_string()).collect::<BTreeSet<_>>() {
        println!("listening on http://{address}/ ({})", process::id());
    }
    if let Some(mut before) = before {
        before.write_all(b"!")?;
    }

    let (ending, stop) = (Arc::clone(&engine), signals.handle());
    thread::spawn(move || {
        // For whatever reason: said below.
        let _ = ending.wait();
        stop.close();
    });
    for signal in signals.forever() {
        match signal {
            SIGHUP => *greeting.write().unwrap_or_else(PoisonError::into_inner) = read_greeting(),
            SIGQUIT => leave(&engine, LINGER, GRACE),
            SIGUSR2 => match start_next(&engine) {
                Ok(()) => leave(&engine, LINGER, GRACE),
                Err(error) => eprintln!("upgrade: the new process does not serve, this one goes on: {error}"),
            },
            _ => leave(&engine, Duration::ZERO, Duration::ZERO),
        }
    }
    println!("ended ({}) after {} requests", process::id(), engine.counters().requests_answered);
    engine.failure().map_or(Ok(()), |failure| Err(failure.into()))
}

/// Ends the engine, on a thread of its own, so that another signal is heard meanwhile.
fn leave(engine: &Arc<Engine>, linger: Duration, grace: Duration) {
    let engine = Arc::clone(engine);
    thread::spawn(move || engine.drain(linger, grace));
}

fn read_greeting() -> String {
    fs::read_to_string(GREETING).map_or_else(|_| "Hello".into(), |text| text.trim().to_owned())
}

fn answer(request: &Request, greeting: &RwLock<String>) -> Response<'static> {
    let greeting = greeting.read().unwrap_or_else(PoisonError::into_inner);
    let path = String::from_utf8_lossy(request.raw_path());
    Response::text(format!("{greeting} from {} for {path}\n", process::id()))
}

/// Listens where the command line says: on the sockets that the process before had there, or on new ones. What it had
/// elsewhere is closed with `handed`.
fn listen(engine: &Engine, mut handed: Vec<HandedOver>) -> Result<(), Error> {
    let mut wanted: Vec<String> = env::args().skip(1).collect();
    if wanted.is_empty() {
        wanted.push("127.0.0.1:8080".into());
    }
    for address in wanted {
        let address: Endpoint = address.parse()?;
        let sockets: Vec<_> = handed.extract_if(.., |socket| socket.address == address).collect();
        if sockets.is_empty() {
            engine.listen_on(address)?;
        }
        // As many as the engine before had shards.
        for socket in sockets {
            engine.listen_on(socket)?;
        }
    }
    Ok(())
}

/// Starts the program file, which may be another one by now, with the arguments of this process, and waits until it
/// says that it serves.
fn start_next(engine: &Engine) -> Result<(), Error> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut arguments = env::args_os();
    let mut command = Command::new(arguments.next().ok_or("the name of the program is not known")?);
    command.args(arguments).env(SUCCEEDS, "1").stdin(Stdio::from(OwnedFd::from(theirs)));
    let mut next = command.spawn()?;
    // Its end of the pair is its own alone: should it end, so does this one.
    drop(command);
    let mut word = [0];
    ours.set_read_timeout(Some(START_MAX))?;
    let said = send(&ours, &engine.hand_over()?).and_then(|()| ours.read_exact(&mut word));
    if said.is_err() {
        let _ = next.kill();
        let _ = next.wait();
    }
    Ok(said?)
}

/// Drivers and addresses as text, with its length before it, and then each socket with one byte.
fn send(to: &UnixStream, sockets: &[HandedOver]) -> io::Result<()> {
    let text: String = sockets.iter().map(|it| format!("{} {}\n", it.driver, it.address)).collect();
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let mut stream = to;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(text.as_bytes())?;
    for HandedOver { socket, .. } in sockets {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let sent = [socket.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&sent)) {
            return Err(io::Error::other("there is no room for a descriptor"));
        }
        sendmsg(to, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

fn receive(mut from: &UnixStream) -> io::Result<Vec<HandedOver>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut text = String::new();
    from.take(u32::from_le_bytes(length).into()).read_to_string(&mut text)?;
    let one = |line: &str| {
        let (driver, address) = line.split_once(' ').ok_or_else(|| io::Error::other("a driver is missing"))?;
        let (driver, address) = (driver.parse::<Driver>()?, address.parse::<Endpoint>()?);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let socket = sockets.flatten().next().ok_or_else(|| io::Error::other("a socket is missing"))?;
        Ok(HandedOver { address, driver, socket })
    };
    text.lines().map(one).collect()
}
