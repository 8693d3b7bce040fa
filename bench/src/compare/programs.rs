//! Where the programs are: built here when asked for, or found; never fetched.
//!
//! Invariants: what is missing, or does not build, is said in one line that names it, and the others still run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::arguments::{self, Arguments};
use super::progress::Progress;
use super::servers::{self, Kind, Server};

/// Folders where servers are found that the PATH of a user often lacks.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A server that cannot take part, and why, as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) name: String,
    pub(super) reason: String,
    /// Its program should have been there.
    pub(super) failed: bool,
}

/// Finds programs, and builds each at most once.
#[derive(Debug)]
pub(super) struct Programs<'a> {
    progress: &'a Progress,
    /// The source tree.
    tree: PathBuf,
    /// Where the programs of the tree's own workspace are, or will be.
    ours: PathBuf,
    /// Where those of `bench/peers` are, or will be.
    peers: PathBuf,
    build: bool,
    built: BTreeMap<String, Result<(), String>>,
}

/// The names and kinds of all servers that `arguments` ask for.
///
/// # Errors
/// One line: an unknown server, an --extra that is no name and command, or a name given twice.
pub(super) fn asked_for(arguments: &Arguments) -> Result<Vec<(String, Kind, Option<PathBuf>)>, String> {
    let names = arguments::chosen("server", &arguments.servers, &servers::names(), &servers::groups())?;
    let mut asked: Vec<(String, Kind, Option<PathBuf>)> = Vec::new();
    for name in names {
        asked.push((name.to_owned(), servers::kind(name).expect("a chosen server is known"), None));
    }
    if let Some(program) = &arguments.baseline {
        for (name, kind) in servers::old() {
            // Right after the new one, so that little time lies between the two.
            let new = name.trim_start_matches(servers::OLD);
            let place = asked.iter().position(|(other, ..)| other == new).map_or(asked.len(), |place| place + 1);
            asked.insert(place, (name, kind, Some(program.clone())));
        }
    }
    for extra in &arguments.extra {
        let form = || format!("--extra takes NAME=COMMAND with {{port}} in the command, not {extra:?}");
        let (name, command) = extra.split_once('=').ok_or_else(form)?;
        if name.is_empty() || name.contains(char::is_whitespace) || !command.contains("{port}") {
            return Err(form());
        }
        let mut words = arguments::words(command).map_err(|error| format!("--extra {name}: {error}"))?;
        let program = words.remove(0);
        if servers::kind(name).is_some() || asked.iter().any(|(taken, ..)| taken == name) {
            return Err(format!("--extra {name}: there is a server of that name; choose another"));
        }
        asked.push((name.to_owned(), Kind::Extra { arguments: words }, Some(program.into())));
    }
    Ok(asked)
}

impl<'a> Programs<'a> {
    /// # Errors
    /// If our own program's place, or the source tree, cannot be found.
    pub(super) fn new(build: bool, progress: &'a Progress) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let beside = own.parent().map(Path::to_owned).unwrap_or_default();
        let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tree = bench.parent().map(Path::to_owned).unwrap_or_default();
        if build && !bench.join("Cargo.toml").is_file() {
            let tree = tree.display();
            return Err(format!("the source tree {tree} is gone, so nothing can be built; use --no-build"));
        }
        // Beside a program that cargo built: its folder is named by the profile, and is in the target directory.
        let target = beside.parent().filter(|target| target.join("CACHEDIR.TAG").is_file());
        let target = target.map_or_else(|| tree.join("target"), Path::to_owned);
        let peers = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| bench.join("peers/target"), PathBuf::from);
        let ours = if build { target.join("release") } else { beside };
        Ok(Self { progress, tree, ours, peers: peers.join("release"), build, built: BTreeMap::new() })
    }

    /// The server with its program, built if it is ours and building is wanted.
    ///
    /// # Errors
    /// What is missing or does not build.
    pub(super) fn prepare(&mut self, name: &str, kind: Kind, given: Option<&Path>) -> Result<Server, Unfit> {
        let unfit = |reason: String, failed: bool| Unfit { name: name.to_owned(), reason, failed };
        let program = match (&kind, given) {
            (_, Some(program)) => {
                find(program).ok_or_else(|| unfit(format!("there is no program {}", program.display()), true))?
            }
            (Kind::Installed { .. }, None) => find(Path::new(name)).ok_or_else(|| {
                unfit(format!("there is no {name} on the PATH or in /usr/sbin; install it to compare with it"), false)
            })?,
            (_, None) => self.own(name, &kind).map_err(|reason| unfit(reason, true))?,
        };
        let configuration = match &kind {
            Kind::Installed { configuration, .. } => {
                let file = self.tree.join("bench/peers/conf").join(configuration);
                let text = fs::read_to_string(&file);
                Some(text.map_err(|error| unfit(format!("{}: {error}", file.display()), true))?)
            }
            _ => None,
        };
        Ok(Server { name: name.to_owned(), kind, program, configuration })
    }

    /// A program of this tree.
    fn own(&mut self, name: &str, kind: &Kind) -> Result<PathBuf, String> {
        let (program, manifest, what) = match kind {
            Kind::Floor => (self.ours.join("floor"), "Cargo.toml", ["--package", "ringress-bench", "--bin", "floor"]),
            Kind::Showcase { .. } => {
                let what = ["--package", "ringress", "--example", "showcase"];
                (self.ours.join("examples/showcase"), "Cargo.toml", what)
            }
            _ => (self.peers.join(name), "bench/peers/Cargo.toml", ["--package", "ringress-peers", "--bin", name]),
        };
        if self.build {
            self.build(manifest, what)?;
        }
        if is_program(&program) {
            return Ok(program);
        }
        let remedy = if self.build { "" } else { "; build it, or leave out --no-build" };
        Err(format!("there is no program {}{remedy}", program.display()))
    }

    fn build(&mut self, manifest: &str, what: [&str; 4]) -> Result<(), String> {
        let key = what.join(" ");
        if let Some(result) = self.built.get(&key) {
            return result.clone();
        }
        self.progress.step(&format!("building {}", what[3]));
        let target = if manifest == "Cargo.toml" { &self.ours } else { &self.peers };
        let target = target.parent().expect("a folder named by its profile is in the target directory");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(self.tree.join(manifest));
        cargo.arg("--target-dir").arg(target).args(what).stdin(Stdio::null());
        let result = match cargo.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(format!("does not build ({status}): cargo build --release --manifest-path {manifest} {key}"))
            }
            Err(error) => Err(format!("cannot be built, cargo does not start ({error}); install it or use --no-build")),
        };
        self.built.insert(key, result.clone());
        result
    }
}

/// A path that is a program, or a name on the PATH or in the system's folders.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        // Absolute, so that it means the same whatever folder the server is started in.
        return Some(program).filter(|path| is_program(path)).and_then(|path| path.canonicalize().ok());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|entry| entry.is_file() && entry.permissions().mode() & 0o111 != 0)
}

/// The commit of the source tree, with a plus sign if it has been changed since; none without git.
pub(super) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("git").arg("-C").arg(tree).args(arguments).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let id = git(&["rev-parse", "--short=12", "HEAD"]).filter(|id| !id.is_empty())?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(if changed { format!("{id}+") } else { id })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn asked(words: &[&str]) -> Result<Vec<String>, String> {
        let line = Line::try_parse_from([&["compare"], words].concat()).expect("works in tests");
        asked_for(&line.arguments).map(|asked| asked.into_iter().map(|(name, ..)| name).collect())
    }

    #[test]
    fn by_default_the_floor_and_both_modes_are_compared() {
        assert_eq!(asked(&[]).expect("works in tests"), ["floor", "colocated", "queue"]);
    }

    #[test]
    fn old_and_extra_servers_join_those_that_are_named() {
        let names = asked(&["--servers", "queue,floor", "--baseline", "old", "--extra", "mine=./mine {port}"]);
        assert_eq!(names.expect("works in tests"), ["queue", "old-queue", "floor", "old-colocated", "mine"]);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_in_one_line() {
        for (words, wrong) in [
            (["--servers", "flor"], "there is no server \"flor\"; there are floor, colocated, queue,"),
            (["--extra", "mine"], "NAME=COMMAND"),
            (["--extra", "mine=./mine"], "{port}"),
            (["--extra", "=./mine {port}"], "NAME=COMMAND"),
            (["--extra", "mine='./mine {port}"], "--extra mine: a quote is not closed"),
            (["--extra", "hyper=./mine {port}"], "there is a server of that name"),
        ] {
            let error = asked(&words).expect_err("must be refused");
            assert!(error.contains(wrong) && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn programs_are_found_on_the_path_or_by_it() {
        let shell = find(Path::new("sh")).expect("works in tests");
        assert_eq!(find(&shell), shell.canonicalize().ok());
        assert_eq!(find(Path::new("no-such-program-anywhere")), None);
        assert_eq!(find(Path::new("/etc/passwd")), None, "not executable");
    }
}
