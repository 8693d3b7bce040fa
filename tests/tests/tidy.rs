//! The laws of the house, read from the source: who may import whom, where unsafe may live, how long things get.
//!
//! A law broken for a good reason is changed here, in the same commit, where a reviewer sees it.

use ringress_tests::modules;
use ringress_tests::source::{Source, functions, mentions, unsafe_lines};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 120;

/// Files that may call `thread::sleep`: a route whose purpose it is, and where the tests pace their clients.
const SLEEPERS: &[&str] = &["engine/examples/showcase/routes.rs", "tests/src/pace.rs"];

/// The file that may start an engine for a test of the public API: what it gives checks that all comes back.
const STARTER: &str = "engine/tests/common/watched.rs";

/// Unsafe blocks and impls outside tests, in rooms of the engine and in the crate `scan`; a change is made here too, on
/// purpose.
const UNSAFE_COUNTS: [(&str, usize); 4] = [("driver", 69), ("mem", 25), ("queue", 88), ("scan", 2)];

/// A room: its name, the rooms of the same crate it may import, and words its code must not use.
type Room = (&'static str, &'static [&'static str], &'static [&'static str]);

/// From the ground up: imports point to rooms above their own line, here and in the tables below, so that none can go
/// round in a circle.
const PROTO: &[Room] = &[
    ("words", &[], &[]),
    ("bytes", &["words"], &[]),
    ("date", &[], &[]),
    ("method", &[], &[]),
    ("header", &["words"], &[]),
    ("limits", &[], &[]),
    ("reject", &[], &[]),
    ("form", &[], &[]),
    ("cookie", &["bytes"], &[]),
    ("escape", &["bytes"], &[]),
    ("forwarded", &["bytes"], &[]),
    ("proxy", &[], &[]),
    ("version", &[], &[]),
    ("framing", &["bytes", "reject", "version"], &[]),
    ("head", &["bytes", "framing", "header", "limits", "method", "reject", "version", "words"], &[]),
    ("chunked", &["bytes", "limits", "reject"], &[]),
    ("trailers", &["bytes"], &[]),
    ("etag", &["bytes"], &[]),
    ("conditional", &["bytes", "date", "etag", "header", "method"], &[]),
    ("response", &["bytes", "date", "header", "trailers"], &[]),
    ("range", &["bytes", "date", "etag", "method", "response"], &[]),
    ("url", &["bytes", "escape", "head", "limits", "method", "reject", "words"], &[]),
];

/// What no line of `proto` may mention: it has no I/O, no clock, no threads, and does not know who uses it.
const PROTO_NEVER: &[&str] = &["std::io", "std::time", "std::thread", "std::net", "std::fs", "ringress", "unsafe"];

const HTTP: &[&str] = &["ringress_proto"];
const RING_AND_HTTP: &[&str] = &["io_uring", "ringress_proto"];
const RING_AND_HTTP_AND_LOCKS: &[&str] = &["io_uring", "ringress_proto", "Mutex", "RwLock"];
const RING: &[&str] = &["io_uring"];
const IO_URING_AND_PROTO_AND_FILES: &[&str] = &["io_uring", "libc", "ringress_proto", "std::fs"];
const BIN_NEVER: &[&str] = &["io_uring", "libc", "ringress_proto", "thread::spawn"];
const ADMIN_NEVER: &[&str] = &["io_uring", "libc", "std::fs"];
const IO_URING_AND_FILES: &[&str] = &["io_uring", "libc", "std::fs", "std::io"];
const LOCKS: &[&str] = &["Mutex", "RwLock", "io_uring"];
const IO: &[&str] = &["std::io", "std::fs", "TcpListener", "TcpStream", "libc", "Mutex", "RwLock", "io_uring"];

/// `shard` alone sees kernel and protocol together.
const ENGINE: &[Room] = &[
    ("id", &[], RING_AND_HTTP),
    ("error", &[], RING),
    ("foreign", &[], RING_AND_HTTP_AND_LOCKS),
    ("counters", &[], RING_AND_HTTP),
    // Of HTTP it knows the form of a date, which it writes once a second for all responses.
    ("clock", &[], RING),
    ("mem", &["id"], RING_AND_HTTP),
    ("slab", &["mem"], RING_AND_HTTP),
    ("candidates", &["clock"], RING_AND_HTTP_AND_LOCKS),
    ("peers", &["error", "mem", "slab"], RING_AND_HTTP_AND_LOCKS),
    ("admission", &["error", "mem", "peers", "slab"], RING_AND_HTTP),
    ("proxied", &["id"], RING_AND_HTTP),
    ("driver", &["clock", "error", "id", "mem"], HTTP),
    ("stream", &["foreign"], RING_AND_HTTP_AND_LOCKS),
    ("queue", &["clock", "counters", "foreign", "id", "mem", "stream"], RING_AND_HTTP),
    ("record", &["counters", "id", "peers", "proxied", "queue"], RING),
    // Of HTTP it takes a head apart that was judged before.
    ("log", &["clock", "error", "queue", "record"], RING_AND_HTTP),
    ("conn", &["id"], IO),
    ("timer", &["clock", "id", "mem", "slab"], IO),
    ("policy", &["clock", "error"], RING_AND_HTTP),
    ("route", &["counters", "id", "log", "policy", "record"], IO),
    ("config", &["admission", "error", "id", "mem", "peers", "policy", "queue", "record"], RING),
    ("shard", SHARD_MAY, LOCKS),
    ("session", SESSION_MAY, RING),
    ("api", API_MAY, RING),
    // Handlers of signals are the crate `signal-hook`'s.
    ("signal", &["clock", "error"], RING_AND_HTTP),
    ("serve", SERVE_MAY, RING),
    // Behind a feature: streams of hyper's over connections that have switched.
    ("promise", &["api", "error"], IO_URING_AND_PROTO_AND_FILES),
    // Behind a feature: the types of the crate `http` over those of `api`.
    ("tower", &["api", "error", "foreign", "id", "promise", "session"], IO_URING_AND_FILES),
    // Behind a feature: such services on tokio.
    ("axum", &["error", "session", "tower"], IO_URING_AND_FILES),
    // Behind a feature: metrics and a status page, on a listener and a thread of their own.
    ("admin", &["clock", "config", "counters", "error", "id", "policy", "session"], ADMIN_NEVER),
    // Behind a feature: what the program tells of a host.
    ("diagnostics", &["driver"], RING_AND_HTTP_AND_LOCKS),
    // The program, behind a feature: it has of the library what others have.
    ("bin", &[], BIN_NEVER),
    // For benchmarks only: a feature that no user turns on.
    ("bench_door", BENCH_DOOR_MAY, RING),
];
#[rustfmt::skip]
const SHARD_MAY: &[&str] = &[
    "admission", "candidates", "clock", "config", "conn", "counters", "driver", "error", "foreign", "id", "log", "mem",
    "peers", "policy", "proxied", "queue", "record", "route", "slab", "stream", "timer",
];
#[rustfmt::skip]
const SESSION_MAY: &[&str] = &[
    "admission", "clock", "config", "counters", "driver", "error", "foreign", "id", "log", "mem", "peers", "policy",
    "proxied", "queue", "record", "route", "shard", "slab",
];

#[rustfmt::skip]
const API_MAY: &[&str] = &[
    "clock", "config", "error", "foreign", "id", "mem", "peers", "queue", "record", "session", "stream",
];

#[rustfmt::skip]
const SERVE_MAY: &[&str] = &["api", "config", "error", "foreign", "queue", "record", "route", "session", "signal"];

#[rustfmt::skip]
const BENCH_DOOR_MAY: &[&str] = &[
    "api", "config", "counters", "driver", "error", "id", "log", "mem", "policy", "proxied", "queue", "record", "route",
    "session", "shard", "slab", "timer",
];

/// Rooms inside of `shard`, each a folder there: the rooms of the crate it may import, those of `shard` by
/// `shard::NAME`, and words its code must not use. None of them names the shard, or looks a connection up.
const INSIDE_SHARD: &[Room] = &[
    ("transport", TRANSPORT_MAY, &["ringress_proto", "Connection", "SlotState", "Shard"]),
    ("dispatch", DISPATCH_MAY, DISPATCH_NEVER),
    // What operations have come to is said by the transport, in its own words.
    ("protocol", PROTOCOL_MAY, &["io_uring", "libc", "Op", "Event", "RawFd", "Slab", "Shard"]),
];
const TRANSPORT_MAY: &[&str] =
    &["admission", "clock", "counters", "driver", "error", "id", "mem", "proxied", "slab", "timer"];
/// Of no version: what one notes of a request is a number there (`SlotState::note`).
const DISPATCH_NEVER: &[&str] = &[
    "io_uring",
    "libc",
    "Op",
    "Event",
    "RawFd",
    "Connection",
    "HeadWriter",
    "HeadText",
    "Version",
    "is_http10",
    "SWITCHES",
    "Shard",
];
#[rustfmt::skip]
const DISPATCH_MAY: &[&str] = &[
    "candidates", "clock", "config", "counters", "id", "log", "mem", "peers", "policy", "queue", "record", "route",
    "slab", "stream",
    // For tests alone: they act between two looks at a queue.
    "shard::sim",
];
#[rustfmt::skip]
const PROTOCOL_MAY: &[&str] = &[
    "admission", "clock", "config", "conn", "counters", "driver", "error", "id", "mem", "peers", "policy", "proxied",
    "queue", "record", "slab", "stream", "timer", "shard::dispatch", "shard::transport",
];

/// What all protocols of a shard share, and so must know none of them.
const SHARED_BY_PROTOCOLS: &[&str] =
    &["engine/src/shard/protocol/files.rs", "engine/src/shard/protocol/link.rs", "engine/src/shard/protocol/stream.rs"];

/// Where the room `api` writes heads, and asks for the version of HTTP.
const ANSWERS_AS_TEXT: &str = "engine/src/api/response/text.rs";

/// Files that may use a word their room must not, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A control message, sent when URLs or queues change, may lock: no request does.
    ("engine/src/shard/control.rs", "Mutex"),
    ("engine/src/shard/transport/listen_socket.rs", "Mutex"),
];

/// Reading the time is the business of one room.
const CLOCK_READS: &[&str] = &["Instant::now", "SystemTime::now", "clock_gettime"];

/// What runs code of applications, or ends its panics: the business of the room `foreign`.
const FOREIGN_CALLS: &[&str] = &[".wake()", ".wake_by_ref()", "AtomicWaker", "catch_unwind", "Bytes(Bytes)"];

/// Files that may all the same, each with its reason.
const FOREIGN_EXCEPTIONS: &[(&str, &str)] = &[
    // The helper, which is the engine's own.
    ("engine/src/driver/files.rs", ".wake()"),
    // A service's panic is told to who handles the request.
    ("engine/src/tower/handling.rs", "catch_unwind"),
    // The task that is polled asks to be polled again.
    ("engine/src/tower/answer.rs", ".wake_by_ref()"),
    ("engine/src/tower/mod.rs", ".wake_by_ref()"),
];

/// Runs a law over the tree; it pushes one line for each breach.
fn enforce(law: impl Fn(&Source, &mut Vec<String>)) {
    let mut breaches = Vec::new();
    for source in Source::all() {
        law(&source, &mut breaches);
    }
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn rooms_import_only_what_their_table_allows() {
    enforce(|source, breaches| {
        imports("proto", PROTO, source, breaches);
        imports("engine", ENGINE, source, breaches);
    });
}

fn imports(krate: &str, rooms: &[Room], source: &Source, breaches: &mut Vec<String>) {
    let Some(own) = source.room(krate) else { return };
    let Some((_, may, never)) = rooms.iter().find(|(name, ..)| *name == own) else {
        breaches.push(format!("{}: room {own} is not in the table", source.path));
        return;
    };
    for (line, text) in (1..).zip(source.shipped.lines()) {
        let excepted = |word: &str| EXCEPTIONS.contains(&(source.path.as_str(), word));
        for word in never.iter().filter(|word| mentions(text, word) && !excepted(word)) {
            breaches.push(format!("{}:{line}: {own} must not mention {word}", source.path));
        }
        if text.contains("super::super::") {
            breaches.push(format!("{}:{line}: write crate:: instead of climbing", source.path));
        }
    }
    for imported in source.imported_rooms() {
        let is_room = rooms.iter().any(|(name, ..)| *name == imported);
        if is_room && imported != own && !may.contains(&imported.as_str()) {
            breaches.push(format!("{}: {own} must not import {imported}", source.path));
        }
    }
}

#[test]
fn rooms_inside_of_shard_import_only_what_their_table_allows() {
    enforce(inside_shard);
    let sources = Source::all();
    for (name, ..) in INSIDE_SHARD {
        assert!(sources.iter().any(|source| source.room_inside("shard") == Some(name)), "there is no room {name}");
    }
}

fn inside_shard(source: &Source, breaches: &mut Vec<String>) {
    let Some(own) = source.room_inside("shard").filter(|own| *own != "sim") else { return };
    let Some((_, may, never)) = INSIDE_SHARD.iter().find(|(name, ..)| *name == own) else {
        breaches.push(format!("{}: room shard::{own} is not in the table", source.path));
        return;
    };
    for (line, text) in (1..).zip(source.shipped.lines()) {
        for word in never.iter().filter(|word| mentions(text, word)) {
            breaches.push(format!("{}:{line}: shard::{own} must not mention {word}", source.path));
        }
    }
    for imported in source.imports_inside("shard") {
        let is_own = imported == format!("shard::{own}");
        if !is_own && !may.contains(&imported.as_str()) {
            breaches.push(format!("{}: shard::{own} must not import {imported}", source.path));
        }
    }
}

#[test]
fn what_protocols_share_knows_none_of_them_and_none_knows_another() {
    let sources = Source::all();
    let never_in = |path: &str, words: &[&str]| {
        let source = sources.iter().find(|source| source.path == path).unwrap_or_else(|| panic!("there is no {path}"));
        let found: Vec<_> = words.iter().filter(|word| mentions(&source.shipped, word)).collect();
        assert!(found.is_empty(), "{path} must not mention {found:?}");
    };
    SHARED_BY_PROTOCOLS.iter().for_each(|path| never_in(path, &["Http1", "http1", "Raw", "raw"]));
    never_in("engine/src/shard/protocol/raw.rs", &["Http1", "http1"]);
    // What comes once a switch is answered is a pipe's, also while earlier answers are still to be sent.
    for source in sources.iter().filter(|source| source.path.starts_with("engine/src/shard/protocol/http1/")) {
        assert!(!mentions(&source.shipped, "Raw"), "{} must not mention Raw", source.path);
    }
}

#[test]
fn heads_of_answers_are_text_in_one_place_of_the_api() {
    enforce(|source, breaches| {
        let is_elsewhere = source.room("engine") == Some("api") && source.path != ANSWERS_AS_TEXT;
        for (line, text) in (1..).zip(source.shipped.lines()).filter(|_| is_elsewhere) {
            for word in
                ["HeadWriter", "HeadText", "Http10", "Http11", "is_http10"].iter().filter(|word| mentions(text, word))
            {
                breaches.push(format!("{}:{line}: {word} outside of {ANSWERS_AS_TEXT}", source.path));
            }
        }
    });
}

#[test]
fn every_room_of_the_tables_is_there_and_imports_rooms_above_it() {
    let sources = Source::all();
    for (krate, rooms) in [("proto", PROTO), ("engine", ENGINE)] {
        for (line, (name, may, _)) in rooms.iter().enumerate() {
            let above = |room: &&str| rooms[..line].iter().any(|(other, ..)| other == room);
            let below: Vec<_> = may.iter().filter(|room| !above(room)).collect();
            assert!(below.is_empty(), "{krate}: {name} may import {below:?}, which do not stand above it");
            for room in may.iter().chain([name]) {
                let is_there = sources.iter().any(|source| source.room(krate) == Some(room));
                assert!(is_there, "{krate}: {name}: there is no room {room}");
            }
        }
    }
}

/// A file may add to what the module has that contains it, as that may use it: only imports between modules of which
/// neither contains the other count, and each counts with all that it contains.
#[test]
fn modules_of_a_room_import_each_other_in_no_circle() {
    let sources = Source::all();
    for krate in ["proto", "engine"] {
        let round = modules::circles(modules::imports(krate, &sources));
        let told = |import: &modules::Import| format!("{}: {} to {}", import.file, import.from, import.named);
        let told: Vec<_> = round.iter().map(told).collect();
        assert!(told.is_empty(), "{krate}: {} imports go round in circles:\n{}", told.len(), told.join("\n"));
    }
}

#[test]
fn proto_knows_no_input_no_output_no_time_and_no_engine() {
    enforce(|source, breaches| {
        for (line, text) in (1..).zip(source.shipped.lines()).filter(|_| source.path.starts_with("proto/src/")) {
            // The root forbids unsafe code by naming it: `unsafe_code` is another word.
            for word in PROTO_NEVER.iter().filter(|word| mentions(text, word)) {
                breaches.push(format!("{}:{line}: proto must not mention {word}", source.path));
            }
        }
    });
}

#[test]
fn only_the_clock_reads_the_time() {
    enforce(|source, breaches| {
        if source.is_library() && source.room("engine") != Some("clock") {
            for word in CLOCK_READS.iter().filter(|word| source.shipped.contains(**word)) {
                breaches.push(format!("{}: {word} outside of room clock", source.path));
            }
        }
    });
}

#[test]
fn foreign_code_runs_in_the_room_for_it() {
    enforce(|source, breaches| {
        let is_elsewhere = source.room("engine") != Some("foreign") && !source.path.starts_with("engine/src/shard/sim");
        let is_engine = source.path.starts_with("engine/src/") && is_elsewhere;
        for (line, text) in (1..).zip(source.shipped.lines()).filter(|_| is_engine) {
            let excepted = |word: &str| FOREIGN_EXCEPTIONS.contains(&(source.path.as_str(), word));
            for word in FOREIGN_CALLS.iter().filter(|word| text.contains(**word) && !excepted(word)) {
                breaches
                    .push(format!("{}:{line}: {word}: by foreign::wake, foreign::drop_guarded, a Waiter", source.path));
            }
        }
    });
}

/// What a public function gives has a name, so that it can be kept.
#[test]
fn public_functions_are_not_async() {
    enforce(|source, breaches| {
        let is_public = source.path.starts_with("engine/src/");
        for (line, _) in
            (1..).zip(source.shipped.lines()).filter(|(_, text)| is_public && text.contains("pub async fn"))
        {
            breaches.push(format!("{}:{line}: give a future with a name", source.path));
        }
    });
}

#[test]
fn thread_locals_that_are_destroyed_are_asked_for_with_try_with() {
    enforce(|source, breaches| {
        let is_shipped = source.path.starts_with("engine/src/") && !source.path.starts_with("engine/src/shard/sim");
        for (line, text) in (1..).zip(source.shipped.lines()).filter(|_| is_shipped) {
            // What an application keeps in a thread-local comes when the engine's own may be gone.
            if text.contains(".with_borrow") {
                breaches.push(format!("{}:{line}: the thread may end: try_with", source.path));
            }
        }
    });
}

#[test]
fn unsafe_lives_where_it_may_and_is_counted() {
    let mut counts = UNSAFE_COUNTS.map(|(room, _)| (room, 0));
    let mut breaches = Vec::new();
    for source in Source::all() {
        let found = unsafe_lines(&source.shipped).len();
        let place = if source.path.starts_with("scan/") { Some("scan") } else { source.room("engine") };
        match counts.iter_mut().find(|(room, _)| place == Some(room)) {
            Some((_, count)) => *count += found,
            // The floor of the benchmarks speaks to the kernel itself.
            None if found > 0 && !source.path.starts_with("bench/") => breaches.push(source.path),
            None => {}
        }
    }
    assert!(breaches.is_empty(), "unsafe outside of its rooms: {breaches:?}");
    assert_eq!(counts, UNSAFE_COUNTS, "found on the left: correct the table if the change was meant");
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    enforce(|source, breaches| {
        let bare = source.unsafe_without_reason();
        breaches.extend(bare.iter().map(|at| format!("{}:{}: no // SAFETY: before it", source.path, at + 1)));
    });
}

#[test]
fn files_functions_and_lines_stay_short() {
    enforce(|source, breaches| {
        let count = source.raw.lines().count();
        if count > FILE_LINES_MAX {
            breaches.push(format!("{}: {count} lines", source.path));
        }
        for (line, text) in (1..).zip(source.raw.lines()) {
            if text.chars().count() > LINE_CHARS_MAX {
                breaches.push(format!("{}:{line}: {} columns", source.path, text.chars().count()));
            }
        }
        for (name, line, length) in functions(&source.code) {
            if length > FUNCTION_LINES_MAX {
                breaches.push(format!("{}:{line}: fn {name} has {length} lines", source.path));
            }
        }
    });
}

#[test]
fn every_file_begins_with_its_purpose() {
    enforce(|source, breaches| {
        if !source.raw.starts_with("//!") {
            breaches.push(format!("{}: does not begin with //!", source.path));
        }
        // What only tests see needs no more.
        let is_shipped = ["engine/src/", "proto/src/", "scan/src/"].iter().any(|part| source.path.starts_with(part))
            && !["/sim", "/tests", "/races.rs"].iter().any(|part| source.path.contains(part))
            && source.path != "engine/src/lib.rs";
        let head: Vec<&str> = source.raw.lines().take_while(|line| line.starts_with("//!")).collect();
        for part in ["Invariants:", "Not here:"] {
            if is_shipped && !head.iter().any(|line| line.contains(part)) {
                breaches.push(format!("{}: its head does not say {part}", source.path));
            }
        }
    });
}

#[test]
fn shipped_code_neither_unwraps_nor_prints_nor_postpones() {
    enforce(|source, breaches| {
        for (line, text) in (1..).zip(source.shipped.lines()) {
            let everywhere = [".unwrap()", "todo!", "unimplemented!", "dbg!"];
            let library = if source.is_library() { &["print!", "println!", "eprint!", "eprintln!"][..] } else { &[] };
            for word in everywhere.iter().chain(library).filter(|word| mentions(text, word)) {
                breaches.push(format!("{}:{line}: {word}", source.path));
            }
        }
    });
}

#[test]
fn nothing_waits_by_sleeping() {
    enforce(|source, breaches| {
        let sleeps = source.code.lines().zip(1..).filter(|(text, _)| mentions(text, "thread::sleep"));
        if !SLEEPERS.contains(&source.path.as_str()) {
            breaches.extend(sleeps.map(|(_, line)| format!("{}:{line}: thread::sleep", source.path)));
        }
        // On an application's thread it takes a wake that is for an executor: `clock::pause` does not.
        let parks = source.shipped.lines().zip(1..).filter(|(text, _)| mentions(text, "park_timeout"));
        breaches.extend(parks.map(|(_, line)| format!("{}:{line}: park_timeout", source.path)));
    });
}

#[test]
fn every_engine_of_a_test_is_watched_for_leaks() {
    enforce(|source, breaches| {
        let is_watched = source.path == STARTER || !source.path.starts_with("engine/tests/");
        for (line, text) in (1..).zip(source.code.lines()).filter(|_| !is_watched) {
            // A start that is to fail starts nothing.
            let starts = text.matches(".start()").count() > text.matches(".start().expect_err(").count();
            if starts || text.contains("Engine::start()") {
                breaches.push(format!("{}:{line}: start it by Watched::start", source.path));
            }
        }
    });
}

#[test]
fn planted_breaches_of_the_import_table_are_found() {
    let breaches = |path: &str, raw: &str| {
        let mut found = Vec::new();
        imports("engine", ENGINE, &Source::new(path.to_owned(), raw.to_owned()), &mut found);
        found.len()
    };
    let path = "engine/src/conn/close.rs";
    assert_eq!(breaches(path, "use crate::id::X;\nuse crate::conn::Y;"), 0);
    assert_eq!(breaches(path, "use crate::{id::X, mem, queue::Y};"), 2);
    assert_eq!(breaches(path, "use super::super::driver;"), 1);
    assert_eq!(breaches(path, "use std::io::Read;"), 1);
    assert_eq!(breaches("engine/src/attic.rs", ""), 1, "a room missing from the table");
    let inside = |path: &str, raw: &str| {
        let mut found = Vec::new();
        inside_shard(&Source::new(path.to_owned(), raw.to_owned()), &mut found);
        found.len()
    };
    let (root, file) = ("engine/src/shard/dispatch/mod.rs", "engine/src/shard/dispatch/slots.rs");
    assert_eq!(inside(root, "use self::slots::X;\nuse crate::queue::Y;\nuse crate::shard::dispatch::Z;"), 0);
    assert_eq!((inside(root, "use super::control::X;"), inside(file, "use super::Dispatch;")), (1, 0));
    assert_eq!((inside(file, "use crate::driver::Io;"), inside(file, "use crate::shard::{protocol, sim};")), (1, 1));
    assert_eq!((inside(file, "let _: RawFd;"), inside("engine/src/shard/attic/x.rs", "")), (1, 1));
    let link = "engine/src/shard/protocol/link.rs";
    assert_eq!((inside(link, "errno == libc::EAGAIN"), inside(link, "use crate::driver::{Event, Io, Op};")), (1, 2));
    assert_eq!(inside("engine/src/shard/control.rs", "use super::Shard;"), 0, "what joins the rooms");
}
