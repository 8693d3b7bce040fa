//! What differs under ringress, all of it: each row of the table in `docs/reference.md`, and the cases that show it.

/// The first cell of a row, and the cases that it explains.
pub(crate) const DIFFERENCES: &[(&str, &[&str])] = &[
    (
        "requests that are malformed",
        &[
            "no host",
            "two hosts",
            "bad host",
            "line feeds alone",
            "folded field",
            "space before a colon",
            "no colon",
            "control byte",
            "two lengths",
            "two different lengths",
            "bad length",
            "length and chunks",
            "unknown coding",
            "bad chunk size",
            "another version",
            "no version",
            "not HTTP",
            "bad method",
        ],
    ),
    (
        "targets that are malformed",
        &["escape that is none", "escape of nothing", "fragment", "byte not of URIs", "path not UTF-8"],
    ),
    (
        "large heads of requests",
        &[
            "long target",
            "very long target",
            "very long field of a request",
            "very many fields of a request",
            "long method",
        ],
    ),
    ("CONNECT", &["connect"]),
    // What hyper does with a body that goes back is no response: `tower.rs` has what ringress does.
    ("`Expect`", &["not asked for", "expected and sent at once", "something else expected"]),
    // By chance the same: see `Case::unread`.
    ("bodies of requests that are not read", &[]),
    ("upgrades with a body", &["socket with a body"]),
    (
        "HTTP/1.0",
        &["in 1.0", "in 1.0 kept", "in pieces in 1.0", "in pieces in 1.0 kept", "request in 1.0", "socket in 1.0"],
    ),
    (
        "reason phrases",
        &[
            "status 418",
            "status 299",
            "status 599",
            "status 999",
            "json not of this form",
            "own fallback of methods",
            "limit by length",
            "limit in chunks",
            "limit by default",
            "layered limit by length",
            "layered limit in chunks",
            "too much to ask for",
        ],
    ),
    // The engine of these tests has none of its own.
    ("Server", &[]),
    ("Keep-Alive, and `Connection: keep-alive`", &["own keep-alive", "own keep-alive field"]),
    ("large heads of responses", &["field beyond any head"]),
    ("Content-Length of 204", &["status 204 with a body"]),
    ("content of 205", &["status 205 with a body"]),
    ("statuses below 200", &["status 100", "status 103", "status 101 unasked", "a protocol that was not asked for"]),
    (
        "trailer fields",
        &["trailers", "trailers accepted", "trailers named", "echo with trailers", "echo with named trailers"],
    ),
    (
        "panics, and bodies that fail at once",
        &["panic", "panic before the body is read", "fails at once", "layered limit while it goes back"],
    ),
    // Not seen in a response: `leaving.rs`, `switching.rs`.
    ("graceful shutdown", &[]),
    ("`into_make_service`, `Connected`", &[]),
    ("HTTP/2", &[]),
    ("slow clients", &[]),
];

#[test]
fn the_reference_lists_these_differences_and_no_others() {
    let reference = include_str!("../../../docs/reference.md");
    let (_, section) = reference.split_once("## axum under ringress").expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<&str> = rows.filter_map(|row| row.split('|').nth(1).map(str::trim)).collect();
    let listed: Vec<&str> = DIFFERENCES.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, listed);
}
