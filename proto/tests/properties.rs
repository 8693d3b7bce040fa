//! Properties that hold for every input, on inputs drawn around the valid ones.

use proptest::collection::vec;
use proptest::prelude::*;
use ringress_proto::chunked::{Decoder, Step};
use ringress_proto::date::{imf_fixdate, parse_imf_fixdate};
use ringress_proto::head::{Head, Parse, parse};
use ringress_proto::header::{HeaderName, ResponseHeader};
use ringress_proto::limits::Limits;
use ringress_proto::reject::Reject;
use ringress_proto::response::{
    CHUNK_LINE_BYTES, HeadWriter, WriteError, chunk_line, last_chunk, trailer_section, trailer_section_len,
};
use ringress_proto::trailers::{Trailers, is_forbidden};
use ringress_proto::url::{Prefix, canonical_path, cook};

/// Pieces from which request lines and fields are put together, sound and unsound.
const PIECES: &[&str] = &[
    "GET ",
    "POST ",
    "OPTIONS * ",
    "CONNECT h:1 ",
    "/",
    "/a/../b",
    "/%41",
    "/%zz",
    "http://h/",
    "http://h",
    "http://h?",
    "%C2%85",
    "?q",
    "#",
    " ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/2.0\r\n",
    " HTTP/1.",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\t",
    ":",
    "Host: h\r\n",
    "Host: h:80\r\n",
    "Host:\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "Expect: x\r\n",
    "X: y\r\n",
    "X: y\r\n z\r\n",
    "X : y\r\n",
    "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    "\u{e9}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Bytes that matter to the framing of chunks.
const DAMAGE: &[u8] = b"\r\n\0;: 0g=\"\\";

const VALID: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /pipeline?x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n",
    "\r\nPOST /a%20b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close, x\r\n\r\nhello",
    "PUT http://h:80/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(Vec<u8>),
    Delete(usize),
    Replace(u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        prop::sample::select(PIECES).prop_map(|piece| Edit::Insert(piece.as_bytes().to_vec())),
        any::<u8>().prop_map(|byte| Edit::Insert(vec![byte])),
        (33_usize..300).prop_map(|count| Edit::Insert(vec![b'x'; count])),
        (1_usize..8).prop_map(Edit::Delete),
        any::<u8>().prop_map(Edit::Replace),
        prop::sample::select(&b"\r\n\0\t :/%"[..]).prop_map(Edit::Replace),
    ]
}

/// A valid head with a few edits, or pieces in any order.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let edited = (prop::sample::select(VALID), vec((any::<prop::sample::Index>(), edit()), 0..4));
    prop_oneof![
        4 => edited.prop_map(|(valid, edits)| {
            let mut bytes = valid.as_bytes().to_vec();
            for (at, edit) in edits {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len();
                match edit {
                    Edit::Insert(text) => drop(bytes.splice(at..at, text)),
                    Edit::Delete(count) => drop(bytes.drain(at..(at + count).min(end))),
                    Edit::Replace(byte) => drop(bytes.splice(at..(at + 1).min(end), [byte])),
                }
            }
            bytes
        }),
        1 => vec(prop::sample::select(PIECES), 0..16).prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = (0_u16..160, 0_u16..40, 0_u16..6, 0_u16..24, 0_u16..24, 0_u16..24);
    prop_oneof![
        Just(Limits::DEFAULT),
        small.prop_map(|(head, target, count, line, extension, trailer)| {
            Limits::DEFAULT
                .head_bytes_max(head)
                .target_bytes_max(target)
                .header_count_max(count)
                .chunk_line_bytes_max(line)
                .chunk_extension_bytes_max(extension)
                .trailer_bytes_max(trailer)
                .raw_target_bytes(trailer % 2 == 0)
        }),
    ]
}

/// The verdict on one growing input: the head, no verdict yet, or the status and whether the connection ends.
fn verdict(input: &[u8], limits: &Limits) -> Result<Option<Head>, (u16, bool)> {
    let mut head = Head::EMPTY;
    match parse(input, limits, &mut head) {
        Ok(Parse::Complete) => Ok(Some(head)),
        Ok(Parse::Partial) => Ok(None),
        Err(cause) => Err((cause.status(), cause.closes())),
    }
}

/// What a chunked body has: data, trailer section, bytes consumed, and whether it is done.
type Decoded = (Vec<u8>, Vec<u8>, usize, bool);

/// Decodes a chunked body fed in pieces of the given sizes.
fn decode(input: &[u8], sizes: &[usize], limits: &Limits) -> Result<Decoded, Reject> {
    let mut decoder = Decoder::new();
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    let (mut at, mut end) = (0, 0);
    let mut sizes = sizes.iter().cycle();
    loop {
        let (consumed, step) = decoder.step(&input[at..end], limits)?;
        match step {
            Step::Data { start, len } => {
                assert!(len > 0 && start + len == consumed);
                body.extend_from_slice(&input[at + start..at + start + len]);
            }
            Step::Trailer { start, len } => {
                assert!(len > 0 && start + len == consumed);
                trailers.extend_from_slice(&input[at + start..at + start + len]);
            }
            Step::Done => return Ok((body, trailers, at + consumed, true)),
            Step::NeedMore => assert_eq!(at + consumed, end),
        }
        at += consumed;
        if step == Step::NeedMore {
            if end == input.len() {
                return Ok((body, trailers, at, false));
            }
            end = (end + sizes.next().copied().unwrap_or(1)).min(input.len());
        }
    }
}

/// Whether a text is chunk extensions by RFC 9112 section 7.1.1, judged from behind: the last element is cut off until
/// nothing is left.
fn are_extensions(text: &[u8]) -> bool {
    let is_token = |text: &[u8]| {
        let special = b"!#$%&'*+-.^_`|~";
        !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special.contains(byte))
    };
    let is_quoted = |text: &[u8]| {
        let [b'"', inner @ .., b'"'] = text else { return false };
        let mut bytes = inner.iter();
        let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        while let Some(byte) = bytes.next() {
            let good = match byte {
                b'"' => false,
                b'\\' => bytes.next().is_some_and(is_text),
                byte => is_text(byte),
            };
            if !good {
                return false;
            }
        }
        true
    };
    let is_element = |text: &[u8]| {
        is_token(text)
            || (0..text.len()).filter(|&at| text[at] == b'=').any(|at| {
                let (name, value) = (trim(&text[..at]), trim(&text[at + 1..]));
                // White space stands only between parts.
                let tight = text.starts_with(name) && text.ends_with(value);
                tight && is_token(name) && (is_token(value) || is_quoted(value))
            })
    };
    text.is_empty()
        || (0..text.len()).filter(|&at| text[at] == b';').any(|at| {
            let element = &text[at + 1..];
            let gap = element.iter().take_while(|byte| b" \t".contains(byte)).count();
            let mut before = &text[..at];
            while let [rest @ .., b' ' | b'\t'] = before {
                before = rest;
            }
            is_element(&element[gap..]) && are_extensions(before)
        })
}

fn encode_chunks(pieces: &[Vec<u8>], extension: &str, trailer: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0{extension}\r\n{trailer}\r\n").as_bytes());
    out
}

/// Paths made mostly of what canonicalisation is about.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(
        &[
            "/", "/", "/.", "/..", "/../", "a", "b", ".", "%2e", "%2F", "%2f", "%41", "%25", "%C3%A9", "%c3", "%ff",
            "\u{e9}", "\\", "%5c", "%00", "%C2", "%80", "%9f", "%A0", "\u{85}", "%", "%zz", "%20", "%23", "?", "~",
            "%7F", "+",
        ][..],
    );
    vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
}

/// The canonical form as bytes of its own.
fn canonical(raw: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut scratch = vec![0xaa; raw.len()];
    Ok(match canonical_path(raw, &mut scratch)? {
        None => raw.to_vec(),
        Some(len) => scratch[..usize::from(len)].to_vec(),
    })
}

type Field = (String, Vec<u8>);

/// A value without white space around it.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A name and a value, mostly of allowed bytes.
fn field() -> impl Strategy<Value = Field> {
    let name = prop_oneof![4 => "[!#-'*+.0-9A-Z^-z|~-]{1,20}", 1 => "[ -~]{0,4}", 1 => "(Date|connection|ETag)"];
    let value = prop_oneof![4 => "[ -~\t]{0,40}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..24)];
    (name, value)
}

/// Writes a head and notes the fields that were accepted. Fails only if the memory is full.
fn write(
    out: &mut [u8],
    status: u16,
    reason: Option<&str>,
    fields: &[Field],
    length: Option<u64>,
    accepted: &mut Vec<Field>,
) -> Result<usize, WriteError> {
    let mut note = |name: &str, value: &[u8]| accepted.push((name.into(), value.trim_ascii().to_vec()));
    let mut writer = HeadWriter::new(out);
    writer.status(status, reason)?;
    for (name, value) in fields {
        match writer.header(HeaderName::from(name.as_str()), value) {
            Ok(()) => note(name, value),
            Err(WriteError::NoSpace) => return Err(WriteError::NoSpace),
            Err(_) => {}
        }
    }
    writer.header(ResponseHeader::ETag.into(), b"\"x\"")?;
    note("ETag", b"\"x\"");
    if status < 200 {
        assert_eq!(
            (writer.content_length(0), writer.chunked()),
            (Err(WriteError::Reserved), Err(WriteError::Reserved))
        );
    } else if let Some(length) = length {
        writer.content_length(length)?;
        note("Content-Length", length.to_string().as_bytes());
    } else {
        writer.chunked()?;
        note("Transfer-Encoding", b"chunked");
    }
    writer.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn head_split_at_every_byte_gives_same_verdict(input in nearly_a_head(), limits in limits()) {
        let whole = verdict(&input, &limits);
        let first = (0..=input.len()).map(|len| verdict(&input[..len], &limits)).find(|v| *v != Ok(None));
        prop_assert_eq!(first.unwrap_or(Ok(None)), whole);
    }

    #[test]
    fn a_parsed_head_stays_within_its_bytes_and_cooks(input in nearly_a_head(), limits in limits()) {
        let mut head = Head::EMPTY;
        if parse(&input, &limits, &mut head) == Ok(Parse::Complete) {
            let head_len = usize::from(head.head_len);
            prop_assert!(head_len <= input.len() && head_len <= usize::from(limits.head_bytes_max));
            prop_assert!(head.target.len <= limits.target_bytes_max && head.header_count <= limits.header_count_max);
            prop_assert!(input[..head_len].ends_with(b"\r\n\r\n"));
            let lines = input[..head_len].iter().filter(|&&byte| byte == b'\n').count();
            let skipped = usize::from(input[0] == b'\r');
            prop_assert_eq!(lines, usize::from(head.header_count) + 2 + skipped);
            for header in head.headers() {
                prop_assert!(!header.name(&input).is_empty() && header.value_span().end() < head_len);
            }
            let mut scratch = [0; 1_024];
            let closely = cook(&input, &Head { plain_path_len: 0, ..head }, &mut scratch);
            prop_assert_eq!(cook(&input, &head, &mut scratch), closely);
            if let Ok(cooked) = closely {
                let path = cooked.path(&input, || &scratch);
                let text = core::str::from_utf8(path);
                prop_assert!(text.is_ok_and(|text| !text.chars().any(char::is_control)));
                // One dot is cut off, and no more.
                let (host, end) = (cooked.host.of(&input), cooked.host.end());
                prop_assert!(host.len() < 2 || !host.ends_with(b".") || input.get(end) == Some(&b'.'));
                prop_assert_eq!(cooked.query.is_empty(), !cooked.query.of(&input).starts_with(b"?"));
                prop_assert!(limits.raw_target_bytes || head.target.of(&input).is_ascii());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in vec(any::<u8>(), 0..400), limits in limits()) {
        let _ = verdict(&input, &limits);
        let _ = decode(&input, &[3], &limits);
        let _ = canonical(&input);
        let _ = Trailers::new(&input).count();
        let _ = parse_imf_fixdate(&input);
    }

    #[test]
    fn canonicalising_twice_equals_once(raw in path()) {
        if let Ok(once) = canonical(&raw) {
            prop_assert!(once.starts_with(b"/") && once.len() <= raw.len());
            prop_assert!(core::str::from_utf8(&once).is_ok());
            let has_dots = once.split(|&byte| byte == b'/').any(|segment| segment == b"." || segment == b"..");
            prop_assert!(!has_dots);
            // These come only out of escapes, and are refused if sent bare.
            if !once.iter().any(|byte| b"%# ".contains(byte)) {
                prop_assert_eq!(canonical(&once), Ok(once));
            }
        }
    }

    #[test]
    fn removing_dot_segments_is_idempotent(
        segments in vec(prop::sample::select(&["", ".", "..", "a", "..."][..]), 1..10),
    ) {
        let raw = format!("/{}", segments.join("/"));
        let once = canonical(raw.as_bytes());
        prop_assert!(once.is_ok());
        let once = once.unwrap_or_default();
        prop_assert_eq!(canonical(&once), Ok(once));
    }

    #[test]
    fn any_split_of_a_chunked_body_decodes_the_same(
        pieces in vec(vec(any::<u8>(), 1..40), 0..6),
        extension in prop::sample::select(&["", ";a", " ;a=\"b\""][..]),
        trailer in prop::sample::select(&["", "X: y\r\n", "a:\r\nb: c\r\n"][..]),
        sizes in vec(1_usize..20, 1..8),
    ) {
        let mut input = encode_chunks(&pieces, extension, trailer);
        let len = input.len();
        input.extend_from_slice(b"GET /");
        let got = decode(&input, &sizes, &Limits::DEFAULT);
        prop_assert_eq!(got, Ok((pieces.concat(), trailer.as_bytes().to_vec(), len, true)));
    }

    #[test]
    fn extensions_are_taken_by_their_grammar_and_however_they_are_split(
        text in vec(
            prop::sample::select(&[";", ";", "x", "=", "\"", "\"", "\\", " ", "\t", "@", "\u{e9}", "\x7f"][..]),
            0..9,
        ),
        sizes in vec(1_usize..6, 1..8),
    ) {
        let extension = text.concat();
        let input = encode_chunks(&[b"xyz".to_vec()], &extension, "");
        let want = if are_extensions(extension.as_bytes()) {
            Ok((b"xyz".to_vec(), Vec::new(), input.len(), true))
        } else {
            Err(Reject::BadChunk)
        };
        prop_assert_eq!(decode(&input, &sizes, &Limits::DEFAULT), want.clone(), "{:?}", extension);
        prop_assert_eq!(decode(&input, &[1], &Limits::DEFAULT), want);
    }

    #[test]
    fn any_split_of_a_damaged_chunked_body_gives_the_same_verdict(
        pieces in vec(vec(any::<u8>(), 1..10), 0..4),
        edits in vec((any::<prop::sample::Index>(), prop::sample::select(DAMAGE), any::<bool>()), 0..3),
        sizes in vec(1_usize..20, 1..8),
        limits in limits(),
    ) {
        let mut input = encode_chunks(&pieces, ";a=\"b\" ;c", "X: y\r\n");
        for (at, byte, insert) in edits {
            let at = at.index(input.len());
            drop(input.splice(at..at + usize::from(!insert), [byte]));
        }
        let whole = decode(&input, &[input.len()], &limits);
        prop_assert_eq!(&decode(&input, &sizes, &limits), &whole);
        prop_assert_eq!(&decode(&input, &[1], &limits), &whole);
    }

    #[test]
    fn trailers_of_any_split_are_the_fields_sent(
        fields in vec(("[!#-'*+.0-9A-Z^-z|~-]{1,12}", "[!-~]{0,3}[ -~\t]{0,8}", "[ \t]{0,2}"), 0..6),
        pieces in vec(vec(any::<u8>(), 1..10), 0..4),
        sizes in vec(1_usize..20, 1..8),
    ) {
        let section: String = fields.iter().map(|(name, value, space)| format!("{name}:{space}{value}\r\n")).collect();
        let input = encode_chunks(&pieces, ";a", &section);
        let whole = Ok((pieces.concat(), section.clone().into_bytes(), input.len(), true));
        prop_assert_eq!(decode(&input, &sizes, &Limits::DEFAULT), whole);
        let trailers = Trailers::new(section.as_bytes());
        let skipped = trailers.skipped_in_all();
        let got: Vec<_> = trailers.collect();
        let sent = fields.iter().map(|(name, value, _)| (name.as_bytes(), value.trim_matches([' ', '\t']).as_bytes()));
        let want: Vec<_> = sent.filter(|(name, _)| !is_forbidden(name)).collect();
        prop_assert_eq!(skipped, fields.len() - want.len());
        prop_assert_eq!(got, want);
    }

    #[test]
    fn a_chunked_body_decodes_to_what_was_written(
        pieces in vec(vec(any::<u8>(), 0..40), 0..6),
        fields in vec(field(), 0..4),
        sizes in vec(1_usize..40, 1..8),
    ) {
        let mut body = Vec::new();
        for piece in &pieces {
            let mut line = [0; CHUNK_LINE_BYTES];
            let len = chunk_line(piece.len() as u64, body.is_empty(), &mut line);
            body.extend_from_slice(&line[..len]);
            body.extend_from_slice(piece);
        }
        let trailers = || fields.iter().map(|(name, value)| (HeaderName::from(name.as_str()), value.as_slice()));
        let len = trailer_section_len(trailers());
        let mut section = vec![0; len];
        if trailer_section(trailers(), &mut section) == Ok(len) {
            body.extend_from_slice(last_chunk(body.is_empty()));
            body.extend_from_slice(&section);
            let decoded = decode(&body, &sizes, &Limits::DEFAULT);
            prop_assert!(decoded.is_ok());
            let (data, section, used, is_done) = decoded.unwrap_or_default();
            prop_assert_eq!((data, used, is_done), (pieces.concat(), body.len(), true));
            let got: Vec<Field> = Trailers::new(&section)
                .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec()))
                .collect();
            let want: Vec<Field> = fields.iter().map(|(name, value)| (name.clone(), trim(value).to_vec())).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn dates_round_trip(seconds in 0_u64..253_402_300_800) {
        prop_assert_eq!(parse_imf_fixdate(&imf_fixdate(seconds)), Some(seconds));
    }

    #[test]
    fn prefixes_never_panic(
        text in "(http|https|HTTP)?:?/?/?[+*a-z0-9.\\[\\]:\u{e9}-]{0,12}:?[0-9]{0,6}/?[ -~\u{e9}]{0,12}",
    ) {
        if let Ok(prefix) = Prefix::parse(&text) {
            prop_assert!(prefix.port > 0 && prefix.path.starts_with('/'));
        }
    }

    #[test]
    fn prefixes_of_any_text_never_panic(text in any::<String>()) {
        let _ = Prefix::parse(&text);
    }

    #[test]
    fn written_heads_parse_to_the_same_fields(
        status in 100_u16..1_000,
        reason in prop::option::of("[ -~]{0,12}"),
        fields in vec(field(), 0..6),
        length in prop::option::of(any::<u64>()),
        room in prop_oneof![Just(1_000_usize), 0_usize..300],
    ) {
        let mut out = vec![0; room];
        let mut want = Vec::new();
        if let Ok(len) = write(&mut out, status, reason.as_deref(), &fields, length, &mut want) {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            prop_assert_eq!(response.parse(&out[..len]), Ok(httparse::Status::Complete(len)));
            prop_assert_eq!(response.code, Some(status));
            let got: Vec<Field> = response.headers.iter().map(|h| (h.name.into(), h.value.to_vec())).collect();
            prop_assert_eq!(got, want);
        } else {
            prop_assert!(room < 300);
        }
    }
}
