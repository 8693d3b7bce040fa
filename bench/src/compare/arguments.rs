//! What `ringress-bench compare` can be told, and how its lists of names are read.
//!
//! Invariants: a name that is not known is refused by one line that names it and all known ones; nothing is chosen
//! twice; a value that no comparison can follow is refused by one line, too.
//!
//! Not here: what the names stand for (`servers`, `workloads`).

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// The generator says four times a second how far it is; a shorter time may have one such moment only.
const SECONDS_MIN: f64 = 0.6;
const SECONDS_MAX: f64 = 3600.0;

/// Servers side by side: each is started in turn, checked, loaded and weighed; repetitions are interleaved.
///
/// CPU time per request is the steady figure: user and system time of all threads and child processes of the server.
/// Ratios are taken within a repetition; their median is printed with the lowest and the highest.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Servers, with commas between; `all` and `peers` are groups (see --list).
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "floor,colocated,queue")]
    pub(super) servers: Vec<String>,

    /// Workloads, with commas between; `plaintext`, `pipelined`, `bytes`, `rate` and `all` are groups (see --list).
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "plaintext-64,pipelined-64")]
    pub(super) workloads: Vec<String>,

    /// Repetitions, each on a freshly started process.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) repeat: u32,

    /// Measured seconds of one repetition, 0.6 to 3600.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub(super) seconds: f64,

    /// Time under load before the measuring begins, such as 500ms or 2s.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(super) warm_up: Duration,

    /// The servers' core.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    pub(super) core: usize,

    /// The load generator's core.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    pub(super) load_core: usize,

    /// Take a run again, at most three times, if other work took more of one of the two cores [100: never].
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub(super) others_max: f64,

    /// Write every sample and the summary.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Write the tables, which go to standard output in any case.
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,

    /// Write a bar chart for each workload into this directory.
    #[arg(long, value_name = "DIR")]
    pub(super) svg: Option<PathBuf>,

    /// Take the programs as they are; the floor and the showcase from beside this program.
    #[arg(long)]
    pub(super) no_build: bool,

    /// One more server; {port} in its command is replaced, and quotes keep words together; repeatable.
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(super) extra: Vec<String>,

    /// An older showcase: measured in the same run, in both modes, as old-colocated and old-queue.
    #[arg(long, value_name = "PROGRAM")]
    pub(super) baseline: Option<PathBuf>,

    /// Say which servers and workloads there are, and end.
    #[arg(long)]
    pub(super) list: bool,
}

/// Reads `500ms`, `2s` or `1.5s`; at most an hour.
fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is no time: a number with ms or s is wanted, such as 500ms, at most 3600s");
    let (number, unit_seconds) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').ok_or_else(wanted)?, 1.0),
    };
    let seconds = number.parse::<f64>().map_err(|_| wanted())? * unit_seconds;
    if (0.0..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wanted()) }
}

impl Arguments {
    /// The measured time of one repetition.
    ///
    /// # Errors
    /// One line: it is too short to read the clocks twice within it, too long, or no number.
    pub(super) fn measured(&self) -> Result<Duration, String> {
        let seconds = self.seconds;
        if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            return Ok(Duration::from_secs_f64(seconds));
        }
        let range = format!("{SECONDS_MIN} to {SECONDS_MAX}");
        Err(format!("--seconds {seconds}: {range} are possible; in less, the clocks cannot be read twice"))
    }

    /// How much of a core other work may take before a run is taken again, as part of a core.
    ///
    /// # Errors
    /// One line: it is no number, or negative.
    pub(super) fn others_max(&self) -> Result<f64, String> {
        let percent = self.others_max;
        if (0.0..=f64::MAX).contains(&percent) {
            return Ok(percent / 100.0);
        }
        Err(format!("--others-max {percent}: per cent of a core are wanted, 0 or more; 100 takes no run again"))
    }
}

/// The members of `known` that `given` names, each once, in the order of `given`.
///
/// # Errors
/// A line that names the first unknown one and all that are known; a line if nothing is given.
pub(super) fn chosen<'a>(
    what: &str,
    given: &[String],
    known: &[&'a str],
    groups: &[(&'a str, Vec<&'a str>)],
) -> Result<Vec<&'a str>, String> {
    let mut names: Vec<&str> = Vec::new();
    for word in given.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
        let alone = known.iter().find(|name| **name == word).map(std::slice::from_ref);
        let group = || groups.iter().find(|(name, _)| *name == word).map(|(_, members)| members.as_slice());
        let Some(members) = alone.or_else(group) else {
            let groups: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
            let (all, groups) = (known.join(", "), groups.join(", "));
            return Err(format!("there is no {what} {word:?}; there are {all}, and the groups {groups}"));
        };
        let new: Vec<&str> = members.iter().filter(|name| !names.contains(name)).copied().collect();
        names.extend(new);
    }
    if names.is_empty() { Err(format!("no {what} is named; see --list")) } else { Ok(names) }
}

/// Splits a command into words at blanks; single and double quotes keep a word together.
///
/// # Errors
/// A line if a quote is not closed or there is no word.
pub(super) fn words(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in command.chars() {
        match (character, quote) {
            (_, Some(open)) if character == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(character),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(_), _) => Err(format!("a quote is not closed in {command:?}")),
        (None, true) => Err("the command is empty".to_owned()),
        (None, false) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn names_and_groups_are_chosen_once_in_the_order_given() {
        let groups = [("all", vec!["a", "b", "c"])];
        assert_eq!(chosen("row", &given("c,all,a"), &["a", "b", "c"], &groups), Ok(vec!["c", "a", "b"]));
    }

    #[test]
    fn an_unknown_name_is_named_beside_the_known_ones() {
        let error = chosen("row", &given("a,x"), &["a", "b"], &[("all", vec!["a", "b"])]).expect_err("must be refused");
        assert_eq!(error, "there is no row \"x\"; there are a, b, and the groups all");
        assert_eq!(
            chosen("row", &given(","), &["a"], &[]).expect_err("must be refused"),
            "no row is named; see --list"
        );
    }

    #[test]
    fn times_have_units_and_an_end() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "-1s", "3601s", "1m", "nans", "infs"] {
            assert!(duration(wrong).expect_err("must be refused").contains(wrong), "{wrong}");
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn typed(option: &str, value: &str) -> Arguments {
        let line = <Line as clap::Parser>::try_parse_from(["compare", &format!("{option}={value}")]);
        line.expect("works in tests").arguments
    }

    #[test]
    fn what_no_run_can_follow_is_refused_in_one_line() {
        assert_eq!(typed("--seconds", "0.6").measured(), Ok(Duration::from_millis(600)));
        for wrong in ["0", "0.59", "-1", "3601", "NaN", "inf"] {
            let error = typed("--seconds", wrong).measured().expect_err("must be refused");
            assert!(error.starts_with(&format!("--seconds {wrong}: 0.6 to 3600 ")) && !error.contains('\n'), "{error}");
        }
        assert_eq!(typed("--others-max", "25").others_max(), Ok(0.25));
        for wrong in ["NaN", "-1", "inf"] {
            let error = typed("--others-max", wrong).others_max().expect_err("must be refused");
            assert!(error.starts_with(&format!("--others-max {wrong}: ")) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("a  'b c' \"d 'e\" f'g'"), Ok(given("a,b c,d 'e,fg")));
        assert_eq!(words("a ''"), Ok(given("a,")));
        assert!(words("a 'b").expect_err("must be refused").contains("not closed"));
        assert!(words("  ").expect_err("must be refused").contains("empty"));
    }
}
