//! A folder of files to be served, gone with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// An own folder with another inside it, `root`, which is what is served: so there is something to escape to.
#[derive(Debug)]
pub struct Folder {
    outside: PathBuf,
    root: PathBuf,
}

impl Folder {
    /// A new one, empty.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let outside = std::env::temp_dir().join(format!("ringress-tests-{}-{number}", std::process::id()));
        let root = outside.join("root");
        fs::create_dir_all(&root).expect("a folder for files can be made");
        Self { outside, root }
    }

    /// What is served.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder around it.
    #[must_use]
    pub fn outside(&self) -> &Path {
        &self.outside
    }

    /// Writes a file below the root.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("it has the root above it")).expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
    }

    /// Writes a file below the root that was last changed at `changed`, however long ago that is.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_changed_at(&self, name: &str, content: impl AsRef<[u8]>, changed: SystemTime) {
        self.write(name, content);
        let file = fs::OpenOptions::new().write(true).open(self.root.join(name)).expect("just written");
        file.set_modified(changed).expect("the times of an own file can be set");
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.outside);
    }
}
