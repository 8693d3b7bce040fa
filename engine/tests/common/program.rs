//! The examples as programs: built when they are missing or stale.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Time of the latest change to a file, or to any file below a folder.
fn newest_change(path: &Path) -> SystemTime {
    let own = path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    entries.flatten().map(|entry| newest_change(&entry.path())).max().map_or(own, |newest| newest.max(own))
}

/// The example's binary beside the tests, built first if it is missing or older than what it is made of.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests live in <target>/<profile>/deps");
    let binary = profile.join("examples").join(name);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "examples", "Cargo.toml", "../proto/src", "../Cargo.toml"];
    let newest = sources.iter().map(|source| newest_change(&package.join(source))).max();
    if binary.metadata().and_then(|file| file.modified()).ok() < newest {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(package).args(["build", "--locked", "--quiet", "--features", "tower", "--example", name]);
        cargo.args(profile.ends_with("release").then_some("--release"));
        cargo.arg("--target-dir").arg(profile.parent().expect("a profile is in the target directory"));
        assert!(cargo.status().expect("cargo runs").success(), "{name} cannot be built");
    }
    binary
}
