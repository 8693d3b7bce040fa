//! What the tests of `ringress-bench compare` share: the program, a folder for reports, and comparisons that are long
//! enough for the machine they run on.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ringress-bench");

/// A folder for the reports of one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("compare-{test}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One core must do where there is no second one.
pub fn load_core() -> String {
    usize::from(std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)).to_string()
}

/// What a comparison says that takes these seconds for a measurement: longer ones where the machine was too busy for
/// shorter ones to be enough. The longest is given as it is.
pub fn long_enough(
    [short, longer, longest]: [&str; 3],
    compare: impl Fn(&str) -> Output,
    is_enough: impl Fn(&Output) -> bool,
) -> Output {
    let mut tries = [short, longer].into_iter().map(&compare);
    tries.find(is_enough).unwrap_or_else(|| compare(longest))
}
