//! Lines parsed back by parsers of their own, whatever clients and applications have sent: no line is forged, no field
//! moves, and what a format can say of a value comes back.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::calendar::Moment;
use super::fields::COLUMNS;
use super::line::{put_header, put_line};
use super::note::{LogNote, Noted};
use super::record::{LogRecord, RequestText};
use super::{LogFields, LogFormat, Logging};
use crate::record::Address;

/// Mon Nov 30 19:50:07.250 UTC 2026.
const AT_MICROS: u64 = 1_796_068_207_250_000;

fn address(text: &str) -> Address {
    Address::from(text.parse::<SocketAddr>().expect("an address"))
}

fn note() -> LogNote {
    LogNote { log: 1, status: 404, ended: 0, took: 12_345, bytes_in: 77, bytes_out: 1234 }
}

/// What clients and applications choose: method, target, version, host, user agent, cookie, referer, user.
type Chosen = [Vec<u8>; 8];

fn record(chosen: &Chosen) -> LogRecord<'_> {
    let [method, target, version, host, user_agent, cookie, referer, user] = chosen.each_ref().map(Vec::as_slice);
    let (peer, local) = (address("10.1.2.3:4711"), address("[2001:db8::1]:8080"));
    let noted = Noted { note: note(), peer, local, head: &[], user, substatus: 5, win32_status: 64 };
    let request = RequestText { method, target, version, host, user_agent, cookie, referer };
    LogRecord { at: Moment::of_micros(AT_MICROS), noted, request, site_name: "W3SVC1", computer_name: "north" }
}

fn line(format: LogFormat, chosen: &Chosen) -> Vec<u8> {
    let logging = Logging::new(format, "/logs");
    let logging = match format {
        LogFormat::W3c | LogFormat::Json => logging.fields(LogFields::ALL),
        _ => logging,
    };
    let mut line = Vec::new();
    put_line(&logging, &record(chosen), &mut line);
    line
}

/// The text of one line, which is one for every reader, in whatever way it takes lines apart.
#[track_caller]
fn text(line: &[u8]) -> &str {
    let text = str::from_utf8(line).expect("every format is UTF-8").strip_suffix('\n').expect("an end");
    let is_end = |char: char| char.is_control() || matches!(char, '\u{85}' | '\u{2028}' | '\u{2029}');
    assert!(!text.contains(is_end), "no other end: {text:?}");
    text
}

fn chosen() -> impl Strategy<Value = Chosen> {
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9/._~-]{1,6}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![
            &b"\r\n"[..], b"\n", b" ", b"\t", b"\"", b"\\", b",", b", ", b"?", b"#", b"-", b"+", b"[", b"]", b"\0",
            b"\x1b[2J", b"\x7f", b"\xff", b"\xc2\x85", "\u{2028}".as_bytes(), "\u{202e}".as_bytes(),
            "\u{e9}".as_bytes(), b"\\u0022",
            b"\" 200 1\n10.0.0.1 - - [30/Nov/2026:19:50:07 +0000] \"GET / HTTP/1.1", b"%0d%0a", b"\\\"", b"{\"",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let value = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    prop::array::uniform8(value)
}

/// Whether W3C and IIS say a value as it is.
fn is_plain(value: &[u8]) -> bool {
    !value.is_empty() && value[0] != b'#' && value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

fn stem_and_query(target: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default().to_vec(), parts.next().unwrap_or_default().to_vec())
}

fn check_w3c(chosen: &Chosen) {
    let line = line(LogFormat::W3c, chosen);
    let fields: Vec<&str> = text(&line).split(' ').collect();
    assert_eq!(fields.len(), COLUMNS.len(), "{fields:?}");
    assert!(fields.iter().all(|field| !field.is_empty() && !field.contains(char::is_whitespace)), "{fields:?}");
    assert!(!fields.iter().any(|field| field.starts_with('#')), "{fields:?}");
    let (stem, query) = stem_and_query(&chosen[1]);
    let [method, _, version, host, user_agent, cookie, referer, user] = chosen;
    let texts = [method, &stem, &query, user, version, user_agent, cookie, referer, host];
    for (place, value) in [5, 6, 7, 9, 12, 13, 14, 15, 16].into_iter().zip(texts) {
        let said = fields[place];
        assert_eq!(value.is_empty() || value == b"-", said == "-", "{value:?} is {said:?}");
        assert!(!is_plain(value) || said.as_bytes() == value, "{value:?} is {said:?}");
    }
    let numbers = [fields[8], fields[11], fields[17], fields[18], fields[19], fields[20], fields[21], fields[22]];
    assert_eq!(numbers, ["8080", "4711", "404", "5", "64", "1234", "77", "12"]);
    let others = [fields[0], fields[1], fields[2], fields[3], fields[4], fields[10]];
    assert_eq!(others, ["2026-11-30", "19:50:07", "W3SVC1", "north", "2001:db8::1", "10.1.2.3"]);
}

/// Takes what is before `end` off the beginning of a text.
#[track_caller]
fn until<'a>(rest: &mut &'a str, end: &str) -> &'a str {
    let (before, behind) = rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} in {rest:?}"));
    *rest = behind;
    before
}

fn unhex(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (code, behind) = rest.split_at(3);
        let digits = str::from_utf8(code).expect("ASCII").strip_prefix('x').expect("\\xHH");
        bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
        rest = behind;
    }
    bytes
}

fn or_none(value: &[u8]) -> Vec<u8> {
    if value.is_empty() { b"-".to_vec() } else { value.to_vec() }
}

fn check_ncsa(chosen: &Chosen, format: LogFormat) {
    let line = line(format, chosen);
    let mut rest = text(&line);
    assert!(rest.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{rest:?}");
    let [method, target, version, _, user_agent, _, referer, user] = chosen;
    assert_eq!((until(&mut rest, " "), until(&mut rest, " ")), ("10.1.2.3", "-"));
    assert_eq!(unhex(until(&mut rest, " ")), or_none(user));
    assert_eq!(until(&mut rest, " \""), "[30/Nov/2026:19:50:07 +0000]");
    let request = [&or_none(method)[..], target, version];
    let request: Vec<&[u8]> = request.into_iter().filter(|part| !part.is_empty()).collect();
    assert_eq!(unhex(until(&mut rest, "\" ")), request.join(&b' '));
    assert_eq!(until(&mut rest, " "), "404");
    if format == LogFormat::NcsaCommon {
        return assert_eq!(rest, "1234");
    }
    assert_eq!(until(&mut rest, " \""), "1234");
    assert_eq!(unhex(until(&mut rest, "\" \"")), or_none(referer));
    assert_eq!(unhex(until(&mut rest, "\"")), or_none(user_agent));
    assert_eq!(rest, "");
}

fn check_iis(chosen: &Chosen) {
    let line = line(LogFormat::Iis, chosen);
    let fields: Vec<&str> = text(&line).strip_suffix(',').expect("a comma at the end").split(", ").collect();
    assert_eq!(fields.len(), 15, "{fields:?}");
    assert!(!fields.iter().any(|field| field.contains([',', ' ']) || field.is_empty()), "{fields:?}");
    let known = [fields[0], fields[2], fields[3], fields[4], fields[5], fields[6]];
    assert_eq!(known, ["10.1.2.3", "11/30/2026", "19:50:07", "W3SVC1", "north", "2001:db8::1"]);
    assert_eq!(fields[7..12], ["12", "77", "1234", "404", "64"]);
    let (stem, query) = stem_and_query(&chosen[1]);
    for (said, value) in [(fields[1], &chosen[7]), (fields[12], &chosen[0]), (fields[13], &stem), (fields[14], &query)]
    {
        assert!(!is_plain(value) || said.as_bytes() == value, "{value:?} is {said:?}");
    }
}

/// The members of an object of strings and integers, as RFC 8259 has it, without white space.
fn members(text: &str) -> Vec<(String, String)> {
    let mut rest = text.strip_prefix('{').expect("an object");
    let mut members = Vec::new();
    loop {
        let name = string(&mut rest);
        rest = rest.strip_prefix(':').expect("a member");
        let value = if rest.starts_with('"') { string(&mut rest) } else { integer(&mut rest) };
        members.push((name, value));
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    assert_eq!(rest, "}", "{text:?}");
    members
}

fn integer(rest: &mut &str) -> String {
    let end = rest.find(|char: char| !char.is_ascii_digit()).expect("an end");
    let (digits, behind) = rest.split_at(end);
    assert!(!digits.is_empty() && (digits == "0" || !digits.starts_with('0')), "{digits:?}");
    *rest = behind;
    digits.to_owned()
}

fn string(rest: &mut &str) -> String {
    let (mut units, mut chars) = (Vec::new(), rest.strip_prefix('"').expect("a string").chars());
    loop {
        let char = match chars.next().expect("its end") {
            '"' => break,
            '\\' => match chars.next().expect("what is escaped") {
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).expect("four digits"));
                    continue;
                }
                char @ ('"' | '\\') => char,
                char => panic!("\\{char}"),
            },
            char => char,
        };
        assert!(char >= ' ', "control characters are escaped");
        units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
    }
    *rest = chars.as_str();
    String::from_utf16(&units).expect("whole characters")
}

fn check_json(chosen: &Chosen) {
    let line = line(LogFormat::Json, chosen);
    let members = members(text(&line));
    let value = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let (stem, query) = stem_and_query(&chosen[1]);
    let [method, _, version, host, user_agent, cookie, referer, user] = chosen;
    for (name, bytes) in [
        ("method", method),
        ("uri_stem", &stem),
        ("uri_query", &query),
        ("version", version),
        ("host", host),
        ("user_agent", user_agent),
        ("cookie", cookie),
        ("referer", referer),
        ("user", user),
    ] {
        let expected = (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(value(name), expected, "{name}");
    }
    for (name, expected) in [
        ("time", "2026-11-30T19:50:07.250Z"),
        ("client_ip", "10.1.2.3"),
        ("client_port", "4711"),
        ("server_ip", "2001:db8::1"),
        ("server_port", "8080"),
        ("status", "404"),
        ("substatus", "5"),
        ("win32_status", "64"),
        ("bytes_sent", "1234"),
        ("bytes_received", "77"),
        ("micros", "12345"),
    ] {
        assert_eq!(value(name).as_deref(), Some(expected), "{name}");
    }
    let mut names: Vec<&String> = members.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), members.len(), "a member is there once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_chosen_stays_in_its_field(chosen in chosen()) {
        check_w3c(&chosen);
        check_ncsa(&chosen, LogFormat::NcsaCommon);
        check_ncsa(&chosen, LogFormat::NcsaCombined);
        check_iis(&chosen);
        check_json(&chosen);
    }

    #[test]
    fn a_head_is_taken_apart_whatever_it_is(head in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..120) {
        let _ = RequestText::of(&head);
        let (whole, cut) = (HEAD, &HEAD[..cut.min(HEAD.len())]);
        let (whole, cut) = (RequestText::of(whole), RequestText::of(cut));
        for (part, of) in [(cut.method, whole.method), (cut.host, whole.host), (cut.cookie, whole.cookie)] {
            prop_assert!(of.starts_with(part));
        }
    }
}

const HEAD: &[u8] =
    b"\r\nPOST /a?b=c HTTP/1.1\r\nHost: h\r\nuser-agent:  curl/8 x \r\nCookie: a=b\r\nCookie: c=d\r\n\r\nHost: no";

#[test]
fn heads_are_taken_apart() {
    let text = RequestText::of(HEAD);
    assert_eq!((text.method, text.target, text.version), (&b"POST"[..], &b"/a?b=c"[..], &b"HTTP/1.1"[..]));
    assert_eq!((text.host, text.user_agent), (&b"h"[..], &b"curl/8 x"[..]));
    assert_eq!((text.cookie, text.referer), (&b"a=b"[..], &b""[..]));
    assert_eq!(text.stem_and_query(), (&b"/a"[..], &b"b=c"[..]));
    assert_eq!(RequestText::of(b"").method, b"");
    let odd = RequestText::of(b"GET /a b c\r\n");
    assert_eq!((odd.method, odd.target, odd.version), (&b"GET"[..], &b"/a b c"[..], &b""[..]));
}

#[test]
fn a_unix_client_has_no_address() {
    let chosen: Chosen = Default::default();
    let mut record = record(&chosen);
    record.noted.peer = Address::NONE;
    for (format, expected) in [(LogFormat::NcsaCommon, "- - - ["), (LogFormat::Iis, "-, -, 11/30/2026")] {
        let mut line = Vec::new();
        put_line(&Logging::new(format, "/logs"), &record, &mut line);
        assert!(text(&line).starts_with(expected), "{:?}", text(&line));
    }
    let mut line = Vec::new();
    put_line(&Logging::new(LogFormat::Json, "/logs"), &record, &mut line);
    assert!(!text(&line).contains("client_ip"), "{:?}", text(&line));
}

#[test]
fn a_file_of_w3c_names_its_fields() {
    let mut header = Vec::new();
    let logging = Logging::new(LogFormat::W3c, "/logs").fields(LogFields::DATE | LogFields::USER_AGENT);
    put_header(&logging, Moment::of_micros(AT_MICROS), &mut header);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("#Software: ringress {version}\n#Version: 1.0\n#Date: 2026-11-30 19:50:07\n");
    assert_eq!(String::from_utf8(header).expect("text"), expected + "#Fields: date cs(User-Agent)\n");
    let mut header = Vec::new();
    put_header(&Logging::new(LogFormat::Json, "/logs"), Moment::of_micros(0), &mut header);
    assert!(header.is_empty(), "others have none");
}

/// The masks without date and time let a client's bytes come first.
#[test]
fn a_line_is_no_directive() {
    let mut chosen: Chosen = Default::default();
    chosen[0] = b"#Fields:".to_vec();
    let mut line = Vec::new();
    put_line(&Logging::new(LogFormat::W3c, "/logs").fields(LogFields::METHOD), &record(&chosen), &mut line);
    assert_eq!(text(&line), "+Fields:");
}
