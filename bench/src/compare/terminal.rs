//! The comparison on a terminal: the Markdown of `markdown`, its tables set in columns, medians alone. Pure.
//!
//! Invariants: nothing is said that the Markdown does not say; a table of usual names fits 120 columns.

use std::fmt::Write as _;

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
                let _ = writeln!(text, "{}", line.trim_start_matches("### ").replace("**", ""));
            }
        }
    }
    set(&mut text, &table);
    text + "\n" + RANGES
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

/// Sets a table: names to the left, figures to the right, each column as wide as it must be.
fn set(text: &mut String, table: &[Vec<String>]) {
    let is_rule = |row: &[String]| row.iter().all(|cell| cell.starts_with("--"));
    let rows = || table.iter().filter(|row| !is_rule(row));
    let width = |column: usize| rows().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    for row in rows() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            let _ = if column == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
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
        let heading = lines.iter().position(|line| line.starts_with("  server  ")).expect("a heading");
        let [heading, floor, queue] = [0, 1, 2].map(|row| lines[heading + row]);
        assert!(floor.starts_with("  floor ") && queue.starts_with("  queue "), "{text}");
        for (name, figure) in [("CPU us/request", "6.000"), ("to floor", "1.200"), ("server's core", "50 %")] {
            let end = |line: &str, word: &str| line.find(word).expect("it is there") + word.len();
            assert_eq!(end(heading, name), end(queue, figure), "{name} stands above {figure}:\n{text}");
        }
        assert!(!text.contains('|') && !text.contains(" to 6.500") && text.ends_with(RANGES), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 120 || !line.starts_with("  ")), "{text}");
        assert!(text.contains("the least that a one-thread io_uring server"), "the floor is explained: {text}");
    }
}
