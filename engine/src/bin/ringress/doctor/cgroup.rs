//! Limits of the control groups that this process is in.
//!
//! Invariants: the lowest limit counts of the group and all above it that can be seen; in a container those above its
//! own cannot.
//!
//! Not here: what they mean for the engine (`cores`, `limits`).
//!
//! Source: cgroups(7), the kernel's admin-guide/cgroup-v2 and cgroup-v1.

use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Folders that may have the limits of a controller, by /proc/self/cgroup: of version 1, if that has it, and of 2.
fn folders(cgroups: &str, controller: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mount = match controllers {
            "" => Path::new(MOUNT).to_owned(),
            _ if controllers.split(',').any(|known| known == controller) => Path::new(MOUNT).join(controllers),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        found.extend(path.ancestors().map(|above| mount.join(above)));
    }
    found
}

/// Bytes, unless there is no limit: `max`, or in version 1 the largest number of whole pages.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}

/// Of `cpu.max`, `quota period`: processors' worth of time.
fn share(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let (quota, period): (f64, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn cgroups() -> String {
    super::read("/proc/self/cgroup").unwrap_or_default()
}

/// The memory that the processes of the group may have together.
pub(super) fn memory_max() -> Option<u64> {
    let limit = |folder: PathBuf| {
        let text = ["memory.max", "memory.limit_in_bytes"].iter().find_map(|name| super::read(folder.join(name)));
        bytes(&text?)
    };
    folders(&cgroups(), "memory").into_iter().filter_map(limit).min()
}

/// Processors' worth of time that they may have together.
pub(super) fn processors_max() -> Option<f64> {
    let limit = |folder: PathBuf| {
        let of_version_1 = || {
            let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map(|name| super::read(folder.join(name)));
            Some(format!("{} {}", quota?, period?))
        };
        share(&super::read(folder.join("cpu.max")).or_else(of_version_1)?)
    };
    folders(&cgroups(), "cpu").into_iter().filter_map(limit).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_at_with_all_above_them() {
        let of = |text, controller| {
            let folders = folders(text, controller).into_iter();
            folders.map(|folder| folder.display().to_string()).collect::<Vec<_>>()
        };
        let version_2 = "0::/system.slice/web.service\n";
        let expected = ["/sys/fs/cgroup/system.slice/web.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/"];
        assert_eq!(of(version_2, "memory"), expected);
        let version_1 = "9:name=systemd:/\n4:memory:/docker/1f\n2:cpu,cpuacct:/a\n0::/\n";
        let expected =
            ["/sys/fs/cgroup/memory/docker/1f", "/sys/fs/cgroup/memory/docker", "/sys/fs/cgroup/memory/", MOUNT];
        let trimmed = |found: Vec<String>| {
            found.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(trimmed(of(version_1, "memory")), trimmed(expected.map(str::to_owned).to_vec()));
        assert_eq!(of(version_1, "cpu")[0], "/sys/fs/cgroup/cpu,cpuacct/a");
        assert!(of("", "cpu").is_empty() && of("nonsense\n\n", "cpu").is_empty());
    }

    #[test]
    fn limits_are_numbers_or_none() {
        assert_eq!((bytes("268435456\n"), bytes("max\n"), bytes("9223372036854771712")), (Some(1 << 28), None, None));
        assert_eq!((share("150000 100000\n"), share("max 100000"), share("-1 100000")), (Some(1.5), None, None));
        assert_eq!((share(""), share("5"), share("1 0")), (None, None, None));
    }
}
