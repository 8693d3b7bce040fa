//! The comparison on a terminal: the Markdown of `markdown`, its tables set in columns, medians alone. Pure.
//!
//! Invariants: nothing is said that the Markdown does not say; a table of usual names fits 80 columns, the narrowest
//! terminal that people use (87 with ratios to an old build), and so does every line of text; a command is left whole,
//! to be copied.

use std::fmt::Write as _;

/// Columns of a terminal that is as narrow as they come.
const WIDTH: usize = 80;

/// What stands for the ranges that are left out.
const RANGES: &str = "Shown are medians; lowest and highest are in --markdown FILE and --json FILE.\n";

/// A document of Markdown, for eyes.
pub(super) fn of(markdown: &str) -> String {
    let mut text = String::new();
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in markdown.lines() {
        match cells(line) {
            Some(row) => table.push(row),
            None => {
                set(&mut text, &std::mem::take(&mut table));
                let line = line.trim_start_matches("### ").replace("**", "");
                let width = if line.starts_with('`') { usize::MAX } else { WIDTH };
                let _ = writeln!(text, "{}", folded(&line, width).join("\n"));
            }
        }
    }
    set(&mut text, &table);
    text + "\n" + RANGES
}

/// A text as lines of at most so many columns, as long as its words let it.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one from the first");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The cells of a line of a table, without ranges.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cell = |cell: &str| {
        let (median, range) = cell.trim().split_once(" (").unwrap_or_else(|| (cell.trim(), ""));
        let unit = range.split_once(") ").map_or(String::new(), |(_, unit)| format!(" {unit}"));
        format!("{median}{unit}")
    };
    Some(inner.split('|').map(cell).collect())
}

/// Sets a table: names to the left, figures to the right, each column as wide as its figures and the longest word of
/// its heading, which is folded and stands at the foot of its lines.
fn set(text: &mut String, table: &[Vec<String>]) {
    let Some((heading, rest)) = table.split_first() else { return };
    let is_rule = |row: &[String]| row.iter().all(|cell| cell.starts_with("--"));
    let rows: Vec<&Vec<String>> = rest.iter().filter(|row| !is_rule(row)).collect();
    let longest = |words: &mut dyn Iterator<Item = &str>| words.map(|word| word.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (heading.iter().enumerate())
        .map(|(column, name)| {
            let figures = longest(&mut rows.iter().filter_map(|row| row.get(column)).map(String::as_str));
            figures.max(longest(&mut name.split(' ')))
        })
        .collect();
    let folded: Vec<Vec<String>> = heading.iter().zip(&widths).map(|(name, &width)| folded(name, width)).collect();
    let height = folded.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        let part = |name: &Vec<String>| (line + name.len()).checked_sub(height).map(|at| name[at].clone());
        let parts: Vec<String> = folded.iter().map(|name| part(name).unwrap_or_default()).collect();
        set_row(text, &widths, parts.iter().map(String::as_str));
    }
    for row in rows {
        set_row(text, &widths, row.iter().map(String::as_str));
    }
}

fn set_row<'a>(text: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let mut line = String::new();
    for (column, (cell, &width)) in cells.zip(widths).enumerate() {
        let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::super::markdown;
    use super::super::outcome::tests::example;
    use super::*;

    #[test]
    fn tables_stand_in_columns_and_say_medians() {
        let text = of(&markdown::document(&example()));
        let lines: Vec<&str> = text.lines().collect();
        let heading = lines.iter().position(|line| line.starts_with("server  ")).expect("a heading");
        let [heading, floor, queue] = [0, 1, 2].map(|row| lines[heading + row]);
        assert!(floor.starts_with("floor ") && queue.starts_with("queue "), "{text}");
        for (name, figure) in [("us/request", "6.000"), ("floor", "1.200"), ("core", "50 %")] {
            let end = |line: &str, word: &str| line.find(word).expect("it is there") + word.len();
            assert_eq!(end(heading, name), end(queue, figure), "{name} stands above {figure}:\n{text}");
        }
        assert!(!text.contains('|') && !text.contains(" to 6.500") && text.ends_with(RANGES), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("one-thread io_uring server can do"), "the floor is explained: {text}");
    }

    #[test]
    fn figures_of_a_fast_server_with_a_long_name_fit_a_narrow_terminal() {
        let table = "| server | requests/s | CPU us/request | to floor | server core | load core | other work | \
            faults |\n|---|--:|--:|--:|--:|--:|--:|--:|\n\
            | colocated-epoll | 1234567 (1 to 2) | 12.345 (1 to 2) | 1.234 (1 to 2) | 100 % | 100 % | 10, 10 % | 0 |\n";
        let text = of(table);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().any(|line| line.contains("requests/s") && line.contains("us/request")), "{text}");
    }

    #[test]
    fn text_is_folded_between_words_and_loses_none() {
        assert_eq!(folded("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("a-word-of-many-letters b", 3), ["a-word-of-many-letters", "b"]);
        assert_eq!(folded("", 7), [""]);
        assert_eq!(folded("one two three", usize::MAX), ["one two three"]);
    }
}
