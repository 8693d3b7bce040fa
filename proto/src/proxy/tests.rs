//! Headers as the text shows them, and what is none.

use super::*;
use std::vec::Vec;

const MAX: usize = V2_BYTES_MAX;

fn complete(input: &[u8]) -> Header<'_> {
    match parse(input, MAX) {
        Parse::Complete(header) => header,
        other => panic!("{other:?} of {input:?}"),
    }
}

fn client(source: &str, destination: &str) -> Relayed {
    Relayed::Client { source: source.parse().expect("one"), destination: destination.parse().expect("one") }
}

/// A header of version 2.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("of 16 bits").to_be_bytes();
    [&V2_SIGNATURE[..], &[command, family], &len, body].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 80];

fn addition(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).expect("of 16 bits").to_be_bytes()[..], value].concat()
}

fn with(additions: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[&TCP4[..], &additions.concat()].concat())
}

/// What any beginning of a header says is no more than "perhaps".
fn assert_split_anywhere(header: &[u8]) {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end], MAX), Parse::Partial, "{end} bytes of {header:?}");
    }
    let whole = complete(header);
    assert_eq!(whole.bytes(), header.len());
    let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(complete(&followed), whole, "what follows changes nothing");
}

#[test]
fn lines_of_version_one_are_read_at_any_split() {
    let longest =
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), V1_BYTES_MAX - 3, "the text's longest is one of UNKNOWN");
    let lines: [(&[u8], Relayed); 5] = [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n", client("192.0.2.1:0", "192.0.2.2:65535")),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", client("[2001:db8::1]:4711", "[::1]:443")),
        (b"PROXY UNKNOWN\r\n", Relayed::Unknown),
        (b"PROXY UNKNOWN ffff::1 whatever 65535\r\n", Relayed::Unknown),
        (longest, complete(longest).relayed()),
    ];
    for (line, relayed) in lines {
        assert_split_anywhere(line);
        assert_eq!((complete(line).relayed(), complete(line).version()), (relayed, Version::V1));
        assert_eq!(complete(line).additions().count(), 0);
    }
}

#[test]
fn lines_that_are_not_of_the_grammar_are_malformed() {
    for line in [
        &b"PROXY \r\n"[..],
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
        b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN\rx",
        b"PROXY UNKNOWN \xff\r\n",
    ] {
        assert_eq!(parse(line, MAX), Parse::Malformed(Fault::BadLine), "{}", line.escape_ascii());
    }
}

#[test]
fn a_line_ends_within_its_bound() {
    let line = |len: usize| [b"PROXY UNKNOWN", " ".repeat(len - 15).as_bytes(), b"\r\n"].concat();
    assert_split_anywhere(&line(V1_BYTES_MAX));
    let too_long = line(V1_BYTES_MAX + 1);
    assert_eq!(parse(&too_long[..V1_BYTES_MAX - 1], MAX), Parse::Partial);
    assert_eq!(parse(&too_long[..V1_BYTES_MAX], MAX), Parse::Malformed(Fault::TooLong));
    assert_eq!(parse(&too_long, MAX), Parse::Malformed(Fault::TooLong));
}

#[test]
fn other_beginnings_are_no_header() {
    for input in [&b"GET / HTTP/1.1\r\n"[..], b"PROXYX", b"proxy ", b"P ", b"\r\n\r\n\0\r\nQUIX", b"\r\nG", b"\n"] {
        assert_eq!(parse(input, MAX), Parse::Absent, "{}", input.escape_ascii());
    }
}

#[test]
fn version_two_is_read_at_any_split() {
    let six = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 15], &[1, 0, 80, 1, 0xbb]].concat();
    let unix = [0x2f; UNIX_PAIR];
    for (header, relayed) in [
        (v2(0x21, 0x11, &TCP4), client("192.0.2.1:4660", "192.0.2.2:80")),
        (v2(0x21, 0x21, &six), client("[2001:db8::1]:80", "[::1]:443")),
        (v2(0x20, 0x00, &[]), Relayed::Own),
        (v2(0x20, 0xff, &[1, 2, 3]), Relayed::Own),
        (v2(0x20, 0x11, &TCP4), Relayed::Own),
        (v2(0x21, 0x00, &addition(9, b"x")), Relayed::Unknown),
        (v2(0x21, 0x12, &TCP4), Relayed::Unknown),
        (v2(0x21, 0x22, &six), Relayed::Unknown),
        (v2(0x21, 0x31, &unix), Relayed::Unknown),
        (v2(0x21, 0x32, &unix), Relayed::Unknown),
    ] {
        assert_split_anywhere(&header);
        assert_eq!((complete(&header).relayed(), complete(&header).version()), (relayed, Version::V2));
    }
}

#[test]
fn version_two_that_does_not_exist_is_malformed() {
    for (header, fault) in [
        (v2(0x22, 0x11, &TCP4), Fault::BadCommand),
        (v2(0x11, 0x11, &TCP4), Fault::BadVersion),
        (v2(0x31, 0x11, &TCP4), Fault::BadVersion),
        (v2(0x21, 0x13, &TCP4), Fault::BadFamily),
        (v2(0x21, 0x41, &TCP4), Fault::BadFamily),
        (v2(0x21, 0x01, &TCP4), Fault::BadFamily),
        (v2(0x21, 0x11, &TCP4[..11]), Fault::TooShort),
        (v2(0x21, 0x21, &[0; 35]), Fault::TooShort),
        (v2(0x21, 0x31, &[0; UNIX_PAIR - 1]), Fault::TooShort),
        (with(&[addition(9, b"abc")[..5].to_vec()]), Fault::BadAddition),
        (with(&[std::vec![9, 0]]), Fault::BadAddition),
        (with(&[addition(0x20, &[1, 0, 0, 0])]), Fault::BadAddition),
        (with(&[addition(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9])]), Fault::BadAddition),
        (with(&[addition(5, &[0; 129])]), Fault::BadAddition),
        (with(&[addition(3, &[0; 3])]), Fault::BadAddition),
        (with(&[addition(3, &[0; 4])]), Fault::BadChecksum),
    ] {
        assert_eq!(parse(&header, MAX), Parse::Malformed(fault), "{header:?}");
    }
}

#[test]
fn more_than_the_caller_takes_is_refused_before_it_comes() {
    let header = with(&[addition(9, &[0; 200])]);
    let len = header.len();
    assert_eq!(parse(&header, len), parse(&header, MAX));
    assert_eq!(parse(&header[..15], len - 1), Parse::Partial);
    for end in 16..=len {
        assert_eq!(parse(&header[..end], len - 1), Parse::Malformed(Fault::TooLong));
    }
}

#[test]
fn additions_are_found_by_what_they_are() {
    let parts = [addition(0x21, b"TLSv1.3"), addition(0x22, b"someone"), addition(0x23, b"AES")].concat();
    let header = with(&[
        addition(4, b"padding"),
        addition(1, b"h2"),
        addition(2, b"example.com"),
        addition(5, &[7; 128]),
        addition(0x20, &[&[7, 0, 0, 0, 0][..], &parts].concat()),
        addition(0x30, b"blue"),
        addition(0xe0, b""),
    ]);
    assert_split_anywhere(&header);
    let additions = complete(&header).additions();
    assert_eq!((additions.alpn(), additions.authority()), (Some(&b"h2"[..]), Some(&b"example.com"[..])));
    assert_eq!((additions.unique_id(), additions.namespace()), (Some(&[7; 128][..]), Some(&b"blue"[..])));
    assert_eq!(additions.get(0xe0), Some(&b""[..]));
    assert_eq!(additions.clone().map(|(kind, _)| kind).collect::<Vec<u8>>(), [1, 2, 5, 0x20, 0x30, 0xe0]);
    let tls = additions.tls().expect("told");
    assert!(tls.is_used() && tls.is_client_verified());
    assert_eq!(
        (tls.version(), tls.common_name(), tls.cipher()),
        (Some(&b"TLSv1.3"[..]), Some(&b"someone"[..]), Some(&b"AES"[..]))
    );
    let refused = with(&[addition(0x20, &[3, 0, 0, 0, 1])]);
    assert!(!complete(&refused).additions().tls().expect("told").is_client_verified(), "its certificate was not good");
    assert_eq!(complete(&with(&[])).additions().tls(), None);
}

#[test]
fn a_checksum_that_is_there_is_checked() {
    use super::additions::checksum;
    assert_eq!(checksum(&[0; 14], &[0; 14]), 0x8a91_36aa, "32 bytes of zeros: RFC 3720 appendix B.4");
    let mut header = with(&[addition(3, &[0; 4]), addition(9, b"after")]);
    let at = V2_START + TCP4.len() + 3;
    let right = checksum(&header[..at], &header[at + 4..]).to_be_bytes();
    header[at..at + 4].copy_from_slice(&right);
    assert_split_anywhere(&header);
    for wrong in [0, V2_START, at, header.len() - 1] {
        let mut other = header.clone();
        other[wrong] ^= 1;
        assert!(!matches!(parse(&other, MAX), Parse::Complete(_)), "a bit of byte {wrong}");
    }
}
