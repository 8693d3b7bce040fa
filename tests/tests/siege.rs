//! Every load of docs/reliability.md, scaled down: pressure is nobody's loss who is not its cause.
//!
//! In full, as a table and beside nginx, they are run by `scripts/siege`.

use ringress_tests::siege::{Scale, row};
use ringress_tests::{Mode, Server, raise_descriptor_limit};

/// Runs a load against a server with small pools: all good clients are served, and nothing is left behind.
fn withstands(mode: Mode, name: &str) {
    raise_descriptor_limit(4_096);
    let row = row(name);
    let server = Server::start(&row.setup(mode, Scale::Ci));
    row.write_files(server.folder().root()).expect("files can be written below the root");
    let outcome = row.run(server.address(), Scale::Ci);
    eprintln!("{name}, {}: {outcome}", mode.as_str());
    outcome.assert_whole();
    server.finish();
}

/// A test for each load and mode.
macro_rules! rows {
    ($($test:ident: $row:literal),+ $(,)?) => {
        mod colocated {
            $(#[test] fn $test() { super::withstands(super::Mode::Colocated, $row); })+
        }

        mod queue {
            $(#[test] fn $test() { super::withstands(super::Mode::Queue, $row); })+
        }
    };
}

rows![
    posts: "posts",
    bodies: "bodies",
    uploads_begun_at_once: "begun-at-once",
    slow_uploads: "slow-uploads",
    long_polls: "long-polls",
    streams: "streams",
    pipes: "pipes",
    open_uploads: "open-uploads",
    ghosts_that_are_reset: "ghosts-reset",
    ghosts_that_are_closed: "ghosts-closed",
    slow_readers: "slow-readers",
    a_queue_filled_by_one_address: "queue-filled",
    as_many_greedy_addresses_as_slots_are_kept: "greedy-addresses",
    silent_clients: "silent",
    idle_clients: "idle",
    half_heads: "half-heads",
    long_heads_in_pieces: "long-heads",
    half_trailer_sections: "half-trailers",
    readers_of_short_files: "short-files",
    readers_of_long_responses: "long-responses",
    idle_uploads_to_who_reads_them_waiting: "idle-puts",
    idle_uploads_that_are_awaited_whole: "idle-wholes",
    a_thousand_silent_clients: "nothing",
    a_thousand_half_heads: "half-head",
    a_thousand_half_bodies: "half-body",
    a_thousand_unread_downloads: "unread-download",
    a_thousand_unread_echoes: "unread-echo",
];
