//! A strict parser of OpenMetrics text, written from the specification (1.0.0): anything that it does not allow panics.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub(crate) struct Family {
    kind: String,
    unit: String,
    /// Of each sample: what follows the family's name, its labels, its value.
    pub(crate) samples: Vec<(String, Labels, f64)>,
}

/// All families by their names.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(!text.contains('\r'), "lines end with LF");
    let body = text.strip_suffix("# EOF\n").expect("the end is `# EOF` and a line feed");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut said = BTreeSet::new();
    for line in body.split_terminator('\n') {
        assert!(!line.is_empty(), "an empty line");
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (what, name, rest) = (words.next().expect("a word"), words.next().expect("a name"), words.next());
            assert!(is_name(name, true), "{line}");
            if name != current {
                assert!(families.insert(name.to_owned(), Family::default()).is_none(), "{name} comes in two parts");
                name.clone_into(&mut current);
                said.clear();
            }
            assert!(said.insert(what.to_owned()), "said twice: {line}");
            let family = families.get_mut(name).expect("just put there");
            assert!(family.samples.is_empty(), "after its samples: {line}");
            let rest = rest.expect("something is said");
            match what {
                "TYPE" => {
                    let kinds = ["counter", "gauge", "histogram", "info", "stateset"];
                    assert!(kinds.contains(&rest), "{line}");
                    rest.clone_into(&mut family.kind);
                }
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{rest}")), "a unit ends the name: {line}");
                    rest.clone_into(&mut family.unit);
                }
                "HELP" => drop(unescaped(rest)),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("not of {current}: {line}"));
        let family = families.get_mut(&current).expect("it has begun");
        check(&current, family, suffix, &labels, value);
        family.samples.push((suffix.to_owned(), labels, value));
    }
    families.iter().for_each(|(name, family)| finish(name, family));
    families
}

/// The value of a sample by its whole name and labels.
#[track_caller]
pub(crate) fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let of = |(family, it): (&String, &Family)| -> Option<f64> {
        let suffix = name.strip_prefix(family.as_str())?;
        it.samples.iter().find(|(own, with, _)| own == suffix && *with == labels).map(|(.., value)| *value)
    };
    families.iter().find_map(of).unwrap_or_else(|| panic!("there is no {name} {labels:?}"))
}

/// How many were up to a bound.
#[track_caller]
pub(crate) fn bucket(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)], le: f64) -> f64 {
    let is_it = |with: &Labels| {
        let others = with.iter().filter(|(name, _)| *name != "le").count();
        with["le"].parse::<f64>() == Ok(le)
            && others == labels.len()
            && labels.iter().all(|(name, value)| with.get(*name).is_some_and(|it| it == value))
    };
    let buckets = families[name].samples.iter().filter(|(suffix, ..)| suffix == "_bucket");
    buckets.into_iter().find(|(_, with, _)| is_it(with)).map(|(.., value)| *value).expect("the bucket")
}

fn is_name(name: &str, colons: bool) -> bool {
    let may = |at: usize, byte: u8| {
        byte.is_ascii_alphabetic() || byte == b'_' || (colons && byte == b':') || (at > 0 && byte.is_ascii_digit())
    };
    !name.is_empty() && name.bytes().enumerate().all(|(at, byte)| may(at, byte))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => plain.push(match rest.next() {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => panic!("no escape: {other:?}"),
            }),
            '"' | '\n' => panic!("not escaped: {text}"),
            other => plain.push(other),
        }
    }
    plain
}

/// `name{label="value",..} value`, with single spaces, and neither timestamp nor exemplar, of which we have none.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, true), "{line}");
    let mut labels = Labels::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, value) = inside.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label, false), "{line}");
            let mut escaped = false;
            let closes = value.find(|sign: char| {
                let closes = sign == '"' && !escaped;
                escaped = sign == '\\' && !escaped;
                closes
            });
            let (value, behind) = value.split_at(closes.unwrap_or_else(|| panic!("{line}")));
            assert!(labels.insert(label.to_owned(), unescaped(value)).is_none(), "twice: {line}");
            match behind.strip_prefix("\",") {
                Some(next) => inside = next,
                None => {
                    rest = behind.strip_prefix("\"}").unwrap_or_else(|| panic!("{line}"));
                    break;
                }
            }
        }
    }
    let number = rest.strip_prefix(' ').unwrap_or_else(|| panic!("one space: {line}"));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    assert!(is_number, "no number: {line}");
    (name.to_owned(), labels, number.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

fn check(name: &str, family: &Family, suffix: &str, labels: &Labels, value: f64) {
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        "gauge" | "stateset" => &[""],
        _ => panic!("{name} has no type before its samples"),
    };
    assert!(suffixes.contains(&suffix), "{name}{suffix} of a {}", family.kind);
    assert!(value.is_finite() && value >= 0.0, "{name}{suffix} {value}");
    match family.kind.as_str() {
        "info" => assert_eq!(value, 1.0),
        "stateset" => {
            assert!(value == 0.0 || value == 1.0, "{name} {value}");
            assert!(labels.contains_key(name), "a state set names its states by a label of its name: {labels:?}");
        }
        _ => {}
    }
    if ["info", "stateset"].contains(&family.kind.as_str()) {
        assert_eq!(family.unit, "", "{name} can have no unit");
    }
    assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{name}{suffix} {labels:?}");
    let again = family.samples.iter().any(|(own, with, _)| own == suffix && with == labels);
    assert!(!again, "twice: {name}{suffix} {labels:?}");
}

/// What holds for a family as a whole: of histograms, that buckets grow to `+Inf`, which is the count.
fn finish(name: &str, family: &Family) {
    let reserved = ["_total", "_created", "_count", "_sum", "_bucket", "_info", "_gcount", "_gsum"];
    assert!(!reserved.iter().any(|end| name.ends_with(end)), "{name} ends as a sample does");
    if family.kind != "histogram" {
        return;
    }
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (_, labels, value) in family.samples.iter().filter(|(suffix, ..)| suffix == "_bucket") {
        let mut without = labels.clone();
        let le = without.remove("le").expect("checked");
        assert!(le == "+Inf" || le.contains(['.', 'e']), "a bound is a float: {le}");
        series.entry(without).or_default().push((le.parse().expect("a number"), *value));
    }
    let of = |suffix: &str, labels: &Labels| {
        family.samples.iter().find(|(own, with, _)| own == suffix && with == labels).map(|(.., value)| *value)
    };
    for (labels, buckets) in &series {
        assert!(buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{name} {labels:?}: {buckets:?}");
        let (last, within) = buckets.last().expect("it has some");
        assert!(last.is_infinite(), "{name} {labels:?}");
        assert_eq!(of("_count", labels), Some(*within), "{name} {labels:?}");
        assert!(of("_sum", labels).is_some(), "{name} {labels:?}");
    }
    assert_eq!(family.samples.len(), series.values().map(|buckets| buckets.len() + 2).sum::<usize>(), "{name}");
}

/// A parser that takes everything would show nothing.
#[test]
fn what_the_specification_does_not_allow_is_refused() {
    let good = "# TYPE a counter\n# HELP a A.\na_total{x=\"1\"} 1\na_total{x=\"2\"} 2\n# TYPE b_seconds histogram\n\
        # UNIT b_seconds seconds\nb_seconds_bucket{le=\"1.0\"} 1\nb_seconds_bucket{le=\"+Inf\"} 2\nb_seconds_count 2\n\
        b_seconds_sum 3.5\n# EOF\n";
    assert_eq!(value(&parse(good), "a_total", &[("x", "2")]), 2.0);
    for (from, to) in [
        ("# EOF\n", ""),
        ("a_total{x=\"2\"}", "a_total{x=\"1\"}"),
        ("a_total{x=\"1\"} 1", "a{x=\"1\"} 1"),
        ("a_total{x=\"1\"} 1", "a_total{x=\"1\"}  1"),
        ("{x=\"1\"}", "{x=\"1\",}"),
        ("{x=\"1\"}", "{x=\"\\x\"}"),
        ("{x=\"1\"}", "{1=\"1\"}"),
        ("# TYPE a counter\n", ""),
        ("# UNIT b_seconds seconds", "# UNIT b_seconds bytes"),
        ("# HELP a A.", "# HELP a \"A\"."),
        ("le=\"1.0\"", "le=\"1\""),
        ("b_seconds_count 2", "b_seconds_count 3"),
        ("b_seconds_bucket{le=\"1.0\"} 1", "b_seconds_bucket{le=\"1.0\"} 3"),
        ("b_seconds_sum 3.5\n", ""),
        ("b_seconds_sum 3.5\n", "b_seconds_sum NaN\n"),
        ("b_seconds_sum 3.5\n", "b_seconds_sum 3.5\na_total{x=\"3\"} 1\n"),
    ] {
        let wrong = good.replacen(from, to, 1);
        assert_ne!(wrong, good, "{from}");
        assert!(std::panic::catch_unwind(|| parse(&wrong)).is_err(), "{from} -> {to} was taken");
    }
}
