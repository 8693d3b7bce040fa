//! What files of /proc and /sys say, of their text alone.
//!
//! Invariants: nothing here reads a file; a text of another form than expected gives nothing.
//!
//! Not here: tables of sockets (`sockets`), cgroups (`cgroup`).
//!
//! Source: proc(5), proc_pid_status(5), sysfs.

use std::collections::BTreeSet;

/// The value of a line `Name:\tvalue`, as /proc/self/status and /proc/meminfo have them.
pub(super) fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The same of a number, in any unit.
pub(super) fn number(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_whitespace().next()?.parse().ok()
}

/// Numbers of processors, as `0-3,8`.
pub(super) fn processors(list: &str) -> Option<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // More than any kernel has, if the text is not what it should be.
        if last > 65_535 {
            return None;
        }
        found.extend(first..=last);
    }
    Some(found)
}

/// Whether a capability is among those in effect, by its number in capabilities(7).
pub(super) fn has_capability(status: &str, number: u32) -> Option<bool> {
    let bits = u64::from_str_radix(field(status, "CapEff")?, 16).ok()?;
    Some(bits >> number & 1 == 1)
}

/// A number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..0x2800 => format!("{count} bytes"),
        0x2800..0xA0_0000 => format!("{} KiB", count >> 10),
        0xA0_0000..0x2_8000_0000 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

/// A list of words, `a, b and c`.
pub(super) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tringress\nUid:\t0\t0\t0\t0\nCapEff:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t3\nCpus_allowed_list:\t0-1,4\n";

    #[test]
    fn status_has_fields_by_their_whole_names() {
        assert_eq!((number(STATUS, "Seccomp"), number(STATUS, "Seccomp_filters")), (Some(2), Some(3)));
        assert_eq!((field(STATUS, "Name"), field(STATUS, "Cpus_allowed_list")), (Some("ringress"), Some("0-1,4")));
        assert_eq!((field(STATUS, "None"), number(STATUS, "Name"), number("", "Seccomp")), (None, None, None));
        assert_eq!(number("MemTotal:       24664180 kB\n", "MemTotal"), Some(24_664_180));
    }

    #[test]
    fn capabilities_are_bits() {
        assert_eq!((has_capability(STATUS, 10), has_capability(STATUS, 14)), (Some(true), Some(false)));
        assert_eq!(has_capability("CapEff:\t000001ffffffffff\n", 40), Some(true));
        assert_eq!((has_capability("CapEff:\txyz\n", 10), has_capability("", 10)), (None, None));
    }

    #[test]
    fn processors_are_numbers_and_ranges() {
        let of = |list| processors(list).map(|found| found.into_iter().collect::<Vec<_>>());
        assert_eq!(of("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!((of("0"), of(""), of("\n")), (Some(vec![0]), Some(vec![]), Some(vec![])));
        assert_eq!((of("a-b"), of("0-"), of("0-99999999999"), of("0-99999999")), (None, None, None, None));
    }

    #[test]
    fn numbers_are_for_people() {
        let told = [1_000, 65_536, 64 << 20, 24_664_180 << 10].map(bytes);
        assert_eq!(told, ["1000 bytes", "64 KiB", "64 MiB", "23 GiB"].map(str::to_owned));
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([list(&words), list(&words[..1]), list(&[])], ["a, b and c", "a", ""].map(str::to_owned));
    }
}
