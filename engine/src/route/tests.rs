//! The search against one that looks at all prefixes, and what versions share.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::text::{Ends, Text, hash_of_text, segment};
use super::*;
use crate::counters::RequestCounts;
use crate::driver::fake::Random;
use crate::id::QueuePlace;
use crate::log::LogTarget;
use crate::policy::{Properties, Refusals, SharedVerbosity};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn own() -> Policy {
    Policy::of(&Properties::new())
}

fn prefix(text: &str) -> Prefix {
    Prefix::from(url::Prefix::parse(text).expect("it can be registered"))
}

fn add(snapshot: &mut Snapshot, text: &str, context: u64) {
    assert!(snapshot.insert(&prefix(text), context, 1), "{text} is there");
}

fn with(prefixes: &[(&str, u64)]) -> Snapshot {
    let mut snapshot = Snapshot::new(own());
    prefixes.iter().for_each(|(text, context)| add(&mut snapshot, text, *context));
    snapshot
}

fn found(snapshot: &Snapshot, local: SocketAddr, host: &[u8], path: &[u8]) -> Result<(u64, bool), Reject> {
    snapshot.find(&local.into(), host, path).map(|found| (found.target.context, found.target.routed.by_ip()))
}

fn context(snapshot: &Snapshot, host: &str, path: &str) -> Result<u64, Reject> {
    found(snapshot, (IP, 80).into(), host.as_bytes(), path.as_bytes()).map(|(context, _)| context)
}

#[test]
fn categories_are_asked_in_order_and_the_first_match_ends_the_search() {
    let snapshot = with(&[
        ("http://*:80/", 3),
        ("http://adatum.com:80/", 2),
        ("http://+:80/vroot/", 1),
        ("http://127.0.0.1:80/ip/", 4),
    ]);
    assert_eq!(context(&snapshot, "adatum.com", "/vroot/x"), Ok(1));
    assert_eq!(context(&snapshot, "Adatum.COM", "/y"), Ok(2));
    assert_eq!(context(&snapshot, "other.com", "/z"), Ok(3));
    assert_eq!(context(&snapshot, "other.com", "/ip/z"), Ok(4));
    assert_eq!(context(&snapshot, "", "/ip"), Ok(4));
}

#[test]
fn the_longest_path_wins_by_whole_segments() {
    let snapshot = with(&[("http://*:80/foobar/", 1), ("http://*:80/foobar/foo/", 2)]);
    assert_eq!(context(&snapshot, "h", "/foobar"), Ok(1));
    assert_eq!(context(&snapshot, "h", "/foobar/foox"), Ok(1));
    assert_eq!(context(&snapshot, "h", "/FOOBAR/foo"), Ok(2));
    assert_eq!(context(&snapshot, "h", "/foobar/foo/bar"), Ok(2));
    assert_eq!(context(&snapshot, "h", "/foobarx"), Err(Reject::PathUnknown));
}

#[test]
fn paths_match_whole_segments() {
    for (prefix, path, matches) in [
        ("/", "/", true),
        ("/", "/x", true),
        ("/", "*", true),
        ("/", "", true),
        ("/a/b/", "/a/b", true),
        ("/a/b/", "/a/b/", true),
        ("/a/b", "/a/b/c", true),
        ("/a/b", "/A/B", true),
        ("/a/b/", "/a/bc", false),
        ("/a/b/", "/a", false),
        ("/a/b/", "/a/x", false),
        ("/a", "", false),
        ("/a", "*", false),
        ("/foobar/", "/foobar", true),
        ("/foobar/foo/", "/foobar/foo/bar", true),
        ("//", "/x", false),
        ("//", "//x", true),
    ] {
        let snapshot = with(&[(&format!("http://*:80{prefix}"), 1)]);
        assert_eq!(context(&snapshot, "h", path).is_ok(), matches, "{prefix} {path}");
        assert_eq!(is_below(prefix, path.as_bytes()), matches, "{prefix} {path}");
    }
}

#[test]
fn an_unknown_host_is_told_from_an_unknown_path() {
    let mut snapshot = with(&[("http://a:80/x/", 1)]);
    assert_eq!(context(&snapshot, "b", "/x/"), Err(Reject::HostUnknown));
    assert_eq!(context(&snapshot, "a", "/y"), Err(Reject::PathUnknown));
    assert_eq!(found(&snapshot, (IP, 81).into(), b"a", b"/x/"), Err(Reject::HostUnknown));
    assert!(snapshot.remove(&prefix("http://a:80/x/")));
    assert_eq!(context(&snapshot, "a", "/x/"), Err(Reject::HostUnknown));
}

#[test]
fn names_are_told_apart_at_every_byte_and_equal_in_any_case() {
    let name = b"www05.adatum.com-and-more";
    for len in 1..=name.len() {
        let name = &name[..len];
        let text = Text::new(&name.to_ascii_uppercase());
        for same in [name, &name.to_ascii_uppercase()] {
            assert!(text.is(same) && text.hash() == hash_of_text(same), "{len} bytes");
            // As a segment: before another one, before a long rest, at the end.
            let path = [same, b"/", same, b"/", &[b'x'; 40]].concat();
            for path in [&path[..], &path[len + 1..], &path[..=len], &path[..len]] {
                let ends = segment(path);
                assert_eq!((ends.len, ends.hash(path)), (len, text.hash()), "{len} bytes");
                assert!(text.is_with(ends, path), "{len} bytes");
                let block = path.first_chunk();
                let short = block.and_then(Ends::of_segment);
                assert_eq!(short, block.filter(|_| len < 16).map(|_| ends), "{len} bytes");
                assert!(short.is_none_or(|short| short.short_hash() == text.hash()), "{len} bytes");
            }
        }
        for (at, bit) in (0..len).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut other = name.to_vec();
            other[at] ^= 1 << bit;
            let is_case = bit == 5 && name[at].is_ascii_alphabetic();
            assert_eq!(text.is(&other), is_case, "{len} bytes, bit {bit} of {at}");
            assert_eq!(text.begins(&[&other, &b"/more"[..]].concat()), is_case, "{len} bytes, bit {bit} of {at}");
            let ends = Ends::of(&other, len);
            assert_eq!(text.is_with(ends, &other), is_case, "{len} bytes, bit {bit} of {at}");
        }
        assert!(!text.is(&name[..len - 1]) && !text.is(&[name, b"\0"].concat()));
    }
    // Bytes that differ in the case bit alone and are no letters.
    let text = Text::new(b"host-1@1");
    assert!(text.is(b"HOST-1@1") && !text.is(b"host-1`1"));
}

/// The prefixes of an engine as a list: the search as anybody would write it.
#[derive(Clone, Default)]
struct Listed(Vec<(Prefix, u64)>);

impl Listed {
    fn find(&self, local: SocketAddr, host: &[u8], path: &[u8]) -> Result<(u64, bool), Reject> {
        let covers = |pattern: &Host| match pattern {
            Host::Strong | Host::Weak => true,
            Host::Name(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            Host::Ip(ip) => *ip == local.ip(),
        };
        let known = self.0.iter().filter(|(prefix, _)| prefix.port == local.port() && covers(&prefix.host));
        let best = known.clone().filter(|(prefix, _)| is_below(&prefix.path, path));
        let best = best.min_by_key(|(prefix, _)| (&prefix.host, usize::MAX - prefix.path.len()));
        match best {
            Some((prefix, context)) => Ok((*context, matches!(prefix.host, Host::Ip(_)))),
            None if known.count() > 0 => Err(Reject::PathUnknown),
            None => Err(Reject::HostUnknown),
        }
    }
}

fn is_below(prefix: &str, path: &[u8]) -> bool {
    let stem = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
    let Some((start, rest)) = path.split_at_checked(stem.len()) else { return false };
    stem.is_empty() || (start.eq_ignore_ascii_case(stem) && matches!(rest, [] | [b'/', ..]))
}

/// Few words of every length around a multiple of eight, so that prefixes meet.
const WORDS: [&str; 12] =
    ["", "a", "A", "ab", "api", "service", "service1", "SERVICE1", "service-1", "service-12345678", "\u{e9}", "@`"];
const HOSTS: [&str; 8] = ["+", "*", "a", "B.example", "www.adatum.com", "www.adatum.co", "127.0.0.1", "[::1]"];
const PORTS: [u16; 3] = [80, 81, 8080];

fn one_of<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len())]
}

fn draw_path(random: &mut Random) -> String {
    let mut path = String::new();
    for _ in 0..random.below(5) {
        path = path + "/" + one_of(random, &WORDS);
    }
    if path.is_empty() || random.chance(300) { path + "/" } else { path }
}

fn draw_prefix(random: &mut Random) -> Prefix {
    let (host, port) = (one_of(random, &HOSTS), one_of(random, &PORTS));
    prefix(&format!("http://{host}:{port}{}", draw_path(random)))
}

/// A request's address, host and path, close to those of prefixes.
fn draw_request(random: &mut Random) -> (SocketAddr, String, String) {
    let hosts = ["", "a", "A", "b.EXAMPLE", "www.adatum.com", "WWW.adatum.co", "www.adatum.c", "127.0.0.1"];
    let ip = one_of(random, &["127.0.0.1", "::1", "10.0.0.1"]).parse().expect("an address");
    let host = one_of(random, &hosts).to_owned();
    let path = match random.below(20) {
        0 => one_of(random, &["", "*", "a/b"]).to_owned(),
        1 => draw_path(random) + "\0",
        _ => draw_path(random),
    };
    (SocketAddr::new(ip, one_of(random, &PORTS)), host, path)
}

fn assert_same(snapshot: &Snapshot, listed: &Listed, random: &mut Random, requests: usize, seed: u64) {
    for _ in 0..requests {
        let (local, host, path) = draw_request(random);
        let want = listed.find(local, host.as_bytes(), path.as_bytes());
        let got = found(snapshot, local, host.as_bytes(), path.as_bytes());
        assert_eq!(got, want, "seed {seed}: {path:?} of {host:?} at {local}, among {:?}", listed.0);
    }
}

/// Adds or removes a prefix on both sides.
fn change(snapshot: &mut Snapshot, listed: &mut Listed, random: &mut Random, seed: u64) {
    let prefix = draw_prefix(random);
    let place = listed.0.iter().position(|(known, _)| *known == prefix);
    assert_eq!(snapshot.get(&prefix).map(|target| target.context), place.map(|place| listed.0[place].1), "seed {seed}");
    if random.chance(500) {
        let context = random.next();
        assert_eq!(snapshot.insert(&prefix, context, 1), place.is_none(), "seed {seed}");
        if place.is_none() {
            listed.0.push((prefix, context));
        }
    } else {
        // One that is there, more often than chance would have it.
        let place = place.or_else(|| (!listed.0.is_empty()).then(|| random.below(listed.0.len())));
        let prefix = place.map_or(prefix, |place| listed.0.swap_remove(place).0);
        assert_eq!(snapshot.remove(&prefix), place.is_some(), "seed {seed}");
    }
}

#[test]
fn what_is_found_is_what_a_search_of_all_prefixes_finds_also_in_earlier_snapshots() {
    for seed in 0..1000 {
        let random = &mut Random::new(seed);
        let (mut snapshot, mut listed) = (Snapshot::new(own()), Listed::default());
        let mut earlier: Vec<(Snapshot, Listed)> = Vec::new();
        for _ in 0..40 {
            change(&mut snapshot, &mut listed, random, seed);
            assert_same(&snapshot, &listed, random, 2, seed);
            if random.chance(200) {
                earlier.push((snapshot.clone(), listed.clone()));
            }
            if random.chance(50) && !earlier.is_empty() {
                earlier.swap_remove(random.below(earlier.len()));
            }
        }
        earlier.iter().for_each(|(snapshot, listed)| assert_same(snapshot, listed, random, 10, seed));
        for (prefix, _) in listed.0 {
            assert!(snapshot.remove(&prefix), "seed {seed}");
        }
        assert!(snapshot.ports.is_empty(), "seed {seed}: nothing is left of what was removed");
    }
}

/// Numbers whose hashes are the same, or differ in the last bits alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Colliding(u64);

impl Entry for Colliding {
    fn hash(&self) -> u64 {
        self.0 % 3
    }
}

#[test]
fn entries_of_the_same_hash_live_side_by_side() {
    for seed in 0..200 {
        let random = &mut Random::new(seed);
        let (mut map, mut there) = (Map::default(), BTreeSet::new());
        for _ in 0..60 {
            let entry = Colliding(random.next() % 12);
            let (hash, is) = (entry.hash(), |other: &Colliding| *other == entry);
            if there.insert(entry.0) {
                map.insert(entry.clone());
            } else {
                map.remove(hash, is);
                there.remove(&entry.0);
            }
            for number in 0..12 {
                let found = map.get(number % 3, |entry| entry.0 == number);
                assert_eq!(found.is_some(), there.contains(&number), "seed {seed}: {number}");
            }
        }
        there.iter().for_each(|number| map.remove(number % 3, |entry| entry.0 == *number));
        assert!(map.is_empty(), "seed {seed}");
    }
}

/// The addresses of all that a snapshot consists of.
fn parts(snapshot: &Snapshot) -> HashSet<usize> {
    let mut parts = HashSet::new();
    snapshot.ports.visit(&mut |address, port| {
        parts.insert(address);
        let Some(port) = port else { return };
        port.strong.visit(&mut parts);
        port.weak.visit(&mut parts);
        port.ips.visit(&mut |address, bound| {
            parts.insert(address);
            bound.into_iter().for_each(|bound| bound.node.visit(&mut parts));
        });
        port.names.visit(&mut |address, named| {
            parts.insert(address);
            named.into_iter().for_each(|named| named.node.visit(&mut parts));
        });
    });
    parts
}

/// Prefixes as a host of many services has them: wide and flat, by name, and deep.
fn many(count: u64) -> Vec<String> {
    let one = |n: u64| match n % 4 {
        0 => format!("http://*:8080/service-{n:05}/"),
        1 => format!("http://www{n:05}.example.com:8080/"),
        2 => format!("http://*:8080/tenants/{}/apps/app{n:05}/", n / 40),
        _ => format!("http://+:{}/v1/", 10_000 + n),
    };
    (0..count).map(one).collect()
}

#[test]
fn a_change_makes_few_parts_anew_and_lets_go_of_few_whatever_the_number_of_prefixes() {
    let urls = many(10_000);
    let mut snapshot = Snapshot::new(own());
    for (url, context) in urls.iter().zip(0..) {
        add(&mut snapshot, url, context);
    }
    let all = parts(&snapshot).len();
    assert!((10_000..40_000).contains(&all), "{all} parts for 10,000 prefixes");
    for url in urls.iter().step_by(97) {
        let mut other = snapshot.clone();
        assert!(other.remove(&prefix(url)), "{url}");
        let (before, after) = (parts(&snapshot), parts(&other));
        let (made, lost) = (after.difference(&before).count(), before.difference(&after).count());
        // A port, a host and up to four segments, each behind up to four branches of its map.
        assert!(made <= 24 && lost <= 24, "{url}: {made} parts made, {lost} no longer shared, of {all}");
        let mut again = other.clone();
        add(&mut again, url, 1);
        let made = parts(&again).difference(&after).count();
        assert!(made <= 24, "{url}: {made} parts made");
    }
}

#[test]
fn a_map_of_many_is_as_deep_as_its_hashes_must_make_it() {
    for format in [|n: u64| format!("service-{n:04}"), |n| format!("{n:07}x"), |n| format!("www{n}.adatum.com")] {
        let mut snapshot = Snapshot::new(own());
        for n in 0..10_000 {
            add(&mut snapshot, &format!("http://*:80/{}", format(n)), n);
        }
        let branches = parts(&snapshot).len() - 10_001;
        // Of hashes that were drawn, 10,000 / ln 32.
        assert!(branches < 3_500, "{branches} branches for {}", format(0));
    }
}

#[test]
fn a_path_of_only_slashes_is_registered_found_and_let_go_of() {
    let deep = "/".repeat(65_535);
    let mut snapshot = with(&[("http://*:80/", 1)]);
    add(&mut snapshot, &format!("http://*:80{deep}"), 2);
    let earlier = snapshot.clone();
    assert_eq!(context(&snapshot, "h", &deep), Ok(2));
    assert_eq!(context(&snapshot, "h", &deep[1..]), Ok(2), "its last slash carries no meaning");
    assert_eq!(context(&snapshot, "h", &deep[2..]), Ok(1));
    assert!(snapshot.remove(&prefix(&format!("http://*:80{deep}"))));
    assert_eq!(context(&snapshot, "h", &deep), Ok(1));
    assert_eq!(context(&earlier, "h", &deep), Ok(2));
}

#[test]
fn a_key_whose_owner_has_no_row_any_more_means_the_engines_own() {
    let policy = |rate| Policy::of(&Properties::new().send_rate_min(rate));
    let row = |owner, rate| GroupRow {
        queue: Ok(QueuePlace::new(1)),
        owner,
        policy: policy(rate),
        counts: RequestCounts::none(),
        verbosity: SharedVerbosity::default(),
        refusals: Refusals::new(),
        log: LogTarget::NONE,
    };
    let rate = |snapshot: &Snapshot, index, owner| snapshot.policy(PolicyKey { index, owner }).send_rate;
    let before = Snapshot::new(policy(1));
    for index in [3, 40, 1000] {
        let mut after = before.clone();
        after.put_group(index, row(1, 2));
        let keys = [(0, 0), (index - 1, 1), (index, 1), (index, 2), (index, 0), (index + 1, 1), (5000, 1)];
        assert_eq!(keys.map(|(index, owner)| rate(&after, index, owner)), [1, 1, 2, 1, 1, 1, 1]);
        assert_eq!((rate(&before, index, 1), before.groups.get(index).queue), (1, Err(Reject::Unbound)));
        let mut reused = after.clone();
        reused.put_group(index, row(2, 3));
        assert_eq!([1, 2].map(|owner| rate(&reused, index, owner)), [1, 3]);
        assert_eq!([1, 2].map(|owner| rate(&after, index, owner)), [2, 1]);
    }
}
