//! The comparison as pictures: for each workload the CPU time per request and the p99 of each server, as bars.
//!
//! Invariants: bars begin at zero; the thin line on a bar goes from the lowest to the highest repetition; a server that
//! had faults is marked, by their number beside its name.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::markdown::digits;
use super::outcome::Table;
use super::servers::{self, Kind};
use super::summary::{Row, Spread};

const WIDTH: i32 = 920;
const HEAD: i32 = 90;
const ROW: i32 = 30;
const BAR: i32 = 18;
const FOOT: i32 = 30;
const LINE: i32 = 16;
const NAMES_END: i32 = 128;
/// What a name takes up to the left of the bars: so much for each letter, and the margin.
const LETTER: i32 = 8;
const MARGIN: i32 = 16;
/// Left end and length of the longest bar of the two panels; text follows the bars.
const PANELS: [(i32, i32); 2] = [(136, 300), (600, 210)];
const INK: RGBColor = RGBColor(31, 41, 55);
const FAINT: RGBColor = RGBColor(107, 114, 128);
const ALARM: RGBColor = RGBColor(185, 28, 28);
const GRID: RGBColor = RGBColor(229, 231, 235);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// The picture of a workload, as SVG; none if no server has figures.
///
/// # Errors
/// If drawing fails.
pub(super) fn chart(table: &Table, subtitle: &str) -> Result<Option<String>, Box<dyn Error>> {
    let count = i32::try_from(table.rows.len())?;
    if count == 0 {
        return Ok(None);
    }
    let labels: Vec<String> = table.rows.iter().map(label).collect();
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    // Long names move the bars to the right.
    let shift = (i32::try_from(longest)? * LETTER + MARGIN - NAMES_END).max(0);
    let height = HEAD + ROW * count + FOOT + table.workload.note.map_or(0, |_| LINE);
    let mut picture = String::new();
    {
        let size = (u32::try_from(WIDTH + shift)?, u32::try_from(height)?);
        let canvas = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        canvas.fill(&WHITE)?;
        let title = format!("{}: {}", table.workload.name, table.workload.about);
        write(&canvas, &title, (16, 20), HPos::Left, 17, INK)?;
        write(&canvas, subtitle, (16, 40), HPos::Left, 12, FAINT)?;
        let foot =
            "Less is better. Bar: median; thin line: lowest to highest repetition; in brackets: ratio to the floor.";
        write(&canvas, foot, (16, height - 13), HPos::Left, 11, FAINT)?;
        if let Some(note) = table.workload.note {
            write(&canvas, note, (16, height - 13 - LINE), HPos::Left, 11, FAINT)?;
        }
        let rows = table.rows.as_slice();
        let [cost, tail] = PANELS.map(|(left, length)| (left + shift, length));
        panel(&canvas, cost, "CPU us per request", rows, |row| row.cpu_us_per_request, |row| row.to_floor)?;
        panel(&canvas, tail, "p99 us", rows, |row| row.p99_us, |_| None)?;
        for ((row, label), middle) in rows.iter().zip(labels).zip(middles()) {
            let colour = if row.faults > 0 { ALARM } else { INK };
            write(&canvas, &label, (NAMES_END + shift, middle), HPos::Right, 14, colour)?;
        }
        canvas.present()?;
    }
    Ok(Some(picture))
}

/// The server's name, and how many answers were not right.
fn label(row: &Row) -> String {
    match row.faults {
        0 => row.server.clone(),
        1 => format!("{} (1 fault)", row.server),
        faults => format!("{} ({faults} faults)", row.server),
    }
}

/// The height of the middle of each row's bars.
fn middles() -> impl Iterator<Item = i32> {
    (0..).map(|row| HEAD + ROW * row + ROW / 2)
}

fn panel(
    canvas: &Canvas<'_>,
    (left, length): (i32, i32),
    title: &str,
    rows: &[Row],
    figure: fn(&Row) -> Spread,
    ratio: fn(&Row) -> Option<Spread>,
) -> Drawn {
    let highest = rows.iter().map(|row| figure(row).highest).fold(f64::MIN_POSITIVE, f64::max);
    let step = tick_step(highest);
    let axis_end = (highest / step).ceil() * step;
    #[expect(clippy::cast_possible_truncation, reason = "a value's place is within the panel")]
    let place = |value: f64| left + (value / axis_end * f64::from(length)).round() as i32;
    let bottom = HEAD + ROW * i32::try_from(rows.len())?;
    write(canvas, title, (left, HEAD - 24), HPos::Left, 13, INK)?;
    let mut tick = 0.0;
    while tick <= axis_end * 1.001 {
        let at = place(tick);
        canvas.draw(&PathElement::new([(at, HEAD), (at, bottom)], GRID))?;
        write(canvas, &short(tick), (at, HEAD - 8), HPos::Center, 11, FAINT)?;
        tick += step;
    }
    for (row, middle) in rows.iter().zip(middles()) {
        let spread = figure(row);
        let (top, bottom) = (middle - BAR / 2, middle + BAR / 2);
        let bar = [(left, top), (place(spread.median), bottom)];
        canvas.draw(&Rectangle::new(bar, colour(&row.server).filled()))?;
        let (low, high) = (place(spread.lowest), place(spread.highest));
        if row.runs > 1 {
            canvas.draw(&PathElement::new([(low, middle), (high, middle)], INK.stroke_width(1)))?;
            for end in [low, high] {
                canvas.draw(&PathElement::new([(end, middle - 4), (end, middle + 4)], INK.stroke_width(1)))?;
            }
        }
        let ratio = ratio(row).map_or_else(String::new, |ratio| format!(" ({:.3})", ratio.median));
        let text = format!("{:.*}{ratio}", digits(spread.median), spread.median);
        write(canvas, &text, (high.max(place(spread.median)) + 7, middle), HPos::Left, 12, INK)?;
    }
    Ok(())
}

fn write(canvas: &Canvas<'_>, text: &str, at: (i32, i32), side: HPos, size: i32, colour: RGBColor) -> Drawn {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&colour).pos(Pos::new(side, VPos::Center));
    Ok(canvas.draw(&Text::new(text.to_owned(), at, style))?)
}

/// Kin have one hue: the floor, our engine, libraries, installed servers, others.
fn colour(server: &str) -> RGBColor {
    let (name, old) = server.strip_prefix(servers::OLD).map_or((server, false), |name| (name, true));
    match servers::kind(name) {
        Some(Kind::Floor) => RGBColor(156, 163, 175),
        Some(Kind::Showcase { .. }) if old => RGBColor(147, 197, 253),
        Some(Kind::Showcase { .. }) => RGBColor(37, 99, 235),
        Some(Kind::Peer) => RGBColor(245, 158, 11),
        Some(Kind::Installed { .. }) => RGBColor(132, 204, 22),
        Some(Kind::Extra { .. }) | None => RGBColor(168, 85, 247),
    }
}

/// One, two or five times a power of ten, so that three to six steps reach `highest`.
fn tick_step(highest: f64) -> f64 {
    let power = 10_f64.powf((highest / 3.0).log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|factor| factor * power);
    steps.into_iter().find(|step| highest / step >= 3.0 - 1e-9).unwrap_or(power)
}

/// A tick as short as it gets.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        _ if value >= 1e6 => (value / 1e6, "M"),
        _ if value >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.4}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::super::workloads::Workload;
    use super::*;
    use crate::compare::outcome::tests::example;

    #[test]
    fn a_chart_names_the_workload_and_every_server_with_its_figure() {
        let picture = chart(&example().tables[0], "a machine").expect("works in tests").expect("works in tests");
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
        for text in ["plaintext-64: GET /plaintext", "a machine", "floor", "queue", "6.000 (1.200)", "p99 us"] {
            assert!(picture.contains(text), "no {text} in {picture}");
        }
        assert!(!picture.contains("hyper"), "it has no figures");
    }

    #[test]
    fn a_server_with_faults_is_marked_and_a_note_is_told() {
        let mut table = example().tables.remove(0);
        let picture = |table: &Table| chart(table, "").expect("works in tests").expect("works in tests");
        assert!(!picture(&table).contains("fault"));
        table.rows[0].faults = 123_456;
        table.rows[1].faults = 1;
        table.workload = Workload::named("slow-app");
        let picture = picture(&table);
        for text in ["floor (123456 faults)", "queue (1 fault)", "GET /work/1"] {
            assert!(picture.contains(text), "no {text} in {picture}");
        }
    }

    #[test]
    fn a_workload_without_figures_has_no_chart() {
        let mut table = example().tables.remove(0);
        table.rows.clear();
        assert_eq!(chart(&table, "").expect("works in tests"), None);
    }

    #[test]
    fn ticks_are_round_and_three_to_seven() {
        for (highest, step) in [(0.54, 0.1), (7.1, 2.0), (10.0, 2.0), (30.0, 10.0), (1234.0, 200.0), (0.003, 0.001)] {
            assert!((tick_step(highest) / step - 1.0).abs() < 1e-9, "{highest}: {}", tick_step(highest));
        }
        for highest in 1..2000 {
            let steps = f64::from(highest) / tick_step(f64::from(highest));
            assert!((3.0 - 1e-9..=7.6).contains(&steps), "{highest}: {steps}");
        }
        assert_eq!([0.0, 0.2, 1500.0, 2e4, 1.2e6].map(short), ["0", "0.2", "1500", "20k", "1.2M"]);
    }
}
