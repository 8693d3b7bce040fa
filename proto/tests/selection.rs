//! Which part of a representation a response has, and whether it has one: against models that are slow and plain.

use proptest::collection::vec;
use proptest::prelude::*;
use ringress_proto::conditional::{Outcome, Validators, evaluate};
use ringress_proto::header::KnownHeader;
use ringress_proto::method::Method;
use ringress_proto::range::{ByteRange, Multipart, RANGES_MAX, Selection, if_range, select};

/// One range as it is asked for: first and last as in `first-last`, either missing.
type Spec = (Option<u64>, Option<u64>);

fn spec(length: u64) -> impl Strategy<Value = Spec> {
    let number = prop_oneof![8 => 0..length + 3, 1 => Just(u64::MAX), 1 => any::<u64>()];
    (prop::option::weighted(0.8, number.clone()), prop::option::weighted(0.8, number))
}

fn render(specs: &[Spec], separator: &str) -> String {
    let digits = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let specs: Vec<_> = specs.iter().map(|(first, last)| format!("{}-{}", digits(*first), digits(*last))).collect();
    format!("bytes={}", specs.join(separator))
}

/// The offsets that a range asks for, byte by byte; `None` if it is not a range.
fn offsets((first, last): Spec, length: u64) -> Option<Vec<u64>> {
    match (first, last) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        (Some(first), last) => {
            Some((0..length).filter(|at| first <= *at && last.is_none_or(|last| *at <= last)).collect())
        }
        (None, Some(count)) => Some((0..length).filter(|at| length - at <= count).collect()),
    }
}

/// The offsets of each range that has any; `None` if all is sent.
fn model(specs: &[Spec], length: u64) -> Option<Vec<Vec<u64>>> {
    let all: Vec<_> = specs.iter().map(|spec| offsets(*spec, length)).collect::<Option<_>>()?;
    let total: usize = all.iter().map(Vec::len).sum();
    let empty_suffix = length == 0 && specs.iter().any(|spec| matches!(spec, (None, Some(count)) if *count > 0));
    if specs.is_empty() || specs.len() > RANGES_MAX || total as u64 > length || empty_suffix {
        return None;
    }
    Some(all.into_iter().filter(|offsets| !offsets.is_empty()).collect())
}

/// The ranges of a selection; `None` if all is sent.
fn ranges(selection: Selection) -> Option<Vec<ByteRange>> {
    match selection {
        Selection::Whole => None,
        Selection::Single(range) => Some(vec![range]),
        Selection::Multiple(ranges) => Some(ranges.as_slice().to_vec()),
        _ => Some(Vec::new()),
    }
}

/// A multipart body of the representation whose bytes are `a` to `z` over and over.
fn write(multipart: &Multipart<'_>, ranges: &[ByteRange]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut room = [0; 300];
    for (index, range) in ranges.iter().enumerate() {
        let len = multipart.part_head(*range, index == 0, &mut room).expect("300 bytes are enough");
        body.extend_from_slice(&room[..len]);
        body.extend((range.first..=range.last).map(|at| b"abcdefghijklmnopqrstuvwxyz"[(at % 26) as usize]));
    }
    let len = multipart.end(&mut room).expect("300 bytes are enough");
    body.extend_from_slice(&room[..len]);
    body
}

/// Weakness and what is between the quotes.
type Tag = (bool, String);

fn tag() -> impl Strategy<Value = Tag> {
    (any::<bool>(), prop::sample::select(&["", "a", "b", "a,b", ",", "W/", "*"][..]).prop_map(String::from))
}

fn quoted((weak, opaque): &Tag) -> String {
    format!("{}\"{opaque}\"", if *weak { "W/" } else { "" })
}

/// Lines of a list field, with empty elements here and there.
fn lines(lists: &[Vec<Tag>], separator: &str) -> Vec<String> {
    lists.iter().map(|tags| tags.iter().map(quoted).collect::<Vec<_>>().join(separator)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn selected_ranges_are_those_of_the_model(
        (length, specs) in (0_u64..80).prop_flat_map(|length| (Just(length), vec(spec(length), 0..6))),
        separator in prop::sample::select(&[",", ", ", "\t ,", ",,"][..]),
    ) {
        let got = ranges(select(Method::Get, Some(render(&specs, separator).as_bytes()), length));
        let all = |range: &ByteRange| (range.first..=range.last).collect::<Vec<_>>();
        let got: Option<Vec<_>> = got.map(|ranges| ranges.iter().map(all).collect());
        prop_assert_eq!(got, model(&specs, length));
    }

    #[test]
    fn many_small_ranges_are_bounded(count in 1_usize..40, length in 1_u64..80) {
        let specs: Vec<Spec> = (0..count as u64).map(|at| (Some(at), Some(at))).collect();
        let got = ranges(select(Method::Get, Some(render(&specs, ",").as_bytes()), length));
        prop_assert_eq!(got.map(|ranges| ranges.len()), model(&specs, length).map(|ranges| ranges.len()));
    }

    #[test]
    fn what_is_selected_lies_within_and_is_no_more_than_all(
        value in "(bytes|BYTES|b)?=?[-0-9, =a]{0,40}",
        length in prop_oneof![0_u64..100, any::<u64>()],
    ) {
        if let Some(ranges) = ranges(select(Method::Get, Some(value.as_bytes()), length)) {
            prop_assert!(ranges.iter().all(|range| range.first <= range.last && range.last < length));
            let total: u128 = ranges.iter().map(|range| u128::from(range.byte_count())).sum();
            prop_assert!(total <= u128::from(length) && ranges.len() <= RANGES_MAX);
        }
        let _ = if_range(Some(value.as_bytes()), Some(value.as_bytes()), Some(length));
    }

    #[test]
    fn tags_match_as_in_the_model(
        wanted in vec(vec(tag(), 0..4), 0..3),
        unwanted in vec(vec(tag(), 0..4), 0..3),
        current in prop::option::of(tag()),
        separator in prop::sample::select(&[",", ", ", " ,, \t"][..]),
        method in prop::sample::select(&[Method::Get, Method::Head, Method::Put][..]),
    ) {
        let (if_match, if_none_match) = (lines(&wanted, separator), lines(&unwanted, separator));
        let none = Vec::new();
        let fields = |name| {
            let lines = match name {
                KnownHeader::IfMatch => &if_match,
                KnownHeader::IfNoneMatch => &if_none_match,
                _ => &none,
            };
            lines.iter().map(String::as_bytes)
        };
        let etag = current.as_ref().map(quoted);
        let validators = Validators { etag: etag.as_deref().map(str::as_bytes), last_modified: None };
        let strong = |tag: &Tag| !tag.0 && Some(tag) == current.as_ref();
        let weak = |tag: &Tag| current.as_ref().is_some_and(|current| current.1 == tag.1);
        let want = if !wanted.is_empty() && !wanted.iter().flatten().any(strong) {
            Outcome::PreconditionFailed
        } else if !unwanted.iter().flatten().any(weak) {
            Outcome::Proceed
        } else if method == Method::Put {
            Outcome::PreconditionFailed
        } else {
            Outcome::NotModified
        };
        prop_assert_eq!(evaluate(method, fields, Some(validators)), want);
    }

    #[test]
    fn preconditions_of_any_text_never_panic(value in "[\"W/a,* \t\u{e9}]{0,20}", etag in "[\"W/a]{0,5}") {
        let validators = Validators { etag: Some(etag.as_bytes()), last_modified: Some(0) };
        let _ = evaluate(Method::Get, |_| [value.as_bytes(), etag.as_bytes()], Some(validators));
        let _ = if_range(Some(value.as_bytes()), Some(etag.as_bytes()), None);
    }

    #[test]
    fn multipart_bodies_are_as_long_as_they_say(
        parts in vec((0_u64..1_000, 0_u64..100), 1..=RANGES_MAX),
        boundary in "[a-zA-Z0-9'+_.-]{1,70}",
        content_type in prop::option::of("[ -~]{0,60}"),
    ) {
        let range = |(first, more): &(u64, u64)| ByteRange { first: *first, last: first + more };
        let ranges: Vec<_> = parts.iter().map(range).collect();
        let multipart = Multipart::new(&boundary, content_type.as_deref().map(str::as_bytes), 1_100);
        prop_assert!(multipart.is_ok());
        if let Ok(multipart) = multipart {
            let body = write(&multipart, &ranges);
            prop_assert_eq!(multipart.body_len(&ranges), Some(body.len() as u64));
        }
    }
}
