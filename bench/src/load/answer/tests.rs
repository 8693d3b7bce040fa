//! The answer parser: verdicts, ends, and that no way of splitting the bytes changes them.

use super::*;
use crate::load::Exchange;

/// What a reader says about a stream: each answer, and what the end of the connection means.
fn read(exchange: &Exchange, pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = Reader::new();
    let mut found = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let before = rest.len();
            match reader.read(&mut rest, exchange) {
                Step::More => assert!(rest.is_empty(), "nothing is left over"),
                Step::Done(answered) => {
                    assert!(rest.len() < before, "each answer takes bytes");
                    found.push(format!("{answered:?}"));
                }
                Step::Broken(reason) => {
                    found.push(format!("broken: {reason}"));
                    return found;
                }
            }
        }
    }
    found.push(match reader.end(exchange) {
        End::Broken(reason) => format!("broken: {reason}"),
        end => format!("{end:?}"),
    });
    found
}

fn exchange() -> Exchange {
    Exchange::get("h", "/").expecting_body(200, "Hello, World!")
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

/// Streams with everything in them that a server may send, right and wrong.
fn streams() -> Vec<String> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        PLAIN.repeat(3),
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{PLAIN}{PLAIN}"),
        format!("{chunked}7\r\nHello, \r\n6;a=b\r\nWorld!\r\n0\r\nX: y\r\n\r\n{PLAIN}"),
        format!("{chunked}7\r\nHello, W\r\n0\r\n\r\n"),
        format!("{chunked}zz\r\n"),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned() + PLAIN,
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_owned() + PLAIN,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello".to_owned() + PLAIN,
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, Wordl!".to_owned() + PLAIN,
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nHello".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nHello".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nHello".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\n\r\nHello, World!".to_owned(),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nHello, World!".to_owned(),
        "HTTP/1.1 200 OK\r\nBad header\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nBad\u{1}header".to_owned(),
        "HTTP/1.1 2x0 OK\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200".to_owned(),
        format!("\r\n{PLAIN}"),
        "HTTP/1.1 200 OK\r\n".to_owned() + &"A: b\r\n".repeat(HEADERS_MAX + 1) + "\r\n",
        "\0\0\0".to_owned(),
    ]
}

#[test]
fn answers_in_any_pieces_get_the_same_verdict() {
    for stream in streams() {
        let bytes = stream.as_bytes();
        let whole = read(&exchange(), &[bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&exchange(), &single), whole, "byte by byte: {}", bytes.escape_ascii());
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read(&exchange(), &[first, second]), whole, "split at {at}: {}", bytes.escape_ascii());
        }
        for size in 2..8 {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read(&exchange(), &pieces), whole, "in pieces of {size}: {}", bytes.escape_ascii());
        }
    }
}

const RIGHT: Answered = Answered { wrong: None, closes: false };

fn verdicts(exchange: &Exchange, stream: &str) -> Vec<String> {
    read(exchange, &[stream.as_bytes()])
}

#[test]
fn each_difference_is_told_by_its_kind() {
    let wrong = |wrong| format!("{:?}", Answered { wrong: Some(wrong), closes: false });
    let first = |stream: &str| verdicts(&exchange(), stream).swap_remove(0);
    assert_eq!(first(PLAIN), format!("{RIGHT:?}"));
    assert_eq!(first("HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n"), wrong(Wrong::Status(404)));
    assert_eq!(first("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello"), wrong(Wrong::Length(5)));
    assert_eq!(first("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nHello, World!!"), wrong(Wrong::Length(14)));
    assert_eq!(first("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, Wordl!"), wrong(Wrong::Content));
}

#[test]
fn without_expectations_any_2xx_is_right() {
    let exchange = Exchange::get("h", "/");
    assert_eq!(verdicts(&exchange, "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nhi")[0], format!("{RIGHT:?}"));
    assert!(verdicts(&exchange, "HTTP/1.1 304 Not Modified\r\n\r\n")[0].contains("Status(304)"));
}

#[test]
fn answers_to_head_have_no_body() {
    let exchange = Exchange::head("h", "/");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n";
    let right = format!("{RIGHT:?}");
    assert_eq!(verdicts(&exchange, &head.repeat(2)), [right.clone(), right, "Between".to_owned()]);
    let expected = Expectation { body_bytes: Some(12), ..Expectation::default() };
    assert!(verdicts(&exchange.expecting(expected), head)[0].contains("Length(13)"));
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    let stream = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nHello, World!";
    let done = End::Done(Answered { wrong: None, closes: true });
    assert_eq!(verdicts(&exchange(), stream), [format!("{done:?}")]);
    let short = stream.strip_suffix('!').expect("it ends so");
    assert!(verdicts(&exchange(), short)[0].contains("Length(12)"));
}

#[test]
fn the_last_answer_of_a_connection_is_known() {
    for (head, closes) in [
        ("HTTP/1.1 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: upgrade, Close\r\n", true),
    ] {
        let stream = format!("{head}Content-Length: 13\r\n\r\nHello, World!");
        assert_eq!(verdicts(&exchange(), &stream)[0], format!("{:?}", Answered { wrong: None, closes }));
    }
}

#[test]
fn heads_without_end_are_refused() {
    let mut stream = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
    stream.resize(HEAD_BYTES_MAX + 1, b'a');
    let broken = ["broken: a head over 64 KiB"];
    assert_eq!(read(&exchange(), &[&stream]), broken);
    assert_eq!(read(&exchange(), &stream.chunks(1000).collect::<Vec<_>>()), broken);
}
