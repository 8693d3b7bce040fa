//! Headers of the PROXY protocol as a library that others wrote makes them, and any bytes at all.

use std::net::SocketAddr;

use ppp::{v1, v2};
use proptest::collection::vec;
use proptest::prelude::*;
use ringress_proto::forwarded::{Forwarded, XForwardedFor};
use ringress_proto::proxy::{Parse, Relayed, V2_BYTES_MAX, parse};

/// Beginnings of headers.
const STARTS: &[&[u8]] = &[b"", b"PROXY ", b"PROXY TCP6 ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"];

/// Two addresses of one family.
fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let four = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let six = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    prop_oneof![(four.clone(), four), (six.clone(), six)]
}

/// Types that no text has a meaning for, and values.
fn additions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    vec((0xe0..=0xef_u8, vec(any::<u8>(), 0..40)), 0..5)
}

/// Any bytes, fewer than `len`, of which those that mean something are frequent.
fn special_bytes(special: &'static [u8], len: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![any::<u8>(), proptest::sample::select(special)], 0..len)
}

/// That this is a header at any split, of these.
fn assert_read(
    header: &[u8],
    pair: (SocketAddr, SocketAddr),
    additions: &[(u8, Vec<u8>)],
) -> Result<(), TestCaseError> {
    for end in 0..header.len() {
        prop_assert_eq!(parse(&header[..end], V2_BYTES_MAX), Parse::Partial);
    }
    let Parse::Complete(read) = parse(header, V2_BYTES_MAX) else {
        return Err(TestCaseError::fail(format!("{:?}", parse(header, V2_BYTES_MAX))));
    };
    prop_assert_eq!(read.bytes(), header.len());
    prop_assert_eq!(read.relayed(), Relayed::Client { source: pair.0, destination: pair.1 });
    let found: Vec<_> = read.additions().map(|(kind, value)| (kind, value.to_vec())).collect();
    prop_assert_eq!(found, additions);
    Ok(())
}

proptest! {
    #[test]
    fn lines_that_others_write_are_read(pair in pair()) {
        assert_read(v1::Addresses::from(pair).to_string().as_bytes(), pair, &[])?;
    }

    #[test]
    fn binary_headers_that_others_write_are_read(pair in pair(), additions in additions()) {
        let start = v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, pair);
        let built = additions.iter().try_fold(start, |builder, (kind, value)| builder.write_tlv(*kind, value));
        let header = built.and_then(v2::Builder::build).expect("small");
        assert_read(&header, pair, &additions)?;
    }

    /// Whatever comes has a verdict, and keeps it.
    #[test]
    fn a_verdict_holds_whatever_follows(
        input in special_bytes(b"PROXY TCP4\r\n\0QUIT!\x11\x20", 160),
        start in proptest::sample::select(STARTS),
    ) {
        let input = [start, &input].concat();
        let mut decided = None;
        for end in 0..=input.len() {
            let verdict = parse(&input[..end], 300);
            prop_assert!(decided.is_none() || decided.as_ref() == Some(&verdict), "{:?}, then {:?}", decided, verdict);
            decided = (verdict != Parse::Partial).then_some(verdict);
        }
    }

    #[test]
    fn lists_of_hops_end(input in special_bytes(b",;=\"\\[]:for1.", 200)) {
        let elements = 1 + input.iter().filter(|&&byte| byte == b',').count();
        prop_assert!(XForwardedFor::new(&input).count() <= elements);
        prop_assert!(Forwarded::new(&input).count() <= elements);
    }
}
