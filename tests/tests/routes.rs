//! Every route of the showcase answers as its description says, whatever the mode.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringress_tests::{Client, Response, Server, both_modes, comes_out_once};
use serde_json::Value;

both_modes![
    home_page_names_the_routes,
    home_page_answers_304_to_its_own_etag,
    home_page_answers_304_to_its_own_last_modified,
    home_page_answers_200_to_conditions_that_do_not_hold,
    plain_texts_are_exact,
    json_is_exact,
    baseline11_sums_query_and_body,
    baseline11_ignores_what_is_no_integer,
    echo_returns_the_body_and_its_type,
    an_echo_whose_type_does_not_fit_a_head_is_refused_by_what_is_wrong,
    echo_and_upload_take_put,
    root_echoes_posts,
    headers_are_listed_in_order,
    bytes_have_the_length_asked_for,
    slow_takes_its_time_without_holding_up_others,
    work_holds_its_consumer_and_then_answers,
    json_for_people_ends_its_line,
    who_describes_the_request,
    who_numbers_requests_and_connections_apart,
    who_shows_the_path_decoded_once_and_the_query_raw,
    who_takes_the_host_of_an_absolute_target,
    prefixes_of_different_categories_have_their_own_contexts,
    host_without_port_is_served_by_the_weak_wildcard,
    unknown_paths_get_404_and_keep_the_connection,
    known_paths_with_another_method_get_405_and_allow,
    head_has_the_fields_of_get_and_no_body,
    options_get_204_with_allow_and_no_length,
    options_star_gets_200,
    date_is_the_time_of_the_answer,
];

/// Routes a plain GET finds, with the start of their types.
const GETS: [(&str, &str); 8] = [
    ("/", "text/html"),
    ("/plaintext", "text/plain"),
    ("/json", "application/json"),
    ("/pipeline", "text/plain"),
    ("/baseline11?a=1&b=2", "text/plain"),
    ("/headers", "text/plain"),
    ("/bytes/10", ""),
    ("/who", "application/json"),
];

fn assert_ok(answer: &Response, body: &str) {
    assert_eq!((answer.status, answer.text()), (200, body), "{answer:?}");
    assert!(!answer.closes(), "an ordinary answer keeps the connection: {answer:?}");
}

fn json(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error} in {answer:?}"))
}

fn home_page_names_the_routes(server: &Server) {
    let page = server.answer("/");
    assert_eq!(page.status, 200);
    for route in
        ["/plaintext", "/json", "/pipeline", "/baseline11", "/echo", "/headers", "/bytes", "/slow", "/work", "/who"]
    {
        assert!(page.text().contains(route), "{route} is not on the page: {}", page.text());
    }
    let etag = page.field("ETag").expect("the page has an ETag");
    assert!(etag.ends_with('"') && etag.trim_start_matches("W/").starts_with('"'), "ETag: {etag}");
    assert!(page.field("Last-Modified").is_some_and(|date| date.ends_with(" GMT")), "{page:?}");
}

fn conditional(server: &Server, client: &mut Client, condition: &str) -> Response {
    client.exchange(server.request("GET / HTTP/1.1", &[condition], ""))
}

fn home_page_answers_304_to_its_own_etag(server: &Server) {
    let mut client = server.connect();
    let page = client.exchange(server.get("/"));
    let etag = page.field("ETag").expect("the page has an ETag");
    let list = format!("\"something-else\", {etag}");
    for condition in [etag, &format!("W/{}", etag.trim_start_matches("W/")), "*", &list] {
        let answer = conditional(server, &mut client, &format!("If-None-Match: {condition}"));
        assert_eq!((answer.status, answer.field("ETag")), (304, Some(etag)), "{condition}");
    }
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn home_page_answers_304_to_its_own_last_modified(server: &Server) {
    let mut client = server.connect();
    let page = client.exchange(server.get("/"));
    let modified = page.field("Last-Modified").expect("the page has a Last-Modified");
    let answer = conditional(server, &mut client, &format!("If-Modified-Since: {modified}"));
    assert_eq!(answer.status, 304, "{answer:?}");
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn home_page_answers_200_to_conditions_that_do_not_hold(server: &Server) {
    let mut client = server.connect();
    let page = client.exchange(server.get("/"));
    let long_ago = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT";
    for condition in ["If-None-Match: \"something-else\"", long_ago, "If-Modified-Since: yesterday"] {
        let answer = conditional(server, &mut client, condition);
        assert_eq!((answer.status, &answer.body), (200, &page.body), "{condition}");
    }
}

fn plain_texts_are_exact(server: &Server) {
    let mut client = server.connect();
    for (target, text) in
        [("/plaintext", "Hello, World!"), ("/pipeline", "ok"), ("/plaintext?x=/json", "Hello, World!")]
    {
        let answer = client.exchange(server.get(target));
        assert_ok(&answer, text);
        assert!(answer.field("Content-Type").is_some_and(|kind| kind.starts_with("text/plain")), "{answer:?}");
    }
}

fn json_is_exact(server: &Server) {
    let answer = server.answer("/json");
    assert_ok(&answer, r#"{"message":"Hello, World!"}"#);
    assert!(answer.lists("Content-Type", "application/json"), "{answer:?}");
}

fn baseline11_sums_query_and_body(server: &Server) {
    let mut client = server.connect();
    assert_ok(&client.exchange(server.get("/baseline11?a=13&b=42")), "55");
    assert_ok(&client.exchange(server.get("/baseline11?a=-5&b=3")), "-2");
    assert_ok(&client.exchange(server.post("/baseline11?a=13&b=42", "20")), "75");
    let head = "POST /baseline11?a=1&b=2 HTTP/1.1";
    let chunked = server.request(head, &["Transfer-Encoding: chunked"], "1\r\n4\r\n1\r\n0\r\n0\r\n\r\n");
    assert_ok(&client.exchange(chunked), "43");
    assert_ok(&client.exchange(server.post("/baseline11?a=1&b=2", "")), "3");
}

fn baseline11_ignores_what_is_no_integer(server: &Server) {
    let mut client = server.connect();
    assert_ok(&client.exchange(server.get("/baseline11?a=7&b=seven")), "7");
    assert_ok(&client.exchange(server.post("/baseline11?a=7&b=1", "many")), "8");
}

fn echo_returns_the_body_and_its_type(server: &Server) {
    let mut client = server.connect();
    let fields = ["Content-Type: application/x-test", "Content-Length: 9"];
    let answer = client.exchange(server.request("POST /echo HTTP/1.1", &fields, "some\0body"));
    assert_ok(&answer, "some\0body");
    assert_eq!(answer.field("Content-Type"), Some("application/x-test"));
    let fields = ["Content-Type: text/csv", "Transfer-Encoding: chunked"];
    let chunks = "3\r\na,b\r\nB\r\n,c and more\r\n0\r\n\r\n";
    let answer = client.exchange(server.request("POST /echo HTTP/1.1", &fields, chunks));
    assert_ok(&answer, "a,b,c and more");
    assert_eq!(answer.field("Content-Type"), Some("text/csv"));
    assert_ok(&client.exchange(server.post("/echo", "")), "");
    let no_framing = server.request("POST /echo HTTP/1.1", &[], "");
    assert_ok(&client.exchange(no_framing), "");
    let no_chunks = server.request("POST /echo HTTP/1.1", &["Transfer-Encoding: chunked"], "0\r\n\r\n");
    assert_ok(&client.exchange(no_chunks), "");
}

fn an_echo_whose_type_does_not_fit_a_head_is_refused_by_what_is_wrong(server: &Server) {
    let long = format!("Content-Type: {}", "x".repeat(4_000));
    for target in ["/echo", "/"] {
        for (framing, body) in [("Content-Length: 4", "body"), ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n")]
        {
            let line = format!("POST {target} HTTP/1.1");
            let answer = server.connect().exchange(server.request(&line, &[&long, framing], body));
            assert_eq!(answer.status, 431, "{target} {framing}: {answer:?}");
            assert!(answer.text().contains("Content-Type") && answer.text().contains("1024"), "{answer:?}");
        }
    }
    let fits = format!("Content-Type: {}", "x".repeat(1_024));
    let answer =
        server.connect().exchange(server.request("POST /echo HTTP/1.1", &[&fits, "Content-Length: 4"], "body"));
    assert_ok(&answer, "body");
}

fn json_for_people_ends_its_line(server: &Server) {
    for target in ["/who", "/gauges"] {
        assert!(server.answer(target).text().ends_with("}\n"), "{target}");
    }
}

/// As `curl -T` sends files: with a length or in chunks, with the head or behind it.
fn echo_and_upload_take_put(server: &Server) {
    let mut client = server.connect();
    let long = "put ".repeat(100_000);
    for body in ["", "some body", &long] {
        let field = format!("Content-Length: {}", body.len());
        let counted = body.len().to_string();
        for (target, expected) in [("/echo", body), ("/upload", &counted)] {
            let line = format!("PUT {target} HTTP/1.1");
            client.send(server.request(&line, &[&field], ""));
            client.send(body);
            assert_ok(&client.any_response(), expected);
            let chunks = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
            let chunked = server.request(&line, &["Transfer-Encoding: chunked"], chunks + "0\r\n\r\n");
            assert_ok(&client.exchange(chunked), expected);
        }
    }
}

fn root_echoes_posts(server: &Server) {
    let mut client = server.connect();
    assert_ok(&client.exchange(server.post("/", "to the root")), "to the root");
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn headers_are_listed_in_order(server: &Server) {
    let mut client = server.connect();
    let fields =
        ["X-First: 1", "Accept: text/plain, */*", "X-Many: a", "x-many: b", "X-Empty:", "X-Padded: \t mid dle \t"];
    let host = format!("Host: {}", server.address());
    let expected =
        [&host, "X-First: 1", "Accept: text/plain, */*", "X-Many: a", "x-many: b", "X-Empty:", "X-Padded: mid dle"];
    let get = client.exchange(server.request("GET /headers HTTP/1.1", &fields, ""));
    // How a line ends after an empty value (with or without a space) says nothing about the field.
    let lines: Vec<&str> = get.text().lines().map(str::trim_end).collect();
    assert_eq!(lines, expected);
    let post = client.exchange(server.request("POST /headers HTTP/1.1", &["Content-Length: 4"], "body"));
    let lines: Vec<&str> = post.text().lines().map(str::trim_end).collect();
    assert_eq!(lines, [host.as_str(), "Content-Length: 4"]);
}

fn bytes_have_the_length_asked_for(server: &Server) {
    let mut client = server.connect();
    for length in [0, 1, 4_096, 100_000, 1_000_000, 0, 65_536] {
        let answer = client.exchange(server.get(&format!("/bytes/{length}")));
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert_eq!(answer.field("Content-Length"), Some(length.to_string().as_str()));
    }
    let answer = client.exchange(server.get("/bytes/many"));
    assert!(matches!(answer.status, 400 | 404), "{answer:?}");
}

fn slow_takes_its_time_without_holding_up_others(server: &Server) {
    let others_came_first = comes_out_once(|| {
        let started = Instant::now();
        let mut slow = server.connect();
        slow.send(server.get("/slow/1500"));
        // More connections than shards and consumers, so that some share both with the slow request.
        for _ in 0..16 {
            server.assert_healthy();
        }
        let first = !slow.has_unread();
        assert_eq!(slow.response().status, 200);
        assert!(started.elapsed() >= Duration::from_millis(1_500), "slow was early: {:?}", started.elapsed());
        first
    });
    assert!(others_came_first, "16 fast answers took longer than the slow one");
}

fn work_holds_its_consumer_and_then_answers(server: &Server) {
    let started = Instant::now();
    let answer = server.answer("/work/200");
    assert_eq!((answer.status, answer.text()), (200, "worked\n"));
    assert!(started.elapsed() >= Duration::from_millis(200), "early: {:?}", started.elapsed());
    assert_eq!(server.answer("/work/1001").status, 400);
}

fn who_describes_the_request(server: &Server) {
    let mut client = server.connect();
    let who = json(&client.exchange(server.request("GET /who?a=1&b=%20 HTTP/1.1", &["X-Test: yes"], "")));
    let host = server.address().to_string();
    assert_eq!(who["method"], "GET");
    assert_eq!(who["version"], "HTTP/1.1");
    assert_eq!(who["raw_url"], "/who?a=1&b=%20");
    assert_eq!(who["host"], "127.0.0.1");
    assert_eq!(who["path"], "/who");
    assert_eq!(who["query"], "a=1&b=%20");
    assert_eq!(who["remote"], client.local_address().to_string());
    assert_eq!(who["local"], host);
    assert!(who["shard"].as_u64().is_some_and(|shard| shard < 2), "{who}");
    let expected = serde_json::json!([["Host", host], ["X-Test", "yes"]]);
    assert_eq!(who["headers"], expected);
}

fn who_numbers_requests_and_connections_apart(server: &Server) {
    let mut client = server.connect();
    let first = json(&client.exchange(server.get("/who")));
    let second = json(&client.exchange(server.get("/who")));
    let other = json(&server.answer("/who"));
    for id in ["request_id", "connection_id"] {
        assert!(!first[id].is_null() && first[id] != 0 && first[id] != "0", "{id} is never 0: {first}");
    }
    assert_eq!(first["connection_id"], second["connection_id"]);
    assert_ne!(first["connection_id"], other["connection_id"]);
    assert_ne!(first["request_id"], second["request_id"]);
}

fn who_shows_the_path_decoded_once_and_the_query_raw(server: &Server) {
    let mut client = server.connect();
    for (target, path) in [("/%77ho", "/who"), ("/a/../who", "/who"), ("/./who", "/who"), ("/host/..//../who", "/who")]
    {
        let who = json(&client.exchange(server.get(&format!("{target}?q=%77"))));
        assert_eq!((&who["path"], &who["query"]), (&path.into(), &"q=%77".into()), "{target}");
        assert_eq!(who["raw_url"], format!("{target}?q=%77"));
    }
}

fn who_takes_the_host_of_an_absolute_target(server: &Server) {
    let port = server.address().port();
    let who = json(&server.answer(&format!("http://example.test:{port}/who?x")));
    assert_eq!(who["host"], "example.test");
    assert_eq!((&who["path"], &who["query"]), (&"/who".into(), &"x".into()));
    // An empty path is the root, with or without a query.
    let root = server.answer("/");
    for target in ["http://example.test", "http://example.test?x=1", "http://example.test:80?"] {
        let answer = server.answer(target);
        assert_eq!((answer.status, answer.field("Content-Type")), (200, root.field("Content-Type")), "{target}");
    }
}

fn prefixes_of_different_categories_have_their_own_contexts(server: &Server) {
    let mut client = server.connect();
    let port = server.address().port();
    let mut context = |host: &str, target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        json(&client.exchange(request))["url_context"].clone()
    };
    let weak = context("127.0.0.1", "/who");
    let strong = context("127.0.0.1", "/strong/who");
    let host = context("localhost", "/host/who");
    assert!(weak != strong && strong != host && host != weak, "contexts differ: {weak} {strong} {host}");
    assert_eq!(context("localhost", "/strong/who"), strong, "the strong wildcard comes before a host");
    assert_eq!(context("LOCALHOST", "/host/who"), host, "hosts match without regard to case");
    assert_eq!(context("localhost.", "/host/who"), host, "a dot at a name's end changes nothing");
    assert_eq!(context("localhost", "/who"), weak, "the host has a longer prefix only");
    assert_eq!(context("example.test", "/who"), weak);
}

fn host_without_port_is_served_by_the_weak_wildcard(server: &Server) {
    let mut client = server.connect();
    assert_ok(&client.exchange("GET /pipeline HTTP/1.1\r\nHost: example.test\r\n\r\n"), "ok");
}

fn unknown_paths_get_404_and_keep_the_connection(server: &Server) {
    let mut client = server.connect();
    for target in ["/nowhere", "/plaintextual", "/plaintext/", "/bytes", "/strongish", "/pipeline/x"] {
        let answer = client.exchange(server.get(target));
        assert_eq!((answer.status, answer.closes()), (404, false), "{target}: {answer:?}");
    }
    let answer = client.exchange(server.post("/nowhere", "with a body"));
    assert_eq!((answer.status, answer.closes()), (404, false), "{answer:?}");
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn known_paths_with_another_method_get_405_and_allow(server: &Server) {
    let mut client = server.connect();
    for (line, allowed) in [
        ("POST /plaintext", ["GET", "HEAD"]),
        ("DELETE /json", ["GET", "HEAD"]),
        ("PUT /baseline11", ["GET", "POST"]),
        ("BREW /pipeline", ["GET", "HEAD"]),
        ("GET /echo", ["POST", "PUT"]),
        ("PATCH /upload", ["POST", "PUT"]),
        ("PATCH /", ["GET", "POST"]),
    ] {
        let answer = client.exchange(server.request(&format!("{line} HTTP/1.1"), &["Content-Length: 3"], "abc"));
        assert_eq!(answer.status, 405, "{line}: {answer:?}");
        assert!(allowed.iter().all(|method| answer.lists("Allow", method)), "{line}: {answer:?}");
        let refused = line.split(' ').next().expect("a request line has a method");
        assert!(!answer.lists("Allow", refused), "{line}: {answer:?}");
    }
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn head_has_the_fields_of_get_and_no_body(server: &Server) {
    let mut client = server.connect();
    for (target, kind) in GETS {
        let get = client.exchange(server.get(target));
        assert_eq!(get.status, 200, "{target}");
        let typed = get.field("Content-Type").is_some_and(|known| known.starts_with(kind));
        assert!(typed || kind.is_empty(), "{target}: {get:?}");
        client.send(server.request(&format!("HEAD {target} HTTP/1.1"), &[], ""));
        let head = client.response_to_head();
        assert_eq!(head.status, 200, "{target}");
        // Texts that name the request itself differ in length.
        let same: &[&str] = match target {
            "/who" => &["Content-Type"],
            _ => &["Content-Type", "Content-Length", "ETag", "Last-Modified"],
        };
        for name in same {
            assert_eq!(head.field(name), get.field(name), "{name} of {target}");
        }
    }
    client.send(server.request("HEAD /nowhere HTTP/1.1", &[], ""));
    assert_eq!(client.response_to_head().status, 404);
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn options_get_204_with_allow_and_no_length(server: &Server) {
    let mut client = server.connect();
    for (target, allowed) in [("/", "POST"), ("/plaintext", "GET"), ("/echo", "POST"), ("/bytes/7", "HEAD")] {
        let answer = client.exchange(server.request(&format!("OPTIONS {target} HTTP/1.1"), &[], ""));
        assert_eq!(answer.status, 204, "{target}: {answer:?}");
        assert_eq!(answer.field("Content-Length"), None, "{target}");
        assert!(answer.lists("Allow", allowed), "{target}: {answer:?}");
    }
    let answer = client.exchange(server.request("OPTIONS /nowhere HTTP/1.1", &[], ""));
    assert_eq!(answer.status, 404);
}

fn options_star_gets_200(server: &Server) {
    let mut client = server.connect();
    let answer = client.exchange(server.request("OPTIONS * HTTP/1.1", &[], ""));
    assert_eq!((answer.status, answer.closes()), (200, false), "{answer:?}");
    assert_ok(&client.exchange(server.get("/pipeline")), "ok");
}

fn date_is_the_time_of_the_answer(server: &Server) {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        i64::try_from(since.as_secs()).expect("seconds fit")
    };
    let (before, answer, after) = (now(), server.answer("/slow/1100"), now());
    // A coarse clock may trail by a second; the time of the request would trail by more.
    let date = answer.date_seconds();
    assert!((before..=after).contains(&date), "{date} is not in {before}..={after}");
}
