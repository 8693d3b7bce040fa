//! The commands of the README work as they are written, from the first: those for clients run against the showcase as
//! the README starts it; those that build something are checked for what they name, and not run.
//!
//! Not here: the programs that are named (`engine/tests/examples.rs` and others), and what the scripts do.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ringress_tests::{Mode, Server, Setup, run_showcase, wait_within};

/// Where the README's programs listen.
const ADDRESS: &str = "127.0.0.1:8080";
const WAIT_MAX: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(file: impl AsRef<Path>) -> String {
    let file = root().join(file);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The commands of a document's console blocks, in order, without their comments; the lines that follow one belong to
/// it.
fn commands(document: &str) -> Vec<String> {
    let blocks = document.split("\n```console\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default());
    let mut commands: Vec<String> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        let code = line.split(" # ").next().unwrap_or_default().split("  #").next().unwrap_or_default().trim_end();
        match (code.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push(command.to_owned()),
            (None, Some(command)) => *command += &format!("\n{code}"),
            (None, None) => panic!("a block begins with {line:?}, which is no command"),
        }
    }
    commands
}

/// The value behind an option among words.
fn value<'w>(words: &[&'w str], option: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| *word == option)?;
    words.get(at + 1).copied()
}

/// The words that a command gives to the program that cargo runs.
fn arguments<'w>(words: &[&'w str]) -> Vec<&'w str> {
    words.iter().skip_while(|word| **word != "--").skip(1).copied().collect()
}

/// An argument, as it is meant in the workspace's folder.
fn from_root(argument: &str) -> String {
    let folder = root().join(argument);
    if folder.is_dir() { folder.to_str().expect("a path in UTF-8").to_owned() } else { argument.to_owned() }
}

/// Checks what a command of cargo names.
fn check_cargo(words: &[&str]) {
    let manifest = read("engine/Cargo.toml");
    if let Some(features) = value(words, "--features") {
        assert!(manifest.contains(&format!("\n{features} = [")), "{words:?}: no feature {features}");
    }
    if let Some(example) = value(words, "--example") {
        let file = root().join("engine/examples").join(example);
        assert!(file.with_extension("rs").is_file() || file.join("main.rs").is_file(), "{words:?}: no such example");
        let section = manifest.split("[[example]]").find(|part| part.contains(&format!("name = \"{example}\"")));
        let required = section.and_then(|part| part.split("required-features = [").nth(1)?.split(']').next());
        for feature in required.into_iter().flat_map(|list| list.split(',')).map(|name| name.trim().trim_matches('"')) {
            let is_given = value(words, "--features") == Some(feature) || feature == "signal";
            assert!(is_given, "{words:?}: wants the feature {feature}");
        }
        if example == "showcase" {
            let arguments: Vec<String> = arguments(words).into_iter().map(from_root).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--capacity"]).collect();
            let output = run_showcase(&arguments);
            assert_eq!(output.status, Some(0), "{words:?}: {output:?}");
        }
        return;
    }
    match words {
        ["cargo", "run", ..] if value(words, "-p") == Some("ringress-bench") => {
            let arguments = arguments(words);
            let (command, rest) = arguments.split_first().expect("a command of the program");
            let source = read("bench/src/main.rs");
            assert!(source.to_ascii_lowercase().contains(command), "{words:?}: no command {command}");
            let sources =
                ["load/command.rs", "compare/arguments.rs"].map(|file| read(Path::new("bench/src").join(file)));
            for option in rest.iter().filter_map(|word| word.strip_prefix("--")) {
                let field = format!(" {}: ", option.replace('-', "_"));
                assert!(sources.iter().any(|source| source.contains(&field)), "{words:?}: no option --{option}");
            }
        }
        ["cargo", "bench" | "doc", ..] => {
            let package = value(words, "-p").expect("of one package");
            let folder = package.strip_prefix("ringress-").unwrap_or("engine");
            assert!(root().join(folder).join("Cargo.toml").is_file(), "{words:?}: no package {package}");
        }
        ["cargo", "install", ..] => {
            assert_eq!(value(words, "--path"), Some("engine"), "{words:?}: the one package with a program");
        }
        _ => panic!("{words:?}: say here how this is checked"),
    }
}

/// Checks what a command of the program `ringress` names.
fn check_program(words: &[&str]) {
    let source = read("engine/src/bin/ringress/main.rs").to_ascii_lowercase();
    let options = words[2..].iter().filter_map(|word| word.strip_prefix("--"));
    for name in options.chain([words[1]]) {
        assert!(source.contains(&format!(" {name}")), "{words:?}: no {name}");
    }
}

/// Runs a command in the workspace's folder.
fn run(command: &str) -> Output {
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).current_dir(root()).stdin(Stdio::null());
    let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash is there");
    if wait_within(&mut child, WAIT_MAX).is_none() {
        let _ = child.kill();
        panic!("it runs on: {command}");
    }
    child.wait_with_output().expect("pipes of an ended child can be read")
}

/// Runs what a client is told to, against the address where the server really is.
fn run_as_client(command: &str, address: SocketAddr) {
    let (host, port) = ADDRESS.split_once(':').expect("an address");
    let elsewhere = command.replace(ADDRESS, &address.to_string());
    let elsewhere =
        elsewhere.replace(&format!("/dev/tcp/{host}/{port}"), &format!("/dev/tcp/{host}/{}", address.port()));
    assert_ne!(elsewhere, command, "{command}: it names another address than {ADDRESS}");
    let is_curl = command.starts_with("curl ");
    let elsewhere = match elsewhere.strip_prefix("curl ") {
        // With a refusal as an error.
        Some(rest) => format!("curl --fail --silent --show-error --noproxy '*' {rest}"),
        None => elsewhere,
    };
    let output = run(&elsewhere);
    let said = String::from_utf8_lossy(&output.stdout);
    if is_curl {
        assert!(output.status.success(), "{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        assert!(!said.is_empty(), "{command}: it says nothing");
    } else {
        // Ended by its own time-out.
        assert!(said.starts_with("HTTP/1.1 101 ") && said.ends_with("hello\n"), "{command}: {said}");
    }
}

fn has_curl() -> bool {
    let there = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: curl cannot be run; apt-get install curl");
    }
    there
}

#[test]
fn the_commands_of_the_readme_work_as_they_are_written() {
    let commands = commands(&read("README.md"));
    let first: Vec<&str> = commands[0].split_whitespace().collect();
    assert_eq!(value(&first, "--example"), Some("showcase"), "clients come to what is started first");
    let setup = arguments(&first).into_iter().fold(Setup::new(Mode::Queue), |setup, word| setup.arg(&from_root(word)));
    let (server, has_curl) = (Server::start(&setup), has_curl());
    let mut clients = 0;
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[0] {
            "cargo" => check_cargo(&words),
            "ringress" => check_program(&words),
            "curl" if has_curl => run_as_client(command, server.address()),
            "curl" => {}
            "(exec" => run_as_client(command, server.address()),
            script if script.starts_with("scripts/") => {
                assert!(read(script).starts_with("#!"), "{script} is a script");
            }
            _ => panic!("{command}: say here how this is checked"),
        }
        clients += u32::from(words[0] == "curl");
    }
    assert!(commands.len() >= 15 && clients >= 5, "the blocks are found: {commands:?}");
    server.finish();
}

#[test]
fn the_program_at_the_top_is_the_example_hello_with_at_most_six_lines_in_main() {
    let hello = read("engine/examples/hello.rs");
    let program = hello.split_once("\n\n").expect("its comment ends").1;
    for file in ["README.md", "engine/src/lib.rs"] {
        let text: String = read(file)
            .lines()
            .map(|line| format!("{}\n", line.trim_start_matches("//! ").trim_start_matches("//!")))
            .collect();
        assert!(text.contains(program), "{file} has another program than engine/examples/hello.rs");
    }
    let body = program.split("fn main()").nth(1).and_then(|rest| rest.split_once('{')).expect("it has a main").1;
    let lines = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//") && *line != "}");
    assert!(lines.count() <= 6, "{body}");
}
