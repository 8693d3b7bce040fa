//! Short comparisons of the floor and the showcase in both modes: every report comes out, well formed, with every row.
//! No figure is asserted: a machine that runs tests is no place to measure.

mod compare_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use compare_support::{Folder, PROGRAM, load_core, long_enough};

/// Where the program looks for it.
fn showcase() -> PathBuf {
    Path::new(PROGRAM).parent().expect("it lies in a folder").join("examples/showcase")
}

/// Every tag of a picture is closed, in order.
fn assert_is_xml(text: &str) {
    let mut open = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, between) = part.split_once('>').expect("a tag has an end");
        assert!(!between.contains('>'), "a stray > after <{tag}>");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed.to_owned()));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a tag has a name").to_owned());
        }
    }
    assert!(open.is_empty() && text.starts_with("<svg"), "{open:?}");
}

/// What a comparison says in which something came for every measurement.
fn compare(words: &[&str], seconds: [&str; 3]) -> Output {
    let compare = |seconds: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["compare", "--no-build", "--repeat", "1", "--warm-up", "200ms", "--load-core", &load_core()]);
        command.args(["--seconds", seconds]).args(words).output().expect("the program starts")
    };
    let something_came =
        |output: &Output| !String::from_utf8_lossy(&output.stderr).contains("under load: nothing came");
    long_enough(seconds, compare, something_came)
}

#[test]
fn a_short_comparison_of_floor_and_showcase_writes_all_reports() {
    if !showcase().is_file() {
        eprintln!("skipped: {} is not built (scripts/test builds it)", showcase().display());
        return;
    }
    let folder = Folder::new("smoke");
    let (json, markdown, pictures) = (folder.path("a.json"), folder.path("a.md"), folder.path("svg"));
    let [json_path, markdown_path, pictures_path] =
        [&json, &markdown, &pictures].map(|path| path.to_str().expect("a name in UTF-8"));
    let words = ["--workloads", "plaintext-64,json", "--json", json_path, "--markdown", markdown_path];
    let output = compare(&[&words[..], &["--svg", pictures_path]].concat(), ["1", "4", "16"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("5/5: json, queue, repetition 1 of 1, about "), "{stderr}");

    let text = fs::read_to_string(&markdown).expect("the Markdown is there");
    assert_eq!(text.as_bytes(), output.stdout, "standard output has the same tables");
    let (plaintext, below) = text.split_once("### json: ").expect("both workloads have a heading");
    for server in ["floor", "colocated", "queue"] {
        assert!(plaintext.contains(&format!("\n| {server} | ")), "{text}");
    }
    assert!(below.contains("\n| colocated | ") && below.contains("\n| queue | "), "{text}");
    assert!(below.contains("- floor is missing: it gives one fixed answer"), "{text}");

    let json: serde_json::Value = serde_json::from_slice(&fs::read(&json).expect("the JSON is there")).expect("JSON");
    let samples = json["samples"].as_array().expect("a list");
    assert_eq!((samples.len(), json["summary"].as_array().map(Vec::len)), (5, Some(5)), "{json:#}");
    for sample in samples {
        let shares = ["server_core_share", "generator_core_share"];
        for figure in ["answers", "cpu_us_per_request", "p50_us", "resident_bytes"].into_iter().chain(shares) {
            assert!(sample[figure].as_f64().is_some_and(|value| value > 0.0), "{figure} of {sample:#}");
        }
        assert_eq!(sample["faults"]["count"], 0, "{sample:#}");
    }
    for (workload, server) in [("plaintext-64", "floor"), ("json", "queue")] {
        let picture = fs::read_to_string(pictures.join(format!("{workload}.svg"))).expect("the picture is there");
        assert_is_xml(&picture);
        assert!(picture.contains(server) && picture.contains("colocated"), "{picture}");
    }
}

#[test]
fn rows_of_many_connections_and_of_fixed_rates_are_served_without_a_fault() {
    if !showcase().is_file() {
        eprintln!("skipped: {} is not built (scripts/test builds it)", showcase().display());
        return;
    }
    const ROWS: [(&str, u32); 5] = [
        ("pipelined-4096", 0),
        ("limited-4096", 0),
        ("rate-40k-512", 40_000),
        ("rate-40k-4096", 40_000),
        ("rate-2k-1024", 2_000),
    ];
    let folder = Folder::new("rows");
    let json = folder.path("a.json");
    let rows = ROWS.map(|(name, _)| name).join(",");
    let words = ["--workloads", &rows, "--json", json.to_str().expect("a name in UTF-8")];
    let output = compare(&words, ["0.6", "2", "8"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if stdout.contains("open descriptors are needed") {
        eprintln!("skipped: this system allows too few descriptors (ulimit -Hn)");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&json).expect("the JSON is there")).expect("JSON");
    let samples = json["samples"].as_array().expect("a list");
    assert_eq!(samples.len(), ROWS.len() * 3, "{json:#}");
    for (row, rate) in ROWS {
        for server in ["floor", "colocated", "queue"] {
            let mut of = samples.iter().filter(|sample| sample["workload"] == row && sample["server"] == server);
            let sample = of.next().unwrap_or_else(|| panic!("{row} of {server} in {json:#}"));
            assert!(sample["answers"].as_u64() > Some(0) && sample["faults"]["count"] == 0, "{sample:#}");
            assert_eq!(sample["rate"].as_f64(), (rate > 0).then(|| f64::from(rate)), "{sample:#}");
            // Figures, or the statement that there are none since the machine was too slow for the rate.
            let mut rows =
                json["summary"].as_array().expect("a list").iter().chain(json["missing"].as_array().expect("a list"));
            assert!(
                rows.any(|told| told["workload"] == row && told["server"] == server),
                "{row} of {server}: {json:#}"
            );
        }
    }
}
