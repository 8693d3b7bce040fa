//! Requests built so that two readers disagree about where they end: each must be refused, however it is split.
//!
//! Invariants: a case is refused with its status by the head, the target or the body reader; feeding it byte by byte
//! refuses it with the same status. The companions that look odd but are sound are accepted.
//! Source: RFC 9112 sections 2.2, 5, 6, 7, 11.2.

use ringress_proto::chunked::{Decoder, Step};
use ringress_proto::framing::BodyLength;
use ringress_proto::head::{Head, Parse, parse};
use ringress_proto::limits::Limits;
use ringress_proto::reject::Reject;
use ringress_proto::url::cook;

/// Reads one request from `input` as it grows by `step` bytes. `Ok` is the bytes of the request, if it is whole.
fn read(input: &[u8], step: usize) -> Result<Option<usize>, Reject> {
    let limits = Limits::DEFAULT;
    let mut head = Head::EMPTY;
    let mut end = 0;
    while parse(&input[..end], &limits, &mut head)? == Parse::Partial {
        if end == input.len() {
            return Ok(None);
        }
        end = (end + step).min(input.len());
    }
    cook(input, &head, &mut [0; 8_192])?;
    let mut at = usize::from(head.head_len);
    match head.body {
        BodyLength::None => Ok(Some(at)),
        BodyLength::Length(length) => {
            let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
            Ok(end.filter(|&end| end <= input.len()))
        }
        BodyLength::Chunked => {
            let mut decoder = Decoder::new();
            loop {
                let (consumed, found) = decoder.step(&input[at..end], &limits)?;
                at += consumed;
                match found {
                    Step::Done => return Ok(Some(at)),
                    Step::NeedMore if end == input.len() => return Ok(None),
                    Step::NeedMore => end = (end + step).min(input.len()),
                    Step::Data { .. } | Step::Trailer { .. } => {}
                }
            }
        }
    }
}

/// A POST with these fields, its Host given.
macro_rules! post {
    ($fields:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: h\r\n", $fields).as_bytes()
    };
}

/// A chunked POST with this body.
macro_rules! chunks {
    ($body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", $body).as_bytes()
    };
}

type Case = (&'static str, &'static [u8], u16);

const LENGTHS_AND_CODINGS: &[Case] = &[
    ("cl_te", post!("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"), 400),
    ("te_cl", post!("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nG\r\n0\r\n\r\n"), 400),
    ("cl_zero_te", post!("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
    ("cl_te_lower_case", post!("content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n"), 400),
    ("cl_te_identity", post!("Content-Length: 6\r\nTransfer-Encoding: identity\r\n\r\n"), 400),
    ("cl_te_empty", post!("Content-Length: 6\r\nTransfer-Encoding:\r\n\r\n"), 400),
    ("te_te_space_before_colon", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding : x\r\n\r\n"), 400),
    ("te_te_second_unknown", post!("Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n"), 400),
    ("te_te_first_unknown", post!("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
    ("te_te_equal", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
    ("te_te_empty", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n"), 400),
    ("te_space_before_colon", post!("Transfer-Encoding : chunked\r\n\r\n"), 400),
    ("te_tab_before_colon", post!("Transfer-Encoding\t: chunked\r\n\r\n"), 400),
    ("te_space_before_name", post!(" Transfer-Encoding: chunked\r\n\r\n"), 400),
    ("te_tab_before_name", post!("\tTransfer-Encoding: chunked\r\n\r\n"), 400),
    ("te_no_colon", post!("Transfer-Encoding chunked\r\n\r\n"), 400),
    ("te_vertical_tab_value", post!("Transfer-Encoding: \x0bchunked\r\n\r\n"), 400),
    ("te_form_feed_value", post!("Transfer-Encoding: \x0cchunked\r\n\r\n"), 400),
    ("te_vertical_tab_after", post!("Transfer-Encoding: chunked\x0b\r\n\r\n"), 400),
    ("te_nul_after", post!("Transfer-Encoding: chunked\x00\r\n\r\n"), 400),
    ("te_nul_in_name", post!("Transfer\x00-Encoding: chunked\r\n\r\n"), 400),
    ("te_carriage_return_before", post!("Transfer-Encoding: \rchunked\r\n\r\n"), 400),
    ("te_bare_cr_in_name", post!("Transfer-\rEncoding: chunked\r\n\r\n"), 400),
    ("te_folded", post!("Transfer-Encoding:\r\n chunked\r\n\r\n"), 400),
    ("te_folded_tab", post!("Transfer-Encoding:\r\n\tchunked\r\n\r\n"), 400),
    ("te_folded_list", post!("Transfer-Encoding: identity,\r\n chunked\r\n\r\n"), 400),
    ("te_smuggled_by_bare_lf", post!("X: y\nTransfer-Encoding: chunked\r\n\r\n"), 400),
    ("te_smuggled_by_bare_cr", post!("X: y\rTransfer-Encoding: chunked\r\n\r\n"), 400),
    ("te_bare_lf_after", post!("Transfer-Encoding: chunked\n\r\n"), 400),
    ("te_xchunked", post!("Transfer-Encoding: xchunked\r\n\r\n"), 400),
    ("te_chunkedx", post!("Transfer-Encoding: chunkedx\r\n\r\n"), 400),
    ("te_identity", post!("Transfer-Encoding: identity\r\n\r\n"), 400),
    ("te_gzip_chunked", post!("Transfer-Encoding: gzip, chunked\r\n\r\n"), 501),
    ("te_chunked_identity", post!("Transfer-Encoding: chunked, identity\r\n\r\n"), 400),
    ("te_chunked_chunked", post!("Transfer-Encoding: chunked, chunked\r\n\r\n"), 400),
    ("te_leading_comma", post!("Transfer-Encoding: , chunked\r\n\r\n"), 400),
    ("te_trailing_comma", post!("Transfer-Encoding: chunked,\r\n\r\n"), 400),
    ("te_parameter", post!("Transfer-Encoding: chunked;q=0\r\n\r\n"), 400),
    ("te_quoted", post!("Transfer-Encoding: \"chunked\"\r\n\r\n"), 400),
    ("te_single_quoted_is_a_token", post!("Transfer-Encoding: 'chunked'\r\n\r\n"), 400),
    ("te_two_words", post!("Transfer-Encoding: chunked foo\r\n\r\n"), 400),
    ("te_empty", post!("Transfer-Encoding:\r\n\r\n"), 400),
    ("te_http10", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("te_http10_with_length", b"POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("cl_twice_different", post!("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 400),
    ("cl_twice_equal", post!("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400),
    ("cl_twice_case", post!("Content-Length: 5\r\ncontent-length: 0\r\n\r\nhello"), 400),
    ("cl_list", post!("Content-Length: 5,5\r\n\r\nhello"), 400),
    ("cl_list_space", post!("Content-Length: 5, 6\r\n\r\nhello"), 400),
    ("cl_plus", post!("Content-Length: +5\r\n\r\nhello"), 400),
    ("cl_minus", post!("Content-Length: -5\r\n\r\nhello"), 400),
    ("cl_minus_zero", post!("Content-Length: -0\r\n\r\n"), 400),
    ("cl_space_inside", post!("Content-Length: 5 5\r\n\r\nhello"), 400),
    ("cl_hex", post!("Content-Length: 0x5\r\n\r\nhello"), 400),
    ("cl_octal_prefix", post!("Content-Length: 0o5\r\n\r\nhello"), 400),
    ("cl_underscore", post!("Content-Length: 1_0\r\n\r\nhello"), 400),
    ("cl_fraction", post!("Content-Length: 5.0\r\n\r\nhello"), 400),
    ("cl_exponent", post!("Content-Length: 1e1\r\n\r\nhello"), 400),
    ("cl_quoted", post!("Content-Length: \"5\"\r\n\r\nhello"), 400),
    ("cl_letters_after", post!("Content-Length: 5abc\r\n\r\nhello"), 400),
    ("cl_empty", post!("Content-Length:\r\n\r\nhello"), 400),
    ("cl_overflow_u64", post!("Content-Length: 18446744073709551616\r\n\r\n"), 400),
    ("cl_overflow_wraps_to_five", post!("Content-Length: 18446744073709551621\r\n\r\nhello"), 400),
    ("cl_vertical_tab", post!("Content-Length: \x0b5\r\n\r\nhello"), 400),
    ("cl_nul", post!("Content-Length: 5\x00\r\n\r\nhello"), 400),
    ("cl_space_before_colon", post!("Content-Length : 5\r\n\r\nhello"), 400),
    ("cl_folded", post!("Content-Length:\r\n 5\r\n\r\nhello"), 400),
    ("cl_folded_digits", post!("Content-Length: 1\r\n 0\r\n\r\nhello"), 400),
    ("cl_bare_lf", post!("Content-Length: 5\n\r\nhello"), 400),
    ("cl_non_ascii_digit", post!("Content-Length: \u{0665}\r\n\r\nhello"), 400),
];

const LINES_AND_HOSTS: &[Case] = &[
    ("request_line_bare_lf", b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
    ("all_bare_lf", b"GET / HTTP/1.1\nHost: h\n\n", 400),
    ("blank_line_bare_lf", b"GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
    ("blank_line_lf_lf", b"GET / HTTP/1.1\r\nHost: h\n\n", 400),
    ("blank_line_cr_cr_lf", b"GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", 400),
    ("line_cr_cr_lf", b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400),
    ("two_leading_lines", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("leading_bare_lf", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("leading_bare_cr", b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("leading_space", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("space_first_field", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400),
    ("two_spaces_after_method", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("two_spaces_after_target", b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("tab_separator", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("space_after_version", b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
    ("simple_request", b"GET /\r\n\r\n", 400),
    ("version_lower_case", b"GET / http/1.1\r\nHost: h\r\n\r\n", 400),
    ("version_two_digits", b"GET / HTTP/1.11\r\nHost: h\r\n\r\n", 400),
    ("version_no_minor", b"GET / HTTP/1\r\nHost: h\r\n\r\n", 400),
    ("version_2", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("version_1_2", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
    ("version_0_9", b"GET / HTTP/0.9\r\n\r\n", 505),
    ("http2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("tls_hello", b"\x16\x03\x01\x02\x00\x01\x00", 400),
    ("nul_in_target", b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("del_in_target", b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("del_in_query", b"GET /?\x7f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("control_in_query", b"GET /?\x1f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("utf8_in_target", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("utf8_in_query", b"GET /?caf\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("latin1_in_target", b"GET /caf\xe9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("latin1_in_query", b"GET /?caf\xe9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("utf8_in_absolute_target", b"GET http://h/\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("utf8_in_authority", b"CONNECT \xc3\xa9:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("escaped_late_control", b"GET /%C2%85 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("absolute_target_fragment", b"GET http://h?q#f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("empty_name", b"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", 400),
    ("nul_in_value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", 400),
    ("escape_in_value", b"GET / HTTP/1.1\r\nHost: h\r\nX: \x1b[0m\r\n\r\n", 400),
    ("name_beyond_ascii", b"GET / HTTP/1.1\r\nHost: h\r\nX\xff: a\r\n\r\n", 400),
    ("host_missing", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400),
    ("host_twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("host_twice_equal", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    ("host_empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("host_space_inside", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("host_userinfo", b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
    ("host_path", b"GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400),
    ("host_bad_port", b"GET / HTTP/1.1\r\nHost: h:80x\r\n\r\n", 400),
    ("host_folded", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
    ("absolute_target_bad_host_field", b"GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n", 400),
    ("absolute_target_no_host_field", b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("absolute_target_userinfo", b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    ("escaped_line_end", b"GET /%0d%0aX: HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("overlong_slash", b"GET /..%c0%af HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("expect_unknown", post!("Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\n"), 417),
];

const CHUNKS: &[Case] = &[
    ("chunk_size_empty", chunks!("\r\n0\r\n\r\n"), 400),
    ("chunk_size_plus", chunks!("+1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_negative", chunks!("-1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_prefix", chunks!("0x1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_underscore", chunks!("0_5\r\nhello\r\n0\r\n\r\n"), 400),
    ("chunk_size_leading_space", chunks!(" 1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_leading_tab", chunks!("\t1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_trailing_space", chunks!("1 \r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_two_numbers", chunks!("1 1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_comma", chunks!("1,1\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_nul", chunks!("1\x00\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_vertical_tab", chunks!("1\x0b\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_overflow", chunks!("10000000000000001\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_many_zeros", chunks!("00000000000000001\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_bare_lf", chunks!("1\nX\r\n0\r\n\r\n"), 400),
    ("chunk_size_bare_cr", chunks!("1\rX\r\n0\r\n\r\n"), 400),
    ("chunk_size_cr_cr_lf", chunks!("1\r\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_bare_lf", chunks!("1;a\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_bare_cr", chunks!("1;a\rb\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_quoted_lf", chunks!("1;a=\"\n\"\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_nul", chunks!("1;a\x00\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_empty", chunks!("1;\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_without_name", chunks!("1; =x\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_without_value", chunks!("1;a=\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_name_no_token", chunks!("1;a@\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_quote_open", chunks!("1;a=\"\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_quoted_cr_lf", chunks!("1;a=\"\\\r\n\"\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_space_at_end", chunks!("1;a \r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_comma", chunks!("1,a\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_extension_without_semicolon", chunks!("1 a\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_data_too_long", chunks!("1\r\nXY\r\n0\r\n\r\n"), 400),
    ("chunk_data_too_short", chunks!("3\r\nX\r\n0\r\n\r\n"), 400),
    ("chunk_data_no_line_end", chunks!("1\r\nX0\r\n\r\n"), 400),
    ("chunk_data_bare_lf", chunks!("1\r\nX\n0\r\n\r\n"), 400),
    ("chunk_data_two_bytes_skipped", chunks!("1\r\nXab0\r\n\r\n"), 400),
    ("last_chunk_bare_lf", chunks!("0\n\n"), 400),
    ("last_chunk_blank_line_bare_lf", chunks!("0\r\n\n"), 400),
    ("trailer_without_colon", chunks!("0\r\nGET /admin HTTP/1.1\r\n\r\n"), 400),
    ("trailer_space_before_colon", chunks!("0\r\na : b\r\n\r\n"), 400),
    ("trailer_folded", chunks!("0\r\na: b\r\n c\r\n\r\n"), 400),
    ("trailer_bare_lf", chunks!("0\r\na: b\n\r\n"), 400),
    ("trailer_nul", chunks!("0\r\na: \x00\r\n\r\n"), 400),
];

/// Odd but unambiguous: accepted to the last byte.
const SOUND: &[(&str, &[u8])] = &[
    ("cl_leading_zeros", post!("Content-Length: 0005\r\n\r\nhello")),
    ("cl_white_space_around", post!("Content-Length: \t 5 \t\r\n\r\nhello")),
    ("cl_zero", post!("Content-Length: 0\r\n\r\n")),
    ("post_without_length", post!("\r\n")),
    ("te_upper_case", post!("TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n")),
    ("te_no_space", post!("Transfer-Encoding:chunked\r\n\r\n0\r\n\r\n")),
    ("te_tab", post!("Transfer-Encoding:\tchunked\t\r\n\r\n0\r\n\r\n")),
    ("te_lookalike_name", post!("Transfer_Encoding: chunked\r\nContent-Length: 1\r\n\r\nX")),
    ("one_leading_line", b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("value_beyond_ascii", b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n"),
    ("http10_without_host", b"GET / HTTP/1.0\r\n\r\n"),
    ("unknown_method", b"xyzzy / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("chunk_extension", chunks!("1;a=\"b;c\"\r\nX\r\n0;d\r\n\r\n")),
    ("chunk_extension_spaced", chunks!("1 ; a = b\r\nX\r\n0\r\n\r\n")),
    ("chunk_extension_quoted_pair", chunks!("1;a=\"\\\"\"\r\nX\r\n0\r\n\r\n")),
    ("absolute_target_query", b"GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("host_final_dot", b"GET / HTTP/1.1\r\nHost: h.:80\r\n\r\n"),
    ("escaped_beyond_ascii", b"GET /%C2%A0?%C2%80 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("chunk_size_zeros", chunks!("0001\r\nX\r\n000\r\n\r\n")),
    ("trailers", chunks!("1\r\nX\r\n0\r\na: b\r\nc:\r\n\r\n")),
];

#[test]
fn ambiguous_requests_are_refused_however_they_are_split() {
    let groups = [LENGTHS_AND_CODINGS, LINES_AND_HOSTS, CHUNKS];
    assert!(groups.iter().map(|group| group.len()).sum::<usize>() >= 60);
    for (name, input, status) in groups.into_iter().flatten() {
        for step in [input.len(), 1, 2, 3, 7] {
            match read(input, step) {
                Err(cause) => {
                    assert_eq!(cause.status(), *status, "{name} by {step}: {cause:?}");
                    assert!(cause.closes(), "{name}: {cause:?}");
                }
                Ok(end) => panic!("{name} by {step}: accepted, {end:?}"),
            }
        }
    }
}

#[test]
fn sound_requests_are_accepted_however_they_are_split() {
    for (name, input) in SOUND {
        for step in [input.len(), 1, 2, 3, 7] {
            assert_eq!(read(input, step), Ok(Some(input.len())), "{name} by {step}");
        }
    }
}
