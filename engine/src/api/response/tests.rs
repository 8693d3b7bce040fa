//! Responses as they are written, and what is said of those that cannot be.

use bytes::Bytes;

use super::*;
use crate::error::ErrorKind;
use crate::queue::Record;

fn written(record: &RequestRecord, mut response: Response<'_>) -> Result<(String, Answered)> {
    let mut area = [0; 512];
    let template = HeadTemplate::new("s").expect("valid");
    let answered = fill(record, &template, &mut response, &mut area)?;
    let text = String::from_utf8_lossy(&area[..answered.area_len() as usize]).into_owned();
    Ok((text, answered))
}

fn keep_alive() -> RequestRecord {
    RequestRecord { keep_alive: true, ..RequestRecord::EMPTY }
}

#[test]
fn a_small_body_is_beside_its_head_and_a_large_one_behind_it() {
    let (text, small) = written(&keep_alive(), Response::text("hello")).expect("valid");
    assert!(text.ends_with("Content-Length: 5\r\n\r\nhello") && small.tail.is_none(), "{text}");
    let (text, large) = written(&keep_alive(), Response::ok().body(vec![7; 1000])).expect("valid");
    assert!(text.ends_with("Content-Length: 1000\r\n\r\n"), "{text}");
    assert!(matches!(large.tail, Tail::Bytes(tail) if tail.len() == 1000));
}

#[test]
fn text_says_what_it_is_once() {
    let types = |text: &str| text.matches("Content-Type").count();
    let (text, _) = written(&keep_alive(), Response::text("hello")).expect("valid");
    assert!(text.contains("\r\nContent-Type: text/plain\r\n") && types(&text) == 1, "{text}");
    let (text, _) = written(&keep_alive(), Response::text("<p>").content_type("text/html")).expect("valid");
    assert!(text.contains("\r\nContent-Type: text/html\r\n") && types(&text) == 1, "{text}");
}

#[test]
fn more_headers_than_fit_inline_are_kept_in_order() {
    let names: Vec<String> = (0..12).map(|n| format!("x-{n}")).collect();
    let response = names.iter().fold(Response::ok(), |response, name| response.header(name.as_str(), "v"));
    let (text, _) = written(&keep_alive(), response).expect("valid");
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(": v")).collect();
    assert_eq!(found, names);
}

#[test]
fn mistakes_are_errors_with_a_reason() {
    let cases = [
        Response::new(100),
        Response::new(204).body("x"),
        Response::ok().content_length(3).body("x"),
        Response::ok().header("Content-Length", "1"),
        Response::ok().header("a b", "1"),
        Response::ok().header("a", "1\r\nb: 2"),
    ];
    for response in cases {
        let error = written(&keep_alive(), response.clone()).expect_err(&format!("{response:?}"));
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let large = "v".repeat(300_000);
    let error = written(&keep_alive(), Response::ok().header("a", &large)).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn closing_is_handed_on_and_the_shards_to_say() {
    for (response, closes) in [(Response::ok(), false), (Response::ok().close(), true)] {
        let (text, answered) = written(&RequestRecord::EMPTY, response).expect("valid");
        assert!(!text.contains("Connection") && answered.flags.has(ResponseFlags::CLOSE) == closes, "{text}");
    }
}

#[test]
fn what_a_handler_computed_needs_no_borrow_and_goes_in_the_order_given() {
    fn made(id: u64) -> Response<'static> {
        let path = format!("/orders/{id}");
        Response::new(201)
            .header("A", "1")
            .header("Set-Cookie", format!("id={id}"))
            .header(ResponseHeader::Location, path.clone().into_bytes())
            .header(format!("X-{id}"), Bytes::from(path.clone()))
            .header("Set-Cookie", Cow::<str>::Owned(format!("seen={id}")))
            .header("E", Cow::<[u8]>::Borrowed(b"2"))
            .content_type(format!("text/x-{id}"))
            .reason(format!("Order {id}"))
    }
    let (text, _) = written(&keep_alive(), made(7)).expect("valid");
    assert!(text.starts_with("HTTP/1.1 201 Order 7\r\n"), "{text}");
    let fields = "A: 1\r\nSet-Cookie: id=7\r\nLocation: /orders/7\r\nX-7: /orders/7\r\nSet-Cookie: seen=7\r\nE: 2\r\n\
        Content-Type: text/x-7\r\nContent-Length: 0\r\n\r\n";
    assert!(text.ends_with(fields), "{text}");
}

#[test]
fn owned_text_says_what_it_is_as_borrowed_text_does() {
    let of = |response| written(&keep_alive(), response).expect("valid").0;
    let value = String::from("text/html");
    assert_eq!(of(Response::text("x").content_type(value.clone())), of(Response::text("x").content_type("text/html")));
    assert_eq!(of(Response::text("x").content_type(&value)), of(Response::text("x").content_type("text/html")));
}

#[test]
fn more_owned_text_than_any_head_has_is_refused_and_not_kept() {
    let large = |bytes: usize| Response::ok().header("a", "v".repeat(bytes));
    for response in [large(270_000), large(140_000).header("b", "v".repeat(140_000)), large(1 << 20).header("c", "v")] {
        let error = written(&keep_alive(), response).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

#[test]
fn an_error_names_the_field_the_byte_and_its_place() {
    let cases = [
        (Response::ok().header("Location", "/a\nb".to_owned()), "\"Location\" has the byte 0x0a at position 2"),
        (
            Response::ok().header("ok", "1").header(ResponseHeader::ETag, &b"\"\0\""[..]),
            "\"ETag\" has the byte 0x00 at position 1",
        ),
        (Response::ok().header("x y", "1"), "field name \"x y\" has the byte 0x20 at position 1"),
        (Response::ok().header("", "1"), "the field name \"\" is empty"),
        (Response::ok().header(ResponseHeader::Unknown, "1"), "ResponseHeader::Unknown"),
        (Response::ok().header("content-length", "1"), "\"content-length\" is written by the engine: it is the body's"),
        (Response::ok().header("Upgrade", "a b"), "\"Upgrade\" is \"a b\", which is not a list of protocols"),
        (Response::ok().reason("a\rb"), "reason phrase \"a\\rb\" has the byte 0x0d at position 1"),
        (Response::new(1000), "status 1000"),
        (Response::ok().header("a", "1").header("long", "v".repeat(300_000)), "largest field is \"long\""),
    ];
    for (response, want) in cases {
        let error = written(&keep_alive(), response).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
    let error = informational(103, &[("Link", "</a>\r")], 512).map(drop).expect_err("CR").to_string();
    assert!(error.contains("\"Link\" has the byte 0x0d at position 4"), "{error}");
    let error = informational(103, &[("Link", &"a".repeat(600))], 512).map(drop).expect_err("long").to_string();
    assert!(error.contains("largest field is \"Link\""), "{error}");
}

#[cfg(feature = "http")]
#[test]
fn statuses_names_and_values_of_the_crate_http_are_taken() {
    let (name, value) = (http::HeaderName::from_static("x-id"), http::HeaderValue::from_static("7"));
    let response = Response::new(http::StatusCode::CREATED)
        .header(&name, &value)
        .header(http::header::LOCATION, value.clone())
        .header(name.clone(), "8");
    let (text, _) = written(&keep_alive(), response).expect("valid");
    assert!(text.starts_with("HTTP/1.1 201 Created\r\n"), "{text}");
    assert!(text.contains("\r\nx-id: 7\r\nlocation: 7\r\nx-id: 8\r\n"), "{text}");
}
