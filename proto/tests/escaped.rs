//! Escapes, forms and cookies over any bytes, compared with libraries that others wrote.

use form_urlencoded::parse;
use percent_encoding::percent_decode;
use proptest::collection::vec;
use proptest::prelude::*;
use ringress_proto::cookie::Cookies;
use ringress_proto::escape::Unescaped;
use ringress_proto::form::Pairs;

/// Any bytes, of which those that mean something are frequent.
fn bytes(special: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![any::<u8>(), proptest::sample::select(special), proptest::sample::select(&b"0aAfF"[..])], 0..40)
}

fn as_text(text: &[u8]) -> String {
    String::from_utf8_lossy(&Unescaped::of_form(text).collect::<Vec<u8>>()).into_owned()
}

proptest! {
    #[test]
    fn segments_are_decoded_as_percent_escapes_are(text in bytes(b"%%%+")) {
        let decoded: Vec<u8> = Unescaped::of_segment(&text).collect();
        prop_assert_eq!(&decoded, &Vec::from_iter(percent_decode(&text)));
        prop_assert_eq!(Unescaped::of_segment(&text).as_sent(), (decoded == text).then_some(&*text));
        let (least, most) = Unescaped::of_segment(&text).size_hint();
        prop_assert!(least <= decoded.len() && decoded.len() <= most.expect("known"));
    }

    #[test]
    fn pairs_are_those_of_the_standard(text in bytes(b"%%++&&==")) {
        let pairs: Vec<_> = Pairs::new(&text).map(|(name, value)| (as_text(name), as_text(value))).collect();
        let want: Vec<_> = parse(&text).into_owned().collect();
        prop_assert_eq!(pairs, want);
        let is_whole = |part: &[u8]| Unescaped::of_form(part).as_sent().is_none_or(|sent| sent == part);
        prop_assert!(Pairs::new(&text).all(|(name, value)| is_whole(name) && is_whole(value)));
    }

    #[test]
    fn cookies_written_and_read_again_are_the_same(text in bytes(b";; ==\t\"")) {
        let cookies: Vec<_> = Cookies::new(&text).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let written: Vec<Vec<u8>> =
            cookies.iter().map(|(name, value)| [&name[..], &b"="[..], &value[..]].concat()).collect();
        let written = written.join(&b"; "[..]);
        let again: Vec<_> = Cookies::new(&written).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(again, cookies);
    }
}
